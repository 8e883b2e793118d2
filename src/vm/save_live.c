/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving memory while the guest runs. */
#include "save_live.h"

#include "base/coroutine.h"
#include "base/iov.h"
#include "guest_copy.h"
#include "ram_mapped.h"
#include "save_internal.h"

/*
 * So many pages are looked at and given to the stream at once: between two of such pieces a pass
 * may be cancelled, and lets others have the disk. Contents begin at multiples of LIVE_ALIGN, so
 * that long writes are those of whole clusters, and a file can be mapped there.
 */
enum { PAGE = DIRTY_PAGE, PIECE_PAGES = 2048, LIVE_ALIGN = 2 * MiB };

typedef struct {
    RamBlock *block; /* good while the reader is not gone */
    DirtyReader *reader;
    uint8_t *host; /* stays, whatever becomes of the block */
    uint64_t position, pages;
    uint64_t *todo;    /* bits: pages that are to be looked at */
    uint64_t *there;   /* pages that the stream has, and that were not zeroes */
    uint64_t *fetched; /* for one call of memory_dirty_reader_fetch() */
} LiveBlock;

struct SaveLive {
    Vm *vm;
    GPtrArray *blocks; /* LiveBlock, those of blocks that have gone, too: no place is used twice */
    uint64_t end;      /* of the contents */
};

static uint64_t live_words(const LiveBlock *b)
{
    return DIV_ROUND_UP(b->pages, 64);
}

static bool live_has(const uint64_t *bits, uint64_t page)
{
    return bits[page / 64] & BIT64(page % 64);
}

static void live_block_free(void *data)
{
    LiveBlock *b = data;

    memory_dirty_reader_free(b->reader);
    g_free(b->todo);
    g_free(b->there);
    g_free(b->fetched);
    g_free(b);
}

SaveLive *save_live_new(Vm *vm)
{
    SaveLive *l = g_new(SaveLive, 1);

    *l = (SaveLive){
        .vm = vm, .blocks = g_ptr_array_new_with_free_func(live_block_free), .end = LIVE_ALIGN};
    return l;
}

void save_live_free(SaveLive *l)
{
    if (l) {
        g_ptr_array_unref(l->blocks);
        g_free(l);
    }
}

uint64_t save_live_contents_end(const SaveLive *l)
{
    return l->end;
}

/* Which pages. */

static bool live_known(const SaveLive *l, const RamBlock *block)
{
    for (unsigned i = 0; i < l->blocks->len; i++) {
        const LiveBlock *b = l->blocks->pdata[i];

        if (b->block == block && !memory_dirty_reader_gone(b->reader)) {
            return true;
        }
    }
    return false;
}

static void live_touched(uint64_t start, uint64_t end, void *data)
{
    LiveBlock *b = data;

    for (uint64_t page = start / PAGE; page < end / PAGE; page++) {
        b->todo[page / 64] |= BIT64(page % 64);
    }
}

static int live_find_touched(void *data)
{
    LiveBlock *b = data;

    ram_block_foreach_touched(b->block, live_touched, b);
    return 0;
}

/* The log comes before the look at what is touched: what is touched later is in the log. */
static void coroutine_fn live_add(SaveLive *l, RamBlock *block)
{
    LiveBlock *b = g_new(LiveBlock, 1);

    *b = (LiveBlock){.block = block,
                     .reader = memory_dirty_reader_new(l->vm, block, 0, block->size),
                     .host = block->host,
                     .position = l->end,
                     .pages = block->size / PAGE};
    b->todo = g_new0(uint64_t, live_words(b));
    b->there = g_new0(uint64_t, live_words(b));
    b->fetched = g_new0(uint64_t, live_words(b));
    l->end = ROUND_UP(l->end + block->size, LIVE_ALIGN);
    g_ptr_array_add(l->blocks, b);
    co_pool_run(live_find_touched, b);
}

/* A block that is new: of a device that was plugged meanwhile. NULL: there is none. */
static RamBlock *live_new_block(const SaveLive *l)
{
    RamBlock *block = l->vm->memory->blocks;

    while (block && (!block->migratable || live_known(l, block))) {
        block = block->next;
    }
    return block;
}

/* Bytes that are to be looked at. */
static uint64_t live_fetch(LiveBlock *b)
{
    uint64_t pages = 0;

    if (memory_dirty_reader_gone(b->reader)) {
        return 0;
    }
    memory_dirty_reader_fetch(b->reader, b->fetched);
    for (uint64_t i = 0; i < live_words(b); i++) {
        b->todo[i] |= b->fetched[i];
        pages += __builtin_popcountll(b->todo[i]);
    }
    return pages * PAGE;
}

uint64_t coroutine_fn save_live_collect(SaveLive *l)
{
    RamBlock *block;
    uint64_t bytes = 0;

    while ((block = live_new_block(l))) {
        live_add(l, block);
    }
    for (unsigned i = 0; i < l->blocks->len; i++) {
        bytes += live_fetch(l->blocks->pdata[i]);
    }
    return bytes;
}

/* Writing. */

typedef struct {
    uint64_t first, pages;
} LiveRun;

/* A piece of a pass, on a thread of the pool: what is to be written, and what holds zeroes now. */
typedef struct {
    LiveBlock *b;
    uint64_t at;  /* the next page */
    GArray *runs; /* LiveRun */
    uint64_t taken;
} LiveScan;

