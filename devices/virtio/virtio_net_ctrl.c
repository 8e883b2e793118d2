/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net: the control queue (5.1.6.5) and the filter that it sets. */
#include "virtio_net.h"

#include "base/iov.h"

#define ETH_TYPE_OFFSET 12
#define ETH_P_VLAN      0x8100

/* The filter. */

void virtio_net_reset_filter(VirtioNet *n)
{
    /* A driver receives all packets until it sets a filter. */
    n->s.promisc = true;
    n->s.allmulti = n->s.alluni = n->s.nomulti = n->s.nouni = n->s.nobcast = false;
    n->s.uni_overflow = n->s.multi_overflow = false;
    n->s.uni_bytes = n->s.multi_bytes = 0;
    memset(n->s.vlans, 0xff, sizeof n->s.vlans);
}

static bool in_table(const uint8_t *table, unsigned bytes, const uint8_t *mac)
{
    for (unsigned i = 0; i + 6 <= bytes; i += 6) {
        if (!memcmp(table + i, mac, 6)) {
            return true;
        }
    }
    return false;
}

static bool is_own_mac(VirtioNet *n, const uint8_t *mac)
{
    uint8_t wide[8];

    stle64(wide, __atomic_load_n(&n->filter_mac, __ATOMIC_RELAXED));
    return !memcmp(mac, wide, 6);
}

bool virtio_net_filter(VirtioNet *n, const uint8_t *frame, size_t len)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const VirtioNetState *s = &n->s;

    if (s->promisc) {
        return true;
    }
    if (len < ETH_TYPE_OFFSET + 2) {
        return false;
    }
    if (len >= ETH_TYPE_OFFSET + 4 && ldbe16(frame + ETH_TYPE_OFFSET) == ETH_P_VLAN) {
        unsigned vid = ldbe16(frame + ETH_TYPE_OFFSET + 2) & 0xfff;

        if (!(s->vlans[vid / 8] & BIT(vid % 8))) {
            return false;
        }
    }
    if (frame[0] & 1) {
        if (!memcmp(frame, broadcast, 6)) {
            return !s->nobcast;
        }
        return !s->nomulti &&
               (s->allmulti || s->multi_overflow || in_table(s->multi, s->multi_bytes, frame));
    }
    return !s->nouni && (s->alluni || s->uni_overflow || is_own_mac(n, frame) ||
                         in_table(s->uni, s->uni_bytes, frame));
}

/* Commands. 'offset': where the command's data begins in the element's out-part. */

static bool read_u8(VirtqueueElement *e, size_t offset, uint8_t *v)
{
    return iov_to_buf(e->out, e->out_num, offset, v, 1) == 1;
}

static bool read_u16(VirtqueueElement *e, size_t offset, uint16_t *v)
{
    uint8_t raw[2];

    if (iov_to_buf(e->out, e->out_num, offset, raw, 2) != 2) {
        return false;
    }
    *v = ldle16(raw);
    return true;
}

static bool ctrl_rx(VirtioNet *n, uint8_t cmd, VirtqueueElement *e, size_t offset)
{
    uint8_t on;

    if (!read_u8(e, offset, &on)) {
        return false;
    }
    switch (cmd) {
    case VIRTIO_NET_CTRL_RX_PROMISC:
        n->s.promisc = on;
        return true;
    case VIRTIO_NET_CTRL_RX_ALLMULTI:
        n->s.allmulti = on;
        return true;
    case VIRTIO_NET_CTRL_RX_ALLUNI:
        n->s.alluni = on;
        return true;
    case VIRTIO_NET_CTRL_RX_NOMULTI:
        n->s.nomulti = on;
        return true;
    case VIRTIO_NET_CTRL_RX_NOUNI:
        n->s.nouni = on;
        return true;
    case VIRTIO_NET_CTRL_RX_NOBCAST:
        n->s.nobcast = on;
        return true;
    default:
        return false;
    }
}

/* Reads one list of addresses. False: the list is longer than the element. */
static bool read_macs(VirtqueueElement *e, size_t *offset, uint8_t *table, uint32_t *bytes,
                      bool *overflow)
{
    uint8_t raw[4];
    uint64_t len;

    if (iov_to_buf(e->out, e->out_num, *offset, raw, 4) != 4) {
        return false;
    }
    *offset += 4;
    len = (uint64_t)ldle32(raw) * 6;
    if (len > e->out_len - *offset) {
        return false;
    }
    *overflow = len > VIRTIO_NET_MAC_TABLE * 6;
    *bytes = *overflow ? 0 : len;
    iov_to_buf(e->out, e->out_num, *offset, table, *bytes);
    *offset += len;
    return true;
}

static bool ctrl_mac(VirtioNet *n, uint8_t cmd, VirtqueueElement *e, size_t offset)
{
    uint8_t mac[6], uni[VIRTIO_NET_MAC_TABLE * 6], multi[VIRTIO_NET_MAC_TABLE * 6];
    uint32_t uni_bytes, multi_bytes;
    bool uni_overflow, multi_overflow;

    switch (cmd) {
    case VIRTIO_NET_CTRL_MAC_ADDR_SET:
        if (iov_to_buf(e->out, e->out_num, offset, mac, 6) != 6) {
            return false;
        }
        virtio_net_set_mac(n, mac);
        return true;
    case VIRTIO_NET_CTRL_MAC_TABLE_SET:
        if (!read_macs(e, &offset, uni, &uni_bytes, &uni_overflow) ||
            !read_macs(e, &offset, multi, &multi_bytes, &multi_overflow)) {
            return false;
        }
        memcpy(n->s.uni, uni, uni_bytes);
        memcpy(n->s.multi, multi, multi_bytes);
        n->s.uni_bytes = uni_bytes;
        n->s.multi_bytes = multi_bytes;
        n->s.uni_overflow = uni_overflow;
        n->s.multi_overflow = multi_overflow;
        return true;
    default:
        return false;
    }
}

