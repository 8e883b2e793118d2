/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening and closing: 'Header', 'Feature bits', 'Header extensions', and what they describe. */
#include <errno.h>
#include "base/log.h"
#include "qcow2.h"

enum { SLICE_BYTES = 4096 };

const Property qcow2_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(Qcow2State, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .help = "what holds the image"},
    PROP("backing", PROP_TREE, Qcow2State, backing_config, NULL,
         "backing file (default: the one the image names; null or empty: none)"),
    PROP("data-file", PROP_TREE, Qcow2State, data_config, NULL,
         "external data file (default: the one the image names)"),
    PROP("l2-cache-size", PROP_SIZE, Qcow2State, l2_cache_size, "32M", "most memory for L2 tables"),
    PROP("refcount-cache-size", PROP_SIZE, Qcow2State, refcount_cache_size, "256K",
         "most memory for refcount blocks"),
    PROP("lazy-refcounts", PROP_ON_OFF_AUTO, Qcow2State, lazy_option, "auto",
         "postpone refcount updates (default: as the image says)"),
    PROP("overlap-check", PROP_STRING, Qcow2State, overlap_check, "cached",
         "which metadata is guarded against overwriting: cached"),
    PROP_END,
};

int coroutine_fn qcow2_write_incompat(BlockNode *n, uint64_t bits)
{
    uint8_t be[8];

    stbe64(be, bits);
    return block_pwrite(n->file, HDR_INCOMPATIBLE_FEATURES, be, sizeof be, 0);
}

int coroutine_fn qcow2_corruption(BlockNode *n, const char *fmt, ...)
{
    Qcow2State *s = block_node_state(n);
    g_autofree char *text = NULL;
    va_list ap;

    if (__atomic_exchange_n(&s->corrupt, true, __ATOMIC_SEQ_CST)) {
        return -EIO;
    }
    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (n->read_only) {
        log_error("qcow2: Image '%s' is corrupt: %s; further non-fatal corruption events will be "
                  "suppressed",
                  n->filename ? n->filename : "", text);
    } else {
        log_error("qcow2: Marking image '%s' as corrupt: %s; further corruption events will be "
                  "suppressed",
                  n->filename ? n->filename : "", text);
        if (s->version >= 3) {
            s->incompat |= INCOMPAT_CORRUPT;
            qcow2_write_incompat(n, s->incompat | (s->dirty_marked ? INCOMPAT_DIRTY : 0));
        }
    }
    return -EIO;
}

typedef struct {
    BlockNode *node;
    Qcow2State *s;
    int64_t file_length;
    uint64_t backing_offset;
    uint32_t backing_len;
    uint32_t reftable_clusters;
    GString *feature_names; /* "TYPE BIT NAME" of unknown incompatible features */
} Opening;

