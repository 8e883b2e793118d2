/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The handlers that the table of commands lists, and how HMP prints their results. */
#ifndef MONITOR_COMMANDS_H
#define MONITOR_COMMANDS_H

#include "internal.h"

#define MONITOR_HANDLER(name) json_t *name(Monitor *mon, Vm *vm, json_t *args, GError **err)
#define MONITOR_PRINTER(name) void name(Monitor *mon, json_t *result)

MONITOR_HANDLER(cmd_stop);
MONITOR_HANDLER(cmd_cont);
MONITOR_HANDLER(cmd_system_reset);
MONITOR_HANDLER(cmd_system_powerdown);
MONITOR_HANDLER(cmd_system_wakeup);
MONITOR_HANDLER(cmd_quit);
MONITOR_HANDLER(cmd_nmi);
MONITOR_HANDLER(cmd_query_status);
MONITOR_HANDLER(cmd_query_version);
MONITOR_HANDLER(cmd_qmp_capabilities);
MONITOR_HANDLER(cmd_query_commands);
MONITOR_HANDLER(cmd_human_monitor);
MONITOR_HANDLER(cmd_help);
MONITOR_PRINTER(print_status);
MONITOR_PRINTER(print_version);

#endif
