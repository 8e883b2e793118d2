/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ATA disk: registers, phases, requests to the disk, and state. What the commands mean is in
 * ata_command.c.
 */
#include "ata_internal.h"

#include <errno.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "vm/memory.h"

STATE_DESC_PUBLIC(ata, AtaState, ATA_STATE, 1);

enum { TRIM_ENTRY = 8, READY = ATA_STATUS_DRDY | ATA_STATUS_DSC };

static bool ata_in_flight(const AtaDrive *d)
{
    return __atomic_load_n(&d->in_flight, __ATOMIC_SEQ_CST);
}

static void ata_set_in_flight(AtaDrive *d, bool on)
{
    __atomic_store_n(&d->in_flight, on, __ATOMIC_SEQ_CST);
}

void ata_set_intrq(AtaDrive *d, bool level)
{
    d->s.intrq = level;
    d->ata.transport->interrupt(&d->ata);
}

void ata_kick(AtaDrive *d)
{
    if (d->s.phase == ATA_PHASE_DISK ||
        (d->s.phase == ATA_PHASE_DMA && d->ata.transport->dma_ready(&d->ata))) {
        device_bh_schedule(d->bh);
    }
}

/* Phases. */

static void ata_set_phase(AtaDrive *d, AtaPhase phase, uint8_t status)
{
    d->s.phase = phase;
    d->s.status = status;
}

void ata_begin_disk(AtaDrive *d)
{
    ata_set_phase(d, ATA_PHASE_DISK, ATA_STATUS_BSY);
    ata_kick(d);
}

void ata_begin_dma(AtaDrive *d)
{
    ata_set_phase(d, ATA_PHASE_DMA, READY | ATA_STATUS_DRQ);
    ata_kick(d);
}

void ata_begin_pio_in(AtaDrive *d, uint32_t len)
{
    d->s.position = 0;
    d->s.buffer_len = len;
    ata_set_phase(d, ATA_PHASE_PIO_IN, READY | ATA_STATUS_DRQ);
    ata_set_intrq(d, true);
}

void ata_begin_pio_out(AtaDrive *d)
{
    d->s.position = 0;
    d->s.buffer_len = MIN(d->s.left, ata_block_sectors(d)) * ATA_SECTOR;
    ata_set_phase(d, ATA_PHASE_PIO_OUT, READY | ATA_STATUS_DRQ);
}

void ata_end(AtaDrive *d)
{
    ata_set_phase(d, ATA_PHASE_IDLE, READY);
    ata_set_intrq(d, true);
}

void ata_refuse(AtaDrive *d, uint8_t error)
{
    d->s.error = error;
    ata_set_phase(d, ATA_PHASE_IDLE, READY | ATA_STATUS_ERR);
    ata_set_intrq(d, true);
}

void ata_abort(AtaDrive *d)
{
    ata_refuse(d, ATA_ERROR_ABRT);
}

static void ata_fail(AtaDrive *d, uint8_t error)
{
    ata_set_address(d, d->s.lba);
    ata_refuse(d, error);
}

/* Registers. */

static uint8_t *ata_pair(AtaState *s, unsigned reg)
{
    switch (reg) {
    case ATA_REG_ERROR:
        return s->features;
    case ATA_REG_COUNT:
        return s->count;
    case ATA_REG_LBA_LOW:
        return s->lba_low;
    case ATA_REG_LBA_MID:
        return s->lba_mid;
    case ATA_REG_LBA_HIGH:
        return s->lba_high;
    default:
        return NULL;
    }
}

static uint8_t ata_alternate_status(const AtaDevice *ata)
{
    const AtaDrive *d = ata_drive(ata);

    return d->s.status;
}

static uint8_t ata_read(AtaDevice *ata, unsigned reg, bool hob)
{
    AtaDrive *d = ata_drive(ata);
    uint8_t *pair = ata_pair(&d->s, reg);

    switch (reg) {
    case ATA_REG_ERROR:
        return d->s.error;
    case ATA_REG_DEVICE:
        return d->s.device;
    case ATA_REG_STATUS:
        ata_set_intrq(d, false);
        return d->s.status;
    default:
        return pair ? pair[hob] : 0;
    }
}

