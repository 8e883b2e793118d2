/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "user_guest.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

Nic *nic;
uint8_t gateway_mac[6];
const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

void start(const char *options)
{
    GError *err = NULL;
    g_autofree char *text = g_strdup_printf("user,id=n0%s", options);

    netdev_text(text, &err);
    ck_no_error(err);
    nic = nic_new("nic", "n0");
    run_for_ms(5);
}

/* Frames. */

uint16_t checksum(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : p[i] << 8;
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htons(~sum);
}

/* 'fragment' is the fragment field of the header. */
static void send_ip_as(uint8_t protocol, uint32_t src, uint32_t dst, uint16_t id, uint16_t fragment,
                       const void *payload, size_t len)
{
    uint8_t frame[2000] = {0};
    struct iphdr head = {0}, *ip = &head;

    memcpy(frame, gateway_mac, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = 0x08;
    ip->version = 4;
    ip->ihl = 5;
    ip->tot_len = htons(20 + len);
    ip->id = htons(id);
    ip->frag_off = htons(fragment);
    ip->ttl = 64;
    ip->protocol = protocol;
    ip->saddr = htonl(src);
    ip->daddr = htonl(dst);
    ip->check = checksum((uint8_t *)ip, 20, 0);
    memcpy(frame + 14, ip, 20);
    memcpy(frame + 34, payload, len);
    nic_send(nic, frame, 34 + len);
}

static void send_ip(uint8_t protocol, uint32_t src, uint32_t dst, const void *payload, size_t len)
{
    send_ip_as(protocol, src, dst, 0, 0, payload, len);
}

void send_fragment(uint8_t protocol, uint16_t id, unsigned offset, bool more, const void *payload,
                   size_t len)
{
    send_ip_as(protocol, GUEST, GATEWAY, id, offset / 8 | (more ? 0x2000 : 0), payload, len);
}

static uint32_t pseudo(uint32_t src, uint32_t dst, uint8_t protocol, size_t len)
{
    return (src >> 16) + (src & 0xffff) + (dst >> 16) + (dst & 0xffff) + protocol + len;
}

void send_udp(uint32_t src, uint32_t dst, int sport, int dport, const void *data, size_t len)
{
    uint8_t buf[1500] __attribute__((aligned(4))) = {0};
    struct udphdr *udp = (void *)buf;

    udp->source = htons(sport);
    udp->dest = htons(dport);
    udp->len = htons(8 + len);
    memcpy(buf + 8, data, len);
    udp->check = checksum(buf, 8 + len, pseudo(src, dst, 17, 8 + len));
    send_ip(17, src, dst, buf, 8 + len);
}

const uint8_t *find_ip(unsigned *from, uint8_t protocol, size_t *len)
{
    for (; *from < nic->frames->len; ++*from) {
        size_t n;
        const uint8_t *f = nic_frame(nic, *from, &n);

        if (n >= 34 && f[12] == 8 && f[13] == 0 && f[23] == protocol) {
            ++*from;
            *len = 14 + ((f[16] << 8) | f[17]) - 34;
            return f + 34;
        }
    }
    return NULL;
}

bool arp(uint32_t addr, uint8_t mac[6])
{
    uint8_t frame[42] = {0};
    static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    uint32_t spa = htonl(GUEST), tpa = htonl(addr);

    memset(frame, 0xff, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = 8;
    frame[13] = 6;
    memcpy(frame + 14, head, 8);
    memcpy(frame + 22, guest_mac, 6);
    memcpy(frame + 28, &spa, 4);
    memcpy(frame + 38, &tpa, 4);
    nic_clear(nic);
    nic_send(nic, frame, sizeof frame);
    for (int i = 0; i < 20; i++) {
        run_for_ms(2);
        for (unsigned k = 0; k < nic->frames->len; k++) {
            size_t len;
            const uint8_t *f = nic_frame(nic, k, &len);

            if (len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 2 &&
                memcmp(f + 28, &tpa, 4) == 0) {
                ck_assert_uint_ge(len, 60);
                memcpy(mac, f + 22, 6);
                return true;
            }
        }
    }
    return false;
}

/* Answers slirp's ARP requests for the guest, as a guest does. */
static void answer_arp(void)
{
    for (unsigned k = 0; k < nic->frames->len; k++) {
        size_t len;
        const uint8_t *f = nic_frame(nic, k, &len);
        uint8_t reply[42];

        if (len >= 42 && f[12] == 8 && f[13] == 6 && f[21] == 1) {
            memcpy(reply, f, 42);
            memcpy(reply, f + 6, 6);
            memcpy(reply + 6, guest_mac, 6);
            reply[21] = 2;
            memcpy(reply + 22, guest_mac, 6);
            memcpy(reply + 28, f + 38, 4);
            memcpy(reply + 32, f + 22, 10);
            g_ptr_array_remove_index(nic->frames, k);
            nic_send(nic, reply, sizeof reply);
            return;
        }
    }
}

/* TCP. */

void tcp_send(Tcp *t, uint8_t flags, const void *data, size_t len)
{
    uint8_t buf[1500] __attribute__((aligned(4))) = {0};
    struct tcphdr *tcp = (void *)buf;

    tcp->source = htons(t->port);
    tcp->dest = htons(t->peer_port);
    tcp->seq = htonl(t->seq);
    tcp->ack_seq = htonl(t->ack);
    tcp->doff = 5;
    buf[13] = flags;
    tcp->window = htons(60000);
    if (len) {
        memcpy(buf + 20, data, len);
    }
    tcp->check = checksum(buf, 20 + len, pseudo(GUEST, t->peer, 6, 20 + len));
    send_ip(6, GUEST, t->peer, buf, 20 + len);
    t->seq += len + !!(flags & (TH_SYN | TH_FIN));
}

bool tcp_take(Tcp *t, uint8_t *flags)
{
    size_t len;
    const uint8_t *p;

    answer_arp();
    p = find_ip(&t->from, 6, &len);
    if (!p) {
        return false;
    }
    struct tcphdr copy, *tcp = &copy;

    memcpy(tcp, p, sizeof copy);
    size_t head = tcp->doff * 4, data = len - head;

    *flags = p[13];
    if (*flags & TH_SYN) {
        t->peer_port = ntohs(tcp->source);
        t->port = ntohs(tcp->dest);
        t->ack = ntohl(tcp->seq) + 1;
    } else if (ntohl(tcp->seq) == t->ack) {
        g_string_append_len(t->in, (const char *)p + head, data);
        t->ack += data;
        if (*flags & TH_FIN) {
            t->ack++;
            t->fin = true;
        }
        if (data || (*flags & TH_FIN)) {
            tcp_send(t, TH_ACK, NULL, 0);
        }
    }
    return true;
}

void tcp_wait(Tcp *t, uint8_t want)
{
    uint8_t flags = 0;

    run_until(tcp_take(t, &flags) && (flags & want) == want);
}

void tcp_connect(Tcp *t, uint32_t addr, int port)
{
    *t = (Tcp){
        .peer = addr, .port = 40000, .peer_port = port, .seq = 1000, .in = g_string_new(NULL)};
    ck_assert(arp(GATEWAY, gateway_mac));
    nic_clear(nic);
    tcp_send(t, TH_SYN, NULL, 0);
    tcp_wait(t, TH_SYN | TH_ACK);
    tcp_send(t, TH_ACK, NULL, 0);
}
