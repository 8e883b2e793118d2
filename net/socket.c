/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -netdev socket, stream and dgram: their options, and which socket each of them makes. */
#include "socket.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"

typedef struct {
    char *fd, *listen, *connect, *mcast, *localaddr, *udp;
} SocketOptions;

static const Property socket_props[] = {
    PROP("fd", PROP_STRING, SocketOptions, fd, NULL, "open socket that was inherited"),
    PROP("listen", PROP_STRING, SocketOptions, listen, NULL,
         "[host]:port: one peer connects to it, by TCP"),
    PROP("connect", PROP_STRING, SocketOptions, connect, NULL, "host:port of a peer that listens"),
    PROP("mcast", PROP_STRING, SocketOptions, mcast, NULL,
         "address:port of a multicast group, which any number of peers are in"),
    PROP("localaddr", PROP_STRING, SocketOptions, localaddr, NULL,
         "with mcast=: address of the interface; with udp=: [host]:port to bind to"),
    PROP("udp", PROP_STRING, SocketOptions, udp, NULL, "host:port of a peer, by UDP"),
    PROP_END,
};

typedef struct {
    json_t *addr;
    bool server;
} StreamOptions;

static const Property stream_props[] = {
    {.name = "addr",
     .type = PROP_TREE,
     .offset = offsetof(StreamOptions, addr),
     .shape = &socket_address_shape,
     .help = "addr.type=inet,addr.host=,addr.port=, or addr.type=unix,addr.path=, or "
             "addr.type=fd,addr.str=",
     .flags = PROP_FLAG_REQUIRED},
    PROP("server", PROP_BOOL, StreamOptions, server, "off", "listen rather than connect"),
    PROP_END,
};

typedef struct {
    json_t *local, *remote;
} DgramOptions;

static const Property dgram_props[] = {
    {.name = "local",
     .type = PROP_TREE,
     .offset = offsetof(DgramOptions, local),
     .shape = &socket_address_shape,
     .help = "local.type=inet,local.host=,local.port=, or local.type=unix,local.path=, or "
             "local.type=fd,local.str="},
    {.name = "remote",
     .type = PROP_TREE,
     .offset = offsetof(DgramOptions, remote),
     .shape = &socket_address_shape,
     .help = "the same for the peer, or a multicast group (inet)"},
    PROP_END,
};

/* To resolve a name may have taken a while, in which a monitor's command can have used the id. */
static bool socket_id_is_free(const char *id, GError **err)
{
    return !net_find(id) || error_set(err, "Duplicate ID '%s' for netdev", id);
}

/* -netdev socket. */

static const StreamStyle socket_style = {.model = "socket"};

/* "host:port"; the host may be empty, or in brackets. */
static bool socket_split(const char *text, char **host, char **port, GError **err)
{
    const char *colon = strrchr(text, ':');
    uint64_t number;

    if (!colon) {
        return error_set(err, "host address '%s' doesn't contain ':' separating host from port",
                         text);
    }
    if (!parse_uint(colon + 1, 65535, &number)) {
        return error_set(err, "port number '%s' is invalid", colon + 1);
    }
    *port = g_strdup(colon + 1);
    *host = *text == '[' && colon > text + 1 && colon[-1] == ']'
                ? g_strndup(text + 1, colon - text - 2)
                : g_strndup(text, colon - text);
    return true;
}

typedef struct {
    const char *host, *port;
    bool listens;
    HostAddresses *addresses;
    int fd;
    GError *err;
} SocketLookup;

static int socket_lookup_on_pool(void *data)
{
    SocketLookup *l = data;

    if (l->listens) {
        /* As in QEMU, any address is any of IPv4. */
        l->fd = host_tcp_listen(l->host, l->port, true, *l->host != 0, &l->err);
    } else {
        l->addresses = host_tcp_resolve(*l->host ? l->host : "127.0.0.1", l->port, &l->err);
    }
    return 0;
}

/* listen= and connect=. In a command of the monitor the loop goes on while a name is resolved. */
static bool coroutine_fn socket_tcp(const char *id, const char *text, bool listens, GError **err)
{
    g_autofree char *host = NULL, *port = NULL;
    SocketLookup l = {.listens = listens, .fd = -1};

    if (!socket_split(text, &host, &port, err)) {
        return false;
    }
    l.host = host;
    l.port = port;
    if (in_coroutine()) {
        co_pool_run(socket_lookup_on_pool, &l);
    } else {
        socket_lookup_on_pool(&l);
    }
    if (l.err) {
        g_propagate_error(err, l.err);
        return false;
    }
    if (!socket_id_is_free(id, err)) {
        fd_close(&l.fd);
        host_addresses_free(l.addresses);
        return false;
    }
    if (listens) {
        stream_listen(id, &socket_style, l.fd, NULL);
    } else {
        stream_connect(id, &socket_style, l.addresses, NULL, NULL);
    }
    return true;
}

