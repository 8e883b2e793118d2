/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots. Random writes, snapshots with and without VM state, applied and deleted,
 * against a model in memory; then each kind of change with the power cut after every write, and
 * with an error at every write and flush.
 *
 *     img-snapshots [SEED [STEPS [INTERRUPTED]]]
 *
 * INTERRUPTED is the number of shapes whose changes are cut and fail.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "world.h"
#include "../../block/drivers/qcow2/qcow2.h"
#include "base/error.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/dirty_bitmap.h"
#include "block/image.h"
#include "block/snapshot.h"

enum { VARIANTS = 3 };

static const Shape shapes[] = {
    {"cluster_size=4k"},
    {"cluster_size=512"},
    {"cluster_size=64k"},
    {"cluster_size=16k,extended_l2=on"},
    {"cluster_size=4k,compat=0.10"},
    {"cluster_size=4k,lazy_refcounts=on"},
    /* From here on without cuts and errors, which would take long. */
    {"cluster_size=1k,refcount_bits=64"},
    {"cluster_size=4k,refcount_bits=8", .backing = true},
    {"cluster_size=2M"},
};
enum { INTERRUPTED = 6 };

/* --- changes --- */

typedef enum { CREATE, CREATE_VM, CREATE_LIVE, APPLY, DELETE, KINDS, DOWNGRADE = KINDS } Kind;
static const char *const kind_names[] = {
    "create", "create with VM state", "create live", "apply", "delete", "downgrade"};

/* A change of snapshots; the same for a model and for an image. */
typedef struct {
    Kind kind;
    char *name;
    GByteArray *vm;
} Change;

static void change_clear(Change *c)
{
    g_free(c->name);
    if (c->vm) {
        g_byte_array_unref(c->vm);
    }
}

static Change change_choose(World *w, Kind kind, unsigned number)
{
    Change c = {.kind = kind};
    const Model *m = w->model;

    if (kind == DOWNGRADE) {
        return c;
    }
    if (kind <= CREATE_LIVE || !m->snaps->len) {
        c.kind = kind <= CREATE_LIVE ? kind : CREATE;
        c.name = g_strdup_printf("s%u", number);
    } else {
        const Snap *s = m->snaps->pdata[g_rand_int_range(w->rand, 0, m->snaps->len)];
        c.name = g_strdup(s->name);
    }
    if (c.kind == CREATE_VM || c.kind == CREATE_LIVE) {
        c.vm = g_byte_array_new();
        g_byte_array_set_size(c.vm, g_rand_int_range(w->rand, 1, 100 * 1024));
        world_fill(w->rand, c.vm->data, c.vm->len);
    }
    return c;
}

static void change_model(Model *m, const Change *c)
{
    unsigned i = 0;

    if (c->kind == DOWNGRADE) {
        return; /* all stays as it is */
    }
    if (c->kind <= CREATE_LIVE) {
        g_ptr_array_add(m->snaps, snap_new(c->name, m->disk, c->vm));
        return;
    }
    while (strcmp(((Snap *)m->snaps->pdata[i])->name, c->name)) {
        i++;
    }
    if (c->kind == APPLY) {
        model_apply(m, m->snaps->pdata[i]);
    } else {
        g_ptr_array_remove_index(m->snaps, i);
    }
}

typedef struct {
    BlockNode *n;
    const Change *c;
    GError *err;
} ChangeCall;

/* The VM state in two pieces, cut anywhere. */
static int coroutine_fn write_vm(BlockNode *n, const GByteArray *vm)
{
    unsigned half = vm->len / 3;
    struct iovec a = {vm->data, half}, b = {vm->data + half, vm->len - half};
    int ret = block_vmstate_pwritev(n, 0, half, &a, 1);

    return ret < 0 ? ret : block_vmstate_pwritev(n, half, vm->len - half, &b, 1);
}

/*
 * As a live save does it: another content first, which a pass has found; what is left comes from
 * the end on, while the guest uses the disk.
 */
