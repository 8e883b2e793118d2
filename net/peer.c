/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Peers, their queues, and flow control.
 *
 * Down (NIC to backend) a packet is a direct call. A backend that cannot take the packet returns 0
 * and calls net_peer_ready() later. Up, packets wait in the NIC's queue for its bottom half. A
 * backend polls its descriptor only while the NIC takes packets: a guest without buffers, a paused
 * VM or a NIC without a driver cost no wake-ups, and packets wait in the host's buffers.
 */
#include "internal.h"
#include "filter.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"

#define QUEUE_PACKETS 256

typedef struct {
    size_t len;
    unsigned vnet_hdr_len; /* of the receiver when the packet was queued */
    uint8_t data[];
} Packet;

/* The registry. Main loop only. */
static GPtrArray *peers;
static bool all_muted;

GPtrArray *net_peers(void)
{
    if (!peers) {
        peers = g_ptr_array_new();
    }
    return peers;
}

char *net_auto_id(void)
{
    static unsigned counter;

    return g_strdup_printf("#net%03u", counter++);
}

bool net_link_is_up(const NetPeer *peer)
{
    return !peer->link_down && peer->peer && !peer->peer->link_down;
}

/* Flow. */

static bool takes_packets(const NetPeer *peer)
{
    return !peer->muted && !peer->receive_blocked && (!peer->is_nic || peer->receive_enabled);
}

bool net_peer_can_receive(NetPeer *peer)
{
    return peer && takes_packets(peer) && g_queue_get_length(peer->queue) < QUEUE_PACKETS;
}

/* A backend polls its descriptor exactly while the other peer takes packets. */
static void update_polling(NetPeer *backend)
{
    bool want;

    if (!backend || backend->is_nic || !backend->ops->set_polling) {
        return;
    }
    want = backend->peer && !backend->muted && net_peer_can_receive(backend->peer);
    if (want != backend->polling) {
        backend->polling = want;
        backend->ops->set_polling(backend, want);
    }
}

static void tell_sender(NetPeer *sender)
{
    if (sender && (sender->send_blocked || sender->deliver_blocked)) {
        sender->send_blocked = sender->deliver_blocked = false;
        if (sender->ops->send_ready) {
            sender->ops->send_ready(sender);
        }
    }
}

static void net_peer_count(NetPeer *from, NetPeer *to, size_t len)
{
    from->tx_packets++;
    from->tx_bytes += len;
    to->rx_packets++;
    to->rx_bytes += len;
}

static const char *net_peer_label(const NetPeer *peer)
{
    return peer ? peer->name : NULL;
}

static void net_peer_dropped(const NetPeer *from, const NetPeer *to, const struct iovec *iov,
                             unsigned n)
{
    trace(net_drop, from->name, net_peer_label(to), iov_size(iov, n));
}

/* Passes a packet to receive(); true where it was taken or dropped. */
static bool net_peer_receive(NetPeer *to, const struct iovec *iov, unsigned n)
{
    ssize_t r = to->ops->receive(to, iov, n);

    trace(net_receive, net_peer_label(to->peer), to->name, iov_size(iov, n), MIN(r, 1));
    if (r == 0) {
        to->receive_blocked = true;
        return false;
    }
    if (r < 0) {
        to->dropped++;
    }
    return true;
}

/* A peer's bottom half: delivers its queue, then lets a sender that waits go on. */
static void net_peer_service(void *data)
{
    NetPeer *self = data;

    while (takes_packets(self) && !g_queue_is_empty(self->queue)) {
        Packet *packet = g_queue_peek_head(self->queue);
        struct iovec iov = {packet->data, packet->len};

        if (packet->vnet_hdr_len != self->vnet_hdr_len) {
            /* The guest's driver has changed the header's length since: not readable any more. */
            self->dropped++;
        } else if (!net_peer_receive(self, &iov, 1)) {
            break;
        }
        g_free(g_queue_pop_head(self->queue));
    }
    update_polling(self->peer);
    update_polling(self);
    /* Where the link is down, what the sender has kept is dropped. */
    if (!net_link_is_up(self) ||
        (takes_packets(self) && g_queue_get_length(self->queue) <= QUEUE_PACKETS / 2)) {
        tell_sender(self->peer);
    }
}

void net_peer_ready(NetPeer *self)
{
    self->receive_blocked = false;
    bh_schedule(&self->deliver_bh);
}

static void net_peer_enqueue(NetPeer *from, NetPeer *to, const struct iovec *iov, unsigned n,
                             size_t len)
{
    Packet *packet = g_malloc(sizeof *packet + len);

    trace(net_queue, from->name, to->name, len);
    packet->len = len;
    packet->vnet_hdr_len = to->vnet_hdr_len;
    iov_to_buf(iov, n, 0, packet->data, len);
    g_queue_push_tail(to->queue, packet);
    net_peer_count(from, to, len);
    bh_schedule(&to->deliver_bh);
}

