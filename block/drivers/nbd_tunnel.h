/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS below libnbd, for what libnbd's own cannot do: a certificate for another name than that of
 * the host that is connected to, a certificate's name behind a UNIX socket, anonymous TLS. libnbd
 * speaks in clear to one end of a pair of sockets; two coroutines carry what it says to the server,
 * and what the server says to it. Private to block/drivers/.
 */
#ifndef BLOCK_NBD_TUNNEL_H
#define BLOCK_NBD_TUNNEL_H

#include "base/tls.h"

typedef struct {
    const char *path; /* UNIX socket; NULL: TCP */
    const char *host, *port;
    const TlsCreds *creds;
    const char *hostname; /* whom the server's certificate has to name; NULL: nobody */
    /* The server is out of reach, or not who it has to be: before libnbd sees the end. */
    void (*failed)(void *data, const char *why);
    void (*ended)(void *data); /* nothing of this is used any more */
    void *data;
} NbdTunnelOptions;

/*
 * A descriptor for libnbd, which hears nothing until the server has shaken hands; -1 and *err. The
 * tunnel ends, on this loop, when either end does, whatever it waits for.
 */
int nbd_tunnel_open(const NbdTunnelOptions *o, GError **err);

#endif
