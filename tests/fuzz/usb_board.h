/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For fuzz targets of USB controllers: a board with the controller, a stick, a keyboard, and a hub
 * where the controller takes one. All have addresses and are configured when an input begins.
 */
#ifndef TESTS_FUZZ_USB_BOARD_H
#define TESTS_FUZZ_USB_BOARD_H

#include <stdint.h>
#include "block/backend.h"
#include "board.h"
#include "devices/pci.h"
#include "usb.h"

extern const DeviceClass i440fx_pcihost_class, usb_storage_class, usb_kbd_class, usb_hub_class;

enum {
    USB_OPS_MAX = 200,
    USB_SLOT = 4,
    USB_STICK = 1, /* addresses */
    USB_KEYBOARD = 2,
    USB_HUB = 3,
    /* Memory: lists, TDs, setup packets, data. */
    USB_LISTS = 0x1000,
    USB_TDS = 0x2000,
    USB_TDS_SIZE = 0x1000,
    USB_SETUP = 0x3000,
    USB_DATA = 0x4000,
};

static PciBus *usb_pci;
static Device *usb_controller, *usb_stick, *usb_keyboard, *usb_hub;

static inline Device *usb_board_device(const char *class, const char *port, const char *drive)
{
    Bus *bus = usb_controller->buses->pdata[0];
    GError *err = NULL;
    Device *dev =
        drive ? device_new(board.vm, class, bus, NULL, &err, "port", port, "drive", drive, NULL)
              : device_new(board.vm, class, bus, NULL, &err, "port", port, NULL);

    if (!dev) {
        g_error("%s: %s", class, err->message);
    }
    return dev;
}

static inline void usb_board_init(const DeviceClass *class, bool has_hub)
{
    static const DeviceClass *classes[] = {NULL, NULL, NULL, NULL, NULL, NULL};
    json_t *drive = json_pack("{s:s, s:s, s:s, s:s}", "id", "d", "if", "none", "driver", "null-co",
                              "size", "1048576");
    GError *err = NULL;

    classes[0] = &i440fx_pcihost_class;
    classes[1] = class;
    classes[2] = &usb_storage_class;
    classes[3] = &usb_kbd_class;
    classes[4] = &usb_hub_class;
    board_init(classes);
    usb_pci = board_add("i440FX-pcihost", NULL)->buses->pdata[0];
    usb_controller =
        device_new(board.vm, class->name, &usb_pci->bus, NULL, &err, "addr", "4", NULL);
    g_assert(usb_controller);
    g_assert(block_backend_new_drive(drive, &err));
    json_decref(drive);
    usb_stick = usb_board_device("usb-storage", "1", "d");
    if (has_hub) {
        usb_hub = usb_board_device("usb-hub", "2", NULL);
    }
    usb_keyboard = usb_board_device("usb-kbd", has_hub ? "2.1" : "2", NULL);
    device_lock(usb_stick);
    usb_storage_class.run_state(usb_stick, true);
    device_unlock(usb_stick);
}

/* A request without data. */
static inline void usb_request_to(Device *dev, uint8_t type, uint8_t request, uint16_t value,
                                  uint16_t index)
{
    UsbDevice *usb = container_of(dev, UsbDevice, dev);
    uint8_t setup[8] = {type, request, value, value >> 8, index, index >> 8};
    struct iovec iov = {setup, sizeof setup};
    UsbPacket p = {.pid = USB_PID_SETUP, .iov = &iov, .niov = 1, .length = sizeof setup};

    device_lock(dev);
    usb_submit(usb, &p);
    p = (UsbPacket){.pid = USB_PID_IN};
    usb_submit(usb, &p);
    device_unlock(dev);
}

static inline void usb_configure_device(Device *dev, uint8_t address)
{
    usb_request_to(dev, 0, USB_REQ_SET_ADDRESS, address, 0);
    usb_request_to(dev, 0, USB_REQ_SET_CONFIGURATION, 1, 0);
}

/* After the controller's ports were reset. */
static inline void usb_board_configure(void)
{
    usb_configure_device(usb_stick, USB_STICK);
    if (usb_hub) {
        usb_configure_device(usb_hub, USB_HUB);
        usb_request_to(usb_hub, 0x23, USB_REQ_SET_FEATURE, 8, 1); /* power, reset of port 1 */
        usb_request_to(usb_hub, 0x23, USB_REQ_SET_FEATURE, 4, 1);
    }
    usb_configure_device(usb_keyboard, USB_KEYBOARD);
}

static inline void usb_board_reset(unsigned bar, uint32_t addr)
{
    uint32_t at = PCI_DEVFN(USB_SLOT, 0) << 8;

    device_lock(usb_controller);
    device_reset(usb_controller, RESET_COLD);
    device_unlock(usb_controller);
    pci_config_write(usb_pci, at | (0x10 + 4 * bar), addr, 4);
    pci_config_write(usb_pci, at | 0x04, 7, 2);
}

static inline void usb_word(uint32_t addr, uint32_t value)
{
    dma_write(board.vm, addr, &value, 4);
}

static inline void coroutine_fn usb_pass_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + 1000000);
        coroutine_sleep(CLOCK_REALTIME_NS, 1);
    }
}

/* What the input has for a command block wrapper; most are well-formed. */
static inline void usb_put_cbw(Input *in)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C', 1, 2, 3, 4};
    uint32_t length = input_take(in, 2);
    uint8_t how = input_take(in, 1);

    memcpy(cbw + 8, &length, 4);
    cbw[0] ^= (how & 0x70) == 0x70;
    cbw[12] = how & 0x80;
    cbw[14] = (how & 0x0f) + 1;
    for (unsigned i = 0; i < cbw[14]; i++) {
        cbw[15 + i] = input_take(in, 1);
    }
    dma_write(board.vm, USB_SETUP, cbw, sizeof cbw);
}

/* A target: its guest begins, does what the input says, and resets the controller at the end. */
typedef struct {
    const DeviceClass *controller;
    bool has_hub;
    void (*start)(void);
    void coroutine_fn (*operate)(Input *in);
    void (*stop)(void);
} UsbTarget;

static const UsbTarget *usb_target;

static inline void coroutine_fn usb_guest(Input *in)
{
    usb_target->start();
    for (unsigned n = 0; in->left && n < USB_OPS_MAX; n++) {
        usb_target->operate(in);
    }
    usb_target->stop();
}

static inline int usb_fuzz(const UsbTarget *target, const uint8_t *data, size_t size)
{
    if (!usb_target) {
        usb_target = target;
        usb_board_init(target->controller, target->has_hub);
    }
    return board_fuzz(data, size, usb_guest);
}

#endif
