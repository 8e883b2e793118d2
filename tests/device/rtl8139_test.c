/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139: registers, EEPROM, timer, C mode and C+ mode, offloads, saved state, hostile rings. */
#include "qwire.h"

enum {
    IDR0 = 0x00,
    MAR0 = 0x08,
    TSD0 = 0x10,
    TSAD0 = 0x20,
    TNPDS = 0x20,
    THPDS = 0x28,
    RBSTART = 0x30,
    CR = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    IMR = 0x3c,
    ISR = 0x3e,
    TCR = 0x40,
    RCR = 0x44,
    TCTR = 0x48,
    CR9346 = 0x50,
    CONFIG1 = 0x52,
    CONFIG3 = 0x59,
    CONFIG5 = 0xd8,
    TIMERINT = 0x54,
    MSR = 0x58,
    TSAD = 0x60,
    BMCR = 0x62,
    BMSR = 0x64,
    TPPOLL = 0xd9,
    CPCR = 0xe0,
    RDSAR = 0xe4,

    CR_RST = 0x10,
    CR_RE = 8,
    CR_TE = 4,
    CR_BUFE = 1,
    ROK = 1,
    TOK = 4,
    TER = 8,
    RDU = 0x10,
    LINK = 0x20,
    TDU = 0x80,
    SWINT = 0x100,
    TIMEOUT = 0x4000,
    AAP = 1,
    APM = 2,
    AM = 4,
    AB = 8,
    WRAP = 0x80,
    OWN = 1u << 31,
    EOR = 1 << 30,
    FS = 1 << 29,
    LS = 1 << 28,
    LGSEN = 1 << 27,

    RING = 4,
    BUFFER = 2048,
    HEADER = 4,
};

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bar;
    QWire w;
    uint64_t rx, tx, high, rx_data, tx_data;
    unsigned tail; /* the next transmit descriptor */
    unsigned got;  /* receive descriptor, or offset in C mode's ring */
} Card;

static const uint8_t card_mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};
static const uint8_t peer_mac[6] = {0x52, 0x54, 0x00, 0x11, 0x22, 0x33};

static uint8_t rd8(Card *c, unsigned reg)
{
    return qpci_readb(c->bar, reg);
}

static uint16_t rd16(Card *c, unsigned reg)
{
    return qpci_readw(c->bar, reg);
}

static uint32_t rd32(Card *c, unsigned reg)
{
    return qpci_readl(c->bar, reg);
}

static void wr8(Card *c, unsigned reg, uint8_t value)
{
    qpci_writeb(c->bar, reg, value);
}

static void wr16(Card *c, unsigned reg, uint16_t value)
{
    qpci_writew(c->bar, reg, value);
}

static void wr32(Card *c, unsigned reg, uint32_t value)
{
    qpci_writel(c->bar, reg, value);
}

static void card_start_program(Card *c)
{
    c->q = qtest_startf("-machine pc -m 64 -nodefaults %s -device "
                        "rtl8139,id=card,netdev=n0,mac=52:54:00:aa:bb:cc,addr=5,romfile=",
                        c->w.args);
    qpci_open(c->q, &c->pci, 5, 0);
    c->bar = qpci_map_bar(&c->pci, 1);
    qpci_enable(&c->pci);
    c->rx = qtest_alloc(c->q, 1024, 256);
    c->tx = qtest_alloc(c->q, 1024, 256);
    c->high = qtest_alloc(c->q, 1024, 256);
    c->rx_data = qtest_alloc(c->q, 128 * 1024, 256);
    c->tx_data = qtest_alloc(c->q, 128 * 1024, 256);
}

static void card_open(Card *c)
{
    *c = (Card){0};
    qwire_open(&c->w);
    card_start_program(c);
}

static void card_end(Card *c)
{
    qtest_end(c->q);
    qwire_close(&c->w);
}

static bool card_interrupts(Card *c)
{
    return qpci_config_readw(&c->pci, 6) & 8;
}

/* C mode, with a ring of 8 KiB << rblen. */
static void start_c(Card *c, uint32_t rcr)
{
    wr8(c, CR, CR_RST);
    wr32(c, RBSTART, c->rx_data);
    wr32(c, RCR, rcr);
    wr8(c, CR, CR_RE | CR_TE);
    c->got = c->tail = 0;
}

