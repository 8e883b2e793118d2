/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status and feature bits in words. The words are those that scripts know from QEMU. */
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "devices/virtio_info.h"

/* Not in older Linux headers, and not virtio's. */
#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif
#define VHOST_F_LOG_ALL                26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

#define VHOST_WORDS                                                                                \
    {VHOST_USER_F_PROTOCOL_FEATURES,                                                               \
     "VHOST_USER_F_PROTOCOL_FEATURES: Vhost-user protocol features negotiation supported"},        \
    {                                                                                              \
        VHOST_F_LOG_ALL, "VHOST_F_LOG_ALL: Logging write descriptors supported"                    \
    }

const VirtioWord virtio_status_words[] = {
    {0, "VIRTIO_CONFIG_S_ACKNOWLEDGE: Valid virtio device found"},
    {7, "VIRTIO_CONFIG_S_FAILED: Error in guest, device failed"},
    {6, "VIRTIO_CONFIG_S_NEEDS_RESET: Irrecoverable error, device needs reset"},
    {1, "VIRTIO_CONFIG_S_DRIVER: Guest OS compatible with device"},
    {3, "VIRTIO_CONFIG_S_FEATURES_OK: Feature negotiation complete"},
    {2, "VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"},
    {0, NULL}};

const VirtioWord virtio_transport_words[] = {
    {VIRTIO_RING_F_EVENT_IDX, "VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled"},
    {VIRTIO_RING_F_INDIRECT_DESC, "VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported"},
    {VIRTIO_F_SR_IOV, "VIRTIO_F_SR_IOV: Device supports single root I/O virtualization"},
    {VIRTIO_F_ORDER_PLATFORM, "VIRTIO_F_ORDER_PLATFORM: Memory accesses ordered by platform"},
    {VIRTIO_F_IN_ORDER,
     "VIRTIO_F_IN_ORDER: Device uses buffers in same order as made available by driver"},
    {VIRTIO_F_RING_PACKED, "VIRTIO_F_RING_PACKED: Device supports packed VQ layout"},
    {VIRTIO_F_ACCESS_PLATFORM,
     "VIRTIO_F_IOMMU_PLATFORM: Device can be used on IOMMU platform"}, /* its old name */
    {VIRTIO_F_VERSION_1, "VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)"},
    {VIRTIO_F_ANY_LAYOUT, "VIRTIO_F_ANY_LAYOUT: Device accepts arbitrary desc. layouts"},
    {VIRTIO_F_NOTIFY_ON_EMPTY,
     "VIRTIO_F_NOTIFY_ON_EMPTY: Notify when device runs out of avail. descs. on VQ"},
    {0, NULL}};

static const VirtioWord net_words[] = {
    VHOST_WORDS,
    {VIRTIO_NET_F_GSO, "VIRTIO_NET_F_GSO: Handling GSO-type packets supported"},
    {VIRTIO_NET_F_SPEED_DUPLEX, "VIRTIO_NET_F_SPEED_DUPLEX: Device set linkspeed and duplex"},
    {VIRTIO_NET_F_STANDBY, "VIRTIO_NET_F_STANDBY: Device acting as standby for primary device with "
                           "same MAC addr. supported"},
    {VIRTIO_NET_F_RSC_EXT, "VIRTIO_NET_F_RSC_EXT: Extended coalescing info supported"},
    {VIRTIO_NET_F_RSS, "VIRTIO_NET_F_RSS: RSS RX steering supported"},
    {VIRTIO_NET_F_HASH_REPORT, "VIRTIO_NET_F_HASH_REPORT: Hash reporting supported"},
    {VIRTIO_NET_F_CTRL_MAC_ADDR,
     "VIRTIO_NET_F_CTRL_MAC_ADDR: MAC address set through control channel"},
    {VIRTIO_NET_F_MQ, "VIRTIO_NET_F_MQ: Multiqueue with automatic receive steering supported"},
    {VIRTIO_NET_F_GUEST_ANNOUNCE,
     "VIRTIO_NET_F_GUEST_ANNOUNCE: Driver sending gratuitous packets supported"},
    {VIRTIO_NET_F_CTRL_RX_EXTRA, "VIRTIO_NET_F_CTRL_RX_EXTRA: Extra RX mode control supported"},
    {VIRTIO_NET_F_CTRL_VLAN, "VIRTIO_NET_F_CTRL_VLAN: Control channel VLAN filtering supported"},
    {VIRTIO_NET_F_CTRL_RX, "VIRTIO_NET_F_CTRL_RX: Control channel RX mode supported"},
    {VIRTIO_NET_F_CTRL_VQ, "VIRTIO_NET_F_CTRL_VQ: Control channel available"},
    {VIRTIO_NET_F_STATUS, "VIRTIO_NET_F_STATUS: Configuration status field available"},
    {VIRTIO_NET_F_MRG_RXBUF, "VIRTIO_NET_F_MRG_RXBUF: Driver can merge receive buffers"},
    {VIRTIO_NET_F_HOST_UFO, "VIRTIO_NET_F_HOST_UFO: Device can receive UFO"},
    {VIRTIO_NET_F_HOST_ECN, "VIRTIO_NET_F_HOST_ECN: Device can receive TSO with ECN"},
    {VIRTIO_NET_F_HOST_TSO6, "VIRTIO_NET_F_HOST_TSO6: Device can receive TSOv6"},
    {VIRTIO_NET_F_HOST_TSO4, "VIRTIO_NET_F_HOST_TSO4: Device can receive TSOv4"},
    {VIRTIO_NET_F_GUEST_UFO, "VIRTIO_NET_F_GUEST_UFO: Driver can receive UFO"},
    {VIRTIO_NET_F_GUEST_ECN, "VIRTIO_NET_F_GUEST_ECN: Driver can receive TSO with ECN"},
    {VIRTIO_NET_F_GUEST_TSO6, "VIRTIO_NET_F_GUEST_TSO6: Driver can receive TSOv6"},
    {VIRTIO_NET_F_GUEST_TSO4, "VIRTIO_NET_F_GUEST_TSO4: Driver can receive TSOv4"},
    {VIRTIO_NET_F_MAC, "VIRTIO_NET_F_MAC: Device has given MAC address"},
    {VIRTIO_NET_F_MTU, "VIRTIO_NET_F_MTU: Device max MTU reporting supported"},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
     "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS: Control channel offloading reconfig. supported"},
    {VIRTIO_NET_F_GUEST_CSUM,
     "VIRTIO_NET_F_GUEST_CSUM: Driver handling packets with partial checksum supported"},
    {VIRTIO_NET_F_CSUM,
     "VIRTIO_NET_F_CSUM: Device handling packets with partial checksum supported"},
    {0, NULL}};

