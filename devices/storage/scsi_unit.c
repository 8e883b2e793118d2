/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A SCSI logical unit's life: what the host does to its medium, resets, and state. */
#include "scsi_internal.h"

#include <inttypes.h>
#include "base/error.h"
#include "block/media.h"
#include "cd_sector.h"

STATE_DESC_PUBLIC(scsi_sense, ScsiSense, SCSI_SENSE_STATE, 1);
STATE_DESC_PUBLIC(scsi_request, ScsiRequestState, SCSI_REQUEST_STATE, 1);
STATE_DESC_PUBLIC(scsi_unit, ScsiUnitState, SCSI_UNIT_STATE, 1);

/* What the host does. */

static void scsi_resized(void *data)
{
    ScsiUnit *u = data;

    device_lock(u->dev);
    u->s.attention |= BIT(ATTENTION_CAPACITY);
    device_unlock(u->dev);
}

static bool scsi_medium_changed(void *data, bool loaded, GError **err)
{
    ScsiUnit *u = data;
    bool was_open;

    device_lock(u->dev);
    was_open = u->s.tray_open;
    u->s.tray_open = block_backend_tray_open(u->blk);
    u->s.events &= ~EVENT_EJECT;
    if (loaded) {
        u->s.attention |= u->own_load ? 0 : BIT(ATTENTION_MEDIUM);
        u->own_load = false;
        u->s.events = (u->s.events & ~EVENT_REMOVED) | EVENT_NEW;
    } else if (!was_open) {
        u->s.events = (u->s.events & ~EVENT_NEW) | EVENT_REMOVED;
    }
    if (u->s.tray_open) {
        u->own_load = false; /* the host has opened it: what comes next is the host's */
    }
    device_unlock(u->dev);
    return true;
}

static void scsi_eject_request(void *data)
{
    ScsiUnit *u = data;

    device_lock(u->dev);
    u->s.events |= EVENT_EJECT;
    device_unlock(u->dev);
}

const BlockDeviceOps scsi_disk_block_ops = {
    .resized = scsi_resized,
    .park = scsi_park,
    .rebuild = scsi_rebuild,
    .parked_max = SCSI_PARKED_WORDS,
};

const BlockDeviceOps scsi_removable_disk_block_ops = {
    .resized = scsi_resized,
    .park = scsi_park,
    .rebuild = scsi_rebuild,
    .parked_max = SCSI_PARKED_WORDS,
    .medium_changed = scsi_medium_changed,
    .eject_request = scsi_eject_request,
};

const BlockDeviceOps scsi_cd_block_ops = {
    .park = scsi_park,
    .rebuild = scsi_rebuild,
    .parked_max = SCSI_PARKED_WORDS,
    .medium_changed = scsi_medium_changed,
    .eject_request = scsi_eject_request,
    .has_tray = true,
};

/* Life, resets, state. */

void scsi_init(ScsiUnit *u, Device *dev, const ScsiType *type, BlockBackend *blk,
               const ScsiTransport *transport)
{
    u->dev = dev;
    u->type = type;
    u->blk = blk;
    u->transport = transport;
    wait_list_init(&u->idle);
}

void scsi_destroy(ScsiUnit *u)
{
    wait_list_destroy(&u->idle);
}

void scsi_set_write_cache(ScsiUnit *u, bool on)
{
    u->s.write_cache = on;
    block_backend_set_write_cache(u->blk, on);
}

void scsi_power_on(ScsiUnit *u)
{
    block_backend_take_back(u->blk, 0);
    u->s = (ScsiUnitState){
        .attention = BIT(ATTENTION_POWER_ON),
        .tray_open = block_backend_tray_open(u->blk),
    };
    u->own_load = false;
    block_backend_lock_medium(u->blk, false);
    scsi_set_write_cache(u, u->original_write_cache);
}

void scsi_bus_reset(ScsiUnit *u)
{
    u->s.sense = (ScsiSense){0};
    u->s.attention |= BIT(ATTENTION_RESET);
    u->s.stopped = false;
    u->own_load = false;
    block_backend_lock_medium(u->blk, false);
    scsi_set_write_cache(u, u->original_write_cache);
}

static bool scsi_idle(const ScsiUnit *u)
{
    return !__atomic_load_n(&u->in_flight, __ATOMIC_SEQ_CST);
}

