/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-io's commands about a node as a whole, and those that are about no node. */
#include "io_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/json.h"
#include "base/util.h"
#include "block/debug.h"
#include "block/image.h"

static int io_failed(IoSession *s, const char *what, int ret)
{
    io_print(s, "%s failed: %s\n", what, g_strerror(-ret));
    return ret;
}

static int coroutine_fn io_flush(IoSession *s, const IoCall *c)
{
    int ret = block_flush(s->node);

    return ret < 0 ? io_failed(s, "flush", ret) : 0;
}

static int coroutine_fn io_truncate(IoSession *s, const IoCall *c)
{
    static const char *const modes[] = {"off", "metadata", "falloc", "full", NULL};
    GError *err = NULL;
    uint64_t size;
    int ret;

    if (c->has['m'] && !g_strv_contains(modes, c->value['m'])) {
        error_set(&err, "Invalid preallocation mode '%s'", c->value['m']);
        return io_fail(s, err, -EINVAL);
    }
    if (c->n != 1) {
        return io_usage(s, c->command);
    }
    if (!io_parse_number(s, c->operands[0], &size)) {
        return -EINVAL;
    }
    if (c->has['m'] && !g_str_equal(c->value['m'], "off")) {
        error_set(&err, "-m %s is not supported yet: truncate without it", c->value['m']);
        return io_fail(s, err, -ENOTSUP);
    }
    ret = block_truncate(s->node, size, &err);
    if (ret < 0 && !err) {
        error_set(&err, "cannot resize '%s': %s", s->node->filename, g_strerror(-ret));
    }
    return ret < 0 ? io_fail(s, err, ret) : 0;
}

static int coroutine_fn io_length(IoSession *s, const IoCall *c)
{
    int64_t len = block_length(s->node);
    g_autofree char *text = io_size_text(MAX(len, 0));

    if (len < 0) {
        io_print(s, "getlength: %s\n", g_strerror(-len));
        return len;
    }
    io_print(s, "%s\n", text);
    return 0;
}

static int coroutine_fn io_info(IoSession *s, const IoCall *c)
{
    BlockNode *n = s->node;
    json_auto_t *info = block_image_info(n, false);
    g_autofree char *text = block_image_info_text(info), *cluster = NULL, *state = NULL;
    BlockDriverInfo about = {0};
    const char *specific = strstr(text, "Format specific information:\n");

    if (n->driver->info && n->driver->info(n, &about)) {
        json_decref(about.format_specific);
    }
    cluster = io_size_text(about.cluster_size);
    state = io_size_text(about.vm_state_offset);
    io_print(s, "format name: %s\ncluster size: %s\nvm state offset: %s\n%s", n->driver->name,
             cluster, state, specific ? specific : "");
    return 0;
}

static int coroutine_fn io_discard(IoSession *s, const IoCall *c)
{
    uint64_t offset, bytes;
    int64_t start = clock_ns(CLOCK_REALTIME_NS);
    int ret;

    if (s->node->read_only) {
        s->fail(s, "Block node is read-only");
        return -EPERM;
    }
    if (!io_parse_number(s, c->operands[0], &offset) ||
        !io_parse_length(s, c->operands[1], &bytes)) {
        return -EINVAL;
    }
    ret = block_pdiscard(s->node, offset, bytes);
    if (ret < 0) {
        return io_failed(s, "discard", ret);
    }
    io_report(s, c, "discard", start, offset, bytes);
    return 0;
}

/* Which parts this layer has, and which it leaves to the backing file. */

/* Sets *same to how many bytes share the answer. 0, 1 or -errno. */
static int coroutine_fn io_is_allocated(BlockNode *n, uint64_t at, uint64_t bytes, uint64_t *same)
{
    int status = block_status_here(n, at, bytes, same, NULL, NULL);

    return status < 0 ? status : !!(status & BLOCK_STATUS_ALLOCATED);
}

