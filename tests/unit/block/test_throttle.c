/* SPDX-License-Identifier: GPL-2.0-or-later */
/* I/O limits, by a clock that the test moves: who goes when, in which order, and in drains. */
#include <errno.h>

#include "block/throttle.h"
#include "block/histogram.h"
#include "block/parking.h"
#include "block/write_threshold.h"
#include "graph_fixture.h"

enum { LOOPS = 4, ACTORS = 4, STEPS = 50 };
#define SEC NS_PER_SEC

static GString *story;

static void setup(void)
{
    fixture_setup();
    virtual_clock_make_manual();
    story = g_string_new("");
}

static void teardown(void)
{
    g_string_free(story, true);
    fixture_teardown();
}

static ThrottleGroup *group_new(const char *limits)
{
    g_auto(GStrv) words = g_strsplit_set(limits, "=,", -1);
    ThrottleGroup *g = throttle_group_get("g");
    GError *err = NULL;
    ThrottleConfig c;

    throttle_config_init(&c);
    for (unsigned i = 0; words[i]; i += 2) {
        *throttle_config_field(&c, words[i]) = g_ascii_strtoull(words[i + 1], NULL, 10);
    }
    ck_assert_msg(throttle_config_check(&c, &err), "%s", err ? err->message : "");
    throttle_group_set_config(g, &c);
    return g;
}

/* Some requests of a member, one after the other. */
typedef struct {
    ThrottleMember *m;
    char name;
    bool write;
    uint64_t bytes;
    unsigned count;
} Asker;

static void coroutine_fn ask_one(void *data)
{
    Asker a = *(Asker *)data;

    throttle_wait(a.m, a.write, a.bytes);
    g_string_append_c(story, a.name);
}

static void ask(ThrottleMember *m, char name, bool write, uint64_t bytes, unsigned count)
{
    Asker a = {.m = m, .name = name, .write = write, .bytes = bytes};

    while (count--) {
        coroutine_start(ask_one, &a);
    }
}

static void expect_at(int64_t ns, const char *want)
{
    virtual_clock_set(ns);
    turn(5);
    ck_assert_str_eq(story->str, want);
}

/* Ten a second: two at once (a tenth of a second's worth, and the one that fills the bucket). */
START_TEST(operations)
{
    ThrottleGroup *g = group_new("iops-total=10");
    ThrottleMember *m = throttle_member_new(g);

    ask(m, 'r', false, 1 << 20, 3);
    ask(m, 'w', true, 1, 1);
    expect_at(0, "rr");
    expect_at(SEC / 10 - 1, "rr");
    expect_at(SEC / 10, "rrr");
    expect_at(SEC / 5, "rrrw");
    expect_at(10 * SEC, "rrrw");
    ask(m, 'x', true, 1, 3);
    expect_at(10 * SEC, "rrrwxx"); /* an idle time is not saved up */
    expect_at(11 * SEC, "rrrwxxx");
    throttle_member_unref(m);
    throttle_group_unref(g);
}
END_TEST

START_TEST(bursts)
{
    ThrottleGroup *g = group_new("bps-write=1000,bps-write-max=5000,bps-write-max-length=2");
    ThrottleMember *m = throttle_member_new(g);

    /* 5000 a second for two seconds, then 1000 a second. Reads have no limit. */
    ask(m, 'w', true, 1000, 16);
    ask(m, 'r', false, 1 << 30, 2);
    expect_at(0, "wrr"); /* the burst's rate holds for each request, too */
    expect_at(1 * SEC, "wrrwwwww");
    expect_at(2 * SEC, "wrrwwwwwwwwww");
    expect_at(10 * SEC, "wrrwwwwwwwwwwwwwww");
    ck_assert_uint_eq(strlen(story->str), 18);
    throttle_member_unref(m);
    throttle_group_unref(g);
}
END_TEST

