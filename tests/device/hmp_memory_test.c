/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP's commands about addresses, code, statistics, and what the machine has. */
#include "monitor_client.h"

static void test_addresses(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);
    g_autofree char *low = qtest_hmp(q, "gpa2hva 0"), *high = qtest_hmp(q, "gpa2hva 0x100000+5");
    g_autofree char *frame = NULL;
    uint64_t start = 0, behind = 0;

    qtest_check_eq(
        sscanf(low, "Host virtual address for 0x0 (pc.ram) is 0x%" G_GINT64_MODIFIER "x", &start),
        1);
    qtest_check_eq(sscanf(high,
                          "Host virtual address for 0x100005 (pc.ram) is 0x%" G_GINT64_MODIFIER "x",
                          &behind),
                   1);
    qtest_check_eq(behind - start, 0x100005);
    monitor_check_hmp(q, "gva2gpa 0x1234", "gpa: 0x1234\r\n"); /* without a CPU: no paging */
    monitor_check_hmp(q, "gva2gpa 0", "gpa: 0\r\n");
    monitor_check_hmp(q, "gpa2hva 0xfffffffff0",
                      "Error: No memory is mapped at address 0xfffffffff0\r\n");
    monitor_check_hmp(q, "gpa2hva -1",
                      "Error: No memory is mapped at address 0xffffffffffffffff\r\n");
    monitor_check_hmp(q, "gpa2hva 0xfec00000",
                      "Error: Memory at address 0xfec00000 is not RAM\r\n");
    monitor_check_hmp(q, "gpa2hpa 0xfffffffff0",
                      "Error: No memory is mapped at address 0xfffffffff0\r\n");
    /* Who may not see page frames is told so. */
    qtest_writel(q, 0x1000, 1);
    frame = qtest_hmp(q, "gpa2hpa 0x1004");
    if (!strstr(frame, "CAP_SYS_ADMIN") && !strstr(frame, "pagemap")) {
        qtest_check(g_str_has_prefix(frame, "Host physical address for 0x1004 (pc.ram) is 0x"));
        qtest_check(g_str_has_suffix(frame, "004\r\n"));
    }
    qtest_end(q);
}

static void test_sum(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);

    qtest_writel(q, 0x10ffe, 0x64636261);
    monitor_check_hmp(q, "sum 0x10ffe 4", "08378\r\n");
    monitor_check_hmp(q, "sum 0x10ffe 5", "04189\r\n"); /* a zero more */
    monitor_check_hmp(q, "sum 0x10ffe 0", "00000\r\n");
    monitor_check_hmp(q, "sum 0xfffffffff0 4", "00000\r\n");
    monitor_check_hmp(q, "sum 0x100000 0x300000", "00000\r\n");
    monitor_check_hmp(q, "sum 0 (-1)",
                      "Error: Parameter 'size' expects a number of bytes up to 4362076160, as much "
                      "as this guest can have\r\n");
    qtest_end(q);
}

static void test_misread(void)
{
    static const char *const lines[][3] = {
        {"gva2gpa", "unexpected end of expression", "gva2gpa"},
        {"gpa2hva", "unexpected end of expression", "gpa2hva"},
        {"gpa2hpa x", "invalid char 'x' in expression", "gpa2hpa"},
        {"gpa2hva 1 2", "gpa2hva: extraneous characters at the end of line", "gpa2hva"},
        {"sum", "unexpected end of expression", "sum"},
        {"sum 1", "unexpected end of expression", "sum"},
        {"xp/s 0", "invalid char in format: 's'; it is [count][x|d|u|o|c|i][b|h|w|g]", "xp"},
        {"xp/r 0", "invalid char in format: 'r'; it is [count][x|d|u|o|c|i][b|h|w|g]", "xp"},
        {"xp/i", "unexpected end of expression", "xp"},
    };
    QTest *q = qtest_start(MONITOR_BOARD);

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *expected = g_strdup_printf(
            "Error: %s\r\nTry \"help %s\" for more information\r\n", lines[i][1], lines[i][2]);

        monitor_check_hmp(q, lines[i][0], expected);
    }
    qtest_end(q);
}

