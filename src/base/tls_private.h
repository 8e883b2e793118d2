/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_TLS_PRIVATE_H
#define BASE_TLS_PRIVATE_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/library.h"
#include "base/tls.h"

#define GNUTLS_SYMBOLS(F)                                                                          \
    F(gnutls_anon_allocate_client_credentials)                                                     \
    F(gnutls_anon_allocate_server_credentials)                                                     \
    F(gnutls_anon_free_client_credentials)                                                         \
    F(gnutls_anon_free_server_credentials)                                                         \
    F(gnutls_anon_set_server_dh_params)                                                            \
    F(gnutls_anon_set_server_known_dh_params)                                                      \
    F(gnutls_bye)                                                                                  \
    F(gnutls_certificate_allocate_credentials)                                                     \
    F(gnutls_certificate_free_credentials)                                                         \
    F(gnutls_certificate_server_set_request)                                                       \
    F(gnutls_certificate_get_peers)                                                                \
    F(gnutls_certificate_set_dh_params)                                                            \
    F(gnutls_certificate_set_known_dh_params)                                                      \
    F(gnutls_certificate_set_x509_crl_file)                                                        \
    F(gnutls_certificate_set_x509_key_file2)                                                       \
    F(gnutls_certificate_set_x509_trust_file)                                                      \
    F(gnutls_certificate_verify_peers3)                                                            \
    F(gnutls_credentials_set)                                                                      \
    F(gnutls_deinit)                                                                               \
    F(gnutls_dh_params_deinit)                                                                     \
    F(gnutls_dh_params_import_pkcs3)                                                               \
    F(gnutls_dh_params_init)                                                                       \
    F(gnutls_error_is_fatal)                                                                       \
    F(gnutls_free)                                                                                 \
    F(gnutls_handshake)                                                                            \
    F(gnutls_init)                                                                                 \
    F(gnutls_priority_set_direct)                                                                  \
    F(gnutls_psk_allocate_client_credentials)                                                      \
    F(gnutls_psk_allocate_server_credentials)                                                      \
    F(gnutls_psk_free_client_credentials)                                                          \
    F(gnutls_psk_free_server_credentials)                                                          \
    F(gnutls_psk_set_client_credentials)                                                           \
    F(gnutls_psk_set_server_credentials_file)                                                      \
    F(gnutls_psk_set_server_dh_params)                                                             \
    F(gnutls_psk_set_server_known_dh_params)                                                       \
    F(gnutls_record_check_pending)                                                                 \
    F(gnutls_record_get_direction)                                                                 \
    F(gnutls_record_recv)                                                                          \
    F(gnutls_record_send)                                                                          \
    F(gnutls_strerror)                                                                             \
    F(gnutls_transport_set_errno)                                                                  \
    F(gnutls_transport_set_ptr)                                                                    \
    F(gnutls_transport_set_pull_function)                                                          \
    F(gnutls_transport_set_push_function)                                                          \
    F(gnutls_x509_crt_deinit)                                                                      \
    F(gnutls_x509_crt_get_activation_time)                                                         \
    F(gnutls_x509_crt_get_basic_constraints)                                                       \
    F(gnutls_x509_crt_get_expiration_time)                                                         \
    F(gnutls_x509_crt_get_key_purpose_oid)                                                         \
    F(gnutls_x509_crt_get_dn)                                                                      \
    F(gnutls_x509_crt_get_key_usage)                                                               \
    F(gnutls_x509_crt_import)                                                                      \
    F(gnutls_x509_crt_init)                                                                        \
    F(gnutls_x509_crt_list_import2)                                                                \
    F(gnutls_x509_crt_list_verify)

typedef struct {
    GNUTLS_SYMBOLS(LIBRARY_POINTER)
} GnuTls;

const GnuTls *gnutls_load(GError **err);

struct TlsCreds {
    Object obj;
    char *dir, *priority, *username, *passwordid;
    int endpoint; /* TlsEndpoint */
    bool verify_peer, sanity_check;
    TlsCredsKind kind;
    const GnuTls *lib;            /* NULL: nothing below was made */
    gnutls_dh_params_t dh_params; /* from the folder; NULL: the library's own */
    /* That of the kind and the endpoint; the others are NULL. */
    gnutls_anon_client_credentials_t anon_client;
    gnutls_anon_server_credentials_t anon_server;
    gnutls_psk_client_credentials_t psk_client;
    gnutls_psk_server_credentials_t psk_server;
    gnutls_certificate_credentials_t x509;
};

static inline bool tls_creds_is_server(const TlsCreds *c)
{
    return c->endpoint == TLS_ENDPOINT_SERVER;
}

/* What can be seen of certificates before anybody connects: that they would be of no use. */
bool tls_check_certificates(const GnuTls *lib, const char *ca_file, const char *cert_file,
                            bool is_server, GError **err);

#endif
