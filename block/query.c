/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-block, query-blockstats, query-named-block-nodes, 'info block' and 'qemu-img info'. */
#include <errno.h>
#include <inttypes.h>
#include "base/util.h"
#include "block/histogram.h"
#include "block/media.h"
#include "block/throttle.h"
#include "block/write_threshold.h"
#include "core.h"
#include "timed_stats.h"

static const char *const detect_names[] = {"off", "on", "unmap"};

int64_t block_allocated_size(BlockNode *n)
{
    int64_t sum = 0;

    if (n->driver->is_protocol || !n->file) {
        return n->driver->allocated ? n->driver->allocated(n) : -1;
    }
    /* All files of the image; those below it in the chain are others'. */
    for (unsigned i = 0; i < n->core->children->len; i++) {
        const BlockEdge *e = n->core->children->pdata[i];
        int64_t one = e->role & BLOCK_ROLE_BACKING ? 0 : block_allocated_size(e->child);

        if (one < 0) {
            return one;
        }
        sum += one;
    }
    return sum;
}

static json_t *one_image_info(BlockNode *n)
{
    json_t *o = json_object();
    BlockDriverInfo info = {0};
    bool has = n->driver->info && n->driver->info(n, &info);
    int64_t actual = block_allocated_size(n);

    if (n->backing_name && n->backing_format) {
        json_object_set_new(o, "backing-filename-format", json_string_nocheck(n->backing_format));
    }
    json_object_set_new(o, "virtual-size", json_integer(block_length(n)));
    json_object_set_new(o, "filename", json_string_nocheck(n->filename ? n->filename : ""));
    if (has && info.cluster_size) {
        json_object_set_new(o, "cluster-size", json_integer(info.cluster_size));
    }
    json_object_set_new(o, "format", json_string(n->driver->name));
    if (actual >= 0) {
        json_object_set_new(o, "actual-size", json_integer(actual));
    }
    if (info.snapshot_list && json_array_size(info.snapshot_list)) {
        json_object_set(o, "snapshots", (json_t *)info.snapshot_list);
    }
    if (info.format_specific) {
        json_object_set_new(o, "format-specific", info.format_specific);
    }
    if (n->backing_name) {
        g_autofree char *full = block_resolve_backing(n->filename, n->backing_name);
        json_object_set_new(o, "full-backing-filename", json_string_nocheck(full));
        json_object_set_new(o, "backing-filename", json_string_nocheck(n->backing_name));
    }
    if (info.encrypted) {
        json_object_set_new(o, "encrypted", json_true());
    }
    if (has || actual >= 0) {
        json_object_set_new(o, "dirty-flag", json_boolean(info.dirty));
    }
    return o;
}

json_t *block_image_info(BlockNode *n, bool with_backing)
{
    json_t *top = one_image_info(n), *above = top;

    while (with_backing && (n = block_node_next_image(n))) {
        json_t *info = one_image_info(n);

        json_object_set_new(above, "backing-image", info);
        above = info;
    }
    return top;
}

static unsigned backing_depth(BlockNode *n)
{
    unsigned depth = 0;

    while ((n = block_node_next_image(n))) {
        depth++;
    }
    return depth;
}

/* QEMU's names of limits here: those of a second are there always, the others where they are set.
 */
static void put_limits(json_t *o, const ThrottleConfig *c)
{
    static const char *const names[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"};

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        const ThrottleLimit *l = &c->limits[i];
        g_autofree char *max = g_strconcat(names[i], "_max", NULL);
        g_autofree char *length = g_strconcat(max, "_length", NULL);

        json_object_set_new(o, names[i], json_integer(l->avg));
        if (l->max) {
            json_object_set_new(o, max, json_integer(l->max));
            json_object_set_new(o, length, json_integer(l->length));
        }
    }
    if (c->iops_size) {
        json_object_set_new(o, "iops_size", json_integer(c->iops_size));
    }
}

