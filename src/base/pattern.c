/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running PCRE2 over a stream (pcre2partial(3), 'Multi-segment matching'). Text is kept from where
 * a match has begun, and a little before that, for what looks back.
 */
#include "base/pattern.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

#define MATCH_MAX       (64 * KiB)
#define MATCH_MAX_AGAIN (4 * KiB) /* where each byte has PCRE2 begin the match again */
#define PIECE           (1 * KiB) /* given to PCRE2 at a time */
#define TRIM            (4 * KiB) /* text is dropped when there is so much of it */
/* Look-behinds may be in each other. */
#define LOOK_BEHIND_MAX 255
#define KEPT_BEFORE     (1 * KiB)
/* PCRE2 counts beginnings of matches, each of which may look at all of the text. */
#define WORK_MAX       (16 * MiB)
#define DEPTH_MAX      100
#define HEAP_MAX_KIB   1024
#define WORKSPACE_INTS 2048

struct Pattern {
    char *text;
    pcre2_code *code;
    bool resumes;  /* PCRE2_DFA_RESTART works: nothing looks ahead of the automaton */
    bool shortest; /* the shortest match is as good as any: nothing depends on what follows it */
    int warned;    /* atomic */
};

struct PatternScan {
    Pattern *p;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    GByteArray *text;
    size_t start; /* in the text: no match begins before it */
    size_t seen;  /* in the text: PCRE2 has seen it up to here */
    bool begun;   /* a match has begun at 'start', and may go on */
    bool skips;   /* the rest of this line is left out */
    bool found;
    int workspace[WORKSPACE_INTS]; /* the automaton's states, while 'begun' */
};

/* Expressions. */

/* "(?" at c. False and *err: the group cannot be looked for in pieces. */
static bool pattern_read_group(Pattern *p, const char *c, GError **err)
{
    const char *flags = c + 2, *end = flags + strspn(flags, "imnsxJU-");
    const char *minus = memchr(flags, '-', end - flags);

    if (*flags == '(') {
        return error_set(err, "conditions, (?(...), are not supported");
    }
    if (*flags == '*' || (*flags == '<' && flags[1] == '*')) {
        return error_set(err, "look-around that is tried again, (?*...), is not supported");
    }
    if (*flags == '^' || (minus && memchr(minus, 'm', end - minus))) {
        return error_set(err, "^ and $ are about lines always: (?-m) and (?^) are not supported");
    }
    if (*end == ':' || *end == ')') {
        /* In the comments of (?x) anything may be. */
        p->shortest &= !memchr(flags, 'x', end - flags);
        p->resumes &= p->shortest;
        return true;
    }
    if ((*flags == '<' && flags[1] != '=' && flags[1] != '!') || *flags == '\'' ||
        g_str_has_prefix(flags, "P<")) {
        return true; /* a group with a name */
    }
    /* Look-around gives no length; of an atomic group, or a call of one, the longest match counts.
     */
    p->resumes = false;
    p->shortest &= *flags == '=' || *flags == '!' || *flags == '<';
    return true;
}

/* Behind the '\'. */
static bool pattern_read_escape(Pattern *p, const char **c, GError **err)
{
    const char *end;

    switch (**c) {
    case 'K':
    case 'G':
        return error_set(err, "\\%c is not supported", **c);
    case 'b':
    case 'B':
        p->shortest = false;
        break;
    case 'g':
    case 'k':
        p->resumes = p->shortest = false;
        break;
    case 'Q':
        end = strstr(*c, "\\E");
        *c = end ? end + 1 : *c + strlen(*c) - 1;
        break;
    }
    return true;
}

/* A character of several bytes at *c, which PCRE2 takes for as many characters. */
static bool pattern_read_wide(const char **c, bool in_class, GError **err)
{
    const char *end = *c + 1;

    while ((*end & 0xc0) == 0x80) {
        end++;
    }
    if (in_class) {
        return error_set(err, "[] with a character beyond ASCII: write (a|b) for [ab]");
    }
    if (*end && strchr("*+?{", *end)) {
        return error_set(err, "a repetition of '%.*s': put that into parentheses", (int)(end - *c),
                         *c);
    }
    *c = end - 1;
    return true;
}

/* "[" at *c: a class begins, or [:alpha:] in one. Leaves *c on its last character. */
static void pattern_read_bracket(Pattern *p, const char **c, bool *in_class)
{
    const char *end = *in_class && (*c)[1] == ':' ? strstr(*c, ":]") : NULL;

    if (end) {
        if (strchr("<>", (*c)[2])) { /* [[:<:]] is PCRE2's for \b(?=\w) */
            p->resumes = p->shortest = false;
        }
        *c = end + 1;
    } else if (!*in_class) {
        *in_class = true;
        *c += (*c)[1] == '^';
        *c += (*c)[1] == ']';
    }
}

