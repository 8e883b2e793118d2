/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps of nodes. A node's list is read by whoever writes to the node, on any loop, while
 * the request is counted in; it changes inside drained sections alone.
 */
#include "block/dirty_bitmap.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "block/graph.h"
#include "core.h"
#include "dirty_bits.h"

/* JSON. */

static const Property bitmap_members[] = {MEMBER("node", PROP_STRING), MEMBER("name", PROP_STRING),
                                          PROP_END};
const PropertyShape block_dirty_bitmap_shape = {.name = "BlockDirtyBitmap",
                                                .members = bitmap_members};
static const Property bitmap_or_name[] = {
    MAYBE("local", PROP_STRING), MAYBE("external", PROP_TREE, .shape = &block_dirty_bitmap_shape),
    PROP_END};
const PropertyShape bitmap_or_name_shape = {
    .name = "BlockDirtyBitmapOrStr", .members = bitmap_or_name, .is_alternate = true};

enum { NAME_MAX_BYTES = 1023 }; /* as in a qcow2 image, Documentation "Bitmap directory" */

struct BlockDirtyBitmap {
    BlockDirtyBitmap *next; /* atomic */
    BlockNode *node;
    char *name;
    unsigned shift;
    uint64_t size;        /* atomic: bytes */
    DirtyBits *bits;      /* changes in a drained section */
    DirtyBits *successor; /* likewise; where writes are recorded, unless NULL */
    bool enabled;         /* atomic */
    bool inconsistent;    /* atomic */
    bool persistent, read_only, busy;
    bool going; /* block_dirty_bitmap_free() waits: nobody finds it */
};

static inline uint64_t size_of(const BlockDirtyBitmap *b)
{
    return __atomic_load_n(&b->size, __ATOMIC_SEQ_CST);
}

/* The granules that cover this many bytes. */
static inline uint64_t granules(const BlockDirtyBitmap *b, uint64_t bytes)
{
    return (bytes >> b->shift) + !!(bytes & ((1ULL << b->shift) - 1));
}

static inline uint64_t granules_in_all(const BlockDirtyBitmap *b)
{
    return granules(b, size_of(b));
}

static inline BlockDirtyBitmap *first_of(BlockNode *n)
{
    return __atomic_load_n(&n->core->bitmaps, __ATOMIC_ACQUIRE);
}

static inline BlockDirtyBitmap *after(BlockDirtyBitmap *b)
{
    return __atomic_load_n(&b->next, __ATOMIC_ACQUIRE);
}

static uint64_t default_granularity(BlockNode *n)
{
    BlockDriverInfo info = {0};

    if (!n->driver->info || !n->driver->info(n, &info)) {
        return 65536;
    }
    json_decref(info.format_specific);
    return info.cluster_size ? CLAMP(info.cluster_size, 4096, 65536) : 65536;
}

static bool name_possible(BlockNode *n, const char *name, GError **err)
{
    if (!name) {
        return true;
    }
    if (block_dirty_bitmap_find(n, name)) {
        return error_set(err, "Bitmap already exists: %s", name);
    }
    if (strlen(name) > NAME_MAX_BYTES) {
        return error_set(err, "Bitmap name too long: %s", name);
    }
    return true;
}

static BlockDirtyBitmap *bitmap_make(BlockNode *n, const char *name, uint64_t granularity,
                                     GError **err)
{
    int64_t len = block_length(n);
    BlockDirtyBitmap *b;

    if (!name_possible(n, name, err)) {
        return NULL;
    }
    if (len < 0) {
        error_set_errno(err, -len, "could not get length of device");
        return NULL;
    }
    if ((uint64_t)len / granularity >= DIRTY_BITS_MAX) {
        error_set(err,
                  "A bitmap with a granularity of %" PRIu64
                  " bytes is too large for '%s': choose a larger granularity",
                  granularity, n->opts.node_name);
        return NULL;
    }
    b = g_new0(BlockDirtyBitmap, 1);
    b->node = n;
    b->name = g_strdup(name);
    b->shift = __builtin_ctzll(granularity);
    b->size = len;
    b->bits = dirty_bits_new();
    b->enabled = true;
    return b;
}

