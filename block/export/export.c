/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block exports: their table, their edges, and what all types have in common. */
#include "block/export.h"
#include "../core.h"
#include "base/error.h"
#include "base/keyval.h"
#include "base/util.h"

static const BlockExportClass *const classes[] = {&block_export_nbd, NULL};

/* Main thread only, as is all of this file but enter and leave. */
static GPtrArray *exports;
static WaitList gone;
static void (*deleted_hook)(const char *id, void *data);
static void *deleted_data;

const BlockExportClass *const *block_export_classes(void)
{
    return classes;
}

/* Options that each type has. */
typedef struct {
    char *type, *id, *node_name;
    bool writable, writethrough;
} ExportOptions;

static const Property export_props[] = {
    {.name = "type",
     .type = PROP_STRING,
     .offset = offsetof(ExportOptions, type),
     .flags = PROP_FLAG_REQUIRED,
     .help = "how the node is exported"},
    {.name = "id",
     .type = PROP_STRING,
     .offset = offsetof(ExportOptions, id),
     .flags = PROP_FLAG_REQUIRED,
     .help = "the export's name for commands"},
    {.name = "node-name",
     .type = PROP_STRING,
     .offset = offsetof(ExportOptions, node_name),
     .flags = PROP_FLAG_REQUIRED,
     .help = "the node"},
    PROP("writable", PROP_BOOL, ExportOptions, writable, "off", "clients may write"),
    PROP("writethrough", PROP_BOOL, ExportOptions, writethrough, "off",
         "a write is complete when it is on stable storage"),
    PROP_END,
};

static const Property export_members[] = {
    MEMBER("id", PROP_STRING),
    MAYBE("fixed-iothread", PROP_BOOL),
    MAYBE("iothread", PROP_STRING),
    MEMBER("node-name", PROP_STRING),
    MAYBE("writable", PROP_BOOL),
    MAYBE("writethrough", PROP_BOOL),
    PROP_END,
};

static ShapeVariant export_variant(unsigned i)
{
    return classes[i] ? (ShapeVariant){classes[i]->name, classes[i]->props} : (ShapeVariant){0};
}

const PropertyShape block_export_options_shape = {.name = "BlockExportOptions",
                                                  .members = export_members,
                                                  .tag = "type",
                                                  .variant = export_variant};

/* The edge. */

static char *export_describe(BlockEdge *e)
{
    const BlockExport *exp = e->parent;

    return g_strdup_printf("export '%s'", exp->id);
}

static void export_drain_begin(BlockEdge *e)
{
    BlockExport *exp = e->parent;

    __atomic_add_fetch(&exp->quiesce, 1, __ATOMIC_SEQ_CST);
}

static void export_drain_end(BlockEdge *e)
{
    BlockExport *exp = e->parent;

    __atomic_sub_fetch(&exp->quiesce, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&exp->released);
}

static bool export_busy(BlockEdge *e)
{
    BlockExport *exp = e->parent;

    return __atomic_load_n(&exp->in_flight, __ATOMIC_SEQ_CST);
}

/* Others may do with the node what they like, but its length is known to the clients. */
static BlockPerms export_perms(BlockEdge *e, bool inactive)
{
    const BlockExport *exp = e->parent;

    if (inactive) {
        return (BlockPerms){0, BLOCK_PERM_ALL};
    }
    return (BlockPerms){BLOCK_PERM_CONSISTENT_READ | (exp->writable ? BLOCK_PERM_WRITE : 0),
                        BLOCK_PERM_ALL & ~BLOCK_PERM_RESIZE};
}

static const BlockParentClass export_parent = {
    .describe = export_describe,
    .drain_begin = export_drain_begin,
    .drain_end = export_drain_end,
    .busy = export_busy,
    .perms = export_perms,
};

void block_export_leave(BlockExport *exp)
{
    if (__atomic_sub_fetch(&exp->in_flight, 1, __ATOMIC_SEQ_CST) == 0) {
        block_drain_wake();
    }
}

