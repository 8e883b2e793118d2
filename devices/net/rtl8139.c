/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139: Realtek's RTL8139C+: registers, interrupts, life. */
#include "rtl8139.h"

#include "base/error.h"
#include "base/iov.h"

STATE_DESC(rtl8139, Rtl8139State, RTL8139_STATE, 1);

#define RTL8139_SIZE 256

enum {
    TCTR_KHZ = 33000,
    EEPROM_ID = 0,
    EEPROM_VENDOR = 1,
    EEPROM_DEVICE = 2,
    EEPROM_SUBSYSTEM_VENDOR = 3,
    EEPROM_SUBSYSTEM = 4,
    EEPROM_ADDRESS = 7,
};

static const struct {
    uint8_t offset, bytes;
    uint32_t writable, value;
} rtl8139_regs[] = {
#define RTL8139_DEF_(name, offset, bytes, writable, value) {offset, bytes, writable, value},
    RTL8139_REGISTERS(RTL8139_DEF_)};
/* The registers by offset: 1 + index, or 0. */
#define RTL8139_AT_(name, offset, bytes, writable, value)                                          \
    [(offset)...(offset) + (bytes)-1] = RTL8139_##name + 1,
static const uint8_t rtl8139_by_offset[RTL8139_SIZE] = {RTL8139_REGISTERS(RTL8139_AT_)};

/* Interrupts. */

static void rtl8139_update_irq(Rtl8139 *c)
{
    pci_set_irq(&c->pci, c->s.reg[RTL8139_ISR] & c->s.reg[RTL8139_IMR]);
}

void rtl8139_cause(Rtl8139 *c, uint32_t causes)
{
    c->s.reg[RTL8139_ISR] |= causes;
    rtl8139_update_irq(c);
}

static void rtl8139_flush_causes(Rtl8139 *c)
{
    uint32_t causes = c->causes;

    c->causes = 0;
    if (causes) {
        rtl8139_cause(c, causes);
    }
}

static void rtl8139_irq(Device *dev)
{
    rtl8139_flush_causes(rtl8139_of(dev));
}

static void rtl8139_tx_irq(Device *dev)
{
    device_bh_schedule(rtl8139_of(dev)->irq_bh);
}

/*
 * What was sent is told in the next turn of the loop. The answer to it is often there by then, and
 * is told by the same interrupt.
 */
void rtl8139_cause_later(Rtl8139 *c, uint32_t causes)
{
    c->causes |= causes;
    if (causes & ~(RTL8139_INT_TOK | RTL8139_INT_TDU)) {
        device_bh_schedule(c->irq_bh);
    } else if (!device_timer_armed(c->tx_irq)) {
        device_timer_arm(c->tx_irq, clock_ns(CLOCK_VIRTUAL_NS));
    }
}

/* The timer (6.18, 6.19): it counts at the clock of the PCI bus, and goes on at TIMERINT. */

static uint64_t rtl8139_ticks(const Rtl8139 *c)
{
    return (__int128)(clock_ns(CLOCK_VIRTUAL_NS) - c->s.tctr_start) * TCTR_KHZ / 1000000;
}

static void rtl8139_update_timer(Rtl8139 *c)
{
    uint32_t at = c->s.reg[RTL8139_TIMERINT];
    uint64_t now = rtl8139_ticks(c), next = (now & ~(uint64_t)UINT32_MAX) + at;

    if (!at) {
        device_timer_cancel(c->timer);
        return;
    }
    next += next <= now ? BIT64(32) : 0;
    device_timer_arm(c->timer, c->s.tctr_start +
                                   (int64_t)(((__int128)next * 1000000 + TCTR_KHZ - 1) / TCTR_KHZ));
}

static void rtl8139_timer(Device *dev)
{
    Rtl8139 *c = rtl8139_of(dev);

    rtl8139_cause(c, RTL8139_INT_TIMEOUT);
    rtl8139_update_timer(c);
}

