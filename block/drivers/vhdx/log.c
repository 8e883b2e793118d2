/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log: 2.3 'Log'. Replay of another's, and entries of our own. */
#include <errno.h>
#include <inttypes.h>
#include "vhdx.h"

/* 2.3.1 'Log Entry': a header, descriptors, then sectors of data. */
enum {
    ENT_CHECKSUM = 4,
    ENT_LENGTH = 8,
    ENT_TAIL = 12,
    ENT_SEQUENCE = 16,
    ENT_COUNT = 24,
    ENT_GUID = 32,
    ENT_FLUSHED = 48,
    ENT_LAST = 56,
    ENT_HEADER_SIZE = 64,
    DESC_SIZE = 32,
};
/* A descriptor: "zero", or "desc" and a sector of data whose first and last bytes it has. */
enum { DESC_TRAILING = 4, DESC_LEADING = 8, DESC_ZERO_LENGTH = 8, DESC_OFFSET = 16, DESC_SEQ = 24 };
enum { DATA_SEQ_HIGH = 4, DATA_BYTES = 8, DATA_SEQ_LOW = 4092 };

enum {
    MAX_LOG = 256 * 1024 * 1024,
    MAX_HEADS = 16,  /* ends of sequences that are tried */
    HASH_BUDGET = 8, /* bytes of entries that are looked at, in lengths of the log */
};

/* An entry that is whole. */
typedef struct {
    uint64_t at, length, sequence, tail, flushed, last;
} Entry;

bool vhdx_log_named(const VhdxState *s)
{
    static const uint8_t none[VHDX_GUID];

    return memcmp(s->header + HDR_LOG_GUID, none, VHDX_GUID) != 0;
}

/* --- access to the log as a ring --- */

static int coroutine_fn ring_read(BlockNode *n, uint64_t at, uint8_t *buf, uint64_t len)
{
    VhdxState *s = block_node_state(n);
    uint64_t first = MIN(len, s->log_length - at);
    int ret = block_pread(n->file, s->log_offset + at, buf, first);

    return ret < 0 || first == len ? ret
                                   : block_pread(n->file, s->log_offset, buf + first, len - first);
}

static int coroutine_fn ring_write(BlockNode *n, uint64_t at, const uint8_t *buf, uint64_t len)
{
    VhdxState *s = block_node_state(n);
    uint64_t first = MIN(len, s->log_length - at);
    int ret = block_pwrite(n->file, s->log_offset + at, buf, first, 0);

    return ret < 0 || first == len
               ? ret
               : block_pwrite(n->file, s->log_offset, buf + first, len - first, 0);
}

/* --- replay --- */

static bool head_plausible(const VhdxState *s, const uint8_t *h, uint64_t budget)
{
    uint64_t length = ldle32(h + ENT_LENGTH);

    return !memcmp(h, "loge", 4) && !memcmp(h + ENT_GUID, s->header + HDR_LOG_GUID, VHDX_GUID) &&
           length && IS_ALIGNED(length, VHDX_SECTOR) && length <= s->log_length &&
           length <= budget && ldle64(h + ENT_SEQUENCE) &&
           IS_ALIGNED(ldle32(h + ENT_TAIL), VHDX_SECTOR) && ldle32(h + ENT_TAIL) < s->log_length &&
           ldle32(h + ENT_COUNT) <= length / DESC_SIZE;
}

/* Bytes of header and descriptors, in whole sectors. */
static uint64_t descriptors_end(uint64_t count)
{
    return ROUND_UP(ENT_HEADER_SIZE + count * DESC_SIZE, VHDX_SECTOR);
}

/* Whether descriptors and data sectors of an entry, whose checksum fits, belong together. */
static bool entry_whole(const uint8_t *e, uint64_t length)
{
    uint64_t count = ldle32(e + ENT_COUNT), data = descriptors_end(count);
    uint64_t sequence = ldle64(e + ENT_SEQUENCE);

    if (data > length) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *d = e + ENT_HEADER_SIZE + i * DESC_SIZE;

        if (ldle64(d + DESC_SEQ) != sequence || !IS_ALIGNED(ldle64(d + DESC_OFFSET), VHDX_SECTOR)) {
            return false;
        }
        if (!memcmp(d, "zero", 4)) {
            if (!IS_ALIGNED(ldle64(d + DESC_ZERO_LENGTH), VHDX_SECTOR)) {
                return false;
            }
        } else if (memcmp(d, "desc", 4) || length - data < VHDX_SECTOR ||
                   memcmp(e + data, "data", 4) ||
                   ldle32(e + data + DATA_SEQ_HIGH) != sequence >> 32 ||
                   ldle32(e + data + DATA_SEQ_LOW) != (uint32_t)sequence) {
            return false;
        } else {
            data += VHDX_SECTOR;
        }
    }
    return true;
}

