/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Header', 'Feature bits' and 'Header extensions'. */
#include <errno.h>
#include "base/log.h"
#include "block/corruption.h"
#include "qcow2.h"

enum { HEADER_PART = 56 }; /* the most that qcow2_switch_header() changes */

int coroutine_fn qcow2_write_incompat(BlockNode *n, uint64_t bits)
{
    uint8_t be[8];

    stbe64(be, bits);
    return block_pwrite(n->file, HDR_INCOMPATIBLE_FEATURES, be, sizeof be, 0);
}

/* Puts bytes of the header back, after a write or a flush of others has failed. */
static bool coroutine_fn header_restore(BlockNode *n, unsigned at, const void *before, size_t len)
{
    uint8_t now[HEADER_PART];

    /* Where the write has done nothing, nothing has to be written. */
    if (block_pread(n->file, at, now, len) == 0 && memcmp(now, before, len) == 0) {
        return true;
    }
    return block_pwrite(n->file, at, before, len, 0) == 0 && block_flush(n->file) == 0;
}

int coroutine_fn qcow2_switch_header(BlockNode *n, unsigned at, const void *bytes, size_t len,
                                     bool *kept)
{
    Qcow2State *s = block_node_state(n);
    uint8_t before[HEADER_PART];
    int ret = block_pread(n->file, at, before, len);

    g_assert(len <= HEADER_PART && at / BLOCK_SECTOR_SIZE == (at + len - 1) / BLOCK_SECTOR_SIZE);
    *kept = true;
    if (ret < 0) {
        return ret;
    }
    ret = block_pwrite(n->file, at, bytes, len, 0);
    ret = ret < 0 ? ret : block_flush(n->file);
    if (ret < 0 && !header_restore(n, at, before, len)) {
        /* Writes by the old tables would be lost if the header names the new ones. */
        *kept = false;
        if (!__atomic_exchange_n(&s->corrupt, true, __ATOMIC_SEQ_CST)) {
            log_error("qcow2: the header of '%s' could not be written (%s), and which of two "
                      "states is in the file is not known; it takes no writes until it is opened "
                      "again",
                      n->filename ? n->filename : "", g_strerror(-ret));
        }
    }
    return ret;
}

int coroutine_fn qcow2_clear_autoclear(BlockNode *n, uint64_t keep)
{
    Qcow2State *s = block_node_state(n);
    uint8_t be[8];
    int ret;

    if (s->version < 3 || !(s->autoclear & ~keep)) {
        return 0;
    }
    stbe64(be, s->autoclear & keep);
    ret = block_pwrite(n->file, HDR_AUTOCLEAR_FEATURES, be, sizeof be, 0);
    if (ret == 0) {
        s->autoclear &= keep;
    }
    return ret;
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
        log_error("qcow2: Image is corrupt: %s ('%s'); further non-fatal corruption events will be "
                  "suppressed",
                  text, n->filename ? n->filename : "");
    } else {
        log_error("qcow2: Marking image as corrupt: %s ('%s'); further corruption events will be "
                  "suppressed",
                  text, n->filename ? n->filename : "");
        if (s->version >= 3) {
            s->incompat |= INCOMPAT_CORRUPT;
            qcow2_write_incompat(n, s->incompat | (s->dirty_marked ? INCOMPAT_DIRTY : 0));
        }
    }
    block_node_found_corrupt(n, text, !n->read_only);
    return -EIO;
}

int coroutine_fn qcow2_entry_corruption(BlockNode *n, uint64_t guest, uint64_t entry)
{
    Qcow2State *s = block_node_state(n);
    uint64_t host = entry & ENTRY_OFFSET_MASK;

    if (!(entry & L2_COMPRESSED) && !IS_ALIGNED(host, s->cluster_size)) {
        return qcow2_corruption(
            n, "Data cluster offset %#" PRIx64 " unaligned (guest offset: %#" PRIx64 ")", host,
            guest);
    }
    return qcow2_corruption(
        n, "Cluster allocation of guest offset %#" PRIx64 " is invalid (L2 entry %#" PRIx64 ")",
        guest, entry);
}

