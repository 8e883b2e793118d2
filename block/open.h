/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What node.c and filename.c offer to open.c, and all to backend.c and drivers. Private to block/.
 */
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

/* filename.c */
/* The driver for a path of the host's: the file's kind decides. */
const char *block_host_driver_for(const char *path);
/* The node that a file name means, without a format over it. New reference; NULL and *err. */
json_t *block_protocol_config(const char *filename, GError **err);
/* "PROTOCOL:PATH", of a path of the host's, as options: for BlockDriver.parse_filename. */
json_t *block_host_filename_config(const char *filename, GError **err);

#endif
