/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object tls-creds-anon, tls-creds-psk and tls-creds-x509. The files have QEMU's names. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/secret.h"
#include "base/util.h"
#include "tls_private.h"

enum { TLS_FILE_MAX = 1 << 20 }; /* bytes in a file that is read here */

static GnuTls gnutls;
static const char *const gnutls_names[] = {GNUTLS_SYMBOLS(LIBRARY_NAME) NULL};
static Library gnutls_library = {"libgnutls.so.30", "libgnutls30", gnutls_names, &gnutls};

const GnuTls *gnutls_load(GError **err)
{
    return library_load(&gnutls_library, err) ? &gnutls : NULL;
}

static const char *const endpoint_names[] = {
    [TLS_ENDPOINT_CLIENT] = "client", [TLS_ENDPOINT_SERVER] = "server", NULL};

#define TLS_CREDS_PROPS                                                                            \
    PROP("dir", PROP_STRING, TlsCreds, dir, NULL, "the folder that the files are in"),             \
        PROP_E("endpoint", TlsCreds, endpoint, "client", endpoint_names,                           \
               "which end of a connection has these credentials"),                                 \
        PROP("priority", PROP_STRING, TlsCreds, priority, NULL,                                    \
             "what is offered to the peer, as gnutls writes it (default: NORMAL)"),                \
        PROP("verify-peer", PROP_BOOL, TlsCreds, verify_peer, "on",                                \
             "x509: the peer has to have a certificate of the CA's")

static const Property anon_props[] = {TLS_CREDS_PROPS, PROP_END};

static const Property psk_props[] = {
    TLS_CREDS_PROPS,
    PROP("username", PROP_STRING, TlsCreds, username, NULL,
         "as whom a client comes (default: qemu)"),
    PROP_END,
};

static const Property x509_props[] = {
    TLS_CREDS_PROPS,
    PROP("sanity-check", PROP_BOOL, TlsCreds, sanity_check, "on",
         "look at the certificates before they are used"),
    PROP("passwordid", PROP_STRING, TlsCreds, passwordid, NULL,
         "the secret that the key in the file is encrypted with"),
    PROP_END,
};

static TlsCreds *tls_creds_of(Object *obj)
{
    return container_of(obj, TlsCreds, obj);
}

/*
 * *path (the caller frees it) is that of a file in the folder; NULL: there is none, and it is not
 * required. False and *err where a file cannot be read.
 */
static bool tls_creds_path(const TlsCreds *c, const char *name, bool required, char **path,
                           GError **err)
{
    *path = g_strdup_printf("%s/%s", c->dir, name);
    if (access(*path, R_OK) == 0) {
        return true;
    }
    if (errno != ENOENT || required) {
        return error_set_errno(err, errno, "Unable to access credentials %s", *path);
    }
    g_clear_pointer(path, g_free);
    return true;
}

/* A server's dh-params.pem, where there is one. */
static bool tls_creds_load_dh(TlsCreds *c, GError **err)
{
    g_autofree char *path = NULL;
    g_autofree void *text = NULL;
    gnutls_datum_t datum;
    size_t len;
    int ret;

    if (!c->dir || !tls_creds_is_server(c)) {
        return true;
    }
    if (!tls_creds_path(c, "dh-params.pem", false, &path, err)) {
        return false;
    }
    text = path ? host_read_file(path, TLS_FILE_MAX, &len, err) : NULL;
    if (!text) {
        return !path;
    }
    datum = (gnutls_datum_t){text, len};
    ret = c->lib->gnutls_dh_params_init(&c->dh_params);
    if (ret >= 0) {
        ret = c->lib->gnutls_dh_params_import_pkcs3(c->dh_params, &datum, GNUTLS_X509_FMT_PEM);
    }
    return ret >= 0 || error_set(err, "Unable to load DH parameters from %s: %s", path,
                                 c->lib->gnutls_strerror(ret));
}

static bool tls_creds_load(TlsCreds *c, TlsCredsKind kind, GError **err)
{
    c->kind = kind;
    if (!c->dir && kind != TLS_CREDS_ANON) {
        return error_set(err, "Missing 'dir' property value");
    }
    c->lib = gnutls_load(err);
    return c->lib && tls_creds_load_dh(c, err);
}

static bool tls_creds_allocated(const TlsCreds *c, int ret, GError **err)
{
    return ret >= 0 ||
           error_set(err, "Cannot allocate credentials: %s", c->lib->gnutls_strerror(ret));
}

