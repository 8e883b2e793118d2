/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copy-on-read: a filter above an image with backing files. What is read and lies in one of these
 * is written into the image, so that it is read from there the next time. The disk shows the same
 * before and after: the filter needs BLOCK_PERM_WRITE_UNCHANGED of the image.
 */
#ifndef BLOCK_COPY_ON_READ_H
#define BLOCK_COPY_ON_READ_H

#include "block/node.h"

/*
 * The filter above 'image', of which users do not know ('copy-on-read=on' of a drive); the caller
 * owns a reference. NULL and *err: others let nobody write to the image.
 */
BlockNode *block_copy_on_read_above(BlockNode *image, GError **err);
/* Whether the node was made by that function. */
bool block_copy_on_read_of_drive(const BlockNode *n);
/*
 * Copies only what lies in backing files down to 'bottom', and with that. The caller has frozen the
 * edges between the filter and 'bottom', for as long as the filter is in use.
 */
void block_copy_on_read_set_bottom(BlockNode *filter, BlockNode *bottom);
/*
 * Copies the range up as a read does, and reads nothing. Any loop. 0 or -errno, of reading or
 * writing; what was copied before stays.
 */
int coroutine_fn block_copy_up(BlockNode *filter, uint64_t off, uint64_t bytes);

#endif