static void ata_write(AtaDevice *ata, unsigned reg, uint8_t value)
{
    AtaDrive *d = ata_drive(ata);
    uint8_t *pair = ata_pair(&d->s, reg);

    if (ata_device_occupied(ata)) {
        return; /* the command in progress has them */
    }
    if (pair) {
        pair[1] = pair[0];
        pair[0] = value;
    } else if (reg == ATA_REG_DEVICE) {
        d->s.device = value | 0xa0;
    }
}

/* The data register. */

static void ata_block_over(AtaDrive *d)
{
    AtaState *s = &d->s;

    if (s->phase == ATA_PHASE_PIO_OUT || s->left) {
        ata_begin_disk(d);
    } else {
        ata_set_phase(d, ATA_PHASE_IDLE, READY); /* no interrupt follows the last block (9.5) */
    }
}

static bool ata_data_phase(const AtaDrive *d, AtaPhase phase)
{
    return d->s.phase == phase && d->s.position < d->s.buffer_len;
}

static uint32_t ata_read_data(AtaDevice *ata, unsigned size)
{
    AtaDrive *d = ata_drive(ata);
    uint32_t value = 0;

    for (unsigned i = 0; i < size && ata_data_phase(d, ATA_PHASE_PIO_IN); i += 2) {
        value |= (uint32_t)ldle16(d->s.buffer + d->s.position) << (8 * i);
        d->s.position += 2;
        if (d->s.position == d->s.buffer_len) {
            ata_block_over(d);
        } else if (d->s.position % (ata_block_sectors(d) * ATA_SECTOR) == 0) {
            ata_set_intrq(d, true); /* the next block is there already */
        }
    }
    return value;
}

static void ata_write_data(AtaDevice *ata, uint32_t value, unsigned size)
{
    AtaDrive *d = ata_drive(ata);

    for (unsigned i = 0; i < size && ata_data_phase(d, ATA_PHASE_PIO_OUT); i += 2) {
        stle16(d->s.buffer + d->s.position, value >> (8 * i));
        d->s.position += 2;
        if (d->s.position == d->s.buffer_len) {
            ata_block_over(d);
        }
    }
}

/* Requests to the disk. */

static AtaKind ata_kind(const AtaDrive *d)
{
    const AtaCommand *c = ata_find_command(d->s.command);

    return c ? c->kind : ATA_KIND_NONE;
}

/* A request of the command has ended well: what follows. */
static void ata_advance(AtaDrive *d)
{
    AtaState *s = &d->s;
    AtaKind kind = ata_kind(d);
    uint32_t sectors = d->io.bytes / ATA_SECTOR;

    if (kind == ATA_KIND_FLUSH) {
        ata_flushed(d);
        ata_end(d);
        return;
    }
    if (kind == ATA_KIND_TRIM) {
        s->position += TRIM_ENTRY;
        ata_kick(d);
        return;
    }
    s->lba += sectors;
    s->left -= MIN(sectors, s->left);
    if (s->phase == ATA_PHASE_DISK && kind == ATA_KIND_READ) {
        ata_begin_pio_in(d, d->io.bytes);
    } else if (!s->left) {
        ata_end(d);
    } else if (s->phase == ATA_PHASE_DISK && kind == ATA_KIND_WRITE) {
        ata_begin_pio_out(d);
        ata_set_intrq(d, true);
    } else {
        ata_kick(d);
    }
}

static uint8_t ata_error_of(const AtaDrive *d, int error)
{
    AtaKind kind = ata_kind(d);

    return error != ENOMEDIUM && (kind == ATA_KIND_READ || kind == ATA_KIND_VERIFY)
               ? ATA_ERROR_UNC
               : ATA_ERROR_ABRT;
}

/* Gives up the guest memory of the request. */
static void ata_unmap(AtaDrive *d, uint32_t moved)
{
    if (d->io_mapped) {
        d->io_mapped = false;
        d->ata.transport->dma_unmap(&d->ata, d->io.op == BLOCK_OP_READ, moved);
    }
}

/* The sectors before a bad one are the guest's: a read that went further is made block by block. */
static bool ata_read_again(AtaDrive *d)
{
    if (d->s.phase != ATA_PHASE_DISK || ata_kind(d) != ATA_KIND_READ ||
        d->io.bytes <= ata_block_sectors(d) * ATA_SECTOR) {
        return false;
    }
    d->careful = true;
    return true;
}

