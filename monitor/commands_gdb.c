/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gdbserver: the gdb stub begins or ends while the machine runs. */
#include "base/keyval.h"
#include "commands.h"
#include "monitor/gdb.h"

#define GDB_DEVICE "tcp::1234"

const Property gdbserver_args[] = {
    {.name = "device", .type = PROP_STRING, .help = "where gdb connects to, or none"}, PROP_END};

MONITOR_HANDLER(cmd_gdbserver)
{
    const char *device = json_str(args, "device");

    device = device ? device : GDB_DEVICE;
    if (!gdb_server_start(vm, device, err)) {
        return NULL;
    }
    if (g_str_equal(device, "none")) {
        monitor_puts(mon, "Disabled gdbserver\n");
    } else {
        monitor_printf(mon, "Waiting for gdb connection on device '%s'\n", device);
    }
    return json_object();
}
