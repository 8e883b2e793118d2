/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared by scsi.c (requests and steps), scsi_unit.c (its life and state), scsi_command.c (commands
 * of all units: SPC), scsi_mode.c (MODE SENSE and SELECT), scsi_disk.c (SBC) and scsi_cd.c (MMC).
 */
#ifndef DEVICES_STORAGE_SCSI_INTERNAL_H
#define DEVICES_STORAGE_SCSI_INTERNAL_H

#include "base/util.h"
#include "scsi.h"

/* Sense keys (SPC-4, 4.5.6), and with the additional codes (annex F). */
enum {
    SCSI_KEY_NO_SENSE = 0,
    SCSI_KEY_NOT_READY = 2,
    SCSI_KEY_MEDIUM_ERROR = 3,
    SCSI_KEY_ILLEGAL_REQUEST = 5,
    SCSI_KEY_UNIT_ATTENTION = 6,
    SCSI_KEY_DATA_PROTECT = 7,
    SCSI_KEY_MISCOMPARE = 0xe,
};
#define SCSI_SENSE(key, asc, ascq) ((key) << 16 | (asc) << 8 | (ascq))
enum {
    SENSE_STOPPED = SCSI_SENSE(SCSI_KEY_NOT_READY, 0x04, 0x02),
    SENSE_NO_MEDIUM = SCSI_SENSE(SCSI_KEY_NOT_READY, 0x3a, 0x00),
    SENSE_TRAY_CLOSED = SCSI_SENSE(SCSI_KEY_NOT_READY, 0x3a, 0x01),
    SENSE_TRAY_OPEN = SCSI_SENSE(SCSI_KEY_NOT_READY, 0x3a, 0x02),
    SENSE_WRITE_ERROR = SCSI_SENSE(SCSI_KEY_MEDIUM_ERROR, 0x0c, 0x00),
    SENSE_READ_ERROR = SCSI_SENSE(SCSI_KEY_MEDIUM_ERROR, 0x11, 0x00),
    SENSE_PARAMETER_LENGTH = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x1a, 0x00),
    SENSE_INVALID_OPCODE = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x20, 0x00),
    SENSE_OUT_OF_RANGE = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x21, 0x00),
    SENSE_INVALID_FIELD = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x24, 0x00),
    SENSE_NO_SUCH_UNIT = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x25, 0x00),
    SENSE_INVALID_PARAMETER = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x26, 0x00),
    SENSE_INCOMPATIBLE_FORMAT = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x30, 0x02),
    SENSE_NO_SAVED_PAGES = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x39, 0x00),
    SENSE_REMOVAL_PREVENTED = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x53, 0x02),
    SENSE_ILLEGAL_MODE = SCSI_SENSE(SCSI_KEY_ILLEGAL_REQUEST, 0x64, 0x00),
    SENSE_WRITE_PROTECTED = SCSI_SENSE(SCSI_KEY_DATA_PROTECT, 0x27, 0x00),
    SENSE_NO_SPACE = SCSI_SENSE(SCSI_KEY_DATA_PROTECT, 0x27, 0x07),
    SENSE_MISCOMPARE = SCSI_SENSE(SCSI_KEY_MISCOMPARE, 0x1d, 0x00),
};

/* Unit attention conditions, bits of ScsiUnitState.attention; the lowest is told first. */
enum {
    ATTENTION_POWER_ON,
    ATTENTION_RESET,
    ATTENTION_MEDIUM,
    ATTENTION_CAPACITY,
    ATTENTION_COUNT,
};

/* Bits of ScsiUnitState.events. */
enum { EVENT_EJECT = 1, EVENT_NEW = 2, EVENT_REMOVED = 4, EVENT_ALL = 7 };

/* What a command asks of the disk. */
typedef enum {
    SCSI_KIND_NONE,
    SCSI_KIND_READ,
    SCSI_KIND_READ_RAW, /* sectors of a CD as they are on it */
    SCSI_KIND_WRITE,
    SCSI_KIND_COMPARE,
    SCSI_KIND_VERIFY,
    SCSI_KIND_FLUSH,
    SCSI_KIND_UNMAP,
    SCSI_KIND_WRITE_SAME,
} ScsiKind;

/* Flags of commands. */
enum {
    SCSI_MEDIUM = 1,      /* refused without a medium */
    SCSI_NO_ATTENTION = 2 /* a unit attention stays pending */
};

typedef struct {
    uint8_t code, flags;
    ScsiKind (*kind)(const ScsiRequest *r); /* NULL: no disk */
    void (*run)(ScsiRequest *r);
    void (*received)(ScsiRequest *r); /* all of the data out is in the buffer */
} ScsiCommand;

/* A mode page as MODE SENSE returns it, page code and length first. */
typedef struct {
    uint8_t code, len;
    void (*fill)(const ScsiUnit *u, uint8_t *page);
    void (*changeable)(uint8_t *mask);
    void (*change)(ScsiRequest *r, const uint8_t *page);
} ScsiModePage;

typedef struct {
    uint8_t code;
    size_t (*fill)(const ScsiUnit *u, uint8_t *data); /* behind the header */
} ScsiVpdPage;

