/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One image, two disks of the guest on I/O threads of their own, four queues each. Jobs, limits and
 * bitmaps come and go while requests are in flight, and the short way through the image is hot.
 */
#include <fcntl.h>
#include <unistd.h>
#include "qvirtio.h"

enum { T_IN = 0, T_OUT = 1 };
enum { DISKS = 2, QUEUES = 4, LANES = DISKS * QUEUES, BLOCKS = 1024, BLOCK = 4096 };
#define F_MQ (1ull << 12)

typedef struct {
    QTest *q;
    QVirtio v[DISKS];
    QVirtq vq[LANES];
    uint64_t headers, statuses, data;
    uint8_t model[BLOCKS];  /* the byte of which a block consists */
    uint8_t before[BLOCKS]; /* the same without the requests in flight */
    unsigned first;         /* blocks of the requests in flight: 'first' and those that follow */
    uint32_t seed;
} Guest;

static char *tmp_file(const char *name)
{
    return g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
}

static uint32_t next(Guest *g)
{
    g->seed = g->seed * 1664525 + 1013904223;
    return g->seed >> 8;
}

static void qmp(Guest *g, const char *command, json_t *args)
{
    json_decref(qtest_qmp(g->q, command, "O", args));
    json_decref(args);
}

/* A request in each queue of both disks, for neighbours: they share the image's clusters. */
static void submit(Guest *g, uint32_t type)
{
    g->first = next(g) % (BLOCKS - LANES);
    memcpy(g->before, g->model, sizeof g->model);
    for (unsigned i = 0; i < LANES; i++) {
        QPiece p[] = {{g->headers + 16 * i, 16, false},
                      {g->data + BLOCK * i, BLOCK, type == T_IN},
                      {g->statuses + i, 1, true}};

        qtest_writel(g->q, g->headers + 16 * i, type);
        qtest_writeq(g->q, g->headers + 16 * i + 8, (g->first + i) * (BLOCK / 512));
        qtest_writeb(g->q, g->statuses + i, 0xff);
        if (type == T_OUT) {
            g->model[g->first + i] = next(g) | 1;
            qtest_memset(g->q, g->data + BLOCK * i, g->model[g->first + i], BLOCK);
        }
        qv_add(&g->vq[i], p, 3);
    }
    for (unsigned i = 0; i < LANES; i++) {
        qv_kick(&g->vq[i]);
    }
}

static void reap(Guest *g)
{
    for (unsigned i = 0; i < LANES; i++) {
        uint32_t id, len;

        qtest_wait_until(qv_get(&g->vq[i], &id, &len));
        qtest_check_eq(qtest_readb(g->q, g->statuses + i), 0);
    }
}

/* Each disk of the guest reads what the other one wrote, too. */
static void load(Guest *g, unsigned rounds)
{
    for (unsigned k = 0; k < rounds; k++) {
        bool read = next(g) % 4 == 0;

        submit(g, read ? T_IN : T_OUT);
        reap(g);
        for (unsigned i = 0; read && i < LANES; i++) {
            qtest_check_eq(qtest_readb(g->q, g->data + BLOCK * i), g->model[g->first + i]);
            qtest_check_eq(qtest_readb(g->q, g->data + BLOCK * i + BLOCK - 1),
                           g->model[g->first + i]);
        }
    }
}

/* The command comes while requests are in flight. */
static void under_load(Guest *g, const char *command, json_t *args)
{
    submit(g, T_OUT);
    qmp(g, command, args);
    reap(g);
}

static char *job_status(Guest *g)
{
    json_t *jobs = qtest_qmp(g->q, "query-jobs", NULL);
    const char *status = json_string_value(json_object_get(json_array_get(jobs, 0), "status"));
    char *copy = g_strdup(status ? status : "");

    json_decref(jobs);
    return copy;
}

static void load_until(Guest *g, const char *status)
{
    for (;;) {
        g_autofree char *now = job_status(g);

        if (g_str_equal(now, status)) {
            return;
        }
        load(g, 1);
    }
}

