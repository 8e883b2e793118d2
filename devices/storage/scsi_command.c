/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SCSI commands that disks and CD drives share (SPC-4; reading is SBC's and MMC's alike). */
#include "block/media.h"
#include "scsi_internal.h"

ScsiKind scsi_kind_read(const ScsiRequest *r)
{
    return SCSI_KIND_READ;
}

ScsiKind scsi_kind_flush(const ScsiRequest *r)
{
    return SCSI_KIND_FLUSH;
}

void scsi_test_unit_ready(ScsiRequest *r)
{
    scsi_good(r); /* scsi_begin() has looked */
}

void scsi_put_string(uint8_t *data, size_t len, const char *text)
{
    size_t n = text ? strlen(text) : 0;

    memset(data, ' ', len);
    memcpy(data, text ? text : "", MIN(n, len));
}

/* INQUIRY (6.4). */

enum { INQUIRY_LENGTH = 36, NO_UNIT = 0x7f };

static void scsi_inquiry_standard(ScsiRequest *r)
{
    const ScsiUnit *u = r->unit;
    const ScsiIdentity *id = &u->identity;
    uint8_t *data = r->s.buffer;

    memset(data, 0, INQUIRY_LENGTH);
    data[0] = r->s.lun ? NO_UNIT : u->type->device_type;
    data[1] = u->type->is_cd || id->removable ? 0x80 : 0;
    data[2] = id->atapi ? 0 : 5; /* SPC-3 */
    data[3] = id->atapi ? 0x21 : 0x02;
    data[4] = INQUIRY_LENGTH - 5;
    scsi_put_string(data + 8, 8, id->vendor);
    scsi_put_string(data + 16, 16, id->product);
    scsi_put_string(data + 32, 4, id->version);
    scsi_data_in(r, INQUIRY_LENGTH, ldbe16(r->s.cdb + 3));
}

size_t scsi_vpd_serial(const ScsiUnit *u, uint8_t *data)
{
    size_t len = u->identity.serial ? MIN(strlen(u->identity.serial), 36) : 0;

    memcpy(data, u->identity.serial ? u->identity.serial : "", len);
    return len;
}

/* A designator of the vendor's (T10), and the world wide name (NAA). */
size_t scsi_vpd_identification(const ScsiUnit *u, uint8_t *data)
{
    const ScsiIdentity *id = &u->identity;
    size_t serial = id->serial ? MIN(strlen(id->serial), 36) : 0, n = 0;

    if (serial) {
        data[0] = 2; /* ASCII */
        data[1] = 0; /* of the vendor's */
        data[3] = serial;
        memcpy(data + 4, id->serial, serial);
        n = 4 + serial;
    }
    if (id->wwn) {
        data[n] = 1; /* binary */
        data[n + 1] = 3;
        data[n + 3] = 8;
        stbe64(data + n + 4, id->wwn);
        n += 12;
    }
    return n;
}

static bool scsi_has_vpd_page(const ScsiUnit *u, uint8_t code)
{
    return code != 0x80 || u->identity.serial;
}

static size_t scsi_vpd_list(const ScsiUnit *u, uint8_t *data)
{
    size_t n = 0;

    data[n++] = 0;
    for (const ScsiVpdPage *p = u->type->vpd_pages; p->fill; p++) {
        if (scsi_has_vpd_page(u, p->code)) {
            data[n++] = p->code;
        }
    }
    return n;
}