BlockDirtyBitmap *block_dirty_bitmap_add_stored(BlockNode *n, const char *name,
                                                uint64_t granularity, GError **err)
{
    BlockDirtyBitmap *b = bitmap_make(n, name, granularity, err);

    if (b) {
        b->next = n->core->bitmaps;
        __atomic_store_n(&n->core->bitmaps, b, __ATOMIC_RELEASE);
        __atomic_add_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
    }
    return b;
}

BlockDirtyBitmap *coroutine_fn block_dirty_bitmap_new(BlockNode *n, const char *name,
                                                      uint64_t granularity, GError **err)
{
    BlockDrain *drain;
    BlockDirtyBitmap *b;

    granularity = granularity ? granularity : default_granularity(n);
    g_assert(is_power_of_2(granularity) && granularity >= BLOCK_SECTOR_SIZE);
    drain = block_drain_begin(n);
    b = block_dirty_bitmap_add_stored(n, name, granularity, err);
    block_drain_end(drain);
    return b;
}

static void bitmap_destroy(BlockDirtyBitmap *b)
{
    dirty_bits_free(b->bits);
    dirty_bits_free(b->successor);
    g_free(b->name);
    g_free(b);
}

void block_dirty_bitmap_drop_stored(BlockDirtyBitmap *b)
{
    BlockNode *n = b->node;
    BlockDirtyBitmap **at = &n->core->bitmaps;

    while (*at != b) {
        at = &(*at)->next;
    }
    __atomic_store_n(at, b->next, __ATOMIC_RELEASE);
    __atomic_sub_fetch(&n->write_intercepts, 1, __ATOMIC_SEQ_CST);
    bitmap_destroy(b);
}

void coroutine_fn block_dirty_bitmap_free(BlockDirtyBitmap *b)
{
    BlockDrain *drain;

    g_assert(!b->going);
    b->going = true;
    drain = block_drain_begin(b->node);
    block_dirty_bitmap_drop_stored(b);
    block_drain_end(drain);
}

bool coroutine_fn block_dirty_bitmap_remove(BlockDirtyBitmap *b, GError **err)
{
    BlockNode *n = block_node_ref(b->node);
    bool ok = true;

    if (b->persistent && n->driver->remove_bitmap) {
        b->busy = true; /* the driver waits: nobody else begins to use the bitmap */
        ok = n->driver->remove_bitmap(n, b->name, err);
        b->busy = false;
    }
    if (ok) {
        block_dirty_bitmap_free(b);
    }
    block_node_unref(n);
    return ok;
}

void block_dirty_bitmaps_end(BlockNode *n)
{
    while (n->core->bitmaps) {
        BlockDirtyBitmap *b = n->core->bitmaps;

        n->core->bitmaps = b->next;
        bitmap_destroy(b);
    }
}

BlockDirtyBitmap *block_dirty_bitmap_find(BlockNode *n, const char *name)
{
    for (BlockDirtyBitmap *b = first_of(n); b; b = after(b)) {
        if (!b->going && b->name && g_str_equal(b->name, name)) {
            return b;
        }
    }
    return NULL;
}

BlockDirtyBitmap *block_dirty_bitmap_next(BlockNode *n, BlockDirtyBitmap *b)
{
    b = b ? after(b) : first_of(n);
    while (b && b->going) {
        b = after(b);
    }
    return b;
}

/* Bits. */

static void set_in(const BlockDirtyBitmap *b, DirtyBits *bits, uint64_t off, uint64_t bytes)
{
    uint64_t end = MIN(granules(b, off + bytes), DIRTY_BITS_MAX);

    if (bytes) {
        dirty_bits_set(bits, off >> b->shift, end);
    }
}

void block_dirty_bitmap_set(BlockDirtyBitmap *b, uint64_t off, uint64_t bytes)
{
    set_in(b, b->bits, off, bytes);
}

void block_dirty_bitmap_reset(BlockDirtyBitmap *b, uint64_t off, uint64_t bytes)
{
    uint64_t end = off + bytes;

    end = end >= size_of(b) ? granules(b, end) : end >> b->shift;
    dirty_bits_reset(b->bits, granules(b, off), end);
}