static void live_scan_page(LiveScan *s, uint64_t page)
{
    LiveRun *last = s->runs->len ? &g_array_index(s->runs, LiveRun, s->runs->len - 1) : NULL;
    LiveBlock *b = s->b;
    bool zero;

    /* The guest may write meanwhile: then the page is in the log, and comes again. */
    GUEST_RACES_BEGIN();
    zero = buffer_is_zero(b->host + page * PAGE, PAGE);
    GUEST_RACES_END();
    if (zero) {
        b->there[page / 64] &= ~BIT64(page % 64);
        return;
    }
    b->there[page / 64] |= BIT64(page % 64);
    if (last && last->first + last->pages == page) {
        last->pages++;
    } else {
        g_array_append_val(s->runs, ((LiveRun){page, 1}));
    }
    s->taken++;
}

static int live_scan(void *data)
{
    LiveScan *s = data;
    LiveBlock *b = s->b;

    g_array_set_size(s->runs, 0);
    s->taken = 0;
    while (s->at < b->pages && s->taken < PIECE_PAGES) {
        uint64_t *word = &b->todo[s->at / 64];
        uint64_t left = *word >> s->at % 64;

        if (!left) {
            s->at = ROUND_DOWN(s->at, 64) + 64;
            continue;
        }
        s->at += __builtin_ctzll(left);
        *word &= ~BIT64(s->at % 64);
        live_scan_page(s, s->at++);
    }
    return 0;
}

static bool coroutine_fn live_write_runs(const LiveScan *s, VmStream *out, GError **err)
{
    for (unsigned i = 0; i < s->runs->len; i++) {
        LiveRun run = g_array_index(s->runs, LiveRun, i);
        const uint8_t *host = s->b->host + run.first * PAGE;

        if (!out->seek(out, s->b->position + run.first * PAGE, err) ||
            !(out->write_pages ? out->write_pages : out->write)(out, host, run.pages * PAGE, err)) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn live_write_block(LiveBlock *b, VmStream *out, SaveLiveStep *step,
                                          void *data, GError **err)
{
    LiveScan s = {.b = b, .runs = g_array_new(FALSE, FALSE, sizeof(LiveRun))};
    bool ok = true;

    while (ok && s.at < b->pages && !memory_dirty_reader_gone(b->reader)) {
        co_pool_run(live_scan, &s);
        ok = live_write_runs(&s, out, err) && (!step || step(data, s.taken * PAGE, err));
    }
    g_array_unref(s.runs);
    return ok;
}

bool coroutine_fn save_live_pass(SaveLive *l, VmStream *out, SaveLiveStep *step, void *data,
                                 GError **err)
{
    bool ok = true;

    for (unsigned i = 0; ok && i < l->blocks->len; i++) {
        ok = live_write_block(l->blocks->pdata[i], out, step, data, err);
    }
    /* Two writes of a page must not be under way at once: the older one might be the last. */
    return (!out->settle || out->settle(out, ok ? err : NULL)) && ok;
}

/* The end, while the machine stands. */

static void live_index_block(const LiveBlock *b, GByteArray *out)
{
    uint64_t page = 0;

    save_put_text(out, b->block->name);
    save_put_int(out, b->block->size, 8);
    save_put_int(out, b->position, 8);
    while (page < b->pages) {
        uint64_t first = page;

        if (!b->there[page / 64]) {
            page = ROUND_DOWN(page, 64) + 64;
            continue;
        }
        while (page < b->pages && live_has(b->there, page)) {
            page++;
        }
        if (page > first) {
            save_put_int(out, first * PAGE, 8);
            save_put_int(out, (page - first) * PAGE, 8);
        } else {
            page++;
        }
    }
    save_put_int(out, 0, 8);
    save_put_int(out, 0, 8);
}

static void live_index(const SaveLive *l, GByteArray *out)
{
    for (unsigned i = 0; i < l->blocks->len; i++) {
        const LiveBlock *b = l->blocks->pdata[i];

        if (!memory_dirty_reader_gone(b->reader)) {
            live_index_block(b, out);
        }
    }
    save_put_text(out, "");
}

static bool coroutine_fn live_write_rest(SaveLive *l, const GByteArray *devices, VmStream *out,
                                         uint64_t *size, GError **err)
{
    g_autoptr(GByteArray) head = g_byte_array_new(), index = g_byte_array_new();
    bool ok;

    g_byte_array_append(head, (const uint8_t *)SAVE_MAGIC, strlen(SAVE_MAGIC));
    save_put_int(head, SAVE_LIVE, 4);
    save_put_int(head, l->end, 8);
    live_index(l, index);
    *size = l->end + 8 + devices->len + 8 + index->len;
    ok = out->seek(out, 0, err) && out->write(out, head->data, head->len, err) &&
         out->seek(out, l->end, err) && save_write_part(out, devices, err) &&
         save_write_part(out, index, err);
    return (!out->settle || out->settle(out, ok ? err : NULL)) && ok;
}

bool coroutine_fn save_live_finish(SaveLive *l, VmStream *out, SaveLiveStep *step, void *data,
                                   uint64_t *size, GError **err)
{
    g_autoptr(GByteArray) devices = g_byte_array_new();

    g_assert(vcpus_stopped(l->vm));
    /* What devices and CPUs write to memory when they are saved is in the log. */
    if (!vm_save_devices(l->vm, devices, err)) {
        return false;
    }
    save_live_collect(l);
    return save_live_pass(l, out, step, data, err) && live_write_rest(l, devices, out, size, err) &&
           ram_not_lost(err);
}