/* Tally counters (6.3): 64 bytes that software asks for. No packet is missed: it waits. */
static void rtl8139_dump_tally(Rtl8139 *c)
{
    uint64_t at = (c->s.reg[RTL8139_DTCCR] & ~63u) | (uint64_t)c->s.reg[RTL8139_TSD1] << 32;
    uint8_t tally[64] = {0};

    stle64(tally, c->s.tx_ok);
    stle64(tally + 8, c->s.rx_ok);
    stle64(tally + 16, c->s.tx_err);
    stle32(tally + 24, c->s.rx_err);
    stle64(tally + 40, c->s.rx_ok_physical);
    stle64(tally + 48, c->s.rx_ok_broadcast);
    stle32(tally + 56, c->s.rx_ok_multicast);
    stle16(tally + 60, c->s.tx_aborted);
    if (pci_can_dma(&c->pci)) {
        dma_write(c->pci.dev.vm, at, tally, sizeof tally);
    }
    c->s.reg[RTL8139_DTCCR] &= ~RTL8139_DTCCR_CMD;
}

/* Link. */

static void rtl8139_link_update(Rtl8139 *c)
{
    bool up = nic_link_is_up(&c->nic.peer);
    bool done = up && c->s.reg[RTL8139_BMCR] & RTL8139_BMCR_AUTONEG;

    c->s.reg[RTL8139_MSR] &= ~RTL8139_MSR_LINKB;
    c->s.reg[RTL8139_MSR] |= up ? 0 : RTL8139_MSR_LINKB;
    c->s.reg[RTL8139_BMSR] &= ~(RTL8139_BMSR_LINK | RTL8139_BMSR_DONE);
    c->s.reg[RTL8139_BMSR] |= (up ? RTL8139_BMSR_LINK : 0) | (done ? RTL8139_BMSR_DONE : 0);
    c->s.reg[RTL8139_CSCR] &= ~RTL8139_CSCR_LINK;
    c->s.reg[RTL8139_CSCR] |= up ? RTL8139_CSCR_LINK : 0;
    c->s.reg[RTL8139_ANLPAR] = up ? 0x45e1 : 0;
    device_bh_schedule(c->rx_bh);
}

static void rtl8139_link_changed(NetPeer *peer)
{
    Rtl8139 *c = rtl8139_of_peer(peer);

    device_lock(&c->pci.dev);
    nic_forget(&c->nic);
    rtl8139_link_update(c);
    rtl8139_cause(c, RTL8139_INT_LINK);
    device_unlock(&c->pci.dev);
}

/* Resets. */

static void rtl8139_load_eeprom(Rtl8139 *c)
{
    const uint16_t *word = c->s.eeprom.words + EEPROM_ADDRESS;

    c->s.reg[RTL8139_IDR0] = word[0] | (uint32_t)word[1] << 16;
    c->s.reg[RTL8139_IDR4] = word[2];
}

/* CR.RST: what identifies the card among others stays. */
static void rtl8139_soft_reset(Rtl8139 *c)
{
    static const uint8_t kept[] = {RTL8139_IDR0, RTL8139_IDR4, RTL8139_MAR0,
                                   RTL8139_MAR4, RTL8139_BMCR, RTL8139_ANAR};
    uint32_t old[ARRAY_SIZE(kept)];

    for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
        old[i] = c->s.reg[kept[i]];
    }
    for (unsigned i = 0; i < RTL8139_REGISTER_COUNT; i++) {
        c->s.reg[i] = rtl8139_regs[i].value;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
        c->s.reg[kept[i]] = old[i];
    }
    c->s.tx_next = c->s.tx_index[0] = c->s.tx_index[1] = c->s.rx_index = 0;
    c->s.tx_segments = 0;
    c->causes = 0;
    c->tx_waits = false;
    c->rx_poll_us = 0;
    nic_forget(&c->nic);
    rtl8139_link_update(c);
    rtl8139_update_timer(c);
    rtl8139_update_irq(c);
}