/* The file has 'model', and in the blocks in flight when it was taken what is in 'or_model'. */
static void check_file(const char *name, const uint8_t *model, const uint8_t *or_model)
{
    g_autofree char *path = tmp_file(name), *content = NULL;
    gsize len;

    qtest_check(g_file_get_contents(path, &content, &len, NULL));
    qtest_check_eq(len, BLOCKS * BLOCK);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const uint8_t *block = (const uint8_t *)content + (size_t)i * BLOCK;

        if ((block[0] != model[i] && block[0] != or_model[i]) ||
            memcmp(block, block + 1, BLOCK - 1) != 0) {
            qtest_fail(__FILE__, __LINE__, "block %u of %s is %#x, not %#x or %#x", i, name,
                       block[0], model[i], or_model[i]);
        }
    }
}

/* The node that both disks are on is 'device'; it ends as a new one of this name. */
static void mirror(Guest *g, const char *device, const char *to, const char *format,
                   const char *mode)
{
    g_autofree char *path = tmp_file(to);

    under_load(g, "drive-mirror",
               json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i}", "job-id", "j", "device", device,
                         "target", path, "node-name", to, "format", format, "sync", "full",
                         "copy-mode", mode, "granularity", 4096));
    load_until(g, "ready");
    load(g, 10);
    under_load(g, "block-job-complete", json_pack("{s:s}", "device", "j"));
    load_until(g, "");
    load(g, 10);
}

static void guest_begin(Guest *g)
{
    g_autofree char *path = tmp_file("a");
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

    qtest_check(fd >= 0);
    qtest_check_eq(ftruncate(fd, BLOCKS * BLOCK), 0);
    close(fd);
    *g = (Guest){.seed = 20261129};
    g->q = qtest_startf("-machine pc -m 64 -nodefaults -object iothread,id=io0 "
                        "-object iothread,id=io1 "
                        "-blockdev driver=raw,node-name=a,file.driver=file,file.filename=%s "
                        "-device virtio-blk-pci,addr=5,drive=a,iothread=io0,num-queues=4,"
                        "share-rw=on,id=v0 "
                        "-device virtio-blk-pci,addr=6,drive=a,iothread=io1,num-queues=4,"
                        "share-rw=on,id=v1",
                        path);
    for (unsigned i = 0; i < DISKS; i++) {
        qv_open(g->q, &g->v[i], 5 + i, false);
        qv_init(&g->v[i], F_MQ);
        for (unsigned k = 0; k < QUEUES; k++) {
            qv_queue(&g->v[i], &g->vq[i * QUEUES + k], k);
        }
        qv_driver_ok(&g->v[i]);
    }
    g->headers = qtest_alloc(g->q, 16 * LANES, 0);
    g->statuses = qtest_alloc(g->q, 16, 0);
    g->data = qtest_alloc(g->q, BLOCK * LANES, 4096);
    /* All clusters are there, and their table is cached, when the image becomes qcow2. */
    load(g, 50);
}

static void test_mirror(void)
{
    Guest g;

    guest_begin(&g);
    mirror(&g, "a", "b", "qcow2", "background");
    mirror(&g, "b", "c", "qcow2", "write-blocking");
    mirror(&g, "c", "d", "raw", "background");
    qtest_end(g.q);
    check_file("d", g.model, g.model);
}

static void test_backup(void)
{
    uint8_t before[BLOCKS], after[BLOCKS];
    g_autofree char *path = tmp_file("t");
    Guest g;

    guest_begin(&g);
    mirror(&g, "a", "b", "qcow2", "write-blocking");
    /* The job is slow: the guest's writes copy. On a busy host they take seconds. */
    under_load(&g, "drive-backup",
               json_pack("{s:s,s:s,s:s,s:s,s:s,s:i}", "job-id", "j", "device", "b", "target", path,
                         "sync", "full", "format", "raw", "speed", 1 << 17));
    memcpy(before, g.before, sizeof before);
    memcpy(after, g.model, sizeof after);
    load(&g, 50);
    under_load(&g, "block-job-set-speed", json_pack("{s:s,s:i}", "device", "j", "speed", 0));
    load_until(&g, "");
    mirror(&g, "b", "c", "raw", "write-blocking");
    qtest_end(g.q);
    check_file("t", before, after);
    check_file("c", g.model, g.model);
}

