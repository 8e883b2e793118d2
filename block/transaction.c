/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transactions of actions, and the table of what there is. */
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "action.h"
#include "core.h"

struct BlockTransaction {
    GPtrArray *actions; /* BlockAction that were begun */
    GPtrArray *drains;
    GPtrArray *moved;  /* nodes whose parents get another child */
    GHashTable *above; /* node -> the node that comes into its place */
    bool grouped;
    JobTxn *jobs; /* then; made for the first of them */
};

static bool coroutine_fn abort_prepare(BlockAction *a, GError **err)
{
    return error_set(err, "Transaction aborted using Abort action");
}

static const PropertyShape abort_shape = {.name = "Abort"};
static const BlockActionClass action_abort = {
    .name = "abort", .args = &abort_shape, .size = sizeof(BlockAction), .prepare = abort_prepare};

static const BlockActionClass *const classes[] = {
    &action_abort,
    &block_action_bitmap_add,
    &block_action_bitmap_clear,
    &block_action_bitmap_disable,
    &block_action_bitmap_enable,
    &block_action_bitmap_merge,
    &block_action_bitmap_remove,
    &block_action_blockdev_backup,
    &block_action_drive_backup,
    &block_action_snapshot,
    &block_action_snapshot_internal,
    &block_action_snapshot_sync,
};

static const BlockActionClass *class_find(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
        if (g_str_equal(classes[i]->name, name)) {
            return classes[i];
        }
    }
    return NULL;
}

const Property *block_action_args(const char *type)
{
    const BlockActionClass *class = class_find(type);

    return class ? class->args->members : NULL;
}

/* {"type": NAME, "data": {...}} */
static ShapeVariant action_variant(unsigned i)
{
    static Property wrappers[ARRAY_SIZE(classes)][2];

    if (i >= ARRAY_SIZE(classes)) {
        return (ShapeVariant){NULL};
    }
    wrappers[i][0] = (Property)MEMBER("data", PROP_TREE, .shape = classes[i]->args);
    return (ShapeVariant){classes[i]->name, wrappers[i]};
}

const PropertyShape block_action_shape = {
    .name = "TransactionAction", .tag = "type", .variant = action_variant};

static const char *const completion_names[] = {"individual", "grouped", NULL};
static const Property transaction_properties[] = {
    MAYBE("completion-mode", PROP_ENUM, .names = completion_names), PROP_END};
const PropertyShape block_transaction_properties_shape = {.name = "TransactionProperties",
                                                          .members = transaction_properties};

void coroutine_fn block_action_drain(BlockAction *a, BlockNode *n)
{
    g_ptr_array_add(a->txn->drains, block_drain_begin(n));
}

JobTxn *block_action_jobs(BlockAction *a)
{
    BlockTransaction *t = a->txn;

    if (t->grouped && !t->jobs) {
        t->jobs = job_txn_new();
    }
    return t->jobs;
}

void block_action_puts_above(BlockAction *a, BlockNode *below, BlockNode *above)
{
    g_hash_table_insert(a->txn->above, below, above);
    block_action_moves_parents(a, below);
}

void block_action_moves_parents(BlockAction *a, BlockNode *n)
{
    g_ptr_array_add(a->txn->moved, n);
}

static BlockNode *action_lookup(BlockAction *a, const char *device, const char *node_name,
                                GError **err)
{
    BlockNode *n = block_lookup_node(device, node_name, err), *above;
    bool by_name = n && node_name && g_str_equal(n->opts.node_name, node_name);

    /* A node's own name stays with the node. */
    while (n && !by_name && (above = g_hash_table_lookup(a->txn->above, n))) {
        n = above;
    }
    return n;
}

BlockNode *coroutine_fn block_action_node(BlockAction *a, const char *device, const char *node_name,
                                          GError **err)
{
    for (;;) {
        BlockNode *n = action_lookup(a, device, node_name, err);
        BlockDrain *drain = n ? block_drain_begin(n) : NULL;

        /* The wait: the drive may have got another medium. The section has kept the node. */
        if (!n || action_lookup(a, device, node_name, NULL) == n) {
            if (drain) {
                g_ptr_array_add(a->txn->drains, drain);
            }
            return n;
        }
        block_drain_end(drain);
    }
}

