/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flaky.h"
#include <errno.h>
#include "../../../block/core.h"
#include "../../../block/drivers/drivers.h"
#include "block/graph.h"

Flaky flaky;

typedef struct {
    json_t *file_config;
} FlakyState;

static const Property flaky_props[] = {{.name = "file",
                                        .type = PROP_TREE,
                                        .offset = offsetof(FlakyState, file_config),
                                        .flags = PROP_FLAG_REQUIRED,
                                        .shape = &block_ref_shape},
                                       PROP_END};

static bool flaky_open(BlockNode *node, GError **err)
{
    FlakyState *s = block_node_state(node);

    return block_open_child(node, "file", BLOCK_ROLE_FILTERED, s->file_config, &node->file, err);
}

static int fails(int *in)
{
    if (!__atomic_load_n(in, __ATOMIC_SEQ_CST) || __atomic_sub_fetch(in, 1, __ATOMIC_SEQ_CST)) {
        return 0;
    }
    if (flaky.times < 0 || __atomic_sub_fetch(&flaky.times, 1, __ATOMIC_SEQ_CST) > 0) {
        __atomic_store_n(in, 1, __ATOMIC_SEQ_CST);
    }
    return -flaky.error;
}

static int coroutine_fn before_write(uint64_t off, uint64_t bytes)
{
    bool counted = !flaky.hold_at || (off <= flaky.hold_at && flaky.hold_at - off < bytes);

    __atomic_add_fetch(&flaky.writes, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&flaky.held, counted, __ATOMIC_SEQ_CST);
    while (counted && __atomic_load_n(&flaky.hold, __ATOMIC_SEQ_CST)) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
    }
    __atomic_sub_fetch(&flaky.held, counted, __ATOMIC_SEQ_CST);
    return fails(&flaky.fail_write_in);
}

static int coroutine_fn flaky_preadv(BlockNode *node, uint64_t off, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov)
{
    int ret = fails(&flaky.fail_read_in);

    __atomic_add_fetch(&flaky.reads, 1, __ATOMIC_SEQ_CST);
    flaky.longest_read = MAX(flaky.longest_read, bytes);
    if (__atomic_load_n(&flaky.hold_reads, __ATOMIC_SEQ_CST)) {
        __atomic_add_fetch(&flaky.reads_held, 1, __ATOMIC_SEQ_CST);
        while (!__atomic_load_n(&flaky.let_go, __ATOMIC_SEQ_CST)) {
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
        }
    }
    return ret < 0 ? ret : block_preadv(node->file, off, bytes, iov, niov);
}

static int coroutine_fn flaky_pwritev(BlockNode *node, uint64_t off, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov, unsigned flags)
{
    int ret = before_write(off, bytes);

    return ret < 0 ? ret : block_pwritev(node->file, off, bytes, iov, niov, flags);
}

static int coroutine_fn flaky_pwrite_zeroes(BlockNode *node, uint64_t off, uint64_t bytes,
                                            unsigned flags)
{
    int ret = before_write(off, bytes);

    return ret < 0 ? ret : block_pwrite_zeroes(node->file, off, bytes, flags);
}

static int coroutine_fn flaky_flush(BlockNode *node)
{
    if (flaky.flush_ns) {
        coroutine_sleep(CLOCK_REALTIME_NS, flaky.flush_ns);
    }
    return block_flush(node->file);
}

static int coroutine_fn flaky_block_status(BlockNode *node, uint64_t off, uint64_t bytes,
                                           uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    return block_status(node->file, off, bytes, pnum, map, file);
}

static const BlockDriver flaky_driver = {
    .name = "flaky",
    .size = sizeof(FlakyState),
    .props = flaky_props,
    .open = flaky_open,
    .preadv = flaky_preadv,
    .pwritev = flaky_pwritev,
    .pwrite_zeroes = flaky_pwrite_zeroes,
    .flush = flaky_flush,
    .block_status = flaky_block_status,
};

void flaky_install(void)
{
    flaky = (Flaky){.error = EIO, .times = -1};
    block_drivers_add(&flaky_driver);
}
