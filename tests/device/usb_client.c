/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "usb_client.h"

Uhci quhci_open(const char *devices)
{
    Uhci u = {0};

    u.q = qtest_startf("-machine pc -nodefaults -device piix3-usb-uhci,id=u,addr=4 %s", devices);
    u.frames = qtest_alloc(u.q, 4096, 4096);
    u.queue = qtest_alloc(u.q, 16, 16);
    u.tds = qtest_alloc(u.q, 64 * 16, 16);
    u.data = qtest_alloc(u.q, 4096, 4096);
    u.setup = qtest_alloc(u.q, 8, 16);
    for (unsigned i = 0; i < 1024; i++) {
        qtest_writel(u.q, u.frames + 4 * i, u.queue | IS_QH);
    }
    quhci_start(&u);
    return u;
}

void quhci_start(Uhci *u)
{
    qpci_open(u->q, &u->pci, 4, 0);
    qpci_enable(&u->pci);
    u->io = qpci_map_bar(&u->pci, 4).addr;
    qtest_writel(u->q, u->queue, TERMINATE);
    qtest_writel(u->q, u->queue + 4, TERMINATE);
    qtest_outl(u->q, u->io + FRBASEADD, u->frames);
    qtest_outw(u->q, u->io + USBINTR, 0x0f);
    qtest_outw(u->q, u->io + USBCMD, 0x01);
}

void quhci_port_reset(Uhci *u, unsigned n)
{
    uint16_t port = u->io + PORTSC1 + 2 * n;

    qtest_outw(u->q, port, PR | CSC);
    qtest_outw(u->q, port, 0);
    qtest_outw(u->q, port, PE);
    qtest_check_eq(qtest_inw(u->q, port) & (CCS | CSC | PE), CCS | PE);
    u->address = 0;
}

void quhci_put_td(Uhci *u, unsigned n, uint32_t link, uint32_t ctrl, uint8_t pid, uint8_t endpoint,
                  unsigned length, uint64_t buffer)
{
    uint64_t td = u->tds + 16 * n;

    qtest_writel(u->q, td, link);
    qtest_writel(u->q, td + 4, ctrl);
    qtest_writel(u->q, td + 8,
                 pid | u->address << 8 | endpoint << 15 | ((length - 1) & 0x7ff) << 21);
    qtest_writel(u->q, td + 12, buffer);
}

uint32_t quhci_td_ctrl(Uhci *u, unsigned n)
{
    return qtest_readl(u->q, u->tds + 16 * n + 4);
}

unsigned quhci_td_actual(Uhci *u, unsigned n)
{
    return ((quhci_td_ctrl(u, n) & 0x7ff) + 1) & 0x7ff;
}

/* Runs TDs 0 to 'last' in the queue, for so many milliseconds. */
void quhci_run(Uhci *u, unsigned ms)
{
    qtest_writel(u->q, u->queue + 4, u->tds);
    qtest_clock_step(u->q, ms * FRAME_NS);
}

/* The number of bytes of a control transfer's data, -1 for a stall. */
int quhci_control(Uhci *u, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                  uint16_t length)
{
    uint8_t setup[8] = {type, request, value, value >> 8, index, index >> 8, length, length >> 8};
    unsigned n = 1, status;
    int actual = 0;
    bool in = type & 0x80;

    qtest_write(u->q, u->setup, setup, sizeof setup);
    quhci_put_td(u, 0, (u->tds + 16) | DEPTH, ACTIVE | ERRORS_3, PID_SETUP, 0, 8, u->setup);
    for (unsigned at = 0; at < length; at += 64, n++) {
        quhci_put_td(u, n, (u->tds + 16 * (n + 1)) | DEPTH, ACTIVE | ERRORS_3,
                     in ? PID_IN : PID_OUT, 0, MIN(64, length - at), u->data + at);
    }
    status = n;
    quhci_put_td(u, status, TERMINATE, ACTIVE | ERRORS_3 | IOC, in && length ? PID_OUT : PID_IN, 0,
                 0, 0);
    quhci_run(u, 30);
    for (n = 0; n < status; n++) {
        if (quhci_td_ctrl(u, n) & STALLED) {
            qtest_check_eq(quhci_td_ctrl(u, n) & ACTIVE, 0);
            return -1;
        }
        actual += n ? quhci_td_actual(u, n) : 0;
    }
    if (quhci_td_ctrl(u, status) & STALLED) {
        return -1;
    }
    qtest_check_eq(quhci_td_ctrl(u, status) & ACTIVE, 0);
    return actual;
}

void quhci_enumerate(Uhci *u, unsigned port)
{
    quhci_port_reset(u, port);
    qtest_check_eq(quhci_control(u, 0x00, 5, 5 + port, 0, 0), 0);
    u->address = 5 + port;
    qtest_check_eq(quhci_control(u, 0x00, 9, 1, 0, 0), 0);
    qtest_check_eq(quhci_control(u, 0x80, 8, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u->q, u->data), 1);
}

/* An interrupt transfer from endpoint 1; -1: it has nothing. */
int quhci_interrupt_in(Uhci *u, uint8_t *report, unsigned max)
{
    quhci_put_td(u, 0, TERMINATE, ACTIVE | ERRORS_3 | IOC, PID_IN, 1, max, u->data);
    quhci_run(u, 25);
    if (quhci_td_ctrl(u, 0) & ACTIVE) {
        qtest_check_eq(quhci_td_ctrl(u, 0) & NAK, NAK);
        qtest_writel(u->q, u->queue + 4, TERMINATE);
        return -1;
    }
    qtest_check_eq(quhci_td_ctrl(u, 0) & STALLED, 0);
    qtest_read(u->q, u->data, report, max);
    return quhci_td_actual(u, 0);
}
