/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -net and -nic. Both make backends, and requests for NICs that the board makes.
 */
#include "internal.h"
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"

static GPtrArray *requests; /* NetNicRequest */

static void request_free(void *data)
{
    NetNicRequest *r = data;

    g_free(r->model);
    g_free(r->macaddr);
    g_free(r->netdev);
    g_free(r->addr);
    g_free(r->id);
    g_free(r);
}

GPtrArray *net_nic_requests(void)
{
    if (!requests) {
        requests = g_ptr_array_new_with_free_func(request_free);
    }
    return requests;
}

/* Options of the NIC. -nic has them beside the backend's own options. */
static const char *const nic_keys[] = {"model", "mac", "macaddr", "addr", "vectors", "name", NULL};

/* Moves the NIC's options out of config. */
static NetNicRequest *take_nic(json_t *config, GError **err)
{
    const char *mac =
        json_str(config, "mac") ? json_str(config, "mac") : json_str(config, "macaddr");
    json_t *vectors = json_object_get(config, "vectors");
    NetNicRequest *r = g_new0(NetNicRequest, 1);
    uint8_t bytes[6];
    uint64_t n = 0;

    r->vectors = -1;
    r->model = g_strdup(json_str(config, "model"));
    r->macaddr = g_strdup(mac);
    r->addr = g_strdup(json_str(config, "addr"));
    r->id = g_strdup(json_str(config, "name"));
    if (mac && !parse_mac(mac, bytes)) {
        error_set(err, "invalid syntax for ethernet address '%s'", mac);
        request_free(r);
        return NULL;
    }
    if (mac && (bytes[0] & 1)) {
        error_set(err, "NIC cannot have multicast MAC address (odd 1st byte)");
        request_free(r);
        return NULL;
    }
    if (vectors) {
        bool ok =
            json_is_integer(vectors)
                ? json_integer_value(vectors) >= 0
                : json_is_string(vectors) && parse_uint(json_string_value(vectors), 0x7ffffff, &n);

        if (json_is_integer(vectors)) {
            n = json_integer_value(vectors);
        }
        if (!ok || n > 0x7ffffff) {
            error_set(err, "invalid # of vectors: %s", json_str(config, "vectors"));
            request_free(r);
            return NULL;
        }
        r->vectors = n;
    }
    for (const char *const *key = nic_keys; *key; key++) {
        json_object_del(config, *key);
    }
    return r;
}

