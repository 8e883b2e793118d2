/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a mirror copies. run() takes a run of dirty bits, asks what the disk has there, and starts a
 * coroutine (an op) that reads and writes it; 16 of them at most, of ranges that do not overlap.
 * Bits are taken before anything of the range is read: what the guest writes later sets them again.
 * Where a copy fails its bits are set again.
 *
 * While ops are in flight the job counts as busy: a drain waits for them, as run() starts no new
 * ones and comes to a pause point when the last has ended.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/util.h"
#include "mirror.h"

enum {
    DATA_STEP = 1 << 20,
    ZERO_STEP = 1 << 28,
    TURN_NS = 1000000,
    RETRY_NS = 100000000,
    IDLE_NS = 100000000,
};

typedef struct MirrorOp {
    Mirror *m;
    struct MirrorOp *next;
    uint64_t off, bytes;
    bool zero;
} MirrorOp;

/* Whether the disk shows zeroes at 'off', and how far that is the same. */
static bool coroutine_fn shows_zeroes(Mirror *m, uint64_t off, uint64_t bytes, uint64_t *same)
{
    int ret = block_status_chain(m->source, NULL, off, bytes, same, NULL, NULL, NULL);

    if (ret < 0 || !*same) {
        *same = MIN(bytes, DATA_STEP); /* reading it will tell */
        return false;
    }
    return ret & BLOCK_STATUS_ZERO || !(ret & (BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED));
}

static int coroutine_fn copy_zeroes(const MirrorOp *op)
{
    Mirror *m = op->m;
    uint64_t same;

    /* An active guest may have written before the range was locked, and its bits are not set. */
    if (m->active && (!shows_zeroes(m, op->off, op->bytes, &same) || same < op->bytes)) {
        block_dirty_bitmap_set(m->bitmap, op->off, op->bytes);
        return 0;
    }
    return block_pwrite_zeroes(m->target, op->off, op->bytes,
                               m->what.unmap ? BLOCK_REQ_MAY_UNMAP : 0);
}

/* Buffers of DATA_STEP bytes are kept: new memory costs as much as the copy. */
static void *buffer_take(Mirror *m, uint64_t bytes)
{
    return bytes <= DATA_STEP && m->n_buffers ? m->buffers[--m->n_buffers]
                                              : block_buffer_new(m->source, MAX(bytes, DATA_STEP));
}

static void buffer_give_back(Mirror *m, void *buf, uint64_t bytes)
{
    if (buf && bytes <= DATA_STEP && m->n_buffers < MIRROR_MAX_OPS) {
        m->buffers[m->n_buffers++] = buf;
    } else {
        free(buf);
    }
}

typedef struct {
    const MirrorOp *op;
    void *buf; /* NULL: it was not needed yet */
    bool *is_read;
} DataCopy;

static int coroutine_fn copy_by_hand(void *data, uint64_t off, uint64_t bytes)
{
    DataCopy *c = data;
    const MirrorOp *op = c->op;
    int ret;

    c->buf = c->buf ? c->buf : buffer_take(op->m, op->bytes);
    *c->is_read = true;
    ret = c->buf ? block_pread(op->m->source, op->off + off, c->buf, bytes) : -ENOMEM;
    if (ret == 0) {
        *c->is_read = false;
        ret = block_pwrite(op->m->target, op->off + off, c->buf, bytes, 0);
    }
    return ret;
}

static int coroutine_fn copy_data(const MirrorOp *op, bool *is_read)
{
    Mirror *m = op->m;
    DataCopy c = {.op = op, .is_read = is_read};
    int ret = block_offload_copy(&m->offload, &(BlockOffloadRange){.src = m->source,
                                                                   .dst = m->target,
                                                                   .src_off = op->off,
                                                                   .dst_off = op->off,
                                                                   .bytes = op->bytes,
                                                                   .by_hand = copy_by_hand,
                                                                   .data = &c});

    buffer_give_back(m, c.buf, op->bytes);
    return ret;
}

static int coroutine_fn op_copy(const MirrorOp *op, bool *is_read)
{
    BlockRangeLock range;
    int ret;

    *is_read = false;
    if (op->m->tracked) {
        block_range_lock(op->m->source, &range, op->off, op->bytes);
    }
    ret = op->zero ? copy_zeroes(op) : copy_data(op, is_read);
    if (op->m->tracked) {
        block_range_unlock(op->m->source, &range);
    }
    return ret;
}

