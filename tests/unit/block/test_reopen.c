/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reopening, and inactive nodes. */
#include <errno.h>
#include <sys/stat.h>
#include "graph_fixture.h"

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

/* Each option of qcow2 that QEMU lets a reopening change, with data there and a timer that runs. */
START_TEST(reopen_changes_caches_and_guards)
{
    static const char *const good[] = {
        "'cache-size':1048576",
        "'cache-size':1048576,'l2-cache-size':65536",
        "'cache-size':1048576,'refcount-cache-size':65536",
        "'l2-cache-entry-size':512",
        "'l2-cache-entry-size':65536",
        "'cache-clean-interval':1",
        "'cache-clean-interval':0",
        "'pass-discard-request':true,'pass-discard-snapshot':false,'pass-discard-other':true",
        "'overlap-check':'none'",
        "'overlap-check':{'template':'all','inactive-l2':false}",
        "'lazy-refcounts':false",
    };
    static const char *const bad[][2] = {
        {"'cache-size':4096,'l2-cache-size':65536", "l2-cache-size may not exceed cache-size"},
        {"'cache-size':1,'l2-cache-size':1,'refcount-cache-size':1", "may not be set at the same"},
        {"'l2-cache-entry-size':131072", "between 512 and the cluster size (65536)"},
        {"'overlap-check':'most'", "most"},
        {"'overlap-check':{'header':true}", "header"},
    };
    GError *err = NULL;
    BlockBackend *blk;

    make_qcow2("q", "size=64M");
    graph_add("{'driver':'file','node-name':'f','filename':'%s'}", tmp_path("q"));
    graph_add("{'driver':'qcow2','node-name':'q','file':'f','cache-clean-interval':1}");
    blk = graph_disk("q", "/machine/peripheral/a", &err);
    ck_no_error(err);
    for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
        g_autofree char *configs =
            g_strdup_printf("[{'driver':'qcow2','node-name':'q','file':'f',%s}]", good[i]);

        ck_assert_int_eq(fill(blk, i * UNIT, i + 1), 0);
        must_reopen(configs);
        for (unsigned j = 0; j <= i; j++) {
            ck_assert_int_eq(peek(blk, j * UNIT), j + 1);
        }
        if (i < ARRAY_SIZE(bad)) {
            g_autofree char *wrong =
                g_strdup_printf("[{'driver':'qcow2','node-name':'q','file':'f',%s}]", bad[i][0]);

            must_not_reopen(wrong, bad[i][1]);
            ck_assert_int_eq(peek(blk, i * UNIT), i + 1);
        }
    }
    must_be(false);
    must_be(true);
    ck_assert_int_eq(peek(blk, UNIT), 2);
    block_backend_detach(blk, true);
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

/* A folder of this host, which the guest writes to, cannot become another host's. */
START_TEST(folder_stays_active)
{
    GError *err = NULL;
    BlockBackend *disk;
    Op op = {0};

    ck_assert_int_eq(mkdir(tmp_path("folder"), 0700), 0);
    graph_add("{'driver':'raw','node-name':'r','file':{'driver':'vvfat','node-name':'v','dir':'%s',"
              "'rw':true}}",
              tmp_path("folder"));
    disk = graph_disk("r", "/machine/peripheral/a", &err);
    ck_no_error(err);
    graph_run(op_inactive, &op);
    ck_assert(!op.ok);
    ck_error(op.err, "The vvfat (rw) format used by node 'v' does not support live migration");
    g_clear_error(&op.err);
    ck_assert_int_eq(fill(disk, 32 * UNIT, PATTERN), 0);
    ck_assert_int_eq(peek(disk, 32 * UNIT), PATTERN);
    block_backend_detach(disk, true);
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

/* A parent that can do without the node. */
typedef struct {
    BlockNode *node;
    BlockEdge *edge;
    unsigned let_go; /* how often it was asked */
    bool ended;
} Holder;

static char *holder_describe(BlockEdge *e)
{
    return g_strdup("a holder");
}

static bool coroutine_fn holder_let_go(BlockEdge *e, GError **err)
{
    Holder *h = e->parent;

    h->let_go++;
    block_edge_detach(g_steal_pointer(&h->edge));
    return true;
}

static void holder_left_alone(BlockEdge *e)
{
}

static const BlockParentClass holder_class = {.describe = holder_describe,
                                              .stays = true,
                                              .let_go = holder_let_go,
                                              .left_alone = holder_left_alone};

static void coroutine_fn holder_inactivate(void *data)
{
    GError *err = NULL;
    bool ok = block_inactivate_all(&err);

    g_assert_no_error(err);
    g_assert(ok);
    ((Holder *)data)->ended = true;
}

/* Comes when all others have let go, and the lock of changes is waited for. */
static void coroutine_fn holder_comes(void *data)
{
    Holder *h = data;

    g_assert(block_changes_lock(NULL));
    coroutine_start(holder_inactivate, h);
    h->edge =
        block_edge_attach(&holder_class, h, h->node, "root",
                          (BlockPerms){BLOCK_PERM_CONSISTENT_READ, BLOCK_PERM_ALL}, NULL, NULL);
    g_assert(h->edge);
    block_changes_unlock();
    while (!h->ended) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
}

START_TEST(late_holder_lets_go)
{
    Holder h = {0};

    make_raw("d", UNIT);
    h.node = graph_add("{'driver':'raw','node-name':'r','file':{'driver':'file','filename':'%s'}}",
                       tmp_path("d"));
    graph_run(holder_comes, &h);
    ck_assert(!h.edge && h.node->inactive);
    ck_assert_uint_eq(h.let_go, 1);
    must_be(true);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        reopen_options,        reopen_inherits,
        reopen_other_backing,  inactive_nodes,
        images_go_to_and_fro,  reopen_changes_caches_and_guards,
        reopen_bars_its_nodes, failed_reopen_changes_nothing,
        reopen_fails_late,     inactivation_fails,
        folder_stays_active,   filter_over_inactive,
        late_holder_lets_go,   NULL,
    };

    return fixture_run("reopen", tests);
}