/* The expected lines are those of QEMU 7.2, for each mode. */
static void test_code(void)
{
    static const uint8_t code[] = {
        0xea, 0x5b, 0xe0, 0x00, 0xf0,                               /* a far jump, of 16 bits */
        0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* movabs, of 64 bits */
        0x06, 0xff, 0xc3, /* no instruction of 64 bits; inc */
    };
    QTest *q = qtest_start(MONITOR_BOARD);
    g_autofree char *text = NULL;

    qtest_write(q, 0x1000, code, sizeof code);
    text = qtest_hmp(q, "xp/i 0x1000");
    if (strstr(text, "libcapstone")) {
        qtest_check(g_str_has_prefix(text, "Error: ")); /* which says what is missing */
        qtest_end(q);
        return;
    }
    monitor_check_hmp(q, "xp/1i 0x1000",
                      "0x00001000:  ea 5b e0 00 f0           ljmpw    $0xf000:$0xe05b\r\n");
    monitor_check_hmp(q, "xp/hi 0x1000",
                      "0x00001000:  ea 5b e0 00 f0           ljmpw    $0xf000:$0xe05b\r\n");
    monitor_check_hmp(q, "xp/gi 0x1005",
                      "0x00001005:  48 b8 88 77 66 55 44 33  movabsq  $0x1122334455667788, %rax\r\n"
                      "0x0000100d:  22 11\r\n");
    monitor_check_hmp(q, "xp/2wi 0x1005",
                      "0x00001005:  48                       decl     %eax\r\n"
                      "0x00001006:  b8 88 77 66 55           movl     $0x55667788, %eax\r\n");
    monitor_check_hmp(q, "xp/2gi 0x100f",
                      "0x0000100f:  06                       .byte    0x06\r\n"
                      "0x00001010:  ff c3                    incl     %ebx\r\n");
    monitor_check_hmp(q, "xp/i 0xfffffffff0", "0xfffffffff0: unable to read memory\r\n");
    /* The format is the next command's default, the size is not. */
    monitor_check_hmp(q, "xp 0x1011", "0x00001011:  c3                       retw     \r\n");
    monitor_check_hmp(q, "p 5", "5\r\n");
    monitor_check_hmp(q, "xp/x 0x1000", "0000000000001000: 0x00e05bea\r\n");
    monitor_check_hmp(q, "x/i 0x1000", "Error: Can not dump without CPU\r\n");
    qtest_end(q);
}

/* What QEMU with KVM says. */
static void test_machine(void)
{
    static const char *const lines[][2] = {
        {"info memory_size_summary", "base memory: 67108864\r\nplugged memory: 0\r\n"},
        {"info memdev", "memory backend: m0\r\n  size:  4096\r\n  merge: false\r\n  dump: true\r\n"
                        "  prealloc: false\r\n  share: false\r\n  policy: default\r\n"
                        "  host nodes: \r\n\r\n"},
        {"info hotpluggable-cpus",
         "Hotpluggable CPUs:\r\n  type: \"qemu64-x86_64-cpu\"\r\n  vcpus_count: \"1\"\r\n"
         "  qom_path: \"/machine/unattached/device[0]\"\r\n  CPUInstance Properties:\r\n"
         "    socket-id: \"0\"\r\n    core-id: \"0\"\r\n    thread-id: \"0\"\r\n"},
        {"info numa", "0 nodes\r\n"},
        {"info replay", "Record/replay is not active\r\n"},
        {"info rdma", ""},
        {"info tpm", ""},
        {"info capture", ""},
        {"info memory-devices", ""},
        {"info jit", "Error: JIT information is only available with accel=tcg\r\n"},
        {"info opcount", "Error: Opcode count information is only available with accel=tcg\r\n"},
        {"info profile", "Error: Internal profiler not compiled\r\n"},
        {"info vm-generation-id", "Error: VM Generation ID device not found\r\n"},
        {"info numa 1", "Error: numa: extraneous characters at the end of line\r\n"
                        "Try \"help info numa\" for more information\r\n"},
    };
    QTest *q = qtest_start(MONITOR_BOARD "-object memory-backend-ram,id=m0,size=4k,merge=off");
    g_autofree char *blocks = qtest_hmp(q, "info ramblock"), *models = qtest_hmp(q, "info qdm");

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        monitor_check_hmp(q, lines[i][0], lines[i][1]);
    }
    qtest_check(strstr(blocks, "  pc.ram  0x0000000004000000  0x"));
    qtest_check(strstr(models, "name \"virtio-rng-pci\", bus PCI"));
    monitor_check_result(q, "{\"execute\":\"x-query-numa\"}",
                         "{\"human-readable-text\":\"0 nodes\\n\"}");
    monitor_check_result(q, "{\"execute\":\"query-tpm-types\"}", "[]");
    qtest_end(q);
}

/* Without KVM there are none. */
static void test_stats(void)
{
    QTest *q = qtest_start(MONITOR_BOARD);

    monitor_check_result(q, "{\"execute\":\"query-stats-schemas\"}", "[]");
    monitor_check_result(q, "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\"}}",
                         "[]");
    monitor_check_error(q, "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"x\"}}",
                        "GenericError", "Parameter 'target' does not accept value 'x'");
    monitor_check_error(
        q, "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vm\",\"vcpus\":[]}}",
        "GenericError", "Parameter 'vcpus' is unexpected");
    monitor_check_hmp(q, "info stats vm", "");
    monitor_check_hmp(q, "info stats -r vcpu * kvm", "");
    monitor_check_hmp(q, "info stats foo", "Error: invalid stats target foo\r\n");
    monitor_check_hmp(q, "info stats vm exits nope", "Error: invalid stats provider nope\r\n");
    monitor_check_hmp(
        q, "info stats",
        "Error: stats: string expected\r\nTry \"help info stats\" for more information\r\n");
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"addresses", test_addresses},
    {"sum", test_sum},
    {"misread", test_misread},
    {"code", test_code},
    {"machine", test_machine},
    {"stats", test_stats},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
