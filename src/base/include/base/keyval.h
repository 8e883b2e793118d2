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
/* Whether a word, or NULL, asks for help: "help", "?". */
bool keyval_is_help(const char *word);
/*
 * Puts a value under a dotted key, and makes the objects on the way. An object is merged into an
 * object that is there already. The caller keeps its reference to 'value'.
 */
bool keyval_put(json_t *tree, const char *key, json_t *value, GError **err);
/* Turns every object below 'tree' whose keys are all numbers into an array. */
bool keyval_make_lists(json_t *tree, GError **err);
/* A copy (new reference) in which dotted keys, at every depth, have become nested objects. */
json_t *keyval_nest(const json_t *flat, GError **err);
/* Whether 'id' is a valid id: letters, digits, '-', '.', '_', starting with a letter. */
bool id_check(const char *id, GError **err);

#endif
