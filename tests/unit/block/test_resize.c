/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that change in use: new lengths, removed media, devices plugged and unplugged. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "base/reclaim.h"
#include "fixture.h"

enum { THREADS = 3, DEPTH = 8, PIECE = 4096, ROUNDS = 30 };
#define SMALL (256 * KiB)
#define LARGE (512 * KiB)

typedef struct Writer Writer;
typedef struct {
    BlockRequest req;
    Writer *w;
    struct iovec iov;
    uint8_t buf[PIECE] __attribute__((aligned(4096)));
} Item;

struct Writer {
    BlockBackend *blk;
    EventLoop *loop;
    GThread *thread;
    GRand *rand;
    Item items[DEPTH];
    int live;
    int allowed; /* errno that a request may end with */
    int *stop;   /* atomic */
    int *ended;  /* atomic */
};

static void writer_next(Item *it);

static void writer_done(BlockRequest *req, int ret)
{
    Item *it = (Item *)((char *)req - offsetof(Item, req));

    g_assert(ret == 0 || ret == -it->w->allowed);
    writer_next(it);
}

static void writer_next(Item *it)
{
    Writer *w = it->w;

    if (__atomic_load_n(w->stop, __ATOMIC_SEQ_CST)) {
        if (--w->live == 0) {
            __atomic_add_fetch(w->ended, 1, __ATOMIC_SEQ_CST);
        }
        return;
    }
    it->req = (BlockRequest){
        .op = BLOCK_OP_WRITE,
        .offset = (uint64_t)g_rand_int_range(w->rand, 0, LARGE / PIECE) * PIECE,
        .bytes = PIECE,
        .iov = &it->iov,
        .niov = 1,
        .done = writer_done,
    };
    block_backend_submit(w->blk, &it->req);
}

static void writer_start(void *data)
{
    Writer *w = data;

    w->live = DEPTH;
    for (int i = 0; i < DEPTH; i++) {
        Item *it = &w->items[i];
        it->w = w;
        memset(it->buf, 0x5a, PIECE);
        it->iov = (struct iovec){.iov_base = it->buf, .iov_len = PIECE};
        writer_next(it);
    }
}

static void *writer_thread(void *data)
{
    event_loop_run(((Writer *)data)->loop);
    return NULL;
}

static void writers_start(Writer *writers, BlockBackend *blk, int allowed, int *stop, int *ended)
{
    for (int i = 0; i < THREADS; i++) {
        Writer *w = &writers[i];
        *w = (Writer){.blk = blk, .allowed = allowed, .stop = stop, .ended = ended};
        w->rand = g_rand_new_with_seed(i);
        w->loop = event_loop_new("writer", NULL);
        w->thread = g_thread_new("writer", writer_thread, w);
        event_loop_call(w->loop, writer_start, w);
    }
}

static void writers_end(Writer *writers, int *stop, int *ended)
{
    __atomic_store_n(stop, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(ended, __ATOMIC_SEQ_CST) < THREADS) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    for (int i = 0; i < THREADS; i++) {
        event_loop_quit(writers[i].loop);
        g_thread_join(writers[i].thread);
        event_loop_free(writers[i].loop);
        g_rand_free(writers[i].rand);
    }
}

typedef struct {
    BlockBackend *blk;
    const char *raw; /* file whose length is the disk's */
    int64_t told;    /* the length at the last call of 'resized' */
    unsigned times;
    bool done;
} Resizer;

static void resizer_told(void *data)
{
    Resizer *r = data;

    r->told = block_backend_length(r->blk);
    r->times++;
}

static void coroutine_fn resizer_run(void *data)
{
    Resizer *r = data;
    GError *err = NULL;
    struct stat st;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t size = i % 2 ? LARGE : SMALL;

        g_assert_cmpint(block_resize(block_backend_node(r->blk), size, &err), ==, 0);
        g_assert_cmpint(block_backend_length(r->blk), ==, size);
        g_assert_cmpint(r->told, ==, size);
        g_assert_cmpint(r->times, ==, i + 1);
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 2);
        /* A write checked against the old end would have made the file longer again. */
        if (r->raw) {
            g_assert_cmpint(stat(r->raw, &st), ==, 0);
            g_assert_cmpint(st.st_size, ==, size);
        }
    }
    r->done = true;
}

static void resize_under_load(const char *options, const char *raw)
{
    static const BlockDeviceOps ops = {.resized = resizer_told};
    Resizer r = {.raw = raw};
    Writer *writers = g_aligned_alloc(THREADS, sizeof(Writer), 4096);
    int stop = 0, ended = 0;
    GError *err = NULL;

    new_drive(NULL, "%s", options);
    r.blk = block_backend_attach("d", "/machine/disk", 0, &ops, &r, &err);
    ck_no_error(err);
    writers_start(writers, r.blk, EIO, &stop, &ended);
    coroutine_start(resizer_run, &r);
    turn_until(&r.done);
    writers_end(writers, &stop, &ended);
    block_backend_detach(r.blk, false);
    g_aligned_free(writers);
}

