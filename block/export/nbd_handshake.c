/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fixed newstyle handshake. Each option's replies are put together before any of them is sent:
 * nothing is believed about exports across a wait.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/authz.h"
#include "base/event_loop.h"
#include "base/log.h"
#include "base/util.h"
#include "nbd.h"
#include "nbd_proto.h"

enum {
    MAX_OPTIONS = 1000,            /* that one client may send */
    MAX_OPTION_DATA = 1024 * 1024, /* longer data is read and dropped */
};

/* An option of the client's, and what is said to it. */
typedef struct {
    NbdClient *c;
    uint32_t option;
    const uint8_t *data; /* what is left of the option's data */
    size_t len;
    GByteArray *out;
    enum { GO_ON, START_TLS, CHOSEN, CLOSE } next;
} Option;

static void put_be(GByteArray *out, uint64_t value, unsigned bytes)
{
    uint8_t buf[8];

    stbe64(buf, value);
    g_byte_array_append(out, buf + 8 - bytes, bytes);
}

static void put_reply(Option *o, uint32_t type, size_t len)
{
    put_be(o->out, NBD_OPT_REPLY_MAGIC, 8);
    put_be(o->out, o->option, 4);
    put_be(o->out, type, 4);
    put_be(o->out, len, 4);
}

/* A reply that consists of text: errors are shown to the user. */
static void put_error(Option *o, uint32_t type, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
static void put_error(Option *o, uint32_t type, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_item(LOG_BLOCK, "NBD client's option %" PRIu32 " refused: %s", o->option, text);
    g_byte_array_set_size(o->out, 0);
    put_reply(o, type, strlen(text));
    g_byte_array_append(o->out, (const uint8_t *)text, strlen(text));
}

static bool get_be(Option *o, unsigned bytes, uint32_t *value)
{
    if (o->len < bytes) {
        return false;
    }
    *value = bytes == 2 ? ldbe16(o->data) : ldbe32(o->data);
    o->data += bytes;
    o->len -= bytes;
    return true;
}

/* A string with its length before it; the caller frees it. NULL: it was none, which was said. */
static char *get_string(Option *o, const char *what)
{
    const uint8_t *text;
    uint32_t len;

    if (!get_be(o, 4, &len) || len > o->len) {
        put_error(o, NBD_REP_ERR_INVALID, "%s is longer than the option", what);
        return NULL;
    }
    text = o->data;
    o->data += len;
    o->len -= len;
    if (len > NBD_MAX_STRING) {
        put_error(o, NBD_REP_ERR_TOO_BIG, "%s is longer than %d bytes", what, NBD_MAX_STRING);
        return NULL;
    }
    if (memchr(text, 0, len) || !g_utf8_validate((const char *)text, len, NULL)) {
        put_error(o, NBD_REP_ERR_INVALID, "%s is no UTF-8 text", what);
        return NULL;
    }
    return g_strndup((const char *)text, len);
}

/* The client will use this export from now on, or as soon as it gets to know that. */
static void choose(Option *o, NbdExport *exp)
{
    block_export_ref(&exp->base);
    o->c->exp = exp;
    if (g_strcmp0(o->c->contexts_of, exp->name)) {
        o->c->contexts = 0;
    }
    o->next = CHOSEN;
}

/* The old way to choose: there is no reply that could be an error. */
static void option_export_name(Option *o)
{
    g_autofree char *name = NULL;
    NbdExport *exp;

    if (o->len > NBD_MAX_STRING || memchr(o->data, 0, o->len)) {
        o->next = CLOSE;
        return;
    }
    name = g_strndup((const char *)o->data, o->len);
    exp = nbd_export_find(name);
    if (!exp || nbd_export_size(exp) < 0) {
        log_item(LOG_BLOCK, "NBD client asked for export '%s', which there is not", name);
        o->next = CLOSE;
        return;
    }
    choose(o, exp);
    put_be(o->out, nbd_export_size(exp), 8);
    put_be(o->out, nbd_export_flags(exp, o->c), 2);
    if (!o->c->no_zeroes) {
        static const uint8_t zeroes[124];
        g_byte_array_append(o->out, zeroes, sizeof zeroes);
    }
}

static void list_one(BlockExport *base, void *data)
{
    NbdExport *exp = (NbdExport *)base;
    Option *o = data;
    size_t name, text;

    if (base->class != &block_export_nbd || base->closing) {
        return;
    }
    name = strlen(exp->name);
    text = exp->description ? strlen(exp->description) : 0;
    put_reply(o, NBD_REP_SERVER, 4 + name + text);
    put_be(o->out, name, 4);
    g_byte_array_append(o->out, (const uint8_t *)exp->name, name);
    if (text) {
        g_byte_array_append(o->out, (const uint8_t *)exp->description, text);
    }
}

static void option_list(Option *o)
{
    if (o->len) {
        put_error(o, NBD_REP_ERR_INVALID, "this option has no data");
        return;
    }
    block_export_foreach(list_one, o);
    put_reply(o, NBD_REP_ACK, 0);
}

static void put_info_text(Option *o, unsigned info, const char *text)
{
    put_reply(o, NBD_REP_INFO, 2 + strlen(text));
    put_be(o->out, info, 2);
    g_byte_array_append(o->out, (const uint8_t *)text, strlen(text));
}

/* The smallest block is 1 for clients that did not ask: they would not obey. */
static void put_block_sizes(Option *o, const NbdExport *exp, bool asked)
{
    uint32_t align = exp->base.node->request_alignment;
    uint32_t min = asked || o->option == NBD_OPT_INFO ? align : 1;

    put_reply(o, NBD_REP_INFO, 14);
    put_be(o->out, NBD_INFO_BLOCK_SIZE, 2);
    put_be(o->out, min, 4);
    put_be(o->out, MAX(4096, min), 4);
    put_be(o->out, NBD_MAX_DATA, 4);
}

static void put_infos(Option *o, const NbdExport *exp, unsigned asked)
{
    if (asked & BIT(NBD_INFO_NAME)) {
        put_info_text(o, NBD_INFO_NAME, exp->name);
    }
    if (asked & BIT(NBD_INFO_DESCRIPTION) && exp->description) {
        put_info_text(o, NBD_INFO_DESCRIPTION, exp->description);
    }
    put_block_sizes(o, exp, asked & BIT(NBD_INFO_BLOCK_SIZE));
    put_reply(o, NBD_REP_INFO, 12);
    put_be(o->out, NBD_INFO_EXPORT, 2);
    put_be(o->out, nbd_export_size(exp), 8);
    put_be(o->out, nbd_export_flags(exp, o->c), 2);
    put_reply(o, NBD_REP_ACK, 0);
}

static void option_info(Option *o)
{
    g_autofree char *name = get_string(o, "the export's name");
    uint32_t count, info;
    unsigned asked = 0;
    NbdExport *exp;

    if (!name) {
        return;
    }
    if (!get_be(o, 2, &count) || o->len != count * 2ull) {
        put_error(o, NBD_REP_ERR_INVALID, "the list of requests has another length than it says");
        return;
    }
    while (get_be(o, 2, &info)) {
        asked |= info < 32 ? BIT(info) : 0;
    }
    exp = nbd_export_find(name);
    if (!exp || nbd_export_size(exp) < 0) {
        put_error(o, NBD_REP_ERR_UNKNOWN, "export '%s' not present", name);
        return;
    }
    put_infos(o, exp, asked);
    if (o->option == NBD_OPT_GO) {
        choose(o, exp);
    }
}

/*
 * Whether a query names a context. An empty query, or a namespace alone ("base:", "qemu:"), lists
 * all of it, and selects nothing.
 */
static bool query_names(const Option *o, const char *query, const char *context)
{
    size_t len = strlen(query);

    if (g_str_equal(query, context)) {
        return true;
    }
    return o->option == NBD_OPT_LIST_META_CONTEXT && len && query[len - 1] == ':' &&
           g_str_has_prefix(context, query);
}

/* False: a query is malformed, which was said. */
static bool get_contexts(Option *o, const NbdExport *exp, uint32_t queries, unsigned *chosen)
{
    *chosen = !queries && o->option == NBD_OPT_LIST_META_CONTEXT ? ~0u : 0;
    for (; queries; queries--) {
        g_autofree char *query = get_string(o, "a query");

        if (!query) {
            return false;
        }
        for (unsigned i = 0; i < NBD_CONTEXT_MAX; i++) {
            g_autofree char *context = nbd_context_name(exp, i);

            *chosen |= context && query_names(o, query, context) ? BIT(i) : 0;
        }
    }
    return true;
}

static void option_meta_context(Option *o)
{
    g_autofree char *name = NULL;
    bool set = o->option == NBD_OPT_SET_META_CONTEXT;
    uint32_t queries;
    unsigned chosen;
    NbdExport *exp;

    if (set) {
        o->c->contexts = 0;
        g_clear_pointer(&o->c->contexts_of, g_free);
    }
    if (!o->c->structured) {
        put_error(o, NBD_REP_ERR_INVALID,
                  "request option '%s' when structured reply is not negotiated",
                  set ? "set meta context" : "list meta context");
        return;
    }
    name = get_string(o, "the export's name");
    if (!name) {
        return;
    }
    exp = nbd_export_find(name);
    if (!exp) {
        put_error(o, NBD_REP_ERR_UNKNOWN, "export '%s' not present", name);
        return;
    }
    if (!get_be(o, 4, &queries)) {
        put_error(o, NBD_REP_ERR_INVALID, "the number of queries is missing");
        return;
    }
    if (!get_contexts(o, exp, queries, &chosen)) {
        return;
    }
    if (o->len) {
        put_error(o, NBD_REP_ERR_INVALID, "there is more behind the last query");
        return;
    }
    for (unsigned i = 0; i < NBD_CONTEXT_MAX; i++) {
        g_autofree char *context = chosen & BIT(i) ? nbd_context_name(exp, i) : NULL;

        if (context) {
            put_reply(o, NBD_REP_META_CONTEXT, 4 + strlen(context));
            put_be(o->out, set ? i : 0, 4);
            g_byte_array_append(o->out, (const uint8_t *)context, strlen(context));
        }
    }
    put_reply(o, NBD_REP_ACK, 0);
    if (set) {
        o->c->contexts = chosen;
        o->c->contexts_of = g_strdup(exp->name);
    }
}

static void option_structured(Option *o)
{
    if (o->len) {
        put_error(o, NBD_REP_ERR_INVALID, "this option has no data");
    } else if (o->c->structured) {
        put_error(o, NBD_REP_ERR_INVALID, "structured reply already negotiated");
    } else {
        o->c->structured = true;
        put_reply(o, NBD_REP_ACK, 0);
    }
}

static void option_abort(Option *o)
{
    put_reply(o, NBD_REP_ACK, 0);
    o->next = CLOSE;
}

static void option_starttls(Option *o)
{
    if (o->len) {
        put_error(o, NBD_REP_ERR_INVALID, "this option has no data");
    } else if (!o->c->creds) {
        put_error(o, NBD_REP_ERR_POLICY, "TLS not configured");
    } else if (o->c->is_tls) {
        put_error(o, NBD_REP_ERR_INVALID, "TLS already enabled");
    } else {
        put_reply(o, NBD_REP_ACK, 0);
        o->next = START_TLS;
    }
}

/* False: the client has to begin TLS first, and has been told so. */
static bool option_allowed(Option *o)
{
    if (!o->c->creds || o->c->is_tls || o->option == NBD_OPT_STARTTLS ||
        o->option == NBD_OPT_ABORT) {
        return true;
    }
    if (o->option == NBD_OPT_EXPORT_NAME) {
        o->next = CLOSE; /* there is no reply that could be an error */
    } else {
        put_error(o, NBD_REP_ERR_TLS_REQD, "Option %" PRIu32 " not permitted before TLS",
                  o->option);
    }
    return false;
}

static void option_run(Option *o)
{
    if (!option_allowed(o)) {
        return;
    }
    switch (o->option) {
    case NBD_OPT_EXPORT_NAME:
        option_export_name(o);
        break;
    case NBD_OPT_ABORT:
        option_abort(o);
        break;
    case NBD_OPT_LIST:
        option_list(o);
        break;
    case NBD_OPT_STARTTLS:
        option_starttls(o);
        break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        option_info(o);
        break;
    case NBD_OPT_STRUCTURED_REPLY:
        option_structured(o);
        break;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        option_meta_context(o);
        break;
    default:
        put_error(o, NBD_REP_ERR_UNSUP, "Unsupported option %" PRIu32, o->option);
    }
}

static bool coroutine_fn handshake_write(NbdClient *c, const void *buf, size_t len)
{
    struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};

    return nbd_stream_write(c->stream, &iov, 1) == 0;
}

