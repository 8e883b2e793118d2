/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD drive on the IDE controller under a guest that gives packets of any kind, and moves their
 * data by PIO and DMA as it likes; and a host that moves the tray meanwhile.
 */
#include "block/media.h"
#include "ide_board.h"

extern const DeviceClass ide_cd_class;

enum { FEATURES = 1, COUNT_LOW = 4, COUNT_HIGH = 5, COMMAND = 7 };

static BlockBackend *drive;

static void init(void)
{
    ide_board_init(&ide_cd_class);
    drive = ide_board_drive(&ide_cd_class, "0", "d0",
                            json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", "d0", "if", "none",
                                      "media", "cdrom", "driver", "null-co", "size", "1048576"));
}

/* A packet with its command; 'how': DMA or PIO, and the limit of a block. */
static void packet(Input *in, uint8_t how)
{
    ide_out(IDE_COMMAND + FEATURES, how & 1, 1);
    ide_out(IDE_COMMAND + COUNT_LOW, how & 2 ? 0xfe : how << 3, 1);
    ide_out(IDE_COMMAND + COUNT_HIGH, how & 4 ? 0xff : how >> 4, 1);
    ide_out(IDE_COMMAND + COMMAND, 0xa0, 1);
    for (unsigned i = 0; i < 12; i += 4) {
        ide_out(IDE_COMMAND, input_take(in, 4), 4);
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

    switch (op & 7) {
    case 0:
        ide_in(IDE_COMMAND + (detail & 7), 1);
        break;
    case 1:
        ide_write_register(in, detail & 7);
        break;
    case 2:
        ide_data(in, detail & 1, 32);
        break;
    case 3:
        if (detail & 1) {
            tray(detail >> 1);
        } else {
            ide_out(IDE_CONTROL, input_take(in, 1), 1);
        }
        break;
    case 4:
        ide_write_bus_master(in, detail & 7);
        break;
    case 5:
        ide_write_table(in, detail);
        break;
    case 6:
        packet(in, detail);
        break;
    default:
        coroutine_sleep(CLOCK_REALTIME_NS, 1);
        break;
    }
}

static void coroutine_fn guest(Input *in)
{
    block_backend_close_tray(drive, "d0", NULL);
    ide_board_start();
    for (unsigned n = 0; in->left && n < IDE_OPS_MAX; n++) {
        operate(in);
    }
    ide_board_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!ide_controller) {
        init();
    }
    return board_fuzz(data, size, guest);
}
