/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM state lies behind the disk: at the first L1 entry that no byte of the disk needs. It is
 * written as guest data is.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/iov.h"
#include "qcow2.h"

uint64_t qcow2_vmstate_start(const Qcow2State *s)
{
    return qcow2_l1_entries(s, qcow2_size(s)) << (s->cluster_bits + s->l2_bits);
}

/* The guest offset of 'pos', or -errno. */
static int64_t vmstate_offset(const Qcow2State *s, uint64_t pos, uint64_t bytes)
{
    uint64_t start = qcow2_vmstate_start(s);

    return pos > INT64_MAX - start || bytes > INT64_MAX - start - pos ? -EFBIG
                                                                      : (int64_t)(start + pos);
}

/* Makes the L1 table long enough: by a half at once, as the length of the state is not known. */
static int coroutine_fn vmstate_make_room(BlockNode *n, uint64_t end)
{
    Qcow2State *s = block_node_state(n);
    uint64_t entries = qcow2_l1_entries(s, end);
    int ret = 0;

    co_mutex_lock(&s->lock);
    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        ret = -EIO;
    } else if (entries > s->l1_size) {
        entries = MAX(entries, MIN(s->l1_size + s->l1_size / 2, MAX_L1_BYTES / 8));
        ret = qcow2_grow_l1(n, entries);
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* The sectors that a part of the VM state lies in: encrypted ones are read and written whole. */
typedef struct {
    uint64_t from, bytes;
    uint8_t *buf; /* free() */
} Sectors;

static int coroutine_fn sectors_read(BlockNode *n, uint64_t at, uint64_t bytes, Sectors *out)
{
    struct iovec iov;

    out->from = ROUND_DOWN(at, CIPHER_SECTOR);
    out->bytes = ROUND_UP(at + bytes, CIPHER_SECTOR) - out->from;
    out->buf = block_buffer_new(n, out->bytes);
    iov = (struct iovec){out->buf, out->bytes};
    return out->buf ? qcow2_preadv(n, out->from, out->bytes, &iov, 1) : -ENOMEM;
}

static bool is_whole_sectors(const Qcow2State *s, uint64_t at, uint64_t bytes)
{
    return !s->crypt_method || IS_ALIGNED(at | bytes, CIPHER_SECTOR);
}

static int coroutine_fn write_state(BlockNode *n, uint64_t at, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    Sectors whole = {0};
    int ret;

    if (is_whole_sectors(block_node_state(n), at, bytes)) {
        return qcow2_pwritev(n, at, bytes, iov, niov, 0);
    }
    ret = sectors_read(n, at, bytes, &whole);
    if (ret == 0) {
        struct iovec all = {whole.buf, whole.bytes};

        iov_to_buf(iov, niov, 0, whole.buf + (at - whole.from), bytes);
        ret = qcow2_pwritev(n, whole.from, whole.bytes, &all, 1, 0);
    }
    free(whole.buf);
    return ret;
}

static int coroutine_fn read_state(BlockNode *n, uint64_t at, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    Sectors whole = {0};
    int ret;

    if (is_whole_sectors(block_node_state(n), at, bytes)) {
        return qcow2_preadv(n, at, bytes, iov, niov);
    }
    ret = sectors_read(n, at, bytes, &whole);
    if (ret == 0) {
        iov_from_buf(iov, niov, 0, whole.buf + (at - whole.from), bytes);
    }
    free(whole.buf);
    return ret;
}

int coroutine_fn qcow2_vmstate_pwritev(BlockNode *n, uint64_t pos, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    int64_t at = vmstate_offset(s, pos, bytes);
    int ret;

    if (qcow2_has_data_file(s)) {
        return -ENOTSUP;
    }
    ret = at < 0 ? (int)at : vmstate_make_room(n, at + bytes);
    block_debug_event(n->file, BLOCK_DEBUG_VMSTATE_SAVE);
    return ret < 0 ? ret : write_state(n, at, bytes, iov, niov);
}

int coroutine_fn qcow2_vmstate_preadv(BlockNode *n, uint64_t pos, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);
    int64_t at = vmstate_offset(s, pos, bytes);

    block_debug_event(n->file, BLOCK_DEBUG_VMSTATE_LOAD);
    return at < 0 ? (int)at : read_state(n, at, bytes, iov, niov);
}
