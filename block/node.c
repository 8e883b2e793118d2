/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes: their names, references and end. They are opened in open.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/trace.h"
#include "base/util.h"
#include "block/job.h"
#include "core.h"
#include "engine.h"
#include "open.h"

static GPtrArray *nodes; /* block_nodes() */
static unsigned name_counter = 100;
static unsigned closing; /* nodes that are being closed; main thread */
static WaitList closed;

void block_error_prefix(GError **err, const char *fmt, ...)
{
    va_list ap;
    g_autofree char *context = NULL;

    if (!err || !*err) {
        return;
    }
    va_start(ap, fmt);
    context = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!g_str_has_prefix((*err)->message, context)) { /* a chain of files adds it once */
        g_prefix_error(err, "%s: ", context);
    }
}

bool block_cache_parse(const char *name, BlockCache *cache, GError **err)
{
    static const struct {
        const char *name;
        BlockCache cache;
    } modes[] = {
        {"none", {.writeback = true, .direct = true}},
        {"off", {.writeback = true, .direct = true}},
        {"writeback", {.writeback = true}},
        {"writethrough", {0}},
        {"directsync", {.direct = true}},
        {"unsafe", {.writeback = true, .no_flush = true}},
    };
    static const char *const names[] = {"none",       "writeback", "writethrough",
                                        "directsync", "unsafe",    NULL};

    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        if (g_str_equal(name, modes[i].name)) {
            *cache = modes[i].cache;
            return true;
        }
    }
    const char *near = nearest_name(name, names);
    return error_set(err, "invalid cache option '%s'%s%s%s", name, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

GPtrArray *block_nodes(void)
{
    if (!nodes) {
        nodes = g_ptr_array_new();
    }
    return nodes;
}

BlockNode *block_node_find(const char *node_name)
{
    for (unsigned i = 0; nodes && i < nodes->len; i++) {
        BlockNode *n = nodes->pdata[i];
        if (n->core->listed && g_str_equal(n->opts.node_name, node_name)) {
            return n;
        }
    }
    return NULL;
}

void block_node_foreach(void (*fn)(BlockNode *node, void *data), void *data)
{
    for (unsigned i = 0; nodes && i < nodes->len; i++) {
        BlockNode *n = nodes->pdata[i];
        if (n->core->listed) {
            fn(n, data);
        }
    }
}

static bool id_well_formed(const char *id)
{
    if (!g_ascii_isalpha(*id)) {
        return false;
    }
    for (; *id; id++) {
        if (!g_ascii_isalnum(*id) && !strchr("-._", *id)) {
            return false;
        }
    }
    return true;
}

static bool name_taken(BlockNode *n, const char *name)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        BlockNode *other = nodes->pdata[i];
        if (other != n && other->core->named && g_str_equal(other->opts.node_name, name)) {
            return true;
        }
    }
    return false;
}

bool block_node_name_taken(const char *name)
{
    return nodes && name_taken(NULL, name);
}

bool block_node_set_name(BlockNode *n, GError **err)
{
    if (!n->opts.node_name) {
        do {
            g_free(n->opts.node_name);
            n->opts.node_name = g_strdup_printf("#block%03u", name_counter++);
        } while (name_taken(n, n->opts.node_name));
        n->core->named = true;
        return true;
    }
    if (!id_well_formed(n->opts.node_name)) {
        return error_set(err, "Invalid node-name: '%s'", n->opts.node_name);
    }
    if (strlen(n->opts.node_name) > 31) {
        return error_set(err, "Node name too long");
    }
    if (block_backend_find(n->opts.node_name)) {
        return error_set(err, "node-name=%s is conflicting with a device id", n->opts.node_name);
    }
    /* A node that is being opened has its name already: both would pass otherwise. */
    if (name_taken(n, n->opts.node_name)) {
        return error_set(err, "Duplicate nodes with node-name='%s'", n->opts.node_name);
    }
    n->core->named = true;
    return true;
}

BlockNode *block_node_alloc(void)
{
    BlockNode *n = g_new0(BlockNode, 1);

    n->refs = 1;
    n->request_alignment = 1;
    n->memory_alignment = 1;
    n->core = g_new0(BlockNodeCore, 1);
    n->core->parents = g_ptr_array_new();
    n->core->children = g_ptr_array_new();
    n->core->perms = n->core->opener = n->core->guard = (BlockPerms){0, BLOCK_PERM_ALL};
    n->core->drains = block_drained_all();
    wait_list_init(&n->core->held);
    wait_list_init(&n->core->drained);
    co_mutex_init(&n->core->exclusive);
    co_mutex_init(&n->core->flushing);
    block_range_table_init(&n->core->ranges);
    g_ptr_array_add(block_nodes(), n);
    return n;
}

