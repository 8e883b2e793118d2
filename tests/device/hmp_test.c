/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: every command's help, every 'info', errors, and interactive sessions. */
#include <fcntl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "monitor_client.h"

/* 'help' lists a line for each command, and each command has its own help. */
static void test_help(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
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
    QTest *q = qtest_start(MONITOR_BOARD "-device virtio-balloon-pci -netdev user,id=n0 "
                                         "-device virtio-net-pci,netdev=n0 -serial null -uuid "
                                         "00112233-4455-6677-8899-aabbccddeeff -name here");
    g_autofree char *infos = qtest_hmp(q, "info");
    g_auto(GStrv) lines = g_strsplit(infos, "\r\n", 0);
    static const char *const expected[][2] = {
        {"version", "7.2.22"},
        {"status", "VM status: running"},
        {"name", "here"},
        {"uuid", "00112233-4455-6677-8899-aabbccddeeff"},
        {"network", "n0"},
        {"kvm", "kvm support: disabled"},
        {"chardev", "serial0"},
        {"pci", "PCI device 8086:1237"},
        {"qtree", "dev: "},
        {"mtree", "address-space: memory"},
        {"pic", "pic0: "},
        {"balloon", "balloon: actual=64"},
        {"usb", "Error: USB support not enabled"},
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

static void test_hmp(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);

    qtest_writel(q, 0x1000, 0x12345678);
    qtest_writel(q, 0x1004, 0xfffffffe);
    monitor_check_hmp(q, "xp/2wx 0x1000", "0000000000001000: 0x12345678 0xfffffffe\r\n");
    monitor_check_hmp(q, "xp/2wd 0x1000", "0000000000001000:  305419896         -2\r\n");
    monitor_check_hmp(q, "xp/1gx 0x1000", "0000000000001000: 0xfffffffe12345678\r\n");
    monitor_check_hmp(q, "xp/2bc 0x1000", "0000000000001000: 'x' 'V'\r\n");
    monitor_check_hmp(q, "xp/1wc 0x1000", "0000000000001000: 'x' 'V' '4' '\\x12'\r\n");
    monitor_check_hmp(q, "xp/9hc 0x1000",
                      "0000000000001000: 'x' 'V' '4' '\\x12' '\\xfe' '\\xff' '\\xff' '\\xff' "
                      "'\\x00' '\\x00' '\\x00' '\\x00' '\\x00' '\\x00' '\\x00' '\\x00'\r\n"
                      "0000000000001010: '\\x00' '\\x00'\r\n");
    monitor_check_hmp(q, "p/c 10", "'\\n'\r\n");
    monitor_check_hmp(q, "p/c 0x4142", "'\\x4142'\r\n");
    monitor_check_hmp(q, "print/x 0x10*3", "0x30\r\n");
    monitor_check_hmp(q, "p/x 0", "0\r\n");
    monitor_check_hmp(q, "p/d -(1+2)", "-3\r\n");
    monitor_check_hmp(q, "foo", "Error: unknown command: 'foo'\r\n");
    monitor_check_hmp(q, "device_del nope", "Error: Device 'nope' not found\r\n");
    monitor_check_hmp(q, "stop 1",
                      "Error: stop|s: extraneous characters at the end of line\r\n"
                      "Try \"help stop\" for more information\r\n");
    monitor_check_hmp(q, "stop", "");
    monitor_check_hmp(q, "info status", "VM status: paused\r\n");
    monitor_check_hmp(q, "c", "");
    monitor_check_hmp(q, "info status", "VM status: running\r\n");
    monitor_check_hmp(q, "balloon 10", "Error: No balloon device has been activated\r\n");
    monitor_check_hmp(q, "device_add virtio-rng-pci,id=r0", "");
    monitor_check_hmp(q, "device_add virtio-rng-pci,id=r0", "Error: Duplicate device ID 'r0'\r\n");
    qtest_end(q);
}

/*
 * A syntax error names the command's help. Through human-monitor-command every failure begins with
 * "Error: "; interactively some do not, as in QEMU.
 */
static void test_hmp_errors(void)
{
    static const char *const misread[][3] = {
        {"p $pc", "unknown register", "p"}, /* no CPU */
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
    QTest *q = qtest_start(MONITOR_BOARD);
    g_autofree char *text = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(misread); i++) {
        g_autofree char *expected = g_strdup_printf(
            "Error: %s\r\nTry \"help %s\" for more information\r\n", misread[i][1], misread[i][2]);

        monitor_check_hmp(q, misread[i][0], expected);
    }
    text = qtest_hmp(q, "wavcapture x");
    qtest_check(g_str_has_prefix(text, "Error: 'wavcapture' is not in this program yet"));
    monitor_check_hmp(q, "help foo", "Error: unknown command: 'foo'\r\n");
    monitor_check_hmp(q, "x 0", "Error: Can not dump without CPU\r\n");
    monitor_check_hmp(q, "cpu 1+1", "Error: invalid CPU index\r\n");
    monitor_check_hmp(q, "hostfwd_add tcp::1-:2", "Error: user mode network stack not in use\r\n");
    monitor_check_hmp(q, "netdev_del x", "Error: Device 'x' not found\r\n");
    qtest_end(q);
}

/* "help" instead of a name, or behind it. */
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
    QTest *q = qtest_start(MONITOR_BOARD);

    for (unsigned i = 0; i < G_N_ELEMENTS(asked); i++) {
        g_autofree char *text = qtest_hmp(q, "%s", asked[i][0]);

        if (!strstr(text, asked[i][1]) || strstr(text, "Error")) {
            qtest_fail(__FILE__, __LINE__, "%s: %s", asked[i][0], text);
        }
    }
    monitor_check_hmp(q, "device_add nope,help", "Error: Device 'nope' not found\r\n");
    qtest_end(q);
}

