/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * e1000: transmit (3.3 to 3.5). It runs as a bottom half, so that neither a long ring nor a slow
 * backend holds a vCPU. A packet leaves the ring when the backend has taken it: until then TDH
 * stays, and the packet is read again. Only a packet that has more descriptors than TX_BATCH, or
 * than the ring, is collected in the state.
 */
#include "e1000.h"

enum {
    TX_BATCH = 64, /* descriptors that are looked at in one go */
    TX_TURN = 8,   /* batches of one turn of the loop */
};

typedef struct {
    uint64_t addr;
    uint32_t lower, upper;
} E1000TxDesc;

void e1000_tx_reset(E1000 *c)
{
    c->s.tx_len = c->s.tx_segments = 0;
    c->s.tx_dropping = false;
    c->tx_waits = false;
}

static bool e1000_tx_is_legacy(const E1000TxDesc *d)
{
    return !(d->lower & E1000_TXD_DEXT);
}

static bool e1000_tx_has_data(const E1000TxDesc *d)
{
    return e1000_tx_is_legacy(d) || E1000_TXD_DTYP(d->lower) == E1000_TXD_DTYP_DATA;
}

static bool e1000_tx_is_context(const E1000TxDesc *d)
{
    return !e1000_tx_is_legacy(d) && E1000_TXD_DTYP(d->lower) == 0;
}

static unsigned e1000_tx_size(const E1000 *c)
{
    return c->s.reg[E1000_TDLEN] / E1000_DESC_SIZE;
}

static uint64_t e1000_tx_desc_addr(const E1000 *c, unsigned index)
{
    return (c->s.reg[E1000_TDBAL] | (uint64_t)c->s.reg[E1000_TDBAH] << 32) +
           (uint64_t)index * E1000_DESC_SIZE;
}

/* Contexts (3.3.6). */
static void e1000_tx_context(E1000 *c, const E1000TxDesc *d)
{
    E1000Context *x = &c->s.context[!!(d->lower & E1000_TXD_TSE)];

    *x = (E1000Context){
        .ipcss = d->addr,
        .ipcso = d->addr >> 8,
        .ipcse = d->addr >> 16,
        .tucss = d->addr >> 32,
        .tucso = d->addr >> 40,
        .tucse = d->addr >> 48,
        .hdrlen = d->upper >> 8,
        .mss = d->upper >> 16,
        .tcp = d->lower & E1000_TXC_TCP,
        .ip4 = d->lower & E1000_TXC_IP,
    };
    if (d->lower & E1000_TXD_TSE) {
        e1000_count(c, E1000_STAT_TSCTC, 1);
    }
}

/* Sending. */

/* What goes out is one frame: also to oneself, where the card loops back. */
static bool e1000_tx_frame(E1000 *c, const NicTx *tx, const uint8_t *frame, size_t len)
{
    if (e1000_loops_back(c)) {
        e1000_rx_loopback(c, frame, len);
    } else if (!nic_send(&c->nic, tx, frame, len)) {
        return false;
    }
    e1000_count_frame(c, &e1000_sent, frame, MAX(len, FRAME_MIN) + FRAME_FCS);
    return true;
}

/* Checksums. */

/* Sums [start, end] (0: to the packet's end) and stores the result. */
static void e1000_tx_sum(uint8_t *data, size_t len, size_t start, size_t at, size_t end, bool udp)
{
    size_t stop = end && end + 1 < len ? end + 1 : len;
    uint16_t sum;

    if (start >= stop || at + 2 > len) {
        return;
    }
    sum = ~frame_sum(0, data + start, stop - start);
    stbe16(data + at, sum || !udp ? sum : 0xffff);
}

static void e1000_tx_checksums(E1000 *c, const E1000TxDesc *last, NicTx *tx, size_t len)
{
    const E1000Context *x = &c->s.context[0];
    uint8_t *data = c->s.tx_data;

    if (!(c->s.tx_lower & E1000_TXD_DEXT)) {
        if (last->lower & E1000_TXD_IC) {
            e1000_tx_sum(data, len, E1000_TXD_CSS(last->upper), E1000_TXD_CSO(last->lower), 0,
                         false);
        }
        return;
    }
    if (c->s.tx_upper & E1000_TXD_IXSM) {
        if (x->ipcso + 2u <= len) {
            stbe16(data + x->ipcso, 0);
        }
        e1000_tx_sum(data, len, x->ipcss, x->ipcso, x->ipcse, false);
    }
    if (!(c->s.tx_upper & E1000_TXD_TXSM)) {
        return;
    }
    if (x->tucse || e1000_loops_back(c) ||
        !nic_leave_checksum(&c->nic, tx, x->tucss, x->tucso, len)) {
        e1000_tx_sum(data, len, x->tucss, x->tucso, x->tucse, !x->tcp);
    }
}

/* Segments (3.5). */

