/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Edges, and changes of the graph. A step is carried out when it is added to a change, and noted.
 * block_change_commit() checks what came of all steps, and undoes them where it must not be. No
 * step yields, so nobody sees a change that is half done.
 */
#include "base/error.h"
#include "base/trace.h"
#include "base/util.h"
#include "core.h"
#include "open.h"

typedef enum { STEP_ATTACH, STEP_POINT, STEP_DETACH, STEP_PERMS } StepKind;

typedef struct {
    StepKind kind;
    BlockEdge *edge;
    BlockNode *old; /* DETACH, POINT: the former child, with a reference */
    BlockPerms old_perms;
} Step;

struct BlockChange {
    GArray *steps;
    GPtrArray *touched; /* nodes whose users have changed */
};

char *block_edge_describe(BlockEdge *e)
{
    if (e->parent_node) {
        return g_strdup_printf("node '%s'", e->parent_node->opts.node_name);
    }
    return e->class->describe(e);
}

bool block_node_has_child(BlockNode *n, const char *name)
{
    return block_node_edge(n, name) != NULL;
}

BlockEdge *block_node_edge(BlockNode *n, const char *name)
{
    for (unsigned i = 0; i < n->core->children->len; i++) {
        BlockEdge *e = n->core->children->pdata[i];
        if (g_str_equal(e->name, name)) {
            return e;
        }
    }
    return NULL;
}

bool block_node_has_node_above(BlockNode *n)
{
    for (unsigned i = 0; i < n->core->parents->len; i++) {
        if (((BlockEdge *)n->core->parents->pdata[i])->parent_node) {
            return true;
        }
    }
    return false;
}

bool block_node_quiet(BlockNode *n)
{
    return __atomic_load_n(&n->in_flight, __ATOMIC_SEQ_CST) == 0 &&
           __atomic_load_n(&n->core->exclusive_count, __ATOMIC_SEQ_CST) == 0;
}

/* What a trace point calls the parent; NULL: it has no name. */
static const char *edge_parent_label(BlockEdge *e)
{
    if (e->parent_node) {
        return e->parent_node->opts.node_name;
    }
    return e->class->name ? e->class->name(e) : NULL;
}

static void edge_link(BlockEdge *e, BlockNode *child)
{
    e->child = block_node_ref(child);
    child->core->leaving += e->class && e->class->let_go;
    g_ptr_array_add(child->core->parents, e);
    if (e->slot) {
        *e->slot = child;
    }
    __atomic_add_fetch(&child->intercepts, e->intercepts, __ATOMIC_SEQ_CST);
}

static BlockNode *edge_unlink_child(BlockEdge *e)
{
    BlockNode *child = g_steal_pointer(&e->child);

    child->core->leaving -= e->class && e->class->let_go;
    g_ptr_array_remove(child->core->parents, e);
    if (e->slot) {
        *e->slot = NULL;
    }
    __atomic_sub_fetch(&child->intercepts, e->intercepts, __ATOMIC_SEQ_CST);
    return child;
}

static void edge_link_parent(BlockEdge *e)
{
    if (e->parent_node) {
        g_ptr_array_add(e->parent_node->core->children, e);
    }
}

static void edge_unlink_parent(BlockEdge *e)
{
    if (e->parent_node) {
        g_ptr_array_remove(e->parent_node->core->children, e);
    }
}

BlockNode *block_edge_unlink(BlockEdge *e)
{
    BlockNode *child;

    trace(block_edge_detach, e->child->opts.node_name, edge_parent_label(e), e->name);
    block_drain_edge_removed(e);
    child = edge_unlink_child(e);
    edge_unlink_parent(e);
    g_free(e);
    return child;
}

BlockChange *block_change_new(void)
{
    BlockChange *c = g_new0(BlockChange, 1);

    c->steps = g_array_new(FALSE, TRUE, sizeof(Step));
    c->touched = g_ptr_array_new();
    return c;
}

void block_change_touch(BlockChange *c, BlockNode *n)
{
    if (!g_ptr_array_find(c->touched, n, NULL)) {
        g_ptr_array_add(c->touched, n);
    }
}

static BlockEdge *change_attach(BlockChange *c, BlockEdge init, BlockNode *child)
{
    BlockEdge *e = g_new(BlockEdge, 1);
    Step step = {.kind = STEP_ATTACH, .edge = e};

    *e = init;
    trace(block_edge_attach, child->opts.node_name, edge_parent_label(e), e->name);
    edge_link_parent(e);
    edge_link(e, child);
    block_drain_edge_added(e);
    g_array_append_val(c->steps, step);
    block_change_touch(c, e->parent_node ? e->parent_node : child);
    return e;
}

