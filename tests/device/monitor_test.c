/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitors: QMP's rules, every HMP command's help, every 'info', and descriptors. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "qtest_client.h"

#define BOARD "-machine pc -m 64 -nodefaults "

static void check_desc(QTest *q, const char *request, const char *class, const char *desc)
{
    json_t *reply = qtest_qmp_raw(q, request), *error = json_object_get(reply, "error");

    qtest_check(error != NULL);
    qtest_check_str(json_string_value(json_object_get(error, "class")), class);
    qtest_check_str(json_string_value(json_object_get(error, "desc")), desc);
    json_decref(reply);
}

static void test_errors(void)
{
    QTest *q = qtest_start(BOARD);

    check_desc(q, "{\"execute\":\"foo\"}", "CommandNotFound", "The command foo has not been found");
    check_desc(q, "{\"execute\":\"qmp_capabilities\"}", "CommandNotFound",
               "Capabilities negotiation is already complete, command ignored");
    check_desc(q, "{\"execute\":\"stop\",\"arguments\":{\"x\":1}}", "GenericError",
               "Parameter 'x' is unexpected");
    check_desc(q, "{\"execute\":\"qom-list\"}", "GenericError", "Parameter 'path' is missing");
    check_desc(q, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":1}}", "GenericError",
               "Invalid parameter type for 'path', expected: string");
    check_desc(q, "{\"execute\":1}", "GenericError", "QMP input member 'execute' must be a string");
    check_desc(q, "{\"a\":1}", "GenericError", "QMP input member 'a' is unexpected");
    check_desc(q, "{}", "GenericError", "QMP input lacks member 'execute'");
    check_desc(q, "[]", "GenericError", "QMP input must be a JSON object");
    check_desc(q, "{\"execute\":\"stop\",\"arguments\":[]}", "GenericError",
               "QMP input member 'arguments' must be an object");
    check_desc(q, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"no\"}}", "DeviceNotFound",
               "Device 'no' not found");
    check_desc(q, "{\"exec-oob\":\"query-status\"}", "GenericError",
               "The command query-status does not support OOB");
    qtest_end(q);
}

static void test_id(void)
{
    QTest *q = qtest_start(BOARD);
    static const char *const ids[] = {"1", "\"a\"", "null", "{\"x\": [1, 2]}", "true"};

    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_autofree char *good = g_strdup_printf("{\"execute\":\"query-name\",\"id\":%s}", ids[i]);
        g_autofree char *bad = g_strdup_printf("{\"execute\":\"foo\",\"id\":%s}", ids[i]);
        json_t *id = json_loads(ids[i], JSON_DECODE_ANY, NULL), *reply;

        reply = qtest_qmp_raw(q, good);
        qtest_check(json_equal(json_object_get(reply, "id"), id));
        qtest_check(json_object_get(reply, "return") != NULL);
        json_decref(reply);
        reply = qtest_qmp_raw(q, bad);
        qtest_check(json_equal(json_object_get(reply, "id"), id));
        json_decref(reply);
        json_decref(id);
    }
    qtest_end(q);
}

static void test_malformed(void)
{
    QTest *q = qtest_start(BOARD);
    static const char *const bad[] = {
        "{\"execute\":}", "}",  "junk",
        "{\"a\" 1}",      "{]", "{\"execute\":\"stop\",\"execute\":\"stop\"}"};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        json_t *reply = qtest_qmp_raw(q, bad[i]);
        const char *class =
            json_string_value(json_object_get(json_object_get(reply, "error"), "class"));

        qtest_check_str(class, "GenericError");
        json_decref(reply);
        json_decref(qtest_qmp(q, "query-status", NULL));
    }
    qtest_end(q);
}

/* Every command of QMP is in the schema with an arguments type that is there; so is every event. */
static void test_schema(void)
{
    QTest *q = qtest_start(BOARD);
    json_t *schema = qtest_qmp(q, "query-qmp-schema", NULL), *entry;
    json_t *commands = qtest_qmp(q, "query-commands", NULL),
           *events = qtest_qmp(q, "query-events", NULL);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    size_t i, n_commands = 0, n_events = 0;

    json_array_foreach(schema, i, entry)
    {
        qtest_check(
            g_hash_table_add(names, (gpointer)json_string_value(json_object_get(entry, "name"))));
    }
    json_array_foreach(schema, i, entry)
    {
        const char *meta = json_string_value(json_object_get(entry, "meta-type"));
        const char *keys[] = {"arg-type", "ret-type", "element-type"};
        json_t *member;
        size_t m;

        n_commands += !strcmp(meta, "command");
        n_events += !strcmp(meta, "event");
        for (unsigned k = 0; k < G_N_ELEMENTS(keys); k++) {
            const char *type = json_string_value(json_object_get(entry, keys[k]));

            qtest_check(!type || g_hash_table_contains(names, type));
        }
        json_array_foreach(json_object_get(entry, "members"), m, member)
        {
            const char *type = json_string_value(json_object_get(member, "type"));

            qtest_check(type && g_hash_table_contains(names, type));
        }
        json_array_foreach(json_object_get(entry, "variants"), m, member)
        {
            const char *type = json_string_value(json_object_get(member, "type"));

            qtest_check(type && g_hash_table_contains(names, type));
        }
    }
    qtest_check_eq(n_commands, json_array_size(commands));
    qtest_check_eq(n_events, json_array_size(events));
    json_decref(schema);
    json_decref(commands);
    json_decref(events);
    qtest_end(q);
}

