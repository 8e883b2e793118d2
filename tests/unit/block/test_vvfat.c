/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a folder while a guest is at work: whatever of its writes has arrived at a flush,
 * each file is an old one or a new one. The rest is in tests/img/test_vvfat.py.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "../../../block/drivers/vvfat/vvfat.h"
#include "../base/unit.h"
#include "base/util.h"

enum {
    FILES = 8,       /* in one sector of the root, with T.TMP */
    TEMP = FILES,    /* the slot of that */
    FIRST_SLOT = 1,  /* behind the label */
    CLUSTERS = 1500, /* that a model's guest may take */
    STEPS = 160,
};

/*
 * The guest: its idea of the disk, from the boot sector to the last cluster that it may take, and
 * which sectors of that the disk does not have yet.
 */
typedef struct {
    FatDisk d;
    char *folder;
    GRand *rand;
    uint8_t *ram;
    uint64_t base, sectors;
    GArray *dirty; /* uint64_t */
    uint32_t next; /* cluster */
    GHashTable
        *legal[FILES + 1]; /* checksums of what the file was when the guest had done with it */
    bool may_miss[FILES + 1];
    unsigned half; /* 1 + the file that is overwritten in place, by half so far; 0: none */
    unsigned version;
} Guest;

/* --- the folder --- */

static char *name_of(unsigned n)
{
    return n == TEMP ? g_strdup("T.TMP") : g_strdup_printf("F%u.BIN", n);
}

static char *path_of(const Guest *g, const char *name)
{
    return g_build_filename(g->folder, name, NULL);
}

static void put_file(const Guest *g, const char *name, const char *text, size_t len)
{
    g_autofree char *path = path_of(g, name);

    ck_assert(g_file_set_contents(path, text, len, NULL));
}

/* NULL: there is no such file. */
static char *get_file(const Guest *g, const char *name, gsize *len)
{
    g_autofree char *path = path_of(g, name);
    char *text = NULL;

    return g_file_get_contents(path, &text, len, NULL) ? text : NULL;
}

static bool file_is(const Guest *g, const char *name, const char *parts, size_t part)
{
    gsize len = 0;
    g_autofree char *text = get_file(g, name, &len);

    if (!text || len != strlen(parts) * part) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] != parts[i / part]) {
            return false;
        }
    }
    return true;
}

static bool is_missing(const Guest *g, const char *name)
{
    g_autofree char *path = path_of(g, name);

    return access(path, F_OK) < 0;
}

/* --- the guest's disk --- */

static void guest_make(Guest *g)
{
    *g = (Guest){.folder = g_dir_make_tmp("vmm-vvfat-XXXXXX", NULL)};
    ck_assert_ptr_nonnull(g->folder);
}

static void guest_open(Guest *g)
{
    FatDisk *d = &g->d;
    GError *err = NULL;

    *d = (FatDisk){.dir = g_strdup(g->folder), .rw = true, .quiet = true, .overlay_fd = -1};
    strcpy(d->label, "LABEL      ");
    ck_assert(fat_geometry_init(&d->geo, 16, false, &err));
    ck_assert_msg(fat_disk_init(d, &err), "%s", err ? err->message : "");
    g->base = d->geo.start;
    g->sectors = d->geo.data + CLUSTERS * d->geo.per_cluster - g->base;
    g->ram = g_malloc(g->sectors * FAT_SECTOR);
    ck_assert_int_eq(fat_disk_read(d, g->base, g->sectors, g->ram), 0);
    g->dirty = g_array_new(false, false, sizeof(uint64_t));
    g->next = FAT_FIRST_CLUSTER + 200;
}

/* The folder stays. */
static void guest_close(Guest *g)
{
    g->d.closing = true;
    ck_assert_int_eq(fat_commit(&g->d), 0);
    fat_disk_destroy(&g->d);
    g_free(g->ram);
    g_array_unref(g->dirty);
}

