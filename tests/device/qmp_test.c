/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: the format of messages, errors, the schema, file descriptors, and the results of queries. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor_client.h"

static void test_errors(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);

    monitor_check_error(q, "{\"execute\":\"foo\"}", "CommandNotFound",
                        "The command foo has not been found");
    monitor_check_error(q, "{\"execute\":\"qmp_capabilities\"}", "CommandNotFound",
                        "Capabilities negotiation is already complete, command ignored");
    monitor_check_error(q, "{\"execute\":\"stop\",\"arguments\":{\"x\":1}}", "GenericError",
                        "Parameter 'x' is unexpected");
    monitor_check_error(q, "{\"execute\":\"qom-list\"}", "GenericError",
                        "Parameter 'path' is missing");
    monitor_check_error(q, "{\"execute\":\"qom-list\",\"arguments\":{\"path\":1}}", "GenericError",
                        "Invalid parameter type for 'path', expected: string");
    monitor_check_error(q, "{\"execute\":1}", "GenericError",
                        "QMP input member 'execute' must be a string");
    monitor_check_error(q, "{\"a\":1}", "GenericError", "QMP input member 'a' is unexpected");
    monitor_check_error(q, "{}", "GenericError", "QMP input lacks member 'execute'");
    monitor_check_error(q, "[]", "GenericError", "QMP input must be a JSON object");
    monitor_check_error(q, "{\"execute\":\"stop\",\"arguments\":[]}", "GenericError",
                        "QMP input member 'arguments' must be an object");
    monitor_check_error(q, "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"no\"}}",
                        "DeviceNotFound", "Device 'no' not found");
    monitor_check_error(q, "{\"exec-oob\":\"query-status\"}", "GenericError",
                        "QMP input member 'exec-oob' is unexpected");
    qtest_end(q);
}

