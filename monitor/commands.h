/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The handlers that the table of commands lists, and how HMP prints their results. */
#ifndef MONITOR_COMMANDS_H
#define MONITOR_COMMANDS_H

#include "block/job.h"
#include "internal.h"
#include "results.h"
#include "shapes.h"

/* HMP: an argument that names a drive, which Tab completes, or a file. */
#define MONITOR_LINK(n, kind, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = PROP_LINK, .names = (const char *const[]){kind, NULL}, .help = (h),   \
        .flags = PROP_FLAG_REQUIRED                                                                \
    }
#define MONITOR_DRIVE(n, h) MONITOR_LINK(n, "drive", h)
#define MONITOR_FILE(n, h)  MONITOR_LINK(n, "file", h)

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
MONITOR_HANDLER(cmd_info);
MONITOR_PRINTER(print_status);
MONITOR_PRINTER(print_version);
extern const Property enable_args[], hmc_args[];

/* commands_media.c */
MONITOR_HANDLER(cmd_blockdev_open_tray);
MONITOR_HANDLER(cmd_blockdev_close_tray);
MONITOR_HANDLER(cmd_blockdev_remove_medium);
MONITOR_HANDLER(cmd_blockdev_insert_medium);
MONITOR_HANDLER(cmd_blockdev_change_medium);
MONITOR_HANDLER(cmd_eject);
MONITOR_HANDLER(cmd_change_hmp);
extern const Property tray_args[], open_tray_args[], remove_medium_args[], insert_medium_args[],
    change_medium_args[], eject_hmp_args[], change_hmp_args[];

/* commands_vnc.c */
MONITOR_HANDLER(cmd_query_vnc);
MONITOR_HANDLER(cmd_query_vnc_servers);
MONITOR_HANDLER(cmd_info_vnc);
MONITOR_HANDLER(cmd_set_password);
MONITOR_HANDLER(cmd_expire_password);
MONITOR_HANDLER(cmd_change_vnc_password);
MONITOR_HANDLER(cmd_add_client);
extern const Property add_client_args[];
extern const Property set_password_args[], expire_password_args[], set_password_hmp_args[],
    expire_password_hmp_args[], vnc_password_args[];

/* commands_info.c */
MONITOR_HANDLER(cmd_info_registers);
MONITOR_HANDLER(cmd_info_mem);
MONITOR_HANDLER(cmd_info_tlb);
MONITOR_HANDLER(cmd_info_lapic);
MONITOR_HANDLER(cmd_query_cpus_fast);
MONITOR_HANDLER(cmd_cpu);
MONITOR_HANDLER(cmd_query_kvm);
MONITOR_HANDLER(cmd_query_name);
MONITOR_HANDLER(cmd_query_uuid);
MONITOR_HANDLER(cmd_info_block);
MONITOR_HANDLER(cmd_query_block);
MONITOR_HANDLER(cmd_query_blockstats);
MONITOR_HANDLER(cmd_query_named_block_nodes);
MONITOR_HANDLER(cmd_query_block_graph);
MONITOR_HANDLER(cmd_blockdev_change);
MONITOR_HANDLER(cmd_info_network);
MONITOR_HANDLER(cmd_info_usernet);
MONITOR_HANDLER(cmd_info_chardev);
MONITOR_HANDLER(cmd_query_chardev);
MONITOR_HANDLER(cmd_info_pci);
MONITOR_HANDLER(cmd_info_qtree);
MONITOR_HANDLER(cmd_info_mtree);
MONITOR_HANDLER(cmd_info_irq);
MONITOR_HANDLER(cmd_info_pic);
MONITOR_PRINTER(print_text);
MONITOR_PRINTER(print_cpus);
MONITOR_PRINTER(print_kvm);
MONITOR_PRINTER(print_name);
MONITOR_PRINTER(print_uuid);
MONITOR_PRINTER(print_blockstats);

/* commands_screen.c */
MONITOR_HANDLER(cmd_screendump);
MONITOR_HANDLER(cmd_screendump_hmp);
extern const char *const image_format_names[], *const screendump_format_names[];
extern const Property screendump_args[], screendump_hmp_args[];

