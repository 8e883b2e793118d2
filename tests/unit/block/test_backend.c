/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests through backends: engines, errors, alignment, drain, several loops. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/iov.h"
#include "fixture.h"

static uint8_t *aligned(size_t len, int fill)
{
    void *p;

    ck_assert_int_eq(posix_memalign(&p, 4096, len), 0);
    memset(p, fill, len);
    return p;
}

/* Writes, reads, flushes and zeroes a disk of one engine and format. */
static void exercise(const char *options)
{
    BlockBackend *blk = new_drive(NULL, "%s", options);
    uint8_t *a = aligned(64 * KiB, 0x5a), *b = aligned(64 * KiB, 0);
    const BlockStats *stats;

    ck_assert_int_eq(block_backend_length(blk), 8 * MiB);
    for (int i = 0; i < 20; i++) {
        memset(a, i + 1, 64 * KiB);
        ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, i * 40960, a, 4096 + i * 512), 0);
        ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, i * 40960, b, 4096 + i * 512), 0);
        ck_assert_mem_eq(a, b, 4096 + i * 512);
        /* The mapping is cached now, so these take the short way. */
        ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, i * 40960, a, 1024), 0);
        ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, i * 40960 + 512, b, 512), 0);
    }
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE_ZEROES, 0, NULL, 65536), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, b, 65536), 0);
    ck_assert(buffer_is_zero(b, 65536));
    ck_assert_int_eq(do_io(blk, BLOCK_OP_DISCARD, 65536, NULL, 1 * MiB), 0);
    /* At the end, and past it. */
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 8 * MiB - 512, a, 512), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 8 * MiB - 512, b, 512), 0);
    ck_assert_mem_eq(a, b, 512);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 8 * MiB - 512, b, 1024), -EIO);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, UINT64_MAX - 511, b, 512), -EIO);

    stats = block_backend_stats(blk);
    ck_assert_uint_eq(stats->ops[BLOCK_OP_READ], 42);
    ck_assert_uint_eq(stats->ops[BLOCK_OP_FLUSH], 1);
    ck_assert_uint_eq(stats->invalid[BLOCK_OP_READ], 1);
    ck_assert_uint_eq(block_backend_node(blk)->wr_highest_offset, 8 * MiB);
    ck_assert_uint_eq(block_backend_in_flight(blk), 0);
    free(a);
    free(b);
}

static void exercise_format(const char *more)
{
    g_autofree char *raw = NULL, *qcow2 = NULL;

    make_raw("a.raw", 8 * MiB);
    make_qcow2("a.qcow2", "size=8M");
    raw =
        g_strdup_printf("file=%s,format=raw,id=r,if=none,discard=unmap%s", tmp_path("a.raw"), more);
    exercise(raw);
    qcow2 = g_strdup_printf("file=%s,id=q,if=none,discard=unmap%s", tmp_path("a.qcow2"), more);
    exercise(qcow2);
}

START_TEST(engine_default)
{
    exercise_format("");
}
END_TEST

START_TEST(engine_threads)
{
    exercise_format(",aio=threads");
}
END_TEST

START_TEST(engine_native)
{
    exercise_format(",aio=native,cache=none");
}
END_TEST

START_TEST(engine_uring)
{
    if (event_loop_has_uring(main_loop, NULL)) {
        exercise_format(",aio=io_uring,cache=none");
    }
}
END_TEST

START_TEST(cache_writethrough)
{
    exercise_format(",cache=writethrough");
}
END_TEST

START_TEST(cache_directsync)
{
    exercise_format(",cache=directsync");
}
END_TEST

START_TEST(cache_unsafe)
{
    exercise_format(",cache=unsafe");
}
END_TEST

typedef struct {
    BlockRequest req;
    struct iovec iov;
    bool done;
} LoopRequest;

static void loop_request_done(BlockRequest *req, int ret)
{
    LoopRequest *r = (LoopRequest *)req;

    ck_assert_int_eq(ret, 0);
    r->done = true;
}

static void loop_request_start(LoopRequest *r, BlockBackend *blk)
{
    r->iov = (struct iovec){.iov_base = aligned_alloc(4096, 4096), .iov_len = 4096};
    r->req = (BlockRequest){
        .op = BLOCK_OP_READ, .bytes = 4096, .iov = &r->iov, .niov = 1, .done = loop_request_done};
    block_backend_submit(blk, &r->req);
}

