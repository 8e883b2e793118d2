/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The graph: permissions, changes, drained sections, reopening, inactive nodes. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "../../../block/core.h"
#include "base/util.h"
#include "fixture.h"

enum { UNIT = 65536, PATTERN = 0x5a };

static BlockNode *graph_add(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

static BlockNode *graph_add(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    json_auto_t *tree = NULL;
    GError *err = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    tree = parse_tree("%s", text);
    block_node_add_monitor_owned(tree, &err);
    ck_no_error(err);
    return block_node_find(json_str(tree, "node-name"));
}

static BlockBackend *graph_disk(const char *node, const char *path, GError **err)
{
    return block_backend_attach(node, path, NULL, NULL, err);
}

/* Runs a coroutine to its end, as a command of the monitor would. */
typedef struct {
    void (*fn)(void *data);
    void *data;
    bool done;
} Run;

static void coroutine_fn run_entry(void *data)
{
    Run *r = data;

    r->fn(r->data);
    r->done = true;
}

static void graph_run(void (*fn)(void *data), void *data)
{
    Run r = {.fn = fn, .data = data};

    block_forbid_blocking(true);
    coroutine_start(run_entry, &r);
    turn_until(&r.done);
    block_forbid_blocking(false);
}

typedef struct {
    BlockNode *node, *filter;
    json_t *configs;
    bool insert, activate;
    GError *err;
    bool ok;
} Op;

static void coroutine_fn op_filter(void *data)
{
    Op *op = data;

    op->ok = op->insert ? block_insert_above(op->filter, op->node, &op->err)
                        : block_remove_filter(op->filter, op->node, &op->err);
}

static void coroutine_fn op_reopen(void *data)
{
    Op *op = data;

    op->ok = block_reopen(op->configs, &op->err);
}

static void coroutine_fn op_inactive(void *data)
{
    Op *op = data;

    op->ok = op->activate ? block_activate_all(&op->err) : block_inactivate_all(&op->err);
}

static void must_reopen(const char *configs)
{
    Op op = {.configs = parse_tree("%s", configs)};

    graph_run(op_reopen, &op);
    ck_no_error(op.err);
    ck_assert(op.ok);
    json_decref(op.configs);
}

static void must_not_reopen(const char *configs, const char *why)
{
    Op op = {.configs = parse_tree("%s", configs)};

    graph_run(op_reopen, &op);
    ck_assert(!op.ok);
    ck_error(op.err, why);
    json_decref(op.configs);
}

static int fill(BlockBackend *blk, uint64_t offset, int byte)
{
    char buf[512];

    memset(buf, byte, sizeof buf);
    return do_io(blk, BLOCK_OP_WRITE, offset, buf, sizeof buf);
}

static int peek(BlockBackend *blk, uint64_t offset)
{
    char buf[512];
    int ret = do_io(blk, BLOCK_OP_READ, offset, buf, sizeof buf);

    return ret < 0 ? ret : (uint8_t)buf[511];
}

START_TEST(conflicts)
{
    GError *err = NULL;
    BlockBackend *a, *b;

    make_raw("d", UNIT);
    graph_add("{'driver':'file','node-name':'f','filename':'%s'}", tmp_path("d"));
    graph_add("{'driver':'raw','node-name':'r','file':'f'}");
    graph_add("{'driver':'raw','node-name':'part','file':'f','size':512}");
    a = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    /* Through two parents of one file. */
    ck_assert_ptr_null(graph_disk("part", "/machine/peripheral/b", &err));
    ck_error(err, "Permission conflict on node 'f': permissions 'write' are both required by node "
                  "'r' (uses node 'f' as 'file' child) and unshared by node 'part' (uses node 'f' "
                  "as 'file' child)");
    ck_assert_ptr_null(graph_disk("f", "/machine/peripheral/b", &err));
    ck_error(err, "block device '/machine/peripheral/b' (uses node 'f' as 'root' child)");
    /* What was refused has left nothing behind. */
    block_backend_detach(a, true);
    b = graph_disk("part", "/machine/peripheral/b", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(b, 0, PATTERN), 0);
    ck_assert_ptr_null(graph_disk("r", "/machine/peripheral/a", &err));
    g_clear_error(&err);
    block_backend_detach(b, true);
}
END_TEST

START_TEST(lock_follows_use)
{
    GError *err = NULL;
    BlockBackend *blk;
    struct flock fl;
    int fd;

    make_raw("d", UNIT);
    graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
              tmp_path("d"));
    fd = open(tmp_path("d"), O_RDWR);
    for (int used = 0; used < 3; used++) {
        /* Byte 101: somebody writes. */
        fl = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
        ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &fl), 0);
        ck_assert_int_eq(fl.l_type != F_UNLCK, used == 1);
        if (used == 0) {
            blk = graph_disk("r", "/machine/peripheral/a", &err);
            ck_no_error(err);
        } else if (used == 1) {
            block_backend_detach(blk, true);
        }
    }
    close(fd);
}
END_TEST

START_TEST(circles)
{
    BlockNode *top, *n;
    BlockChange *c;
    GError *err = NULL;

    make_raw("d", UNIT);
    make_qcow2("q", "size=64k");
    graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
              tmp_path("d"));
    n = graph_add("{'driver':'raw','node-name':'r2','file':'r'}");
    top = graph_add("{'driver':'raw','node-name':'r3','file':'r2'}");
    c = block_change_new();
    block_change_point(c, block_node_edge(n, "file"), top);
    ck_assert(!block_change_commit(c, &err));
    ck_error(err, "Making 'r3' a file child of 'r2' would create a cycle");
    ck_assert_str_eq(n->file->opts.node_name, "r");
    ck_assert_uint_eq(top->core->depth, 3);
    ck_assert_uint_eq(n->core->parents->len, 1);
}
END_TEST

