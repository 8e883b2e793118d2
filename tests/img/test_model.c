/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random requests, many at a time, against a model in memory, for every shape of each format, on a
 * disk that finishes requests in any order. At the end the image has to equal the model, and a
 * check of it has to find nothing.
 *
 *     img-model [SEED [OPERATIONS]]
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "base/object.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"

enum { PARALLEL = 12, SECTOR = 512 };

typedef struct {
    const char *options;
    const char *open;    /* more options of the node */
    const char *backing; /* options of a backing image */
    unsigned fail;       /* percent of failing writes */
    bool small_space;
    const char *format; /* NULL: qcow2 */
} Shape;

#define KEY "{\"encrypt\":{\"key-secret\":\"s\"}}"

static const Shape shapes[] = {
    {"size=3M"},
    {"size=3M,cluster_size=512"},
    {"size=3M,cluster_size=4k,refcount_bits=1"},
    {"size=3M,cluster_size=4k,refcount_bits=2"},
    {"size=3M,cluster_size=1k,refcount_bits=4"},
    {"size=3M,cluster_size=1k,refcount_bits=8"},
    {"size=3M,cluster_size=2k,refcount_bits=32"},
    {"size=3M,cluster_size=512,refcount_bits=64"},
    {"size=3M,cluster_size=2M"},
    {"size=3M,compat=0.10"},
    {"size=3M,cluster_size=4k,compat=0.10", .backing = "size=2M,cluster_size=8k"},
    {"size=3M,extended_l2=on"},
    {"size=3M,extended_l2=on,cluster_size=16k", .backing = "size=3M"},
    {"size=3M,lazy_refcounts=on,cluster_size=4k"},
    {"size=3M,cluster_size=4k", .backing = "size=1M,cluster_size=512"},
    {"size=3M,cluster_size=8k", .backing = "size=4M"},
    {"size=3000320,cluster_size=4k", .backing = "size=4M"},
    {"size=3M,cluster_size=4k,preallocation=metadata"},
    {"size=3M,cluster_size=512", "{\"l2-cache-size\":\"4k\",\"refcount-cache-size\":\"4k\"}"},
    {"size=3M,cluster_size=4k", "{\"detect-zeroes\":\"unmap\"}"},
    {"size=3M,cluster_size=4k", .fail = 3},
    {"size=3M,cluster_size=4k,lazy_refcounts=on", .fail = 3},
    {"size=3M,cluster_size=4k", .small_space = true},
    {"size=3M,cluster_size=4k,encrypt.format=aes,encrypt.key-secret=s", KEY},
    {"size=3M,cluster_size=16k,extended_l2=on,encrypt.format=luks,encrypt.key-secret=s,"
     "encrypt.iter-time=0",
     KEY, .fail = 3},
    {"size=6M", .format = "vdi"},
    {"size=3000320,static=on", .format = "vdi"},
    {"size=6M", "{\"detect-zeroes\":\"unmap\"}", .format = "vdi"},
    {"size=6M", .format = "vdi", .fail = 3},
    {"size=3M", .format = "vmdk"},
    {"size=3000320,zeroed_grain=on", .format = "vmdk", .backing = "size=2M"},
    {"size=3M", .format = "vmdk", .backing = "size=4M"},
    {"size=3M", .format = "vmdk", .fail = 3},
};

typedef struct {
    BlockNode *n;
    uint8_t *model;
    uint8_t *unknown; /* by sector: a write failed, so old or new data may be there */
    bool *busy;       /* sectors of requests in flight */
    uint64_t sectors;
    GRand *rand;
    int left, running, failures;
    bool may_fail, discards_zero;
    Coroutine *main_co;
} Run;

static bool range_busy(Run *r, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        if (r->busy[i]) {
            return true;
        }
    }
    return false;
}

static void set_busy(Run *r, uint64_t first, uint64_t count, bool on)
{
    memset(r->busy + first, on, count);
}

static void fill(Run *r, uint8_t *buf, size_t len)
{
    bool zero = g_rand_int_range(r->rand, 0, 8) == 0;

    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = zero ? 0 : g_rand_int(r->rand);
        memcpy(buf + i, &v, 4);
    }
}

static void model_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void model_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    abort();
}

