/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter 'blklogwrites': records writes, discards and flushes in a log, by which tools put the disk
 * into the state of any moment. The log's format is that of the kernel's device mapper target
 * (Documentation/admin-guide/device-mapper/log-writes.rst; struct log_write_super and
 * log_write_entry in drivers/md/dm-log-writes.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "drivers.h"
#include "filter.h"

#define LOG_MAGIC 0x6a736677736872ULL
enum { LOG_VERSION = 1, LOG_SECTOR_MAX = 8 * 1024 * 1024 };

/* Of log entries, as written. */
enum { LOG_FLUSH = 1 << 0, LOG_DISCARD = 1 << 2 };

/* Offsets in the superblock (log sector 0) and in an entry; little endian. */
enum { SUPER_MAGIC = 0, SUPER_VERSION = 8, SUPER_ENTRIES = 16, SUPER_SECTOR_SIZE = 24 };
enum {
    ENTRY_SECTOR = 0,
    ENTRY_SECTORS = 8,
    ENTRY_FLAGS = 16,
    ENTRY_DATA_LENGTH = 24,
    ENTRY_BYTES = 32
};

typedef struct {
    json_t *file_config, *log_config;
    uint64_t sector_size, update_interval;
    bool append;
    BlockNode *log;
    CoMutex lock;         /* of the superblock's writes */
    GMutex guard;         /* of the two below */
    uint64_t next_sector; /* in the log */
    uint64_t entries;
} LogWrites;

static const Property blklogwrites_props[] = {
    FILTER_PROP_FILE(LogWrites, file_config),
    {.name = "log",
     .type = PROP_TREE,
     .offset = offsetof(LogWrites, log_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "where the log goes"},
    PROP("log-sector-size", PROP_SIZE, LogWrites, sector_size, "512", "unit of requests and log"),
    PROP("log-append", PROP_BOOL, LogWrites, append, "off", "goes on with the log that is there"),
    {.name = "log-super-update-interval",
     .type = PROP_UINT64,
     .offset = offsetof(LogWrites, update_interval),
     .defval = "4096",
     .min = 1,
     .max = INT64_MAX,
     .help = "entries after which the superblock is written, if no flush comes before"},
    PROP_END,
};

static void blklogwrites_child_changed(BlockNode *node)
{
    const LogWrites *s = block_node_state(node);

    node->request_alignment = MAX(s->sector_size, node->file->request_alignment);
}

/* Finds the end of the log that is there. */
static bool coroutine_fn log_find_end(LogWrites *s, GError **err)
{
    uint8_t super[32], entry[ENTRY_BYTES];
    uint64_t count;
    int ret = block_pread(s->log, 0, super, sizeof super);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read log superblock");
    }
    if (ldle64(super + SUPER_MAGIC) != LOG_MAGIC) {
        return error_set(err, "Invalid log superblock magic");
    }
    if (ldle64(super + SUPER_VERSION) != LOG_VERSION) {
        return error_set(err, "Unsupported log version %" PRIu64, ldle64(super + SUPER_VERSION));
    }
    s->sector_size = ldle32(super + SUPER_SECTOR_SIZE);
    if (s->sector_size < BLOCK_SECTOR_SIZE || s->sector_size > LOG_SECTOR_MAX ||
        s->sector_size & (s->sector_size - 1)) {
        return error_set(err, "Invalid log sector size %" PRIu64, s->sector_size);
    }
    count = ldle64(super + SUPER_ENTRIES);
    for (s->entries = 0; s->entries < count; s->entries++) {
        uint64_t sectors, length = (uint64_t)MAX(block_length(s->log), 0) / s->sector_size;

        if (s->next_sector >= length) {
            return error_set(err, "Log ends before its entry %" PRIu64, s->entries);
        }
        ret = block_pread(s->log, s->next_sector * s->sector_size, entry, sizeof entry);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read log entry %" PRIu64, s->entries);
        }
        sectors = ldle64(entry + ENTRY_FLAGS) & LOG_DISCARD ? 0 : ldle64(entry + ENTRY_SECTORS);
        if (sectors > length) {
            return error_set(err, "Invalid log entry %" PRIu64, s->entries);
        }
        s->next_sector += 1 + sectors;
    }
    return true;
}

static bool coroutine_fn log_begin(LogWrites *s, GError **err)
{
    s->next_sector = 1;
    if (s->append) {
        return log_find_end(s, err);
    }
    if (s->sector_size < BLOCK_SECTOR_SIZE || s->sector_size > LOG_SECTOR_MAX ||
        s->sector_size & (s->sector_size - 1)) {
        return error_set(err, "Invalid log sector size %" PRIu64, s->sector_size);
    }
    return true;
}

static bool blklogwrites_open(BlockNode *node, GError **err)
{
    LogWrites *s = block_node_state(node);

    if (!filter_open(node, s->file_config, err) ||
        !block_open_child(node, "log", BLOCK_ROLE_METADATA, s->log_config, &s->log, err) ||
        !log_begin(s, err)) {
        return false;
    }
    co_mutex_init(&s->lock);
    g_mutex_init(&s->guard);
    blklogwrites_child_changed(node);
    return true;
}