/* 'info' with arguments. */
static void test_hmp_info_arguments(void)
{
    QTest *q =
        qtest_start(MONITOR_BOARD "-drive if=none,id=d0,file=/dev/zero,format=raw,node-name=n0 "
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
    monitor_check_hmp(
        q, "info block d1",
        "\r\nd1: [not inserted]\r\n    Removable device: not locked, tray closed\r\n");
    monitor_check_hmp(q, "info block d", "");
    monitor_check_hmp(q, "info block-jobs", "No active jobs\r\n");
    qtest_check_str(node, "n0: /dev/zero (raw)\r\n    Cache mode:       writeback\r\n");
    qtest_check(strstr(nodes, "\r\nfile format: raw\r\n") && strstr(nodes, "(host_device"));
    monitor_check_hmp(q, "info block -n d0", "");
    monitor_check_hmp(q, "info registers", "Error: No CPU available\r\n");
    monitor_check_hmp(q, "info registers 0", "Error: CPU#0 not available\r\n");
    monitor_check_hmp(q, "info registers -a", "");
    monitor_check_hmp(q, "info lapic 3", "Error: No CPU available\r\n");
    monitor_check_hmp(
        q, "info irq",
        "IRQ statistics for ioapic:\r\n 0: 1\r\nIRQ statistics for isa-i8259:\r\n 0: 1\r\n");
    qtest_check(g_str_has_prefix(pic, "ioapic0: ver="));
    qtest_check(strstr(pic, "\r\npic1: ") && strstr(pic, "\r\npic0: ") > strstr(pic, "pic1: "));
    monitor_check_hmp(
        q, "info mtree -D",
        "Error: mtree: -D is not supported: a region that is disabled is not in the map\r\n");
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
    QTest *q = qtest_start(MONITOR_BOARD);
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "memory", NULL);
    g_autofree char *line = g_strdup_printf("pmemsave 0x1000-2 2*4 \"%s\"", path);

    qtest_writel(q, 0x1000, 0x64636261);
    json_decref(
        qtest_qmp(q, "pmemsave", "{s:i,s:i,s:s}", "val", 0x1000, "size", 3, "filename", path));
    check_file(path, "abc", 3);
    monitor_check_hmp(q, line, "");
    check_file(path, "\0\0abcd\0\0", 8);
    /* Behind the end of memory. */
    json_decref(qtest_qmp(q, "pmemsave", "{s:I,s:i,s:s}", "val", (json_int_t)1 << 40, "size", 4,
                          "filename", path));
    check_file(path, "\0\0\0\0", 4);
    monitor_check_error(
        q,
        "{\"execute\":\"pmemsave\",\"arguments\":{\"val\":0,\"size\":4611686018427387904,"
        "\"filename\":\"/nonexistent\"}}",
        "GenericError",
        "Parameter 'size' expects a number of bytes up to 4362076160, as much as this guest "
        "can have");
    monitor_check_hmp(q, "pmemsave 0 1 \"/nonexistent/x\"",
                      "Error: Could not open '/nonexistent/x': No such file or directory\r\n");
    monitor_check_hmp(q, "memsave 0 1 \"/nonexistent/x\"",
                      "Error: Could not open '/nonexistent/x': No such file or directory\r\n");
    json_decref(
        qtest_qmp(q, "memsave", "{s:i,s:i,s:s}", "val", 0x1000, "size", 3, "filename", path));
    check_file(path, "abc", 3);
    monitor_check_error(q,
                        "{\"execute\":\"memsave\",\"arguments\":{\"val\":0,\"size\":1,"
                        "\"filename\":\"/nonexistent\",\"cpu-index\":1}}",
                        "GenericError", "Parameter 'cpu-index' expects a CPU number");
    monitor_check_hmp(
        q, "memsave 0 1",
        "Error: memsave: string expected\r\nTry \"help memsave\" for more information\r\n");
    unlink(path);
    qtest_end(q);
}

