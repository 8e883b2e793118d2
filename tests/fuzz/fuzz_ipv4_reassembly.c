/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fragments of IPv4. The input is a list of them, eight bytes each: seconds since the last, which
 * datagram, the fragment field (2), length (2), length of the header, and what is broken about it.
 */
#include <glib.h>
#include <stdint.h>
#include <string.h>
#include "base/util.h"
#include "ipv4_reassembly.h"

static unsigned get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static unsigned checksum(const uint8_t *p, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i += 2) {
        sum += get16(p + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
}

/* A frame in an allocation of exactly its size, so that sanitizers see every byte too far. */
static uint8_t *make(const uint8_t *in, size_t *len)
{
    unsigned ihl = in[6] & 15, head = MAX(ihl, 5) * 4;
    unsigned size = MIN(head + get16(in + 4) % (in[7] & 2 ? 65536 : 64), 65535);
    uint8_t *frame = g_malloc0(14 + size), *ip = frame + 14;

    frame[12] = 8;
    ip[0] = 0x40 | ihl;
    ip[2] = size >> 8;
    ip[3] = size;
    ip[5] = in[1] & 31;
    memcpy(ip + 6, in + 2, 2);
    memset(ip + head, in[1], size - head);
    if (!(in[7] & 1)) {
        unsigned sum = checksum(ip, MIN(ihl * 4, size));

        ip[10] = sum >> 8;
        ip[11] = sum;
    }
    *len = 14 + size - (in[7] & 4 ? MIN(in[7] >> 3, size - 20) : 0);
    return frame;
}

static void check_whole(const uint8_t *frame, size_t len)
{
    unsigned head = (frame[14] & 15) * 4;

    g_assert(!ipv4_is_fragment(frame, len));
    g_assert(frame[14] >> 4 == 4 && head >= 20 && len > 14 + head);
    g_assert(get16(frame + 16) == len - 14);
    g_assert(checksum(frame + 14, head) == 0);
    /* make() fills a fragment with bytes whose low bits are the datagram's id: no other is here. */
    for (size_t i = 14 + head; i < len; i++) {
        g_assert((frame[i] & 31) == frame[19]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Ipv4Reassembly *r = ipv4_reassembly_new();
    int64_t now = 0;

    for (; size >= 8; data += 8, size -= 8) {
        size_t len, whole_len = 0;
        g_autofree uint8_t *frame = make(data, &len), *whole = NULL;

        now += data[0] * NS_PER_SEC;
        if (ipv4_is_fragment(frame, len) &&
            (whole = ipv4_reassembly_add(r, frame, len, now, &whole_len))) {
            check_whole(whole, whole_len);
        }
    }
    ipv4_reassembly_free(r);
    return 0;
}
