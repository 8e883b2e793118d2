/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How QMP names the options of new images. Private to block/. */
#ifndef BLOCK_CREATE_OPTIONS_H
#define BLOCK_CREATE_OPTIONS_H

#include "block/node.h"

/* Whether 'blockdev-create', or 'x-blockdev-amend', has options for the driver. */
bool block_create_has(const char *driver);
bool block_amend_has(const char *driver);
/*
 * The tree for properties_apply() with the driver's create_props (or amend_props). New reference.
 * Nodes ('file', BlockDriver.create_nodes) are left out. NULL, and an error: the driver could do
 * it, but not as QMP has it.
 */
json_t *block_create_tree(const BlockDriver *drv, json_t *options, GError **err);
json_t *block_amend_tree(const BlockDriver *drv, json_t *options, GError **err);

#endif
