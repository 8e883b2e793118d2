/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Format 'luks': a disk that is encrypted behind a LUKS header, version 1. */
#include <errno.h>
#include <inttypes.h>

#include "../core.h"
#include "../crypto/crypt_io.h"
#include "../crypto/luks.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/util.h"
#include "block/image.h"

typedef struct {
    json_t *file_config;
    char *key_secret;
    LuksHeader header;
    DiskCipher *cipher; /* NULL: node->no_io */
    uint64_t payload;   /* bytes */
} LuksState;

static const Property luks_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(LuksState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    PROP("key-secret", PROP_STRING, LuksState, key_secret, NULL,
         "the -object secret that opens the image"),
    PROP_END,
};

static void luks_child_changed(BlockNode *node)
{
    node->request_alignment = MAX(node->file->request_alignment, CIPHER_SECTOR);
    node->memory_alignment = node->file->memory_alignment;
}

static LuksArea luks_area(BlockNode *node)
{
    return (LuksArea){.node = node->file};
}

static bool coroutine_fn luks_open_cipher(BlockNode *node, GError **err)
{
    LuksState *s = block_node_state(node);
    LuksArea area = luks_area(node);
    uint8_t key[CIPHER_KEY_MAX];

    if (node->no_io) {
        return true;
    }
    if (!s->key_secret) {
        return error_set(err, "Parameter 'key-secret' is required for cipher");
    }
    if (!luks_unlock(&area, &s->header, s->key_secret, key, err)) {
        return false;
    }
    s->cipher = disk_cipher_new(&s->header.spec, key, err);
    explicit_bzero(key, sizeof key);
    return s->cipher;
}

static bool coroutine_fn luks_open(BlockNode *node, GError **err)
{
    LuksState *s = block_node_state(node);
    LuksArea area;
    int64_t length;

    if (!block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &node->file, err)) {
        return false;
    }
    luks_child_changed(node);
    area = luks_area(node);
    length = block_length(node->file);
    if (length < 0) {
        return error_set_errno(err, -length, "Could not get image size");
    }
    if (!luks_load(&area, &s->header, err)) {
        return false;
    }
    s->payload = (uint64_t)s->header.payload * CIPHER_SECTOR;
    if ((uint64_t)length < s->payload) {
        return error_set(err,
                         "The payload begins at %" PRIu64 ", past the end of the image (%" PRId64
                         " bytes): was it cut off?",
                         s->payload, length);
    }
    return luks_open_cipher(node, err);
}

static void luks_close(BlockNode *node)
{
    LuksState *s = block_node_state(node);

    disk_cipher_free(g_steal_pointer(&s->cipher));
}

/* Another process may have changed the keys, but not what is encrypted with them. */
static int coroutine_fn luks_inactivate(BlockNode *node)
{
    return 0;
}

static bool coroutine_fn luks_activate(BlockNode *node, GError **err)
{
    LuksState *s = block_node_state(node);
    LuksArea area = luks_area(node);
    LuksHeader header;

    if (!luks_load(&area, &header, err)) {
        return false;
    }
    if (memcmp(header.digest, s->header.digest, LUKS_DIGEST) ||
        memcmp(header.salt, s->header.salt, LUKS_SALT) || header.payload != s->header.payload) {
        return error_set(err, "the image was encrypted anew meanwhile");
    }
    s->header = header;
    return true;
}

static int64_t luks_length(BlockNode *node)
{
    LuksState *s = block_node_state(node);
    int64_t length = block_exact_length(node->file);

    return length < 0 ? length : MAX(length - (int64_t)s->payload, 0);
}

static int coroutine_fn luks_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    LuksState *s = block_node_state(node);

    if (!s->cipher) {
        return -EIO;
    }
    return crypt_preadv(s->cipher, offset / CIPHER_SECTOR, node->file, s->payload + offset, bytes,
                        iov, niov);
}

static int coroutine_fn luks_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    LuksState *s = block_node_state(node);

    if (!s->cipher) {
        return -EIO;
    }
    return crypt_pwritev(s->cipher, offset / CIPHER_SECTOR, node->file, s->payload + offset, bytes,
                         iov, niov, flags);
}

static int coroutine_fn luks_truncate(BlockNode *node, uint64_t size, GError **err)
{
    LuksState *s = block_node_state(node);

    if (size > BLOCK_MAX_LENGTH - s->payload) {
        error_set(err, "The requested file size is too large");
        return -EFBIG;
    }
    return block_truncate(node->file, s->payload + size, err);
}

