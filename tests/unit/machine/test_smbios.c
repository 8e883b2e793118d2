/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include "../base/unit.h"
#include "base/keyval.h"
#include "pc.h"
#include "smbios.h"
#include "x86/x86.h"

static MachineConfig config;
static PcMachine pc;
static Vm vm;
static GPtrArray *entries;
static GError *err;

static void setup(void)
{
    memset(&vm, 0, sizeof vm);
    vm.machine_class = &pc_i440fx_class;
    vm.machine = &pc;
    vm.smp =
        (SmpConfig){.cpus = 4, .maxcpus = 4, .sockets = 2, .dies = 1, .cores = 2, .threads = 1};
    vm.ram_size = 40 * GiB;
    pc.config = &config;
    pc.below_4g = 3 * GiB;
    pc.above_4g = 37 * GiB;
    for (unsigned i = 0; i < 16; i++) {
        vm.uuid[i] = i;
    }
    ck_assert(x86_cpu_configure(&vm, "qemu64", NULL, &err));
    entries = g_ptr_array_new();
}

static void option(const char *text)
{
    static const char *const lists[] = {"value", NULL};

    g_ptr_array_add(entries, keyval_parse(text, NULL, lists, false, &err));
    ck_no_error(err);
}

/* The structure of a type, walking them as a guest does; *count counts all. */
static const uint8_t *find(const GByteArray *t, uint8_t type, unsigned *count)
{
    const uint8_t *found = NULL;
    unsigned pos = 0;

    *count = 0;
    while (pos < t->len) {
        const uint8_t *s = t->data + pos;

        if (s[0] == type && !found) {
            found = s;
        }
        (*count)++;
        pos += s[1];
        while (t->data[pos] || t->data[pos + 1]) {
            pos++;
            ck_assert_uint_lt(pos + 1, t->len);
        }
        pos += 2;
        if (s[0] == 127) {
            break;
        }
    }
    ck_assert_uint_eq(pos, t->len);
    return found;
}

static const char *text_of(const uint8_t *s, unsigned field)
{
    const char *p = (const char *)s + s[1];

    for (unsigned n = s[field]; n > 1; n--) {
        p += strlen(p) + 1;
    }
    return s[field] ? p : "";
}

START_TEST(defaults)
{
    Smbios *s = smbios_build(&vm, entries, &err);
    const GByteArray *t = smbios_tables(s);
    const uint8_t uuid[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t anchor[31], sum = 0;
    const uint8_t *p;
    unsigned count;

    ck_assert_ptr_null(find(t, 0, &count)); /* SeaBIOS adds its own */
    /* 1, 3, 4 4, 16, 17 17 17, 19 19, 32, 127 */
    ck_assert_uint_eq(count, 12);
    p = find(t, 1, &count);
    ck_assert_str_eq(text_of(p, 4), "QEMU");
    ck_assert_str_eq(text_of(p, 6), "pc-i440fx-7.2");
    ck_assert_mem_eq(p + 8, uuid, 16);
    p = find(t, 4, &count);
    ck_assert_uint_eq(p[35], 2);
    p = find(t, 19, &count);
    ck_assert_uint_eq(ldle32(p + 8), 3 * GiB / KiB - 1);
    smbios_anchor(s, 0x12345678, anchor);
    for (unsigned i = 0; i < sizeof anchor; i++) {
        sum += anchor[i];
    }
    ck_assert_uint_eq(sum, 0);
    ck_assert_uint_eq(ldle32(anchor + 24), 0x12345678);
    ck_assert_uint_eq(ldle16(anchor + 28), 12);
    ck_assert_uint_eq(ldle16(anchor + 22), t->len);
    smbios_free(s);
}
END_TEST

START_TEST(options)
{
    Smbios *s;
    unsigned count;

    option("type=0,vendor=Me,release=1.2");
    option("type=1,manufacturer=Acme,,Inc,serial=S1");
    option("type=2,product=Board");
    option("type=11,value=one,value=two");
    s = smbios_build(&vm, entries, &err);
    ck_no_error(err);
    ck_assert_str_eq(text_of(find(smbios_tables(s), 0, &count), 4), "Me");
    ck_assert_str_eq(text_of(find(smbios_tables(s), 1, &count), 4), "Acme,Inc");
    ck_assert_str_eq(text_of(find(smbios_tables(s), 1, &count), 7), "S1");
    ck_assert_str_eq(text_of(find(smbios_tables(s), 2, &count), 5), "Board");
    ck_assert_uint_eq(find(smbios_tables(s), 11, &count)[4], 2);
    smbios_free(s);
}
END_TEST

static const struct {
    const char *option, *error;
} bad[] = {
    {"type=99", "type 99"},
    {"vendor=x", "'type' must be"},
    {"type=1,seriel=3", "serial"},
    {"type=0,release=one", "MAJOR.MINOR"},
    {"{\"type\": \"11\", \"value\": [\"a\", 1]}", "'value' expects a text, not 1"},
    {"{\"type\": \"1\", \"serial\": 5}", "'serial' expects a text, not 5"},
    {"type=4,max-speed=fast", "max-speed"},
    {"file=/nonexistent", "/nonexistent"},
};

START_TEST(bad_options)
{
    option(bad[_i].option);
    ck_assert_ptr_null(smbios_build(&vm, entries, &err));
    ck_error(err, bad[_i].error);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("smbios");

    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, defaults);
    tcase_add_test(t, options);
    tcase_add_loop_test(t, bad_options, 0, ARRAY_SIZE(bad));
    return unit_run_case("machine_smbios", t);
}
