/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images as files: create, check, describe. For vmm-img, tests and the monitor. Main thread. */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "block/node.h"

typedef struct BlockCheckResult {
    uint64_t corruptions, leaks, check_errors, corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset, total_clusters, allocated_clusters, fragmented_clusters,
        compressed_clusters;
} BlockCheckResult;
/* QUIET: findings are not printed on stderr. */
enum { BLOCK_CHECK_FIX_LEAKS = 1, BLOCK_CHECK_FIX_ERRORS = 2, BLOCK_CHECK_QUIET = 4 };

/*
 * block_node_open() for tools that look at one image. ALONE: without its backing file. CHECK: an
 * image that is marked corrupt opens, and so does one with damage that a check reports; nothing but
 * driver->check() may write to such a node. RESIZES: the lock lets only this process change the
 * file's length. SHARED: other processes may write to the file meanwhile, where the format can bear
 * that (raw can).
 */
enum {
    BLOCK_IMAGE_ALONE = 1,
    BLOCK_IMAGE_CHECK = 2,
    BLOCK_IMAGE_RESIZES = 4,
    BLOCK_IMAGE_SHARED = 8
};
BlockNode *block_image_open(json_t *config, unsigned how, GError **err);

/* False, and an error, where following the names of backing files leads in a circle. */
bool block_image_chain_ends(BlockNode *n, GError **err);

/*
 * Makes an image. 'options' is a tree by the driver's create_props (size, backing_file,
 * cluster_size...). A file that was not there before is removed again on failure.
 */
bool block_image_create(const char *filename, const char *format, json_t *options, GError **err);
/* Checks the options of block_image_create(); touches no file. */
bool block_image_create_check(const char *format, json_t *options, GError **err);
/* What an image with these options takes in its file. */
bool block_image_measure(const char *format, json_t *options, BlockMeasure *m, GError **err);
/*
 * block_image_create() for a caller that fills the image. *file (the caller's reference) keeps the
 * lock, and the image is opened over that node: until then no other process can write. *zero: the
 * image reads as zeroes, which holds only under the lock.
 */
bool block_image_create_open(const char *filename, const char *format, json_t *options,
                             const BlockCache *cache, BlockNode **file, bool *zero, GError **err);

/* 'qemu-img info': as JSON (new reference), and that as text (the caller frees it). */
json_t *block_image_info(BlockNode *n, bool with_backing);
char *block_image_info_text(json_t *info);
/* The table of snapshots, from "snapshots" of such a tree; the caller frees it. */
char *block_snapshot_list_text(const json_t *list);
/* The path of a backing file: a relative name starts at the image's folder. The caller frees it. */
char *block_resolve_backing(const char *image, const char *backing);

/*
 * block_status() of the first image, from n down its backing chain to above 'base' (NULL: to the
 * end), that has the range. *depth (may be NULL) is how many images lie above that one. Without the
 * bit ALLOCATED no image has the range.
 */
int coroutine_fn block_status_chain(BlockNode *n, BlockNode *base, uint64_t off, uint64_t bytes,
                                    uint64_t *pnum, uint64_t *map, BlockNode **file,
                                    unsigned *depth);

#endif
