/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block exports, and the NBD server. */
#include <string.h>
#include <sys/socket.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/keyval.h"
#include "base/socket_address.h"
#include "base/util.h"
#include "block/backend.h"
#include "block/export.h"
#include "block/nbd_server.h"
#include "commands.h"
#include "vm/iothread.h"

/* Arguments. */

static const char *const export_remove_names[] = {"safe", "hard", NULL};
#define EXPORT_REMOVE_MODE                                                                         \
    {                                                                                              \
        .name = "mode", .type = PROP_ENUM, .names = export_remove_names,                           \
        .help = "safe: not while there are clients; hard: they are sent away"                      \
    }
const Property export_del_args[] = {MEMBER("id", PROP_STRING, .help = "an export"),
                                    EXPORT_REMOVE_MODE, PROP_END};
const Property nbd_start_args[] = {
    {.name = "addr",
     .type = PROP_TREE,
     .shape = &socket_address_legacy_shape,
     .help = "where it listens",
     .flags = PROP_FLAG_REQUIRED},
    {.name = "tls-creds", .type = PROP_STRING, .help = "credentials: clients have to use TLS"},
    {.name = "tls-authz", .type = PROP_STRING, .help = "an authz object: who may connect"},
    {.name = "max-connections", .type = PROP_UINT32, .help = "clients at a time; 0: no limit"},
    PROP_END};
const Property nbd_add_args[] = {
    {.name = "name", .type = PROP_STRING, .help = "what clients ask for"},
    {.name = "description", .type = PROP_STRING, .help = "text that clients can read"},
    MEMBER("device", PROP_STRING, .help = "a drive, or a node"),
    {.name = "writable", .type = PROP_BOOL, .help = "clients may write"},
    {.name = "bitmap", .type = PROP_STRING, .help = "that clients can ask about"},
    PROP_END};
const Property nbd_remove_args[] = {MEMBER("name", PROP_STRING, .help = "an export"),
                                    EXPORT_REMOVE_MODE, PROP_END};
const Property nbd_start_hmp_args[] = {
    {.name = "a", .type = PROP_BOOL, .help = "exports all disks"},
    {.name = "w", .type = PROP_BOOL, .help = "clients may write to them"},
    MEMBER("uri", PROP_STRING, .help = "where it listens"),
    PROP_END};
const Property nbd_add_hmp_args[] = {
    {.name = "w", .type = PROP_BOOL, .help = "clients may write"},
    MONITOR_DRIVE("device", "a drive, or a node"),
    {.name = "name", .type = PROP_STRING, .help = "what clients ask for"},
    PROP_END};
const Property nbd_remove_hmp_args[] = {
    {.name = "f", .type = PROP_BOOL, .help = "clients are sent away"},
    MEMBER("name", PROP_STRING, .help = "an export"),
    PROP_END};

/* Clients that wait to be accepted. */
enum { NBD_BACKLOG = 100 };

static json_t *nbd_cmd_done(bool ok)
{
    return ok ? json_object() : NULL;
}

/* Exports. */

static void iothread_unused(void *data)
{
    ((Object *)data)->users--;
}

/* 'blk': with whose medium the export goes; NULL: with none. */
static bool export_add(json_t *options, const BlockBackend *blk, GError **err)
{
    json_auto_t *own = json_copy(options);
    const char *id = json_str(own, "iothread");
    Object *iothread = id ? object_find(id, &iothread_class, NULL) : NULL;
    BlockExport *exp;

    if (id && !iothread) {
        return error_set(err, "iothread \"%s\" not found", id);
    }
    json_object_del(own, "iothread");
    exp = block_export_add(own, iothread ? iothread_loop(iothread) : event_loop_current(),
                           iothread ? iothread_unused : NULL, iothread, err);
    if (!exp) {
        return false;
    }
    if (blk) {
        block_export_follow_medium(exp, blk);
    }
    if (iothread) {
        iothread->users++;
    }
    return true;
}

static json_t *export_del(const char *id, json_t *args, GError **err)
{
    BlockExport *exp = block_export_find(id);

    if (!exp) {
        error_set(err, "Export '%s' is not found", id);
        return NULL;
    }
    return nbd_cmd_done(block_export_del(exp, !g_strcmp0(json_str(args, "mode"), "hard"), err));
}

