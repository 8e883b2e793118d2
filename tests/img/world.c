/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/util.h"
#include "block/image.h"
#include "block/snapshot.h"

void world_fail(const char *fmt, ...)
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

GByteArray *bytes_copy(const GByteArray *a)
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

Snap *snap_new(const char *name, const GByteArray *disk, const GByteArray *vm)
{
    Snap *s = g_new0(Snap, 1);

    s->name = g_strdup(name);
    s->disk = bytes_copy(disk);
    s->vm = vm ? bytes_copy(vm) : NULL;
    return s;
}

Model *model_new(void)
{
    Model *m = g_new0(Model, 1);

    m->disk = g_byte_array_new();
    m->snaps = g_ptr_array_new_with_free_func(snap_free);
    return m;
}

Model *model_copy(const Model *from)
{
    Model *m = model_new();

    g_byte_array_append(m->disk, from->disk->data, from->disk->len);
    for (unsigned i = 0; i < from->snaps->len; i++) {
        const Snap *s = from->snaps->pdata[i];

        g_ptr_array_add(m->snaps, snap_new(s->name, s->disk, s->vm));
    }
    return m;
}

void model_free(Model *m)
{
    g_byte_array_unref(m->disk);
    g_ptr_array_unref(m->snaps);
    g_free(m);
}

void model_apply(Model *m, const Snap *s)
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

char *coroutine_fn vm_differs(BlockNode *n, const GByteArray *want)
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

char *world_differs(BlockNode *n, const Model *want, bool deep)
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

void world_check(BlockNode *n, unsigned fix, bool leaks_allowed, const char *when)
{
    CheckCall c = {.n = n, .fix = fix};
    int ret = block_run(check_fn, &c);

    if (ret == 0 && (c.res.corruptions_fixed || c.res.leaks_fixed)) {
        c = (CheckCall){.n = n};
        ret = block_run(check_fn, &c);
    }
    if (ret < 0 || c.res.corruptions || c.res.check_errors || (c.res.leaks && !leaks_allowed)) {
        world_fail("%s: check: ret %d, %" PRIu64 " corruptions, %" PRIu64 " leaks", when, ret,
                   c.res.corruptions, c.res.leaks);
    }
}

const char *world_format(const World *w)
{
    return w->shape->format ? w->shape->format : "qcow2";
}

BlockNode *world_open(const World *w, const char *file)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *backing =
        g_strdup_printf("{\"discard\":\"unmap\",\"backing\":{\"driver\":\"%s\","
                        "\"file\":{\"driver\":\"memdisk\",\"name\":\"back\"}}}",
                        world_format(w));
    BlockNode *n = imgtest_open(world_format(w), file,
                                w->shape->backing ? backing : "{\"discard\":\"unmap\"}", &err);

    if (!n) {
        world_fail("%s", err->message);
    }
    return n;
}

void world_fill(GRand *rand, uint8_t *buf, size_t len)
{
    memset(buf, g_rand_int_range(rand, 1, 256), len);
    for (size_t i = 0; i < len; i += SECTOR) {
        buf[i] = g_rand_int(rand);
    }
}

/* The model takes what is there, which has to be what was there or what was written. */
static void coroutine_fn world_take(World *w, uint64_t at, uint64_t len, const uint8_t *old,
                                    const char *what)
{
    g_autofree uint8_t *now = g_malloc(len);
    uint8_t *new = w->model->disk->data + at;

    if (block_pread(w->n, at, now, len) < 0) {
        world_fail("%s: the range cannot be read afterwards", what);
    }
    for (uint64_t i = 0; i < len; i += SECTOR) {
        if (memcmp(now + i, old + i, SECTOR) && memcmp(now + i, new + i, SECTOR)) {
            world_fail("%s: sector %" PRIu64 " has neither its old nor its new content", what,
                       (at + i) / SECTOR);
        }
    }
    memcpy(new, now, len);
}

int coroutine_fn world_write_at(World *w, uint64_t at, uint64_t len)
{
    uint8_t *disk = w->model->disk->data;
    g_autofree uint8_t *old = g_memdup2(disk + at, len);
    int ret;

    world_fill(w->rand, disk + at, len);
    ret = block_pwrite(w->n, at, disk + at, len, 0);
    if (ret < 0 && !w->may_fail) {
        world_fail("write: %s", g_strerror(-ret));
    }
    if (ret < 0) {
        world_take(w, at, len, old, "write");
    }
    return ret;
}

