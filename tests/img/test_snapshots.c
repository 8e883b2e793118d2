/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Internal snapshots. Random writes, snapshots with and without VM state, applied and deleted,
 * against a model in memory; then each kind of change with the power cut after every write, and
 * with an error at every write and flush.
 *
 *     img-snapshots [SEED [STEPS]]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "../../block/drivers/qcow2/qcow2.h"
#include "base/error.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"
#include "block/snapshot.h"

enum { SECTOR = 512, DISK = 384 * 1024, VARIANTS = 3 };

typedef struct {
    const char *options;
    bool backing;
    bool steps_alone; /* no cuts and errors: they would take long */
} Shape;

static const Shape shapes[] = {
    {"cluster_size=4k"},
    {"cluster_size=512"},
    {"cluster_size=64k"},
    {"cluster_size=16k,extended_l2=on"},
    {"cluster_size=4k,compat=0.10"},
    {"cluster_size=4k,lazy_refcounts=on"},
    {"cluster_size=1k,refcount_bits=64", .steps_alone = true},
    {"cluster_size=4k,refcount_bits=8", .backing = true, .steps_alone = true},
    {"cluster_size=2M", .steps_alone = true},
};

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
} World;

static void snapshots_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void snapshots_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    abort();
}

static GByteArray *bytes_copy(const GByteArray *a)
{
    GByteArray *copy = g_byte_array_sized_new(a->len);

    return g_byte_array_append(copy, a->data, a->len);
}

static void snap_free(void *data)
{
    Snap *s = data;

    g_free(s->name);
    g_byte_array_unref(s->disk);
    if (s->vm) {
        g_byte_array_unref(s->vm);
    }
    g_free(s);
}

static Snap *snap_new(const char *name, const GByteArray *disk, const GByteArray *vm)
{
    Snap *s = g_new0(Snap, 1);

    s->name = g_strdup(name);
    s->disk = bytes_copy(disk);
    s->vm = vm ? bytes_copy(vm) : NULL;
    return s;
}

static Model *model_new(void)
{
    Model *m = g_new0(Model, 1);

    m->disk = g_byte_array_new();
    m->snaps = g_ptr_array_new_with_free_func(snap_free);
    return m;
}

static Model *model_copy(const Model *from)
{
    Model *m = model_new();

    g_byte_array_append(m->disk, from->disk->data, from->disk->len);
    for (unsigned i = 0; i < from->snaps->len; i++) {
        const Snap *s = from->snaps->pdata[i];

        g_ptr_array_add(m->snaps, snap_new(s->name, s->disk, s->vm));
    }
    return m;
}

static void model_free(Model *m)
{
    g_byte_array_unref(m->disk);
    g_ptr_array_unref(m->snaps);
    g_free(m);
}

static void model_apply(Model *m, const Snap *s)
{
    g_byte_array_unref(m->disk);
    m->disk = bytes_copy(s->disk);
}

/* --- comparing an image with a model --- */

/* NULL: the disk has this content. */
static char *coroutine_fn disk_differs(BlockNode *n, const GByteArray *want)
{
    g_autofree uint8_t *buf = NULL;

    if (block_length(n) != want->len) {
        return g_strdup_printf("%" PRId64 " bytes, want %u", block_length(n), want->len);
    }
    buf = g_malloc(want->len);
    if (block_pread(n, 0, buf, want->len) < 0) {
        return g_strdup("the disk cannot be read");
    }
    for (unsigned at = 0; at < want->len; at += SECTOR) {
        if (memcmp(buf + at, want->data + at, SECTOR)) {
            return g_strdup_printf("sector %u has %02x, want %02x", at / SECTOR, buf[at],
                                   want->data[at]);
        }
    }
    return NULL;
}

static char *coroutine_fn vm_differs(BlockNode *n, const GByteArray *want)
{
    g_autofree uint8_t *buf = g_malloc(want->len);
    struct iovec iov = {buf, want->len};

    return block_vmstate_preadv(n, 0, want->len, &iov, 1) < 0 || memcmp(buf, want->data, want->len)
               ? g_strdup("the VM state differs")
               : NULL;
}

