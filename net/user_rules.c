/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsers of hostfwd= and guestfwd=. */
#include "internal.h"
#include <arpa/inet.h>
#include <string.h>
#include "base/error.h"
#include "base/util.h"

/* The text before 'sep' (caller frees); *text moves behind sep. NULL where there is no sep. */
static char *user_rules_take(const char **text, char sep)
{
    const char *end = strchr(*text, sep);
    char *part;

    if (!end) {
        return NULL;
    }
    part = g_strndup(*text, end - *text);
    *text = end + 1;
    return part;
}

/* "" or "tcp" or "udp" */
static bool protocol_parse(const char *text, bool *udp)
{
    *udp = g_str_equal(text, "udp");
    return *udp || !*text || g_str_equal(text, "tcp");
}

static bool address_parse(const char *text, struct in_addr *out)
{
    out->s_addr = INADDR_ANY;
    return !*text || inet_pton(AF_INET, text, out) == 1;
}

static bool port_parse(const char *text, int min, int *out)
{
    uint64_t n;

    if (!g_ascii_isdigit(*text) || !parse_uint(text, 65535, &n) || n < (uint64_t)min) {
        return false;
    }
    *out = n;
    return true;
}

static const char *host_forward_try(const char *rule, HostForward *out)
{
    g_autofree char *protocol = user_rules_take(&rule, ':'), *host = NULL, *hport = NULL,
                    *guest = NULL;

    if (!protocol) {
        return "No : separators";
    }
    if (!protocol_parse(protocol, &out->udp)) {
        return "Bad protocol name";
    }
    host = user_rules_take(&rule, ':');
    if (!host) {
        return "Missing : separator";
    }
    if (!address_parse(host, &out->host_addr)) {
        return "Bad host address";
    }
    hport = user_rules_take(&rule, '-');
    if (!hport) {
        return "Bad host port separator";
    }
    /* Port 0: the host picks a free one, which 'info usernet' shows. */
    if (!port_parse(hport, 0, &out->host_port)) {
        return "Bad host port";
    }
    guest = user_rules_take(&rule, ':');
    if (!guest) {
        return "Missing guest address";
    }
    if (!address_parse(guest, &out->guest_addr)) {
        return "Bad guest address";
    }
    return port_parse(rule, 1, &out->guest_port) ? NULL : "Bad guest port";
}

bool host_forward_parse(const char *rule, HostForward *out, GError **err)
{
    const char *reason = host_forward_try(rule, out);

    return !reason || error_set(err, "Invalid host forwarding rule '%s' (%s)", rule, reason);
}

bool host_forward_parse_host(const char *rule, HostForward *out)
{
    g_autofree char *protocol = user_rules_take(&rule, ':'), *host = NULL;

    if (!protocol || !protocol_parse(protocol, &out->udp)) {
        return false;
    }
    host = user_rules_take(&rule, ':');
    return host && address_parse(host, &out->host_addr) && port_parse(rule, 1, &out->host_port);
}

bool guest_forward_parse(const char *rule, GuestForward *out, GError **err)
{
    const char *p = rule;
    g_autofree char *protocol = user_rules_take(&p, ':'), *addr = NULL, *port = NULL;
    bool udp = false;

    *out = (GuestForward){0};
    if (protocol && protocol_parse(protocol, &udp) && !udp) {
        addr = user_rules_take(&p, ':');
        port = addr ? user_rules_take(&p, '-') : NULL;
        if (port && *addr && address_parse(addr, &out->addr) && port_parse(port, 1, &out->port) &&
            *p) {
            out->target = g_strdup(p);
            return true;
        }
    }
    return error_set(err, "Invalid guest forwarding rule '%s'", rule);
}
