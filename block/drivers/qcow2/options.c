/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of an image, and what they mean for guards and discards. */
#include "qcow2.h"

static const char *const template_names[] = {"none", "constant", "cached", "all", NULL};

enum {
    GUARDS_CONSTANT = QCOW2_GUARD_HEADER | QCOW2_GUARD_ACTIVE_L1 | QCOW2_GUARD_REFCOUNT_TABLE |
                      QCOW2_GUARD_SNAPSHOT_TABLE | QCOW2_GUARD_BITMAP_DIR,
};

/* By template_names. L2 tables of snapshots are in memory here, so 'cached' has them. */
static const unsigned template_guards[] = {0, GUARDS_CONSTANT, QCOW2_GUARD_ALL, QCOW2_GUARD_ALL};

typedef struct {
    int template;
    bool guard[9], has[9]; /* by the bits of QCOW2_GUARD_... */
} GuardOptions;

#define GUARD(n, i, h)                                                                             \
    {                                                                                              \
        .name = (n), .type = PROP_BOOL, .offset = offsetof(GuardOptions, guard[i]), .help = (h),   \
        .flags = PROP_FLAG_HAS, .set_offset = offsetof(GuardOptions, has[i])                       \
    }

static const Property guard_props[] = {
    PROP_E("template", GuardOptions, template, "cached", template_names,
           "the guards where nothing else is said"),
    GUARD("main-header", 0, "the header"),
    GUARD("active-l1", 1, "the L1 table"),
    GUARD("active-l2", 2, "L2 tables"),
    GUARD("refcount-table", 3, "the refcount table"),
    GUARD("refcount-block", 4, "refcount blocks"),
    GUARD("snapshot-table", 5, "the table of snapshots"),
    GUARD("inactive-l1", 6, "L1 tables of snapshots"),
    GUARD("inactive-l2", 7, "L2 tables of snapshots"),
    GUARD("bitmap-directory", 8, "the directory of bitmaps"),
    PROP_END,
};

static const PropertyShape guards_shape = {.name = "Qcow2OverlapCheckFlags",
                                           .members = guard_props};
static const Property overlap_members[] = {MAYBE("flags", PROP_TREE, .shape = &guards_shape),
                                           MAYBE("mode", PROP_ENUM, .names = template_names),
                                           PROP_END};
static const PropertyShape overlap_shape = {
    .name = "Qcow2OverlapChecks", .members = overlap_members, .is_alternate = true};

#define OPTION(n, t, f, ...)                                                                       \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(Qcow2State, options.f), ##__VA_ARGS__         \
    }
