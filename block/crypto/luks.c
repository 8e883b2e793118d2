/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A LUKS header that is there: what it says, and its master key. */
#include "luks.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/util.h"
#include "block/image.h"
#include "format.h"

/* In all, for an image: about a minute of a CPU. Tools that measure get a few millions in seconds.
 */
uint64_t luks_iterations_max = 100000000;

bool luks_probe(const uint8_t *buf, size_t len)
{
    return len >= LUKS_VERSION + 2 && !memcmp(buf, luks_magic, sizeof luks_magic) &&
           ldbe16(buf + LUKS_VERSION) == 1;
}

/* "xts-plain64", "cbc-essiv:sha256" */
static bool parse_mode(LuksHeader *h, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(h->mode_text, "-", 2);
    char *hash = parts[0] && parts[1] ? strchr(parts[1], ':') : NULL;
    int mode, iv, at;

    if (!parts[0] || !parts[1]) {
        return error_set(err, "Unexpected cipher mode string format '%s'", h->mode_text);
    }
    if (hash) {
        *hash++ = '\0';
    }
    mode = name_index(cipher_mode_names, parts[0]);
    if (mode < 0) {
        return error_set(err, "Cipher mode '%s' not supported", parts[0]);
    }
    iv = name_index(cipher_iv_names, parts[1]);
    if (iv < 0) {
        return error_set(err, "IV generator '%s' not supported", parts[1]);
    }
    h->spec.mode = mode;
    h->spec.iv = iv;
    if (hash) {
        at = name_index(cipher_hash_names, hash);
        if (at < 0) {
            return error_set(err, "Hash algorithm '%s' not supported", hash);
        }
        h->spec.iv_hash = cipher_hash_names[at];
    } else if (iv == CIPHER_IV_ESSIV) {
        return error_set(err, "Missing IV generator hash specification");
    }
    return true;
}

size_t luks_slot_bytes(const LuksHeader *h)
{
    return (size_t)h->key_bytes * LUKS_STRIPES;
}

static uint64_t slot_start(const LuksHeader *h, unsigned i)
{
    return h->slots[i].offset;
}

static uint64_t slot_end(const LuksHeader *h, unsigned i)
{
    return slot_start(h, i) + DIV_ROUND_UP(luks_slot_bytes(h), CIPHER_SECTOR);
}

static bool check_slot(const LuksHeader *h, unsigned i, GError **err)
{
    const LuksSlot *s = &h->slots[i];

    if (s->stripes != LUKS_STRIPES) {
        return error_set(err, "Keyslot %u is corrupted (stripes %" PRIu32 " != %d)", i, s->stripes,
                         LUKS_STRIPES);
    }
    if (slot_start(h, i) < DIV_ROUND_UP(LUKS_HEADER_BYTES, CIPHER_SECTOR)) {
        return error_set(err, "Keyslot %u is overlapping with the LUKS header", i);
    }
    if (s->active && s->iterations == 0) {
        return error_set(err, "Keyslot %u iteration count is zero", i);
    }
    if (slot_end(h, i) > h->payload) {
        return error_set(err, "Keyslot %u is overlapping with the encrypted payload", i);
    }
    for (unsigned k = i + 1; k < LUKS_SLOTS; k++) {
        if (slot_start(h, i) < slot_end(h, k) && slot_start(h, k) < slot_end(h, i)) {
            return error_set(err, "Keyslots %u and %u are overlapping in the header", i, k);
        }
    }
    return true;
}

static bool parse_slot(const uint8_t *raw, LuksHeader *h, unsigned i, GError **err)
{
    const uint8_t *p = raw + LUKS_SLOT_TABLE + i * LUKS_SLOT_BYTES;
    uint32_t state = ldbe32(p + LUKS_SLOT_STATE);

    h->slots[i] = (LuksSlot){
        .active = state == LUKS_SLOT_ENABLED,
        .iterations = ldbe32(p + LUKS_SLOT_ITERATIONS),
        .offset = ldbe32(p + LUKS_SLOT_OFFSET),
        .stripes = ldbe32(p + LUKS_SLOT_STRIPES),
    };
    memcpy(h->slots[i].salt, p + LUKS_SLOT_SALT, LUKS_SALT);
    return state == LUKS_SLOT_ENABLED || state == LUKS_SLOT_DISABLED ||
           error_set(err, "Keyslot %u state (active/disable) is corrupted", i);
}

