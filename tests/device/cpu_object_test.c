/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUs in the object tree, which exist with every accelerator. */
#include "qtest_client.h"

static json_t *get(QTest *q, const char *path, const char *property)
{
    return qtest_qmp(q, "qom-get", "{s:s, s:s}", "path", path, "property", property);
}

static void check_number(QTest *q, const char *path, const char *property, json_int_t expected)
{
    json_t *value = get(q, path, property);

    qtest_check(json_is_integer(value));
    qtest_check_eq(json_integer_value(value), expected);
    json_decref(value);
}

static void check_text(QTest *q, const char *path, const char *property, const char *expected)
{
    json_t *value = get(q, path, property);

    qtest_check_str(json_string_value(value), expected);
    json_decref(value);
}

static void check_switch(QTest *q, const char *path, const char *property, bool expected)
{
    json_t *value = get(q, path, property);

    qtest_check(json_is_boolean(value));
    qtest_check_eq(json_is_true(value), expected);
    json_decref(value);
}

/* The type that qom-list gives for a member; NULL: no such member. */
static char *listed(QTest *q, const char *path, const char *name)
{
    json_t *list = qtest_qmp(q, "qom-list", "{s:s}", "path", path), *entry;
    char *type = NULL;
    size_t i;

    json_array_foreach(list, i, entry)
    {
        if (!strcmp(json_string_value(json_object_get(entry, "name")), name)) {
            type = g_strdup(json_string_value(json_object_get(entry, "type")));
        }
    }
    json_decref(list);
    return type;
}

static void test_query(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -smp 4,sockets=2,cores=1,threads=2");
    json_t *cpus = qtest_qmp(q, "query-cpus-fast", NULL), *cpu = json_array_get(cpus, 3);
    json_t *props = json_object_get(cpu, "props");
    const char *path = json_string_value(json_object_get(cpu, "qom-path"));
    g_autofree char *text = qtest_hmp(q, "info cpus"), *type = NULL;

    qtest_check_eq(json_array_size(cpus), 4);
    qtest_check_eq(json_integer_value(json_object_get(cpu, "cpu-index")), 3);
    qtest_check(json_integer_value(json_object_get(cpu, "thread-id")) > 0);
    qtest_check_str(json_string_value(json_object_get(cpu, "target")), "x86_64");
    qtest_check_eq(json_integer_value(json_object_get(props, "socket-id")), 1);
    qtest_check_eq(json_integer_value(json_object_get(props, "core-id")), 0);
    qtest_check_eq(json_integer_value(json_object_get(props, "thread-id")), 1);
    qtest_check(!json_object_get(props, "die-id"));
    check_number(q, path, "apic-id", 3);
    check_number(q, path, "socket-id", 1);
    check_number(q, path, "thread-id", 1);
    qtest_check(g_str_has_prefix(text, "* CPU #0: thread_id="));
    g_free(qtest_hmp(q, "cpu 3"));
    type = listed(q, "/machine/unattached", strrchr(path, '/') + 1);
    qtest_check_str(type, "child<qemu64-x86_64-cpu>");
    json_decref(cpus);
    qtest_end(q);
}

static void test_properties(void)
{
    static const char cpu[] = "/machine/unattached/device[0]";
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults "
                           "-cpu Nehalem,-aes,+x2apic,family=6,stepping=4,tsc-frequency=2G");
    static const char *const trap[] = {"unavailable-features", "feature-words"};
    char *text;

    check_text(q, cpu, "type", "Nehalem-x86_64-cpu");
    check_switch(q, cpu, "realized", true);
    check_text(q, cpu, "vendor", "GenuineIntel");
    check_number(q, cpu, "family", 6);
    check_number(q, cpu, "stepping", 4);
    check_number(q, cpu, "tsc-frequency", 2000000000);
    check_switch(q, cpu, "sse4.2", true);
    check_switch(q, cpu, "sse4-2", true);
    check_switch(q, cpu, "aes", false);
    check_switch(q, cpu, "x2apic", true);
    check_switch(q, cpu, "avx2", false);
    text = listed(q, cpu, "avx2");
    qtest_check_str(text, "bool");
    g_free(text);
    /* If libvirt found one of these, it would query all of them. */
    for (unsigned i = 0; i < G_N_ELEMENTS(trap); i++) {
        qtest_check(!listed(q, cpu, trap[i]));
        text = qtest_qmp_fails(q, NULL, "qom-get", "{s:s, s:s}", "path", cpu, "property", trap[i]);
        qtest_check(strstr(text, "not found"));
        g_free(text);
    }
    text = qtest_qmp_fails(q, NULL, "qom-set", "{s:s, s:s, s:b}", "path", cpu, "property", "avx2",
                           "value", 1);
    qtest_check_str(text, "A CPU's properties are set by -cpu, at the start");
    g_free(text);
    qtest_end(q);
}

static void check_count(const char *args, unsigned expected)
{
    QTest *q = qtest_start(args);
    json_t *cpus = qtest_qmp(q, "query-cpus-fast", NULL);

    qtest_check_eq(json_array_size(cpus), expected);
    json_decref(cpus);
    qtest_end(q);
}

/* -machine none has a CPU only with -cpu. */
static void test_none(void)
{
    check_count("-machine none", 0);
    check_count("-machine none -cpu qemu64", 1);
}

static const QTestCase cases[] = {
    {"query", test_query},
    {"properties", test_properties},
    {"none", test_none},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
