/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies images into one, one after the other. Workers take pieces in their order, read side by
 * side, and write in order.
 */
#include <errno.h>
#include "base/event_loop.h"
#include "base/iov.h"
#include "block/chain.h"
#include "img_convert.h"

/* How much is copied at once where the file system shares what is copied. */
enum { OFFLOAD_CHUNK = 256 * 1024 * 1024 };

typedef struct {
    enum { PIECE_SKIP, PIECE_ZERO, PIECE_DATA } kind;
    uint64_t at, len;
} Piece;

/* The length of the run of units at 'buf' that are all zero (*zero) or that all hold data. */
static size_t convert_run_length(const uint8_t *buf, size_t len, size_t unit, bool *zero)
{
    size_t n = MIN(unit, len);

    *zero = buffer_is_zero(buf, n);
    while (n < len && buffer_is_zero(buf + n, MIN(unit, len - n)) == *zero) {
        n += MIN(unit, len - n);
    }
    return n;
}

static int coroutine_fn convert_write_zeroes(Convert *c, uint64_t at, uint64_t len)
{
    if (c->target_is_zero && !c->has_backing) {
        return 0;
    }
    /* Ranges that read as zeroes are skipped: a version 2 image would allocate clusters for them.
     */
    while (len) {
        uint64_t n;
        int status = block_status_chain(c->dst, NULL, at, len, &n, NULL, NULL, NULL);

        if (status >= 0 && !(status & BLOCK_STATUS_ZERO)) {
            status = block_pwrite_zeroes(c->dst, at, n, BLOCK_REQ_MAY_UNMAP);
        }
        if (status < 0) {
            return status;
        }
        at += n;
        len -= n;
    }
    return 0;
}

