/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of gdb's protocol: framing, checksums, escapes, runs, and what a broken client sends. */
#include <string.h>
#include "../base/unit.h"
#include "gdb_packet.h"

static GdbParser parser;

static void setup(void)
{
    gdb_parser_init(&parser);
}

static void teardown(void)
{
    gdb_parser_clear(&parser);
}

/* The first thing that comes of the bytes; *used: how many it took. */
static GdbInput feed(const char *bytes, size_t len, size_t *used)
{
    for (size_t i = 0; i < len; i++) {
        GdbInput input = gdb_parser_take(&parser, (uint8_t)bytes[i]);

        if (input != GDB_INPUT_NONE) {
            *used = i + 1;
            return input;
        }
    }
    *used = len;
    return GDB_INPUT_NONE;
}

static const struct {
    const char *bytes;
    GdbInput input;
    const char *data;
} cases[] = {
    {"+", GDB_INPUT_ACK, NULL},
    {"-", GDB_INPUT_NACK, NULL},
    {"\3", GDB_INPUT_INTERRUPT, NULL},
    {"x\r\n+", GDB_INPUT_ACK, NULL},
    {"$#00", GDB_INPUT_PACKET, ""},
    {"$g#67", GDB_INPUT_PACKET, "g"},
    {"$g#6", GDB_INPUT_NONE, NULL},
    {"$g#68", GDB_INPUT_BAD, NULL},
    {"$g#6x", GDB_INPUT_BAD, NULL},
    {"$g#xx", GDB_INPUT_BAD, NULL},
    {"$g#6G", GDB_INPUT_BAD, NULL},
    {"$}\x03#80", GDB_INPUT_PACKET, "#"},
    {"$a\3+-#bc", GDB_INPUT_PACKET, "a\3+-"}, /* inside of a packet these are only bytes */
    {"$0* #7a", GDB_INPUT_PACKET, "0000"},
    {"$* #4a", GDB_INPUT_PACKET, ""}, /* nothing to repeat */
    {"$0*\x1d#77", GDB_INPUT_PACKET, "0"},
    {"$ab$", GDB_INPUT_BAD, NULL},
};

START_TEST(test_input)
{
    size_t used, len = strlen(cases[_i].bytes);
    GdbInput input = feed(cases[_i].bytes, len, &used);

    ck_assert_int_eq(input, cases[_i].input);
    ck_assert_uint_eq(used, len);
    if (cases[_i].data) {
        ck_assert_uint_eq(parser.data->len, strlen(cases[_i].data));
        ck_assert(!parser.data->len ||
                  !memcmp(parser.data->data, cases[_i].data, parser.data->len));
    }
}
END_TEST

START_TEST(test_goes_on_after_what_is_broken)
{
    size_t used;

    ck_assert_int_eq(feed("$ab$", 4, &used), GDB_INPUT_BAD);
    ck_assert_int_eq(feed("c#63", 4, &used), GDB_INPUT_PACKET);
    ck_assert_int_eq(feed("$c#00", 5, &used), GDB_INPUT_BAD);
    ck_assert_int_eq(feed("$c#63", 5, &used), GDB_INPUT_PACKET);
    ck_assert_int_eq(feed("$half", 5, &used), GDB_INPUT_NONE);
    gdb_parser_reset(&parser);
    ck_assert_int_eq(feed("+", 1, &used), GDB_INPUT_ACK);
}
END_TEST

START_TEST(test_too_long)
{
    static const char *const ways[] = {"", "*~"};
    char end[8];
    size_t used;

    for (unsigned way = 0; way < 2; way++) {
        uint8_t sum = 0;

        ck_assert_int_eq(feed("$", 1, &used), GDB_INPUT_NONE);
        for (unsigned i = 0; i <= GDB_PACKET_MAX; i++) {
            ck_assert_int_eq(feed("m", 1, &used), GDB_INPUT_NONE);
            ck_assert_int_eq(feed(ways[way], strlen(ways[way]), &used), GDB_INPUT_NONE);
            sum += 'm';
            for (const char *p = ways[way]; *p; p++) {
                sum += (uint8_t)*p;
            }
            ck_assert_uint_le(parser.data->len, GDB_PACKET_MAX);
        }
        g_snprintf(end, sizeof end, "#%02x", sum);
        ck_assert_int_eq(feed(end, 3, &used), GDB_INPUT_TOO_LONG);
    }
    ck_assert_int_eq(feed("$c#63", 5, &used), GDB_INPUT_PACKET);
}
END_TEST

/* What is sent comes back as it was, whatever bytes it has. */
START_TEST(test_round_trip)
{
    g_autoptr(GString) content = g_string_new(NULL), frame = g_string_new(NULL);
    uint8_t all[256];
    size_t used;

    for (unsigned i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
    }
    gdb_append_escaped(content, all, sizeof all);
    gdb_frame(frame, content->str, content->len);
    ck_assert_int_eq(feed(frame->str, frame->len, &used), GDB_INPUT_PACKET);
    ck_assert_uint_eq(used, frame->len);
    ck_assert_uint_eq(parser.data->len, sizeof all);
    ck_assert_int_eq(memcmp(parser.data->data, all, sizeof all), 0);
}
END_TEST

START_TEST(test_numbers)
{
    const char *text = "10,ffffffffffffffff:0badc0de", *p = text, *end = text + strlen(text);
    const char *wide = "10000000000000000";
    g_autoptr(GString) hex = g_string_new(NULL);
    uint8_t bytes[4];
    uint64_t v;

    ck_assert(gdb_parse_hex(&p, end, &v) && v == 0x10);
    ck_assert(!gdb_parse_next(&p, end, ':', &v));
    ck_assert(gdb_parse_next(&p, end, ',', &v) && v == UINT64_MAX);
    ck_assert(*p++ == ':');
    ck_assert(!gdb_parse_bytes(p, end, bytes, 3));
    ck_assert(gdb_parse_bytes(p, end, bytes, 4));
    gdb_append_hex(hex, bytes, 4);
    ck_assert_str_eq(hex->str, "0badc0de");
    ck_assert(!gdb_parse_bytes("0g", wide, bytes, 1));
    ck_assert(!gdb_parse_hex(&end, end, &v));
    ck_assert(!gdb_parse_hex(&wide, wide + strlen(wide), &v));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("gdb_packet");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_input, 0, G_N_ELEMENTS(cases));
    tcase_add_test(tc, test_goes_on_after_what_is_broken);
    tcase_add_test(tc, test_too_long);
    tcase_add_test(tc, test_round_trip);
    tcase_add_test(tc, test_numbers);
    return unit_run_case("monitor_gdb_packet", tc);
}
