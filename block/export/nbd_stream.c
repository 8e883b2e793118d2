/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd_stream.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/event_loop.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/util.h"

/* As many bytes make a record of TLS. */
enum { RECORD_SIZE = 16 * 1024, TLS_RETRY_MS = 1 };

struct NbdStream {
    int fd;
    TlsSession *tls;    /* NULL: in clear */
    FdHandler *handler; /* NULL: detached */
    bool want_read, want_write;
    bool drained; /* the last read took all that there was: the next one waits before it tries */
    Coroutine *reader, *writer; /* that wait */
};

NbdStream *nbd_stream_new(int fd)
{
    NbdStream *s = g_new0(NbdStream, 1);
    int on = 1;

    s->fd = fd;
    fd_set_nonblock(fd, true);
    /* A UNIX socket has no such options. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return s;
}

void nbd_stream_free(NbdStream *s)
{
    g_assert(!s->handler);
    tls_session_free(s->tls);
    close(s->fd);
    g_free(s);
}

static void stream_want(NbdStream *s, bool read, bool write)
{
    if (s->want_read != read || s->want_write != write) {
        s->want_read = read;
        s->want_write = write;
        fd_handler_set(s->handler, read, write);
    }
}

/* A waiter is watched for on and on, until nobody waits when there is something: cheaper so. */
static void stream_readable(void *data)
{
    NbdStream *s = data;
    Coroutine *co = g_steal_pointer(&s->reader);

    if (co) {
        coroutine_wake(co);
    } else {
        stream_want(s, false, s->want_write);
    }
}

static void stream_writable(void *data)
{
    NbdStream *s = data;
    Coroutine *co = g_steal_pointer(&s->writer);

    if (co) {
        coroutine_wake(co);
    } else {
        stream_want(s, s->want_read, false);
    }
}

void nbd_stream_attach(NbdStream *s)
{
    g_assert(!s->handler);
    s->handler =
        event_loop_add_fd(event_loop_current(), s->fd, stream_readable, stream_writable, s);
    s->want_read = s->want_write = false;
    fd_handler_set(s->handler, false, false);
}

void nbd_stream_detach(NbdStream *s)
{
    g_assert(!s->reader && !s->writer);
    fd_handler_remove(g_steal_pointer(&s->handler));
}

static void coroutine_fn stream_wait(NbdStream *s, Coroutine **waiter)
{
    *waiter = coroutine_self();
    stream_want(s, s->want_read || waiter == &s->reader, s->want_write || waiter == &s->writer);
    while (*waiter == coroutine_self()) {
        coroutine_yield();
    }
    coroutine_wait_over();
}

/* What the session waits for, a coroutine of the stream's may be waiting for already. */
static int coroutine_fn stream_tls_wait(void *data, bool write)
{
    NbdStream *s = data;
    Coroutine **waiter = write ? &s->writer : &s->reader;

    if (*waiter) {
        coroutine_sleep(CLOCK_REALTIME_NS, TLS_RETRY_MS * NS_PER_MS);
    } else {
        stream_wait(s, waiter);
    }
    return 0;
}

bool coroutine_fn nbd_stream_start_tls(NbdStream *s, const TlsCreds *creds, const char *hostname,
                                       GError **err)
{
    s->tls = tls_session_new(creds, s->fd, hostname, stream_tls_wait, s, err);
    return s->tls && tls_session_handshake(s->tls, err);
}

char *nbd_stream_peer_name(const NbdStream *s, GError **err)
{
    return tls_session_peer_name(s->tls, err);
}

void coroutine_fn nbd_stream_bye(NbdStream *s)
{
    if (s->tls) {
        tls_session_bye(s->tls);
    }
}

static ssize_t coroutine_fn read_tls(NbdStream *s, uint8_t *buf, size_t min, size_t max)
{
    size_t got = 0;

    while (got < min) {
        int64_t n = tls_session_read(s->tls, buf + got, max - got);

        if (n <= 0) {
            return n ? n : -EPIPE;
        }
        got += n;
    }
    return got;
}

/* Small pieces share records. */
static int coroutine_fn write_tls(NbdStream *s, const struct iovec *iov, unsigned n)
{
    size_t size = iov_size(iov, n);
    uint8_t record[RECORD_SIZE];

    for (size_t done = 0; done < size;) {
        size_t len = iov_to_buf(iov, n, done, record, MIN(sizeof record, size - done));
        int64_t ret = tls_session_write(s->tls, record, len);

        if (ret < 0) {
            return ret;
        }
        done += len;
    }
    return 0;
}

ssize_t coroutine_fn nbd_stream_read(NbdStream *s, void *buf, size_t min, size_t max)
{
    size_t got = 0;

    if (s->tls) {
        return read_tls(s, buf, min, max);
    }
    while (got < min) {
        ssize_t n;

        if (s->drained) {
            s->drained = false;
            stream_wait(s, &s->reader);
        }
        n = recv(s->fd, (char *)buf + got, max - got, 0);
        if (n == 0) {
            return -EPIPE;
        }
        if (n > 0) {
            got += n;
            s->drained = got < max;
        } else if (errno == EAGAIN) {
            s->drained = true;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return got;
}

int coroutine_fn nbd_stream_write(NbdStream *s, struct iovec *iov, unsigned n)
{
    if (s->tls) {
        return write_tls(s, iov, n);
    }
    while (n) {
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
        ssize_t done = sendmsg(s->fd, &msg, MSG_NOSIGNAL);

        if (done < 0) {
            if (errno == EAGAIN) {
                stream_wait(s, &s->writer);
            } else if (errno != EINTR) {
                return -errno;
            }
            continue;
        }
        while (n && (size_t)done >= iov->iov_len) {
            done -= iov->iov_len;
            iov++;
            n--;
        }
        if (n) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= done;
        }
    }
    return 0;
}

void nbd_stream_shutdown(NbdStream *s)
{
    shutdown(s->fd, SHUT_RDWR);
}
