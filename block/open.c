/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a tree of options to an open node: its options, children, inheritance. */
#include <errno.h>
#include "base/error.h"
#include "base/json.h"
#include "base/util.h"
#include "block/copy_on_read.h"
#include "core.h"
#include "engine.h"
#include "open.h"

static const char *const discard_names[] = {"ignore", "unmap", NULL};
static const char *const detect_zeroes_names[] = {"off", "on", "unmap", NULL};

static const Property cache_props[] = {
    PROP("direct", PROP_BOOL, BlockCache, direct, "off", "past the host's page cache (O_DIRECT)"),
    PROP("no-flush", PROP_BOOL, BlockCache, no_flush, "off", "ignore flush requests"),
    {.name = "writeback",
     .type = PROP_BOOL,
     .offset = offsetof(BlockCache, writeback),
     .defval = "on",
     .help = "of the device, not of the node",
     .flags = PROP_FLAG_NOT_JSON},
    PROP_END,
};
static const PropertyShape cache_shape = {.name = "BlockdevCacheOptions", .members = cache_props};

static const Property common_props[] = {
    PROP("driver", PROP_STRING, BlockNodeOptions, driver, NULL, "block driver"),
    PROP("node-name", PROP_STRING, BlockNodeOptions, node_name, NULL, "name of the node"),
    PROP("read-only", PROP_BOOL, BlockNodeOptions, read_only, "off", "refuse writes"),
    PROP("auto-read-only", PROP_BOOL, BlockNodeOptions, auto_read_only, "off",
         "become read-only where writing is not permitted"),
    PROP("force-share", PROP_BOOL, BlockNodeOptions, force_share, "off",
         "open although another process writes to it"),
    PROP_E("discard", BlockNodeOptions, discard, "ignore", discard_names,
           "what a discard request does"),
    PROP_E("detect-zeroes", BlockNodeOptions, detect_zeroes, "off", detect_zeroes_names,
           "turn written zeroes into write-zeroes"),
    {.name = "cache",
     .type = PROP_TREE,
     .offset = offsetof(BlockNodeOptions, cache_config),
     .shape = &cache_shape,
     .help = "direct, no-flush"},
    PROP_END,
};

static ShapeVariant block_variant(unsigned i)
{
    const BlockDriver *d = block_drivers()[i];

    return d ? (ShapeVariant){d->name, d->props} : (ShapeVariant){NULL};
}

const PropertyShape block_options_shape = {.name = "BlockdevOptions",
                                           .members = common_props,
                                           .tag = "driver",
                                           .variant = block_variant,
                                           .is_open = true};
static const Property reference_members[] = {
    MAYBE("definition", PROP_TREE, .shape = &block_options_shape), MAYBE("reference", PROP_STRING),
    PROP_END};
const PropertyShape block_ref_shape = {
    .name = "BlockdevRef", .members = reference_members, .is_alternate = true};
static const Property reference_or_null_members[] = {
    MAYBE("definition", PROP_TREE, .shape = &block_options_shape), MAYBE("reference", PROP_STRING),
    MAYBE("null", PROP_NULL), PROP_END};
const PropertyShape block_ref_or_null_shape = {
    .name = "BlockdevRefOrNull", .members = reference_or_null_members, .is_alternate = true};

/* A child takes its parent's options where it has none of its own. */
void block_node_inherit(const BlockNodeOptions *parent, const char *name, json_t *child)
{
    bool backing = g_str_equal(name, "backing");
    json_t *cache = json_object_get(child, "cache");

    if (!json_object_get(child, "read-only")) {
        json_object_set_new(child, "read-only", json_boolean(backing || parent->read_only));
    }
    if (!backing && !json_object_get(child, "auto-read-only")) {
        json_object_set_new(child, "auto-read-only", json_boolean(parent->auto_read_only));
    }
    if (parent->force_share && !json_object_get(child, "force-share")) {
        json_object_set_new(child, "force-share", json_true());
    }
    if (!cache) {
        cache = json_object();
        json_object_set_new(child, "cache", cache);
    }
    if (json_is_object(cache)) {
        if (!json_object_get(cache, "direct")) {
            json_object_set_new(cache, "direct", json_boolean(parent->cache.direct));
        }
        if (!json_object_get(cache, "no-flush")) {
            json_object_set_new(cache, "no-flush", json_boolean(parent->cache.no_flush));
        }
    }
    /* What a format discards in its file is no longer used: give the space back to the host. */
    if (!backing && !json_object_get(child, "discard")) {
        json_object_set_new(child, "discard", json_string("unmap"));
    }
}

static BlockNode *open_tree(json_t *config, unsigned how, GError **err);
static BlockNode *open_one(const BlockDriver *drv, json_t *config, unsigned how, GError **err);

/*
 * Opens a child from its options. A file is opened with its backing chain; for a backing file
 * block_open_backing_chain() goes on with the next.
 */
