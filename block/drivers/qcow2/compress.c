/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Compressed Clusters Descriptor': reads compressed clusters, writes them for image conversion. */
#include <errno.h>
#include <zlib.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif
#include "../../engine.h"
#include "base/library.h"
#include "base/log.h"
#include "qcow2.h"

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

#ifdef HAVE_ZSTD
#define ZSTD_FUNCTIONS(F)                                                                          \
    F(ZSTD_createDCtx)                                                                             \
    F(ZSTD_decompressStream)                                                                       \
    F(ZSTD_freeDCtx)                                                                               \
    F(ZSTD_compress)                                                                               \
    F(ZSTD_isError)

static struct {
    ZSTD_FUNCTIONS(LIBRARY_POINTER)
} zstd;
static const char *const zstd_names[] = {ZSTD_FUNCTIONS(LIBRARY_NAME) NULL};
static Library zstd_library = {"libzstd.so.1", "libzstd1", zstd_names, &zstd};
#endif

static bool have_library(Library *lib)
{
    g_autoptr(GError) err = NULL;

    static LogSite site; /* limits the messages: there is one call a cluster */

    if (library_load(lib, &err)) {
        return true;
    }
    if (log_site_allows(&site)) {
        log_error("qcow2: a compressed cluster cannot be worked on: %s", err->message);
    }
    return false;
}

/* The descriptor gives a byte offset, and how many sectors follow the first. */
void qcow2_compressed_range(const Qcow2State *s, uint64_t entry, uint64_t *host, uint64_t *bytes)
{
    unsigned x = 62 - (s->cluster_bits - 8);
    uint64_t sectors = ((entry >> x) & ((1ull << (s->cluster_bits - 8)) - 1)) + 1;

    *host = entry & (BIT64(x) - 1);
    *bytes = sectors * COMPRESSED_SECTOR - (*host & (COMPRESSED_SECTOR - 1));
}

typedef struct {
    unsigned type;
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len;
} Work;

static int inflate_zlib(Work *w)
{
    z_stream z = {
        .next_in = (Bytef *)w->in,
        .avail_in = w->in_len,
        .next_out = w->out,
        .avail_out = w->out_len,
    };
    int ret;

    if (!have_library(&zlib_library)) {
        return -ENOTSUP;
    }
    if (zlib.inflateInit2_(&z, -12, ZLIB_VERSION, sizeof z) != Z_OK) {
        return -EIO;
    }
    ret = zlib.inflate(&z, Z_FINISH);
    zlib.inflateEnd(&z);
    /* The stream ends somewhere in the last sector: it is right if it fills the cluster. */
    return (ret == Z_STREAM_END || (ret == Z_BUF_ERROR && z.avail_out == 0)) && z.avail_out == 0
               ? 0
               : -EIO;
}

static int inflate_zstd(Work *w)
{
#ifdef HAVE_ZSTD
    ZSTD_inBuffer in = {.src = w->in, .size = w->in_len};
    ZSTD_outBuffer out = {.dst = w->out, .size = w->out_len};
    ZSTD_DCtx *ctx;
    int ret = 0;

    if (!have_library(&zstd_library)) {
        return -ENOTSUP;
    }
    ctx = zstd.ZSTD_createDCtx();
    if (!ctx) {
        return -ENOMEM;
    }
    while (out.pos < out.size) {
        size_t in_pos = in.pos, out_pos = out.pos;
        size_t r = zstd.ZSTD_decompressStream(ctx, &out, &in);

        if (zstd.ZSTD_isError(r) || (in.pos == in_pos && out.pos == out_pos) ||
            (r == 0 && out.pos < out.size)) {
            ret = -EIO;
            break;
        }
    }
    zstd.ZSTD_freeDCtx(ctx);
    return ret;
#else
    return -ENOTSUP;
#endif
}

static int inflate_worker(void *data)
{
    Work *w = data;

    return w->type == COMPRESSION_ZSTD ? inflate_zstd(w) : inflate_zlib(w);
}

int coroutine_fn qcow2_read_compressed(BlockNode *n, uint64_t entry, uint8_t *cluster)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *in = NULL;
    uint64_t host, bytes;
    Work w;
    int ret;

    qcow2_compressed_range(s, entry, &host, &bytes);
    in = g_try_malloc(bytes);
    if (!in) {
        return -ENOMEM;
    }
    ret = block_pread(n->file, host, in, bytes);
    if (ret < 0) {
        return ret;
    }
    w = (Work){.type = s->compression,
               .in = in,
               .in_len = bytes,
               .out = cluster,
               .out_len = s->cluster_size};
    return engine_sync_active() ? inflate_worker(&w) : co_pool_run(inflate_worker, &w);
}

