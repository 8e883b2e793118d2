/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format 'vhdx': Hyper-V's images, by Microsoft's [MS-VHDX]. Differencing disks are refused. All
 * numbers are little-endian. Private to drivers/vhdx/.
 *
 * A disk is blocks; where they are is in a table (BAT), which is in memory. A block that is there
 * stays where it is, so whoever has read an entry needs no lock to use it. New blocks are made
 * under the lock, filled with zeroes. Their entries go to the file by the next flush:
 *
 *   1. data, and the file's length, become stable;
 *   2. the changed sectors of the table are written to the log, which becomes stable;
 *   3. where the header does not name the log yet, it does from then on, stable;
 *   4. the sectors are written in their places.
 *
 * 2 (or 3, the first time) is the moment from which a reader finds the new blocks: whoever opens
 * the image replays the log. What 4 wrote is made stable by the next flush's 1, before another
 * entry takes the place of this one as the log's only valid one. An image that is closed has an
 * empty log.
 */
#ifndef BLOCK_DRIVERS_VHDX_H
#define BLOCK_DRIVERS_VHDX_H

#include "base/error.h"
#include "base/util.h"
#include "block/image.h"
#include "../../core.h"

enum {
    VHDX_HEADER_1 = 64 * 1024, /* 2.2 'Header Section' */
    VHDX_HEADER_2 = 128 * 1024,
    VHDX_REGIONS_1 = 192 * 1024,
    VHDX_REGIONS_2 = 256 * 1024,
    VHDX_HEADER_SECTION = 1024 * 1024,
    VHDX_HEADER_SIZE = 4096,
    VHDX_REGIONS_SIZE = 65536,
    VHDX_MAX_REGIONS = 2047,
    VHDX_ALIGN = 1024 * 1024, /* of the log, regions and blocks */
    VHDX_SECTOR = 4096,       /* what the log keeps metadata in */
    VHDX_GUID = 16,
    VHDX_CREATOR_SIZE = 520, /* the file type identifier with the creator's name */
};

/* 2.2.2 'Headers'. */
enum {
    HDR_CHECKSUM = 4,
    HDR_SEQUENCE = 8,
    HDR_FILE_WRITE_GUID = 16,
    HDR_DATA_WRITE_GUID = 32,
    HDR_LOG_GUID = 48,
    HDR_LOG_VERSION = 64,
    HDR_VERSION = 66,
    HDR_LOG_LENGTH = 68,
    HDR_LOG_OFFSET = 72,
};

/* 2.2.3 'Region Table'. */
enum { REG_CHECKSUM = 4, REG_COUNT = 8, REG_ENTRIES = 16, REG_ENTRY_SIZE = 32 };
enum { REG_ENTRY_OFFSET = 16, REG_ENTRY_LENGTH = 24, REG_ENTRY_REQUIRED = 28 };

/* 2.6 'Metadata Region'. */
enum {
    META_TABLE_SIZE = 65536,
    META_COUNT = 10,
    META_ENTRIES = 32,
    META_ENTRY_SIZE = 32,
    META_MAX_ENTRIES = 2047,
};
enum { META_ENTRY_OFFSET = 16, META_ENTRY_LENGTH = 20, META_ENTRY_FLAGS = 24 };
enum { META_IS_USER = 1, META_IS_DISK = 2, META_REQUIRED = 4 };
enum { PARAM_LEAVE_ALLOCATED = 1, PARAM_HAS_PARENT = 2 };

extern const uint8_t vhdx_guid_bat[VHDX_GUID], vhdx_guid_metadata[VHDX_GUID];
extern const uint8_t vhdx_guid_parameters[VHDX_GUID], vhdx_guid_size[VHDX_GUID],
    vhdx_guid_disk_id[VHDX_GUID], vhdx_guid_logical[VHDX_GUID], vhdx_guid_physical[VHDX_GUID],
    vhdx_guid_parent[VHDX_GUID];

/* 2.5.1 'BAT Entry': the low bits are the state, those from 20 on the place in MiB. */
#define BAT_STATE(entry)  ((entry)&7)
#define BAT_OFFSET(entry) ((entry) & ~(uint64_t)(VHDX_ALIGN - 1))
enum {
    BLOCK_NOT_PRESENT = 0,
    BLOCK_UNDEFINED = 1,
    BLOCK_ZERO = 2,
    BLOCK_UNMAPPED = 3,
    BLOCK_PRESENT = 6,
    BLOCK_PARTIAL = 7, /* of differencing disks */
};

