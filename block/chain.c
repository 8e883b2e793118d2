/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walks along backing chains of live nodes, with the filters in them. */
#include "core.h"

BlockEdge *block_chain_edge(BlockNode *n)
{
    return block_node_edge(n, n->backing ? "backing" : n->driver->is_filter ? "file" : "");
}

bool block_chain_contains(BlockNode *top, BlockNode *n)
{
    while (top && top != n) {
        top = block_node_below(top);
    }
    return top;
}

BlockNode *block_chain_above(BlockNode *top, BlockNode *n)
{
    while (top && block_node_below(top) != n) {
        top = block_node_below(top);
    }
    return top;
}

bool block_node_is_root(BlockNode *n)
{
    for (unsigned i = 0; i < n->core->parents->len; i++) {
        if (((BlockEdge *)n->core->parents->pdata[i])->parent_node) {
            return false;
        }
    }
    return true;
}
