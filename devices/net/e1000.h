/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * e1000: shared by its files. Registers are accessed under the device's lock. Packets go in and out
 * on the main loop, which takes the lock for each of them.
 */
#ifndef DEVICES_NET_E1000_H
#define DEVICES_NET_E1000_H

#include <linux/pci_regs.h>
#include "devices/pci.h"
#include "e1000_regs.h"
#include "frame.h"
#include "microwire.h"
#include "nic.h"

/* What a context descriptor has set. [0] of E1000State.context is for checksums, [1] for TSE. */
#define E1000_CONTEXT_STATE(X)                                                                     \
    X(F, uint8_t, ipcss)                                                                           \
    X(F, uint8_t, ipcso)                                                                           \
    X(F, uint16_t, ipcse)                                                                          \
    X(F, uint8_t, tucss)                                                                           \
    X(F, uint8_t, tucso)                                                                           \
    X(F, uint16_t, tucse)                                                                          \
    X(F, uint8_t, hdrlen)                                                                          \
    X(F, uint16_t, mss)                                                                            \
    X(F, bool, tcp)                                                                                \
    X(F, bool, ip4)
STATE_STRUCT(E1000Context, E1000_CONTEXT_STATE);

#define E1000_STATE(X)                                                                             \
    X(A, uint32_t, reg, E1000_REGISTER_COUNT)                                                      \
    X(A, uint32_t, stats, 64)                                                                      \
    X(A, uint32_t, mta, 128)                                                                       \
    X(A, uint32_t, ra, 32)                                                                         \
    X(A, uint32_t, vfta, 128)                                                                      \
    X(A, uint32_t, ip4at, 4)                                                                       \
    X(A, uint32_t, ip6at, 4)                                                                       \
    X(A, uint32_t, wupm, 32)                                                                       \
    X(A, uint32_t, fflt, 4)                                                                        \
    X(A, uint32_t, ffmt, 128)                                                                      \
    X(A, uint32_t, ffvt, 128)                                                                      \
    X(A, uint16_t, phy, PHY_REGISTERS)                                                             \
    X(S, Microwire, eeprom, microwire)                                                             \
    X(F, uint32_t, io_address)                                                                     \
    X(SA, E1000Context, context, e1000_context, 2)                                                 \
    X(F, bool, tx_dropping)  /* up to the packet's end */                                          \
    X(F, uint32_t, tx_lower) /* of the first data descriptor of what is in tx_data */              \
    X(F, uint32_t, tx_upper)                                                                       \
    X(F, uint32_t, tx_segments) /* of the packet at TDH that have gone */                          \
    X(F, uint32_t, tx_len)                                                                         \
    X(V, uint8_t, tx_data, tx_len, NET_PACKET_MAX) /* a packet's data from before TDH */           \
    X(F, int64_t, rx_due) /* when RXT0 and TXDW, which are delayed, become causes; 0: not */       \
    X(F, int64_t, rx_limit)                                                                        \
    X(F, int64_t, tx_due)                                                                          \
    X(F, int64_t, tx_limit)                                                                        \
    X(F, int64_t, throttled) /* no new interrupt until then */                                     \
    X(F, int64_t, link_due)  /* when auto-negotiation is over; 0: is not under way */
STATE_STRUCT(E1000State, E1000_STATE);

typedef struct {
    PciDevice pci;
    E1000State s;
    Nic nic;
    IoRegion mmio, io;
    DeviceBh *tx_bh, *ready_bh, *rx_bh, *irq_bh;
    DeviceTimer *timer; /* of the nearest of the state's times */
    int64_t timer_at;   /* 0: not armed */
    uint32_t causes;    /* that irq_bh adds to ICR: one interrupt for many packets */
    bool running;
    bool rx_waits;     /* a packet waits for descriptors */
    bool tx_waits;     /* for the backend */
    bool interrupting; /* the level of INTx */
    NicConf conf;
    bool autonegotiation, mitigation, extra_mac_registers, migrate_tso, init_vet;
} E1000;

static inline E1000 *e1000_of_peer(NetPeer *peer)
{
    return container_of(peer, E1000, nic.peer);
}

static inline E1000 *e1000_of(Device *dev)
{
    return container_of(dev, E1000, pci.dev);
}

/* e1000.c */
/* Causes that come with packets: they wait for the end of the batch. */
void e1000_cause_later(E1000 *c, uint32_t causes);
void e1000_cause(E1000 *c, uint32_t causes);
/* RXT0 after RDTR and RADV, TXDW after TIDV and TADV. */
void e1000_delay(E1000 *c, bool rx);
void e1000_update_timer(E1000 *c);
void e1000_count(E1000 *c, unsigned stat, uint32_t n); /* stops at the maximum */
/* The counters of one direction: words of 'stats', two each for bytes. */
typedef struct {
    uint8_t sizes, multicast, broadcast, good, all, good_bytes, all_bytes;
} E1000Counters;
extern const E1000Counters e1000_received, e1000_sent;
/* One frame, of that many bytes with its check sequence; or several, without their sizes. */
void e1000_count_frame(E1000 *c, const E1000Counters *k, const uint8_t *frame, size_t bytes);
void e1000_count_frames(E1000 *c, const E1000Counters *k, uint32_t n, uint64_t bytes);
bool e1000_loops_back(const E1000 *c);

/* e1000_nvm.c: EEPROM and PHY. */
void e1000_eeprom_init(E1000 *c);
uint32_t e1000_eecd_read(const E1000 *c);
void e1000_eecd_write(E1000 *c, uint32_t value);
void e1000_eerd_write(E1000 *c, uint32_t value);
void e1000_load_address(E1000 *c); /* the EEPROM's address to RAL and RAH */
void e1000_phy_reset(E1000 *c);
void e1000_mdic_write(E1000 *c, uint32_t value);
void e1000_link_update(E1000 *c, bool tell); /* 'tell': by an interrupt */
void e1000_autoneg_done(E1000 *c);

/* e1000_tx.c */
void e1000_tx_run(Device *dev);   /* as tx_bh */
void e1000_tx_ready(Device *dev); /* as ready_bh: the backend takes packets again */
void e1000_tx_reset(E1000 *c);

/* e1000_rx.c */
ssize_t e1000_receive(NetPeer *peer, const struct iovec *iov, unsigned n);
NicResult e1000_rx_frame(Nic *nic, const uint8_t *frame, size_t len, bool good);
void e1000_rx_update(Device *dev); /* as rx_bh */
/* A frame that the card has sent to itself. */
void e1000_rx_loopback(E1000 *c, const uint8_t *frame, size_t len);

#endif
