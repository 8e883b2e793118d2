/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Permissions: what the users of a node need together, and what follows for the nodes below. They
 * are computed from the top of the graph down, so that a node's parents come before the node.
 */
#include "base/error.h"
#include "base/util.h"
#include "core.h"

enum { PERM_BITS = 4, PERM_CHANGES = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE };

static const char *const perm_names[PERM_BITS] = {"consistent read", "write", "write unchanged",
                                                  "resize"};

const char *const block_perm_names[] = {"consistent-read", "write", "write-unchanged", "resize",
                                        NULL};

typedef struct {
    BlockEdge *edge;
    BlockPerms old;
} EdgeUndo;

typedef struct {
    BlockNode *node;
    BlockPerms old;
    bool prepared; /* driver->perms_prepare() has succeeded */
} NodeUndo;

struct BlockPermsChange {
    GArray *edges, *nodes;
};

/* Two users of one node; 'a' or 'b' is NULL for the one that opened it. */
static bool perms_conflict(BlockNode *n, BlockEdge *a, BlockEdge *b, unsigned bits, GError **err)
{
    static const char opener[] = "this program, which has it open";
    g_autofree char *needs = a ? block_edge_describe(a) : g_strdup(opener);
    g_autofree char *denies = b ? block_edge_describe(b) : g_strdup(opener);
    g_autoptr(GString) names = g_string_new(NULL);

    for (unsigned i = 0; i < PERM_BITS; i++) {
        if (bits & BIT(i)) {
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", perm_names[i]);
        }
    }
    return error_set(err,
                     "Permission conflict on node '%s': permissions '%s' are both required by %s "
                     "(uses node '%s' as '%s' child) and unshared by %s (uses node '%s' as '%s' "
                     "child).",
                     n->opts.node_name, names->str, needs, n->opts.node_name, a ? a->name : "root",
                     denies, n->opts.node_name, b ? b->name : "root");
}

static BlockPerms perms_of_user(BlockNode *n, unsigned i)
{
    return i < n->core->parents->len ? ((BlockEdge *)n->core->parents->pdata[i])->perms
                                     : n->core->opener;
}

static BlockEdge *user_edge(BlockNode *n, unsigned i)
{
    return i < n->core->parents->len ? n->core->parents->pdata[i] : NULL;
}

/*
 * The users' permissions together. False, and an error: two do not go together. Counts first, so
 * that an image with a thousand overlays is not a million pairs.
 */
static bool perms_fold(BlockNode *n, BlockPerms *all, GError **err)
{
    unsigned users = n->core->parents->len + 1, suspects = 0;

    *all = (BlockPerms){0, BLOCK_PERM_ALL};
    for (unsigned i = 0; i < users; i++) {
        BlockPerms p = perms_of_user(n, i);
        suspects |= (all->needs & ~p.shares) | (p.needs & ~all->shares);
        all->needs |= p.needs;
        all->shares &= p.shares;
    }
    for (unsigned i = 0; suspects && i < users; i++) {
        for (unsigned j = 0; j < users; j++) {
            unsigned bits = perms_of_user(n, i).needs & ~perms_of_user(n, j).shares;
            if (i != j && bits) {
                return perms_conflict(n, user_edge(n, i), user_edge(n, j), bits, err);
            }
        }
    }
    return true;
}

/* What the role of a child says. */
static BlockPerms perms_by_role(const BlockNode *n, const BlockEdge *e, BlockPerms users)
{
    const unsigned unchanged = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    bool writable = !n->read_only;
    BlockPerms p;

    if (e->role & BLOCK_ROLE_FILTERED) {
        p = (BlockPerms){users.needs, users.shares | BLOCK_PERM_WRITE_UNCHANGED};
    } else if (e->role & BLOCK_ROLE_BACKING) {
        p.needs = users.needs & BLOCK_PERM_CONSISTENT_READ;
        p.shares = unchanged;
        if (users.shares & BLOCK_PERM_WRITE) {
            p.shares |= BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
        }
    } else if (e->role & BLOCK_ROLE_METADATA) {
        p.needs =
            BLOCK_PERM_CONSISTENT_READ | (writable ? BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE : 0);
        p.shares = unchanged;
    } else { /* data alone */
        p.needs = users.needs;
        p.shares = (users.shares | BLOCK_PERM_WRITE_UNCHANGED) & ~BLOCK_PERM_RESIZE;
    }
    return p;
}

/* What a node needs of a child, given what its own users need. */
static BlockPerms perms_for_child(BlockNode *n, const BlockEdge *e, BlockPerms users)
{
    BlockPerms p;

    if (n->inactive) {
        return (BlockPerms){0, BLOCK_PERM_ALL};
    }
    p = n->driver->child_perms ? n->driver->child_perms(n, e, users) : perms_by_role(n, e, users);
    if (n->opts.force_share) {
        p.shares = BLOCK_PERM_ALL;
    }
    return p;
}

