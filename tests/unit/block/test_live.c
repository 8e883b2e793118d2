/* SPDX-License-Identifier: GPL-2.0-or-later */
/* External snapshots and transactions, while other threads write to the disks. */
#include "../../../block/core.h"
#include "block/snapshot.h"
#include "block/transaction.h"
#include "graph_fixture.h"
#include "writers.h"

enum { THREADS = 2, STREAMS = 6, ROUNDS = 8 };

static bool coroutine_fn transact(GError **err, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    json_auto_t *actions = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    actions = parse_tree("%s", text);
    return block_transaction(actions, NULL, err);
}

static uint8_t *coroutine_fn read_all(BlockNode *n)
{
    uint8_t *buf = g_malloc(block_length(n));

    g_assert_cmpint(block_pread(n, 0, buf, block_length(n)), ==, 0);
    return buf;
}

typedef struct {
    BlockBackend *a, *b;
    Writers *on_a, *on_b;
    unsigned resized;
} Run;

/* One snapshot of a disk, of which the image below is what the disk was then. */
static void coroutine_fn one_snapshot(Run *r, unsigned round)
{
    g_autofree unsigned *from = writers_done(r->on_a), *to = NULL;
    BlockNode *old = block_backend_node(r->a);
    g_autofree uint8_t *disk = NULL;
    g_autofree char *name = g_strdup_printf("o%u", round);
    GError *err = NULL;

    block_node_ref(old);
    g_assert(transact(&err,
                      "[{'type':'blockdev-snapshot-sync','data':{'device':'a',"
                      "'snapshot-file':'%s','snapshot-node-name':'%s'}}]",
                      tmp_path(name), name));
    to = writers_sent(r->on_a);
    g_assert(block_backend_node(r->a)->backing == old);
    g_assert_cmpstr(block_backend_node(r->a)->opts.node_name, ==, name);
    g_assert(old->read_only);
    disk = read_all(old);
    writers_check(r->on_a, disk, from, to);
    block_node_unref(old);
    writers_wait(r->on_a, 5);
}

static void coroutine_fn many_snapshots(void *data)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        one_snapshot(data, round);
    }
}

static void check_end(BlockBackend *blk, Writers *w)
{
    g_autofree unsigned *end = NULL;
    size_t length = block_backend_length(blk);
    g_autofree uint8_t *disk = g_malloc(length);

    writers_stop(w);
    end = writers_done(w);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, 0, disk, length), 0);
    writers_check(w, disk, end, end);
    writers_free(w);
}

static Run run_new(const char *format)
{
    g_autofree char *size = g_strdup_printf("size=%zu", writers_disk(THREADS, STREAMS));
    Run r = {0};

    for (const char *const *name = (const char *const[]){"a", "b", NULL}; *name; name++) {
        BlockBackend *blk;

        if (g_str_equal(format, "raw")) {
            make_raw(*name, writers_disk(THREADS, STREAMS));
        } else {
            make_qcow2(*name, size);
        }
        blk = new_drive(NULL, "file=%s,format=%s,if=none,id=%s,node-name=n%s", tmp_path(*name),
                        format, *name, *name);
        *(r.a ? &r.b : &r.a) = blk;
    }
    r.on_a = writers_start(r.a, THREADS, STREAMS);
    r.on_b = writers_start(r.b, THREADS, STREAMS);
    return r;
}

static void run_end(Run *r)
{
    check_end(r->a, r->on_a);
    check_end(r->b, r->on_b);
}

START_TEST(under_load_raw)
{
    Run r = run_new("raw");

    graph_run(many_snapshots, &r);
    run_end(&r);
}
END_TEST

START_TEST(under_load_qcow2)
{
    Run r = run_new("qcow2");

    graph_run(many_snapshots, &r);
    run_end(&r);
}
END_TEST

