/* SPDX-License-Identifier: GPL-2.0-or-later */
/* e1000: packets in and out: descriptors, filters, checksums, segments, statistics. */
#include "e1000_client.h"

enum { ETH = 14, IP = 20, IP6 = 40, TCP = 20, UDP = 8 };

static QFrame to_peer(bool v6, bool udp, size_t data)
{
    QFrame f = {.v6 = v6, .udp = udp, .data = data};

    memcpy(f.dst, peer_mac, 6);
    memcpy(f.src, card_mac, 6);
    return f;
}

static QFrame to_card(bool v6, bool udp, size_t data)
{
    QFrame f = {.v6 = v6, .udp = udp, .data = data, .sums = true};

    memcpy(f.dst, card_mac, 6);
    memcpy(f.src, peer_mac, 6);
    return f;
}

/* Transmit. */

static void test_tx_legacy(void)
{
    uint8_t frame[1600], got[2048];
    QFrame f = to_peer(false, true, 1000);
    size_t len = qframe_make(&f, frame);
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, 64, 0);
    card_send(&c, frame, len);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len);
    qtest_check_mem(got, frame, len);
    qtest_check_eq(qtest_readl(c.q, c.tx + 12), 1); /* DD */
    qtest_check_eq(card_read(&c, ICR), ICR_TXDW | ICR_TXQE);
    /* Several descriptors; TDT comes before the last of them. Without RS nothing is written. */
    card_desc(&c, c.tx_data, 10, 0);
    card_desc(&c, c.tx_data + 10, 500, 0);
    card_kick(&c);
    card_desc(&c, c.tx_data + 510, (len - 510) | TXD_EOP, 0);
    card_kick(&c);
    card_wait_sent(&c);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len);
    qtest_check_mem(got, frame, len);
    qtest_check_eq(qtest_readl(c.q, c.tx + 3 * 16 + 12), 0);
    qtest_check_eq(card_read(&c, ICR), ICR_TXQE);
    /* IC: a checksum from CSS to the end, at CSO. */
    card_desc(&c, c.tx_data, len | TXD_EOP | TXD_IC | 40 << 16, 34 << 8);
    card_kick(&c);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len);
    qtest_check_eq(qframe_sum(0, got + 34, len - 34), 0xffff);
    /* TXD_LOW: fewer than eight descriptors are left. */
    card_read(&c, ICR);
    card_write(&c, TXDCTL, 1 << 25);
    for (unsigned i = 0; i < 12; i++) {
        card_desc(&c, c.tx_data, 60 | TXD_EOP, 0);
    }
    card_kick(&c);
    for (unsigned i = 0; i < 12; i++) {
        qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 60);
    }
    card_wait_sent(&c);
    qtest_check_eq(card_read(&c, ICR) & ~ICR_TXQE, ICR_TXD_LOW);
    card_write(&c, TXDCTL, 0);
    /* Short frames are padded where TCTL.PSP says so. */
    card_send(&c, frame, 20);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 20);
    card_write(&c, TCTL, TCTL_EN | TCTL_PSP);
    card_send(&c, frame, 20);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 60);
    qtest_check_mem(got, frame, 20);
    /* A tag is put in with VLE and CTRL.VME. */
    card_desc(&c, c.tx_data, len | TXD_EOP | TXD_VLE, 0x6123 << 16);
    card_kick(&c);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len);
    card_write(&c, CTRL, CTRL_VME);
    card_desc(&c, c.tx_data, len | TXD_EOP | TXD_VLE, 0x6123 << 16);
    card_kick(&c);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len + 4);
    qtest_check_mem(got, frame, 12);
    qtest_check_mem(got + 12, ((uint8_t[]){0x81, 0x00, 0x61, 0x23}), 4);
    qtest_check_mem(got + 16, frame + 12, len - 12);
    /* Nothing is sent while the transmitter is off, or the function no bus master. */
    card_write(&c, TCTL, 0);
    card_desc(&c, c.tx_data, 64 | TXD_EOP, 0);
    card_kick(&c);
    card_read(&c, STATUS);
    qtest_check(qwire_silent(&c.w));
    qpci_config_writew(&c.pci, 4, 3);
    card_write(&c, TCTL, TCTL_EN);
    card_read(&c, STATUS);
    qtest_check(qwire_silent(&c.w));
    qpci_enable(&c.pci);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 64);
    card_end(&c);
}

