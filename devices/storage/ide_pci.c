/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * piix3-ide: the south bridge's function 1, an IDE controller of two channels at the ports and IRQs
 * of old, with bus-master DMA. (Intel 82371FB/82371SB data sheet, 290550; Programming Interface for
 * Bus Master IDE Controller, revision 1.0.)
 */
#include "base/error.h"
#include "base/util.h"
#include "../platform/chipset.h"
#include "ide.h"

#define CHANNELS 2

/* Where the controller is in a list of memory pieces, the PRD table. */
#define IDE_POSITION_STATE(X)                                                                      \
    X(F, uint32_t, next)  /* address of the next entry */                                          \
    X(F, uint32_t, piece) /* what is left of the current piece: address and bytes */               \
    X(F, uint32_t, left)                                                                           \
    X(F, bool, last) /* the current piece is the last one */
STATE_STRUCT(IdePosition, IDE_POSITION_STATE);
STATE_DESC(ide_position, IdePosition, IDE_POSITION_STATE, 1);

#define IDE_CHANNEL_STATE(X)                                                                       \
    X(F, uint8_t, select)  /* the device register as written: which drive is meant */              \
    X(F, uint8_t, control) /* the device control register */                                       \
    X(F, uint8_t, bm_command)                                                                      \
    X(F, uint8_t, bm_status)                                                                       \
    X(F, uint32_t, bm_table)                                                                       \
    X(S, IdePosition, position, ide_position)
STATE_STRUCT(IdeChannelState, IDE_CHANNEL_STATE);
STATE_DESC(ide_channel, IdeChannelState, IDE_CHANNEL_STATE, 1);

#define PIIX_IDE_STATE(X) X(SA, IdeChannelState, channel, ide_channel, CHANNELS)
STATE_STRUCT(PiixIdeState, PIIX_IDE_STATE);
STATE_DESC(piix_ide, PiixIdeState, PIIX_IDE_STATE, 1);

typedef struct {
    IdeBus bus;
    IdeChannelState *s;
    IoRegion command, control;
    IrqLine irq;
    bool level;         /* of the IRQ */
    IdePosition mapped; /* the position behind what is mapped at the moment */
    bool resetting;     /* a deferred reset, or stop of DMA, is under way */
    bool stopping;
} IdeChannel;

typedef struct {
    PciDevice pci;
    PiixIdeState s;
    IdeChannel channel[CHANNELS];
    IoRegion bar;
} PiixIde;

enum {
    CONTROL_NIEN = 0x02,
    CONTROL_SRST = 0x04,
    CONTROL_HOB = 0x80,

    BM_COMMAND = 0, /* offsets in a channel's half of the BAR */
    BM_STATUS = 2,
    BM_TABLE = 4,
    BM_SIZE = 8,
    BM_START = 0x01, /* command */
    BM_TO_MEMORY = 0x08,
    BM_ACTIVE = 0x01, /* status */
    BM_ERROR = 0x02,
    BM_INTERRUPT = 0x04,
    BM_CAPABLE = 0x60, /* drives 0 and 1 can do DMA; firmware sets it */

    PRD_SIZE = 8,
};
#define PRD_EOT 0x80000000u

static PiixIde *piix_ide(Device *dev)
{
    return container_of(dev, PiixIde, pci.dev);
}

static IdeChannel *ide_channel_of(const AtaDevice *d)
{
    return container_of(d->dev->bus, IdeChannel, bus.bus);
}

static PiixIde *ide_controller(IdeChannel *c)
{
    return piix_ide(c->bus.bus.parent);
}

/* The drive that the guest has selected; NULL: there is none. */
static AtaDevice *ide_selected(IdeChannel *c)
{
    return c->bus.drives[!!(c->s->select & ATA_DEVICE_DEV)];
}

/* Interrupts. */

static void ide_update_irq(IdeChannel *c)
{
    const AtaDevice *d = ide_selected(c);
    bool level = d && d->ops->intrq(d) && !(c->s->control & CONTROL_NIEN);

    if (level && !c->level) {
        c->s->bm_status |= BM_INTERRUPT;
    }
    c->level = level;
    irq_set(ide_controller(c)->pci.dev.vm, &c->irq, level);
}

static void ide_interrupt(AtaDevice *d)
{
    ide_update_irq(ide_channel_of(d));
}

/* DMA. */