static char *list_differs(BlockNode *n, const GPtrArray *want)
{
    BlockDriverInfo info = {0};

    g_assert(n->driver->info(n, &info));
    json_decref(info.format_specific);
    if (json_array_size(info.snapshot_list) != want->len) {
        return g_strdup_printf("%zu snapshots, want %u", json_array_size(info.snapshot_list),
                               want->len);
    }
    for (unsigned i = 0; i < want->len; i++) {
        const Snap *s = want->pdata[i];
        json_t *have = json_array_get(info.snapshot_list, i);
        json_int_t vm = json_integer_value(json_object_get(have, "vm-state-size"));

        if (strcmp(json_string_value(json_object_get(have, "name")), s->name) ||
            vm != (s->vm ? s->vm->len : 0)) {
            return g_strdup_printf("snapshot %u is not '%s'", i, s->name);
        }
    }
    return NULL;
}

typedef struct {
    BlockNode *n;
    const Model *want;
    bool deep; /* by applying each snapshot, too */
    char *why; /* NULL: all is as wanted */
} Compare;

static int coroutine_fn compare_fn(void *data)
{
    Compare *c = data;

    c->why = disk_differs(c->n, c->want->disk);
    c->why = c->why ? c->why : list_differs(c->n, c->want->snaps);
    for (unsigned i = 0; i < c->want->snaps->len && c->deep && !c->why; i++) {
        const Snap *s = c->want->snaps->pdata[i];
        g_autoptr(GError) err = NULL;

        if (!block_snapshot_apply(c->n, s->name, &err)) {
            c->why = g_strdup_printf("apply '%s': %s", s->name, err->message);
            return 0;
        }
        c->why = disk_differs(c->n, s->disk);
        if (!c->why && s->vm) {
            c->why = vm_differs(c->n, s->vm);
        }
    }
    return 0;
}

static char *differs(BlockNode *n, const Model *want, bool deep)
{
    Compare c = {.n = n, .want = want, .deep = deep};

    block_run(compare_fn, &c);
    return c.why;
}

typedef struct {
    BlockNode *n;
    unsigned fix;
    BlockCheckResult res;
} CheckCall;

static int coroutine_fn check_fn(void *data)
{
    CheckCall *c = data;

    return c->n->driver->check(c->n, &c->res, c->fix);
}

static void snapshots_check(BlockNode *n, unsigned fix, bool leaks_allowed, const char *when)
{
    CheckCall c = {.n = n, .fix = fix};
    int ret = block_run(check_fn, &c);

    if (ret == 0 && (c.res.corruptions_fixed || c.res.leaks_fixed)) {
        c = (CheckCall){.n = n};
        ret = block_run(check_fn, &c);
    }
    if (ret < 0 || c.res.corruptions || c.res.check_errors || (c.res.leaks && !leaks_allowed)) {
        snapshots_fail("%s: check: ret %d, %" PRIu64 " corruptions, %" PRIu64 " leaks", when, ret,
                       c.res.corruptions, c.res.leaks);
    }
}

/* --- changes --- */

static BlockNode *open_file(const World *w, const char *file)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n =
        imgtest_open("qcow2", file,
                     w->shape->backing ? "{\"discard\":\"unmap\",\"backing\":{\"driver\":\"qcow2\","
                                         "\"file\":{\"driver\":\"memdisk\",\"name\":\"back\"}}}"
                                       : "{\"discard\":\"unmap\",\"backing\":null}",
                     &err);

    if (!n) {
        snapshots_fail("%s", err->message);
    }
    return n;
}

static void fill(GRand *rand, uint8_t *buf, size_t len)
{
    memset(buf, g_rand_int_range(rand, 1, 256), len);
    for (size_t i = 0; i < len; i += SECTOR) {
        buf[i] = g_rand_int(rand);
    }
}

static void coroutine_fn read_back(World *w, uint64_t at, uint64_t len)
{
    g_assert(block_pread(w->n, at, w->model->disk->data + at, len) == 0);
}

