/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel images: where their segments go, and which bad ones are refused with which error. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../base/unit.h"
#include "base/util.h"
#include "boot/image.h"

#define RAM (16 * MiB)

static uint8_t file[64 * 1024];
static size_t file_size;
static BootPlan *plan;
static GError *err;

static GArray *map(void)
{
    E820Entry entries[] = {{0, 0x9fc00, E820_RAM}, {MiB, RAM - MiB, E820_RAM}};
    GArray *a = g_array_new(FALSE, FALSE, sizeof(E820Entry));

    return g_array_append_vals(a, entries, 2);
}

static bool fill(const char *cmdline)
{
    plan = boot_plan_empty(boot_image_memory("k", file, file_size), RAM - 64 * KiB, RAM, map());
    plan->long_mode = true;
    return boot_plan_fill(plan, cmdline, NULL, &err);
}

static void setup(void)
{
    memset(file, 0, sizeof file);
    file_size = sizeof file;
}

static void teardown(void)
{
    g_clear_pointer(&plan, boot_plan_free);
    g_clear_error(&err);
}

static const BootSegment *segment_at(uint64_t gpa)
{
    for (unsigned i = 0; i < plan->segments->len; i++) {
        const BootSegment *s = &g_array_index(plan->segments, BootSegment, i);

        if (gpa >= s->gpa && gpa < s->gpa + s->len) {
            return s;
        }
    }
    return NULL;
}

/* Multiboot. */

static void multiboot_header(unsigned at, uint32_t flags)
{
    stle32(file + at, 0x1badb002);
    stle32(file + at + 4, flags);
    stle32(file + at + 8, -(0x1badb002 + flags));
}

static void multiboot_addresses(unsigned at, uint32_t header, uint32_t load, uint32_t load_end,
                                uint32_t bss_end, uint32_t entry)
{
    const uint32_t fields[] = {header, load, load_end, bss_end, entry};

    for (unsigned i = 0; i < 5; i++) {
        stle32(file + at + 12 + 4 * i, fields[i]);
    }
}

START_TEST(multiboot_flat)
{
    const BootSegment *info;

    multiboot_header(0x100, 0x10003);
    multiboot_addresses(0x100, 0x200100, 0x200000, 0x201000, 0x203000, 0x200040);
    ck_assert_msg(fill("a b"), "%s", err ? err->message : "");
    ck_assert_str_eq(plan->protocol, "Multiboot");
    ck_assert_uint_eq(plan->cpu.rip, 0x200040);
    ck_assert_uint_eq(plan->cpu.rax, 0x2badb002);
    ck_assert_uint_eq(segment_at(0x200000)->file_len, 0x1000);
    ck_assert_uint_eq(segment_at(0x200000)->len, 0x3000);
    info = segment_at(plan->cpu.rbx);
    ck_assert_ptr_nonnull(info);
    ck_assert_uint_eq(info->gpa, 0x203000);
    ck_assert_uint_eq(ldle32(info->bytes + 8), RAM / KiB - 1024);
    ck_assert_str_eq((char *)info->bytes + (ldle32(info->bytes + 16) - info->gpa), "k a b");
    ck_assert_uint_eq(ldle32(info->bytes + 44), 2 * 24);
}
END_TEST

static const struct {
    const char *error;
    uint32_t flags, header, load, load_end, bss_end;
} bad_multiboot[] = {
    {"behind its header", 0x10000, 0x100000, 0x200000, 0, 0},
    {"behind its header", 0x10000, 0x200000, 0x100000, 0, 0},
    {"shorter than its header says", 0x10000, 0x100100, 0x100000, 0x200000, 0},
    {"shorter than its header says", 0x10000, 0x100100, 0x100000, 0x000800, 0},
    {"bss ends before", 0x10000, 0x100100, 0x100000, 0x101000, 0x100800},
    {"does not fit", 0x10000, 0x100100, 0x100000, 0x101000, 0xf0000000},
    {"does not fit", 0x10000, 0xfff00100, 0xfff00000, 0, 0},
    {"does not fit", 0x10000, 0x000a0100, 0x000a0000, 0x000a1000, 0},
    {"does not fit", 0x10000, 0x00000100, 0x00000000, 0x00001000, 0},
    {"requires features", 0x1000c, 0x100100, 0x100000, 0, 0},
    {"no ELF file", 0, 0, 0, 0, 0},
};