BlockEdge *block_change_attach(BlockChange *c, const BlockParentClass *class, void *parent,
                               BlockNode *child, const char *name, BlockPerms perms,
                               BlockNode **slot)
{
    BlockEdge e = {.class = class, .parent = parent, .name = name, .perms = perms, .slot = slot};

    return change_attach(c, e, child);
}

BlockEdge *block_change_attach_node(BlockChange *c, BlockNode *parent, BlockNode *child,
                                    const char *name, unsigned role, BlockNode **slot)
{
    BlockEdge e = {.parent = parent,
                   .parent_node = parent,
                   .name = name,
                   .role = role,
                   .perms = {0, BLOCK_PERM_ALL},
                   .slot = slot};

    return change_attach(c, e, child);
}

/* Drains: the old child's end for the parent only once the new one's have begun. */
static void edge_move(BlockEdge *e, BlockNode *child)
{
    BlockEdge before = *e;

    trace(block_edge_move, e->child->opts.node_name, child->opts.node_name, edge_parent_label(e),
          e->name);
    edge_unlink_child(e);
    edge_link(e, child);
    e->drained = false;
    block_drain_edge_added(e);
    if (before.drained) {
        block_drain_edge_removed(&before);
    }
}

/*
 * Whether no request of the parent can be in flight through the edge. Of a parent that is held the
 * count says nothing: another thread's request counts itself in before it sees that it has to wait.
 */
static bool edge_may_move(BlockEdge *e)
{
    if (e->parent_node) {
        return __atomic_load_n(&e->parent_node->quiesce, __ATOMIC_SEQ_CST) ||
               block_node_quiet(e->parent_node);
    }
    return e->drained || !e->class->busy || !e->class->busy(e);
}

void block_change_point(BlockChange *c, BlockEdge *e, BlockNode *child)
{
    Step step = {.kind = STEP_POINT, .edge = e, .old = e->child};

    g_assert(edge_may_move(e));
    edge_move(e, child);
    g_array_append_val(c->steps, step);
    block_change_touch(c, step.old);
    block_change_touch(c, e->parent_node ? e->parent_node : child);
}

void block_change_detach(BlockChange *c, BlockEdge *e)
{
    Step step = {.kind = STEP_DETACH, .edge = e};

    trace(block_edge_detach, e->child->opts.node_name, edge_parent_label(e), e->name);
    block_drain_edge_removed(e);
    step.old = edge_unlink_child(e);
    edge_unlink_parent(e);
    g_array_append_val(c->steps, step);
    block_change_touch(c, step.old);
}

void block_change_perms(BlockChange *c, BlockEdge *e, BlockPerms perms)
{
    Step step = {.kind = STEP_PERMS, .edge = e, .old_perms = e->perms};

    e->perms = perms;
    g_array_append_val(c->steps, step);
    block_change_touch(c, e->child);
}

/* All nodes below, with 'n'. A loop: a backing chain may have thousands of nodes. */
static GHashTable *nodes_below(BlockNode *n)
{
    GHashTable *seen = g_hash_table_new(NULL, NULL);
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, n);
    while (todo->len) {
        n = g_ptr_array_steal_index_fast(todo, todo->len - 1);
        if (!g_hash_table_add(seen, n)) {
            continue;
        }
        for (unsigned i = 0; i < n->core->children->len; i++) {
            BlockEdge *e = n->core->children->pdata[i];
            g_ptr_array_add(todo, e->child);
        }
    }
    return seen;
}

static BlockEdge *edge_that_lets_go(const BlockNode *n)
{
    for (unsigned i = 0; n->core->leaving && i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];
        if (e->class && e->class->let_go) {
            return e;
        }
    }
    return NULL;
}

void block_node_left_alone(BlockNode *n)
{
    for (unsigned i = 0; i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];
        e->class->left_alone(e);
    }
}

static BlockEdge *edge_below_that_lets_go(BlockNode *n)
{
    g_autoptr(GHashTable) below = nodes_below(n);
    BlockEdge *found = NULL;
    GHashTableIter it;
    void *node;

    g_hash_table_iter_init(&it, below);
    while (!found && g_hash_table_iter_next(&it, &node, NULL)) {
        found = edge_that_lets_go(node);
    }
    return found;
}

bool block_node_has_let_go(BlockNode *n)
{
    return !edge_below_that_lets_go(n);
}

