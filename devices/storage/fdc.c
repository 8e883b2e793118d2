/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-fdc: the 82077AA floppy controller, in AT mode: registers, FIFO, resets and state. What the
 * commands mean is in fdc_command.c, how they move data in fdc_transfer.c. (Intel 82077AA data
 * sheet, 290166. Sections below are this data sheet's.)
 *
 * The time that heads and disks need is none. What the data sheet leaves open is as in QEMU 7.2.
 */
#include "fdc.h"

#include "base/error.h"
#include "base/log.h"
#include "devices/storage.h"

STATE_DESC(fdc, FdcState, FDC_STATE, 1);

enum {
    REG_SRB = 1, /* ports, from iobase */
    REG_DOR,
    REG_TDR,
    REG_MSR, /* written: DSR */
    REG_FIFO,
    REG_DIR = 7, /* written: CCR */

    DOR_DRIVE = 0x03,
    TDR_WRITABLE = 0x03,
    MSR_RQM = 0x80,
    MSR_DIO = 0x40,
    MSR_NON_DMA = 0x20,
    MSR_BUSY = 0x10,
    DSR_RESET = 0x80,
    RATE = 0x03,
    DIR_CHANGED = 0x80,
};

static Fdc *fdc(Device *dev)
{
    return container_of(dev, Fdc, dev);
}

FloppyDrive *fdc_drive(const Fdc *f, unsigned unit)
{
    return unit < FDC_DRIVES ? f->bus.drives[unit] : NULL;
}

bool fdc_pio(const Fdc *f)
{
    return f->s.hlt_nd & FDC_ND || !(f->s.dor & FDC_DOR_GATE);
}

/* Interrupt and DMA request. */

static void fdc_update_irq(Fdc *f)
{
    irq_set(f->dev.vm, &f->irq_line, f->s.interrupt && f->s.dor & FDC_DOR_GATE);
}

void fdc_set_interrupt(Fdc *f, bool level)
{
    f->s.interrupt = level;
    fdc_update_irq(f);
}

void fdc_forget_reset(Fdc *f)
{
    if (f->s.sense_of_reset) {
        f->s.sense = 0;
        f->s.sense_of_reset = false;
    }
}

void fdc_set_phase(Fdc *f, FdcPhase phase)
{
    f->s.phase = phase;
    isa_dma_set_request(&f->dev, f->dma, phase == FDC_PHASE_HOST && !fdc_pio(f));
    if (phase == FDC_PHASE_DISK) {
        device_bh_schedule(f->bh);
    }
}

void fdc_no_result(Fdc *f)
{
    f->s.command_len = 0;
    fdc_set_phase(f, FDC_PHASE_COMMAND);
}

void fdc_result(Fdc *f, unsigned len)
{
    f->s.result_len = len;
    f->s.result_position = 0;
    fdc_set_phase(f, FDC_PHASE_RESULT);
}

/* Resets by software: of a request that is under way the guest's next command knows nothing. */

static void coroutine_fn fdc_give_up(Device *dev)
{
    Fdc *f = fdc(dev);

    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        FloppyDrive *d = f->bus.drives[i];

        if (d) {
            block_backend_take_back(d->conf.blk, 0);
            floppy_wait(d);
            floppy_set_flag(&d->parked, false);
        }
    }
}

/* LOCK guards the FIFO's settings, and not the polling of drives (5.2.12). */
static IoResult fdc_reset_begin(Fdc *f)
{
    FdcState *s = &f->s;

    fdc_no_result(f);
    s->config &= ~FDC_CONFIG_NO_POLL;
    if (!s->lock) {
        s->config = (s->config & FDC_CONFIG_EIS) | FDC_CONFIG_EFIFO;
        s->pretrk = 0;
    }
    s->perpendicular &= 0x3c;
    memset(s->track, 0, sizeof s->track);
    s->sense = 0;
    fdc_set_interrupt(f, false);
    if (!fdc_busy(f)) {
        return IO_OK;
    }
    device_defer(&f->dev, fdc_give_up);
    return IO_DEFER;
}