START_TEST(multiboot_bad)
{
    multiboot_header(0x100, bad_multiboot[_i].flags);
    multiboot_addresses(0x100, bad_multiboot[_i].header, bad_multiboot[_i].load,
                        bad_multiboot[_i].load_end, bad_multiboot[_i].bss_end, 0);
    ck_assert(!fill(""));
    ck_assert(g_str_has_prefix(err->message, "could not load kernel 'k': "));
    ck_error(err, bad_multiboot[_i].error);
}
END_TEST

/* ELF. */

static Elf32_Ehdr *elf32(unsigned headers)
{
    Elf32_Ehdr *e = (Elf32_Ehdr *)file;

    memcpy(e->e_ident, ELFMAG, SELFMAG);
    e->e_ident[EI_CLASS] = ELFCLASS32;
    e->e_ident[EI_DATA] = ELFDATA2LSB;
    e->e_machine = EM_386;
    e->e_entry = 0x100020;
    e->e_phoff = sizeof *e;
    e->e_phnum = headers;
    e->e_phentsize = sizeof(Elf32_Phdr);
    return e;
}

static Elf32_Phdr *program_header(unsigned i, uint32_t type, uint32_t offset, uint32_t paddr,
                                  uint32_t filesz, uint32_t memsz)
{
    Elf32_Phdr *p = (Elf32_Phdr *)(file + sizeof(Elf32_Ehdr)) + i;

    *p = (Elf32_Phdr){
        .p_type = type, .p_offset = offset, .p_paddr = paddr, .p_filesz = filesz, .p_memsz = memsz};
    return p;
}

START_TEST(multiboot_elf)
{
    elf32(2);
    program_header(0, PT_LOAD, 0x1000, 0x100000, 0x800, 0x1000);
    program_header(1, PT_LOAD, 0x2000, 0x300000, 0, 0x5000);
    multiboot_header(0x200, 3);
    ck_assert_msg(fill(""), "%s", err ? err->message : "");
    ck_assert_uint_eq(plan->cpu.rip, 0x100020);
    ck_assert_uint_eq(segment_at(0x300000)->file_len, 0);
    ck_assert_uint_eq(segment_at(plan->cpu.rbx)->gpa, 0x305000);
}
END_TEST

static void pvh_note(uint32_t name_len, uint32_t desc_len, uint32_t type)
{
    stle32(file + 0x400, name_len);
    stle32(file + 0x404, desc_len);
    stle32(file + 0x408, type);
    memcpy(file + 0x40c, "Xen", 4);
    stle32(file + 0x410, 0x1000100);
}

START_TEST(pvh)
{
    elf32(2);
    program_header(0, PT_LOAD, 0x1000, 0x200000, 0x800, 0x1000);
    program_header(1, PT_NOTE, 0x400, 0, 20, 20);
    pvh_note(4, 4, 18);
    ck_assert_msg(fill("quiet"), "%s", err ? err->message : "");
    ck_assert_str_eq(plan->protocol, "PVH");
    ck_assert_uint_eq(plan->cpu.rip, 0x1000100);
    ck_assert_uint_eq(ldle32(segment_at(plan->cpu.rbx)->bytes), 0x336ec578);
    ck_assert_str_eq((char *)segment_at(BOOT_CMDLINE)->bytes, "quiet");
}
END_TEST

