/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host files, sockets and devices: everything that this program opens by name is opened by these
 * functions, so that a broker outside a sandbox can do it one day. All descriptors are
 * close-on-exec. Any thread, unless a function says otherwise.
 */
#ifndef BASE_HOST_H
#define BASE_HOST_H

#include <glib.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/*
 * A descriptor, or -1 and *err, which names the path and the reason. With err NULL, see errno.
 * /dev/fdset/N duplicates the descriptor of set N whose access mode is that of 'flags'.
 */
int host_open(const char *path, int flags, mode_t mode, GError **err);
/*
 * -add-fd and QMP's add-fd: puts 'fd' into a set, which then owns it. 'opaque' is the user's remark
 * or NULL; set -1 makes a new set. Returns the set's number, or -1 and *err.
 */
int64_t host_fdset_add(int64_t set, int fd, const char *opaque, GError **err);
/* Closes one descriptor of the set (fd -1: all of them); false where the set has no such one. */
bool host_fdset_remove(int64_t set, int fd);
/*
 * Calls fn for each descriptor of each set, in the order in which they were added. It neither opens
 * nor changes any.
 */
void host_fdset_foreach(void (*fn)(int64_t set, int fd, const char *opaque, void *data),
                        void *data);
void host_fdset_close_all(void);
/*
 * The content of a file, followed by a NUL that *len does not count; NULL and *err on failure. A
 * file of more than 'max' bytes is refused. 'len' may be NULL. Caller frees.
 */
void *host_read_file(const char *path, size_t max, size_t *len, GError **err);

/*
 * Sockets: a non-blocking one, or -1 and *err. A UNIX path on which nobody listens any more is
 * removed before it is bound again. Host names are resolved by the C library, which blocks.
 */
int host_unix_listen(const char *path, GError **err);
int host_unix_connect(const char *path, GError **err);
/* A datagram socket that is bound to a path, under the same rule. */
int host_unix_dgram(const char *path, GError **err);
int host_tcp_listen(const char *host, const char *port, bool ipv4, bool ipv6, GError **err);
/* All addresses that a name has. Blocks; NULL and *err. */
typedef struct HostAddresses HostAddresses;
HostAddresses *host_tcp_resolve(const char *host, const char *port, GError **err);
/* The first address of a name for UDP. 'passive': to bind, so no host is any address. Blocks. */
bool host_udp_resolve(const char *host, const char *port, int family, bool passive,
                      struct sockaddr_storage *addr, socklen_t *len, GError **err);
void host_addresses_free(HostAddresses *a);
/*
 * Begins to connect to the next of the addresses. The socket may still be connecting: it then
 * becomes writable, and host_tcp_connect_result() says how that ended. 'errnum' is why the one
 * before failed, or 0. -1 and *err: there is none left.
 */
int host_tcp_connect_next(HostAddresses *a, int errnum, GError **err);
int host_tcp_connect_result(int fd); /* 0 or an errno */

/*
 * The path that a socket of this program was bound to. Where it is another's by now, it stays.
 * 'path' may be NULL, and the structure all zeroes: then there is nothing to remove.
 */
typedef struct {
    char *path;
    dev_t dev;
    ino_t ino;
} HostSocketPath;
void host_socket_path_set(HostSocketPath *p, const char *path);
void host_socket_path_remove(HostSocketPath *p);

/* Adds a folder (-L) in which data files (firmware, key maps) are looked for. Main thread. */
void host_add_data_dir(const char *dir);
/* The i-th folder of the search ('-L help'): those added, then the built-in ones. NULL: no more. */
const char *host_data_dir(unsigned i);
/* A path that can be opened (caller frees), or NULL and *err, which lists the folders tried. */
char *host_find_data_file(const char *name, const char *package_hint, GError **err);

bool fd_set_nonblock(int fd, bool on);
/*
 * For an option that names an inherited descriptor: whether it may be used, from now on by the
 * caller. One that is not open, is this program's own, or was named before is refused: such ones
 * are close-on-exec.
 */
bool host_take_fd(int fd, GError **err);
/*
 * From now on a write beyond the limit on a file's size (ulimit -f) fails with EFBIG, rather than
 * end the program by SIGXFSZ. Programs that this one starts keep the default.
 */
void host_survive_file_size_limit(void);

/*
 * Raises the soft limit of open files to the hard one. The soft limit is low for the sake of
 * programs that use select(): host_restore_file_limit() gives it back to a child, between fork()
 * and exec().
 */
void host_raise_file_limit(void);
void host_restore_file_limit(void);

/*
 * Threads that start from now on get a stack of 1 MiB. Where the host gives huge pages to
 * everybody, the first touch of the usual 8 MiB takes 2 MiB, for each CPU of the guest.
 */
void host_limit_thread_stacks(void);

#endif