/* A context for a frame's headers; 'hdrlen' and 'mss' for segments. */
static void add_context(Card *c, const QFrame *f, unsigned hdrlen, unsigned mss)
{
    unsigned l4 = f->v6 ? ETH + IP6 : ETH + IP;
    unsigned at = l4 + (f->udp ? 6 : 16);

    card_desc(c, ETH | (ETH + 10) << 8 | (l4 - 1) << 16 | (uint64_t)l4 << 32 | (uint64_t)at << 40,
              TXD_DEXT | (mss ? TXD_TSE : 0) | (f->udp ? 0 : TXC_TCP) | (f->v6 ? 0 : TXC_IP) |
                  TXD_RS,
              hdrlen << 8 | mss << 16);
}

/* Puts the pseudo header's sum where the driver leaves it, as the length that is said. */
static void set_pseudo(const QFrame *f, uint8_t *frame, uint32_t len)
{
    size_t at = qframe_headers(f) - (f->udp ? 2 : 4);
    uint16_t sum = qframe_pseudo(f, frame, len);

    frame[at] = sum >> 8;
    frame[at + 1] = sum;
}

static void test_tx_checksums(void)
{
    uint8_t frame[1600], got[2048];
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, 64, 0);
    for (unsigned kind = 0; kind < 8; kind++) {
        QFrame f = to_peer(kind & 1, kind & 2, kind & 4 ? 777 : 1);
        size_t len = qframe_make(&f, frame), l4 = qframe_headers(&f) - (f.udp ? UDP : TCP);

        set_pseudo(&f, frame, len - l4);
        qtest_write(c.q, c.tx_data, frame, len);
        add_context(&c, &f, 0, 0);
        card_desc(&c, c.tx_data, 40 | TXD_DATA, (f.v6 ? 0 : TXD_IXSM) | TXD_TXSM);
        card_desc(&c, c.tx_data + 40, (len - 40) | TXD_DATA | TXD_EOP | TXD_RS, 0);
        card_kick(&c);
        card_wait_sent(&c);
        qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len);
        qframe_check_sums(&f, got, len);
        qtest_check_mem(got + qframe_headers(&f), frame + qframe_headers(&f), f.data);
    }
    card_end(&c);
}

static void check_segments(Card *c, const QFrame *f, const uint8_t *frame, size_t mss)
{
    size_t head = qframe_headers(f), sent = 0;
    uint8_t got[4096];

    for (unsigned i = 0; sent < f->data; i++) {
        size_t part = MIN(mss, f->data - sent), l4 = head - (f->udp ? UDP : TCP);

        qtest_check_eq(qwire_receive(&c->w, got, sizeof got), head + part);
        qframe_check_sums(f, got, head + part);
        qtest_check_mem(got + head, frame + head + sent, part);
        if (f->v6) {
            qtest_check_eq(got[ETH + 4] << 8 | got[ETH + 5], head + part - ETH - IP6);
        } else {
            qtest_check_eq(got[ETH + 2] << 8 | got[ETH + 3], head + part - ETH);
            qtest_check_eq(got[ETH + 4] << 8 | got[ETH + 5], 0x1234 + i);
        }
        if (f->udp) {
            qtest_check_eq(got[l4 + 4] << 8 | got[l4 + 5], UDP + part);
        } else {
            qtest_check_eq(got[l4 + 5] << 16 | got[l4 + 6] << 8 | got[l4 + 7], 77 + sent);
            qtest_check_eq(got[l4 + 13], sent + part == f->data ? 0x19 : 0x10);
        }
        sent += part;
    }
}

