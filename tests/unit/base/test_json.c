/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of JSON: streams, errors, QEMU's additions, integers above 2^63 - 1. */
#include <string.h>
#include "unit.h"
#include "base/json.h"

/* The values (as compact text) and errors (as '!') of a stream, separated by spaces. */
static GString *got;

static void take(void *data, json_t *value, const char *error)
{
    g_autofree char *text = NULL;

    ck_assert(!value == (error != NULL));
    if (value) {
        text = json_dump_text(value, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(value);
    }
    g_string_append_printf(got, "%s%s", got->len ? " " : "", text ? text : "!");
}

static void feed(const char *bytes, size_t len, size_t piece, const char *expected)
{
    JsonStream *s = json_stream_new(1024, JSON_ALLOW_NUL);

    got = g_string_new(NULL);
    for (size_t i = 0; i < len; i += piece) {
        json_stream_feed(s, bytes + i, MIN(piece, len - i), take, NULL);
    }
    ck_assert_str_eq(got->str, expected);
    g_string_free(got, TRUE);
    json_stream_free(s);
}

#define STREAM(bytes) bytes, sizeof(bytes) - 1
static const struct {
    const char *bytes;
    size_t len;
    const char *expected;
} streams[] = {
    {STREAM("{}"), "{}"},
    {STREAM("{\"a\":1}\r\n{\"b\":[2,{}]}"), "{\"a\":1} {\"b\":[2,{}]}"},
    {STREAM("{\"a\":\"}{\\\"\"}"), "{\"a\":\"}{\\\"\"}"},
    {STREAM("{'a':'b\"c'}"), "{\"a\":\"b\\\"c\"}"},
    {STREAM("{'a':'it\\'s'}"), "{\"a\":\"it's\"}"},
    {STREAM("{\"a\":\"it\\'s\"}"), "{\"a\":\"it's\"}"},
    {STREAM("{'a':'\\\"'}"), "{\"a\":\"\\\"\"}"},
    {STREAM("{\"a\":}{\"b\":1}"), "! {\"b\":1}"},
    {STREAM("{]{}"), "! {}"},
    {STREAM("[}{}"), "! {}"},
    {STREAM("[{\"a\":1]}\n{}"), "! {}"}, /* QEMU waits for more input */
    {STREAM("{\"a\":[}{\"b\":1}"), "! {\"b\":1}"},
    {STREAM("junk\n{}"), "! {}"},
    {STREAM("junk in a line\njunk\n{}"), "! ! {}"},
    {STREAM("}{}"), "! {}"},
    {STREAM("}}}{}"), "! {}"},
    {STREAM(",\n:\n{}"), "! ! {}"},
    {STREAM("[1]"), "[1]"},
    {STREAM("1 \"a\"true\nnull "), "1 \"a\" true null"},
    {STREAM("{\"a\""), ""},
    {STREAM("{\"a\":\"\xc3\x28\"}{}"), "! {}"},
    {STREAM("{\"a\":True}\n{}"), "! {}"},
    /* A byte that no string may have is an error; the next opening bracket begins a value. */
    {STREAM("{\"a\":\"b\nc\"}\n{}"), "! {}"},
    {STREAM("{\"a\":\"b\n{}"), "! {}"},
    {STREAM("{\"a\":\"b\tc\"}{}"), "! {}"},
    {STREAM("{\"a\":\"b\\\nc\"}{}"), "! {}"},
    {STREAM("{\"a\":\"b\0c\"}{}"), "! {}"},
    {STREAM("{\"a\":\"\xfe\"}{}"), "! {}"},
    {STREAM("{}\0{}"), "{} ! {}"},
    {STREAM("\0{}"), "! {}"},
    {STREAM("{\"a\"\0:1}\n{}"), "! {}"},
    {STREAM("\x0b{}"), "! {}"},
    {STREAM("\xef\xbb\xbf{}"), "! {}"},
    /* 0xff ends whatever is open. */
    {STREAM("{\"a\": \xff{\"b\":2}"), "! {\"b\":2}"},
    {STREAM("{\"a\":\"b\xff{}"), "! {}"},
    {STREAM("\xff{}"), "! {}"},
    {STREAM("\xff\xff{}"), "! ! {}"},
    {STREAM("junk \xff 1 {}"), "! ! 1 {}"},
    /* Escapes. */
    {STREAM("\"a\\u0000b\""), "\"a\\u0000b\""},
    {STREAM("'\\ud83d\\ude00'"), "\"\xf0\x9f\x98\x80\""},
    {STREAM("'\\ud800' '\\udc00x' '\\q' '\\u12'\n{}"), "! {}"},
    /* Numbers. */
    {STREAM("[9223372036854775807,9223372036854775808,18446744073709551615]"),
     "[9223372036854775807,9223372036854775808,18446744073709551615]"},
    {STREAM("[18446744073709551616,-9223372036854775808,-9223372036854775809]"),
     "[1.8446744073709552e19,-9223372036854775808,-9.2233720368547758e18]"},
    {STREAM("{\"x\":{\"y\":18446744073709551615}}"), "{\"x\":{\"y\":18446744073709551615}}"},
    {STREAM("01\n018446744073709551615\n-\n1.\n1e999\n{}"), "! ! ! ! ! {}"},
    /* A string with the mark of big integers is refused. */
    {STREAM("[\"\xef\xbf\xbf\x31\"]\n['\\uFFFf1']\n{}"), "! ! {}"},
    {STREAM("['a\xef\xbf\xbf\x31']"), "[\"a\xef\xbf\xbf\x31\"]"},
};

START_TEST(test_streams)
{
    for (size_t piece = 1; piece < 8; piece++) {
        feed(streams[_i].bytes, streams[_i].len, piece, streams[_i].expected);
    }
}
END_TEST

START_TEST(test_too_much)
{
    g_autofree char *deep = g_strnfill(5000, '[');
    g_autofree char *line = g_strconcat(deep, "\n{}", NULL);
    g_autofree char *flushed = g_strconcat(deep, "\xff{}", NULL);
    g_autofree char *open = g_strnfill(1024, '['), *close = g_strnfill(1024, ']');
    g_autofree char *fits = g_strconcat(open, close, NULL);
    g_autoptr(GString) tokens = g_string_new("[");

    /* After the error all is skipped up to the end of the line, or up to 0xff. */
    feed(line, strlen(line), 100, "! {}");
    feed(flushed, strlen(flushed), 100, "! ! {}");
    feed(fits, strlen(fits), 100, fits);
    for (unsigned i = 0; i < 1000001; i++) {
        g_string_append(tokens, "1,");
    }
    g_string_append(tokens, "1]\n{}");
    feed(tokens->str, tokens->len, 4096, "! {}");
}
END_TEST

static void check_text(const char *text, const char *expected, const char *expected_error)
{
    g_autoptr(GError) err = NULL;
    json_t *value = json_parse(text, &err);
    g_autofree char *back = value ? json_text(value) : NULL;

    ck_assert_ptr_eq(g_strcmp0(back, expected) ? back : NULL, NULL);
    ck_assert(!value == !!err);
    ck_assert(!err || strstr(err->message, expected_error));
    json_decref(value);
}

START_TEST(test_parse)
{
    check_text("{'driver': 'virtio-rng-pci', \"max-bytes\": 1}",
               "{\"driver\":\"virtio-rng-pci\",\"max-bytes\":1}", NULL);
    check_text(" 12 ", "12", NULL);
    check_text("12", "12", NULL);
    check_text("'a\"b'", "\"a\\\"b\"", NULL);
    check_text("18446744073709551615", "18446744073709551615", NULL);
    check_text("", NULL, "there is no value");
    check_text(" ", NULL, "there is no value");
    check_text("{} x", NULL, "JSON parse error");
    check_text("{}{}", NULL, "more follows");
    check_text("{'a':", NULL, "a bracket is not closed");
    check_text("{'a", NULL, "a string does not end");
    check_text("{'a\n'}", NULL, "stray byte 0x0a in a string");
    check_text("{\"a\":\n x1}", NULL, "line 2");
    check_text("'\\u0000'", NULL, "JSON parse error");
}
END_TEST

START_TEST(test_big)
{
    static const uint64_t numbers[] = {0, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
    uint64_t n;

    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++) {
        json_t *value = json_uint(numbers[i]), *read;
        g_autofree char *text = json_text(value);
        g_autofree char *expected = g_strdup_printf("%" G_GUINT64_FORMAT, numbers[i]);

        ck_assert_str_eq(text, expected);
        ck_assert(json_uint_value(value, &n) && n == numbers[i]);
        ck_assert(json_is_big(value) == (numbers[i] > INT64_MAX));
        read = json_parse(text, NULL);
        ck_assert(json_equal(read, value));
        json_decref(read);
        json_decref(value);
    }
    json_t *negative = json_integer(-1), *string = json_string("1");
    ck_assert(!json_uint_value(negative, &n) && !json_uint_value(string, &n));
    json_decref(negative);
    json_decref(string);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("json");

    tcase_add_loop_test(tcase, test_streams, 0, G_N_ELEMENTS(streams));
    tcase_add_test(tcase, test_too_much);
    tcase_add_test(tcase, test_parse);
    tcase_add_test(tcase, test_big);
    return unit_run_case("json", tcase);
}
