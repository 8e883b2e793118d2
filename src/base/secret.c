/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object secret: a password or key, from the command line, QMP or a file. */
#include "base/secret.h"

#include <string.h>

#include "base/error.h"
#include "base/host.h"
#include "base/util.h"

enum { SECRET_MAX = 1 << 20 }; /* bytes in a file */

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
    PROP("keyid", PROP_STRING, Secret, keyid, NULL, "refused: secrets are not encrypted here"),
    PROP("iv", PROP_STRING, Secret, iv, NULL, "refused, like keyid"),
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

static bool secret_decode(Secret *s, GError **err)
{
    static const char white[] = " \t\r\n";
    g_autofree char *text = g_strndup((const char *)s->bytes, s->len);
    size_t digits, len = strlen(text);
    gsize decoded_len = 0;
    uint8_t *decoded;

    digits = len;
    while (digits && strchr(white, text[digits - 1])) {
        digits--;
    }
    while (digits && text[digits - 1] == '=') {
        digits--;
    }
    for (size_t i = 0; i < digits; i++) {
        if (!g_ascii_isalnum(text[i]) && !strchr("+/ \t\r\n", text[i])) {
            explicit_bzero(text, len);
            return error_set(err, "Base64 data contains invalid characters");
        }
    }
    decoded = g_base64_decode(text, &decoded_len);
    explicit_bzero(text, len);
    wipe_and_free(s->bytes, s->len);
    s->bytes = decoded;
    s->len = decoded_len;
    return true;
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

    if (s->keyid || s->iv) {
        return error_set(err,
                         "'%s' is not supported: secrets that are encrypted with another one "
                         "are not in this program yet; give it in a file that only this "
                         "program's user can read",
                         s->keyid ? "keyid" : "iv");
    }
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
    return s->format != FORMAT_BASE64 || secret_decode(s, err);
}

const uint8_t *secret_bytes(const char *id, size_t *len, GError **err)
{
    Object *obj = object_find(id, &secret_class, err);
    Secret *s = obj ? container_of(obj, Secret, obj) : NULL;

    if (!s) {
        return NULL;
    }
    *len = s->len;
    return s->bytes;
}

const ObjectClass secret_class = {
    .name = "secret",
    .help = "a password or key",
    .size = sizeof(Secret),
    .props = secret_props,
    .complete = secret_complete,
    .wipe = secret_wipe,
};
