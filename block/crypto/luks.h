/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS, version 1 (the 'LUKS1 On-Disk Format Specification', 1.2.3): the header with its eight key
 * slots, each of which may hold the volume's master key under another password. The format 'luks'
 * has it at the start of its file, qcow2 in clusters of its own. Private to block/.
 */
#ifndef BLOCK_LUKS_H
#define BLOCK_LUKS_H

#include <jansson.h>

#include "block/node.h"
#include "cipher.h"

enum {
    LUKS_SLOTS = 8,
    LUKS_HEADER_BYTES = 592,
    LUKS_STRIPES = 4000,
    LUKS_SALT = 32,
    LUKS_DIGEST = 20,
    LUKS_UUID = 40,
    LUKS_ALIGN = 4096, /* of key slots and the payload */
};

typedef struct {
    bool active;
    uint32_t iterations, offset, stripes; /* offset: sectors, from the header's start */
    uint8_t salt[LUKS_SALT];
} LuksSlot;

typedef struct {
    CipherSpec spec;
    const char *hash;                        /* of cipher_hash_names */
    uint32_t payload, key_bytes, iterations; /* payload: sectors */
    uint8_t digest[LUKS_DIGEST], salt[LUKS_SALT];
    char uuid[LUKS_UUID + 1];
    char mode_text[32 + 1]; /* "xts-plain64" */
    LuksSlot slots[LUKS_SLOTS];
} LuksHeader;

/* Where in a node the header lies, and how much room it and its key slots have. */
typedef struct {
    BlockNode *node;
    uint64_t offset, bytes; /* bytes 0: up to the payload */
} LuksArea;

/* How a new volume is made: the options, by QEMU's names. */
typedef struct {
    char *key_secret, *cipher_alg, *cipher_mode, *ivgen_alg, *ivgen_hash_alg, *hash_alg;
    uint64_t iter_time; /* ms of each derivation of a key */
} LuksCreate;

/* Entries of a table of properties; 'pre' is "" or "encrypt.". */
#define LUKS_CREATE_PROPS(pre, T, f)                                                               \
    {.name = pre "key-secret",                                                                     \
     .type = PROP_STRING,                                                                          \
     .offset = offsetof(T, f.key_secret),                                                          \
     .help = "the -object secret that opens the image"},                                           \
        {.name = pre "cipher-alg",                                                                 \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.cipher_alg),                                                      \
         .help = "cipher (aes-256)"},                                                              \
        {.name = pre "cipher-mode",                                                                \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.cipher_mode),                                                     \
         .help = "xts, cbc, ecb or ctr (xts)"},                                                    \
        {.name = pre "ivgen-alg",                                                                  \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.ivgen_alg),                                                       \
         .help = "plain, plain64 or essiv (plain64)"},                                             \
        {.name = pre "ivgen-hash-alg",                                                             \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.ivgen_hash_alg),                                                  \
         .help = "essiv: its hash (sha256)"},                                                      \
        {.name = pre "hash-alg",                                                                   \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.hash_alg),                                                        \
         .help = "hash of the key derivation (sha256)"},                                           \
    {                                                                                              \
        .name = pre "iter-time", .type = PROP_UINT64, .offset = offsetof(T, f.iter_time),          \
        .help = "milliseconds that it takes to try a password (2000)"                              \
    }

/* luks.c */
bool luks_probe(const uint8_t *buf, size_t len);
/* Checks all of a header, which may be hostile. */
bool luks_parse(const uint8_t raw[LUKS_HEADER_BYTES], LuksHeader *h, GError **err);
/* Reads and checks the header; one whose key slots or payload reach past area->bytes is refused. */
bool coroutine_fn luks_load(const LuksArea *area, LuksHeader *h, GError **err);
/*
 * The master key, of h->key_bytes, for a secret's id. Deriving keys takes a while, on a thread of
 * the pool. The caller wipes the key.
 */
bool coroutine_fn luks_unlock(const LuksArea *area, const LuksHeader *h, const char *secret,
                              uint8_t key[CIPHER_KEY_MAX], GError **err);
