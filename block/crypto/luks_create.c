/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New LUKS headers, and new keys in them. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/util.h"
#include "format.h"
#include "luks.h"

/* As in QEMU and cryptsetup. */
enum { MIN_ITERATIONS = 1000 };

static bool choose(const char *option, const char *const *names, const char *given,
                   const char *otherwise, int *index, GError **err)
{
    const char *name = given ? given : otherwise;

    *index = name_index(names, name);
    return *index >= 0 || error_set(err, "Parameter '%s' does not accept value '%s'", option, name);
}

static bool plan_algorithms(const LuksCreate *o, LuksHeader *h, GError **err)
{
    int alg, mode, iv, iv_hash, hash;

    if (!choose("cipher-alg", cipher_alg_names, o->cipher_alg, "aes-256", &alg, err) ||
        !choose("cipher-mode", cipher_mode_names, o->cipher_mode, "xts", &mode, err) ||
        !choose("ivgen-alg", cipher_iv_names, o->ivgen_alg, "plain64", &iv, err) ||
        !choose("ivgen-hash-alg", cipher_hash_names, o->ivgen_hash_alg, "sha256", &iv_hash, err) ||
        !choose("hash-alg", cipher_hash_names, o->hash_alg, "sha256", &hash, err)) {
        return false;
    }
    if (o->ivgen_hash_alg && iv != CIPHER_IV_ESSIV) {
        return error_set(err, "'ivgen-hash-alg' is of use with ivgen-alg=essiv alone");
    }
    h->spec = (CipherSpec){cipher_alg_at(alg), mode, iv,
                           iv == CIPHER_IV_ESSIV ? cipher_hash_names[iv_hash] : NULL};
    h->hash = cipher_hash_names[hash];
    h->key_bytes = cipher_key_bytes(&h->spec);
    g_snprintf(h->mode_text, sizeof h->mode_text, "%s-%s%s%s", cipher_mode_names[mode],
               cipher_iv_names[iv], h->spec.iv_hash ? ":" : "",
               h->spec.iv_hash ? h->spec.iv_hash : "");
    return true;
}

bool luks_plan(const LuksCreate *o, LuksHeader *h, GError **err)
{
    static const uint8_t no_key[CIPHER_KEY_MAX] = {0};
    uint32_t slot_sectors;
    DiskCipher *cipher;

    *h = (LuksHeader){0};
    if (!plan_algorithms(o, h, err)) {
        return false;
    }
    /* Whether the parts go together is the cipher's to say. */
    cipher = disk_cipher_new(&h->spec, no_key, err);
    if (!cipher) {
        return false;
    }
    disk_cipher_free(cipher);
    slot_sectors = ROUND_UP(luks_slot_bytes(h), LUKS_ALIGN) / CIPHER_SECTOR;
    h->payload = LUKS_ALIGN / CIPHER_SECTOR;
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        h->slots[i] = (LuksSlot){.offset = h->payload, .stripes = LUKS_STRIPES};
        h->payload += slot_sectors;
    }
    return true;
}

static void serialize_slot(const LuksSlot *s, uint8_t *p)
{
    stbe32(p + LUKS_SLOT_STATE, s->active ? LUKS_SLOT_ENABLED : LUKS_SLOT_DISABLED);
    stbe32(p + LUKS_SLOT_ITERATIONS, s->iterations);
    memcpy(p + LUKS_SLOT_SALT, s->salt, LUKS_SALT);
    stbe32(p + LUKS_SLOT_OFFSET, s->offset);
    stbe32(p + LUKS_SLOT_STRIPES, s->stripes);
}