static bool coroutine_fn socket_mcast(const char *id, const SocketOptions *o, GError **err)
{
    g_autofree char *host = NULL, *port = NULL, *text = NULL;
    DgramTo group;
    int fd;

    if (!socket_split(o->mcast, &host, &port, err) ||
        !dgram_resolve(host, port, AF_INET, true, &group, err)) {
        return false;
    }
    text = dgram_text(&group);
    if (!dgram_is_multicast(&group)) {
        return error_set(err,
                         "specified mcastaddr %s does not contain a multicast address (224.0.0.0 "
                         "to 239.255.255.255)",
                         text);
    }
    if (!socket_id_is_free(id, err) || (fd = dgram_join(&group, o->localaddr, err)) < 0) {
        return false;
    }
    dgram_new(id, "socket", fd, &group, NULL, g_strdup_printf("socket: mcast=%s", text));
    return true;
}

/* Resolves both ends, and binds to the local one; -1 and *err. */
static int coroutine_fn socket_bind_udp(const char *id, const char *const local[2],
                                        const char *const remote[2], DgramTo *to, char **from,
                                        GError **err)
{
    DgramTo own;
    int family = *remote[0] ? AF_UNSPEC : AF_INET, fd;

    if (!dgram_resolve(remote[0], remote[1], family, false, to, err) ||
        !dgram_resolve(local[0], local[1], to->addr.ss_family, true, &own, err) ||
        !socket_id_is_free(id, err)) {
        return -1;
    }
    fd = dgram_bind(&own, err);
    if (fd >= 0) {
        own.len = sizeof own.addr;
        getsockname(fd, (struct sockaddr *)&own.addr, &own.len); /* the port may have been 0 */
        *from = dgram_text(&own);
    }
    return fd;
}

static bool coroutine_fn socket_udp(const char *id, const SocketOptions *o, GError **err)
{
    g_autofree char *host = NULL, *port = NULL, *own_host = NULL, *own_port = NULL, *from = NULL,
                    *text = NULL;
    DgramTo to;
    int fd;

    if (!o->localaddr) {
        return error_set(err, "localaddr= is mandatory with udp=");
    }
    if (!socket_split(o->localaddr, &own_host, &own_port, err) ||
        !socket_split(o->udp, &host, &port, err)) {
        return false;
    }
    fd = socket_bind_udp(id, (const char *[]){own_host, own_port}, (const char *[]){host, port},
                         &to, &from, err);
    if (fd < 0) {
        return false;
    }
    text = dgram_text(&to);
    dgram_new(id, "socket", fd, &to, NULL, g_strdup_printf("socket: udp=%s", text));
    return true;
}

static const char *socket_family_name(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;

    getsockname(fd, (struct sockaddr *)&ss, &len);
    return ss.ss_family == AF_UNIX ? "unix" : "inet";
}

static bool socket_fd(const char *id, const char *number, GError **err)
{
    int fd = socket_address_take_fd(number, 0, err), type = 0, listens = 0;
    socklen_t len = sizeof type;
    DgramTo to;

    if (fd < 0) {
        g_prefix_error(err, "%s: ", id);
        return false;
    }
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    len = sizeof listens;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
    if (listens) {
        return error_set(err,
                         "%s: socket %d listens: use -netdev stream,server=on,addr.type=fd,"
                         "addr.str=%d",
                         id, fd, fd);
    }
    if (type == SOCK_STREAM) {
        stream_connected(id, &socket_style, fd);
        return true;
    }
    to = dgram_destination(id, fd);
    dgram_new(id, "socket", fd, &to, NULL,
              g_strdup_printf("socket: fd=%d %s", fd, socket_family_name(fd)));
    return true;
}

