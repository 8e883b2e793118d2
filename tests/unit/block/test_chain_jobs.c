/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stream and commit of a live chain, while other threads write to the disk. */
#include <errno.h>
#include "block/chain_jobs.h"
#include "../../../block/drivers/drivers.h"
#include "cloner.h"
#include "flaky.h"
#include "graph_fixture.h"

enum { PIECE = 4096, PIECES = 768, DISK = PIECE * PIECES, THREADS = 2, DEPTH = 4, QUEUE = 4 };

/*
 * A guest that writes three of four pieces of the disk, once each, in an order of its own, from two
 * threads with four requests each under way. So writes and the job meet in clusters that the image
 * has not yet.
 */
typedef struct Sweep Sweep;
typedef struct {
    BlockRequest req;
    struct iovec iov;
    struct Sweeper *sweeper;
    uint8_t buf[PIECE];
} Slot;
typedef struct Sweeper {
    Sweep *all;
    EventLoop *loop;
    GThread *thread;
    unsigned pieces[PIECES], count, next, live;
    Slot slots[QUEUE];
} Sweeper;
struct Sweep {
    BlockBackend *blk;
    Sweeper sweepers[THREADS];
    int ended; /* atomic */
    bool written[PIECES];
};

static uint8_t piece_byte(unsigned piece)
{
    return 0x80 | piece * 7;
}

static void slot_next(Slot *s);

static void slot_done(BlockRequest *req, int ret)
{
    g_assert_cmpint(ret, ==, 0);
    slot_next((Slot *)((char *)req - offsetof(Slot, req)));
}

static void slot_next(Slot *s)
{
    Sweeper *w = s->sweeper;
    unsigned piece;

    if (w->next == w->count) {
        if (--w->live == 0) {
            __atomic_add_fetch(&w->all->ended, 1, __ATOMIC_SEQ_CST);
        }
        return;
    }
    piece = w->pieces[w->next++];
    memset(s->buf, piece_byte(piece), PIECE);
    s->iov = (struct iovec){.iov_base = s->buf, .iov_len = PIECE};
    s->req = (BlockRequest){.op = BLOCK_OP_WRITE,
                            .offset = (uint64_t)piece * PIECE,
                            .bytes = PIECE,
                            .iov = &s->iov,
                            .niov = 1,
                            .done = slot_done};
    block_backend_submit(w->all->blk, &s->req);
}

static void sweep_begin(void *data)
{
    Sweeper *w = data;

    w->live = QUEUE;
    for (unsigned i = 0; i < QUEUE; i++) {
        w->slots[i].sweeper = w;
        slot_next(&w->slots[i]);
    }
}

static void *sweep_run(void *data)
{
    event_loop_run(((Sweeper *)data)->loop);
    return NULL;
}

static Sweep *sweep_start(BlockBackend *blk, unsigned seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    Sweep *all = g_new0(Sweep, 1);

    all->blk = blk;
    for (unsigned i = 0; i < PIECES; i++) {
        Sweeper *w = &all->sweepers[i % THREADS];

        all->written[i] = g_rand_int_range(rand, 0, 4) != 0;
        if (all->written[i]) {
            unsigned at = g_rand_int_range(rand, 0, w->count + 1);
            w->pieces[w->count++] = w->pieces[at];
            w->pieces[at] = i;
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        Sweeper *w = &all->sweepers[i];

        w->all = all;
        w->loop = event_loop_new("sweep", NULL);
        w->thread = g_thread_new("sweep", sweep_run, w);
        event_loop_call(w->loop, sweep_begin, w);
    }
    return all;
}

static void sweep_end(Sweep *all)
{
    while (__atomic_load_n(&all->ended, __ATOMIC_SEQ_CST) < THREADS) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        event_loop_quit(all->sweepers[i].loop);
        g_thread_join(all->sweepers[i].thread);
        event_loop_free(all->sweepers[i].loop);
    }
}

/* Chains: n0 (the last) to n3, over files of the same names. */

static const char *const names[DEPTH] = {"n0", "n1", "n2", "n3"};
static const char *file_driver = "file";
/* An image that is half as long as the others; -1: none. */
static int short_level = -1;

typedef struct {
    BlockBackend *disk;
    uint8_t *content; /* of the disk */
} Live;

/* At the disk's end n0 alone has data: whatever the others have hides none of it. */
enum { ONLY_LAST = PIECES / 4 };

