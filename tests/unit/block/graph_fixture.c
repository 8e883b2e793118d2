/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "graph_fixture.h"

BlockNode *graph_add(const char *fmt, ...)
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

BlockBackend *graph_disk(const char *node, const char *path, GError **err)
{
    return block_backend_attach(node, path, 0, NULL, NULL, err);
}

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

void graph_run(void (*fn)(void *data), void *data)
{
    Run r = {.fn = fn, .data = data};

    block_forbid_blocking(true);
    coroutine_start(run_entry, &r);
    turn_until(&r.done);
    block_forbid_blocking(false);
}

void coroutine_fn op_filter(void *data)
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

void coroutine_fn op_inactive(void *data)
{
    Op *op = data;

    op->ok = op->activate ? block_activate_all(&op->err) : block_inactivate_all(&op->err);
}

void must_reopen(const char *configs)
{
    Op op = {.configs = parse_tree("%s", configs)};

    graph_run(op_reopen, &op);
    ck_no_error(op.err);
    ck_assert(op.ok);
    json_decref(op.configs);
}

void must_not_reopen(const char *configs, const char *why)
{
    Op op = {.configs = parse_tree("%s", configs)};

    graph_run(op_reopen, &op);
    ck_assert(!op.ok);
    ck_error(op.err, why);
    json_decref(op.configs);
}

int fill(BlockBackend *blk, uint64_t offset, int byte)
{
    char buf[512];

    memset(buf, byte, sizeof buf);
    return do_io(blk, BLOCK_OP_WRITE, offset, buf, sizeof buf);
}

int peek(BlockBackend *blk, uint64_t offset)
{
    char buf[512];
    int ret = do_io(blk, BLOCK_OP_READ, offset, buf, sizeof buf);

    return ret < 0 ? ret : (uint8_t)buf[511];
}

Chain chain_make(void)
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

void chain_free(Chain *c)
{
    block_backend_detach(c->disk, true);
    block_backend_detach(c->other, true);
}

void turn(unsigned times)
{
    while (times--) {
        event_loop_iterate(main_loop, 0);
    }
}

void must_be(bool active)
{
    Op op = {.activate = active};

    graph_run(op_inactive, &op);
    ck_no_error(op.err);
    ck_assert(op.ok);
}
