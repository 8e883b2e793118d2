/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img bench: how long many requests take. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "base/coroutine.h"
#include "base/event_loop.h"
#include "img.h"

typedef struct {
    ImgOpen how;
    uint64_t count, depth, size, step, offset, flush_interval, pattern;
    bool native, no_drain, quiet;
} BenchArgs;

/* Each worker is a coroutine that sends one request at a time, from its own buffer. */
typedef struct {
    const BenchArgs *args;
    BlockNode *n;
    uint64_t length;
    uint8_t *buffers;
    CoMutex lock;   /* protects the fields below */
    CoQueue change; /* in_flight is 0, or draining has become false */
    uint64_t sent, offset;
    unsigned workers, started, in_flight;
    bool draining; /* a worker waits for all requests, to flush */
    int ret;       /* the first failure */
} Bench;

/* The place of the request after the one at 'offset': inside the image, as far as it can be. */
static uint64_t bench_next(const Bench *b, uint64_t offset)
{
    uint64_t size = b->args->size, next = offset + b->args->step;

    if (next + size <= b->length) {
        return next;
    }
    return b->length > size ? next % (b->length - size) : 0;
}

static int coroutine_fn bench_request(const Bench *b, uint64_t offset, void *buf)
{
    if (b->args->size > b->length || offset > b->length - b->args->size) {
        return -EIO;
    }
    return b->args->how.writable ? block_pwrite(b->n, offset, buf, b->args->size, 0)
                                 : block_pread(b->n, offset, buf, b->args->size);
}

/* Called with the lock, which is dropped while the flush runs. */
static int coroutine_fn bench_flush(Bench *b)
{
    bool drain = !b->args->no_drain;
    int ret;

    while (drain && b->draining) {
        co_queue_wait(&b->change, &b->lock);
    }
    b->draining = drain;
    while (drain && b->in_flight) {
        co_queue_wait(&b->change, &b->lock);
    }
    co_mutex_unlock(&b->lock);
    ret = block_flush(b->n);
    co_mutex_lock(&b->lock);
    if (drain) {
        b->draining = false;
        co_queue_wake_all(&b->change);
    }
    return ret;
}

/* Sends the next request, and a flush where one is due. Called with the lock. */
static int coroutine_fn bench_step(Bench *b, void *buf)
{
    uint64_t offset = b->offset, interval = b->args->flush_interval;
    bool flush = ++b->sent && interval && b->sent % interval == 0;
    int ret;

    b->offset = bench_next(b, offset);
    b->in_flight++;
    co_mutex_unlock(&b->lock);
    ret = bench_request(b, offset, buf);
    co_mutex_lock(&b->lock);
    if (--b->in_flight == 0) {
        co_queue_wake_all(&b->change);
    }
    return ret == 0 && flush ? bench_flush(b) : ret;
}

static void coroutine_fn bench_worker(void *data)
{
    Bench *b = data;
    void *buf = b->buffers + b->args->size * b->started++;

    co_mutex_lock(&b->lock);
    while (b->sent < b->args->count && b->ret == 0) {
        int ret = 0;

        if (b->draining) {
            co_queue_wait(&b->change, &b->lock);
            continue;
        }
        ret = bench_step(b, buf);
        b->ret = b->ret ? b->ret : ret;
    }
    b->workers--;
    co_mutex_unlock(&b->lock);
}

static void bench_run_workers(Bench *b, unsigned count)
{
    co_mutex_init(&b->lock);
    co_queue_init(&b->change);
    b->workers = count;
    for (unsigned i = 0; i < count; i++) {
        coroutine_start(bench_worker, b);
    }
    while (b->workers) {
        event_loop_iterate(event_loop_current(), -1);
    }
    co_queue_destroy(&b->change);
    co_mutex_destroy(&b->lock);
}

/* --- the command --- */

static bool bench_number(const char *text, uint64_t min, uint64_t max, const char *what,
                         uint64_t *value)
{
    if (!parse_uint(text, max, value) || *value < min) {
        log_error("Invalid %s specified", what);
        return false;
    }
    return true;
}

static bool bench_option_count(void *args, const char *text)
{
    return bench_number(text, 0, INT_MAX, "request count", &((BenchArgs *)args)->count);
}

static bool bench_option_depth(void *args, const char *text)
{
    return bench_number(text, 1, INT_MAX, "queue depth", &((BenchArgs *)args)->depth);
}

static bool bench_option_flush(void *args, const char *text)
{
    return bench_number(text, 0, INT_MAX, "flush interval", &((BenchArgs *)args)->flush_interval);
}

static bool bench_option_pattern(void *args, const char *text)
{
    return bench_number(text, 0, 0xff, "pattern byte", &((BenchArgs *)args)->pattern);
}

static bool bench_option_size(void *args, const char *text)
{
    return img_parse_number_in(text, "buffer size", 0, INT_MAX, &((BenchArgs *)args)->size);
}

static bool bench_option_step(void *args, const char *text)
{
    return img_parse_number_in(text, "step_size", 0, INT_MAX, &((BenchArgs *)args)->step);
}

