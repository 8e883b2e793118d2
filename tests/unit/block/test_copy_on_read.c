/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copy-on-read under a guest that reads and writes the same clusters from several loops. */
#include <errno.h>
#include "block/copy_on_read.h"
#include "graph_fixture.h"

enum { LOOPS = 4, ACTORS = 4, STEPS = 150, SECTORS = 2048, SECTOR = 512 };

/* A sector is a generation in each of its words: 1 is what the backing file has. */
static uint32_t model[SECTORS]; /* sector s belongs to the actor s % (LOOPS * ACTORS) */
static BlockBackend *disk;
static int actors_left; /* atomic */

typedef struct {
    BlockRequest req;
    Coroutine *co;
    int ret;
    bool done;
} Io;

static void io_done(BlockRequest *req, int ret)
{
    Io *io = (Io *)req;

    io->ret = ret;
    io->done = true;
    coroutine_wake(io->co);
}

/* As a device does it, so that what is cached takes the short way. */
static void coroutine_fn io_run(BlockOp op, uint64_t sector, uint32_t *words)
{
    struct iovec iov = {.iov_base = words, .iov_len = SECTOR};
    Io io = {.req = {.op = op,
                     .offset = sector * SECTOR,
                     .bytes = SECTOR,
                     .iov = &iov,
                     .niov = 1,
                     .done = io_done},
             .co = coroutine_self()};

    block_backend_submit(disk, &io.req);
    while (!io.done) {
        coroutine_yield();
    }
    coroutine_wait_over();
    g_assert_cmpint(io.ret, ==, 0);
}

static void coroutine_fn actor(void *data)
{
    unsigned id = GPOINTER_TO_UINT(data);
    g_autoptr(GRand) rand = g_rand_new_with_seed(id);
    uint32_t words[SECTOR / 4];

    for (int i = 0; i < STEPS; i++) {
        unsigned s = g_rand_int_range(rand, 0, SECTORS / (LOOPS * ACTORS)) * LOOPS * ACTORS + id;

        if (g_rand_int_range(rand, 0, 3) == 0) {
            model[s]++;
            for (unsigned w = 0; w < G_N_ELEMENTS(words); w++) {
                words[w] = model[s];
            }
            io_run(BLOCK_OP_WRITE, s, words);
        } else {
            io_run(BLOCK_OP_READ, s, words);
            for (unsigned w = 0; w < G_N_ELEMENTS(words); w++) {
                g_assert_cmpuint(words[w], ==, model[s]);
            }
        }
    }
    __atomic_sub_fetch(&actors_left, 1, __ATOMIC_SEQ_CST);
}

static void loop_start(void *data)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        coroutine_start(actor, GUINT_TO_POINTER(GPOINTER_TO_UINT(data) * ACTORS + i));
    }
}

static void *loop_thread(void *data)
{
    event_loop_run(data);
    return NULL;
}

static void run_actors(void)
{
    EventLoop *loops[LOOPS];
    GThread *threads[LOOPS];

    actors_left = LOOPS * ACTORS;
    for (unsigned i = 0; i < LOOPS; i++) {
        loops[i] = event_loop_new("actor", NULL);
        threads[i] = g_thread_new("actor", loop_thread, loops[i]);
        event_loop_call(loops[i], loop_start, GUINT_TO_POINTER(i));
    }
    while (__atomic_load_n(&actors_left, __ATOMIC_SEQ_CST)) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        event_loop_quit(loops[i]);
        g_thread_join(threads[i]);
        event_loop_free(loops[i]);
    }
}

/* The backing file: sectors of ones. */
static void make_base(void)
{
    g_autofree uint32_t *words = g_new(uint32_t, SECTORS * SECTOR / 4);

    for (unsigned i = 0; i < SECTORS * SECTOR / 4; i++) {
        words[i] = 1;
    }
    ck_assert(g_file_set_contents(tmp_path("base"), (char *)words, SECTORS * SECTOR, NULL));
    for (unsigned i = 0; i < SECTORS; i++) {
        model[i] = 1;
    }
}

/* A drive of an overlay on 'base', with 'copy-on-read=on'. */
static void open_disk(void)
{
    g_autofree char *options =
        g_strdup_printf("size=1M,cluster_size=4k,backing_file=base,backing_fmt=raw");

    make_base();
    make_qcow2("top", options);
    disk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,copy-on-read=on", tmp_path("top"));
}

