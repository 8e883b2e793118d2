/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "chain.h"

#include "../../block/core.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/chain_jobs.h"
#include "block/image.h"

enum { LEVELS = DISK_CHAIN_MAX };

/* The clusters are a sector, so that all of them meet in one L2 table; or the disk is one cluster.
 */
static const char *cluster_size(void)
{
    static const char *const sizes[] = {"512", "4k", "64k"};

    return sizes[world.config.seed / 2 % ARRAY_SIZE(sizes)];
}

bool chain_present(void)
{
    return world.config.chain;
}

static char *level_name(unsigned level)
{
    return level + 1 < LEVELS ? g_strdup_printf("chain%u", level) : g_strdup("node0");
}

typedef struct {
    BlockNode *node;
    void *options;
    Rand rand;
    unsigned level;
    GError *err;
} Image;

static int coroutine_fn image_create(void *data)
{
    Image *i = data;
    const BlockDriver *qcow2 = block_driver_find("qcow2");
    uint64_t length = 0;
    bool zero = true;

    return (!qcow2->create_check || qcow2->create_check(i->options, &length, &i->err)) &&
                   qcow2->create(i->node, i->options, &zero, &i->err)
               ? 0
               : -1;
}

static void create_image(unsigned index, bool backed)
{
    const BlockDriver *qcow2 = block_driver_find("qcow2");
    g_autofree char *text =
        g_strdup_printf("size=%d,cluster_size=%s%s", DISK_SECTOR * DISK_SECTORS, cluster_size(),
                        backed ? ",backing_file=below,backing_fmt=qcow2" : "");
    json_auto_t *parsed = keyval_parse(text, NULL, NULL, false, NULL);
    json_auto_t *tree = json_pack("{s:s,s:i}", "driver", "seeddisk", "index", index);
    Image i = {.options = g_malloc0(qcow2->create_size)};

    properties_init(qcow2->create_props, i.options);
    world_must(properties_apply(qcow2->create_props, i.options, parsed, NULL, "image", &i.err),
               &i.err);
    i.node = block_image_open(tree, BLOCK_IMAGE_RESIZES, &i.err);
    world_must(i.node != NULL, &i.err);
    world_must(block_run(image_create, &i) == 0, &i.err);
    block_node_unref(i.node);
    properties_clear(qcow2->create_props, i.options);
    g_free(i.options);
}

/* Some sectors of the image get values, which the disk has then. */
static int coroutine_fn image_fill(void *data)
{
    Image *i = data;
    uint8_t buf[DISK_SECTOR];
    int ret = 0;

    for (unsigned s = 0; s < DISK_SECTORS && ret == 0; s++) {
        uint32_t value = rand_one_in(&i->rand, 4) ? 0 : 0x1000000 * (i->level + 1) + s;

        if (rand_one_in(&i->rand, 3)) {
            continue;
        }
        for (unsigned at = 0; at < DISK_SECTOR; at += 4) {
            stle32(buf + at, value);
        }
        ret = value ? block_pwrite(i->node, s * DISK_SECTOR, buf, DISK_SECTOR, 0)
                    : block_pwrite_zeroes(i->node, s * DISK_SECTOR, DISK_SECTOR, 0);
        disk_holds(&disks[0].model[s], value);
    }
    return ret < 0 ? ret : block_flush(i->node);
}

static void add_level(unsigned level, bool writable)
{
    g_autofree char *name = level_name(level), *below = level ? level_name(level - 1) : NULL;
    json_auto_t *tree = json_pack("{s:s,s:s,s:b,s:s,s:{s:s,s:i}}", "driver", "qcow2", "node-name",
                                  name, "read-only", !writable, "discard", "unmap", "file",
                                  "driver", "seeddisk", "index", DISK_CHAIN + level);
    GError *err = NULL;

    if (below) {
        json_object_set_new(tree, "backing", json_string(below));
    }
    world_must(block_node_add_monitor_owned(tree, &err), &err);
}

static void del_level(unsigned level)
{
    g_autofree char *name = level_name(level);
    GError *err = NULL;

    world_must(block_node_del_monitor_owned(name, &err), &err);
}

