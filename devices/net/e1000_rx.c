/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * e1000: receive (3.2). A packet for which the ring has no room waits at its sender; when the
 * driver adds descriptors, it comes again.
 */
#include "e1000.h"

#include "base/iov.h"

enum {
    RX_SHORT_MAX = 1522, /* with FCS and tag; what is longer takes LPE */
    RX_LONG_MAX = 16384,
};

static unsigned e1000_rx_size(const E1000 *c)
{
    return c->s.reg[E1000_RDLEN] / E1000_DESC_SIZE;
}

static unsigned e1000_rx_buffer_size(const E1000 *c)
{
    unsigned size = 2048u >> E1000_RCTL_BSIZE(c->s.reg[E1000_RCTL]);

    /* With BSEX the sizes are 16384, 8192 and 4096; 2048 is reserved. */
    return c->s.reg[E1000_RCTL] & E1000_RCTL_BSEX && size < 2048 ? size * 16 : size;
}

/* Descriptors that the driver has given. */
static unsigned e1000_rx_free(const E1000 *c)
{
    unsigned size = e1000_rx_size(c), head = c->s.reg[E1000_RDH], tail = c->s.reg[E1000_RDT];

    return head >= size || tail >= size ? 0 : (tail + size - head) % size;
}

/* Whether packets come in at all. */
static bool e1000_rx_enabled(const E1000 *c)
{
    return c->running && c->s.reg[E1000_RCTL] & E1000_RCTL_EN &&
           c->s.reg[E1000_STATUS] & E1000_STATUS_LU && pci_can_dma(&c->pci);
}

void e1000_rx_update(Device *dev)
{
    E1000 *c = e1000_of(dev);

    c->rx_waits = false;
    c->nic.peer.receive_enabled = e1000_rx_enabled(c);
    if (c->nic.peer.receive_enabled) {
        net_peer_ready(&c->nic.peer);
    }
}

/* Filters (3.2.1). */

static bool e1000_rx_vlan(const E1000 *c, const uint8_t *frame)
{
    uint32_t rctl = c->s.reg[E1000_RCTL];
    unsigned tci, vid;

    if (!(rctl & E1000_RCTL_VFE) ||
        ldbe16(frame + FRAME_TYPE_AT) != (c->s.reg[E1000_VET] & 0xffff)) {
        return true;
    }
    tci = ldbe16(frame + FRAME_TYPE_AT + 2);
    vid = tci & 0xfff;
    if (rctl & E1000_RCTL_CFIEN && !(tci & 0x1000) != !(rctl & E1000_RCTL_CFI)) {
        return false;
    }
    return c->s.vfta[vid / 32] & BIT(vid % 32);
}

static bool e1000_rx_address(const E1000 *c, const uint8_t *frame)
{
    for (unsigned i = 0; i < 32; i += 2) {
        uint8_t address[8];

        if (c->s.ra[i + 1] & E1000_RAH_AV) {
            stle32(address, c->s.ra[i]);
            stle32(address + 4, c->s.ra[i + 1]);
            if (!memcmp(frame, address, 6)) {
                return true;
            }
        }
    }
    return false;
}

static bool e1000_rx_hash(const E1000 *c, const uint8_t *frame)
{
    static const uint8_t shifts[] = {4, 3, 2, 0};
    unsigned bit = (ldle16(frame + 4) >> shifts[E1000_RCTL_MO(c->s.reg[E1000_RCTL])]) & 0xfff;

    return c->s.mta[bit / 32] & BIT(bit % 32);
}

/* *exact: the frame is for this card without doubt. */
static bool e1000_rx_wanted(const E1000 *c, const uint8_t *frame, bool *exact)
{
    uint32_t rctl = c->s.reg[E1000_RCTL];

    *exact = true;
    if (!e1000_rx_vlan(c, frame)) {
        return false;
    }
    if (e1000_rx_address(c, frame) || (rctl & E1000_RCTL_BAM && frame_is_broadcast(frame))) {
        return true;
    }
    *exact = false;
    if (!(frame[0] & 1)) {
        return rctl & E1000_RCTL_UPE;
    }
    return rctl & E1000_RCTL_MPE || e1000_rx_hash(c, frame);
}

/* Descriptors (3.2.3). */

typedef struct {
    uint16_t checksum, special;
    uint8_t status, errors;
} E1000RxInfo;

static void e1000_rx_check(const E1000 *c, const uint8_t *frame, size_t len, bool good,
                           E1000RxInfo *info)
{
    uint32_t rxcsum = c->s.reg[E1000_RXCSUM];
    unsigned pcss = E1000_RXCSUM_PCSS(rxcsum);
    FrameParts parts;

    if (pcss < len && !(rxcsum & (E1000_RXCSUM_IPOFL | E1000_RXCSUM_TUOFL))) {
        info->checksum = frame_sum(0, frame + pcss, len - pcss);
    }
    frame_parse(frame, len, &parts);
    if (rxcsum & E1000_RXCSUM_IPOFL && parts.ip && !parts.v6) {
        info->status |= E1000_RXD_IPCS;
        info->errors |= frame_ip_checksum_good(frame, &parts) ? 0 : E1000_RXD_IPE;
    }
    if (rxcsum & E1000_RXCSUM_TUOFL && parts.l4 && !parts.fragment) {
        info->status |= E1000_RXD_TCPCS;
        if (!good && !frame_l4_checksum_good(frame, &parts)) {
            info->errors |= E1000_RXD_TCPE;
        }
    }
    if (!(info->status & (E1000_RXD_IPCS | E1000_RXD_TCPCS))) {
        info->status |= E1000_RXD_IXSM;
    }
}