/* Finds all entries of the log that the header names. Array of Entry; NULL: an error. */
static GArray *coroutine_fn find_entries(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(Entry));
    uint64_t budget = HASH_BUDGET * s->log_length;
    uint8_t head[ENT_HEADER_SIZE];
    int ret = 0;

    if (s->log_length > MAX_LOG) {
        error_set(err, "The VHDX log is longer than %d MiB", MAX_LOG >> 20);
        return NULL;
    }
    for (uint64_t at = 0; at < s->log_length && ret == 0; at += VHDX_SECTOR) {
        g_autofree uint8_t *e = NULL;
        uint64_t length;

        ret = ring_read(n, at, head, sizeof head);
        if (ret < 0 || !head_plausible(s, head, budget)) {
            continue;
        }
        length = ldle32(head + ENT_LENGTH);
        budget -= length;
        e = g_try_malloc(length);
        ret = e ? ring_read(n, at, e, length) : -ENOMEM;
        if (ret == 0 && ldle32(e + ENT_LENGTH) == length && vhdx_crc_fits(e, length) &&
            entry_whole(e, length)) {
            Entry entry = {at,
                           length,
                           ldle64(e + ENT_SEQUENCE),
                           ldle32(e + ENT_TAIL),
                           ldle64(e + ENT_FLUSHED),
                           ldle64(e + ENT_LAST)};
            g_array_append_val(found, entry);
        }
    }
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read the VHDX log");
        return NULL;
    }
    return g_steal_pointer(&found);
}

static const Entry *entry_at(const GArray *found, uint64_t at)
{
    unsigned low = 0, high = found->len; /* sorted by place */

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        const Entry *e = &g_array_index(found, Entry, mid);

        if (e->at == at) {
            return e;
        }
        low = e->at < at ? mid + 1 : low;
        high = e->at < at ? high : mid;
    }
    return NULL;
}

/* The sequence that ends with 'head': array of Entry. NULL: there is none. */
static GArray *sequence_to(const VhdxState *s, const GArray *found, const Entry *head)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(Entry));
    const Entry *e = entry_at(found, head->tail);
    uint64_t bytes = 0;

    while (e) {
        g_array_append_val(list, *e);
        bytes += e->length;
        if (bytes > s->log_length) {
            return NULL;
        }
        if (e->at == head->at) {
            return g_steal_pointer(&list);
        }
        const Entry *next = entry_at(found, (e->at + e->length) % s->log_length);
        e = next && next->sequence == e->sequence + 1 ? next : NULL;
    }
    return NULL;
}

/* The active sequence: the one with the highest number. Empty: the log has no entry. */
static GArray *coroutine_fn active_sequence(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);
    g_autoptr(GArray) found = find_entries(n, err);
    uint64_t below = UINT64_MAX;

    if (!found) {
        return NULL;
    }
    for (int tries = 0; tries < MAX_HEADS && found->len; tries++) {
        const Entry *head = NULL;
        GArray *list;

        for (unsigned i = 0; i < found->len; i++) {
            const Entry *e = &g_array_index(found, Entry, i);

            head = e->sequence < below && (!head || e->sequence > head->sequence) ? e : head;
        }
        list = head ? sequence_to(s, found, head) : NULL;
        if (list) {
            return list;
        }
        if (!head) {
            break;
        }
        below = head->sequence;
    }
    if (found->len) {
        error_set(err, "The VHDX log has entries, and no sequence of them that is whole");
        return NULL;
    }
    return g_array_new(FALSE, FALSE, sizeof(Entry));
}

bool coroutine_fn vhdx_log_empty(BlockNode *n, GError **err)
{
    g_autoptr(GArray) list = active_sequence(n, err);

    if (list && list->len) {
        return error_set(err,
                         "VHDX image file '%s' opened read-only, but contains a log that needs to "
                         "be replayed; to replay the log, run: vmm-img check -r all '%s'",
                         n->file->filename, n->file->filename);
    }
    return list != NULL;
}

/* The log holds all that is not in the header section's first part, and not itself. */
static bool may_replay_to(const VhdxState *s, uint64_t offset, uint64_t length, uint64_t last)
{
    return length <= last && offset <= last - length && offset >= VHDX_REGIONS_1 &&
           (offset + length <= s->log_offset || offset >= s->log_offset + s->log_length);
}

static int coroutine_fn replay_zero(BlockNode *n, uint64_t offset, uint64_t length)
{
    int64_t eof = block_exact_length(n->file);

    if (eof < 0 || offset >= (uint64_t)eof) {
        return MIN(eof, 0); /* the file gets longer afterwards, by zeroes */
    }
    return block_pwrite_zeroes(n->file, offset, MIN(length, eof - offset), 0);
}

