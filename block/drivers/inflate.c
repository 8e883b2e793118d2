/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inflate.h"

#include <errno.h>
#include <zlib.h>
#include "../engine.h"
#include "base/library.h"
#include "base/log.h"

#define ZLIB_FUNCTIONS(F)                                                                          \
    F(inflateInit2_)                                                                               \
    F(inflate)                                                                                     \
    F(inflateEnd)                                                                                  \
    F(deflateInit2_)                                                                               \
    F(deflate)                                                                                     \
    F(deflateEnd)

static struct {
    ZLIB_FUNCTIONS(LIBRARY_POINTER)
} zlib;
static const char *const zlib_names[] = {ZLIB_FUNCTIONS(LIBRARY_NAME) NULL};
static Library zlib_library = {"libz.so.1", "zlib1g", zlib_names, &zlib};

typedef struct {
    int window;
    z_stream z;
    size_t out_len;
    int64_t ret;
} InflateWork;

static bool inflate_have_zlib(void)
{
    static LogSite site; /* limits the messages: there is one call a block */
    g_autoptr(GError) err = NULL;

    if (library_load(&zlib_library, &err)) {
        return true;
    }
    if (log_site_allows(&site)) {
        log_error("compressed data cannot be worked on: %s", err->message);
    }
    return false;
}

static int inflate_worker(void *data)
{
    InflateWork *w = data;
    int ret;

    if (!inflate_have_zlib()) {
        w->ret = -ENOTSUP;
        return 0;
    }
    if (zlib.inflateInit2_(&w->z, w->window, ZLIB_VERSION, sizeof w->z) != Z_OK) {
        w->ret = -EIO;
        return 0;
    }
    ret = zlib.inflate(&w->z, Z_FINISH);
    zlib.inflateEnd(&w->z);
    w->ret = w->out_len - w->z.avail_out;
    if (ret != Z_STREAM_END && !(ret == Z_BUF_ERROR && w->z.avail_out == 0)) {
        w->ret = -EIO;
    }
    return 0;
}

static int deflate_worker(void *data)
{
    InflateWork *w = data;
    int ret;

    if (!inflate_have_zlib()) {
        w->ret = -ENOTSUP;
        return 0;
    }
    if (zlib.deflateInit2_(&w->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, w->window, 9,
                           Z_DEFAULT_STRATEGY, ZLIB_VERSION, sizeof w->z) != Z_OK) {
        w->ret = -EIO;
        return 0;
    }
    ret = zlib.deflate(&w->z, Z_FINISH);
    zlib.deflateEnd(&w->z);
    w->ret = ret == Z_STREAM_END ? (int64_t)(w->out_len - w->z.avail_out) : -ENOSPC;
    return 0;
}

static int64_t coroutine_fn inflate_run(int (*worker)(void *data), int window, const void *in,
                                        size_t in_len, void *out, size_t out_len)
{
    InflateWork w = {.window = window, .out_len = out_len};

    w.z.next_in = (Bytef *)in;
    w.z.avail_in = in_len;
    w.z.next_out = out;
    w.z.avail_out = out_len;
    if (engine_sync_active()) {
        worker(&w);
    } else {
        co_pool_run(worker, &w);
    }
    return w.ret;
}

int64_t coroutine_fn block_inflate(int window, const void *in, size_t in_len, void *out,
                                   size_t out_len)
{
    return inflate_run(inflate_worker, window, in, in_len, out, out_len);
}

int64_t coroutine_fn block_deflate(int window, const void *in, size_t in_len, void *out,
                                   size_t out_len)
{
    return inflate_run(deflate_worker, window, in, in_len, out, out_len);
}