/* What PCRE2 does not tell of an expression. It has compiled it, so it is well formed. */
static bool pattern_read(Pattern *p, GError **err)
{
    bool in_class = false, ok = true;

    p->resumes = p->shortest = true;
    for (const char *c = p->text; *c && ok; c++) {
        if (*c == '\\' && c[1]) {
            c++;
            ok = pattern_read_escape(p, &c, err);
        } else if (*c & 0x80) {
            ok = pattern_read_wide(&c, in_class, err);
        } else if (*c == '[') {
            pattern_read_bracket(p, &c, &in_class);
        } else if (in_class) {
            in_class = *c != ']';
        } else if (*c == '(' && c[1] == '*') {
            ok = error_set(err, "verbs, (*...), are not supported");
        } else if (*c == '(' && c[1] == '?') {
            ok = pattern_read_group(p, c, err);
            c++;
        } else if (strchr("*+?}", *c) && c[1] == '+') {
            p->resumes = p->shortest = false; /* possessive */
        }
    }
    return ok;
}

/* Expects 'size' bytes. */
static void pcre2_explain(int code, char *text, size_t size)
{
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)text, size) < 0) {
        g_snprintf(text, size, "PCRE2's error %d", code);
    }
}

static bool pattern_compile(Pattern *p, GError **err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    char why[256];
    int error;
    size_t at;

    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    p->code = pcre2_compile((PCRE2_SPTR)p->text, PCRE2_ZERO_TERMINATED,
                            PCRE2_MULTILINE | PCRE2_ALT_CIRCUMFLEX | PCRE2_NEVER_BACKSLASH_C |
                                PCRE2_NEVER_UTF | PCRE2_NEVER_UCP,
                            &error, &at, context);
    pcre2_compile_context_free(context);
    if (!p->code) {
        pcre2_explain(error, why, sizeof(why));
        return error_set(err, "%s, at offset %zu", why, at);
    }
    return true;
}

/* Scans. */

/* Looks for a match that begins at 'from', or behind it, in the text up to 'end'. */
static int scan_run(PatternScan *s, size_t from, size_t end, uint32_t options)
{
    pcre2_set_match_limit(s->limits, WORK_MAX / MAX(end - from, 1));
    return pcre2_dfa_match(s->p->code, s->text->data, end, from, options, s->match, s->limits,
                           s->workspace, WORKSPACE_INTS);
}

/*
 * The text up to 'end' has taken too much. True: a line begins in it, behind what has been seen,
 * and the search is to go on there.
 */
static bool scan_skip_line(PatternScan *s, size_t end, const char *why)
{
    size_t from = MAX(s->seen, s->start + 1);
    const uint8_t *newline = from < end ? memchr(s->text->data + from, '\n', end - from) : NULL;

    if (!__atomic_exchange_n(&s->p->warned, 1, __ATOMIC_RELAXED)) {
        log_warn("the regular expression '%s' is not looked for in the rest of a line: %s (said "
                 "once)",
                 s->p->text, why);
    }
    s->begun = false;
    s->skips = !newline;
    s->start = s->seen = newline ? newline - s->text->data : end;
    return newline;
}

/* The same, where 'result' is that of the text up to 'end'. */
static bool scan_take_result(PatternScan *s, int result, size_t end)
{
    size_t max = s->p->resumes ? MATCH_MAX : MATCH_MAX_AGAIN;
    char why[256];

    s->found = result >= 0;
    s->begun = result == PCRE2_ERROR_PARTIAL;
    if (s->begun && end - s->start > max) {
        g_snprintf(why, sizeof(why), "a match has begun, and would be longer than %zu KiB",
                   (size_t)(max / KiB));
        return scan_skip_line(s, end, why);
    }
    if (result < 0 && !s->begun && result != PCRE2_ERROR_NOMATCH) {
        pcre2_explain(result, why, sizeof(why));
        return scan_skip_line(s, end, why);
    }
    s->seen = end;
    s->start = result == PCRE2_ERROR_NOMATCH ? end : s->start;
    return false;
}

