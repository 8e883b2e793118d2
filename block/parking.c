/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests that wait: failed ones, which wait for 'cont' as words of their device, and held ones,
 * which wait for a drain's end. What their device takes back of them.
 */
#include <errno.h>
#include "base/util.h"
#include "block/parking.h"
#include "core.h"

typedef struct {
    unsigned queue;
    size_t n;
    uint32_t words[];
} Parked;

/* A saved request is one word, the queue and the number of words behind it << 16, and these. */
enum { PARKED_HEADER = 1, PARKED_FIELD_MAX = 0xffff };

static BlockStopHook stop_hook;
static void *stop_hook_data;

void block_parking_init(BlockBackend *blk)
{
    g_mutex_init(&blk->lock);
    g_queue_init(&blk->parked);
    wait_list_init(&blk->settled);
}

static void parked_clear(BlockBackend *blk)
{
    g_queue_clear_full(&blk->parked, g_free);
    blk->parked_words = 0;
    __atomic_store_n(&blk->parked_count, 0, __ATOMIC_SEQ_CST);
}

void block_parking_destroy(BlockBackend *blk)
{
    parked_clear(blk);
    g_clear_pointer(&blk->taken, g_array_unref);
    wait_list_destroy(&blk->settled);
    g_mutex_clear(&blk->lock);
}

/* What was taken back. */

static unsigned *taken_of_queue(BlockBackend *blk, unsigned queue)
{
    if (!blk->taken) {
        blk->taken = g_array_new(FALSE, TRUE, sizeof(unsigned));
    }
    if (queue >= blk->taken->len) {
        g_array_set_size(blk->taken, queue + 1);
    }
    return &g_array_index(blk->taken, unsigned, queue);
}

/* Under blk->lock. */
static bool request_taken_back(const BlockRequest *req)
{
    const BlockBackend *blk = req->blk;

    return req->serial < blk->taken_all ||
           (blk->taken && req->queue < blk->taken->len &&
            req->serial < g_array_index(blk->taken, unsigned, req->queue));
}

static bool is_of(unsigned queue, unsigned wanted)
{
    return wanted == BLOCK_ALL_QUEUES || queue == wanted;
}

/* Moves the queue's parked requests into 'to'. Under blk->lock. */
static void parked_take(BlockBackend *blk, unsigned queue, GQueue *to)
{
    GList *next;

    for (GList *l = blk->parked.head; l; l = next) {
        Parked *p = l->data;

        next = l->next;
        if (is_of(p->queue, queue)) {
            g_queue_delete_link(&blk->parked, l);
            blk->parked_words -= PARKED_HEADER + p->n;
            g_queue_push_tail(to, p);
        }
    }
    __atomic_store_n(&blk->parked_count, blk->parked.length, __ATOMIC_SEQ_CST);
}

/* Takes the queue's requests out of the list of held ones. Under blk->lock. */
static BlockRequest *held_take(BlockBackend *blk, unsigned queue)
{
    BlockRequest *taken = NULL, **end = &taken, **link = &blk->held;

    while (*link) {
        BlockRequest *req = *link;

        if (!is_of(req->queue, queue)) {
            link = &req->next;
            continue;
        }
        *link = req->next;
        *end = req;
        end = &req->next;
    }
    *end = NULL;
    return taken;
}

void block_backend_take_back(BlockBackend *blk, unsigned queue)
{
    GQueue forgotten = G_QUEUE_INIT;
    BlockRequest *held;
    unsigned serial;

    g_mutex_lock(&blk->lock);
    serial = __atomic_add_fetch(&blk->serial, 1, __ATOMIC_SEQ_CST);
    *(queue == BLOCK_ALL_QUEUES ? &blk->taken_all : taken_of_queue(blk, queue)) = serial;
    parked_take(blk, queue, &forgotten);
    held = held_take(blk, queue);
    g_mutex_unlock(&blk->lock);
    g_queue_clear_full(&forgotten, g_free);
    block_release_held(held);
}

/* Held requests. */

void block_waiting_begin(BlockBackend *blk)
{
    __atomic_add_fetch(&blk->waiting, 1, __ATOMIC_SEQ_CST);
}

void block_waiting_end(BlockBackend *blk)
{
    if (__atomic_sub_fetch(&blk->waiting, 1, __ATOMIC_SEQ_CST) == 0) {
        wait_list_wake_all(&blk->settled);
    }
}

