/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/host.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/error.h"
#include "base/util.h"

enum { LISTEN_BACKLOG = 1, THREAD_STACK_SIZE = 1 << 20 };

/* Descriptor sets. A pool thread may open what is slow, while a command changes the sets. */

typedef struct {
    int64_t set;
    int fd;
    char *opaque;
} SetFd;

static GMutex fdset_lock; /* of all below, and of who has which descriptor: a leaf */
static GArray *fdset_fds; /* SetFd */

static void set_fd_clear(void *data)
{
    SetFd *entry = data;

    close(entry->fd);
    g_free(entry->opaque);
}

int64_t host_fdset_add(int64_t set, int fd, const char *opaque, GError **err)
{
    SetFd entry = {.set = set, .fd = fd};
    g_autoptr(GMutexLocker) locked = NULL;

    if (fcntl(fd, F_GETFD) < 0) {
        error_set_errno(err, errno, "cannot add file descriptor %d to a set", fd);
        return -1;
    }
    locked = g_mutex_locker_new(&fdset_lock);
    if (!fdset_fds) {
        fdset_fds = g_array_new(false, false, sizeof(SetFd));
        g_array_set_clear_func(fdset_fds, set_fd_clear);
    }
    if (set < 0) {
        entry.set = 0;
        for (guint i = 0; i < fdset_fds->len; i++) {
            entry.set = MAX(entry.set, g_array_index(fdset_fds, SetFd, i).set + 1);
        }
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    entry.opaque = g_strdup(opaque);
    g_array_append_val(fdset_fds, entry);
    return entry.set;
}

bool host_fdset_remove(int64_t set, int fd)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&fdset_lock);
    bool found = false;

    for (guint i = fdset_fds ? fdset_fds->len : 0; i-- > 0;) {
        const SetFd *entry = &g_array_index(fdset_fds, SetFd, i);

        if (entry->set == set && (fd < 0 || entry->fd == fd)) {
            g_array_remove_index(fdset_fds, i);
            found = true;
        }
    }
    return found;
}

void host_fdset_foreach(void (*fn)(int64_t set, int fd, const char *opaque, void *data), void *data)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&fdset_lock);

    for (guint i = 0; fdset_fds && i < fdset_fds->len; i++) {
        const SetFd *entry = &g_array_index(fdset_fds, SetFd, i);

        fn(entry->set, entry->fd, entry->opaque, data);
    }
}

void host_fdset_close_all(void)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&fdset_lock);

    g_clear_pointer(&fdset_fds, g_array_unref);
}

static int fdset_open(const char *path, const char *number, int flags, GError **err)
{
    g_autoptr(GMutexLocker) locked = NULL;
    uint64_t set;
    bool any = false;

    if (!g_ascii_string_to_unsigned(number, 10, 0, INT64_MAX, &set, NULL)) {
        error_set(err, "Could not parse fdset %s", path);
        return -1;
    }
    locked = g_mutex_locker_new(&fdset_lock);
    for (guint i = 0; fdset_fds && i < fdset_fds->len; i++) {
        SetFd entry = g_array_index(fdset_fds, SetFd, i);
        if (entry.set != (int64_t)set) {
            continue;
        }
        any = true;
        int has = fcntl(entry.fd, F_GETFL);
        if (has >= 0 && (has & O_ACCMODE) == (flags & O_ACCMODE)) {
            int fd = fcntl(entry.fd, F_DUPFD_CLOEXEC, 0);
            if (fd < 0) {
                error_set_errno(err, errno, "Could not open '%s'", path);
            }
            return fd;
        }
    }
    error_set_errno(err, any ? EACCES : ENOENT, "Could not open '%s'", path);
    return -1;
}

int host_open(const char *path, int flags, mode_t mode, GError **err)
{
    static const char fdset[] = "/dev/fdset/";

    if (g_str_has_prefix(path, fdset)) {
        return fdset_open(path, path + strlen(fdset), flags, err);
    }
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        error_set_errno(err, errno, "Could not open '%s'", path);
    }
    return fd;
}

