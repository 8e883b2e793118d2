/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA under a guest that writes ports, VBE registers, the window and the BARs as it likes, with
 * a viewer that wakes and sleeps, screenshots and text in between.
 */
#include <stdint.h>
#include "board.h"
#include "devices/pci.h"
#include "ui/screen.h"

extern const DeviceClass i440fx_pcihost_class, vga_pci_class;

enum { OPS_MAX = 400, MEMORY_BAR = 0xe0000000, MMIO_BAR = 0xe1000000, VGA_MEMORY = 1 << 20 };

static PciBus *pci;
static Device *vga;
static ScreenViewer viewer;
static uint64_t seen; /* keeps the pixels from being optimised away */

static void look(ScreenViewer *v)
{
    const Surface *f = &v->screen->surface;
    unsigned x, y, w, h;

    screen_viewer_resized(v);
    while (screen_viewer_take(v, &x, &y, &w, &h)) {
        seen += f->pixels[(size_t)(y + h - 1) * f->stride + x + w - 1];
    }
}

static void gone(ScreenViewer *v)
{
}

static void init(void)
{
    static const DeviceClass *const classes[] = {&i440fx_pcihost_class, &vga_pci_class, NULL};
    GError *err = NULL;
    Device *host;

    board_init(classes);
    host = board_add("i440FX-pcihost", NULL);
    pci = host->buses->pdata[0];
    vga = device_new(board.vm, "VGA", &pci->bus, NULL, &err, "addr", "2.0", "vgamem_mb", "1",
                     "romfile", "", NULL);
    g_assert(vga);
    viewer = (ScreenViewer){.changed = look, .gone = gone};
    screen_viewer_add(&viewer, screen_get(board.vm, 0));
}

static void config(unsigned reg, uint32_t value)
{
    pci_config_write(pci, PCI_DEVFN(2, 0) << 8 | reg, value, 4);
}

static void port(uint16_t port, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_PIO, port, &value, size, true);
}

static void read_screen(void)
{
    ScreenText text;
    g_autoptr(GError) err = NULL;

    if (screen_read_text(screen_get(board.vm, 0), &text, &err)) {
        g_free(screen_text_utf8(&text));
        screen_text_clear(&text);
    }
}

/* An indexed register, with its index. */
static void indexed(Input *in)
{
    static const uint16_t ports[] = {0x3c4, 0x3ce, 0x3d4, 0x3b4};
    unsigned which = input_take(in, 1);

    if (which & 4) {
        port(0x1ce, which >> 3, 2);
        port(0x1cf, input_take(in, 2), 2);
    } else {
        port(ports[which & 3], which >> 3 | input_take(in, 1) << 8, 2);
    }
}

static void operate(Input *in)
{
    uint8_t op = input_take(in, 1);
    unsigned size = 1 << (op >> 4 & 3);
    uint64_t value, addr;

    switch (op & 15) {
    case 0:
        cpu_access(board.vm, IO_SPACE_PIO, 0x3b0 + input_take(in, 1) % 0x30, &value, MIN(size, 4),
                   false);
        break;
    case 1:
        addr = 0x3b0 + input_take(in, 1) % 0x30;
        port(addr, input_take(in, MIN(size, 4)), MIN(size, 4));
        break;
    case 2:
        addr = 0xa0000 + (input_take(in, 3) & 0x1ffff);
        value = input_take(in, size);
        cpu_access(board.vm, IO_SPACE_MEM, addr, &value, size, true);
        break;
    case 3:
        cpu_access(board.vm, IO_SPACE_MEM, 0xa0000 + (input_take(in, 3) & 0x1ffff), &value, size,
                   false);
        break;
    case 4:
        addr = MMIO_BAR + (input_take(in, 2) & 0xfff);
        value = input_take(in, size);
        cpu_access(board.vm, IO_SPACE_MEM, addr, &value, size, true);
        break;
    case 5:
        cpu_access(board.vm, IO_SPACE_MEM, MMIO_BAR + (input_take(in, 2) & 0xfff), &value, size,
                   false);
        break;
    case 6:
        addr = MEMORY_BAR + (input_take(in, 3) & (VGA_MEMORY - 1));
        value = input_take(in, size);
        cpu_access(board.vm, IO_SPACE_MEM, addr, &value, size, true);
        break;
    case 7:
        screen_draw_now(screen_get(board.vm, 0));
        break;
    case 8:
        read_screen();
        break;
    case 9:
        screen_viewer_wake(&viewer, op & 16);
        break;
    case 10:
        virtual_clock_set(clock_ns(CLOCK_VIRTUAL_NS) + input_take(in, 4));
        break;
    case 11:
        board_turn();
        break;
    default:
        indexed(in);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};

    if (!vga) {
        init();
    }
    device_lock(vga);
    device_reset(vga, RESET_COLD);
    device_unlock(vga);
    config(0x10, MEMORY_BAR);
    config(0x18, MMIO_BAR);
    config(0x04, 2);
    screen_viewer_wake(&viewer, true);
    for (unsigned n = 0; in.left && n < OPS_MAX; n++) {
        operate(&in);
    }
    screen_draw_now(screen_get(board.vm, 0));
    read_screen();
    look(&viewer);
    board_turn();
    return 0;
}
