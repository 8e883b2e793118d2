/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd_client.h"
#include <inttypes.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"

#define NBD_OLD_MAGIC 0x00420281861253ull

/* Connecting. */

static void client_connected(void *data, int fd, const GError *err)
{
    NbdConnecting *c = data;

    c->attempt = NULL;
    c->fd = fd;
    c->err = err ? g_error_copy(err) : NULL;
    coroutine_wake(g_steal_pointer(&c->co));
}

int coroutine_fn nbd_client_connect(NbdConnecting *c, const char *path, const char *host,
                                    const char *port, GError **err)
{
    *c = (NbdConnecting){.fd = -1};
    if (path) {
        return host_unix_connect(path, err);
    }
    c->co = coroutine_self();
    c->attempt = host_connect_start(host, port, client_connected, c);
    while (c->co) {
        coroutine_yield();
    }
    coroutine_wait_over();
    if (c->err) {
        g_propagate_error(err, g_steal_pointer(&c->err));
    }
    return c->fd;
}

void nbd_client_connect_cancel(NbdConnecting *c)
{
    if (c->co) {
        host_connect_cancel(g_steal_pointer(&c->attempt));
        error_set(&c->err, "the connection was given up");
        coroutine_wake(g_steal_pointer(&c->co));
    }
}

/* What is sent and received. */

bool coroutine_fn nbd_client_get(NbdStream *s, void *buf, size_t len, GError **err)
{
    ssize_t n = nbd_stream_read(s, buf, len, len);

    if (n == -EPIPE) {
        return error_set(err, "Failed to read option reply: Unexpected end-of-file before all data "
                              "were read");
    }
    return n >= 0 || error_set_errno(err, -n, "Failed to read option reply");
}

bool coroutine_fn nbd_client_put(NbdStream *s, const void *buf, size_t len, GError **err)
{
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
    int ret = nbd_stream_write(s, &iov, 1);

    return ret == 0 || error_set_errno(err, -ret, "Failed to send option request");
}

bool coroutine_fn nbd_client_hello(NbdStream *s, NbdHello *hello, GError **err)
{
    uint8_t *greeting = hello->greeting, flags[4] = {0};

    *hello = (NbdHello){.flags = 0};
    if (!nbd_client_get(s, greeting, 16, err)) {
        return false;
    }
    if (ldbe64(greeting) != NBD_MAGIC) {
        return error_set(err, "Bad initial magic received: 0x%" PRIx64, ldbe64(greeting));
    }
    hello->is_old = ldbe64(greeting + 8) == NBD_OLD_MAGIC;
    if (hello->is_old) {
        return true;
    }
    if (ldbe64(greeting + 8) != NBD_OPTION_MAGIC) {
        return error_set(err, "Bad server magic received: 0x%" PRIx64, ldbe64(greeting + 8));
    }
    if (!nbd_client_get(s, greeting + 16, 2, err)) {
        return false;
    }
    hello->flags = ldbe16(greeting + 16) & (NBD_HAND_FIXED_NEWSTYLE | NBD_HAND_NO_ZEROES);
    stbe32(flags, hello->flags);
    return nbd_client_put(s, flags, sizeof flags, err);
}

bool coroutine_fn nbd_client_option(NbdStream *s, uint32_t option, const GByteArray *data,
                                    GError **err)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint8_t head[NBD_OPTION_SIZE];

    stbe64(head, NBD_OPTION_MAGIC);
    stbe32(head + 8, option);
    stbe32(head + 12, data ? data->len : 0);
    g_byte_array_append(out, head, sizeof head);
    if (data) {
        g_byte_array_append(out, data->data, data->len);
    }
    return nbd_client_put(s, out->data, out->len, err);
}

/* Replies. */

static const char *option_name(uint32_t option)
{
    switch (option) {
    case NBD_OPT_LIST:
        return "list";
    case NBD_OPT_STARTTLS:
        return "starttls";
    case NBD_OPT_INFO:
        return "info";
    case NBD_OPT_STRUCTURED_REPLY:
        return "structured reply";
    default:
        return "list meta context";
    }
}

char *nbd_client_shown(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *shown = g_string_new(NULL);

    /* From 0x80 on there are controls, too: 0x9b is what ESC [ is. */
    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(shown, g_unichar_iscntrl(c) ? '?' : c);
    }
    return g_string_free(shown, false);
}