void luks_serialize(const LuksHeader *h, uint8_t raw[LUKS_HEADER_BYTES])
{
    memset(raw, 0, LUKS_HEADER_BYTES);
    memcpy(raw, luks_magic, sizeof luks_magic);
    stbe16(raw + LUKS_VERSION, 1);
    g_strlcpy((char *)raw + LUKS_CIPHER_NAME, h->spec.alg->family, LUKS_NAME);
    g_strlcpy((char *)raw + LUKS_CIPHER_MODE, h->mode_text, LUKS_NAME);
    g_strlcpy((char *)raw + LUKS_HASH_SPEC, h->hash, LUKS_NAME);
    stbe32(raw + LUKS_PAYLOAD_OFFSET, h->payload);
    stbe32(raw + LUKS_KEY_BYTES, h->key_bytes);
    memcpy(raw + LUKS_MASTER_DIGEST, h->digest, LUKS_DIGEST);
    memcpy(raw + LUKS_DIGEST_SALT, h->salt, LUKS_SALT);
    stbe32(raw + LUKS_DIGEST_ITERATIONS, h->iterations);
    memcpy(raw + LUKS_UUID_OFFSET, h->uuid, LUKS_UUID);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        serialize_slot(&h->slots[i], raw + LUKS_SLOT_TABLE + i * LUKS_SLOT_BYTES);
    }
}

int coroutine_fn luks_write_slot(const LuksArea *area, const LuksHeader *h, unsigned slot)
{
    unsigned at = LUKS_SLOT_TABLE + slot * LUKS_SLOT_BYTES;
    /* A cut of power may tear a write between sectors, and one slot lies across two. */
    unsigned head = MIN(ROUND_UP(at + 1, CIPHER_SECTOR) - at, LUKS_SLOT_BYTES);
    unsigned tail = LUKS_SLOT_BYTES - head;
    bool activate = h->slots[slot].active;
    uint8_t raw[LUKS_SLOT_BYTES];
    int ret = 0;

    serialize_slot(&h->slots[slot], raw);
    for (unsigned part = 0; part < 2 && ret == 0; part++) {
        /* The state is in the head: it is the last to say yes, and the first to say no. */
        bool is_tail = activate == (part == 0);
        unsigned skip = is_tail ? head : 0, len = is_tail ? tail : head;

        if (len) {
            ret = block_pwrite(area->node, area->offset + at + skip, raw + skip, len, 0);
            ret = ret < 0 ? ret : block_flush(area->node);
        }
    }
    return ret;
}

/* Making a key slot, on another thread. */
typedef struct {
    const LuksHeader *h;
    LuksSlot *slot;
    const char *password;
    const uint8_t *key;
    uint64_t iter_time;
    uint8_t *material; /* luks_slot_bytes(), random */
    GError *err;
} SlotMake;

static bool measure_iterations(const Nettle *lib, const struct nettle_hash *hash, uint64_t ms,
                               unsigned divide, size_t len, uint32_t *out, GError **err)
{
    uint64_t n;

    if (ms > UINT32_MAX) {
        return error_set(err, "PBKDF time %" PRIu64 " ms is too long", ms);
    }
    n = kdf_iterations_for(lib, hash, ms, MIN_ITERATIONS, len) / divide;
    if (n > UINT32_MAX || n > luks_iterations_max) {
        return error_set(err,
                         "PBKDF iterations %" PRIu64 " are too many: use a shorter 'iter-time'", n);
    }
    *out = MAX(n, MIN_ITERATIONS);
    return true;
}

static int slot_make(void *data)
{
    SlotMake *m = data;
    const LuksHeader *h = m->h;
    const Nettle *lib = nettle_load(&m->err);
    const struct nettle_hash *hash = lib ? cipher_hash_find(lib, h->hash) : NULL;
    uint8_t derived[CIPHER_KEY_MAX];
    size_t bytes = luks_slot_bytes(h);
    DiskCipher *cipher;

    if (!hash || !measure_iterations(lib, hash, m->iter_time, 1, h->key_bytes, &m->slot->iterations,
                                     &m->err)) {
        return -1;
    }
    kdf_pbkdf2(lib, hash, m->password, strlen(m->password), m->slot->salt, LUKS_SALT,
               m->slot->iterations, derived, h->key_bytes);
    kdf_split(hash, m->key, h->key_bytes, LUKS_STRIPES, m->material);
    cipher = disk_cipher_new(&h->spec, derived, &m->err);
    explicit_bzero(derived, sizeof derived);
    if (!cipher) {
        return -1;
    }
    disk_cipher_encrypt(cipher, 0, m->material, m->material, ROUND_UP(bytes, CIPHER_SECTOR));
    disk_cipher_free(cipher);
    return 0;
}

