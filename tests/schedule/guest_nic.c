/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver of a virtio network card: buffers are given back to the device as soon as it has filled
 * them. */
#include "guest.h"

#include <linux/virtio_net.h>
#include "wire.h"

enum {
    RX_SLOTS = 6,
    AT = 0x100, /* in a slot: the header, then the packet */
    HEADER = sizeof(struct virtio_net_hdr_mrg_rxbuf),
    BUFFER = 0x400,
};

static uint8_t *nic_bytes(unsigned slot)
{
    return world.ram + 0x100000 + NIC * 0x100000 + 0x80000 + slot * 0x1000 + AT;
}

static uint64_t nic_addr(unsigned slot)
{
    return nic_bytes(slot) - world.ram;
}

bool driver_nic_fill(Driver *d)
{
    Queue *q = &d->queue[0];
    bool any = false;

    for (unsigned slot = 0; slot < RX_SLOTS; slot++) {
        if (!d->request[slot].busy && q->ring.free && !q->off) {
            driver_slot_check(d, slot);
            d->request[slot] = (Request){.busy = true, .queue = 0};
            driver_expose(d, slot, &(RingPiece){nic_addr(slot), BUFFER, true}, 1);
            any = true;
        }
    }
    sched_pass("the guest has added buffers");
    return any && driver_wants_kick(q);
}

bool driver_nic_send(Cpu *c, Driver *d)
{
    Queue *q = &d->queue[1];

    for (unsigned slot = RX_SLOTS; slot < SLOTS; slot++) {
        uint64_t at = nic_addr(slot);
        RingPiece pieces[] = {{at, HEADER, false}, {at + HEADER, WIRE_PACKET, false}};

        if (d->request[slot].busy || q->off || q->ring.free < 2) {
            continue;
        }
        driver_slot_check(d, slot);
        d->request[slot] = (Request){.busy = true,
                                     .write = true,
                                     .queue = 1,
                                     .value = ++guest.s.nic_sent,
                                     .changes = wire_changes(),
                                     .steady = wire_is_steady()};
        guest_fill(nic_bytes(slot), 0, HEADER);
        wire_fill(nic_bytes(slot) + HEADER, guest.s.nic_sent);
        driver_expose(d, slot, pieces, 2);
        baton_note("the guest sends packet %u", guest.s.nic_sent);
        sched_pass("the guest has added a packet");
        return driver_wants_kick(q);
    }
    return false;
}

bool driver_nic_done(Driver *d, unsigned slot, uint32_t len)
{
    Request r = d->request[slot];
    const uint8_t *packet = nic_bytes(slot) + HEADER;
    uint32_t number;

    if (r.write) {
        /* Nothing has happened that may lose it. */
        if (r.steady && r.changes == wire_changes() && wire_is_steady() && wire_taken() < r.value) {
            baton_fail("packet %u was given back, and is not sent", r.value);
        }
        driver_slot_free(d, slot);
        return false;
    }
    number = wire_number(packet);
    if (len != HEADER + WIRE_PACKET || !number || number <= guest.s.nic_received) {
        baton_fail("received packet %u of %u bytes behind packet %u", number, len,
                   guest.s.nic_received);
    }
    baton_note("the guest receives packet %u", number);
    guest.s.nic_received = number;
    driver_slot_free(d, slot);
    return driver_nic_fill(d);
}

bool guest_nic_is_up(void)
{
    bool up;

    g_mutex_lock(&guest.lock);
    up = guest.s.driver[NIC].state == UP;
    g_mutex_unlock(&guest.lock);
    return up;
}

uint32_t guest_nic_received(void)
{
    uint32_t number;

    g_mutex_lock(&guest.lock);
    number = guest.s.nic_received;
    g_mutex_unlock(&guest.lock);
    return number;
}
