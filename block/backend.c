/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: creation and deletion, devices, requests (the way through a coroutine; the short
 * way is in backend_fastpath.c). Drains are in drain.c, failed requests in parking.c.
 */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/trace.h"
#include "base/util.h"
#include "block/job.h"
#include "block/histogram.h"
#include "block/parking.h"
#include "core.h"
#include "open.h"
#include "timed_stats.h"

/* Main thread only. */
static GPtrArray *backends;

BlockBackend *block_backend_alloc(const char *name)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    blk->refs = 1;
    blk->name = g_strdup(name ? name : "");
    blk->length = -ENOMEDIUM;
    blk->quiesce = block_drained_all();
    blk->write_cache = true;
    blk->account_invalid = blk->account_failed = true;
    blk->rerror = BLOCK_ON_ERROR_AUTO;
    blk->werror = BLOCK_ON_ERROR_AUTO;
    wait_list_init(&blk->drained);
    wait_list_init(&blk->released);
    block_parking_init(blk);
    if (!backends) {
        backends = g_ptr_array_new();
    }
    g_ptr_array_add(backends, blk);
    return blk;
}

static char *backend_describe(BlockEdge *e)
{
    BlockBackend *blk = e->parent;

    if (!*blk->name && !blk->device) {
        return g_strdup("an unnamed block device");
    }
    return g_strdup_printf("block device '%s'", *blk->name ? blk->name : blk->device);
}

static const char *backend_edge_name(BlockEdge *e)
{
    BlockBackend *blk = e->parent;

    return *blk->name ? blk->name : blk->device;
}

static void backend_edge_drain_begin(BlockEdge *e)
{
    block_backend_hold(e->parent);
}

static void backend_edge_drain_end(BlockEdge *e)
{
    block_backend_drain_end(e->parent);
}

static bool backend_edge_busy(BlockEdge *e)
{
    return block_backend_in_flight(e->parent);
}

static int64_t backend_length_of(BlockNode *root)
{
    return block_node_has_medium(root) ? block_length(root) : -ENOMEDIUM;
}

static void backend_edge_resized(BlockEdge *e)
{
    BlockBackend *blk = e->parent;
    int64_t length = backend_length_of(e->child);

    if (__atomic_exchange_n(&blk->length, length, __ATOMIC_SEQ_CST) != length && blk->ops &&
        blk->ops->resized) {
        blk->ops->resized(blk->ops_data);
    }
}

static BlockPerms backend_edge_perms(BlockEdge *e, bool inactive)
{
    const BlockBackend *blk = e->parent;
    bool shared = blk->flags & BLOCK_DEVICE_SHARE_RW;

    if (inactive) {
        return (BlockPerms){0, BLOCK_PERM_ALL};
    }
    /* A disk that another writes to is no disk. Its length may change: block_resize. */
    return (BlockPerms){BLOCK_PERM_CONSISTENT_READ | (blk->writes ? BLOCK_PERM_WRITE : 0),
                        shared ? BLOCK_PERM_ALL : BLOCK_PERM_ALL & ~BLOCK_PERM_WRITE};
}

static const BlockParentClass backend_parent = {
    .describe = backend_describe,
    .name = backend_edge_name,
    .drain_begin = backend_edge_drain_begin,
    .drain_end = backend_edge_drain_end,
    .busy = backend_edge_busy,
    .resized = backend_edge_resized,
    .perms = backend_edge_perms,
};

/* Whether the user of the backend may write, once 'root' is its medium. */
static void backend_set_writes(BlockBackend *blk, const BlockNode *root)
{
    __atomic_store_n(&blk->writes, !root->read_only && !(blk->flags & BLOCK_DEVICE_READ_ONLY),
                     __ATOMIC_SEQ_CST);
}

