/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A change of an image's snapshots, in steps (snapshot_change.c): begin; count what the new tables
 * mean for refcounts, and check that; write new tables, raise refcounts; switch; lower refcounts;
 * end. What fails before the switch is undone.
 */
#ifndef QCOW2_SNAPSHOT_CHANGE_H
#define QCOW2_SNAPSHOT_CHANGE_H

#include "qcow2.h"

/* One change, from its preparation to its end. */
typedef struct {
    BlockNode *n;
    Qcow2State *s;
    Qcow2Recount recount;
    uint64_t l1_host, l1_clusters; /* a new L1 table; 0 clusters: none */
    uint64_t *l1;                  /* in host byte order; for the snapshot, or of it */
    uint32_t l1_size;
    Qcow2Snapshots next; /* the new snapshot table; list NULL: none */
    uint64_t *hidden;    /* the VM state's L1 entries, taken from the disk */
    GArray *made;        /* of uint64_t: offsets of other new clusters; NULL: none */
} Qcow2SnapshotChange;

/* Checks what all changes need, writes all back, and takes the lock. */
bool coroutine_fn qcow2_change_begin(Qcow2SnapshotChange *c, BlockNode *n, GError **err);
/* Gives up the lock. What is unwritten after a success costs no data, and is tried again later. */
void coroutine_fn qcow2_change_end(Qcow2SnapshotChange *c);
/* After a failure before the switch. table_clusters 0: there is no new snapshot table. */
void coroutine_fn qcow2_change_undo(Qcow2SnapshotChange *c, uint64_t table_host,
                                    uint64_t table_clusters);
/* After the switch, ret < 0: refcounts or flags could not be set right. Who opens the image next
 * repairs them. */
void qcow2_change_unfinished(Qcow2SnapshotChange *c, int ret);
/* c->l1 and c->l1_size: the L1 table of a snapshot. */
bool coroutine_fn qcow2_change_read_l1(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn,
                                       GError **err);
/* Puts them into new clusters, c->l1_host. */
int coroutine_fn qcow2_change_write_l1(Qcow2SnapshotChange *c);
/* qcow2_recount_tree(). snapshot NULL: the disk's. */
bool coroutine_fn qcow2_change_count(Qcow2SnapshotChange *c, const uint64_t *l1, uint64_t entries,
                                     int by, const char *snapshot, GError **err);
/* Counts the end of the snapshot table that there is. */
bool qcow2_change_free_table(Qcow2SnapshotChange *c, GError **err);
/* The snapshot table as it is in the file. NULL: it cannot be read. */
GByteArray *coroutine_fn qcow2_change_read_table(Qcow2SnapshotChange *c, GError **err);
/* Fills c->next, but for l2, from the new table's entries. */
void qcow2_change_parse_table(Qcow2SnapshotChange *c, const GByteArray *table, uint32_t count);
/* Puts c->next in the place of the old table. False: the old one is in effect, all is undone. */
bool coroutine_fn qcow2_change_switch_table(Qcow2SnapshotChange *c, const GByteArray *table,
                                            GError **err);
/* Takes c->next over, after the switch. */
void qcow2_change_take_table(Qcow2SnapshotChange *c);

#endif