static int coroutine_fn convert_write_data(Convert *c, const uint8_t *buf, uint64_t at, size_t len)
{
    size_t unit = !c->sparse ? 0 : c->compress ? c->cluster : c->sparse;

    for (size_t done = 0, n; done < len; done += n) {
        bool zero = false;
        int ret;

        n = unit ? convert_run_length(buf + done, len - done, unit, &zero) : len - done;
        if (zero) {
            ret = convert_write_zeroes(c, at + done, n);
        } else if (c->compress) {
            n = MIN(n, c->cluster);
            ret = c->dst->driver->pwrite_compressed(c->dst, at + done, buf + done, n);
        } else {
            ret = block_pwrite(c->dst, at + done, buf + done, n, 0);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* --salvage: reads a range by sectors; those that cannot be read are zeroes. */
static void coroutine_fn convert_salvage(const Convert *c, const Source *s, uint64_t at,
                                         uint8_t *buf, uint64_t len)
{
    for (uint64_t done = 0, n; done < len; done += n) {
        int ret;

        n = MIN(BLOCK_SECTOR_SIZE - (at + done) % BLOCK_SECTOR_SIZE, len - done);
        ret = block_pread(s->extents.node, at + done, buf + done, n);
        if (ret < 0) {
            memset(buf + done, 0, n);
            if (!c->quiet) {
                log_warn("error while reading offset %" PRIu64 ": %s", at + done, g_strerror(-ret));
            }
        }
    }
}

/* With -c a piece is a cluster, which may span the end of one source and the start of the next. */
static int coroutine_fn convert_read(Convert *c, const Piece *p, uint8_t *buf)
{
    uint64_t end = p->at + p->len;
    int ret = 0;

    for (unsigned i = 0; i < c->count && ret >= 0; i++) {
        const Source *s = &c->sources[i];
        uint64_t from = MAX(p->at, s->start), to = MIN(end, s->end);

        if (from < to) {
            uint8_t *part = buf + (from - p->at);

            ret = block_pread(s->extents.node, from - s->start, part, to - from);
            if (ret < 0 && c->salvage) {
                convert_salvage(c, s, from - s->start, part, to - from);
                ret = 0;
            }
        }
    }
    return ret;
}

/* With -B: *skip is how many bytes from 'at' on both images get from the same backing file. */
static int coroutine_fn convert_skip_backed(Convert *c, uint64_t at, uint64_t rest, uint64_t *skip)
{
    BlockNode *src = c->sources[0].extents.node;
    uint64_t len;
    int status;

    *skip = 0;
    if (!c->has_backing || !src->backing) {
        return 0;
    }
    status = block_status_here(src, at, rest, &len, NULL, NULL);
    if (status >= 0 && !(status & (BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_ZERO))) {
        *skip = len;
    }
    return status < 0 ? status : 0;
}

/* Compressed clusters are written whole: a cluster with some data in it is a piece of data. */
static void convert_whole_clusters(const Convert *c, Piece *p)
{
    uint64_t rest = c->end - p->at;

    if (p->kind != PIECE_DATA && p->len < rest) {
        p->len = ROUND_DOWN(p->len, c->cluster);
        p->kind = p->len ? p->kind : PIECE_DATA;
    }
    if (p->kind == PIECE_DATA) {
        p->len = MIN(c->cluster, rest);
    }
}

/*
 * The status of the source at 'at'. With --salvage an error is asked about again for a shorter
 * range; a sector of which nothing is known is read, like data.
 */
static int coroutine_fn convert_status(Convert *c, Source *s, uint64_t at, uint64_t *len)
{
    int ret = img_extents_at(&s->extents, at, len);

    while (ret < 0 && c->salvage && *len > BLOCK_SECTOR_SIZE) {
        *len = ROUND_UP(*len / 4, BLOCK_SECTOR_SIZE);
        ret = img_extents_at(&s->extents, at, len);
    }
    if (ret < 0 && c->salvage) {
        if (!c->quiet) {
            log_warn("error while reading block status at offset %" PRIu64 ": %s", at,
                     g_strerror(-ret));
        }
        s->extents.status = BLOCK_STATUS_DATA;
        s->extents.end = 0; /* this answer is not to be remembered */
        ret = 0;
    }
    return ret;
}

/* Fills *p with the piece that starts at c->next, without moving c->next. Called with the lock. */
static int coroutine_fn convert_take_piece(Convert *c, Piece *p)
{
    Source *s = &c->sources[c->current];
    uint64_t skip = 0;
    int ret;

    while (c->next >= s->end) {
        s = &c->sources[++c->current];
    }
    *p = (Piece){.kind = PIECE_SKIP, .at = c->next, .len = s->end - c->next};
    ret = convert_skip_backed(c, p->at, p->len, &skip);
    if (ret >= 0 && skip) {
        p->len = skip;
    } else if (ret >= 0) {
        ret = convert_status(c, s, p->at - s->start, &p->len);
        p->kind = (s->extents.status & BLOCK_STATUS_ZERO) && c->sparse ? PIECE_ZERO : PIECE_DATA;
    }
    if (ret < 0) {
        error_set_errno(&c->err, -ret, "error while reading block status at offset %" PRIu64,
                        p->at);
        return ret;
    }
    if (c->compress) {
        convert_whole_clusters(c, p);
    } else if (p->kind == PIECE_DATA) {
        uint64_t most =
            block_offload_mode(&c->offload) > BLOCK_OFFLOAD_TRY ? OFFLOAD_CHUNK : IMG_CHUNK;

        p->len = MIN(p->len, most - p->at % most);
    }
    return 0;
}

/* Reads and writes a range, which may be longer than the buffer. *what: what failed. */
static int coroutine_fn convert_by_hand(Convert *c, uint64_t at, uint64_t len, uint8_t *buf,
                                        const char **what)
{
    int ret = 0;

    while (len && ret >= 0) {
        Piece part = {PIECE_DATA, at, MIN(IMG_CHUNK, len)};

        *what = "reading";
        ret = convert_read(c, &part, buf);
        if (ret >= 0) {
            *what = "writing";
            ret = convert_write_data(c, buf, part.at, part.len);
        }
        at += part.len;
        len -= part.len;
    }
    return ret;
}

typedef struct {
    Convert *c;
    uint64_t at;
    uint8_t *buf;
    const char **what;
} ByHand;

static int coroutine_fn convert_rest(void *data, uint64_t off, uint64_t bytes)
{
    ByHand *h = data;

    return convert_by_hand(h->c, h->at + off, bytes, h->buf, h->what);
}

/* A piece that was not read, by the kernel where that copies it. */
static int coroutine_fn convert_unread(Convert *c, const Piece *p, uint8_t *buf, const char **what)
{
    const Source *s = c->sources;
    ByHand h = {c, p->at, buf, what};

    while (p->at >= s->end) {
        s++;
    }
    return block_offload_copy(&c->offload, &(BlockOffloadRange){.src = s->extents.node,
                                                                .dst = c->dst,
                                                                .src_off = p->at - s->start,
                                                                .dst_off = p->at,
                                                                .bytes = p->len,
                                                                .by_hand = convert_rest,
                                                                .data = &h});
}

/* *what: what failed, for the error. */
static int coroutine_fn convert_write(Convert *c, const Piece *p, bool was_read, uint8_t *buf,
                                      const char **what)
{
    *what = "writing";
    if (p->kind == PIECE_ZERO) {
        return convert_write_zeroes(c, p->at, p->len);
    }
    return was_read ? convert_write_data(c, buf, p->at, p->len) : convert_unread(c, p, buf, what);
}

static void convert_piece_passed(Convert *c, const Piece *p)
{
    c->written += p->len;
    co_queue_wake_all(&c->turn);
}

/* Called with the lock, which is dropped while the piece is read and while it is written. */
static int coroutine_fn convert_copy_piece(Convert *c, const Piece *p, uint8_t *buf)
{
    const char *what = "reading";
    bool by_kernel = block_offload_mode(&c->offload) != BLOCK_OFFLOAD_OFF;
    bool early = false, read = p->kind == PIECE_DATA && !by_kernel && p->len <= IMG_CHUNK;
    int ret = 0;

    if (read) {
        co_mutex_unlock(&c->lock);
        ret = convert_read(c, p, buf);
        co_mutex_lock(&c->lock);
    }
    while (ret >= 0 && !c->any_order && c->written != p->at && c->ret >= 0) {
        co_queue_wait(&c->turn, &c->lock);
    }
    if (ret >= 0 && c->ret >= 0 && p->kind != PIECE_SKIP) {
        early = c->compress;
        if (early) {
            /* The next worker waits for the lock, and gets it once this one's write has begun. */
            convert_piece_passed(c, p);
        }
        co_mutex_unlock(&c->lock);
        ret = convert_write(c, p, read, buf, &what);
        co_mutex_lock(&c->lock);
    }
    if (ret < 0 && c->ret >= 0) {
        error_set_errno(&c->err, -ret, "error while %s at byte %" PRIu64, what, p->at);
    }
    if (!early) {
        convert_piece_passed(c, p);
    }
    return ret;
}

static void coroutine_fn convert_worker(void *data);

/* The first worker is alone until it is known whether what the others take is read. */
static void coroutine_fn convert_start_workers(Convert *c)
{
    while (block_offload_mode(&c->offload) != BLOCK_OFFLOAD_TRY && c->running < c->workers &&
           c->next < c->end) {
        c->running++;
        coroutine_start(convert_worker, c);
    }
}

static void coroutine_fn convert_worker(void *data)
{
    Convert *c = data;
    block_auto_buffer uint8_t *buf = block_buffer_new(c->dst, MAX(IMG_CHUNK, c->cluster));

    co_mutex_lock(&c->lock);
    c->ret = buf || c->ret < 0 ? c->ret : -ENOMEM;
    while (c->next < c->end && c->ret >= 0) {
        Piece p;
        int ret;

        convert_start_workers(c);
        ret = convert_take_piece(c, &p);

        c->next += p.len;
        ret = ret < 0 ? ret : convert_copy_piece(c, &p, buf);
        if (ret < 0 && c->ret >= 0) {
            c->ret = ret;
        }
        c->data_done += p.kind == PIECE_DATA ? p.len : 0;
        block_rate_wait(c->rate, c->data_done, c->start_ns);
        if (!c->counted) {
            img_progress(c->written * 100.0 / c->end);
        } else if (p.kind == PIECE_DATA) {
            img_progress(c->data_done * 100.0 / c->data);
        }
    }
    c->running--;
    co_mutex_unlock(&c->lock);
}

/* For -p: counts the bytes of data in the sources before they are copied. */
static int coroutine_fn convert_count_fn(void *data)
{
    Convert *c = data;

    for (Piece p; c->next < c->end; c->next += p.len) {
        int ret = convert_take_piece(c, &p);

        if (ret < 0) {
            return ret;
        }
        c->data += p.kind == PIECE_DATA ? p.len : 0;
    }
    c->counted = true;
    img_progress_total(c->data);
    c->next = 0;
    c->current = 0;
    return 0;
}

int img_convert_count(Convert *c)
{
    return block_run(convert_count_fn, c);
}

static int coroutine_fn convert_flush_fn(void *data)
{
    return block_flush(((Convert *)data)->dst);
}

int img_convert_copy(Convert *c)
{
    co_mutex_init(&c->lock);
    co_queue_init(&c->turn);
    c->running = 1;
    coroutine_start(convert_worker, c);
    while (c->running) {
        event_loop_iterate(event_loop_current(), -1);
    }
    co_queue_destroy(&c->turn);
    co_mutex_destroy(&c->lock);
    return c->ret < 0 ? c->ret : block_run(convert_flush_fn, c);
}