static bool parse_header(Opening *o, const uint8_t *h, size_t len, GError **err)
{
    Qcow2State *s = o->s;

    if (len < HDR_V2_LENGTH) {
        return error_set(err, "Could not read qcow2 header: the file has only %zu bytes", len);
    }
    if (ldbe32(h + HDR_MAGIC) != QCOW2_MAGIC) {
        return error_set(err, "Image is not in qcow2 format");
    }
    s->version = ldbe32(h + HDR_VERSION);
    if (s->version < 2 || s->version > 3) {
        return error_set(err, "Unsupported qcow2 version %u", s->version);
    }
    s->cluster_bits = ldbe32(h + HDR_CLUSTER_BITS);
    if (s->cluster_bits < MIN_CLUSTER_BITS || s->cluster_bits > MAX_CLUSTER_BITS) {
        return error_set(err, "Unsupported cluster size: 2^%u", s->cluster_bits);
    }
    s->cluster_size = BIT64(s->cluster_bits);
    s->refcount_order = 4;
    s->header_length = HDR_V2_LENGTH;
    if (s->version >= 3) {
        if (len < HDR_V3_MIN_LENGTH) {
            return error_set(err, "Could not read qcow2 header: the file has only %zu bytes", len);
        }
        s->incompat = ldbe64(h + HDR_INCOMPATIBLE_FEATURES);
        s->compat = ldbe64(h + HDR_COMPATIBLE_FEATURES);
        s->autoclear = ldbe64(h + HDR_AUTOCLEAR_FEATURES);
        s->refcount_order = ldbe32(h + HDR_REFCOUNT_ORDER);
        s->header_length = ldbe32(h + HDR_HEADER_LENGTH);
        if (s->header_length < HDR_V3_MIN_LENGTH) {
            return error_set(err, "qcow2 header too short");
        }
    }
    if (s->header_length > s->cluster_size) {
        return error_set(err, "qcow2 header exceeds cluster size");
    }
    if (s->header_length > HDR_COMPRESSION_TYPE && len > HDR_COMPRESSION_TYPE) {
        s->compression = h[HDR_COMPRESSION_TYPE];
    }
    o->backing_offset = ldbe64(h + HDR_BACKING_FILE_OFFSET);
    o->backing_len = ldbe32(h + HDR_BACKING_FILE_SIZE);
    if (o->backing_offset > s->cluster_size) {
        return error_set(err, "Invalid backing file offset");
    }
    s->size = ldbe64(h + HDR_SIZE);
    s->crypt_method = ldbe32(h + HDR_CRYPT_METHOD);
    s->l1_size = ldbe32(h + HDR_L1_SIZE);
    s->l1_offset = ldbe64(h + HDR_L1_TABLE_OFFSET);
    s->reftable_offset = ldbe64(h + HDR_REFCOUNT_TABLE_OFFSET);
    o->reftable_clusters = ldbe32(h + HDR_REFCOUNT_TABLE_CLUSTERS);
    s->nb_snapshots = ldbe32(h + HDR_NB_SNAPSHOTS);
    s->snapshots_offset = ldbe64(h + HDR_SNAPSHOTS_OFFSET);
    return true;
}

static void note_feature_names(Opening *o, const uint8_t *data, uint32_t len)
{
    uint64_t unknown = o->s->incompat & ~INCOMPAT_KNOWN;

    for (uint32_t at = 0; at + 48 <= len; at += 48) {
        unsigned type = data[at], bit = data[at + 1];
        if (type == 0 && bit < 64 && (unknown & BIT64(bit))) {
            g_autofree char *name = g_strndup((const char *)data + at + 2, 46);
            g_autofree char *clean = g_utf8_make_valid(name, -1);
            g_string_append_printf(o->feature_names, "%s%s", o->feature_names->len ? ", " : "",
                                   clean);
        }
    }
}

static bool parse_extensions(Opening *o, const uint8_t *h, size_t len, GError **err)
{
    Qcow2State *s = o->s;
    size_t at = s->header_length;
    size_t end = o->backing_offset ? MIN(len, o->backing_offset) : len;

    while (at + 8 <= end) {
        uint32_t type = ldbe32(h + at), bytes = ldbe32(h + at + 4);

        at += 8;
        if (type == EXT_END) {
            break;
        }
        if (bytes > end - at) {
            return error_set(err, "Header extension too large");
        }
        switch (type) {
        case EXT_BACKING_FORMAT:
            if (bytes >= 64) {
                return error_set(err, "ERROR: ext_backing_format: len=%u too large (>=64)", bytes);
            }
            g_free(o->node->backing_format);
            o->node->backing_format = g_strndup((const char *)h + at, bytes);
            break;
        case EXT_FEATURE_NAMES:
            note_feature_names(o, h + at, bytes);
            break;
        case EXT_DATA_FILE:
            g_free(s->data_name);
            s->data_name = g_strndup((const char *)h + at, bytes);
            break;
        case EXT_BITMAPS:
            if (bytes >= 24) {
                s->nb_bitmaps = MIN(ldbe32(h + at), 65535u);
                s->bitmap_dir_size = MIN(ldbe64(h + at + 8), 64 * MiB);
                s->bitmap_dir_offset = ldbe64(h + at + 16);
            }
            break;
        default:
            break; /* unknown ones stay where they are: the header is patched, not rewritten */
        }
        at += ROUND_UP(bytes, 8);
    }
    return true;
}

