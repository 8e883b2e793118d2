/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMDK, VMware's image format ('Virtual Disk Format 5.0'). An image is a text, the descriptor, and
 * extents, which lie one after the other on the disk. The descriptor is a file of its own that
 * names the extents' files, or lies in the one extent that there is ('monolithic'). An extent is
 * 'flat' (the bytes as they are), or sparse: grains, and a directory of tables that say where they
 * are. Private to block/drivers/vmdk.
 */
#ifndef BLOCK_DRIVERS_VMDK_H
#define BLOCK_DRIVERS_VMDK_H

#include "../block_map.h"

enum {
    VMDK_MAX_DESCRIPTOR = 1 << 20,         /* bytes; as in QEMU */
    VMDK_MAX_EXTENTS = 4096,               /* a disk of 8 TiB in files of 2 GiB */
    VMDK_MAX_GRAIN = 64 * 1024 * 1024,     /* bytes */
    VMDK_MAX_DIRECTORY = 32 * 1024 * 1024, /* entries; as in QEMU */
    VMDK_DESCRIPTOR_OFFSET = 512,          /* of a new image */
    VMDK_DESCRIPTOR_BYTES = 20 * 512,
    VMDK_GRAIN_SECTORS = 128,
    VMDK_TABLE_ENTRIES = 512,
};
#define VMDK_NO_PARENT   0xffffffffu
#define VMDK_GD_AT_END   UINT64_MAX
#define VMDK_SPLIT_BYTES (2ull * GiB)

/* The sparse header (version 4 in VMware's counting), little-endian; offsets in bytes. */
enum {
    SPARSE_MAGIC = 0, /* "KDMV" */
    SPARSE_VERSION = 4,
    SPARSE_FLAGS = 8,
    SPARSE_CAPACITY = 12, /* sectors, and so are all that follow */
    SPARSE_GRAIN = 20,
    SPARSE_DESC_OFFSET = 28,
    SPARSE_DESC_SIZE = 36,
    SPARSE_GTES = 44,
    SPARSE_RGD_OFFSET = 48,
    SPARSE_GD_OFFSET = 56,
    SPARSE_OVERHEAD = 64,
    SPARSE_CHECK_BYTES = 73,
    SPARSE_COMPRESSION = 77,
    SPARSE_HEADER_BYTES = 512,
    SPARSE_FLAG_NL = 1 << 0,
    SPARSE_FLAG_RGD = 1 << 1,
    SPARSE_FLAG_ZERO_GRAIN = 1 << 2,
    SPARSE_FLAG_COMPRESSED = 1 << 16,
    SPARSE_FLAG_MARKERS = 1 << 17,
};

typedef struct VmdkState VmdkState;

typedef struct {
    VmdkState *s;
    BlockNode *file;        /* NULL: a 'ZERO' extent */
    BlockEdge *edge;        /* to 'file'; NULL: in_file */
    bool in_file;           /* 'file' is node->file, and no child of its own */
    char *type;             /* as the descriptor says; "" where it is not looked at */
    uint64_t start, length; /* bytes of the disk */
    bool flat;
    uint64_t flat_offset;
    /* Sparse extents. */
    BlockMap map;
    uint64_t *tables, *copies; /* where each grain table begins, in bytes; 0: there is none */
    uint64_t directory_entries;
    uint64_t directory_offset, copy_offset; /* 0: there is no second directory */
    uint64_t overhead;                      /* no grain is below */
    bool compressed, markers, zero_grain, sesparse;
    bool written_as_stream; /* the directory is the last thing in the file */
    uint64_t grains_offset; /* seSparse */
    uint64_t next;          /* under map.lock: where the next grain goes; 0: not known yet */
    const char *read_only;  /* why it cannot be written; NULL: it can */
} VmdkExtent;

struct VmdkState {
    /* Options. */
    json_t *file_config, *backing_config, *extents_config;

    GPtrArray *extents; /* of VmdkExtent; NULL: nothing is loaded */
    char *create_type;
    uint64_t length;
    /* The descriptor: where it is in node->file; bytes 0: there is none. */
    uint64_t descriptor_offset, descriptor_bytes;
    uint32_t cid, parent_cid;
    CoMutex cid_lock;
    int cid_changed; /* atomic: this process has given the image another CID, as it writes */
};

/* descriptor.c */
int vmdk_probe(const uint8_t *buf, size_t len);
/* The value of 'KEY=VALUE' or 'KEY="VALUE"'; NULL: it is not there. The caller frees it. */
char *vmdk_descriptor_value(const char *text, const char *key);
/* 'deflt' where it is not there. */
uint32_t vmdk_descriptor_cid(const char *text, const char *key, uint32_t deflt);
typedef struct {
    char *access, *type, *name; /* name: NULL for "ZERO" */
    uint64_t sectors, offset;
    bool has_offset;
} VmdkExtentLine;
void vmdk_extent_line_clear(VmdkExtentLine *line);
/* Parses a line. 1: it describes an extent, 0: it does not, -1: it is wrong. */
int vmdk_extent_line(const char *text, VmdkExtentLine *line);
/*
 * Before the first write since the image was opened: the image gets another CID, by which an image
 * over it sees that it has changed. Stable on return.
 */
int coroutine_fn vmdk_change_cid(BlockNode *node);

/* extents.c */
/* Reads what is kept in memory of an extent in e->file. The caller starts the map. */
bool coroutine_fn vmdk_open_sparse(BlockNode *node, VmdkExtent *e, GError **err);
bool coroutine_fn vmdk_open_sesparse(BlockNode *node, VmdkExtent *e, GError **err);
/* Reads the directories again; those of writable extents have second ones. */
bool coroutine_fn vmdk_read_directories(VmdkExtent *e, bool writable, GError **err);
void vmdk_extent_free(void *extent);
int coroutine_fn vmdk_write_compressed(VmdkExtent *e, uint64_t offset, const void *data,
                                       size_t len);

/* create.c */
extern const Property vmdk_create_props[];
typedef struct {
    uint64_t size;
    char *adapter_type, *backing_file, *backing_fmt, *hwversion, *subformat, *toolsversion;
    bool compat6, zeroed_grain;
    /* No options: vmdk_create_use(). */
    bool by_nodes;
    BlockNode *const *nodes;
    unsigned node_count;
} VmdkCreate;
/* The extents' files are these nodes, and no others are made. */
void vmdk_create_use(void *options, BlockNode *const *nodes, unsigned count);
bool vmdk_create_check(void *options, uint64_t *length, GError **err);
bool coroutine_fn vmdk_create(BlockNode *file, void *options, bool *zero, GError **err);

#endif
