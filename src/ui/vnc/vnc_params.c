/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What -vnc takes, also where this program was built without libvncserver. */
#include "ui/vnc.h"
#include "vnc_internal.h"

static const char *const vnc_share_names[] = {"allow-exclusive", "force-shared", "ignore", NULL};

#define VNC_HAS(n, f, h)                                                                           \
    {                                                                                              \
        .name = (n), .type = PROP_BOOL, .offset = offsetof(VncOptions, f),                         \
        .set_offset = offsetof(VncOptions, has_##f), .flags = PROP_FLAG_HAS, .help = (h)           \
    }
#define VNC_FIXED(n, f, d, h)                                                                      \
    {                                                                                              \
        .name = (n), .type = PROP_BOOL, .offset = offsetof(VncOptions, f), .defval = (d),          \
        .flags = PROP_FLAG_FIXED, .help = (h)                                                      \
    }
const Property vnc_params[] = {
    PROP("vnc", PROP_STRING, VncOptions, display, NULL, "HOST:DISPLAY, unix:PATH or none"),
    PROP("id", PROP_STRING, VncOptions, id, NULL, "name of the server; 'default' of the first"),
    PROP("to", PROP_UINT32, VncOptions, to, "0", "the last display that is tried"),
    PROP("websocket", PROP_STRING, VncOptions, websocket, NULL,
         "on, PORT or HOST:PORT: for browsers, with noVNC's page. Without a password, pages of "
         "other hosts are refused"),
    PROP("password", PROP_BOOL, VncOptions, password, "off",
         "ask for the password that the monitor sets"),
    PROP("password-secret", PROP_STRING, VncOptions, password_secret, NULL,
         "ask for the password in this -object secret"),
    PROP_E("share", VncOptions, share, "allow-exclusive", vnc_share_names,
           "what a viewer that wants to be alone gets"),
    PROP("connections", PROP_UINT32, VncOptions, connections, "32", "viewers at a time"),
    PROP("reverse", PROP_BOOL, VncOptions, reverse, "off",
         "connect to a viewer that listens on HOST:PORT"),
    PROP("display", PROP_STRING, VncOptions, device, NULL,
         "id of the device to show, without Ctrl-Alt-2"),
    PROP("head", PROP_UINT32, VncOptions, head, "0", "screen of that device"),
    PROP("lossy", PROP_BOOL, VncOptions, lossy, "off", "allow lossy compression"),
    PROP("power-control", PROP_BOOL, VncOptions, power_control, "off",
         "let viewers shut down and reset the machine"),
    VNC_HAS("ipv4", ipv4, "use IPv4"),
    VNC_HAS("ipv6", ipv6, "use IPv6"),
    VNC_FIXED("non-adaptive", non_adaptive, "on", "no adaptive encodings"),
    VNC_FIXED("lock-key-sync", lock_key_sync, "off", "no guessing of Caps Lock"),
    VNC_FIXED("sasl", sasl, "off", "no SASL authentication"),
    PROP("tls-creds", PROP_STRING, VncOptions, tls_creds, NULL, "not supported"),
    PROP("tls-authz", PROP_STRING, VncOptions, tls_authz, NULL, "not supported"),
    PROP("sasl-authz", PROP_STRING, VncOptions, sasl_authz, NULL, "not supported"),
    PROP("audiodev", PROP_STRING, VncOptions, audiodev, NULL, "not supported"),
    PROP_END,
};
