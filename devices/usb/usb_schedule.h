/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What UHCI and EHCI have in common: schedules in guest memory, to which drivers append silently.
 *
 * A timer looks at schedules that run: every millisecond while transfers end, and less often while
 * none do, each pause twice the one before. So what a driver appends waits at most a millisecond
 * longer than the schedule had been idle. How long a pause gets, and when the timer is armed, is
 * the controller's to say. A device with news (usb_ready()) brings a look at once.
 *
 * A packet whose device answers later (UsbTransfer) is left alone by looks until then. Its end is
 * written to guest memory at once, so there is none in a saved state.
 */
#ifndef DEVICES_USB_USB_SCHEDULE_H
#define DEVICES_USB_USB_SCHEDULE_H

#include "usb.h"

enum {
    USB_POLL_MAX_MS = 20, /* where a driver appends control and bulk transfers silently */
    USB_FRAME_NS = 1000000,
    USB_TRANSFER_IOV = 10, /* the five pages of an EHCI qTD may be in two pieces each */
};

typedef struct {
    Device *dev; /* the controller */
    DeviceTimer *timer;
    unsigned poll_ms;
    bool progress;        /* in this look a transfer has ended: the controller's to set */
    GPtrArray *transfers; /* of UsbTransfer */
} UsbSchedule;

/* A controller embeds it first in what it allocates by g_new() for a packet. */
typedef struct {
    UsbPacket p;
    UsbSchedule *schedule;
    uint32_t addr; /* of the TD or queue head, by which it is found */
    struct iovec iov[USB_TRANSFER_IOV];
    unsigned unseen; /* looks that have not met it */
} UsbTransfer;

/* 'look' runs on the main loop, with the lock. */
void usb_schedule_init(UsbSchedule *s, Device *dev, void (*look)(Device *dev));
void usb_schedule_destroy(UsbSchedule *s);
/* At the end of a look, before the timer is armed again: when the next one is due. */
void usb_schedule_back_off(UsbSchedule *s, unsigned max_ms);

/* p, addr and iov are filled in. Before usb_submit(). */
void usb_transfer_add(UsbSchedule *s, UsbTransfer *t);
/* It has ended. */
void usb_transfer_free(UsbTransfer *t);
/* The controller gives it up. Any thread. */
void usb_transfer_cancel(UsbTransfer *t);
/* Gives up those of a device; dev NULL: all. Any thread. */
void usb_schedule_cancel(UsbSchedule *s, const UsbDevice *dev);
/* Devices may have written a part of their answers to guest memory. */
void usb_schedule_pre_save(UsbSchedule *s);
UsbTransfer *usb_schedule_find(UsbSchedule *s, uint32_t addr);
/* After a look: what many have not met has been taken out of the lists. */
void usb_schedule_give_up_unseen(UsbSchedule *s);

#endif
