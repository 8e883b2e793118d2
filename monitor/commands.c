/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands. */
#include "commands.h"

#include "base/error.h"

static const Property enable_args[] = {
    {.name = "enable", .type = PROP_STRING_LIST, .help = "capabilities"}, PROP_END};
static const Property hmc_args[] = {
    {.name = "command-line",
     .type = PROP_STRING,
     .help = "an HMP line",
     .flags = PROP_FLAG_REQUIRED},
    {.name = "cpu-index", .type = PROP_UINT32, .help = "the CPU it looks at"},
    PROP_END,
};
static const Property help_args[] = {{.name = "name", .type = PROP_STRING, .help = "a command"},
                                     PROP_END};

static const MonitorCommand table[] = {
    /* Both. */
    {"stop", "stop", "s", .help = "stop emulation", .run = cmd_stop},
    {"cont", "cont", "c", .help = "resume emulation", .run = cmd_cont},
    {"system_reset", "system_reset", .help = "reset the system", .run = cmd_system_reset},
    {"system_powerdown", "system_powerdown", .help = "send system power down event",
     .run = cmd_system_powerdown},
    {"system_wakeup", "system_wakeup", .help = "wakeup guest from suspend",
     .run = cmd_system_wakeup},
    {"quit", "quit", "q", .help = "quit the emulator", .run = cmd_quit},
    {"inject-nmi", "nmi", .help = "inject an NMI", .run = cmd_nmi},
    {"query-status", "info status", .help = "show the current VM status (running|paused)",
     .run = cmd_query_status, .print = print_status},
    {"query-version", "info version", .help = "show the version", .run = cmd_query_version,
     .print = print_version},
    /* QMP alone. */
    {"qmp_capabilities", .args = enable_args, .help = "end of the negotiation",
     .run = cmd_qmp_capabilities},
    {"query-commands", .help = "the names of all commands", .run = cmd_query_commands},
    {"human-monitor-command", .args = hmc_args, .help = "an HMP line and what it prints",
     .run = cmd_human_monitor},
    /* HMP alone. */
    {.hmp = "help",
     .hmp_alias = "?",
     .args = help_args,
     .hmp_args = "[cmd]",
     .help = "show the help",
     .run = cmd_help},
    {0},
};

const MonitorCommand *monitor_commands(void)
{
    return table;
}
