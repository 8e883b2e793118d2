/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What opening a node is made of: what open.c has of node.c, filename.c, probe.c and backing.c, and
 * all of that for backend.c and drivers. Private to block/.
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

/* probe.c */
/*
 * The driver of a node that is being opened, whose options and tree are these. 'drv' NULL: the tree
 * says which, or the content of its "file" does; a node that is guessed to be raw and may be
 * written to is warned of.
 */
const BlockDriver *block_choose_driver(BlockNode *n, const BlockDriver *drv, json_t *config,
                                       GError **err);

/* backing.c */
/*
 * Opens all backing files of 'top', then calls opened() from the last image up. Loops, as there may
 * be thousands.
 */
bool block_open_backing_chain(BlockNode *top, GError **err);

#endif
