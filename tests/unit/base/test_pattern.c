/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patterns over a stream: what matches, in whatever pieces; what is refused; what is hostile. */
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "base/pattern.h"
#include "unit.h"

static bool found_in_pieces(Pattern *p, const char *text, size_t len, size_t piece)
{
    PatternScan *s = pattern_scan_new(p);
    bool found;

    for (size_t i = 0; i < len; i += piece) {
        pattern_scan(s, (const uint8_t *)text + i, MIN(piece, len - i));
    }
    found = pattern_scan_end(s);
    pattern_scan_free(s);
    return found;
}

static bool found(const char *expression, const char *text, size_t len)
{
    GError *err = NULL;
    Pattern *p = pattern_new(expression, &err);
    bool whole;

    ck_assert_msg(p, "%s: %s", expression, err ? err->message : "");
    whole = found_in_pieces(p, text, len, MAX(len, 1));
    ck_assert_msg(whole == found_in_pieces(p, text, len, 1), "'%s' in '%s'", expression, text);
    ck_assert_msg(whole == found_in_pieces(p, text, len, 3), "'%s' in '%s'", expression, text);
    pattern_free(p);
    return whole;
}

static const struct {
    const char *expression, *yes, *no;
} matches[] = {
    {"login:", "\r\nhost login: ", "log in:"},
    {"a.c", "xxabcxx", "a\nc"},
    {"^ok$", "no\nok\r\nno", "not ok\n"},
    {"^ok", "ok", "xok"},
    {"ok$", "ok", "okay"},
    {"a|bc|d", "xbcx", "xbx"},
    {"x(a|b)+y", "xabbay", "xy"},
    {"x(?:ab)*y", "xababy", "xay.xbay"},
    {"a{3}", "caaac", "caac"},
    {"ba{2,}c", "baaaac", "bac"},
    {"ba{1,2}c", "baac", "baaac bc"},
    {"ba??c", "bc", "baac"},
    {"[a-cx]1", "c1", "d1"},
    {"[^a-c]1", "d1", "a1"},
    {"[]]1", "]1", "[1"},
    {"[a-]1", "-1", "b1"},
    {"[[:upper:][:digit:]]!", "9!", "a!"},
    {"[\\d\\]]!", "]!", "x!"},
    {"\\bfoo\\b", "a foo.", "afoo foox"},
    {"\\Boo\\B", "fooo", "foo oo"},
    {"\\d+ tests", "12 tests", "no tests"},
    {"\\S\\s\\W\\w", "a  b", "a--b"},
    {"\\x41\\e\\[0m", "A\033[0m", "B\033[0m"},
    {"(?i)Kernel PANIC", "kernel panic", "kernel picnic"},
    {"(?i)[a-c]x", "Bx", "Dx"},
    {"(é)+x", "ééx", "\xa9x"},
    {"^done$", "a\r\ndone\r\n", "done.\r\nundone\r\n"},
    {"^done$", "50%\rdone", "50% done"},
    {"^$", "a\n\nb", "a\r\nb"},
    {"^\\s*$", "a\r\n \r\nb", "a\r\nb"},
    {"a\r\nb", "a\r\nb", "a\nb"},
    {"a.b", "a b", "a\rb"},
    {"ok.*\\Rb", "ok, yes\r\nb", "ok b"},
    {"\\Aa", "ab", "ba\na"},
    {"a\\z", "ba", "ab"},
    {"(?<name>a|b){2}c", "abc", "ac"},
    {"a((?i)b)c", "aBc", "aBC"},
    {"\\Q[a*\\E\\b", "x[a*b", "[a* "},
    {"[[:alpha:]\\]+*]{3}!", "a]+!", "a-+!"},
    {"foo(?=bar)", "foobar", "foobaz"},
    {"foo(?!bar)", "foobaz", "foobar"},
    {"(?<=foo)bar", "foobar", "fobar"},
    {"(?<!foo)bar", "fobar", "foobar"},
    {"(?<=(?<=a)b)c", "abc", "bbc"},
    {"x(?>a+)b", "xaab", "xaac"},
    {"xa*+b", "xaab", "xaac"},
    {"x(?:a|b)++c", "xabc", "xabx"},
    {"<(a|(?R))*>", "<a<a>", "<a<a"},
    {"a(?# comment)b", "ab", "a b"},
    {"(?x) a b # [ \\", "ab", "a b"},
    {"{x}", "{x}", "x"},
    {"1.5\\.", "1x5.", "1x5x"},
    {"(a|)b", "b", "a"},
    {"(a*)*b", "aab", "aa"},
    {"\\.\\*\\+\\?\\(\\)\\|\\^\\$\\\\", ".*+?()|^$\\", "."},
};

