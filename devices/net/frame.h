/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ethernet frames as cards with offloads need them: what a frame consists of, checksums, and
 * segmentation. Frames are in one piece of the host's memory; nothing here trusts them. Any thread.
 */
#ifndef DEVICES_NET_FRAME_H
#define DEVICES_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER   14 /* two addresses and a type */
#define FRAME_TAG      4  /* an 802.1Q tag */
#define FRAME_MIN      60 /* without the frame check sequence */
#define FRAME_FCS      4
#define FRAME_TYPE_AT  12
#define FRAME_TYPE_TAG 0x8100
#define FRAME_TCP      6 /* IP protocols */
#define FRAME_UDP      17

/* Places in the headers. */
#define FRAME_IP_CHECKSUM  10
#define FRAME_TCP_CHECKSUM 16
#define FRAME_UDP_CHECKSUM 6

bool frame_is_broadcast(const uint8_t *frame);

/* The sum of RFC 1071, not inverted. 'sum' is a sum of an even number of bytes before. */
uint16_t frame_sum(uint16_t sum, const void *data, size_t len);
/* The sum of addresses, protocol and 'len' (TCP's pseudo header) of the IP header at 'ip'. */
uint16_t frame_pseudo_sum(const uint8_t *ip, bool v6, uint8_t protocol, uint32_t len);

/* Adds a number to a sum. */
uint16_t frame_add(uint16_t sum, uint32_t n);

/* What a frame carries. Offsets are into the frame; 0: there is no such header, or it is cut. */
typedef struct {
    unsigned ip, l4;
    unsigned ip_len; /* IPv4's header */
    unsigned l4_len; /* TCP's or UDP's header with data */
    uint8_t protocol;
    bool v6, fragment;
} FrameParts;
void frame_parse(const uint8_t *frame, size_t len, FrameParts *parts);
bool frame_ip_checksum_good(const uint8_t *frame, const FrameParts *parts); /* IPv4 */
/* TCP or UDP, which is not a fragment. A UDP datagram without a checksum is good. */
bool frame_l4_checksum_good(const uint8_t *frame, const FrameParts *parts);

/*
 * Segmentation: each segment has the first header_len bytes, with lengths, identification, sequence
 * number, flags and checksums changed, and at most mss bytes of what follows.
 */
typedef struct {
    unsigned ip, l4;          /* offsets of the headers */
    unsigned ip_checksum_at;  /* 0: leave alone */
    unsigned l4_checksum_at;  /* 0: leave alone */
    uint16_t pseudo;          /* the sum of the pseudo header without the length */
    unsigned header_len, mss; /* neither is 0 */
    bool v6, tcp;
} FrameSplit;
/* Whether the headers lie within header_len, and there is data behind them. */
bool frame_split_valid(const FrameSplit *s, size_t len);
/* How a TCP packet becomes segments. False: it is none, or frame_split_valid() says no. */
bool frame_split_tcp(const uint8_t *frame, size_t len, const FrameParts *parts, unsigned mss,
                     FrameSplit *s);
/* Gives the IP header the length of a frame of 'len' bytes, and its checksum. */
void frame_set_ip_length(const FrameSplit *s, uint8_t *frame, size_t len);
unsigned frame_split_count(const FrameSplit *s, size_t len);
/* Writes segment 'i', of at most header_len + mss bytes, and returns its length. */
size_t frame_split(const FrameSplit *s, const uint8_t *frame, size_t len, unsigned i, uint8_t *out);

#endif
