/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xHCI: reading rings of TRBs, event rings and interrupters (4.9, 4.17). */
#include "xhci.h"

enum {
    LINKS_MAX = 32,     /* links in a row */
    EVENTS_AT_ONCE = 3, /* stop endpoint: of a TRB that has ended or is stopped, and its own */
    ERST_MAX = 1,       /* segments of an event ring: HCSPARAMS2 says 2^0 */
    SEGMENT_MAX = 4096, /* 6.5 */
    SEGMENT_MIN = 16,

    /* 5.5.2 */
    REG_IMAN = 0x00,
    REG_IMOD = 0x04,
    REG_ERSTSZ = 0x08,
    REG_ERSTBA = 0x10,
    REG_ERDP = 0x18,
};

/* Rings that a driver fills (4.9.2). */

static bool xhci_read_trb(Xhci *x, uint64_t addr, XhciTrb *trb)
{
    uint8_t raw[16];

    if (!dma_read(xhci_vm(x), addr, raw, sizeof raw)) {
        return false;
    }
    *trb = (XhciTrb){addr, ldle64(raw), ldle32(raw + 8), ldle32(raw + 12)};
    return true;
}

XhciRingResult xhci_ring_next(Xhci *x, uint64_t *dequeue, bool *cycle, XhciTrb *trb, int *budget)
{
    for (unsigned links = 0; links < LINKS_MAX; links++) {
        --*budget;
        if (!xhci_read_trb(x, *dequeue, trb)) {
            xhci_host_error(x);
            return RING_EMPTY;
        }
        if ((trb->control & TRB_CYCLE) != *cycle) {
            return RING_EMPTY;
        }
        if (trb_type(trb) != TRB_LINK) {
            return RING_TRB;
        }
        *dequeue = trb->parameter & ~0xfull;
        *cycle ^= (trb->control & TRB_TOGGLE) != 0;
    }
    return RING_BAD;
}

/* The event ring (4.9.4). */

typedef struct {
    uint64_t base;
    uint32_t size; /* TRBs */
} XhciSegment;

/* The one segment of the ring. False: it has none, and its events go nowhere. */
static bool xhci_segment(Xhci *x, unsigned n, XhciSegment *seg)
{
    const XhciInterrupterState *r = &x->s.intr[n];
    uint8_t raw[16];

    if (!r->erstsz) {
        return false;
    }
    if (!dma_read(xhci_vm(x), r->erstba, raw, sizeof raw)) {
        xhci_host_error(x);
        return false;
    }
    *seg = (XhciSegment){ldle64(raw) & ~0x3full, ldle32(raw + 8) & 0xffff};
    return seg->size >= SEGMENT_MIN && seg->size <= SEGMENT_MAX;
}

static uint64_t xhci_event_addr(const XhciInterrupterState *r, const XhciSegment *seg,
                                unsigned ahead)
{
    return seg->base + (r->index + ahead) % seg->size * 16;
}

static uint64_t xhci_erdp(const XhciInterrupterState *r)
{
    return r->erdp & ~0xfull;
}

