/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encrypted images (crypt_method): data clusters of one cipher, each sector under a number. With
 * LUKS, the keys are in a LUKS header in clusters of its own, and the number is that of the sector
 * in the file; with the old AES the key is the password, and the number is the guest's. Metadata
 * and compressed clusters are not encrypted.
 */
#include <errno.h>

#include "base/secret.h"
#include "qcow2.h"

static const char *const method_names[] = {
    [CRYPT_NONE] = NULL, [CRYPT_AES] = "aes", [CRYPT_LUKS] = "luks"};

typedef struct {
    char *format, *key_secret;
} EncryptOptions;

static const Property encrypt_props[] = {
    PROP("format", PROP_STRING, EncryptOptions, format, NULL, "luks or aes, as the image is"),
    PROP("key-secret", PROP_STRING, EncryptOptions, key_secret, NULL,
         "the -object secret that opens the image"),
    PROP_END,
};

static const Property key_members[] = {MAYBE("key-secret", PROP_STRING), PROP_END};
static const ShapeVariant encrypt_variants[] = {
    {"aes", key_members}, {"luks", key_members}, {NULL}};
const PropertyShape qcow2_encrypt_shape = {.name = "BlockdevQcow2Encryption",
                                           .members = NULL,
                                           .tag = "format",
                                           .variants = encrypt_variants,
                                           .is_open = true};

bool qcow2_parse_crypto_extension(Qcow2State *s, const uint8_t *p, uint32_t bytes, GError **err)
{
    if (s->crypt_method < CRYPT_LUKS) {
        return error_set(err, "CRYPTO header extension only expected with LUKS encryption method");
    }
    if (bytes != 16) {
        return error_set(err, "CRYPTO header extension size %u, but expected size 16", bytes);
    }
    s->crypto.offset = ldbe64(p);
    s->crypto.bytes = ldbe64(p + 8);
    if (!IS_ALIGNED(s->crypto.offset, s->cluster_size)) {
        return error_set(err,
                         "Encryption header offset '%" PRIu64
                         "' is not a multiple of cluster size '%" PRIu64 "'",
                         s->crypto.offset, s->cluster_size);
    }
    if (s->crypto.offset < s->cluster_size || s->crypto.bytes < LUKS_HEADER_BYTES ||
        s->crypto.bytes > MAX_CRYPTO_BYTES || s->crypto.offset > INT64_MAX - MAX_CRYPTO_BYTES) {
        return error_set(
            err, "Encryption header of %" PRIu64 " bytes at offset %" PRIu64 " makes no sense",
            s->crypto.bytes, s->crypto.offset);
    }
    return true;
}

bool qcow2_check_crypt_method(Qcow2State *s, GError **err)
{
    if (s->crypt_method > CRYPT_LUKS) {
        return error_set(err, "Unsupported encryption method %u", s->crypt_method);
    }
    if (s->crypt_method == CRYPT_LUKS && !s->crypto.bytes) {
        return error_set(err, "Missing CRYPTO header for crypt method %u", s->crypt_method);
    }
    if (s->crypt_method != CRYPT_LUKS) {
        s->crypto.offset = s->crypto.bytes = 0;
    }
    if (s->crypt_method && qcow2_has_data_file(s)) {
        return error_set(err, "Encryption of an external data file is not supported");
    }
    return true;
}

bool qcow2_overlaps_crypto(const Qcow2State *s, uint64_t host, uint64_t bytes)
{
    uint64_t end = ROUND_UP(s->crypto.offset + s->crypto.bytes, s->cluster_size);

    return s->crypto.bytes && host < end && s->crypto.offset < host + bytes;
}

static LuksArea crypto_area(BlockNode *n)
{
    Qcow2State *s = block_node_state(n);

    return (LuksArea){n->file, s->crypto.offset, s->crypto.bytes};
}

/* The key of the old AES is the password itself, up to 16 bytes. */
static bool aes_cipher(Qcow2State *s, const char *secret, GError **err)
{
    static const CipherIv iv = CIPHER_IV_PLAIN64;
    CipherSpec spec = {cipher_alg_find("aes", 16), CIPHER_MODE_CBC, iv, NULL};
    const char *password = secret_text(secret, err);
    uint8_t key[16] = {0};

    if (!password) {
        return false;
    }
    memcpy(key, password, MIN(strlen(password), sizeof key));
    s->crypto.cipher = disk_cipher_new(&spec, key, err);
    explicit_bzero(key, sizeof key);
    return s->crypto.cipher;
}

