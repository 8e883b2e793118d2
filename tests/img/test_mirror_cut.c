/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mirror, a commit of the active image, or a backup, and then the power is cut: at the moment at
 * which the user hears that the job has completed, and after each event later. What the disk had by
 * then (a backup: when it began) is in its new place, though nothing was flushed since. A commit is
 * cut before each of its events as well: the chain reads as before; and a backup: its target opens,
 * and has at most leaks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../block/core.h"
#include "memdisk.h"
#include "base/json.h"
#include "base/reclaim.h"
#include "block/mirror_job.h"
#include "block/transaction.h"

enum { LENGTH = 300 * 1024 + BLOCK_SECTOR_SIZE, BASE_LENGTH = 200 * 1024, SEEDS = 12 };
enum { SECTORS = LENGTH / BLOCK_SECTOR_SIZE };

static void cut_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void cut_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(1);
}

typedef struct {
    const char *format, *options; /* of the target, or of the base */
    bool commit, active, backup, compress;
} Shape;

static const Shape shapes[] = {
    {"raw", NULL, false, false},
    {"qcow2", "cluster_size=4k", false, false},
    {"qcow2", "cluster_size=64k,lazy_refcounts=on", false, true},
    {"raw", NULL, false, true},
    {"raw", NULL, true, false},
    {"qcow2", "cluster_size=16k", true, false},
    {"raw", NULL, .backup = true},
    {"qcow2", "cluster_size=4k", .backup = true},
    {"qcow2", "cluster_size=64k,lazy_refcounts=on", .backup = true, .compress = true},
};

typedef struct {
    const Shape *shape;
    GRand *rand;
    MemDisk *to; /* the target, or the base */
    BlockNode *source, *target;
    BlockBackend *blk;
    unsigned completed; /* events of the target's log, when it was told */
    uint8_t content[LENGTH];
    bool later[SECTORS]; /* written after that */
    bool told;
} Test;

static Test *now;

static void told(const char *event, json_t *data, void *user)
{
    if (g_str_equal(event, "BLOCK_JOB_COMPLETED")) {
        if (json_object_get(data, "error")) {
            cut_fail("the job has failed: %s", json_str(data, "error"));
        }
        now->completed = now->to->log->len;
        now->told = true;
    }
}

static MemDisk *make_disk(const char *name, const char *format, const char *options, unsigned size)
{
    g_autofree char *text =
        g_strdup_printf("size=%u%s%s", size, options ? "," : "", options ? options : "");

    return imgtest_create(name, format, text);
}

/* Without the hold of a tool. */
static BlockNode *open_disk(const char *format, const char *name, const char *extra)
{
    g_autoptr(GError) err = NULL;
    BlockNode *n = imgtest_open(format, name, extra, &err);

    if (!n) {
        cut_fail("could not open '%s': %s", name, err->message);
    }
    g_assert(block_node_hold(n, (BlockPerms){0, BLOCK_PERM_ALL}, NULL));
    return n;
}

/* Starts the log with the disk as it is, stable. */
static void log_begin(MemDisk *m)
{
    MemEvent whole = {.kind = MEM_WRITE, .bytes = m->length};
    MemEvent flush = {.kind = MEM_FLUSH, .bytes = 1};

    memdisk_clear_log(m);
    whole.data = g_memdup2(m->data, m->length);
    g_array_append_val(m->log, whole);
    g_array_append_val(m->log, flush);
    m->logging = true;
}

static void coroutine_fn guest_write(Test *t)
{
    uint64_t sectors = g_rand_int_range(t->rand, 1, 60);
    uint64_t disk = block_backend_length(t->blk) / BLOCK_SECTOR_SIZE;
    uint64_t at = g_rand_int_range(t->rand, 0, disk - sectors);
    g_autofree uint8_t *buf = g_malloc(sectors * BLOCK_SECTOR_SIZE);
    struct iovec iov = {buf, sectors * BLOCK_SECTOR_SIZE};
    BlockRequest req = {.op = g_rand_int_range(t->rand, 0, 4) ? BLOCK_OP_WRITE
                                                              : BLOCK_OP_WRITE_ZEROES,
                        .offset = at * BLOCK_SECTOR_SIZE,
                        .bytes = iov.iov_len,
                        .iov = &iov,
                        .niov = 1};

    memset(buf, g_rand_int_range(t->rand, 1, 256), iov.iov_len);
    g_assert(block_backend_co_io(t->blk, &req) == 0);
    for (uint64_t i = at; i < at + sectors; i++) {
        t->later[i] = true;
    }
}

