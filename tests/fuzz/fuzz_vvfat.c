/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's FAT floppy that goes back to a folder of the host's. The input is a list of changes of
 * tables, directories and data, and of flushes. After each flush nothing outside the folder has
 * changed, no temporary is left, the guest sees what it saw before, and each file on which its
 * disk agrees is in the folder with just that content.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/util.h"
#include "vvfat.h"

enum { CLUSTERS = 40, OUTSIDE_SIZE = 7 };

static char *work; /* a folder with 'd', and a file that nobody may touch */

typedef struct {
    const uint8_t *data;
    size_t size;
    FatDisk d;
} Fuzz;

static unsigned byte(Fuzz *f)
{
    if (!f->size) {
        return 0;
    }
    f->size--;
    return *f->data++;
}

static unsigned word(Fuzz *f)
{
    unsigned low = byte(f);

    return low | byte(f) << 8;
}

static char *path_of(const char *name)
{
    return g_build_filename(work, name, NULL);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *full = g_build_filename(path, name, NULL);
        struct stat st;

        if (lstat(full, &st) == 0 && S_ISDIR(st.st_mode)) {
            remove_tree(full);
        } else {
            unlink(full);
        }
    }
    rmdir(path);
}

static void end(void)
{
    remove_tree(work);
    g_free(work);
}

static void put_file(const char *name, char fill, size_t size)
{
    g_autofree char *path = path_of(name), *data = g_malloc(size + 1);
    FILE *file = fopen(path, "wb");

    memset(data, fill, size);
    g_assert(file && fwrite(data, 1, size, file) == size);
    fclose(file);
}

static void put_folder(void)
{
    static const char *const folders[] = {"d", "d/dir", "d/dir/in", "d/empty"};
    struct stat st;

    if (!work) {
        work = g_build_filename(stat("/dev/shm", &st) == 0 ? "/dev/shm" : g_get_tmp_dir(),
                                "fuzz-vvfat-XXXXXX", NULL);
        g_assert(mkdtemp(work));
        atexit(end);
        put_file("outside", 'o', OUTSIDE_SIZE);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
        g_autofree char *path = path_of(folders[i]);

        if (i == 0) {
            remove_tree(path);
        }
        g_assert(mkdir(path, 0700) == 0);
    }
    put_file("d/A", 'a', 1500);
    put_file("d/B", 'b', 512);
    put_file("d/a long name.text", 'l', 2000);
    put_file("d/dir/C", 'c', 1024);
    put_file("d/dir/in/D", 'd', 10);
    put_file("d/dir/in/none", 'n', 0);
}

/* --- changes --- */

static void write_at(Fuzz *f, uint64_t at, const void *bytes, size_t len)
{
    uint64_t first = at / FAT_SECTOR, last = (at + len - 1) / FAT_SECTOR;
    uint8_t buf[4 * FAT_SECTOR];

    if (!len || last >= f->d.geo.total) {
        return;
    }
    g_assert(fat_disk_read(&f->d, first, last - first + 1, buf) == 0);
    memcpy(buf + at % FAT_SECTOR, bytes, len);
    g_assert(fat_disk_write(&f->d, first, last - first + 1, buf) == 0);
}

/* The place of an entry in the root, or in a cluster. */
static uint64_t slot(Fuzz *f)
{
    unsigned dir = byte(f) % CLUSTERS, i = byte(f);
    const FatGeometry *g = &f->d.geo;

    return dir < 8 ? (uint64_t)g->root * FAT_SECTOR + i % 64 * FAT_ENTRY_SIZE
                   : fat_cluster_sector(g, dir - 8 + FAT_FIRST_CLUSTER) * FAT_SECTOR +
                         i % 16 * FAT_ENTRY_SIZE;
}

static void set_entry(Fuzz *f, uint32_t cluster, uint32_t value, bool both)
{
    const FatGeometry *g = &f->d.geo;
    g_autofree uint8_t *table = g_malloc((size_t)g->fat_sectors * FAT_SECTOR);

    for (unsigned i = 0; i < 1 + both; i++) {
        uint32_t at = g->fat + i * g->fat_sectors;

        g_assert(fat_disk_read(&f->d, at, g->fat_sectors, table) == 0);
        fat_set(g, table, cluster, value);
        g_assert(fat_disk_write(&f->d, at, g->fat_sectors, table) == 0);
    }
}

