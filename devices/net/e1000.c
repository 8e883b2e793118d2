/* SPDX-License-Identifier: GPL-2.0-or-later */
/* e1000: Intel's 82540EM and its relatives: registers, interrupts, life. */
#include "e1000.h"

#include "base/error.h"

STATE_DESC(e1000_context, E1000Context, E1000_CONTEXT_STATE, 1);
STATE_DESC(e1000, E1000State, E1000_STATE, 1);

#define E1000_MMIO_SIZE 0x20000
#define E1000_IO_SIZE   64

enum { E1000_IOADDR = 0, E1000_IODATA = 4 };

typedef struct {
    PciDeviceInfo info;
    uint16_t phy_id2;
} E1000Model;

/* The registers by offset: 1 + index, or 0. */
#define E1000_AT_(name, offset, writable, value) [(offset) / 4] = E1000_##name + 1,
static const uint8_t e1000_by_offset[] = {E1000_REGISTERS(E1000_AT_)};
#define E1000_WRITABLE_(name, offset, writable, value) writable,
static const uint32_t e1000_writable[] = {E1000_REGISTERS(E1000_WRITABLE_)};
#define E1000_VALUE_(name, offset, writable, value) value,
static const uint32_t e1000_value[] = {E1000_REGISTERS(E1000_VALUE_)};

static const struct {
    uint32_t offset, words, step, writable;
    size_t field;
} e1000_tables[] = {
#define E1000_TABLE_(name, offset, words, step, writable)                                          \
    {offset, words, step, writable, offsetof(E1000State, name)},
    E1000_TABLES(E1000_TABLE_)};

/* Interrupts. */

static void e1000_update_irq(E1000 *c)
{
    bool pending = c->s.reg[E1000_ICR] & c->s.reg[E1000_IMS];

    if (!pending) {
        c->interrupting = false;
    } else if (!c->interrupting) {
        int64_t gap = c->mitigation ? c->s.reg[E1000_ITR] * 256ll : 0;

        if (gap) {
            int64_t now = clock_ns(CLOCK_VIRTUAL_NS);

            if (now < c->s.throttled) {
                e1000_update_timer(c);
                return;
            }
            c->s.throttled = now + gap;
        }
        c->interrupting = true;
    }
    pci_set_irq(&c->pci, c->interrupting);
}

void e1000_cause(E1000 *c, uint32_t causes)
{
    c->s.reg[E1000_ICR] |= causes;
    e1000_update_irq(c);
}

static void e1000_flush_causes(E1000 *c)
{
    uint32_t causes = c->causes;

    c->causes = 0;
    if (causes & E1000_ICR_RXT0 && c->s.tx_due) {
        c->s.tx_due = 0;
        causes |= E1000_ICR_TXDW; /* an interrupt for itself would come right after */
    }
    if (causes) {
        e1000_cause(c, causes);
    }
}

static void e1000_irq(Device *dev)
{
    e1000_flush_causes(e1000_of(dev));
}

void e1000_cause_later(E1000 *c, uint32_t causes)
{
    if (!c->causes) {
        device_bh_schedule(c->irq_bh);
    }
    c->causes |= causes;
}

/* Timers (13.4.30, 13.4.31, 13.4.44, 13.4.45): in units of 1.024 us. */

static int64_t e1000_delay_ns(uint32_t reg)
{
    return (int64_t)(reg & 0xffff) * 1024;
}

void e1000_delay(E1000 *c, bool rx)
{
    int64_t delay = e1000_delay_ns(c->s.reg[rx ? E1000_RDTR : E1000_TIDV]);
    int64_t limit = e1000_delay_ns(c->s.reg[rx ? E1000_RADV : E1000_TADV]);
    int64_t *due = rx ? &c->s.rx_due : &c->s.tx_due, now;
    int64_t *last = rx ? &c->s.rx_limit : &c->s.tx_limit;

    if (!delay || !c->mitigation) {
        e1000_cause_later(c, rx ? E1000_ICR_RXT0 : E1000_ICR_TXDW);
        return;
    }
    now = clock_ns(CLOCK_VIRTUAL_NS);
    if (!*due) {
        *last = limit ? now + limit : INT64_MAX;
    }
    *due = MIN(now + delay, *last);
    e1000_update_timer(c);
}

