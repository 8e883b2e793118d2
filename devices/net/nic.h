/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all network cards have in common: properties, link, and packets to and from a backend that
 * has virtio_net_hdr. Such a backend takes segments whole and leaves checksums of what it gives to
 * its peer. Drivers of real cards know nothing of either, so packets are split and summed here.
 *
 * Main loop, under the card's lock.
 */
#ifndef DEVICES_NET_NIC_H
#define DEVICES_NET_NIC_H

#include <linux/virtio_net.h>
#include "frame.h"
#include "net/net.h"
#include "vm/device.h"

typedef struct {
    char *netdev;
    uint8_t mac[6];
    int32_t bootindex;
} NicConf;

#define NIC_CONF_PROPS(type, conf)                                                                 \
    PROP_L("netdev", type, conf.netdev, "netdev", "ID of a netdev to use as a backend"),           \
        PROP("mac", PROP_MACADDR, type, conf.mac, NULL,                                            \
             "Ethernet 6-byte MAC Address, example: 52:54:00:12:34:56"),                           \
        PROP("bootindex", PROP_INT32, type, conf.bootindex, "-1", "place in the boot order")

/* How a packet for the card goes on: taken (or filtered out), or it waits for the guest. */
typedef enum { NIC_TAKEN, NIC_DROPPED, NIC_WAITS } NicResult;

/* Embedded in the card. */
typedef struct Nic Nic;
struct Nic {
    NetPeer peer;
    /* One frame. 'good': the checksums are known to be right. After NIC_WAITS it comes again. */
    NicResult (*frame)(Nic *nic, const uint8_t *frame, size_t len, bool good);
    unsigned segments; /* of the packet that waits that the card has taken */
    uint8_t *segment;  /* scratch: NET_PACKET_MAX bytes */
    uint8_t *gather;   /* scratch for packets in pieces; NULL until there is one */
};

/* Gives 'mac' the next default address where it is all zeroes; refuses an address of a group. */
bool nic_check_mac(uint8_t mac[6], GError **err);
/* Checks the address, sets the peer up and joins it. False: nothing is left behind. */
bool nic_open(Nic *nic, NicConf *conf, Device *dev, const NetPeerOps *ops, GError **err);
void nic_close(Nic *nic);
/* set_link, of the card or of its netdev. A card without a netdev has a link. */
bool nic_link_is_up(const NetPeer *peer);

/* NetPeerOps.receive, when the card can receive. */
NicResult nic_receive(Nic *nic, const struct iovec *iov, unsigned n);
/* Forgets which segments of a waiting packet were taken: the packet is gone, or begins anew. */
void nic_forget(Nic *nic);

/* A frame as the guest gets it: without its tag where the card has cut that, and padded. */
typedef struct {
    struct iovec iov[3];
    size_t len;
} NicRxData;
/* 'padded': the length with zeroes behind the frame, of which there are at most FRAME_MIN. */
void nic_rx_data(NicRxData *d, const uint8_t *frame, size_t len, size_t padded, bool cut_tag);
/* Writes [at, at + len) of it, which it has, to guest memory. */
void nic_rx_write(Vm *vm, uint64_t addr, const NicRxData *d, size_t at, size_t len);

/* What belongs to a frame that is sent. */
typedef struct {
    bool tagged, padded; /* a tag is put in; short frames are padded */
    uint16_t tag_type, tci;
    struct virtio_net_hdr header;
} NicTx;
/* False: the backend says 'not now'. The card keeps the packet until send_ready(). */
bool nic_send(Nic *nic, const NicTx *tx, const uint8_t *frame, size_t len);
/* Leaves the sum from 'start' on, to be stored at 'at', to the backend. False: it takes none. */
bool nic_leave_checksum(const Nic *nic, NicTx *tx, size_t start, size_t at, size_t len);
/*
 * Whether the backend splits the packet. Then nic_make_whole() gives it the lengths and sums that
 * Linux wants to find, and nic_send() sends it.
 */
bool nic_takes_whole(const Nic *nic, const FrameSplit *split, size_t len);
void nic_make_whole(NicTx *tx, const FrameSplit *split, uint8_t *frame, size_t len);

#endif
