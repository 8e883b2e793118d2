/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The results of commands, described for MonitorCommand.result. Names and members are QAPI's. */
#ifndef MONITOR_RESULTS_H
#define MONITOR_RESULTS_H

#include "base/shape.h"

#define RESULT_OF(s) (&(const Property){.type = PROP_TREE, .shape = &(s)})
#define RESULT_LIST(s)                                                                             \
    (&(const Property){.type = PROP_TREE, .shape = &(s), .flags = PROP_FLAG_LIST})
#define RESULT_TEXT (&(const Property){.type = PROP_STRING})
#define RESULT_ANY  (&(const Property){.type = PROP_TREE})

extern const PropertyShape add_fd_result, balloon_result, chardev_info_result,
    chardev_return_result, command_line_option_result, cpu_definition_result, cpu_info_result,
    hotpluggable_cpu_result, current_machine_result, fdset_result, iothread_result, kvm_result,
    machine_result, memory_size_result, migration_capability_result, mouse_result, name_result,
    object_property_result, object_type_result, only_name_result, pci_result, schema_result,
    status_result, target_result, uuid_result, version_result, vnc_result, vnc_servers_result;
/* results_block.c */
extern const PropertyShape bitmap_sha256_result, block_device_result, block_info_result,
    block_export_result, block_graph_result, block_job_result, block_stats_result, job_result,
    snapshot_info_result;

#endif