static BlockNode *open_child_tree(BlockNode *parent, const char *name, json_t *value, GError **err)
{
    json_auto_t *tree = json_deep_copy(value);
    unsigned how = parent->no_io ? BLOCK_IMAGE_NO_IO : 0;
    BlockNode *child;

    block_node_inherit(&parent->opts, name, tree);
    child =
        g_str_equal(name, "backing") ? open_one(NULL, tree, how, err) : open_tree(tree, how, err);
    if (child) {
        child->core->inherits_from = parent;
        child->core->own_options = json_incref(value);
    }
    return child;
}

/* The child with a reference for the caller. */
static BlockNode *open_child(BlockNode *parent, const char *name, json_t *value, GError **err)
{
    BlockNode *child;

    if (json_is_object(value)) {
        return open_child_tree(parent, name, value, err);
    }
    if (!json_is_string(value)) {
        error_set(err, "'%s' wants a node name or a dictionary of options", name);
        return NULL;
    }
    child = block_node_find(json_string_value(value));
    if (!child) {
        error_set(err, "Cannot find device='' nor node-name='%s'", json_string_value(value));
        return NULL;
    }
    if (g_str_equal(name, "file") && !parent->read_only && child->read_only &&
        !parent->opts.auto_read_only) {
        error_set(err, "Block node is read-only");
        return NULL;
    }
    return block_node_ref(child);
}

BlockEdge *block_open_child(BlockNode *parent, const char *name, unsigned role, json_t *value,
                            BlockNode **slot, GError **err)
{
    BlockNode *child = open_child(parent, name, value, err);
    BlockEdge *edge = NULL;

    if (child) {
        if (g_str_equal(name, "file") && child->read_only) {
            /* The file became read-only by auto-read-only: so does the parent. */
            parent->read_only = true;
        }
        edge = block_edge_attach_node(parent, child, name, role, slot, err);
        block_node_unref(child);
    }
    return edge;
}

static bool only_read(BlockNode *n, bool auto_read_only, bool *read_only, GError **err)
{
    if (!*read_only && !auto_read_only) {
        return error_set(err, "Images of format '%s' can only be read (read-only=on)",
                         n->driver->name);
    }
    *read_only = true;
    return true;
}

bool block_node_only_read(BlockNode *n, GError **err)
{
    return only_read(n, n->opts.auto_read_only, &n->read_only, err);
}

bool coroutine_fn block_node_reopen_only_read(BlockNode *n, const BlockNodeOptions *opts,
                                              const void *props, bool *read_only, GError **err)
{
    return only_read(n, opts->auto_read_only, read_only, err);
}

void block_node_options_clear(BlockNodeOptions *o)
{
    properties_clear(common_props, o);
}

bool block_node_parse_options(BlockNodeOptions *o, json_t *config, GError **err)
{
    json_auto_t *mine = json_object();
    const char *key;
    json_t *value, *cache;
    void *next;

    properties_init(common_props, o);
    properties_init(cache_props, &o->cache);
    json_object_foreach_safe(config, next, key, value)
    {
        if (property_find(common_props, key)) {
            json_object_set(mine, key, value);
            json_object_del(config, key);
        }
    }
    if (!properties_apply(common_props, o, mine, NULL, "block node", err)) {
        return false;
    }
    cache = o->cache_config;
    if (cache && !json_is_object(cache)) {
        return error_set(err, "'cache' of a node is a dictionary (direct, no-flush)");
    }
    if (!properties_apply(cache_props, &o->cache, cache, NULL, "cache", err)) {
        return false;
    }
    if (o->force_share && !o->read_only) {
        return error_set(err, "force-share=on can only be used with read-only images");
    }
    return true;
}

bool block_driver_parse_options(const BlockDriver *drv, void *state, json_t *config, GError **err)
{
    g_autofree char *what = g_strdup_printf("block driver '%s'", drv->name);

    for (const BlockRefusedOption *r = drv->refused; r && r->name; r++) {
        if (json_object_get(config, r->name)) {
            return error_set(err, "%s: '%s' is not supported: %s", what, r->name, r->why);
        }
    }
    if (drv->props) {
        properties_init(drv->props, state);
        return properties_apply(drv->props, state, config, NULL, what, err);
    }
    return !json_object_size(config) ||
           error_set(err, "%s takes no options, but was given '%s'", what,
                     json_object_iter_key(json_object_iter(config)));
}

typedef struct {
    BlockNode *node;
    GError **err;
    bool ok;
} OpenState;

static int coroutine_fn open_fn(void *data)
{
    OpenState *o = data;

    o->ok = o->node->driver->open(o->node, o->err);
    return 0;
}

/*
 * Opens a node with its children and its backing chain. 'drv' NULL: as the tree says. 'how': flags
 * of block_image_open().
 */