static void test_id(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
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
    QTest *q = qtest_start(MONITOR_BOARD);
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

static void test_ringbuf(void)
{
    QTest *q = qtest_start(MONITOR_BOARD "-chardev ringbuf,id=r -chardev null,id=n");

#define WRITE(args) "{\"execute\":\"ringbuf-write\",\"arguments\":{" args "}}"
    monitor_check_result(q, WRITE("\"device\":\"r\",\"data\":\"ab\""), "{}");
    monitor_check_result(q, WRITE("\"device\":\"r\",\"data\":\"Y2Q=\",\"format\":\"base64\""),
                         "{}");
    monitor_check_hmp(q, "ringbuf_write r \"e f\"", "");
    monitor_check_hmp(q, "ringbuf_read r 100", "abcde f\r\n");
    monitor_check_result(q, WRITE("\"device\":\"r\",\"data\":\"AP8=\",\"format\":\"base64\""),
                         "{}");
    monitor_check_result(q,
                         "{\"execute\":\"ringbuf-read\",\"arguments\":{\"device\":\"r\","
                         "\"size\":9,\"format\":\"base64\"}}",
                         "\"AP8=\"");
    monitor_check_error(q, WRITE("\"device\":\"x\",\"data\":\"\""), "GenericError",
                        "Device 'x' not found");
    monitor_check_error(q, WRITE("\"device\":\"n\",\"data\":\"\""), "GenericError",
                        "n is not a ringbuf device");
    monitor_check_error(q, WRITE("\"device\":\"r\",\"data\":\"\",\"format\":\"foo\""),
                        "GenericError", "Parameter 'format' does not accept value 'foo'");
#undef WRITE
    qtest_end(q);
}

static void test_queries(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
    json_t *backends = qtest_qmp(q, "query-chardev-backends", NULL), *entry;
    bool found = false;
    size_t i;

    json_array_foreach(backends, i, entry)
    {
        found |= !strcmp(json_string_value(json_object_get(entry, "name")), "ringbuf");
    }
    qtest_check(found);
    json_decref(backends);
    monitor_check_error(
        q, "{\"execute\":\"query-command-line-options\",\"arguments\":{\"option\":\"foo\"}}",
        "GenericError", "invalid option name: foo");
    monitor_check_result(q, "{\"execute\":\"query-current-machine\"}",
                         "{\"wakeup-suspend-support\":true}");
    monitor_check_result(q, "{'execute':'query-memory-size-summary'}",
                         "{\"base-memory\":67108864,\"plugged-memory\":0}");
    monitor_check_result(q,
                         "{'execute':'qom-get','arguments':{'path':'/machine','property':'type'}}",
                         "\"pc-i440fx-7.2-machine\"");
    monitor_check_result(
        q, "{'execute':'qom-get','arguments':{'path':'/machine','property':'smm'}}", "\"auto\"");
    monitor_check_result(q,
                         "{'execute':'qom-get','arguments':{'path':'/objects','property':'type'}}",
                         "\"container\"");
    monitor_check_error(q, "{'execute':'qom-get','arguments':{'path':'/machine','property':'x'}}",
                        "GenericError", "Property 'pc-i440fx-7.2-machine.x' not found");
    qtest_end(q);
    q = qtest_start("-machine none");
    monitor_check_result(q, "{\"execute\":\"query-current-machine\"}",
                         "{\"wakeup-suspend-support\":false}");
    qtest_end(q);
}

static void test_query_pci(void)
{
    QTest *q = qtest_start(MONITOR_BOARD "-device virtio-rng-pci,id=r0,addr=5.1");
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
    monitor_check_result(q, "{\"execute\":\"query-pci\"}", "[]");
    qtest_end(q);
}

static void test_negotiation(void)
{
    int fd;
    QTest *q = monitor_start("qmp", "qmp", &fd);
    g_autofree char *path = NULL;

    monitor_expect(fd, "", "\r\n", "{\"QMP\": {\"version\": {\"qemu\": {");
    monitor_expect(fd, "{\"execute\":\"query-status\"}\n", "\r\n",
                   "Expecting capabilities negotiation");
    monitor_expect(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"x\"]}}",
                   "\r\n", "\"error\"");
    monitor_expect(fd, "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}\r\n", "\r\n",
                   "{\"return\": {}}\r\n");
    monitor_expect(fd, "{\"exec-oob\":\"set-action\",\"arguments\":{\"panic\":\"none\"},\"id\":7}",
                   "\r\n", "{\"return\": {}, \"id\": 7}");
    monitor_expect(fd, "{\"exec-oob\":\"query-status\"}", "\r\n",
                   "The command query-status does not support OOB");
    monitor_expect(fd, "{\"execute\":\"query-st", "", "");
    /* Part of a command, then a reset of the parser by 0xff. */
    monitor_expect(fd, "\xff", "\r\n", "\"error\"");
    monitor_expect(fd, "{\"execute\":\"stop\"}", "{\"return\": {}}\r\n", "\"event\": \"STOP\"");
    close(fd);
    /* The next client has what it asks for itself. */
    path = g_build_filename(qtest_tmp_dir(), "qmp", NULL);
    fd = monitor_connect(path);
    monitor_expect(fd, "{\"execute\":\"qmp_capabilities\"}", "\"return\": {}}\r\n", "");
    monitor_expect(fd, "{\"exec-oob\":\"set-action\",\"arguments\":{\"panic\":\"none\"}}", "\r\n",
                   "QMP input member 'exec-oob' is unexpected");
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
    QTest *q = monitor_start("qmp", "qmp", &fd);

    g_free(monitor_read_until(fd, "\r\n"));
    monitor_expect(fd, "{\"execute\":\"qmp_capabilities\"}", "\r\n", "{\"return\": {}}");
    monitor_expect(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}", "\r\n",
                   "No file descriptor supplied via SCM_RIGHTS");
    send_with_fd(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"a\"}}", null);
    monitor_expect(fd, "", "\r\n", "{\"return\": {}}");
    send_with_fd(fd, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"9\"}}", null);
    monitor_expect(fd, "", "\r\n", "expects a name not starting with a digit");
    monitor_expect(fd, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"a\"}}", "\r\n",
                   "{\"return\": {}}");
    monitor_expect(fd, "{\"execute\":\"closefd\",\"arguments\":{\"fdname\":\"a\"}}", "\r\n",
                   "File descriptor named 'a' not found");
    send_with_fd(fd, "{\"execute\":\"add-fd\",\"arguments\":{\"fdset-id\":5,\"opaque\":\"o\"}}",
                 null);
    monitor_expect(fd, "", "\r\n", "\"fdset-id\": 5");
    monitor_expect(fd, "{\"execute\":\"query-fdsets\"}", "\r\n", "\"opaque\": \"o\"");
    /* /dev/fdset/ works wherever a file is opened. */
    monitor_expect(fd,
                   "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"f\",\"backend\":{\"type\":"
                   "\"serial\",\"data\":{\"device\":\"/dev/fdset/5\"}}}}",
                   "\r\n", "{\"return\": {}}");
    monitor_expect(fd, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":5}}", "\r\n",
                   "{\"return\": {}}");
    monitor_expect(fd, "{\"execute\":\"remove-fd\",\"arguments\":{\"fdset-id\":5}}", "\r\n",
                   "'fdset-id:5' not found");
    close(fd);
    close(null);
    qtest_end(q);
}