/* commands_block.c */
MONITOR_HANDLER(cmd_info_snapshots);
MONITOR_HANDLER(cmd_block_resize);
MONITOR_HANDLER(cmd_block_set_io_throttle);
MONITOR_HANDLER(cmd_qemu_io_hmp);
MONITOR_HANDLER(cmd_block_set_write_threshold);
MONITOR_HANDLER(cmd_block_latency_histogram_set);
/* The drive that 'device' (of -drive) or 'id' (of the device that has it) names. */
struct BlockBackend *monitor_find_drive(Monitor *mon, Vm *vm, json_t *args, GError **err);
MONITOR_HANDLER(cmd_snapshot_internal);
MONITOR_HANDLER(cmd_snapshot_sync);
MONITOR_HANDLER(cmd_snapshot);
MONITOR_HANDLER(cmd_snapshot_hmp);
MONITOR_HANDLER(cmd_transaction);
MONITOR_HANDLER(cmd_drive_backup);
MONITOR_HANDLER(cmd_blockdev_backup);
MONITOR_HANDLER(cmd_drive_backup_hmp);
MONITOR_HANDLER(cmd_change_backing_file);
MONITOR_HANDLER(cmd_snapshot_delete_internal);
MONITOR_HANDLER(cmd_drive_add);
MONITOR_HANDLER(cmd_drive_del);
extern const Property registers_args[], lapic_args[], block_args[], info_snapshots_args[],
    named_nodes_args[], blockstats_args[], mtree_args[], cpu_args[];
extern const Property blockdev_change_args[], block_resize_args[], block_resize_hmp_args[],
    snapshot_hmp_args[], backup_hmp_args[], transaction_args[], change_backing_file_args[],
    snapshot_delete_internal_args[], snapshot_internal_hmp_args[], snapshot_delete_hmp_args[],
    drive_add_args[], drive_del_args[];
extern const Property block_set_io_throttle_args[], block_set_io_throttle_hmp_args[],
    qemu_io_hmp_args[], block_write_threshold_args[], block_histogram_args[];

/* commands_chain.c */
MONITOR_HANDLER(cmd_block_stream);
MONITOR_HANDLER(cmd_block_stream_hmp);
MONITOR_HANDLER(cmd_block_commit);
MONITOR_HANDLER(cmd_commit_hmp);
extern const Property block_stream_args[], block_stream_hmp_args[], block_commit_args[],
    commit_hmp_args[];
extern const char *const job_on_error_names[]; /* BlockOnError */
/* For commands that start jobs: job-id, speed, auto-finalize, auto-dismiss; 'report' by default. */
bool monitor_job_options(json_t *args, BlockBackend *device, JobOptions *o, GError **err);
BlockOnError monitor_on_error(json_t *args, const char *key);

/* commands_create.c */
MONITOR_HANDLER(cmd_blockdev_create);
MONITOR_HANDLER(cmd_blockdev_amend);
extern const Property blockdev_create_args[], blockdev_amend_args[];

/* commands_bitmap.c */
MONITOR_HANDLER(cmd_bitmap_add);
MONITOR_HANDLER(cmd_bitmap_remove);
MONITOR_HANDLER(cmd_bitmap_clear);
MONITOR_HANDLER(cmd_bitmap_enable);
MONITOR_HANDLER(cmd_bitmap_disable);
MONITOR_HANDLER(cmd_bitmap_merge);
MONITOR_HANDLER(cmd_bitmap_sha256);

/* commands_mirror.c */
MONITOR_HANDLER(cmd_blockdev_mirror);
MONITOR_HANDLER(cmd_drive_mirror);
MONITOR_HANDLER(cmd_drive_mirror_hmp);
extern const Property blockdev_mirror_args[], drive_mirror_args[], drive_mirror_hmp_args[];

/* commands_nbd.c */
MONITOR_HANDLER(cmd_block_export_add);
MONITOR_HANDLER(cmd_block_export_del);
MONITOR_HANDLER(cmd_query_block_exports);
MONITOR_HANDLER(cmd_nbd_server_start);
MONITOR_HANDLER(cmd_nbd_server_add);
MONITOR_HANDLER(cmd_nbd_server_remove);
MONITOR_HANDLER(cmd_nbd_server_stop);
MONITOR_HANDLER(cmd_nbd_server_start_hmp);
MONITOR_HANDLER(cmd_nbd_server_add_hmp);
MONITOR_HANDLER(cmd_nbd_server_remove_hmp);
extern const Property export_del_args[], nbd_start_args[], nbd_add_args[], nbd_remove_args[],
    nbd_start_hmp_args[], nbd_add_hmp_args[], nbd_remove_hmp_args[];

