/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139: registers, EEPROM, timer, link, filters, and packets in C mode. */
#include "rtl8139_client.h"

enum { HEADER = 4 };

/* C mode, with a ring of 8 KiB << rblen. */
static void start_c(Rtl *c, uint32_t rcr)
{
    rtl_writeb(c, CR, CR_RST);
    rtl_writel(c, RBSTART, c->rx_data);
    rtl_writel(c, RCR, rcr);
    rtl_writeb(c, CR, CR_RE | CR_TE);
    c->got = c->tail = 0;
}

static size_t receive_c(Rtl *c, uint8_t *frame, uint16_t *status)
{
    size_t len;

    qtest_wait_until(!(rtl_readb(c, CR) & CR_BUFE));
    *status = qtest_readw(c->q, c->rx_data + c->got);
    len = qtest_readw(c->q, c->rx_data + c->got + 2);
    qtest_read(c->q, c->rx_data + c->got + HEADER, frame, len);
    c->got = (c->got + HEADER + len + 3) & ~3u & 8191;
    rtl_writew(c, CAPR, c->got - 16);
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
    Rtl c;

    rtl_open(&c);
    qtest_check_eq(c.pci.vendor, 0x10ec);
    qtest_check_eq(c.pci.device, 0x8139);
    qtest_check_eq(qpci_config_readl(&c.pci, 8), 0x02000020);
    qtest_check_eq(c.bar.size, 256);
    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        qtest_check_eq(rtl_readl(&c, regs[i].reg), regs[i].reset);
        rtl_writel(&c, regs[i].reg, ~0u);
        qtest_check_eq(rtl_readl(&c, regs[i].reg), regs[i].ones);
        for (unsigned b = 0; b < 4; b++) { /* bytes of it */
            qtest_check_eq(rtl_readb(&c, regs[i].reg + b), regs[i].ones >> 8 * b & 0xff);
        }
    }
    qtest_check_eq(rtl_readl(&c, IDR0), 0xaa005452);
    qtest_check_eq(rtl_readw(&c, IDR0 + 4), 0xccbb);
    qtest_check_eq(rtl_readw(&c, CAPR), 0xfff0);
    qtest_check_eq(rtl_readw(&c, TSAD), 0xf);
    qtest_check_eq(rtl_readw(&c, BMSR), 0x782d);
    qtest_check_eq(rtl_readb(&c, MSR), 0xd0);
    /* The same in I/O space. One access may reach several registers. */
    io = qpci_map_bar(&c.pci, 0);
    qtest_check_eq(qpci_readl(io, IDR0), 0xaa005452);
    qpci_writel(io, IMR, 0x1234);
    qtest_check_eq(rtl_readw(&c, IMR), 0x0034);
    rtl_writeb(&c, IMR + 1, 0x80);
    qtest_check_eq(rtl_readl(&c, IMR), 0x8034);
    /* Configuration registers take 9346CR's leave. */
    rtl_writeb(&c, CONFIG1, 0xff);
    rtl_writeb(&c, CONFIG3, 0xff);
    rtl_writeb(&c, CONFIG5, 0xff);
    rtl_writew(&c, BMCR, 0);
    qtest_check_eq(rtl_readb(&c, CONFIG1), 0x0c);
    qtest_check_eq(rtl_readb(&c, CONFIG3), 0x01);
    qtest_check_eq(rtl_readb(&c, CONFIG5), 0);
    qtest_check_eq(rtl_readw(&c, BMCR), 0x3100);
    rtl_writeb(&c, CR9346, 0xc0);
    rtl_writeb(&c, CONFIG1, 0xff);
    rtl_writeb(&c, CONFIG3, 0xff);
    rtl_writeb(&c, CONFIG5, 0xff);
    rtl_writew(&c, BMCR, 0);
    qtest_check_eq(rtl_readb(&c, CONFIG1), 0xff);
    qtest_check_eq(rtl_readb(&c, CONFIG3), 0x71);
    qtest_check_eq(rtl_readb(&c, CONFIG5), 0x7f);
    qtest_check_eq(rtl_readw(&c, BMCR), 0);
    qtest_check_eq(rtl_readw(&c, BMSR), 0x780d);
    rtl_writew(&c, BMCR, 0x8000); /* resets the PHY */
    qtest_check_eq(rtl_readw(&c, BMCR), 0x3100);
    /* CR.RST: registers, but neither the address nor the filter. */
    rtl_writel(&c, IDR0, 0x01020304);
    rtl_writeb(&c, CR, CR_RST);
    qtest_check_eq(rtl_readb(&c, CR), CR_BUFE);
    qtest_check_eq(rtl_readl(&c, RCR), 0);
    qtest_check_eq(rtl_readb(&c, CONFIG1), 0x0c);
    qtest_check_eq(rtl_readl(&c, IDR0), 0x01020304);
    qtest_check_eq(rtl_readl(&c, MAR0), ~0u);
    rtl_writeb(&c, CR9346, 0x40); /* loads the EEPROM */
    qtest_check_eq(rtl_readl(&c, IDR0), 0xaa005452);
    qtest_check_eq(rtl_readb(&c, CR9346) & 0xc0, 0);
    rtl_end(&c);
}

