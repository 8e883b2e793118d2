/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 'Compressed Clusters Descriptor': reads compressed clusters, writes them for image conversion. */
#include <errno.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif
#include "../../engine.h"
#include "../inflate.h"
#include "base/library.h"
#include "base/log.h"
#include "qcow2.h"

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

static bool have_zstd(void)
{
    static LogSite site; /* limits the messages: there is one call a cluster */
    g_autoptr(GError) err = NULL;

    if (library_load(&zstd_library, &err)) {
        return true;
    }
    if (log_site_allows(&site)) {
        log_error("qcow2: a compressed cluster cannot be worked on: %s", err->message);
    }
    return false;
}
#endif

/* The descriptor gives a byte offset, and how many sectors follow the first. */
void qcow2_compressed_range(const Qcow2State *s, uint64_t entry, uint64_t *host, uint64_t *bytes)
{
    unsigned x = 62 - (s->cluster_bits - 8);
    uint64_t sectors = ((entry >> x) & ((1ull << (s->cluster_bits - 8)) - 1)) + 1;

    *host = entry & (BIT64(x) - 1);
    *bytes = sectors * COMPRESSED_SECTOR - (*host & (COMPRESSED_SECTOR - 1));
}

typedef struct {
    const void *in;
    size_t in_len;
    void *out;
    size_t out_len;
} Zstd;

static int zstd_unpack(void *data)
{
#ifdef HAVE_ZSTD
    const Zstd *w = data;
    ZSTD_inBuffer in = {.src = w->in, .size = w->in_len};
    ZSTD_outBuffer out = {.dst = w->out, .size = w->out_len};
    ZSTD_DCtx *ctx;
    int ret = 0;

    if (!have_zstd()) {
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

static int zstd_pack(void *data)
{
#ifdef HAVE_ZSTD
    const Zstd *w = data;
    size_t len;

    if (!have_zstd()) {
        return -ENOTSUP;
    }
    len = zstd.ZSTD_compress(w->out, w->out_len, w->in, w->in_len, ZSTD_CLEVEL_DEFAULT);
    return zstd.ZSTD_isError(len) ? -ENOSPC : (int)len;
#else
    return -ENOTSUP;
#endif
}

static int coroutine_fn zstd_run(int (*fn)(void *data), Zstd w)
{
    return engine_sync_active() ? fn(&w) : co_pool_run(fn, &w);
}

static int coroutine_fn unpack(const Qcow2State *s, const uint8_t *in, size_t len, uint8_t *cluster)
{
    int64_t got;

    if (s->compression == COMPRESSION_ZSTD) {
        return zstd_run(zstd_unpack, (Zstd){in, len, cluster, s->cluster_size});
    }
    /* The stream ends somewhere in the last sector: it is right if it fills the cluster. */
    got = block_inflate(INFLATE_RAW, in, len, cluster, s->cluster_size);
    return got < 0 ? (int)got : got == (int64_t)s->cluster_size ? 0 : -EIO;
}

/* The length of what a cluster became. -ENOSPC: no less than it was. */
static int coroutine_fn pack(const Qcow2State *s, const void *cluster, uint8_t *out)
{
    size_t most = s->cluster_size - 1;

    return s->compression == COMPRESSION_ZSTD
               ? zstd_run(zstd_pack, (Zstd){cluster, s->cluster_size, out, most})
               : block_deflate(INFLATE_RAW, cluster, s->cluster_size, out, most);
}

int coroutine_fn qcow2_read_compressed(BlockNode *n, uint64_t entry, uint8_t *cluster)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *in = NULL;
    uint64_t host, bytes;
    int ret;

    qcow2_compressed_range(s, entry, &host, &bytes);
    in = g_try_malloc(bytes);
    if (!in) {
        return -ENOMEM;
    }
    block_debug_event(n->file, BLOCK_DEBUG_READ_COMPRESSED);
    ret = block_pread(n->file, host, in, bytes);
    return ret < 0 ? ret : unpack(s, in, bytes, cluster);
}

/*
 * Under lock: takes room for 'bytes', less than a cluster, right behind the last compressed data
 * where that is possible, be it in one cluster or in two; else in a new cluster.
 */
static int coroutine_fn place_compressed(BlockNode *n, uint64_t bytes, uint64_t *host)
{
    Qcow2State *s = block_node_state(n);
    uint64_t next = s->compressed_next, cluster = next >> s->cluster_bits, one = 1, fresh;
    uint64_t left = ROUND_UP(next, s->cluster_size) - next;
    int ret;

    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return -EIO;
    }
    if (bytes <= left && qcow2_add_refcount(n, cluster, 1, 1) == 0) {
        *host = next;
        s->compressed_next = next + bytes;
        return 0;
    }
    ret = qcow2_alloc_clusters(n, &one, true, &fresh);
    if (ret < 0) {
        return ret;
    }
    /* The cluster of 'next' may have been freed meanwhile: then compressed_next is 0. */
    *host = left && fresh == next + left && next == s->compressed_next &&
                    qcow2_add_refcount(n, cluster, 1, 1) == 0
                ? next
                : fresh;
    s->compressed_next = *host + bytes;
    return 0;
}

