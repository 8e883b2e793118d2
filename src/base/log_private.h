/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the lines of the log go. Whole lines: one that was begun is ended before the next. One that
 * cannot be begun is counted, and the count is told ahead of the next one that can. Under log.c's
 * lock.
 */
#ifndef BASE_LOG_PRIVATE_H
#define BASE_LOG_PRIVATE_H

#include <glib.h>
#include <stdbool.h>

typedef struct {
    int fd; /* borrowed, unless 'own' */
    bool own;
    bool is_socket;   /* and must not wait */
    GString *rest;    /* of a line that was begun; NULL: none */
    unsigned dropped; /* lines, since the last that was written */
    int why;          /* errno of the last drop */
} LogOutput;

/*
 * 'fd' stays the caller's. Where writes must not wait, a pipe or terminal is opened anew:
 * O_NONBLOCK is a property of the open file, which other processes share (the shell's terminal).
 */
void log_output_open(LogOutput *out, int fd, bool never_waits);
void log_output_close(LogOutput *out);
void log_output_line(LogOutput *out, const char *line, size_t len);

#endif