/* The table of HMP, as 'help' gives it: a line a command. Each has help of its own. */
static void test_help(void)
{
    QTest *q = qtest_start(BOARD);
    g_autofree char *text = qtest_hmp(q, "help"), *infos = qtest_hmp(q, "info");
    g_autofree char *same = qtest_hmp(q, "help info");
    g_autofree char *all = g_strconcat(text, infos, NULL);
    g_auto(GStrv) lines = g_strsplit(all, "\r\n", 0);
    unsigned n = 0;

    qtest_check_str(infos, same);
    for (unsigned i = 0; lines[i]; i++) {
        const char *dashes = strstr(lines[i], " -- ");
        g_auto(GStrv) words = g_strsplit_set(lines[i], " |", 0);
        bool info;
        g_autofree char *help = NULL, *expected = g_strconcat(lines[i], "\r\n", NULL);

        if (!*lines[i]) {
            continue;
        }
        qtest_check(dashes && dashes[4]);
        info = !strcmp(words[0], "info") && words[1] && *words[1] != '[';
        help = info ? qtest_hmp(q, "help info %s", words[1]) : qtest_hmp(q, "help %s", words[0]);
        if (info || strcmp(words[0], "info")) {
            qtest_check_str(help, expected);
        }
        n++;
    }
    qtest_check_ge(n, 40);
    qtest_end(q);
}

static void test_infos(void)
{
    QTest *q = qtest_start(BOARD "-device virtio-balloon-pci -netdev user,id=n0 "
                                 "-device virtio-net-pci,netdev=n0 -serial null -uuid "
                                 "00112233-4455-6677-8899-aabbccddeeff -name here");
    g_autofree char *infos = qtest_hmp(q, "info");
    g_auto(GStrv) lines = g_strsplit(infos, "\r\n", 0);
    static const char *const expected[][2] = {
        {"version", "7.2.22"},  {"status", "VM status: running"},
        {"name", "here"},       {"uuid", "00112233-4455-6677-8899-aabbccddeeff"},
        {"network", "n0"},      {"kvm", "kvm support: disabled"},
        {"chardev", "serial0"}, {"pci", "PCI device 8086:1237"},
        {"qtree", "dev: "},     {"mtree", "address-space: memory"},
        {"pic", "pic0: "},      {"balloon", "balloon: actual=64"},
    };

    for (unsigned i = 0; lines[i] && *lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", 3);
        g_autofree char *text = qtest_hmp(q, "info %s", words[1]);

        qtest_check(!strstr(text, "unknown command"));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autofree char *text = qtest_hmp(q, "info %s", expected[i][0]);

        if (!strstr(text, expected[i][1])) {
            qtest_fail(__FILE__, __LINE__, "info %s: %s", expected[i][0], text);
        }
    }
    qtest_end(q);
}

static void check_hmp(QTest *q, const char *line, const char *expected)
{
    g_autofree char *text = qtest_hmp(q, "%s", line);

    if (strcmp(text, expected)) {
        qtest_fail(__FILE__, __LINE__, "%s: '%s', not '%s'", line, text, expected);
    }
}

static void test_hmp(void)
{
    QTest *q = qtest_start(BOARD);

    qtest_writel(q, 0x1000, 0x12345678);
    qtest_writel(q, 0x1004, 0xfffffffe);
    check_hmp(q, "xp/2wx 0x1000", "0000000000001000: 0x12345678 0xfffffffe\r\n");
    check_hmp(q, "xp/2wd 0x1000", "0000000000001000:  305419896         -2\r\n");
    check_hmp(q, "xp/1gx 0x1000", "0000000000001000: 0xfffffffe12345678\r\n");
    check_hmp(q, "xp/2bc 0x1000", "0000000000001000: 'x' 'V'\r\n");
    check_hmp(q, "xp/1wc 0x1000", "0000000000001000: 'x' 'V' '4' '\\x12'\r\n");
    check_hmp(q, "xp/9hc 0x1000",
              "0000000000001000: 'x' 'V' '4' '\\x12' '\\xfe' '\\xff' '\\xff' '\\xff' "
              "'\\x00' '\\x00' '\\x00' '\\x00' '\\x00' '\\x00' '\\x00' '\\x00'\r\n"
              "0000000000001010: '\\x00' '\\x00'\r\n");
    check_hmp(q, "p/c 10", "'\\n'\r\n");
    check_hmp(q, "p/c 0x4142", "'\\x4142'\r\n");
    check_hmp(q, "print/x 0x10*3", "0x30\r\n");
    check_hmp(q, "p/x 0", "0\r\n");
    check_hmp(q, "p/d -(1+2)", "-3\r\n");
    check_hmp(q, "foo", "unknown command: 'foo'\r\n");
    check_hmp(q, "device_del nope", "Error: Device 'nope' not found\r\n");
    check_hmp(q, "stop 1",
              "stop|s: extraneous characters at the end of line\r\n"
              "Try \"help stop\" for more information\r\n");
    check_hmp(q, "stop", "");
    check_hmp(q, "info status", "VM status: paused\r\n");
    check_hmp(q, "c", "");
    check_hmp(q, "info status", "VM status: running\r\n");
    check_hmp(q, "balloon 10", "Error: No balloon device has been activated\r\n");
    check_hmp(q, "device_add virtio-rng-pci,id=r0", "");
    check_hmp(q, "device_add virtio-rng-pci,id=r0", "Error: Duplicate device ID 'r0'\r\n");
    qtest_end(q);
}

