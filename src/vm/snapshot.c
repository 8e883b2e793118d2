/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots of the machine with its disks. The state is a stream of vm_save(). */
#include "snapshot_internal.h"

#include "base/error.h"
#include "base/keyval.h"
#include "base/log.h"
#include "block/image.h"
#include "ram_mapped.h"
#include "snapshot_ram.h"

static void disk_clear(void *data)
{
    SnapshotDisk *d = data;

    g_free(d->name);
    g_free(d->id);
    g_free(d->old_id);
}

/* As a job. */

typedef struct {
    Job job;
    Vm *vm;
    VmSnapshotRequest request; /* its texts and list are the job's own */
    bool coroutine_fn (*fn)(Vm *vm, const VmSnapshotRequest *r, GError **err);
    bool too_late; /* to be cancelled */
} SnapshotJob;

/* From here on it does not stop half-way: false where that was asked for. 'job' may be NULL. */
static bool job_goes_through(Job *job, GError **err)
{
    if (job && job_is_cancelled(job)) {
        return error_set(err, "the job was cancelled");
    }
    if (job) {
        ((SnapshotJob *)job)->too_late = true;
    }
    return true;
}

/* Which disks. */

static void add_disk(BlockNode *n, const char *name, void *data)
{
    SnapshotDisk d = {.node = n, .name = g_strdup(name)};

    g_array_append_val(((SnapshotWork *)data)->disks, d);
}

static bool has_disk(const SnapshotWork *w, const BlockNode *n)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        if (g_array_index(w->disks, SnapshotDisk, i).node == n) {
            return true;
        }
    }
    return false;
}

static bool add_named(SnapshotWork *w, GError **err)
{
    json_t *item;
    size_t i;

    json_array_foreach(w->request->devices, i, item)
    {
        const char *name = json_string_value(item);
        BlockNode *n = block_node_image(block_node_find(name));

        if (!n) {
            return error_set(err, "No block device node '%s'", name);
        }
        if (!has_disk(w, n)) {
            add_disk(n, name, w);
        }
    }
    return true;
}

static bool all_can(SnapshotWork *w, GError **err)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);

        if (d->node->read_only) {
            return error_set(err, "Device '%s' is read only", d->name);
        }
        if (!d->node->driver->snapshot_create) {
            return error_set(err, "Device '%s' is writable but does not support snapshots",
                             d->name);
        }
        if (!block_snapshot_possible(d->node, err)) {
            block_error_prefix(err, "Device '%s'", d->name);
            return false;
        }
    }
    return true;
}

static bool find_state_disk(SnapshotWork *w, GError **err)
{
    BlockNode *wanted = NULL;

    if (w->request->vmstate) {
        wanted = block_node_image(block_node_find(w->request->vmstate));
        for (unsigned i = 0; i < w->disks->len; i++) {
            if (wanted && g_array_index(w->disks, SnapshotDisk, i).node == wanted) {
                w->state_disk = i;
                return true;
            }
        }
        return error_set(err, "vmstate block device '%s' does not exist", w->request->vmstate);
    }
    return w->disks->len || error_set(err, "no block device can store vmstate for snapshot");
}

static GArray *disks_new(void)
{
    GArray *disks = g_array_new(FALSE, FALSE, sizeof(SnapshotDisk));

    g_array_set_clear_func(disks, disk_clear);
    return disks;
}

/* While the nodes are drained one after the other, a medium may come or go. */
static bool still_the_same(const SnapshotWork *w, GError **err)
{
    SnapshotWork now = {.disks = disks_new()};
    bool same = true;

    if (!w->request->devices) {
        block_snapshot_foreach_disk(add_disk, &now);
        same = now.disks->len == w->disks->len;
    }
    for (unsigned i = 0; same && i < now.disks->len; i++) {
        same = g_array_index(now.disks, SnapshotDisk, i).node ==
               g_array_index(w->disks, SnapshotDisk, i).node;
    }
    g_array_unref(now.disks);
    return same || error_set(err, "a disk has come or gone meanwhile; try again");
}

/* In the section. */
static bool coroutine_fn add_disks(SnapshotWork *w, bool apply, GError **err)
{
    if (!w->request->devices) {
        block_snapshot_foreach_disk(add_disk, w);
    } else if (!add_named(w, err)) {
        return false;
    }
    if (!all_can(w, err) || !find_state_disk(w, err)) {
        return false;
    }
    /* The disks stay while they are not yet in the section. */
    for (unsigned i = 0; i < w->disks->len; i++) {
        block_node_ref(g_array_index(w->disks, SnapshotDisk, i).node);
    }
    bool ok = true;
    for (unsigned i = 0; ok && i < w->disks->len; i++) {
        ok = block_snapshot_add(&w->section, g_array_index(w->disks, SnapshotDisk, i).node, err);
    }
    for (unsigned i = 0; ok && i < w->disks->len; i++) {
        ok = block_snapshot_alone(g_array_index(w->disks, SnapshotDisk, i).node, w->section.own,
                                  apply, err);
    }
    ok = ok && all_can(w, err);
    for (unsigned i = 0; i < w->disks->len; i++) {
        block_node_unref(g_array_index(w->disks, SnapshotDisk, i).node);
    }
    return ok && still_the_same(w, err);
}