static int coroutine_fn fill_node(void *data)
{
    BlockNode *n = data;
    unsigned level = n->opts.node_name[1] - '0';
    uint8_t buf[PIECE];
    unsigned pieces = block_length(n) / PIECE;
    int ret = 0;

    if (level) {
        pieces = MIN(pieces, PIECES - ONLY_LAST);
    }
    for (unsigned i = 0; i < pieces && ret == 0; i++) {
        memset(buf, level * 16 + i % 13 + 1, sizeof buf);
        if (i % (level + 2) == 0 && (i / 8 + level) % 3) {
            ret = level && i % 5 == 0 ? block_pwrite_zeroes(n, (uint64_t)i * PIECE, PIECE, 0)
                                      : block_pwrite(n, (uint64_t)i * PIECE, buf, PIECE, 0);
        }
    }
    return ret < 0 ? ret : block_flush(n);
}

static json_t *level_tree(unsigned level, const char *under, bool alone)
{
    json_t *file =
        json_pack("{s:s,s:s}", "driver", file_driver, "filename", tmp_path(names[level]));
    json_t *tree;

    if (under) {
        file = json_pack("{s:s,s:o}", "driver", under, "file", file);
    }
    tree = json_pack("{s:s,s:s,s:b,s:o}", "driver", "qcow2", "node-name", names[level], "read-only",
                     !alone && level + 1 < DEPTH, "file", file);
    if (level) {
        json_object_set_new(tree, "backing", alone ? json_null() : json_string(names[level - 1]));
    }
    return tree;
}

static BlockNode *level_add(unsigned level, const char *under, bool alone)
{
    json_auto_t *tree = level_tree(level, under, alone);
    GError *err = NULL;

    block_node_add_monitor_owned(tree, &err);
    ck_no_error(err);
    return block_node_find(names[level]);
}

/* 'under': a driver between n0 and its file, or NULL. */
static Live live_new(const char *under)
{
    Live l = {.content = g_malloc(DISK)};
    GError *err = NULL;

    for (unsigned i = 0; i < DEPTH; i++) {
        g_autofree char *options =
            g_strdup_printf("size=%d,cluster_size=16k%s%s", (int)i == short_level ? DISK / 2 : DISK,
                            i ? ",backing_fmt=qcow2,backing_file=" : "", i ? names[i - 1] : "");

        make_qcow2(names[i], options);
        ck_assert_int_eq(block_run(fill_node, level_add(i, NULL, true)), 0);
        ck_assert(block_node_del_monitor_owned(names[i], &err));
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        level_add(i, i ? NULL : under, false);
    }
    l.disk = graph_disk("n3", "/machine/peripheral/d", &err);
    ck_no_error(err);
    ck_assert_int_eq(do_io(l.disk, BLOCK_OP_READ, 0, l.content, DISK), 0);
    return l;
}

static void live_check(Live *l, const Sweep *sweep)
{
    g_autofree uint8_t *now = g_malloc(DISK);

    ck_assert_int_eq(do_io(l->disk, BLOCK_OP_READ, 0, now, DISK), 0);
    for (unsigned i = 0; i < DISK; i++) {
        unsigned piece = i / PIECE;
        uint8_t want = sweep && sweep->written[piece] ? piece_byte(piece) : l->content[i];

        if (now[i] != want) { /* an assertion for each byte takes long */
            ck_abort_msg("piece %u: %#x, not %#x", piece, now[i], want);
        }
    }
}

static int coroutine_fn check_node(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    int ret = n->driver->check(n, &res, BLOCK_CHECK_QUIET);

    return ret < 0 ? ret : (int)(res.corruptions + res.check_errors + res.leaks);
}

/* Closes all, and looks at the files anew. 'top' is the image that shows the disk. */
static void live_end(Live *l, const Sweep *sweep)
{
    json_t *tree;
    GError *err = NULL;
    BlockNode *n;

    live_check(l, sweep);
    block_backend_detach(l->disk, true);
    for (unsigned i = DEPTH; i-- > 0;) {
        ck_assert(block_node_del_monitor_owned(names[i], &err));
        ck_no_error(err);
    }
    tree = json_pack("{s:s,s:s,s:{s:s,s:s}}", "driver", "qcow2", "node-name", "again", "file",
                     "driver", "file", "filename", tmp_path("n3"));
    block_node_add_monitor_owned(tree, &err);
    ck_no_error(err);
    json_decref(tree);
    n = block_node_find("again");
    for (BlockNode *at = n; at; at = at->backing) {
        ck_assert_int_eq(block_run(check_node, at), 0);
    }
    l->disk = graph_disk("again", "/machine/peripheral/d", &err);
    ck_no_error(err);
    live_check(l, sweep);
    block_backend_detach(l->disk, true);
    ck_assert(block_node_del_monitor_owned("again", &err));
    g_free(l->content);
}

/* Jobs. */

typedef struct {
    const char *top, *base; /* of a stream, base alone; NULL: all */
    bool commit;
    BlockOnError on_error;
    const char *filter_name;
    uint64_t speed;
    bool ok;
    GError *err;
} Start;

