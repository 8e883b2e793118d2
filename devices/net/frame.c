/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts, checksums and segments of Ethernet frames. (RFC 791, 768, 793, 1071, 8200; 802.1Q.) */
#include "frame.h"

#include <string.h>
#include "base/util.h"

enum {
    TYPE_IP = 0x0800,
    TYPE_IPV6 = 0x86dd,
    TYPE_TAG_OUTER = 0x88a8,
    TAGS_MAX = 2,

    IP_HEADER = 20,
    IP_TOTAL_LENGTH = 2,
    IP_ID = 4,
    IP_FRAGMENT = 6,
    IP_PROTOCOL = 9,
    IP_ADDRESSES = 12,
    IPV6_HEADER = 40,
    IPV6_PAYLOAD_LENGTH = 4,
    IPV6_NEXT_HEADER = 6,
    IPV6_ADDRESSES = 8,

    TCP_HEADER = 20,
    TCP_SEQUENCE = 4,
    TCP_FLAGS = 13,
    TCP_DATA_OFFSET = 12,
    TCP_FIN = 0x01,
    TCP_PSH = 0x08,
    TCP_CWR = 0x80,
    UDP_HEADER = 8,
    UDP_LENGTH = 4,
};

/* Checksums. */

static uint16_t frame_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* The sum depends neither on the byte order nor on the width in which it is made (RFC 1071, 2B). */
uint16_t frame_sum(uint16_t before, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t sum = 0, word;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&word, p, 8);
        sum += word;
        sum += sum < word; /* the carry comes in again at the other end */
    }
    word = 0;
    memcpy(&word, p, len);
    sum += word;
    sum += sum < word;
    return frame_fold((uint64_t)before + be16toh(frame_fold(sum)));
}

uint16_t frame_add(uint16_t sum, uint32_t n)
{
    return frame_fold((uint64_t)sum + n);
}

uint16_t frame_pseudo_sum(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len)
{
    uint16_t addresses =
        v6 ? frame_sum(0, ip + IPV6_ADDRESSES, 32) : frame_sum(0, ip + IP_ADDRESSES, 8);

    return frame_add(addresses, protocol + len);
}

/* Parts. */

bool frame_is_broadcast(const uint8_t *frame)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    return !memcmp(frame, all, 6);
}

static void frame_parse_ip(const uint8_t *frame, size_t len, FrameParts *p, unsigned at)
{
    unsigned header = (frame[at] & 0xf) * 4u, total = ldbe16(frame + at + IP_TOTAL_LENGTH);

    if (frame[at] >> 4 != 4 || header < IP_HEADER || total < header || total > len - at) {
        return;
    }
    p->ip = at;
    p->ip_len = header;
    p->fragment = ldbe16(frame + at + IP_FRAGMENT) & 0x3fff;
    p->protocol = frame[at + IP_PROTOCOL];
    p->l4 = at + header;
    p->l4_len = total - header;
}

static void frame_parse_ipv6(const uint8_t *frame, size_t len, FrameParts *p, unsigned at)
{
    unsigned payload = ldbe16(frame + at + IPV6_PAYLOAD_LENGTH);

    if (frame[at] >> 4 != 6 || payload > len - at - IPV6_HEADER) {
        return;
    }
    p->ip = at;
    p->v6 = true;
    p->protocol = frame[at + IPV6_NEXT_HEADER]; /* extension headers are no protocol of ours */
    p->l4 = at + IPV6_HEADER;
    p->l4_len = payload;
}

void frame_parse(const uint8_t *frame, size_t len, FrameParts *p)
{
    unsigned at = FRAME_TYPE_AT;
    uint16_t type;

    *p = (FrameParts){0};
    for (unsigned tags = 0;; tags++, at += FRAME_TAG) {
        if (at + 2 > len) {
            return;
        }
        type = ldbe16(frame + at);
        if ((type != FRAME_TYPE_TAG && type != TYPE_TAG_OUTER) || tags == TAGS_MAX) {
            break;
        }
    }
    at += 2;
    if (type == TYPE_IP && at + IP_HEADER <= len) {
        frame_parse_ip(frame, len, p, at);
    } else if (type == TYPE_IPV6 && at + IPV6_HEADER <= len) {
        frame_parse_ipv6(frame, len, p, at);
    }
    if (p->l4_len < (p->protocol == FRAME_TCP ? TCP_HEADER : UDP_HEADER) ||
        (p->protocol != FRAME_TCP && p->protocol != FRAME_UDP)) {
        p->l4 = p->l4_len = 0;
    }
}

