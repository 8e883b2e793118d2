/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS by gnutls, which is loaded at first use: credentials (-object tls-creds-anon, tls-creds-psk,
 * tls-creds-x509), and sessions over a connected stream socket.
 *
 * A session does not watch its socket. The owner of the socket does, and gives the session a
 * function that waits for it: a descriptor has one handler (base/event_loop.h), which may serve a
 * protocol's clear beginning as well (NBD's STARTTLS).
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include "base/coroutine.h"
#include "base/object.h"

/* Credentials. Main thread, unless a function says otherwise. */

typedef enum { TLS_ENDPOINT_CLIENT, TLS_ENDPOINT_SERVER } TlsEndpoint;
typedef struct TlsCreds TlsCreds;

extern const ObjectClass tls_creds_anon_class, tls_creds_psk_class, tls_creds_x509_class;

/*
 * The credentials of that id, which stay until tls_creds_put(). NULL and *err: there is no such
 * object, it is of another class, or it is for the other end of a connection.
 */
TlsCreds *tls_creds_get(const char *id, TlsEndpoint endpoint, GError **err);
void tls_creds_put(TlsCreds *creds); /* NULL is ignored */

/* For libraries that have TLS of their own. Any thread; NULL where not given, or not of the kind.
 */
typedef enum { TLS_CREDS_ANON, TLS_CREDS_PSK, TLS_CREDS_X509 } TlsCredsKind;
TlsCredsKind tls_creds_kind(const TlsCreds *creds);
const char *tls_creds_dir(const TlsCreds *creds);      /* with ca-cert.pem, or keys.psk */
const char *tls_creds_username(const TlsCreds *creds); /* PSK: of the client */
const char *tls_creds_priority(const TlsCreds *creds);
bool tls_creds_verify_peer(const TlsCreds *creds);

/*
 * Sessions. A session belongs to one loop. One coroutine may read and another write at the same
 * time; two that write take turns by a lock of their own.
 */

typedef struct TlsSession TlsSession;

/*
 * Waits until the socket is readable ('write': writable), or may be; a wake-up for nothing does no
 * harm. 0, or -errno, which ends the operation: so a connection that is to end is ended.
 */
typedef int coroutine_fn TlsWaitFn(void *data, bool write);

/*
 * A session over 'fd' (non-blocking; borrowed, as 'creds' is: both outlive the session). A client
 * checks that the server's certificate is for 'hostname' (a name or an IP address); NULL: it does
 * not, which only those do who reach the server by a path or were told not to. NULL and *err where
 * the library refuses the credentials' priority.
 */
TlsSession *tls_session_new(const TlsCreds *creds, int fd, const char *hostname, TlsWaitFn *wait,
                            void *data, GError **err);
/* Neither closes the socket nor sends anything. No coroutine is in the session. NULL is ignored. */
void tls_session_free(TlsSession *s);
/* Shakes hands and checks the peer's certificate. Nothing is read or written before it is true. */
bool coroutine_fn tls_session_handshake(TlsSession *s, GError **err);
/*
 * The distinguished name of the peer's certificate, after a handshake that has checked it; caller
 * frees. NULL and *err: the credentials ask for no certificate, or it cannot be told.
 */
char *tls_session_peer_name(const TlsSession *s, GError **err);
/*
 * At most 'len' bytes; 0: the peer has ended the session, or the connection was cut. -errno: what
 * the wait said, or the socket; -EPROTO where the peer does not speak TLS, -EBADMSG where what it
 * sent was tampered with.
 */
int64_t coroutine_fn tls_session_read(TlsSession *s, void *buf, size_t len);
/* All of them: 'len', or -errno. */
int64_t coroutine_fn tls_session_write(TlsSession *s, const void *buf, size_t len);
/* Bytes that have arrived and were not read: with these, waiting for the socket is wrong. */
size_t tls_session_pending(const TlsSession *s);
/* Says that nothing more is written. 0 or -errno. */
int coroutine_fn tls_session_bye(TlsSession *s);

#endif
