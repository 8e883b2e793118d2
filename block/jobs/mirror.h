/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mirror job's parts: the job, its copies, its filter. Private to block/jobs/. */
#ifndef BLOCK_JOBS_MIRROR_H
#define BLOCK_JOBS_MIRROR_H

#include "block/copy_offload.h"
#include "block/dirty_bitmap.h"
#include "block/mirror_job.h"
#include "block/range_lock.h"
#include "jobs.h"

enum { MIRROR_MAX_OPS = 16 };

typedef struct Mirror {
    Job job;
    BlockMirror what;           /* its pointers are the job's own, but for source and target */
    BlockNode *source, *target; /* references */
    BlockNode *filter;          /* likewise; the guest's requests pass it */
    BlockNode *base;            /* commit: the target; else NULL */
    BlockEdge *source_edge, *target_edge, *filter_target;
    BlockDirtyBitmap *bitmap; /* of the source: where the target may differ */
    bool active, tracked, inserted;
    /* The target's image has a backing file that is not open: only whole clusters are written. */
    bool whole_clusters;
    bool base_was_read_only;
    bool ready, complete, pivoted;
    uint64_t length, cursor;
    uint64_t done;                  /* bytes that were copied, some of them again and again */
    uint64_t data_from, data_until; /* where the disk had data when it was asked last */
    BlockOffload offload;
    void *buffers[MIRROR_MAX_OPS]; /* that no op has now */
    unsigned n_buffers;
    struct MirrorOp *ops;
    unsigned in_flight;
    uint64_t bytes_in_flight;
    WaitList op_ended; /* run() waits for ops */
    int64_t turned_ns;
    bool ignored;     /* an error, which is tried again after a while */
    int error;        /* errno: the job fails */
    int active_error; /* atomic: of the filter's write to the target */
} Mirror;

/* mirror_copy.c. The target may differ where the disk has data. False: cancelled, or failed. */
bool coroutine_fn mirror_find_dirty(Mirror *m, GError **err);
/*
 * Copies until nothing is dirty, and the job is to end. False: failed (*err), or cancelled (*err is
 * not set). No copy is in flight at the end.
 */
bool coroutine_fn mirror_copy(Mirror *m, GError **err);
/* In a drained section: copies what is left, and makes the target stable. */
bool coroutine_fn mirror_copy_rest(Mirror *m, GError **err);

/* mirror_filter.c */
BlockNode *mirror_filter_open(BlockNode *source, const char *name, GError **err);
/* In a drained section: whose filter it is; NULL: it only passes requests. */
void mirror_filter_attach(BlockNode *filter, Mirror *m);

#endif
