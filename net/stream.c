/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network over a stream socket with one peer. While there is none, packets are dropped.
 *
 * To the peer: what the socket takes of a packet is sent, and the rest is kept. Until that is gone
 * too the sender is told 'not now', so a peer that does not read holds one packet here.
 *
 * From the peer: bytes are read as long as the reader has room, so that the end of the connection
 * is noticed while the NIC takes no packets. Whole packets are delivered while it does.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"
#include "frames.h"
#include "socket.h"

/* Reads and packets in one callback, so that the loop's other handlers get a turn. */
#define READ_BUDGET     4
#define PACKET_BUDGET   256
#define IOV_MAX_STREAM  1024
#define ACCEPT_RETRY_NS NS_PER_SEC

typedef struct {
    NetPeer peer;
    StreamStyle style;
    int listen_fd, fd;
    int ready_fd; /* connected when the peer was made; the loop's next turn makes it 'fd' */
    FdHandler *listener, *handler;
    HostConnect *connect; /* a connection that is being made; or NULL */
    Timer *accept_again;
    bool accept_refused; /* a warning was given, and no client was accepted since */
    bool is_client, given_fd;
    bool polling; /* the NIC takes packets */
    bool want_write;
    int broken; /* errno of a send that failed */
    BottomHalf pump_bh;
    FrameReader reader;
    uint8_t *rest; /* of a packet that was sent in part */
    size_t rest_at, rest_len;
    char *info;
    HostSocketPath path;
} NetStream;

static void stream_set_info(NetStream *s, char *info)
{
    g_free(s->info);
    s->info = info;
}

static void stream_update(NetStream *s)
{
    size_t room = 0;

    if (s->handler) {
        frames_room(&s->reader, &room);
        fd_handler_set(s->handler, room > 0, s->want_write);
    }
}

/* Connections. */

/* As QEMU's 'info network' has it. */
static char *stream_connected_info(const NetStream *s, json_t *address)
{
    g_autofree char *text = socket_address_text(address);

    if (g_str_equal(s->style.model, "stream")) {
        return g_steal_pointer(&text);
    }
    if (s->given_fd) {
        return g_strdup_printf("socket: fd=%d", s->fd);
    }
    return g_strdup_printf("socket: connect%s %s", s->is_client ? " to" : "ion from",
                           strchr(text, ':') + 1);
}

static void stream_readable(void *data);
static void stream_writable(void *data);

static void stream_open(NetStream *s, int fd)
{
    int on = 1;
    json_t *address = socket_address_of_peer(fd);

    s->fd = fd;
    if (json_str(address, "host")) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (s->style.keep_alive) {
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        }
    } else if (s->path.path && g_str_equal(json_str(address, "path"), "")) {
        /* A client of a UNIX socket has no name; QEMU shows the server's. */
        json_object_set_new(address, "path", json_string(s->path.path));
    }
    stream_set_info(s, stream_connected_info(s, address));
    if (s->listener) {
        fd_handler_set(s->listener, false, false);
    }
    frames_init(&s->reader);
    s->handler = event_loop_add_fd(s->peer.loop, fd, stream_readable, stream_writable, s);
    stream_update(s);
    if (s->style.has_events) {
        net_stream_event(s->peer.name, address);
    }
    json_decref(address);
    log_item(LOG_NET, "netdev %s: connected, %s", s->peer.name, s->info);
    net_peer_ready(&s->peer);
}

static void stream_close(NetStream *s)
{
    fd_handler_remove(s->handler);
    s->handler = NULL;
    fd_close(&s->fd);
    frames_free(&s->reader);
    g_clear_pointer(&s->rest, g_free);
    s->want_write = false;
    s->broken = 0;
    bh_cancel(&s->pump_bh);
}

static void stream_lost(NetStream *s, const char *why)
{
    uint8_t *packet;
    size_t len;

    /* What came before the end still arrives, as far as the NIC's queue has room. */
    while (frames_next(&s->reader, &packet, &len) == FRAME_PACKET) {
        if (s->peer.peer) {
            net_deliver(&s->peer, packet, len);
        }
    }
    log_item(LOG_NET, "netdev %s: %s: %s%s", s->peer.name, s->info, why,
             s->reader.start < s->reader.end ? ", in the middle of a packet" : "");
    stream_close(s);
    stream_set_info(s, g_strdup(""));
    if (s->listener) {
        fd_handler_set(s->listener, true, false);
    }
    if (s->style.has_events) {
        net_stream_event(s->peer.name, NULL);
    }
    net_peer_ready(&s->peer); /* a sender that waits goes on, and its packets are dropped */
}