/* A timer that goes off too early finds the later time; so only earlier times arm it again. */
void e1000_update_timer(E1000 *c)
{
    bool waits = c->s.reg[E1000_ICR] & c->s.reg[E1000_IMS] && !c->interrupting;
    const int64_t times[] = {c->s.rx_due, c->s.tx_due, c->s.link_due, waits ? c->s.throttled : 0};
    int64_t next = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
        next = times[i] && (!next || times[i] < next) ? times[i] : next;
    }
    if (next && (!c->timer_at || next < c->timer_at)) {
        c->timer_at = next;
        device_timer_arm(c->timer, next);
    }
}

static bool e1000_due(int64_t *time, int64_t now)
{
    if (!*time || now < *time) {
        return false;
    }
    *time = 0;
    return true;
}

/*
 * Causes that were delayed wait for one more turn of the loop: the answer to what was sent is often
 * there by then, and is told by the same interrupt.
 */
static void e1000_timer(Device *dev)
{
    E1000 *c = e1000_of(dev);
    int64_t now = clock_ns(CLOCK_VIRTUAL_NS);
    uint32_t causes = 0;

    c->timer_at = 0;
    if (e1000_due(&c->s.link_due, now)) {
        e1000_autoneg_done(c);
    }
    causes |= e1000_due(&c->s.rx_due, now) ? E1000_ICR_RXT0 : 0;
    causes |= e1000_due(&c->s.tx_due, now) ? E1000_ICR_TXDW : 0;
    if (causes) {
        e1000_cause_later(c, causes);
    }
    e1000_update_irq(c);
    e1000_update_timer(c);
}

/* Statistics (13.7): they stop at their maximum. */

void e1000_count(E1000 *c, unsigned stat, uint32_t n)
{
    c->s.stats[stat] += MIN(n, UINT32_MAX - c->s.stats[stat]);
}

static void e1000_count64(E1000 *c, unsigned stat, uint64_t n)
{
    uint64_t old = c->s.stats[stat] | (uint64_t)c->s.stats[stat + 1] << 32, sum = old + n;

    sum = sum < old ? UINT64_MAX : sum;
    c->s.stats[stat] = sum;
    c->s.stats[stat + 1] = sum >> 32;
}

const E1000Counters e1000_received = {
    .sizes = E1000_STAT_PRC64,
    .multicast = E1000_STAT_MPRC,
    .broadcast = E1000_STAT_BPRC,
    .good = E1000_STAT_GPRC,
    .all = E1000_STAT_TPR,
    .good_bytes = E1000_STAT_GORC,
    .all_bytes = E1000_STAT_TOR,
};
const E1000Counters e1000_sent = {
    .sizes = E1000_STAT_PTC64,
    .multicast = E1000_STAT_MPTC,
    .broadcast = E1000_STAT_BPTC,
    .good = E1000_STAT_GPTC,
    .all = E1000_STAT_TPT,
    .good_bytes = E1000_STAT_GOTC,
    .all_bytes = E1000_STAT_TOT,
};

void e1000_count_frames(E1000 *c, const E1000Counters *k, uint32_t n, uint64_t bytes)
{
    e1000_count(c, k->good, n);
    e1000_count(c, k->all, n);
    e1000_count64(c, k->good_bytes, bytes);
    e1000_count64(c, k->all_bytes, bytes);
}

void e1000_count_frame(E1000 *c, const E1000Counters *k, const uint8_t *frame, size_t bytes)
{
    unsigned class = bytes <= 64 ? 0 : MIN(26 - __builtin_clz(bytes), 5);

    if (frame[0] & 1) {
        e1000_count(c, frame_is_broadcast(frame) ? k->broadcast : k->multicast, 1);
    }
    e1000_count(c, k->sizes + class, 1);
    e1000_count_frames(c, k, 1, bytes);
}