#define OPTIONAL(n, t, f, h, ...)                                                                  \
    OPTION(n, t, f, .help = (h), .flags = PROP_FLAG_HAS | PROP_FLAG_RUNTIME,                       \
           .set_offset = offsetof(Qcow2State, options.has_##f), ##__VA_ARGS__)

const Property qcow2_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(Qcow2State, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    {.name = "backing",
     .type = PROP_TREE,
     .offset = offsetof(Qcow2State, backing_config),
     .shape = &block_ref_or_null_shape,
     .help = "backing file (default: the one the image names; null or empty: none)"},
    {.name = "data-file",
     .type = PROP_TREE,
     .offset = offsetof(Qcow2State, data_config),
     .shape = &block_ref_shape,
     .help = "external data file (default: the one the image names)"},
    {.name = "encrypt",
     .type = PROP_TREE,
     .offset = offsetof(Qcow2State, encrypt_config),
     .shape = &qcow2_encrypt_shape,
     .help = "encrypted image: format (luks or aes), key-secret"},
    OPTIONAL("cache-size", PROP_SIZE, cache_size, "most memory for tables of both kinds"),
    /* The tables of 256 GiB with clusters of 64 KiB. */
    OPTIONAL("l2-cache-size", PROP_SIZE, l2_cache_size, "most memory for L2 tables",
             .defval = "32M"),
    /* The same: 8 MiB, and those of the tables. */
    OPTIONAL("refcount-cache-size", PROP_SIZE, refcount_cache_size,
             "most memory for refcount blocks", .defval = "9M"),
    OPTIONAL("l2-cache-entry-size", PROP_SIZE, l2_entry_size,
             "how much of an L2 table is read at once (default: 4 KiB or a cluster)"),
    OPTION("cache-clean-interval", PROP_UINT32, clean_interval, .defval = "600",
           .help = "seconds after which tables that nobody used leave memory (0: never)",
           .flags = PROP_FLAG_RUNTIME),
    OPTIONAL("lazy-refcounts", PROP_BOOL, lazy,
             "postpone refcount updates (default: as the image says)"),
    OPTIONAL("pass-discard-request", PROP_BOOL, pass_request,
             "space that the guest discards goes back to the host (default: as discard=unmap)"),
    OPTION("pass-discard-snapshot", PROP_BOOL, pass_snapshot, .defval = "on",
           .help = "space that a deleted snapshot had goes back to the host",
           .flags = PROP_FLAG_RUNTIME),
    OPTION("pass-discard-other", PROP_BOOL, pass_other, .defval = "off",
           .help = "space of tables that are not needed any more goes back to the host",
           .flags = PROP_FLAG_RUNTIME),
    {.name = "overlap-check",
     .type = PROP_TREE,
     .offset = offsetof(Qcow2State, options.overlap),
     .shape = &overlap_shape,
     .flags = PROP_FLAG_RUNTIME,
     .help = "which metadata is guarded against overwriting: none, constant, cached (default) or "
             "all, or a dictionary: template, main-header, active-l1, ..."},
    PROP_END,
};

/* The value of 'overlap-check' as a dictionary. New reference. */
static json_t *guards_tree(json_t *given)
{
    return json_is_object(given) ? json_incref(given)
           : given               ? json_pack("{s:O}", "template", given)
                                 : json_object();
}

bool qcow2_parse_guards(const Qcow2Options *o, unsigned *guards, GError **err)
{
    json_auto_t *tree = guards_tree(o->overlap);
    GuardOptions g;

    properties_init(guard_props, &g);
    if (!properties_apply(guard_props, &g, tree, NULL, "'overlap-check'", err)) {
        return false;
    }
    *guards = template_guards[g.template];
    for (unsigned i = 0; i < G_N_ELEMENTS(g.guard); i++) {
        if (g.has[i]) {
            *guards = g.guard[i] ? *guards | BIT(i) : *guards & ~BIT(i);
        }
    }
    return true;
}

static bool check_cache_options(const Qcow2State *s, const Qcow2Options *o, GError **err)
{
    if (o->has_cache_size && o->has_l2_cache_size && o->has_refcount_cache_size) {
        return error_set(err, "cache-size, l2-cache-size and refcount-cache-size may not be set at "
                              "the same time");
    }
    if (o->has_cache_size && o->has_l2_cache_size && o->l2_cache_size > o->cache_size) {
        return error_set(err, "l2-cache-size may not exceed cache-size");
    }
    if (o->has_cache_size && o->has_refcount_cache_size && o->refcount_cache_size > o->cache_size) {
        return error_set(err, "refcount-cache-size may not exceed cache-size");
    }
    if (o->has_l2_entry_size &&
        (o->l2_entry_size < BIT64(MIN_CLUSTER_BITS) || o->l2_entry_size > s->cluster_size ||
         o->l2_entry_size & (o->l2_entry_size - 1))) {
        return error_set(err,
                         "L2 cache entry size must be a power of two between %d and the cluster "
                         "size (%" PRIu64 ")",
                         1 << MIN_CLUSTER_BITS, s->cluster_size);
    }
    return true;
}

bool qcow2_check_options(const Qcow2State *s, const Qcow2Options *o, GError **err)
{
    unsigned guards;

    if (s->version < 3 && o->has_lazy && o->lazy) {
        return error_set(err, "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
                              "compatibility level");
    }
    return check_cache_options(s, o, err) && qcow2_parse_guards(o, &guards, err);
}

bool qcow2_passes_discard(BlockNode *n, Qcow2Discard why)
{
    const Qcow2Options *o = &((Qcow2State *)block_node_state(n))->options;

    switch (why) {
    case QCOW2_DISCARD_NEVER:
        return false;
    case QCOW2_DISCARD_ALWAYS:
        return true;
    case QCOW2_DISCARD_REQUEST:
        return o->has_pass_request ? o->pass_request : n->opts.discard == BLOCK_DISCARD_UNMAP;
    case QCOW2_DISCARD_SNAPSHOT:
        return o->pass_snapshot;
    default:
        return o->pass_other;
    }
}
