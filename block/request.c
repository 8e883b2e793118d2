/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests on a node, between the caller and the driver: quiescence, read-only nodes, the end of
 * the node, alignment (bounce buffers; read-modify-write for unaligned direct writes), detection of
 * zeroes, FUA. A flush is skipped where nothing was written since the last one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/trace.h"
#include "base/util.h"
#include "block/debug.h"
#include "block/image.h"
#include "core.h"

/* Bytes that zeroes_by_hand() writes at a time. */
enum { ZERO_BUFFER = 256 * 1024 };

void coroutine_fn block_node_enter(BlockNode *n)
{
    while (!block_node_try_enter(n)) {
        block_node_leave(n);
        wait_list_until(&n->core->held, __atomic_load_n(&n->quiesce, __ATOMIC_SEQ_CST) == 0);
    }
}

void coroutine_fn block_node_bar(BlockNode *n)
{
    __atomic_add_fetch(&n->quiesce, 1, __ATOMIC_SEQ_CST);
    wait_list_until(&n->core->drained, block_node_quiet(n));
}

void block_node_unbar(BlockNode *n)
{
    __atomic_sub_fetch(&n->quiesce, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&n->core->held);
}

int64_t block_exact_length(BlockNode *n)
{
    return n->driver->length ? n->driver->length(n) : block_exact_length(n->file);
}

int64_t block_length(BlockNode *n)
{
    int64_t len = block_exact_length(n);

    return len < 0 ? len : ROUND_UP(len, BLOCK_SECTOR_SIZE);
}

bool block_iov_aligned(BlockNode *n, const struct iovec *iov, unsigned niov)
{
    if (n->memory_alignment <= 1 && n->request_alignment <= 1) {
        return true;
    }
    for (unsigned i = 0; i < niov; i++) {
        if (!IS_ALIGNED((uintptr_t)iov[i].iov_base, n->memory_alignment) ||
            !IS_ALIGNED(iov[i].iov_len, MAX(n->request_alignment, n->memory_alignment))) {
            return false;
        }
    }
    return true;
}

static bool range_aligned(BlockNode *n, uint64_t off, uint64_t bytes)
{
    return ((off | bytes) & (n->request_alignment - 1)) == 0;
}

static bool range_sane(uint64_t off, uint64_t bytes)
{
    return off <= INT64_MAX && bytes <= INT64_MAX - off;
}

void *block_buffer_new(BlockNode *n, size_t len)
{
    size_t align = 4096;
    void *p = NULL;

    for (; n; n = n->file) {
        align = MAX(align, n->memory_alignment);
    }
    return posix_memalign(&p, align, MAX(len, 1)) ? NULL : p;
}

void block_buffer_cleanup(void *p)
{
    free(*(void **)p);
}

/* The range, aligned or not, lies inside the node; a protocol reads as zeroes past its end. */
static int coroutine_fn read_inside(BlockNode *n, uint64_t off, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    const uint64_t align = n->request_alignment;
    uint64_t start = ROUND_DOWN(off, align), end = ROUND_UP(off + bytes, align);
    block_auto_buffer void *buf = NULL;
    struct iovec one;
    int ret;

    if (range_aligned(n, off, bytes) && block_iov_aligned(n, iov, niov)) {
        return n->driver->preadv(n, off, bytes, iov, niov);
    }
    buf = block_buffer_new(n, end - start);
    if (!buf) {
        return -ENOMEM;
    }
    one.iov_base = buf;
    one.iov_len = end - start;
    ret = n->driver->preadv(n, start, end - start, &one, 1);
    if (ret < 0) {
        return ret;
    }
    iov_from_buf(iov, niov, 0, (char *)buf + (off - start), bytes);
    return 0;
}