static void coroutine_fn start_job(void *data)
{
    Start *s = data;
    JobOptions o = {
        .id = (char *)"j", .auto_finalize = true, .auto_dismiss = true, .speed = s->speed};

    if (s->commit) {
        BlockCommitJob c = {.disk = block_node_find("n3"),
                            .top = block_node_find(s->top),
                            .base = block_node_find(s->base),
                            .filter_name = s->filter_name,
                            .on_error = s->on_error};
        s->ok = block_commit_job_start(&o, &c, &s->err);
    } else {
        BlockStream c = {.top = block_node_find(s->top ? s->top : "n3"),
                         .base = s->base ? block_node_find(s->base) : NULL,
                         .filter_name = s->filter_name,
                         .on_error = s->on_error};
        s->ok = block_stream_start(&o, &c, &s->err);
    }
}

static Job *job_begin_of(Start *s)
{
    graph_run(start_job, s);
    ck_no_error(s->err);
    return job_find("j", NULL);
}

static const Start kinds[] = {
    {0},
    {.base = "n0"},
    {.base = "n1", .filter_name = "f"},
    {.top = "n2"},
    {.commit = true, .top = "n2", .base = "n0"},
    {.commit = true, .top = "n2", .base = "n1", .filter_name = "f"},
    {.commit = true, .top = "n1", .base = "n0"},
};

static void check_under_load(unsigned seeds)
{
    for (unsigned seed = 0; seed < seeds; seed++) {
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
            Live l = live_new(NULL);
            Start s = kinds[i];
            Sweep *sweep = sweep_start(l.disk, seed);
            Job *job = job_begin_of(&s);
            GError *err = NULL;

            ck_assert_int_eq(!block_node_find("f"), !s.filter_name);
            job_run_wait(job, &err);
            ck_no_error(err);
            sweep_end(sweep);
            ck_assert_ptr_null(block_node_find("f"));
            live_end(&l, sweep);
            g_free(sweep);
        }
    }
}

START_TEST(under_load)
{
    check_under_load(3);
}
END_TEST

/* The kernel copies, all or two of three. */
START_TEST(copied_under_load)
{
    for (int every = 0; every <= 3; every += 3) {
        cloner_install();
        file_driver = "cloner";
        cloner.refuse_every = every;
        check_under_load(1);
        ck_assert_int_gt(cloner.done, 0);
        ck_assert_uint_eq(cloner.flags, BLOCK_COPY_SHARE);
    }
    file_driver = "file";
}
END_TEST

static void coroutine_fn commit_all(void *data)
{
    g_assert(block_commit_drive("all", data));
}

static int coroutine_fn count_own(void *data)
{
    BlockNode *n = data;
    int own = 0;

    for (uint64_t off = 0, len; off < DISK; off += len) {
        own += !!(block_status(n, off, DISK - off, &len, NULL, NULL) & BLOCK_STATUS_ALLOCATED);
    }
    return own;
}

/* HMP's 'commit' of a disk that is written to. */
START_TEST(commit_of_the_disk)
{
    for (int every = 0; every <= 3; every += 3) {
        GError *err = NULL;
        Sweep *sweep;
        Live l;

        cloner_install();
        file_driver = "cloner";
        cloner.refuse_every = every;
        l = live_new(NULL);
        graph_run(commit_all, &err);
        ck_no_error(err);
        ck_assert_int_eq(block_run(count_own, block_node_find("n3")), 0);
        live_check(&l, NULL);
        sweep = sweep_start(l.disk, every);
        for (unsigned i = 0; i < 4; i++) {
            graph_run(commit_all, &err);
            ck_no_error(err);
            ck_assert(block_node_find("n2")->read_only);
        }
        sweep_end(sweep);
        ck_assert_int_gt(cloner.done, 0);
        live_end(&l, sweep);
        g_free(sweep);
    }
    file_driver = "file";
}
END_TEST

/* Where an image in the chain is shorter, those above it show zeroes behind its end, and go on to.
 */
START_TEST(short_image)
{
    for (short_level = 0; short_level + 1 < DEPTH; short_level++) {
        for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
            Start s = kinds[i];
            GError *err = NULL;
            Live l;

            if (!s.commit && short_level != 1) {
                continue;
            }
            l = live_new(NULL);
            job_run_wait(job_begin_of(&s), &err);
            ck_no_error(err);
            live_end(&l, NULL);
        }
    }
    short_level = -1;
}
END_TEST

