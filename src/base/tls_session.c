/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS over a socket, for coroutines. */
#include <errno.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/util.h"
#include "tls_private.h"

struct TlsSession {
    const GnuTls *lib;
    const TlsCreds *creds;
    gnutls_session_t handle;
    int fd;
    char *hostname;
    TlsWaitFn *wait;
    void *data;
    int socket_errno; /* of the last call that failed */
    bool ready;       /* the hands are shaken, and the peer is who it has to be */
};

static ssize_t tls_push(gnutls_transport_ptr_t data, const void *buf, size_t len)
{
    TlsSession *s = data;
    ssize_t n = send(s->fd, buf, len, MSG_NOSIGNAL);

    if (n < 0) {
        s->socket_errno = errno;
        s->lib->gnutls_transport_set_errno(s->handle, errno);
    }
    return n;
}

static ssize_t tls_pull(gnutls_transport_ptr_t data, void *buf, size_t len)
{
    TlsSession *s = data;
    ssize_t n = recv(s->fd, buf, len, 0);

    if (n < 0) {
        s->socket_errno = errno;
        s->lib->gnutls_transport_set_errno(s->handle, errno);
    }
    return n;
}

/* The ciphers that are offered: anonymous ones and pre-shared keys are in no default. */
static bool tls_set_priority(TlsSession *s, GError **err)
{
    static const char *const suffix[] = {
        [TLS_CREDS_ANON] = ":+ANON-DH",
        [TLS_CREDS_PSK] = ":+ECDHE-PSK:+DHE-PSK:+PSK",
        [TLS_CREDS_X509] = "",
    };
    const TlsCreds *c = s->creds;
    g_autofree char *text =
        g_strconcat(c->priority ? c->priority : "NORMAL", suffix[c->kind], NULL);
    int ret = s->lib->gnutls_priority_set_direct(s->handle, text, NULL);

    return ret == 0 || error_set(err, "Unable to set TLS session priority %s: %s", text,
                                 s->lib->gnutls_strerror(ret));
}

static bool tls_set_credentials(TlsSession *s, GError **err)
{
    static const gnutls_credentials_type_t types[] = {
        [TLS_CREDS_ANON] = GNUTLS_CRD_ANON,
        [TLS_CREDS_PSK] = GNUTLS_CRD_PSK,
        [TLS_CREDS_X509] = GNUTLS_CRD_CERTIFICATE,
    };
    const TlsCreds *c = s->creds;
    bool server = tls_creds_is_server(c);
    void *secrets = c->kind == TLS_CREDS_X509   ? (void *)c->x509
                    : c->kind == TLS_CREDS_ANON ? (server ? (void *)c->anon_server : c->anon_client)
                                                : (server ? (void *)c->psk_server : c->psk_client);
    int ret = s->lib->gnutls_credentials_set(s->handle, types[c->kind], secrets);

    if (ret < 0) {
        return error_set(err, "Cannot set session credentials: %s", s->lib->gnutls_strerror(ret));
    }
    if (c->kind == TLS_CREDS_X509 && server && c->verify_peer) {
        s->lib->gnutls_certificate_server_set_request(s->handle, GNUTLS_CERT_REQUEST);
    }
    return true;
}

TlsSession *tls_session_new(const TlsCreds *creds, int fd, const char *hostname, TlsWaitFn *wait,
                            void *data, GError **err)
{
    TlsSession *s = g_new0(TlsSession, 1);
    int ret;

    *s = (TlsSession){.lib = creds->lib, .creds = creds, .fd = fd, .wait = wait, .data = data};
    s->hostname = g_strdup(hostname);
    ret = s->lib->gnutls_init(&s->handle,
                              GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
                                  (tls_creds_is_server(creds) ? GNUTLS_SERVER : GNUTLS_CLIENT));
    if (ret < 0) {
        s->handle = NULL;
        error_set(err, "Cannot initialize TLS session: %s", s->lib->gnutls_strerror(ret));
    } else if (tls_set_priority(s, err) && tls_set_credentials(s, err)) {
        s->lib->gnutls_transport_set_ptr(s->handle, s);
        s->lib->gnutls_transport_set_push_function(s->handle, tls_push);
        s->lib->gnutls_transport_set_pull_function(s->handle, tls_pull);
        return s;
    }
    tls_session_free(s);
    return NULL;
}

void tls_session_free(TlsSession *s)
{
    if (!s) {
        return;
    }
    if (s->handle) {
        s->lib->gnutls_deinit(s->handle);
    }
    g_free(s->hostname);
    g_free(s);
}

