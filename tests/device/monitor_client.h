/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of the monitors: replies compared, and monitors of their own on sockets. */
#ifndef TESTS_MONITOR_CLIENT_H
#define TESTS_MONITOR_CLIENT_H

#include "qtest_client.h"

#define MONITOR_BOARD "-machine pc -m 64 -nodefaults "

/* A request, as text, to the test's own QMP: the error, or the value under "return" (as JSON). */
void monitor_check_error(QTest *q, const char *request, const char *class, const char *desc);
void monitor_check_result(QTest *q, const char *request, const char *expected);
/* A line of HMP, and all that it prints. */
void monitor_check_hmp(QTest *q, const char *line, const char *expected);

/*
 * A monitor ('what': "qmp", "monitor") on a UNIX socket: what its client sees, byte by byte. Waits
 * end after 10 s, and fail.
 */
QTest *monitor_start(const char *what, const char *name, int *fd);
int monitor_connect(const char *path);
void monitor_say(int fd, const char *text);
/* Up to and with 'end' (caller frees). */
char *monitor_read_until(int fd, const char *end);
/* Sends the text, reads until 'end'; 'expected' must be in what came. */
void monitor_expect(int fd, const char *text, const char *end, const char *expected);
/* The same on a terminal: keys typed, and its output up to the n-th 'end'. */
void monitor_type(int fd, const char *keys);
char *monitor_read_terminal(int fd, const char *end, unsigned n);

#endif