/*
 * Fills one descriptor's buffer from 'at' on, where it has one, and writes the descriptor back.
 * 'size' is the length that the driver is told.
 */
static void e1000_rx_put(E1000 *c, const E1000RxInfo *info, const NicRxData *d, size_t at,
                         size_t size, bool last)
{
    Vm *vm = c->pci.dev.vm;
    unsigned head = c->s.reg[E1000_RDH];
    uint64_t desc = (c->s.reg[E1000_RDBAL] | (uint64_t)c->s.reg[E1000_RDBAH] << 32) +
                    (uint64_t)head * E1000_DESC_SIZE;
    uint8_t raw[8] = {0};
    uint64_t addr;

    if (dma_read(vm, desc, raw, 8) && (addr = ldle64(raw)) && at < d->len) {
        nic_rx_write(vm, addr, d, at, MIN(size, d->len - at));
    }
    stle16(raw, size);
    stle16(raw + 2, info->checksum);
    raw[4] = info->status | E1000_RXD_DD | (last ? E1000_RXD_EOP : 0);
    raw[5] = last ? info->errors : 0;
    stle16(raw + 6, info->special);
    dma_write(vm, desc + 8, raw, 8);
    c->s.reg[E1000_RDH] = head + 1 < e1000_rx_size(c) ? head + 1 : 0;
}

static void e1000_rx_interrupt(E1000 *c, size_t len)
{
    unsigned least = e1000_rx_size(c) >> (E1000_RCTL_RDMTS(c->s.reg[E1000_RCTL]) + 1);
    uint32_t causes = 0;

    if (e1000_rx_free(c) <= least) {
        causes |= E1000_ICR_RXDMT0;
    }
    if (len <= c->s.reg[E1000_RSRPD]) {
        causes |= E1000_ICR_SRPD;
    }
    if (causes) {
        e1000_cause_later(c, causes);
    }
    e1000_delay(c, true);
}

/*
 * Stores one frame. Of the check sequence only the length is there: no backend gives one, and
 * drivers cut it off.
 */
static NicResult e1000_rx_store(E1000 *c, const uint8_t *frame, size_t len, bool exact, bool good)
{
    unsigned buffer = e1000_rx_buffer_size(c);
    E1000RxInfo info = {.status = exact ? 0 : E1000_RXD_PIF};
    size_t total, at = 0;
    NicRxData d;

    if (c->s.reg[E1000_CTRL] & E1000_CTRL_VME && len >= FRAME_HEADER + FRAME_TAG &&
        ldbe16(frame + FRAME_TYPE_AT) == (c->s.reg[E1000_VET] & 0xffff)) {
        info.status |= E1000_RXD_VP;
        info.special = ldbe16(frame + FRAME_TYPE_AT + 2);
    }
    nic_rx_data(&d, frame, len, MAX(len, FRAME_MIN), info.status & E1000_RXD_VP);
    total = d.len + (c->s.reg[E1000_RCTL] & E1000_RCTL_SECRC ? 0 : FRAME_FCS);
    if (DIV_ROUND_UP(total, buffer) >= e1000_rx_size(c) && e1000_rx_size(c)) {
        e1000_count(c, E1000_STAT_ROC, 1);
        return NIC_DROPPED; /* the ring can never have room */
    }
    if (DIV_ROUND_UP(total, buffer) > e1000_rx_free(c)) {
        return NIC_WAITS;
    }
    e1000_rx_check(c, frame, len, good, &info);
    for (; at < total; at += buffer) {
        size_t size = MIN(buffer, total - at);

        e1000_rx_put(c, &info, &d, at, size, at + size == total);
    }
    e1000_count_frame(c, &e1000_received, frame, len + FRAME_FCS);
    e1000_rx_interrupt(c, len);
    return NIC_TAKEN;
}

/* One frame, as it comes from the wire. */
NicResult e1000_rx_frame(Nic *nic, const uint8_t *frame, size_t len, bool good)
{
    E1000 *c = container_of(nic, E1000, nic);
    uint32_t rctl = c->s.reg[E1000_RCTL];
    bool exact;

    if (len < FRAME_HEADER + FRAME_TAG) {
        e1000_count(c, E1000_STAT_RUC, 1);
        return NIC_DROPPED;
    }
    if (!(rctl & E1000_RCTL_SBP) &&
        len + FRAME_FCS > (rctl & E1000_RCTL_LPE ? RX_LONG_MAX : RX_SHORT_MAX)) {
        e1000_count(c, E1000_STAT_ROC, 1);
        return NIC_DROPPED;
    }
    if (!e1000_rx_wanted(c, frame, &exact)) {
        return NIC_TAKEN; /* for the sender, it was received */
    }
    return e1000_rx_store(c, frame, len, exact, good);
}

void e1000_rx_loopback(E1000 *c, const uint8_t *frame, size_t len)
{
    if (c->s.reg[E1000_RCTL] & E1000_RCTL_EN) {
        e1000_rx_frame(&c->nic, frame, len, false);
    }
}

ssize_t e1000_receive(NetPeer *peer, const struct iovec *iov, unsigned n)
{
    E1000 *c = e1000_of_peer(peer);
    NicResult result = NIC_WAITS;

    device_lock(&c->pci.dev);
    if (e1000_rx_enabled(c) && e1000_loops_back(c)) {
        nic_forget(&c->nic);
        result = NIC_DROPPED;
    } else if (e1000_rx_enabled(c)) {
        result = nic_receive(&c->nic, iov, n);
    }
    c->rx_waits = result == NIC_WAITS;
    device_unlock(&c->pci.dev);
    return result == NIC_WAITS ? 0 : result == NIC_DROPPED ? -1 : (ssize_t)iov_size(iov, n);
}