/* 'group' and 'limits' are those of the drive; NULL: none. */
static json_t *node_info(BlockNode *n, bool writeback, const char *group,
                         const ThrottleConfig *limits)
{
    static const ThrottleConfig no_limits;
    json_t *o = json_object(), *image, *bitmaps = block_dirty_bitmaps_info(n);

    put_limits(o, limits ? limits : &no_limits);
    if (group) {
        json_object_set_new(o, "group", json_string(group));
    }
    json_object_set_new(o, "write_threshold", json_integer(block_write_threshold(n)));
    json_object_set_new(o, "detect_zeroes", json_string(detect_names[n->opts.detect_zeroes]));
    image = block_image_info(n, true);
    json_object_set_new(o, "image", image);
    json_object_set_new(o, "ro", json_boolean(n->read_only));
    json_object_set_new(o, "node-name", json_string(n->opts.node_name));
    json_object_set_new(o, "backing_file_depth", json_integer(backing_depth(n)));
    json_object_set_new(o, "drv", json_string(n->driver->name));
    if (bitmaps) {
        json_object_set_new(o, "dirty-bitmaps", bitmaps);
    }
    if (n->backing) {
        json_object_set_new(o, "backing_file",
                            json_string_nocheck(n->backing->filename ? n->backing->filename : ""));
    }
    json_object_set_new(o, "encrypted", json_boolean(json_object_get(image, "encrypted") != NULL));
    json_object_set_new(o, "cache",
                        json_pack("{s:b,s:b,s:b}", "no-flush", n->opts.cache.no_flush, "direct",
                                  n->opts.cache.direct, "writeback", writeback));
    json_object_set_new(o, "file", json_string_nocheck(n->filename ? n->filename : ""));
    return o;
}

/* The medium as the user knows it; NULL: none. */
static BlockNode *shown_root(BlockBackend *blk)
{
    BlockNode *n = blk->root;

    while (n && n->core->implicit) {
        n = n->file ? n->file : n->backing;
    }
    return n;
}

static void add_backend(BlockBackend *blk, void *data)
{
    json_t *o = json_object();
    BlockNode *root = shown_root(blk);
    int status = __atomic_load_n(&blk->io_status, __ATOMIC_SEQ_CST);
    ThrottleConfig limits;

    json_object_set_new(o, "device", json_string(blk->name));
    if (blk->device) {
        json_object_set_new(o, "qdev", json_string(blk->device));
        json_object_set_new(o, "io-status",
                            json_string(!status            ? "ok"
                                        : status == ENOSPC ? "nospace"
                                                           : "failed"));
    }
    json_object_set_new(o, "locked", json_boolean(block_backend_medium_locked(blk)));
    json_object_set_new(o, "removable", json_boolean(block_backend_removable(blk)));
    if (blk->ops && blk->ops->has_tray) {
        json_object_set_new(o, "tray_open", json_boolean(block_backend_tray_open(blk)));
    }
    if (root) {
        const char *group = block_backend_limits(blk, &limits);

        json_object_set_new(
            o, "inserted",
            node_info(root, block_backend_write_cache(blk), group, group ? &limits : NULL));
    }
    json_object_set_new(o, "type", json_string("unknown"));
    json_array_append_new(data, o);
}

json_t *block_query(void)
{
    json_t *a = json_array();

    block_backend_foreach(add_backend, a);
    return a;
}

static void put_stat(json_t *o, const char *format, const char *op, uint64_t value)
{
    g_autofree char *key = g_strdup_printf(format, op);

    json_object_set_new(o, key, json_integer(value));
}

