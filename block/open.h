/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between node.c and open.c: the steps of a node's life. Private to block/. */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/node.h"

BlockNode *block_node_alloc(void);
/* Checks the name in opts, or makes one up. */
bool block_node_set_name(BlockNode *n, GError **err);
void block_node_register(BlockNode *n);
/* For a node whose driver's open failed or never ran. */
void block_node_discard_unopened(BlockNode *n);
void block_parent_add(BlockNode *n, const char *parent);
void block_parent_remove(BlockNode *n, const char *parent);

#endif
