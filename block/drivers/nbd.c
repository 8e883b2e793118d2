/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protocol 'nbd': a disk at an NBD server. */
#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>
#include <stdlib.h>
#include "../core.h"
#include "nbd.h"
#include "base/error.h"
#include "base/iov.h"
#include "base/json.h"
#include "base/log.h"
#include "base/socket_address.h"
#include "base/util.h"
#include "nbd_link.h"

/* Lengths of requests without data are 32 bits on the wire. */
#define ZERO_PIECE (1 * GiB)

typedef struct {
    json_t *server;
    char *path, *host, *port; /* QEMU's old way to say it */
    char *export_name, *tls_creds, *tls_hostname, *dirty_bitmap;
    uint32_t reconnect_delay, open_timeout;
    SocketAddress address;
    char *name; /* for messages */
    TlsCreds *creds;
    NbdLink *link;
    NbdFacts facts;
} NbdState;

#define OLD_WAY(n, f, h)                                                                           \
    {                                                                                              \
        .name = (n), .type = PROP_STRING, .offset = offsetof(NbdState, f),                         \
        .flags = PROP_FLAG_NOT_JSON | PROP_FLAG_HIDDEN, .help = (h)                                \
    }
static const Property nbd_props[] = {
    {.name = "server",
     .type = PROP_TREE,
     .offset = offsetof(NbdState, server),
     .shape = &socket_address_shape,
     .help = "where it listens: type=inet or unix, host, port, path"},
    OLD_WAY("path", path, "UNIX socket"),
    OLD_WAY("host", host, "TCP host"),
    OLD_WAY("port", port, "TCP port"),
    PROP("export", PROP_STRING, NbdState, export_name, NULL, "name of the export ('')"),
    PROP("tls-creds", PROP_STRING, NbdState, tls_creds, NULL, "credentials, for TLS"),
    PROP("tls-hostname", PROP_STRING, NbdState, tls_hostname, NULL,
         "whom the server's certificate has to name"),
    PROP("x-dirty-bitmap", PROP_STRING, NbdState, dirty_bitmap, NULL,
         "metadata context that is looked at in place of base:allocation"),
    PROP("reconnect-delay", PROP_UINT32, NbdState, reconnect_delay, "0",
         "seconds for which requests wait when the connection is lost"),
    PROP("open-timeout", PROP_UINT32, NbdState, open_timeout, "0",
         "seconds for which the first connection is tried"),
    PROP_END,
};

/* Opening. */

/* "server", or the old keys. */
static bool nbd_address(NbdState *s, GError **err)
{
    json_auto_t *old = NULL;

    if (s->server && (s->path || s->host || s->port)) {
        return error_set(err, "'server' goes with none of 'path', 'host' and 'port'");
    }
    if (s->path && s->host) {
        return error_set(err, "path and host may not be used at the same time");
    }
    if (s->path && s->port) {
        return error_set(err, "port may not be used without host");
    }
    if (!s->server && !s->path && !s->host) {
        return error_set(err, "NBD server address missing");
    }
    if (!s->server) {
        old = s->path ? json_pack("{s:s,s:s}", "type", "unix", "path", s->path)
                      : json_pack("{s:s,s:s,s:s}", "type", "inet", "host", s->host, "port",
                                  s->port ? s->port : "10809");
    }
    if (!socket_address_parse(&s->address, old ? old : s->server, "server", err)) {
        return false;
    }
    if (s->address.type == SOCKET_ADDRESS_FD) {
        return error_set(err, "'server.type=fd' is not supported: a connection that is lost could "
                              "not be made again");
    }
    if (s->address.abstract) {
        return error_set(err, "'server.abstract=on' is not supported");
    }
    return true;
}

static bool nbd_find_creds(NbdState *s, GError **err)
{
    if (s->tls_hostname && !s->tls_creds) {
        return error_set(err, "tls-hostname not required without tls-creds");
    }
    s->creds = s->tls_creds ? tls_creds_get(s->tls_creds, TLS_ENDPOINT_CLIENT, err) : NULL;
    return !s->tls_creds || s->creds;
}