static bool e1000_tx_segment_plan(const E1000 *c, size_t len, FrameSplit *s)
{
    const E1000Context *x = &c->s.context[1];

    *s = (FrameSplit){
        .ip = x->ipcss,
        .l4 = x->tucss,
        .ip_checksum_at = c->s.tx_upper & E1000_TXD_IXSM ? x->ipcso : 0,
        .l4_checksum_at = c->s.tx_upper & E1000_TXD_TXSM ? x->tucso : 0,
        .header_len = x->hdrlen,
        .mss = x->mss,
        .v6 = !x->ip4,
        .tcp = x->tcp,
    };
    if (!frame_split_valid(s, len)) {
        return false;
    }
    s->pseudo = s->l4_checksum_at ? ldbe16(c->s.tx_data + s->l4_checksum_at) : 0;
    return true;
}

/* The packet as a whole: counted as what becomes of it. */
static bool e1000_tx_whole(E1000 *c, NicTx *tx, const FrameSplit *s, size_t len)
{
    unsigned count = frame_split_count(s, len);
    size_t total = len + (count - 1) * (size_t)s->header_len + count * (size_t)FRAME_FCS;

    nic_make_whole(tx, s, c->s.tx_data, len);
    if (!nic_send(&c->nic, tx, c->s.tx_data, len)) {
        return false;
    }
    e1000_count_frames(c, &e1000_sent, count, total);
    return true;
}

static bool e1000_tx_segments(E1000 *c, NicTx *tx, size_t len)
{
    FrameSplit s;
    unsigned count;

    if (!e1000_tx_segment_plan(c, len, &s)) {
        return true; /* no hardware could make segments of this: dropped */
    }
    if (nic_takes_whole(&c->nic, &s, len) && !e1000_loops_back(c)) {
        return e1000_tx_whole(c, tx, &s, len);
    }
    count = frame_split_count(&s, len);
    for (; c->s.tx_segments < count; c->s.tx_segments++) {
        size_t size = frame_split(&s, c->s.tx_data, len, c->s.tx_segments, c->nic.segment);

        if (!e1000_tx_frame(c, tx, c->nic.segment, size)) {
            return false;
        }
    }
    return true;
}

/* Sends what is in tx_data. False: the backend says 'not now'. */
static bool e1000_tx_send(E1000 *c, const E1000TxDesc *last)
{
    NicTx tx = {
        .tagged = last->lower & E1000_TXD_VLE && c->s.reg[E1000_CTRL] & E1000_CTRL_VME,
        .tag_type = c->s.reg[E1000_VET],
        .tci = last->upper >> 16,
        .padded = c->s.reg[E1000_TCTL] & E1000_TCTL_PSP,
    };
    size_t len = c->s.tx_len;

    if (len < FRAME_HEADER) {
        return true;
    }
    if (c->s.tx_lower & E1000_TXD_DEXT && c->s.tx_lower & E1000_TXD_TSE) {
        return e1000_tx_segments(c, &tx, len);
    }
    e1000_tx_checksums(c, last, &tx, len);
    return e1000_tx_frame(c, &tx, c->s.tx_data, len);
}

/* The ring. */

/* Adds a descriptor's data to tx_data. A packet that is too long, or is not in RAM, is dropped. */
static void e1000_tx_add(E1000 *c, const E1000TxDesc *d)
{
    uint32_t mask = e1000_tx_is_legacy(d) ? E1000_TXD_LEGACY_LEN : E1000_TXD_LEN;
    uint32_t len = d->lower & mask;

    if (!e1000_tx_has_data(d)) {
        if (e1000_tx_is_context(d)) {
            e1000_tx_context(c, d);
        }
        return;
    }
    if (!c->s.tx_len) {
        c->s.tx_lower = d->lower;
        c->s.tx_upper = d->upper;
    }
    if (len > NET_PACKET_MAX - c->s.tx_len ||
        !dma_read(c->pci.dev.vm, d->addr, c->s.tx_data + c->s.tx_len, len)) {
        c->s.tx_dropping = true;
    }
    if (!c->s.tx_dropping) {
        c->s.tx_len += len;
    }
}

/* TXD_LOW: as few descriptors are left as TXDCTL.LWTHRESH says, in units of 8. */
static void e1000_tx_set_head(E1000 *c, unsigned head)
{
    unsigned size = e1000_tx_size(c), tail = c->s.reg[E1000_TDT];
    unsigned low = 8 * E1000_TXDCTL_LWTHRESH(c->s.reg[E1000_TXDCTL]);
    unsigned before = (tail + size - c->s.reg[E1000_TDH]) % size;

    c->s.reg[E1000_TDH] = head;
    if (low && before >= low && (tail + size - head) % size < low) {
        e1000_cause_later(c, E1000_ICR_TXD_LOW);
    }
}

