/* SPDX-License-Identifier: GPL-2.0-or-later */
/* e1000: registers, EEPROM, PHY, link, interrupts, reset, saved state, hostile rings. */
#include "e1000_client.h"

static void test_registers(void)
{
    static const struct {
        unsigned reg;
        uint32_t reset, ones; /* after a reset; after a write of all ones */
    } regs[] = {
        {CTRL_EXT, 0, ~0x2000u},  {FCAL, 0, ~0u},
        {FCAH, 0, 0xffff},        {FCT, 0, 0xffff},
        {VET, 0x8100, ~0u},       {ITR, 0, 0xffff},
        {FCTTV, 0, 0xffff},       {TXCW, 0, 0xc000ffff},
        {TIPG, 0, 0x3fffffff},    {AIFS, 0, 0xffff},
        {LEDCTL, 0x602, ~0u},     {PBA, 0x100030, 0x1003f},
        {FCRTL, 0, 0x8000fff8},   {FCRTH, 0, 0xfff8},
        {RDFH, 0, 0x1fff},        {RDBAL, 0, ~0xfu},
        {RDBAH, 0, ~0u},          {RDLEN, 0, 0xfff80},
        {RDH, 0, 0xffff},         {RDT, 0, 0xffff},
        {RDTR, 0, 0xffff},        {RXDCTL, 0x1010000, 0x13f3f3f},
        {RADV, 0, 0xffff},        {RSRPD, 0, 0xfff},
        {TDFH, 0, 0x7ff},         {TDBAL, 0, ~0xfu},
        {TDBAH, 0, ~0u},          {TDLEN, 0, 0xfff80},
        {TDH, 0, 0xffff},         {TDT, 0, 0xffff},
        {TIDV, 0, 0xffff},        {TXDCTL, 0, 0xff3f3f3f},
        {TADV, 0, 0xffff},        {TSPMT, 0, ~0u},
        {RXCSUM, 0, 0x7ff},       {MTA, 0, ~0u},
        {MTA + 127 * 4, 0, ~0u},  {RAL + 8, 0, ~0u},
        {RAH + 15 * 8, 0, ~0u},   {VFTA, 0, ~0u},
        {VFTA + 127 * 4, 0, ~0u}, {WUC, 0, 0xf},
        {WUFC, 0, 0xf80ff},       {WUS, 0, 0},
        {IPAV, 0, 0x1000f},       {IP4AT, 0, ~0u},
        {IP4AT + 4, 0, 0},        {IP4AT + 24, 0, ~0u},
        {IP6AT + 12, 0, ~0u},     {WUPM + 124, 0, ~0u},
        {FFLT + 24, 0, 0x7ff},    {FFMT + 127 * 8, 0, 0xf},
        {FFVT + 127 * 8, 0, ~0u}, {0x10000, 0, 0},
        {0x4000, 0, 0},           {0x0034, 0, 0},
        {0x1fffc, 0, 0},
    };
    Card c;

    card_open(&c, "e1000", "");
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
            qtest_check_eq(card_read(&c, regs[i].reg), regs[i].reset);
            card_write(&c, regs[i].reg, ~0u);
            qtest_check_eq(card_read(&c, regs[i].reg), regs[i].ones);
        }
        qtest_system_reset(c.q);
        c.bar = qpci_map_bar(&c.pci, 0);
        qpci_enable(&c.pci);
    }
    qtest_check_eq(card_read(&c, CTRL), 0x140240);
    qtest_check_eq(card_read(&c, STATUS), 0x80080783);
    /* Accesses that are not of 32 bits reach nothing. */
    qpci_writew(c.bar, FCAL, 0x1234);
    qtest_check_eq(card_read(&c, FCAL), 0);
    qtest_check_eq(qpci_readb(c.bar, STATUS), 0xff);
    card_end(&c);
    card_open(&c, "e1000", ",init-vet=off");
    qtest_check_eq(card_read(&c, VET), 0);
    /* CTRL.RST clears registers, and itself; the address comes from the EEPROM. */
    card_write(&c, FCAL, 1);
    card_write(&c, RAL, 0);
    card_write(&c, CTRL, CTRL_RST);
    qtest_check_eq(card_read(&c, FCAL), 0);
    qtest_check_eq(card_read(&c, CTRL), 0x140240);
    qtest_check_eq(card_read(&c, RAL), 0xaa005452);
    qtest_check_eq(card_read(&c, RAH), 0x8000ccbb);
    card_write(&c, RAL, 0);
    card_write(&c, CTRL_EXT, 0x2000);
    qtest_check_eq(card_read(&c, RAL), 0xaa005452);
    card_end(&c);
}