/* Loops of one thread, one after the other: each has an AIO context of its own. */
START_TEST(native_next_loop)
{
    g_autofree char *options =
        g_strdup_printf("file=%s,format=raw,if=none,id=r,aio=native,cache=none", tmp_path("a.raw"));

    make_raw("a.raw", 8 * MiB);
    for (int round = 0; round < 8; round++) {
        LoopRequest r = {0};

        loop_request_start(&r, new_drive(NULL, "%s", options));
        for (int i = 0; i < 50 && !r.done; i++) {
            event_loop_iterate(main_loop, 100 * NS_PER_MS);
        }
        ck_assert(r.done);
        free(r.iov.iov_base);
        block_backend_free_all();
        block_node_close_all();
        event_loop_free(main_loop);
        main_loop = event_loop_new("next", NULL);
        event_loop_bind(main_loop);
    }
}
END_TEST

START_TEST(native_needs_direct)
{
    GError *err = NULL;

    make_raw("a.raw", MiB);
    ck_assert_ptr_null(new_drive(&err, "file=%s,format=raw,aio=native", tmp_path("a.raw")));
    ck_error(err, "aio=native was specified, but it requires cache.direct=on");
    ck_assert_ptr_null(new_drive(&err, "file=%s,format=raw,aio=foo", tmp_path("a.raw")));
    ck_error(err, "invalid aio option 'foo'");
}
END_TEST

/* --- what cannot work --- */

START_TEST(read_only)
{
    BlockBackend *blk;
    uint8_t buf[512] = {0};

    make_raw("a.raw", MiB);
    blk = new_drive(NULL, "file=%s,format=raw,readonly=on", tmp_path("a.raw"));
    ck_assert(block_backend_read_only(blk));
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, buf, 512), -EPERM);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_DISCARD, 0, NULL, 512), -EPERM);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, 512), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
}
END_TEST

START_TEST(no_medium)
{
    BlockBackend *blk = new_drive(NULL, "if=ide,media=cdrom");
    uint8_t buf[512];

    ck_assert_str_eq(block_backend_name(blk), "ide0-cd0");
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, 512), -ENOMEDIUM);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), -ENOMEDIUM);
    ck_assert_int_eq(block_backend_length(blk), -ENOMEDIUM);
}
END_TEST

/* What rerror and werror do is in test_parking.c. */
START_TEST(error_policy)
{
    GError *err = NULL;

    ck_assert_ptr_null(new_drive(&err, "if=virtio,werror=foo"));
    ck_error(err, "'foo' invalid write error action");
    ck_assert_ptr_null(new_drive(&err, "if=virtio,rerror=enospc"));
    ck_error(err, "'enospc' invalid read error action");
}
END_TEST

/* --- alignment --- */

typedef struct {
    BlockNode *n;
    int step;
    int running;
    uint8_t *model;
} Unaligned;

static void coroutine_fn unaligned_write(void *data)
{
    Unaligned *u = data;
    int i = u->step++;
    size_t off = i * 700 + 13, len = 613;
    uint8_t buf[613];

    memset(buf, i + 1, len);
    memcpy(u->model + off, buf, len);
    u->running++;
    ck_assert_int_eq(block_pwrite(u->n, off, buf, len, 0), 0);
    u->running--;
}

static int coroutine_fn compare_all(void *data)
{
    Unaligned *u = data;
    g_autofree uint8_t *buf = g_malloc(100001);

    /* From an odd place, into an odd buffer. */
    ck_assert_int_eq(block_pread(u->n, 1, buf + 1, 99999), 0);
    ck_assert_mem_eq(buf + 1, u->model + 1, 99999);
    return 0;
}

/* qcow2: data of a write that failed half way must not show around the next write. */
static void fail_half_way(const char *engine)
{
    BlockBackend *blk;
    uint8_t *a = aligned(64 * KiB, 0xaa), *b = aligned(64 * KiB, 1);
    struct rlimit had, half;
    struct stat st;

    make_qcow2("h.qcow2", "size=8M");
    blk = new_drive(NULL, "file=%s,id=h,if=none,aio=%s", tmp_path("h.qcow2"), engine);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, a, 64 * KiB), 0);
    ck_assert_int_eq(stat(tmp_path("h.qcow2"), &st), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &had), 0);
    half = (struct rlimit){st.st_size + 32 * KiB, had.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &half), 0);
    ck_assert_int_lt(do_io(blk, BLOCK_OP_WRITE, 64 * KiB, a, 64 * KiB), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &had), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 256 * KiB, a, 512), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 256 * KiB, b, 64 * KiB), 0);
    ck_assert_mem_eq(a, b, 512);
    ck_assert(buffer_is_zero(b + 512, 64 * KiB - 512));
    free(a);
    free(b);
}

START_TEST(half_written)
{
    fail_half_way("threads");
}
END_TEST