static void rtl8139_eeprom_init(Rtl8139 *c)
{
    const uint8_t *config = c->pci.s.config;
    uint16_t *e = c->s.eeprom.words;

    c->s.eeprom = (Microwire){0};
    e[EEPROM_ID] = 0x8129;
    e[EEPROM_VENDOR] = ldle16(config + PCI_VENDOR_ID);
    e[EEPROM_DEVICE] = ldle16(config + PCI_DEVICE_ID);
    e[EEPROM_SUBSYSTEM_VENDOR] = ldle16(config + PCI_SUBSYSTEM_VENDOR_ID);
    e[EEPROM_SUBSYSTEM] = ldle16(config + PCI_SUBSYSTEM_ID);
    for (unsigned i = 0; i < 3; i++) {
        e[EEPROM_ADDRESS + i] = ldle16(c->conf.mac + 2 * i);
    }
}

/* Registers. */

static uint32_t rtl8139_tsad(const Rtl8139 *c)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 4; i++) {
        uint32_t tsd = c->s.reg[RTL8139_TSD0 + i];

        value |= (tsd & RTL8139_TSD_OWN ? BIT(i) : 0) | (tsd & RTL8139_TSD_TABT ? BIT(4 + i) : 0) |
                 (tsd & RTL8139_TSD_TOK ? BIT(12 + i) : 0);
    }
    return value;
}

static uint32_t rtl8139_read_reg(Rtl8139 *c, unsigned reg)
{
    switch (reg) {
    case RTL8139_CR:
        return c->s.reg[reg] | (rtl8139_rx_empty(c) ? RTL8139_CR_BUFE : 0);
    case RTL8139_ISR:
        rtl8139_flush_causes(c);
        return c->s.reg[reg];
    case RTL8139_TCTR:
        return rtl8139_ticks(c);
    case RTL8139_TSAD:
        return rtl8139_tsad(c);
    case RTL8139_CR9346:
        return c->s.reg[reg] | (microwire_out(&c->s.eeprom) ? RTL8139_EEDO : 0);
    default:
        return c->s.reg[reg];
    }
}

/* The ring of C mode is empty, and begins at its beginning. */
static void rtl8139_rx_restart(Rtl8139 *c)
{
    c->s.reg[RTL8139_CBR] = 0;
    c->s.reg[RTL8139_CAPR] = rtl8139_regs[RTL8139_CAPR].value;
}

static void rtl8139_cr_write(Rtl8139 *c, uint32_t value)
{
    uint32_t old = c->s.reg[RTL8139_CR];

    if (value & RTL8139_CR_RST) {
        rtl8139_soft_reset(c);
        return;
    }
    c->s.reg[RTL8139_CR] = value & (RTL8139_CR_RE | RTL8139_CR_TE);
    if (value & ~old & RTL8139_CR_TE) {
        c->s.tx_next = c->s.tx_index[0] = c->s.tx_index[1] = 0;
        c->s.tx_segments = 0;
    }
    if (value & ~old & RTL8139_CR_RE) {
        c->s.rx_index = 0;
        rtl8139_rx_restart(c);
    }
    device_bh_schedule(c->tx_bh);
    device_bh_schedule(c->rx_bh);
}

static void rtl8139_cr9346_write(Rtl8139 *c, uint32_t value)
{
    bool program = RTL8139_EEM(value) == RTL8139_EEM_PROGRAM;

    if (RTL8139_EEM(value) == RTL8139_EEM_LOAD) {
        rtl8139_load_eeprom(c);
        value = 0; /* back to normal */
    }
    c->s.reg[RTL8139_CR9346] = value & rtl8139_regs[RTL8139_CR9346].writable;
    microwire_set(&c->s.eeprom, program && value & RTL8139_EECS, value & RTL8139_EESK,
                  value & RTL8139_EEDI);
}

static void rtl8139_bmcr_write(Rtl8139 *c, uint32_t value, bool unlocked)
{
    if (value & RTL8139_BMCR_RESET) {
        c->s.reg[RTL8139_BMCR] = rtl8139_regs[RTL8139_BMCR].value;
        c->s.reg[RTL8139_ANAR] = rtl8139_regs[RTL8139_ANAR].value;
    } else if (unlocked) {
        c->s.reg[RTL8139_BMCR] = value & rtl8139_regs[RTL8139_BMCR].writable;
    }
    rtl8139_link_update(c);
}

