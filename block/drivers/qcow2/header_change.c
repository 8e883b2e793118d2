/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of what lies behind the header's fixed part: the extensions, of which one is the backing
 * file's format and one the bitmap directory's place, and the backing file's name; all within the
 * first cluster.
 *
 * A disk may tear the write of a cluster at any sector, so the new header is made such that one
 * sector decides: all others that change hold nothing yet that the old header refers to, and are
 * made stable first. That sector is nearly always the first, with the offset and length of the
 * name; the extension with the format lies there too.
 */
#include <errno.h>
#include <string.h>
#include "qcow2.h"

enum { EXT_HEADER = 8, EXT_ALIGN = 8, NAME_ALIGN = 8, EXT_BITMAPS_LENGTH = 24 };

/* The first cluster, and what is where in it. */
typedef struct {
    BlockNode *node;
    uint8_t *bytes;
    size_t size;
    size_t format_at, format_len; /* of the extension with the format; format_at 0: there is none */
    size_t bitmaps_at;            /* likewise, of the bitmaps extension */
    size_t end_at;                /* of the end marker, or where one would be */
    bool has_end;
    size_t name_at, name_len; /* name_at 0: no backing file */
} Header;

static void header_parse(Header *h)
{
    const Qcow2State *s = block_node_state(h->node);
    size_t at = s->header_length, limit;

    h->name_at = ldbe64(h->bytes + HDR_BACKING_FILE_OFFSET);
    h->name_len = h->name_at ? ldbe32(h->bytes + HDR_BACKING_FILE_SIZE) : 0;
    limit = h->name_at ? h->name_at : h->size;
    h->format_at = h->format_len = h->bitmaps_at = 0;
    h->has_end = false;
    while (at + EXT_HEADER <= limit && !h->has_end) {
        uint32_t type = ldbe32(h->bytes + at), len = ldbe32(h->bytes + at + 4);

        h->has_end = type == EXT_END;
        if (type == EXT_BACKING_FORMAT) {
            h->format_at = at;
            h->format_len = len;
        } else if (type == EXT_BITMAPS && len >= EXT_BITMAPS_LENGTH) {
            h->bitmaps_at = at;
        }
        at += h->has_end ? 0 : EXT_HEADER + ROUND_UP(len, EXT_ALIGN);
    }
    h->end_at = at;
}

static bool header_overlap(size_t a, size_t a_len, size_t b, size_t b_len)
{
    return a_len && b_len && a < b + b_len && b < a + a_len;
}

/* Whether the header refers to bytes of [at, +len). */
static bool header_refers(const Header *h, size_t at, size_t len)
{
    return header_overlap(at, len, 0, h->end_at + (h->has_end ? EXT_HEADER : 0)) ||
           header_overlap(at, len, h->name_at, h->name_len);
}

/* The sectors where 'to' differs in bytes that 'from' refers to, or in others: how many. */
static unsigned header_changed(const Header *from, const Header *to, bool referred)
{
    unsigned n = 0;

    for (size_t at = 0; at < from->size; at += BLOCK_SECTOR_SIZE) {
        bool found = false;

        for (size_t i = at; i < at + BLOCK_SECTOR_SIZE && !found; i++) {
            found = from->bytes[i] != to->bytes[i] && header_refers(from, i, 1) == referred;
        }
        n += found;
    }
    return n;
}

/* Writes the sectors that change: those that decide, or the others. Then flushes. */
static int coroutine_fn header_write_part(const Header *from, const Header *to, bool decide)
{
    int ret = 0;

    for (size_t at = 0; at < from->size && ret == 0; at += BLOCK_SECTOR_SIZE) {
        bool differs = memcmp(from->bytes + at, to->bytes + at, BLOCK_SECTOR_SIZE) != 0;
        bool decides = false;

        for (size_t i = at; i < at + BLOCK_SECTOR_SIZE && differs && !decides; i++) {
            decides = from->bytes[i] != to->bytes[i] && header_refers(from, i, 1);
        }
        if (differs && decides == decide) {
            ret = block_pwrite(from->node->file, at, to->bytes + at, BLOCK_SECTOR_SIZE, 0);
        }
    }
    return ret < 0 ? ret : block_flush(from->node->file);
}

