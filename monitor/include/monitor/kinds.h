/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of what can be added by an option or a command, for help and completion. */
#ifndef MONITOR_KINDS_H
#define MONITOR_KINDS_H

#include "base/property.h"

typedef struct {
    const char *name, *help;
    const Property *props; /* or NULL */
} Kind;

typedef struct {
    const char *heading, *before, *behind; /* QEMU's text above the list, and around each name */
    const char *implied;                   /* the key that the first word is the value of */
    bool (*at)(unsigned, Kind *);          /* the n-th; false behind the last one */
} Kinds;

extern const Kinds netdev_kinds, object_kinds, chardev_kinds;

bool kinds_find(const Kinds *kinds, const char *name, Kind *kind);
/* The list of names; caller frees. */
char *kinds_text(const Kinds *kinds);
/* Help on one kind and its properties; caller frees. */
char *kind_text(const Kind *kind);

#endif
