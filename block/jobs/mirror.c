/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mirror job: begins with a filter above the source and a bitmap of it, copies (mirror_copy.c)
 * until the target is the same and the user says how to end, and moves the disk to the target in
 * a drained section, in which what was still dirty is copied first. A commit of the active image
 * is a mirror whose target is the base.
 */
#include <errno.h>
#include <stdlib.h>
#include "base/error.h"
#include "base/util.h"
#include "mirror.h"

enum { DEFAULT_BUFFER = 16 << 20 };

/* The base becomes as long as the disk. */
static bool coroutine_fn mirror_grow_base(Mirror *m, GError **err)
{
    BlockDrain *section;
    bool ok;

    if (!job_section_begin(&m->job, m->base, &section, err)) {
        return false;
    }
    ok = block_truncate(m->base, m->length, err) == 0;
    job_section_end(&m->job, section);
    return ok;
}

static bool coroutine_fn mirror_lengths(Mirror *m, GError **err)
{
    int64_t target = block_length(m->target);

    if (target < 0) {
        return job_fail(err, -target);
    }
    if (m->length == (uint64_t)target) {
        return true;
    }
    if (!m->base) {
        return error_set(err, "Source and target image have different sizes");
    }
    return m->length < (uint64_t)target || mirror_grow_base(m, err);
}

static bool coroutine_fn mirror_run(Job *job, GError **err)
{
    Mirror *m = (Mirror *)job;

    return mirror_lengths(m, err) && mirror_find_dirty(m, err) && mirror_copy(m, err);
}

static bool mirror_complete(Job *job, GError **err)
{
    Mirror *m = (Mirror *)job;

    if (!m->ready) {
        return error_set(err, "The active block job '%s' cannot be completed", job->id);
    }
    if (m->what.replaces && !block_node_find(m->what.replaces)) {
        return error_set(err, "Node name '%s' not found", m->what.replaces);
    }
    m->complete = true;
    job_kick(job);
    return true;
}

/* After READY the job ends well, but the disk stays where it is. */
static bool mirror_cancelled(Job *job, bool force)
{
    return ((Mirror *)job)->ready && !force;
}

/* Whether 'n' shows what the source shows, and nobody would see a change if it gave way. */
static bool may_replace(BlockNode *source, const BlockNode *n)
{
    for (BlockNode *at = source; at; at = at->driver->is_filter ? block_node_below(at) : NULL) {
        if (at == n) {
            return true;
        }
    }
    return false;
}

/* The node that gives way; the filter stands for the source. */
static BlockNode *node_to_replace(Mirror *m, GError **err)
{
    BlockNode *n;

    if (!m->what.replaces) {
        return m->filter;
    }
    n = block_node_find(m->what.replaces);
    if (!n) {
        error_set(err, "Node name '%s' not found", m->what.replaces);
        return NULL;
    }
    if (!may_replace(m->source, n)) {
        error_set(err,
                  "Can no longer replace '%s' by '%s', because it can no longer be guaranteed that "
                  "doing so would not lead to an abrupt change of visible data",
                  m->what.replaces, m->target->opts.node_name);
        return NULL;
    }
    return n == m->source ? m->filter : n;
}

/* What becomes the target's backing file; a reference. *err: it cannot be opened. */
static BlockNode *coroutine_fn backing_to_be(Mirror *m, GError **err)
{
    BlockNode *image = block_node_image(m->target), *backing = NULL;

    if (image->backing) {
        return NULL;
    }
    if (m->what.backing == BLOCK_MIRROR_BACKING_SOURCE) {
        backing = m->what.sync == BLOCK_MIRROR_NONE ? m->source : block_node_next_image(m->source);
        return backing ? block_node_ref(backing) : NULL;
    }
    if (m->what.backing == BLOCK_MIRROR_BACKING_OPEN && image->backing_name) {
        json_auto_t *tree = block_backing_tree(image, err);

        if (tree) {
            block_node_inherit(&image->opts, "backing", tree);
            backing = block_node_open_unheld(tree, 0, err);
        }
        block_error_prefix(err, "Could not open backing file");
    }
    return backing;
}