/* Replaces the header on disk, which is 'from', by 'to'. */
static int coroutine_fn header_write(Header *from, const Header *to)
{
    int ret;

    if (header_changed(from, to, true) > 1) {
        /* No order of the sectors is safe: one write, which most disks do not tear. */
        ret = block_pwrite(from->node->file, 0, to->bytes, to->size, 0);
        ret = ret < 0 ? ret : block_flush(from->node->file);
    } else {
        ret = header_write_part(from, to, false);
        ret = ret < 0 ? ret : header_write_part(from, to, true);
    }
    if (ret == 0) {
        memcpy(from->bytes, to->bytes, from->size);
        header_parse(from);
    }
    return ret;
}

static void header_point(Header *h, size_t at, size_t len)
{
    stbe64(h->bytes + HDR_BACKING_FILE_OFFSET, at);
    stbe32(h->bytes + HDR_BACKING_FILE_SIZE, len);
}

/*
 * Puts a name behind the extensions, which take 'extra' bytes more then, and points to it. False:
 * there is no room beside the old name.
 */
static bool header_put_name(Header *h, const char *name, size_t len, size_t extra)
{
    size_t first = ROUND_UP(h->end_at + EXT_HEADER + extra, NAME_ALIGN), at = first;

    if (header_overlap(at, len, h->name_at, h->name_len)) {
        at = MAX(first, ROUND_UP(h->name_at + h->name_len, NAME_ALIGN));
    }
    if (at + len > h->size) {
        return false;
    }
    memcpy(h->bytes + at, name, len);
    header_point(h, at, len);
    if (!h->has_end) {
        memset(h->bytes + h->end_at, 0, EXT_HEADER);
    }
    return true;
}

static void header_put_extension(uint8_t *to, uint32_t type, const char *text, size_t len)
{
    stbe32(to, type);
    stbe32(to + 4, len);
    memset(to + EXT_HEADER, 0, ROUND_UP(len, EXT_ALIGN));
    memcpy(to + EXT_HEADER, text, len);
}

/* The same without regard to what is where: the format first, all others, the name. */
static bool header_rebuild(Header *h, const char *name, const char *format)
{
    const Qcow2State *s = block_node_state(h->node);
    size_t at = s->header_length, name_len = strlen(name), format_len = strlen(format);
    g_autofree uint8_t *old = g_memdup2(h->bytes, h->size);
    size_t left_out = h->format_at ? EXT_HEADER + ROUND_UP(h->format_len, EXT_ALIGN) : 0;
    size_t need = EXT_HEADER + ROUND_UP(format_len, EXT_ALIGN) + EXT_HEADER + name_len;

    if (h->end_at - left_out + need > h->size) {
        return false;
    }
    header_put_extension(h->bytes + at, EXT_BACKING_FORMAT, format, format_len);
    at += EXT_HEADER + ROUND_UP(format_len, EXT_ALIGN);
    for (size_t from = s->header_length; from < h->end_at;) {
        size_t len = EXT_HEADER + ROUND_UP(ldbe32(old + from + 4), EXT_ALIGN);

        if (from != h->format_at) {
            memcpy(h->bytes + at, old + from, len);
            at += len;
        }
        from += len;
    }
    memset(h->bytes + at, 0, h->size - at);
    at += EXT_HEADER;
    memcpy(h->bytes + at, name, name_len);
    header_point(h, at, name_len);
    return true;
}

/* Makes room for an extension at the end: the name that lies there goes elsewhere. */
static int coroutine_fn header_move_name(Header *now, Header *next, size_t extra)
{
    g_autofree char *name = NULL;

    if (!header_overlap(now->end_at, EXT_HEADER + extra, now->name_at, now->name_len)) {
        return 0;
    }
    name = g_strndup((const char *)now->bytes + now->name_at, now->name_len);
    return header_put_name(next, name, now->name_len, extra) ? header_write(now, next) : -ENOSPC;
}

/*
 * The name and the format, where the extensions stay in place: the format replaces one that takes
 * as many bytes, or comes at the end. -ENOSPC: that is not possible.
 */