int coroutine_fn world_write(World *w)
{
    static const char *const kinds[] = {"write", "zero", "discard", "compressed write"};
    uint8_t *disk = w->model->disk->data;
    uint64_t sectors = w->model->disk->len / SECTOR, first = g_rand_int_range(w->rand, 0, sectors);
    uint64_t most = MIN(60, sectors - first), count = g_rand_int_range(w->rand, 1, most + 1);
    uint64_t at = first * SECTOR, len = count * SECTOR;
    int dice = g_rand_int_range(w->rand, 0, 10);
    int kind = dice < 6 ? 0 : dice < 7 ? 1 : dice < 8 ? 2 : w->shape->format ? 0 : 3, ret;
    g_autofree uint8_t *old = NULL;
    BlockDriverInfo info = {0};

    w->n->driver->info(w->n, &info);
    json_decref(info.format_specific);
    if (kind == 3) { /* a whole cluster */
        at = ROUND_DOWN(at, info.cluster_size);
        len = MIN(info.cluster_size, sectors * SECTOR - at);
    }
    if (kind == 0) {
        return world_write_at(w, at, len);
    }
    old = g_memdup2(disk + at, len);
    if (kind == 3) {
        memset(disk + at, g_rand_int(w->rand), len);
        ret = w->n->driver->pwrite_compressed(w->n, at, disk + at, len);
    } else {
        memset(disk + at, 0, len);
        ret = kind == 1 ? block_pwrite_zeroes(w->n, at, len, first & 1 ? BLOCK_REQ_MAY_UNMAP : 0)
                        : block_pdiscard(w->n, at, len);
    }
    if (ret < 0 && !w->may_fail) {
        world_fail("%s: %s", kinds[kind], g_strerror(-ret));
    }
    if (ret < 0 || kind == 2) { /* a discard leaves old data or zeroes */
        world_take(w, at, len, old, kinds[kind]);
    }
    return ret;
}

static unsigned world_full(const World *w)
{
    return w->shape->size ? w->shape->size : WORLD_DISK;
}

/* The length is the old or the new one. Behind the lower of the two there is old data, or zeroes.
 */
static void coroutine_fn world_take_length(World *w, unsigned size, const GByteArray *old)
{
    unsigned now = block_length(w->n), from = MIN(size, old->len);

    if (now != size && now != old->len) {
        world_fail("resize: the length is %u, was %u, should be %u", now, old->len, size);
    }
    g_byte_array_set_size(w->model->disk, now);
    if (now > from) {
        g_autofree uint8_t *before = g_malloc0(now - from);

        memcpy(before, old->data + from, old->len > from ? MIN(now, old->len) - from : 0);
        memset(w->model->disk->data + from, 0, now - from);
        world_take(w, from, now - from, before, "resize");
    }
}

int coroutine_fn world_resize(void *data)
{
    World *w = data;
    unsigned full = world_full(w), before = w->model->disk->len;
    unsigned size = g_rand_int_range(w->rand, full / 2 / SECTOR, full / SECTOR) * SECTOR;
    g_autoptr(GByteArray) old = bytes_copy(w->model->disk);
    g_autoptr(GError) err = NULL;
    int ret = block_truncate(w->n, size, &err);

    if (ret < 0 && !w->may_fail) {
        world_fail("resize: %s", err->message);
    }
    if (ret < 0) {
        world_take_length(w, size, old);
        return ret;
    }
    g_byte_array_set_size(w->model->disk, size);
    if (size > before) {
        memset(w->model->disk->data + before, 0, size - before);
    }
    return 0;
}

static int coroutine_fn world_fill_backing(void *data)
{
    World *w = data;

    world_fill(w->rand, w->model->disk->data, w->model->disk->len);
    return block_pwrite(w->n, 0, w->model->disk->data, w->model->disk->len, 0);
}

World *world_new(const Shape *shape, unsigned seed)
{
    World *w = g_new0(World, 1);
    g_autofree char *size = NULL, *create = NULL;

    w->shape = shape;
    size = g_strdup_printf("size=%u", world_full(w));
    create = g_strdup_printf("%s%s%s", size, *shape->options ? "," : "", shape->options);
    w->rand = g_rand_new_with_seed(seed);
    w->model = model_new();
    w->v2 = strstr(shape->options, "0.10");
    g_byte_array_set_size(w->model->disk, world_full(w));
    memset(w->model->disk->data, 0, w->model->disk->len);
    if (shape->backing) {
        imgtest_create("back", world_format(w), size);
        w->n = imgtest_open(world_format(w), "back", NULL, NULL);
        g_assert(block_run(world_fill_backing, w) == 0);
        block_node_unref(w->n);
    }
    w->file = imgtest_create("disk", world_format(w), create);
    w->n = world_open(w, "disk");
    return w;
}

void world_free(World *w)
{
    block_node_unref(w->n);
    memdisk_free(w->file);
    memdisk_free(memdisk_find("back"));
    model_free(w->model);
    g_rand_free(w->rand);
    g_free(w);
}

void world_reopen(World *w)
{
    block_node_unref(w->n);
    w->n = world_open(w, "disk");
}
