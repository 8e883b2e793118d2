/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "atapi.h"

#include "base/error.h"
#include "base/util.h"

STATE_DESC_PUBLIC(atapi, AtapiState, ATAPI_STATE, 1);

enum {
    READY = ATA_STATUS_DRDY | ATA_STATUS_DSC,
    FEATURE_DMA = 0x01,
    FEATURE_OVERLAP = 0x02,
    /* The interrupt reason: 'command or data', and 'to the host'. */
    REASON_PACKET = 0x01,
    REASON_OUT = 0x00,
    REASON_IN = 0x02,
    REASON_END = 0x03,
    ATAPI_COMMAND_PACKET = 0xa0,
    ATAPI_COMMAND_IDENTIFY = 0xa1,
};

static AtapiDrive *atapi_drive(const AtaDevice *ata)
{
    return container_of(ata, AtapiDrive, ata);
}

static void atapi_set_intrq(AtapiDrive *d, bool level)
{
    d->s.intrq = level;
    d->ata.transport->interrupt(&d->ata);
}

static void atapi_set_phase(AtapiDrive *d, AtapiPhase phase, uint8_t status)
{
    d->s.phase = phase;
    d->s.status = status;
}

static void atapi_kick(AtaDevice *ata)
{
    AtapiDrive *d = atapi_drive(ata);

    if (d->s.phase == ATAPI_PHASE_DISK || d->s.phase == ATAPI_PHASE_RESETTING ||
        (d->s.phase == ATAPI_PHASE_DMA && ata->transport->dma_ready(ata))) {
        device_bh_schedule(d->bh);
    }
}

static void atapi_end(AtapiDrive *d)
{
    atapi_set_phase(d, ATAPI_PHASE_IDLE, READY);
    atapi_set_intrq(d, true);
}

static void atapi_abort(AtapiDrive *d)
{
    scsi_abort(&d->request);
    d->s.error = ATA_ERROR_ABRT;
    atapi_set_phase(d, ATAPI_PHASE_IDLE, READY | ATA_STATUS_ERR);
    atapi_set_intrq(d, true);
}

/* The packet's command is done (8.23.9). */
static void atapi_packet_end(AtapiDrive *d)
{
    const ScsiRequestState *r = &d->request.s;

    d->s.reason = REASON_END;
    if (r->status == SCSI_GOOD) {
        atapi_end(d);
    } else {
        d->s.error = r->sense.key << 4;
        atapi_set_phase(d, ATAPI_PHASE_IDLE, READY | ATA_STATUS_ERR);
        atapi_set_intrq(d, true);
    }
}

/* Data by PIO: the buffer goes in blocks of at most 'limit' bytes. */

static void atapi_begin_block(AtapiDrive *d, AtapiPhase phase)
{
    AtapiState *s = &d->s;
    uint32_t len = MIN(s->buffer_len - s->position, s->limit);

    s->block_end = s->position + len;
    s->count_low = len;
    s->count_high = len >> 8;
    s->reason = phase == ATAPI_PHASE_PIO_IN ? REASON_IN : REASON_OUT;
    atapi_set_phase(d, phase, READY | ATA_STATUS_DRQ);
    atapi_set_intrq(d, true);
}

static void atapi_begin_buffer(AtapiDrive *d, AtapiPhase phase, uint32_t len)
{
    d->s.position = 0;
    d->s.buffer_len = len;
    atapi_begin_block(d, phase);
}

/* Bytes of the request that the next step moves by the buffer. */
static uint32_t atapi_buffer_step(const AtapiDrive *d)
{
    const ScsiRequestState *r = &d->request.s;
    uint64_t left = r->length - r->position;
    uint32_t most = MIN(scsi_step_bytes(&d->request), ATAPI_BUFFER_SIZE);

    return most >= left ? left : ROUND_DOWN(most, r->granule);
}

static void atapi_wait_for_medium(AtapiDrive *d)
{
    atapi_set_phase(d, ATAPI_PHASE_DISK, ATA_STATUS_BSY);
    atapi_kick(&d->ata);
}

