/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC in user space: for qtest and for kernel-irqchip=split, where KVM has the local APICs
 * only. (Intel 82093AA data sheet, 290566. The EOI register is that of version 0x20.)
 *
 * The interrupt routing lock guards the state. Interrupts are sent to the local APICs as MSIs.
 */
#include "chipset.h"
#include "vm/vcpu.h"

#define IOAPIC_PINS 24

#define IOAPIC_STATE(X)                                                                            \
    X(F, uint8_t, id)                                                                              \
    X(F, uint8_t, select)                                                                          \
    X(F, uint32_t, lines)   /* levels of the inputs */                                             \
    X(F, uint32_t, pending) /* edges not sent yet; for level-triggered inputs: their levels */     \
    X(A, uint64_t, redirect, IOAPIC_PINS)
STATE_STRUCT(IoapicState, IOAPIC_STATE);
STATE_DESC(ioapic, IoapicState, IOAPIC_STATE, 1);

typedef struct {
    Device dev;
    IoapicState s;
    IoRegion io;
    IrqPin pins[IOAPIC_PINS];
    /* A GSI goes to an input here and, from 0 to 15, to one of the PIC pair. */
    IrqLine to_pic[16], to_self[IOAPIC_PINS];
    uint8_t version;
} Ioapic;

#define IOAPIC_BASE 0xfec00000

enum {
    IOREGSEL = 0x00,
    IOWIN = 0x10,
    IOEOI = 0x40,

    IOAPICID = 0x00,
    IOAPICVER = 0x01,
    IOAPICARB = 0x02,
    IOREDTBL = 0x10,

    DELIVERY_SHIFT = 8,
    DELIVERY_LOWEST = 1,
};
#define RED_LOGICAL    BIT64(11)
#define RED_SENDING    BIT64(12)
#define RED_REMOTE_IRR BIT64(14)
#define RED_LEVEL      BIT64(15)
#define RED_MASKED     BIT64(16)
#define RED_READ_ONLY  (RED_SENDING | RED_REMOTE_IRR)
#define RED_WRITABLE   (0xff0000000001ffffull & ~RED_READ_ONLY)

/* GSI n is wired to input n. Only the timer, GSI 0, is wired to input 2, as the MADT says. */
static unsigned ioapic_entry_of(unsigned gsi)
{
    return gsi == 0 ? 2 : gsi;
}

/* Address and data of the MSI that a redirection entry sends (Intel SDM 3A, 10.11). */
static uint64_t message_address(uint64_t entry)
{
    return 0xfee00000 | (entry >> 56) << 12 | (entry & RED_LOGICAL ? BIT(2) : 0);
}

static uint32_t message_data(uint64_t entry)
{
    return (entry & 0x7ff) | (entry & RED_LEVEL ? BIT(15) | BIT(14) : 0);
}

/* Sends input n's pending request, unless it is masked or waits for an EOI. Lock held. */
static void ioapic_service(Ioapic *d, unsigned n)
{
    uint64_t *entry = &d->s.redirect[n];
    unsigned delivery = *entry >> DELIVERY_SHIFT & 7;

    if (!(d->s.pending & BIT(n)) || (*entry & RED_MASKED)) {
        return;
    }
    if (*entry & RED_LEVEL) {
        if (*entry & RED_REMOTE_IRR) {
            return; /* the last interrupt's EOI is still to come */
        }
        if (delivery <= DELIVERY_LOWEST) {
            *entry |= RED_REMOTE_IRR;
        }
    } else {
        d->s.pending &= ~BIT(n);
    }
    msi_send(d->dev.vm, message_address(*entry), message_data(*entry));
}

static void ioapic_pin_set(Device *owner, unsigned gsi, bool level)
{
    Ioapic *d = container_of(owner, Ioapic, dev);
    unsigned n = ioapic_entry_of(gsi);
    bool rising = level && !(d->s.lines & BIT(n));

    d->s.lines = level ? d->s.lines | BIT(n) : d->s.lines & ~BIT(n);
    if (d->s.redirect[n] & RED_LEVEL) {
        d->s.pending = level ? d->s.pending | BIT(n) : d->s.pending & ~BIT(n);
    } else if (rising && !(d->s.redirect[n] & RED_MASKED)) {
        d->s.pending |= BIT(n); /* an edge at a masked input is lost (3.2.4, interrupt mask) */
    }
    ioapic_service(d, n);
}

static void ioapic_end_of_interrupt(Device *owner, uint8_t vector)
{
    Ioapic *d = container_of(owner, Ioapic, dev);

    irq_lock(owner->vm);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t *entry = &d->s.redirect[n];

        if ((uint8_t)*entry == vector && (*entry & RED_LEVEL) && (*entry & RED_REMOTE_IRR)) {
            *entry &= ~RED_REMOTE_IRR;
            ioapic_service(d, n);
        }
    }
    irq_unlock(owner->vm);
}

