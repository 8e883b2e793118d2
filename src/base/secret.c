/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object secret: a password or key, from the command line, QMP or a file, plain or encrypted. */
#include "base/secret.h"

#include <string.h>

#include "base/error.h"
#include "base/host.h"
#include "base/nettle.h"
#include "base/util.h"

enum { SECRET_MAX = 1 << 20 }; /* bytes in a file */
enum { SECRET_KEY = 32, SECRET_BLOCK = 16 };

typedef struct {
    Object obj;
    int format;
    char *data, *file, *keyid, *iv;
    uint8_t *bytes;
    size_t len;
} Secret;

enum { FORMAT_RAW, FORMAT_BASE64 };
static const char *const format_names[] = {"raw", "base64", NULL};

static const Property secret_props[] = {
    PROP_E("format", Secret, format, "raw", format_names, "of the data"),
    PROP("data", PROP_STRING, Secret, data, NULL, "the secret itself"),
    PROP("file", PROP_STRING, Secret, file, NULL, "a file that holds it"),
    PROP("keyid", PROP_STRING, Secret, keyid, NULL,
         "the secret with whose 32 bytes this one is encrypted, by AES-256 in CBC mode"),
    PROP("iv", PROP_STRING, Secret, iv, NULL, "with 'keyid': the initialization vector in base64"),
    PROP_END,
};

/* Overwrites a secret before it is freed. */
static void wipe_and_free(void *bytes, size_t len)
{
    if (bytes) {
        explicit_bzero(bytes, len);
        g_free(bytes);
    }
}

/* What base64 text stands for (wipe_and_free()), or NULL and *err. The text may hold white space.
 */
static uint8_t *secret_decode(const uint8_t *bytes, size_t bytes_len, size_t *len, GError **err)
{
    static const char white[] = " \t\r\n";
    char *text = g_strndup((const char *)bytes, bytes_len);
    size_t digits, text_len = strlen(text);
    gsize decoded_len = 0;
    uint8_t *decoded = NULL;
    bool ok = true;

    digits = text_len;
    while (digits && strchr(white, text[digits - 1])) {
        digits--;
    }
    while (digits && text[digits - 1] == '=') {
        digits--;
    }
    for (size_t i = 0; ok && i < digits; i++) {
        ok = g_ascii_isalnum(text[i]) || strchr("+/ \t\r\n", text[i]);
    }
    if (ok) {
        decoded = g_base64_decode(text, &decoded_len);
        *len = decoded_len;
    } else {
        error_set(err, "Base64 data contains invalid characters");
    }
    wipe_and_free(text, text_len);
    return decoded;
}

/* Replaces the object's bytes. */
static void secret_take(Secret *s, uint8_t *bytes, size_t len)
{
    wipe_and_free(s->bytes, s->len);
    s->bytes = bytes;
    s->len = len;
}

/* AES-256 in CBC mode, and what fills up the last block (PKCS #7) is taken off. */
static bool secret_decipher(Secret *s, const uint8_t *key, const uint8_t iv[SECRET_BLOCK],
                            GError **err)
{
    const Nettle *nettle = nettle_load(err);
    g_autofree uint8_t *plain = nettle ? g_malloc0(s->len + 1) : NULL;
    struct aes256_ctx ctx;
    uint8_t chain[SECRET_BLOCK], padding;

    if (!plain) {
        return false;
    }
    if (s->len == 0 || s->len % SECRET_BLOCK) {
        return error_set(err, "Length %zu must be a multiple of block size %d", s->len,
                         SECRET_BLOCK);
    }
    memcpy(chain, iv, sizeof chain);
    nettle->nettle_aes256_set_decrypt_key(&ctx, key);
    nettle->nettle_cbc_decrypt(&ctx, (nettle_cipher_func *)nettle->nettle_aes256_decrypt,
                               SECRET_BLOCK, chain, s->len, plain, s->bytes);
    explicit_bzero(&ctx, sizeof ctx);
    padding = plain[s->len - 1];
    if (padding < 1 || padding > SECRET_BLOCK) {
        explicit_bzero(plain, s->len);
        return error_set(err, "Incorrect number of padding bytes (%d) found on decrypted data",
                         padding);
    }
    memset(plain + s->len - padding, 0, padding);
    secret_take(s, g_steal_pointer(&plain), s->len - padding);
    return true;
}

static bool secret_decrypt(Secret *s, GError **err)
{
    size_t key_len, iv_len;
    const uint8_t *key = secret_bytes(s->keyid, &key_len, err);
    g_autofree uint8_t *iv = NULL;

    if (!key) {
        return false;
    }
    if (key_len != SECRET_KEY) {
        return error_set(err, "Key should be %d bytes in length", SECRET_KEY);
    }
    if (!s->iv) {
        return error_set(err, "IV is required to decrypt secret");
    }
    iv = secret_decode((const uint8_t *)s->iv, strlen(s->iv), &iv_len, err);
    if (!iv) {
        return false;
    }
    if (iv_len != SECRET_BLOCK) {
        return error_set(err, "IV should be %d bytes in length not %zu", SECRET_BLOCK, iv_len);
    }
    return secret_decipher(s, key, iv, err);
}

static void secret_wipe(Object *obj)
{
    Secret *s = container_of(obj, Secret, obj);

    wipe_and_free(s->bytes, s->len);
    s->bytes = NULL;
    if (s->data) {
        explicit_bzero(s->data, strlen(s->data));
    }
}

static bool secret_complete(Object *obj, GError **err)
{
    Secret *s = container_of(obj, Secret, obj);
    uint8_t *decoded;
    size_t len;

    if (s->file && s->data) {
        return error_set(err, "'file' and 'data' are mutually exclusive");
    }
    if (!s->file && !s->data) {
        return error_set(err, "Either 'file' or 'data' must be provided");
    }
    if (s->file) {
        s->bytes = host_read_file(s->file, SECRET_MAX, &s->len, err);
    } else {
        s->bytes = (uint8_t *)g_strdup(s->data);
        s->len = strlen(s->data);
    }
    if (!s->bytes) {
        return false;
    }
    if (s->format == FORMAT_BASE64) {
        decoded = secret_decode(s->bytes, s->len, &len, err);
        if (!decoded) {
            return false;
        }
        secret_take(s, decoded, len);
    }
    return s->keyid ? secret_decrypt(s, err)
                    : !s->iv || error_set(err, "'iv' is of use with 'keyid' alone: it is part of "
                                               "how a secret is encrypted");
}

const uint8_t *secret_bytes(const char *id, size_t *len, GError **err)
{
    Object *obj = object_find(id, NULL, NULL);
    Secret *s;

    if (!obj) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "No secret with id '%s'", id);
        return NULL;
    }
    if (obj->class != &secret_class) {
        error_set(err, "Object with id '%s' is not a secret", id);
        return NULL;
    }
    s = container_of(obj, Secret, obj);
    *len = s->len;
    return s->bytes;
}

const char *secret_text(const char *id, GError **err)
{
    size_t len;
    const uint8_t *bytes = secret_bytes(id, &len, err);

    if (bytes && !g_utf8_validate((const char *)bytes, len, NULL)) {
        error_set(err, "Data from secret %s is not valid UTF-8", id);
        return NULL;
    }
    return (const char *)bytes;
}

const ObjectClass secret_class = {
    .name = "secret",
    .help = "a password or key",
    .size = sizeof(Secret),
    .props = secret_props,
    .complete = secret_complete,
    .wipe = secret_wipe,
};