/* Reading clears a counter; of those with 64 bits, reading the upper half does. */
static uint32_t e1000_stat_read(E1000 *c, unsigned stat)
{
    uint32_t value = c->s.stats[stat];

    switch (stat) {
    case E1000_STAT_GORC:
    case E1000_STAT_GOTC:
    case E1000_STAT_TOR:
    case E1000_STAT_TOT:
        return value;
    case E1000_STAT_GORC + 1:
    case E1000_STAT_GOTC + 1:
    case E1000_STAT_TOR + 1:
    case E1000_STAT_TOT + 1:
        c->s.stats[stat - 1] = 0;
    }
    c->s.stats[stat] = 0;
    return value;
}

/* Registers. */

/* The word of a table at this offset, and the bits that can be written. */
static uint32_t *e1000_table_word(E1000 *c, uint32_t offset, uint32_t *writable)
{
    for (unsigned i = 0; i < ARRAY_SIZE(e1000_tables); i++) {
        uint32_t word = (offset - e1000_tables[i].offset) / 4, step = e1000_tables[i].step;

        if (offset >= e1000_tables[i].offset && word < e1000_tables[i].words * step) {
            *writable = e1000_tables[i].writable;
            return word % step ? NULL
                               : (uint32_t *)((char *)&c->s + e1000_tables[i].field) + word / step;
        }
    }
    return NULL;
}

static uint32_t e1000_icr_read(E1000 *c)
{
    uint32_t value;

    e1000_flush_causes(c);
    value = c->s.reg[E1000_ICR];
    c->s.reg[E1000_ICR] = 0;
    e1000_update_irq(c);
    return value;
}

static uint32_t e1000_read(E1000 *c, uint32_t offset)
{
    unsigned reg = offset / 4 < ARRAY_SIZE(e1000_by_offset) ? e1000_by_offset[offset / 4] : 0;
    uint32_t writable, *word;

    if (!reg) {
        if (offset >= E1000_STATS && offset / 4 - E1000_STATS / 4 < ARRAY_SIZE(c->s.stats)) {
            return e1000_stat_read(c, offset / 4 - E1000_STATS / 4);
        }
        word = e1000_table_word(c, offset, &writable);
        return word ? *word : 0;
    }
    switch (--reg) {
    case E1000_ICR:
        return e1000_icr_read(c);
    case E1000_ICS:
        return c->s.reg[E1000_ICR];
    case E1000_IMC:
        return c->s.reg[E1000_IMS];
    case E1000_EECD:
        return e1000_eecd_read(c);
    default:
        return c->s.reg[reg];
    }
}

static void e1000_registers_reset(E1000 *c)
{
    memcpy(c->s.reg, e1000_value, sizeof c->s.reg);
    c->s.reg[E1000_VET] = c->init_vet ? c->s.reg[E1000_VET] : 0;
    c->s.reg[E1000_STATUS] |= E1000_STATUS_FD;
    memset(c->s.stats, 0, sizeof c->s.stats);
    memset(c->s.mta, 0, sizeof c->s.mta);
    memset(c->s.ra, 0, sizeof c->s.ra);
    memset(c->s.vfta, 0, sizeof c->s.vfta);
    e1000_load_address(c);
    e1000_tx_reset(c);
    nic_forget(&c->nic);
    c->s.rx_due = c->s.tx_due = c->s.throttled = 0;
    c->causes = 0;
    e1000_link_update(c, false);
    e1000_update_irq(c);
    device_bh_schedule(c->rx_bh);
}

static void e1000_ctrl_write(E1000 *c, uint32_t value)
{
    if (value & E1000_CTRL_PHY_RST) {
        e1000_phy_reset(c);
    }
    if (value & E1000_CTRL_RST) {
        e1000_registers_reset(c);
        return;
    }
    c->s.reg[E1000_CTRL] = value & ~E1000_CTRL_PHY_RST;
}

/* Of the packet buffer's 64 KiB the transmitter has what the receiver leaves. */
static uint32_t e1000_pba(uint32_t receive)
{
    return (64 - receive) << 16 | receive;
}