/* The window in I/O space. */
static void test_io(void)
{
    QPciBar io;
    Card c;

    card_open(&c, "e1000", "");
    io = qpci_map_bar(&c.pci, 1);
    qtest_check_eq(io.size, 64);
    qpci_writel(io, 0, STATUS);
    qtest_check_eq(qpci_readl(io, 0), STATUS);
    qtest_check_eq(qpci_readl(io, 4), 0x80080783);
    qpci_writel(io, 0, FCAL);
    qpci_writel(io, 4, 0x12345678);
    qtest_check_eq(card_read(&c, FCAL), 0x12345678);
    qpci_writel(io, 0, 0x20000 + FCAL);
    qpci_writel(io, 4, 1);
    qtest_check_eq(qpci_readl(io, 4), 0);
    qpci_writel(io, 0, ~0u);
    qpci_writel(io, 4, 1);
    qtest_check_eq(qpci_readl(io, 4), 0);
    qtest_check_eq(card_read(&c, FCAL), 0x12345678);
    qtest_check_eq(qpci_readl(io, 8), 0);
    card_end(&c);
}

static void test_models(void)
{
    static const struct {
        const char *name;
        uint16_t id, phy;
    } models[] = {{"e1000", 0x100e, 0xc20},
                  {"e1000-82540em", 0x100e, 0xc20},
                  {"e1000-82545em", 0x100f, 0xc20},
                  {"e1000-82544gc", 0x100c, 0xc30}};

    for (unsigned i = 0; i < G_N_ELEMENTS(models); i++) {
        Card c;

        card_open(&c, models[i].name, "");
        qtest_check_eq(c.pci.vendor, 0x8086);
        qtest_check_eq(c.pci.device, models[i].id);
        qtest_check_eq(qpci_config_readl(&c.pci, 8), 0x02000003);
        qtest_check_eq(c.bar.size, 0x20000);
        card_write(&c, MDIC, 0x08200000 | 3 << 16);
        qtest_check_eq(card_read(&c, MDIC) & 0xffff, models[i].phy);
        card_write(&c, EERD, 0x0d01);
        qtest_check_eq(card_read(&c, EERD), (uint32_t)models[i].id << 16 | 0xd10);
        card_end(&c);
    }
}

/* EEPROM. */

static void clock_bit(Card *c, bool in)
{
    uint32_t cs = 0x42 | (in ? 4 : 0);

    card_write(c, EECD, cs);
    card_write(c, EECD, cs | 1);
    card_write(c, EECD, cs);
}

static void microwire_begin(Card *c, unsigned bits, unsigned count)
{
    card_write(c, EECD, 0x40);
    qtest_check(card_read(c, EECD) & 0x80); /* granted */
    card_write(c, EECD, 0x42);
    while (count--) {
        clock_bit(c, bits >> count & 1);
    }
}

static uint16_t microwire_word(Card *c)
{
    uint16_t word = 0;

    for (unsigned i = 0; i < 16; i++) {
        clock_bit(c, false);
        word = word << 1 | (card_read(c, EECD) >> 3 & 1);
    }
    return word;
}

static uint16_t eerd(Card *c, unsigned address)
{
    card_write(c, EERD, address << 8 | 1);
    qtest_check_eq(card_read(c, EERD) & 0xffff, address << 8 | 0x10);
    return card_read(c, EERD) >> 16;
}

