/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Range locks: who waits for whom, in which order, on one loop and on several. */
#include "graph_fixture.h"

enum { LOOPS = 4, ACTORS = 8, STEPS = 400, UNITS = 8 };

static BlockNode *node;
static const BlockDriver *real_driver;
static BlockDriver driver;
static GString *story; /* what happened, a letter each */

/* Writes of one letter stay in the driver until they are let go. */
static bool gate_closed;

static int coroutine_fn gated_pwritev(BlockNode *n, uint64_t offset, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov, unsigned flags)
{
    ck_assert_uint_eq(flags & BLOCK_REQ_HOLDS_RANGE, 0);
    while (gate_closed) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    return 0;
}

static void node_begin(int coroutine_fn (*pwritev)(BlockNode *, uint64_t, uint64_t,
                                                   const struct iovec *, unsigned, unsigned))
{
    node = graph_add("{'driver':'null-co','node-name':'n','size':1048576}");
    real_driver = node->driver;
    driver = *real_driver;
    driver.pwritev = pwritev;
    node->driver = &driver;
    block_range_track_begin(node);
}

static void node_end(void)
{
    block_range_track_end(node);
    node->driver = real_driver;
}

typedef struct {
    char name;
    bool exclusive, hold; /* hold: until 'release' */
    uint64_t off, bytes;
    bool release, done;
} Actor;

static void coroutine_fn actor_run(void *data)
{
    Actor *a = data;
    BlockRangeLock l;

    if (a->exclusive) {
        block_range_lock(node, &l, a->off, a->bytes);
        g_string_append_c(story, a->name);
        while (a->hold && !a->release) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
        }
        block_range_unlock(node, &l);
    } else {
        ck_assert_int_eq(block_pwrite(node, a->off, story->str, a->bytes, 0), 0);
        g_string_append_c(story, a->name);
    }
    a->done = true;
}

static void actors_start(Actor *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        coroutine_start(actor_run, &a[i]);
    }
}

static void told(const char *want)
{
    turn(20);
    ck_assert_str_eq(story->str, want);
}

/* A writer is in; an exclusive lock waits for it; a later writer waits for the lock. */
START_TEST(order)
{
    Actor a[] = {
        {.name = 'w', .off = 0, .bytes = 512},
        {.name = 'X', .exclusive = true, .hold = true, .off = 0, .bytes = 4096},
        {.name = 'v', .off = 4095, .bytes = 1},
        {.name = 'o', .off = 4096, .bytes = 512},
        {.name = 'Y', .exclusive = true, .off = 4095, .bytes = 2},
        {.name = 'Z', .exclusive = true, .off = 8192, .bytes = 1},
        {.name = 'e', .off = 100, .bytes = 0},
    };
    BlockRangeLock l;

    story = g_string_new_len("", 0);
    g_string_set_size(story, 0);
    node_begin(gated_pwritev);
    gate_closed = true;
    actors_start(a, G_N_ELEMENTS(a));
    told("Ze"); /* what overlaps nothing, and what is empty, does not wait */
    ck_assert(!block_range_trylock(node, &l, 511, 1));
    ck_assert(!block_range_trylock(node, &l, 2000, 1)); /* X, which waits, comes first */
    ck_assert(block_range_trylock(node, &l, 16384, 1));
    block_range_unlock(node, &l);
    gate_closed = false;
    turn_until(&a[0].done);
    turn_until(&a[3].done);
    turn(20);
    ck_assert_ptr_nonnull(strchr(story->str, 'X'));
    ck_assert_ptr_null(strpbrk(story->str, "vY"));
    a[1].release = true;
    turn_until(&a[4].done);
    ck_assert(a[2].done);
    ck_assert(g_str_has_suffix(story->str, "vY")); /* in the order of arrival */
    node_end();
    g_string_free(story, true);
}
END_TEST

/* The holder's own writes go through; those of others, and all kinds of them, do not. */
static void coroutine_fn holder_run(void *data)
{
    Actor *a = data;
    BlockRangeLock l;

    block_range_lock(node, &l, 0, 4096);
    ck_assert_int_eq(block_pwrite(node, 0, data, 1, BLOCK_REQ_HOLDS_RANGE), 0);
    ck_assert_int_eq(block_pwrite_zeroes(node, 0, 512, BLOCK_REQ_HOLDS_RANGE), 0);
    while (!a->release) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 10);
    }
    block_range_unlock(node, &l);
    a->done = true;
}

static bool kinds_done[4];

static void coroutine_fn kind_write(void *data)
{
    ck_assert_int_eq(block_pwrite(node, 0, data, 1, 0), 0);
    kinds_done[0] = true;
}

static void coroutine_fn kind_zeroes(void *data)
{
    ck_assert_int_eq(block_pwrite_zeroes(node, 0, 512, 0), 0);
    kinds_done[1] = true;
}

static void coroutine_fn kind_discard(void *data)
{
    ck_assert_int_eq(block_pdiscard(node, 0, 512), 0);
    kinds_done[2] = true;
}

static void coroutine_fn kind_compressed(void *data)
{
    ck_assert_int_eq(block_pwrite_compressed(node, 0, data, 1), -ENOTSUP);
    kinds_done[3] = true;
}

