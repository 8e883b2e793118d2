/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host file for tests, driver 'cloner': a file system that copies from file to file (pcopy) as
 * the test says. One state for all nodes of it.
 */
#ifndef TESTS_UNIT_BLOCK_CLONER_H
#define TESTS_UNIT_BLOCK_CLONER_H

#include "fixture.h"

typedef struct {
    /* Atomic. */
    int refuse_every; /* 1: all copies; n: each n-th; 0: none. A part is copied nevertheless. */
    int refuse_by;    /* errno */
    int fail_write;   /* errno of writes; 0: they do not fail */
    int asked, done;  /* copies */
    unsigned flags;   /* of the last one */
} Cloner;

extern Cloner cloner;

/* Adds the driver to those of the program; 'cloner' is reset. */
void cloner_install(void);

#endif
