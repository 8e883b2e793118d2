/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A folder of the host's as a disk with a FAT file system. Private to block/drivers/vvfat.
 *
 * FatDisk is all of it. What the guest sees (fat_disk_read()) is, sector by sector: what was
 * written to the overlay, at first by layout.c (boot sector, tables, directories); else the content
 * of the host's file that has the cluster; else zeroes. With rw the guest's writes go to the
 * overlay, and fat_commit() makes of them changes of the folder.
 *
 * Everything here blocks, and is called on a thread of the pool, by one thread at a time: vvfat.c
 * has a CoMutex for that.
 *
 * FAT: "Microsoft Extensible Firmware Initiative FAT32 File System Specification", version 1.03.
 */
#ifndef BLOCK_DRIVERS_VVFAT_H
#define BLOCK_DRIVERS_VVFAT_H

#include <errno.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
    FAT_SECTOR = 512,
    FAT_ENTRY_SIZE = 32,
    FAT_LABEL_SIZE = 11,
    FAT_SHORT_SIZE = 11,
    FAT_NAME_MAX = 255,         /* UTF-16 units of a long name */
    FAT_LFN_UNITS = 13,         /* of these in an entry */
    FAT_STAMP_SIZE = 12,        /* DIR_FstClusHI to the end: first cluster, time of writing, size */
    FAT_DIR_ENTRIES = 65536,    /* of a directory */
    FAT_MAX_FILES = 128 * 1024, /* and folders; a bound on memory and time */
    FAT_MAX_DEPTH = 128,        /* folders in folders; a path of FAT's has 260 characters */
    FAT_FIRST_CLUSTER = 2,
    /* DIR_Attr */
    FAT_ATTR_VOLUME = 0x08,
    FAT_ATTR_DIR = 0x10,
    FAT_ATTR_ARCHIVE = 0x20,
    FAT_ATTR_LFN = 0x0f,
    FAT_ATTR_LFN_MASK = 0x3f,
};

/* Entries of the table, whatever its width. */
enum { FAT_FREE = 0, FAT_BAD = 0x0ffffff7, FAT_END = 0x0fffffff };

/* All in sectors, from the start of the disk on. */
typedef struct {
    unsigned type; /* 12, 16, 32 */
    bool floppy;
    uint32_t cylinders, heads, sectors;
    uint32_t total; /* of the disk */
    uint32_t start; /* of the file system: its boot sector */
    uint32_t per_cluster, reserved;
    uint32_t fat_sectors;     /* of each of the two tables */
    uint32_t root_entries;    /* 0: the root is a chain of clusters (FAT32) */
    uint32_t fat, root, data; /* where these begin */
    uint32_t clusters;        /* the last one is FAT_FIRST_CLUSTER + clusters - 1 */
} FatGeometry;

/* By what the host's file is known again. */
typedef struct {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
} FatIdentity;

/* A file or a folder of the host's, as it was seen or made last. */
typedef struct FatFile FatFile;
struct FatFile {
    char *name; /* NULL: the folder itself */
    FatFile *parent;
    bool is_dir;
    bool link;      /* a symbolic link to a file */
    unsigned depth; /* of a folder that was found */
    FatIdentity id;
    uint32_t first; /* cluster; 0: none, or a FAT12/16 root */
    uint32_t size;
    /* Of folders. */
    GPtrArray *children; /* FatFile */
    GHashTable *names;   /* of the same by name */
    unsigned place;      /* in the array of the folder that it is in */
    uint8_t short_name[FAT_SHORT_SIZE];
    /* Of a commit. */
    struct FatEntry *match; /* the guest's entry that is this file now */
    bool held;              /* the guest's disk does not agree on it: it stays as it is */
    bool gone;
};

/* An entry of a directory of the guest's. */
typedef struct FatEntry FatEntry;
struct FatEntry {
    FatEntry *parent; /* NULL: the root */
    char *name;       /* as the host has it; where 'bad' is set, perhaps only to be shown */
    bool is_dir;
    unsigned depth, path_len;
    uint32_t first, size;
    uint8_t stamp[FAT_STAMP_SIZE];
    uint32_t first_child, children; /* of a directory: these entries of the tree */
    const char *bad; /* why the disk does not agree on it, or on a folder above; NULL: it does */
    FatFile *known;  /* NULL: a new one */
    bool same;       /* the host's file has its content, cluster by cluster */
    bool placed;     /* it is in the folder, and 'known' is that */
    bool placing;
    char *temp; /* the new content, complete: a name in 'temp_dir'; NULL: 'known' has it */
    FatFile *temp_dir;
    FatIdentity temp_id;
};