/* Cancelled somewhere: the chain is as it was, and so are options and users of its nodes. */
START_TEST(cancelled)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        Live l = live_new(NULL);
        Start s = kinds[i];
        Sweep *sweep = sweep_start(l.disk, i);
        Job *job;

        s.speed = 1;
        job = job_begin_of(&s);
        turn(20);
        ck_assert(job_cancel(job, false, NULL));
        ck_assert(!job_run_wait(job, NULL));
        sweep_end(sweep);
        for (unsigned j = 0; j < DEPTH; j++) {
            BlockNode *n = block_node_find(names[j]);
            ck_assert_int_eq(n->read_only, j + 1 < DEPTH);
            ck_assert_ptr_eq(n->backing, j ? block_node_find(names[j - 1]) : NULL);
        }
        live_end(&l, sweep);
        g_free(sweep);
    }
}
END_TEST

/* What a read that fails does, by the policy. */
START_TEST(errors)
{
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        for (int policy = BLOCK_ON_ERROR_REPORT; policy <= BLOCK_ON_ERROR_STOP; policy++) {
            Start s = kinds[i];
            GError *err = NULL;
            bool has_error;
            Live l;
            Job *job;

            if (s.base || s.top) {
                continue; /* the flaky file is n0's, which only the whole stream reads */
            }
            flaky_install();
            l = live_new("flaky");
            s.on_error = policy;
            flaky.fail_read_in = 3;
            flaky.times = policy == BLOCK_ON_ERROR_REPORT ? -1 : 2;
            job = job_begin_of(&s);
            if (policy == BLOCK_ON_ERROR_STOP) {
                while (job->status != JOB_PAUSED) {
                    event_loop_iterate(main_loop, NS_PER_MS);
                }
                flaky.fail_read_in = 0;
                ck_assert(job_resume(job, NULL));
            }
            has_error = !job_run_wait(job, &err);
            ck_assert_int_eq(has_error, policy != BLOCK_ON_ERROR_STOP);
            if (has_error) {
                ck_error(err, "Input/output error");
                ck_assert_ptr_nonnull(block_node_find("n3")->backing);
            }
            flaky.fail_read_in = 0;
            live_end(&l, NULL);
        }
    }
}
END_TEST

static void coroutine_fn resize_base(void *data)
{
    GError *err = NULL;

    ck_assert_int_lt(block_resize(block_node_find("n0"), DISK * 2, &err), 0);
    ck_error(err, "Device 'n0' is in use");
}

/* What a job relies on cannot be changed, and what it writes to cannot be had by others. */
START_TEST(others)
{
    Live l = live_new(NULL);
    Start s = kinds[4];
    GError *err = NULL;
    Job *job;

    s.speed = 1;
    job = job_begin_of(&s);
    must_not_reopen("[{'driver':'qcow2','node-name':'n2','read-only':true,'backing':null}]",
                    "commit job 'j' relies on it");
    ck_assert_ptr_null(graph_disk("n0", "/machine/peripheral/e", &err));
    ck_error(err, "commit job 'j' (uses node 'n0' as 'base' child)");
    ck_assert_ptr_null(graph_disk("n1", "/machine/peripheral/e", &err));
    ck_error(err, "commit job 'j'");
    ck_assert(!job_node_is_free(block_node_find("n1"), &err));
    ck_error(err, "Node 'n1' is busy: block device is in use by block job: commit");
    graph_run(resize_base, NULL);
    ck_assert(job_cancel(job, true, NULL));
    job_run_wait(job, NULL);
    live_end(&l, NULL);
}
END_TEST

/* A chain that is hundreds of images deep. */
START_TEST(deep)
{
    enum { IMAGES = 300 };
    BlockNode *n = NULL;
    Start s = {.top = "d299"};
    GError *err = NULL;
    uint8_t buf[512];
    BlockBackend *blk;

    for (unsigned i = 0; i < IMAGES; i++) {
        g_autofree char *name = g_strdup_printf("d%u", i);
        json_t *tree;

        make_qcow2(name, "size=1M,cluster_size=4k");
        tree = json_pack("{s:s,s:s,s:{s:s,s:s},s:b}", "driver", "qcow2", "node-name", name, "file",
                         "driver", "file", "filename", tmp_path(name), "read-only", i + 1 < IMAGES);
        if (n) {
            json_object_set_new(tree, "backing", json_string(n->opts.node_name));
        }
        ck_assert(block_node_add_monitor_owned(tree, &err));
        json_decref(tree);
        n = block_node_find(name);
    }
    blk = graph_disk("d299", "/machine/peripheral/d", &err);
    ck_no_error(err);
    ck_assert(job_run_wait(job_begin_of(&s), &err));
    ck_assert_ptr_null(block_node_find("d299")->backing);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, buf, sizeof buf), 0);
    block_backend_detach(blk, true);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {under_load,
                                  copied_under_load,
                                  commit_of_the_disk,
                                  short_image,
                                  cancelled,
                                  errors,
                                  others,
                                  deep,
                                  NULL};

    return fixture_run("chain-jobs", tests);
}
