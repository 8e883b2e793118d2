/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network over a datagram socket: UDP to one peer or to a multicast group, UNIX datagrams, or an
 * inherited socket. Datagrams of anybody who reaches the socket are delivered.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "socket.h"

#define READ_BUDGET   64 /* datagrams in one callback */
#define IOV_MAX_DGRAM 1024

typedef struct {
    NetPeer peer;
    int fd;
    FdHandler *handler;
    DgramTo to;
    bool want_read, want_write;
    bool waits_connected; /* dgram_await_room() has connected the socket */
    bool dead;            /* nothing will come any more */
    char *info;
    HostSocketPath path;
    uint8_t *buffer; /* NET_PACKET_MAX bytes */
} NetDgram;

/* Addresses. */

char *dgram_text(const DgramTo *to)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (to->addr.ss_family == AF_UNIX) {
        return g_strdup(((const struct sockaddr_un *)&to->addr)->sun_path);
    }
    if (getnameinfo((const struct sockaddr *)&to->addr, to->len, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup("?");
    }
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

bool dgram_is_multicast(const DgramTo *to)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&to->addr;

    return to->addr.ss_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

typedef struct {
    const char *host, *port;
    int family;
    bool passive;
    DgramTo *to;
    GError *err;
} Resolve;

static int dgram_resolve_on_pool(void *data)
{
    Resolve *r = data;

    return host_udp_resolve(r->host, r->port, r->family, r->passive, &r->to->addr, &r->to->len,
                            &r->err);
}

bool coroutine_fn dgram_resolve(const char *host, const char *port, int family, bool passive,
                                DgramTo *to, GError **err)
{
    Resolve r = {host, port, family, passive, to, NULL};
    bool ok = in_coroutine() ? co_pool_run(dgram_resolve_on_pool, &r) : dgram_resolve_on_pool(&r);

    if (!ok) {
        g_propagate_error(err, r.err);
    }
    return ok;
}

int dgram_bind(const DgramTo *local, GError **err)
{
    int fd = socket(local->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&local->addr, local->len) < 0) {
        g_autofree char *text = dgram_text(local);

        error_set_errno(err, errno, "can't bind a datagram socket to %s", text);
        fd_close(&fd);
    }
    return fd;
}

/* All of the group on this host are bound to the same address. */
int dgram_join(const DgramTo *group, const char *local, GError **err)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&group->addr;
    struct ip_mreq join = {.imr_multiaddr = in->sin_addr, .imr_interface.s_addr = INADDR_ANY};
    g_autofree char *text = dgram_text(group);
    uint8_t loop = 1;
    int on = 1;
    const char *what = "make a socket for";

    if (local && inet_pton(AF_INET, local, &join.imr_interface) != 1) {
        error_set(err, "localaddr=%s: not the IPv4 address of an interface", local);
        return -1;
    }
    auto_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
    if (ok) {
        what = "bind a socket to";
        ok = bind(fd, (const struct sockaddr *)&group->addr, group->len) == 0;
    }
    if (ok) {
        what = "join multicast group";
        ok = setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join) == 0;
    }
    if (ok) {
        what = "set up multicast on";
        ok = setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &loop, sizeof loop) == 0 &&
             (!local || setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &join.imr_interface,
                                   sizeof join.imr_interface) == 0);
    }
    if (!ok) {
        int errnum = errno;

        error_set(err, "can't %s %s%s%s: %s%s", what, text, local ? " at " : "", local ? local : "",
                  g_strerror(errnum),
                  !local && errnum == ENODEV
                      ? "; no interface has a route to the group: name one by its local address"
                      : "");
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

DgramTo dgram_destination(const char *id, int fd)
{
    DgramTo to = {.len = sizeof to.addr};
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;

    if (getsockname(fd, (struct sockaddr *)&to.addr, &to.len) == 0 && dgram_is_multicast(&to)) {
        return to;
    }
    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0) {
        log_warn("netdev %s: socket %d is neither connected nor in a multicast group: what the "
                 "guest sends is dropped",
                 id, fd);
    }
    return (DgramTo){.len = 0};
}

/* Datagrams. */

static void dgram_update(NetDgram *d)
{
    fd_handler_set(d->handler, d->want_read && !d->dead, d->want_write);
}

static void dgram_set_polling(NetPeer *self, bool on)
{
    NetDgram *d = container_of(self, NetDgram, peer);

    d->want_read = on;
    dgram_update(d);
}

