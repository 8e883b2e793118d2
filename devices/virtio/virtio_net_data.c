/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net: packets in and out (5.1.6). */
#include "virtio_net.h"

#include "base/iov.h"

#define TX_BURST       256 /* packets of one turn */
#define TX_TURNS_MAX   16  /* turns without an interrupt to the driver */
#define ETH_HEADER_LEN 14

static VirtioNetQueue *virtio_net_data_queue_of(NetPeer *nic)
{
    return container_of(nic, VirtioNetQueue, nic);
}

/* Receive. */

static size_t copy_to_elem(VirtqueueElement *elem, size_t at, const struct iovec *iov, unsigned n,
                           size_t offset)
{
    size_t done = 0;

    for (unsigned i = 0; i < n; i++) {
        size_t len = iov[i].iov_len, put;

        if (offset >= len) {
            offset -= len;
            continue;
        }
        len -= offset;
        put = iov_from_buf(elem->in, elem->in_num, at + done, (uint8_t *)iov[i].iov_base + offset,
                           len);
        done += put;
        if (put < len) {
            break;
        }
        offset = 0;
    }
    return done;
}

/* Writes the driver's header: the backend's one, or zeroes where the backend has none. */
static bool put_header(VirtioNetQueue *q, VirtqueueElement *elem, const struct iovec *iov,
                       unsigned n)
{
    struct virtio_net_hdr_mrg_rxbuf header = {0};
    unsigned len = q->n->header_len;

    if (elem->in_len < len) {
        virtqueue_error(q->rx, "a receive buffer of %u bytes has no room for the header",
                        (unsigned)elem->in_len);
        return false;
    }
    iov_to_buf(iov, n, 0, &header, MIN(q->nic.vnet_hdr_len, sizeof header));
    header.num_buffers = htole16(1);
    iov_from_buf(elem->in, elem->in_num, 0, &header, len);
    return true;
}

/*
 * Spreads a packet over buffers. The first buffer is filled last, because it holds num_buffers. The
 * driver sees all of them at once. Returns -1 where the packet was dropped.
 */
static ssize_t fill_buffers(VirtioNetQueue *q, const struct iovec *iov, unsigned n, size_t len)
{
    VirtioNet *net = q->n;
    size_t offset = q->nic.vnet_hdr_len;
    VirtqueueElement *first = NULL;
    uint32_t first_len = 0;
    unsigned count = 0;

    do {
        VirtqueueElement *elem = virtqueue_pop(q->rx, sizeof *elem);
        size_t at = 0, put;

        if (!elem || (!first && !put_header(q, elem, iov, n))) {
            /* virtqueue_await() found room: the driver has changed the chains since. */
            virtqueue_error(q->rx, "receive buffers went away");
            if (elem) {
                virtqueue_drop(q->rx, elem);
            }
            break;
        }
        at = first ? 0 : net->header_len;
        put = copy_to_elem(elem, at, iov, n, offset);
        offset += put;
        if (!first) {
            first = elem;
            first_len = at + put;
        } else {
            virtqueue_fill(q->rx, elem, put, count);
        }
        count++;
        if (!net->mergeable && offset < len) {
            virtqueue_unpop(q->rx, elem); /* the packet is too large for the driver's buffers */
            return -1;
        }
    } while (offset < len);
    if (!first || offset < len) {
        if (first) {
            virtqueue_drop(q->rx, first);
        }
        return -1;
    }
    if (count > 1) {
        uint16_t num = htole16(count);

        iov_from_buf(first->in, first->in_num,
                     offsetof(struct virtio_net_hdr_mrg_rxbuf, num_buffers), &num, sizeof num);
    }
    virtqueue_fill(q->rx, first, first_len, 0);
    virtqueue_flush(q->rx, count);
    virtqueue_notify_later(q->rx); /* one interrupt for all packets of a turn */
    return len;
}

static ssize_t virtio_net_data_receive(NetPeer *nic, const struct iovec *iov, unsigned n)
{
    VirtioNetQueue *q = virtio_net_data_queue_of(nic);
    size_t len = iov_size(iov, n), host_header = nic->vnet_hdr_len;
    uint8_t frame[ETH_HEADER_LEN + 4] = {0};
    size_t head;

    if (!virtqueue_running(q->rx) || q->index >= q->n->s.pairs) {
        return 0;
    }
    if (len <= host_header) {
        return -1;
    }
    head = iov_to_buf(iov, n, host_header, frame, sizeof frame);
    if (!virtio_net_filter(q->n, frame, head)) {
        return len; /* filtered out: for the sender, the packet was received */
    }
    /* Without MRG_RXBUF any one buffer will do: a packet that does not fit is dropped. */
    if (!virtqueue_await(q->rx, q->n->mergeable ? len - host_header + q->n->header_len : 0, 0)) {
        nic->receive_enabled = false; /* until the driver kicks */
        return 0;
    }
    return fill_buffers(q, iov, n, len);
}