static int coroutine_fn read_clipped(BlockNode *n, uint64_t off, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov)
{
    int64_t len;
    uint64_t inside;
    g_autofree struct iovec *part = NULL;
    unsigned nparts;
    int ret;

    if (block_node_image(n)->driver->is_protocol) {
        return read_inside(n, off, bytes, iov, niov);
    }
    len = block_length(n);
    if (len < 0) {
        return len;
    }
    len = ROUND_UP(len, (int64_t)n->request_alignment);
    if (off + bytes <= len) {
        return read_inside(n, off, bytes, iov, niov);
    }
    inside = off < len ? len - off : 0;
    iov_memset(iov, niov, inside, 0, bytes - inside);
    if (!inside) {
        return 0;
    }
    part = g_new(struct iovec, niov);
    nparts = iov_slice(part, niov, iov, niov, 0, inside);
    ret = read_inside(n, off, inside, part, nparts);
    return ret;
}

int coroutine_fn block_preadv(BlockNode *n, uint64_t off, uint64_t bytes, const struct iovec *iov,
                              unsigned niov)
{
    int ret;

    if (!range_sane(off, bytes)) {
        return -EIO;
    }
    if (!bytes) {
        return 0;
    }
    block_node_enter(n);
    trace(bdrv_co_preadv_part, n->opts.node_name, off, bytes);
    ret = n->inactive ? -EPERM : read_clipped(n, off, bytes, iov, niov);
    block_node_leave(n);
    return ret;
}

/*
 * Writes a range that does not cover whole units of request_alignment. Reads the first and the last
 * unit, and writes them back with the new data in them. No other request may run on the node
 * meanwhile: what that wrote into one of the two units would be lost.
 */
static int coroutine_fn write_unaligned(BlockNode *n, uint64_t off, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    const uint64_t align = n->request_alignment;
    uint64_t start = ROUND_DOWN(off, align), end = ROUND_UP(off + bytes, align);
    block_auto_buffer void *buf = block_buffer_new(n, end - start);
    struct iovec one = {.iov_base = buf, .iov_len = end - start};
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    if (start != off || end != off + bytes) {
        struct iovec edge = {.iov_base = buf, .iov_len = align};
        block_debug_event(n, BLOCK_DEBUG_PWRITEV_RMW_HEAD);
        ret = n->driver->preadv(n, start, align, &edge, 1);
        block_debug_event(n, BLOCK_DEBUG_PWRITEV_RMW_AFTER_HEAD);
        if (ret == 0 && end - start > align) {
            edge.iov_base = (char *)buf + (end - start - align);
            block_debug_event(n, BLOCK_DEBUG_PWRITEV_RMW_TAIL);
            ret = n->driver->preadv(n, end - align, align, &edge, 1);
            block_debug_event(n, BLOCK_DEBUG_PWRITEV_RMW_AFTER_TAIL);
        }
        if (ret < 0) {
            return ret;
        }
    }
    iov_to_buf(iov, niov, 0, (char *)buf + (off - start), bytes);
    return n->driver->pwritev(n, start, end - start, &one, 1, flags);
}

/*
 * write_unaligned() as the only request on the node. A last unit that reaches past the end makes
 * the file longer than the data asked for. The file is cut again: a raw image is as long as its
 * disk.
 */
static int coroutine_fn write_exclusive(BlockNode *n, uint64_t off, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    int64_t before, want;
    int ret;

    /* Counted out while it waits: two of these would wait for each other to end. */
    __atomic_add_fetch(&n->core->exclusive_count, 1, __ATOMIC_SEQ_CST);
    block_node_leave(n);
    co_mutex_lock(&n->core->exclusive);
    __atomic_add_fetch(&n->quiesce, 1, __ATOMIC_SEQ_CST);
    wait_list_until(&n->core->drained, __atomic_load_n(&n->in_flight, __ATOMIC_SEQ_CST) == 0);
    __atomic_add_fetch(&n->in_flight, 1, __ATOMIC_SEQ_CST);

    before = block_exact_length(n);
    ret = write_unaligned(n, off, bytes, iov, niov, flags);
    want = MAX(before, (int64_t)(off + bytes));
    if (ret == 0 && before >= 0 && block_exact_length(n) > want && n->driver->truncate) {
        ret = n->driver->truncate(n, want, NULL);
    }

    /* in_flight stays raised: the caller counts the request out. */
    __atomic_sub_fetch(&n->quiesce, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&n->core->held);
    __atomic_sub_fetch(&n->core->exclusive_count, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&n->core->drained);
    co_mutex_unlock(&n->core->exclusive);
    return ret;
}

