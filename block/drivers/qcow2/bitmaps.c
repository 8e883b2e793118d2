/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 'Bitmaps extension': persistent dirty bitmaps. While an image is open for writing its bitmaps are
 * in memory (block/dirty_bitmap.h), and the directory says of each that it is in use: after a crash
 * that is what makes it inconsistent. Closing the image writes them anew, into free clusters; the
 * header's change makes these the bitmaps; then the old clusters are free.
 */
#include <errno.h>
#include <inttypes.h>
#include "qcow2.h"

enum {
    DIRTY_TRACKING = 1, /* the only type */
    MIN_GRANULARITY_BITS = 9,
    MAX_NAME = 1023,
    MAX_BITMAPS = 65535,
};
/* Of one bitmap, and of all that are read: a small file may say that all bits are set. */
#define MAX_BITMAP_BYTES (512 * MiB)

static void bitmap_clear(void *data)
{
    g_clear_pointer(&((Qcow2Bitmap *)data)->name, g_free);
}

static GArray *bitmaps_new(void)
{
    GArray *list = g_array_new(FALSE, TRUE, sizeof(Qcow2Bitmap));

    g_array_set_clear_func(list, bitmap_clear);
    return list;
}

static Qcow2Bitmap *bitmap_at(const GArray *list, unsigned i)
{
    return &g_array_index(list, Qcow2Bitmap, i);
}

static int bitmap_index(const Qcow2State *s, const char *name)
{
    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        if (g_str_equal(bitmap_at(s->bitmaps, i)->name, name)) {
            return i;
        }
    }
    return -1;
}

void qcow2_bitmaps_clear(Qcow2State *s)
{
    g_clear_pointer(&s->bitmaps, g_array_unref);
}

/* --- the directory --- */

static bool parse_entry(const Qcow2State *s, const uint8_t *e, uint64_t rest, Qcow2Bitmap *b,
                        uint64_t *length, GError **err)
{
    unsigned name_size, type;
    uint64_t extra;

    if (rest < BITMAP_ENTRY_LENGTH) {
        return error_set(err, "Broken bitmap directory");
    }
    name_size = ldbe16(e + BITMAP_NAME_SIZE);
    extra = ldbe32(e + BITMAP_EXTRA_SIZE);
    type = e[BITMAP_TYPE];
    *length = ROUND_UP(BITMAP_ENTRY_LENGTH + extra + name_size, 8);
    if (*length > rest || !name_size || name_size > MAX_NAME) {
        return error_set(err, "Broken bitmap directory");
    }
    b->name = g_strndup((const char *)e + BITMAP_ENTRY_LENGTH + extra, name_size);
    b->table_offset = ldbe64(e + BITMAP_TABLE_OFFSET);
    b->table_size = ldbe32(e + BITMAP_TABLE_SIZE);
    b->flags = ldbe32(e + BITMAP_FLAGS);
    b->granularity_bits = e[BITMAP_GRANULARITY_BITS];
    if (extra) {
        return error_set(err, "Bitmap extra data is not supported (bitmap '%s')", b->name);
    }
    if (type != DIRTY_TRACKING || b->flags & ~(BITMAP_IN_USE | BITMAP_AUTO) ||
        b->granularity_bits < MIN_GRANULARITY_BITS ||
        b->granularity_bits > MAX_BITMAP_GRANULARITY_BITS ||
        b->table_size * 8ull > MAX_BITMAP_TABLE_BYTES ||
        (b->table_size && !qcow2_table_ok(s, b->table_offset, b->table_size * 8ull)) ||
        qcow2_bitmap_bytes(s, b->granularity_bits) > MAX_BITMAP_BYTES) {
        return error_set(err, "Broken bitmap directory: bitmap '%s'", b->name);
    }
    return true;
}

