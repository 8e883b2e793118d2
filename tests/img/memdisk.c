/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "memdisk.h"

#include <errno.h>
#include <string.h>
#include "../../block/drivers/drivers.h"
#include "../../block/core.h"
#include "base/iov.h"
#include "base/keyval.h"
#include "base/util.h"

typedef struct {
    char *name;
    MemDisk *disk;
} MemState;

static const Property memdisk_props[] = {
    {.name = "name",
     .type = PROP_STRING,
     .offset = offsetof(MemState, name),
     .flags = PROP_FLAG_REQUIRED,
     .help = "which disk"},
    PROP_END,
};

static GHashTable *disks;
static unsigned serial; /* of the last event */

static void event_clear(void *p)
{
    g_free(((MemEvent *)p)->data);
}

MemDisk *memdisk_new(const char *name)
{
    MemDisk *m = g_new0(MemDisk, 1);

    disks = disks ? disks : g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    m->log = g_array_new(FALSE, FALSE, sizeof(MemEvent));
    g_array_set_clear_func(m->log, event_clear);
    m->rand = g_rand_new_with_seed(1);
    g_hash_table_replace(disks, g_strdup(name), m);
    return m;
}

MemDisk *memdisk_find(const char *name)
{
    return disks ? g_hash_table_lookup(disks, name) : NULL;
}

static gboolean is_value(gpointer key, gpointer value, gpointer data)
{
    return value == data;
}

void memdisk_free(MemDisk *m)
{
    if (!m) {
        return;
    }
    g_hash_table_foreach_remove(disks, is_value, m);
    g_array_unref(m->log);
    g_rand_free(m->rand);
    g_free(m->data);
    g_free(m);
}

void memdisk_free_all(void)
{
    GHashTableIter it;
    gpointer value;

    while (disks && g_hash_table_size(disks)) {
        g_hash_table_iter_init(&it, disks);
        g_hash_table_iter_next(&it, NULL, &value);
        memdisk_free(value);
    }
    g_clear_pointer(&disks, g_hash_table_unref);
}

static bool ensure(MemDisk *m, size_t end)
{
    if (m->max_length && end > m->max_length) {
        return false;
    }
    if (end > m->capacity) {
        size_t capacity = MAX(end, m->capacity * 2);
        m->data = g_realloc(m->data, capacity);
        memset(m->data + m->capacity, 0, capacity - m->capacity);
        m->capacity = capacity;
    }
    m->length = MAX(m->length, end);
    return true;
}

void memdisk_set(MemDisk *m, const void *data, size_t length)
{
    g_free(m->data);
    m->data = NULL;
    m->length = m->capacity = 0;
    ensure(m, length);
    if (length) {
        memcpy(m->data, data, length);
    }
}

void memdisk_clear_log(MemDisk *m)
{
    g_array_set_size(m->log, 0);
}

/* Whether this write or flush is one that fails. */
static bool memdisk_fails(MemDisk *m)
{
    if (!m->fail_in || --m->fail_in) {
        return false;
    }
    m->failed++;
    m->fail_in = m->fail_for_good ? 1 : 0;
    return true;
}

static bool chance(MemDisk *m, unsigned percent)
{
    return percent && g_rand_int_range(m->rand, 0, 100) < (int)percent;
}

static void coroutine_fn maybe_yield(MemDisk *m)
{
    while (chance(m, m->yield_percent)) {
        coroutine_wake(coroutine_self());
        coroutine_yield();
    }
}

static void cut_apply(GByteArray *image, const MemEvent *e, uint64_t from, uint64_t to)
{
    if (e->offset + to > image->len) {
        unsigned old = image->len;
        g_byte_array_set_size(image, e->offset + to);
        memset(image->data + old, 0, image->len - old);
    }
    if (e->data) {
        memcpy(image->data + e->offset + from, e->data + from, to - from);
    } else {
        memset(image->data + e->offset + from, 0, to - from);
    }
}

static void cut_apply_event(GByteArray *image, const MemEvent *e, GRand *rand)
{
    if (e->kind == MEM_TRUNCATE) {
        unsigned old = image->len;
        g_byte_array_set_size(image, e->offset);
        if (image->len > old) {
            memset(image->data + old, 0, image->len - old);
        }
        return;
    }
    if (e->kind != MEM_WRITE) {
        return;
    }
    if (!rand) {
        cut_apply(image, e, 0, e->bytes);
        return;
    }
    switch (g_rand_int_range(rand, 0, 4)) {
    case 0:
        return; /* lost */
    case 1:
    case 2:
        cut_apply(image, e, 0, e->bytes);
        return;
    default:
        /* A disk writes each sector wholly or not at all, in any order. */
        for (uint64_t at = 0; at < e->bytes;) {
            uint64_t to =
                MIN(ROUND_DOWN(e->offset + at, BLOCK_SECTOR_SIZE) + BLOCK_SECTOR_SIZE - e->offset,
                    e->bytes);
            if (g_rand_boolean(rand)) {
                cut_apply(image, e, at, to);
            }
            at = to;
        }
    }
}