/* Gives KVM the routes: from these it knows which vectors' EOIs to report. Without the lock. */
static void ioapic_update_routes(Ioapic *d)
{
    Vm *vm = d->dev.vm;

    if (!kvm_enabled(vm)) {
        return;
    }
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t entry = d->s.redirect[n];

        kvm_set_ioapic_route(vm, n, message_address(entry), message_data(entry),
                             entry & RED_MASKED);
    }
    kvm_commit_routes(vm);
}

/* Registers. */

static uint32_t ioapic_read_register(Ioapic *d)
{
    unsigned n = (d->s.select - IOREDTBL) / 2;

    switch (d->s.select) {
    case IOAPICID:
    case IOAPICARB:
        return (uint32_t)d->s.id << 24;
    case IOAPICVER:
        return d->version | (IOAPIC_PINS - 1) << 16;
    default:
        if (d->s.select < IOREDTBL || n >= IOAPIC_PINS) {
            return 0;
        }
        return d->s.redirect[n] >> (d->s.select & 1 ? 32 : 0);
    }
}

static void write_entry(Ioapic *d, unsigned n, bool high, uint32_t value)
{
    uint64_t *entry = &d->s.redirect[n], next;

    next = high ? (uint64_t)value << 32 | (uint32_t)*entry : (*entry & ~0xffffffffull) | value;
    *entry = (*entry & RED_READ_ONLY) | (next & RED_WRITABLE);
    if (!(*entry & RED_LEVEL)) {
        *entry &= ~RED_REMOTE_IRR;
        if (*entry & RED_MASKED) {
            d->s.pending &= ~BIT(n);
        }
    } else {
        d->s.pending = (d->s.pending & ~BIT(n)) | (d->s.lines & BIT(n));
    }
    ioapic_service(d, n);
}

/* True: a redirection entry was written, and KVM's routes have to follow. */
static bool write_register(Ioapic *d, uint32_t value)
{
    unsigned n = (d->s.select - IOREDTBL) / 2;

    if (d->s.select == IOAPICID) {
        d->s.id = value >> 24 & 0x0f;
        return false;
    }
    if (d->s.select < IOREDTBL || n >= IOAPIC_PINS) {
        return false;
    }
    write_entry(d, n, d->s.select & 1, value);
    return true;
}

static uint64_t ioapic_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Ioapic *d = container_of(region, Ioapic, io);
    uint32_t value = 0;

    irq_lock(d->dev.vm);
    if (offset == IOREGSEL) {
        value = d->s.select;
    } else if (offset == IOWIN && size == 4) {
        value = ioapic_read_register(d);
    }
    irq_unlock(d->dev.vm);
    return value;
}

static IoResult ioapic_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Ioapic *d = container_of(region, Ioapic, io);
    bool changed = false;

    if (offset == IOEOI && d->version >= 0x20) {
        ioapic_end_of_interrupt(&d->dev, value);
        return IO_OK;
    }
    irq_lock(d->dev.vm);
    if (offset == IOREGSEL) {
        d->s.select = value;
    } else if (offset == IOWIN && size == 4) {
        changed = write_register(d, value);
    }
    irq_unlock(d->dev.vm);
    if (changed) {
        ioapic_update_routes(d);
    }
    return IO_OK;
}

static const IoRegionOps ioapic_ops = {
    .read = ioapic_read,
    .write = ioapic_write,
    .valid_min = 1,
    .valid_max = 4,
};

/* Text. */

static void print_entry(GString *out, unsigned n, uint64_t entry)
{
    static const char *const deliveries[] = {"fixed", "lowest", "SMI", "...",
                                             "NMI",   "INIT",   "...", "extINT"};

    g_string_append_printf(
        out, "  pin %-2u 0x%016" G_GINT64_MODIFIER "x dest=%x vec=%-3d %s %-5s %-6s %-6s %s\n", n,
        entry, (unsigned)(entry >> 56), (uint8_t)entry,
        entry & BIT64(13) ? "active-lo" : "active-hi", entry & RED_LEVEL ? "level" : "edge",
        entry & RED_MASKED ? "masked" : "", deliveries[entry >> DELIVERY_SHIFT & 7],
        entry & RED_LOGICAL ? "logical" : "physical");
}

static void print_set(GString *out, const char *name, uint32_t set)
{
    g_string_append(out, name);
    if (!set) {
        g_string_append(out, " (none)");
    }
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        if (set & BIT(n)) {
            g_string_append_printf(out, " %u", n);
        }
    }
    g_string_append_c(out, '\n');
}