/* The controller finds that all four drives are 'ready' now, and tells (7.4). */
static void fdc_reset_end(Fdc *f)
{
    FdcState *s = &f->s;

    for (unsigned i = 0; i < 4; i++) {
        s->sense_st0[i] = FDC_ST0_READY_CHANGED | i;
    }
    s->sense = 0x0f;
    s->sense_of_reset = true;
    fdc_set_interrupt(f, true);
}

/* Registers. */

static IoResult fdc_write_dor(Fdc *f, uint8_t value)
{
    uint8_t old = f->s.dor;
    IoResult result = IO_OK;

    f->s.dor = value;
    if (!(value & FDC_DOR_NRESET)) {
        if (old & FDC_DOR_NRESET) {
            result = fdc_reset_begin(f);
        }
    } else if (!(old & FDC_DOR_NRESET)) {
        fdc_reset_end(f);
    } else if ((old ^ value) & FDC_DOR_GATE && f->s.phase == FDC_PHASE_HOST) {
        fdc_set_phase(f, FDC_PHASE_HOST);
        fdc_dma_ready(&f->dev);
    }
    fdc_update_irq(f);
    return result;
}

static IoResult fdc_write_dsr(Fdc *f, uint8_t value)
{
    IoResult result = IO_OK;

    f->s.rate = value & RATE;
    if (value & DSR_RESET && f->s.dor & FDC_DOR_NRESET) {
        result = fdc_reset_begin(f);
        fdc_reset_end(f);
    }
    return result;
}

static uint8_t fdc_status(const Fdc *f)
{
    const FdcState *s = &f->s;
    uint8_t non_dma = fdc_pio(f) ? MSR_NON_DMA : 0;

    if (!(s->dor & FDC_DOR_NRESET)) {
        return 0;
    }
    switch (s->phase) {
    case FDC_PHASE_COMMAND:
        return MSR_RQM | (s->command_len ? MSR_BUSY : 0);
    case FDC_PHASE_DISK:
        return MSR_BUSY | non_dma;
    case FDC_PHASE_HOST:
        return MSR_BUSY | (non_dma ? non_dma | MSR_RQM | (fdc_to_host(f) ? MSR_DIO : 0) : 0);
    default:
        return MSR_RQM | MSR_DIO | MSR_BUSY;
    }
}

/* The FIFO. */

static bool fdc_fifo_moves_data(const Fdc *f)
{
    return f->s.phase == FDC_PHASE_HOST && fdc_pio(f) && f->s.position < f->s.buffer_len;
}

static void fdc_fifo_moved(Fdc *f)
{
    fdc_set_interrupt(f, false);
    if (f->s.position == f->s.buffer_len) {
        fdc_host_done(f);
    }
}

static uint8_t fdc_read_fifo(Fdc *f)
{
    FdcState *s = &f->s;
    uint8_t value = 0;

    if (!(s->dor & FDC_DOR_NRESET)) {
        return 0;
    }
    if (fdc_fifo_moves_data(f) && fdc_to_host(f)) {
        value = s->buffer[s->position++];
        fdc_fifo_moved(f);
    } else if (s->phase == FDC_PHASE_RESULT) {
        fdc_set_interrupt(f, false);
        value = s->result[s->result_position++];
        if (s->result_position == s->result_len) {
            fdc_no_result(f);
            fdc_set_interrupt(f, s->sense && !s->sense_of_reset); /* of a seek */
        }
    }
    return value;
}

static void fdc_write_fifo(Fdc *f, uint8_t value)
{
    FdcState *s = &f->s;

    if (!(s->dor & FDC_DOR_NRESET)) {
        return;
    }
    if (fdc_fifo_moves_data(f) && !fdc_to_host(f)) {
        if (fdc_kind(f) == FDC_KIND_SCAN) {
            fdc_scan_byte(f, value);
        } else {
            s->buffer[s->position] = value;
        }
        s->position++;
        fdc_fifo_moved(f);
    } else if (s->phase == FDC_PHASE_COMMAND) {
        s->command[s->command_len++] = value;
        if (fdc_command_complete(f)) {
            fdc_command(f)->run(f, fdc_command(f));
        }
    } else {
        log_guest_error("isa-fdc: 0x%02x is written to the FIFO in phase %u", value, s->phase);
    }
}