bool coroutine_fn snapshot_work_begin(SnapshotWork *w, const VmSnapshotRequest *r, bool apply,
                                      const Job *own, GError **err)
{
    w->request = r;
    if (!block_snapshot_begin_empty(&w->section, err)) {
        return false;
    }
    w->section.own = own;
    w->disks = disks_new();
    if (!add_disks(w, apply, err)) {
        block_snapshot_end(&w->section);
        g_array_unref(w->disks);
        return false;
    }
    snapshot_stream_init(&w->stream);
    return true;
}

void coroutine_fn snapshot_work_end(SnapshotWork *w)
{
    block_snapshot_end(&w->section);
    snapshot_stream_clear(&w->stream);
    g_array_unref(w->disks);
}

static char *snapshot_id(BlockNode *n, const char *name)
{
    json_auto_t *found = block_snapshot_find(n, NULL, name);

    return found ? g_strdup(json_str(found, "id")) : NULL;
}

/* The state is on that disk: of the snapshot 'id', or where the next one takes it from. */
static VmStream *state_stream(SnapshotWork *w, const char *id)
{
    const SnapshotDisk *d = snapshot_state_disk(w);

    w->stream.node = d->base ? d->base : d->node;
    w->stream.id = id;
    w->stream.disk = d->name;
    w->stream.job = w->request->job;
    return &w->stream.stream;
}

/* Saving. */

char *vm_snapshot_default_name(void)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();

    return g_date_time_format(now, "vm-%Y%m%d%H%M%S");
}

static bool coroutine_fn delete_by_id(const SnapshotDisk *d, const char *id, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (!id || block_snapshot_delete(d->node, id, NULL, &why)) {
        return true;
    }
    return error_set(err, "Could not delete snapshot on device '%s': %s", d->name, why->message);
}

static char *newest_id(BlockNode *n)
{
    json_auto_t *list = block_snapshot_list(n);

    return g_strdup(json_str(json_array_get(list, json_array_size(list) - 1), "id"));
}

static bool coroutine_fn make_snapshots(SnapshotWork *w, GError **err)
{
    BlockSnapshot sn = block_snapshot_now(w->request->name);

    sn.vm_clock_ns = clock_ns(CLOCK_VIRTUAL_NS);
    for (unsigned i = 0; i < w->disks->len; i++) {
        SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);

        sn.vm_state_size = i == w->state_disk ? w->stream.pos : 0;
        if (!block_snapshot_create(d->node, &sn, err)) {
            block_error_prefix(err, "Error while creating snapshot on '%s'", d->name);
            return false;
        }
        d->id = newest_id(d->node);
    }
    return true;
}

static void coroutine_fn snapshot_unmake(SnapshotWork *w)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);
        g_autoptr(GError) err = NULL;

        if (!delete_by_id(d, d->id, &err)) {
            log_error("a snapshot '%s' that could not be completed is left: %s", w->request->name,
                      err->message);
        }
    }
    /* What a snapshot took with it is gone with that. */
    block_vmstate_drop(w->stream.node);
}

bool coroutine_fn snapshot_make(SnapshotWork *w, GError **err)
{
    bool ok = job_goes_through(w->request->job, err) && make_snapshots(w, err);

    if (!ok) {
        snapshot_unmake(w);
    }
    return ok;
}

/* All that have the name but the one that was made: failures may have left several. */
static bool coroutine_fn delete_others(SnapshotWork *w, const SnapshotDisk *d, GError **err)
{
    json_auto_t *list = block_snapshot_list(d->node);
    json_t *snapshot;
    size_t i;

    json_array_foreach(list, i, snapshot)
    {
        const char *id = json_str(snapshot, "id");

        if (g_str_equal(json_str(snapshot, "name"), w->request->name) && !g_str_equal(id, d->id) &&
            !delete_by_id(d, id, err)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn snapshot_delete_replaced(Vm *vm, SnapshotWork *w, GError **err)
{
    bool ok = !ram_image_is_of(vm, w->request->name) || ram_image_complete_held(vm, err);

    for (unsigned i = 0; i < w->disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);

        if (!ok || (d->id && !delete_others(w, d, err))) {
            block_error_prefix(err,
                               "The machine was saved, but the older snapshot '%s' is still there",
                               w->request->name);
            return false;
        }
    }
    return true;
}

bool snapshot_name_is_free(SnapshotWork *w, GError **err)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);
        g_autofree char *old = snapshot_id(d->node, w->request->name);

        if (old && !w->request->replace) {
            return error_set(err, "Snapshot '%s' already exists in one or more devices",
                             w->request->name);
        }
    }
    return true;
}