/*
 * The index of the first active slot from 'from' on that a password opens, or -1: no slot is, and
 * *err says which could not be tried. 'key' as above.
 */
int coroutine_fn luks_find_slot(const LuksArea *area, const LuksHeader *h, const char *password,
                                unsigned from, uint8_t key[CIPHER_KEY_MAX], GError **err);
/* "data" of 'qemu-img info'. 'format' (NULL: none) is a member as well. */
json_t *luks_info(const LuksHeader *h, const char *format);
/* Bytes of a key slot's material. */
size_t luks_slot_bytes(const LuksHeader *h);

/* luks_create.c */
/* The header of a new volume, without its secrets: its layout is known. */
bool luks_plan(const LuksCreate *o, LuksHeader *h, GError **err);
/*
 * Writes header and first key slot, stably. The area is not in use, and reads as anything; 'h' is
 * filled.
 */
bool coroutine_fn luks_create(const LuksArea *area, const LuksCreate *o, LuksHeader *h,
                              GError **err);
/* Writes a slot's entry of the header, stably; in the order that a cut of power may come in. */
int coroutine_fn luks_write_slot(const LuksArea *area, const LuksHeader *h, unsigned slot);
void luks_serialize(const LuksHeader *h, uint8_t raw[LUKS_HEADER_BYTES]);
/* Puts the master key under another password, into a slot that is not active. Stable on return. */
bool coroutine_fn luks_add_key(const LuksArea *area, LuksHeader *h, unsigned slot,
                               const char *password, uint64_t iter_time, const uint8_t *key,
                               GError **err);

/* luks_amend.c */
typedef struct {
    int state; /* LUKS_ACTIVE, LUKS_INACTIVE */
    char *new_secret, *old_secret;
    char *secret; /* opens the image now; NULL: as it was opened */
    int64_t keyslot;
    bool has_state, has_keyslot, has_iter_time;
    uint64_t iter_time;
} LuksAmend;
enum { LUKS_ACTIVE, LUKS_INACTIVE };
extern const char *const luks_state_names[];
#define LUKS_AMEND_PROPS(pre, T, f)                                                                \
    {.name = pre "state",                                                                          \
     .type = PROP_ENUM,                                                                            \
     .offset = offsetof(T, f.state),                                                               \
     .names = luks_state_names,                                                                    \
     .flags = PROP_FLAG_HAS,                                                                       \
     .set_offset = offsetof(T, f.has_state),                                                       \
     .help = "what becomes of the key slots: active or inactive"},                                 \
        {.name = pre "new-secret",                                                                 \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.new_secret),                                                      \
         .help = "active: the secret that opens the image from now on, too"},                      \
        {.name = pre "old-secret",                                                                 \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.old_secret),                                                      \
         .help = "inactive: the slots that this secret opens"},                                    \
        {.name = pre "keyslot",                                                                    \
         .type = PROP_INT64,                                                                       \
         .offset = offsetof(T, f.keyslot),                                                         \
         .flags = PROP_FLAG_HAS,                                                                   \
         .set_offset = offsetof(T, f.has_keyslot),                                                 \
         .help = "this key slot (0 to 7)"},                                                        \
        {.name = pre "secret",                                                                     \
         .type = PROP_STRING,                                                                      \
         .offset = offsetof(T, f.secret),                                                          \
         .flags = PROP_FLAG_HIDDEN,                                                                \
         .help = "the secret that opens the image now"},                                           \
    {                                                                                              \
        .name = pre "iter-time", .type = PROP_UINT64, .offset = offsetof(T, f.iter_time),          \
        .flags = PROP_FLAG_HAS, .set_offset = offsetof(T, f.has_iter_time),                        \
        .help = "active: milliseconds that it takes to try a password (2000)"                      \
    }
/*
 * Changes key slots. 'secret' opens the image now. At no time the header names no key that opens
 * the image. 'force' allows what loses the last key, or replaces an active one.
 */
bool coroutine_fn luks_amend(const LuksArea *area, LuksHeader *h, const char *secret,
                             const LuksAmend *o, bool force, GError **err);

/* For tests: the most iterations that are carried out for a header from outside. */
extern uint64_t luks_iterations_max;

#endif