static int coroutine_fn io_alloc(IoSession *s, const IoCall *c)
{
    int64_t len = block_length(s->node);
    uint64_t start, bytes = BLOCK_SECTOR_SIZE, sum = 0;
    g_autofree char *text = NULL;

    if (!io_parse_number(s, c->operands[0], &start) ||
        (c->n > 1 && !io_parse_number(s, c->operands[1], &bytes))) {
        return -EINVAL;
    }
    if (len < 0) {
        io_print(s, "getlength: %s\n", g_strerror(-len));
        return len;
    }
    bytes = MIN(bytes, (uint64_t)len - MIN(start, (uint64_t)len));
    for (uint64_t done = 0, same; done < bytes; done += same) {
        int ret = io_is_allocated(s->node, start + done, bytes - done, &same);

        if (ret < 0) {
            return io_failed(s, "is_allocated", ret);
        }
        sum += ret ? same : 0;
    }
    text = io_size_text(start);
    io_print(s, "%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, bytes, text);
    return 0;
}

static int coroutine_fn io_map(IoSession *s, const IoCall *c)
{
    int64_t len = block_length(s->node);

    if (len < 0) {
        return io_failed(s, "Failed to query image length: getlength", len);
    }
    for (uint64_t at = 0, run; at < (uint64_t)len; at += run) {
        int ret = io_is_allocated(s->node, at, len - at, &run), next = ret;
        g_autofree char *size = NULL, *offset = NULL;

        while (next == ret && ret >= 0 && at + run < (uint64_t)len) {
            uint64_t more;

            next = io_is_allocated(s->node, at + run, len - at - run, &more);
            run += next == ret ? more : 0;
        }
        if (ret < 0 || next < 0) {
            GError *err = NULL;

            error_set_errno(&err, -MIN(ret, next), "Failed to get allocation status");
            return io_fail(s, err, MIN(ret, next));
        }
        size = io_size_text(run);
        offset = io_size_text(at);
        io_print(s, "%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", size,
                 run, ret ? "   " : "not", offset, at);
    }
    return 0;
}

/* Breakpoints, of the filter blkdebug. */

static int coroutine_fn io_break(IoSession *s, const IoCall *c)
{
    int ret = block_debug_break(s->node, c->operands[0], c->operands[1]);

    if (ret < 0) {
        io_print(s, "Could not set breakpoint: %s\n", g_strerror(-ret));
    }
    return ret;
}

static int coroutine_fn io_resume(IoSession *s, const IoCall *c)
{
    int ret = block_debug_resume(s->node, c->operands[0]);

    if (ret < 0) {
        io_print(s, "Could not resume request: %s\n", g_strerror(-ret));
    }
    return ret;
}

static int coroutine_fn io_remove_break(IoSession *s, const IoCall *c)
{
    int ret = block_debug_remove_break(s->node, c->operands[0]);

    if (ret < 0) {
        io_print(s, "Could not remove breakpoint %s: %s\n", c->operands[0], g_strerror(-ret));
    }
    return ret;
}

static int coroutine_fn io_wait_break(IoSession *s, const IoCall *c)
{
    int ret = block_debug_wait(s->node, c->operands[0]);

    if (ret < 0) {
        io_print(s, "Could not wait for breakpoint %s: %s\n", c->operands[0], g_strerror(-ret));
    }
    return ret;
}

static int coroutine_fn io_sleep(IoSession *s, const IoCall *c)
{
    uint64_t ms;

    if (!parse_uint(c->operands[0], INT32_MAX, &ms)) {
        io_print(s, "%s is not a valid number\n", c->operands[0]);
        return -EINVAL;
    }
    coroutine_sleep(CLOCK_REALTIME_NS, ms * NS_PER_MS);
    return 0;
}

static int coroutine_fn io_sigraise(IoSession *s, const IoCall *c)
{
    uint64_t sig;

    if (!io_parse_number(s, c->operands[0], &sig)) {
        return -EINVAL;
    }
    if (sig > INT32_MAX) {
        io_print(s, "signal argument '%s' is too large to be a valid signal\n", c->operands[0]);
        return -EINVAL;
    }
    /* With SIGKILL, for example, nothing is written out any more. */
    fflush(NULL);
    raise(sig);
    return 0;
}

static int coroutine_fn io_abort(IoSession *s, const IoCall *c)
{
    abort();
}

#define IO_SIMPLE(id, NAME, ARGUMENTS, SYNOPSIS, HELP, FUNCTION)                                   \
    const IoCommand io_command_##id = {.name = (NAME),                                             \
                                       .letters = "",                                              \
                                       .min = (ARGUMENTS),                                         \
                                       .max = (ARGUMENTS),                                         \
                                       .operands = (ARGUMENTS),                                    \
                                       .synopsis = (SYNOPSIS),                                     \
                                       .help = (HELP),                                             \
                                       .run = (FUNCTION)}