/* What cannot be read names the command's help; what fails has "Error: " where QEMU's has. */
static void test_hmp_errors(void)
{
    static const char *const misread[][3] = {
        {"p $pc", "unknown register", "p"}, /* there is no CPU */
        {"p", "unexpected end of expression", "p"},
        {"print 1 2", "print|p: extraneous characters at the end of line", "print"},
        {"xp/2x 0 1", "xp: extraneous characters at the end of line", "xp"},
        {"o/b 0x80", "unexpected end of expression", "o"},
        {"device_del", "device_del: string expected", "device_del"},
        {"device_del \"a", "device_del: unterminated string literal", "device_del"},
        {"cpu x", "invalid char 'x' in expression", "cpu"},
        {"cpu", "unexpected end of expression", "cpu"},
        {"set_link a b", "Expected 'on' or 'off'", "set_link"},
        {"info mtree -x", "mtree: unsupported option -x", "info mtree"},
        {"info cpus 1", "cpus: extraneous characters at the end of line", "info cpus"},
    };
    QTest *q = qtest_start(BOARD);

    for (unsigned i = 0; i < G_N_ELEMENTS(misread); i++) {
        g_autofree char *expected = g_strdup_printf(
            "%s\r\nTry \"help %s\" for more information\r\n", misread[i][1], misread[i][2]);

        check_hmp(q, misread[i][0], expected);
    }
    check_hmp(q, "help foo", "unknown command: 'foo'\r\n");
    check_hmp(q, "x 0", "Can not dump without CPU\r\n");
    check_hmp(q, "cpu 1+1", "invalid CPU index\r\n");
    check_hmp(q, "hostfwd_add tcp::1-:2", "user mode network stack not in use\r\n");
    check_hmp(q, "netdev_del x", "Error: Device 'x' not found\r\n");
    qtest_end(q);
}

/* "help" in place of a thing, or behind its name. */
static void test_hmp_kinds(void)
{
    static const char *const asked[][2] = {
        {"device_add ?", "name \"virtio-rng-pci\", bus PCI"},
        {"device_add help", "Network devices:\r\n"},
        {"device_add virtio-rng-pci,help", "virtio-rng-pci options:\r\n  "},
        {"device_add driver=virtio-rng-pci,id=a,?", "  max-bytes=<"},
        {"netdev_add help", "Available netdev backend types:\r\n"},
        {"netdev_add help", "\r\nhubport\r\n"},
        {"netdev_add hubport,help", "hubport options:\r\n  hubid=<"},
        {"object_add help", "List of user creatable objects:\r\n  "},
        {"object_add iothread,?", "iothread options:\r\n"},
        {"object_add nope,?", "List of user creatable objects:\r\n  "},
        {"chardev-add ?", "Available chardev backend types: \r\n  "},
        {"chardev-add ringbuf,help", "  size=<size>"},
    };
    QTest *q = qtest_start(BOARD);

    for (unsigned i = 0; i < G_N_ELEMENTS(asked); i++) {
        g_autofree char *text = qtest_hmp(q, "%s", asked[i][0]);

        if (!strstr(text, asked[i][1]) || strstr(text, "Error")) {
            qtest_fail(__FILE__, __LINE__, "%s: %s", asked[i][0], text);
        }
    }
    check_hmp(q, "device_add nope,help", "Device 'nope' not found\r\n");
    qtest_end(q);
}

/* 'info' with arguments. */
static void test_hmp_info_arguments(void)
{
    QTest *q = qtest_start(BOARD "-drive if=none,id=d0,file=/dev/zero,format=raw,node-name=n0 "
                                 "-drive if=none,id=d1");
    g_autofree char *all = qtest_hmp(q, "info block"), *one = qtest_hmp(q, "info block d0");
    g_autofree char *verbose = qtest_hmp(q, "info block -v d0");
    g_autofree char *node = qtest_hmp(q, "info block -n n0");
    g_autofree char *nodes = qtest_hmp(q, "info block -n -v");
    g_autofree char *pic = qtest_hmp(q, "info pic");

    qtest_check(g_str_has_prefix(all, one) && strstr(all, "\r\nd1: "));
    qtest_check(g_str_has_prefix(one, "d0 (n0): /dev/zero (raw") && !strstr(one, "d1"));
    qtest_check(g_str_has_prefix(verbose, one) && strstr(verbose, "\r\nImages:\r\nimage: "));
    qtest_check(!strstr(verbose, "d1"));
    check_hmp(q, "info block d1", "d1: [not inserted]\r\n    Removable device: not locked\r\n");
    check_hmp(q, "info block d", "");
    qtest_check_str(node, "n0: /dev/zero (raw)\r\n    Cache mode:       writeback\r\n");
    qtest_check(strstr(nodes, "\r\nfile format: raw\r\n") && strstr(nodes, "(host_device"));
    check_hmp(q, "info block -n d0", "");
    check_hmp(q, "info registers", "No CPU available\r\n");
    check_hmp(q, "info registers 0", "CPU#0 not available\r\n");
    check_hmp(q, "info registers -a", "");
    check_hmp(q, "info lapic 3", "No CPU available\r\n");
    check_hmp(q, "info irq",
              "IRQ statistics for ioapic:\r\n 0: 1\r\nIRQ statistics for isa-i8259:\r\n 0: 1\r\n");
    qtest_check(g_str_has_prefix(pic, "ioapic0: ver="));
    qtest_check(strstr(pic, "\r\npic1: ") && strstr(pic, "\r\npic0: ") > strstr(pic, "pic1: "));
    check_hmp(q, "info mtree -D",
              "mtree: -D is not supported: a region that is disabled is not in the map\r\n");
    qtest_end(q);
}

