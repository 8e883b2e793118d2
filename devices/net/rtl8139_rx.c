/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtl8139: receive, in C mode into one ring of bytes (5.2), in C+ mode into descriptors' buffers
 * (5.1.2). A packet for which there is no room waits at its sender.
 */
#include "rtl8139.h"

#include "base/iov.h"

enum {
    RX_HEADER = 4, /* before each packet in C mode: status and length */
    RX_ALIGN = 4,
    RX_CAPR_BIAS = 16,
    RX_RBLEN_64K = 3,
    RX_POLL_US = 200,
    RX_POLL_MAX_US = 10000,
};

static uint32_t rtl8139_rx_size(const Rtl8139 *c)
{
    return 8192u << RTL8139_RCR_RBLEN(c->s.reg[RTL8139_RCR]);
}

/* Where the driver reads: CAPR is 16 bytes behind. */
static uint32_t rtl8139_rx_read_at(const Rtl8139 *c)
{
    return (c->s.reg[RTL8139_CAPR] + RX_CAPR_BIAS) & (rtl8139_rx_size(c) - 1);
}

bool rtl8139_rx_empty(const Rtl8139 *c)
{
    return (c->s.reg[RTL8139_CBR] & (rtl8139_rx_size(c) - 1)) == rtl8139_rx_read_at(c);
}

static bool rtl8139_rx_enabled(const Rtl8139 *c)
{
    return c->running && c->s.reg[RTL8139_CR] & RTL8139_CR_RE &&
           !(c->s.reg[RTL8139_MSR] & RTL8139_MSR_LINKB) && pci_can_dma(&c->pci);
}

void rtl8139_rx_update(Device *dev)
{
    Rtl8139 *c = rtl8139_of(dev);

    c->rx_waits = false;
    device_timer_cancel(c->rx_poll);
    c->nic.peer.receive_enabled = rtl8139_rx_enabled(c);
    if (c->nic.peer.receive_enabled) {
        net_peer_ready(&c->nic.peer);
    }
}

/* Filters (6.7). */

/* The upper six bits of Ethernet's CRC of the address. */
static unsigned rtl8139_rx_hash(const uint8_t *address)
{
    uint32_t crc = UINT32_MAX;

    for (unsigned i = 0; i < 48; i++) {
        bool bit = (crc >> 31) ^ (address[i / 8] >> i % 8 & 1);

        crc = crc << 1 ^ (bit ? 0x04c11db7 : 0);
    }
    return crc >> 26;
}

typedef enum { RX_OTHER, RX_PHYSICAL, RX_BROADCAST, RX_MULTICAST } Rtl8139RxKind;

static Rtl8139RxKind rtl8139_rx_kind(const Rtl8139 *c, const uint8_t *frame)
{
    uint8_t own[8];

    stle32(own, c->s.reg[RTL8139_IDR0]);
    stle32(own + 4, c->s.reg[RTL8139_IDR4]);
    if (frame_is_broadcast(frame)) {
        return RX_BROADCAST;
    }
    if (frame[0] & 1) {
        return RX_MULTICAST;
    }
    return memcmp(frame, own, 6) ? RX_OTHER : RX_PHYSICAL;
}

static bool rtl8139_rx_wanted(const Rtl8139 *c, const uint8_t *frame, Rtl8139RxKind kind)
{
    uint32_t rcr = c->s.reg[RTL8139_RCR];
    unsigned hash;

    switch (kind) {
    case RX_PHYSICAL:
        return rcr & (RTL8139_RCR_APM | RTL8139_RCR_AAP);
    case RX_BROADCAST:
        return rcr & RTL8139_RCR_AB;
    case RX_MULTICAST:
        hash = rtl8139_rx_hash(frame);
        return rcr & RTL8139_RCR_AM && c->s.reg[RTL8139_MAR0 + hash / 32] & BIT(hash % 32);
    default:
        return rcr & RTL8139_RCR_AAP;
    }
}

/* C mode. */

/* With WRAP data goes on beyond the ring, where the header was in it. A ring of 64 KiB can't. */
static void rtl8139_rx_ring_write(Rtl8139 *c, uint32_t at, const void *data, size_t len)
{
    uint32_t size = rtl8139_rx_size(c);
    uint64_t base = c->s.reg[RTL8139_RBSTART];
    size_t first = len;

    if (!(c->s.reg[RTL8139_RCR] & RTL8139_RCR_WRAP) ||
        RTL8139_RCR_RBLEN(c->s.reg[RTL8139_RCR]) == RX_RBLEN_64K) {
        at &= size - 1;
        first = MIN(len, size - at);
    }
    dma_write(c->pci.dev.vm, base + at, data, first);
    dma_write(c->pci.dev.vm, base, (const uint8_t *)data + first, len - first);
}