static bool check_features(Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t unknown = s->incompat & ~INCOMPAT_KNOWN;

    if (unknown) {
        if (o->feature_names->len) {
            return error_set(err, "Unsupported qcow2 feature(s): %s", o->feature_names->str);
        }
        return error_set(
            err, "Unsupported qcow2 feature(s): Unknown incompatible feature: %" PRIx64, unknown);
    }
    if ((s->incompat & INCOMPAT_CORRUPT) && !o->node->read_only && !o->node->checking) {
        return error_set(err, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    if (s->compression > COMPRESSION_ZSTD) {
        return error_set(err, "qcow2: unknown compression type: %u", s->compression);
    }
    if (!(s->incompat & INCOMPAT_COMPRESSION) != (s->compression == COMPRESSION_ZLIB)) {
        return error_set(err, s->compression == COMPRESSION_ZLIB
                                  ? "qcow2: Compression type incompatible feature bit must not be "
                                    "set"
                                  : "qcow2: Compression type incompatible feature bit must be set");
    }
#ifndef HAVE_ZSTD
    if (s->compression == COMPRESSION_ZSTD) {
        return error_set(err, "qcow2: compression type zstd is not supported in this build");
    }
#endif
    if (s->refcount_order > 6) {
        return error_set(err, "Reference count entry width too large; may not exceed 64 bits");
    }
    s->extl2 = s->incompat & INCOMPAT_EXTL2;
    if (s->extl2 && s->cluster_bits < EXTL2_MIN_CLUSTER_BITS) {
        return error_set(err, "qcow2 with extended L2 entries needs clusters of 16k or more");
    }
    switch (s->crypt_method) {
    case CRYPT_NONE:
        break;
    case CRYPT_AES:
        return error_set(err, "This image uses AES encryption (built into qcow2), which is not "
                              "supported; convert it with qemu-img");
    case CRYPT_LUKS:
        return error_set(err, "This image is encrypted with LUKS, which is not supported yet; "
                              "convert it with qemu-img");
    default:
        return error_set(err, "Unsupported encryption method %u", s->crypt_method);
    }
    s->data_raw = qcow2_has_data_file(s) && (s->autoclear & AUTOCLEAR_DATA_FILE_RAW);
    return true;
}

/* A table of 'bytes' has its place in the file's address space. */
static bool table_ok(const Qcow2State *s, uint64_t offset, uint64_t bytes)
{
    return IS_ALIGNED(offset, s->cluster_size) && offset <= INT64_MAX - bytes &&
           (!bytes || offset >= s->cluster_size);
}

/* Where the table is, and how large. A check can do without. */
static bool check_reftable(Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t bytes = (uint64_t)o->reftable_clusters * s->cluster_size;
    const char *fault = NULL;

    if (!bytes) {
        fault = "Image does not contain a reference count table";
    } else if (bytes > MAX_REFTABLE_BYTES) {
        fault = "Reference count table too large";
    } else if (!table_ok(s, s->reftable_offset, bytes)) {
        fault = "Reference count table offset invalid";
    } else if (o->node->checking && s->reftable_offset >= (uint64_t)o->file_length) {
        fault = "Reference count table is outside of the image file";
    }
    if (fault && !o->node->checking) {
        return error_set(err, "%s", fault);
    }
    if (fault) {
        s->reftable_lost = true;
        s->reftable_offset = 0;
        o->reftable_clusters = 0;
    }
    return true;
}

static bool check_tables(Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t per_table, needed;

    s->l2_entry_size = s->extl2 ? 16 : 8;
    s->l2_bits = s->cluster_bits - (s->extl2 ? 4 : 3);
    s->subclusters = s->extl2 ? EXTL2_SUBCLUSTERS : 1;
    s->subcluster_size = s->cluster_size / s->subclusters;
    s->slice_entries = MIN(SLICE_BYTES, s->cluster_size) / s->l2_entry_size;
    s->refblock_bits = s->cluster_bits + 3 - s->refcount_order;
    if (s->size > INT64_MAX - s->cluster_size) {
        return error_set(err, "Image is too big");
    }
    if (!check_reftable(o, err)) {
        return false;
    }
    if ((uint64_t)s->l1_size * 8 > MAX_L1_BYTES) {
        return error_set(err, "Active L1 table too large");
    }
    if (!table_ok(s, s->l1_offset, s->l1_size * 8ull)) {
        return error_set(err, "Active L1 table offset invalid");
    }
    per_table = BIT64(s->cluster_bits + s->l2_bits);
    needed = DIV_ROUND_UP(s->size, per_table);
    if (needed > MAX_L1_BYTES / 8) {
        return error_set(err, "Image is too big");
    }
    if (s->l1_size < needed) {
        return error_set(err, "L1 table is too small");
    }
    return true;
}

static bool coroutine_fn read_table(Opening *o, uint64_t offset, uint64_t entries, uint64_t **out,
                                    const char *what, GError **err)
{
    uint8_t *buf;
    int ret;

    *out = NULL;
    if (!entries) {
        *out = g_new0(uint64_t, 1);
        return true;
    }
    /* A table outside of the file is nothing that a write could have left behind. */
    if (offset >= o->file_length) {
        return error_set(err,
                         "Could not read %s: it lies at %#" PRIx64 ", behind the end of the "
                         "image file (truncated?)",
                         what, offset);
    }
    buf = g_try_malloc(entries * 8);
    if (!buf) {
        return error_set_errno(err, ENOMEM, "Could not read %s", what);
    }
    ret = block_pread(o->node->file, offset, buf, entries * 8);
    if (ret < 0) {
        g_free(buf);
        return error_set_errno(err, -ret, "Could not read %s", what);
    }
    *out = (uint64_t *)buf;
    for (uint64_t i = 0; i < entries; i++) {
        (*out)[i] = ldbe64(buf + 8 * i);
    }
    return true;
}

static char *text_of(const uint8_t *bytes, size_t len)
{
    g_autofree char *raw = g_strndup((const char *)bytes, len);

    return g_utf8_make_valid(raw, -1);
}

/* One entry, for those who list them. */
static int coroutine_fn note_snapshot(Opening *o, uint64_t at, const uint8_t *h)
{
    uint32_t extra = ldbe32(h + 36), id_len = ldbe16(h + 12), name_len = ldbe16(h + 14);
    uint64_t clock = ldbe64(h + 24), state_size = ldbe32(h + 32);
    g_autofree uint8_t *rest = g_malloc0(24 + id_len + name_len);
    g_autofree char *id = NULL, *name = NULL;
    json_t *entry;
    int ret = block_pread(o->node->file, at + 40, rest, MIN(extra, 24));

    ret = ret < 0 ? ret : block_pread(o->node->file, at + 40 + extra, rest + 24, id_len + name_len);
    if (ret < 0) {
        return ret;
    }
    id = text_of(rest + 24, id_len);
    name = text_of(rest + 24 + id_len, name_len);
    if (extra >= 8 && ldbe64(rest)) {
        state_size = ldbe64(rest);
    }
    entry = json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "id", json_string_nocheck(id), "name",
                      json_string_nocheck(name), "vm-state-size", (json_int_t)state_size,
                      "date-sec", (json_int_t)ldbe32(h + 16), "date-nsec",
                      (json_int_t)ldbe32(h + 20), "vm-clock-sec", (json_int_t)(clock / 1000000000),
                      "vm-clock-nsec", (json_int_t)(clock % 1000000000));
    if (extra >= 24 && ldbe64(rest + 16) != UINT64_MAX) {
        json_object_set_new(entry, "icount", json_integer(ldbe64(rest + 16)));
    }
    json_array_append_new(o->s->snapshot_list, entry);
    return 0;
}

/* 'Snapshots': walked for its extent; what is in it is kept as it is. */
static bool coroutine_fn measure_snapshots(Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t at = s->snapshots_offset;

    if (s->nb_snapshots > MAX_SNAPSHOTS) {
        return error_set(err, "Too many snapshots");
    }
    if (s->nb_snapshots && !table_ok(s, s->snapshots_offset, 1)) {
        return error_set(err, "Snapshot table offset invalid");
    }
    for (uint32_t i = 0; i < s->nb_snapshots; i++) {
        uint8_t h[40];
        uint64_t bytes;
        int ret = block_pread(o->node->file, at, h, sizeof h);

        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to read snapshot table");
        }
        bytes = 40 + (uint64_t)ldbe32(h + 36) + ldbe16(h + 12) + ldbe16(h + 14);
        if (at + bytes - s->snapshots_offset > MAX_SNAPSHOT_BYTES || at + bytes > o->file_length) {
            return error_set(err, "Snapshot table is too large or truncated (entry %u)", i);
        }
        ret = note_snapshot(o, at, h);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to read snapshot table");
        }
        at += ROUND_UP(bytes, 8);
    }
    s->snapshots_bytes = at - s->snapshots_offset;
    return true;
}