static int coroutine_fn replay_descriptors(BlockNode *n, const uint8_t *e, uint64_t last)
{
    VhdxState *s = block_node_state(n);
    uint64_t count = ldle32(e + ENT_COUNT), data = descriptors_end(count);
    int ret = 0;

    for (uint64_t i = 0; i < count && ret == 0; i++) {
        const uint8_t *d = e + ENT_HEADER_SIZE + i * DESC_SIZE;
        bool zero = !memcmp(d, "zero", 4);
        uint64_t offset = ldle64(d + DESC_OFFSET);
        uint64_t length = zero ? ldle64(d + DESC_ZERO_LENGTH) : VHDX_SECTOR;

        if (!may_replay_to(s, offset, length, last)) {
            ret = -EINVAL;
        } else if (zero) {
            ret = replay_zero(n, offset, length);
        } else {
            uint8_t sector[VHDX_SECTOR];

            memcpy(sector, d + DESC_LEADING, 8);
            memcpy(sector + 8, e + data + DATA_BYTES, VHDX_SECTOR - 12);
            memcpy(sector + VHDX_SECTOR - 4, d + DESC_TRAILING, 4);
            ret = block_pwrite(n->file, offset, sector, sizeof sector, 0);
            data += VHDX_SECTOR;
        }
    }
    return ret;
}

static int coroutine_fn replay_entry(BlockNode *n, const Entry *entry)
{
    g_autofree uint8_t *e = g_try_malloc(entry->length);
    int64_t eof;
    int ret = e ? ring_read(n, entry->at, e, entry->length) : -ENOMEM;

    ret = ret < 0 ? ret : replay_descriptors(n, e, entry->last);
    eof = ret < 0 ? ret : block_exact_length(n->file);
    if (eof >= 0 && (uint64_t)eof < entry->last) {
        return block_truncate(n->file, entry->last, NULL);
    }
    return MIN(eof, 0);
}

/* Whether the head's promises hold: the file has what was stable when the entry was made. */
static bool head_fits(BlockNode *n, const Entry *head, GError **err)
{
    int64_t eof = block_exact_length(n->file);

    if (eof < 0 || head->flushed > (uint64_t)eof) {
        return error_set(err,
                         "The VHDX log was written for a file of at least %" PRIu64 " bytes, and "
                         "this one has %" PRId64 ". The image has been truncated",
                         head->flushed, eof);
    }
    if (head->last > 2 * VHDX_MAX_SIZE) {
        return error_set(err, "The VHDX log makes the file longer than any image can be");
    }
    return true;
}

bool coroutine_fn vhdx_replay(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);
    g_autoptr(GArray) list = active_sequence(n, err);
    int ret;

    if (!list) {
        return false;
    }
    if (list->len && !head_fits(n, &g_array_index(list, Entry, list->len - 1), err)) {
        return false;
    }
    ret = vhdx_mark(n);
    for (unsigned i = 0; i < list->len && ret == 0; i++) {
        ret = replay_entry(n, &g_array_index(list, Entry, i));
    }
    ret = ret < 0 ? ret : block_flush(n->file);
    if (ret == 0) {
        memset(s->header + HDR_LOG_GUID, 0, VHDX_GUID);
        ret = vhdx_write_header(n);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not replay the VHDX log");
    }
    s->replayed = list->len > 0;
    return true;
}

/* --- entries of our own --- */

/* How many sectors fit into an entry of at most half of the log: two of them do not overlap. */
static uint64_t most_sectors(const VhdxState *s)
{
    uint64_t room = s->log_length / 2 / VHDX_SECTOR, count = room - 1;

    while (descriptors_end(count) / VHDX_SECTOR + count > room) {
        count--;
    }
    return count;
}

static void put_sector(const VhdxState *s, uint64_t index, uint8_t *out)
{
    for (unsigned i = 0; i < VHDX_SECTOR / 8; i++) {
        stle64(out + 8 * i, s->table[index * (VHDX_SECTOR / 8) + i]);
    }
}