START_TEST(elf_bad)
{
    Elf32_Ehdr *e = elf32(2);

    program_header(0, PT_LOAD, 0x1000, 0x200000, 0x800, 0x1000);
    program_header(1, PT_NOTE, 0x400, 0, 20, 20);
    pvh_note(4, 4, 18);
    switch (_i) {
    case 0:
        e->e_phnum = 0xffff;
        break;
    case 1:
        e->e_phoff = 0xfffffff0;
        break;
    case 2:
        e->e_phentsize = 1;
        break;
    case 3:
        program_header(0, PT_LOAD, 0x1000, 0x200000, 0x1001, 0x1000);
        break;
    case 4:
        program_header(0, PT_LOAD, 0xfffffff0, 0x200000, 0x100, 0x1000);
        break;
    case 5:
        program_header(0, PT_LOAD, 0x1000, 0xfffff000, 0x100, 0x1000);
        break;
    case 6:
        pvh_note(0xfffffff0, 4, 18);
        break;
    case 7:
        pvh_note(4, 0xffffffff, 18);
        break;
    case 8:
        program_header(0, PT_NULL, 0, 0, 0, 0);
        break;
    case 9:
        e->e_ident[EI_DATA] = ELFDATA2MSB;
        break;
    case 10:
        file_size = 40;
        break;
    case 11: /* where the loader's own data goes */
        program_header(0, PT_LOAD, 0x1000, BOOT_GDT, 0x100, 0x100);
        break;
    }
    ck_assert(!fill(""));
    ck_error(err, "could not load kernel 'k': ");
}
END_TEST

/* Linux. */

static void bzimage(uint16_t version)
{
    file[0x1f1] = 2;
    stle16(file + 0x1fe, 0xaa55);
    file[0x201] = 0x66;
    memcpy(file + 0x202, "HdrS", 4);
    stle16(file + 0x206, version);
    file[0x211] = 1;
    stle32(file + 0x22c, 0x7fffffff);
    stle16(file + 0x236, 1);
    stle32(file + 0x238, 2047);
    stle32(file + 0x260, MiB);
}

START_TEST(linux64)
{
    const uint8_t *zero_page;

    bzimage(0x20f);
    ck_assert_msg(fill("console=ttyS0"), "%s", err ? err->message : "");
    ck_assert_str_eq(plan->protocol, "Linux");
    ck_assert_uint_eq(plan->cpu.rip, 0x100200);
    ck_assert(plan->cpu.long_mode);
    ck_assert_uint_eq(plan->cpu.rsi, BOOT_PARAMS);
    ck_assert_uint_eq(segment_at(0x100000)->offset, 3 * 512);
    ck_assert_uint_eq(segment_at(0x100000)->file_len, sizeof file - 3 * 512);
    zero_page = segment_at(BOOT_PARAMS)->bytes;
    ck_assert_uint_eq(zero_page[0x1e8], 2);
    ck_assert_uint_eq(ldle32(zero_page + 0x228), BOOT_CMDLINE);
    ck_assert_uint_eq(zero_page[0x210], 0xff);
    ck_assert_uint_eq(zero_page[0x1ef], 0); /* the sentinel */
    ck_assert_str_eq((char *)segment_at(BOOT_CMDLINE)->bytes, "console=ttyS0");
}
END_TEST

START_TEST(linux32)
{
    bzimage(0x206);
    ck_assert_msg(fill(""), "%s", err ? err->message : "");
    ck_assert_uint_eq(plan->cpu.rip, 0x100000);
    ck_assert(!plan->cpu.long_mode);
}
END_TEST

START_TEST(linux_bad)
{
    g_autofree char *cmdline = g_strnfill(_i == 3 ? 4000 : 0, 'x');
    static const char *const errors[] = {"older than 2.03", "zImage", "needs", "takes 2047",
                                         "ends inside"};

    bzimage(_i == 0 ? 0x0201 : 0x20f);
    switch (_i) {
    case 1:
        file[0x211] = 0;
        break;
    case 2:
        stle32(file + 0x260, 0xf0000000);
        break;
    case 4:
        file[0x1f1] = 200;
        break;
    }
    ck_assert(!fill(cmdline));
    ck_error(err, errors[_i]);
}
END_TEST

/* Sizes of the initrd and of RAM below and above 4 GiB, in MiB; the error, or the initrd's end. */
static const struct {
    uint64_t size, below, above;
    uint16_t xloadflags;
    const char *error;
    uint64_t end;
} initrds[] = {
    {16, 3072, 0, 1, NULL, 2048},
    {16, 3072, 0, 3, NULL, 3072},
    {2560, 3072, 1024, 3, NULL, 3072},
    {2560, 3072, 1024, 1, "it (2560 MiB) does not fit between the kernel and 2048 MiB", 0},
    {3072, 3072, 1024, 3, "do not fit into the 3072 MiB of memory below 4 GiB", 0},
    {2560, 2048, 0, 3, "do not fit into 2048 MiB of memory (see -m)", 0},
    {5120, 3072, 4096, 3, "the 3072 MiB of memory below 4 GiB", 0},
};