static bool coroutine_fn read_snapshots(Opening *o, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (measure_snapshots(o, &why)) {
        return true;
    }
    if (o->node->checking) {
        o->s->snapshots_lost = g_strdup(why->message);
        o->s->nb_snapshots = 0;
        return true;
    }
    g_propagate_error(err, g_steal_pointer(&why));
    return false;
}

static void note_table(Qcow2State *s, uint64_t host)
{
    if (host && (!qcow2_metadata_add(s, host) || qcow2_overlaps_fixed(s, host, s->cluster_size))) {
        s->tables_overlap = true;
    }
}

void qcow2_note_tables(Qcow2State *s)
{
    g_mutex_lock(&s->map_lock);
    g_hash_table_remove_all(s->metadata);
    g_mutex_unlock(&s->map_lock);
    s->tables_overlap = false;
    for (uint32_t i = 0; i < s->l1_size; i++) {
        note_table(s, s->l1[i] & ENTRY_OFFSET_MASK);
    }
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        note_table(s, s->reftable[i] & REFTABLE_OFFSET_MASK);
    }
}

static bool coroutine_fn read_tables(Opening *o, GError **err)
{
    Qcow2State *s = o->s;

    s->reftable_size = o->reftable_clusters * (s->cluster_size / 8);
    if (!read_table(o, s->reftable_offset, s->reftable_size, &s->reftable, "refcount table", err) ||
        !read_table(o, s->l1_offset, s->l1_size, &s->l1, "L1 table", err) ||
        !read_snapshots(o, err)) {
        return false;
    }
    qcow2_note_tables(s);
    return true;
}

