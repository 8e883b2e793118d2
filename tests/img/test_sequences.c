/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All sequences of up to three operations over three clusters of a small disk, on each option set,
 * with the power cut everywhere. For each prefix of the host's writes: with all that no flush
 * covers kept, lost, each single write alone kept, alone lost, the last one torn at each sector;
 * and with seeded subsets of it, or all subsets where these are fewer. Each time the image opens, a
 * check finds at most leaks (behind the dirty bit: after the repair of a writable opening), each
 * sector has what it had at the last flush or later, and the snapshots are those of that time or
 * later, with their content.
 *
 *     img-sequences [--all | --part N] [SEED [SET]]
 *
 * Without --all: one in N of the sequences (10), chosen by the seed, and fewer subsets. SET: one
 * alone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "memdisk.h"
#include "base/iov.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"
#include "block/snapshot.h"

enum { CLUSTERS = 3, MOST_OPS = 3, BACKING = 6 };

typedef struct {
    const char *options;
    unsigned cluster;
    bool backing, no_snapshots;
} Set;

static const Set sets[] = {
    {"cluster_size=512", 512},
    {"cluster_size=4k", 4096},
    {"cluster_size=4k", 4096, .backing = true},
    {"cluster_size=4k,lazy_refcounts=on", 4096},
    {"cluster_size=16k,extended_l2=on", 16384},
    {"cluster_size=16k,extended_l2=on", 16384, .backing = true},
    {"cluster_size=4k,refcount_bits=64,compression_type=zstd", 4096},
    {"cluster_size=4k,refcount_bits=1", 4096},
    /* Version 2 has no dirty bit: of a snapshot's change, flags stay that a check complains of. */
    {"cluster_size=4k,compat=0.10", 4096, .no_snapshots = true},
};

typedef enum {
    WRITE_CLUSTER,
    WRITE_PART,
    WRITE_ACROSS,
    ZERO,
    ZERO_UNMAP,
    DISCARD,
    FLUSH,
    COMPRESSED,
    SNAPSHOT,
    DELETE,
    RESIZE,
    REOPEN,
    OPS
} Op;
static const char *const op_names[OPS] = {
    "write-cluster", "write-part", "write-across", "zero",   "zero-unmap", "discard",
    "flush",         "compressed", "snapshot",     "delete", "resize",     "reopen"};

/* What the guest sees. */
typedef struct {
    GBytes *disk;
    unsigned snapshots; /* bits: s0, s1, s2 */
    unsigned log_end;   /* events when it had come about */
    bool stable;        /* a flush came with it */
} State;

typedef struct {
    const Set *set;
    BlockNode *n;
    MemDisk *disk;
    Op ops[MOST_OPS];
    unsigned count; /* operations begun; states[count] is the last one's */
    unsigned next_snapshot;
    State states[MOST_OPS + 1];
    GBytes *snapshot[MOST_OPS];
    uint8_t pattern;
    const char *what; /* for messages */
} Sequence;

static void sequence_fail(const Sequence *q, unsigned cut, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4) G_GNUC_NORETURN;
static void sequence_fail(const Sequence *q, unsigned cut, const char *fmt, ...)
{
    va_list ap;

    printf("Bail out! %s%s:", q->set->options, q->set->backing ? ", backing file" : "");
    for (unsigned i = 0; i < q->count; i++) {
        printf(" %s", op_names[q->ops[i]]);
    }
    printf(", cut before event %u of %u (%s): ", cut, q->disk->log->len, q->what);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(1);
}

static BlockNode *sequence_open(const Set *set, const char *name, bool writable, GError **err)
{
    g_autofree char *extra = g_strdup_printf(
        "{\"discard\":\"unmap\",\"read-only\":%s,\"backing\":%s}", writable ? "false" : "true",
        set->backing ? "{\"driver\":\"raw\",\"file\":{\"driver\":\"memdisk\",\"name\":\"base\"}}"
                     : "null");

    return imgtest_open("qcow2", name, extra, err);
}