static const VirtioWord blk_words[] = {
    VHOST_WORDS,
    {VIRTIO_BLK_F_CONFIG_WCE,
     "VIRTIO_BLK_F_CONFIG_WCE: Cache writeback and writethrough modes supported"},
    {VIRTIO_BLK_F_FLUSH, "VIRTIO_BLK_F_FLUSH: Flush command supported"},
    {VIRTIO_BLK_F_SCSI, "VIRTIO_BLK_F_SCSI: SCSI packet commands supported"},
    {VIRTIO_BLK_F_BARRIER, "VIRTIO_BLK_F_BARRIER: Request barriers supported"},
    {VIRTIO_BLK_F_WRITE_ZEROES, "VIRTIO_BLK_F_WRITE_ZEROES: Write zeroes command supported"},
    {VIRTIO_BLK_F_DISCARD, "VIRTIO_BLK_F_DISCARD: Discard command supported"},
    {VIRTIO_BLK_F_MQ, "VIRTIO_BLK_F_MQ: Multiqueue supported"},
    {VIRTIO_BLK_F_TOPOLOGY, "VIRTIO_BLK_F_TOPOLOGY: Topology information available"},
    {VIRTIO_BLK_F_BLK_SIZE, "VIRTIO_BLK_F_BLK_SIZE: Block size of disk available"},
    {VIRTIO_BLK_F_RO, "VIRTIO_BLK_F_RO: Device is read-only"},
    {VIRTIO_BLK_F_GEOMETRY, "VIRTIO_BLK_F_GEOMETRY: Legacy geometry available"},
    {VIRTIO_BLK_F_SEG_MAX, "VIRTIO_BLK_F_SEG_MAX: Max segments in a request is seg_max"},
    {VIRTIO_BLK_F_SIZE_MAX, "VIRTIO_BLK_F_SIZE_MAX: Max segment size is size_max"},
    {0, NULL}};

static const VirtioWord serial_words[] = {
    {VIRTIO_CONSOLE_F_EMERG_WRITE, "VIRTIO_CONSOLE_F_EMERG_WRITE: Emergency write supported"},
    {VIRTIO_CONSOLE_F_MULTIPORT, "VIRTIO_CONSOLE_F_MULTIPORT: Multiple ports for device supported"},
    {VIRTIO_CONSOLE_F_SIZE, "VIRTIO_CONSOLE_F_SIZE: Host providing console size"},
    {0, NULL}};

static const VirtioWord rng_words[] = {VHOST_WORDS, {0, NULL}};

static const VirtioWord balloon_words[] = {
    {VIRTIO_BALLOON_F_REPORTING, "VIRTIO_BALLOON_F_REPORTING: Page reporting VQ enabled"},
    {VIRTIO_BALLOON_F_PAGE_POISON, "VIRTIO_BALLOON_F_PAGE_POISON: Guest page poisoning enabled"},
    {VIRTIO_BALLOON_F_FREE_PAGE_HINT,
     "VIRTIO_BALLOON_F_FREE_PAGE_HINT: VQ reporting free pages enabled"},
    {VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
     "VIRTIO_BALLOON_F_DEFLATE_ON_OOM: Deflate balloon when guest OOM"},
    {VIRTIO_BALLOON_F_STATS_VQ, "VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available"},
    {VIRTIO_BALLOON_F_MUST_TELL_HOST,
     "VIRTIO_BALLOON_F_MUST_TELL_HOST: Tell host before reclaiming pages"},
    {0, NULL}};

/* Types of devices (5), as QEMU calls them. */
static const struct {
    uint16_t id;
    const char *name;
    const VirtioWord *words;
} types[] = {
    {VIRTIO_ID_NET, "virtio-net", net_words},
    {VIRTIO_ID_BLOCK, "virtio-blk", blk_words},
    {VIRTIO_ID_CONSOLE, "virtio-serial", serial_words},
    {VIRTIO_ID_RNG, "virtio-rng", rng_words},
    {VIRTIO_ID_BALLOON, "virtio-balloon", balloon_words},
};

const VirtioWord *virtio_device_words(uint16_t device_id)
{
    static const VirtioWord none[] = {{0, NULL}};

    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].id == device_id) {
            return types[i].words;
        }
    }
    return none;
}

const char *virtio_device_name(uint16_t device_id)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (types[i].id == device_id) {
            return types[i].name;
        }
    }
    return "virtio-device";
}