void *host_read_file(const char *path, size_t max, size_t *len, GError **err)
{
    auto_fd fd = host_open(path, O_RDONLY, 0, err);
    struct stat st;

    if (fd < 0) {
        return NULL;
    }
    /* st_size is a hint only: pipes and /proc have none. The extra byte shows an overrun. */
    size_t room = 64 * KiB;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        room = MIN((uint64_t)st.st_size, max) + 1;
    }
    g_autofree char *data = g_malloc(room);
    size_t used = 0;
    for (;;) {
        if (used == room) {
            room *= 2;
            data = g_realloc(data, room);
        }
        ssize_t n = read(fd, data + used, room - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            error_set_errno(err, errno, "Could not read '%s'", path);
            return NULL;
        }
        if (n == 0) {
            break;
        }
        used += n;
        if (used > max) {
            error_set_errno(err, EFBIG, "Could not read '%s' (at most %zu bytes make sense)", path,
                            max);
            return NULL;
        }
    }
    data[used] = '\0'; /* the loop leaves used < room */
    if (len) {
        *len = used;
    }
    return g_steal_pointer(&data);
}

/* Sockets. */

static bool unix_address(const char *path, struct sockaddr_un *addr, GError **err)
{
    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr->sun_path) {
        return error_set(err, "UNIX socket path '%s' is too long: at most %zu bytes are possible",
                         path, sizeof addr->sun_path - 1);
    }
    strcpy(addr->sun_path, path);
    return true;
}

static int unix_socket(const char *path, int type, GError **err)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        error_set_errno(err, errno, "Failed to create socket '%s'", path);
    }
    return fd;
}

/* Whether the path is a socket of that type that no process has any more. */
static bool is_stale_socket(const char *path, int type, const struct sockaddr_un *addr)
{
    struct stat st;

    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    auto_fd probe = unix_socket(path, type, NULL);
    return probe >= 0 && connect(probe, (const struct sockaddr *)addr, sizeof *addr) < 0 &&
           errno == ECONNREFUSED;
}

