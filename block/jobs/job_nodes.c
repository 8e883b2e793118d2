/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The nodes that a job uses: edges, drained with the job, and frozen links. */
#include "base/error.h"
#include "base/util.h"
#include "jobs.h"

static char *job_edge_describe(BlockEdge *e)
{
    Job *job = e->parent;

    return g_strdup_printf("%s job '%s'", job_type_names[job->class->type],
                           job->id ? job->id : "(internal)");
}

static const char *job_edge_name(BlockEdge *e)
{
    return ((Job *)e->parent)->id;
}

static void job_edge_drain_begin(BlockEdge *e)
{
    Job *job = e->parent;

    job->pauses++;
    if (job->class->drained_wake) {
        job->class->drained_wake(job);
    }
}

static void job_edge_drain_end(BlockEdge *e)
{
    Job *job = e->parent;

    g_assert(job->pauses);
    job->pauses--;
    job_wake(job);
}

static bool job_edge_busy(BlockEdge *e)
{
    return ((Job *)e->parent)->busy;
}

static const BlockParentClass job_parent = {
    .describe = job_edge_describe,
    .name = job_edge_name,
    .is_job = true,
    .drain_begin = job_edge_drain_begin,
    .drain_end = job_edge_drain_end,
    .busy = job_edge_busy,
    .stays = true,
};

BlockEdge *job_add_node(Job *job, const char *name, BlockNode *node, BlockPerms perms, GError **err)
{
    BlockEdge *e = block_edge_attach(&job_parent, job, node, name, perms, NULL, err);

    if (e) {
        g_ptr_array_add(job->edges, e);
    }
    return e;
}

void coroutine_fn job_remove_node(Job *job, BlockEdge *edge)
{
    if (g_ptr_array_remove(job->edges, edge)) {
        block_edge_detach(edge);
    }
}

void coroutine_fn job_remove_nodes(Job *job)
{
    while (job->edges->len) {
        job_remove_node(job, job->edges->pdata[job->edges->len - 1]);
    }
}

bool job_freeze_chain(Job *job, BlockNode *top, BlockNode *base, GError **err)
{
    g_assert(job->edges->len);
    for (BlockNode *n = top; n != base;) {
        BlockEdge *e = block_chain_edge(n);

        if (!e) {
            break;
        }
        if (!block_edge_freeze(e, job->edges->pdata[0], err)) {
            job_thaw_chain(job);
            return false;
        }
        g_ptr_array_add(job->frozen, e);
        n = e->child;
    }
    return true;
}

void job_thaw_chain(Job *job)
{
    for (unsigned i = 0; i < job->frozen->len; i++) {
        block_edge_thaw(job->frozen->pdata[i]);
    }
    g_ptr_array_set_size(job->frozen, 0);
}

static Job *job_of_node_but(BlockNode *n, const Job *own)
{
    for (unsigned i = 0; i < n->core->parents->len; i++) {
        BlockEdge *e = n->core->parents->pdata[i];
        if (e->class == &job_parent && !e->parent_node && e->parent != own) {
            return e->parent;
        }
    }
    return NULL;
}

Job *job_of_node(BlockNode *n)
{
    return job_of_node_but(n, NULL);
}

/* The drive that has this node as its medium, else the node's name. */
const char *job_device_or_node(BlockNode *n)
{
    g_autoptr(GPtrArray) list = block_backend_list(n);

    for (unsigned i = 0; i < list->len; i++) {
        const char *name = block_backend_name(list->pdata[i]);
        if (*name) {
            return name;
        }
    }
    return n->opts.node_name;
}

bool job_node_is_free(BlockNode *n, GError **err)
{
    return job_node_is_free_for(n, NULL, err);
}

bool job_node_is_free_for(BlockNode *n, const Job *own, GError **err)
{
    Job *job = job_of_node_but(n, own);

    if (!job) {
        return true;
    }
    return error_set(err, "Node '%s' is busy: block device is in use by block job: %s",
                     job_device_or_node(n), job_type_names[job->class->type]);
}

void job_cancel_of_node(BlockNode *n)
{
    for (unsigned i = 0; job_table && i < job_table->len; i++) {
        Job *job = job_table->pdata[i];

        for (unsigned j = 0; j < job->edges->len; j++) {
            if (((BlockEdge *)job->edges->pdata[j])->child == n) {
                job_cancel(job, false, NULL);
                break;
            }
        }
    }
}
