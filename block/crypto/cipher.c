/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cipher.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/util.h"

static const CipherAlg algs[] = {
    {"aes-128", "aes", "aes128", 16, 16},
    {"aes-192", "aes", "aes192", 24, 16},
    {"aes-256", "aes", "aes256", 32, 16},
    {"cast5-128", "cast5", "cast128", 16, 8},
    {"serpent-128", "serpent", "serpent128", 16, 16},
    {"serpent-192", "serpent", "serpent192", 24, 16},
    {"serpent-256", "serpent", "serpent256", 32, 16},
    {"twofish-128", "twofish", "twofish128", 16, 16},
    {"twofish-192", "twofish", "twofish192", 24, 16},
    {"twofish-256", "twofish", "twofish256", 32, 16},
};

const char *const cipher_alg_names[] = {
    "aes-128",     "aes-192",     "aes-256",     "cast5-128",   "serpent-128", "serpent-192",
    "serpent-256", "twofish-128", "twofish-192", "twofish-256", NULL,
};
const char *const cipher_mode_names[] = {[CIPHER_MODE_XTS] = "xts",
                                         [CIPHER_MODE_CBC] = "cbc",
                                         [CIPHER_MODE_ECB] = "ecb",
                                         [CIPHER_MODE_CTR] = "ctr",
                                         NULL};
const char *const cipher_iv_names[] = {[CIPHER_IV_PLAIN] = "plain",
                                       [CIPHER_IV_PLAIN64] = "plain64",
                                       [CIPHER_IV_ESSIV] = "essiv",
                                       NULL};
const char *const cipher_hash_names[] = {"md5",    "sha1",   "sha224",    "sha256",
                                         "sha384", "sha512", "ripemd160", NULL};

enum { BLOCK_MAX = 16, BATCH = 8 }; /* BATCH: sectors that are encrypted in one call */

struct DiskCipher {
    CipherSpec spec;
    const Nettle *lib;
    const struct nettle_cipher *cipher, *iv_cipher;
    size_t context_bytes, iv_context_bytes;
    /* The cipher's state for each direction, and that of the IVs: XTS's second key, or ESSIV's. */
    uint8_t *encrypt, *decrypt, *iv;
};

const CipherAlg *cipher_alg_at(unsigned index)
{
    return &algs[index];
}

const CipherAlg *cipher_alg_find(const char *family, unsigned key_bytes)
{
    for (unsigned i = 0; i < ARRAY_SIZE(algs); i++) {
        if (strcmp(algs[i].family, family) == 0 && algs[i].key_bytes == key_bytes) {
            return &algs[i];
        }
    }
    return NULL;
}

unsigned cipher_key_bytes(const CipherSpec *spec)
{
    return spec->alg->key_bytes * (spec->mode == CIPHER_MODE_XTS ? 2 : 1);
}

static const struct nettle_cipher *find_cipher(const Nettle *lib, const CipherAlg *alg)
{
    for (const struct nettle_cipher *const *c = lib->nettle_get_ciphers(); *c; c++) {
        if (strcmp((*c)->name, alg->nettle) == 0) {
            return *c;
        }
    }
    return NULL;
}

/* A buffer of the cipher's state; 16 bytes are the most that a state's alignment asks for. */
static uint8_t *cipher_context(size_t bytes)
{
    size_t len = ROUND_UP(bytes, 64);
    void *context = aligned_alloc(64, len);

    g_assert(context);
    return memset(context, 0, len);
}

static void cipher_context_free(uint8_t *context, size_t bytes)
{
    if (context) {
        explicit_bzero(context, bytes);
        free(context);
    }
}

/* ESSIV: the IV is the sector's number, encrypted with the hash of the key. */
static bool set_essiv(DiskCipher *c, const uint8_t *key, GError **err)
{
    const struct nettle_hash *hash = cipher_hash_find(c->lib, c->spec.iv_hash);
    const CipherAlg *alg;
    uint8_t digest[CIPHER_DIGEST_MAX];
    void *context;

    if (!hash) {
        return error_set(err, "Hash algorithm '%s' not supported", c->spec.iv_hash);
    }
    alg = cipher_alg_find(c->spec.alg->family, hash->digest_size);
    c->iv_cipher = alg ? find_cipher(c->lib, alg) : NULL;
    if (!c->iv_cipher) {
        g_autofree char *family = g_ascii_strup(c->spec.alg->family, -1);

        return error_set(err, "No %s cipher with key size %u available", family, hash->digest_size);
    }
    context = g_malloc0(hash->context_size);
    hash->init(context);
    hash->update(context, cipher_key_bytes(&c->spec), key);
    hash->digest(context, hash->digest_size, digest);
    wipe_free(context, hash->context_size);
    c->iv_context_bytes = c->iv_cipher->context_size;
    c->iv = cipher_context(c->iv_context_bytes);
    c->iv_cipher->set_encrypt_key(c->iv, digest);
    explicit_bzero(digest, sizeof digest);
    return true;
}

