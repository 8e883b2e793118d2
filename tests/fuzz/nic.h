/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For fuzz targets of network cards: two networks that the input controls, of which the second has
 * virtio_net_hdr, and a guest that writes rings, packets and registers.
 */
#ifndef TESTS_FUZZ_NIC_H
#define TESTS_FUZZ_NIC_H

#include <linux/virtio_net.h>
#include "board.h"
#include "devices/pci.h"
#include "internal.h" /* of net */

enum {
    NIC_BAR = 0x10000000,
    NIC_PORT = 0xc000,
    NIC_RX_RING = 0x1000,
    NIC_TX_RING = 0x2000,
    NIC_OPS_MAX = 300
};

typedef struct {
    NetPeer peer;
    bool headers, full;
} NicWire;
static NicWire nic_wires[2] = {{.headers = false}, {.headers = true}};
static PciBus *nic_bus;
static Device *nic_cards[2];

static inline ssize_t nic_wire_receive(NetPeer *self, const struct iovec *iov, unsigned n)
{
    NicWire *w = container_of(self, NicWire, peer);
    size_t len = 0;

    for (unsigned i = 0; i < n; i++) {
        const volatile uint8_t *p = iov[i].iov_base;

        len += iov[i].iov_len;
        if (iov[i].iov_len) {
            (void)p[0];
            (void)p[iov[i].iov_len - 1];
        }
    }
    g_assert(len <= NET_PACKET_MAX);
    return w->full ? 0 : (ssize_t)len;
}

static inline bool nic_wire_has_headers(NetPeer *self)
{
    return container_of(self, NicWire, peer)->headers;
}

static inline bool nic_wire_set_header(NetPeer *self, unsigned len)
{
    self->vnet_hdr_len = len;
    if (self->peer) {
        self->peer->vnet_hdr_len = len;
    }
    return true;
}

static inline void nic_init(const DeviceClass *card)
{
    static const NetPeerOps ops = {.receive = nic_wire_receive,
                                   .has_vnet_hdr = nic_wire_has_headers,
                                   .set_vnet_hdr_len = nic_wire_set_header};
    static const DeviceClass *classes[] = {NULL, NULL, NULL};
    extern const DeviceClass i440fx_pcihost_class;
    GError *err = NULL;

    classes[0] = &i440fx_pcihost_class;
    classes[1] = card;
    board_init(classes);
    nic_bus = board_add("i440FX-pcihost", NULL)->buses->pdata[0];
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *name = g_strdup_printf("n%u", i), *addr = g_strdup_printf("%u", i + 2);

        net_peer_init(&nic_wires[i].peer, &ops, "fuzz", name, board.loop);
        nic_cards[i] = device_new(board.vm, card->name, &nic_bus->bus, NULL, &err, "addr", addr,
                                  "netdev", name, "romfile", "", NULL);
        g_assert(nic_cards[i]);
        device_lock(nic_cards[i]);
        if (card->run_state) {
            card->run_state(nic_cards[i], true);
        }
        device_unlock(nic_cards[i]);
    }
}

static inline void nic_start(unsigned i, unsigned mem_bar, unsigned io_bar)
{
    uint32_t at = PCI_DEVFN(i + 2, 0) << 8;

    device_lock(nic_cards[i]);
    device_reset(nic_cards[i], RESET_COLD);
    device_unlock(nic_cards[i]);
    pci_config_write(nic_bus, at | (0x10 + 4 * mem_bar), NIC_BAR + i * 0x100000, 4);
    pci_config_write(nic_bus, at | (0x10 + 4 * io_bar), NIC_PORT + i * 0x100, 4);
    pci_config_write(nic_bus, at | 0x04, 7, 2);
    nic_wires[i].full = false;
}

static inline void nic_write(unsigned i, uint32_t reg, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_MEM, NIC_BAR + i * 0x100000 + reg, &value, size, true);
}

static inline void nic_read(unsigned i, uint32_t reg, unsigned size)
{
    uint64_t value;

    cpu_access(board.vm, IO_SPACE_MEM, NIC_BAR + i * 0x100000 + reg, &value, size, false);
}

/* A packet from the network: a header and a frame's beginning from the input, then filler. */
static inline void nic_deliver(unsigned i, Input *in)
{
    unsigned given = input_take(in, 1), all = input_take(in, 2);
    g_autofree uint8_t *packet = g_malloc0(all + 1);

    for (unsigned k = 0; k < given && k < all; k++) {
        packet[k] = input_take(in, 1);
    }
    net_deliver(&nic_wires[i].peer, packet, all);
}

/* What is not a register of the card: memory, the network, time. */
static inline void nic_operate(unsigned i, uint8_t op, Input *in)
{
    uint64_t value;

    switch (op % 8) {
    case 0: /* a word of the transmit ring */
        value = input_take(in, 4);
        dma_write(board.vm, NIC_TX_RING + input_take(in, 1) * 4, &value, 4);
        break;
    case 1: /* of the receive ring */
        value = input_take(in, 4);
        dma_write(board.vm, NIC_RX_RING + input_take(in, 1) * 4, &value, 4);
        break;
    case 2: /* of data */
        value = input_take(in, 8);
        dma_write(board.vm, input_take(in, 1) * 8, &value, 8);
        break;
    case 3:
    case 4:
        nic_deliver(i, in);
        break;
    case 5:
        nic_wires[i].full = op & 8;
        net_peer_ready(&nic_wires[i].peer);
        break;
    case 6:
        board_turn();
        break;
    default:
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + (input_take(in, 2) << 8));
        break;
    }
}

/* Calls 'operate' for each operation of the input, by a byte whose upper bit chooses the card. */
static inline void nic_run(Input *in, void (*operate)(unsigned i, uint8_t op, Input *in))
{
    for (unsigned n = 0; in->left && n < NIC_OPS_MAX; n++) {
        uint8_t op = input_take(in, 1);

        operate(op >> 7, op, in);
    }
    board_turn();
}

/* Nothing is left for the next input. 'value' resets the card. */
static inline void nic_end(uint32_t reg, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < 2; i++) {
        nic_wires[i].full = false;
        net_peer_ready(&nic_wires[i].peer);
        nic_write(i, reg, value, size);
        g_queue_clear_full(nic_wires[i].peer.peer->queue, g_free);
    }
    board_turn();
}

#endif