START_TEST(half_written_uring)
{
    if (event_loop_has_uring(main_loop, NULL)) {
        fail_half_way("io_uring");
    }
}
END_TEST

/* Concurrent O_DIRECT writes to parts of the same units: none loses another's bytes. */
START_TEST(unaligned_direct)
{
    BlockBackend *blk;
    Unaligned u = {.model = g_malloc0(100000)};
    struct stat st;

    make_raw("a.raw", 100000);
    blk = new_drive(NULL, "file=%s,format=raw,cache=none", tmp_path("a.raw"));
    u.n = block_backend_node(blk);
    for (int i = 0; i < 142; i++) {
        coroutine_start(unaligned_write, &u);
    }
    while (u.running) {
        event_loop_iterate(main_loop, -1);
    }
    ck_assert_int_eq(block_run(compare_all, &u), 0);
    /* The last bytes were written, and the file is as long as before. */
    ck_assert_int_eq(stat(tmp_path("a.raw"), &st), 0);
    ck_assert_int_eq(st.st_size, 100000);
    g_free(u.model);
}
END_TEST

typedef struct {
    BlockNode *n;
    struct iovec *iov;
} Vec;

enum { N = 3000, LEN = 512 };

static int coroutine_fn write_vec(void *data)
{
    Vec *vec = data;

    return block_pwritev(vec->n, 0, N * LEN, vec->iov, N, 0);
}

START_TEST(many_buffers)
{
    BlockBackend *blk;
    struct iovec *iov = g_new(struct iovec, N);
    uint8_t *a = aligned(N * LEN, 0), *b = aligned(N * LEN, 0);

    make_raw("a.raw", 4 * MiB);
    blk = new_drive(NULL, "file=%s,format=raw,cache=none", tmp_path("a.raw"));
    for (int i = 0; i < N; i++) {
        memset(a + i * LEN, i, LEN);
        iov[i] = (struct iovec){.iov_base = a + i * LEN, .iov_len = LEN};
    }
    Vec vec = {block_backend_node(blk), iov};
    ck_assert_int_eq(block_run(write_vec, &vec), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, b, N * LEN), 0);
    ck_assert_mem_eq(a, b, N * LEN);
    g_free(iov);
    free(a);
    free(b);
}
END_TEST

/* --- drain, threads --- */

typedef struct Worker Worker;
typedef struct {
    BlockRequest req;
    Worker *w;
    struct iovec iov;
    uint8_t *buf;
    uint64_t block;
    bool writing;
    uint8_t value;
} WorkItem;

enum { WORKERS = 3, DEPTH = 8, BLOCK = 4096, BLOCKS = 64 };

struct Worker {
    BlockBackend *blk;
    EventLoop *loop;
    GThread *thread;
    unsigned id;
    WorkItem items[DEPTH];
    int live;
    int left;
    int *finished, *completions; /* atomic */
};

static void next_item(WorkItem *it);

static void item_done(BlockRequest *req, int ret)
{
    WorkItem *it = (WorkItem *)((char *)req - offsetof(WorkItem, req));

    g_assert_cmpint(ret, ==, 0);
    __atomic_add_fetch(it->w->completions, 1, __ATOMIC_SEQ_CST);
    g_assert(event_loop_current() == it->w->loop);
    if (!it->writing) {
        for (unsigned i = 0; i < BLOCK; i++) {
            g_assert_cmpint(it->buf[i], ==, it->value);
        }
    }
    next_item(it);
}

/* Each item has blocks of its own: write one, read it back, take the next. */
static void next_item(WorkItem *it)
{
    Worker *w = it->w;

    if (!it->writing && --w->left <= 0) {
        if (--w->live == 0) {
            __atomic_add_fetch(w->finished, 1, __ATOMIC_SEQ_CST);
        }
        return;
    }
    it->writing = !it->writing;
    if (it->writing) {
        it->block = (it->block + 1) % BLOCKS;
        it->value++;
        memset(it->buf, it->value, BLOCK);
    }
    unsigned slot = w->id * DEPTH + (it - w->items);
    it->req = (BlockRequest){
        .op = it->writing ? BLOCK_OP_WRITE : BLOCK_OP_READ,
        .offset = ((uint64_t)slot * BLOCKS + it->block) * BLOCK,
        .bytes = BLOCK,
        .iov = &it->iov,
        .niov = 1,
        .done = item_done,
    };
    block_backend_submit(w->blk, &it->req);
}

