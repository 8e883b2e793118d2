/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the VM state of a qcow2 snapshot lies in the file: right for an image of ours, and found or
 * refused with a bounded number of reads for one that an attacker has made.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "memdisk.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/snapshot.h"

/* An image whose one snapshot has VM state, with a gap that nothing was written to. */
enum { STATE = 6 * MiB, GAP = 2 * MiB, GAP_END = 3 * MiB, CLUSTER = 4096, TABLE_SPAN = 2 * MiB };

static uint8_t state[STATE];

typedef struct {
    MemDisk *disk;
    uint64_t entry, l1; /* of the snapshot, in the file */
    uint64_t first;     /* L1 entry of the VM state */
} Image;

static int coroutine_fn make_snapshot(void *data)
{
    BlockNode *n = data;
    BlockSnapshot sn = block_snapshot_now("s");
    struct iovec before = {state, GAP}, behind = {state + GAP_END, STATE - GAP_END};

    sn.vm_state_size = STATE;
    g_assert(block_vmstate_pwritev(n, 0, GAP, &before, 1) == 0);
    g_assert(block_vmstate_pwritev(n, GAP_END, STATE - GAP_END, &behind, 1) == 0);
    return block_snapshot_create(n, &sn, NULL) ? 0 : -EIO;
}

static BlockNode *map_open(void)
{
    BlockNode *n = imgtest_open("qcow2", "disk", NULL, NULL);

    g_assert(n);
    return n;
}

static Image image_new(void)
{
    Image i = {.disk = imgtest_create("disk", "qcow2", "size=4M,cluster_size=4k")};
    BlockNode *n = map_open();

    for (unsigned k = 0; k < STATE; k++) {
        state[k] = k >= GAP && k < GAP_END ? 0 : k % 251 + 1;
    }
    g_assert(block_run(make_snapshot, n) == 0);
    block_node_unref(n);
    i.entry = ldbe64(i.disk->data + 64);
    i.l1 = ldbe64(i.disk->data + i.entry);
    i.first = 4 * MiB / TABLE_SPAN;
    return i;
}

/* A call, and the answer. */
typedef struct {
    BlockNode *n;
    uint64_t bytes;
    GArray *extents;
} Call;

static int coroutine_fn extents_fn(void *data)
{
    Call *c = data;

    return block_vmstate_extents(c->n, "1", 0, c->bytes, c->extents);
}

/* What it returns, the extents, and how many reads that took. */
static int extents_of(const Image *i, uint64_t bytes, GArray *extents, uint64_t *reads)
{
    Call c = {map_open(), bytes, extents};
    uint64_t before = i->disk->reads;
    int ret;

    g_array_set_size(extents, 0);
    ret = block_run(extents_fn, &c);
    *reads = i->disk->reads - before;
    block_node_unref(c.n);
    return ret;
}

/* Whether the extents are all of the VM state but the gap, and are in the file as it is. */
static bool extents_right(const Image *i, const GArray *extents)
{
    uint64_t at = 0;

    for (unsigned k = 0; k < extents->len; k++) {
        const BlockVmstateExtent *e = &g_array_index(extents, BlockVmstateExtent, k);

        at = at == GAP ? GAP_END : at;
        if (e->pos != at || e->bytes > STATE - at || e->offset + e->bytes > i->disk->length ||
            memcmp(i->disk->data + e->offset, state + at, e->bytes) != 0) {
            return false;
        }
        at += e->bytes;
    }
    return at == STATE;
}

static unsigned tests;

static void map_report(bool ok, const char *what, int ret, uint64_t reads, const GArray *extents)
{
    printf("%sok %u - %s\n", ok ? "" : "not ", ++tests, what);
    if (!ok) {
        printf("# ret %d, %" PRIu64 " reads, %u extents\n", ret, reads, extents->len);
    }
    fflush(stdout);
}

int main(void)
{
    EventLoop *loop = imgtest_init();
    g_autoptr(GArray) e = g_array_new(FALSE, FALSE, sizeof(BlockVmstateExtent));
    Image i = image_new();
    uint64_t reads, few = 20;
    uint8_t *l1 = i.disk->data + i.l1;
    int ret;

    printf("1..5\n");
    ret = extents_of(&i, STATE, e, &reads);
    map_report(ret == 0 && extents_right(&i, e), "as it was written", ret, reads, e);
    ret = extents_of(&i, BIT64(60), e, &reads);
    map_report(ret == 0 && extents_right(&i, e) && reads < few, "asked for far more than there is",
               ret, reads, e);

    /* Behind the state the L1 table has 4 million entries: none, as the file has no more. */
    {
        uint64_t huge = 32 * MiB / 8, end = ROUND_UP(i.disk->length, CLUSTER);
        g_autofree uint8_t *bigger = g_malloc0(end + huge * 8);

        memcpy(bigger, i.disk->data, i.disk->length);
        memcpy(bigger + end, l1, (i.first + STATE / TABLE_SPAN) * 8);
        stbe64(bigger + i.entry, end);
        stbe32(bigger + i.entry + 8, huge);
        memdisk_set(i.disk, bigger, end + huge * 8);
        i.l1 = end;
        l1 = i.disk->data + i.l1;
        ret = extents_of(&i, BIT64(60), e, &reads);
        map_report(ret == 0 && extents_right(&i, e) && reads < huge / 64 + few,
                   "a long L1 table without entries", ret, reads, e);

        /* All of them name one table: more data than the file can have. */
        for (uint64_t k = i.first; k < huge; k++) {
            memcpy(l1 + k * 8, l1 + i.first * 8, 8);
        }
        ret = extents_of(&i, BIT64(60), e, &reads);
        map_report(ret == -EIO && reads < 1000, "a long L1 table with one L2 table", ret, reads, e);

        stbe32(i.disk->data + i.entry + 8, huge + 1);
        ret = extents_of(&i, STATE, e, &reads);
        map_report(ret == -EIO && e->len == 0, "an L1 table that is too long", ret, reads, e);
    }
    block_node_close_all();
    memdisk_free_all();
    reclaim_poll();
    event_loop_free(loop);
    return 0;
}
