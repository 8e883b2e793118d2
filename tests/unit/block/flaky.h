/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A filter for tests, driver 'flaky': its requests fail or wait as the test says. One state for all
 * nodes of it.
 */
#ifndef TESTS_UNIT_BLOCK_FLAKY_H
#define TESTS_UNIT_BLOCK_FLAKY_H

#include "fixture.h"

typedef struct {
    /* Atomic. 0: none fails; n: the n-th from now on fails, and those after that for 'times'. */
    int fail_write_in, fail_read_in;
    int times;        /* how many fail; negative: all */
    int error;        /* positive */
    int hold;         /* writes wait until this is 0 */
    int held;         /* how many wait */
    uint64_t hold_at; /* not 0: only those that cover this byte wait, and are counted */
    /* Reads that come while 'hold_reads' is set wait until 'let_go' is set. */
    int hold_reads, let_go, reads_held;
    int writes, reads;
    uint64_t longest_read;
    int flush_ns; /* how long a flush stays in the node, besides what it does */
} Flaky;

extern Flaky flaky;

/* Adds the driver to those of the program; 'flaky' is reset. */
void flaky_install(void);

#endif