static GBytes *coroutine_fn read_disk(BlockNode *n, int *ret)
{
    int64_t length = block_length(n);
    uint8_t *buf = g_malloc(length);

    *ret = block_pread(n, 0, buf, length);
    return g_bytes_new_take(buf, length);
}

/* --- the operations --- */

static int coroutine_fn op_fn(void *data)
{
    Sequence *q = data;
    const uint64_t c = q->set->cluster;
    g_autofree uint8_t *buf = g_malloc(2 * c);
    g_autofree char *name = g_strdup_printf("s%u", q->next_snapshot);
    BlockSnapshot sn = block_snapshot_now(name);
    int64_t length = block_length(q->n);
    State *s = &q->states[q->count];
    int ret = 0;

    memset(buf, ++q->pattern, 2 * c);
    switch (q->ops[q->count - 1]) {
    case WRITE_CLUSTER:
        ret = block_pwrite(q->n, 0, buf, c, 0);
        break;
    case WRITE_PART:
        ret = c > 512 ? block_pwrite(q->n, c / 2, buf, c / 4, 0) : block_pwrite(q->n, c, buf, c, 0);
        break;
    case WRITE_ACROSS:
        ret = c > 512 ? block_pwrite(q->n, c - c / 4, buf, c / 2, 0)
                      : block_pwrite(q->n, 0, buf, 2 * c, 0);
        break;
    case ZERO:
        ret = block_pwrite_zeroes(q->n, c / 2 / 512 * 512, c, 0);
        break;
    case ZERO_UNMAP:
        ret = block_pwrite_zeroes(q->n, 0, 2 * c, BLOCK_REQ_MAY_UNMAP);
        break;
    case DISCARD:
        ret = block_pdiscard(q->n, 0, 3 * c);
        break;
    case FLUSH:
        ret = block_flush(q->n);
        s->stable = true;
        break;
    case COMPRESSED:
        block_pwrite_compressed(q->n, 2 * c, buf, c); /* -EIO: there is data */
        break;
    case SNAPSHOT:
        if (!q->set->no_snapshots && block_snapshot_create(q->n, &sn, NULL)) {
            q->snapshot[q->next_snapshot] = read_disk(q->n, &ret);
            s->snapshots |= BIT(q->next_snapshot++);
            s->stable = true;
        }
        break;
    case DELETE:
        for (unsigned i = 0; i < MOST_OPS; i++) {
            g_autofree char *old = g_strdup_printf("s%u", i);

            if ((s->snapshots & BIT(i)) && block_snapshot_delete(q->n, NULL, old, NULL)) {
                s->snapshots &= ~BIT(i);
                s->stable = true;
                break;
            }
        }
        break;
    case RESIZE:
        block_truncate(q->n, length > (int64_t)(CLUSTERS * c) ? CLUSTERS * c : (CLUSTERS + 1) * c,
                       NULL); /* refused: a version 2 image with snapshots */
        break;
    case REOPEN:
    case OPS:
        break;
    }
    return ret;
}

static int coroutine_fn note_fn(void *data)
{
    Sequence *q = data;
    int ret;

    q->states[q->count].disk = read_disk(q->n, &ret);
    q->states[q->count].log_end = q->disk->log->len;
    return ret;
}

static void sequence_step(Sequence *q)
{
    State *now = &q->states[++q->count];

    *now = (State){.snapshots = now[-1].snapshots};
    if (q->ops[q->count - 1] == REOPEN) {
        block_node_unref(q->n);
        q->n = sequence_open(q->set, "disk", true, NULL);
        g_assert(q->n);
        now->stable = true;
    } else {
        int ret = block_run(op_fn, q);

        g_assert(ret == 0);
    }
    g_assert(block_run(note_fn, q) == 0);
}

/* --- after a cut --- */

