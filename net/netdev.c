/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -netdev: making, deleting and describing backends. */
#include "internal.h"
#include "filter.h"
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "base/util.h"

const char *const net_list_keys[] = {"hostfwd", "guestfwd", "dnssearch", NULL};

static const NetBackendClass *netdev_find_class(const char *name, bool for_hub, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;

    for (const NetBackendClass *const *c = net_backend_classes(); *c; c++) {
        if (g_str_equal((*c)->name, name)) {
            if ((*c)->is_net_only && !for_hub) {
                error_set(err,
                          "Parameter 'type' does not accept value '%s': it is for -net only; "
                          "'-object filter-dump' records the packets of a -netdev",
                          name);
                return NULL;
            }
            return *c;
        }
        g_ptr_array_add(names, (void *)(*c)->name);
    }
    g_ptr_array_add(names, NULL);
    if (qemu_name_refused(QEMU_NETDEV, name, err)) {
        return NULL;
    }
    near = nearest_name(name, (const char *const *)names->pdata);
    if (g_str_equal(name, "user")) {
        error_set(err, "network backend 'user' is not compiled into this binary (libslirp)");
    } else if (near) {
        error_set(err, "Parameter 'type' does not accept value '%s'; did you mean '%s'?", name,
                  near);
    } else {
        error_set(err, "Parameter 'type' does not accept value '%s'", name);
    }
    return NULL;
}

/* Makes QMP's lists of {"str": "..."} lists of strings. */
static void flatten_lists(json_t *config)
{
    for (const char *const *key = net_list_keys; *key; key++) {
        json_t *list = json_object_get(config, *key), *item, *flat;
        size_t i;

        if (!json_is_array(list)) {
            continue;
        }
        flat = json_array();
        json_array_foreach(list, i, item)
        {
            json_t *text = json_object_get(item, "str");

            json_array_append(flat, text ? text : item);
        }
        json_object_set_new(config, *key, flat);
    }
}

static bool id_is_well_formed(const char *id)
{
    if (*id == '#') {
        return true; /* made by net_auto_id() */
    }
    return g_ascii_isalpha(*id) &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
               strlen(id);
}

static bool netdev_make(json_t *config, bool for_hub, GError **err)
{
    static const char *const ours[] = {"type", "id", NULL};
    const char *type = json_str(config, "type"), *id = json_str(config, "id");
    const NetBackendClass *class;
    g_autofree void *options = NULL;
    g_autofree char *what = NULL;
    json_t *copy;
    bool ok;

    if (!type) {
        return error_set(err, "Parameter 'type' is missing");
    }
    class = netdev_find_class(type, for_hub, err);
    if (!class) {
        return false;
    }
    if (!id) {
        return error_set(err, "Parameter 'id' is missing");
    }
    if (!id_is_well_formed(id)) {
        return error_set(err, "Parameter 'id' expects an identifier: letters, digits, '-', '.' and "
                              "'_', starting with a letter");
    }
    if (net_find(id)) {
        return error_set(err, "Duplicate ID '%s' for netdev", id);
    }
    what = g_strdup_printf("netdev '%s'", class->name);
    options = g_malloc0(class->size);
    copy = json_copy(config);
    flatten_lists(copy);
    properties_init(class->props, options);
    ok = properties_apply(class->props, options, copy, ours, what, err) &&
         class->create(id, options, err);
    properties_clear(class->props, options);
    json_decref(copy);
    if (ok) {
        log_item(LOG_NET, "netdev %s: %s", id, type);
    }
    return ok;
}

bool netdev_add(json_t *config, GError **err)
{
    return netdev_make(config, false, err);
}

bool netdev_add_to_hub(json_t *config, GError **err)
{
    return netdev_make(config, true, err);
}

static void destroy_all_queues(const char *id)
{
    NetPeer *first = net_find(id);

    if (first && !first->is_nic) {
        net_filters_remove(first);
    }
    /* Queue 0 last: it has the downscript of the whole interface. */
    for (unsigned i = net_peers()->len; i-- > 0;) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);

        if (!p->is_nic && p->queue_index > 0 && g_str_equal(p->name, id)) {
            net_backend_destroy(p);
        }
    }
    first = net_find(id);
    if (first && !first->is_nic) {
        net_backend_destroy(first);
    }
}

static void (*netdev_stream_hook)(const char *id, json_t *address, void *data);
static void *netdev_stream_data;

void net_set_stream_hook(void (*hook)(const char *id, json_t *address, void *data), void *data)
{
    netdev_stream_hook = hook;
    netdev_stream_data = data;
}

void net_stream_event(const char *id, json_t *address)
{
    if (netdev_stream_hook) {
        netdev_stream_hook(id, address, netdev_stream_data);
    }
}

bool netdev_del(const char *id, GError **err)
{
    NetPeer *p = net_find(id);
    g_autofree char *name = g_strdup(id);

    if (!p) {
        return error_set_code(err, VMM_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    }
    if (p->is_nic) {
        return error_set(err, "Device '%s' is not a netdev", id);
    }
    destroy_all_queues(name);
    log_item(LOG_NET, "netdev %s: deleted", name);
    return true;
}

/* Text and JSON for the monitor. */

char *net_peer_describe(NetPeer *p)
{
    g_autofree char *tail = p->ops->info ? p->ops->info(p) : NULL;

    if (p->is_nic && !tail) {
        tail = g_strdup_printf("model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x", p->model,
                               p->mac[0], p->mac[1], p->mac[2], p->mac[3], p->mac[4], p->mac[5]);
    }
    return g_strdup_printf("%s: index=%u,type=%s,%s", p->name, p->queue_index,
                           p->is_nic ? "nic" : p->model, tail ? tail : "");
}

char *net_info_text(void)
{
    GString *out = g_string_new(NULL);

    hub_info(out);
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i), *other = p->peer;
        g_autofree char *line = NULL;

        /* A NIC's backend is shown below the NIC; hub_info() has shown the hubs' peers. */
        if (hub_is_port(p) || (other && (hub_is_port(other) || (!p->is_nic && other->is_nic)))) {
            continue;
        }
        line = net_peer_describe(p);
        g_string_append_printf(out, "%s\n", line);
        net_filters_describe(out, p);
        if (p->is_nic && other) {
            g_autofree char *below = net_peer_describe(other);

            g_string_append_printf(out, " \\ %s\n", below);
            net_filters_describe(out, other);
        }
    }
    return g_string_free(out, FALSE);
}

json_t *net_query(void)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(net_peers(), i);
        json_t *entry =
            json_pack("{s:s, s:s, s:i, s:b, s:I, s:I, s:I, s:I, s:I}", "name", p->name, "type",
                      p->is_nic ? "nic" : p->model, "queue", (int)p->queue_index, "link",
                      !p->link_down, "rx-packets", (json_int_t)p->rx_packets, "rx-bytes",
                      (json_int_t)p->rx_bytes, "tx-packets", (json_int_t)p->tx_packets, "tx-bytes",
                      (json_int_t)p->tx_bytes, "dropped", (json_int_t)p->dropped);

        if (p->peer) {
            json_object_set_new(entry, "peer", json_string(p->peer->name));
        }
        json_array_append_new(list, entry);
    }
    return list;
}