static BlockNode *open_with_chain(const BlockDriver *drv, json_t *config, unsigned how,
                                  GError **err)
{
    /* Opens that are on, of all coroutines: each has its levels on its own stack. */
    static unsigned nesting;
    BlockNode *n = NULL;

    if (nesting >= BLOCK_MAX_NESTING) {
        error_set(err, "More than %d block drivers are stacked", BLOCK_MAX_NESTING);
        return NULL;
    }
    nesting++;
    n = open_one(drv, config, how, err);
    if (n && !block_open_backing_chain(n, err)) {
        block_node_unref(g_steal_pointer(&n));
    }
    nesting--;
    return n;
}

static BlockNode *open_tree(json_t *config, unsigned how, GError **err)
{
    return open_with_chain(NULL, config, how, err);
}

/*
 * Opens a node and its children, but not its backing file. block_open_backing_chain() does that,
 * and lets others find the node.
 */
static BlockNode *open_one(const BlockDriver *drv, json_t *config, unsigned how, GError **err)
{
    BlockNode *n = block_node_alloc();
    OpenState o = {.node = n, .err = err};

    n->checking = how & BLOCK_IMAGE_CHECK;
    n->no_io = how & BLOCK_IMAGE_NO_IO;
    n->core->options = json_deep_copy(config);
    if (!block_node_parse_options(&n->opts, config, err)) {
        goto fail;
    }
    n->read_only = n->opts.read_only;
    n->driver = block_choose_driver(n, drv, config, err);
    if (!n->driver || !block_node_set_name(n, err)) {
        goto fail;
    }
    if ((how & BLOCK_IMAGE_ALONE) && n->driver->props &&
        property_find(n->driver->props, "backing")) {
        json_object_set_new(config, "backing", json_null());
    }
    n->state = g_malloc0(MAX(n->driver->size, 1));
    if (!block_driver_parse_options(n->driver, n->state, config, err)) {
        goto fail;
    }
    block_run(open_fn, &o);
    if (!o.ok) {
        goto fail;
    }
    if (!n->filename) {
        n->filename = g_strdup(n->file && n->file->filename ? n->file->filename : "");
    }
    return n;
fail:
    block_node_discard_unopened(n);
    return NULL;
}

BlockNode *block_filter_open(const BlockDriver *drv, json_t *config, GError **err)
{
    json_auto_t *tree = json_deep_copy(config);
    BlockNode *n = open_with_chain(drv, tree, 0, err);

    if (n) {
        n->core->implicit = !json_object_get(config, "node-name");
    }
    return n;
}

BlockNode *block_node_open(json_t *config, GError **err)
{
    return block_image_open(config, 0, err);
}

/* What a tool needs and shares, which holds no edge to the node that it opened. */
static BlockPerms opener_perms(const BlockNode *n, unsigned how)
{
    BlockPerms p = {BLOCK_PERM_CONSISTENT_READ | (n->read_only ? 0 : BLOCK_PERM_WRITE),
                    BLOCK_PERM_ALL & ~(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE)};

    if (how & BLOCK_IMAGE_SHARED) {
        p.shares |= BLOCK_PERM_WRITE;
    }
    return p;
}

bool block_node_is_temporary(const BlockNode *n)
{
    return n->core->temporary;
}

/* Puts above 'n', whose reference moves on, what 'how' asks for. */
static BlockNode *open_above(BlockNode *n, unsigned how, GError **err)
{
    BlockNode *image = n;

    if (n && how & BLOCK_IMAGE_TEMPORARY) {
        n = block_open_temporary_overlay(image, err);
        if (n) {
            n->core->temporary = true;
        }
        block_node_unref(image);
        image = n;
    }
    if (n && how & BLOCK_IMAGE_COPY_ON_READ) {
        n = n->read_only ? NULL : block_copy_on_read_above(image, err);
        if (image->read_only) {
            error_set(err, "Can't use copy-on-read on read-only device");
        }
        block_node_unref(image);
    }
    return n;
}

BlockNode *block_node_open_unheld(json_t *config, unsigned how, GError **err)
{
    json_auto_t *tree = json_deep_copy(config);

    return open_above(open_tree(tree, how, err), how, err);
}

BlockNode *block_image_open(json_t *config, unsigned how, GError **err)
{
    BlockNode *n = block_node_open_unheld(config, how, err);
    BlockPerms perms;

    if (!n) {
        return NULL;
    }
    perms = opener_perms(n, how);
    if (how & BLOCK_IMAGE_RESIZES) {
        /* The format that is opened over this file needs the same, so the lock is all. */
        n->core->guard = perms;
        n->core->guard.needs |= n->read_only ? 0 : BLOCK_PERM_RESIZE;
        perms = (BlockPerms){0, BLOCK_PERM_ALL};
    }
    if (!block_node_hold(n, perms, err)) {
        block_node_unref(g_steal_pointer(&n));
    }
    return n;
}
