/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guestfwd= to a server by TCP or a UNIX socket. Bytes that the guest writes to the forwarded
 * address go to the server over one connection. The server's bytes go to the guest's connection
 * with that address.
 *
 * libslirp has no flow control for bytes from the guest. Where the server does not take them,
 * user_target_refuses() has the guest's next segments dropped before slirp acknowledges them: the
 * guest's TCP slows down and sends them again.
 */
#include "user.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/connect.h"
#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/util.h"

/* From so many bytes on that the server has not taken, segments of the guest are refused. */
#define PENDING_MAX (256 * KiB)
#define RETRY_NS    NS_PER_SEC
#define ETH_HEADER  14

struct UserTarget {
    const SlirpLib *lib;
    Slirp *slirp;
    EventLoop *loop;
    struct in_addr guest_addr;
    int guest_port;
    char *address;     /* "tcp:HOST:PORT" or "unix:PATH" */
    char *host, *port; /* of a TCP server */
    char *path;        /* of a UNIX socket; else NULL */
    int fd;            /* -1: not connected */
    FdHandler *handler;
    bool connecting;      /* connect(2) of fd is under way */
    HostConnect *attempt; /* or NULL */
    Timer *retry;         /* armed where bytes wait and there is no connection */
    GByteArray *pending;  /* bytes of the guest that the server has not taken */
    bool starved;         /* slirp has no room for bytes to the guest */
    bool trouble_told;    /* a warning was given, and the server has not taken all bytes since */
};

static void target_update(UserTarget *t)
{
    if (t->handler) {
        fd_handler_set(t->handler, !t->connecting && !t->starved,
                       t->connecting || t->pending->len > 0);
    }
}

static void target_disconnect(UserTarget *t)
{
    fd_handler_remove(t->handler);
    t->handler = NULL;
    t->connecting = false;
    fd_close(&t->fd);
}

/* The bytes of the guest wait for the next connection: none is lost in the middle of its stream. */
static void target_retry_later(UserTarget *t)
{
    if (t->pending->len > 0) {
        timer_arm(t->retry, clock_ns(CLOCK_REALTIME_NS) + RETRY_NS);
    }
}

static void target_unreachable(UserTarget *t, const char *why)
{
    target_disconnect(t);
    if (!t->trouble_told) {
        t->trouble_told = true;
        log_warn("guest forwarding to '%s': %s; what the guest sends waits, and this is tried "
                 "again every second while bytes wait",
                 t->address, why);
    }
    target_retry_later(t);
}

static void target_lost(UserTarget *t, int errnum)
{
    target_disconnect(t);
    if (t->pending->len > 0 && !t->trouble_told) {
        t->trouble_told = true;
        log_warn("guest forwarding to '%s': the server ended the connection (%s) before it took "
                 "all that the guest sent; %u bytes wait for a new connection",
                 t->address, errnum ? g_strerror(errnum) : "end of file", t->pending->len);
    }
    target_retry_later(t);
}

