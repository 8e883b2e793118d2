/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trace points: places in the program that say what passes, one line each, while they are switched
 * on (-trace, '-d trace:PATTERN', the monitors' trace-event). The list is trace_points.def.
 *
 *     trace(virtio_queue_notify, vdev->dev.path, vq->index);
 *
 * A point that is off costs the test of a byte. Its arguments are evaluated only where it is on. A
 * line goes where log items go (base/log.h), "NAME FIELD VALUE FIELD VALUE ...", and with
 * -msg timestamp=on behind "THREAD@SECONDS.MICROSECONDS:".
 *
 * trace() may stand on any thread, in a coroutine and under any lock: it takes no lock but the
 * log's, which is a leaf, and neither yields nor, but where a terminal takes half a line,
 * allocates. Points are switched on the main thread, while others pass them.
 */
#ifndef BASE_TRACE_H
#define BASE_TRACE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/property.h"

/* M(TYPE, FIELD) for each of up to eight fields, with commas between them. */
#define TRACE_EACH1(M, a)      M a
#define TRACE_EACH2(M, a, ...) M a, TRACE_EACH1(M, __VA_ARGS__)
#define TRACE_EACH3(M, a, ...) M a, TRACE_EACH2(M, __VA_ARGS__)
#define TRACE_EACH4(M, a, ...) M a, TRACE_EACH3(M, __VA_ARGS__)
#define TRACE_EACH5(M, a, ...) M a, TRACE_EACH4(M, __VA_ARGS__)
#define TRACE_EACH6(M, a, ...) M a, TRACE_EACH5(M, __VA_ARGS__)
#define TRACE_EACH7(M, a, ...) M a, TRACE_EACH6(M, __VA_ARGS__)
#define TRACE_EACH8(M, a, ...) M a, TRACE_EACH7(M, __VA_ARGS__)

#define TRACE_PICK(a, b, c, d, e, f, g, h, name, ...) name
#define TRACE_EACH(M, ...)                                                                         \
    TRACE_PICK(__VA_ARGS__, TRACE_EACH8, TRACE_EACH7, TRACE_EACH6, TRACE_EACH5, TRACE_EACH4,       \
               TRACE_EACH3, TRACE_EACH2, TRACE_EACH1, )                                            \
    (M, __VA_ARGS__)

/* The C types of fields. */
#define TRACE_C_HEX  uint64_t
#define TRACE_C_UINT uint64_t
#define TRACE_C_INT  int64_t
#define TRACE_C_BOOL bool
#define TRACE_C_STR  const char *

#define TRACE_PARAM(type, field) TRACE_C_##type field

typedef enum {
#define TRACE_POINT(name, scope, help, ...) TRACE_##name,
#include "base/trace_points.def"
#undef TRACE_POINT
    TRACE_POINT_COUNT
} TracePoint;

#define TRACE_POINT(name, scope, help, ...)                                                        \
    G_GNUC_INTERNAL                                                                                \
    __attribute__((cold)) void trace_emit_##name(TRACE_EACH(TRACE_PARAM, __VA_ARGS__));
#include "base/trace_points.def"
#undef TRACE_POINT

extern G_GNUC_INTERNAL uint8_t trace_states[TRACE_POINT_COUNT]; /* atomic, for trace_enabled() */

static inline bool trace_enabled(TracePoint point)
{
    uint8_t on;

    /* Not __atomic_load_n(), of which builds for the schedule explorer make a place to wait. */
    __atomic_load(&trace_states[point], &on, __ATOMIC_RELAXED);
    return on;
}

#define trace(name, ...)                                                                           \
    do {                                                                                           \
        if (G_UNLIKELY(trace_enabled(TRACE_##name))) {                                             \
            trace_emit_##name(__VA_ARGS__);                                                        \
        }                                                                                          \
    } while (0)

/* The table. Any thread. */
const char *trace_name(TracePoint point);
const char *trace_help(TracePoint point);
/* Whether the point can be on for some vCPUs alone: its first field is 'cpu'. */
bool trace_is_of_vcpu(TracePoint point);
char *trace_fields_text(TracePoint point); /* "addr, size, value" (caller frees) */
/* Whether the text is a pattern, which may match any number of points, none included. */
bool trace_is_pattern(const char *text);
/* '*' in a pattern stands for any text. */
bool trace_matches(TracePoint point, const char *pattern);
/* The existing name that this one is probably a misspelling of; NULL: there is none. */
const char *trace_nearest_name(const char *name);

/* vCPUs that a point can be on for one by one; vcpu -1 below is all of them. */
enum { TRACE_VCPU_MAX = 256 };
/* Whether the point is on, at least for one vCPU. Any thread. */
bool trace_get(TracePoint point, int vcpu);
/* Main thread. A vcpu other than -1 is for points of which trace_is_of_vcpu() is true. */
void trace_set(TracePoint point, bool on, int vcpu);

/*
 * What -trace, events files and log items say: a name or a pattern, or '-' and what is to be
 * switched off. NULL, or a warning: it matches no point (caller frees). Main thread.
 */
char *trace_switch(const char *text);

/* -trace of the program, --trace of the tools. */
typedef struct {
    char *enable; /* as for trace_switch() */
    char
        *events; /* a file of such lines; empty ones, and those that begin with '#', are left out */
    char *file;  /* the log's, as -D */
} TraceOptions;
extern const Property trace_params[];
/* Does what an option's argument says, which was parsed, or is text. Main thread. */
bool trace_from_config(json_t *options, GError **err);
bool trace_option(const char *text, GError **err);
/*
 * The list: names alone, one a line, where the program was called by a name of QEMU's, whose
 * scripts read it; else with fields and help. Caller frees.
 */
char *trace_help_text(void);

#endif