void coroutine_fn block_export_enter(BlockExport *exp)
{
    for (;;) {
        __atomic_add_fetch(&exp->in_flight, 1, __ATOMIC_SEQ_CST);
        if (G_LIKELY(!__atomic_load_n(&exp->quiesce, __ATOMIC_SEQ_CST))) {
            return;
        }
        block_export_leave(exp);
        wait_list_until(&exp->released, __atomic_load_n(&exp->quiesce, __ATOMIC_SEQ_CST) == 0);
    }
}

/* Life. */

static void export_free(BlockExport *exp)
{
    properties_clear(exp->class->props, exp);
    wait_list_destroy(&exp->released);
    g_free(exp->id);
    g_free(exp);
}

/* A coroutine: with the last reference to a node goes what closing it writes. */
static void coroutine_fn export_end(void *data)
{
    BlockExport *exp = data;
    g_autofree char *id = g_strdup(exp->id);

    if (exp->class->free) {
        exp->class->free(exp);
    }
    block_edge_detach(g_steal_pointer(&exp->edge));
    if (exp->loop_unused) {
        exp->loop_unused(exp->loop_data);
    }
    g_ptr_array_remove(exports, exp);
    export_free(exp);
    if (!exports->len) {
        g_ptr_array_unref(g_steal_pointer(&exports));
    }
    if (deleted_hook) {
        deleted_hook(id, deleted_data);
    }
    wait_list_wake_all(&gone);
}

void block_export_ref(BlockExport *exp)
{
    g_assert(exp->refs);
    exp->refs++;
}

void block_export_unref(BlockExport *exp)
{
    if (--exp->refs == 0) {
        coroutine_start(export_end, exp);
    }
}

void block_export_set_deleted_hook(void (*hook)(const char *id, void *data), void *data)
{
    deleted_hook = hook;
    deleted_data = data;
}

BlockExport *block_export_find(const char *id)
{
    for (unsigned i = 0; exports && i < exports->len; i++) {
        BlockExport *exp = exports->pdata[i];
        if (g_str_equal(exp->id, id)) {
            return exp;
        }
    }
    return NULL;
}

void block_export_foreach(void (*fn)(BlockExport *exp, void *data), void *data)
{
    for (unsigned i = 0; exports && i < exports->len; i++) {
        fn(exports->pdata[i], data);
    }
}

static const BlockExportClass *class_find(const char *name)
{
    for (unsigned i = 0; classes[i]; i++) {
        if (g_str_equal(classes[i]->name, name)) {
            return classes[i];
        }
    }
    return NULL;
}

/* Moves what each type has out of 'options'. */
static json_t *common_options(json_t *options)
{
    json_t *common = json_object();

    for (const Property *p = export_props; p->name; p++) {
        json_t *value = json_object_get(options, p->name);
        if (value) {
            json_object_set(common, p->name, value);
            json_object_del(options, p->name);
        }
    }
    return common;
}

static bool export_attach(BlockExport *exp, const ExportOptions *o, GError **err)
{
    BlockNode *n = block_node_find(o->node_name);
    BlockEdge probe = {.parent = exp};

    if (!n) {
        return error_set(err, "Cannot find device='' nor node-name='%s'", o->node_name);
    }
    if (o->writable && n->read_only) {
        return error_set(err, "Cannot export read-only node as writable");
    }
    exp->writable = o->writable;
    exp->writethrough = o->writethrough;
    exp->edge = block_edge_attach(&export_parent, exp, n, "root", export_perms(&probe, n->inactive),
                                  &exp->node, err);
    return exp->edge;
}

