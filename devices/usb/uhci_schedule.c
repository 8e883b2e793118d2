/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UHCI: the lists of a frame, and the transfers of their TDs. */
#include "uhci.h"

enum {
    UHCI_FRAMES = 1024,
    FRAME_BYTES = 1280, /* of a frame's bandwidth (1.1) */
    FRAME_VISITS = 512, /* queue heads and TDs that are looked at in a frame */
    FRAME_QUEUES = 128, /* queue heads that are remembered */

    /* 3.2: links. */
    LINK_TERMINATE = 0x1,
    LINK_QH = 0x2,
    LINK_DEPTH = 0x4,
    LINK_ADDRESS = 0xfffffff0,

    /* 3.2.2: control and status of a TD. */
    TD_ACTLEN = 0x7ff,
    TD_CRC = 1 << 18,
    TD_NAK = 1 << 19,
    TD_BABBLE = 1 << 20,
    TD_STALLED = 1 << 22,
    TD_ACTIVE = 1 << 23,
    TD_IOC = 1 << 24,
    TD_ERRORS_SHIFT = 27,
    TD_SPD = 1 << 29,
};

typedef struct {
    uint32_t link, ctrl, token, buffer;
} UhciTd;

/* A TD whose device has not answered yet. */
typedef struct {
    UsbTransfer t;
    uint32_t queue; /* the queue head by which the TD was found, or 0 */
    UhciTd td;
} UhciTransfer;

/* How the walk goes on behind a TD. */
typedef enum { TD_ADVANCE, TD_STAY } UhciTdResult;

static Vm *uhci_vm(const Uhci *u)
{
    return u->pci.dev.vm;
}

/* Transfers. */

static bool uhci_read_td(Uhci *u, uint32_t addr, UhciTd *td)
{
    uint8_t raw[16];

    if (!dma_read(uhci_vm(u), addr, raw, sizeof raw)) {
        return false;
    }
    *td = (UhciTd){ldle32(raw), ldle32(raw + 4), ldle32(raw + 8), ldle32(raw + 12)};
    return true;
}

static void uhci_write32(Uhci *u, uint32_t addr, uint32_t value)
{
    uint8_t raw[4];

    stle32(raw, value);
    dma_write(uhci_vm(u), addr, raw, sizeof raw);
}

static unsigned uhci_td_length(const UhciTd *td)
{
    return ((td->token >> 21) + 1) & 0x7ff;
}

/* 3.2.2 and 1.3: no answer counts down the TD's errors, unless the counter was 0, which is for
 * ever. */
static uint32_t uhci_no_answer(Uhci *u, uint32_t ctrl)
{
    unsigned left = ctrl >> TD_ERRORS_SHIFT & 3;

    ctrl |= TD_CRC;
    if (left) {
        ctrl = (ctrl & ~(3u << TD_ERRORS_SHIFT)) | (left - 1) << TD_ERRORS_SHIFT;
        if (left == 1) {
            ctrl = (ctrl & ~TD_ACTIVE) | TD_STALLED;
            u->s.status |= STS_USBERR;
        }
    }
    return ctrl;
}

/* Writes how the transaction has ended into the TD. */
static UhciTdResult uhci_end_td(Uhci *u, uint32_t addr, UhciTd *td, const UsbPacket *p)
{
    UhciTdResult result = TD_STAY;
    uint32_t ctrl = td->ctrl & ~(TD_NAK | TD_CRC);

    switch (p->status) {
    case USB_OK:
        ctrl = (ctrl & ~(TD_ACTLEN | TD_ACTIVE)) | ((p->actual - 1) & TD_ACTLEN);
        result = TD_ADVANCE;
        if ((ctrl & TD_SPD) && p->pid == USB_PID_IN && p->actual < p->length) {
            u->s.cause |= CAUSE_SHORT;
            u->s.status |= STS_USBINT;
            result = TD_STAY;
        }
        break;
    case USB_NAK:
        ctrl |= TD_NAK;
        break;
    case USB_STALL:
    case USB_BABBLE:
        ctrl = (ctrl & ~TD_ACTIVE) | TD_STALLED | (p->status == USB_BABBLE ? TD_BABBLE : 0);
        u->s.status |= STS_USBERR;
        break;
    default:
        ctrl = uhci_no_answer(u, ctrl);
        break;
    }
    if (!(ctrl & TD_ACTIVE)) {
        u->schedule.progress = true;
        if (ctrl & TD_IOC) {
            u->s.cause |= CAUSE_IOC;
            u->s.status |= STS_USBINT;
        }
    }
    if (ctrl != td->ctrl) {
        td->ctrl = ctrl;
        uhci_write32(u, addr + 4, ctrl);
    }
    return result;
}

/* The driver may have taken the TD out of its queue meanwhile, and used its memory for another. */
static bool uhci_transfer_is_current(const UhciTransfer *t, const UhciTd *td)
{
    return td->token == t->td.token && td->buffer == t->td.buffer;
}

static void uhci_transfer_done(UsbPacket *p)
{
    UhciTransfer *t = container_of(p, UhciTransfer, t.p);
    Uhci *u = container_of(t->t.schedule, Uhci, schedule);
    uint32_t addr = t->t.addr;
    UhciTd td;
    uint32_t element;

    if (uhci_read_td(u, addr, &td) && (td.ctrl & TD_ACTIVE) && uhci_transfer_is_current(t, &td) &&
        uhci_end_td(u, addr, &td, p) == TD_ADVANCE && t->queue &&
        dma_read32(uhci_vm(u), t->queue + 4, &element) &&
        (element & (LINK_ADDRESS | LINK_QH | LINK_TERMINATE)) == addr) {
        uhci_write32(u, t->queue + 4, td.link);
    }
    usb_transfer_free(&t->t);
    uhci_update_irq(u);
    uhci_look_soon(u);
}

