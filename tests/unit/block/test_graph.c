/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The graph: permissions, changes, drained sections, nodes that come and go meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "graph_fixture.h"

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

/* A filter that leaves what lies below to a job that commits. */
static BlockPerms aside_child_perms(BlockNode *n, const BlockEdge *e, BlockPerms users)
{
    return (BlockPerms){0, BLOCK_PERM_ALL};
}

/* The driver is in no table: a user cannot make such a node. */
static BlockNode *open_aside_as(const char *config)
{
    static BlockDriver aside;
    json_auto_t *tree = parse_tree("%s", config);
    GError *err = NULL;
    BlockNode *filter;

    aside = *block_driver_find("raw");
    aside.name = "aside";
    aside.child_perms = aside_child_perms;
    filter = block_filter_open(&aside, tree, &err);
    ck_no_error(err);
    return filter;
}

static BlockNode *open_aside(void)
{
    json_auto_t *named =
        parse_tree("{'driver':'aside','node-name':'f','read-only':true,'file':'middle'}");
    BlockNode *filter = open_aside_as("{'node-name':'filter','read-only':true,'file':'middle'}");
    GError *err = NULL;

    ck_assert_str_eq(filter->opts.driver, "aside");
    ck_assert(!block_node_add_monitor_owned(named, &err));
    ck_error(err, "Unknown driver 'aside'");
    return filter;
}

/* A job may write below an overlay while a filter says that it may. */
START_TEST(filter_makes_way_for_a_job)
{
    const BlockPerms writes = {BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE,
                               BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED};
    BlockNode *base, *middle, *filter;
    BlockBackend *disk;
    BlockEdge *edge;
    Toy toy = {0};
    GError *err = NULL;
    Op op;

    make_raw("base", UNIT);
    make_qcow2("middle", "size=64k");
    make_qcow2("top", "size=64k");
    base = graph_add("{'driver':'raw','node-name':'base','file':{'driver':'file','filename':'%s'}}",
                     tmp_path("base"));
    middle = graph_add("{'driver':'qcow2','node-name':'middle','read-only':true,'backing':'base',"
                       "'file':{'driver':'file','filename':'%s'}}",
                       tmp_path("middle"));
    graph_add("{'driver':'qcow2','node-name':'top','backing':'middle',"
              "'file':{'driver':'file','filename':'%s'}}",
              tmp_path("top"));
    disk = graph_disk("top", "/machine/peripheral/a", &err);
    ck_no_error(err);
    ck_assert_ptr_null(block_edge_attach(&toy_class, &toy, base, "target", writes, NULL, &err));
    ck_error(err, "'write' are both required by job 'toy' (uses node 'base' as 'target' child) and "
                  "unshared by node 'middle'");
    filter = open_aside();
    op = (Op){.filter = filter, .node = middle, .insert = true};
    graph_run(op_filter, &op);
    ck_no_error(op.err);
    edge = block_edge_attach(&toy_class, &toy, base, "target", writes, NULL, &err);
    ck_no_error(err);
    /* While the job is there the filter cannot go. */
    op.insert = false;
    graph_run(op_filter, &op);
    ck_error(op.err, "Permission conflict");
    op.err = NULL;
    ck_assert_int_eq(peek(disk, 0), 0);
    block_edge_detach(edge);
    graph_run(op_filter, &op);
    ck_no_error(op.err);
    block_node_unref(filter);
    ck_assert_ptr_null(block_node_find("filter"));
    block_backend_detach(disk, true);
}
END_TEST

static void assert_shown(const char *node)
{
    json_auto_t *disks = block_query(), *stats = block_query_stats();
    json_t *inserted = json_object_get(json_array_get(disks, 0), "inserted");
    g_autofree char *text = block_info_text(NULL, false);

    ck_assert_str_eq(json_str(inserted, "node-name"), node);
    ck_assert_str_eq(json_str(json_array_get(stats, 0), "node-name"), node);
    ck_assert_msg(g_str_has_prefix(text, node), "%s", text);
}

/* A filter without a name is a job's own affair; one that the user has named is shown. */
START_TEST(filter_without_a_name_is_not_shown)
{
    static const char *const filters[] = {"{'file':'r'}", "{'node-name':'f','file':'r'}"};
    BlockBackend *disk;
    BlockNode *node;
    GError *err = NULL;
    Op op;

    make_raw("d", UNIT);
    node = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                     tmp_path("d"));
    disk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    for (unsigned i = 0; i < G_N_ELEMENTS(filters); i++) {
        op = (Op){.filter = open_aside_as(filters[i]), .node = node, .insert = true};
        graph_run(op_filter, &op);
        ck_no_error(op.err);
        ck_assert(block_backend_node(disk) == op.filter);
        assert_shown(i ? "f" : "r");
        op.insert = false;
        graph_run(op_filter, &op);
        ck_no_error(op.err);
        block_node_unref(op.filter);
    }
    block_backend_detach(disk, true);
}
END_TEST