static bool coroutine_fn handshake_read(NbdClient *c, void *buf, size_t len)
{
    return nbd_stream_read(c->stream, buf, len, len) == (ssize_t)len;
}

static bool coroutine_fn drop(NbdClient *c, size_t len)
{
    uint8_t buf[4096];

    for (; len; len -= MIN(len, sizeof buf)) {
        if (!handshake_read(c, buf, MIN(len, sizeof buf))) {
            return false;
        }
    }
    return true;
}

/* One option. The connection ends where 'next' is CLOSE. */
static int coroutine_fn handshake_option(NbdClient *c, GByteArray *out)
{
    g_autofree uint8_t *data = NULL;
    uint8_t head[NBD_OPTION_SIZE];
    Option o = {.c = c, .out = out};
    uint32_t len;

    if (!handshake_read(c, head, sizeof head) || ldbe64(head) != NBD_OPTION_MAGIC) {
        return CLOSE;
    }
    o.option = ldbe32(head + 8);
    len = ldbe32(head + 12);
    if (len > NBD_MAX_DATA) {
        return CLOSE;
    }
    if (len > MAX_OPTION_DATA) {
        if (o.option == NBD_OPT_EXPORT_NAME || !drop(c, len)) {
            return CLOSE;
        }
        put_error(&o, NBD_REP_ERR_TOO_BIG, "the option's data is longer than %d bytes",
                  MAX_OPTION_DATA);
    } else {
        data = g_malloc(len + 1); /* not NULL, also where the option has none */
        if (!handshake_read(c, data, len)) {
            return CLOSE;
        }
        o.data = data;
        o.len = len;
        option_run(&o);
    }
    return out->len && !handshake_write(c, out->data, out->len) ? CLOSE : o.next;
}