static void stream_accept_again(void *data)
{
    NetStream *s = data;

    fd_handler_set(s->listener, s->fd < 0, false);
}

static void stream_accept(void *data)
{
    NetStream *s = data;
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        s->accept_refused = false;
        stream_open(s, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        /* No descriptors: the client stays in the backlog, so polling would spin. */
        if (!s->accept_refused) {
            s->accept_refused = true;
            log_warn("netdev %s: cannot accept a connection: %s; it waits, and this is tried again "
                     "every second%s",
                     s->peer.name, g_strerror(errno),
                     errno == EMFILE ? " (ulimit -n is the limit)" : "");
        }
        if (!s->accept_again) {
            s->accept_again = timer_new(s->peer.loop, CLOCK_REALTIME_NS, stream_accept_again, s);
        }
        fd_handler_set(s->listener, false, false);
        timer_arm(s->accept_again, clock_ns(CLOCK_REALTIME_NS) + ACCEPT_RETRY_NS);
    }
}

static void stream_connect_failed(NetStream *s, const GError *why)
{
    log_warn("netdev %s: %s; without a connection, packets are dropped (netdev_del and netdev_add "
             "try again)",
             s->peer.name, why ? why->message : "cannot connect");
    if (g_str_equal(s->style.model, "stream")) {
        stream_set_info(s, g_strdup("connection error"));
    }
}

static void stream_connect_done(void *data, int fd, const GError *err)
{
    NetStream *s = data;

    s->connect = NULL;
    if (fd >= 0) {
        stream_open(s, fd);
    } else {
        stream_connect_failed(s, err);
    }
}

/* Packets. */

/* Delivers what was read. False: the stream has ended, because it makes no sense. */
static bool stream_deliver(NetStream *s)
{
    uint8_t *packet;
    size_t len;

    for (unsigned i = 0; s->polling || !s->peer.peer; i++) {
        FrameResult r;
        struct iovec iov;

        if (i == PACKET_BUDGET) {
            bh_schedule(&s->pump_bh);
            break;
        }
        r = frames_next(&s->reader, &packet, &len);
        if (r == FRAME_INCOMPLETE) {
            break;
        }
        if (r == FRAME_TOO_LONG) {
            log_warn("netdev %s: the peer sends a packet of more than %d bytes: disconnected; is "
                     "it a socket network of QEMU's kind?",
                     s->peer.name, NET_PACKET_MAX);
            stream_lost(s, "a packet is too long");
            return false;
        }
        iov = (struct iovec){packet, len};
        if (s->peer.peer) {
            net_deliver_now(&s->peer, &iov, 1);
        }
    }
    return true;
}

static void stream_readable(void *data)
{
    NetStream *s = data;

    for (unsigned i = 0; i < READ_BUDGET; i++) {
        size_t room;
        uint8_t *to = frames_room(&s->reader, &room);
        ssize_t n = room ? recv(s->fd, to, room, MSG_DONTWAIT) : 0;

        if (!room || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
            break;
        }
        if (n <= 0) {
            stream_lost(s, n ? g_strerror(errno) : "disconnected");
            return;
        }
        frames_filled(&s->reader, n);
        if (!stream_deliver(s)) {
            return;
        }
        if ((size_t)n < room) {
            break;
        }
    }
    stream_update(s);
}

/*
 * A socket that was connected from the start; what was read earlier, now that the NIC takes packets
 * again; the end after a failed send.
 */
static void stream_pump(void *data)
{
    NetStream *s = data;

    if (s->ready_fd >= 0) {
        int fd = s->ready_fd;

        s->ready_fd = -1;
        stream_open(s, fd);
    }
    if (s->fd < 0) {
        return;
    }
    if (s->broken) {
        stream_lost(s, g_strerror(s->broken));
    } else if (stream_deliver(s)) {
        stream_update(s);
    }
}

static void stream_set_polling(NetPeer *self, bool on)
{
    NetStream *s = container_of(self, NetStream, peer);

    s->polling = on;
    if (on && s->reader.start < s->reader.end) {
        bh_schedule(&s->pump_bh);
    }
}

