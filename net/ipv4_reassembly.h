/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fragments of IPv4 datagrams (RFC 791) put together again, for a stack that must not see any.
 * A few datagrams at a time, for some seconds each; fragments that contradict each other lose
 * their datagram. One loop.
 */
#ifndef NET_IPV4_REASSEMBLY_H
#define NET_IPV4_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Ipv4Reassembly Ipv4Reassembly;

Ipv4Reassembly *ipv4_reassembly_new(void);
void ipv4_reassembly_free(Ipv4Reassembly *r);
/*
 * Whether an Ethernet frame is IPv4 with anything but DF in its fragment field, however broken the
 * rest of it is. A tagged frame is not: no VLAN reaches the stack behind this.
 */
bool ipv4_is_fragment(const uint8_t *frame, size_t len);
/*
 * Takes a frame of which ipv4_is_fragment() is true. Gives the whole datagram in one frame where
 * that was the last piece (*whole_len bytes, caller frees), else NULL. 'now' is in nanoseconds of
 * any clock that does not go back.
 */
uint8_t *ipv4_reassembly_add(Ipv4Reassembly *r, const uint8_t *frame, size_t len, int64_t now,
                             size_t *whole_len);

#endif
