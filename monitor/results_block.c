/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Results of queries of the block layer. */
#include "block/graph.h"
#include "block/image.h"
#include "block/job.h"
#include "results.h"

static const char *const detect_zeroes_names[] = {"off", "on", "unmap", NULL};
static const char *const io_status_names[] = {"ok", "failed", "nospace", NULL};
static const char *const compression_names[] = {"zlib", "zstd", NULL};

/* Images. */

static const Property snapshot_members[] = {
    MEMBER("id", PROP_STRING),
    MEMBER("name", PROP_STRING),
    MEMBER("vm-state-size", PROP_INT64),
    MEMBER("date-sec", PROP_INT64),
    MEMBER("date-nsec", PROP_INT64),
    MEMBER("vm-clock-sec", PROP_INT64),
    MEMBER("vm-clock-nsec", PROP_INT64),
    MAYBE("icount", PROP_INT64),
    PROP_END,
};
const PropertyShape snapshot_info_result = {.name = "SnapshotInfo", .members = snapshot_members};

/* What a format says of itself. */

static const char *const encrypt_names[] = {"aes", "luks", NULL};
static const Property encrypt_members[] = {MEMBER("format", PROP_ENUM, .names = encrypt_names),
                                           PROP_END};
static const ShapeVariant encrypt_variants[] = {
    {"aes", NULL}, {"luks", block_luks_info_members}, {NULL}};
static const PropertyShape encrypt_info = {.name = "ImageInfoSpecificQCow2Encryption",
                                           .members = encrypt_members,
                                           .tag = "format",
                                           .variants = encrypt_variants};
static const char *const bitmap_flag_names[] = {"in-use", "auto", NULL};
static const Property bitmap_members[] = {
    MEMBER("name", PROP_STRING), MEMBER("granularity", PROP_UINT32),
    MEMBER_LIST("flags", PROP_ENUM, .names = bitmap_flag_names), PROP_END};
static const PropertyShape bitmap_info = {.name = "Qcow2BitmapInfo", .members = bitmap_members};
static const Property qcow2_members[] = {
    MEMBER("compat", PROP_STRING),
    MAYBE("data-file", PROP_STRING),
    MAYBE("data-file-raw", PROP_BOOL),
    MAYBE("extended-l2", PROP_BOOL),
    MAYBE("lazy-refcounts", PROP_BOOL),
    MAYBE("corrupt", PROP_BOOL),
    MEMBER("refcount-bits", PROP_INT64),
    MAYBE("encrypt", PROP_TREE, .shape = &encrypt_info),
    MAYBE_LIST("bitmaps", PROP_TREE, .shape = &bitmap_info),
    MEMBER("compression-type", PROP_ENUM, .names = compression_names),
    PROP_END,
};
static const PropertyShape qcow2_info = {.name = "ImageInfoSpecificQCow2",
                                         .members = qcow2_members};
static const Property qcow2_specific[] = {MEMBER("data", PROP_TREE, .shape = &qcow2_info),
                                          PROP_END};
static const PropertyShape luks_info = {.name = "QCryptoBlockInfoLUKS",
                                        .members = block_luks_info_members};
static const Property luks_specific[] = {MEMBER("data", PROP_TREE, .shape = &luks_info), PROP_END};
static const PropertyShape image_info;
static const Property vmdk_members[] = {
    MEMBER("create-type", PROP_STRING), MEMBER("cid", PROP_INT64), MEMBER("parent-cid", PROP_INT64),
    MEMBER_LIST("extents", PROP_TREE, .shape = &image_info), PROP_END};
static const PropertyShape vmdk_info = {.name = "ImageInfoSpecificVmdk", .members = vmdk_members};
static const Property vmdk_specific[] = {MEMBER("data", PROP_TREE, .shape = &vmdk_info), PROP_END};
static const ShapeVariant specific_variants[] = {
    {"qcow2", qcow2_specific}, {"vmdk", vmdk_specific}, {"luks", luks_specific}, {NULL}};
static const PropertyShape format_specific = {
    .name = "ImageInfoSpecific", .tag = "type", .variants = specific_variants};

static const Property image_members[] = {
    MEMBER("filename", PROP_STRING),
    MEMBER("format", PROP_STRING),
    MAYBE("dirty-flag", PROP_BOOL),
    MAYBE("actual-size", PROP_INT64),
    MEMBER("virtual-size", PROP_INT64),
    MAYBE("cluster-size", PROP_INT64),
    MAYBE("encrypted", PROP_BOOL),
    MAYBE("compressed", PROP_BOOL),
    MAYBE("backing-filename", PROP_STRING),
    MAYBE("full-backing-filename", PROP_STRING),
    MAYBE("backing-filename-format", PROP_STRING),
    MAYBE_LIST("snapshots", PROP_TREE, .shape = &snapshot_info_result),
    MAYBE("backing-image", PROP_TREE, .shape = &image_info),
    MAYBE("format-specific", PROP_TREE, .shape = &format_specific),
    PROP_END,
};
static const PropertyShape image_info = {.name = "ImageInfo", .members = image_members};

