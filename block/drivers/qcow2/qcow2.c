/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver: its information on an image, its table of functions. */
#include "qcow2.h"

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
    if (s->bitmaps && s->bitmaps->len) {
        json_object_set_new(data, "bitmaps", qcow2_bitmaps_info(s));
    }
    json_object_set_new(data, "refcount-bits", json_integer(1 << s->refcount_order));
    if (s->crypt_method) {
        json_object_set_new(data, "encrypt", qcow2_crypto_info(s));
    }
    if (s->data_name && qcow2_has_data_file(s)) {
        json_object_set_new(data, "data-file", json_string_nocheck(s->data_name));
        json_object_set_new(data, "data-file-raw", json_boolean(s->data_raw));
    }
    if (s->version >= 3) {
        json_object_set_new(data, "corrupt", json_boolean(s->incompat & INCOMPAT_CORRUPT));
        json_object_set_new(data, "extended-l2", json_boolean(s->extl2));
    }
    json_object_set_new(all, "type", json_string("qcow2"));
    json_object_set_new(all, "data", data);
    return all;
}

static bool qcow2_info(BlockNode *node, BlockDriverInfo *info)
{
    Qcow2State *s = block_node_state(node);

    *info = (BlockDriverInfo){
        .cluster_size = s->cluster_size,
        .vm_state_offset = qcow2_vmstate_start(s),
        .dirty = (s->incompat & INCOMPAT_DIRTY) && !s->dirty_marked,
        .corrupt = s->incompat & INCOMPAT_CORRUPT,
        .encrypted = s->crypt_method,
        .snapshots = s->snapshots.count,
        .snapshot_list = s->snapshots.info,
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
    .child_changed = qcow2_child_changed,
    .opened = qcow2_opened,
    .close = qcow2_close,
    .reopen_prepare = qcow2_reopen_prepare,
    .reopen_commit = qcow2_reopen_commit,
    .reopened = qcow2_opened,
    .inactivate = qcow2_inactivate,
    .activate = qcow2_activate,
    .preadv = qcow2_preadv,
    .pwritev = qcow2_pwritev,
    .pcopy = qcow2_pcopy,
    .pwrite_zeroes = qcow2_pwrite_zeroes,
    .pdiscard = qcow2_pdiscard,
    .pwrite_compressed = qcow2_write_compressed,
    .flush = qcow2_flush,
    .block_status = qcow2_block_status,
    .truncate = qcow2_truncate,
    .preallocate = qcow2_preallocate,
    .drop_data = qcow2_drop_data,
    .set_backing_name = qcow2_set_backing_name,
    .length = qcow2_length,
    .map_cached = qcow2_map_cached,
    .info = qcow2_info,
    .create_props = qcow2_create_props,
    .create_size = sizeof(Qcow2Create),
    .create_check = qcow2_create_check,
    .create_nodes = "data-file",
    .create_use = qcow2_create_use,
    .measure = qcow2_measure,
    .bitmaps_size = qcow2_bitmaps_size,
    .can_store_bitmap = qcow2_can_store_bitmap,
    .remove_bitmap = qcow2_remove_bitmap,
    .create = qcow2_create,
    .amend_props = qcow2_amend_props,
    .amend_size = sizeof(Qcow2Amend),
    .amend = qcow2_amend,
    .check = qcow2_check,
    .snapshot_create = qcow2_snapshot_create,
    .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete,
    .snapshot_load = qcow2_snapshot_load,
    .vmstate_pwritev = qcow2_vmstate_pwritev,
    .vmstate_preadv = qcow2_vmstate_preadv,
    .vmstate_preadv_snapshot = qcow2_vmstate_preadv_snapshot,
    .vmstate_extents = qcow2_vmstate_extents,
    .vmstate_drop = qcow2_vmstate_drop,
};