static void guest_end(Guest *g)
{
    GDir *dir = g_dir_open(g->folder, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = path_of(g, name);

        ck_assert(!fat_name_is_temporary(name));
        unlink(path);
    }
    g_dir_close(dir);
    ck_assert_int_eq(rmdir(g->folder), 0);
    g_free(g->folder);
}

static uint8_t *sector_of(Guest *g, uint64_t sector)
{
    return g->ram + (sector - g->base) * FAT_SECTOR;
}

static void set_dirty(Guest *g, uint64_t sector)
{
    for (unsigned i = 0; i < g->dirty->len; i++) {
        if (g_array_index(g->dirty, uint64_t, i) == sector) {
            return;
        }
    }
    g_array_append_val(g->dirty, sector);
}

static void write_back(Guest *g, unsigned i)
{
    uint64_t sector = g_array_index(g->dirty, uint64_t, i);

    ck_assert_int_eq(fat_disk_write(&g->d, sector, 1, sector_of(g, sector)), 0);
    g_array_remove_index_fast(g->dirty, i);
}

static void write_back_all(Guest *g)
{
    while (g->dirty->len) {
        write_back(g, 0);
    }
}

static void write_back_sector(Guest *g, uint64_t sector)
{
    for (unsigned i = 0; i < g->dirty->len; i++) {
        if (g_array_index(g->dirty, uint64_t, i) == sector) {
            write_back(g, i);
            return;
        }
    }
}

static void flush(Guest *g)
{
    ck_assert_int_eq(fat_commit(&g->d), 0);
}

/* Linux' mark. */
static void mark_used(Guest *g, bool used)
{
    sector_of(g, g->d.geo.start)[37] = used;
    set_dirty(g, g->d.geo.start);
}

static uint32_t table_get(Guest *g, uint32_t c)
{
    return fat_get(&g->d.geo, sector_of(g, g->d.geo.fat), c);
}

static void table_set(Guest *g, uint32_t c, uint32_t value)
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = g->d.geo.fat + i * g->d.geo.fat_sectors;

        fat_set(&g->d.geo, sector_of(g, at), c, value);
        set_dirty(g, at + c * 2 / FAT_SECTOR);
    }
}

static uint8_t *entry_of(Guest *g, unsigned n)
{
    return sector_of(g, g->d.geo.root) + (n + FIRST_SLOT) * FAT_ENTRY_SIZE;
}

static uint32_t first_of(Guest *g, unsigned n)
{
    return ldle16(entry_of(g, n) + 26);
}

static uint32_t size_of(Guest *g, unsigned n)
{
    return ldle32(entry_of(g, n) + 28);
}

static void write_back_file(Guest *g, unsigned n)
{
    uint32_t left = fat_clusters_for(&g->d.geo, size_of(g, n));

    for (uint32_t c = first_of(g, n); left; c = table_get(g, c), left--) {
        for (uint32_t s = 0; s < g->d.geo.per_cluster; s++) {
            write_back_sector(g, fat_cluster_sector(&g->d.geo, c) + s);
        }
    }
}

/* A size of 0 has no cluster; the time moves on. */
static void entry_set(Guest *g, unsigned n, uint32_t first, uint32_t size)
{
    uint8_t *e = entry_of(g, n);

    stle16(e + 22, ldle16(e + 22) + 1);
    stle16(e + 26, first);
    stle32(e + 28, size);
    set_dirty(g, g->d.geo.root);
}

static void entry_name(Guest *g, unsigned n)
{
    char name[FAT_SHORT_SIZE + 1] = "T       TMP";

    if (n != TEMP) {
        g_snprintf(name, sizeof name, "F%u      BIN", n);
    }
    memset(entry_of(g, n), 0, FAT_ENTRY_SIZE);
    memcpy(entry_of(g, n), name, FAT_SHORT_SIZE);
    set_dirty(g, g->d.geo.root);
}

static bool exists(Guest *g, unsigned n)
{
    return *entry_of(g, n) && *entry_of(g, n) != 0xe5;
}

static void entry_remove(Guest *g, unsigned n)
{
    *entry_of(g, n) = 0xe5;
    set_dirty(g, g->d.geo.root);
}