static bool set_keys(DiskCipher *c, const uint8_t *key, GError **err)
{
    const CipherAlg *alg = c->spec.alg;

    c->cipher = find_cipher(c->lib, alg);
    if (!c->cipher) {
        return error_set(err, "Algorithm '%s' not supported", alg->name);
    }
    if (c->spec.mode == CIPHER_MODE_XTS && alg->block_bytes != BLOCK_MAX) {
        return error_set(err,
                         "XTS mode with algorithm '%s' is not possible: it wants blocks of %d "
                         "bytes",
                         alg->name, BLOCK_MAX);
    }
    c->context_bytes = c->cipher->context_size;
    c->encrypt = cipher_context(c->context_bytes);
    c->decrypt = cipher_context(c->context_bytes);
    c->cipher->set_encrypt_key(c->encrypt, key);
    c->cipher->set_decrypt_key(c->decrypt, key);
    if (c->spec.mode == CIPHER_MODE_XTS) {
        c->iv_cipher = c->cipher;
        c->iv_context_bytes = c->context_bytes;
        c->iv = cipher_context(c->iv_context_bytes);
        c->cipher->set_encrypt_key(c->iv, key + alg->key_bytes);
    }
    if (c->spec.iv != CIPHER_IV_ESSIV) {
        return true;
    }
    if (c->spec.mode == CIPHER_MODE_XTS) {
        return error_set(err, "IV generator 'essiv' is not supported with cipher mode 'xts': use "
                              "'plain64'");
    }
    return c->spec.mode == CIPHER_MODE_ECB || set_essiv(c, key, err);
}

DiskCipher *disk_cipher_new(const CipherSpec *spec, const uint8_t *key, GError **err)
{
    const Nettle *lib = nettle_load(err);
    DiskCipher *c;

    if (!lib) {
        return NULL;
    }
    c = g_new0(DiskCipher, 1);
    c->spec = *spec;
    c->lib = lib;
    if (!set_keys(c, key, err)) {
        disk_cipher_free(c);
        return NULL;
    }
    return c;
}

void disk_cipher_free(DiskCipher *c)
{
    if (!c) {
        return;
    }
    cipher_context_free(c->encrypt, c->context_bytes);
    cipher_context_free(c->decrypt, c->context_bytes);
    cipher_context_free(c->iv, c->iv_context_bytes);
    g_free(c);
}

/* The IVs of 'count' sectors, one behind the other. */
static void make_ivs(const DiskCipher *c, uint64_t sector, unsigned count,
                     uint8_t ivs[BATCH * BLOCK_MAX])
{
    unsigned block = c->spec.alg->block_bytes;

    memset(ivs, 0, count * block);
    for (unsigned i = 0; i < count; i++) {
        if (c->spec.iv == CIPHER_IV_PLAIN) {
            stle32(ivs + i * block, sector + i);
        } else {
            stle64(ivs + i * block, sector + i);
        }
    }
    if (c->iv) {
        c->iv_cipher->encrypt(c->iv, count * block, ivs, ivs);
    }
}

typedef struct {
    uint64_t low, high;
} Tweak;

enum { SECTOR_TWEAKS = CIPHER_SECTOR / sizeof(Tweak) };

/*
 * XTS (IEEE 1619): what is combined with each block of a sector is that of the block before, times
 * x in GF(2^128).
 */
static void xts_tweaks(const uint8_t *iv, Tweak t[SECTOR_TWEAKS])
{
    t[0] = (Tweak){ldle64(iv), ldle64(iv + 8)};
    for (unsigned i = 1; i < SECTOR_TWEAKS; i++) {
        uint64_t carry = (uint64_t)((int64_t)t[i - 1].high >> 63) & 0x87;

        t[i].high = t[i - 1].high << 1 | t[i - 1].low >> 63;
        t[i].low = t[i - 1].low << 1 ^ carry;
    }
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (unsigned i = 0; i < SECTOR_TWEAKS; i++) {
        t[i] = (Tweak){GUINT64_SWAP_LE_BE(t[i].low), GUINT64_SWAP_LE_BE(t[i].high)};
    }
#endif
}