static void test_eeprom(void)
{
    static const struct {
        unsigned address;
        uint16_t word;
    } words[] = {{0, 0x8129}, {1, 0x10ec}, {2, 0x8139}, {7, 0x5452}, {9, 0xccbb}};
    Rtl c;

    rtl_open(&c);
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        unsigned command = 6 << 6 | words[i].address;
        uint16_t word = 0;

        rtl_writeb(&c, CR9346, 0x80);
        for (unsigned bit = 0; bit < 25; bit++) {
            uint8_t in = bit < 9 && command >> (8 - bit) & 1 ? 2 : 0;

            rtl_writeb(&c, CR9346, 0x88 | in);
            rtl_writeb(&c, CR9346, 0x8c | in);
            word = word << 1 | (bit < 9 ? 0 : rtl_readb(&c, CR9346) & 1);
        }
        qtest_check_eq(word, words[i].word);
    }
    rtl_writeb(&c, CR9346, 0);
    rtl_end(&c);
}

/* TCTR counts at 33 MHz. */
static void test_timer(void)
{
    Rtl c;

    rtl_open(&c);
    rtl_writew(&c, IMR, TIMEOUT);
    rtl_writel(&c, TCTR, 0);
    qtest_clock_step(c.q, 1000000);
    qtest_check_eq(rtl_readl(&c, TCTR), 33000);
    rtl_writel(&c, TIMERINT, 66000);
    qtest_clock_step(c.q, 999999);
    qtest_check(!rtl_interrupts(&c));
    qtest_clock_step(c.q, 1);
    qtest_check(rtl_interrupts(&c));
    qtest_check_eq(rtl_readw(&c, ISR), TIMEOUT);
    rtl_writew(&c, ISR, TIMEOUT);
    qtest_check(!rtl_interrupts(&c));
    /* Written anew, it counts from 0. */
    rtl_writel(&c, TCTR, 1);
    qtest_check_eq(rtl_readl(&c, TCTR), 0);
    qtest_clock_step(c.q, 2000000);
    qtest_check_eq(rtl_readw(&c, ISR), TIMEOUT);
    rtl_writew(&c, ISR, TIMEOUT);
    rtl_writel(&c, TIMERINT, 0);
    qtest_clock_step(c.q, 1000000000);
    qtest_check_eq(rtl_readw(&c, ISR), 0);
    rtl_writeb(&c, TPPOLL, 1); /* an interrupt by software */
    qtest_check_eq(rtl_readw(&c, ISR), SWINT);
    rtl_end(&c);
}

static void test_link(void)
{
    Rtl c;

    rtl_open(&c);
    rtl_writew(&c, IMR, LINK);
    json_decref(qtest_qmp(c.q, "set_link", "{s:s, s:b}", "name", "n0", "up", 0));
    qtest_check(rtl_interrupts(&c));
    qtest_check_eq(rtl_readb(&c, MSR), 0xd4);
    qtest_check_eq(rtl_readw(&c, BMSR) & 0x24, 0);
    rtl_writew(&c, ISR, LINK);
    json_decref(qtest_qmp(c.q, "set_link", "{s:s, s:b}", "name", "n0", "up", 1));
    qtest_check_eq(rtl_readw(&c, ISR), LINK);
    qtest_check_eq(rtl_readb(&c, MSR), 0xd0);
    qtest_check_eq(rtl_readw(&c, BMSR) & 0x24, 0x24);
    rtl_end(&c);
}

/* C mode. */