bool block_backend_set_root(BlockBackend *blk, BlockNode *root, GError **err)
{
    if (root) {
        BlockEdge probe = {.child = root, .parent = blk};

        backend_set_writes(blk, root);
        blk->edge = block_edge_attach(&backend_parent, blk, root, "root",
                                      backend_edge_perms(&probe, root->inactive), &blk->root, err);
        if (blk->edge) {
            __atomic_store_n(&blk->length, backend_length_of(root), __ATOMIC_SEQ_CST);
            block_host_tray_root_changed(blk);
        }
    }
    return !root || blk->edge;
}

BlockNode *block_backend_take_root(BlockBackend *blk)
{
    BlockEdge *edge = g_steal_pointer(&blk->edge);
    BlockNode *root;

    if (!edge) {
        return NULL;
    }
    root = block_node_ref(edge->child);
    __atomic_store_n(&blk->length, -ENOMEDIUM, __ATOMIC_SEQ_CST);
    block_edge_detach(edge); /* not the last reference: does not wait */
    block_host_tray_root_changed(blk);
    block_exports_medium_gone(blk);
    return root;
}

static void backend_free_memory(void *data)
{
    BlockBackend *blk = data;

    wait_list_destroy(&blk->drained);
    wait_list_destroy(&blk->released);
    block_parking_destroy(blk);
    g_free(blk->name);
    g_free(blk->device);
    g_free(blk->info.serial);
    g_free(blk->info.addr);
    g_clear_pointer(&blk->timed_stats, g_ptr_array_unref);
    g_free(blk);
}

void block_backend_ref(BlockBackend *blk)
{
    blk->refs++;
}

void block_backend_unref(BlockBackend *blk)
{
    if (--blk->refs == 0) {
        /* Another thread may be in block_backend_leave(), which reads quiesce after it counted
         * down. */
        reclaim_retire(backend_free_memory, blk);
    }
}

void block_backend_forget(BlockBackend *blk)
{
    g_assert(!blk->edge);
    block_host_tray_end(blk);
    block_backend_limits_free(blk);
    block_backend_clear_histograms(blk);
    g_ptr_array_remove(backends, blk);
    block_backend_unref(blk);
}

bool block_backend_listed(BlockBackend *blk)
{
    return backends && g_ptr_array_find(backends, blk, NULL);
}

static void unref_element(void *data)
{
    block_backend_unref(data);
}

GPtrArray *block_backend_list(BlockNode *root)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(unref_element);

    for (unsigned i = 0; backends && i < backends->len; i++) {
        BlockBackend *blk = backends->pdata[i];
        if (!root || blk->root == root) {
            block_backend_ref(blk);
            g_ptr_array_add(list, blk);
        }
    }
    return list;
}

const char *block_node_device_or_name(BlockNode *n)
{
    for (unsigned i = 0; backends && i < backends->len; i++) {
        BlockBackend *blk = backends->pdata[i];
        if (blk->root == n && *blk->name) {
            return blk->name;
        }
    }
    return n->opts.node_name;
}

static int coroutine_fn take_back_and_drain(void *data)
{
    BlockBackend *blk = data;

    /* What another coroutine holds is in no node: a drain of this backend would not end it. */
    block_backend_take_back(blk, BLOCK_ALL_QUEUES);
    wait_list_until(&blk->settled, __atomic_load_n(&blk->waiting, __ATOMIC_SEQ_CST) == 0);
    block_backend_drain_begin(blk);
    return 0;
}

void coroutine_fn block_backend_take_back_wait(BlockBackend *blk)
{
    take_back_and_drain(blk);
    block_backend_drain_end(blk);
}

/* Gives the name, and the place on the interface, free for another drive. */
static void backend_forget_name(BlockBackend *blk)
{
    /* An I/O thread may be reading the name, for an event. */
    reclaim_retire(g_free, __atomic_exchange_n(&blk->name, g_strdup(""), __ATOMIC_ACQ_REL));
    blk->from_drive = false;
}

/* The name goes first: a lookup while the drain waits must not find this backend. */
static void backend_free(BlockBackend *blk)
{
    BlockNode *root;

    backend_forget_name(blk);
    block_run(take_back_and_drain, blk);
    root = block_backend_take_root(blk);
    block_backend_forget(blk);
    block_node_unref(root);
}