bool scsi_busy(const ScsiUnit *u)
{
    return !scsi_idle(u) || block_backend_parked(u->blk);
}

void coroutine_fn scsi_wait(ScsiUnit *u)
{
    wait_list_until(&u->idle, scsi_idle(u));
}

void scsi_take_back(ScsiUnit *u)
{
    block_backend_take_back(u->blk, 0);
}

void coroutine_fn scsi_quiesce(ScsiUnit *u)
{
    scsi_take_back(u);
    scsi_wait(u);
}

void scsi_pre_save(ScsiUnit *u)
{
    u->s.locked = block_backend_medium_locked(u->blk);
    u->s.parked_words = block_backend_save_parked(u->blk, u->s.parked, SCSI_PARKED_WORDS);
}

bool scsi_check_state(const ScsiUnitState *s, GError **err)
{
    if (s->attention >= BIT(ATTENTION_COUNT) || s->events > EVENT_ALL) {
        return error_set(err, "unit attention 0x%x or media event 0x%x of a SCSI unit is unknown",
                         s->attention, s->events);
    }
    return true;
}

static bool scsi_check_buffered(const ScsiUnit *u, const ScsiRequestState *s)
{
    const ScsiCommand *c = scsi_find_command(u, s->cdb[0]);

    return s->length <= s->buffer_len &&
           (s->direction == SCSI_DATA_IN || (s->direction == SCSI_DATA_OUT && c && c->received));
}

static bool scsi_check_blocks(const ScsiUnit *u, const ScsiRequestState *s, ScsiKind kind)
{
    bool out = kind == SCSI_KIND_WRITE || kind == SCSI_KIND_COMPARE;

    return s->granule && s->position % s->granule == 0 && s->length % s->granule == 0 &&
           s->length / s->granule <= INT64_MAX / u->identity.block_size &&
           (kind == SCSI_KIND_READ_RAW
                ? s->granule <= CD_SECTOR_SIZE
                : s->granule == u->identity.block_size && (out || kind == SCSI_KIND_READ)) &&
           s->direction == (out ? SCSI_DATA_OUT : SCSI_DATA_IN);
}

static bool scsi_check_work(const ScsiUnit *u, const ScsiRequestState *s, ScsiKind kind)
{
    switch (kind) {
    case SCSI_KIND_FLUSH:
        return true;
    case SCSI_KIND_VERIFY:
        return s->blocks;
    case SCSI_KIND_UNMAP:
        return s->blocks && 8 + 16 * s->blocks <= s->buffer_len;
    case SCSI_KIND_WRITE_SAME:
        return s->blocks && s->buffer_len == u->identity.block_size;
    default:
        return false;
    }
}

bool scsi_check_request(const ScsiUnit *u, const ScsiRequestState *s, GError **err)
{
    const ScsiCommand *c = scsi_find_command(u, s->cdb[0]);
    uint64_t limit = INT64_MAX / u->identity.block_size;
    ScsiRequest r = {.unit = (ScsiUnit *)u};
    ScsiKind kind;
    bool ok;

    memcpy(r.s.cdb, s->cdb, SCSI_CDB_MAX);
    kind = c && c->kind ? c->kind(&r) : SCSI_KIND_NONE;
    ok = s->phase == SCSI_PHASE_DATA
             ? s->position < s->length &&
                   (s->buffer_len ? scsi_check_buffered(u, s) : scsi_check_blocks(u, s, kind))
         : s->phase == SCSI_PHASE_WORK ? scsi_check_work(u, s, kind)
                                       : s->phase < SCSI_PHASE_COUNT;
    return (ok && s->lba <= limit && s->blocks <= limit && s->direction <= SCSI_DATA_OUT) ||
           error_set(err, "SCSI command 0x%02x is not in phase %u at %" PRIu64 " of %" PRIu64,
                     s->cdb[0], s->phase, s->position, s->length);
}

void scsi_post_load(ScsiUnit *u)
{
    block_backend_set_write_cache(u->blk, u->s.write_cache);
    if (u->type->is_cd) {
        block_backend_tray_moved(u->blk, u->s.tray_open);
    }
    block_backend_lock_medium(u->blk, u->s.locked);
    if (!block_backend_load_parked(u->blk, u->s.parked, u->s.parked_words, 1)) {
        scsi_rebuild(u, 0, NULL, 0);
    }
}