/* What a job relies on is not changed behind its back. */
START_TEST(frozen_edge)
{
    static const char other_backing[] = "[{'driver':'qcow2','node-name':'top','backing':'base'}]";
    static const char refused[] =
        "Cannot change the 'backing' link of 'top': job 'toy' relies on it";
    BlockNode *base, *middle, *top, *filter;
    BlockEdge *job, *edge;
    Toy toy = {0};
    GError *err = NULL;
    Op op;

    make_raw("base", UNIT);
    make_qcow2("middle", "size=64k");
    make_qcow2("top", "size=64k");
    base = graph_add("{'driver':'raw','node-name':'base','read-only':true,"
                     "'file':{'driver':'file','filename':'%s'}}",
                     tmp_path("base"));
    middle = graph_add("{'driver':'qcow2','node-name':'middle','read-only':true,'backing':'base',"
                       "'file':{'driver':'file','filename':'%s'}}",
                       tmp_path("middle"));
    top = graph_add("{'driver':'qcow2','node-name':'top','backing':'middle',"
                    "'file':{'driver':'file','filename':'%s'}}",
                    tmp_path("top"));
    filter = graph_add("{'driver':'raw','node-name':'filter','read-only':true,'file':'middle'}");
    job = block_edge_attach(&toy_class, &toy, top, "source",
                            (BlockPerms){BLOCK_PERM_CONSISTENT_READ, BLOCK_PERM_ALL}, NULL, &err);
    ck_no_error(err);
    edge = block_node_edge(top, "backing");
    ck_assert(block_edge_freeze(edge, job, &err));
    ck_assert(!block_edge_freeze(edge, job, &err));
    ck_error(err, refused);
    must_not_reopen(other_backing, refused);
    must_not_reopen("[{'driver':'qcow2','node-name':'top','backing':null}]", refused);
    op = (Op){.filter = filter, .node = middle, .insert = true};
    graph_run(op_filter, &op);
    ck_error(op.err, refused);
    ck_assert_ptr_eq(top->backing, middle);
    ck_assert_ptr_eq(edge->child, middle);
    /* What keeps the edge is no matter. */
    must_reopen("[{'driver':'qcow2','node-name':'top','backing':'middle','read-only':true}]");
    block_edge_thaw(edge);
    must_reopen(other_backing);
    ck_assert_ptr_eq(top->backing, base);
    block_edge_detach(job);
}
END_TEST

/* Another thread that tries to enter, as a request does, all the time. */
typedef struct {
    BlockBackend *disk;
    BlockNode *node;
    int started, stop; /* atomic */
} Knock;

static void *knock_run(void *data)
{
    Knock *k = data;

    __atomic_store_n(&k->started, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&k->stop, __ATOMIC_SEQ_CST)) {
        __atomic_add_fetch(&k->disk->in_flight, 1, __ATOMIC_SEQ_CST);
        block_backend_leave(k->disk);
        block_node_try_enter(k->node);
        block_node_leave(k->node);
    }
    return NULL;
}

/* Parents that are held move, though requests count themselves in before they see the hold. */
START_TEST(knock_at_parents_that_move)
{
    Chain c = chain_make();
    Knock k = {.disk = c.disk, .node = c.top};
    GThread *thread = g_thread_new("knock", knock_run, &k);
    Op ops[] = {
        {.filter = graph_add("{'driver':'raw','node-name':'f0','file':'top'}"), .node = c.top},
        {.filter = graph_add("{'driver':'raw','node-name':'f1','read-only':true,'file':'middle'}"),
         .node = c.middle},
    };

    while (!__atomic_load_n(&k.started, __ATOMIC_SEQ_CST)) {
        g_thread_yield();
    }
    for (unsigned i = 0; i < 2000; i++) {
        Op *op = &ops[i / 2 % 2];

        op->insert = i % 2 == 0;
        graph_run(op_filter, op);
        ck_no_error(op->err);
    }
    __atomic_store_n(&k.stop, 1, __ATOMIC_SEQ_CST);
    g_thread_join(thread);
    chain_free(&c);
}
END_TEST

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
        found_when_whole,
        name_of_node_to_come,
        end_waits_for_closing,
        snapshot_and_back,
        another_kind_of_parent,
        frozen_edge,
        filter_without_a_name_is_not_shown,
        filter_makes_way_for_a_job,
        knock_at_parents_that_move,
        NULL,
    };

    unit_fork_always();
    return fixture_run("graph", tests);
}
