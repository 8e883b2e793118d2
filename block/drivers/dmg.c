/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Format 'dmg': Apple's disk images (UDIF), which are only read. Nobody has published a
 * specification; what is known of the format is in the headers of several readers.
 *
 * The file ends with a trailer ("koly"). It names a property list, or a resource fork in old
 * images, with tables ("mish") of chunks: sectors that are zeroes, stored, or compressed. Chunks
 * are unpacked as a whole, on the thread pool; those used last are kept.
 */
#include "dmg.h"

#include <errno.h>
#include <inttypes.h>
#include "base/iov.h"
#include "../core.h"
#include "drivers.h"

enum {
    KOLY_SIZE = 512, /* all fields are big-endian */
    KOLY_HEADER_SIZE = 8,
    KOLY_DATA_OFFSET = 24,
    KOLY_FORK_OFFSET = 40,
    KOLY_FORK_LENGTH = 48,
    KOLY_XML_OFFSET = 216,
    KOLY_XML_LENGTH = 224,
    KOLY_SECTORS = 492,
    MAX_TABLES = 16 * 1024 * 1024, /* bytes of the property list or the resource fork */
    MISH_SECTOR = 8,
    MISH_COUNT = 200,
    MISH_CHUNKS = 204,
    MISH_CHUNK_SIZE = 40,
    CHUNK_SECTOR = 8, /* of a chunk's entry, as are these */
    CHUNK_COUNT = 16,
    CHUNK_OFFSET = 24,
    CHUNK_LENGTH = 32,
    MAX_CHUNK = 64 * 1024 * 1024, /* bytes, packed or not */
    CACHE_BYTES = 32 * 1024 * 1024,
};

typedef struct {
    uint64_t sector, count;
    uint64_t offset, length; /* in the file */
    uint32_t type;
} Chunk;

typedef struct {
    unsigned refs;
    const Chunk *chunk;
    uint8_t *data;
} Unpacked;

typedef struct {
    json_t *file_config;
    uint64_t sectors, data_offset;
    int64_t file_length;
    GArray *chunks; /* of Chunk, sorted; what lies between two of them reads as zeroes */
    CoMutex lock;   /* for the cache */
    GQueue cache;   /* of Unpacked, the one used last first */
    uint64_t cached;
} DmgState;

static const Property dmg_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(DmgState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image"},
    PROP_END,
};

bool dmg_probe_tail(const uint8_t *tail, size_t len)
{
    const uint8_t *koly = tail + len - KOLY_SIZE;

    return len >= KOLY_SIZE && !memcmp(koly, "koly", 4) &&
           ldbe32(koly + KOLY_HEADER_SIZE) == KOLY_SIZE;
}

/* --- tables --- */

static bool is_zero(uint32_t type)
{
    return type == DMG_ZERO || type == DMG_IGNORE;
}

static bool add_chunk(DmgState *s, const uint8_t *e, uint64_t base, GError **err)
{
    Chunk c = {.type = ldbe32(e),
               .sector = base + ldbe64(e + CHUNK_SECTOR),
               .count = ldbe64(e + CHUNK_COUNT),
               .offset = s->data_offset + ldbe64(e + CHUNK_OFFSET),
               .length = ldbe64(e + CHUNK_LENGTH)};

    if (c.type == DMG_COMMENT || c.type == DMG_END || !c.count) {
        return true;
    }
    if (!is_zero(c.type) && !dmg_unpacker(c.type, err)) {
        return false;
    }
    if (c.sector > s->sectors || c.count > s->sectors - c.sector) {
        return error_set(err, "A chunk of the DMG image lies behind the end of the disk");
    }
    if (!is_zero(c.type) &&
        (c.offset > (uint64_t)s->file_length || c.length > (uint64_t)s->file_length - c.offset)) {
        return error_set(err, "A chunk of the DMG image lies behind the end of the file");
    }
    if (c.type == DMG_RAW && c.length < c.count * BLOCK_SECTOR_SIZE) {
        return error_set(err, "A chunk of the DMG image has less data than sectors");
    }
    if (!is_zero(c.type) && c.type != DMG_RAW &&
        (c.length > MAX_CHUNK || c.count > MAX_CHUNK / BLOCK_SECTOR_SIZE)) {
        return error_set(err, "A chunk of the DMG image is longer than %d MiB", MAX_CHUNK >> 20);
    }
    g_array_append_val(s->chunks, c);
    return true;
}