static bool anon_complete(Object *obj, GError **err)
{
    TlsCreds *c = tls_creds_of(obj);
    const GnuTls *lib;

    if (!tls_creds_load(c, TLS_CREDS_ANON, err)) {
        return false;
    }
    lib = c->lib;
    if (!tls_creds_is_server(c)) {
        return tls_creds_allocated(c, lib->gnutls_anon_allocate_client_credentials(&c->anon_client),
                                   err);
    }
    if (!tls_creds_allocated(c, lib->gnutls_anon_allocate_server_credentials(&c->anon_server),
                             err)) {
        return false;
    }
    if (c->dh_params) {
        lib->gnutls_anon_set_server_dh_params(c->anon_server, c->dh_params);
    } else {
        lib->gnutls_anon_set_server_known_dh_params(c->anon_server, GNUTLS_SEC_PARAM_MEDIUM);
    }
    return true;
}

/* The key of a client, in hexadecimal: keys.psk has lines "NAME:KEY". Wiped by the caller. */
static char *psk_find_key(const char *path, const char *username, GError **err)
{
    size_t len;
    char *text = host_read_file(path, TLS_FILE_MAX, &len, err), *key = NULL;
    size_t name_len = strlen(username);

    if (!text) {
        return NULL;
    }
    for (char *line = text, *next; line && !key; line = next) {
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        if (strncmp(line, username, name_len) == 0 && line[name_len] == ':') {
            key = g_strdup(g_strchomp(line + name_len + 1));
        }
    }
    explicit_bzero(text, len);
    g_free(text);
    if (!key) {
        error_set(err, "Username %s not found in PSK file %s", username, path);
    }
    return key;
}

static bool psk_load_client(TlsCreds *c, const char *path, GError **err)
{
    const char *username = c->username ? c->username : "qemu";
    gnutls_datum_t datum;
    char *key = psk_find_key(path, username, err);
    int ret;

    if (!key) {
        return false;
    }
    datum = (gnutls_datum_t){(unsigned char *)key, strlen(key)};
    ret = c->lib->gnutls_psk_allocate_client_credentials(&c->psk_client);
    if (ret >= 0) {
        ret = c->lib->gnutls_psk_set_client_credentials(c->psk_client, username, &datum,
                                                        GNUTLS_PSK_KEY_HEX);
    }
    explicit_bzero(key, strlen(key));
    g_free(key);
    return ret >= 0 ||
           error_set(err, "Cannot set PSK client credentials: %s", c->lib->gnutls_strerror(ret));
}

