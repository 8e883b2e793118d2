/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The input as the text of a forwarding rule, and as the options of a user network. */
#include <stdint.h>
#include <string.h>
#include "base/keyval.h"
#include "user.h"

static void rules(const char *text)
{
    g_autoptr(GError) err = NULL;
    HostForward host;
    GuestForward guest;

    if (host_forward_parse(text, &host, &err)) {
        g_assert(host.host_port >= 0 && host.host_port <= 65535);
        g_assert(host.guest_port > 0 && host.guest_port <= 65535);
    }
    g_clear_error(&err);
    host_forward_parse_host(text, &host);
    g_assert(guest_forward_parse(text, &guest, &err) == (guest.target != NULL));
    g_free(guest.target);
}

static void options(const char *text)
{
    g_autoptr(GError) err = NULL;
    json_t *values = keyval_parse(text, NULL, net_list_keys, false, NULL);
    UserOptions o;
    UserConfig c = {0};

    if (!values) {
        return;
    }
    properties_init(user_props, &o);
    if (properties_apply(user_props, &o, values, NULL, "netdev", NULL)) {
        bool ok = user_config(&o, &c, &err);

        g_assert(ok == !err);
        if (ok) {
            uint32_t mask = c.slirp.vnetmask.s_addr;

            g_assert((c.slirp.vhost.s_addr & mask) == c.slirp.vnetwork.s_addr);
            g_assert((c.slirp.vdhcp_start.s_addr & mask) == c.slirp.vnetwork.s_addr);
        }
        user_config_clear(&c);
    }
    properties_clear(user_props, &o);
    json_decref(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);

    rules(text);
    options(text);
    return 0;
}