static void action_free(void *data)
{
    BlockAction *a = data;

    json_decref(a->args);
    g_free(a);
}

static bool coroutine_fn action_begin(BlockTransaction *t, const char *type, json_t *args,
                                      GError **err)
{
    const BlockActionClass *class = class_find(type);
    BlockAction *a = g_malloc0(class->size);

    a->class = class;
    a->txn = t;
    a->args = json_incref(args);
    g_ptr_array_add(t->actions, a);
    if (t->grouped && !class->is_job && class != &action_abort) {
        return error_set(
            err, "Action '%s' does not support Transaction property completion-mode = grouped",
            class->name);
    }
    return class->prepare(a, err);
}

/* Without a wait: from the first change() to the commit nobody else sees or changes the graph. */
static bool coroutine_fn transaction_change_all(BlockTransaction *t, GError **err)
{
    BlockChange *c = block_change_new();

    for (unsigned i = 0; i < t->actions->len; i++) {
        BlockAction *a = t->actions->pdata[i];

        if (a->class->change && !a->class->change(a, c, err)) {
            block_change_abort(c);
            return false;
        }
    }
    return block_change_commit(c, err);
}

static bool coroutine_fn transaction_change(BlockTransaction *t, GError **err)
{
    GPtrArray *barred = block_bar_parents_of(t->moved);
    bool ok = transaction_change_all(t, err);

    block_unbar_parents(barred);
    return ok;
}

static void coroutine_fn transaction_end(BlockTransaction *t, bool ok)
{
    for (unsigned i = 0; ok && i < t->actions->len; i++) {
        BlockAction *a = t->actions->pdata[i];
        if (a->class->commit) {
            a->class->commit(a);
        }
    }
    for (unsigned i = t->actions->len; !ok && i-- > 0;) {
        BlockAction *a = t->actions->pdata[i];
        if (a->class->abort) {
            a->class->abort(a);
        }
    }
}

static void coroutine_fn transaction_clean(BlockTransaction *t)
{
    for (unsigned i = 0; i < t->drains->len; i++) {
        block_drain_end(t->drains->pdata[i]);
    }
    block_changes_unlock();
    for (unsigned i = 0; i < t->actions->len; i++) {
        BlockAction *a = t->actions->pdata[i];
        if (a->class->clean) {
            a->class->clean(a);
        }
    }
    if (t->jobs) {
        job_txn_unref(t->jobs);
    }
    g_ptr_array_unref(t->actions);
    g_ptr_array_unref(t->drains);
    g_ptr_array_unref(t->moved);
    g_hash_table_unref(t->above);
}

bool coroutine_fn block_transaction(json_t *actions, json_t *properties, GError **err)
{
    BlockTransaction t = {.grouped =
                              g_strcmp0(json_str(properties, "completion-mode"), "grouped") == 0};
    json_t *action;
    size_t i;
    bool ok = true;

    if (!block_changes_lock(err)) {
        return false;
    }
    t.actions = g_ptr_array_new_with_free_func(action_free);
    t.drains = g_ptr_array_new();
    t.moved = g_ptr_array_new();
    t.above = g_hash_table_new(NULL, NULL);
    json_array_foreach(actions, i, action)
    {
        ok = ok && action_begin(&t, json_str(action, "type"), json_object_get(action, "data"), err);
    }
    ok = ok && transaction_change(&t, err);
    transaction_end(&t, ok);
    transaction_clean(&t);
    return ok;
}

bool coroutine_fn block_action_run(const char *type, json_t *args, GError **err)
{
    json_auto_t *actions = json_pack("[{s:s,s:O}]", "type", type, "data", args);

    return block_transaction(actions, NULL, err);
}
