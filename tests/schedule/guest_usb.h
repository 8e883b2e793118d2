/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's USB: guest_usb.c has the stick (enumeration, bulk-only commands), guest_uhci.c,
 * guest_ehci.c and guest_xhci.c have the controllers. One transfer is under way at a time. What a
 * driver knows is in guest.s.usb and in guest memory, so that a machine can be saved at any time.
 */
#ifndef TESTS_SCHEDULE_GUEST_USB_H
#define TESTS_SCHEDULE_GUEST_USB_H

#include "guest.h"

enum {
    USB_SCHEDULE = USB_MEMORY,
    USB_SETUP = USB_MEMORY + 0x8000,
    USB_CBW = USB_SETUP + 0x100,
    USB_CSW = USB_SETUP + 0x200,
    USB_SENSE = USB_SETUP + 0x300,
    USB_DATA = USB_MEMORY + 0x10000,
    USB_SECTORS_MAX = 8,
    USB_DATA_BYTES = USB_SECTORS_MAX * DISK_SECTOR,
    USB_STICK = 1, /* addresses */
    USB_HUB = 2,
    USB_HID = 3,
    USB_BAR = 0xe1000000,
};

typedef enum { USB_PENDING, USB_DONE, USB_FAILED } UsbResult;

typedef struct {
    uint8_t slot, function; /* of PCI */
    /* The controller runs, with nothing to do. */
    void (*start)(void);
    /* It is asked to stop, perhaps by a reset; whether it has. Its memory is the guest's then. */
    void (*stop)(bool reset);
    bool (*stopped)(void);
    /* Step n of a reset of port 1: DONE, or FAILED if nothing is there. */
    UsbResult (*reset_port)(unsigned n);
    /* The device at port 1 is not the one that was reset. */
    bool (*changed)(void);
    /* Request n that makes a new device usable begins. False: there are no more. */
    bool (*setup)(unsigned n);
    /* Bulk data to or from the stick. */
    void (*bulk)(Cpu *c, bool in, uint32_t addr, uint32_t len);
    UsbResult (*poll)(void);
} UsbController;

extern const UsbController guest_uhci, guest_ehci, guest_xhci;

void usb_guest_word(uint32_t addr, uint32_t v);
uint32_t usb_guest_read_word(uint32_t addr);
/* Registers in the BAR. */
void usb_guest_write(unsigned reg, uint32_t v);
uint32_t usb_guest_read(unsigned reg);
/* Where the BARs are, and whether the function may use the bus. */
void usb_guest_map(uint8_t slot, uint8_t function);
void usb_guest_bus_master(const UsbController *hc, bool on);

/* The stick is ready for a command, and has none. */
bool guest_usb_is_idle(void);

/* Requests without data that UHCI and EHCI make of a new device, behind a hub or not. */
typedef struct {
    uint8_t address;
    uint8_t setup[8];
} UsbRequest;
const UsbRequest *usb_guest_request(unsigned n);

#endif