static void create_twin(void)
{
    json_auto_t *tree =
        json_pack("{s:s,s:s,s:s,s:{s:s,s:i}}", "driver", "qcow2", "node-name", "twin", "discard",
                  "unmap", "file", "driver", "seeddisk", "index", DISK_TWIN);
    GError *err = NULL;

    create_image(DISK_TWIN, false);
    world_must(block_node_add_monitor_owned(tree, &err), &err);
}

void chain_create(void)
{
    create_twin();
    for (unsigned level = 0; level < LEVELS; level++) {
        g_autofree char *name = level_name(level);
        Image i = {.level = level};

        create_image(DISK_CHAIN + level, level);
        for (unsigned l = 0; l <= level; l++) {
            add_level(l, l == level);
        }
        i.node = block_node_find(name);
        rand_seed(&i.rand, world.config.seed + level * 1000003);
        world_must(block_run(image_fill, &i) == 0, NULL);
        if (level + 1 < LEVELS) {
            for (unsigned l = level + 1; l-- > 0;) {
                del_level(l);
            }
        }
    }
}

void coroutine_fn chain_read(uint8_t *buf)
{
    BlockNode *n = block_node_find(chain_top());

    memset(buf, 0, DISK_SECTOR * DISK_SECTORS);
    if (block_pread(n, 0, buf, DISK_SECTOR * DISK_SECTORS) < 0) {
        baton_fail("the disk with a chain cannot be read");
    }
}

/* Jobs. One at a time has the chain; which commands come is the seed's. */

JobOptions chain_job_options(Rand *rand)
{
    return (JobOptions){.id = (char *)"job",
                        .speed = rand_one_in(rand, 2) ? 0 : 20000000,
                        .auto_finalize = !rand_one_in(rand, 4),
                        .auto_dismiss = !rand_one_in(rand, 4)};
}

BlockOnError chain_some_policy(Rand *rand)
{
    return rand_one_in(rand, 2) ? BLOCK_ON_ERROR_STOP : BLOCK_ON_ERROR_REPORT;
}

void coroutine_fn chain_run_stream(Rand *rand)
{
    BlockNode *top = block_node_find(chain_top()), *base = top;
    JobOptions o = chain_job_options(rand);
    BlockStream s = {.top = top, .on_error = chain_some_policy(rand)};
    g_autoptr(GError) err = NULL;

    for (unsigned depth = 2 + rand_below(rand, LEVELS); depth-- && base;) {
        base = block_node_next_image(base);
    }
    s.base = base;
    s.backing_name = base ? "below" : NULL;
    s.filter_name = rand_one_in(rand, 3) ? "stream-filter" : NULL;
    chain_snapshots_belied();
    if (top && !block_stream_start(&o, &s, &err)) {
        baton_note("no stream: %s", err->message);
    }
}

void coroutine_fn chain_run_commit(Rand *rand)
{
    BlockNode *disk = block_node_find(chain_top());
    BlockNode *top = disk ? block_node_next_image(disk) : NULL;
    JobOptions o = chain_job_options(rand);
    BlockCommitJob c = {.disk = disk, .backing_name = "below", .on_error = chain_some_policy(rand)};
    g_autoptr(GError) err = NULL;

    if (top && rand_one_in(rand, 3) && block_node_next_image(top)) {
        top = block_node_next_image(top);
    }
    c.top = top;
    c.base = top ? block_node_next_image(top) : NULL;
    if (c.base && rand_one_in(rand, 2) && block_node_next_image(c.base)) {
        c.base = block_node_next_image(c.base);
    }
    if (c.base && !block_commit_job_start(&o, &c, &err)) {
        baton_note("no commit: %s", err->message);
    }
}

/* The disk's backing file: its place in 'disks'; NULL: it has none. */
static Disk *base_file(void)
{
    BlockNode *disk = block_node_find(chain_top());
    BlockNode *base = disk ? block_node_next_image(disk) : NULL;

    for (unsigned level = 0; base && level < LEVELS; level++) {
        g_autofree char *name = level_name(level);

        if (g_str_equal(base->opts.node_name, name)) {
            return &disks[DISK_CHAIN + level];
        }
    }
    return NULL;
}