static void held_bh(void *data)
{
    BlockRequest *req = data;
    BlockBackend *blk = req->blk;
    bool taken_back;

    g_mutex_lock(&blk->lock);
    taken_back = request_taken_back(req);
    g_mutex_unlock(&blk->lock);
    if (taken_back) {
        req->done(req, -ECANCELED);
    } else {
        block_request_start(req);
    }
    block_waiting_end(blk);
}

bool block_hold_request(BlockBackend *blk, BlockRequest *req)
{
    bool held = false;

    g_mutex_lock(&blk->lock);
    if (__atomic_load_n(&blk->quiesce, __ATOMIC_SEQ_CST)) {
        bh_init(&req->bh, req->loop, held_bh, req);
        req->next = blk->held;
        blk->held = req;
        block_waiting_begin(blk);
        held = true;
    }
    g_mutex_unlock(&blk->lock);
    return held;
}

void block_release_held(BlockRequest *newest)
{
    BlockRequest *in_order = NULL;

    while (newest) {
        BlockRequest *next = newest->next;
        newest->next = in_order;
        in_order = newest;
        newest = next;
    }
    while (in_order) {
        /* Another thread may run and free the request once it is scheduled. */
        BlockRequest *next = in_order->next;
        bh_schedule(&in_order->bh);
        in_order = next;
    }
}

/* Failed requests. */

static int writes_refused; /* atomic */

void block_refuse_writes(bool on)
{
    __atomic_store_n(&writes_refused, on, __ATOMIC_SEQ_CST);
}

bool block_writes_refused(void)
{
    return __atomic_load_n(&writes_refused, __ATOMIC_RELAXED);
}

static BlockMemoryHook memory_hook; /* atomic */

void block_set_memory_hook(BlockMemoryHook hook)
{
    __atomic_store_n(&memory_hook, hook, __ATOMIC_RELEASE);
}

/* Whether EFAULT may be the fault of the guest's memory. */
static bool request_memory_failed(const BlockRequest *req)
{
    BlockMemoryHook hook = __atomic_load_n(&memory_hook, __ATOMIC_ACQUIRE);

    return block_writes_refused() || (hook && hook(req->iov, req->niov));
}

static BlockErrorAction backend_error_action(const BlockRequest *req, int error)
{
    const BlockBackend *blk = req->blk;
    bool is_read = req->op == BLOCK_OP_READ;
    BlockOnError policy = is_read ? blk->rerror : blk->werror;

    if (policy == BLOCK_ON_ERROR_AUTO) {
        policy = is_read ? BLOCK_ON_ERROR_REPORT : BLOCK_ON_ERROR_ENOSPC;
    }
    if (error == ENOMEDIUM) {
        return BLOCK_ERROR_ACTION_REPORT;
    }
    if (error == EFAULT && request_memory_failed(req)) {
        return BLOCK_ERROR_ACTION_STOP;
    }
    switch (policy) {
    case BLOCK_ON_ERROR_ENOSPC:
        return error == ENOSPC ? BLOCK_ERROR_ACTION_STOP : BLOCK_ERROR_ACTION_REPORT;
    case BLOCK_ON_ERROR_STOP:
        return BLOCK_ERROR_ACTION_STOP;
    case BLOCK_ON_ERROR_IGNORE:
        return BLOCK_ERROR_ACTION_IGNORE;
    default:
        return BLOCK_ERROR_ACTION_REPORT;
    }
}

static void tell_stop_hook(BlockBackend *blk, bool is_read, int error, BlockErrorAction action)
{
    if (stop_hook) {
        stop_hook(blk, is_read, error, action, stop_hook_data);
    }
}

/* False: the device cannot describe the request, or has no room for it. Under blk->lock. */
static bool request_park(BlockBackend *blk, BlockRequest *req)
{
    const BlockDeviceOps *ops = blk->ops;
    unsigned queue = req->queue;
    size_t room, n;
    Parked *p;

    if (!ops || !ops->park || blk->parked_words + PARKED_HEADER >= ops->parked_max) {
        return false;
    }
    g_assert(queue <= PARKED_FIELD_MAX);
    room = MIN(ops->parked_max - blk->parked_words - PARKED_HEADER, PARKED_FIELD_MAX);
    p = g_malloc(sizeof *p + room * sizeof *p->words);
    __atomic_store_n(&blk->parked_count, blk->parked.length + 1, __ATOMIC_SEQ_CST);
    n = ops->park(blk->ops_data, req, p->words, room);
    if (!n) {
        __atomic_store_n(&blk->parked_count, blk->parked.length, __ATOMIC_SEQ_CST);
        g_free(p);
        return false;
    }
    g_assert(n <= room);
    p = g_realloc(p, sizeof *p + n * sizeof *p->words);
    p->queue = queue;
    p->n = n;
    g_queue_push_tail(&blk->parked, p);
    blk->parked_words += PARKED_HEADER + n;
    return true;
}