typedef struct {
    BlockNode *node;
    uint64_t off, bytes;
    int ret;
    uint64_t len;
} Ask;

static void coroutine_fn ask_status(void *data)
{
    Ask *a = data;

    a->ret = block_status(a->node, a->off, a->bytes, &a->len, NULL, NULL);
}

static void coroutine_fn ask_copy_up(void *data)
{
    Ask *a = data;

    a->ret = block_copy_up(a->node, a->off, a->bytes);
}

/* Whether the image itself has the sector's cluster. */
static bool has(uint64_t off)
{
    Ask a = {.node = block_backend_node(disk)->file, .off = off, .bytes = 512};

    graph_run(ask_status, &a);
    ck_assert_int_ge(a.ret, 0);
    return a.ret & BLOCK_STATUS_ALLOCATED;
}

START_TEST(several_loops)
{
    open_disk();
    run_actors();
    for (unsigned s = 0; s < SECTORS; s++) {
        uint32_t words[SECTOR / 4];
        ck_assert_int_eq(do_io(disk, BLOCK_OP_READ, s * SECTOR, words, SECTOR), 0);
        ck_assert_uint_eq(words[0], model[s]);
        ck_assert_uint_eq(words[SECTOR / 4 - 1], model[s]);
        ck_assert(has(s * SECTOR));
    }
}
END_TEST

/* What a query shows is the image; the cluster is copied, and its neighbours are not. */
START_TEST(cluster)
{
    Ask up = {.off = 64 * KiB + 512, .bytes = 8 * KiB};
    uint32_t words[SECTOR / 4];

    open_disk();
    ck_assert_str_eq(block_backend_node(disk)->driver->name, "copy-on-read");
    ck_assert(!has(4096));
    ck_assert_int_eq(do_io(disk, BLOCK_OP_READ, 5 * KiB, words, SECTOR), 0);
    ck_assert_uint_eq(words[0], 1);
    ck_assert(has(4096) && has(8192 - 512));
    ck_assert(!has(0) && !has(8192));
    up.node = block_backend_node(disk);
    graph_run(ask_copy_up, &up);
    ck_assert_int_eq(up.ret, 0);
    ck_assert(has(64 * KiB) && has(68 * KiB) && has(72 * KiB));
    ck_assert(!has(76 * KiB) && !has(60 * KiB));
}
END_TEST

static int coroutine_fn no_space(BlockNode *n, uint64_t off, uint64_t bytes,
                                 const struct iovec *iov, unsigned niov, unsigned flags)
{
    return -ENOSPC;
}

/* The image has no room: the read says so, and the lock is free for the next one. */
START_TEST(no_room)
{
    static BlockDriver failing;
    uint32_t words[SECTOR / 4];
    BlockNode *image;
    const BlockDriver *real;

    open_disk();
    image = block_backend_node(disk)->file;
    real = image->driver;
    failing = *real;
    failing.pwritev = no_space;
    image->driver = &failing;
    ck_assert_int_eq(do_io(disk, BLOCK_OP_READ, 0, words, SECTOR), -ENOSPC);
    image->driver = real;
    ck_assert(!has(0));
    ck_assert_int_eq(do_io(disk, BLOCK_OP_READ, 0, words, SECTOR), 0);
    ck_assert(has(0));
    ck_assert_int_eq(do_io(disk, BLOCK_OP_WRITE, 0, words, SECTOR), 0);
}
END_TEST

/* Where a chain must not change, a change is refused; it may again when the filter is gone. */
START_TEST(bottom)
{
    BlockNode *filter;
    Ask up = {.bytes = 64 * KiB};
    GError *err = NULL;
    Chain c = chain_make();

    block_backend_detach(c.disk, true);
    block_backend_detach(c.other, true);
    filter = graph_add("{'driver':'copy-on-read','node-name':'f','file':'top','bottom':'middle'}");
    must_not_reopen("[{'driver':'qcow2','node-name':'top','backing':'base'}]",
                    "Cannot change the 'backing' link of 'top': node 'f' relies on it");
    up.node = filter;
    graph_run(ask_copy_up, &up);
    ck_assert_int_eq(up.ret, 0);
    ck_assert(block_node_del_monitor_owned("f", &err));
    ck_no_error(err);
    must_reopen("[{'driver':'qcow2','node-name':'top','backing':'base'}]");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {several_loops, cluster, no_room, bottom, NULL};

    return fixture_run("copy-on-read", tests);
}