static bool check_text(const uint8_t *raw, unsigned at, const char *what, GError **err)
{
    return memchr(raw + at, '\0', LUKS_NAME) ||
           error_set(err, "LUKS header %s is not NUL terminated", what);
}

static bool check_algorithms(const uint8_t *raw, LuksHeader *h, GError **err)
{
    const char *family = (const char *)raw + LUKS_CIPHER_NAME, *hash;
    unsigned key_bytes;
    int at;

    hash = (const char *)raw + LUKS_HASH_SPEC;
    at = name_index(cipher_hash_names, hash);
    if (at < 0) {
        return error_set(err, "Hash algorithm '%s' not supported", hash);
    }
    h->hash = cipher_hash_names[at];
    if (!parse_mode(h, err)) {
        return false;
    }
    key_bytes = h->spec.mode == CIPHER_MODE_XTS ? h->key_bytes / 2 : h->key_bytes;
    h->spec.alg = cipher_alg_find(family, key_bytes);
    if (!h->spec.alg || cipher_key_bytes(&h->spec) != h->key_bytes) {
        return error_set(err, "Algorithm '%s' with key size %u bytes not supported", family,
                         key_bytes);
    }
    return true;
}

bool luks_parse(const uint8_t raw[LUKS_HEADER_BYTES], LuksHeader *h, GError **err)
{
    *h = (LuksHeader){0};
    if (memcmp(raw, luks_magic, sizeof luks_magic)) {
        return error_set(err, "Volume is not in LUKS format");
    }
    if (ldbe16(raw + LUKS_VERSION) != 1) {
        return error_set(err, "LUKS version %u is not supported", ldbe16(raw + LUKS_VERSION));
    }
    if (!check_text(raw, LUKS_CIPHER_NAME, "cipher name", err) ||
        !check_text(raw, LUKS_CIPHER_MODE, "cipher mode", err) ||
        !check_text(raw, LUKS_HASH_SPEC, "hash spec", err)) {
        return false;
    }
    h->payload = ldbe32(raw + LUKS_PAYLOAD_OFFSET);
    h->key_bytes = ldbe32(raw + LUKS_KEY_BYTES);
    h->iterations = ldbe32(raw + LUKS_DIGEST_ITERATIONS);
    memcpy(h->digest, raw + LUKS_MASTER_DIGEST, LUKS_DIGEST);
    memcpy(h->salt, raw + LUKS_DIGEST_SALT, LUKS_SALT);
    memcpy(h->uuid, raw + LUKS_UUID_OFFSET, LUKS_UUID);
    memcpy(h->mode_text, raw + LUKS_CIPHER_MODE, LUKS_NAME);
    if (h->payload < DIV_ROUND_UP(LUKS_HEADER_BYTES, CIPHER_SECTOR)) {
        return error_set(err, "LUKS payload is overlapping with the header");
    }
    if (h->iterations == 0) {
        return error_set(err, "LUKS key iteration count is zero");
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        if (!parse_slot(raw, h, i, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        if (!check_slot(h, i, err)) {
            return false;
        }
    }
    return check_algorithms(raw, h, err);
}

bool coroutine_fn luks_load(const LuksArea *area, LuksHeader *h, GError **err)
{
    int64_t length = block_length(area->node);
    uint8_t raw[LUKS_HEADER_BYTES];
    int ret;

    if (length < 0) {
        return error_set_errno(err, -length, "Unable to read LUKS header");
    }
    if (area->bytes ? area->bytes < LUKS_HEADER_BYTES
                    : (uint64_t)length < area->offset + LUKS_HEADER_BYTES) {
        return error_set(err, "Volume is not in LUKS format: it ends within the header");
    }
    ret = block_pread(area->node, area->offset, raw, sizeof raw);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Unable to read LUKS header");
    }
    if (!luks_parse(raw, h, err)) {
        return false;
    }
    for (unsigned i = 0; area->bytes && i < LUKS_SLOTS; i++) {
        if (slot_end(h, i) * CIPHER_SECTOR > area->bytes) {
            return error_set(err, "Keyslot %u reaches past the end of the encryption header", i);
        }
    }
    return true;
}

/* Deriving the master key from a slot, on another thread. */
typedef struct {
    const LuksHeader *h;
    const LuksSlot *slot;
    const char *password;
    uint8_t *material; /* luks_slot_bytes() */
    uint8_t *key;      /* the result, or anything */
    GError *err;
} SlotTry;

/* 1: the password opens the slot; 0: it does not; -1: error. */
static int slot_try(void *data)
{
    SlotTry *t = data;
    const LuksHeader *h = t->h;
    const Nettle *lib = nettle_load(&t->err);
    const struct nettle_hash *hash = lib ? cipher_hash_find(lib, h->hash) : NULL;
    uint8_t derived[CIPHER_KEY_MAX], digest[LUKS_DIGEST];
    size_t bytes = luks_slot_bytes(h);
    DiskCipher *cipher;
    bool same;

    if (!hash) {
        return t->err ? -1 : (error_set(&t->err, "Hash algorithm '%s' not supported", h->hash), -1);
    }
    kdf_pbkdf2(lib, hash, t->password, strlen(t->password), t->slot->salt, LUKS_SALT,
               t->slot->iterations, derived, h->key_bytes);
    cipher = disk_cipher_new(&h->spec, derived, &t->err);
    explicit_bzero(derived, sizeof derived);
    if (!cipher) {
        return -1;
    }
    disk_cipher_decrypt(cipher, 0, t->material, t->material, ROUND_UP(bytes, CIPHER_SECTOR));
    disk_cipher_free(cipher);
    kdf_merge(hash, t->material, h->key_bytes, LUKS_STRIPES, t->key);
    kdf_pbkdf2(lib, hash, t->key, h->key_bytes, h->salt, LUKS_SALT, h->iterations, digest,
               LUKS_DIGEST);
    same = memcmp(digest, h->digest, LUKS_DIGEST) == 0;
    if (!same) {
        explicit_bzero(t->key, h->key_bytes);
    }
    return same;
}

/* As slot_try(). *spent: iterations that were carried out for this header, and this slot's. */
static int coroutine_fn try_slot(const LuksArea *area, const LuksHeader *h, unsigned i,
                                 const char *password, uint64_t *spent, uint8_t *key, GError **err)
{
    const LuksSlot *slot = &h->slots[i];
    size_t bytes = ROUND_UP(luks_slot_bytes(h), CIPHER_SECTOR);
    SlotTry t = {.h = h, .slot = slot, .password = password, .key = key};
    int64_t length = block_length(area->node);
    uint64_t at = area->offset + (uint64_t)slot->offset * CIPHER_SECTOR;
    int ret;

    if (*spent + slot->iterations + h->iterations > luks_iterations_max) {
        error_set(err,
                  "Keyslot %u wants %" PRIu32 " iterations and the master key's digest %" PRIu32
                  ": more than the %" PRIu64 " in all that are carried out for an image",
                  i, slot->iterations, h->iterations, luks_iterations_max);
        return -1;
    }
    if (length < 0 || (uint64_t)length < at + bytes) {
        error_set(err, "Keyslot %u lies past the end of the image", i);
        return -1;
    }
    *spent += slot->iterations + h->iterations;
    t.material = g_malloc(bytes);
    ret = block_pread(area->node, at, t.material, bytes);
    if (ret < 0) {
        error_set_errno(err, -ret, "Failed to read key material");
        ret = -1;
    } else {
        ret = co_pool_run(slot_try, &t);
        if (ret < 0) {
            g_propagate_error(err, t.err);
        }
    }
    wipe_free(t.material, bytes);
    return ret;
}

int coroutine_fn luks_find_slot(const LuksArea *area, const LuksHeader *h, const char *password,
                                unsigned from, uint8_t key[CIPHER_KEY_MAX], GError **err)
{
    GError *first = NULL;
    uint64_t spent = 0;

    /* A slot that cannot be tried does not keep another from opening. */
    for (unsigned i = from; i < LUKS_SLOTS; i++) {
        GError *why = NULL;
        int ret = h->slots[i].active ? try_slot(area, h, i, password, &spent, key, &why) : 0;

        if (ret > 0) {
            g_clear_error(&first);
            return i;
        }
        if (why && first) {
            g_clear_error(&why);
        }
        first = first ? first : why;
    }
    if (first) {
        g_propagate_error(err, first);
    }
    return -1;
}

bool coroutine_fn luks_unlock(const LuksArea *area, const LuksHeader *h, const char *secret,
                              uint8_t key[CIPHER_KEY_MAX], GError **err)
{
    const char *text = secret_text(secret, err);
    GError *why = NULL;
    char *password;
    int slot;

    if (!text) {
        return false;
    }
    /* The object may be deleted during the wait. */
    password = g_strdup(text);
    slot = luks_find_slot(area, h, password, 0, key, &why);
    wipe_free(password, strlen(password));
    if (slot >= 0) {
        return true;
    }
    if (why) {
        g_propagate_error(err, why);
        return false;
    }
    return error_set(err, "Invalid password, cannot unlock any keyslot");
}

static const Property slot_members[] = {MEMBER("active", PROP_BOOL), MAYBE("iters", PROP_INT64),
                                        MAYBE("stripes", PROP_INT64),
                                        MEMBER("key-offset", PROP_INT64), PROP_END};
static const PropertyShape slot_shape = {.name = "QCryptoBlockInfoLUKSSlot",
                                         .members = slot_members};
const Property block_luks_info_members[] = {
    MEMBER("cipher-alg", PROP_ENUM, .names = cipher_alg_names),
    MEMBER("cipher-mode", PROP_ENUM, .names = cipher_mode_names),
    MEMBER("ivgen-alg", PROP_ENUM, .names = cipher_iv_names),
    MAYBE("ivgen-hash-alg", PROP_ENUM, .names = cipher_hash_names),
    MEMBER("hash-alg", PROP_ENUM, .names = cipher_hash_names),
    MEMBER("payload-offset", PROP_INT64),
    MEMBER("master-key-iters", PROP_INT64),
    MEMBER("uuid", PROP_STRING),
    MEMBER_LIST("slots", PROP_TREE, .shape = &slot_shape),
    PROP_END,
};

json_t *luks_info(const LuksHeader *h, const char *format)
{
    json_t *o = json_object(), *slots = json_array();

    json_object_set_new(o, "ivgen-alg", json_string(cipher_iv_names[h->spec.iv]));
    json_object_set_new(o, "hash-alg", json_string(h->hash));
    json_object_set_new(o, "cipher-alg", json_string(h->spec.alg->name));
    json_object_set_new(o, "uuid", json_string_nocheck(h->uuid));
    if (h->spec.iv == CIPHER_IV_ESSIV) {
        json_object_set_new(o, "ivgen-hash-alg", json_string(h->spec.iv_hash));
    }
    if (format) {
        json_object_set_new(o, "format", json_string(format));
    }
    json_object_set_new(o, "cipher-mode", json_string(cipher_mode_names[h->spec.mode]));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &h->slots[i];
        json_t *slot = json_object();

        json_object_set_new(slot, "active", json_boolean(s->active));
        if (s->active) {
            json_object_set_new(slot, "iters", json_integer(s->iterations));
        }
        json_object_set_new(slot, "key-offset",
                            json_integer((json_int_t)s->offset * CIPHER_SECTOR));
        if (s->active) {
            json_object_set_new(slot, "stripes", json_integer(s->stripes));
        }
        json_array_append_new(slots, slot);
    }
    json_object_set_new(o, "slots", slots);
    json_object_set_new(o, "payload-offset", json_integer((json_int_t)h->payload * CIPHER_SECTOR));
    json_object_set_new(o, "master-key-iters", json_integer(h->iterations));
    return o;
}