static json_t *stats_json(BlockNode *n, const BlockStats *s, int64_t idle_ns)
{
    static const struct {
        BlockOp op;
        const char *name;
    } ops[] = {{BLOCK_OP_READ, "rd"},
               {BLOCK_OP_WRITE, "wr"},
               {BLOCK_OP_FLUSH, "flush"},
               {BLOCK_OP_DISCARD, "unmap"}};
    json_t *o = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
        const char *name = ops[i].name;
        unsigned k = ops[i].op;

        if (k != BLOCK_OP_FLUSH) {
            put_stat(o, "%s_bytes", name, s ? s->bytes[k] : 0);
            put_stat(o, "%s_merged", name, 0);
        }
        put_stat(o, "%s_operations", name, s ? s->ops[k] : 0);
        put_stat(o, "%s_total_time_ns", name, s ? s->total_ns[k] : 0);
        put_stat(o, "failed_%s_operations", name, s ? s->failed[k] : 0);
        put_stat(o, "invalid_%s_operations", name, s ? s->invalid[k] : 0);
    }
    if (idle_ns >= 0) {
        json_object_set_new(o, "idle_time_ns", json_integer(idle_ns));
    }
    json_object_set_new(
        o, "wr_highest_offset",
        json_integer(n ? __atomic_load_n(&n->wr_highest_offset, __ATOMIC_RELAXED) : 0));
    json_object_set_new(o, "timed_stats", json_array());
    json_object_set_new(o, "account_invalid", json_false());
    json_object_set_new(o, "account_failed", json_false());
    return o;
}

static json_t *node_stats(BlockNode *n, const BlockStats *s, int64_t idle_ns);

/* Of the node and its file, without the backing chain. n is NULL where there is no medium. */
static json_t *one_node_stats(BlockNode *n, const BlockStats *s, int64_t idle_ns)
{
    json_t *o = json_object();

    json_object_set_new(o, "stats", stats_json(n, s, idle_ns));
    if (!n) {
        return o;
    }
    if (n->file) {
        json_object_set_new(o, "parent", node_stats(n->file, NULL, -1));
    }
    if (n->driver->is_protocol && g_str_equal(n->driver->name, "file")) {
        json_object_set_new(o, "driver-specific",
                            json_pack("{s:s,s:i,s:i,s:i}", "driver", "file", "discard-nb-ok", 0,
                                      "discard-nb-failed", 0, "discard-bytes-ok", 0));
    }
    json_object_set_new(o, "node-name", json_string(n->opts.node_name));
    return o;
}

static json_t *node_stats(BlockNode *n, const BlockStats *s, int64_t idle_ns)
{
    json_t *top = one_node_stats(n, s, idle_ns), *above = top;

    while (n && (n = block_node_below(n))) {
        json_t *stats = one_node_stats(n, NULL, -1);

        json_object_set_new(above, "backing", stats);
        above = stats;
    }
    return top;
}

static int64_t idle_ns(BlockBackend *blk)
{
    int64_t last = __atomic_load_n(&blk->last_access_ns, __ATOMIC_RELAXED);

    return last ? MAX(clock_ns(CLOCK_REALTIME_NS) - last, 0) : -1;
}

static void put_histograms(json_t *stats, BlockBackend *blk)
{
    static const char *const names[BLOCK_HISTOGRAMS] = {
        "rd_latency_histogram", "wr_latency_histogram", "flush_latency_histogram"};

    for (unsigned op = 0; op < BLOCK_HISTOGRAMS; op++) {
        json_t *histogram = block_backend_histogram(blk, op);

        if (histogram) {
            json_object_set_new(stats, names[op], histogram);
        }
    }
}

static void put_accounting(json_t *stats, BlockBackend *blk)
{
    json_t *timed = json_object_get(stats, "timed_stats");

    json_object_set_new(stats, "account_invalid", json_boolean(blk->account_invalid));
    json_object_set_new(stats, "account_failed", json_boolean(blk->account_failed));
    for (unsigned i = 0; blk->timed_stats && i < blk->timed_stats->len; i++) {
        json_array_append_new(timed, block_timed_stats_json(blk->timed_stats->pdata[i]));
    }
}

