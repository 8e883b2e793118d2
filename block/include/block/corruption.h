/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are found damaged while they are in use: the event BLOCK_IMAGE_CORRUPTED. */
#ifndef BLOCK_CORRUPTION_H
#define BLOCK_CORRUPTION_H

#include "base/event_loop.h"
#include "block/node.h"

/*
 * Who hears of them, on 'loop', the main one. 'device': the drive whose medium the node is, or "".
 * 'fatal': nothing is written to the image any more. Strings are borrowed. No fn: nobody hears of
 * them.
 */
typedef void (*BlockCorruptionFn)(const char *device, const char *node_name, const char *text,
                                  bool fatal, void *user);
void block_set_corruption_handler(EventLoop *loop, BlockCorruptionFn fn, void *user);
/* For drivers, on any loop: 'text' says what was found. */
void block_node_found_corrupt(const BlockNode *n, const char *text, bool fatal);

#endif