static void desc(Card *c, uint64_t ring, unsigned i, uint32_t first, uint32_t tag, uint64_t addr)
{
    qtest_writeq(c->q, ring + i * 16 + 8, addr);
    qtest_writel(c->q, ring + i * 16 + 4, tag);
    qtest_writel(c->q, ring + i * 16, first | (i == RING - 1 ? EOR : 0));
}

static void give_rx(Card *c, unsigned i, unsigned size)
{
    desc(c, c->rx, i, OWN | size, 0, c->rx_data + i * BUFFER);
}

static void start_plus(Card *c, uint16_t cpcr, uint32_t rcr)
{
    wr8(c, CR, CR_RST);
    qtest_memset(c->q, c->tx, 0, 1024);
    qtest_memset(c->q, c->high, 0, 1024);
    wr16(c, CPCR, cpcr | 3);
    qpci_writeq(c->bar, TNPDS, c->tx);
    qpci_writeq(c->bar, THPDS, c->high);
    qpci_writeq(c->bar, RDSAR, c->rx);
    for (unsigned i = 0; i < RING; i++) {
        give_rx(c, i, BUFFER - 1);
    }
    wr32(c, RCR, rcr);
    wr8(c, CR, CR_RE | CR_TE);
    c->got = c->tail = 0;
}

static void add_tx(Card *c, uint64_t addr, uint32_t first, uint32_t tag)
{
    desc(c, c->tx, c->tail, OWN | first, tag, addr);
    c->tail = (c->tail + 1) % RING;
}

static void wait_tx(Card *c)
{
    qtest_wait_until(!(rd8(c, TPPOLL) & 0xc0));
}

static uint32_t receive_plus(Card *c, uint8_t *frame)
{
    uint64_t at = c->rx + c->got * 16;
    uint32_t first;

    qtest_wait_until(!(qtest_readl(c->q, at) & OWN));
    first = qtest_readl(c->q, at);
    qtest_read(c->q, c->rx_data + c->got * BUFFER, frame, first & 0x1fff);
    c->got = (c->got + 1) % RING;
    return first;
}

static size_t receive_c(Card *c, uint8_t *frame, uint16_t *status)
{
    size_t len;

    qtest_wait_until(!(rd8(c, CR) & CR_BUFE));
    *status = qtest_readw(c->q, c->rx_data + c->got);
    len = qtest_readw(c->q, c->rx_data + c->got + 2);
    qtest_read(c->q, c->rx_data + c->got + HEADER, frame, len);
    c->got = (c->got + HEADER + len + 3) & ~3u & 8191;
    wr16(c, CAPR, c->got - 16);
    return len;
}

/* Registers. */

