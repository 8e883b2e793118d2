/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages of guest memory that are mapped from a file: ram_mapped.h. */
#include "ram_mapped.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/util.h"
#include "block/parking.h"

/* Of the mappings that the kernel lets a process have, what memory may take. */
enum { MAPPINGS_DEFAULT = 65530, MAPPINGS_SHARE = 4, MAPPINGS_MOST = 8192 };

/* Which pages of a block are mapped. Made when the first is, and kept until the block is freed. */
typedef struct RamFilePages {
    struct RamFilePages *next; /* atomic: of all blocks, for signal handlers */
    uint8_t *host;
    uint64_t bytes;
    int ranges;      /* atomic: mappings, as far as they are counted */
    uint64_t mapped; /* atomic: bits that are set, or are about to be */
    uint64_t pages;
    uint64_t bits[]; /* atomic words */
} RamFilePages;

static RamFilePages *all_pages; /* atomic; changed by the main thread */
static int lost;                /* atomic */

static uint64_t page_size(void)
{
    return getpagesize();
}

static RamFilePages *pages_of(const RamBlock *b)
{
    return __atomic_load_n(&b->pages, __ATOMIC_ACQUIRE);
}

static RamFilePages *pages_make(RamBlock *b)
{
    RamFilePages *p = pages_of(b);

    if (!p) {
        uint64_t pages = b->size / page_size();

        p = g_malloc0(sizeof *p + DIV_ROUND_UP(pages, 64) * 8);
        p->pages = pages;
        p->host = b->host;
        p->bytes = b->size;
        p->next = all_pages;
        __atomic_store_n(&all_pages, p, __ATOMIC_RELEASE);
        __atomic_store_n(&b->pages, p, __ATOMIC_RELEASE);
    }
    return p;
}

void ram_mapped_free(RamBlock *b)
{
    RamFilePages **at = &all_pages;

    if (b->pages) {
        while (*at != b->pages) {
            at = &(*at)->next;
        }
        __atomic_store_n(at, b->pages->next, __ATOMIC_RELEASE);
        g_clear_pointer(&b->pages, g_free);
    }
}

static bool pages_any(const RamFilePages *p)
{
    return __atomic_load_n(&p->mapped, __ATOMIC_ACQUIRE) != 0;
}

/* Of pages from 'at' on, the first that is mapped or not, as 'set' says; 'end': there is none. */
static uint64_t pages_find(const RamFilePages *p, uint64_t at, uint64_t end, bool set)
{
    while (at < end) {
        uint64_t word = __atomic_load_n(&p->bits[at / 64], __ATOMIC_ACQUIRE);

        word = (set ? word : ~word) >> (at % 64);
        if (word) {
            return MIN(at + __builtin_ctzll(word), end);
        }
        at = ROUND_DOWN(at, 64) + 64;
    }
    return end;
}

/* The word's pages from 'first' on, which end at 'end' at most; *n: how many. */
static uint64_t pages_mask(uint64_t first, uint64_t end, uint64_t *n)
{
    unsigned bit = first % 64;

    *n = MIN(64 - bit, end - first);
    return (*n == 64 ? UINT64_MAX : BIT64(*n) - 1) << bit;
}

/* Counted before, so that whoever finds a page mapped finds it counted. */
static void pages_set(RamFilePages *p, uint64_t first, uint64_t end)
{
    uint64_t n, mask, old;

    __atomic_add_fetch(&p->mapped, end - first, __ATOMIC_ACQ_REL);
    for (; first < end; first += n) {
        mask = pages_mask(first, end, &n);
        old = __atomic_fetch_or(&p->bits[first / 64], mask, __ATOMIC_ACQ_REL);
        __atomic_sub_fetch(&p->mapped, __builtin_popcountll(old & mask), __ATOMIC_ACQ_REL);
    }
}

/* Async-signal-safe. */
static void pages_clear(RamFilePages *p, uint64_t first, uint64_t end)
{
    uint64_t n, mask, old;

    for (; first < end; first += n) {
        mask = pages_mask(first, end, &n);
        old = __atomic_fetch_and(&p->bits[first / 64], ~mask, __ATOMIC_ACQ_REL);
        __atomic_sub_fetch(&p->mapped, __builtin_popcountll(old & mask), __ATOMIC_ACQ_REL);
    }
}

static bool pages_has(const RamFilePages *p, uint64_t page)
{
    return page < p->pages &&
           __atomic_load_n(&p->bits[page / 64], __ATOMIC_ACQUIRE) & BIT64(page % 64);
}

bool ram_page_is_mapped(const RamBlock *b, uint64_t offset)
{
    const RamFilePages *p = pages_of(b);

    return p && pages_has(p, offset / page_size());
}

