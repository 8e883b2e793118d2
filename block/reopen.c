/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Other options for live nodes. Nodes that were opened as a part of another one's tree inherit its
 * options, and so are reopened with it.
 */
#include <string.h>
#include "base/error.h"
#include "base/util.h"
#include "core.h"

typedef struct {
    BlockNode *node; /* with a reference */
    BlockDrain *drain;
    json_t *config;        /* what is not parsed yet */
    json_t *tree;          /* the whole */
    bool heir;             /* of a node before it in the list */
    BlockNodeOptions opts; /* new; after the change: old */
    bool read_only;        /* likewise */
    void *props;
    bool barred;            /* block_node_bar() */
    bool prepared;          /* driver->reopen_prepare() has succeeded */
    bool other_backing;     /* 'backing' is to replace the backing file */
    BlockNode *backing;     /* with a reference; NULL: none */
    BlockNode *old_backing; /* in the section, which has a reference */
} Reopen;

static void reopen_unbar(Reopen *r)
{
    if (r->barred) {
        r->barred = false;
        block_node_unbar(r->node);
    }
}

static void reopen_free(void *data)
{
    Reopen *r = data;

    reopen_unbar(r);
    if (r->drain) {
        block_drain_end(r->drain);
    }
    if (r->props) {
        if (r->node->driver->props) {
            properties_clear(r->node->driver->props, r->props);
        }
        g_free(r->props);
    }
    block_node_options_clear(&r->opts);
    json_decref(r->config);
    json_decref(r->tree);
    block_node_unref(r->backing);
    block_node_unref(r->node);
    g_free(r);
}

static bool reopen_add(GPtrArray *list, BlockNode *n, json_t *config, bool heir)
{
    Reopen *r;

    for (unsigned i = 0; i < list->len; i++) {
        r = list->pdata[i];
        if (r->node == n) {
            return false;
        }
    }
    r = g_new0(Reopen, 1);
    r->node = block_node_ref(n);
    r->config = json_deep_copy(config);
    r->tree = json_deep_copy(config);
    r->heir = heir;
    g_ptr_array_add(list, r);
    return true;
}

/*
 * A child's place in the options: under its name, or for one of several ("extents.0") in the list
 * or the object of that name.
 */
static json_t *reopen_child_get(const json_t *tree, const char *name)
{
    const char *dot = strchr(name, '.');
    g_autofree char *key = g_strndup(name, dot ? dot - name : strlen(name));
    json_t *value = json_object_get(tree, key);

    if (!dot) {
        return value;
    }
    return json_is_array(value) ? json_array_get(value, g_ascii_strtoull(dot + 1, NULL, 10))
                                : json_object_get(value, dot + 1);
}

static void reopen_child_put(json_t *tree, const char *name, json_t *value)
{
    const char *dot = strchr(name, '.');
    g_autofree char *key = g_strndup(name, dot ? dot - name : strlen(name));
    json_t *list = dot ? json_object_get(tree, key) : NULL;

    if (!dot) {
        json_object_set_new(tree, name, value);
    } else if (json_is_array(list)) {
        json_array_set_new(list, g_ascii_strtoull(dot + 1, NULL, 10), value);
    } else {
        if (!json_is_object(list)) {
            list = json_object();
            json_object_set_new(tree, key, list);
        }
        json_object_set_new(list, dot + 1, value);
    }
}

/* Puts the names of the children that stay where the tree does not name any. */
static bool reopen_children(Reopen *r, GError **err)
{
    BlockNode *n = r->node;

    for (unsigned i = 0; i < n->core->children->len; i++) {
        BlockEdge *e = n->core->children->pdata[i];
        json_t *value = reopen_child_get(r->config, e->name);

        if (!value && e->role & BLOCK_ROLE_BACKING) {
            return error_set(err, "backing is missing for '%s'", n->opts.node_name);
        }
        if (!value) {
            reopen_child_put(r->config, e->name, json_string(e->child->opts.node_name));
        } else if (json_is_object(value)) {
            return error_set(err,
                             "'%s' of '%s' has to be the name of a node: the options of a child "
                             "are changed by an entry for that child",
                             e->name, n->opts.node_name);
        } else if (!(e->role & BLOCK_ROLE_BACKING) &&
                   g_strcmp0(json_string_value(value), e->child->opts.node_name) != 0) {
            return error_set(err, "Cannot change the option '%s'", e->name);
        }
    }
    return true;
}

