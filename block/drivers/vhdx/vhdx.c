/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver: requests, its table of functions. */
#include <errno.h>
#include "base/iov.h"
#include "../drivers.h"
#include "vhdx.h"

static const Property vhdx_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(VhdxState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    PROP_END,
};

static int vhdx_probe(const uint8_t *buf, size_t len)
{
    return len >= 8 && !memcmp(buf, "vhdxfile", 8) ? 100 : 0;
}

/* --- mapping --- */

static uint64_t load_entry(VhdxState *s, uint64_t guest)
{
    return __atomic_load_n(&s->table[vhdx_index(s, guest / s->block_size)], __ATOMIC_ACQUIRE);
}

/* Where the byte 'guest' is in the file; 0: it reads as zero. -EIO: of a differencing disk. */
static int64_t map_guest(VhdxState *s, uint64_t guest)
{
    uint64_t entry = load_entry(s, guest);

    switch (BAT_STATE(entry)) {
    case BLOCK_PRESENT:
        return BAT_OFFSET(entry) + guest % s->block_size;
    case BLOCK_NOT_PRESENT:
    case BLOCK_UNDEFINED:
    case BLOCK_ZERO:
    case BLOCK_UNMAPPED:
        return 0;
    default:
        return -EIO;
    }
}

static uint64_t in_one_block(const VhdxState *s, uint64_t guest, uint64_t bytes)
{
    return MIN(bytes, s->block_size - guest % s->block_size);
}

static bool vhdx_map_cached(BlockNode *n, uint64_t offset, uint64_t bytes, bool write,
                            BlockMapping *map)
{
    VhdxState *s = block_node_state(n);
    int64_t host;

    if (in_one_block(s, offset, bytes) < bytes ||
        (write && !__atomic_load_n(&s->marked, __ATOMIC_ACQUIRE))) {
        return false;
    }
    host = map_guest(s, offset);
    if (host <= 0) {
        return false;
    }
    map->file = n->file;
    map->offset = host;
    map->bytes = bytes;
    return true;
}

static int coroutine_fn vhdx_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    VhdxState *s = block_node_state(n);
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        int64_t host = map_guest(s, offset + done);
        unsigned parts;

        len = in_one_block(s, offset + done, bytes - done);
        parts = iov_slice(part, niov, iov, niov, done, len);
        if (host > 0) {
            ret = block_preadv(n->file, host, len, part, parts);
        } else if (host == 0) {
            iov_memset(part, parts, 0, 0, len);
        } else {
            ret = host;
        }
    }
    return ret;
}

/* Blocks that follow each other in the file as well, or read as zeroes, are one run. */
static int coroutine_fn vhdx_block_status(BlockNode *n, uint64_t offset, uint64_t bytes,
                                          uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    VhdxState *s = block_node_state(n);
    int64_t host = map_guest(s, offset);
    uint64_t len = in_one_block(s, offset, bytes);

    if (host < 0) {
        return host;
    }
    while (len < bytes && map_guest(s, offset + len) == (host ? host + (int64_t)len : 0)) {
        len += in_one_block(s, offset + len, bytes - len);
    }
    *pnum = len;
    if (!host) {
        return BLOCK_STATUS_ZERO;
    }
    *map = host;
    *file = n->file;
    return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID;
}

/* --- writing --- */

static void set_dirty(VhdxState *s, uint64_t index)
{
    uint64_t sector = index / (VHDX_SECTOR / 8);

    s->dirty[sector] = 1;
    if (s->dirty_first == s->dirty_end) {
        s->dirty_first = sector;
        s->dirty_end = sector + 1;
    } else {
        s->dirty_first = MIN(s->dirty_first, sector);
        s->dirty_end = MAX(s->dirty_end, sector + 1);
    }
}

/* Under lock. */
static int coroutine_fn new_block(BlockNode *n, uint64_t index)
{
    VhdxState *s = block_node_state(n);
    uint64_t at = s->end;
    int ret;

    if (at > 2 * VHDX_MAX_SIZE) {
        return -EFBIG;
    }
    ret = block_clear_space(n->file, at, s->block_size);
    if (ret == 0) {
        s->end = at + s->block_size;
        set_dirty(s, index);
        __atomic_store_n(&s->table[index], at | BLOCK_PRESENT, __ATOMIC_RELEASE);
    }
    return ret;
}