/* "Invalid parameter 'modl'", with the nearest key of nic_keys and 'others'. */
static bool unknown_key(const char *key, const char *const *others, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;

    for (const char *const *k = nic_keys; *k; k++) {
        g_ptr_array_add(names, (gpointer)*k);
    }
    for (; *others; others++) {
        g_ptr_array_add(names, (gpointer)*others);
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(key, (const char *const *)names->pdata);
    return error_set(err, "Invalid parameter '%s'%s%s%s", key, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

static bool no_more_keys(json_t *config, const char *const *known, GError **err)
{
    const char *key;
    json_t *value;

    json_object_foreach(config, key, value)
    {
        if (!g_strv_contains(known, key)) {
            return unknown_key(key, known, err);
        }
    }
    return true;
}

static const NetBackendClass *net_legacy_find_class(const char *type)
{
    for (const NetBackendClass *const *c = net_backend_classes(); *c; c++) {
        if (g_str_equal((*c)->name, type)) {
            return *c;
        }
    }
    return NULL;
}

/* -nic: refuses keys that neither the NIC nor the backend has. The NIC's were taken out before. */
static bool check_backend_keys(json_t *config, GError **err)
{
    const NetBackendClass *class = net_legacy_find_class(json_str(config, "type"));
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    if (!class) {
        return true; /* netdev_add() refuses the type */
    }
    g_ptr_array_add(names, (gpointer) "type");
    g_ptr_array_add(names, (gpointer) "id");
    for (const Property *p = class->props; p->name; p++) {
        g_ptr_array_add(names, (gpointer)p->name);
    }
    g_ptr_array_add(names, NULL);
    return no_more_keys(config, (const char *const *)names->pdata, err);
}

/* Takes "vlan=N", the number of the hub (default 0), out of config. */
static bool take_hub(json_t *config, unsigned *hub, GError **err)
{
    json_t *vlan = json_object_get(config, "vlan");
    uint64_t n = 0;

    if (json_is_integer(vlan)) {
        n = json_integer_value(vlan);
    } else if (vlan && (!json_is_string(vlan) || !parse_uint(json_string_value(vlan), 65535, &n))) {
        return error_set(err, "Parameter 'vlan' expects a number from 0 to 65535");
    }
    *hub = n;
    json_object_del(config, "vlan");
    return true;
}

static bool net_nic(json_t *config, unsigned hub, GError **err)
{
    static const char *const known[] = {"type", "netdev", "id", NULL};
    const char *netdev = json_str(config, "netdev");
    NetNicRequest *r = take_nic(config, err);

    if (!r) {
        return false;
    }
    if (!no_more_keys(config, known, err)) {
        request_free(r);
        return false;
    }
    if (netdev) {
        if (!net_find(netdev)) {
            request_free(r);
            return error_set(err, "netdev '%s' not found", netdev);
        }
        r->netdev = g_strdup(netdev);
    } else {
        r->netdev = g_strdup(hub_port_new_auto(hub)->name);
    }
    g_ptr_array_add(net_nic_requests(), r);
    return true;
}

/* -net with a backend: makes it, and joins it with a new port of the hub. */
static bool net_backend(json_t *config, unsigned hub, GError **err)
{
    const char *id = json_str(config, "name") ? json_str(config, "name") : json_str(config, "id");
    g_autofree char *name = id ? g_strdup(id) : net_auto_id();

    json_object_del(config, "name");
    json_object_set_new(config, "id", json_string(name));
    if (!netdev_add_to_hub(config, err)) {
        return false;
    }
    net_join(hub_port_new_auto(hub), net_find(name));
    return true;
}

static bool with_copy(json_t *config, bool (*fn)(json_t *, unsigned, GError **), unsigned hub,
                      GError **err)
{
    json_t *copy = json_copy(config);
    bool ok = take_hub(copy, &hub, err) && fn(copy, hub, err);

    json_decref(copy);
    return ok;
}

static bool net_one(json_t *config, unsigned hub, GError **err)
{
    return g_str_equal(json_str(config, "type"), "nic") ? net_nic(config, hub, err)
                                                        : net_backend(config, hub, err);
}

bool net_option_net(json_t *config, GError **err)
{
    const char *type = json_str(config, "type");
    unsigned hub = 0;

    if (!type) {
        return error_set(err, "Parameter 'type' is missing");
    }
    if (g_str_equal(type, "none")) {
        return true;
    }
    if (g_str_equal(type, "hubport")) {
        return error_set(err, "network backend 'hubport' is only supported with -netdev/-nic");
    }
    return with_copy(config, net_one, hub, err);
}

static bool nic_one(json_t *config, unsigned hub, GError **err)
{
    const char *id = json_str(config, "id");
    g_autofree char *name = id ? g_strdup(id) : net_auto_id();
    NetNicRequest *r = take_nic(config, err);

    if (!r) {
        return false;
    }
    r->netdev = g_strdup(name);
    json_object_set_new(config, "id", json_string(name));
    if (!check_backend_keys(config, err) || !netdev_add(config, err)) {
        request_free(r);
        return false;
    }
    g_ptr_array_add(net_nic_requests(), r);
    return true;
}

bool net_option_nic(json_t *config, GError **err)
{
    const char *type = json_str(config, "type");

    if (type && g_str_equal(type, "none")) {
        return true;
    }
    if (!type) {
        /* "-nic model=e1000": a NIC on a user network */
        json_t *copy = json_copy(config);
        bool ok;

        json_object_set_new(copy, "type", json_string("user"));
        ok = with_copy(copy, nic_one, 0, err);
        json_decref(copy);
        return ok;
    }
    return with_copy(config, nic_one, 0, err);
}

bool net_add_default(GError **err)
{
    json_t *config = json_pack("{s:s}", "type", "user");
    bool ok = net_option_nic(config, err);

    json_decref(config);
    return ok;
}

void net_check_peers(void)
{
    hub_check();
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (!p->peer && !hub_is_port(p) && p->queue_index == 0) {
            log_warn("%s %s has no peer", p->is_nic ? "nic" : "netdev", p->name);
        }
    }
    for (unsigned i = 0; i < net_nic_requests()->len; i++) {
        NetNicRequest *r = g_ptr_array_index(requests, i);

        if (!r->used) {
            log_warn("requested NIC (%s, model %s) was not created (not supported by this "
                     "machine?)",
                     r->id ? r->id : "anonymous", r->model ? r->model : "unspecified");
        }
    }
}

void net_cleanup(void)
{
    net_announce_cleanup();
    /* Backends only: devices disconnect their own NICs. */
    for (unsigned i = net_peers()->len; i-- > 0;) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (!p->is_nic) {
            net_backend_destroy(p);
        }
    }
    g_clear_pointer(&requests, g_ptr_array_unref);
}
