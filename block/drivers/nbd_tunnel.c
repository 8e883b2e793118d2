/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd_tunnel.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "../export/nbd_client.h"
#include "base/error.h"
#include "base/util.h"

enum { TUNNEL_BYTES = 64 * 1024 };

typedef struct {
    NbdTunnelOptions o;
    NbdStream *near, *far; /* to libnbd; to the server (NULL: not connected) */
    NbdConnecting connecting;
    unsigned running; /* coroutines */
    bool ending;
} Tunnel;

/* Both ends go, and with them what waits. */
static void tunnel_end(Tunnel *t)
{
    t->ending = true;
    nbd_client_connect_cancel(&t->connecting);
    nbd_stream_shutdown(t->near);
    if (t->far) {
        nbd_stream_shutdown(t->far);
    }
}

static void tunnel_left(Tunnel *t)
{
    tunnel_end(t);
    if (--t->running) {
        return;
    }
    nbd_stream_detach(t->near);
    nbd_stream_free(t->near);
    if (t->far) {
        nbd_stream_detach(t->far);
        nbd_stream_free(t->far);
    }
    t->o.ended(t->o.data);
    g_free(t);
}

static void coroutine_fn tunnel_carry(NbdStream *from, NbdStream *to)
{
    g_autofree uint8_t *buf = g_malloc(TUNNEL_BYTES);
    ssize_t n;

    while ((n = nbd_stream_read(from, buf, 1, TUNNEL_BYTES)) > 0) {
        struct iovec iov = {.iov_base = buf, .iov_len = n};

        if (nbd_stream_write(to, &iov, 1) < 0) {
            break;
        }
    }
}

/* What libnbd says. Before the server has shaken hands that is its end, and nothing else. */
static void coroutine_fn tunnel_near(void *data)
{
    Tunnel *t = data;
    uint8_t flags[4];

    /* The tunnel has answered the server's greeting itself, in the same words. */
    if (nbd_stream_read(t->near, flags, sizeof flags, sizeof flags) == sizeof flags && !t->ending) {
        tunnel_carry(t->near, t->far);
    }
    tunnel_left(t);
}

static bool coroutine_fn tunnel_connect(Tunnel *t, NbdHello *hello, GError **err)
{
    int fd = nbd_client_connect(&t->connecting, t->o.path, t->o.host, t->o.port, err);

    if (fd < 0) {
        return false;
    }
    t->far = nbd_stream_new(fd);
    nbd_stream_attach(t->far);
    if (t->ending) {
        return error_set(err, "the connection was given up");
    }
    return nbd_client_hello(t->far, hello, err) &&
           nbd_client_start_tls(t->far, hello, t->o.creds, t->o.hostname, err);
}

static void coroutine_fn tunnel_far(void *data)
{
    Tunnel *t = data;
    g_autoptr(GError) err = NULL;
    NbdHello hello;

    if (!tunnel_connect(t, &hello, &err)) {
        if (!t->ending) { /* else nobody is there who would want to know */
            t->o.failed(t->o.data, err->message);
        }
    } else if (nbd_client_put(t->near, hello.greeting, sizeof hello.greeting, NULL)) {
        tunnel_carry(t->far, t->near);
    }
    tunnel_left(t);
}

int nbd_tunnel_open(const NbdTunnelOptions *o, GError **err)
{
    Tunnel *t;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
        error_set_errno(err, errno, "Could not make a pair of sockets");
        return -1;
    }
    t = g_new0(Tunnel, 1);
    t->o = *o;
    t->near = nbd_stream_new(fds[1]);
    nbd_stream_attach(t->near);
    t->running = 2;
    coroutine_start(tunnel_near, t);
    coroutine_start(tunnel_far, t);
    return fds[0];
}