static bool ctrl_vlan(VirtioNet *n, uint8_t cmd, VirtqueueElement *e, size_t offset)
{
    uint16_t vid;

    if (!read_u16(e, offset, &vid) || vid >= VIRTIO_NET_VLANS) {
        return false;
    }
    switch (cmd) {
    case VIRTIO_NET_CTRL_VLAN_ADD:
        n->s.vlans[vid / 8] |= BIT(vid % 8);
        return true;
    case VIRTIO_NET_CTRL_VLAN_DEL:
        n->s.vlans[vid / 8] &= ~BIT(vid % 8);
        return true;
    default:
        return false;
    }
}

static bool ctrl_announce(VirtioNet *n, uint8_t cmd)
{
    if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !(n->s.status & VIRTIO_NET_S_ANNOUNCE)) {
        return false;
    }
    __atomic_store_n(&n->s.status, n->s.status & ~VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
    return true;
}

static bool ctrl_mq(VirtioNet *n, uint8_t cmd, VirtqueueElement *e, size_t offset)
{
    uint16_t pairs;

    if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !read_u16(e, offset, &pairs) || !pairs ||
        pairs > n->max_pairs || !virtio_has_feature(&n->vdev, VIRTIO_NET_F_MQ)) {
        return false;
    }
    n->s.pairs = pairs;
    for (unsigned i = 0; i < n->max_pairs; i++) {
        if (i >= pairs) {
            n->queues[i].nic.receive_enabled = false;
            virtio_net_drop_pending(&n->queues[i], true);
        }
    }
    virtio_net_apply(n);
    for (unsigned i = 0; i < pairs; i++) {
        virtqueue_kick(n->queues[i].rx);
        virtqueue_kick(n->queues[i].tx);
    }
    return true;
}

static bool ctrl_offloads(VirtioNet *n, uint8_t cmd, VirtqueueElement *e, size_t offset)
{
    uint8_t raw[8];
    uint64_t wanted;

    if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
        !virtio_has_feature(&n->vdev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
        iov_to_buf(e->out, e->out_num, offset, raw, 8) != 8) {
        return false;
    }
    wanted = ldle64(raw);
    if (wanted & ~virtio_net_possible_offloads(n)) {
        return false;
    }
    n->s.guest_offloads = wanted;
    virtio_net_apply(n);
    return true;
}

static bool ctrl_filter(VirtioNet *n, const struct virtio_net_ctrl_hdr *header, VirtqueueElement *e)
{
    bool ok = header->class == VIRTIO_NET_CTRL_RX    ? ctrl_rx(n, header->cmd, e, sizeof *header)
              : header->class == VIRTIO_NET_CTRL_MAC ? ctrl_mac(n, header->cmd, e, sizeof *header)
                                                     : ctrl_vlan(n, header->cmd, e, sizeof *header);

    if (ok) {
        virtio_net_filter_changed(n);
    }
    return ok;
}

static bool virtio_net_ctrl_carry_out(VirtioNet *n, VirtqueueElement *e)
{
    struct virtio_net_ctrl_hdr header;

    if (iov_to_buf(e->out, e->out_num, 0, &header, sizeof header) != sizeof header) {
        return false;
    }
    switch (header.class) {
    case VIRTIO_NET_CTRL_RX:
    case VIRTIO_NET_CTRL_MAC:
    case VIRTIO_NET_CTRL_VLAN:
        return ctrl_filter(n, &header, e);
    case VIRTIO_NET_CTRL_ANNOUNCE:
        return ctrl_announce(n, header.cmd);
    case VIRTIO_NET_CTRL_MQ:
        return ctrl_mq(n, header.cmd, e, sizeof header);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
        return ctrl_offloads(n, header.cmd, e, sizeof header);
    default:
        return false;
    }
}

/*
 * Commands change what configuration space shows, so they run with the device's lock. A queue's
 * handler must not take that lock, so this is a bottom half.
 */
void virtio_net_ctrl_run(Device *dev)
{
    VirtioNet *n = container_of(dev, VirtioNet, vdev.dev);
    Virtqueue *vq = n->ctrl_vq_used;
    unsigned budget = virtqueue_size(vq);
    VirtqueueElement *elem;

    while (budget-- && (elem = virtqueue_pop(vq, sizeof *elem))) {
        uint8_t ack;

        if (!elem->in_len || elem->out_len < sizeof(struct virtio_net_ctrl_hdr)) {
            virtqueue_error(vq, "a control command without header or room for the answer");
            virtqueue_drop(vq, elem);
            return;
        }
        ack = virtio_net_ctrl_carry_out(n, elem) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
        iov_from_buf(elem->in, elem->in_num, 0, &ack, 1);
        virtqueue_push(vq, elem, 1);
    }
    virtqueue_end_turn(vq);
}