char *ioapic_info_text(Device *ioapic)
{
    Ioapic *d = container_of(ioapic, Ioapic, dev);
    GString *out = g_string_new(NULL);
    uint32_t remote = 0;

    irq_lock(ioapic->vm);
    g_string_append_printf(out, "ioapic0: ver=0x%x id=0x%02x sel=0x%02x", d->version, d->s.id,
                           d->s.select);
    if (d->s.select >= IOREDTBL) {
        g_string_append_printf(out, " (redir[%u])", (d->s.select - IOREDTBL) / 2);
    }
    g_string_append_c(out, '\n');
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        print_entry(out, n, d->s.redirect[n]);
        remote |= d->s.redirect[n] & RED_REMOTE_IRR ? BIT(n) : 0;
    }
    print_set(out, "  IRR   ", d->s.pending);
    print_set(out, "  Remote IRR", remote);
    irq_unlock(ioapic->vm);
    return g_string_free(out, FALSE);
}

/* Wiring. */

static void gsi_set(Device *owner, unsigned gsi, bool level)
{
    Ioapic *d = container_of(owner, Ioapic, dev);

    if (gsi < ARRAY_SIZE(d->to_pic)) {
        irq_set_nested(owner->vm, &d->to_pic[gsi], level);
    }
    irq_set_nested(owner->vm, &d->to_self[gsi], level);
}

void ioapic_connect(Device *ioapic, Device *pic)
{
    Ioapic *d = container_of(ioapic, Ioapic, dev);
    IrqPin *inputs = pic ? i8259_inputs(pic) : NULL;

    for (unsigned i = 0; inputs && i < ARRAY_SIZE(d->to_pic); i++) {
        irq_connect(ioapic, &d->to_pic[i], &inputs[i]);
    }
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        irq_connect(ioapic, &d->to_self[i], &d->pins[i]);
    }
    irq_set_gsi_handler(ioapic->vm, ioapic, gsi_set);
}

/* Life. */

static bool ioapic_realize(Device *dev, GError **err)
{
    Ioapic *d = container_of(dev, Ioapic, dev);

    io_region_init(&d->io, dev, &ioapic_ops, "ioapic", 0x1000);
    io_region_map(dev->vm, &d->io, IO_SPACE_MEM, IOAPIC_BASE, 0);
    for (unsigned i = 0; i < IOAPIC_PINS; i++) {
        irq_pin_init(&d->pins[i], dev, ioapic_pin_set, i);
    }
    irq_export_inputs(dev, d->pins, IOAPIC_PINS);
    if (kvm_enabled(dev->vm)) {
        kvm_set_eoi_handler(dev->vm, dev, ioapic_end_of_interrupt);
    }
    return true;
}

static void ioapic_unrealize(Device *dev)
{
    Ioapic *d = container_of(dev, Ioapic, dev);

    irq_set_gsi_handler(dev->vm, NULL, NULL);
    if (kvm_enabled(dev->vm)) {
        kvm_set_eoi_handler(dev->vm, NULL, NULL);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(d->to_pic); i++) {
        irq_connect(dev, &d->to_pic[i], NULL);
    }
    io_region_unmap(dev->vm, &d->io);
}

static void ioapic_reset(Device *dev, ResetKind kind)
{
    Ioapic *d = container_of(dev, Ioapic, dev);

    irq_lock(dev->vm);
    d->s = (IoapicState){.lines = d->s.lines};
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        d->s.redirect[n] = RED_MASKED;
    }
    irq_unlock(dev->vm);
    ioapic_update_routes(d);
}

static void ioapic_post_load(Device *dev)
{
    ioapic_update_routes(container_of(dev, Ioapic, dev));
}

static const Property ioapic_props[] = {
    {
        .name = "version",
        .type = PROP_UINT8,
        .offset = offsetof(Ioapic, version),
        .defval = "0x20",
        .help = "0x11, or 0x20: with an EOI register",
        .min = 0x11,
        .max = 0x20,
    },
    PROP_END,
};

static const StateSection ioapic_sections[] = {
    {ioapic_state_desc, offsetof(Ioapic, s)},
    {0},
};

const DeviceClass ioapic_class = {
    .name = "ioapic",
    .bus = "System",
    .desc = "I/O APIC, in user space",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Ioapic),
    .props = ioapic_props,
    .state = ioapic_sections,
    .realize = ioapic_realize,
    .unrealize = ioapic_unrealize,
    .reset = ioapic_reset,
    .post_load = ioapic_post_load,
    .internal = true,
    .object_parent = "ioapic-common",
};