/* The guest's file system, as it stands on its disk. */
typedef struct {
    GPtrArray *entries; /* FatEntry, owned; the root first, parents before their children */
    uint32_t *fat;      /* by cluster; FAT_BAD where the two tables differ */
    uint32_t *user;     /* by cluster: 1 + the entry in 'entries' whose chain it is in; 0: none */
    uint32_t *index;    /* by cluster: its place in that chain */
} FatTree;
/* The entry whose chain the cluster is in, or NULL. */
static inline FatEntry *fat_cluster_user(const FatTree *t, uint32_t cluster)
{
    return t->user[cluster] ? t->entries->pdata[t->user[cluster] - 1] : NULL;
}

typedef struct {
    FatFile *file; /* NULL: free */
    int fd;
    uint64_t used;
} FatOpenFile;

enum { FAT_OPEN_FILES = 8 };

/* Of what layout.c writes; what the guest writes is younger. */
enum { FAT_LAYOUT_AGE = 1 };

/*
 * What becomes of a cluster from commit to commit (track.c). 'seen' and 'since' are values of
 * FatDisk.flushes.
 */
typedef struct {
    uint32_t first, index; /* of the chain that it is in, or was in last; 0, 0: none so far */
    bool is_dir;
    uint32_t seen;  /* when it was seen in that chain last */
    uint32_t since; /* what is not younger than that was written for another chain */
} FatUse;

/* The entry that leads to a chain, by the chain's first cluster. */
typedef struct {
    uint8_t bytes[FAT_STAMP_SIZE];
    uint32_t changed; /* 'flushes' when it was seen to have become this */
} FatStamp;

/* What the guest says on the disk of its use of the file system: a bit mask. */
enum {
    FAT_MARK_BOOT = 1,  /* in the boot sector: Linux, from mounting to unmounting; Windows */
    FAT_MARK_TABLE = 2, /* in the second entry of the table: Windows, while it writes */
};

/* What follows from that for files that are not the host's yet. */
typedef enum {
    FAT_AT_WORK,  /* more may come */
    FAT_IDLE,     /* Windows has written nothing for a while: a file may still be open */
    FAT_LAST,     /* more cannot come; the guest has never said that it uses the file system */
    FAT_FINISHED, /* the guest has said that this is all */
} FatGuest;

typedef struct {
    char *dir; /* as the user wrote it, for messages */
    char label[FAT_LABEL_SIZE + 1];
    bool rw;
    bool quiet; /* nothing is said of files that are left out, and no lock is taken */
    FatGeometry geo;
    int root_fd;
    FatFile *root;
    unsigned files;
    /* Which file has a cluster, and which of the file's clusters that is. */
    FatFile **owner;
    uint32_t *index;
    int overlay_fd;
    uint64_t *written; /* a bit a sector: it is in the overlay */
    uint32_t *age;     /* by sector: 'flushes' when it was written last */
    uint32_t *over;    /* by sector: the age of what was changed there then; 0: nothing was */
    uint32_t flushes;  /* of the guest's, since the disk was opened; from FAT_LAYOUT_AGE on */
    FatUse *use;       /* by cluster; these two where 'rw' */
    FatStamp *stamps;
    FatOpenFile open[FAT_OPEN_FILES];
    uint64_t uses;
    /* Of commits. */
    GPtrArray *dead;    /* FatFile that are gone, until no cluster is theirs */
    bool changed;       /* there were writes since the last one */
    GHashTable *unsure; /* paths on which the disk did not agree at the last one -> why */
    GHashTable *warned; /* those of which the user was told */
    bool waits;         /* the last one left files alone of which more may come */
    bool closing;       /* this commit is the last one */
    unsigned marks;     /* FAT_MARK_*: those that the guest has made at some time */
    FatGuest guest;     /* of this commit */
    uint64_t temp_prefix;
    unsigned temp_count;
} FatDisk;

