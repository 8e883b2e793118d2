/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A conversion: what the command (img_convert.c) sets up and img_convert_copy.c carries out. */
#ifndef BLOCK_TOOLS_IMG_CONVERT_H
#define BLOCK_TOOLS_IMG_CONVERT_H

#include "base/coroutine.h"
#include "block/copy_offload.h"
#include "img.h"

/* One of the images that are read, and the range of the target that it fills. */
typedef struct {
    ImgExtents extents;
    uint64_t start, end;
} Source;

/*
 * A conversion. Each worker is a coroutine that takes the next piece of the sources, reads it,
 * waits until all pieces before it are written, and writes it.
 */
typedef struct {
    Source *sources;
    unsigned count, current; /* current: index of the source that 'next' lies in */
    BlockNode *dst;
    bool compress, target_is_zero, has_backing;
    bool any_order; /* -W: a piece is written as soon as it is read */
    bool salvage;   /* --salvage: what cannot be read is zeroes, with a warning */
    bool quiet;
    BlockOffload offload; /* how data is copied without being read; -C: BLOCK_OFFLOAD_COPY */
    uint64_t rate;        /* -r: most bytes a second; 0: no limit */
    int64_t start_ns;
    uint64_t sparse; /* runs of zeroes shorter than this are written; 0: all are */
    uint32_t cluster;
    uint64_t workers;
    CoMutex lock; /* protects the fields below */
    CoQueue turn; /* workers that wait for 'written' to reach their piece */
    /*
     * written: all below it is, or with -c has been given to the format, which compresses several
     * clusters at once and keeps their order; with -W: how many bytes are.
     */
    uint64_t end, next, written;
    bool counted;             /* 'data' is known: with -p alone */
    uint64_t data, data_done; /* bytes to copy, bytes copied */
    unsigned running;
    int ret; /* the first failure */
    GError *err;
} Convert;

/* For -p: counts the bytes of data in the sources. 0, or -errno and c->err. */
int img_convert_count(Convert *c);
/* Copies, and flushes the target. 0, or -errno and perhaps c->err. */
int img_convert_copy(Convert *c);

#endif