static bool coroutine_fn save_work(Vm *vm, SnapshotWork *w, GError **err)
{
    if (!snapshot_name_is_free(w, err)) {
        return false;
    }
    w->stream.size = vm->ram_size;
    if (!vm_save(vm, state_stream(w, NULL), err)) {
        snapshot_unmake(w);
        return false;
    }
    if (!snapshot_make(w, err)) {
        return false;
    }
    if (w->request->job) {
        job_progress(w->request->job, w->stream.pos, w->stream.pos);
    }
    return snapshot_delete_replaced(vm, w, err);
}

bool coroutine_fn vm_snapshot_save_held(Vm *vm, const VmSnapshotRequest *r, GError **err)
{
    SnapshotWork w = {0};
    bool ok = snapshot_work_begin(&w, r, false, NULL, err);

    if (ok) {
        ok = save_work(vm, &w, err);
        snapshot_work_end(&w);
    }
    return ok;
}

bool coroutine_fn vm_snapshot_save(Vm *vm, const VmSnapshotRequest *r, GError **err)
{
    bool ok;

    if (!vm_hold(vm, RUN_STATE_SAVE_VM, err)) {
        return false;
    }
    ok = vm_snapshot_save_held(vm, r, err);
    vm_release(vm);
    return ok;
}

/* Loading. */

/* Where the user did not say which disk has the state, it is the first that has one. */
static bool find_snapshots(SnapshotWork *w, GError **err)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);
        json_auto_t *found = NULL;
        uint64_t size;

        if (w->request->at_start && block_node_is_temporary(d->node)) {
            d->base = block_node_next_image(d->node);
        }
        found = block_snapshot_find(d->base ? d->base : d->node, NULL, w->request->name);
        if (!found) {
            return error_set(err,
                             "Snapshot '%s' does not exist in one or more devices: '%s' has none "
                             "of that name",
                             w->request->name, d->name);
        }
        d->id = g_strdup(json_str(found, "id"));
        size = json_integer_value(json_object_get(found, "vm-state-size"));
        if (!w->stream.size && (w->request->vmstate ? i == w->state_disk : size > 0)) {
            w->stream.size = size;
            w->state_disk = i;
        }
    }
    return w->stream.size ||
           error_set(err, "This is a disk-only snapshot. Revert to it  offline using "
                          "qemu-img");
}

/*
 * Of several disks each is noted as it is, so that all of them go back where one of them fails; but
 * not those of -snapshot, whose program ends then.
 */
static bool coroutine_fn note_disks(SnapshotWork *w, GError **err)
{
    BlockSnapshot sn = block_snapshot_now("vmm: before a load");

    for (unsigned i = 0; w->disks->len > 1 && i < w->disks->len; i++) {
        SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);

        if (d->base) {
            continue;
        }
        if (!block_snapshot_create(d->node, &sn, err)) {
            block_error_prefix(err, "Error while noting the state of '%s'", d->name);
            return false;
        }
        d->old_id = newest_id(d->node);
    }
    return true;
}

static void coroutine_fn forget_notes(SnapshotWork *w)
{
    for (unsigned i = 0; i < w->disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, i);
        g_autoptr(GError) err = NULL;

        if (!delete_by_id(d, d->old_id, &err)) {
            log_warn("a note of what the disk was is left as a snapshot: %s", err->message);
        }
    }
}

static void coroutine_fn disks_go_back(SnapshotWork *w, unsigned done)
{
    while (done--) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, done);
        g_autoptr(GError) err = NULL;

        if (d->old_id && !block_snapshot_apply(d->node, d->old_id, &err)) {
            log_error("device '%s' is at the snapshot that could not be loaded, and cannot go "
                      "back: %s",
                      d->name, err->message);
        }
    }
}

static bool coroutine_fn load_disk(const SnapshotDisk *d, GError **err)
{
    if (!d->base) {
        return block_snapshot_apply(d->node, d->id, err);
    }
    /* The overlay is empty as yet. */
    return block_snapshot_load(d->base, d->id, NULL, err) &&
           (block_length(d->base) == block_length(d->node) ||
            block_truncate(d->node, block_length(d->base), err) == 0);
}

