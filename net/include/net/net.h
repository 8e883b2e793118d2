/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network behind a NIC. A NIC and a backend are two NetPeers that are joined. A NIC's packet
 * goes down by a direct call of the backend's receive(). A backend's packet goes up from a bottom
 * half of the NIC's loop, never from the backend's stack (but see net_deliver_now()).
 *
 * Threads: both peers of a pair have the main loop as home loop; all calls are made there.
 *
 * Ownership: a device embeds its NIC peers and disconnects them before it is freed. A backend's
 * peers belong to the registry, which destroys them in netdev_del() and net_cleanup(). Packets
 * belong to the caller and are copied where they must outlive the call.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/event_loop.h"
#include "base/property.h"

typedef struct NetPeer NetPeer;
typedef struct NetPeerOps NetPeerOps;
typedef struct NetBackendClass NetBackendClass;

#define NET_PACKET_MAX (64 * 1024 + 256) /* a GSO frame with its headers */

/* Offloads that the receiver of packets accepts (TUNSETOFFLOAD; virtio 5.1.3). */
enum {
    NET_OFFLOAD_CSUM = 1 << 0,
    NET_OFFLOAD_TSO4 = 1 << 1,
    NET_OFFLOAD_TSO6 = 1 << 2,
    NET_OFFLOAD_ECN = 1 << 3,
    NET_OFFLOAD_UFO = 1 << 4,
    NET_OFFLOAD_USO = 1 << 5,
};

struct NetPeerOps {
    /*
     * A packet from the other peer, which begins with a virtio_net_hdr where vnet_hdr_len > 0.
     * Returns the packet's size where it was taken, a negative number where it was dropped, or 0
     * for 'not now': the sender keeps the packet and stops until net_peer_ready(self).
     */
    ssize_t (*receive)(NetPeer *self, const struct iovec *iov, unsigned n);
    void (*link_changed)(NetPeer *self);
    /* The other peer takes packets again, after a 'not now' or a full queue. */
    void (*send_ready)(NetPeer *self);
    void (*announce)(NetPeer *self); /* NICs: lets the driver announce itself. May be NULL */
    void (*destroy)(NetPeer *self);  /* backends: frees self */
    /* Backends only; may be NULL. */
    bool (*set_vnet_hdr_len)(NetPeer *self, unsigned len); /* false: cannot */
    void (*set_offload)(NetPeer *self, unsigned offloads);
    unsigned (*supported_offloads)(NetPeer *self); /* with vnet headers; 0: none */
    bool (*has_vnet_hdr)(NetPeer *self);
    bool (*set_queue_enabled)(NetPeer *self, unsigned queue, bool on);
    /* Starts and stops polling of the host's descriptor (VM paused, NIC full). */
    void (*set_polling)(NetPeer *self, bool on);
    char *(*info)(NetPeer *self); /* end of the line of 'info network'; caller frees */
};

struct NetPeer {
    const NetPeerOps *ops;
    char *name;        /* id of the netdev or of the NIC */
    const char *model; /* "user", "tap", "virtio-net-pci", ... */
    NetPeer *peer;     /* the other end, or NULL */
    EventLoop *loop;
    unsigned queue_index;  /* each queue of a multiqueue device has a peer */
    unsigned vnet_hdr_len; /* of packets in both directions; 0, 10 or 12 */
    bool is_nic;
    bool link_down;       /* set_link */
    bool muted;           /* the VM is paused: nothing is delivered */
    bool receive_enabled; /* NICs: set by the device when the guest has set it up to receive */
    GQueue *queue;        /* packets for this peer (bounded) */
    BottomHalf deliver_bh;
    /* Private to peer.c. */
    bool registered;
    bool receive_blocked; /* this peer's receive() has returned 0 */
    bool send_blocked;    /* net_send() has returned 0: send_ready() must be called */
    bool deliver_blocked; /* net_deliver() has returned false: send_ready() must be called */
    bool polling;         /* backends: the last argument of set_polling() */
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, dropped;
    uint8_t mac[6];     /* NICs: for info */
    GPtrArray *filters; /* backends: of NetFilter; NULL: none */
};

/* NICs, embedded in devices. 'name' NULL: one is made from the model. */
void net_nic_init(NetPeer *nic, const NetPeerOps *ops, const char *model, const char *name,
                  EventLoop *loop);