/* Data that the drive has is moved at once; true: it was. */
static bool atapi_move_buffered(AtapiDrive *d)
{
    struct iovec iov = {d->s.buffer, ATAPI_BUFFER_SIZE};
    uint32_t moved;

    if (!scsi_buffered(&d->request)) {
        return false;
    }
    scsi_move(&d->request, &iov, 1, ATAPI_BUFFER_SIZE, &moved);
    atapi_begin_buffer(d, ATAPI_PHASE_PIO_IN, moved);
    return true;
}

/* What the request needs next. */
static void atapi_continue(AtapiDrive *d)
{
    const ScsiRequestState *r = &d->request.s;

    if (r->phase == SCSI_PHASE_DONE) {
        atapi_packet_end(d);
    } else if (r->phase == SCSI_PHASE_WORK) {
        atapi_wait_for_medium(d);
    } else if (r->phase != SCSI_PHASE_DATA) {
        atapi_abort(d);
    } else if (d->s.dma) {
        d->s.reason = r->direction == SCSI_DATA_IN ? REASON_IN : REASON_OUT;
        atapi_set_phase(d, ATAPI_PHASE_DMA, READY | ATA_STATUS_DRQ);
        atapi_kick(&d->ata);
    } else if (!d->s.limit) {
        atapi_abort(d); /* the host takes no byte */
    } else if (r->direction == SCSI_DATA_OUT) {
        atapi_begin_buffer(d, ATAPI_PHASE_PIO_OUT, atapi_buffer_step(d));
    } else if (!atapi_move_buffered(d)) {
        atapi_wait_for_medium(d);
    }
}

static void atapi_block_over(AtapiDrive *d)
{
    AtapiState *s = &d->s;

    if (s->position < s->buffer_len) {
        atapi_begin_block(d, s->phase);
    } else if (s->phase == ATAPI_PHASE_PIO_OUT) {
        atapi_wait_for_medium(d);
    } else if (s->command == ATAPI_COMMAND_PACKET) {
        atapi_continue(d);
    } else {
        atapi_set_phase(d, ATAPI_PHASE_IDLE, READY); /* no interrupt follows (9.5) */
    }
}

/* The whole packet is there. A status of BSY until the command's first phase is not seen. */
static void atapi_begin_packet(AtapiDrive *d)
{
    AtapiState *s = &d->s;

    scsi_begin(&d->request, 0, s->buffer, ATAPI_PACKET_SIZE);
    s->position = s->block_end = s->buffer_len = 0;
    atapi_continue(d);
}

static bool atapi_data_phase(const AtapiDrive *d, bool in)
{
    const AtapiState *s = &d->s;

    return s->position < s->block_end &&
           (in ? s->phase == ATAPI_PHASE_PIO_IN
               : s->phase == ATAPI_PHASE_PIO_OUT || s->phase == ATAPI_PHASE_PACKET);
}

/* The last word of an odd block is filled up. */
static uint32_t atapi_read_data(AtaDevice *ata, unsigned size)
{
    AtapiDrive *d = atapi_drive(ata);
    AtapiState *s = &d->s;
    uint32_t value = 0;

    for (unsigned i = 0; i < size && atapi_data_phase(d, true); i += 2) {
        value |= (uint32_t)s->buffer[s->position++] << (8 * i);
        if (s->position < s->block_end) {
            value |= (uint32_t)s->buffer[s->position++] << (8 * i + 8);
        }
        if (s->position == s->block_end) {
            atapi_block_over(d);
            break; /* the next block has its own interrupt */
        }
    }
    return value;
}

static void atapi_write_data(AtaDevice *ata, uint32_t value, unsigned size)
{
    AtapiDrive *d = atapi_drive(ata);
    AtapiState *s = &d->s;

    for (unsigned i = 0; i < size && atapi_data_phase(d, false); i += 2) {
        s->buffer[s->position++] = value >> (8 * i);
        if (s->position < s->block_end) {
            s->buffer[s->position++] = value >> (8 * i + 8);
        }
        if (s->position == s->block_end) {
            if (s->phase == ATAPI_PHASE_PACKET) {
                atapi_begin_packet(d);
            } else {
                atapi_block_over(d);
            }
            break;
        }
    }
}