static void fat_entry(Fuzz *f)
{
    uint32_t cluster = byte(f) % CLUSTERS + FAT_FIRST_CLUSTER, value = word(f);

    set_entry(f, cluster, value & 0xfff, !(value & 0x8000));
}

static void patch_entry(Fuzz *f)
{
    uint64_t at = slot(f);
    uint8_t bytes[FAT_ENTRY_SIZE];
    unsigned from = byte(f) % FAT_ENTRY_SIZE, len = byte(f) % (FAT_ENTRY_SIZE - from + 1);

    for (unsigned i = 0; i < len; i++) {
        bytes[i] = byte(f);
    }
    write_at(f, at + from, bytes, len);
}

static void copy_entries(Fuzz *f)
{
    uint64_t from = slot(f), to = slot(f);
    unsigned how = byte(f), count = how % 4 + 1;
    uint8_t buf[4 * FAT_SECTOR];

    g_assert(fat_disk_read(&f->d, from / FAT_SECTOR, 2, buf) == 0);
    write_at(f, to, buf + from % FAT_SECTOR, (size_t)count * FAT_ENTRY_SIZE);
    for (unsigned i = 0; i < count && how & 0x80; i++) {
        write_at(f, from + i * FAT_ENTRY_SIZE, "\xe5", 1);
    }
}

static void fill_cluster(Fuzz *f)
{
    uint8_t buf[FAT_SECTOR];
    uint32_t cluster = byte(f) % CLUSTERS + FAT_FIRST_CLUSTER;

    memset(buf, byte(f), sizeof buf);
    write_at(f, fat_cluster_sector(&f->d.geo, cluster) * FAT_SECTOR, buf, sizeof buf);
}

/* A file as a guest makes it, under a name that may be anything. */
static void new_file(Fuzz *f)
{
    uint64_t at = slot(f);
    unsigned len = byte(f) % 40, first = byte(f) % CLUSTERS + FAT_FIRST_CLUSTER, how = byte(f);
    unsigned size = word(f) % (8 * FAT_SECTOR), count = DIV_ROUND_UP(size, FAT_SECTOR);
    uint8_t out[20 * FAT_ENTRY_SIZE + FAT_ENTRY_SIZE] = {0}, short_name[FAT_SHORT_SIZE];
    char name[41] = "";
    unsigned n;

    for (unsigned i = 0; i < len; i++) {
        name[i] = byte(f) & 0x7f;
    }
    g_snprintf((char *)short_name, sizeof short_name, "F%02x       ", how);
    short_name[FAT_SHORT_SIZE - 1] = ' ';
    n = *name ? fat_name_encode(name, short_name, out) : 0;
    memcpy(out + n * FAT_ENTRY_SIZE, short_name, FAT_SHORT_SIZE);
    out[n * FAT_ENTRY_SIZE + 11] = how & 0x10;
    stle16(out + n * FAT_ENTRY_SIZE + 26, count ? first : 0);
    stle32(out + n * FAT_ENTRY_SIZE + 28, size);
    write_at(f, at, out, (size_t)(n + 1) * FAT_ENTRY_SIZE);
    for (unsigned i = 0; i < count; i++) {
        set_entry(f, first + i, i + 1 == count ? 0xfff : first + i + 1, true);
    }
}

static void wild(Fuzz *f)
{
    uint8_t buf[FAT_SECTOR] = {0};
    unsigned sector = word(f) % f->d.geo.total, len = byte(f);

    for (unsigned i = 0; i < len; i++) {
        buf[i] = byte(f);
    }
    write_at(f, (uint64_t)sector * FAT_SECTOR, buf, sizeof buf);
}

/* --- what has to hold --- */