/* One write, of any kind. A discard leaves old data or zeroes: the model takes what is there. */
static void coroutine_fn write_something(World *w)
{
    uint8_t *disk = w->model->disk->data;
    uint64_t sectors = w->model->disk->len / SECTOR, cluster = 0;
    uint64_t first = g_rand_int_range(w->rand, 0, sectors);
    uint64_t most = MIN(60, sectors - first), count = g_rand_int_range(w->rand, 1, most + 1);
    uint64_t at = first * SECTOR, len = count * SECTOR;
    int kind = g_rand_int_range(w->rand, 0, 10), ret;
    BlockDriverInfo info = {0};

    w->n->driver->info(w->n, &info);
    json_decref(info.format_specific);
    cluster = info.cluster_size;
    if (kind < 6) {
        fill(w->rand, disk + at, len);
        ret = block_pwrite(w->n, at, disk + at, len, 0);
    } else if (kind < 7) {
        memset(disk + at, 0, len);
        ret = block_pwrite_zeroes(w->n, at, len, kind & 1 ? BLOCK_REQ_MAY_UNMAP : 0);
    } else if (kind < 8) {
        ret = block_pdiscard(w->n, at, len);
        read_back(w, at, len);
    } else {
        at = ROUND_DOWN(at, cluster);
        len = MIN(cluster, sectors * SECTOR - at);
        memset(disk + at, g_rand_int(w->rand), len);
        ret = w->n->driver->pwrite_compressed(w->n, at, disk + at, len);
    }
    if (ret < 0) {
        snapshots_fail("write of kind %d: %s", kind, g_strerror(-ret));
    }
}

typedef enum { CREATE, CREATE_VM, APPLY, DELETE, KINDS } Kind;
static const char *const kind_names[] = {"create", "create with VM state", "apply", "delete"};

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

    if (kind == CREATE || kind == CREATE_VM || !m->snaps->len) {
        c.kind = kind == CREATE_VM ? CREATE_VM : CREATE;
        c.name = g_strdup_printf("s%u", number);
    } else {
        const Snap *s = m->snaps->pdata[g_rand_int_range(w->rand, 0, m->snaps->len)];
        c.name = g_strdup(s->name);
    }
    if (c.kind == CREATE_VM) {
        c.vm = g_byte_array_new();
        g_byte_array_set_size(c.vm, g_rand_int_range(w->rand, 1, 100 * 1024));
        fill(w->rand, c.vm->data, c.vm->len);
    }
    return c;
}

static void change_model(Model *m, const Change *c)
{
    unsigned i = 0;

    if (c->kind == CREATE || c->kind == CREATE_VM) {
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

static int coroutine_fn change_fn(void *data)
{
    ChangeCall *call = data;
    const Change *c = call->c;
    BlockSnapshot sn = block_snapshot_now(c->name);
    int ret;

    switch (c->kind) {
    case CREATE_VM:
        ret = write_vm(call->n, c->vm);
        if (ret < 0) {
            error_set_errno(&call->err, -ret, "VM state");
            return ret;
        }
        sn.vm_state_size = c->vm->len;
        /* fall through */
    case CREATE:
        return block_snapshot_create(call->n, &sn, &call->err) ? 0 : -1;
    case APPLY:
        return block_snapshot_apply(call->n, c->name, &call->err) ? 0 : -1;
    default:
        return block_snapshot_delete(call->n, NULL, c->name, &call->err) ? 0 : -1;
    }
}

static bool change_image(BlockNode *n, const Change *c, GError **err)
{
    ChangeCall call = {.n = n, .c = c};

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
        write_something(w);
    }
    return block_flush(w->n);
}

static int coroutine_fn resize_fn(void *data)
{
    World *w = data;
    unsigned old = w->model->disk->len;
    unsigned size = g_rand_int_range(w->rand, DISK / 2 / SECTOR, DISK / SECTOR) * SECTOR;
    g_autoptr(GError) err = NULL;

    if (block_truncate(w->n, size, &err) < 0) {
        snapshots_fail("resize: %s", err->message);
    }
    g_byte_array_set_size(w->model->disk, size);
    if (size > old) {
        memset(w->model->disk->data + old, 0, size - old);
    }
    return 0;
}

/* --- against the model --- */

static int coroutine_fn fill_backing_fn(void *data)
{
    World *w = data;

    g_byte_array_set_size(w->model->disk, DISK);
    fill(w->rand, w->model->disk->data, DISK);
    return block_pwrite(w->n, 0, w->model->disk->data, DISK, 0);
}

static World *world_new(const Shape *shape, unsigned seed)
{
    World *w = g_new0(World, 1);
    g_autofree char *create = g_strdup_printf("size=%d,%s", DISK, shape->options);

    w->shape = shape;
    w->rand = g_rand_new_with_seed(seed);
    w->model = model_new();
    w->v2 = strstr(shape->options, "0.10");
    if (shape->backing) {
        imgtest_create("back", "qcow2", "size=384k");
        w->n = imgtest_open("qcow2", "back", "{\"backing\":null}", NULL);
        g_assert(block_run(fill_backing_fn, w) == 0);
        block_node_unref(w->n);
    } else {
        g_byte_array_set_size(w->model->disk, DISK);
        memset(w->model->disk->data, 0, DISK);
    }
    w->file = imgtest_create("disk", "qcow2", create);
    w->n = open_file(w, "disk");
    return w;
}

static void world_free(World *w)
{
    block_node_unref(w->n);
    memdisk_free(w->file);
    memdisk_free(memdisk_find("back"));
    model_free(w->model);
    g_rand_free(w->rand);
    g_free(w);
}

static void world_reopen(World *w)
{
    block_node_unref(w->n);
    w->n = open_file(w, "disk");
}

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
        memcmp(read.l2->data, s->snapshots.l2->data, read.l2->len * sizeof(uint64_t))) {
        snapshots_fail("%u L2 tables of snapshots are guarded, want %u", s->snapshots.l2->len,
                       read.l2->len);
    }
    qcow2_snapshots_clear(&read);
    return 0;
}

