/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hub: a packet that comes in at one port goes out at all others. '-net ...,vlan=N' joins its
 * backend or NIC with hub N, '-netdev hubport' makes a port explicitly.
 *
 * What a port's peer does not take now waits in the peer's queue. Where that is full, the packet is
 * dropped for this port, and goes to the others. A sender is told 'not now' only where no port has
 * room, so that a hub with one NIC and one backend loses nothing.
 */
#include "internal.h"
#include "filter.h"
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"

typedef struct {
    NetPeer peer;
    unsigned hub;
} HubPort;

typedef struct {
    uint32_t hubid;
    char *netdev;
} HubOptions;

static const Property hub_props[] = {
    {.name = "hubid",
     .type = PROP_UINT32,
     .offset = offsetof(HubOptions, hubid),
     .help = "number of the hub",
     .flags = PROP_FLAG_REQUIRED},
    PROP_L("netdev", HubOptions, netdev, "netdev", "backend to plug into this port"),
    PROP_END,
};

static const NetPeerOps hub_ops;

bool hub_is_port(const NetPeer *peer)
{
    return peer->ops == &hub_ops;
}

int hub_number(const NetPeer *peer)
{
    return peer->peer && hub_is_port(peer->peer) ? (int)container_of(peer->peer, HubPort, peer)->hub
                                                 : -1;
}

static HubPort *port_at(unsigned i)
{
    NetPeer *p = g_ptr_array_index(net_peers(), i);

    return hub_is_port(p) ? container_of(p, HubPort, peer) : NULL;
}

/* Another port of the hub that a packet from 'from' goes to. */
static bool hub_port_is_goal(const HubPort *to, const HubPort *from)
{
    return to && to != from && to->hub == from->hub && net_link_is_up(&to->peer);
}

/*
 * Whether the sender has to wait: no port has room, and one will. A NIC that is full may be one
 * without a driver, which no other NIC waits for.
 */
static bool hub_is_full(const HubPort *from)
{
    bool from_nic = from->peer.peer && from->peer.peer->is_nic, waits = false;

    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *to = port_at(i);

        if (!hub_port_is_goal(to, from)) {
            continue;
        }
        if (net_has_room(&to->peer)) {
            return false;
        }
        waits |= !from_nic || !to->peer.peer->is_nic;
    }
    return waits;
}

static ssize_t hub_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    HubPort *from = container_of(self, HubPort, peer);
    bool full = hub_is_full(from);

    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *to = port_at(i);

        if (!hub_port_is_goal(to, from)) {
            continue;
        }
        if (full) {
            net_await_room(&to->peer);
        } else if (to->peer.peer->is_nic) {
            net_deliver_iov(&to->peer, iov, n);
        } else {
            net_deliver_now(&to->peer, iov, n);
        }
    }
    return full ? 0 : (ssize_t)iov_size(iov, n);
}

/* A port has room again, or is gone: senders at the others may go on. */
static void hub_send_ready(NetPeer *self)
{
    HubPort *ready = container_of(self, HubPort, peer);

    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *port = port_at(i);

        if (port && port != ready && port->hub == ready->hub) {
            net_peer_ready(&port->peer);
        }
    }
}

static void hub_destroy(NetPeer *self)
{
    hub_send_ready(self);
    g_free(container_of(self, HubPort, peer));
}

static const NetPeerOps hub_ops = {
    .receive = hub_receive,
    .send_ready = hub_send_ready,
    .destroy = hub_destroy,
};

NetPeer *hub_port_new(unsigned number, const char *name)
{
    HubPort *port = g_new0(HubPort, 1);

    port->hub = number;
    net_peer_init(&port->peer, &hub_ops, "hubport", name, event_loop_current());
    return &port->peer;
}

NetPeer *hub_port_new_auto(unsigned number)
{
    unsigned n = 0;
    g_autofree char *name = NULL;

    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *port = port_at(i);

        n += port && port->hub == number;
    }
    name = g_strdup_printf("hub%uport%u", number, n);
    return hub_port_new(number, name);
}

