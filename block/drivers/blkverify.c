/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Filter 'blkverify': writes to an image under test and to a raw file alike, and compares what they
 * read. Where the two differ the program ends, as nothing that comes after can be believed: for
 * tests.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <string.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "../open.h"
#include "drivers.h"
#include "filter.h"

typedef struct {
    json_t *test_config, *raw_config;
    BlockNode *test;
} Blkverify;

static const Property blkverify_props[] = {
    {.name = "test",
     .type = PROP_TREE,
     .offset = offsetof(Blkverify, test_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "the image under test"},
    {.name = "raw",
     .type = PROP_TREE,
     .offset = offsetof(Blkverify, raw_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "the raw file that it is held against"},
    PROP_END,
};

static bool blkverify_open(BlockNode *node, GError **err)
{
    Blkverify *s = block_node_state(node);

    /* 'file' is the one that may grow. */
    if (!block_open_child(node, "raw", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->raw_config,
                          &node->file, err) ||
        !block_open_child(node, "test", BLOCK_ROLE_DATA, s->test_config, &s->test, err)) {
        return false;
    }
    node->filename =
        g_strdup_printf("blkverify:%s:%s", node->file->filename ? node->file->filename : "",
                        s->test->filename ? s->test->filename : "");
    return true;
}

G_GNUC_PRINTF(4, 5)
static void G_GNUC_NORETURN blkverify_differs(const char *what, uint64_t offset, uint64_t bytes,
                                              const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "blkverify: %s offset=%" PRIu64 " bytes=%" PRIu64 " ", what, offset, bytes);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    /* On a coroutine's stack: a leak check at exit() would not see what the other stacks hold. */
    fflush(NULL);
    _exit(1);
}

static int same_result(const char *what, uint64_t offset, uint64_t bytes, int test, int raw)
{
    if (test != raw) {
        blkverify_differs(what, offset, bytes, "return value mismatch %d != %d", test, raw);
    }
    return test;
}

/* What the guest gets is in 'iov', what the raw file has in 'raw'. */
static void same_data(uint64_t offset, uint64_t bytes, const struct iovec *iov, unsigned niov,
                      const uint8_t *raw)
{
    uint64_t done = 0;

    for (unsigned i = 0; i < niov && done < bytes; done += iov[i++].iov_len) {
        const uint8_t *test = iov[i].iov_base;
        uint64_t len = MIN(iov[i].iov_len, bytes - done);

        if (memcmp(test, raw + done, len)) {
            uint64_t at = 0;

            while (test[at] == raw[done + at]) {
                at++;
            }
            blkverify_differs("read", offset, bytes, "contents mismatch at offset %" PRIu64,
                              offset + done + at);
        }
    }
}

static int coroutine_fn blkverify_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov)
{
    Blkverify *s = block_node_state(node);
    block_auto_buffer uint8_t *raw = block_buffer_new(node, bytes);
    int ret;

    if (!raw) {
        return -ENOMEM;
    }
    ret = block_preadv(s->test, offset, bytes, iov, niov);
    ret = same_result("read", offset, bytes, ret, block_pread(node->file, offset, raw, bytes));
    if (ret == 0) {
        same_data(offset, bytes, iov, niov, raw);
    }
    return ret;
}

static int coroutine_fn blkverify_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                          const struct iovec *iov, unsigned niov, unsigned flags)
{
    Blkverify *s = block_node_state(node);
    int ret = block_pwritev(s->test, offset, bytes, iov, niov, flags);

    return same_result("write", offset, bytes, ret,
                       block_pwritev(node->file, offset, bytes, iov, niov, flags));
}

/* The raw file is of no value after a crash. */
static int coroutine_fn blkverify_flush(BlockNode *node)
{
    Blkverify *s = block_node_state(node);

    return block_flush(s->test);
}

static int64_t blkverify_length(BlockNode *node)
{
    Blkverify *s = block_node_state(node);

    return block_exact_length(s->test);
}

/* "blkverify:RAW:TEST". */
static json_t *blkverify_parse_filename(const char *filename, GError **err)
{
    const char *rest = strchr(filename, ':') + 1, *colon = strchr(rest, ':');
    json_t *raw, *test = NULL;

    if (!colon) {
        error_set(err, "blkverify requires raw copy and original image path");
        return NULL;
    }
    g_autofree char *raw_name = g_strndup(rest, colon - rest);
    raw = block_protocol_config(raw_name, err);
    test = raw ? block_filename_to_config(colon + 1, err) : NULL;
    if (!test) {
        json_decref(raw);
        return NULL;
    }
    return json_pack("{s:s,s:o,s:o}", "driver", "blkverify", "raw", raw, "test", test);
}

const BlockDriver block_driver_blkverify = {
    .name = "blkverify",
    .protocols = "blkverify",
    .parse_filename = blkverify_parse_filename,
    .help = "holds an image against a raw file, for tests",
    .size = sizeof(Blkverify),
    .props = blkverify_props,
    .open = blkverify_open,
    .preadv = blkverify_preadv,
    .pwritev = blkverify_pwritev,
    .flush = blkverify_flush,
    .length = blkverify_length,
};