static uint64_t fdc_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Fdc *f = fdc(region->owner);
    const FdcState *s = &f->s;
    const FloppyDrive *d = fdc_drive(f, s->dor & DOR_DRIVE);

    switch (offset + region->index) {
    case REG_SRB:
        return 0xc0 | (s->dor & 1) << 5 | (s->dor >> 4 & 3); /* drive 0, motors */
    case REG_DOR:
        return s->dor;
    case REG_TDR:
        return s->tdr;
    case REG_MSR:
        return fdc_status(f);
    case REG_FIFO:
        return fdc_read_fifo(f);
    default:
        return d && d->s.changed ? DIR_CHANGED : 0;
    }
}

static IoResult fdc_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Fdc *f = fdc(region->owner);

    switch (offset + region->index) {
    case REG_DOR:
        return fdc_write_dor(f, value);
    case REG_TDR:
        f->s.tdr = value & TDR_WRITABLE;
        break;
    case REG_MSR:
        return fdc_write_dsr(f, value);
    case REG_FIFO:
        fdc_write_fifo(f, value);
        break;
    case REG_DIR:
        f->s.rate = value & RATE;
        break;
    }
    return IO_OK;
}

static const IoRegionOps fdc_ops = {
    .read = fdc_read,
    .write = fdc_write,
    .valid_min = 1,
    .valid_max = 1,
};

/* Life. */

static bool fdc_realize(Device *dev, GError **err)
{
    Fdc *f = fdc(dev);

    if (f->iobase > 0xfff8 || f->irq > 15) {
        return error_set(err, "isa-fdc: iobase=0x%x, irq=%u: no such port or interrupt", f->iobase,
                         f->irq);
    }
    if (f->bus.fallback == FLOPPY_AUTO) {
        return error_set(err, "Cannot choose a fallback FDrive type of 'auto'");
    }
    if (!isa_dma_claim(dev, f->dma, fdc_dma_ready, err)) {
        g_prefix_error(err, "isa-fdc: ");
        return false;
    }
    f->bh = device_bh_new(dev, fdc_run);
    isa_connect_irq(dev, &f->irq_line, f->irq);
    io_region_init(&f->io, dev, &fdc_ops, "fdc", 5);
    io_region_init(&f->dir_io, dev, &fdc_ops, "fdc", 1);
    f->io.index = REG_SRB;
    f->dir_io.index = REG_DIR;
    isa_map_ports(dev, &f->io, f->iobase + REG_SRB);
    isa_map_ports(dev, &f->dir_io, f->iobase + REG_DIR);
    fdc_bus_init(&f->bus, dev->vm, dev);
    return true;
}

static void fdc_unrealize(Device *dev)
{
    Fdc *f = fdc(dev);

    bus_destroy(&f->bus.bus);
    io_region_unmap(dev->vm, &f->io);
    io_region_unmap(dev->vm, &f->dir_io);
    irq_connect(dev, &f->irq_line, NULL);
    isa_dma_release(dev, f->dma);
}

/* The drives have given up their requests. */
static void fdc_reset(Device *dev, ResetKind kind)
{
    Fdc *f = fdc(dev);

    f->s = (FdcState){
        .dor = FDC_DOR_NRESET | FDC_DOR_GATE,
        .rate = FDC_RATE_250K,
        .config = FDC_CONFIG_EIS | FDC_CONFIG_EFIFO,
    };
    fdc_no_result(f);
    fdc_update_irq(f);
}