bool net_has_room(const NetPeer *from)
{
    return g_queue_get_length(from->peer->queue) < QUEUE_PACKETS;
}

void net_await_room(NetPeer *from)
{
    from->deliver_blocked = true;
}

bool net_deliver_iov(NetPeer *from, const struct iovec *iov, unsigned n)
{
    NetPeer *to = from->peer;
    size_t len = iov_size(iov, n);

    if (!net_link_is_up(from)) {
        net_peer_dropped(from, to, iov, n);
        from->dropped++;
        return true;
    }
    if (g_queue_get_length(to->queue) >= QUEUE_PACKETS) {
        net_peer_dropped(from, to, iov, n);
        from->deliver_blocked = true;
        to->dropped++;
        update_polling(from);
        return false;
    }
    if (net_is_filtered(from, to)) {
        net_filters_see(from, to, iov, n);
    }
    net_peer_enqueue(from, to, iov, n, len);
    return true;
}

bool net_deliver(NetPeer *from, const void *data, size_t len)
{
    struct iovec iov = {(void *)data, len};

    return net_deliver_iov(from, &iov, 1);
}

bool net_deliver_now(NetPeer *from, const struct iovec *iov, unsigned n)
{
    NetPeer *to = from->peer;
    bool more;

    if (!net_link_is_up(from)) {
        net_peer_dropped(from, to, iov, n);
        from->dropped++;
        return true;
    }
    if (takes_packets(to) && g_queue_is_empty(to->queue)) {
        size_t len = iov_size(iov, n);

        if (net_is_filtered(from, to)) {
            net_filters_see(from, to, iov, n);
        }
        if (net_peer_receive(to, iov, n)) {
            net_peer_count(from, to, len);
            return takes_packets(to);
        }
        net_peer_enqueue(from, to, iov, n, len);
        more = false;
    } else {
        more = net_deliver_iov(from, iov, n) && takes_packets(to);
    }
    if (!more) {
        from->deliver_blocked = true;
        update_polling(from);
    }
    return more;
}

/* What a backend answers to the packet comes up behind it, so filters see the packet before. */
static bool net_peer_send_down(NetPeer *from, NetPeer *to, const struct iovec *iov, unsigned n)
{
    bool taken;

    if (!net_is_filtered(from, to)) {
        return net_peer_receive(to, iov, n);
    }
    net_filters_see(from, to, iov, n);
    taken = net_peer_receive(to, iov, n);
    if (!taken) {
        net_filters_unsent(from, to);
    }
    return taken;
}

ssize_t net_send(NetPeer *from, const struct iovec *iov, unsigned n)
{
    NetPeer *to = from->peer;
    ssize_t len = iov_size(iov, n);

    if (!net_link_is_up(from)) {
        net_peer_dropped(from, to, iov, n);
        from->dropped++;
        return len;
    }
    if (to->is_nic) {
        return net_deliver_iov(from, iov, n) ? len : 0;
    }
    if (!takes_packets(to) || !net_peer_send_down(from, to, iov, n)) {
        from->send_blocked = true;
        return 0;
    }
    net_peer_count(from, to, len);
    return len;
}

/* Life. */

static void set_link_one(NetPeer *peer, bool up)
{
    if (peer->link_down == !up) {
        return;
    }
    trace(net_link, peer->name, up);
    peer->link_down = !up;
    if (peer->ops->link_changed) {
        peer->ops->link_changed(peer);
    }
    if (peer->registered && peer->peer) {
        bh_schedule(&peer->deliver_bh);
        bh_schedule(&peer->peer->deliver_bh);
    }
}

void net_peer_init(NetPeer *peer, const NetPeerOps *ops, const char *model, const char *name,
                   EventLoop *loop)
{
    peer->ops = ops;
    peer->name = g_strdup(name);
    peer->model = model;
    peer->loop = loop;
    peer->muted = all_muted;
    peer->queue = g_queue_new();
    peer->registered = true;
    bh_init(&peer->deliver_bh, loop, net_peer_service, peer);
    g_ptr_array_add(net_peers(), peer);
}

static void peer_fini(NetPeer *peer)
{
    net_part(peer);
    g_ptr_array_remove(net_peers(), peer);
    bh_cancel(&peer->deliver_bh);
    g_queue_free_full(peer->queue, g_free);
    peer->queue = NULL;
    g_clear_pointer(&peer->filters, g_ptr_array_unref);
    peer->registered = false;
    g_clear_pointer(&peer->name, g_free);
}