static UsbDevice *uhci_find_device(Uhci *u, uint8_t address)
{
    for (unsigned i = 0; i < UHCI_PORTS; i++) {
        UsbDevice *dev = u->s.port[i] & UHCI_PORT_PE ? usb_find(&u->ports[i], address) : NULL;

        if (dev) {
            return dev;
        }
    }
    return NULL;
}

static UhciTdResult uhci_submit(Uhci *u, uint32_t addr, uint32_t queue, UhciTd *td)
{
    UsbDevice *dev = uhci_find_device(u, td->token >> 8 & 0x7f);
    uint8_t pid = td->token;
    unsigned length = uhci_td_length(td);
    UhciTdResult result;
    UhciTransfer *t;
    UsbPacket *p;

    if ((pid != USB_PID_IN && pid != USB_PID_OUT && pid != USB_PID_SETUP) || length > FRAME_BYTES) {
        uhci_halt(u, STS_HCPE);
        return TD_STAY;
    }
    t = g_new0(UhciTransfer, 1);
    t->t.addr = addr;
    t->queue = queue;
    t->td = *td;
    p = &t->t.p;
    *p = (UsbPacket){.pid = pid,
                     .endpoint = td->token >> 15 & 0x0f,
                     .length = length,
                     .iov = t->t.iov,
                     .done = uhci_transfer_done,
                     .status = USB_ERROR};
    if (length && !dma_map_iov(uhci_vm(u), td->buffer, length, pid == USB_PID_IN, t->t.iov,
                               &p->niov, USB_TRANSFER_IOV)) {
        g_free(t);
        uhci_halt(u, STS_HSE);
        return TD_STAY;
    }
    usb_transfer_add(&u->schedule, &t->t);
    if (dev && usb_submit(dev, p) == USB_PENDING) {
        return TD_STAY;
    }
    result = uhci_end_td(u, addr, td, p);
    usb_transfer_free(&t->t);
    return result;
}

static UhciTdResult uhci_td(Uhci *u, uint32_t addr, uint32_t queue, UhciTd *td, int *bytes)
{
    UsbTransfer *t;
    UhciTdResult result;

    if (!(td->ctrl & TD_ACTIVE)) {
        return TD_STAY;
    }
    t = usb_schedule_find(&u->schedule, addr);
    if (t && uhci_transfer_is_current(container_of(t, UhciTransfer, t), td)) {
        t->unseen = 0;
        return TD_STAY;
    }
    if (t) {
        usb_transfer_cancel(t);
    }
    result = uhci_submit(u, addr, queue, td);
    if (result == TD_ADVANCE) {
        *bytes -= uhci_td_length(td);
    }
    return result;
}

/* The walk (3.4). */

typedef struct {
    uint32_t seen[FRAME_QUEUES];
    unsigned count;
    bool progress; /* since the list of queue heads was begun */
} UhciRound;

/*
 * Queue heads form a circle where the driver reclaims bandwidth. Another round is made only if the
 * last has ended a TD. False: the frame is over.
 */
static bool uhci_round_enter(Uhci *u, UhciRound *r, uint32_t queue)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (r->seen[i] == queue) {
            if (!r->progress) {
                return false;
            }
            r->count = 0;
            r->progress = false;
            break;
        }
    }
    if (r->count == FRAME_QUEUES) {
        return false;
    }
    r->seen[r->count++] = queue;
    return true;
}

void uhci_frame(Uhci *u, unsigned frame)
{
    UhciRound round = {.count = 0};
    uint32_t link, queue = 0, next = LINK_TERMINATE;
    int bytes = FRAME_BYTES;
    UhciTd td;

    if (!dma_read32(uhci_vm(u), u->s.frbase + frame % UHCI_FRAMES * 4, &link)) {
        uhci_halt(u, STS_HSE);
        return;
    }
    for (unsigned visits = 0;
         !(link & LINK_TERMINATE) && bytes > 0 && visits < FRAME_VISITS && !(u->s.status & STS_HCH);
         visits++) {
        uint32_t addr = link & LINK_ADDRESS;

        if (link & LINK_QH) {
            uint32_t element;

            if (!uhci_round_enter(u, &round, addr)) {
                return;
            }
            if (!dma_read32(uhci_vm(u), addr, &next) ||
                !dma_read32(uhci_vm(u), addr + 4, &element)) {
                uhci_halt(u, STS_HSE);
                return;
            }
            queue = element & LINK_QH ? 0 : addr;
            link = element & LINK_TERMINATE ? next : element;
            continue;
        }
        if (!uhci_read_td(u, addr, &td)) {
            uhci_halt(u, STS_HSE);
            return;
        }
        if (uhci_td(u, addr, queue, &td, &bytes) == TD_ADVANCE) {
            round.progress = true;
            if (queue) {
                uhci_write32(u, queue + 4, td.link);
            }
            if (queue && (td.link & LINK_DEPTH) && !(td.link & (LINK_TERMINATE | LINK_QH))) {
                link = td.link;
                continue;
            }
        }
        link = queue ? next : td.link;
        queue = 0;
    }
}
