/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'info block -n': the nodes that have names. */
#ifndef MONITOR_BLOCK_TEXT_H
#define MONITOR_BLOCK_TEXT_H

#include <jansson.h>
#include <stdbool.h>

/* 'nodes' as of query-named-block-nodes; name NULL: all of them. Caller frees. */
char *block_text_of_nodes(json_t *nodes, const char *name, bool verbose);

#endif
