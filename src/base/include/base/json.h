/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON text, read and written. One reader serves option values, file names and QMP. Like QEMU's it
 * accepts strings in either kind of quotes, \' as an escape, and integers up to 2^64 - 1. The
 * reader cuts the input into values and rewrites these additions as standard JSON, which jansson
 * parses.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The one value that 'text' consists of (a new reference), or NULL and *err. */
json_t *json_parse(const char *text, GError **err);
/* Compact text of a value, keys in the order they were put (caller frees). */
char *json_text(const json_t *value);
/*
 * The text of a value, never NULL; flags are those of json_dumps(). Bytes that are not UTF-8 (in a
 * file name, say) come out as U+FFFD. Caller frees.
 */
char *json_dump_text(const json_t *value, size_t flags);

/*
 * jansson's integers end at 2^63 - 1. A larger unsigned integer is a marked string in the tree; no
 * JSON text makes such a string. json_is_big() recognises it, json_text() writes a number.
 */
json_t *json_uint(uint64_t n); /* new reference */
bool json_is_big(const json_t *value);
/* Sets *n where the value is an integer that is not negative, else returns false. */
bool json_uint_value(const json_t *value, uint64_t *n);

/* The string under a key, borrowed; NULL where the key is missing or its value is no string. */
const char *json_str(const json_t *object, const char *key);

/*
 * A JsonStream cuts a stream of bytes into values. A wrong byte or an unbalanced bracket is one
 * error; the bytes up to the end of the line or to the next opening bracket belong to the error. A
 * value that is too long or too deep is skipped up to the end of its line. Byte 0xff ends whatever
 * is open, and is an error itself: clients resynchronise with it.
 */
typedef struct JsonStream JsonStream;
/* Gets a value, whose reference the callee owns, or NULL and the error's text. */
typedef void (*JsonStreamFn)(void *data, json_t *value, const char *error);

/* 'flags' are added to those of json_loads() that are always on. */
JsonStream *json_stream_new(unsigned depth_max, size_t flags);
void json_stream_free(JsonStream *s);
void json_stream_feed(JsonStream *s, const void *bytes, size_t len, JsonStreamFn fn, void *data);
/* The input has ended: a number at its end is complete, an open value is an error. */
void json_stream_end(JsonStream *s, JsonStreamFn fn, void *data);

#endif