/* Joins a NIC with queue 'queue' of a netdev that is not in use. */
bool net_nic_connect(NetPeer *nic, const char *netdev_id, unsigned queue, GError **err);
void net_nic_disconnect(NetPeer *nic);
/* The number of queues of a netdev; 0 where there is no such netdev. */
unsigned net_backend_queues(const char *netdev_id);

/*
 * Sends a packet to the other peer. Returns its size where it was taken or dropped (no peer, link
 * down), 0 for 'not now': the caller keeps the packet and sends it again in send_ready().
 */
ssize_t net_send(NetPeer *from, const struct iovec *iov, unsigned n);
/*
 * Backends: queues a copy of a packet, which the NIC's bottom half delivers. False: the queue is
 * full and the packet was dropped; the backend stops until send_ready().
 */
bool net_deliver(NetPeer *from, const void *data, size_t len);
bool net_deliver_iov(NetPeer *from, const struct iovec *iov, unsigned n);
/*
 * The same without a copy, where the peer takes the packet now. For a NIC it is to be called from a
 * callback of the loop (a descriptor is readable), never from within receive(). False: the backend
 * stops until send_ready(); this packet was delivered, queued, or dropped as above.
 */
bool net_deliver_now(NetPeer *from, const struct iovec *iov, unsigned n);
/* 'self' can receive again: queued packets are delivered, then the sender's send_ready() runs. */
void net_peer_ready(NetPeer *self);
/* Whether the peer would take a packet now; false for NULL. */
bool net_peer_can_receive(NetPeer *peer);
void net_set_link(NetPeer *peer, bool up);
/* The next default MAC, 52:54:00:12:34:56 + n, that no NIC has. */
void net_default_mac(uint8_t mac[6]);
/* Pauses and resumes all delivery with the VM. Main loop. */
void net_mute_all(bool muted);

/* Backends. */
struct NetBackendClass {
    const char *name; /* "user" */
    const char *help;
    size_t size; /* of its options struct */
    const Property *props;
    bool is_hubport;  /* not for -net, which makes ports itself */
    bool is_net_only; /* for -net only; such ones are the last of the array */
    /* Makes the backend's peers, one for each queue. The options still belong to the caller. */
    bool (*create)(const char *id, void *options, GError **err);
};
const NetBackendClass *const *net_backend_classes(void); /* one array: net/backends.c */
/* The keys of -netdev, -nic and -net that may be repeated, for keyval_parse(); NULL-terminated. */
extern const char *const net_list_keys[];

/* -netdev / netdev_add: {"type": ..., "id": ..., ...}. */
bool netdev_add(json_t *config, GError **err);
bool netdev_del(const char *id, GError **err);
/*
 * -net and -nic. A NIC that they ask for is a NetNicRequest, which the board reads and makes. All
 * -net of one number (vlan=N, by default 0) are on one hub.
 */
typedef struct {
    char *model, *macaddr, *netdev, *addr, *id;
    int vectors; /* -1: not said */
    bool used;   /* the board has made it */
} NetNicRequest;
bool net_option_net(json_t *config, GError **err);
bool net_option_nic(json_t *config, GError **err);
/* Where the command line has no network: user networking and the board's NIC, as QEMU. */
bool net_add_default(GError **err);
GPtrArray *net_nic_requests(void); /* of NetNicRequest, borrowed; never NULL */
/* After the machine is made: warns of netdevs and NICs without a peer, as QEMU does. */
void net_check_peers(void);
void net_cleanup(void);

/*
 * Called when a -netdev stream is connected, with the peer's address as base/socket_address.h
 * describes it (borrowed), or has lost its connection, with NULL.
 */
void net_set_stream_hook(void (*hook)(const char *id, json_t *address, void *data), void *data);

/* Text for 'info network', 'info usernet'; caller frees. */
char *net_info_text(void);
char *net_info_usernet(const char *id); /* NULL: all */
json_t *net_query(void);
/* Rules are those of -netdev user,hostfwd=. id NULL: the first user network. */
bool net_hostfwd_add(const char *id, const char *rule, GError **err);
bool net_hostfwd_remove(const char *id, const char *rule, GError **err);
/*
 * announce-self: every card (or those of 'names', may be NULL) sends a RARP packet in each round.
 * Delays are in ms: 'initial' after the first round, 'step' more after each, up to 'max'. An
 * announcement with the same id (may be NULL) ends.
 */
typedef struct {
    int64_t initial, max, rounds, step;
} NetAnnounce;
bool net_announce_self(const NetAnnounce *params, json_t *names, const char *id, GError **err);
NetPeer *net_find(const char *name); /* its first queue */

#endif