static void test_chardev_add(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "c", NULL), *told = NULL;
    json_t *reply = qtest_qmp(q, "chardev-add", "{s:s,s:{s:s,s:{}}}", "id", "p", "backend", "type",
                              "pty", "data");

    qtest_check(g_str_has_prefix(json_string_value(json_object_get(reply, "pty")), "/dev/pts/"));
    json_decref(reply);
    json_decref(qtest_qmp(q, "chardev-add", "{s:s,s:{s:s,s:{s:{s:s,s:{s:s}},s:b,s:b}}}", "id", "s",
                          "backend", "type", "socket", "data", "addr", "type", "unix", "data",
                          "path", path, "server", 1, "wait", 0));
    close(monitor_connect(path));
    json_decref(qtest_qmp(q, "chardev-remove", "{s:s}", "id", "p"));
    told = qtest_hmp(q, "chardev-add pty,id=q");
    qtest_check(g_str_has_prefix(told, "char device redirected to /dev/pts/"));
    qtest_check(strstr(told, "(label q)") != NULL);
    json_decref(qtest_qmp(q, "chardev-remove", "{s:s}", "id", "s"));
    qtest_end(q);
}

/* Text that is no message gives one error, and the next command is answered. */
static void test_recovery(void)
{
#define BYTES(text) text, sizeof(text) - 1
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {BYTES("{\"execute\":\"query-name\",\"id\":\"a\nb\"}\r\n")},
        {BYTES("{\"execute\":\"query-name\",\"id\":\"a\r\n")},
        {BYTES("{\"execute\":\"query-\tname\"}\n")},
        {BYTES("\0")},
        {BYTES("{\"execute\":\"query-name\",\0\"id\":1}\n")},
        {BYTES("{\"execute\":\"query-name\",\"id\":\"\xc3\x28\"}")},
        {BYTES("{\"execute\":\"query-name\",\"id\":\"\\ud800\"}")},
        {BYTES("{\"execute\":\"query-\xff")},
        {BYTES("{\"execute\":\"query-name\\u0000\"}")},
        {BYTES("{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/"
               "machine\\u0000x\",\"property\":\"type\"}}")},
        {BYTES("{\"execute\":\"qom-list\",\"arguments\":{\"path\":18446744073709551615}}")},
        {BYTES("{\"execute\":\"balloon\",\"arguments\":{\"value\":9223372036854775808}}")},
        {BYTES("[}")},
        {BYTES("{\"execute\":[}")},
        {BYTES("nonsense, and more of it\n")},
    };
#undef BYTES
    int fd;
    QTest *q = monitor_start("qmp", "qmp", &fd);

    g_free(monitor_read_until(fd, "\r\n"));
    monitor_expect(fd, "{'execute':'qmp_capabilities'}", "\r\n", "{\"return\": {}}");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        qtest_check_eq(send(fd, bad[i].bytes, bad[i].len, MSG_NOSIGNAL), bad[i].len);
        monitor_expect(fd, "", "\r\n", "{\"error\": {\"class\": \"GenericError\"");
        monitor_expect(fd, "{\"execute\":\"query-name\"}", "\r\n", "{\"return\": {}}\r\n");
    }
    close(fd);
    qtest_end(q);
}

/* An id comes back as it was sent. */
static void test_id_text(void)
{
    static const char *const ids[][2] = {
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9223372036854775808"},
        {"[18446744073709551615]", "[18446744073709551615]"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"18446744073709551616", "1.8446744073709552e19"},
        {"\"a\\u0000b\"", "\"a\\u0000b\""},
        {"'it\\'s \"this\"'", "\"it's \\\"this\\\"\""},
    };
    g_autofree char *open = g_strnfill(1000, '['), *close_ = g_strnfill(1000, ']');
    g_autofree char *deep = g_strdup_printf("{'execute':'foo','id':%s%s}", open, close_);
    int fd;
    QTest *q = monitor_start("qmp", "qmp", &fd);

    g_free(monitor_read_until(fd, "\r\n"));
    for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_autofree char *request = g_strdup_printf("{'execute':'foo','id':%s}", ids[i][0]);
        g_autofree char *expected = g_strdup_printf("\"id\": %s}\r\n", ids[i][1]);

        monitor_expect(fd, request, "\r\n", expected);
    }
    monitor_expect(fd, deep, "\r\n", close_);
    close(fd);
    qtest_end(q);
}