static bool ide_dma_ready(AtaDevice *d)
{
    IdeChannel *c = ide_channel_of(d);

    return c->s->bm_command & BM_START && c->s->bm_status & BM_ACTIVE && !c->stopping &&
           d == ide_selected(c) && pci_can_dma(&ide_controller(c)->pci);
}

static bool ide_next_piece(Vm *vm, IdePosition *p)
{
    uint8_t entry[PRD_SIZE];
    uint32_t count;

    if (!dma_read(vm, p->next, entry, sizeof entry)) {
        return false;
    }
    count = ldle32(entry + 4);
    p->next += PRD_SIZE;
    p->piece = ldle32(entry) & ~1u;
    p->left = count & 0xfffe ? count & 0xfffe : 0x10000;
    p->last = count & PRD_EOT;
    return true;
}

/*
 * Maps at most 'bytes' from the position on, which moves. Returns the number of bytes, which is
 * less where the table ends, d->iov is full, or (*failed) what is named is no RAM. Each entry has
 * at least two bytes, so that the work is bounded by 'bytes' whatever the guest has written.
 */
static uint32_t ide_map_pieces(AtaDevice *d, IdePosition *p, uint32_t bytes, bool to_guest,
                               bool *failed)
{
    Vm *vm = d->dev->vm;
    uint32_t done = 0;

    d->niov = 0;
    while (done < bytes && d->niov < ATA_IOV_MAX) {
        uint64_t len;
        void *host;

        if (!p->left) {
            if (p->last) {
                break;
            }
            if (!ide_next_piece(vm, p)) {
                *failed = true;
                break;
            }
        }
        len = MIN(MIN(p->left, bytes - done), BIT64(32) - p->piece);
        host = dma_map(vm, p->piece, &len, to_guest);
        if (!host || !len) {
            *failed = true;
            break;
        }
        d->iov[d->niov++] = (struct iovec){host, len};
        p->piece += len;
        p->left -= len;
        done += len;
    }
    return done;
}

static uint32_t ide_dma_map(AtaDevice *d, uint32_t bytes, uint32_t granule, bool to_guest)
{
    IdeChannel *c = ide_channel_of(d);
    uint32_t wanted = bytes, got;
    bool failed = false;

    /* A sector that is not whole is mapped no more: again, without it. */
    for (;;) {
        c->mapped = c->s->position;
        got = ide_map_pieces(d, &c->mapped, bytes, to_guest, &failed);
        if (got == wanted || got % granule == 0) {
            break;
        }
        dma_unmap_iov(d->dev->vm, d->iov, d->niov, false);
        bytes = ROUND_DOWN(got, granule);
    }
    if (!got) {
        /* The drive has more than the table. It goes on waiting for the controller. */
        c->s->bm_status &= ~BM_ACTIVE;
        c->s->bm_status |= failed ? BM_ERROR : 0;
    }
    return got;
}

static void ide_dma_unmap(AtaDevice *d, bool to_guest, uint32_t moved)
{
    IdeChannel *c = ide_channel_of(d);

    dma_unmap_iov(d->dev->vm, d->iov, d->niov, to_guest);
    if (moved) {
        c->s->position = c->mapped;
        if (c->s->position.last && !c->s->position.left) {
            c->s->bm_status &= ~BM_ACTIVE;
        }
    }
}

static const AtaTransport ide_transport = {
    .interrupt = ide_interrupt,
    .dma_ready = ide_dma_ready,
    .dma_map = ide_dma_map,
    .dma_unmap = ide_dma_unmap,
};

/*
 * What has to wait for requests: a software reset takes them back, and the end of DMA lets them
 * end, since the guest may use their memory for something else then.
 */

static void ide_dma_stop(IdeChannel *c)
{
    c->s->bm_command &= ~BM_START;
    c->s->bm_status &= ~BM_ACTIVE;
}

static void ide_reset_end(IdeChannel *c)
{
    c->s->select = 0;
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        AtaDevice *d = c->bus.drives[i];

        if (d) {
            d->ops->reset_end(d);
        }
    }
}

static void coroutine_fn ide_channel_finish(IdeChannel *c)
{
    Device *dev = c->bus.bus.parent;

    for (unsigned i = 0; i < IDE_UNITS; i++) {
        AtaDevice *d = c->bus.drives[i];

        if (d && c->resetting) {
            d->ops->quiesce(d);
        } else if (d && c->stopping) {
            d->ops->wait(d);
        }
    }
    device_lock(dev);
    if (c->stopping) {
        ide_dma_stop(c);
    }
    if (c->resetting && !(c->s->control & CONTROL_SRST)) {
        ide_reset_end(c);
    }
    c->resetting = c->stopping = false;
    device_unlock(dev);
}

