/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A SCSI logical unit: its requests and their steps on the disk, and its state. What the commands
 * mean is in scsi_command.c, scsi_mode.c, scsi_disk.c and scsi_cd.c.
 */
#include "scsi_internal.h"

#include <errno.h>
#include "base/iov.h"
#include "base/trace.h"
#include "block/media.h"
#include "cd_sector.h"

/* Bytes of a step that needs memory of its own. */
#define SCSI_BOUNCE_MAX (64u * 1024)
/* Bytes of any step, so that the guest's memory is not held for long. */
#define SCSI_STEP_MAX (1024u * 1024)

/* The medium. */

uint64_t scsi_blocks(const ScsiUnit *u)
{
    return MAX(block_backend_length(u->blk), 0) / u->identity.block_size;
}

bool scsi_has_medium(const ScsiUnit *u)
{
    return !u->s.tray_open && block_backend_length(u->blk) >= 0;
}

uint32_t scsi_no_medium(const ScsiUnit *u)
{
    return !u->type->is_cd ? SENSE_NO_MEDIUM : u->s.tray_open ? SENSE_TRAY_OPEN : SENSE_TRAY_CLOSED;
}

bool scsi_check_range(ScsiRequest *r, uint64_t lba, uint64_t blocks)
{
    uint64_t total = scsi_blocks(r->unit);

    if (lba > total || blocks > total - lba) {
        scsi_refuse(r, SENSE_OUT_OF_RANGE);
        return false;
    }
    return true;
}

/* Sense data and unit attentions. */

static ScsiSense scsi_sense(uint32_t sense)
{
    return (ScsiSense){.key = sense >> 16, .asc = sense >> 8, .ascq = sense};
}

void scsi_sense_data(const ScsiSense *sense, uint8_t data[SCSI_SENSE_LENGTH])
{
    memset(data, 0, SCSI_SENSE_LENGTH);
    data[0] = 0x70 | (sense->information_valid ? 0x80 : 0);
    data[2] = sense->key;
    stbe32(data + 3, sense->information);
    data[7] = SCSI_SENSE_LENGTH - 8;
    data[12] = sense->asc;
    data[13] = sense->ascq;
}

/* The attention that is told first; it is told once. */
static uint32_t scsi_take_attention(ScsiUnit *u)
{
    static const uint16_t codes[ATTENTION_COUNT] = {
        [ATTENTION_POWER_ON] = 0x2900,
        [ATTENTION_RESET] = 0x2902,
        [ATTENTION_MEDIUM] = 0x2800,
        [ATTENTION_CAPACITY] = 0x2a09,
    };

    for (unsigned i = 0; i < ATTENTION_COUNT; i++) {
        if (u->s.attention & BIT(i)) {
            u->s.attention &= ~BIT(i);
            return SCSI_KEY_UNIT_ATTENTION << 16 | codes[i];
        }
    }
    return 0;
}

