/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD or DVD drive: the commands of MMC-5. A medium has one data track. One that is longer than a
 * CD can be is a DVD. Audio is refused: there are no audio tracks, and no audio features.
 */
#include "block/media.h"
#include "cd_sector.h"
#include "scsi_internal.h"

enum {
    SECTORS_A_SECOND = 75,
    LEAD_IN = 150,                           /* sectors before address 0, as minutes count */
    CD_SECTORS = 80 * 60 * SECTORS_A_SECOND, /* of the longest CD */
    DATA_TRACK = 0x14,                       /* ADR and control of a data track */
    LEAD_OUT = 0xaa,                         /* number of the track behind the last */
};

static bool scsi_cd_is_dvd(const ScsiUnit *u)
{
    return scsi_has_medium(u) && scsi_blocks(u) > CD_SECTORS;
}

/* An address in minutes, seconds and frames. */
static void scsi_cd_put_msf(uint8_t *msf, uint64_t lba)
{
    uint64_t n = lba + LEAD_IN;

    msf[0] = MIN(n / SECTORS_A_SECOND / 60, 255);
    msf[1] = n / SECTORS_A_SECOND % 60;
    msf[2] = n % SECTORS_A_SECOND;
}

static bool scsi_cd_get_msf(const uint8_t *msf, uint64_t *lba)
{
    uint64_t n = (msf[0] * 60u + msf[1]) * SECTORS_A_SECOND + msf[2];

    *lba = n - LEAD_IN;
    return msf[1] < 60 && msf[2] < SECTORS_A_SECOND && n >= LEAD_IN;
}

/* Four bytes of an address, in one form or the other. */
static void scsi_cd_put_address(uint8_t *data, uint64_t lba, bool msf)
{
    stbe32(data, 0);
    if (msf) {
        scsi_cd_put_msf(data + 1, lba);
    } else {
        stbe32(data, MIN(lba, UINT32_MAX));
    }
}

/* READ TOC/PMA/ATIP (6.26). */

static size_t scsi_cd_toc_entry(uint8_t *data, uint8_t track, uint64_t lba, bool msf)
{
    data[0] = 0;
    data[1] = DATA_TRACK;
    data[2] = track;
    data[3] = 0;
    scsi_cd_put_address(data + 4, lba, msf);
    return 8;
}

/* Format 0: the tracks from a number on. */
static size_t scsi_cd_toc(const ScsiUnit *u, uint8_t start, bool msf, uint8_t *data)
{
    size_t n = 4;

    if (start <= 1) {
        n += scsi_cd_toc_entry(data + n, 1, 0, msf);
    }
    return n + scsi_cd_toc_entry(data + n, LEAD_OUT, scsi_blocks(u), msf);
}

/* Format 2: the entries of the lead-in, of session 1. Addresses are always minutes. */
static size_t scsi_cd_full_toc(const ScsiUnit *u, uint8_t *data)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    size_t n = 4;

    for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
        uint8_t *entry = data + n;

        memset(entry, 0, 11);
        entry[0] = 1;
        entry[1] = DATA_TRACK;
        entry[3] = points[i];
        if (points[i] == 0xa2) {
            scsi_cd_put_msf(entry + 8, scsi_blocks(u));
        } else if (points[i] == 1) {
            scsi_cd_put_msf(entry + 8, 0);
        } else {
            entry[8] = 1; /* the first track, and the last */
        }
        n += 11;
    }
    return n;
}

