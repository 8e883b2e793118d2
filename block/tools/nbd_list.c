/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd_list.h"
#include <inttypes.h>
#include <string.h>
#include "../export/nbd_client.h"
#include "base/error.h"
#include "base/util.h"

enum {
    NBD_OLD_SIZE = 8 + 4 + 124, /* behind the magic of an old server's greeting */
    LIST_MAX = 65536,           /* exports of a server, replies to a question */
    /* All that is kept of what a server says, with what that costs besides its bytes. */
    LIST_MEMORY = 64 * MiB,
    LIST_ENTRY_COST = 256,
};

typedef struct {
    char *name, *description; /* NULL: it has none */
    bool has_info;            /* the server has said the next two */
    uint64_t size;
    unsigned flags;
    unsigned infos;                           /* of what the server has said */
    uint32_t min_block, opt_block, max_block; /* 0: not said */
    GPtrArray *contexts;                      /* names */
} Listed;

typedef struct {
    NbdStream *stream;
    GPtrArray *exports; /* Listed */
    size_t memory;      /* that they take */
} Lister;

static void listed_free(void *data)
{
    Listed *e = data;

    g_free(e->name);
    g_free(e->description);
    g_ptr_array_unref(e->contexts);
    g_free(e);
}

/* A server may go on and on. False and *err: there is no room for so many bytes more. */
static bool reserve(Lister *l, size_t bytes, GError **err)
{
    l->memory += bytes + LIST_ENTRY_COST;
    return l->memory <= LIST_MEMORY ||
           error_set(err,
                     "the list of the server's exports takes more than %d MiB, and is not read",
                     (int)(LIST_MEMORY / MiB));
}

static Listed *listed_new(Lister *l, const uint8_t *name, size_t len)
{
    Listed *e = g_new0(Listed, 1);

    e->name = g_strndup((const char *)name, len);
    e->contexts = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(l->exports, e);
    return e;
}

static void append_be(GByteArray *out, uint64_t value, unsigned bytes)
{
    uint8_t buf[8];

    stbe64(buf, value);
    g_byte_array_append(out, buf + 8 - bytes, bytes);
}

static void append_string(GByteArray *out, const char *text)
{
    append_be(out, strlen(text), 4);
    g_byte_array_append(out, (const uint8_t *)text, strlen(text));
}

/* An old server's greeting says all about its one export. */
static bool coroutine_fn list_old(Lister *l, GError **err)
{
    uint8_t rest[NBD_OLD_SIZE];
    Listed *e;

    if (!nbd_client_get(l->stream, rest, sizeof rest, err)) {
        return false;
    }
    e = listed_new(l, (const uint8_t *)"", 0);
    e->has_info = true;
    e->size = ldbe64(rest);
    e->flags = ldbe32(rest + 8) & 0xffff;
    return true;
}

/* One entry of the list: its name and, behind that, a text. */
static bool list_add(Lister *l, const NbdReply *r, GError **err)
{
    uint32_t len = r->len >= 4 ? ldbe32(r->data) : 0;
    Listed *e;

    if (r->len < 4 || len > r->len - 4 || len > NBD_MAX_STRING) {
        return error_set(err, "incorrect name length in server's list response");
    }
    if (l->exports->len == LIST_MAX) {
        return error_set(err, "the server lists more than %d exports", LIST_MAX);
    }
    if (!reserve(l, sizeof *e + r->len, err)) {
        return false;
    }
    e = listed_new(l, r->data + 4, len);
    if (r->len > 4 + len) {
        e->description = g_strdup((const char *)r->data + 4 + len);
    }
    return true;
}

static bool coroutine_fn list_names(Lister *l, NbdReply *r, GError **err)
{
    NbdReplied kind;

    if (!nbd_client_option(l->stream, NBD_OPT_LIST, NULL, err)) {
        return false;
    }
    while ((kind = nbd_client_reply(l->stream, NBD_OPT_LIST, NBD_REP_SERVER, r, err)) ==
           NBD_REPLIED) {
        if (!list_add(l, r, err)) {
            return false;
        }
    }
    return kind != NBD_REPLIED_ERROR;
}

static bool check_block_sizes(const Listed *e, GError **err)
{
    if (!is_power_of_2(e->min_block)) {
        return error_set(err, "server minimum block size %u is not a power of two", e->min_block);
    }
    if (!is_power_of_2(e->opt_block) || e->opt_block < e->min_block) {
        return error_set(err, "server preferred block size %u is not valid", e->opt_block);
    }
    return e->max_block >= e->min_block ||
           error_set(err, "server maximum block size %u is not valid", e->max_block);
}

