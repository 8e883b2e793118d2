/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drains of a backend, of a subtree, of everything; and block_resize(), which needs one. A drain is
 * a section in time: what is made or attached during it is in it. Devices and nodes come and go
 * while a coroutine waits here, so each wait looks at the graph anew.
 */
#include <errno.h>
#include "base/error.h"
#include "base/trace.h"
#include "block/job.h"
#include "block/parking.h"
#include "core.h"

/* block_drain_all_begin() without their end yet. Main thread only. */
static unsigned all_drains;
/* What a trace point calls the section of everything: no node's name. */
#define DRAIN_ALL_NAME "*"
/* Sections that are on. Main thread only. */
static GPtrArray *sections;

unsigned block_drain_waiters;
static WaitList drain_waits;
static CoMutex changes;
static bool changes_closed; /* main thread */

struct BlockDrain {
    GPtrArray *list; /* the nodes of the section, with a reference to each */
    GHashTable *set; /* the same */
};

unsigned block_drained_all(void)
{
    return all_drains;
}

bool coroutine_fn block_changes_lock(GError **err)
{
    co_mutex_lock(&changes);
    if (changes_closed) {
        co_mutex_unlock(&changes);
        return error_set(err, "the virtual machine is being shut down");
    }
    return true;
}

void coroutine_fn block_changes_unlock(void)
{
    co_mutex_unlock(&changes);
}

void coroutine_fn block_changes_close(void)
{
    co_mutex_lock(&changes);
    changes_closed = true;
    co_mutex_unlock(&changes);
    block_nodes_closed_wait();
}

void block_drain_wake_all(void)
{
    wait_list_wake_all(&drain_waits);
}

/*
 * Waits until 'cond' holds, which may look at the graph: this is the main thread. The count comes
 * before the condition is evaluated: who counts a request out after that sees it, and wakes.
 */
#define DRAIN_WAIT_UNTIL(cond)                                                                     \
    do {                                                                                           \
        __atomic_add_fetch(&block_drain_waiters, 1, __ATOMIC_SEQ_CST);                             \
        wait_list_until(&drain_waits, cond);                                                       \
        __atomic_sub_fetch(&block_drain_waiters, 1, __ATOMIC_SEQ_CST);                             \
    } while (0)

/* Nodes: drained sections that contain them, and what follows for all above. */

static void edge_drain_begin(BlockEdge *e, GPtrArray *todo)
{
    e->drained = true;
    if (e->parent_node) {
        g_ptr_array_add(todo, e->parent_node);
    } else if (e->class->drain_begin) {
        e->class->drain_begin(e);
    }
}

static void edge_drain_end(BlockEdge *e, GPtrArray *todo)
{
    e->drained = false;
    if (e->parent_node) {
        g_ptr_array_add(todo, e->parent_node);
    } else if (e->class->drain_end) {
        e->class->drain_end(e);
    }
}

/* A node that is being opened may have no state yet. */
static void node_tell_drained(BlockNode *n, bool on)
{
    if (n->driver && n->driver->drained && n->state) {
        n->driver->drained(n, on);
    }
}

/*
 * Each node counts its sections and its drained children, and tells its parents when the first
 * comes and the last goes. Loops: a chain may have thousands of nodes.
 */
static void nodes_raise(GPtrArray *todo)
{
    while (todo->len) {
        BlockNode *n = g_ptr_array_steal_index_fast(todo, todo->len - 1);

        for (unsigned i = 0; !n->core->drains && i < n->core->parents->len; i++) {
            edge_drain_begin(n->core->parents->pdata[i], todo);
        }
        if (!n->core->drains++) {
            node_tell_drained(n, true);
        }
    }
}

static void nodes_lower(GPtrArray *todo)
{
    while (todo->len) {
        BlockNode *n = g_ptr_array_steal_index_fast(todo, todo->len - 1);

        g_assert(n->core->drains);
        if (!--n->core->drains) {
            node_tell_drained(n, false);
        }
        for (unsigned i = 0; !n->core->drains && i < n->core->parents->len; i++) {
            edge_drain_end(n->core->parents->pdata[i], todo);
        }
    }
}

static void node_raise(BlockNode *n)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, n);
    nodes_raise(todo);
}

