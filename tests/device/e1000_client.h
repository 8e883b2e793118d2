/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver of the e1000, for its tests. */
#ifndef TESTS_E1000_CLIENT_H
#define TESTS_E1000_CLIENT_H

#include "qwire.h"

enum {
    CTRL = 0x0000,
    STATUS = 0x0008,
    EECD = 0x0010,
    EERD = 0x0014,
    CTRL_EXT = 0x0018,
    MDIC = 0x0020,
    FCAL = 0x0028,
    FCAH = 0x002c,
    FCT = 0x0030,
    VET = 0x0038,
    ICR = 0x00c0,
    ITR = 0x00c4,
    ICS = 0x00c8,
    IMS = 0x00d0,
    IMC = 0x00d8,
    RCTL = 0x0100,
    FCTTV = 0x0170,
    TXCW = 0x0178,
    TCTL = 0x0400,
    TIPG = 0x0410,
    AIFS = 0x0458,
    LEDCTL = 0x0e00,
    PBA = 0x1000,
    FCRTL = 0x2160,
    FCRTH = 0x2168,
    RDFH = 0x2410,
    RDBAL = 0x2800,
    RDBAH = 0x2804,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    RDTR = 0x2820,
    RXDCTL = 0x2828,
    RADV = 0x282c,
    RSRPD = 0x2c00,
    TDFH = 0x3410,
    TDBAL = 0x3800,
    TDBAH = 0x3804,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    TIDV = 0x3820,
    TXDCTL = 0x3828,
    TADV = 0x382c,
    TSPMT = 0x3830,
    RXCSUM = 0x5000,
    MTA = 0x5200,
    RAL = 0x5400,
    RAH = 0x5404,
    VFTA = 0x5600,
    WUC = 0x5800,
    WUFC = 0x5808,
    WUS = 0x5810,
    IPAV = 0x5838,
    IP4AT = 0x5840,
    IP6AT = 0x5880,
    WUPM = 0x5a00,
    FFLT = 0x5f00,
    FFMT = 0x9000,
    FFVT = 0x9800,

    CTRL_RST = 1 << 26,
    CTRL_VME = 1 << 30,
    STATUS_LU = 1 << 1,
    RCTL_EN = 1 << 1,
    RCTL_SBP = 1 << 2,
    RCTL_UPE = 1 << 3,
    RCTL_MPE = 1 << 4,
    RCTL_LPE = 1 << 5,
    RCTL_LBM = 3 << 6,
    RCTL_BAM = 1 << 15,
    RCTL_VFE = 1 << 18,
    RCTL_CFIEN = 1 << 19,
    RCTL_BSEX = 1 << 25,
    RCTL_SECRC = 1 << 26,
    TCTL_EN = 1 << 1,
    TCTL_PSP = 1 << 3,
    ICR_TXDW = 1,
    ICR_TXQE = 2,
    ICR_LSC = 4,
    ICR_RXDMT0 = 0x10,
    ICR_RXT0 = 0x80,
    ICR_MDAC = 0x200,
    ICR_TXD_LOW = 0x8000,
    ICR_SRPD = 0x10000,

    TXD_EOP = 1 << 24,
    TXD_IC = 1 << 26,
    TXD_TSE = 1 << 26,
    TXD_RS = 1 << 27,
    TXD_DEXT = 1 << 29,
    TXD_DATA = 1 << 20 | TXD_DEXT,
    TXD_VLE = 1 << 30,
    TXC_TCP = 1 << 24,
    TXC_IP = 1 << 25,
    TXD_IXSM = 1 << 8,
    TXD_TXSM = 2 << 8,

    RING = 8,
    BUFFER = 2048,
};
#define CTRL_PHY_RST 0x80000000u
#define TXD_IDE      0x80000000u

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bar;
    QWire w;
    uint64_t rx, tx, rx_data, tx_data;
    unsigned rx_size, tx_size; /* of the rings */
    unsigned buffer;           /* bytes from one receive buffer to the next; 0: BUFFER */
    unsigned tail, got;        /* of transmit; descriptors that were received */
} Card;

typedef struct {
    uint16_t len, checksum, special;
    uint8_t status, errors;
} Received;

void card_open(Card *c, const char *device, const char *more);
/* Over a tap, whose options may be "" (with virtio_net_hdr) or ",vnet_hdr=off". */
void card_open_tap(Card *c, const char *options);
void card_end(Card *c);
uint32_t card_read(Card *c, unsigned reg);
void card_write(Card *c, unsigned reg, uint32_t value);
bool card_interrupts(Card *c);

/* Rings of that many descriptors. All of the receive ring's but one are given. */
void card_start(Card *c, unsigned rx, unsigned tx, uint32_t rctl);
void card_desc(Card *c, uint64_t addr, uint32_t lower, uint32_t upper); /* without TDT */
void card_kick(Card *c);
/* One legacy descriptor with the frame. */
void card_send(Card *c, const void *frame, size_t len);
void card_wait_sent(Card *c);
/* The next received frame, of one or more descriptors, and its last descriptor. */
Received card_receive(Card *c, uint8_t *frame);
bool card_received(Card *c);
/* Gives the descriptors that were received back. */
void card_refill(Card *c);

#endif
