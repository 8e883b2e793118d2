/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images as files: make, check, describe. For vmm-img, tests and the monitor. Main thread. */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "block/node.h"

typedef struct BlockCheckResult {
    uint64_t corruptions, leaks, check_errors, corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset, total_clusters, allocated_clusters, fragmented_clusters,
        compressed_clusters;
} BlockCheckResult;
/* QUIET: each finding is not told on stderr. */
enum { BLOCK_CHECK_FIX_LEAKS = 1, BLOCK_CHECK_FIX_ERRORS = 2, BLOCK_CHECK_QUIET = 4 };

/*
 * As block_node_open(), for tools that look at one image. ALONE: without its backing file. CHECK:
 * damage that a check reports, and may repair, is no reason to refuse it, nor is the mark that it
 * is corrupt; but for driver->check() such a node may not be written. RESIZES: the file's lock lets
 * nobody else use it while its length changes. SHARED: others may write to it meanwhile, where its
 * format can bear that (raw can).
 */
enum {
    BLOCK_IMAGE_ALONE = 1,
    BLOCK_IMAGE_CHECK = 2,
    BLOCK_IMAGE_RESIZES = 4,
    BLOCK_IMAGE_SHARED = 8
};
BlockNode *block_image_open(json_t *config, unsigned how, GError **err);

/* Follows the names of backing files, without their data: false where they lead in a circle. */
bool block_image_chain_ends(BlockNode *n, GError **err);

/* 'options' is a tree of the driver's create_props (size, backing_file, backing_fmt,
 * cluster_size...). */
bool block_image_create(const char *filename, const char *format, json_t *options, GError **err);
/* Whether these options are right, before a file is touched. */
bool block_image_create_check(const char *format, json_t *options, GError **err);
/*
 * The same, for whoever fills the new image: *file stays open, and with it the lock, until the
 * image is opened over that node. *zero: the image reads as zeroes. Without the lock nobody can
 * know that.
 */
bool block_image_create_open(const char *filename, const char *format, json_t *options,
                             const BlockCache *cache, BlockNode **file, bool *zero, GError **err);

/* As 'qemu-img info --output=json' (new reference), and as a person reads it (caller frees). */
json_t *block_image_info(BlockNode *n, bool with_backing);
char *block_image_info_text(json_t *info);
/* "ID TAG VM SIZE ..." of the list in such a tree. */
char *block_snapshot_list_text(const json_t *list);
/* A backing file's name as a path from here: relative ones start at the image's folder. */
char *block_resolve_backing(const char *image, const char *backing);

/*
 * block_status() down the backing chain: what the range is where it is first known. *depth (may be
 * NULL) says how far down that is; the bit ALLOCATED is off where no layer has it.
 */
int coroutine_fn block_status_chain(BlockNode *n, BlockNode *base, uint64_t off, uint64_t bytes,
                                    uint64_t *pnum, uint64_t *map, BlockNode **file,
                                    unsigned *depth);

#endif
