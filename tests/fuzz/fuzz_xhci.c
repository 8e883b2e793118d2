/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The xHCI controller with a keyboard, a tablet behind a hub, and a stick, under a guest that
 * writes registers, rings and contexts as it likes. State that passes its check is loaded as well.
 */
#include <linux/input-event-codes.h>
#include <stdint.h>
#include "block/backend.h"
#include "board.h"
#include "devices/pci.h"
#include "ui/input.h"

extern const DeviceClass i440fx_pcihost_class, qemu_xhci_class, usb_hub_class, usb_kbd_class,
    usb_storage_class, usb_tablet_class;

enum {
    OPS_MAX = 200,
    TURNS_MAX = 8,
    BAR = 0x10000000,
    DCBAA = 0x1000,
    ERST = 0x1400,
    EVENTS = 0x1800, /* 64 TRBs */
    COMMANDS = 0x2000,
    INPUT = 0x3000,
    OUTPUT = 0x4000, /* 4 slots of 1 KiB */
    RINGS = 0x6000,  /* 16 of 512 bytes */
    DATA = 0x10000,

    USBCMD = 0x40,
    CRCR = 0x58,
    DCBAAP = 0x70,
    CONFIG = 0x78,
    PORTSC = 0x440,
    ERSTSZ = 0x1028,
    ERSTBA = 0x1030,
    ERDP = 0x1038,
    DOORBELL = 0x2000,
};

static PciBus *pci;
static Device *xhci;
static unsigned commands;

static Device *add(const char *class, const char *key, const char *value)
{
    GError *err = NULL;
    Device *dev = device_new(board.vm, class, bus_find(board.vm, NULL, "usb-bus", NULL), NULL, &err,
                             "port", key, value ? "drive" : NULL, value, NULL);

    g_assert(dev);
    if (dev->class->run_state) {
        device_lock(dev);
        dev->class->run_state(dev, true);
        device_unlock(dev);
    }
    return dev;
}

static void init(void)
{
    static const DeviceClass *const classes[] = {&i440fx_pcihost_class,
                                                 &qemu_xhci_class,
                                                 &usb_hub_class,
                                                 &usb_kbd_class,
                                                 &usb_storage_class,
                                                 &usb_tablet_class,
                                                 NULL};
    GError *err = NULL;
    json_t *drive = json_pack("{s:s, s:s, s:s, s:s}", "id", "d", "if", "none", "driver", "null-co",
                              "size", "1048576");

    board_init(classes);
    pci = board_add("i440FX-pcihost", NULL)->buses->pdata[0];
    g_assert(block_backend_new_drive(drive, &err));
    json_decref(drive);
    xhci = device_new(board.vm, "qemu-xhci", &pci->bus, NULL, &err, "addr", "2", NULL);
    g_assert(xhci);
    device_lock(xhci);
    qemu_xhci_class.run_state(xhci, true);
    device_unlock(xhci);
    add("usb-kbd", "1", NULL);
    add("usb-hub", "2", NULL);
    add("usb-tablet", "2.1", NULL);
    add("usb-storage", "3", "d");
}

static void turns(void)
{
    for (unsigned i = 0; i < TURNS_MAX && event_loop_iterate(board.loop, 0); i++) {
    }
}

static void reg(uint32_t offset, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_MEM, BAR + offset, &value, size, true);
}

static void put(uint32_t addr, uint64_t parameter, uint32_t status, uint32_t control)
{
    uint8_t raw[16];

    stle64(raw, parameter);
    stle32(raw + 8, status);
    stle32(raw + 12, control);
    dma_write(board.vm, addr, raw, sizeof raw);
}

static void word(uint32_t addr, uint32_t value)
{
    uint8_t raw[4];

    stle32(raw, value);
    dma_write(board.vm, addr, raw, sizeof raw);
}

static void command(uint64_t parameter, uint32_t control)
{
    put(COMMANDS + 16 * (commands % 128), parameter, 0, control | 1);
    commands++;
    reg(DOORBELL, 0, 4);
}

/* Endpoints 0, bulk IN 1 and OUT 2 (interrupt IN 1 where there is no bulk) of a device. */
static void set_up(unsigned slot, unsigned port, bool bulk)
{
    static const uint8_t types[] = {0, 4, 0, 6, 2};

    dma_set(board.vm, INPUT, 0, 0x800);
    word(INPUT + 4, 3);
    word(INPUT + 32, 4u << 27);
    word(INPUT + 36, port << 16);
    for (unsigned dci = 1; dci < 5; dci++) {
        word(INPUT + 32 * (dci + 1) + 4, (bulk || dci != 3 ? types[dci] : 7) << 3 | 64 << 16);
        word(INPUT + 32 * (dci + 1) + 8, (RINGS + 0x200 * ((slot * 4 + dci - 1) & 15)) | 1);
    }
    reg(PORTSC + 16 * (port - 1), 0x210, 4);
    command(0, 9 << 10);
    command(INPUT, 11 << 10 | slot << 24);
    turns();
    word(INPUT + 4, bulk ? 0x19 : 0x09);
    command(INPUT, 12 << 10 | slot << 24);
    turns();
}