static void model_verify(Run *r, uint64_t first, uint64_t count, const uint8_t *buf)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t s = first + i;
        if (!r->unknown[s] && memcmp(buf + i * SECTOR, r->model + s * SECTOR, SECTOR)) {
            model_fail("sector %" PRIu64 " differs from the model (%02x %02x, want %02x %02x)", s,
                       buf[i * SECTOR], buf[i * SECTOR + 1], r->model[s * SECTOR],
                       r->model[s * SECTOR + 1]);
        }
    }
}

/* Cuts the buffer into up to 8 pieces at random places. */
static unsigned cut(Run *r, uint8_t *buf, size_t len, struct iovec *iov)
{
    unsigned n = 0;

    while (len) {
        size_t part = n == 7 ? len : (size_t)g_rand_int_range(r->rand, 1, (gint32)len + 1);
        iov[n++] = (struct iovec){.iov_base = buf, .iov_len = part};
        buf += part;
        len -= part;
    }
    return n;
}

static void coroutine_fn do_write(Run *r, uint64_t first, uint64_t count, unsigned flags)
{
    g_autofree uint8_t *buf = g_malloc(count * SECTOR);
    struct iovec iov[8];
    unsigned n;
    int ret;

    fill(r, buf, count * SECTOR);
    n = cut(r, buf, count * SECTOR, iov);
    ret = block_pwritev(r->n, first * SECTOR, count * SECTOR, iov, n, flags);
    if (ret == 0) {
        memcpy(r->model + first * SECTOR, buf, count * SECTOR);
        memset(r->unknown + first, 0, count);
    } else if (r->may_fail) {
        memset(r->unknown + first, 1, count);
        r->failures++;
    } else {
        model_fail("write: %s", g_strerror(-ret));
    }
}

static void coroutine_fn do_zero(Run *r, uint64_t first, uint64_t count, bool discard)
{
    int ret = discard ? block_pdiscard(r->n, first * SECTOR, count * SECTOR)
                      : block_pwrite_zeroes(r->n, first * SECTOR, count * SECTOR,
                                            g_rand_boolean(r->rand) ? BLOCK_REQ_MAY_UNMAP : 0);

    if (ret < 0 && !r->may_fail) {
        model_fail("%s: %s", discard ? "discard" : "write zeroes", g_strerror(-ret));
    }
    r->failures += ret < 0;
    if (ret == 0 && !discard) {
        memset(r->model + first * SECTOR, 0, count * SECTOR);
        memset(r->unknown + first, 0, count);
    } else {
        /* A discard zeroes whole clusters and keeps the rest; the model does not know which. */
        memset(r->unknown + first, 1, count);
    }
}

static void coroutine_fn model_request(void *data)
{
    Run *r = data;
    uint64_t max = g_rand_int_range(r->rand, 0, 10) ? 40 : 700;
    uint64_t count = g_rand_int_range(r->rand, 1, MIN(max, r->sectors));
    uint64_t first = g_rand_int_range(r->rand, 0, r->sectors - count + 1);
    int what = g_rand_int_range(r->rand, 0, 100);

    r->running++;
    if (range_busy(r, first, count)) {
        goto out;
    }
    set_busy(r, first, count, true);
    if (what < 45) {
        do_write(r, first, count, what < 3 ? BLOCK_REQ_FUA : 0);
    } else if (what < 80) {
        g_autofree uint8_t *buf = g_malloc(count * SECTOR);
        struct iovec iov[8];
        unsigned n = cut(r, buf, count * SECTOR, iov);
        int ret = block_preadv(r->n, first * SECTOR, count * SECTOR, iov, n);
        if (ret < 0) {
            model_fail("read: %s", g_strerror(-ret));
        }
        model_verify(r, first, count, buf);
    } else if (what < 88) {
        do_zero(r, first, count, false);
    } else if (what < 96) {
        do_zero(r, first, count, true);
    } else {
        int ret = block_flush(r->n);
        if (ret < 0 && !r->may_fail) {
            model_fail("flush: %s", g_strerror(-ret));
        }
    }
    set_busy(r, first, count, false);
out:
    r->running--;
}

static int coroutine_fn read_all(void *data)
{
    Run *r = data;
    g_autofree uint8_t *buf = g_malloc(r->sectors * SECTOR);
    int ret = block_pread(r->n, 0, buf, r->sectors * SECTOR);

    if (ret < 0) {
        model_fail("reading it all: %s", g_strerror(-ret));
    }
    model_verify(r, 0, r->sectors, buf);
    return 0;
}