/* What the disk holds now is what the target will have. */
static void coroutine_fn start_backup(Test *t)
{
    json_auto_t *args = json_pack("{s:s,s:s,s:s,s:s,s:b}", "job-id", "j", "device",
                                  t->source->opts.node_name, "target", t->target->opts.node_name,
                                  "sync", "full", "compress", t->shape->compress);
    g_autoptr(GError) err = NULL;

    g_assert(block_pread(t->source, 0, t->content, LENGTH) == 0);
    if (!block_action_run("blockdev-backup", args, &err)) {
        cut_fail("could not start: %s", err->message);
    }
}

static void coroutine_fn start(Test *t)
{
    JobOptions o = {.id = "j", .auto_finalize = true, .auto_dismiss = true};
    BlockMirror mirror = {.source = t->source,
                          .target = t->target,
                          .sync = BLOCK_MIRROR_FULL,
                          .active = t->shape->active,
                          .granularity = 4096,
                          .unmap = true};
    BlockCommitActive commit = {.top = t->source, .base = t->target};
    g_autoptr(GError) err = NULL;

    if (!(t->shape->commit ? block_commit_active_start(&o, &commit, &err)
                           : block_mirror_start(&o, &mirror, &err))) {
        cut_fail("could not start: %s", err->message);
    }
}

static int coroutine_fn run_backup_fn(void *data)
{
    Test *t = data;

    start_backup(t);
    for (unsigned i = 0; job_find("j", NULL) || i < 6; i++) {
        guest_write(t);
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
    }
    g_assert(t->told && block_backend_node(t->blk) == t->source);
    return 0;
}

static int coroutine_fn run_fn(void *data)
{
    Test *t = data;

    start(t);
    /* A commit is cut in the middle: then the content must be known. */
    for (unsigned i = 0; !t->shape->commit && i < 20; i++) {
        guest_write(t);
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
    }
    while (job_find("j", NULL)->status != JOB_READY) {
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
    }
    for (unsigned i = 0; !t->shape->commit && i < 5; i++) {
        guest_write(t);
    }
    g_assert(block_pread(t->source, 0, t->content, LENGTH) == 0);
    g_assert(job_complete(job_find("j", NULL), NULL));
    while (job_find("j", NULL)) {
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
    }
    g_assert(t->told && block_backend_node(t->blk) == t->target);
    memset(t->later, 0, sizeof t->later);
    for (unsigned i = 0; i < 6; i++) {
        guest_write(t);
    }
    return 0;
}

typedef struct {
    BlockNode *n;
    uint8_t buf[LENGTH];
} Look;

static int coroutine_fn look_fn(void *data)
{
    Look *l = data;
    BlockCheckResult res = {0};
    int ret = block_pread(l->n, 0, l->buf, LENGTH);

    if (ret == 0 && l->n->driver->check) {
        ret = l->n->driver->check(l->n, &res, BLOCK_CHECK_QUIET);
    }
    return ret < 0 ? ret : (int)(res.corruptions + res.check_errors);
}

/* Whether the target has to have the content already. */
static bool is_complete(const Test *t, unsigned cut)
{
    return !t->shape->backup || cut >= t->completed;
}