#define VHDX_MAX_SIZE (64ull << 40)

typedef struct {
    json_t *file_config;
    /* header.c */
    uint8_t header[VHDX_HEADER_SIZE]; /* the current one */
    unsigned slot;                    /* 0, 1: where it is */
    bool header_unsure;               /* writing one has failed: the file may have either */
    bool marked;                      /* atomic: the image has got new write GUIDs since the open */
    /* open.c */
    bool loaded;         /* all that follows is there */
    bool replayed;       /* the log was replayed by this open */
    bool overlap;        /* two blocks, or a block and another structure, are in one place */
    uint64_t size;       /* of the disk */
    uint32_t block_size; /* a power of two */
    uint32_t chunk;      /* so many blocks' entries are followed by one for their sector bitmap */
    uint64_t table_offset;
    uint64_t entries;    /* that the disk needs */
    uint64_t table_room; /* 'table' has so many: whole sectors */
    uint64_t *table;     /* atomic: host order; an entry becomes BLOCK_PRESENT once, and stays so */
    GArray *places;      /* Place: header section, log, regions */
    CoMutex lock;        /* for what follows, the header and the log */
    uint64_t end;        /* of all that is in the file, a multiple of VHDX_ALIGN */
    uint8_t *dirty;      /* by sector of the table: entries are not in the file yet */
    uint64_t dirty_first, dirty_end;
    /* log.c */
    uint64_t log_offset, log_length;
    bool log_used; /* entries with 'log_guid' were written */
    uint8_t
        log_guid[VHDX_GUID]; /* of the entries that are written; the header may not have it yet */
    uint64_t log_sequence;   /* of the last entry */
    uint64_t log_next;       /* where in the log the next entry goes */
} VhdxState;

typedef struct {
    uint64_t start, end;
} Place;

/* The index of a block's entry: each chunk has one more, for a sector bitmap. */
static inline uint64_t vhdx_index(const VhdxState *s, uint64_t block)
{
    return block + block / s->chunk;
}

/* header.c */
/* CRC-32C: the checksum at buf + 4 is that of 'len' bytes in which it counts as zero. */
void vhdx_put_crc(uint8_t *buf, size_t len);
bool vhdx_crc_fits(const uint8_t *buf, size_t len);
void vhdx_new_guid(uint8_t *guid);
bool coroutine_fn vhdx_read_header(BlockNode *n, GError **err);
/* Under lock. Makes s->header, which the caller has changed, the current one; stable on return. */
int coroutine_fn vhdx_write_header(BlockNode *n);
/* Before the first change of an image: new write GUIDs. */
int coroutine_fn vhdx_mark(BlockNode *n);

/* log.c */
bool vhdx_log_named(const VhdxState *s); /* the header names a log: it has to be replayed */
/* False, and an error: the log that the header names has entries, or cannot be read. */
bool coroutine_fn vhdx_log_empty(BlockNode *n, GError **err);
bool coroutine_fn vhdx_replay(BlockNode *n, GError **err);
/* Under lock. Writes the dirty sectors of the table: see above. */
int coroutine_fn vhdx_write_table(BlockNode *n);
/* Under lock. Empties the log. The table has no dirty sectors. */
int coroutine_fn vhdx_end_log(BlockNode *n);

/* open.c */
bool coroutine_fn vhdx_open(BlockNode *n, GError **err);
bool coroutine_fn vhdx_opened(BlockNode *n, GError **err);
void coroutine_fn vhdx_close(BlockNode *n);
bool coroutine_fn vhdx_reopen_prepare(BlockNode *n, const BlockNodeOptions *opts, const void *props,
                                      bool *read_only, GError **err);
int coroutine_fn vhdx_inactivate(BlockNode *n);
bool coroutine_fn vhdx_activate(BlockNode *n, GError **err);
int coroutine_fn vhdx_check(BlockNode *n, BlockCheckResult *res, unsigned fix);

/* create.c */
typedef struct {
    uint64_t size, log_size, block_size;
    int subformat;
    bool block_state_zero;
} VhdxCreate;
extern const Property vhdx_create_props[];
bool vhdx_create_check(void *options, uint64_t *length, GError **err);
bool coroutine_fn vhdx_create(BlockNode *file, void *options, bool *zero, GError **err);

#endif
