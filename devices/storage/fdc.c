/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-fdc: the 82077AA floppy controller, in AT mode: registers, FIFO, transfers, requests to the
 * disk, and state. What the commands mean is in fdc_command.c. (Intel 82077AA data sheet, 290166.
 * Sections below are this data sheet's.)
 *
 * The time that heads and disks need is none. What the data sheet leaves open is as in QEMU 7.2.
 */
#include "fdc.h"

#include <errno.h>
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
    ID_SIZE = 4, /* of a sector's ID, as FORMAT TRACK takes it */
    MULTI_TRACK = 0x80,
    SKIP = 0x20,
};

static Fdc *fdc(Device *dev)
{
    return container_of(dev, Fdc, dev);
}

static Fdc *fdc_of(const FloppyDrive *d)
{
    return fdc(d->dev.bus->parent);
}

FloppyDrive *fdc_drive(const Fdc *f, unsigned unit)
{
    return unit < FDC_DRIVES ? f->bus.drives[unit] : NULL;
}

/* The drive of the command in progress. */
static unsigned fdc_unit(const Fdc *f)
{
    return f->s.command[1] & 3;
}

static bool fdc_pio(const Fdc *f)
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

static void fdc_set_phase(Fdc *f, FdcPhase phase)
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

/* Sectors. */

void fdc_move_heads(Fdc *f, unsigned unit, uint8_t track)
{
    FloppyDrive *d = fdc_drive(f, unit);

    if (f->s.track[unit] != track && d && d->format) {
        d->s.changed = false;
    }
    f->s.track[unit] = track;
}

bool fdc_readable(const Fdc *f, const FloppyDrive *d)
{
    return d && d->format && d->format->rate == f->s.rate;
}

void fdc_forget_reset(Fdc *f)
{
    if (f->s.sense_of_reset) {
        f->s.sense = 0;
        f->s.sense_of_reset = false;
    }
}

void fdc_end(Fdc *f, uint8_t st0, uint8_t st1, uint8_t st2)
{
    FdcState *s = &f->s;

    s->st0 |= st0;
    s->result[0] = (s->st0 & ~FDC_ST0_HEAD) | (s->head & 1 ? FDC_ST0_HEAD : 0);
    s->result[1] = s->st1 | st1;
    s->result[2] = s->st2 | st2;
    s->result[3] = s->cyl;
    s->result[4] = s->head;
    s->result[5] = s->sector;
    s->result[6] = s->size_code;
    fdc_result(f, 7);
    fdc_forget_reset(f);
    fdc_set_interrupt(f, true);
}

static void fdc_fail(Fdc *f, uint8_t st1, uint8_t st2)
{
    fdc_end(f, FDC_ST0_ABNORMAL, st1, st2);
}

/* Whether the sector that the command is at can be found. Else the command has ended. */
static bool fdc_find_sector(Fdc *f)
{
    const FdcState *s = &f->s;
    const FloppyDrive *d = fdc_drive(f, fdc_unit(f));

    if (!fdc_readable(f, d)) {
        fdc_fail(f, FDC_ST1_NO_ADDRESS, 0);
    } else if (s->cyl != s->track[fdc_unit(f)]) {
        fdc_fail(f, FDC_ST1_NO_DATA, FDC_ST2_WRONG_CYL);
    } else if (s->cyl >= d->format->cyls || s->head >= d->format->heads || !s->sector ||
               s->sector > d->format->secs || s->size_code != FDC_SIZE_CODE) {
        fdc_fail(f, FDC_ST1_NO_DATA, 0);
    } else {
        return true;
    }
    return false;
}

/* The sector's place in the image, in bytes. fdc_find_sector() has found it. */
static uint64_t fdc_offset(const Fdc *f)
{
    const FloppyFormat *m = fdc_drive(f, fdc_unit(f))->format;

    return (((uint64_t)f->s.cyl * m->heads + f->s.head) * m->secs + f->s.sector - 1) * FDC_SECTOR;
}

/*
 * Goes to the next sector as the result phase tells it (table 6-2), which is also where the command
 * goes on. True: behind the last one that the command may reach.
 */
static bool fdc_next_sector(Fdc *f, unsigned step)
{
    FdcState *s = &f->s;

    if (s->sector > s->eot || s->sector + step <= s->eot) {
        s->sector += step;
        return false;
    }
    s->sector = 1;
    if (!fdc_command(f)->track && s->command[0] & MULTI_TRACK) {
        s->head ^= 1;
        if (s->head & 1) {
            return false;
        }
    }
    s->cyl++;
    return true;
}

/* Transfers: each sector goes through 'buffer', which the disk and the host fill and empty. */

static void fdc_move(Fdc *f);

