/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QED, QEMU's enhanced disk format, to be read and checked. A header, a table of tables, clusters.
 * All numbers are little-endian.
 */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/util.h"
#include "block/image.h"
#include "block_map.h"

enum {
    QED_CLUSTER_SIZE = 4, /* offsets in the header */
    QED_TABLE_SIZE = 8,   /* in clusters, like the next */
    QED_HEADER_SIZE = 12,
    QED_FEATURES = 16,
    QED_L1_OFFSET = 40,
    QED_IMAGE_SIZE = 48,
    QED_BACKING_OFFSET = 56,
    QED_BACKING_SIZE = 60,
    QED_HEADER_BYTES = 64,

    QED_BACKING_FILE = 1 << 0, /* features */
    QED_NEED_CHECK = 1 << 1,
    QED_BACKING_RAW = 1 << 2,
    QED_FEATURE_MASK = 7,

    QED_MIN_CLUSTER = 4096,
    QED_MAX_CLUSTER = 64 * 1024 * 1024,
    QED_MAX_TABLE = 16, /* clusters */
    QED_MAX_NAME = 1023,
    QED_PAGE_ENTRIES = 4096,
    QED_ZERO = 1, /* an entry */
};

typedef struct {
    json_t *file_config, *backing_config;
    BlockMap map;
    uint64_t cluster_size, table_bytes, header_bytes, features;
    uint64_t l1_offset, size;
    uint64_t file_end; /* whole clusters */
    uint64_t *l1;      /* where the tables begin; as far as the disk reaches */
    uint64_t l1_size;
} QedState;

static const Property qed_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(QedState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    {.name = "backing",
     .type = PROP_TREE,
     .offset = offsetof(QedState, backing_config),
     .shape = &block_ref_or_null_shape,
     .help = "backing file (default: the one the image names; null or empty: none)"},
    PROP_END,
};

static bool qed_cluster_ok(const QedState *s, uint64_t at)
{
    return IS_ALIGNED(at, s->cluster_size) && at >= s->header_bytes && at < s->file_end;
}

static bool qed_table_ok(const QedState *s, uint64_t at)
{
    return qed_cluster_ok(s, at) && s->table_bytes <= s->file_end - at;
}

static BlockMapKind qed_decode(const BlockMap *m, uint64_t entry, uint64_t *host)
{
    const QedState *s = m->opaque;

    if (entry <= QED_ZERO) {
        return entry ? BLOCK_MAP_ZERO : BLOCK_MAP_ABSENT;
    }
    *host = entry;
    return qed_cluster_ok(s, entry) ? BLOCK_MAP_DATA : BLOCK_MAP_BAD;
}

/* A page is a part of a table. */
static uint64_t qed_page_at(const BlockMap *m, uint64_t page)
{
    const QedState *s = m->opaque;
    uint64_t entries = s->table_bytes / 8, first = page * m->page_entries;
    uint64_t table = first / entries < s->l1_size ? s->l1[first / entries] : 0;

    if (!table) {
        return 0;
    }
    /* A table that cannot be there is no table of absent clusters: reading fails. */
    return qed_table_ok(s, table) ? table + first % entries * 8 : UINT64_MAX;
}

static const BlockMapOps qed_map_ops = {.decode = qed_decode, .page_at = qed_page_at};

static int qed_probe(const uint8_t *buf, size_t len)
{
    return len >= QED_HEADER_BYTES && !memcmp(buf, "QED", 4) ? 100 : 0;
}

