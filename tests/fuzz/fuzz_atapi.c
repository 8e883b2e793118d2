/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD drive on the IDE controller under a guest that gives packets of any kind, and moves their
 * data by PIO and DMA as it likes; and a host that moves the tray meanwhile.
 */
#include <stdint.h>
#include "block/media.h"
#include "board.h"
#include "devices/pci.h"

extern const DeviceClass i440fx_pcihost_class, piix_ide_class, ide_cd_class;

enum {
    OPS_MAX = 300,
    BM_PORT = 0xc000,
    COMMAND_PORT = 0x1f0,
    CONTROL_PORT = 0x3f6,
    TABLE = 0x1000,
    FEATURES = 1,
    COUNT_LOW = 4,
    COUNT_HIGH = 5,
    COMMAND = 7,
};

static PciBus *pci;
static Device *ide, *cd;
static BlockBackend *drive;
static bool over;

static void init(void)
{
    static const DeviceClass *const classes[] = {&i440fx_pcihost_class, &piix_ide_class,
                                                 &ide_cd_class, NULL};
    json_t *config = json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", "d0", "if", "none", "media",
                               "cdrom", "driver", "null-co", "size", "1048576");
    GError *err = NULL;
    Device *host;

    board_init(classes);
    host = board_add("i440FX-pcihost", NULL);
    pci = host->buses->pdata[0];
    ide = device_new(board.vm, "piix3-ide", &pci->bus, NULL, &err, "addr", "1.1", NULL);
    g_assert(ide);
    drive = block_backend_new_drive(config, &err);
    g_assert(drive);
    json_decref(config);
    cd = device_new(board.vm, "ide-cd", bus_find(board.vm, "ide.0", "IDE", NULL), NULL, &err,
                    "drive", "d0", NULL);
    g_assert(cd);
    device_lock(cd);
    ide_cd_class.run_state(cd, true);
    device_unlock(cd);
}

static void out(uint16_t port, uint64_t value, unsigned size)
{
    cpu_access(board.vm, IO_SPACE_PIO, port, &value, size, true);
}

static void coroutine_fn start(void)
{
    block_backend_close_tray(drive, "d0", NULL);
    device_lock(cd);
    device_reset(ide, RESET_COLD);
    device_reset(cd, RESET_COLD);
    device_unlock(cd);
    pci_config_write(pci, PCI_DEVFN(1, 1) << 8 | 0x20, BM_PORT | 1, 4);
    pci_config_write(pci, PCI_DEVFN(1, 1) << 8 | 0x04, 5, 2);
    out(BM_PORT + 4, TABLE, 4);
}

/* A packet with its command; 'how': DMA or PIO, and the limit of a block. */
static void packet(Input *in, uint8_t how)
{
    out(COMMAND_PORT + FEATURES, how & 1, 1);
    out(COMMAND_PORT + COUNT_LOW, how & 2 ? 0xfe : how << 3, 1);
    out(COMMAND_PORT + COUNT_HIGH, how & 4 ? 0xff : how >> 4, 1);
    out(COMMAND_PORT + COMMAND, 0xa0, 1);
    for (unsigned i = 0; i < 12; i += 4) {
        out(COMMAND_PORT, input_take(in, 4), 4);
    }
}

static void data(Input *in, bool write)
{
    uint64_t value = input_take(in, 1);
    unsigned size = value & 1 ? 2 : 4;

    for (unsigned i = 0; i < (value >> 1) * 32; i++) {
        cpu_access(board.vm, IO_SPACE_PIO, COMMAND_PORT, &value, size, write);
    }
}

static void coroutine_fn tray(uint8_t how)
{
    if (how & 1) {
        block_backend_open_tray(drive, "d0", how & 2, NULL);
    } else {
        block_backend_close_tray(drive, "d0", NULL);
    }
}

static void coroutine_fn operate(Input *in)
{
    uint8_t op = input_take(in, 1), detail = op >> 3;
    uint64_t value = 0;

    switch (op & 7) {
    case 0:
        cpu_access(board.vm, IO_SPACE_PIO, COMMAND_PORT + (detail & 7), &value, 1, false);
        break;
    case 1:
        out(COMMAND_PORT + (detail & 7), input_take(in, 1), 1);
        break;
    case 2:
        data(in, detail & 1);
        break;
    case 3:
        if (detail & 1) {
            tray(detail >> 1);
        } else {
            out(CONTROL_PORT, input_take(in, 1), 1);
        }
        break;
    case 4:
        out(BM_PORT + (detail & 7), input_take(in, detail == 4 ? 4 : 1), detail == 4 ? 4 : 1);
        break;
    case 5: /* a word of the table */
        value = input_take(in, 4);
        dma_write(board.vm, TABLE + detail * 4, &value, 4);
        break;
    case 6:
        packet(in, detail);
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