static int unix_bind(const char *path, int type, GError **err)
{
    struct sockaddr_un addr;

    if (!unix_address(path, &addr, err)) {
        return -1;
    }
    auto_fd fd = unix_socket(path, type, err);
    if (fd < 0) {
        return -1;
    }
    int failed = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    if (failed && errno == EADDRINUSE && is_stale_socket(path, type, &addr)) {
        unlink(path);
        failed = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    }
    if (failed || (type == SOCK_STREAM && listen(fd, LISTEN_BACKLOG) < 0)) {
        error_set_errno(err, errno, "Failed to bind socket to %s", path);
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

int host_unix_listen(const char *path, GError **err)
{
    return unix_bind(path, SOCK_STREAM, err);
}

int host_unix_dgram(const char *path, GError **err)
{
    return unix_bind(path, SOCK_DGRAM, err);
}

void host_socket_path_set(HostSocketPath *p, const char *path)
{
    struct stat st;

    *p = (HostSocketPath){0};
    if (path && lstat(path, &st) == 0) {
        *p = (HostSocketPath){g_strdup(path), st.st_dev, st.st_ino};
    }
}

void host_socket_path_remove(HostSocketPath *p)
{
    struct stat st;

    if (p->path && lstat(p->path, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->ino) {
        unlink(p->path);
    }
    g_clear_pointer(&p->path, g_free);
}

int host_unix_connect(const char *path, GError **err)
{
    struct sockaddr_un addr;

    if (!unix_address(path, &addr, err)) {
        return -1;
    }
    auto_fd fd = unix_socket(path, SOCK_STREAM, err);
    if (fd < 0) {
        return -1;
    }
    /* EAGAIN is an error, too: the backlog is full, and a UNIX socket does not connect later. */
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        error_set_errno(err, errno, "Failed to connect to '%s'", path);
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

/* getaddrinfo() takes greater numbers modulo 65536. */
static bool host_port_is_valid(const char *port)
{
    char *end;
    int64_t n = g_ascii_strtoll(port, &end, 10);

    return end == port || *end || (n >= 0 && n <= UINT16_MAX);
}

/* Tries a numeric address first: for a name the C library loads its resolver modules. */
static struct addrinfo *host_resolve(const char *host, const char *port, int family, int type,
                                     int flags, GError **err)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = type};
    struct addrinfo *list;

    if (port && !host_port_is_valid(port)) {
        error_set(err, "address resolution failed for %s:%s: ports are 0 to 65535",
                  host ? host : "", port);
        return NULL;
    }
    hints.ai_flags = flags | AI_NUMERICHOST | AI_NUMERICSERV;
    int r = getaddrinfo(host, port, &hints, &list);
    if (r != 0) {
        hints.ai_flags = flags;
        r = getaddrinfo(host, port, &hints, &list);
    }
    if (r != 0) {
        error_set(err, "address resolution failed for %s:%s: %s", host ? host : "", port,
                  r == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(r));
        return NULL;
    }
    return list;
}

static int tcp_socket(const struct addrinfo *ai)
{
    return socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
}

static int tcp_listen_one(const struct addrinfo *ai, bool ipv6_only)
{
    auto_fd fd = tcp_socket(ai);
    int on = 1;

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6) {
        int only = ipv6_only;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    }
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        int saved = errno;
        fd_close(&fd);
        errno = saved;
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

int host_tcp_listen(const char *host, const char *port, bool ipv4, bool ipv6, GError **err)
{
    int family = ipv4 == ipv6 ? AF_UNSPEC : ipv4 ? AF_INET : AF_INET6;
    bool any_host = !host || !*host;
    struct addrinfo *list =
        host_resolve(any_host ? NULL : host, port, family, SOCK_STREAM, AI_PASSIVE, err);
    int fd = -1, errnum = EADDRNOTAVAIL;

    if (!list) {
        return -1;
    }
    /* Without a host, IPv6's wildcard address is tried first: it serves IPv4 too. */
    for (int pass = 0; pass < 2 && fd < 0; pass++) {
        for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
            bool preferred = !any_host || ai->ai_family == AF_INET6;
            if (preferred != (pass == 0)) {
                continue;
            }
            fd = tcp_listen_one(ai, family == AF_INET6);
            if (fd < 0) {
                errnum = errno;
                if (errnum == EADDRINUSE) {
                    break; /* binding the other family would hide that the port is taken */
                }
            }
        }
        if (fd < 0 && errnum == EADDRINUSE) {
            break;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        error_set_errno(err, errnum, "Failed to listen on %s:%s", any_host ? "" : host, port);
    }
    return fd;
}

bool host_udp_resolve(const char *host, const char *port, int family, bool passive,
                      struct sockaddr_storage *addr, socklen_t *len, GError **err)
{
    struct addrinfo *list = host_resolve(host && *host ? host : NULL, port, family, SOCK_DGRAM,
                                         passive ? AI_PASSIVE : 0, err);

    if (!list) {
        return false;
    }
    *addr = (struct sockaddr_storage){0};
    *len = list->ai_addrlen;
    memcpy(addr, list->ai_addr, *len);
    freeaddrinfo(list);
    return true;
}

struct HostAddresses {
    struct addrinfo *list, *next;
    char *name; /* "HOST:PORT" */
};

HostAddresses *host_tcp_resolve(const char *host, const char *port, GError **err)
{
    struct addrinfo *list =
        host_resolve(host && *host ? host : NULL, port, AF_UNSPEC, SOCK_STREAM, 0, err);
    HostAddresses *a;

    if (!list) {
        return NULL;
    }
    a = g_new(HostAddresses, 1);
    a->list = a->next = list;
    a->name = g_strdup_printf("%s:%s", host ? host : "", port);
    return a;
}

int host_tcp_connect_next(HostAddresses *a, int errnum, GError **err)
{
    while (a->next) {
        struct addrinfo *ai = a->next;
        int fd = tcp_socket(ai);

        a->next = ai->ai_next;
        if (fd >= 0 && (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0 || errno == EINPROGRESS)) {
            return fd;
        }
        errnum = errno;
        fd_close(&fd);
    }
    error_set_errno(err, errnum ? errnum : EADDRNOTAVAIL, "Failed to connect to '%s'", a->name);
    return -1;
}

void host_addresses_free(HostAddresses *a)
{
    if (a) {
        freeaddrinfo(a->list);
        g_free(a->name);
        g_free(a);
    }
}

int host_tcp_connect_result(int fd)
{
    int errnum = 0;
    socklen_t len = sizeof errnum;

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0 ? errno : errnum;
}

bool host_take_fd(int fd, GError **err)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags < 0) {
        return error_set_errno(err, errno, "Can't use file descriptor %d", fd);
    }
    if (flags & FD_CLOEXEC) {
        return error_set(err,
                         "Can't use file descriptor %d: it is in use already, or was not "
                         "inherited",
                         fd);
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

bool fd_set_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0) {
        return false;
    }
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return wanted == flags || fcntl(fd, F_SETFL, wanted) == 0;
}

