/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qemu-io's commands that read and write. */
#include "io_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "block/snapshot.h"

enum {
    IO_READ_FILL = 0xab,     /* what a buffer holds before it is read into */
    IO_WRITE_PATTERN = 0xcd, /* what is written where no pattern is given */
    IO_MISALIGN = 16,
};

/* One request, which aio_read and aio_write leave to its coroutine. */
typedef struct {
    IoSession *s;
    IoCall call; /* the options alone: operands and values are the line's */
    uint64_t offset, bytes;
    void *memory; /* as allocated */
    uint8_t *buf;
    struct iovec *iov; /* the buffer's pieces */
    unsigned niov, flags;
    uint8_t pattern;
    int64_t start_ns;
} IoRequest;

static void io_request_free(IoRequest *r)
{
    free(r->memory);
    g_free(r->iov);
    g_free(r);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IoRequest, io_request_free)

static IoRequest *io_request_new(IoSession *s, const IoCall *c)
{
    IoRequest *r = g_new0(IoRequest, 1);

    r->s = s;
    r->call = *c;
    return r;
}

/* False: there is no memory, and that was printed. */
static bool io_request_fill(IoRequest *r, uint8_t byte)
{
    unsigned shift = r->s->misalign ? IO_MISALIGN : 0;

    r->memory = block_buffer_new(r->s->node, r->bytes + shift + 1);
    if (!r->memory) {
        io_print(r->s, "%s: no memory for %" PRIu64 " bytes\n", r->call.command->name, r->bytes);
        return false;
    }
    r->buf = (uint8_t *)r->memory + shift;
    memset(r->buf, byte, r->bytes);
    return true;
}

/* The buffer as one piece, where the lengths of several were not given. */
static const struct iovec *io_request_iov(IoRequest *r)
{
    if (!r->iov) {
        r->iov = g_new(struct iovec, 1);
        r->iov[0] = (struct iovec){r->buf, r->bytes};
        r->niov = 1;
    }
    return r->iov;
}

/* -P; false: it is no byte, and that was printed. */
static bool io_pattern(IoSession *s, const IoCall *c, uint8_t *pattern)
{
    const char *text = c->value['P'];
    char *end;
    long v;

    if (!c->has['P']) {
        return true;
    }
    v = strtol(text, &end, 0);
    if (end == text || *end || v < 0 || v > UINT8_MAX) {
        io_print(s, "%s is not a valid pattern byte\n", text);
        return false;
    }
    *pattern = v;
    return true;
}

/* "off len" */
static bool io_range(IoSession *s, const IoCall *c, bool any_length, IoRequest *r)
{
    return io_parse_number(s, c->operands[0], &r->offset) &&
           (any_length ? io_parse_number(s, c->operands[1], &r->bytes)
                       : io_parse_length(s, c->operands[1], &r->bytes));
}

/* "off len [len...]"; 'fill' is what the buffer holds. */
static bool io_vector(IoSession *s, const IoCall *c, uint8_t fill, IoRequest *r)
{
    uint8_t *at;

    if (!io_parse_number(s, c->operands[0], &r->offset)) {
        return false;
    }
    r->niov = c->n - 1;
    r->iov = g_new0(struct iovec, r->niov);
    for (unsigned i = 0; i < r->niov; i++) {
        uint64_t len;

        if (!io_parse_length(s, c->operands[i + 1], &len)) {
            return false;
        }
        r->iov[i].iov_len = len;
        r->bytes += len;
    }
    if (r->bytes > IO_REQUEST_MAX) {
        io_print(s, "The total number of bytes exceed the maximum size %" PRIu64 "\n",
                 IO_REQUEST_MAX);
        return false;
    }
    if (!io_request_fill(r, fill)) {
        return false;
    }
    at = r->buf;
    for (unsigned i = 0; i < r->niov; i++) {
        r->iov[i].iov_base = at;
        at += r->iov[i].iov_len;
    }
    return true;
}

static bool io_is_sectors(IoSession *s, uint64_t value, const char *what)
{
    if (value % BLOCK_SECTOR_SIZE) {
        io_print(s, "%" PRIu64 " is not a sector-aligned value for '%s'\n", value, what);
        return false;
    }
    return true;
}

