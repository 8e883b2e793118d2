/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD server: sockets that listen, and clients. It offers all exports of type 'nbd'. One for
 * the process. Main thread.
 *
 * A client negotiates on the main loop, and then its requests run on its export's loop. It costs at
 * most 32 MiB of memory (or one request, if that is longer), whatever it does; who has not
 * negotiated after NBD_HANDSHAKE_SECONDS is sent away.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include <glib.h>
#include <stdbool.h>
#include "base/coroutine.h"

enum { NBD_HANDSHAKE_SECONDS = 10 };

typedef struct {
    const char *tls_creds; /* the id of an object; NULL: in clear. Then all clients use TLS */
    /*
     * The id of an authz object (base/authz.h), which is looked up when a client comes; NULL: who
     * has TLS may come in. Needs tls-creds-x509 that ask for a certificate: nothing else says who
     * somebody is.
     */
    const char *tls_authz;
    unsigned max_clients; /* more wait until one has gone; 0: no limit */
    /* A client has gone; 'served': it had chosen an export. 'left': those that remain. May be NULL.
     */
    void (*client_gone)(bool served, unsigned left, void *data);
    void *data;
} NbdServerOptions;

bool nbd_server_start(const NbdServerOptions *options, GError **err);
/*
 * Clients that come to this listening socket are served, too. Takes the descriptor over. 'path'
 * (may be NULL) is that of a UNIX socket, which is removed at the end.
 */
void nbd_server_listen(int fd, const char *path);
/* One that is connected already. */
void nbd_server_add_client(int fd);
bool nbd_server_running(void);
/* Sends all clients away, deletes all exports of type 'nbd', and waits until they are gone. */
void coroutine_fn nbd_server_stop(void);

#endif