static void set_limits(Guest *g, const char *id, int iops, const char *group)
{
    json_t *args = json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:i}", "id", id, "bps", 0, "bps_rd", 0,
                             "bps_wr", 0, "iops", iops, "iops_rd", 0, "iops_wr", 0);

    if (iops) {
        json_object_set_new(args, "group", json_string(group));
    }
    under_load(g, "block_set_io_throttle", args);
}

/* Limits of both disks, of a group that they share, too; a bitmap and a threshold on the image. */
static void test_limits(void)
{
    Guest g;

    guest_begin(&g);
    mirror(&g, "a", "b", "qcow2", "write-blocking");
    for (unsigned i = 0; i < 6; i++) {
        g_autofree char *bitmap = g_strdup_printf("m%u", i);

        set_limits(&g, "/machine/peripheral/v0/virtio-backend", 2000, i % 2 ? "shared" : "one");
        set_limits(&g, "/machine/peripheral/v1/virtio-backend", 2000, i % 2 ? "shared" : "two");
        under_load(&g, "block-dirty-bitmap-add",
                   json_pack("{s:s,s:s}", "node", "b", "name", bitmap));
        under_load(
            &g, "block-set-write-threshold",
            json_pack("{s:s,s:i}", "node-name", "b", "write-threshold", i % 2 ? 0 : 1 << 20));
        load(&g, 10);
        under_load(&g, "block-dirty-bitmap-remove",
                   json_pack("{s:s,s:s}", "node", "b", "name", bitmap));
        set_limits(&g, "/machine/peripheral/v0/virtio-backend", 0, NULL);
        set_limits(&g, "/machine/peripheral/v1/virtio-backend", 0, NULL);
        load(&g, 10);
    }
    mirror(&g, "b", "c", "raw", "background");
    qtest_end(g.q);
    check_file("c", g.model, g.model);
}

static void snapshot(Guest *g, const char *node, const char *name)
{
    g_autofree char *path = tmp_file(name);

    under_load(g, "blockdev-snapshot-sync",
               json_pack("{s:s,s:s,s:s,s:s}", "node-name", node, "snapshot-file", path,
                         "snapshot-node-name", name, "format", "qcow2"));
    load(g, 10);
}

/* An overlay that is written is committed into its base; another one takes its base in. */
static void test_chain(void)
{
    Guest g;

    guest_begin(&g);
    mirror(&g, "a", "b", "qcow2", "write-blocking");
    snapshot(&g, "b", "o");
    under_load(&g, "block-commit", json_pack("{s:s,s:s}", "job-id", "j", "device", "o"));
    load_until(&g, "ready");
    load(&g, 10);
    under_load(&g, "block-job-complete", json_pack("{s:s}", "device", "j"));
    load_until(&g, "");
    load(&g, 10);
    snapshot(&g, "b", "p");
    under_load(&g, "block-stream",
               json_pack("{s:s,s:s,s:i}", "job-id", "j", "device", "p", "speed", 1 << 17));
    load(&g, 20);
    under_load(&g, "block-job-set-speed", json_pack("{s:s,s:i}", "device", "j", "speed", 0));
    load_until(&g, "");
    mirror(&g, "p", "c", "raw", "background");
    qtest_end(g.q);
    check_file("c", g.model, g.model);
}

static const QTestCase cases[] = {{"mirror", test_mirror},
                                  {"backup", test_backup},
                                  {"limits", test_limits},
                                  {"chain", test_chain},
                                  {0}};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