/* Keys are echoed, over a socket as well; the prompt follows each command. */
static void test_hmp_session(void)
{
    int fd;
    QTest *q = monitor_start("monitor", "hmp", &fd);

    monitor_expect(fd, "", "(qemu) ", "monitor - type 'help' for more information\r\n");
    monitor_expect(fd, "info status\n", "(qemu) ", "info status\r\nVM status: running\r\n(qemu) ");
    monitor_expect(fd, "infx\x7fo name\r", "(qemu) ", "infx\b \bo name\r\n(qemu) ");
    monitor_expect(fd, "wavcapture x\n", "(qemu) ", "\r\n'wavcapture' is not in this program yet");
    monitor_expect(fd, "info registers\n", "(qemu) ", "\r\nNo CPU available\r\n");
    monitor_expect(fd, "garbage\x15stop\n", "(qemu) ", "stop\r\n(qemu) ");
    /* Several lines at once run one after the other. */
    monitor_expect(fd, "cont\nstop\ninfo status\n", "VM status: paused\r\n(qemu) ", "stop");
    monitor_expect(fd, "info history\n", "(qemu) ", "4: 'stop'\r\n");
    close(fd);
    qtest_end(q);
}

/* On a terminal: Tab completes, the arrows edit and bring lines back. */
static void test_editing(void)
{
    QTest *q = qtest_start(MONITOR_BOARD "-monitor pty -device virtio-rng-pci,id=rng7");
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
    monitor_type(fd, "info vers\t\r");
    first = monitor_read_terminal(fd, "\r\n(qemu) ", 2);
    qtest_check(strstr(first, "7.2.22"));
    monitor_type(fd, "p 2\x1b[D1+\r\x1b[A\r");
    text = monitor_read_terminal(fd, "0x3\r\n", 2);
    g_free(text);
    monitor_type(fd, "device_del rn\t\r");
    text = monitor_read_terminal(fd, "g7", 1);
    monitor_type(fd, "\x15netdev_add hubp\t");
    g_free(monitor_read_terminal(fd, "ort", 1));
    monitor_type(fd, "\x15object_add iothread,poll-m\t");
    g_free(monitor_read_terminal(fd, "ax-ns=", 1));
    monitor_type(fd, "\x15sendkey ctrl-backsp\t");
    g_free(monitor_read_terminal(fd, "ace", 1));
    monitor_type(fd, "\x15trace-event virtio_queue_no\t");
    g_free(monitor_read_terminal(fd, "tify", 1));
    monitor_type(fd, "of\t\r");
    g_free(monitor_read_terminal(fd, "f ", 1));
    monitor_type(fd, "\x15info trace-events virtqueue_po\t\r");
    g_free(monitor_read_terminal(fd, "virtqueue_pop : state 0\r\n", 1));
    monitor_type(fd, "log trace:virtqueue_po\t\r");
    g_free(monitor_read_terminal(fd, "p \r\n", 1));
    monitor_type(fd, "info trace-events virtqueue_pop\r");
    g_free(monitor_read_terminal(fd, "virtqueue_pop : state 1\r\n", 1));
    monitor_type(fd, "\x15"
                     "drive_add 0 if=none,id=disc7\r");
    g_free(monitor_read_terminal(fd, "OK\r\n(qemu) ", 1));
    monitor_type(fd, "\x15"
                     "change dis\t");
    g_free(monitor_read_terminal(fd, "c7", 1));
    close(fd);
    qtest_end(q);
}

/* A folder whose names have one beginning in common, and what Tab makes of it. */
static void test_completing_files(void)
{
    g_autofree char *folder = g_build_filename(qtest_tmp_dir(), "tab", NULL);
    g_autofree char *inner = g_build_filename(folder, "inner", NULL);
    g_autofree char *file = g_build_filename(inner, "core-one", NULL);
    g_autofree char *other = g_build_filename(inner, "core two", NULL); /* no word of a line */
    g_autofree char *line = g_strdup_printf("dump-guest-memory -p %s/in\t", folder);
    QTest *q;
    int fd;

    qtest_check(g_mkdir_with_parents(inner, 0700) == 0);
    qtest_check(g_file_set_contents(file, "", 0, NULL) && g_file_set_contents(other, "", 0, NULL));
    q = monitor_start("monitor", "hmp", &fd);
    g_free(monitor_read_until(fd, "(qemu) "));
    monitor_say(fd, line);
    g_free(monitor_read_until(fd, "/inner/"));
    monitor_say(fd, "c\t");
    g_free(monitor_read_until(fd, "core-one "));
    monitor_say(fd, "\x15info stats vc\t");
    g_free(monitor_read_until(fd, "vcpu "));
    close(fd);
    qtest_end(q);
    unlink(file);
    unlink(other);
    rmdir(inner);
    rmdir(folder);
}

