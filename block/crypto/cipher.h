/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ciphers of disks, by nettle: each sector of 512 bytes is encrypted for itself, with an
 * initialization vector (IV) that is made from its number. Private to block/. Any thread.
 */
#ifndef BLOCK_CIPHER_H
#define BLOCK_CIPHER_H

#include "base/nettle.h"

enum { CIPHER_KEY_MAX = 64, CIPHER_SECTOR = 512, CIPHER_DIGEST_MAX = 64 };

/* A block cipher with a length of its key. */
typedef struct {
    const char *name;   /* "aes-256", as options have it */
    const char *family; /* "aes", as LUKS has it */
    const char *nettle; /* "aes256" */
    unsigned key_bytes, block_bytes;
} CipherAlg;

typedef enum { CIPHER_MODE_XTS, CIPHER_MODE_CBC, CIPHER_MODE_ECB, CIPHER_MODE_CTR } CipherMode;
typedef enum { CIPHER_IV_PLAIN, CIPHER_IV_PLAIN64, CIPHER_IV_ESSIV } CipherIv;

/* Names in the order of the enumerations, for tables of options. NULL-terminated. */
extern const char *const cipher_alg_names[],
    *const cipher_mode_names[], *const cipher_iv_names[], *const cipher_hash_names[];

typedef struct {
    const CipherAlg *alg;
    CipherMode mode;
    CipherIv iv;
    const char *iv_hash; /* ESSIV; one of cipher_hash_names */
} CipherSpec;

const CipherAlg *cipher_alg_at(unsigned index); /* of cipher_alg_names */
/* NULL: there is none. The key is that of the cipher alone, not of XTS. */
const CipherAlg *cipher_alg_find(const char *family, unsigned key_bytes);
/* The bytes of a key: XTS has two. */
unsigned cipher_key_bytes(const CipherSpec *spec);

typedef struct DiskCipher DiskCipher;
/* The key is copied. NULL and *err: no library, or a combination that makes no sense. */
DiskCipher *disk_cipher_new(const CipherSpec *spec, const uint8_t *key, GError **err);
/* Wipes the key. NULL is ignored. */
void disk_cipher_free(DiskCipher *c);
/* Whole sectors, of which the first has this number. 'out' may be 'in'. */
void disk_cipher_encrypt(const DiskCipher *c, uint64_t sector, uint8_t *out, const uint8_t *in,
                         size_t bytes);
void disk_cipher_decrypt(const DiskCipher *c, uint64_t sector, uint8_t *out, const uint8_t *in,
                         size_t bytes);

/*
 * Key derivation (PBKDF2 with HMAC) and LUKS's splitter against forensics. 'hash' is one of
 * cipher_hash_names.
 */
const struct nettle_hash *cipher_hash_find(const Nettle *lib, const char *name);
void kdf_pbkdf2(const Nettle *lib, const struct nettle_hash *hash, const void *password, size_t len,
                const uint8_t *salt, size_t salt_len, uint32_t iterations, uint8_t *out,
                size_t out_len);
/* How many iterations take 'ms' of this CPU's time, at least 'min'; for a result of out_len. */
uint64_t kdf_iterations_for(const Nettle *lib, const struct nettle_hash *hash, uint64_t ms,
                            uint64_t min, size_t out_len);
/* Spreads 'len' bytes over 'stripes' times as many; 'out' was filled with random bytes. */
void kdf_split(const struct nettle_hash *hash, const uint8_t *in, size_t len, uint32_t stripes,
               uint8_t *out);
void kdf_merge(const struct nettle_hash *hash, const uint8_t *in, size_t len, uint32_t stripes,
               uint8_t *out);
/* Bytes from the kernel that nobody can predict. */
bool kdf_random(void *out, size_t len, GError **err);

/* explicit_bzero() and g_free(). */
void wipe_free(void *p, size_t len);

#endif
