/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd_link.h"
#include "nbd_tunnel.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/library.h"
#include "base/log.h"
#include "base/util.h"

enum { RETRY_FIRST_MS = 250, RETRY_MAX_MS = 8000, RETRY_SLICE_MS = 50, RETRY_PAUSE_MS = 1000 };

#define NBD_FUNCTIONS(F)                                                                           \
    F(nbd_create)                                                                                  \
    F(nbd_close)                                                                                   \
    F(nbd_get_error)                                                                               \
    F(nbd_get_errno)                                                                               \
    F(nbd_set_export_name)                                                                         \
    F(nbd_add_meta_context)                                                                        \
    F(nbd_set_tls)                                                                                 \
    F(nbd_set_tls_certificates)                                                                    \
    F(nbd_set_tls_verify_peer)                                                                     \
    F(nbd_set_tls_username)                                                                        \
    F(nbd_set_tls_psk_file)                                                                        \
    F(nbd_aio_connect_tcp)                                                                         \
    F(nbd_aio_connect_socket)                                                                      \
    F(nbd_aio_disconnect)                                                                          \
    F(nbd_aio_get_fd)                                                                              \
    F(nbd_aio_get_direction)                                                                       \
    F(nbd_aio_notify_read)                                                                         \
    F(nbd_aio_notify_write)                                                                        \
    F(nbd_aio_is_connecting)                                                                       \
    F(nbd_aio_is_dead)                                                                             \
    F(nbd_aio_is_closed)                                                                           \
    F(nbd_aio_is_ready)                                                                            \
    F(nbd_aio_pread)                                                                               \
    F(nbd_aio_pwrite)                                                                              \
    F(nbd_aio_zero)                                                                                \
    F(nbd_aio_trim)                                                                                \
    F(nbd_aio_flush)                                                                               \
    F(nbd_aio_block_status)                                                                        \
    F(nbd_get_size)                                                                                \
    F(nbd_get_block_size)                                                                          \
    F(nbd_is_read_only)                                                                            \
    F(nbd_can_flush)                                                                               \
    F(nbd_can_fua)                                                                                 \
    F(nbd_can_trim)                                                                                \
    F(nbd_can_zero)                                                                                \
    F(nbd_can_fast_zero)                                                                           \
    F(nbd_can_meta_context)

static struct {
    NBD_FUNCTIONS(LIBRARY_POINTER)
} nbd;
static const char *const nbd_names[] = {NBD_FUNCTIONS(LIBRARY_NAME) NULL};
static Library nbd_library = {"libnbd.so.0", "libnbd0", nbd_names, &nbd};

struct NbdLink {
    NbdLinkOptions o;
    EventLoop *home;
    GMutex guard; /* of the 'done' of operations */
    /* The home loop's alone, from here on. */
    struct nbd_handle *h; /* NULL: there is no connection, nor one in the making */
    bool up;              /* requests go to 'h' */
    int fd;               /* a duplicate of the socket: libnbd closes its own when it likes */
    FdHandler *watch;
    bool watch_read, watch_write;
    NbdFacts facts;
    bool has_facts;
    GQueue active, finished, waiting; /* NbdOp: sent; over; until there is a connection */
    uint64_t acked, stable;           /* writes that were acknowledged; how many a flush covers */
    bool writes_lost;                 /* the next flush says so */
    char *why;                        /* the connection has failed */
    char *tunnel_why;                 /* the tunnel has */
    Coroutine *connector;             /* waits for an event */
    bool connecting, closing, cancelled, gave_up, late;
    unsigned tunnels;  /* that have not ended; they use the credentials */
    int64_t failed_ns; /* when the last attempt has failed; 0: it has not */
    Timer *give_up, *deadline;
    CoQueue idle; /* until nobody is connecting, and the last tunnel has ended */
};

/* Operations. */

static void op_finish(NbdOp *op, int ret)
{
    NbdLink *l = op->link;

    g_mutex_lock(&l->guard);
    op->ret = ret;
    op->done = true;
    coroutine_wake(op->co);
    g_mutex_unlock(&l->guard);
}

static void fail_all(GQueue *ops, int ret)
{
    GList *node;

    while ((node = g_queue_pop_head_link(ops))) {
        op_finish(node->data, ret);
    }
}

