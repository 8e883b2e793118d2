/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A SCSI disk: the commands, mode pages and VPD pages of SBC-3. */
#include "scsi_internal.h"

#include "base/iov.h"

enum {
    UNMAP_HEADER = 8,
    UNMAP_ENTRY = 16,
    UNMAP_ENTRIES = (SCSI_BUFFER_SIZE - UNMAP_HEADER) / UNMAP_ENTRY,
    ANCHOR = 0x10, /* of WRITE SAME */
    WRITE_SAME_UNMAP = 0x08,
    NDOB = 0x01, /* no data out: zeroes */
};

static void scsi_read_capacity_16(ScsiRequest *r)
{
    enum { SERVICE_READ_CAPACITY = 0x10, LENGTH = 32, LBPME = 0x80 };
    const ScsiIdentity *id = &r->unit->identity;
    uint64_t total = scsi_blocks(r->unit);
    uint8_t *data = r->s.buffer;

    if ((r->s.cdb[1] & 0x1f) != SERVICE_READ_CAPACITY) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(data, 0, LENGTH);
    stbe64(data, total ? total - 1 : 0);
    stbe32(data + 8, id->block_size);
    data[13] = __builtin_ctz(id->physical_block_size / id->block_size);
    data[14] = id->discard_granularity ? LBPME : 0;
    scsi_data_in(r, LENGTH, ldbe32(r->s.cdb + 10));
}

static void scsi_synchronize_cache(ScsiRequest *r)
{
    uint64_t lba;
    uint32_t blocks;

    scsi_range(r, &lba, &blocks);
    if (scsi_check_range(r, lba, blocks)) {
        scsi_begin_work(r, 0, 0);
    }
}

static void scsi_seek(ScsiRequest *r)
{
    uint64_t lba;
    uint32_t blocks;

    scsi_range(r, &lba, &blocks);
    if (scsi_check_range(r, lba, 1)) {
        scsi_good(r);
    }
}

static ScsiKind scsi_kind_write(const ScsiRequest *r)
{
    return SCSI_KIND_WRITE;
}

/* UNMAP (5.28). */

static ScsiKind scsi_kind_unmap(const ScsiRequest *r)
{
    return SCSI_KIND_UNMAP;
}

static void scsi_unmap(ScsiRequest *r)
{
    uint32_t len = ldbe16(r->s.cdb + 7);

    if (!r->unit->identity.discard_granularity) {
        scsi_refuse(r, SENSE_INVALID_OPCODE);
    } else if (r->s.cdb[1] & 1) { /* ANCHOR */
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (block_backend_read_only(r->unit->blk)) {
        scsi_refuse(r, SENSE_WRITE_PROTECTED);
    } else if (len > UNMAP_HEADER + UNMAP_ENTRIES * UNMAP_ENTRY) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else {
        scsi_data_out(r, len);
    }
}

/* All entries are looked at before the first is obeyed; those of no blocks go. */
static void scsi_unmap_received(ScsiRequest *r)
{
    uint8_t *list = r->s.buffer + UNMAP_HEADER;
    uint32_t n, left = 0;

    if (r->s.length < UNMAP_HEADER || ldbe16(r->s.buffer) + 2u > r->s.length ||
        ldbe16(r->s.buffer + 2) + (uint32_t)UNMAP_HEADER > r->s.length) {
        scsi_refuse(r, SENSE_PARAMETER_LENGTH);
        return;
    }
    n = ldbe16(r->s.buffer + 2) / UNMAP_ENTRY;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *entry = list + i * UNMAP_ENTRY;
        uint32_t blocks = ldbe32(entry + 8);

        if (!scsi_check_range(r, ldbe64(entry), blocks)) {
            return;
        }
        if (blocks) {
            memmove(list + left++ * UNMAP_ENTRY, entry, UNMAP_ENTRY);
        }
    }
    r->s.buffer_len = UNMAP_HEADER + left * UNMAP_ENTRY;
    if (left) {
        scsi_begin_work(r, 0, left);
    } else {
        scsi_good(r);
    }
}