int coroutine_fn block_backend_delete(BlockBackend *blk)
{
    BlockNode *root;

    if (!blk->device) {
        backend_free(blk);
        return 0;
    }
    block_backend_ref(blk);
    backend_forget_name(blk);
    block_backend_drain_begin(blk);
    /* NULL where the device was unplugged while the drain waited, and freed the backend. */
    root = block_backend_take_root(blk);
    block_media_tell(blk);
    block_backend_drain_end(blk);
    block_backend_unref(blk);
    block_node_unref(root);
    return 0;
}

BlockBackend *block_backend_find(const char *id)
{
    for (unsigned i = 0; backends && *id && i < backends->len; i++) {
        BlockBackend *blk = backends->pdata[i];
        if (g_str_equal(blk->name, id)) {
            return blk;
        }
    }
    return NULL;
}

BlockBackend *block_backend_of_device(const char *id, const char *path)
{
    for (unsigned i = 0; backends && i < backends->len; i++) {
        BlockBackend *blk = backends->pdata[i];

        if (blk->device && (!g_strcmp0(blk->device, id) || !g_strcmp0(blk->device, path))) {
            return blk;
        }
    }
    return NULL;
}

void block_backend_foreach(void (*fn)(BlockBackend *blk, void *data), void *data)
{
    for (unsigned i = 0; backends && i < backends->len; i++) {
        fn(backends->pdata[i], data);
    }
}

void block_backend_free_all(void)
{
    while (backends && backends->len) {
        backend_free(backends->pdata[backends->len - 1]);
    }
    if (backends) {
        g_ptr_array_unref(g_steal_pointer(&backends));
    }
}

static BlockBackend *backend_new_node(const char *node_name, const char *device, unsigned flags,
                                      const BlockDeviceOps *ops, GError **err)
{
    BlockNode *n = block_node_find(node_name);
    BlockBackend *blk;

    if (!n) {
        error_set(err, "can't find value '%s': there is no drive and no block node of that name",
                  node_name);
        return NULL;
    }
    blk = block_backend_alloc(NULL);
    blk->device = g_strdup(device);
    blk->flags = flags;
    blk->ops = ops;
    if (!block_backend_set_root(blk, n, err)) {
        block_backend_forget(g_steal_pointer(&blk));
    }
    return blk;
}

/*
 * A drive gets a device, or loses it, which changes what its user does. Since the drive was made
 * its node may have become read-only, or writable, too: block_reopen().
 */
static bool backend_set_flags(BlockBackend *blk, unsigned flags, GError **err)
{
    unsigned old_flags = blk->flags;
    bool old_writes = blk->writes;
    BlockChange *c;

    blk->flags = flags;
    if (!blk->root) {
        return true;
    }
    backend_set_writes(blk, blk->root);
    c = block_change_new();
    block_change_perms(c, blk->edge, backend_edge_perms(blk->edge, blk->root->inactive));
    if (!block_change_commit(c, err)) {
        blk->flags = old_flags;
        __atomic_store_n(&blk->writes, old_writes, __ATOMIC_SEQ_CST);
        return false;
    }
    return true;
}

BlockBackend *block_backend_attach(const char *id_or_node, const char *device, unsigned flags,
                                   const BlockDeviceOps *ops, void *data, GError **err)
{
    BlockBackend *blk = id_or_node ? block_backend_find(id_or_node) : block_backend_alloc(NULL);

    if (blk && blk->device) {
        error_set(err, "Drive '%s' is already in use by another device (%s)%s", id_or_node,
                  blk->device,
                  blk->from_drive && blk->info.if_type != BLOCK_IF_NONE
                      ? ": 'if=none' in the drive's options leaves it to -device"
                      : "");
        return NULL;
    }
    if (!blk) {
        blk = backend_new_node(id_or_node, device, flags, ops, err);
    } else if (backend_set_flags(blk, flags, err)) {
        blk->device = g_strdup(device);
        blk->ops = ops;
    } else {
        return NULL;
    }
    if (blk) {
        blk->ops_data = data;
    }
    return blk;
}