static int coroutine_fn header_change(Header *now, Header *next, const char *name,
                                      const char *format)
{
    size_t name_len = strlen(name), len = strlen(format);
    size_t extra = now->format_at ? 0 : EXT_HEADER + ROUND_UP(len, EXT_ALIGN);
    int ret;

    if (now->format_at && ROUND_UP(now->format_len, EXT_ALIGN) != ROUND_UP(len, EXT_ALIGN)) {
        return -ENOSPC;
    }
    ret = header_move_name(now, next, extra);
    if (ret < 0) {
        return ret;
    }
    header_parse(next);
    if (!header_put_name(next, name, name_len, extra)) {
        return -ENOSPC;
    }
    if (now->format_at) {
        header_put_extension(next->bytes + now->format_at, EXT_BACKING_FORMAT, format, len);
    } else {
        memset(next->bytes + now->end_at + extra, 0, EXT_HEADER);
        if (now->end_at >= BLOCK_SECTOR_SIZE) {
            /* The name's sector first: without a format the new file's is found out, as before. */
            ret = header_write(now, next);
        }
        header_put_extension(next->bytes + now->end_at, EXT_BACKING_FORMAT, format, len);
    }
    return ret < 0 ? ret : header_write(now, next);
}

static int coroutine_fn header_set(Header *now, Header *next, const char *name, const char *format)
{
    int ret;

    if (!name) {
        /* The format stays, and means nothing without a name. */
        header_point(next, 0, 0);
        if (!now->has_end && now->end_at + EXT_HEADER <= now->size) {
            memset(next->bytes + now->end_at, 0, EXT_HEADER);
        }
        return header_write(now, next);
    }
    ret = header_change(now, next, name, format);
    if (ret == -ENOSPC) {
        memcpy(next->bytes, now->bytes, now->size);
        header_parse(next);
        ret = header_rebuild(next, name, format) ? header_write(now, next) : -ENOSPC;
    }
    return ret;
}