/* The tree for the backing file: what the user gave, over what the image says. */
static json_t *backing_tree(BlockNode *node, const char *format, json_t *given, GError **err)
{
    g_autofree char *path = block_resolve_backing(node->file->filename, node->backing_name);
    json_t *tree = block_filename_to_config(path, err);

    if (!tree) {
        return NULL;
    }
    if (format && *format && !json_object_get(tree, "driver")) {
        json_object_set_new(tree, "driver", json_string_nocheck(format));
    }
    if (given) {
        json_object_update_recursive(tree, given);
    }
    return tree;
}

static bool open_backing(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    json_t *given = s->backing_config;
    json_auto_t *tree = NULL;

    if (json_is_null(given) || (json_is_string(given) && !*json_string_value(given))) {
        return true; /* asked for none */
    }
    if (!given && !node->backing_name) {
        return true;
    }
    if (json_is_string(given) ||
        (json_is_object(given) && (!node->backing_name || json_object_get(given, "file") ||
                                   json_object_get(given, "filename")))) {
        tree = json_incref(given);
    } else {
        tree = backing_tree(node, node->backing_format, given, err);
        if (!tree) {
            block_error_prefix(err, "Could not open backing file");
            return false;
        }
    }
    node->backing = block_open_child(node, "backing", tree, err);
    if (!node->backing) {
        block_error_prefix(err, "Could not open backing file");
        return false;
    }
    return true;
}