/* Under lock since place_compressed() gave 'host', which no L2 entry names: gives the room back. */
static void coroutine_fn unplace_compressed(BlockNode *n, uint64_t host, uint64_t bytes)
{
    Qcow2State *s = block_node_state(n);
    uint64_t first = ROUND_DOWN(host, s->cluster_size);

    s->compressed_next = host;
    /* Sets compressed_next to 0 where nothing else is in the cluster. */
    qcow2_free_now(n, first, DIV_ROUND_UP(host + bytes - first, s->cluster_size));
}

/* Under lock, when it is the turn of the cluster: places what was compressed, and sets the entry.
 */
static int coroutine_fn link_compressed(BlockNode *n, uint64_t offset, const uint8_t *out,
                                        size_t csize)
{
    Qcow2State *s = block_node_state(n);
    unsigned x = 62 - (s->cluster_bits - 8);
    uint64_t host, entry, sectors;
    Qcow2Slice *slice;
    int ret;

    do {
        ret = qcow2_slice_for_write(n, offset, &slice);
        if (ret == 0) {
            unsigned i = qcow2_slice_index(s, offset);

            ret = qcow2_check_entry(n, offset, qcow2_l2_entry(s, slice, i),
                                    qcow2_l2_bitmap(s, slice, i));
            qcow2_cache_put(slice);
        }
        if (ret < 0) {
            return ret;
        }
    } while (qcow2_wait_pending(s, offset >> s->cluster_bits, 1));
    block_debug_event(n->file, BLOCK_DEBUG_CLUSTER_ALLOC_BYTES);
    ret = place_compressed(n, csize, &host);
    if (ret < 0) {
        return ret;
    }
    block_debug_event(n->file, BLOCK_DEBUG_WRITE_COMPRESSED);
    ret = block_pwrite(n->file, host, out, csize, 0);
    if (ret == 0) {
        block_debug_event(n->file, BLOCK_DEBUG_L2_UPDATE_COMPRESSED);
        ret = qcow2_slice_for_write(n, offset, &slice);
    }
    if (ret < 0) {
        unplace_compressed(n, host, csize);
        return ret;
    }
    sectors = (host + csize - 1) / COMPRESSED_SECTOR - host / COMPRESSED_SECTOR;
    entry = L2_COMPRESSED | (sectors << x) | host;
    qcow2_free_entry_later(n, qcow2_l2_entry(s, slice, qcow2_slice_index(s, offset)),
                           QCOW2_DISCARD_NEVER);
    qcow2_l2_set(s, slice, qcow2_slice_index(s, offset), entry, 0);
    s->barrier_needed = true;
    qcow2_cache_put(slice);
    return 0;
}

int coroutine_fn qcow2_write_compressed(BlockNode *n, uint64_t offset, const void *data, size_t len)
{
    Qcow2State *s = block_node_state(n);
    g_autofree uint8_t *padded = len < s->cluster_size ? g_malloc0(s->cluster_size) : NULL;
    g_autofree uint8_t *out = g_malloc(s->cluster_size);
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    /* Clusters are compressed side by side, and placed in the order in which they came. */
    uint64_t ticket;
    int csize, ret;

    /* Compressed clusters are not encrypted, and lie in the image's own file. */
    if (s->crypt_method || qcow2_has_data_file(s)) {
        return -ENOTSUP;
    }
    ticket = __atomic_fetch_add(&s->compress_tickets, 1, __ATOMIC_SEQ_CST);
    ret = qcow2_before_write(n);
    if (padded) {
        memcpy(padded, data, len);
    }
    csize = pack(s, padded ? padded : data, out);
    co_mutex_lock(&s->lock);
    while (s->compress_turn != ticket) {
        co_queue_wait(&s->compress_turns, &s->lock);
    }
    if (csize == -ENOSPC) { /* it does not become smaller */
        co_mutex_unlock(&s->lock);
        ret = qcow2_pwritev(n, offset, len, &iov, 1, 0);
        co_mutex_lock(&s->lock);
    } else {
        ret = csize < 0 ? csize : ret < 0 ? ret : link_compressed(n, offset, out, csize);
    }
    s->compress_turn++;
    co_queue_wake_all(&s->compress_turns);
    co_mutex_unlock(&s->lock);
    return ret;
}