/*
 * One flush of a file at a time. The host tells of a write that was lost once, to one of those who
 * flush: another, at the same time, would succeed while the failure of the first is not known yet.
 * A flush that waited for another may find that all it is about is stable.
 */
static int coroutine_fn flush_protocol(BlockNode *n)
{
    uint64_t wanted = __atomic_load_n(&n->write_gen, __ATOMIC_SEQ_CST);
    int ret = 0;

    if (n->opts.cache.no_flush || !n->driver->flush ||
        __atomic_load_n(&n->flushed_gen, __ATOMIC_SEQ_CST) >= wanted) {
        return 0;
    }
    co_mutex_lock(&n->core->flushing);
    if (__atomic_load_n(&n->flushed_gen, __ATOMIC_SEQ_CST) < wanted) {
        uint64_t gen = __atomic_load_n(&n->write_gen, __ATOMIC_SEQ_CST);

        ret = n->driver->flush(n);
        if (ret == 0) {
            __atomic_store_n(&n->flushed_gen, gen, __ATOMIC_SEQ_CST);
        }
    }
    co_mutex_unlock(&n->core->flushing);
    return ret;
}

static int coroutine_fn do_flush(BlockNode *n)
{
    if (n->file) {
        block_debug_event(n->file, BLOCK_DEBUG_FLUSH_TO_OS);
    }
    if (n->driver->is_protocol) {
        return flush_protocol(n);
    }
    /* A format's flush() flushes its files itself. */
    if (n->driver->flush) {
        return n->driver->flush(n);
    }
    block_debug_event(n->file, BLOCK_DEBUG_FLUSH_TO_DISK);
    return block_flush(n->file);
}

static int coroutine_fn write_bounced(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov, unsigned flags)
{
    block_auto_buffer void *buf = block_buffer_new(n, bytes);
    struct iovec one = {.iov_base = buf, .iov_len = bytes};

    if (!buf) {
        return -ENOMEM;
    }
    iov_to_buf(iov, niov, 0, buf, bytes);
    return n->driver->pwritev(n, off, bytes, &one, 1, flags);
}

static int coroutine_fn write_plain(BlockNode *n, uint64_t off, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov, unsigned flags)
{
    if (!range_aligned(n, off, bytes)) {
        /* Never where request_alignment is 1: qcow2, and all files without O_DIRECT. */
        return write_exclusive(n, off, bytes, iov, niov, flags);
    }
    if (!block_iov_aligned(n, iov, niov)) {
        return write_bounced(n, off, bytes, iov, niov, flags);
    }
    return n->driver->pwritev(n, off, bytes, iov, niov, flags);
}

static int coroutine_fn zeroes_by_hand(BlockNode *n, uint64_t off, uint64_t bytes, unsigned flags)
{
    block_auto_buffer void *buf = block_buffer_new(n, MIN(bytes, ZERO_BUFFER));
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, MIN(bytes, ZERO_BUFFER));
    while (bytes && ret == 0) {
        /* Ends at a multiple of ZERO_BUFFER: only the first and the last piece can be unaligned. */
        uint64_t len = MIN(bytes, ZERO_BUFFER - off % ZERO_BUFFER);
        struct iovec one = {.iov_base = buf, .iov_len = len};

        ret = write_plain(n, off, len, &one, 1, flags);
        off += len;
        bytes -= len;
    }
    return ret;
}

static int coroutine_fn do_zeroes(BlockNode *n, uint64_t off, uint64_t bytes, unsigned flags)
{
    int ret = -ENOTSUP;

    block_debug_event(n, BLOCK_DEBUG_PWRITEV_ZERO);
    if (n->opts.discard != BLOCK_DISCARD_UNMAP) {
        flags &= ~BLOCK_REQ_MAY_UNMAP;
    }
    if (n->driver->pwrite_zeroes) {
        ret = n->driver->pwrite_zeroes(n, off, bytes, flags);
    }
    if (ret == -ENOTSUP && !(flags & BLOCK_REQ_NO_FALLBACK)) {
        ret = zeroes_by_hand(n, off, bytes, flags & ~(BLOCK_REQ_MAY_UNMAP));
    }
    return ret;
}