/* The types' own options are in 'own'. NULL: 'err' says why. */
static BlockExport *export_new(const ExportOptions *o, json_t *own, EventLoop *loop, GError **err)
{
    const BlockExportClass *class = class_find(o->type);
    g_autofree char *what = g_strdup_printf("export '%s'", o->id);
    BlockExport *exp;

    if (!class) {
        error_set(err, "Parameter 'type' does not accept value '%s'", o->type);
        return NULL;
    }
    if (!id_check(o->id, NULL)) {
        error_set(err, "Invalid block export id");
        return NULL;
    }
    if (block_export_find(o->id)) {
        error_set(err, "Block export id '%s' is already in use", o->id);
        return NULL;
    }
    exp = g_malloc0(class->size);
    exp->class = class;
    exp->id = g_strdup(o->id);
    exp->loop = loop;
    exp->refs = 1;
    wait_list_init(&exp->released);
    properties_init(class->props, exp);
    if (properties_apply(class->props, exp, own, NULL, what, err) && export_attach(exp, o, err)) {
        if (class->open(exp, err)) {
            return exp;
        }
        block_edge_detach(exp->edge);
    }
    export_free(exp);
    return NULL;
}

BlockExport *block_export_add(json_t *options, EventLoop *loop, void (*loop_unused)(void *data),
                              void *loop_data, GError **err)
{
    json_auto_t *own = json_deep_copy(options), *common = common_options(own);
    ExportOptions o = {0};
    BlockExport *exp = NULL;

    properties_init(export_props, &o);
    if (properties_apply(export_props, &o, common, NULL, "block export", err)) {
        exp = export_new(&o, own, loop, err);
    }
    if (exp) {
        exp->loop_unused = loop_unused;
        exp->loop_data = loop_data;
        exports = exports ? exports : g_ptr_array_new();
        g_ptr_array_add(exports, exp);
    }
    properties_clear(export_props, &o);
    return exp;
}

static void export_close(BlockExport *exp)
{
    if (!exp->closing) {
        exp->closing = true;
        exp->class->close(exp);
        block_export_unref(exp);
    }
}

void block_export_follow_medium(BlockExport *exp, const BlockBackend *blk)
{
    g_assert(exp->node == block_backend_node((BlockBackend *)blk));
    exp->medium_of = blk;
}

void block_exports_medium_gone(const BlockBackend *blk)
{
    g_autoptr(GPtrArray) now = exports ? g_ptr_array_copy(exports, NULL, NULL) : g_ptr_array_new();

    /* One that closes takes none but itself off the table. */
    for (unsigned i = 0; i < now->len; i++) {
        BlockExport *exp = now->pdata[i];

        if (exp->medium_of == blk) {
            export_close(exp);
        }
    }
}

bool block_export_del(BlockExport *exp, bool hard, GError **err)
{
    if (exp->closing) {
        return error_set(err, "Export '%s' is already shutting down", exp->id);
    }
    if (!hard && exp->refs > 1) {
        return error_set(err, "export '%s' still in use: mode 'hard' sends its clients away",
                         exp->id);
    }
    export_close(exp);
    return true;
}

static bool class_has_exports(const BlockExportClass *class)
{
    for (unsigned i = 0; exports && i < exports->len; i++) {
        if (!class || ((BlockExport *)exports->pdata[i])->class == class) {
            return true;
        }
    }
    return false;
}

void coroutine_fn block_export_del_all(const BlockExportClass *class)
{
    g_autoptr(GPtrArray) now = exports ? g_ptr_array_copy(exports, NULL, NULL) : g_ptr_array_new();

    /* Those that are not closing yet have a reference of the table's, which only this drops. */
    for (unsigned i = 0; i < now->len; i++) {
        BlockExport *exp = now->pdata[i];

        if (exports && g_ptr_array_find(exports, exp, NULL) && (!class || exp->class == class)) {
            export_close(exp);
        }
    }
    wait_list_until(&gone, !class_has_exports(class));
}

json_t *block_export_query(void)
{
    json_t *list = json_array();

    /* The newest comes first. */
    for (unsigned i = exports ? exports->len : 0; i > 0; i--) {
        const BlockExport *exp = exports->pdata[i - 1];

        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:b}", "id", exp->id, "type",
                                              exp->class->name, "node-name",
                                              exp->node ? exp->node->opts.node_name : "",
                                              "shutting-down", exp->closing));
    }
    return list;
}