/* Else it is no drive's, and 'commit' does not know it. */
static bool disk_is_plugged(void)
{
    g_autoptr(GPtrArray) list = block_backend_list(NULL);
    bool found = false;

    for (unsigned i = 0; i < list->len && !found; i++) {
        BlockNode *n = block_node_image(block_backend_node(list->pdata[i]));

        found = n && g_str_equal(n->opts.node_name, chain_top());
    }
    return found;
}

bool coroutine_fn chain_commit_drive(Rand *rand)
{
    /* An IDE disk, which may be gone and has no backing file; mostly all. */
    const char *drive = rand_one_in(rand, 8) ? "drive0" : "all";
    Disk *broken = rand_one_in(rand, 4) ? base_file() : NULL;
    bool all = g_str_equal(drive, "all") && base_file() && disk_is_plugged(), ok;
    g_autoptr(GError) err = NULL;

    if (broken) {
        __atomic_store_n(&broken->broken, true, __ATOMIC_SEQ_CST);
    }
    chain_snapshots_belied();
    ok = block_commit_drive(drive, &err);
    chain_snapshots_belied();
    if (broken) {
        __atomic_store_n(&broken->broken, false, __ATOMIC_SEQ_CST);
    }
    baton_note("%s", !ok   ? err->message
                     : all ? "the disk is in its backing file"
                           : "nothing to do");
    return ok && all;
}

bool coroutine_fn chain_top_is_empty(void)
{
    BlockNode *top = block_node_find(chain_top());
    uint64_t length = block_length(top);

    for (uint64_t off = 0, n; off < length; off += n) {
        int status = block_status(top, off, length - off, &n, NULL, NULL);

        if (status < 0 || !n) {
            return true; /* the disk fails, and it cannot be said */
        }
        if (status & BLOCK_STATUS_ALLOCATED) {
            return false;
        }
    }
    return true;
}

static char *hold_describe(BlockEdge *edge)
{
    return g_strdup("a reader");
}

static const BlockParentClass holder = {.describe = hold_describe};

void coroutine_fn chain_run_hold(Rand *rand)
{
    const BlockPerms reads = {BLOCK_PERM_CONSISTENT_READ,
                              BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED};
    BlockNode *disk = block_node_find(chain_top());
    BlockNode *base = disk ? block_node_next_image(disk) : NULL;
    BlockEdge *edge = NULL;
    g_autoptr(GError) err = NULL;

    if (base) {
        edge = block_edge_attach(&holder, NULL, base, "root", reads, NULL, &err);
    }
    if (edge) {
        coroutine_sleep(CLOCK_REALTIME_NS, rand_below(rand, 2000) * 1000);
        block_edge_detach(edge);
    } else if (err) {
        baton_note("no reader: %s", err->message);
    }
}

void coroutine_fn chain_run_job_cancel(Rand *rand)
{
    Job *job = job_find("job", NULL);

    if (job && job->status == JOB_PENDING && rand_one_in(rand, 2)) {
        job_finalize(job, NULL);
    } else if (job && job->status == JOB_CONCLUDED) {
        job_dismiss(job, NULL);
    } else if (job) {
        job_cancel(job, rand_one_in(rand, 2), NULL);
    }
}

void coroutine_fn chain_run_job_pause(Rand *rand)
{
    Job *job = job_find("job", NULL);

    if (job) {
        job_pause(job, NULL);
    }
}

void coroutine_fn chain_run_job_resume(Rand *rand)
{
    Job *job = job_find("job", NULL);

    if (job) {
        job_resume(job, NULL);
    }
}

void coroutine_fn chain_run_job_speed(Rand *rand)
{
    Job *job = job_find("job", NULL);

    if (job) {
        job_set_speed(job, rand_one_in(rand, 2) ? 0 : 1 + rand_below(rand, 30000000), NULL);
    }
}

void coroutine_fn chain_end_jobs(void)
{
    Job *job;

    for (unsigned looks = 0; (job = job_find("job", NULL)); looks++) {
        if (job->status == JOB_CONCLUDED) {
            job_dismiss(job, NULL);
        } else {
            job_cancel(job, true, NULL);
        }
        if (looks > 1000) {
            baton_fail("a job does not end: it is %s", job_status_names[job->status]);
        }
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
}