static void coroutine_fn ide_deferred(Device *dev)
{
    for (unsigned i = 0; i < CHANNELS; i++) {
        ide_channel_finish(&piix_ide(dev)->channel[i]);
    }
}

static bool ide_channel_busy(const IdeChannel *c)
{
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        const AtaDevice *d = c->bus.drives[i];

        if (d && d->ops->busy(d)) {
            return true;
        }
    }
    return false;
}

static IoResult ide_defer(IdeChannel *c, bool *what)
{
    *what = true;
    device_defer(c->bus.bus.parent, ide_deferred);
    return IO_DEFER;
}

/* The command block. */

/* Both drives obey (6.13), and drive 0 answers for both. */
static void ide_diagnostic(IdeChannel *c)
{
    AtaDevice *d;

    if (c->bus.drives[0] && !ata_device_occupied(c->bus.drives[0])) {
        c->s->select &= ~ATA_DEVICE_DEV;
    }
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        d = c->bus.drives[i];
        if (d && d != ide_selected(c) && !ata_device_occupied(d)) {
            d->ops->set_signature(d);
        }
    }
    d = ide_selected(c);
    d->ops->command(d, ATA_COMMAND_DIAGNOSTIC);
}

static void ide_write_byte(IdeChannel *c, unsigned reg, uint8_t value)
{
    AtaDevice *d = ide_selected(c);

    /*
     * The command in progress has the registers, of which a DEVICE RESET takes them. While SRST is
     * set the drives are in their reset.
     */
    if (reg == ATA_REG_DATA || c->s->control & CONTROL_SRST ||
        (d && ata_device_occupied(d) &&
         !(reg == ATA_REG_STATUS && value == ATA_COMMAND_DEVICE_RESET))) {
        return;
    }
    c->s->control &= ~CONTROL_HOB;
    if (reg == ATA_REG_STATUS && d) {
        if (value == ATA_COMMAND_DIAGNOSTIC) {
            ide_diagnostic(c);
        } else {
            d->ops->command(d, value);
        }
        return;
    }
    for (unsigned i = 0; i < IDE_UNITS && reg != ATA_REG_STATUS; i++) {
        AtaDevice *each = c->bus.drives[i];

        if (each) {
            each->ops->write(each, reg, value);
        }
    }
    if (reg == ATA_REG_DEVICE) {
        c->s->select = value;
        ide_update_irq(c);
    }
}

static IoResult ide_command_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    IdeChannel *c = container_of(region, IdeChannel, command);
    AtaDevice *d = ide_selected(c);

    if (offset == ATA_REG_DATA && size > 1) {
        if (d) {
            d->ops->write_data(d, value, size);
        }
        return IO_OK;
    }
    for (unsigned i = 0; i < size && offset + i <= ATA_REG_STATUS; i++) {
        ide_write_byte(c, offset + i, value >> (8 * i));
    }
    return IO_OK;
}

/* For a drive 1 that is not there drive 0 answers, with a status of 0 (9.16.1). */
static uint8_t ide_read_byte(IdeChannel *c, unsigned reg)
{
    AtaDevice *d = ide_selected(c);

    if (d) {
        return reg == ATA_REG_DATA ? 0 : d->ops->read(d, reg, c->s->control & CONTROL_HOB);
    }
    d = c->bus.drives[0];
    if (!d || reg == ATA_REG_STATUS || reg == ATA_REG_DATA) {
        return 0;
    }
    return reg == ATA_REG_DEVICE ? c->s->select | 0xa0
                                 : d->ops->read(d, reg, c->s->control & CONTROL_HOB);
}

static uint64_t ide_command_read(IoRegion *region, uint64_t offset, unsigned size)
{
    IdeChannel *c = container_of(region, IdeChannel, command);
    AtaDevice *d = ide_selected(c);
    uint64_t value = 0;

    if (offset == ATA_REG_DATA && size > 1) {
        return d ? d->ops->read_data(d, size) : 0;
    }
    for (unsigned i = 0; i < size && offset + i <= ATA_REG_STATUS; i++) {
        value |= (uint64_t)ide_read_byte(c, offset + i) << (8 * i);
    }
    return value;
}

