/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm-img info, map, snapshot -l, check. */
#include <errno.h>
#include "img.h"

static const struct option info_longs[] = {{"image-opts", no_argument, NULL, 256},
                                           {"output", required_argument, NULL, 257},
                                           {"backing-chain", no_argument, NULL, 258},
                                           {"start-offset", required_argument, NULL, 259},
                                           {"max-length", required_argument, NULL, 260},
                                           {"force-share", no_argument, NULL, 'U'},
                                           {"help", no_argument, NULL, 'h'},
                                           {NULL}};

typedef struct {
    ImgOpen how;
    const char *filename;
    bool json, chain, list, quiet, all_fixes, leak_fixes;
    uint64_t start, max;
} InfoArgs;

/* 0, or the exit status plus one. */
static int img_info_parse_args(int argc, char **argv, const char *shorts, InfoArgs *a)
{
    int c;

    while ((c = getopt_long(argc, argv, shorts, info_longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            a->how.format = optarg;
            break;
        case 'U':
            a->how.force_share = true;
            break;
        case 'T':
            a->how.cache = optarg;
            break;
        case 'q':
            a->quiet = true;
            break;
        case 'l':
            a->list = true;
            break;
        case 'a':
        case 'c':
        case 'd':
            return img_usage("snapshot -%c is not supported yet", c) + 1;
        case 'r':
            a->how.writable = true;
            a->leak_fixes = true;
            if (g_str_equal(optarg, "all")) {
                a->all_fixes = true;
            } else if (!g_str_equal(optarg, "leaks")) {
                return img_usage("--repair option expects 'leaks' or 'all' not '%s'", optarg) + 1;
            }
            break;
        case 256:
            a->how.image_opts = true;
            break;
        case 257:
            if (!g_str_equal(optarg, "json") && !g_str_equal(optarg, "human")) {
                return img_usage("--output expects 'human' or 'json', not '%s'", optarg) + 1;
            }
            a->json = g_str_equal(optarg, "json");
            break;
        case 258:
            a->chain = true;
            break;
        case 259:
        case 260:
            if (!parse_size(optarg, 1, c == 259 ? &a->start : &a->max)) {
                log_error("Invalid offset or length specified: %s", optarg);
                return 2;
            }
            break;
        case ':':
            return img_usage("missing argument for option '%s'", argv[optind - 1]) + 1;
        default:
            return img_usage("unrecognized option '%s'", argv[optind - 1]) + 1;
        }
    }
    if (optind != argc - 1) {
        return img_usage("Expecting one image file name") + 1;
    }
    a->filename = argv[optind];
    return 0;
}

static void print_json(json_t *value)
{
    g_autofree char *raw = json_dump_text(value, JSON_INDENT(4) | JSON_PRESERVE_ORDER);

    printf("%s\n", raw);
}

int img_cmd_info(int argc, char **argv)
{
    InfoArgs a = {.how = {.shared = true}};
    int status = img_info_parse_args(argc, argv, ":f:hU", &a);
    json_auto_t *all = json_array();
    BlockNode *n;
    bool first = true;

    if (status) {
        return status - 1;
    }
    a.how.no_backing = !a.chain;
    n = img_open(a.filename, &a.how);
    if (!n) {
        return 1;
    }
    for (BlockNode *at = n; at; at = a.chain ? at->backing : NULL) {
        json_t *info = block_image_info(at, false);

        json_array_append_new(all, info);
        if (!a.json) {
            g_autofree char *text = block_image_info_text(info);
            printf("%s%s", first ? "" : "\n", text);
            first = false;
        }
    }
    if (a.json) {
        print_json(a.chain ? all : json_array_get(all, 0));
    }
    block_node_unref(n);
    return 0;
}

int img_cmd_snapshot(int argc, char **argv)
{
    InfoArgs a = {.how = {.no_backing = true, .shared = true}};
    int status = img_info_parse_args(argc, argv, ":la:c:d:hqU", &a);
    BlockDriverInfo info = {0};
    BlockNode *n;

    if (status) {
        return status - 1;
    }
    n = img_open(a.filename, &a.how);
    if (!n) {
        return 1;
    }
    if (n->driver->info && n->driver->info(n, &info) && json_array_size(info.snapshot_list)) {
        g_autofree char *text = block_snapshot_list_text(info.snapshot_list);
        printf("Snapshot list:\n%s", text);
    }
    json_decref(info.format_specific);
    block_node_unref(n);
    return 0;
}

/* --- map --- */

typedef struct {
    uint64_t start, length, offset;
    unsigned depth;
    int status;
    BlockNode *file;
    bool valid;
} Extent;

typedef struct {
    BlockNode *n;
    InfoArgs *args;
    Extent last;
    bool any;
} MapState;

static void print_extent(MapState *m, const Extent *e)
{
    bool data = e->status & BLOCK_STATUS_DATA, zero = e->status & BLOCK_STATUS_ZERO;
    bool has_offset = e->status & BLOCK_STATUS_OFFSET_VALID;

    if (!m->args->json) {
        if (data && !zero) {
            if (!has_offset) {
                log_error("File contains external, encrypted or compressed clusters.");
                return;
            }
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length,
                   e->offset, e->file && e->file->filename ? e->file->filename : "");
        }
        return;
    }
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64
           ", \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           m->any ? ",\n" : "", e->start, e->length, e->depth,
           e->status & BLOCK_STATUS_ALLOCATED ? "true" : "false", zero ? "true" : "false",
           data ? "true" : "false");
    if (has_offset) {
        printf(", \"offset\": %" PRIu64, e->offset);
    }
    printf("}");
    m->any = true;
}

