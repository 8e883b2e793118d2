/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reassembly of IPv4 fragments: in every order, and not where they contradict each other. */
#include <stdlib.h>
#include <string.h>
#include "../base/unit.h"
#include "base/util.h"
#include "ipv4_reassembly.h"

#define HEADERS 34

static Ipv4Reassembly *r;
static int64_t now;
static uint8_t *whole;
static size_t whole_len;

static void setup(void)
{
    r = ipv4_reassembly_new();
    now = 0;
    whole = NULL;
}

static void teardown(void)
{
    free(whole);
    ipv4_reassembly_free(r);
}

static void set_checksum(uint8_t *ip, size_t len)
{
    uint32_t sum = 0;

    ip[10] = ip[11] = 0;
    for (size_t i = 0; i < len; i += 2) {
        sum += ip[i] << 8 | ip[i + 1];
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10] = ~sum >> 8;
    ip[11] = ~sum;
}

/* Byte i of the payload of datagram 'id'. */
static uint8_t byte_at(unsigned id, unsigned i)
{
    return i * 7 + (i >> 8) + id;
}

static void fill(uint8_t *frame, unsigned id, unsigned offset, unsigned len, bool more)
{
    uint8_t *ip = frame + 14;

    memset(frame, 0, HEADERS);
    memset(frame, 0x52, 12);
    frame[12] = 8;
    ip[0] = 0x45;
    ip[2] = (20 + len) >> 8;
    ip[3] = 20 + len;
    ip[4] = id >> 8;
    ip[5] = id;
    ip[6] = offset / 8 >> 8 | (more ? 0x20 : 0);
    ip[7] = offset / 8;
    ip[9] = 17;
    set_checksum(ip, 20);
    for (unsigned i = 0; i < len; i++) {
        frame[HEADERS + i] = byte_at(id, offset + i);
    }
}

/* True where the frame completes a datagram, which is then in 'whole'. */
static bool add(const uint8_t *frame, size_t len)
{
    free(whole);
    whole = ipv4_reassembly_add(r, frame, len, now, &whole_len);
    return whole != NULL;
}

static bool piece(unsigned id, unsigned offset, unsigned len, bool more)
{
    g_autofree uint8_t *frame = g_malloc(HEADERS + len);

    fill(frame, id, offset, len, more);
    ck_assert(ipv4_is_fragment(frame, HEADERS + len));
    return add(frame, HEADERS + len);
}

static void check_whole(unsigned id, unsigned total)
{
    g_autofree uint8_t *frame = g_malloc(HEADERS + total);

    fill(frame, id, 0, total, false);
    ck_assert_uint_eq(whole_len, HEADERS + total);
    ck_assert_mem_eq(whole, frame, whole_len);
    ck_assert(!ipv4_is_fragment(whole, whole_len));
}

START_TEST(what_is_a_fragment)
{
    uint8_t frame[60];

    fill(frame, 1, 0, 26, false);
    ck_assert(!ipv4_is_fragment(frame, sizeof frame));
    frame[20] = 0x40; /* DF */
    ck_assert(!ipv4_is_fragment(frame, sizeof frame));
    frame[20] = 0x80; /* reserved bit: libslirp takes the datagram for a fragment */
    ck_assert(ipv4_is_fragment(frame, sizeof frame));
    frame[20] = 0;
    frame[21] = 1;
    ck_assert(ipv4_is_fragment(frame, sizeof frame));
    ck_assert(!ipv4_is_fragment(frame, HEADERS - 1));
    frame[12] = 0x81;
    ck_assert(!ipv4_is_fragment(frame, sizeof frame));
    frame[12] = 0x86;
    frame[13] = 0xdd;
    ck_assert(!ipv4_is_fragment(frame, sizeof frame));
}
END_TEST

