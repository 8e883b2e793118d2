/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EHCI: queue heads and the transfers of their qTDs. Isochronous descriptors (iTD, siTD) are passed
 * by: no device here has such an endpoint.
 *
 * A qTD is one packet to the device.
 */
#include "base/iov.h"
#include "ehci.h"

enum {
    ASYNC_VISITS = 512, /* of queue heads in a look */
    FRAME_VISITS = 256, /* of what is linked in a frame */
    QUEUE_QTDS = 16,    /* that end in one visit of a queue head */

    /* 3.1: links. */
    LINK_TERMINATE = 0x1,
    LINK_TYPE = 0x6,
    LINK_TYPE_QH = 0x2,

    /* 3.6: a queue head in words, and its overlay, which is a qTD (3.5) behind 'current'. */
    QH_CURRENT = 3,
    QH_TOKEN = 6,
    QH_WORDS = 12,
    QTD_TOKEN = 2,
    QTD_WORDS = 8,

    QH_TOGGLE_OF_QTD = 1 << 14,
    QH_PACKET_SHIFT = 16,
    QH_PACKET_MASK = 0x7ff,
    QH_S_MASK = 0xff,
    QH_RELOAD_SHIFT = 28,
    ALT_NAK_COUNT = 0x1e,

    TOKEN_XACT_ERR = 1 << 3,
    TOKEN_BABBLE = 1 << 4,
    TOKEN_BUFFER_ERR = 1 << 5,
    TOKEN_HALTED = 1 << 6,
    TOKEN_ACTIVE = 1 << 7,
    TOKEN_PID_SHIFT = 8,
    TOKEN_ERRORS_SHIFT = 10,
    TOKEN_PAGE_SHIFT = 12,
    TOKEN_IOC = 1 << 15,
    TOKEN_BYTES_SHIFT = 16,
    TOKEN_BYTES_MASK = 0x7fff,
    PAGE_SIZE_4K = 4096,
};
#define LINK_ADDRESS 0xffffffe0u
#define TOKEN_TOGGLE 0x80000000u

typedef struct {
    uint32_t link, endpoint, caps, current;
    uint32_t next, alternate, token, buffer[EHCI_PAGES];
} EhciQh;

typedef struct {
    UsbTransfer t;
    EhciQh qh; /* when the packet was submitted */
} EhciTransfer;

static Vm *ehci_vm(const Ehci *e)
{
    return e->pci.dev.vm;
}

/* False: no memory there, and the controller has halted. */
static bool ehci_read_words(Ehci *e, uint32_t addr, uint32_t *words, unsigned n)
{
    if (!dma_read(ehci_vm(e), addr, words, n * 4)) {
        ehci_halt(e, STS_HSE);
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        words[i] = ldle32(words + i);
    }
    return true;
}

static void ehci_write_words(Ehci *e, uint32_t addr, const uint32_t *words, unsigned n)
{
    uint32_t raw[QH_WORDS];

    for (unsigned i = 0; i < n; i++) {
        stle32(raw + i, words[i]);
    }
    if (!dma_write(ehci_vm(e), addr, raw, n * 4)) {
        ehci_halt(e, STS_HSE);
    }
}

static bool ehci_read_qh(Ehci *e, uint32_t addr, EhciQh *q)
{
    uint32_t w[QH_WORDS];

    if (!ehci_read_words(e, addr, w, QH_WORDS)) {
        return false;
    }
    *q = (EhciQh){w[0], w[1], w[2], w[3], w[4], w[5], w[6], {w[7], w[8], w[9], w[10], w[11]}};
    return true;
}

static unsigned ehci_bytes(const EhciQh *q)
{
    return q->token >> TOKEN_BYTES_SHIFT & TOKEN_BYTES_MASK;
}

/* How a qTD ends (4.10.4, 4.15.1). */