static void ata_done(BlockRequest *io, int ret)
{
    AtaDrive *d = container_of(io, AtaDrive, io);

    device_lock(d->ata.dev);
    ata_unmap(d, ret == 0 ? io->bytes : 0);
    ata_set_in_flight(d, false);
    /* After a reset nobody wants the result. What has begun since then has waited for its end. */
    if (ret == -ECANCELED) {
        ata_kick(d);
    } else if (d->s.phase != ATA_PHASE_IDLE) {
        if (ret == 0) {
            ata_advance(d);
        } else if (ata_read_again(d)) {
            ata_kick(d);
        } else {
            ata_fail(d, ata_error_of(d, -ret));
        }
    }
    device_unlock(d->ata.dev);
    wait_list_wake_all(&d->idle);
}

/*
 * The state describes the request, as it changes only when a request has ended well. The words for
 * parking say which state that was.
 */

enum { DESCRIBED_WORDS = 6 };

static void ata_describe(const AtaState *s, uint32_t words[DESCRIBED_WORDS])
{
    words[0] = s->command;
    words[1] = s->phase;
    words[2] = s->lba;
    words[3] = s->lba >> 32;
    words[4] = s->left;
    words[5] = s->position;
}

static void ata_submit(AtaDrive *d, BlockOp op, uint64_t lba, uint32_t sectors)
{
    d->io.op = op;
    d->io.flags = 0;
    d->io.offset = lba * ATA_SECTOR;
    d->io.bytes = (uint64_t)sectors * ATA_SECTOR;
    d->io.iov = d->ata.iov;
    d->io.niov = d->ata.niov;
    d->io.queue = 0;
    d->io.done = ata_done;
    ata_describe(&d->s, d->words);
    ata_set_in_flight(d, true);
    block_backend_submit(d->blk, &d->io);
}

/* From or to the buffer. */
static void ata_submit_buffer(AtaDrive *d, BlockOp op, uint32_t sectors)
{
    d->ata.iov[0] = (struct iovec){d->s.buffer, (size_t)sectors * ATA_SECTOR};
    d->ata.niov = 1;
    ata_submit(d, op, d->s.lba, sectors);
}

/* The next range of the list in the buffer. Ranges of no sectors fill the list up (6.21). */
static void ata_submit_trim(AtaDrive *d)
{
    AtaState *s = &d->s;

    while (s->position < s->buffer_len) {
        uint64_t entry = ldle64(s->buffer + s->position), lba = entry & (BIT64(48) - 1);
        uint32_t sectors = entry >> 48;

        if (sectors && (lba >= ata_sectors(d) || sectors > ata_sectors(d) - lba)) {
            s->lba = lba;
            ata_fail(d, ATA_ERROR_ABRT);
            return;
        }
        if (sectors) {
            s->lba = lba;
            d->ata.niov = 0;
            ata_submit(d, BLOCK_OP_DISCARD, lba, sectors);
            return;
        }
        s->position += TRIM_ENTRY;
    }
    if (s->left) {
        ata_begin_dma(d);
    } else {
        ata_end(d);
    }
}

/* As many sectors as the buffer has room for are read at once, whatever the guest's blocks are. */
static uint32_t ata_read_ahead(const AtaDrive *d)
{
    return MIN(d->s.left, d->careful ? ata_block_sectors(d) : ATA_MULTIPLE_MAX);
}

static void ata_submit_disk(AtaDrive *d)
{
    uint32_t sectors = ata_read_ahead(d);

    switch (ata_kind(d)) {
    case ATA_KIND_READ:
    case ATA_KIND_VERIFY:
        ata_submit_buffer(d, BLOCK_OP_READ, sectors);
        break;
    case ATA_KIND_WRITE:
        ata_submit_buffer(d, BLOCK_OP_WRITE, d->s.buffer_len / ATA_SECTOR);
        break;
    case ATA_KIND_FLUSH:
        d->ata.niov = 0;
        ata_submit(d, BLOCK_OP_FLUSH, 0, 0);
        break;
    case ATA_KIND_TRIM:
        ata_submit_trim(d);
        break;
    case ATA_KIND_NONE:
        ata_abort(d); /* check_state() lets no state like this in */
        break;
    }
}

