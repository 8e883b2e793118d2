/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver of the rtl8139, for its tests: registers and memory. */
#ifndef TESTS_RTL8139_CLIENT_H
#define TESTS_RTL8139_CLIENT_H

#include "qwire.h"

enum {
    IDR0 = 0x00,
    MAR0 = 0x08,
    TSD0 = 0x10,
    TSAD0 = 0x20,
    TNPDS = 0x20,
    THPDS = 0x28,
    RBSTART = 0x30,
    CR = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    IMR = 0x3c,
    ISR = 0x3e,
    TCR = 0x40,
    RCR = 0x44,
    TCTR = 0x48,
    CR9346 = 0x50,
    CONFIG1 = 0x52,
    CONFIG3 = 0x59,
    CONFIG5 = 0xd8,
    TIMERINT = 0x54,
    MSR = 0x58,
    TSAD = 0x60,
    BMCR = 0x62,
    BMSR = 0x64,
    TPPOLL = 0xd9,
    CPCR = 0xe0,
    RDSAR = 0xe4,

    CR_RST = 0x10,
    CR_RE = 8,
    CR_TE = 4,
    CR_BUFE = 1,
    ROK = 1,
    TOK = 4,
    TER = 8,
    RDU = 0x10,
    LINK = 0x20,
    TDU = 0x80,
    SWINT = 0x100,
    TIMEOUT = 0x4000,
    AAP = 1,
    APM = 2,
    AM = 4,
    AB = 8,
    WRAP = 0x80,
    OWN = 1u << 31,
    EOR = 1 << 30,
    FS = 1 << 29,
    LS = 1 << 28,
    LGSEN = 1 << 27,

    BUFFER = 2048,
};

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bar;
    QWire w;
    uint64_t rx, tx, high, rx_data, tx_data;
    unsigned tail; /* the next transmit descriptor */
    unsigned got;  /* receive descriptor, or offset in C mode's ring */
} Rtl;

void rtl_open(Rtl *c);
void rtl_open_tap(Rtl *c);
void rtl_end(Rtl *c);
bool rtl_interrupts(Rtl *c);
uint8_t rtl_readb(Rtl *c, unsigned reg);
uint16_t rtl_readw(Rtl *c, unsigned reg);
uint32_t rtl_readl(Rtl *c, unsigned reg);
void rtl_writeb(Rtl *c, unsigned reg, uint8_t value);
void rtl_writew(Rtl *c, unsigned reg, uint16_t value);
void rtl_writel(Rtl *c, unsigned reg, uint32_t value);

#endif