void block_node_register(BlockNode *n)
{
    n->core->listed = true;
    trace(bdrv_open_common, n->opts.node_name, n->driver->name, n->filename);
    log_item(LOG_BLOCK, "node %s opened: %s %s", n->opts.node_name, n->driver->name,
             n->filename ? n->filename : "");
}

static void node_free(void *data)
{
    BlockNode *n = data;

    wait_list_destroy(&n->core->held);
    wait_list_destroy(&n->core->drained);
    co_mutex_destroy(&n->core->exclusive);
    co_mutex_destroy(&n->core->flushing);
    block_range_table_destroy(&n->core->ranges);
    json_decref(n->core->options);
    json_decref(n->core->own_options);
    json_decref(n->core->backing_tree);
    g_ptr_array_unref(n->core->parents);
    g_ptr_array_unref(n->core->children);
    g_free(n->core);
    block_node_options_clear(&n->opts);
    g_free(n->filename);
    g_free(n->backing_format);
    g_free(n->backing_name);
    if (n->state && n->driver->props) {
        properties_clear(n->driver->props, n->state);
    }
    g_free(n->state);
    g_free(n);
}

/* Nodes that were opened in this one's tree outlive it: others use them. */
static void node_disinherit(BlockNode *n)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        BlockNode *other = nodes->pdata[i];
        if (other->core->inherits_from == n) {
            other->core->inherits_from = NULL;
        }
    }
}

/* Gives up all children but the backing file, which is returned with the edge's reference. */
static BlockNode *node_drop_children(BlockNode *n)
{
    BlockNode *backing = NULL;

    while (n->core->children->len) {
        BlockEdge *e = n->core->children->pdata[n->core->children->len - 1];

        if (e->role & BLOCK_ROLE_BACKING) {
            g_autoptr(GPtrArray) starts = g_ptr_array_new();

            backing = block_edge_unlink(e);
            g_ptr_array_add(starts, backing);
            /* Giving up permissions is no conflict. */
            block_perms_commit(block_perms_prepare(starts, NULL));
        } else {
            block_edge_detach(e);
        }
    }
    return backing;
}

void block_node_discard_unopened(BlockNode *n)
{
    block_dirty_bitmaps_end(n);
    block_node_unref(node_drop_children(n));
    node_disinherit(n);
    g_ptr_array_remove(nodes, n);
    node_free(n);
}

BlockNode *block_node_ref(BlockNode *n)
{
    n->refs++;
    return n;
}

static int coroutine_fn close_fn(void *data)
{
    BlockNode *n = data;
    int ret = 0;

    /* Before the flush: a request's last writes are to be in it. */
    wait_list_until(&n->core->drained, __atomic_load_n(&n->in_flight, __ATOMIC_SEQ_CST) == 0);
    __atomic_sub_fetch(&n->quiesce, 1, __ATOMIC_SEQ_CST);
    if (!n->read_only) {
        ret = block_flush(n);
        if (ret < 0) {
            log_error("Failed to flush '%s' on close: %s", n->filename ? n->filename : "",
                      g_strerror(-ret));
        }
    }
    if (n->driver->close) {
        n->driver->close(n);
    }
    return ret;
}

void coroutine_fn block_nodes_closed_wait(void)
{
    wait_list_until(&closed, closing == 0);
}

/* Returns the backing file, with the reference that the node held (NULL: none). */
static BlockNode *node_close(BlockNode *n)
{
    BlockNode *backing;

    g_assert(!n->core->parents->len);
    trace(bdrv_close, n->opts.node_name);
    log_item(LOG_BLOCK, "node %s closes", n->opts.node_name);
    closing++;
    n->core->listed = false; /* nobody may find it while this waits; its name stays taken */
    /* block_node_leave() wakes close_fn() only while quiesce is raised. */
    __atomic_add_fetch(&n->quiesce, 1, __ATOMIC_SEQ_CST);
    block_run(close_fn, n);
    block_dirty_bitmaps_end(n);
    backing = node_drop_children(n);
    node_disinherit(n);
    g_ptr_array_remove(nodes, n);
    /* Another thread may be in block_node_leave(), which reads quiesce after it counted down. */
    reclaim_retire(node_free, n);
    closing--;
    wait_list_wake_all(&closed);
    return backing;
}