static bool bench_option_offset(void *args, const char *text)
{
    return img_parse_number(text, "offset", &((BenchArgs *)args)->offset);
}

static bool bench_option_aio(void *args, const char *text)
{
    static const char *const names[] = {"threads", "native", "io_uring", NULL};

    if (!g_strv_contains(names, text)) {
        log_error("Invalid aio option: %s", text);
        return false;
    }
    ((BenchArgs *)args)->how.aio = text;
    return true;
}

static bool bench_option_cache(void *args, const char *text)
{
    BlockCache cache;

    if (!block_cache_parse(text, &cache, NULL)) {
        log_error("Invalid cache mode");
        return false;
    }
    ((BenchArgs *)args)->how.cache = text;
    return true;
}

static const ImgOption bench_options[] = {
    IMG_OPT_CALL('c', NULL, "count", bench_option_count, "how many requests (75000)"),
    IMG_OPT_CALL('d', NULL, "depth", bench_option_depth, "how many of them at once (64)"),
    IMG_OPT_TEXT('f', NULL, "fmt", BenchArgs, how.format, IMG_HELP_FORMAT),
    IMG_OPT_CALL(0, "flush-interval", "flush_interval", bench_option_flush,
                 "with -w: a flush after so many requests, once all are done"),
    IMG_OPT_CALL('i', NULL, "aio", bench_option_aio, "host I/O engine: threads, native, io_uring"),
    IMG_OPT_FLAG('n', NULL, BenchArgs, native, "-i native"),
    IMG_OPT_FLAG(0, "no-drain", BenchArgs, no_drain,
                 "a flush does not wait for requests that are under way"),
    IMG_OPT_CALL('o', NULL, "offset", bench_option_offset, "where the first request begins (0)"),
    IMG_OPT_CALL(0, "pattern", "pattern", bench_option_pattern, "with -w: the byte to write (0)"),
    IMG_OPT_FLAG('q', NULL, BenchArgs, quiet, "no effect: the figures are the output"),
    IMG_OPT_CALL('s', NULL, "buffer_size", bench_option_size, "bytes of a request (4k)"),
    IMG_OPT_CALL('S', NULL, "step_size", bench_option_step,
                 "bytes from the start of a request to that of the next (buffer_size)"),
    IMG_OPT_CALL('t', NULL, "cache", bench_option_cache, "cache mode (writeback)"),
    IMG_OPT_FLAG('w', NULL, BenchArgs, how.writable, "write: what the image held there is lost"),
    IMG_OPT_FLAG('U', "force-share", BenchArgs, how.force_share, IMG_HELP_FORCE_SHARE),
    IMG_OPT_FLAG(0, "image-opts", BenchArgs, how.image_opts, IMG_HELP_IMAGE_OPTS),
    IMG_OPT_OBJECT,
    IMG_OPT_END,
};

static int bench_opened(const BenchArgs *a, BlockNode *n)
{
    unsigned workers = MIN(a->depth, a->count);
    int64_t length = block_length(n), start;
    block_auto_buffer uint8_t *buffers = NULL;
    Bench b = {.args = a, .n = n, .offset = a->offset};

    if (length < 0) {
        log_error("Could not get the image's length: %s", g_strerror(-length));
        return 1;
    }
    b.length = length;
    b.buffers = buffers = block_buffer_new(n, a->size * workers);
    if (!buffers) {
        log_error("Could not allocate %u buffers of %" PRIu64 " bytes", workers, a->size);
        return 1;
    }
    memset(buffers, a->pattern, a->size * workers);
    printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64
           " in parallel (starting at offset %" PRIu64 ", step size %" PRIu64 ")\n",
           a->count, a->how.writable ? "write" : "read", a->size, a->depth, a->offset, a->step);
    if (a->flush_interval) {
        printf("Sending flush every %" PRIu64 " requests\n", a->flush_interval);
    }
    fflush(stdout);
    start = clock_ns(CLOCK_REALTIME_NS);
    bench_run_workers(&b, workers);
    if (b.ret < 0) {
        log_error("Failed request: %s", g_strerror(-b.ret));
        return 1;
    }
    printf("Run completed in %3.3f seconds.\n", (clock_ns(CLOCK_REALTIME_NS) - start) / 1e9);
    return 0;
}

static int bench_run(int argc, char **argv)
{
    BenchArgs a = {.count = 75000, .depth = 64, .size = 4096};
    BlockNode *n;
    int status;

    if (!img_parse_one_file(&img_command_bench, argc, argv, &a, &status)) {
        return status;
    }
    if (!a.how.writable && a.flush_interval) {
        log_error("--flush-interval is only available in write tests");
        return 1;
    }
    if (a.flush_interval && a.flush_interval < a.depth) {
        log_error("Flush interval can't be smaller than depth");
        return 1;
    }
    a.step = a.step ? a.step : a.size;
    if (a.native) {
        a.how.aio = "native";
    }
    n = img_open(argv[optind], &a.how);
    if (!n) {
        return 1;
    }
    status = bench_opened(&a, n);
    block_node_unref(n);
    return status;
}

const ImgCommand img_command_bench = {
    "bench", bench_options, "filename", "How long requests to an image take.", bench_run,
};