/* An entry with these sectors of the table; 'list' has their numbers. The caller frees it. */
static uint8_t *build_entry(VhdxState *s, const GArray *list, uint64_t *length)
{
    uint64_t data = descriptors_end(list->len);
    uint8_t *e;

    *length = data + list->len * (uint64_t)VHDX_SECTOR;
    e = g_try_malloc0(*length);
    if (!e) {
        return NULL;
    }
    memcpy(e, "loge", 4);
    stle32(e + ENT_LENGTH, *length);
    stle32(e + ENT_TAIL, s->log_next); /* what came before is in its place, and stable */
    stle64(e + ENT_SEQUENCE, s->log_sequence);
    stle32(e + ENT_COUNT, list->len);
    memcpy(e + ENT_GUID, s->log_guid, VHDX_GUID);
    stle64(e + ENT_FLUSHED, s->end);
    stle64(e + ENT_LAST, s->end);
    for (unsigned i = 0; i < list->len; i++) {
        uint64_t index = g_array_index(list, uint64_t, i);
        uint8_t *d = e + ENT_HEADER_SIZE + i * (size_t)DESC_SIZE;
        uint8_t *sector = e + data + i * (uint64_t)VHDX_SECTOR;

        put_sector(s, index, sector);
        memcpy(d, "desc", 4);
        memcpy(d + DESC_TRAILING, sector + DATA_SEQ_LOW, 4);
        memcpy(d + DESC_LEADING, sector, 8);
        stle64(d + DESC_OFFSET, s->table_offset + index * VHDX_SECTOR);
        stle64(d + DESC_SEQ, s->log_sequence);
        memcpy(sector, "data", 4);
        stle32(sector + DATA_SEQ_HIGH, s->log_sequence >> 32);
        stle32(sector + DATA_SEQ_LOW, s->log_sequence);
    }
    vhdx_put_crc(e, *length);
    return e;
}

/* Writes an entry, which is stable and in force on return. */
static int coroutine_fn write_entry(BlockNode *n, const GArray *list)
{
    VhdxState *s = block_node_state(n);
    g_autofree uint8_t *e = NULL;
    uint64_t length;
    int ret;

    if (!s->log_used) {
        vhdx_new_guid(s->log_guid);
        s->log_used = true;
        s->log_sequence = s->log_next = 0;
    }
    s->log_sequence++;
    e = build_entry(s, list, &length);
    if (!e) {
        return -ENOMEM;
    }
    ret = ring_write(n, s->log_next, e, length);
    ret = ret < 0 ? ret : block_flush(n->file);
    if (ret < 0) {
        return ret; /* the next try overwrites this place, and not that of the entry in force */
    }
    s->log_next = (s->log_next + length) % s->log_length;
    if (s->header_unsure || memcmp(s->header + HDR_LOG_GUID, s->log_guid, VHDX_GUID)) {
        memcpy(s->header + HDR_LOG_GUID, s->log_guid, VHDX_GUID);
        ret = vhdx_write_header(n);
    }
    return ret;
}

static int coroutine_fn write_in_place(BlockNode *n, const GArray *list)
{
    VhdxState *s = block_node_state(n);
    uint8_t sector[VHDX_SECTOR];
    int ret = 0;

    for (unsigned i = 0; i < list->len && ret == 0; i++) {
        uint64_t index = g_array_index(list, uint64_t, i);

        put_sector(s, index, sector);
        ret =
            block_pwrite(n->file, s->table_offset + index * VHDX_SECTOR, sector, sizeof sector, 0);
        s->dirty[index] = ret < 0;
    }
    return ret;
}

/* The file becomes as long as its structures need; everything up to here becomes stable. */
static int coroutine_fn flush_blocks(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    int64_t eof = block_exact_length(n->file);
    int ret = MIN(eof, 0);

    if (eof >= 0 && (uint64_t)eof < s->end) {
        ret = block_truncate(n->file, s->end, NULL);
    }
    return ret < 0 ? ret : block_flush(n->file);
}

int coroutine_fn vhdx_write_table(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    uint64_t most = most_sectors(s);
    int ret = 0;

    while (s->dirty_first < s->dirty_end && ret == 0) {
        g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        uint64_t next = s->dirty_first;

        for (; next < s->dirty_end && list->len < most; next++) {
            if (s->dirty[next]) {
                g_array_append_val(list, next);
            }
        }
        ret = list->len ? flush_blocks(n) : 0;
        ret = ret < 0 || !list->len ? ret : write_entry(n, list);
        ret = ret < 0 ? ret : write_in_place(n, list);
        if (ret == 0) {
            s->dirty_first = next;
        }
    }
    if (ret == 0) {
        s->dirty_first = s->dirty_end = 0;
    }
    return ret;
}

int coroutine_fn vhdx_end_log(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    int ret;

    if (!s->log_used && !s->header_unsure) {
        return 0;
    }
    ret = block_flush(n->file);
    if (ret == 0) {
        memset(s->header + HDR_LOG_GUID, 0, VHDX_GUID);
        ret = vhdx_write_header(n);
    }
    if (ret == 0) {
        s->log_used = false;
    }
    return ret;
}