typedef struct {
    const Sequence *q;
    unsigned cut, first, last; /* states that may be seen */
    bool snapshots;            /* look at them, too, which changes the disk */
    BlockNode *n;
} Look;

static bool sector_possible(const Look *l, const uint8_t *now, size_t at)
{
    for (unsigned i = l->first; i <= l->last; i++) {
        size_t len;
        const uint8_t *then = g_bytes_get_data(l->q->states[i].disk, &len);

        if (at + 512 <= len ? memcmp(now + at, then + at, 512) == 0
                            : buffer_is_zero(now + at, 512)) {
            return true;
        }
    }
    return false;
}

static void look_at_disk(const Look *l, GBytes *disk)
{
    size_t len;
    const uint8_t *now = g_bytes_get_data(disk, &len);
    bool length_possible = false;

    for (unsigned i = l->first; i <= l->last; i++) {
        length_possible = length_possible || g_bytes_get_size(l->q->states[i].disk) == len;
    }
    if (!length_possible) {
        sequence_fail(l->q, l->cut, "the disk has %zu bytes", len);
    }
    for (size_t at = 0; at < len; at += 512) {
        if (!sector_possible(l, now, at)) {
            sequence_fail(l->q, l->cut, "sector %zu is %#x...", at / 512, now[at]);
        }
    }
}

static int coroutine_fn look_at_snapshots(const Look *l)
{
    unsigned must = ~0u, may = 0;
    int ret = 0;

    for (unsigned i = l->first; i <= l->last; i++) {
        must &= l->q->states[i].snapshots;
        may |= l->q->states[i].snapshots;
    }
    for (unsigned i = 0; i < MOST_OPS && ret == 0; i++) {
        g_autofree char *name = g_strdup_printf("s%u", i);
        json_auto_t *found = block_snapshot_find(l->n, NULL, name);
        g_autoptr(GBytes) disk = NULL;

        if (found ? !(may & BIT(i)) : must & BIT(i)) {
            sequence_fail(l->q, l->cut, "snapshot %s is %s", name, found ? "there" : "lost");
        }
        if (!found) {
            continue;
        }
        if (!block_snapshot_apply(l->n, name, NULL)) {
            sequence_fail(l->q, l->cut, "snapshot %s cannot be applied", name);
        }
        disk = read_disk(l->n, &ret);
        if (ret == 0 && !g_bytes_equal(disk, l->q->snapshot[i])) {
            sequence_fail(l->q, l->cut, "snapshot %s has another content", name);
        }
    }
    return ret;
}

static int coroutine_fn look_fn(void *data)
{
    Look *l = data;
    BlockCheckResult res = {0};
    g_autoptr(GBytes) disk = NULL;
    int ret;

    disk = read_disk(l->n, &ret);
    if (ret == 0) {
        look_at_disk(l, disk);
        ret = l->n->driver->check(l->n, &res, BLOCK_CHECK_QUIET);
    }
    if (ret == 0 && (res.corruptions || res.check_errors)) {
        sequence_fail(l->q, l->cut, "a check finds %" PRIu64 " corruptions", res.corruptions);
    }
    return ret < 0 || !l->snapshots ? ret : look_at_snapshots(l);
}

static void look(Look *l, bool writable)
{
    g_autoptr(GError) err = NULL;
    int ret;

    l->n = sequence_open(l->q->set, "after", writable, &err);
    if (!l->n) {
        sequence_fail(l->q, l->cut, "%s", err->message);
    }
    ret = block_run(look_fn, l);
    if (ret < 0) {
        sequence_fail(l->q, l->cut, "%s", g_strerror(-ret));
    }
    block_node_unref(l->n);
}