static void test_registers(void)
{
    static const struct {
        unsigned reg;
        uint32_t reset, ones;
    } regs[] = {{MAR0, 0, ~0u},       {MAR0 + 4, 0, ~0u},
                {TSAD0 + 12, 0, ~0u}, {RBSTART, 0, ~0u},
                {RCR, 0, 0x0f03ffbf}, {TCR, 0x74800000, 0x778707f0},
                {TIMERINT, 0, ~0u},   {RDSAR, 0, 0xffffff00},
                {RDSAR + 4, 0, ~0u},  {0x5c, 0x200000, 0x200fff},
                {0x78, 0, ~0u},       {0x84, 0, ~0u},
                {0xd0, 0, ~0u},       {0xd4, 0, 0},
                {0xf0, 0, 0},         {0x4c, 0, 0}};
    QPciBar io;
    Card c;

    card_open(&c);
    qtest_check_eq(c.pci.vendor, 0x10ec);
    qtest_check_eq(c.pci.device, 0x8139);
    qtest_check_eq(qpci_config_readl(&c.pci, 8), 0x02000020);
    qtest_check_eq(c.bar.size, 256);
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        qtest_check_eq(rd32(&c, regs[i].reg), regs[i].reset);
        wr32(&c, regs[i].reg, ~0u);
        qtest_check_eq(rd32(&c, regs[i].reg), regs[i].ones);
        for (unsigned b = 0; b < 4; b++) { /* bytes of it */
            qtest_check_eq(rd8(&c, regs[i].reg + b), regs[i].ones >> 8 * b & 0xff);
        }
    }
    qtest_check_eq(rd32(&c, IDR0), 0xaa005452);
    qtest_check_eq(rd16(&c, IDR0 + 4), 0xccbb);
    qtest_check_eq(rd16(&c, CAPR), 0xfff0);
    qtest_check_eq(rd16(&c, TSAD), 0xf);
    qtest_check_eq(rd16(&c, BMSR), 0x782d);
    qtest_check_eq(rd8(&c, MSR), 0xd0);
    /* The same in I/O space. One access may reach several registers. */
    io = qpci_map_bar(&c.pci, 0);
    qtest_check_eq(qpci_readl(io, IDR0), 0xaa005452);
    qpci_writel(io, IMR, 0x1234);
    qtest_check_eq(rd16(&c, IMR), 0x0034);
    wr8(&c, IMR + 1, 0x80);
    qtest_check_eq(rd32(&c, IMR), 0x8034);
    /* Configuration registers take 9346CR's leave. */
    wr8(&c, CONFIG1, 0xff);
    wr8(&c, CONFIG3, 0xff);
    wr8(&c, CONFIG5, 0xff);
    wr16(&c, BMCR, 0);
    qtest_check_eq(rd8(&c, CONFIG1), 0x0c);
    qtest_check_eq(rd8(&c, CONFIG3), 0x01);
    qtest_check_eq(rd8(&c, CONFIG5), 0);
    qtest_check_eq(rd16(&c, BMCR), 0x3100);
    wr8(&c, CR9346, 0xc0);
    wr8(&c, CONFIG1, 0xff);
    wr8(&c, CONFIG3, 0xff);
    wr8(&c, CONFIG5, 0xff);
    wr16(&c, BMCR, 0);
    qtest_check_eq(rd8(&c, CONFIG1), 0xff);
    qtest_check_eq(rd8(&c, CONFIG3), 0x71);
    qtest_check_eq(rd8(&c, CONFIG5), 0x7f);
    qtest_check_eq(rd16(&c, BMCR), 0);
    qtest_check_eq(rd16(&c, BMSR), 0x780d);
    wr16(&c, BMCR, 0x8000); /* resets the PHY */
    qtest_check_eq(rd16(&c, BMCR), 0x3100);
    /* CR.RST: registers, but neither the address nor the filter. */
    wr32(&c, IDR0, 0x01020304);
    wr8(&c, CR, CR_RST);
    qtest_check_eq(rd8(&c, CR), CR_BUFE);
    qtest_check_eq(rd32(&c, RCR), 0);
    qtest_check_eq(rd8(&c, CONFIG1), 0x0c);
    qtest_check_eq(rd32(&c, IDR0), 0x01020304);
    qtest_check_eq(rd32(&c, MAR0), ~0u);
    wr8(&c, CR9346, 0x40); /* loads the EEPROM */
    qtest_check_eq(rd32(&c, IDR0), 0xaa005452);
    qtest_check_eq(rd8(&c, CR9346) & 0xc0, 0);
    card_end(&c);
}

static void test_eeprom(void)
{
    static const struct {
        unsigned address;
        uint16_t word;
    } words[] = {{0, 0x8129}, {1, 0x10ec}, {2, 0x8139}, {7, 0x5452}, {9, 0xccbb}};
    Card c;

    card_open(&c);
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        unsigned command = 6 << 6 | words[i].address;
        uint16_t word = 0;

        wr8(&c, CR9346, 0x80);
        for (unsigned bit = 0; bit < 25; bit++) {
            uint8_t in = bit < 9 && command >> (8 - bit) & 1 ? 2 : 0;

            wr8(&c, CR9346, 0x88 | in);
            wr8(&c, CR9346, 0x8c | in);
            word = word << 1 | (bit < 9 ? 0 : rd8(&c, CR9346) & 1);
        }
        qtest_check_eq(word, words[i].word);
    }
    wr8(&c, CR9346, 0);
    card_end(&c);
}

