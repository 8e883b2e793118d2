/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD server's sockets and clients, and the export type 'nbd'. Main thread. */
#include "block/nbd_server.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/json.h"
#include "base/util.h"
#include "block/dirty_bitmap.h"
#include "nbd.h"
#include "nbd_proto.h"

/* How long the server waits when the process has no descriptor left. */
enum { NBD_ACCEPT_PAUSE_MS = 100 };

typedef struct {
    FdHandler *handler;
    HostSocketPath path;
} Listener;

typedef struct {
    NbdServerOptions options;
    TlsCreds *creds;      /* NULL: in clear */
    char *authz;          /* NULL: all that have TLS */
    GPtrArray *listeners; /* Listener */
    GPtrArray *clients;   /* NbdClient */
    bool stopping;
    Timer *pause; /* the server does not listen until this fires */
} NbdServer;

static NbdServer *server; /* NULL: none is running */
static WaitList server_empty, server_gone;
static unsigned servers_gone; /* how many have ended so far */

/* The export type. */

static bool is_nbd(const BlockExport *exp)
{
    return exp->class == &block_export_nbd;
}

typedef struct {
    const char *name;
    NbdExport *found;
} FindExport;

static void find_export(BlockExport *exp, void *data)
{
    FindExport *f = data;

    if (is_nbd(exp) && !exp->closing && g_str_equal(((NbdExport *)exp)->name, f->name)) {
        f->found = (NbdExport *)exp;
    }
}

NbdExport *nbd_export_find(const char *name)
{
    FindExport f = {.name = name};

    block_export_foreach(find_export, &f);
    return f.found;
}

int64_t nbd_export_size(const NbdExport *exp)
{
    return block_length(exp->base.node);
}

unsigned nbd_export_flags(const NbdExport *exp, const NbdClient *c)
{
    unsigned flags =
        NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

    if (!server || server->options.max_clients != 1) {
        flags |= NBD_FLAG_CAN_MULTI_CONN;
    }
    if (c->structured) {
        flags |= NBD_FLAG_SEND_DF;
    }
    return flags | (exp->base.writable
                        ? NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO
                        : NBD_FLAG_READ_ONLY);
}

/* The bitmap of the first node that has one of this name, from the export's down its chain. */
static BlockDirtyBitmap *find_bitmap(const BlockExport *base, json_t *which, GError **err)
{
    const char *name = json_is_string(which) ? json_string_value(which) : json_str(which, "name");
    const char *node = json_is_object(which) ? json_str(which, "node") : NULL;
    BlockNode *n = node ? block_node_find(node) : base->node;
    BlockDirtyBitmap *b = NULL;

    if (!name || !n) {
        error_set(err,
                  name ? "Cannot find device='%s' nor node-name='%s'"
                       : "Parameter 'bitmaps' is invalid",
                  node, node);
        return NULL;
    }
    for (; n && !b; n = node ? NULL : n->backing) {
        b = block_dirty_bitmap_find(n, name);
    }
    if (!b) {
        error_set(err, "Bitmap '%s' is not found", name);
    }
    return b;
}

static bool add_bitmap(NbdExport *exp, json_t *which, GError **err)
{
    BlockDirtyBitmap *b = find_bitmap(&exp->base, which, err);

    if (!b || !block_dirty_bitmap_check(b, BITMAP_CHECK_BUSY | BITMAP_CHECK_INCONSISTENT, err)) {
        return false;
    }
    if (!exp->base.writable && !exp->base.node->read_only && block_dirty_bitmap_enabled(b)) {
        return error_set(err, "Enabled bitmap '%s' incompatible with readonly export",
                         block_dirty_bitmap_name(b));
    }
    if (exp->bitmaps->len == NBD_CONTEXT_MAX - NBD_CONTEXT_BITMAPS) {
        return error_set(err, "an export has at most %d bitmaps",
                         NBD_CONTEXT_MAX - NBD_CONTEXT_BITMAPS);
    }
    block_dirty_bitmap_set_busy(b, true);
    block_node_ref(block_dirty_bitmap_node(b)); /* the bitmap would end with it */
    g_ptr_array_add(exp->bitmaps, b);
    return true;
}