static bool open_data_file(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    json_auto_t *tree = NULL;

    s->data = node->file;
    if (!qcow2_has_data_file(s)) {
        if (s->data_config) {
            return error_set(err, "'data-file' can only be set for images with an external data "
                                  "file");
        }
        return true;
    }
    if (s->data_config) {
        tree = json_incref(s->data_config);
    } else {
        if (!s->data_name) {
            return error_set(err, "'data-file' is required for this image");
        }
        g_autofree char *path = block_resolve_backing(node->file->filename, s->data_name);
        json_auto_t *whole = block_filename_to_config(path, err);
        if (!whole) {
            return false;
        }
        tree = json_incref(json_object_get(whole, "file"));
    }
    s->data = block_open_child(node, "data-file", tree, err);
    if (!s->data) {
        s->data = node->file;
        block_error_prefix(err, "Could not open the external data file");
        return false;
    }
    return true;
}

static void init_state(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);

    co_mutex_init(&s->lock);
    co_queue_init(&s->pending_done);
    g_mutex_init(&s->map_lock);
    s->metadata = g_hash_table_new_full(hash_u64, g_int64_equal, g_free, NULL);
    s->frees_pending = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    s->frees_stable = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    s->frees_waiting = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    s->snapshot_list = json_array();
    s->free_hint = 1;
    s->zero_past_eof = g_str_equal(node->file->driver->name, "file");
}

static void free_state(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);

    if (!s->metadata) {
        return;
    }
    qcow2_cache_destroy(&s->l2_cache);
    qcow2_cache_destroy(&s->ref_cache);
    g_hash_table_unref(s->metadata);
    json_decref(s->snapshot_list);
    g_array_unref(s->frees_pending);
    g_array_unref(s->frees_stable);
    g_array_unref(s->frees_waiting);
    co_queue_destroy(&s->pending_done);
    co_mutex_destroy(&s->lock);
    g_mutex_clear(&s->map_lock);
    g_clear_pointer(&s->l1, g_free);
    g_clear_pointer(&s->reftable, g_free);
    g_clear_pointer(&s->data_name, g_free);
    g_clear_pointer(&s->snapshots_lost, g_free);
    if (s->data && s->data != node->file) {
        block_node_unref(s->data);
    }
    s->data = NULL;
    s->metadata = NULL;
}

static void init_caches(Qcow2State *s)
{
    size_t slice = MIN(SLICE_BYTES, s->cluster_size);
    uint64_t tables = DIV_ROUND_UP(s->size, s->cluster_size) * s->l2_entry_size;

    qcow2_cache_init(&s->l2_cache, slice,
                     MIN(s->l2_cache_size, ROUND_UP(tables, slice) + 8 * slice), &s->map_lock);
    qcow2_cache_init(&s->ref_cache, slice, s->refcount_cache_size, &s->map_lock);
}

