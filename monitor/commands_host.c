/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands for the host's side: descriptors, the log, character devices, actions, the balloon. */
#include <fcntl.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "commands.h"
#include "devices/virtio.h"

/* Arguments. */

const Property fdname_args[] = {
    MEMBER("fdname", PROP_STRING, .help = "how it is called from now on"), PROP_END};
const Property add_fd_args[] = {
    {.name = "fdset-id", .type = PROP_INT64, .help = "the set; none: a new one"},
    {.name = "opaque", .type = PROP_STRING, .help = "a note"},
    PROP_END};
const Property remove_fd_args[] = {
    {.name = "fdset-id", .type = PROP_INT64, .help = "the set", .flags = PROP_FLAG_REQUIRED},
    {.name = "fd", .type = PROP_INT64, .help = "one of it"},
    PROP_END};
const Property chardev_add_args[] = {MEMBER("id", PROP_STRING, .help = "its name"),
                                     {.name = "backend",
                                      .type = PROP_TREE,
                                      .help = "what it is",
                                      .flags = PROP_FLAG_REQUIRED,
                                      .shape = &chardev_backend_shape},
                                     PROP_END};
const Property ringbuf_args[] = {
    MEMBER("device", PROP_STRING, .help = "a ring buffer"),
    {.name = "size", .type = PROP_INT64, .help = "how much of it", .flags = PROP_FLAG_REQUIRED},
    {.name = "format", .type = PROP_ENUM, .names = data_format_names, .help = "of the answer"},
    PROP_END};
const Property action_args[] = {
    {.name = "reboot", .type = PROP_ENUM, .names = reboot_action_names},
    {.name = "shutdown", .type = PROP_ENUM, .names = shutdown_action_names},
    {.name = "panic", .type = PROP_ENUM, .names = panic_action_names},
    {.name = "watchdog", .type = PROP_ENUM, .names = watchdog_action_names},
    PROP_END};
const Property watchdog_action_args[] = {{.name = "action",
                                          .type = PROP_ENUM,
                                          .names = watchdog_action_names,
                                          .help = "what follows when a watchdog fires",
                                          .flags = PROP_FLAG_REQUIRED},
                                         PROP_END};
const Property balloon_args[] = {
    {.name = "value", .type = PROP_INT64, .help = "bytes", .flags = PROP_FLAG_REQUIRED}, PROP_END};
const Property balloon_hmp_args[] = {MEMBER("target", PROP_STRING, .help = "MiB"), PROP_END};
const Property log_args[] = {MEMBER("items", PROP_STRING, .help = "what is logged"), PROP_END};
const Property logfile_args[] = {MONITOR_FILE("filename", "where it goes"), PROP_END};

/* Descriptors that came as SCM_RIGHTS with the command. */

static int host_cmd_receive_fd(Monitor *mon, GError **err)
{
    int fd;

    if (mon->detached || char_get_msgfds(&mon->fe, &fd, 1) < 1) {
        error_set(err, "No file descriptor supplied via SCM_RIGHTS");
        return -1;
    }
    return fd;
}

MONITOR_HANDLER(cmd_getfd)
{
    const char *name = json_str(args, "fdname");
    int fd = host_cmd_receive_fd(mon, err);

    if (fd < 0) {
        return NULL;
    }
    /* A name that starts with a digit would be read as the number of an inherited descriptor. */
    if (!*name || g_ascii_isdigit(*name)) {
        close(fd);
        error_set(err, "Parameter 'fdname' expects a name not starting with a digit");
        return NULL;
    }
    g_hash_table_replace(mon->fds, g_strdup(name), GINT_TO_POINTER(fd));
    return json_object();
}

MONITOR_HANDLER(cmd_closefd)
{
    const char *name = json_str(args, "fdname");

    if (!g_hash_table_remove(mon->fds, name)) {
        error_set(err, "File descriptor named '%s' not found", name);
        return NULL;
    }
    return json_object();
}

int monitor_take_fd(Monitor *mon, const char *name)
{
    gpointer key, fd;

    if (!g_hash_table_steal_extended(mon->fds, name, &key, &fd)) {
        return -1;
    }
    g_free(key);
    fcntl(GPOINTER_TO_INT(fd), F_SETFD, 0); /* as one that was inherited: host_take_fd() */
    return GPOINTER_TO_INT(fd);
}

MONITOR_HANDLER(cmd_add_fd)
{
    json_t *set = json_object_get(args, "fdset-id");
    int64_t id = set ? json_integer_value(set) : -1;
    int fd;

    if (set && id < 0) {
        error_set(err, "Parameter 'fdset-id' expects a non-negative value");
        return NULL;
    }
    fd = host_cmd_receive_fd(mon, err);
    if (fd < 0) {
        return NULL;
    }
    id = host_fdset_add(id, fd, json_str(args, "opaque"), err);
    if (id < 0) {
        close(fd);
        return NULL;
    }
    return json_pack("{s:I,s:i}", "fdset-id", (json_int_t)id, "fd", fd);
}