static void test_c_tx(void)
{
    uint8_t frame[100] = {1}, got[2048];
    Rtl c;

    rtl_open(&c);
    start_c(&c, 0);
    rtl_writew(&c, IMR, TOK);
    for (unsigned i = 0; i < 9; i++) {
        unsigned d = i % 4;

        frame[20] = i;
        qtest_write(c.q, c.tx_data + d * BUFFER, frame, sizeof frame);
        rtl_writel(&c, TSAD0 + 4 * d, c.tx_data + d * BUFFER);
        rtl_writel(&c, TSD0 + 4 * d, sizeof frame);
        qtest_check_eq(qwire_receive(&c.w, got, sizeof got), sizeof frame);
        qtest_check_mem(got, frame, sizeof frame);
        qtest_wait_until(rtl_readl(&c, TSD0 + 4 * d) == (0xa000 | sizeof frame)); /* OWN, TOK */
        qtest_wait_until(rtl_interrupts(&c));
        qtest_check_eq(rtl_readw(&c, TSAD) >> d & 0x1001, 0x1001);
        qtest_check_eq(rtl_readw(&c, ISR), TOK);
        rtl_writew(&c, ISR, TOK);
        qtest_check(!rtl_interrupts(&c));
    }
    /* Out of turn: descriptor 1 is next. */
    rtl_writel(&c, TSD0 + 8, 60);
    rtl_readb(&c, CR);
    qtest_check(qwire_silent(&c.w));
    rtl_writel(&c, TSD0 + 4, 70);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 70);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 60);
    /* What is no RAM is not sent. */
    rtl_writel(&c, TSAD0 + 12, c.bar.addr);
    rtl_writel(&c, TSD0 + 12, 100);
    qtest_wait_until(rtl_readl(&c, TSD0 + 12) == (0x40002000 | 100));
    qtest_wait_until(rtl_readw(&c, ISR) & TER);
    qtest_check(qwire_silent(&c.w));
    /* An empty one, and one while the transmitter is off. */
    rtl_writel(&c, TSD0, 0);
    qtest_wait_until(rtl_readl(&c, TSD0) == 0xa000);
    rtl_writeb(&c, CR, CR_RE);
    rtl_writel(&c, TSAD0, c.tx_data);
    rtl_writel(&c, TSD0, 61);
    rtl_readb(&c, CR);
    qtest_check(qwire_silent(&c.w));
    rtl_writeb(&c, CR, CR_RE | CR_TE);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 61);
    rtl_end(&c);
}

static void test_c_rx(void)
{
    for (unsigned wrap = 0; wrap < 2; wrap++) {
        uint8_t frame[1500] = {0}, got[2048];
        uint16_t status;
        Rtl c;

        rtl_open(&c);
        start_c(&c, APM | (wrap ? WRAP : 0));
        memcpy(frame, card_mac, 6);
        qtest_check_eq(rtl_readb(&c, CR) & CR_BUFE, CR_BUFE);
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

                qtest_wait_until(!(rtl_readb(&c, CR) & CR_BUFE));
                qtest_read(c.q, c.rx_data, ring, sizeof ring);
                status = ring[at] | ring[at + 1] << 8;
                for (unsigned k = 0; k < len; k++) {
                    got[k] = ring[(at + HEADER + k) % sizeof ring];
                }
                qtest_check_eq(ring[at + 2] | ring[at + 3] << 8, len + 4);
                c.got = (at + HEADER + len + 4 + 3) & ~3u & 8191;
                qtest_check_eq(rtl_readw(&c, CBR), c.got);
                rtl_writew(&c, CAPR, c.got - 16);
            }
            qtest_check_eq(status, 0x4001);
            qtest_check_mem(got, frame, len);
            qtest_check_eq(rtl_readb(&c, CR) & CR_BUFE, CR_BUFE);
        }
        qtest_check_eq(rtl_readw(&c, ISR), ROK);
        /* Short frames are padded. */
        qwire_send(&c.w, frame, 20);
        qtest_check_eq(receive_c(&c, got, &status), 64);
        rtl_end(&c);
    }
}

/* A full ring: what does not fit waits for CAPR, and nothing is lost. */
static void test_c_full(void)
{
    uint8_t frame[1500] = {0}, got[2048];
    uint16_t status;
    Rtl c;

    rtl_open(&c);
    start_c(&c, APM | WRAP);
    memcpy(frame, card_mac, 6);
    for (unsigned i = 0; i < 10; i++) {
        frame[99] = i;
        qwire_send(&c.w, frame, sizeof frame);
    }
    qtest_wait_until(rtl_readw(&c, CBR) == 5 * 1508);
    for (unsigned i = 0; i < 10; i++) {
        qtest_check_eq(receive_c(&c, got, &status), 1504);
        qtest_check_eq(got[99], i);
    }
    qtest_check_eq(rtl_readl(&c, 0x4c), 0); /* MPC */
    rtl_end(&c);
}

