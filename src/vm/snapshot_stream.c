/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's state in an image's VM state. */
#include "snapshot_stream.h"

#include <string.h>

#include "base/error.h"
#include "base/util.h"
#include "block/snapshot.h"

/*
 * A piece is as long as whole clusters of any image. Reads of several copy on several CPUs; writes
 * of one file exclude each other in the host, so that a second one only has to be ready. Of short
 * writes, between which there is a seek(), many are under way: each costs a wake-up of the loop.
 */
enum { PIECE = 2 * MiB, READS_MAX = 4, WRITES_MAX = 2, SHORT_WRITES_MAX = 32, SHORT = 64 * KiB };

struct SnapshotPiece {
    SnapshotStream *stream;
    uint64_t pos;
    size_t bytes;
    GArray *iov;  /* struct iovec, which cover 'bytes' */
    uint8_t *own; /* writing: bytes that the caller does not keep; made when it is needed */
    size_t own_used;
};

static bool stream_told(SnapshotStream *s, GError **err)
{
    if (!s->job) {
        return true;
    }
    if (job_is_cancelled(s->job) && !s->committed) {
        return error_set(err, "the job was cancelled");
    }
    job_progress(s->job, s->pos, MAX(s->size, s->pos));
    return true;
}

static bool stream_ok(const SnapshotStream *s, GError **err)
{
    return !s->error || error_set_errno(err, -s->error,
                                        s->id ? "Could not read the machine's state from '%s'"
                                              : "Could not write the machine's state to '%s'",
                                        s->disk);
}

/* Pieces. */

static void coroutine_fn piece_move(void *data)
{
    SnapshotPiece *p = data;
    SnapshotStream *s = p->stream;
    const struct iovec *iov = (const struct iovec *)p->iov->data;
    int ret =
        s->id ? block_vmstate_preadv_snapshot(s->node, s->id, p->pos, p->bytes, iov, p->iov->len)
              : block_vmstate_pwritev(s->node, p->pos, p->bytes, iov, p->iov->len);

    s->error = s->error ? s->error : MIN(ret, 0);
    s->in_flight--;
    s->long_ones -= p->bytes > SHORT;
    g_ptr_array_add(s->idle, p);
    co_queue_wake_all(&s->ended);
}

static bool may_begin(const SnapshotStream *s)
{
    return s->id ? s->in_flight < READS_MAX
                 : s->long_ones < WRITES_MAX && s->in_flight < SHORT_WRITES_MAX;
}

static SnapshotPiece *coroutine_fn piece_begin(SnapshotStream *s)
{
    SnapshotPiece *p;

    while (!may_begin(s)) {
        co_queue_wait(&s->ended, NULL);
    }
    if (s->idle->len) {
        p = g_ptr_array_steal_index_fast(s->idle, s->idle->len - 1);
    } else {
        p = g_new0(SnapshotPiece, 1);
        p->stream = s;
        p->iov = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    }
    p->pos = s->pos;
    p->bytes = p->own_used = 0;
    g_array_set_size(p->iov, 0);
    return p;
}

static bool coroutine_fn piece_send(SnapshotStream *s, GError **err)
{
    SnapshotPiece *p = g_steal_pointer(&s->piece);

    s->in_flight++;
    s->long_ones += p->bytes > SHORT;
    coroutine_start(piece_move, p);
    return stream_ok(s, err) && stream_told(s, err);
}

static void piece_append(SnapshotPiece *p, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    struct iovec *last = p->iov->len ? &g_array_index(p->iov, struct iovec, p->iov->len - 1) : NULL;

    if (last && (char *)last->iov_base + last->iov_len == buf) {
        last->iov_len += len;
    } else {
        g_array_append_val(p->iov, iov);
    }
    p->bytes += len;
}

static void *piece_copy(SnapshotPiece *p, const void *buf, size_t len)
{
    p->own = p->own ? p->own : g_malloc(PIECE);
    p->own_used += len;
    return memcpy(p->own + p->own_used - len, buf, len);
}

/* 'keep': the bytes are copied, the caller does not keep them. */
static bool coroutine_fn stream_move(SnapshotStream *s, void *buf, size_t len, bool keep,
                                     GError **err)
{
    while (len) {
        size_t n;

        s->piece = s->piece ? s->piece : piece_begin(s);
        n = MIN(len, PIECE - s->piece->pos % PIECE - s->piece->bytes);
        piece_append(s->piece, keep ? piece_copy(s->piece, buf, n) : buf, n);
        s->pos += n;
        buf = (char *)buf + n;
        len -= n;
        if ((s->pos % PIECE == 0) && !piece_send(s, err)) {
            return false;
        }
    }
    return true;
}