/* Steps on the medium. */

/* Returns true where the step has ended at once, and 'moved' bytes with it. */
static bool atapi_step_disk(AtapiDrive *d, uint32_t *moved)
{
    ScsiRequest *r = &d->request;
    uint32_t bytes;

    *moved = 0;
    if (r->s.phase == SCSI_PHASE_WORK) {
        return scsi_work(r);
    }
    if (r->s.phase != SCSI_PHASE_DATA) {
        return true;
    }
    bytes = atapi_buffer_step(d);
    d->ata.iov[0] = (struct iovec){d->s.buffer, bytes};
    d->ata.niov = 1;
    return scsi_move(r, d->ata.iov, 1, bytes, moved);
}

static bool atapi_step_dma(AtapiDrive *d, uint32_t *moved)
{
    ScsiRequest *r = &d->request;
    const AtaTransport *transport = d->ata.transport;
    bool to_guest = r->s.direction == SCSI_DATA_IN;
    uint32_t got;

    *moved = 0;
    if (r->s.phase != SCSI_PHASE_DATA) {
        return true;
    }
    got = transport->dma_ready(&d->ata)
              ? transport->dma_map(&d->ata, scsi_step_bytes(r), r->s.granule, to_guest)
              : 0;
    if (!got) {
        return false; /* the transport will kick */
    }
    d->mapped = true;
    d->to_guest = to_guest;
    return scsi_move(r, d->ata.iov, d->ata.niov, got, moved);
}

static void atapi_unmap(AtapiDrive *d, uint32_t moved)
{
    if (d->mapped) {
        d->mapped = false;
        d->ata.transport->dma_unmap(&d->ata, d->to_guest, moved);
    }
}

/* A step has ended. */
static void atapi_advance(AtapiDrive *d, uint32_t moved)
{
    atapi_unmap(d, moved);
    if (d->s.phase == ATAPI_PHASE_RESETTING) {
        atapi_kick(&d->ata);
    } else if (d->s.phase == ATAPI_PHASE_DISK && d->request.s.direction == SCSI_DATA_IN && moved) {
        atapi_begin_buffer(d, ATAPI_PHASE_PIO_IN, moved);
    } else if (d->s.phase == ATAPI_PHASE_DISK || d->s.phase == ATAPI_PHASE_DMA) {
        atapi_continue(d);
    }
}

static void atapi_progress(ScsiRequest *r, uint32_t moved)
{
    atapi_advance(container_of(r, AtapiDrive, request), moved);
}

static void atapi_begin_step(AtapiDrive *d)
{
    uint32_t moved;

    if (d->s.phase == ATAPI_PHASE_DISK ? atapi_step_disk(d, &moved) : atapi_step_dma(d, &moved)) {
        atapi_advance(d, moved);
    }
}

static void atapi_device_reset_end(AtapiDrive *d);

void atapi_run(AtapiDrive *d)
{
    if (d->s.phase == ATAPI_PHASE_RESETTING) {
        scsi_take_back(&d->unit);
        if (!d->request.in_flight) {
            atapi_device_reset_end(d);
        }
        return;
    }
    if (!d->running || d->request.in_flight) {
        return;
    }
    scsi_unpark(&d->unit);
    if (!scsi_busy(&d->unit) && (d->s.phase == ATAPI_PHASE_DISK || d->s.phase == ATAPI_PHASE_DMA)) {
        atapi_begin_step(d);
    }
}

static size_t atapi_park(ScsiRequest *r, uint32_t *words, size_t max)
{
    atapi_unmap(container_of(r, AtapiDrive, request), 0);
    return 0;
}

/* Called by atapi_run(), with the device's lock. */
static bool atapi_rebuild(ScsiUnit *u, const uint32_t *words, size_t n)
{
    AtapiDrive *d = container_of(u, AtapiDrive, unit);
    uint32_t own[SCSI_DESCRIBED_WORDS];

    scsi_describe(&d->request, own);
    if (n != SCSI_DESCRIBED_WORDS || memcmp(words, own, sizeof own) ||
        (d->s.phase != ATAPI_PHASE_DISK && d->s.phase != ATAPI_PHASE_DMA)) {
        atapi_abort(d);
        return false;
    }
    atapi_begin_step(d);
    return true;
}

