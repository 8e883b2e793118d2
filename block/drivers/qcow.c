/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qcow, version 1: QEMU's first copy-on-write format, to be read. A header, a table of tables, and
 * clusters, which may be compressed, or encrypted (AES; the password is the key). All numbers are
 * big-endian.
 */
#include <errno.h>
#include <inttypes.h>
#include "../crypto/crypt_io.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/util.h"
#include "block/image.h"
#include "block_map.h"
#include "inflate.h"

enum {
    QCOW_VERSION = 4, /* offsets in the header */
    QCOW_BACKING_OFFSET = 8,
    QCOW_BACKING_SIZE = 16,
    QCOW_SIZE = 24,
    QCOW_CLUSTER_BITS = 32,
    QCOW_L2_BITS = 33,
    QCOW_CRYPT = 36,
    QCOW_L1_OFFSET = 40,
    QCOW_HEADER_BYTES = 48,
    QCOW_MAX_NAME = 1023,
};
#define QCOW_MAGIC      0x514649fbu
#define QCOW_COMPRESSED BIT64(63)

typedef struct {
    json_t *file_config, *backing_config, *encrypt_config;
    BlockMap map;
    unsigned cluster_bits;
    uint64_t size, l1_size;
    uint64_t *l1; /* where the tables begin */
    bool encrypted;
    DiskCipher *cipher; /* NULL: not encrypted, or opened to be described alone */
} QcowState;

typedef struct {
    char *format, *key_secret;
} QcowEncrypt;

static const Property qcow_encrypt_props[] = {
    PROP("format", PROP_STRING, QcowEncrypt, format, NULL, "aes"),
    PROP("key-secret", PROP_STRING, QcowEncrypt, key_secret, NULL,
         "the -object secret that opens the image"),
    PROP_END,
};
static const Property qcow_key_members[] = {MAYBE("key-secret", PROP_STRING), PROP_END};
static const ShapeVariant qcow_encrypt_variants[] = {{"aes", qcow_key_members}, {NULL}};
static const PropertyShape qcow_encrypt_shape = {.name = "BlockdevQcowEncryption",
                                                 .members = NULL,
                                                 .tag = "format",
                                                 .variants = qcow_encrypt_variants,
                                                 .is_open = true};

static const Property qcow_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(QcowState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    {.name = "backing",
     .type = PROP_TREE,
     .offset = offsetof(QcowState, backing_config),
     .shape = &block_ref_or_null_shape,
     .help = "backing file (default: the one the image names; null or empty: none)"},
    {.name = "encrypt",
     .type = PROP_TREE,
     .offset = offsetof(QcowState, encrypt_config),
     .shape = &qcow_encrypt_shape,
     .help = "encrypted image: format (aes), key-secret"},
    PROP_END,
};

static BlockMapKind qcow_decode(const BlockMap *m, uint64_t entry, uint64_t *host)
{
    const QcowState *s = m->opaque;

    if (!entry) {
        return BLOCK_MAP_ABSENT;
    }
    if (entry & QCOW_COMPRESSED) {
        *host = entry & (BIT64(63 - s->cluster_bits) - 1);
        return BLOCK_MAP_COMPRESSED;
    }
    *host = entry;
    return BLOCK_MAP_DATA;
}

static uint64_t qcow_page_at(const BlockMap *m, uint64_t page)
{
    const QcowState *s = m->opaque;

    return page < s->l1_size ? s->l1[page] : 0;
}

static int coroutine_fn qcow_read_compressed(BlockMap *m, uint64_t host, uint64_t entry,
                                             uint8_t *cluster)
{
    const QcowState *s = m->opaque;
    size_t len = entry >> (63 - s->cluster_bits) & (m->block_size - 1);
    g_autofree uint8_t *in = g_malloc(MAX(len, 1));
    int64_t got;
    int ret = len ? block_pread(*m->file, host, in, len) : -EIO;

    if (ret < 0) {
        return ret;
    }
    got = block_inflate(INFLATE_RAW, in, len, cluster, m->block_size);
    return got < 0 ? got : got == (int64_t)m->block_size ? 0 : -EIO;
}

/* Each sector under its number on the disk. */
static int coroutine_fn qcow_read_data(BlockMap *m, uint64_t host, uint64_t offset, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    const QcowState *s = m->opaque;

    return s->cipher ? crypt_preadv(s->cipher, offset / BLOCK_SECTOR_SIZE, *m->file, host, bytes,
                                    iov, niov)
                     : -EIO;
}

static const BlockMapOps qcow_encrypted_ops = {
    .decode = qcow_decode,
    .page_at = qcow_page_at,
    .read_data = qcow_read_data,
    .read_compressed = qcow_read_compressed,
};