IO_SIMPLE(break, "break", 2, "event tag",
          "sets a breakpoint on event and tags the stopped request as tag", io_break);
IO_SIMPLE(remove_break, "remove_break", 1, "tag", "remove a breakpoint by tag", io_remove_break);
IO_SIMPLE(resume, "resume", 1, "tag", "resumes the request tagged as tag", io_resume);
IO_SIMPLE(wait_break, "wait_break", 1, "tag", "waits for the suspension of a request",
          io_wait_break);
IO_SIMPLE(map, "map", 0, "", "prints the allocated areas of a file", io_map);

const IoCommand io_command_flush = {
    .name = "flush",
    .short_name = "f",
    .letters = "",
    .synopsis = "",
    .help = "flush all in-core file state to disk",
    .run = io_flush,
};

const IoCommand io_command_info = {
    .name = "info",
    .short_name = "i",
    .letters = "",
    .synopsis = "",
    .help = "prints information about the current file",
    .run = io_info,
};

const IoCommand io_command_length = {
    .name = "length",
    .short_name = "l",
    .letters = "",
    .synopsis = "",
    .help = "gets the length of the current file",
    .run = io_length,
};

const IoCommand io_command_truncate = {
    .name = "truncate",
    .short_name = "t",
    .letters = "m:",
    .min = 1,
    .max = 3,
    .operands = -1,
    .synopsis = "[-m prealloc_mode] off",
    .help = "truncates the current file at the given offset",
    .run = io_truncate,
};

const IoCommand io_command_discard = {
    .name = "discard",
    .short_name = "d",
    .letters = "Cq",
    .min = 2,
    .max = -1,
    .operands = 2,
    .synopsis = "[-Cq] off len",
    .help = "discards a number of bytes at a specified offset",
    .details = "\n -C, -- report statistics in a machine parsable format\n"
               " -q, -- quiet mode, do not show I/O statistics\n",
    .run = io_discard,
};

const IoCommand io_command_alloc = {
    .name = "alloc",
    .short_name = "a",
    .letters = "",
    .min = 1,
    .max = 2,
    .operands = -1,
    .synopsis = "offset [count]",
    .help = "checks if offset is allocated in the file",
    .run = io_alloc,
};

const IoCommand io_command_sleep = {
    .name = "sleep",
    .letters = "",
    .min = 1,
    .max = 1,
    .operands = 1,
    .without_file = true,
    .synopsis = "",
    .help = "waits for the given value in milliseconds",
    .run = io_sleep,
};

const IoCommand io_command_sigraise = {
    .name = "sigraise",
    .letters = "",
    .min = 1,
    .max = 1,
    .operands = 1,
    .without_file = true,
    .synopsis = "signal",
    .help = "raises a signal",
    .details = "\n Example:\n 'sigraise 15' - raises SIGTERM\n",
    .run = io_sigraise,
};

const IoCommand io_command_abort = {
    .name = "abort",
    .letters = "",
    .without_file = true,
    .synopsis = "",
    .help = "simulate a program crash using abort(3)",
    .run = io_abort,
};
