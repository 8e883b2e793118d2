/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "shapes.h"

#include "base/object.h"
#include "base/socket_address.h"
#include "net/net.h"
#include "ui/keys.h"

/* Further members are properties of the driver; their values may be strings, as in QEMU 7.2. */
static const Property device_members[] = {MEMBER("driver", PROP_STRING), MAYBE("bus", PROP_STRING),
                                          MAYBE("id", PROP_STRING), PROP_END};
const PropertyShape device_add_shape = {
    .name = "device_add-arg", .members = device_members, .is_open = true};

static const Property id_members[] = {MEMBER("id", PROP_STRING), PROP_END};

static ShapeVariant netdev_variant(unsigned i)
{
    const NetBackendClass *c = net_backend_classes()[i];

    return c && !c->is_net_only ? (ShapeVariant){c->name, c->props} : (ShapeVariant){NULL};
}

const PropertyShape netdev_add_shape = {.name = "Netdev",
                                        .members = id_members,
                                        .tag = "type",
                                        .variant = netdev_variant,
                                        .is_open = true};

static ShapeVariant object_variant(unsigned i)
{
    const ObjectClass *c = object_classes()[i];

    return c ? (ShapeVariant){c->name, c->props} : (ShapeVariant){NULL};
}

const PropertyShape object_add_shape = {.name = "ObjectOptions",
                                        .members = id_members,
                                        .tag = "qom-type",
                                        .variant = object_variant,
                                        .is_open = true};

/*
 * chardev-add has nested arguments, and other names for some, than the flat ones of -chardev. They
 * are described here; chardev_add() makes the flat form.
 */
WRAPPED(wrapped_inet, inet_address_shape);
WRAPPED(wrapped_unix, unix_address_shape);
WRAPPED(wrapped_fd, string_shape);
static const ShapeVariant address_variants[] = {
    {"inet", wrapped_inet}, {"unix", wrapped_unix}, {"fd", wrapped_fd}, {NULL}};
const PropertyShape socket_address_legacy_shape = {
    .name = "SocketAddressLegacy", .tag = "type", .variants = address_variants};
static const ShapeVariant inet_only[] = {{"inet", wrapped_inet}, {NULL}};
static const PropertyShape datagram_address = {
    .name = "SocketAddressLegacyInet", .tag = "type", .variants = inet_only};