/* What writing to an image asks for that others may have left half done. */
static bool coroutine_fn prepare_for_writing(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    uint64_t autoclear = s->autoclear & (qcow2_has_data_file(s) ? AUTOCLEAR_DATA_FILE_RAW : 0);
    uint8_t be[8];
    int ret;

    if (node->checking) {
        return true; /* what is amiss is the check's business */
    }
    if (s->tables_overlap) {
        /* Whatever was written to one would be read as the other. */
        return error_set(err, "qcow2: Image is corrupt: two of its tables are in one place; cannot "
                              "be opened read/write");
    }
    if (s->version < 3) {
        return true;
    }
    if (autoclear != s->autoclear) {
        /* 'Autoclear features': what we do not keep consistent must not be trusted later. */
        stbe64(be, autoclear);
        ret = block_pwrite(node->file, HDR_AUTOCLEAR_FEATURES, be, sizeof be, 0);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not clear the autoclear features");
        }
        s->autoclear = autoclear;
    }
    if (s->incompat & INCOMPAT_DIRTY) {
        BlockCheckResult res = {0};

        ret = qcow2_check(node, &res, BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS);
        if (ret < 0 || res.check_errors || res.corruptions) {
            return error_set(err, "Could not repair dirty image");
        }
    }
    return true;
}

static bool coroutine_fn open_image(Opening *o, GError **err)
{
    BlockNode *node = o->node;
    Qcow2State *s = o->s;
    g_autofree uint8_t *h = NULL;
    size_t len;
    int ret;

    if (!g_str_equal(s->overlap_check, "cached")) {
        return error_set(err,
                         "qcow2: overlap-check=%s is not supported: 'cached' is, which guards the "
                         "metadata that is in memory",
                         s->overlap_check);
    }
    o->file_length = block_length(node->file);
    if (o->file_length < 0) {
        return error_set_errno(err, -o->file_length, "Could not get image size");
    }
    len = MIN(o->file_length, (int64_t)BIT64(MAX_CLUSTER_BITS));
    h = g_malloc0(MAX(len, HDR_V3_LENGTH));
    /* First as much as says how long the rest is. */
    ret = block_pread(node->file, 0, h, MIN(len, 512));
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read qcow2 header");
    }
    if (!parse_header(o, h, MIN(len, 512), err)) {
        return false;
    }
    len = MIN(len, s->cluster_size);
    ret = len > 512 ? block_pread(node->file, 512, h + 512, len - 512) : 0;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read qcow2 header");
    }
    if (!parse_extensions(o, h, len, err) || !check_features(o, err) || !check_tables(o, err)) {
        return false;
    }
    if (o->backing_offset) {
        if (o->backing_len > MIN(MAX_BACKING_NAME, s->cluster_size - o->backing_offset) ||
            o->backing_offset + o->backing_len > len) {
            return error_set(err, "Backing file name too long");
        }
        node->backing_name = g_strndup((const char *)h + o->backing_offset, o->backing_len);
    }
    s->lazy = s->version >= 3 &&
              (s->lazy_option == ON_OFF_AUTO_AUTO ? (s->compat & COMPAT_LAZY_REFCOUNTS) != 0
                                                  : s->lazy_option == ON_OFF_AUTO_ON);
    if (s->version < 3 && s->lazy_option == ON_OFF_AUTO_ON) {
        return error_set(err, "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
                              "compatibility level");
    }
    init_caches(s);
    if (!read_tables(o, err) || !open_data_file(node, err) || !open_backing(node, err)) {
        return false;
    }
    return node->read_only || prepare_for_writing(node, err);
}

bool coroutine_fn qcow2_open(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    Opening o = {.node = node, .s = s};
    bool ok;

    node->file = block_open_child(node, "file", s->file_config, err);
    if (!node->file) {
        return false;
    }
    node->filename = g_strdup(node->file->filename);
    init_state(node);
    o.feature_names = g_string_new(NULL);
    ok = open_image(&o, err);
    g_string_free(o.feature_names, TRUE);
    if (!ok) {
        free_state(node);
    }
    return ok;
}