/* A uint64 argument takes values up to 2^64 - 1. */
static void test_big_integer(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
    json_t *value;

    monitor_check_result(q,
                         "{'execute':'device_add','arguments':{'driver':'virtio-rng-pci',"
                         "'id':'r0','max-bytes':9223372036854775807}}",
                         "{}");
    value = qtest_qmp(q, "qom-get", "{s:s,s:s}", "path", "r0", "property", "max-bytes");
    qtest_check_eq(json_integer_value(value), INT64_MAX);
    json_decref(value);
    monitor_check_error(q,
                        "{'execute':'device_add','arguments':{'driver':'virtio-rng-pci',"
                        "'max-bytes':18446744073709551615}}",
                        "GenericError",
                        "'max-bytes' parameter must be non-negative, and less than 2^63");
    monitor_check_error(q,
                        "{'execute':'device_add','arguments':{'driver':'virtio-rng-pci',"
                        "'max-bytes':18446744073709551616}}",
                        "GenericError",
                        "Invalid parameter type for 'max-bytes', expected: integer");
    qtest_end(q);
}

/* Events that a command causes are sent before its reply. */
static void test_order(void)
{
    static const char *const commands[][2] = {
        {"stop", "STOP"},
        {"cont", "RESUME"},
        {"system_powerdown", "POWERDOWN"},
        {"system_reset", "RESET"},
        {"human-monitor-command\",\"arguments\":{\"command-line\":\"system_powerdown\"},\"id\":\"x",
         "POWERDOWN"},
        {"quit", "SHUTDOWN"},
    };
    int fd;
    QTest *q = monitor_start("qmp", "qmp", &fd);

    g_free(monitor_read_until(fd, "\r\n"));
    monitor_expect(fd, "{'execute':'qmp_capabilities'}", "\r\n", "{\"return\": {}}");
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *request = g_strdup_printf("{\"execute\":\"%s\"}", commands[i][0]);
        g_autofree char *event = g_strdup_printf("\"event\": \"%s\"", commands[i][1]);

        monitor_expect(fd, request, "\r\n", event);
        monitor_expect(fd, "", "\r\n", "{\"return\": ");
    }
    qtest_check_eq(qtest_wait_exit(q), 0);
    close(fd);
}

/* An argument of another JSON type is refused, except by device_add, as in QEMU. */
static void test_types(void)
{
    static const char *const refused[][3] = {
        {"object-add", "'qom-type':'memory-backend-ram','id':'m','size':'1048576'",
         "'size', expected: integer"},
        {"object-add", "'qom-type':'memory-backend-ram','id':'m','size':1048576,'share':'on'",
         "'share', expected: boolean"},
        {"object-add", "'qom-type':'iothread','id':'i','poll-max-ns':'5'",
         "'poll-max-ns', expected: integer"},
        {"object-add", "'qom-type':'iothread','id':'i','poll-max-ns':5.0",
         "'poll-max-ns', expected: integer"},
        {"object-add", "'qom-type':'rng-random','id':'r','filename':5",
         "'filename', expected: string"},
        {"netdev_add", "'type':'hubport','id':'h','hubid':'0'", "'hubid', expected: integer"},
        {"blockdev-add", "'driver':'null-co','node-name':'n','size':'1048576'",
         "'size', expected: integer"},
        {"blockdev-add", "'driver':'null-co','node-name':'n','read-only':'on'",
         "'read-only', expected: boolean"},
        {"blockdev-add",
         "'driver':'raw','node-name':'n','file':{'driver':'null-co','cache':{'direct':'on'}}",
         "'file.cache.direct', expected: boolean"},
        {"chardev-add", "'id':'c','backend':{'type':'ringbuf','data':{'size':'4096'}}",
         "'backend.data.size', expected: integer"},
        {"chardev-add",
         "'id':'c','backend':{'type':'socket','data':{'addr':{'type':'unix','data':{'path':'/none/"
         "x'}},'server':'on'}}",
         "'backend.data.server', expected: boolean"},
    };
    static const char *const taken[][2] = {
        {"device_add", "'driver':'virtio-rng-pci','id':'d','max-bytes':'5','addr':'9'"},
        {"object-add", "'qom-type':'iothread','id':'i','poll-max-ns':5"},
        {"blockdev-add", "'driver':'raw','node-name':'n','read-only':false,'file':{'driver':'null-"
                         "co','size':1048576}"},
    };
    QTest *q = qtest_start(MONITOR_BOARD);

    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autofree char *request =
            g_strdup_printf("{'execute':'%s','arguments':{%s}}", refused[i][0], refused[i][1]);
        g_autofree char *why = g_strdup_printf("Invalid parameter type for %s", refused[i][2]);

        monitor_check_error(q, request, "GenericError", why);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(taken); i++) {
        g_autofree char *request =
            g_strdup_printf("{'execute':'%s','arguments':{%s}}", taken[i][0], taken[i][1]);

        monitor_check_result(q, request, "{}");
    }
    monitor_check_hmp(q, "object_add iothread,id=i2,poll-max-ns=5", "");
    qtest_end(q);
}