/* commands_job.c */
MONITOR_HANDLER(cmd_query_jobs);
MONITOR_HANDLER(cmd_query_block_jobs);
MONITOR_HANDLER(cmd_job_pause);
MONITOR_HANDLER(cmd_job_resume);
MONITOR_HANDLER(cmd_job_cancel);
MONITOR_HANDLER(cmd_job_complete);
MONITOR_HANDLER(cmd_job_finalize);
MONITOR_HANDLER(cmd_job_dismiss);
MONITOR_HANDLER(cmd_block_job_pause);
MONITOR_HANDLER(cmd_block_job_resume);
MONITOR_HANDLER(cmd_block_job_cancel);
MONITOR_HANDLER(cmd_block_job_complete);
MONITOR_HANDLER(cmd_block_job_finalize);
MONITOR_HANDLER(cmd_block_job_dismiss);
MONITOR_HANDLER(cmd_block_job_set_speed);
MONITOR_PRINTER(print_block_jobs);
extern const Property job_args[], block_job_args[], block_job_id_args[], block_job_cancel_args[],
    block_job_hmp_args[], block_job_cancel_hmp_args[], block_job_speed_args[],
    block_job_speed_hmp_args[];

/* commands_device.c */
MONITOR_HANDLER(cmd_device_add);
MONITOR_HANDLER(cmd_device_del);
MONITOR_HANDLER(cmd_netdev_add);
MONITOR_HANDLER(cmd_netdev_del);
MONITOR_HANDLER(cmd_object_add);
MONITOR_HANDLER(cmd_object_del);
MONITOR_HANDLER(cmd_blockdev_add);
MONITOR_HANDLER(cmd_blockdev_del);
MONITOR_HANDLER(cmd_blockdev_reopen);
MONITOR_HANDLER(cmd_chardev_remove);
MONITOR_HANDLER(cmd_chardev_add_hmp);
MONITOR_HANDLER(cmd_chardev_change_hmp);
MONITOR_HANDLER(cmd_ringbuf_write);
MONITOR_HANDLER(cmd_query_chardev_backends);
MONITOR_HANDLER(cmd_set_link);
MONITOR_HANDLER(cmd_announce_self);
MONITOR_HANDLER(cmd_announce_self_hmp);
MONITOR_HANDLER(cmd_info_usb);
MONITOR_HANDLER(cmd_usb_add);
MONITOR_HANDLER(cmd_usb_del);
MONITOR_HANDLER(cmd_hostfwd_add);
MONITOR_HANDLER(cmd_hostfwd_remove);
MONITOR_HANDLER(cmd_query_iothreads);
MONITOR_HANDLER(cmd_query_machines);
MONITOR_HANDLER(cmd_query_current_machine);
MONITOR_HANDLER(cmd_query_cpu_definitions);
MONITOR_HANDLER(cmd_query_target);
MONITOR_HANDLER(cmd_query_command_line_options);
MONITOR_HANDLER(cmd_query_memory_size);
MONITOR_PRINTER(print_iothreads);
extern const char *const data_format_names[];
extern const Property usb_add_args[], usb_del_args[], node_args[], option_args[], link_args[],
    announce_args[], announce_hmp_args[], ringbuf_write_args[], blockdev_reopen_args[];

/* commands_host.c */
MONITOR_HANDLER(cmd_getfd);
MONITOR_HANDLER(cmd_closefd);
MONITOR_HANDLER(cmd_add_fd);
MONITOR_HANDLER(cmd_remove_fd);
MONITOR_HANDLER(cmd_query_fdsets);
MONITOR_HANDLER(cmd_chardev_add);
MONITOR_HANDLER(cmd_chardev_change);
MONITOR_HANDLER(cmd_chardev_send_break);
MONITOR_HANDLER(cmd_ringbuf_read);
MONITOR_HANDLER(cmd_log);
MONITOR_HANDLER(cmd_logfile);
MONITOR_HANDLER(cmd_info_history);
MONITOR_HANDLER(cmd_set_action);
MONITOR_HANDLER(cmd_balloon);
MONITOR_HANDLER(cmd_balloon_hmp);
MONITOR_HANDLER(cmd_query_balloon);
MONITOR_PRINTER(print_ringbuf);
MONITOR_PRINTER(print_balloon);
MONITOR_HANDLER(cmd_watchdog_set_action);
/* Takes the descriptor that getfd has stored by that name; -1: none. The caller closes it. */
int monitor_take_fd(Monitor *mon, const char *name);
/* Replaces names from getfd in fd=, fds= and vhostfd= by the numbers of the descriptors. */
void monitor_resolve_fds(Monitor *mon, json_t *tree);
extern const Property fdname_args[], add_fd_args[], remove_fd_args[], chardev_add_args[],
    ringbuf_args[], action_args[], watchdog_action_args[], balloon_args[], balloon_hmp_args[],
    log_args[], logfile_args[];