/* Called by vm_load() when the machine takes the state. */
static bool coroutine_fn load_disks(VmStream *s, GError **err)
{
    SnapshotWork *w = (SnapshotWork *)s;
    unsigned done = 0;
    bool ok = job_goes_through(w->request->job, err) && note_disks(w, err);

    for (; ok && done < w->disks->len; done++) {
        const SnapshotDisk *d = &g_array_index(w->disks, SnapshotDisk, done);

        if (!load_disk(d, err)) {
            block_error_prefix(err, "Error while loading snapshot on '%s'", d->name);
            disks_go_back(w, done);
            ok = false;
            break;
        }
    }
    forget_notes(w);
    w->stream.committed = ok;
    return ok;
}

static bool coroutine_fn load_state(Vm *vm, SnapshotWork *w, GError **err)
{
    const char *id = g_array_index(w->disks, SnapshotDisk, w->state_disk).id;

    return vm_load(vm, state_stream(w, id), err);
}

bool coroutine_fn vm_snapshot_load_held(Vm *vm, const VmSnapshotRequest *r, GError **err)
{
    SnapshotWork w = {0};
    bool ok = snapshot_work_begin(&w, r, true, NULL, err);

    if (ok) {
        w.stream.stream.commit = load_disks;
        w.stream.stream.load_ram = snapshot_load_ram;
        ok = find_snapshots(&w, err) && load_state(vm, &w, err);
        snapshot_work_end(&w);
    }
    return ok;
}

bool coroutine_fn vm_snapshot_load(Vm *vm, const VmSnapshotRequest *r, GError **err)
{
    bool ok;

    if (!vm_hold(vm, RUN_STATE_RESTORE_VM, err)) {
        return false;
    }
    ok = vm_snapshot_load_held(vm, r, err);
    vm_release(vm);
    return ok;
}

/* Deleting. */

bool coroutine_fn vm_snapshot_delete(Vm *vm, const VmSnapshotRequest *r, GError **err)
{
    SnapshotWork w = {0};
    bool ok = true;

    if (ram_image_is_of(vm, r->name) && !ram_image_complete(vm, err)) {
        return false;
    }
    if (!snapshot_work_begin(&w, r, false, NULL, err)) {
        return false;
    }
    for (unsigned i = 0; ok && i < w.disks->len; i++) {
        const SnapshotDisk *d = &g_array_index(w.disks, SnapshotDisk, i);
        g_autofree char *id = snapshot_id(d->node, r->name);

        ok = delete_by_id(d, id, err);
    }
    snapshot_work_end(&w);
    return ok;
}

/* Jobs. */

static bool coroutine_fn snapshot_job_run(Job *job, GError **err)
{
    SnapshotJob *s = (SnapshotJob *)job;

    return s->fn(s->vm, &s->request, err);
}

static bool snapshot_job_cancelled(Job *job, bool force)
{
    return ((SnapshotJob *)job)->too_late;
}

static void snapshot_job_free(Job *job)
{
    SnapshotJob *s = (SnapshotJob *)job;

    g_free((char *)s->request.name);
    g_free((char *)s->request.vmstate);
    json_decref(s->request.devices);
}

#define SNAPSHOT_JOB_CLASS(t)                                                                      \
    {                                                                                              \
        .type = (t), .size = sizeof(SnapshotJob), .run = snapshot_job_run,                         \
        .cancelled = snapshot_job_cancelled, .free = snapshot_job_free                             \
    }

Job *vm_snapshot_start_job(Vm *vm, JobType type, const JobOptions *opts, const VmSnapshotRequest *r,
                           GError **err)
{
    static const struct {
        JobClass class;
        bool coroutine_fn (*fn)(Vm *vm, const VmSnapshotRequest *r, GError **err);
    } kinds[] = {{SNAPSHOT_JOB_CLASS(JOB_TYPE_SNAPSHOT_SAVE), vm_snapshot_save},
                 {SNAPSHOT_JOB_CLASS(JOB_TYPE_SNAPSHOT_LOAD), vm_snapshot_load},
                 {SNAPSHOT_JOB_CLASS(JOB_TYPE_SNAPSHOT_DELETE), vm_snapshot_delete}};
    unsigned kind = 0;
    SnapshotJob *s;

    while (kinds[kind].class.type != type) {
        kind++;
    }
    s = (SnapshotJob *)job_new(&kinds[kind].class, opts, err);
    if (!s) {
        return NULL;
    }
    s->vm = vm;
    s->fn = r->live ? snapshot_save_live : kinds[kind].fn;
    s->request = *r;
    s->request.name = g_strdup(r->name);
    s->request.vmstate = g_strdup(r->vmstate);
    s->request.devices = json_incref(r->devices);
    s->request.job = &s->job;
    job_start(&s->job);
    return &s->job;
}