static void add_backend_stats(BlockBackend *blk, void *data)
{
    json_t *o = node_stats(shown_root(blk), block_backend_stats(blk), idle_ns(blk));

    put_histograms(json_object_get(o, "stats"), blk);
    put_accounting(json_object_get(o, "stats"), blk);
    json_object_set_new(o, "device", json_string(blk->name));
    if (blk->device) {
        json_object_set_new(o, "qdev", json_string(blk->device));
    }
    json_array_append_new(data, o);
}

json_t *block_query_stats(void)
{
    json_t *a = json_array();

    block_backend_foreach(add_backend_stats, a);
    return a;
}

typedef struct {
    GPtrArray *order;
    GHashTable *seen;
} NodeOrder;

static void collect_node(BlockNode *n, void *data)
{
    NodeOrder *o = data;

    if (!g_hash_table_add(o->seen, n)) {
        return;
    }
    /* What was opened for the node, and is no image of its chain, was ready before it. */
    for (unsigned i = 0; i < n->core->children->len; i++) {
        const BlockEdge *e = n->core->children->pdata[i];

        if (!(e->role & BLOCK_ROLE_BACKING) && e->child->core->inherits_from == n &&
            e->child->core->listed) {
            collect_node(e->child, o);
        }
    }
    g_ptr_array_add(o->order, n);
}

/* All nodes in the order in which they were ready: QEMU lists them so. Freed by the caller. */
static GPtrArray *nodes_in_order(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    NodeOrder o = {g_ptr_array_new(), seen};

    block_node_foreach(collect_node, &o);
    return o.order;
}

json_t *block_query_node_stats(void)
{
    g_autoptr(GPtrArray) order = nodes_in_order();
    json_t *a = json_array();

    for (unsigned i = 0; i < order->len; i++) {
        json_array_append_new(a, one_node_stats(order->pdata[i], NULL, -1));
    }
    return a;
}

/* The last that was opened comes first. */
json_t *block_query_named_nodes(bool flat)
{
    g_autoptr(GPtrArray) order = nodes_in_order();
    json_t *a = json_array();

    for (unsigned i = order->len; i-- > 0;) {
        json_t *info = node_info(order->pdata[i], true, NULL, NULL);

        if (flat) {
            json_object_del(json_object_get(info, "image"), "backing-image");
        }
        json_array_append_new(a, info);
    }
    return a;
}

/* --- text --- */

static void put_size(GString *out, int64_t bytes)
{
    g_autofree char *text = size_to_text(bytes);

    g_string_append(out, text);
}

static void put_specific(GString *out, json_t *value, int indent);

/* Behind "NAME:". What has members is on lines of its own. */
static void put_member(GString *out, json_t *v, int indent)
{
    if (json_is_object(v) || json_is_array(v)) {
        g_string_append(out, "\n");
        put_specific(out, v, indent + 4);
    } else if (json_is_string(v)) {
        g_string_append_printf(out, " %s\n", json_string_value(v));
    } else if (json_is_boolean(v)) {
        g_string_append_printf(out, " %s\n", json_is_true(v) ? "true" : "false");
    } else if (json_is_integer(v)) {
        g_string_append_printf(out, " %" JSON_INTEGER_FORMAT "\n", json_integer_value(v));
    }
}

static void put_specific(GString *out, json_t *value, int indent)
{
    const char *key;
    json_t *v;
    size_t i;

    json_object_foreach((json_t *)value, key, v)
    {
        g_autofree char *name = g_strdup(key);

        g_strdelimit(name, "-", ' ');
        g_string_append_printf(out, "%*s%s:", indent, "", name);
        put_member(out, v, indent);
    }
    json_array_foreach(value, i, v)
    {
        g_string_append_printf(out, "%*s[%zu]:", indent, "", i);
        put_member(out, v, indent);
    }
}