MONITOR_HANDLER(cmd_block_export_add)
{
    json_auto_t *own = json_copy(args);
    json_t *fixed = json_object_get(own, "fixed-iothread");

    if (json_is_true(fixed) && !json_object_get(own, "iothread")) {
        error_set(err, "Need to specify iothread when using fixed-iothread");
        return NULL;
    }
    /* An export's requests come on its loop whatever loops others use: nothing has to be fixed. */
    json_object_del(own, "fixed-iothread");
    return nbd_cmd_done(export_add(own, NULL, err));
}

MONITOR_HANDLER(cmd_block_export_del)
{
    return export_del(json_str(args, "id"), args, err);
}

MONITOR_HANDLER(cmd_query_block_exports)
{
    return block_export_query();
}

/* The NBD server. */

/* The socket's path, where it has one that others find; the caller frees it. */
static char *unix_path(const SocketAddress *a)
{
    return a->type == SOCKET_ADDRESS_UNIX && !a->abstract ? g_strdup(a->path) : NULL;
}

static bool server_start(const SocketAddress *a, const NbdServerOptions *options, GError **err)
{
    g_autofree char *path = unix_path(a);
    int fd;

    if (!nbd_server_start(options, err)) {
        return false;
    }
    fd = socket_address_listen(a, err);
    if (fd < 0) {
        nbd_server_stop();
        return false;
    }
    listen(fd, NBD_BACKLOG);
    nbd_server_listen(fd, path);
    return true;
}

MONITOR_HANDLER(cmd_nbd_server_start)
{
    json_t *address = json_object_get(args, "addr"),
           *most = json_object_get(args, "max-connections");
    json_auto_t *flat = NULL;
    NbdServerOptions options = {.tls_creds = json_str(args, "tls-creds"),
                                .tls_authz = json_str(args, "tls-authz"),
                                .max_clients = json_integer_value(most)};
    SocketAddress a;
    bool ok;

    if (nbd_server_running()) {
        error_set(err, "NBD server already running");
        return NULL;
    }
    monitor_resolve_fds(mon, args);
    flat = json_copy(json_object_get(address, "data"));
    json_object_set(flat, "type", json_object_get(address, "type"));
    ok = socket_address_parse(&a, flat, "addr", err) && server_start(&a, &options, err);
    socket_address_clear(&a);
    return nbd_cmd_done(ok);
}

/* A drive's node (then *drive is the drive), or the node of that name. */
static BlockNode *find_exported(const char *device, BlockBackend **drive, GError **err)
{
    BlockBackend *blk = block_backend_find(device);
    BlockNode *n = blk ? block_backend_node(blk) : block_node_find(device);

    *drive = blk;
    if (!n) {
        error_set(err,
                  blk ? "Device '%s' has no medium" : "Cannot find device='%s' nor node-name='%s'",
                  device, device);
    }
    return n;
}

static bool server_add(const char *device, json_t *args, GError **err)
{
    const char *name = json_str(args, "name");
    const char *bitmap = json_str(args, "bitmap");
    json_t *description = json_object_get(args, "description");
    json_auto_t *options = NULL;
    BlockBackend *drive;
    BlockNode *n;

    if (!nbd_server_running()) {
        return error_set(err, "NBD server not running");
    }
    n = find_exported(device, &drive, err);
    if (!n) {
        return false;
    }
    name = name ? name : device;
    /* A read-only node is not refused here, but is exported as what it is. */
    options = json_pack("{s:s,s:s,s:s,s:s,s:b}", "type", "nbd", "id", name, "node-name",
                        n->opts.node_name, "name", name, "writable",
                        json_is_true(json_object_get(args, "writable")) && !n->read_only);
    if (bitmap) {
        json_object_set_new(options, "bitmaps", json_pack("[s]", bitmap));
    }
    if (description) {
        json_object_set(options, "description", description);
    }
    return export_add(options, drive, err);
}

MONITOR_HANDLER(cmd_nbd_server_add)
{
    return nbd_cmd_done(server_add(json_str(args, "device"), args, err));
}