int coroutine_fn qcow2_set_backing_name(BlockNode *node, const char *name, const char *format)
{
    Qcow2State *s = block_node_state(node);
    g_autofree uint8_t *bytes = g_malloc0(s->cluster_size), *copy = NULL;
    Header now = {.node = node, .bytes = bytes, .size = s->cluster_size}, next = now;
    int ret;

    if (name && (!*name || strlen(name) > MAX_BACKING_NAME || strlen(format) >= 64)) {
        return -EINVAL;
    }
    if (s->data_raw && name) {
        return -EINVAL; /* the data file has to hold the whole disk */
    }
    co_mutex_lock(&s->lock);
    ret = __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)
              ? -EIO
              : block_pread(node->file, 0, bytes, s->cluster_size);
    if (ret == 0) {
        header_parse(&now);
        next = now;
        next.bytes = copy = g_memdup2(bytes, s->cluster_size);
        ret = header_set(&now, &next, name, format);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

static int coroutine_fn header_set_autoclear(BlockNode *node, uint64_t bits)
{
    Qcow2State *s = block_node_state(node);
    uint8_t be[8];
    bool kept;
    int ret;

    if (s->autoclear == bits) {
        return 0;
    }
    stbe64(be, bits);
    ret = qcow2_switch_header(node, HDR_AUTOCLEAR_FEATURES, be, sizeof be, &kept);
    if (ret == 0) {
        s->autoclear = bits;
    }
    return ret;
}

/* While no autoclear bit says that the extension is in use, all of it may be torn. */
static int coroutine_fn header_put_bitmaps(Header *now, Header *next, const Qcow2BitmapDir *dir)
{
    const Qcow2State *s = block_node_state(now->node);
    size_t at = now->bitmaps_at ? now->bitmaps_at : now->end_at;
    uint8_t *data = next->bytes + at + EXT_HEADER;
    int ret;

    if (!now->bitmaps_at) {
        ret = header_move_name(now, next, EXT_HEADER + EXT_BITMAPS_LENGTH);
        if (ret < 0) {
            return ret;
        }
        if (at + 2 * EXT_HEADER + EXT_BITMAPS_LENGTH > s->cluster_size) {
            return -ENOSPC;
        }
        /* The end marker behind the extension comes before the extension takes its place. */
        memset(next->bytes + at + EXT_HEADER + EXT_BITMAPS_LENGTH, 0, EXT_HEADER);
        ret = header_write(now, next);
        if (ret < 0) {
            return ret;
        }
        stbe32(next->bytes + at, EXT_BITMAPS);
        stbe32(next->bytes + at + 4, EXT_BITMAPS_LENGTH);
    }
    stbe32(data, dir->count);
    stbe32(data + 4, 0);
    stbe64(data + 8, dir->bytes);
    stbe64(data + 16, dir->offset);
    return header_write(now, next);
}

/* Takes the extension away; where others follow it, they move. */
static int coroutine_fn header_drop_bitmaps(Header *now, Header *next)
{
    size_t len = EXT_HEADER + ROUND_UP(ldbe32(now->bytes + now->bitmaps_at + 4), EXT_ALIGN);
    size_t rest = now->end_at - (now->bitmaps_at + len);

    memmove(next->bytes + now->bitmaps_at, now->bytes + now->bitmaps_at + len, rest);
    memset(next->bytes + now->bitmaps_at + rest, 0, EXT_HEADER);
    return header_write(now, next);
}

/* With the autoclear bit off: makes the extension name 'dir', or takes it away. */
static int coroutine_fn header_set_bitmaps(BlockNode *node, uint8_t *bytes,
                                           const Qcow2BitmapDir *dir)
{
    Qcow2State *s = block_node_state(node);
    g_autofree uint8_t *copy = g_memdup2(bytes, s->cluster_size);
    Header now = {.node = node, .bytes = bytes, .size = s->cluster_size}, next;
    int ret;

    header_parse(&now);
    next = now;
    next.bytes = copy;
    if (dir->count) {
        ret = header_put_bitmaps(&now, &next, dir);
        return ret < 0 ? ret : header_set_autoclear(node, s->autoclear | AUTOCLEAR_BITMAPS);
    }
    return now.bitmaps_at ? header_drop_bitmaps(&now, &next) : 0;
}

/* After a failure: extensions as they were, and then the bit that they are in use. */
static bool coroutine_fn header_put_back(BlockNode *node, const uint8_t *bytes, uint64_t autoclear)
{
    Qcow2State *s = block_node_state(node);

    return block_pwrite(node->file, 0, bytes, s->cluster_size, 0) == 0 &&
           block_flush(node->file) == 0 && header_set_autoclear(node, autoclear) == 0;
}

int coroutine_fn qcow2_set_bitmap_dir(BlockNode *node, const Qcow2BitmapDir *dir, bool *kept)
{
    Qcow2State *s = block_node_state(node);
    g_autofree uint8_t *bytes = g_malloc0(s->cluster_size), *before = NULL;
    uint64_t autoclear = s->autoclear;
    int ret = header_set_autoclear(node, autoclear & ~AUTOCLEAR_BITMAPS);

    *kept = ret < 0 && !__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED);
    if (ret < 0) {
        return ret;
    }
    ret = block_pread(node->file, 0, bytes, s->cluster_size);
    if (ret < 0) {
        *kept = header_set_autoclear(node, autoclear) == 0;
        return ret;
    }
    before = g_memdup2(bytes, s->cluster_size);
    ret = header_set_bitmaps(node, bytes, dir);
    *kept = ret < 0 && header_put_back(node, before, autoclear);
    return ret;
}

/* The extensions of 'now' but those of two types, behind a fixed part of another length. */
static bool header_compose(const Header *now, Header *next, size_t fixed, uint32_t drop,
                           uint32_t drop_too)
{
    const Qcow2State *s = block_node_state(now->node);
    size_t at = fixed;

    memset(next->bytes + at, 0, next->size - at);
    for (size_t from = s->header_length; from < now->end_at;) {
        uint32_t type = ldbe32(now->bytes + from);
        size_t len = EXT_HEADER + ROUND_UP(ldbe32(now->bytes + from + 4), EXT_ALIGN);

        if (type != drop && type != drop_too) {
            if (at + len > next->size) {
                return false;
            }
            memcpy(next->bytes + at, now->bytes + from, len);
            at += len;
        }
        from += len;
    }
    at += EXT_HEADER;
    if (at + now->name_len > next->size) {
        return false;
    }
    if (now->name_at) {
        memcpy(next->bytes + at, now->bytes + now->name_at, now->name_len);
        header_point(next, at, now->name_len);
    }
    return true;
}

