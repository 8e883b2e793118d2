/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block_commit(): the data of overlays into their backing file. */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/util.h"
#include "block/chain.h"
#include "block/copy_offload.h"
#include "core.h"

enum { COMMIT_CHUNK = 2 * 1024 * 1024 };

typedef struct {
    const BlockCommit *what;
    BlockNode *last; /* the image right above the base */
    uint64_t length; /* of the top image */
    int64_t start_ns;
    uint64_t copied;
    BlockOffload offload;
    void *buf;
} Commit;

static char *commit_describe(BlockEdge *edge)
{
    return g_strdup("a commit");
}

static const BlockParentClass commit_user = {.describe = commit_describe};

/*
 * Cuts the chain above the base, and makes the base writable. From the first step to the last an
 * edge denies others to write: the file's lock is never given up.
 */
static BlockEdge *coroutine_fn commit_take_base(const Commit *c, GError **err)
{
    const unsigned shared = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    BlockPerms reads = {BLOCK_PERM_CONSISTENT_READ, shared};
    BlockPerms writes = {BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE, shared};
    BlockChange *change = block_change_new();
    BlockEdge *edge;

    block_change_detach(change, block_node_edge(c->last, "backing"));
    edge = block_change_attach(change, &commit_user, NULL, c->what->base, "target", reads, NULL);
    if (!block_change_commit(change, err)) {
        return NULL;
    }
    if (block_set_read_only(c->what->base, false, err)) {
        change = block_change_new();
        block_change_perms(change, edge, writes);
        if (block_change_commit(change, err)) {
            return edge;
        }
    }
    block_edge_detach(edge);
    return NULL;
}

/*
 * What the images above the base have at 'at': 0 (nothing), BLOCK_STATUS_DATA or ZERO; or -errno.
 * Shortens *len to what is the same. The last image has no backing file any more, so of that one
 * only the bit ALLOCATED tells.
 */
static int coroutine_fn commit_status(const Commit *c, uint64_t at, uint64_t *len)
{
    for (BlockNode *n = c->what->top;; n = n->backing) {
        int64_t length = block_length(n);
        int status;

        if (length < 0) {
            return length;
        }
        if (at >= (uint64_t)length) {
            return BLOCK_STATUS_ZERO; /* past its end the image above shows zeroes */
        }
        status = block_status(n, at, *len, len, NULL, NULL);
        if (status < 0) {
            return status;
        }
        if (status & BLOCK_STATUS_ALLOCATED) {
            return status & BLOCK_STATUS_ZERO ? BLOCK_STATUS_ZERO : BLOCK_STATUS_DATA;
        }
        if (n == c->last) {
            return 0;
        }
    }
}

void coroutine_fn block_rate_wait(uint64_t rate, uint64_t bytes, int64_t start_ns)
{
    double due = rate ? bytes * 1e9 / rate : 0;
    int64_t ahead = due - (clock_ns(CLOCK_REALTIME_NS) - start_ns);

    if (ahead > 0) {
        coroutine_sleep(CLOCK_REALTIME_NS, ahead);
    }
}

typedef struct {
    const Commit *c;
    uint64_t at;
} Piece;

static int coroutine_fn copy_by_hand(void *data, uint64_t off, uint64_t bytes)
{
    const Piece *p = data;
    int ret = block_pread(p->c->what->top, p->at + off, p->c->buf, bytes);

    return ret < 0 ? ret : block_pwrite(p->c->what->base, p->at + off, p->c->buf, bytes, 0);
}

static int coroutine_fn commit_piece(Commit *c, uint64_t at, uint64_t *len)
{
    Piece p = {c, at};
    int status = commit_status(c, at, len), ret;

    if (status <= 0) {
        return status;
    }
    if (status == BLOCK_STATUS_ZERO) {
        return block_pwrite_zeroes(c->what->base, at, *len, 0);
    }
    *len = MIN(*len, COMMIT_CHUNK - at % COMMIT_CHUNK);
    ret = block_offload_copy(&c->offload, &(BlockOffloadRange){.src = c->what->top,
                                                               .dst = c->what->base,
                                                               .src_off = at,
                                                               .dst_off = at,
                                                               .bytes = *len,
                                                               .by_hand = copy_by_hand,
                                                               .data = &p});
    c->copied += *len;
    block_rate_wait(c->what->rate, c->copied, c->start_ns);
    return ret;
}

static bool coroutine_fn commit_copy(Commit *c, GError **err)
{
    for (uint64_t at = 0, len; at < c->length; at += len) {
        int ret;

        len = c->length - at;
        ret = commit_piece(c, at, &len);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not commit byte %" PRIu64 " into '%s'", at,
                                   c->what->base->filename);
        }
        if (c->what->progress) {
            c->what->progress((at + len) * 100.0 / c->length, c->what->progress_data);
        }
    }
    return true;
}

static bool coroutine_fn commit_do(Commit *c, GError **err)
{
    const BlockCommit *what = c->what;
    int64_t base_length = block_length(what->base);
    int ret;

    if (base_length < 0) {
        return error_set_errno(err, -base_length, "Could not get the length of '%s'",
                               what->base->filename);
    }
    if ((uint64_t)base_length < c->length && block_truncate(what->base, c->length, err) < 0) {
        block_error_prefix(err, "Could not resize '%s'", what->base->filename);
        return false;
    }
    /* A limit is one of what is read and written: 'convert' shares nothing either then. */
    block_offload_init(&c->offload, what->rate ? BLOCK_OFFLOAD_OFF : BLOCK_OFFLOAD_TRY, what->base);
    if (!commit_copy(c, err)) {
        return false;
    }
    ret = block_flush(what->base);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not flush '%s'", what->base->filename);
    }
    ret = what->keep ? 0 : block_drop_data(what->top);
    return ret < 0 ? error_set_errno(err, -ret, "Could not empty %s", what->top->filename) : true;
}

bool coroutine_fn block_commit(const BlockCommit *what, GError **err)
{
    Commit c = {.what = what, .last = what->top, .start_ns = clock_ns(CLOCK_REALTIME_NS)};
    int64_t length = block_length(what->top);
    block_auto_buffer void *buf = block_buffer_new(what->base, COMMIT_CHUNK);
    BlockEdge *edge;
    bool ok;

    while (c.last->backing != what->base) {
        c.last = c.last->backing;
    }
    if (length < 0 || !buf) {
        return error_set_errno(err, length < 0 ? -length : ENOMEM, "Could not commit '%s'",
                               what->top->filename);
    }
    if (!what->keep && !what->top->driver->drop_data) {
        return error_set_errno(err, ENOTSUP, "Could not empty %s", what->top->filename);
    }
    c.length = length;
    c.buf = buf;
    edge = commit_take_base(&c, err);
    if (!edge) {
        return false;
    }
    ok = commit_do(&c, err);
    block_edge_detach(edge);
    return ok;
}