START_TEST(load_raw)
{
    make_raw("a.raw", LARGE);
    g_autofree char *options =
        g_strdup_printf("file=%s,format=raw,if=none,id=d", tmp_path("a.raw"));
    resize_under_load(options, tmp_path("a.raw"));
}
END_TEST

START_TEST(load_raw_native)
{
    make_raw("a.raw", LARGE);
    g_autofree char *options =
        g_strdup_printf("file=%s,format=raw,if=none,id=d,cache=none,aio=native", tmp_path("a.raw"));
    resize_under_load(options, tmp_path("a.raw"));
}
END_TEST

START_TEST(load_qcow2)
{
    make_qcow2("a.qcow2", "size=512k,cluster_size=4k");
    g_autofree char *options =
        g_strdup_printf("file=%s,format=qcow2,if=none,id=d,discard=unmap", tmp_path("a.qcow2"));
    resize_under_load(options, NULL);
}
END_TEST

/* What one of several coroutines does to a slow disk at the same time. */
typedef struct {
    BlockNode *node;
    BlockBackend *blk;
    uint64_t size;
    int ret;
    bool done;
} Action;

static void coroutine_fn action_resize(void *data)
{
    Action *a = data;

    a->ret = block_resize(a->node, a->size, NULL);
    a->done = true;
}

static void coroutine_fn action_delete(void *data)
{
    Action *a = data;

    a->ret = block_backend_delete(a->blk);
    a->done = true;
}

static void coroutine_fn action_detach(void *data)
{
    Action *a = data;

    block_backend_detach(a->blk, true);
    a->done = true;
}

static void coroutine_fn action_drain_all(void *data)
{
    Action *a = data;

    block_drain_all_begin();
    block_drain_all_end();
    a->done = true;
}

static void slow_done(BlockRequest *req, int ret)
{
    *(int *)(req + 1) = ret;
}

typedef struct {
    BlockRequest req;
    int ret;
} SlowRequest;

/* A disk whose requests take 20 ms, with one request in flight. */
static BlockBackend *slow_disk(SlowRequest *slow)
{
    static struct iovec iov;
    static uint8_t buf[512];
    GError *err = NULL;
    BlockBackend *blk;

    G_STATIC_ASSERT(offsetof(SlowRequest, ret) == sizeof(BlockRequest));
    new_drive(NULL, "if=none,id=d,driver=null-co,latency-ns=20000000,size=1M,node-name=slow");
    blk = block_backend_attach("d", "/machine/disk", 0, NULL, NULL, &err);
    ck_no_error(err);
    iov = (struct iovec){.iov_base = buf, .iov_len = sizeof buf};
    *slow = (SlowRequest){
        .req = {.op = BLOCK_OP_READ, .bytes = 512, .iov = &iov, .niov = 1, .done = slow_done},
        .ret = 1};
    block_backend_submit(blk, &slow->req);
    return blk;
}

/*
 * A disk whose file cannot grow: the resize fails, the disk keeps its length, and does not show
 * data of its longer backing file.
 */
START_TEST(grow_fails)
{
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit limit = {0, RLIM_INFINITY};
    BlockBackend *blk;
    Action action = {.size = 64 * MiB};
    struct stat st;
    uint8_t buf[512];

    make_raw("base.raw", 64 * MiB);
    g_autofree char *create =
        g_strdup_printf("size=1M,cluster_size=512,backing_file=%s,backing_fmt=raw", "base.raw");
    make_qcow2("a.qcow2", create);
    blk = new_drive(NULL,
                    "file=%s,format=qcow2,if=none,id=d,l2-cache-size=512,refcount-cache-size=512",
                    tmp_path("a.qcow2"));
    ck_assert_int_eq(stat(tmp_path("a.qcow2"), &st), 0);
    limit.rlim_cur = st.st_size + 64 * KiB;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    action.node = block_backend_node(blk);
    coroutine_start(action_resize, &action);
    turn_until(&action.done);
    ck_assert_int_lt(action.ret, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    ck_assert_int_eq(block_backend_length(blk), MiB);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 2 * MiB, buf, sizeof buf), -EIO);
}
END_TEST