static void look_after(const Sequence *q, unsigned cut, GByteArray *image)
{
    MemDisk *after = memdisk_find("after");
    Look l = {.q = q, .cut = cut};
    BlockDriverInfo info = {0};
    bool dirty = false;

    for (unsigned i = 0; i <= q->count; i++) {
        const State *s = &q->states[i];

        if (s->log_end <= cut) {
            l.last = i;
            l.first = s->stable ? i : l.first;
        }
    }
    l.last = MIN(l.last + 1, q->count); /* the one under way */
    memdisk_set(after, image->data, image->len);
    g_byte_array_unref(image);
    /* A snapshot's change sets the dirty bit as well. */
    l.n = sequence_open(q->set, "after", false, NULL);
    if (l.n) {
        dirty = l.n->driver->info(l.n, &info) && info.dirty;
        json_decref(info.format_specific);
        block_node_unref(l.n);
    }
    if (!dirty) {
        look(&l, false);
    }
    look(&l, true);
    l.snapshots = true;
    look(&l, true);
}

/* --- which writes are there --- */

typedef struct {
    uint64_t kept;   /* by the index of the write since the last flush, up to 64 */
    unsigned stable; /* of the log */
    const GArray *log;
    unsigned torn;        /* the event of which only some sectors are there; 0: none */
    uint64_t torn_sector; /* those before it, or (torn_tail) from it on */
    bool torn_tail;
} Choice;

static bool choice_keep(unsigned event, uint64_t sector, void *data)
{
    const Choice *c = data;

    if (c->torn && event == c->torn) {
        return c->torn_tail ? sector >= c->torn_sector : sector < c->torn_sector;
    }
    return c->kept >> ((event - c->stable) % 64) & 1;
}

static uint64_t tried;

static void try_choice(const Sequence *q, unsigned cut, const Choice *c)
{
    look_after(q, cut, memdisk_after_choice(q->disk->log, cut, choice_keep, (void *)c));
    tried++;
}

static void try_subsets(Sequence *q, unsigned cut, GRand *rand, unsigned subsets)
{
    unsigned stable = memdisk_stable(q->disk->log, cut), n = cut - stable;
    Choice c = {.stable = stable, .log = q->disk->log};

    q->what = "a subset of the writes";
    if (n < 20 && BIT64(n) <= subsets) {
        for (c.kept = 0; c.kept < BIT64(n); c.kept++) {
            try_choice(q, cut, &c);
        }
        return;
    }
    for (unsigned i = 0; i < subsets; i++) {
        c.kept = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
        try_choice(q, cut, &c);
    }
}

static void try_cut(Sequence *q, unsigned cut)
{
    unsigned stable = memdisk_stable(q->disk->log, cut);
    Choice c = {.kept = UINT64_MAX, .stable = stable, .log = q->disk->log};
    const MemEvent *last = &g_array_index(q->disk->log, MemEvent, cut - 1);

    q->what = "all writes";
    try_choice(q, cut, &c);
    for (unsigned i = stable; i < cut; i++) {
        if (g_array_index(q->disk->log, MemEvent, i).kind != MEM_WRITE) {
            continue;
        }
        q->what = "one write alone";
        c.kept = BIT64((i - stable) % 64);
        try_choice(q, cut, &c);
        q->what = "one write lost";
        c.kept = ~c.kept;
        try_choice(q, cut, &c);
    }
    if (cut > stable && last->kind == MEM_WRITE) {
        uint64_t first = last->offset / 512, end = DIV_ROUND_UP(last->offset + last->bytes, 512);

        q->what = "the last write torn";
        c.kept = UINT64_MAX;
        c.torn = cut - 1;
        for (c.torn_sector = first + 1; c.torn_sector < end;
             c.torn_sector += MAX((end - first) / 4, 1)) {
            c.torn_tail = false;
            try_choice(q, cut, &c);
            c.torn_tail = true;
            try_choice(q, cut, &c);
        }
    }
}

/* --- sequences --- */

static void log_begin(MemDisk *m)
{
    MemEvent whole = {.kind = MEM_WRITE, .bytes = m->length};
    MemEvent flush = {.kind = MEM_FLUSH, .bytes = 1};

    memdisk_clear_log(m);
    whole.data = g_memdup2(m->data, m->length);
    g_array_append_val(m->log, whole);
    g_array_append_val(m->log, flush);
    m->logging = true;
}