/* A filter that counts what passes, and hides where data is. */
static unsigned passed;

static int coroutine_fn counting_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov)
{
    passed++;
    return block_preadv(n->file, offset, bytes, iov, niov);
}

START_TEST(filter_closes_short_way)
{
    GError *err = NULL;
    BlockNode *node, *filter;
    const BlockDriver *real;
    BlockDriver counting;
    BlockBackend *blk;
    Op op;

    make_raw("d", UNIT);
    node = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                     tmp_path("d"));
    blk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_assert_int_eq(fill(blk, 512, PATTERN), 0);
    filter = graph_add("{'driver':'raw','node-name':'filter','file':'r'}");
    real = filter->driver;
    counting = *real;
    counting.preadv = counting_preadv;
    counting.map_cached = NULL;
    filter->driver = &counting;

    op = (Op){.filter = filter, .node = node, .insert = true};
    graph_run(op_filter, &op);
    ck_no_error(op.err);
    ck_assert_ptr_eq(block_backend_node(blk), filter);
    ck_assert_uint_eq(filter->core->perms.needs & BLOCK_PERM_WRITE, BLOCK_PERM_WRITE);
    passed = 0;
    ck_assert_int_eq(peek(blk, 512), PATTERN);
    ck_assert_uint_eq(passed, 1);
    op = (Op){.filter = filter, .node = node, .insert = false};
    graph_run(op_filter, &op);
    ck_no_error(op.err);
    ck_assert_ptr_eq(block_backend_node(blk), node);
    ck_assert_int_eq(peek(blk, 512), PATTERN);
    ck_assert_uint_eq(passed, 1);

    filter->driver = real;
    /* What is no node: a bitmap, a throttle. The edge of 'r' to its file. */
    counting = *node->driver;
    real = node->driver;
    counting.preadv = counting_preadv;
    node->driver = &counting;
    ck_assert_int_eq(peek(blk, 512), PATTERN);
    ck_assert_uint_eq(passed, 1);
    block_edge_intercept_begin(block_node_edge(node, "file"));
    ck_assert_int_eq(peek(blk, 512), PATTERN);
    ck_assert_uint_eq(passed, 2);
    block_edge_intercept_end(block_node_edge(node, "file"));
    ck_assert_int_eq(peek(blk, 512), PATTERN);
    ck_assert_uint_eq(passed, 2);
    node->driver = real;
    block_backend_detach(blk, true);
}
END_TEST

/* A chain: top -> middle -> base; another disk has an overlay of its own on base. */
typedef struct {
    BlockBackend *disk, *other;
    BlockNode *top, *middle, *base, *twin;
} Chain;

static Chain chain_make(void)
{
    Chain c;
    GError *err = NULL;

    for (const char *const *name = (const char *const[]){"base", "middle", "top", "twin", NULL};
         *name; name++) {
        make_qcow2(*name, "size=1M");
    }
    c.base = graph_add("{'driver':'qcow2','node-name':'base','read-only':true,"
                       "'file':{'driver':'file','filename':'%s'}}",
                       tmp_path("base"));
    c.middle = graph_add("{'driver':'qcow2','node-name':'middle','read-only':true,"
                         "'file':{'driver':'file','filename':'%s'},'backing':'base'}",
                         tmp_path("middle"));
    c.top =
        graph_add("{'driver':'qcow2','node-name':'top','file':{'driver':'file','filename':'%s'},"
                  "'backing':'middle'}",
                  tmp_path("top"));
    c.twin = graph_add("{'driver':'qcow2','node-name':'twin','file':{'driver':'file',"
                       "'filename':'%s'},'backing':'base'}",
                       tmp_path("twin"));
    c.disk = graph_disk("top", "/machine/peripheral/a", &err);
    ck_no_error(err);
    c.other = graph_disk("twin", "/machine/peripheral/b", &err);
    ck_no_error(err);
    return c;
}

static void chain_free(Chain *c)
{
    block_backend_detach(c->disk, true);
    block_backend_detach(c->other, true);
}

typedef struct {
    Chain *c;
    BlockDrain *a, *b;
} Drains;

static void coroutine_fn drains_begin(void *data)
{
    Drains *d = data;

    d->a = block_drain_begin(d->c->top);    /* base is below: the twin is in it */
    d->b = block_drain_begin(d->c->middle); /* overlaps */
}

typedef struct {
    BlockRequest req;
    struct iovec iov;
    char buf[512];
    int ret;
    bool done;
} Held;

static void held_done(BlockRequest *req, int ret)
{
    Held *h = (Held *)((char *)req - offsetof(Held, req));

    h->ret = ret;
    h->done = true;
}

static void held_submit(Held *h, BlockBackend *blk)
{
    *h = (Held){.req = {.op = BLOCK_OP_READ, .bytes = 512, .iov = &h->iov, .niov = 1}};
    h->iov = (struct iovec){.iov_base = h->buf, .iov_len = 512};
    h->req.done = held_done;
    block_backend_submit(blk, &h->req);
}

static void turn(unsigned times)
{
    while (times--) {
        event_loop_iterate(main_loop, 0);
    }
}