static void chain_free(Guest *g, uint32_t c)
{
    while (c && c != FAT_END) {
        uint32_t next = table_get(g, c);

        table_set(g, c, FAT_FREE);
        c = next;
    }
}

static uint32_t chain_new(Guest *g, uint32_t size)
{
    uint32_t count = fat_clusters_for(&g->d.geo, size), first = g->next;

    for (uint32_t i = 0; i < count; i++, g->next++) {
        table_set(g, g->next, i + 1 == count ? FAT_END : g->next + 1);
    }
    ck_assert_uint_lt(g->next, CLUSTERS);
    return count ? first : 0;
}

/* Fills the chain's bytes from 'from' to 'to'. */
static void fill(Guest *g, uint32_t first, uint32_t from, uint32_t to, uint8_t value)
{
    uint32_t at = 0, size = fat_cluster_size(&g->d.geo);

    for (uint32_t c = first; at < to && c && c != FAT_END; c = table_get(g, c), at += size) {
        for (uint32_t i = MAX(from, at); i < MIN(to, at + size); i++) {
            uint64_t sector = fat_cluster_sector(&g->d.geo, c) + (i - at) / FAT_SECTOR;

            sector_of(g, sector)[i % FAT_SECTOR] = value;
            if (i % FAT_SECTOR == 0 || i == MAX(from, at)) {
                set_dirty(g, sector);
            }
        }
    }
}

/* --- any order of a guest's writes --- */

static char *sum(const void *data, size_t len)
{
    return g_compute_checksum_for_data(G_CHECKSUM_MD5, data, len);
}

/* What the guest has of the file now is a version of it. */
static void is_version(Guest *g, unsigned n)
{
    uint32_t len = size_of(g, n), size = fat_cluster_size(&g->d.geo), at = 0;
    g_autofree uint8_t *all = g_malloc(len + size);

    for (uint32_t c = first_of(g, n); at < len; c = table_get(g, c), at += size) {
        memcpy(all + at, sector_of(g, fat_cluster_sector(&g->d.geo, c)), size);
    }
    g_hash_table_add(g->legal[n], sum(all, len));
}

static void check_versions(Guest *g, unsigned seed)
{
    for (unsigned n = 0; n <= FILES; n++) {
        g_autofree char *name = name_of(n), *has = NULL;
        gsize len = 0;
        g_autofree char *text = get_file(g, name, &len);

        has = text ? sum(text, len) : NULL;
        ck_assert_msg(has ? g_hash_table_contains(g->legal[n], has) : g->may_miss[n],
                      "seed %u: %s is %s", seed, name, text ? "a mixture" : "missing");
    }
}

/* Unmounted: the folder is what the guest has. */
static void check_equal(Guest *g, unsigned seed)
{
    for (unsigned n = 0; n < FILES; n++) {
        g_autofree char *name = name_of(n);
        gsize len = 0;
        g_autofree char *text = get_file(g, name, &len);
        uint32_t at = 0, size = fat_cluster_size(&g->d.geo);

        ck_assert_msg(!text == !exists(g, n), "seed %u: %s", seed, name);
        ck_assert_msg(!text || len == size_of(g, n), "seed %u: %s", seed, name);
        for (uint32_t c = text ? first_of(g, n) : 0; at < len; c = table_get(g, c), at += size) {
            ck_assert_msg(!memcmp(text + at, sector_of(g, fat_cluster_sector(&g->d.geo, c)),
                                  MIN(size, len - at)),
                          "seed %u: %s differs", seed, name);
        }
    }
}

static uint32_t any_size(Guest *g)
{
    return g_rand_int_range(g->rand, 1, 3 * fat_cluster_size(&g->d.geo));
}

static uint8_t next_value(Guest *g)
{
    return 1 + g->version++ % 255;
}

static void rewrite(Guest *g, unsigned n)
{
    uint32_t size = any_size(g), first = chain_new(g, size);

    fill(g, first, 0, size, next_value(g));
    entry_set(g, n, first, size);
    is_version(g, n);
}