static bool fdc_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    Fdc probe = {.s = *(const FdcState *)state};
    const FdcState *s = &probe.s;
    FdcKind kind;

    if (s->phase >= FDC_PHASE_COUNT || s->command_len > FDC_FIFO_SIZE || s->sense > 0x0f ||
        s->result_len > FDC_FIFO_SIZE || s->rate > RATE) {
        return error_set(err, "floppy controller: a register is out of range");
    }
    kind = s->command_len ? fdc_kind(&probe) : FDC_KIND_NONE;
    if (s->phase == FDC_PHASE_COMMAND ? s->command_len && fdc_command_complete(&probe)
                                      : !s->command_len || !fdc_command_complete(&probe)) {
        return error_set(err, "floppy controller: %u bytes of a command in phase %u",
                         s->command_len, s->phase);
    }
    if (s->phase == FDC_PHASE_RESULT && s->result_position >= s->result_len) {
        return error_set(err, "floppy controller: the result has ended");
    }
    if ((s->phase == FDC_PHASE_DISK && kind == FDC_KIND_NONE) ||
        (s->phase == FDC_PHASE_HOST &&
         (kind == FDC_KIND_NONE || kind == FDC_KIND_VERIFY ||
          s->buffer_len != (kind == FDC_KIND_FORMAT ? FDC_ID_SIZE : FDC_SECTOR) ||
          s->position >= s->buffer_len))) {
        return error_set(err, "floppy controller: command 0x%02x is not in phase %u at %u of %u",
                         s->command[0], s->phase, s->position, s->buffer_len);
    }
    return true;
}

static void fdc_post_load(Device *dev)
{
    fdc_update_irq(fdc(dev));
}

static void fdc_run_state(Device *dev, bool running)
{
    Fdc *f = fdc(dev);

    f->running = running;
    if (running) {
        device_bh_schedule(f->bh);
    }
}

static void coroutine_fn fdc_drain(Device *dev)
{
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        FloppyDrive *d = fdc(dev)->bus.drives[i];

        if (d) {
            floppy_wait(d);
        }
    }
}

#define F(n, t, f, d, h) PROP(n, t, Fdc, f, d, h)
#define T(n, f, d, h)    PROP_E(n, Fdc, f, d, floppy_type_names, h)
static const Property fdc_props[] = {
    F("iobase", PROP_UINT32, iobase, "1008", "first of eight ports"),
    F("irq", PROP_UINT32, irq, "6", "ISA interrupt"),
    F("dma", PROP_UINT32, dma, "2", "ISA DMA channel"),
    T("fdtypeA", bus.default_type[0], "auto", "type of drive A: where that does not say"),
    T("fdtypeB", bus.default_type[1], "auto", "type of drive B: where that does not say"),
    T("fallback", bus.fallback, "288", "type of an empty drive that is to go by its medium"),
    F("bootindexA", PROP_INT32, bootindex[0], "-1", "place of drive A: in the boot order"),
    F("bootindexB", PROP_INT32, bootindex[1], "-1", "place of drive B: in the boot order"),
    PROP_END,
};

static const StateSection fdc_sections[] = {
    {fdc_state_desc, offsetof(Fdc, s)},
    {0},
};

static const IsaDeviceInfo fdc_info = {.fw_name = "fdc", .iobase_offset = offsetof(Fdc, iobase)};

const DeviceClass isa_fdc_class = {
    .name = "isa-fdc",
    .bus = "ISA",
    .desc = "virtual floppy controller",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(Fdc),
    .props = fdc_props,
    .state = fdc_sections,
    .bus_data = &fdc_info,
    .realize = fdc_realize,
    .unrealize = fdc_unrealize,
    .reset = fdc_reset,
    .check_state = fdc_check_state,
    .post_load = fdc_post_load,
    .run_state = fdc_run_state,
    .drain = fdc_drain,
    .object_parent = "isa-device",
};

bool floppy_bootindex(const Device *dev, unsigned unit, int32_t *index)
{
    if (dev->class != &isa_fdc_class || unit >= FDC_DRIVES) {
        return false;
    }
    *index = container_of(dev, Fdc, dev)->bootindex[unit];
    return true;
}