static const BlockMapOps qcow_map_ops = {
    .decode = qcow_decode,
    .page_at = qcow_page_at,
    .read_compressed = qcow_read_compressed,
};

static int qcow_probe(const uint8_t *buf, size_t len)
{
    return len >= 8 && ldbe32(buf) == QCOW_MAGIC && ldbe32(buf + QCOW_VERSION) == 1 ? 100 : 0;
}

/* Takes what the header says over, into 's'. */
static bool qcow_header_ok(QcowState *s, const uint8_t *h, GError **err)
{
    unsigned l2_bits = h[QCOW_L2_BITS], shift;

    if (ldbe32(h) != QCOW_MAGIC) {
        return error_set(err, "Image not in qcow format");
    }
    if (ldbe32(h + QCOW_VERSION) != 1) {
        return error_set(err, "qcow (v%" PRIu32 ") does not support qcow version %" PRIu32 "%s",
                         ldbe32(h + QCOW_VERSION), ldbe32(h + QCOW_VERSION),
                         "\nTry using the qcow2 driver instead");
    }
    s->size = ldbe64(h + QCOW_SIZE);
    s->cluster_bits = h[QCOW_CLUSTER_BITS];
    if (s->size <= 1) {
        return error_set(err, "Image size is too small (must be at least 2 bytes)");
    }
    if (s->cluster_bits < 9 || s->cluster_bits > 16) {
        return error_set(err, "Cluster size must be between 512 and 64k");
    }
    if (l2_bits < 6 || l2_bits > 13) {
        return error_set(err, "L2 table size must be between 512 and 64k");
    }
    if (ldbe32(h + QCOW_CRYPT) > 1) {
        return error_set(err, "invalid encryption method in qcow header");
    }
    s->encrypted = ldbe32(h + QCOW_CRYPT) == 1;
    shift = s->cluster_bits + l2_bits;
    if (s->size > INT64_MAX - BIT64(shift) || (s->size >> shift) > INT32_MAX / 8) {
        return error_set(err, "Image too large");
    }
    s->l1_size = DIV_ROUND_UP(s->size, BIT64(shift));
    s->size = ROUND_DOWN(s->size, BLOCK_SECTOR_SIZE);
    return true;
}

static bool coroutine_fn qcow_read_l1(BlockNode *node, uint64_t at, GError **err)
{
    QcowState *s = block_node_state(node);
    uint64_t bytes = s->l1_size * 8;
    int64_t length = block_length(node->file);
    int ret;

    if (length < 0 || at > (uint64_t)length || bytes > length - at) {
        return error_set(err, "The image is truncated: it ends within its L1 table");
    }
    s->l1 = g_try_malloc(bytes);
    ret = s->l1 ? block_pread(node->file, at, s->l1, bytes) : -ENOMEM;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the L1 table");
    }
    for (uint64_t i = 0; i < s->l1_size; i++) {
        s->l1[i] = ldbe64(&s->l1[i]);
    }
    return true;
}

static bool coroutine_fn qcow_read_backing(BlockNode *node, const uint8_t *h, GError **err)
{
    uint64_t at = ldbe64(h + QCOW_BACKING_OFFSET);
    uint32_t len = ldbe32(h + QCOW_BACKING_SIZE);
    int ret;

    g_clear_pointer(&node->backing_name, g_free);
    if (!at) {
        return true;
    }
    if (len > QCOW_MAX_NAME) {
        return error_set(err, "Backing file name too long");
    }
    node->backing_name = g_malloc0(len + 1);
    ret = block_pread(node->file, at, node->backing_name, len);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the backing file's name");
    }
    if (!*node->backing_name) {
        g_clear_pointer(&node->backing_name, g_free);
    }
    return true;
}

static bool coroutine_fn qcow_load(BlockNode *node, GError **err)
{
    QcowState *s = block_node_state(node);
    uint8_t h[QCOW_HEADER_BYTES];
    int ret = block_pread(node->file, 0, h, sizeof h);

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the qcow header");
    }
    if (!qcow_header_ok(s, h, err) || !qcow_read_l1(node, ldbe64(h + QCOW_L1_OFFSET), err) ||
        !qcow_read_backing(node, h, err)) {
        return false;
    }
    s->map = (BlockMap){
        .ops = s->encrypted ? &qcow_encrypted_ops : &qcow_map_ops,
        .opaque = s,
        .node = node,
        .file = &node->file,
        .length = s->size,
        .block_size = BIT64(s->cluster_bits),
        .entry_size = 8,
        .big_endian = true,
        .page_entries = BIT(h[QCOW_L2_BITS]),
        .most_pages = MAX(4 * MiB >> (h[QCOW_L2_BITS] + 3), 16),
        .has_backing = true,
    };
    block_map_init(&s->map);
    return true;
}

