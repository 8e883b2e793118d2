/* SPDX-License-Identifier: GPL-2.0-or-later */
/* block_rebase_copy(), block_set_backing_name(): an overlay gets another backing file. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "block/chain.h"
#include "block/image.h"
#include "core.h"

enum { REBASE_CHUNK = 2 * 1024 * 1024, REBASE_UNIT = 64 * 1024 };

typedef struct {
    const BlockRebase *what;
    uint64_t length, backing_length, unit;
    uint8_t *old, *new; /* of REBASE_CHUNK bytes */
} Rebase;

/* Whether metadata says that the old and the new chain read as zeroes. Shortens *len where so. */
static int coroutine_fn rebase_both_zero(const Rebase *r, uint64_t at, uint64_t *len, bool *zero)
{
    uint64_t old_len = *len, new_len = *len;
    int ret = block_status_chain(r->what->top, NULL, at, *len, &old_len, NULL, NULL, NULL);

    *zero = ret >= 0 && (ret & BLOCK_STATUS_ZERO);
    if (*zero && at < r->backing_length) {
        ret = block_status_chain(r->what->backing, NULL, at, MIN(*len, r->backing_length - at),
                                 &new_len, NULL, NULL, NULL);
        *zero = ret >= 0 && (ret & BLOCK_STATUS_ZERO);
    }
    if (*zero) {
        *len = MIN(old_len, new_len);
    }
    return MIN(ret, 0);
}

/* What the disk shows now, and what the new backing file would show: zeroes past its end. */
static int coroutine_fn rebase_read(const Rebase *r, uint64_t at, uint64_t len)
{
    uint64_t inside = at < r->backing_length ? MIN(len, r->backing_length - at) : 0;
    int ret = block_pread(r->what->top, at, r->old, len);

    if (ret == 0 && inside) {
        ret = block_pread(r->what->backing, at, r->new, inside);
    }
    memset(r->new + inside, 0, len - inside);
    return ret;
}

/*
 * Writes a range of r->old into the top image. A driver may take zeroes in an image without a
 * backing file for nothing to do; with the new one they would not read as zeroes any more.
 */
static int coroutine_fn rebase_write(const Rebase *r, uint64_t at, const uint8_t *data,
                                     uint64_t len)
{
    BlockNode *top = r->what->top;

    return top->backing && buffer_is_zero(data, len) ? block_pwrite_zeroes(top, at, len, 0)
                                                     : block_pwrite(top, at, data, len, 0);
}

/* Looks at a range that the top image does not hold itself. Shortens *len. */
static int coroutine_fn rebase_range(const Rebase *r, uint64_t at, uint64_t *len)
{
    bool zero;
    int ret = rebase_both_zero(r, at, len, &zero);

    if (ret < 0 || zero) {
        return ret;
    }
    *len = MIN(*len, REBASE_CHUNK - at % REBASE_CHUNK);
    ret = rebase_read(r, at, *len);
    for (uint64_t done = 0, n; done < *len && ret == 0; done += n) {
        n = MIN(*len - done, r->unit - (at + done) % r->unit);
        if (memcmp(r->old + done, r->new + done, n)) {
            ret = rebase_write(r, at + done, r->old + done, n);
        }
    }
    return ret;
}

static bool coroutine_fn rebase_copy(const Rebase *r, GError **err)
{
    BlockNode *top = r->what->top;
    int ret;

    for (uint64_t at = 0, len; at < r->length; at += len) {
        ret = block_status_here(top, at, r->length - at, &len, NULL, NULL);
        if (ret >= 0 && !(ret & BLOCK_STATUS_ALLOCATED)) {
            ret = rebase_range(r, at, &len);
        }
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not rebase byte %" PRIu64 " of '%s'", at,
                                   top->filename);
        }
        if (r->what->progress) {
            r->what->progress((at + len) * 100.0 / r->length, r->what->progress_data);
        }
    }
    ret = block_flush(top);
    return ret < 0 ? error_set_errno(err, -ret, "Could not flush '%s'", top->filename) : true;
}

static uint64_t rebase_unit(BlockNode *top)
{
    BlockDriverInfo info = {0};

    if (top->driver->info && top->driver->info(top, &info)) {
        json_decref(info.format_specific);
    }
    return info.cluster_size ? info.cluster_size : REBASE_UNIT;
}

bool coroutine_fn block_rebase_copy(const BlockRebase *what, GError **err)
{
    int64_t length = block_length(what->top);
    int64_t backing = what->backing ? block_length(what->backing) : 0;
    block_auto_buffer uint8_t *old = block_buffer_new(what->top, REBASE_CHUNK);
    block_auto_buffer uint8_t *new = block_buffer_new(what->top, REBASE_CHUNK);
    Rebase r = {.what = what, .unit = rebase_unit(what->top), .old = old, .new = new};

    if (length < 0 || backing < 0 || !old || !new) {
        return error_set_errno(err,
                               length < 0    ? -length
                               : backing < 0 ? -backing
                                             : ENOMEM,
                               "Could not rebase '%s'", what->top->filename);
    }
    r.length = length;
    r.backing_length = backing;
    return rebase_copy(&r, err);
}

int coroutine_fn block_set_backing_name(BlockNode *n, const char *name, const char *format)
{
    int ret;

    block_node_enter(n);
    ret = n->read_only || n->inactive   ? -EPERM
          : n->driver->set_backing_name ? n->driver->set_backing_name(n, name, format)
                                        : -ENOTSUP;
    if (ret == 0) {
        g_free(n->backing_name);
        g_free(n->backing_format);
        n->backing_name = g_strdup(name);
        n->backing_format = g_strdup(name ? format : NULL);
    }
    block_node_leave(n);
    return ret;
}
