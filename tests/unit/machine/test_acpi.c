/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI tables as a guest would find them: checksums, links, and iasl's opinion of the code. */
#include <stdio.h>
#include <string.h>
#include "../base/unit.h"
#include "acpi/acpi.h"
#include "acpi/aml.h"
#include "base/event_loop.h"
#include "base/reclaim.h"

#define MEMORY (256 * 1024)
static uint8_t memory[MEMORY]; /* 'guest' memory, from address 0 */
static uint64_t next = 4096;

static uint64_t place(void *data, uint32_t len, uint32_t align, TableZone zone)
{
    uint64_t at = ROUND_UP(next, align);

    next = at + len;
    ck_assert_uint_le(next, MEMORY);
    return at;
}

static void store(void *data, uint64_t addr, const uint8_t *bytes, uint32_t len)
{
    memcpy(memory + addr, bytes, len);
}

static uint8_t sum(uint64_t at, uint32_t len)
{
    uint8_t s = 0;

    while (len--) {
        s += memory[at++];
    }
    return s;
}

static uint32_t table(uint64_t rsdp, const char *signature)
{
    uint32_t rsdt = ldle32(memory + rsdp + 16);

    for (uint32_t at = rsdt + 36; at < rsdt + ldle32(memory + rsdt + 4); at += 4) {
        uint32_t t = ldle32(memory + at);

        if (!memcmp(memory + t, signature, 4)) {
            return t;
        }
    }
    ck_abort_msg("no table %s", signature);
    return 0;
}

static Vm *vm;

static MachineConfig config;

static uint64_t build(unsigned cpus, unsigned maxcpus)
{
    static PcMachine pc = {.below_4g = 128 * MiB, .config = &config, .hpet = true};
    const TablePlacer placer = {place, store, NULL};
    TableLoader *l = table_loader_new();
    GError *err = NULL;
    uint64_t rsdp;

    vm->smp = (SmpConfig){
        .cpus = cpus, .maxcpus = maxcpus, .sockets = maxcpus, .dies = 1, .cores = 1, .threads = 1};
    ck_assert(acpi_build(vm, &pc, l, &err));
    rsdp = table_loader_run(l, &placer);
    table_loader_free(l);
    ck_assert_uint_ne(rsdp, 0);
    return rsdp;
}

START_TEST(checksums_and_links)
{
    uint64_t rsdp = build(2, 4);
    uint32_t rsdt = ldle32(memory + rsdp + 16), fadt = table(rsdp, "FACP"), facs, dsdt;

    ck_assert(!memcmp(memory + rsdp, "RSD PTR ", 8));
    ck_assert_uint_eq(sum(rsdp, 20), 0);
    ck_assert_uint_eq(sum(rsdt, ldle32(memory + rsdt + 4)), 0);
    for (uint32_t at = rsdt + 36; at < rsdt + ldle32(memory + rsdt + 4); at += 4) {
        uint32_t t = ldle32(memory + at);

        ck_assert_msg(sum(t, ldle32(memory + t + 4)) == 0, "%.4s", memory + t);
    }
    facs = ldle32(memory + fadt + 36);
    dsdt = ldle32(memory + fadt + 40);
    ck_assert(!memcmp(memory + facs, "FACS", 4));
    ck_assert_uint_eq(facs % 64, 0);
    ck_assert(!memcmp(memory + dsdt, "DSDT", 4));
    ck_assert_uint_eq(sum(dsdt, ldle32(memory + dsdt + 4)), 0);
    ck_assert_uint_eq(ldle32(memory + fadt + 4), 244);
    ck_assert_uint_eq(ldle32(memory + fadt + 76), 0x608);
}
END_TEST

START_TEST(madt)
{
    uint64_t rsdp = build(3, 300);
    uint32_t t = table(rsdp, "APIC"), len = ldle32(memory + t + 4);
    unsigned apics = 0, enabled = 0, x2apics = 0, overrides = 0;

    for (uint32_t at = t + 44; at < t + len; at += memory[at + 1]) {
        ck_assert_uint_gt(memory[at + 1], 1);
        switch (memory[at]) {
        case 0:
            apics++;
            enabled += ldle32(memory + at + 4) & 1;
            break;
        case 2:
            overrides++;
            break;
        case 9:
            x2apics++;
            ck_assert_uint_ge(ldle32(memory + at + 4), 255);
            break;
        }
    }
    ck_assert_uint_eq(apics, 255);
    ck_assert_uint_eq(x2apics, 45);
    ck_assert_uint_eq(enabled, 3);
    ck_assert_uint_eq(overrides, 5);
}
END_TEST

static void write_table(const char *dir, const char *name, uint32_t at)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    ck_assert(g_file_set_contents(path, (char *)memory + at, ldle32(memory + at + 4), NULL));
}

static char *run(const char *dir, const char *command)
{
    g_autofree char *line = g_strdup_printf("cd %s && { %s; } 2>&1", dir, command);
    FILE *pipe = popen(line, "r");
    GString *out = g_string_new(NULL);
    char buf[4096];
    size_t n;

    while ((n = fread(buf, 1, sizeof buf, pipe)) > 0) {
        g_string_append_len(out, buf, n);
    }
    pclose(pipe);
    return g_string_free(out, FALSE);
}