/* After a read. */

static void io_dump(const IoRequest *r)
{
    for (uint64_t at = 0; at < r->bytes; at += 16) {
        g_autoptr(GString) hex = g_string_new(NULL), text = g_string_new(NULL);

        for (uint64_t i = at; i < MIN(at + 16, r->bytes); i++) {
            g_string_append_printf(hex, "%02x ", r->buf[i]);
            g_string_append_c(text, g_ascii_isalnum(r->buf[i]) ? r->buf[i] : '.');
        }
        io_print(r->s, "%08" PRIx64 ":  %s %s\n", r->offset + at, hex->str, text->str);
    }
}

/* 0, or -EINVAL where the bytes are not the pattern. */
static int io_verify(const IoRequest *r, uint64_t from, uint64_t bytes)
{
    for (uint64_t i = from; r->call.has['P'] && i < from + bytes; i++) {
        if (r->buf[i] != r->pattern) {
            io_print(r->s, "Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes\n",
                     r->offset + from, bytes);
            return -EINVAL;
        }
    }
    return 0;
}

static void io_read_over(const IoRequest *r)
{
    if (r->call.has['v']) {
        io_dump(r);
    }
    io_report(r->s, &r->call, "read", r->start_ns, r->offset, r->bytes);
}

static int coroutine_fn io_preadv(IoRequest *r)
{
    const struct iovec *iov = io_request_iov(r);
    int64_t len = block_length(r->s->node);

    r->start_ns = clock_ns(CLOCK_REALTIME_NS);
    if (len < 0) {
        return len;
    }
    if (r->call.has['b']) {
        return block_vmstate_preadv(r->s->node, r->offset, r->bytes, iov, r->niov);
    }
    if (r->offset > (uint64_t)len || r->bytes > len - r->offset) {
        return -EIO; /* to a node, what is behind its end are zeroes */
    }
    return block_preadv(r->s->node, r->offset, r->bytes, iov, r->niov);
}

/* read, readv. */

static int coroutine_fn io_read(IoSession *s, const IoCall *c)
{
    g_autoptr(IoRequest) r = io_request_new(s, c);
    uint64_t from = 0, bytes = 0;
    int ret;

    if ((c->has['s'] || c->has['l']) && !c->has['P']) {
        return io_usage(s, c->command);
    }
    if (!io_pattern(s, c, &r->pattern) ||
        (c->has['l'] && !io_parse_number(s, c->value['l'], &bytes)) ||
        (c->has['s'] && !io_parse_number(s, c->value['s'], &from)) || !io_range(s, c, false, r)) {
        return -EINVAL;
    }
    if (!c->has['l']) {
        bytes = r->bytes - MIN(from, r->bytes);
    }
    if (from > r->bytes || bytes > r->bytes - from) {
        io_print(s, "pattern verification range exceeds end of read data\n");
        return -EINVAL;
    }
    if (c->has['b'] &&
        (!io_is_sectors(s, r->offset, "offset") || !io_is_sectors(s, r->bytes, "count"))) {
        return -EINVAL;
    }
    if (!io_request_fill(r, IO_READ_FILL)) {
        return -ENOMEM;
    }
    ret = io_preadv(r);
    if (ret < 0) {
        io_print(s, "read failed: %s\n", g_strerror(-ret));
        return ret;
    }
    ret = io_verify(r, from, bytes);
    io_read_over(r);
    return ret;
}

static int coroutine_fn io_readv(IoSession *s, const IoCall *c)
{
    g_autoptr(IoRequest) r = io_request_new(s, c);
    int ret;

    if (c->n < 2) {
        return io_usage(s, c->command);
    }
    if (!io_pattern(s, c, &r->pattern) || !io_vector(s, c, IO_READ_FILL, r)) {
        return -EINVAL;
    }
    ret = io_preadv(r);
    if (ret < 0) {
        io_print(s, "readv failed: %s\n", g_strerror(-ret));
        return ret;
    }
    ret = io_verify(r, 0, r->bytes);
    io_read_over(r);
    return ret;
}

