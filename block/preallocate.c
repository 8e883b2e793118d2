/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Space that a disk takes before anybody writes to it. */
#include <errno.h>
#include <inttypes.h>
#include "base/error.h"
#include "base/util.h"
#include "block/image.h"
#include "core.h"

const char *const block_preallocation_names[] = {"off", "metadata", "falloc", "full", NULL};

bool block_zero_past_end(const BlockNode *file)
{
    while (file->driver->ends_with_file) {
        file = file->file;
    }
    /* That is known of regular files alone. */
    return g_str_equal(file->driver->name, "file");
}

int coroutine_fn block_clear_space(BlockNode *file, uint64_t at, uint64_t bytes)
{
    int64_t eof = block_exact_length(file);

    if (eof < 0) {
        return eof;
    }
    if (block_zero_past_end(file)) {
        bytes = (uint64_t)eof > at ? MIN(bytes, (uint64_t)eof - at) : 0;
    }
    return bytes ? block_pwrite_zeroes(file, at, bytes, BLOCK_REQ_MAY_UNMAP) : 0;
}

int coroutine_fn block_fill_zeroes(BlockNode *n, uint64_t off, uint64_t bytes)
{
    const uint64_t chunk = 2 * MiB;
    block_auto_buffer void *buf = block_buffer_new(n, MIN(bytes, chunk));
    int ret = 0;

    if (!buf) {
        return -ENOMEM;
    }
    memset(buf, 0, MIN(bytes, chunk));
    while (bytes && ret == 0) {
        uint64_t len = MIN(bytes, chunk - off % chunk);

        ret = block_pwrite(n, off, buf, len, 0);
        off += len;
        bytes -= len;
    }
    return ret;
}

int coroutine_fn block_preallocate(BlockNode *n, uint64_t off, uint64_t bytes,
                                   BlockPreallocation mode)
{
    if (!n->driver->preallocate) {
        return -ENOTSUP;
    }
    return n->driver->preallocate(n, off, bytes, mode);
}

bool coroutine_fn block_grow(BlockNode *n, uint64_t size, BlockPreallocation mode, GError **err)
{
    int64_t old = block_length(n);
    int ret;

    if (old < 0) {
        return error_set_errno(err, -old, "Could not get the length of '%s'", n->filename);
    }
    if (size <= (uint64_t)old) {
        return error_set(err, "Preallocation can only be used for growing images");
    }
    /* An empty range tells whether the mode is there, before anything is changed. */
    ret = block_preallocate(n, old, 0, mode);
    if (ret == -ENOTSUP) {
        return error_set(err, "Unsupported preallocation mode: %s",
                         block_preallocation_names[mode]);
    }
    if (block_truncate(n, size, err) < 0) {
        return false;
    }
    ret = block_preallocate(n, old, size - old, mode);
    if (ret < 0) {
        block_truncate(n, old, NULL);
        return error_set_errno(err, -ret, "Could not preallocate");
    }
    return true;
}