void block_backend_detach(BlockBackend *blk, bool unplugged)
{
    if (unplugged && blk->from_drive && blk->root) {
        job_cancel_of_node(blk->root);
    }
    block_run(take_back_and_drain, blk);
    blk->ops = NULL;
    blk->ops_data = NULL;
    g_clear_pointer(&blk->device, g_free);
    block_backend_drain_end(blk);
    if (!blk->from_drive || unplugged) {
        backend_free(blk);
    } else {
        backend_set_flags(blk, BLOCK_DEVICE_SHARE_RW, NULL); /* as before a device had it */
    }
}

const char *block_backend_name(BlockBackend *blk)
{
    return __atomic_load_n(&blk->name, __ATOMIC_ACQUIRE);
}

const char *block_backend_device(BlockBackend *blk)
{
    return blk->device;
}

BlockNode *block_backend_node(BlockBackend *blk)
{
    return blk->root;
}

const BlockDriveInfo *block_backend_drive_info(BlockBackend *blk)
{
    return &blk->info;
}

int64_t block_backend_length(BlockBackend *blk)
{
    return __atomic_load_n(&blk->length, __ATOMIC_SEQ_CST);
}

bool block_backend_read_only(BlockBackend *blk)
{
    if (block_backend_length(blk) == -ENOMEDIUM) {
        return blk->info.is_cdrom || blk->flags & BLOCK_DEVICE_READ_ONLY;
    }
    return !__atomic_load_n(&blk->writes, __ATOMIC_SEQ_CST);
}

bool block_backend_write_cache(BlockBackend *blk)
{
    return __atomic_load_n(&blk->write_cache, __ATOMIC_SEQ_CST);
}

void block_backend_set_write_cache(BlockBackend *blk, bool on)
{
    __atomic_store_n(&blk->write_cache, on, __ATOMIC_SEQ_CST);
}

static bool backend_try_enter(BlockBackend *blk)
{
    __atomic_add_fetch(&blk->in_flight, 1, __ATOMIC_SEQ_CST);
    return G_LIKELY(!__atomic_load_n(&blk->quiesce, __ATOMIC_SEQ_CST));
}

void block_backend_leave(BlockBackend *blk)
{
    if (__atomic_sub_fetch(&blk->in_flight, 1, __ATOMIC_SEQ_CST) == 0 &&
        G_UNLIKELY(__atomic_load_n(&blk->quiesce, __ATOMIC_SEQ_CST))) {
        wait_list_wake_all(&blk->drained);
        block_drain_wake();
    }
}