START_TEST(drain_is_of_a_subtree)
{
    Chain c = chain_make();
    Drains d = {.c = &c};
    Held disk, other, newcomer;
    GError *err = NULL;
    BlockBackend *blk;

    graph_run(drains_begin, &d);
    held_submit(&disk, c.disk);
    held_submit(&other, c.other);
    /* Attached in the section: on the base, which is in it. */
    make_qcow2("late", "size=1M");
    graph_add("{'driver':'qcow2','node-name':'late','file':{'driver':'file','filename':'%s'},"
              "'backing':'base'}",
              tmp_path("late"));
    blk = graph_disk("late", "/machine/peripheral/c", &err);
    ck_no_error(err);
    held_submit(&newcomer, blk);
    turn(20);
    ck_assert(!disk.done && !other.done && !newcomer.done);
    ck_assert_uint_eq(block_backend_in_flight(blk), 0); /* held is not in flight */
    block_drain_end(d.a);
    turn(20);
    ck_assert(!disk.done && !other.done && !newcomer.done);
    block_drain_end(d.b);
    turn_until(&disk.done);
    turn_until(&other.done);
    turn_until(&newcomer.done);
    ck_assert_int_eq(disk.ret | other.ret | newcomer.ret, 0);
    ck_assert_uint_eq(c.base->core->drains + c.top->core->drains + c.twin->core->drains, 0);
    block_backend_detach(blk, true);
    chain_free(&c);
}
END_TEST

static void coroutine_fn drains_all(void *data)
{
    block_drain_all_begin();
}

START_TEST(drain_of_everything_has_newcomers)
{
    GError *err = NULL;
    BlockBackend *blk;
    Held held;

    make_raw("d", UNIT);
    graph_run(drains_all, NULL);
    graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
              tmp_path("d"));
    blk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    held_submit(&held, blk);
    turn(20);
    ck_assert(!held.done);
    block_drain_all_end();
    turn_until(&held.done);
    ck_assert_int_eq(held.ret, 0);
    held_submit(&held, blk);
    turn_until(&held.done);
    block_backend_detach(blk, true);
}
END_TEST

START_TEST(reopen_options)
{
    GError *err = NULL;
    BlockNode *q, *f;
    BlockBackend *blk;
    const char *path;

    make_qcow2("q", "size=1M");
    path = tmp_path("q");
    f = graph_add("{'driver':'file','node-name':'f','filename':'%s'}", path);
    q = graph_add("{'driver':'qcow2','node-name':'q','file':'f'}");
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(blk, UNIT, PATTERN), 0);

    must_not_reopen("[{'driver':'qcow2','file':'f'}]", "node-name not specified");
    must_not_reopen("[{'driver':'qcow2','node-name':'x','file':'f'}]",
                    "Failed to find node with node-name='x'");
    must_not_reopen("[{'driver':'raw','node-name':'q','file':'f'}]",
                    "Cannot change the option 'driver'");
    must_not_reopen("[{'driver':'file','node-name':'f','filename':'/nowhere'}]",
                    "Cannot change the option 'filename'");
    must_not_reopen("[{'driver':'qcow2','node-name':'q','file':'q'}]",
                    "Cannot change the option 'file'");
    must_not_reopen("[{'driver':'qcow2','node-name':'q','file':'f','cash':1}]", "cash");
    must_not_reopen("[{'driver':'qcow2','node-name':'q','file':'f','read-only':true,"
                    "'force-share':true}]",
                    "Cannot change the option 'force-share'");
    /* The disk writes to it. */
    must_not_reopen("[{'driver':'qcow2','node-name':'q','file':'f','read-only':true}]",
                    "Read-only block node 'q' cannot support read-write users");
    ck_assert(!q->read_only && !q->opts.read_only);
    /* All or nothing: the first would do. */
    must_not_reopen("[{'driver':'qcow2','node-name':'q','file':'f','detect-zeroes':'on'},"
                    "{'driver':'file','node-name':'f','filename':'/nowhere'}]",
                    "Cannot change the option 'filename'");
    ck_assert_int_eq(q->opts.detect_zeroes, BLOCK_DETECT_ZEROES_OFF);

    must_reopen("[{'driver':'qcow2','node-name':'q','file':'f','detect-zeroes':'on',"
                "'l2-cache-size':65536,'lazy-refcounts':true}]");
    ck_assert_int_eq(q->opts.detect_zeroes, BLOCK_DETECT_ZEROES_ON);
    ck_assert_str_eq(q->opts.node_name, "q");
    ck_assert_int_eq(peek(blk, UNIT), PATTERN);
    ck_assert_int_eq(fill(blk, 2 * UNIT, PATTERN + 1), 0);
    ck_assert_int_eq(peek(blk, 2 * UNIT), PATTERN + 1);
    block_backend_detach(blk, true);

    must_reopen("[{'driver':'qcow2','node-name':'q','file':'f','read-only':true}]");
    ck_assert(q->read_only && !f->read_only);
    {
        g_autofree char *both = g_strdup_printf("[{'driver':'file','node-name':'f','filename':'%s',"
                                                "'read-only':true}]",
                                                path);
        must_reopen(both);
    }
    ck_assert(f->read_only);
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(peek(blk, 2 * UNIT), PATTERN + 1);
    ck_assert_int_eq(fill(blk, 0, 1), -EPERM);
    {
        /* A disk that was read-only stays so for the guest that knows it as that. */
        g_autofree char *both =
            g_strdup_printf("[{'driver':'file','node-name':'f','filename':'%s'},"
                            "{'driver':'qcow2','node-name':'q','file':'f'}]",
                            path);
        must_reopen(both);
        ck_assert(!q->read_only && block_backend_read_only(blk));
        ck_assert_int_eq(fill(blk, 0, 1), -EPERM);
        g_free(both);
        both =
            g_strdup_printf("[{'driver':'file','node-name':'f','filename':'%s','read-only':true},"
                            "{'driver':'qcow2','node-name':'q','file':'f','read-only':true}]",
                            path);
        must_reopen(both);
    }
    block_backend_detach(blk, true);
    /* The format alone: its file is read-only. */
    must_not_reopen("[{'driver':'qcow2','node-name':'q','file':'f'}]",
                    "Read-only block node 'f' cannot support read-write users");
    ck_assert(q->read_only);
    {
        g_autofree char *both =
            g_strdup_printf("[{'driver':'file','node-name':'f','filename':'%s'},"
                            "{'driver':'qcow2','node-name':'q','file':'f'}]",
                            path);
        must_reopen(both);
    }
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_assert_int_eq(fill(blk, 0, 7), 0);
    ck_assert_int_eq(peek(blk, 0), 7);
    block_backend_detach(blk, true);
}
END_TEST

