/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For how long a folder waits for a directory entry. The rest is in tests/img/test_vvfat.py. */
#include <string.h>
#include <unistd.h>
#include "../../../block/drivers/vvfat/vvfat.h"
#include "../base/unit.h"
#include "base/util.h"

enum { PATIENCE_MS = 200 };

static char *folder, *file;

static void folder_make(void)
{
    g_autofree char *text = g_strnfill(3 * FAT_SECTOR, 'a');
    GError *err = NULL;

    folder = g_dir_make_tmp("vmm-vvfat-XXXXXX", &err);
    ck_assert_ptr_nonnull(folder);
    file = g_build_filename(folder, "F", NULL);
    ck_assert(g_file_set_contents(file, text, -1, &err));
}

static void folder_remove(void)
{
    unlink(file);
    rmdir(folder);
    g_free(file);
    g_free(folder);
}

static void disk_open(FatDisk *d)
{
    GError *err = NULL;

    *d = (FatDisk){.dir = g_strdup(folder), .rw = true, .root_fd = -1, .overlay_fd = -1};
    strcpy(d->label, "LABEL      ");
    d->patience_us = PATIENCE_MS * 1000;
    ck_assert(fat_geometry_init(&d->geo, 16, false, &err));
    ck_assert(fat_disk_init(d, &err));
}

/* The guest overwrites a sector of the file, in place. */
static void guest_overwrites(FatDisk *d, unsigned sector, char value)
{
    uint32_t cluster = ((FatFile *)d->root->children->pdata[0])->first;
    char buf[FAT_SECTOR];

    memset(buf, value, sizeof buf);
    ck_assert_int_eq(fat_disk_write(d, fat_cluster_sector(&d->geo, cluster) + sector, 1, buf), 0);
}

static bool file_has(const char *start)
{
    g_autofree char *text = NULL;

    ck_assert(g_file_get_contents(file, &text, NULL, NULL));
    return text[0] == start[0] && text[FAT_SECTOR] == start[1] && text[2 * FAT_SECTOR] == start[2];
}

START_TEST(patience_ends)
{
    FatDisk d;

    folder_make();
    disk_open(&d);
    guest_overwrites(&d, 0, 'b');
    ck_assert_int_eq(fat_commit(&d), 0);
    ck_assert(file_has("aaa"));
    /* A guest that has its data alone made stable goes on: what it waits for began with the first.
     */
    guest_overwrites(&d, 1, 'b');
    g_usleep(PATIENCE_MS * 1000 + 50000);
    ck_assert_int_eq(fat_commit(&d), 0);
    ck_assert(file_has("bba"));
    /* And from then on anew. */
    guest_overwrites(&d, 2, 'b');
    ck_assert_int_eq(fat_commit(&d), 0);
    ck_assert(file_has("bba"));
    g_usleep(PATIENCE_MS * 1000 + 50000);
    ck_assert_int_eq(fat_commit(&d), 0); /* though nothing was written since */
    ck_assert(file_has("bbb"));
    ck_assert(!d.changed);
    fat_disk_destroy(&d);
    folder_remove();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {patience_ends, NULL};

    return unit_run("vvfat", tests);
}