static bool reopen_backing(Reopen *r, GError **err)
{
    BlockNode *n = r->node;
    json_t *value = json_object_get(r->config, "backing");
    const char *name = json_string_value(value);

    if (!value || !property_find(n->driver->props, "backing")) {
        return true;
    }
    if (!json_is_null(value) && !name) {
        return error_set(err, "'backing' of '%s' has to be the name of a node, or null",
                         n->opts.node_name);
    }
    if (name && *name) {
        BlockNode *found = block_node_find(name);

        if (!found) {
            return error_set(err, "Cannot find device='' nor node-name='%s'", name);
        }
        r->backing = block_node_ref(found);
    }
    r->other_backing = r->backing != n->backing;
    return true;
}

/* Of the driver's own options only those may differ that its table says can change. */
static bool reopen_unchanged(Reopen *r, GError **err)
{
    for (const Property *p = r->node->driver->props; p && p->name; p++) {
        json_auto_t *old = NULL, *new = NULL;

        if (p->type == PROP_TREE || p->flags & PROP_FLAG_RUNTIME) {
            continue;
        }
        old = property_get(p, r->node->state);
        new = property_get(p, r->props);
        if (!json_equal(old, new)) {
            return error_set(err, "Cannot change the option '%s'", p->name);
        }
    }
    return true;
}

static bool reopen_parse(Reopen *r, GError **err)
{
    BlockNode *n = r->node;
    const BlockDriver *drv = n->driver;

    if (n->inactive) {
        return error_set(err, "Node '%s' is inactive, and cannot be reopened", n->opts.node_name);
    }
    if (!block_node_parse_options(&r->opts, r->config, err)) {
        return false;
    }
    if (r->opts.driver && !g_str_equal(r->opts.driver, drv->name)) {
        return error_set(err, "Cannot change the option 'driver'");
    }
    /* What was read of an image that others write to is worth nothing to who may rely on it. */
    if (r->opts.force_share != n->opts.force_share) {
        return error_set(err, "Cannot change the option 'force-share'");
    }
    if (!reopen_children(r, err) || !reopen_backing(r, err)) {
        return false;
    }
    r->props = g_malloc0(MAX(drv->size, 1));
    return block_driver_parse_options(drv, r->props, r->config, err) && reopen_unchanged(r, err);
}

/* Puts the children as they are into a tree that may name those that the node was opened with. */
static void reopen_name_children(BlockNode *n, json_t *tree)
{
    for (unsigned i = 0; i < n->core->children->len; i++) {
        BlockEdge *e = n->core->children->pdata[i];
        reopen_child_put(tree, e->name, json_string(e->child->opts.node_name));
    }
    if (!block_node_edge(n, "backing")) {
        json_object_del(tree, "backing");
    }
}

/* Children that inherit: their own options, and what follows from the parent's new ones. */
static void reopen_add_heirs(GPtrArray *list, Reopen *r)
{
    for (unsigned i = 0; i < r->node->core->children->len; i++) {
        BlockEdge *e = r->node->core->children->pdata[i];
        json_auto_t *tree = NULL;

        if (e->child->core->inherits_from != r->node) {
            continue;
        }
        tree = json_deep_copy(e->child->core->own_options);
        block_node_inherit(&r->opts, e->name, tree);
        reopen_name_children(e->child, tree);
        reopen_add(list, e->child, tree, true);
    }
}

