/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * savevm, loadvm and delvm of the machine with its chain's disk. The disk's image is one of two,
 * and each may have a snapshot of its own. What a snapshot has to bring back is the guest as it was
 * then; where an operation has failed half way, or somebody has changed what lies below, that is
 * not known any more, until another is saved.
 */
#include "chain.h"

#include <string.h>
#include "../../block/drivers/qcow2/qcow2.h"
#include "vm/snapshot.h"

static struct {
    void *guest;
    unsigned plugged; /* the set of devices then */
    bool belied;
} machines[CHAIN_TOPS];
static unsigned lies;

static bool suspended(void)
{
    return __atomic_load_n(&world.suspended, __ATOMIC_SEQ_CST);
}

void chain_snapshots_belied(void)
{
    lies++;
    for (unsigned i = 0; i < CHAIN_TOPS; i++) {
        machines[i].belied = true;
    }
}

bool chain_takes_no_writes(void)
{
    BlockNode *n = block_node_find(chain_top());
    const Qcow2State *s = n ? block_node_state(n) : NULL;

    return s && __atomic_load_n(&s->corrupt, __ATOMIC_SEQ_CST);
}

static VmSnapshotRequest request(json_t *devices)
{
    return (VmSnapshotRequest){.name = "v", .devices = devices, .replace = true};
}

/* Where the image has no room, nothing of the state is left. */
void coroutine_fn chain_run_savevm(Rand *rand)
{
    json_auto_t *devices = json_array();
    VmSnapshotRequest r = request(devices);
    g_autoptr(GError) err = NULL;
    unsigned top;

    if (!vm_hold(world.vm, RUN_STATE_SAVE_VM, NULL)) {
        return;
    }
    top = chain_top_index();
    json_array_append_new(devices, json_string(chain_top()));
    if (vm_snapshot_save_held(world.vm, &r, &err)) {
        g_free(machines[top].guest);
        machines[top].guest = guest_save();
        machines[top].plugged = world.plugged;
        machines[top].belied = false;
    } else {
        machines[top].belied |= strstr(err->message, "The machine was saved") != NULL;
        baton_note("%s", err->message);
    }
    vm_release(world.vm);
}

/*
 * A live save is a job like others, which commands find by its id. What it saved is known from the
 * moment on in which the machine stood; but where it ends badly after that, an older one may be
 * there.
 */
typedef struct {
    Job *job;
    unsigned top;
} Live;

static unsigned lives;
static unsigned lies_then; /* of 'lies', when the machine was saved */

static void live_told(VmSnapshotMoment moment, int64_t ns, void *data)
{
    unsigned top = GPOINTER_TO_UINT(data);

    if (moment == VM_SNAPSHOT_SAVED) {
        g_free(machines[top].guest);
        machines[top].guest = guest_save();
        machines[top].plugged = world.plugged;
        machines[top].belied = true;
        lies_then = lies;
        baton_note("saved live");
    }
}

static void coroutine_fn live_watch(void *data)
{
    Live *live = data;

    while (live->job->status < JOB_CONCLUDED) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    if (!live->job->failed) {
        machines[live->top].belied = lies != lies_then;
    } else {
        baton_note("%s", live->job->error);
    }
    job_unref(live->job);
    g_free(live);
    lives--;
}

void coroutine_fn chain_end_lives(void)
{
    while (lives) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
}

void coroutine_fn chain_run_savevm_live(Rand *rand)
{
    json_auto_t *devices = json_pack("[s]", chain_top());
    JobOptions o = chain_job_options(rand);
    VmSnapshotRequest r = request(devices);
    g_autoptr(GError) err = NULL;
    Live *live;
    Job *job;

    r.live = true;
    r.tell = live_told;
    r.tell_data = GUINT_TO_POINTER(chain_top_index());
    o.speed = 0;
    job = vm_snapshot_start_job(world.vm, JOB_TYPE_SNAPSHOT_SAVE, &o, &r, &err);
    if (!job) {
        baton_note("%s", err->message);
        return;
    }
    job_ref(job);
    live = g_new(Live, 1);
    *live = (Live){job, chain_top_index()};
    lives++;
    coroutine_start(live_watch, live);
}

void coroutine_fn chain_run_delvm(Rand *rand)
{
    json_auto_t *devices = json_pack("[s]", chain_top());
    VmSnapshotRequest r = request(devices);
    unsigned top = chain_top_index();
    g_autoptr(GError) err = NULL;

    if (vm_snapshot_delete(world.vm, &r, &err)) {
        g_clear_pointer(&machines[top].guest, g_free);
    } else {
        baton_note("%s", err->message);
    }
}

static void coroutine_fn load_held(unsigned top, const VmSnapshotRequest *r)
{
    g_autofree void *before = guest_save();
    bool was_suspended = suspended();
    g_autoptr(GError) err = NULL;

    /* First: devices raise their interrupts again when they are loaded. */
    guest_load(machines[top].guest);
    if (vm_snapshot_load_held(world.vm, r, &err)) {
        baton_note("loaded");
        return;
    }
    baton_note("%s", err->message);
    if (!strstr(err->message, "has to be reset")) {
        guest_back(before);
        __atomic_store_n(&world.suspended, was_suspended, __ATOMIC_SEQ_CST);
    }
}

static bool can_go_back(unsigned top)
{
    return machines[top].guest && !machines[top].belied && machines[top].plugged == world.plugged;
}

/* Where there is nothing to go back to, something is saved for the next time. */
void coroutine_fn chain_run_loadvm(Rand *rand)
{
    unsigned top = chain_top_index();
    json_auto_t *devices = json_pack("[s]", chain_top());
    VmSnapshotRequest r = request(devices);

    if (!can_go_back(top)) {
        chain_run_savevm(rand);
    } else if (vm_hold(world.vm, RUN_STATE_RESTORE_VM, NULL)) {
        if (can_go_back(top) && top == chain_top_index()) {
            load_held(top, &r);
        }
        vm_release(world.vm);
    }
}