/* Each is two thirds of what systems do with a file; the rest of it comes later, or never. */
static void change_file(Guest *g, unsigned n)
{
    uint32_t size = size_of(g, n), more = any_size(g), first = first_of(g, n), c = first;

    switch (exists(g, n) ? g_rand_int_range(g->rand, 0, 5) : 5) {
    case 0: /* appended to, within the clusters that it has and beyond */
        if (!size) {
            break;
        }
        while (table_get(g, c) != FAT_END) {
            c = table_get(g, c);
        }
        for (uint32_t i = fat_clusters_for(&g->d.geo, size);
             i < fat_clusters_for(&g->d.geo, size + more); i++, c = table_get(g, c)) {
            table_set(g, c, chain_new(g, 1));
        }
        fill(g, first, size, size + more, next_value(g));
        entry_set(g, n, first, size + more);
        is_version(g, n);
        break;
    case 1: /* overwritten in place, one half of it, when all of it is on the disk */
        write_back_file(g, n);
        fill(g, first, 0, size / 2, next_value(g));
        entry_set(g, n, first, size);
        g->half = n + 1;
        break;
    case 2: /* emptied; one that was deleted before may come back so, as a new one */
        if (g->may_miss[n]) {
            g_hash_table_add(g->legal[n], sum("", 0));
        }
        chain_free(g, first);
        entry_set(g, n, 0, 0);
        break;
    case 3: /* replaced by another one, which is renamed */
        if (!exists(g, TEMP)) {
            entry_name(g, TEMP);
            rewrite(g, TEMP);
            break;
        }
        chain_free(g, first);
        entry_set(g, n, first_of(g, TEMP), size_of(g, TEMP));
        entry_remove(g, TEMP);
        is_version(g, n);
        break;
    case 4:
        chain_free(g, first);
        entry_remove(g, n);
        g->may_miss[n] = true;
        break;
    default:
        entry_name(g, n);
        rewrite(g, n);
    }
}

static void change(Guest *g)
{
    unsigned n = g->half ? g->half - 1 : (unsigned)g_rand_int_range(g->rand, 0, FILES);

    if (g->half) { /* the other half */
        fill(g, first_of(g, n), size_of(g, n) / 2, size_of(g, n), next_value(g));
        entry_set(g, n, first_of(g, n), size_of(g, n));
        is_version(g, n);
        g->half = 0;
    } else if (exists(g, n) && !size_of(g, n)) {
        rewrite(g, n);
    } else {
        change_file(g, n);
    }
}

static void unmount(Guest *g, unsigned seed)
{
    if (g->half) {
        change(g);
    }
    write_back_all(g);
    mark_used(g, false);
    write_back_all(g);
    flush(g);
    check_equal(g, seed);
    for (unsigned n = 0; n < FILES; n++) {
        if (exists(g, n)) {
            is_version(g, n);
        }
    }
    mark_used(g, true);
    write_back_all(g);
}

START_TEST(any_order)
{
    for (unsigned seed = 0; seed < 12; seed++) {
        Guest g;

        guest_make(&g);
        g.rand = g_rand_new_with_seed(seed);
        for (unsigned n = 0; n <= FILES; n++) {
            g_autofree char *name = name_of(n), *text = g_strnfill(3000 * (n + 1), 'a' + n);

            g.legal[n] = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
            if (n == TEMP) {
                g.may_miss[n] = true;
            } else {
                put_file(&g, name, text, strlen(text));
                g_hash_table_add(g.legal[n], sum(text, strlen(text)));
            }
        }
        guest_open(&g);
        mark_used(&g, true);
        write_back_all(&g);
        for (unsigned i = 0; i < STEPS; i++) {
            unsigned what = g_rand_int_range(g.rand, 0, 64);

            if (what < 6) {
                change(&g);
            } else if (what < 10 && g.dirty->len) { /* one sector, or a good part of all */
                for (unsigned n = g_rand_int_range(g.rand, 0, g.dirty->len); n > 0; n--) {
                    write_back(&g, g_rand_int_range(g.rand, 0, g.dirty->len));
                }
            } else if (what < 36 && g.dirty->len) {
                write_back(&g, g_rand_int_range(g.rand, 0, g.dirty->len));
            } else if (what < 63) {
                flush(&g);
                check_versions(&g, seed);
            } else {
                unmount(&g, seed);
            }
        }
        guest_close(&g);
        check_versions(&g, seed);
        for (unsigned n = 0; n <= FILES; n++) {
            g_hash_table_destroy(g.legal[n]);
        }
        g_rand_free(g.rand);
        guest_end(&g);
    }
}
END_TEST