static void check_result(QTest *q, const char *request, const char *expected)
{
    json_t *reply = qtest_qmp_raw(q, request),
           *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
    g_autofree char *text = NULL;

    if (!json_equal(json_object_get(reply, "return"), wanted)) {
        text = json_dumps(reply, 0);
        qtest_fail(__FILE__, __LINE__, "%s: %s, not %s", request, text, expected);
    }
    json_decref(reply);
    json_decref(wanted);
}

static void test_ringbuf(void)
{
    QTest *q = qtest_start(BOARD "-chardev ringbuf,id=r -chardev null,id=n");

#define WRITE(args) "{\"execute\":\"ringbuf-write\",\"arguments\":{" args "}}"
    check_result(q, WRITE("\"device\":\"r\",\"data\":\"ab\""), "{}");
    check_result(q, WRITE("\"device\":\"r\",\"data\":\"Y2Q=\",\"format\":\"base64\""), "{}");
    check_hmp(q, "ringbuf_write r \"e f\"", "");
    check_hmp(q, "ringbuf_read r 100", "abcde f\r\n");
    check_desc(q, WRITE("\"device\":\"x\",\"data\":\"\""), "GenericError", "Device 'x' not found");
    check_desc(q, WRITE("\"device\":\"n\",\"data\":\"\""), "GenericError",
               "n is not a ringbuf device");
    check_desc(q, WRITE("\"device\":\"r\",\"data\":\"\",\"format\":\"foo\""), "GenericError",
               "Parameter 'format' does not accept value 'foo'");
#undef WRITE
    qtest_end(q);
}

static void test_queries(void)
{
    QTest *q = qtest_start(BOARD);
    json_t *backends = qtest_qmp(q, "query-chardev-backends", NULL), *entry;
    bool found = false;
    size_t i;

    json_array_foreach(backends, i, entry)
    {
        found |= !strcmp(json_string_value(json_object_get(entry, "name")), "ringbuf");
    }
    qtest_check(found);
    json_decref(backends);
    check_desc(q, "{\"execute\":\"query-command-line-options\",\"arguments\":{\"option\":\"foo\"}}",
               "GenericError", "invalid option name: foo");
    check_result(q, "{\"execute\":\"query-current-machine\"}", "{\"wakeup-suspend-support\":true}");
    qtest_end(q);
    q = qtest_start("-machine none");
    check_result(q, "{\"execute\":\"query-current-machine\"}",
                 "{\"wakeup-suspend-support\":false}");
    qtest_end(q);
}

static void check_file(const char *path, const char *expected, size_t expected_len)
{
    g_autofree char *data = NULL;
    gsize len;

    qtest_check(g_file_get_contents(path, &data, &len, NULL));
    qtest_check_eq(len, expected_len);
    qtest_check(!memcmp(data, expected, len));
}

static void test_memsave(void)
{
    QTest *q = qtest_start(BOARD);
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "memory", NULL);
    g_autofree char *line = g_strdup_printf("pmemsave 0x1000-2 2*4 \"%s\"", path);

    qtest_writel(q, 0x1000, 0x64636261);
    json_decref(
        qtest_qmp(q, "pmemsave", "{s:i,s:i,s:s}", "val", 0x1000, "size", 3, "filename", path));
    check_file(path, "abc", 3);
    check_hmp(q, line, "");
    check_file(path, "\0\0abcd\0\0", 8);
    /* Behind all that there is. */
    json_decref(qtest_qmp(q, "pmemsave", "{s:I,s:i,s:s}", "val", (json_int_t)1 << 40, "size", 4,
                          "filename", path));
    check_file(path, "\0\0\0\0", 4);
    check_desc(q,
               "{\"execute\":\"pmemsave\",\"arguments\":{\"val\":0,\"size\":4611686018427387904,"
               "\"filename\":\"/nonexistent\"}}",
               "GenericError",
               "Parameter 'size' expects a number of bytes up to 4362076160, as much as this guest "
               "can have");
    check_hmp(q, "pmemsave 0 1 \"/nonexistent/x\"",
              "Error: Could not open '/nonexistent/x': No such file or directory\r\n");
    check_hmp(q, "memsave 0 1 \"/nonexistent/x\"",
              "Error: Parameter 'cpu-index' expects a CPU number\r\n");
    check_hmp(q, "memsave 0 1",
              "memsave: string expected\r\nTry \"help memsave\" for more information\r\n");
    unlink(path);
    qtest_end(q);
}

