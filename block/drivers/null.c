/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protocols 'null-co' and 'null-aio': disks that store nothing. For benchmarks and tests. */
#include "base/iov.h"
#include "base/util.h"
#include "../core.h"

typedef struct {
    uint64_t size;
    uint64_t latency_ns;
    bool read_zeroes;
} NullState;

static const Property null_props[] = {
    PROP("size", PROP_SIZE, NullState, size, "1G", "length in bytes"),
    PROP("latency-ns", PROP_UINT64, NullState, latency_ns, "0", "how long a request takes"),
    PROP("read-zeroes", PROP_BOOL, NullState, read_zeroes, "off",
         "reads give zeroes (else the buffers stay as they are)"),
    PROP_END,
};

static bool null_open(BlockNode *node, GError **err)
{
    g_free(node->filename);
    node->filename = g_strdup_printf("%s://", node->driver->name);
    return true;
}

static void coroutine_fn null_wait(NullState *s)
{
    if (s->latency_ns) {
        coroutine_sleep(CLOCK_REALTIME_NS, s->latency_ns);
    }
}

static int coroutine_fn null_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    NullState *s = block_node_state(node);

    if (s->read_zeroes) {
        iov_memset(iov, niov, 0, 0, bytes);
    }
    null_wait(s);
    return 0;
}

static int coroutine_fn null_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    null_wait(block_node_state(node));
    return 0;
}

static int coroutine_fn null_flush(BlockNode *node)
{
    null_wait(block_node_state(node));
    return 0;
}

static int64_t null_length(BlockNode *node)
{
    NullState *s = block_node_state(node);

    return s->size;
}

/* "null-co:", whatever follows. */
static json_t *null_parse_filename(const char *filename, GError **err)
{
    g_autofree char *driver = g_strndup(filename, strcspn(filename, ":"));

    return json_pack("{s:s}", "driver", driver);
}

const BlockDriver block_driver_null_co = {
    .name = "null-co",
    .protocols = "null-co",
    .parse_filename = null_parse_filename,
    .help = "a disk that forgets what is written",
    .size = sizeof(NullState),
    .props = null_props,
    .is_protocol = true,
    .open = null_open,
    .preadv = null_preadv,
    .pwritev = null_pwritev,
    .flush = null_flush,
    .length = null_length,
};

const BlockDriver block_driver_null_aio = {
    .name = "null-aio",
    .protocols = "null-aio",
    .parse_filename = null_parse_filename,
    .help = "the same under its other name",
    .size = sizeof(NullState),
    .props = null_props,
    .is_protocol = true,
    .open = null_open,
    .preadv = null_preadv,
    .pwritev = null_pwritev,
    .flush = null_flush,
    .length = null_length,
};