/* --- what one by one is hard to meet --- */

/* A file of 'a's with that many sectors, F0.BIN, which the guest has in use. */
static void start(Guest *g, unsigned sectors)
{
    g_autofree char *text = g_strnfill(sectors * FAT_SECTOR, 'a');

    guest_make(g);
    put_file(g, "F0.BIN", text, strlen(text));
    guest_open(g);
    mark_used(g, true);
    write_back_all(g);
}

START_TEST(new_files_wait_for_their_data)
{
    uint32_t c, size;
    Guest g;

    start(&g, 1);
    size = 2 * fat_cluster_size(&g.d.geo);
    c = chain_new(&g, size);
    entry_name(&g, 1);
    entry_set(&g, 1, c, size);
    fill(&g, c, 0, size - FAT_SECTOR, 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F1.BIN"));
    fill(&g, c, size - FAT_SECTOR, size, 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F1.BIN", "n", size));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* The last sector of a file that the folder does not have yet, and its zeroes behind the end. */
START_TEST(new_files_that_grow)
{
    uint32_t c;
    Guest g;

    start(&g, 1);
    c = chain_new(&g, 2 * FAT_SECTOR);
    entry_name(&g, 1);
    entry_set(&g, 1, c, FAT_SECTOR + FAT_SECTOR / 2);
    fill(&g, c, FAT_SECTOR, FAT_SECTOR + FAT_SECTOR / 2, 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F1.BIN"));
    entry_set(&g, 1, c, 2 * FAT_SECTOR);
    fill(&g, c, 0, FAT_SECTOR, 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F1.BIN"));
    fill(&g, c, FAT_SECTOR + FAT_SECTOR / 2, 2 * FAT_SECTOR, 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F1.BIN", "nn", FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* Of a file that the folder does not have yet, too, one half of a change is not seen. */
START_TEST(new_files_that_change)
{
    uint32_t c;
    Guest g;

    start(&g, 1);
    c = chain_new(&g, 3 * FAT_SECTOR);
    entry_name(&g, 1);
    entry_set(&g, 1, c, 2 * FAT_SECTOR);
    fill(&g, c, 0, 2 * FAT_SECTOR, 'n');
    write_back_all(&g);
    fill(&g, c, 0, FAT_SECTOR, 'm');
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F1.BIN"));
    fill(&g, c, FAT_SECTOR, 2 * FAT_SECTOR, 'm');
    mark_used(&g, false);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F1.BIN", "mm", FAT_SECTOR));
    /* What is appended to a sector is no change of it. */
    mark_used(&g, true);
    c = chain_new(&g, FAT_SECTOR);
    entry_name(&g, 2);
    entry_set(&g, 2, c, FAT_SECTOR / 2);
    fill(&g, c, 0, FAT_SECTOR / 2, 'o');
    write_back_all(&g);
    entry_set(&g, 2, c, FAT_SECTOR);
    fill(&g, c, FAT_SECTOR / 2, FAT_SECTOR, 'o');
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F2.BIN", "o", FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* The data that the cluster has is of a file that the folder has never had. */
START_TEST(clusters_that_another_file_had)
{
    uint32_t c;
    Guest g;

    start(&g, 1);
    c = chain_new(&g, FAT_SECTOR);
    entry_name(&g, 1);
    entry_set(&g, 1, c, 100 * KiB); /* not yet the size of its chain */
    fill(&g, c, 0, FAT_SECTOR, 'x');
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F1.BIN"));
    entry_remove(&g, 1);
    entry_name(&g, 2);
    entry_set(&g, 2, c + 1, fat_cluster_size(&g.d.geo) + FAT_SECTOR);
    table_set(&g, c + 1, c);
    fill(&g, c + 1, 0, fat_cluster_size(&g.d.geo), 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F2.BIN"));
    fill(&g, c, 0, FAT_SECTOR, 'n');
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F2.BIN", "n", fat_cluster_size(&g.d.geo) + FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

static void put_raw_entry(uint8_t *e, const char *name, uint8_t attributes, uint32_t first)
{
    memset(e, 0, FAT_ENTRY_SIZE);
    memcpy(e, name, FAT_SHORT_SIZE);
    e[11] = attributes;
    stle16(e + 26, first);
}

/* A directory becomes longer, and its new cluster has what was there before, which looks like a
 * file. */
START_TEST(directories_wait_for_their_data)
{
    g_autofree char *dir = NULL;
    uint32_t size, c;
    uint8_t *at;
    Guest g;

    start(&g, 1);
    dir = path_of(&g, "F2.BIN");
    size = fat_cluster_size(&g.d.geo);
    c = chain_new(&g, 2 * size);
    table_set(&g, c, FAT_END);
    entry_name(&g, 1);
    entry_set(&g, 1, c + 1, 100 * KiB); /* not yet the size of its chain */
    fill(&g, c + 1, 0, FAT_SECTOR, 0);
    at = sector_of(&g, fat_cluster_sector(&g.d.geo, c + 1));
    put_raw_entry(at, "GHOST   TXT", FAT_ATTR_ARCHIVE, 0);
    write_back_all(&g);
    flush(&g);
    entry_remove(&g, 1);
    entry_name(&g, 2);
    put_raw_entry(entry_of(&g, 2), "F2      BIN", FAT_ATTR_DIR, c);
    table_set(&g, c, c + 1);
    fill(&g, c, 0, size, 0xe5);
    put_raw_entry(sector_of(&g, fat_cluster_sector(&g.d.geo, c)), ".          ", FAT_ATTR_DIR, c);
    put_raw_entry(sector_of(&g, fat_cluster_sector(&g.d.geo, c)) + FAT_ENTRY_SIZE, "..         ",
                  FAT_ATTR_DIR, 0);
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F2.BIN"));
    fill(&g, c + 1, 0, size, 0);
    put_raw_entry(at, "REAL    TXT", FAT_ATTR_ARCHIVE, 0);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F2.BIN/REAL.TXT", "", 1) && is_missing(&g, "F2.BIN/GHOST.TXT"));
    guest_close(&g);
    {
        g_autofree char *real = g_build_filename(dir, "REAL.TXT", NULL);

        ck_assert(unlink(real) == 0 && rmdir(dir) == 0);
    }
    guest_end(&g);
}
END_TEST

START_TEST(appended_and_cut_off)
{
    Guest g;

    start(&g, 2);
    /* The size alone: what is behind the old end was there before. */
    entry_set(&g, 0, first_of(&g, 0), 3 * FAT_SECTOR);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aa", FAT_SECTOR));
    fill(&g, first_of(&g, 0), 2 * FAT_SECTOR, 3 * FAT_SECTOR, 'b');
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aab", FAT_SECTOR));
    entry_set(&g, 0, first_of(&g, 0), FAT_SECTOR);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aab", FAT_SECTOR));
    chain_free(&g, first_of(&g, 0));
    entry_set(&g, 0, 0, 0);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aab", FAT_SECTOR));
    mark_used(&g, false);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "", FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* What is behind the end of a file is not lost where the file is looked at meanwhile. */
START_TEST(data_before_its_entry)
{
    Guest g;

    start(&g, 2);
    fill(&g, first_of(&g, 0), 2 * FAT_SECTOR, 4 * FAT_SECTOR, 'b');
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aa", FAT_SECTOR));
    entry_set(&g, 0, first_of(&g, 0), 3 * FAT_SECTOR);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aab", FAT_SECTOR));
    entry_set(&g, 0, first_of(&g, 0), 4 * FAT_SECTOR);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aabb", FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* The old name keeps the old content, until nothing more comes. */
START_TEST(renamed_and_overwritten)
{
    Guest g;

    start(&g, 2);
    fill(&g, first_of(&g, 0), 0, FAT_SECTOR, 'b');
    entry_name(&g, 1);
    entry_set(&g, 1, first_of(&g, 0), size_of(&g, 0));
    entry_remove(&g, 0);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "aa", FAT_SECTOR) && is_missing(&g, "F1.BIN"));
    mark_used(&g, false);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F1.BIN", "ba", FAT_SECTOR) && is_missing(&g, "F0.BIN"));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* Windows is idle, but the file is open: its entry is written when it is closed. */
START_TEST(idle_with_an_open_file)
{
    uint32_t c;
    Guest g;

    start(&g, 1);
    mark_used(&g, false);
    table_set(&g, 1, 0x7fff);
    c = chain_new(&g, 2 * FAT_SECTOR);
    entry_name(&g, 1);
    entry_set(&g, 1, c, 2 * FAT_SECTOR);
    write_back_all(&g);
    flush(&g);
    fill(&g, c, 0, 2 * FAT_SECTOR, 'n');
    table_set(&g, 1, 0xffff);
    write_back_all(&g);
    flush(&g);
    ck_assert(is_missing(&g, "F1.BIN"));
    entry_set(&g, 1, c, 2 * FAT_SECTOR);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F1.BIN", "nn", FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* All of it between two flushes. */
START_TEST(mounted_and_unmounted)
{
    Guest g;

    start(&g, 2);
    fill(&g, first_of(&g, 0), 0, FAT_SECTOR, 'b');
    write_back_all(&g);
    mark_used(&g, false);
    write_back_all(&g);
    flush(&g);
    ck_assert(file_is(&g, "F0.BIN", "ba", FAT_SECTOR));
    guest_close(&g);
    guest_end(&g);
}
END_TEST

/* However many there are, and without another write of the guest's. */
START_TEST(very_many_wait)
{
    enum { MANY = 1200 };
    g_autofree char *text = g_strnfill(2 * FAT_SECTOR, 'a');
    char half[FAT_SECTOR];
    Guest g;

    guest_make(&g);
    for (unsigned i = 0; i < MANY; i++) {
        g_autofree char *name = g_strdup_printf("%u", i);

        put_file(&g, name, text, strlen(text));
    }
    g.d = (FatDisk){.dir = g_strdup(g.folder), .rw = true, .quiet = true, .overlay_fd = -1};
    strcpy(g.d.label, "LABEL      ");
    ck_assert(fat_geometry_init(&g.d.geo, 32, false, NULL) && fat_disk_init(&g.d, NULL));
    memset(half, 'b', sizeof half);
    for (unsigned i = 0; i < MANY; i++) {
        const FatFile *f = g.d.root->children->pdata[i];

        ck_assert_int_eq(fat_disk_write(&g.d, fat_cluster_sector(&g.d.geo, f->first), 1, half), 0);
    }
    ck_assert_int_eq(fat_commit(&g.d), 0);
    ck_assert(g.d.waits && !g.d.changed);
    g.d.closing = true;
    ck_assert_int_eq(fat_commit(&g.d), 0);
    for (unsigned i = 0; i < MANY; i++) {
        g_autofree char *name = g_strdup_printf("%u", i);

        ck_assert(file_is(&g, name, "aa", FAT_SECTOR));
    }
    fat_disk_destroy(&g.d);
    guest_end(&g);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {any_order,
                                  new_files_wait_for_their_data,
                                  new_files_that_change,
                                  new_files_that_grow,
                                  clusters_that_another_file_had,
                                  directories_wait_for_their_data,
                                  appended_and_cut_off,
                                  data_before_its_entry,
                                  renamed_and_overwritten,
                                  mounted_and_unmounted,
                                  idle_with_an_open_file,
                                  very_many_wait,
                                  NULL};

    return unit_run("vvfat", tests);
}