static int deflate_zlib(Work *w)
{
    z_stream z = {
        .next_in = (Bytef *)w->in,
        .avail_in = w->in_len,
        .next_out = w->out,
        .avail_out = w->out_len,
    };
    int ret;

    if (!have_library(&zlib_library)) {
        return -ENOTSUP;
    }
    if (zlib.deflateInit2_(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY,
                           ZLIB_VERSION, sizeof z) != Z_OK) {
        return -EIO;
    }
    ret = zlib.deflate(&z, Z_FINISH);
    ret = ret == Z_STREAM_END ? (int)(w->out_len - z.avail_out) : -ENOMEM;
    zlib.deflateEnd(&z);
    return ret;
}

static int deflate_zstd(Work *w)
{
#ifdef HAVE_ZSTD
    size_t len;

    if (!have_library(&zstd_library)) {
        return -ENOTSUP;
    }
    len = zstd.ZSTD_compress(w->out, w->out_len, w->in, w->in_len, ZSTD_CLEVEL_DEFAULT);
    return zstd.ZSTD_isError(len) ? -ENOMEM : (int)len;
#else
    return -ENOTSUP;
#endif
}

static int deflate_worker(void *data)
{
    Work *w = data;

    return w->type == COMPRESSION_ZSTD ? deflate_zstd(w) : deflate_zlib(w);
}

/* Under lock: takes room for 'bytes' behind the last compressed data, or in a new cluster. */
static int coroutine_fn place_compressed(BlockNode *n, uint64_t bytes, uint64_t *host)
{
    Qcow2State *s = block_node_state(n);
    uint64_t left = s->compressed_next & (s->cluster_size - 1);
    uint64_t one = 1, fresh;
    int ret;

    left = left ? s->cluster_size - left : 0;
    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    if (bytes <= left && qcow2_add_refcount(n, s->compressed_next >> s->cluster_bits, 1, 1) == 0) {
        *host = s->compressed_next;
        s->compressed_next += bytes;
        return 0;
    }
    ret = qcow2_alloc_clusters(n, &one, true, &fresh);
    if (ret < 0) {
        return ret;
    }
    *host = fresh;
    s->compressed_next = fresh + bytes;
    return 0;
}

/* Under lock since place_compressed() gave 'host', which no L2 entry names: gives the room back. */
static void coroutine_fn unplace_compressed(BlockNode *n, uint64_t host)
{
    Qcow2State *s = block_node_state(n);

    s->compressed_next = host;
    /* Sets compressed_next to 0 where nothing else is in the cluster. */
    qcow2_free_now(n, ROUND_DOWN(host, s->cluster_size), 1);
}

int coroutine_fn qcow2_write_compressed(BlockNode *n, uint64_t offset, const void *data, size_t len)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *in = g_malloc0(s->cluster_size), *out = g_malloc(s->cluster_size);
    unsigned x = 62 - (s->cluster_bits - 8);
    Work w = {.type = s->compression,
              .in = in,
              .in_len = s->cluster_size,
              .out = out,
              .out_len = s->cluster_size - 1};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    uint64_t host, entry, sectors;
    Qcow2Slice *slice;
    int csize, ret;

    memcpy(in, data, len);
    csize = engine_sync_active() ? deflate_worker(&w) : co_pool_run(deflate_worker, &w);
    if (csize == -ENOMEM) {
        return qcow2_pwritev(n, offset, len, &iov, 1, 0); /* it does not become smaller */
    }
    if (csize < 0) {
        return csize;
    }
    co_mutex_lock(&s->lock);
    do {
        ret = qcow2_slice_for_write(n, offset, &slice);
        if (ret == 0) {
            unsigned i = qcow2_slice_index(s, offset);

            ret = qcow2_check_entry(n, offset, qcow2_l2_entry(s, slice, i),
                                    qcow2_l2_bitmap(s, slice, i));
            qcow2_cache_put(slice);
        }
        if (ret < 0) {
            goto out;
        }
    } while (qcow2_wait_pending(s, offset >> s->cluster_bits, 1));
    ret = place_compressed(n, csize, &host);
    if (ret < 0) {
        goto out;
    }
    ret = block_pwrite(n->file, host, out, csize, 0);
    if (ret == 0) {
        ret = qcow2_slice_for_write(n, offset, &slice);
    }
    if (ret < 0) {
        unplace_compressed(n, host);
        goto out;
    }
    sectors = (host + csize - 1) / COMPRESSED_SECTOR - host / COMPRESSED_SECTOR;
    entry = L2_COMPRESSED | (sectors << x) | host;
    qcow2_free_entry_later(n, qcow2_l2_entry(s, slice, qcow2_slice_index(s, offset)), false);
    qcow2_l2_set(s, slice, qcow2_slice_index(s, offset), entry, 0);
    s->barrier_needed = true;
    qcow2_cache_put(slice);
out:
    co_mutex_unlock(&s->lock);
    return ret;
}