/* The frame, its padding and a check sequence of zeroes, which no driver looks at. */
static NicResult rtl8139_rx_c(Rtl8139 *c, const uint8_t *frame, size_t len, Rtl8139RxKind kind)
{
    static const uint16_t status[] = {[RX_PHYSICAL] = RTL8139_RX_PAM,
                                      [RX_BROADCAST] = RTL8139_RX_BAR,
                                      [RX_MULTICAST] = RTL8139_RX_MAR};
    static const uint8_t zeroes[FRAME_MIN + FRAME_FCS];
    uint32_t size = rtl8139_rx_size(c), at = c->s.reg[RTL8139_CBR] & (size - 1);
    uint32_t used = (at - rtl8139_rx_read_at(c)) & (size - 1);
    size_t total = MAX(len, FRAME_MIN) + FRAME_FCS, need = ROUND_UP(RX_HEADER + total, RX_ALIGN);
    uint8_t header[RX_HEADER];

    if (need >= size) {
        c->s.rx_err++;
        return NIC_DROPPED;
    }
    if (need >= size - used) {
        return NIC_WAITS;
    }
    stle16(header, RTL8139_RX_ROK | status[kind]);
    stle16(header + 2, total);
    rtl8139_rx_ring_write(c, at, header, sizeof header);
    rtl8139_rx_ring_write(c, at + RX_HEADER, frame, len);
    rtl8139_rx_ring_write(c, at + RX_HEADER + len, zeroes, total - len);
    c->s.reg[RTL8139_CBR] = (at + need) & (size - 1);
    return NIC_TAKEN;
}

/* C+ mode. */

static uint64_t rtl8139_rx_desc(const Rtl8139 *c, unsigned index)
{
    return (c->s.reg[RTL8139_RDSAR] | (uint64_t)c->s.reg[RTL8139_RDSAR_HI] << 32) +
           index * RTL8139_DESC_SIZE;
}

typedef struct {
    uint32_t word[4];
    unsigned index;
} Rtl8139RxDesc;

/* Collects *count descriptors for 'len' bytes. A frame that a whole ring can't hold is dropped. */
static NicResult rtl8139_rx_collect(Rtl8139 *c, Rtl8139RxDesc *d, size_t len, unsigned *count)
{
    unsigned index = c->s.rx_index;
    size_t room = 0;

    for (unsigned n = 0; n < RTL8139_DESC_COUNT; n++) {
        if (!dma_read(c->pci.dev.vm, rtl8139_rx_desc(c, index), d[n].word, sizeof d[n].word)) {
            return NIC_WAITS;
        }
        for (unsigned i = 0; i < 4; i++) {
            d[n].word[i] = le32toh(d[n].word[i]);
        }
        if (!(d[n].word[0] & RTL8139_D_OWN)) {
            return NIC_WAITS;
        }
        d[n].index = index;
        room += d[n].word[0] & RTL8139_RXD_SIZE;
        if (room >= len) {
            *count = n + 1;
            return NIC_TAKEN;
        }
        index = d[n].word[0] & RTL8139_D_EOR ? 0 : (index + 1) % RTL8139_DESC_COUNT;
        if (index == c->s.rx_index) {
            break;
        }
    }
    c->s.rx_err++;
    return NIC_DROPPED;
}

static uint32_t rtl8139_rx_checksums(const Rtl8139 *c, const uint8_t *frame, size_t len, bool good)
{
    FrameParts parts;
    uint32_t bits = 0;

    if (!(c->s.reg[RTL8139_CPCR] & RTL8139_CPCR_RXCHK)) {
        return 0;
    }
    frame_parse(frame, len, &parts);
    if (!parts.ip || parts.v6) {
        return 0;
    }
    bits |= frame_ip_checksum_good(frame, &parts) ? 0 : RTL8139_RXD_IPF;
    if (!parts.l4 || parts.fragment) {
        return bits | RTL8139_RXD_IP;
    }
    good = good || frame_l4_checksum_good(frame, &parts);
    if (parts.protocol == FRAME_TCP) {
        return bits | RTL8139_RXD_TCP | (good ? 0 : RTL8139_RXD_TCPF);
    }
    return bits | RTL8139_RXD_UDP | (good ? 0 : RTL8139_RXD_UDPF);
}

static void rtl8139_rx_done(Rtl8139 *c, const Rtl8139RxDesc *d, uint32_t bits, uint32_t tag)
{
    uint8_t raw[8];

    stle32(raw, (d->word[0] & RTL8139_D_EOR) | bits);
    stle32(raw + 4, tag);
    dma_write(c->pci.dev.vm, rtl8139_rx_desc(c, d->index), raw, sizeof raw);
    c->s.rx_index = d->word[0] & RTL8139_D_EOR ? 0 : (d->index + 1) % RTL8139_DESC_COUNT;
}

