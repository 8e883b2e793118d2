/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images as files: create, check. For vmm-img, tests and later the monitor. */
#ifndef BLOCK_IMAGE_H
#define BLOCK_IMAGE_H

#include "block/node.h"

typedef struct BlockCheckResult {
    uint64_t corruptions, leaks, check_errors, corruptions_fixed, leaks_fixed;
    uint64_t image_end_offset, total_clusters, allocated_clusters, fragmented_clusters,
        compressed_clusters;
} BlockCheckResult;
enum { BLOCK_CHECK_FIX_LEAKS = 1, BLOCK_CHECK_FIX_ERRORS = 2 };

/* 'options' is a tree of the driver's create_props (size, backing_file, backing_fmt,
 * cluster_size...). */
bool block_image_create(const char *filename, const char *format, json_t *options, GError **err);

#endif