/* geometry.c. 'type' 0: the default. False, and *err: there is no such disk. */
bool fat_geometry_init(FatGeometry *g, unsigned type, bool floppy, GError **err);
/* The master boot record, and the boot sectors of the file system, in the overlay. 0 or -errno. */
int fat_geometry_write(FatDisk *d);
/* Whether the guest's boot sector still describes this file system. 0, 1, or -errno. */
int fat_geometry_same(FatDisk *d);
/* FAT_MARK_*: by which the guest says that it has the file system in use, or -errno. */
int fat_geometry_marks(FatDisk *d);
/* Of a cluster that exists. */
static inline uint64_t fat_cluster_sector(const FatGeometry *g, uint32_t cluster)
{
    return g->data + (uint64_t)(cluster - FAT_FIRST_CLUSTER) * g->per_cluster;
}
static inline uint32_t fat_cluster_size(const FatGeometry *g)
{
    return g->per_cluster * FAT_SECTOR;
}
static inline bool fat_cluster_valid(const FatGeometry *g, uint32_t cluster)
{
    return cluster >= FAT_FIRST_CLUSTER && cluster - FAT_FIRST_CLUSTER < g->clusters;
}
static inline uint32_t fat_clusters_for(const FatGeometry *g, uint64_t bytes)
{
    return (bytes + fat_cluster_size(g) - 1) / fat_cluster_size(g);
}
/* An entry of a table in memory. */
uint32_t fat_get(const FatGeometry *g, const uint8_t *table, uint32_t cluster);
void fat_set(const FatGeometry *g, uint8_t *table, uint32_t cluster, uint32_t value);

/* names.c */
/* NULL, or why FAT cannot have this name. */
const char *fat_name_refused(const char *name);
/*
 * Names that only this program gives: new content that has no place yet, and a file of the user's
 * on its way to its place.
 */
#define FAT_TEMP_NEW  ".tmp"
#define FAT_TEMP_KEPT ".kept"
bool fat_name_is_temporary(const char *name); /* any of them */
bool fat_name_is_new(const char *name);
/* One that no file has had; the caller frees it. */
char *fat_temp_name(FatDisk *d, const char *suffix);
/* What two names of a folder may not have in common; the caller frees it. */
char *fat_name_key(const char *name);
/* The short names of one folder. */
typedef struct FatShortNames FatShortNames;
FatShortNames *fat_short_names_new(void);
void fat_short_names_free(FatShortNames *s);
/* Chooses one that no other file has. False: there is none left. */
bool fat_short_name_choose(FatShortNames *s, const char *name, uint8_t short_name[FAT_SHORT_SIZE]);
/* How many entries a file takes. */
unsigned fat_name_entries(const char *name, const uint8_t short_name[FAT_SHORT_SIZE]);
/* Writes the entries of the long name, before that of the short one; returns their number. */
unsigned fat_name_encode(const char *name, const uint8_t short_name[FAT_SHORT_SIZE], uint8_t *out);
/* Collects the entries of a long name; zeroed at the start of a directory. */
typedef struct {
    uint16_t units[20 * FAT_LFN_UNITS];
    unsigned count; /* entries of the name; 0: there is none */
    unsigned next;  /* the number that has to come next */
    uint8_t checksum;
} FatLongName;
void fat_long_name_add(FatLongName *l, const uint8_t *entry);
/*
 * The name of the file whose short entry this is; *valid: as the host can have it (else to be
 * shown). The caller frees it.
 */
char *fat_long_name_take(FatLongName *l, const uint8_t *entry, bool *valid);

