/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net: features, configuration and life (5.1). */
#include "virtio_net.h"
#include "virtio_pci.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include "base/error.h"
#include "../net/nic.h"

STATE_DESC(virtio_net, VirtioNetState, VIRTIO_NET_STATE, 1);

#define HEADER_LEN      10 /* struct virtio_net_hdr; 12 with num_buffers */
#define CTRL_QUEUE_SIZE 64
#define CONFIG_SIZE     17 /* struct virtio_net_config up to duplex */

static VirtioNet *virtio_net(VirtioDevice *vdev)
{
    return container_of(vdev, VirtioNet, vdev);
}

/* Configuration. */

void virtio_net_set_mac(VirtioNet *n, const uint8_t mac[6])
{
    uint8_t wide[8] = {0};

    memcpy(n->s.mac, mac, 6);
    memcpy(wide, mac, 6);
    __atomic_store_n(&n->filter_mac, ldle64(wide), __ATOMIC_RELAXED);
}

static void virtio_net_get_config(VirtioDevice *vdev, uint8_t *config)
{
    VirtioNet *n = virtio_net(vdev);

    memcpy(config, n->s.mac, 6);
    stle16(config + offsetof(struct virtio_net_config, status),
           __atomic_load_n(&n->s.status, __ATOMIC_RELAXED));
    stle16(config + offsetof(struct virtio_net_config, max_virtqueue_pairs), n->max_pairs);
    stle16(config + offsetof(struct virtio_net_config, mtu), n->host_mtu);
    stle32(config + offsetof(struct virtio_net_config, speed), n->speed);
    config[offsetof(struct virtio_net_config, duplex)] = n->duplex;
}

static void virtio_net_set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioNet *n = virtio_net(vdev);

    /* 5.1.4.3: legacy drivers without CTRL_MAC_ADDR set their address here. */
    if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1) &&
        !virtio_has_feature(vdev, VIRTIO_NET_F_CTRL_MAC_ADDR) && memcmp(config, n->s.mac, 6)) {
        virtio_net_set_mac(n, config);
    }
}

static size_t config_size(VirtioNet *n)
{
    if (n->speed >= 0 || n->duplex != 0xff) {
        return CONFIG_SIZE;
    }
    if (n->host_mtu) {
        return offsetof(struct virtio_net_config, mtu) + 2;
    }
    if (n->mq) {
        return offsetof(struct virtio_net_config, max_virtqueue_pairs) + 2;
    }
    return offsetof(struct virtio_net_config, status) + (n->status ? 2 : 0);
}

/* Features. */

static uint64_t bit_if(bool on, unsigned bit)
{
    return on ? BIT64(bit) : 0;
}

/* Features that need a backend with virtio_net_hdr. */
static uint64_t offload_features(VirtioNet *n)
{
    NetPeer *peer = n->queues[0].nic.peer;
    unsigned can;

    if (!n->peer_headers) {
        return 0;
    }
    can = peer->ops->supported_offloads ? peer->ops->supported_offloads(peer) : 0;
    return bit_if(n->csum, VIRTIO_NET_F_CSUM) | bit_if(n->gso, VIRTIO_NET_F_GSO) |
           bit_if(n->host_tso4, VIRTIO_NET_F_HOST_TSO4) |
           bit_if(n->host_tso6, VIRTIO_NET_F_HOST_TSO6) |
           bit_if(n->host_ecn, VIRTIO_NET_F_HOST_ECN) |
           bit_if(n->host_ufo && (can & NET_OFFLOAD_UFO), VIRTIO_NET_F_HOST_UFO) |
           bit_if(n->guest_csum && (can & NET_OFFLOAD_CSUM), VIRTIO_NET_F_GUEST_CSUM) |
           bit_if(n->guest_tso4 && (can & NET_OFFLOAD_TSO4), VIRTIO_NET_F_GUEST_TSO4) |
           bit_if(n->guest_tso6 && (can & NET_OFFLOAD_TSO6), VIRTIO_NET_F_GUEST_TSO6) |
           bit_if(n->guest_ecn && (can & NET_OFFLOAD_ECN), VIRTIO_NET_F_GUEST_ECN) |
           bit_if(n->guest_ufo && (can & NET_OFFLOAD_UFO), VIRTIO_NET_F_GUEST_UFO);
}