/* TCTR counts at 33 MHz. */
static void test_timer(void)
{
    Card c;

    card_open(&c);
    wr16(&c, IMR, TIMEOUT);
    wr32(&c, TCTR, 0);
    qtest_clock_step(c.q, 1000000);
    qtest_check_eq(rd32(&c, TCTR), 33000);
    wr32(&c, TIMERINT, 66000);
    qtest_clock_step(c.q, 999999);
    qtest_check(!card_interrupts(&c));
    qtest_clock_step(c.q, 1);
    qtest_check(card_interrupts(&c));
    qtest_check_eq(rd16(&c, ISR), TIMEOUT);
    wr16(&c, ISR, TIMEOUT);
    qtest_check(!card_interrupts(&c));
    /* Written anew, it counts from 0. */
    wr32(&c, TCTR, 1);
    qtest_check_eq(rd32(&c, TCTR), 0);
    qtest_clock_step(c.q, 2000000);
    qtest_check_eq(rd16(&c, ISR), TIMEOUT);
    wr16(&c, ISR, TIMEOUT);
    wr32(&c, TIMERINT, 0);
    qtest_clock_step(c.q, 1000000000);
    qtest_check_eq(rd16(&c, ISR), 0);
    wr8(&c, TPPOLL, 1); /* an interrupt by software */
    qtest_check_eq(rd16(&c, ISR), SWINT);
    card_end(&c);
}

static void test_link(void)
{
    Card c;

    card_open(&c);
    wr16(&c, IMR, LINK);
    json_decref(qtest_qmp(c.q, "set_link", "{s:s, s:b}", "name", "n0", "up", 0));
    qtest_check(card_interrupts(&c));
    qtest_check_eq(rd8(&c, MSR), 0xd4);
    qtest_check_eq(rd16(&c, BMSR) & 0x24, 0);
    wr16(&c, ISR, LINK);
    json_decref(qtest_qmp(c.q, "set_link", "{s:s, s:b}", "name", "n0", "up", 1));
    qtest_check_eq(rd16(&c, ISR), LINK);
    qtest_check_eq(rd8(&c, MSR), 0xd0);
    qtest_check_eq(rd16(&c, BMSR) & 0x24, 0x24);
    card_end(&c);
}

/* C mode. */

static void test_c_tx(void)
{
    uint8_t frame[100] = {1}, got[2048];
    Card c;

    card_open(&c);
    start_c(&c, 0);
    wr16(&c, IMR, TOK);
    for (unsigned i = 0; i < 9; i++) {
        unsigned d = i % 4;

        frame[20] = i;
        qtest_write(c.q, c.tx_data + d * BUFFER, frame, sizeof frame);
        wr32(&c, TSAD0 + 4 * d, c.tx_data + d * BUFFER);
        wr32(&c, TSD0 + 4 * d, sizeof frame);
        qtest_check_eq(qwire_receive(&c.w, got, sizeof got), sizeof frame);
        qtest_check_mem(got, frame, sizeof frame);
        qtest_wait_until(rd32(&c, TSD0 + 4 * d) == (0xa000 | sizeof frame)); /* OWN, TOK */
        qtest_wait_until(card_interrupts(&c));
        qtest_check_eq(rd16(&c, TSAD) >> d & 0x1001, 0x1001);
        qtest_check_eq(rd16(&c, ISR), TOK);
        wr16(&c, ISR, TOK);
        qtest_check(!card_interrupts(&c));
    }
    /* Out of turn: descriptor 1 is next. */
    wr32(&c, TSD0 + 8, 60);
    rd8(&c, CR);
    qtest_check(qwire_silent(&c.w));
    wr32(&c, TSD0 + 4, 70);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 70);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 60);
    /* What is no RAM is not sent. */
    wr32(&c, TSAD0 + 12, c.bar.addr);
    wr32(&c, TSD0 + 12, 100);
    qtest_wait_until(rd32(&c, TSD0 + 12) == (0x40002000 | 100));
    qtest_wait_until(rd16(&c, ISR) & TER);
    qtest_check(qwire_silent(&c.w));
    /* An empty one, and one while the transmitter is off. */
    wr32(&c, TSD0, 0);
    qtest_wait_until(rd32(&c, TSD0) == 0xa000);
    wr8(&c, CR, CR_RE);
    wr32(&c, TSAD0, c.tx_data);
    wr32(&c, TSD0, 61);
    rd8(&c, CR);
    qtest_check(qwire_silent(&c.w));
    wr8(&c, CR, CR_RE | CR_TE);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 61);
    card_end(&c);
}

