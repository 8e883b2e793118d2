/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regular expressions over a stream of bytes that may be hostile: PCRE2's, by its DFA matcher,
 * which goes on where the last piece of text has ended, and tries no way twice.
 *
 * Syntax: Perl's, on bytes, but for back references, conditions, (?*...), \K, \G and (*VERBS). ^
 * and $ hold at the ends of lines (\n, \r\n, \r), and '.' is a byte within a line.
 *
 * A match counts as soon as what follows cannot change it: at once, for most. With \b, atomic
 * groups or possessive repetitions in the expression, what could go on at the end ("\s*") waits for
 * a byte more. While one match has begun and is undecided, those that begin behind it wait.
 *
 * Bounds: a match has 64 KiB at most, one of an expression with look-around 4 KiB. Where a text
 * would take more, or too much time, the rest of its line is left out, which is logged once.
 *
 * Threads: any may make scans of a Pattern; a scan belongs to one thread at a time.
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
 * NULL and *err (what is wrong, and where): no expression, one that cannot be looked for in pieces,
 * or one that an empty text matches.
 */
Pattern *pattern_new(const char *text, GError **err);
void pattern_free(Pattern *p); /* NULL is ignored; after its scans */

/* A text that has not begun. */
PatternScan *pattern_scan_new(Pattern *p);
void pattern_scan_free(PatternScan *s); /* NULL is ignored */
void pattern_scan_restart(PatternScan *s);
/* The text goes on. True: the expression has matched in it, now or before. */
bool pattern_scan(PatternScan *s, const uint8_t *buf, size_t len);
/* The text is over: a '$' or '\b' at its end holds. */
bool pattern_scan_end(PatternScan *s);

#endif