/* commands_input.c */
MONITOR_HANDLER(cmd_send_key);
MONITOR_HANDLER(cmd_sendkey);
MONITOR_HANDLER(cmd_input_send_event);
MONITOR_HANDLER(cmd_query_mice);
MONITOR_HANDLER(cmd_mouse_move);
MONITOR_HANDLER(cmd_mouse_button);
MONITOR_HANDLER(cmd_mouse_set);
MONITOR_PRINTER(print_mice);
extern const Property send_key_args[], sendkey_args[], input_event_args[], mouse_move_args[],
    mouse_button_args[], mouse_set_args[];

/* commands_pci.c */
MONITOR_HANDLER(cmd_query_pci);

/* commands_qom.c */
MONITOR_HANDLER(cmd_qom_list);
MONITOR_HANDLER(cmd_qom_list_hmp);
MONITOR_HANDLER(cmd_qom_get);
MONITOR_HANDLER(cmd_qom_set);
MONITOR_HANDLER(cmd_qom_set_hmp);
MONITOR_HANDLER(cmd_info_qom_tree);
MONITOR_HANDLER(cmd_device_list_properties);
MONITOR_HANDLER(cmd_qom_list_properties);
MONITOR_HANDLER(cmd_qom_list_types);
MONITOR_PRINTER(print_qom_list);
MONITOR_PRINTER(print_json);
extern const Property path_args[], type_args[], qom_get_args[], qom_set_args[], qom_set_hmp_args[],
    maybe_path_args[], types_args[];

/* commands_schema.c */
MONITOR_HANDLER(cmd_query_schema);
MONITOR_HANDLER(cmd_query_events);

/* commands_migration.c */
MONITOR_HANDLER(cmd_migrate_set_capabilities);
MONITOR_HANDLER(cmd_migrate_set_capability_hmp);
MONITOR_HANDLER(cmd_query_migrate_capabilities);
MONITOR_PRINTER(print_migrate_capabilities);
extern const char *const migration_capability_names[];
extern const Property capabilities_args[], capability_args[];

/* commands_memory.c */
MONITOR_HANDLER(cmd_x);
MONITOR_HANDLER(cmd_xp);
MONITOR_HANDLER(cmd_print);
MONITOR_HANDLER(cmd_port_in);
MONITOR_HANDLER(cmd_port_out);
MONITOR_HANDLER(cmd_memsave);
MONITOR_HANDLER(cmd_pmemsave);
/* expression_parse() with the registers of the monitor's current CPU. */
bool monitor_evaluate(Monitor *mon, const char **text, uint64_t *value, GError **err);
/* No guest has more memory: a larger size would only block the main loop. */
bool monitor_check_memory_size(Vm *vm, json_int_t size, GError **err);
/* The CPU of 'cpu N'; NULL: CPUs that never run (qtest). */
Vcpu *monitor_cpu(Monitor *mon);
/* False: not mapped. Without a CPU there is no paging. Main loop; waits for the vCPU. */
bool monitor_translate(Vcpu *cpu, uint64_t va, uint64_t *pa);
extern const Property memsave_args[], pmemsave_args[];

/* commands_address.c */
MONITOR_HANDLER(cmd_gva2gpa);
MONITOR_HANDLER(cmd_gpa2hva);
MONITOR_HANDLER(cmd_gpa2hpa);
MONITOR_HANDLER(cmd_sum);
extern const Property address_args[], sum_args[];

/* commands_stats.c */
MONITOR_HANDLER(cmd_query_stats);
MONITOR_HANDLER(cmd_query_stats_schemas);
MONITOR_HANDLER(cmd_info_stats);
extern const Property stats_schemas_args[], info_stats_args[];
extern const PropertyShape stats_filter_shape, stats_result, stats_schema_result;