static void backend_count(uint64_t *counter, uint64_t n)
{
    __atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

static void backend_account(BlockBackend *blk, BlockRequest *req, int ret)
{
    BlockStats *s = &blk->stats;
    BlockOp op = req->op == BLOCK_OP_WRITE_ZEROES ? BLOCK_OP_WRITE : req->op;
    int64_t now = clock_ns(CLOCK_REALTIME_NS);

    if (ret < 0 && !req->start_ns) {
        backend_count(&s->invalid[op], 1);
        if (blk->account_invalid) {
            __atomic_store_n(&blk->last_access_ns, now, __ATOMIC_RELAXED);
        }
        return;
    }
    if ((int)op < BLOCK_HISTOGRAMS && req->start_ns) {
        block_histogram_count(blk, op, now - req->start_ns);
    }
    backend_count(ret < 0 ? &s->failed[op] : &s->ops[op], 1);
    if (ret >= 0) {
        backend_count(&s->bytes[op], req->bytes);
    } else if (!blk->account_failed) {
        return;
    }
    __atomic_store_n(&blk->last_access_ns, now, __ATOMIC_RELAXED);
    backend_count(&s->total_ns[op], now - req->start_ns);
    for (unsigned i = 0; G_UNLIKELY(blk->timed_stats) && i < blk->timed_stats->len; i++) {
        block_timed_stats_count(blk->timed_stats->pdata[i], op, now - req->start_ns);
    }
}

void block_backend_set_accounting(BlockBackend *blk, int invalid, int failed)
{
    blk->account_invalid =
        invalid == ON_OFF_AUTO_AUTO ? blk->account_invalid : invalid == ON_OFF_AUTO_ON;
    blk->account_failed =
        failed == ON_OFF_AUTO_AUTO ? blk->account_failed : failed == ON_OFF_AUTO_ON;
}

static const char *const backend_op_names[] = {
    [BLOCK_OP_READ] = "read",
    [BLOCK_OP_WRITE] = "write",
    [BLOCK_OP_FLUSH] = "flush",
    [BLOCK_OP_DISCARD] = "discard",
    [BLOCK_OP_WRITE_ZEROES] = "write-zeroes",
};

static void backend_trace_begin(BlockBackend *blk, const BlockRequest *req)
{
    trace(blk_submit, block_backend_label(blk), backend_op_names[req->op], req->offset, req->bytes,
          req->flags);
}

static void backend_trace_end(BlockBackend *blk, const BlockRequest *req, int ret)
{
    trace(blk_complete, block_backend_label(blk), backend_op_names[req->op], req->offset,
          req->bytes, ret, req->start_ns ? clock_ns(CLOCK_REALTIME_NS) - req->start_ns : 0);
}

const char *block_backend_label(BlockBackend *blk)
{
    const char *name = block_backend_name(blk);

    return *name ? name : blk->device;
}

void block_request_complete(BlockRequest *req, int ret)
{
    BlockBackend *blk = req->blk;

    backend_trace_end(blk, req, ret);
    backend_account(blk, req, ret);
    if (G_UNLIKELY(ret < 0)) {
        log_item(LOG_BLOCK, "%s: request %d at %" PRIu64 "+%" PRIu64 ": %s", blk->name, req->op,
                 req->offset, req->bytes, g_strerror(-ret));
        if (block_request_failed(req, &ret)) {
            block_backend_leave(blk);
            return;
        }
    }
    /* done() may free the request. The backend lives until block_backend_leave(). */
    req->done(req, ret);
    block_backend_leave(blk);
}

static void complete_bh(void *data)
{
    BlockRequest *req = data;

    block_request_complete(req, req->ret);
}

static void complete_later(BlockRequest *req, int ret)
{
    req->ret = ret;
    bh_init(&req->bh, req->loop, complete_bh, req);
    bh_schedule(&req->bh);
}

/* While guest memory has lost its content. */
static bool request_refused(const BlockRequest *req)
{
    return req->op != BLOCK_OP_READ && req->op != BLOCK_OP_FLUSH &&
           G_UNLIKELY(block_writes_refused());
}

static int request_valid(BlockBackend *blk, BlockRequest *req)
{
    int64_t len;

    if (!blk->root) {
        return -ENOMEDIUM;
    }
    if (req->op == BLOCK_OP_FLUSH) {
        return 0;
    }
    if (req->op != BLOCK_OP_READ && !__atomic_load_n(&blk->writes, __ATOMIC_SEQ_CST)) {
        return -EPERM;
    }
    if (request_refused(req)) {
        return -EFAULT;
    }
    len = block_backend_length(blk);
    if (len < 0) {
        return len;
    }
    return req->offset > len || req->bytes > len - req->offset ? -EIO : 0;
}

static unsigned write_flags(BlockBackend *blk, BlockRequest *req)
{
    return req->flags | (block_backend_write_cache(blk) ? 0 : BLOCK_REQ_FUA);
}

static int coroutine_fn request_run(BlockBackend *blk, BlockRequest *req)
{
    BlockNode *root = blk->root;
    int ret;

    /* It may have waited for its turn since it was found valid. */
    if (request_refused(req)) {
        return -EFAULT;
    }
    switch (req->op) {
    case BLOCK_OP_READ:
        return block_preadv(root, req->offset, req->bytes, req->iov, req->niov);
    case BLOCK_OP_WRITE:
        return block_pwritev(root, req->offset, req->bytes, req->iov, req->niov,
                             write_flags(blk, req));
    case BLOCK_OP_FLUSH:
        return block_flush(root);
    case BLOCK_OP_DISCARD:
        ret = block_pdiscard(root, req->offset, req->bytes);
        return ret == 0 && !block_backend_write_cache(blk) ? block_flush(root) : ret;
    case BLOCK_OP_WRITE_ZEROES:
        return block_pwrite_zeroes(root, req->offset, req->bytes, write_flags(blk, req));
    }
    return -EINVAL;
}

static void coroutine_fn request_entry(void *data)
{
    BlockRequest *req = data;

    if (G_UNLIKELY(block_backend_is_throttled(req->blk, req))) {
        block_backend_throttle(req->blk, req);
    }
    complete_later(req, request_run(req->blk, req));
}

void block_request_start(BlockRequest *req)
{
    BlockBackend *blk = req->blk;
    int ret;

    while (!backend_try_enter(blk)) {
        block_backend_leave(blk);
        if (block_hold_request(blk, req)) {
            return;
        }
    }
    backend_trace_begin(blk, req);
    ret = request_valid(blk, req);
    if (G_UNLIKELY(ret < 0)) {
        req->start_ns = 0;
        complete_later(req, ret);
        return;
    }
    req->start_ns = clock_ns(CLOCK_REALTIME_NS);
    if (block_backend_is_throttled(blk, req) || !block_fastpath_submit(blk, req)) {
        coroutine_start(request_entry, req);
    }
}

void block_backend_submit(BlockBackend *blk, BlockRequest *req)
{
    req->blk = blk;
    req->loop = event_loop_current();
    g_assert(req->loop);
    req->serial = __atomic_load_n(&blk->serial, __ATOMIC_SEQ_CST);
    block_request_start(req);
}

void coroutine_fn block_backend_enter(BlockBackend *blk)
{
    if (!backend_try_enter(blk)) {
        block_waiting_begin(blk);
        do {
            block_backend_leave(blk);
            wait_list_until(&blk->released, __atomic_load_n(&blk->quiesce, __ATOMIC_SEQ_CST) == 0);
        } while (!backend_try_enter(blk));
        block_waiting_end(blk);
    }
}

int coroutine_fn block_backend_co_io(BlockBackend *blk, BlockRequest *req)
{
    int ret;

    req->blk = blk;
    req->loop = event_loop_current();
    block_backend_enter(blk);
    backend_trace_begin(blk, req);
    ret = request_valid(blk, req);
    req->start_ns = ret < 0 ? 0 : clock_ns(CLOCK_REALTIME_NS);
    if (ret == 0) {
        if (block_backend_is_throttled(blk, req)) {
            block_backend_throttle(blk, req);
        }
        ret = request_run(blk, req);
    }
    backend_trace_end(blk, req, ret);
    backend_account(blk, req, ret);
    block_backend_leave(blk);
    return ret;
}

void block_io_status_reset_all(void)
{
    for (unsigned i = 0; backends && i < backends->len; i++) {
        BlockBackend *blk = backends->pdata[i];
        __atomic_store_n(&blk->io_status, 0, __ATOMIC_SEQ_CST);
    }
}

unsigned block_backend_in_flight(BlockBackend *blk)
{
    return __atomic_load_n(&blk->in_flight, __ATOMIC_SEQ_CST);
}

const BlockStats *block_backend_stats(BlockBackend *blk)
{
    const uint64_t *from = (const uint64_t *)&blk->stats;
    uint64_t *to = (uint64_t *)&blk->stats_copy;

    for (size_t i = 0; i < sizeof(BlockStats) / sizeof(uint64_t); i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    return &blk->stats_copy;
}