/* Other resources (licences, checksums) are passed over. */
static bool add_table(DmgState *s, const uint8_t *mish, size_t len, GError **err)
{
    uint64_t base, count;

    if (len < MISH_CHUNKS || memcmp(mish, "mish", 4)) {
        return true;
    }
    base = ldbe64(mish + MISH_SECTOR);
    count = ldbe32(mish + MISH_COUNT);
    if (count > (len - MISH_CHUNKS) / MISH_CHUNK_SIZE || base > s->sectors) {
        return error_set(err, "A table of the DMG image is not valid");
    }
    for (uint64_t i = 0; i < count; i++) {
        if (!add_chunk(s, mish + MISH_CHUNKS + i * MISH_CHUNK_SIZE, base, err)) {
            return false;
        }
    }
    return true;
}

/* Each <data> in the array of <key>blkx</key> is a table in base64. */
static bool parse_plist(DmgState *s, char *xml, GError **err)
{
    char *at = strstr(xml, "<key>blkx</key>"), *array_end, *end;

    if (!at) {
        return error_set(err, "The DMG image has no table of chunks");
    }
    array_end = strstr(at, "</array>");
    while ((at = strstr(at, "<data>")) && (!array_end || at < array_end)) {
        g_autofree uint8_t *table = NULL;
        gsize len;

        at += strlen("<data>");
        end = strstr(at, "</data>");
        if (!end) {
            return error_set(err, "The property list of the DMG image is cut off");
        }
        *end = '\0';
        table = g_base64_decode(at, &len);
        if (!add_table(s, table, len, err)) {
            return false;
        }
        at = end + 1;
    }
    return true;
}

/* Resources, one after the other, each with its length in front. */
static bool parse_fork(DmgState *s, const uint8_t *fork, size_t len, GError **err)
{
    uint64_t at = len >= 16 ? ldbe32(fork) : len, end = len >= 16 ? at + ldbe32(fork + 8) : len;

    if (end > len) {
        return error_set(err, "The resource fork of the DMG image is not valid");
    }
    while (end >= 4 && at <= end - 4) {
        uint64_t bytes = ldbe32(fork + at);

        at += 4;
        if (bytes > end - at) {
            return error_set(err, "The resource fork of the DMG image is not valid");
        }
        if (!add_table(s, fork + at, bytes, err)) {
            return false;
        }
        at += bytes;
    }
    return true;
}

static int compare_chunks(const void *a, const void *b)
{
    const Chunk *x = a, *y = b;

    return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static bool sort_chunks(DmgState *s, GError **err)
{
    g_array_sort(s->chunks, compare_chunks);
    for (unsigned i = 1; i < s->chunks->len; i++) {
        const Chunk *a = &g_array_index(s->chunks, Chunk, i - 1), *b = a + 1;

        if (a->sector + a->count > b->sector) {
            return error_set(err, "Two chunks of the DMG image are for the same sectors");
        }
    }
    return true;
}

/* --- opening --- */

static bool coroutine_fn read_tables(BlockNode *n, const uint8_t *koly, GError **err)
{
    DmgState *s = block_node_state(n);
    bool fork = ldbe64(koly + KOLY_XML_LENGTH) == 0;
    uint64_t offset = ldbe64(koly + (fork ? KOLY_FORK_OFFSET : KOLY_XML_OFFSET));
    uint64_t length = ldbe64(koly + (fork ? KOLY_FORK_LENGTH : KOLY_XML_LENGTH));
    g_autofree char *text = NULL;
    int ret;

    if (!length || offset > (uint64_t)s->file_length ||
        length > (uint64_t)s->file_length - offset) {
        return error_set(err, "The DMG image has no table of chunks within the file");
    }
    if (length > MAX_TABLES) {
        return error_set(err, "The tables of the DMG image are longer than %d MiB",
                         MAX_TABLES >> 20);
    }
    text = g_malloc(length + 1);
    ret = block_pread(n->file, offset, text, length);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the tables of the DMG image");
    }
    text[length] = '\0';
    return (fork ? parse_fork(s, (uint8_t *)text, length, err) : parse_plist(s, text, err)) &&
           sort_chunks(s, err);
}

