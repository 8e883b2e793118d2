/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON text, read and written: the one reader for option values, file names and QMP. It takes what
 * QEMU's takes: strings in either kind of quotes, \' as an escape, integers up to 2^64 - 1. Trees
 * are jansson's; jansson parses what the reader has cut out and put into JSON proper.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One value, with errors that say line and column and quote what is near. New reference. */
json_t *json_parse(const char *text, GError **err);
/* Compact text of a value, keys in the order they were put (caller frees). */
char *json_text(const json_t *value);
/*
 * As text, never NULL; flags are json_dumps()'s. File names, say, are any bytes: what is no UTF-8
 * comes out as U+FFFD. Caller frees.
 */
char *json_dump_text(const json_t *value, size_t flags);

/*
 * jansson's integers end at 2^63 - 1. The unsigned ones above that are strings in the tree, which
 * no JSON text can bring about: json_is_big() knows them, json_text() writes them as numbers.
 */
json_t *json_uint(uint64_t n); /* new reference */
bool json_is_big(const json_t *value);
/* The value of an integer that is not negative; false where it is none. */
bool json_uint_value(const json_t *value, uint64_t *n);

/* The string under a key; NULL where there is none, or it is no string. */
const char *json_str(const json_t *object, const char *key);

/*
 * Cuts a stream of bytes into values, and finds its feet again after nonsense: a wrong byte or an
 * unbalanced bracket is one error, and whatever follows up to the end of the line or the next
 * opening bracket belongs to it. A message too long or too deep is skipped up to the end of its
 * line. Byte 0xff ends whatever is open, and is an error itself: clients resynchronise with it.
 */
typedef struct JsonStream JsonStream;
/* A value (the reference is the callee's), or NULL and what was wrong. */
typedef void (*JsonStreamFn)(void *data, json_t *value, const char *error);

/* 'flags' are jansson's for the parser, beside those that are always on. */
JsonStream *json_stream_new(unsigned depth_max, size_t flags);
void json_stream_free(JsonStream *s);
void json_stream_feed(JsonStream *s, const void *bytes, size_t len, JsonStreamFn fn, void *data);
/* No more will come: a number at the end is complete, an open value is an error. */
void json_stream_end(JsonStream *s, JsonStreamFn fn, void *data);

#endif