/* Nodes and devices. */

static const Property cache_members[] = {MEMBER("writeback", PROP_BOOL),
                                         MEMBER("direct", PROP_BOOL), MEMBER("no-flush", PROP_BOOL),
                                         PROP_END};
static const PropertyShape cache_info = {.name = "BlockdevCacheInfo", .members = cache_members};

static const Property dirty_members[] = {
    MAYBE("name", PROP_STRING),         MEMBER("count", PROP_INT64),
    MEMBER("granularity", PROP_UINT32), MEMBER("recording", PROP_BOOL),
    MEMBER("busy", PROP_BOOL),          MEMBER("persistent", PROP_BOOL),
    MAYBE("inconsistent", PROP_BOOL),   PROP_END,
};
static const PropertyShape dirty_info = {.name = "BlockDirtyInfo", .members = dirty_members};

#define BURST(n)  MAYBE(n "_max", PROP_INT64), MAYBE(n "_max_length", PROP_INT64)
#define BURSTS(n) BURST(n), BURST(n "_rd"), BURST(n "_wr")

static const Property device_members[] = {
    MEMBER("file", PROP_STRING),
    MAYBE("node-name", PROP_STRING),
    MEMBER("ro", PROP_BOOL),
    MEMBER("drv", PROP_STRING),
    MAYBE("backing_file", PROP_STRING),
    MEMBER("backing_file_depth", PROP_INT64),
    MEMBER("encrypted", PROP_BOOL),
    MEMBER("detect_zeroes", PROP_ENUM, .names = detect_zeroes_names),
    MEMBER("bps", PROP_INT64),
    MEMBER("bps_rd", PROP_INT64),
    MEMBER("bps_wr", PROP_INT64),
    MEMBER("iops", PROP_INT64),
    MEMBER("iops_rd", PROP_INT64),
    MEMBER("iops_wr", PROP_INT64),
    MEMBER("image", PROP_TREE, .shape = &image_info),
    MEMBER("cache", PROP_TREE, .shape = &cache_info),
    BURSTS("bps"),
    BURSTS("iops"),
    MAYBE("iops_size", PROP_INT64),
    MAYBE("group", PROP_STRING),
    MEMBER("write_threshold", PROP_INT64),
    MAYBE_LIST("dirty-bitmaps", PROP_TREE, .shape = &dirty_info),
    PROP_END,
};
const PropertyShape block_device_result = {.name = "BlockDeviceInfo", .members = device_members};

static const Property block_members[] = {
    MEMBER("device", PROP_STRING),
    MAYBE("qdev", PROP_STRING),
    MEMBER("type", PROP_STRING),
    MEMBER("removable", PROP_BOOL),
    MEMBER("locked", PROP_BOOL),
    MAYBE("inserted", PROP_TREE, .shape = &block_device_result),
    MAYBE("tray_open", PROP_BOOL),
    MAYBE("io-status", PROP_ENUM, .names = io_status_names),
    PROP_END,
};
const PropertyShape block_info_result = {.name = "BlockInfo", .members = block_members};

static const Property sha256_members[] = {MEMBER("sha256", PROP_STRING), PROP_END};
const PropertyShape bitmap_sha256_result = {.name = "BlockDirtyBitmapSha256",
                                            .members = sha256_members};

/* Statistics. */

#define OPERATION_STATS(op)                                                                        \
    MEMBER(op "_operations", PROP_INT64), MEMBER(op "_total_time_ns", PROP_INT64),                 \
        MEMBER("failed_" op "_operations", PROP_INT64),                                            \
        MEMBER("invalid_" op "_operations", PROP_INT64)
#define TRANSFER_STATS(op)                                                                         \
    OPERATION_STATS(op), MEMBER(op "_bytes", PROP_INT64), MEMBER(op "_merged", PROP_INT64)

#define LATENCIES(op)                                                                              \
    MEMBER("min_" op "_latency_ns", PROP_INT64), MEMBER("max_" op "_latency_ns", PROP_INT64),      \
        MEMBER("avg_" op "_latency_ns", PROP_INT64)
static const Property timed_members[] = {
    MEMBER("interval_length", PROP_INT64),
    LATENCIES("rd"),
    LATENCIES("wr"),
    LATENCIES("flush"),
    MEMBER("avg_rd_queue_depth", PROP_NUMBER),
    MEMBER("avg_wr_queue_depth", PROP_NUMBER),
    PROP_END,
};
static const PropertyShape timed_stats = {.name = "BlockDeviceTimedStats",
                                          .members = timed_members};

static const Property histogram_members[] = {MEMBER_LIST("boundaries", PROP_UINT64),
                                             MEMBER_LIST("bins", PROP_UINT64), PROP_END};
static const PropertyShape histogram = {.name = "BlockLatencyHistogramInfo",
                                        .members = histogram_members};