/* Management tools query and set capabilities first. */
static void test_migration_capabilities(void)
{
    static const char *const refused[][2] = {
        {"{'capability':'xbzrle','state':true}",
         "migration capability 'xbzrle' is not in this program yet"},
        {"{'capability':'foo','state':true}",
         "Parameter 'capabilities[1].capability' does not accept value 'foo'"},
        {"{'capability':'events'}", "Parameter 'capabilities[1].state' is missing"},
        {"{'capability':'events','state':1}",
         "Invalid parameter type for 'capabilities[1].state', expected: boolean"},
        {"{'capability':'events','state':true,'x':1}",
         "Parameter 'capabilities[1].x' is unexpected"},
        {"1", "Invalid parameter type for 'capabilities[1]', expected: object"},
    };
    QTest *q = qtest_start(MONITOR_BOARD);

#define SET(list) "{'execute':'migrate-set-capabilities','arguments':{'capabilities':" list "}}"
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autofree char *request =
            g_strdup_printf(SET("[{'capability':'events','state':true},%s]"), refused[i][0]);

        monitor_check_error(q, request, "GenericError", refused[i][1]);
    }
    monitor_check_error(q, SET("{}"), "GenericError",
                        "Invalid parameter type for 'capabilities', expected: array");
    monitor_check_hmp(q, "info migrate_capabilities", "events: off\r\n");
    monitor_check_result(q,
                         SET("[{'capability':'events','state':true},"
                             "{'capability':'multifd','state':false}]"),
                         "{}");
    monitor_check_result(q, "{'execute':'query-migrate-capabilities'}",
                         "[{\"capability\":\"events\",\"state\":true}]");
    monitor_check_hmp(q, "migrate_set_capability events off", "");
    monitor_check_hmp(q, "info migrate_capabilities", "events: off\r\n");
#undef SET
    qtest_end(q);
}

/* A save that fails removes a file that it made in part, and no link to a device. */
static void test_failed_save(void)
{
    g_autofree char *dir = g_dir_make_tmp("vmm-save-XXXXXX", NULL);
    g_autofree char *link = g_build_filename(dir, "full", NULL);
    struct stat st;

    if (stat("/dev/full", &st) < 0 || !S_ISCHR(st.st_mode)) {
        rmdir(dir);
        qtest_skip("/dev/full is not the device");
    }
    QTest *q = qtest_start("-machine pc -m 8 -nodefaults");

    qtest_check_eq(symlink("/dev/full", link), 0);
    json_decref(qtest_qmp(q, "stop", NULL));
    g_autofree char *why = qtest_qmp_fails(q, NULL, "x-save-state", "{s:s}", "filename", link);
    qtest_check(strstr(why, "No space left on device"));
    qtest_check_eq(unlink(link), 0);
    rmdir(dir);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"failed-save", test_failed_save},
    {"errors", test_errors},
    {"id", test_id},
    {"malformed", test_malformed},
    {"ringbuf", test_ringbuf},
    {"queries", test_queries},
    {"query-pci", test_query_pci},
    {"negotiation", test_negotiation},
    {"descriptors", test_descriptors},
    {"chardev-add", test_chardev_add},
    {"order", test_order},
    {"migration-capabilities", test_migration_capabilities},
    {"types", test_types},
    {"recovery", test_recovery},
    {"id-text", test_id_text},
    {"big-integer", test_big_integer},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
