/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection to an NBD server, by libnbd, that is made again when it was lost.
 *
 * One connection for a node, on the loop that opened it: libnbd's handle is one state machine on
 * one socket, so one loop watches the socket, and reconnecting needs no lock. Requests of other
 * loops are handed over, and their coroutines woken on their own loops. Private to block/drivers/.
 */
#ifndef BLOCK_NBD_LINK_H
#define BLOCK_NBD_LINK_H

#include "base/coroutine.h"
#include "base/tls.h"

/* How long making a connection may take, names, handshake and all. */
enum { NBD_CONNECT_SECONDS = 30 };

typedef struct NbdLink NbdLink;

/* Borrowed for as long as the link lives. */
typedef struct {
    const char *name; /* for messages */
    const char *path; /* UNIX socket; NULL: TCP */
    const char *host, *port;
    const char *export_name;
    const char *context;        /* metadata context that block status asks for */
    const TlsCreds *creds;      /* NULL: in clear */
    bool tunnel;                /* TLS is this program's, not libnbd's (nbd_tunnel.h) */
    const char *tls_hostname;   /* of a tunnel: whom the certificate has to name; NULL: nobody */
    unsigned reconnect_seconds; /* how long requests wait for a connection that was lost */
    unsigned open_seconds;      /* how long the first one is tried for; 0: once */
} NbdLinkOptions;

/* What the server says of the export. */
typedef struct {
    uint64_t size;
    uint32_t min_block, max_block;
    bool read_only, can_flush, can_fua, can_trim, can_zero, can_fast_zero, has_context;
} NbdFacts;

typedef enum { NBD_READ, NBD_WRITE, NBD_ZERO, NBD_TRIM, NBD_FLUSH, NBD_STATUS } NbdOpKind;

/* One request, on its coroutine's stack. */
typedef struct {
    NbdOpKind kind;
    uint32_t flags; /* LIBNBD_CMD_FLAG_* */
    uint64_t offset, bytes;
    void *buf;
    /* STATUS: the first extent. */
    uint64_t len;
    uint32_t state;
    /* Private to the link. */
    NbdLink *link;
    Coroutine *co;
    GList node;
    int ret;
    bool done;
} NbdOp;

/* All but nbd_link_run() on the link's loop. NULL and *err. */
NbdLink *coroutine_fn nbd_link_open(const NbdLinkOptions *options, NbdFacts *facts, GError **err);
/* No request is in the link. NULL is ignored. */
void coroutine_fn nbd_link_close(NbdLink *l);
/*
 * 0 or -errno; -EIO: the connection is lost, and was not made again in time. After a loss the next
 * flush fails where writes had been acknowledged since the last: the server may have lost them.
 */
int coroutine_fn nbd_link_run(NbdLink *l, NbdOp *op);
/* From now on all requests fail with -EIO, those that wait for an answer too. Does not wait. */
void nbd_link_cancel(NbdLink *l);

#endif