/* A write has made a file longer, or would have. */
static uint64_t grow(BlockDirtyBitmap *b, uint64_t end)
{
    uint64_t old = size_of(b);
    int64_t len = block_length(b->node);

    if (len < 0 || (uint64_t)len >> b->shift >= DIRTY_BITS_MAX) {
        /* The length is not known any more, or there is no room for it. */
        block_dirty_bitmap_set_inconsistent(b);
        return old;
    }
    end = MIN(end, (uint64_t)len);
    while (end > old && !__atomic_compare_exchange_n(&b->size, &old, end, false, __ATOMIC_SEQ_CST,
                                                     __ATOMIC_SEQ_CST)) {
    }
    return MAX(end, old);
}

void block_dirty_bitmaps_wrote(BlockNode *n, uint64_t off, uint64_t bytes)
{
    for (BlockDirtyBitmap *b = first_of(n); b; b = after(b)) {
        uint64_t old = size_of(b), first = off, end = off + bytes;

        if (!block_dirty_bitmap_enabled(b)) {
            continue;
        }
        if (G_UNLIKELY(end > old)) {
            end = MIN(end, grow(b, end));
            first = MIN(off, old); /* the gap is new, too */
        }
        if (end > first) {
            set_in(b, b->successor ? b->successor : b->bits, first, end - first);
        }
    }
}

static void resized(BlockDirtyBitmap *b, uint64_t len)
{
    uint64_t old = __atomic_exchange_n(&b->size, len, __ATOMIC_SEQ_CST);
    DirtyBits *recording = b->successor ? b->successor : b->bits;

    if (len > old) {
        set_in(b, recording, old, len - old);
    } else if (len < old) {
        dirty_bits_reset(b->bits, granules(b, len), granules(b, old));
        if (b->successor) {
            dirty_bits_reset(b->successor, granules(b, len), granules(b, old));
        }
    }
}

void block_dirty_bitmaps_resized(BlockNode *n)
{
    for (BlockDirtyBitmap *b = first_of(n); b; b = after(b)) {
        int64_t len = block_length(n);

        if (len < 0 || (uint64_t)len >> b->shift >= DIRTY_BITS_MAX) {
            block_dirty_bitmap_set_inconsistent(b);
        } else if ((uint64_t)len != size_of(b)) {
            resized(b, len);
        }
    }
}

bool block_dirty_bitmap_next_dirty(BlockDirtyBitmap *b, uint64_t *off, uint64_t *bytes,
                                   uint64_t max, bool take)
{
    uint64_t size = size_of(b), first = *off >> b->shift, last;

    /* A walk ends here, whatever the end's granule is. */
    if (*off >= size || !dirty_bits_next(b->bits, &first, &last, granules(b, size),
                                         MAX(max >> b->shift, 1), take)) {
        return false;
    }
    *off = first << b->shift;
    *bytes = MIN(last << b->shift, size) - *off;
    return true;
}

bool block_dirty_bitmap_next_zero(BlockDirtyBitmap *b, uint64_t *off, uint64_t *bytes)
{
    uint64_t size = size_of(b), end = granules(b, size), last, behind;
    uint64_t first = dirty_bits_next_clear(b->bits, *off >> b->shift, end);

    if (*off >= size || first >= end) {
        return false;
    }
    last = first + 1;
    last = dirty_bits_next(b->bits, &last, &behind, end, 1, false) ? last : end;
    *off = first << b->shift;
    *bytes = MIN(last << b->shift, size) - *off;
    return true;
}

uint64_t block_dirty_bitmap_count(BlockDirtyBitmap *b)
{
    return dirty_bits_count(b->bits) << b->shift;
}

uint64_t block_dirty_bitmap_size(const BlockDirtyBitmap *b)
{
    return size_of(b);
}

uint64_t block_dirty_bitmap_granularity(const BlockDirtyBitmap *b)
{
    return 1ULL << b->shift;
}

const char *block_dirty_bitmap_name(const BlockDirtyBitmap *b)
{
    return b->name;
}

BlockNode *block_dirty_bitmap_node(const BlockDirtyBitmap *b)
{
    return b->node;
}