/* Takes what the header says over, into 's'. */
static bool qed_header_ok(QedState *s, const uint8_t *h, int64_t length, GError **err)
{
    uint64_t table = ldle32(h + QED_TABLE_SIZE), entries;
    unsigned __int128 most;

    s->cluster_size = ldle32(h + QED_CLUSTER_SIZE);
    s->features = ldle64(h + QED_FEATURES);
    s->l1_offset = ldle64(h + QED_L1_OFFSET);
    s->size = ldle64(h + QED_IMAGE_SIZE);
    if (memcmp(h, "QED", 4)) {
        return error_set(err, "Image not in QED format");
    }
    if (s->features & ~(uint64_t)QED_FEATURE_MASK) {
        return error_set(err, "Unsupported QED features: %" PRIx64,
                         s->features & ~(uint64_t)QED_FEATURE_MASK);
    }
    if (!is_power_of_2(s->cluster_size) || s->cluster_size < QED_MIN_CLUSTER ||
        s->cluster_size > QED_MAX_CLUSTER) {
        return error_set(err, "QED cluster size is invalid");
    }
    if (!is_power_of_2(table) || table > QED_MAX_TABLE) {
        return error_set(err, "QED table size is invalid");
    }
    s->table_bytes = table * s->cluster_size;
    s->header_bytes = ldle32(h + QED_HEADER_SIZE) * s->cluster_size;
    s->file_end = ROUND_DOWN((uint64_t)length, s->cluster_size);
    entries = s->table_bytes / 8;
    most = (unsigned __int128)entries * entries * s->cluster_size;
    if (!IS_ALIGNED(s->size, BLOCK_SECTOR_SIZE) || s->size > most || s->size > BLOCK_MAX_LENGTH) {
        return error_set(err, "QED image size is invalid");
    }
    if (!qed_table_ok(s, s->l1_offset)) {
        return error_set(err, "QED table offset is invalid");
    }
    s->l1_size = DIV_ROUND_UP(DIV_ROUND_UP(s->size, s->cluster_size), entries);
    return true;
}

static bool coroutine_fn qed_read_backing(BlockNode *node, const uint8_t *h, GError **err)
{
    QedState *s = block_node_state(node);
    uint32_t at = ldle32(h + QED_BACKING_OFFSET), len = ldle32(h + QED_BACKING_SIZE);
    int ret;

    g_clear_pointer(&node->backing_name, g_free);
    g_clear_pointer(&node->backing_format, g_free);
    if (!(s->features & QED_BACKING_FILE)) {
        return true;
    }
    if ((uint64_t)at + len > s->header_bytes || len > QED_MAX_NAME) {
        return error_set(err, "QED backing filename offset is invalid");
    }
    node->backing_name = g_malloc0(len + 1);
    ret = block_pread(node->file, at, node->backing_name, len);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read backing filename");
    }
    if (!*node->backing_name) {
        g_clear_pointer(&node->backing_name, g_free);
    } else if (s->features & QED_BACKING_RAW) {
        node->backing_format = g_strdup("raw");
    }
    return true;
}

static bool coroutine_fn qed_load(BlockNode *node, GError **err)
{
    QedState *s = block_node_state(node);
    int64_t length = block_exact_length(node->file);
    uint8_t h[QED_HEADER_BYTES];
    int ret = length < 0 ? length : block_pread(node->file, 0, h, sizeof h);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read QED header");
    }
    if (!qed_header_ok(s, h, length, err)) {
        return false;
    }
    s->l1 = g_try_malloc(MAX(s->l1_size * 8, 1));
    ret = !s->l1       ? -ENOMEM
          : s->l1_size ? block_pread(node->file, s->l1_offset, s->l1, s->l1_size * 8)
                       : 0;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Failed to read L1 table");
    }
    for (uint64_t i = 0; i < s->l1_size; i++) {
        s->l1[i] = ldle64(&s->l1[i]);
    }
    s->map = (BlockMap){
        .ops = &qed_map_ops,
        .opaque = s,
        .node = node,
        .file = &node->file,
        .length = s->size,
        .block_size = s->cluster_size,
        .entry_size = 8,
        .page_entries = MIN(s->table_bytes / 8, QED_PAGE_ENTRIES),
        .most_pages = 128,
        .has_backing = true,
    };
    block_map_init(&s->map);
    return qed_read_backing(node, h, err);
}

static void qed_forget(QedState *s)
{
    block_map_destroy(&s->map);
    g_clear_pointer(&s->l1, g_free);
}

static bool coroutine_fn qed_open(BlockNode *node, GError **err)
{
    QedState *s = block_node_state(node);

    if (!block_map_refuse_writing(node, err) ||
        !block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &node->file, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->filename);
    if (!qed_load(node, err) || !block_node_want_named_backing(node, s->backing_config, err)) {
        qed_forget(s); /* the core does not close what was not opened */
        return false;
    }
    return true;
}

static void coroutine_fn qed_close(BlockNode *node)
{
    qed_forget(block_node_state(node));
}

static int coroutine_fn qed_inactivate(BlockNode *node)
{
    qed_forget(block_node_state(node));
    return 0;
}

static bool coroutine_fn qed_activate(BlockNode *node, GError **err)
{
    qed_forget(block_node_state(node));
    return qed_load(node, err);
}