bool coroutine_fn block_node_let_go(BlockNode *n, GError **err)
{
    BlockEdge *e;
    bool ok = true;

    block_node_ref(n);
    while (ok && (e = edge_below_that_lets_go(n))) {
        ok = e->class->let_go(e, err);
    }
    block_node_unref(n);
    return ok;
}

void block_change_replace(BlockChange *c, BlockNode *from, BlockNode *to)
{
    g_autoptr(GHashTable) below = nodes_below(to);
    g_autoptr(GPtrArray) parents = g_ptr_array_copy(from->core->parents, NULL, NULL);

    for (unsigned i = 0; i < parents->len; i++) {
        BlockEdge *e = parents->pdata[i];
        if (e->parent_node ? !g_hash_table_contains(below, e->parent_node) : !e->class->stays) {
            block_change_point(c, e, to);
        }
    }
}

static void step_undo(Step *s)
{
    BlockNode *child;

    switch (s->kind) {
    case STEP_ATTACH:
        child = block_edge_unlink(s->edge);
        /* The caller of block_change_attach() has a reference: this is not the last. */
        block_node_unref(child);
        break;
    case STEP_POINT:
        child = s->edge->child;
        edge_move(s->edge, s->old);
        block_node_unref(s->old); /* the step's, edge_move() has taken another */
        block_node_unref(child);
        break;
    case STEP_DETACH:
        edge_link_parent(s->edge);
        edge_link(s->edge, s->old);
        block_drain_edge_added(s->edge);
        block_node_unref(s->old);
        break;
    case STEP_PERMS:
        s->edge->perms = s->old_perms;
        break;
    }
}

static void change_free(BlockChange *c)
{
    g_array_unref(c->steps);
    g_ptr_array_unref(c->touched);
    g_free(c);
}

static bool change_makes_circle(BlockChange *c, GError **err)
{
    for (unsigned i = 0; i < c->steps->len; i++) {
        Step *s = &g_array_index(c->steps, Step, i);
        BlockNode *parent = s->edge->parent_node;
        g_autoptr(GHashTable) below = NULL;

        if (!parent || !s->edge->child || (s->kind != STEP_ATTACH && s->kind != STEP_POINT)) {
            continue;
        }
        if (!parent->core->parents->len) {
            continue; /* nothing leads to it */
        }
        below = nodes_below(s->edge->child);
        if (g_hash_table_contains(below, parent)) {
            error_set(err, "Making '%s' a %s child of '%s' would create a cycle",
                      s->edge->child->opts.node_name, s->edge->name, parent->opts.node_name);
            return true;
        }
    }
    return false;
}

static unsigned node_depth(BlockNode *n)
{
    unsigned depth = 0;

    for (unsigned i = 0; i < n->core->children->len; i++) {
        BlockEdge *e = n->core->children->pdata[i];
        /* block_preadv_backing() walks the chain in a loop, from the first backing file on. */
        bool looped = e->role & BLOCK_ROLE_BACKING && e->child->backing;

        depth = MAX(depth, e->child->core->depth + !looped);
    }
    return depth;
}

/* Sets the depth of 'n' and of what is above, as far as it changes. Returns the greatest. */
static unsigned update_depth(BlockNode *n)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();
    unsigned greatest = 0;

    g_ptr_array_add(todo, n);
    while (todo->len && greatest < BLOCK_MAX_NESTING) {
        unsigned depth;

        n = g_ptr_array_steal_index_fast(todo, todo->len - 1);
        depth = node_depth(n);
        greatest = MAX(greatest, depth);
        for (unsigned i = 0; depth != n->core->depth && i < n->core->parents->len; i++) {
            BlockEdge *e = n->core->parents->pdata[i];
            if (e->parent_node) {
                g_ptr_array_add(todo, e->parent_node);
            }
        }
        n->core->depth = depth;
    }
    return greatest;
}

static bool edge_is_frozen(const BlockEdge *e, GError **err)
{
    g_autofree char *by = e->frozen_by ? block_edge_describe(e->frozen_by) : NULL;

    if (by) {
        error_set(err, "Cannot change the '%s' link of '%s': %s relies on it", e->name,
                  e->parent_node->opts.node_name, by);
    }
    return by;
}

static bool change_of_frozen(BlockChange *c, GError **err)
{
    for (unsigned i = 0; i < c->steps->len; i++) {
        const Step *s = &g_array_index(c->steps, Step, i);

        if ((s->kind == STEP_POINT || s->kind == STEP_DETACH) && edge_is_frozen(s->edge, err)) {
            return true;
        }
    }
    return false;
}