static void scsi_cd_read_toc(ScsiRequest *r)
{
    const uint8_t *cdb = r->s.cdb;
    /* Old drivers have the format in the control byte (SFF-8020i). */
    unsigned format = cdb[2] & 0x0f ? cdb[2] & 0x0f : cdb[9] >> 6;
    bool msf = cdb[1] & 0x02;
    uint8_t *data = r->s.buffer;
    size_t n;

    data[2] = data[3] = 1; /* first and last track, or session */
    if (format == 0 && (cdb[6] <= 1 || cdb[6] == LEAD_OUT)) {
        n = scsi_cd_toc(r->unit, cdb[6], msf, data);
    } else if (format == 1) {
        n = 4 + scsi_cd_toc_entry(data + 4, 1, 0, msf);
    } else if (format == 2 && cdb[6] <= 1) {
        n = scsi_cd_full_toc(r->unit, data);
    } else {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    stbe16(data, n - 2);
    scsi_data_in(r, n, ldbe16(cdb + 7));
}

/* GET CONFIGURATION (6.5, and the features of 5.3). */

enum { PROFILE_CD = 0x0008, PROFILE_DVD = 0x0010 };
enum { PERSISTENT = 0x02, CURRENT = 0x01, ALWAYS = PERSISTENT | CURRENT };

typedef struct {
    uint16_t code;
    uint8_t flags;    /* version, and ALWAYS */
    uint16_t profile; /* it is current with this profile */
    uint8_t len;
    uint8_t data[8];
} ScsiCdFeature;

static const ScsiCdFeature features[] = {
    {0x0000, ALWAYS, 0, 8, {0, 0x10, 0, 0, 0, 0x08, 0, 0}}, /* profiles */
    {0x0001, 0x08 | ALWAYS, 0, 8, {0, 0, 0, 2, 1}},         /* core: ATAPI */
    {0x0002, 0x04 | ALWAYS, 0, 4, {0x02}},                  /* morphing: by events */
    {0x0003, 0x04 | ALWAYS, 0, 4, {0x29}},                  /* a tray that locks and ejects */
    {0x0010, 0, UINT16_MAX, 8, {0, 0, 8, 0, 0, 1}},         /* readable at random */
    {0x001d, 0, UINT16_MAX, 0, {0}},                        /* all kinds of CDs */
    {0x001e, 0x08, PROFILE_CD, 4, {0}},                     /* CDs */
    {0x001f, 0x04, PROFILE_DVD, 4, {0}},                    /* DVDs */
    {0x0100, ALWAYS, 0, 0, {0}},                            /* power management */
    {0x0105, 0x04 | ALWAYS, 0, 4, {0}},                     /* timeouts */
};

static uint16_t scsi_cd_profile(const ScsiUnit *u)
{
    return !scsi_has_medium(u) ? 0 : scsi_cd_is_dvd(u) ? PROFILE_DVD : PROFILE_CD;
}

static bool scsi_cd_feature_current(const ScsiCdFeature *f, uint16_t profile)
{
    return f->flags & CURRENT || f->profile == profile || (f->profile == UINT16_MAX && profile);
}

static size_t scsi_cd_put_feature(const ScsiCdFeature *f, uint16_t profile, uint8_t *data)
{
    stbe16(data, f->code);
    data[2] = f->flags | (scsi_cd_feature_current(f, profile) ? CURRENT : 0);
    data[3] = f->len;
    memcpy(data + 4, f->data, f->len);
    if (f->code == 0) { /* the profiles say which is current */
        data[6] = profile == PROFILE_DVD;
        data[10] = profile == PROFILE_CD;
    }
    return 4 + f->len;
}

static void scsi_cd_get_configuration(ScsiRequest *r)
{
    enum { ALL, ALL_CURRENT, ONE };
    unsigned which = r->s.cdb[1] & 3, start = ldbe16(r->s.cdb + 2);
    uint16_t profile = scsi_cd_profile(r->unit);
    uint8_t *data = r->s.buffer;
    size_t n = 8;

    if (which > ONE) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(data, 0, 8);
    stbe16(data + 6, profile);
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        const ScsiCdFeature *f = &features[i];

        if ((which == ONE ? f->code == start : f->code >= start) &&
            (which != ALL_CURRENT || scsi_cd_feature_current(f, profile))) {
            n += scsi_cd_put_feature(f, profile, data + n);
        }
    }
    stbe32(data, n - 4);
    scsi_data_in(r, n, ldbe16(r->s.cdb + 7));
}

/* GET EVENT STATUS NOTIFICATION (6.6): events of the medium, when asked. */
static void scsi_cd_get_event(ScsiRequest *r)
{
    enum { POLLED = 0x01, MEDIA_CLASS = 4, NO_EVENT = 0x80 };
    enum { EJECT_REQUEST = 1, NEW_MEDIA = 2, MEDIA_REMOVAL = 3 };
    ScsiUnit *u = r->unit;
    uint32_t wanted = ldbe16(r->s.cdb + 7);
    uint8_t *data = r->s.buffer;

    if (!(r->s.cdb[1] & POLLED)) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(data, 0, 8);
    data[3] = BIT(MEDIA_CLASS);
    if (!(r->s.cdb[4] & BIT(MEDIA_CLASS))) {
        stbe16(data, 2);
        data[2] = NO_EVENT;
        scsi_data_in(r, 4, wanted);
        return;
    }
    stbe16(data, 6);
    data[2] = MEDIA_CLASS;
    if (wanted > 4) { /* the event is told */
        uint32_t told = u->s.events & EVENT_EJECT     ? EVENT_EJECT
                        : u->s.events & EVENT_REMOVED ? EVENT_REMOVED
                                                      : u->s.events & EVENT_NEW;

        data[4] = told == EVENT_EJECT     ? EJECT_REQUEST
                  : told == EVENT_REMOVED ? MEDIA_REMOVAL
                  : told == EVENT_NEW     ? NEW_MEDIA
                                          : 0;
        u->s.events &= ~told;
    }
    data[5] = (u->s.tray_open ? 1 : 0) | (scsi_has_medium(u) ? 2 : 0);
    scsi_data_in(r, 8, wanted);
}