/* Data files. */

static GPtrArray *data_dirs; /* -L, in order; main thread only */

/* Where Debian's packages put firmware and key maps. */
static const char *const built_in_dirs[] = {
    VMM_DATADIR, "/usr/share/vmm", "/usr/share/seabios", "/usr/share/qemu", "/usr/lib/ipxe/qemu",
};

void host_add_data_dir(const char *dir)
{
    if (!data_dirs) {
        data_dirs = g_ptr_array_new_with_free_func(g_free);
    }
    g_ptr_array_add(data_dirs, g_strdup(dir));
}

const char *host_data_dir(unsigned i)
{
    unsigned own = data_dirs ? data_dirs->len : 0;

    if (i < own) {
        return g_ptr_array_index(data_dirs, i);
    }
    return i - own < ARRAY_SIZE(built_in_dirs) ? built_in_dirs[i - own] : NULL;
}

char *host_find_data_file(const char *name, const char *package_hint, GError **err)
{
    g_autoptr(GString) tried = g_string_new(NULL);
    const char *dir;

    if (access(name, R_OK) == 0) {
        return g_strdup(name);
    }
    for (unsigned i = 0; !strchr(name, '/') && (dir = host_data_dir(i)); i++) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        if (access(path, R_OK) == 0) {
            return g_steal_pointer(&path);
        }
        g_string_append_printf(tried, "%s%s", i ? ", " : "", dir);
    }
    g_string_prepend(tried, tried->len ? "looked in the current folder, " : "no such file");
    if (package_hint) {
        g_string_append_printf(tried, "; Debian's package '%s' has it", package_hint);
    }
    error_set(err, "Could not find '%s' (%s)", name, tried->str);
    return NULL;
}

static rlim_t first_file_limit; /* 0: was not changed */

void host_raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) {
        return;
    }
    first_file_limit = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void host_restore_file_limit(void)
{
    struct rlimit limit;

    if (first_file_limit && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = first_file_limit;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void host_limit_thread_stacks(void)
{
    size_t size;
    pthread_attr_t attr;

    if (pthread_getattr_default_np(&attr)) {
        return;
    }
    if (pthread_attr_getstacksize(&attr, &size) == 0 && size > THREAD_STACK_SIZE &&
        pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE) == 0) {
        pthread_setattr_default_np(&attr);
    }
    pthread_attr_destroy(&attr);
}

static void on_file_size_limit(int sig)
{
    /* The write that raised the signal fails with EFBIG. */
}

void host_survive_file_size_limit(void)
{
    /* Not SIG_IGN: execve() keeps that, and scripts, helpers and smbd would inherit it. */
    struct sigaction sa = {.sa_handler = on_file_size_limit, .sa_flags = SA_RESTART};

    sigaction(SIGXFSZ, &sa, NULL);
}