static bool reply_refused(const NbdReply *r, uint32_t option, GError **err)
{
    static const struct {
        uint32_t type;
        const char *before, *after;
    } texts[] = {
        {NBD_REP_ERR_POLICY, "Denied by server for", ""},
        {NBD_REP_ERR_INVALID, "Invalid parameters for", ""},
        {NBD_REP_ERR_PLATFORM, "Server lacks support for", ""},
        {NBD_REP_ERR_TLS_REQD, "TLS negotiation required before",
         "\nDid you forget a valid tls-creds?"},
        {NBD_REP_ERR_SHUTDOWN, "Server shutting down before", ""},
        {NBD_REP_ERR_SIZE_REQD, "Server requires INFO_BLOCK_SIZE for", ""},
    };
    const char *before = "Unknown error code when asking for", *after = "";
    g_autofree char *why = nbd_client_shown((const char *)r->data), *what = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (texts[i].type == r->type) {
            before = texts[i].before;
            after = texts[i].after;
        }
    }
    what = r->type == NBD_REP_ERR_UNKNOWN
               ? g_strdup("Requested export not available")
               : g_strdup_printf("%s option %u (%s)%s", before, option, option_name(option), after);
    return error_set(err, "%s%s%s", what, *why ? "\nserver reported: " : "", why);
}

/* False: it cannot be read, or there is more of it than makes sense. */
static bool coroutine_fn reply_read(NbdStream *s, uint32_t option, NbdReply *r, GError **err)
{
    uint8_t head[NBD_OPT_REPLY_SIZE];

    r->type = 0;
    if (!nbd_client_get(s, head, sizeof head, err)) {
        return false;
    }
    if (ldbe64(head) != NBD_OPT_REPLY_MAGIC || ldbe32(head + 8) != option) {
        return error_set(err, "Unexpected option reply magic");
    }
    r->len = ldbe32(head + 16);
    if (r->len > NBD_REPLY_MAX) {
        return error_set(err, "the server's reply to option %u (%s) is too long: %zu bytes", option,
                         option_name(option), r->len);
    }
    if (r->len && !nbd_client_get(s, r->data, r->len, err)) {
        return false;
    }
    r->data[r->len] = 0;
    r->type = ldbe32(head + 12);
    return true;
}

NbdReplied coroutine_fn nbd_client_reply(NbdStream *s, uint32_t option, uint32_t expected,
                                         NbdReply *r, GError **err)
{
    if (!reply_read(s, option, r, err)) {
        return NBD_REPLIED_ERROR;
    }
    if (r->type == NBD_REP_ERR_UNSUP) {
        return NBD_REPLIED_UNKNOWN;
    }
    if (r->type & NBD_REP_ERROR(0)) {
        reply_refused(r, option, err);
        return NBD_REPLIED_ERROR;
    }
    if (r->type == NBD_REP_ACK && r->len == 0) {
        return NBD_REPLIED_LAST;
    }
    if (r->type == expected && expected != NBD_REP_ACK) {
        return NBD_REPLIED;
    }
    error_set(err, "the server's reply to option %u (%s) breaks the rules: type %u, %zu bytes",
              option, option_name(option), r->type, r->len);
    r->type = 0;
    return NBD_REPLIED_ERROR;
}

bool coroutine_fn nbd_client_start_tls(NbdStream *s, const NbdHello *hello, const TlsCreds *creds,
                                       const char *hostname, GError **err)
{
    g_autofree NbdReply *r = g_new(NbdReply, 1);
    NbdReplied replied = NBD_REPLIED_UNKNOWN;

    if (tls_creds_kind(creds) == TLS_CREDS_X509 && tls_creds_verify_peer(creds) && !hostname) {
        return error_set(err, "No hostname for certificate validation");
    }
    if (!hello->is_old && hello->flags & NBD_HAND_FIXED_NEWSTYLE) {
        if (!nbd_client_option(s, NBD_OPT_STARTTLS, NULL, err)) {
            return false;
        }
        replied = nbd_client_reply(s, NBD_OPT_STARTTLS, NBD_REP_ACK, r, err);
    }
    if (replied == NBD_REPLIED_UNKNOWN) {
        return error_set(err, "Server does not support STARTTLS");
    }
    return replied == NBD_REPLIED_LAST && nbd_stream_start_tls(s, creds, hostname, err);
}