/* Looks for a match in the text up to 'end', all of which is new from 'seen' on. */
static int scan_text(PatternScan *s, size_t end)
{
    uint32_t options = PCRE2_PARTIAL_HARD | (s->p->shortest ? PCRE2_DFA_SHORTEST : 0);
    int result = PCRE2_ERROR_NOMATCH;

    if (s->begun && s->p->resumes) {
        result = scan_run(s, s->seen, end, options | PCRE2_DFA_RESTART);
    }
    /* Where it has come to nothing another match may have begun meanwhile. */
    if (result == PCRE2_ERROR_NOMATCH) {
        result = scan_run(s, s->start, end, options);
        if (result == PCRE2_ERROR_PARTIAL) {
            s->start = pcre2_get_ovector_pointer(s->match)[0];
        }
    }
    return result;
}

static void scan_add_text(PatternScan *s, const uint8_t *buf, size_t len)
{
    size_t drop = s->start > KEPT_BEFORE ? s->start - KEPT_BEFORE : 0;

    if (drop >= TRIM) {
        g_byte_array_remove_range(s->text, 0, drop);
        s->start -= drop;
        s->seen -= drop;
    }
    g_byte_array_append(s->text, buf, len);
}

/* Gives how much of the piece is left out. The newline before the next line is not: '^' needs it.
 */
static size_t scan_left_out(PatternScan *s, const uint8_t *buf, size_t len)
{
    const uint8_t *newline = s->skips ? memchr(buf, '\n', len) : buf;

    if (s->skips && newline) {
        s->start = s->seen = s->text->len;
        s->skips = false;
    }
    return newline ? newline - buf : len;
}

bool pattern_scan(PatternScan *s, const uint8_t *buf, size_t len)
{
    while (len && !s->found) {
        size_t n = MIN(len, PIECE), out = scan_left_out(s, buf, n), end;

        if (out < n) {
            scan_add_text(s, buf + out, n - out);
            /* Whether a '\r' is all of a newline shows behind it. */
            end = s->text->len - (buf[n - 1] == '\r');
            while (end > s->seen && scan_take_result(s, scan_text(s, end), end)) {
            }
        }
        buf += n;
        len -= n;
    }
    return s->found;
}

bool pattern_scan_end(PatternScan *s)
{
    size_t end = s->text->len;

    while (!s->found && !s->skips && scan_take_result(s, scan_run(s, s->start, end, 0), end)) {
    }
    return s->found;
}

void pattern_scan_restart(PatternScan *s)
{
    g_byte_array_set_size(s->text, 0);
    s->start = s->seen = 0;
    s->begun = s->skips = s->found = false;
}

PatternScan *pattern_scan_new(Pattern *p)
{
    PatternScan *s = g_new0(PatternScan, 1);

    s->p = p;
    s->text = g_byte_array_sized_new(TRIM + 2 * KEPT_BEFORE);
    s->match = pcre2_match_data_create(1, NULL);
    s->limits = pcre2_match_context_create(NULL);
    if (!s->match || !s->limits) {
        g_error("no memory to look for a regular expression"); /* ends, as all of GLib does */
    }
    pcre2_set_depth_limit(s->limits, DEPTH_MAX);
    pcre2_set_heap_limit(s->limits, HEAP_MAX_KIB);
    return s;
}

void pattern_scan_free(PatternScan *s)
{
    if (s) {
        pcre2_match_data_free(s->match);
        pcre2_match_context_free(s->limits);
        g_byte_array_unref(s->text);
        g_free(s);
    }
}

static bool pattern_check(Pattern *p, GError **err)
{
    uint32_t references = 0, behind = 0;
    PatternScan *s;
    char why[256];
    int result;

    pcre2_pattern_info(p->code, PCRE2_INFO_BACKREFMAX, &references);
    pcre2_pattern_info(p->code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
    if (references) {
        return error_set(err, "back references are not supported");
    }
    if (behind > LOOK_BEHIND_MAX) {
        return error_set(err, "it looks back by %u bytes; up to %u are supported", behind,
                         LOOK_BEHIND_MAX);
    }
    s = pattern_scan_new(p);
    result = scan_run(s, 0, 0, PCRE2_NOTBOL | PCRE2_NOTEOL);
    pattern_scan_free(s);
    if (result >= 0) {
        return error_set(err, "an empty text matches it, so it would be found at once");
    }
    pcre2_explain(result, why, sizeof(why));
    return result == PCRE2_ERROR_NOMATCH || error_set(err, "%s", why);
}

Pattern *pattern_new(const char *text, GError **err)
{
    Pattern *p = g_new0(Pattern, 1);

    p->text = g_strdup(text);
    if (!pattern_compile(p, err) || !pattern_read(p, err) || !pattern_check(p, err)) {
        pattern_free(p);
        return NULL;
    }
    return p;
}

void pattern_free(Pattern *p)
{
    if (p) {
        pcre2_code_free(p->code);
        g_free(p->text);
        g_free(p);
    }
}