/* In a drained section. */
static bool coroutine_fn mirror_pivot(Mirror *m, BlockNode *backing, GError **err)
{
    BlockNode *from = node_to_replace(m, err), *image = block_node_image(m->target);
    GPtrArray *barred;
    BlockChange *c;

    if (!from) {
        return false;
    }
    job_thaw_chain(&m->job);
    barred = block_bar_parents(from);
    c = block_change_new();
    block_change_perms(c, m->source_edge, (BlockPerms){0, BLOCK_PERM_ALL});
    block_change_perms(c, m->target_edge, (BlockPerms){0, BLOCK_PERM_ALL});
    if (m->filter_target) {
        block_change_detach(c, m->filter_target);
    }
    if (backing) {
        block_change_attach_node(c, image, backing, "backing", BLOCK_ROLE_BACKING, &image->backing);
    }
    block_change_replace(c, from, m->target);
    m->pivoted = block_change_commit(c, err);
    block_unbar_parents(barred);
    if (m->pivoted) {
        m->filter_target = NULL;
    }
    return m->pivoted;
}

static bool coroutine_fn mirror_last_section(Mirror *m, bool pivot, BlockNode *backing,
                                             GError **err)
{
    BlockDrain *disk = block_drain_begin(m->filter), *target = block_drain_begin(m->target);
    bool ok = mirror_copy_rest(m, err) && (!pivot || mirror_pivot(m, backing, err));

    block_drain_end(target);
    block_drain_end(disk);
    return ok;
}

static bool coroutine_fn mirror_prepare(Job *job, GError **err)
{
    Mirror *m = (Mirror *)job;
    bool pivot = m->complete && !job_cancel_requested(job), read_only = m->source->read_only, ok;
    g_autoptr(GError) why = NULL;
    BlockNode *backing = pivot ? backing_to_be(m, &why) : NULL;

    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    ok = block_changes_lock(err);
    if (ok) {
        ok = mirror_last_section(m, pivot, backing, err);
        block_changes_unlock();
    }
    block_node_unref(backing);
    if (m->pivoted && read_only && !m->base) {
        /* The disk does not write; that others might is no error of the mirror's. */
        block_set_read_only(m->target, true, &why);
    }
    return ok;
}

/* Under the lock of changes, in a drained section. */
static void coroutine_fn mirror_leave(Mirror *m)
{
    /* First: without its filter the disk lets nobody write to what is below. */
    job_thaw_chain(&m->job);
    job_remove_nodes(&m->job);
    if (m->tracked) {
        block_range_track_end(m->source);
        m->tracked = false;
    }
    if (m->inserted) {
        GPtrArray *barred = block_bar_parents(m->filter);
        BlockChange *c = block_change_new();

        if (m->filter_target) {
            block_change_detach(c, g_steal_pointer(&m->filter_target));
        }
        block_change_replace(c, m->filter, m->source);
        m->inserted = !block_change_commit(c, NULL);
        block_unbar_parents(barred);
        g_assert(!m->inserted); /* the filter asks for nothing of its own */
    }
    if (m->filter) {
        mirror_filter_attach(m->filter, NULL);
    }
    if (m->bitmap) {
        block_dirty_bitmap_free(g_steal_pointer(&m->bitmap));
    }
}

static void coroutine_fn mirror_clean(Job *job)
{
    Mirror *m = (Mirror *)job;

    /* Jobs end before the lock is closed: it cannot fail. */
    if (block_changes_lock(NULL)) {
        BlockDrain *drain = block_drain_begin(m->filter ? m->filter : m->source);

        mirror_leave(m);
        block_drain_end(drain);
        block_changes_unlock();
    }
    block_node_unref(g_steal_pointer(&m->filter));
    if (m->base_was_read_only && !m->pivoted) {
        g_autoptr(GError) err = NULL;

        /* A node that stays writable harms nobody. */
        block_set_read_only(m->target, true, &err);
    }
    block_node_unref(g_steal_pointer(&m->source));
    block_node_unref(g_steal_pointer(&m->target));
}

static void mirror_free(Job *job)
{
    Mirror *m = (Mirror *)job;

    wait_list_destroy(&m->op_ended);
    while (m->n_buffers) {
        free(m->buffers[--m->n_buffers]);
    }
    g_free((char *)m->what.replaces);
}