static void merge_bits(DirtyBits *into, unsigned into_shift, DirtyBits *from, unsigned from_shift,
                       uint64_t end)
{
    for (uint64_t first = 0, last; dirty_bits_next(from, &first, &last, end, end, false);
         first = last) {
        uint64_t behind = last << from_shift;

        dirty_bits_set(into, first << from_shift >> into_shift,
                       (behind >> into_shift) + !!(behind & ((1ULL << into_shift) - 1)));
    }
}

bool block_dirty_bitmap_can_merge(const BlockDirtyBitmap *into, const BlockDirtyBitmap *from,
                                  GError **err)
{
    uint64_t to_size = size_of(into), size = size_of(from);

    if (to_size != size) {
        return error_set(err,
                         "Bitmaps are of different sizes (destination size is %" PRIu64
                         ", source size is %" PRIu64 ") and can't be merged",
                         to_size, size);
    }
    return true;
}

bool block_dirty_bitmap_merge(BlockDirtyBitmap *into, BlockDirtyBitmap *from, GError **err)
{
    if (!block_dirty_bitmap_can_merge(into, from, err)) {
        return false;
    }
    if (into != from) {
        merge_bits(into->bits, into->shift, from->bits, from->shift, granules_in_all(from));
        dirty_bits_reset(into->bits, granules_in_all(into), DIRTY_BITS_MAX);
    }
    return true;
}

void block_dirty_bitmap_clear(BlockDirtyBitmap *b)
{
    dirty_bits_reset(b->bits, 0, DIRTY_BITS_MAX);
}

DirtyBits *block_dirty_bitmap_copy(BlockDirtyBitmap *b)
{
    DirtyBits *copy = dirty_bits_new();

    merge_bits(copy, 0, b->bits, 0, granules_in_all(b));
    return copy;
}

void block_dirty_bitmap_restore(BlockDirtyBitmap *b, DirtyBits *copy)
{
    dirty_bits_free(b->bits);
    b->bits = copy;
}

void block_dirty_bitmap_copy_free(DirtyBits *copy)
{
    dirty_bits_free(copy);
}

/* What a bitmap is. */

bool block_dirty_bitmap_enabled(const BlockDirtyBitmap *b)
{
    return __atomic_load_n(&b->enabled, __ATOMIC_SEQ_CST);
}

void block_dirty_bitmap_enable(BlockDirtyBitmap *b, bool on)
{
    __atomic_store_n(&b->enabled, on, __ATOMIC_SEQ_CST);
}

bool block_dirty_bitmap_persistent(const BlockDirtyBitmap *b)
{
    return b->persistent;
}

void block_dirty_bitmap_set_persistent(BlockDirtyBitmap *b, bool on)
{
    b->persistent = on;
}

bool coroutine_fn block_dirty_bitmap_can_store(BlockNode *n, const char *name, uint64_t granularity,
                                               GError **err)
{
    if (!n->driver->can_store_bitmap) {
        return error_set_errno(err, ENOTSUP, "Can't store persistent bitmaps to %s",
                               block_node_device_or_name(n));
    }
    return n->driver->can_store_bitmap(n, name, granularity ? granularity : default_granularity(n),
                                       err);
}

bool block_dirty_bitmap_inconsistent(const BlockDirtyBitmap *b)
{
    return __atomic_load_n(&b->inconsistent, __ATOMIC_SEQ_CST);
}

void block_dirty_bitmap_set_inconsistent(BlockDirtyBitmap *b)
{
    __atomic_store_n(&b->inconsistent, true, __ATOMIC_SEQ_CST);
}

void block_dirty_bitmap_set_read_only(BlockDirtyBitmap *b, bool on)
{
    b->read_only = on;
}

bool block_dirty_bitmap_busy(const BlockDirtyBitmap *b)
{
    return b->busy;
}

void block_dirty_bitmap_set_busy(BlockDirtyBitmap *b, bool on)
{
    b->busy = on;
}

bool block_dirty_bitmap_check(const BlockDirtyBitmap *b, unsigned what, GError **err)
{
    if (what & BITMAP_CHECK_BUSY && b->busy) {
        return error_set(err,
                         "Bitmap '%s' is currently in use by another operation and cannot be used",
                         b->name);
    }
    if (what & BITMAP_CHECK_READ_ONLY && b->read_only) {
        return error_set(err, "Bitmap '%s' is readonly and cannot be modified", b->name);
    }
    if (what & BITMAP_CHECK_INCONSISTENT && block_dirty_bitmap_inconsistent(b)) {
        return error_set(err,
                         "Bitmap '%s' is inconsistent and cannot be used: "
                         "block-dirty-bitmap-remove deletes it",
                         b->name);
    }
    return true;
}