static void ata_submit_dma(AtaDrive *d)
{
    AtaState *s = &d->s;
    bool trim = ata_kind(d) == ATA_KIND_TRIM, to_guest = ata_kind(d) == ATA_KIND_READ;
    uint32_t wanted = MIN(s->left, trim ? ATA_MULTIPLE_MAX : 0x10000u) * ATA_SECTOR, got;

    got = d->ata.transport->dma_ready(&d->ata)
              ? d->ata.transport->dma_map(&d->ata, wanted, ATA_SECTOR, to_guest)
              : 0;
    if (!got) {
        return;
    }
    if (!trim) {
        d->io_mapped = true;
        ata_submit(d, to_guest ? BLOCK_OP_READ : BLOCK_OP_WRITE, s->lba, got / ATA_SECTOR);
        return;
    }
    iov_to_buf(d->ata.iov, d->ata.niov, 0, s->buffer, got);
    d->ata.transport->dma_unmap(&d->ata, false, got);
    s->position = 0;
    s->buffer_len = got;
    s->left -= got / ATA_SECTOR;
    ata_begin_disk(d);
}

static void ata_begin_request(AtaDrive *d)
{
    if (d->s.phase == ATA_PHASE_DISK) {
        ata_submit_disk(d);
    } else if (d->s.phase == ATA_PHASE_DMA) {
        ata_submit_dma(d);
    }
}

void ata_run(AtaDrive *d)
{
    if (!d->running || ata_in_flight(d)) {
        return;
    }
    block_backend_unpark(d->blk, 0);
    if (!ata_in_flight(d) && !block_backend_parked(d->blk)) {
        ata_begin_request(d);
    }
}

/* Parking. */

static size_t ata_park(void *data, BlockRequest *req, uint32_t *words, size_t max)
{
    AtaDrive *d = data;

    if (max < DESCRIBED_WORDS) {
        return 0;
    }
    memcpy(words, d->words, DESCRIBED_WORDS * sizeof *words);
    ata_unmap(d, 0);
    ata_set_in_flight(d, false);
    wait_list_wake_all(&d->idle);
    return DESCRIBED_WORDS;
}

/* Called by ata_run(), with the device's lock. */
static bool ata_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n)
{
    AtaDrive *d = data;
    uint32_t own[DESCRIBED_WORDS];

    ata_describe(&d->s, own);
    if (n != DESCRIBED_WORDS || memcmp(words, own, sizeof own) ||
        (d->s.phase != ATA_PHASE_DISK && d->s.phase != ATA_PHASE_DMA)) {
        ata_abort(d);
        return false;
    }
    ata_begin_request(d);
    return true;
}

const BlockDeviceOps ata_block_ops = {
    .park = ata_park,
    .rebuild = ata_rebuild,
    .parked_max = ATA_PARKED_WORDS,
};

/* Resets and waits. */

static bool ata_busy(const AtaDevice *ata)
{
    const AtaDrive *d = ata_drive(ata);

    return ata_in_flight(d) || block_backend_parked(d->blk);
}

void coroutine_fn ata_wait(AtaDrive *d)
{
    wait_list_until(&d->idle, !ata_in_flight(d));
}

static void coroutine_fn ata_quiesce(AtaDevice *ata)
{
    AtaDrive *d = ata_drive(ata);

    block_backend_take_back(d->blk, 0);
    ata_wait(d);
}

void ata_set_signature(AtaDevice *ata)
{
    AtaDrive *d = ata_drive(ata);
    AtaState *s = &d->s;

    s->error = 1; /* 9.1: passed */
    s->count[0] = s->lba_low[0] = 1;
    s->lba_mid[0] = s->lba_high[0] = 0;
    s->count[1] = s->lba_low[1] = s->lba_mid[1] = s->lba_high[1] = 0;
    s->device = 0xa0;
    ata_set_phase(d, ATA_PHASE_IDLE, READY);
}

static void ata_reset_begin(AtaDevice *ata)
{
    AtaDrive *d = ata_drive(ata);

    ata_set_phase(d, ATA_PHASE_IDLE, ATA_STATUS_BSY);
    ata_set_intrq(d, false);
}

static void ata_reset_end(AtaDevice *ata)
{
    AtaDrive *d = ata_drive(ata);
    AtaState *s = &d->s;

    s->command = 0;
    s->left = s->position = s->buffer_len = 0;
    s->power = ATA_POWER_ACTIVE;
    ata_set_signature(ata);
    ata_set_intrq(d, false);
}

