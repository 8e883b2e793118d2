/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What disks of all buses have in common (devices/disk.h). */
#include "devices/disk.h"

#include "base/error.h"
#include "base/util.h"

const char *const disk_on_error_names[] = {"report", "ignore", "stop", "enospc", "auto", NULL};

static bool disk_check_sizes(DiskConf *d, GError **err)
{
    if (!d->logical_block_size) {
        d->logical_block_size = DISK_SECTOR;
    }
    if (!d->physical_block_size) {
        d->physical_block_size = MAX(d->logical_block_size, DISK_SECTOR);
    }
    uint64_t sizes[] = {d->logical_block_size, d->physical_block_size};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (!is_power_of_2(sizes[i]) || sizes[i] < DISK_SECTOR || sizes[i] > 2 * MiB) {
            return error_set(err, "%s_block_size must be a power of two between 512 B and 2 MiB",
                             i ? "physical" : "logical");
        }
    }
    if (d->logical_block_size > d->physical_block_size) {
        return error_set(err, "logical_block_size > physical_block_size not supported");
    }
    if (d->min_io_size % d->logical_block_size || d->opt_io_size % d->logical_block_size) {
        return error_set(err, "min_io_size and opt_io_size must be multiples of "
                              "logical_block_size");
    }
    if (d->min_io_size / d->logical_block_size > UINT16_MAX) {
        return error_set(err, "min_io_size must not exceed %u logical blocks", UINT16_MAX);
    }
    if (d->discard_granularity != DISK_GRANULARITY_AUTO &&
        (!d->discard_granularity || d->discard_granularity % d->logical_block_size ||
         d->discard_granularity > UINT32_MAX)) {
        return error_set(err, "discard_granularity must be a multiple of logical_block_size");
    }
    return true;
}

bool disk_check(DiskConf *d, uint32_t max_cyls, uint32_t max_heads, uint32_t max_secs, GError **err)
{
    /* cyls, heads and secs are given together or not at all. The BIOS's lcyls etc. are not checked.
     */
    const struct {
        const char *name;
        uint32_t value, max;
    } parts[] = {
        {"cyls", d->cyls, max_cyls}, {"heads", d->heads, max_heads}, {"secs", d->secs, max_secs}};

    if (!disk_check_sizes(d, err)) {
        return false;
    }
    for (unsigned i = 0; (d->cyls || d->heads || d->secs) && i < ARRAY_SIZE(parts); i++) {
        if (parts[i].value < 1 || parts[i].value > parts[i].max) {
            return error_set(err, "%s must be between 1 and %u", parts[i].name, parts[i].max);
        }
    }
    return true;
}

bool disk_attach(DiskConf *d, Device *dev, unsigned flags, const BlockDeviceOps *ops, void *data,
                 GError **err)
{
    const char *serial;

    if (!d->drive && !ops->medium_changed) {
        return error_set(err, "drive property not set");
    }
    flags |= d->share_rw ? BLOCK_DEVICE_SHARE_RW : 0;
    d->blk = block_backend_attach(d->drive, dev->id ? dev->id : dev->path, flags, ops, data, err);
    if (!d->blk) {
        return false;
    }
    if (!block_backend_node(d->blk) && !ops->medium_changed) {
        disk_detach(d, false);
        return error_set(err, "Device needs media, but drive is empty");
    }
    block_backend_set_error_policy(d->blk, d->rerror, d->werror);
    block_backend_set_accounting(d->blk, d->account_invalid, d->account_failed);
    if (d->write_cache != ON_OFF_AUTO_AUTO) {
        block_backend_set_write_cache(d->blk, d->write_cache == ON_OFF_AUTO_ON);
    }
    d->original_write_cache = block_backend_write_cache(d->blk);
    serial = block_backend_drive_info(d->blk)->serial;
    if (!d->serial && serial) {
        d->serial = g_strdup(serial);
    }
    return true;
}

void disk_detach(DiskConf *d, bool unplugged)
{
    block_backend_detach(g_steal_pointer(&d->blk), unplugged);
}

typedef struct {
    BlockBackend *blk;
    uint8_t sector[DISK_SECTOR];
} FirstSector;

static int coroutine_fn disk_read_first(void *data)
{
    FirstSector *f = data;
    struct iovec iov = {f->sector, DISK_SECTOR};
    BlockRequest req = {.op = BLOCK_OP_READ, .bytes = DISK_SECTOR, .iov = &iov, .niov = 1};

    return block_backend_co_io(f->blk, &req);
}

bool disk_partition_geometry(BlockBackend *blk, DiskGeometry *g)
{
    enum { TABLE = 446, ENTRY = 16, ENTRIES = 4, END_HEAD = 5, END_SECTOR = 6, LENGTH = 12 };
    FirstSector f = {.blk = blk};
    int64_t length = block_backend_length(blk);

    if (length < DISK_SECTOR || block_run(disk_read_first, &f) < 0 || f.sector[510] != 0x55 ||
        f.sector[511] != 0xaa) {
        return false;
    }
    for (unsigned i = 0; i < ENTRIES; i++) {
        const uint8_t *entry = f.sector + TABLE + i * ENTRY;
        uint32_t heads = entry[END_HEAD] + 1u, secs = entry[END_SECTOR] & 63;
        uint64_t cyls = secs ? length / DISK_SECTOR / (heads * secs) : 0;

        /* A partition ends with the last head of a cylinder, if with any. */
        if (ldle32(entry + LENGTH) && heads > 1 && cyls >= 1 && cyls <= 16383) {
            *g = (DiskGeometry){cyls, heads, secs};
            return true;
        }
    }
    return false;
}