static bool coroutine_fn reopen_prepare(Reopen *r, GError **err)
{
    BlockNode *n = r->node;
    int ret = block_flush(n);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not flush '%s'", n->opts.node_name);
    }
    block_node_bar(n);
    r->barred = true;
    r->read_only = r->opts.read_only;
    if (n->driver->reopen_prepare &&
        !n->driver->reopen_prepare(n, &r->opts, r->props, &r->read_only, err)) {
        return false;
    }
    r->prepared = true;
    return true;
}

/* The node's options, and r->opts, change places. The name and the driver stay. */
static void reopen_swap(Reopen *r)
{
    BlockNodeOptions old = r->node->opts;
    bool read_only = r->node->read_only;

    r->node->opts = r->opts;
    r->opts = old;
    r->opts.driver = r->node->opts.driver;
    r->opts.node_name = r->node->opts.node_name;
    r->node->opts.driver = old.driver;
    r->node->opts.node_name = old.node_name;
    r->node->read_only = r->read_only;
    r->read_only = read_only;
}

static void reopen_change_backing(BlockChange *c, Reopen *r)
{
    BlockNode *n = r->node;
    BlockEdge *e = block_node_edge(n, "backing");

    if (e && r->backing) {
        block_change_point(c, e, r->backing);
    } else if (e) {
        block_change_detach(c, e);
    } else {
        block_change_attach_node(c, n, r->backing, "backing", BLOCK_ROLE_BACKING, &n->backing);
    }
}

static bool became_writable(const Reopen *r)
{
    return r->read_only && !r->node->read_only; /* of these two, one is the old */
}

/* The next reopening begins with these options. */
static void reopen_keep_tree(Reopen *r)
{
    BlockNodeCore *core = r->node->core;

    json_decref(core->options);
    core->options = json_incref(r->tree);
    if (core->inherits_from && !r->heir) {
        json_decref(core->own_options);
        core->own_options = json_incref(r->tree);
    }
}

/* All at once: nothing here yields before all nodes have changed. */
static bool coroutine_fn reopen_commit(GPtrArray *list, GError **err)
{
    BlockChange *c = block_change_new();
    bool ok;

    for (unsigned i = 0; i < list->len; i++) {
        Reopen *r = list->pdata[i];

        reopen_swap(r);
        r->old_backing = r->node->backing;
        block_change_touch(c, r->node);
        if (r->other_backing) {
            reopen_change_backing(c, r);
        }
    }
    ok = block_change_commit(c, err);
    for (unsigned i = 0; i < list->len; i++) {
        Reopen *r = list->pdata[i];

        if (!ok) {
            reopen_swap(r);
            continue;
        }
        if (r->node->driver->reopen_commit) {
            r->node->driver->reopen_commit(r->node, r->props);
        }
        if (r->other_backing && r->old_backing && r->old_backing->core->inherits_from == r->node) {
            r->old_backing->core->inherits_from = NULL;
        }
        reopen_keep_tree(r);
        r->node->core->settling = became_writable(r);
        block_node_child_changed(r->node);
        r->prepared = false;
    }
    return ok;
}

/* An image could not be put in order for writing: nothing of what became writable may stay so. */
static void reopen_read_only(GPtrArray *list)
{
    g_autoptr(GPtrArray) starts = g_ptr_array_new();
    BlockPermsChange *perms;

    for (unsigned i = 0; i < list->len; i++) {
        Reopen *r = list->pdata[i];

        if (became_writable(r)) {
            r->node->read_only = r->node->opts.read_only = true;
            g_ptr_array_add(starts, r->node);
        }
    }
    perms = block_perms_prepare(starts, NULL);
    g_assert(perms); /* 'settling' has kept writers away */
    block_perms_commit(perms);
}

/* Children first: a format reads and writes its file to put its image in order. */
static bool coroutine_fn reopen_finish(GPtrArray *list, GError **err)
{
    bool ok = true;

    for (unsigned i = list->len; i-- > 0;) {
        Reopen *r = list->pdata[i];

        if (ok && became_writable(r) && r->node->driver->reopened &&
            !r->node->driver->reopened(r->node, err)) {
            ok = false;
            reopen_read_only(list);
        }
        reopen_unbar(r);
    }
    for (unsigned i = 0; i < list->len; i++) {
        ((Reopen *)list->pdata[i])->node->core->settling = false;
    }
    return ok;
}