/*
 * A depth-first walk with a stack of its own: a node is put out when it is met the second time, its
 * children being out then.
 */
GPtrArray *block_nodes_in_order(GPtrArray *starts)
{
    g_autoptr(GHashTable) entered = g_hash_table_new(NULL, NULL);
    g_autoptr(GHashTable) left = g_hash_table_new(NULL, NULL);
    g_autoptr(GPtrArray) stack = g_ptr_array_copy(starts, NULL, NULL);
    GPtrArray *order = g_ptr_array_new();

    while (stack->len) {
        BlockNode *n = stack->pdata[stack->len - 1];

        if (g_hash_table_add(entered, n)) {
            for (unsigned i = 0; i < n->core->children->len; i++) {
                BlockEdge *e = n->core->children->pdata[i];
                if (!g_hash_table_contains(entered, e->child)) {
                    g_ptr_array_add(stack, e->child);
                }
            }
            continue;
        }
        g_ptr_array_set_size(stack, stack->len - 1);
        if (g_hash_table_add(left, n)) {
            g_ptr_array_add(order, n);
        }
    }
    for (unsigned i = 0; i < order->len / 2; i++) {
        void *swap = order->pdata[i];
        order->pdata[i] = order->pdata[order->len - 1 - i];
        order->pdata[order->len - 1 - i] = swap;
    }
    return order;
}

static bool perms_set_node(BlockPermsChange *p, BlockNode *n, GError **err)
{
    NodeUndo undo = {.node = n, .old = n->core->perms};
    BlockPerms users;

    if (!perms_fold(n, &users, err)) {
        return false;
    }
    if ((users.needs & BLOCK_PERM_WRITE) && n->read_only) {
        return error_set(err, "Read-only block node '%s' cannot support read-write users",
                         n->opts.node_name);
    }
    if ((users.needs & BLOCK_PERM_WRITE_UNCHANGED) && n->read_only) {
        return error_set(err, "Block node is read-only");
    }
    if (n->core->settling && users.needs & ~n->core->perms.needs & PERM_CHANGES) {
        return error_set(err, "Node '%s' is being reopened: try again", n->opts.node_name);
    }
    if (n->driver->perms_prepare) {
        unsigned shares = users.shares & n->core->guard.shares;
        unsigned unshared = n->opts.force_share ? 0 : ~shares & BLOCK_PERM_ALL;

        if (!n->driver->perms_prepare(n, users.needs | n->core->guard.needs, unshared, err)) {
            return false;
        }
        undo.prepared = true;
    }
    n->core->perms = users;
    g_array_append_val(p->nodes, undo);
    for (unsigned i = 0; i < n->core->children->len; i++) {
        BlockEdge *e = n->core->children->pdata[i];
        EdgeUndo edge = {.edge = e, .old = e->perms};

        e->perms = perms_for_child(n, e, users);
        g_array_append_val(p->edges, edge);
    }
    return true;
}

static void perms_free(BlockPermsChange *p)
{
    g_array_unref(p->edges);
    g_array_unref(p->nodes);
    g_free(p);
}

BlockPermsChange *block_perms_prepare(GPtrArray *starts, GError **err)
{
    g_autoptr(GPtrArray) order = block_nodes_in_order(starts);
    BlockPermsChange *p = g_new(BlockPermsChange, 1);

    p->edges = g_array_new(FALSE, FALSE, sizeof(EdgeUndo));
    p->nodes = g_array_new(FALSE, FALSE, sizeof(NodeUndo));
    for (unsigned i = 0; i < order->len; i++) {
        if (!perms_set_node(p, order->pdata[i], err)) {
            block_perms_abort(p);
            return NULL;
        }
    }
    return p;
}

void block_perms_commit(BlockPermsChange *p)
{
    for (unsigned i = 0; i < p->nodes->len; i++) {
        NodeUndo *undo = &g_array_index(p->nodes, NodeUndo, i);
        if (undo->prepared) {
            undo->node->driver->perms_commit(undo->node);
        }
    }
    perms_free(p);
}

void block_perms_abort(BlockPermsChange *p)
{
    for (unsigned i = p->edges->len; i-- > 0;) {
        EdgeUndo *undo = &g_array_index(p->edges, EdgeUndo, i);
        undo->edge->perms = undo->old;
    }
    for (unsigned i = p->nodes->len; i-- > 0;) {
        NodeUndo *undo = &g_array_index(p->nodes, NodeUndo, i);
        undo->node->core->perms = undo->old;
        if (undo->prepared) {
            undo->node->driver->perms_abort(undo->node);
        }
    }
    perms_free(p);
}