#define GUEST_OFFLOADS                                                                             \
    (BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4) |                             \
     BIT64(VIRTIO_NET_F_GUEST_TSO6) | BIT64(VIRTIO_NET_F_GUEST_ECN) |                              \
     BIT64(VIRTIO_NET_F_GUEST_UFO))

uint64_t virtio_net_possible_offloads(VirtioNet *n)
{
    return n->vdev.s.guest_features & GUEST_OFFLOADS;
}

static uint64_t virtio_net_get_features(VirtioDevice *vdev, uint64_t f)
{
    VirtioNet *n = virtio_net(vdev);
    bool ctrl = n->ctrl_vq;

    f |= BIT64(VIRTIO_NET_F_MAC) | offload_features(n);
    f |= bit_if(n->mrg_rxbuf, VIRTIO_NET_F_MRG_RXBUF);
    f |= bit_if(n->status, VIRTIO_NET_F_STATUS);
    f |= bit_if(n->host_mtu != 0, VIRTIO_NET_F_MTU);
    f |= bit_if(n->speed >= 0 || n->duplex != 0xff, VIRTIO_NET_F_SPEED_DUPLEX);
    /* 5.1.3.1: all of these need the control queue. */
    f |= bit_if(ctrl, VIRTIO_NET_F_CTRL_VQ);
    f |= bit_if(ctrl && n->ctrl_rx, VIRTIO_NET_F_CTRL_RX);
    f |= bit_if(ctrl && n->ctrl_rx_extra, VIRTIO_NET_F_CTRL_RX_EXTRA);
    f |= bit_if(ctrl && n->ctrl_vlan, VIRTIO_NET_F_CTRL_VLAN);
    f |= bit_if(ctrl && n->ctrl_mac_addr, VIRTIO_NET_F_CTRL_MAC_ADDR);
    f |= bit_if(ctrl && n->guest_announce && n->status, VIRTIO_NET_F_GUEST_ANNOUNCE);
    f |= bit_if(ctrl && n->mq && n->max_pairs > 1, VIRTIO_NET_F_MQ);
    f |= bit_if(ctrl && n->ctrl_guest_offloads, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
    return f;
}

static bool set_features(VirtioDevice *vdev, uint64_t f)
{
    VirtioNet *n = virtio_net(vdev);

    n->mergeable = f & BIT64(VIRTIO_NET_F_MRG_RXBUF);
    /* 5.1.6: the header has num_buffers with MRG_RXBUF, and always since virtio 1.0. */
    n->header_len = HEADER_LEN + (n->mergeable || (f & BIT64(VIRTIO_F_VERSION_1)) ? 2 : 0);
    n->s.guest_offloads = f & GUEST_OFFLOADS;
    /* 5.1.6.5.3: a driver that does not filter VLANs gets packets of all VLANs. */
    memset(n->s.vlans, f & BIT64(VIRTIO_NET_F_CTRL_VLAN) ? 0 : 0xff, sizeof n->s.vlans);
    return true;
}

/* Towards the backend. */

static unsigned backend_offloads(uint64_t features)
{
    unsigned o = 0;

    o |= features & BIT64(VIRTIO_NET_F_GUEST_CSUM) ? NET_OFFLOAD_CSUM : 0;
    o |= features & BIT64(VIRTIO_NET_F_GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0;
    o |= features & BIT64(VIRTIO_NET_F_GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0;
    o |= features & BIT64(VIRTIO_NET_F_GUEST_ECN) ? NET_OFFLOAD_ECN : 0;
    o |= features & BIT64(VIRTIO_NET_F_GUEST_UFO) ? NET_OFFLOAD_UFO : 0;
    return o;
}

void virtio_net_apply(VirtioNet *n)
{
    for (unsigned i = 0; i < n->max_pairs; i++) {
        VirtioNetQueue *q = &n->queues[i];
        NetPeer *peer = q->nic.peer;

        if (!peer) {
            continue;
        }
        if (peer->ops->set_queue_enabled) {
            peer->ops->set_queue_enabled(peer, i, i < n->s.pairs);
        }
        if (n->peer_headers && peer->vnet_hdr_len != n->header_len) {
            peer->ops->set_vnet_hdr_len(peer, n->header_len);
        }
        if (n->peer_headers && peer->ops->set_offload) {
            peer->ops->set_offload(peer, backend_offloads(n->s.guest_offloads));
        }
    }
}

void virtio_net_link_changed(VirtioNet *n)
{
    uint16_t old = n->s.status, now = old & ~VIRTIO_NET_S_LINK_UP;

    now |= nic_link_is_up(&n->queues[0].nic) ? VIRTIO_NET_S_LINK_UP : 0;
    if (now != old) {
        __atomic_store_n(&n->s.status, now, __ATOMIC_RELAXED);
        virtio_notify_config(&n->vdev);
    }
}

/* 5.1.6.5.4: the driver sends gratuitous packets, and acknowledges. */
void virtio_net_announce(VirtioNet *n)
{
    if (virtio_has_feature(&n->vdev, VIRTIO_NET_F_GUEST_ANNOUNCE) &&
        virtio_has_feature(&n->vdev, VIRTIO_NET_F_CTRL_VQ)) {
        __atomic_store_n(&n->s.status, n->s.status | VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
        virtio_notify_config(&n->vdev);
    }
}

/* Queues: pairs of receive and transmit, then control (5.1.2). */

/* Without MQ the driver uses one pair, and the control queue is queue 2. */
static unsigned ctrl_index(VirtioNet *n)
{
    return virtio_has_feature(&n->vdev, VIRTIO_NET_F_MQ) ? 2 * n->max_pairs : 2;
}

static void virtio_net_queue_kicked(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioNet *n = virtio_net(vdev);
    unsigned i = virtqueue_index(vq);

    if (i == ctrl_index(n) && virtio_has_feature(vdev, VIRTIO_NET_F_CTRL_VQ)) {
        n->ctrl_vq_used = vq;
        device_bh_schedule(n->ctrl_bh);
    } else if (i / 2 >= n->s.pairs) {
        return; /* the pair is not in use: ctrl_mq() kicks its queues when it is */
    } else if (i % 2) {
        virtio_net_tx_kicked(&n->queues[i / 2]);
    } else {
        virtio_net_rx_kicked(&n->queues[i / 2]);
    }
}

/* Life of the driver. */

static void virtio_net_start(VirtioDevice *vdev)
{
    virtio_net_apply(virtio_net(vdev));
}

static void virtio_net_stop(VirtioDevice *vdev)
{
    VirtioNet *n = virtio_net(vdev);

    for (unsigned i = 0; i < n->max_pairs; i++) {
        n->queues[i].nic.receive_enabled = false;
        virtio_net_drop_pending(&n->queues[i], false);
    }
}

static void pause_net(VirtioDevice *vdev)
{
    VirtioNet *n = virtio_net(vdev);

    for (unsigned i = 0; i < n->max_pairs; i++) {
        virtio_net_drop_pending(&n->queues[i], true);
    }
}

static void virtio_net_queue_reset(VirtioDevice *vdev, Virtqueue *vq)
{
    VirtioNet *n = virtio_net(vdev);
    unsigned i = virtqueue_index(vq);

    if (i / 2 < n->max_pairs && i % 2) {
        virtio_net_drop_pending(&n->queues[i / 2], false);
    }
}

static void virtio_net_reset(VirtioDevice *vdev)
{
    VirtioNet *n = virtio_net(vdev);

    virtio_net_reset_filter(n);
    virtio_net_set_mac(n, n->mac);
    n->s.pairs = 1;
    n->s.guest_offloads = 0;
    n->mergeable = false;
    n->header_len = HEADER_LEN;
    n->s.status = nic_link_is_up(&n->queues[0].nic) ? VIRTIO_NET_S_LINK_UP : 0;
    /* Packets that the backend queues from now on are for a driver without offloads. */
    virtio_net_apply(n);
}

static const VirtioClass net_vclass = {
    .device_id = VIRTIO_ID_NET,
    .config_size = CONFIG_SIZE,
    .legacy_features = BIT64(VIRTIO_NET_F_GSO),
    .get_features = virtio_net_get_features,
    .set_features = set_features,
    .get_config = virtio_net_get_config,
    .set_config = virtio_net_set_config,
    .start = virtio_net_start,
    .stop = virtio_net_stop,
    .pause = pause_net,
    .reset = virtio_net_reset,
    .queue_reset = virtio_net_queue_reset,
};

/* Life. */

static bool check_properties(VirtioNet *n, GError **err)
{
    struct {
        const char *name;
        uint16_t size;
    } sizes[] = {{"rx_queue_size", n->rx_queue_size}, {"tx_queue_size", n->tx_queue_size}};

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (sizes[i].size < 256 || sizes[i].size > VIRTQUEUE_SIZE_MAX ||
            !is_power_of_2(sizes[i].size)) {
            return error_set(err, "Invalid %s (= %u), must be a power of 2 between 256 and %u",
                             sizes[i].name, sizes[i].size, VIRTQUEUE_SIZE_MAX);
        }
    }
    if (n->tx_mode && strcmp(n->tx_mode, "bh")) {
        return error_set(err, "tx=%s is not supported: packets are sent from a bottom half (bh)",
                         n->tx_mode);
    }
    n->duplex = 0xff;
    if (n->duplex_name) {
        if (strcmp(n->duplex_name, "half") && strcmp(n->duplex_name, "full")) {
            return error_set(err, "'duplex' must be 'half' or 'full'");
        }
        n->duplex = !strcmp(n->duplex_name, "full");
    }
    if (n->speed < -1) {
        return error_set(err, "'speed' must be between 0 and INT_MAX");
    }
    return nic_check_mac(n->mac, err);
}

static void virtio_net_disconnect(VirtioNet *n)
{
    for (unsigned i = 0; i < n->max_pairs; i++) {
        net_nic_disconnect(&n->queues[i].nic);
        g_free(n->queues[i].pieces);
    }
    g_clear_pointer(&n->queues, g_free);
}

static bool connect_peers(VirtioNet *n, GError **err)
{
    Device *proxy = n->vdev.dev.parent ? n->vdev.dev.parent : &n->vdev.dev;
    unsigned queues = n->netdev ? net_backend_queues(n->netdev) : 0;

    n->max_pairs = MAX(queues, 1);
    if (n->max_pairs > VIRTIO_NET_PAIRS_MAX) {
        return error_set(err, "netdev '%s' has %u queues: at most %u are possible", n->netdev,
                         n->max_pairs, VIRTIO_NET_PAIRS_MAX);
    }
    n->queues = g_new0(VirtioNetQueue, n->max_pairs);
    for (unsigned i = 0; i < n->max_pairs; i++) {
        VirtioNetQueue *q = &n->queues[i];

        q->n = n;
        q->index = i;
        net_nic_init(&q->nic, &virtio_net_peer_ops, proxy->class->name,
                     i ? n->queues[0].nic.name : proxy->id, n->vdev.dev.loop);
        memcpy(q->nic.mac, n->mac, 6);
        q->nic.queue_index = i;
        if (n->netdev && !net_nic_connect(&q->nic, n->netdev, i, err)) {
            virtio_net_disconnect(n);
            return false;
        }
    }
    return true;
}

static bool virtio_net_realize(Device *dev, GError **err)
{
    VirtioNet *n = container_of(dev, VirtioNet, vdev.dev);
    NetPeer *peer;

    if (!check_properties(n, err) || !connect_peers(n, err)) {
        return false;
    }
    if (!virtio_init(&n->vdev, &net_vclass, err)) {
        virtio_net_disconnect(n);
        return false;
    }
    peer = n->queues[0].nic.peer;
    n->peer_headers = peer && peer->ops->has_vnet_hdr && peer->ops->has_vnet_hdr(peer) &&
                      peer->ops->set_vnet_hdr_len &&
                      peer->ops->set_vnet_hdr_len(peer, HEADER_LEN + 2);
    virtio_set_config_size(&n->vdev, config_size(n));
    for (unsigned i = 0; i < n->max_pairs; i++) {
        n->queues[i].rx = virtio_add_queue(&n->vdev, n->rx_queue_size, virtio_net_queue_kicked);
        n->queues[i].tx = virtio_add_queue(&n->vdev, n->tx_queue_size, virtio_net_queue_kicked);
    }
    virtio_add_queue(&n->vdev, CTRL_QUEUE_SIZE, virtio_net_queue_kicked);
    n->ctrl_bh = device_bh_new(dev, virtio_net_ctrl_run);
    virtio_net_reset(&n->vdev);
    return true;
}

static void virtio_net_unrealize(Device *dev)
{
    VirtioNet *n = container_of(dev, VirtioNet, vdev.dev);

    virtio_net_stop(&n->vdev);
    virtio_net_disconnect(n);
    virtio_exit(&n->vdev);
}

static bool virtio_net_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const VirtioNet *n = container_of(dev, VirtioNet, vdev.dev);
    const VirtioNetState *s = state;

    if (section != 1) {
        return virtio_device_check_state(dev, section, state, err);
    }
    if (!s->pairs || s->pairs > n->max_pairs) {
        return error_set(err, "%u queue pairs in use, but the netdev has %u", s->pairs,
                         n->max_pairs);
    }
    return true;
}

static void virtio_net_post_load(Device *dev)
{
    VirtioNet *n = container_of(dev, VirtioNet, vdev.dev);
    uint64_t f = n->vdev.s.guest_features;

    virtio_net_set_mac(n, (uint8_t[6]){n->s.mac[0], n->s.mac[1], n->s.mac[2], n->s.mac[3],
                                       n->s.mac[4], n->s.mac[5]});
    n->mergeable = f & BIT64(VIRTIO_NET_F_MRG_RXBUF);
    n->header_len = HEADER_LEN + (n->mergeable || (f & BIT64(VIRTIO_F_VERSION_1)) ? 2 : 0);
    n->s.guest_offloads &= virtio_net_possible_offloads(n);
    n->s.uni_bytes -= n->s.uni_bytes % 6;
    n->s.multi_bytes -= n->s.multi_bytes % 6;
    virtio_device_post_load(dev);
}

#define N(name, t, f, d, h)  PROP(name, t, VirtioNet, f, d, h)
#define ONOFF(name, f, d, h) PROP(name, PROP_BOOL, VirtioNet, f, d, h)
#define FIXED(n, t, f, d, h)                                                                       \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(VirtioNet, f), .defval = (d), .help = (h),    \
        .flags = PROP_FLAG_FIXED                                                                   \
    }
static const Property net_props[] = {
    PROP_L("netdev", VirtioNet, netdev, "netdev", "ID of a netdev to use as a backend"),
    N("mac", PROP_MACADDR, mac, NULL, "Ethernet 6-byte MAC Address, example: 52:54:00:12:34:56"),
    ONOFF("mq", mq, "off", "offer as many queue pairs as the netdev has"),
    N("rx_queue_size", PROP_UINT16, rx_queue_size, "256", "entries of a receive queue"),
    N("tx_queue_size", PROP_UINT16, tx_queue_size, "256", "entries of a transmit queue"),
    N("host_mtu", PROP_UINT16, host_mtu, "0", "MTU that the guest is told; 0: none"),
    N("speed", PROP_INT32, speed, "-1", "link speed in Mbit/s that the guest is told"),
    N("duplex", PROP_STRING, duplex_name, NULL, "half or full"),
    ONOFF("csum", csum, "on", "the guest may leave checksums to us"),
    ONOFF("gso", gso, "on", "the same of segmentation (before virtio 1.0)"),
    ONOFF("guest_csum", guest_csum, "on", "the guest takes packets without checksums"),
    ONOFF("guest_tso4", guest_tso4, "on", "the guest takes TCP/IPv4 segments"),
    ONOFF("guest_tso6", guest_tso6, "on", "the guest takes TCP/IPv6 segments"),
    ONOFF("guest_ecn", guest_ecn, "on", "the same with ECN"),
    ONOFF("guest_ufo", guest_ufo, "on", "the guest takes UDP fragments"),
    ONOFF("host_tso4", host_tso4, "on", "the guest may leave TCP/IPv4 segmentation to us"),
    ONOFF("host_tso6", host_tso6, "on", "the guest may leave TCP/IPv6 segmentation to us"),
    ONOFF("host_ecn", host_ecn, "on", "the same with ECN"),
    ONOFF("host_ufo", host_ufo, "on", "the guest may leave UDP fragmentation to us"),
    ONOFF("mrg_rxbuf", mrg_rxbuf, "on", "a packet may fill several buffers"),
    ONOFF("status", status, "on", "tell the guest of the link"),
    ONOFF("ctrl_vq", ctrl_vq, "on", "offer a control queue"),
    ONOFF("ctrl_rx", ctrl_rx, "on", "let the guest choose what it receives"),
    ONOFF("ctrl_rx_extra", ctrl_rx_extra, "on", "in more detail"),
    ONOFF("ctrl_vlan", ctrl_vlan, "on", "let the guest choose its VLANs"),
    ONOFF("ctrl_mac_addr", ctrl_mac_addr, "on", "let the guest set its address"),
    ONOFF("ctrl_guest_offloads", ctrl_guest_offloads, "on", "let the guest change its offloads"),
    ONOFF("guest_announce", guest_announce, "on", "let the guest announce itself"),
    N("bootindex", PROP_INT32, bootindex, "-1", "place in the boot order"),
    N("tx", PROP_STRING, tx_mode, NULL, "how packets are sent: bh"),
    FIXED("x-txburst", PROP_INT32, txburst, "256", "packets sent in a turn"),
    FIXED("x-txtimer", PROP_UINT32, txtimer, "150000", "of tx=timer"),
    FIXED("x-mtu-bypass-backend", PROP_BOOL, mtu_bypass, "on", "host_mtu is not the backend's"),
    FIXED("failover", PROP_BOOL, failover, "off", "stand in for a passed-through device"),
    FIXED("rss", PROP_BOOL, rss, "off", "receive-side scaling"),
    FIXED("hash", PROP_BOOL, hash, "off", "hashes in headers"),
    FIXED("guest_rsc_ext", PROP_BOOL, guest_rsc_ext, "off", "coalesced segments"),
    FIXED("rsc_interval", PROP_UINT32, rsc_interval, "300000", "of guest_rsc_ext"),
    PROP_END,
};
static const StateSection net_state[] = {
    VIRTIO_STATE(VirtioNet, vdev),
    {virtio_net_state_desc, offsetof(VirtioNet, s)},
    {0},
};

static const DeviceClass virtio_net_device_class = {
    VIRTIO_DEVICE_CLASS_COMMON_BUT_CHECK,
    .check_state = virtio_net_check_state,
    .name = "virtio-net-device",
    .desc = "virtio network card",
    .category = DEVICE_CATEGORY_NETWORK,
    .size = sizeof(VirtioNet),
    .props = net_props,
    .state = net_state,
    .realize = virtio_net_realize,
    .unrealize = virtio_net_unrealize,
    .post_load = virtio_net_post_load,
};

VIRTIO_PCI_CLASSES_ROM(virtio_net, "virtio-net", "virtio network card", DEVICE_CATEGORY_NETWORK,
                       virtio_net_device_class, VIRTIO_ID_NET, 0x1000, PCI_CLASS_NETWORK_ETHERNET,
                       "efi-virtio.rom", VIRTIO_PCI_VECTORS_PROP("4294967295"), );
