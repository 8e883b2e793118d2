/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include "../base/unit.h"
#include "qmp_framer.h"

/* What came out, as text: values compact, errors as '!', separated by spaces. */
static GString *got;

static void take(void *data, json_t *message, const char *error)
{
    g_autofree char *text = NULL;

    ck_assert(!message == (error != NULL));
    if (message) {
        text = json_dumps(message, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(message);
    }
    g_string_append_printf(got, "%s%s", got->len ? " " : "", text ? text : "!");
}

static void feed(const char *bytes, size_t piece, const char *expected)
{
    QmpFramer *f = qmp_framer_new();
    size_t len = strlen(bytes);

    got = g_string_new(NULL);
    for (size_t i = 0; i < len; i += piece) {
        qmp_framer_feed(f, (const uint8_t *)bytes + i, MIN(piece, len - i), take, NULL);
    }
    ck_assert_str_eq(got->str, expected);
    g_string_free(got, TRUE);
    qmp_framer_free(f);
}

static const struct {
    const char *bytes, *expected;
} streams[] = {
    {"{}", "{}"},
    {"{\"a\":1}\r\n{\"b\":[2,{}]}", "{\"a\":1} {\"b\":[2,{}]}"},
    {"{\"a\":\"}{\\\"\"}", "{\"a\":\"}{\\\"\"}"},
    {"{'a':'b\"c'}", "{\"a\":\"b\\\"c\"}"},
    {"{'a':'it\\'s'}", "{\"a\":\"it's\"}"},
    {"{'a':'\\\"'}", "{\"a\":\"\\\"\"}"},
    {"{\"a\":}{\"b\":1}", "! {\"b\":1}"},
    {"{]{}", "! {}"},
    {"junk\n{}", "! {}"},
    {"}{}", "! {}"},
    {"{\"a\": \xff{\"b\":2}", "! {\"b\":2}"},
    {"\xff{}", "{}"},
    {"[1]", "[1]"},
    {"{\"a\"", ""},
    {"{\"a\":\"\xc3\x28\"}{}", "! {}"},
};

START_TEST(test_streams)
{
    for (size_t piece = 1; piece < 8; piece++) {
        feed(streams[_i].bytes, piece, streams[_i].expected);
    }
}
END_TEST

START_TEST(test_too_deep)
{
    g_autofree char *deep = g_strnfill(5000, '[');
    g_autofree char *text = g_strconcat(deep, "\n{}", NULL);
    QmpFramer *f = qmp_framer_new();

    got = g_string_new(NULL);
    qmp_framer_feed(f, (const uint8_t *)text, strlen(text), take, NULL);
    ck_assert(g_str_has_prefix(got->str, "!"));
    /* 0xff is the way out of whatever is open. */
    qmp_framer_feed(f, (const uint8_t *)"\xff{}", 3, take, NULL);
    ck_assert(g_str_has_suffix(got->str, " {}"));
    g_string_free(got, TRUE);
    qmp_framer_free(f);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("framer");

    tcase_add_loop_test(tcase, test_streams, 0, G_N_ELEMENTS(streams));
    tcase_add_test(tcase, test_too_deep);
    return unit_run_case("framer", tcase);
}