static int op_extent(void *data, const char *context, uint64_t offset, uint32_t *entries,
                     size_t count, int *error)
{
    NbdOp *op = data;

    /* A server that breaks the rules has said nothing. */
    for (size_t i = 0; i + 1 < count && offset == op->offset; i += 2) {
        if (op->len && entries[i + 1] != op->state) {
            break;
        }
        op->state = entries[i + 1];
        op->len += entries[i];
    }
    return 0;
}

/* libnbd calls this when the reply is complete, or will not come any more (ENOTCONN). */
static int op_completed(void *data, int *error)
{
    NbdOp *op = data;
    NbdLink *l = op->link;

    op->ret = -*error;
    g_queue_unlink(&l->active, &op->node);
    g_queue_push_tail_link(&l->finished, &op->node);
    return 1;
}

static int64_t op_send(NbdLink *l, NbdOp *op)
{
    nbd_completion_callback done = {.callback = op_completed, .user_data = op};
    nbd_extent_callback extent = {.callback = op_extent, .user_data = op};

    switch (op->kind) {
    case NBD_READ:
        return nbd.nbd_aio_pread(l->h, op->buf, op->bytes, op->offset, done, op->flags);
    case NBD_WRITE:
        return nbd.nbd_aio_pwrite(l->h, op->buf, op->bytes, op->offset, done, op->flags);
    case NBD_ZERO:
        return nbd.nbd_aio_zero(l->h, op->bytes, op->offset, done, op->flags);
    case NBD_TRIM:
        return nbd.nbd_aio_trim(l->h, op->bytes, op->offset, done, op->flags);
    case NBD_FLUSH:
        return nbd.nbd_aio_flush(l->h, done, op->flags);
    case NBD_STATUS:
        op->len = 0;
        return nbd.nbd_aio_block_status(l->h, op->bytes, op->offset, extent, done, op->flags);
    }
    g_assert_not_reached();
}

static bool op_writes(const NbdOp *op)
{
    return op->kind == NBD_WRITE || op->kind == NBD_ZERO || op->kind == NBD_TRIM;
}

/* The connection's life. */

static void link_wake_connector(NbdLink *l)
{
    Coroutine *co = g_steal_pointer(&l->connector);

    if (co) {
        coroutine_wake(co);
    }
}

static void link_unwatch(NbdLink *l)
{
    fd_handler_remove(g_steal_pointer(&l->watch));
    fd_close(&l->fd);
}

static void link_readable(void *data);
static void link_writable(void *data);

/* Watches the socket that the handle has now, for what the handle waits for. */
static void link_watch(NbdLink *l, bool again)
{
    unsigned direction = nbd.nbd_aio_get_direction(l->h);
    bool read = direction & LIBNBD_AIO_DIRECTION_READ,
         write = direction & LIBNBD_AIO_DIRECTION_WRITE;

    if (again) {
        int fd = nbd.nbd_aio_get_fd(l->h);

        link_unwatch(l);
        l->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (l->fd < 0) {
            return;
        }
        l->watch = event_loop_add_fd(l->home, l->fd, link_readable, link_writable, l);
        l->watch_read = l->watch_write = true;
    }
    if (l->watch && (read != l->watch_read || write != l->watch_write)) {
        l->watch_read = read;
        l->watch_write = write;
        fd_handler_set(l->watch, read, write);
    }
}

static void link_drop(NbdLink *l)
{
    link_unwatch(l);
    nbd.nbd_close(g_steal_pointer(&l->h));
    l->up = false;
}

static void link_connect_soon(NbdLink *l);

static void link_lost(NbdLink *l, GQueue *lost)
{
    log_error("NBD server '%s': the connection is lost%s%s", l->o.name, l->why ? ": " : "",
              l->why ? l->why : "");
    link_drop(l);
    if (l->stable < l->acked) {
        l->stable = l->acked;
        l->writes_lost = true;
    }
    if (!l->o.reconnect_seconds || l->cancelled || l->closing) {
        fail_all(lost, -EIO);
        return;
    }
    l->gave_up = false;
    for (GList *node; (node = g_queue_pop_head_link(lost));) {
        g_queue_push_tail_link(&l->waiting, node);
    }
    timer_arm(l->give_up, clock_ns(CLOCK_REALTIME_NS) + l->o.reconnect_seconds * NS_PER_SEC);
    link_connect_soon(l);
}

