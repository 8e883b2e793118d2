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

static const Property registers_args[] = {{.name = "a", .type = PROP_BOOL, .help = "all CPUs"},
                                          PROP_END};
static const Property block_args[] = {{.name = "v", .type = PROP_BOOL, .help = "more of each"},
                                      PROP_END};
static const Property mtree_args[] = {
    {.name = "f", .type = PROP_BOOL, .help = "as dispatch sees it"}, PROP_END};
static const Property cpu_args[] = {
    {.name = "index", .type = PROP_UINT32, .help = "the CPU", .flags = PROP_FLAG_REQUIRED},
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
    {"query-name", "info name", .help = "show the current VM name", .run = cmd_query_name,
     .print = print_name},
    {"query-uuid", "info uuid", .help = "show the current VM UUID", .run = cmd_query_uuid,
     .print = print_uuid},
    {"query-kvm", "info kvm", .help = "show KVM information", .run = cmd_query_kvm,
     .print = print_kvm},
    {"query-cpus-fast", "info cpus", .help = "show infos for each CPU", .run = cmd_query_cpus_fast,
     .print = print_cpus},
    {"query-blockstats", "info blockstats", .help = "show block device statistics",
     .run = cmd_query_blockstats, .print = print_blockstats},
    /* QMP alone. */
    {"query-block", .help = "disks", .run = cmd_query_block},
    {"query-named-block-nodes", .help = "nodes of the block graph",
     .run = cmd_query_named_block_nodes},
    {"query-chardev", .help = "character devices", .run = cmd_query_chardev},
    {"qmp_capabilities", .args = enable_args, .help = "end of the negotiation",
     .run = cmd_qmp_capabilities},
    {"query-commands", .help = "the names of all commands", .run = cmd_query_commands},
    {"human-monitor-command", .args = hmc_args, .help = "an HMP line and what it prints",
     .run = cmd_human_monitor},
    /* HMP alone. */
    {.hmp = "info registers",
     .args = registers_args,
     .hmp_args = "[-a]",
     .help = "show the cpu registers (-a: show register info for all cpus)",
     .run = cmd_info_registers,
     .print = print_text},
    {.hmp = "info block",
     .args = block_args,
     .hmp_args = "[-v]",
     .help = "show info of one block device or all block devices (-v: details)",
     .run = cmd_info_block,
     .print = print_text},
    {.hmp = "info network",
     .help = "show the network state",
     .run = cmd_info_network,
     .print = print_text},
    {.hmp = "info usernet",
     .help = "show user network stack connection states",
     .run = cmd_info_usernet,
     .print = print_text},
    {.hmp = "info chardev",
     .help = "show the character devices",
     .run = cmd_info_chardev,
     .print = print_text},
    {.hmp = "info pci", .help = "show PCI info", .run = cmd_info_pci, .print = print_text},
    {.hmp = "info qtree", .help = "show device tree", .run = cmd_info_qtree, .print = print_text},
    {.hmp = "info mtree",
     .args = mtree_args,
     .hmp_args = "[-f]",
     .help = "show memory tree (-f: dump flat view for address spaces)",
     .run = cmd_info_mtree,
     .print = print_text},
    {.hmp = "info irq",
     .help = "show the interrupts statistics",
     .run = cmd_info_irq,
     .print = print_text},
    {.hmp = "info pic", .help = "show PIC state", .run = cmd_info_pic, .print = print_text},
    {.hmp = "info lapic",
     .help = "show local apic state",
     .run = cmd_info_lapic,
     .print = print_text},
    {.hmp = "info mem",
     .help = "show the active virtual memory mappings",
     .run = cmd_info_mem,
     .print = print_text},
    {.hmp = "info tlb",
     .help = "show virtual to physical memory mappings",
     .run = cmd_info_tlb,
     .print = print_text},
    {.hmp = "cpu",
     .args = cpu_args,
     .hmp_args = "index",
     .help = "set the default CPU",
     .run = cmd_cpu},
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
