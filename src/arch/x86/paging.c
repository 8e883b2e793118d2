/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Walks the guest's page tables for the monitor (Intel SDM 3A chapter 4): translation of one
 * address, 'info mem' (ranges with equal rights) and 'info tlb' (every page). The tables are not
 * trusted. A table that points to itself is harmless, since the number of levels is fixed.
 */
#include "x86_internal.h"

#define PTE_P  BIT64(0)
#define PTE_W  BIT64(1)
#define PTE_U  BIT64(2)
#define PTE_PS BIT64(7)
#define PTE_NX BIT64(63)

typedef struct {
    unsigned levels;     /* 2, 3, 4, 5 */
    unsigned entry_size; /* 4 or 8 */
    unsigned index_bits; /* of every level but PAE's topmost, whose table has 4 entries */
    uint64_t address;    /* bits of an entry that hold an address */
} Geometry;

static bool paging_geometry(const X86Paging *p, Geometry *g)
{
    if (!(p->cr0 & CR0_PG)) {
        return false;
    }
    if (!(p->cr4 & CR4_PAE)) {
        *g = (Geometry){2, 4, 10, 0xfffff000};
        return true;
    }
    *g = (Geometry){3, 8, 9, 0x000ffffffffff000};
    if (p->phys_bits >= 32 && p->phys_bits < 52) {
        g->address &= BIT64(p->phys_bits) - 1;
    }
    if (p->efer & EFER_LMA) {
        g->levels = p->cr4 & CR4_LA57 ? 5 : 4;
    }
    return true;
}

static unsigned shift_of(const Geometry *g, unsigned level)
{
    return 12 + g->index_bits * (level - 1);
}

static bool read_entry(const X86Paging *p, const Geometry *g, uint64_t table, unsigned index,
                       uint64_t *entry)
{
    uint8_t b[8] = {0};

    if (!p->read(p->data, table + (uint64_t)index * g->entry_size, b, g->entry_size)) {
        return false;
    }
    *entry = ldle64(b);
    return true;
}

static bool is_leaf(const X86Paging *p, unsigned level, uint64_t entry)
{
    /* 4 MiB pages need CR4.PSE without PAE; the levels above 3 have no large pages */
    return level == 1 ||
           (entry & PTE_PS && level <= 3 &&
            (p->cr4 & CR4_PAE ? !(level == 3 && !(p->efer & EFER_LMA)) : (p->cr4 & CR4_PSE) != 0));
}

/* The physical address of a page. PSE-36 has address bits 32..39 in bits 13..20. */
static uint64_t leaf_address(const Geometry *g, unsigned level, uint64_t entry)
{
    uint64_t address = entry & g->address & ~(BIT64(shift_of(g, level)) - 1);

    if (g->entry_size == 4 && level == 2) {
        address |= (entry >> 13 & 0xff) << 32;
    }
    return address;
}

static uint64_t root_of(const X86Paging *p, const Geometry *g)
{
    return g->levels == 3 ? p->cr3 & 0xffffffe0 : p->cr3 & g->address;
}

static unsigned entries_of(const Geometry *g, unsigned level)
{
    return g->levels == 3 && level == 3 ? 4 : 1u << g->index_bits;
}

bool x86_paging_translate(const X86Paging *p, uint64_t va, uint64_t *pa)
{
    Geometry g;
    uint64_t table, entry;

    if (!paging_geometry(p, &g)) {
        *pa = va;
        return true;
    }
    if (!(p->efer & EFER_LMA)) {
        va &= 0xffffffff;
    } else {
        int64_t top = (int64_t)va >> (g.levels == 5 ? 56 : 47);

        if (top != 0 && top != -1) {
            return false; /* not canonical */
        }
    }
    table = root_of(p, &g);
    for (unsigned level = g.levels; level; level--) {
        unsigned index = va >> shift_of(&g, level) & (entries_of(&g, level) - 1);

        if (!read_entry(p, &g, table, index, &entry) || !(entry & PTE_P)) {
            return false;
        }
        if (is_leaf(p, level, entry)) {
            *pa = leaf_address(&g, level, entry) | (va & (BIT64(shift_of(&g, level)) - 1));
            return true;
        }
        table = entry & g.address;
    }
    return false;
}

/* Visits every page in the order of addresses, with the rights that all levels allow. */
typedef struct Walk Walk;
struct Walk {
    const X86Paging *p;
    Geometry g;
    GString *out;
    void (*leaf)(Walk *w, uint64_t va, uint64_t entry, unsigned level, uint64_t rights);
    /* Pages and tables, of which there are at most 'max': bad tables may map every address. */
    unsigned seen, max;
    void (*fn)(uint64_t va, uint64_t pa, uint64_t len, void *data);
    void *data;
    /* info mem: the current range */
    uint64_t start, end, rights;
    bool open;
};
#define TEXT_MAX    1000000u
#define FOREACH_MAX 16000000u

