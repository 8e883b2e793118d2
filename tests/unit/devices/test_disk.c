/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What disks of all buses have in common: devices/disk.h. */
#include "../vm/fixture.h"

#include "devices/disk.h"

static bool medium_changed(void *data, bool loaded, GError **err)
{
    return true;
}

static const BlockDeviceOps fixed_ops, removable_ops = {.medium_changed = medium_changed};
static Device device = {.path = (char *)"/machine/disk"};

static void teardown(void)
{
    block_backend_free_all();
    fixture_teardown();
}

typedef struct {
    DiskConf conf;
} Disk;

static const Property props[] = {DISK_PROPS(Disk, conf), PROP_END};

static DiskConf conf(const char *drive)
{
    DiskConf d = {0};

    properties_init(props, &d);
    d.drive = g_strdup(drive);
    return d;
}

static void new_drive(const char *id, const char *driver, const char *serial)
{
    json_t *tree =
        json_pack("{s:s,s:s,s:s,s:s*}", "if", "none", "id", id, "serial", serial, "driver", driver);
    GError *err = NULL;

    ck_assert_msg(block_backend_new_drive(tree, &err) != NULL, "%s", err ? err->message : "");
    json_decref(tree);
}

static void refused(DiskConf *d, const BlockDeviceOps *ops, const char *why)
{
    GError *err = NULL;

    ck_assert(!disk_attach(d, &device, 0, ops, NULL, &err));
    ck_assert_ptr_nonnull(strstr(err->message, why));
    ck_assert_ptr_null(d->blk);
    g_error_free(err);
}

static void attached(DiskConf *d, unsigned flags, const BlockDeviceOps *ops)
{
    GError *err = NULL;

    ck_assert_msg(disk_attach(d, &device, flags, ops, NULL, &err), "%s", err ? err->message : "");
}

/* A disk needs a medium; a drive for media needs none. */
START_TEST(media)
{
    DiskConf none = conf(NULL), empty = conf("e");

    new_drive("e", NULL, "");
    refused(&none, &fixed_ops, "drive property not set");
    refused(&empty, &fixed_ops, "Device needs media, but drive is empty");
    attached(&none, BLOCK_DEVICE_READ_ONLY, &removable_ops);
    ck_assert(block_backend_read_only(none.blk));
    disk_detach(&none, true);
    attached(&empty, 0, &removable_ops);
    ck_assert(!block_backend_read_only(empty.blk));
    refused(&(DiskConf){.drive = (char *)"e"}, &removable_ops, "already in use");
    disk_detach(&empty, true);
    properties_clear(props, &none);
    properties_clear(props, &empty);
}
END_TEST

/* What the drive says holds where the device does not say it. */
START_TEST(inherits)
{
    DiskConf a = conf("a"), b = conf("b");

    new_drive("a", "null-co", "of the drive");
    new_drive("b", "null-co", "of the drive");
    b.serial = g_strdup("own");
    b.write_cache = ON_OFF_AUTO_OFF;
    attached(&a, 0, &fixed_ops);
    attached(&b, 0, &fixed_ops);
    ck_assert_str_eq(a.serial, "of the drive");
    ck_assert_str_eq(b.serial, "own");
    ck_assert(a.original_write_cache && !b.original_write_cache);
    disk_detach(&a, true);
    disk_detach(&b, true);
    properties_clear(props, &a);
    properties_clear(props, &b);
}
END_TEST

START_TEST(sizes)
{
    DiskConf d = conf(NULL);
    GError *err = NULL;

    ck_assert(disk_check(&d, 16383, 16, 255, &err));
    ck_assert_uint_eq(d.logical_block_size, 512);
    ck_assert_uint_eq(d.physical_block_size, 512);
    d.cyls = d.heads = 16;
    d.secs = 63;
    ck_assert(disk_check(&d, 16383, 16, 255, &err));
    d.heads = 17;
    ck_assert(!disk_check(&d, 16383, 16, 255, &err));
    ck_assert_str_eq(err->message, "heads must be between 1 and 16");
    g_clear_error(&err);
    d.heads = 1;
    d.logical_block_size = 1000;
    ck_assert(!disk_check(&d, 16383, 16, 255, &err));
    ck_assert_ptr_nonnull(strstr(err->message, "logical_block_size must be a power of two"));
    g_clear_error(&err);
    properties_clear(props, &d);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("disk");

    tcase_add_checked_fixture(tc, fixture_setup, teardown);
    tcase_add_test(tc, media);
    tcase_add_test(tc, inherits);
    tcase_add_test(tc, sizes);
    return unit_run_case("devices_disk", tc);
}