static GArray *parse_directory(const Qcow2State *s, const uint8_t *dir, GError **err)
{
    g_autoptr(GArray) list = bitmaps_new();
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    uint64_t at = 0, length = 0, all = 0;

    for (uint32_t i = 0; i < s->bitmap_dir.count; i++) {
        Qcow2Bitmap b = {0};
        bool ok = parse_entry(s, dir + at, s->bitmap_dir.bytes - at, &b, &length, err);

        g_array_append_val(list, b);
        if (!ok) {
            return NULL;
        }
        if (!g_hash_table_add(names, b.name)) {
            error_set(err, "Broken bitmap directory: two bitmaps are called '%s'", b.name);
            return NULL;
        }
        at += length;
        all += b.flags & BITMAP_IN_USE ? 0 : qcow2_bitmap_bytes(s, b.granularity_bits);
        if (all > MAX_BITMAP_BYTES) {
            error_set(err, "The image's bitmaps take more than %llu MiB: remove some with qemu-img",
                      MAX_BITMAP_BYTES / MiB);
            return NULL;
        }
    }
    if (at != s->bitmap_dir.bytes) {
        error_set(err, "Broken bitmap directory");
        return NULL;
    }
    return g_steal_pointer(&list);
}

static GByteArray *build_directory(const GArray *list)
{
    static const uint8_t pad[8];
    GByteArray *dir = g_byte_array_new();

    for (unsigned i = 0; i < list->len; i++) {
        const Qcow2Bitmap *b = bitmap_at(list, i);
        uint8_t e[BITMAP_ENTRY_LENGTH] = {0};
        size_t len = strlen(b->name);

        stbe64(e + BITMAP_TABLE_OFFSET, b->table_offset);
        stbe32(e + BITMAP_TABLE_SIZE, b->table_size);
        stbe32(e + BITMAP_FLAGS, b->flags);
        e[BITMAP_TYPE] = DIRTY_TRACKING;
        e[BITMAP_GRANULARITY_BITS] = b->granularity_bits;
        stbe16(e + BITMAP_NAME_SIZE, len);
        g_byte_array_append(dir, e, sizeof e);
        g_byte_array_append(dir, (const uint8_t *)b->name, len);
        g_byte_array_append(dir, pad, ROUND_UP(dir->len, 8) - dir->len);
    }
    return dir;
}

void qcow2_bitmaps_note_dir(Qcow2State *s)
{
    uint64_t end = s->bitmap_dir.offset + s->bitmap_dir.bytes;

    for (uint64_t at = s->bitmap_dir.offset; s->bitmap_dir_read && at < end;
         at += s->cluster_size) {
        qcow2_metadata_add(s, at, QCOW2_GUARD_BITMAP_DIR);
    }
}

/* Another directory takes the place of 'dir'. */
static void forget_directory(Qcow2State *s, const Qcow2BitmapDir *dir)
{
    for (uint64_t at = dir->offset; at < dir->offset + dir->bytes; at += s->cluster_size) {
        qcow2_metadata_remove(s, at, QCOW2_GUARD_BITMAP_DIR);
    }
    s->bitmap_dir_read = true;
}

/* 0 or -errno, and an error. */
static int coroutine_fn read_list(BlockNode *n, GArray **list, GError **err)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *bytes = NULL;
    int ret = 0;

    if (!s->bitmap_dir.count || s->bitmap_dir.count > MAX_BITMAPS ||
        s->bitmap_dir.bytes > MAX_BITMAP_DIR_BYTES ||
        !qcow2_table_ok(s, s->bitmap_dir.offset, s->bitmap_dir.bytes)) {
        error_set(err, "Invalid bitmaps extension in the header");
        return -EINVAL;
    }
    bytes = g_try_malloc(MAX(s->bitmap_dir.bytes, 1));
    ret = bytes ? block_pread(n->file, s->bitmap_dir.offset, bytes, s->bitmap_dir.bytes) : -ENOMEM;
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read the bitmap directory");
        return ret;
    }
    *list = parse_directory(s, bytes, err);
    return *list ? 0 : -EINVAL;
}