static void scsi_inquiry_vpd(ScsiRequest *r)
{
    const ScsiUnit *u = r->unit;
    const ScsiVpdPage *p = u->type->vpd_pages;
    uint8_t code = r->s.cdb[2], *data = r->s.buffer;
    size_t len;

    memset(data, 0, SCSI_BUFFER_SIZE);
    while (p->fill && p->code != code) {
        p++;
    }
    if (code == 0) {
        len = scsi_vpd_list(u, data + 4);
    } else if (p->fill && scsi_has_vpd_page(u, code)) {
        len = p->fill(u, data + 4);
    } else {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    data[0] = r->s.lun ? NO_UNIT : u->type->device_type;
    data[1] = code;
    stbe16(data + 2, len);
    scsi_data_in(r, 4 + len, ldbe16(r->s.cdb + 3));
}

void scsi_inquiry(ScsiRequest *r)
{
    enum { EVPD = 1, CMDDT = 2 };

    if (r->s.cdb[1] & CMDDT || (!(r->s.cdb[1] & EVPD) && r->s.cdb[2])) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (r->s.cdb[1] & EVPD) {
        scsi_inquiry_vpd(r);
    } else {
        scsi_inquiry_standard(r);
    }
}

/* REPORT LUNS (6.27): one unit, number 0. There are no well known ones (select report 1). */
void scsi_report_luns(ScsiRequest *r)
{
    uint32_t wanted = ldbe32(r->s.cdb + 6), n = r->s.cdb[2] == 1 ? 0 : 8;

    if (r->s.cdb[2] > 2 || wanted < 16) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(r->s.buffer, 0, 16);
    stbe32(r->s.buffer, n);
    scsi_data_in(r, 8 + n, wanted);
}

/* Tray and lock. */

void scsi_prevent_allow(ScsiRequest *r)
{
    block_backend_lock_medium(r->unit->blk, r->s.cdb[4] & 1);
    scsi_good(r);
}

static void scsi_move_tray(ScsiRequest *r, bool open)
{
    ScsiUnit *u = r->unit;

    if (open && block_backend_medium_locked(u->blk)) {
        scsi_refuse(r, SENSE_REMOVAL_PREVENTED);
        return;
    }
    if (u->s.tray_open != open) {
        u->s.tray_open = open;
        u->s.events &= ~EVENT_EJECT;
        if (block_backend_length(u->blk) >= 0) {
            u->s.events =
                (u->s.events & ~(EVENT_NEW | EVENT_REMOVED)) | (open ? EVENT_REMOVED : EVENT_NEW);
        }
        /*
         * The guest that loads the tray knows that the disc may be another. An attention would come
         * after Linux has looked for one (sr_block_open()), which then refuses the first read.
         */
        u->own_load = !open && block_backend_length(u->blk) < 0;
        block_backend_tray_moved(u->blk, open);
    }
    scsi_good(r);
}

/* START STOP UNIT. A disk that stops has written everything. */
void scsi_start_stop(ScsiRequest *r)
{
    enum { START = 1, LOAD_EJECT = 2 };
    ScsiUnit *u = r->unit;
    bool start = r->s.cdb[4] & START;

    if (r->s.cdb[4] >> 4) { /* power conditions: the drive is always as fast */
        scsi_good(r);
    } else if (u->type->is_cd) {
        if (r->s.cdb[4] & LOAD_EJECT) {
            scsi_move_tray(r, !start);
        } else {
            scsi_good(r);
        }
    } else {
        u->s.stopped = !start;
        if (start) {
            scsi_good(r);
        } else {
            scsi_begin_work(r, 0, 0);
        }
    }
}

/* Sectors. */

void scsi_range(const ScsiRequest *r, uint64_t *lba, uint32_t *blocks)
{
    const uint8_t *cdb = r->s.cdb;

    switch (scsi_cdb_length(cdb[0])) {
    case 6:
        *lba = ldbe32(cdb) & 0x1fffff;
        *blocks = cdb[4] ? cdb[4] : 256;
        break;
    case 10:
        *lba = ldbe32(cdb + 2);
        *blocks = ldbe16(cdb + 7);
        break;
    case 12:
        *lba = ldbe32(cdb + 2);
        *blocks = ldbe32(cdb + 6);
        break;
    default:
        *lba = ldbe64(cdb + 2);
        *blocks = ldbe32(cdb + 10);
        break;
    }
}

void scsi_read_capacity_10(ScsiRequest *r)
{
    uint64_t total = scsi_blocks(r->unit);

    if (!(r->s.cdb[8] & 1) && ldbe32(r->s.cdb + 2)) {
        scsi_refuse(r, SENSE_INVALID_FIELD); /* an address without PMI, which is obsolete */
        return;
    }
    stbe32(r->s.buffer, total ? MIN(total - 1, UINT32_MAX) : 0);
    stbe32(r->s.buffer + 4, r->unit->identity.block_size);
    scsi_data_in(r, 8, 8);
}

/* There is no protection information: RDPROTECT and its like are 0. */
static bool scsi_take_range(ScsiRequest *r, uint64_t *lba, uint32_t *blocks)
{
    scsi_range(r, lba, blocks);
    if (!r->unit->type->is_cd && scsi_cdb_length(r->s.cdb[0]) != 6 && r->s.cdb[1] & 0xe0) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return false;
    }
    return scsi_check_range(r, *lba, *blocks);
}

void scsi_read(ScsiRequest *r)
{
    uint64_t lba;
    uint32_t blocks;

    if (scsi_take_range(r, &lba, &blocks)) {
        scsi_data_blocks(r, SCSI_DATA_IN, lba, blocks, r->unit->identity.block_size);
    }
}

void scsi_write(ScsiRequest *r)
{
    uint64_t lba;
    uint32_t blocks;

    if (block_backend_read_only(r->unit->blk)) {
        scsi_refuse(r, SENSE_WRITE_PROTECTED);
    } else if (scsi_take_range(r, &lba, &blocks)) {
        scsi_data_blocks(r, SCSI_DATA_OUT, lba, blocks, r->unit->identity.block_size);
    }
}

enum { BYTCHK = 0x06, BYTCHK_COMPARE = 0x02 };

ScsiKind scsi_kind_verify(const ScsiRequest *r)
{
    return r->s.cdb[1] & BYTCHK ? SCSI_KIND_COMPARE : SCSI_KIND_VERIFY;
}

void scsi_verify(ScsiRequest *r)
{
    uint64_t lba;
    uint32_t blocks;
    uint8_t check = r->s.cdb[1] & BYTCHK;

    if (check && (check != BYTCHK_COMPARE || r->unit->type->is_cd)) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (!scsi_take_range(r, &lba, &blocks)) {
        return;
    } else if (check) {
        scsi_data_blocks(r, SCSI_DATA_OUT, lba, blocks, r->unit->identity.block_size);
    } else if (blocks) {
        scsi_begin_work(r, lba, blocks);
    } else {
        scsi_good(r);
    }
}
