/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net: shared by its files. All functions run on the main loop, except accesses to
 * configuration space. */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include <linux/virtio_net.h>
#include "devices/virtio.h"
#include "net/net.h"

#define VIRTIO_NET_MAC_TABLE 64
#define VIRTIO_NET_VLANS     4096
#define VIRTIO_NET_PAIRS_MAX ((VIRTIO_QUEUE_MAX - 1) / 2)

#define VIRTIO_NET_STATE(X)                                                                        \
    X(A, uint8_t, mac, 6)                                                                          \
    X(F, uint16_t, status)                                                                         \
    X(F, bool, promisc)                                                                            \
    X(F, bool, allmulti)                                                                           \
    X(F, bool, alluni)                                                                             \
    X(F, bool, nomulti)                                                                            \
    X(F, bool, nouni)                                                                              \
    X(F, bool, nobcast)                                                                            \
    X(F, bool, uni_overflow)                                                                       \
    X(F, bool, multi_overflow)                                                                     \
    X(F, uint32_t, uni_bytes)                                                                      \
    X(V, uint8_t, uni, uni_bytes, (VIRTIO_NET_MAC_TABLE * 6))                                      \
    X(F, uint32_t, multi_bytes)                                                                    \
    X(V, uint8_t, multi, multi_bytes, (VIRTIO_NET_MAC_TABLE * 6))                                  \
    X(A, uint8_t, vlans, (VIRTIO_NET_VLANS / 8))                                                   \
    X(F, uint16_t, pairs)                                                                          \
    X(F, uint64_t, guest_offloads)
STATE_STRUCT(VirtioNetState, VIRTIO_NET_STATE);

typedef struct VirtioNet VirtioNet;

/* A pair of queues and the peer behind them. */
typedef struct {
    VirtioNet *n;
    NetPeer nic;
    unsigned index;
    Virtqueue *rx, *tx;
    VirtqueueElement *tx_pending; /* a packet that waits for send_ready() */
    unsigned tx_turns;            /* that gave packets back since the driver was last interrupted */
    struct iovec *pieces;         /* scratch of packet_of(); VIRTQUEUE_IOV_MAX entries */
} VirtioNetQueue;

struct VirtioNet {
    VirtioDevice vdev;
    VirtioNetState s;
    VirtioNetQueue *queues;
    unsigned max_pairs;
    unsigned header_len; /* of the driver's virtio_net_hdr: 10 or 12 */
    bool mergeable;
    Virtqueue *ctrl_vq_used; /* the control queue, whose index depends on MQ */
    DeviceBh *ctrl_bh;
    bool peer_headers;   /* the backend takes and gives virtio_net_hdr */
    uint64_t filter_mac; /* atomic: s.mac for the receive path */
    bool filter_told;    /* NIC_RX_FILTER_CHANGED was sent, and nobody has asked since */
    /* Properties. */
    char *netdev, *tx_mode, *duplex_name;
    uint8_t mac[6];
    uint16_t rx_queue_size, tx_queue_size, host_mtu;
    int32_t speed, txburst, bootindex;
    uint32_t txtimer, rsc_interval;
    bool mq, csum, gso, guest_csum, guest_tso4, guest_tso6, guest_ecn, guest_ufo, host_tso4,
        host_tso6, host_ecn, host_ufo, mrg_rxbuf, status, ctrl_vq, ctrl_rx, ctrl_rx_extra,
        ctrl_vlan, ctrl_mac_addr, ctrl_guest_offloads, guest_announce, failover, rss, hash,
        guest_rsc_ext, mtu_bypass;
    uint8_t duplex;
};

/* virtio_net_data.c */
void virtio_net_rx_kicked(VirtioNetQueue *q);
void virtio_net_tx_kicked(VirtioNetQueue *q);
extern const NetPeerOps virtio_net_peer_ops;
/* Puts tx_pending back into the ring (keep), or drops it (for resets). */
void virtio_net_drop_pending(VirtioNetQueue *q, bool keep);

/* virtio_net_ctrl.c */
void virtio_net_ctrl_run(Device *dev); /* runs as ctrl_bh */
void virtio_net_reset_filter(VirtioNet *n);
bool virtio_net_filter(VirtioNet *n, const uint8_t *frame, size_t len);

/* virtio_net_info.c */
void virtio_net_filter_changed(VirtioNet *n); /* by the control queue; device lock held */

/* virtio_net.c */
void virtio_net_set_mac(VirtioNet *n, const uint8_t mac[6]);
/* Sets the backend's queues, header length and offloads as the driver has chosen them. */
void virtio_net_apply(VirtioNet *n);
uint64_t virtio_net_possible_offloads(VirtioNet *n);
void virtio_net_link_changed(VirtioNet *n);
void virtio_net_announce(VirtioNet *n);

#endif