/* The range lies in one block, which is there afterwards. */
static int coroutine_fn prepare_write(BlockNode *n, uint64_t guest)
{
    VhdxState *s = block_node_state(n);
    uint64_t index = vhdx_index(s, guest / s->block_size);
    int64_t host = map_guest(s, guest);
    int ret = MIN(host, 0);

    if (host != 0) {
        return ret;
    }
    co_mutex_lock(&s->lock);
    if (BAT_STATE(s->table[index]) != BLOCK_PRESENT) {
        ret = new_block(n, index);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static int coroutine_fn vhdx_pwritev(BlockNode *n, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    VhdxState *s = block_node_state(n);
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = vhdx_mark(n);

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        len = in_one_block(s, offset + done, bytes - done);
        ret = prepare_write(n, offset + done);
        if (ret == 0) {
            unsigned parts = iov_slice(part, niov, iov, niov, done, len);

            ret = block_pwritev(n->file, map_guest(s, offset + done), len, part, parts, flags);
        }
    }
    return ret;
}

typedef int coroutine_fn (*PlaceFn)(BlockNode *file, uint64_t at, uint64_t bytes, unsigned flags);

static int coroutine_fn discard_place(BlockNode *file, uint64_t at, uint64_t bytes, unsigned flags)
{
    return block_pdiscard(file, at, bytes);
}

/* Calls fn for what is in the file. Blocks that are not there read as zeroes, and stay so. */
static int coroutine_fn for_places(BlockNode *n, uint64_t offset, uint64_t bytes, PlaceFn fn,
                                   unsigned flags)
{
    VhdxState *s = block_node_state(n);
    int ret = vhdx_mark(n);

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        int64_t host = map_guest(s, offset + done);

        len = in_one_block(s, offset + done, bytes - done);
        if (host) {
            ret = host < 0 ? host : fn(n->file, host, len, flags);
        }
    }
    return ret;
}

static int coroutine_fn vhdx_pwrite_zeroes(BlockNode *n, uint64_t offset, uint64_t bytes,
                                           unsigned flags)
{
    return for_places(n, offset, bytes, block_pwrite_zeroes, flags);
}

static int coroutine_fn vhdx_pdiscard(BlockNode *n, uint64_t offset, uint64_t bytes)
{
    return for_places(n, offset, bytes, discard_place, 0);
}

static int coroutine_fn vhdx_flush(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    bool dirty = false;
    int ret = 0;

    if (!s->loaded) {
        return 0;
    }
    co_mutex_lock(&s->lock);
    dirty = s->dirty_first < s->dirty_end;
    if (dirty) {
        ret = vhdx_write_table(n); /* makes all data stable first */
    }
    co_mutex_unlock(&s->lock);
    return dirty ? ret : block_flush(n->file);
}

/* --- the driver --- */

static int64_t vhdx_length(BlockNode *n)
{
    VhdxState *s = block_node_state(n);

    return s->size;
}

static bool vhdx_info(BlockNode *n, BlockDriverInfo *info)
{
    VhdxState *s = block_node_state(n);

    *info = (BlockDriverInfo){.cluster_size = s->block_size};
    return true;
}

const BlockDriver block_driver_vhdx = {
    .name = "vhdx",
    .help = "VHDX images of Hyper-V, fixed and dynamic",
    .size = sizeof(VhdxState),
    .props = vhdx_props,
    .probe = vhdx_probe,
    .open = vhdx_open,
    .opened = vhdx_opened,
    .close = vhdx_close,
    .reopen_prepare = vhdx_reopen_prepare,
    .reopened = vhdx_opened,
    .inactivate = vhdx_inactivate,
    .activate = vhdx_activate,
    .preadv = vhdx_preadv,
    .pwritev = vhdx_pwritev,
    .pwrite_zeroes = vhdx_pwrite_zeroes,
    .pdiscard = vhdx_pdiscard,
    .flush = vhdx_flush,
    .block_status = vhdx_block_status,
    .length = vhdx_length,
    .map_cached = vhdx_map_cached,
    .info = vhdx_info,
    .create_props = vhdx_create_props,
    .create_size = sizeof(VhdxCreate),
    .create_check = vhdx_create_check,
    .create = vhdx_create,
    .check = vhdx_check,
};
