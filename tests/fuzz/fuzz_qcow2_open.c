/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image file from an attacker: opened, described, read, checked, repaired, written to, resized;
 * its snapshots applied and deleted; rebased and emptied. Every request may fail; none may crash,
 * hang, or access memory out of bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "../img/memdisk.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/chain.h"
#include "block/image.h"
#include "block/snapshot.h"

enum { MAX_IMAGE = 4 * 1024 * 1024, CHUNK = 96 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void coroutine_fn look(BlockNode *n, uint8_t *buf)
{
    int64_t len = block_length(n);
    uint64_t at[] = {0, 65536 - 512, len / 2, len > CHUNK ? len - CHUNK : 0};

    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        uint64_t n_bytes, map;
        BlockNode *file;

        block_pread(n, at[i], buf, CHUNK);
        block_status(n, at[i], CHUNK, &n_bytes, &map, &file);
    }
}

static int coroutine_fn read_things(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    g_autofree uint8_t *buf = g_malloc(CHUNK);

    look(n, buf);
    n->driver->check(n, &res, BLOCK_CHECK_QUIET);
    return 0;
}

static int coroutine_fn write_things(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    int64_t len = block_length(n);
    g_autofree uint8_t *buf = g_malloc0(CHUNK);

    memset(buf, 0x77, CHUNK);
    block_pwrite(n, 0, buf, MIN(len, CHUNK), 0);
    block_pwrite(n, len / 2, buf, MIN(len - len / 2, 700), 0);
    block_pdiscard(n, 0, MIN(len, MiB));
    block_pwrite_zeroes(n, len / 3, MIN(len - len / 3, 200000), BLOCK_REQ_MAY_UNMAP);
    block_flush(n);
    block_pwrite(n, len / 3, buf, MIN(len - len / 3, 3000), BLOCK_REQ_FUA);
    if (len < 1024 * (int64_t)GiB) {
        block_truncate(n, ROUND_UP(len + MiB, 512), NULL);
        block_truncate(n, ROUND_DOWN(len / 2, 512), NULL);
    }
    look(n, buf);
    n->driver->check(n, &res, BLOCK_CHECK_QUIET | BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS);
    block_pwrite(n, 0, buf, MIN(block_length(n), CHUNK), 0);
    return block_flush(n);
}

/* An image that a repair leaves without corruptions has none in the next check either. */
static int coroutine_fn repair_things(void *data)
{
    BlockNode *n = data;
    BlockCheckResult first = {0}, second = {0};
    int ret = n->driver->check(n, &first, BLOCK_CHECK_QUIET | BLOCK_CHECK_FIX_ERRORS);

    if (ret == 0 && !first.corruptions && !first.check_errors) {
        g_assert(n->driver->check(n, &second, BLOCK_CHECK_QUIET) == 0);
        g_assert(!second.corruptions && !second.check_errors);
    }
    return 0;
}

/* All that frees or overwrites clusters, over one range and its neighbours. */
static int coroutine_fn change_things(void *data)
{
    BlockNode *n = data;
    int64_t len = block_length(n);
    BlockDriverInfo info = {0};
    g_autofree uint8_t *buf = g_malloc0(2 * MiB);

    n->driver->info(n, &info);
    json_decref(info.format_specific);
    len = MIN(len, MiB);
    block_pwrite_zeroes(n, 0, len / 4, 0);
    block_pwrite_zeroes(n, len / 4, len / 4, BLOCK_REQ_MAY_UNMAP);
    block_pdiscard(n, len / 8, len / 2);
    memset(buf, 0x11, 2 * MiB);
    block_pwrite(n, len / 2, buf, len / 4, 0);
    if (len >= info.cluster_size) {
        n->driver->pwrite_compressed(n, 0, buf, info.cluster_size);
    }
    block_truncate(n, ROUND_DOWN(len / 2, 512), NULL);
    for (int i = 0; i < 4; i++) {
        block_flush(n); /* frees clusters whose refcounts were to change */
    }
    block_pwrite(n, 0, buf, MIN(block_length(n), CHUNK), 0);
    return block_flush(n);
}

/* All that the tables of a snapshot can name: the attacker says how long the VM state is. */
static void coroutine_fn map_vmstate(BlockNode *n, const char *id)
{
    g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(BlockVmstateExtent));

    block_vmstate_extents(n, id, 0, INT64_MAX / 2, extents);
    for (unsigned i = 0; i < extents->len; i++) {
        const BlockVmstateExtent *e = &g_array_index(extents, BlockVmstateExtent, i);

        g_assert(e->bytes && (!i || e->pos >= e[-1].pos + e[-1].bytes));
    }
}

/* Snapshots that the attacker made, applied and deleted; one of ours among them. */
static int coroutine_fn snapshot_things(void *data)
{
    BlockNode *n = data;
    BlockSnapshot sn = block_snapshot_now("ours");
    g_autofree uint8_t *buf = g_malloc0(CHUNK);
    struct iovec iov = {buf, CHUNK};
    json_auto_t *theirs = block_snapshot_find(n, NULL, NULL);
    BlockCheckResult res = {0};

    block_vmstate_preadv(n, 0, CHUNK, &iov, 1);
    block_vmstate_pwritev(n, 1000, CHUNK, &iov, 1);
    sn.vm_state_size = 1000 + CHUNK;
    block_snapshot_create(n, &sn, NULL);
    block_pwrite(n, 0, buf, MIN(block_length(n), CHUNK), 0);
    if (theirs) {
        const char *id = json_string_value(json_object_get(theirs, "id"));

        map_vmstate(n, id);
        block_snapshot_apply(n, id, NULL);
        block_pwrite(n, 0, buf, MIN(block_length(n), CHUNK), 0);
        block_snapshot_delete(n, id, NULL, NULL);
    }
    look(n, buf);
    block_snapshot_apply(n, "ours", NULL);
    block_snapshot_delete(n, NULL, "ours", NULL);
    block_pwrite(n, block_length(n) / 2, buf, MIN(block_length(n) / 2, 700), 0);
    n->driver->check(n, &res, BLOCK_CHECK_QUIET);
    return block_flush(n);
}

