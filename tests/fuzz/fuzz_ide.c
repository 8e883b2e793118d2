/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE controller and a disk under a guest that writes registers, PRD tables and data as it
 * likes, and resets or stops what is under way.
 */
#include <stdint.h>
#include "block/backend.h"
#include "board.h"
#include "devices/pci.h"

extern const DeviceClass i440fx_pcihost_class, piix_ide_class, ide_hd_class;

enum {
    OPS_MAX = 300,
    BM_PORT = 0xc000,
    COMMAND_PORT = 0x1f0,
    CONTROL_PORT = 0x3f6,
    TABLE = 0x1000
};

static PciBus *pci;
static Device *ide, *disks[2];
static bool over;

static void add_disk(unsigned unit)
{
    GError *err = NULL;
    g_autofree char *id = g_strdup_printf("d%u", unit), *place = g_strdup_printf("%u", unit);
    json_t *drive = json_pack("{s:s, s:s, s:s, s:s}", "id", id, "if", "none", "driver", "null-co",
                              "size", unit ? "65536" : "1048576");

    g_assert(block_backend_new_drive(drive, &err));
    json_decref(drive);
    disks[unit] = device_new(board.vm, "ide-hd", bus_find(board.vm, "ide.0", "IDE", NULL), NULL,
                             &err, "drive", id, "unit", place, NULL);
    g_assert(disks[unit]);
    device_lock(disks[unit]);
    ide_hd_class.run_state(disks[unit], true);
    device_unlock(disks[unit]);
}

static void init(void)
{
    static const DeviceClass *const classes[] = {&i440fx_pcihost_class, &piix_ide_class,
                                                 &ide_hd_class, NULL};
    GError *err = NULL;
    Device *host;

    board_init(classes);
    host = board_add("i440FX-pcihost", NULL);
    pci = host->buses->pdata[0];
    ide = device_new(board.vm, "piix3-ide", &pci->bus, NULL, &err, "addr", "1.1", NULL);
    g_assert(ide);
    add_disk(0);
    add_disk(1);
}

static void out(uint16_t port, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_PIO, port, &value, size, true);
}

static void start(void)
{
    device_lock(ide);
    device_reset(ide, RESET_COLD);
    device_unlock(ide);
    pci_config_write(pci, PCI_DEVFN(1, 1) << 8 | 0x20, BM_PORT | 1, 4);
    pci_config_write(pci, PCI_DEVFN(1, 1) << 8 | 0x04, 5, 2);
    out(BM_PORT + 4, TABLE, 4);
}

/* A task file in one go, since few of single writes make a command. */
static void command(Input *in)
{
    for (unsigned reg = 1; reg < 8; reg++) {
        out(COMMAND_PORT + reg, input_take(in, 1), 1);
    }
}

static void data(Input *in, bool write)
{
    uint64_t value = input_take(in, 1);
    unsigned size = value & 1 ? 2 : 4;

    for (unsigned i = 0; i < (value >> 1) * 16; i++) {
        cpu_access(board.vm, IO_SPACE_PIO, COMMAND_PORT, &value, size, write);
    }
}

static void coroutine_fn operate(Input *in)
{
    uint8_t op = input_take(in, 1), byte;
    uint64_t value = 0;

    switch (op & 7) {
    case 0:
        cpu_access(board.vm, IO_SPACE_PIO, COMMAND_PORT + (op >> 4 & 7), &value, 1 << (op >> 3 & 1),
                   false);
        break;
    case 1:
        out(COMMAND_PORT + (op >> 3 & 7), input_take(in, 1), 1);
        break;
    case 2:
        data(in, op & 8);
        break;
    case 3:
        out(CONTROL_PORT, input_take(in, 1), 1);
        break;
    case 4:
        byte = op >> 3 & 7;
        out(BM_PORT + byte, input_take(in, byte == 4 ? 4 : 1), byte == 4 ? 4 : 1);
        break;
    case 5: /* a word of the table */
        value = input_take(in, 4);
        dma_write(board.vm, TABLE + (op >> 3) * 4, &value, 4);
        break;
    case 6:
        command(in);
        break;
    default:
        coroutine_sleep(CLOCK_REALTIME_NS, 1);
        break;
    }
}

static void coroutine_fn guest(void *data)
{
    Input *in = data;

    start();
    for (unsigned n = 0; in->left && n < OPS_MAX; n++) {
        operate(in);
    }
    out(CONTROL_PORT, 4, 1); /* waits for requests */
    out(BM_PORT, 0, 1);
    over = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {.data = data, .left = size};

    if (!ide) {
        init();
    }
    over = false;
    coroutine_start(guest, &in);
    while (!over) {
        event_loop_iterate(board.loop, -1);
    }
    board_turn();
    return 0;
}