/* write, writev. */

/* Fills the buffer with the file's bytes, over and over. False: the error was printed. */
static bool io_fill_from_file(IoRequest *r, const char *path)
{
    g_autoptr(GError) err = NULL;
    size_t len;
    g_autofree char *data = host_read_file(path, IO_REQUEST_MAX, &len, &err);

    if (!data || !len) {
        if (data) {
            error_set(&err, "'%s' is empty", path);
        }
        io_complain(r->s, "%s\n", err->message);
        return false;
    }
    for (uint64_t at = 0; at < r->bytes; at += len) {
        memcpy(r->buf + at, data, MIN(len, r->bytes - at));
    }
    return true;
}

/* What -b, -f, -n, -u, -z, -P and -s may not be together with. */
static bool io_write_options_agree(IoSession *s, const IoCall *c)
{
    const char *why = NULL;

    if (c->has['b'] && c->has['z']) {
        why = "-b and -z cannot be specified at the same time";
    } else if (c->has['f'] && (c->has['b'] || c->has['c'])) {
        why = "-f and -b or -c cannot be specified at the same time";
    } else if (c->has['n'] && !c->has['z']) {
        why = "-n requires -z to be specified";
    } else if (c->has['u'] && !c->has['z']) {
        why = "-u requires -z to be specified";
    } else if (c->has['z'] + c->has['P'] + c->has['s'] > 1) {
        why = "Only one of -z, -P, and -s can be specified at the same time";
    }
    if (why) {
        io_print(s, "%s\n", why);
    }
    return !why;
}

static unsigned io_write_flags(const IoCall *c)
{
    return (c->has['f'] ? BLOCK_REQ_FUA : 0) | (c->has['n'] ? BLOCK_REQ_NO_FALLBACK : 0) |
           (c->has['u'] ? BLOCK_REQ_MAY_UNMAP : 0);
}

static int coroutine_fn io_pwritev(IoRequest *r)
{
    const IoCall *c = &r->call;
    BlockNode *n = r->s->node;
    const struct iovec *iov = c->has['z'] ? NULL : io_request_iov(r);

    r->start_ns = clock_ns(CLOCK_REALTIME_NS);
    if (c->has['z']) {
        return block_pwrite_zeroes(n, r->offset, r->bytes, r->flags);
    }
    if (c->has['b']) {
        return block_vmstate_pwritev(n, r->offset, r->bytes, iov, r->niov);
    }
    return c->has['c'] ? block_pwrite_compressed(n, r->offset, r->buf, r->bytes)
                       : block_pwritev(n, r->offset, r->bytes, iov, r->niov, r->flags);
}

/* False, where the node may not be written to; that was printed. */
static bool io_may_write(IoSession *s)
{
    if (s->node->read_only) {
        s->fail(s, "Block node is read-only");
    }
    return !s->node->read_only;
}

static int coroutine_fn io_write(IoSession *s, const IoCall *c)
{
    g_autoptr(IoRequest) r = io_request_new(s, c);
    int ret;

    r->pattern = IO_WRITE_PATTERN;
    r->flags = io_write_flags(c);
    if (!io_may_write(s)) {
        return -EPERM;
    }
    if (!io_pattern(s, c, &r->pattern) || !io_write_options_agree(s, c) ||
        !io_range(s, c, c->has['n'], r)) {
        return -EINVAL;
    }
    if ((c->has['b'] || c->has['c']) &&
        (!io_is_sectors(s, r->offset, "offset") || !io_is_sectors(s, r->bytes, "count"))) {
        return -EINVAL;
    }
    if (!c->has['z'] && (!io_request_fill(r, r->pattern) ||
                         (c->has['s'] && !io_fill_from_file(r, c->value['s'])))) {
        return -EINVAL;
    }
    ret = io_pwritev(r);
    if (ret < 0) {
        io_print(s, "write failed: %s\n", g_strerror(-ret));
        return ret;
    }
    io_report(s, c, "wrote", r->start_ns, r->offset, r->bytes);
    return 0;
}

