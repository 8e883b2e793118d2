/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "writers.h"

typedef struct Stream {
    BlockRequest req;
    struct Thread *thread;
    unsigned first;      /* piece of the disk */
    unsigned sent, done; /* atomic: how many requests */
    struct iovec iov;
    uint8_t buf[WRITERS_PIECE] __attribute__((aligned(4096)));
} Stream;

typedef struct Thread {
    Writers *all;
    EventLoop *loop;
    GThread *thread;
    Stream *streams;
    unsigned live;
} Thread;

struct Writers {
    BlockBackend *blk;
    Thread *threads;
    unsigned n_threads, n_streams;
    int stop, ended; /* atomic */
    bool may_fail;
};

static void stream_next(Stream *s);

/* Of a request: its number in every word, or zeroes. */
static void request_content(unsigned number, uint8_t *buf)
{
    unsigned word = number % 7 == 3 ? 0 : number;

    for (size_t i = 0; i < WRITERS_PIECE; i += sizeof word) {
        memcpy(buf + i, &word, sizeof word);
    }
}

static void stream_done(BlockRequest *req, int ret)
{
    Stream *s = (Stream *)((char *)req - offsetof(Stream, req));

    g_assert(ret == 0 || s->thread->all->may_fail);
    if (ret == 0) {
        __atomic_store_n(&s->done, s->sent, __ATOMIC_SEQ_CST);
    } else {
        /* Once more: the next one would leave a hole. */
        __atomic_sub_fetch(&s->sent, 1, __ATOMIC_SEQ_CST);
    }
    stream_next(s);
}

static void stream_next(Stream *s)
{
    Writers *w = s->thread->all;
    unsigned number;

    if (__atomic_load_n(&w->stop, __ATOMIC_SEQ_CST)) {
        if (--s->thread->live == 0) {
            __atomic_add_fetch(&w->ended, 1, __ATOMIC_SEQ_CST);
        }
        return;
    }
    number = __atomic_add_fetch(&s->sent, 1, __ATOMIC_SEQ_CST);
    request_content(number, s->buf);
    s->iov = (struct iovec){.iov_base = s->buf, .iov_len = WRITERS_PIECE};
    s->req = (BlockRequest){
        .op = number % 7 == 3 ? BLOCK_OP_WRITE_ZEROES : BLOCK_OP_WRITE,
        .flags = number % 7 == 3 && number % 2 ? BLOCK_REQ_MAY_UNMAP : 0,
        .offset = (uint64_t)(s->first + number % WRITERS_PIECES) * WRITERS_PIECE,
        .bytes = WRITERS_PIECE,
        .iov = &s->iov,
        .niov = 1,
        .done = stream_done,
    };
    block_backend_submit(w->blk, &s->req);
}

static void thread_begin(void *data)
{
    Thread *t = data;

    t->live = t->all->n_streams;
    for (unsigned i = 0; i < t->all->n_streams; i++) {
        stream_next(&t->streams[i]);
    }
}

static void *thread_run(void *data)
{
    event_loop_run(((Thread *)data)->loop);
    return NULL;
}

size_t writers_disk(unsigned threads, unsigned streams)
{
    return (size_t)threads * streams * WRITERS_PIECES * WRITERS_PIECE;
}

Writers *writers_start(BlockBackend *blk, unsigned threads, unsigned streams)
{
    Writers *w = g_new0(Writers, 1);

    w->blk = blk;
    w->n_threads = threads;
    w->n_streams = streams;
    w->threads = g_new0(Thread, threads);
    for (unsigned i = 0; i < threads; i++) {
        Thread *t = &w->threads[i];

        t->all = w;
        t->streams = g_aligned_alloc0(streams, sizeof(Stream), 4096);
        for (unsigned j = 0; j < streams; j++) {
            t->streams[j].thread = t;
            /* Streams of both threads meet in one cluster. */
            t->streams[j].first = (j * threads + i) * WRITERS_PIECES;
        }
        t->loop = event_loop_new("writer", NULL);
        t->thread = g_thread_new("writer", thread_run, t);
        event_loop_call(t->loop, thread_begin, t);
    }
    return w;
}

void writers_may_fail(Writers *w)
{
    w->may_fail = true;
}

void coroutine_fn writers_wait(Writers *w, unsigned n)
{
    g_autofree unsigned *before = writers_done(w);

    for (unsigned i = 0; i < w->n_threads * w->n_streams; i++) {
        for (;;) {
            g_autofree unsigned *now = writers_done(w);

            if (now[i] - before[i] >= n) {
                break;
            }
            coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS / 4);
        }
    }
}

void writers_stop(Writers *w)
{
    __atomic_store_n(&w->stop, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&w->ended, __ATOMIC_SEQ_CST) < w->n_threads) {
        event_loop_iterate(main_loop, NS_PER_MS);
    }
    for (unsigned i = 0; i < w->n_threads; i++) {
        event_loop_quit(w->threads[i].loop);
        g_thread_join(w->threads[i].thread);
        event_loop_free(w->threads[i].loop);
    }
}

void writers_free(Writers *w)
{
    for (unsigned i = 0; i < w->n_threads; i++) {
        g_aligned_free(w->threads[i].streams);
    }
    g_free(w->threads);
    g_free(w);
}

static unsigned *writers_numbers(Writers *w, size_t field)
{
    unsigned *numbers = g_new(unsigned, w->n_threads * w->n_streams);

    for (unsigned i = 0; i < w->n_threads * w->n_streams; i++) {
        Stream *s = &w->threads[i / w->n_streams].streams[i % w->n_streams];

        numbers[i] = __atomic_load_n((unsigned *)((char *)s + field), __ATOMIC_SEQ_CST);
    }
    return numbers;
}

unsigned *writers_done(Writers *w)
{
    return writers_numbers(w, offsetof(Stream, done));
}

unsigned *writers_sent(Writers *w)
{
    return writers_numbers(w, offsetof(Stream, sent));
}

/* Whether the stream's part of the disk is as after this many requests. */
static bool stream_is_at(const Stream *s, const uint8_t *disk, unsigned number)
{
    uint8_t want[WRITERS_PIECE];

    for (unsigned i = 0; i < WRITERS_PIECES; i++) {
        unsigned last = number >= i ? number - (number - i) % WRITERS_PIECES : 0;

        request_content(last, want);
        if (memcmp(disk + (size_t)(s->first + i) * WRITERS_PIECE, want, WRITERS_PIECE)) {
            return false;
        }
    }
    return true;
}

void writers_check(Writers *w, const uint8_t *disk, const unsigned *from, const unsigned *to)
{
    for (unsigned i = 0; i < w->n_threads * w->n_streams; i++) {
        const Stream *s = &w->threads[i / w->n_streams].streams[i % w->n_streams];
        bool found = false;

        for (unsigned number = from[i]; number <= to[i] && !found; number++) {
            found = stream_is_at(s, disk, number);
        }
        if (!found) {
            unsigned have[WRITERS_PIECES];

            for (unsigned k = 0; k < WRITERS_PIECES; k++) {
                memcpy(&have[k], disk + (size_t)(s->first + k) * WRITERS_PIECE, sizeof have[k]);
            }
            g_error("stream %u: %u %u %u %u is no moment from %u to %u", i, have[0], have[1],
                    have[2], have[3], from[i], to[i]);
        }
    }
}
