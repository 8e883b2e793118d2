/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two rtl8139, with and without virtio_net_hdr, under a guest and a network that do as they like.
 */
#include <stdint.h>
#include "nic.h"

extern const DeviceClass rtl8139_class;

enum {
    TSD0 = 0x10,
    TSAD0 = 0x20,
    RBSTART = 0x30,
    CR = 0x37,
    RCR = 0x44,
    TPPOLL = 0xd9,
    CPCR = 0xe0,
    RDSAR = 0xe4
};

/* The first byte of the input chooses the mode. */
static void start(unsigned i, uint8_t mode)
{
    nic_start(i, 1, 0);
    nic_write(i, CR, 0x10, 1);
    if (mode & 1) {
        nic_write(i, CPCR, 0x63, 2);
        nic_write(i, TSAD0, NIC_TX_RING, 4);
        nic_write(i, RDSAR, NIC_RX_RING, 4);
        for (unsigned k = 0; k < 64; k++) {
            uint32_t word[] = {htole32(0x80000000 | (k == 63 ? 1u << 30 : 0) | 600), 0,
                               htole32(0x10000 + k * 600), 0};

            dma_write(board.vm, NIC_RX_RING + k * 16, word, sizeof word);
        }
    } else {
        nic_write(i, RBSTART, 0x10000, 4);
    }
    nic_write(i, RCR, mode & 0x80 ? 0x8f : 0x0f, 4);
    nic_write(i, CR, 0x0c, 1);
}

/* A whole packet in one go. */
static void packet(unsigned i, Input *in)
{
    unsigned count = 1 + input_take(in, 1) % 4;
    uint32_t word[4] = {0};

    nic_write(i, TSAD0, NIC_TX_RING, 4); /* begins the ring again */
    for (unsigned k = 0; k < count; k++) {
        word[0] = htole32(input_take(in, 4) | 0x80000000);
        word[1] = htole32(input_take(in, 4));
        word[2] = htole32(input_take(in, 2));
        dma_write(board.vm, NIC_TX_RING + k * 16, word, sizeof word);
    }
    nic_write(i, TPPOLL, 0x40, 1);
}

static void frame(unsigned i, Input *in)
{
    unsigned d = input_take(in, 1) % 4;

    nic_write(i, TSAD0 + 4 * d, input_take(in, 2), 4);
    nic_write(i, TSD0 + 4 * d, input_take(in, 2) & 0x1fff, 4);
}

static void operate(unsigned i, uint8_t op, Input *in)
{
    uint8_t reg;

    switch (op >> 5 & 3) {
    case 0:
        reg = input_take(in, 1);
        if (op & 4) {
            nic_read(i, reg, 1 << (op & 3) % 3);
        } else {
            nic_write(i, reg, input_take(in, 4), 1 << (op & 3) % 3);
        }
        break;
    case 1:
        frame(i, in);
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
    uint8_t mode = input_take(&in, 1);

    if (!nic_bus) {
        nic_init(&rtl8139_class);
    }
    start(0, mode);
    start(1, mode >> 1);
    nic_run(&in, operate);
    nic_end(CR, 0x10, 1);
    return 0;
}