static void e1000_rdtr_write(E1000 *c, uint32_t value)
{
    if (value & E1000_RDTR_FPD && c->s.rx_due) {
        c->s.rx_due = 0;
        e1000_cause(c, E1000_ICR_RXT0);
    }
}

/* After the bits of a register that can be written have been. */
static void e1000_written(E1000 *c, unsigned reg, uint32_t value)
{
    switch (reg) {
    case E1000_TDT:
    case E1000_TCTL:
        device_bh_schedule(c->tx_bh);
        break;
    case E1000_TDBAL:
    case E1000_TDBAH:
    case E1000_TDLEN:
    case E1000_TDH:
        e1000_tx_reset(c);
        break;
    case E1000_RDT:
        if (c->rx_waits) {
            device_bh_schedule(c->rx_bh);
        }
        break;
    case E1000_RCTL:
    case E1000_RDLEN:
    case E1000_RDH:
        device_bh_schedule(c->rx_bh);
        break;
    case E1000_RDTR:
        e1000_rdtr_write(c, value);
        break;
    case E1000_CTRL_EXT:
        if (value & E1000_CTRL_EXT_EE_RST) {
            c->s.reg[E1000_CTRL_EXT] &= ~E1000_CTRL_EXT_EE_RST;
            e1000_load_address(c);
        }
        break;
    case E1000_PBA:
        c->s.reg[reg] = e1000_pba(value & e1000_writable[reg]);
        break;
    case E1000_MDIC:
        e1000_mdic_write(c, value);
        break;
    case E1000_EERD:
        e1000_eerd_write(c, value);
        break;
    default:
        break;
    }
}

static void e1000_write(E1000 *c, uint32_t offset, uint32_t value)
{
    unsigned reg = offset / 4 < ARRAY_SIZE(e1000_by_offset) ? e1000_by_offset[offset / 4] : 0;
    uint32_t writable, *word;

    if (!reg) {
        word = e1000_table_word(c, offset, &writable);
        if (word && writable) {
            *word = value & writable;
        }
        return;
    }
    switch (--reg) {
    case E1000_CTRL:
        e1000_ctrl_write(c, value);
        return;
    case E1000_EECD:
        e1000_eecd_write(c, value);
        return;
    case E1000_ICR:
        e1000_flush_causes(c);
        c->s.reg[E1000_ICR] &= ~value;
        e1000_update_irq(c);
        return;
    case E1000_ICS:
        e1000_cause(c, value);
        return;
    case E1000_IMS:
        c->s.reg[E1000_IMS] |= value;
        e1000_update_irq(c);
        return;
    case E1000_IMC:
        c->s.reg[E1000_IMS] &= ~value;
        e1000_update_irq(c);
        return;
    case E1000_WUS: /* write 1 to clear */
        c->s.reg[E1000_WUS] &= ~value;
        return;
    default:
        c->s.reg[reg] = (value & e1000_writable[reg]) | (c->s.reg[reg] & ~e1000_writable[reg]);
        e1000_written(c, reg, value);
    }
}

static uint64_t e1000_mmio_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return e1000_read(container_of(region, E1000, mmio), offset);
}

static IoResult e1000_mmio_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    e1000_write(container_of(region, E1000, mmio), offset, value);
    return IO_OK;
}

static const IoRegionOps e1000_mmio_ops = {
    .read = e1000_mmio_read,
    .write = e1000_mmio_write,
    .valid_min = 4,
    .impl_min = 4,
    .impl_max = 4,
};

/* The window to the registers in I/O space (13.2.2). */

static uint64_t e1000_io_read(IoRegion *region, uint64_t offset, unsigned size)
{
    E1000 *c = container_of(region, E1000, io);

    switch (offset) {
    case E1000_IOADDR:
        return c->s.io_address;
    case E1000_IODATA:
        return c->s.io_address < E1000_MMIO_SIZE ? e1000_read(c, c->s.io_address & ~3u) : 0;
    default:
        return 0;
    }
}