static void node_lower(BlockNode *n)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, n);
    nodes_lower(todo);
}

/* Puts 'top' and all below into a section. */
static void section_add(BlockDrain *d, BlockNode *top)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, top);
    while (todo->len) {
        BlockNode *n = g_ptr_array_steal_index_fast(todo, todo->len - 1);

        if (!g_hash_table_add(d->set, n)) {
            continue;
        }
        g_ptr_array_add(d->list, block_node_ref(n));
        node_raise(n);
        for (unsigned i = 0; i < n->core->children->len; i++) {
            g_ptr_array_add(todo, ((BlockEdge *)n->core->children->pdata[i])->child);
        }
    }
}

void block_drain_edge_added(BlockEdge *e)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    if (e->child->core->drains) {
        edge_drain_begin(e, todo);
        nodes_raise(todo);
    }
    for (unsigned i = 0; e->parent_node && sections && i < sections->len; i++) {
        BlockDrain *d = sections->pdata[i];
        if (g_hash_table_contains(d->set, e->parent_node)) {
            section_add(d, e->child);
        }
    }
}

void block_drain_edge_removed(BlockEdge *e)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    if (e->drained) {
        edge_drain_end(e, todo);
        nodes_lower(todo);
    }
}

/* Whether no request is in these nodes, nor in any node or parent above. */
static bool nodes_quiet(GPtrArray *nodes)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    g_autoptr(GPtrArray) todo = g_ptr_array_copy(nodes, NULL, NULL);

    while (todo->len) {
        BlockNode *n = g_ptr_array_steal_index_fast(todo, todo->len - 1);

        if (!g_hash_table_add(seen, n)) {
            continue;
        }
        if (!block_node_quiet(n)) {
            return false;
        }
        for (unsigned i = 0; i < n->core->parents->len; i++) {
            BlockEdge *e = n->core->parents->pdata[i];
            if (e->parent_node) {
                g_ptr_array_add(todo, e->parent_node);
            } else if (e->class->busy && e->class->busy(e)) {
                return false;
            }
        }
    }
    return true;
}

BlockDrain *coroutine_fn block_drain_begin(BlockNode *top)
{
    BlockDrain *d = g_new(BlockDrain, 1);

    d->list = g_ptr_array_new();
    d->set = g_hash_table_new(NULL, NULL);
    if (!sections) {
        sections = g_ptr_array_new();
    }
    g_ptr_array_add(sections, d);
    trace(block_drain_begin, top->opts.node_name);
    section_add(d, top);
    DRAIN_WAIT_UNTIL(nodes_quiet(d->list));
    trace(block_drained, top->opts.node_name);
    return d;
}

void block_drain_end(BlockDrain *d)
{
    trace(block_drain_end, ((BlockNode *)d->list->pdata[0])->opts.node_name);
    g_ptr_array_remove(sections, d);
    if (!sections->len) {
        g_clear_pointer(&sections, g_ptr_array_unref);
    }
    for (unsigned i = 0; i < d->list->len; i++) {
        node_lower(d->list->pdata[i]);
    }
    for (unsigned i = 0; i < d->list->len; i++) {
        block_node_unref(d->list->pdata[i]);
    }
    g_ptr_array_unref(d->list);
    g_hash_table_unref(d->set);
    g_free(d);
}

/* Backends. */

void block_backend_hold(BlockBackend *blk)
{
    if (__atomic_fetch_add(&blk->quiesce, 1, __ATOMIC_SEQ_CST) == 0) {
        block_backend_limits_lift(blk);
    }
}

static void coroutine_fn backend_wait(BlockBackend *blk)
{
    wait_list_until(&blk->drained, __atomic_load_n(&blk->in_flight, __ATOMIC_SEQ_CST) == 0);
}

void coroutine_fn block_backend_drain_begin(BlockBackend *blk)
{
    block_backend_hold(blk);
    backend_wait(blk);
}

