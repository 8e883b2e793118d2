/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Creates images: checks the options, lays the tables out, writes them. */
#include <errno.h>
#include <unistd.h>
#include "qcow2.h"

static const char *const compression_names[] = {"zlib", "zstd", NULL};

const Property qcow2_create_props[] = {
    PROP("size", PROP_SIZE, Qcow2Create, size, "0", "Virtual disk size"),
    PROP("backing_file", PROP_STRING, Qcow2Create, backing_file, NULL, "File name of a base image"),
    PROP("backing_fmt", PROP_STRING, Qcow2Create, backing_fmt, NULL,
         "Image format of the base image"),
    PROP("compat", PROP_STRING, Qcow2Create, compat, "1.1",
         "Compatibility level (v2 [0.10] or v3 [1.1])"),
    PROP("cluster_size", PROP_SIZE, Qcow2Create, cluster_size, "64K", "qcow2 cluster size"),
    PROP("refcount_bits", PROP_UINT32, Qcow2Create, refcount_bits, "16",
         "Width of a reference count entry in bits"),
    PROP("lazy_refcounts", PROP_BOOL, Qcow2Create, lazy_refcounts, "off",
         "Postpone refcount updates"),
    PROP("extended_l2", PROP_BOOL, Qcow2Create, extended_l2, "off", "Extended L2 tables"),
    PROP_E("preallocation", Qcow2Create, preallocation, "off", block_preallocation_names,
           "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    PROP_E("compression_type", Qcow2Create, compression_type, "zlib", compression_names,
           "Compression method used for image cluster compression"),
    PROP("data_file", PROP_STRING, Qcow2Create, data_file, NULL,
         "File name of an external data file"),
    PROP("data_file_raw", PROP_BOOL, Qcow2Create, data_file_raw, "off",
         "The external data file must stay valid as a raw image"),
    PROP("nocow", PROP_BOOL, Qcow2Create, nocow, "off",
         "Turn off copy-on-write (valid only on btrfs)"),
    PROP("encryption", PROP_BOOL, Qcow2Create, encryption, "off",
         "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
    PROP("encrypt.format", PROP_STRING, Qcow2Create, encrypt_format, NULL,
         "Encrypt the image, format choices: 'aes', 'luks'"),
    LUKS_CREATE_PROPS("encrypt.", Qcow2Create, luks),
    PROP_END,
};

typedef struct {
    Qcow2Create *o;
    unsigned version, cluster_bits, refcount_order;
    uint64_t l1_entries, l1_clusters;
    uint64_t refblocks, reftable_clusters, used;
    int crypt_method;
    uint64_t crypto_bytes; /* of the LUKS header, behind the L1 table */
} Layout;

/* Options that version 2 has no header fields for. */
static bool qcow2_create_check_v2(const Qcow2Create *o, GError **err)
{
    if (o->refcount_bits != 16) {
        return error_set(err, "Different refcount widths than 16 bits require compatibility "
                              "level 1.1 or above (use version=v3 or greater)");
    }
    if (o->lazy_refcounts) {
        return error_set(err, "Lazy refcounts only supported with compatibility level 1.1 and "
                              "above (use version=v3 or greater)");
    }
    if (o->compression_type) {
        return error_set(err, "Non-zlib compression type is only supported with compatibility "
                              "level 1.1 and above (use version=v3 or greater)");
    }
    if (o->extended_l2) {
        return error_set(err, "Extended L2 entries are only supported with compatibility level "
                              "1.1 and above (use version=v3 or greater)");
    }
    if (o->data_file) {
        return error_set(err, "External data files are only supported with compatibility level "
                              "1.1 and above (use version=v3 or greater)");
    }
    return true;
}

static bool qcow2_create_check_geometry(const Qcow2Create *o, GError **err)
{
    if (!is_power_of_2(o->cluster_size) || o->cluster_size < BIT64(MIN_CLUSTER_BITS) ||
        o->cluster_size > BIT64(MAX_CLUSTER_BITS)) {
        return error_set(err, "Cluster size must be a power of two between 512 and 2048k");
    }
    if (!is_power_of_2(o->refcount_bits) || o->refcount_bits > 64) {
        return error_set(err, "Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (o->extended_l2 && o->cluster_size < BIT64(EXTL2_MIN_CLUSTER_BITS)) {
        return error_set(err, "Extended L2 entries are only supported with cluster sizes of at "
                              "least 16384 bytes");
    }
    return true;
}

/* Refuses what QEMU can create and this program cannot. */
static bool qcow2_create_check_supported(const Qcow2Create *o, GError **err)
{
    if (o->data_file_raw && !o->data_file) {
        return error_set(err, "data-file-raw requires data-file");
    }
    if (o->data_file && !*o->data_file) {
        return error_set(err,
                         "The node of the data file is no file that the image could name: give "
                         "the node of the protocol (driver=file, say)");
    }
    if (o->data_file_raw && o->backing_file) {
        return error_set(err, "Backing file and data-file-raw cannot be used at the same time");
    }
    if (o->backing_fmt && !o->backing_file) {
        return error_set(err, "Backing format cannot be used without backing file");
    }
#ifndef HAVE_ZSTD
    if (o->compression_type == COMPRESSION_ZSTD) {
        return error_set(err, "compression type zstd is not supported in this build");
    }
#endif
    return true;
}

static bool check_options(Qcow2Create *o, Layout *l, GError **err)
{
    const char *compat = o->compat ? o->compat : "1.1";

    if (g_str_equal(compat, "0.10") || g_str_equal(compat, "v2")) {
        l->version = 2;
    } else if (g_str_equal(compat, "1.1") || g_str_equal(compat, "v3")) {
        l->version = 3;
    } else {
        return error_set(err, "Invalid compatibility level: '%s' (v2 [0.10] or v3 [1.1])", compat);
    }
    if (!qcow2_create_check_geometry(o, err) ||
        (l->version < 3 && !qcow2_create_check_v2(o, err)) ||
        !qcow2_create_check_supported(o, err)) {
        return false;
    }
    if (o->preallocation && o->backing_file && !o->extended_l2) {
        return error_set(err, "Backing file and preallocation can only be used at the same time if "
                              "extended_l2 is on");
    }
    if (!qcow2_create_check_crypto(o, &l->crypt_method, &l->crypto_bytes, err)) {
        return false;
    }
    if (o->backing_file && strlen(o->backing_file) > MAX_BACKING_NAME) {
        return error_set(err, "Backing file name too long");
    }
    o->size = ROUND_UP(o->size, 512);
    return true;
}

/* Finds room for the refcounts of all tables, those of the refcounts too, and of 'more' clusters.
 */
static void qcow2_count_refcounts(Layout *l, uint64_t more)
{
    uint64_t per_block = BIT64(l->cluster_bits + 3 - l->refcount_order);

    l->refblocks = l->reftable_clusters = 1;
    for (;;) {
        uint64_t blocks, table;

        l->used = 1 + l->reftable_clusters + l->refblocks + l->l1_clusters +
                  DIV_ROUND_UP(l->crypto_bytes, BIT64(l->cluster_bits));
        blocks = DIV_ROUND_UP(l->used + more, per_block);
        table = DIV_ROUND_UP(blocks * 8, BIT64(l->cluster_bits));
        if (blocks <= l->refblocks && table <= l->reftable_clusters) {
            return;
        }
        l->refblocks = MAX(blocks, l->refblocks);
        l->reftable_clusters = MAX(table, l->reftable_clusters);
    }
}

static bool lay_out(Qcow2Create *o, Layout *l, GError **err)
{
    unsigned l2_bits;

    l->o = o;
    l->cluster_bits = g_bit_nth_lsf(o->cluster_size, -1);
    l->refcount_order = g_bit_nth_lsf(o->refcount_bits, -1);
    l2_bits = l->cluster_bits - (o->extended_l2 ? 4 : 3);
    l->l1_entries = DIV_ROUND_UP(o->size, BIT64(l->cluster_bits + l2_bits));
    if (o->size > INT64_MAX - o->cluster_size || l->l1_entries * 8 > MAX_L1_BYTES) {
        return error_set(err, "The image size is too large for file format 'qcow2' (try using a "
                              "larger cluster size)");
    }
    l->l1_clusters = DIV_ROUND_UP(l->l1_entries * 8, o->cluster_size);
    qcow2_count_refcounts(l, 0);
    return true;
}

static void put_extension(GByteArray *h, uint32_t type, const void *data, uint32_t len)
{
    static const uint8_t pad[8];
    uint8_t head[8];

    stbe32(head, type);
    stbe32(head + 4, len);
    g_byte_array_append(h, head, sizeof head);
    if (len) {
        g_byte_array_append(h, data, len);
    }
    g_byte_array_append(h, pad, ROUND_UP(len, 8) - len);
}

/* 'Feature name table': the names for error messages of programs that lack a feature. */
static void put_feature_names(GByteArray *h)
{
    static const struct {
        uint8_t type, bit;
        const char *name;
    } features[] = {
        {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
        {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
        {2, 0, "bitmaps"},          {2, 1, "raw external data"},
    };
    uint8_t table[ARRAY_SIZE(features) * 48] = {0};

    for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
        table[i * 48] = features[i].type;
        table[i * 48 + 1] = features[i].bit;
        g_strlcpy((char *)table + i * 48 + 2, features[i].name, 46);
    }
    put_extension(h, EXT_FEATURE_NAMES, table, sizeof table);
}

static uint64_t crypto_offset(const Layout *l)
{
    return (1 + l->reftable_clusters + l->refblocks + l->l1_clusters) << l->cluster_bits;
}

static void put_crypto(GByteArray *h, const Layout *l)
{
    uint8_t pointer[16];

    stbe64(pointer, crypto_offset(l));
    stbe64(pointer + 8, l->crypto_bytes);
    put_extension(h, EXT_CRYPTO, pointer, sizeof pointer);
}

static GByteArray *build_header(const Layout *l, GError **err)
{
    const Qcow2Create *o = l->o;
    GByteArray *h = g_byte_array_new();
    unsigned len = l->version < 3 ? HDR_V2_LENGTH : HDR_V3_LENGTH;
    uint64_t incompat = 0;
    uint8_t *p;

    g_byte_array_set_size(h, len);
    memset(h->data, 0, len);
    p = h->data;
    stbe32(p + HDR_MAGIC, QCOW2_MAGIC);
    stbe32(p + HDR_VERSION, l->version);
    stbe32(p + HDR_CLUSTER_BITS, l->cluster_bits);
    stbe64(p + HDR_SIZE, o->size);
    stbe32(p + HDR_CRYPT_METHOD, l->crypt_method);
    stbe32(p + HDR_L1_SIZE, l->l1_entries);
    stbe64(p + HDR_L1_TABLE_OFFSET, (1 + l->reftable_clusters + l->refblocks) << l->cluster_bits);
    stbe64(p + HDR_REFCOUNT_TABLE_OFFSET, 1ull << l->cluster_bits);
    stbe32(p + HDR_REFCOUNT_TABLE_CLUSTERS, l->reftable_clusters);
    if (l->version >= 3) {
        incompat |= o->compression_type ? INCOMPAT_COMPRESSION : 0;
        incompat |= o->extended_l2 ? INCOMPAT_EXTL2 : 0;
        incompat |= o->data_file ? INCOMPAT_DATA_FILE : 0;
        stbe64(p + HDR_INCOMPATIBLE_FEATURES, incompat);
        stbe64(p + HDR_COMPATIBLE_FEATURES, o->lazy_refcounts ? COMPAT_LAZY_REFCOUNTS : 0);
        stbe64(p + HDR_AUTOCLEAR_FEATURES, o->data_file_raw ? AUTOCLEAR_DATA_FILE_RAW : 0);
        stbe32(p + HDR_REFCOUNT_ORDER, l->refcount_order);
        stbe32(p + HDR_HEADER_LENGTH, HDR_V3_LENGTH);
        p[HDR_COMPRESSION_TYPE] = o->compression_type;
    }
    if (o->backing_fmt) {
        put_extension(h, EXT_BACKING_FORMAT, o->backing_fmt, strlen(o->backing_fmt));
    }
    if (o->data_file) {
        put_extension(h, EXT_DATA_FILE, o->data_file, strlen(o->data_file));
    }
    if (l->crypto_bytes) {
        put_crypto(h, l);
    }
    if (l->version >= 3 && o->cluster_size >= 4096) {
        put_feature_names(h);
    }
    put_extension(h, EXT_END, NULL, 0);
    if (o->backing_file) {
        stbe64(h->data + HDR_BACKING_FILE_OFFSET, h->len);
        stbe32(h->data + HDR_BACKING_FILE_SIZE, strlen(o->backing_file));
        g_byte_array_append(h, (const uint8_t *)o->backing_file, strlen(o->backing_file));
    }
    if (h->len > o->cluster_size) {
        g_byte_array_unref(h);
        error_set(err, "The names of backing file and data file do not fit into a cluster");
        return NULL;
    }
    return h;
}

static int coroutine_fn write_refcounts(BlockNode *file, const Layout *l)
{
    const Qcow2Create *o = l->o;
    uint64_t per_block = BIT64(l->cluster_bits + 3 - l->refcount_order);
    uint64_t first_block = 1 + l->reftable_clusters;
    g_autofree uint8_t *table = g_malloc0(l->reftable_clusters * o->cluster_size);
    g_autofree uint8_t *block = g_malloc(o->cluster_size);
    int ret = 0;

    for (uint64_t b = 0; b < l->refblocks && ret == 0; b++) {
        memset(block, 0, o->cluster_size);
        for (uint64_t i = 0; i < per_block && b * per_block + i < l->used; i++) {
            qcow2_refcount_write(block, l->refcount_order, i, 1);
        }
        stbe64(table + 8 * b, (first_block + b) << l->cluster_bits);
        ret = block_pwrite(file, (first_block + b) << l->cluster_bits, block, o->cluster_size, 0);
    }
    if (ret == 0) {
        ret = block_pwrite(file, 1ull << l->cluster_bits, table,
                           l->reftable_clusters * o->cluster_size, 0);
    }
    return ret;
}

static int coroutine_fn qcow2_create_write_l1(BlockNode *file, const Layout *l)
{
    uint64_t bytes = l->l1_entries * 8;
    g_autofree uint8_t *zero = NULL;

    if (!bytes) {
        return 0;
    }
    zero = g_try_malloc0(bytes);
    return zero ? block_pwrite(file, (1 + l->reftable_clusters + l->refblocks) << l->cluster_bits,
                               zero, bytes, 0)
                : -ENOMEM;
}

/*
 * Whether what is in the data file becomes the disk's content: of a raw one that is a node, and so
 * may have been written before. An encrypted disk has no use for it.
 */
static bool qcow2_create_adopts(const Qcow2Create *o)
{
    return o->data_node && o->data_file_raw && !o->encrypt_format && !o->encryption;
}

/* Gives every guest cluster a host cluster. */
static bool coroutine_fn qcow2_create_preallocate(BlockNode *file, BlockNode *data,
                                                  const Qcow2Create *o, GError **err)
{
    json_auto_t *config =
        json_pack("{s:s,s:s,s:n}", "driver", "qcow2", "file", file->opts.node_name, "backing");
    BlockNode *n;
    int ret;

    if (data) {
        json_object_set_new(config, "data-file", json_string(data->opts.node_name));
    }
    if (o->luks.key_secret) {
        json_object_set_new(config, "encrypt",
                            json_pack("{s:s}", "key-secret", o->luks.key_secret));
    }
    n = block_node_open(config, err);
    if (!n) {
        return false;
    }
    ((Qcow2State *)block_node_state(n))->adopts_data = qcow2_create_adopts(o);
    ret = qcow2_preallocate(n, 0, o->size, MAX(o->preallocation, BLOCK_PREALLOC_METADATA));
    block_node_unref(n);
    return ret < 0 ? error_set_errno(err, -ret, "Could not preallocate") : true;
}

bool qcow2_measure(void *options, BlockMeasure *m, GError **err)
{
    const Qcow2Create *o = options;
    Layout l = {0};
    uint64_t l2_tables;

    /* The tables of the new image, and then those of all data. */
    if (!check_options(options, &l, err) || !lay_out(options, &l, err)) {
        return false;
    }
    l2_tables = l.l1_entries;
    qcow2_count_refcounts(&l, l2_tables + DIV_ROUND_UP(o->size, o->cluster_size));
    m->unit = o->cluster_size;
    m->metadata = (l.used + l2_tables) << l.cluster_bits;
    m->data = ROUND_UP(o->size, o->cluster_size);
    m->preallocated = o->preallocation > BLOCK_PREALLOC_METADATA;
    m->bitmaps = l.version >= 3;
    return true;
}

void qcow2_create_use(void *options, BlockNode *const *nodes, unsigned count)
{
    Qcow2Create *o = options;

    if (count) {
        o->data_node = nodes[0];
        o->data_file = block_node_image_name(nodes[0]);
    }
}

/* The file becomes as long as the disk. */
static bool qcow2_create_check_data(const Qcow2Create *o, GError **err)
{
    const BlockNode *n = o->data_node;

    while (n->driver->is_filter) {
        n = n->file;
    }
    return n->driver->truncate || block_length(o->data_node) == (int64_t)o->size ||
           error_set(err, "The data file '%s' cannot be resized", o->data_file);
}

bool qcow2_create_check(void *options, uint64_t *length, GError **err)
{
    Qcow2Create *o = options;
    Layout l = {0};
    g_autoptr(GByteArray) header = NULL;

    if (!check_options(o, &l, err) || !lay_out(o, &l, err)) {
        return false;
    }
    header = build_header(&l, err);
    *length = (l.crypto_bytes ? l.used << l.cluster_bits
                              : ((l.used - l.l1_clusters) << l.cluster_bits) + l.l1_entries * 8) +
              (o->preallocation && !o->data_file ? o->size : 0);
    if (o->data_node) {
        return header && qcow2_create_check_data(o, err);
    }
    return header && (!o->data_file || block_image_target_possible(o->data_file, err));
}

/* Writes header and tables. */
static bool coroutine_fn qcow2_create_write(BlockNode *file, const Layout *l, GError **err)
{
    g_autoptr(GByteArray) header = build_header(l, err);
    int ret;

    if (!header) {
        return false;
    }
    ret = block_pwrite(file, 0, header->data, header->len, 0);
    ret = ret < 0 ? ret : write_refcounts(file, l);
    ret = ret < 0 ? ret : qcow2_create_write_l1(file, l);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write the new image");
    }
    /* The room of key slots that have no keys yet is not written, and lies inside the file. */
    if (l->crypto_bytes && block_truncate(file, l->used << l->cluster_bits, err) < 0) {
        return false;
    }
    return qcow2_create_crypto(file, l->o, crypto_offset(l), l->crypto_bytes, err);
}

/* The external data file, empty and as long as the disk. *made: its path, if it is a new file. */
static BlockNode *coroutine_fn qcow2_create_data(const Qcow2Create *o, const BlockNode *file,
                                                 bool *zero, char **made, GError **err)
{
    BlockCache cache = {.writeback = true,
                        .direct = file->opts.cache.direct,
                        .no_flush = file->opts.cache.no_flush};
    BlockNode *data = block_image_open_target(o->data_file, &cache, made, err);
    bool data_zero = false;

    if (data && (!block_image_make_empty(data, o->size, &data_zero, err) ||
                 block_truncate(data, o->size, err) < 0)) {
        if (*made) {
            unlink(*made);
        }
        block_node_unref(data);
        return NULL;
    }
    /* A cluster without an entry reads as zeroes; who reads a raw file without the image sees it.
     */
    if (data && o->data_file_raw && !data_zero) {
        *zero = false;
    }
    return data;
}

/* The same with a node that there is. Without entries for it, nothing in it shows on the disk. */
static bool coroutine_fn qcow2_create_take_data(const Qcow2Create *o, bool *zero, GError **err)
{
    BlockNode *data = o->data_node;
    bool adopts = qcow2_create_adopts(o), data_zero;
    int64_t old = block_length(data);
    uint64_t end;

    if (old < 0) {
        return error_set_errno(err, -old, "Could not get the length of '%s'", data->filename);
    }
    if (adopts) {
        *zero = false;
    } else if ((o->preallocation || o->data_file_raw) &&
               !block_image_make_empty(data, o->size, &data_zero, err)) {
        return false;
    }
    if (block_truncate(data, o->size, err) < 0) {
        return false;
    }
    end = MIN((uint64_t)old, o->size);
    if (adopts && o->preallocation > BLOCK_PREALLOC_METADATA && o->size > end) {
        int ret = o->preallocation == BLOCK_PREALLOC_FULL
                      ? block_fill_zeroes(data, end, o->size - end)
                      : block_pwrite_zeroes(data, end, o->size - end, 0);

        return ret < 0 ? error_set_errno(err, -ret, "Could not preallocate") : true;
    }
    return true;
}

bool coroutine_fn qcow2_create(BlockNode *file, void *options, bool *zero, GError **err)
{
    Qcow2Create *o = options;
    Layout l = {0};
    g_autofree char *made = NULL;
    BlockNode *data = NULL;
    bool ok;

    if (!check_options(o, &l, err) || !lay_out(o, &l, err)) {
        return false;
    }
    *zero = !o->backing_file;
    if (o->data_node) {
        if (!qcow2_create_take_data(o, zero, err)) {
            return false;
        }
        data = block_node_ref(o->data_node);
    } else if (o->data_file) {
        data = qcow2_create_data(o, file, zero, &made, err);
        if (!data) {
            return false;
        }
    }
    ok = qcow2_create_write(file, &l, err);
    /* A raw file is to be read with the image or without: all of the disk lies in it. */
    if (ok && o->size && (o->preallocation || o->data_file_raw)) {
        ok = qcow2_create_preallocate(file, data, o, err);
    }
    if (!ok && made) {
        unlink(made);
    }
    block_node_unref(data);
    return ok;
}