/* An error of the job's requests; what follows is seen by run(). */
static void mirror_failed(Mirror *m, bool is_read, int error)
{
    BlockOnError policy = is_read ? m->what.on_source_error : m->what.on_target_error;

    switch (job_error(&m->job, policy, is_read, error)) {
    case BLOCK_ERROR_ACTION_REPORT:
        m->error = m->error ? m->error : error;
        break;
    case BLOCK_ERROR_ACTION_IGNORE:
        m->ignored = true;
        break;
    case BLOCK_ERROR_ACTION_STOP:
        break; /* the next pause point */
    }
}

static void op_unlink(MirrorOp *op)
{
    MirrorOp **at = &op->m->ops;

    while (*at != op) {
        at = &(*at)->next;
    }
    *at = op->next;
}

static void coroutine_fn op_entry(void *data)
{
    MirrorOp *op = data;
    Mirror *m = op->m;
    bool is_read;
    int ret = op_copy(op, &is_read);

    if (ret < 0) {
        block_dirty_bitmap_set(m->bitmap, op->off, op->bytes);
        mirror_failed(m, is_read, -ret);
    } else {
        m->done += op->bytes;
    }
    op_unlink(op);
    m->in_flight--;
    m->bytes_in_flight -= op->bytes;
    g_free(op);
    wait_list_wake_all(&m->op_ended);
}

static void coroutine_fn wait_for_room(Mirror *m, unsigned ops)
{
    wait_list_until(&m->op_ended, m->in_flight <= ops);
}

/* Cuts the range before an op in flight; false: one is at its beginning, and ends at *off then. */
static bool clear_of_ops(const Mirror *m, uint64_t *off, uint64_t *bytes)
{
    for (const MirrorOp *op = m->ops; op; op = op->next) {
        if (op->off <= *off && *off < op->off + op->bytes) {
            *off = op->off + op->bytes;
            return false;
        }
        if (op->off > *off && op->off < *off + *bytes) {
            *bytes = op->off - *off;
        }
    }
    return true;
}

/* The next dirty run without an op in it, from where the last one was; its bits are taken. */
static bool take_run(Mirror *m, uint64_t *off, uint64_t *bytes)
{
    bool wrapped = m->cursor == 0;
    uint64_t most = m->cursor >= m->data_from && m->cursor < m->data_until ? DATA_STEP : ZERO_STEP;

    *off = m->cursor;
    for (;;) {
        uint64_t start, len;

        if (!block_dirty_bitmap_next_dirty(m->bitmap, off, bytes, most, false)) {
            if (wrapped) {
                return false;
            }
            wrapped = true;
            *off = 0;
            continue;
        }
        if (!clear_of_ops(m, off, bytes)) {
            continue;
        }
        start = *off;
        if (!block_dirty_bitmap_next_dirty(m->bitmap, &start, &len, *bytes, true)) {
            continue; /* the filter has written it to the target meanwhile */
        }
        if (start == *off && len <= *bytes) {
            *bytes = len;
            return true;
        }
        block_dirty_bitmap_set(m->bitmap, start, len); /* that is further on: looked at again */
    }
}

/* The same, but data is not asked for again: where it has become zeroes, they are copied as data.
 */
static bool coroutine_fn run_is_zero(Mirror *m, uint64_t off, uint64_t bytes, uint64_t *same)
{
    if (off >= m->data_from && off < m->data_until) {
        *same = MIN(bytes, m->data_until - off);
        return false;
    }
    if (shows_zeroes(m, off, bytes, same)) {
        return true;
    }
    m->data_from = off;
    m->data_until = off + *same;
    return false;
}

/* Makes an op of a run, and gives back the bits of what it does not cover. */
static MirrorOp *coroutine_fn op_new(Mirror *m, uint64_t off, uint64_t bytes)
{
    uint64_t unit = block_dirty_bitmap_granularity(m->bitmap), same = 0, len;
    bool zero = run_is_zero(m, off, bytes, &same);
    MirrorOp *op = g_new(MirrorOp, 1);

    if (zero && same < bytes && same < unit) {
        zero = false; /* not all of the granule */
    }
    len = zero ? (same < bytes ? ROUND_DOWN(same, unit) : bytes)
               : MIN(bytes, MAX(MIN(ROUND_UP(same, unit), DATA_STEP), unit));
    if (len < bytes) {
        block_dirty_bitmap_set(m->bitmap, off + len, bytes - len);
    }
    m->cursor = off + len;
    *op = (MirrorOp){.m = m, .off = off, .bytes = len, .zero = zero};
    return op;
}

static void op_start(MirrorOp *op)
{
    Mirror *m = op->m;

    op->next = m->ops;
    m->ops = op;
    m->in_flight++;
    m->bytes_in_flight += op->bytes;
    coroutine_start(op_entry, op);
}

static void show_progress(Mirror *m)
{
    uint64_t dirty = MIN(block_dirty_bitmap_count(m->bitmap), m->length);

    job_progress(&m->job, m->done, m->done + m->bytes_in_flight + dirty);
}