START_TEST(what_matches)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(matches); i++) {
        ck_assert_msg(found(matches[i].expression, matches[i].yes, strlen(matches[i].yes)),
                      "'%s' is not found in '%s'", matches[i].expression, matches[i].yes);
        ck_assert_msg(!found(matches[i].expression, matches[i].no, strlen(matches[i].no)),
                      "'%s' is found in '%s'", matches[i].expression, matches[i].no);
    }
    ck_assert(found("a[^b]c", "a\0c", 3));
}
END_TEST

static const struct {
    const char *expression, *why;
} refused[] = {
    {"", "an empty text matches it"},
    {"a*", "an empty text matches it"},
    {"x|", "an empty text matches it"},
    {"\\B", "an empty text matches it"},
    {"(?!a)", "an empty text matches it"},
    {"(a", "missing closing parenthesis, at offset 2"},
    {"a)", "at offset 1"},
    {"[a", "missing terminating ]"},
    {"[b-a]", "range out of order"},
    {"[ä]", "beyond ASCII"},
    {"(?x)[ä]", "beyond ASCII"},
    {"aä+", "a repetition of 'ä'"},
    {"*a", "at offset 0"},
    {"a\\", "at end of pattern"},
    {"\\y", "unrecognized character"},
    {"a\\C", "is disabled"},
    {"(a)\\1", "back references"},
    {"(?<n>a)\\k<n>", "back references"},
    {"(?<n>a)(?P=n)", "back references"},
    {"(a)(?(1)b|c)", "conditions"},
    {"a(?*b)b", "(?*...)"},
    {"a(?<*b)b", "(?*...)"},
    {"a\\Kb", "\\K is not"},
    {"a\\Gb", "\\G is not"},
    {"a(*ACCEPT)b", "verbs"},
    {"(*UTF)a", "at offset"},
    {"(*LIMIT_MATCH=1)a", "verbs"},
    {"(?-m)a$", "(?-m)"},
    {"(?^)a$", "(?-m)"},
    {"(?<=a{256})b", "looks back by 256 bytes"},
    {"((a{1000}){1000}){10}", "too large"},
};

START_TEST(what_is_refused)
{
    g_autofree char *deep = g_strdup_printf("%0*d", 200000, 0);

    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        GError *err = NULL;

        ck_assert_msg(!pattern_new(refused[i].expression, &err), "%s", refused[i].expression);
        ck_error(err, refused[i].why);
    }
    memset(deep, '(', strlen(deep));
    GError *err = NULL;
    ck_assert(!pattern_new(deep, &err));
    ck_error(err, "parentheses are too deeply nested");
}
END_TEST

/* A match counts as soon as it is sure: behind so many bytes. */
static const struct {
    const char *expression, *text;
    unsigned bytes; /* 0: not before the end */
} moments[] = {
    {"login:\\s*", "login: ", 6},
    {"a+", "aaa", 1},
    {"ok$", "ok\n", 3},
    {"ok$", "ok\r\n", 4},
    {"ok$", "ok", 0},
    {"ok.*$", "ok, too\n", 8},
    {"\\bok\\b", "ok ok", 3},
    {"\\bok\\b", "ok", 0},
    {"\\bok\\s*", "ok now", 4},
    {"\\bdog(sbody)?", "dogsbxx", 6},
    {"\\bdog(sbody)?", "dogsbody", 8},
    {"a.*b|c", "acdc\n", 5},
    {"foo(?!bar)", "fooba", 0},
    {"foo(?!bar)", "foobo", 5},
};

START_TEST(when_it_counts)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(moments); i++) {
        const uint8_t *text = (const uint8_t *)moments[i].text;
        Pattern *p = pattern_new(moments[i].expression, NULL);
        PatternScan *s = pattern_scan_new(p);
        unsigned n = 0;

        while (text[n] && !pattern_scan(s, text + n, 1)) {
            n++;
        }
        ck_assert_msg((text[n] ? n + 1 : 0) == moments[i].bytes, "'%s' in '%s': at %u",
                      moments[i].expression, moments[i].text, n + 1);
        ck_assert(pattern_scan_end(s));
        pattern_scan_free(s);
        pattern_free(p);
    }
}
END_TEST

