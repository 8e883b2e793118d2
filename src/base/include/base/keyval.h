/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option text into the configuration tree: 'key=value,key=value' (",," is a comma; 'a.b=c' nests;
 * a leading word without '=' takes the implied key; a later bare word 'x' is 'x=on' and 'nox' is
 * 'x=off'; 'help' and '?' are 'help=on' wherever they stand), or JSON where the text starts with
 * '{'.
 */
#ifndef BASE_KEYVAL_H
#define BASE_KEYVAL_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/json.h"

/*
 * A new JSON object, or NULL and *err. Values from key=value are strings. A repeated key keeps the
 * last value, except those in 'lists' (NULL-terminated, may be NULL), which become arrays of
 * strings. 'implied' may be NULL. Dots nest only where 'nest' is true; all-numeric keys below a
 * dot make a list ("server.0.host=").
 */
json_t *keyval_parse(const char *text, const char *implied, const char *const *lists, bool nest,
                     GError **err);
/*
 * Puts a value where a dotted key says, as above, making the objects on the way; an object there is
 * merged with one that comes. The caller keeps its reference.
 */
bool keyval_put(json_t *tree, const char *key, json_t *value, GError **err);
/* An object whose keys may have dots, at every depth, as one without: a new reference. */
json_t *keyval_nest(const json_t *flat, GError **err);
/* Whether a user may name things so: letters, digits, '-', '.', '_', starting with a letter. */
bool id_check(const char *id, GError **err);

#endif
