/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info block' of one device, or of the nodes that have names. Texts are the caller's to free. */
#ifndef MONITOR_BLOCK_TEXT_H
#define MONITOR_BLOCK_TEXT_H

#include <jansson.h>
#include <stdbool.h>

/* The part of block_info_text()'s 'all' that is about one device; "" where there is none. */
char *block_text_of_device(const char *all, const char *device);
/* 'nodes' as of query-named-block-nodes; name NULL: all of them. */
char *block_text_of_nodes(json_t *nodes, const char *name, bool verbose);

#endif