bool block_request_failed(BlockRequest *req, int *ret)
{
    BlockBackend *blk = req->blk;
    bool is_read = req->op == BLOCK_OP_READ, parked = false, taken_back;
    BlockErrorAction action;
    int error = -*ret;

    /* Only a request that was taken back ends with ECANCELED. */
    error = error == ECANCELED ? EIO : error;
    *ret = -error;
    action = backend_error_action(req, error);
    if (action == BLOCK_ERROR_ACTION_STOP) {
        g_mutex_lock(&blk->lock);
        taken_back = request_taken_back(req);
        parked = !taken_back && request_park(blk, req);
        g_mutex_unlock(&blk->lock);
        if (taken_back) {
            *ret = -ECANCELED;
            return false;
        }
        if (parked) {
            __atomic_store_n(&blk->io_status, error, __ATOMIC_SEQ_CST);
        } else {
            action = BLOCK_ERROR_ACTION_REPORT;
        }
    }
    tell_stop_hook(blk, is_read, error, action);
    if (action == BLOCK_ERROR_ACTION_IGNORE) {
        *ret = 0;
    }
    return parked;
}

bool block_backend_parked(BlockBackend *blk)
{
    return __atomic_load_n(&blk->parked_count, __ATOMIC_SEQ_CST) != 0;
}

void block_backend_unpark(BlockBackend *blk, unsigned queue)
{
    GQueue mine = G_QUEUE_INIT;
    bool ok = true;
    Parked *p;

    if (G_LIKELY(!block_backend_parked(blk)) ||
        __atomic_load_n(&blk->io_status, __ATOMIC_SEQ_CST)) {
        return;
    }
    g_mutex_lock(&blk->lock);
    parked_take(blk, queue, &mine);
    g_mutex_unlock(&blk->lock);
    while ((p = g_queue_pop_head(&mine))) {
        ok = ok && blk->ops->rebuild(blk->ops_data, queue, p->words, p->n);
        g_free(p);
    }
}

size_t block_backend_save_parked(BlockBackend *blk, uint32_t *words, size_t max)
{
    size_t used = 0;

    g_mutex_lock(&blk->lock);
    g_assert(blk->parked_words <= max);
    for (GList *l = blk->parked.head; l; l = l->next) {
        const Parked *p = l->data;

        words[used++] = p->queue | (uint32_t)p->n << 16;
        memcpy(words + used, p->words, p->n * sizeof *words);
        used += p->n;
    }
    g_mutex_unlock(&blk->lock);
    return used;
}

static bool parked_valid(const uint32_t *words, size_t n, unsigned queues)
{
    while (n) {
        size_t len = words[0] >> 16;

        if ((words[0] & PARKED_FIELD_MAX) >= queues || !len || len > n - PARKED_HEADER) {
            return false;
        }
        words += PARKED_HEADER + len;
        n -= PARKED_HEADER + len;
    }
    return true;
}

bool block_backend_load_parked(BlockBackend *blk, const uint32_t *words, size_t n, unsigned queues)
{
    bool ok = parked_valid(words, n, queues);

    g_mutex_lock(&blk->lock);
    parked_clear(blk);
    while (ok && n) {
        size_t len = words[0] >> 16;
        Parked *p = g_malloc(sizeof *p + len * sizeof *words);

        p->queue = words[0] & PARKED_FIELD_MAX;
        p->n = len;
        memcpy(p->words, words + PARKED_HEADER, len * sizeof *words);
        g_queue_push_tail(&blk->parked, p);
        blk->parked_words += PARKED_HEADER + len;
        words += PARKED_HEADER + len;
        n -= PARKED_HEADER + len;
    }
    __atomic_store_n(&blk->parked_count, blk->parked.length, __ATOMIC_SEQ_CST);
    g_mutex_unlock(&blk->lock);
    return ok;
}

void block_backend_set_error_policy(BlockBackend *blk, BlockOnError rerror, BlockOnError werror)
{
    /* A device whose rerror or werror is AUTO keeps the drive's. */
    blk->rerror = rerror == BLOCK_ON_ERROR_AUTO ? blk->rerror : rerror;
    blk->werror = werror == BLOCK_ON_ERROR_AUTO ? blk->werror : werror;
}

void block_backend_set_stop_hook(BlockStopHook hook, void *data)
{
    stop_hook = hook;
    stop_hook_data = data;
}
