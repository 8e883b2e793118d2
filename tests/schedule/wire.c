/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wire.h"

#include <string.h>
#include "../../net/internal.h"
#include "../../src/vm/guest_copy.h"
#include "base/iov.h"
#include "base/util.h"
#include "world.h"

typedef struct {
    NetPeer peer;
    Timer *ready, *send;
    bool busy;    /* has said 'not now' */
    bool waiting; /* was told to stop sending */
    bool polling;
} Wire;

static struct {
    Wire *wire; /* or NULL */
    Rand rand;
    bool healed;
    uint32_t sent; /* the number of the last packet to the guest */
    /* Atomic. */
    unsigned changes;
    uint32_t taken;
    bool steady;
} net;

void wire_fill(uint8_t packet[WIRE_PACKET], uint32_t number)
{
    GUEST_RACES_BEGIN();     /* in guest memory: what orders the guest and the card is the ring */
    memset(packet, 0xff, 6); /* to all */
    for (unsigned i = 6; i < WIRE_PACKET; i++) {
        packet[i] = number * 31 + i;
    }
    stle32(packet + 14, number);
    GUEST_RACES_END();
}

uint32_t wire_number(const uint8_t packet[WIRE_PACKET])
{
    uint8_t expected[WIRE_PACKET], seen[WIRE_PACKET];
    uint32_t number;

    guest_copy(seen, packet, WIRE_PACKET);
    number = ldle32(seen + 14);
    wire_fill(expected, number);
    return memcmp(seen, expected, WIRE_PACKET) == 0 ? number : 0;
}

/* Threads. */

unsigned wire_changes(void)
{
    return __atomic_load_n(&net.changes, __ATOMIC_SEQ_CST);
}

uint32_t wire_taken(void)
{
    return __atomic_load_n(&net.taken, __ATOMIC_SEQ_CST);
}

bool wire_is_steady(void)
{
    return __atomic_load_n(&net.steady, __ATOMIC_SEQ_CST);
}

static void wire_look(void *data)
{
    NetPeer *peer = net.wire ? &net.wire->peer : NULL;

    __atomic_store_n(&net.steady, peer && net_link_is_up(peer), __ATOMIC_SEQ_CST);
}

void wire_changed(void)
{
    __atomic_store_n(&net.steady, false, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&net.changes, 1, __ATOMIC_SEQ_CST);
    event_loop_call(world.vm->loop, wire_look, NULL); /* when it is done */
}

void wire_forget(void)
{
    __atomic_store_n(&net.taken, 0, __ATOMIC_SEQ_CST);
}

/* The backend. */

static void wire_ready(void *data)
{
    Wire *w = data;

    w->busy = false;
    net_peer_ready(&w->peer);
}

static ssize_t wire_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    Wire *w = container_of(self, Wire, peer);
    uint8_t packet[WIRE_PACKET] = {0};
    size_t len = iov_to_buf(iov, n, 0, packet, sizeof packet);
    uint32_t number = wire_number(packet);

    if (w->busy) {
        baton_fail("the wire is given a packet before it was ready");
    }
    if (!net.healed && rand_one_in(&net.rand, 4)) {
        w->busy = true;
        timer_arm(w->ready, clock_ns(CLOCK_REALTIME_NS) + rand_below(&net.rand, 300) * 1000);
        return 0;
    }
    if (len != WIRE_PACKET || iov_size(iov, n) != len || !number) {
        baton_fail("a packet of %zu bytes that the guest has not sent", iov_size(iov, n));
    }
    if (number <= wire_taken()) {
        baton_fail("packet %u comes after packet %u", number, wire_taken());
    }
    baton_note("wire: packet %u", number);
    __atomic_store_n(&net.taken, number, __ATOMIC_SEQ_CST);
    return rand_one_in(&net.rand, 8) ? -1 : (ssize_t)len;
}

static void wire_send_later(Wire *w)
{
    if (w->polling && !w->waiting) {
        timer_arm(w->send, clock_ns(CLOCK_REALTIME_NS) + rand_below(&net.rand, 400) * 1000);
    }
}

static bool wire_send_one(Wire *w)
{
    uint8_t packet[WIRE_PACKET];
    struct iovec iov = {packet, sizeof packet};

    wire_fill(packet, ++net.sent);
    return rand_one_in(&net.rand, 2) ? net_deliver_now(&w->peer, &iov, 1)
                                     : net_deliver(&w->peer, packet, sizeof packet);
}

static void wire_send(void *data)
{
    Wire *w = data;

    for (unsigned n = 1 + rand_below(&net.rand, 4); n && w->polling && !w->waiting; n--) {
        w->waiting = !wire_send_one(w);
    }
    if (!net.healed) {
        wire_send_later(w);
    }
}

static void wire_send_ready(NetPeer *self)
{
    Wire *w = container_of(self, Wire, peer);

    w->waiting = false;
    wire_send_later(w);
}

static void wire_set_polling(NetPeer *self, bool on)
{
    Wire *w = container_of(self, Wire, peer);

    w->polling = on;
    wire_send_later(w);
}

static void wire_destroy(NetPeer *self)
{
    Wire *w = container_of(self, Wire, peer);

    net.wire = NULL;
    timer_free(w->ready);
    timer_free(w->send);
    g_free(w);
}

static const NetPeerOps wire_ops = {
    .receive = wire_receive,
    .send_ready = wire_send_ready,
    .set_polling = wire_set_polling,
    .destroy = wire_destroy,
};

void wire_create(void)
{
    Wire *w = net.wire = g_new0(Wire, 1);
    EventLoop *loop = event_loop_current();

    net_peer_init(&w->peer, &wire_ops, "wire", "wire", loop);
    w->ready = timer_new(loop, CLOCK_REALTIME_NS, wire_ready, w);
    w->send = timer_new(loop, CLOCK_REALTIME_NS, wire_send, w);
}

bool wire_present(void)
{
    return net.wire;
}

void wire_start(uint64_t seed)
{
    rand_seed(&net.rand, seed ^ 0x77697265);
    wire_create();
}

/* The end. */

void wire_heal(void)
{
    static const char *const names[] = {"wire", "nic"};

    net.healed = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        NetPeer *peer = net_find(names[i]);

        if (peer) {
            wire_changed();
            net_set_link(peer, true);
        }
    }
}

void coroutine_fn wire_check(bool nic_present)
{
    uint32_t last = 0;

    for (unsigned i = 0; i < 400; i++) {
        Wire *w = net.wire;

        if (!w || !w->peer.peer || !nic_present || !guest_nic_is_up()) {
            return; /* there is no way */
        }
        if (last && guest_nic_received() >= last) {
            return;
        }
        if (!last && w->polling && !w->waiting) {
            wire_send_one(w);
            last = net.sent;
        }
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    baton_fail("%s: the wire is%s polled and%s told to wait, packet %u of %u has arrived",
               last ? "the last packet does not reach the guest" : "the NIC takes no packets",
               net.wire->polling ? "" : " not", net.wire->waiting ? "" : " not",
               guest_nic_received(), net.sent);
}
