/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transfers and looks of the controllers that have schedules: UHCI and EHCI. */
#include "usb_schedule.h"

enum { UNSEEN_MAX = 64 };

void usb_schedule_init(UsbSchedule *s, Device *dev, void (*look)(Device *dev))
{
    *s = (UsbSchedule){.dev = dev,
                       .timer = device_timer_new(dev, CLOCK_VIRTUAL_NS, look),
                       .poll_ms = 1,
                       .transfers = g_ptr_array_new()};
}

void usb_schedule_destroy(UsbSchedule *s)
{
    usb_schedule_cancel(s, NULL);
    g_ptr_array_free(s->transfers, TRUE);
}

void usb_schedule_back_off(UsbSchedule *s, unsigned max_ms)
{
    s->poll_ms = s->progress ? 1 : MIN(s->poll_ms * 2, max_ms);
}

void usb_transfer_add(UsbSchedule *s, UsbTransfer *t)
{
    t->schedule = s;
    g_ptr_array_add(s->transfers, t);
}

void usb_transfer_free(UsbTransfer *t)
{
    dma_unmap_iov(t->schedule->dev->vm, t->p.iov, t->p.niov, t->p.pid == USB_PID_IN);
    g_ptr_array_remove_fast(t->schedule->transfers, t);
    g_free(t);
}

void usb_transfer_cancel(UsbTransfer *t)
{
    usb_cancel(&t->p);
    usb_transfer_free(t);
}

void usb_schedule_pre_save(UsbSchedule *s)
{
    for (guint i = 0; i < s->transfers->len; i++) {
        UsbTransfer *t = s->transfers->pdata[i];

        if (t->p.pid == USB_PID_IN) {
            dma_mapping_written(s->dev->vm, t->p.iov, t->p.niov);
        }
    }
}

void usb_schedule_cancel(UsbSchedule *s, const UsbDevice *dev)
{
    for (guint i = s->transfers->len; i-- > 0;) {
        UsbTransfer *t = s->transfers->pdata[i];

        if (!dev || t->p.dev == dev) {
            usb_transfer_cancel(t);
        }
    }
}

UsbTransfer *usb_schedule_find(UsbSchedule *s, uint32_t addr)
{
    for (guint i = 0; i < s->transfers->len; i++) {
        UsbTransfer *t = s->transfers->pdata[i];

        if (t->addr == addr) {
            return t;
        }
    }
    return NULL;
}

void usb_schedule_give_up_unseen(UsbSchedule *s)
{
    for (guint i = s->transfers->len; i-- > 0;) {
        UsbTransfer *t = s->transfers->pdata[i];

        if (++t->unseen > UNSEEN_MAX) {
            usb_transfer_cancel(t);
        }
    }
}
