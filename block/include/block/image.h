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
 * that (raw can). TEMPORARY: what is written goes into a temporary overlay, which the node is then
 * (block_node_is_temporary()).
 * COPY_ON_READ: the node is a filter above the image (block/copy_on_read.h).
 * NO_IO: nothing reads or writes the disk, so an encrypted image needs no key; this holds for the
 * backing files, too.
 */
enum {
    BLOCK_IMAGE_ALONE = 1,
    BLOCK_IMAGE_CHECK = 2,
    BLOCK_IMAGE_RESIZES = 4,
    BLOCK_IMAGE_SHARED = 8,
    BLOCK_IMAGE_TEMPORARY = 16,
    BLOCK_IMAGE_COPY_ON_READ = 32,
    BLOCK_IMAGE_NO_IO = 64
};
BlockNode *block_image_open(json_t *config, unsigned how, GError **err);

/* False, and an error, where following the names of backing files leads in a circle. */
bool block_image_chain_ends(BlockNode *n, GError **err);

/*
 * Makes an image. 'options' is a tree by the driver's create_props (size, backing_file,
 * cluster_size...). A file that was not there before is removed again on failure.
 */
bool block_image_create(const char *filename, const char *format, json_t *options, GError **err);
/* Makes a disk longer, and gives the new part its place. After a failure it has its old length. */
bool coroutine_fn block_grow(BlockNode *n, uint64_t size, BlockPreallocation mode, GError **err);
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

/*
 * BlockDriver.amend with options by its amend_props; 'force': also what may lose data. False and
 * *err where the format cannot be amended.
 */
bool block_image_amend(BlockNode *n, json_t *options, bool force, GError **err);

/*
 * For a driver's create(): makes one more file of the image, or empties the one that is there.
 * *zero: what is not written reads as zeroes. *made: the file was not there before; the driver
 * removes it where it fails later. The caller's reference keeps the lock. NULL: an error.
 */
BlockNode *coroutine_fn block_image_make_file(const char *path, bool *zero, bool *made,
                                              GError **err);

/*
 * 'fn' is told of each file that comes to be for a new image, from then on: a tool that ends early
 * removes what it has half made. NULL: nobody is told any more.
 */
void block_image_on_made(void (*fn)(const char *path));

/* What that has of a LUKS header (QAPI's QCryptoBlockInfoLUKS). */
extern const Property block_luks_info_members[];
/* 'qemu-img info': as JSON (new reference), and that as text (the caller frees it). */
json_t *block_image_info(BlockNode *n, bool with_backing);
char *block_image_info_text(json_t *info);
/* The table of snapshots, from "snapshots" of such a tree; the caller frees it. */
char *block_snapshot_list_text(const json_t *list);
/* Whether the node is the overlay that BLOCK_IMAGE_TEMPORARY has put above an image. */
bool block_node_is_temporary(const BlockNode *n);
/*
 * What another image has to call a node by, to find the node's file: its name, and whether that is
 * a path of the host's. NULL: a node that shows something else than one file.
 */
const char *block_node_file_name(const BlockNode *n, bool *is_path);
/* The same, such that block_filename_to_config() finds it. "": there is none. The caller frees it.
 */
char *block_node_image_name(const BlockNode *n);
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