static int coroutine_fn write_backing(void *data)
{
    Run *r = data;
    int64_t len = block_length(r->n);

    for (int i = 0; i < 40; i++) {
        uint64_t count = g_rand_int_range(r->rand, 1, 100);
        uint64_t first = g_rand_int_range(r->rand, 0, len / SECTOR - count);
        g_autofree uint8_t *buf = g_malloc(count * SECTOR);
        int ret;

        fill(r, buf, count * SECTOR);
        ret = block_pwrite(r->n, first * SECTOR, buf, count * SECTOR, 0);
        g_assert(ret == 0);
        if ((first + count) <= r->sectors) {
            memcpy(r->model + first * SECTOR, buf, count * SECTOR);
        } else if (first < r->sectors) {
            memcpy(r->model + first * SECTOR, buf, (r->sectors - first) * SECTOR);
        }
    }
    return block_flush(r->n);
}

typedef struct {
    BlockNode *n;
    BlockCheckResult *res;
    unsigned fix;
} CheckCall;

static int coroutine_fn check_fn(void *data)
{
    CheckCall *c = data;

    return c->n->driver->check(c->n, c->res, c->fix);
}

static int run_check(BlockNode *n, BlockCheckResult *res, unsigned fix)
{
    CheckCall c = {.n = n, .res = res, .fix = fix};

    return block_run(check_fn, &c);
}

static void check_image(BlockNode *n, bool leaks_allowed)
{
    BlockCheckResult res = {0};
    int ret = run_check(n, &res, 0);

    if (ret < 0 || res.corruptions || res.check_errors || (res.leaks && !leaks_allowed)) {
        model_fail("check: ret %d, %" PRIu64 " corruptions, %" PRIu64 " leaks", ret,
                   res.corruptions, res.leaks);
    }
}

static const char *shape_format(const Shape *shape)
{
    return shape->format ? shape->format : "qcow2";
}

static char *open_options(const Shape *shape)
{
    json_auto_t *o = shape->open ? json_loads(shape->open, 0, NULL) : json_object();
    char *raw, *text;

    json_object_set_new(o, "discard", json_string("unmap"));
    if (shape->backing) {
        json_object_set_new(o, "backing",
                            json_pack("{s:s,s:{s:s,s:s}}", "driver", shape_format(shape), "file",
                                      "driver", "memdisk", "name", "back"));
    }
    raw = json_dumps(o, 0);
    text = g_strdup(raw);
    free(raw);
    return text;
}

/* Checks and reads the image with qemu-img, where that is installed. */
static void ask_qemu(MemDisk *m, Run *r, const Shape *shape, bool leaks_allowed)
{
    g_autofree char *tool = g_find_program_in_path("qemu-img");
    g_autofree char *path = NULL, *raw = NULL, *command = NULL, *out = NULL;
    g_autofree char *dir = NULL, *image = NULL;
    const char *format = shape_format(shape);
    gsize len;
    int status;

    if (!tool || shape->backing) {
        return;
    }
    dir = g_dir_make_tmp("imgtest-XXXXXX", NULL);
    path = g_strconcat(dir, "/i.img", NULL);
    raw = g_strconcat(dir, "/o.img", NULL);
    g_assert(g_file_set_contents(path, (char *)m->data, m->length, NULL));
    /* Of the formats only qcow2 knows leaks; qemu-img takes these of others for corruption. */
    image = strstr(shape->options, "encrypt.")
                ? g_strdup_printf("--object secret,id=s,data=abc --image-opts "
                                  "driver=%s,file.filename=%s,encrypt.key-secret=s",
                                  format, path)
                : g_strdup_printf("-f %s %s", format, path);
    command = g_strdup_printf("%s check -q %s || test $? = %d && %s convert -O raw %s %s", tool,
                              image, leaks_allowed ? shape->format ? 2 : 3 : 0, tool, image, raw);
    const char *argv[] = {"sh", "-c", command, NULL};
    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                      &status, NULL) ||
        status) {
        model_fail("%s: status %d", command, status);
    }
    g_assert(g_file_get_contents(raw, &out, &len, NULL));
    g_assert(len == r->sectors * SECTOR);
    model_verify(r, 0, r->sectors, (uint8_t *)out);
    remove(path);
    remove(raw);
    remove(dir);
}

