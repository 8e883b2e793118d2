/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For fuzz targets of IDE's drives: the controller, and what all guests do with it. */
#ifndef TESTS_FUZZ_IDE_BOARD_H
#define TESTS_FUZZ_IDE_BOARD_H

#include <stdint.h>
#include "block/backend.h"
#include "board.h"
#include "devices/pci.h"

extern const DeviceClass i440fx_pcihost_class, piix_ide_class;

enum {
    IDE_OPS_MAX = 300,
    IDE_COMMAND = 0x1f0,
    IDE_CONTROL = 0x3f6,
    IDE_BM = 0xc000,
    IDE_TABLE = 0x1000, /* the bus master's, in memory */
};

static PciBus *ide_pci;
static Device *ide_controller;

static inline void ide_board_init(const DeviceClass *drive)
{
    static const DeviceClass *classes[] = {&i440fx_pcihost_class, &piix_ide_class, NULL, NULL};
    GError *err = NULL;

    classes[2] = drive;
    board_init(classes);
    ide_pci = board_add("i440FX-pcihost", NULL)->buses->pdata[0];
    ide_controller =
        device_new(board.vm, "piix3-ide", &ide_pci->bus, NULL, &err, "addr", "1.1", NULL);
    g_assert(ide_controller);
}

/* Drive 'unit' of the first channel. Takes the -drive, whose id is 'id'. */
static inline BlockBackend *ide_board_drive(const DeviceClass *class, const char *unit,
                                            const char *id, json_t *config)
{
    GError *err = NULL;
    BlockBackend *blk = block_backend_new_drive(config, &err);
    Device *dev;

    g_assert(blk);
    json_decref(config);
    dev = device_new(board.vm, class->name, bus_find(board.vm, "ide.0", "IDE", NULL), NULL, &err,
                     "drive", id, "unit", unit, NULL);
    g_assert(dev);
    device_lock(dev);
    class->run_state(dev, true);
    device_unlock(dev);
    return blk;
}

static inline void ide_out(uint16_t port, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_PIO, port, &value, size, true);
}

static inline void ide_in(uint16_t port, unsigned size)
{
    uint64_t value = 0;

    cpu_access(board.vm, IO_SPACE_PIO, port, &value, size, false);
}

/* The controller and its drives as after power on, with the bus master's ports in place. */
static inline void ide_board_start(void)
{
    device_lock(ide_controller);
    device_reset(ide_controller, RESET_COLD);
    device_unlock(ide_controller);
    pci_config_write(ide_pci, PCI_DEVFN(1, 1) << 8 | 0x20, IDE_BM | 1, 4);
    pci_config_write(ide_pci, PCI_DEVFN(1, 1) << 8 | 0x04, 5, 2);
    ide_out(IDE_BM + 4, IDE_TABLE, 4);
}

static inline void ide_board_end(void)
{
    ide_out(IDE_CONTROL, 4, 1); /* waits for requests */
    ide_out(IDE_BM, 0, 1);
}

/* Words or doublewords of data: up to 127 times 'scale'. */
static inline void ide_data(Input *in, bool write, unsigned scale)
{
    uint64_t value = input_take(in, 1);
    unsigned size = value & 1 ? 2 : 4, n = (value >> 1) * scale;

    for (unsigned i = 0; i < n; i++) {
        cpu_access(board.vm, IO_SPACE_PIO, IDE_COMMAND, &value, size, write);
    }
}

static inline void ide_write_register(Input *in, unsigned reg)
{
    ide_out(IDE_COMMAND + reg, input_take(in, 1), 1);
}

static inline void ide_write_bus_master(Input *in, unsigned reg)
{
    unsigned size = reg == 4 ? 4 : 1;

    ide_out(IDE_BM + reg, input_take(in, size), size);
}

static inline void ide_write_table(Input *in, unsigned word)
{
    uint32_t value = input_take(in, 4);

    dma_write(board.vm, IDE_TABLE + word * 4, &value, 4);
}

#endif