bool coroutine_fn qcow2_bitmaps_valid(BlockNode *n, GError **err)
{
    g_autoptr(GArray) list = NULL;

    if (read_list(n, &list, err) < 0) {
        return false;
    }
    for (unsigned i = 0; i < list->len; i++) {
        const Qcow2Bitmap *b = bitmap_at(list, i);
        g_autofree uint64_t *table = NULL;
        int ret = 0;

        if (!(b->flags & BITMAP_IN_USE)) {
            ret = qcow2_bitmap_table_fits(block_node_state(n), b)
                      ? qcow2_bitmap_read_table(n, b, &table)
                      : -EINVAL;
        }
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read the bitmap '%s'", b->name);
        }
    }
    return true;
}

static int coroutine_fn read_directory(BlockNode *n, GError **err)
{
    Qcow2State *s = block_node_state(n);
    int ret;

    if (!(s->autoclear & AUTOCLEAR_BITMAPS) || s->version < 3) {
        /* A program that does not know bitmaps has written to the image. */
        s->bitmap_dir = (Qcow2BitmapDir){0};
        return 0;
    }
    ret = read_list(n, &s->bitmaps, err);
    if (ret < 0) {
        return ret;
    }
    s->bitmap_dir_read = true;
    qcow2_bitmaps_note_dir(s);
    return 0;
}

/* Under lock: writes a directory for 'list' into free clusters. */
static int coroutine_fn write_directory(BlockNode *n, const GArray *list, Qcow2BitmapDir *dir)
{
    Qcow2State *s = block_node_state(n);
    g_autoptr(GByteArray) bytes = build_directory(list);
    uint64_t clusters = DIV_ROUND_UP(bytes->len, s->cluster_size);
    int ret;

    *dir = (Qcow2BitmapDir){.count = list->len, .bytes = bytes->len};
    if (!list->len) {
        return 0;
    }
    ret = qcow2_alloc_clusters(n, &clusters, true, &dir->offset);
    if (ret < 0) {
        return ret;
    }
    ret = block_pwrite(n->file, dir->offset, bytes->data, bytes->len, 0);
    if (ret < 0) {
        qcow2_free_now(n, dir->offset, clusters);
    }
    return ret;
}

/* Under lock: gives a directory's clusters back. */
static void coroutine_fn free_directory(BlockNode *n, const Qcow2BitmapDir *dir)
{
    Qcow2State *s = block_node_state(n);

    if (dir->bytes) {
        qcow2_free_now(n, dir->offset, DIV_ROUND_UP(dir->bytes, s->cluster_size));
    }
}

/*
 * Under lock: makes 'list', whose tables are written, the image's bitmaps. After a failure that is
 * known to have changed nothing the old ones stay, and so do their clusters.
 */
static int coroutine_fn switch_bitmaps(BlockNode *n, GArray *list)
{
    Qcow2State *s = block_node_state(n);
    Qcow2BitmapDir old = s->bitmap_dir, dir;
    bool kept;
    int ret = write_directory(n, list, &dir);

    if (ret < 0) {
        return ret;
    }
    /* Refcounts, tables and directory are stable before the header names them. */
    ret = qcow2_writeback(n, true);
    ret = ret < 0 ? ret : block_flush(n->file);
    if (ret < 0) {
        free_directory(n, &dir);
        return ret;
    }
    ret = qcow2_set_bitmap_dir(n, &dir, &kept);
    if (ret < 0) {
        if (kept) {
            free_directory(n, &dir);
        }
        return ret; /* else what the header names is not known: nothing is freed */
    }
    forget_directory(s, &old);
    s->bitmap_dir = dir;
    qcow2_bitmaps_note_dir(s);
    free_directory(n, &old);
    return 0;
}

void qcow2_bitmaps_set_read_only(BlockNode *n)
{
    for (BlockDirtyBitmap *b = NULL; (b = block_dirty_bitmap_next(n, b));) {
        if (block_dirty_bitmap_persistent(b)) {
            block_dirty_bitmap_set_read_only(b, n->read_only);
        }
    }
}