static void test_tso(void)
{
    g_autofree uint8_t *frame = g_malloc(70000);
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, 64, 0);
    for (unsigned kind = 0; kind < 8; kind++) {
        size_t mss = kind & 4 ? 1460 : 100, data = kind & 4 ? 60000 : 250;
        QFrame f = to_peer(kind & 1, kind & 2, data);
        size_t len = qframe_make(&f, frame), head = qframe_headers(&f);

        set_pseudo(&f, frame, 0);
        qtest_write(c.q, c.tx_data, frame, len);
        add_context(&c, &f, head, mss);
        /* The header in a descriptor of its own, the data in two. */
        card_desc(&c, c.tx_data, head | TXD_DATA | TXD_TSE, (f.v6 ? 0 : TXD_IXSM) | TXD_TXSM);
        card_desc(&c, c.tx_data + head, 33 | TXD_DATA | TXD_TSE, 0);
        card_desc(&c, c.tx_data + head + 33,
                  (len - head - 33) | TXD_DATA | TXD_TSE | TXD_EOP | TXD_RS, 0);
        card_kick(&c);
        check_segments(&c, &f, frame, mss);
        card_wait_sent(&c);
    }
    qtest_check_eq(card_read(&c, 0x40f8), 8); /* TSCTC */
    card_end(&c);
}

/* Over a tap with virtio_net_hdr the packet is passed whole, and comes whole. */
static void test_tap_whole(void)
{
    g_autofree uint8_t *frame = g_malloc(70000), *got = g_malloc(70000);
    struct virtio_net_hdr header;
    Card c;

    card_open_tap(&c, "");
    card_start(&c, 64, 64, 0);
    card_write(&c, RXCSUM, 0x300);
    for (unsigned v6 = 0; v6 < 2; v6++) {
        QFrame f = to_peer(v6, false, 30000);
        size_t len = qframe_make(&f, frame), head = qframe_headers(&f), l4 = head - TCP;

        set_pseudo(&f, frame, 0);
        qtest_write(c.q, c.tx_data, frame, len);
        add_context(&c, &f, head, 1000);
        card_desc(&c, c.tx_data, len | TXD_DATA | TXD_TSE | TXD_EOP | TXD_RS,
                  (v6 ? 0 : TXD_IXSM) | TXD_TXSM);
        card_kick(&c);
        card_wait_sent(&c);
        qtest_check_eq(qwire_receive_header(&c.w, &header, got, 70000), len);
        qtest_check_eq(header.gso_type, v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
        qtest_check_eq(header.gso_size, 1000);
        qtest_check_eq(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 1);
        qtest_check_eq(header.csum_start, l4);
        qtest_check_eq(header.csum_offset, 16);
        qtest_check_eq(got[l4 + 16] << 8 | got[l4 + 17], qframe_pseudo(&f, got, len - l4));
        qtest_check_mem(got + head, frame + head, f.data);
        /* Of one frame, the checksum is left to the host. */
        add_context(&c, &f, 0, 0);
        card_desc(&c, c.tx_data, 500 | TXD_DATA | TXD_EOP, TXD_TXSM);
        card_kick(&c);
        card_wait_sent(&c);
        qtest_check_eq(qwire_receive_header(&c.w, &header, got, 70000), 500);
        qtest_check_eq(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 1);
        qtest_check_eq(header.csum_start, l4);
        /* 30 segments come in. */
        f = to_card(v6, false, 30000);
        f.sums = false;
        len = qframe_make(&f, frame);
        set_pseudo(&f, frame, len - l4);
        header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                         .gso_type = v6 ? VIRTIO_NET_HDR_GSO_TCPV6
                                                        : VIRTIO_NET_HDR_GSO_TCPV4,
                                         .hdr_len = head,
                                         .gso_size = 1000,
                                         .csum_start = l4,
                                         .csum_offset = 16};
        qwire_send_header(&c.w, &header, frame, len);
        for (unsigned i = 0; i < 30; i++) {
            Received r = card_receive(&c, got);

            qtest_check_eq(r.len, head + 1000 + 4);
            qtest_check_eq(r.status & 0x24, 0x20); /* TCPCS, no IXSM */
            qtest_check_eq(r.errors, 0);
            qframe_check_sums(&f, got, head + 1000);
            qtest_check_mem(got + head, frame + head + i * 1000, 1000);
        }
        card_refill(&c);
        /* One whose checksum is to be made. */
        f.data = 700;
        len = qframe_make(&f, frame);
        set_pseudo(&f, frame, len - l4);
        header.gso_type = header.gso_size = header.hdr_len = 0;
        qwire_send_header(&c.w, &header, frame, len);
        qtest_check_eq(card_receive(&c, got).len, len + 4);
        qtest_check_eq(qframe_sum(qframe_pseudo(&f, got, len - l4), got + l4, len - l4), 0xffff);
        card_refill(&c);
    }
    card_end(&c);
}

