/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139 in C+ mode: descriptors, offloads, tally counters, saved state, hostile rings. */
#include "rtl8139_client.h"

enum { RING = 4 };

static void desc(Rtl *c, uint64_t ring, unsigned i, uint32_t first, uint32_t tag, uint64_t addr)
{
    qtest_writeq(c->q, ring + i * 16 + 8, addr);
    qtest_writel(c->q, ring + i * 16 + 4, tag);
    qtest_writel(c->q, ring + i * 16, first | (i == RING - 1 ? EOR : 0));
}

static void give_rx(Rtl *c, unsigned i, unsigned size)
{
    desc(c, c->rx, i, OWN | size, 0, c->rx_data + i * BUFFER);
}

static void start_plus(Rtl *c, uint16_t cpcr, uint32_t rcr)
{
    rtl_writeb(c, CR, CR_RST);
    qtest_memset(c->q, c->tx, 0, 1024);
    qtest_memset(c->q, c->high, 0, 1024);
    rtl_writew(c, CPCR, cpcr | 3);
    qpci_writeq(c->bar, TNPDS, c->tx);
    qpci_writeq(c->bar, THPDS, c->high);
    qpci_writeq(c->bar, RDSAR, c->rx);
    for (unsigned i = 0; i < RING; i++) {
        give_rx(c, i, BUFFER - 1);
    }
    rtl_writel(c, RCR, rcr);
    rtl_writeb(c, CR, CR_RE | CR_TE);
    c->got = c->tail = 0;
}

static void add_tx(Rtl *c, uint64_t addr, uint32_t first, uint32_t tag)
{
    desc(c, c->tx, c->tail, OWN | first, tag, addr);
    c->tail = (c->tail + 1) % RING;
}

static void wait_tx(Rtl *c)
{
    qtest_wait_until(!(rtl_readb(c, TPPOLL) & 0xc0));
}

static uint32_t receive_plus(Rtl *c, uint8_t *frame)
{
    uint64_t at = c->rx + c->got * 16;
    uint32_t first;

    qtest_wait_until(!(qtest_readl(c->q, at) & OWN));
    first = qtest_readl(c->q, at);
    qtest_read(c->q, c->rx_data + c->got * BUFFER, frame, first & 0x1fff);
    c->got = (c->got + 1) % RING;
    return first;
}

static QFrame to_peer(bool udp, size_t data)
{
    QFrame f = {.udp = udp, .data = data};

    memcpy(f.dst, peer_mac, 6);
    memcpy(f.src, card_mac, 6);
    return f;
}

static void test_tx(void)
{
    uint8_t frame[1600], got[2048];
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0, 0);
    for (unsigned kind = 0; kind < 6; kind++) {
        QFrame f = to_peer(kind & 1, 600 + kind);
        size_t len = qframe_make(&f, frame);

        qtest_write(c.q, c.tx_data, frame, len);
        add_tx(&c, c.tx_data, 50 | FS | 1 << 18 | (f.udp ? 1 << 17 : 1 << 16), 0);
        if (kind == 3) { /* the rest comes later */
            rtl_writeb(&c, TPPOLL, 0x40);
            wait_tx(&c);
            qtest_check(qwire_silent(&c.w));
        }
        add_tx(&c, c.tx_data + 50, (len - 50) | LS, kind & 2 ? 1 << 17 | 0x2361 : 0);
        rtl_writeb(&c, TPPOLL, 0x40);
        if (kind & 2) { /* with a tag */
            qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len + 4);
            qtest_check_mem(got + 12, ((uint8_t[]){0x81, 0x00, 0x61, 0x23}), 4);
            memmove(got + 12, got + 16, len - 12);
        } else {
            qtest_check_eq(qwire_receive(&c.w, got, sizeof got), len);
        }
        qframe_check_sums(&f, got, len);
        wait_tx(&c);
        for (unsigned i = 0; i < 2; i++) {
            qtest_check(!(qtest_readl(c.q, c.tx + (c.tail + 2 + i) % RING * 16) & OWN));
        }
        qtest_wait_until((rtl_readw(&c, ISR) & (TOK | TDU)) == (TOK | TDU));
        rtl_writew(&c, ISR, 0xffff);
    }
    /* The ring of high priority goes first. */
    qtest_write(c.q, c.tx_data + 60, frame, 61);
    add_tx(&c, c.tx_data, 60 | FS | LS, 0);
    desc(&c, c.high, 0, OWN | 61 | FS | LS, 0, c.tx_data + 60);
    rtl_writeb(&c, TPPOLL, 0xc0);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 61);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 60);
    rtl_end(&c);
}