START_TEST(sizes)
{
    ThrottleGroup *g = group_new("iops-total=10,iops-size=4096");
    ThrottleMember *m = throttle_member_new(g);

    ask(m, 'a', false, 8 * 4096, 1); /* counts as eight */
    ask(m, 'b', false, 100, 1);
    expect_at(SEC * 7 / 10 - 1, "a");
    expect_at(SEC * 7 / 10, "ab");
    throttle_member_unref(m);
    throttle_group_unref(g);
}
END_TEST

/* Two members take turns, however much one of them has asked for before. */
START_TEST(turns)
{
    ThrottleGroup *g = group_new("iops-total=10");
    ThrottleMember *a = throttle_member_new(g), *b = throttle_member_new(g);

    ask(a, 'a', true, 512, 6);
    ask(b, 'b', true, 512, 4);
    ask(b, 'r', false, 512, 2);
    expect_at(0, "aa");
    for (int i = 1; i <= 10; i++) {
        virtual_clock_set(i * SEC / 10);
        turn(3);
    }
    ck_assert_uint_eq(strlen(story->str), 12);
    ck_assert_ptr_nonnull(strchr(story->str + 2, 'r')); /* reads and writes take turns as well */
    ck_assert_ptr_nonnull(strchr(story->str + 2, 'b'));
    ck_assert_msg(strchr(story->str + 2, 'b') - story->str < 6, "%s", story->str);
    ck_assert_ptr_null(strstr(story->str + 2, "aaa"));
    throttle_member_unref(a);
    throttle_member_unref(b);
    throttle_group_unref(g);
}
END_TEST

START_TEST(new_limits_and_lifting)
{
    ThrottleGroup *g = group_new("bps-total=1");
    ThrottleMember *a = throttle_member_new(g), *b = throttle_member_new(g);

    ask(a, 'a', true, 1000, 3);
    ask(b, 'b', true, 1000, 1);
    expect_at(0, "a");
    throttle_member_lift(a);
    expect_at(0, "aaa");
    ask(a, 'a', true, 1000, 1);
    expect_at(0, "aaaa");
    throttle_member_unlift(a);
    ask(a, 'c', true, 1000, 1);
    expect_at(SEC, "aaaa");
    throttle_group_unref(group_new("bps-total=100000"));
    expect_at(SEC, "aaaabc");
    throttle_member_unref(a);
    throttle_member_unref(b);
    throttle_group_unref(g);
}
END_TEST

/* Requests of a drive, which is a throttle node or has limits of its own. */
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

static void refused_done(BlockRequest *req, int ret)
{
    ck_assert_int_eq(ret, -EFAULT);
    ((Request *)req)->done = true;
}

static void submit(Request *r, BlockBackend *blk, BlockOp op)
{
    r->done = false;
    r->iov = (struct iovec){r->buf, 512};
    r->req =
        (BlockRequest){.op = op, .bytes = 512, .iov = &r->iov, .niov = 1, .done = request_done};
    block_backend_submit(blk, &r->req);
}

static void coroutine_fn drain_node(void *data)
{
    block_drain_end(block_drain_begin(data));
}

static void coroutine_fn drain_backend(void *data)
{
    block_backend_drain_begin(data);
    block_backend_drain_end(data);
}

/* The second write waits for ages; each kind of drain lets it go. The third waits again. */
static void drains(BlockBackend *blk, BlockNode *file)
{
    Request r[2] = {0};

    submit(&r[0], blk, BLOCK_OP_WRITE);
    turn_until(&r[0].done);
    submit(&r[1], blk, BLOCK_OP_WRITE);
    turn(20);
    ck_assert(!r[1].done);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    graph_run(drain_node, file);
    ck_assert(r[1].done);
    submit(&r[0], blk, BLOCK_OP_READ);
    turn(20);
    ck_assert(!r[0].done);
    graph_run(drain_backend, blk);
    ck_assert(r[0].done);
    submit(&r[0], blk, BLOCK_OP_WRITE_ZEROES);
    turn(20);
    ck_assert(!r[0].done);
    virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + 2000 * SEC);
    turn_until(&r[0].done);
}

