/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots of the machine: savevm, loadvm, delvm, and the same as jobs of QMP's. */
#include "base/json.h"
#include "base/keyval.h"
#include "commands.h"
#include "vm/snapshot.h"

const Property savevm_args[] = {MAYBE("name", PROP_STRING, .help = "of the snapshot"), PROP_END};
const Property vm_snapshot_args[] = {MEMBER("name", PROP_STRING, .help = "of the snapshot"),
                                     PROP_END};
const Property snapshot_job_args[] = {
    MEMBER("job-id", PROP_STRING, .help = "the job's name"),
    MEMBER("tag", PROP_STRING, .help = "of the snapshot"),
    MEMBER("vmstate", PROP_STRING, .help = "the node that keeps the machine's state"),
    {.name = "devices",
     .type = PROP_STRING_LIST,
     .flags = PROP_FLAG_REQUIRED,
     .help = "the nodes of all disks"},
    PROP_END};
const Property snapshot_delete_job_args[] = {
    MEMBER("job-id", PROP_STRING, .help = "the job's name"),
    MEMBER("tag", PROP_STRING, .help = "of the snapshot"),
    {.name = "devices",
     .type = PROP_STRING_LIST,
     .flags = PROP_FLAG_REQUIRED,
     .help = "the nodes of all disks"},
    PROP_END};

MONITOR_HANDLER(cmd_savevm)
{
    g_autofree char *made = NULL;
    VmSnapshotRequest r = {.name = json_str(args, "name"), .replace = true};

    if (!r.name) {
        r.name = made = vm_snapshot_default_name();
    }
    return vm_snapshot_save(vm, &r, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_loadvm)
{
    VmSnapshotRequest r = {.name = json_str(args, "name")};

    return vm_snapshot_load(vm, &r, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_delvm)
{
    VmSnapshotRequest r = {.name = json_str(args, "name")};

    return vm_snapshot_delete(vm, &r, err) ? json_object() : NULL;
}

static json_t *start(Vm *vm, JobType type, json_t *args, GError **err)
{
    VmSnapshotRequest r = {.name = json_str(args, "tag"),
                           .vmstate = json_str(args, "vmstate"),
                           .devices = json_object_get(args, "devices")};

    return vm_snapshot_start_job(vm, type, json_str(args, "job-id"), &r, err) ? json_object()
                                                                              : NULL;
}

MONITOR_HANDLER(cmd_snapshot_save)
{
    return start(vm, JOB_TYPE_SNAPSHOT_SAVE, args, err);
}

MONITOR_HANDLER(cmd_snapshot_load)
{
    return start(vm, JOB_TYPE_SNAPSHOT_LOAD, args, err);
}

MONITOR_HANDLER(cmd_snapshot_delete)
{
    return start(vm, JOB_TYPE_SNAPSHOT_DELETE, args, err);
}