bool block_dirty_bitmap_successor_new(BlockDirtyBitmap *b, GError **err)
{
    if (!block_dirty_bitmap_check(b, BITMAP_CHECK_BUSY, err)) {
        return false;
    }
    if (b->successor) {
        return error_set(err, "Cannot create a successor for a bitmap that already has one");
    }
    b->successor = dirty_bits_new();
    b->busy = true;
    return true;
}

void block_dirty_bitmap_reclaim(BlockDirtyBitmap *b)
{
    merge_bits(b->bits, 0, b->successor, 0, granules_in_all(b));
    g_clear_pointer(&b->successor, dirty_bits_free);
    b->busy = false;
}

void block_dirty_bitmap_abdicate(BlockDirtyBitmap *b)
{
    dirty_bits_free(b->bits);
    b->bits = g_steal_pointer(&b->successor);
    b->busy = false;
}

/* As bytes. */

void block_dirty_bitmap_export(BlockDirtyBitmap *b, uint64_t first_bit, void *buf, size_t len)
{
    uint8_t *out = buf;
    uint64_t at = first_bit / 8;

    g_assert(first_bit % 8 == 0);
    for (size_t done = 0, n; done < len; done += n, at += n) {
        uint64_t word = GUINT64_TO_LE(dirty_bits_word(b->bits, at / 8));

        n = MIN(8 - at % 8, len - done);
        memcpy(out + done, (uint8_t *)&word + at % 8, n);
    }
}

void block_dirty_bitmap_import(BlockDirtyBitmap *b, uint64_t first_bit, const void *buf, size_t len)
{
    const uint8_t *in = buf;
    uint64_t at = first_bit / 8, end = granules_in_all(b);

    g_assert(first_bit % 8 == 0);
    for (size_t done = 0, n; done < len && at * 8 < end; done += n, at += n) {
        uint64_t word = GUINT64_TO_LE(dirty_bits_word(b->bits, at / 8)), behind;

        n = MIN(8 - at % 8, len - done);
        memcpy((uint8_t *)&word + at % 8, in + done, n);
        word = GUINT64_FROM_LE(word);
        behind = end - at / 8 * 64;
        dirty_bits_put_word(b->bits, at / 8, behind < 64 ? word & ((1ULL << behind) - 1) : word);
    }
}

char *block_dirty_bitmap_sha256(BlockDirtyBitmap *b)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint64_t bytes = MAX(DIV_ROUND_UP(granules_in_all(b), 64), 1) * 8;

    for (uint64_t done = 0, n; done < bytes; done += n) {
        uint8_t buf[4096];

        n = MIN(bytes - done, sizeof buf);
        block_dirty_bitmap_export(b, done * 8, buf, n);
        g_checksum_update(sum, buf, n);
    }
    return g_strdup(g_checksum_get_string(sum));
}

/* The list of a node for queries; NULL: there are none. */
json_t *block_dirty_bitmaps_info(BlockNode *n)
{
    json_t *list = NULL;

    for (BlockDirtyBitmap *b = block_dirty_bitmap_next(n, NULL); b;
         b = block_dirty_bitmap_next(n, b)) {
        json_t *o = json_object();

        if (b->name) {
            json_object_set_new(o, "name", json_string_nocheck(b->name));
        }
        json_object_set_new(o, "recording",
                            json_boolean(block_dirty_bitmap_enabled(b) || b->successor));
        json_object_set_new(o, "persistent", json_boolean(b->persistent));
        if (block_dirty_bitmap_inconsistent(b)) {
            json_object_set_new(o, "inconsistent", json_true());
        }
        json_object_set_new(o, "busy", json_boolean(b->busy));
        json_object_set_new(o, "granularity", json_integer(1LL << b->shift));
        json_object_set_new(o, "count", json_integer(block_dirty_bitmap_count(b)));
        list = list ? list : json_array();
        json_array_append_new(list, o);
    }
    return list;
}