static void test_eeprom(void)
{
    uint16_t sum = 0;
    Card c;

    card_open(&c, "e1000", "");
    qtest_check_eq(card_read(&c, EECD) & 0x100, 0x100);
    for (unsigned i = 0; i < 64; i++) {
        sum += eerd(&c, i);
    }
    qtest_check_eq(sum, 0xbaba);
    qtest_check_eq(eerd(&c, 0), 0x5452);
    qtest_check_eq(eerd(&c, 2), 0xccbb);
    qtest_check_eq(eerd(&c, 0xc), 0x1af4);
    qtest_check_eq(eerd(&c, 64), 0); /* past its end */
    /* A read that goes on over the end of the part. */
    microwire_begin(&c, 6 << 6 | 62, 9);
    qtest_check_eq(card_read(&c, EECD) & 8, 0); /* the 0 before the data */
    qtest_check_eq(microwire_word(&c), 0xffff);
    qtest_check_eq(microwire_word(&c), eerd(&c, 63));
    qtest_check_eq(microwire_word(&c), 0x5452);
    qtest_check_eq(microwire_word(&c), 0xaa00);
    /* Writing takes EWEN. */
    microwire_begin(&c, 5 << 22 | 10 << 16 | 0x1234, 25);
    qtest_check_eq(eerd(&c, 10), 0x4003);
    microwire_begin(&c, 4 << 6 | 0x30, 9);
    microwire_begin(&c, 5 << 22 | 10 << 16 | 0x1234, 25);
    qtest_check(card_read(&c, EECD) & 8); /* ready */
    qtest_check_eq(eerd(&c, 10), 0x1234);
    microwire_begin(&c, 7 << 6 | 10, 9); /* ERASE */
    qtest_check_eq(eerd(&c, 10), 0xffff);
    microwire_begin(&c, 4 << 22 | 0x10 << 16 | 0x5555, 25); /* WRAL */
    qtest_check_eq(eerd(&c, 0), 0x5555);
    qtest_check_eq(eerd(&c, 63), 0x5555);
    microwire_begin(&c, 4 << 6 | 0x20, 9); /* ERAL */
    qtest_check_eq(eerd(&c, 5), 0xffff);
    microwire_begin(&c, 4 << 6, 9); /* EWDS */
    microwire_begin(&c, 5 << 22 | 10 << 16 | 0x1234, 25);
    qtest_check_eq(eerd(&c, 10), 0xffff);
    card_end(&c);
}

/* PHY and link. */

static uint32_t phy_read(Card *c, unsigned reg)
{
    card_write(c, MDIC, 0x08200000 | reg << 16);
    return card_read(c, MDIC);
}

static void phy_write(Card *c, unsigned reg, uint16_t value)
{
    card_write(c, MDIC, 0x04200000 | reg << 16 | value);
    qtest_check_eq(card_read(c, MDIC) >> 28, 1); /* ready, no error */
}

static void test_phy(void)
{
    Card c;

    card_open(&c, "e1000", "");
    qtest_check_eq(phy_read(&c, 0), 0x18201140);
    qtest_check_eq(phy_read(&c, 1), 0x1821796d);
    qtest_check_eq(phy_read(&c, 2), 0x18220141);
    phy_write(&c, 2, 0);
    qtest_check_eq(phy_read(&c, 2), 0x18220141);
    phy_write(&c, 4, 0x0061);
    qtest_check_eq(phy_read(&c, 4), 0x18240061);
    card_write(&c, MDIC, 0x08400000); /* another address: no PHY */
    qtest_check(card_read(&c, MDIC) & 0x40000000);
    card_write(&c, MDIC, 0x0c200000); /* no such operation */
    qtest_check(card_read(&c, MDIC) & 0x40000000);
    card_write(&c, IMS, ICR_MDAC);
    card_write(&c, MDIC, 0x28200000); /* tells by an interrupt */
    qtest_check(card_interrupts(&c));
    qtest_check_eq(card_read(&c, ICR), ICR_MDAC);
    /* Auto-negotiation takes its time. */
    card_write(&c, IMS, ICR_LSC);
    phy_write(&c, 0, 0x1340);
    qtest_check_eq(phy_read(&c, 0), 0x18201140);
    qtest_check_eq(phy_read(&c, 1) & 0x24, 0);
    qtest_check(!(card_read(&c, STATUS) & STATUS_LU));
    qtest_clock_step(c.q, 99000000);
    qtest_check_eq(phy_read(&c, 1) & 0x24, 0);
    qtest_clock_step(c.q, 1000000);
    qtest_check_eq(phy_read(&c, 1) & 0x24, 0x24);
    qtest_check(card_read(&c, STATUS) & STATUS_LU);
    qtest_check_eq(card_read(&c, ICR), ICR_LSC);
    /* A reset of the PHY, by MDIC and by CTRL. */
    phy_write(&c, 0, 0x8000);
    qtest_check_eq(phy_read(&c, 4), 0x18240de1);
    qtest_clock_step(c.q, 100000000);
    phy_write(&c, 4, 1);
    card_write(&c, CTRL, CTRL_PHY_RST);
    qtest_check_eq(phy_read(&c, 4), 0x18240de1);
    qtest_check_eq(card_read(&c, CTRL), 0);
    qtest_clock_step(c.q, 100000000);
    qtest_check(card_read(&c, STATUS) & STATUS_LU);
    /* Power down. */
    phy_write(&c, 0, 0x1940);
    qtest_check(!(card_read(&c, STATUS) & STATUS_LU));
    card_end(&c);
    card_open(&c, "e1000", ",autonegotiation=off");
    phy_write(&c, 0, 0x1340);
    qtest_check(card_read(&c, STATUS) & STATUS_LU);
    card_end(&c);
}

