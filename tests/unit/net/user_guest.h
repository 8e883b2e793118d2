/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest on a user network, on loopback: the tests make and parse its frames. */
#ifndef USER_GUEST_H
#define USER_GUEST_H

#include "fixture.h"

#define GUEST   0x0a00020fu
#define GATEWAY 0x0a000202u

extern Nic *nic;
extern uint8_t gateway_mac[6]; /* of what send_udp() and others send; arp() finds it */
extern const uint8_t guest_mac[6];

/* -netdev user,id=n0 with these options (",..." or ""), and the guest's NIC. */
void start(const char *options);

uint16_t checksum(const uint8_t *p, size_t len, uint32_t sum);
void send_fragment(uint8_t protocol, uint16_t id, unsigned offset, bool more, const void *payload,
                   size_t len);
void send_udp(uint32_t src, uint32_t dst, int sport, int dport, const void *data, size_t len);
/* The first IP packet of that protocol since 'from'; NULL where there is none. */
const uint8_t *find_ip(unsigned *from, uint8_t protocol, size_t *len);
/* Asks who has 'addr'; the answer's MAC. */
bool arp(uint32_t addr, uint8_t mac[6]);

/* One end of a TCP connection, as a guest would have it. */
typedef struct {
    uint32_t peer, seq, ack;
    int port, peer_port;
    unsigned from;
    GString *in;
    bool fin;
} Tcp;
void tcp_send(Tcp *t, uint8_t flags, const void *data, size_t len);
/* Takes the next segment; false where there is none. */
bool tcp_take(Tcp *t, uint8_t *flags);
void tcp_wait(Tcp *t, uint8_t want);
void tcp_connect(Tcp *t, uint32_t addr, int port);

#endif