/* host.c */
FatFile *fat_file_new(FatDisk *d, FatFile *parent, const char *name, bool is_dir);
/* Takes the file out of its folder, and frees it and all below. */
void fat_file_free(FatDisk *d, FatFile *f);
/* Takes the file, with all below, out of its folder alone. */
void fat_file_detach(FatFile *f);
/* It moves to another folder, under another name. */
void fat_file_move(FatFile *f, FatFile *parent, const char *name);
FatFile *fat_file_child(const FatFile *dir, const char *name);
/* Its path in the folder; the caller frees it. */
char *fat_file_path(const FatFile *f);
FatIdentity fat_identity(const struct stat *st);
bool fat_identity_equal(const FatIdentity *a, const FatIdentity *b);
/* A descriptor of a folder, or -errno. */
int fat_dir_open(FatDisk *d, const FatFile *dir);
/* Reads, with zeroes behind the end. 0 or -errno. */
int fat_host_read(FatDisk *d, FatFile *f, uint64_t offset, void *buf, size_t len);
/* Whether an error says that another program took the file, or a folder on the way, away. */
static inline bool fat_host_vanished(int ret)
{
    return ret == -ENOENT || ret == -ELOOP || ret == -EXDEV || ret == -ENOTDIR;
}
/* Forgets all open files. */
void fat_host_close_files(FatDisk *d);
/* Finds all that is in the folder. False, and *err. */
bool fat_host_scan(FatDisk *d, GError **err);

/* disk.c */
/* 'dir', 'label', 'rw', 'quiet' and 'geo' are set. False, and *err: fat_disk_destroy() follows. */
bool fat_disk_init(FatDisk *d, GError **err);
void fat_disk_destroy(FatDisk *d);
/* In whole sectors, inside the disk; 0 or -errno. */
int fat_disk_read(FatDisk *d, uint64_t sector, uint32_t count, void *buf);
int fat_disk_write(FatDisk *d, uint64_t sector, uint32_t count, const void *buf);
int fat_disk_write_zeroes(FatDisk *d, uint64_t sector, uint32_t count);
/* Whether there is data; *count in: at most so many, out: as far as that holds. */
bool fat_disk_has_data(FatDisk *d, uint64_t sector, uint32_t *count);
bool fat_disk_in_overlay(const FatDisk *d, uint64_t sector);
/* Drops what the overlay has of these. */
void fat_disk_forget(FatDisk *d, uint64_t sector, uint32_t count);

/* layout.c: gives all files of the tree their clusters, and writes the file system. */
bool fat_layout(FatDisk *d, GError **err);

/* parse.c: reads the guest's file system. NULL, and -errno in *ret; 0: it is none any more. */
FatTree *fat_tree_read(FatDisk *d, int *ret);
void fat_tree_free(FatTree *t);
char *fat_entry_path(const FatEntry *e);

/*
 * track.c: what has changed since the last commit, and since the disk was opened. Also at the end
 * of opening.
 */
void fat_track(FatDisk *d, const FatTree *t);
/*
 * Why more may come of a file, as FatDisk.guest has it; NULL: what the disk has of it is whole.
 * 'origin': the file of the host's that began with the same cluster, or NULL.
 */
const char *fat_unfinished(FatDisk *d, const FatTree *t, const FatEntry *e, FatFile *origin);
/* Whether fat_unfinished() gave this text, or it is the next one. */
bool fat_is_unfinished(const char *why);
extern const char fat_unwritten_text[];
/*
 * Whether the guest has written the sector since its cluster has this place in this chain. Before
 * fat_track() and behind it.
 */
bool fat_sector_written(const FatDisk *d, uint32_t cluster, uint64_t sector, const FatEntry *e,
                        uint32_t index);

/* match.c: which entry is which file of the folder, and which files the guest has deleted. */
void fat_match(FatDisk *d, FatTree *t);
/* Whether the guest has deleted the file. */
bool fat_file_deleted(const FatFile *f);

/* commit.c: makes the changes on which the guest's disk agrees. 0 or -errno. */
int fat_commit(FatDisk *d);
/* Says on which files the disk did not agree, at the end. */
void fat_commit_end(FatDisk *d);
/* Says it of one file, once. */
void fat_commit_warn(FatDisk *d, const char *path, const char *why);

/* compose.c: the new content of an entry as a temporary of the host's. 0 or -errno. */
int fat_compose(FatDisk *d, FatTree *t, FatEntry *e);
/* Removes the temporary, where there is still one. */
void fat_compose_drop(FatDisk *d, FatEntry *e);

/* place.c: brings all entries to their places. 0 or -errno; *all: none had to stay away. */
int fat_place(FatDisk *d, FatTree *t, bool *all);
/* Deletes what the guest has deleted. */
int fat_delete(FatDisk *d);

#endif