static bool info_take(Listed *e, const NbdReply *r, GError **err)
{
    unsigned info = r->len >= 2 ? ldbe16(r->data) : NBD_INFO_NAME;

    if (e->infos++ == LIST_MAX) {
        return error_set(err, "the server says more than %d things of one export", LIST_MAX);
    }

    if (r->len < 2 || (info == NBD_INFO_EXPORT && r->len != 12) ||
        (info == NBD_INFO_BLOCK_SIZE && r->len != 14)) {
        return error_set(err, "the server's information of %zu bytes has a wrong length", r->len);
    }
    if (info == NBD_INFO_EXPORT) {
        e->size = ldbe64(r->data + 2);
        e->flags = ldbe16(r->data + 10);
        e->has_info = e->flags & NBD_FLAG_HAS_FLAGS;
    }
    if (info == NBD_INFO_BLOCK_SIZE) {
        e->min_block = ldbe32(r->data + 2);
        e->opt_block = ldbe32(r->data + 6);
        e->max_block = ldbe32(r->data + 10);
        return check_block_sizes(e, err);
    }
    return true;
}

static bool coroutine_fn list_info(Lister *l, Listed *e, NbdReply *r, GError **err)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    NbdReplied kind;

    append_string(data, e->name);
    append_be(data, 1, 2);
    append_be(data, NBD_INFO_BLOCK_SIZE, 2);
    if (!nbd_client_option(l->stream, NBD_OPT_INFO, data, err)) {
        return false;
    }
    while ((kind = nbd_client_reply(l->stream, NBD_OPT_INFO, NBD_REP_INFO, r, err)) ==
           NBD_REPLIED) {
        if (!info_take(e, r, err)) {
            return false;
        }
    }
    if (kind == NBD_REPLIED_LAST && !e->has_info) {
        return error_set(err, "broken server omitted NBD_INFO_EXPORT");
    }
    return kind != NBD_REPLIED_ERROR;
}

/* 'query' NULL: all that the server would tell a client that knows of none. */
static bool coroutine_fn list_contexts(Lister *l, Listed *e, const char *query, NbdReply *r,
                                       GError **err)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    NbdReplied kind;

    append_string(data, e->name);
    append_be(data, query ? 1 : 0, 4);
    if (query) {
        append_string(data, query);
    }
    if (!nbd_client_option(l->stream, NBD_OPT_LIST_META_CONTEXT, data, err)) {
        return false;
    }
    while ((kind = nbd_client_reply(l->stream, NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT, r,
                                    err)) == NBD_REPLIED) {
        if (r->len <= 4 || e->contexts->len == LIST_MAX) {
            return error_set(err,
                             "Failed to negotiate meta context, server answered with unexpected "
                             "length %zu",
                             r->len);
        }
        if (!reserve(l, r->len, err)) {
            return false;
        }
        g_ptr_array_add(e->contexts, g_strdup((const char *)r->data + 4));
    }
    /* A server that does not like to say is not held to it. */
    if (kind == NBD_REPLIED_ERROR && (r->type & NBD_REP_ERROR(0))) {
        g_clear_error(err);
        return true;
    }
    return kind != NBD_REPLIED_ERROR;
}

/* Old servers name contexts of this kind to those alone who ask for them. */
static bool coroutine_fn list_all_contexts(Lister *l, Listed *e, NbdReply *r, GError **err)
{
    bool has_qemu = false;

    if (!list_contexts(l, e, NULL, r, err)) {
        return false;
    }
    for (unsigned i = 0; i < e->contexts->len; i++) {
        has_qemu = has_qemu || g_str_has_prefix(e->contexts->pdata[i], "qemu:");
    }
    return has_qemu || !e->contexts->len || list_contexts(l, e, "qemu:", r, err);
}

static bool coroutine_fn list_new(Lister *l, GError **err)
{
    g_autofree NbdReply *r = g_new(NbdReply, 1);
    bool structured;

    if (!nbd_client_option(l->stream, NBD_OPT_STRUCTURED_REPLY, NULL, err)) {
        return false;
    }
    structured = nbd_client_reply(l->stream, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, r, err) ==
                 NBD_REPLIED_LAST;
    if (!structured && !(r->type & NBD_REP_ERROR(0))) {
        return false;
    }
    g_clear_error(err);
    if (!list_names(l, r, err)) {
        return false;
    }
    for (unsigned i = 0; i < l->exports->len; i++) {
        Listed *e = l->exports->pdata[i];

        if (!list_info(l, e, r, err)) {
            return false;
        }
        if (!e->has_info) {
            break; /* the server tells names alone */
        }
        if (structured && !list_all_contexts(l, e, r, err)) {
            return false;
        }
    }
    return true;
}