uint64_t scsi_unmap_entry(const ScsiRequest *r, uint64_t *lba)
{
    const uint8_t *entry = r->s.buffer + r->s.buffer_len - r->s.blocks * UNMAP_ENTRY;

    *lba = ldbe64(entry);
    return ldbe32(entry + 8);
}

/* WRITE SAME (5.44). */

static ScsiKind scsi_kind_write_same(const ScsiRequest *r)
{
    return SCSI_KIND_WRITE_SAME;
}

static void scsi_write_same(ScsiRequest *r)
{
    const ScsiIdentity *id = &r->unit->identity;
    uint8_t flags = r->s.cdb[1];
    uint64_t lba;
    uint32_t blocks;

    scsi_range(r, &lba, &blocks);
    /* No blocks: to the end, which the block limits page says is not possible. */
    if (flags & ANCHOR || flags & 0xe6 || (flags & NDOB && r->s.cdb[0] != 0x93) || !blocks ||
        (flags & WRITE_SAME_UNMAP && !id->discard_granularity) ||
        id->block_size > SCSI_BUFFER_SIZE) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (block_backend_read_only(r->unit->blk)) {
        scsi_refuse(r, SENSE_WRITE_PROTECTED);
    } else if (!scsi_check_range(r, lba, blocks)) {
        return;
    } else if (flags & NDOB) {
        r->s.buffer_len = id->block_size;
        memset(r->s.buffer, 0, id->block_size);
        scsi_begin_work(r, lba, blocks);
    } else {
        scsi_data_out(r, id->block_size);
    }
}

static void scsi_write_same_received(ScsiRequest *r)
{
    uint64_t lba;
    uint32_t blocks;

    scsi_range(r, &lba, &blocks);
    if (scsi_check_range(r, lba, blocks)) {
        scsi_begin_work(r, lba, blocks);
    }
}

bool scsi_write_same_zero(const ScsiRequest *r, unsigned *flags)
{
    *flags = r->s.cdb[1] & WRITE_SAME_UNMAP ? BLOCK_REQ_MAY_UNMAP : 0;
    return buffer_is_zero(r->s.buffer, r->s.buffer_len);
}

static const ScsiCommand scsi_disk_commands[] = {
    SCSI_COMMON_COMMANDS,
    {0x08, SCSI_MEDIUM, .run = scsi_read, .kind = scsi_kind_read},
    {0x0a, SCSI_MEDIUM, .run = scsi_write, .kind = scsi_kind_write},
    {0x0b, SCSI_MEDIUM, .run = scsi_seek},
    {0x2a, SCSI_MEDIUM, .run = scsi_write, .kind = scsi_kind_write},
    {0x2b, SCSI_MEDIUM, .run = scsi_seek},
    {0x35, SCSI_MEDIUM, .run = scsi_synchronize_cache, .kind = scsi_kind_flush},
    {0x41, SCSI_MEDIUM, scsi_kind_write_same, scsi_write_same, scsi_write_same_received},
    {0x42, SCSI_MEDIUM, scsi_kind_unmap, scsi_unmap, scsi_unmap_received},
    {0x88, SCSI_MEDIUM, .run = scsi_read, .kind = scsi_kind_read},
    {0x8a, SCSI_MEDIUM, .run = scsi_write, .kind = scsi_kind_write},
    {0x8f, SCSI_MEDIUM, .run = scsi_verify, .kind = scsi_kind_verify},
    {0x91, SCSI_MEDIUM, .run = scsi_synchronize_cache, .kind = scsi_kind_flush},
    {0x93, SCSI_MEDIUM, scsi_kind_write_same, scsi_write_same, scsi_write_same_received},
    {0x9e, SCSI_MEDIUM, .run = scsi_read_capacity_16},
    {0xaa, SCSI_MEDIUM, .run = scsi_write, .kind = scsi_kind_write},
    {0xaf, SCSI_MEDIUM, .run = scsi_verify, .kind = scsi_kind_verify},
    {0},
};

/* Mode pages. */

static void scsi_page_error_recovery(const ScsiUnit *u, uint8_t *page)
{
    page[2] = 0x80; /* defects are replaced when they are written */
}

