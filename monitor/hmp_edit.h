/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Line editing on terminals, by libedit; and what Tab offers. */
#ifndef MONITOR_HMP_EDIT_H
#define MONITOR_HMP_EDIT_H

#include "internal.h"

typedef struct HmpEdit HmpEdit;

/* NULL where there is no terminal at the other end, or no libedit. */
HmpEdit *hmp_edit_new(Monitor *mon);
void hmp_edit_free(HmpEdit *e);
/* A line without its end (caller frees), or NULL where hmp_getc() said that there is none. */
char *coroutine_fn hmp_edit_line(HmpEdit *e);

/*
 * What could stand where 'line' ends: new words (each whole, as it would be typed), sorted. 'start'
 * is where the word begins that they replace.
 */
GPtrArray *hmp_complete(Monitor *mon, const char *line, size_t *start);

#endif