static const ScsiTransport atapi_scsi_transport = {
    .progress = atapi_progress,
    .park = atapi_park,
    .rebuild = atapi_rebuild,
};

/* Registers. */

static uint8_t atapi_alternate_status(const AtaDevice *ata)
{
    return atapi_drive(ata)->s.status;
}

static bool atapi_intrq(const AtaDevice *ata)
{
    return atapi_drive(ata)->s.intrq;
}

static uint8_t *atapi_register(AtapiState *s, unsigned reg)
{
    switch (reg) {
    case ATA_REG_ERROR:
        return &s->features;
    case ATA_REG_COUNT:
        return &s->reason;
    case ATA_REG_LBA_LOW:
        return &s->lba_low;
    case ATA_REG_LBA_MID:
        return &s->count_low;
    case ATA_REG_LBA_HIGH:
        return &s->count_high;
    case ATA_REG_DEVICE:
        return &s->device;
    default:
        return NULL;
    }
}

static uint8_t atapi_read(AtaDevice *ata, unsigned reg, bool hob)
{
    AtapiDrive *d = atapi_drive(ata);
    const uint8_t *value = atapi_register(&d->s, reg);

    if (reg == ATA_REG_STATUS) {
        atapi_set_intrq(d, false);
        return d->s.status;
    }
    return reg == ATA_REG_ERROR ? d->s.error : value ? *value : 0;
}

static void atapi_write(AtaDevice *ata, unsigned reg, uint8_t value)
{
    AtapiDrive *d = atapi_drive(ata);
    uint8_t *place = atapi_register(&d->s, reg);

    if (place && !ata_device_occupied(ata)) {
        *place = value | (reg == ATA_REG_DEVICE ? 0xa0 : 0);
    }
}

/* Resets. */

static void atapi_set_signature(AtaDevice *ata)
{
    AtapiState *s = &atapi_drive(ata)->s;

    s->error = 1; /* 9.1: passed */
    s->reason = s->lba_low = 1;
    s->count_low = 0x14;
    s->count_high = 0xeb;
    s->device = 0xa0;
    s->phase = ATAPI_PHASE_IDLE;
    s->status = 0; /* not ready for commands of ATA (9.1, 9.2) */
}

static void atapi_forget(AtapiDrive *d)
{
    scsi_abort(&d->request);
    d->s.position = d->s.block_end = d->s.buffer_len = 0;
    atapi_set_intrq(d, false);
}

static void atapi_reset_begin(AtaDevice *ata)
{
    AtapiDrive *d = atapi_drive(ata);

    atapi_set_phase(d, ATAPI_PHASE_IDLE, ATA_STATUS_BSY);
    atapi_forget(d);
}

static void atapi_reset_end(AtaDevice *ata)
{
    AtapiDrive *d = atapi_drive(ata);

    d->s.command = 0;
    atapi_set_signature(ata);
    atapi_forget(d);
}

static bool atapi_busy(const AtaDevice *ata)
{
    return scsi_busy(&atapi_drive(ata)->unit);
}

static void coroutine_fn atapi_quiesce(AtaDevice *ata)
{
    scsi_quiesce(&atapi_drive(ata)->unit);
}

static void coroutine_fn atapi_wait(AtaDevice *ata)
{
    scsi_wait(&atapi_drive(ata)->unit);
}

/* DEVICE RESET (8.8) is obeyed whatever the drive does, and ends without an interrupt. */
static void atapi_device_reset(AtapiDrive *d)
{
    atapi_set_phase(d, ATAPI_PHASE_RESETTING, ATA_STATUS_BSY);
    atapi_forget(d);
    if (scsi_busy(&d->unit)) {
        atapi_kick(&d->ata);
    } else {
        atapi_device_reset_end(d);
    }
}

static void atapi_device_reset_end(AtapiDrive *d)
{
    uint8_t device = d->s.device;

    atapi_set_signature(&d->ata);
    d->s.device = device; /* which drive is selected stays */
}

/* Commands. */