START_TEST(every_order)
{
    static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                          {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    for (unsigned i = 0; i < 6; i++) {
        for (unsigned k = 0; k < 3; k++) {
            unsigned p = orders[i][k];

            ck_assert(piece(i, p * 1480, p == 2 ? 41 : 1480, p < 2) == (k == 2));
        }
        check_whole(i, 2 * 1480 + 41);
    }
}
END_TEST

START_TEST(several_at_once)
{
    for (unsigned id = 0; id < 16; id++) {
        ck_assert(!piece(id, 8, 3, false));
    }
    for (unsigned id = 0; id < 16; id++) {
        ck_assert(piece(id, 0, 8, true));
        check_whole(id, 11);
    }
}
END_TEST

START_TEST(the_oldest_makes_room)
{
    for (unsigned id = 0; id < 17; id++) {
        now++;
        ck_assert(!piece(id, 8, 3, false));
    }
    for (unsigned id = 1; id < 17; id++) {
        ck_assert(piece(id, 0, 8, true));
    }
    ck_assert(!piece(0, 0, 8, true));
}
END_TEST

START_TEST(too_late)
{
    ck_assert(!piece(1, 8, 3, false));
    now += 31 * NS_PER_SEC;
    ck_assert(!piece(1, 0, 8, true));
    now += 29 * NS_PER_SEC;
    ck_assert(piece(1, 8, 3, false));
    check_whole(1, 11);
}
END_TEST

/* Each contradiction is followed by the fragments that would complete the datagram. */
START_TEST(what_contradicts_is_lost)
{
    /* Overlaps: the same fragment again, a part of it, one that begins before it. */
    ck_assert(!piece(1, 0, 16, true));
    ck_assert(!piece(1, 0, 16, true));
    ck_assert(!piece(1, 16, 8, false));
    ck_assert(!piece(2, 0, 16, true));
    ck_assert(!piece(2, 8, 24, false));
    ck_assert(!piece(3, 16, 16, false));
    ck_assert(!piece(3, 0, 24, true));
    ck_assert(!piece(3, 0, 16, true));
    /* Two ends. */
    ck_assert(!piece(4, 16, 8, false));
    ck_assert(!piece(4, 24, 8, false));
    ck_assert(!piece(4, 0, 16, true));
    /* Beyond the end, whichever comes first. */
    ck_assert(!piece(5, 16, 8, false));
    ck_assert(!piece(5, 24, 8, true));
    ck_assert(!piece(5, 0, 16, true));
    ck_assert(!piece(6, 24, 8, true));
    ck_assert(!piece(6, 16, 8, false));
    ck_assert(!piece(6, 0, 16, true));
    /* No data; a length that is not whole units; an end beyond IP's maximum. */
    ck_assert(!piece(7, 8, 0, false));
    ck_assert(!piece(7, 0, 8, true));
    ck_assert(!piece(8, 0, 13, true));
    ck_assert(!piece(8, 13, 8, false));
    ck_assert(!piece(9, 8191 * 8, 1480, false));
}
END_TEST

START_TEST(the_largest)
{
    unsigned total = 65535 - 20, at;

    for (at = 0; at + 1480 < total; at += 1480) {
        ck_assert(!piece(1, at, 1480, true));
    }
    ck_assert(piece(1, at, total - at, false));
    check_whole(1, total);
    /* One byte more is too much. */
    ck_assert(!piece(2, at, total - at + 1, false));
    for (at = 0; at + 1480 < total; at += 1480) {
        ck_assert(!piece(2, at, 1480, true));
    }
}
END_TEST

/* Options count for the maximum length; those of the first fragment are kept. */
START_TEST(options_of_the_header)
{
    uint8_t frame[14 + 60 + 16];

    fill(frame, 1, 0, 56, true);
    frame[14] = 0x4f;
    memset(frame + 34, 1, 40);
    set_checksum(frame + 14, 60);
    ck_assert(!add(frame, sizeof frame));
    ck_assert(piece(1, 16, 8, false));
    ck_assert_uint_eq(whole_len, 14 + 60 + 24);
    ck_assert_uint_eq(whole[14], 0x4f);
    ck_assert_uint_eq(whole[16] << 8 | whole[17], 60 + 24);
    ck_assert_mem_eq(whole + 74, frame + 74, 16);
    ck_assert_uint_eq(whole[74 + 16], byte_at(1, 16));
    /* With its options the datagram exceeds IP's maximum. */
    fill(frame, 2, 0, 56, true);
    frame[14] = 0x4f;
    set_checksum(frame + 14, 60);
    ck_assert(!add(frame, sizeof frame));
    ck_assert(!piece(2, 16, 65535 - 20 - 16, false));
}
END_TEST

START_TEST(broken_headers)
{
    uint8_t good[HEADERS + 8], bad[HEADERS + 8];
    static const struct {
        unsigned at;
        uint8_t value;
    } cases[] = {{14, 0x65}, {14, 0x44}, {14, 0x4f}, {16, 0xff}, {17, 19}, {20, 0x80}, {24, 1}};

    fill(good, 1, 8, 8, false);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        memcpy(bad, good, sizeof bad);
        bad[cases[i].at] = cases[i].value;
        if (cases[i].at < 24) {
            set_checksum(bad + 14, 20);
        }
        ck_assert(!add(bad, sizeof bad));
        ck_assert_msg(!piece(1, 0, 8, true), "case %u", i);
        ck_assert(piece(1, 8, 8, false));
    }
    /* Cut short. */
    ck_assert(!add(good, sizeof good - 1));
    ck_assert(!piece(1, 0, 8, true));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        what_is_a_fragment, every_order,
        several_at_once,    the_oldest_makes_room,
        too_late,           what_contradicts_is_lost,
        the_largest,        options_of_the_header,
        broken_headers,     NULL,
    };

    return unit_run_with("reassembly", tests, setup, teardown);
}
