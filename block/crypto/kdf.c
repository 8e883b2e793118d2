/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys from passwords, and keys in stripes. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/error.h"
#include "base/util.h"
#include "cipher.h"

void wipe_free(void *p, size_t len)
{
    if (p) {
        explicit_bzero(p, len);
        g_free(p);
    }
}

bool kdf_random(void *out, size_t len, GError **err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((uint8_t *)out + done, len - done, 0);

        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "Unable to get random bytes");
        }
        done += MAX(n, 0);
    }
    return true;
}

const struct nettle_hash *cipher_hash_find(const Nettle *lib, const char *name)
{
    return g_strv_contains(cipher_hash_names, name) ? lib->nettle_lookup_hash(name) : NULL;
}

/* HMAC with a hash that is not known before. */
typedef struct {
    const Nettle *lib;
    const struct nettle_hash *hash;
    void *outer, *inner, *state;
} Hmac;

static void kdf_hmac_update(void *context, size_t len, const uint8_t *data)
{
    Hmac *h = context;

    h->lib->nettle_hmac_update(h->state, h->hash, len, data);
}

static void kdf_hmac_digest(void *context, size_t len, uint8_t *digest)
{
    Hmac *h = context;

    h->lib->nettle_hmac_digest(h->outer, h->inner, h->state, h->hash, len, digest);
}

void kdf_pbkdf2(const Nettle *lib, const struct nettle_hash *hash, const void *password, size_t len,
                const uint8_t *salt, size_t salt_len, uint32_t iterations, uint8_t *out,
                size_t out_len)
{
    size_t bytes = hash->context_size;
    Hmac h = {lib, hash, g_malloc0(bytes), g_malloc0(bytes), g_malloc0(bytes)};

    lib->nettle_hmac_set_key(h.outer, h.inner, h.state, hash, len, password);
    lib->nettle_pbkdf2(&h, kdf_hmac_update, kdf_hmac_digest, hash->digest_size, iterations,
                       salt_len, salt, out_len, out);
    wipe_free(h.outer, bytes);
    wipe_free(h.inner, bytes);
    wipe_free(h.state, bytes);
}

static uint64_t thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

uint64_t kdf_iterations_for(const Nettle *lib, const struct nettle_hash *hash, uint64_t ms,
                            uint64_t min, size_t out_len)
{
    static const uint8_t salt[32];
    enum { MEASURED_NS = 20000000 };
    g_autofree uint8_t *out = g_malloc(out_len);
    uint64_t count = min, ns = 0;

    if (ms == 0) {
        return min;
    }
    for (;; count *= 2) {
        uint64_t start = thread_ns();

        kdf_pbkdf2(lib, hash, "password", 8, salt, sizeof salt, count, out, out_len);
        ns = MAX(thread_ns() - start, 1);
        if (ns >= MEASURED_NS || count >= UINT32_MAX / 4) {
            break;
        }
    }
    return MAX((uint64_t)((double)count * 1e6 * ms / ns), min);
}

/* The hash of each digest's length of the block, with the piece's number before it. */
static void diffuse(const struct nettle_hash *hash, void *context, uint8_t *block, size_t len)
{
    uint8_t number[4], digest[CIPHER_DIGEST_MAX];

    for (size_t at = 0, i = 0; at < len; at += hash->digest_size, i++) {
        size_t n = MIN(len - at, hash->digest_size);

        stbe32(number, i);
        hash->init(context);
        hash->update(context, sizeof number, number);
        hash->update(context, n, block + at);
        hash->digest(context, hash->digest_size, digest);
        memcpy(block + at, digest, n);
    }
    explicit_bzero(digest, sizeof digest);
}

static void kdf_xor(uint8_t *out, const uint8_t *a, const uint8_t *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = a[i] ^ b[i];
    }
}

/* Combines all stripes but the last into 'block'. */
static void fold(const struct nettle_hash *hash, const uint8_t *stripes, size_t len, uint32_t count,
                 uint8_t *block)
{
    void *context = g_malloc0(hash->context_size);

    memset(block, 0, len);
    for (uint32_t i = 0; i + 1 < count; i++) {
        kdf_xor(block, block, stripes + i * len, len);
        diffuse(hash, context, block, len);
    }
    wipe_free(context, hash->context_size);
}

void kdf_split(const struct nettle_hash *hash, const uint8_t *in, size_t len, uint32_t stripes,
               uint8_t *out)
{
    uint8_t *block = g_malloc(len);

    fold(hash, out, len, stripes, block);
    kdf_xor(out + (stripes - 1) * len, in, block, len);
    wipe_free(block, len);
}

void kdf_merge(const struct nettle_hash *hash, const uint8_t *in, size_t len, uint32_t stripes,
               uint8_t *out)
{
    uint8_t *block = g_malloc(len);

    fold(hash, in, len, stripes, block);
    kdf_xor(out, in + (stripes - 1) * len, block, len);
    wipe_free(block, len);
}