/* Nodes of one tree: the file takes over what the format gets. */
START_TEST(reopen_inherits)
{
    BlockNode *q;

    make_qcow2("q", "size=1M");
    q = graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("q"));
    must_reopen("[{'driver':'qcow2','node-name':'q','read-only':true,"
                "'cache':{'no-flush':true,'direct':true}}]");
    ck_assert(q->read_only && q->file->read_only);
    ck_assert(q->file->opts.cache.no_flush && q->file->opts.cache.direct);
    ck_assert_uint_ge(q->file->request_alignment, 512);
    must_reopen("[{'driver':'qcow2','node-name':'q'}]");
    ck_assert(!q->read_only && !q->file->read_only && !q->file->opts.cache.direct);
    ck_assert_uint_eq(q->file->request_alignment, 1);
}
END_TEST

START_TEST(reopen_other_backing)
{
    Chain c = chain_make();
    BlockBackend *base;
    GError *err = NULL;

    ck_assert_int_eq(peek(c.disk, 0), 0);
    /* Write below, through a node that is reopened for it. */
    chain_free(&c);
    must_not_reopen("[{'driver':'qcow2','node-name':'middle','read-only':true}]",
                    "backing is missing for 'middle'");
    must_not_reopen("[{'driver':'qcow2','node-name':'middle','read-only':true,'backing':'top'}]",
                    "would create a cycle");
    must_reopen("[{'driver':'qcow2','node-name':'middle','backing':'base'}]");
    c.disk = graph_disk("top", "/machine/peripheral/a", &err);
    ck_no_error(err);
    base = graph_disk("middle", "/machine/peripheral/m", &err);
    ck_error(err, "Permission conflict on node 'middle'");
    ck_assert_ptr_null(base);
    block_backend_detach(c.disk, true);
    must_reopen("[{'driver':'qcow2','node-name':'top','backing':null}]");
    ck_assert_ptr_null(c.top->backing);
    base = graph_disk("middle", "/machine/peripheral/m", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(base, 0, PATTERN), 0);
    block_backend_detach(base, true);
    c.disk = graph_disk("top", "/machine/peripheral/a", &err);
    ck_assert_int_eq(peek(c.disk, 0), 0);
    must_not_reopen("[{'driver':'qcow2','node-name':'top','backing':'nope'}]",
                    "Cannot find device='' nor node-name='nope'");
    must_reopen("[{'driver':'qcow2','node-name':'middle','read-only':true,'backing':'base'}]");
    must_reopen("[{'driver':'qcow2','node-name':'top','backing':'middle'}]");
    ck_assert_int_eq(peek(c.disk, 0), PATTERN);
    block_backend_detach(c.disk, true);
}
END_TEST

static void must_be(bool active)
{
    Op op = {.activate = active};

    graph_run(op_inactive, &op);
    ck_no_error(op.err);
    ck_assert(op.ok);
}

START_TEST(inactive_nodes)
{
    GError *err = NULL;
    BlockBackend *blk, *theirs;
    const char *path;
    Op op = {.activate = true};

    make_qcow2("q", "size=1M");
    path = tmp_path("q");
    graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}", path);
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(blk, 0, 1), 0);
    must_be(false);
    must_be(false);
    ck_assert_int_eq(fill(blk, 0, 2), -EPERM);
    ck_assert_int_eq(peek(blk, 0), -EPERM);

    /* What another process would do: it opens the image, locks it, writes. */
    graph_add("{'driver':'qcow2','node-name':'theirs','file':{'driver':'file','filename':'%s'}}",
              path);
    theirs = graph_disk("theirs", "/machine/peripheral/b", &err);
    ck_no_error(err);
    ck_assert_int_eq(peek(theirs, 0), 1);
    ck_assert_int_eq(fill(theirs, 5 * UNIT, 5), 0);
    graph_run(op_inactive, &op);
    ck_assert(!op.ok);
    ck_error(op.err, "Failed to get ");
    ck_assert_int_eq(peek(blk, 0), -EPERM);
    ck_assert_int_eq(peek(theirs, 5 * UNIT), 5);
    block_backend_detach(theirs, true);
    ck_assert(block_node_del_monitor_owned("theirs", &err));

    must_be(true);
    ck_assert_int_eq(peek(blk, 0), 1);
    ck_assert_int_eq(peek(blk, 5 * UNIT), 5);
    ck_assert_int_eq(fill(blk, 6 * UNIT, 6), 0);
    ck_assert_int_eq(peek(blk, 6 * UNIT), 6);
    block_backend_detach(blk, true);
}
END_TEST

static void coroutine_fn check_entry(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};

    ck_assert_int_eq(n->driver->check(n, &res, 0), 0);
    ck_assert_uint_eq(res.corruptions + res.leaks + res.check_errors, 0);
}