static bool coroutine_fn load_image(BlockNode *n, GError **err)
{
    DmgState *s = block_node_state(n);
    uint8_t koly[KOLY_SIZE];
    int ret;

    s->file_length = block_exact_length(n->file);
    if (s->file_length < KOLY_SIZE) {
        return error_set(err, "The file is too short for a DMG image");
    }
    ret = block_pread(n->file, s->file_length - KOLY_SIZE, koly, sizeof koly);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the trailer of the DMG image");
    }
    if (!dmg_probe_tail(koly, sizeof koly)) {
        return error_set(err, "Not a DMG image: it does not end with a 'koly' trailer");
    }
    s->sectors = ldbe64(koly + KOLY_SECTORS);
    s->data_offset = ldbe64(koly + KOLY_DATA_OFFSET);
    if (s->sectors > BLOCK_MAX_LENGTH / BLOCK_SECTOR_SIZE ||
        s->data_offset > (uint64_t)s->file_length) {
        return error_set(err, "The trailer of the DMG image is not valid");
    }
    s->chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    if (!read_tables(n, koly, err)) {
        g_clear_pointer(&s->chunks, g_array_unref);
        return false;
    }
    return true;
}

static bool coroutine_fn dmg_open(BlockNode *n, GError **err)
{
    DmgState *s = block_node_state(n);

    if (!block_node_only_read(n, err) ||
        !block_open_child(n, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &n->file, err) ||
        !load_image(n, err)) {
        return false;
    }
    co_mutex_init(&s->lock);
    return true;
}

static void unpacked_unref(Unpacked *u)
{
    if (--u->refs == 0) {
        g_free(u->data);
        g_free(u);
    }
}

/* Nothing is in flight. */
static void forget_image(DmgState *s)
{
    Unpacked *u;

    while ((u = g_queue_pop_head(&s->cache))) {
        unpacked_unref(u);
    }
    s->cached = 0;
    g_clear_pointer(&s->chunks, g_array_unref);
}

static void dmg_close(BlockNode *n)
{
    DmgState *s = block_node_state(n);

    forget_image(s);
    co_mutex_destroy(&s->lock);
}

static int coroutine_fn dmg_inactivate(BlockNode *n)
{
    forget_image(block_node_state(n));
    return 0;
}

/* --- reading --- */

static uint64_t chunk_bytes(const Chunk *c)
{
    return c->count * BLOCK_SECTOR_SIZE;
}

/*
 * The chunk that has the byte; NULL: none, it reads as zero. *bytes (in: of the request) are cut to
 * what is alike.
 */
static const Chunk *chunk_at(const DmgState *s, uint64_t offset, uint64_t *bytes)
{
    unsigned low = 0, high = s->chunks->len; /* the first chunk that ends behind the byte */

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        const Chunk *c = &g_array_index(s->chunks, Chunk, mid);

        if (c->sector * BLOCK_SECTOR_SIZE + chunk_bytes(c) <= offset) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    if (low < s->chunks->len) {
        const Chunk *c = &g_array_index(s->chunks, Chunk, low);
        uint64_t start = c->sector * BLOCK_SECTOR_SIZE;

        if (start <= offset) {
            *bytes = MIN(*bytes, start + chunk_bytes(c) - offset);
            return c;
        }
        *bytes = MIN(*bytes, start - offset);
    }
    return NULL;
}

/* Under lock. The reference is the caller's. NULL: it is not in memory. */
static Unpacked *cache_find(DmgState *s, const Chunk *c)
{
    for (GList *l = s->cache.head; l; l = l->next) {
        Unpacked *u = l->data;

        if (u->chunk == c) {
            g_queue_unlink(&s->cache, l);
            g_queue_push_head_link(&s->cache, l);
            u->refs++;
            return u;
        }
    }
    return NULL;
}