/* About disc and drive. */

static void scsi_cd_disc_information(ScsiRequest *r)
{
    enum { LENGTH = 34, COMPLETE = 0x0e, UNRESTRICTED = 0x20 };
    uint8_t *data = r->s.buffer;

    if (r->s.cdb[1] & 7) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(data, 0, LENGTH);
    stbe16(data, LENGTH - 2);
    data[2] = COMPLETE; /* the disc, and its last session */
    data[3] = data[4] = data[5] = data[6] = 1;
    data[7] = UNRESTRICTED;
    memset(data + 16, 0xff, 8); /* no session can follow */
    scsi_data_in(r, LENGTH, ldbe16(r->s.cdb + 7));
}

static void scsi_cd_track_information(ScsiRequest *r)
{
    enum { LENGTH = 36, BY_LBA = 0, BY_TRACK = 1, BY_SESSION = 2 };
    uint32_t number = ldbe32(r->s.cdb + 2), by = r->s.cdb[1] & 3;
    uint64_t total = scsi_blocks(r->unit);
    uint8_t *data = r->s.buffer;

    if ((by == BY_LBA && number >= total) || (by != BY_LBA && number != 1) || by > BY_SESSION) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(data, 0, LENGTH);
    stbe16(data, LENGTH - 2);
    data[2] = data[3] = 1;
    data[5] = 0x04; /* data, not interrupted */
    data[6] = 0x01; /* mode 1 */
    stbe32(data + 24, MIN(total, UINT32_MAX));
    scsi_data_in(r, LENGTH, ldbe16(r->s.cdb + 7));
}

static void scsi_cd_mechanism_status(ScsiRequest *r)
{
    enum { LENGTH = 8, DOOR_OPEN = 0x10 };
    uint8_t *data = r->s.buffer;

    memset(data, 0, LENGTH);
    data[1] = r->unit->s.tray_open ? DOOR_OPEN : 0;
    data[5] = 1; /* slots */
    scsi_data_in(r, LENGTH, ldbe16(r->s.cdb + 8));
}

/* READ SUB-CHANNEL: position, and neither catalogue number nor recording code. */
static void scsi_cd_read_subchannel(ScsiRequest *r)
{
    enum { NO_AUDIO_STATUS = 0x15, SUBQ = 0x40, POSITION = 1, CATALOGUE = 2, RECORDING = 3 };
    uint8_t format = r->s.cdb[3], *data = r->s.buffer;
    size_t n = 4;

    memset(data, 0, 24);
    data[1] = NO_AUDIO_STATUS;
    if (r->s.cdb[2] & SUBQ) {
        if (format < POSITION || format > RECORDING || (format == RECORDING && r->s.cdb[6] != 1)) {
            scsi_refuse(r, SENSE_INVALID_FIELD);
            return;
        }
        data[4] = format;
        if (format != CATALOGUE) {
            data[5] = DATA_TRACK;
            data[6] = 1;
        }
        if (format == POSITION) {
            data[7] = 1;
            scsi_cd_put_address(data + 8, 0, r->s.cdb[1] & 2);
        }
        n = format == POSITION ? 16 : 24;
    }
    stbe16(data + 2, n - 4);
    scsi_data_in(r, n, ldbe16(r->s.cdb + 7));
}

/* READ DVD STRUCTURE (6.22): layer 0 of a DVD-ROM without copy protection. */

static void scsi_cd_dvd_physical(const ScsiUnit *u, uint8_t *data)
{
    enum { FIRST = 0x30000 };
    uint64_t last = FIRST + MIN(scsi_blocks(u) - 1, 0xffffff - FIRST);

    data[0] = 0x01; /* DVD-ROM, version 1 */
    data[1] = 0x0f; /* 120 mm; the greatest rate is not said */
    data[2] = 0x01; /* one layer, embossed */
    stbe32(data + 4, FIRST);
    stbe32(data + 8, last);
}