static int coroutine_fn write_vm_live(BlockNode *n, const GByteArray *vm)
{
    unsigned half = vm->len / 3;
    g_autofree uint8_t *old = g_malloc(vm->len);
    uint8_t sector[512];
    struct iovec a = {vm->data, half}, b = {vm->data + half, vm->len - half}, all = {old, vm->len};
    int ret = block_vmstate_drop(n);

    memset(old, 0x5a, vm->len);
    ret = ret < 0 ? ret : block_vmstate_pwritev(n, vm->len, 0, NULL, 0);
    ret = ret < 0 ? ret : block_vmstate_pwritev(n, 0, vm->len, &all, 1);
    ret = ret < 0 ? ret : block_flush(n);
    ret = ret < 0 ? ret : block_pread(n, 0, sector, sizeof sector);
    ret = ret < 0 ? ret : block_vmstate_pwritev(n, half, vm->len - half, &b, 1);
    ret = ret < 0 ? ret : block_pwrite(n, 0, sector, sizeof sector, 0);
    return ret < 0 ? ret : block_vmstate_pwritev(n, 0, half, &a, 1);
}

static int coroutine_fn change_fn(void *data)
{
    ChangeCall *call = data;
    const Change *c = call->c;
    BlockSnapshot sn = block_snapshot_now(c->name);
    int ret;

    switch (c->kind) {
    case CREATE_VM:
    case CREATE_LIVE:
        ret = c->kind == CREATE_VM ? write_vm(call->n, c->vm) : write_vm_live(call->n, c->vm);
        if (ret < 0) {
            error_set_errno(&call->err, -ret, "VM state");
            return ret;
        }
        sn.vm_state_size = c->vm->len;
        G_GNUC_FALLTHROUGH;
    case CREATE:
        return block_snapshot_create(call->n, &sn, &call->err) ? 0 : -1;
    case APPLY:
        return block_snapshot_apply(call->n, c->name, &call->err) ? 0 : -1;
    default:
        return block_snapshot_delete(call->n, NULL, c->name, &call->err) ? 0 : -1;
    }
}

static bool downgrade_image(BlockNode *n, GError **err)
{
    json_auto_t *options = json_pack("{s:s}", "compat", "0.10");
    Qcow2State *s = block_node_state(n);

    if (!block_image_amend(n, options, false, err)) {
        return false;
    }
    g_assert(s->version == 2 && !s->bitmaps && !block_dirty_bitmap_next(n, NULL));
    return true;
}

static bool change_image(BlockNode *n, const Change *c, GError **err)
{
    ChangeCall call = {.n = n, .c = c};

    if (c->kind == DOWNGRADE) {
        return downgrade_image(n, err);
    }
    if (block_run(change_fn, &call) < 0) {
        g_propagate_error(err, call.err);
        return false;
    }
    return true;
}

static int coroutine_fn writes_fn(void *data)
{
    World *w = data;

    for (int i = g_rand_int_range(w->rand, 1, 6); i; i--) {
        world_write(w);
    }
    return block_flush(w->n);
}

/* --- against the model --- */

/* The L2 tables that are guarded against writes are those that the file's L1 tables name. */
static int coroutine_fn guards_fn(void *data)
{
    BlockNode *n = data;
    Qcow2State *s = block_node_state(n);
    Qcow2Snapshots read;

    qcow2_snapshots_init(&read);
    g_array_append_vals(read.l1, s->snapshots.l1->data, s->snapshots.l1->len);
    g_assert(qcow2_read_snapshot_l2(n, &read, NULL));
    if (read.l2->len != s->snapshots.l2->len ||
        (read.l2->len &&
         memcmp(read.l2->data, s->snapshots.l2->data, read.l2->len * sizeof(uint64_t)))) {
        world_fail("%u L2 tables of snapshots are guarded, want %u", s->snapshots.l2->len,
                   read.l2->len);
    }
    qcow2_snapshots_clear(&read);
    return 0;
}

static void world_compare(World *w, unsigned step)
{
    g_autofree char *why = world_differs(w->n, w->model, false);
    g_autofree char *when = g_strdup_printf("step %u", step);

    if (why) {
        world_fail("%s: %s", when, why);
    }
    block_run(guards_fn, w->n);
    /* Frees of the last writes may still wait for a flush. */
    world_check(w->n, 0, true, when);
}