static void check_segments(Rtl *c, const QFrame *f, const uint8_t *frame, size_t mss)
{
    size_t head = qframe_headers(f), sent = 0;
    uint8_t got[4096];

    for (unsigned i = 0; sent < f->data; i++) {
        size_t part = MIN(mss, f->data - sent);

        qtest_check_eq(qwire_receive(&c->w, got, sizeof got), head + part);
        qframe_check_sums(f, got, head + part);
        qtest_check_mem(got + head, frame + head + sent, part);
        qtest_check_eq(got[18] << 8 | got[19], 0x1234 + i);
        qtest_check_eq(got[39] << 16 | got[40] << 8 | got[41], 77 + sent);
        sent += part;
    }
}

static void test_tso(void)
{
    uint8_t frame[9000];
    QFrame f = to_peer(false, 8000);
    size_t len = qframe_make(&f, frame);
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0, 0);
    qtest_write(c.q, c.tx_data, frame, len);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t large = LGSEN | 1000 << 16;

        add_tx(&c, c.tx_data, 54 | FS | large, 0);
        add_tx(&c, c.tx_data + 54, (len - 54) | LS | large, 0);
        rtl_writeb(&c, TPPOLL, 0x40);
        check_segments(&c, &f, frame, 1000);
        wait_tx(&c);
    }
    /* No MSS, no TCP: dropped. */
    add_tx(&c, c.tx_data, 1000 | FS | LS | LGSEN, 0);
    qtest_writeb(c.q, c.tx_data + 4000 + 23, 1);
    add_tx(&c, c.tx_data + 4000, 1000 | FS | LS | LGSEN | 100 << 16, 0);
    rtl_writeb(&c, TPPOLL, 0x40);
    wait_tx(&c);
    qtest_check(qwire_silent(&c.w));
    rtl_end(&c);
}

static void test_rx(void)
{
    uint8_t frame[1600], got[4096];
    uint32_t first;
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0x60, APM);
    for (unsigned kind = 0; kind < 12; kind++) {
        QFrame f = {.udp = kind & 1, .tag = kind & 2, .data = 200 + kind, .sums = true};
        unsigned at = c.got;
        size_t len;

        memcpy(f.dst, card_mac, 6);
        len = qframe_make(&f, frame);
        frame[len - 1] ^= kind & 4 ? 1 : 0;
        qwire_send(&c.w, frame, len);
        first = receive_plus(&c, got);
        qtest_check_eq(first & 0x1fff, len + 4 - (f.tag ? 4 : 0));
        qtest_check_eq(first & (FS | LS | 7 << 25), FS | LS | 1 << 26);
        qtest_check_eq(first >> 16 & 3, f.udp ? 2 : 1);
        qtest_check_eq(first & 0xe000, kind & 4 ? (f.udp ? 0x4000 : 0x2000) : 0);
        qtest_check_eq(first >> 30 & 1, at == RING - 1);
        qtest_check_eq(qtest_readl(c.q, c.rx + at * 16 + 4), f.tag ? 0x12361 : 0);
        qtest_check_mem(got, frame, 12);
        qtest_check_mem(got + 12, frame + 12 + (f.tag ? 4 : 0), len - 12 - (f.tag ? 4 : 0));
        give_rx(&c, at, BUFFER - 1);
    }
    qtest_wait_until(rtl_readw(&c, ISR) & ROK);
    /* Over several descriptors. */
    for (unsigned i = 0; i < RING; i++) {
        give_rx(&c, i, 400);
    }
    memset(frame + 12, 0, 2);
    c.got = 0;
    rtl_writeb(&c, CR, CR_TE);
    rtl_writeb(&c, CR, CR_RE | CR_TE);
    qwire_send(&c.w, frame, 1000);
    qtest_check_eq(receive_plus(&c, got) & (FS | LS | 0x1fff), FS | 400);
    qtest_check_eq(receive_plus(&c, got + 400) & (FS | LS | 0x1fff), 400);
    qtest_check_eq(receive_plus(&c, got + 800) & (FS | LS | 0x1fff), LS | 1004);
    qtest_check_mem(got, frame, 1000);
    rtl_end(&c);
}