static bool pages_any_of(const RamFilePages *p, const struct iovec *v)
{
    const uint8_t *from = MAX((const uint8_t *)v->iov_base, p->host);
    const uint8_t *to = MIN((const uint8_t *)v->iov_base + v->iov_len, p->host + p->bytes);
    uint64_t end;

    if (from >= to || !pages_any(p)) {
        return false;
    }
    end = DIV_ROUND_UP((uint64_t)(to - p->host), page_size());
    return pages_find(p, (from - p->host) / page_size(), end, true) < end;
}

bool ram_any_is_mapped(const struct iovec *iov, unsigned niov)
{
    const RamFilePages *p = __atomic_load_n(&all_pages, __ATOMIC_ACQUIRE);

    for (; p; p = __atomic_load_n(&p->next, __ATOMIC_ACQUIRE)) {
        for (unsigned i = 0; i < niov; i++) {
            if (pages_any_of(p, &iov[i])) {
                return true;
            }
        }
    }
    return false;
}

bool ram_next_mapped(const RamBlock *b, uint64_t *start, uint64_t *len, uint64_t max)
{
    const RamFilePages *p = pages_of(b);
    uint64_t first, most = max / page_size() + 1;

    if (!p || !pages_any(p)) {
        return false;
    }
    first = pages_find(p, DIV_ROUND_UP(*start, page_size()), p->pages, true);
    if (first == p->pages) {
        return false;
    }
    *start = first * page_size();
    *len = pages_find(p, first, first + MIN(most, p->pages - first), false) * page_size() - *start;
    *len = MIN(*len, max);
    return true;
}

uint64_t ram_mapped_bytes(const RamBlock *b)
{
    const RamFilePages *p = pages_of(b);

    return p ? __atomic_load_n(&p->mapped, __ATOMIC_ACQUIRE) * page_size() : 0;
}

bool ram_any_mapped(void)
{
    const RamFilePages *p = __atomic_load_n(&all_pages, __ATOMIC_ACQUIRE);

    while (p && !pages_any(p)) {
        p = __atomic_load_n(&p->next, __ATOMIC_ACQUIRE);
    }
    return p;
}

bool ram_replace_page(void *addr)
{
    const RamFilePages *p = __atomic_load_n(&all_pages, __ATOMIC_ACQUIRE);
    uint64_t page = page_size(), at;
    uint8_t *start = (uint8_t *)ROUND_DOWN((uintptr_t)addr, page);

    while (p && (start < p->host || start >= p->host + p->bytes)) {
        p = __atomic_load_n(&p->next, __ATOMIC_ACQUIRE);
    }
    if (!p) {
        return false;
    }
    at = (start - p->host) / page;
    if (pages_has(p, at)) { /* else another thread has made it anonymous meanwhile */
        /* Before the zeroes can be read, which nobody may write to a disk. */
        block_refuse_writes(true);
        __atomic_store_n(&lost, 1, __ATOMIC_SEQ_CST);
        if (mmap(start, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) == MAP_FAILED) {
            return false;
        }
        madvise(start, page, MADV_DONTFORK);
        pages_clear((RamFilePages *)p, at, at + 1);
    }
    return true;
}

bool ram_is_lost(void)
{
    return __atomic_load_n(&lost, __ATOMIC_SEQ_CST);
}

void ram_lost_clear(void)
{
    __atomic_store_n(&lost, 0, __ATOMIC_SEQ_CST);
}

void ram_is_locked(Vm *vm)
{
    vm->memory->locked = true;
}

bool ram_may_be_mapped(Vm *vm, const RamBlock *b)
{
    /* What is mapped is zeroes once a page is lost and the machine was reset. */
    return b->plain && !b->kept && !vm->memory->locked;
}

static unsigned find_mappings_max(void)
{
    g_autofree char *text = NULL;
    guint64 most = MAPPINGS_DEFAULT;

    if (g_file_get_contents("/proc/sys/vm/max_map_count", &text, NULL, NULL)) {
        most = g_ascii_strtoull(text, NULL, 10);
    }
    return MIN(most / MAPPINGS_SHARE, MAPPINGS_MOST);
}

unsigned ram_mappings_max(void)
{
    static gsize max; /* 1 more, as g_once_init_leave() takes no 0 */

    if (g_once_init_enter(&max)) {
        g_once_init_leave(&max, (gsize)find_mappings_max() + 1);
    }
    return max - 1;
}

bool ram_map_file(RamBlock *b, uint64_t offset, uint64_t len, int fd, uint64_t file_offset)
{
    RamFilePages *p = pages_make(b);

    g_assert(IS_ALIGNED(offset | len | file_offset, page_size()) && b->plain);
    if (mmap(b->host + offset, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
             file_offset) == MAP_FAILED) {
        return false;
    }
    ram_advise(b->host + offset, len, b->merge, b->dump);
    pages_set(p, offset / page_size(), (offset + len) / page_size());
    __atomic_add_fetch(&p->ranges, 1, __ATOMIC_RELAXED);
    return true;
}

typedef struct Aside {
    struct Aside *next;
    char *start;
    uint64_t len;
} Aside;

static Aside *asides; /* main thread */