/* Lets the loop turn, or waits as the speed asks. False: cancelled. */
static bool coroutine_fn mirror_rest(Mirror *m, uint64_t bytes)
{
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    if (m->job.speed) {
        wait_for_room(m, 0);
        show_progress(m);
        return job_throttle(&m->job, bytes);
    }
    if (now - m->turned_ns > TURN_NS) {
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
        m->turned_ns = clock_ns(CLOCK_REALTIME_NS);
    }
    return true;
}

/* Ends the wait that others want: pauses, errors. False: the job ends. */
static bool coroutine_fn mirror_settle(Mirror *m, GError **err)
{
    int error = __atomic_exchange_n(&m->active_error, 0, __ATOMIC_SEQ_CST);

    if (error) {
        mirror_failed(m, false, error);
    }
    if (!m->error && !m->ignored && !m->job.pauses && !job_is_cancelled(&m->job)) {
        return true;
    }
    wait_for_room(m, 0);
    show_progress(m);
    if (m->error) {
        return job_fail(err, m->error);
    }
    if (m->ignored) {
        m->ignored = false;
        return job_sleep(&m->job, RETRY_NS);
    }
    return job_pause_point(&m->job);
}

/* Nothing is dirty or in flight. False: the job ends; *over: well. */
static bool coroutine_fn mirror_in_sync(Mirror *m, bool *over)
{
    int ret = block_flush(m->target);

    if (ret < 0) {
        mirror_failed(m, false, -ret);
        return true;
    }
    show_progress(m);
    if (!m->ready) {
        m->ready = true;
        job_ready(&m->job);
    }
    if (m->complete || job_cancel_requested(&m->job)) {
        *over = true;
        return false;
    }
    return job_sleep(&m->job, IDLE_NS);
}

bool coroutine_fn mirror_copy(Mirror *m, GError **err)
{
    bool over = false;
    uint64_t off, bytes;

    while (mirror_settle(m, err)) {
        if (m->in_flight == MIRROR_MAX_OPS || m->bytes_in_flight >= m->what.buf_size) {
            wait_for_room(m, m->in_flight - 1);
        } else if (take_run(m, &off, &bytes)) {
            MirrorOp *op = op_new(m, off, bytes);

            bytes = op->zero ? 0 : op->bytes;
            op_start(op);
            show_progress(m);
            if (!mirror_rest(m, bytes)) {
                break;
            }
        } else if (m->in_flight) {
            wait_for_room(m, m->in_flight - 1);
        } else if (!mirror_in_sync(m, &over)) {
            break;
        }
    }
    wait_for_room(m, 0);
    return over;
}

bool coroutine_fn mirror_copy_rest(Mirror *m, GError **err)
{
    uint64_t off, bytes;
    int ret;

    while (take_run(m, &off, &bytes)) {
        MirrorOp *op = op_new(m, off, bytes);
        bool is_read;

        ret = op_copy(op, &is_read);
        if (ret < 0) {
            block_dirty_bitmap_set(m->bitmap, op->off, op->bytes);
            g_free(op);
            return job_fail(err, ret);
        }
        m->done += op->bytes;
        g_free(op);
    }
    show_progress(m);
    ret = block_flush(m->target);
    return ret == 0 || job_fail(err, ret);
}

/* Whether the images that are copied have the range, or the disk shows anything there; or -errno.
 */
static int coroutine_fn wanted(Mirror *m, uint64_t off, uint64_t bytes, uint64_t *same)
{
    BlockNode *base = m->base;
    int ret;

    if (!base && m->what.sync == BLOCK_MIRROR_FULL) {
        return !shows_zeroes(m, off, bytes, same);
    }
    base = base ? base : block_node_next_image(m->source);
    ret = block_status_chain(m->source, base, off, bytes, same, NULL, NULL, NULL);
    return ret < 0 ? ret : !!(ret & BLOCK_STATUS_ALLOCATED);
}

bool coroutine_fn mirror_find_dirty(Mirror *m, GError **err)
{
    if (m->what.sync == BLOCK_MIRROR_NONE) {
        return true;
    }
    if (m->what.sync == BLOCK_MIRROR_FULL && !m->base && !m->what.target_is_zero) {
        block_dirty_bitmap_set(m->bitmap, 0, m->length);
        return true;
    }
    for (uint64_t off = 0, same; off < m->length; off += same) {
        int ret = wanted(m, off, m->length - off, &same);

        if (ret < 0) {
            return job_fail(err, ret);
        }
        if (ret) {
            block_dirty_bitmap_set(m->bitmap, off, same);
        }
        if (!job_throttle(&m->job, 0)) {
            return false;
        }
    }
    return true;
}
