/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of snapshots share: the disks of one, and the steps that a live save takes, too.
 */
#ifndef VM_SNAPSHOT_INTERNAL_H
#define VM_SNAPSHOT_INTERNAL_H

#include "block/snapshot.h"
#include "snapshot_stream.h"
#include "vm/snapshot.h"

typedef struct {
    BlockNode *node; /* an image; the section has a reference */
    BlockNode *base; /* load: NULL, or the image below a temporary overlay: that has the snapshot */
    char *name;      /* of the disk, for messages */
    char *id;        /* load: the snapshot that is meant. save: the one that was made; or NULL */
    char *old_id;    /* load: what the disk was; or NULL */
} SnapshotDisk;

typedef struct {
    SnapshotStream stream; /* first */
    const VmSnapshotRequest *request;
    GArray *disks; /* SnapshotDisk */
    unsigned state_disk;
    BlockSnapshotSection section;
} SnapshotWork;

static inline SnapshotDisk *snapshot_state_disk(const SnapshotWork *w)
{
    return &g_array_index(w->disks, SnapshotDisk, w->state_disk);
}

/*
 * The disks of a request, in a drained section; all that does not need the machine is checked.
 * 'own': a job that may use them already, or NULL. False: nothing has to be ended.
 */
bool coroutine_fn snapshot_work_begin(SnapshotWork *w, const VmSnapshotRequest *r, bool apply,
                                      const Job *own, GError **err);
void coroutine_fn snapshot_work_end(SnapshotWork *w);
/* Whether there is no snapshot of the name, or it may be replaced. */
bool snapshot_name_is_free(SnapshotWork *w, GError **err);
/*
 * The state is written: w->stream.pos bytes. Each disk gets its snapshot, after which the job
 * cannot be cancelled any more. False: those that were made are gone again, and the state with
 * them.
 */
bool coroutine_fn snapshot_make(SnapshotWork *w, GError **err);
/* Those of the name that were there before, where a disk's 'id' is known. The machine is held, or
 * has no memory mapped from one of them. */
bool coroutine_fn snapshot_delete_replaced(Vm *vm, SnapshotWork *w, GError **err);

/* snapshot_live.c. The request has a job. */
bool coroutine_fn snapshot_save_live(Vm *vm, const VmSnapshotRequest *r, GError **err);

#endif