#define MIRROR_CLASS                                                                               \
    .size = sizeof(Mirror), .block_job = true, .run = mirror_run, .complete = mirror_complete,     \
    .prepare = mirror_prepare, .clean = mirror_clean, .cancelled = mirror_cancelled,               \
    .free = mirror_free

static const JobClass mirror_class = {.type = JOB_TYPE_MIRROR, MIRROR_CLASS};
static const JobClass commit_active_class = {.type = JOB_TYPE_COMMIT, MIRROR_CLASS};

/* The user of both ends, and of the filter. */
static bool coroutine_fn mirror_take_nodes(Mirror *m, GError **err)
{
    const unsigned reads = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED;
    BlockPerms source = {BLOCK_PERM_CONSISTENT_READ, reads | BLOCK_PERM_WRITE};
    BlockPerms target = {BLOCK_PERM_WRITE, BLOCK_PERM_WRITE_UNCHANGED};

    if (m->base) {
        target.needs |= block_length(m->source) > block_length(m->base) ? BLOCK_PERM_RESIZE : 0;
        target.shares |= reads | BLOCK_PERM_WRITE;
        source.shares =
            BLOCK_PERM_ALL; /* what is below changes, and what the disk shows does not */
    }
    m->source_edge = job_add_node(&m->job, "source", m->source, source, err);
    m->target_edge =
        m->source_edge ? job_add_node(&m->job, "target", m->target, target, err) : NULL;
    if (!m->target_edge) {
        return false;
    }
    for (BlockNode *n = m->base ? block_node_below(m->source) : NULL; n && n != m->base;
         n = block_node_below(n)) {
        if (!job_add_node(&m->job, "intermediate node", n, (BlockPerms){0, BLOCK_PERM_ALL}, err)) {
            return false;
        }
    }
    /* The filter locks ranges of the node below it: that is the source, and stays it. */
    return job_freeze_chain(&m->job, m->filter, m->base ? m->base : m->source, err);
}

/* In a drained section: the filter comes above the source, and has the target, too. */
static bool coroutine_fn mirror_insert(Mirror *m, GError **err)
{
    GPtrArray *barred = block_bar_parents(m->source);
    BlockChange *c = block_change_new();
    BlockEdge *to_target = NULL;

    mirror_filter_attach(m->filter, m);
    block_change_replace(c, m->source, m->filter);
    if (m->active) {
        /* So a drain of the target holds the guest's writes as well. */
        to_target =
            block_change_attach_node(c, m->filter, m->target, "target", BLOCK_ROLE_DATA, NULL);
    }
    m->inserted = block_change_commit(c, err);
    block_unbar_parents(barred);
    m->filter_target = m->inserted ? to_target : NULL;
    return m->inserted;
}

/* Under the lock of changes, in a drained section: what was true before may be over. */
static bool coroutine_fn mirror_enter(Mirror *m, GError **err)
{
    if (!job_node_is_free(m->source, err) || !job_node_is_free(m->target, err)) {
        return false;
    }
    if (m->base && !block_chain_contains(block_node_below(m->source), m->base)) {
        return error_set(err, "Node '%s' is not a backing image of '%s'", m->base->opts.node_name,
                         m->source->opts.node_name);
    }
    m->bitmap = block_dirty_bitmap_new(m->source, NULL, m->what.granularity, err);
    if (!m->bitmap) {
        return false;
    }
    m->length = block_dirty_bitmap_size(m->bitmap); /* nobody may change it from now on */
    block_dirty_bitmap_enable(m->bitmap, !m->active);
    /* A commit's filter first: what the source shares of the base is as the filter says. */
    if (!mirror_insert(m, err) || !mirror_take_nodes(m, err) ||
        !job_add_node(&m->job, "main node", m->filter, (BlockPerms){0, BLOCK_PERM_ALL}, err)) {
        return false;
    }
    if (m->active) {
        block_range_track_begin(m->source);
        m->tracked = true;
    }
    return true;
}