static void run_sequence(const Set *set, unsigned number, unsigned length, GRand *rand,
                         unsigned subsets)
{
    g_autofree char *text = g_strdup_printf("size=%u,%s", CLUSTERS * set->cluster, set->options);
    Sequence q = {.set = set, .disk = imgtest_create("disk", "qcow2", text)};
    unsigned end, windows = 1;

    q.n = sequence_open(set, "disk", true, NULL);
    g_assert(q.n);
    log_begin(q.disk);
    g_assert(block_run(note_fn, &q) == 0);
    q.states[0].log_end = 0;
    q.states[0].stable = true;
    for (unsigned i = 0; i < length; i++) {
        q.ops[i] = number % OPS;
        number /= OPS;
    }
    for (unsigned i = 0; i < length; i++) {
        sequence_step(&q);
    }
    block_node_unref(q.n);
    q.disk->logging = false;
    memdisk_new("after");
    end = q.disk->log->len;
    for (unsigned i = 2; i < end; i++) {
        windows += g_array_index(q.disk->log, MemEvent, i).kind == MEM_FLUSH;
    }
    for (unsigned cut = 2; cut <= end; cut++) {
        try_cut(&q, cut);
        /* What a flush ends is a window: its subsets are those of all shorter prefixes, too. */
        if (cut == end || g_array_index(q.disk->log, MemEvent, cut).kind == MEM_FLUSH) {
            try_subsets(&q, cut, rand, DIV_ROUND_UP(subsets, windows));
        }
    }
    for (unsigned i = 0; i <= q.count; i++) {
        g_bytes_unref(q.states[i].disk);
    }
    for (unsigned i = 0; i < MOST_OPS; i++) {
        g_clear_pointer(&q.snapshot[i], g_bytes_unref);
    }
    memdisk_free(memdisk_find("after"));
    memdisk_free(q.disk);
}

static void make_backing(void)
{
    MemDisk *base = memdisk_new("base");
    g_autofree uint8_t *buf = g_malloc(BACKING * 16384);

    memset(buf, 0xbb, BACKING * 16384);
    memdisk_set(base, buf, 2 * 16384); /* shorter than some disks, longer than others */
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && g_str_equal(argv[1], "--all");
    bool part = argc > 2 && g_str_equal(argv[1], "--part");
    int words = all ? 1 : part ? 2 : 0;
    int in = part ? MAX(atoi(argv[2]), 1) : 10;
    unsigned seed = argc > 1 + words ? strtoul(argv[1 + words], NULL, 0) : 1;
    unsigned only = argc > 2 + words ? strtoul(argv[2 + words], NULL, 0) : 0;
    GRand *rand = g_rand_new_with_seed(seed);

    imgtest_init();
    imgtest_quiet();
    make_backing();
    printf("1..%zu\n", ARRAY_SIZE(sets));
    for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
        unsigned sequences = 0;

        if (only && only != i + 1) {
            printf("ok %u - %s # SKIP another set was asked for\n", i + 1, sets[i].options);
            continue;
        }
        tried = 0;
        for (unsigned length = 1, count = OPS; length <= MOST_OPS; length++, count *= OPS) {
            for (unsigned number = 0; number < count; number++) {
                if (all || length == 1 || g_rand_int_range(rand, 0, in) == 0) {
                    run_sequence(&sets[i], number, length, rand, all ? 1000 : 200);
                    sequences++;
                }
                reclaim_poll();
            }
        }
        printf("ok %u - %s%s: %u sequences, %" PRIu64 " images\n", i + 1, sets[i].options,
               sets[i].backing ? ", backing file" : "", sequences, tried);
        fflush(stdout);
    }
    g_rand_free(rand);
    memdisk_free_all();
    return 0;
}