static bool change_too_deep(BlockChange *c, GError **err)
{
    for (unsigned i = 0; i < c->touched->len; i++) {
        if (update_depth(c->touched->pdata[i]) >= BLOCK_MAX_NESTING) {
            error_set(err, "More than %d block drivers are stacked", BLOCK_MAX_NESTING);
            return true;
        }
    }
    return false;
}

void block_change_abort(BlockChange *c)
{
    for (unsigned i = c->steps->len; i-- > 0;) {
        step_undo(&g_array_index(c->steps, Step, i));
    }
    for (unsigned i = 0; i < c->touched->len; i++) {
        update_depth(c->touched->pdata[i]);
    }
    change_free(c);
}

static void change_finish(BlockChange *c)
{
    for (unsigned i = 0; i < c->steps->len; i++) {
        Step *s = &g_array_index(c->steps, Step, i);
        BlockEdge *e = s->edge;

        if (s->kind != STEP_POINT || !e->child) {
            continue;
        }
        if (e->parent_node) {
            block_node_child_changed(e->child);
            block_node_resized(e->parent_node);
        } else if (e->class->resized) {
            e->class->resized(e);
        }
    }
}

/* A detached child's options no longer follow those of the former parent. */
static void edge_disinherit(BlockEdge *e, BlockNode *child)
{
    if (e->parent_node && child->core->inherits_from == e->parent_node) {
        child->core->inherits_from = NULL;
    }
}

bool coroutine_fn block_change_commit(BlockChange *c, GError **err)
{
    BlockPermsChange *perms = NULL;

    if (!change_of_frozen(c, err) && !change_makes_circle(c, err) && !change_too_deep(c, err)) {
        perms = block_perms_prepare(c->touched, err);
    }
    if (!perms) {
        block_change_abort(c);
        return false;
    }
    block_perms_commit(perms);
    change_finish(c);
    for (unsigned i = 0; i < c->steps->len; i++) {
        Step *s = &g_array_index(c->steps, Step, i);
        if (s->kind == STEP_DETACH) {
            edge_disinherit(s->edge, s->old);
            g_free(s->edge);
        }
        block_node_unref(s->old);
    }
    change_free(c);
    return true;
}

BlockEdge *block_edge_attach(const BlockParentClass *class, void *parent, BlockNode *child,
                             const char *name, BlockPerms perms, BlockNode **slot, GError **err)
{
    BlockChange *c = block_change_new();
    BlockEdge *e = block_change_attach(c, class, parent, child, name, perms, slot);

    return block_change_commit(c, err) ? e : NULL;
}

BlockEdge *block_edge_attach_node(BlockNode *parent, BlockNode *child, const char *name,
                                  unsigned role, BlockNode **slot, GError **err)
{
    BlockChange *c = block_change_new();
    BlockEdge *e = block_change_attach_node(c, parent, child, name, role, slot);

    return block_change_commit(c, err) ? e : NULL;
}

void block_edge_detach(BlockEdge *e)
{
    BlockChange *c;

    if (e) {
        c = block_change_new();
        block_change_detach(c, e);
        if (!block_change_commit(c, NULL)) {
            g_assert_not_reached(); /* giving up permissions is no conflict */
        }
    }
}

bool block_node_hold(BlockNode *n, BlockPerms perms, GError **err)
{
    g_autoptr(GPtrArray) starts = g_ptr_array_new();
    BlockPerms old = n->core->opener;
    BlockPermsChange *change;

    n->core->opener = perms;
    g_ptr_array_add(starts, n);
    change = block_perms_prepare(starts, err);
    if (!change) {
        n->core->opener = old;
        return false;
    }
    block_perms_commit(change);
    return true;
}

bool block_edge_freeze(BlockEdge *e, BlockEdge *by, GError **err)
{
    g_assert(e->parent_node);
    if (edge_is_frozen(e, err)) {
        return false;
    }
    e->frozen_by = by;
    return true;
}

void block_edge_thaw(BlockEdge *e)
{
    e->frozen_by = NULL;
}

void block_edge_intercept_begin(BlockEdge *e)
{
    e->intercepts++;
    __atomic_add_fetch(&e->child->intercepts, 1, __ATOMIC_SEQ_CST);
}

void block_edge_intercept_end(BlockEdge *e)
{
    g_assert(e->intercepts);
    e->intercepts--;
    __atomic_sub_fetch(&e->child->intercepts, 1, __ATOMIC_SEQ_CST);
}

