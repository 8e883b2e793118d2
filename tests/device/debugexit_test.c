/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ports for firmware and test programs: isa-debug-exit, isa-debugcon, POST code. */
#include "qtest_client.h"

static void check_exit(unsigned size, uint32_t value, int expected)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults "
                           "-device isa-debug-exit,iobase=0xf4,iosize=0x4");
    qtest_check_eq(qtest_inb(q, 0xf4), 0);
    static const char *const end[] = {"", "outb", "outw", "", "outl"};
    /* The program may end before it answers, so no answer is awaited. */
    qtest_send(q, "%s 0xf4 0x%x", end[size], value);
    qtest_check_eq(qtest_wait_exit(q), expected);
}

static void test_exit(void)
{
    check_exit(1, 0, 1);
    check_exit(1, 0x10, 0x21);
    check_exit(1, 0x7f, 0xff);
    check_exit(2, 0x01, 3);
    check_exit(4, 0x31, 0x63);
}

static void test_exit_default(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -device isa-debug-exit");
    qtest_outb(q, 0x4ff, 1);
    qtest_outb(q, 0x503, 1);
    qtest_send(q, "outb 0x502 0x2");
    qtest_check_eq(qtest_wait_exit(q), 5);
}

/* It ends the program whatever a power-off does. */
static void test_exit_no_shutdown(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -no-shutdown -device isa-debug-exit");

    qtest_send(q, "outb 0x501 0x3");
    qtest_check_eq(qtest_wait_exit(q), 7);
}

static void test_debugcon(void)
{
    g_autofree char *path = g_strdup_printf("%s/log", qtest_tmp_dir());
    QTest *q = qtest_startf("-machine pc -m 64 -nodefaults -chardev file,path=%s,id=log "
                            "-device isa-debugcon,chardev=log",
                            path);
    qtest_check_eq(qtest_inb(q, 0xe9), 0xe9);
    for (const char *p = "firmware\n"; *p; p++) {
        qtest_outb(q, 0xe9, *p);
    }
    qtest_end(q);
    g_autofree char *text = NULL;
    qtest_check(g_file_get_contents(path, &text, NULL, NULL));
    qtest_check_str(text, "firmware\n");
}

static void test_debugcon_properties(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -chardev null,id=n "
                           "-device isa-debugcon,chardev=n,iobase=0x402,readback=0x12");
    qtest_check_eq(qtest_inb(q, 0x402), 0x12);
    qtest_check_eq(qtest_inb(q, 0xe9), 0xff);
    qtest_outb(q, 0x402, 'x');
    qtest_end(q);
    /* As QEMU's manual has it for SeaBIOS. */
    q = qtest_start("-machine pc -m 64 -nodefaults -debugcon null "
                    "-global isa-debugcon.iobase=0x402 -global isa-debugcon.readback=0x12");
    qtest_check_eq(qtest_inb(q, 0x402), 0x12);
    qtest_end(q);
}

static void test_post_code(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults");
    qtest_outb(q, 0x80, 0x42);
    qtest_check_eq(qtest_inb(q, 0x80), 0xff);
    qtest_end(q);
}

static void check_error(const char *arg, const char *part)
{
    int status;
    g_autofree char *line = g_strdup_printf("-machine pc -nodefaults %s", arg);
    g_autofree char *text = qtest_start_fails(line, &status);
    qtest_check_eq(status, QTEST_NOT_STARTED);
    if (!strstr(text, part)) {
        qtest_fail(__FILE__, __LINE__, "'%s' said '%s', which does not hold '%s'", line, text,
                   part);
    }
}

static void test_errors(void)
{
    check_error("-device isa-debugcon", "empty char device");
    check_error("-device isa-debugcon,chardev=none", "none");
    check_error("-device isa-debug-exit,iobase=0xffff,iosize=2", "0xffff");
    check_error("-device isa-debug-exit,iobase=none", "iobase");
    check_error("-device isa-debug-exit,iobsae=1", "iobsae");
}

static const QTestCase cases[] = {
    {"exit", test_exit},
    {"exit-default", test_exit_default},
    {"exit-no-shutdown", test_exit_no_shutdown},
    {"debugcon", test_debugcon},
    {"debugcon-properties", test_debugcon_properties},
    {"post-code", test_post_code},
    {"errors", test_errors},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
