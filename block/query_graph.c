/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x-debug-query-block-graph: who uses which node, what for, and what others may do meanwhile. */
#include "core.h"

typedef struct {
    json_t *nodes, *edges;
    GHashTable *ids; /* of parents and nodes, by address */
} GraphQuery;

/* The id of a node or user, which is added to the list where it is new. */
static json_int_t graph_id(GraphQuery *q, const void *who, const char *type, const char *name)
{
    json_int_t id = GPOINTER_TO_UINT(g_hash_table_lookup(q->ids, who));

    if (!id) {
        id = g_hash_table_size(q->ids) + 1;
        g_hash_table_insert(q->ids, (gpointer)who, GUINT_TO_POINTER(id));
        json_array_append_new(q->nodes, json_pack("{s:I,s:s,s:o}", "id", id, "type", type, "name",
                                                  json_string_nocheck(name ? name : "")));
    }
    return id;
}

static json_int_t graph_parent_id(GraphQuery *q, BlockEdge *e)
{
    const char *name;

    if (e->parent_node) {
        return graph_id(q, e->parent_node, "block-driver", e->parent_node->opts.node_name);
    }
    name = e->class->name ? e->class->name(e) : NULL;
    return graph_id(q, e->parent, e->class->is_job ? "block-job" : "block-backend", name);
}

static json_t *graph_perms(unsigned perms)
{
    json_t *list = json_array();

    for (unsigned i = 0; block_perm_names[i]; i++) {
        if (perms & 1u << i) {
            json_array_append_new(list, json_string(block_perm_names[i]));
        }
    }
    return list;
}

/* A drive without a medium is in the list, too. */
static void graph_add_backend(BlockBackend *blk, void *data)
{
    const char *name = block_backend_name(blk);

    graph_id(data, blk, "block-backend", *name ? name : block_backend_device(blk));
}

static void graph_add_edge(GraphQuery *q, BlockEdge *e)
{
    json_int_t parent = graph_parent_id(q, e);
    json_int_t child = graph_id(q, e->child, "block-driver", e->child->opts.node_name);

    json_array_append_new(q->edges,
                          json_pack("{s:I,s:I,s:s,s:o,s:o}", "parent", parent, "child", child,
                                    "name", e->name, "perm", graph_perms(e->perms.needs),
                                    "shared-perm", graph_perms(e->perms.shares)));
}

json_t *block_query_graph(void)
{
    GPtrArray *all = block_nodes();
    GraphQuery q = {
        .nodes = json_array(), .edges = json_array(), .ids = g_hash_table_new(NULL, NULL)};

    block_backend_foreach(graph_add_backend, &q);
    for (unsigned i = 0; i < all->len; i++) {
        BlockNode *n = all->pdata[i];

        graph_id(&q, n, "block-driver", n->opts.node_name);
        for (unsigned j = 0; j < n->core->parents->len; j++) {
            graph_add_edge(&q, n->core->parents->pdata[j]);
        }
    }
    g_hash_table_unref(q.ids);
    return json_pack("{s:o,s:o}", "nodes", q.nodes, "edges", q.edges);
}