static void set_link(Card *c, const char *name, bool up)
{
    json_decref(qtest_qmp(c->q, "set_link", "{s:s, s:b}", "name", name, "up", up));
}

static void test_link(void)
{
    static const char *const names[] = {"card", "n0"};
    Card c;

    card_open(&c, "e1000", "");
    card_write(&c, IMS, ICR_LSC);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        set_link(&c, names[i], false);
        qtest_check(card_interrupts(&c));
        qtest_check_eq(card_read(&c, ICR), ICR_LSC);
        qtest_check(!(card_read(&c, STATUS) & STATUS_LU));
        qtest_check_eq(phy_read(&c, 1) & 4, 0);
        set_link(&c, names[i], true);
        qtest_check(!(card_read(&c, STATUS) & STATUS_LU));
        qtest_clock_step(c.q, 100000000);
        qtest_check(card_read(&c, STATUS) & STATUS_LU);
        qtest_check_eq(card_read(&c, ICR), ICR_LSC);
    }
    /* What comes while the link is down is lost, and nothing goes out. */
    card_start(&c, RING, RING, RCTL_UPE);
    set_link(&c, "card", false);
    card_send(&c, (uint8_t[64]){0}, 64);
    qtest_check(qwire_silent(&c.w));
    set_link(&c, "card", true);
    qtest_clock_step(c.q, 100000000);
    card_send(&c, (uint8_t[64]){1}, 64);
    qtest_check_eq(qwire_receive(&c.w, (uint8_t[64]){0}, 64), 64);
    card_end(&c);
}

/* Interrupts. */

static void test_interrupts(void)
{
    Card c;

    card_open(&c, "e1000", "");
    card_write(&c, ICS, 0x11);
    qtest_check_eq(card_read(&c, ICS), 0x11);
    qtest_check(!card_interrupts(&c));
    card_write(&c, IMS, 0x10);
    qtest_check(card_interrupts(&c));
    card_write(&c, IMS, 0x01);
    qtest_check_eq(card_read(&c, IMS), 0x11);
    card_write(&c, IMC, 0x10);
    qtest_check_eq(card_read(&c, IMS), 0x01);
    qtest_check(card_interrupts(&c));
    card_write(&c, ICR, 0x01);
    qtest_check(!card_interrupts(&c));
    qtest_check_eq(card_read(&c, ICR), 0x10);
    qtest_check_eq(card_read(&c, ICR), 0);
    /* ITR: the second interrupt waits until 256 ns * 1000 after the first. */
    card_write(&c, ITR, 1000);
    card_write(&c, ICS, 1);
    qtest_check(card_interrupts(&c));
    qtest_check_eq(card_read(&c, ICR), 1);
    card_write(&c, ICS, 1);
    qtest_check(!card_interrupts(&c));
    qtest_clock_step(c.q, 255000);
    qtest_check(!card_interrupts(&c));
    qtest_clock_step(c.q, 1000);
    qtest_check(card_interrupts(&c));
    card_read(&c, ICR);
    /* One that is masked in time never comes. */
    card_write(&c, ICS, 1);
    card_write(&c, IMC, 1);
    qtest_clock_step(c.q, 300000);
    qtest_check(!card_interrupts(&c));
    qtest_check_eq(card_read(&c, ICR), 1);
    card_end(&c);
    card_open(&c, "e1000", ",mitigation=off");
    card_write(&c, ITR, 1000);
    card_write(&c, IMS, 1);
    for (unsigned i = 0; i < 3; i++) {
        card_write(&c, ICS, 1);
        qtest_check(card_interrupts(&c));
        card_read(&c, ICR);
    }
    card_end(&c);
}