void ata_power_on(AtaDrive *d)
{
    block_backend_take_back(d->blk, 0);
    d->s = (AtaState){
        .cyls = d->identity.cyls,
        .heads = d->identity.heads,
        .secs = d->identity.secs,
        .multiple = ATA_MULTIPLE_MAX,
        .transfer_mode = ATA_MODE_DEFAULT,
        .write_cache = d->original_write_cache,
        .smart = true,
    };
    block_backend_set_write_cache(d->blk, d->s.write_cache);
    ata_reset_end(&d->ata);
}

/* State and life. */

void ata_run_state(AtaDrive *d, bool running)
{
    d->running = running;
    if (running) {
        ata_kick(d);
    }
}

void ata_pre_save(AtaDrive *d)
{
    d->s.parked_words = block_backend_save_parked(d->blk, d->s.parked, ATA_PARKED_WORDS);
}

static bool ata_check_phase(const AtaState *s)
{
    const AtaCommand *c = ata_find_command(s->command);
    AtaKind kind = c ? c->kind : ATA_KIND_NONE;

    switch (s->phase) {
    case ATA_PHASE_IDLE:
        return true;
    case ATA_PHASE_PIO_IN:
        return s->buffer_len && (!s->left || (kind == ATA_KIND_READ && !c->dma));
    case ATA_PHASE_PIO_OUT:
        return kind == ATA_KIND_WRITE && !c->dma && s->buffer_len &&
               s->left >= s->buffer_len / ATA_SECTOR;
    case ATA_PHASE_DISK:
        return kind == ATA_KIND_FLUSH || kind == ATA_KIND_TRIM ||
               (kind != ATA_KIND_NONE && !c->dma && s->left &&
                (kind != ATA_KIND_WRITE ||
                 (s->buffer_len && s->left >= s->buffer_len / ATA_SECTOR)));
    case ATA_PHASE_DMA:
        return kind != ATA_KIND_NONE && c->dma && s->left;
    default:
        return false;
    }
}

bool ata_check_state(const AtaState *s, GError **err)
{
    if (!ata_check_phase(s) || s->power >= ATA_POWER_COUNT) {
        return error_set(err, "ATA command 0x%02x is not in phase %u", s->command, s->phase);
    }
    if (s->buffer_len > ATA_BUFFER_SIZE || s->buffer_len % ATA_SECTOR ||
        s->position > s->buffer_len || s->position % 2 ||
        (s->phase == ATA_PHASE_DISK && s->position % TRIM_ENTRY)) {
        return error_set(err, "position %u of %u is not in the ATA buffer", s->position,
                         s->buffer_len);
    }
    if (s->left > 0x10000 || s->lba >= BIT64(48) || !s->heads || s->heads > 16 || !s->secs ||
        s->multiple > ATA_MULTIPLE_MAX || (s->multiple && !is_power_of_2(s->multiple))) {
        return error_set(err, "ATA geometry, block or number of sectors out of range");
    }
    return true;
}

void ata_post_load(AtaDrive *d)
{
    AtaState *s = &d->s;

    block_backend_set_write_cache(d->blk, s->write_cache);
    if (!block_backend_load_parked(d->blk, s->parked, s->parked_words, 1)) {
        ata_abort(d);
    }
}

static bool ata_intrq(const AtaDevice *ata)
{
    return ata_drive(ata)->s.intrq;
}

static void ata_device_kick(AtaDevice *ata)
{
    ata_kick(ata_drive(ata));
}

static void coroutine_fn ata_device_wait(AtaDevice *ata)
{
    ata_wait(ata_drive(ata));
}

static const AtaDeviceOps ata_device_ops = {
    .read = ata_read,
    .write = ata_write,
    .alternate_status = ata_alternate_status,
    .intrq = ata_intrq,
    .command = ata_command,
    .read_data = ata_read_data,
    .write_data = ata_write_data,
    .reset_begin = ata_reset_begin,
    .reset_end = ata_reset_end,
    .set_signature = ata_set_signature,
    .busy = ata_busy,
    .quiesce = ata_quiesce,
    .wait = ata_device_wait,
    .kick = ata_device_kick,
};

void ata_init(AtaDrive *d, Device *dev, DeviceFn run, unsigned unit, const AtaTransport *transport)
{
    d->ata.ops = &ata_device_ops;
    d->ata.dev = dev;
    d->ata.unit = unit;
    d->ata.transport = transport;
    d->bh = device_bh_new(dev, run);
    wait_list_init(&d->idle);
}

void ata_destroy(AtaDrive *d)
{
    wait_list_destroy(&d->idle);
}