static void blklogwrites_close(BlockNode *node)
{
    LogWrites *s = block_node_state(node);

    co_mutex_destroy(&s->lock);
    g_mutex_clear(&s->guard);
}

static int coroutine_fn log_write_super(LogWrites *s)
{
    g_autofree uint8_t *super = g_malloc0(s->sector_size);
    int ret;

    co_mutex_lock(&s->lock);
    stle64(super + SUPER_MAGIC, LOG_MAGIC);
    stle64(super + SUPER_VERSION, LOG_VERSION);
    stle32(super + SUPER_SECTOR_SIZE, s->sector_size);
    /* Under the lock: a superblock never goes back to fewer entries. */
    g_mutex_lock(&s->guard);
    stle64(super + SUPER_ENTRIES, s->entries);
    g_mutex_unlock(&s->guard);
    ret = block_pwrite(s->log, 0, super, s->sector_size, 0);
    ret = ret < 0 ? ret : block_flush(s->log);
    co_mutex_unlock(&s->lock);
    return ret;
}

/* A place in the log. The entry that is written there may be preceded by later ones. */
typedef struct {
    uint64_t at, number;
} LogPlace;

static LogPlace log_reserve(LogWrites *s, uint64_t data_bytes)
{
    LogPlace p;

    g_mutex_lock(&s->guard);
    p.at = s->next_sector * s->sector_size;
    s->next_sector += 1 + data_bytes / s->sector_size;
    p.number = ++s->entries;
    g_mutex_unlock(&s->guard);
    return p;
}

static int coroutine_fn log_write_entry(LogWrites *s, LogPlace p, uint64_t offset, uint64_t bytes,
                                        unsigned flags)
{
    g_autofree uint8_t *entry = g_malloc0(s->sector_size);

    stle64(entry + ENTRY_SECTOR, offset / s->sector_size);
    stle64(entry + ENTRY_SECTORS, bytes / s->sector_size);
    stle64(entry + ENTRY_FLAGS, flags);
    return block_pwrite(s->log, p.at, entry, s->sector_size, 0);
}

/* Appends an entry with its data: zeroes where 'iov' is NULL, none for a discard. */
static int coroutine_fn log_append(LogWrites *s, uint64_t offset, uint64_t bytes, unsigned flags,
                                   const struct iovec *iov, unsigned niov)
{
    uint64_t data = flags & LOG_DISCARD ? 0 : bytes;
    LogPlace p = log_reserve(s, data);
    int ret = log_write_entry(s, p, offset, bytes, flags);

    if (ret == 0 && data) {
        uint64_t at = p.at + s->sector_size;
        ret = iov ? block_pwritev(s->log, at, data, iov, niov, 0)
                  : block_pwrite_zeroes(s->log, at, data, 0);
    }
    if (ret == 0 && p.number % s->update_interval == 0) {
        ret = log_write_super(s);
    }
    return ret;
}

static int coroutine_fn blklogwrites_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                             const struct iovec *iov, unsigned niov, unsigned flags)
{
    int ret = filter_pwritev(node, offset, bytes, iov, niov, flags);

    return ret < 0 ? ret : log_append(block_node_state(node), offset, bytes, 0, iov, niov);
}

static int coroutine_fn blklogwrites_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                                   unsigned flags)
{
    LogWrites *s = block_node_state(node);
    int ret;

    if ((offset | bytes) % s->sector_size) {
        return -ENOTSUP; /* the core writes a buffer, in whole sectors */
    }
    ret = filter_pwrite_zeroes(node, offset, bytes, flags);
    return ret < 0 ? ret : log_append(s, offset, bytes, 0, NULL, 0);
}

static int coroutine_fn blklogwrites_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    LogWrites *s = block_node_state(node);
    uint64_t first = ROUND_UP(offset, s->sector_size);
    uint64_t end = ROUND_DOWN(offset + bytes, s->sector_size);
    int ret;

    if (first >= end) {
        return 0;
    }
    ret = filter_pdiscard(node, first, end - first);
    return ret < 0 ? ret : log_append(s, first, end - first, LOG_DISCARD, NULL, 0);
}

/*
 * The entry's place comes before the flush: a write that ends during it is not said to be stable.
 * Where the flush fails an entry of nothing is there.
 */
static int coroutine_fn blklogwrites_flush(BlockNode *node)
{
    LogWrites *s = block_node_state(node);
    LogPlace p = log_reserve(s, 0);
    int ret = block_flush(node->file);
    int logged = log_write_entry(s, p, 0, 0, ret < 0 ? 0 : LOG_FLUSH);

    ret = ret < 0 ? ret : logged;
    return ret < 0 ? ret : log_write_super(s);
}

const BlockDriver block_driver_blklogwrites = {
    .name = "blklogwrites",
    .help = "records writes in a log of dm-log-writes",
    .size = sizeof(LogWrites),
    .props = blklogwrites_props,
    FILTER_COMMON,
    .open = blklogwrites_open,
    .close = blklogwrites_close,
    .child_changed = blklogwrites_child_changed,
    .preadv = filter_preadv,
    .pwritev = blklogwrites_pwritev,
    .pwrite_zeroes = blklogwrites_pwrite_zeroes,
    .pdiscard = blklogwrites_pdiscard,
    .flush = blklogwrites_flush,
};