/* The target after a cut behind 'cut' events reads as 'content', but where it was written later. */
static void must_read(const Test *t, unsigned cut, const char *chain, bool later)
{
    GByteArray *image = memdisk_after_cut(t->to->log, cut, t->rand);
    MemDisk *after = memdisk_new("after");
    g_autofree Look *l = g_new0(Look, 1);
    int ret;

    memdisk_set(after, image->data, image->len);
    g_byte_array_unref(image);
    l->n = chain ? open_disk("qcow2", "source", chain) : open_disk(t->shape->format, "after", NULL);
    ret = block_run(look_fn, l);
    if (ret) {
        cut_fail("%s, cut after %u of %u events: %d", t->shape->format, cut, t->to->log->len, ret);
    }
    for (unsigned i = 0; is_complete(t, cut) && i < LENGTH; i++) {
        if (l->buf[i] != t->content[i] && !(later && t->later[i / BLOCK_SECTOR_SIZE])) {
            cut_fail("%s, cut after %u of %u events (%u: completed): byte %u is %#x, was %#x",
                     t->shape->format, cut, t->to->log->len, t->completed, i, l->buf[i],
                     t->content[i]);
        }
    }
    block_node_unref(l->n);
    reclaim_poll();
    memdisk_free(after);
}

static void cuts(const Test *t)
{
    g_autofree char *chain =
        g_strdup_printf("{\"backing\":{\"driver\":\"%s\",\"file\":{\"driver\":\"memdisk\","
                        "\"name\":\"after\"}}}",
                        t->shape->format);

    for (unsigned cut = 2; (t->shape->commit || t->shape->backup) && cut <= t->completed; cut++) {
        must_read(t, cut, t->shape->commit ? chain : NULL, false);
    }
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        must_read(t, t->completed, NULL, false);
    }
    for (unsigned cut = t->completed; cut <= t->to->log->len; cut++) {
        must_read(t, cut, NULL, !t->shape->backup);
    }
}

static int coroutine_fn prefill_fn(void *data)
{
    Test *t = data;

    for (unsigned i = 0; i < 15; i++) {
        guest_write(t);
    }
    return block_flush(block_backend_node(t->blk));
}

/* Writes to the node as a guest does; the backend stays. */
static void prefill(Test *t, BlockNode *n)
{
    g_autoptr(GError) err = NULL;

    t->blk = block_backend_attach(n->opts.node_name, "/machine/peripheral/a", 0, NULL, NULL, &err);
    g_assert_no_error(err);
    g_assert(block_run(prefill_fn, t) == 0);
}

static void make_chain(Test *t)
{
    const Shape *s = t->shape;
    g_autofree char *chain =
        g_strdup_printf("{\"backing\":{\"driver\":\"%s\",\"file\":{\"driver\":\"memdisk\","
                        "\"name\":\"target\"}}}",
                        s->format);

    t->to = make_disk("target", s->format, s->options, s->commit ? BASE_LENGTH : LENGTH);
    make_disk("source", "qcow2", "cluster_size=4k", LENGTH);
    if (s->commit) {
        BlockNode *base = open_disk(s->format, "target", NULL);

        prefill(t, base);
        block_backend_detach(t->blk, true);
        block_node_unref(base);
        t->source = open_disk("qcow2", "source", chain);
        t->target = block_node_ref(t->source->backing);
    } else {
        t->source = open_disk("qcow2", "source", NULL);
        t->target = open_disk(s->format, "target", NULL);
    }
    prefill(t, t->source);
}

static void test_shape(const Shape *shape, unsigned seed)
{
    Test *t = g_new0(Test, 1);

    now = t;
    t->shape = shape;
    t->rand = g_rand_new_with_seed(seed);
    make_chain(t);
    log_begin(t->to);
    t->to->yield_percent = 30;
    g_assert(block_run(shape->backup ? run_backup_fn : run_fn, t) == 0);
    t->to->logging = false;
    block_backend_detach(t->blk, true);
    block_node_unref(t->source);
    block_node_unref(t->target);
    reclaim_poll();
    cuts(t);
    memdisk_free_all();
    g_rand_free(t->rand);
    g_free(t);
}

int main(void)
{
    imgtest_init();
    imgtest_quiet();
    job_set_event_handler(told, NULL);
    printf("1..%zu\n", G_N_ELEMENTS(shapes));
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        for (unsigned seed = 0; seed < 3; seed++) {
            test_shape(&shapes[i], seed);
        }
        printf("ok %zu - %s, %s\n", i + 1, shapes[i].format,
               shapes[i].commit   ? "commit"
               : shapes[i].backup ? "backup"
               : shapes[i].active ? "active"
                                  : "lazy");
        fflush(stdout);
    }
    return 0;
}