static void atapi_packet(AtapiDrive *d)
{
    AtapiState *s = &d->s;

    if (s->features & FEATURE_OVERLAP) {
        atapi_abort(d);
        return;
    }
    s->dma = s->features & FEATURE_DMA;
    s->limit = (s->count_high << 8 | s->count_low) & ~1;
    s->position = 0;
    s->block_end = s->buffer_len = ATAPI_PACKET_SIZE;
    s->reason = REASON_PACKET;
    atapi_set_phase(d, ATAPI_PHASE_PACKET, READY | ATA_STATUS_DRQ); /* without an interrupt */
}

static void atapi_identify(AtapiDrive *d)
{
    uint8_t *data = d->s.buffer;

    memset(data, 0, ATA_SECTOR);
    /* A CD drive, removable; DRQ comes at once, packets have 12 bytes (8.16.7). */
    ata_identify_word(data, 0, 0x85c0);
    ata_identify_string(data, 10, 10, d->serial);
    ata_identify_string(data, 23, 4, d->version);
    ata_identify_string(data, 27, 20, d->model);
    ata_identify_word(data, 49, BIT(11) | BIT(9) | BIT(8)); /* IORDY, LBA, DMA */
    ata_identify_word(data, 51, 0x0200);
    ata_identify_word(data, 53, 6); /* words 64 to 70, and 88 are valid */
    ata_identify_modes(data, d->s.transfer_mode);
    ata_identify_word(data, 80, 0x00f0);                    /* ATA/ATAPI-4 to -7 */
    ata_identify_word(data, 82, BIT(14) | BIT(9) | BIT(4)); /* NOP, DEVICE RESET, PACKET */
    ata_identify_word(data, 83, BIT(14));
    ata_identify_word(data, 84, BIT(14));
    ata_identify_word(data, 85, BIT(14) | BIT(9) | BIT(4));
    ata_identify_word(data, 87, BIT(14));
    ata_identify_word(data, 93, d->ata.unit ? 0x6e01 : 0x6001); /* the cable has 80 wires */
    d->s.position = 0;
    d->s.block_end = d->s.buffer_len = ATA_SECTOR;
    atapi_set_phase(d, ATAPI_PHASE_PIO_IN, READY | ATA_STATUS_DRQ);
    atapi_set_intrq(d, true);
}

/* ATA's commands that tell a host of disks what it has found (8.16, 8.33): the signature. */
static void atapi_refuse_disk(AtapiDrive *d)
{
    uint8_t device = d->s.device;

    atapi_set_signature(&d->ata);
    d->s.device = device;
    atapi_abort(d);
}

static void atapi_diagnostic(AtapiDrive *d)
{
    atapi_set_signature(&d->ata);
    atapi_set_intrq(d, true);
}

static void atapi_set_features(AtapiDrive *d)
{
    enum { TRANSFER_MODE = 0x03, KEEP_SETTINGS = 0x66, REVERT_SETTINGS = 0xcc };

    switch (d->s.features) {
    case TRANSFER_MODE:
        if (ata_choose_mode(&d->s.transfer_mode, d->s.reason)) {
            atapi_end(d);
        } else {
            atapi_abort(d);
        }
        break;
    case KEEP_SETTINGS: /* they are kept in any case */
    case REVERT_SETTINGS:
        atapi_end(d);
        break;
    default:
        atapi_abort(d);
        break;
    }
}

static void atapi_check_power(AtapiDrive *d)
{
    d->s.reason = 0xff; /* active */
    atapi_end(d);
}

static const struct {
    uint8_t code;
    void (*run)(AtapiDrive *d);
} commands[] = {
    {0x20, atapi_refuse_disk}, /* READ SECTORS */
    {ATA_COMMAND_DIAGNOSTIC, atapi_diagnostic},
    {ATAPI_COMMAND_PACKET, atapi_packet},
    {ATAPI_COMMAND_IDENTIFY, atapi_identify},
    {0xe0, atapi_end}, /* STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE: always as fast */
    {0xe1, atapi_end},
    {0xe2, atapi_end},
    {0xe3, atapi_end},
    {0xe5, atapi_check_power},
    {0xe6, atapi_end},
    {0xec, atapi_refuse_disk}, /* IDENTIFY DEVICE */
    {0xef, atapi_set_features},
};

