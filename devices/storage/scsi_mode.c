/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MODE SENSE and MODE SELECT (SPC-4, 6.9 to 6.12), by the unit's table of pages. */
#include "scsi_internal.h"

enum { CONTROL_CURRENT, CONTROL_CHANGEABLE, CONTROL_DEFAULT, CONTROL_SAVED };
enum { ALL_PAGES = 0x3f, PAGE_MAX = 64, DESCRIPTOR = 8 };

static bool scsi_long_mode(const ScsiRequest *r)
{
    return r->s.cdb[0] >= 0x55;
}

static unsigned scsi_mode_header(const ScsiRequest *r)
{
    return scsi_long_mode(r) ? 8 : 4;
}

static void scsi_mode_page(const ScsiUnit *u, const ScsiModePage *p, unsigned control,
                           uint8_t *page)
{
    memset(page, 0, p->len);
    if (control != CONTROL_CHANGEABLE) {
        p->fill(u, page);
    } else if (p->changeable) {
        p->changeable(page);
    }
    page[0] = p->code;
    page[1] = p->len - 2;
}

/* The medium type of a CD is ATAPI's (SFF-8020i, table 60), which old drivers look at. */
static uint8_t scsi_medium_type(const ScsiUnit *u)
{
    if (!u->type->is_cd) {
        return 0;
    }
    return scsi_has_medium(u) ? 0x01 : u->s.tray_open ? 0x71 : 0x70;
}

static uint8_t scsi_device_parameter(const ScsiUnit *u)
{
    enum { WRITE_PROTECTED = 0x80, FUA = 0x10 };

    return u->type->is_cd ? 0 : FUA | (block_backend_read_only(u->blk) ? WRITE_PROTECTED : 0);
}

static void scsi_block_descriptor(const ScsiUnit *u, uint8_t *data)
{
    memset(data, 0, DESCRIPTOR);
    stbe32(data, MIN(scsi_blocks(u), 0xffffff));
    stbe32(data + 4, u->identity.block_size); /* three bytes of it: at most 2 MiB */
}

void scsi_mode_sense(ScsiRequest *r)
{
    ScsiUnit *u = r->unit;
    uint8_t code = r->s.cdb[2] & 0x3f, *data = r->s.buffer;
    unsigned control = r->s.cdb[2] >> 6, len = scsi_mode_header(r), first;
    bool descriptor = !u->type->is_cd && !(r->s.cdb[1] & 0x08) && scsi_has_medium(u);

    if (control == CONTROL_SAVED) {
        scsi_refuse(r, SENSE_NO_SAVED_PAGES);
        return;
    }
    memset(data, 0, len);
    if (descriptor) {
        scsi_block_descriptor(u, data + len);
        len += DESCRIPTOR;
    }
    first = len;
    for (const ScsiModePage *p = u->type->mode_pages; p->len; p++) {
        if (code == p->code || code == ALL_PAGES) {
            scsi_mode_page(u, p, control, data + len);
            len += p->len;
        }
    }
    /* Page 0 is what is asked for by those who want the header. */
    if ((len == first && code) || (r->s.cdb[3] && r->s.cdb[3] != 0xff)) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    if (scsi_long_mode(r)) {
        stbe16(data, len - 2);
        data[2] = scsi_medium_type(u);
        data[3] = scsi_device_parameter(u);
        data[7] = descriptor ? DESCRIPTOR : 0;
        scsi_data_in(r, len, ldbe16(r->s.cdb + 7));
    } else {
        data[0] = len - 1;
        data[1] = scsi_medium_type(u);
        data[2] = scsi_device_parameter(u);
        data[3] = descriptor ? DESCRIPTOR : 0;
        scsi_data_in(r, len, r->s.cdb[4]);
    }
}

void scsi_mode_select(ScsiRequest *r)
{
    enum { PAGE_FORMAT = 0x10, SAVE_PAGES = 0x01 };
    uint32_t len = scsi_long_mode(r) ? ldbe16(r->s.cdb + 7) : r->s.cdb[4];

    if (!(r->s.cdb[1] & PAGE_FORMAT) || r->s.cdb[1] & SAVE_PAGES) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (len > SCSI_BUFFER_SIZE) {
        scsi_refuse(r, SENSE_PARAMETER_LENGTH);
    } else {
        scsi_data_out(r, len);
    }
}

/* The page may differ from the current one in what is changeable. */
static bool scsi_page_fits(const ScsiUnit *u, const ScsiModePage *p, const uint8_t *page)
{
    uint8_t now[PAGE_MAX], mask[PAGE_MAX];

    scsi_mode_page(u, p, CONTROL_CURRENT, now);
    scsi_mode_page(u, p, CONTROL_CHANGEABLE, mask);
    for (unsigned i = 2; i < p->len; i++) {
        if ((page[i] ^ now[i]) & ~mask[i]) {
            return false;
        }
    }
    return true;
}

/*
 * One pass over the pages of the list; 'change' obeys them. Otherwise the SENSE_* that says what is
 * wrong with one, or 0.
 */
static uint32_t scsi_walk_pages(ScsiRequest *r, const uint8_t *data, size_t len, bool change)
{
    while (len) {
        const ScsiModePage *p = r->unit->type->mode_pages;

        if (len < 2) {
            return SENSE_PARAMETER_LENGTH;
        }
        while (p->len && p->code != (data[0] & 0x7f)) {
            p++;
        }
        if (!p->len || data[1] != p->len - 2) {
            return SENSE_INVALID_PARAMETER;
        }
        if (len < p->len) {
            return SENSE_PARAMETER_LENGTH;
        }
        if (!scsi_page_fits(r->unit, p, data)) {
            return SENSE_INVALID_PARAMETER;
        }
        if (change && p->change) {
            p->change(r, data);
        }
        data += p->len;
        len -= p->len;
    }
    return 0;
}

void scsi_mode_selected(ScsiRequest *r)
{
    unsigned header = scsi_mode_header(r), descriptor;
    const uint8_t *data = r->s.buffer;
    size_t len = r->s.length;
    uint8_t now[DESCRIPTOR];
    uint32_t wrong;

    if (len < header) {
        scsi_refuse(r, SENSE_PARAMETER_LENGTH);
        return;
    }
    descriptor = header == 8 ? ldbe16(data + 6) : data[3];
    if (len - header < descriptor) {
        scsi_refuse(r, SENSE_PARAMETER_LENGTH);
        return;
    }
    scsi_block_descriptor(r->unit, now);
    if (descriptor && (descriptor != DESCRIPTOR || memcmp(data + header + 4, now + 4, 4))) {
        scsi_refuse(r, SENSE_INVALID_PARAMETER);
        return;
    }
    data += header + descriptor;
    len -= header + descriptor;
    wrong = scsi_walk_pages(r, data, len, false);
    if (wrong) {
        scsi_refuse(r, wrong);
        return;
    }
    scsi_good(r); /* a page that is changed may begin work instead */
    scsi_walk_pages(r, data, len, true);
}