static void coroutine_fn fail_second(void *data)
{
    Run *r = data;
    BlockNode *a = block_backend_node(r->a), *b = block_backend_node(r->b);
    GError *err = NULL;

    for (unsigned round = 0; round < ROUNDS; round++) {
        const char *first = tmp_path("f1"), *second = tmp_path("f2");

        g_assert(!transact(&err,
                           "[{'type':'blockdev-snapshot-internal-sync',"
                           "'data':{'device':'a','name':'s'}},"
                           "{'type':'blockdev-snapshot-sync',"
                           "'data':{'device':'a','snapshot-file':'%s'}},"
                           "{'type':'blockdev-snapshot-sync',"
                           "'data':{'device':'b','snapshot-file':'%s','snapshot-node-name':'x'}},"
                           "{'type':'%s','data':{%s}}]",
                           first, second, round % 2 ? "abort" : "blockdev-snapshot",
                           round % 2 ? "" : "'node':'x','overlay':'x'"));
        g_clear_error(&err);
        g_assert(block_backend_node(r->a) == a && block_backend_node(r->b) == b);
        g_assert(!a->read_only && !b->read_only && !a->backing);
        g_assert(!g_file_test(first, G_FILE_TEST_EXISTS));
        g_assert(!g_file_test(second, G_FILE_TEST_EXISTS));
        g_assert(!block_node_find("x"));
        g_assert(!block_snapshot_find(a, NULL, "s"));
        writers_wait(r->on_a, 2);
        writers_wait(r->on_b, 2);
    }
}

/* What comes before an action that fails is undone, the files that were made too. */
START_TEST(second_fails)
{
    Run r = run_new("qcow2");

    graph_run(fail_second, &r);
    run_end(&r);
}
END_TEST

/*
 * Snapshots of two disks are one moment: the writes to 'b' come after writes to 'a' that they
 * depend on. Here: whoever writes to b has written to a before.
 */
typedef struct {
    Run *r;
    GError *err;
    unsigned count;
    bool stop, ended;
} Pair;

static int coroutine_fn pair_write(BlockBackend *blk, unsigned number)
{
    uint8_t buf[512];
    struct iovec iov = {.iov_base = buf, .iov_len = sizeof buf};
    BlockRequest req = {.op = BLOCK_OP_WRITE, .bytes = sizeof buf, .iov = &iov, .niov = 1};

    for (unsigned i = 0; i < sizeof buf; i += sizeof number) {
        memcpy(buf + i, &number, sizeof number);
    }
    return block_backend_co_io(blk, &req);
}

static void coroutine_fn pair_writer(void *data)
{
    Pair *p = data;

    while (!p->stop) {
        g_assert_cmpint(pair_write(p->r->a, ++p->count), ==, 0);
        g_assert_cmpint(pair_write(p->r->b, p->count), ==, 0);
    }
    p->ended = true;
}

static unsigned coroutine_fn number_of(BlockNode *n)
{
    unsigned number;

    g_assert_cmpint(block_pread(n, 0, &number, sizeof number), ==, 0);
    return number;
}

static void coroutine_fn pair_snapshots(void *data)
{
    Pair *p = data;

    for (unsigned round = 0; round < ROUNDS * 2; round++) {
        BlockNode *a = block_node_ref(block_backend_node(p->r->a));
        BlockNode *b = block_node_ref(block_backend_node(p->r->b));
        g_autofree char *x = g_strdup_printf("x%u", round), *y = g_strdup_printf("y%u", round);
        unsigned before = p->count, on_a, on_b;

        /* The disk that is written to last comes first. */
        g_assert(transact(&p->err,
                          "[{'type':'blockdev-snapshot-sync','data':{'device':'b',"
                          "'snapshot-file':'%s'}},{'type':'blockdev-snapshot-sync',"
                          "'data':{'device':'a','snapshot-file':'%s'}}]",
                          tmp_path(x), tmp_path(y)));
        on_a = number_of(a);
        on_b = number_of(b);
        g_assert(on_a == on_b || on_a == on_b + 1);
        g_assert_cmpuint(on_a + 1, >=, before);
        block_node_unref(a);
        block_node_unref(b);
        while (p->count < before + 3) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
        }
    }
    p->stop = true;
}