static bool luks_driver_info(BlockNode *node, BlockDriverInfo *info)
{
    LuksState *s = block_node_state(node);

    *info = (BlockDriverInfo){.encrypted = true};
    info->format_specific =
        json_pack("{s:s,s:o}", "type", "luks", "data", luks_info(&s->header, NULL));
    return true;
}

static int luks_driver_probe(const uint8_t *buf, size_t len)
{
    return luks_probe(buf, len) ? 100 : 0;
}

/* New images. */

typedef struct {
    uint64_t size;
    int preallocation;
    LuksCreate luks;
} LuksImage;

enum { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL };
static const char *const prealloc_names[] = {"off", "metadata", "falloc", "full", NULL};

static const Property luks_create_props[] = {
    PROP("size", PROP_SIZE, LuksImage, size, "0", "virtual disk size"),
    LUKS_CREATE_PROPS("", LuksImage, luks),
    PROP_E("preallocation", LuksImage, preallocation, "off", prealloc_names,
           "off (as metadata), falloc or full"),
    PROP_END,
};

/* Whether a volume can be made that way; *payload: bytes before it. */
static bool luks_check_options(LuksImage *o, uint64_t *payload, GError **err)
{
    LuksHeader h;

    if (!o->luks.key_secret) {
        return error_set(err, "Parameter 'key-secret' is required for cipher");
    }
    if (!luks_plan(&o->luks, &h, err)) {
        return false;
    }
    *payload = (uint64_t)h.payload * CIPHER_SECTOR;
    if (o->size > BLOCK_MAX_LENGTH - *payload) {
        return error_set(err, "The image size is too large for file format 'luks'");
    }
    o->size = ROUND_UP(o->size, CIPHER_SECTOR);
    return true;
}

static bool luks_create_check(void *options, uint64_t *length, GError **err)
{
    LuksImage *o = options;
    uint64_t payload;

    if (!luks_check_options(o, &payload, err) || !secret_text(o->luks.key_secret, err)) {
        return false;
    }
    *length = payload + o->size;
    return true;
}

static bool luks_measure(void *options, BlockMeasure *m, GError **err)
{
    LuksImage *o = options;

    m->unit = CIPHER_SECTOR;
    m->preallocated = true; /* the file is as long as the disk and the header */
    if (!luks_check_options(o, &m->metadata, err)) {
        return false;
    }
    m->data = o->size;
    return true;
}

static bool coroutine_fn luks_driver_create(BlockNode *file, void *options, bool *zero,
                                            GError **err)
{
    LuksImage *o = options;
    LuksArea area = {.node = file};
    LuksHeader h;
    uint64_t payload;
    int ret;

    if (!luks_create(&area, &o->luks, &h, err)) {
        return false;
    }
    payload = (uint64_t)h.payload * CIPHER_SECTOR;
    /* Zeroes in the file are no zeroes on the disk. */
    *zero = false;
    if (block_truncate(file, payload + o->size, err) < 0) {
        return false;
    }
    if (o->preallocation >= PREALLOC_FALLOC && o->size) {
        ret = block_pwrite_zeroes(file, payload, o->size, 0);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not preallocate");
        }
    }
    return true;
}

/* Its keys. */

typedef struct {
    LuksAmend keys;
} LuksImageAmend;

static const Property luks_amend_props[] = {
    LUKS_AMEND_PROPS("", LuksImageAmend, keys),
    PROP_END,
};

static bool coroutine_fn luks_driver_amend(BlockNode *node, void *options, bool force, GError **err)
{
    LuksState *s = block_node_state(node);
    LuksArea area = luks_area(node);
    const LuksImageAmend *o = options;

    return luks_amend(&area, &s->header, s->key_secret, &o->keys, force, err);
}

const BlockDriver block_driver_luks = {
    .name = "luks",
    .help = "encrypted disk with a LUKS header, version 1",
    .size = sizeof(LuksState),
    .props = luks_props,
    .probe = luks_driver_probe,
    .open = luks_open,
    .close = luks_close,
    .child_changed = luks_child_changed,
    .inactivate = luks_inactivate,
    .activate = luks_activate,
    .preadv = luks_preadv,
    .pwritev = luks_pwritev,
    .truncate = luks_truncate,
    .length = luks_length,
    .info = luks_driver_info,
    .create_props = luks_create_props,
    .create_size = sizeof(LuksImage),
    .create_check = luks_create_check,
    .measure = luks_measure,
    .create = luks_driver_create,
    .amend_props = luks_amend_props,
    .amend_size = sizeof(LuksImageAmend),
    .amend = luks_driver_amend,
};
