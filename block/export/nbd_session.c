/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The transmission phase, on the export's loop. One coroutine reads requests, each request is a
 * coroutine of its own, and replies that are ready in one turn leave in one system call.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/event_loop.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "nbd.h"
#include "nbd_proto.h"

enum {
    MAX_IN_FLIGHT = 64,      /* requests of one client, until their replies are sent */
    INPUT_SIZE = 32 * 1024,  /* what is read ahead */
    KEEP_BUFFER = 64 * 1024, /* a request's buffer up to this size is used again */
    SPARSE_MIN = 64 * 1024,  /* shorter reads are not looked at for holes */
    MAX_PIECES = 64,         /* of one read's reply */
    MAX_EXTENTS = 2048,      /* of one context in a reply */
    MAX_SEND_IOV = 256,
    CACHE_PIECE = 1024 * 1024,
};

typedef struct NbdSession NbdSession;

typedef struct {
    uint16_t flags, type;
    uint64_t cookie, from;
    uint32_t len;
} RequestHead;

typedef struct NbdRequest {
    NbdSession *s;
    struct NbdRequest *next;
    RequestHead h;
    uint32_t counted; /* bytes of data that count against the limit */
    uint8_t *data;    /* aligned as for direct I/O */
    size_t size;      /* of 'data' */
    /* The reply: 'iov' points to 'own' or 'more'. */
    struct iovec *iov, own[2], *more;
    unsigned niov;
    uint8_t head[NBD_CHUNK_SIZE + 8];
    uint8_t *heads; /* of further chunks */
} NbdRequest;

struct NbdSession {
    NbdClient *c;
    uint8_t *input;
    size_t begin, end; /* what is left of it */
    unsigned in_flight;
    uint64_t bytes;            /* of the data of requests in flight */
    NbdRequest *unused;        /* by 'next' */
    NbdRequest *first, **last; /* replies to be sent, by 'next' */
    bool sending, broken, taken_leave;
    BottomHalf send_bh;
    Coroutine *waiter; /* the reader, until the number of requests in flight has gone down */
};

/* Replies. */

static void session_wake(NbdSession *s)
{
    Coroutine *co = g_steal_pointer(&s->waiter);

    if (co) {
        coroutine_wake(co);
    }
}

/* The reader waits for a request to end. */
static void coroutine_fn session_wait(NbdSession *s)
{
    s->waiter = coroutine_self();
    while (s->waiter == coroutine_self()) {
        coroutine_yield();
    }
    coroutine_wait_over();
}

static void request_free(NbdRequest *r)
{
    free(r->data);
    g_free(r);
}

static void request_done(NbdRequest *r)
{
    NbdSession *s = r->s;

    g_free(g_steal_pointer(&r->more));
    g_free(g_steal_pointer(&r->heads));
    s->in_flight--;
    s->bytes -= r->counted;
    if (r->size > KEEP_BUFFER) {
        free(g_steal_pointer(&r->data));
        r->size = 0;
    }
    r->next = s->unused;
    s->unused = r;
}

/* Sends what is ready, until nothing is. */
static void coroutine_fn session_send(void *data)
{
    NbdSession *s = data;

    while (s->first) {
        struct iovec iov[MAX_SEND_IOV];
        NbdRequest *batch = s->first, *r = batch;
        unsigned n = 0;

        /* A request has at most 2 * MAX_PIECES parts, so that at least one fits. */
        for (; r && n + r->niov <= MAX_SEND_IOV; r = r->next) {
            memcpy(&iov[n], r->iov, r->niov * sizeof *iov);
            n += r->niov;
        }
        g_assert(n);
        s->first = r;
        if (!r) {
            s->last = &s->first;
        }
        if (!s->broken && nbd_stream_write(s->c->stream, iov, n) < 0) {
            s->broken = true;
            nbd_stream_shutdown(s->c->stream);
        }
        while (batch != r) {
            NbdRequest *next = batch->next;
            request_done(batch);
            batch = next;
        }
        session_wake(s);
    }
    s->sending = false;
    session_wake(s);
}

static void session_send_soon(void *data)
{
    NbdSession *s = data;

    if (s->first && !s->sending) {
        s->sending = true;
        coroutine_start(session_send, s);
    }
}

static void reply_queue(NbdRequest *r)
{
    NbdSession *s = r->s;

    r->next = NULL;
    *s->last = r;
    s->last = &r->next;
    bh_schedule(&s->send_bh);
}