void net_join(NetPeer *a, NetPeer *b)
{
    g_assert(!a->peer && !b->peer);
    a->peer = b;
    b->peer = a;
    bh_schedule(&a->deliver_bh);
    bh_schedule(&b->deliver_bh);
}

void net_part(NetPeer *peer)
{
    NetPeer *other = peer->peer;
    bool waits;

    if (!other) {
        return;
    }
    waits = other->send_blocked || other->deliver_blocked;
    peer->peer = other->peer = NULL;
    /* A peer that has said 'not now' (receive_blocked) calls net_peer_ready(), whoever sends then.
     */
    other->send_blocked = other->deliver_blocked = false;
    g_queue_clear_full(other->queue, g_free);
    update_polling(peer);
    update_polling(other);
    if (other->is_nic) {
        set_link_one(other, false);
    }
    /* The other peer may keep a packet for this one: net_send() drops it now. */
    if (waits && other->ops->send_ready) {
        other->ops->send_ready(other);
    }
}

void net_backend_destroy(NetPeer *peer)
{
    void (*destroy)(NetPeer *) = peer->ops->destroy;

    peer_fini(peer);
    destroy(peer);
}

/* NICs. */

/* "virtio-net-pci.0", "virtio-net-pci.1": QEMU's names for NICs without an id. */
static char *default_nic_name(const char *model)
{
    unsigned n = 0;

    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(peers, i);

        n += p->is_nic && p->queue_index == 0 && g_str_equal(p->model, model);
    }
    return g_strdup_printf("%s.%u", model, n);
}

void net_nic_init(NetPeer *nic, const NetPeerOps *ops, const char *model, const char *name,
                  EventLoop *loop)
{
    g_autofree char *auto_name = name ? NULL : default_nic_name(model);

    nic->peer = NULL;
    net_peer_init(nic, ops, model, name ? name : auto_name, loop);
    nic->is_nic = true;
    nic->receive_enabled = false;
}

static NetPeer *net_peer_find_backend(const char *id, unsigned queue)
{
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(peers, i);

        if (!p->is_nic && p->queue_index == queue && g_str_equal(p->name, id)) {
            return p;
        }
    }
    return NULL;
}

bool net_nic_connect(NetPeer *nic, const char *netdev_id, unsigned queue, GError **err)
{
    NetPeer *backend = net_peer_find_backend(netdev_id, queue);

    if (!backend) {
        return error_set(err, "Property '%s.netdev' can't find value '%s'", nic->model, netdev_id);
    }
    if (backend->peer) {
        return error_set(err, "Property '%s.netdev' can't take value '%s', it's in use", nic->model,
                         netdev_id);
    }
    if (backend->loop != nic->loop) {
        return error_set(err, "netdev '%s' cannot be served by an I/O thread", netdev_id);
    }
    nic->queue_index = queue;
    net_join(nic, backend);
    return true;
}

void net_nic_disconnect(NetPeer *nic)
{
    if (nic->registered) {
        peer_fini(nic);
    }
}

unsigned net_backend_queues(const char *netdev_id)
{
    unsigned n = 0;

    while (net_peer_find_backend(netdev_id, n)) {
        n++;
    }
    return n;
}

void net_default_mac(uint8_t mac[6])
{
    static unsigned next;
    bool taken;

    do {
        const uint8_t candidate[6] = {0x52, 0x54, 0x00, 0x12, 0x34, (uint8_t)(0x56 + next++)};

        taken = false;
        memcpy(mac, candidate, sizeof candidate);
        for (unsigned i = 0; i < net_peers()->len; i++) {
            NetPeer *p = g_ptr_array_index(peers, i);

            taken |= p->is_nic && memcmp(p->mac, mac, 6) == 0;
        }
    } while (taken && next < 256);
}

/* The VM and the monitor. */

NetPeer *net_find(const char *name)
{
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(peers, i);

        if (p->queue_index == 0 && g_str_equal(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

void net_set_link(NetPeer *peer, bool up)
{
    g_autofree char *name = g_strdup(peer->name);

    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(peers, i);

        if (!g_str_equal(p->name, name)) {
            continue;
        }
        set_link_one(p, up);
        /* A backend's link is also the link of its NIC, as the guest sees it. */
        if (!p->is_nic && p->peer && p->peer->is_nic) {
            set_link_one(p->peer, up);
        }
    }
}

void net_mute_all(bool muted)
{
    all_muted = muted;
    for (unsigned i = 0; i < net_peers()->len; i++) {
        ((NetPeer *)g_ptr_array_index(peers, i))->muted = muted;
    }
    for (unsigned i = 0; i < net_peers()->len; i++) {
        NetPeer *p = g_ptr_array_index(peers, i);

        update_polling(p);
        if (!muted) {
            bh_schedule(&p->deliver_bh);
        }
    }
}