static void test_query_pci(void)
{
    QTest *q = qtest_start(BOARD "-device virtio-rng-pci,id=r0,addr=5.1");
    json_t *buses = qtest_qmp(q, "query-pci", NULL), *bus = json_array_get(buses, 0);
    json_t *devices = json_object_get(bus, "devices"), *rng, *regions, *bar;
    int slot = -1, vendor = 0, device = 0, irq_pin = 0;
    const char *id = NULL, *type = NULL;

    qtest_check_eq(json_array_size(buses), 1);
    rng = json_array_get(devices, json_array_size(devices) - 1);
    qtest_check_eq(json_unpack(rng, "{s:i,s:s,s:{s:i,s:i},s:i,s:o}", "slot", &slot, "qdev_id", &id,
                               "id", "vendor", &vendor, "device", &device, "irq_pin", &irq_pin,
                               "regions", &regions),
                   0);
    qtest_check_eq(slot, 5);
    qtest_check_eq(vendor, 0x1af4);
    qtest_check_eq(device, 0x1005);
    qtest_check_eq(irq_pin, 1);
    qtest_check_str(id, "r0");
    bar = json_array_get(regions, 0);
    qtest_check_eq(json_unpack(bar, "{s:s}", "type", &type), 0);
    qtest_check_str(type, "io");
    qtest_check_eq(json_integer_value(json_object_get(bar, "address")), -1);
    json_decref(buses);
    qtest_end(q);
    q = qtest_start("-machine none");
    check_result(q, "{\"execute\":\"query-pci\"}", "[]");
    qtest_end(q);
}

/* A monitor of its own on a socket: what its client sees, byte by byte. */

static int connect_to(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};

    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    qtest_check_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static char *read_until(int fd, const char *end)
{
    GString *text = g_string_new(NULL);
    char c;

    while (!g_str_has_suffix(text->str, end)) {
        if (recv(fd, &c, 1, 0) != 1) {
            qtest_fail(__FILE__, __LINE__, "waited in vain for '%s'; came: '%s'", end, text->str);
        }
        g_string_append_c(text, c);
    }
    return g_string_free(text, FALSE);
}

/* A terminal's output up to the n-th 'end'. */
static char *read_terminal(int fd, const char *end, unsigned n)
{
    GString *text = g_string_new(NULL);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    char c;

    while (n) {
        if (poll(&poll_fd, 1, 10000) != 1 || read(fd, &c, 1) != 1) {
            qtest_fail(__FILE__, __LINE__, "waited in vain for '%s'; came: '%s'", end, text->str);
        }
        g_string_append_c(text, c);
        n -= g_str_has_suffix(text->str, end);
    }
    return g_string_free(text, FALSE);
}

static void say(int fd, const char *text)
{
    qtest_check_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect(int fd, const char *text, const char *end, const char *expected)
{
    g_autofree char *got = NULL;

    say(fd, text);
    got = read_until(fd, end);
    if (!strstr(got, expected)) {
        qtest_fail(__FILE__, __LINE__, "'%s' gave '%s', without '%s'", text, got, expected);
    }
}

static QTest *start_with(const char *what, const char *name, int *fd)
{
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), name, NULL);
    QTest *q = qtest_startf(BOARD "-%s unix:%s,server=on,wait=off", what, path);

    *fd = connect_to(path);
    return q;
}

static void test_negotiation(void)
{
    int fd;
    QTest *q = start_with("qmp", "qmp", &fd);

    expect(fd, "", "\r\n", "{\"QMP\": {\"version\": {\"qemu\": {");
    expect(fd, "{\"execute\":\"query-status\"}\n", "\r\n", "Expecting capabilities negotiation");
    expect(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"x\"]}}", "\r\n",
           "\"error\"");
    expect(fd, "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}\r\n", "\r\n",
           "{\"return\": {}}\r\n");
    expect(fd, "{\"exec-oob\":\"set-action\",\"arguments\":{\"panic\":\"none\"},\"id\":7}", "\r\n",
           "{\"return\": {}, \"id\": 7}");
    expect(fd, "{\"execute\":\"query-st", "", "");
    /* Half a command, given up. */
    expect(fd, "\xff", "\r\n", "\"error\"");
    expect(fd, "{\"execute\":\"stop\"}", "{\"return\": {}}\r\n", "\"event\": \"STOP\"");
    close(fd);
    qtest_end(q);
}

static void send_with_fd(int sock, const char *text, int fd)
{
    struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof control.buf};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    qtest_check_eq(sendmsg(sock, &msg, 0), strlen(text));
}

static void test_descriptors(void)
{
    int fd, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    QTest *q = start_with("qmp", "qmp", &fd);

    g_free(read_until(fd, "\r\n"));
    expect(fd, "{\"execute\":\"qmp_capabilities\"}", "\r\n", "{\"return\": {}}");
    expect(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}", "\r\n",
           "No file descriptor supplied via SCM_RIGHTS");
    send_with_fd(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}", null);
    expect(fd, "", "\r\n", "{\"return\": {}}");
    send_with_fd(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"9\"}}", null);
    expect(fd, "", "\r\n", "expects a name not starting with a digit");
    expect(fd, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"a\"}}", "\r\n",
           "{\"return\": {}}");
    expect(fd, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"a\"}}", "\r\n",
           "File descriptor named 'a' not found");
    send_with_fd(fd, "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":5,\"opaque\":\"o\"}}",
                 null);
    expect(fd, "", "\r\n", "\"fdset-id\": 5");
    expect(fd, "{\"execute\":\"query-fdsets\"}", "\r\n", "\"opaque\": \"o\"");
    /* Whatever opens files finds it. */
    expect(fd,
           "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"f\",\"backend\":{\"type\":"
           "\"serial\",\"data\":{\"device\":\"/dev/fdset/5\"}}}}",
           "\r\n", "{\"return\": {}}");
    expect(fd, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":5}}", "\r\n",
           "{\"return\": {}}");
    expect(fd, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":5}}", "\r\n",
           "'fdset-id:5' not found");
    close(fd);
    close(null);
    qtest_end(q);
}

