/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one table of events; what is sent must be in it, query-qmp-schema shows it. */
#ifndef MONITOR_EVENTS_H
#define MONITOR_EVENTS_H

#include "base/property.h"

typedef struct {
    const char *name;
    const Property *data; /* names and types (offsets unused); NULL: none */
} MonitorEvent;
const MonitorEvent *monitor_events(void); /* ends with a NULL name */

#endif
