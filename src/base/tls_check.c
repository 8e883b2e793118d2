/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates that cannot work are refused when they are named, not when somebody connects. */
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/host.h"
#include "tls_private.h"

enum { CERTIFICATES_MAX = 64, CERTIFICATE_FILE_MAX = 1 << 20 };

typedef struct {
    const GnuTls *lib;
    const char *kind, *file; /* "CA", "server" or "client" */
    bool is_server, is_ca;
    gnutls_x509_crt_t *certs; /* the file's, in its order */
    unsigned count;
} Certificates;

static void certificates_free(Certificates *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        c->lib->gnutls_x509_crt_deinit(c->certs[i]);
    }
    if (c->certs) {
        /* The variable that holds the library's free(). */
        (*c->lib->gnutls_free)(c->certs);
    }
    c->certs = NULL;
    c->count = 0;
}

static bool certificates_load(Certificates *c, GError **err)
{
    g_autoptr(GError) why = NULL;
    size_t len;
    g_autofree void *text = host_read_file(c->file, CERTIFICATE_FILE_MAX, &len, &why);
    gnutls_datum_t datum = {text, len};
    int ret;

    if (!text) {
        return error_set(err, "Cannot load certificate list %s: %s", c->file, why->message);
    }
    ret =
        c->lib->gnutls_x509_crt_list_import2(&c->certs, &c->count, &datum, GNUTLS_X509_FMT_PEM, 0);
    if (ret < 0) {
        c->certs = NULL;
        c->count = 0;
        return c->is_ca ? error_set(err, "Unable to import CA certificate list %s", c->file)
                        : error_set(err, "Unable to import %s certificate %s: %s", c->kind, c->file,
                                    c->lib->gnutls_strerror(ret));
    }
    if (c->count > CERTIFICATES_MAX) {
        return error_set(err, "%s: there are %u certificates in it; at most %d are looked at",
                         c->file, c->count, CERTIFICATES_MAX);
    }
    return true;
}

static bool certificate_check_time(const Certificates *c, gnutls_x509_crt_t cert, GError **err)
{
    time_t now = time(NULL), from = c->lib->gnutls_x509_crt_get_activation_time(cert),
           to = c->lib->gnutls_x509_crt_get_expiration_time(cert);

    if (from == (time_t)-1 || to == (time_t)-1) {
        return error_set(err, "cannot get certificate times of %s", c->file);
    }
    if (to < now) {
        return error_set(err, "The %s certificate %s has expired", c->kind, c->file);
    }
    return from <= now ||
           error_set(err, "The %s certificate %s is not yet active", c->kind, c->file);
}

static bool certificate_check_constraints(const Certificates *c, gnutls_x509_crt_t cert,
                                          GError **err)
{
    int status = c->lib->gnutls_x509_crt_get_basic_constraints(cert, NULL, NULL, NULL);

    if (status > 0 && !c->is_ca) {
        return error_set(err,
                         "The certificate %s basic constraints show a CA, but we need one for a %s",
                         c->file, c->kind);
    }
    if (status == 0 && c->is_ca) {
        return error_set(err, "The certificate %s basic constraints do not show a CA", c->file);
    }
    if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return !c->is_ca ||
               error_set(err, "The certificate %s is missing basic constraints for a CA", c->file);
    }
    return status >= 0 || error_set(err, "Unable to query certificate %s basic constraints: %s",
                                    c->file, c->lib->gnutls_strerror(status));
}

/* What a certificate says that its key may be used for binds only where it says that it does. */
static bool certificate_check_usage(const Certificates *c, gnutls_x509_crt_t cert, GError **err)
{
    static const struct {
        bool of_ca;
        unsigned bit;
        const char *what;
    } needed[] = {
        {true, GNUTLS_KEY_KEY_CERT_SIGN, "certificate signing"},
        {false, GNUTLS_KEY_DIGITAL_SIGNATURE, "digital signature"},
    };
    unsigned usage = 0, critical = 0;
    int status = c->lib->gnutls_x509_crt_get_key_usage(cert, &usage, &critical);

    if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
        return true;
    }
    if (status < 0) {
        return error_set(err, "Unable to query certificate %s key usage: %s", c->file,
                         c->lib->gnutls_strerror(status));
    }
    for (unsigned i = 0; critical && i < G_N_ELEMENTS(needed); i++) {
        if (needed[i].of_ca == c->is_ca && !(usage & needed[i].bit)) {
            return error_set(err, "Certificate %s usage does not permit %s", c->file,
                             needed[i].what);
        }
    }
    return true;
}