int block_write_allowed(BlockNode *n, uint64_t off, uint64_t bytes)
{
    int64_t len;

    if (!range_sane(off, bytes)) {
        return -EIO;
    }
    if (n->read_only || n->inactive) {
        return -EPERM;
    }
    if (block_node_image(n)->driver->is_protocol) {
        return 0; /* a file grows as its format needs it, filters above or not */
    }
    len = block_length(n);
    if (len < 0) {
        return len;
    }
    return off + bytes > ROUND_UP(len, (int64_t)n->request_alignment) ? -EIO : 0;
}

int coroutine_fn block_pwritev(BlockNode *n, uint64_t off, uint64_t bytes, const struct iovec *iov,
                               unsigned niov, unsigned flags)
{
    bool fua = flags & BLOCK_REQ_FUA;
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, off, bytes, flags);
    trace(bdrv_co_pwritev_part, n->opts.node_name, off, bytes, flags);
    flags &= ~(BLOCK_REQ_FUA | BLOCK_REQ_HOLDS_RANGE);
    ret = block_write_allowed(n, off, bytes);
    if (ret < 0 || !bytes) {
        goto out;
    }
    block_threshold_check(n, off + bytes);
    if (G_UNLIKELY(n->opts.detect_zeroes != BLOCK_DETECT_ZEROES_OFF) && n->driver->pwrite_zeroes &&
        iov_is_zero(iov, niov)) {
        unsigned unmap =
            n->opts.detect_zeroes == BLOCK_DETECT_ZEROES_UNMAP ? BLOCK_REQ_MAY_UNMAP : 0;
        ret = do_zeroes(n, off, bytes, flags | unmap);
    } else {
        block_debug_event(n, BLOCK_DEBUG_PWRITEV);
        ret = write_plain(n, off, bytes, iov, niov, flags);
    }
    block_debug_event(n, BLOCK_DEBUG_PWRITEV_DONE);
    block_node_wrote_up_to(n, off + bytes);
    block_node_dirtied(n, off, bytes);
    if (ret == 0 && fua) {
        ret = do_flush(n);
    }
out:
    block_write_end(n, &range);
    return ret;
}

int coroutine_fn block_pread(BlockNode *n, uint64_t off, void *buf, size_t bytes)
{
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};

    return block_preadv(n, off, bytes, &iov, 1);
}

int coroutine_fn block_pwrite(BlockNode *n, uint64_t off, const void *buf, size_t bytes,
                              unsigned flags)
{
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = bytes};

    return block_pwritev(n, off, bytes, &iov, 1, flags);
}

int coroutine_fn block_pwrite_zeroes(BlockNode *n, uint64_t off, uint64_t bytes, unsigned flags)
{
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, off, bytes, flags);
    trace(bdrv_co_pwrite_zeroes, n->opts.node_name, off, bytes, flags);
    ret = block_write_allowed(n, off, bytes);
    if (ret < 0 || !bytes) {
        goto out;
    }
    block_threshold_check(n, off + bytes);
    ret = do_zeroes(n, off, bytes, flags & ~(BLOCK_REQ_FUA | BLOCK_REQ_HOLDS_RANGE));
    block_debug_event(n, BLOCK_DEBUG_PWRITEV_DONE);
    block_node_wrote_up_to(n, off + bytes);
    block_node_dirtied(n, off, bytes);
    if (ret == 0 && (flags & BLOCK_REQ_FUA)) {
        ret = do_flush(n);
    }
out:
    block_write_end(n, &range);
    return ret;
}

int coroutine_fn block_pdiscard(BlockNode *n, uint64_t off, uint64_t bytes)
{
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, off, bytes, 0);
    trace(bdrv_co_pdiscard, n->opts.node_name, off, bytes);
    ret = block_write_allowed(n, off, bytes);
    if (ret == 0 && bytes && n->opts.discard == BLOCK_DISCARD_UNMAP && n->driver->pdiscard) {
        ret = n->driver->pdiscard(n, off, bytes);
        block_node_dirtied(n, off, bytes);
    }
    block_write_end(n, &range);
    return ret == -ENOTSUP ? 0 : ret;
}