/*
 * libnbd checks a certificate for the name that it connects to, and for none at a path; and it has
 * no anonymous TLS.
 */
static bool nbd_needs_tunnel(const NbdState *s)
{
    bool by_name = s->address.type == SOCKET_ADDRESS_INET;

    return s->creds &&
           (tls_creds_kind(s->creds) == TLS_CREDS_ANON ||
            (s->tls_hostname && (!by_name || g_strcmp0(s->tls_hostname, s->address.host))));
}

static char *nbd_show(const NbdState *s)
{
    const char *export_name = s->export_name ? s->export_name : "";

    if (s->address.type == SOCKET_ADDRESS_UNIX) {
        return *export_name
                   ? g_strdup_printf("nbd+unix:///%s?socket=%s", export_name, s->address.path)
                   : g_strdup_printf("nbd+unix://?socket=%s", s->address.path);
    }
    return g_strdup_printf("nbd://%s:%s%s%s", s->address.host, s->address.port,
                           *export_name ? "/" : "", export_name);
}

typedef struct {
    BlockNode *node;
    NbdLink *link; /* to be closed */
    GError **err;
} NbdCall;

static int coroutine_fn nbd_connect(void *data)
{
    NbdCall *c = data;
    NbdState *s = block_node_state(c->node);
    bool is_unix = s->address.type == SOCKET_ADDRESS_UNIX;
    NbdLinkOptions o = {.name = s->name,
                        .path = is_unix ? s->address.path : NULL,
                        .host = s->address.host,
                        .port = s->address.port,
                        .export_name = s->export_name ? s->export_name : "",
                        .context =
                            s->dirty_bitmap ? s->dirty_bitmap : LIBNBD_CONTEXT_BASE_ALLOCATION,
                        .creds = s->creds,
                        .tunnel = nbd_needs_tunnel(s),
                        .tls_hostname = s->tls_hostname ? s->tls_hostname
                                        : is_unix       ? NULL
                                                        : s->address.host,
                        .reconnect_seconds = s->reconnect_delay,
                        .open_seconds = s->open_timeout};

    s->link = nbd_link_open(&o, &s->facts, c->err);
    return s->link ? 0 : -1;
}

static int coroutine_fn nbd_disconnect(void *data)
{
    NbdCall *c = data;

    nbd_link_close(c->link);
    return 0;
}

static void nbd_node_close(BlockNode *node)
{
    NbdState *s = block_node_state(node);
    NbdCall call = {.link = g_steal_pointer(&s->link)};

    block_run(nbd_disconnect, &call);
    tls_creds_put(g_steal_pointer(&s->creds));
    socket_address_clear(&s->address);
    g_clear_pointer(&s->name, g_free);
}

/* Whether what the server says goes with what the user wants. */
static bool nbd_accept(BlockNode *node, GError **err)
{
    NbdState *s = block_node_state(node);

    if (s->facts.size > BLOCK_MAX_LENGTH) {
        return error_set(err, "NBD server '%s': a disk of %" PRIu64 " bytes is too long", s->name,
                         s->facts.size);
    }
    if (s->dirty_bitmap && !s->facts.has_context) {
        return error_set(err, "requested x-dirty-bitmap %s not found", s->dirty_bitmap);
    }
    if (s->facts.read_only && !node->read_only) {
        if (!node->opts.auto_read_only) {
            return error_set(err, "request on write denied without write permission");
        }
        node->read_only = true;
    }
    return true;
}

static bool nbd_node_open(BlockNode *node, GError **err)
{
    NbdState *s = block_node_state(node);
    NbdCall call = {.node = node, .err = err};

    if (!nbd_address(s, err) || !nbd_find_creds(s, err)) {
        goto fail;
    }
    s->name = nbd_show(s);
    if (block_run(nbd_connect, &call) < 0 || !nbd_accept(node, err)) {
        goto fail;
    }
    node->request_alignment = s->facts.min_block;
    g_free(node->filename);
    node->filename = g_strdup(s->name);
    return true;
fail:
    nbd_node_close(node);
    return false;
}