unsigned memdisk_stable(const GArray *log, unsigned cut)
{
    unsigned stable = 0;

    for (unsigned i = 0; i < cut; i++) {
        const MemEvent *e = &g_array_index(log, MemEvent, i);
        if (e->kind == MEM_FLUSH) {
            stable = MAX(stable, e->bytes);
        }
    }
    return stable;
}

GByteArray *memdisk_after_choice(const GArray *log, unsigned cut,
                                 bool (*keep)(unsigned event, uint64_t sector, void *data),
                                 void *data)
{
    GByteArray *image = g_byte_array_new();
    unsigned stable = memdisk_stable(log, cut);

    for (unsigned i = 0; i < cut; i++) {
        const MemEvent *e = &g_array_index(log, MemEvent, i);

        if (i < stable || e->kind != MEM_WRITE) {
            cut_apply_event(image, e, NULL);
            continue;
        }
        for (uint64_t at = 0, to; at < e->bytes; at = to) {
            to = MIN(ROUND_DOWN(e->offset + at, BLOCK_SECTOR_SIZE) + BLOCK_SECTOR_SIZE - e->offset,
                     e->bytes);
            if (keep(i, (e->offset + at) / BLOCK_SECTOR_SIZE, data)) {
                cut_apply(image, e, at, to);
            }
        }
    }
    return image;
}

GByteArray *memdisk_after_cut(const GArray *log, unsigned cut, GRand *rand)
{
    GByteArray *image = g_byte_array_new();
    unsigned stable = memdisk_stable(log, cut);

    for (unsigned i = 0; i < cut; i++) {
        cut_apply_event(image, &g_array_index(log, MemEvent, i), i < stable ? NULL : rand);
    }
    return image;
}

static bool memdisk_open(BlockNode *node, GError **err)
{
    MemState *s = block_node_state(node);

    s->disk = memdisk_find(s->name);
    if (!s->disk) {
        g_set_error(err, G_FILE_ERROR, ENOENT, "no memory disk '%s'", s->name);
        return false;
    }
    node->filename = g_strdup(s->name);
    return true;
}

static int coroutine_fn memdisk_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                       const struct iovec *iov, unsigned niov)
{
    MemDisk *m = ((MemState *)block_node_state(node))->disk;
    uint64_t inside;

    maybe_yield(m);
    inside = offset < m->length ? MIN(bytes, m->length - offset) : 0;
    if (inside) {
        iov_from_buf(iov, niov, 0, m->data + offset, inside);
    }
    iov_memset(iov, niov, inside, 0, bytes - inside);
    m->reads++;
    maybe_yield(m);
    return 0;
}

static void log_event(MemDisk *m, int kind, uint64_t offset, uint64_t bytes,
                      const struct iovec *iov, unsigned niov)
{
    MemEvent e = {.kind = kind, .serial = ++serial, .offset = offset, .bytes = bytes};

    if (!m->logging) {
        return;
    }
    if (iov) {
        e.data = g_malloc(bytes);
        iov_to_buf(iov, niov, 0, e.data, bytes);
    }
    g_array_append_val(m->log, e);
}

static int coroutine_fn memdisk_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov, unsigned flags)
{
    MemDisk *m = ((MemState *)block_node_state(node))->disk;
    bool fails;

    maybe_yield(m);
    m->writes++;
    fails = memdisk_fails(m);
    if ((fails && !m->fail_written) || chance(m, m->fail_percent)) {
        block_node_wrote(node);
        return -EIO;
    }
    if (!ensure(m, offset + bytes)) {
        return -ENOSPC;
    }
    iov_to_buf(iov, niov, 0, m->data + offset, bytes);
    log_event(m, MEM_WRITE, offset, bytes, iov, niov);
    block_node_wrote(node);
    maybe_yield(m);
    return fails ? -EIO : 0;
}

static int coroutine_fn memdisk_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    MemDisk *m = ((MemState *)block_node_state(node))->disk;
    uint64_t inside = offset < m->length ? MIN(bytes, m->length - offset) : 0;

    maybe_yield(m);
    if (inside) {
        /* Discarded bytes read as zeroes, as in a hole; callers must not rely on it. */
        memset(m->data + offset, 0, inside);
        log_event(m, MEM_WRITE, offset, inside, NULL, 0);
        block_node_wrote(node);
    }
    return 0;
}