MONITOR_HANDLER(cmd_remove_fd)
{
    json_int_t id = json_integer_value(json_object_get(args, "fdset-id"));
    json_t *fd = json_object_get(args, "fd");

    if (id < 0 || !host_fdset_remove(id, fd ? json_integer_value(fd) : -1)) {
        g_autofree char *what =
            fd ? g_strdup_printf("fdset-id:%lld, fd:%lld", id, json_integer_value(fd))
               : g_strdup_printf("fdset-id:%lld", id);

        error_set(err, "File descriptor named '%s' not found", what);
        return NULL;
    }
    return json_object();
}

static void describe_set_fd(int64_t id, int fd, const char *opaque, void *data)
{
    json_t *out = data, *entry = json_pack("{s:i}", "fd", fd), *set = NULL, *other;
    size_t n;

    if (opaque) {
        json_object_set_new(entry, "opaque", json_string(opaque));
    }
    json_array_foreach(out, n, other)
    {
        if (json_integer_value(json_object_get(other, "fdset-id")) == id) {
            set = other;
        }
    }
    if (!set) {
        set = json_pack("{s:I,s:[]}", "fdset-id", (json_int_t)id, "fds");
        json_array_append_new(out, set);
    }
    json_array_append_new(json_object_get(set, "fds"), entry);
}

MONITOR_HANDLER(cmd_query_fdsets)
{
    json_t *out = json_array();

    host_fdset_foreach(describe_set_fd, out);
    return out;
}

/* Replaces a name from getfd by the number of the descriptor. */
static void resolve_fd(Monitor *mon, json_t *tree, const char *key)
{
    const char *name = json_str(tree, key);
    int fd;

    if (name && !g_ascii_isdigit(*name) && (fd = monitor_take_fd(mon, name)) >= 0) {
        g_autofree char *number = g_strdup_printf("%d", fd);

        json_object_set_new(tree, key, json_string(number));
    }
}

void monitor_resolve_fds(Monitor *mon, json_t *tree)
{
    static const char *const addresses[] = {"addr", "local", "remote"};
    const char *list = json_str(tree, "fds");

    for (unsigned i = 0; i < G_N_ELEMENTS(addresses); i++) {
        json_t *address = json_object_get(tree, addresses[i]),
               *data = json_object_get(address, "data"); /* of a SocketAddressLegacy */

        if (!g_strcmp0(json_str(address, "type"), "fd")) {
            resolve_fd(mon, data ? data : address, "str");
        }
    }
    resolve_fd(mon, tree, "fd");
    resolve_fd(mon, tree, "vhostfd");
    if (list) {
        g_auto(GStrv) names = g_strsplit(list, ":", 0);
        g_autofree char *joined = NULL;

        for (unsigned i = 0; names[i]; i++) {
            int fd = g_ascii_isdigit(*names[i]) ? -1 : monitor_take_fd(mon, names[i]);

            if (fd >= 0) {
                g_free(names[i]);
                names[i] = g_strdup_printf("%d", fd);
            }
        }
        joined = g_strjoinv(":", names);
        json_object_set_new(tree, "fds", json_string(joined));
    }
}

/* QMP's 'backend', checked and with the descriptors that it names. */
static bool chardev_backend_arg(Monitor *mon, json_t *args, GError **err)
{
    json_t *backend = json_object_get(args, "backend");
    const char *type = json_str(backend, "type");

    if (!json_is_object(backend)) {
        return error_set(err, "Invalid parameter type for 'backend', expected: object");
    }
    if (!type) {
        return error_set(err, "Parameter 'backend.type' is missing");
    }
    if (!strcmp(type, "mux")) {
        return error_set(err, "'mux' is an option of the other backends here (mux=on)");
    }
    monitor_resolve_fds(mon, json_object_get(backend, "data"));
    return true;
}

static json_t *chardev_return(const Chardev *chr)
{
    json_t *out;

    if (!chr) {
        return NULL;
    }
    out = json_object();
    if (chr->filename && g_str_has_prefix(chr->filename, "pty:")) {
        json_object_set_new(out, "pty", json_string(chr->filename + strlen("pty:")));
    }
    return out;
}

MONITOR_HANDLER(cmd_chardev_add)
{
    const char *id = json_str(args, "id");

    if (chardev_find(id)) {
        error_set(err, "Chardev with id '%s' already exists", id);
        return NULL;
    }
    return chardev_backend_arg(mon, args, err) ? chardev_return(chardev_add(args, err)) : NULL;
}