/* Delayed RXT0 and TXDW: units of 1.024 us. */
static void test_delays(void)
{
    uint8_t frame[64] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc}, got[2048];
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, 64, RING, 0);
    card_write(&c, RDTR, 100);
    card_write(&c, RADV, 150);
    qwire_send(&c.w, frame, 64);
    card_receive(&c, got);
    qtest_check_eq(card_read(&c, ICR), 0);
    qtest_clock_step(c.q, 100 * 1024 - 1);
    qtest_check_eq(card_read(&c, ICR), 0);
    qwire_send(&c.w, frame, 64); /* begins the delay again, up to RADV */
    card_receive(&c, got);
    qtest_clock_step(c.q, 50 * 1024);
    qtest_check_eq(card_read(&c, ICR), 0);
    qtest_clock_step(c.q, 1);
    qtest_check_eq(card_read(&c, ICR), ICR_RXT0);
    /* FPD flushes. */
    qwire_send(&c.w, frame, 64);
    card_receive(&c, got);
    qtest_check_eq(card_read(&c, ICR), 0);
    card_write(&c, RDTR, 0x80000000 | 100);
    qtest_check_eq(card_read(&c, ICR), ICR_RXT0);
    /* Transmit, with IDE. */
    card_write(&c, TIDV, 10);
    card_write(&c, TADV, 15);
    qtest_write(c.q, c.tx_data, frame, 64);
    card_desc(&c, c.tx_data, 64 | TXD_EOP | TXD_RS | TXD_IDE, 0);
    card_kick(&c);
    card_wait_sent(&c);
    qtest_check_eq(card_read(&c, ICR) & ICR_TXDW, 0);
    qtest_clock_step(c.q, 10 * 1024);
    qtest_check_eq(card_read(&c, ICR) & ICR_TXDW, ICR_TXDW);
    card_desc(&c, c.tx_data, 64 | TXD_EOP | TXD_RS, 0);
    card_kick(&c);
    card_wait_sent(&c);
    qtest_check_eq(card_read(&c, ICR) & ICR_TXDW, ICR_TXDW);
    card_end(&c);
}

/* State. */

static void save(Card *c, const char *file)
{
    json_decref(qtest_qmp(c->q, "stop", NULL));
    json_decref(qtest_qmp(c->q, "x-save-state", "{s:s}", "filename", file));
}

static void load(Card *c, const char *file)
{
    json_decref(qtest_qmp(c->q, "stop", NULL));
    json_decref(qtest_qmp(c->q, "x-load-state", "{s:s}", "filename", file));
    json_decref(qtest_qmp(c->q, "cont", NULL));
}

/* Saved in the middle: a packet half in the ring, a context, a delayed interrupt, a full ring. */
static void test_state(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    uint8_t frame[64] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc}, got[2048];
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, 0);
    card_write(&c, IMS, ICR_RXT0);
    card_write(&c, RDTR, 100);
    qwire_send(&c.w, frame, 64);
    card_receive(&c, got);
    memset(frame + 6, 0x55, 58);
    qtest_write(c.q, c.tx_data, frame, 64);
    card_desc(&c, c.tx_data, 40, 0);
    card_kick(&c); /* without the packet's end */
    save(&c, file);
    card_write(&c, CTRL, CTRL_RST);
    load(&c, file);
    qtest_check_eq(card_read(&c, TDT), 1);
    qtest_check_eq(card_read(&c, RDH), 1);
    qtest_check_eq(card_read(&c, IMS), ICR_RXT0);
    qtest_check(!card_interrupts(&c));
    qtest_clock_step(c.q, 100 * 1024);
    qtest_wait_until(card_interrupts(&c));
    card_desc(&c, c.tx_data + 40, 24 | TXD_EOP, 0);
    card_kick(&c);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 64);
    qtest_check_mem(got, frame, 64);
    /* A packet that is longer than the ring is collected in the state. */
    for (unsigned i = 0; i < RING - 1; i++) {
        card_desc(&c, c.tx_data + i, 1, 0);
    }
    card_kick(&c);
    qtest_wait_until(card_read(&c, TDH) != 2);
    qtest_check(qwire_silent(&c.w));
    save(&c, file);
    card_write(&c, CTRL, CTRL_RST);
    load(&c, file);
    card_desc(&c, c.tx_data + RING - 1, 64 - RING + 1, 0);
    card_desc(&c, c.tx_data, 0, 0);
    card_desc(&c, c.tx_data, 0 | TXD_EOP, 0);
    card_kick(&c);
    qtest_check_eq(qwire_receive(&c.w, got, sizeof got), 64);
    qtest_check_mem(got, frame, 64);
    card_end(&c);
}

