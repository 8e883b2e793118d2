/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job that keeps a copy of a live disk up to date ('blockdev-mirror', 'drive-mirror'), until
 * the disk moves to the copy, or the user ends it; and the same from an active image into a base of
 * its own ('block-commit' of the uppermost image). Main thread, in a coroutine.
 */
#ifndef BLOCK_MIRROR_JOB_H
#define BLOCK_MIRROR_JOB_H

#include "block/job.h"

/* What is copied beside what the guest writes meanwhile; in QAPI's order (MirrorSyncMode). */
typedef enum {
    BLOCK_MIRROR_TOP,  /* what the source has of its own, and not from its backing file */
    BLOCK_MIRROR_FULL, /* all */
    BLOCK_MIRROR_NONE  /* nothing */
} BlockMirrorSync;

/* What the target's backing file is once the disk has moved to it. */
typedef enum {
    BLOCK_MIRROR_BACKING_LEAVE,  /* what it is */
    BLOCK_MIRROR_BACKING_OPEN,   /* the one that the target's image names */
    BLOCK_MIRROR_BACKING_SOURCE, /* the source's (with NONE: the source) */
} BlockMirrorBacking;

typedef struct {
    BlockNode *source, *target; /* of the same length */
    const char
        *replaces; /* a node below filters on the source, which gives way; NULL: the source */
    const char *filter_name; /* of the filter above the source; NULL: made up */
    BlockMirrorSync sync;
    BlockMirrorBacking backing;
    bool active;          /* a guest's write is done when the target has it, too */
    bool unmap;           /* zeroes may deallocate in the target */
    bool target_is_zero;  /* checked under the target's lock, which was held since */
    uint64_t granularity; /* 0: the target's clusters, from 4 KiB to 64 KiB */
    uint64_t buf_size;    /* most bytes in flight; 0: 16 MiB */
    BlockOnError on_source_error, on_target_error;
} BlockMirror;
/* False: refused, and nothing was changed. */
bool coroutine_fn block_mirror_start(const JobOptions *opts, const BlockMirror *what, GError **err);

typedef struct {
    const char *filename;
    const char *format;    /* NULL: the source's; of an image that exists: looked for */
    const char *node_name; /* NULL: made up */
    bool existing;         /* else an image is made, over what was there */
} BlockMirrorTarget;
/* The same with a target of its own; what->target and what->backing are not looked at. */
bool coroutine_fn block_drive_mirror_start(const JobOptions *opts, const BlockMirror *what,
                                           const BlockMirrorTarget *target, GError **err);

typedef struct {
    BlockNode *top;  /* the image that a disk uses */
    BlockNode *base; /* of its backing chain; gets all that lies above, and becomes the disk's */
    const char *filter_name;
    BlockOnError on_error;
} BlockCommitActive;
bool coroutine_fn block_commit_active_start(const JobOptions *opts, const BlockCommitActive *what,
                                            GError **err);

#endif
