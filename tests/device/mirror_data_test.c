/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest writes by four queues on an I/O thread, and the disk is mirrored meanwhile: lazily, then
 * actively, back and forth. What the guest has written is on the disk wherever it is, and in the
 * file.
 */
#include <fcntl.h>
#include <unistd.h>
#include "qvirtio.h"

enum { T_IN = 0, T_OUT = 1, T_WRITE_ZEROES = 13 };
enum { QUEUES = 4, BLOCKS = 512, BLOCK = 4096 };
#define F_MQ           (1ull << 12)
#define F_WRITE_ZEROES (1ull << 14)

typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq vq[QUEUES];
    uint64_t headers, statuses, data;
    uint8_t model[BLOCKS]; /* the byte of which a block consists */
    uint32_t seed;
} Guest;

static char *make_image(const char *name)
{
    char *path = g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

    qtest_check(fd >= 0);
    qtest_check_eq(ftruncate(fd, BLOCKS * BLOCK), 0);
    close(fd);
    return path;
}

static uint32_t next(Guest *g)
{
    g->seed = g->seed * 1664525 + 1013904223;
    return g->seed >> 8;
}

/* A request in each queue, all at once; to different blocks. */
static void guest_writes(Guest *g)
{
    unsigned first = next(g) % (BLOCKS - QUEUES);

    for (unsigned i = 0; i < QUEUES; i++) {
        bool zero = next(g) % 8 == 0;
        uint8_t byte = zero ? 0 : next(g) | 1;
        QPiece p[] = {{g->headers + 16 * i, 16, false},
                      {g->data + BLOCK * i, zero ? 16 : BLOCK, false},
                      {g->statuses + i, 1, true}};

        qtest_writel(g->q, g->headers + 16 * i, zero ? T_WRITE_ZEROES : T_OUT);
        qtest_writeq(g->q, g->headers + 16 * i + 8, zero ? 0 : (first + i) * BLOCK / 512);
        qtest_writeb(g->q, g->statuses + i, 0xff);
        qtest_memset(g->q, g->data + BLOCK * i, byte, BLOCK);
        if (zero) {
            qtest_writeq(g->q, g->data + BLOCK * i, (first + i) * BLOCK / 512);
            qtest_writel(g->q, g->data + BLOCK * i + 8, BLOCK / 512);
            qtest_writel(g->q, g->data + BLOCK * i + 12, 0);
        }
        g->model[first + i] = byte;
        qv_add(&g->vq[i], p, 3);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        qv_kick(&g->vq[i]);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        uint32_t id, len;

        qtest_wait_until(qv_get(&g->vq[i], &id, &len));
        qtest_check_eq(qtest_readb(g->q, g->statuses + i), 0);
    }
}

/* The job's status, or "" where there is none. */
static char *job_status(Guest *g)
{
    json_t *jobs = qtest_qmp(g->q, "query-jobs", NULL);
    const char *status = json_string_value(json_object_get(json_array_get(jobs, 0), "status"));
    char *copy = g_strdup(status ? status : "");

    json_decref(jobs);
    return copy;
}

/* Writes until the job has come to this. */
static void write_until(Guest *g, const char *status)
{
    for (;;) {
        g_autofree char *now = job_status(g);

        if (g_str_equal(now, status)) {
            return;
        }
        guest_writes(g);
    }
}

static void check_file(Guest *g, const char *path)
{
    uint8_t buf[BLOCK], want[BLOCK];
    int fd = open(path, O_RDONLY);

    for (unsigned i = 0; i < BLOCKS; i++) {
        memset(want, g->model[i], BLOCK);
        qtest_check_eq(pread(fd, buf, BLOCK, (off_t)i * BLOCK), BLOCK);
        if (memcmp(buf, want, BLOCK)) {
            qtest_fail(__FILE__, __LINE__, "block %u of %s is %#x, not %#x", i, path, buf[0],
                       g->model[i]);
        }
    }
    close(fd);
}

static void mirror(Guest *g, const char *from, const char *to, const char *mode, bool move)
{
    json_decref(qtest_qmp(g->q, "blockdev-mirror", "{s:s,s:s,s:s,s:s,s:s,s:i}", "job-id", "j",
                          "device", from, "target", to, "sync", "full", "copy-mode", mode,
                          "granularity", 4096));
    write_until(g, "ready");
    for (unsigned i = 0; i < 20; i++) {
        guest_writes(g);
    }
    json_decref(
        qtest_qmp(g->q, move ? "block-job-complete" : "block-job-cancel", "{s:s}", "device", "j"));
    write_until(g, "");
    guest_writes(g);
}

static void guest_begin(Guest *g, const char *a, const char *b)
{
    *g = (Guest){.seed = 20261129};
    g->q = qtest_startf("-machine pc -m 64 -nodefaults -object iothread,id=io "
                        "-blockdev driver=raw,node-name=a,file.driver=file,file.filename=%s "
                        "-blockdev driver=raw,node-name=b,file.driver=file,file.filename=%s "
                        "-device virtio-blk-pci,addr=5,drive=a,iothread=io,num-queues=%d",
                        a, b, QUEUES);
    qv_open(g->q, &g->v, 5, false);
    qv_init(&g->v, F_MQ | F_WRITE_ZEROES);
    for (unsigned i = 0; i < QUEUES; i++) {
        qv_queue(&g->v, &g->vq[i], i);
    }
    qv_driver_ok(&g->v);
    g->headers = qtest_alloc(g->q, 16 * QUEUES, 0);
    g->statuses = qtest_alloc(g->q, 16, 0);
    g->data = qtest_alloc(g->q, BLOCK * QUEUES, 4096);
}

static void test_back_and_forth(void)
{
    g_autofree char *a = make_image("a"), *b = make_image("b");
    Guest g;

    guest_begin(&g, a, b);
    for (unsigned i = 0; i < 100; i++) {
        guest_writes(&g);
    }
    mirror(&g, "a", "b", "background", false);
    check_file(&g, a);
    mirror(&g, "a", "b", "background", true);
    check_file(&g, b);
    mirror(&g, "b", "a", "write-blocking", true);
    check_file(&g, a);
    mirror(&g, "a", "b", "write-blocking", false);
    check_file(&g, a);
    qtest_end(g.q);
}

static const QTestCase cases[] = {{"back-and-forth", test_back_and_forth}, {0}};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
