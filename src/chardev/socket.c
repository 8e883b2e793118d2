/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UNIX and TCP sockets, as a server (one client at a time; the next waits in the backlog) or as a
 * client (which may reconnect), with telnet, and with descriptors that are passed by SCM_RIGHTS.
 */
#include "internal.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/connect.h"
#include "base/coroutine.h"
#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/socket_address.h"
#include "base/util.h"

#define MSGFDS_MAX      16
#define ACCEPT_RETRY_NS NS_PER_SEC

typedef struct {
    Chardev chr;
    CharIo io;
    char *path, *host, *port;
    bool is_server, telnet, tn3270, nodelay, given_fd;
    unsigned reconnect; /* seconds; 0: never */
    int listen_fd, fd;
    FdHandler *listener;
    Timer *retry;        /* a client: to connect again; a server: to accept again */
    bool accept_refused; /* a warning was given, and no client was accepted since */
    Telnet state;
    HostSocketPath bound; /* a server's */
    int msgfds[MSGFDS_MAX];
    int n_msgfds;
    HostConnect *connect; /* a connection that is being made; or NULL */
    bool opening;         /* open() waits, in a monitor's command */
    GError *open_error;   /* why open() has no connection */
} CharSocket;

typedef struct {
    char *path, *host, *port, *fd, *tls_creds, *tls_authz;
    uint16_t to;
    bool abstract, tight, ipv4, ipv6, has_ipv4, has_ipv6, nodelay, server, wait, has_wait, telnet,
        tn3270, websocket;
    uint32_t reconnect;
} SocketOptions;

#define PROP_HAS(n, t, f, has, d, h)                                                               \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(SocketOptions, f), .defval = (d),             \
        .help = (h), .flags = PROP_FLAG_HAS, .set_offset = offsetof(SocketOptions, has)            \
    }

static const Property socket_props[] = {
    PROP("path", PROP_STRING, SocketOptions, path, NULL, "UNIX socket"),
    PROP("abstract", PROP_BOOL, SocketOptions, abstract, "off",
         "path is in the abstract namespace"),
    PROP("tight", PROP_BOOL, SocketOptions, tight, "on", "abstract names end at their last byte"),
    PROP("host", PROP_STRING, SocketOptions, host, NULL, "TCP host (server: address to listen on)"),
    PROP("port", PROP_STRING, SocketOptions, port, NULL, "TCP port; 0: any free one"),
    PROP("to", PROP_UINT16, SocketOptions, to, "0", "last of the ports to try (server)"),
    PROP_HAS("ipv4", PROP_BOOL, ipv4, has_ipv4, "off", "IPv4"),
    PROP_HAS("ipv6", PROP_BOOL, ipv6, has_ipv6, "off", "IPv6"),
    PROP("fd", PROP_STRING, SocketOptions, fd, NULL, "open socket that was inherited"),
    PROP("nodelay", PROP_BOOL, SocketOptions, nodelay, "off", "send small packets at once"),
    PROP("server", PROP_BOOL, SocketOptions, server, "off", "listen rather than connect"),
    PROP_HAS("wait", PROP_BOOL, wait, has_wait, "on", "start-up waits for a client (server)"),
    PROP("telnet", PROP_BOOL, SocketOptions, telnet, "off", "telnet protocol"),
    PROP("tn3270", PROP_BOOL, SocketOptions, tn3270, "off", "telnet protocol of 3270 terminals"),
    PROP("websocket", PROP_BOOL, SocketOptions, websocket, "off", "not supported"),
    PROP("reconnect", PROP_UINT32, SocketOptions, reconnect, "0",
         "seconds after which a lost connection is made again (client)"),
    PROP("tls-creds", PROP_STRING, SocketOptions, tls_creds, NULL, "not supported"),
    PROP("tls-authz", PROP_STRING, SocketOptions, tls_authz, NULL, "not supported"),
    PROP_END,
};

/* Names. */