/* Keys are echoed, over a socket as well; the prompt follows each command. */
static void test_hmp_session(void)
{
    int fd;
    QTest *q = start_with("monitor", "hmp", &fd);

    expect(fd, "", "(qemu) ", "monitor - type 'help' for more information\r\n");
    expect(fd, "info status\n", "(qemu) ", "info status\r\nVM status: running\r\n(qemu) ");
    expect(fd, "infx\x7fo name\r", "(qemu) ", "infx\b \bo name\r\n(qemu) ");
    expect(fd, "garbage\x15stop\n", "(qemu) ", "stop\r\n(qemu) ");
    /* Several lines at once run one after the other. */
    expect(fd, "cont\nstop\ninfo status\n", "VM status: paused\r\n(qemu) ", "stop");
    expect(fd, "info history\n", "(qemu) ", "2: 'stop'\r\n");
    close(fd);
    qtest_end(q);
}

static void type(int fd, const char *keys)
{
    qtest_check_eq(write(fd, keys, strlen(keys)), strlen(keys));
}

/* On a terminal: Tab completes, the arrows edit and bring lines back. */
static void test_editing(void)
{
    QTest *q = qtest_start(BOARD "-monitor pty -device virtio-rng-pci,id=rng7");
    json_t *list = qtest_qmp(q, "query-chardev", NULL), *entry;
    g_autofree char *path = NULL, *first = NULL, *text = NULL;
    struct termios modes;
    size_t i;
    int fd;

    json_array_foreach(list, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "filename"));

        if (g_str_has_prefix(name, "pty:")) {
            path = g_strdup(name + strlen("pty:"));
        }
    }
    json_decref(list);
    qtest_check(path != NULL);
    fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    qtest_check(fd >= 0 && tcgetattr(fd, &modes) == 0);
    cfmakeraw(&modes);
    tcsetattr(fd, TCSANOW, &modes);
    type(fd, "info vers\t\r");
    first = read_terminal(fd, "\r\n(qemu) ", 2);
    if (strstr(first, "unknown command")) {
        qtest_skip("there is no libedit");
    }
    qtest_check(strstr(first, "7.2.22"));
    type(fd, "p 2\x1b[D1+\r\x1b[A\r");
    text = read_terminal(fd, "0x3\r\n", 2);
    g_free(text);
    type(fd, "device_del rn\t\r");
    text = read_terminal(fd, "g7", 1);
    type(fd, "\x15netdev_add hubp\t");
    g_free(read_terminal(fd, "ort", 1));
    type(fd, "\x15object_add iothread,poll-m\t");
    g_free(read_terminal(fd, "ax-ns=", 1));
    close(fd);
    qtest_end(q);
}

static void test_quit(void)
{
    int fd;
    QTest *q = start_with("monitor", "hmp", &fd);

    g_free(read_until(fd, "(qemu) "));
    say(fd, "quit\n");
    qtest_check_eq(qtest_wait_exit(q), 0);
    close(fd);
}

static void test_chardev_add(void)
{
    QTest *q = qtest_start(BOARD);
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "c", NULL), *told = NULL;
    json_t *reply = qtest_qmp(q, "chardev-add", "{s:s,s:{s:s,s:{}}}", "id", "p", "backend", "type",
                              "pty", "data");

    qtest_check(g_str_has_prefix(json_string_value(json_object_get(reply, "pty")), "/dev/pts/"));
    json_decref(reply);
    json_decref(qtest_qmp(q, "chardev-add", "{s:s,s:{s:s,s:{s:{s:s,s:{s:s}},s:b,s:b}}}", "id", "s",
                          "backend", "type", "socket", "data", "addr", "type", "unix", "data",
                          "path", path, "server", 1, "wait", 0));
    close(connect_to(path));
    json_decref(qtest_qmp(q, "chardev-remove", "{s:s}", "id", "p"));
    told = qtest_hmp(q, "chardev-add pty,id=q");
    qtest_check(g_str_has_prefix(told, "char device redirected to /dev/pts/"));
    qtest_check(strstr(told, "(label q)") != NULL);
    json_decref(qtest_qmp(q, "chardev-remove", "{s:s}", "id", "s"));
    qtest_end(q);
}

/* More than any queue holds: nothing is lost, whoever reads slowly. */
static void test_long_output(void)
{
    QTest *q = qtest_start(BOARD);
    g_autofree char *text = qtest_hmp(q, "xp /65536xg 0");
    const char *line = text;

    for (unsigned addr = 0; addr < 65536 * 8; addr += 16) {
        g_autofree char *start = g_strdup_printf("%016x:", addr);

        if (!g_str_has_prefix(line, start)) {
            qtest_fail(__FILE__, __LINE__, "at 0x%x: '%.60s'", addr, line);
        }
        line = strchr(line, '\n');
        qtest_check(line != NULL);
        line++;
    }
    qtest_end(q);
}

static void check_refused(const char *args, const char *expected)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);

    if (status != 1 || !strstr(text, expected)) {
        qtest_fail(__FILE__, __LINE__, "'%s' ended with status %d and said: %s", args, status,
                   text);
    }
}