struct ScsiType {
    uint8_t device_type;
    bool is_cd;
    const ScsiCommand *commands;
    const ScsiModePage *mode_pages;
    const ScsiVpdPage *vpd_pages; /* the list ends with .fill = NULL, as that above with .len = 0 */
};

/* Commands of all units, for the types' tables; the list ends with .run = NULL. */
#define SCSI_COMMON_COMMANDS                                                                       \
    {0x00, SCSI_MEDIUM, .run = scsi_test_unit_ready},                                              \
        {0x03, SCSI_NO_ATTENTION, .run = scsi_request_sense},                                      \
        {0x12, SCSI_NO_ATTENTION, .run = scsi_inquiry},                                            \
        {0x15, .run = scsi_mode_select, .received = scsi_mode_selected, .kind = scsi_kind_flush},  \
        {0x1a, .run = scsi_mode_sense}, {0x1b, .run = scsi_start_stop, .kind = scsi_kind_flush},   \
        {0x1e, .run = scsi_prevent_allow}, {0x25, SCSI_MEDIUM, .run = scsi_read_capacity_10},      \
        {0x28, SCSI_MEDIUM, .run = scsi_read, .kind = scsi_kind_read},                             \
        {0x2f, SCSI_MEDIUM, .run = scsi_verify, .kind = scsi_kind_verify},                         \
        {0x55, .run = scsi_mode_select, .received = scsi_mode_selected, .kind = scsi_kind_flush},  \
        {0x5a, .run = scsi_mode_sense}, {0xa0, SCSI_NO_ATTENTION, .run = scsi_report_luns},        \
    {                                                                                              \
        0xa8, SCSI_MEDIUM, .run = scsi_read, .kind = scsi_kind_read                                \
    }
void scsi_test_unit_ready(ScsiRequest *r);
void scsi_request_sense(ScsiRequest *r);
void scsi_inquiry(ScsiRequest *r);
void scsi_mode_sense(ScsiRequest *r);
void scsi_mode_select(ScsiRequest *r);
void scsi_mode_selected(ScsiRequest *r);
void scsi_start_stop(ScsiRequest *r);
void scsi_prevent_allow(ScsiRequest *r);
void scsi_report_luns(ScsiRequest *r);
void scsi_read_capacity_10(ScsiRequest *r);
void scsi_read(ScsiRequest *r);
void scsi_write(ScsiRequest *r);
void scsi_verify(ScsiRequest *r);
ScsiKind scsi_kind_read(const ScsiRequest *r);
ScsiKind scsi_kind_verify(const ScsiRequest *r);
ScsiKind scsi_kind_flush(const ScsiRequest *r);

/* VPD pages of all units. */
size_t scsi_vpd_serial(const ScsiUnit *u, uint8_t *data);
size_t scsi_vpd_identification(const ScsiUnit *u, uint8_t *data);

const ScsiCommand *scsi_find_command(const ScsiUnit *u, uint8_t code); /* NULL: there is none */
unsigned scsi_cdb_length(uint8_t code);
/* The commands of sectors have address and number of blocks at places that follow from the length.
 */
void scsi_range(const ScsiRequest *r, uint64_t *lba, uint32_t *blocks);

/* How a command goes on. Well: */
void scsi_good(ScsiRequest *r);
/* ... with sense data, a SENSE_* */
void scsi_refuse(ScsiRequest *r, uint32_t sense);
/* ... by data in: the first 'len' bytes of the buffer, as far as the initiator wants them */
void scsi_data_in(ScsiRequest *r, uint32_t len, uint32_t wanted);
/* ... by data out that is to come into the buffer, for received() */
void scsi_data_out(ScsiRequest *r, uint32_t len);
/* ... by data of the disk's, 'granule' bytes of data a block. None: the command has ended well. */
void scsi_data_blocks(ScsiRequest *r, ScsiDirection direction, uint64_t lba, uint64_t blocks,
                      uint32_t granule);
/* ... by work on the disk */
void scsi_begin_work(ScsiRequest *r, uint64_t lba, uint64_t blocks);
/* Whether the unit has these blocks; it refuses the command if not. */
bool scsi_check_range(ScsiRequest *r, uint64_t lba, uint64_t blocks);

bool scsi_has_medium(const ScsiUnit *u);
uint32_t scsi_no_medium(const ScsiUnit *u); /* the SENSE_* that says why there is none */
uint64_t scsi_blocks(const ScsiUnit *u);
void scsi_put_string(uint8_t *data, size_t len, const char *text);
void scsi_set_write_cache(ScsiUnit *u, bool on);
/* scsi_cd.c: makes a sector as it is on a CD from its 2048 bytes, as far as READ CD wants it. */
void scsi_cd_sector(const ScsiRequest *r, uint64_t lba, const uint8_t *data, uint8_t *sector);
/* scsi_disk.c */
uint64_t scsi_unmap_entry(const ScsiRequest *r, uint64_t *lba); /* number of blocks of the next */
bool scsi_write_same_zero(const ScsiRequest *r, unsigned *flags);
/* Of BlockDeviceOps; 'data' is the ScsiUnit. */
size_t scsi_park(void *data, BlockRequest *io, uint32_t *words, size_t max);
bool scsi_rebuild(void *data, unsigned queue, const uint32_t *words, size_t n);

#endif