/* Whether packets of 'hub' reach hub 'goal', by any port but 'came_by'. */
static bool leads_to(unsigned hub, unsigned goal, const HubPort *came_by)
{
    if (hub == goal) {
        return true;
    }
    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *port = port_at(i);
        NetPeer *other = port && port->hub == hub && port != came_by ? port->peer.peer : NULL;

        if (other && hub_is_port(other)) {
            HubPort *there = container_of(other, HubPort, peer);

            if (leads_to(there->hub, goal, there)) {
                return true;
            }
        }
    }
    return false;
}

/*
 * A packet in a cycle of hubs would go round for ever. This check runs before every join of two
 * ports, so there never is a cycle.
 */
static bool check_no_cycle(unsigned hub, const NetPeer *other, GError **err)
{
    unsigned its;

    if (!hub_is_port(other)) {
        return true;
    }
    its = container_of(other, HubPort, peer)->hub;
    if (hub == its) {
        return error_set(err,
                         "netdev '%s' is itself a port of hub %u: joined to itself, the hub would "
                         "pass on packets for ever; use a port of another hub",
                         other->name, hub);
    }
    return !leads_to(hub, its, NULL) ||
           error_set(err,
                     "hub %u and hub %u (netdev '%s') are joined already: with two ways between "
                     "them they would pass on packets for ever; leave out one",
                     hub, its, other->name);
}

static bool hubport_create(const char *id, void *options, GError **err)
{
    HubOptions *o = options;
    NetPeer *other = NULL;

    if (o->netdev) {
        other = net_find(o->netdev);
        if (!other || other->is_nic) {
            return error_set(err, "netdev '%s' not found", o->netdev);
        }
        if (other->peer) {
            return error_set(err, "netdev '%s' is in use", o->netdev);
        }
        if (!check_no_cycle(o->hubid, other, err)) {
            return false;
        }
    }
    NetPeer *port = hub_port_new(o->hubid, id);
    if (other) {
        net_join(port, other);
    }
    return true;
}

const NetBackendClass net_hubport = {
    .name = "hubport",
    .help = "a port of a hub, which joins several NICs and backends",
    .size = sizeof(HubOptions),
    .props = hub_props,
    .is_hubport = true,
    .create = hubport_create,
};

/* Calls fn once for each hub. */
static void each_hub(void (*fn)(unsigned hub, void *data), void *data)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *port = port_at(i);

        if (port && g_hash_table_add(seen, GUINT_TO_POINTER(port->hub))) {
            fn(port->hub, data);
        }
    }
}

static void check_one(unsigned hub, void *data)
{
    bool has_nic = false, has_host = false;

    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *port = port_at(i);

        if (!port || port->hub != hub) {
            continue;
        }
        if (!port->peer.peer) {
            log_warn("hub port %s has no peer", port->peer.name);
        } else {
            has_nic |= port->peer.peer->is_nic;
            has_host |= !port->peer.peer->is_nic;
        }
    }
    if (has_host && !has_nic) {
        log_warn("hub %u with no nics", hub);
    }
    if (has_nic && !has_host) {
        log_warn("hub %u is not connected to host network", hub);
    }
}

void hub_check(void)
{
    each_hub(check_one, NULL);
}

static void info_one(unsigned hub, void *data)
{
    GString *out = data;

    g_string_append_printf(out, "hub %u\n", hub);
    for (unsigned i = 0; i < net_peers()->len; i++) {
        HubPort *port = port_at(i);
        NetPeer *other = port ? port->peer.peer : NULL;

        if (!port || port->hub != hub) {
            continue;
        }
        g_string_append_printf(out, " \\ %s", port->peer.name);
        if (other) {
            g_autofree char *text = net_peer_describe(other);

            g_string_append_printf(out, ": %s", text);
        }
        g_string_append_c(out, '\n');
        net_filters_describe(out, &port->peer);
        if (other) {
            net_filters_describe(out, other);
        }
    }
}

void hub_info(GString *out)
{
    each_hub(info_one, out);
}