static void atapi_command(AtaDevice *ata, uint8_t command)
{
    AtapiDrive *d = atapi_drive(ata);

    if (command == ATA_COMMAND_DEVICE_RESET) {
        atapi_device_reset(d);
        return;
    }
    if (ata_device_occupied(ata)) {
        return;
    }
    atapi_set_intrq(d, false);
    d->s.command = command;
    d->s.error = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (commands[i].code == command) {
            commands[i].run(d);
            return;
        }
    }
    atapi_abort(d);
}

static const AtaDeviceOps atapi_device_ops = {
    .read = atapi_read,
    .write = atapi_write,
    .alternate_status = atapi_alternate_status,
    .intrq = atapi_intrq,
    .command = atapi_command,
    .read_data = atapi_read_data,
    .write_data = atapi_write_data,
    .reset_begin = atapi_reset_begin,
    .reset_end = atapi_reset_end,
    .set_signature = atapi_set_signature,
    .busy = atapi_busy,
    .quiesce = atapi_quiesce,
    .wait = atapi_wait,
    .kick = atapi_kick,
};

/* State and life. */

void atapi_power_on(AtapiDrive *d)
{
    d->s = (AtapiState){.transfer_mode = ATA_MODE_DEFAULT};
    scsi_power_on(&d->unit);
    atapi_reset_end(&d->ata);
    if (d->request.in_flight) { /* a drain held it, and it ends soon */
        atapi_set_phase(d, ATAPI_PHASE_RESETTING, ATA_STATUS_BSY);
    }
}

void atapi_run_state(AtapiDrive *d, bool running)
{
    d->running = running;
    if (running) {
        atapi_kick(&d->ata);
    }
}

bool atapi_check_state(const AtapiState *s, GError **err)
{
    bool data = s->phase == ATAPI_PHASE_PIO_IN || s->phase == ATAPI_PHASE_PIO_OUT ||
                s->phase == ATAPI_PHASE_PACKET;

    if (s->phase >= ATAPI_PHASE_COUNT || s->limit % 2 ||
        (s->phase != ATAPI_PHASE_IDLE && s->phase != ATAPI_PHASE_RESETTING &&
         s->command != ATAPI_COMMAND_PACKET && s->command != ATAPI_COMMAND_IDENTIFY)) {
        return error_set(err, "ATAPI command 0x%02x is not in phase %u", s->command, s->phase);
    }
    if (s->position > s->block_end || s->block_end > s->buffer_len ||
        (data && s->position == s->block_end) ||
        (s->phase == ATAPI_PHASE_PACKET && s->buffer_len != ATAPI_PACKET_SIZE) ||
        (s->phase != ATAPI_PHASE_PACKET && data && s->command == ATAPI_COMMAND_PACKET &&
         !s->limit)) {
        return error_set(err, "position %u of %u, %u is not in the ATAPI buffer", s->position,
                         s->block_end, s->buffer_len);
    }
    return true;
}

/* What the request's state says is looked at by each step. What is out of step is aborted. */
void atapi_post_load(AtapiDrive *d)
{
    scsi_post_load(&d->unit);
    if (d->s.phase == ATAPI_PHASE_PIO_OUT &&
        (d->request.s.phase != SCSI_PHASE_DATA || d->request.s.direction != SCSI_DATA_OUT ||
         d->s.buffer_len != atapi_buffer_step(d))) {
        atapi_abort(d);
    }
}

void atapi_init(AtapiDrive *d, Device *dev, DeviceFn run, unsigned unit, BlockBackend *blk,
                const AtaTransport *transport)
{
    d->ata.ops = &atapi_device_ops;
    d->ata.dev = dev;
    d->ata.unit = unit;
    d->ata.transport = transport;
    d->bh = device_bh_new(dev, run);
    d->request.unit = &d->unit;
    scsi_init(&d->unit, dev, &scsi_cd_type, blk, &atapi_scsi_transport);
}

void atapi_destroy(AtapiDrive *d)
{
    scsi_destroy(&d->unit);
}