static IoResult e1000_io_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    E1000 *c = container_of(region, E1000, io);

    if (offset == E1000_IOADDR) {
        c->s.io_address = value;
    } else if (offset == E1000_IODATA && c->s.io_address < E1000_MMIO_SIZE) {
        e1000_write(c, c->s.io_address & ~3u, value);
    }
    return IO_OK;
}

static const IoRegionOps e1000_io_ops = {
    .read = e1000_io_read,
    .write = e1000_io_write,
    .valid_min = 4,
    .valid_max = 4,
};

/* The network. */

bool e1000_loops_back(const E1000 *c)
{
    return (c->s.reg[E1000_RCTL] & E1000_RCTL_LBM) == E1000_RCTL_LBM ||
           c->s.phy[PHY_CONTROL] & PHY_CONTROL_LOOPBACK;
}

static void e1000_link_changed(NetPeer *peer)
{
    E1000 *c = e1000_of_peer(peer);

    device_lock(&c->pci.dev);
    nic_forget(&c->nic);
    e1000_link_update(c, true);
    device_unlock(&c->pci.dev);
}

static void e1000_send_ready(NetPeer *peer)
{
    device_bh_schedule(e1000_of_peer(peer)->ready_bh);
}

static const NetPeerOps e1000_peer_ops = {
    .receive = e1000_receive,
    .link_changed = e1000_link_changed,
    .send_ready = e1000_send_ready,
};

/* Life. */

static bool e1000_realize(Device *dev, GError **err)
{
    E1000 *c = e1000_of(dev);

    c->nic.frame = e1000_rx_frame;
    if (!nic_open(&c->nic, &c->conf, dev, &e1000_peer_ops, err)) {
        return false;
    }
    c->tx_bh = device_bh_new(dev, e1000_tx_run);
    c->ready_bh = device_bh_new(dev, e1000_tx_ready);
    c->rx_bh = device_bh_new(dev, e1000_rx_update);
    c->irq_bh = device_bh_new(dev, e1000_irq);
    c->timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, e1000_timer);
    io_region_init(&c->mmio, dev, &e1000_mmio_ops, "e1000-mmio", E1000_MMIO_SIZE);
    io_region_init(&c->io, dev, &e1000_io_ops, "e1000-io", E1000_IO_SIZE);
    pci_register_bar(&c->pci, 0, PCI_BAR_MEM32, &c->mmio);
    pci_register_bar(&c->pci, 1, PCI_BAR_IO, &c->io);
    e1000_eeprom_init(c);
    return true;
}

static void e1000_unrealize(Device *dev)
{
    nic_close(&e1000_of(dev)->nic);
}

static void e1000_reset(Device *dev, ResetKind kind)
{
    E1000 *c = e1000_of(dev);

    pci_device_reset(&c->pci);
    device_timer_cancel(c->timer);
    c->timer_at = 0;
    c->interrupting = false;
    c->s.io_address = 0;
    memset(c->s.ip4at, 0, sizeof c->s.ip4at);
    memset(c->s.ip6at, 0, sizeof c->s.ip6at);
    memset(c->s.wupm, 0, sizeof c->s.wupm);
    memset(c->s.fflt, 0, sizeof c->s.fflt);
    memset(c->s.ffmt, 0, sizeof c->s.ffmt);
    memset(c->s.ffvt, 0, sizeof c->s.ffvt);
    e1000_eeprom_init(c);
    e1000_phy_reset(c);
    c->s.phy[PHY_ID2] =
        container_of((const PciDeviceInfo *)dev->class->bus_data, const E1000Model, info)->phy_id2;
    /* What a machine starts with has negotiated when its guest comes to look. */
    c->s.link_due = 0;
    e1000_registers_reset(c);
}

static void e1000_run_state(Device *dev, bool running)
{
    E1000 *c = e1000_of(dev);

    c->running = running;
    if (running) {
        device_bh_schedule(c->tx_bh);
        device_bh_schedule(c->rx_bh);
    } else {
        e1000_flush_causes(c); /* these are not saved */
    }
}

