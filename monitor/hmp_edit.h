/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Line editing, and what Tab offers. */
#ifndef MONITOR_HMP_EDIT_H
#define MONITOR_HMP_EDIT_H

#include "internal.h"

/*
 * Prompts, and gives a line without its end (caller frees), or NULL where hmp_getc() said that
 * there is none.
 */
char *coroutine_fn hmp_edit_line(Monitor *mon);

/*
 * What could stand where 'line' ends: new words (each whole, as it would be typed), sorted. 'start'
 * is where the word begins that they replace.
 */
GPtrArray *hmp_complete(Monitor *mon, const char *line, size_t *start);

#endif