static const char *char_socket_protocol(const CharSocket *s)
{
    return s->tn3270 ? "tn3270" : s->telnet ? "telnet" : "tcp";
}

static const char *server_suffix(const CharSocket *s)
{
    return s->is_server ? ",server=on" : "";
}

/* "HOST:PORT", or "[HOST]:PORT" where the host has colons. */
static char *address_text(const struct sockaddr_storage *ss, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo((const struct sockaddr *)ss, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup("?");
    }
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static char *local_address(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;

    return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 ? address_text(&ss, len)
                                                              : g_strdup("?");
}

static int address_family(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;

    return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 ? ss.ss_family : AF_UNSPEC;
}

static void name_disconnected(CharSocket *s)
{
    if (s->path) {
        chardev_set_filename(&s->chr, "disconnected:unix:%s%s", s->path, server_suffix(s));
    } else if (s->given_fd) {
        if (s->listen_fd >= 0 && address_family(s->listen_fd) == AF_UNIX) {
            struct sockaddr_un sun = {0};
            socklen_t len = sizeof sun - 1;

            getsockname(s->listen_fd, (struct sockaddr *)&sun, &len);
            chardev_set_filename(&s->chr, "disconnected:unix:%s%s", sun.sun_path, server_suffix(s));
        } else {
            chardev_set_filename(&s->chr, "disconnected:fd:%d%s", s->listen_fd, server_suffix(s));
        }
    } else if (s->listen_fd >= 0) {
        g_autofree char *addr = local_address(s->listen_fd);

        chardev_set_filename(&s->chr, "disconnected:%s:%s%s", char_socket_protocol(s), addr,
                             server_suffix(s));
    } else {
        chardev_set_filename(&s->chr, "disconnected:%s:%s:%s%s", char_socket_protocol(s), s->host,
                             s->port, server_suffix(s));
    }
}

static void name_connected(CharSocket *s)
{
    if (address_family(s->fd) == AF_UNIX) {
        struct sockaddr_un sun = {0};
        socklen_t len = sizeof sun - 1;

        getsockname(s->fd, (struct sockaddr *)&sun, &len);
        chardev_set_filename(&s->chr, "unix:%s%s", s->path ? s->path : sun.sun_path,
                             server_suffix(s));
    } else {
        struct sockaddr_storage ss;
        socklen_t len = sizeof ss;
        g_autofree char *local = local_address(s->fd), *peer = NULL;

        peer = getpeername(s->fd, (struct sockaddr *)&ss, &len) == 0 ? address_text(&ss, len)
                                                                     : g_strdup("?");
        chardev_set_filename(&s->chr, "%s:%s%s <-> %s", char_socket_protocol(s), local,
                             server_suffix(s), peer);
    }
}

/* Bytes. */

static void drop_msgfds(CharSocket *s)
{
    while (s->n_msgfds) {
        close(s->msgfds[--s->n_msgfds]);
    }
}

static void take_msgfds(CharSocket *s, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            /* Descriptors of an earlier message that were not fetched are closed. */
            drop_msgfds(s);
            s->n_msgfds = MIN(n, MSGFDS_MAX);
            memcpy(s->msgfds, CMSG_DATA(c), s->n_msgfds * sizeof(int));
        }
    }
}