/* The device is unplugged while its drive is deleted, resized and drained: each of these ends. */
START_TEST(everything_at_once)
{
    void (*const run[])(void *) = {action_resize, action_delete, action_drain_all,
                                   action_detach, action_resize, action_drain_all};
    unsigned n = ARRAY_SIZE(run);

    for (unsigned first = 0; first < n; first++) {
        SlowRequest slow;
        BlockBackend *blk = slow_disk(&slow);
        Action actions[ARRAY_SIZE(run)] = {0};

        for (unsigned i = 0; i < n; i++) {
            unsigned k = (first + i) % n;

            actions[k] = (Action){.blk = blk, .node = block_node_find("slow"), .size = 512};
            if (run[k] == action_delete && !block_backend_find("d")) { /* unplugged before */
                actions[k].done = true;
                continue;
            }
            coroutine_start(run[k], &actions[k]);
        }
        for (unsigned i = 0; i < n; i++) {
            turn_until(&actions[i].done);
        }
        ck_assert_int_eq(slow.ret, 0);
        ck_assert_ptr_null(block_backend_find("d"));
        ck_assert_ptr_null(block_node_find("slow"));
        reclaim_poll();
    }
}
END_TEST

/* A disk that is made while everything is drained is in the drain, and works afterwards. */
START_TEST(new_while_draining)
{
    SlowRequest slow;
    BlockBackend *blk = slow_disk(&slow), *other;
    Action drain = {0}, resize = {.node = block_backend_node(blk), .size = 512};
    uint8_t buf[512];
    GError *err = NULL;

    coroutine_start(action_drain_all, &drain);
    coroutine_start(action_resize, &resize);
    new_drive(NULL, "if=none,id=e,driver=null-co,size=1M,node-name=quick");
    other = block_backend_attach("e", "/machine/other", 0, NULL, NULL, &err);
    ck_no_error(err);
    turn_until(&drain.done);
    turn_until(&resize.done);
    ck_assert_int_eq(resize.ret, -ENOTSUP);
    ck_assert_int_eq(do_io(other, BLOCK_OP_READ, 0, buf, sizeof buf), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, sizeof buf), 0);
    block_backend_detach(blk, true);
    block_backend_detach(other, true);
}
END_TEST

/* Requests that come while the medium goes get an error, none is lost. */
START_TEST(delete_under_load)
{
    Writer *writers = g_aligned_alloc(THREADS, sizeof(Writer), 4096);
    int stop = 0, ended = 0;
    GError *err = NULL;
    Action action = {0};
    uint8_t buf[512];

    make_raw("a.raw", LARGE);
    new_drive(NULL, "file=%s,format=raw,if=none,id=d,werror=stop", tmp_path("a.raw"));
    action.blk = block_backend_attach("d", "/machine/disk", 0, NULL, NULL, &err);
    ck_no_error(err);
    writers_start(writers, action.blk, ENOMEDIUM, &stop, &ended);
    coroutine_start(action_delete, &action);
    turn_until(&action.done);
    ck_assert_ptr_null(block_backend_find("d"));
    ck_assert_ptr_null(block_backend_node(action.blk));
    ck_assert_int_eq(block_backend_length(action.blk), -ENOMEDIUM);
    writers_end(writers, &stop, &ended);
    ck_assert_int_eq(do_io(action.blk, BLOCK_OP_READ, 0, buf, sizeof buf), -ENOMEDIUM);
    /* The file is closed. */
    new_drive(NULL, "file=%s,format=raw,if=none,id=d", tmp_path("a.raw"));
    block_backend_detach(action.blk, true);
    g_aligned_free(writers);
}
END_TEST

static void resized_never(void *data)
{
    ck_abort_msg("a device that is gone was told of a resize");
}

/*
 * A drive cannot take back that others write, where another disk does; the device that let them
 * goes all the same.
 */
START_TEST(sharing_device_is_gone)
{
    static const BlockDeviceOps ops = {.resized = resized_never};
    Action resize = {.size = LARGE / 2};
    BlockBackend *blk, *other;
    GError *err = NULL;

    make_raw("a.raw", LARGE);
    new_drive(NULL, "file=%s,format=raw,if=none,id=d,node-name=n", tmp_path("a.raw"));
    blk = block_backend_attach("d", "/machine/a", BLOCK_DEVICE_SHARE_RW, &ops, NULL, &err);
    ck_no_error(err);
    other = block_backend_attach("n", "/machine/b", BLOCK_DEVICE_SHARE_RW, NULL, NULL, &err);
    ck_no_error(err);
    block_backend_detach(blk, false);
    resize.node = block_backend_node(other);
    coroutine_start(action_resize, &resize);
    turn_until(&resize.done);
    ck_assert_int_eq(resize.ret, 0);
    ck_assert_int_eq(block_backend_length(block_backend_find("d")), LARGE / 2);
    block_backend_detach(other, true);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        load_raw,          load_raw_native,        load_qcow2,
        grow_fails,        everything_at_once,     new_while_draining,
        delete_under_load, sharing_device_is_gone, NULL,
    };

    return fixture_run("resize", tests);
}