/* A packet of 30 segments for the card, as a tap passes it. */
static void send_segments(Card *c)
{
    g_autofree uint8_t *frame = g_malloc(70000);
    QFrame f = to_card(false, false, 30000);
    size_t len, head = qframe_headers(&f);
    struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                    .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                    .hdr_len = head,
                                    .gso_size = 1000,
                                    .csum_start = head - TCP,
                                    .csum_offset = 16};

    f.sums = false;
    len = qframe_make(&f, frame);
    set_pseudo(&f, frame, len - ETH - IP);
    qwire_send_header(&c->w, &header, frame, len);
}

static void receive_segments(Card *c, unsigned count)
{
    uint8_t got[2048];

    for (unsigned i = 0; i < count; i++) {
        card_receive(c, got);
        qtest_check_eq(got[ETH + IP + 6] << 8 | got[ETH + IP + 7], 77 + i * 1000);
        card_refill(c);
    }
}

/* Segments of one packet that find no room come later, and each of them once. */
static void test_tap_room(void)
{
    Card c;

    card_open_tap(&c, "");
    card_start(&c, RING, RING, 0);
    send_segments(&c);
    receive_segments(&c, 30);
    g_usleep(1000);
    qtest_check(!card_received(&c));
    card_end(&c);
}

/* A packet that waits with its segments in part is dropped: the next one begins with its first. */
static void test_tap_dropped(void)
{
    uint8_t got[2048];
    Card c;

    card_open_tap(&c, "");
    card_start(&c, RING, RING, 0);
    send_segments(&c);
    for (unsigned i = 0; i < RING - 1; i++) {
        card_receive(&c, got);
    }
    card_write(&c, RCTL, RCTL_EN | RCTL_LBM);
    for (unsigned i = 0; i < 10; i++) { /* turns of the loop */
        card_read(&c, STATUS);
    }
    card_write(&c, RCTL, RCTL_EN);
    card_refill(&c);
    send_segments(&c);
    receive_segments(&c, 30);
    card_end(&c);
}

/* Receive. */

static void test_rx(void)
{
    uint8_t frame[1600], got[20000];
    QFrame f = to_card(false, false, 100);
    size_t len = qframe_make(&f, frame);
    Received r;
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, 0);
    qwire_send(&c.w, frame, len);
    r = card_receive(&c, got);
    qtest_check_eq(r.len, len + 4);
    qtest_check_mem(got, frame, len);
    qtest_check_eq(r.status, 0x07); /* DD, EOP, IXSM */
    qtest_check_eq(r.checksum, qframe_sum(0, frame, len));
    qtest_check_eq(card_read(&c, ICR), ICR_RXT0);
    /* The packet checksum starts at PCSS. */
    card_write(&c, RXCSUM, 34);
    qwire_send(&c.w, frame, len);
    qtest_check_eq(card_receive(&c, got).checksum, qframe_sum(0, frame + 34, len - 34));
    /* Without the check sequence. */
    card_write(&c, RCTL, RCTL_EN | RCTL_SECRC);
    qwire_send(&c.w, frame, len);
    qtest_check_eq(card_receive(&c, got).len, len);
    /* Short frames are padded with zeroes. */
    qtest_memset(c.q, c.rx_data + 3 * BUFFER, 0xee, 64);
    qwire_send(&c.w, frame, 20);
    qtest_check_eq(card_receive(&c, got).len, 60);
    qtest_check_mem(got, frame, 20);
    qtest_check_mem(got + 20, ((uint8_t[40]){0}), 40);
    /* SRPD: small frames; RXDMT0: half of the ring is used. */
    card_refill(&c);
    card_write(&c, RSRPD, 100);
    card_read(&c, ICR);
    qwire_send(&c.w, frame, 60);
    card_receive(&c, got);
    qtest_check_eq(card_read(&c, ICR), ICR_RXT0 | ICR_SRPD);
    for (unsigned i = 0; i < 3; i++) {
        qwire_send(&c.w, frame, len);
        card_receive(&c, got);
    }
    qtest_check(card_read(&c, ICR) & ICR_RXDMT0);
    card_end(&c);
}