static uint32_t nbd_errno(int err)
{
    switch (err) {
    case 0:
        return 0;
    case EPERM:
    case EROFS:
    case EACCES:
        return NBD_EPERM;
    case ENOMEM:
        return NBD_ENOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NBD_ENOSPC;
    case EINVAL:
        return NBD_EINVAL;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ENOTSUP:
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EIO;
    }
}

static void put_chunk(uint8_t *p, const NbdRequest *r, unsigned flags, unsigned type, uint32_t len)
{
    stbe32(p, NBD_STRUCTURED_MAGIC);
    stbe16(p + 4, flags);
    stbe16(p + 6, type);
    stbe64(p + 8, r->h.cookie);
    stbe32(p + 16, len);
}

/* The reply consists of 'r->head', and of data where 'len' is not 0. */
static void reply_own(NbdRequest *r, size_t head, size_t len)
{
    r->own[0] = (struct iovec){r->head, head};
    r->own[1] = (struct iovec){r->data, len};
    r->iov = r->own;
    r->niov = len ? 2 : 1;
    reply_queue(r);
}

static void reply_simple(NbdRequest *r, int ret, size_t len)
{
    stbe32(r->head, NBD_SIMPLE_MAGIC);
    stbe32(r->head + 4, nbd_errno(-ret));
    stbe64(r->head + 8, r->h.cookie);
    reply_own(r, NBD_SIMPLE_SIZE, ret == 0 ? len : 0);
}

/* Reads and queries have structured replies where the client understands those. */
static void reply_error(NbdRequest *r, int ret)
{
    if (!r->s->c->structured) {
        reply_simple(r, ret, 0);
        return;
    }
    put_chunk(r->head, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_ERROR, 6);
    stbe32(r->head + NBD_CHUNK_SIZE, nbd_errno(-ret));
    stbe16(r->head + NBD_CHUNK_SIZE + 4, 0);
    reply_own(r, NBD_CHUNK_SIZE + 6, 0);
}

/* The data as one piece. */
static void reply_data(NbdRequest *r)
{
    if (!r->s->c->structured) {
        reply_simple(r, 0, r->h.len);
        return;
    }
    if (!r->h.len) {
        put_chunk(r->head, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_NONE, 0);
        reply_own(r, NBD_CHUNK_SIZE, 0);
        return;
    }
    put_chunk(r->head, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_OFFSET_DATA, r->h.len + 8);
    stbe64(r->head + NBD_CHUNK_SIZE, r->h.from);
    reply_own(r, NBD_CHUNK_SIZE + 8, r->h.len);
}

/* Requests. */

static bool request_buffer(NbdRequest *r, size_t size)
{
    if (r->size < size) {
        free(r->data);
        /* The reader holds up no drained section: the export may get another node at any time. */
        r->data = block_buffer_new(NULL, size);
        r->size = r->data ? size : 0;
    }
    return r->data || !size;
}

/* A part of a read: of the data, or a hole. */
typedef struct {
    uint64_t from, len;
    bool hole;
} Piece;

/* What a read consists of. The number of pieces, or -errno. */
static int coroutine_fn find_pieces(NbdRequest *r, Piece *pieces)
{
    BlockNode *n = r->s->c->exp->base.node;
    uint64_t at = r->h.from, left = r->h.len;
    unsigned count = 0;

    while (left) {
        uint64_t len = left;
        int status = count < MAX_PIECES - 1
                         ? block_status_chain(n, NULL, at, left, &len, NULL, NULL, NULL)
                         : 0;
        bool hole = status > 0 && status & BLOCK_STATUS_ZERO;

        if (status < 0) {
            return status;
        }
        len = len && len < left ? len : left;
        if (count && pieces[count - 1].hole == hole) {
            pieces[count - 1].len += len;
        } else {
            pieces[count++] = (Piece){at, len, hole};
        }
        at += len;
        left -= len;
    }
    return count;
}

