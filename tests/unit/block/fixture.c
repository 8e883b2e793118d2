/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fixture.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdarg.h>
#include <unistd.h>
#include "base/reclaim.h"

EventLoop *main_loop;
static char *folder;
static GPtrArray *paths;

void fixture_setup(void)
{
    GError *err = NULL;

    main_loop = event_loop_new("main", &err);
    ck_no_error(err);
    event_loop_bind(main_loop);
    /* In the build folder, on a disk: tmpfs may lack direct I/O. */
    folder = g_strdup("block-test-XXXXXX");
    ck_assert_ptr_nonnull(g_mkdtemp(folder));
    paths = g_ptr_array_new_with_free_func(g_free);
}

void fixture_teardown(void)
{
    block_backend_free_all();
    block_node_close_all();
    reclaim_poll();
    for (unsigned i = 0; i < paths->len; i++) {
        g_unlink(paths->pdata[i]);
    }
    g_rmdir(folder);
    g_ptr_array_unref(paths);
    g_free(folder);
    event_loop_free(main_loop);
}

int fixture_run(const char *name, const TTest *const *tests)
{
    return fixture_run_with(name, tests, fixture_setup, fixture_teardown);
}

int fixture_run_with(const char *name, const TTest *const *tests, void (*setup)(void),
                     void (*teardown)(void))
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (; *tests; tests++) {
        tcase_add_test(tcase, *tests);
    }
    return unit_run_case(name, tcase);
}

const char *tmp_path(const char *name)
{
    char *path = g_strconcat(folder, "/", name, NULL);

    g_ptr_array_add(paths, path);
    return path;
}

void make_raw(const char *name, size_t size)
{
    int fd = open(tmp_path(name), O_CREAT | O_RDWR, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    close(fd);
}

void make_qcow2(const char *name, const char *options)
{
    GError *err = NULL;
    json_auto_t *tree = keyval_parse(options, NULL, NULL, false, &err);

    ck_no_error(err);
    ck_assert(block_image_create(tmp_path(name), "qcow2", tree, &err));
}

BlockBackend *new_drive(GError **err, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    GError *local = NULL;
    json_auto_t *tree = NULL;
    BlockBackend *blk;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    tree = keyval_parse(text, "file", NULL, false, &local);
    ck_no_error(local);
    blk = block_backend_new_drive(tree, &local);
    if (err) {
        *err = local;
    } else {
        ck_no_error(local);
    }
    return blk;
}

json_t *parse_tree(const char *fmt, ...)
{
    g_autofree char *text = NULL;
    json_error_t error;
    json_t *tree;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    tree = json_loads(text, 0, &error);
    ck_assert_msg(tree != NULL, "%s in %s", error.text, text);
    return tree;
}

void turn_until(const bool *done)
{
    while (!*done) {
        event_loop_iterate(main_loop, 100 * NS_PER_MS);
    }
}

typedef struct {
    BlockRequest req;
    int ret;
    bool done;
} OneRequest;

static void one_done(BlockRequest *req, int ret)
{
    OneRequest *one = (OneRequest *)req;

    one->ret = ret;
    one->done = true;
}

int do_io(BlockBackend *blk, BlockOp op, uint64_t offset, void *buf, size_t bytes)
{
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    OneRequest one = {
        .req =
            {.op = op, .offset = offset, .bytes = bytes, .iov = &iov, .niov = 1, .done = one_done},
    };

    block_backend_submit(blk, &one.req);
    ck_assert(!one.done); /* never before submit returns */
    turn_until(&one.done);
    return one.ret;
}