int coroutine_fn block_flush(BlockNode *n)
{
    int ret;

    if (n->read_only) {
        return 0;
    }
    block_node_enter(n);
    trace(bdrv_co_flush, n->opts.node_name);
    /* All was written back before the node became inactive. */
    ret = n->inactive ? 0 : do_flush(n);
    block_node_leave(n);
    return ret;
}

/* Called after block_node_enter(): the length may have changed while that waited. */
static int coroutine_fn status_inside(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                                      uint64_t *map, BlockNode **file)
{
    int64_t len = n->inactive ? -EPERM : block_length(n);

    if (len < 0) {
        return len;
    }
    if (off >= len || !bytes) {
        *pnum = bytes;
        return BLOCK_STATUS_ZERO;
    }
    bytes = MIN(bytes, len - off);
    *pnum = bytes;
    if (!n->driver->block_status) {
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED;
    }
    return n->driver->block_status(n, off, bytes, pnum, map, file);
}

/* What the driver says; and, if 'holes', whether the file has a hole there. */
static int coroutine_fn status_of(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                                  uint64_t *map, BlockNode **file, bool holes)
{
    uint64_t dummy_map, below_len;
    BlockNode *dummy_file;
    int ret;

    *pnum = 0;
    map = map ? map : &dummy_map;
    file = file ? file : &dummy_file;
    *map = 0;
    *file = NULL;
    block_node_enter(n);
    ret = status_inside(n, off, bytes, pnum, map, file);
    if (holes && ret > 0 && ret & BLOCK_STATUS_RECURSE) {
        int below = block_status(*file, *map, *pnum, &below_len, NULL, NULL);

        ret &= ~BLOCK_STATUS_RECURSE;
        if (below > 0 && below_len) { /* an error is met again by who reads */
            *pnum = MIN(*pnum, below_len);
            ret |= below & BLOCK_STATUS_ZERO;
        }
    }
    block_node_leave(n);
    return ret;
}

int coroutine_fn block_status(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                              uint64_t *map, BlockNode **file)
{
    return status_of(n, off, bytes, pnum, map, file, true);
}

int coroutine_fn block_status_here(BlockNode *n, uint64_t off, uint64_t bytes, uint64_t *pnum,
                                   uint64_t *map, BlockNode **file)
{
    return status_of(n, off, bytes, pnum, map, file, false);
}

/* Compressed data overwrites nothing. A cluster of zeroes that lies nowhere is none. */
static bool is_taken(int status)
{
    return status & BLOCK_STATUS_ALLOCATED &&
           (!(status & BLOCK_STATUS_ZERO) || status & BLOCK_STATUS_OFFSET_VALID);
}

static int coroutine_fn compressed_entered(BlockNode *n, uint64_t off, const uint8_t *buf,
                                           uint64_t bytes)
{
    BlockDriverInfo info = {0};
    int ret = block_write_allowed(n, off, bytes);

    if (ret < 0) {
        return ret;
    }
    if (!n->driver->pwrite_compressed || !n->driver->info(n, &info)) {
        return -ENOTSUP;
    }
    json_decref(info.format_specific);
    if (off % info.cluster_size ||
        (bytes % info.cluster_size && off + bytes != (uint64_t)block_length(n))) {
        return -EINVAL;
    }
    block_threshold_check(n, off + bytes);
    for (uint64_t done = 0, len; ret == 0 && done < bytes; done += len) {
        uint64_t same, map;
        BlockNode *file;

        len = MIN(bytes - done, info.cluster_size);
        ret = status_inside(n, off + done, len, &same, &map, &file);
        if (ret >= 0) {
            ret =
                is_taken(ret) ? -EIO : n->driver->pwrite_compressed(n, off + done, buf + done, len);
        }
        block_node_wrote_up_to(n, off + done + len);
        block_node_dirtied(n, off + done, len);
    }
    return ret;
}