/* Images of each kind go to and fro between two, and from read-only to writable. */
START_TEST(images_go_to_and_fro)
{
    const char *const kinds[] = {"size=1M,lazy_refcounts=on", "size=1M,cluster_size=512",
                                 "size=1M,extended_l2=on,cluster_size=16k", "size=1M,compat=0.10"};

    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        const char *path = tmp_path("q");
        GError *err = NULL;
        BlockBackend *blk;
        BlockNode *q;

        make_qcow2("q", kinds[i]);
        q = graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file',"
                      "'filename':'%s'}}",
                      path);
        for (unsigned turns = 1; turns < 4; turns++) {
            BlockBackend *theirs;

            blk = graph_disk("q", "/machine/peripheral/a", &err);
            ck_no_error(err);
            ck_assert_int_eq(fill(blk, turns * UNIT, turns), 0);
            must_be(false);
            graph_add("{'driver':'qcow2','node-name':'theirs','file':{'driver':'file',"
                      "'filename':'%s'}}",
                      path);
            theirs = graph_disk("theirs", "/machine/peripheral/b", &err);
            ck_no_error(err);
            graph_run(check_entry, block_backend_node(theirs));
            ck_assert_int_eq(peek(theirs, turns * UNIT), turns);
            ck_assert_int_eq(fill(theirs, (turns + 4) * UNIT, turns + 4), 0);
            block_backend_detach(theirs, true);
            ck_assert(block_node_del_monitor_owned("theirs", &err));
            must_be(true);
            ck_assert_int_eq(peek(blk, (turns + 4) * UNIT), turns + 4);
            ck_assert_int_eq(fill(blk, (turns + 8) * UNIT, turns + 8), 0);
            block_backend_detach(blk, true);
            must_reopen("[{'driver':'qcow2','node-name':'q','read-only':true}]");
            graph_run(check_entry, q);
            must_be(false);
            must_be(true);
            must_reopen("[{'driver':'qcow2','node-name':'q','l2-cache-size':65536}]");
        }
        blk = graph_disk("q", "/machine/peripheral/a", &err);
        for (unsigned at = 1; at < 12; at++) {
            ck_assert_int_eq(peek(blk, at * UNIT), at % 4 ? at : 0);
        }
        block_backend_detach(blk, true);
        graph_run(check_entry, q);
        ck_assert(block_node_del_monitor_owned("q", &err));
    }
}
END_TEST

/* Two coroutines that meet. */

typedef struct {
    json_t *tree;
    GError *err;
    bool ok, done;
} Add;

static void coroutine_fn add_entry(void *data)
{
    Add *a = data;

    a->ok = block_node_add_monitor_owned(a->tree, &a->err);
    a->done = true;
}

/* A node that can be found has its backing file: a disk would read zeroes otherwise. */
START_TEST(found_when_whole)
{
    Add a = {0};

    make_qcow2("base", "size=1M");
    make_qcow2("over", "size=1M");
    a.tree = parse_tree("{'driver':'qcow2','node-name':'over','file':{'driver':'file',"
                        "'filename':'%s'},'backing':{'driver':'qcow2','node-name':'base','file':"
                        "{'driver':'file','filename':'%s'}}}",
                        tmp_path("over"), tmp_path("base"));
    block_forbid_blocking(true);
    coroutine_start(add_entry, &a);
    while (!a.done) {
        BlockNode *n = block_node_find("over");
        ck_assert(!n || (n->backing && n->core->opened));
        event_loop_iterate(main_loop, 100 * NS_PER_MS);
    }
    block_forbid_blocking(false);
    ck_no_error(a.err);
    ck_assert_ptr_nonnull(block_node_find("over")->backing);
    ck_assert_ptr_nonnull(block_node_find("base"));
    json_decref(a.tree);
}
END_TEST

static void coroutine_fn add_named(void *data)
{
    Add *a = data;

    coroutine_start(add_entry, a);
    /* The node has its name by now, and waits for its file. */
    ck_assert(!a->done);
    ck_assert_ptr_null(block_node_find("x"));
    ck_assert_ptr_null(new_drive(&a->err, "if=none,id=x"));
    ck_error(a->err, "conflicts with an existing node name");
}

START_TEST(name_of_node_to_come)
{
    Add a = {0};

    make_qcow2("q", "size=1M");
    a.tree = parse_tree("{'driver':'qcow2','node-name':'x','file':{'driver':'file',"
                        "'filename':'%s'}}",
                        tmp_path("q"));
    graph_run(add_named, &a);
    g_clear_error(&a.err);
    turn_until(&a.done);
    ck_assert(a.ok);
    json_decref(a.tree);
}
END_TEST

static bool closed;

static void coroutine_fn delete_entry(void *data)
{
    ck_assert(block_node_del_monitor_owned("q", NULL));
    closed = true;
}

static void coroutine_fn changes_close(void *data)
{
    coroutine_start(delete_entry, NULL);
    ck_assert(!closed);
    block_changes_close();
    ck_assert_uint_eq(block_nodes()->len, 0);
}

/* The program does not end while an image is being closed: what it has cached would be lost. */
START_TEST(end_waits_for_closing)
{
    GError *err = NULL;
    BlockBackend *blk;

    make_qcow2("q", "size=1M");
    graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}",
              tmp_path("q"));
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_assert_int_eq(fill(blk, 0, PATTERN), 0);
    block_backend_detach(blk, true);
    graph_run(changes_close, NULL);
    must_not_reopen("[]", "the virtual machine is being shut down");
}
END_TEST

/* A driver with one function replaced. */
static BlockDriver changed;
static const BlockDriver *original;

static void driver_change(BlockNode *n)
{
    changed = *(original = n->driver);
    n->driver = &changed;
}

