/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of host files: aio-max-batch, drop-cache, and those that are refused. */
#include <fcntl.h>
#include <unistd.h>
#include "graph_fixture.h"

static unsigned batch_done;

static void batch_one_done(BlockRequest *req, int ret)
{
    ck_assert_int_eq(ret, 0);
    batch_done++;
}

/* Whether the file gets what was submitted while the loop does not turn. */
static bool reaches_file(const char *path, char byte)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + 2000 * NS_PER_MS;
    char buf = 0;

    while (buf != byte && clock_ns(CLOCK_REALTIME_NS) < end) {
        auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);

        ck_assert_int_eq(pread(fd, &buf, 1, 0), 1);
        g_usleep(10000);
    }
    return buf == byte;
}

/* A batch that is full goes to the kernel at once; one that is not when the loop turns. */
START_TEST(native_batches)
{
    enum { COUNT = 10, BYTES = 4096 };
    static char data[COUNT][BYTES] __attribute__((aligned(BYTES)));
    static struct iovec iov[COUNT];
    static BlockRequest req[COUNT];
    const char *path = (make_raw("a.raw", COUNT * BYTES), tmp_path("a.raw"));

    for (unsigned batch = 0; batch <= COUNT; batch++) {
        BlockBackend *blk = new_drive(NULL,
                                      "file.filename=%s,format=raw,if=none,id=d,cache=none,"
                                      "file.aio=native,file.aio-max-batch=%u",
                                      path, batch);
        bool at_once = batch && batch < COUNT;

        batch_done = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            memset(data[i], batch + 1, BYTES);
            iov[i] = (struct iovec){data[i], BYTES};
            req[i] = (BlockRequest){.op = BLOCK_OP_WRITE,
                                    .offset = i * BYTES,
                                    .bytes = BYTES,
                                    .iov = &iov[i],
                                    .niov = 1,
                                    .done = batch_one_done};
            if (i < COUNT - 1) {
                block_backend_submit(blk, &req[i]);
            }
        }
        ck_assert_uint_eq(batch_done, 0);
        if (batch < 4 || batch == COUNT) {
            ck_assert_int_eq(reaches_file(path, batch + 1), at_once);
        }
        block_backend_submit(blk, &req[COUNT - 1]);
        while (batch_done < COUNT) {
            event_loop_iterate(main_loop, 100 * NS_PER_MS);
        }
        ck_assert(reaches_file(path, batch + 1));
        block_backend_free_all();
    }
}
END_TEST

static int forgotten; /* calls of posix_fadvise() */

/* In the place of the C library's: the page cache of some file systems can't be looked at. */
int posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
    forgotten += advice == POSIX_FADV_DONTNEED && offset == 0 && len == 0;
    return 0;
}

/* What this host's page cache has of a file is old where another host has written to it. */
START_TEST(drop_cache)
{
    make_raw("r", UNIT);
    graph_add("{'driver':'file','node-name':'f','filename':'%s'}", tmp_path("r"));
    must_be(false);
    must_be(true);
    ck_assert_int_eq(forgotten, 1);
    {
        g_autofree char *off = g_strdup_printf("[{'driver':'file','node-name':'f','filename':'%s',"
                                               "'drop-cache':false}]",
                                               tmp_path("r"));
        g_autofree char *batch = g_strdup_printf("[{'driver':'file','node-name':'f','filename':"
                                                 "'%s','aio-max-batch':4}]",
                                                 tmp_path("r"));

        must_reopen(off);
        must_not_reopen(batch, "Cannot change the option 'aio-max-batch'");
    }
    must_be(false);
    must_be(true);
    ck_assert_int_eq(forgotten, 1);
}
END_TEST

/* Options of QEMU's that are refused by name, with a reason. */
START_TEST(refused_options)
{
    GError *err = NULL;

    make_raw("r", UNIT);
    ck_assert_ptr_null(
        new_drive(&err, "file.filename=%s,format=raw,if=none,file.pr-manager=p", tmp_path("r")));
    ck_error(err, "'pr-manager' is not supported: persistent reservations");
    ck_assert_ptr_null(new_drive(
        &err, "file.filename=%s,format=raw,if=none,file.x-check-cache-dropped=on", tmp_path("r")));
    ck_error(err, "'x-check-cache-dropped' is not supported");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        native_batches,
        drop_cache,
        refused_options,
        NULL,
    };

    return fixture_run("host-file", tests);
}
