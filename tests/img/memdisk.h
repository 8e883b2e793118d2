/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A protocol for tests: a file in memory, with a name, that outlives its nodes. It can fail, finish
 * requests in any order, and log writes and flushes, for tests that cut the power. One thread only.
 */
#ifndef TESTS_IMG_MEMDISK_H
#define TESTS_IMG_MEMDISK_H

#include "block/node.h"

typedef struct {
    enum { MEM_WRITE, MEM_FLUSH, MEM_TRUNCATE } kind;
    unsigned serial; /* the order of events of all disks */
    uint64_t offset;
    uint64_t bytes; /* MEM_FLUSH: the first so many events of the log are stable */
    uint8_t *data;  /* MEM_WRITE; NULL: zeroes */
} MemEvent;

typedef struct {
    uint8_t *data;
    size_t length, capacity;
    size_t max_length; /* a write past it fails with ENOSPC; 0: no limit */
    bool logging;
    GArray *log;            /* of MemEvent */
    unsigned yield_percent; /* of requests that wait for a later turn of the loop */
    unsigned flush_turns;   /* up to so many turns of the loop that a flush takes besides */
    unsigned fail_percent;  /* of writes and flushes that fail with EIO */
    unsigned fail_in;       /* n: the n-th write or flush from now on fails with EIO; 0: none */
    bool fail_for_good;     /* then all that follow fail, too */
    bool fail_written;      /* a write that fails so is done all the same */
    unsigned failed;        /* how many have failed so */
    GRand *rand;
    uint64_t reads, writes, flushes;
} MemDisk;

extern const BlockDriver memdisk_driver;

MemDisk *memdisk_new(const char *name);
MemDisk *memdisk_find(const char *name);
void memdisk_free(MemDisk *m);
void memdisk_free_all(void);
void memdisk_set(MemDisk *m, const void *data, size_t length);
void memdisk_clear_log(MemDisk *m);
/*
 * The file after a cut of power behind the first 'cut' events of the log: all writes before the
 * last flush, and of the later ones any part, torn at sectors.
 */
GByteArray *memdisk_after_cut(const GArray *log, unsigned cut, GRand *rand);
/* The events before 'cut' that a flush has made stable. */
unsigned memdisk_stable(const GArray *log, unsigned cut);
/* The same, but of the later ones exactly those sectors for which keep() says so. */
GByteArray *memdisk_after_choice(const GArray *log, unsigned cut,
                                 bool (*keep)(unsigned event, uint64_t sector, void *data),
                                 void *data);
/* Makes a loop for this thread, and adds memdisk to the drivers. */
EventLoop *imgtest_init(void);
/* From here on messages go nowhere, unless VERBOSE is set. A sanitizer's report stays. */
void imgtest_quiet(void);
/* {"driver": FORMAT, "file": {"driver": "memdisk", "name": NAME}, ...extra}; extra may be NULL. */
BlockNode *imgtest_open(const char *format, const char *name, const char *extra_json, GError **err);
/* 'how' as for block_image_open(). */
BlockNode *imgtest_open_as(const char *format, const char *name, const char *extra_json,
                           unsigned how, GError **err);
/* A new qcow2 image in a new memory disk; options as "size=1M,cluster_size=4k". */
MemDisk *imgtest_create(const char *name, const char *format, const char *options);

#endif