static bool coroutine_fn handshake_begin(NbdClient *c)
{
    uint8_t greeting[NBD_GREETING_SIZE], flags[4];

    stbe64(greeting, NBD_MAGIC);
    stbe64(greeting + 8, NBD_OPTION_MAGIC);
    stbe16(greeting + 16, NBD_HAND_FIXED_NEWSTYLE | NBD_HAND_NO_ZEROES);
    if (!handshake_write(c, greeting, sizeof greeting) || !handshake_read(c, flags, sizeof flags)) {
        return false;
    }
    c->no_zeroes = ldbe32(flags) & NBD_HAND_NO_ZEROES;
    return !(ldbe32(flags) & ~(NBD_HAND_FIXED_NEWSTYLE | NBD_HAND_NO_ZEROES));
}

/* Whether the one whom the client's certificate names may come in. */
static bool handshake_authorize(const NbdClient *c, GError **err)
{
    g_autofree char *name = c->authz ? nbd_stream_peer_name(c->stream, err) : NULL;

    if (!c->authz || (name && authz_allows(c->authz, name, err))) {
        return true;
    }
    g_prefix_error(err, "TLS x509 authz check for %s is denied: ", name ? name : "the client");
    return false;
}

/* What was agreed in clear, somebody on the way may have changed: it is forgotten. */
static int coroutine_fn handshake_tls(NbdClient *c)
{
    g_autoptr(GError) err = NULL;

    if (!nbd_stream_start_tls(c->stream, c->creds, NULL, &err) || !handshake_authorize(c, &err)) {
        log_item(LOG_BLOCK, "NBD client: %s", err->message);
        return CLOSE;
    }
    c->is_tls = true;
    c->structured = false;
    c->contexts = 0;
    return GO_ON;
}

bool coroutine_fn nbd_handshake(NbdClient *c)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    int next = handshake_begin(c) ? GO_ON : CLOSE;

    for (unsigned i = 0; next == GO_ON && i < MAX_OPTIONS; i++) {
        g_byte_array_set_size(out, 0);
        next = handshake_option(c, out);
        next = next == START_TLS ? handshake_tls(c) : next;
        /* What a client has sent ahead must not keep the loop from everybody else. */
        coroutine_sleep(CLOCK_REALTIME_NS, 0);
    }
    return next == CHOSEN;
}
