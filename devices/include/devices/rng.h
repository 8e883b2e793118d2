/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sources of entropy for guests: -object rng-random (a host file) and rng-builtin (the host
 * kernel). Main loop only. A request's memory is the caller's, and stays valid until the request is
 * done or cancelled.
 */
#ifndef DEVICES_RNG_H
#define DEVICES_RNG_H

#include "base/object.h"

extern const ObjectClass rng_random_class, rng_builtin_class;

typedef struct RngRequest RngRequest;
struct RngRequest {
    uint8_t *buf;
    size_t len;
    /* Called from the main loop, never from rng_backend_read(). 1 <= got <= len. */
    void (*done)(RngRequest *req, size_t got);
    void *data;
    /* Private. */
    struct RngBackend *rng;
    RngRequest *next;
};

typedef struct RngBackend RngBackend;
/* The object of that id, or a new rng-builtin where id is NULL. NULL and *err: not found. The
 * caller releases it by rng_backend_put(). */
RngBackend *rng_backend_get(const char *id, GError **err);
void rng_backend_put(RngBackend *rng);
void rng_backend_read(RngBackend *rng, RngRequest *req);
void rng_backend_cancel(RngRequest *req); /* no effect on a request that is done */

#endif