static bool psk_load_server(TlsCreds *c, const char *path, GError **err)
{
    const GnuTls *lib = c->lib;
    int ret = lib->gnutls_psk_allocate_server_credentials(&c->psk_server);

    if (!tls_creds_allocated(c, ret, err)) {
        return false;
    }
    ret = lib->gnutls_psk_set_server_credentials_file(c->psk_server, path);
    if (ret < 0) {
        return error_set(err, "Cannot set PSK server credentials: %s", lib->gnutls_strerror(ret));
    }
    if (c->dh_params) {
        lib->gnutls_psk_set_server_dh_params(c->psk_server, c->dh_params);
    } else {
        lib->gnutls_psk_set_server_known_dh_params(c->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
    }
    return true;
}

static bool psk_complete(Object *obj, GError **err)
{
    TlsCreds *c = tls_creds_of(obj);
    g_autofree char *path = NULL;

    if (tls_creds_is_server(c) && c->username) {
        return error_set(err, "username should not be set when endpoint=server");
    }
    return tls_creds_load(c, TLS_CREDS_PSK, err) &&
           tls_creds_path(c, "keys.psk", true, &path, err) &&
           (tls_creds_is_server(c) ? psk_load_server(c, path, err) : psk_load_client(c, path, err));
}

typedef struct {
    char *ca, *crl, *cert, *key; /* paths; NULL where there is no such file */
} X509Files;

static bool x509_find_files(const TlsCreds *c, X509Files *f, GError **err)
{
    bool server = tls_creds_is_server(c);

    return tls_creds_path(c, "ca-cert.pem", true, &f->ca, err) &&
           tls_creds_path(c, "ca-crl.pem", false, &f->crl, err) &&
           tls_creds_path(c, server ? "server-cert.pem" : "client-cert.pem", server, &f->cert,
                          err) &&
           tls_creds_path(c, server ? "server-key.pem" : "client-key.pem", server, &f->key, err);
}

static bool x509_load_key(TlsCreds *c, const X509Files *f, GError **err)
{
    const char *password = NULL;
    int ret;

    if (!f->cert || !f->key) {
        return true;
    }
    if (c->passwordid) {
        password = secret_text(c->passwordid, err);
        if (!password) {
            return false;
        }
    }
    ret = c->lib->gnutls_certificate_set_x509_key_file2(c->x509, f->cert, f->key,
                                                        GNUTLS_X509_FMT_PEM, password, 0);
    return ret >= 0 || error_set(err, "Cannot load certificate '%s' & key '%s': %s", f->cert,
                                 f->key, c->lib->gnutls_strerror(ret));
}

static bool x509_load(TlsCreds *c, const X509Files *f, GError **err)
{
    const GnuTls *lib = c->lib;
    int ret;

    if (c->sanity_check &&
        !tls_check_certificates(lib, f->ca, f->cert, tls_creds_is_server(c), err)) {
        return false;
    }
    if (!tls_creds_allocated(c, lib->gnutls_certificate_allocate_credentials(&c->x509), err)) {
        return false;
    }
    ret = lib->gnutls_certificate_set_x509_trust_file(c->x509, f->ca, GNUTLS_X509_FMT_PEM);
    if (ret < 0) {
        return error_set(err, "Cannot load CA certificate '%s': %s", f->ca,
                         lib->gnutls_strerror(ret));
    }
    if (!x509_load_key(c, f, err)) {
        return false;
    }
    ret = f->crl ? lib->gnutls_certificate_set_x509_crl_file(c->x509, f->crl, GNUTLS_X509_FMT_PEM)
                 : 0;
    if (ret < 0) {
        return error_set(err, "Cannot load CRL '%s': %s", f->crl, lib->gnutls_strerror(ret));
    }
    if (c->dh_params) {
        lib->gnutls_certificate_set_dh_params(c->x509, c->dh_params);
    } else if (tls_creds_is_server(c)) {
        lib->gnutls_certificate_set_known_dh_params(c->x509, GNUTLS_SEC_PARAM_MEDIUM);
    }
    return true;
}

static bool x509_complete(Object *obj, GError **err)
{
    TlsCreds *c = tls_creds_of(obj);
    X509Files f = {0};
    bool ok = tls_creds_load(c, TLS_CREDS_X509, err) && x509_find_files(c, &f, err) &&
              x509_load(c, &f, err);

    g_free(f.ca);
    g_free(f.crl);
    g_free(f.cert);
    g_free(f.key);
    return ok;
}

/* Also of an object that was refused. The library wipes its keys. */
static void tls_creds_release(Object *obj)
{
    TlsCreds *c = tls_creds_of(obj);
    const GnuTls *lib = c->lib;

    if (!lib) {
        return;
    }
    g_clear_pointer(&c->anon_client, lib->gnutls_anon_free_client_credentials);
    g_clear_pointer(&c->anon_server, lib->gnutls_anon_free_server_credentials);
    g_clear_pointer(&c->psk_client, lib->gnutls_psk_free_client_credentials);
    g_clear_pointer(&c->psk_server, lib->gnutls_psk_free_server_credentials);
    g_clear_pointer(&c->x509, lib->gnutls_certificate_free_credentials);
    g_clear_pointer(&c->dh_params, lib->gnutls_dh_params_deinit);
}

TlsCreds *tls_creds_get(const char *id, TlsEndpoint endpoint, GError **err)
{
    Object *obj = object_find(id, NULL, NULL);

    if (!obj) {
        error_set(err, "No TLS credentials with id '%s'", id);
        return NULL;
    }
    if (obj->class->complete != anon_complete && obj->class->complete != psk_complete &&
        obj->class->complete != x509_complete) {
        error_set(err, "Object with id '%s' is not TLS credentials", id);
        return NULL;
    }
    if (tls_creds_of(obj)->endpoint != (int)endpoint) {
        error_set(err, "Expected TLS credentials for a %s endpoint", endpoint_names[endpoint]);
        return NULL;
    }
    obj->users++;
    return tls_creds_of(obj);
}

void tls_creds_put(TlsCreds *creds)
{
    if (creds) {
        creds->obj.users--;
    }
}

TlsCredsKind tls_creds_kind(const TlsCreds *creds)
{
    return creds->kind;
}

const char *tls_creds_dir(const TlsCreds *creds)
{
    return creds->dir;
}

const char *tls_creds_username(const TlsCreds *creds)
{
    return creds->username ? creds->username : creds->kind == TLS_CREDS_PSK ? "qemu" : NULL;
}

const char *tls_creds_priority(const TlsCreds *creds)
{
    return creds->priority;
}

bool tls_creds_verify_peer(const TlsCreds *creds)
{
    return creds->verify_peer;
}

const ObjectClass tls_creds_anon_class = {
    .name = "tls-creds-anon",
    .help = "TLS without proof of who the peer is",
    .parent = "tls-creds",
    .size = sizeof(TlsCreds),
    .props = anon_props,
    .complete = anon_complete,
    .wipe = tls_creds_release,
};

const ObjectClass tls_creds_psk_class = {
    .name = "tls-creds-psk",
    .help = "TLS by keys that both ends have",
    .parent = "tls-creds",
    .size = sizeof(TlsCreds),
    .props = psk_props,
    .complete = psk_complete,
    .wipe = tls_creds_release,
};

const ObjectClass tls_creds_x509_class = {
    .name = "tls-creds-x509",
    .help = "TLS by certificates",
    .parent = "tls-creds",
    .size = sizeof(TlsCreds),
    .props = x509_props,
    .complete = x509_complete,
    .wipe = tls_creds_release,
};
