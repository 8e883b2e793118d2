/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UDP: each write is a datagram of at most 1400 bytes; datagrams that come are a byte stream. */
#include "internal.h"
#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include "base/error.h"
#include "base/util.h"

typedef struct {
    Chardev chr;
    CharIo io;
    int fd;
} CharUdp;

typedef struct {
    char *host, *port, *localaddr, *localport;
    bool ipv4, ipv6;
} UdpOptions;

static const Property udp_props[] = {
    PROP("host", PROP_STRING, UdpOptions, host, "localhost", "where output is sent"),
    PROP("port", PROP_STRING, UdpOptions, port, NULL, "where output is sent"),
    PROP("localaddr", PROP_STRING, UdpOptions, localaddr, NULL, "where input is received"),
    PROP("localport", PROP_STRING, UdpOptions, localport, NULL, "where input is received"),
    PROP("ipv4", PROP_BOOL, UdpOptions, ipv4, "off", "IPv4 only"),
    PROP("ipv6", PROP_BOOL, UdpOptions, ipv6, "off", "IPv6 only"),
    PROP_END,
};

static struct addrinfo *char_udp_lookup(const char *host, const char *port, int family,
                                        bool passive, GError **err)
{
    struct addrinfo hints = {.ai_family = family,
                             .ai_socktype = SOCK_DGRAM,
                             .ai_flags = passive ? AI_PASSIVE : 0},
                    *list = NULL;
    int r = getaddrinfo(host && *host ? host : NULL, port, &hints, &list);

    if (r) {
        error_set(err, "address resolution failed for %s:%s: %s", host ? host : "", port,
                  gai_strerror(r));
    }
    return list;
}

typedef struct {
    OpeningJob job;
    UdpOptions o;
} UdpJob;

static int udp_job_run(OpeningJob *job, GError **err)
{
    const UdpOptions *o = &container_of(job, UdpJob, job)->o;
    int family = o->ipv4 == o->ipv6 ? AF_UNSPEC : o->ipv4 ? AF_INET : AF_INET6;
    struct addrinfo *remote = char_udp_lookup(o->host, o->port, family, false, err), *local;
    int fd, one = 1;

    if (!remote) {
        return -1;
    }
    local = char_udp_lookup(o->localaddr, o->localport ? o->localport : "0", remote->ai_family,
                            true, err);
    if (!local) {
        freeaddrinfo(remote);
        return -1;
    }
    fd = socket(remote->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, local->ai_addr, local->ai_addrlen) < 0) {
        error_set_errno(err, errno, "Failed to bind socket");
        fd_close(&fd);
    } else if (connect(fd, remote->ai_addr, remote->ai_addrlen) < 0) {
        error_set_errno(err, errno, "Failed to connect to '%s:%s'", o->host, o->port);
        fd_close(&fd);
    }
    freeaddrinfo(local);
    freeaddrinfo(remote);
    return fd;
}

static void udp_job_free(OpeningJob *job)
{
    UdpJob *u = container_of(job, UdpJob, job);

    g_free(u->o.host);
    g_free(u->o.port);
    g_free(u->o.localaddr);
    g_free(u->o.localport);
    g_free(u);
}

static int udp_socket(CharUdp *s, const UdpOptions *o, GError **err)
{
    UdpJob *u = g_new0(UdpJob, 1);

    u->job.run = udp_job_run;
    u->job.free = udp_job_free;
    u->o = *o;
    u->o.host = g_strdup(o->host);
    u->o.port = g_strdup(o->port);
    u->o.localaddr = g_strdup(o->localaddr);
    u->o.localport = g_strdup(o->localport);
    return opening_work(&s->chr, &u->job, err);
}

static ssize_t udp_recv(CharIo *io, uint8_t *buf, size_t len)
{
    ssize_t n = recv(io->in_fd, buf, len, MSG_DONTWAIT);

    /* An empty datagram, or a closed port of the other side, is no end of file. */
    if (n == 0 || (n < 0 && errno == ECONNREFUSED)) {
        errno = EAGAIN;
        return -1;
    }
    return n;
}

static ssize_t udp_send(CharIo *io, const uint8_t *buf, size_t len)
{
    ssize_t n = send(io->out_fd, buf, MIN(len, 1400), MSG_DONTWAIT | MSG_NOSIGNAL);

    return n < 0 && errno != EAGAIN ? (ssize_t)len : n;
}

static bool udp_open(Chardev *chr, void *options, GError **err)
{
    CharUdp *s = container_of(chr, CharUdp, chr);
    UdpOptions *o = options;

    if (!o->port) {
        return error_set(err, "chardev: udp: remote port not specified");
    }
    s->fd = udp_socket(s, o, err);
    if (s->fd < 0) {
        return false;
    }
    s->io = (CharIo){.read = udp_recv, .write = udp_send};
    char_io_start(&s->io, chr, s->fd, s->fd);
    chr->be_open = true;
    return true;
}

static void udp_close(Chardev *chr)
{
    CharUdp *s = container_of(chr, CharUdp, chr);

    char_io_stop(&s->io);
    fd_close(&s->fd);
}

static ssize_t udp_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return char_io_write(&container_of(chr, CharUdp, chr)->io, buf, len);
}

static void udp_accept_input(Chardev *chr)
{
    char_io_accept_input(&container_of(chr, CharUdp, chr)->io);
}

const ChardevClass chardev_udp = {
    .name = "udp",
    .help = "UDP datagrams",
    .size = sizeof(CharUdp),
    .options_size = sizeof(UdpOptions),
    .props = udp_props,
    .open = udp_open,
    .close = udp_close,
    .write = udp_write,
    .accept_input = udp_accept_input,
};