/* The key is the password itself, up to 16 bytes. */
static bool qcow_make_cipher(BlockNode *node, const QcowEncrypt *o, GError **err)
{
    QcowState *s = block_node_state(node);
    CipherSpec spec = {cipher_alg_find("aes", 16), CIPHER_MODE_CBC, CIPHER_IV_PLAIN64, NULL};
    const char *password;
    uint8_t key[16] = {0};

    if (!s->encrypted) {
        return o->format || o->key_secret
                   ? error_set(err, "No encryption in image header, but options specified format "
                                    "'aes'")
                   : true;
    }
    if (o->format && !g_str_equal(o->format, "aes")) {
        return error_set(err, "Header reported 'aes' encryption format but options specify '%s'",
                         o->format);
    }
    if (node->no_io) {
        return true;
    }
    password =
        o->key_secret
            ? secret_text(o->key_secret, err)
            : (error_set(err, "Parameter 'encrypt.key-secret' is required for cipher"), NULL);
    if (!password) {
        return false;
    }
    memcpy(key, password, MIN(strlen(password), sizeof key));
    s->cipher = disk_cipher_new(&spec, key, err);
    explicit_bzero(key, sizeof key);
    /* Sectors are encrypted whole. */
    node->request_alignment = MAX(node->request_alignment, BLOCK_SECTOR_SIZE);
    return s->cipher;
}

static bool qcow_open_cipher(BlockNode *node, GError **err)
{
    QcowState *s = block_node_state(node);
    QcowEncrypt o = {0};
    bool ok;

    if (s->encrypt_config && !json_is_object(s->encrypt_config)) {
        return error_set(err, "'encrypt' is a dictionary (format, key-secret)");
    }
    properties_init(qcow_encrypt_props, &o);
    ok = properties_apply(qcow_encrypt_props, &o, s->encrypt_config, NULL, "'encrypt'", err) &&
         qcow_make_cipher(node, &o, err);
    properties_clear(qcow_encrypt_props, &o);
    return ok;
}

static void qcow_forget(QcowState *s)
{
    block_map_destroy(&s->map);
    g_clear_pointer(&s->l1, g_free);
}

static bool coroutine_fn qcow_open(BlockNode *node, GError **err)
{
    QcowState *s = block_node_state(node);

    if (!block_map_refuse_writing(node, err) ||
        !block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &node->file, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->filename);
    if (!qcow_load(node, err) || !qcow_open_cipher(node, err) ||
        !block_node_want_named_backing(node, s->backing_config, err)) {
        qcow_forget(s); /* the core does not close what was not opened */
        disk_cipher_free(g_steal_pointer(&s->cipher));
        return false;
    }
    return true;
}

static void coroutine_fn qcow_close(BlockNode *node)
{
    QcowState *s = block_node_state(node);

    qcow_forget(s);
    disk_cipher_free(g_steal_pointer(&s->cipher));
}

static int coroutine_fn qcow_inactivate(BlockNode *node)
{
    qcow_forget(block_node_state(node));
    return 0;
}

static bool coroutine_fn qcow_activate(BlockNode *node, GError **err)
{
    qcow_forget(block_node_state(node));
    return qcow_load(node, err);
}

static int coroutine_fn qcow_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    QcowState *s = block_node_state(node);

    return block_map_preadv(&s->map, offset, bytes, iov, niov);
}

static int coroutine_fn qcow_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                          uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    QcowState *s = block_node_state(node);

    return block_map_status(&s->map, offset, bytes, pnum, map, file);
}

static int64_t qcow_length(BlockNode *node)
{
    return ((QcowState *)block_node_state(node))->size;
}

static bool qcow_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                            BlockMapping *map)
{
    QcowState *s = block_node_state(node);

    return !write && block_map_cached(&s->map, offset, bytes, map);
}

static bool qcow_info(BlockNode *node, BlockDriverInfo *info)
{
    QcowState *s = block_node_state(node);

    *info = (BlockDriverInfo){.cluster_size = s->map.block_size, .encrypted = s->encrypted};
    return true;
}

const BlockDriver block_driver_qcow = {
    .name = "qcow",
    .help = "QEMU's first copy-on-write image format, read-only",
    .size = sizeof(QcowState),
    .props = qcow_props,
    .probe = qcow_probe,
    .open = qcow_open,
    .close = qcow_close,
    .reopen_prepare = block_map_reopen_read_only,
    .inactivate = qcow_inactivate,
    .activate = qcow_activate,
    .preadv = qcow_preadv,
    .block_status = qcow_block_status,
    .length = qcow_length,
    .map_cached = qcow_map_cached,
    .info = qcow_info,
};