static void world_compare(World *w, unsigned step)
{
    g_autofree char *why = differs(w->n, w->model, false);
    g_autofree char *when = g_strdup_printf("step %u", step);

    if (why) {
        snapshots_fail("%s: %s", when, why);
    }
    block_run(guards_fn, w->n);
    /* Frees of the last writes may still wait for a flush. */
    snapshots_check(w->n, 0, true, when);
}

static void world_step(World *w, unsigned step)
{
    int what = g_rand_int_range(w->rand, 0, 100);
    Kind kind = g_rand_int_range(w->rand, 0, KINDS);

    if (what < 50) {
        g_assert(block_run(writes_fn, w) == 0);
    } else if (what < 56 && !(w->v2 && w->model->snaps->len)) {
        g_assert(block_run(resize_fn, w) == 0);
    } else if (what < 64) {
        world_reopen(w);
        snapshots_check(w->n, 0, false, "after a reopening");
    } else {
        kind = w->model->snaps->len > 5 ? DELETE : kind;
        Change c = change_choose(w, kind, step);
        g_autoptr(GError) err = NULL;

        change_model(w->model, &c);
        if (!change_image(w->n, &c, &err)) {
            snapshots_fail("step %u: %s '%s': %s", step, kind_names[c.kind], c.name, err->message);
        }
        snapshots_check(w->n, 0, false, kind_names[c.kind]);
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
            g_assert(block_run(resize_fn, w) == 0);
        }
    }
    g_assert(block_run(writes_fn, w) == 0);
    world_reopen(w);
    return w;
}

/* The image has the state of one of two models, and all snapshots with their content. */
static void either_model(World *w, const Model *before, const Model *after, bool repair,
                         const char *when)
{
    BlockNode *n = open_file(w, "after");
    g_autofree char *first = NULL, *second = NULL;

    if (repair) {
        snapshots_check(n, BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS, false, when);
        block_node_unref(n);
        n = open_file(w, "after");
    } else {
        snapshots_check(n, 0, true, when);
    }
    first = differs(n, before, false);
    if (!first) {
        first = differs(n, before, true);
        if (first) {
            snapshots_fail("%s: %s", when, first);
        }
    } else {
        second = differs(n, after, true);
        if (second) {
            snapshots_fail("%s: before: %s; after: %s", when, first, second);
        }
    }
    snapshots_check(n, 0, true, when);
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
    w->n = open_file(w, "disk");
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
    w->n = open_file(w, "disk");
    return tried;
}

/* How a write or flush fails. */
typedef struct {
    const char *name;
    bool for_good, written, no_space;
} Fault;
static const Fault faults[] = {
    {"one error"},
    {"one error, and the write is done", .written = true},
    {"errors from there on", .for_good = true},
    {"errors from there on, and the writes are done", .for_good = true, .written = true},
};

