/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VNC servers: who looks, and their passwords. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "commands.h"
#include "ui/vnc.h"

/* Arguments. */

#define PASSWORD_PROTOCOL                                                                          \
    {                                                                                              \
        .name = "protocol", .type = PROP_ENUM, .names = password_protocol_names, .help = "vnc",    \
        .flags = PROP_FLAG_REQUIRED                                                                \
    }
#define PASSWORD_DISPLAY                                                                           \
    {                                                                                              \
        .name = "display", .type = PROP_STRING, .help = "id of the server"                         \
    }
#define PASSWORD_CONNECTED                                                                         \
    {                                                                                              \
        .name = "connected", .type = PROP_ENUM, .names = password_action_names,                    \
        .help = "what becomes of viewers: keep"                                                    \
    }
const Property set_password_args[] = {
    PASSWORD_PROTOCOL, MEMBER("password", PROP_STRING, .help = "at most 8 characters"),
    PASSWORD_CONNECTED, PASSWORD_DISPLAY, PROP_END};
const Property expire_password_args[] = {
    PASSWORD_PROTOCOL,
    MEMBER("time", PROP_STRING, .help = "now, never, +SECONDS, or seconds since 1970"),
    PASSWORD_DISPLAY, PROP_END};
const Property set_password_hmp_args[] = {
    PASSWORD_PROTOCOL,
    MEMBER("password", PROP_STRING, .help = "at most 8 characters"),
    {.name = "d", .type = PROP_STRING, .help = "id of the server"},
    PASSWORD_CONNECTED,
    PROP_END};
const Property expire_password_hmp_args[] = {
    PASSWORD_PROTOCOL,
    MEMBER("time", PROP_STRING, .help = "now, never, +SECONDS, or seconds since 1970"),
    {.name = "d", .type = PROP_STRING, .help = "id of the server"},
    PROP_END};
const Property vnc_password_args[] = {
    MEMBER("password", PROP_STRING, .help = "at most 8 characters"), PROP_END};

MONITOR_HANDLER(cmd_query_vnc)
{
    return vnc_query(vm);
}

MONITOR_HANDLER(cmd_query_vnc_servers)
{
    return vnc_query_servers(vm);
}

MONITOR_HANDLER(cmd_info_vnc)
{
    g_autofree char *text = vnc_info_text(vm);

    return json_string(text);
}

static bool vnc_cmd_is_vnc(json_t *args, GError **err)
{
    const char *protocol = json_str(args, "protocol");

    if (!strcmp(protocol, "spice")) {
        return error_set(err, "there is no SPICE in this program: 'vnc' is the only protocol");
    }
    return !strcmp(protocol, "vnc") ||
           error_set(err, "Invalid parameter '%s': 'vnc' is the only protocol", protocol);
}

/* Its option -d in HMP. */
static const char *vnc_cmd_display(json_t *args)
{
    const char *display = json_str(args, "display");

    return display ? display : json_str(args, "d");
}

MONITOR_HANDLER(cmd_set_password)
{
    const char *connected = json_str(args, "connected");

    if (!vnc_cmd_is_vnc(args, err)) {
        return NULL;
    }
    if (connected && strcmp(connected, "keep")) {
        error_set(err, "parameter 'connected' must be 'keep' when 'protocol' is 'vnc'");
        return NULL;
    }
    return vnc_set_password(vm, vnc_cmd_display(args), json_str(args, "password"), err)
               ? json_object()
               : NULL;
}

MONITOR_HANDLER(cmd_expire_password)
{
    if (!vnc_cmd_is_vnc(args, err)) {
        return NULL;
    }
    return vnc_expire_password(vm, vnc_cmd_display(args), json_str(args, "time"), err)
               ? json_object()
               : NULL;
}

const Property add_client_args[] = {
    MEMBER("protocol", PROP_STRING, .help = "vnc"),
    MEMBER("fdname", PROP_STRING, .help = "a connected socket, which getfd has stored"),
    MAYBE("skipauth", PROP_BOOL, .help = "no password is asked for"),
    MAYBE("tls", PROP_BOOL, .help = "refused: it is for SPICE"), PROP_END};

MONITOR_HANDLER(cmd_add_client)
{
    const char *protocol = json_str(args, "protocol"), *name = json_str(args, "fdname");
    int fd = monitor_take_fd(mon, name);

    if (fd < 0) {
        error_set(err, "File descriptor named '%s' has not been found", name);
        return NULL;
    }
    if (!strcmp(protocol, "vnc") && !json_is_true(json_object_get(args, "tls"))) {
        return vnc_add_client(vm, fd, json_is_true(json_object_get(args, "skipauth")), err)
                   ? json_object()
                   : NULL;
    }
    close(fd);
    if (!strcmp(protocol, "vnc")) {
        error_set(err, "Parameter 'tls' is for SPICE: this program's VNC has no TLS");
    } else if (!strcmp(protocol, "spice")) {
        error_set_code(err, VMM_ERROR_DEVICE_NOT_ACTIVE, "SPICE is not in use");
    } else {
        error_set(err, "protocol '%s' is invalid", protocol);
    }
    return NULL;
}

MONITOR_HANDLER(cmd_change_vnc_password)
{
    return vnc_set_password(vm, NULL, json_str(args, "password"), err) ? json_object() : NULL;
}
