/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/socket_address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/json.h"
#include "base/util.h"

#define FIELD(n, t, f, d, h, ...)                                                                  \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(SocketAddress, f), .defval = (d),             \
        .help = (h), ##__VA_ARGS__                                                                 \
    }
#define FIELD_HAS(f) .flags = PROP_FLAG_HAS, .set_offset = offsetof(SocketAddress, has_##f)

static const Property inet_members[] = {
    FIELD("host", PROP_STRING, host, NULL, "name or number; empty: any (to listen)",
          .flags = PROP_FLAG_REQUIRED),
    FIELD("port", PROP_STRING, port, NULL, "number or service", .flags = PROP_FLAG_REQUIRED),
    FIELD("numeric", PROP_BOOL, numeric, "off", "host and port are numbers"),
    FIELD("to", PROP_UINT16, to, "0", "last of the ports to try (to listen)"),
    FIELD("ipv4", PROP_BOOL, ipv4, "off", "IPv4", FIELD_HAS(ipv4)),
    FIELD("ipv6", PROP_BOOL, ipv6, "off", "IPv6", FIELD_HAS(ipv6)),
    FIELD("keep-alive", PROP_BOOL, keep_alive, "off", "TCP's keep-alive (to connect)"),
    FIELD("mptcp", PROP_BOOL, mptcp, "off", "not supported", .flags = PROP_FLAG_FIXED),
    PROP_END,
};
const PropertyShape inet_address_shape = {.name = "InetSocketAddress", .members = inet_members};

static const Property unix_members[] = {
    FIELD("path", PROP_STRING, path, NULL, "path", .flags = PROP_FLAG_REQUIRED),
    FIELD("abstract", PROP_BOOL, abstract, "off", "path is in the abstract namespace"),
    FIELD("tight", PROP_BOOL, tight, "on", "abstract names end at their last byte"),
    PROP_END,
};
const PropertyShape unix_address_shape = {.name = "UnixSocketAddress", .members = unix_members};

static const Property fd_members[] = {
    FIELD("str", PROP_STRING, str, NULL, "number of an open socket", .flags = PROP_FLAG_REQUIRED),
    PROP_END,
};

static const ShapeVariant variants[] = {[SOCKET_ADDRESS_INET] = {"inet", inet_members},
                                        [SOCKET_ADDRESS_UNIX] = {"unix", unix_members},
                                        [SOCKET_ADDRESS_FD] = {"fd", fd_members},
                                        {NULL}};
/* Open: socket_address_parse() refuses other types, by name. */
const PropertyShape socket_address_shape = {
    .name = "SocketAddress", .tag = "type", .variants = variants, .is_open = true};

bool socket_address_parse(SocketAddress *a, json_t *tree, const char *name, GError **err)
{
    static const char *const own_keys[] = {"type", NULL};
    const char *type = json_str(tree, "type");
    g_autofree char *what = NULL;

    *a = (SocketAddress){0};
    if (!json_is_object(tree)) {
        return error_set(err, "Invalid parameter type for '%s', expected: object", name);
    }
    if (!type) {
        return error_set(err, "Parameter '%s.type' is missing", name);
    }
    for (unsigned i = 0; variants[i].name; i++) {
        if (g_str_equal(variants[i].name, type)) {
            what = g_strdup_printf("'%s'", name);
            a->type = i;
            properties_init(variants[i].members, a);
            return properties_apply(variants[i].members, a, tree, own_keys, what, err);
        }
    }
    return g_str_equal(type, "vsock")
               ? error_set(err, "'%s.type=vsock' is not supported; inet, unix and fd are", name)
               : error_set(err, "Parameter '%s.type' does not accept value '%s'", name, type);
}

void socket_address_clear(SocketAddress *a)
{
    properties_clear(variants[a->type].members, a);
}

/* The address in its form for the kernel; its length, or 0 and *err. */
static socklen_t socket_address_sun(const SocketAddress *a, struct sockaddr_un *sun, GError **err)
{
    size_t n = strlen(a->path);

    *sun = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n > sizeof sun->sun_path - 1) {
        error_set(err, "UNIX socket path '%s' is too long: at most %zu bytes are possible", a->path,
                  sizeof sun->sun_path - 1);
        return 0;
    }
    memcpy(sun->sun_path + a->abstract, a->path, n);
    return a->abstract && a->tight ? offsetof(struct sockaddr_un, sun_path) + 1 + n : sizeof *sun;
}