static bool coroutine_fn socket_create(const char *id, void *options, GError **err)
{
    SocketOptions *o = options;

    if (!!o->fd + !!o->listen + !!o->connect + !!o->mcast + !!o->udp != 1) {
        return error_set(err, "exactly one of listen=, connect=, mcast=, udp= or fd= is required");
    }
    if (o->localaddr && !o->mcast && !o->udp) {
        return error_set(err, "localaddr= is only valid with mcast= or udp=");
    }
    if (o->fd) {
        return socket_fd(id, o->fd, err);
    }
    if (o->mcast) {
        return socket_mcast(id, o, err);
    }
    return o->udp ? socket_udp(id, o, err)
                  : socket_tcp(id, o->listen ? o->listen : o->connect, o->listen, err);
}

const NetBackendClass net_socket = {
    .name = "socket",
    .help = "other virtual machines, over TCP, UDP or multicast",
    .size = sizeof(SocketOptions),
    .props = socket_props,
    .create = socket_create,
};

/* -netdev stream. */

typedef struct {
    const SocketAddress *addr;
    int fd;
    GError *err;
} StreamListen;

static int stream_listen_on_pool(void *data)
{
    StreamListen *l = data;

    l->fd = socket_address_listen(l->addr, &l->err);
    return 0;
}

static bool coroutine_fn stream_create_server(const char *id, const StreamStyle *style,
                                              const SocketAddress *a, GError **err)
{
    StreamListen l = {.addr = a, .fd = -1};

    if (a->type == SOCKET_ADDRESS_INET && in_coroutine()) {
        co_pool_run(stream_listen_on_pool, &l);
    } else {
        stream_listen_on_pool(&l);
    }
    if (l.err) {
        g_propagate_error(err, l.err);
        return false;
    }
    if (!socket_id_is_free(id, err)) {
        fd_close(&l.fd);
        return false;
    }
    stream_listen(id, style, l.fd, a->type == SOCKET_ADDRESS_UNIX && !a->abstract ? a->path : NULL);
    return true;
}

static bool stream_create_client(const char *id, const StreamStyle *style, const SocketAddress *a,
                                 GError **err)
{
    g_autoptr(GError) why = NULL;
    int fd;

    if (a->type == SOCKET_ADDRESS_INET) {
        stream_connect(id, style, NULL, *a->host ? a->host : "127.0.0.1", a->port);
        return true;
    }
    if (a->type == SOCKET_ADDRESS_FD) {
        fd = socket_address_take_fd(a->str, SOCK_STREAM, err);
        if (fd < 0) {
            return false;
        }
        stream_connected(id, style, fd);
        return true;
    }
    fd = socket_address_connect_unix(a, &why);
    if (fd < 0) {
        stream_failed(id, style, why);
    } else {
        stream_connected(id, style, fd);
    }
    return true;
}

static bool coroutine_fn stream_create(const char *id, void *options, GError **err)
{
    StreamOptions *o = options;
    StreamStyle style = {.model = "stream", .has_events = true};
    SocketAddress a;
    bool ok = socket_address_parse(&a, o->addr, "addr", err);

    style.keep_alive = ok && a.keep_alive;
    if (ok && o->server && a.keep_alive) {
        ok = error_set(err, "addr.keep-alive=on is for connections that are made (server=off)");
    } else if (ok && !o->server && (a.to || a.has_ipv4 || a.has_ipv6)) {
        ok =
            error_set(err, "addr.to=, addr.ipv4= and addr.ipv6= are supported with server=on only");
    } else if (ok) {
        ok = o->server ? stream_create_server(id, &style, &a, err)
                       : stream_create_client(id, &style, &a, err);
    }
    socket_address_clear(&a);
    return ok;
}

const NetBackendClass net_stream = {
    .name = "stream",
    .help = "another virtual machine, over a stream socket",
    .size = sizeof(StreamOptions),
    .props = stream_props,
    .create = stream_create,
};

/* -netdev dgram. */

static bool dgram_create_unix(const char *id, const SocketAddress *local,
                              const SocketAddress *remote, GError **err)
{
    struct sockaddr_un *sun;
    DgramTo to = {.len = sizeof *sun};
    int fd;

    if (local->abstract || remote->abstract) {
        return error_set(err, "abstract=on is not supported with dgram; give a path");
    }
    if (strlen(remote->path) >= sizeof sun->sun_path) {
        return error_set(err, "UNIX socket path '%s' is too long", remote->path);
    }
    sun = (struct sockaddr_un *)&to.addr;
    sun->sun_family = AF_UNIX;
    strcpy(sun->sun_path, remote->path);
    fd = host_unix_dgram(local->path, err);
    if (fd < 0) {
        return false;
    }
    dgram_new(id, "dgram", fd, &to, local->path,
              g_strdup_printf("udp=%s:%s", local->path, remote->path));
    return true;
}