/* The peer's certificate has to lead to a CA of ours, be in use, and (a server's) have its name. */
static bool tls_check_peer(TlsSession *s, GError **err)
{
    static const struct {
        unsigned bit;
        const char *text;
    } reasons[] = {
        {GNUTLS_CERT_EXPIRED, "The certificate has expired"},
        {GNUTLS_CERT_NOT_ACTIVATED, "The certificate is not yet activated"},
        {GNUTLS_CERT_REVOKED, "The certificate has been revoked"},
        {GNUTLS_CERT_SIGNER_NOT_FOUND, "The certificate hasn't got a known issuer"},
        {GNUTLS_CERT_INSECURE_ALGORITHM, "The certificate uses an insecure algorithm"},
        {~(unsigned)(GNUTLS_CERT_INVALID | GNUTLS_CERT_UNEXPECTED_OWNER), "Invalid certificate"},
    };
    const TlsCreds *c = s->creds;
    const char *hostname = tls_creds_is_server(c) ? NULL : s->hostname;
    unsigned status = 0;
    int ret;

    if (c->kind != TLS_CREDS_X509 || !c->verify_peer) {
        return true;
    }
    ret = s->lib->gnutls_certificate_verify_peers3(s->handle, hostname, &status);
    if (ret < 0) {
        return error_set(err, "Verify failed: %s", s->lib->gnutls_strerror(ret));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (status & reasons[i].bit) {
            return error_set(err, "%s", reasons[i].text);
        }
    }
    if (status & GNUTLS_CERT_UNEXPECTED_OWNER) {
        return error_set(err, "Certificate does not match the hostname %s", hostname);
    }
    return status == 0 || error_set(err, "The certificate is not trusted");
}

/* An error of gnutls's, which is fatal, as -errno. */
static int tls_errno(const TlsSession *s, int ret)
{
    switch (ret) {
    case GNUTLS_E_PUSH_ERROR:
    case GNUTLS_E_PULL_ERROR:
        return -(s->socket_errno ? s->socket_errno : EIO);
    case GNUTLS_E_DECRYPTION_FAILED:
        return -EBADMSG;
    case GNUTLS_E_MEMORY_ERROR:
        return -ENOMEM;
    default:
        return -EPROTO;
    }
}

/* After a call that has failed: 1 where it has to be made again, for which this waits; or -errno.
 */
static int coroutine_fn tls_retry(TlsSession *s, int64_t error)
{
    int ret;

    if (error != GNUTLS_E_AGAIN) {
        return s->lib->gnutls_error_is_fatal(error) ? tls_errno(s, error) : 1;
    }
    ret = s->wait(s->data, s->lib->gnutls_record_get_direction(s->handle) == 1);
    return ret < 0 ? ret : 1;
}

bool coroutine_fn tls_session_handshake(TlsSession *s, GError **err)
{
    int ret, retry = 1;

    while ((ret = s->lib->gnutls_handshake(s->handle)) < 0) {
        retry = tls_retry(s, ret);
        if (retry < 0) {
            break;
        }
    }
    if (ret == GNUTLS_E_AGAIN) {
        return error_set_errno(err, -retry, "TLS handshake failed");
    }
    if (ret < 0) {
        return error_set(err, "TLS handshake failed: %s",
                         s->socket_errno && tls_errno(s, ret) == -s->socket_errno
                             ? g_strerror(s->socket_errno)
                             : s->lib->gnutls_strerror(ret));
    }
    s->ready = tls_check_peer(s, err);
    return s->ready;
}

char *tls_session_peer_name(const TlsSession *s, GError **err)
{
    const GnuTls *lib = s->lib;
    char name[1024];
    size_t len = sizeof name;
    const gnutls_datum_t *certs;
    gnutls_x509_crt_t cert;
    unsigned count = 0;
    int ret;

    g_assert(s->ready);
    certs = s->creds->kind == TLS_CREDS_X509 && s->creds->verify_peer
                ? lib->gnutls_certificate_get_peers(s->handle, &count)
                : NULL;
    if (!certs || !count) {
        error_set(err, "the credentials ask the peer for no certificate");
        return NULL;
    }
    ret = lib->gnutls_x509_crt_init(&cert);
    if (ret >= 0) {
        ret = lib->gnutls_x509_crt_import(cert, &certs[0], GNUTLS_X509_FMT_DER);
        if (ret >= 0) {
            ret = lib->gnutls_x509_crt_get_dn(cert, name, &len);
        }
        lib->gnutls_x509_crt_deinit(cert);
    }
    if (ret < 0) {
        error_set(err, "the peer's certificate names nobody that could be told: %s",
                  lib->gnutls_strerror(ret));
        return NULL;
    }
    return g_strndup(name, len);
}

int64_t coroutine_fn tls_session_read(TlsSession *s, void *buf, size_t len)
{
    int64_t n;

    g_assert(s->ready);
    while ((n = s->lib->gnutls_record_recv(s->handle, buf, len)) < 0) {
        int ret = n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : tls_retry(s, n);

        if (ret <= 0) {
            return ret;
        }
    }
    return n;
}

int64_t coroutine_fn tls_session_write(TlsSession *s, const void *buf, size_t len)
{
    const uint8_t *bytes = buf;
    size_t done = 0;

    g_assert(s->ready);
    while (done < len) {
        int64_t n = s->lib->gnutls_record_send(s->handle, bytes + done, len - done);
        int ret = n < 0 ? tls_retry(s, n) : 1;

        if (ret < 0) {
            return ret;
        }
        done += n < 0 ? 0 : n;
    }
    return len;
}

size_t tls_session_pending(const TlsSession *s)
{
    return s->lib->gnutls_record_check_pending(s->handle);
}

int coroutine_fn tls_session_bye(TlsSession *s)
{
    int ret;

    while ((ret = s->lib->gnutls_bye(s->handle, GNUTLS_SHUT_WR)) < 0) {
        ret = tls_retry(s, ret);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}