static void scsi_cd_read_dvd_structure(ScsiRequest *r)
{
    enum { PHYSICAL = 0x00, COPYRIGHT = 0x01, MANUFACTURER = 0x04, LIST = 0xff };
    static const struct {
        uint8_t format;
        uint16_t len;
    } formats[] = {{PHYSICAL, 2052}, {COPYRIGHT, 8}, {MANUFACTURER, 2052}, {LIST, 20}};
    uint8_t format = r->s.cdb[7], *data = r->s.buffer;
    unsigned i = 0;

    while (i < ARRAY_SIZE(formats) && formats[i].format != format) {
        i++;
    }
    if (i == ARRAY_SIZE(formats) || r->s.cdb[1] & 0x0f) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    if (format != LIST && !scsi_cd_is_dvd(r->unit)) {
        scsi_refuse(r, SENSE_INCOMPATIBLE_FORMAT);
        return;
    }
    if (format != LIST && r->s.cdb[6]) { /* there is no layer 1 */
        scsi_refuse(r, SENSE_INVALID_FIELD);
        return;
    }
    memset(data, 0, formats[i].len);
    if (format == PHYSICAL) {
        scsi_cd_dvd_physical(r->unit, data + 4);
    }
    for (unsigned k = 0; format == LIST && k < ARRAY_SIZE(formats); k++) {
        data[4 + 4 * k] = formats[k].format;
        data[5 + 4 * k] = 0x40; /* can be read */
        stbe16(data + 6 + 4 * k, formats[k].len);
    }
    stbe16(data, formats[i].len - 2);
    scsi_data_in(r, formats[i].len, ldbe16(r->s.cdb + 8));
}

static void scsi_cd_set_speed(ScsiRequest *r)
{
    scsi_good(r); /* as fast as the host is in any case */
}

static void scsi_cd_seek(ScsiRequest *r)
{
    if (scsi_check_range(r, ldbe32(r->s.cdb + 2), 1)) {
        scsi_good(r);
    }
}

/* READ CD and READ CD MSF (6.20, 6.21): parts of a sector of mode 1 (ECMA-130, 14). */

enum {
    PART_SYNC = 0x80,
    PART_SUBHEADER = 0x40,
    PART_HEADER = 0x20,
    PART_DATA = 0x10,
    PART_CHECK = 0x08
};
enum { SYNC_LENGTH = 12, HEADER_LENGTH = 4, CHECK_LENGTH = 288 };

/* A sector of mode 1 has no sub-header. */
static uint32_t scsi_cd_part_length(uint8_t parts)
{
    return (parts & PART_SYNC ? SYNC_LENGTH : 0) + (parts & PART_HEADER ? HEADER_LENGTH : 0) +
           (parts & PART_DATA ? CD_DATA_SIZE : 0) + (parts & PART_CHECK ? CHECK_LENGTH : 0);
}

static ScsiKind scsi_kind_read_cd(const ScsiRequest *r)
{
    return (r->s.cdb[9] & 0xf8 & ~PART_SUBHEADER) == PART_DATA ? SCSI_KIND_READ
                                                               : SCSI_KIND_READ_RAW;
}

static void scsi_cd_read_cd(ScsiRequest *r)
{
    enum { READ_CD_MSF = 0xb9, TYPE_ANY = 0, TYPE_MODE_1 = 2 };
    const uint8_t *cdb = r->s.cdb;
    uint8_t parts = cdb[9] & 0xf8, type = cdb[1] >> 2 & 7;
    uint64_t lba = ldbe32(cdb + 2), end, blocks = cdb[6] << 16 | cdb[7] << 8 | cdb[8];

    if (cdb[0] == READ_CD_MSF) {
        if (!scsi_cd_get_msf(cdb + 3, &lba) || !scsi_cd_get_msf(cdb + 6, &end) || end < lba) {
            scsi_refuse(r, SENSE_INVALID_FIELD);
            return;
        }
        blocks = end - lba;
    }
    /* No error pointers, no sub-channels; what is asked for is in one piece (table 350). */
    if (cdb[9] & 0x07 || cdb[10] & 0x07 ||
        (parts & PART_SYNC && !(parts & PART_HEADER) && parts != PART_SYNC) ||
        (parts & PART_CHECK && !(parts & PART_DATA) && parts != PART_CHECK)) {
        scsi_refuse(r, SENSE_INVALID_FIELD);
    } else if (type != TYPE_ANY && type != TYPE_MODE_1) {
        scsi_refuse(r, SENSE_ILLEGAL_MODE);
    } else if (!scsi_check_range(r, lba, blocks)) {
        return;
    } else if (!scsi_cd_part_length(parts)) {
        scsi_good(r);
    } else {
        scsi_data_blocks(r, SCSI_DATA_IN, lba, blocks, scsi_cd_part_length(parts));
    }
}

