/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of what can be added by a command, for its help and its completion. */
#ifndef MONITOR_KINDS_H
#define MONITOR_KINDS_H

#include "internal.h"

typedef struct {
    const char *name;
    const Property *props;
} Kind;

typedef struct {
    const char *title, *indent;   /* of the list of all */
    const char *implied;          /* the key that the first word is the value of */
    bool (*at)(unsigned, Kind *); /* the n-th; false behind the last one */
} Kinds;

extern const Kinds netdev_kinds, object_kinds, chardev_kinds;

/*
 * "help" lists the kinds, "NAME,help" the properties of one ('?' is as good): true where that was
 * asked for and is printed. 'text' is what follows the command; NULL asks for nothing.
 */
bool kinds_answer_help(Monitor *mon, const Kinds *kinds, const char *text);
/* The same of device_add. */
bool devices_answer_help(Monitor *mon, const char *text);

#endif
