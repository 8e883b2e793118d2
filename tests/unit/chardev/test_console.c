/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's consoles: what is kept of them, what is heard, and how it looks. */
#include <string.h>
#include "chardev/chardev.h"
#include "chardev/console.h"
#include "../base/unit.h"

static void *heard_begin(void *data)
{
    g_string_append(data, "<");
    return data;
}

static void heard_output(void *state, const uint8_t *buf, size_t len)
{
    g_string_append_len(state, (const char *)buf, len);
}

static void heard_end(void *state)
{
    g_string_append(state, ">");
}

static void put(CharConsole *c, const char *text)
{
    char_console_put(c, (const uint8_t *)text, strlen(text));
}

static void note_tail(const char *name, const char *text, void *data)
{
    g_string_append_printf(data, "%s: %s;", name, text);
}

static char *tail(unsigned lines)
{
    GString *all = g_string_new(NULL);

    char_consoles_tail(lines, note_tail, all);
    return g_string_free(all, FALSE);
}

static void check_tail(unsigned lines, const char *expected)
{
    g_autofree char *got = tail(lines);

    ck_assert_str_eq(got, expected);
}

START_TEST(all_of_it_is_heard)
{
    static const CharConsoleListener listener = {heard_begin, heard_output, heard_end};
    g_autoptr(GString) heard = g_string_new(NULL);
    CharFrontend fe = {0}; /* not connected: nobody reads */

    char_consoles_listen(&listener, heard);
    fe.console = char_console_new(&fe, "c");
    ck_assert_uint_eq(char_write(&fe, (const uint8_t *)"one ", 4), 4);
    char_write_all(&fe, (const uint8_t *)"two", 3);
    char_console_free(fe.console);
    char_consoles_listen(NULL, NULL);
    ck_assert_str_eq(heard->str, "<one two>");
}
END_TEST

START_TEST(the_last_lines)
{
    CharFrontend fe = {0};
    CharConsole *a = char_console_new(&fe, "a"), *b = char_console_new(&fe, "b"),
                *c = char_console_new(&fe, "c");

    put(a, "1\n2\r\n\n3\n\n\n");
    put(c, "x");
    check_tail(1, "a: 3;c: x;");
    check_tail(3, "a: 2\n\n3;c: x;");
    check_tail(100, "a: 1\n2\n\n3;c: x;");
    char_console_free(a);
    check_tail(1, "c: x;");
    put(b, " \n");
    check_tail(1, "c: x;"); /* blanks are nothing */
    char_console_free(b);
    char_console_free(c);
    check_tail(1, "");
}
END_TEST

/* More than is kept, in pieces and at once. */
START_TEST(much)
{
    g_autofree char *text = g_strnfill(100000, 'x');
    CharFrontend fe = {0};
    CharConsole *c = char_console_new(&fe, "c");
    g_autofree char *kept = NULL;

    for (unsigned i = 0; i < 3000; i++) {
        put(c, "line\n");
    }
    memcpy(text + 99990, "\nthe end", 8);
    text[99998] = 0;
    put(c, text);
    check_tail(1, "c: the end;");
    kept = tail(2);
    ck_assert_uint_eq(strlen(kept), strlen("c: ;") + 16384);
    char_console_free(c);
}
END_TEST

static void check_clean(const char *bytes, size_t len, const char *expected)
{
    g_autofree char *clean = char_console_clean((const uint8_t *)bytes, len);

    ck_assert_str_eq(clean, expected);
}
#define CLEAN(bytes, expected) check_clean(bytes, sizeof(bytes) - 1, expected)

START_TEST(no_harm_to_terminals)
{
    CLEAN("plain \xc3\xa4\n", "plain ä\n");
    CLEAN("\033[1;32m OK \033[0m\r\n", " OK \n");
    CLEAN("a\033]0;title\007b\033]0;title\033\\c", "abc");
    CLEAN("\033]0;no end\nnext", "next");
    CLEAN("\033(Bx\0337y\033", "Bxy");
    CLEAN("\033[", "");
    CLEAN("nul\0l\b\177\x9b"
          "2J",
          "null\xef\xbf\xbd"
          "2J");
    CLEAN("\xc2\x9b"
          "2J",
          "2J"); /* CSI as one character */
    CLEAN("\xe2\x80\xae"
          "abc",
          "abc"); /* the other way round */
    CLEAN("\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {all_of_it_is_heard, the_last_lines, much, no_harm_to_terminals,
                                  NULL};

    return unit_run("console", tests);
}