int coroutine_fn block_pwrite_compressed(BlockNode *n, uint64_t off, const void *buf,
                                         uint64_t bytes)
{
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, off, bytes, 0);
    ret = compressed_entered(n, off, buf, bytes);
    block_write_end(n, &range);
    return ret;
}

/*
 * Moves *n down to the first node of its backing chain that has data or zeroes at 'off', and cuts
 * *bytes to what that node has in one piece.
 */
static int coroutine_fn find_backing(BlockNode **n, uint64_t off, uint64_t *bytes)
{
    while ((*n)->backing) {
        uint64_t here;
        int ret = block_status_here(*n, off, *bytes, &here, NULL, NULL);

        if (ret < 0) {
            return ret;
        }
        *bytes = MIN(*bytes, here);
        if (ret & (BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_ZERO)) {
            break;
        }
        *n = (*n)->backing;
    }
    return 0;
}

int coroutine_fn block_preadv_backing(BlockNode *n, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    g_autofree struct iovec *part = NULL;
    uint64_t done = 0;

    while (done < bytes) {
        uint64_t len = bytes - done;
        const struct iovec *piece = iov;
        unsigned pieces = niov;
        BlockNode *at = n;
        int ret = find_backing(&at, off + done, &len);

        if (ret == 0 && len < bytes) {
            part = part ? part : g_new(struct iovec, niov);
            pieces = iov_slice(part, niov, iov, niov, done, len);
            piece = part;
        }
        ret = ret < 0 ? ret : block_preadv(at, off + done, len, piece, pieces);
        if (ret < 0) {
            return ret;
        }
        done += len;
    }
    return 0;
}

int coroutine_fn block_status_chain(BlockNode *n, BlockNode *base, uint64_t off, uint64_t bytes,
                                    uint64_t *pnum, uint64_t *map, BlockNode **file,
                                    unsigned *depth)
{
    unsigned level = 0;

    for (;;) {
        int64_t len;
        int ret = block_status(n, off, bytes, pnum, map, file);

        if (depth) {
            *depth = level;
        }
        if (ret < 0 || (ret & (BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_ZERO)) ||
            !block_node_below(n) || block_node_below(n) == base) {
            return ret;
        }
        bytes = *pnum;
        n = block_node_below(n);
        level++;
        len = block_length(n);
        if (len >= 0 && off >= len) {
            /* Past the end of a shorter backing file the image above reads as zeroes. */
            *pnum = bytes;
            return BLOCK_STATUS_ZERO | (ret & BLOCK_STATUS_OFFSET_VALID);
        }
    }
}

int coroutine_fn block_drop_data(BlockNode *n)
{
    BlockRangeLock range;
    int ret;

    block_write_begin(n, &range, 0, INT64_MAX, 0);
    ret = block_write_allowed(n, 0, 0);
    if (ret == 0) {
        ret = n->driver->drop_data ? n->driver->drop_data(n) : -ENOTSUP;
        block_node_dirtied(n, 0, MAX(block_length(n), 0));
    }
    block_write_end(n, &range);
    return ret;
}

static int coroutine_fn truncate_entered(BlockNode *n, uint64_t size, GError **err)
{
    int ret;

    if (n->read_only || n->inactive) {
        error_set(err, n->inactive ? "Image is inactive" : "Image is read-only");
        return -EACCES;
    }
    if (!n->driver->truncate) {
        error_set(err, "Image format driver does not support resize");
        return -ENOTSUP;
    }
    if (size > BLOCK_MAX_LENGTH) {
        error_set(err, "offset(%" PRIu64 ") exceeds maximum(%" PRIu64 ")", size, BLOCK_MAX_LENGTH);
        return -EFBIG;
    }
    ret = n->driver->truncate(n, size, err);
    /* After a failure as well: the driver may have changed the length before it failed. */
    block_node_resized(n);
    return ret;
}

int coroutine_fn block_truncate(BlockNode *n, uint64_t size, GError **err)
{
    int ret;

    block_node_enter(n);
    ret = truncate_entered(n, size, err);
    block_node_leave(n);
    return ret;
}