/* --- opening --- */

/* Writes the directory in place, where all that changes are flags. */
static int coroutine_fn mark_in_use(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    g_autoptr(GByteArray) bytes = NULL;
    int ret;

    for (unsigned i = 0; i < s->bitmaps->len; i++) {
        bitmap_at(s->bitmaps, i)->flags |= BITMAP_IN_USE;
    }
    bytes = build_directory(s->bitmaps);
    ret = block_pwrite(n->file, s->bitmap_dir.offset, bytes->data, bytes->len, 0);
    return ret < 0 ? ret : block_flush(n->file);
}

/* Makes the bitmap in memory. */
static bool coroutine_fn load_bitmap(BlockNode *n, const Qcow2Bitmap *stored, GError **err)
{
    BlockDirtyBitmap *b =
        block_dirty_bitmap_add_stored(n, stored->name, BIT64(stored->granularity_bits), err);
    int ret;

    if (!b) {
        return false;
    }
    block_dirty_bitmap_set_persistent(b, true);
    block_dirty_bitmap_enable(b, stored->flags & BITMAP_AUTO);
    if (stored->flags & BITMAP_IN_USE) {
        block_dirty_bitmap_set_inconsistent(b);
        return true;
    }
    ret = qcow2_bitmap_read(n, stored, b);
    return ret == 0 ? true
                    : error_set_errno(err, -ret, "Could not read the bitmap '%s'", stored->name);
}

bool coroutine_fn qcow2_bitmaps_load(BlockNode *n, GError **err)
{
    Qcow2State *s = block_node_state(n);

    if (n->checking || s->version < 3) {
        return true;
    }
    if (!s->bitmaps && read_directory(n, err) < 0) {
        return false;
    }
    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *stored = bitmap_at(s->bitmaps, i);
        BlockDirtyBitmap *b = block_dirty_bitmap_find(n, stored->name);

        if (!b && !load_bitmap(n, stored, err)) {
            return false;
        }
    }
    qcow2_bitmaps_set_read_only(n);
    if (s->bitmaps && !n->read_only) {
        int ret = mark_in_use(n);

        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not mark the bitmaps as in use");
        }
    }
    s->bitmaps_stored = false;
    return true;
}