static void world_step(World *w, unsigned step)
{
    int what = g_rand_int_range(w->rand, 0, 100);
    Kind kind = g_rand_int_range(w->rand, 0, KINDS);

    if (what < 50) {
        g_assert(block_run(writes_fn, w) == 0);
    } else if (what < 56 && !(w->v2 && w->model->snaps->len)) {
        g_assert(block_run(world_resize, w) == 0);
    } else if (what < 64) {
        world_reopen(w);
        world_check(w->n, 0, false, "after a reopening");
    } else {
        kind = w->model->snaps->len > 5 ? DELETE : kind;
        Change c = change_choose(w, kind, step);
        g_autoptr(GError) err = NULL;

        change_model(w->model, &c);
        if (!change_image(w->n, &c, &err)) {
            world_fail("step %u: %s '%s': %s", step, kind_names[c.kind], c.name, err->message);
        }
        world_check(w->n, 0, false, kind_names[c.kind]);
        change_clear(&c);
    }
    world_compare(w, step);
}

/* --- interrupted --- */

/* An image in the making: some snapshots, and a disk that has changed since. */
static World *world_with_snapshots(const Shape *shape, unsigned seed)
{
    World *w = world_new(shape, seed);
    static const Kind kinds[] = {CREATE, CREATE_VM, CREATE};

    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        Change c = change_choose(w, kinds[i], i);

        for (int k = 0; k < 3; k++) {
            g_assert(block_run(writes_fn, w) == 0);
        }
        change_model(w->model, &c);
        g_assert(change_image(w->n, &c, NULL));
        change_clear(&c);
        if (!w->v2) {
            g_assert(block_run(world_resize, w) == 0);
        }
    }
    g_assert(block_run(writes_fn, w) == 0);
    world_reopen(w);
    return w;
}

/* With bitmaps no snapshot can be applied. */
static int coroutine_fn no_bitmaps_fn(void *n)
{
    return qcow2_bitmaps_remove_all(n);
}

/* The image has the state of one of two models, and all snapshots with their content. */
static void either_model(World *w, const Model *before, const Model *after, bool repair,
                         const char *when)
{
    BlockNode *n = world_open(w, "after");
    g_autofree char *first = NULL, *second = NULL;

    if (repair) {
        world_check(n, BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS, false, when);
        block_node_unref(n);
        n = world_open(w, "after");
    } else {
        world_check(n, 0, true, when);
    }
    g_assert(block_run(no_bitmaps_fn, n) == 0);
    first = world_differs(n, before, false);
    if (!first) {
        first = world_differs(n, before, true);
        if (first) {
            world_fail("%s: %s", when, first);
        }
    } else {
        second = world_differs(n, after, true);
        if (second) {
            world_fail("%s: before: %s; after: %s", when, first, second);
        }
    }
    world_check(n, 0, true, when);
    block_node_unref(n);
}

/* Cuts the power after each write of a change. */
static unsigned cut_change(World *w, const Change *c, const Model *after)
{
    MemEvent first = {.kind = MEM_WRITE}, flush = {.kind = MEM_FLUSH, .bytes = 1};
    unsigned tried = 0;

    block_node_unref(w->n);
    first.bytes = w->file->length;
    first.data = g_memdup2(w->file->data, w->file->length);
    memdisk_clear_log(w->file);
    g_array_append_val(w->file->log, first);
    g_array_append_val(w->file->log, flush);
    w->n = world_open(w, "disk");
    w->file->logging = true;
    g_assert(change_image(w->n, c, NULL));
    block_node_unref(w->n);
    w->file->logging = false;
    for (unsigned cut = 2; cut <= w->file->log->len; cut++) {
        for (int variant = 0; variant < VARIANTS; variant++) {
            GByteArray *image = memdisk_after_cut(w->file->log, cut, w->rand);
            MemDisk *m = memdisk_new("after");
            g_autofree char *when =
                g_strdup_printf("%s, cut at %u of %u", kind_names[c->kind], cut, w->file->log->len);

            memdisk_set(m, image->data, image->len);
            g_byte_array_unref(image);
            /* Version 2 has no dirty bit: a check may complain of flags. */
            either_model(w, cut < w->file->log->len ? w->model : after, after, w->v2, when);
            memdisk_free(m);
            tried++;
        }
    }
    memdisk_set(w->file, first.data, first.bytes);
    w->n = world_open(w, "disk");
    return tried;
}

/* How a write or flush fails. */
typedef struct {
    const char *name;
    bool for_good, written;
    bool no_space; /* the file can take this many KiB, times 4, less 4 */
} Fault;
static const Fault faults[] = {
    {"one error"},
    {"one error, and the write is done", .written = true},
    {"errors from there on", .for_good = true},
    {"errors from there on, and the writes are done", .for_good = true, .written = true},
    {"no space from there on", .no_space = true},
};

