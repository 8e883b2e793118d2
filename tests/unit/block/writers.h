/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes all the time: threads with a loop each, as queues on I/O threads are, and in
 * each of them streams that write one request after the other. What a copy of the disk shows must
 * be one moment of each stream: all its requests up to one of them, and none that came later.
 */
#ifndef TESTS_UNIT_BLOCK_WRITERS_H
#define TESTS_UNIT_BLOCK_WRITERS_H

#include "fixture.h"

enum { WRITERS_PIECE = 4096, WRITERS_PIECES = 4 };

typedef struct Writers Writers;

/* The disk has to be at least writers_disk() long. */
Writers *writers_start(BlockBackend *blk, unsigned threads, unsigned streams);
size_t writers_disk(unsigned threads, unsigned streams);
/* Every request ends well, until this is set: what fails is not counted as written. */
void writers_may_fail(Writers *w);
/* Waits until all streams have written 'n' requests more. */
void coroutine_fn writers_wait(Writers *w, unsigned n);
/* Turns the main loop until the streams have ended. */
void writers_stop(Writers *w);
void writers_free(Writers *w);
/* The requests that are sure to be done now, or that may be, for each stream. g_free() it. */
unsigned *writers_done(Writers *w);
unsigned *writers_sent(Writers *w);
/* Ends the test where the content is no moment between the two. */
void writers_check(Writers *w, const uint8_t *disk, const unsigned *from, const unsigned *to);

#endif