/* Writing. */

static bool coroutine_fn stream_write(VmStream *stream, const void *buf, size_t len, GError **err)
{
    return stream_move((SnapshotStream *)stream, (void *)buf, len, true, err);
}

static bool coroutine_fn stream_write_pages(VmStream *stream, const void *buf, size_t len,
                                            GError **err)
{
    return stream_move((SnapshotStream *)stream, (void *)buf, len, false, err);
}

/* Reading. */

static bool coroutine_fn stream_fill(SnapshotStream *s, GError **err)
{
    size_t n = MIN(s->size - s->pos, PIECE - s->pos % PIECE);
    struct iovec iov;

    s->buf = s->buf ? s->buf : g_malloc(PIECE);
    iov = (struct iovec){s->buf, n};
    s->error = block_vmstate_preadv_snapshot(s->node, s->id, s->pos, n, &iov, 1);
    s->used = 0;
    s->filled = s->error < 0 ? 0 : n;
    s->pos += s->filled;
    return stream_ok(s, err) && stream_told(s, err);
}

static bool stream_left(VmStream *stream, uint64_t *bytes)
{
    const SnapshotStream *s = (SnapshotStream *)stream;

    *bytes = s->size - s->pos + (s->filled - s->used);
    return true;
}

static bool stream_has(SnapshotStream *s, size_t len, GError **err)
{
    uint64_t left;

    stream_left(&s->stream, &left);
    return len <= left || error_set(err, "the saved machine state ends too early");
}

static size_t stream_take(SnapshotStream *s, void *buf, size_t len)
{
    size_t n = MIN(len, s->filled - s->used);

    if (n) {
        memcpy(buf, s->buf + s->used, n);
        s->used += n;
    }
    return n;
}

static bool coroutine_fn stream_read(VmStream *stream, void *buf, size_t len, GError **err)
{
    SnapshotStream *s = (SnapshotStream *)stream;

    if (!stream_has(s, len, err)) {
        return false;
    }
    for (;;) {
        size_t n = stream_take(s, buf, len);

        buf = (char *)buf + n;
        len -= n;
        if (!len) {
            return true;
        }
        if (!stream_fill(s, err)) {
            return false;
        }
    }
}

static bool coroutine_fn stream_read_pages(VmStream *stream, void *buf, size_t len, GError **err)
{
    SnapshotStream *s = (SnapshotStream *)stream;
    size_t n;

    if (!stream_has(s, len, err)) {
        return false;
    }
    n = stream_take(s, buf, len);
    return stream_move(s, (char *)buf + n, len - n, false, err);
}

static bool coroutine_fn stream_settle(VmStream *stream, GError **err)
{
    SnapshotStream *s = (SnapshotStream *)stream;
    bool ok = true;

    if (s->piece && s->piece->bytes && !s->error) {
        ok = piece_send(s, err);
    }
    while (s->in_flight) {
        co_queue_wait(&s->ended, NULL);
    }
    return ok && stream_ok(s, err);
}

static bool coroutine_fn stream_seek(VmStream *stream, uint64_t pos, GError **err)
{
    SnapshotStream *s = (SnapshotStream *)stream;

    if (s->id && pos > s->size) {
        return error_set(err, "the saved machine state ends too early");
    }
    if (pos == s->pos && s->used == s->filled) {
        return true;
    }
    s->used = s->filled = 0;
    s->pos = pos;
    return !s->piece || piece_send(s, err);
}

void snapshot_stream_init(SnapshotStream *s)
{
    *s = (SnapshotStream){.stream = {.write = stream_write,
                                     .read = stream_read,
                                     .write_pages = stream_write_pages,
                                     .read_pages = stream_read_pages,
                                     .settle = stream_settle,
                                     .seek = stream_seek,
                                     .left = stream_left},
                          .idle = g_ptr_array_new()};
    co_queue_init(&s->ended);
}

static void piece_free(void *data, void *unused)
{
    SnapshotPiece *p = data;

    g_array_unref(p->iov);
    g_free(p->own);
    g_free(p);
}

void snapshot_stream_clear(SnapshotStream *s)
{
    g_assert(!s->in_flight);
    if (s->piece) {
        piece_free(s->piece, NULL);
    }
    g_ptr_array_foreach(s->idle, piece_free, NULL);
    g_ptr_array_unref(s->idle);
    g_free(s->buf);
    co_queue_destroy(&s->ended);
}
