/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cloner.h"
#include <errno.h>
#include "../../../block/core.h"
#include "../../../block/drivers/drivers.h"

Cloner cloner;

static int coroutine_fn copy_part(BlockNode *node, uint64_t off, const BlockHostRange *from,
                                  uint64_t bytes)
{
    block_auto_buffer void *buf = block_buffer_new(node, from->bytes);
    struct iovec iov = {.iov_base = buf, .iov_len = bytes};
    int ret = block_driver_file.preadv(from->file, from->offset, bytes, &iov, 1);

    coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 8); /* others run meanwhile */
    return ret < 0 ? ret : block_driver_file.pwritev(node, off, bytes, &iov, 1, 0);
}

static int coroutine_fn cloner_pcopy(BlockNode *node, uint64_t off, const BlockHostRange *from,
                                     unsigned flags)
{
    int asked = __atomic_add_fetch(&cloner.asked, 1, __ATOMIC_SEQ_CST);
    int every = __atomic_load_n(&cloner.refuse_every, __ATOMIC_SEQ_CST);
    int ret;

    __atomic_store_n(&cloner.flags, flags, __ATOMIC_SEQ_CST);
    if (every && asked % every == 0) {
        ret = copy_part(node, off, from, from->bytes / 1024 * 512);
        return ret < 0 ? ret : -__atomic_load_n(&cloner.refuse_by, __ATOMIC_SEQ_CST);
    }
    ret = copy_part(node, off, from, from->bytes);
    __atomic_add_fetch(&cloner.done, ret == 0, __ATOMIC_SEQ_CST);
    return ret;
}

static int coroutine_fn cloner_pwritev(BlockNode *node, uint64_t off, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov, unsigned flags)
{
    int error = __atomic_load_n(&cloner.fail_write, __ATOMIC_SEQ_CST);

    return error ? -error : block_driver_file.pwritev(node, off, bytes, iov, niov, flags);
}

void cloner_install(void)
{
    static BlockDriver driver;

    cloner = (Cloner){.refuse_by = EXDEV};
    if (driver.name) {
        return;
    }
    driver = block_driver_file;
    driver.name = "cloner";
    driver.protocols = NULL;
    driver.pcopy = cloner_pcopy;
    driver.pwritev = cloner_pwritev;
    block_drivers_add(&driver);
}
