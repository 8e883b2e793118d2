/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Format 'raw': the bytes as they are, or a window of them (offset, size). */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "block/debug.h"
#include "block/image.h"
#include "../core.h"

typedef struct {
    json_t *file_config;
    uint64_t offset, size;
    bool has_size;
} RawState;

static const Property raw_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(RawState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the bytes"},
    PROP("offset", PROP_SIZE, RawState, offset, "0", "where the window starts"),
    {.name = "size",
     .type = PROP_SIZE,
     .offset = offsetof(RawState, size),
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(RawState, has_size),
     .help = "length of the window (default: up to the end)"},
    PROP_END,
};

static void raw_child_changed(BlockNode *node)
{
    node->request_alignment = node->file->request_alignment;
    node->memory_alignment = node->file->memory_alignment;
}

static bool raw_open(BlockNode *node, GError **err)
{
    RawState *s = block_node_state(node);
    unsigned role = s->offset || s->has_size ? BLOCK_ROLE_DATA : BLOCK_ROLE_FILTERED;
    int64_t len;

    if (!block_open_child(node, "file", role, s->file_config, &node->file, err)) {
        return false;
    }
    raw_child_changed(node);
    len = block_length(node->file);
    if (len < 0) {
        return error_set_errno(err, -len, "Could not get image size");
    }
    if (s->offset > len) {
        return error_set(err,
                         "Offset (%" PRIu64
                         ") cannot be greater than size of the containing file (%" PRId64 ")",
                         s->offset, len);
    }
    if (s->has_size && !IS_ALIGNED(s->size, BLOCK_SECTOR_SIZE)) {
        return error_set(err, "Specified size is not multiple of %d", BLOCK_SECTOR_SIZE);
    }
    if (s->has_size && s->size > len - s->offset) {
        return error_set(err,
                         "The sum of offset (%" PRIu64 ") and size (%" PRIu64
                         ") has to be smaller or equal to the  actual size of the containing file "
                         "(%" PRId64 ")",
                         s->offset, s->size, len);
    }
    if (!IS_ALIGNED(s->offset, node->request_alignment)) {
        return error_set(err, "Offset has to be a multiple of %u for cache.direct=on",
                         node->request_alignment);
    }
    return true;
}

static int64_t raw_length(BlockNode *node)
{
    RawState *s = block_node_state(node);
    int64_t len = block_exact_length(node->file);

    if (len < 0) {
        return len;
    }
    len = MAX(len - (int64_t)s->offset, 0);
    return s->has_size ? MIN(len, (int64_t)s->size) : len;
}

static int coroutine_fn raw_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    RawState *s = block_node_state(node);

    block_debug_event(node->file, BLOCK_DEBUG_READ_AIO);
    return block_preadv(node->file, offset + s->offset, bytes, iov, niov);
}

/*
 * Where raw was only guessed, the guest must not turn its disk into something that the next start
 * takes for another format (with a backing file of the guest's choice).
 */
static bool would_change_format(BlockNode *node, uint64_t offset, const struct iovec *iov,
                                unsigned niov)
{
    uint8_t head[512];
    size_t n;

    if (!node->probed || offset >= sizeof head) {
        return false;
    }
    if (offset) {
        return true; /* part of the first sector cannot be probed; guests write whole sectors */
    }
    n = iov_to_buf(iov, niov, 0, head, sizeof head);
    return block_probe(head, n) != node->driver || block_probe_foreign(head, n, NULL, 0);
}

/* The same for formats that are known by the end of a file. */
static bool coroutine_fn would_change_tail(BlockNode *node, uint64_t offset, uint64_t bytes,
                                           const struct iovec *iov, unsigned niov)
{
    RawState *s = block_node_state(node);
    int64_t length = node->probed ? raw_length(node) : -1;
    uint8_t tail[512];
    uint64_t end, start, from, skip;

    if (length < 0 || offset + bytes + sizeof tail <= (uint64_t)length) {
        return false;
    }
    end = MAX((uint64_t)length, offset + bytes);
    start = end > sizeof tail ? end - sizeof tail : 0;
    if (block_pread(node->file, s->offset + start, tail, end - start) < 0) {
        return true;
    }
    from = MAX(offset, start);
    skip = from - offset;
    if (skip < bytes) {
        iov_to_buf(iov, niov, skip, tail + (from - start), bytes - skip);
    }
    return block_probe_tail(tail, end - start);
}

static int coroutine_fn raw_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov, unsigned flags)
{
    RawState *s = block_node_state(node);

    if (would_change_format(node, offset, iov, niov) ||
        would_change_tail(node, offset, bytes, iov, niov)) {
        return -EPERM;
    }
    block_debug_event(node->file, BLOCK_DEBUG_WRITE_AIO);
    return block_pwritev(node->file, offset + s->offset, bytes, iov, niov, flags);
}

