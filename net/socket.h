/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks over sockets, for -netdev stream and dgram, and for -netdev socket, which has both under
 * older names. A packet goes over a stream as frames.h says, and is one datagram otherwise.
 */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "base/connect.h"
#include "base/coroutine.h"
#include "base/json.h"
#include "base/socket_address.h"
#include "internal.h"

/* stream.c. How a peer of this kind is shown. */
typedef struct {
    const char *model; /* "stream", "socket" */
    bool has_events;
    bool keep_alive;
} StreamStyle;
/* Takes 'fd' over. 'path' (may be NULL): the socket's, which is removed at the end. */
void stream_listen(const char *id, const StreamStyle *style, int fd, const char *path);
void stream_connected(const char *id, const StreamStyle *style, int fd);
/* Connects in the background: to 'addresses', which it takes over, or else to 'host' and 'port'. */
void stream_connect(const char *id, const StreamStyle *style, HostAddresses *addresses,
                    const char *host, const char *port);
/* There is nobody to connect to. */
void stream_failed(const char *id, const StreamStyle *style, const GError *why);

/* dgram.c */
typedef struct {
    struct sockaddr_storage addr;
    socklen_t len; /* 0: the socket is connected */
} DgramTo;
/* Takes 'fd' and 'info' over. 'path' (may be NULL): the socket's, removed at the end. */
void dgram_new(const char *id, const char *model, int fd, const DgramTo *to, const char *path,
               char *info);
/* A socket of a multicast group, on the interface with the address 'local' (NULL: any). */
int dgram_join(const DgramTo *group, const char *local, GError **err);
bool dgram_is_multicast(const DgramTo *to);
/* Where an inherited socket sends to: its multicast group, or its peer. */
DgramTo dgram_destination(const char *id, int fd);
/*
 * The UDP address of a name: in a command of the monitor the main loop goes on meanwhile. family:
 * AF_UNSPEC, or the one that is needed. 'passive': to bind, so no host is any address.
 */
bool coroutine_fn dgram_resolve(const char *host, const char *port, int family, bool passive,
                                DgramTo *to, GError **err);
int dgram_bind(const DgramTo *local, GError **err);
char *dgram_text(const DgramTo *to); /* "HOST:PORT"; caller frees */

#endif