/* What passes the check of a load becomes the state: a few of its bytes are others. */
static void load(uint32_t seed)
{
    const StateSection *s = &qemu_xhci_class.state[1];
    const StateDesc *desc = s->desc();
    g_autofree uint8_t *state = g_malloc0(desc->size), *other = g_malloc0(desc->size);
    uint8_t *now = (uint8_t *)xhci + s->offset;

    memcpy(state, now, desc->size);
    state_scramble(desc, other, &seed);
    for (unsigned i = 0; i < 60; i++) {
        size_t at = (seed = seed * 1664525 + 1013904223) % desc->size;

        state[at] = other[at];
    }
    device_lock(xhci);
    if (qemu_xhci_class.check_state(xhci, 1, state, NULL)) {
        memcpy(now, state, desc->size);
        qemu_xhci_class.post_load(xhci);
    }
    device_unlock(xhci);
}

static void start(bool ready)
{
    device_lock(xhci);
    device_reset(xhci, RESET_COLD);
    device_unlock(xhci);
    dma_set(board.vm, 0, 0, BOARD_RAM);
    commands = 0;
    pci_config_write(pci, 2 << 11 | 0x10, BAR, 4);
    pci_config_write(pci, 2 << 11 | 0x14, 0, 4);
    pci_config_write(pci, 2 << 11 | 0x04, 6, 2);
    word(ERST, EVENTS);
    word(ERST + 8, 64);
    for (unsigned slot = 1; slot < 5; slot++) {
        word(DCBAA + 8 * slot, OUTPUT + 1024 * (slot - 1));
    }
    reg(CONFIG, 64, 4);
    reg(DCBAAP, DCBAA, 8);
    reg(CRCR, COMMANDS | 1, 8);
    reg(ERSTSZ, 1, 4);
    reg(ERDP, EVENTS, 8);
    reg(ERSTBA, ERST, 8);
    reg(USBCMD, 5, 4);
    if (ready) {
        set_up(1, 1, false);
        set_up(2, 7, true);
        reg(ERDP, EVENTS | 8, 8);
    }
}

/* Addresses are near what there is, mostly. */
static uint64_t address(Input *in)
{
    uint32_t v = input_take(in, 3);

    return v & 0x800000 ? (uint64_t)v << 20 : v & 0x3ffff;
}

static void transfer(Input *in)
{
    unsigned ring = input_take(in, 1) & 15, at = input_take(in, 1) & 31, type = input_take(in, 1);
    uint32_t control = input_take(in, 4), status;
    uint64_t parameter = type & 0x80 ? input_take(in, 8) : address(in);

    status = type & 0x40 ? input_take(in, 4) : input_take(in, 2) & 0x1fff;
    control = (control & ~0xfc00u) | (type % 10) << 10 | 1;
    put(RINGS + 0x200 * ring + 16 * at, parameter, status, control);
}

/* A command for the stick. */
static void stick(Input *in)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C'};

    for (unsigned i = 8; i < sizeof cbw; i++) {
        cbw[i] = input_take(in, 1);
    }
    cbw[14] = 10;
    dma_write(board.vm, DATA, cbw, sizeof cbw);
    put(RINGS + 0x200 * 11, DATA, 31, 1 << 10 | 0x21);
    reg(DOORBELL + 8, 4, 4);
}

static void operate(Input *in)
{
    static const uint16_t regs[] = {0x40,   0x44,   0x54,   0x58,   0x5c,   0x70,   0x78,
                                    0x440,  0x450,  0x4a0,  0x1020, 0x1024, 0x1028, 0x1030,
                                    0x1034, 0x1038, 0x103c, 0x1048, 0x1050, 0x1058};
    uint8_t op = input_take(in, 1);
    uint64_t value = 0;
    uint32_t type, dci;

    switch (op & 15) {
    case 0 ... 1:
        reg(regs[(op >> 4 | (op & 1) << 4) % ARRAY_SIZE(regs)], input_take(in, 4), 4);
        break;
    case 2:
        cpu_access(board.vm, IO_SPACE_MEM, BAR + (input_take(in, 2) & 0x3fff), &value,
                   1 << (op >> 6), false);
        break;
    case 3 ... 5:
        transfer(in);
        break;
    case 6 ... 7:
        reg(DOORBELL + 4 * (op >> 4 & 7), input_take(in, 1) & (op & 0x80 ? 0xff : 0x07), 4);
        break;
    case 8:
        value = op & 0x80 ? address(in) : INPUT;
        type = input_take(in, 1) % 25;
        dci = input_take(in, 1) & 7;
        command(value, (uint32_t)(op >> 4 & 3) << 24 | type << 10 | dci << 16 |
                           (input_take(in, 1) & 1) << 9);
        break;
    case 9:
        value = input_take(in, 1) << 2;
        word(INPUT + value, input_take(in, 4));
        break;
    case 10:
        word((op & 0x80 ? ERST : op & 0x40 ? DCBAA : EVENTS) + 4 * (op >> 4 & 3), address(in));
        break;
    case 11:
        stick(in);
        break;
    case 12:
        input_send(board.vm, INPUT_KEY, KEY_A, op >> 4 & 1);
        input_send(board.vm, INPUT_ABS, ABS_X, input_take(in, 2) & INPUT_ABS_MAX);
        input_send(board.vm, INPUT_SYNC, 0, 0);
        break;
    case 13:
        reg(ERDP, (EVENTS + 16 * (input_take(in, 1) & 63)) | 8, 8);
        break;
    case 14:
        if (op & 0x80) {
            load(input_take(in, 4));
        }
        break;
    default:
        turns();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};

    if (!xhci) {
        init();
    }
    start(input_take(&in, 1) & 1);
    for (unsigned n = 0; in.left && n < OPS_MAX; n++) {
        operate(&in);
    }
    turns();
    reg(USBCMD, 2, 4); /* what turns in circles ends */
    board_turn();
    return 0;
}
