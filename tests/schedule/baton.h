/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The baton: of all threads that it knows, one runs, and a seed says which is next. base/sched.h
 * says what is intercepted; here is what a test does with it.
 *
 * A run is one process (the state of the program is the process's), so a failure ends it: what is
 * wrong and where every thread stands goes to standard error, and the status says the kind.
 */
#ifndef TESTS_SCHEDULE_BATON_H
#define TESTS_SCHEDULE_BATON_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { BATON_DEADLOCK = 70, BATON_LIVELOCK = 71, BATON_ORACLE = 72 };

/*
 * The calling thread gets the baton; threads that it makes from now on are known. How often the
 * baton is handed on, and which threads are slow, is the seed's. 'limit' hooks are a livelock.
 */
void baton_start(uint64_t seed, uint64_t limit);
/* Whether there is a baton at all; without one threads run as they like (--threads). */
bool baton_active(void);
/* What happens, a line each, to this descriptor: notes, and where wanted every decision. */
void baton_trace(int fd, bool decisions);
/* For the trace: what the calling thread is about to do. */
void baton_note(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* Of all decisions until now: equal runs have equal ones. */
uint64_t baton_hash(void);
uint64_t baton_decisions(void);
int64_t baton_now(void); /* ns of the virtual clock */

/* Ends the run as a failure of an oracle. */
void baton_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
/* Where every thread stands, to standard error. */
void baton_print_threads(void);

/* A small generator for those who want numbers of their own: xorshift64*. */
typedef struct {
    uint64_t state;
} Rand;
void rand_seed(Rand *r, uint64_t seed);
uint64_t rand_next(Rand *r);
/* 0..n-1 */
static inline unsigned rand_below(Rand *r, unsigned n)
{
    return (rand_next(r) >> 32) * n >> 32;
}
static inline bool rand_one_in(Rand *r, unsigned n)
{
    return rand_below(r, n) == 0;
}

#endif