/* Reads the header. The two are freed by header_end(). */
static int coroutine_fn header_begin(BlockNode *node, Header *now, Header *next)
{
    Qcow2State *s = block_node_state(node);
    int ret;

    *now = (Header){.node = node, .size = s->cluster_size};
    now->bytes = g_malloc0(now->size);
    ret = __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)
              ? -EIO
              : block_pread(node->file, 0, now->bytes, now->size);
    header_parse(now);
    *next = *now;
    next->bytes = g_memdup2(now->bytes, now->size);
    return ret;
}

static void header_end(Header *now, Header *next)
{
    g_free(now->bytes);
    g_free(next->bytes);
}

int coroutine_fn qcow2_set_version(BlockNode *node, unsigned version)
{
    Qcow2State *s = block_node_state(node);
    size_t fixed = version < 3 ? HDR_V2_LENGTH : HDR_V3_LENGTH;
    Header now, next;
    int ret;

    co_mutex_lock(&s->lock);
    ret = header_begin(node, &now, &next);
    if (ret == 0 && !header_compose(&now, &next, fixed, EXT_FEATURE_NAMES, EXT_BITMAPS)) {
        ret = -ENOSPC;
    }
    if (ret == 0) {
        stbe32(next.bytes + HDR_VERSION, version);
        if (version >= 3) {
            memset(next.bytes + HDR_V2_LENGTH, 0, HDR_V3_LENGTH - HDR_V2_LENGTH);
            stbe32(next.bytes + HDR_REFCOUNT_ORDER, s->refcount_order);
            stbe32(next.bytes + HDR_HEADER_LENGTH, HDR_V3_LENGTH);
        }
        ret = header_write(&now, &next);
    }
    if (ret == 0) {
        s->version = version;
        s->header_length = fixed;
        s->incompat = s->compat = s->autoclear = 0;
        s->lazy = false;
    }
    header_end(&now, &next);
    co_mutex_unlock(&s->lock);
    return ret;
}

int coroutine_fn qcow2_set_data_name(BlockNode *node, const char *name)
{
    Qcow2State *s = block_node_state(node);
    size_t len = strlen(name);
    Header now, next;
    int ret;

    co_mutex_lock(&s->lock);
    ret = header_begin(node, &now, &next);
    if (ret == 0 && !header_compose(&now, &next, s->header_length, EXT_DATA_FILE, EXT_DATA_FILE)) {
        ret = -ENOSPC;
    }
    if (ret == 0 && len) {
        size_t extra = EXT_HEADER + ROUND_UP(len, EXT_ALIGN), rest;
        uint8_t *first = next.bytes + s->header_length;

        header_parse(&next);
        rest = (next.name_at ? next.name_at + next.name_len : next.end_at + EXT_HEADER) -
               s->header_length;
        if (s->header_length + extra + rest > next.size) {
            ret = -ENOSPC;
        } else {
            memmove(first + extra, first, rest);
            header_put_extension(first, EXT_DATA_FILE, name, len);
            if (next.name_at) {
                header_point(&next, next.name_at + extra, next.name_len);
            }
        }
    }
    ret = ret < 0 ? ret : header_write(&now, &next);
    if (ret == 0) {
        g_free(s->data_name);
        s->data_name = len ? g_strdup(name) : NULL;
    }
    header_end(&now, &next);
    co_mutex_unlock(&s->lock);
    return ret;
}

int coroutine_fn qcow2_set_data_raw(BlockNode *node, bool raw)
{
    Qcow2State *s = block_node_state(node);
    uint64_t bits = (s->autoclear & ~AUTOCLEAR_DATA_FILE_RAW) | (raw ? AUTOCLEAR_DATA_FILE_RAW : 0);
    int ret;

    co_mutex_lock(&s->lock);
    ret = header_set_autoclear(node, bits);
    if (ret == 0) {
        s->data_raw = raw;
    }
    co_mutex_unlock(&s->lock);
    return ret;
}
