/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all network cards have in common. */
#include "nic.h"

#include <string.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "vm/memory.h"

enum { NIC_PIECES = 5 };

/* Life. */

bool nic_check_mac(uint8_t mac[6], GError **err)
{
    static const uint8_t none[6];

    if (!memcmp(mac, none, 6)) {
        net_default_mac(mac);
    } else if (mac[0] & 1) {
        return error_set(err, "mac: an address of one device has the lowest bit of its first byte "
                              "clear");
    }
    return true;
}

bool nic_open(Nic *nic, NicConf *conf, Device *dev, const NetPeerOps *ops, GError **err)
{
    const unsigned offloads =
        NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
    NetPeer *peer;

    if (!nic_check_mac(conf->mac, err)) {
        return false;
    }
    net_nic_init(&nic->peer, ops, dev->class->name, dev->id, dev->loop);
    memcpy(nic->peer.mac, conf->mac, 6);
    if (conf->netdev && !net_nic_connect(&nic->peer, conf->netdev, 0, err)) {
        net_nic_disconnect(&nic->peer);
        return false;
    }
    peer = nic->peer.peer;
    if (peer && peer->ops->has_vnet_hdr && peer->ops->has_vnet_hdr(peer) &&
        peer->ops->set_vnet_hdr_len &&
        peer->ops->set_vnet_hdr_len(peer, sizeof(struct virtio_net_hdr)) &&
        peer->ops->set_offload) {
        peer->ops->set_offload(peer, offloads);
    }
    nic->segments = 0;
    nic->segment = g_malloc(NET_PACKET_MAX);
    return true;
}

void nic_close(Nic *nic)
{
    net_nic_disconnect(&nic->peer);
    g_clear_pointer(&nic->segment, g_free);
    g_clear_pointer(&nic->gather, g_free);
}

bool nic_link_is_up(const NetPeer *peer)
{
    return !peer->link_down && !(peer->peer && peer->peer->link_down);
}

/* Receive. */

void nic_forget(Nic *nic)
{
    nic->segments = 0;
}

static NicResult nic_split(Nic *nic, const struct virtio_net_hdr *header, const uint8_t *frame,
                           size_t len)
{
    NicResult result = NIC_TAKEN;
    FrameParts parts;
    FrameSplit s;

    frame_parse(frame, len, &parts);
    if (!frame_split_tcp(frame, len, &parts, header->gso_size, &s)) {
        return NIC_DROPPED;
    }
    for (; nic->segments < frame_split_count(&s, len); nic->segments++) {
        size_t size = frame_split(&s, frame, len, nic->segments, nic->segment);

        result = nic->frame(nic, nic->segment, size, true);
        if (result == NIC_WAITS) {
            return result;
        }
    }
    return result;
}

/* The sender has left the checksum to the receiver. NULL: at no place of the frame. */
static const uint8_t *nic_finish_sum(Nic *nic, const struct virtio_net_hdr *header,
                                     const uint8_t *frame, size_t len)
{
    size_t start = header->csum_start, at = start + header->csum_offset;
    uint16_t sum;

    if (at + 2 > len) {
        return NULL;
    }
    memcpy(nic->segment, frame, len);
    sum = ~frame_sum(0, frame + start, len - start);
    stbe16(nic->segment + at, sum ? sum : 0xffff);
    return nic->segment;
}

static NicResult nic_packet(Nic *nic, const uint8_t *packet, size_t len)
{
    struct virtio_net_hdr header;
    NicResult result;
    bool good;

    if (!nic->peer.vnet_hdr_len) {
        return nic->frame(nic, packet, len, false);
    }
    if (len <= sizeof header) {
        return NIC_DROPPED;
    }
    memcpy(&header, packet, sizeof header);
    packet += sizeof header;
    len -= sizeof header;
    if ((header.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) != VIRTIO_NET_HDR_GSO_NONE) {
        result = nic_split(nic, &header, packet, len);
        nic->segments = result == NIC_WAITS ? nic->segments : 0;
        return result;
    }
    good = header.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
    if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        packet = nic_finish_sum(nic, &header, packet, len);
    }
    return packet ? nic->frame(nic, packet, len, good) : NIC_DROPPED;
}