static const Property device_stats_members[] = {
    TRANSFER_STATS("rd"),
    TRANSFER_STATS("wr"),
    TRANSFER_STATS("unmap"),
    OPERATION_STATS("flush"),
    MEMBER("wr_highest_offset", PROP_INT64),
    MAYBE("idle_time_ns", PROP_INT64),
    MEMBER("account_invalid", PROP_BOOL),
    MEMBER("account_failed", PROP_BOOL),
    MEMBER_LIST("timed_stats", PROP_TREE, .shape = &timed_stats),
    MAYBE("rd_latency_histogram", PROP_TREE, .shape = &histogram),
    MAYBE("wr_latency_histogram", PROP_TREE, .shape = &histogram),
    MAYBE("flush_latency_histogram", PROP_TREE, .shape = &histogram),
    PROP_END,
};
static const PropertyShape device_stats = {.name = "BlockDeviceStats",
                                           .members = device_stats_members};

static const Property file_members[] = {MEMBER("discard-nb-ok", PROP_UINT64),
                                        MEMBER("discard-nb-failed", PROP_UINT64),
                                        MEMBER("discard-bytes-ok", PROP_UINT64), PROP_END};
static const ShapeVariant driver_variants[] = {{"file", file_members}, {NULL}};
static const PropertyShape driver_stats = {
    .name = "BlockStatsSpecific", .tag = "driver", .variants = driver_variants};

static const Property stats_members[] = {
    MAYBE("device", PROP_STRING),
    MAYBE("qdev", PROP_STRING),
    MAYBE("node-name", PROP_STRING),
    MEMBER("stats", PROP_TREE, .shape = &device_stats),
    MAYBE("driver-specific", PROP_TREE, .shape = &driver_stats),
    MAYBE("parent", PROP_TREE, .shape = &block_stats_result),
    MAYBE("backing", PROP_TREE, .shape = &block_stats_result),
    PROP_END,
};
const PropertyShape block_stats_result = {.name = "BlockStats", .members = stats_members};

/* Jobs. */

static const Property job_members[] = {
    MEMBER("id", PROP_STRING),
    MEMBER("type", PROP_ENUM, .names = job_type_names),
    MEMBER("status", PROP_ENUM, .names = job_status_names),
    MEMBER("current-progress", PROP_INT64),
    MEMBER("total-progress", PROP_INT64),
    MAYBE("error", PROP_STRING),
    PROP_END,
};
const PropertyShape job_result = {.name = "JobInfo", .members = job_members};

static const Property block_job_members[] = {
    MEMBER("type", PROP_STRING),        MEMBER("device", PROP_STRING),
    MEMBER("len", PROP_INT64),          MEMBER("offset", PROP_INT64),
    MEMBER("busy", PROP_BOOL),          MEMBER("paused", PROP_BOOL),
    MEMBER("speed", PROP_INT64),        MEMBER("io-status", PROP_ENUM, .names = io_status_names),
    MEMBER("ready", PROP_BOOL),         MEMBER("status", PROP_ENUM, .names = job_status_names),
    MEMBER("auto-finalize", PROP_BOOL), MEMBER("auto-dismiss", PROP_BOOL),
    MAYBE("error", PROP_STRING),        PROP_END,
};
const PropertyShape block_job_result = {.name = "BlockJobInfo", .members = block_job_members};

/* The graph. */

static const char *const graph_node_types[] = {"block-backend", "block-job", "block-driver", NULL};
static const Property graph_node_members[] = {MEMBER("id", PROP_UINT64),
                                              MEMBER("type", PROP_ENUM, .names = graph_node_types),
                                              MEMBER("name", PROP_STRING), PROP_END};
static const PropertyShape graph_node = {.name = "XDbgBlockGraphNode",
                                         .members = graph_node_members};
static const Property graph_edge_members[] = {
    MEMBER("parent", PROP_UINT64),
    MEMBER("child", PROP_UINT64),
    MEMBER("name", PROP_STRING),
    MEMBER_LIST("perm", PROP_ENUM, .names = block_perm_names),
    MEMBER_LIST("shared-perm", PROP_ENUM, .names = block_perm_names),
    PROP_END,
};
static const PropertyShape graph_edge = {.name = "XDbgBlockGraphEdge",
                                         .members = graph_edge_members};
static const Property graph_members[] = {MEMBER_LIST("nodes", PROP_TREE, .shape = &graph_node),
                                         MEMBER_LIST("edges", PROP_TREE, .shape = &graph_edge),
                                         PROP_END};
const PropertyShape block_graph_result = {.name = "XDbgBlockGraph", .members = graph_members};

/* Exports. */

static const char *const export_type_names[] = {"nbd", NULL};
static const Property export_members[] = {
    MEMBER("id", PROP_STRING), MEMBER("type", PROP_ENUM, .names = export_type_names),
    MEMBER("node-name", PROP_STRING), MEMBER("shutting-down", PROP_BOOL), PROP_END};
const PropertyShape block_export_result = {.name = "BlockExportInfo", .members = export_members};