/* The data is read to where it would be in the whole. */
static void coroutine_fn read_pieces(NbdRequest *r, const Piece *pieces, unsigned count)
{
    enum { HEAD = NBD_CHUNK_SIZE + 12 };
    unsigned n = 0;

    r->heads = g_malloc(count * HEAD);
    r->more = g_new(struct iovec, count * 2);
    for (unsigned i = 0; i < count; i++) {
        const Piece *p = &pieces[i];
        uint8_t *head = r->heads + i * HEAD, *data = r->data + (p->from - r->h.from);
        unsigned flags = i == count - 1 ? NBD_REPLY_FLAG_DONE : 0;

        stbe64(head + NBD_CHUNK_SIZE, p->from);
        if (p->hole) {
            put_chunk(head, r, flags, NBD_REPLY_OFFSET_HOLE, 12);
            stbe32(head + NBD_CHUNK_SIZE + 8, p->len);
            r->more[n++] = (struct iovec){head, HEAD};
        } else {
            int ret = block_pread(r->s->c->exp->base.node, p->from, data, p->len);

            if (ret < 0) {
                reply_error(r, ret);
                return;
            }
            put_chunk(head, r, flags, NBD_REPLY_OFFSET_DATA, p->len + 8);
            r->more[n++] = (struct iovec){head, NBD_CHUNK_SIZE + 8};
            r->more[n++] = (struct iovec){data, p->len};
        }
    }
    r->iov = r->more;
    r->niov = n;
    reply_queue(r);
}

static void coroutine_fn do_read(NbdRequest *r)
{
    Piece pieces[MAX_PIECES];
    int ret = 0;

    if (!request_buffer(r, r->h.len)) {
        reply_error(r, -ENOMEM);
        return;
    }
    if (r->s->c->structured && r->h.len >= SPARSE_MIN && !(r->h.flags & NBD_CMD_FLAG_DF)) {
        ret = find_pieces(r, pieces);
        if (ret > 1 || (ret == 1 && pieces[0].hole)) {
            read_pieces(r, pieces, ret);
            return;
        }
    }
    if (ret >= 0 && r->h.len) {
        ret = block_pread(r->s->c->exp->base.node, r->h.from, r->data, r->h.len);
    }
    if (ret < 0) {
        reply_error(r, ret);
    } else {
        reply_data(r);
    }
}

/* The client wants the data near: read, and forgotten. */
static int coroutine_fn do_cache(NbdRequest *r)
{
    uint64_t at = r->h.from, left = r->h.len;
    int ret = 0;

    if (!request_buffer(r, MIN(left, CACHE_PIECE))) {
        return -ENOMEM;
    }
    while (left && ret == 0) {
        uint64_t len = MIN(left, CACHE_PIECE);

        ret = block_pread(r->s->c->exp->base.node, at, r->data, len);
        at += len;
        left -= len;
    }
    return ret;
}

static int coroutine_fn do_trim(NbdRequest *r, unsigned fua)
{
    BlockNode *n = r->s->c->exp->base.node;
    int ret = block_pdiscard(n, r->h.from, r->h.len);

    return ret == 0 && fua ? block_flush(n) : ret;
}

static int coroutine_fn do_zeroes(NbdRequest *r, unsigned fua)
{
    unsigned flags = fua;

    flags |= r->h.flags & NBD_CMD_FLAG_NO_HOLE ? 0 : BLOCK_REQ_MAY_UNMAP;
    flags |= r->h.flags & NBD_CMD_FLAG_FAST_ZERO ? BLOCK_REQ_NO_FALLBACK : 0;
    return block_pwrite_zeroes(r->s->c->exp->base.node, r->h.from, r->h.len, flags);
}

/* One chunk for each context. */
static void coroutine_fn do_status(NbdRequest *r)
{
    enum { HEAD = NBD_CHUNK_SIZE + 4 };
    const size_t room = HEAD + MAX_EXTENTS * 8;
    unsigned contexts = r->s->c->contexts, n = 0;
    unsigned max = r->h.flags & NBD_CMD_FLAG_REQ_ONE ? 1 : MAX_EXTENTS;

    r->heads = g_malloc(room * __builtin_popcount(contexts));
    r->more = g_new(struct iovec, __builtin_popcount(contexts));
    for (unsigned i = 0; i < NBD_CONTEXT_MAX; i++) {
        uint8_t *head = r->heads + n * room;
        int count;

        if (!(contexts & BIT(i))) {
            continue;
        }
        contexts &= ~BIT(i);
        count = nbd_context_extents(r->s->c->exp, i, r->h.from, r->h.len,
                                    (uint32_t(*)[2])(head + HEAD), max);
        if (count <= 0) {
            reply_error(r, count < 0 ? count : -EIO);
            return;
        }
        put_chunk(head, r, contexts ? 0 : NBD_REPLY_FLAG_DONE, NBD_REPLY_BLOCK_STATUS,
                  4 + count * 8);
        stbe32(head + NBD_CHUNK_SIZE, i);
        r->more[n++] = (struct iovec){head, HEAD + count * 8};
    }
    r->iov = r->more;
    r->niov = n;
    reply_queue(r);
}

