/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots: states of the disk, and perhaps of the machine, that an image keeps beside
 * the present one (qcow2).
 *
 * Main loop. All but the queries are for a drained section of the node (block_drain_begin()), in
 * which the caller takes the snapshots of several disks, or for a tool that is alone with the node.
 * The caller is a user of the node: 'apply' changes what the others read, and perhaps the length.
 */
#ifndef BLOCK_SNAPSHOT_H
#define BLOCK_SNAPSHOT_H

#include "block/graph.h"

/* A new snapshot. The image gives it an id, and notes the disk's length. */
typedef struct BlockSnapshot {
    const char *name;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_ns;
    uint64_t icount;        /* UINT64_MAX: instructions are not counted */
    uint64_t vm_state_size; /* of what block_vmstate_pwritev() wrote; 0: there is none */
} BlockSnapshot;

/* The name, and the date of now; no VM state. */
BlockSnapshot block_snapshot_now(const char *name);

/* Whether the node's format has snapshots, and the node can be written to. Else an error. */
bool block_snapshot_possible(BlockNode *n, GError **err);
/*
 * Calls 'fn' for each image of which a snapshot of the machine is made: what the drives have that
 * can be written to, and nodes of blockdev-add that lie below no other node. An image that several
 * use comes once. 'name' is the drive's, else the node's.
 */
void block_snapshot_foreach_disk(void (*fn)(BlockNode *image, const char *name, void *data),
                                 void *data);
/*
 * A node's snapshots as they are listed (SnapshotInfo in QMP), the one that was made last at the
 * end. New reference; NULL: the format has none.
 */
json_t *block_snapshot_list(BlockNode *n);
/*
 * One of that list, the first that matches. NULL matches every id
 * or name. New reference; NULL: there is none.
 */
json_t *block_snapshot_find(BlockNode *n, const char *id, const char *name);

/*
 * For nodes that others use as well: waits for their requests, and holds new ones until the end;
 * other changes of live nodes wait, too. False, and an error: another user does not allow it (a job
 * is named), or the program ends.
 */
typedef struct {
    GPtrArray *nodes; /* BlockNode, with references */
    GPtrArray *drains, *users;
    const struct Job
        *own; /* the job in which all this happens, and which may use the nodes; NULL */
} BlockSnapshotSection;
bool coroutine_fn block_snapshot_begin(BlockSnapshotSection *section, BlockNode *n, GError **err);
/*
 * The same in steps: a section of no node, in which graphs are looked at, then the nodes one after
 * the other. 'own' is set in between. False: 'begin' has begun nothing; what 'add' has begun is
 * ended by block_snapshot_end().
 */
bool coroutine_fn block_snapshot_begin_empty(BlockSnapshotSection *section, GError **err);
bool coroutine_fn block_snapshot_add(BlockSnapshotSection *section, BlockNode *n, GError **err);
void coroutine_fn block_snapshot_end(BlockSnapshotSection *section);
/*
 * Whether nobody but the machine has the image: no job (but 'own') and no export; and before
 * 'apply' no dirty bitmap, which would know nothing of the change. Else an error that names who or
 * what.
 */
bool block_snapshot_alone(BlockNode *n, const struct Job *own, bool apply, GError **err);

/* How many clusters a new snapshot has to count at most: all that the image's file has room for. */
uint64_t block_snapshot_clusters(BlockNode *n);

/*
 * What is interrupted, by an error or a cut of power, leaves the old state or the new one, and at
 * most leaks. Every name is allowed, one that another snapshot has, too.
 */
bool coroutine_fn block_snapshot_create(BlockNode *n, const BlockSnapshot *sn, GError **err);
/* The disk gets the content and the length that it had; the VM state can be read afterwards. */
bool coroutine_fn block_snapshot_apply(BlockNode *n, const char *id_or_name, GError **err);
/* NULL matches every id or name. */
bool coroutine_fn block_snapshot_delete(BlockNode *n, const char *id, const char *name,
                                        GError **err);

/*
 * For a tool that is alone with a read-only node: the node shows a snapshot until it is closed,
 * with the length that the disk had. NULL matches every id or name.
 */
bool coroutine_fn block_snapshot_load(BlockNode *n, const char *id, const char *name, GError **err);

/*
 * The VM state that belongs to the disk's present state, from offset 'pos' on. The next snapshot
 * that is created with a vm_state_size takes the state away with it. 0 or -errno. Writes may come
 * while the disk is in use. One of no bytes makes the tables long enough for a state up to 'pos',
 * which is better done in a drained section.
 */
int coroutine_fn block_vmstate_pwritev(BlockNode *n, uint64_t pos, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov);
int coroutine_fn block_vmstate_preadv(BlockNode *n, uint64_t pos, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov);
/* Gives back the space of a state that no snapshot is going to take. */
int coroutine_fn block_vmstate_drop(BlockNode *n);
/* The VM state that a snapshot has, which is looked up by its id. The disk stays as it is. */
int coroutine_fn block_vmstate_preadv_snapshot(BlockNode *n, const char *id, uint64_t pos,
                                               uint64_t bytes, const struct iovec *iov,
                                               unsigned niov);

/*
 * Mapping instead of reading: what of a snapshot's VM state lies in a host file as it is. Extents
 * ascend, and each is as long as it can be; what is in none has to be read.
 */
typedef struct {
    uint64_t pos, bytes; /* of the VM state */
    uint64_t offset;     /* in the host's file */
} BlockVmstateExtent;
/* Of [pos, pos + bytes). 0 or -errno; -ENOTSUP: the image's data is not in the file as it is. */
int coroutine_fn block_vmstate_extents(BlockNode *n, const char *id, uint64_t pos, uint64_t bytes,
                                       GArray *extents);
/*
 * A new descriptor, which is the caller's, of the host's file in which the node's VM states are.
 * -1, and an error that says why that cannot be mapped: it is no local file, something lies
 * between, others may write to it, or page caches are not wanted.
 */
int block_vmstate_open(BlockNode *n, GError **err);
/*
 * Whoever maps pages is a user of the image, by an edge of a class that has let_go(): the image
 * stays open, locked, and in this file, and the snapshot is not deleted.
 */
struct BlockEdge *coroutine_fn block_vmstate_hold(BlockNode *n, const BlockParentClass *class,
                                                  void *parent, GError **err);
void coroutine_fn block_vmstate_release(struct BlockEdge *user); /* NULL is ignored */
/*
 * Before the snapshot is deleted: who reads it lets go. False, and an error: somebody cannot. As
 * block_node_let_go(). NULL matches every id or name.
 */
bool coroutine_fn block_snapshot_let_go(BlockNode *n, const char *id, const char *name,
                                        GError **err);

#endif
