/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/connect.h"
#include <unistd.h>
#include "base/coroutine.h"
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/util.h"

struct HostConnect {
    EventLoop *loop;
    char *host, *port;
    HostConnectFn *done;
    void *data;
    bool resolving; /* on a pool thread, which uses host, port, addresses and err */
    bool cancelled;
    HostAddresses *addresses;
    GError *err;
    int fd;
    FdHandler *watch; /* for fd to become writable */
};

static void host_connect_free(HostConnect *c)
{
    fd_handler_remove(c->watch);
    fd_close(&c->fd);
    host_addresses_free(c->addresses);
    g_clear_error(&c->err);
    g_free(c->host);
    g_free(c->port);
    g_free(c);
}

static void host_connect_end(HostConnect *c, int fd)
{
    HostConnectFn *done = c->done;
    void *data = c->data;
    g_autoptr(GError) err = g_steal_pointer(&c->err);

    host_connect_free(c);
    done(data, fd, err);
}

static void host_connect_writable(void *data);

static void host_connect_next(HostConnect *c, int errnum)
{
    c->fd = host_tcp_connect_next(c->addresses, errnum, &c->err);
    if (c->fd < 0) {
        host_connect_end(c, -1);
        return;
    }
    c->watch = event_loop_add_fd(c->loop, c->fd, NULL, host_connect_writable, c);
    fd_handler_set(c->watch, false, true);
}

static void host_connect_writable(void *data)
{
    HostConnect *c = data;
    int errnum = host_tcp_connect_result(c->fd), fd = c->fd;

    fd_handler_remove(c->watch);
    c->watch = NULL;
    c->fd = -1;
    if (errnum) {
        close(fd);
        host_connect_next(c, errnum);
    } else {
        host_connect_end(c, fd);
    }
}

static int host_connect_resolve(void *data)
{
    HostConnect *c = data;

    if (!c->addresses) {
        c->addresses = host_tcp_resolve(c->host, c->port, &c->err);
    }
    return 0;
}

static void host_connect_resolved(void *data, int result)
{
    HostConnect *c = data;

    c->resolving = false;
    if (c->cancelled) {
        host_connect_free(c);
    } else if (c->addresses) {
        host_connect_next(c, 0);
    } else {
        host_connect_end(c, -1);
    }
}

HostConnect *host_connect_start(const char *host, const char *port, HostConnectFn *done, void *data)
{
    HostConnect *c = g_new0(HostConnect, 1);

    c->loop = event_loop_current();
    c->host = g_strdup(host);
    c->port = g_strdup(port);
    c->done = done;
    c->data = data;
    c->fd = -1;
    c->resolving = true;
    pool_run(host_connect_resolve, c, host_connect_resolved);
    return c;
}

HostConnect *host_connect_addresses(HostAddresses *addresses, HostConnectFn *done, void *data)
{
    HostConnect *c = g_new0(HostConnect, 1);

    c->loop = event_loop_current();
    c->addresses = addresses;
    c->done = done;
    c->data = data;
    c->fd = -1;
    c->resolving = true; /* the pool has nothing to do, and makes this a later turn */
    pool_run(host_connect_resolve, c, host_connect_resolved);
    return c;
}

void host_connect_cancel(HostConnect *c)
{
    if (!c) {
        return;
    }
    if (c->resolving) {
        c->cancelled = true;
    } else {
        host_connect_free(c);
    }
}