/* commands_system.c */
MONITOR_HANDLER(cmd_query_ramblock);
MONITOR_HANDLER(cmd_query_numa);
MONITOR_HANDLER(cmd_info_qdm);
MONITOR_HANDLER(cmd_query_hotpluggable_cpus);
MONITOR_HANDLER(cmd_query_memdev);
MONITOR_HANDLER(cmd_nothing_to_tell);
MONITOR_HANDLER(cmd_empty_list);
MONITOR_PRINTER(print_nothing);
json_t *monitor_human_text(const char *text); /* QAPI's HumanReadableText; new reference */
MONITOR_HANDLER(cmd_empty_text);
MONITOR_HANDLER(cmd_query_jit);
MONITOR_HANDLER(cmd_query_opcount);
MONITOR_HANDLER(cmd_query_profile);
MONITOR_HANDLER(cmd_query_generation_id);
MONITOR_HANDLER(cmd_query_replay);
MONITOR_PRINTER(print_human_text);
MONITOR_PRINTER(print_hotpluggable_cpus);
MONITOR_PRINTER(print_memory_size);
MONITOR_PRINTER(print_memdev);
MONITOR_PRINTER(print_replay);
extern const PropertyShape human_text_result, memdev_result, generation_id_result, replay_result;
extern const char *const unstable_feature[], *const tpm_model_names[], *const tpm_type_names[];

/* commands_dump.c */
MONITOR_HANDLER(cmd_dump);
MONITOR_HANDLER(cmd_dump_hmp);
MONITOR_HANDLER(cmd_query_dump);
MONITOR_PRINTER(print_dump);
MONITOR_HANDLER(cmd_query_dump_capability);
extern const Property dump_args[], dump_hmp_args[];
extern const PropertyShape dump_capability_result;

/* commands_board.c */
MONITOR_HANDLER(cmd_boot_set);
MONITOR_HANDLER(cmd_rtc_reset_reinjection);
MONITOR_PRINTER(print_boot_set);
MONITOR_HANDLER(cmd_mce);
MONITOR_HANDLER(cmd_query_roms);
extern const Property boot_set_args[], mce_args[];
extern const PropertyShape memory_device_result, acpi_ospm_result, pr_manager_result, tpm_result;

/* commands_virtio.c */
MONITOR_HANDLER(cmd_query_virtio);
MONITOR_HANDLER(cmd_query_virtio_status);
MONITOR_HANDLER(cmd_query_virtio_queue);
MONITOR_HANDLER(cmd_query_virtio_vhost_queue);
MONITOR_HANDLER(cmd_query_virtio_element);
MONITOR_HANDLER(cmd_info_virtio_status);
MONITOR_HANDLER(cmd_info_virtio_queue);
MONITOR_HANDLER(cmd_info_virtio_element);
MONITOR_PRINTER(print_virtio);
MONITOR_PRINTER(print_virtio_status);
MONITOR_PRINTER(print_virtio_queue);
MONITOR_PRINTER(print_virtio_element);
MONITOR_HANDLER(cmd_query_rx_filter);
extern const Property virtio_path_args[], virtio_queue_args[], virtio_element_args[],
    rx_filter_args[];
extern const PropertyShape rx_filter_result, virtio_result, virtio_status_result,
    virtio_queue_result, virtio_vhost_queue_result, virtio_element_result;

/* commands_gdb.c */
MONITOR_HANDLER(cmd_gdbserver);
extern const Property gdbserver_args[];

/* commands_trace.c */
MONITOR_HANDLER(cmd_trace_event_get_state);
MONITOR_HANDLER(cmd_trace_event_set_state);
MONITOR_HANDLER(cmd_trace_event_hmp);
MONITOR_HANDLER(cmd_info_trace_events);
MONITOR_PRINTER(print_trace_events);
extern const Property trace_event_get_args[], trace_event_set_args[], trace_event_hmp_args[],
    info_trace_events_args[];
extern const PropertyShape trace_event_result;

/* commands_snapshot.c */
MONITOR_HANDLER(cmd_savevm);
MONITOR_HANDLER(cmd_loadvm);
MONITOR_HANDLER(cmd_delvm);
MONITOR_HANDLER(cmd_snapshot_save);
MONITOR_HANDLER(cmd_snapshot_load);
MONITOR_HANDLER(cmd_snapshot_delete);
extern const Property savevm_args[], vm_snapshot_args[], snapshot_job_args[],
    snapshot_save_job_args[], snapshot_delete_job_args[];

/* commands_state.c */
MONITOR_HANDLER(cmd_x_save_state);
MONITOR_HANDLER(cmd_x_load_state);
extern const Property filename_args[];

#endif
