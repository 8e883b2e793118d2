/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a job writes a new image through: a filter above the file's node. A driver's create() knows
 * of no drains and of no cancelling, and may take long (keys, preallocation). So the filter holds
 * its requests back while the file is in a drained section, and lets them fail once the job is
 * cancelled.
 */
#include "create_gate.h"

#include <errno.h>
#include "../drivers/filter.h"
#include "base/error.h"

typedef struct {
    json_t *file;
    Job *job; /* holds the node, and outlives it */
    BlockEdge *edge;
    bool held; /* 'quiesce' is raised */
} CreateGate;

static const Property gate_props[] = {FILTER_PROP_FILE(CreateGate, file), PROP_END};

/* Requests that are not in the node yet wait: block_node_enter(). */
static void gate_hold(BlockNode *gate, bool on)
{
    CreateGate *s = block_node_state(gate);

    if (s->held == on) {
        return;
    }
    s->held = on;
    if (on) {
        __atomic_add_fetch(&gate->quiesce, 1, __ATOMIC_SEQ_CST);
    } else {
        block_node_unbar(gate);
    }
}

static void gate_child_changed(BlockNode *gate)
{
    gate->request_alignment = gate->file->request_alignment;
    gate->memory_alignment = gate->file->memory_alignment;
}

static bool gate_open(BlockNode *gate, GError **err)
{
    CreateGate *s = block_node_state(gate);

    if (!filter_open(gate, s->file, err)) {
        return false;
    }
    gate_child_changed(gate);
    return true;
}

/* A format that is opened above, to preallocate, shares its file with nobody: the lock is the
 * gate's. */
static BlockPerms gate_child_perms(BlockNode *gate, const BlockEdge *edge, BlockPerms users)
{
    return (BlockPerms){BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE, BLOCK_PERM_ALL};
}

static bool gate_cancelled(BlockNode *gate)
{
    CreateGate *s = block_node_state(gate);

    return s->job && job_is_cancelled(s->job);
}

static int coroutine_fn gate_preadv(BlockNode *gate, uint64_t off, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    return gate_cancelled(gate) ? -ECANCELED : filter_preadv(gate, off, bytes, iov, niov);
}

static int coroutine_fn gate_pwritev(BlockNode *gate, uint64_t off, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    return gate_cancelled(gate) ? -ECANCELED : filter_pwritev(gate, off, bytes, iov, niov, flags);
}

static int coroutine_fn gate_pwrite_zeroes(BlockNode *gate, uint64_t off, uint64_t bytes,
                                           unsigned flags)
{
    return gate_cancelled(gate) ? -ECANCELED : filter_pwrite_zeroes(gate, off, bytes, flags);
}

static int coroutine_fn gate_make_empty(BlockNode *gate, uint64_t length, bool *zero, GError **err)
{
    return block_image_make_empty(gate->file, length, zero, err) ? 0 : -EIO;
}

static const BlockDriver gate_driver = {
    .name = "create",
    .ends_with_file = true,
    .size = sizeof(CreateGate),
    .props = gate_props,
    .open = gate_open,
    .child_changed = gate_child_changed,
    .child_perms = gate_child_perms,
    .drained = gate_hold,
    .preadv = gate_preadv,
    .pwritev = gate_pwritev,
    .pwrite_zeroes = gate_pwrite_zeroes,
    .make_empty = gate_make_empty,
    FILTER_COMMON,
};

static char *gate_describe(BlockEdge *e)
{
    Job *job = e->parent;

    return g_strdup_printf("%s job '%s'", job_type_names[job->class->type], job->id);
}

static const char *gate_name(BlockEdge *e)
{
    return ((Job *)e->parent)->id;
}

/* The gate itself is what a drain stops. */
static const BlockParentClass gate_user = {
    .describe = gate_describe, .name = gate_name, .is_job = true, .stays = true};

BlockNode *coroutine_fn create_gate_open(Job *job, BlockNode *file, GError **err)
{
    const BlockPerms perms = {0, BLOCK_PERM_ALL};
    json_auto_t *config = json_pack("{s:s}", "file", file->opts.node_name);
    BlockNode *gate;
    CreateGate *s;

    if (file->read_only) {
        error_set(err, "Block node is read-only");
        return NULL;
    }
    gate = block_filter_open(&gate_driver, config, err);
    if (!gate) {
        return NULL;
    }
    s = block_node_state(gate);
    s->job = job;
    /* A section that was on before the node had a state has not told it. */
    gate_hold(gate, gate->core->drains);
    s->edge = block_edge_attach(&gate_user, job, gate, "root", perms, NULL, err);
    if (!s->edge) {
        create_gate_close(gate);
        return NULL;
    }
    return gate;
}

void coroutine_fn create_gate_close(BlockNode *gate)
{
    CreateGate *s = block_node_state(gate);

    /* Closing flushes the node, which nothing may hold up. */
    gate_hold(gate, false);
    s->job = NULL;
    block_edge_detach(s->edge);
    block_node_unref(gate);
}