static void check_outside(void)
{
    g_autofree char *outside = path_of("outside"), *text = NULL;
    g_autoptr(GDir) dir = g_dir_open(work, 0, NULL);
    gsize len = 0;
    unsigned n = 0;

    while (g_dir_read_name(dir)) {
        n++;
    }
    g_assert(n == 2);
    g_assert(g_file_get_contents(outside, &text, &len, NULL) && len == OUTSIDE_SIZE);
}

static void check_no_temporary(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *full = g_build_filename(path, name, NULL);

        g_assert(!fat_name_is_new(name));
        check_no_temporary(full);
    }
}

static uint8_t *see(Fuzz *f)
{
    uint8_t *all = g_malloc((size_t)f->d.geo.total * FAT_SECTOR);

    g_assert(fat_disk_read(&f->d, 0, f->d.geo.total, all) == 0);
    return all;
}

/* Behind the end of a file a cluster may be anything; so may a free one. */
static void check_view(Fuzz *f, const FatTree *t, const uint8_t *before)
{
    g_autofree uint8_t *now = see(f);
    const FatGeometry *g = &f->d.geo;
    uint32_t cluster = fat_cluster_size(g);

    g_assert(!memcmp(now, before, (size_t)g->data * FAT_SECTOR));
    for (uint32_t c = FAT_FIRST_CLUSTER; fat_cluster_valid(g, c); c++) {
        const FatEntry *user = fat_cluster_user(t, c);
        size_t at = fat_cluster_sector(g, c) * FAT_SECTOR, len = cluster;

        if (user && !user->is_dir && !user->bad && t->fat[c] == FAT_END && user->size % cluster) {
            len = user->size % cluster;
        }
        g_assert(t->fat[c] == FAT_FREE || !memcmp(now + at, before + at, len));
    }
}

static void check_file(Fuzz *f, const FatTree *t, const FatEntry *e, const uint8_t *seen)
{
    g_autofree char *below = fat_entry_path(e), *path = g_strdup_printf("%s/d/%s", work, below);
    g_autofree char *text = NULL;
    gsize len = 0, at = 0;

    g_assert(g_file_get_contents(path, &text, &len, NULL) && len == e->size);
    for (uint32_t c = e->first; at < len; c = t->fat[c], at += FAT_SECTOR) {
        g_assert(!memcmp(text + at, seen + fat_cluster_sector(&f->d.geo, c) * FAT_SECTOR,
                         MIN(len - at, FAT_SECTOR)));
    }
}

static void flush(Fuzz *f)
{
    g_autofree uint8_t *before = see(f);
    g_autofree char *d = path_of("d");
    int ret = fat_commit(&f->d), same = fat_geometry_same(&f->d);
    FatTree *t;

    g_assert(ret == 0);
    t = fat_tree_read(&f->d, &ret);
    g_assert(t || ret == -E2BIG);
    if (t) {
        fat_match(&f->d, t);
        check_view(f, t, before);
    }
    for (uint32_t i = 1; t && same && i < t->entries->len; i++) {
        const FatEntry *e = t->entries->pdata[i];
        g_autofree char *path = fat_entry_path(e);

        if (!e->bad && !e->is_dir && !g_hash_table_contains(f->d.unsure, path) && e->known &&
            e->same) {
            check_file(f, t, e, before);
        }
    }
    fat_tree_free(t);
    check_outside();
    check_no_temporary(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const changes[])(Fuzz *) = {fat_entry, patch_entry, copy_entries, fill_cluster,
                                              new_file,  wild,        flush,        fill_cluster};
    Fuzz f = {.data = data, .size = MIN(size, 4096)};
    g_autoptr(GError) err = NULL;
    bool ok;

    put_folder();
    f.d.dir = path_of("d");
    strcpy(f.d.label, "FUZZ       ");
    f.d.rw = f.d.quiet = true;
    ok = fat_geometry_init(&f.d.geo, 12, true, &err) && fat_disk_init(&f.d, &err);
    g_assert(ok);
    while (f.size) {
        changes[byte(&f) % ARRAY_SIZE(changes)](&f);
    }
    flush(&f);
    fat_disk_destroy(&f.d);
    return 0;
}
