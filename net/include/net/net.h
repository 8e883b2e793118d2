/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network behind a NIC. A NIC and a backend are two NetPeers, joined. A peer sends *down*
 * (NIC to backend) by a direct call on the home loop; a backend's packets reach the NIC as fresh
 * callbacks on the NIC's home loop, never on the sender's stack.
 *
 * Threads: a pair shares one home loop (the main loop unless an iothread is given); all calls are
 * made there.
 *
 * Ownership: a device embeds its NIC peers and disconnects them before it goes; a backend's peers
 * are the registry's, which destroys them in netdev_del() and net_cleanup(). Packets are the
 * caller's and are copied where they must outlive the call.
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

/* Offloads that the *receiver* of packets accepts (TUNSETOFFLOAD; virtio 5.1.3). */
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
     * A packet from the other side: bytes taken (the whole packet), 0 for 'not now' (the sender
     * keeps it, stops sending and is told by net_peer_ready()), or negative: dropped. Begins with a
     * virtio_net_hdr where the pair agreed on one (vnet_hdr_len > 0).
     */
    ssize_t (*receive)(NetPeer *self, const struct iovec *iov, unsigned n);
    void (*link_changed)(NetPeer *self);
    /* The other side takes packets again after it had said 'not now'. */
    void (*send_ready)(NetPeer *self);
    void (*destroy)(NetPeer *self); /* backends: frees */
    /* Backends only; may be NULL. */
    bool (*set_vnet_hdr_len)(NetPeer *self, unsigned len); /* false: cannot */
    void (*set_offload)(NetPeer *self, unsigned offloads);
    unsigned (*supported_offloads)(NetPeer *self); /* with vnet headers; 0: none */
    bool (*has_vnet_hdr)(NetPeer *self);
    bool (*set_queue_enabled)(NetPeer *self, unsigned queue, bool on);
    /* Polling its host fd on or off (the VM is paused, the NIC is full). */
    void (*set_polling)(NetPeer *self, bool on);
    char *(*info)(NetPeer *self); /* 'info network' tail; caller frees */
};

struct NetPeer {
    const NetPeerOps *ops;
    char *name;        /* netdev id, or the NIC's */
    const char *model; /* "user", "tap", "virtio-net-pci", ... */
    NetPeer *peer;     /* who is at the other end, or NULL */
    EventLoop *loop;
    unsigned queue_index;  /* of a multiqueue device: peers[queue] */
    unsigned vnet_hdr_len; /* of packets in both directions; 0, 10 or 12 */
    bool is_nic;
    bool link_down;       /* set_link */
    bool muted;           /* the VM is paused: nothing is delivered */
    bool receive_enabled; /* a NIC enables it explicitly when it has buffers */
    GQueue *queue;        /* packets waiting for this peer (bounded) */
    BottomHalf deliver_bh;
    /* Private to peer.c. */
    bool registered;
    bool receive_blocked; /* its receive() said 'not now' */
    bool send_blocked;    /* the other side's did: send_ready() is owed */
    bool deliver_blocked; /* net_deliver() said 'full': send_ready() is owed */
    bool polling;         /* backends: what set_polling() was last told */
    bool in_use;          /* backends: somebody has connected */
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, dropped;
    uint8_t mac[6]; /* NICs: for info */
};

/* NICs (devices). Embedded in the device; init on the main loop. */
void net_nic_init(NetPeer *nic, const NetPeerOps *ops, const char *model, const char *name,
                  EventLoop *loop);
/* Joins with queue 'queue' of netdev 'id' (which then is in use). */
bool net_nic_connect(NetPeer *nic, const char *netdev_id, unsigned queue, GError **err);
void net_nic_disconnect(NetPeer *nic);
/* The number of queues of a netdev, 0 where there is none such. */
unsigned net_backend_queues(const char *netdev_id);

/*
 * Sends to the other side. Gives the packet's size where it was taken or dropped for good (no
 * peer, link down), 0 for 'not now': keep it, stop, and go on in send_ready().
 */
ssize_t net_send(NetPeer *from, const struct iovec *iov, unsigned n);
/*
 * Backends upward: copies and queues; delivered from the NIC's bottom half. false: the queue is
 * full and the packet was not taken; send_ready() says when to go on.
 */
bool net_deliver(NetPeer *from, const void *data, size_t len);
bool net_deliver_iov(NetPeer *from, const struct iovec *iov, unsigned n);
/*
 * The same without a copy where the NIC takes it now. Only from a fresh callback of the home loop
 * (a descriptor is readable), never from within receive(). False: as above, or this one was taken
 * but the next would not be.
 */
bool net_deliver_now(NetPeer *from, const struct iovec *iov, unsigned n);
/* 'self' can receive again: what is queued is delivered, the sender is told. */
void net_peer_ready(NetPeer *self);
/* Whether the peer would take a packet now (NIC side: before reading a host fd). */
bool net_peer_can_receive(NetPeer *peer);
void net_set_link(NetPeer *peer, bool up);
/* Sets up an unused queue's NIC MAC and gives the 52:54:00:12:34:56 + n default. */
void net_default_mac(uint8_t mac[6]);
/* Pauses and resumes all delivery with the VM. Main loop. */
void net_mute_all(bool muted);

/* Backends. */
struct NetBackendClass {
    const char *name; /* "user" */
    const char *help;
    size_t size; /* of its options struct */
    const Property *props;
    bool is_hubport; /* not for -net, which makes the ports itself */
    /* Makes the peers (one a queue) and gives them to net_register(); takes nothing of options. */
    bool (*create)(const char *id, void *options, GError **err);
};
const NetBackendClass *const *net_backend_classes(void); /* one array: net/backends.c */
/* The keys of -netdev, -nic and -net that may be repeated, for keyval_parse(); NULL-terminated. */
extern const char *const net_list_keys[];
void net_register(NetPeer *const *queues, unsigned n, const char *id, const char *model,
                  EventLoop *loop);

/* -netdev / netdev_add: {"type","id",...}. */
bool netdev_add(json_t *config, GError **err);
bool netdev_del(const char *id, GError **err);
/*
 * -net and -nic: 'nic' entries wanted by the board are asked for with net_nic_requests();
 * several -net on one hub number share a hub (vlan=N).
 */
typedef struct {
    char *model, *macaddr, *netdev, *addr, *id;
    int vectors; /* -1: not said */
    bool used;   /* the board has made it */
} NetNicRequest;
bool net_option_net(json_t *config, GError **err);
bool net_option_nic(json_t *config, GError **err);
/* QEMU's default: user networking and the board's NIC where the command line says nothing. */
bool net_add_default(GError **err);
GPtrArray *net_nic_requests(void); /* of NetNicRequest, borrowed; never NULL */
/* After the machine is made: a netdev or NIC without an other end is warned of, as QEMU does. */
void net_check_peers(void);
void net_cleanup(void);

/* Text for 'info network', 'info usernet'; caller frees. */
char *net_info_text(void);
char *net_info_usernet(const char *id); /* NULL: all */
json_t *net_query(void);
/* id NULL: the only (or first) user network. Rules as of -netdev user,hostfwd=. */
bool net_hostfwd_add(const char *id, const char *rule, GError **err);
bool net_hostfwd_remove(const char *id, const char *rule, GError **err);
NetPeer *net_find(const char *name); /* its first queue */
void net_foreach(void (*fn)(NetPeer *peer, void *data), void *data);

#endif