static FdcKind fdc_kind(const Fdc *f)
{
    return fdc_command(f)->kind;
}

static bool fdc_to_host(const Fdc *f)
{
    return fdc_kind(f) == FDC_KIND_READ;
}

static void fdc_begin_host(Fdc *f)
{
    f->s.position = 0;
    f->s.buffer_len = fdc_kind(f) == FDC_KIND_FORMAT ? ID_SIZE : FDC_SECTOR;
    fdc_set_phase(f, FDC_PHASE_HOST);
    if (fdc_pio(f)) {
        fdc_set_interrupt(f, true);
    } else {
        fdc_move(f);
    }
}

/* The next sector's work begins. */
static void fdc_begin_sector(Fdc *f)
{
    FdcKind kind = fdc_kind(f);

    if (kind == FDC_KIND_FORMAT) {
        fdc_begin_host(f); /* which says what sector it is */
    } else if (!fdc_find_sector(f)) {
        return;
    } else if (kind == FDC_KIND_WRITE) {
        fdc_begin_host(f);
    } else {
        fdc_set_phase(f, FDC_PHASE_DISK);
    }
}

void fdc_begin(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;
    FloppyDrive *d = fdc_drive(f, fdc_unit(f));

    s->terminal = false;
    if (!fdc_readable(f, d)) {
        fdc_fail(f, FDC_ST1_NO_ADDRESS, 0);
        return;
    }
    if ((c->kind == FDC_KIND_WRITE || c->kind == FDC_KIND_FORMAT) &&
        block_backend_read_only(d->conf.blk)) {
        fdc_fail(f, FDC_ST1_NOT_WRITABLE, 0);
        return;
    }
    if (c->kind != FDC_KIND_FORMAT && s->config & FDC_CONFIG_EIS &&
        s->cyl != s->track[fdc_unit(f)]) {
        fdc_move_heads(f, fdc_unit(f), s->cyl);
        s->st0 |= FDC_ST0_SEEK_END;
    }
    fdc_begin_sector(f);
}

/* A sector has been moved, where 'end' is behind the last one. What counts as the end, and how. */
static void fdc_after_sector(Fdc *f, bool end)
{
    FdcState *s = &f->s;
    const FdcCommand *c = fdc_command(f);

    if (c->kind == FDC_KIND_VERIFY && s->left && !--s->left) {
        fdc_end(f, 0, 0, 0);
    } else if (s->terminal) {
        fdc_end(f, 0, 0, 0);
    } else if (!end) {
        fdc_begin_sector(f);
    } else if (c->kind == FDC_KIND_VERIFY ? s->left != 0 : !c->track && !fdc_pio(f)) {
        fdc_fail(f, FDC_ST1_END_OF_CYL, 0); /* more was wanted */
    } else {
        fdc_end(f, 0, 0, 0); /* without DMA nobody can say so, as the PC wires TC */
    }
}

static void fdc_sector_done(Fdc *f)
{
    const FdcCommand *c = fdc_command(f);
    bool end = fdc_next_sector(f, 1);

    /* No sector of an image has a deleted mark: READ DELETED DATA ends with the first one. */
    if (c->deleted && c->kind == FDC_KIND_READ) {
        fdc_end(f, 0, 0, FDC_ST2_CONTROL_MARK);
    } else {
        fdc_after_sector(f, end);
    }
}

/* SCAN: a byte of the host's beside the disk's. Ones are equal to everything (6.1.13). */
static void fdc_scan_byte(Fdc *f, uint8_t byte)
{
    FdcState *s = &f->s;
    uint8_t disk = s->buffer[s->position], code = s->command[0] & 0x1f;
    bool equal = disk == byte || disk == 0xff || byte == 0xff;

    if (!equal) {
        s->st2 &= ~FDC_ST2_SCAN_HIT;
        if (code == 0x11 || (code == 0x19) != (disk < byte)) {
            s->st2 |= FDC_ST2_SCAN_FAILED;
        }
    }
}

static void fdc_scan_done(Fdc *f)
{
    FdcState *s = &f->s;
    unsigned step = s->command[8] == 2 ? 2 : 1;
    bool end = fdc_next_sector(f, step);

    if (!(s->st2 & FDC_ST2_SCAN_FAILED) || end || s->terminal) {
        fdc_end(f, 0, 0, 0);
    } else {
        fdc_begin_sector(f);
    }
}

/* FORMAT TRACK: the host has said what ID the next sector is to have. */
static void fdc_format_sector(Fdc *f)
{
    FdcState *s = &f->s;

    s->cyl = s->buffer[0];
    s->head = s->buffer[1];
    s->sector = s->buffer[2];
    s->size_code = s->buffer[3];
    if (fdc_find_sector(f)) {
        memset(s->buffer, s->command[5], FDC_SECTOR);
        fdc_set_phase(f, FDC_PHASE_DISK);
    }
}