/* Requests. */

static int64_t nbd_node_length(BlockNode *node)
{
    NbdState *s = block_node_state(node);

    return s->facts.size;
}

/* How much of a range lies inside the export, whose length need not be whole sectors. */
static uint64_t nbd_inside(const NbdState *s, uint64_t offset, uint64_t bytes)
{
    return offset >= s->facts.size ? 0 : MIN(bytes, s->facts.size - offset);
}

/* Moves data in pieces that the server takes. 'iov' holds at least 'bytes'. */
static int coroutine_fn nbd_move(NbdState *s, NbdOpKind kind, uint64_t offset, uint64_t bytes,
                                 const struct iovec *iov, unsigned niov)
{
    uint64_t piece = ROUND_DOWN(s->facts.max_block, s->facts.min_block);
    bool direct = niov == 1;
    g_autofree uint8_t *bounce = direct ? NULL : g_try_malloc(MIN(bytes, piece));
    int ret = 0;

    if (bytes && !direct && !bounce) {
        return -ENOMEM;
    }
    for (uint64_t done = 0; done < bytes && ret == 0;) {
        uint64_t len = MIN(bytes - done, piece);
        NbdOp op = {.kind = kind,
                    .offset = offset + done,
                    .bytes = len,
                    .buf = direct ? (uint8_t *)iov->iov_base + done : bounce};

        if (!direct && kind == NBD_WRITE) {
            iov_to_buf(iov, niov, done, bounce, len);
        }
        ret = nbd_link_run(s->link, &op);
        if (!direct && kind == NBD_READ && ret == 0) {
            iov_from_buf(iov, niov, done, bounce, len);
        }
        done += len;
    }
    return ret;
}

static int coroutine_fn nbd_node_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov)
{
    NbdState *s = block_node_state(node);
    uint64_t inside = nbd_inside(s, offset, bytes);

    iov_memset(iov, niov, inside, 0, bytes - inside);
    return nbd_move(s, NBD_READ, offset, inside, iov, niov);
}

static int coroutine_fn nbd_node_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov, unsigned flags)
{
    NbdState *s = block_node_state(node);
    uint64_t inside = nbd_inside(s, offset, bytes);
    uint8_t tail[BLOCK_SECTOR_SIZE];
    int ret;

    /* Behind the end there is nothing but the zeroes that reads show. */
    if (bytes - inside >= sizeof tail) {
        return -ENOSPC;
    }
    iov_to_buf(iov, niov, inside, tail, bytes - inside);
    if (!buffer_is_zero(tail, bytes - inside)) {
        return -ENOSPC;
    }
    ret = nbd_move(s, NBD_WRITE, offset, inside, iov, niov);
    block_node_wrote(node); /* behind it: a flush that began before does not cover this */
    return ret;
}

/* Requests without data. */
static int coroutine_fn nbd_mark(NbdState *s, NbdOpKind kind, uint64_t offset, uint64_t bytes,
                                 uint32_t flags)
{
    int ret = 0;

    while (bytes && ret == 0) {
        NbdOp op = {
            .kind = kind, .offset = offset, .bytes = MIN(bytes, ZERO_PIECE), .flags = flags};

        ret = nbd_link_run(s->link, &op);
        offset += op.bytes;
        bytes -= op.bytes;
    }
    return ret;
}

static int coroutine_fn nbd_node_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                               unsigned flags)
{
    NbdState *s = block_node_state(node);
    bool fast = flags & BLOCK_REQ_NO_FALLBACK;
    int ret;

    if (!s->facts.can_zero || (fast && !s->facts.can_fast_zero)) {
        return -ENOTSUP;
    }
    ret = nbd_mark(s, NBD_ZERO, offset, nbd_inside(s, offset, bytes),
                   (flags & BLOCK_REQ_MAY_UNMAP ? 0 : LIBNBD_CMD_FLAG_NO_HOLE) |
                       (fast ? LIBNBD_CMD_FLAG_FAST_ZERO : 0));
    block_node_wrote(node);
    return ret;
}