static void test_rx_sizes(void)
{
    static const struct {
        uint32_t bits;
        unsigned size;
    } sizes[] = {{0, 2048},
                 {1 << 16, 1024},
                 {2 << 16, 512},
                 {3 << 16, 256},
                 {1 << 16 | RCTL_BSEX, 16384},
                 {2 << 16 | RCTL_BSEX, 8192},
                 {3 << 16 | RCTL_BSEX, 4096}};
    g_autofree uint8_t *frame = g_malloc(20000), *got = g_malloc(20000);
    QFrame f = to_card(false, true, 9000);
    size_t len = qframe_make(&f, frame);
    Card c;

    card_open(&c, "e1000", "");
    c.buffer = 16384;
    card_start(&c, 64, RING, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        unsigned before = card_read(&c, RDH);

        /* Too long without LPE. */
        card_write(&c, RCTL, RCTL_EN | RCTL_SECRC | sizes[i].bits);
        qwire_send(&c.w, frame, len);
        qtest_wait_until(card_read(&c, 0x40ac) == 1); /* ROC */
        card_write(&c, RCTL, RCTL_EN | RCTL_SECRC | RCTL_LPE | sizes[i].bits);
        f.data = 8000;
        qwire_send(&c.w, frame, qframe_make(&f, frame));
        qtest_check_eq(card_receive(&c, got).len, 42 + 8000);
        qtest_check_mem(got, frame, 42 + 8000);
        qtest_check_eq(card_read(&c, RDH),
                       (before + (42 + 8000 + sizes[i].size - 1) / sizes[i].size) % 64);
        card_refill(&c);
        f.data = 9000;
        qframe_make(&f, frame);
    }
    /* 1522 bytes with their check sequence are the longest without LPE. */
    card_write(&c, RCTL, RCTL_EN);
    qwire_send(&c.w, frame, 1519);
    qwire_send(&c.w, frame, 1518);
    qtest_check_eq(card_receive(&c, got).len, 1522);
    qtest_check_eq(card_read(&c, 0x40ac), 1);
    card_write(&c, RCTL, RCTL_EN | RCTL_SBP);
    qwire_send(&c.w, frame, 1600);
    qtest_check_eq(card_receive(&c, got).len, 1604);
    card_end(&c);
}

/* Whether a frame to this address is received. Another, which is, follows it. */
static bool passes(Card *c, const uint8_t *dst, bool tag, uint16_t tci)
{
    uint8_t frame[64] = {0}, got[2048];
    bool first;

    memcpy(frame, dst, 6);
    if (tag) {
        memcpy(frame + 12, ((uint8_t[]){0x81, 0, tci >> 8, tci}), 4);
    }
    frame[63] = 1;
    qwire_send(&c->w, frame, 64);
    memset(frame, 0, sizeof frame);
    memcpy(frame, card_mac, 6);
    frame[63] = 2;
    qwire_send(&c->w, frame, 64);
    card_receive(c, got);
    first = got[63] == 1;
    if (first) {
        card_receive(c, got);
    }
    qtest_check_eq(got[63], 2);
    card_refill(c);
    return first;
}

