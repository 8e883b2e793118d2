/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other options for an image that is there: qemu-img amend. */
#include <errno.h>
#include <inttypes.h>
#include "base/log.h"
#include "qcow2.h"

#define AMEND_OPTION(n, t, field, h)                                                               \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(Qcow2Amend, field), .help = (h),              \
        .flags = PROP_FLAG_HAS, .set_offset = offsetof(Qcow2Amend, has_##field)                    \
    }

const Property qcow2_amend_props[] = {
    AMEND_OPTION("backing_file", PROP_STRING, backing_file, "File name of a base image"),
    AMEND_OPTION("backing_fmt", PROP_STRING, backing_fmt, "Image format of the base image"),
    PROP("compat", PROP_STRING, Qcow2Amend, compat, NULL,
         "Compatibility level (v2 [0.10] or v3 [1.1])"),
    PROP("data_file", PROP_STRING, Qcow2Amend, data_file, NULL,
         "File name of an external data file"),
    AMEND_OPTION("data_file_raw", PROP_BOOL, data_file_raw,
                 "The external data file must stay valid as a raw image"),
    LUKS_AMEND_PROPS("encrypt.", Qcow2Amend, keys),
    AMEND_OPTION("lazy_refcounts", PROP_BOOL, lazy_refcounts, "Postpone refcount updates"),
    AMEND_OPTION("refcount_bits", PROP_UINT32, refcount_bits,
                 "Width of a reference count entry in bits"),
    AMEND_OPTION("size", PROP_SIZE, size, "Virtual disk size"),
    PROP_END,
};

/* --- version 2 has no zero flag --- */

/* Gives a cluster that has the flag a host cluster of zeroes, or where nothing lies below none. */
static int coroutine_fn amend_expand_zero(BlockNode *n, uint64_t guest, uint64_t bytes)
{
    block_auto_buffer uint8_t *buf = NULL;
    struct iovec iov = {.iov_len = bytes};

    if (!block_node_may_show_backing(n)) {
        return qcow2_make_gone(n, guest, bytes);
    }
    buf = block_buffer_new(n, bytes);
    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, bytes);
    iov.iov_base = buf;
    return qcow2_pwritev(n, guest, bytes, &iov, 1, 0);
}

static int coroutine_fn amend_expand_zeroes(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    /* All that the L1 table can name: VM state lies behind the disk's end. */
    uint64_t end = (uint64_t)s->l1_size << (s->cluster_bits + s->l2_bits);
    int ret = 0;

    for (uint64_t at = 0; at < end && ret == 0;) {
        Qcow2Map map;
        int *guard;

        ret = qcow2_map_load(n, at, end - at, &map, &guard);
        if (ret < 0) {
            break;
        }
        qcow2_guard_drop(guard);
        if (map.type == QCOW2_ZERO) {
            /* A cluster at a time: with a backing file each takes a buffer. */
            map.bytes =
                block_node_may_show_backing(n) ? MIN(map.bytes, s->cluster_size) : map.bytes;
            ret = amend_expand_zero(n, at, map.bytes);
        }
        at += map.bytes;
    }
    return ret;
}

/* Version 2 does not say how long a snapshot's disk was, and has 32 bits for its VM state. */
static bool amend_snapshots_fit(const Qcow2State *s)
{
    for (uint32_t i = 0; i < s->snapshots.count; i++) {
        const Qcow2Snapshot *sn = &g_array_index(s->snapshots.list, Qcow2Snapshot, i);
        json_t *info = json_array_get(s->snapshots.info, i);

        if ((sn->disk_size != UINT64_MAX && sn->disk_size != s->size) ||
            json_integer_value(json_object_get(info, "vm-state-size")) > UINT32_MAX) {
            return false;
        }
    }
    return true;
}

/* Why an image cannot have version 2; NULL: it can. */
static const char *amend_no_version_2(const BlockNode *n)
{
    const Qcow2State *s = block_node_state((BlockNode *)n);

    if (s->refcount_order != 4) {
        return "compat=0.10 requires refcount_bits=16";
    }
    if (qcow2_has_data_file(s)) {
        return "Cannot downgrade an image with a data file";
    }
    if (s->crypt_method == CRYPT_LUKS) {
        return "Cannot downgrade an image with LUKS encryption";
    }
    if (!amend_snapshots_fit(s)) {
        return "Internal snapshots prevent downgrade of image";
    }
    if (s->incompat & ~INCOMPAT_DIRTY) {
        return "Cannot downgrade an image with incompatible features set";
    }
    return NULL;
}

/* Bitmaps go last: what fails before leaves them. */
static int coroutine_fn amend_drop_bitmaps(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);
    unsigned count = s->bitmaps ? s->bitmaps->len : 0;
    int ret = qcow2_bitmaps_remove_all(n);

    if (ret == 0 && count) {
        log_warn("Version 2 of qcow2 has no bitmaps: %u bitmap%s of '%s' %s removed", count,
                 count == 1 ? "" : "s", n->filename ? n->filename : "", count == 1 ? "is" : "are");
    }
    return ret;
}

static bool coroutine_fn amend_downgrade(BlockNode *n, GError **err)
{
    const char *why = amend_no_version_2(n);
    Qcow2State *s = block_node_state(n);
    int ret;

    if (why) {
        return error_set(err, "%s", why);
    }
    ret = amend_expand_zeroes(n);
    if (ret == 0 && !qcow2_snapshots_expand_zeroes(n, err)) {
        return false;
    }
    ret = ret < 0 ? ret : amend_drop_bitmaps(n);
    /* The dirty bit is no part of version 2: all is written back, and it is clear. */
    ret = ret < 0 ? ret : qcow2_settle(n);
    ret = ret == 0 && s->dirty_marked ? -EIO : ret;
    ret = ret < 0 ? ret : qcow2_set_version(n, 2);
    return ret < 0 ? error_set_errno(err, -ret, "Failed to downgrade the image") : true;
}