static bool coroutine_fn luks_cipher(BlockNode *n, const char *secret, GError **err)
{
    Qcow2State *s = block_node_state(n);
    LuksArea area = crypto_area(n);
    uint8_t key[CIPHER_KEY_MAX];

    if (!luks_unlock(&area, s->crypto.luks, secret, key, err)) {
        return false;
    }
    s->crypto.cipher = disk_cipher_new(&s->crypto.luks->spec, key, err);
    explicit_bzero(key, sizeof key);
    return s->crypto.cipher;
}

/*
 * Reads the LUKS header. Where the image was open before, it has to be for the same master key: the
 * cipher is there still.
 */
static bool coroutine_fn load_luks(BlockNode *n, GError **err)
{
    Qcow2State *s = block_node_state(n);
    LuksArea area = crypto_area(n);
    LuksHeader header;

    if (!luks_load(&area, &header, err)) {
        return false;
    }
    if (s->crypto.luks && (memcmp(s->crypto.luks->digest, header.digest, LUKS_DIGEST) ||
                           memcmp(s->crypto.luks->salt, header.salt, LUKS_SALT))) {
        return error_set(err, "the image was encrypted anew meanwhile");
    }
    s->crypto.luks = s->crypto.luks ? s->crypto.luks : g_new(LuksHeader, 1);
    *s->crypto.luks = header;
    return true;
}

static bool coroutine_fn open_with(BlockNode *n, const EncryptOptions *o, GError **err)
{
    Qcow2State *s = block_node_state(n);
    const char *method = method_names[s->crypt_method];

    if (!method && (o->format || o->key_secret)) {
        return error_set(err, "No encryption in image header, but options specified format '%s'",
                         o->format ? o->format : "luks");
    }
    if (o->format && !g_str_equal(o->format, method)) {
        return error_set(err, "Header reported '%s' encryption format but options specify '%s'",
                         method, o->format);
    }
    if (s->crypt_method == CRYPT_LUKS && !load_luks(n, err)) {
        return false;
    }
    if (s->crypto.cipher && s->crypto.method != s->crypt_method) {
        return error_set(err, "the image was encrypted anew meanwhile");
    }
    if (!s->crypt_method || n->no_io || s->crypto.cipher) {
        return true;
    }
    if (!o->key_secret) {
        return error_set(err, "Parameter 'encrypt.key-secret' is required for cipher");
    }
    g_free(s->crypto.secret);
    s->crypto.secret = g_strdup(o->key_secret);
    s->crypto.method = s->crypt_method;
    /* Sectors are encrypted whole. */
    n->request_alignment = MAX(n->request_alignment, CIPHER_SECTOR);
    return s->crypt_method == CRYPT_AES ? aes_cipher(s, o->key_secret, err)
                                        : luks_cipher(n, o->key_secret, err);
}

bool coroutine_fn qcow2_open_crypto(BlockNode *n, GError **err)
{
    Qcow2State *s = block_node_state(n);
    EncryptOptions o = {0};
    bool ok;

    if (s->encrypt_config && !json_is_object(s->encrypt_config)) {
        return error_set(err, "'encrypt' is a dictionary (format, key-secret)");
    }
    properties_init(encrypt_props, &o);
    ok = properties_apply(encrypt_props, &o, s->encrypt_config, NULL, "'encrypt'", err) &&
         open_with(n, &o, err);
    properties_clear(encrypt_props, &o);
    return ok;
}

void qcow2_close_crypto(Qcow2State *s)
{
    disk_cipher_free(g_steal_pointer(&s->crypto.cipher));
    g_clear_pointer(&s->crypto.luks, g_free);
    g_clear_pointer(&s->crypto.secret, g_free);
}

json_t *qcow2_crypto_info(const Qcow2State *s)
{
    const char *format = method_names[s->crypt_method];

    return s->crypto.luks ? luks_info(s->crypto.luks, format)
                          : json_pack("{s:s}", "format", format);
}

static uint64_t crypto_sector(const Qcow2State *s, uint64_t host, uint64_t guest)
{
    return (s->crypt_method == CRYPT_LUKS ? host : guest) / CIPHER_SECTOR;
}