START_TEST(one_moment)
{
    Run r = {0};
    Pair p = {.r = &r};

    make_qcow2("a", "size=1M");
    make_qcow2("b", "size=1M");
    r.a = new_drive(NULL, "file=%s,format=qcow2,if=none,id=a", tmp_path("a"));
    r.b = new_drive(NULL, "file=%s,format=qcow2,if=none,id=b", tmp_path("b"));
    coroutine_start(pair_writer, &p);
    graph_run(pair_snapshots, &p);
    turn_until(&p.ended);
}
END_TEST

static void told_length(void *data)
{
    ((Run *)data)->resized++;
}

static void coroutine_fn chain_of_two(void *data)
{
    Run *r = data;
    GError *err = NULL;
    BlockNode *old = block_backend_node(r->a);

    /* The second is about what the first has made; the last overlay is longer than the disk. */
    g_assert(transact(&err,
                      "[{'type':'blockdev-snapshot-sync','data':{'device':'a',"
                      "'snapshot-file':'%s'}},{'type':'blockdev-snapshot',"
                      "'data':{'node':'a','overlay':'long'}}]",
                      tmp_path("mid")));
    g_assert_no_error(err);
    g_assert_cmpstr(block_backend_node(r->a)->opts.node_name, ==, "long");
    g_assert(block_backend_node(r->a)->backing->backing == old);
    g_assert_cmpint(block_backend_length(r->a), ==, 2 * MiB);
    g_assert_cmpuint(r->resized, ==, 1);
    /* A node that has an overlay gets no other. */
    g_assert(!transact(&err,
                       "[{'type':'blockdev-snapshot-sync','data':{'node-name':'na',"
                       "'snapshot-file':'%s','snapshot-node-name':'z'}}]",
                       tmp_path("z")));
    ck_error(err, "Node 'na' is busy: node is used as backing hd of '#block");
}

START_TEST(in_turn)
{
    static const BlockDeviceOps ops = {.resized = told_length};
    Run r = {0};
    GError *err = NULL;

    make_qcow2("a", "size=1M");
    make_qcow2("long", "size=2M");
    new_drive(NULL, "file=%s,format=qcow2,if=none,id=a,node-name=na", tmp_path("a"));
    r.a = block_backend_attach("a", "/machine/disk", 0, &ops, &r, &err);
    ck_no_error(err);
    graph_add("{'driver':'qcow2','node-name':'long','file':{'driver':'file','filename':'%s'},"
              "'backing':null}",
              tmp_path("long"));
    graph_run(chain_of_two, &r);
    block_backend_detach(r.a, true);
}
END_TEST

static void coroutine_fn rename_all(void *data)
{
    Run *r = data;
    BlockNode *top = block_backend_node(r->a), *old = top->backing;
    GError *err = NULL;

    g_assert(old->read_only);
    for (unsigned round = 0; round < ROUNDS; round++) {
        g_autofree char *name = g_strnfill(20 + round * 100, 'a' + round);

        g_assert(block_change_backing_file("a", top->opts.node_name, name, &err));
        g_assert_cmpstr(top->backing_name, ==, name);
        g_assert_cmpstr(top->backing_format, ==, "raw");
        writers_wait(r->on_a, 2);
    }
    g_assert(!block_change_backing_file("a", "na", "x", &err));
    ck_error(err, "not allowing backing file change on an image without a backing file");
}

static void coroutine_fn one_overlay(void *data)
{
    one_snapshot(data, 0);
}

/* The name in the header changes while the guest writes. */
START_TEST(backing_name)
{
    Run r = run_new("raw");

    graph_run(one_overlay, &r);
    graph_run(rename_all, &r);
    run_end(&r);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {under_load_raw, under_load_qcow2, second_fails, one_moment,
                                  in_turn,        backing_name,     NULL};

    return fixture_run("live", tests);
}
