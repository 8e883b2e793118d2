/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller's transfers: sectors, which go through a buffer between the disk and the
 * host, and the requests to the disk.
 */
#include "fdc.h"

#include <errno.h>
#include "base/util.h"

enum {
    MULTI_TRACK = 0x80, /* in the first byte of a command */
};

static Fdc *fdc_of(const FloppyDrive *d)
{
    return container_of(d->dev.bus->parent, Fdc, dev);
}

/* The drive of the command in progress. */
static unsigned fdc_unit(const Fdc *f)
{
    return f->s.command[1] & 3;
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
 * Goes to the next sector as the result phase tells it (data sheet, table 5-6), which is also where
 * the command goes on. True: behind the last one that the command may reach.
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

FdcKind fdc_kind(const Fdc *f)
{
    return fdc_command(f)->kind;
}

bool fdc_to_host(const Fdc *f)
{
    return fdc_kind(f) == FDC_KIND_READ;
}

static void fdc_begin_host(Fdc *f)
{
    f->s.position = 0;
    f->s.buffer_len = fdc_kind(f) == FDC_KIND_FORMAT ? FDC_ID_SIZE : FDC_SECTOR;
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

void fdc_scan_byte(Fdc *f, uint8_t byte)
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

void fdc_host_done(Fdc *f)
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
        if (s->position < FDC_ID_SIZE) {
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

void fdc_dma_ready(Device *dev)
{
    Fdc *f = container_of(dev, Fdc, dev);

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

bool fdc_busy(const Fdc *f)
{
    return fdc_drive_busy(f->bus.drives[0]) || fdc_drive_busy(f->bus.drives[1]);
}

void fdc_run(Device *dev)
{
    Fdc *f = container_of(dev, Fdc, dev);

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