static int reopen_compare(const void *a, const void *b, void *ranks)
{
    const Reopen *ra = *(Reopen *const *)a, *rb = *(Reopen *const *)b;
    unsigned x = GPOINTER_TO_UINT(g_hash_table_lookup(ranks, ra->node));
    unsigned y = GPOINTER_TO_UINT(g_hash_table_lookup(ranks, rb->node));

    return (x > y) - (x < y);
}

/* Parents first: what they write back goes through their children. */
static void reopen_sort(GPtrArray *list)
{
    g_autoptr(GHashTable) ranks = g_hash_table_new(NULL, NULL);
    g_autoptr(GPtrArray) starts = g_ptr_array_new(), order = NULL;

    for (unsigned i = 0; i < list->len; i++) {
        g_ptr_array_add(starts, ((Reopen *)list->pdata[i])->node);
    }
    order = block_nodes_in_order(starts);
    for (unsigned i = 0; i < order->len; i++) {
        g_hash_table_insert(ranks, order->pdata[i], GUINT_TO_POINTER(i));
    }
    g_ptr_array_sort_with_data(list, reopen_compare, ranks);
}

static bool coroutine_fn reopen_list(GPtrArray *list, GError **err)
{
    for (unsigned i = 0; i < list->len; i++) { /* grows meanwhile */
        Reopen *r = list->pdata[i];

        r->drain = block_drain_begin(r->node);
        if (!reopen_parse(r, err)) {
            return false;
        }
        reopen_add_heirs(list, r);
    }
    reopen_sort(list);
    for (unsigned i = 0; i < list->len; i++) {
        if (!reopen_prepare(list->pdata[i], err)) {
            return false;
        }
    }
    return reopen_commit(list, err) && reopen_finish(list, err);
}

static bool reopen_find(GPtrArray *list, json_t *configs, GError **err)
{
    json_t *config;
    size_t at;

    json_array_foreach(configs, at, config)
    {
        const char *name = json_string_value(json_object_get(config, "node-name"));
        BlockNode *n = name ? block_node_find(name) : NULL;

        if (!name) {
            return error_set(err, "node-name not specified");
        }
        if (!n) {
            return error_set(err, "Failed to find node with node-name='%s'", name);
        }
        if (!reopen_add(list, n, config, false)) {
            return error_set(err, "Node '%s' is named twice", name);
        }
    }
    return true;
}

static void reopen_end(GPtrArray *list)
{
    for (unsigned i = 0; i < list->len; i++) {
        Reopen *r = list->pdata[i];
        if (r->prepared && r->node->driver->reopen_abort) {
            r->node->driver->reopen_abort(r->node);
        }
    }
    g_ptr_array_unref(list);
    block_changes_unlock();
}

bool coroutine_fn block_reopen(json_t *configs, GError **err)
{
    GPtrArray *list;
    bool ok;

    if (!block_changes_lock(err)) {
        return false;
    }
    list = g_ptr_array_new_with_free_func(reopen_free);
    ok = reopen_find(list, configs, err) && reopen_list(list, err);
    reopen_end(list);
    return ok;
}

bool coroutine_fn block_set_read_only(BlockNode *n, bool read_only, GError **err)
{
    json_t *tree;
    GPtrArray *list;
    bool ok;

    block_node_ref(n);
    if (!block_changes_lock(err)) {
        block_node_unref(n);
        return false;
    }
    list = g_ptr_array_new_with_free_func(reopen_free);
    tree = json_deep_copy(n->core->options);
    json_object_set_new(tree, "read-only", json_boolean(read_only));
    reopen_name_children(n, tree);
    reopen_add(list, n, tree, false);
    json_decref(tree);
    ok = reopen_list(list, err);
    reopen_end(list);
    block_node_unref(n);
    return ok;
}