/* Keys, and the line that results, which the monitor's error message quotes. */
static void check_keys(int fd)
{
    static const char *const keys[][2] = {
        {"ad", "ad"},
        {"ab\x1b[Dc", "acb"},
        {"ab\x1bODc", "acb"},
        {"ab\x02\x02\x06"
         "c",
         "acb"},
        {"ab\x01"
         "c\x05"
         "d",
         "cabd"},
        {"ab\x1b[Hc\x1b[Fd", "cabd"},
        {"ab\x1b[1~c\x1b[4~d", "cabd"},
        {"ab\x1b[7~c\x1b[8~d\x1bOH\x1bOF", "cabd"},
        {"abc\x7f\bd", "ad"},
        {"abcd\x1b[D\x1b[D\x7f", "acd"},
        {"abcd\x1b[D\x1b[D\x1b[3~", "abd"},
        {"abcd\x01\x04", "bcd"},
        {"abcd\x1b[D\x0b", "abc"},
        {"abcd\x15"
         "ab",
         "ab"},
        {"abcd\x03"
         "ab",
         "ab"},
        {"ab cd  \x17"
         "ef",
         "ab"},
        {"abcd\x1b[D\x17"
         "a",
         "ad"},
        {"\x1b[5~\x1b[11;2Rab\x1b\x1b[Dc", "acb"},
        {"a\xc3\xa9"
         "b\x1b[D\x7f",
         "ab"},
        {"a\xc3\xa9"
         "b\x1b[D\x1b[D\x1b[3~",
         "ab"},
        {"xyz\t", "xyz"},
        {"\x0c"
         "ab",
         "ab"},
        /* History. */
        {"zz\x1b[A\x1b[B9", "zz9"},
        {"\x1b[A\x1b[A", "ab"},
        {"\x10\x10\x0e", "ab"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *line = g_strconcat(keys[i][0], "\r", NULL);
        g_autofree char *expected = g_strdup_printf("\r\nunknown command: '%s'", keys[i][1]);

        monitor_expect(fd, line, "'\r\n(qemu) ", expected);
    }
    monitor_expect(fd, "info vers\t\r", "\r\n(qemu) ", "info version \r\n7.2.22");
    monitor_expect(fd, "info \t", "(qemu) info \x1b[J", "status  ");
    monitor_expect(fd, "\x15p 2\r", "\r\n(qemu) ", "\r\n0x2\r\n");
}

/* The same over sockets and by telnet. A telnet client is told that the server echoes and edits. */
static void test_editing_sockets(void)
{
    static const uint8_t greeting[] = {0xff, 0xfb, 1, 0xff, 0xfb, 3, 0xff, 0xfb, 0, 0xff, 0xfd, 0};
    g_autofree char *path = g_build_filename(qtest_tmp_dir(), "telnet", NULL);
    uint8_t got[sizeof greeting];
    int fd;
    QTest *q = monitor_start("monitor", "hmp", &fd);

    g_free(monitor_read_until(fd, "(qemu) "));
    check_keys(fd);
    close(fd);
    qtest_end(q);
    q = qtest_startf(MONITOR_BOARD "-chardev socket,id=t,path=%s,server=on,wait=off,telnet=on "
                                   "-mon t",
                     path);
    fd = monitor_connect(path);
    qtest_check_eq(recv(fd, got, sizeof got, MSG_WAITALL), sizeof got);
    qtest_check_mem(got, greeting, sizeof got);
    g_free(monitor_read_until(fd, "(qemu) "));
    /* The answer of a client that agrees. */
    monitor_say(fd, "\xff\xfd\x01\xff\xfd\x03");
    check_keys(fd);
    close(fd);
    qtest_end(q);
}

static void test_quit(void)
{
    int fd;
    QTest *q = monitor_start("monitor", "hmp", &fd);

    g_free(monitor_read_until(fd, "(qemu) "));
    monitor_say(fd, "quit\n");
    qtest_check_eq(qtest_wait_exit(q), 0);
    close(fd);
}

/* An output that no queue can hold: a slow reader still gets all of it. */
static void test_long_output(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
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

static const QTestCase cases[] = {
    {"help", test_help},
    {"infos", test_infos},
    {"hmp", test_hmp},
    {"hmp-errors", test_hmp_errors},
    {"hmp-kinds", test_hmp_kinds},
    {"hmp-info-arguments", test_hmp_info_arguments},
    {"memsave", test_memsave},
    {"hmp-session", test_hmp_session},
    {"editing", test_editing},
    {"completing-files", test_completing_files},
    {"editing-sockets", test_editing_sockets},
    {"quit", test_quit},
    {"long-output", test_long_output},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