/* In flight is nothing, and the core has flushed. */
void coroutine_fn qcow2_close(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);
    int ret = 0;

    if (!node->read_only && !__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        /* What waited for its epoch is free now, so that a clean end leaks nothing. */
        for (int pass = 0; pass < 3 && ret == 0; pass++) {
            ret = qcow2_flush(node);
        }
        co_mutex_lock(&s->lock);
        if (ret == 0) {
            ret = qcow2_writeback(node, true);
        }
        if (ret == 0) {
            ret = block_flush(node->file);
        }
        if (ret == 0 && s->dirty_marked) {
            ret = qcow2_write_incompat(node, s->incompat & ~INCOMPAT_DIRTY);
            ret = ret < 0 ? ret : block_flush(node->file);
        }
        co_mutex_unlock(&s->lock);
        if (ret < 0) {
            log_error("qcow2: '%s' could not be closed cleanly: %s", node->filename,
                      g_strerror(-ret));
        }
    }
    free_state(node);
}

static json_t *format_specific(Qcow2State *s)
{
    json_t *data = json_object(), *all = json_object();

    json_object_set_new(data, "compat", json_string(s->version < 3 ? "0.10" : "1.1"));
    json_object_set_new(data, "compression-type",
                        json_string(s->compression == COMPRESSION_ZSTD ? "zstd" : "zlib"));
    if (s->version >= 3) {
        json_object_set_new(data, "lazy-refcounts",
                            json_boolean(s->compat & COMPAT_LAZY_REFCOUNTS));
    }
    json_object_set_new(data, "refcount-bits", json_integer(1 << s->refcount_order));
    if (s->version >= 3) {
        json_object_set_new(data, "corrupt", json_boolean(s->incompat & INCOMPAT_CORRUPT));
        json_object_set_new(data, "extended-l2", json_boolean(s->extl2));
    }
    if (s->data_name && qcow2_has_data_file(s)) {
        json_object_set_new(data, "data-file", json_string_nocheck(s->data_name));
        json_object_set_new(data, "data-file-raw", json_boolean(s->data_raw));
    }
    json_object_set_new(all, "type", json_string("qcow2"));
    json_object_set_new(all, "data", data);
    return all;
}

bool qcow2_info(BlockNode *node, BlockDriverInfo *info)
{
    Qcow2State *s = block_node_state(node);

    *info = (BlockDriverInfo){
        .cluster_size = s->cluster_size,
        .dirty = (s->incompat & INCOMPAT_DIRTY) && !s->dirty_marked,
        .corrupt = s->incompat & INCOMPAT_CORRUPT,
        .snapshots = s->nb_snapshots,
        .snapshot_list = s->snapshot_list,
        .format_specific = format_specific(s),
    };
    return true;
}

static int qcow2_probe(const uint8_t *buf, size_t len)
{
    return len >= 8 && ldbe32(buf) == QCOW2_MAGIC && ldbe32(buf + 4) >= 2 ? 100 : 0;
}

static int64_t qcow2_length(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);

    return __atomic_load_n(&s->size, __ATOMIC_SEQ_CST);
}

extern const BlockDriver block_driver_qcow2;
const BlockDriver block_driver_qcow2 = {
    .name = "qcow2",
    .help = "QEMU's copy-on-write image format, versions 2 and 3",
    .size = sizeof(Qcow2State),
    .props = qcow2_props,
    .probe = qcow2_probe,
    .open = qcow2_open,
    .close = qcow2_close,
    .preadv = qcow2_preadv,
    .pwritev = qcow2_pwritev,
    .pwrite_zeroes = qcow2_pwrite_zeroes,
    .pdiscard = qcow2_pdiscard,
    .pwrite_compressed = qcow2_write_compressed,
    .flush = qcow2_flush,
    .block_status = qcow2_block_status,
    .truncate = qcow2_truncate,
    .length = qcow2_length,
    .map_cached = qcow2_map_cached,
    .info = qcow2_info,
    .create_props = qcow2_create_props,
    .create_size = sizeof(Qcow2Create),
    .create = qcow2_create,
    .check = qcow2_check,
};
