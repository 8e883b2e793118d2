/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dump-guest-memory, and what became of it. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/keyval.h"
#include "commands.h"
#include "vm/dump.h"

static const char *const format_names[] = {"elf",          "kdump-zlib", "kdump-lzo",
                                           "kdump-snappy", "win-dmp",    NULL};

const Property dump_args[] = {
    MEMBER("paging", PROP_BOOL, .help = "segments by the CPUs' page tables"),
    MEMBER("protocol", PROP_STRING, .help = "file:PATH, or fd:NAME, which getfd has stored"),
    MAYBE("detach", PROP_BOOL, .help = "DUMP_COMPLETED tells of the end"),
    MAYBE("begin", PROP_INT64, .help = "the first physical address"),
    MAYBE("length", PROP_INT64, .help = "bytes from there"),
    MAYBE("format", PROP_ENUM, .names = format_names, .help = "elf, kdump-zlib"),
    PROP_END};
const Property dump_hmp_args[] = {
    {.name = "p", .type = PROP_BOOL, .help = "segments by the CPUs' page tables"},
    {.name = "d", .type = PROP_BOOL, .help = "returns at once"},
    {.name = "w", .type = PROP_BOOL, .help = "refused"},
    {.name = "z", .type = PROP_BOOL, .help = "kdump's format, by zlib"},
    {.name = "l", .type = PROP_BOOL, .help = "refused"},
    {.name = "s", .type = PROP_BOOL, .help = "refused"},
    MONITOR_FILE("filename", "where it goes"),
    MAYBE("begin", PROP_INT64, .help = "the first physical address"),
    MAYBE("length", PROP_INT64, .help = "bytes from there"),
    PROP_END};
static const Property capability_members[] = {
    MEMBER_LIST("formats", PROP_ENUM, .names = format_names), PROP_END};
const PropertyShape dump_capability_result = {.name = "DumpGuestMemoryCapability",
                                              .members = capability_members};

/* Which part of memory, and in which format. */
static bool dump_cmd_what(json_t *args, const char *format, VmDumpRequest *r, GError **err)
{
    json_t *begin = json_object_get(args, "begin"), *length = json_object_get(args, "length");

    r->filter = begin != NULL;
    r->begin = json_integer_value(begin);
    r->length = json_integer_value(length);
    if (format && !g_str_equal(format, "elf")) {
        if ((r->paging || begin || length) && g_str_has_prefix(format, "kdump")) {
            return error_set(err, "kdump-compressed format doesn't support paging or filter");
        }
        if (!g_str_equal(format, "kdump-zlib")) {
            return error_set(err,
                             "%s is not available now: this program dumps in formats 'elf' and "
                             "'kdump-zlib'",
                             format);
        }
        r->kdump = true;
    }
    if (!begin != !length) {
        return error_set(err, "Parameter '%s' is missing", begin ? "length" : "begin");
    }
    return !length || r->length || error_set(err, "Invalid parameter 'length'");
}

MONITOR_HANDLER(cmd_dump)
{
    const char *protocol = json_str(args, "protocol");
    VmDumpRequest r = {.paging = json_is_true(json_object_get(args, "paging")),
                       .detach = json_is_true(json_object_get(args, "detach")),
                       .fd = -1};

    if (!dump_cmd_what(args, json_str(args, "format"), &r, err)) {
        return NULL;
    }
    if (g_str_has_prefix(protocol, "file:")) {
        r.path = protocol + strlen("file:");
    } else if (g_str_has_prefix(protocol, "fd:")) {
        r.fd = monitor_take_fd(mon, protocol + strlen("fd:"));
        if (r.fd < 0) {
            error_set(err, "File descriptor named '%s' has not been found",
                      protocol + strlen("fd:"));
            return NULL;
        }
    } else {
        error_set(err, "Invalid parameter 'protocol'");
        return NULL;
    }
    return vm_dump(vm, &r, err) ? json_object() : NULL;
}

static bool dump_cmd_flag(json_t *args, const char *name)
{
    return json_is_true(json_object_get(args, name));
}

MONITOR_HANDLER(cmd_dump_hmp)
{
    static const struct {
        const char *flag, *format;
    } formats[] = {
        {"w", "win-dmp"}, {"z", "kdump-zlib"}, {"l", "kdump-lzo"}, {"s", "kdump-snappy"}};
    VmDumpRequest r = {.path = json_str(args, "filename"),
                       .paging = dump_cmd_flag(args, "p"),
                       .detach = dump_cmd_flag(args, "d"),
                       .fd = -1};
    const char *format = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (dump_cmd_flag(args, formats[i].flag)) {
            if (format) {
                error_set(err, "only one of '-z|-l|-s|-w' can be set");
                return NULL;
            }
            format = formats[i].format;
        }
    }
    return dump_cmd_what(args, format, &r, err) && vm_dump(vm, &r, err) ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_query_dump)
{
    return vm_dump_query(vm);
}

MONITOR_PRINTER(print_dump)
{
    const char *status = json_str(result, "status");
    json_int_t total = json_integer_value(json_object_get(result, "total"));

    monitor_printf(mon, "Status: %s\n", status);
    if (g_str_equal(status, "active")) {
        monitor_printf(
            mon, "Finished: %.2f %%\n",
            total ? 100.0 * json_integer_value(json_object_get(result, "completed")) / total : 0);
    }
}

MONITOR_HANDLER(cmd_query_dump_capability)
{
    json_t *formats = json_pack("[s]", format_names[0]);

    if (vm_dump_has_kdump(NULL)) {
        json_array_append_new(formats, json_string(format_names[1]));
    }
    return json_pack("{s:o}", "formats", formats);
}