static void test_rx_filters(void)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x34, 0x12};
    static const unsigned shifts[] = {4, 3, 2, 0};
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, 0);
    qtest_check(passes(&c, card_mac, false, 0));
    qtest_check(!passes(&c, peer_mac, false, 0));
    qtest_check(!passes(&c, all, false, 0));
    qtest_check(!passes(&c, group, false, 0));
    card_write(&c, RCTL, RCTL_EN | RCTL_UPE);
    qtest_check(passes(&c, peer_mac, false, 0));
    qtest_check(!passes(&c, group, false, 0));
    card_write(&c, RCTL, RCTL_EN | RCTL_MPE);
    qtest_check(passes(&c, group, false, 0));
    qtest_check(!passes(&c, peer_mac, false, 0));
    card_write(&c, RCTL, RCTL_EN | RCTL_BAM);
    qtest_check(passes(&c, all, false, 0));
    qtest_check(!passes(&c, group, false, 0));
    /* Another receive address, valid or not. */
    card_write(&c, RCTL, RCTL_EN);
    card_write(&c, RAL + 15 * 8, 0x11005452);
    card_write(&c, RAH + 15 * 8, 0x3322);
    qtest_check(!passes(&c, peer_mac, false, 0));
    card_write(&c, RAH + 15 * 8, 0x80003322);
    qtest_check(passes(&c, peer_mac, false, 0));
    /* The table of hashes, whose bits RCTL.MO chooses. */
    for (unsigned mo = 0; mo < 4; mo++) {
        unsigned hash = 0x1234 >> shifts[mo] & 0xfff;

        card_write(&c, RCTL, RCTL_EN | mo << 12);
        qtest_check(!passes(&c, group, false, 0));
        card_write(&c, MTA + hash / 32 * 4, 1u << hash % 32);
        qtest_check(passes(&c, group, false, 0));
        card_write(&c, MTA + hash / 32 * 4, 0);
    }
    /* VLANs. */
    card_write(&c, RCTL, RCTL_EN | RCTL_VFE);
    qtest_check(!passes(&c, card_mac, true, 0x123));
    card_write(&c, VFTA + 0x123 / 32 * 4, 1u << 0x123 % 32);
    qtest_check(passes(&c, card_mac, true, 0x123));
    qtest_check(!passes(&c, card_mac, true, 0x124));
    qtest_check(passes(&c, card_mac, true, 0x1123));
    card_write(&c, RCTL, RCTL_EN | RCTL_VFE | RCTL_CFIEN);
    qtest_check(!passes(&c, card_mac, true, 0x1123));
    /* Nothing is received while the receiver is off. */
    card_write(&c, RCTL, 0);
    qwire_send(&c.w, card_mac, 6);
    card_write(&c, RCTL, RCTL_EN);
    qtest_check(passes(&c, card_mac, false, 0));
    card_end(&c);
}

static void test_rx_vlan(void)
{
    uint8_t frame[1600], got[2048];
    QFrame f = to_card(false, false, 100);
    size_t len;
    Received r;
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, RCTL_SECRC);
    card_write(&c, CTRL, CTRL_VME);
    f.tag = true;
    len = qframe_make(&f, frame);
    qwire_send(&c.w, frame, len);
    r = card_receive(&c, got);
    qtest_check_eq(r.len, len - 4);
    qtest_check_eq(r.status & 8, 8);
    qtest_check_eq(r.special, 0x6123);
    qtest_check_mem(got, frame, 12);
    qtest_check_mem(got + 12, frame + 16, len - 16);
    /* Another EtherType. */
    card_write(&c, VET, 0x88a8);
    qwire_send(&c.w, frame, len);
    r = card_receive(&c, got);
    qtest_check_eq(r.len, len);
    qtest_check_eq(r.status & 8, 0);
    card_end(&c);
}

static void test_rx_checksums(void)
{
    uint8_t frame[1600], got[2048];
    Received r;
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, 0);
    card_write(&c, RXCSUM, 0x300);
    for (unsigned kind = 0; kind < 8; kind++) {
        QFrame f = to_card(kind & 1, kind & 2, 99);
        size_t len;

        f.tag = kind & 4;
        len = qframe_make(&f, frame);
        qwire_send(&c.w, frame, len);
        r = card_receive(&c, got);
        qtest_check_eq(r.status & 0x64, f.v6 ? 0x20 : 0x60);
        qtest_check_eq(r.errors, 0);
        frame[len - 1] ^= 1;
        qwire_send(&c.w, frame, len);
        r = card_receive(&c, got);
        qtest_check_eq(r.errors, 0x20);
        if (!f.v6) {
            frame[len - 1] ^= 1;
            frame[qframe_headers(&f) - (f.udp ? UDP : TCP) - 20 + 8] ^= 1;
            qwire_send(&c.w, frame, len);
            r = card_receive(&c, got);
            qtest_check_eq(r.errors, 0x40);
        }
        card_refill(&c);
    }
    /* No IP, or cut: nothing is said. */
    memset(frame + 12, 0, 60);
    qwire_send(&c.w, frame, 72);
    qtest_check_eq(card_receive(&c, got).status & 0x64, 4);
    card_end(&c);
}