char *block_snapshot_list_text(const json_t *list)
{
    GString *out = g_string_new(NULL);
    json_t *snapshot;
    size_t i;

    g_string_append_printf(out, "%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE",
                           "VM CLOCK", "ICOUNT");
    json_array_foreach(list, i, snapshot)
    {
        json_int_t sec = json_integer_value(json_object_get(snapshot, "vm-clock-sec"));
        json_int_t nsec = json_integer_value(json_object_get(snapshot, "vm-clock-nsec"));
        json_t *icount = json_object_get(snapshot, "icount");
        g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(
            json_integer_value(json_object_get(snapshot, "date-sec")));
        g_autofree char *when = date ? g_date_time_format(date, "%Y-%m-%d %H:%M:%S") : NULL;
        g_autofree char *clock =
            g_strdup_printf("%02d:%02d:%02d.%03d", (int)(sec / 3600), (int)(sec / 60 % 60),
                            (int)(sec % 60), (int)(nsec / 1000000));
        g_autofree char *count =
            icount ? g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(icount)) : NULL;
        g_autoptr(GString) size = g_string_new(NULL);

        put_size(size, json_integer_value(json_object_get(snapshot, "vm-state-size")));
        g_string_append_printf(out, "%-9s %-16s %8s%20s%13s%11s\n",
                               json_string_value(json_object_get(snapshot, "id")),
                               json_string_value(json_object_get(snapshot, "name")), size->str,
                               when ? when : "", clock, count ? count : "");
    }
    return g_string_free(out, FALSE);
}

char *block_image_info_text(json_t *info)
{
    GString *out = g_string_new(NULL);
    json_t *v, *specific = json_object_get(info, "format-specific");
    const char *backing = json_string_value(json_object_get(info, "backing-filename"));
    const char *full = json_string_value(json_object_get(info, "full-backing-filename"));
    int64_t size = json_integer_value(json_object_get(info, "virtual-size"));

    g_string_append_printf(out, "image: %s\nfile format: %s\nvirtual size: ",
                           json_string_value(json_object_get(info, "filename")),
                           json_string_value(json_object_get(info, "format")));
    put_size(out, size);
    g_string_append_printf(out, " (%" PRId64 " bytes)\ndisk size: ", size);
    if ((v = json_object_get(info, "actual-size"))) {
        put_size(out, json_integer_value(v));
    } else {
        g_string_append(out, "unavailable");
    }
    g_string_append_c(out, '\n');
    if (json_is_true(json_object_get(info, "encrypted"))) {
        g_string_append(out, "encrypted: yes\n");
    }
    if (json_is_true(json_object_get(info, "dirty-flag"))) {
        g_string_append(out, "cleanly shut down: no\n");
    }
    if ((v = json_object_get(info, "cluster-size"))) {
        g_string_append_printf(out, "cluster_size: %" JSON_INTEGER_FORMAT "\n",
                               json_integer_value(v));
    }
    if (backing) {
        g_string_append_printf(out, "backing file: %s", backing);
        if (full && !g_str_equal(full, backing)) {
            g_string_append_printf(out, " (actual path: %s)", full);
        }
        g_string_append_c(out, '\n');
        if ((v = json_object_get(info, "backing-filename-format"))) {
            g_string_append_printf(out, "backing file format: %s\n", json_string_value(v));
        }
    }
    if ((v = json_object_get(info, "snapshots"))) {
        g_autofree char *text = block_snapshot_list_text(v);
        g_string_append_printf(out, "Snapshot list:\n%s", text);
    }
    if (specific) {
        g_string_append(out, "Format specific information:\n");
        put_specific(out, json_object_get(specific, "data"), 4);
    }
    return g_string_free(out, FALSE);
}

typedef struct {
    GString *out;
    const char *device; /* NULL: all */
    bool verbose;
    bool first; /* of all, shown or not */
} TextState;

