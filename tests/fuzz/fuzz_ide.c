/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IDE controller and two disks under a guest that writes registers, PRD tables and data as it
 * likes, and resets or stops what is under way.
 */
#include "ide_board.h"

extern const DeviceClass ide_hd_class;

static void init(void)
{
    ide_board_init(&ide_hd_class);
    for (unsigned unit = 0; unit < 2; unit++) {
        g_autofree char *id = g_strdup_printf("d%u", unit), *place = g_strdup_printf("%u", unit);

        ide_board_drive(&ide_hd_class, place, id,
                        json_pack("{s:s, s:s, s:s, s:s}", "id", id, "if", "none", "driver",
                                  "null-co", "size", unit ? "65536" : "1048576"));
    }
}

/* A task file in one go, since few of single writes make a command. */
static void command(Input *in)
{
    for (unsigned reg = 1; reg < 8; reg++) {
        ide_write_register(in, reg);
    }
}

static void coroutine_fn operate(Input *in)
{
    uint8_t op = input_take(in, 1);

    switch (op & 7) {
    case 0:
        ide_in(IDE_COMMAND + (op >> 4 & 7), 1 << (op >> 3 & 1));
        break;
    case 1:
        ide_write_register(in, op >> 3 & 7);
        break;
    case 2:
        ide_data(in, op & 8, 16);
        break;
    case 3:
        ide_out(IDE_CONTROL, input_take(in, 1), 1);
        break;
    case 4:
        ide_write_bus_master(in, op >> 3 & 7);
        break;
    case 5:
        ide_write_table(in, op >> 3);
        break;
    case 6:
        command(in);
        break;
    default:
        coroutine_sleep(CLOCK_REALTIME_NS, 1);
        break;
    }
}

static void coroutine_fn guest(Input *in)
{
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