static bool certificate_check_purpose(const Certificates *c, gnutls_x509_crt_t cert, GError **err)
{
    const char *wanted = c->is_server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    bool allowed = false, binds = false;

    for (unsigned i = 0; !c->is_ca; i++) {
        char oid[128];
        size_t len = sizeof oid;
        unsigned critical = 0;
        int status = c->lib->gnutls_x509_crt_get_key_purpose_oid(cert, i, oid, &len, &critical);

        if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
            break;
        }
        if (status == GNUTLS_E_SHORT_MEMORY_BUFFER) {
            binds = binds || critical;
            continue; /* longer than those that are wanted */
        }
        if (status < 0) {
            return error_set(err, "Unable to query certificate %s key purpose: %s", c->file,
                             c->lib->gnutls_strerror(status));
        }
        binds = binds || critical;
        allowed = allowed || strcmp(oid, wanted) == 0 || strcmp(oid, GNUTLS_KP_ANY) == 0;
    }
    return !binds || allowed ||
           error_set(err, "Certificate %s purpose does not allow use with a TLS %s", c->file,
                     c->kind);
}

static bool certificates_check(const Certificates *c, GError **err)
{
    /* The file of an end may have its CAs behind the first. */
    unsigned count = c->is_ca ? c->count : MIN(c->count, 1);

    for (unsigned i = 0; i < count; i++) {
        gnutls_x509_crt_t cert = c->certs[i];

        if (!certificate_check_time(c, cert, err) || !certificate_check_constraints(c, cert, err) ||
            !certificate_check_usage(c, cert, err) || !certificate_check_purpose(c, cert, err)) {
            return false;
        }
    }
    return true;
}

static bool certificates_check_chain(const Certificates *own, const Certificates *ca, GError **err)
{
    static const struct {
        unsigned bit;
        const char *text;
    } reasons[] = {
        {GNUTLS_CERT_REVOKED, "The certificate has been revoked"},
        {GNUTLS_CERT_SIGNER_NOT_FOUND, "The certificate hasn't got a known issuer"},
        {GNUTLS_CERT_SIGNER_NOT_CA, "The certificate issuer is not a CA"},
        {GNUTLS_CERT_INSECURE_ALGORITHM, "The certificate uses an insecure algorithm"},
        {GNUTLS_CERT_INVALID, "The certificate is not trusted"},
    };
    unsigned status = 0;
    int ret = own->lib->gnutls_x509_crt_list_verify(own->certs, own->count, ca->certs, ca->count,
                                                    NULL, 0, 0, &status);

    if (ret < 0) {
        return error_set(err, "Unable to verify %s certificate %s against CA certificate %s",
                         own->kind, own->file, ca->file);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (status & reasons[i].bit) {
            return error_set(err, "Our own certificate %s failed validation against %s: %s",
                             own->file, ca->file, reasons[i].text);
        }
    }
    return status == 0 || error_set(err, "Our own certificate %s failed validation against %s",
                                    own->file, ca->file);
}

bool tls_check_certificates(const GnuTls *lib, const char *ca_file, const char *cert_file,
                            bool is_server, GError **err)
{
    Certificates ca = {
        .lib = lib, .kind = "CA", .file = ca_file, .is_ca = true, .is_server = is_server};
    Certificates own = {.lib = lib,
                        .kind = is_server ? "server" : "client",
                        .file = cert_file,
                        .is_server = is_server};
    bool ok = (!cert_file || certificates_load(&own, err)) && certificates_load(&ca, err) &&
              certificates_check(&own, err) && certificates_check(&ca, err) &&
              (!cert_file || certificates_check_chain(&own, &ca, err));

    certificates_free(&own);
    certificates_free(&ca);
    return ok;
}