static void driver_restore(BlockNode *n)
{
    n->driver = original;
}

static BlockNode *intruded; /* the node that somebody else uses meanwhile */
static bool intruder_done;

static void coroutine_fn intruder_entry(void *data)
{
    char buf[512] = {1};

    intruder_done = false;
    ck_assert_int_eq(block_pwrite(intruded, 7 * UNIT, buf, sizeof buf, 0), 0);
    ck_assert_int_eq(block_flush(intruded), 0);
    intruder_done = true;
}

static bool coroutine_fn intruding_prepare(BlockNode *node, const BlockNodeOptions *opts,
                                           const void *props, bool *read_only, GError **err)
{
    coroutine_start(intruder_entry, NULL);
    return original->reopen_prepare(node, opts, props, read_only, err);
}

static void quiet_commit(BlockNode *node, const void *props)
{
    ck_assert(block_node_quiet(node));
    block_driver_find("qcow2")->reopen_commit(node, props);
}

/* Between preparation and commit nobody gets into a node: what was written back is all. */
START_TEST(reopen_bars_its_nodes)
{
    const BlockDriver *qcow2 = block_driver_find("qcow2");
    BlockDriver checking = *qcow2;
    BlockNode *q, *f;
    GError *err = NULL;
    BlockBackend *blk;

    make_qcow2("q", "size=1M");
    make_raw("d", UNIT);
    q = graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("q"));
    f = graph_add("{'driver':'file','node-name':'f','filename':'%s'}", tmp_path("d"));
    checking.reopen_commit = quiet_commit;
    q->driver = &checking;
    driver_change(f);
    changed.reopen_prepare = intruding_prepare;
    intruded = q;
    {
        g_autofree char *both =
            g_strdup_printf("[{'driver':'qcow2','node-name':'q','l2-cache-size':65536},"
                            "{'driver':'file','node-name':'f','filename':'%s'}]",
                            tmp_path("d"));
        must_reopen(both);
    }
    driver_restore(f);
    q->driver = qcow2;
    turn_until(&intruder_done);
    ck_assert_uint_eq(q->quiesce + f->quiesce, 0);
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(peek(blk, 7 * UNIT), 0);
    block_backend_detach(blk, true);
}
END_TEST

/* A failed reopening leaves everything as it was: who inherits from whom, too. */
START_TEST(failed_reopen_changes_nothing)
{
    BlockNode *top, *middle;
    BlockBackend *blk;
    GError *err = NULL;

    make_qcow2("top", "size=1M");
    make_qcow2("middle", "size=1M");
    make_raw("d", UNIT);
    top = graph_add("{'driver':'qcow2','node-name':'top','file':{'driver':'file','filename':'%s'},"
                    "'backing':{'driver':'qcow2','file':{'driver':'file','filename':'%s'}}}",
                    tmp_path("top"), tmp_path("middle"));
    middle = top->backing;
    graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
              tmp_path("d"));
    blk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    must_not_reopen("[{'driver':'qcow2','node-name':'top','backing':null},"
                    "{'driver':'raw','node-name':'r','read-only':true}]",
                    "cannot support read-write users");
    ck_assert_ptr_eq(top->backing, middle);
    ck_assert_ptr_eq(middle->core->inherits_from, top);
    ck_assert_uint_eq(top->core->depth, 2);
    must_not_reopen("[{'driver':'qcow2','node-name':'top','backing':'r'},"
                    "{'driver':'raw','node-name':'r','read-only':true}]",
                    "cannot support read-write users");
    ck_assert_ptr_eq(top->backing, middle);
    ck_assert_ptr_eq(middle->core->inherits_from, top);
    ck_assert_uint_eq(top->core->drains + middle->core->drains, 0);
    /* The backing file was taken away: it follows nobody, and is not missed. */
    must_reopen("[{'driver':'qcow2','node-name':'top','backing':null}]");
    must_reopen("[{'driver':'qcow2','node-name':'top','detect-zeroes':'on'}]");
    block_backend_detach(blk, true);
}
END_TEST

static BlockBackend *latecomer;
static GError *late_error;

static bool coroutine_fn refusing_reopened(BlockNode *node, GError **err)
{
    /* While the image is put in order somebody wants to write to it. */
    latecomer = graph_disk("q2", "/machine/peripheral/a", &late_error);
    return error_set(err, "no order");
}

/* An image that cannot be put in order is read-only again, and so is what stands on it. */
START_TEST(reopen_fails_late)
{
    g_autofree char *image = NULL;
    BlockNode *q, *q2;
    GError *err = NULL;
    BlockBackend *blk;
    gsize len;

    make_qcow2("q", "size=2M");
    make_qcow2("inner", "size=1M");
    /* An image inside the image. */
    graph_add("{'driver':'qcow2','node-name':'q','file':{'driver':'file','filename':'%s'}}",
              tmp_path("q"));
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_assert(g_file_get_contents(tmp_path("inner"), &image, &len, &err));
    len = ROUND_UP(len, 512);
    image = g_realloc(image, len);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, 0, image, len), 0);
    block_backend_detach(blk, true);
    ck_assert(block_node_del_monitor_owned("q", &err));
    q = graph_add("{'driver':'qcow2','node-name':'q','read-only':true,'file':{'driver':'file',"
                  "'filename':'%s'}}",
                  tmp_path("q"));
    q2 = graph_add("{'driver':'qcow2','node-name':'q2','read-only':true,'file':'q'}");
    driver_change(q);
    changed.reopened = refusing_reopened;
    must_not_reopen("[{'driver':'qcow2','node-name':'q2','file':'q'},"
                    "{'driver':'qcow2','node-name':'q'}]",
                    "no order");
    driver_restore(q);
    ck_assert_ptr_null(latecomer);
    ck_error(late_error, "being reopened: try again");
    ck_assert(q->read_only && q2->read_only && !q->core->settling);
    ck_assert_uint_eq(q->core->perms.needs & BLOCK_PERM_WRITE, 0);
    must_reopen("[{'driver':'qcow2','node-name':'q2','file':'q'},"
                "{'driver':'qcow2','node-name':'q'}]");
    blk = graph_disk("q2", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_int_eq(fill(blk, 0, PATTERN), 0);
    ck_assert_int_eq(peek(blk, 0), PATTERN);
    block_backend_detach(blk, true);
}
END_TEST