/* An operation is over. False: it is to be done again by another connection. */
static bool op_settle(NbdLink *l, NbdOp *op)
{
    if (op->ret == -ENOTCONN) {
        return false;
    }
    if (op->ret == 0 && op_writes(op) && !(op->flags & LIBNBD_CMD_FLAG_FUA)) {
        l->acked++;
    }
    if (op->ret == 0 && op->kind == NBD_FLUSH) {
        l->stable = MAX(l->stable, op->len);
    }
    op_finish(op, op->ret);
    return true;
}

/* After each call of libnbd: hands over what is over, and looks whether the connection stands. */
static void link_after(NbdLink *l)
{
    GQueue lost = G_QUEUE_INIT;
    GList *node;

    while ((node = g_queue_pop_head_link(&l->finished))) {
        if (!op_settle(l, node->data)) {
            g_queue_push_tail_link(&lost, node);
        }
    }
    if (!l->up) {
        fail_all(&lost, -EIO);
        link_wake_connector(l);
        return;
    }
    if (nbd.nbd_aio_is_dead(l->h) || nbd.nbd_aio_is_closed(l->h)) {
        for (; (node = g_queue_pop_head_link(&l->active));) {
            g_queue_push_tail_link(&lost, node);
        }
        link_lost(l, &lost);
        return;
    }
    fail_all(&lost, -EIO);
    link_watch(l, false);
}

/* The text of libnbd's last error on this thread, without the function that it names. */
static void link_note_error(NbdLink *l)
{
    const char *text = nbd.nbd_get_error(), *rest = text ? strstr(text, ": ") : NULL;

    if (text) {
        g_free(l->why);
        l->why = g_strdup(rest && g_str_has_prefix(text, "nbd_") ? rest + 2 : text);
    }
}

static void link_notify(NbdLink *l, int (*notify)(struct nbd_handle *h))
{
    if (notify(l->h) < 0) {
        link_note_error(l);
    }
    link_after(l);
}

static void link_readable(void *data)
{
    NbdLink *l = data;

    if (nbd.nbd_aio_get_direction(l->h) & LIBNBD_AIO_DIRECTION_READ) {
        link_notify(l, nbd.nbd_aio_notify_read);
    } else {
        link_after(l);
    }
}

static void link_writable(void *data)
{
    NbdLink *l = data;

    if (nbd.nbd_aio_get_direction(l->h) & LIBNBD_AIO_DIRECTION_WRITE) {
        link_notify(l, nbd.nbd_aio_notify_write);
    } else {
        link_after(l);
    }
}

/* Connecting. */

static bool link_error(NbdLink *l, GError **err)
{
    const char *text = nbd.nbd_get_error();

    return error_set(err, "NBD server '%s': %s", l->o.name, text ? text : "libnbd has failed");
}

static bool link_set_tls(NbdLink *l, GError **err)
{
    const TlsCreds *creds = l->o.creds;
    g_autofree char *psk = NULL;
    bool ok;

    if (!creds) {
        return true;
    }
    ok = nbd.nbd_set_tls(l->h, LIBNBD_TLS_REQUIRE) == 0;
    if (tls_creds_kind(creds) == TLS_CREDS_PSK) {
        psk = g_build_filename(tls_creds_dir(creds), "keys.psk", NULL);
        ok = ok && nbd.nbd_set_tls_psk_file(l->h, psk) == 0 &&
             (!tls_creds_username(creds) ||
              nbd.nbd_set_tls_username(l->h, tls_creds_username(creds)) == 0);
    } else {
        ok = ok && nbd.nbd_set_tls_certificates(l->h, tls_creds_dir(creds)) == 0 &&
             nbd.nbd_set_tls_verify_peer(l->h, tls_creds_verify_peer(creds)) == 0;
    }
    return ok || link_error(l, err);
}

static void link_tunnel_failed(void *data, const char *why)
{
    NbdLink *l = data;

    g_free(l->tunnel_why);
    l->tunnel_why = g_strdup(why);
}

