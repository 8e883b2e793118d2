/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-rx-filter: which packets a network card's driver wants. The event of a change. */
#include "base/error.h"
#include "virtio_net.h"
#include "vm/events.h"

static char *mac_text(const uint8_t *mac)
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                           mac[5]);
}

static json_t *mac_list(const uint8_t *macs, uint32_t bytes)
{
    json_t *out = json_array();

    for (uint32_t i = 0; i + 6 <= bytes; i += 6) {
        g_autofree char *text = mac_text(macs + i);

        json_array_insert_new(out, 0, json_string(text)); /* QEMU's order: the last comes first */
    }
    return out;
}

static json_t *vlan_list(const uint8_t *vlans)
{
    json_t *out = json_array();

    for (unsigned i = VIRTIO_NET_VLANS; i--;) {
        if (vlans[i / 8] & BIT(i % 8)) {
            json_array_append_new(out, json_integer(i));
        }
    }
    return out;
}

static const char *which(bool none, bool all)
{
    return none ? "none" : all ? "all" : "normal";
}

static json_t *rx_filter(VirtioNet *n)
{
    const VirtioNetState *s = &n->s;
    bool by_vlan = virtio_has_feature(&n->vdev, VIRTIO_NET_F_CTRL_VLAN);
    json_t *vlans = vlan_list(s->vlans), *out;
    g_autofree char *mac = mac_text(s->mac);

    out = json_pack("{s:s,s:b,s:s,s:s,s:s,s:b,s:b,s:b,s:s}", "name", n->queues[0].nic.name,
                    "promiscuous", s->promisc, "multicast", which(s->nomulti, s->allmulti),
                    "unicast", which(s->nouni, s->alluni), "vlan",
                    which(by_vlan && !json_array_size(vlans), !by_vlan), "broadcast-allowed",
                    !s->nobcast, "multicast-overflow", s->multi_overflow, "unicast-overflow",
                    s->uni_overflow, "main-mac", mac);
    json_object_set_new(out, "vlan-table", vlans);
    json_object_set_new(out, "unicast-table", mac_list(s->uni, s->uni_bytes));
    json_object_set_new(out, "multicast-table", mac_list(s->multi, s->multi_bytes));
    return out;
}

/* Once, until somebody asks: a driver may change its filter as often as it likes. */
void virtio_net_filter_changed(VirtioNet *n)
{
    const Device *proxy = n->vdev.dev.parent;
    json_t *data;

    if (n->filter_told) {
        return;
    }
    n->filter_told = true;
    data = json_pack("{s:s}", "path", n->vdev.dev.path);
    if (proxy && proxy->id) {
        json_object_set_new(data, "name", json_string(proxy->id));
    }
    vm_event(n->vdev.dev.vm, VM_EVENT_NIC_RX_FILTER_CHANGED, data);
}

typedef struct {
    const char *name; /* NULL: all */
    json_t *found;
} RxFilters;

static void add_rx_filter(Device *dev, void *data)
{
    RxFilters *f = data;

    if (dev->realized && !dev->leaving && g_str_equal(dev->class->name, "virtio-net-device")) {
        VirtioNet *n = container_of(dev, VirtioNet, vdev.dev);

        if (!f->name || g_str_equal(n->queues[0].nic.name, f->name)) {
            device_lock(dev); /* the guest may write its MAC address as configuration */
            json_array_append_new(f->found, rx_filter(n));
            n->filter_told = false;
            device_unlock(dev);
        }
    }
}

json_t *virtio_net_rx_filters(Vm *vm, const char *name, GError **err)
{
    RxFilters f = {name, json_array()};
    const NetPeer *peer;

    device_foreach(vm, add_rx_filter, &f);
    if (!name || json_array_size(f.found)) {
        return f.found;
    }
    json_decref(f.found);
    peer = net_find(name);
    if (!peer) {
        error_set(err, "invalid net client name: %s", name);
    } else if (!peer->is_nic) {
        error_set(err, "net client(%s) isn't a NIC", name);
    } else {
        error_set(err, "net client(%s) doesn't support rx-filter querying", name);
    }
    return NULL;
}