/* The data toggle changes with each packet of the endpoint's size; one without data is one. */
static void ehci_count_bytes(EhciQh *q, uint32_t actual)
{
    uint32_t size = q->endpoint >> QH_PACKET_SHIFT & QH_PACKET_MASK, left = ehci_bytes(q);
    uint32_t packets = size && actual ? (actual + size - 1) / size : 1;
    uint32_t offset = (q->buffer[0] & (PAGE_SIZE_4K - 1)) + actual;
    uint32_t page = (q->token >> TOKEN_PAGE_SHIFT & 7) + offset / PAGE_SIZE_4K;

    left -= MIN(actual, left);
    q->token &= ~(TOKEN_BYTES_MASK << TOKEN_BYTES_SHIFT | 7u << TOKEN_PAGE_SHIFT);
    q->token |= left << TOKEN_BYTES_SHIFT | (page & 7) << TOKEN_PAGE_SHIFT;
    q->token ^= packets & 1 ? TOKEN_TOGGLE : 0;
    q->buffer[0] = (q->buffer[0] & ~(PAGE_SIZE_4K - 1u)) | offset % PAGE_SIZE_4K;
}

/* No answer counts down the errors of the qTD, unless the counter was 0, which is for ever. */
static void ehci_no_answer(EhciQh *q)
{
    unsigned left = q->token >> TOKEN_ERRORS_SHIFT & 3;

    q->token |= TOKEN_XACT_ERR;
    if (left) {
        q->token -= 1u << TOKEN_ERRORS_SHIFT;
        if (left == 1) {
            q->token = (q->token & ~TOKEN_ACTIVE) | TOKEN_HALTED;
        }
    }
}

/* Writes how the packet has ended into queue head and qTD. True: the queue goes on. */
static bool ehci_finish(Ehci *e, uint32_t addr, EhciQh *q, const UsbPacket *p)
{
    uint32_t before = q->token, bits = 0;

    switch (p->status) {
    case USB_OK:
        ehci_count_bytes(q, p->actual);
        q->token &= ~(TOKEN_ACTIVE | TOKEN_XACT_ERR);
        bits = p->pid == USB_PID_IN && p->actual < p->length ? STS_INT : 0;
        break;
    case USB_NAK:
        return false;
    case USB_STALL:
        q->token = (q->token & ~TOKEN_ACTIVE) | TOKEN_HALTED;
        break;
    case USB_BABBLE:
        q->token = (q->token & ~TOKEN_ACTIVE) | TOKEN_HALTED | TOKEN_BABBLE;
        break;
    default:
        ehci_no_answer(q);
        break;
    }
    bits |= q->token & TOKEN_HALTED ? STS_ERR : 0;
    if (!(q->token & TOKEN_ACTIVE)) {
        e->schedule.progress = true;
        bits |= q->token & TOKEN_IOC ? STS_INT : 0;
    }
    if (q->token != before) {
        const uint32_t overlay[] = {q->token, q->buffer[0]};

        ehci_write_words(e, addr + QH_TOKEN * 4, overlay, 2);
        ehci_write_words(e, (q->current & LINK_ADDRESS) + QTD_TOKEN * 4, &q->token, 1);
    }
    ehci_raise(e, bits);
    return !(q->token & (TOKEN_ACTIVE | TOKEN_HALTED));
}

/* The qTD cannot be carried out at all. */
static bool ehci_refuse(Ehci *e, uint32_t addr, EhciQh *q, uint32_t error)
{
    UsbPacket p = {.status = USB_STALL};

    q->token |= error;
    return ehci_finish(e, addr, q, &p);
}

/* Transfers. */

/* The driver may have used the queue head for something else meanwhile. */
static bool ehci_transfer_is_current(const EhciTransfer *t, const EhciQh *q)
{
    return q->current == t->qh.current && q->token == t->qh.token &&
           q->buffer[0] == t->qh.buffer[0] && q->endpoint == t->qh.endpoint;
}