/* A full ring: what does not fit waits, and nothing is lost. */
static void test_rx_full(void)
{
    uint8_t frame[64] = {0}, got[2048];
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, 0);
    memcpy(frame, card_mac, 6);
    for (unsigned i = 0; i < 14; i++) { /* few enough for the socket between us */
        frame[63] = i;
        qwire_send(&c.w, frame, 64);
    }
    for (unsigned i = 0; i < 14; i++) {
        if (i % 7 == 0) {
            qtest_wait_until(card_read(&c, RDH) == card_read(&c, RDT));
            card_refill(&c);
        }
        qtest_check_eq(card_receive(&c, got).len, 68);
        qtest_check_eq(got[63], i);
    }
    qtest_check_eq(card_read(&c, 0x4010), 0); /* MPC */
    card_end(&c);
}

static void test_loopback(void)
{
    uint8_t frame[64] = {0}, got[2048];
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, RCTL_LBM);
    memcpy(frame, card_mac, 6);
    frame[20] = 99;
    for (unsigned phy = 0; phy < 2; phy++) {
        card_send(&c, frame, 64);
        qtest_check_eq(card_receive(&c, got).len, 68);
        qtest_check_mem(got, frame, 64);
        qtest_check(qwire_silent(&c.w));
        card_write(&c, RCTL, RCTL_EN);
        card_write(&c, MDIC, 0x04204140); /* the PHY's own loopback */
    }
    card_end(&c);
}

static void test_statistics(void)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const unsigned sizes[] = {60, 61, 124, 252, 508, 1020, 1514};
    static const unsigned counts[] = {1, 1, 1, 1, 1, 2}; /* by size with the check sequence */
    unsigned bytes = 0;
    uint8_t frame[1600] = {0}, got[2048];
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, 64, 64, RCTL_BAM | RCTL_MPE);
    memcpy(frame, card_mac, 6);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        bytes += sizes[i] + 4;
        card_send(&c, frame, sizes[i]);
        qtest_check_eq(qwire_receive(&c.w, got, sizeof got), sizes[i]);
        qwire_send(&c.w, frame, sizes[i]);
        card_receive(&c, got);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++) {
        qtest_check_eq(card_read(&c, 0x40d8 + 4 * i), counts[i]); /* PTC64 ... */
        qtest_check_eq(card_read(&c, 0x405c + 4 * i), counts[i]); /* PRC64 ... */
        qtest_check_eq(card_read(&c, 0x405c + 4 * i), 0);
    }
    qtest_check_eq(card_read(&c, 0x40d0), 7); /* TPR, TPT, GPRC, GPTC */
    qtest_check_eq(card_read(&c, 0x40d4), 7);
    qtest_check_eq(card_read(&c, 0x4074), 7);
    qtest_check_eq(card_read(&c, 0x4080), 7);
    for (unsigned reg = 0x4088; reg <= 0x4090; reg += 8) { /* GORC, GOTC */
        qtest_check_eq(card_read(&c, reg), bytes);
        qtest_check_eq(card_read(&c, reg), bytes);
        qtest_check_eq(card_read(&c, reg + 4), 0);
        qtest_check_eq(card_read(&c, reg), 0);
    }
    qtest_check_eq(card_read(&c, 0x40c0), bytes); /* TOR, TOT */
    qtest_check_eq(card_read(&c, 0x40c8), bytes);
    memcpy(frame, all, 6);
    card_send(&c, frame, 60);
    qwire_send(&c.w, frame, 60);
    frame[0] = 1;
    card_send(&c, frame, 60);
    qwire_send(&c.w, frame, 60);
    card_receive(&c, got);
    card_receive(&c, got);
    qtest_check_eq(card_read(&c, 0x4078), 1); /* BPRC, MPRC, MPTC, BPTC */
    qtest_check_eq(card_read(&c, 0x407c), 1);
    qtest_check_eq(card_read(&c, 0x40f0), 1);
    qtest_check_eq(card_read(&c, 0x40f4), 1);
    card_end(&c);
}

static const QTestCase cases[] = {
    {"tx-legacy", test_tx_legacy},
    {"tx-checksums", test_tx_checksums},
    {"tso", test_tso},
    {"tap-whole", test_tap_whole},
    {"tap-room", test_tap_room},
    {"tap-dropped", test_tap_dropped},
    {"rx", test_rx},
    {"rx-sizes", test_rx_sizes},
    {"rx-filters", test_rx_filters},
    {"rx-vlan", test_rx_vlan},
    {"rx-checksums", test_rx_checksums},
    {"rx-full", test_rx_full},
    {"loopback", test_loopback},
    {"statistics", test_statistics},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
