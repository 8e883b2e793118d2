/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's state as a stream in the VM state of an image. Memory is moved in pieces of which
 * several are under way, straight between the guest's pages and the image.
 *
 * Main loop, in a coroutine.
 */
#ifndef VM_SNAPSHOT_STREAM_H
#define VM_SNAPSHOT_STREAM_H

#include "block/job.h"
#include "vm/vm.h"

typedef struct SnapshotPiece SnapshotPiece;

/* Begins by snapshot_stream_init(); what is borrowed stays until snapshot_stream_clear(). */
typedef struct {
    VmStream stream;  /* first; its commit() is the owner's */
    BlockNode *node;  /* borrowed: whose VM state it is */
    const char *id;   /* borrowed: the snapshot that is read from; NULL: the stream is written */
    const char *disk; /* borrowed: what messages call the node */
    uint64_t size;    /* of what is read; of what is written a guess, for the job's progress */
    Job *job;         /* is told the progress; NULL: none */
    bool committed;   /* the owner's: it is too late for the job to be cancelled */
    /* Private. */
    uint64_t pos;                  /* of the next byte that is moved in a piece */
    uint8_t *buf;                  /* reading: bytes before 'pos' that nobody has asked for yet */
    size_t used, filled;           /* of buf */
    SnapshotPiece *piece;          /* that is not full yet; or NULL */
    GPtrArray *idle;               /* SnapshotPiece */
    unsigned in_flight, long_ones; /* of these */
    CoQueue ended;
    int error; /* -errno of the first piece that failed */
} SnapshotStream;

/* The caller sets what is borrowed before the first byte is moved. */
void snapshot_stream_init(SnapshotStream *s);
/* Nothing is under way: after the stream's settle(), or before it was used. */
void snapshot_stream_clear(SnapshotStream *s);

#endif
