/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * savevm -live: the guest's memory is written to the image while the guest runs and uses the disk.
 * Until the guest stops, the job's edges are what keeps others from the disks: whoever would
 * resize, eject or remove one, save or load, or begin another job, is refused. The machine itself
 * is free to stop, to be reset, and to get and lose devices.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "block/image.h"
#include "live_plan.h"
#include "ram_mapped.h"
#include "save_live.h"
#include "snapshot_internal.h"

typedef struct {
    BlockNode *node; /* with a reference: it may have come after the job's edges */
    char *id;        /* of the snapshot that was made */
} MadeSnapshot;

typedef struct {
    Vm *vm;
    const VmSnapshotRequest *request;
    Job *job;
    SaveLive *memory;
    LivePlan plan;
    /* The state's disk. */
    BlockNode *node; /* with a reference */
    char *disk;
    int64_t length; /* the state lies behind it */
    SnapshotStream stream;
    uint64_t done, left; /* bytes, for the progress */
    GArray *made;        /* MadeSnapshot */
} LiveSave;

static void made_clear(void *data)
{
    MadeSnapshot *m = data;

    block_node_unref(m->node);
    g_free(m->id);
}

static void live_tell(const LiveSave *s, VmSnapshotMoment moment, int64_t ns)
{
    if (s->request->tell) {
        s->request->tell(moment, ns, s->request->tell_data);
    }
}

static bool live_failed(const LiveSave *s, int error, GError **err)
{
    return error_set_errno(err, -error, "Could not write the machine's state to '%s'", s->disk);
}

/* Before the first pass, in a section of the disks. */

/* The job's edges, so that what is checked now holds at the end as well. */
static bool live_take_disks(LiveSave *s, const SnapshotWork *w, GError **err)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        BlockNode *n = g_array_index(w->disks, SnapshotDisk, i).node;

        s->plan.clusters += block_snapshot_clusters(n);
        if (!job_add_node(s->job, "snapshot", n,
                          (BlockPerms){BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED,
                                       BLOCK_PERM_ALL & ~BLOCK_PERM_RESIZE},
                          err)) {
            return false;
        }
    }
    return true;
}

/*
 * What a save that was killed has left goes. The L1 table gets its length while nobody uses the
 * disk.
 */
static bool coroutine_fn live_make_room(LiveSave *s, GError **err)
{
    int ret = block_vmstate_drop(s->node);

    if (ret == 0) {
        ret = block_vmstate_pwritev(s->node, save_live_contents_end(s->memory), 0, NULL, 0);
    }
    return ret == 0 || live_failed(s, ret, err);
}

static bool coroutine_fn live_begin_on(LiveSave *s, SnapshotWork *w, GError **err)
{
    const SnapshotDisk *d = snapshot_state_disk(w);

    if (!snapshot_name_is_free(w, err) || !live_take_disks(s, w, err)) {
        return false;
    }
    s->node = block_node_ref(d->node);
    s->disk = g_strdup(d->name);
    s->length = block_length(d->node);
    s->stream.node = s->node;
    s->stream.disk = s->disk;
    return live_make_room(s, err);
}

static bool coroutine_fn live_begin(LiveSave *s, GError **err)
{
    SnapshotWork w = {0};
    bool ok;

    /* From here on the log is kept: the first pass is of all memory. */
    s->memory = save_live_new(s->vm);
    s->left = save_live_collect(s->memory);
    if (!snapshot_work_begin(&w, s->request, false, NULL, err)) {
        return false;
    }
    ok = live_begin_on(s, &w, err);
    snapshot_work_end(&w);
    return ok;
}

/* Passes. */

static bool live_progress(LiveSave *s, uint64_t bytes, GError **err)
{
    s->done += bytes;
    s->left -= MIN(bytes, s->left);
    job_progress(s->job, s->done, s->done + s->left);
    return !job_is_cancelled(s->job) || error_set(err, "the job was cancelled");
}

static bool coroutine_fn live_step(void *data, uint64_t bytes, GError **err)
{
    LiveSave *s = data;

    job_throttle(s->job, bytes);
    return live_progress(s, bytes, err);
}

/* The machine stands, so it waits for nothing else. */
static bool coroutine_fn live_last_step(void *data, uint64_t bytes, GError **err)
{
    return live_progress(data, bytes, err);
}

/* What is written is stable before the guest stops, which would wait for that otherwise. */
static bool coroutine_fn live_flush(LiveSave *s, GError **err)
{
    int ret = block_flush(s->node);

    if (ret < 0) {
        return live_failed(s, ret, err);
    }
    /* The guest is not told of a failure that this call finds, so the user is. */
    ret = block_flush_all();
    return ret == 0 || error_set_errno(err, -ret, "Could not flush all disks");
}

static bool coroutine_fn live_pass(LiveSave *s, GError **err)
{
    int64_t began = clock_ns(CLOCK_REALTIME_NS), written;
    uint64_t bytes = s->left;

    if (!save_live_pass(s->memory, &s->stream.stream, live_step, s, err)) {
        return false;
    }
    written = clock_ns(CLOCK_REALTIME_NS);
    if (!live_flush(s, err)) {
        return false;
    }
    live_plan_passed(&s->plan, bytes, written - began, clock_ns(CLOCK_REALTIME_NS) - written);
    return live_step(s, 0, err);
}

