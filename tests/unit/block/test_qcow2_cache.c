/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2's metadata in memory: how often the file is read and written for it, and what it takes. */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>
#include "block/node.h"
#include "fixture.h"

enum { CLUSTER = 64 * KiB };

static const BlockDriver *real_file;
static unsigned reads, writes; /* requests to the image's file */

static int coroutine_fn counting_preadv(BlockNode *n, uint64_t off, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov)
{
    reads++;
    return real_file->preadv(n, off, bytes, iov, niov);
}

static int coroutine_fn counting_pwritev(BlockNode *n, uint64_t off, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov, unsigned flags)
{
    writes++;
    return real_file->pwritev(n, off, bytes, iov, niov, flags);
}

static void count_requests(BlockNode *n)
{
    static BlockDriver counting;

    real_file = n->file->driver;
    counting = *real_file;
    counting.preadv = counting_preadv;
    counting.pwritev = counting_pwritev;
    n->file->driver = &counting;
    reads = writes = 0;
}

static BlockBackend *open_image(void)
{
    BlockBackend *blk = new_drive(
        NULL, "file=%s,format=qcow2,if=none,id=d,cache=unsafe,discard=unmap", tmp_path("a.qcow2"));

    count_requests(block_backend_node(blk));
    return blk;
}

/* Takes one cluster away from each L2 slice (every 32 MiB), and gives a few of them back. */
static void touch_all(BlockBackend *blk, uint64_t disk, unsigned cluster)
{
    g_autofree char *data = g_malloc(CLUSTER);

    memset(data, cluster, CLUSTER);
    for (uint64_t at = (uint64_t)cluster * CLUSTER; at < disk; at += 32 * MiB) {
        ck_assert_int_eq(do_io(blk, BLOCK_OP_DISCARD, at, NULL, CLUSTER), 0);
    }
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    for (uint64_t at = (uint64_t)cluster * CLUSTER; at < disk; at += disk / 16) {
        ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, at, data, CLUSTER), 0);
    }
}

/* All tables of 256 GiB with clusters of 64 KiB stay in memory, once they were read. */
START_TEST(tables_of_256_gib_are_read_once)
{
    uint64_t disk = 256 * GiB;
    BlockBackend *blk;
    struct mallinfo2 before, after;
    unsigned warm;

    make_qcow2("a.qcow2", "size=256G,preallocation=metadata");
    before = mallinfo2();
    blk = open_image();
    touch_all(blk, disk, 0);
    after = mallinfo2();
    warm = reads;
    ck_assert_uint_ge(warm, disk / (32 * MiB) + disk / (128 * MiB));
    reads = 0;
    touch_all(blk, disk, 1);
    touch_all(blk, disk, 500);
    ck_assert_uint_eq(reads, 0);
    /* 32 MiB of L2 tables, at most 9 of refcounts, and what finds them. A sanitizer says 0. */
    ck_assert_uint_le(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd, 43 * MiB);
}
END_TEST

/* Slices that lie side by side are written back together. */
START_TEST(neighbours_are_written_at_once)
{
    g_autofree char *data = g_malloc0(CLUSTER);
    BlockBackend *blk;

    make_qcow2("a.qcow2", "size=512M");
    blk = open_image();
    for (uint64_t at = 0; at < 512 * MiB; at += 32 * MiB) {
        ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE, at, data, CLUSTER), 0);
    }
    writes = 0;
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
    ck_assert_uint_le(writes, 3); /* refcounts, L2 entries, the L1 table */
}
END_TEST

/* Turns the loop for so long. */
static void turn_for(int64_t ns)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + ns;

    while (clock_ns(CLOCK_REALTIME_NS) < end) {
        event_loop_iterate(main_loop, 10 * NS_PER_MS);
    }
}

static uint64_t resident_bytes(void)
{
    unsigned long size, resident;
    FILE *f = fopen("/proc/self/statm", "r");

    ck_assert_int_eq(fscanf(f, "%lu %lu", &size, &resident), 2);
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static unsigned reads_of(BlockBackend *blk, uint64_t at)
{
    char buf[512];

    reads = 0;
    ck_assert_int_eq(do_io(blk, BLOCK_OP_READ, at, buf, sizeof buf), 0);
    return reads;
}

/* Tables that nobody uses leave memory; those in use stay, and so do those not written yet. */
START_TEST(idle_tables_are_dropped)
{
    enum { STEP = 32 * MiB };
    const uint64_t disk = 128 * GiB;
    BlockBackend *blk;
    uint64_t full;
    unsigned usual;

    make_qcow2("a.qcow2", "size=128G,preallocation=metadata");
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,cache=unsafe,cache-clean-interval=1",
                    tmp_path("a.qcow2"));
    count_requests(block_backend_node(blk));
    for (uint64_t at = 0; at < disk; at += STEP) {
        reads_of(blk, at);
    }
    usual = reads_of(blk, STEP);
    full = resident_bytes();
    ck_assert_int_eq(do_io(blk, BLOCK_OP_WRITE_ZEROES, 7ull * STEP, NULL, CLUSTER), 0);
    for (unsigned i = 0; i < 12; i++) {
        turn_for(300 * NS_PER_MS);
        ck_assert_uint_eq(reads_of(blk, STEP), usual);
    }
    ck_assert_uint_le(resident_bytes() + 12 * MiB, full); /* 16 MiB of L2 tables */
    ck_assert_uint_gt(reads_of(blk, 2ull * STEP), usual);
    ck_assert_uint_eq(reads_of(blk, 2ull * STEP), usual);
    ck_assert_uint_eq(reads_of(blk, 7ull * STEP), 0);
    /* What comes back is put where something was. */
    for (uint64_t at = 0; at < disk; at += STEP) {
        reads_of(blk, at);
    }
    ck_assert_uint_le(resident_bytes(), full + 4 * MiB);
    ck_assert_int_eq(do_io(blk, BLOCK_OP_FLUSH, 0, NULL, 0), 0);
}
END_TEST

/* Small slices share pages with others. */
START_TEST(idle_slices_of_one_sector_are_dropped)
{
    BlockBackend *blk;

    make_qcow2("a.qcow2", "size=64M,cluster_size=512,preallocation=metadata");
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,cache=unsafe,cache-clean-interval=1",
                    tmp_path("a.qcow2"));
    count_requests(block_backend_node(blk));
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t at = 0; at < 64 * MiB; at += 32 * KiB) {
            ck_assert_uint_le(reads_of(blk, at), 2);
        }
        turn_for(2500 * NS_PER_MS);
        ck_assert_uint_eq(reads_of(blk, 32 * KiB), 2);
        ck_assert_uint_eq(reads_of(blk, 32 * KiB), 0); /* the short way */
    }
}
END_TEST

START_TEST(without_an_interval_tables_stay)
{
    BlockBackend *blk;
    unsigned usual;

    make_qcow2("a.qcow2", "size=1G,preallocation=metadata");
    blk = new_drive(NULL, "file=%s,format=qcow2,if=none,id=d,cache=unsafe,cache-clean-interval=0",
                    tmp_path("a.qcow2"));
    count_requests(block_backend_node(blk));
    reads_of(blk, 0);
    usual = reads_of(blk, 0);
    turn_for(2500 * NS_PER_MS);
    ck_assert_uint_eq(reads_of(blk, 0), usual);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        tables_of_256_gib_are_read_once, neighbours_are_written_at_once,
        idle_tables_are_dropped,         idle_slices_of_one_sector_are_dropped,
        without_an_interval_tables_stay, NULL,
    };

    return fixture_run("qcow2-cache", tests);
}