/* A descriptor of C mode is the card's while OWN is 0. */
static void rtl8139_tsd_write(Rtl8139 *c, unsigned reg, uint32_t value)
{
    if (rtl8139_is_plus(c, RTL8139_CPCR_TX)) {
        c->s.reg[reg] = value;
        if (reg == RTL8139_DTCCR && value & RTL8139_DTCCR_CMD) {
            rtl8139_dump_tally(c);
        }
        return;
    }
    c->s.reg[reg] = value & (RTL8139_TSD_SIZE | RTL8139_TSD_OWN | 0x003f0000);
    device_bh_schedule(c->tx_bh);
}

static bool rtl8139_unlocked(const Rtl8139 *c)
{
    return RTL8139_EEM(c->s.reg[RTL8139_CR9346]) == RTL8139_EEM_CONFIG;
}

/* After a register without side conditions has its new value. */
static void rtl8139_written(Rtl8139 *c, unsigned reg)
{
    switch (reg) {
    case RTL8139_IMR:
        rtl8139_update_irq(c);
        break;
    case RTL8139_TIMERINT:
        rtl8139_update_timer(c);
        break;
    case RTL8139_TSAD0:
    case RTL8139_TSAD1:
        c->s.tx_index[0] = 0;
        break;
    case RTL8139_TSAD2:
    case RTL8139_TSAD3:
        c->s.tx_index[1] = 0;
        break;
    case RTL8139_RBSTART:
        rtl8139_rx_restart(c);
        break;
    case RTL8139_RDSAR:
    case RTL8139_RDSAR_HI:
        c->s.rx_index = 0;
        break;
    default:
        break;
    }
    /* Each write may be the driver's way back from having emptied the ring. */
    if (c->rx_waits || reg == RTL8139_RCR || reg == RTL8139_CPCR) {
        device_bh_schedule(c->rx_bh);
    }
}

/* 'value' has the new bytes at their places, and the old ones elsewhere; 'given' only the new. */
static void rtl8139_write_reg(Rtl8139 *c, unsigned reg, uint32_t value, uint32_t given)
{
    uint32_t writable = rtl8139_regs[reg].writable;

    switch (reg) {
    case RTL8139_TSD0 ... RTL8139_TSD3:
        rtl8139_tsd_write(c, reg, value);
        return;
    case RTL8139_CR:
        rtl8139_cr_write(c, value);
        return;
    case RTL8139_CR9346:
        rtl8139_cr9346_write(c, value);
        return;
    case RTL8139_BMCR:
        rtl8139_bmcr_write(c, value, rtl8139_unlocked(c));
        return;
    case RTL8139_CONFIG0:
    case RTL8139_CONFIG1:
    case RTL8139_CONFIG3:
    case RTL8139_CONFIG4:
    case RTL8139_CONFIG5:
        writable = rtl8139_unlocked(c) ? writable : 0;
        break;
    case RTL8139_ISR: /* write 1 to clear */
        rtl8139_flush_causes(c);
        c->s.reg[reg] &= ~given;
        rtl8139_update_irq(c);
        break;
    case RTL8139_TCTR: /* any write starts it anew */
        c->s.tctr_start = clock_ns(CLOCK_VIRTUAL_NS);
        rtl8139_update_timer(c);
        return;
    case RTL8139_MPC:
        c->s.reg[reg] = 0;
        return;
    case RTL8139_TPPOLL:
        c->s.reg[reg] |= given & (RTL8139_TPPOLL_HPQ | RTL8139_TPPOLL_NPQ);
        rtl8139_cause(c, given & RTL8139_TPPOLL_SWINT ? RTL8139_INT_SW : 0);
        device_bh_schedule(c->tx_bh);
        break;
    default:
        break;
    }
    c->s.reg[reg] = (value & writable) | (c->s.reg[reg] & ~writable);
    rtl8139_written(c, reg);
}

static bool rtl8139_is_wakeup(uint64_t offset)
{
    return offset >= RTL8139_WAKEUP_AT && offset < RTL8139_WAKEUP_AT + RTL8139_WAKEUP_BYTES;
}

