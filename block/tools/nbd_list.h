/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-nbd --list: a client that asks a server what it exports. Main thread. */
#ifndef BLOCK_TOOLS_NBD_LIST_H
#define BLOCK_TOOLS_NBD_LIST_H

#include <glib.h>
#include <stdio.h>
#include "base/coroutine.h"
#include "base/tls.h"

typedef struct {
    const char *path; /* a UNIX socket; NULL: TCP, to the two below */
    const char *host, *port;
    const char *tls_creds;    /* the id of an object; NULL: in clear */
    const char *tls_hostname; /* whom the server's certificate has to name; NULL: 'host' */
} NbdListOptions;

/*
 * Prints what the server says, once it has said all of it. False and *err: the server cannot be
 * reached, refuses, or breaks the rules; then nothing was printed.
 */
bool coroutine_fn nbd_list(const NbdListOptions *o, GError **err);
/*
 * The same of a connected socket, which it closes. 'creds' NULL: in clear; 'hostname' is that of
 * nbd_client_start_tls().
 */
bool coroutine_fn nbd_list_socket(int fd, const TlsCreds *creds, const char *hostname, FILE *out,
                                  GError **err);

#endif