/* In pieces, as nobody maps anything in this process while the kernel frees pages. */
static int asides_free(void *data)
{
    enum { PIECE = 4 * MiB };

    for (const Aside *a = data; a; a = a->next) {
        for (uint64_t at = 0; at < a->len; at += PIECE) {
            madvise(a->start + at, MIN(PIECE, a->len - at), MADV_DONTNEED);
        }
        munmap(a->start, a->len);
    }
    return 0;
}

static void asides_freed(void *data, int result)
{
    Aside *a = data;

    while (a) {
        Aside *next = a->next;

        g_free(a);
        a = next;
    }
}

void ram_set_aside(RamBlock *b)
{
    void *moved = mremap(b->host, b->size, b->size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    Aside *a;

    /* Not where the block is of several mappings, or the kernel counts both as too much memory. */
    if (moved != MAP_FAILED) {
        a = g_new(Aside, 1);
        *a = (Aside){asides, moved, b->size};
        asides = a;
    }
}

void ram_free_set_aside(void)
{
    if (asides) {
        pool_run(asides_free, g_steal_pointer(&asides), asides_freed);
    }
}

/* What becomes of the number of mappings when these pages become anonymous, at most. */
static int ranges_added(const RamFilePages *p, uint64_t first, uint64_t end)
{
    return first && pages_has(p, first - 1) && pages_has(p, end) ? 1 : 0;
}

/* Afterwards: a page that is not marked is not of a file. */
static void pages_made_anonymous(RamFilePages *p, uint64_t first, uint64_t end)
{
    int added = ranges_added(p, first, end);

    pages_clear(p, first, end);
    if (!pages_any(p)) {
        __atomic_store_n(&p->ranges, 0, __ATOMIC_RELAXED);
    } else {
        __atomic_add_fetch(&p->ranges, added, __ATOMIC_RELAXED);
    }
}

bool ram_make_anonymous(RamBlock *b, uint64_t offset, uint64_t len)
{
    RamFilePages *p = pages_of(b);

    if (mmap(b->host + offset, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
             -1, 0) == MAP_FAILED) {
        return false;
    }
    ram_advise(b->host + offset, len, b->merge, b->dump);
    if (p) {
        pages_made_anonymous(p, offset / page_size(), (offset + len) / page_size());
    }
    return true;
}

/* Whoever only reads the pages meanwhile finds their content at every moment. */
bool ram_make_private(RamBlock *b, uint64_t offset, uint64_t len)
{
    uint8_t *copy = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (copy == MAP_FAILED) {
        return false;
    }
    ram_advise(copy, len, b->merge, b->dump);
    memcpy(copy, b->host + offset, len);
    if (mremap(copy, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, b->host + offset) == MAP_FAILED) {
        munmap(copy, len);
        return false;
    }
    pages_made_anonymous(pages_of(b), offset / page_size(), (offset + len) / page_size());
    return true;
}

void ram_discard_in(RamBlock *b, uint64_t offset, uint64_t len)
{
    RamFilePages *p = pages_of(b);
    uint64_t first = offset / page_size(), end = (offset + len) / page_size();

    g_assert(IS_ALIGNED(offset | len, page_size()));
    g_assert(offset <= b->size && len <= b->size - offset);
    if (!p || !pages_any(p) || pages_find(p, first, end, true) == end) {
        madvise(b->host + offset, len, MADV_DONTNEED);
        return;
    }
    /* Where that would take too many mappings the pages stay, which the guest does not mind. */
    if (!ranges_added(p, first, end) ||
        __atomic_load_n(&p->ranges, __ATOMIC_RELAXED) < (int)ram_mappings_max()) {
        ram_make_anonymous(b, offset, len);
    }
}

/* The block that has the address; one that is retired may have requests in flight. */
static RamBlock *block_at(Vm *vm, const uint8_t *host)
{
    RamBlock *const lists[] = {vm->memory->blocks, vm->memory->retired};
    RamBlock *b = NULL;

    for (unsigned i = 0; !b && i < ARRAY_SIZE(lists); i++) {
        for (b = lists[i]; b && (host < b->host || host >= b->host + b->size); b = b->next) {
        }
    }
    return b;
}

static void block_discard(RamBlock *b, uint64_t offset, uint64_t len)
{
    if (b->plain) {
        ram_discard_in(b, offset, len);
    } else if (madvise(b->host + offset, len, MADV_REMOVE)) {
        /* MADV_REMOVE frees shared memory in its file; for anonymous memory it fails. */
        madvise(b->host + offset, len, MADV_DONTNEED);
    }
}

void ram_discard(Vm *vm, uint8_t *host, uint64_t len)
{
    while (len) {
        RamBlock *b;
        uint64_t n;

        g_rec_mutex_lock(&vm->memory->lock);
        b = block_at(vm, host);
        g_rec_mutex_unlock(&vm->memory->lock);
        g_assert(b);
        n = MIN(len, b->size - (host - b->host));
        block_discard(b, host - b->host, n);
        host += n;
        len -= n;
    }
}
