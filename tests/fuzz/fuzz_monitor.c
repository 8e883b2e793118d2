/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client sends to a monitor: bytes of a QMP or HMP stream, in pieces, over a machine with
 * nothing in it. The first byte chooses the kind of monitor and the size of the pieces.
 */
#include <stdint.h>
#include <string.h>
#include "board.h"
#include "chardev/chardev.h"
#include "machine/machine.h"
#include "monitor/monitor.h"

extern const DeviceClass fw_cfg_io_class;

/*
 * The table of commands without those that open files, ports or programs of the host that the
 * fuzzer runs on. The program is linked with --wrap=monitor_commands.
 */
const MonitorCommand *__real_monitor_commands(void);
const MonitorCommand *__wrap_monitor_commands(void);

const MonitorCommand *__wrap_monitor_commands(void)
{
    static const char *const left_out[] = {
        "netdev_add", "blockdev-add", "drive_add",         "chardev-add",  "object-add",
        "object_add", "logfile",      "hostfwd_add",       "x-save-state", "x-load-state",
        "memsave",    "pmemsave",     "dump-guest-memory", NULL,
    };
    static GArray *table;

    if (!table) {
        table = g_array_new(TRUE, TRUE, sizeof(MonitorCommand));
        for (const MonitorCommand *c = __real_monitor_commands(); c->name || c->hmp; c++) {
            if (!(c->name && g_strv_contains(left_out, c->name)) &&
                !(c->hmp && g_strv_contains(left_out, c->hmp))) {
                g_array_append_vals(table, c, 1);
            }
        }
    }
    return (const MonitorCommand *)table->data;
}

static json_t *query_options(const char *option)
{
    return json_array();
}

static Chardev *chr;

static void init(void)
{
    static const DeviceClass *const classes[] = {&fw_cfg_io_class, NULL};
    static const MachineClass machine = {.name = "fuzz"};
    json_t *config = json_pack("{s:s,s:s}", "backend", "null", "id", "fuzz");

    board_init(classes);
    board.vm->machine_class = &machine;
    board_add("fw_cfg_io", NULL);
    chr = chardev_add(config, NULL);
    g_assert(chr);
    json_decref(config);
}

static void send_bytes(const uint8_t *data, size_t size, size_t piece)
{
    for (unsigned waits = 0; size && waits < 1000;) {
        size_t n = MIN(MIN(size, piece), chardev_can_read(chr));

        if (!n) {
            waits++;
        } else {
            chardev_deliver(chr, data, n);
            data += n;
            size -= n;
        }
        board_turn();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const MonitorHost host = {.query_command_line_options = query_options};
    static const char hello[] = "{'execute':'qmp_capabilities','arguments':{'enable':['oob']}}";
    Input in = {.data = data, .left = size};
    uint8_t how = input_take(&in, 1);
    MonitorMode mode = how % 3;
    bool ok;

    if (!chr) {
        init();
    }
    monitor_init(board.vm, &host);
    ok = monitor_add(chr, mode, NULL);
    g_assert(ok);
    board_turn();
    if (mode != MONITOR_HMP && (how & 0x80)) {
        send_bytes((const uint8_t *)hello, strlen(hello), sizeof hello);
    }
    send_bytes(in.data, in.left, how & 0x40 ? 1 : how & 0x20 ? 7 : 4096);
    if (mode == MONITOR_HMP) {
        send_bytes((const uint8_t *)"\n", 1, 1);
    }
    board_turn();
    monitor_cleanup();
    board_turn();
    return 0;
}