static int coroutine_fn failing_inactivate(BlockNode *n)
{
    return -EIO;
}

static bool coroutine_fn failing_activate(BlockNode *n, GError **err)
{
    return error_set(err, "no metadata");
}

/* One image cannot be written back: the others are read anew, or keep out who would need that. */
START_TEST(inactivation_fails)
{
    BlockDriver unreadable = *block_driver_find("qcow2");
    BlockNode *a, *b;
    BlockBackend *disks[2];
    GError *err = NULL;
    Op op = {0};

    make_qcow2("a", "size=1M");
    make_qcow2("b", "size=1M");
    a = graph_add("{'driver':'qcow2','node-name':'a','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("a"));
    b = graph_add("{'driver':'qcow2','node-name':'b','file':{'driver':'file','filename':'%s'}}",
                  tmp_path("b"));
    disks[0] = graph_disk("a", "/machine/peripheral/a", &err);
    disks[1] = graph_disk("b", "/machine/peripheral/b", &err);
    ck_no_error(err);
    for (int round = 0; round < 4; round++) {
        BlockNode *bad = round & 1 ? a : b, *good = round & 1 ? b : a;
        BlockBackend *disk = disks[round & 1];

        ck_assert_int_eq(fill(disks[0], round * UNIT, PATTERN), 0);
        ck_assert_int_eq(fill(disks[1], round * UNIT, PATTERN), 0);
        driver_change(bad);
        changed.inactivate = failing_inactivate;
        if (round > 1) {
            unreadable.activate = failing_activate;
            good->driver = &unreadable;
        }
        graph_run(op_inactive, &op);
        ck_assert(!op.ok);
        ck_error(op.err, "Could not write back");
        g_clear_error(&op.err);
        driver_restore(bad);
        good->driver = original;
        ck_assert(!bad->inactive);
        if (good->inactive) {
            ck_assert_int_eq(fill(disk, 0, 1), -EPERM);
            must_be(true);
        }
        ck_assert_uint_eq(a->quiesce + b->quiesce + a->core->drains + b->core->drains, 0);
        ck_assert_int_eq(peek(disks[0], round * UNIT), PATTERN);
        ck_assert_int_eq(peek(disks[1], round * UNIT), PATTERN);
    }
    must_be(false);
    /* Activation that fails at the last image read gives all up again. */
    unreadable.activate = failing_activate;
    a->driver = &unreadable;
    op.activate = true;
    graph_run(op_inactive, &op);
    ck_error(op.err, "no metadata");
    a->driver = original;
    ck_assert(a->inactive && b->inactive);
    ck_assert_int_eq(peek(disks[1], 0), -EPERM);
    must_not_reopen("[{'driver':'qcow2','node-name':'a','l2-cache-size':65536}]",
                    "Node 'a' is inactive");
    must_be(true);
    ck_assert_int_eq(peek(disks[0], UNIT) | peek(disks[1], UNIT), PATTERN);
    block_backend_detach(disks[0], true);
    block_backend_detach(disks[1], true);
}
END_TEST

/* A filter that came while all was inactive: the disk above gets its permissions back. */
START_TEST(filter_over_inactive)
{
    BlockNode *node, *filter;
    BlockBackend *blk;
    GError *err = NULL;
    Op op;

    make_raw("d", UNIT);
    node = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                     tmp_path("d"));
    blk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    must_be(false);
    ck_assert_uint_eq(node->file->core->perms.needs, 0);
    filter = graph_add("{'driver':'raw','node-name':'filter','file':'r'}");
    op = (Op){.filter = filter, .node = node, .insert = true};
    graph_run(op_filter, &op);
    ck_no_error(op.err);
    must_be(true);
    ck_assert_uint_eq(node->file->core->perms.needs & BLOCK_PERM_WRITE, BLOCK_PERM_WRITE);
    ck_assert_uint_eq(node->file->core->perms.shares & BLOCK_PERM_WRITE, 0);
    ck_assert_int_eq(fill(blk, 0, PATTERN), 0);
    block_backend_detach(blk, true);
}
END_TEST

/* What 'blockdev-snapshot' does, and a commit that goes back, in one section each. */
typedef struct {
    BlockNode *base, *over;
    bool back;
} Snapshot;

static void coroutine_fn snapshot_run(void *data)
{
    Snapshot *s = data;
    GError *err = NULL;
    BlockDrain *above, *below;
    BlockChange *c;

    if (s->back) {
        ck_assert(block_set_read_only(s->base, false, &err));
    }
    ck_assert(block_changes_lock(&err));
    above = block_drain_begin(s->over);
    below = block_drain_begin(s->base);
    c = block_change_new();
    if (s->back) {
        block_change_replace(c, s->over, s->base);
        block_change_detach(c, block_node_edge(s->over, "backing"));
    } else {
        block_change_attach_node(c, s->over, s->base, "backing", BLOCK_ROLE_BACKING,
                                 &s->over->backing);
        block_change_replace(c, s->base, s->over);
    }
    ck_assert_msg(block_change_commit(c, &err), "%s", err ? err->message : "");
    block_drain_end(below);
    block_drain_end(above);
    block_changes_unlock();
    if (!s->back) {
        ck_assert(block_set_read_only(s->base, true, &err));
    }
}