START_TEST(drains_of_a_node)
{
    ThrottleGroup *g = group_new("bps-total=1");
    GError *err = NULL;
    BlockBackend *blk;

    make_raw("d", UNIT);
    graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
              tmp_path("d"));
    graph_add("{'driver':'throttle','node-name':'t','throttle-group':'g','file':'r'}");
    blk = graph_disk("t", "/machine/peripheral/a", &err);
    ck_no_error(err);
    drains(blk, block_node_find("r"));
    throttle_group_unref(throttle_group_get("other"));
    must_not_reopen("[{'driver':'throttle','node-name':'t','throttle-group':'other'}]",
                    "Throttle group 'other' does not exist");
    block_backend_detach(blk, true);
    throttle_group_unref(g);
}
END_TEST

START_TEST(drains_of_a_drive)
{
    ThrottleConfig c;
    BlockBackend *blk;

    make_raw("d", UNIT);
    blk = new_drive(NULL, "file=%s,format=raw,if=none,id=d,bps=1", tmp_path("d"));
    ck_assert_str_eq(block_backend_limits(blk, &c), "d");
    ck_assert_uint_eq(c.limits[THROTTLE_BPS_TOTAL].avg, 1);
    drains(blk, block_backend_node(blk)->file);
}
END_TEST

/* Guest memory is lost while a write waits for its turn. */
START_TEST(refused_while_it_waits)
{
    BlockOp ops[] = {BLOCK_OP_WRITE, BLOCK_OP_WRITE_ZEROES};
    Request r = {0};
    BlockBackend *blk;

    make_raw("d", UNIT);
    blk = new_drive(NULL, "file=%s,format=raw,if=none,id=d,bps=1", tmp_path("d"));
    r.buf[511] = 7;
    submit(&r, blk, BLOCK_OP_WRITE);
    turn_until(&r.done);
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        r.buf[511] = 8;
        submit(&r, blk, ops[i]);
        r.req.done = refused_done;
        turn(20);
        ck_assert(!r.done);
        block_refuse_writes(true);
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + 2000 * SEC);
        turn_until(&r.done);
        /* A read is not refused. The next write waits for its sake. */
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + 2000 * SEC);
        submit(&r, blk, BLOCK_OP_READ);
        turn_until(&r.done);
        ck_assert_int_eq(r.buf[511], 7);
        block_refuse_writes(false);
    }
}
END_TEST

typedef struct {
    BlockBackend *blk;
    const char *group;
    uint64_t bps;
} NewLimits;

static void coroutine_fn set_limits(void *data)
{
    NewLimits *n = data;
    GError *err = NULL;
    ThrottleConfig c;

    throttle_config_init(&c);
    c.limits[THROTTLE_BPS_TOTAL].avg = n->bps;
    block_backend_set_limits(n->blk, n->group, &c, &err);
    ck_no_error(err);
}

/* Limits begin, move to another group and end while requests wait. */
START_TEST(limits_of_a_drive_change)
{
    Request r = {0};
    NewLimits n = {.bps = 1};
    ThrottleConfig c;

    make_raw("d", UNIT);
    n.blk = new_drive(NULL, "file=%s,format=raw,if=none,id=d", tmp_path("d"));
    ck_assert_ptr_null(block_backend_limits(n.blk, &c));
    graph_run(set_limits, &n);
    submit(&r, n.blk, BLOCK_OP_WRITE);
    turn_until(&r.done);
    submit(&r, n.blk, BLOCK_OP_WRITE);
    turn(20);
    ck_assert(!r.done);
    n.group = "other";
    graph_run(set_limits, &n);
    ck_assert(r.done);
    ck_assert_str_eq(block_backend_limits(n.blk, &c), "other");
    ck_assert_ptr_null(throttle_group_find("d"));
    submit(&r, n.blk, BLOCK_OP_WRITE);
    turn_until(&r.done);
    submit(&r, n.blk, BLOCK_OP_WRITE);
    turn(20);
    ck_assert(!r.done);
    n.bps = 0;
    graph_run(set_limits, &n);
    ck_assert(r.done);
    ck_assert_ptr_null(block_backend_limits(n.blk, &c));
    ck_assert_ptr_null(throttle_group_find("other"));
}
END_TEST

