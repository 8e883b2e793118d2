/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two e1000, with and without virtio_net_hdr, under a guest and a network that do as they like. */
#include <stdint.h>
#include "nic.h"

extern const DeviceClass e1000_class;

enum {
    RCTL = 0x0100,
    TCTL = 0x0400,
    RDBAL = 0x2800,
    RDLEN = 0x2808,
    RDT = 0x2818,
    TDBAL = 0x3800,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818
};

static void start(unsigned i)
{
    nic_start(i, 0, 1);
    nic_write(i, RDBAL, NIC_RX_RING, 4);
    nic_write(i, RDLEN, 1024, 4);
    nic_write(i, TDBAL, NIC_TX_RING, 4);
    nic_write(i, TDLEN, 1024, 4);
    nic_write(i, RCTL, 0x803a, 4); /* on, and promiscuous; long packets */
    nic_write(i, TCTL, 2, 4);
    nic_write(i, RDT, 63, 4);
}

/* Descriptors of a whole packet in one go: few of single words make one. */
static void packet(unsigned i, Input *in)
{
    unsigned count = 1 + input_take(in, 1) % 6;
    uint32_t word[4];

    nic_write(i, TDH, 0, 4);
    for (unsigned k = 0; k < count; k++) {
        for (unsigned w = 0; w < 4; w++) {
            word[w] = input_take(in, 4);
        }
        if ((word[2] & 0x20f00000) != 0x20000000) { /* no context: the address is one of RAM */
            word[0] &= 0x3ffff;
            word[1] = 0;
        }
        dma_write(board.vm, NIC_TX_RING + k * 16, word, sizeof word);
    }
    nic_write(i, TDT, count, 4);
}

static void operate(unsigned i, uint8_t op, Input *in)
{
    static const uint16_t regs[] = {0x0000, 0x0010, 0x0014, 0x0020, 0x00c0, 0x00c4, 0x00c8, 0x00d0,
                                    0x00d8, 0x0100, 0x0400, 0x2800, 0x2808, 0x2810, 0x2818, 0x2820,
                                    0x282c, 0x3800, 0x3808, 0x3810, 0x3818, 0x3820, 0x5000, 0x5400};
    uint32_t reg;

    switch (op >> 5 & 3) {
    case 0:
        reg = regs[(op & 31) % ARRAY_SIZE(regs)];
        nic_write(i, reg, input_take(in, 4), 4);
        break;
    case 1:
        reg = input_take(in, 3) & 0x1fffc;
        if (op & 1) {
            nic_write(i, reg, input_take(in, 4), 4);
        } else {
            nic_read(i, reg, 4);
        }
        break;
    case 2:
        packet(i, in);
        break;
    default:
        nic_operate(i, op & 31, in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};

    if (!nic_bus) {
        nic_init(&e1000_class);
    }
    start(0);
    start(1);
    nic_run(&in, operate);
    nic_end(0, 1u << 26, 4);
    return 0;
}
