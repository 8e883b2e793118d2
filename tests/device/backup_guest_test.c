/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots and backups of a disk whose guest writes meanwhile, by several queues on an I/O thread:
 * the commands come while requests are in flight.
 */
#include <fcntl.h>
#include <unistd.h>
#include "qvirtio.h"

#define F_FLUSH (1ull << 9)
#define F_MQ    (1ull << 12)
enum { QUEUES = 4, DEPTH = 12, BLOCK = 64 * 1024, BLOCKS = QUEUES * DEPTH, T_IN = 0, T_OUT = 1 };

/* Every queue writes to blocks of its own, all at once. */
typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq vq[QUEUES];
    uint64_t header[BLOCKS], status[BLOCKS];
    uint64_t data; /* what every block is written from */
    uint64_t into; /* what the blocks are read into, one behind the other */
} Disk;

static char *tmp_file(const char *name)
{
    return g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
}

static void disk_open(Disk *d)
{
    g_autofree char *path = tmp_file("a");
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

    qtest_check(fd >= 0);
    qtest_check_eq(ftruncate(fd, BLOCKS * BLOCK), 0);
    close(fd);
    *d = (Disk){0};
    d->q = qtest_startf("-machine pc -m 64 -nodefaults -object iothread,id=io0 "
                        "-drive file=%s,format=raw,if=none,id=d0 "
                        "-device virtio-blk-pci,addr=5,drive=d0,iothread=io0,num-queues=%d",
                        path, QUEUES);
    qv_open(d->q, &d->v, 5, false);
    qv_init(&d->v, F_FLUSH | F_MQ);
    for (unsigned i = 0; i < QUEUES; i++) {
        qv_queue(&d->v, &d->vq[i], i);
    }
    qv_driver_ok(&d->v);
    d->data = qtest_alloc(d->q, BLOCK, 4096);
    d->into = qtest_alloc(d->q, BLOCKS * BLOCK, 4096);
    for (unsigned i = 0; i < BLOCKS; i++) {
        d->header[i] = qtest_alloc(d->q, 16, 0);
        d->status[i] = qtest_alloc(d->q, 16, 0);
    }
}

/* Requests for all blocks, which are not waited for: in turn on all queues. */
static void submit_all(Disk *d, uint32_t type)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        QVirtq *vq = &d->vq[i % QUEUES];
        QPiece p[3] = {{d->header[i], 16, false},
                       type == T_IN ? (QPiece){d->into + i * BLOCK, BLOCK, true}
                                    : (QPiece){d->data, BLOCK, false},
                       {d->status[i], 1, true}};

        qtest_writel(d->q, d->header[i], type);
        qtest_writeq(d->q, d->header[i] + 8, i * (BLOCK / 512));
        qtest_writeb(d->q, d->status[i], 0xff);
        qv_add(vq, p, 3);
        qv_kick(vq);
    }
}

static void write_all(Disk *d, uint8_t byte)
{
    qtest_memset(d->q, d->data, byte, BLOCK);
    submit_all(d, T_OUT);
}

static void wait_all(Disk *d)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        uint32_t id, len;

        qtest_wait_until(qv_get(&d->vq[i % QUEUES], &id, &len));
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        qtest_check_eq(qtest_readb(d->q, d->status[i]), 0);
    }
}

static void qmp(Disk *d, const char *command, json_t *args)
{
    json_decref(qtest_qmp(d->q, command, "O", args));
    json_decref(args);
}

/* The program has ended. Every block is as a whole what one of the two writes has left. */
static void check_file(const char *name, uint8_t byte, uint8_t or_byte)
{
    g_autofree char *path = tmp_file(name), *content = NULL;
    gsize len;

    qtest_check(g_file_get_contents(path, &content, &len, NULL));
    qtest_check_eq(len, BLOCKS * BLOCK);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const char *block = content + i * BLOCK;

        qtest_check((uint8_t)block[0] == byte || (uint8_t)block[0] == or_byte);
        qtest_check(memcmp(block, block + 1, BLOCK - 1) == 0);
    }
}

/* The raw image is what was there before the first overlay came. */
static void test_snapshots(void)
{
    Disk d;

    disk_open(&d);
    write_all(&d, 1);
    wait_all(&d);
    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *name = g_strdup_printf("o%u", i), *path = tmp_file(name);

        write_all(&d, 2 + i);
        qmp(&d, "blockdev-snapshot-sync",
            json_pack("{s:s,s:s}", "device", "d0", "snapshot-file", path));
        wait_all(&d);
    }
    /* What was written last is what the guest reads. */
    submit_all(&d, T_IN);
    wait_all(&d);
    for (unsigned i = 0; i < BLOCKS; i++) {
        qtest_check_eq(qtest_readb(d.q, d.into + i * BLOCK), 5);
        qtest_check_eq(qtest_readb(d.q, d.into + (i + 1) * BLOCK - 1), 5);
    }
    qtest_end(d.q);
    check_file("a", 1, 2);
}

/* The job is slow, so the guest's writes copy; then the job has the rest to do. */
static void test_backup(void)
{
    g_autofree char *path = tmp_file("t");
    Disk d;

    disk_open(&d);
    write_all(&d, 1);
    wait_all(&d);
    qmp(&d, "drive-backup",
        json_pack("{s:s,s:s,s:s,s:s,s:i,s:s}", "device", "d0", "target", path, "sync", "full",
                  "format", "raw", "speed", 65536, "filter-node-name", "f"));
    for (unsigned i = 0; i < 4; i++) {
        write_all(&d, 2 + i);
        if (i == 1) {
            qmp(&d, "block-job-set-speed", json_pack("{s:s,s:i}", "device", "d0", "speed", 0));
        }
        wait_all(&d);
    }
    json_decref(qtest_wait_event(d.q, "BLOCK_JOB_COMPLETED"));
    write_all(&d, 9);
    wait_all(&d);
    qtest_end(d.q);
    check_file("t", 1, 1);
    check_file("a", 9, 9);
}

/* A job that has not ended is cancelled with its device's end, and with the program's. */
static void test_end(void)
{
    g_autofree char *path = tmp_file("t");
    Disk d;

    disk_open(&d);
    qmp(&d, "drive-backup",
        json_pack("{s:s,s:s,s:s,s:s,s:i}", "device", "d0", "target", path, "sync", "full", "format",
                  "qcow2", "speed", 1));
    write_all(&d, 1);
    wait_all(&d);
    qtest_end(d.q);
    check_file("a", 1, 1);
}

static const QTestCase cases[] = {
    {"snapshots", test_snapshots}, {"backup", test_backup}, {"end", test_end}, {0}};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