START_TEST(snapshot_and_back)
{
    Snapshot s = {0};
    BlockBackend *blk;
    GError *err = NULL;

    make_qcow2("base", "size=1M");
    make_qcow2("over", "size=1M");
    s.base = graph_add("{'driver':'qcow2','node-name':'base','l2-cache-size':65536,"
                       "'detect-zeroes':'on','file':{'driver':'file','filename':'%s'}}",
                       tmp_path("base"));
    s.over = graph_add("{'driver':'qcow2','node-name':'over','backing':null,"
                       "'file':{'driver':'file','filename':'%s'}}",
                       tmp_path("over"));
    blk = graph_disk("base", "/machine/peripheral/a", &err);
    ck_assert_int_eq(fill(blk, 0, 1), 0);
    for (int round = 0; round < 2; round++) {
        s.back = false;
        graph_run(snapshot_run, &s);
        ck_assert_ptr_eq(block_backend_node(blk), s.over);
        ck_assert(s.base->read_only && s.base->file->read_only);
        ck_assert_int_eq(s.base->opts.detect_zeroes, BLOCK_DETECT_ZEROES_ON);
        ck_assert_uint_eq(s.base->file->core->perms.needs & BLOCK_PERM_WRITE, 0);
        ck_assert_int_eq(peek(blk, 0), 1);
        ck_assert_int_eq(fill(blk, UNIT, 2), 0);
        ck_assert_int_eq(peek(blk, UNIT), 2);
        s.back = true;
        graph_run(snapshot_run, &s);
        ck_assert_ptr_eq(block_backend_node(blk), s.base);
        ck_assert_ptr_null(s.over->backing);
        ck_assert_int_eq(peek(blk, 0), 1);
        ck_assert_int_eq(peek(blk, UNIT), 0);
        ck_assert_int_eq(fill(blk, 0, 1), 0);
        ck_assert_uint_eq(s.base->core->drains + s.over->core->drains, 0);
        /* An option that was given to the file alone is not lost with the next. */
        if (!round) {
            g_autofree char *config =
                g_strdup_printf("[{'driver':'file','node-name':'%s','filename':'%s',"
                                "'detect-zeroes':'on'}]",
                                s.base->file->opts.node_name, tmp_path("base"));
            must_reopen(config);
        }
        ck_assert_int_eq(s.base->file->opts.detect_zeroes, BLOCK_DETECT_ZEROES_ON);
    }
    block_backend_detach(blk, true);
}
END_TEST

/* A parent as a job would be: its requests, and an edge that stays where it is. */
typedef struct {
    bool paused, busy, drained;
    BlockNode *node;
    BlockDrain *drain;
} Toy;

static char *toy_describe(BlockEdge *e)
{
    return g_strdup("job 'toy'");
}

static void toy_drain_begin(BlockEdge *e)
{
    ((Toy *)e->parent)->paused = true;
}

static void toy_drain_end(BlockEdge *e)
{
    ((Toy *)e->parent)->paused = false;
}

static bool toy_busy(BlockEdge *e)
{
    return ((Toy *)e->parent)->busy;
}

static const BlockParentClass toy_class = {
    .describe = toy_describe,
    .drain_begin = toy_drain_begin,
    .drain_end = toy_drain_end,
    .busy = toy_busy,
    .stays = true,
};

static void coroutine_fn toy_drain(void *data)
{
    Toy *toy = data;

    toy->drain = block_drain_begin(toy->node);
    toy->drained = true;
}

START_TEST(another_kind_of_parent)
{
    BlockNode *node, *filter;
    Toy toy = {.busy = true};
    GError *err = NULL;
    BlockEdge *edge;
    Op op;

    make_raw("d", UNIT);
    node = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                     tmp_path("d"));
    filter = graph_add("{'driver':'raw','node-name':'filter','file':'r'}");
    edge = block_edge_attach(&toy_class, &toy, node, "source",
                             (BlockPerms){BLOCK_PERM_CONSISTENT_READ, BLOCK_PERM_ALL}, NULL, &err);
    ck_no_error(err);
    toy.node = node->file;
    coroutine_start(toy_drain, &toy);
    turn(10);
    ck_assert(toy.paused && !toy.drained);
    toy.busy = false;
    block_drain_wake();
    turn_until(&toy.drained);
    block_drain_end(toy.drain);
    ck_assert(!toy.paused);
    op = (Op){.filter = filter, .node = node, .insert = true};
    graph_run(op_filter, &op);
    ck_no_error(op.err);
    ck_assert_ptr_eq(edge->child, node);
    block_edge_detach(edge);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        conflicts,
        lock_follows_use,
        circles,
        filter_closes_short_way,
        drain_is_of_a_subtree,
        drain_of_everything_has_newcomers,
        reopen_options,
        reopen_inherits,
        reopen_other_backing,
        inactive_nodes,
        images_go_to_and_fro,
        found_when_whole,
        name_of_node_to_come,
        end_waits_for_closing,
        reopen_bars_its_nodes,
        failed_reopen_changes_nothing,
        reopen_fails_late,
        inactivation_fails,
        filter_over_inactive,
        snapshot_and_back,
        another_kind_of_parent,
        NULL,
    };

    return fixture_run("graph", tests);
}