/* In the abstract namespace: host_unix_listen() and host_unix_connect() are for paths. */
static int socket_address_abstract(const SocketAddress *a, bool listens, GError **err)
{
    struct sockaddr_un sun;
    socklen_t len = socket_address_sun(a, &sun, err);
    int fd, r;

    if (!len) {
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    r = fd < 0    ? -1
        : listens ? bind(fd, (struct sockaddr *)&sun, len)
                  : connect(fd, (struct sockaddr *)&sun, len);
    if (r < 0 || (listens && listen(fd, 1) < 0)) {
        error_set_errno(err, errno, "Failed to %s '@%s'", listens ? "listen on" : "connect to",
                        a->path);
        fd_close(&fd);
    }
    return fd;
}

static int socket_address_listen_inet(const SocketAddress *a, GError **err)
{
    bool v4 = a->has_ipv4 ? a->ipv4 : !(a->has_ipv6 && a->ipv6);
    bool v6 = a->has_ipv6 ? a->ipv6 : !(a->has_ipv4 && a->ipv4);
    uint64_t first, last = a->to;

    if (!a->to) {
        return host_tcp_listen(a->host, a->port, v4, v6, err);
    }
    if (!parse_uint(a->port, 65535, &first)) {
        error_set(err, "'to=%u' needs a 'port' that is a number, not '%s'", a->to, a->port);
        return -1;
    }
    if (last < first) {
        error_set(err, "Failed to create a socket: 'to=%u' is below 'port=%s'", a->to, a->port);
        return -1;
    }
    for (uint64_t port = first; port <= last; port++) {
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, port);
        int fd = host_tcp_listen(a->host, text, v4, v6, port == last ? err : NULL);

        if (fd >= 0) {
            return fd;
        }
    }
    return -1;
}

int socket_address_take_fd(const char *number, int type, GError **err)
{
    uint64_t fd;
    struct stat st;
    int its_type = 0;
    socklen_t len = sizeof its_type;

    if (!parse_uint(number, INT32_MAX, &fd)) {
        error_set(err, "Invalid file descriptor number '%s'", number);
        return -1;
    }
    if (fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "Can't use file descriptor %s", number);
        return -1;
    }
    if (!S_ISSOCK(st.st_mode) || getsockopt(fd, SOL_SOCKET, SO_TYPE, &its_type, &len) < 0 ||
        (its_type != SOCK_STREAM && its_type != SOCK_DGRAM) || (type && type != its_type)) {
        error_set(err, "Can't use file descriptor %s: it is not a %s socket", number,
                  type == SOCK_STREAM  ? "stream"
                  : type == SOCK_DGRAM ? "datagram"
                                       : "stream or datagram");
        return -1;
    }
    if (!host_take_fd(fd, err)) {
        return -1;
    }
    fd_set_nonblock(fd, true);
    return fd;
}

/* An inherited socket that listens already. */
static int socket_address_listen_fd(const SocketAddress *a, GError **err)
{
    int fd = socket_address_take_fd(a->str, SOCK_STREAM, err), listens = 0;
    socklen_t len = sizeof listens;

    if (fd >= 0) {
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len);
    }
    if (fd >= 0 && !listens) {
        error_set(err, "File descriptor '%s' is not a listening socket", a->str);
        fd_close(&fd);
    }
    return fd;
}

int socket_address_listen(const SocketAddress *a, GError **err)
{
    if (a->type == SOCKET_ADDRESS_INET) {
        return socket_address_listen_inet(a, err);
    }
    if (a->type == SOCKET_ADDRESS_FD) {
        return socket_address_listen_fd(a, err);
    }
    return a->abstract ? socket_address_abstract(a, true, err) : host_unix_listen(a->path, err);
}

int socket_address_connect_unix(const SocketAddress *a, GError **err)
{
    return a->abstract ? socket_address_abstract(a, false, err) : host_unix_connect(a->path, err);
}

static json_t *socket_address_of(const struct sockaddr_storage *ss, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (ss->ss_family == AF_UNIX) {
        struct sockaddr_un sun = {0};
        size_t path = offsetof(struct sockaddr_un, sun_path), n;
        bool abstract;
        json_t *text;

        memcpy(&sun, ss, MIN(len, sizeof sun));
        n = len > path ? MIN(len, sizeof sun) - path : 0;
        abstract = n && !sun.sun_path[0];
        text = json_stringn(sun.sun_path + abstract, abstract ? n - 1 : strnlen(sun.sun_path, n));
        /* A name need not be text. */
        return json_pack("{s:s,s:o}", "type", "unix", "path", text ? text : json_string(""));
    }
    if (getnameinfo((const struct sockaddr *)ss, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return json_pack("{s:s,s:s,s:s}", "type", "inet", "host", "", "port", "");
    }
    return json_pack("{s:s,s:s,s:s,s:b}", "type", "inet", "host", host, "port", port,
                     ss->ss_family == AF_INET6 ? "ipv6" : "ipv4", true);
}

json_t *socket_address_of_peer(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof ss;

    return getpeername(fd, (struct sockaddr *)&ss, &len) < 0
               ? json_pack("{s:s,s:s}", "type", "unix", "path", "")
               : socket_address_of(&ss, len);
}

char *socket_address_text(json_t *address)
{
    const char *host = json_str(address, "host");

    if (!host) {
        return g_strdup_printf("unix:%s", json_str(address, "path"));
    }
    return g_strdup_printf(strchr(host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s", host,
                           json_str(address, "port"));
}
