/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Line editing, and what Tab offers. */
#ifndef MONITOR_HMP_EDIT_H
#define MONITOR_HMP_EDIT_H

#include "internal.h"

/*
 * Prompts and reads a line; returns it without the newline (caller frees). NULL: hmp_getc() has
 * returned -1.
 */
char *coroutine_fn hmp_edit_line(Monitor *mon);

/*
 * Asks for a password, which is shown as stars and is in no history (caller frees). NULL: the user
 * has left it, by Ctrl-C or Ctrl-D or with the monitor.
 */
char *coroutine_fn hmp_edit_password(Monitor *mon);

/*
 * The words with which 'line' may go on, whole and sorted. They replace the word that begins at
 * *start. The caller unrefs the array.
 */
GPtrArray *hmp_complete(Monitor *mon, const char *line, size_t *start);

#endif