static void worker_start(void *data)
{
    Worker *w = data;

    w->live = DEPTH;
    for (int i = 0; i < DEPTH; i++) {
        WorkItem *it = &w->items[i];
        it->w = w;
        it->buf = aligned(BLOCK, 0);
        it->iov = (struct iovec){.iov_base = it->buf, .iov_len = BLOCK};
        next_item(it);
    }
}

static void *worker_thread(void *data)
{
    event_loop_run(((Worker *)data)->loop);
    return NULL;
}

typedef struct {
    BlockBackend *blk;
    int *finished, *completions; /* atomic */
    bool done;
} Drainer;

static void coroutine_fn drainer(void *data)
{
    Drainer *d = data;

    while (__atomic_load_n(d->finished, __ATOMIC_SEQ_CST) < WORKERS) {
        block_drain_all_begin();
        /* No request completes. in_flight is not 0 all the time: it counts held ones for a moment.
         */
        int before = __atomic_load_n(d->completions, __ATOMIC_SEQ_CST);
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 2);
        g_assert_cmpint(__atomic_load_n(d->completions, __ATOMIC_SEQ_CST), ==, before);
        block_drain_all_end();
        g_assert_cmpint(block_flush_all(), ==, 0);
        coroutine_sleep(CLOCK_REALTIME_NS, 2 * NS_PER_MS);
    }
    d->done = true;
}

static void hammer(const char *options)
{
    BlockBackend *blk = new_drive(NULL, "%s", options);
    Worker workers[WORKERS] = {0};
    int finished = 0, completions = 0;
    Drainer d = {.blk = blk, .finished = &finished, .completions = &completions};

    for (int i = 0; i < WORKERS; i++) {
        Worker *w = &workers[i];
        w->blk = blk;
        w->id = i;
        w->left = 4000;
        w->finished = &finished;
        w->completions = &completions;
        w->loop = event_loop_new("worker", NULL);
        ck_assert_ptr_nonnull(w->loop);
        w->thread = g_thread_new("worker", worker_thread, w);
        event_loop_call(w->loop, worker_start, w);
    }
    coroutine_start(drainer, &d);
    turn_until(&d.done);
    for (int i = 0; i < WORKERS; i++) {
        event_loop_quit(workers[i].loop);
        g_thread_join(workers[i].thread);
        event_loop_free(workers[i].loop);
        for (int k = 0; k < DEPTH; k++) {
            free(workers[i].items[k].buf);
        }
    }
    ck_assert_uint_eq(block_backend_in_flight(blk), 0);
}

START_TEST(threads_raw)
{
    make_raw("a.raw", 8 * MiB);
    g_autofree char *options = g_strdup_printf("file=%s,format=raw", tmp_path("a.raw"));
    hammer(options);
}
END_TEST

START_TEST(threads_raw_native)
{
    make_raw("a.raw", 8 * MiB);
    g_autofree char *options =
        g_strdup_printf("file=%s,format=raw,cache=none,aio=native", tmp_path("a.raw"));
    hammer(options);
}
END_TEST

START_TEST(threads_qcow2)
{
    make_qcow2("a.qcow2", "size=8M,cluster_size=8k");
    g_autofree char *options = g_strdup_printf("file=%s,format=qcow2", tmp_path("a.qcow2"));
    hammer(options);
}
END_TEST

START_TEST(threads_qcow2_pool)
{
    make_qcow2("a.qcow2", "size=8M,cluster_size=8k");
    g_autofree char *options =
        g_strdup_printf("file=%s,format=qcow2,aio=threads,l2-cache-size=4k", tmp_path("a.qcow2"));
    hammer(options);
}
END_TEST

/* A file whose last sector is not whole: the disk has all of it, with zeroes past the end. */
static void odd_length(const char *more)
{
    g_autofree char *options = NULL;
    BlockBackend *blk;
    uint8_t *a = aligned(8192, 0x5a), *b = aligned(8192, 0x11);
    struct stat st;

    make_raw("odd.raw", 4096 + 1000);
    options = g_strdup_printf("file=%s,format=raw,discard=unmap%s", tmp_path("odd.raw"), more);
    blk = new_drive(NULL, "%s", options);
    ck_assert_int_eq(block_backend_length(blk), 4096 + 1024);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 4096, a, 512), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 4096, b, 1024), 0);
    ck_assert_mem_eq(a, b, 512);
    ck_assert(buffer_is_zero(b + 512, 512));
    ck_assert_int_eq(do_io(blk, BLOCK_OP_DISCARD, 4096 + 512, NULL, 512), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 4096 + 512, b, 1024), -EIO);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 4096 + 512, a, 1024), -EIO);
    ck_assert_int_eq(stat(tmp_path("odd.raw"), &st), 0);
    ck_assert_int_eq(st.st_size, 4096 + 1000); /* nothing was written there */
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 4096 + 512, a, 512), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 4096 + 512, b, 512), 0);
    ck_assert_mem_eq(a, b, 512);
    ck_assert_int_eq(stat(tmp_path("odd.raw"), &st), 0);
    ck_assert_int_eq(st.st_size, 4096 + 1024);
    ck_assert_int_eq(block_backend_length(blk), 4096 + 1024);
    free(a);
    free(b);
}