/* What may wait comes first; then the graph in one go. */
static bool coroutine_fn mirror_set_up(Mirror *m, GError **err)
{
    BlockDrain *disk, *target;
    bool ok;

    if (m->base && m->base->read_only) {
        if (!block_set_read_only(m->base, false, err)) {
            return false;
        }
        m->base_was_read_only = true;
    }
    if (m->target->read_only) {
        return error_set(err, "Block node is read-only");
    }
    m->filter = mirror_filter_open(m->source, m->what.filter_name, err);
    if (!m->filter || !block_changes_lock(err)) {
        return false;
    }
    disk = block_drain_begin(m->source);
    target = block_drain_begin(m->target);
    ok = mirror_enter(m, err);
    block_drain_end(target);
    block_drain_end(disk);
    block_changes_unlock();
    return ok;
}

static uint64_t clusters_of(BlockNode *n)
{
    BlockDriverInfo info = {0};
    BlockNode *image = block_node_image(n);

    if (!image->driver->info || !image->driver->info(image, &info)) {
        return 0;
    }
    json_decref(info.format_specific);
    return info.cluster_size;
}

static void choose_granularity(Mirror *m)
{
    BlockNode *image = block_node_image(m->target);
    uint64_t cluster = clusters_of(m->target);

    if (!m->what.granularity) {
        m->what.granularity = cluster ? CLAMP(cluster, 4096, 65536) : 65536;
    }
    if (image->backing_name && !image->backing && !m->base) {
        /* What the target would keep of a cluster that is written in part is not there to copy. */
        m->whole_clusters = true;
        m->what.granularity = MAX(m->what.granularity, cluster);
    }
}

static bool coroutine_fn mirror_begin(const JobClass *class, const JobOptions *opts,
                                      const BlockMirror *what, BlockNode *base, GError **err)
{
    Mirror *m = (Mirror *)job_new(class, opts, err);

    if (!m) {
        return false;
    }
    m->what = *what;
    m->what.replaces = g_strdup(what->replaces);
    m->what.buf_size = what->buf_size ? what->buf_size : DEFAULT_BUFFER;
    m->source = block_node_ref(what->source);
    m->target = block_node_ref(what->target);
    m->base = base;
    m->active = what->active;
    block_offload_init(&m->offload, BLOCK_OFFLOAD_TRY, m->target);
    wait_list_init(&m->op_ended);
    if (m->what.sync == BLOCK_MIRROR_TOP && !base && !block_node_next_image(m->source)) {
        m->what.sync = BLOCK_MIRROR_FULL;
    }
    choose_granularity(m);
    if (!mirror_set_up(m, err)) {
        mirror_clean(&m->job);
        job_discard(&m->job);
        return false;
    }
    m->what.filter_name = NULL; /* was the caller's */
    job_start(&m->job);
    return true;
}

static bool check_replaces(const BlockMirror *what, GError **err)
{
    BlockNode *n = what->replaces ? block_node_find(what->replaces) : NULL;

    if (!what->replaces) {
        return true;
    }
    if (!n) {
        return error_set(err, "Failed to find node with node-name='%s'", what->replaces);
    }
    if (!job_node_is_free(n, err)) {
        return false;
    }
    if (!may_replace(what->source, n)) {
        return error_set(err,
                         "Cannot replace '%s' by a node mirrored from '%s', because it cannot be "
                         "guaranteed that doing so would not lead to an abrupt change of visible "
                         "data",
                         what->replaces, job_device_or_node(what->source));
    }
    if (block_length(n) != block_length(what->source)) {
        return error_set(err, "cannot replace image with a mirror image of different size");
    }
    return true;
}

bool coroutine_fn block_mirror_start(const JobOptions *opts, const BlockMirror *what, GError **err)
{
    if (!job_node_is_free(what->source, err) || !job_node_is_free(what->target, err) ||
        !check_replaces(what, err)) {
        return false;
    }
    if (what->source == what->target) {
        return error_set(err, "Can't mirror node into itself");
    }
    return mirror_begin(&mirror_class, opts, what, NULL, err);
}

bool coroutine_fn block_commit_active_start(const JobOptions *opts, const BlockCommitActive *what,
                                            GError **err)
{
    const BlockMirror mirror = {
        .source = what->top,
        .target = what->base,
        .filter_name = what->filter_name,
        .sync = BLOCK_MIRROR_TOP,
        .unmap = true,
        .on_source_error = what->on_error,
        .on_target_error = what->on_error,
    };

    return job_node_is_free(what->top, err) && job_node_is_free(what->base, err) &&
           mirror_begin(&commit_active_class, opts, &mirror, what->base, err);
}
