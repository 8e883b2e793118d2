/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots of the machine: its state, in the snapshot table of one disk, with a snapshot of the
 * same name of every other. Each function stops a machine that runs, and lets it go on.
 *
 * Main loop, in a coroutine. The words of errors are QEMU's where it has any.
 */
#ifndef VM_SNAPSHOT_H
#define VM_SNAPSHOT_H

#include "block/job.h"
#include "vm/vm.h"

/* Moments of a live save. */
typedef enum {
    VM_SNAPSHOT_STOPS,   /* the guest is about to be stopped, for about so long */
    VM_SNAPSHOT_SAVED,   /* all is saved; the machine stands yet */
    VM_SNAPSHOT_WENT_ON, /* the guest has stood still for so long; 0: it did not run before */
} VmSnapshotMoment;
/* Main loop. */
typedef void VmSnapshotTell(VmSnapshotMoment moment, int64_t ns, void *data);

typedef struct {
    const char *name;
    /* Which disks: names of nodes, borrowed. NULL: all that can be written to. */
    json_t *devices;
    const char *vmstate; /* the node, one of 'devices', that keeps the state; NULL: the first */
    bool replace;        /* save: one that has the name goes, once the new one is there */
    bool at_start;       /* load: a disk of -snapshot shows what its image had at that snapshot */
    Job *job;            /* is told the progress, and may be cancelled; NULL: none */
    /*
     * Save, as a job: memory is written while the guest runs, which stands still only for what is
     * left then, and for the disks. 'tell' may be NULL.
     */
    bool live;
    VmSnapshotTell *tell;
    void *tell_data;
} VmSnapshotRequest;

/* The name that a snapshot gets whose user gave none: "vm-" and the date. The caller frees it. */
char *vm_snapshot_default_name(void);

/*
 * A save that fails or is cancelled leaves no snapshot, and what had the name is there. One that
 * succeeds leaves no other of that name.
 */
bool coroutine_fn vm_snapshot_save(Vm *vm, const VmSnapshotRequest *r, GError **err);
/* What is refused leaves machine and disks as they are. */
bool coroutine_fn vm_snapshot_load(Vm *vm, const VmSnapshotRequest *r, GError **err);
/* The same for a caller that holds the machine (vm_hold()). */
bool coroutine_fn vm_snapshot_save_held(Vm *vm, const VmSnapshotRequest *r, GError **err);
bool coroutine_fn vm_snapshot_load_held(Vm *vm, const VmSnapshotRequest *r, GError **err);
/* A disk without such a snapshot is none to complain about. */
bool coroutine_fn vm_snapshot_delete(Vm *vm, const VmSnapshotRequest *r, GError **err);

/*
 * For 'info snapshots -v': of each snapshot that has a machine's state whether a load would map its
 * memory or read it, and why; and how much is mapped now. The caller frees it.
 */
char *coroutine_fn vm_snapshot_memory_text(Vm *vm);

/*
 * The same as a job ('type': JOB_TYPE_SNAPSHOT_...), of which a live save has all disks in use. The
 * request's texts are copied. The job is good until the caller waits (job_ref()). NULL and *err: it
 * did not begin.
 */
Job *vm_snapshot_start_job(Vm *vm, JobType type, const JobOptions *opts, const VmSnapshotRequest *r,
                           GError **err);

#endif