static bool coroutine_fn dgram_create_inet(const char *id, const SocketAddress *local,
                                           const SocketAddress *remote, GError **err)
{
    g_autofree char *from = NULL, *text = NULL;
    DgramTo to;
    int fd = socket_bind_udp(id, (const char *[]){local->host, local->port},
                             (const char *[]){remote->host, remote->port}, &to, &from, err);

    if (fd < 0) {
        return false;
    }
    text = dgram_text(&to);
    dgram_new(id, "dgram", fd, &to, NULL, g_strdup_printf("udp=%s/%s", from, text));
    return true;
}

/* An inherited socket, which may be in the group already, or one that is made. */
static bool dgram_create_mcast(const char *id, const SocketAddress *local, const DgramTo *group,
                               GError **err)
{
    g_autofree char *text = dgram_text(group);
    int fd;

    if (local && local->type == SOCKET_ADDRESS_UNIX) {
        return error_set(err, "multicast only supports inet or fd type for local parameter");
    }
    if (local && local->type == SOCKET_ADDRESS_FD) {
        fd = socket_address_take_fd(local->str, SOCK_DGRAM, err);
    } else {
        fd = dgram_join(group, local && *local->host ? local->host : NULL, err);
    }
    if (fd < 0) {
        return false;
    }
    dgram_new(id, "dgram", fd, group, NULL, g_strdup_printf("mcast=%s", text));
    return true;
}

static bool dgram_create_fd(const char *id, const char *number, GError **err)
{
    int fd = socket_address_take_fd(number, SOCK_DGRAM, err);
    DgramTo to;

    if (fd < 0) {
        g_prefix_error(err, "%s: ", id);
        return false;
    }
    to = dgram_destination(id, fd);
    dgram_new(id, "dgram", fd, &to, NULL, g_strdup_printf("fd=%d %s", fd, socket_family_name(fd)));
    return true;
}

/* 'local' and 'remote' may be NULL. */
static bool coroutine_fn dgram_create_of(const char *id, const SocketAddress *local,
                                         const SocketAddress *remote, GError **err)
{
    DgramTo to;

    if (remote && remote->type == SOCKET_ADDRESS_INET) {
        if (!dgram_resolve(remote->host, remote->port, *remote->host ? AF_UNSPEC : AF_INET, false,
                           &to, err) ||
            !socket_id_is_free(id, err)) {
            return false;
        }
        if (dgram_is_multicast(&to)) {
            return dgram_create_mcast(id, local, &to, err);
        }
    }
    if (!local) {
        return error_set(err, "dgram requires local= parameter");
    }
    if (local->type == SOCKET_ADDRESS_FD) {
        return remote ? error_set(err, "don't set remote with local.fd")
                      : dgram_create_fd(id, local->str, err);
    }
    if (!remote) {
        return error_set(err, "type=inet or type=unix requires remote parameter");
    }
    if (remote->type != local->type) {
        return error_set(err, "remote and local types must be the same");
    }
    return local->type == SOCKET_ADDRESS_UNIX ? dgram_create_unix(id, local, remote, err)
                                              : dgram_create_inet(id, local, remote, err);
}

static bool coroutine_fn dgram_create(const char *id, void *options, GError **err)
{
    DgramOptions *o = options;
    SocketAddress local = {0}, remote = {0};
    bool ok = (!o->local || socket_address_parse(&local, o->local, "local", err)) &&
              (!o->remote || socket_address_parse(&remote, o->remote, "remote", err));

    if (ok && (local.to || remote.to || local.keep_alive || remote.keep_alive || local.has_ipv4 ||
               local.has_ipv6 || remote.has_ipv4 || remote.has_ipv6)) {
        ok = error_set(err, "to=, ipv4=, ipv6= and keep-alive=on are not for datagram sockets");
    }
    ok = ok && dgram_create_of(id, o->local ? &local : NULL, o->remote ? &remote : NULL, err);
    socket_address_clear(&local);
    socket_address_clear(&remote);
    return ok;
}

const NetBackendClass net_dgram = {
    .name = "dgram",
    .help = "other virtual machines, over datagram sockets",
    .size = sizeof(DgramOptions),
    .props = dgram_props,
    .create = dgram_create,
};
