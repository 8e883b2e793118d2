/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The head of a dump: which segments there are of what memory and mappings. */
#include "../base/unit.h"
#include <elf.h>
#include "dump_internal.h"

static Dump d;

static void setup(void)
{
    dump_begin(&d, -1);
}

static void teardown(void)
{
    dump_end(&d);
}

static void add_range(uint64_t pa, uint64_t len)
{
    DumpRange r = {.pa = pa, .len = len, .at = d.total};

    g_array_append_val(d.ranges, r);
    d.total += len;
}

static void add_mapping(uint64_t va, uint64_t pa, uint64_t len)
{
    DumpMapping m = {va, pa, len};

    g_array_append_val(d.mappings, m);
}

/* The segments behind the notes: virtual, physical, length, place in the file's memory. */
static char *segments(void)
{
    const Elf64_Ehdr *h;
    const Elf64_Phdr *ph;
    GString *out = g_string_new(NULL);

    ck_assert(dump_make_head(&d, EM_X86_64, NULL));
    ck_assert_uint_eq(d.head->len % 4096, 0);
    h = (const Elf64_Ehdr *)d.head->data;
    ph = (const Elf64_Phdr *)(d.head->data + h->e_phoff);
    ck_assert_uint_eq(ph[0].p_type, PT_NOTE);
    for (unsigned i = 1; i < h->e_phnum; i++) {
        g_string_append_printf(out, "%lx:%lx+%lx@%lx ", (unsigned long)ph[i].p_vaddr,
                               (unsigned long)ph[i].p_paddr, (unsigned long)ph[i].p_memsz,
                               (unsigned long)(ph[i].p_offset - d.head->len));
    }
    return g_string_free(out, FALSE);
}

START_TEST(without_paging)
{
    g_autofree char *text = NULL;

    add_range(0, 0xa0000);
    add_range(0x100000, 0x10000);
    text = segments();
    ck_assert_str_eq(text, "0:0+a0000@0 100000:100000+10000@a0000 ");
}
END_TEST

START_TEST(mapped)
{
    g_autofree char *text = NULL;

    add_range(0, 0xa0000);
    add_range(0x100000, 0x10000);
    add_mapping(0xc0000000, 0x90000, 0x80000); /* over the hole, to the end */
    add_mapping(0x400000, 0x1000, 0x2000);
    add_mapping(0x800000, 0xd0000, 0x1000); /* no memory */
    add_mapping(0x400000, 0x1000, 0x2000);  /* by another CPU */
    add_mapping(0x600000, 0x2000, 0x2000);  /* overlaps */
    text = segments();
    ck_assert_str_eq(text, "400000:1000+2000@1000 600000:2000+2000@2000 "
                           "c0000000:90000+10000@90000 c0070000:100000+10000@a0000 "
                           "0:0+1000@0 4000:4000+8c000@4000 ");
}
END_TEST

START_TEST(many)
{
    const Elf64_Ehdr *h;
    const Elf64_Shdr *sh;

    add_range(0, 0x20000 * 0x1000ull);
    for (unsigned i = 0; i < 70000; i++) {
        add_mapping(0x2000ull * i, 0x1000ull * i, 0x1000);
    }
    ck_assert(dump_make_head(&d, EM_X86_64, NULL));
    h = (const Elf64_Ehdr *)d.head->data;
    sh = (const Elf64_Shdr *)(d.head->data + h->e_shoff);
    ck_assert_uint_eq(h->e_phnum, PN_XNUM);
    ck_assert_uint_eq(h->e_shnum, 1);
    ck_assert_uint_eq(sh->sh_info, 70002); /* with the notes, and what is not mapped */
    ck_assert_uint_eq(h->e_shoff, h->e_phoff + 70002 * sizeof(Elf64_Phdr));
}
END_TEST

START_TEST(notes)
{
    g_autoptr(GByteArray) out = g_byte_array_new(), desc = g_byte_array_new();

    g_byte_array_append(desc, (const uint8_t *)"12345", 5);
    dump_append_note(out, "QEMU", 7, desc);
    ck_assert_uint_eq(out->len, 12 + 8 + 8);
    ck_assert_mem_eq(out->data, "\5\0\0\0\5\0\0\0\7\0\0\0QEMU\0\0\0\00012345\0\0\0", 28);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {without_paging, mapped, many, notes, NULL};

    return unit_run_with("vm_dump", tests, setup, teardown);
}
