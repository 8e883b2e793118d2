/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image on a memory disk, and a model of what is in it: the disk's content, and that of
 * each internal snapshot. For tests that change both, and compare them.
 */
#ifndef TESTS_IMG_WORLD_H
#define TESTS_IMG_WORLD_H

#include "memdisk.h"

enum { SECTOR = 512, WORLD_DISK = 384 * 1024 };

typedef struct {
    const char *options; /* of a new image, but the size */
    unsigned size;       /* 0: WORLD_DISK */
    bool backing;
    const char *format; /* NULL: qcow2; no other has snapshots, or changes its length */
} Shape;

typedef struct {
    char *name;
    GByteArray *disk;
    GByteArray *vm; /* NULL: no VM state */
} Snap;

/* What an image should have in it. */
typedef struct {
    GByteArray *disk;
    GPtrArray *snaps; /* of Snap */
} Model;

typedef struct {
    const Shape *shape;
    BlockNode *n;
    MemDisk *file;
    Model *model;
    GRand *rand;
    bool v2;
    bool may_fail; /* requests may: the model takes what is there then, old or new */
} World;

/* Ends the test. */
void world_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
void world_fill(GRand *rand, uint8_t *buf, size_t len);

GByteArray *bytes_copy(const GByteArray *a);
Snap *snap_new(const char *name, const GByteArray *disk, const GByteArray *vm);
Model *model_new(void);
Model *model_copy(const Model *from);
void model_free(Model *m);
/* The disk gets the content that it had. */
void model_apply(Model *m, const Snap *s);

/* An image and its model, both empty, or (backing) with what a backing file has. */
World *world_new(const Shape *shape, unsigned seed);
void world_free(World *w);
const char *world_format(const World *w);
/* Opens an image of the world's shape in a memory disk of this name. */
BlockNode *world_open(const World *w, const char *file);
void world_reopen(World *w);
/* One write of any kind, at a random place, to image and model. 0 or -errno. */
int coroutine_fn world_write(World *w);
int coroutine_fn world_write_at(World *w, uint64_t at, uint64_t len);
/* For block_run(): gives the World's disk another length. */
int coroutine_fn world_resize(void *data);

/* A check; with 'fix' repaired and checked again. 'when' is for the message. */
void world_check(BlockNode *n, unsigned fix, bool leaks_allowed, const char *when);
/* What differs; NULL: nothing. 'deep': each snapshot is applied, and compared as well. */
char *world_differs(BlockNode *n, const Model *want, bool deep);
char *coroutine_fn vm_differs(BlockNode *n, const GByteArray *want);

#endif