static void target_readable(void *data)
{
    UserTarget *t = data;
    uint8_t buf[4096];
    size_t room = t->lib->slirp_socket_can_recv(t->slirp, t->guest_addr, t->guest_port);
    ssize_t n;

    if (!room) {
        t->starved = true;
        target_update(t);
        return;
    }
    n = recv(t->fd, buf, MIN(room, sizeof buf), MSG_DONTWAIT);
    if (n > 0) {
        t->lib->slirp_socket_recv(t->slirp, t->guest_addr, t->guest_port, buf, n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        target_lost(t, n ? errno : 0);
    }
}

static void target_flush(UserTarget *t)
{
    ssize_t n = send(t->fd, t->pending->data, t->pending->len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0) {
        g_byte_array_remove_range(t->pending, 0, n);
        t->trouble_told &= t->pending->len > 0;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        target_lost(t, errno);
        return;
    }
    target_update(t);
}

static void target_writable(void *data)
{
    UserTarget *t = data;

    if (t->connecting) {
        int errnum = host_tcp_connect_result(t->fd);

        if (errnum) {
            g_autofree char *why = g_strdup_printf("Failed to connect: %s", g_strerror(errnum));

            target_unreachable(t, why);
            return;
        }
        t->connecting = false;
    }
    if (t->pending->len > 0) {
        target_flush(t);
    } else {
        target_update(t);
    }
}

/* Takes a descriptor whose connect(2) has begun. */
static void target_begin(UserTarget *t, int fd)
{
    t->fd = fd;
    t->connecting = true;
    t->handler = event_loop_add_fd(t->loop, fd, target_readable, target_writable, t);
    target_update(t);
}

static void target_connect_done(void *data, int fd, const GError *err)
{
    UserTarget *t = data;

    t->attempt = NULL;
    if (fd >= 0) {
        target_begin(t, fd);
    } else {
        target_unreachable(t, err->message);
    }
}

/* An address needs no resolver, which might block. */
static bool target_has_address(const UserTarget *t)
{
    return t->path || g_hostname_is_ip_address(t->host);
}

static int target_open(UserTarget *t, GError **err)
{
    HostAddresses *one;
    int fd;

    if (t->path) {
        return host_unix_connect(t->path, err);
    }
    one = host_tcp_resolve(t->host, t->port, err);
    fd = one ? host_tcp_connect_next(one, 0, err) : -1;
    host_addresses_free(one);
    return fd;
}

static void target_connect(UserTarget *t)
{
    if (target_has_address(t)) {
        g_autoptr(GError) err = NULL;
        int fd = target_open(t, &err);

        if (fd >= 0) {
            target_begin(t, fd);
        } else {
            target_unreachable(t, err->message);
        }
        return;
    }
    t->attempt = host_connect_start(t->host, t->port, target_connect_done, t);
}

static void target_retry(void *data)
{
    UserTarget *t = data;

    if (t->fd < 0 && !t->attempt) {
        target_connect(t);
    }
}

/*
 * Called by slirp with bytes that the guest has written. slirp has acknowledged them and ignores
 * the result, so all are kept; user_target_refuses() is the flow control.
 */
static ssize_t target_write(const void *buf, size_t len, void *opaque)
{
    UserTarget *t = opaque;

    g_byte_array_append(t->pending, buf, len);
    if (t->fd >= 0 && !t->connecting) {
        target_flush(t);
    } else if (t->fd < 0 && !t->attempt && !timer_armed(t->retry)) {
        target_connect(t);
    }
    return len;
}

bool user_target_refuses(const UserTarget *t, const uint8_t *frame, size_t len)
{
    struct iphdr ip;
    struct tcphdr tcp;

    if (t->pending->len < PENDING_MAX || len < ETH_HEADER + sizeof ip || frame[12] != 0x08 ||
        frame[13] != 0x00) {
        return false;
    }
    memcpy(&ip, frame + ETH_HEADER, sizeof ip);
    size_t at = ETH_HEADER + ip.ihl * 4, end = ETH_HEADER + ntohs(ip.tot_len);
    if (ip.protocol != IPPROTO_TCP || ip.daddr != t->guest_addr.s_addr || len < at + sizeof tcp) {
        return false;
    }
    memcpy(&tcp, frame + at, sizeof tcp);
    return ntohs(tcp.dest) == t->guest_port && end > at + tcp.doff * 4;
}

void user_target_poke(UserTarget *t)
{
    if (t->starved && t->lib->slirp_socket_can_recv(t->slirp, t->guest_addr, t->guest_port)) {
        t->starved = false;
        target_update(t);
    }
}

/*
 * The first connection. What connect(2) says at once is an error of the option; what it says later,
 * or the resolver says, is a warning: the loop does not wait.
 */
static bool target_start(UserTarget *t, GError **err)
{
    int fd, errnum = 0;

    if (!target_has_address(t)) {
        target_connect(t);
        return true;
    }
    fd = target_open(t, err);
    if (fd < 0) {
        return false;
    }
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 0) > 0) {
        errnum = host_tcp_connect_result(fd);
    }
    if (errnum) {
        close(fd);
        return error_set_errno(err, errnum, "Failed to connect to '%s'", t->address);
    }
    target_begin(t, fd);
    return true;
}

bool user_target_is(const char *address)
{
    return g_str_has_prefix(address, "tcp:") || (g_str_has_prefix(address, "unix:") && address[5]);
}

/* "tcp:HOST:PORT" or "unix:PATH" */
static bool parse_address(UserTarget *t, const char *address, GError **err)
{
    const char *rest = strchr(address, ':') + 1, *colon = strrchr(rest, ':');

    if (g_str_has_prefix(address, "unix:")) {
        t->path = g_strdup(rest);
        return true;
    }
    if (!colon || !colon[1]) {
        return error_set(err, "'%s' is not HOST:PORT", rest);
    }
    t->host = g_strndup(rest, colon - rest);
    t->port = g_strdup(colon + 1);
    return true;
}

UserTarget *user_target_new(const SlirpLib *lib, Slirp *slirp, const GuestForward *fwd,
                            const char *address, GError **err)
{
    UserTarget *t = g_new0(UserTarget, 1);

    t->fd = -1;
    t->lib = lib;
    t->loop = event_loop_current();
    t->retry = timer_new(t->loop, CLOCK_REALTIME_NS, target_retry, t);
    t->address = g_strdup(address);
    t->slirp = slirp;
    t->guest_addr = fwd->addr;
    t->guest_port = fwd->port;
    t->pending = g_byte_array_new();
    if (!parse_address(t, address, err) || !target_start(t, err)) {
        user_target_free(t);
        return NULL;
    }
    if (lib->slirp_add_guestfwd(slirp, target_write, t, &t->guest_addr, t->guest_port) < 0) {
        error_set(err, "Conflicting/invalid host:port in guest forwarding rule");
        user_target_free(t);
        return NULL;
    }
    return t;
}

void user_target_free(UserTarget *t)
{
    host_connect_cancel(t->attempt);
    target_disconnect(t);
    timer_free(t->retry);
    g_byte_array_unref(t->pending);
    g_free(t->address);
    g_free(t->host);
    g_free(t->port);
    g_free(t->path);
    g_free(t);
}