/* --- several loops --- */

static ThrottleMember *members[LOOPS];
static int actors_left; /* atomic */

static void coroutine_fn actor(void *data)
{
    ThrottleMember *m = data;

    for (int i = 0; i < STEPS; i++) {
        throttle_wait(m, i % 2, 1 + i * 100);
    }
    __atomic_sub_fetch(&actors_left, 1, __ATOMIC_SEQ_CST);
}

static void loop_start(void *data)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        coroutine_start(actor, data);
    }
}

static void *loop_thread(void *data)
{
    event_loop_run(data);
    return NULL;
}

START_TEST(several_loops)
{
    ThrottleGroup *g = group_new("iops-total=100,bps-read=100000");
    EventLoop *loops[LOOPS];
    GThread *threads[LOOPS];

    actors_left = LOOPS * ACTORS;
    for (unsigned i = 0; i < LOOPS; i++) {
        members[i] = throttle_member_new(g);
        loops[i] = event_loop_new("actor", NULL);
        threads[i] = g_thread_new("actor", loop_thread, loops[i]);
        event_loop_call(loops[i], loop_start, members[i]);
    }
    for (unsigned i = 0; __atomic_load_n(&actors_left, __ATOMIC_SEQ_CST); i++) {
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + NS_PER_SEC / 20);
        event_loop_iterate(main_loop, 0);
        if (i % 16 == 0) {
            throttle_member_lift(members[i / 16 % LOOPS]);
            throttle_member_unlift(members[i / 16 % LOOPS]);
        }
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        event_loop_quit(loops[i]);
        g_thread_join(threads[i]);
        event_loop_free(loops[i]);
        throttle_member_unref(members[i]);
    }
    throttle_group_unref(g);
}
END_TEST

/* --- what is wrong --- */

START_TEST(refused)
{
    static const struct {
        const char *names[3];
        uint64_t values[3];
        const char *why;
    } bad[] = {
        {{"bps-total", "bps-read"}, {1, 1}, "total values and read/write values"},
        {{"iops-total-max", "iops-write-max"}, {1, 1}, "total values and read/write values"},
        {{"iops-size"}, {1}, "iops size requires an iops value"},
        {{"bps-read"}, {1000000000000001}, "must be within [0, 1000000000000000]"},
        {{"bps-read", "bps-read-max-length"}, {1, 0}, "cannot be 0"},
        {{"bps-read", "bps-read-max-length"}, {1, 2}, "burst length set without burst rate"},
        {{"bps-read", "bps-read-max", "bps-read-max-length"},
         {1, 1000000000, 10000000},
         "burst length too high"},
        {{"bps-read-max"}, {1}, "require corresponding bps/iops values"},
        {{"bps-read", "bps-read-max"}, {2, 1}, "cannot be lower than"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;
        ThrottleConfig c;

        throttle_config_init(&c);
        for (unsigned k = 0; k < 3 && bad[i].names[k]; k++) {
            *throttle_config_field(&c, bad[i].names[k]) = bad[i].values[k];
        }
        ck_assert(!throttle_config_check(&c, &err));
        ck_error(err, bad[i].why);
    }
}
END_TEST

/* --- thresholds, histograms --- */

static uint64_t told_exceeded, told_threshold;
static unsigned told_times;

static void threshold_told(const char *node, uint64_t exceeded, uint64_t threshold, void *user)
{
    ck_assert_str_eq(node, "q");
    told_exceeded = exceeded;
    told_threshold = threshold;
    told_times++;
}

static void coroutine_fn set_threshold(void *data)
{
    block_set_write_threshold(block_node_find("q"), *(uint64_t *)data);
}

/* A write whose place is cached is seen as well, the first time; a read never is. */
START_TEST(threshold)
{
    uint64_t at = 4096, off = 0;
    GError *err = NULL;
    BlockBackend *blk;
    BlockNode *q;

    make_qcow2("q", "size=1M");
    q = graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("q"));
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    block_set_threshold_handler(threshold_told, NULL);
    ck_assert_int_eq(fill(blk, 8192, 1), 0);
    graph_run(set_threshold, &at);
    ck_assert_int_eq(fill(blk, 4096 - 512, 1), 0);
    ck_assert_int_eq(peek(blk, 8192), 1);
    ck_assert_uint_eq(told_times, 0);
    ck_assert_uint_eq(block_write_threshold(q), 4096);
    ck_assert_int_eq(fill(blk, 8192, 1), 0);
    ck_assert_uint_eq(told_times, 1);
    ck_assert_uint_eq(told_exceeded, 4096 + 512);
    ck_assert_uint_eq(told_threshold, 4096);
    ck_assert_uint_eq(block_write_threshold(q), 0);
    ck_assert_uint_eq(q->write_intercepts, 0);
    ck_assert_int_eq(fill(blk, 8192, 1), 0);
    ck_assert_uint_eq(told_times, 1);
    graph_run(set_threshold, &at);
    ck_assert_uint_eq(q->write_intercepts, 1);
    graph_run(set_threshold, &off);
    ck_assert_uint_eq(q->write_intercepts, 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE_ZEROES, 4096, NULL, 4096), 0);
    ck_assert_uint_eq(told_times, 1);
    block_set_threshold_handler(NULL, NULL);
    block_backend_detach(blk, true);
}
END_TEST

