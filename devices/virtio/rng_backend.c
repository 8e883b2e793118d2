/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object rng-random and rng-builtin. */
#include "devices/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/log.h"
#include "base/util.h"

struct RngBackend {
    Object obj; /* class NULL: the private rng-builtin of rng_backend_get(NULL) */
    char *filename;
    int fd; /* rng-random */
    EventLoop *loop;
    FdHandler *handler;
    BottomHalf bh;
    RngRequest *head, **tail;
    bool said; /* rng_backend_warn() has logged */
};

static void serve_builtin(RngBackend *rng);
static void file_readable(void *data);

static RngBackend *rng_of(Object *obj)
{
    return container_of(obj, RngBackend, obj);
}

static void rng_backend_init(RngBackend *rng)
{
    rng->tail = &rng->head;
}

static RngRequest *rng_backend_take(RngBackend *rng)
{
    RngRequest *req = rng->head;

    if (req) {
        rng->head = req->next;
        if (!rng->head) {
            rng->tail = &rng->head;
        }
        req->rng = NULL;
    }
    return req;
}

static void listen_again(RngBackend *rng)
{
    if (rng->handler) {
        fd_handler_set(rng->handler, rng->head != NULL, false);
    }
}

static void rng_backend_warn(RngBackend *rng, const char *source, const char *why)
{
    if (!rng->said) {
        log_warn("%s: no more entropy from '%s': %s",
                 rng->obj.class == &rng_random_class ? "rng-random" : "rng-builtin", source, why);
        rng->said = true;
    }
}

static void file_readable(void *data)
{
    RngBackend *rng = data;
    ssize_t n;

    if (rng->head) {
        do {
            n = read(rng->fd, rng->head->buf, rng->head->len);
        } while (n < 0 && errno == EINTR);
        if (n > 0) {
            RngRequest *req = rng_backend_take(rng);

            req->done(req, n);
        } else if (!(n < 0 && errno == EAGAIN)) {
            /* The request waits for ever: a guest must not get bytes that are not random. */
            rng_backend_warn(rng, rng->filename, n ? g_strerror(errno) : "end of file");
            fd_handler_set(rng->handler, false, false);
            return;
        }
    }
    listen_again(rng);
}

static void serve_builtin(RngBackend *rng)
{
    if (rng->head) {
        /* Up to 256 bytes are not interrupted by signals. */
        ssize_t n = getrandom(rng->head->buf, MIN(rng->head->len, 256), 0);
        RngRequest *req;

        if (n <= 0) {
            /* The request waits, until the next one comes: the guest gets random bytes or none. */
            rng_backend_warn(rng, "the host's kernel", g_strerror(errno));
            return;
        }
        req = rng_backend_take(rng);
        req->done(req, n);
    }
    if (rng->head) {
        bh_schedule(&rng->bh);
    }
}

static void builtin_bh(void *data)
{
    serve_builtin(data);
}

static bool complete_random(Object *obj, GError **err)
{
    RngBackend *rng = rng_of(obj);

    rng_backend_init(rng);
    rng->fd = host_open(rng->filename, O_RDONLY | O_NONBLOCK, 0, err);
    return rng->fd >= 0;
}

static void finalize_random(Object *obj)
{
    RngBackend *rng = rng_of(obj);

    fd_handler_remove(g_steal_pointer(&rng->handler));
    fd_close(&rng->fd);
}

static bool complete_builtin(Object *obj, GError **err)
{
    rng_backend_init(rng_of(obj));
    return true;
}

static void finalize_builtin(Object *obj)
{
    RngBackend *rng = rng_of(obj);

    if (rng->loop) {
        bh_cancel(&rng->bh);
    }
}

static const Property random_props[] = {
    PROP("filename", PROP_STRING, RngBackend, filename, "/dev/urandom", "what to read"),
    PROP_END,
};
static const Property no_props[] = {PROP_END};

const ObjectClass rng_random_class = {
    .name = "rng-random",
    .help = "entropy from a file of the host",
    .size = sizeof(RngBackend),
    .parent = "rng-backend",
    .props = random_props,
    .complete = complete_random,
    .finalize = finalize_random,
};

const ObjectClass rng_builtin_class = {
    .name = "rng-builtin",
    .help = "entropy from the host's kernel",
    .size = sizeof(RngBackend),
    .parent = "rng-backend",
    .props = no_props,
    .complete = complete_builtin,
    .finalize = finalize_builtin,
};

RngBackend *rng_backend_get(const char *id, GError **err)
{
    Object *obj;

    if (!id) {
        RngBackend *rng = g_new0(RngBackend, 1);

        rng_backend_init(rng);
        return rng;
    }
    obj = object_find(id, NULL, err);
    if (!obj) {
        return NULL;
    }
    if (obj->class != &rng_random_class && obj->class != &rng_builtin_class) {
        error_set(err,
                  "object '%s' is of type '%s', not a source of entropy (rng-random, "
                  "rng-builtin)",
                  id, obj->class->name);
        return NULL;
    }
    if (obj->users) {
        error_set(err, "object '%s' is in use by another device", id);
        return NULL;
    }
    obj->users++;
    return rng_of(obj);
}

void rng_backend_put(RngBackend *rng)
{
    if (!rng) {
        return;
    }
    if (!rng->obj.class) {
        finalize_builtin(&rng->obj);
        g_free(rng);
        return;
    }
    rng->obj.users--;
}

void rng_backend_read(RngBackend *rng, RngRequest *req)
{
    req->rng = rng;
    req->next = NULL;
    *rng->tail = req;
    rng->tail = &req->next;
    if (!rng->loop) {
        rng->loop = event_loop_current();
        g_assert(rng->loop);
        bh_init(&rng->bh, rng->loop, builtin_bh, rng);
    }
    if (rng->obj.class != &rng_random_class) {
        bh_schedule(&rng->bh);
    } else if (!rng->handler) {
        rng->handler = event_loop_add_fd(rng->loop, rng->fd, file_readable, NULL, rng);
    } else {
        fd_handler_set(rng->handler, true, false);
    }
}

void rng_backend_cancel(RngRequest *req)
{
    RngBackend *rng = req->rng;

    if (!rng) {
        return;
    }
    for (RngRequest **link = &rng->head; *link; link = &(*link)->next) {
        if (*link == req) {
            *link = req->next;
            if (rng->tail == &req->next) {
                rng->tail = link;
            }
            req->rng = NULL;
            break;
        }
    }
    listen_again(rng);
}