/* The format page's sectors of a track, and bytes of a sector. */
static void scsi_page_format(const ScsiUnit *u, uint8_t *page)
{
    stbe16(page + 10, MIN(u->identity.secs, UINT16_MAX));
    stbe16(page + 12, MIN(u->identity.block_size, UINT16_MAX));
    page[20] = u->identity.removable ? 0x60 : 0x40; /* hard sectors */
}

static void scsi_page_geometry(const ScsiUnit *u, uint8_t *page)
{
    uint32_t cyls = MIN(u->identity.cyls, 0xffffff);

    page[2] = cyls >> 16;
    stbe16(page + 3, cyls);
    page[5] = MIN(u->identity.heads, UINT8_MAX);
    memcpy(page + 6, page + 2, 3);  /* no precompensation */
    memcpy(page + 9, page + 2, 3);  /* no reduced current */
    memcpy(page + 14, page + 2, 3); /* where the heads are parked */
    stbe16(page + 20, u->identity.rotation_rate > 1 ? u->identity.rotation_rate : 5400);
}

enum { WCE = 0x04 };

static void scsi_page_caching(const ScsiUnit *u, uint8_t *page)
{
    page[2] = u->s.write_cache ? WCE : 0;
}

static void scsi_page_caching_mask(uint8_t *mask)
{
    mask[2] = WCE;
}

static void scsi_page_caching_change(ScsiRequest *r, const uint8_t *page)
{
    bool on = page[2] & WCE, was = r->unit->s.write_cache;

    scsi_set_write_cache(r->unit, on);
    if (was && !on) {
        scsi_begin_work(r, 0, 0); /* what is in the cache is written */
    }
}

static void scsi_page_control(const ScsiUnit *u, uint8_t *page)
{
    page[3] = 0x10; /* commands may be ordered anew */
}

static const ScsiModePage scsi_disk_pages[] = {
    {0x01, 12, scsi_page_error_recovery},
    {0x03, 24, scsi_page_format},
    {0x04, 24, scsi_page_geometry},
    {0x08, 20, scsi_page_caching, scsi_page_caching_mask, scsi_page_caching_change},
    {0x0a, 12, scsi_page_control},
    {0},
};

/* VPD pages. */

static size_t scsi_vpd_block_limits(const ScsiUnit *u, uint8_t *data)
{
    const ScsiIdentity *id = &u->identity;
    uint32_t granularity = id->discard_granularity / id->block_size;
    uint8_t *page = data - 4; /* offsets are the standard's */

    page[4] = 1; /* WRITE SAME of no blocks is refused */
    stbe16(page + 6, id->min_io_size / id->block_size);
    stbe32(page + 12, id->opt_io_size / id->block_size);
    if (id->discard_granularity) {
        stbe32(page + 20, 0x200000); /* blocks of UNMAP */
        stbe32(page + 24, UNMAP_ENTRIES);
        stbe32(page + 28, granularity);
    }
    stbe64(page + 36, 0x400000); /* blocks of WRITE SAME */
    return 60;
}

static size_t scsi_vpd_characteristics(const ScsiUnit *u, uint8_t *data)
{
    stbe16(data, u->identity.rotation_rate);
    return 60;
}

static size_t scsi_vpd_provisioning(const ScsiUnit *u, uint8_t *data)
{
    enum { LBPU = 0x80, LBPWS = 0x40, LBPWS10 = 0x20, RESOURCE = 1, THIN = 2 };

    if (u->identity.discard_granularity) {
        data[1] = LBPU | LBPWS | LBPWS10;
        data[2] = THIN;
    }
    return 4;
}

static const ScsiVpdPage scsi_disk_vpd[] = {
    {0x80, scsi_vpd_serial},       {0x83, scsi_vpd_identification},
    {0xb0, scsi_vpd_block_limits}, {0xb1, scsi_vpd_characteristics},
    {0xb2, scsi_vpd_provisioning}, {0},
};

const ScsiType scsi_disk_type = {
    .device_type = 0x00,
    .commands = scsi_disk_commands,
    .mode_pages = scsi_disk_pages,
    .vpd_pages = scsi_disk_vpd,
};