static int coroutine_fn memdisk_flush(BlockNode *node)
{
    MemDisk *m = ((MemState *)block_node_state(node))->disk;
    unsigned upto = m->log->len;

    maybe_yield(m);
    for (unsigned i = m->flush_turns ? g_rand_int_range(m->rand, 0, m->flush_turns + 1) : 0; i;
         i--) {
        coroutine_wake(coroutine_self());
        coroutine_yield();
    }
    m->flushes++;
    if (memdisk_fails(m) || chance(m, m->fail_percent)) {
        return -EIO;
    }
    if (m->logging) {
        /* Covers the writes that were complete when the flush was submitted. */
        MemEvent e = {.kind = MEM_FLUSH, .serial = ++serial, .bytes = upto};
        g_array_append_val(m->log, e);
    }
    return 0;
}

static int coroutine_fn memdisk_truncate(BlockNode *node, uint64_t size, GError **err)
{
    MemDisk *m = ((MemState *)block_node_state(node))->disk;

    if (size < m->length) {
        memset(m->data + size, 0, m->length - size);
        m->length = size;
    } else if (!ensure(m, size)) {
        g_set_error(err, G_FILE_ERROR, ENOSPC, "no space");
        return -ENOSPC;
    }
    log_event(m, MEM_TRUNCATE, size, 0, NULL, 0);
    block_node_wrote(node);
    return 0;
}

static int64_t memdisk_length(BlockNode *node)
{
    return ((MemState *)block_node_state(node))->disk->length;
}

const BlockDriver memdisk_driver = {
    .name = "memdisk",
    .help = "a test's disk",
    .size = sizeof(MemState),
    .props = memdisk_props,
    .is_protocol = true,
    .open = memdisk_open,
    .preadv = memdisk_preadv,
    .pwritev = memdisk_pwritev,
    .pdiscard = memdisk_pdiscard,
    .flush = memdisk_flush,
    .truncate = memdisk_truncate,
    .length = memdisk_length,
};

EventLoop *imgtest_init(void)
{
    EventLoop *loop = event_loop_new("test", NULL);

    g_assert(loop);
    event_loop_bind(loop);
    block_drivers_add(&memdisk_driver);
    return loop;
}

void imgtest_quiet(void)
{
    /* Not freopen(): sanitizers write to the descriptor. */
    if (!getenv("VERBOSE")) {
        stderr = fopen("/dev/null", "we");
        g_assert(stderr);
    }
}

BlockNode *imgtest_open(const char *format, const char *name, const char *extra_json, GError **err)
{
    return imgtest_open_as(format, name, extra_json, 0, err);
}

BlockNode *imgtest_open_as(const char *format, const char *name, const char *extra_json,
                           unsigned how, GError **err)
{
    json_auto_t *tree =
        json_pack("{s:s,s:{s:s,s:s}}", "driver", format, "file", "driver", "memdisk", "name", name);

    if (extra_json) {
        json_auto_t *extra = json_loads(extra_json, 0, NULL);
        g_assert(extra);
        json_object_update(tree, extra);
    }
    return block_image_open(tree, how, err);
}

typedef struct {
    const BlockDriver *driver;
    BlockNode *file;
    void *options;
    GError *err;
} Create;

static int coroutine_fn create_fn(void *data)
{
    Create *c = data;
    bool zero = true;

    return c->driver->create(c->file, c->options, &zero, &c->err) ? 0 : -1;
}

MemDisk *imgtest_create(const char *name, const char *format, const char *options)
{
    MemDisk *m = memdisk_new(name);
    json_auto_t *tree = json_pack("{s:s,s:s}", "driver", "memdisk", "name", name);
    json_auto_t *parsed = keyval_parse(options, NULL, NULL, false, NULL);
    Create c = {.driver = block_driver_find(format)};
    int ret;

    g_assert(parsed);
    c.options = g_malloc0(c.driver->create_size);
    properties_init(c.driver->create_props, c.options);
    if (!properties_apply(c.driver->create_props, c.options, parsed, NULL, "image", &c.err)) {
        g_error("%s", c.err->message);
    }
    c.file = block_image_open(tree, BLOCK_IMAGE_RESIZES, &c.err);
    g_assert(c.file);
    ret = block_run(create_fn, &c);
    if (ret < 0) {
        g_error("%s: %s", options, c.err->message);
    }
    block_node_unref(c.file);
    properties_clear(c.driver->create_props, c.options);
    g_free(c.options);
    return m;
}