/* A frame that all descriptors together can't hold is dropped: it would wait for ever. */
static void test_too_long(void)
{
    uint8_t frame[2000] = {0}, got[2048];
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0, APM);
    for (unsigned i = 0; i < RING; i++) {
        give_rx(&c, i, 400);
    }
    memcpy(frame, card_mac, 6);
    qwire_send(&c.w, frame, RING * 400 - 3); /* and a check sequence */
    frame[50] = 1;
    qwire_send(&c.w, frame, 100);
    qtest_check_eq(receive_plus(&c, got) & (FS | LS | 0x1fff), FS | LS | 104);
    qtest_check_eq(got[50], 1);
    for (unsigned i = 1; i < RING; i++) {
        qtest_check(qtest_readl(c.q, c.rx + i * 16) & OWN);
    }
    rtl_end(&c);
}

/* Descriptors are given without a word to the card. */
static void test_full(void)
{
    uint8_t frame[100] = {0}, got[8192];
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0, APM);
    memcpy(frame, card_mac, 6);
    for (unsigned i = 0; i < 10; i++) {
        frame[50] = i;
        qwire_send(&c.w, frame, sizeof frame);
    }
    for (unsigned i = 0; i < 10; i++) {
        unsigned at = c.got;

        if (i == RING) { /* all descriptors are used */
            qtest_wait_until(rtl_readw(&c, ISR) & RDU);
        }
        if (i >= RING) {
            give_rx(&c, at, BUFFER - 1);
            qtest_clock_step(c.q, 10000000);
        }
        receive_plus(&c, got);
        qtest_check_eq(got[50], i);
    }
    rtl_end(&c);
}

static void test_tally(void)
{
    uint8_t frame[64] = {0}, got[4096], tally[64];
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0, APM | AB);
    for (unsigned i = 0; i < 2; i++) {
        add_tx(&c, c.tx_data, 60 | FS | LS, 0);
        rtl_writeb(&c, TPPOLL, 0x40);
        wait_tx(&c);
        memset(frame, 0xff, 6);
        memcpy(frame, card_mac, i ? 6 : 0);
        qwire_send(&c.w, frame, 64);
        receive_plus(&c, got);
    }
    rtl_writel(&c, TSD0 + 4, 0);
    rtl_writel(&c, TSD0, c.high | 8);
    qtest_check_eq(rtl_readl(&c, TSD0), c.high);
    qtest_read(c.q, c.high, tally, sizeof tally);
    qtest_check_eq(tally[0], 2); /* sent, received */
    qtest_check_eq(tally[8], 2);
    qtest_check_eq(tally[40], 1); /* to the card's address, broadcast */
    qtest_check_eq(tally[48], 1);
    rtl_end(&c);
}

static void test_tap_whole(void)
{
    uint8_t frame[9000], got[9000];
    QFrame f = to_peer(false, 8000);
    size_t len = qframe_make(&f, frame);
    struct virtio_net_hdr header;
    uint16_t sum;
    Rtl c;

    rtl_open_tap(&c);
    start_plus(&c, 0x20, APM);
    qtest_write(c.q, c.tx_data, frame, len);
    add_tx(&c, c.tx_data, len | FS | LS | LGSEN | 1000 << 16, 0);
    rtl_writeb(&c, TPPOLL, 0x40);
    qtest_check_eq(qwire_receive_header(&c.w, &header, got, sizeof got), len);
    qtest_check_eq(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    qtest_check_eq(header.gso_size, 1000);
    qtest_check_eq(got[50] << 8 | got[51], qframe_pseudo(&f, got, len - 34));
    wait_tx(&c);
    /* Of one frame, the checksum is left to the host. */
    qtest_writew(c.q, c.tx_data + 16, 986 >> 8 | (986 & 0xff) << 8);
    add_tx(&c, c.tx_data, 1000 | FS | LS | 5 << 16, 0);
    rtl_writeb(&c, TPPOLL, 0x40);
    qtest_check_eq(qwire_receive_header(&c.w, &header, got, sizeof got), 1000);
    qtest_check_eq(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 1);
    qtest_check_eq(header.csum_start, 34);
    /* Eight segments come in: more than there are descriptors. */
    memcpy(f.dst, card_mac, 6);
    len = qframe_make(&f, frame);
    sum = qframe_pseudo(&f, frame, len - 34);
    frame[50] = sum >> 8;
    frame[51] = sum;
    header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                     .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                     .hdr_len = 54,
                                     .gso_size = 1000,
                                     .csum_start = 34,
                                     .csum_offset = 16};
    qwire_send_header(&c.w, &header, frame, len);
    for (unsigned i = 0; i < 8; i++) {
        unsigned at = c.got;

        qtest_check_eq(receive_plus(&c, got) & 0x3ffff, 0x10000 | 1058);
        qframe_check_sums(&f, got, 1054);
        qtest_check_mem(got + 54, frame + 54 + i * 1000, 1000);
        give_rx(&c, at, BUFFER - 1);
        qtest_clock_step(c.q, 10000000);
    }
    rtl_end(&c);
}