static void test_c_rx(void)
{
    for (unsigned wrap = 0; wrap < 2; wrap++) {
        uint8_t frame[1500] = {0}, got[2048];
        uint16_t status;
        Card c;

        card_open(&c);
        start_c(&c, APM | (wrap ? WRAP : 0));
        memcpy(frame, card_mac, 6);
        qtest_check_eq(rd8(&c, CR) & CR_BUFE, CR_BUFE);
        for (unsigned i = 0; i < 20; i++) {
            unsigned len = 700 + i * 37, at = c.got;

            for (unsigned k = 6; k < len; k++) {
                frame[k] = k + i;
            }
            qwire_send(&c.w, frame, len);
            if (wrap) {
                qtest_check_eq(receive_c(&c, got, &status), len + 4);
            } else {
                uint8_t ring[8192];

                qtest_wait_until(!(rd8(&c, CR) & CR_BUFE));
                qtest_read(c.q, c.rx_data, ring, sizeof ring);
                status = ring[at] | ring[at + 1] << 8;
                for (unsigned k = 0; k < len; k++) {
                    got[k] = ring[(at + HEADER + k) % sizeof ring];
                }
                qtest_check_eq(ring[at + 2] | ring[at + 3] << 8, len + 4);
                c.got = (at + HEADER + len + 4 + 3) & ~3u & 8191;
                qtest_check_eq(rd16(&c, CBR), c.got);
                wr16(&c, CAPR, c.got - 16);
            }
            qtest_check_eq(status, 0x4001);
            qtest_check_mem(got, frame, len);
            qtest_check_eq(rd8(&c, CR) & CR_BUFE, CR_BUFE);
        }
        qtest_check_eq(rd16(&c, ISR), ROK);
        /* Short frames are padded. */
        qwire_send(&c.w, frame, 20);
        qtest_check_eq(receive_c(&c, got, &status), 64);
        card_end(&c);
    }
}

/* A full ring: what does not fit waits for CAPR, and nothing is lost. */
static void test_c_full(void)
{
    uint8_t frame[1500] = {0}, got[2048];
    uint16_t status;
    Card c;

    card_open(&c);
    start_c(&c, APM | WRAP);
    memcpy(frame, card_mac, 6);
    for (unsigned i = 0; i < 10; i++) {
        frame[99] = i;
        qwire_send(&c.w, frame, sizeof frame);
    }
    qtest_wait_until(rd16(&c, CBR) == 5 * 1508);
    for (unsigned i = 0; i < 10; i++) {
        qtest_check_eq(receive_c(&c, got, &status), 1504);
        qtest_check_eq(got[99], i);
    }
    qtest_check_eq(rd32(&c, 0x4c), 0); /* MPC */
    card_end(&c);
}

/* Whether a frame to this address is received. Another, which is, follows it. */
static bool passes(Card *c, const uint8_t *dst, uint16_t status)
{
    uint8_t frame[64] = {0}, got[2048];
    uint16_t said;
    bool first;

    memcpy(frame, dst, 6);
    frame[63] = 1;
    qwire_send(&c->w, frame, 64);
    memcpy(frame, card_mac, 6);
    frame[63] = 2;
    qwire_send(&c->w, frame, 64);
    receive_c(c, got, &said);
    first = got[63] == 1;
    if (first) {
        qtest_check_eq(said, status | 1);
        receive_c(c, got, &said);
    }
    qtest_check_eq(got[63], 2);
    return first;
}