/* Lets the n-th write or flush of a change fail. False: nothing has failed. */
static bool fail_change(World *w, const Change *c, const Model *after, const Fault *f, unsigned nth)
{
    MemDisk *m = memdisk_new("after");
    g_autofree char *when =
        g_strdup_printf("%s, %s, at write or flush %u", kind_names[c->kind], f->name, nth);
    BlockNode *n;
    bool ok, failed;

    memdisk_set(m, w->file->data, w->file->length);
    n = world_open(w, "after");
    m->fail_in = f->no_space ? 0 : nth;
    m->max_length = f->no_space ? m->length + (nth - 1) * 4 * KiB : 0;
    m->fail_for_good = f->for_good;
    m->fail_written = f->written;
    ok = change_image(n, c, NULL);
    failed = f->no_space ? !ok : m->failed;
    m->fail_in = m->max_length = 0;
    if (!ok && !f->for_good) {
        /* The image is what it was, and takes the change once the disk does. */
        g_autofree char *why = world_differs(n, w->model, false);
        g_autoptr(GError) err = NULL;

        if (why) {
            world_fail("%s: it failed, and %s", when, why);
        }
        world_check(n, 0, false, when);
        ok = change_image(n, c, &err);
        if (!ok) {
            world_fail("%s: it fails again: %s", when, err->message);
        }
    }
    block_node_unref(n);
    either_model(w, ok ? after : w->model, after, w->v2, when);
    memdisk_free(m);
    return failed;
}

/* Frees the world. */
static void interrupt_change(World *w, Kind kind)
{
    Change c = change_choose(w, kind, 100);
    Model *after = model_copy(w->model);
    unsigned cuts, failures = 0;

    change_model(after, &c);
    for (unsigned f = 0; f < ARRAY_SIZE(faults); f++) {
        for (unsigned nth = 1; fail_change(w, &c, after, &faults[f], nth); nth++) {
            failures++;
        }
    }
    cuts = cut_change(w, &c, after);
    printf("# %s: %u cuts, %u failures\n", kind_names[kind], cuts, failures);
    change_clear(&c);
    model_free(after);
    world_free(w);
}

static void interrupt_changes(const Shape *shape, unsigned seed)
{
    for (Kind kind = 0; kind < KINDS; kind++) {
        interrupt_change(world_with_snapshots(shape, seed + kind), kind);
    }
}

/* --- down to version 2 --- */

/* Zero flags at the disk's start and where the dice fall, with and without clusters of their own.
 */
static int coroutine_fn zeroes_fn(void *data)
{
    World *w = data;

    for (int i = 0; i < 3; i++) {
        uint64_t at = i * g_rand_int_range(w->rand, 0, 40) * 4 * KiB, len = 12 * KiB;

        memset(w->model->disk->data + at, 0, len);
        g_assert(block_pwrite_zeroes(w->n, at, len, i == 1 ? BLOCK_REQ_MAY_UNMAP : 0) == 0);
    }
    return 0;
}

/* Snapshots of one length share tables with zero flags, and a bitmap is to go. */
static World *world_with_zeroes(const Shape *shape, unsigned seed)
{
    World *w = world_new(shape, seed);
    static const Kind kinds[] = {CREATE, CREATE_VM, CREATE};
    BlockDirtyBitmap *b;

    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        Change c = change_choose(w, kinds[i], i);

        if (i < 2) { /* the last snapshot has the tables of the one before */
            g_assert(block_run(writes_fn, w) == 0);
            g_assert(block_run(zeroes_fn, w) == 0);
        }
        change_model(w->model, &c);
        g_assert(change_image(w->n, &c, NULL));
        change_clear(&c);
    }
    g_assert(block_run(writes_fn, w) == 0);
    b = block_dirty_bitmap_add_stored(w->n, "b", 64 * KiB, NULL);
    g_assert(b);
    block_dirty_bitmap_set_persistent(b, true);
    world_reopen(w);
    return w;
}

static void downgrade(unsigned seed)
{
    static const Shape from[] = {
        {"cluster_size=4k"},
        {"cluster_size=4k", .backing = true},
        {"cluster_size=512,lazy_refcounts=on", .backing = true},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
        interrupt_change(world_with_zeroes(&from[i], seed + i), DOWNGRADE);
    }
}