void block_node_unref(BlockNode *n)
{
    /* A loop along the backing chain: it may have thousands of nodes. */
    while (n) {
        g_assert(n->refs > 0);
        n->refs--;
        if (n->refs && n->refs == n->core->leaving) {
            block_node_left_alone(n);
        }
        n = n->refs ? NULL : node_close(n);
    }
}

bool block_node_add_monitor_owned(json_t *config, GError **err)
{
    BlockNode *n;

    if (!json_str(config, "node-name")) {
        return error_set(err, "'node-name' must be specified for the root node");
    }
    if (!json_str(config, "driver")) {
        return error_set(err, "Parameter 'driver' is missing");
    }
    n = block_node_open_unheld(config, 0, err);
    if (!n) {
        return false;
    }
    n->monitor_owned = true;
    return true;
}

bool block_node_del_monitor_owned(const char *node_name, GError **err)
{
    BlockNode *n = block_node_find(node_name);

    if (!n) {
        return error_set(err, "Failed to find node with node-name='%s'", node_name);
    }
    if (!job_node_is_free(n, err)) {
        return false;
    }
    if (!n->monitor_owned) {
        return error_set(err, "Node %s is not owned by the monitor", node_name);
    }
    if (n->refs == 1 + n->core->leaving && n->core->leaving) {
        g_autofree char *name = g_strdup(node_name);

        /* The wait: another may have used or deleted the node meanwhile. */
        return block_node_let_go(n, err) && block_node_del_monitor_owned(name, err);
    }
    if (n->refs > 1) {
        g_autofree char *parent =
            n->core->parents->len ? block_edge_describe(n->core->parents->pdata[0]) : NULL;
        return error_set(err, "Node %s is in use%s%s", node_name, parent ? " by " : "",
                         parent ? parent : "");
    }
    n->monitor_owned = false;
    block_node_unref(n);
    return true;
}

void block_node_cancel_all(void)
{
    for (unsigned i = 0; nodes && i < nodes->len; i++) {
        BlockNode *n = nodes->pdata[i];

        if (n->state && n->driver->cancel) {
            n->driver->cancel(n);
        }
    }
}

static void end_is_late(void *data)
{
    block_node_cancel_all();
}

Timer *block_end_timer_new(void)
{
    Timer *t = timer_new(event_loop_current(), CLOCK_REALTIME_NS, end_is_late, NULL);

    timer_arm(t, clock_ns(CLOCK_REALTIME_NS) + BLOCK_END_SECONDS * NS_PER_SEC);
    return t;
}

void block_node_close_all(void)
{
    bool again = true;

    /* A node that is a child of another stays open until that one closes. */
    while (again) {
        again = false;
        for (unsigned i = 0; nodes && i < nodes->len; i++) {
            BlockNode *n = nodes->pdata[i];
            if (n->core->listed && n->monitor_owned) {
                n->monitor_owned = false;
                block_node_unref(n);
                again = true;
                break;
            }
        }
    }
    if (nodes && nodes->len == 0) {
        g_ptr_array_unref(g_steal_pointer(&nodes));
    }
}

typedef struct {
    int (*fn)(void *data);
    void *data;
    int ret;
    bool done;
} RunState;

static void coroutine_fn run_entry(void *data)
{
    RunState *r = data;

    engine_sync_begin();
    r->ret = r->fn(r->data);
    engine_sync_end();
    r->done = true;
}

static bool blocking_forbidden; /* main thread */

void block_forbid_blocking(bool on)
{
    blocking_forbidden = on;
}

int block_run(int (*fn)(void *data), void *data)
{
    RunState r = {.fn = fn, .data = data};

    if (in_coroutine()) {
        return fn(data);
    }
    g_assert(!blocking_forbidden);
    /*
     * With blocking I/O the coroutine is usually done here. Where it waits for another loop (a
     * CoMutex, a request in flight), this loop is turned until it is done.
     */
    coroutine_start(run_entry, &r);
    while (!r.done) {
        event_loop_iterate(event_loop_current(), -1);
    }
    return r.ret;
}