/* Whether an error of recv() may be a message of the network about an earlier datagram. */
static bool dgram_error_passes(int errnum)
{
    return errnum == EINTR || errnum == ECONNREFUSED || errnum == ECONNRESET ||
           errnum == EHOSTUNREACH || errnum == ENETUNREACH || errnum == ENETDOWN ||
           errnum == EMSGSIZE || errnum == ENOBUFS || errnum == ENOMEM;
}

/* An empty datagram, or the other end of a socket pair has closed: then each read is empty. */
static bool dgram_has_ended(const NetDgram *d)
{
    struct pollfd p = {.fd = d->fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP);
}

static void dgram_end(NetDgram *d, const char *why)
{
    log_warn("netdev %s: receiving failed: %s; nothing is received any more (netdev_del and "
             "netdev_add start again)",
             d->peer.name, why);
    d->dead = true;
    dgram_update(d);
}

static void dgram_readable(void *data)
{
    NetDgram *d = data;
    bool more = true;

    for (int i = 0; i < READ_BUDGET && more && d->want_read; i++) {
        ssize_t n = recv(d->fd, d->buffer, NET_PACKET_MAX, MSG_DONTWAIT | MSG_TRUNC);
        struct iovec iov = {d->buffer, n};

        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0 && !dgram_error_passes(errno)) {
            dgram_end(d, g_strerror(errno));
        } else if (n == 0 && dgram_has_ended(d)) {
            dgram_end(d, "the other end has closed");
            break;
        } else if (n > 0 && n <= NET_PACKET_MAX) {
            more = net_deliver_now(&d->peer, &iov, 1);
        }
    }
}

/*
 * An unconnected UNIX socket is always writable, though its destination's queue is full. Connected
 * to it, the socket becomes writable when there is room.
 */
static void dgram_await_room(NetDgram *d)
{
    if (d->to.len && d->to.addr.ss_family == AF_UNIX) {
        d->waits_connected = connect(d->fd, (struct sockaddr *)&d->to.addr, d->to.len) == 0;
    }
    d->want_write = true;
    dgram_update(d);
}

static void dgram_writable(void *data)
{
    static const struct sockaddr none = {.sa_family = AF_UNSPEC};
    NetDgram *d = data;

    if (d->waits_connected) {
        connect(d->fd, &none, sizeof none);
        d->waits_connected = false;
    }
    d->want_write = false;
    dgram_update(d);
    net_peer_ready(&d->peer);
}

static ssize_t dgram_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    NetDgram *d = container_of(self, NetDgram, peer);
    size_t len = iov_size(iov, n);
    g_autofree uint8_t *flat = NULL;
    struct iovec one;
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};
    ssize_t r;

    if (d->want_write) {
        return 0;
    }
    if (d->to.len) {
        msg.msg_name = &d->to.addr;
        msg.msg_namelen = d->to.len;
    }
    if (n > IOV_MAX_DGRAM) {
        flat = g_malloc(len);
        iov_to_buf(iov, n, 0, flat, len);
        one = (struct iovec){flat, len};
        msg.msg_iov = &one;
        msg.msg_iovlen = 1;
    }
    do {
        r = sendmsg(d->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (r < 0 && errno == EINTR);
    if (r < 0 && errno == EAGAIN) {
        dgram_await_room(d);
        return 0;
    }
    /* Other errors (nobody is there, a packet that is too large) drop the packet. */
    return r < 0 ? -1 : (ssize_t)len;
}

/* Life. */

static char *dgram_info(NetPeer *self)
{
    return g_strdup(container_of(self, NetDgram, peer)->info);
}

static void dgram_destroy(NetPeer *self)
{
    NetDgram *d = container_of(self, NetDgram, peer);

    fd_handler_remove(d->handler);
    fd_close(&d->fd);
    host_socket_path_remove(&d->path);
    g_free(d->info);
    g_free(d->buffer);
    g_free(d);
}

static const NetPeerOps dgram_ops = {
    .receive = dgram_receive,
    .destroy = dgram_destroy,
    .set_polling = dgram_set_polling,
    .info = dgram_info,
};

void dgram_new(const char *id, const char *model, int fd, const DgramTo *to, const char *path,
               char *info)
{
    NetDgram *d = g_new0(NetDgram, 1);

    d->fd = fd;
    d->to = *to;
    d->info = info;
    d->buffer = g_malloc(NET_PACKET_MAX);
    host_socket_path_set(&d->path, path);
    net_peer_init(&d->peer, &dgram_ops, model, id, event_loop_current());
    d->handler = event_loop_add_fd(d->peer.loop, fd, dgram_readable, dgram_writable, d);
    dgram_update(d);
}