/* Defines ID_backend, {"data": {...}} with the members that every backend has and those listed. */
#define BACKEND(id, qapi_name, ...)                                                                \
    static const Property id##_members[] = {                                                       \
        MAYBE("logfile", PROP_STRING), MAYBE("logappend", PROP_BOOL), ##__VA_ARGS__, PROP_END};    \
    static const PropertyShape id##_shape = {.name = (qapi_name), .members = id##_members};        \
    WRAPPED(id##_backend, id##_shape)

BACKEND(common, "ChardevCommon");
BACKEND(stdio, "ChardevStdio", MAYBE("signal", PROP_BOOL));
BACKEND(socket, "ChardevSocket", MEMBER("addr", PROP_TREE, .shape = &socket_address_legacy_shape),
        MAYBE("tls-creds", PROP_STRING), MAYBE("tls-authz", PROP_STRING),
        MAYBE("server", PROP_BOOL), MAYBE("wait", PROP_BOOL), MAYBE("nodelay", PROP_BOOL),
        MAYBE("telnet", PROP_BOOL), MAYBE("tn3270", PROP_BOOL), MAYBE("websocket", PROP_BOOL),
        MAYBE("reconnect", PROP_UINT32));
BACKEND(file, "ChardevFile", MAYBE("in", PROP_STRING), MEMBER("out", PROP_STRING),
        MAYBE("append", PROP_BOOL));
BACKEND(hostdev, "ChardevHostdev", MEMBER("device", PROP_STRING));
BACKEND(udp, "ChardevUdp", MEMBER("remote", PROP_TREE, .shape = &datagram_address),
        MAYBE("local", PROP_TREE, .shape = &datagram_address));
BACKEND(ringbuf, "ChardevRingbuf", MAYBE("size", PROP_SIZE));
BACKEND(vc, "ChardevVC", MAYBE("width", PROP_UINT32), MAYBE("height", PROP_UINT32),
        MAYBE("cols", PROP_UINT32), MAYBE("rows", PROP_UINT32));

static const ShapeVariant backend_variants[] = {
    {"file", file_backend},      {"memory", ringbuf_backend}, {"null", common_backend},
    {"pipe", hostdev_backend},   {"pty", common_backend},     {"ringbuf", ringbuf_backend},
    {"serial", hostdev_backend}, {"socket", socket_backend},  {"stdio", stdio_backend},
    {"udp", udp_backend},        {"vc", vc_backend},          {NULL},
};
const PropertyShape chardev_backend_shape = {
    .name = "ChardevBackend", .tag = "type", .variants = backend_variants, .is_open = true};

/* Passwords: the protocol says what more may be there. */

const char *const password_protocol_names[] = {"vnc", "spice", NULL};
const char *const password_action_names[] = {"keep", "fail", "disconnect", NULL};
#define PASSWORD_PROTOCOL MEMBER("protocol", PROP_ENUM, .names = password_protocol_names)

static const Property password_vnc_members[] = {MAYBE("display", PROP_STRING), PROP_END};
static const ShapeVariant password_variants[] = {{"vnc", password_vnc_members}, {NULL}};
static const Property set_password_members[] = {
    PASSWORD_PROTOCOL, MEMBER("password", PROP_STRING),
    MAYBE("connected", PROP_ENUM, .names = password_action_names), PROP_END};
static const Property expire_password_members[] = {PASSWORD_PROTOCOL, MEMBER("time", PROP_STRING),
                                                   PROP_END};
const PropertyShape set_password_shape = {.name = "SetPasswordOptions",
                                          .members = set_password_members,
                                          .tag = "protocol",
                                          .variants = password_variants};
const PropertyShape expire_password_shape = {.name = "ExpirePasswordOptions",
                                             .members = expire_password_members,
                                             .tag = "protocol",
                                             .variants = password_variants};

/* Keys and what pointers do. */

static const Property number_key[] = {MEMBER("data", PROP_INT64), PROP_END};
static const Property named_key[] = {MEMBER("data", PROP_ENUM, .names = ui_key_names), PROP_END};
static const ShapeVariant key_variants[] = {{"number", number_key}, {"qcode", named_key}, {NULL}};
const PropertyShape key_shape = {.name = "KeyValue", .tag = "type", .variants = key_variants};

static const char *const button_names[] = {"left",        "middle", "right", "wheel-up",
                                           "wheel-down",  "side",   "extra", "wheel-left",
                                           "wheel-right", NULL};
static const char *const axis_names[] = {"x", "y", NULL};
static const Property key_event_members[] = {MEMBER("key", PROP_TREE, .shape = &key_shape),
                                             MEMBER("down", PROP_BOOL), PROP_END};
static const PropertyShape key_event = {.name = "InputKeyEvent", .members = key_event_members};
static const Property button_event_members[] = {MEMBER("button", PROP_ENUM, .names = button_names),
                                                MEMBER("down", PROP_BOOL), PROP_END};
static const PropertyShape button_event = {.name = "InputBtnEvent",
                                           .members = button_event_members};
static const Property move_event_members[] = {MEMBER("axis", PROP_ENUM, .names = axis_names),
                                              MEMBER("value", PROP_INT64), PROP_END};
static const PropertyShape move_event = {.name = "InputMoveEvent", .members = move_event_members};
WRAPPED(wrapped_key_event, key_event);
WRAPPED(wrapped_button_event, button_event);
WRAPPED(wrapped_move_event, move_event);
static const ShapeVariant event_variants[] = {{"key", wrapped_key_event},
                                              {"btn", wrapped_button_event},
                                              {"rel", wrapped_move_event},
                                              {"abs", wrapped_move_event},
                                              {NULL}};
const PropertyShape input_event_shape = {
    .name = "InputEvent", .tag = "type", .variants = event_variants};