static bool coroutine_fn live_passes(LiveSave *s, GError **err)
{
    job_progress(s->job, 0, s->left);
    do {
        if (!live_pass(s, err)) {
            return false;
        }
        s->left = save_live_collect(s->memory);
    } while (!live_plan_stops(&s->plan, s->left));
    return true;
}

/* The stop. */

static bool live_still_there(const LiveSave *s, const SnapshotWork *w, GError **err)
{
    return (snapshot_state_disk(w)->node == s->node && block_length(s->node) == s->length) ||
           error_set(err, "a disk has come or gone meanwhile; try again");
}

static void live_note_made(LiveSave *s, const SnapshotWork *w)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);

        g_array_append_val(s->made, ((MadeSnapshot){block_node_ref(d->node), g_strdup(d->id)}));
    }
}

static bool coroutine_fn live_save_rest(LiveSave *s, SnapshotWork *w, GError **err)
{
    if (!live_still_there(s, w, err) ||
        !save_live_finish(s->memory, &s->stream.stream, live_last_step, s, &w->stream.pos, err)) {
        return false;
    }
    w->stream.node = s->node;
    return snapshot_make(w, err);
}

static bool coroutine_fn live_held(LiveSave *s, GError **err)
{
    SnapshotWork w = {0};
    bool ok;

    if (!snapshot_work_begin(&w, s->request, false, s->job, err)) {
        return false;
    }
    ok = snapshot_name_is_free(&w, err) && live_save_rest(s, &w, err);
    if (ok) {
        live_note_made(s, &w);
        live_tell(s, VM_SNAPSHOT_SAVED, 0);
    }
    snapshot_work_end(&w);
    return ok;
}

static bool coroutine_fn live_stop(LiveSave *s, GError **err)
{
    bool ran = vm_running(s->vm), ok;
    int64_t began;

    live_tell(s, VM_SNAPSHOT_STOPS, live_plan_stop_ns(&s->plan));
    began = clock_ns(CLOCK_REALTIME_NS);
    if (!vm_hold(s->vm, RUN_STATE_SAVE_VM, err)) {
        return false;
    }
    ok = live_held(s, err);
    vm_release(s->vm);
    if (ok) {
        live_tell(s, VM_SNAPSHOT_WENT_ON, ran ? clock_ns(CLOCK_REALTIME_NS) - began : 0);
    }
    return ok;
}

/* Behind it. */

static bool live_made_before(const LiveSave *s)
{
    for (unsigned i = 0; i < s->made->len; i++) {
        const MadeSnapshot *m = &g_array_index(s->made, MadeSnapshot, i);
        json_auto_t *first = block_snapshot_find(m->node, NULL, s->request->name);

        if (first && !g_str_equal(json_str(first, "id"), m->id)) {
            return true;
        }
    }
    return false;
}

/* The older snapshots of the name go while the guest runs, but its disks wait. */
static bool coroutine_fn live_delete_replaced(LiveSave *s, GError **err)
{
    SnapshotWork w = {0};
    bool ok;

    if (!live_made_before(s)) {
        return true;
    }
    if ((ram_image_is_of(s->vm, s->request->name) && !ram_image_complete(s->vm, err)) ||
        !snapshot_work_begin(&w, s->request, false, s->job, err)) {
        g_prefix_error(err, "The machine was saved, but the older snapshot '%s' is still there: ",
                       s->request->name);
        return false;
    }
    for (unsigned i = 0; i < w.disks->len; i++) {
        SnapshotDisk *d = &g_array_index(w.disks, SnapshotDisk, i);

        for (unsigned k = 0; k < s->made->len; k++) {
            const MadeSnapshot *m = &g_array_index(s->made, MadeSnapshot, k);

            d->id = m->node == d->node && !d->id ? g_strdup(m->id) : d->id;
        }
    }
    ok = snapshot_delete_replaced(s->vm, &w, err);
    snapshot_work_end(&w);
    return ok;
}

/* Not in a section that is another's. */
static void coroutine_fn live_give_up(LiveSave *s)
{
    int ret;

    job_idle_end(s->job);
    ret = s->node ? block_vmstate_drop(s->node) : 0;
    job_idle_begin(s->job);
    if (ret < 0) {
        log_warn("what was saved of the machine takes room in '%s' until it is saved again: %s",
                 s->disk, g_strerror(-ret));
    }
}

static void coroutine_fn live_end(LiveSave *s)
{
    save_live_free(s->memory);
    snapshot_stream_clear(&s->stream);
    block_node_unref(s->node);
    g_array_unref(s->made);
    g_free(s->disk);
}

bool coroutine_fn snapshot_save_live(Vm *vm, const VmSnapshotRequest *r, GError **err)
{
    LiveSave s = {.vm = vm,
                  .request = r,
                  .job = r->job,
                  .made = g_array_new(FALSE, FALSE, sizeof(MadeSnapshot))};
    bool ok;

    g_array_set_clear_func(s.made, made_clear);
    snapshot_stream_init(&s.stream);
    job_idle_begin(s.job);
    ok = live_begin(&s, err);
    job_idle_end(s.job);
    ok = ok && live_passes(&s, err);
    job_idle_begin(s.job);
    ok = ok && live_stop(&s, err);
    /* What is logged costs the guest something. */
    g_clear_pointer(&s.memory, save_live_free);
    if (!ok) {
        live_give_up(&s);
    }
    ok = ok && live_delete_replaced(&s, err);
    live_end(&s);
    return ok;
}