static void walk_table(Walk *w, uint64_t table, unsigned level, uint64_t va, uint64_t rights)
{
    unsigned shift = shift_of(&w->g, level), n = entries_of(&w->g, level);
    size_t bytes = (size_t)n * w->g.entry_size;
    uint8_t entries[4096];

    if (!w->p->read(w->p->data, table, entries, bytes)) {
        return;
    }
    for (unsigned i = 0; i < n && w->seen < w->max; i++) {
        uint64_t entry = w->g.entry_size == 8 ? ldle64(entries + 8 * i) : ldle32(entries + 4 * i);
        uint64_t at = va | (uint64_t)i << shift;
        /* PAE's page-directory-pointer entries have no rights bits. */
        uint64_t own = w->g.levels == 3 && level == 3 ? PTE_W | PTE_U : entry;

        if (!(entry & PTE_P)) {
            continue;
        }
        if (w->p->efer & EFER_LMA && level == w->g.levels && i >= n / 2) {
            at |= ~(uint64_t)0 << (shift + w->g.index_bits); /* canonical */
        }
        w->seen++;
        if (is_leaf(w->p, level, entry)) {
            w->leaf(w, at, entry, level, rights & own & (PTE_P | PTE_W | PTE_U));
        } else {
            walk_table(w, entry & w->g.address, level - 1, at,
                       (rights & own & (PTE_W | PTE_U)) | PTE_P);
        }
    }
}

static char *walk_text(const X86Paging *p,
                       void (*leaf)(Walk *w, uint64_t va, uint64_t entry, unsigned level,
                                    uint64_t rights),
                       void (*end)(Walk *w))
{
    Walk w = {.p = p, .leaf = leaf, .out = g_string_new(NULL), .max = TEXT_MAX};

    if (!paging_geometry(p, &w.g)) {
        return g_string_free(g_string_assign(w.out, "PG disabled\n"), FALSE);
    }
    walk_table(&w, root_of(p, &w.g), w.g.levels, 0, PTE_P | PTE_W | PTE_U);
    if (end) {
        end(&w);
    }
    return g_string_free(w.out, FALSE);
}

static void mem_flush(Walk *w)
{
    if (w->open) {
        int digits = w->p->cr4 & CR4_PAE ? 16 : 8;

        g_string_append_printf(w->out, "%0*" PRIx64 "-%0*" PRIx64 " %0*" PRIx64 " %c%c%c\n", digits,
                               w->start, digits, w->end, digits, w->end - w->start,
                               w->rights & PTE_U ? 'u' : '-', 'r', w->rights & PTE_W ? 'w' : '-');
        w->open = false;
    }
}

static void mem_leaf(Walk *w, uint64_t va, uint64_t entry, unsigned level, uint64_t rights)
{
    uint64_t size = BIT64(shift_of(&w->g, level));

    (void)entry;
    if (!w->open || va != w->end || rights != w->rights) {
        mem_flush(w);
        w->open = true;
        w->start = va;
        w->rights = rights;
    }
    w->end = va + size;
}

char *x86_paging_info_mem(const X86Paging *p)
{
    return walk_text(p, mem_leaf, mem_flush);
}

static void tlb_leaf(Walk *w, uint64_t va, uint64_t entry, unsigned level, uint64_t rights)
{
    static const struct {
        uint64_t bit;
        char letter;
    } flags[] = {{PTE_NX, 'X'},   {BIT64(8), 'G'}, {PTE_PS, 'P'}, {BIT64(6), 'D'}, {BIT64(5), 'A'},
                 {BIT64(4), 'C'}, {BIT64(3), 'T'}, {PTE_U, 'U'},  {PTE_W, 'W'}};

    (void)rights;
    g_string_append_printf(w->out, "%016" PRIx64 ": %016" PRIx64 " ", va,
                           leaf_address(&w->g, level, entry));
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        bool set = entry & flags[i].bit;

        if (flags[i].bit == PTE_PS && level == 1) {
            set = false; /* in the last level this is the PAT bit */
        }
        g_string_append_c(w->out, set ? flags[i].letter : '-');
    }
    g_string_append_c(w->out, '\n');
}

char *x86_paging_info_tlb(const X86Paging *p)
{
    return walk_text(p, tlb_leaf, NULL);
}

static void foreach_leaf(Walk *w, uint64_t va, uint64_t entry, unsigned level, uint64_t rights)
{
    (void)rights;
    w->fn(va, leaf_address(&w->g, level, entry), BIT64(shift_of(&w->g, level)), w->data);
}

bool x86_paging_foreach(const X86Paging *p,
                        void (*fn)(uint64_t va, uint64_t pa, uint64_t len, void *data), void *data)
{
    Walk w = {.p = p, .leaf = foreach_leaf, .max = FOREACH_MAX, .fn = fn, .data = data};

    if (paging_geometry(p, &w.g)) {
        walk_table(&w, root_of(p, &w.g), w.g.levels, 0, PTE_P | PTE_W | PTE_U);
    }
    return w.seen < w.max;
}