static uint32_t rtl8139_read(Rtl8139 *c, uint64_t offset, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        uint64_t at = offset + i;
        unsigned reg = rtl8139_by_offset[at];
        uint32_t byte = 0;

        if (reg) {
            byte = rtl8139_read_reg(c, reg - 1) >> 8 * (at - rtl8139_regs[reg - 1].offset) & 0xff;
        } else if (rtl8139_is_wakeup(at)) {
            byte = c->s.wakeup[at - RTL8139_WAKEUP_AT];
        }
        value |= byte << 8 * i;
    }
    return value;
}

static void rtl8139_write(Rtl8139 *c, uint64_t offset, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size;) {
        uint64_t at = offset + i;
        unsigned reg = rtl8139_by_offset[at], shift, n;
        uint64_t mask, given;

        if (!reg) {
            if (rtl8139_is_wakeup(at)) {
                c->s.wakeup[at - RTL8139_WAKEUP_AT] = value >> 8 * i;
            }
            i++;
            continue;
        }
        shift = 8 * (at - rtl8139_regs[--reg].offset);
        n = MIN(rtl8139_regs[reg].bytes - shift / 8, size - i);
        mask = (BIT64(8 * n) - 1) << shift;
        given = (uint64_t)(value >> 8 * i) << shift & mask;
        rtl8139_write_reg(c, reg, (c->s.reg[reg] & ~mask) | given, given);
        i += n;
    }
}

static uint64_t rtl8139_mmio_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return rtl8139_read(container_of(region, Rtl8139, mmio), offset, size);
}

static IoResult rtl8139_mmio_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    rtl8139_write(container_of(region, Rtl8139, mmio), offset, value, size);
    return IO_OK;
}

static uint64_t rtl8139_io_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return rtl8139_read(container_of(region, Rtl8139, io), offset, size);
}

static IoResult rtl8139_io_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    rtl8139_write(container_of(region, Rtl8139, io), offset, value, size);
    return IO_OK;
}

static const IoRegionOps rtl8139_mmio_ops = {
    .read = rtl8139_mmio_read, .write = rtl8139_mmio_write, .impl_min = 1, .impl_max = 4};
static const IoRegionOps rtl8139_io_ops = {
    .read = rtl8139_io_read, .write = rtl8139_io_write, .valid_min = 1, .valid_max = 4};

/* The network. */

bool rtl8139_loops_back(const Rtl8139 *c)
{
    return (c->s.reg[RTL8139_TCR] & RTL8139_TCR_LBK) == RTL8139_TCR_LBK;
}

static void rtl8139_send_ready(NetPeer *peer)
{
    device_bh_schedule(rtl8139_of_peer(peer)->ready_bh);
}

static const NetPeerOps rtl8139_peer_ops = {
    .receive = rtl8139_receive,
    .link_changed = rtl8139_link_changed,
    .send_ready = rtl8139_send_ready,
};

/* Life. */

static bool rtl8139_realize(Device *dev, GError **err)
{
    Rtl8139 *c = rtl8139_of(dev);

    c->nic.frame = rtl8139_rx_frame;
    if (!nic_open(&c->nic, &c->conf, dev, &rtl8139_peer_ops, err)) {
        return false;
    }
    c->packet = g_malloc(NET_PACKET_MAX);
    c->tx_bh = device_bh_new(dev, rtl8139_tx_run);
    c->ready_bh = device_bh_new(dev, rtl8139_tx_ready);
    c->rx_bh = device_bh_new(dev, rtl8139_rx_update);
    c->irq_bh = device_bh_new(dev, rtl8139_irq);
    c->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, rtl8139_timer);
    c->tx_irq = device_timer_new(dev, CLOCK_VIRTUAL_NS, rtl8139_tx_irq);
    c->rx_poll = device_timer_new(dev, CLOCK_VIRTUAL_NS, rtl8139_rx_update);
    io_region_init(&c->io, dev, &rtl8139_io_ops, "rtl8139-io", RTL8139_SIZE);
    io_region_init(&c->mmio, dev, &rtl8139_mmio_ops, "rtl8139-mmio", RTL8139_SIZE);
    pci_register_bar(&c->pci, 0, PCI_BAR_IO, &c->io);
    pci_register_bar(&c->pci, 1, PCI_BAR_MEM32, &c->mmio);
    rtl8139_eeprom_init(c);
    return true;
}

