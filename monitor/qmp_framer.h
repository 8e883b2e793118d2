/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cuts a byte stream into JSON values, and finds its feet again after nonsense. */
#ifndef MONITOR_QMP_FRAMER_H
#define MONITOR_QMP_FRAMER_H

#include <glib.h>
#include <jansson.h>
#include <stdint.h>

typedef struct QmpFramer QmpFramer;
/* A value (the reference is the callee's), or NULL and what was wrong. */
typedef void (*QmpFramerFn)(void *data, json_t *message, const char *error);

QmpFramer *qmp_framer_new(void);
void qmp_framer_free(QmpFramer *f);
void qmp_framer_feed(QmpFramer *f, const uint8_t *buf, size_t len, QmpFramerFn fn, void *data);

#endif