static const IoRegionOps ide_command_ops = {
    .read = ide_command_read,
    .write = ide_command_write,
    .valid_min = 1,
    .valid_max = 4,
    .unaligned = true,
};

/* The control block: alternate status and device control. */

static uint64_t ide_control_read(IoRegion *region, uint64_t offset, unsigned size)
{
    const AtaDevice *d = ide_selected(container_of(region, IdeChannel, control));

    return d ? d->ops->alternate_status(d) : 0;
}

static IoResult ide_control_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    IdeChannel *c = container_of(region, IdeChannel, control);
    uint8_t old = c->s->control;

    c->s->control = value;
    if (value & ~old & CONTROL_SRST) {
        for (unsigned i = 0; i < IDE_UNITS; i++) {
            AtaDevice *d = c->bus.drives[i];

            if (d) {
                d->ops->reset_begin(d);
            }
        }
        if (ide_channel_busy(c)) {
            return ide_defer(c, &c->resetting);
        }
    } else if (old & ~value & CONTROL_SRST) {
        if (ide_channel_busy(c)) { /* by a state that was loaded */
            return ide_defer(c, &c->resetting);
        }
        ide_reset_end(c);
    }
    ide_update_irq(c);
    return IO_OK;
}

static const IoRegionOps ide_control_ops = {
    .read = ide_control_read,
    .write = ide_control_write,
    .valid_min = 1,
    .valid_max = 1,
};

/* The bus master's registers, byte by byte. */

static void ide_dma_start(IdeChannel *c)
{
    AtaDevice *d = ide_selected(c);

    c->s->bm_command |= BM_START;
    c->s->bm_status |= BM_ACTIVE;
    c->s->position = (IdePosition){.next = c->s->bm_table};
    if (d) {
        d->ops->kick(d);
    }
}

static IoResult ide_bm_command(IdeChannel *c, uint8_t value)
{
    bool start = value & BM_START;

    c->s->bm_command = (c->s->bm_command & BM_START) | (value & BM_TO_MEMORY);
    if (start && !(c->s->bm_command & BM_START)) {
        ide_dma_start(c);
    } else if (!start && c->s->bm_command & BM_START) {
        if (ide_channel_busy(c)) {
            return ide_defer(c, &c->stopping);
        }
        ide_dma_stop(c);
    }
    return IO_OK;
}

static IoResult ide_bm_write_byte(IdeChannel *c, unsigned reg, uint8_t value)
{
    switch (reg) {
    case BM_COMMAND:
        return ide_bm_command(c, value);
    case BM_STATUS:
        c->s->bm_status &= ~(value & (BM_ERROR | BM_INTERRUPT));
        c->s->bm_status = (c->s->bm_status & ~BM_CAPABLE) | (value & BM_CAPABLE);
        return IO_OK;
    case BM_TABLE ... BM_TABLE + 3: {
        unsigned shift = 8 * (reg - BM_TABLE);

        c->s->bm_table = (c->s->bm_table & ~(0xffu << shift)) | (uint32_t)value << shift;
        c->s->bm_table &= ~3u;
        return IO_OK;
    }
    default:
        return IO_OK;
    }
}

static IoResult ide_bm_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    PiixIde *p = container_of(region, PiixIde, bar);
    IoResult result = IO_OK;

    for (unsigned i = 0; i < size; i++) {
        IdeChannel *c = &p->channel[(offset + i) / BM_SIZE];

        if (ide_bm_write_byte(c, (offset + i) % BM_SIZE, value >> (8 * i)) == IO_DEFER) {
            result = IO_DEFER;
        }
    }
    return result;
}

static uint8_t ide_bm_read_byte(const IdeChannel *c, unsigned reg)
{
    switch (reg) {
    case BM_COMMAND:
        return c->s->bm_command;
    case BM_STATUS:
        return c->s->bm_status;
    case BM_TABLE ... BM_TABLE + 3:
        return c->s->bm_table >> (8 * (reg - BM_TABLE));
    default:
        return 0;
    }
}

static uint64_t ide_bm_read(IoRegion *region, uint64_t offset, unsigned size)
{
    PiixIde *p = container_of(region, PiixIde, bar);
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        IdeChannel *c = &p->channel[(offset + i) / BM_SIZE];

        value |= (uint64_t)ide_bm_read_byte(c, (offset + i) % BM_SIZE) << (8 * i);
    }
    return value;
}