static void stream_writable(void *data)
{
    NetStream *s = data;

    if (s->rest) {
        ssize_t n = send(s->fd, s->rest + s->rest_at, s->rest_len - s->rest_at,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n < 0) {
            stream_lost(s, g_strerror(errno));
            return;
        }
        s->rest_at += n;
        if (s->rest_at < s->rest_len) {
            return;
        }
        g_clear_pointer(&s->rest, g_free);
    }
    s->want_write = false;
    stream_update(s);
    net_peer_ready(&s->peer);
}

/* Keeps what the socket has not taken: all behind the first 'sent' bytes. */
static void stream_keep_rest(NetStream *s, const struct iovec *iov, unsigned n, size_t sent,
                             size_t len)
{
    s->rest_at = 0;
    s->rest_len = len - sent;
    s->rest = g_malloc(s->rest_len);
    iov_to_buf(iov, n, sent, s->rest, s->rest_len);
    s->want_write = true;
    stream_update(s);
}

static ssize_t stream_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    NetStream *s = container_of(self, NetStream, peer);
    size_t len = iov_size(iov, n);
    struct iovec v[IOV_MAX_STREAM];
    g_autofree uint8_t *flat = NULL;
    uint8_t header[FRAMES_HEADER];
    struct msghdr msg = {.msg_iov = v};
    ssize_t sent;

    if (s->fd < 0 || s->broken || len > NET_PACKET_MAX) {
        return -1;
    }
    if (s->want_write) {
        return 0;
    }
    stbe32(header, len);
    v[0] = (struct iovec){header, sizeof header};
    if (n < IOV_MAX_STREAM) {
        memcpy(v + 1, iov, n * sizeof *iov);
        msg.msg_iovlen = n + 1;
    } else {
        flat = g_malloc(len);
        iov_to_buf(iov, n, 0, flat, len);
        v[1] = (struct iovec){flat, len};
        msg.msg_iovlen = 2;
    }
    do {
        sent = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN) {
        s->want_write = true;
        stream_update(s);
        return 0;
    }
    if (sent < 0) {
        s->broken = errno;
        bh_schedule(&s->pump_bh);
        return -1;
    }
    if ((size_t)sent < len + sizeof header) {
        stream_keep_rest(s, v, msg.msg_iovlen, sent, len + sizeof header);
    }
    return len;
}

/* Life. */

static char *stream_info(NetPeer *self)
{
    return g_strdup(container_of(self, NetStream, peer)->info);
}

static void stream_destroy(NetPeer *self)
{
    NetStream *s = container_of(self, NetStream, peer);

    stream_close(s);
    host_connect_cancel(s->connect);
    timer_free(s->accept_again);
    fd_handler_remove(s->listener);
    fd_close(&s->listen_fd);
    fd_close(&s->ready_fd);
    host_socket_path_remove(&s->path);
    g_free(s->info);
    g_free(s);
}

static const NetPeerOps stream_ops = {
    .receive = stream_receive,
    .destroy = stream_destroy,
    .set_polling = stream_set_polling,
    .info = stream_info,
};

static NetStream *stream_new(const char *id, const StreamStyle *style)
{
    NetStream *s = g_new0(NetStream, 1);

    s->style = *style;
    s->fd = s->listen_fd = s->ready_fd = -1;
    s->info = g_strdup("");
    net_peer_init(&s->peer, &stream_ops, style->model, id, event_loop_current());
    bh_init(&s->pump_bh, s->peer.loop, stream_pump, s);
    return s;
}

void stream_listen(const char *id, const StreamStyle *style, int fd, const char *path)
{
    NetStream *s = stream_new(id, style);

    host_socket_path_set(&s->path, path);
    s->listen_fd = fd;
    s->listener = event_loop_add_fd(s->peer.loop, fd, stream_accept, NULL, s);
}

void stream_connected(const char *id, const StreamStyle *style, int fd)
{
    NetStream *s = stream_new(id, style);

    s->is_client = s->given_fd = true;
    s->ready_fd = fd;
    bh_schedule(&s->pump_bh); /* from the loop, when there are monitors to hear of it */
}

void stream_connect(const char *id, const StreamStyle *style, HostAddresses *addresses,
                    const char *host, const char *port)
{
    NetStream *s = stream_new(id, style);

    s->is_client = true;
    s->connect = addresses ? host_connect_addresses(addresses, stream_connect_done, s)
                           : host_connect_start(host, port, stream_connect_done, s);
}

void stream_failed(const char *id, const StreamStyle *style, const GError *why)
{
    stream_connect_failed(stream_new(id, style), why);
}
