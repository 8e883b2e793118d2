/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UHCI with a stick, a hub and a keyboard under a guest that writes registers, lists and TDs as it
 * likes, and sends commands that are nearly right.
 */
#include "usb_board.h"

extern const DeviceClass piix3_usb_uhci_class;

enum { PORT = 0xc000, QUEUE = USB_LISTS, FRAMES = 0x8000, ACTIVE = 0x1c800000, SHORT = 1 << 29 };

static void out(unsigned reg, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_PIO, PORT + reg, &value, size, true);
}

static void start(void)
{
    usb_board_reset(4, PORT | 1);
    for (unsigned i = 0; i < 1024; i++) {
        usb_word(FRAMES + 4 * i, QUEUE | 2);
    }
    usb_word(QUEUE, 1);
    usb_word(QUEUE + 4, 1);
    out(8, FRAMES, 4);
    out(4, 0x0f, 2);
    for (unsigned i = 0; i < 2; i++) {
        out(0x10 + 2 * i, 0x200, 2);
        out(0x10 + 2 * i, 0x000, 2);
        out(0x10 + 2 * i, 0x006, 2);
    }
    usb_board_configure();
    out(0, 1, 2);
}

static void put_td(unsigned n, bool last, uint32_t ctrl, uint8_t pid, unsigned address,
                   unsigned endpoint, unsigned length, uint32_t buffer)
{
    uint32_t td = USB_TDS + 16 * n;

    usb_word(td, last ? 1 : (td + 16) | 4);
    usb_word(td + 4, ctrl);
    usb_word(td + 8, pid | address << 8 | endpoint << 15 | ((length - 1) & 0x7ff) << 21);
    usb_word(td + 12, buffer);
}

static void coroutine_fn run(unsigned ms)
{
    usb_word(QUEUE + 4, USB_TDS);
    usb_pass_ms(ms);
}

static unsigned put_data(unsigned n, bool in, unsigned address, unsigned endpoint, unsigned packet,
                         unsigned length)
{
    for (unsigned at = 0; at < length && n < 200; at += packet, n++) {
        put_td(n, false, ACTIVE | SHORT, in ? 0x69 : 0xe1, address, endpoint,
               MIN(packet, length - at), USB_DATA + at);
    }
    return n;
}

static void coroutine_fn control(Input *in)
{
    uint64_t setup = input_take(in, 8);
    unsigned address = input_take(in, 1) & 3, length = MIN(setup >> 48, 512), n;
    bool to_host = setup & 0x80;

    dma_write(board.vm, USB_SETUP, &setup, 8);
    put_td(0, false, ACTIVE, 0x2d, address, 0, 8, USB_SETUP);
    n = put_data(1, to_host, address, 0, 64, length);
    put_td(n, true, ACTIVE, to_host ? 0xe1 : 0x69, address, 0, 0, 0);
    run(4);
}

static void coroutine_fn command(Input *in)
{
    unsigned length, n, packet = 8 << (input_take(in, 1) & 7);
    bool to_host = input_take(in, 1) & 1;

    length = input_take(in, 2) & 0x1fff;
    usb_put_cbw(in);
    put_td(0, false, ACTIVE, 0xe1, USB_STICK, 2, 31, USB_SETUP);
    n = put_data(1, to_host, USB_STICK, to_host ? 1 : 2, packet, length);
    put_td(n, true, ACTIVE, 0x69, USB_STICK, 1, 13, USB_SETUP);
    run(6);
    if (input_take(in, 1) & 1) { /* the rest, after a short packet */
        usb_word(QUEUE + 4, USB_TDS + 16 * n);
        usb_pass_ms(2);
    }
}

static void coroutine_fn operate(Input *in)
{
    uint8_t op = input_take(in, 1);
    uint64_t value;

    switch (op & 7) {
    case 0:
        value = input_take(in, 4);
        out(op >> 3, value, 1 << (value & 3) % 3);
        break;
    case 1:
        cpu_access(board.vm, IO_SPACE_PIO, PORT + (op >> 3), &value, 2, false);
        break;
    case 2: /* a word of queue or TDs */
        value = input_take(in, 1);
        usb_word((op & 8 ? QUEUE : USB_TDS) + value * 4, input_take(in, 4));
        break;
    case 3:
        value = input_take(in, 4);
        put_td(op >> 3, value & 1, ACTIVE | (value & 2 ? SHORT : 0),
               (const uint8_t[]){0x69, 0xe1, 0x2d, 0x69}[value >> 2 & 3], value >> 4 & 3,
               value >> 6 & 3, value >> 8 & 0x7ff, USB_DATA + (value >> 16));
        break;
    case 4:
        run(op >> 5);
        break;
    case 5:
        command(in);
        break;
    case 6:
        control(in);
        break;
    default:
        usb_pass_ms(op >> 3);
        break;
    }
}

static void stop(void)
{
    out(0, 2, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const UsbTarget target = {&piix3_usb_uhci_class, true, start, operate, stop};

    return usb_fuzz(&target, data, size);
}