static void export_free(BlockExport *base)
{
    NbdExport *exp = (NbdExport *)base;

    for (unsigned i = 0; exp->bitmaps && i < exp->bitmaps->len; i++) {
        BlockDirtyBitmap *b = exp->bitmaps->pdata[i];

        block_dirty_bitmap_set_busy(b, false);
        block_node_unref(block_dirty_bitmap_node(b));
    }
    g_clear_pointer(&exp->bitmaps, g_ptr_array_unref);
}

static bool export_add_bitmaps(NbdExport *exp, GError **err)
{
    json_t *which;
    size_t i;

    exp->bitmaps = g_ptr_array_new();
    json_array_foreach(exp->bitmap_names, i, which)
    {
        if (!add_bitmap(exp, which, err)) {
            export_free(&exp->base);
            return false;
        }
    }
    return true;
}

static bool export_open(BlockExport *base, GError **err)
{
    NbdExport *exp = (NbdExport *)base;

    if (!server || server->stopping) {
        return error_set(err, "NBD server not running");
    }
    if (!exp->name) {
        exp->name = g_strdup(base->node->opts.node_name);
    }
    if (strlen(exp->name) > NBD_MAX_STRING) {
        return error_set(err, "export name '%.64s...' too long", exp->name);
    }
    if (exp->description && strlen(exp->description) > NBD_MAX_STRING) {
        return error_set(err, "description '%.64s...' too long", exp->description);
    }
    if (nbd_export_find(exp->name)) {
        return error_set(err, "NBD server already has export named '%s'", exp->name);
    }
    if (block_length(base->node) < 0) {
        return error_set_errno(err, -block_length(base->node),
                               "Failed to determine the NBD export's length");
    }
    return export_add_bitmaps(exp, err);
}

static void export_close(BlockExport *base)
{
    for (unsigned i = 0; server && i < server->clients->len; i++) {
        NbdClient *c = server->clients->pdata[i];
        if (c->exp == (NbdExport *)base) {
            nbd_stream_shutdown(c->stream);
        }
    }
}

static const Property nbd_props[] = {
    PROP("name", PROP_STRING, NbdExport, name, NULL,
         "the name that clients ask for (default: the node's)"),
    PROP("description", PROP_STRING, NbdExport, description, NULL, "text that clients can read"),
    PROP("allocation-depth", PROP_BOOL, NbdExport, allocation_depth, "off",
         "clients can ask in which image of the chain data lies"),
    {.name = "bitmaps",
     .type = PROP_TREE,
     .offset = offsetof(NbdExport, bitmap_names),
     .flags = PROP_FLAG_LIST,
     .shape = &bitmap_or_name_shape,
     .help = "dirty bitmaps that clients can ask about"},
    PROP_END,
};

const BlockExportClass block_export_nbd = {
    .name = "nbd",
    .help = "network block device",
    .size = sizeof(NbdExport),
    .props = nbd_props,
    .open = export_open,
    .close = export_close,
    .free = export_free,
};

/* Clients. */

static void server_listen_again(void *data)
{
    bool full = server->options.max_clients && server->clients->len >= server->options.max_clients;
    bool mute = full || server->stopping || timer_armed(server->pause);

    for (unsigned i = 0; i < server->listeners->len; i++) {
        fd_handler_set(((Listener *)server->listeners->pdata[i])->handler, !mute, false);
    }
}

void nbd_client_gone(NbdClient *c)
{
    g_ptr_array_remove_fast(server->clients, c);
    nbd_stream_free(c->stream);
    server_listen_again(NULL);
    if (server->options.client_gone) {
        server->options.client_gone(c->exp, server->clients->len, server->options.data);
    }
    if (c->exp) {
        block_export_unref(&c->exp->base);
    }
    g_free(c->contexts_of);
    g_free(c);
    if (!server->clients->len) {
        wait_list_wake_all(&server_empty);
    }
}

static void client_late(void *data)
{
    nbd_stream_shutdown(((NbdClient *)data)->stream);
}

static void client_serve(void *data)
{
    nbd_session_start(data);
}

static void coroutine_fn client_main(void *data)
{
    NbdClient *c = data;
    EventLoop *loop = event_loop_current();
    Timer *deadline = timer_new(loop, CLOCK_REALTIME_NS, client_late, c);
    bool ok;

    timer_arm(deadline, clock_ns(CLOCK_REALTIME_NS) + NBD_HANDSHAKE_SECONDS * NS_PER_SEC);
    nbd_stream_attach(c->stream);
    ok = nbd_handshake(c);
    timer_free(deadline);
    nbd_stream_detach(c->stream);
    if (ok) {
        event_loop_call(c->exp->base.loop, client_serve, c);
    } else {
        nbd_client_gone(c);
    }
}