MONITOR_HANDLER(cmd_chardev_change)
{
    return chardev_backend_arg(mon, args, err) ? chardev_return(chardev_change(args, err)) : NULL;
}

MONITOR_HANDLER(cmd_chardev_send_break)
{
    const char *id = json_str(args, "id");
    Chardev *chr = chardev_find(id);

    if (!chr) {
        error_set(err, "Chardev '%s' not found", id);
        return NULL;
    }
    chardev_event(chr, CHAR_EVENT_BREAK);
    return json_object();
}

MONITOR_HANDLER(cmd_ringbuf_read)
{
    const char *id = json_str(args, "device");
    json_int_t size = json_integer_value(json_object_get(args, "size"));
    Chardev *chr = chardev_find(id);
    g_autofree char *bytes = NULL, *text = NULL;
    size_t len = 0;

    if (chr && size <= 0) {
        error_set(err, "size must be greater than zero");
        return NULL;
    }
    bytes = chr ? chardev_ringbuf_read(chr, size, &len) : NULL;
    if (!bytes) {
        error_set(err, chr ? "%s is not a ringbuf device" : "Device '%s' not found", id);
        return NULL;
    }
    /* A JSON string is UTF-8: other bytes are replaced. */
    text = g_strcmp0(json_str(args, "format"), "base64")
               ? g_utf8_make_valid(bytes, -1)
               : g_base64_encode((const guchar *)bytes, len);
    return json_string(text);
}

MONITOR_PRINTER(print_ringbuf)
{
    monitor_printf(mon, "%s\n", json_string_value(result));
}

/* The log. */

MONITOR_HANDLER(cmd_log)
{
    const char *items = json_str(args, "items");
    g_autoptr(GString) said = g_string_new(NULL);
    g_autoptr(GError) bad = NULL;

    if (log_set_items(items, said, &bad)) {
        monitor_puts(mon, said->str);
        return json_object();
    }
    monitor_puts(mon, "Log items (comma separated):\n");
    monitor_printf(mon, "%-15s %s\n", "none", "remove all logs");
    for (const char *const *n = log_item_names(); *n; n += 2) {
        monitor_printf(mon, "%-15s %s\n", n[0], n[1]);
    }
    monitor_printf(mon, "%-15s %s\n", LOG_TRACE_PREFIX "PATTERN", "enable trace events");
    monitor_puts(mon, "\nUse \"log trace:help\" to get a list of trace events.\n\n");
    return json_object();
}

MONITOR_HANDLER(cmd_logfile)
{
    return log_set_file(json_str(args, "filename"), err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_info_history)
{
    for (unsigned i = 0; i < mon->history->len; i++) {
        monitor_printf(mon, "%u: '%s'\n", i, (char *)mon->history->pdata[i]);
    }
    return json_object();
}

/* The index of the argument's value in 'names'; 'old' where it is not given. */
static int changed_action(json_t *args, const char *key, const char *const *names, int old)
{
    const char *value = json_str(args, key);

    for (int i = 0; value && names[i]; i++) {
        if (!strcmp(names[i], value)) {
            return i;
        }
    }
    return old;
}

MONITOR_HANDLER(cmd_set_action)
{
    VmActions a = vm_actions(vm);

    a.reboot = changed_action(args, "reboot", reboot_action_names, a.reboot);
    a.shutdown = changed_action(args, "shutdown", shutdown_action_names, a.shutdown);
    a.panic = changed_action(args, "panic", panic_action_names, a.panic);
    a.watchdog = changed_action(args, "watchdog", watchdog_action_names, a.watchdog);
    vm_set_actions(vm, &a);
    return json_object();
}

MONITOR_HANDLER(cmd_watchdog_set_action)
{
    VmActions a = vm_actions(vm);

    a.watchdog = changed_action(args, "action", watchdog_action_names, a.watchdog);
    vm_set_actions(vm, &a);
    return json_object();
}

/* The balloon. */

MONITOR_HANDLER(cmd_balloon)
{
    json_int_t value = json_integer_value(json_object_get(args, "value"));

    if (value <= 0) {
        error_set(err, "Parameter 'target' expects a size");
        return NULL;
    }
    return balloon_set_target(vm, value, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_balloon_hmp)
{
    const char *text = json_str(args, "target");
    uint64_t bytes;

    if (!parse_size(text, MiB, &bytes) || !bytes) {
        error_set(err, "Parameter 'target' expects a size");
        return NULL;
    }
    return balloon_set_target(vm, bytes, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_query_balloon)
{
    uint64_t actual;

    return balloon_query(vm, &actual, err) ? json_pack("{s:I}", "actual", (json_int_t)actual)
                                           : NULL;
}

MONITOR_PRINTER(print_balloon)
{
    monitor_printf(mon, "balloon: actual=%lld\n",
                   json_integer_value(json_object_get(result, "actual")) / (long long)MiB);
}