static ssize_t socket_recv(CharIo *io, uint8_t *buf, size_t len)
{
    CharSocket *s = container_of(io, CharSocket, io);
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MSGFDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buf, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    ssize_t n = recvmsg(io->in_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (n > 0) {
        take_msgfds(s, &msg);
    }
    if (n > 0 && (s->telnet || s->tn3270)) {
        bool brk = false;

        n = telnet_filter(&s->state, buf, n, &brk);
        if (brk) {
            chardev_event(&s->chr, CHAR_EVENT_BREAK);
        }
        if (n == 0) {
            errno = EAGAIN;
            return -1;
        }
    }
    return n;
}

static ssize_t socket_send_plain(CharIo *io, const uint8_t *buf, size_t len)
{
    return send(io->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Telnet sends byte 0xff as two (RFC 854); a short send() may take the first one only. */
static ssize_t socket_send(CharIo *io, const uint8_t *buf, size_t len)
{
    CharSocket *s = container_of(io, CharSocket, io);
    static const uint8_t iac2[2] = {0xff, 0xff};
    const uint8_t *iac;
    ssize_t n;

    if (!s->telnet && !s->tn3270) {
        return socket_send_plain(io, buf, len);
    }
    if (s->state.owe_iac) {
        if (socket_send_plain(io, iac2, 1) != 1) {
            return -1;
        }
        s->state.owe_iac = false;
    }
    iac = memchr(buf, 0xff, len);
    if (iac != buf) {
        return socket_send_plain(io, buf, iac ? (size_t)(iac - buf) : len);
    }
    n = socket_send_plain(io, iac2, 2);
    if (n <= 0) {
        return n;
    }
    s->state.owe_iac = n == 1;
    return 1;
}

/* Connections. */

static void socket_lost(CharIo *io);
static void socket_retry_later(CharSocket *s);

static void socket_connected(CharSocket *s, int fd)
{
    int one = 1;

    s->fd = fd;
    fd_set_nonblock(fd, true);
    if (s->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (s->listener) {
        fd_handler_set(s->listener, false, false);
    }
    s->state = (Telnet){0};
    s->io = (CharIo){
        .read = socket_recv, .write = socket_send, .closed = socket_lost, .watch_hang_up = true};
    if (s->is_server && (s->telnet || s->tn3270)) {
        size_t len;
        const uint8_t *greeting = telnet_greeting(s->tn3270, &len);

        /* A new connection has room for these bytes; a broken one is noticed by the next read. */
        if (send(fd, greeting, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            log_item(LOG_UNIMP, "chardev '%s': no telnet greeting", s->chr.label);
        }
    }
    name_connected(s);
    char_io_start(&s->io, &s->chr, fd, fd);
    chardev_event(&s->chr, CHAR_EVENT_OPENED);
    opening_wake(&s->chr);
}

static void socket_lost(CharIo *io)
{
    CharSocket *s = container_of(io, CharSocket, io);

    char_io_stop(io);
    io->chr = NULL;
    fd_close(&s->fd);
    drop_msgfds(s);
    name_disconnected(s);
    chardev_event(&s->chr, CHAR_EVENT_CLOSED);
    chardev_writable(&s->chr);
    if (s->listener) {
        fd_handler_set(s->listener, true, false);
    }
    socket_retry_later(s);
}

static void socket_accept_again(void *data)
{
    fd_handler_set(((CharSocket *)data)->listener, true, false);
}

/*
 * The host is out of descriptors or memory. The client stays in the backlog, so the listener stays
 * readable: the loop would spin, so the listener is muted for a second.
 */
static void socket_accept_later(CharSocket *s, int errnum)
{
    if (!s->accept_refused) {
        s->accept_refused = true;
        log_warn("chardev '%s': cannot accept a client: %s; it waits, and this is tried again "
                 "every second%s",
                 s->chr.label, g_strerror(errnum),
                 errnum == EMFILE ? " (ulimit -n is the limit)" : "");
    }
    if (!s->retry) {
        s->retry = timer_new(s->chr.loop, CLOCK_REALTIME_NS, socket_accept_again, s);
    }
    fd_handler_set(s->listener, false, false);
    timer_arm(s->retry, clock_ns(CLOCK_REALTIME_NS) + ACCEPT_RETRY_NS);
}

/* 0 where a client was accepted or has gone already; else the errno of accept4(). */
static int socket_let_in(CharSocket *s)
{
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0 : errno;
    }
    s->accept_refused = false;
    socket_connected(s, fd);
    return 0;
}

static void socket_accept(void *data)
{
    CharSocket *s = data;
    int errnum = socket_let_in(s);

    if (errnum) {
        socket_accept_later(s, errnum);
    }
}

static void socket_connect_done(void *data, int fd, const GError *err)
{
    CharSocket *s = data;

    s->connect = NULL;
    if (fd >= 0) {
        socket_connected(s, fd);
    } else if (s->opening) {
        s->open_error = g_error_copy(err);
        opening_wake(&s->chr);
    } else {
        socket_retry_later(s);
    }
}

static void socket_retry(void *data)
{
    CharSocket *s = data;

    if (s->path) {
        int fd = host_unix_connect(s->path, NULL); /* does not wait */

        if (fd >= 0) {
            socket_connected(s, fd);
        } else {
            socket_retry_later(s);
        }
        return;
    }
    s->connect = host_connect_start(s->host, s->port, socket_connect_done, s);
}

static void socket_retry_later(CharSocket *s)
{
    if (!s->reconnect) {
        return;
    }
    if (!s->retry) {
        s->retry = timer_new(s->chr.loop, CLOCK_REALTIME_NS, socket_retry, s);
    }
    timer_arm(s->retry, clock_ns(CLOCK_REALTIME_NS) + s->reconnect * NS_PER_SEC);
}

/* Waits without a limit; unblocks the signals that end the program meanwhile. */
static bool wait_for(int fd, short events, const char *what, GError **err)
{
    struct pollfd p = {.fd = fd, .events = events};
    sigset_t mask;
    int n;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigdelset(&mask, SIGINT);
    sigdelset(&mask, SIGTERM);
    sigdelset(&mask, SIGHUP);
    do {
        n = ppoll(&p, 1, NULL, &mask);
    } while (n < 0 && errno == EINTR);
    return n > 0 || error_set_errno(err, errno, "waiting for %s", what);
}

/* Before the loop runs: waits for one of the addresses to answer. */
static int connect_now(const char *host, const char *port, GError **err)
{
    HostAddresses *addresses = host_tcp_resolve(host, port, err);
    int fd = -1, errnum = 0;

    while (addresses && (fd = host_tcp_connect_next(addresses, errnum, err)) >= 0) {
        if (!wait_for(fd, POLLOUT, host, err)) {
            fd_close(&fd);
            break;
        }
        errnum = host_tcp_connect_result(fd);
        if (!errnum) {
            break;
        }
        fd_close(&fd);
    }
    host_addresses_free(addresses);
    return fd;
}

static bool socket_connect_is_over(Chardev *chr)
{
    return !container_of(chr, CharSocket, chr)->connect;
}

/* In a monitor's command: the loop goes on, and the command waits. */
static bool coroutine_fn connect_in_command(CharSocket *s, GError **err)
{
    bool ok;

    s->opening = true;
    s->connect = host_connect_start(s->host, s->port, socket_connect_done, s);
    ok = opening_wait(&s->chr, socket_connect_is_over, err);
    s->opening = false;
    if (ok && s->open_error) {
        g_propagate_error(err, g_steal_pointer(&s->open_error));
        ok = false;
    }
    g_clear_error(&s->open_error);
    return ok;
}

static bool socket_has_client(Chardev *chr)
{
    return container_of(chr, CharSocket, chr)->fd >= 0;
}

/* Opening. */

static bool socket_check_options(const SocketOptions *o, GError **err)
{
    unsigned kinds = !!o->path + !!o->fd + !!o->host;

    if (o->tls_creds || o->tls_authz) {
        return error_set(err, "'tls-creds' is not supported: this program does no TLS on character "
                              "devices; put a TLS proxy in front of a UNIX socket");
    }
    if (o->websocket) {
        return error_set(err, "'websocket=on' is not supported");
    }
    if (kinds > 1) {
        return error_set(err, "None or one of 'path', 'fd' or 'host' option required.");
    }
    if (!o->path && !o->fd && !o->port) {
        return kinds ? error_set(err, "chardev: socket: no port given")
                     : error_set(err, "chardev: socket: one of 'path', 'fd', or 'host' and 'port' "
                                      "is needed");
    }
    if (o->abstract && !o->path) {
        return error_set(err, "'abstract' option is for UNIX sockets ('path')");
    }
    if (o->telnet && o->tn3270) {
        return error_set(err, "'telnet' and 'tn3270' exclude each other");
    }
    if (o->server && o->reconnect) {
        return error_set(err,
                         "'reconnect' option is incompatible with socket in server listen mode");
    }
    if (!o->server && o->has_wait) {
        return error_set(err, "'wait' option is incompatible with socket in client connect mode");
    }
    if (o->fd && o->reconnect) {
        return error_set(err, "'reconnect' option is incompatible with 'fd'");
    }
    return true;
}

/* Where 'path', or 'host' and 'port' are; the strings are those of the options. */
static SocketAddress char_socket_address(const SocketOptions *o)
{
    return (SocketAddress){
        .type = o->path ? SOCKET_ADDRESS_UNIX : SOCKET_ADDRESS_INET,
        .path = o->path,
        .abstract = o->abstract,
        .tight = o->tight,
        .host = o->host ? o->host : (char *)"",
        .port = o->port,
        .to = o->to,
        .ipv4 = o->ipv4,
        .ipv6 = o->ipv6,
        .has_ipv4 = o->has_ipv4,
        .has_ipv6 = o->has_ipv6,
    };
}

typedef struct {
    OpeningJob job;
    SocketAddress addr;
} ListenJob;

static int listen_job_run(OpeningJob *job, GError **err)
{
    return socket_address_listen(&container_of(job, ListenJob, job)->addr, err);
}

static void listen_job_free(OpeningJob *job)
{
    ListenJob *l = container_of(job, ListenJob, job);

    g_free(l->addr.host);
    g_free(l->addr.port);
    g_free(l);
}

static int tcp_listen(CharSocket *s, const SocketAddress *a, GError **err)
{
    ListenJob *l = g_new0(ListenJob, 1);

    l->job.run = listen_job_run;
    l->job.free = listen_job_free;
    l->addr = *a;
    l->addr.host = g_strdup(a->host);
    l->addr.port = g_strdup(a->port);
    return opening_work(&s->chr, &l->job, err);
}

/* The inherited socket of fd=; -1 and *err. */
static int given_socket(const SocketOptions *o, GError **err)
{
    uint64_t fd;
    struct stat st;
    int listening = 0;
    socklen_t len = sizeof listening;

    if (!parse_uint(o->fd, INT32_MAX, &fd)) {
        error_set(err, "Unable to parse FD number %s", o->fd);
        return -1;
    }
    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        error_set(err, "File descriptor '%s' is not a socket", o->fd);
        return -1;
    }
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
    if (!!listening != o->server) {
        error_set(err, "File descriptor '%s' is %sa listening socket, but 'server=%s' was given",
                  o->fd, listening ? "" : "not ", o->server ? "on" : "off");
        return -1;
    }
    if (!host_take_fd(fd, err)) {
        return -1;
    }
    fd_set_nonblock(fd, true);
    return fd;
}

static bool start_server(CharSocket *s, const SocketOptions *o, GError **err)
{
    const SocketAddress a = char_socket_address(o);

    s->listen_fd = o->fd     ? given_socket(o, err)
                   : o->path ? socket_address_listen(&a, err)
                             : tcp_listen(s, &a, err);
    if (s->listen_fd < 0) {
        return false;
    }
    if (!o->abstract) {
        host_socket_path_set(&s->bound, o->path);
    }
    s->listener = event_loop_add_fd(s->chr.loop, s->listen_fd, socket_accept, NULL, s);
    name_disconnected(s);
    if (o->has_wait && !o->wait) {
        return true;
    }
    if (in_coroutine()) {
        return opening_wait(&s->chr, socket_has_client, err);
    }
    log_info("QEMU waiting for connection on: %s", s->chr.filename);
    while (s->fd < 0) {
        bool ok;
        int errnum;

        terminal_restore(); /* Ctrl-C ends the wait */
        ok = wait_for(s->listen_fd, POLLIN, s->chr.filename, err);
        terminal_resume();
        if (!ok) {
            return false;
        }
        errnum = socket_let_in(s);
        if (errnum) {
            return error_set_errno(err, errnum, "cannot accept a client on %s", s->chr.filename);
        }
    }
    return true;
}

static bool start_client(CharSocket *s, const SocketOptions *o, GError **err)
{
    const SocketAddress a = char_socket_address(o);
    int fd;

    if (o->fd) {
        fd = given_socket(o, err);
        if (fd < 0) {
            return false;
        }
        socket_connected(s, fd);
        return true;
    }
    name_disconnected(s);
    if (s->reconnect) {
        /* With reconnect=, the server need not be there at start. */
        s->retry = timer_new(s->chr.loop, CLOCK_REALTIME_NS, socket_retry, s);
        socket_retry(s);
        return true;
    }
    if (!o->path && in_coroutine()) {
        return connect_in_command(s, err);
    }
    fd = o->path ? socket_address_connect_unix(&a, err) : connect_now(s->host, o->port, err);
    if (fd >= 0) {
        socket_connected(s, fd);
    }
    return fd >= 0;
}

static void socket_close(Chardev *chr)
{
    CharSocket *s = container_of(chr, CharSocket, chr);

    host_connect_cancel(s->connect);
    char_io_stop(&s->io);
    fd_handler_remove(s->listener);
    timer_free(s->retry);
    drop_msgfds(s);
    fd_close(&s->fd);
    fd_close(&s->listen_fd);
    host_socket_path_remove(&s->bound);
    g_free(s->path);
    g_free(s->host);
    g_free(s->port);
}

static bool socket_open(Chardev *chr, void *options, GError **err)
{
    CharSocket *s = container_of(chr, CharSocket, chr);
    SocketOptions *o = options;

    s->fd = s->listen_fd = -1;
    if (!socket_check_options(o, err)) {
        return false;
    }
    if (o->abstract && o->reconnect) {
        return error_set(err, "'reconnect' is not supported with 'abstract=on'");
    }
    s->path = g_strdup(o->path);
    s->host = o->path || o->fd ? NULL : g_strdup(o->host && *o->host ? o->host : "localhost");
    s->port = g_strdup(o->port);
    s->given_fd = o->fd != NULL;
    s->is_server = o->server;
    s->telnet = o->telnet;
    s->tn3270 = o->tn3270;
    s->nodelay = o->nodelay && !o->path;
    s->reconnect = o->reconnect;
    if (o->server ? start_server(s, o, err) : start_client(s, o, err)) {
        return true;
    }
    socket_close(chr);
    return false;
}

static ssize_t socket_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharSocket *s = container_of(chr, CharSocket, chr);

    return s->fd >= 0 ? char_io_write(&s->io, buf, len) : (ssize_t)len;
}

static void socket_accept_input(Chardev *chr)
{
    char_io_accept_input(&container_of(chr, CharSocket, chr)->io);
}

static int socket_get_msgfds(Chardev *chr, int *fds, int max)
{
    CharSocket *s = container_of(chr, CharSocket, chr);
    int n = MIN(s->n_msgfds, max);

    memcpy(fds, s->msgfds, n * sizeof(int));
    memmove(s->msgfds, s->msgfds + n, (s->n_msgfds - n) * sizeof(int));
    s->n_msgfds -= n;
    drop_msgfds(s);
    return n;
}

const ChardevClass chardev_socket = {
    .name = "socket",
    .help = "a UNIX or TCP socket, as client or as server",
    .size = sizeof(CharSocket),
    .options_size = sizeof(SocketOptions),
    .props = socket_props,
    .open = socket_open,
    .close = socket_close,
    .write = socket_write,
    .accept_input = socket_accept_input,
    .get_msgfds = socket_get_msgfds,
};