/* The server is told that this was all; whether it hears that does not matter. */
static void coroutine_fn say_goodbye(Lister *l)
{
    nbd_client_option(l->stream, NBD_OPT_ABORT, NULL, NULL);
    nbd_stream_bye(l->stream);
}

static bool coroutine_fn list_all(Lister *l, const TlsCreds *creds, const char *hostname,
                                  GError **err)
{
    NbdHello hello;
    bool ok;

    if (!nbd_client_hello(l->stream, &hello, err) ||
        (creds && !nbd_client_start_tls(l->stream, &hello, creds, hostname, err))) {
        return false;
    }
    if (hello.is_old) {
        return list_old(l, err);
    }
    if (!(hello.flags & NBD_HAND_FIXED_NEWSTYLE)) {
        return error_set(err, "Server does not support export lists");
    }
    ok = list_new(l, err);
    say_goodbye(l);
    return ok;
}

/* The output. */

static void print_flags(FILE *out, unsigned flags)
{
    static const char *const names[] = {NULL,         "readonly", "flush",  "fua",
                                        "rotational", "trim",     "zeroes", "df",
                                        "multi",      "resize",   "cache",  "fast-zero"};

    fprintf(out, "  flags: 0x%x (", flags);
    for (unsigned i = 1; i < G_N_ELEMENTS(names); i++) {
        if (flags & BIT(i)) {
            fprintf(out, " %s", names[i]);
        }
    }
    fprintf(out, " )\n");
}

static void print_export(FILE *out, const Listed *e)
{
    g_autofree char *name = nbd_client_shown(e->name);
    g_autofree char *description = nbd_client_shown(e->description ? e->description : "");

    fprintf(out, " export: '%s'\n", name);
    if (*description) {
        fprintf(out, "  description: %s\n", description);
    }
    if (e->flags & NBD_FLAG_HAS_FLAGS) {
        fprintf(out, "  size:  %" PRIu64 "\n", e->size);
        print_flags(out, e->flags);
    }
    if (e->min_block) {
        fprintf(out, "  min block: %u\n  opt block: %u\n  max block: %u\n", e->min_block,
                e->opt_block, e->max_block);
    }
    if (e->contexts->len) {
        fprintf(out, "  available meta contexts: %u\n", e->contexts->len);
    }
    for (unsigned i = 0; i < e->contexts->len; i++) {
        g_autofree char *context = nbd_client_shown(e->contexts->pdata[i]);

        fprintf(out, "   %s\n", context);
    }
}

bool coroutine_fn nbd_list_socket(int fd, const TlsCreds *creds, const char *hostname, FILE *out,
                                  GError **err)
{
    Lister l = {.stream = nbd_stream_new(fd),
                .exports = g_ptr_array_new_with_free_func(listed_free)};
    bool ok;

    nbd_stream_attach(l.stream);
    ok = list_all(&l, creds, hostname, err);
    nbd_stream_detach(l.stream);
    nbd_stream_free(l.stream);
    if (ok) {
        fprintf(out, "exports available: %u\n", l.exports->len);
    }
    for (unsigned i = 0; ok && i < l.exports->len; i++) {
        print_export(out, l.exports->pdata[i]);
    }
    g_ptr_array_unref(l.exports);
    return ok;
}

bool coroutine_fn nbd_list(const NbdListOptions *o, GError **err)
{
    TlsCreds *creds = o->tls_creds ? tls_creds_get(o->tls_creds, TLS_ENDPOINT_CLIENT, err) : NULL;
    const char *hostname = o->tls_hostname ? o->tls_hostname : o->path ? NULL : o->host;
    bool ok = creds || !o->tls_creds;
    NbdConnecting connecting;
    int fd = -1;

    if (!ok) {
        g_prefix_error(err, "Failed to get TLS creds: ");
    } else {
        fd = nbd_client_connect(&connecting, o->path, o->host, o->port, err);
        ok = fd >= 0;
    }
    ok = ok && nbd_list_socket(fd, creds, hostname, stdout, err);
    tls_creds_put(creds);
    return ok;
}
