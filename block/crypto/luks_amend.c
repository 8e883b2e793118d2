/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of a LUKS volume's keys. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/util.h"
#include "luks.h"

enum { DEFAULT_ITER_TIME = 2000 };

const char *const luks_state_names[] = {
    [LUKS_ACTIVE] = "active", [LUKS_INACTIVE] = "inactive", NULL};

/* A secret's text, which stays when the object goes (wipe_free()). NULL and *err. */
static char *password_of(const char *id, GError **err)
{
    const char *text = secret_text(id, err);

    return text ? g_strdup(text) : NULL;
}

static unsigned active_slots(const LuksHeader *h)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        n += h->slots[i].active;
    }
    return n;
}

/* The slot is given up in the header first, then what it holds is overwritten. */
static bool coroutine_fn erase_slot(const LuksArea *area, LuksHeader *h, unsigned i, GError **err)
{
    size_t bytes = ROUND_UP(luks_slot_bytes(h), CIPHER_SECTOR);
    LuksSlot *s = &h->slots[i];
    g_autofree uint8_t *noise = g_malloc(bytes);
    int ret;

    if (!kdf_random(noise, bytes, err)) {
        return false;
    }
    s->active = false;
    s->iterations = 0;
    memset(s->salt, 0, sizeof s->salt);
    ret = luks_write_slot(area, h, i);
    if (ret == 0) {
        ret = block_pwrite(area->node, area->offset + (uint64_t)s->offset * CIPHER_SECTOR, noise,
                           bytes, 0);
    }
    ret = ret < 0 ? ret : block_flush(area->node);
    return ret == 0 || error_set_errno(err, -ret, "Unable to erase keyslot %u", i);
}

static bool slot_in_range(const LuksAmend *o, GError **err)
{
    return !o->has_keyslot || (o->keyslot >= 0 && o->keyslot < LUKS_SLOTS) ||
           error_set(err, "Invalid keyslot %" PRId64 " specified, must be between 0 and %d",
                     o->keyslot, LUKS_SLOTS - 1);
}

/* The slot for a new key; -1 and *err: there is none. */
static int choose_slot(const LuksHeader *h, const LuksAmend *o, bool force, GError **err)
{
    if (o->has_keyslot) {
        if (h->slots[o->keyslot].active && !force) {
            error_set(err,
                      "Refusing to overwrite active keyslot %" PRId64 " - please erase it first",
                      o->keyslot);
            return -1;
        }
        return o->keyslot;
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        if (!h->slots[i].active) {
            return i;
        }
    }
    error_set(err, "Can't add a keyslot - all keyslots are in use");
    return -1;
}

static bool coroutine_fn amend_add(const LuksArea *area, LuksHeader *h, const char *secret,
                                   const LuksAmend *o, bool force, GError **err)
{
    uint8_t key[CIPHER_KEY_MAX];
    char *password;
    int slot;
    bool ok;

    if (!o->new_secret) {
        return error_set(err, "'new-secret' is required to activate a keyslot");
    }
    if (o->old_secret) {
        return error_set(err, "'old-secret' must not be given when activating keyslots");
    }
    slot = slot_in_range(o, err) ? choose_slot(h, o, force, err) : -1;
    password = slot >= 0 ? password_of(o->new_secret, err) : NULL;
    if (!password) {
        return false;
    }
    ok = luks_unlock(area, h, secret, key, err);
    ok = ok && (!h->slots[slot].active || erase_slot(area, h, slot, err)) &&
         luks_add_key(area, h, slot, password, o->has_iter_time ? o->iter_time : DEFAULT_ITER_TIME,
                      key, err);
    explicit_bzero(key, sizeof key);
    wipe_free(password, strlen(password));
    return ok;
}

/* A bit for each slot that the password opens. */
static bool coroutine_fn matching_slots(const LuksArea *area, const LuksHeader *h,
                                        const char *password, unsigned *slots, GError **err)
{
    uint8_t key[CIPHER_KEY_MAX];

    *slots = 0;
    for (int i = 0; i < LUKS_SLOTS; i++) {
        GError *why = NULL;

        i = luks_find_slot(area, h, password, i, key, &why);
        if (why) {
            g_propagate_error(err, why);
            return false;
        }
        if (i < 0) {
            break;
        }
        explicit_bzero(key, sizeof key);
        *slots |= 1u << i;
    }
    return true;
}

static bool coroutine_fn erase_one(const LuksArea *area, LuksHeader *h, const LuksAmend *o,
                                   unsigned matching, bool force, GError **err)
{
    unsigned i = o->keyslot;

    if (o->old_secret && !(matching & 1u << i)) {
        return error_set(err,
                         "Given keyslot %u doesn't contain the given old password for erase "
                         "operation",
                         i);
    }
    if (!h->slots[i].active && !force) {
        return error_set(err, "Given keyslot %u is already erased (inactive) ", i);
    }
    if (active_slots(h) == 1 && h->slots[i].active && !force) {
        return error_set(err,
                         "Attempt to erase the only active keyslot %u which will erase all the "
                         "data in the image irreversibly - refusing operation",
                         i);
    }
    return erase_slot(area, h, i, err);
}

static bool coroutine_fn erase_matching(const LuksArea *area, LuksHeader *h, unsigned matching,
                                        bool force, GError **err)
{
    bool ok = true;

    if (!matching) {
        return error_set(err, "No keyslots match given (old) password for erase operation");
    }
    if (active_slots(h) == (unsigned)__builtin_popcount(matching) && !force) {
        return error_set(err, "All the active keyslots match the (old) password that was given and "
                              "erasing them will erase all the data in the image irreversibly - "
                              "refusing operation");
    }
    for (unsigned i = 0; i < LUKS_SLOTS && ok; i++) {
        ok = !(matching & 1u << i) || erase_slot(area, h, i, err);
    }
    return ok;
}

static bool coroutine_fn amend_erase(const LuksArea *area, LuksHeader *h, const LuksAmend *o,
                                     bool force, GError **err)
{
    unsigned matching = 0;
    char *password;
    bool ok = true;

    if (o->new_secret) {
        return error_set(err, "'new-secret' must not be given when erasing keyslots");
    }
    if (o->has_iter_time) {
        return error_set(err, "'iter-time' must not be given when erasing keyslots");
    }
    if (!slot_in_range(o, err)) {
        return false;
    }
    if (o->old_secret) {
        password = password_of(o->old_secret, err);
        ok = password && matching_slots(area, h, password, &matching, err);
        wipe_free(password, password ? strlen(password) : 0);
    }
    if (!ok) {
        return false;
    }
    if (o->has_keyslot) {
        return erase_one(area, h, o, matching, force, err);
    }
    return o->old_secret ? erase_matching(area, h, matching, force, err)
                         : error_set(err, "To erase keyslot(s), either explicit keyslot index or "
                                          "the password currently contained in them must be given");
}

bool coroutine_fn luks_amend(const LuksArea *area, LuksHeader *h, const char *secret,
                             const LuksAmend *o, bool force, GError **err)
{
    if (!o->has_state) {
        return error_set(err, "Parameter 'state' is missing");
    }
    secret = o->secret ? o->secret : secret;
    return o->state == LUKS_ACTIVE ? amend_add(area, h, secret, o, force, err)
                                   : amend_erase(area, h, o, force, err);
}