static void test_filters(void)
{
    static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01}; /* hash 31 */
    Card c;

    card_open(&c);
    start_c(&c, APM);
    qtest_check(passes(&c, card_mac, 0x4000));
    qtest_check(!passes(&c, peer_mac, 0));
    qtest_check(!passes(&c, all, 0));
    qtest_check(!passes(&c, group, 0));
    wr32(&c, RCR, APM | AB);
    qtest_check(passes(&c, all, 0x2000));
    wr32(&c, RCR, AAP);
    qtest_check(passes(&c, peer_mac, 0));
    wr32(&c, RCR, APM | AM);
    qtest_check(!passes(&c, group, 0));
    wr32(&c, MAR0, 1u << 31);
    qtest_check(passes(&c, group, 0x8000));
    wr32(&c, MAR0, ~(1u << 31));
    wr32(&c, MAR0 + 4, ~0u);
    qtest_check(!passes(&c, group, 0));
    card_end(&c);
}

static void test_loopback(void)
{
    uint8_t frame[64] = {0}, got[2048];
    uint16_t status;
    Card c;

    card_open(&c);
    start_c(&c, APM);
    wr32(&c, TCR, 0x60000);
    memcpy(frame, card_mac, 6);
    frame[30] = 7;
    qtest_write(c.q, c.tx_data, frame, 64);
    wr32(&c, TSAD0, c.tx_data);
    wr32(&c, TSD0, 64);
    qtest_check_eq(receive_c(&c, got, &status), 68);
    qtest_check_mem(got, frame, 64);
    qtest_check(qwire_silent(&c.w));
    card_end(&c);
}

/* C+ mode. */

static QFrame to_peer(bool udp, size_t data)
{
    QFrame f = {.udp = udp, .data = data};

    memcpy(f.dst, peer_mac, 6);
    memcpy(f.src, card_mac, 6);
    return f;
}

static void test_plus_tx(void)
{
    uint8_t frame[1600], got[2048];
    Card c;

    card_open(&c);
    start_plus(&c, 0, 0);
    for (unsigned kind = 0; kind < 6; kind++) {
        QFrame f = to_peer(kind & 1, 600 + kind);
        size_t len = qframe_make(&f, frame);

        qtest_write(c.q, c.tx_data, frame, len);
        add_tx(&c, c.tx_data, 50 | FS | 1 << 18 | (f.udp ? 1 << 17 : 1 << 16), 0);
        if (kind == 3) { /* the rest comes later */
            wr8(&c, TPPOLL, 0x40);
            wait_tx(&c);
            qtest_check(qwire_silent(&c.w));
        }
        add_tx(&c, c.tx_data + 50, (len - 50) | LS, kind & 2 ? 1 << 17 | 0x2361 : 0);
        wr8(&c, TPPOLL, 0x40);
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
        qtest_wait_until((rd16(&c, ISR) & (TOK | TDU)) == (TOK | TDU));
        wr16(&c, ISR, 0xffff);
    }
    /* The ring of high priority goes first. */
    qtest_write(c.q, c.tx_data + 60, frame, 61);
    add_tx(&c, c.tx_data, 60 | FS | LS, 0);
    desc(&c, c.high, 0, OWN | 61 | FS | LS, 0, c.tx_data + 60);
    wr8(&c, TPPOLL, 0xc0);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 61);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 60);
    card_end(&c);
}

static void check_segments(Card *c, const QFrame *f, const uint8_t *frame, size_t mss)
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

static void test_plus_tso(void)
{
    uint8_t frame[9000];
    QFrame f = to_peer(false, 8000);
    size_t len = qframe_make(&f, frame);
    Card c;

    card_open(&c);
    start_plus(&c, 0, 0);
    qtest_write(c.q, c.tx_data, frame, len);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t large = LGSEN | 1000 << 16;

        add_tx(&c, c.tx_data, 54 | FS | large, 0);
        add_tx(&c, c.tx_data + 54, (len - 54) | LS | large, 0);
        wr8(&c, TPPOLL, 0x40);
        check_segments(&c, &f, frame, 1000);
        wait_tx(&c);
    }
    /* No MSS, no TCP: dropped. */
    add_tx(&c, c.tx_data, 1000 | FS | LS | LGSEN, 0);
    qtest_writeb(c.q, c.tx_data + 4000 + 23, 1);
    add_tx(&c, c.tx_data + 4000, 1000 | FS | LS | LGSEN | 100 << 16, 0);
    wr8(&c, TPPOLL, 0x40);
    wait_tx(&c);
    qtest_check(qwire_silent(&c.w));
    card_end(&c);
}