void scsi_cd_sector(const ScsiRequest *r, uint64_t lba, const uint8_t *data, uint8_t *out)
{
    uint8_t sector[CD_SECTOR_SIZE], parts = r->s.cdb[9];
    size_t n = 0;
    const struct {
        uint8_t part;
        uint16_t at, len;
    } layout[] = {{PART_SYNC, 0, SYNC_LENGTH},
                  {PART_HEADER, SYNC_LENGTH, HEADER_LENGTH},
                  {PART_DATA, SYNC_LENGTH + HEADER_LENGTH, CD_DATA_SIZE},
                  {PART_CHECK, SYNC_LENGTH + HEADER_LENGTH + CD_DATA_SIZE, CHECK_LENGTH}};

    cd_sector_mode_1(sector, lba + LEAD_IN, data);
    for (unsigned i = 0; i < ARRAY_SIZE(layout); i++) {
        if (parts & layout[i].part) {
            memcpy(out + n, sector + layout[i].at, layout[i].len);
            n += layout[i].len;
        }
    }
}

static const ScsiCommand scsi_cd_commands[] = {
    SCSI_COMMON_COMMANDS,
    {0x2b, SCSI_MEDIUM, .run = scsi_cd_seek},
    {0x42, SCSI_MEDIUM, .run = scsi_cd_read_subchannel},
    {0x43, SCSI_MEDIUM, .run = scsi_cd_read_toc},
    {0x46, SCSI_NO_ATTENTION, .run = scsi_cd_get_configuration},
    {0x4a, SCSI_NO_ATTENTION, .run = scsi_cd_get_event},
    {0x51, SCSI_MEDIUM, .run = scsi_cd_disc_information},
    {0x52, SCSI_MEDIUM, .run = scsi_cd_track_information},
    {0xad, SCSI_MEDIUM, .run = scsi_cd_read_dvd_structure},
    {0xb9, SCSI_MEDIUM, .run = scsi_cd_read_cd, .kind = scsi_kind_read_cd},
    {0xbb, 0, .run = scsi_cd_set_speed},
    {0xbd, 0, .run = scsi_cd_mechanism_status},
    {0xbe, SCSI_MEDIUM, .run = scsi_cd_read_cd, .kind = scsi_kind_read_cd},
    {0},
};

/* Mode pages. */

static void scsi_cd_page_error_recovery(const ScsiUnit *u, uint8_t *page)
{
    page[3] = 1; /* retries */
}

/* No audio: the ports are not connected. */
static void scsi_cd_page_audio(const ScsiUnit *u, uint8_t *page)
{
    page[2] = 0x04; /* immediate */
}

/* Capabilities (of MMC-3; 5.5.10 of SFF-8020i). */
static void scsi_cd_page_capabilities(const ScsiUnit *u, uint8_t *page)
{
    enum { SPEED = 50 * 176 /* kB/s */ };
    bool locked = block_backend_medium_locked(u->blk);

    page[2] = 0x3b;                       /* reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM */
    page[4] = 0x70;                       /* mode 2 and multisession */
    page[6] = 0x29 | (locked ? 0x02 : 0); /* a tray, which ejects and locks */
    stbe16(page + 8, SPEED);
    stbe16(page + 12, 512); /* KiB of buffer */
    stbe16(page + 14, SPEED);
}

static const ScsiModePage scsi_cd_pages[] = {
    {0x01, 8, scsi_cd_page_error_recovery},
    {0x0e, 16, scsi_cd_page_audio},
    {0x2a, 20, scsi_cd_page_capabilities},
    {0},
};

static const ScsiVpdPage scsi_cd_vpd[] = {
    {0x80, scsi_vpd_serial},
    {0x83, scsi_vpd_identification},
    {0},
};

const ScsiType scsi_cd_type = {
    .device_type = 0x05,
    .is_cd = true,
    .commands = scsi_cd_commands,
    .mode_pages = scsi_cd_pages,
    .vpd_pages = scsi_cd_vpd,
};