static int coroutine_fn io_writev(IoSession *s, const IoCall *c)
{
    g_autoptr(IoRequest) r = io_request_new(s, c);
    int ret;

    r->pattern = IO_WRITE_PATTERN;
    r->flags = io_write_flags(c);
    if (!io_may_write(s)) {
        return -EPERM;
    }
    if (c->n < 2) {
        return io_usage(s, c->command);
    }
    if (!io_pattern(s, c, &r->pattern) || !io_vector(s, c, r->pattern, r)) {
        return -EINVAL;
    }
    ret = io_pwritev(r);
    if (ret < 0) {
        io_print(s, "writev failed: %s\n", g_strerror(-ret));
        return ret;
    }
    io_report(s, c, "wrote", r->start_ns, r->offset, r->bytes);
    return 0;
}

/* aio_read, aio_write: the command is over when the request is under way. */

static void io_aio_over(IoRequest *r)
{
    IoSession *s = r->s;

    io_request_free(r);
    if (!--s->in_flight) {
        co_queue_wake_all(&s->settled);
    }
}

static void coroutine_fn io_aio_read_entry(void *data)
{
    IoRequest *r = data;
    int ret = io_preadv(r);

    if (ret < 0) {
        io_print(r->s, "readv failed: %s\n", g_strerror(-ret));
    } else {
        io_verify(r, 0, r->bytes);
        io_read_over(r);
    }
    io_aio_over(r);
}

static void coroutine_fn io_aio_write_entry(void *data)
{
    IoRequest *r = data;
    int ret = io_pwritev(r);

    if (ret < 0) {
        io_print(r->s, "aio_write failed: %s\n", g_strerror(-ret));
    } else {
        io_report(r->s, &r->call, "wrote", r->start_ns, r->offset, r->bytes);
    }
    io_aio_over(r);
}

static int io_aio_start(IoRequest *r, void coroutine_fn (*entry)(void *data))
{
    r->s->in_flight++;
    coroutine_start(entry, r);
    return 0;
}

static int coroutine_fn io_aio_read(IoSession *s, const IoCall *c)
{
    g_autoptr(IoRequest) r = io_request_new(s, c);

    if (c->has['i']) {
        io_print(s, "injecting invalid read request\n");
        return 0;
    }
    if (c->n < 2) {
        return io_usage(s, c->command);
    }
    if (!io_pattern(s, c, &r->pattern) || !io_vector(s, c, IO_READ_FILL, r)) {
        return -EINVAL;
    }
    return io_aio_start(g_steal_pointer(&r), io_aio_read_entry);
}

static int coroutine_fn io_aio_write(IoSession *s, const IoCall *c)
{
    g_autoptr(IoRequest) r = io_request_new(s, c);
    const char *why = NULL;

    r->pattern = IO_WRITE_PATTERN;
    r->flags = io_write_flags(c);
    if (!io_may_write(s)) {
        return -EPERM;
    }
    if (c->has['i']) {
        io_print(s, "injecting invalid write request\n");
        return 0;
    }
    if (c->n < 2) {
        return io_usage(s, c->command);
    }
    if (c->has['z'] && c->n != 2) {
        why = "-z supports only a single length parameter";
    } else if (c->has['u'] && !c->has['z']) {
        why = "-u requires -z to be specified";
    } else if (c->has['z'] && c->has['P']) {
        why = "-z and -P cannot be specified at the same time";
    }
    if (why) {
        io_print(s, "%s\n", why);
        return -EINVAL;
    }
    if (!io_pattern(s, c, &r->pattern) ||
        !(c->has['z'] ? io_range(s, c, false, r) : io_vector(s, c, r->pattern, r))) {
        return -EINVAL;
    }
    return io_aio_start(g_steal_pointer(&r), io_aio_write_entry);
}

static int coroutine_fn io_aio_flush(IoSession *s, const IoCall *c)
{
    io_session_settle(s);
    return 0;
}

#define IO_HELP_REPORT                                                                             \
    " -C, -- report statistics in a machine parsable format\n"                                     \
    " -q, -- quiet mode, do not show I/O statistics\n"
#define IO_HELP_CHECK                                                                              \
    " -P, -- compare what was read with this byte\n"                                               \
    " -v, -- dump what was read\n"