static int coroutine_fn qed_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    QedState *s = block_node_state(node);

    return block_map_preadv(&s->map, offset, bytes, iov, niov);
}

static int coroutine_fn qed_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    QedState *s = block_node_state(node);

    return block_map_status(&s->map, offset, bytes, pnum, map, file);
}

static int64_t qed_length(BlockNode *node)
{
    return ((QedState *)block_node_state(node))->size;
}

static bool qed_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                           BlockMapping *map)
{
    QedState *s = block_node_state(node);

    return !write && block_map_cached(&s->map, offset, bytes, map);
}

static bool qed_info(BlockNode *node, BlockDriverInfo *info)
{
    QedState *s = block_node_state(node);

    *info =
        (BlockDriverInfo){.cluster_size = s->cluster_size, .dirty = s->features & QED_NEED_CHECK};
    return true;
}

/* --- check --- */

typedef struct {
    QedState *s;
    BlockCheckResult *res;
    uint8_t *used; /* a bit for each cluster of the file */
    uint64_t last; /* the last cluster of data that was met */
} QedCheck;

static void qed_use(QedCheck *c, uint64_t at, uint64_t bytes)
{
    for (uint64_t i = at / c->s->cluster_size; bytes; i++, bytes -= c->s->cluster_size) {
        if (c->used[i / 8] & BIT(i % 8)) {
            c->res->corruptions++; /* two things in one place */
        }
        c->used[i / 8] |= BIT(i % 8);
    }
}

static void qed_check_cluster(QedCheck *c, uint64_t entry)
{
    QedState *s = c->s;

    if (entry <= QED_ZERO) {
        return;
    }
    c->res->allocated_clusters++;
    if (c->last && c->last + s->cluster_size != entry) {
        c->res->fragmented_clusters++;
    }
    c->last = entry;
    if (qed_cluster_ok(s, entry)) {
        qed_use(c, entry, s->cluster_size);
    } else {
        c->res->corruptions++;
    }
}

static int coroutine_fn qed_check_table(QedCheck *c, uint64_t index)
{
    QedState *s = c->s;
    uint64_t entries = s->table_bytes / 8, first = index * entries;
    uint64_t end = MIN(first + entries, c->res->total_clusters), entry;
    int ret = 0;

    if (!s->l1[index]) {
        return 0;
    }
    if (!qed_table_ok(s, s->l1[index])) {
        c->res->corruptions++;
        return 0;
    }
    qed_use(c, s->l1[index], s->table_bytes);
    for (uint64_t i = first; i < end && ret == 0; i++) {
        co_mutex_lock(&s->map.lock);
        ret = block_map_entry(&s->map, i, &entry);
        co_mutex_unlock(&s->map.lock);
        if (ret == 0) {
            qed_check_cluster(c, entry);
        }
    }
    return ret;
}

static int coroutine_fn qed_check(BlockNode *node, BlockCheckResult *res, unsigned fix)
{
    QedState *s = block_node_state(node);
    uint64_t clusters = s->file_end / s->cluster_size;
    QedCheck c = {.s = s, .res = res};
    int ret = 0;

    if (fix & (BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS)) {
        return -ENOTSUP;
    }
    c.used = sparse_try_new(clusters / 8 + 1);
    if (!c.used) {
        return -ENOMEM;
    }
    res->total_clusters = DIV_ROUND_UP(s->size, s->cluster_size);
    qed_use(&c, s->l1_offset, s->table_bytes);
    for (uint64_t i = 0; i < s->l1_size && ret == 0; i++) {
        ret = qed_check_table(&c, i);
    }
    for (uint64_t i = s->header_bytes / s->cluster_size; ret == 0 && i < clusters; i++) {
        res->leaks += !(c.used[i / 8] & BIT(i % 8));
    }
    sparse_free(c.used, clusters / 8 + 1);
    return ret;
}

const BlockDriver block_driver_qed = {
    .name = "qed",
    .help = "QEMU's enhanced disk format, read-only",
    .size = sizeof(QedState),
    .props = qed_props,
    .probe = qed_probe,
    .open = qed_open,
    .close = qed_close,
    .reopen_prepare = block_map_reopen_read_only,
    .inactivate = qed_inactivate,
    .activate = qed_activate,
    .preadv = qed_preadv,
    .block_status = qed_block_status,
    .length = qed_length,
    .map_cached = qed_map_cached,
    .info = qed_info,
    .check = qed_check,
};