static void ehci_transfer_done(UsbPacket *p)
{
    EhciTransfer *t = container_of(p, EhciTransfer, t.p);
    Ehci *e = container_of(t->t.schedule, Ehci, schedule);
    uint32_t addr = t->t.addr;
    EhciQh q;

    if (ehci_runs(e) && ehci_read_qh(e, addr, &q) && ehci_transfer_is_current(t, &q)) {
        ehci_finish(e, addr, &q, p);
    }
    usb_transfer_free(&t->t);
    ehci_look_soon(e);
}

static UsbDevice *ehci_find_device(Ehci *e, uint8_t address)
{
    for (unsigned i = 0; i < EHCI_PORTS; i++) {
        UsbDevice *dev = e->s.port[i] & EHCI_PORT_PE ? usb_find(&e->ports[i], address) : NULL;

        if (dev) {
            return dev;
        }
    }
    return NULL;
}

/* 3.5.4: bytes from the current offset in the current page on. False: past the last page. */
static bool ehci_map(Ehci *e, const EhciQh *q, UsbTransfer *t)
{
    UsbPacket *p = &t->p;
    uint32_t left = p->length, offset = q->buffer[0] & (PAGE_SIZE_4K - 1);

    for (unsigned page = q->token >> TOKEN_PAGE_SHIFT & 7; left; page++) {
        uint32_t bytes = MIN(left, PAGE_SIZE_4K - offset);

        if (page >= EHCI_PAGES) {
            return false;
        }
        if (!dma_map_iov(ehci_vm(e), (q->buffer[page] & ~(PAGE_SIZE_4K - 1u)) + offset, bytes,
                         p->pid == USB_PID_IN, t->iov, &p->niov, USB_TRANSFER_IOV)) {
            ehci_halt(e, STS_HSE);
            return false;
        }
        left -= bytes;
        offset = 0;
    }
    return true;
}

/* True: the qTD has ended, and the queue goes on. */
static bool ehci_execute(Ehci *e, uint32_t addr, EhciQh *q)
{
    static const uint8_t pids[] = {USB_PID_OUT, USB_PID_IN, USB_PID_SETUP, 0};
    UsbDevice *dev = ehci_find_device(e, q->endpoint & 0x7f);
    EhciTransfer *t;
    UsbPacket *p;
    bool goes_on;

    if (!pids[q->token >> TOKEN_PID_SHIFT & 3]) {
        return ehci_refuse(e, addr, q, 0);
    }
    t = g_new0(EhciTransfer, 1);
    t->t.addr = addr;
    t->qh = *q;
    p = &t->t.p;
    *p = (UsbPacket){.pid = pids[q->token >> TOKEN_PID_SHIFT & 3],
                     .endpoint = q->endpoint >> 8 & 0x0f,
                     .length = ehci_bytes(q),
                     .iov = t->t.iov,
                     .done = ehci_transfer_done,
                     .status = USB_ERROR};
    usb_transfer_add(&e->schedule, &t->t);
    if (!ehci_map(e, q, &t->t)) {
        usb_transfer_free(&t->t);
        return ehci_runs(e) && ehci_refuse(e, addr, q, TOKEN_BUFFER_ERR);
    }
    if (dev && usb_submit(dev, p) == USB_PENDING) {
        return false;
    }
    goes_on = ehci_finish(e, addr, q, p);
    usb_transfer_free(&t->t);
    return goes_on;
}

/*
 * 4.10.2: the next qTD becomes the overlay; after a short packet the alternate one. False: there is
 * none that is active.
 */
