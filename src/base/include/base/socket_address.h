/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QAPI's SocketAddress: where a socket listens or connects to, as options of the form
 * 'addr.type=inet,addr.host=...' or as JSON.
 */
#ifndef BASE_SOCKET_ADDRESS_H
#define BASE_SOCKET_ADDRESS_H

#include "base/shape.h"

typedef enum { SOCKET_ADDRESS_INET, SOCKET_ADDRESS_UNIX, SOCKET_ADDRESS_FD } SocketAddressType;

typedef struct {
    SocketAddressType type;
    char *host, *port; /* inet */
    uint16_t to;       /* last port to try; 0: only 'port' */
    bool ipv4, ipv6, has_ipv4, has_ipv6, numeric, keep_alive, mptcp;
    char *path; /* unix */
    bool abstract, tight;
    char *str; /* fd: its number */
} SocketAddress;

/* A union with the tag "type"; and the members of two of its variants. */
extern const PropertyShape socket_address_shape, inet_address_shape, unix_address_shape;

/* 'name' is the option's, for errors. socket_address_clear() is to be called in any case. */
bool socket_address_parse(SocketAddress *a, json_t *tree, const char *name, GError **err);
void socket_address_clear(SocketAddress *a);

/*
 * A non-blocking stream socket that listens there, or -1 and *err. A UNIX path that it makes is
 * the caller's to remove. Names are resolved, which blocks. Any thread.
 */
int socket_address_listen(const SocketAddress *a, GError **err);
/* A non-blocking one that is connected to a UNIX path; does not wait. */
int socket_address_connect_unix(const SocketAddress *a, GError **err);
/*
 * The inherited descriptor of a type 'fd', which has to be a socket of the type given (SOCK_STREAM,
 * SOCK_DGRAM; 0: either). It becomes non-blocking and close-on-exec.
 */
int socket_address_take_fd(const char *number, int type, GError **err);

/* The address of a socket's peer, as JSON of socket_address_shape (new reference). */
json_t *socket_address_of_peer(int fd);
/* "tcp:HOST:PORT" or "unix:PATH" of such JSON; caller frees. */
char *socket_address_text(json_t *address);

#endif
