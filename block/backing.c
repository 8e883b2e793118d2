/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The backing files of an image: what it names, what the user wants instead, the chain, circles. */
#include <inttypes.h>
#include <sys/stat.h>
#include "base/error.h"
#include "base/json.h"
#include "core.h"
#include "open.h"

/* The main thread's, set before images are opened. */
static bool named_files_forbidden;

void block_forbid_named_files(void)
{
    named_files_forbidden = true;
}

bool block_named_file_allowed(const BlockNode *n, const char *what, const char *name,
                              const char *instead, GError **err)
{
    return !named_files_forbidden ||
           error_set(err, "'%s' names the %s '%s', which no-named-files forbids to open: %s",
                     n->file->filename, what, name, instead);
}

json_t *block_backing_tree(BlockNode *n, GError **err)
{
    g_autofree char *path = NULL;
    json_t *tree;

    if (!block_named_file_allowed(n, "backing file", n->backing_name,
                                  "'backing' can name it, or be empty", err)) {
        return NULL;
    }
    path = block_resolve_backing(n->file->filename, n->backing_name);
    tree = block_filename_to_config(path, err);
    if (tree && n->backing_format && *n->backing_format && !json_object_get(tree, "driver")) {
        json_object_set_new(tree, "driver", json_string_nocheck(n->backing_format));
    }
    return tree;
}

void block_node_want_backing(BlockNode *node, json_t *tree, bool by_image)
{
    node->core->backing_tree = json_incref(tree);
    node->core->backing_by_image = by_image;
}

bool block_node_want_named_backing(BlockNode *node, json_t *given, GError **err)
{
    json_auto_t *tree = NULL;
    bool by_image = false;

    if (json_is_null(given) || (json_is_string(given) && !*json_string_value(given))) {
        return true; /* the user asked for none */
    }
    if (!given && !node->backing_name) {
        return true;
    }
    if (json_is_string(given) ||
        (json_is_object(given) && (!node->backing_name || json_object_get(given, "file") ||
                                   json_object_get(given, "filename")))) {
        tree = json_incref(given);
    } else {
        by_image = true;
        tree = block_backing_tree(node, err);
        if (!tree) {
            block_error_prefix(err, "Could not open backing file");
            return false;
        }
        if (given) {
            json_object_update_recursive(tree, given); /* the user's options win */
        }
    }
    block_node_want_backing(node, tree, by_image);
    return true;
}

/* Device and inode: the same under every name of a file. NULL: there is no such file. */
static char *file_identity(const char *filename)
{
    struct stat st;

    return filename && stat(filename, &st) == 0
               ? g_strdup_printf("%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino)
               : NULL;
}

static char *image_identity(BlockNode *n)
{
    const BlockNode *file = n->file;
    char *id = file && file->driver->is_protocol ? file_identity(file->filename) : NULL;

    return id ? id : json_dump_text(file ? file->core->options : n->core->options, JSON_SORT_KEYS);
}

/* Images may name each other in a circle. A tree that the user gave cannot. */
static bool leads_back(BlockNode *n, json_t *tree, GHashTable *seen)
{
    g_autofree char *next = NULL;

    if (!n->core->backing_by_image) {
        return false;
    }
    if (!g_hash_table_add(seen, image_identity(n))) {
        return true;
    }
    /* The file is not opened for this: the lock that this process holds would refuse it. */
    next = json_object_get(tree, "backing")
               ? NULL
               : file_identity(json_str(json_object_get(tree, "file"), "filename"));
    return next && g_hash_table_contains(seen, next);
}

static bool open_one_backing(BlockNode *n, GHashTable *seen, GError **err)
{
    json_auto_t *tree = g_steal_pointer(&n->core->backing_tree);

    if (leads_back(n, tree, seen)) {
        error_set(err, "Backing file '%s' creates an infinite loop.", n->backing_name);
    } else {
        block_open_child(n, "backing", BLOCK_ROLE_BACKING, tree, &n->backing, err);
    }
    if (!n->backing) {
        block_error_prefix(err, "Could not open backing file");
    }
    return n->backing;
}

typedef struct {
    BlockNode *node;
    GError **err;
    bool ok;
} Opened;

static int coroutine_fn opened_fn(void *data)
{
    Opened *o = data;

    o->ok = o->node->driver->opened(o->node, o->err);
    return 0;
}

bool block_open_backing_chain(BlockNode *top, GError **err)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) chain = g_ptr_array_new();

    for (BlockNode *n = top; n; n = n->backing) {
        g_ptr_array_add(chain, n);
        if (!n->core->backing_tree) {
            break; /* the last image, or a node that was open before, with its chain */
        }
        if (!open_one_backing(n, seen, err)) {
            return false;
        }
    }
    for (unsigned i = chain->len; i-- > 0;) {
        Opened o = {.node = chain->pdata[i], .err = err, .ok = true};

        if (o.node->driver->opened && !o.node->core->opened) {
            block_run(opened_fn, &o);
            o.node->core->opened = o.ok;
        }
        if (!o.ok) {
            return false;
        }
        /* Others may find it now: before, it would read as if it had no backing file. */
        if (!o.node->core->listed) {
            block_node_register(o.node);
        }
    }
    return true;
}

/* Opens the backing file that 'n' names, without that one's own. NULL: it cannot be opened. */
static BlockNode *open_named_backing(BlockNode *n)
{
    json_auto_t *tree = block_backing_tree(n, NULL);

    if (!tree) {
        return NULL;
    }
    json_object_set_new(tree, "read-only", json_true());
    json_object_set_new(tree, "force-share", json_true());
    return block_image_open(tree, BLOCK_IMAGE_ALONE, NULL);
}

bool block_image_chain_ends(BlockNode *n, GError **err)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool ends = true;

    for (block_node_ref(n); n && n->backing_name && ends;) {
        BlockNode *above = n;

        ends = g_hash_table_add(seen, image_identity(n));
        if (!ends) {
            error_set(err, "Backing file '%s' creates an infinite loop.", n->filename);
        } else {
            n = open_named_backing(n);
            block_node_unref(above);
        }
    }
    block_node_unref(n);
    return ends;
}