/* Takes descriptors out of the ring, and reports those of which the driver wants to know. */
static void e1000_tx_done(E1000 *c, const E1000TxDesc *d, unsigned count)
{
    unsigned size = e1000_tx_size(c), head = c->s.reg[E1000_TDH];

    for (unsigned i = 0; i < count; i++) {
        if (d[i].lower & (E1000_TXD_RS | E1000_TXD_RPS)) {
            uint8_t upper[4];

            stle32(upper, d[i].upper | E1000_TXD_DD);
            dma_write(c->pci.dev.vm, e1000_tx_desc_addr(c, head) + 12, upper, sizeof upper);
            if (d[i].lower & E1000_TXD_IDE) {
                e1000_delay(c, false);
            } else {
                e1000_cause_later(c, E1000_ICR_TXDW);
            }
        }
        head = head + 1 < size ? head + 1 : 0;
    }
    e1000_tx_set_head(c, head);
}

/* The first descriptor that ends a packet, from 'at' on; 'count': there is none. */
static unsigned e1000_tx_find_end(const E1000TxDesc *d, unsigned at, unsigned count)
{
    while (at < count && !(e1000_tx_has_data(&d[at]) && d[at].lower & E1000_TXD_EOP)) {
        at++;
    }
    return at;
}

/* Descriptors [0, count) are a packet, or the rest of one. False: the backend has no room. */
static bool e1000_tx_packet(E1000 *c, const E1000TxDesc *d, unsigned count)
{
    uint32_t before = c->s.tx_len;

    for (unsigned i = 0; i < count; i++) {
        e1000_tx_add(c, &d[i]);
    }
    if (!c->s.tx_dropping && !e1000_tx_send(c, &d[count - 1])) {
        if (!before) {
            c->s.tx_len = 0;
            c->tx_waits = true;
            return false;
        }
        /* Checksums were put into what was collected before. It can't be sent a second time. */
    }
    c->s.tx_len = c->s.tx_segments = 0;
    c->s.tx_dropping = false;
    e1000_tx_done(c, d, count);
    return true;
}

static unsigned e1000_tx_fetch(E1000 *c, E1000TxDesc *d, unsigned pending)
{
    unsigned head = c->s.reg[E1000_TDH], n = MIN(pending, TX_BATCH);

    n = MIN(n, e1000_tx_size(c) - head);
    if (!dma_read(c->pci.dev.vm, e1000_tx_desc_addr(c, head), d, n * sizeof *d)) {
        return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        d[i] = (E1000TxDesc){le64toh(d[i].addr), le32toh(d[i].lower), le32toh(d[i].upper)};
    }
    return n;
}

/* One batch. False: no whole packet is there, or the backend says 'not now'. */
static bool e1000_tx_batch(E1000 *c)
{
    unsigned size = e1000_tx_size(c), head = c->s.reg[E1000_TDH], tail = c->s.reg[E1000_TDT];
    E1000TxDesc d[TX_BATCH];
    unsigned pending, count, at = 0;

    if (head >= size || tail >= size || head == tail) {
        return false;
    }
    pending = (tail + size - head) % size;
    count = e1000_tx_fetch(c, d, pending);
    while (at < count) {
        unsigned end;

        if (!c->s.tx_len && e1000_tx_is_context(&d[at])) {
            e1000_tx_context(c, &d[at]);
            e1000_tx_done(c, &d[at++], 1);
            continue;
        }
        end = e1000_tx_find_end(d, at, count);
        if (end == count) {
            break;
        }
        if (!e1000_tx_packet(c, d + at, end + 1 - at)) {
            return false;
        }
        at = end + 1;
    }
    if (at) {
        return true;
    }
    /* A packet whose end is not there yet. Where the driver can't add it, room is made. */
    if (!count || (count == pending && pending < size - 1)) {
        return false;
    }
    for (; at < count; at++) {
        e1000_tx_add(c, &d[at]);
    }
    e1000_tx_done(c, d, count);
    return true;
}

void e1000_tx_run(Device *dev)
{
    E1000 *c = e1000_of(dev);
    bool more = true;

    if (!c->running || c->tx_waits || !(c->s.reg[E1000_TCTL] & E1000_TCTL_EN) ||
        !pci_can_dma(&c->pci) || c->s.reg[E1000_TDH] == c->s.reg[E1000_TDT]) {
        return;
    }
    for (unsigned i = 0; i < TX_TURN && more; i++) {
        more = e1000_tx_batch(c);
    }
    if (more) {
        device_bh_schedule(c->tx_bh); /* after the loop's other work */
    } else if (c->s.reg[E1000_TDH] == c->s.reg[E1000_TDT]) {
        e1000_cause_later(c, E1000_ICR_TXQE);
    }
}

void e1000_tx_ready(Device *dev)
{
    e1000_of(dev)->tx_waits = false;
    e1000_tx_run(dev);
}
