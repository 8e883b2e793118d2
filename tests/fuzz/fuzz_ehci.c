/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EHCI with a stick and a keyboard under a guest that writes registers, queue heads and qTDs as it
 * likes, and sends commands that are nearly right.
 */
#include "usb_board.h"

extern const DeviceClass usb_ehci_class;

enum {
    BAR = 0x10000000,
    HEAD = USB_LISTS,
    QUEUE = USB_LISTS + 0x40,
    FRAMES = 0x8000,
    ACTIVE = 0xc80,
    IN_PID = 0x100,
    SETUP_PID = 0x200,
};

static void out(unsigned reg, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_MEM, BAR + reg, &value, size, true);
}

static void start(void)
{
    usb_board_reset(0, BAR);
    for (unsigned i = 0; i < 32; i++) {
        usb_word(HEAD + 4 * i, 0);
    }
    for (unsigned i = 0; i < 1024; i++) {
        usb_word(FRAMES + 4 * i, 1);
    }
    usb_word(HEAD, QUEUE | 2);
    usb_word(HEAD + 4, 0x8000);
    usb_word(HEAD + 24, 0x40);
    usb_word(QUEUE, HEAD | 2);
    usb_word(QUEUE + 16, 1);
    usb_word(QUEUE + 20, 1);
    out(0x34, FRAMES, 4);
    out(0x38, HEAD, 4);
    out(0x28, 0x3f, 4);
    out(0x20, 0x10031, 4);
    out(0x60, 1, 4);
    for (unsigned i = 0; i < 2; i++) {
        out(0x64 + 4 * i, 0x100, 4);
        out(0x64 + 4 * i, 0x000, 4);
    }
    usb_board_configure();
}

static void put_td(unsigned n, bool last, uint32_t token, unsigned length, uint32_t buffer)
{
    uint32_t td = USB_TDS + 32 * n;

    usb_word(td, last ? 1 : td + 32);
    usb_word(td + 4, 1);
    usb_word(td + 8, token | length << 16);
    for (unsigned i = 0; i < 5; i++) {
        usb_word(td + 12 + 4 * i, i ? (buffer & ~0xfffu) + 0x1000 * i : buffer);
    }
}

static void coroutine_fn run(unsigned address, unsigned endpoint, unsigned ms)
{
    usb_word(QUEUE + 4, address | endpoint << 8 | 2 << 12 | 0x4000 | 512 << 16);
    usb_word(QUEUE + 16, USB_TDS);
    usb_word(QUEUE + 20, 1);
    usb_word(QUEUE + 24, 0);
    usb_pass_ms(ms);
}

static void coroutine_fn control(Input *in)
{
    uint64_t setup = input_take(in, 8);
    unsigned length = setup >> 48, to_host = setup & 0x80 ? IN_PID : 0;

    dma_write(board.vm, USB_SETUP, &setup, 8);
    put_td(0, false, ACTIVE | SETUP_PID, 8, USB_SETUP);
    put_td(1, false, ACTIVE | to_host, length & 0x7fff, USB_DATA + (length >> 15));
    put_td(2, true, ACTIVE | (IN_PID ^ to_host), 0, 0);
    run(1 + (input_take(in, 1) & 1), 0, 3);
}

static void coroutine_fn command(Input *in)
{
    uint32_t how = input_take(in, 3);

    usb_put_cbw(in);
    put_td(0, true, ACTIVE, 31, USB_SETUP);
    run(USB_STICK, 2, 2);
    put_td(0, true, ACTIVE | (how & 1 ? IN_PID : 0), how >> 1 & 0x7fff, USB_DATA + (how >> 12));
    run(USB_STICK, how & 1 ? 1 : 2, 3);
    put_td(0, true, ACTIVE | IN_PID, 13, USB_SETUP);
    run(USB_STICK, 1, 2);
}

static void coroutine_fn operate(Input *in)
{
    uint8_t op = input_take(in, 1);
    uint64_t value = 0;

    switch (op & 7) {
    case 0:
        value = input_take(in, 4);
        out(0x20 + (op >> 3) * 4, value, 4);
        break;
    case 1:
        cpu_access(board.vm, IO_SPACE_MEM, BAR + (op >> 3) * 3, &value, 4, false);
        break;
    case 2: /* a word of queue heads or TDs */
        value = input_take(in, 1);
        usb_word((op & 8 ? HEAD + (value & 31) * 4 : USB_TDS + value * 4), input_take(in, 4));
        break;
    case 3:
        value = input_take(in, 6);
        put_td(op >> 3 & 7, value & 1, ACTIVE | (value & 0x300), value >> 16 & 0x7fff,
               USB_DATA + (value >> 32));
        break;
    case 4:
        run(1 + (op >> 3 & 1), op >> 4 & 3, op >> 6);
        break;
    case 5:
        command(in);
        break;
    case 6:
        control(in);
        break;
    default: /* the queue in the periodic list too, and time */
        usb_word(FRAMES + (op & 0xf8) * 4, op & 8 ? QUEUE | 2 : 1);
        usb_word(QUEUE + 8, op & 8 ? 1 : 0);
        usb_pass_ms(op >> 4);
        break;
    }
}

static void stop(void)
{
    out(0x20, 2, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const UsbTarget target = {&usb_ehci_class, false, start, operate, stop};

    return usb_fuzz(&target, data, size);
}