START_TEST(linux_initrd)
{
    const uint64_t size = initrds[_i].size * MiB, ram = initrds[_i].below * MiB;
    GArray *e820 = map();
    E820Entry high = {4 * GiB, initrds[_i].above * MiB, E820_RAM};
    char path[] = "/tmp/initrd-XXXXXX";
    int fd = mkstemp(path);
    bool ok;

    ck_assert_int_eq(ftruncate(fd, size), 0);
    if (high.len) {
        g_array_append_val(e820, high);
    }
    bzimage(0x20f);
    stle16(file + 0x236, initrds[_i].xloadflags);
    plan = boot_plan_empty(boot_image_memory("k", file, file_size), ram, ram, e820);
    plan->long_mode = true;
    ok = boot_plan_fill(plan, "", path, &err);
    unlink(path);
    close(fd);
    if (initrds[_i].error) {
        ck_assert(!ok);
        ck_assert(g_str_has_prefix(err->message, "could not load initrd '/tmp/initrd-"));
        ck_error(err, initrds[_i].error);
    } else {
        const uint8_t *zero_page = segment_at(BOOT_PARAMS)->bytes;

        ck_assert_msg(ok, "%s", err ? err->message : "");
        ck_assert_uint_eq(ldle32(zero_page + 0x218) + size, initrds[_i].end * MiB);
        ck_assert_uint_eq(ldle32(zero_page + 0x21c), size);
    }
}
END_TEST

START_TEST(nothing_known)
{
    memset(file, 'x', sizeof file);
    ck_assert(!fill(""));
    ck_error(err, "neither a Linux bzImage");
    teardown();
    file_size = 0;
    ck_assert(!fill(""));
    ck_error(err, "neither");
}
END_TEST

START_TEST(missing_file)
{
    ck_assert_ptr_null(boot_image_open("kernel", "/nonexistent/k", &err));
    ck_assert_str_eq(err->message,
                     "could not load kernel '/nonexistent/k': No such file or directory");
    g_clear_error(&err);
    ck_assert_ptr_null(boot_image_open("kernel", "/", &err));
    ck_error(err, "could not load kernel '/'");
}
END_TEST

/* The memory map. */

START_TEST(e820)
{
    PcMachine pc = {.below_4g = 3 * GiB, .above_4g = GiB};
    g_autoptr(GArray) a = e820_for_kernel(&pc, 3 * GiB - 64 * KiB);
    uint64_t ram = 0, last = 0;

    for (unsigned i = 0; i < a->len; i++) {
        const E820Entry *e = &g_array_index(a, E820Entry, i);

        ck_assert_uint_ge(e->addr, last);
        ck_assert_uint_gt(e->len, 0);
        last = e->addr + e->len;
        ram += e->type == E820_RAM ? e->len : 0;
    }
    ck_assert_uint_eq(ram, 4 * GiB - MiB + 0x9fc00 - 64 * KiB);
    ck_assert_uint_eq(last, 5 * GiB);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("boot");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, multiboot_flat);
    tcase_add_loop_test(t, multiboot_bad, 0, ARRAY_SIZE(bad_multiboot));
    tcase_add_test(t, multiboot_elf);
    tcase_add_test(t, pvh);
    tcase_add_loop_test(t, elf_bad, 0, 12);
    tcase_add_test(t, linux64);
    tcase_add_test(t, linux32);
    tcase_add_loop_test(t, linux_bad, 0, 5);
    tcase_add_loop_test(t, linux_initrd, 0, ARRAY_SIZE(initrds));
    tcase_add_test(t, nothing_known);
    tcase_add_test(t, missing_file);
    tcase_add_test(t, e820);
    return unit_run_case("machine_boot", t);
}
