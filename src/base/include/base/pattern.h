/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regular expressions over a stream of bytes that may be hostile. The text is never looked at
 * twice: an automaton takes it byte by byte, so pieces make no difference, no window bounds a
 * match, and a byte costs at most the number of the expression's states, whatever the text is.
 *
 * Syntax: that of Perl, as far as an automaton has it. . [] [^] (with ranges, escapes, [:alpha:]
 * and its like) () (?:) | * + ? {m} {m,} {m,n}, ^ and $ at the ends of lines, \b \B, \d \D \w \W \s
 * \S, \n \r \t \f \e \xHH, and (?i) at the beginning. '.' is a byte other than a newline. Neither
 * back references nor look-around.
 *
 * Threads: a Pattern is constant, and may be shared; a scan belongs to one thread at a time.
 */
#ifndef BASE_PATTERN_H
#define BASE_PATTERN_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Pattern Pattern;
typedef struct PatternScan PatternScan;

/*
 * NULL and *err (what is wrong, and where): no expression, or one that is too long, or that an
 * empty text matches.
 */
Pattern *pattern_new(const char *text, GError **err);
void pattern_free(Pattern *p); /* NULL is ignored; after its scans */

/* A text that has not begun. */
PatternScan *pattern_scan_new(const Pattern *p);
void pattern_scan_free(PatternScan *s); /* NULL is ignored */
void pattern_scan_restart(PatternScan *s);
/* The text goes on. True: the expression has matched in it, now or before. */
bool pattern_scan(PatternScan *s, const uint8_t *buf, size_t len);
/* The text is over: a '$' or '\b' at its end holds. */
bool pattern_scan_end(PatternScan *s);

#endif