/* What measure, rebase and commit do with an overlay. */
static int coroutine_fn chain_things(void *data)
{
    static const char *const formats[] = {"raw", "qcow2", "parallels", "raw"};
    BlockNode *n = data;
    BlockCheckResult res = {0};
    uint64_t bytes;

    n->driver->bitmaps_size(n, 65536, &bytes);
    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        g_autofree char *name = g_strnfill(i * 100 + 9, 'n');
        int ret = block_set_backing_name(n, name, formats[i]);

        g_assert(ret < 0 || g_str_equal(n->backing_name, name));
        if (i % 2) {
            block_set_backing_name(n, NULL, NULL);
        }
    }
    block_drop_data(n);
    n->driver->check(n, &res, BLOCK_CHECK_QUIET);
    return block_set_backing_name(n, "last", "raw");
}

/* Overwrites an entry of the L1 or refcount table, or of a table that it names. */
static bool lie(MemDisk *disk, const uint8_t *tail)
{
    static const uint8_t table_at[] = {40, 48}; /* in the header: L1, refcount table */
    uint64_t at, value = ldbe64(tail);
    bool below = tail[8] & 2;

    if (disk->length < 512) {
        return false;
    }
    at = ldbe64(disk->data + table_at[tail[8] & 1]) + (tail[9] & 1) * 8;
    if (below && at <= disk->length - 8) {
        at = (ldbe64(disk->data + at) & 0x00fffffffffffe00ull) + (tail[9] >> 2) * 8;
    }
    if (at > disk->length - 8 || at < 512) {
        return false;
    }
    switch (tail[8] >> 2 & 3) {
    case 0: /* no longer aligned */
        value = ldbe64(disk->data + at) ^ (value & 0xfe00);
        break;
    case 1: /* somewhere in the file, and the flags as they come */
        value = (value & 0xc000000000000001ull) | (value % disk->length & ~511ull);
        break;
    default:
        break;
    }
    stbe64(disk->data + at, value);
    return true;
}

/* The backing and data files that the image names are not opened: the attacker chose the names. */
static BlockNode *open_image(bool read_only, bool data_file, unsigned how)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *extra = g_strdup_printf(
        "{\"backing\":null,\"discard\":\"unmap\",\"read-only\":%s%s}", read_only ? "true" : "false",
        data_file ? ",\"data-file\":{\"driver\":\"memdisk\",\"name\":\"data\"}" : "");
    BlockNode *n = imgtest_open_as("qcow2", "disk", extra, how, &err);

    g_assert(n || err);
    return n;
}

/* A header that was changed still opens, and names what it was given. */
static void try_chain(MemDisk *disk, const uint8_t *data, size_t size, bool data_file)
{
    BlockNode *n;
    int ret;

    memdisk_set(disk, data, size);
    n = open_image(false, data_file, 0);
    if (!n) {
        return;
    }
    ret = block_run(chain_things, n);
    block_node_unref(n);
    n = open_image(true, data_file, BLOCK_IMAGE_CHECK);
    g_assert(n);
    if (ret == 0) {
        g_assert(g_str_equal(n->backing_name, "last"));
        g_assert(g_str_equal(n->backing_format, "raw"));
    }
    block_node_unref(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EventLoop *loop;
    MemDisk *disk, *second;
    BlockNode *n;
    bool data_file;

    if (!loop) {
        loop = imgtest_init();
        log_set_file("/dev/null", NULL);
    }

    if (size > MAX_IMAGE) {
        return 0;
    }
    disk = memdisk_new("disk");
    second = memdisk_new("data");
    memdisk_set(disk, data, size);
    /* Writes past this length fail with ENOSPC, before the fuzzer runs out of memory. */
    disk->max_length = second->max_length = 16 * MiB;
    data_file = size > 80 && (data[79] & 4);
    n = open_image(true, data_file, 0);
    if (n) {
        json_auto_t *info = block_image_info(n, true);

        g_free(block_image_info_text(info));
        block_run(read_things, n);
        block_node_unref(n);
    }
    n = open_image(false, data_file, BLOCK_IMAGE_CHECK);
    if (n) {
        block_run(repair_things, n);
        block_node_unref(n);
    }
    memdisk_set(disk, data, size);
    n = open_image(false, data_file, 0);
    if (n) {
        block_run(write_things, n);
        block_node_unref(n);
    }
    memdisk_set(disk, data, size);
    n = open_image(false, data_file, 0);
    if (n) {
        block_run(snapshot_things, n);
        block_node_unref(n);
    }
    try_chain(disk, data, size, data_file);
    memdisk_set(disk, data, size);
    if (size > 10 && lie(disk, data + size - 10) && (n = open_image(false, data_file, 0))) {
        block_run(change_things, n);
        block_node_unref(n);
        g_assert(disk->length >= 4 && !memcmp(disk->data, data, 4)); /* the header is there */
    }
    reclaim_poll();
    memdisk_free(disk);
    memdisk_free(second);
    return 0;
}