static void e1000_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    E1000 *c = container_of(pci, E1000, pci);

    if (offset <= PCI_COMMAND && offset + len > PCI_COMMAND) { /* a bus master again? */
        device_bh_schedule(c->tx_bh);
        device_bh_schedule(c->rx_bh);
    }
}

static void e1000_post_load(Device *dev)
{
    E1000 *c = e1000_of(dev);
    bool up = c->s.reg[E1000_STATUS] & E1000_STATUS_LU;

    pci_device_post_load(dev);
    nic_forget(&c->nic);
    device_timer_cancel(c->timer);
    c->timer_at = 0;
    c->interrupting = c->pci.s.intx_level;
    /* The link is the network's here, and the guest is told where it is another. */
    e1000_link_update(c, !c->s.link_due && up != nic_link_is_up(&c->nic.peer));
    e1000_update_irq(c);
    e1000_update_timer(c);
    device_bh_schedule(c->rx_bh);
}

#define E1000_FIXED(n, f, h)                                                                       \
    {                                                                                              \
        .name = (n), .type = PROP_BOOL, .offset = offsetof(E1000, f), .defval = "on",              \
        .flags = PROP_FLAG_FIXED, .help = (h)                                                      \
    }

static const Property e1000_props[] = {
    NIC_CONF_PROPS(E1000, conf),
    PROP("autonegotiation", PROP_BOOL, E1000, autonegotiation, "on",
         "the PHY takes its time to negotiate, and reports that it has"),
    PROP("mitigation", PROP_BOOL, E1000, mitigation, "on",
         "obey the registers that delay and throttle interrupts"),
    PROP("init-vet", PROP_BOOL, E1000, init_vet, "on", "VET is 0x8100 after a reset"),
    E1000_FIXED("extra_mac_registers", extra_mac_registers, "all registers are there"),
    E1000_FIXED("migrate_tso_props", migrate_tso, "both transmit contexts are saved"),
    PROP_END,
};

static const StateSection e1000_state[] = {
    PCI_STATE(E1000, pci),
    {e1000_state_desc, offsetof(E1000, s)},
    {0},
};

#define E1000_CLASS(ident, type, other, chip, id, phy)                                             \
    static const E1000Model ident##_model = {                                                      \
        .info = {.vendor_id = PCI_VENDOR_ID_INTEL,                                                 \
                 .device_id = (id),                                                                \
                 .revision = 3,                                                                    \
                 .class_id = PCI_CLASS_NETWORK_ETHERNET,                                           \
                 .interrupt_pin = 1,                                                               \
                 .romfile = "efi-e1000.rom",                                                       \
                 .config_written = e1000_config_written},                                          \
        .phy_id2 = (phy),                                                                          \
    };                                                                                             \
    const DeviceClass ident##_class = {                                                            \
        .name = (type),                                                                            \
        .alias = (other),                                                                          \
        .bus = "PCI",                                                                              \
        .desc = "Intel Gigabit Ethernet (" chip ")",                                               \
        .category = DEVICE_CATEGORY_NETWORK,                                                       \
        .size = sizeof(E1000),                                                                     \
        .props = e1000_props,                                                                      \
        .bus_props = pci_device_props,                                                             \
        .bus_data = &ident##_model.info,                                                           \
        .state = e1000_state,                                                                      \
        .realize = e1000_realize,                                                                  \
        .unrealize = e1000_unrealize,                                                              \
        .reset = e1000_reset,                                                                      \
        .run_state = e1000_run_state,                                                              \
        .check_state = pci_device_check_state,                                                     \
        .post_load = e1000_post_load,                                                              \
        .hotpluggable = true,                                                                      \
        .object_parent = "e1000-base",                                                             \
    }

E1000_CLASS(e1000, "e1000", "e1000-82540em", "82540EM", 0x100e, 0x0c20);
E1000_CLASS(e1000_82544gc, "e1000-82544gc", NULL, "82544GC", 0x100c, 0x0c30);
E1000_CLASS(e1000_82545em, "e1000-82545em", NULL, "82545EM", 0x100f, 0x0c20);