static bool scan_bytes(PatternScan *s, char byte, size_t count, size_t piece)
{
    g_autofree uint8_t *buf = g_malloc(piece);

    memset(buf, byte, piece);
    for (; count; count -= MIN(count, piece)) {
        pattern_scan(s, buf, MIN(count, piece));
    }
    return pattern_scan(s, buf, 0);
}

/* What comes in between is dropped, and nothing of it shows. */
START_TEST(long_texts)
{
    static const char *const expressions[] = {"(?<=ab)c$", "\\bc$|b(?<=ab)c$", "b.{0,9}c$"};

    for (unsigned i = 0; i < 3 * G_N_ELEMENTS(expressions); i++) {
        size_t piece = (const size_t[]){1, 777, 100000}[i % 3];
        Pattern *p = pattern_new(expressions[i / 3], NULL);
        PatternScan *s = pattern_scan_new(p);

        ck_assert(!scan_bytes(s, '.', 70000, piece));
        ck_assert(!pattern_scan(s, (const uint8_t *)"ab", 2));
        ck_assert(!pattern_scan(s, (const uint8_t *)"c", 1));
        ck_assert(pattern_scan(s, (const uint8_t *)"\n", 1));
        pattern_scan_free(s);
        pattern_free(p);
    }
}
END_TEST

/* A match that would be too long is none; the next line is looked at as ever. */
START_TEST(long_matches)
{
    static const char *const expressions[] = {"a.*b|^c", "(?!b)a.*b|^c", "a[^b]*b|^c"};

    for (unsigned i = 0; i < 3 * G_N_ELEMENTS(expressions); i++) {
        size_t piece = (const size_t[]){1, 777, 100000}[i % 3];
        unsigned kib = i / 3 == 1 ? 4 : 64;
        Pattern *p = pattern_new(expressions[i / 3], NULL);
        PatternScan *s = pattern_scan_new(p);

        ck_assert(!pattern_scan(s, (const uint8_t *)"a", 1));
        ck_assert(!scan_bytes(s, '.', kib * 1024 - 10, piece));
        ck_assert(pattern_scan(s, (const uint8_t *)"b", 1));
        pattern_scan_restart(s);
        ck_assert(!pattern_scan(s, (const uint8_t *)"a", 1));
        ck_assert(!scan_bytes(s, '.', kib * 1024, piece));
        ck_assert(!pattern_scan(s, (const uint8_t *)"bc", 2));
        ck_assert(!pattern_scan_end(s));
        ck_assert(!pattern_scan(s, (const uint8_t *)"..\n.", 4));
        ck_assert(pattern_scan(s, (const uint8_t *)".\nc", 3));
        pattern_scan_free(s);
        pattern_free(p);
    }
}
END_TEST

/* The line that is left out may end in the same piece. */
START_TEST(long_match_before_a_line)
{
    g_autofree char *text = g_strdup_printf("x\n%099999d\ndone\n", 0);
    g_autofree char *both = g_strdelimit(g_strdup(text), "0", 'a');

    ck_assert(found("(a+)+b|^done$", both, strlen(both)));
    ck_assert(!found("(a+)+b|\\Adone$", both, strlen(both)));
    ck_assert(!found("(a+)+b|a$", both, strlen(both)));
}
END_TEST

/* What takes a matcher that tries each way for ever. */
START_TEST(hostile_texts)
{
    static const char *const expressions[] = {"(a+)+b", "(a|a)*b", "(.*)*x.*y.*z",
                                              "(a?){200}a{200}b", "^(([a-z])+.)+[A-Z]([a-z])+$"};
    g_autofree char *text = g_strdup_printf("%0*d", 100000, 0);

    memset(text, 'a', strlen(text));
    for (unsigned i = 0; i < G_N_ELEMENTS(expressions); i++) {
        ck_assert(!found(expressions[i], text, strlen(text)));
    }
}
END_TEST