bool frame_ip_checksum_good(const uint8_t *frame, const FrameParts *p)
{
    return frame_sum(0, frame + p->ip, p->ip_len) == 0xffff;
}

bool frame_l4_checksum_good(const uint8_t *frame, const FrameParts *p)
{
    uint16_t sum;

    if (p->protocol == FRAME_UDP && !ldbe16(frame + p->l4 + FRAME_UDP_CHECKSUM)) {
        return true;
    }
    sum = frame_pseudo_sum(frame + p->ip, p->v6, p->protocol, p->l4_len);
    return frame_sum(sum, frame + p->l4, p->l4_len) == 0xffff;
}

/* Segments. */

bool frame_split_valid(const FrameSplit *s, size_t len)
{
    unsigned ip_end = s->ip + (s->v6 ? IPV6_HEADER : IP_HEADER);
    unsigned l4_end = s->l4 + (s->tcp ? TCP_HEADER : UDP_HEADER);

    return s->mss && s->header_len && len > s->header_len && ip_end <= s->l4 &&
           l4_end <= s->header_len && s->ip_checksum_at + 2 <= s->header_len &&
           s->l4_checksum_at + 2 <= s->header_len &&
           (!s->ip_checksum_at || s->ip_checksum_at >= s->ip) &&
           (!s->l4_checksum_at || s->l4_checksum_at >= s->l4);
}

bool frame_split_tcp(const uint8_t *frame, size_t len, const FrameParts *p, unsigned mss,
                     FrameSplit *s)
{
    if (!p->l4 || p->protocol != FRAME_TCP) {
        return false;
    }
    *s = (FrameSplit){
        .ip = p->ip,
        .l4 = p->l4,
        .ip_checksum_at = p->v6 ? 0 : p->ip + FRAME_IP_CHECKSUM,
        .l4_checksum_at = p->l4 + FRAME_TCP_CHECKSUM,
        .pseudo = frame_pseudo_sum(frame + p->ip, p->v6, p->protocol, 0),
        .header_len = p->l4 + (frame[p->l4 + TCP_DATA_OFFSET] >> 4) * 4u,
        .mss = mss,
        .v6 = p->v6,
        .tcp = true,
    };
    return frame_split_valid(s, len);
}

unsigned frame_split_count(const FrameSplit *s, size_t len)
{
    return DIV_ROUND_UP(len - s->header_len, s->mss);
}

void frame_set_ip_length(const FrameSplit *s, uint8_t *frame, size_t len)
{
    uint8_t *ip = frame + s->ip;

    if (s->v6) {
        stbe16(ip + IPV6_PAYLOAD_LENGTH, len - s->ip - IPV6_HEADER);
    } else {
        stbe16(ip + IP_TOTAL_LENGTH, len - s->ip);
    }
    if (s->ip_checksum_at) {
        stbe16(frame + s->ip_checksum_at, 0);
        stbe16(frame + s->ip_checksum_at, ~frame_sum(0, ip, s->l4 - s->ip));
    }
}

size_t frame_split(const FrameSplit *s, const uint8_t *frame, size_t len, unsigned i, uint8_t *out)
{
    size_t at = s->header_len + (size_t)i * s->mss, data = MIN(s->mss, len - at);
    size_t total = s->header_len + data;
    uint8_t *l4 = out + s->l4;

    memcpy(out, frame, s->header_len);
    memcpy(out + s->header_len, frame + at, data);
    if (!s->v6) {
        stbe16(out + s->ip + IP_ID, ldbe16(out + s->ip + IP_ID) + i);
    }
    frame_set_ip_length(s, out, total);
    if (s->tcp) {
        stbe32(l4 + TCP_SEQUENCE, ldbe32(l4 + TCP_SEQUENCE) + i * s->mss);
        l4[TCP_FLAGS] &= at + data < len ? ~(TCP_FIN | TCP_PSH) : 0xff;
        l4[TCP_FLAGS] &= i ? ~TCP_CWR : 0xff;
    } else {
        stbe16(l4 + UDP_LENGTH, total - s->l4);
    }
    if (s->l4_checksum_at) {
        uint16_t sum;

        stbe16(out + s->l4_checksum_at, s->pseudo);
        sum = ~frame_sum(frame_add(0, total - s->l4), l4, total - s->l4);
        stbe16(out + s->l4_checksum_at, sum || s->tcp ? sum : 0xffff);
    }
    return total;
}