/* Whether a frame to this address is received. Another, which is, follows it. */
static bool passes(Rtl *c, const uint8_t *dst, uint16_t status)
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
    Rtl c;

    rtl_open(&c);
    start_c(&c, APM);
    qtest_check(passes(&c, card_mac, 0x4000));
    qtest_check(!passes(&c, peer_mac, 0));
    qtest_check(!passes(&c, all, 0));
    qtest_check(!passes(&c, group, 0));
    rtl_writel(&c, RCR, APM | AB);
    qtest_check(passes(&c, all, 0x2000));
    rtl_writel(&c, RCR, AAP);
    qtest_check(passes(&c, peer_mac, 0));
    rtl_writel(&c, RCR, APM | AM);
    qtest_check(!passes(&c, group, 0));
    rtl_writel(&c, MAR0, 1u << 31);
    qtest_check(passes(&c, group, 0x8000));
    rtl_writel(&c, MAR0, ~(1u << 31));
    rtl_writel(&c, MAR0 + 4, ~0u);
    qtest_check(!passes(&c, group, 0));
    rtl_end(&c);
}

static void test_loopback(void)
{
    uint8_t frame[64] = {0}, got[2048];
    uint16_t status;
    Rtl c;

    rtl_open(&c);
    start_c(&c, APM);
    rtl_writel(&c, TCR, 0x60000);
    memcpy(frame, card_mac, 6);
    frame[30] = 7;
    qtest_write(c.q, c.tx_data, frame, 64);
    rtl_writel(&c, TSAD0, c.tx_data);
    rtl_writel(&c, TSD0, 64);
    qtest_check_eq(receive_c(&c, got, &status), 68);
    qtest_check_mem(got, frame, 64);
    qtest_check(qwire_silent(&c.w));
    rtl_end(&c);
}

/* Guests that mean harm: the program goes on, and so does the card after a reset. */
static void test_hostile(void)
{
    uint8_t frame[64] = {0}, got[8192];
    uint16_t status;
    Rtl c;

    rtl_open(&c);
    /* A ring at the end of memory, CAPR anywhere. */
    start_c(&c, AAP | WRAP);
    rtl_writel(&c, RBSTART, 0xffffff00);
    rtl_writew(&c, CAPR, 0x1234);
    for (unsigned i = 0; i < 4; i++) {
        qwire_send(&c.w, frame, 64);
        rtl_writel(&c, TSD0 + 4 * i, 0x1fff);
    }
    qtest_wait_until(rtl_readl(&c, TSD0 + 12) & 0x2000);
    while (!qwire_silent(&c.w)) {
        qwire_receive(&c.w, got, sizeof got);
    }
    /* The ring, and what is sent, are the card's own registers: looped back, as well. */
    for (unsigned loop = 0; loop < 2; loop++) {
        start_c(&c, AAP | WRAP);
        rtl_writel(&c, RBSTART, c.bar.addr + (loop ? 0 : TSD0));
        rtl_writel(&c, TCR, loop ? 0x60000 : 0);
        qwire_send(&c.w, frame, 64);
        for (unsigned i = 0; i < 4; i++) {
            rtl_writel(&c, TSAD0 + 4 * i, c.bar.addr + TSD0);
            rtl_writel(&c, TSD0 + 4 * i, 64);
        }
        qtest_wait_until(rtl_readl(&c, TSD0 + 12) & 0x2000);
        qtest_check(qwire_silent(&c.w));
    }
    start_c(&c, APM);
    rtl_writel(&c, TCR, 0);
    memcpy(frame, card_mac, 6);
    qwire_send(&c.w, frame, 64);
    qtest_check_eq(receive_c(&c, got, &status), 68);
    rtl_end(&c);
}

static const QTestCase cases[] = {
    {"registers", test_registers},
    {"eeprom", test_eeprom},
    {"timer", test_timer},
    {"link", test_link},
    {"c-tx", test_c_tx},
    {"c-rx", test_c_rx},
    {"c-full", test_c_full},
    {"filters", test_filters},
    {"loopback", test_loopback},
    {"hostile", test_hostile},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