static void link_tunnel_ended(void *data)
{
    NbdLink *l = data;

    l->tunnels--;
    co_queue_wake_all(&l->idle);
}

static int link_open_tunnel(NbdLink *l, GError **err)
{
    NbdTunnelOptions o = {.path = l->o.path,
                          .host = l->o.host,
                          .port = l->o.port,
                          .creds = l->o.creds,
                          .hostname = l->o.tls_hostname,
                          .failed = link_tunnel_failed,
                          .ended = link_tunnel_ended,
                          .data = l};
    int fd = nbd_tunnel_open(&o, err);

    l->tunnels += fd >= 0;
    return fd;
}

/* On a worker: resolving a name blocks. */
static int connect_tcp_worker(void *data)
{
    NbdLink *l = data;

    if (nbd.nbd_aio_connect_tcp(l->h, l->o.host, l->o.port) < 0) {
        link_note_error(l); /* the error is this thread's; the home loop waits */
        return -1;
    }
    return 0;
}

static bool coroutine_fn link_begin(NbdLink *l, GError **err)
{
    int fd;

    l->h = nbd.nbd_create();
    if (!l->h || nbd.nbd_set_export_name(l->h, l->o.export_name) < 0 ||
        nbd.nbd_add_meta_context(l->h, l->o.context) < 0) {
        return link_error(l, err);
    }
    if (!l->o.tunnel && !link_set_tls(l, err)) {
        return false;
    }
    if (!l->o.path && !l->o.tunnel) {
        return co_pool_run(connect_tcp_worker, l) == 0 ||
               error_set(err, "Failed to connect to '%s:%s': %s", l->o.host, l->o.port,
                         l->why ? l->why : "unknown error");
    }
    fd = l->o.tunnel ? link_open_tunnel(l, err) : host_unix_connect(l->o.path, err);
    if (fd < 0) {
        return false;
    }
    return nbd.nbd_aio_connect_socket(l->h, fd) == 0 ||
           (l->tunnel_why ? error_set(err, "NBD server '%s': %s", l->o.name, l->tunnel_why)
                          : link_error(l, err));
}

static void link_late(void *data)
{
    NbdLink *l = data;

    l->late = true;
    link_wake_connector(l);
}

/* Waits until the handshake is over. */
static bool coroutine_fn link_handshake(NbdLink *l, GError **err)
{
    bool ready = false;

    l->late = false;
    timer_arm(l->deadline, clock_ns(CLOCK_REALTIME_NS) + NBD_CONNECT_SECONDS * NS_PER_SEC);
    while (!l->late && !l->cancelled && !l->closing) {
        ready = nbd.nbd_aio_is_ready(l->h);
        if (ready || nbd.nbd_aio_is_dead(l->h) || nbd.nbd_aio_is_closed(l->h)) {
            break;
        }
        /* libnbd may go on to the next address, with another socket. */
        link_watch(l, true);
        l->connector = coroutine_self();
        while (l->connector == coroutine_self()) {
            coroutine_yield();
        }
        coroutine_wait_over();
    }
    timer_cancel(l->deadline);
    link_unwatch(l);
    if (!ready) {
        return error_set(err, "NBD server '%s': %s", l->o.name,
                         l->tunnel_why ? l->tunnel_why
                         : l->late     ? "there was no answer in time"
                         : l->why      ? l->why
                                       : "the connection was closed");
    }
    return true;
}