static bool ehci_advance(Ehci *e, uint32_t addr, EhciQh *q)
{
    bool is_short = ehci_bytes(q) && !(q->alternate & LINK_TERMINATE);
    uint32_t next = is_short ? q->alternate : q->next, td[QTD_WORDS], toggle;
    uint32_t overlay[1 + QTD_WORDS];

    if ((next & LINK_TERMINATE) || !ehci_read_words(e, next & LINK_ADDRESS, td, QTD_WORDS) ||
        !(td[QTD_TOKEN] & TOKEN_ACTIVE)) {
        return false;
    }
    toggle = (q->endpoint & QH_TOGGLE_OF_QTD ? td[QTD_TOKEN] : q->token) & TOKEN_TOGGLE;
    q->current = next & LINK_ADDRESS;
    q->next = td[0];
    q->alternate = (td[1] & ~ALT_NAK_COUNT) | q->endpoint >> QH_RELOAD_SHIFT << 1;
    q->token = (td[QTD_TOKEN] & ~TOKEN_TOGGLE) | toggle;
    memcpy(q->buffer, td + 3, sizeof q->buffer);
    overlay[0] = q->current;
    overlay[1] = q->next;
    overlay[2] = q->alternate;
    overlay[3] = q->token;
    memcpy(overlay + 4, q->buffer, sizeof q->buffer);
    ehci_write_words(e, addr + QH_CURRENT * 4, overlay, 1 + QTD_WORDS);
    return ehci_runs(e);
}

/* True: a qTD has ended. */
static bool ehci_visit_queue(Ehci *e, uint32_t addr)
{
    bool progress = false;

    for (unsigned n = 0; n < QUEUE_QTDS && ehci_runs(e); n++) {
        UsbTransfer *t = usb_schedule_find(&e->schedule, addr);
        EhciQh q;

        if (!ehci_read_qh(e, addr, &q)) {
            break;
        }
        if (t && ehci_transfer_is_current(container_of(t, EhciTransfer, t), &q)) {
            t->unseen = 0;
            break;
        }
        if (t) {
            usb_transfer_cancel(t);
        }
        if ((q.token & TOKEN_HALTED) || (!(q.token & TOKEN_ACTIVE) && !ehci_advance(e, addr, &q)) ||
            !ehci_execute(e, addr, &q)) {
            break;
        }
        progress = true;
    }
    return progress;
}

/* The schedules (4.4, 4.6, 4.8). */

unsigned ehci_walk_periodic(Ehci *e, uint32_t frame, unsigned max)
{
    uint32_t link, words[3];
    unsigned n;

    if (!ehci_read_words(e, e->s.periodic + (frame & 1023) * 4, &link, 1)) {
        return 0;
    }
    max = MIN(max, FRAME_VISITS);
    for (n = 0; n < max && !(link & LINK_TERMINATE) && ehci_runs(e); n++) {
        uint32_t addr = link & LINK_ADDRESS;

        if (!ehci_read_words(e, addr, words, G_N_ELEMENTS(words))) {
            break;
        }
        if ((link & LINK_TYPE) == LINK_TYPE_QH && (words[2] & QH_S_MASK)) {
            ehci_visit_queue(e, addr);
        }
        link = words[0]; /* of each type */
    }
    return n;
}

/* Rounds are made while they end qTDs. */
void ehci_walk_async(Ehci *e)
{
    uint32_t start = e->s.async & LINK_ADDRESS, addr = start, link;
    bool progress = false;

    for (unsigned n = 0; n < ASYNC_VISITS && ehci_runs(e); n++) {
        progress |= ehci_visit_queue(e, addr);
        if (!ehci_runs(e) || !ehci_read_words(e, addr, &link, 1)) {
            return;
        }
        addr = link & LINK_ADDRESS;
        if ((link & LINK_TERMINATE) || (link & LINK_TYPE) != LINK_TYPE_QH || addr == start) {
            if (!progress) {
                return;
            }
            progress = false;
            addr = start;
        }
    }
}

void ehci_advance_async(Ehci *e)
{
    GPtrArray *transfers = e->schedule.transfers;

    for (guint i = 0; i < transfers->len; i++) {
        ((UsbTransfer *)transfers->pdata[i])->unseen++;
    }
    ehci_walk_async(e);
    for (guint i = transfers->len; i-- > 0;) {
        EhciTransfer *t = transfers->pdata[i];

        if (t->t.unseen && !(t->qh.caps & QH_S_MASK)) {
            usb_transfer_cancel(&t->t);
        }
    }
}