/* -acpitable: with a header made from the options, and as it is but for the checksum. */
START_TEST(user_tables)
{
    g_autofree char *dir = g_dir_make_tmp("acpi-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "table", NULL);
    char whole[40] = "OEM2\0\0\0\0\7\1ABCDEFabcdefgh";
    json_t *made, *given;
    uint32_t t;

    ck_assert(g_file_set_contents(path, whole, sizeof whole, NULL));
    made = json_pack("{s:s, s:s, s:s, s:s, s:s}", "sig", "OEM1", "rev", "3", "oem_id", "ME",
                     "oem_rev", "0x12345678", "data", path);
    given = json_pack("{s:s}", "file", path);
    config.acpi_tables = g_ptr_array_new();
    g_ptr_array_add(config.acpi_tables, made);
    g_ptr_array_add(config.acpi_tables, given);
    t = table(build(1, 1), "OEM1");
    ck_assert_uint_eq(ldle32(memory + t + 4), 36 + sizeof whole);
    ck_assert_uint_eq(sum(t, 36 + sizeof whole), 0);
    ck_assert_uint_eq(memory[t + 8], 3);
    ck_assert_mem_eq(memory + t + 10, "ME\0\0\0\0", 6);
    ck_assert_uint_eq(ldle32(memory + t + 24), 0x12345678);
    ck_assert_mem_eq(memory + t + 36, whole, sizeof whole);
    t = table(build(1, 1), "OEM2");
    ck_assert_uint_eq(ldle32(memory + t + 4), sizeof whole);
    ck_assert_uint_eq(sum(t, sizeof whole), 0);
    ck_assert_mem_eq(memory + t + 10, "ABCDEFabcdefgh", 14);
    g_ptr_array_unref(config.acpi_tables);
    json_decref(made);
    json_decref(given);
    g_free(run(dir, "rm -f table"));
    rmdir(dir);
}
END_TEST

/* GRUB's 'halt' looks for _S5 in the DSDT, and reads no further than the first QWord. */
START_TEST(power_off_is_found_early)
{
    uint32_t dsdt = ldle32(memory + table(build(1, 1), "FACP") + 40);
    const void *s5 = memmem(memory + dsdt, ldle32(memory + dsdt + 4), "\x08_S5_\x12", 6);
    const void *qword = memmem(memory + dsdt, ldle32(memory + dsdt + 4), "\x08P1S_\x0e", 6);

    ck_assert(s5 && qword && s5 < qword);
}
END_TEST

/* iasl disassembles the AML that aml.c writes, and compiles the result to the same bytes. */
START_TEST(disassembly)
{
    g_autofree char *dir = g_dir_make_tmp("acpi-XXXXXX", NULL), *text = NULL, *path = NULL;
    g_autofree char *asl = NULL, *again = NULL;
    uint64_t rsdp = build(2, 2);
    uint32_t dsdt = ldle32(memory + table(rsdp, "FACP") + 40);

    write_table(dir, "dsdt.aml", dsdt);
    write_table(dir, "ssdt.aml", table(rsdp, "SSDT"));
    write_table(dir, "facp.aml", table(rsdp, "FACP"));
    write_table(dir, "apic.aml", table(rsdp, "APIC"));
    write_table(dir, "waet.aml", table(rsdp, "WAET"));
    write_table(dir, "hpet.aml", table(rsdp, "HPET"));
    text = run(dir, "iasl -vs -e dsdt.aml -d ssdt.aml && iasl -vs -d facp.aml apic.aml waet.aml "
                    "hpet.aml && iasl -vs -d dsdt.aml");
    ck_assert_msg(!strstr(text, "Error") && !strstr(text, "rror:"), "%s", text);
    path = g_build_filename(dir, "ssdt.dsl", NULL);
    ck_assert_msg(g_file_get_contents(path, &asl, NULL, NULL), "%s", text);
    ck_assert_msg(strstr(asl, "Device (C001)") && strstr(asl, "_S3") && strstr(asl, "\"ACPI0007\""),
                  "%s", asl);
    again = run(dir, "iasl -vs -ve dsdt.dsl; iasl -vs -ve ssdt.dsl");
    ck_assert_msg(!strstr(again, "Error  "), "%s", again);
    g_free(run(dir, "rm -f *.aml *.dsl *.hex"));
    rmdir(dir);
}
END_TEST

/* Package lengths of one to four bytes (ACPI 6.4, 20.2.4). */
START_TEST(package_lengths)
{
    static const struct {
        unsigned body, bytes;
    } sizes[] = {{1, 1}, {58, 1}, {59, 2}, {4089, 2}, {4090, 3}, {70000, 3}};
    GByteArray *out = g_byte_array_new(), *body = g_byte_array_new();
    unsigned total = 0, follow;

    g_byte_array_set_size(body, sizes[_i].body);
    memset(body->data, 0xa3, body->len);
    aml_scope(out, "ABCD", body);
    follow = out->data[1] >> 6;
    ck_assert_uint_eq(follow + 1, sizes[_i].bytes);
    total = out->data[1] & (follow ? 0xf : 0x3f);
    for (unsigned i = 0; i < follow; i++) {
        total |= out->data[2 + i] << (4 + 8 * i);
    }
    ck_assert_uint_eq(total, out->len - 1);
    g_byte_array_unref(out);
}
END_TEST

static void start(void)
{
    EventLoop *loop = event_loop_new("test", NULL);

    event_loop_bind(loop);
    reclaim_thread_register();
    vm = vm_new(loop);
}

int main(void)
{
    TCase *t = tcase_create("acpi");

    unit_fork_always();
    tcase_add_checked_fixture(t, start, NULL);
    tcase_add_test(t, checksums_and_links);
    tcase_add_test(t, madt);
    tcase_add_test(t, user_tables);
    tcase_add_test(t, power_off_is_found_early);
    tcase_add_test(t, disassembly);
    tcase_add_loop_test(t, package_lengths, 0, 6);
    return unit_run_case("machine_acpi", t);
}