/* Guests that mean harm: the program goes on, and so does the card after a reset. */

static void check_alive(Card *c)
{
    uint8_t frame[64] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc}, got[2048];

    while (!qwire_silent(&c->w)) {
        qwire_receive(&c->w, got, sizeof got);
    }
    card_write(c, CTRL, CTRL_RST);
    card_start(c, RING, RING, 0);
    card_send(c, frame, 64);
    qtest_check_eq(qwire_receive(&c->w, got, sizeof got), 64);
    qwire_send(&c->w, frame, 64);
    qtest_check_eq(card_receive(c, got).len, 68);
}

static void test_hostile_rings(void)
{
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, RCTL_UPE);
    /* Heads and tails beyond the ring, rings of size 0, rings that are not RAM. */
    card_write(&c, TDT, 0xffff);
    card_write(&c, TDH, 0xfff0);
    card_write(&c, TDT, 3);
    card_write(&c, RDH, 0xffff);
    card_write(&c, RDT, 0xfffe);
    qwire_send(&c.w, (uint8_t[64]){0}, 64);
    card_write(&c, TDLEN, 0);
    card_write(&c, TDH, 0);
    card_write(&c, TDT, 5);
    card_write(&c, RDLEN, 0);
    card_write(&c, TDLEN, 128);
    card_write(&c, TDBAH, 0xffffffff);
    card_write(&c, TDT, 6);
    check_alive(&c);
    /* The ring lies in the card's own registers, and so do buffers. */
    card_write(&c, TDBAL, c.bar.addr);
    card_write(&c, TDT, 5);
    check_alive(&c);
    card_desc(&c, c.bar.addr + TDT, 64 | TXD_EOP | TXD_RS, 0);
    card_kick(&c);
    card_wait_sent(&c);
    qtest_check(qwire_silent(&c.w));
    qtest_writeq(c.q, c.rx, c.bar.addr + TDT);
    card_write(&c, RDBAL, c.bar.addr);
    card_write(&c, RDT, 3);
    qwire_send(&c.w, (uint8_t[64]){0x52, 0x54, 0, 0xaa, 0xbb, 0xcc}, 64);
    check_alive(&c);
    card_end(&c);
}

/* 64k descriptors without an end, and of one endless packet each: registers answer meanwhile. */
static void test_hostile_loop(void)
{
    enum { N = 65528 };
    uint8_t *ring;
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, N, 0);
    ring = g_malloc0(N * 16);
    for (unsigned kind = 0; kind < 3; kind++) {
        for (unsigned i = 0; i < N; i++) {
            /* Empty; a context; a long packet that ends nowhere. */
            uint32_t lower = kind == 0 ? 0 : kind == 1 ? TXD_DEXT : 0xffff;

            memcpy(ring + i * 16 + 8, &lower, 4);
        }
        qtest_write(c.q, c.tx, ring, N * 16);
        card_write(&c, TDH, 1);
        card_write(&c, TDT, 0);
        qtest_check_eq(card_read(&c, STATUS), 0x80080783);
        /* The last batch may wait for its packet's end. */
        qtest_wait_until(card_read(&c, TDH) == 0 || card_read(&c, TDH) >= N - 64);
    }
    g_free(ring);
    check_alive(&c);
    card_end(&c);
}

