/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ciphers, hashes and key derivation by nettle's own functions, from a library that is loaded at
 * first use. Any thread. Whoever gives a key to a cipher wipes the cipher's context.
 */
#ifndef BASE_NETTLE_H
#define BASE_NETTLE_H

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/hmac.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>

#include "base/library.h"

#define NETTLE_SYMBOLS(F)                                                                          \
    F(nettle_aes256_set_decrypt_key)                                                               \
    F(nettle_aes256_decrypt)                                                                       \
    F(nettle_cbc_encrypt)                                                                          \
    F(nettle_cbc_decrypt)                                                                          \
    F(nettle_ctr_crypt)                                                                            \
    F(nettle_get_ciphers)                                                                          \
    F(nettle_lookup_hash)                                                                          \
    F(nettle_hmac_set_key)                                                                         \
    F(nettle_hmac_update)                                                                          \
    F(nettle_hmac_digest)                                                                          \
    F(nettle_pbkdf2)

typedef struct {
    NETTLE_SYMBOLS(LIBRARY_POINTER)
} Nettle;

/* NULL and *err where the library is missing. */
const Nettle *nettle_load(GError **err);

#endif