/* Writes a backing image; what it shows through a new overlay is the model's first content. */
static MemDisk *model_backing(Run *r, const Shape *shape)
{
    MemDisk *back = imgtest_create("back", shape_format(shape), shape->backing);
    g_autoptr(GError) err = NULL;

    r->n = imgtest_open(shape_format(shape), "back", NULL, &err);
    g_assert_no_error(err);
    g_assert(block_run(write_backing, r) == 0);
    block_node_unref(r->n);
    back->yield_percent = 20;
    return back;
}

static void model_requests(EventLoop *loop, Run *r, int operations)
{
    for (r->left = operations; r->left > 0; r->left--) {
        coroutine_start(model_request, r);
        while (r->running >= PARALLEL) {
            event_loop_iterate(loop, -1);
        }
    }
    while (r->running) {
        event_loop_iterate(loop, -1);
    }
}

/* Reads and checks the image in 'n', and closes it. */
static void model_compare(Run *r, bool leaks_allowed)
{
    block_run(read_all, r);
    check_image(r->n, leaks_allowed);
    block_node_unref(r->n);
}

/* Opens the image, sends requests; compares it before it is closed, and once it is opened anew. */
static void model_round(EventLoop *loop, Run *r, const Shape *shape, MemDisk *disk,
                        const char *extra, int operations)
{
    bool bad_disk = shape->fail || shape->small_space;
    g_autoptr(GError) err = NULL;

    r->n = imgtest_open(shape_format(shape), "disk", extra, &err);
    g_assert_no_error(err);
    disk->yield_percent = 30;
    disk->fail_percent = shape->fail;
    disk->max_length = shape->small_space ? disk->length + 300 * KiB : 0;
    r->may_fail = bad_disk;
    model_requests(loop, r, operations);
    disk->fail_percent = 0;
    disk->max_length = 0;
    disk->yield_percent = 0;
    model_compare(r, true);
    ask_qemu(disk, r, shape, bad_disk);
    r->n = imgtest_open(shape_format(shape), "disk", extra, &err);
    g_assert_no_error(err);
    model_compare(r, bad_disk);
}

static void model_run_shape(EventLoop *loop, const Shape *shape, unsigned seed, int operations)
{
    Run r = {.rand = g_rand_new_with_seed(seed), .left = operations};
    g_autofree char *extra = open_options(shape);
    g_autoptr(GError) err = NULL;
    MemDisk *disk, *back = NULL;

    printf("# seed %u: %s %s%s%s%s%s\n", seed, shape_format(shape), shape->options,
           shape->open ? " " : "", shape->open ? shape->open : "", shape->backing ? " over " : "",
           shape->backing ? shape->backing : "");
    fflush(stdout);
    disk = imgtest_create("disk", shape_format(shape), shape->options);
    r.n = imgtest_open(shape_format(shape), "disk", shape->open, &err);
    g_assert_no_error(err);
    r.sectors = block_length(r.n) / SECTOR;
    block_node_unref(r.n);
    r.model = g_malloc0(r.sectors * SECTOR);
    r.unknown = g_malloc0(r.sectors);
    r.busy = g_new0(bool, r.sectors);
    if (shape->backing) {
        back = model_backing(&r, shape);
    }
    for (int round = 0; round < 3; round++) {
        g_rand_set_seed(disk->rand, seed + round);
        model_round(loop, &r, shape, disk, extra, operations);
    }
    if (shape->fail && !r.failures) {
        model_fail("nothing failed");
    }
    memdisk_free(disk);
    memdisk_free(back);
    g_free(r.model);
    g_free(r.unknown);
    g_free(r.busy);
    g_rand_free(r.rand);
}

int main(int argc, char **argv)
{
    unsigned seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
    int operations = argc > 2 ? atoi(argv[2]) : 1500;
    EventLoop *loop = imgtest_init();
    char *help = NULL;

    object_set_classes(object_base_classes);
    object_option("secret,id=s,data=abc", &help, NULL);
    printf("1..%zu\n", ARRAY_SIZE(shapes));
    for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
        model_run_shape(loop, &shapes[i], seed + i, operations);
        printf("ok %u - %s %s\n", i + 1, shape_format(&shapes[i]), shapes[i].options);
    }
    block_node_close_all();
    memdisk_free_all();
    object_delete_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}