static void histogram_is(BlockBackend *blk, BlockOp op, const char *want)
{
    json_auto_t *h = block_backend_histogram(blk, op);
    g_autofree char *text = h ? json_dumps(h, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    ck_assert_str_eq(text ? text : "none", want);
    if (text) {
        free(g_steal_pointer(&text));
    }
}

START_TEST(histogram)
{
    json_auto_t *good = parse_tree("[10,50]"), *bad = parse_tree("[10,10]"),
                *zero = parse_tree("[0,1]"), *none = parse_tree("[]");
    BlockBackend *blk;

    make_raw("d", UNIT);
    blk = new_drive(NULL, "file=%s,format=raw,if=none,id=d", tmp_path("d"));
    histogram_is(blk, BLOCK_OP_READ, "none");
    ck_assert(block_backend_set_histogram(blk, BLOCK_OP_READ, good));
    ck_assert(!block_backend_set_histogram(blk, BLOCK_OP_WRITE, bad));
    ck_assert(!block_backend_set_histogram(blk, BLOCK_OP_WRITE, zero));
    histogram_is(blk, BLOCK_OP_WRITE, "none");
    for (uint64_t ns = 9; ns <= 50; ns++) {
        block_histogram_count(blk, BLOCK_OP_READ, ns);
    }
    histogram_is(blk, BLOCK_OP_READ, "{\"bins\":[1,40,1],\"boundaries\":[10,50]}");
    ck_assert(block_backend_set_histogram(blk, BLOCK_OP_WRITE, none));
    ck_assert_int_eq(fill(blk, 0, 1), 0);
    histogram_is(blk, BLOCK_OP_WRITE, "{\"bins\":[1],\"boundaries\":[]}");
    ck_assert(block_backend_set_histogram(blk, BLOCK_OP_READ, good));
    histogram_is(blk, BLOCK_OP_READ, "{\"bins\":[0,0,0],\"boundaries\":[10,50]}");
    block_backend_clear_histograms(blk);
    histogram_is(blk, BLOCK_OP_READ, "none");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {operations,
                                  bursts,
                                  sizes,
                                  turns,
                                  new_limits_and_lifting,
                                  drains_of_a_node,
                                  drains_of_a_drive,
                                  refused_while_it_waits,
                                  limits_of_a_drive_change,
                                  several_loops,
                                  refused,
                                  threshold,
                                  histogram,
                                  NULL};

    unit_fork_always();
    return fixture_run_with("throttle", tests, setup, teardown);
}