static const IoRegionOps ide_bm_ops = {
    .read = ide_bm_read,
    .write = ide_bm_write,
    .valid_min = 1,
    .valid_max = 4,
};

/* The device. */

/* Drives that wait for DMA go on when the function becomes a bus master. */
static void piix_ide_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    PiixIde *p = container_of(pci, PiixIde, pci);

    for (unsigned i = 0; offset <= PCI_COMMAND && offset + len > PCI_COMMAND && i < CHANNELS; i++) {
        AtaDevice *d = ide_selected(&p->channel[i]);

        if (d) {
            d->ops->kick(d);
        }
    }
}

static bool piix_ide_realize(Device *dev, GError **err)
{
    static const struct {
        const char *command, *control;
        uint16_t command_port, control_port;
        uint8_t irq;
    } places[CHANNELS] = {{"ide0", "ide0-control", 0x1f0, 0x3f6, 14},
                          {"ide1", "ide1-control", 0x170, 0x376, 15}};
    PiixIde *p = piix_ide(dev);

    stle16(p->pci.s.config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    memset(p->pci.wmask + PIIX_IDETIM, 0xff, 5);
    io_region_init(&p->bar, dev, &ide_bm_ops, "piix3-bmdma", CHANNELS * BM_SIZE);
    pci_register_bar(&p->pci, 4, PCI_BAR_IO, &p->bar);
    for (unsigned i = 0; i < CHANNELS; i++) {
        IdeChannel *c = &p->channel[i];

        c->s = &p->s.channel[i];
        ide_bus_init(&c->bus, dev->vm, dev, i, &ide_transport);
        isa_connect_irq(dev, &c->irq, places[i].irq);
        io_region_init(&c->command, dev, &ide_command_ops, places[i].command, 8);
        io_region_init(&c->control, dev, &ide_control_ops, places[i].control, 1);
        isa_map_ports(dev, &c->command, places[i].command_port);
        isa_map_ports(dev, &c->control, places[i].control_port);
    }
    return true;
}

static void piix_ide_unrealize(Device *dev)
{
    PiixIde *p = piix_ide(dev);

    for (unsigned i = 0; i < CHANNELS; i++) {
        IdeChannel *c = &p->channel[i];

        io_region_unmap(dev->vm, &c->command);
        io_region_unmap(dev->vm, &c->control);
        irq_connect(dev, &c->irq, NULL);
        bus_destroy(&c->bus.bus);
    }
}

static void piix_ide_reset(Device *dev, ResetKind kind)
{
    PiixIde *p = piix_ide(dev);

    pci_device_reset(&p->pci);
    memset(p->pci.s.config + PIIX_IDETIM, 0, 5);
    for (unsigned i = 0; i < CHANNELS; i++) {
        *p->channel[i].s = (IdeChannelState){0};
        ide_update_irq(&p->channel[i]);
    }
}

static void piix_ide_post_load(Device *dev)
{
    PiixIde *p = piix_ide(dev);

    pci_device_post_load(dev);
    for (unsigned i = 0; i < CHANNELS; i++) {
        IdeChannel *c = &p->channel[i];
        uint8_t status = c->s->bm_status;

        ide_update_irq(c);
        c->s->bm_status = status;
    }
}

static const StateSection piix_ide_state[] = {
    PCI_STATE(PiixIde, pci),
    {piix_ide_state_desc, offsetof(PiixIde, s)},
    {0},
};

static const PciDeviceInfo piix_ide_info = {
    .vendor_id = PCI_VENDOR_ID_INTEL,
    .device_id = 0x7010,
    .class_id = PCI_CLASS_STORAGE_IDE,
    .prog_if = 0x80, /* bus master; both channels at the ports of old */
    .config_written = piix_ide_config_written,
};

const DeviceClass piix_ide_class = {
    .name = "piix3-ide",
    .bus = "PCI",
    .desc = "IDE controller",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(PiixIde),
    .bus_props = pci_device_props,
    .bus_data = &piix_ide_info,
    .state = piix_ide_state,
    .realize = piix_ide_realize,
    .unrealize = piix_ide_unrealize,
    .reset = piix_ide_reset,
    .check_state = pci_device_check_state,
    .post_load = piix_ide_post_load,
    .internal = true,
    .object_parent = "pci-device",
};
