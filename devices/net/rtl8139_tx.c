/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtl8139: transmit, in C mode from four registers (6.2), in C+ mode from descriptors in memory
 * (5.1). It runs as a bottom half. A packet's descriptors are given back when the backend has taken
 * it; until then it is read again.
 */
#include "rtl8139.h"

enum {
    TX_TURN = 64, /* packets of one turn of the loop */
};

/* What became of a step. */
typedef enum { TX_NOTHING, TX_WENT, TX_WAITS } Rtl8139TxResult;

/* One frame: out, or to oneself. */
static bool rtl8139_tx_frame(Rtl8139 *c, const NicTx *tx, const uint8_t *frame, size_t len)
{
    if (rtl8139_loops_back(c)) {
        rtl8139_rx_loopback(c, frame, len);
        return true;
    }
    return nic_send(&c->nic, tx, frame, len);
}

/* C mode. */

static Rtl8139TxResult rtl8139_tx_c(Rtl8139 *c)
{
    uint32_t *tsd = &c->s.reg[RTL8139_TSD0 + c->s.tx_next];
    unsigned len = *tsd & RTL8139_TSD_SIZE;
    NicTx tx = {0};

    if (*tsd & RTL8139_TSD_OWN) {
        return TX_NOTHING;
    }
    if (!dma_read(c->pci.dev.vm, c->s.reg[RTL8139_TSAD0 + c->s.tx_next], c->packet, len)) {
        *tsd |= RTL8139_TSD_OWN | RTL8139_TSD_TABT;
        c->s.tx_err++;
        c->s.tx_aborted++;
        rtl8139_cause_later(c, RTL8139_INT_TER);
    } else if (!rtl8139_tx_frame(c, &tx, c->packet, len)) {
        return TX_WAITS;
    } else {
        *tsd |= RTL8139_TSD_OWN | RTL8139_TSD_TOK;
        c->s.tx_ok++;
        rtl8139_cause_later(c, RTL8139_INT_TOK);
    }
    c->s.tx_next = (c->s.tx_next + 1) % 4;
    return TX_WENT;
}

/* C+ mode. */

typedef struct {
    unsigned count, next; /* descriptors, and the place of the one behind them */
    uint32_t first, last; /* their first words */
    uint32_t tag;         /* the second word of the last one */
    size_t len;
    bool bad;
} Rtl8139TxPacket;

static uint64_t rtl8139_tx_desc(const Rtl8139 *c, unsigned ring, unsigned index)
{
    unsigned reg = ring ? RTL8139_THPDS : RTL8139_TNPDS;

    return ((c->s.reg[reg] & ~0xffu) | (uint64_t)c->s.reg[reg + 1] << 32) +
           index * RTL8139_DESC_SIZE;
}

/* Reads the packet whose turn it is. False: it is not there as a whole. */
static bool rtl8139_tx_gather(Rtl8139 *c, unsigned ring, Rtl8139TxPacket *p)
{
    *p = (Rtl8139TxPacket){.next = c->s.tx_index[ring]};
    do {
        uint32_t word[4], len;

        if (!dma_read(c->pci.dev.vm, rtl8139_tx_desc(c, ring, p->next), word, sizeof word)) {
            return false;
        }
        p->last = le32toh(word[0]);
        if (!(p->last & RTL8139_D_OWN)) {
            return false;
        }
        p->first = p->count ? p->first : p->last;
        p->tag = le32toh(word[1]);
        len = p->last & RTL8139_TXD_SIZE;
        p->bad |= len > NET_PACKET_MAX - p->len ||
                  !dma_read(c->pci.dev.vm, le32toh(word[2]) | (uint64_t)le32toh(word[3]) << 32,
                            c->packet + p->len, len);
        p->len += p->bad ? 0 : len;
        p->next = p->last & RTL8139_D_EOR ? 0 : (p->next + 1) % RTL8139_DESC_COUNT;
        p->count++;
    } while (!(p->last & RTL8139_D_LS) && p->count < RTL8139_DESC_COUNT);
    p->bad |= !(p->last & RTL8139_D_LS); /* a whole ring without an end */
    return true;
}

/* False: the ring is no memory that can be written, so nothing can be given back. */
static bool rtl8139_tx_give_back(Rtl8139 *c, unsigned ring, const Rtl8139TxPacket *p)
{
    unsigned index = c->s.tx_index[ring];
    bool ok = true;

    for (unsigned i = 0; i < p->count; i++) {
        uint64_t at = rtl8139_tx_desc(c, ring, index);
        uint8_t raw[4];

        if (!dma_read(c->pci.dev.vm, at, raw, sizeof raw)) {
            return false;
        }
        stle32(raw, ldle32(raw) & ~RTL8139_D_OWN);
        ok &= dma_write(c->pci.dev.vm, at, raw, sizeof raw);
        index = ldle32(raw) & RTL8139_D_EOR ? 0 : (index + 1) % RTL8139_DESC_COUNT;
    }
    c->s.tx_index[ring] = index;
    return ok;
}

