/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where guests' entropy comes from: -object rng-random (a host file) and rng-builtin (the host
 * kernel). Main loop only. A request is the caller's until it is done or cancelled.
 */
#ifndef DEVICES_RNG_H
#define DEVICES_RNG_H

#include "base/object.h"

extern const ObjectClass rng_random_class, rng_builtin_class;

typedef struct RngRequest RngRequest;
struct RngRequest {
    uint8_t *buf;
    size_t len;
    /* From a fresh callback: 'got' bytes (at least one, perhaps fewer than asked for). */
    void (*done)(RngRequest *req, size_t got);
    void *data;
    /* Private. */
    struct RngBackend *rng;
    RngRequest *next;
};

typedef struct RngBackend RngBackend;
/* By id. NULL id: the built-in one, private to the caller. NULL and *err where there is none. */
RngBackend *rng_backend_get(const char *id, GError **err);
void rng_backend_put(RngBackend *rng);
void rng_backend_read(RngBackend *rng, RngRequest *req);
void rng_backend_cancel(RngRequest *req); /* nothing happens where it is done already */

#endif