/* The host has moved what it had to, or has said that there is no more. */
static void fdc_host_done(Fdc *f)
{
    FdcState *s = &f->s;

    switch (fdc_kind(f)) {
    case FDC_KIND_READ:
        fdc_sector_done(f);
        break;
    case FDC_KIND_WRITE:
        memset(s->buffer + s->position, 0, FDC_SECTOR - s->position);
        fdc_set_phase(f, FDC_PHASE_DISK);
        break;
    case FDC_KIND_SCAN:
        fdc_scan_done(f);
        break;
    case FDC_KIND_FORMAT:
        if (s->position < ID_SIZE) {
            fdc_end(f, 0, 0, 0);
        } else {
            fdc_format_sector(f);
        }
        break;
    default:
        fdc_fail(f, FDC_ST1_OVERRUN, 0); /* check_state() lets no state like this in */
        break;
    }
}

static IsaDmaResult fdc_scan_by_dma(Fdc *f)
{
    uint8_t bytes[FDC_SECTOR];
    IsaDmaResult r = isa_dma_from_memory(&f->dev, f->dma, bytes, f->s.buffer_len - f->s.position);

    for (uint32_t i = 0; i < r.moved; i++) {
        fdc_scan_byte(f, bytes[i]);
        f->s.position++;
    }
    return r;
}

/* By DMA. Where the channel is not ready, isa_dma tells when it is. */
static void fdc_move(Fdc *f)
{
    FdcState *s = &f->s;
    uint8_t *data = s->buffer + s->position;
    uint32_t len = s->buffer_len - s->position;
    IsaDmaResult r;

    if (fdc_kind(f) == FDC_KIND_SCAN) {
        r = fdc_scan_by_dma(f);
    } else {
        r = fdc_to_host(f) ? isa_dma_to_memory(&f->dev, f->dma, data, len)
                           : isa_dma_from_memory(&f->dev, f->dma, data, len);
        s->position += r.moved;
    }
    s->terminal |= r.terminal;
    if (r.wrong_way) {
        fdc_fail(f, FDC_ST1_OVERRUN, 0);
    } else if (s->position == s->buffer_len || r.terminal) {
        fdc_host_done(f);
    }
}

static void fdc_dma_ready(Device *dev)
{
    Fdc *f = fdc(dev);

    if (f->s.phase == FDC_PHASE_HOST && !fdc_pio(f)) {
        fdc_move(f);
    }
}

/* Requests to the disk. */

/* A request of the command has ended well, or was none: what follows. */
static void fdc_advance(Fdc *f)
{
    FdcState *s = &f->s;

    switch (fdc_kind(f)) {
    case FDC_KIND_SCAN:
        s->st2 = (s->st2 & ~FDC_ST2_SCAN_FAILED) | FDC_ST2_SCAN_HIT;
        fdc_begin_host(f);
        break;
    case FDC_KIND_READ:
        fdc_begin_host(f);
        break;
    case FDC_KIND_FORMAT:
        s->left -= s->left > 0;
        if (!s->left || s->terminal) {
            fdc_end(f, 0, 0, 0);
        } else {
            fdc_begin_sector(f);
        }
        break;
    default:
        fdc_sector_done(f);
        break;
    }
}

static void fdc_disk_error(Fdc *f, int error)
{
    switch (error) {
    case ENOMEDIUM:
        fdc_fail(f, FDC_ST1_NO_ADDRESS, 0);
        break;
    case EPERM:
        fdc_fail(f, FDC_ST1_NOT_WRITABLE, 0);
        break;
    default:
        fdc_fail(f, FDC_ST1_DATA, FDC_ST2_DATA);
        break;
    }
}

static void fdc_done(BlockRequest *io, int ret)
{
    FloppyDrive *d = container_of(io, FloppyDrive, io);
    Fdc *f = fdc_of(d);

    device_lock(&f->dev);
    floppy_set_flag(&d->in_flight, false);
    /* After a reset nobody wants the result. */
    if (f->s.phase == FDC_PHASE_DISK && ret != -ECANCELED) {
        if (ret == 0) {
            fdc_advance(f);
        } else {
            fdc_disk_error(f, -ret);
        }
    }
    device_unlock(&f->dev);
    wait_list_wake_all(&d->idle);
}

enum { DESCRIBED_WORDS = 3 };