NicResult nic_receive(Nic *nic, const struct iovec *iov, unsigned n)
{
    size_t len = iov_size(iov, n);

    if (len > NET_PACKET_MAX) {
        return NIC_DROPPED;
    }
    if (n == 1) {
        return nic_packet(nic, iov[0].iov_base, len);
    }
    if (!nic->gather) {
        nic->gather = g_malloc(NET_PACKET_MAX);
    }
    iov_to_buf(iov, n, 0, nic->gather, len);
    return nic_packet(nic, nic->gather, len);
}

void nic_rx_data(NicRxData *d, const uint8_t *frame, size_t len, size_t padded, bool cut_tag)
{
    static const uint8_t zeroes[FRAME_MIN];
    unsigned behind = FRAME_TYPE_AT + FRAME_TAG;

    *d = (NicRxData){.iov = {{(void *)frame, len}}, .len = padded};
    d->iov[2] = (struct iovec){(void *)zeroes, padded - len};
    if (cut_tag) {
        d->iov[0].iov_len = FRAME_TYPE_AT;
        d->iov[1] = (struct iovec){(void *)(frame + behind), len - behind};
        d->len -= FRAME_TAG;
    }
}

void nic_rx_write(Vm *vm, uint64_t addr, const NicRxData *d, size_t at, size_t len)
{
    struct iovec part[ARRAY_SIZE(d->iov)];
    unsigned n = iov_slice(part, ARRAY_SIZE(part), d->iov, ARRAY_SIZE(d->iov), at, len);

    for (unsigned i = 0; i < n; i++) {
        dma_write(vm, addr, part[i].iov_base, part[i].iov_len);
        addr += part[i].iov_len;
    }
}

/* Transmit. */

bool nic_send(Nic *nic, const NicTx *tx, const uint8_t *frame, size_t len)
{
    static const uint8_t zeroes[FRAME_MIN];
    struct virtio_net_hdr header = tx->header;
    bool tagged = tx->tagged;
    uint8_t tag[FRAME_TAG];
    struct iovec iov[NIC_PIECES];
    unsigned n = 0;
    size_t size = len + (tagged ? FRAME_TAG : 0);

    if (len < FRAME_HEADER) {
        return true; /* no frame: dropped */
    }
    if (nic->peer.vnet_hdr_len) {
        header.hdr_len += tagged && header.hdr_len ? FRAME_TAG : 0;
        header.csum_start += tagged && header.flags ? FRAME_TAG : 0;
        iov[n++] = (struct iovec){&header, sizeof header};
    }
    if (tagged) {
        stbe16(tag, tx->tag_type);
        stbe16(tag + 2, tx->tci);
        iov[n++] = (struct iovec){(void *)frame, FRAME_TYPE_AT};
        iov[n++] = (struct iovec){tag, FRAME_TAG};
        frame += FRAME_TYPE_AT;
        len -= FRAME_TYPE_AT;
    }
    iov[n++] = (struct iovec){(void *)frame, len};
    if (tx->padded && size < FRAME_MIN) {
        iov[n++] = (struct iovec){(void *)zeroes, FRAME_MIN - size};
    }
    return net_send(&nic->peer, iov, n) != 0;
}

bool nic_leave_checksum(const Nic *nic, NicTx *tx, size_t start, size_t at, size_t len)
{
    if (!nic->peer.vnet_hdr_len || at < start || at + 2 > len) {
        return false;
    }
    tx->header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    tx->header.csum_start = start;
    tx->header.csum_offset = at - start;
    return true;
}

bool nic_takes_whole(const Nic *nic, const FrameSplit *s, size_t len)
{
    return nic->peer.vnet_hdr_len && s->tcp && s->l4_checksum_at == s->l4 + FRAME_TCP_CHECKSUM &&
           len <= 0xffff + FRAME_HEADER &&
           (s->v6 || s->ip_checksum_at == s->ip + FRAME_IP_CHECKSUM);
}

void nic_make_whole(NicTx *tx, const FrameSplit *s, uint8_t *frame, size_t len)
{
    frame_set_ip_length(s, frame, len);
    stbe16(frame + s->l4_checksum_at, frame_add(s->pseudo, len - s->l4));
    tx->header = (struct virtio_net_hdr){
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = s->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
        .hdr_len = s->header_len,
        .gso_size = s->mss,
        .csum_start = s->l4,
        .csum_offset = s->l4_checksum_at - s->l4,
    };
}
