/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reassembles fragments of IPv4 datagrams (RFC 791), for a stack that must not see fragments. Keeps
 * up to 16 datagrams, for 30 seconds each. Fragments that contradict each other drop their
 * datagram. An Ipv4Reassembly is used on one thread.
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
 * Whether an Ethernet frame is IPv4 with anything but DF in its fragment field. The rest of the
 * frame may be broken. False for a frame with a VLAN tag, which libslirp does not parse.
 */
bool ipv4_is_fragment(const uint8_t *frame, size_t len);
/*
 * Takes a frame of which ipv4_is_fragment() is true. Where that completes a datagram, returns it in
 * one frame (*whole_len bytes, caller frees), else NULL. 'now' is in ns, of any clock that does not
 * go back.
 */
uint8_t *ipv4_reassembly_add(Ipv4Reassembly *r, const uint8_t *frame, size_t len, int64_t now,
                             size_t *whole_len);

#endif
