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

static bool suspended(void)
{
    return __atomic_load_n(&world.suspended, __ATOMIC_SEQ_CST);
}

void chain_snapshots_belied(void)
{
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
