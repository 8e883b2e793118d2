/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guestfwd= to a server by TCP or a UNIX socket. Bytes that the guest writes to the forwarded
 * address go to the server over one connection. The server's bytes go to the guest's connection
 * with that address.
 */
#include "user.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"

/* Limit of bytes from the guest that the server has not taken yet: what exceeds it is dropped. */
#define PENDING_MAX (256 * KiB)

struct UserTarget {
    const SlirpLib *lib;
    Slirp *slirp;
    struct in_addr guest_addr;
    int guest_port;
    char *host, *port; /* of a TCP server */
    char *path;        /* of a UNIX socket; else NULL */
    int fd;            /* -1: not connected */
    FdHandler *handler;
    GByteArray *pending;
    bool starved; /* slirp has no room for bytes to the guest */
};

static void target_update(UserTarget *t)
{
    if (t->handler) {
        fd_handler_set(t->handler, !t->starved, t->pending->len > 0);
    }
}

static void target_disconnect(UserTarget *t)
{
    fd_handler_remove(t->handler);
    t->handler = NULL;
    fd_close(&t->fd);
    g_byte_array_set_size(t->pending, 0);
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
        target_disconnect(t);
    }
}

static void target_writable(void *data)
{
    UserTarget *t = data;
    ssize_t n = send(t->fd, t->pending->data, t->pending->len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0) {
        g_byte_array_remove_range(t->pending, 0, n);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        target_disconnect(t);
        return;
    }
    target_update(t);
}

static bool target_connect(UserTarget *t, GError **err)
{
    t->fd = t->path ? host_unix_connect(t->path, err) : host_tcp_connect(t->host, t->port, err);
    if (t->fd < 0) {
        return false;
    }
    t->handler =
        event_loop_add_fd(event_loop_current(), t->fd, target_readable, target_writable, t);
    target_update(t);
    return true;
}

/* Called by slirp with bytes that the guest has written. */
static ssize_t target_write(const void *buf, size_t len, void *opaque)
{
    UserTarget *t = opaque;

    if ((t->fd < 0 && !target_connect(t, NULL)) || t->pending->len + len > PENDING_MAX) {
        return len;
    }
    g_byte_array_append(t->pending, buf, len);
    target_update(t);
    return len;
}

void user_target_poke(UserTarget *t)
{
    if (t->starved && t->lib->slirp_socket_can_recv(t->slirp, t->guest_addr, t->guest_port)) {
        t->starved = false;
        target_update(t);
    }
}

/* Waits for the first connection: a server that refuses it is an error of the option. */
static bool check_connection(UserTarget *t, GError **err)
{
    struct pollfd p = {.fd = t->fd, .events = POLLOUT};
    int errnum = 0;
    socklen_t len = sizeof errnum;

    if (poll(&p, 1, 2000) > 0) {
        getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
    } else {
        errnum = ETIMEDOUT;
    }
    if (!errnum) {
        return true;
    }
    return t->path ? error_set_errno(err, errnum, "Failed to connect to '%s'", t->path)
                   : error_set_errno(err, errnum, "Failed to connect to '%s:%s'", t->host, t->port);
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
    t->slirp = slirp;
    t->guest_addr = fwd->addr;
    t->guest_port = fwd->port;
    t->pending = g_byte_array_new();
    if (!parse_address(t, address, err) || !target_connect(t, err) || !check_connection(t, err)) {
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
    target_disconnect(t);
    g_byte_array_unref(t->pending);
    g_free(t->host);
    g_free(t->port);
    g_free(t->path);
    g_free(t);
}
