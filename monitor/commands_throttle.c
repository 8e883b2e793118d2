/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits, thresholds and histograms of disks that are in use; requests to them. */
#include <string.h>
#include "base/error.h"
#include "base/json.h"
#include "block/backend.h"
#include "block/histogram.h"
#include "block/io_commands.h"
#include "block/throttle.h"
#include "block/write_threshold.h"
#include "commands.h"

/* Arguments. */

#define THROTTLE_RATES                                                                             \
    MEMBER("bps", PROP_INT64, .help = "bytes a second"),                                           \
        MEMBER("bps_rd", PROP_INT64, .help = "bytes read a second"),                               \
        MEMBER("bps_wr", PROP_INT64, .help = "bytes written a second"),                            \
        MEMBER("iops", PROP_INT64, .help = "requests a second"),                                   \
        MEMBER("iops_rd", PROP_INT64, .help = "reads a second"),                                   \
        MEMBER("iops_wr", PROP_INT64, .help = "writes a second")
#define THROTTLE_BURST(n)                                                                          \
    MAYBE(n "_max", PROP_INT64, .help = n " in bursts"),                                           \
        MAYBE(n "_max_length", PROP_INT64, .help = "seconds that a burst of " n " lasts")
const Property block_set_io_throttle_args[] = {
    MAYBE("device", PROP_STRING, .help = "a drive"),
    MAYBE("id", PROP_STRING, .help = "a device"),
    THROTTLE_RATES,
    THROTTLE_BURST("bps"),
    THROTTLE_BURST("bps_rd"),
    THROTTLE_BURST("bps_wr"),
    THROTTLE_BURST("iops"),
    THROTTLE_BURST("iops_rd"),
    THROTTLE_BURST("iops_wr"),
    MAYBE("iops_size", PROP_INT64, .help = "bytes that count as one request"),
    MAYBE("group", PROP_STRING, .help = "with whom the limits are shared"),
    PROP_END,
};
const Property block_set_io_throttle_hmp_args[] = {MONITOR_DRIVE("device", "a drive"),
                                                   THROTTLE_RATES, PROP_END};
const Property qemu_io_hmp_args[] = {
    {.name = "d", .type = PROP_BOOL, .help = "the disk of a device"},
    MONITOR_DRIVE("device", "a drive, a node or a device"),
    MEMBER("command", PROP_STRING, .help = "as of vmm-io"),
    PROP_END};
const Property block_write_threshold_args[] = {
    MEMBER("node-name", PROP_STRING, .help = "a node"),
    MEMBER("write-threshold", PROP_UINT64, .help = "offset in bytes; 0: none"), PROP_END};
const Property block_histogram_args[] = {
    MEMBER("id", PROP_STRING, .help = "a device"),
    MAYBE_LIST("boundaries", PROP_UINT64, .help = "nanoseconds, ascending; of all kinds"),
    MAYBE_LIST("boundaries-read", PROP_UINT64, .help = "of reads"),
    MAYBE_LIST("boundaries-write", PROP_UINT64, .help = "of writes"),
    MAYBE_LIST("boundaries-flush", PROP_UINT64, .help = "of flushes"),
    PROP_END};

/* The arguments' names, beside QEMU's names of limits. */
static const struct {
    const char *argument, *limit;
} throttle_arguments[] = {
    {"bps", "bps-total"},
    {"bps_rd", "bps-read"},
    {"bps_wr", "bps-write"},
    {"iops", "iops-total"},
    {"iops_rd", "iops-read"},
    {"iops_wr", "iops-write"},
    {"bps_max", "bps-total-max"},
    {"bps_rd_max", "bps-read-max"},
    {"bps_wr_max", "bps-write-max"},
    {"iops_max", "iops-total-max"},
    {"iops_rd_max", "iops-read-max"},
    {"iops_wr_max", "iops-write-max"},
    {"bps_max_length", "bps-total-max-length"},
    {"bps_rd_max_length", "bps-read-max-length"},
    {"bps_wr_max_length", "bps-write-max-length"},
    {"iops_max_length", "iops-total-max-length"},
    {"iops_rd_max_length", "iops-read-max-length"},
    {"iops_wr_max_length", "iops-write-max-length"},
    {"iops_size", "iops-size"},
};

MONITOR_HANDLER(cmd_block_set_io_throttle)
{
    BlockBackend *blk = monitor_find_drive(mon, vm, args, err);
    ThrottleConfig c;

    if (!blk) {
        return NULL;
    }
    if (!block_backend_node(blk)) {
        error_set(err, "Device has no medium");
        return NULL;
    }
    throttle_config_init(&c);
    for (unsigned i = 0; i < G_N_ELEMENTS(throttle_arguments); i++) {
        json_t *value = json_object_get(args, throttle_arguments[i].argument);

        if (value) {
            /* What is negative is too large as well, which throttle_config_check() says. */
            *throttle_config_field(&c, throttle_arguments[i].limit) = json_integer_value(value);
        }
    }
    return block_backend_set_limits(blk, json_str(args, "group"), &c, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_block_set_write_threshold)
{
    const char *name = json_str(args, "node-name");
    BlockNode *n = block_node_find(name);

    if (!n) {
        error_set(err, "Device '%s' not found", name);
        return NULL;
    }
    block_set_write_threshold(n, json_integer_value(json_object_get(args, "write-threshold")));
    return json_object();
}

/* Of a kind of request: its own boundaries, else those of all. False: there are none. */
static bool histogram_set(BlockBackend *blk, BlockOp op, const char *name, json_t *args,
                          GError **err)
{
    g_autofree char *key = g_strconcat("boundaries-", name, NULL);
    json_t *own = json_object_get(args, key), *all = json_object_get(args, "boundaries");

    if ((own || all) && !block_backend_set_histogram(blk, op, own ? own : all)) {
        return error_set(err, "Device '%s' set %s boundaries fail", json_str(args, "id"), name);
    }
    return true;
}

MONITOR_HANDLER(cmd_block_latency_histogram_set)
{
    BlockBackend *blk = monitor_find_drive(mon, vm, args, err);

    if (!blk) {
        return NULL;
    }
    if (json_object_size(args) == 1) {
        block_backend_clear_histograms(blk);
        return json_object();
    }
    return histogram_set(blk, BLOCK_OP_READ, "read", args, err) &&
                   histogram_set(blk, BLOCK_OP_WRITE, "write", args, err) &&
                   histogram_set(blk, BLOCK_OP_FLUSH, "flush", args, err)
               ? json_object()
               : NULL;
}

MONITOR_HANDLER(cmd_qemu_io_hmp)
{
    const char *name = json_str(args, "device");
    bool of_device = json_is_true(json_object_get(args, "d"));
    BlockBackend *blk = of_device ? NULL : block_backend_find(name);
    BlockNode *n = NULL;
    g_autofree char *text = NULL;

    if (of_device) {
        json_auto_t *id = json_pack("{s:s}", "id", name);

        blk = monitor_find_drive(mon, vm, id, err);
        if (!blk) {
            return NULL;
        }
    } else if (!blk) {
        n = block_node_find(name);
        if (!n) {
            error_set(err, "Cannot find device='' nor node-name='%s'", name);
            return NULL;
        }
    }
    text = block_io_command(blk, n, json_str(args, "command"), err);
    if (!text) {
        return NULL;
    }
    monitor_puts(mon, text);
    return json_object();
}