#define IO_HELP_WRITE                                                                              \
    " -P, -- the byte to write (0xcd)\n"                                                           \
    " -f, -- the data is on stable storage when the command is over\n"
#define IO_HELP_ZERO                                                                               \
    " -z, -- write zeroes without a buffer\n"                                                      \
    " -u, -- with -z, space may be given back\n"
#define IO_HELP_AIO                                                                                \
    "\n The command is over when the request is under way, whatever becomes of that; aio_flush\n"  \
    " waits for all.\n"

const IoCommand io_command_read = {
    .name = "read",
    .short_name = "r",
    .letters = "abCl:pP:qs:v",
    .min = 2,
    .max = -1,
    .operands = 2,
    .synopsis = "[-abCqv] [-P pattern [-s off] [-l len]] off len",
    .help = "reads a number of bytes at a specified offset",
    .details = "\n Example:\n 'read -v 512 1k' - dumps 1 kilobyte from 512 bytes into the file\n\n"
               " -b, -- read from the VM state rather than the disk\n"
               " -s, -l -- with -P, the part that is compared\n" IO_HELP_CHECK IO_HELP_REPORT,
    .run = io_read,
};

const IoCommand io_command_readv = {
    .name = "readv",
    .letters = "CP:qv",
    .min = 2,
    .max = -1,
    .operands = -1,
    .synopsis = "[-Cqv] [-P pattern] off len [len..]",
    .help = "reads a number of bytes at a specified offset",
    .details = "\n Reads into several buffers.\n\n" IO_HELP_CHECK IO_HELP_REPORT,
    .run = io_readv,
};

const IoCommand io_command_write = {
    .name = "write",
    .short_name = "w",
    .letters = "bcCfnpP:qs:uz",
    .min = 2,
    .max = -1,
    .operands = 2,
    .synopsis = "[-bcCfnquz] [-P pattern | -s source_file] off len",
    .help = "writes a number of bytes at a specified offset",
    .details =
        "\n Example:\n 'write 512 1k' - writes 1 kilobyte at 512 bytes into the open file\n\n"
        " -b, -- write to the VM state rather than the disk\n"
        " -c, -- write compressed data\n"
        " -n, -- with -z, do not write buffers of zeroes instead\n"
        " -s, -- write the bytes of a file, over and over\n" IO_HELP_WRITE IO_HELP_ZERO
            IO_HELP_REPORT,
    .run = io_write,
};

const IoCommand io_command_writev = {
    .name = "writev",
    .letters = "CfP:q",
    .min = 2,
    .max = -1,
    .operands = -1,
    .synopsis = "[-Cfq] [-P pattern] off len [len..]",
    .help = "writes a number of bytes at a specified offset",
    .details = "\n Writes from several buffers.\n\n" IO_HELP_WRITE IO_HELP_REPORT,
    .run = io_writev,
};

const IoCommand io_command_aio_read = {
    .name = "aio_read",
    .letters = "CiP:qv",
    .min = 2,
    .max = -1,
    .operands = -1,
    .synopsis = "[-Ciqv] [-P pattern] off len [len..]",
    .help = "asynchronously reads a number of bytes",
    .details = IO_HELP_AIO
    " -i, -- say that the request is invalid, and send none\n" IO_HELP_CHECK IO_HELP_REPORT,
    .run = io_aio_read,
};

const IoCommand io_command_aio_write = {
    .name = "aio_write",
    .letters = "CfiP:quz",
    .min = 2,
    .max = -1,
    .operands = -1,
    .synopsis = "[-Cfiquz] [-P pattern] off len [len..]",
    .help = "asynchronously writes a number of bytes",
    .details = IO_HELP_AIO
    " -i, -- say that the request is invalid, and send none\n" IO_HELP_WRITE IO_HELP_ZERO
        IO_HELP_REPORT,
    .run = io_aio_write,
};

const IoCommand io_command_aio_flush = {
    .name = "aio_flush",
    .letters = "",
    .operands = 0,
    .synopsis = "",
    .help = "completes all outstanding aio requests",
    .run = io_aio_flush,
};