static void put_throttling(GString *out, BlockBackend *blk)
{
    ThrottleConfig c;
    const char *group = block_backend_limits(blk, &c);
    const ThrottleLimit *l = c.limits;

    if (!group) {
        return;
    }
    g_string_append(out, "    I/O throttling:  ");
    for (ThrottleKind k = THROTTLE_BPS_TOTAL; k < THROTTLE_KINDS; k += 3) {
        const char *of = k == THROTTLE_BPS_TOTAL ? "bps" : "iops";

        g_string_append_printf(out,
                               " %s=%" PRIu64 " %s_rd=%" PRIu64 " %s_wr=%" PRIu64 " %s_max=%" PRIu64
                               " %s_rd_max=%" PRIu64 " %s_wr_max=%" PRIu64,
                               of, l[k].avg, of, l[k + 1].avg, of, l[k + 2].avg, of, l[k].max, of,
                               l[k + 1].max, of, l[k + 2].max);
    }
    g_string_append_printf(out, " iops_size=%" PRIu64 " group=%s\n", c.iops_size, group);
}

static void put_medium(GString *out, BlockBackend *blk, BlockNode *n, bool writeback, bool verbose)
{
    g_string_append_printf(
        out, "    Cache mode:       %s%s%s\n", writeback ? "writeback" : "writethrough",
        n->opts.cache.direct ? ", direct" : "", n->opts.cache.no_flush ? ", ignore flushes" : "");
    if (n->backing) {
        g_string_append_printf(out, "    Backing file:     %s (chain depth: %u)\n",
                               n->backing->filename, backing_depth(n));
    }
    if (n->opts.detect_zeroes) {
        g_string_append_printf(out, "    Detect zeroes:    %s\n",
                               detect_names[n->opts.detect_zeroes]);
    }
    put_throttling(out, blk);
    if (!verbose) {
        return;
    }
    g_string_append(out, "\nImages:\n");
    for (; n; n = block_node_next_image(n)) {
        json_auto_t *info = block_image_info(n, false);
        g_autofree char *text = block_image_info_text(info);

        g_string_append(out, text);
    }
}

static void put_device(GString *out, BlockBackend *blk)
{
    int status = __atomic_load_n(&blk->io_status, __ATOMIC_SEQ_CST);

    if (blk->device) {
        g_string_append_printf(out, "    Attached to:      %s\n", blk->device);
    }
    if (blk->device && status) {
        g_string_append_printf(out, "    I/O status:       %s\n",
                               status == ENOSPC ? "nospace" : "failed");
    }
    if (block_backend_removable(blk)) {
        g_string_append_printf(out, "    Removable device: %slocked, tray %s\n",
                               block_backend_medium_locked(blk) ? "" : "not ",
                               block_backend_tray_open(blk) ? "open" : "closed");
    }
}

static void backend_text(BlockBackend *blk, void *data)
{
    TextState *t = data;
    BlockNode *n = shown_root(blk);
    const char *name = *blk->name ? blk->name
                       : n        ? n->opts.node_name
                                  : (blk->device ? blk->device : "");
    bool first = t->first;

    t->first = false;
    if (t->device && !g_str_equal(t->device, name)) {
        return;
    }
    g_string_append_printf(t->out, "%s%s", first ? "" : "\n", name);
    if (*blk->name && n) {
        g_string_append_printf(t->out, " (%s)", n->opts.node_name);
    }
    if (n) {
        g_string_append_printf(t->out, ": %s (%s%s)\n", n->filename, n->driver->name,
                               n->read_only ? ", read-only" : "");
    } else {
        g_string_append(t->out, ": [not inserted]\n");
    }
    put_device(t->out, blk);
    if (n) {
        put_medium(t->out, blk, n, block_backend_write_cache(blk), t->verbose);
    }
}

char *block_info_text(const char *device, bool verbose)
{
    TextState t = {.out = g_string_new(NULL), .device = device, .verbose = verbose, .first = true};

    block_backend_foreach(backend_text, &t);
    return g_string_free(t.out, FALSE);
}