static void test_refused_options(void)
{
    check_refused("-sandbox on", "-sandbox: only 'off' is supported");
    check_refused("-device virtio-rng-pci,id=9a",
                  "-device virtio-rng-pci,id=9a: Parameter 'id' expects an identifier");
    check_refused("-drive if=none,file=/none/such,file.locking=off",
                  "-drive if=none,file=/none/such,file.locking=off: Could not open '/none/such': "
                  "No such file");
    check_refused("-name a,debug-threads=maybe", "Parameter 'debug-threads' expects 'on' or 'off'");
    check_refused("-msg guest-name=maybe", "-msg guest-name=maybe: Parameter 'guest-name' expects");
    check_refused("-name Ada -msg guest-name=on -device nope", "Ada vmm: -device nope");
    check_refused("-add-fd fd=0,set=1", "fd cannot be a standard I/O stream");
    check_refused("-m much", "-m much: Parameter 'size' expects a size value");
    check_refused("-m much", ", not 'much'");
    check_refused("-smp 2,cores=x", "-smp 2,cores=x: Parameter 'cores' expects integer, not 'x'");
    check_refused("-smp -1", "Parameter 'cpus' expects uint32_t, not '-1'");
    check_refused("-uuid x", "-uuid: Parameter 'uuid' expects a UUID such as");
    check_refused("-uuid auto", "-uuid: Parameter 'uuid' expects a UUID such as");
    check_refused("-smbios type=1,uuid=x", "-smbios type=1: Parameter 'uuid' expects a UUID");
    check_refused("-M pc,max-ram-below-4g=8G",
                  "Machine option 'max-ram-below-4g=8589934592' expects size less than");
    check_refused("-M pc,max-ram-below-4g=abc", "'max-ram-below-4g' expects a size value");
    check_refused("-M pc,max-ram-below-4g=abc", ", not 'abc'");
    check_refused(
        "-overcommit mem-lock=foo",
        "-overcommit mem-lock=foo: Parameter 'mem-lock' expects 'on' or 'off', not 'foo'");
    check_refused("-boot menu=foo", "Parameter 'menu' expects 'on' or 'off', not 'foo'");
    check_refused("-cpu qemu64,family=abc", "Parameter 'family' expects integer, not 'abc'");
    check_refused("-global driver=a,property=b", "expected DRIVER.PROPERTY=VALUE, or the keys");
    check_refused("-global driver=a,proprty=b,value=c", "did you mean 'property'?");
    check_refused("-nic user,modl=virtio", "Invalid parameter 'modl'; did you mean 'model'?");
    check_refused("-nic user,hstfwd=x", "Invalid parameter 'hstfwd'; did you mean 'hostfwd'?");
    check_refused("-net nic,modl=virtio", "Invalid parameter 'modl'; did you mean 'model'?");
    check_refused("-nic usr", "usr");
    check_refused("-netdev user,id=n,hostfwd=tcp::1-:1,hostfwd=tcp::5555",
                  "-netdev user,id=n,hostfwd=tcp::1-:1,hostfwd=tcp::5555: Invalid host");
    check_refused("-chardev null,id=1c", "-chardev null,id=1c: Parameter 'id' expects an identif");
    check_refused("-readconfig /none", "-readconfig /none: Could not open");
    check_refused("-drive if=floppi", "unsupported bus type 'floppi'");
    check_refused("-blockdev raw,node-name=n,file=other,file.locking=off",
                  "Parameters 'file.*' used inconsistently");
}

/* The machine's memory has the size of its backend; smp.cpus= is -smp's. */
static void test_machine_parts(void)
{
    QTest *q =
        qtest_start("-nodefaults -M pc,memory-backend=m,smp.cpus=2,smp.sockets=1,boot.menu=on "
                    "-object memory-backend-ram,id=m,size=48M -parallel none");

    qtest_check_eq(qtest_ram_size(q), 48 << 20);
    qtest_check_eq(qtest_fw_cfg_read16(q, 5), 2);   /* number of CPUs */
    qtest_check_eq(qtest_fw_cfg_read16(q, 0xe), 1); /* boot menu */
    qtest_end(q);
    q = qtest_start("-nodefaults -M pc,memory.size=32M -smp 1,clusters=1");
    qtest_check_eq(qtest_ram_size(q), 32 << 20);
    qtest_end(q);
    check_refused("-M pc,smp.cpu=2", "Invalid parameter 'cpu'; did you mean 'cpus'?");
    check_refused("-M pc,smp=2", "Invalid parameter type for 'smp', expected: object");
    check_refused("-M pc,firmwar=x", "did you mean 'firmware'?");
    check_refused("-global foo", "-global foo: expected DRIVER.PROPERTY=VALUE");
    check_refused("-M pc,firmware=/none", "could not load PC BIOS '/none'");
    check_refused("-M pc,append=quiet", "-append only allowed with -kernel option");
    check_refused("-smp 2,clusters=2", "-smp clusters=2: clusters not supported by this machine's");
    check_refused("-smp 2,clusters=0", "must be greater than zero (-smp clusters=0)");
    check_refused("-parallel null", "-parallel null: only 'none' is supported");
    check_refused("-M pc,memory-backend=m", "-machine memory-backend=m: object 'm' not found");
    check_refused("-m 64M -M pc,memory-backend=m -object memory-backend-ram,id=m,size=32M",
                  "67108864 and 33554432 bytes");
}