/* --- VM state over that of a snapshot --- */

static int coroutine_fn rewrite_vm_fn(void *data)
{
    World *w = data;
    Snap *s = w->model->snaps->pdata[0];
    g_autoptr(GByteArray) want = bytes_copy(s->vm);
    uint8_t some[700];
    struct iovec iov = {some, sizeof some};

    g_assert(block_snapshot_apply(w->n, s->name, NULL));
    world_fill(w->rand, some, sizeof some);
    memcpy(want->data + 5000, some, sizeof some);
    g_assert(block_vmstate_pwritev(w->n, 5000, sizeof some, &iov, 1) == 0);
    if (vm_differs(w->n, want)) {
        world_fail("a part of the VM state was written, and the rest has changed");
    }
    g_assert(block_snapshot_apply(w->n, s->name, NULL));
    if (vm_differs(w->n, s->vm)) {
        world_fail("a write to the VM state has changed that of a snapshot");
    }
    return 0;
}

static void rewrite_vm(const Shape *shape)
{
    World *w = world_new(shape, 1);
    Change c = {.kind = CREATE_VM, .name = g_strdup("s"), .vm = g_byte_array_new()};

    g_byte_array_set_size(c.vm, 50000);
    world_fill(w->rand, c.vm->data, c.vm->len);
    change_model(w->model, &c);
    g_assert(change_image(w->n, &c, NULL));
    block_run(rewrite_vm_fn, w);
    world_check(w->n, 0, true, "VM state");
    change_clear(&c);
    world_free(w);
}

/* --- what is refused --- */

/* Not compressed: each cluster has one reference. */
static int coroutine_fn write_plain_fn(void *data)
{
    World *w = data;

    world_fill(w->rand, w->model->disk->data, w->model->disk->len / 2);
    return block_pwrite(w->n, 0, w->model->disk->data, w->model->disk->len / 2, 0);
}

static void narrow_refcounts(unsigned bits)
{
    g_autofree char *options = g_strdup_printf("cluster_size=4k,refcount_bits=%u", bits);
    Shape shape = {options};
    World *w = world_new(&shape, bits);
    unsigned max = (1u << bits) - 1, number = 0;
    bool ok = true;

    g_assert(block_run(write_plain_fn, w) == 0);
    while (ok) {
        Change c = change_choose(w, CREATE, number++);
        g_autoptr(GError) err = NULL;
        g_autofree uint8_t *before = NULL;
        size_t length;

        world_reopen(w);
        length = w->file->length;
        before = g_memdup2(w->file->data, length);
        ok = change_image(w->n, &c, &err);
        if (ok) {
            change_model(w->model, &c);
        } else if (!strstr(err->message, "refcount_bits") || length != w->file->length ||
                   memcmp(before, w->file->data, length)) {
            world_fail("%u bits: refused, but the file has changed: %s", bits, err->message);
        }
        world_check(w->n, 0, false, options);
        world_compare(w, number);
        change_clear(&c);
    }
    if (w->model->snaps->len != max - 1) {
        world_fail("%u bits: %u snapshots", bits, w->model->snaps->len);
    }
    world_free(w);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    unsigned steps = argc > 2 ? atoi(argv[2]) : 120, test = 0;
    unsigned interrupted = argc > 3 ? MIN(atoi(argv[3]), INTERRUPTED) : INTERRUPTED;
    EventLoop *loop = imgtest_init();

    /* What a check says about leaks and repairs is not of interest here. */
    imgtest_quiet();
    printf("1..%zu\n", ARRAY_SIZE(shapes) + interrupted + 2);
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        World *w = world_new(&shapes[i], seed + i);

        for (unsigned step = 0; step < steps; step++) {
            world_step(w, step);
        }
        world_free(w);
        rewrite_vm(&shapes[i]);
        printf("ok %u - %s\n", ++test, shapes[i].options);
        fflush(stdout);
        if (i < interrupted) {
            interrupt_changes(&shapes[i], seed + i);
            printf("ok %u - %s, interrupted\n", ++test, shapes[i].options);
        }
        fflush(stdout);
    }
    narrow_refcounts(1);
    narrow_refcounts(2);
    narrow_refcounts(4);
    printf("ok %u - narrow refcounts\n", ++test);
    downgrade(seed);
    printf("ok %u - down to version 2, interrupted\n", ++test);
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}