static bool img_info_joins(const Extent *a, const Extent *b)
{
    return a->valid && a->status == b->status && a->depth == b->depth && a->file == b->file &&
           (!(a->status & BLOCK_STATUS_OFFSET_VALID) || a->offset + a->length == b->offset);
}

/* Down to the protocol: a hole in the file below makes data into zeroes. */
static int coroutine_fn img_info_look(MapState *m, uint64_t at, uint64_t bytes, Extent *e)
{
    BlockNode *file;
    uint64_t map;
    int status = block_status_chain(m->n, NULL, at, bytes, &e->length, &map, &file, &e->depth);

    if (status < 0) {
        return status;
    }
    if ((status & BLOCK_STATUS_DATA) && (status & BLOCK_STATUS_OFFSET_VALID) && file &&
        file->driver->block_status) {
        uint64_t below_len, below_map;
        BlockNode *below_file;
        int below = block_status(file, map, e->length, &below_len, &below_map, &below_file);

        if (below >= 0 && below_len) {
            e->length = MIN(e->length, below_len);
            if (below & BLOCK_STATUS_ZERO) {
                status |= BLOCK_STATUS_ZERO;
                status &= ~BLOCK_STATUS_DATA;
            }
        }
    }
    e->start = at;
    e->offset = map;
    e->file = file;
    e->status = status;
    e->valid = true;
    return 0;
}

static int coroutine_fn map_fn(void *data)
{
    MapState *m = data;
    int64_t end = block_length(m->n);
    uint64_t at = m->args->start;

    if (end < 0) {
        return end;
    }
    if (m->args->max) {
        end = MIN((uint64_t)end, at + m->args->max);
    }
    while (at < (uint64_t)end) {
        Extent e = {0};
        int ret = img_info_look(m, at, MIN((uint64_t)end - at, GiB), &e);

        if (ret < 0) {
            return ret;
        }
        if (img_info_joins(&m->last, &e)) {
            m->last.length += e.length;
        } else {
            if (m->last.valid) {
                print_extent(m, &m->last);
            }
            m->last = e;
        }
        at += e.length;
    }
    if (m->last.valid) {
        print_extent(m, &m->last);
    }
    return 0;
}

