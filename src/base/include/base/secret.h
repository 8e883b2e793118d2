/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object secret: a password or key, which other options name by its id. Main thread. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "base/object.h"

extern const ObjectClass secret_class;
/* The secret's *len bytes, followed by a NUL, borrowed from the object; or NULL and *err. */
const uint8_t *secret_bytes(const char *id, size_t *len, GError **err);
/* The same for a secret that has to be text in UTF-8, without a NUL in it. */
const char *secret_text(const char *id, GError **err);

#endif