START_TEST(kinds)
{
    Actor holder = {0};
    void (*const kinds[])(void *) = {kind_write, kind_zeroes, kind_discard, kind_compressed};

    node_begin(gated_pwritev);
    coroutine_start(holder_run, &holder);
    for (int i = 0; i < 4; i++) {
        kinds_done[i] = false;
        coroutine_start(kinds[i], &holder);
    }
    turn(20);
    for (int i = 0; i < 4; i++) {
        ck_assert_msg(!kinds_done[i], "kind %d did not wait", i);
    }
    ck_assert_uint_eq(node->in_flight, 0); /* those that wait are not in the node */
    holder.release = true;
    for (int i = 0; i < 4; i++) {
        turn_until(&kinds_done[i]);
    }
    ck_assert(holder.done);
    node_end();
}
END_TEST

/* A write whose place is cached takes no short way past a lock; a read does. A drain waits. */
typedef struct {
    BlockRequest req;
    struct iovec iov;
    char buf[512];
    bool done;
} Request;

static void request_done(BlockRequest *req, int ret)
{
    ck_assert_int_eq(ret, 0);
    ((Request *)req)->done = true;
}

static void coroutine_fn drain_run(void *data)
{
    block_drain_end(block_drain_begin(node));
    *(bool *)data = true;
}

START_TEST(short_way)
{
    Actor holder = {.name = 'X', .exclusive = true, .hold = true, .off = 0, .bytes = 65536};
    Request r = {.iov = {r.buf, 512}};
    bool drained = false;
    GError *err = NULL;
    BlockBackend *blk;

    story = g_string_new("");
    make_qcow2("q", "size=1M");
    node = graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}",
                     tmp_path("q"));
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(blk, 512, PATTERN), 0);
    ck_assert_int_eq(fill(blk, 512, PATTERN), 0);
    block_range_track_begin(node);
    coroutine_start(actor_run, &holder);
    r.req = (BlockRequest){
        .op = BLOCK_OP_WRITE, .bytes = 512, .iov = &r.iov, .niov = 1, .done = request_done};
    block_backend_submit(blk, &r.req);
    ck_assert_int_eq(peek(blk, 512), PATTERN);
    coroutine_start(drain_run, &drained);
    turn(20);
    ck_assert(!r.done && !drained);
    holder.release = true;
    turn_until(&r.done);
    turn_until(&drained);
    ck_assert(holder.done);
    block_range_track_end(node);
    block_backend_detach(blk, true);
    g_string_free(story, true);
}
END_TEST

/* --- several loops --- */

static struct {
    int writers; /* atomic */
    int plain;   /* of the exclusive holder alone: ThreadSanitizer looks at it */
} units[UNITS];
static int actors_left; /* atomic */

static int coroutine_fn counted_pwritev(BlockNode *n, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    for (uint64_t u = offset / 512; u < (offset + bytes) / 512; u++) {
        __atomic_add_fetch(&units[u].writers, 1, __ATOMIC_SEQ_CST);
    }
    coroutine_sleep(CLOCK_REALTIME_NS, 1000);
    for (uint64_t u = offset / 512; u < (offset + bytes) / 512; u++) {
        g_assert_cmpint(units[u].plain % 2, ==, 0); /* no holder is inside */
        __atomic_sub_fetch(&units[u].writers, 1, __ATOMIC_SEQ_CST);
    }
    return 0;
}

static void coroutine_fn exclusive_step(uint64_t first, uint64_t count)
{
    BlockRangeLock l;

    block_range_lock(node, &l, first * 512, count * 512);
    for (uint64_t u = first; u < first + count; u++) {
        g_assert_cmpint(__atomic_load_n(&units[u].writers, __ATOMIC_SEQ_CST), ==, 0);
        units[u].plain++;
    }
    coroutine_sleep(CLOCK_REALTIME_NS, 1000);
    for (uint64_t u = first; u < first + count; u++) {
        g_assert_cmpint(__atomic_load_n(&units[u].writers, __ATOMIC_SEQ_CST), ==, 0);
        units[u].plain++;
    }
    block_range_unlock(node, &l);
}

static void coroutine_fn stress_actor(void *data)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(GPOINTER_TO_UINT(data));
    static const char zero[UNITS * 512];

    for (int i = 0; i < STEPS; i++) {
        int first = g_rand_int_range(rand, 0, UNITS);
        int count = g_rand_int_range(rand, 1, UNITS - first + 1);

        if (g_rand_int_range(rand, 0, 3) == 0) {
            exclusive_step(first, count);
        } else {
            g_assert_cmpint(block_pwrite(node, first * 512, zero, count * 512, 0), ==, 0);
        }
    }
    __atomic_sub_fetch(&actors_left, 1, __ATOMIC_SEQ_CST);
}

static void stress_start(void *data)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        coroutine_start(stress_actor, GUINT_TO_POINTER(GPOINTER_TO_UINT(data) * ACTORS + i));
    }
}

static void *stress_thread(void *data)
{
    event_loop_run(data);
    return NULL;
}

START_TEST(several_loops)
{
    EventLoop *loops[LOOPS];
    GThread *threads[LOOPS];

    node_begin(counted_pwritev);
    actors_left = LOOPS * ACTORS;
    for (unsigned i = 0; i < LOOPS; i++) {
        loops[i] = event_loop_new("actor", NULL);
        threads[i] = g_thread_new("actor", stress_thread, loops[i]);
        event_loop_call(loops[i], stress_start, GUINT_TO_POINTER(i));
    }
    while (__atomic_load_n(&actors_left, __ATOMIC_SEQ_CST)) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        event_loop_quit(loops[i]);
        g_thread_join(threads[i]);
        event_loop_free(loops[i]);
    }
    node_end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {order, kinds, short_way, several_loops, NULL};

    return fixture_run("range-lock", tests);
}
