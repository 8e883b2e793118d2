/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes of the filter 'throttle', for drains of a backend, which drain no node. Main thread. */
#ifndef BLOCK_THROTTLE_NODE_H
#define BLOCK_THROTTLE_NODE_H

#include "block/node.h"

/* Lifts the limits of all throttle nodes at and below 'top', until throttle_unlift(). NULL: none.
 */
GPtrArray *throttle_lift_below(BlockNode *top);
void throttle_unlift(GPtrArray *lifted);

#endif