/* Groups have QEMU's names, and -global's is one of three keys. */
static void test_config_file(void)
{
    static const char text[] = "[global]\n"
                               "  driver = \"virtio-rng-pci\"\n"
                               "  property = \"max-bytes\"\n"
                               "  value = \"1234\"\n"
                               "[smp-opts]\n"
                               "  cpus = \"3\"\n"
                               "[boot-opts]\n"
                               "  menu = \"on\"\n"
                               "[device \"r0\"]\n"
                               "  driver = \"virtio-rng-pci\"\n";
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "config", NULL);
    g_autofree char *refused = g_strdup_printf("-readconfig %s", path);
    QTest *q;
    json_t *value;

    qtest_check(g_file_set_contents(path, text, -1, NULL));
    q = qtest_startf("-nodefaults -readconfig %s", path);
    qtest_check_eq(qtest_fw_cfg_read16(q, 5), 3); /* number of CPUs */
    value = qtest_qmp(q, "qom-get", "{s:s, s:s}", "path", "r0", "property", "max-bytes");
    qtest_check_eq(json_integer_value(value), 1234);
    json_decref(value);
    qtest_end(q);

    qtest_check(g_file_set_contents(path, "[smp-opt]\n", -1, NULL));
    check_refused(refused,
                  "config:1: There is no option group 'smp-opt'; did you mean 'smp-opts'?");
}

/* Help ends the program, well. */
static void test_option_help(void)
{
    static const char *const asked[][2] = {{"-smp help", "cores="},
                                           {"-boot help", "order="},
                                           {"-m help", "size="},
                                           {"-vga help", "none"},
                                           {"-d help", "guest_errors"},
                                           {"-nic user,model=help", "virtio-net-pci"},
                                           {"-accel help", "supported in QEMU binary:\nkvm\n"},
                                           {"-netdev help", "backend types:\nuser\n"},
                                           {"-nic help", "backend types:\nuser\n"},
                                           {"-net help", "\nhubport\nnic\n"},
                                           {"-chardev help", "backend types: \n  "},
                                           {"-chardev help", "\n  null\n"},
                                           {"-object help", "\n  iothread\n"},
                                           {"-object iothread,help", "iothread options:\n"},
                                           {"-drive format=help", "Supported formats: "},
                                           {"-nic model=help", "Supported NIC models:\n"},
                                           {"-device help", "virtio-blk-pci"},
                                           {"-device virtio-blk-pci,help", "drive="}};

    for (unsigned i = 0; i < G_N_ELEMENTS(asked); i++) {
        int status;
        g_autofree char *text = qtest_start_fails(asked[i][0], &status);

        if (status != 0 || !strstr(text, asked[i][1])) {
            qtest_fail(__FILE__, __LINE__, "'%s' ended with status %d and said: %s", asked[i][0],
                       status, text);
        }
    }
}

/* What is added where the command line leaves it open. */
static void test_defaults(void)
{
    static const char *const ports[][2] = {
        {"-nographic", "serial0: filename=stdio"}, /* -mon is there: no other monitor */
        {"-display none", "serial0: filename=null"},
        {"-chardev null,id=mine -device isa-serial,chardev=mine", "mine: filename=null"}};

    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++) {
        QTest *q = qtest_start(ports[i][0]);
        g_autofree char *text = qtest_hmp(q, "info chardev");

        if (!strstr(text, ports[i][1]) || (i == 2 && strstr(text, "serial0"))) {
            qtest_fail(__FILE__, __LINE__, "'%s' has %s", ports[i][0], text);
        }
        qtest_end(q);
    }
    /* Without a serial port on it the monitor has the terminal. */
    check_refused("-accel qtest -nographic -serial null -chardev stdio,id=x",
                  "-monitor stdio: cannot use stdio by multiple character devices");
}

/* Of whoever asks for the reset. */
static void test_no_reboot(void)
{
    QTest *q = qtest_start("-no-reboot -no-shutdown");
    json_t *event;

    json_decref(qtest_qmp(q, "system_reset", NULL));
    event = qtest_wait_event(q, "SHUTDOWN");
    qtest_check_str(json_string_value(json_object_get(json_object_get(event, "data"), "reason")),
                    "host-qmp-system-reset");
    json_decref(event);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"errors", test_errors},
    {"id", test_id},
    {"malformed", test_malformed},
    {"schema", test_schema},
    {"help", test_help},
    {"infos", test_infos},
    {"hmp", test_hmp},
    {"hmp-errors", test_hmp_errors},
    {"hmp-kinds", test_hmp_kinds},
    {"hmp-info-arguments", test_hmp_info_arguments},
    {"ringbuf", test_ringbuf},
    {"queries", test_queries},
    {"memsave", test_memsave},
    {"query-pci", test_query_pci},
    {"negotiation", test_negotiation},
    {"descriptors", test_descriptors},
    {"hmp-session", test_hmp_session},
    {"editing", test_editing},
    {"quit", test_quit},
    {"chardev-add", test_chardev_add},
    {"long-output", test_long_output},
    {"refused-options", test_refused_options},
    {"option-help", test_option_help},
    {"defaults", test_defaults},
    {"no-reboot", test_no_reboot},
    {"config-file", test_config_file},
    {"machine-parts", test_machine_parts},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