/* What is wrong with a request; 0: nothing. */
static int request_check(const NbdRequest *r)
{
    static const uint16_t flags[] = {
        [NBD_CMD_READ] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF,
        [NBD_CMD_WRITE] = NBD_CMD_FLAG_FUA,
        [NBD_CMD_FLUSH] = NBD_CMD_FLAG_FUA,
        [NBD_CMD_TRIM] = NBD_CMD_FLAG_FUA,
        [NBD_CMD_CACHE] = NBD_CMD_FLAG_FUA,
        [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE,
    };
    const NbdClient *c = r->s->c;
    bool writes = r->h.type == NBD_CMD_WRITE || r->h.type == NBD_CMD_TRIM ||
                  r->h.type == NBD_CMD_WRITE_ZEROES;
    int64_t size = nbd_export_size(c->exp);

    if (r->h.type >= G_N_ELEMENTS(flags) || r->h.flags & ~flags[r->h.type]) {
        return -EINVAL;
    }
    if ((r->h.type == NBD_CMD_READ || r->h.type == NBD_CMD_CACHE) && r->h.len > NBD_MAX_DATA) {
        return -EINVAL;
    }
    if (r->h.flags & NBD_CMD_FLAG_DF && !c->structured) {
        return -EINVAL;
    }
    if (writes && !c->exp->base.writable) {
        return -EPERM;
    }
    if (size < 0) {
        return size;
    }
    if (r->h.from > (uint64_t)size || r->h.len > size - r->h.from) {
        return writes ? -ENOSPC : -EINVAL;
    }
    if (r->h.type == NBD_CMD_BLOCK_STATUS && (!c->contexts || !r->h.len)) {
        return -EINVAL;
    }
    return 0;
}

static void coroutine_fn request_run(NbdRequest *r)
{
    BlockExport *exp = &r->s->c->exp->base;
    unsigned fua = exp->writethrough || r->h.flags & NBD_CMD_FLAG_FUA ? (unsigned)BLOCK_REQ_FUA : 0;
    int ret = request_check(r);

    if (ret < 0) {
        log_item(LOG_BLOCK, "NBD request %u for %" PRIu32 " bytes at %" PRIu64 " refused: %s",
                 r->h.type, r->h.len, r->h.from, g_strerror(-ret));
        if (r->h.type == NBD_CMD_READ || r->h.type == NBD_CMD_BLOCK_STATUS) {
            reply_error(r, ret);
        } else {
            reply_simple(r, ret, 0);
        }
        return;
    }
    switch (r->h.type) {
    case NBD_CMD_READ:
        do_read(r);
        return;
    case NBD_CMD_BLOCK_STATUS:
        do_status(r);
        return;
    case NBD_CMD_WRITE:
        ret = block_pwrite(exp->node, r->h.from, r->data, r->h.len, fua);
        break;
    case NBD_CMD_FLUSH:
        ret = block_flush(exp->node);
        break;
    case NBD_CMD_TRIM:
        ret = do_trim(r, fua);
        break;
    case NBD_CMD_CACHE:
        ret = do_cache(r);
        break;
    case NBD_CMD_WRITE_ZEROES:
        ret = do_zeroes(r, fua);
        break;
    }
    reply_simple(r, ret, 0);
}

static void coroutine_fn request_main(void *data)
{
    NbdRequest *r = data;
    BlockExport *exp = &r->s->c->exp->base;

    block_export_enter(exp);
    request_run(r);
    block_export_leave(exp);
}

/* The reader. */

/* Reads what has come, until there are 'want' bytes (at most INPUT_SIZE). False: it has ended. */
static bool coroutine_fn session_fill(NbdSession *s, size_t want)
{
    size_t have = s->end - s->begin;
    ssize_t n;

    if (have >= want) {
        return true;
    }
    memmove(s->input, s->input + s->begin, have);
    s->begin = 0;
    s->end = have;
    n = nbd_stream_read(s->c->stream, s->input + have, want - have, INPUT_SIZE - have);
    if (n < 0) {
        return false;
    }
    s->end += n;
    return true;
}

static bool coroutine_fn session_read_head(NbdSession *s, RequestHead *h)
{
    const uint8_t *p;

    if (!session_fill(s, NBD_REQUEST_SIZE)) {
        return false;
    }
    p = s->input + s->begin;
    if (ldbe32(p) != NBD_REQUEST_MAGIC) {
        log_item(LOG_BLOCK, "NBD request with the wrong magic number %#" PRIx32, ldbe32(p));
        return false;
    }
    h->flags = ldbe16(p + 4);
    h->type = ldbe16(p + 6);
    h->cookie = ldbe64(p + 8);
    h->from = ldbe64(p + 16);
    h->len = ldbe32(p + 24);
    s->begin += NBD_REQUEST_SIZE;
    s->taken_leave = h->type == NBD_CMD_DISC;
    return !s->taken_leave;
}

/* The data of a write: what was read ahead, and the rest right into its place. */
static bool coroutine_fn session_read_data(NbdSession *s, NbdRequest *r)
{
    size_t have = MIN(s->end - s->begin, r->h.len);

    if (!request_buffer(r, r->h.len)) {
        return false;
    }
    if (have) {
        memcpy(r->data, s->input + s->begin, have);
        s->begin += have;
    }
    if (have == r->h.len) {
        return true;
    }
    return nbd_stream_read(s->c->stream, r->data + have, r->h.len - have, r->h.len - have) >= 0;
}

static NbdRequest *request_new(NbdSession *s, const RequestHead *h, uint32_t data)
{
    NbdRequest *r = s->unused;

    if (r) {
        s->unused = r->next;
    } else {
        r = g_new0(NbdRequest, 1);
        r->s = s;
    }
    r->h = *h;
    r->counted = data;
    s->in_flight++;
    s->bytes += data;
    return r;
}

/* False: the connection is to be closed. */
static bool coroutine_fn session_request(NbdSession *s)
{
    RequestHead h;
    NbdRequest *r;
    uint32_t data;

    if (!session_read_head(s, &h)) {
        return false;
    }
    /* Other commands have a length, and no data. */
    data = h.type == NBD_CMD_READ || h.type == NBD_CMD_WRITE ? MIN(h.len, NBD_MAX_DATA) : 0;
    if (h.type == NBD_CMD_WRITE && h.len > NBD_MAX_DATA) {
        log_item(LOG_BLOCK, "NBD request with %" PRIu32 " bytes of data: the most is %d", h.len,
                 NBD_MAX_DATA);
        return false;
    }
    while (s->in_flight >= MAX_IN_FLIGHT || (s->in_flight && s->bytes + data > NBD_MAX_DATA)) {
        session_wait(s);
        if (s->broken) {
            return false;
        }
    }
    r = request_new(s, &h, data);
    if (h.type == NBD_CMD_WRITE && !session_read_data(s, r)) {
        request_done(r);
        return false;
    }
    coroutine_start(request_main, r);
    return true;
}

static void session_over(void *data)
{
    nbd_client_gone(data);
}

static void coroutine_fn session_main(void *data)
{
    NbdSession *s = data;
    NbdClient *c = s->c;

    while (session_request(s)) {
    }
    /* Whoever has taken leave still gets the replies to what it asked for. */
    if (!s->taken_leave) {
        nbd_stream_shutdown(c->stream);
    }
    while (s->in_flight || s->sending) {
        session_wait(s);
    }
    if (s->taken_leave && !s->broken) {
        nbd_stream_bye(c->stream);
    }
    bh_cancel(&s->send_bh);
    while (s->unused) {
        NbdRequest *r = s->unused;

        s->unused = r->next;
        request_free(r);
    }
    nbd_stream_detach(c->stream);
    free(s->input);
    g_free(s);
    event_loop_call(c->home, session_over, c);
}

void nbd_session_start(NbdClient *c)
{
    NbdSession *s = g_new0(NbdSession, 1);

    s->c = c;
    s->last = &s->first;
    s->input = malloc(INPUT_SIZE);
    bh_init(&s->send_bh, event_loop_current(), session_send_soon, s);
    nbd_stream_attach(c->stream);
    coroutine_start(session_main, s);
}