/* A state is used again for another text. */
START_TEST(restart)
{
    Pattern *p = pattern_new("^a.c", NULL);
    PatternScan *s = pattern_scan_new(p);

    ck_assert(!pattern_scan(s, (const uint8_t *)"ab", 2));
    pattern_scan_restart(s);
    ck_assert(!pattern_scan(s, (const uint8_t *)"c", 1));
    pattern_scan_restart(s);
    ck_assert(pattern_scan(s, (const uint8_t *)"abc", 3));
    ck_assert(pattern_scan(s, (const uint8_t *)"x", 1)); /* found once is found */
    pattern_scan_restart(s);
    ck_assert(!pattern_scan_end(s));
    pattern_scan_free(s);
    pattern_free(p);
}
END_TEST

/* An expression that is made by chance. */
static void random_expression(GRand *r, GString *out, unsigned depth)
{
    static const char *const atoms[] = {"a", "b",   ".",   "[ab]", "[^a]",  "\\w",   "\\b",   "^",
                                        "$", "\\n", "\\B", "\\R",  "(?=b)", "(?!a)", "(?<=a)"};
    static const char *const often[] = {
        "", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,3}", "*+"}; /* the last: not of groups */
    static const char *const groups[] = {"(", "(?:", "(?i:"};
    unsigned pieces = g_rand_int_range(r, 1, 4);

    for (unsigned i = 0; i < pieces; i++) {
        if (depth && !g_rand_int_range(r, 0, 3)) {
            g_string_append(out, groups[g_rand_int_range(r, 0, G_N_ELEMENTS(groups))]);
            random_expression(r, out, depth - 1);
            g_string_append_c(out, '|');
            random_expression(r, out, depth - 1);
            g_string_append_c(out, ')');
            g_string_append(out, often[g_rand_int_range(r, 0, G_N_ELEMENTS(often) - 1)]);
        } else {
            unsigned atom = g_rand_int_range(r, 0, G_N_ELEMENTS(atoms));

            g_string_append(out, atoms[atom]);
            if (atom < 6) {
                g_string_append(out, often[g_rand_int_range(r, 0, G_N_ELEMENTS(often))]);
            }
        }
    }
}

static unsigned random_text(GRand *r, char *text, unsigned max)
{
    unsigned len = g_rand_int_range(r, 0, max);

    for (unsigned i = 0; i < len; i++) {
        text[i] = "aabA \r\n"[g_rand_int_range(r, 0, 7)];
    }
    text[len] = 0;
    return len;
}

/* The other of PCRE2's two matchers, over all of the text. */
START_TEST(as_in_one_piece)
{
    GRand *r = g_rand_new_with_seed(1);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    unsigned compared = 0, hits = 0;

    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    for (unsigned i = 0; i < 6000; i++) {
        g_autoptr(GString) expression = g_string_new(NULL);
        pcre2_match_data *match;
        pcre2_code *code;
        Pattern *p;
        size_t at;
        int error;

        random_expression(r, expression, 2);
        p = pattern_new(expression->str, NULL);
        code = pcre2_compile((PCRE2_SPTR)expression->str, PCRE2_ZERO_TERMINATED,
                             PCRE2_MULTILINE | PCRE2_ALT_CIRCUMFLEX, &error, &at, context);
        ck_assert(code);
        match = pcre2_match_data_create(1, NULL);
        for (unsigned k = 0; p && k < 10; k++) {
            char text[13];
            unsigned len = random_text(r, text, 12);
            int result = pcre2_match(code, (PCRE2_SPTR)text, len, 0, 0, match, NULL);
            bool got = found_in_pieces(p, text, len, 1 + k % 3), expected = result >= 0;

            if (result == PCRE2_ERROR_MATCHLIMIT) {
                continue; /* that one tries each way */
            }
            ck_assert_msg(got == expected, "'%s' in '%s': %d, in one piece %d", expression->str,
                          text, got, expected);
            compared++;
            hits += got;
        }
        pattern_free(p);
        pcre2_match_data_free(match);
        pcre2_code_free(code);
    }
    pcre2_compile_context_free(context);
    ck_assert(compared > 20000 && hits > 2000);
    g_rand_free(r);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {what_matches,  what_is_refused, when_it_counts,
                                  long_texts,    long_matches,    long_match_before_a_line,
                                  hostile_texts, restart,         as_in_one_piece,
                                  NULL};

    return unit_run("pattern", tests);
}