static NicResult rtl8139_rx_plus(Rtl8139 *c, const uint8_t *frame, size_t len, bool good,
                                 Rtl8139RxKind kind)
{
    static const uint32_t kinds[] = {[RX_PHYSICAL] = RTL8139_RXD_PAM,
                                     [RX_BROADCAST] = RTL8139_RXD_BAR,
                                     [RX_MULTICAST] = RTL8139_RXD_MAR};
    Rtl8139RxDesc d[RTL8139_DESC_COUNT];
    NicResult result;
    NicRxData data;
    size_t at = 0;
    uint32_t tag = 0, bits = kinds[kind] | rtl8139_rx_checksums(c, frame, len, good);
    unsigned n;

    if (c->s.reg[RTL8139_CPCR] & RTL8139_CPCR_RXVLAN && len >= FRAME_HEADER + FRAME_TAG &&
        ldbe16(frame + FRAME_TYPE_AT) == FRAME_TYPE_TAG) {
        tag = RTL8139_RXD_TAVA | ldle16(frame + FRAME_TYPE_AT + 2);
    }
    nic_rx_data(&data, frame, len, MAX(len, FRAME_MIN) + FRAME_FCS, tag);
    if (data.len > RTL8139_RXD_SIZE) {
        c->s.rx_err++;
        return NIC_DROPPED; /* the length has no place in a descriptor */
    }
    result = rtl8139_rx_collect(c, d, data.len, &n);
    if (result != NIC_TAKEN) {
        return result;
    }
    for (unsigned i = 0; i < n; i++) {
        size_t part = MIN(data.len - at, d[i].word[0] & RTL8139_RXD_SIZE);
        bool last = i + 1 == n;

        nic_rx_write(c->pci.dev.vm, d[i].word[2] | (uint64_t)d[i].word[3] << 32, &data, at, part);
        at += part;
        /* The last one tells the packet's length, the others that of their buffers. */
        rtl8139_rx_done(c, &d[i],
                        bits | (last ? data.len : part) | (i ? 0 : RTL8139_D_FS) |
                            (last ? RTL8139_D_LS : 0),
                        tag);
    }
    return NIC_TAKEN;
}

static void rtl8139_rx_count(Rtl8139 *c, Rtl8139RxKind kind)
{
    c->s.rx_ok++;
    c->s.rx_ok_physical += kind == RX_PHYSICAL;
    c->s.rx_ok_broadcast += kind == RX_BROADCAST;
    c->s.rx_ok_multicast += kind == RX_MULTICAST;
    rtl8139_cause_later(c, RTL8139_INT_ROK);
}

NicResult rtl8139_rx_frame(Nic *nic, const uint8_t *frame, size_t len, bool good)
{
    Rtl8139 *c = container_of(nic, Rtl8139, nic);
    Rtl8139RxKind kind;
    NicResult result;

    if (len < FRAME_HEADER) {
        c->s.rx_err++;
        return NIC_DROPPED;
    }
    kind = rtl8139_rx_kind(c, frame);
    if (!rtl8139_rx_wanted(c, frame, kind)) {
        return NIC_TAKEN; /* for the sender, it was received */
    }
    result = rtl8139_is_plus(c, RTL8139_CPCR_RX) ? rtl8139_rx_plus(c, frame, len, good, kind)
                                                 : rtl8139_rx_c(c, frame, len, kind);
    if (result == NIC_TAKEN) {
        c->rx_poll_us = 0;
        rtl8139_rx_count(c, kind);
    }
    return result;
}

void rtl8139_rx_loopback(Rtl8139 *c, const uint8_t *frame, size_t len)
{
    if (c->s.reg[RTL8139_CR] & RTL8139_CR_RE) {
        rtl8139_rx_frame(&c->nic, frame, len, false);
    }
}

/*
 * A driver of C+ mode adds descriptors silently. It is told once that there are none, and its ring
 * is looked at again, ever more seldom while nothing comes.
 */
static void rtl8139_rx_wait(Rtl8139 *c)
{
    c->rx_waits = true;
    if (!rtl8139_is_plus(c, RTL8139_CPCR_RX)) {
        return;
    }
    if (!c->rx_poll_us) {
        rtl8139_cause_later(c, RTL8139_INT_RDU);
    }
    c->rx_poll_us = c->rx_poll_us ? MIN(2 * c->rx_poll_us, RX_POLL_MAX_US) : RX_POLL_US;
    device_timer_arm(c->rx_poll, clock_ns(CLOCK_VIRTUAL_NS) + c->rx_poll_us * NS_PER_US);
}

ssize_t rtl8139_receive(NetPeer *peer, const struct iovec *iov, unsigned n)
{
    Rtl8139 *c = rtl8139_of_peer(peer);
    NicResult result = NIC_WAITS;

    device_lock(&c->pci.dev);
    if (rtl8139_rx_enabled(c) && rtl8139_loops_back(c)) {
        nic_forget(&c->nic);
        result = NIC_DROPPED;
    } else if (rtl8139_rx_enabled(c)) {
        result = nic_receive(&c->nic, iov, n);
        if (result == NIC_WAITS) {
            rtl8139_rx_wait(c);
        }
    }
    device_unlock(&c->pci.dev);
    return result == NIC_WAITS ? 0 : result == NIC_DROPPED ? -1 : (ssize_t)iov_size(iov, n);
}