void block_backend_drain_end(BlockBackend *blk)
{
    BlockRequest *held;

    g_mutex_lock(&blk->lock);
    if (__atomic_sub_fetch(&blk->quiesce, 1, __ATOMIC_SEQ_CST)) {
        g_mutex_unlock(&blk->lock);
        return;
    }
    held = g_steal_pointer(&blk->held);
    g_mutex_unlock(&blk->lock);
    block_backend_limits_unlift(blk);
    wait_list_wake_all(&blk->released);
    block_release_held(held);
}

static bool all_quiet(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);

    for (unsigned i = 0; i < list->len; i++) {
        if (block_backend_in_flight(list->pdata[i])) {
            return false;
        }
    }
    return nodes_quiet(block_nodes());
}

/* Stops all of them before it waits: a drain takes as long as the slowest request, not the sum. */
void coroutine_fn block_drain_all_begin(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    GPtrArray *nodes = block_nodes();

    trace(block_drain_begin, DRAIN_ALL_NAME);
    all_drains++;
    for (unsigned i = 0; i < list->len; i++) {
        block_backend_hold(list->pdata[i]); /* those without a medium, too */
    }
    for (unsigned i = 0; i < nodes->len; i++) {
        node_raise(nodes->pdata[i]);
    }
    DRAIN_WAIT_UNTIL(all_quiet());
    trace(block_drained, DRAIN_ALL_NAME);
}

void block_drain_all_end(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    GPtrArray *nodes = block_nodes();

    g_assert(all_drains);
    trace(block_drain_end, DRAIN_ALL_NAME);
    all_drains--;
    for (unsigned i = 0; i < nodes->len; i++) {
        node_lower(nodes->pdata[i]);
    }
    for (unsigned i = 0; i < list->len; i++) {
        block_backend_drain_end(list->pdata[i]);
    }
}

static bool any_waiting(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        BlockBackend *blk = list->pdata[i];
        if (__atomic_load_n(&blk->waiting, __ATOMIC_SEQ_CST)) {
            return true;
        }
    }
    return false;
}

void coroutine_fn block_settle_all(void)
{
    bool again;

    do {
        g_autoptr(GPtrArray) list = block_backend_list(NULL);

        for (unsigned i = 0; i < list->len; i++) {
            BlockBackend *blk = list->pdata[i];
            wait_list_until(&blk->settled, __atomic_load_n(&blk->waiting, __ATOMIC_SEQ_CST) == 0);
        }
        block_drain_all_begin();
        /* Another drain has held a request meanwhile, or this one has held a second step. */
        again = any_waiting(list);
        block_drain_all_end();
    } while (again);
}

int coroutine_fn block_flush_all(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    int result = 0;

    for (unsigned i = 0; i < list->len; i++) {
        BlockBackend *blk = list->pdata[i];
        BlockNode *root = blk->root;
        int ret = 0;

        if (root) {
            block_node_ref(root);
            ret = block_flush(root);
            block_node_unref(root);
        }
        if (ret < 0 && result == 0) {
            result = ret;
        }
    }
    return result;
}

/* The user that block_resize() is, while it runs. */
static char *resize_describe(BlockEdge *e)
{
    return g_strdup("an unnamed block device");
}

static const BlockParentClass resize_class = {.describe = resize_describe, .stays = true};

static int coroutine_fn resize_alone(BlockNode *n, uint64_t size, GError **err)
{
    BlockDrain *drain = block_drain_begin(n);
    BlockEdge *user;
    int ret = -EBUSY;

    /* After the waits: an overlay or a job, which relies on this length, may have come meanwhile.
     */
    if (job_of_node(n)) {
        block_drain_end(drain);
        error_set(err, "Device '%s' is in use", job_device_or_node(n));
        return -EBUSY;
    }
    user = block_edge_attach(&resize_class, NULL, n, "root",
                             (BlockPerms){BLOCK_PERM_RESIZE, BLOCK_PERM_ALL}, NULL, err);
    if (user) {
        ret = block_truncate(n, size, err);
        block_edge_detach(user);
    }
    block_drain_end(drain);
    return ret;
}

int coroutine_fn block_resize(BlockNode *n, uint64_t size, GError **err)
{
    int ret = -ESHUTDOWN;

    block_node_ref(n);
    if (block_changes_lock(err)) {
        ret = resize_alone(n, size, err);
        block_changes_unlock();
    }
    block_node_unref(n);
    return ret;
}