int img_cmd_map(int argc, char **argv)
{
    InfoArgs a = {.how = {.shared = true}};
    int status = img_info_parse_args(argc, argv, ":f:hU", &a);
    MapState m = {.args = &a};
    int ret;

    if (status) {
        return status - 1;
    }
    m.n = img_open(a.filename, &a.how);
    if (!m.n) {
        return 1;
    }
    if (a.json) {
        printf("[");
    } else {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    ret = block_run(map_fn, &m);
    if (a.json) {
        printf("]\n");
    }
    block_node_unref(m.n);
    if (ret < 0) {
        log_error("Failed to read image metadata: %s", g_strerror(-ret));
        return 1;
    }
    return 0;
}

/* --- check --- */

typedef struct {
    BlockNode *n;
    BlockCheckResult res;
    unsigned fix;
} CheckState;

static int coroutine_fn check_fn(void *data)
{
    CheckState *c = data;

    return c->n->driver->check(c->n, &c->res, c->fix);
}

static void check_json(const InfoArgs *a, const CheckState *c)
{
    const BlockCheckResult *r = &c->res;
    const struct {
        const char *key;
        uint64_t value;
        bool always;
    } fields[] = {
        {"image-end-offset", r->image_end_offset, false},
        {"total-clusters", r->total_clusters, false},
        {"check-errors", r->check_errors, true},
        {"corruptions", r->corruptions, false},
        {"corruptions-fixed", r->corruptions_fixed, false},
        {"leaks", r->leaks, false},
        {"leaks-fixed", r->leaks_fixed, false},
        {"allocated-clusters", r->allocated_clusters, false},
        {"fragmented-clusters", r->fragmented_clusters, false},
        {"compressed-clusters", r->compressed_clusters, false},
    };
    json_auto_t *o = json_object();

    for (unsigned i = 0; i < ARRAY_SIZE(fields); i++) {
        if (fields[i].always || fields[i].value) {
            json_object_set_new(o, fields[i].key, json_integer(fields[i].value));
        }
    }
    json_object_set_new(o, "filename", json_string_nocheck(a->filename));
    json_object_set_new(o, "format", json_string(c->n->driver->name));
    print_json(o);
}

static void check_text(const BlockCheckResult *r)
{
    if (!r->corruptions && !r->leaks && !r->check_errors) {
        printf("No errors were found on the image.\n");
    } else {
        if (r->corruptions) {
            printf("\n%" PRIu64
                   " errors were found on the image.\nData may be corrupted, or further writes to "
                   "the image may corrupt it.\n",
                   r->corruptions);
        }
        if (r->leaks) {
            printf("\n%" PRIu64 " leaked clusters were found on the image.\nThis means waste of "
                   "disk space, but no harm to data.\n",
                   r->leaks);
        }
        if (r->check_errors) {
            printf("\n%" PRIu64 " internal errors have occurred during the check.\n",
                   r->check_errors);
        }
    }
    if (r->total_clusters && r->allocated_clusters) {
        printf("%" PRIu64 "/%" PRIu64
               " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed "
               "clusters\n",
               r->allocated_clusters, r->total_clusters,
               r->allocated_clusters * 100.0 / r->total_clusters,
               r->fragmented_clusters * 100.0 / r->allocated_clusters,
               r->compressed_clusters * 100.0 / r->allocated_clusters);
    }
    if (r->image_end_offset) {
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
    }
}

/* The image itself may be right, and yet nobody can open it. */
static int check_chain(BlockNode *n)
{
    GError *err = NULL;

    return block_image_chain_ends(n, &err) ? 0 : img_fail(err, NULL);
}

int img_cmd_check(int argc, char **argv)
{
    InfoArgs a = {.how = {.no_backing = true, .check = true}};
    int status = img_info_parse_args(argc, argv, ":f:hr:T:qU", &a);
    CheckState c = {0};
    int ret;

    if (status) {
        return status - 1;
    }
    c.n = img_open(a.filename, &a.how);
    if (!c.n) {
        return 1;
    }
    if (!c.n->driver->check) {
        log_error("This image format does not support checks");
        block_node_unref(c.n);
        return 63;
    }
    c.fix = (a.leak_fixes ? BLOCK_CHECK_FIX_LEAKS : 0) | (a.all_fixes ? BLOCK_CHECK_FIX_ERRORS : 0);
    ret = block_run(check_fn, &c);
    if (ret == 0 && (c.res.corruptions_fixed || c.res.leaks_fixed)) {
        uint64_t leaks = c.res.leaks_fixed, corruptions = c.res.corruptions_fixed;

        if (!a.quiet && !a.json) {
            printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64
                   " leaked clusters\n    %" PRIu64
                   " corruptions\n\nDouble checking the fixed image "
                   "now...\n",
                   leaks, corruptions);
        }
        c.res = (BlockCheckResult){0};
        c.fix = 0;
        ret = block_run(check_fn, &c);
        c.res.leaks_fixed = leaks;
        c.res.corruptions_fixed = corruptions;
    }
    if (ret < 0) {
        log_error("Check failed: %s", g_strerror(-ret));
        block_node_unref(c.n);
        return 1;
    }
    if (a.json) {
        check_json(&a, &c);
    } else if (!a.quiet) {
        check_text(&c.res);
    }
    status = check_chain(c.n);
    block_node_unref(c.n);
    return c.res.check_errors ? 1 : c.res.corruptions ? 2 : c.res.leaks ? 3 : status;
}