MONITOR_HANDLER(cmd_nbd_server_remove)
{
    const char *name = json_str(args, "name");
    BlockExport *exp = block_export_find(name);

    if (exp && exp->class != &block_export_nbd) {
        error_set(err, "Block export '%s' is not an NBD export", name);
        return NULL;
    }
    return export_del(name, args, err);
}

MONITOR_HANDLER(cmd_nbd_server_stop)
{
    if (!nbd_server_running()) {
        error_set(err, "NBD server not running");
        return NULL;
    }
    nbd_server_stop();
    return json_object();
}

/* HMP. */

/* "HOST:PORT", or "[HOST]:PORT", and ",OPTION=VALUE"; as SocketAddress has it. */
static json_t *parse_inet(const char *text, GError **err)
{
    g_autofree char *place = g_strndup(text, strcspn(text, ","));
    const char *options = text + strlen(place);
    char *colon = strrchr(place, ':');
    bool brackets = *place == '[' && colon > place && colon[-1] == ']';
    g_autofree char *host = NULL;
    json_t *data;

    if (!colon || !colon[1]) {
        error_set(err, "error parsing address '%s': it is unix:PATH, fd:NAME or [HOST]:PORT", text);
        return NULL;
    }
    data = *options ? keyval_parse(options + 1, NULL, NULL, false, err) : json_object();
    if (data) {
        host = g_strndup(place + brackets, colon - place - 2 * brackets);
        json_object_set_new(data, "host", json_string_nocheck(host));
        json_object_set_new(data, "port", json_string_nocheck(colon + 1));
    }
    return data;
}

/* As SocketAddressLegacy. */
static json_t *parse_address(const char *text, GError **err)
{
    static const struct {
        const char *prefix, *type, *key;
    } plain[] = {{"unix:", "unix", "path"}, {"fd:", "fd", "str"}, {"vsock:", "vsock", "cid"}};
    json_t *data;

    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        size_t len = strlen(plain[i].prefix);

        if (g_str_has_prefix(text, plain[i].prefix) && text[len]) {
            return json_pack("{s:s,s:{s:s}}", "type", plain[i].type, "data", plain[i].key,
                             text + len);
        }
    }
    data = parse_inet(text + (g_str_has_prefix(text, "tcp:") ? strlen("tcp:") : 0), err);
    return data ? json_pack("{s:s,s:o}", "type", "inet", "data", data) : NULL;
}

/* All disks that have a medium, by their drives' names, or the nodes' where there is no drive. */
static bool export_all(bool writable, GError **err)
{
    json_auto_t *drives = block_query();
    json_t *drive;
    size_t i;

    json_array_foreach(drives, i, drive)
    {
        json_t *medium = json_object_get(drive, "inserted");
        json_auto_t *options = json_pack("{s:b}", "writable", writable);
        const char *name = json_str(drive, "device");

        if (medium && !server_add(*name ? name : json_str(medium, "node-name"), options, err)) {
            return false;
        }
    }
    return true;
}

MONITOR_HANDLER(cmd_nbd_server_start_hmp)
{
    bool all = json_is_true(json_object_get(args, "a"));
    bool writable = json_is_true(json_object_get(args, "w"));
    json_auto_t *start = json_object(), *started = NULL;
    json_t *address;

    if (writable && !all) {
        error_set(err, "-w only valid together with -a");
        return NULL;
    }
    address = parse_address(json_str(args, "uri"), err);
    if (!address) {
        return NULL;
    }
    json_object_set_new(start, "addr", address);
    started = cmd_nbd_server_start(mon, vm, start, err);
    if (started && all && !export_all(writable, err)) {
        nbd_server_stop();
        return NULL;
    }
    return json_incref(started);
}

MONITOR_HANDLER(cmd_nbd_server_add_hmp)
{
    json_auto_t *own = json_copy(args);

    json_object_set_new(own, "writable", json_boolean(json_is_true(json_object_get(args, "w"))));
    return nbd_cmd_done(server_add(json_str(args, "device"), own, err));
}

MONITOR_HANDLER(cmd_nbd_server_remove_hmp)
{
    json_auto_t *own = json_object();

    if (json_is_true(json_object_get(args, "f"))) {
        json_object_set_new(own, "mode", json_string("hard"));
    }
    return export_del(json_str(args, "name"), own, err);
}