/* Under lock. */
static void cache_add(DmgState *s, Unpacked *u)
{
    u->refs++;
    g_queue_push_head(&s->cache, u);
    s->cached += chunk_bytes(u->chunk);
    while (s->cached > CACHE_BYTES && s->cache.length > 1) {
        Unpacked *old = g_queue_pop_tail(&s->cache);

        s->cached -= chunk_bytes(old->chunk);
        unpacked_unref(old);
    }
}

static int unpack_work(void *data)
{
    return dmg_unpack(data);
}

/* Reads a chunk and unpacks it: a new Unpacked, or NULL and -errno. */
static Unpacked *coroutine_fn unpack(BlockNode *n, const Chunk *c, int *ret)
{
    block_auto_buffer uint8_t *packed = block_buffer_new(n->file, c->length);
    Unpacked *u = g_new0(Unpacked, 1);
    DmgWork w = {.type = c->type, .in = packed, .in_len = c->length, .out_len = chunk_bytes(c)};

    u->refs = 1;
    u->chunk = c;
    u->data = w.out = g_try_malloc(w.out_len);
    *ret = packed && u->data ? block_pread(n->file, c->offset, packed, c->length) : -ENOMEM;
    *ret = *ret < 0 ? *ret : co_pool_run(unpack_work, &w);
    if (*ret < 0) {
        unpacked_unref(g_steal_pointer(&u));
    }
    return u;
}

static int coroutine_fn read_packed(BlockNode *n, const Chunk *c, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    DmgState *s = block_node_state(n);
    Unpacked *u, *other;
    int ret = 0;

    co_mutex_lock(&s->lock);
    u = cache_find(s, c);
    co_mutex_unlock(&s->lock);
    if (!u) {
        u = unpack(n, c, &ret);
        if (!u) {
            return ret;
        }
        co_mutex_lock(&s->lock);
        other = cache_find(s, c); /* somebody may have been as fast */
        if (other) {
            unpacked_unref(other);
        } else {
            cache_add(s, u);
        }
        co_mutex_unlock(&s->lock);
    }
    iov_from_buf(iov, niov, 0, u->data + (offset - c->sector * BLOCK_SECTOR_SIZE), bytes);
    co_mutex_lock(&s->lock);
    unpacked_unref(u);
    co_mutex_unlock(&s->lock);
    return 0;
}

static int coroutine_fn dmg_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    DmgState *s = block_node_state(n);
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    int ret = 0;

    for (uint64_t done = 0, len; done < bytes && ret == 0; done += len) {
        const Chunk *c;
        unsigned parts;

        len = bytes - done;
        c = chunk_at(s, offset + done, &len);
        parts = iov_slice(part, niov, iov, niov, done, len);
        if (!c || is_zero(c->type)) {
            iov_memset(part, parts, 0, 0, len);
        } else if (c->type == DMG_RAW) {
            uint64_t inside = offset + done - c->sector * BLOCK_SECTOR_SIZE;

            ret = block_preadv(n->file, c->offset + inside, len, part, parts);
        } else {
            ret = read_packed(n, c, offset + done, len, part, parts);
        }
    }
    return ret;
}

static int coroutine_fn dmg_block_status(BlockNode *n, uint64_t offset, uint64_t bytes,
                                         uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    DmgState *s = block_node_state(n);
    const Chunk *c = chunk_at(s, offset, &bytes);

    *pnum = bytes;
    if (!c || is_zero(c->type)) {
        return BLOCK_STATUS_ZERO;
    }
    if (c->type != DMG_RAW) {
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_COMPRESSED;
    }
    *map = c->offset + (offset - c->sector * BLOCK_SECTOR_SIZE);
    *file = n->file;
    return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID;
}

static int64_t dmg_length(BlockNode *n)
{
    DmgState *s = block_node_state(n);

    return s->sectors * BLOCK_SECTOR_SIZE;
}

const BlockDriver block_driver_dmg = {
    .name = "dmg",
    .help = "Apple's disk images (UDIF), to be read",
    .size = sizeof(DmgState),
    .props = dmg_props,
    .open = dmg_open,
    .close = dmg_close,
    .reopen_prepare = block_node_reopen_only_read,
    .inactivate = dmg_inactivate,
    .activate = load_image,
    .preadv = dmg_preadv,
    .block_status = dmg_block_status,
    .length = dmg_length,
};
