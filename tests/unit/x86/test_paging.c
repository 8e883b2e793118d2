/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../base/unit.h"
#include <string.h>
#include "x86_internal.h"

/* Physical memory, into which the tests write page tables. */
static uint8_t memory[MiB];

static bool read_memory(void *data, uint64_t pa, void *buf, unsigned len)
{
    if (pa > sizeof memory || len > sizeof memory - pa) {
        return false;
    }
    memcpy(buf, memory + pa, len);
    return true;
}

static void entry64(uint64_t table, unsigned index, uint64_t value)
{
    stle64(memory + table + 8 * index, value);
}

static void entry32(uint64_t table, unsigned index, uint32_t value)
{
    stle32(memory + table + 4 * index, value);
}

static void clear(void)
{
    memset(memory, 0, sizeof memory);
}

static X86Paging paging(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t cr3)
{
    return (X86Paging){.cr0 = cr0 | CR0_PE,
                       .cr4 = cr4,
                       .efer = efer,
                       .cr3 = cr3,
                       .phys_bits = 40,
                       .read = read_memory};
}

static uint64_t translate(const X86Paging *p, uint64_t va)
{
    uint64_t pa = 0;

    return x86_paging_translate(p, va, &pa) ? pa : UINT64_MAX;
}

START_TEST(none)
{
    X86Paging p = paging(0, 0, 0, 0x1000);
    g_autofree char *text = x86_paging_info_mem(&p);

    ck_assert_uint_eq(translate(&p, 0x12345678), 0x12345678);
    ck_assert_str_eq(text, "PG disabled\n");
}
END_TEST

static void append_page(uint64_t va, uint64_t pa, uint64_t len, void *data)
{
    g_string_append_printf(data, "%" PRIx64 ":%" PRIx64 "+%" PRIx64 " ", va, pa, len);
}

START_TEST(two_levels)
{
    g_autoptr(GString) pages = g_string_new(NULL);
    X86Paging p = paging(CR0_PG, CR4_PSE, 0, 0x1000);
    g_autofree char *mem = NULL, *tlb = NULL;

    entry32(0x1000, 0, 0x2007);
    entry32(0x2000, 1, 0x5067);               /* user, writable */
    entry32(0x1000, 4, 0x00c00083 | 1 << 13); /* 4 MiB at 4 GiB + 12 MiB (PSE-36) */
    ck_assert_uint_eq(translate(&p, 0x1abc), 0x5abc);
    ck_assert_uint_eq(translate(&p, 0x0), UINT64_MAX);
    ck_assert_uint_eq(translate(&p, 0x01012345), 0x100c12345);
    ck_assert_uint_eq(translate(&p, 0x100001abcull), 0x5abc); /* addresses are 32 bits wide */
    mem = x86_paging_info_mem(&p);
    ck_assert_str_eq(mem, "00001000-00002000 00001000 urw\n01000000-01400000 00400000 -rw\n");
    tlb = x86_paging_info_tlb(&p);
    ck_assert_str_eq(tlb, "0000000000001000: 0000000000005000 ---DA--UW\n"
                          "0000000001000000: 0000000100c00000 --P-----W\n");
    ck_assert(x86_paging_foreach(&p, append_page, pages));
    ck_assert_str_eq(pages->str, "1000:5000+1000 1000000:100c00000+400000 ");
}
END_TEST

START_TEST(pae)
{
    X86Paging p = paging(CR0_PG, CR4_PAE, 0, 0x1020);

    entry64(0x1020, 3, 0x2001);
    entry64(0x2000, 511, 0x3003);
    entry64(0x3000, 1, 0x7003);
    entry64(0x2000, 0, 0x10000083ull);
    ck_assert_uint_eq(translate(&p, 0xffe01234), 0x7234);
    ck_assert_uint_eq(translate(&p, 0xc0012345), 0x10012345);
    ck_assert_uint_eq(translate(&p, 0x1234), UINT64_MAX);
}
END_TEST

START_TEST(four_levels)
{
    X86Paging p = paging(CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0x1000);
    g_autofree char *mem = NULL;

    entry64(0x1000, 0, 0x2007);
    entry64(0x2000, 0, 0x3007);
    entry64(0x3000, 0, 0x4007);
    entry64(0x4000, 0, 0x8005);
    entry64(0x4000, 1, 0x9007);
    entry64(0x4000, 2, 0xa007 | BIT64(63));
    entry64(0x2000, 1, 0x40000083);
    entry64(0x1000, 511, 0x5003);
    entry64(0x5000, 510, 0x80000083);
    ck_assert_uint_eq(translate(&p, 0x123), 0x8123);
    ck_assert_uint_eq(translate(&p, 0x40001234), 0x40001234);
    ck_assert_uint_eq(translate(&p, 0xffffffff80000010), 0x80000010);
    ck_assert_uint_eq(translate(&p, 0x0000800000000000), UINT64_MAX); /* not canonical */
    mem = x86_paging_info_mem(&p);
    ck_assert_str_eq(mem, "0000000000000000-0000000000001000 0000000000001000 ur-\n"
                          "0000000000001000-0000000000003000 0000000000002000 urw\n"
                          "0000000040000000-0000000080000000 0000000040000000 -rw\n"
                          "ffffffff80000000-ffffffffc0000000 0000000040000000 -rw\n");
}
END_TEST

START_TEST(five_levels)
{
    X86Paging p = paging(CR0_PG, CR4_PAE | CR4_LA57, EFER_LME | EFER_LMA, 0x1000);

    entry64(0x1000, 1, 0x2003);
    entry64(0x2000, 0, 0x3003);
    entry64(0x3000, 0, 0x4003);
    entry64(0x4000, 0, 0x5003);
    entry64(0x5000, 0, 0x6003);
    ck_assert_uint_eq(translate(&p, BIT64(48) + 5), 0x6005);
}
END_TEST

/* Walks of tables that point to themselves or outside of memory end quickly. */
START_TEST(hostile)
{
    X86Paging p = paging(CR0_PG, CR4_PAE, EFER_LME | EFER_LMA, 0x1000);
    g_autofree char *mem = NULL;

    for (unsigned i = 0; i < 512; i++) {
        entry64(0x1000, i, 0x1007);
    }
    ck_assert_uint_eq(translate(&p, 0x1234), 0x1234);
    mem = x86_paging_info_mem(&p);
    ck_assert(mem != NULL);
    p.cr3 = 0xfffff00000;
    ck_assert_uint_eq(translate(&p, 0x1234), UINT64_MAX);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("paging");

    tcase_add_checked_fixture(t, clear, NULL);
    tcase_add_test(t, none);
    tcase_add_test(t, two_levels);
    tcase_add_test(t, pae);
    tcase_add_test(t, four_levels);
    tcase_add_test(t, five_levels);
    tcase_add_test(t, hostile);
    return unit_run_case("x86_paging", t);
}