void nbd_server_add_client(int fd)
{
    NbdClient *c = g_new0(NbdClient, 1);

    c->stream = nbd_stream_new(fd);
    c->home = event_loop_current();
    c->creds = server->creds;
    c->authz = server->authz;
    g_ptr_array_add(server->clients, c);
    server_listen_again(NULL);
    coroutine_start(client_main, c);
}

/* One client a turn: others want the loop, too. */
static void server_accept(void *data)
{
    int fd = accept4(GPOINTER_TO_INT(data), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd >= 0) {
        nbd_server_add_client(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        /* The client stays in the queue, so that the socket would be readable all the time. */
        timer_arm(server->pause, clock_ns(CLOCK_REALTIME_NS) + NBD_ACCEPT_PAUSE_MS * NS_PER_MS);
        server_listen_again(NULL);
    }
}

bool nbd_server_running(void)
{
    return server;
}

/* A list of who may come in that nobody is ever held against would be worse than none. */
static bool check_authz(const NbdServerOptions *options, const TlsCreds *creds, GError **err)
{
    if (!options->tls_authz) {
        return true;
    }
    if (!creds) {
        return error_set(err, "'tls-authz' needs 'tls-creds': without TLS nobody says who he is");
    }
    return (tls_creds_kind(creds) == TLS_CREDS_X509 && tls_creds_verify_peer(creds)) ||
           error_set(err,
                     "'tls-authz' goes by the client's certificate, and the credentials '%s' ask "
                     "for none: tls-creds-x509 with verify-peer=on do",
                     options->tls_creds);
}

bool nbd_server_start(const NbdServerOptions *options, GError **err)
{
    TlsCreds *creds = NULL;

    if (server) {
        return error_set(err, "NBD server already running");
    }
    if (options->tls_creds) {
        creds = tls_creds_get(options->tls_creds, TLS_ENDPOINT_SERVER, err);
        if (!creds) {
            return false;
        }
    }
    if (!check_authz(options, creds, err)) {
        tls_creds_put(creds);
        return false;
    }
    server = g_new0(NbdServer, 1);
    server->options = *options;
    server->options.tls_creds = server->options.tls_authz = NULL; /* the caller's */
    server->creds = creds;
    server->authz = g_strdup(options->tls_authz);
    server->listeners = g_ptr_array_new();
    server->clients = g_ptr_array_new();
    server->pause = timer_new(event_loop_current(), CLOCK_REALTIME_NS, server_listen_again, NULL);
    return true;
}

void nbd_server_listen(int fd, const char *path)
{
    Listener *l = g_new0(Listener, 1);

    l->handler =
        event_loop_add_fd(event_loop_current(), fd, server_accept, NULL, GINT_TO_POINTER(fd));
    host_socket_path_set(&l->path, path);
    g_ptr_array_add(server->listeners, l);
    server_listen_again(NULL);
}

static void listener_free(Listener *l)
{
    int fd = l->handler->fd;

    fd_handler_remove(l->handler);
    host_socket_path_remove(&l->path);
    close(fd);
    g_free(l);
}

void coroutine_fn nbd_server_stop(void)
{
    NbdServer *s = server;

    if (!s) {
        return;
    }
    if (s->stopping) {
        unsigned before = servers_gone;

        wait_list_until(&server_gone, servers_gone != before);
        return;
    }
    s->stopping = true;
    while (s->listeners->len) {
        listener_free(g_ptr_array_steal_index_fast(s->listeners, s->listeners->len - 1));
    }
    for (unsigned i = 0; i < s->clients->len; i++) {
        nbd_stream_shutdown(((NbdClient *)s->clients->pdata[i])->stream);
    }
    wait_list_until(&server_empty, !s->clients->len);
    block_export_del_all(&block_export_nbd);
    server = NULL;
    tls_creds_put(s->creds);
    g_free(s->authz);
    timer_free(s->pause);
    g_ptr_array_unref(s->listeners);
    g_ptr_array_unref(s->clients);
    g_free(s);
    servers_gone++;
    wait_list_wake_all(&server_gone);
}