int coroutine_fn qcow2_bitmaps_use(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    int ret = 0;

    co_mutex_lock(&s->lock);
    if (__atomic_load_n(&s->bitmaps_stored, __ATOMIC_SEQ_CST)) {
        ret = s->bitmaps ? mark_in_use(n) : 0;
        __atomic_store_n(&s->bitmaps_stored, ret < 0, __ATOMIC_SEQ_CST);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* --- storing --- */

/* Under lock: writes the tables of the bitmaps in memory; those that are inconsistent stay. */
static int coroutine_fn write_tables(BlockNode *n, GArray *list)
{
    Qcow2State *s = block_node_state(n);

    for (BlockDirtyBitmap *b = block_dirty_bitmap_next(n, NULL); b;
         b = block_dirty_bitmap_next(n, b)) {
        const char *name = block_dirty_bitmap_name(b);
        Qcow2Bitmap stored = {.granularity_bits =
                                  __builtin_ctzll(block_dirty_bitmap_granularity(b))};
        int i, ret;

        if (!block_dirty_bitmap_persistent(b)) {
            continue;
        }
        i = bitmap_index(s, name);
        if (block_dirty_bitmap_inconsistent(b) && i < 0) {
            continue; /* nothing is stored of it, and nothing can be */
        }
        if (block_dirty_bitmap_inconsistent(b)) {
            stored = *bitmap_at(s->bitmaps, i);
            stored.flags |= BITMAP_IN_USE;
        } else {
            stored.flags = block_dirty_bitmap_enabled(b) ? BITMAP_AUTO : 0;
            ret = qcow2_bitmap_write(n, b, &stored);
            if (ret < 0) {
                return ret;
            }
        }
        stored.name = g_strdup(name);
        /* The newest comes first in memory, and last in the directory. */
        g_array_prepend_val(list, stored);
    }
    return 0;
}

/* Under lock: frees the tables of 'list' that 'other' has not. */
static void coroutine_fn free_tables(BlockNode *n, const GArray *list, const GArray *other)
{
    for (unsigned i = 0; list && i < list->len; i++) {
        bool kept = false;

        for (unsigned k = 0; other && k < other->len && !kept; k++) {
            kept = bitmap_at(list, i)->table_offset == bitmap_at(other, k)->table_offset;
        }
        if (!kept) {
            qcow2_bitmap_free_clusters(n, bitmap_at(list, i));
        }
    }
}

static bool any_persistent(BlockNode *n)
{
    BlockDirtyBitmap *b = NULL;

    while ((b = block_dirty_bitmap_next(n, b)) && !block_dirty_bitmap_persistent(b)) {
    }
    return b != NULL;
}

int coroutine_fn qcow2_bitmaps_store(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    g_autoptr(GArray) list = NULL;
    int ret;

    if (!s->ready || n->read_only || n->checking ||
        __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED) || (!s->bitmaps && !any_persistent(n))) {
        return 0;
    }
    list = bitmaps_new();
    co_mutex_lock(&s->lock);
    ret = write_tables(n, list);
    if (ret < 0) {
        free_tables(n, list, s->bitmaps);
    } else {
        ret = switch_bitmaps(n, list);
    }
    if (ret == 0) {
        free_tables(n, s->bitmaps, list);
        qcow2_bitmaps_clear(s);
        s->bitmaps = g_steal_pointer(&list);
        __atomic_store_n(&s->bitmaps_stored, true, __ATOMIC_SEQ_CST);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

void qcow2_bitmaps_drop(BlockNode *n)
{
    for (BlockDirtyBitmap *b = block_dirty_bitmap_next(n, NULL), *next; b; b = next) {
        next = block_dirty_bitmap_next(n, b);
        if (block_dirty_bitmap_persistent(b)) {
            block_dirty_bitmap_drop_stored(b);
        }
    }
}

/* --- commands --- */

bool coroutine_fn qcow2_can_store_bitmap(BlockNode *n, const char *name, uint64_t granularity,
                                         GError **err)
{
    Qcow2State *s = block_node_state(n);
    unsigned bits = __builtin_ctzll(granularity), count = 0;
    const char *device = n->opts.node_name;

    if (s->version < 3) {
        return error_set(err,
                         "Can't make bitmap '%s' persistent in '%s': Cannot store dirty bitmaps in "
                         "qcow2 v2 files",
                         name, device);
    }
    if (strlen(name) > MAX_NAME) {
        return error_set(err,
                         "Can't make bitmap '%s' persistent in '%s': Name length should be "
                         "less or equal to %d",
                         name, device, MAX_NAME);
    }
    if (bits > MAX_BITMAP_GRANULARITY_BITS || bits < MIN_GRANULARITY_BITS) {
        return error_set(
            err, "Can't make bitmap '%s' persistent in '%s': Granularity %s (%" PRIu64 " bytes)",
            name, device, bits < MIN_GRANULARITY_BITS ? "is under minimum" : "exceeds maximum",
            (uint64_t)(bits < MIN_GRANULARITY_BITS ? BIT64(MIN_GRANULARITY_BITS)
                                                   : BIT64(MAX_BITMAP_GRANULARITY_BITS)));
    }
    if (qcow2_bitmap_bytes(s, bits) > MAX_BITMAP_BYTES) {
        return error_set(err,
                         "Can't make bitmap '%s' persistent in '%s': Too much space will be "
                         "occupied by the bitmap. Use larger granularity",
                         name, device);
    }
    for (BlockDirtyBitmap *b = NULL; (b = block_dirty_bitmap_next(n, b));) {
        count += block_dirty_bitmap_persistent(b);
    }
    if (count >= MAX_BITMAPS) {
        return error_set(err,
                         "Can't make bitmap '%s' persistent in '%s': Maximum number of persistent "
                         "bitmaps is already reached",
                         name, device);
    }
    return true;
}

bool coroutine_fn qcow2_remove_bitmap(BlockNode *n, const char *name, GError **err)
{
    Qcow2State *s = block_node_state(n);
    g_autoptr(GArray) list = bitmaps_new();
    int index, ret = 0;

    co_mutex_lock(&s->lock);
    index = bitmap_index(s, name);
    for (unsigned i = 0; index >= 0 && i < s->bitmaps->len; i++) {
        Qcow2Bitmap b = *bitmap_at(s->bitmaps, i);

        if (i != (unsigned)index) {
            b.name = g_strdup(b.name);
            g_array_append_val(list, b);
        }
    }
    if (index >= 0) {
        ret = switch_bitmaps(n, list);
        if (ret == 0) {
            free_tables(n, s->bitmaps, list);
            qcow2_bitmaps_clear(s);
            s->bitmaps = list->len ? g_steal_pointer(&list) : NULL;
        }
    }
    co_mutex_unlock(&s->lock);
    return ret == 0 ? true
                    : error_set_errno(err, -ret, "Failed to remove the bitmap '%s' from '%s'", name,
                                      n->filename);
}

int coroutine_fn qcow2_bitmaps_remove_all(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    g_autoptr(GArray) none = bitmaps_new();
    int ret = 0;

    co_mutex_lock(&s->lock);
    if (s->bitmaps) {
        ret = switch_bitmaps(n, none);
    }
    if (ret == 0 && s->bitmaps) {
        free_tables(n, s->bitmaps, none);
        qcow2_bitmaps_clear(s);
    }
    co_mutex_unlock(&s->lock);
    if (ret == 0) {
        qcow2_bitmaps_drop(n);
    }
    return ret;
}

bool qcow2_bitmaps_may_resize(BlockNode *n, GError **err)
{
    for (BlockDirtyBitmap *b = NULL; (b = block_dirty_bitmap_next(n, b));) {
        if (block_dirty_bitmap_persistent(b) &&
            !block_dirty_bitmap_check(b, BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT, err)) {
            return false;
        }
    }
    return true;
}

json_t *qcow2_bitmaps_info(const Qcow2State *s)
{
    json_t *list = json_array();

    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *b = bitmap_at(s->bitmaps, i);
        json_t *flags = json_array(), *o = json_object();

        if (b->flags & BITMAP_IN_USE) {
            json_array_append_new(flags, json_string("in-use"));
        }
        if (b->flags & BITMAP_AUTO) {
            json_array_append_new(flags, json_string("auto"));
        }
        json_object_set_new(o, "flags", flags);
        json_object_set_new(o, "name", json_string_nocheck(b->name));
        json_object_set_new(o, "granularity", json_integer(BIT64(b->granularity_bits)));
        json_array_append_new(list, o);
    }
    return list;
}

int coroutine_fn qcow2_bitmaps_size(BlockNode *node, uint64_t unit, uint64_t *bytes)
{
    const Qcow2State *s = block_node_state(node);
    uint64_t dir = 0;

    *bytes = 0;
    if (s->version < 3) {
        return -ENOTSUP;
    }
    for (unsigned i = 0; s->bitmaps && i < s->bitmaps->len; i++) {
        const Qcow2Bitmap *b = bitmap_at(s->bitmaps, i);
        uint64_t clusters = DIV_ROUND_UP(qcow2_bitmap_bytes(s, b->granularity_bits), unit);

        dir += ROUND_UP(BITMAP_ENTRY_LENGTH + strlen(b->name), 8);
        *bytes += clusters * unit + ROUND_UP(clusters * 8, unit);
    }
    *bytes += ROUND_UP(dir, unit);
    return 0;
}
