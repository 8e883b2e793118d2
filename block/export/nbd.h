/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the NBD server share. Private to block/export/. */
#ifndef BLOCK_EXPORT_NBD_H
#define BLOCK_EXPORT_NBD_H

#include "block/export.h"
#include "nbd_stream.h"

typedef struct {
    BlockExport base;
    char *name, *description;
    /* Offered as metadata contexts. */
    bool allocation_depth;
    json_t *bitmap_names; /* strings, or {"node", "name"}; may be NULL */
    GPtrArray *bitmaps;   /* BlockDirtyBitmap, which are busy meanwhile */
} NbdExport;

/* Numbers of metadata contexts: bits of 32. Those of bitmaps come last. */
enum { NBD_CONTEXT_ALLOCATION, NBD_CONTEXT_DEPTH, NBD_CONTEXT_BITMAPS, NBD_CONTEXT_MAX = 32 };

typedef struct NbdClient {
    NbdStream *stream;
    EventLoop *home;       /* the main loop */
    NbdExport *exp;        /* with a reference, once it is chosen */
    bool structured;       /* replies */
    unsigned contexts;     /* bits: the contexts that were chosen */
    char *contexts_of;     /* the name of the export for which they were; NULL: none */
    const TlsCreds *creds; /* which the client has to use; NULL: none */
    const char *authz;     /* the object that says who may come in; NULL: all that have TLS */
    bool is_tls;
    bool no_zeroes; /* behind the old reply to EXPORT_NAME */
} NbdClient;

/* nbd_server.c. NULL: there is none that clients may use. */
NbdExport *nbd_export_find(const char *name);
int64_t nbd_export_size(const NbdExport *exp);
unsigned nbd_export_flags(const NbdExport *exp, const NbdClient *c);
/* The client has gone: frees it. Main thread; the stream is detached. */
void nbd_client_gone(NbdClient *c);

/*
 * nbd_handshake.c: until the client has chosen an export (c->exp). False: the connection is to be
 * closed. Main thread; the stream is attached.
 */
bool coroutine_fn nbd_handshake(NbdClient *c);

/* nbd_session.c: serves requests, on the export's loop, until the client goes. */
void nbd_session_start(NbdClient *c);

/* nbd_status.c. The context's name (the caller frees it), or NULL where the export has it not. */
char *nbd_context_name(const NbdExport *exp, unsigned context);
/*
 * Extents from 'off' on, each a length and flags (big endian), at most 'max' of them. Their number,
 * or -errno.
 */
int coroutine_fn nbd_context_extents(NbdExport *exp, unsigned context, uint64_t off, uint64_t bytes,
                                     uint32_t (*extents)[2], unsigned max);

#endif