static void test_plus_rx(void)
{
    uint8_t frame[1600], got[4096];
    uint32_t first;
    Card c;

    card_open(&c);
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
    qtest_wait_until(rd16(&c, ISR) & ROK);
    /* Over several descriptors. */
    for (unsigned i = 0; i < RING; i++) {
        give_rx(&c, i, 400);
    }
    memset(frame + 12, 0, 2);
    c.got = 0;
    wr8(&c, CR, CR_TE);
    wr8(&c, CR, CR_RE | CR_TE);
    qwire_send(&c.w, frame, 1000);
    qtest_check_eq(receive_plus(&c, got) & (FS | LS | 0x1fff), FS | 400);
    qtest_check_eq(receive_plus(&c, got + 400) & (FS | LS | 0x1fff), 400);
    qtest_check_eq(receive_plus(&c, got + 800) & (FS | LS | 0x1fff), LS | 1004);
    qtest_check_mem(got, frame, 1000);
    card_end(&c);
}

/* Descriptors are given without a word to the card. */
static void test_plus_full(void)
{
    uint8_t frame[100] = {0}, got[8192];
    Card c;

    card_open(&c);
    start_plus(&c, 0, APM);
    memcpy(frame, card_mac, 6);
    for (unsigned i = 0; i < 10; i++) {
        frame[50] = i;
        qwire_send(&c.w, frame, sizeof frame);
    }
    for (unsigned i = 0; i < 10; i++) {
        unsigned at = c.got;

        if (i == RING) { /* all descriptors are used */
            qtest_wait_until(rd16(&c, ISR) & RDU);
        }
        if (i >= RING) {
            give_rx(&c, at, BUFFER - 1);
            qtest_clock_step(c.q, 10000000);
        }
        receive_plus(&c, got);
        qtest_check_eq(got[50], i);
    }
    card_end(&c);
}

static void test_tally(void)
{
    uint8_t frame[64] = {0}, got[4096], tally[64];
    Card c;

    card_open(&c);
    start_plus(&c, 0, APM | AB);
    for (unsigned i = 0; i < 2; i++) {
        add_tx(&c, c.tx_data, 60 | FS | LS, 0);
        wr8(&c, TPPOLL, 0x40);
        wait_tx(&c);
        memset(frame, 0xff, 6);
        memcpy(frame, card_mac, i ? 6 : 0);
        qwire_send(&c.w, frame, 64);
        receive_plus(&c, got);
    }
    wr32(&c, TSD0 + 4, 0);
    wr32(&c, TSD0, c.high | 8);
    qtest_check_eq(rd32(&c, TSD0), c.high);
    qtest_read(c.q, c.high, tally, sizeof tally);
    qtest_check_eq(tally[0], 2); /* sent, received */
    qtest_check_eq(tally[8], 2);
    qtest_check_eq(tally[40], 1); /* to the card's address, broadcast */
    qtest_check_eq(tally[48], 1);
    card_end(&c);
}