bool coroutine_fn luks_add_key(const LuksArea *area, LuksHeader *h, unsigned index,
                               const char *password, uint64_t iter_time, const uint8_t *key,
                               GError **err)
{
    LuksSlot slot = h->slots[index];
    size_t bytes = ROUND_UP(luks_slot_bytes(h), CIPHER_SECTOR);
    SlotMake m = {.h = h,
                  .slot = &slot,
                  .password = password,
                  .key = key,
                  .iter_time = iter_time,
                  .material = g_malloc(bytes)};
    bool ok = kdf_random(m.material, bytes, err) && kdf_random(slot.salt, LUKS_SALT, err);
    int ret;

    g_assert(!slot.active);
    if (ok && co_pool_run(slot_make, &m) < 0) {
        g_propagate_error(err, m.err);
        ok = false;
    }
    if (ok) {
        ret = block_pwrite(area->node, area->offset + (uint64_t)slot.offset * CIPHER_SECTOR,
                           m.material, bytes, 0);
        ret = ret < 0 ? ret : block_flush(area->node);
        if (ret == 0) {
            slot.active = true;
            h->slots[index] = slot;
            ret = luks_write_slot(area, h, index);
        }
        ok = ret == 0 || error_set_errno(err, -ret, "Unable to write keyslot %u", index);
    }
    wipe_free(m.material, bytes);
    return ok;
}

/* The digest by which a master key is known, on another thread. */
typedef struct {
    LuksHeader *h;
    const uint8_t *key;
    uint64_t iter_time;
    GError *err;
} DigestMake;

static int digest_make(void *data)
{
    enum { AS_IN_CRYPTSETUP = 8 };
    DigestMake *d = data;
    LuksHeader *h = d->h;
    const Nettle *lib = nettle_load(&d->err);
    const struct nettle_hash *hash = lib ? cipher_hash_find(lib, h->hash) : NULL;

    if (!hash || !measure_iterations(lib, hash, d->iter_time, AS_IN_CRYPTSETUP, LUKS_DIGEST,
                                     &h->iterations, &d->err)) {
        return -1;
    }
    kdf_pbkdf2(lib, hash, d->key, h->key_bytes, h->salt, LUKS_SALT, h->iterations, h->digest,
               LUKS_DIGEST);
    return 0;
}

static bool coroutine_fn create_header(LuksHeader *h, uint64_t iter_time, uint8_t *key,
                                       GError **err)
{
    g_autofree char *uuid = g_uuid_string_random();
    DigestMake d = {.h = h, .key = key, .iter_time = iter_time};

    g_strlcpy(h->uuid, uuid, sizeof h->uuid);
    if (!kdf_random(key, h->key_bytes, err) || !kdf_random(h->salt, LUKS_SALT, err)) {
        return false;
    }
    if (co_pool_run(digest_make, &d) < 0) {
        g_propagate_error(err, d.err);
        return false;
    }
    return true;
}

bool coroutine_fn luks_create(const LuksArea *area, const LuksCreate *o, LuksHeader *h,
                              GError **err)
{
    uint8_t key[CIPHER_KEY_MAX], raw[LUKS_HEADER_BYTES];
    const char *secret;
    char *password;
    bool ok;
    int ret;

    if (!luks_plan(o, h, err)) {
        return false;
    }
    if (!o->key_secret) {
        return error_set(err, "Parameter 'key-secret' is required for cipher");
    }
    secret = secret_text(o->key_secret, err);
    if (!secret) {
        return false;
    }
    password = g_strdup(secret);
    ok = create_header(h, o->iter_time, key, err);
    if (ok) {
        luks_serialize(h, raw);
        ret = block_pwrite(area->node, area->offset, raw, sizeof raw, 0);
        ok = ret == 0 ? luks_add_key(area, h, 0, password, o->iter_time, key, err)
                      : error_set_errno(err, -ret, "Unable to write the LUKS header");
    }
    explicit_bzero(key, sizeof key);
    wipe_free(password, strlen(password));
    return ok;
}