/* State. */

static void test_state(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    uint8_t frame[64] = {0}, got[8192];
    Rtl c;

    rtl_open(&c);
    start_plus(&c, 0, APM);
    rtl_writew(&c, IMR, TIMEOUT);
    rtl_writel(&c, TCTR, 0);
    rtl_writel(&c, TIMERINT, 33000);
    memcpy(frame, card_mac, 6);
    qwire_send(&c.w, frame, 64);
    receive_plus(&c, got);
    add_tx(&c, c.tx_data, 40 | FS, 0); /* without the packet's end */
    rtl_writeb(&c, TPPOLL, 0x40);
    json_decref(qtest_qmp(c.q, "stop", NULL));
    json_decref(qtest_qmp(c.q, "x-save-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(c.q, "cont", NULL));
    rtl_writeb(&c, CR, CR_RST);
    json_decref(qtest_qmp(c.q, "stop", NULL));
    json_decref(qtest_qmp(c.q, "x-load-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(c.q, "cont", NULL));
    qtest_check_eq(rtl_readw(&c, IMR), TIMEOUT);
    add_tx(&c, c.tx_data + 40, 24 | LS, 0);
    rtl_writeb(&c, TPPOLL, 0x40);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 64);
    qwire_send(&c.w, frame, 64);
    qtest_check_eq(receive_plus(&c, got) & 0x1fff, 68);
    qtest_check(!rtl_interrupts(&c));
    qtest_clock_step(c.q, 1000000);
    qtest_check(rtl_interrupts(&c));
    rtl_end(&c);
}

/* Guests that mean harm: the program goes on, and so does the card after a reset. */
static void test_hostile(void)
{
    uint8_t frame[64] = {0}, got[8192];
    Rtl c;

    rtl_open(&c);
    /* Rings that are no RAM; a ring without an end; more than any packet. */
    start_plus(&c, 0, AAP);
    qpci_writeq(c.bar, TNPDS, c.bar.addr);
    qpci_writeq(c.bar, RDSAR, c.bar.addr);
    rtl_writeb(&c, TPPOLL, 0xc0);
    wait_tx(&c);
    qwire_send(&c.w, frame, 64);
    start_plus(&c, 0, AAP);
    for (unsigned i = 0; i < 64; i++) {
        qtest_writel(c.q, c.tx + i * 16, OWN | 0xffff);
    }
    rtl_writeb(&c, TPPOLL, 0x40);
    wait_tx(&c);
    qtest_check(!(qtest_readl(c.q, c.tx + 63 * 16) & OWN));
    /* Headers that lie about lengths, with every offload (CVE-2015-5165). */
    start_plus(&c, 0, 0);
    for (unsigned i = 0; i < 200; i++) {
        uint8_t lie[100];

        for (unsigned k = 0; k < sizeof lie; k++) {
            lie[k] = (i * 37 + k * 11) ^ (k * i);
        }
        memcpy(lie + 12, ((uint8_t[]){8, 0, 0x40 | i % 16}), 3);
        lie[23] = i & 1 ? 6 : 17;
        qtest_write(c.q, c.tx_data, lie, sizeof lie);
        add_tx(&c, c.tx_data, (14 + i % 80) | FS | LS | 7 << 16 | (i & 2 ? LGSEN : 0), 0);
        rtl_writeb(&c, TPPOLL, 0x40);
        wait_tx(&c);
        while (!qwire_silent(&c.w)) {
            qtest_check_le(qwire_receive(&c.w, got, sizeof got), 14 + i % 80);
        }
    }
    start_plus(&c, 0, APM);
    memcpy(frame, card_mac, 6);
    qwire_send(&c.w, frame, 64);
    qtest_check_eq(receive_plus(&c, got) & 0x1fff, 68);
    rtl_end(&c);
}

static const QTestCase cases[] = {
    {"tx", test_tx},
    {"tso", test_tso},
    {"rx", test_rx},
    {"too-long", test_too_long},
    {"full", test_full},
    {"tally", test_tally},
    {"tap-whole", test_tap_whole},
    {"state", test_state},
    {"hostile", test_hostile},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