static int coroutine_fn nbd_node_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    NbdState *s = block_node_state(node);
    int ret;

    if (!s->facts.can_trim) {
        return -ENOTSUP;
    }
    ret = nbd_mark(s, NBD_TRIM, offset, nbd_inside(s, offset, bytes), 0);
    block_node_wrote(node);
    return ret;
}

static int coroutine_fn nbd_node_flush(BlockNode *node)
{
    NbdState *s = block_node_state(node);
    NbdOp op = {.kind = NBD_FLUSH};

    return s->facts.can_flush ? nbd_link_run(s->link, &op) : 0;
}

static int coroutine_fn nbd_node_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                              uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    NbdState *s = block_node_state(node);
    uint64_t inside = nbd_inside(s, offset, bytes);
    NbdOp op = {.kind = NBD_STATUS,
                .flags = LIBNBD_CMD_FLAG_REQ_ONE,
                .offset = offset,
                .bytes = MIN(inside, ZERO_PIECE)};
    int ret;

    *map = offset;
    *file = node;
    *pnum = bytes;
    if (!inside) {
        return BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    }
    *pnum = op.bytes;
    ret = s->facts.has_context ? nbd_link_run(s->link, &op) : -ENOTSUP;
    if (ret == -EIO) {
        return ret; /* no answer is no reason to believe anything */
    }
    if (ret < 0 || !op.len) {
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID;
    }
    *pnum = MIN(op.len, op.bytes);
    /* NBD_STATE_HOLE and NBD_STATE_ZERO. */
    return (op.state & LIBNBD_STATE_HOLE ? 0 : BLOCK_STATUS_DATA) |
           (op.state & LIBNBD_STATE_ZERO ? BLOCK_STATUS_ZERO : 0) | BLOCK_STATUS_ALLOCATED |
           BLOCK_STATUS_OFFSET_VALID;
}

static int coroutine_fn nbd_node_truncate(BlockNode *node, uint64_t size, GError **err)
{
    NbdState *s = block_node_state(node);

    if (size != s->facts.size) {
        error_set(err, "Cannot resize NBD nodes");
        return -ENOTSUP;
    }
    return 0;
}

/* The disk keeps its bytes, but the old format must not be probed. */
static int coroutine_fn nbd_node_make_empty(BlockNode *node, uint64_t length, bool *zero,
                                            GError **err)
{
    NbdState *s = block_node_state(node);
    int ret;

    *zero = false;
    if (length > s->facts.size) {
        error_set(err, "Cannot grow NBD nodes");
        return -EINVAL;
    }
    ret = block_pwrite_zeroes(node, 0, MIN(s->facts.size, BLOCK_SECTOR_SIZE), 0);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not clear the new image's first sector");
    }
    return ret;
}

static void nbd_node_cancel(BlockNode *node)
{
    NbdState *s = block_node_state(node);

    if (s->link) { /* else the node is being opened, or closed */
        nbd_link_cancel(s->link);
    }
}

const BlockDriver block_driver_nbd = {
    .name = "nbd",
    .protocols = "nbd nbd+tcp nbd+unix nbd+vsock nbds nbds+tcp nbds+unix nbds+vsock",
    .parse_filename = nbd_filename_config,
    .help = "a disk at an NBD server",
    .size = sizeof(NbdState),
    .props = nbd_props,
    .is_protocol = true,
    .open = nbd_node_open,
    .close = nbd_node_close,
    .preadv = nbd_node_preadv,
    .pwritev = nbd_node_pwritev,
    .pwrite_zeroes = nbd_node_pwrite_zeroes,
    .pdiscard = nbd_node_pdiscard,
    .flush = nbd_node_flush,
    .block_status = nbd_node_block_status,
    .truncate = nbd_node_truncate,
    .length = nbd_node_length,
    .make_empty = nbd_node_make_empty,
    .cancel = nbd_node_cancel,
};