void virtio_net_rx_kicked(VirtioNetQueue *q)
{
    /* Kicks are not needed until virtio_net_data_receive() finds no room. */
    virtqueue_set_notification(q->rx, false);
    q->nic.receive_enabled = true;
    net_peer_ready(&q->nic);
}

/* Transmit. */

/* The packet with the driver's header if the backend takes one, else without. */
static const struct iovec *packet_of(VirtioNetQueue *q, VirtqueueElement *elem, unsigned *num)
{
    unsigned header = q->n->header_len;

    *num = elem->out_num;
    if (q->nic.vnet_hdr_len) {
        return elem->out;
    }
    if (elem->out[0].iov_len == header) {
        (*num)--;
        return elem->out + 1;
    }
    if (!q->pieces) {
        q->pieces = g_new(struct iovec, VIRTQUEUE_IOV_MAX);
    }
    *num = iov_slice(q->pieces, VIRTQUEUE_IOV_MAX, elem->out, elem->out_num, header,
                     elem->out_len - header);
    return q->pieces;
}

/* False: the backend says 'not now'. The element waits for send_ready(). */
static bool virtio_net_data_transmit(VirtioNetQueue *q, VirtqueueElement *elem)
{
    const struct iovec *iov;
    unsigned num;

    if (elem->out_len <= q->n->header_len || elem->out_len > NET_PACKET_MAX + q->n->header_len) {
        return true; /* dropped: empty, or larger than any packet */
    }
    iov = packet_of(q, elem, &num);
    return net_send(&q->nic, iov, num) != 0;
}

/* Interrupts the driver for all packets that were given back since it was last interrupted. */
static void tx_notify(VirtioNetQueue *q)
{
    if (q->tx_turns) {
        q->tx_turns = 0;
        virtqueue_notify(q->tx);
    }
}

/* Sends as many packets as one turn may. Whether it has sent any. */
static bool tx_turn(VirtioNetQueue *q)
{
    unsigned budget = TX_BURST;
    VirtqueueElement *elem;

    while (budget && (elem = virtqueue_pop(q->tx, sizeof *elem))) {
        if (elem->out_len < q->n->header_len) {
            virtqueue_error(q->tx, "a packet of %u bytes has no header", (unsigned)elem->out_len);
            virtqueue_drop(q->tx, elem);
            break;
        }
        if (!virtio_net_data_transmit(q, elem)) {
            q->tx_pending = elem; /* kicks stay off until the backend is ready */
            break;
        }
        virtqueue_push(q->tx, elem, 0);
        budget--;
    }
    return budget < TX_BURST;
}

/*
 * A driver that sends much adds packets while others are being sent. So the ring is looked at in
 * turns until one has found nothing, without kicks, and the driver is interrupted only then.
 */
static void run_tx(VirtioNetQueue *q)
{
    bool any;

    if (q->tx_pending) {
        return;
    }
    virtqueue_set_notification(q->tx, false);
    any = tx_turn(q);
    q->tx_turns += any;
    if (!any || q->tx_pending || q->tx_turns == TX_TURNS_MAX) {
        tx_notify(q);
    }
    if (virtio_broken(&q->n->vdev) || q->tx_pending) {
        return;
    }
    if (any || virtqueue_set_notification(q->tx, true)) {
        virtqueue_kick(q->tx); /* in a later turn, after the loop's other work */
    }
}

void virtio_net_tx_kicked(VirtioNetQueue *q)
{
    run_tx(q);
}

static void send_ready(NetPeer *nic)
{
    VirtioNetQueue *q = virtio_net_data_queue_of(nic);
    VirtqueueElement *elem = q->tx_pending;

    if (!elem || !virtqueue_running(q->tx)) {
        return;
    }
    if (!virtio_net_data_transmit(q, elem)) {
        return;
    }
    q->tx_pending = NULL;
    virtqueue_push(q->tx, elem, 0);
    virtqueue_notify(q->tx);
    virtqueue_kick(q->tx);
}

void virtio_net_drop_pending(VirtioNetQueue *q, bool keep)
{
    VirtqueueElement *elem = g_steal_pointer(&q->tx_pending);

    if (keep) {
        tx_notify(q); /* is not saved */
    }
    q->tx_turns = 0;
    if (elem && keep) {
        virtqueue_unpop(q->tx, elem);
    } else if (elem) {
        virtqueue_drop(q->tx, elem);
    }
}

static void link_changed(NetPeer *nic)
{
    VirtioNetQueue *q = virtio_net_data_queue_of(nic);

    if (q->index == 0) {
        virtio_net_link_changed(q->n);
    }
}

static void virtio_net_data_announce(NetPeer *nic)
{
    VirtioNetQueue *q = virtio_net_data_queue_of(nic);

    if (q->index == 0) {
        virtio_net_announce(q->n);
    }
}

const NetPeerOps virtio_net_peer_ops = {
    .announce = virtio_net_data_announce,
    .receive = virtio_net_data_receive,
    .link_changed = link_changed,
    .send_ready = send_ready,
};
