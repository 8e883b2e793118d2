/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtl8139: shared by its files. Registers are accessed under the device's lock. Packets go in and
 * out on the main loop, which takes the lock for each of them.
 */
#ifndef DEVICES_NET_RTL8139_H
#define DEVICES_NET_RTL8139_H

#include <linux/pci_regs.h>
#include "devices/pci.h"
#include "microwire.h"
#include "nic.h"
#include "rtl8139_regs.h"

#define RTL8139_STATE(X)                                                                           \
    X(A, uint32_t, reg, RTL8139_REGISTER_COUNT)                                                    \
    X(A, uint8_t, wakeup, RTL8139_WAKEUP_BYTES)                                                    \
    X(S, Microwire, eeprom, microwire)                                                             \
    X(F, uint8_t, tx_next)     /* C mode: the descriptor whose turn it is */                       \
    X(A, uint8_t, tx_index, 2) /* C+ mode: places in the rings, of normal and high priority */     \
    X(F, uint8_t, rx_index)                                                                        \
    X(F, uint32_t, tx_segments) /* of the packet whose turn it is that have gone */                \
    X(F, int64_t, tctr_start)                                                                      \
    X(F, uint64_t, tx_ok) /* the tally counters */                                                 \
    X(F, uint64_t, rx_ok)                                                                          \
    X(F, uint64_t, tx_err)                                                                         \
    X(F, uint32_t, rx_err)                                                                         \
    X(F, uint64_t, rx_ok_physical)                                                                 \
    X(F, uint64_t, rx_ok_broadcast)                                                                \
    X(F, uint32_t, rx_ok_multicast)                                                                \
    X(F, uint16_t, tx_aborted)
STATE_STRUCT(Rtl8139State, RTL8139_STATE);

typedef struct {
    PciDevice pci;
    Rtl8139State s;
    Nic nic;
    IoRegion io, mmio;
    DeviceBh *tx_bh, *ready_bh, *rx_bh, *irq_bh;
    DeviceTimer *timer;   /* TCTR reaches TIMERINT */
    DeviceTimer *rx_poll; /* C+ mode has no register that says of new receive descriptors */
    DeviceTimer *tx_irq;  /* schedules irq_bh for a later turn of the loop */
    uint32_t causes;      /* that irq_bh adds to ISR */
    bool running;
    uint32_t rx_poll_us; /* how long rx_poll waits; 0: it does not */
    bool rx_waits;       /* a packet waits for room */
    bool tx_waits;       /* for the backend */
    uint8_t *packet;     /* scratch: NET_PACKET_MAX bytes */
    NicConf conf;
} Rtl8139;

static inline Rtl8139 *rtl8139_of(Device *dev)
{
    return container_of(dev, Rtl8139, pci.dev);
}

static inline Rtl8139 *rtl8139_of_peer(NetPeer *peer)
{
    return container_of(peer, Rtl8139, nic.peer);
}

/* C+ mode's rings are on, by direction: RTL8139_CPCR_TX, RTL8139_CPCR_RX. */
static inline bool rtl8139_is_plus(const Rtl8139 *c, uint32_t direction)
{
    return c->s.reg[RTL8139_CPCR] & direction;
}

/* rtl8139.c */
void rtl8139_cause(Rtl8139 *c, uint32_t causes);
/* Causes that come with packets: they wait for the end of the batch. */
void rtl8139_cause_later(Rtl8139 *c, uint32_t causes);
bool rtl8139_loops_back(const Rtl8139 *c);

/* rtl8139_tx.c */
void rtl8139_tx_run(Device *dev);   /* as tx_bh */
void rtl8139_tx_ready(Device *dev); /* as ready_bh: the backend takes packets again */

/* rtl8139_rx.c */
ssize_t rtl8139_receive(NetPeer *peer, const struct iovec *iov, unsigned n);
NicResult rtl8139_rx_frame(Nic *nic, const uint8_t *frame, size_t len, bool good);
void rtl8139_rx_update(Device *dev);     /* as rx_bh, and as rx_poll */
bool rtl8139_rx_empty(const Rtl8139 *c); /* C mode's ring */
void rtl8139_rx_loopback(Rtl8139 *c, const uint8_t *frame, size_t len);

#endif
