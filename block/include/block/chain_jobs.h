/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Jobs that shorten a backing chain of a live disk: stream (block-stream) copies into the upper
 * image what lies below, commit (block-commit) writes what lies above into a lower image. Main
 * thread, in a coroutine.
 */
#ifndef BLOCK_CHAIN_JOBS_H
#define BLOCK_CHAIN_JOBS_H

#include "block/job.h"

typedef struct {
    BlockNode *top;           /* what becomes independent of the images below, down to the base */
    BlockNode *base;          /* what stays its backing file; NULL: nothing */
    BlockNode *bottom;        /* or the last image that is copied from; NULL: as 'base' says */
    const char *backing_name; /* how the image names the base; NULL: by its file name */
    const char *filter_name;  /* a filter of this name is above the disk meanwhile; NULL: none */
    BlockOnError on_error;
} BlockStream;
/* False: refused, and nothing was changed. */
bool coroutine_fn block_stream_start(const JobOptions *opts, const BlockStream *what, GError **err);

typedef struct {
    BlockNode *disk; /* the chain's first node, which is above 'top' */
    BlockNode *top,
        *base; /* what is in the chain from 'top' to above 'base' is written to 'base' */
    const char *backing_name; /* how the overlay of 'top' names the base; NULL: by its file name */
    const char *filter_name;  /* of the filter above 'top'; NULL: made up */
    BlockOnError on_error;
} BlockCommitJob;
bool coroutine_fn block_commit_job_start(const JobOptions *opts, const BlockCommitJob *what,
                                         GError **err);

/*
 * HMP's 'commit': what the image of a drive holds goes into its backing file, and the image is
 * empty then. 'drive' is "all": of all drives that have a backing file. The guest's requests wait
 * meanwhile. False, and an error: the drive shows what it did before.
 */
bool coroutine_fn block_commit_drive(const char *drive, GError **err);

/*
 * The image of the chain below 'n' that 'name' means: as the image above names it, or its file's
 * name, which may start at that image's folder. NULL: none.
 */
BlockNode *block_chain_find_file(BlockNode *n, const char *name);

#endif
