/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of the block graph: nodes, disks, and changes as a monitor's commands make them. */
#ifndef TESTS_UNIT_BLOCK_GRAPH_FIXTURE_H
#define TESTS_UNIT_BLOCK_GRAPH_FIXTURE_H

#include "../../../block/core.h"
#include "fixture.h"

enum { UNIT = 65536, PATTERN = 0x5a };

/* As blockdev-add. The format makes JSON, with ' for ". */
BlockNode *graph_add(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
BlockBackend *graph_disk(const char *node, const char *path, GError **err);
/* Runs a coroutine to its end, as a command of the monitor would. */
void graph_run(void (*fn)(void *data), void *data);
/* Turns the main loop, which may find nothing to do. */
void turn(unsigned times);

/* For graph_run(). */
typedef struct {
    BlockNode *node, *filter;
    json_t *configs;
    bool insert, activate;
    GError *err;
    bool ok;
} Op;

void coroutine_fn op_filter(void *data);
void coroutine_fn op_inactive(void *data);

void must_reopen(const char *configs);
void must_not_reopen(const char *configs, const char *why);
void must_be(bool active);

/* A sector of this byte; the last byte of a sector. Or -errno. */
int fill(BlockBackend *blk, uint64_t offset, int byte);
int peek(BlockBackend *blk, uint64_t offset);

/* A chain: top -> middle -> base; another disk has an overlay of its own on base. */
typedef struct {
    BlockBackend *disk, *other;
    BlockNode *top, *middle, *base, *twin;
} Chain;

Chain chain_make(void);
void chain_free(Chain *c);

#endif