void scsi_request_sense(ScsiRequest *r)
{
    ScsiUnit *u = r->unit;
    ScsiSense sense = u->s.sense;

    if (r->s.cdb[1] & 1) { /* descriptor format */
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    if (r->s.lun) {
        sense = scsi_sense(SENSE_NO_SUCH_UNIT);
    } else if (!sense.key) {
        sense = scsi_sense(scsi_take_attention(u));
    }
    u->s.sense = (ScsiSense){0};
    scsi_sense_data(&sense, r->s.buffer);
    scsi_data_in(r, SCSI_SENSE_LENGTH, r->s.cdb[4]);
}

/* How a command goes on. */

static void scsi_end(ScsiRequest *r, uint8_t status)
{
    r->s.phase = SCSI_PHASE_DONE;
    r->s.status = status;
}

void scsi_good(ScsiRequest *r)
{
    scsi_end(r, SCSI_GOOD);
}

void scsi_refuse(ScsiRequest *r, uint32_t sense)
{
    r->s.sense = r->unit->s.sense = scsi_sense(sense);
    scsi_end(r, SCSI_CHECK_CONDITION);
}

static void scsi_set_information(ScsiRequest *r, uint64_t value)
{
    r->s.sense.information_valid = value <= UINT32_MAX;
    r->s.sense.information = value <= UINT32_MAX ? value : 0;
    r->unit->s.sense = r->s.sense;
}

static void scsi_begin_data(ScsiRequest *r, ScsiDirection direction, uint64_t length)
{
    r->s.direction = length ? direction : SCSI_DATA_NONE;
    r->s.length = length;
    r->s.position = 0;
    r->s.phase = SCSI_PHASE_DATA;
    if (!length) {
        scsi_good(r);
    }
}

void scsi_data_in(ScsiRequest *r, uint32_t len, uint32_t wanted)
{
    g_assert(len <= SCSI_BUFFER_SIZE);
    r->s.buffer_len = len;
    scsi_begin_data(r, SCSI_DATA_IN, MIN(len, wanted));
}

void scsi_data_out(ScsiRequest *r, uint32_t len)
{
    g_assert(len <= SCSI_BUFFER_SIZE);
    r->s.buffer_len = len;
    memset(r->s.buffer, 0, len);
    scsi_begin_data(r, SCSI_DATA_OUT, len);
}

void scsi_data_blocks(ScsiRequest *r, ScsiDirection direction, uint64_t lba, uint64_t blocks,
                      uint32_t granule)
{
    r->s.lba = lba;
    r->s.blocks = blocks;
    r->s.granule = granule;
    scsi_begin_data(r, direction, blocks * granule);
}

void scsi_begin_work(ScsiRequest *r, uint64_t lba, uint64_t blocks)
{
    r->s.lba = lba;
    r->s.blocks = blocks;
    r->s.phase = SCSI_PHASE_WORK;
}

/* Commands. */

const ScsiCommand *scsi_find_command(const ScsiUnit *u, uint8_t code)
{
    for (const ScsiCommand *c = u->type->commands; c->run; c++) {
        if (c->code == code) {
            return c;
        }
    }
    return NULL;
}

unsigned scsi_cdb_length(uint8_t code)
{
    static const uint8_t lengths[8] = {6, 10, 10, 0, 16, 12, 0, 0};

    return lengths[code >> 5];
}

static ScsiKind scsi_kind(const ScsiRequest *r)
{
    const ScsiCommand *c = scsi_find_command(r->unit, r->s.cdb[0]);

    return c && c->kind ? c->kind(r) : SCSI_KIND_NONE;
}

void scsi_begin(ScsiRequest *r, unsigned lun, const uint8_t *cdb, size_t len)
{
    ScsiUnit *u = r->unit;
    const ScsiCommand *c = scsi_find_command(u, cdb[0]);
    uint32_t attention;

    g_assert(len && len <= SCSI_CDB_MAX && !r->in_flight);
    trace(scsi_req_parsed, device_label(u->dev), cdb[0]);
    memset(&r->s, 0, offsetof(ScsiRequestState, buffer));
    r->s.sense = (ScsiSense){0};
    memcpy(r->s.cdb, cdb, len);
    r->s.lun = MIN(lun, UINT8_MAX);
    r->s.granule = 1;
    if (cdb[0] != 0x03) {
        u->s.sense = (ScsiSense){0};
    }
    block_backend_poll_medium(u->blk);
    if (!c) {
        scsi_refuse(r, SENSE_INVALID_OPCODE);
    } else if (len < scsi_cdb_length(cdb[0])) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (lun && cdb[0] != 0x03 && cdb[0] != 0x12 && cdb[0] != 0xa0) {
        scsi_refuse(r, SENSE_NO_SUCH_UNIT);
    } else if (!(c->flags & SCSI_NO_ATTENTION) && (attention = scsi_take_attention(u))) {
        scsi_refuse(r, attention);
    } else if (c->flags & SCSI_MEDIUM && !scsi_has_medium(u)) {
        scsi_refuse(r, scsi_no_medium(u));
    } else if (c->flags & SCSI_MEDIUM && u->s.stopped) {
        scsi_refuse(r, SENSE_STOPPED);
    } else {
        c->run(r);
    }
}

/* Steps. */

bool scsi_buffered(const ScsiRequest *r)
{
    return r->s.buffer_len != 0;
}

/* Where the request is: in its data, or by what is left of its work. */
void scsi_describe(const ScsiRequest *r, uint32_t words[SCSI_DESCRIBED_WORDS])
{
    uint64_t place = r->s.phase == SCSI_PHASE_WORK ? r->s.blocks : r->s.position;

    memcpy(words, r->s.cdb, SCSI_CDB_MAX);
    words[4] = place;
    words[5] = place >> 32 | (uint32_t)r->s.phase << 24;
}

static void scsi_free_bounce(ScsiRequest *r)
{
    g_clear_pointer(&r->bounce, g_free);
}

static uint32_t scsi_error_sense(const ScsiRequest *r, int error)
{
    switch (error) {
    case ENOMEDIUM:
        return scsi_no_medium(r->unit);
    case ENOSPC:
        return SENSE_NO_SPACE;
    default:
        return r->io.op == BLOCK_OP_READ          ? SENSE_READ_ERROR
               : error == EPERM || error == EROFS ? SENSE_WRITE_PROTECTED
                                                  : SENSE_WRITE_ERROR;
    }
}

static void scsi_fail(ScsiRequest *r, int error)
{
    uint32_t sense = scsi_error_sense(r, error), block_size = r->unit->identity.block_size;

    scsi_refuse(r, sense);
    if (sense >> 16 == SCSI_KEY_MEDIUM_ERROR && r->io.op != BLOCK_OP_FLUSH) {
        scsi_set_information(r, r->io.offset / block_size);
    }
}

static void scsi_assemble(ScsiRequest *r)
{
    uint32_t block_size = r->unit->identity.block_size, n = r->io.bytes / block_size;
    uint64_t lba = r->io.offset / block_size;
    uint8_t sector[CD_SECTOR_SIZE];

    for (uint32_t i = 0; i < n; i++) {
        scsi_cd_sector(r, lba + i, r->bounce + i * block_size, sector);
        iov_from_buf(r->iov, r->niov, (size_t)i * r->s.granule, sector, r->s.granule);
    }
}

static bool scsi_equal(const ScsiRequest *r)
{
    g_autofree uint8_t *data = g_malloc(r->step);

    iov_to_buf(r->iov, r->niov, 0, data, r->step);
    return memcmp(data, r->bounce, r->step) == 0;
}

/* A step of phase DATA has ended well. Returns the bytes of data that it has moved. */
static uint32_t scsi_advance_data(ScsiRequest *r)
{
    switch (scsi_kind(r)) {
    case SCSI_KIND_READ_RAW:
        scsi_assemble(r);
        break;
    case SCSI_KIND_COMPARE:
        if (!scsi_equal(r)) {
            scsi_refuse(r, SENSE_MISCOMPARE);
            return 0;
        }
        break;
    default:
        break;
    }
    r->s.position += r->step;
    if (r->s.position == r->s.length) {
        scsi_good(r);
    }
    return r->step;
}

static void scsi_advance_work(ScsiRequest *r)
{
    ScsiKind kind = scsi_kind(r);
    uint64_t done = kind == SCSI_KIND_UNMAP   ? 1
                    : kind == SCSI_KIND_FLUSH ? r->s.blocks
                                              : r->io.bytes / r->unit->identity.block_size;

    r->s.lba += done;
    r->s.blocks -= MIN(done, r->s.blocks);
    if (!r->s.blocks) {
        scsi_good(r);
    }
}

static void scsi_done(BlockRequest *io, int ret)
{
    ScsiRequest *r = container_of(io, ScsiRequest, io);
    ScsiUnit *u = r->unit;
    uint32_t moved = 0;

    device_lock(u->dev);
    r->in_flight = false;
    __atomic_sub_fetch(&u->in_flight, 1, __ATOMIC_SEQ_CST);
    if (ret == -ECANCELED) {
        r->s.phase = SCSI_PHASE_IDLE; /* a reset: nobody wants the result */
    }
    if (r->s.phase != SCSI_PHASE_IDLE && ret < 0) {
        scsi_fail(r, -ret);
    } else if (r->s.phase == SCSI_PHASE_DATA) {
        moved = scsi_advance_data(r);
    } else if (r->s.phase == SCSI_PHASE_WORK) {
        scsi_advance_work(r);
    }
    scsi_free_bounce(r);
    u->transport->progress(r, moved);
    device_unlock(u->dev);
    wait_list_wake_all(&u->idle);
}

/* False, as nothing has ended: for the functions that return this. */
static bool scsi_submit(ScsiRequest *r, BlockOp op, uint64_t offset, uint64_t bytes)
{
    r->io.op = op;
    r->io.offset = offset;
    r->io.bytes = bytes;
    r->io.queue = 0;
    r->io.done = scsi_done;
    scsi_describe(r, r->words);
    r->in_flight = true;
    __atomic_add_fetch(&r->unit->in_flight, 1, __ATOMIC_SEQ_CST);
    block_backend_submit(r->unit->blk, &r->io);
    return false;
}

static void scsi_use_bounce(ScsiRequest *r, uint32_t bytes)
{
    r->bounce = g_malloc(bytes);
    r->own_iov = (struct iovec){r->bounce, bytes};
    r->io.iov = &r->own_iov;
    r->io.niov = 1;
}

static bool scsi_move_buffer(ScsiRequest *r, const struct iovec *iov, unsigned niov, uint32_t bytes,
                             uint32_t *moved)
{
    uint8_t *at = r->s.buffer + r->s.position;

    *moved = r->s.direction == SCSI_DATA_IN ? iov_from_buf(iov, niov, 0, at, bytes)
                                            : iov_to_buf(iov, niov, 0, at, bytes);
    r->s.position += *moved;
    if (r->s.position == r->s.length && r->s.direction == SCSI_DATA_OUT) {
        scsi_find_command(r->unit, r->s.cdb[0])->received(r);
    } else if (r->s.position == r->s.length) {
        scsi_good(r);
    }
    return true;
}

/* A medium that was changed since the command began is not the one that the guest means. */
static bool scsi_medium_gone(ScsiRequest *r)
{
    if (r->unit->s.attention & BIT(ATTENTION_MEDIUM)) {
        r->unit->s.attention &= ~BIT(ATTENTION_MEDIUM);
        scsi_refuse(r, SCSI_SENSE(SCSI_KEY_UNIT_ATTENTION, 0x28, 0x00));
        return true;
    }
    if (!scsi_has_medium(r->unit)) {
        scsi_refuse(r, scsi_no_medium(r->unit));
        return true;
    }
    return false;
}

/* The sectors of a step of data that passes through memory of the unit's own. */
static uint32_t scsi_bounce_sectors(const ScsiRequest *r)
{
    return MAX(SCSI_BOUNCE_MAX / r->unit->identity.block_size, 1u);
}

uint32_t scsi_step_bytes(const ScsiRequest *r)
{
    ScsiKind kind = scsi_kind(r);
    uint64_t left = r->s.length - r->s.position, most = SCSI_STEP_MAX;

    if (!scsi_buffered(r)) {
        most = kind == SCSI_KIND_READ_RAW || kind == SCSI_KIND_COMPARE
                   ? (uint64_t)scsi_bounce_sectors(r) * r->s.granule
                   : MAX(ROUND_DOWN(SCSI_STEP_MAX, r->s.granule), r->s.granule);
    }
    return MIN(left, most);
}

bool scsi_move(ScsiRequest *r, const struct iovec *iov, unsigned niov, uint32_t bytes,
               uint32_t *moved)
{
    uint64_t block = r->s.position / r->s.granule;
    ScsiKind kind = scsi_kind(r);
    uint32_t block_size = r->unit->identity.block_size;
    uint64_t offset = (r->s.lba + block) * block_size;

    g_assert(r->s.phase == SCSI_PHASE_DATA && !r->in_flight);
    bytes = MIN(bytes, scsi_step_bytes(r));
    if (scsi_buffered(r)) {
        return scsi_move_buffer(r, iov, niov, bytes, moved);
    }
    *moved = 0;
    if (scsi_medium_gone(r)) {
        return true;
    }
    r->iov = r->io.iov = iov;
    r->niov = r->io.niov = niov;
    r->io.flags = 0;
    if (kind == SCSI_KIND_READ_RAW || kind == SCSI_KIND_COMPARE) {
        uint32_t n = bytes / r->s.granule;

        g_assert(n);
        r->step = n * r->s.granule;
        scsi_use_bounce(r, n * block_size);
        return scsi_submit(r, BLOCK_OP_READ, offset, n * block_size);
    }
    r->step = ROUND_DOWN(bytes, r->s.granule);
    g_assert(r->step);
    if (kind == SCSI_KIND_WRITE && r->s.cdb[0] != 0x0a && r->s.cdb[1] & 0x08) {
        r->io.flags = BLOCK_REQ_FUA;
    }
    return scsi_submit(r, kind == SCSI_KIND_WRITE ? BLOCK_OP_WRITE : BLOCK_OP_READ, offset,
                       r->step);
}

/* The blocks that a step of WORK may read or write by memory of its own. */
static uint32_t scsi_bounce_blocks(const ScsiRequest *r)
{
    return MIN(r->s.blocks, scsi_bounce_sectors(r));
}

static bool scsi_work_write_same(ScsiRequest *r)
{
    uint32_t block_size = r->unit->identity.block_size, n;
    uint64_t offset = r->s.lba * block_size;

    if (scsi_write_same_zero(r, &r->io.flags)) {
        r->io.niov = 0;
        return scsi_submit(r, BLOCK_OP_WRITE_ZEROES, offset, r->s.blocks * block_size);
    }
    n = scsi_bounce_blocks(r);
    scsi_use_bounce(r, n * block_size);
    for (uint32_t i = 0; i < n; i++) {
        memcpy(r->bounce + i * block_size, r->s.buffer, block_size);
    }
    return scsi_submit(r, BLOCK_OP_WRITE, offset, n * block_size);
}

bool scsi_work(ScsiRequest *r)
{
    uint32_t block_size = r->unit->identity.block_size, n;
    uint64_t lba, blocks;

    g_assert(r->s.phase == SCSI_PHASE_WORK && !r->in_flight);
    r->step = 0;
    r->io.flags = 0;
    r->io.niov = 0;
    switch (scsi_kind(r)) {
    case SCSI_KIND_FLUSH:
        return scsi_submit(r, BLOCK_OP_FLUSH, 0, 0);
    case SCSI_KIND_UNMAP:
        blocks = scsi_unmap_entry(r, &lba);
        if (!scsi_check_range(r, lba, blocks)) {
            return true; /* it was in range when the command came: the disk has shrunk */
        }
        return scsi_submit(r, BLOCK_OP_DISCARD, lba * block_size, blocks * block_size);
    case SCSI_KIND_WRITE_SAME:
        return scsi_work_write_same(r);
    default:
        if (scsi_medium_gone(r)) {
            return true;
        }
        n = scsi_bounce_blocks(r);
        scsi_use_bounce(r, n * block_size);
        return scsi_submit(r, BLOCK_OP_READ, r->s.lba * block_size, n * block_size);
    }
}

void scsi_stop(ScsiRequest *r)
{
    if (r->s.phase != SCSI_PHASE_DATA) {
        return;
    }
    if (r->s.direction == SCSI_DATA_OUT && scsi_buffered(r)) {
        scsi_refuse(r, SENSE_PARAMETER_LENGTH);
    } else {
        scsi_good(r);
    }
}

void scsi_abort(ScsiRequest *r)
{
    r->s.phase = SCSI_PHASE_IDLE;
}

/* Parking. */

size_t scsi_park(void *data, BlockRequest *io, uint32_t *words, size_t max)
{
    ScsiUnit *u = data;
    ScsiRequest *r = container_of(io, ScsiRequest, io);
    size_t n = SCSI_DESCRIBED_WORDS;

    if (max < n) {
        return 0;
    }
    memcpy(words, r->words, sizeof r->words);
    n += u->transport->park ? u->transport->park(r, words + n, max - n) : 0;
    scsi_free_bounce(r);
    r->in_flight = false;
    __atomic_sub_fetch(&u->in_flight, 1, __ATOMIC_SEQ_CST);
    wait_list_wake_all(&u->idle);
    return n;
}

bool scsi_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n)
{
    ScsiUnit *u = data;

    return u->transport->rebuild(u, words, n);
}

void scsi_unpark(ScsiUnit *u)
{
    block_backend_unpark(u->blk, 0);
}