static void combine(uint8_t *out, const uint8_t *in, const Tweak *t, size_t bytes)
{
    const uint64_t *with = (const uint64_t *)t;

    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word;

        memcpy(&word, in + i * 8, 8);
        word ^= with[i];
        memcpy(out + i * 8, &word, 8);
    }
}

/* The blocks of several sectors go through the cipher in one call, which may do them abreast. */
static void xts_crypt(const DiskCipher *c, bool encrypt, uint64_t sector, uint8_t *out,
                      const uint8_t *in, size_t bytes)
{
    nettle_cipher_func *fn = encrypt ? c->cipher->encrypt : c->cipher->decrypt;
    const uint8_t *context = encrypt ? c->encrypt : c->decrypt;
    uint8_t ivs[BATCH * BLOCK_MAX];
    Tweak tweaks[BATCH * SECTOR_TWEAKS];

    while (bytes) {
        unsigned count = MIN(bytes / CIPHER_SECTOR, BATCH);
        size_t len = count * CIPHER_SECTOR;

        make_ivs(c, sector, count, ivs);
        for (unsigned i = 0; i < count; i++) {
            xts_tweaks(ivs + i * BLOCK_MAX, tweaks + i * SECTOR_TWEAKS);
        }
        combine(out, in, tweaks, len);
        fn(context, len, out, out);
        combine(out, out, tweaks, len);
        sector += count;
        out += len;
        in += len;
        bytes -= len;
    }
}

/* CBC, and CTR, where the IV is the counter's first value and decryption is encryption. */
static void chain_crypt(const DiskCipher *c, bool encrypt, uint64_t sector, uint8_t *out,
                        const uint8_t *in, size_t bytes)
{
    unsigned block = c->spec.alg->block_bytes;
    uint8_t ivs[BATCH * BLOCK_MAX];

    for (size_t done = 0; done < bytes; done += CIPHER_SECTOR) {
        unsigned i = done / CIPHER_SECTOR % BATCH;

        if (i == 0) {
            make_ivs(c, sector + done / CIPHER_SECTOR, MIN((bytes - done) / CIPHER_SECTOR, BATCH),
                     ivs);
        }
        if (c->spec.mode == CIPHER_MODE_CTR) {
            c->lib->nettle_ctr_crypt(c->encrypt, c->cipher->encrypt, block, ivs + i * block,
                                     CIPHER_SECTOR, out + done, in + done);
        } else if (encrypt) {
            c->lib->nettle_cbc_encrypt(c->encrypt, c->cipher->encrypt, block, ivs + i * block,
                                       CIPHER_SECTOR, out + done, in + done);
        } else {
            c->lib->nettle_cbc_decrypt(c->decrypt, c->cipher->decrypt, block, ivs + i * block,
                                       CIPHER_SECTOR, out + done, in + done);
        }
    }
}

static void disk_cipher_crypt(const DiskCipher *c, bool encrypt, uint64_t sector, uint8_t *out,
                              const uint8_t *in, size_t bytes)
{
    switch (c->spec.mode) {
    case CIPHER_MODE_XTS:
        xts_crypt(c, encrypt, sector, out, in, bytes);
        break;
    case CIPHER_MODE_CBC:
    case CIPHER_MODE_CTR:
        chain_crypt(c, encrypt, sector, out, in, bytes);
        break;
    case CIPHER_MODE_ECB:
        (encrypt ? c->cipher->encrypt : c->cipher->decrypt)(encrypt ? c->encrypt : c->decrypt,
                                                            bytes, out, in);
        break;
    }
}

void disk_cipher_encrypt(const DiskCipher *c, uint64_t sector, uint8_t *out, const uint8_t *in,
                         size_t bytes)
{
    disk_cipher_crypt(c, true, sector, out, in, bytes);
}

void disk_cipher_decrypt(const DiskCipher *c, uint64_t sector, uint8_t *out, const uint8_t *in,
                         size_t bytes)
{
    disk_cipher_crypt(c, false, sector, out, in, bytes);
}
