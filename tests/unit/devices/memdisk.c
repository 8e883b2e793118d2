/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "memdisk.h"

#include "../../../block/core.h"
#include "../../../block/drivers/drivers.h"
#include "base/iov.h"
#include "base/keyval.h"

MemDisk memdisk;

static int memdisk_enter(BlockOp op)
{
    memdisk.requests[op]++;
    coroutine_sleep(CLOCK_REALTIME_NS, 0);
    return -memdisk.error[op];
}

static bool memdisk_open(BlockNode *n, GError **err)
{
    return true;
}

static int coroutine_fn memdisk_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    int ret = memdisk_enter(BLOCK_OP_READ);

    if (ret == 0 && memdisk.bad) {
        ret = -memdisk.bad(offset, bytes);
    }
    if (ret == 0) {
        iov_from_buf(iov, niov, 0, memdisk.data + offset, bytes);
    }
    return ret;
}

static int coroutine_fn memdisk_pwritev(BlockNode *n, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    int ret = memdisk_enter(BLOCK_OP_WRITE);

    if (ret == 0) {
        iov_to_buf(iov, niov, 0, memdisk.data + offset, bytes);
        block_node_wrote(n);
    }
    return ret;
}

static int coroutine_fn memdisk_pwrite_zeroes(BlockNode *n, uint64_t offset, uint64_t bytes,
                                              unsigned flags)
{
    int ret = memdisk_enter(BLOCK_OP_WRITE_ZEROES);

    if (ret == 0) {
        memset(memdisk.data + offset, 0, bytes);
        block_node_wrote(n);
        memdisk.unmapped = flags & BLOCK_REQ_MAY_UNMAP;
    }
    return ret;
}

/* What is discarded reads as something else. */
static int coroutine_fn memdisk_pdiscard(BlockNode *n, uint64_t offset, uint64_t bytes)
{
    int ret = memdisk_enter(BLOCK_OP_DISCARD);

    if (ret == 0) {
        memset(memdisk.data + offset, 0xdd, bytes);
    }
    return ret;
}

static int coroutine_fn memdisk_flush(BlockNode *n)
{
    return memdisk_enter(BLOCK_OP_FLUSH);
}

static int64_t memdisk_length(BlockNode *n)
{
    return MEMDISK_SIZE;
}

static const BlockDriver memdisk_driver = {
    .name = "memdisk",
    .help = "a disk in memory",
    .is_protocol = true,
    .open = memdisk_open,
    .preadv = memdisk_preadv,
    .pwritev = memdisk_pwritev,
    .pwrite_zeroes = memdisk_pwrite_zeroes,
    .pdiscard = memdisk_pdiscard,
    .flush = memdisk_flush,
    .length = memdisk_length,
};

void memdisk_install(void)
{
    block_drivers_add(&memdisk_driver);
    memset(&memdisk, 0, sizeof memdisk);
}

BlockBackend *memdisk_drive(const char *id, const char *more)
{
    g_autofree char *text =
        g_strdup_printf("id=%s,if=none,driver=memdisk,discard=unmap%s", id, more);
    json_t *tree = keyval_parse(text, NULL, NULL, false, NULL);
    GError *err = NULL;
    BlockBackend *blk = block_backend_new_drive(tree, &err);

    if (!blk) {
        g_error("%s: %s", text, err->message);
    }
    json_decref(tree);
    return blk;
}