int coroutine_fn qcow2_read_data(BlockNode *n, uint64_t host, uint64_t guest, uint64_t bytes,
                                 const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);

    if (G_LIKELY(!s->crypt_method && !n->no_io)) {
        return block_preadv(s->data, host, bytes, iov, niov);
    }
    if (!s->crypto.cipher || !IS_ALIGNED(guest | bytes, CIPHER_SECTOR)) {
        return -EIO; /* BLOCK_IMAGE_NO_IO: there is no cipher, or no data file */
    }
    return crypt_preadv(s->crypto.cipher, crypto_sector(s, host, guest), s->data, host, bytes, iov,
                        niov);
}

int coroutine_fn qcow2_write_data(BlockNode *n, uint64_t host, uint64_t guest, uint64_t bytes,
                                  const struct iovec *iov, unsigned niov)
{
    Qcow2State *s = block_node_state(n);

    if (G_LIKELY(!s->crypt_method && !n->no_io)) {
        return block_pwritev(s->data, host, bytes, iov, niov, 0);
    }
    if (!s->crypto.cipher || !IS_ALIGNED(guest | bytes, CIPHER_SECTOR)) {
        return -EIO;
    }
    return crypt_pwritev(s->crypto.cipher, crypto_sector(s, host, guest), s->data, host, bytes, iov,
                         niov, 0);
}

/* New images. */

/* The method that options of a new image ask for; -1 and *err: they make no sense. */
static int qcow2_create_crypt_method(const Qcow2Create *o, GError **err)
{
    bool old = o->encryption;
    const char *format = o->encrypt_format ? o->encrypt_format : old ? "aes" : NULL;

    if (old && o->encrypt_format) {
        error_set(err,
                  "'encrypt.format' and its alias 'encryption' can't be used at the same time");
        return -1;
    }
    if (!format) {
        const LuksCreate *l = &o->luks;
        bool more = l->key_secret || l->cipher_alg || l->cipher_mode || l->ivgen_alg ||
                    l->ivgen_hash_alg || l->hash_alg;

        if (more) {
            error_set(err, "Parameter 'encrypt.format' is missing");
        }
        return more ? -1 : CRYPT_NONE;
    }
    for (int method = CRYPT_AES; method <= CRYPT_LUKS; method++) {
        if (g_str_equal(format, method_names[method])) {
            return method;
        }
    }
    error_set(err, "Parameter 'format' does not accept value '%s'", format);
    return -1;
}

bool qcow2_create_check_crypto(const Qcow2Create *o, int *method, uint64_t *bytes, GError **err)
{
    LuksHeader h;

    *bytes = 0;
    *method = qcow2_create_crypt_method(o, err);
    if (*method <= CRYPT_NONE) {
        return *method == CRYPT_NONE;
    }
    if (!o->luks.key_secret) {
        return error_set(err, "Parameter 'encrypt.key-secret' is required for cipher");
    }
    if (!secret_text(o->luks.key_secret, err)) {
        return false;
    }
    if (o->data_file) {
        return error_set(err, "Encryption of an external data file is not supported");
    }
    if (o->preallocation && o->preallocation != BLOCK_PREALLOC_FULL) {
        return error_set(err,
                         "preallocation=%s does not go with encryption, as what is not written "
                         "would read as noise: use full or off",
                         block_preallocation_names[o->preallocation]);
    }
    if (*method == CRYPT_LUKS) {
        if (!luks_plan(&o->luks, &h, err)) {
            return false;
        }
        *bytes = (uint64_t)h.payload * CIPHER_SECTOR;
    }
    return true;
}

bool coroutine_fn qcow2_create_crypto(BlockNode *file, const Qcow2Create *o, uint64_t offset,
                                      uint64_t bytes, GError **err)
{
    LuksArea area = {file, offset, bytes};
    LuksHeader h;

    return !bytes || luks_create(&area, &o->luks, &h, err);
}

/* Keys. */

bool coroutine_fn qcow2_amend_keys(BlockNode *n, const LuksAmend *o, bool force, GError **err)
{
    Qcow2State *s = block_node_state(n);
    LuksArea area = crypto_area(n);

    if (!s->crypt_method) {
        return error_set(err, "Can't amend encryption options - encryption not present");
    }
    if (s->crypt_method != CRYPT_LUKS) {
        return error_set(err, "Only LUKS encryption options can be amended for qcow2 with amend");
    }
    return luks_amend(&area, s->crypto.luks, s->crypto.secret, o, force, err);
}