/* --- the options, one by one --- */

static bool coroutine_fn amend_lazy(BlockNode *n, bool on, GError **err)
{
    Qcow2State *s = block_node_state(n);
    uint64_t bits = (s->compat & ~COMPAT_LAZY_REFCOUNTS) | (on ? COMPAT_LAZY_REFCOUNTS : 0);
    uint8_t be[8];
    bool kept;
    int ret;

    if (s->version < 3) {
        return true;
    }
    /* With nothing postponed the dirty bit is clear, whatever the option was. */
    ret = bits == s->compat ? 0 : qcow2_settle(n);
    if (ret == 0 && bits != s->compat) {
        co_mutex_lock(&s->lock);
        stbe64(be, bits);
        ret = qcow2_switch_header(n, HDR_COMPATIBLE_FEATURES, be, sizeof be, &kept);
        if (ret == 0) {
            s->compat = bits;
            s->lazy = on;
        }
        co_mutex_unlock(&s->lock);
    }
    return ret < 0 ? error_set_errno(err, -ret, "Failed to change lazy refcounts") : true;
}

static bool amend_same(const char *given, const char *now)
{
    return g_str_equal(given, now ? now : "");
}

/* Another backing file would change what the disk shows: that is for 'rebase' to prevent. */
static bool amend_backing(const BlockNode *n, const Qcow2Amend *a, GError **err)
{
    if ((!a->has_backing_file || amend_same(a->backing_file, n->backing_name)) &&
        (!a->has_backing_fmt || amend_same(a->backing_fmt, n->backing_format))) {
        return true;
    }
    return error_set(err, "Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
}

static bool coroutine_fn amend_size(BlockNode *n, uint64_t size, GError **err)
{
    int ret = block_truncate(n, size, err);

    ret = ret < 0 ? ret : block_flush(n);
    if (ret < 0 && !(err && *err)) {
        error_set_errno(err, -ret, "Failed to resize the image");
    }
    return ret >= 0;
}

static bool amend_compat(const char *text, unsigned *version, GError **err)
{
    if (text && *text) {
        bool old = g_str_equal(text, "0.10") || g_str_equal(text, "v2");

        if (!old && !g_str_equal(text, "1.1") && !g_str_equal(text, "v3")) {
            return error_set(err, "Unknown compatibility level %s", text);
        }
        *version = old ? 2 : 3;
    }
    return true;
}

/* What can be refused is refused before anything changes. */
static bool amend_check(BlockNode *n, const Qcow2Amend *a, unsigned version, GError **err)
{
    Qcow2State *s = block_node_state(n);

    if (a->has_refcount_bits && (!is_power_of_2(a->refcount_bits) || a->refcount_bits > 64)) {
        return error_set(err, "Refcount width must be a power of two and may not exceed 64 bits");
    }
    if (a->has_refcount_bits && a->refcount_bits != 16 && version < 3) {
        return error_set(err, "Refcount widths other than 16 bits require compatibility level 1.1 "
                              "or above (use compat=1.1 or greater)");
    }
    if (a->has_lazy_refcounts && a->lazy_refcounts && version < 3) {
        return error_set(err,
                         "Lazy refcounts only supported with compatibility level 1.1 and above "
                         "(use compat=1.1 or greater)");
    }
    if (a->has_data_file_raw && a->data_file_raw && !s->data_raw) {
        return error_set(err, "data-file-raw cannot be set on existing images");
    }
    if (a->data_file && !qcow2_has_data_file(s)) {
        return error_set(err,
                         "data-file can only be set for images that use an external data file");
    }
    return amend_backing(n, a, err);
}

static bool amend_has_keys(const LuksAmend *k)
{
    return k->has_state || k->has_keyslot || k->has_iter_time || k->new_secret || k->old_secret;
}

bool coroutine_fn qcow2_amend(BlockNode *n, void *options, bool force, GError **err)
{
    Qcow2State *s = block_node_state(n);
    const Qcow2Amend *a = options;
    unsigned version = s->version;
    int ret;

    if (!amend_compat(a->compat, &version, err) || !amend_check(n, a, version, err)) {
        return false;
    }
    if (version > s->version) {
        ret = qcow2_settle(n);
        ret = ret < 0 ? ret : qcow2_set_version(n, 3);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to upgrade the image");
        }
    }
    if (a->has_refcount_bits && a->refcount_bits != 1u << s->refcount_order &&
        !qcow2_change_refcount_order(n, g_bit_nth_lsf(a->refcount_bits, -1), err)) {
        return false;
    }
    if (amend_has_keys(&a->keys) && !qcow2_amend_keys(n, &a->keys, force, err)) {
        return false;
    }
    if (a->has_data_file_raw && !a->data_file_raw && s->data_raw) {
        ret = qcow2_set_data_raw(n, false);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to update the image header");
        }
    }
    if (a->data_file) {
        ret = qcow2_set_data_name(n, a->data_file);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Failed to update the image header");
        }
    }
    if (a->has_lazy_refcounts && !amend_lazy(n, a->lazy_refcounts, err)) {
        return false;
    }
    if (a->has_size && !amend_size(n, a->size, err)) {
        return false;
    }
    return version >= s->version || amend_downgrade(n, err);
}