/* Segmentation with headers that are none. */
static void test_hostile_tso(void)
{
    static const struct {
        uint8_t ipcss, ipcso, tucss, tucso, hdrlen;
        uint16_t mss;
    } contexts[] = {
        {14, 24, 34, 50, 0, 100},         {14, 24, 34, 50, 54, 0},    {14, 24, 34, 50, 255, 100},
        {14, 24, 34, 255, 54, 100},       {200, 24, 34, 50, 54, 100}, {14, 255, 34, 50, 54, 100},
        {14, 24, 255, 50, 54, 100},       {34, 24, 14, 50, 54, 100},  {0, 0, 0, 0, 1, 1},
        {255, 255, 255, 255, 255, 65535},
    };
    Card c;

    card_open(&c, "e1000", "");
    card_start(&c, RING, RING, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(contexts); i++) {
        for (unsigned len = 1; len <= 200; len += 199) {
            card_desc(&c,
                      contexts[i].ipcss | contexts[i].ipcso << 8 |
                          (uint64_t)contexts[i].tucss << 32 | (uint64_t)contexts[i].tucso << 40,
                      TXD_DEXT | TXD_TSE | TXC_TCP | TXC_IP,
                      contexts[i].hdrlen << 8 | (uint32_t)contexts[i].mss << 16);
            card_desc(&c, c.tx_data, len | TXD_DATA | TXD_TSE | TXD_EOP, TXD_IXSM | TXD_TXSM);
            card_kick(&c);
            card_wait_sent(&c);
            qtest_check(qwire_silent(&c.w));
        }
    }
    /* More than any packet: dropped as a whole, and the next one is sent. */
    for (unsigned i = 0; i < 5; i++) {
        card_desc(&c, c.tx_data, 0xfffff | TXD_DATA | (i == 4 ? TXD_EOP : 0), 0);
    }
    card_kick(&c);
    card_wait_sent(&c);
    qtest_check(qwire_silent(&c.w));
    check_alive(&c);
    card_end(&c);
}

static void check_announced(Card *c)
{
    static const uint8_t rarp[] = {0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3};
    uint8_t got[100];

    qtest_check_eq(qwire_receive(&c->w, got, sizeof got), 60);
    qtest_check_mem(got, ((uint8_t[]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 6);
    qtest_check_mem(got + 6, card_mac, 6);
    qtest_check_mem(got + 12, rarp, sizeof rarp);
    qtest_check_mem(got + 22, card_mac, 6);
    qtest_check_mem(got + 32, card_mac, 6);
}

static void test_announce(void)
{
    Card c;
    char *text;

    card_open(&c, "e1000", "");
    json_decref(qtest_qmp(c.q, "announce-self", "{s:i, s:i, s:i, s:i}", "initial", 1, "max", 3,
                          "rounds", 3, "step", 1));
    for (unsigned i = 0; i < 3; i++) {
        check_announced(&c);
    }
    json_decref(qtest_qmp(c.q, "announce-self", "{s:i, s:i, s:i, s:i, s:[s], s:s}", "initial", 1,
                          "max", 3, "rounds", 3, "step", 1, "interfaces", "other", "id", "x"));
    g_free(qtest_hmp(c.q, "announce_self nobody"));
    g_usleep(10000);
    qtest_check(qwire_silent(&c.w));
    g_free(qtest_hmp(c.q, "announce_self other,card x"));
    check_announced(&c);
    check_announced(&c); /* the second round */
    text = qtest_qmp_fails(c.q, NULL, "announce-self", "{s:i, s:i, s:i, s:i}", "initial", 1, "max",
                           3, "rounds", 0, "step", 1);
    qtest_check(strstr(text, "'rounds' expects a number from 1 to 1000") != NULL);
    g_free(text);
    card_end(&c); /* in the middle of it */
}

static void test_refused(void)
{
    static const struct {
        const char *args, *why;
    } cases[] = {
        {"-device e1000,netdev=nobody", "can't find value 'nobody'"},
        {"-device e1000,mac=01:00:00:00:00:01", "mac: an address of one device has"},
        {"-device e1000,extra_mac_registers=off", "extra_mac_registers"},
        {"-netdev hubport,id=n0,hubid=0 -device e1000,netdev=n0 -device e1000,netdev=n0",
         "can't take value 'n0', it's in use"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *all = g_strconcat("-machine pc -nodefaults ", cases[i].args, NULL);
        g_autofree char *text = NULL;
        int status;

        text = qtest_start_fails(all, &status);
        qtest_check_eq(status, QTEST_NOT_STARTED);
        qtest_check(strstr(text, cases[i].why) != NULL);
    }
}

static const QTestCase cases[] = {
    {"registers", test_registers},
    {"io", test_io},
    {"models", test_models},
    {"eeprom", test_eeprom},
    {"phy", test_phy},
    {"link", test_link},
    {"interrupts", test_interrupts},
    {"delays", test_delays},
    {"state", test_state},
    {"hostile-rings", test_hostile_rings},
    {"hostile-loop", test_hostile_loop},
    {"hostile-tso", test_hostile_tso},
    {"announce", test_announce},
    {"refused", test_refused},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