START_TEST(odd_length_cached)
{
    odd_length("");
}
END_TEST

START_TEST(odd_length_direct)
{
    odd_length(",cache=none");
}
END_TEST

START_TEST(odd_length_threads)
{
    odd_length(",aio=threads");
}
END_TEST

START_TEST(odd_length_zeroes)
{
    BlockBackend *blk;
    struct stat st;
    uint8_t b[512];

    make_raw("odd.raw", 1000);
    blk = new_drive(NULL, "file=%s,format=raw,discard=unmap", tmp_path("odd.raw"));
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE_ZEROES, 0, NULL, 1024), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 512, b, 512), 0);
    ck_assert(buffer_is_zero(b, 512));
    ck_assert_int_eq(stat(tmp_path("odd.raw"), &st), 0);
    ck_assert_int_eq(st.st_size, 1024);
}
END_TEST

/* A raw window at the end of a file whose last sector is not whole. */
START_TEST(odd_length_windows)
{
    json_auto_t *window = NULL;
    GError *err = NULL;
    BlockNode *n;

    make_raw("odd.raw", 1000);
    window = parse_tree("{\"driver\":\"raw\",\"offset\":512,\"size\":512,"
                        "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
                        tmp_path("odd.raw"));
    n = block_node_open(window, &err);
    ck_no_error(err);
    ck_assert_int_eq(block_length(n), 512);
    ck_assert_int_eq(block_length(n->file), 1024);
    ck_assert_int_eq(block_exact_length(n->file), 1000);
    block_node_unref(n);
    json_object_set_new(window, "size", json_integer(600));
    ck_assert_ptr_null(block_node_open(window, &err));
    ck_error(err, "not multiple of 512");
}
END_TEST

/* The threads of the pool that this process has. */
static unsigned pool_threads(void)
{
    GDir *tasks = g_dir_open("/proc/self/task", 0, NULL);
    unsigned count = 0;

    ck_assert_ptr_nonnull(tasks);
    for (const char *id; (id = g_dir_read_name(tasks));) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", id), *comm = NULL;

        count += g_file_get_contents(path, &comm, NULL, NULL) && g_str_equal(comm, "pool\n");
    }
    g_dir_close(tasks);
    return count;
}

static unsigned pool_threads_after(const char *options, size_t bytes)
{
    BlockBackend *blk;
    uint8_t *buf = aligned(bytes, 0x77);

    make_raw("a.raw", 2 * MiB);
    blk = new_drive(NULL, "file=%s,format=raw,id=r,if=none%s", tmp_path("a.raw"), options);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, buf, bytes), 0);
    memset(buf, 0, bytes);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, bytes), 0);
    ck_assert_uint_eq(buf[bytes - 1], 0x77);
    free(buf);
    return pool_threads();
}

/* Long requests through the page cache are the pool's, unless somebody asked for an engine. */
START_TEST(long_requests_default)
{
    ck_assert_uint_gt(pool_threads_after("", MiB), 0);
}
END_TEST

START_TEST(long_requests_uring)
{
    if (event_loop_has_uring(main_loop, NULL)) {
        ck_assert_uint_eq(pool_threads_after(",aio=io_uring", MiB), 0);
    }
}
END_TEST

START_TEST(short_requests_default)
{
    if (event_loop_has_uring(main_loop, NULL)) {
        ck_assert_uint_eq(pool_threads_after("", 64 * KiB), 0);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        engine_default,
        engine_threads,
        engine_native,
        engine_uring,
        cache_writethrough,
        cache_directsync,
        cache_unsafe,
        native_next_loop,
        native_needs_direct,
        read_only,
        no_medium,
        error_policy,
        unaligned_direct,
        many_buffers,
        threads_raw,
        threads_raw_native,
        threads_qcow2,
        threads_qcow2_pool,
        half_written,
        half_written_uring,
        odd_length_cached,
        odd_length_direct,
        odd_length_threads,
        odd_length_zeroes,
        odd_length_windows,
        long_requests_default,
        long_requests_uring,
        short_requests_default,
        NULL,
    };

    unit_fork_always();
    return fixture_run("backend", tests);
}