static void xhci_put(Xhci *x, unsigned n, const XhciSegment *seg, uint64_t parameter,
                     uint32_t status, uint32_t control)
{
    XhciInterrupterState *r = &x->s.intr[n];
    uint64_t addr;
    uint8_t raw[16];

    r->index %= seg->size;
    addr = xhci_event_addr(r, seg, 0);
    stle64(raw, parameter);
    stle32(raw + 8, status);
    stle32(raw + 12, control | (r->cycle ? TRB_CYCLE : 0));
    /* The word with the cycle bit last: another vCPU may be looking. */
    if (!dma_write(xhci_vm(x), addr, raw, 12)) {
        xhci_host_error(x);
        return;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    dma_write(xhci_vm(x), addr + 12, raw + 12, 4);
    if (++r->index == seg->size) {
        r->index = 0;
        r->cycle = !r->cycle;
    }
}

/* Events that can be put, counted up to 'most'. */
static unsigned xhci_room(const XhciInterrupterState *r, const XhciSegment *seg, unsigned most)
{
    unsigned room = 0;

    while (room < most && xhci_event_addr(r, seg, room + 1) != xhci_erdp(r)) {
        room++;
    }
    return room;
}

/*
 * Whether there is room for what one TRB or command puts. The last free place is for the event that
 * says that the ring is full (4.9.4).
 */
bool xhci_event_room(Xhci *x, unsigned n)
{
    XhciInterrupterState *r = &x->s.intr[n];
    XhciSegment seg;
    unsigned room;

    if (!xhci_segment(x, n, &seg)) {
        return true;
    }
    room = xhci_room(r, &seg, EVENTS_AT_ONCE + 1);
    if (!r->full && room > EVENTS_AT_ONCE) {
        return true;
    }
    if (!r->full && room) {
        xhci_put(x, n, &seg, 0, (uint32_t)CC_EVENT_RING_FULL << 24,
                 EVENT_CONTROLLER << TRB_TYPE_SHIFT);
        r->enabled = true;
    }
    r->full = true;
    return false;
}

/* The caller has made sure of room. */
void xhci_event(Xhci *x, unsigned n, uint64_t parameter, uint32_t status, uint32_t control,
                bool interrupts)
{
    XhciSegment seg;

    if (xhci_segment(x, n, &seg)) {
        xhci_put(x, n, &seg, parameter, status, control);
        x->s.intr[n].enabled |= interrupts;
    }
}

/*
 * Interrupters (4.17). IMOD holds what was written, and moderates nothing: a distance between
 * interrupts saves some at the cost of time, and mass storage, which has one transfer in flight and
 * waits for three in each command, would pay that and save none. The events of one turn of work
 * share an interrupt, and EHB holds back those that come while the driver takes events.
 */

static bool xhci_ring_empty(Xhci *x, unsigned n)
{
    XhciSegment seg;

    return !xhci_segment(x, n, &seg) ||
           xhci_event_addr(&x->s.intr[n], &seg, 0) == xhci_erdp(&x->s.intr[n]);
}

/* False: it interrupts by INTx. A message clears IP (4.17.5). */
static bool xhci_message(Xhci *x, unsigned n)
{
    if (pci_msix_enabled(&x->pci)) {
        pci_msix_notify(&x->pci, n);
    } else if (pci_msi_enabled(&x->pci)) {
        pci_msi_notify(&x->pci, n);
    } else {
        return false;
    }
    x->s.intr[n].iman &= ~IMAN_IP;
    return true;
}

void xhci_interrupt_update(Xhci *x)
{
    bool level = false;

    for (unsigned n = 0; n < x->intrs; n++) {
        XhciInterrupterState *r = &x->s.intr[n];

        if (r->enabled && !(r->erdp & ERDP_EHB)) {
            r->enabled = false;
            if (!xhci_ring_empty(x, n)) {
                r->iman |= IMAN_IP;
                r->erdp |= ERDP_EHB;
                x->s.status |= STS_EINT;
            }
        }
        if ((r->iman & IMAN_IP) && (r->iman & IMAN_IE) && (x->s.cmd & CMD_INTE) &&
            !xhci_message(x, n)) {
            level = true;
        }
    }
    pci_set_irq(&x->pci, level);
}

void xhci_interrupter_reset(Xhci *x, unsigned n)
{
    x->s.intr[n] = (XhciInterrupterState){.imod = 4000, .cycle = true};
}

uint64_t xhci_interrupter_read(Xhci *x, unsigned n, unsigned offset)
{
    const XhciInterrupterState *r = &x->s.intr[n];

    switch (offset) {
    case REG_IMAN:
        return r->iman;
    case REG_IMOD:
        return r->imod;
    case REG_ERSTSZ:
        return r->erstsz;
    case REG_ERSTBA:
        return (uint32_t)r->erstba;
    case REG_ERSTBA + 4:
        return r->erstba >> 32;
    case REG_ERDP:
        return (uint32_t)r->erdp;
    case REG_ERDP + 4:
        return r->erdp >> 32;
    default:
        return 0;
    }
}

/* A ring begins anew where its table is set (5.5.2.3.2). */
static void xhci_set_erst(XhciInterrupterState *r, uint64_t erstba)
{
    r->erstba = erstba;
    r->index = 0;
    r->cycle = true;
    r->full = false;
}

/*
 * What has waited for room goes on when half of the ring is free: a driver that takes events one by
 * one would otherwise be told of a full ring again and again.
 */
static void xhci_set_erdp(Xhci *x, unsigned n, uint64_t erdp)
{
    XhciInterrupterState *r = &x->s.intr[n];
    XhciSegment seg;

    r->erdp = erdp;
    if (r->full &&
        (!xhci_segment(x, n, &seg) || xhci_room(r, &seg, seg.size / 2) == seg.size / 2)) {
        r->full = false;
        xhci_kick_all(x);
    }
}

void xhci_interrupter_write(Xhci *x, unsigned n, unsigned offset, uint32_t value)
{
    XhciInterrupterState *r = &x->s.intr[n];

    switch (offset) {
    case REG_IMAN:
        r->iman = (r->iman & ~value & IMAN_IP) | (value & IMAN_IE);
        break;
    case REG_IMOD:
        r->imod = value;
        break;
    case REG_ERSTSZ:
        r->erstsz = MIN(value & 0xffff, ERST_MAX);
        break;
    case REG_ERSTBA:
        xhci_set_erst(r, (r->erstba >> 32 << 32) | (value & ~0x3fu));
        break;
    case REG_ERSTBA + 4:
        xhci_set_erst(r, (uint32_t)r->erstba | (uint64_t)value << 32);
        break;
    case REG_ERDP:
        xhci_set_erdp(x, n,
                      (r->erdp >> 32 << 32) | (value & ~(uint32_t)ERDP_EHB) |
                          (r->erdp & ~value & ERDP_EHB));
        break;
    case REG_ERDP + 4:
        xhci_set_erdp(x, n, (uint32_t)r->erdp | (uint64_t)value << 32);
        break;
    }
    xhci_interrupt_update(x);
}