static int coroutine_fn raw_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                          unsigned flags)
{
    RawState *s = block_node_state(node);

    return block_pwrite_zeroes(node->file, offset + s->offset, bytes, flags);
}

static int coroutine_fn raw_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    RawState *s = block_node_state(node);

    return block_pdiscard(node->file, offset + s->offset, bytes);
}

static int coroutine_fn raw_pcopy(BlockNode *node, uint64_t offset, const BlockHostRange *from,
                                  unsigned flags)
{
    RawState *s = block_node_state(node);

    /* A write looks at the new bytes: would_change_format(). */
    if (node->probed && offset < BLOCK_SECTOR_SIZE) {
        return -ENOTSUP;
    }
    return block_pcopy(node->file, offset + s->offset, from, flags);
}

static int coroutine_fn raw_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    RawState *s = block_node_state(node);
    int ret = block_status_here(node->file, offset + s->offset, bytes, pnum, map, file);

    return ret < 0 ? ret : ret | BLOCK_STATUS_ALLOCATED;
}

static int coroutine_fn raw_truncate(BlockNode *node, uint64_t size, GError **err)
{
    RawState *s = block_node_state(node);

    if (s->has_size) {
        error_set(err, "Cannot resize fixed-size raw disks");
        return -ENOTSUP;
    }
    return block_truncate(node->file, size + s->offset, err);
}

static int coroutine_fn raw_preallocate(BlockNode *node, uint64_t offset, uint64_t bytes,
                                        BlockPreallocation mode)
{
    RawState *s = block_node_state(node);

    return block_preallocate(node->file, offset + s->offset, bytes, mode);
}

static bool raw_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                           BlockMapping *map)
{
    RawState *s = block_node_state(node);

    if (write && node->probed &&
        (offset < 512 || offset + bytes + 512 > (uint64_t)MAX(raw_length(node), 0))) {
        return false; /* raw_pwritev() looks at what is written */
    }
    map->file = node->file;
    map->offset = offset + s->offset;
    map->bytes = bytes;
    return true;
}

typedef struct {
    uint64_t size;
    int preallocation;
} RawCreate;

static const char *const prealloc_names[] = {"off", "falloc", "full", NULL};
enum { RAW_PREALLOC_FULL = 2 };

static const Property raw_create_props[] = {
    PROP("size", PROP_SIZE, RawCreate, size, "0", "virtual disk size"),
    PROP_E("preallocation", RawCreate, preallocation, "off", prealloc_names, "off, falloc or full"),
    PROP_END,
};

/* Rounds the size up to whole sectors. */
static bool raw_create_check(void *options, uint64_t *length, GError **err)
{
    RawCreate *c = options;

    if (c->size > INT64_MAX - 511) {
        return error_set(err, "The image size is too large for file format 'raw'");
    }
    c->size = ROUND_UP(c->size, 512);
    *length = c->size;
    return true;
}

static bool raw_measure(void *options, BlockMeasure *m, GError **err)
{
    m->unit = BLOCK_SECTOR_SIZE;
    m->preallocated = true; /* the file is as long as the disk */
    return raw_create_check(options, &m->data, err);
}

static bool coroutine_fn raw_create(BlockNode *file, void *options, bool *zero, GError **err)
{
    RawCreate *c = options;
    int ret = block_truncate(file, c->size, err);

    if (ret < 0) {
        return false;
    }
    if (c->preallocation && c->size) {
        /* Nothing but zeroes is read from a file that keeps old bytes. */
        ret = c->preallocation == RAW_PREALLOC_FULL ? block_fill_zeroes(file, 0, c->size)
                                                    : block_pwrite_zeroes(file, 0, c->size, 0);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not preallocate");
        }
        *zero = true;
    }
    return true;
}

const BlockDriver block_driver_raw = {
    .name = "raw",
    .help = "the bytes as they are",
    .size = sizeof(RawState),
    .props = raw_props,
    .open = raw_open,
    .child_changed = raw_child_changed,
    .preadv = raw_preadv,
    .pwritev = raw_pwritev,
    .pwrite_zeroes = raw_pwrite_zeroes,
    .pdiscard = raw_pdiscard,
    .pcopy = raw_pcopy,
    .block_status = raw_block_status,
    .truncate = raw_truncate,
    .preallocate = raw_preallocate,
    .length = raw_length,
    .map_cached = raw_map_cached,
    .create_props = raw_create_props,
    .create_size = sizeof(RawCreate),
    .create_check = raw_create_check,
    .measure = raw_measure,
    .create = raw_create,
};