static void rtl8139_unrealize(Device *dev)
{
    Rtl8139 *c = rtl8139_of(dev);

    nic_close(&c->nic);
    g_clear_pointer(&c->packet, g_free);
}

static void rtl8139_reset(Device *dev, ResetKind kind)
{
    Rtl8139 *c = rtl8139_of(dev);

    pci_device_reset(&c->pci);
    device_timer_cancel(c->rx_poll);
    rtl8139_eeprom_init(c);
    memset(&c->s, 0, offsetof(Rtl8139State, eeprom));
    memset(&c->s.tx_next, 0, sizeof c->s - offsetof(Rtl8139State, tx_next));
    c->s.tctr_start = clock_ns(CLOCK_VIRTUAL_NS);
    c->s.reg[RTL8139_BMCR] = rtl8139_regs[RTL8139_BMCR].value;
    c->s.reg[RTL8139_ANAR] = rtl8139_regs[RTL8139_ANAR].value;
    rtl8139_load_eeprom(c);
    rtl8139_soft_reset(c);
}

static void rtl8139_run_state(Device *dev, bool running)
{
    Rtl8139 *c = rtl8139_of(dev);

    c->running = running;
    if (running) {
        device_bh_schedule(c->tx_bh);
        device_bh_schedule(c->rx_bh);
    } else {
        rtl8139_flush_causes(c); /* these are not saved */
    }
}

static void rtl8139_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    Rtl8139 *c = container_of(pci, Rtl8139, pci);

    if (offset <= PCI_COMMAND && offset + len > PCI_COMMAND) { /* a bus master again? */
        device_bh_schedule(c->tx_bh);
        device_bh_schedule(c->rx_bh);
    }
}

static bool rtl8139_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const Rtl8139State *s = state;

    if (section != 1) {
        return pci_device_check_state(dev, section, state, err);
    }
    if (s->tx_next >= 4 || s->rx_index >= RTL8139_DESC_COUNT ||
        s->tx_index[0] >= RTL8139_DESC_COUNT || s->tx_index[1] >= RTL8139_DESC_COUNT) {
        return error_set(err, "rtl8139: a place in a ring is beyond its end");
    }
    return true;
}

static void rtl8139_post_load(Device *dev)
{
    Rtl8139 *c = rtl8139_of(dev);
    bool up = !(c->s.reg[RTL8139_MSR] & RTL8139_MSR_LINKB);

    pci_device_post_load(dev);
    nic_forget(&c->nic);
    rtl8139_link_update(c);
    if (up != nic_link_is_up(&c->nic.peer)) {
        c->s.reg[RTL8139_ISR] |= RTL8139_INT_LINK;
    }
    rtl8139_update_irq(c);
    rtl8139_update_timer(c);
}

static const Property rtl8139_props[] = {NIC_CONF_PROPS(Rtl8139, conf), PROP_END};

static const StateSection rtl8139_state[] = {
    PCI_STATE(Rtl8139, pci),
    {rtl8139_state_desc, offsetof(Rtl8139, s)},
    {0},
};

static const PciDeviceInfo rtl8139_info = {
    .vendor_id = 0x10ec,
    .device_id = 0x8139,
    .revision = 0x20,
    .class_id = PCI_CLASS_NETWORK_ETHERNET,
    .interrupt_pin = 1,
    .romfile = "efi-rtl8139.rom",
    .config_written = rtl8139_config_written,
};

const DeviceClass rtl8139_class = {
    .name = "rtl8139",
    .bus = "PCI",
    .desc = "Realtek Fast Ethernet (RTL8139C+)",
    .category = DEVICE_CATEGORY_NETWORK,
    .size = sizeof(Rtl8139),
    .props = rtl8139_props,
    .bus_props = pci_device_props,
    .bus_data = &rtl8139_info,
    .state = rtl8139_state,
    .realize = rtl8139_realize,
    .unrealize = rtl8139_unrealize,
    .reset = rtl8139_reset,
    .run_state = rtl8139_run_state,
    .check_state = rtl8139_check_state,
    .post_load = rtl8139_post_load,
    .hotpluggable = true,
    .object_parent = "pci-device",
};
