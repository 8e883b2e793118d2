/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots of the machine: savevm, loadvm, delvm, and the same as jobs of QMP's. */
#include "base/json.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/util.h"
#include "commands.h"
#include "internal.h"
#include "vm/snapshot.h"

const Property savevm_args[] = {{.name = "live",
                                 .type = PROP_BOOL,
                                 .flags = PROP_FLAG_WORD,
                                 .help = "the guest goes on while its memory is saved"},
                                MAYBE("name", PROP_STRING, .help = "of the snapshot"),
                                PROP_END};
const Property vm_snapshot_args[] = {MEMBER("name", PROP_STRING, .help = "of the snapshot"),
                                     PROP_END};
#define JOB_AND_TAG                                                                                \
    MEMBER("job-id", PROP_STRING, .help = "the job's name"),                                       \
        MEMBER("tag", PROP_STRING, .help = "of the snapshot")
#define VMSTATE MEMBER("vmstate", PROP_STRING, .help = "the node that keeps the machine's state")
#define DEVICES MEMBER("devices", PROP_STRING_LIST, .help = "the nodes of all disks")

const Property snapshot_save_job_args[] = {
    JOB_AND_TAG, VMSTATE, DEVICES,
    MAYBE("live", PROP_BOOL, .help = "the guest goes on while its memory is saved"), PROP_END};
const Property snapshot_job_args[] = {JOB_AND_TAG, VMSTATE, DEVICES, PROP_END};
const Property snapshot_delete_job_args[] = {JOB_AND_TAG, DEVICES, PROP_END};

/* To those who wait at the monitor; a job of QMP's has the log. */
static char *stop_text(VmSnapshotMoment moment, int64_t ns)
{
    double ms = (double)ns / NS_PER_MS;

    switch (moment) {
    case VM_SNAPSHOT_STOPS:
        return g_strdup_printf("stopping for about %.0f ms", ms);
    case VM_SNAPSHOT_WENT_ON:
        return ns ? g_strdup_printf("the guest stood still for %.0f ms", ms) : NULL;
    default:
        return NULL;
    }
}

static void tell_monitor(VmSnapshotMoment moment, int64_t ns, void *data)
{
    g_autofree char *text = stop_text(moment, ns);
    Monitor *mon = data;

    if (text) {
        hmp_end_progress(mon);
        monitor_printf(mon, "%s\n", text);
        monitor_flush(mon);
    }
}

static void tell_log(VmSnapshotMoment moment, int64_t ns, void *data)
{
    g_autofree char *text = stop_text(moment, ns);

    if (text) {
        log_info("live snapshot: %s", text);
    }
}

/* A live save has an id, by which other monitors find it. */
MONITOR_HANDLER(cmd_savevm)
{
    g_autofree char *made = NULL;
    bool live = json_is_true(json_object_get(args, "live"));
    JobOptions opts = {.id = live ? "savevm" : NULL,
                       .internal = !live,
                       .auto_finalize = true,
                       .auto_dismiss = true};
    VmSnapshotRequest r = {.name = json_str(args, "name"),
                           .replace = true,
                           .live = live,
                           .tell = tell_monitor,
                           .tell_data = mon};
    Job *job;

    if (!r.name) {
        r.name = made = vm_snapshot_default_name();
    }
    job = vm_snapshot_start_job(vm, JOB_TYPE_SNAPSHOT_SAVE, &opts, &r, err);
    return job && hmp_wait_job(mon, job, err) ? json_object() : NULL;
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
                           .devices = json_object_get(args, "devices"),
                           .live = json_is_true(json_object_get(args, "live")),
                           .tell = tell_log};
    JobOptions opts = {.id = json_str(args, "job-id"), .auto_finalize = true};

    return vm_snapshot_start_job(vm, type, &opts, &r, err) ? json_object() : NULL;
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