static bool link_look(NbdLink *l, NbdFacts *f, GError **err)
{
    int64_t size = nbd.nbd_get_size(l->h);
    int64_t min = nbd.nbd_get_block_size(l->h, LIBNBD_SIZE_MINIMUM);
    int64_t max = nbd.nbd_get_block_size(l->h, LIBNBD_SIZE_MAXIMUM);

    if (size < 0) {
        return link_error(l, err);
    }
    *f = (NbdFacts){
        .size = size,
        .min_block = min > 0 && min <= 65536 && is_power_of_2(min) ? min : 1,
        .max_block = max > 0 ? MIN(max, 32 * (int64_t)MiB) : 32 * (int64_t)MiB,
        .read_only = nbd.nbd_is_read_only(l->h) == 1,
        .can_flush = nbd.nbd_can_flush(l->h) == 1,
        .can_fua = nbd.nbd_can_fua(l->h) == 1,
        .can_trim = nbd.nbd_can_trim(l->h) == 1,
        .can_zero = nbd.nbd_can_zero(l->h) == 1,
        .can_fast_zero = nbd.nbd_can_fast_zero(l->h) == 1,
        .has_context = nbd.nbd_can_meta_context(l->h, l->o.context) == 1,
    };
    if (f->max_block < f->min_block || size % f->min_block) {
        return error_set(err,
                         "NBD server '%s': sizes that do not go together: %" PRId64
                         " bytes in blocks of %u to %u",
                         l->o.name, size, f->min_block, f->max_block);
    }
    /* What was believed of the export has to hold. */
    if (l->has_facts &&
        (f->size != l->facts.size || f->min_block > l->facts.min_block ||
         (f->read_only && !l->facts.read_only) || (l->facts.can_flush && !f->can_flush))) {
        return error_set(err, "NBD server '%s': the export is another one than before", l->o.name);
    }
    return true;
}

static bool coroutine_fn link_connect(NbdLink *l, GError **err)
{
    NbdFacts facts;

    g_clear_pointer(&l->why, g_free);
    g_clear_pointer(&l->tunnel_why, g_free);
    if (!link_begin(l, err) || !link_handshake(l, err) || !link_look(l, &facts, err)) {
        if (l->h) {
            link_drop(l);
        }
        l->failed_ns = clock_ns(CLOCK_REALTIME_NS);
        return false;
    }
    l->facts = facts;
    l->has_facts = true;
    l->failed_ns = 0;
    l->up = true;
    link_watch(l, true);
    return true;
}

static void link_submit(void *data);

static bool link_over(const NbdLink *l)
{
    return l->closing || l->cancelled;
}

/* Sleeps, but not on when the link is to end. */
static void coroutine_fn link_pause(NbdLink *l, unsigned ms)
{
    for (unsigned i = 0; i < ms && !link_over(l); i += RETRY_SLICE_MS) {
        coroutine_sleep(CLOCK_REALTIME_NS, RETRY_SLICE_MS * NS_PER_MS);
    }
}

static void coroutine_fn connect_again(void *data)
{
    NbdLink *l = data;
    unsigned ms = RETRY_FIRST_MS;

    while (!link_over(l)) {
        g_autoptr(GError) err = NULL;

        if (link_connect(l, &err)) {
            break;
        }
        log_item(LOG_BLOCK, "%s", err->message);
        if (!l->o.reconnect_seconds) {
            break;
        }
        link_pause(l, ms);
        ms = MIN(ms * 2, RETRY_MAX_MS);
    }
    l->connecting = false;
    if (l->up) {
        GQueue ready = l->waiting;

        log_info("NBD server '%s': connected again", l->o.name);
        timer_cancel(l->give_up);
        l->gave_up = false;
        g_queue_init(&l->waiting);
        for (GList *node; (node = g_queue_pop_head_link(&ready));) {
            link_submit(node->data);
        }
    } else {
        fail_all(&l->waiting, -EIO);
    }
    co_queue_wake_all(&l->idle);
}

static void link_connect_soon(NbdLink *l)
{
    if (!l->connecting && !link_over(l)) {
        l->connecting = true;
        coroutine_start(connect_again, l);
    }
}

static void link_give_up(void *data)
{
    NbdLink *l = data;

    if (!l->up) {
        l->gave_up = true;
        fail_all(&l->waiting, -EIO);
    }
}

/* Requests. */

static void link_send(NbdLink *l, NbdOp *op)
{
    if (op->kind == NBD_FLUSH) {
        op->len = l->acked; /* what is acknowledged later, the flush does not cover */
    }
    g_queue_push_tail_link(&l->active, &op->node);
    if (op_send(l, op) < 0) {
        int errnum = nbd.nbd_get_errno();
        bool dead = nbd.nbd_aio_is_dead(l->h) || nbd.nbd_aio_is_closed(l->h);

        link_note_error(l);
        op->ret = dead ? -ENOTCONN : errnum ? -errnum : -EIO;
        g_queue_unlink(&l->active, &op->node);
        g_queue_push_tail_link(&l->finished, &op->node);
    }
    link_after(l);
}

