/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patterns over a stream: what matches, in whatever pieces; what is refused; what is hostile. */
#include <string.h>
#include "base/pattern.h"
#include "unit.h"

static bool found_in_pieces(const Pattern *p, const char *text, size_t len, size_t piece)
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
    {"é+x", "ééx", "\xa9x"},
    {"a{,2}", "a{,2}", "aa"},
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
    {"(a", "a ( without its ), at character 3"},
    {"a)", "a ) without its ("},
    {"[a", "a [ without its ]"},
    {"[", "a [ without its ]"},
    {"[^", "a [ without its ]"},
    {"[b-a]", "ends before it begins"},
    {"[[:foo:]]", "unknown class"},
    {"[ä]", "beyond ASCII"},
    {"*a", "nothing to repeat"},
    {"a**", "a repetition of a repetition"},
    {"^*a", "what has no length"},
    {"a{2,1}", "expected {m}"},
    {"a{1001}", "expected {m}"},
    {"a{1", "expected {m}"},
    {"a\\", "a backslash at the end"},
    {"\\y", "unknown escape"},
    {"(a)\\1", "back references"},
    {"(?=a)b", "only (?:...)"},
    {"a(?i)b", "only (?:...)"},
    {"(a{1000}){1000}", "too long"},
    {"((){1000}){1000}x", "too long"},
    {"\xff", "not UTF-8"},
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
    ck_error(err, "too many parentheses");
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

/* An expression that is made by chance, of the parts that GRegex has the same way. */
static void random_expression(GRand *r, GString *out, unsigned depth)
{
    static const char *const atoms[] = {"a", "b", ".", "[ab]", "[^a]", "\\b", "^", "$", "\\w"};
    static const char *const often[] = {"", "", "", "*", "+", "?", "{2}", "{1,2}", "{0,3}"};
    unsigned pieces = g_rand_int_range(r, 1, 4);

    for (unsigned i = 0; i < pieces; i++) {
        if (depth && !g_rand_int_range(r, 0, 3)) {
            g_string_append_c(out, '(');
            random_expression(r, out, depth - 1);
            g_string_append_c(out, '|');
            random_expression(r, out, depth - 1);
            g_string_append_c(out, ')');
            g_string_append(out, often[g_rand_int_range(r, 0, G_N_ELEMENTS(often))]);
        } else {
            unsigned atom = g_rand_int_range(r, 0, G_N_ELEMENTS(atoms));

            g_string_append(out, atoms[atom]);
            if (atom < 5 || atom == 8) {
                g_string_append(out, often[g_rand_int_range(r, 0, G_N_ELEMENTS(often))]);
            }
        }
    }
}

START_TEST(as_gregex_has_it)
{
    GRand *r = g_rand_new_with_seed(1);
    unsigned compared = 0, hits = 0;

    for (unsigned i = 0; i < 3000; i++) {
        g_autoptr(GString) expression = g_string_new(NULL);
        g_autoptr(GRegex) regex = NULL;
        Pattern *p;

        random_expression(r, expression, 2);
        p = pattern_new(expression->str, NULL);
        regex = g_regex_new(expression->str, G_REGEX_MULTILINE | G_REGEX_NEWLINE_LF | G_REGEX_RAW,
                            0, NULL);
        ck_assert(regex);
        for (unsigned k = 0; p && k < 10; k++) {
            char text[9] = "";
            unsigned len = g_rand_int_range(r, 0, 8);
            bool expected, got;

            for (unsigned c = 0; c < len; c++) {
                text[c] = "aab \n"[g_rand_int_range(r, 0, c + 1 < len ? 5 : 4)];
            }
            expected = g_regex_match(regex, text, 0, NULL);
            got = found_in_pieces(p, text, len, 1 + k % 3);
            ck_assert_msg(got == expected, "'%s' in '%s': %d, GRegex says %d", expression->str,
                          text, got, expected);
            compared++;
            hits += got;
        }
        pattern_free(p);
    }
    ck_assert(compared > 10000 && hits > 1000);
    g_rand_free(r);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {what_matches, what_is_refused,  hostile_texts,
                                  restart,      as_gregex_has_it, NULL};

    return unit_run("pattern", tests);
}
