/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of the handshake, one option after the other: for vmm-nbd --list, and below
 * libnbd where that has no TLS for what is wanted. One coroutine at a time; nothing that the server
 * says costs more than a reply's memory. Private to block/.
 */
#ifndef BLOCK_NBD_CLIENT_H
#define BLOCK_NBD_CLIENT_H

#include "base/connect.h"
#include "nbd_proto.h"
#include "nbd_stream.h"

/* A connection that is being made. */
typedef struct {
    Coroutine *co; /* NULL: it is over */
    HostConnect *attempt;
    int fd;
    GError *err;
} NbdConnecting;

/* A connected socket, or -1 and *err. 'path': a UNIX socket; NULL: TCP. 'c' may be uninitialised.
 */
int coroutine_fn nbd_client_connect(NbdConnecting *c, const char *path, const char *host,
                                    const char *port, GError **err);
/* Ends the wait in nbd_client_connect(), on its loop. Nothing where there is none. */
void nbd_client_connect_cancel(NbdConnecting *c);

/* All bytes. False and *err. */
bool coroutine_fn nbd_client_get(NbdStream *s, void *buf, size_t len, GError **err);
bool coroutine_fn nbd_client_put(NbdStream *s, const void *buf, size_t len, GError **err);

typedef struct {
    uint8_t greeting[NBD_GREETING_SIZE]; /* the server's; of an old one but 16 bytes are there */
    bool is_old;    /* what follows is all about its one export; there are no options */
    unsigned flags; /* NBD_HAND_*: those that both ends have */
} NbdHello;
/* Reads the server's greeting, and answers it. */
bool coroutine_fn nbd_client_hello(NbdStream *s, NbdHello *hello, GError **err);

enum { NBD_REPLY_MAX = 2 * NBD_MAX_STRING + 64 }; /* a name, a text, and what is around them */

typedef struct {
    uint32_t type;
    uint8_t data[NBD_REPLY_MAX + 1]; /* followed by a NUL */
    size_t len;
} NbdReply;

typedef enum { NBD_REPLIED_ERROR, NBD_REPLIED, NBD_REPLIED_LAST, NBD_REPLIED_UNKNOWN } NbdReplied;

/* 'data' may be NULL. */
bool coroutine_fn nbd_client_option(NbdStream *s, uint32_t option, const GByteArray *data,
                                    GError **err);
/*
 * The next reply: of the type that is expected; the last one (NBD_REP_ACK); that the server does
 * not know the option; or *err, with r->type an error of the server's where it has refused, else 0.
 */
NbdReplied coroutine_fn nbd_client_reply(NbdStream *s, uint32_t option, uint32_t expected,
                                         NbdReply *r, GError **err);
/*
 * Asks for TLS, and begins it. 'hostname' NULL: there is none that a certificate could be held
 * against, which is refused where the credentials want that.
 */
bool coroutine_fn nbd_client_start_tls(NbdStream *s, const NbdHello *hello, const TlsCreds *creds,
                                       const char *hostname, GError **err);

/* What a server says, without bytes that a terminal would obey; the caller frees it. */
char *nbd_client_shown(const char *text);

#endif