static void link_submit(void *data)
{
    NbdOp *op = data;
    NbdLink *l = op->link;

    if (l->cancelled) {
        op_finish(op, -EIO);
    } else if (op->kind == NBD_FLUSH && l->writes_lost) {
        l->writes_lost = false;
        log_error("NBD server '%s': writes that were not flushed may be lost with the connection",
                  l->o.name);
        op_finish(op, -EIO);
    } else if (l->up) {
        link_send(l, op);
    } else if (l->gave_up ||
               (!l->o.reconnect_seconds && !l->connecting && l->failed_ns &&
                clock_ns(CLOCK_REALTIME_NS) - l->failed_ns < RETRY_PAUSE_MS * NS_PER_MS)) {
        op_finish(op, -EIO);
    } else {
        g_queue_push_tail_link(&l->waiting, &op->node);
        link_connect_soon(l);
    }
}

int coroutine_fn nbd_link_run(NbdLink *l, NbdOp *op)
{
    op->link = l;
    op->co = coroutine_self();
    op->node = (GList){.data = op};
    op->done = false;
    if (event_loop_in_thread(l->home)) {
        link_submit(op);
    } else {
        event_loop_call(l->home, link_submit, op);
    }
    g_mutex_lock(&l->guard);
    while (!op->done) {
        g_mutex_unlock(&l->guard);
        coroutine_yield();
        g_mutex_lock(&l->guard);
    }
    coroutine_wait_over();
    g_mutex_unlock(&l->guard);
    return op->ret;
}

void nbd_link_cancel(NbdLink *l)
{
    if (l->cancelled) {
        return;
    }
    l->cancelled = true;
    if (l->up) {
        /* Closing forgets the operations: none of their buffers is touched any more. */
        link_drop(l);
    }
    link_wake_connector(l);
    fail_all(&l->active, -EIO);
    fail_all(&l->finished, -EIO);
    fail_all(&l->waiting, -EIO);
}

/* The first connection, which is tried for as long as the user says. */
static bool coroutine_fn link_connect_first(NbdLink *l, GError **err)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + l->o.open_seconds * NS_PER_SEC;
    unsigned ms = RETRY_FIRST_MS;

    while (!link_connect(l, err)) {
        if (clock_ns(CLOCK_REALTIME_NS) >= end || l->cancelled) {
            return false;
        }
        g_clear_error(err);
        link_pause(l, ms);
        ms = MIN(ms * 2, 1000);
    }
    return true;
}

NbdLink *coroutine_fn nbd_link_open(const NbdLinkOptions *options, NbdFacts *facts, GError **err)
{
    NbdLink *l;

    if (!library_load(&nbd_library, err)) {
        return NULL;
    }
    l = g_new0(NbdLink, 1);
    l->o = *options;
    l->home = event_loop_current();
    l->fd = -1;
    g_mutex_init(&l->guard);
    co_queue_init(&l->idle);
    l->give_up = timer_new(l->home, CLOCK_REALTIME_NS, link_give_up, l);
    l->deadline = timer_new(l->home, CLOCK_REALTIME_NS, link_late, l);
    if (!link_connect_first(l, err)) {
        nbd_link_close(l);
        return NULL;
    }
    *facts = l->facts;
    return l;
}

void coroutine_fn nbd_link_close(NbdLink *l)
{
    if (!l) {
        return;
    }
    l->closing = true;
    link_wake_connector(l);
    while (l->connecting) {
        co_queue_wait(&l->idle, NULL);
    }
    if (l->up) {
        nbd.nbd_aio_disconnect(l->h, 0);
        link_drop(l);
    }
    while (l->tunnels) {
        co_queue_wait(&l->idle, NULL);
    }
    g_assert(!l->active.length && !l->waiting.length && !l->finished.length);
    timer_free(l->give_up);
    timer_free(l->deadline);
    co_queue_destroy(&l->idle);
    g_mutex_clear(&l->guard);
    g_free(l->why);
    g_free(l->tunnel_why);
    g_free(l);
}