/* Whether the parent's length is the child's. */
static bool edge_passes_length(const BlockEdge *e)
{
    return e->role & BLOCK_ROLE_FILTERED || e->role == BLOCK_ROLE_DATA;
}

void block_node_resized(BlockNode *n)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, n);
    while (todo->len) {
        n = g_ptr_array_steal_index_fast(todo, todo->len - 1);
        block_dirty_bitmaps_resized(n);
        for (unsigned i = 0; i < n->core->parents->len; i++) {
            BlockEdge *e = n->core->parents->pdata[i];
            if (e->parent_node && edge_passes_length(e)) {
                g_ptr_array_add(todo, e->parent_node);
            } else if (!e->parent_node && e->class->resized) {
                e->class->resized(e);
            }
        }
    }
}

void block_node_child_changed(BlockNode *child)
{
    g_autoptr(GPtrArray) todo = g_ptr_array_new();

    g_ptr_array_add(todo, child);
    while (todo->len) {
        child = g_ptr_array_steal_index_fast(todo, todo->len - 1);
        for (unsigned i = 0; i < child->core->parents->len; i++) {
            BlockNode *n = ((BlockEdge *)child->core->parents->pdata[i])->parent_node;
            if (n && n->driver->child_changed) {
                n->driver->child_changed(n);
                g_ptr_array_add(todo, n);
            }
        }
    }
}

/* The topmost parent of these nodes that is not barred yet: what is above uses what is below. */
static BlockNode *parent_to_bar(const GPtrArray *nodes, GPtrArray *barred)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new(), order = NULL;

    for (unsigned i = 0; i < nodes->len; i++) {
        GPtrArray *edges = ((BlockNode *)nodes->pdata[i])->core->parents;

        for (unsigned k = 0; k < edges->len; k++) {
            BlockNode *parent = ((BlockEdge *)edges->pdata[k])->parent_node;

            if (parent && !g_ptr_array_find(barred, parent, NULL)) {
                g_ptr_array_add(found, parent);
            }
        }
    }
    order = block_nodes_in_order(found);
    return order->len ? order->pdata[0] : NULL;
}

GPtrArray *coroutine_fn block_bar_parents(BlockNode *n)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    g_ptr_array_add(nodes, n);
    return block_bar_parents_of(nodes);
}

GPtrArray *coroutine_fn block_bar_parents_of(const GPtrArray *nodes)
{
    GPtrArray *barred = g_ptr_array_new();
    BlockNode *parent;

    /* Others may come while this waits. */
    while ((parent = parent_to_bar(nodes, barred))) {
        g_ptr_array_add(barred, block_node_ref(parent));
        block_node_bar(parent);
    }
    return barred;
}

void block_unbar_parents(GPtrArray *barred)
{
    for (unsigned i = barred->len; i-- > 0;) {
        block_node_unbar(barred->pdata[i]);
    }
    for (unsigned i = 0; i < barred->len; i++) {
        block_node_unref(barred->pdata[i]);
    }
    g_ptr_array_unref(barred);
}

static bool coroutine_fn swap_alone(BlockNode *filter, BlockNode *node, BlockNode *from,
                                    BlockNode *to, GError **err)
{
    BlockDrain *above = block_drain_begin(filter), *below = block_drain_begin(node);
    GPtrArray *barred = block_bar_parents(from);
    BlockChange *c = block_change_new();
    bool ok;

    block_change_replace(c, from, to);
    ok = block_change_commit(c, err);
    block_unbar_parents(barred);
    block_drain_end(below);
    block_drain_end(above);
    return ok;
}

static bool coroutine_fn graph_swap(BlockNode *filter, BlockNode *node, BlockNode *from,
                                    BlockNode *to, GError **err)
{
    bool ok = false;

    /* The waits: when they are over, neither node need be below the other any more. */
    block_node_ref(filter);
    block_node_ref(node);
    if (block_changes_lock(err)) {
        ok = swap_alone(filter, node, from, to, err);
        block_changes_unlock();
    }
    block_node_unref(node);
    block_node_unref(filter);
    return ok;
}

bool coroutine_fn block_insert_above(BlockNode *filter, BlockNode *node, GError **err)
{
    return graph_swap(filter, node, node, filter, err);
}

bool coroutine_fn block_remove_filter(BlockNode *filter, BlockNode *node, GError **err)
{
    return graph_swap(filter, node, filter, node, err);
}
