/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What node.c offers to open.c, and both to backend.c. Private to block/. */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/node.h"

BlockNode *block_node_alloc(void);
/* Checks opts.node_name, or makes up a name where there is none. */
bool block_node_set_name(BlockNode *n, GError **err);
/* The node is open: others may find it. */
void block_node_register(BlockNode *n);
/* Frees a node whose driver's open() has failed or was never called. */
void block_node_discard_unopened(BlockNode *n);

#endif