/* Lets the n-th write or flush of a change fail. False: the change has fewer. */
static bool fail_change(World *w, const Change *c, const Model *after, const Fault *f, unsigned nth)
{
    MemDisk *m = memdisk_new("after");
    g_autofree char *when =
        g_strdup_printf("%s, %s, at write or flush %u", kind_names[c->kind], f->name, nth);
    BlockNode *n;
    bool ok, failed;

    memdisk_set(m, w->file->data, w->file->length);
    n = open_file(w, "after");
    m->fail_in = nth;
    m->fail_for_good = f->for_good;
    m->fail_written = f->written;
    ok = change_image(n, c, NULL);
    failed = m->failed;
    m->fail_in = 0;
    if (!ok && !f->for_good) {
        /* The image is what it was, and takes the change once the disk does. */
        g_autofree char *why = differs(n, w->model, false);
        g_autoptr(GError) err = NULL;

        if (why) {
            snapshots_fail("%s: it failed, and %s", when, why);
        }
        snapshots_check(n, 0, false, when);
        ok = change_image(n, c, &err);
        if (!ok) {
            snapshots_fail("%s: it fails again: %s", when, err->message);
        }
    }
    block_node_unref(n);
    either_model(w, ok ? after : w->model, after, w->v2, when);
    memdisk_free(m);
    return failed;
}

static void interrupt_changes(const Shape *shape, unsigned seed)
{
    unsigned cuts = 0, failures = 0;

    for (Kind kind = 0; kind < KINDS; kind++) {
        World *w = world_with_snapshots(shape, seed + kind);
        Change c = change_choose(w, kind, 100);
        Model *after = model_copy(w->model);

        change_model(after, &c);
        for (unsigned f = 0; f < ARRAY_SIZE(faults); f++) {
            for (unsigned nth = 1; fail_change(w, &c, after, &faults[f], nth); nth++) {
                failures++;
            }
        }
        cuts += cut_change(w, &c, after);
        change_clear(&c);
        model_free(after);
        world_free(w);
    }
    printf("# %u cuts, %u failures\n", cuts, failures);
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
    fill(w->rand, some, sizeof some);
    memcpy(want->data + 5000, some, sizeof some);
    g_assert(block_vmstate_pwritev(w->n, 5000, sizeof some, &iov, 1) == 0);
    if (vm_differs(w->n, want)) {
        snapshots_fail("a part of the VM state was written, and the rest has changed");
    }
    g_assert(block_snapshot_apply(w->n, s->name, NULL));
    if (vm_differs(w->n, s->vm)) {
        snapshots_fail("a write to the VM state has changed that of a snapshot");
    }
    return 0;
}

static void rewrite_vm(const Shape *shape)
{
    World *w = world_new(shape, 1);
    Change c = {.kind = CREATE_VM, .name = g_strdup("s"), .vm = g_byte_array_new()};

    g_byte_array_set_size(c.vm, 50000);
    fill(w->rand, c.vm->data, c.vm->len);
    change_model(w->model, &c);
    g_assert(change_image(w->n, &c, NULL));
    block_run(rewrite_vm_fn, w);
    snapshots_check(w->n, 0, true, "VM state");
    change_clear(&c);
    world_free(w);
}

/* --- what is refused --- */

/* Not compressed: each cluster has one reference. */
static int coroutine_fn write_plain_fn(void *data)
{
    World *w = data;

    fill(w->rand, w->model->disk->data, w->model->disk->len / 2);
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
            snapshots_fail("%u bits: refused, but the file has changed: %s", bits, err->message);
        }
        snapshots_check(w->n, 0, false, options);
        world_compare(w, number);
        change_clear(&c);
    }
    if (w->model->snaps->len != max - 1) {
        snapshots_fail("%u bits: %u snapshots", bits, w->model->snaps->len);
    }
    world_free(w);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    unsigned steps = argc > 2 ? atoi(argv[2]) : 120, test = 0;
    EventLoop *loop = imgtest_init();

    /* What a check says about leaks and repairs is not of interest here. */
    if (!getenv("VERBOSE") && !freopen("/dev/null", "w", stderr)) {
        return 1;
    }
    printf("1..%zu\n", 2 * ARRAY_SIZE(shapes) + 1);
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        World *w = world_new(&shapes[i], seed + i);

        for (unsigned step = 0; step < steps; step++) {
            world_step(w, step);
        }
        world_free(w);
        rewrite_vm(&shapes[i]);
        printf("ok %u - %s\n", ++test, shapes[i].options);
        fflush(stdout);
        if (!shapes[i].steps_alone) {
            interrupt_changes(&shapes[i], seed + i);
        }
        printf("ok %u - %s, interrupted\n", ++test, shapes[i].options);
        fflush(stdout);
    }
    narrow_refcounts(1);
    narrow_refcounts(2);
    narrow_refcounts(4);
    printf("ok %u - narrow refcounts\n", ++test);
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}