static bool parse_header(Qcow2Opening *o, const uint8_t *h, size_t len, GError **err)
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
    s->size = ROUND_DOWN(ldbe64(h + HDR_SIZE), BLOCK_SECTOR_SIZE); /* as QEMU takes it */
    s->crypt_method = ldbe32(h + HDR_CRYPT_METHOD);
    s->l1_size = ldbe32(h + HDR_L1_SIZE);
    s->l1_offset = ldbe64(h + HDR_L1_TABLE_OFFSET);
    s->reftable_offset = ldbe64(h + HDR_REFCOUNT_TABLE_OFFSET);
    o->reftable_clusters = ldbe32(h + HDR_REFCOUNT_TABLE_CLUSTERS);
    s->snapshots.count = ldbe32(h + HDR_NB_SNAPSHOTS);
    s->snapshots.offset = ldbe64(h + HDR_SNAPSHOTS_OFFSET);
    return true;
}

/* Up to the first entry without a name. The last entry may be cut at the end of its name. */
static void note_feature_names(Qcow2Opening *o, const uint8_t *data, uint32_t len)
{
    for (uint32_t at = 0; at + 2 < len && data[at + 2]; at += FEATURE_NAME_ENTRY) {
        unsigned type = data[at], bit = data[at + 1];

        if (type == 0 && bit < 64 && (o->unknown & BIT64(bit))) {
            size_t room = MIN(len - at, FEATURE_NAME_ENTRY) - 2;
            g_autofree char *name = g_strndup((const char *)data + at + 2, room);
            g_autofree char *clean = g_utf8_make_valid(name, -1);
            g_string_append_printf(o->feature_names, "%s%s", o->feature_names->len ? ", " : "",
                                   clean);
            o->unknown &= ~BIT64(bit);
        }
    }
}

static bool parse_extensions(Qcow2Opening *o, const uint8_t *h, size_t len, GError **err)
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
                s->bitmap_dir.count = ldbe32(h + at);
                s->bitmap_dir.bytes = ldbe64(h + at + 8);
                s->bitmap_dir.offset = ldbe64(h + at + 16);
            }
            break;
        case EXT_CRYPTO:
            if (!qcow2_parse_crypto_extension(s, h + at, bytes, err)) {
                return false;
            }
            break;
        default:
            break; /* kept: only single fields of the header are ever written */
        }
        at += ROUND_UP(bytes, 8);
    }
    return true;
}

static bool check_features(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;

    if (o->unknown) {
        g_string_append_printf(o->feature_names, "%sUnknown incompatible feature: %" PRIx64,
                               o->feature_names->len ? ", " : "", o->unknown);
    }
    if (o->feature_names->len) {
        return error_set(err, "Unsupported qcow2 feature(s): %s", o->feature_names->str);
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
    if (!qcow2_check_crypt_method(s, err)) {
        return false;
    }
    s->data_raw = qcow2_has_data_file(s) && (s->autoclear & AUTOCLEAR_DATA_FILE_RAW);
    return true;
}

bool coroutine_fn qcow2_read_header(Qcow2Opening *o, GError **err)
{
    BlockNode *node = o->node;
    Qcow2State *s = o->s;
    size_t len = MIN(o->file_length, (int64_t)BIT64(MAX_CLUSTER_BITS));
    g_autofree uint8_t *h = g_malloc0(MAX(len, HDR_V3_LENGTH));
    /* The first 512 bytes have the fixed part, with the cluster size. */
    int ret = block_pread(node->file, 0, h, MIN(len, 512));

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
    o->unknown = s->incompat & ~INCOMPAT_KNOWN;
    if (!parse_extensions(o, h, len, err) || !check_features(o, err)) {
        return false;
    }
    g_clear_pointer(&node->backing_name, g_free);
    if (o->backing_offset) {
        if (o->backing_len > MIN(MAX_BACKING_NAME, s->cluster_size - o->backing_offset) ||
            o->backing_offset + o->backing_len > len) {
            return error_set(err, "Backing file name too long");
        }
        node->backing_name = g_strndup((const char *)h + o->backing_offset, o->backing_len);
    }
    return true;
}