/* Checksums that the driver leaves to the card: of what the card finds in the packet. */
static void rtl8139_tx_checksums(Rtl8139 *c, NicTx *tx, uint32_t word, size_t len)
{
    bool tcp = word & RTL8139_TXD_TCPCS, udp = word & RTL8139_TXD_UDPCS;
    FrameParts parts;
    uint8_t *ip, *l4;
    unsigned at;

    frame_parse(c->packet, len, &parts);
    ip = c->packet + parts.ip;
    l4 = c->packet + parts.l4;
    if (word & RTL8139_TXD_IPCS && parts.ip && !parts.v6) {
        stbe16(ip + FRAME_IP_CHECKSUM, 0);
        stbe16(ip + FRAME_IP_CHECKSUM, ~frame_sum(0, ip, parts.ip_len));
    }
    if (!parts.l4 || parts.fragment || !(parts.protocol == FRAME_TCP ? tcp : udp)) {
        return;
    }
    at = parts.protocol == FRAME_TCP ? FRAME_TCP_CHECKSUM : FRAME_UDP_CHECKSUM;
    stbe16(l4 + at, frame_pseudo_sum(ip, parts.v6, parts.protocol, parts.l4_len));
    if (rtl8139_loops_back(c) ||
        !nic_leave_checksum(&c->nic, tx, parts.l4, parts.l4 + at, parts.l4 + parts.l4_len)) {
        uint16_t sum = ~frame_sum(0, l4, parts.l4_len);

        stbe16(l4 + at, sum ? sum : 0xffff);
    }
}

/* Large send: TCP over IPv4, in segments of MSS. */
static bool rtl8139_tx_segments(Rtl8139 *c, NicTx *tx, uint32_t word, size_t len)
{
    FrameParts parts;
    FrameSplit s;

    frame_parse(c->packet, len, &parts);
    len = parts.l4 + parts.l4_len; /* without padding */
    if (parts.v6 || !frame_split_tcp(c->packet, len, &parts, RTL8139_TXD_MSS(word), &s)) {
        return true; /* no hardware could make segments of this: dropped */
    }
    if (nic_takes_whole(&c->nic, &s, len) && !rtl8139_loops_back(c)) {
        nic_make_whole(tx, &s, c->packet, len);
        return nic_send(&c->nic, tx, c->packet, len);
    }
    for (; c->s.tx_segments < frame_split_count(&s, len); c->s.tx_segments++) {
        size_t size = frame_split(&s, c->packet, len, c->s.tx_segments, c->nic.segment);

        if (!rtl8139_tx_frame(c, tx, c->nic.segment, size)) {
            return false;
        }
    }
    return true;
}

static Rtl8139TxResult rtl8139_tx_plus(Rtl8139 *c, unsigned ring)
{
    Rtl8139TxPacket p;
    NicTx tx = {0};
    bool sent = true;

    if (!rtl8139_tx_gather(c, ring, &p)) {
        return TX_NOTHING;
    }
    tx.tagged = p.tag & RTL8139_TXD_TAGC;
    tx.tag_type = FRAME_TYPE_TAG;
    tx.tci = GUINT16_SWAP_LE_BE((uint16_t)p.tag); /* its bytes are swapped there */
    if (!p.bad && p.first & RTL8139_TXD_LGSEN) {
        sent = rtl8139_tx_segments(c, &tx, p.first, p.len);
    } else if (!p.bad) {
        rtl8139_tx_checksums(c, &tx, p.first, p.len);
        sent = rtl8139_tx_frame(c, &tx, c->packet, p.len);
    }
    if (!sent) {
        return TX_WAITS;
    }
    c->s.tx_segments = 0;
    c->s.tx_ok += !p.bad;
    c->s.tx_err += p.bad;
    rtl8139_cause_later(c, p.bad ? RTL8139_INT_TER : RTL8139_INT_TOK);
    return rtl8139_tx_give_back(c, ring, &p) ? TX_WENT : TX_NOTHING;
}

static Rtl8139TxResult rtl8139_tx_step(Rtl8139 *c)
{
    static const uint8_t asked[] = {RTL8139_TPPOLL_NPQ, RTL8139_TPPOLL_HPQ};

    if (!rtl8139_is_plus(c, RTL8139_CPCR_TX)) {
        return rtl8139_tx_c(c);
    }
    for (unsigned ring = 2; ring-- > 0;) { /* high priority first */
        Rtl8139TxResult result;

        if (!(c->s.reg[RTL8139_TPPOLL] & asked[ring])) {
            continue;
        }
        result = rtl8139_tx_plus(c, ring);
        if (result != TX_NOTHING) {
            return result;
        }
        c->s.reg[RTL8139_TPPOLL] &= ~asked[ring];
        rtl8139_cause_later(c, RTL8139_INT_TDU);
    }
    return TX_NOTHING;
}

void rtl8139_tx_run(Device *dev)
{
    Rtl8139 *c = rtl8139_of(dev);
    Rtl8139TxResult result = TX_WENT;

    if (!c->running || c->tx_waits || !(c->s.reg[RTL8139_CR] & RTL8139_CR_TE) ||
        !pci_can_dma(&c->pci)) {
        return;
    }
    for (unsigned i = 0; i < TX_TURN && result == TX_WENT; i++) {
        result = rtl8139_tx_step(c);
    }
    c->tx_waits = result == TX_WAITS;
    if (result == TX_WENT) {
        device_bh_schedule(c->tx_bh); /* after the loop's other work */
    }
}

void rtl8139_tx_ready(Device *dev)
{
    rtl8139_of(dev)->tx_waits = false;
    rtl8139_tx_run(dev);
}