static void fdc_describe(const Fdc *f, uint32_t words[DESCRIBED_WORDS])
{
    const FdcState *s = &f->s;

    words[0] = s->phase | s->command[0] << 8 | s->command[1] << 16;
    words[1] = s->cyl | s->head << 8 | s->sector << 16;
    words[2] = s->left;
}

/*
 * Makes the request that the state describes. An image may be shorter than its format: what it
 * lacks reads as zeroes, and is not found by writes, which would be lost.
 */
static void fdc_submit(Fdc *f)
{
    FloppyDrive *d = fdc_drive(f, fdc_unit(f));
    bool write = fdc_kind(f) == FDC_KIND_WRITE || fdc_kind(f) == FDC_KIND_FORMAT;
    uint64_t offset, length;

    if (!fdc_find_sector(f)) {
        return;
    }
    offset = fdc_offset(f);
    length = MAX(block_backend_length(d->conf.blk), 0);
    length = offset < length ? MIN(length - offset, FDC_SECTOR) : 0;
    if (write && length < FDC_SECTOR) {
        fdc_fail(f, FDC_ST1_NO_DATA, 0);
        return;
    }
    if (!write) {
        memset(f->s.buffer, 0, FDC_SECTOR);
    }
    if (!length) {
        fdc_advance(f);
        return;
    }
    d->iov = (struct iovec){f->s.buffer, length};
    d->io.op = write ? BLOCK_OP_WRITE : BLOCK_OP_READ;
    d->io.flags = 0;
    d->io.offset = offset;
    d->io.bytes = length;
    d->io.iov = &d->iov;
    d->io.niov = 1;
    d->io.queue = 0;
    d->io.done = fdc_done;
    fdc_describe(f, d->words);
    floppy_set_flag(&d->in_flight, true);
    block_backend_submit(d->conf.blk, &d->io);
}

static bool fdc_drive_busy(const FloppyDrive *d)
{
    return d && (floppy_flag(&d->in_flight) || floppy_flag(&d->parked));
}

static bool fdc_busy(const Fdc *f)
{
    return fdc_drive_busy(f->bus.drives[0]) || fdc_drive_busy(f->bus.drives[1]);
}

/* Main loop: what the state describes goes on, if it may. */
static void fdc_run(Device *dev)
{
    Fdc *f = fdc(dev);

    for (unsigned i = 0; f->running && i < FDC_DRIVES; i++) {
        if (f->bus.drives[i] && !floppy_flag(&f->bus.drives[i]->in_flight)) {
            block_backend_unpark(f->bus.drives[i]->conf.blk, 0);
        }
    }
    if (!f->running || fdc_busy(f)) {
        return;
    }
    if (f->s.phase == FDC_PHASE_DISK) {
        fdc_submit(f);
    } else {
        fdc_dma_ready(dev);
    }
}

/* Parking. */

static size_t fdc_park(void *data, BlockRequest *req, uint32_t *words, size_t max)
{
    FloppyDrive *d = data;

    if (max < DESCRIBED_WORDS) {
        return 0;
    }
    memcpy(words, d->words, DESCRIBED_WORDS * sizeof *words);
    floppy_set_flag(&d->parked, true);
    floppy_set_flag(&d->in_flight, false);
    wait_list_wake_all(&d->idle);
    return DESCRIBED_WORDS;
}

/* Called by fdc_run(), with the lock. */
static bool fdc_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n)
{
    FloppyDrive *d = data;
    Fdc *f = fdc_of(d);
    uint32_t own[DESCRIBED_WORDS];

    floppy_set_flag(&d->parked, false);
    fdc_describe(f, own);
    if (f->s.phase != FDC_PHASE_DISK || fdc_drive(f, fdc_unit(f)) != d) {
        return false;
    }
    if (n != DESCRIBED_WORDS || memcmp(words, own, sizeof own)) {
        fdc_fail(f, FDC_ST1_DATA, FDC_ST2_DATA);
        return false;
    }
    fdc_submit(f);
    return true;
}

/* Main loop, drained. */
static bool fdc_medium_changed(void *data, bool loaded, GError **err)
{
    FloppyDrive *d = data;

    device_lock(&d->dev);
    floppy_look_at_medium(d);
    d->s.changed = true;
    device_unlock(&d->dev);
    return true;
}

const BlockDeviceOps fdc_block_ops = {
    .park = fdc_park,
    .rebuild = fdc_rebuild,
    .parked_max = FDC_PARKED_WORDS,
    .medium_changed = fdc_medium_changed,
};

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

/* LOCK guards the FIFO's settings, and not the polling of drives (5.2.8). */
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

/* The controller finds that all four drives are 'ready' now, and tells (4.1, 'polling'). */
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
          s->buffer_len != (kind == FDC_KIND_FORMAT ? ID_SIZE : FDC_SECTOR) ||
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