static void test_tap_whole(void)
{
    uint8_t frame[9000], got[9000];
    QFrame f = to_peer(false, 8000);
    size_t len = qframe_make(&f, frame);
    struct virtio_net_hdr header;
    uint16_t sum;
    Card c = {0};

    qwire_open_tap(&c.w, "");
    card_start_program(&c);
    qwire_tap_up(&c.w);
    start_plus(&c, 0x20, APM);
    qtest_write(c.q, c.tx_data, frame, len);
    add_tx(&c, c.tx_data, len | FS | LS | LGSEN | 1000 << 16, 0);
    wr8(&c, TPPOLL, 0x40);
    qtest_check_eq(qwire_receive_header(&c.w, &header, got, sizeof got), len);
    qtest_check_eq(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
    qtest_check_eq(header.gso_size, 1000);
    qtest_check_eq(got[50] << 8 | got[51], qframe_pseudo(&f, got, len - 34));
    wait_tx(&c);
    add_tx(&c, c.tx_data, 1000 | FS | LS | 1 << 18, 0);
    qtest_writew(c.q, c.tx_data + 16, 986 >> 8 | (986 & 0xff) << 8);
    qtest_writel(c.q, c.tx + c.tail * 0 + ((c.tail + 3) % RING) * 16,
                 OWN | 1000 | FS | LS | 5 << 16);
    wr8(&c, TPPOLL, 0x40);
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
    card_end(&c);
}

/* State. */

static void test_state(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    uint8_t frame[64] = {0}, got[8192];
    Card c;

    card_open(&c);
    start_plus(&c, 0, APM);
    wr16(&c, IMR, TIMEOUT);
    wr32(&c, TCTR, 0);
    wr32(&c, TIMERINT, 33000);
    memcpy(frame, card_mac, 6);
    qwire_send(&c.w, frame, 64);
    receive_plus(&c, got);
    add_tx(&c, c.tx_data, 40 | FS, 0); /* without the packet's end */
    wr8(&c, TPPOLL, 0x40);
    json_decref(qtest_qmp(c.q, "stop", NULL));
    json_decref(qtest_qmp(c.q, "x-save-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(c.q, "cont", NULL));
    wr8(&c, CR, CR_RST);
    json_decref(qtest_qmp(c.q, "stop", NULL));
    json_decref(qtest_qmp(c.q, "x-load-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(c.q, "cont", NULL));
    qtest_check_eq(rd16(&c, IMR), TIMEOUT);
    add_tx(&c, c.tx_data + 40, 24 | LS, 0);
    wr8(&c, TPPOLL, 0x40);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 64);
    qwire_send(&c.w, frame, 64);
    qtest_check_eq(receive_plus(&c, got) & 0x1fff, 68);
    qtest_check(!card_interrupts(&c));
    qtest_clock_step(c.q, 1000000);
    qtest_check(card_interrupts(&c));
    card_end(&c);
}

/* Guests that mean harm: the program goes on, and so does the card after a reset. */
static void test_hostile(void)
{
    uint8_t frame[64] = {0}, got[8192];
    uint16_t status;
    Card c;

    card_open(&c);
    /* Rings that are no RAM; a ring without an end; more than any packet. */
    start_plus(&c, 0, AAP);
    qpci_writeq(c.bar, TNPDS, c.bar.addr);
    qpci_writeq(c.bar, RDSAR, c.bar.addr);
    wr8(&c, TPPOLL, 0xc0);
    wait_tx(&c);
    qwire_send(&c.w, frame, 64);
    start_plus(&c, 0, AAP);
    for (unsigned i = 0; i < 64; i++) {
        qtest_writel(c.q, c.tx + i * 16, OWN | 0xffff);
    }
    wr8(&c, TPPOLL, 0x40);
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
        wr8(&c, TPPOLL, 0x40);
        wait_tx(&c);
        while (!qwire_silent(&c.w)) {
            qtest_check_le(qwire_receive(&c.w, got, sizeof got), 14 + i % 80);
        }
    }
    /* In C mode: a ring at the end of memory, CAPR anywhere. */
    start_c(&c, AAP | WRAP);
    wr32(&c, RBSTART, 0xffffff00);
    wr16(&c, CAPR, 0x1234);
    for (unsigned i = 0; i < 4; i++) {
        qwire_send(&c.w, frame, 64);
        wr32(&c, TSD0 + 4 * i, 0x1fff);
    }
    qtest_wait_until(rd32(&c, TSD0 + 12) & 0x2000);
    while (!qwire_silent(&c.w)) {
        qwire_receive(&c.w, got, sizeof got);
    }
    start_c(&c, APM);
    memcpy(frame, card_mac, 6);
    qwire_send(&c.w, frame, 64);
    qtest_check_eq(receive_c(&c, got, &status), 68);
    card_end(&c);
}

static const QTestCase cases[] = {
    {"registers", test_registers}, {"eeprom", test_eeprom},     {"timer", test_timer},
    {"link", test_link},           {"c-tx", test_c_tx},         {"c-rx", test_c_rx},
    {"c-full", test_c_full},       {"filters", test_filters},   {"loopback", test_loopback},
    {"plus-tx", test_plus_tx},     {"plus-tso", test_plus_tso}, {"plus-rx", test_plus_rx},
    {"plus-full", test_plus_full}, {"tally", test_tally},       {"tap-whole", test_tap_whole},
    {"state", test_state},         {"hostile", test_hostile},   {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
