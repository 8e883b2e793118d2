/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one door to host files, sockets and devices: everything that this program opens by name
 * goes through here, so that a broker outside a sandbox can open it one day. Close-on-exec always.
 */
#ifndef BASE_HOST_H
#define BASE_HOST_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* -1 and *err (which names the path and the reason). /dev/fdset/N is duplicated from its set. */
int host_open(const char *path, int flags, mode_t mode, GError **err);
/*
 * -add-fd and QMP's add-fd: gives the set 'fd' (owned from then on), with a remark or NULL. A set
 * of -1 is a new one. The set's number, or -1 and *err. Main thread, as those below.
 */
int64_t host_fdset_add(int64_t set, int fd, const char *opaque, GError **err);
/* Closes this descriptor of the set (-1: all of them); false where there is none. */
bool host_fdset_remove(int64_t set, int fd);
/* In the order in which they came. */
void host_fdset_foreach(void (*fn)(int64_t set, int fd, const char *opaque, void *data),
                        void *data);
void host_fdset_close_all(void);
/*
 * The whole file, with a NUL behind it; NULL and *err. Refuses more than 'max' bytes. len may be
 * NULL. g_free() it.
 */
void *host_read_file(const char *path, size_t max, size_t *len, GError **err);

/* Sockets. 'listen' unlinks a stale UNIX path first; backlog 1. Non-blocking, cloexec. */
int host_unix_listen(const char *path, GError **err);
int host_unix_connect(const char *path, GError **err);
int host_tcp_listen(const char *host, const char *port, bool ipv4, bool ipv6, GError **err);
/* Connects without blocking: the socket may still be connecting (wait for writable). */
int host_tcp_connect(const char *host, const char *port, GError **err);

/* Where data files (firmware, key maps) are looked for: -L, then built-in folders. */
void host_add_data_dir(const char *dir);
/* The i-th of these folders, in the order of search, or NULL behind the last ('-L help'). */
const char *host_data_dir(unsigned i);
/* A full path (caller frees), or NULL and *err which lists the folders tried. */
char *host_find_data_file(const char *name, const char *package_hint, GError **err);

bool fd_set_nonblock(int fd, bool on);
/*
 * A write beyond the limit on a file's size (ulimit -f) fails with EFBIG from now on, as one to a
 * full disk does, and does not end the program. Programs that are started from this one keep the
 * default.
 */
void host_survive_file_size_limit(void);

/*
 * The soft limit of open files, made for programs that use select(), becomes the hard one. Between
 * fork() and exec() a child gets back the limit that this process was started with.
 */
void host_raise_file_limit(void);
void host_restore_file_limit(void);

#endif
