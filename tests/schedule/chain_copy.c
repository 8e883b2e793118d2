/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies of the disk with a chain: mirrors, from which the disk moves to the copy or does not,
 * backups, snapshots inside the image; and limits of any disk. The disk's image is one of two
 * nodes, the other one is what is copied to.
 */
#include "chain.h"

#include "../../block/core.h"
#include "../../block/jobs/mirror.h"
#include "base/util.h"
#include "block/snapshot.h"
#include "block/throttle.h"
#include "block/transaction.h"

static const char *const tops[] = {"node0", "twin"};
static unsigned top; /* of 'tops': the disk's image */

const char *chain_top(void)
{
    return tops[top];
}

unsigned chain_top_index(void)
{
    return top;
}

bool chain_moves(void)
{
    Job *job = job_find("job", NULL);

    return job && job->class->type == JOB_TYPE_MIRROR;
}

void chain_heard(const char *event)
{
    Job *job = g_str_equal(event, "BLOCK_JOB_COMPLETED") ? job_find("job", NULL) : NULL;

    if (job && job->class->type == JOB_TYPE_MIRROR && ((Mirror *)job)->pivoted) {
        top = !top;
        baton_note("the disk has moved to %s", chain_top());
    }
}

/* What is copied to, as long as the disk; NULL: it cannot be made so. */
static BlockNode *coroutine_fn copy_target(void)
{
    BlockNode *disk = block_node_find(chain_top()), *target = block_node_find(tops[!top]);
    int64_t length = disk ? block_length(disk) : -1;

    if (!target || length < 0 ||
        (block_length(target) != length && block_resize(target, length, NULL) < 0)) {
        return NULL;
    }
    return block_node_find(tops[!top]);
}

void coroutine_fn chain_run_mirror(Rand *rand)
{
    BlockNode *target = copy_target();
    JobOptions o = chain_job_options(rand);
    BlockMirror what = {.source = block_node_find(chain_top()),
                        .target = target,
                        .sync = BLOCK_MIRROR_FULL,
                        .active = rand_one_in(rand, 2),
                        .unmap = rand_one_in(rand, 2),
                        .granularity = rand_one_in(rand, 2) ? 512 : 0,
                        .on_source_error = chain_some_policy(rand),
                        .on_target_error = chain_some_policy(rand)};
    g_autoptr(GError) err = NULL;

    if (target && what.source != target && !block_mirror_start(&o, &what, &err)) {
        baton_note("no mirror: %s", err->message);
    }
}

void coroutine_fn chain_run_job_complete(Rand *rand)
{
    Job *job = job_find("job", NULL);

    if (job) {
        job_complete(job, NULL);
    }
}

void coroutine_fn chain_run_backup(Rand *rand)
{
    static const char *const syncs[] = {"full", "top", "none"};
    json_auto_t *args = NULL;
    g_autoptr(GError) err = NULL;

    if (!copy_target()) {
        return;
    }
    args = json_pack("{s:s,s:s,s:s,s:s,s:b,s:b,s:i}", "job-id", "job", "device", chain_top(),
                     "target", tops[!top], "sync", syncs[rand_below(rand, ARRAY_SIZE(syncs))],
                     "auto-finalize", !rand_one_in(rand, 4), "auto-dismiss", !rand_one_in(rand, 4),
                     "speed", rand_one_in(rand, 2) ? 0 : 20000000);
    if (!block_action_run("blockdev-backup", args, &err)) {
        baton_note("no backup: %s", err->message);
    }
}

/* One at a time: the image has room for so many clusters. */
void coroutine_fn chain_run_snapshot(Rand *rand)
{
    BlockNode *n = block_node_find(chain_top());
    BlockSnapshotSection section;
    json_auto_t *args = json_pack("{s:s,s:s}", "device", chain_top(), "name", "s");
    g_autoptr(GError) err = NULL;

    if (n && rand_one_in(rand, 2) && block_snapshot_begin(&section, n, NULL)) {
        block_snapshot_delete(n, NULL, "s", &err);
        block_snapshot_end(&section);
    } else {
        block_action_run("blockdev-snapshot-internal-sync", args, &err);
    }
    if (err) {
        baton_note("%s", err->message);
    }
}

/* So many that some requests wait, and drains with them. */
void coroutine_fn chain_run_limits(Rand *rand)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    ThrottleConfig c;

    if (!list->len) {
        return;
    }
    throttle_config_init(&c);
    if (!rand_one_in(rand, 3)) {
        c.limits[THROTTLE_IOPS_TOTAL].avg = 1 + rand_below(rand, 20000);
        c.limits[THROTTLE_BPS_WRITE].avg = 1000 + rand_below(rand, 10000000);
    }
    block_backend_set_limits(list->pdata[rand_below(rand, list->len)],
                             rand_one_in(rand, 2) ? "group" : NULL, &c, NULL);
}

/* At the end nothing is to take long. */
void coroutine_fn chain_end_limits(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    ThrottleConfig none;

    throttle_config_init(&none);
    for (unsigned i = 0; i < list->len; i++) {
        if (block_backend_listed(list->pdata[i])) {
            block_backend_set_limits(list->pdata[i], NULL, &none, NULL);
        }
    }
}
