/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens and closes an image: regions, metadata, the table of blocks; the check. */
#include <errno.h>
#include <inttypes.h>
#include "base/iov.h"
#include "base/log.h"
#include "vhdx.h"

enum { READ_STEP = 64 * 1024 };

/* --- regions: 2.2.3 --- */

typedef struct {
    BlockNode *n;
    VhdxState *s;
    int64_t file_length;
    uint64_t table_length; /* of the BAT region */
    uint64_t metadata, metadata_length;
} Opening;

/* The header section, the log and regions may not overlap. */
static bool add_place(Opening *o, uint64_t start, uint64_t length, GError **err)
{
    Place p = {start, start + length};

    if (p.start >= (uint64_t)o->file_length) {
        return error_set(err,
                         "VHDX region %" PRIu64 "-%" PRIu64 " lies behind the end of the file "
                         "(%" PRId64 "). Image has probably been truncated.",
                         p.start, p.end, o->file_length);
    }
    for (unsigned i = 0; i < o->s->places->len; i++) {
        Place *q = &g_array_index(o->s->places, Place, i);

        if (p.start < q->end && q->start < p.end) {
            return error_set(err,
                             "VHDX region %" PRIu64 "-%" PRIu64 " overlaps with region %" PRIu64
                             "-%" PRIu64,
                             p.start, p.end, q->start, q->end);
        }
    }
    g_array_append_val(o->s->places, p);
    return true;
}

static bool regions_valid(const uint8_t *t)
{
    return !memcmp(t, "regi", 4) && vhdx_crc_fits(t, VHDX_REGIONS_SIZE) &&
           ldle32(t + REG_COUNT) <= VHDX_MAX_REGIONS;
}

static bool take_region(Opening *o, const uint8_t *e, GError **err)
{
    VhdxState *s = o->s;
    uint64_t offset = ldle64(e + REG_ENTRY_OFFSET), length = ldle32(e + REG_ENTRY_LENGTH);

    if (!IS_ALIGNED(offset, VHDX_ALIGN) || !IS_ALIGNED(length, VHDX_ALIGN) || !length ||
        offset > INT64_MAX / 2) {
        return error_set(err, "VHDX region at %#" PRIx64 " of %#" PRIx64 " bytes is not aligned",
                         offset, length);
    }
    if (!add_place(o, offset, length, err)) {
        return false;
    }
    if (!memcmp(e, vhdx_guid_bat, VHDX_GUID)) {
        s->table_offset = offset;
        o->table_length = length;
    } else if (!memcmp(e, vhdx_guid_metadata, VHDX_GUID)) {
        o->metadata = offset;
        o->metadata_length = length;
    } else if (ldle32(e + REG_ENTRY_REQUIRED) & 1) {
        return error_set(err, "The VHDX image has a region of an unknown kind that must be known");
    }
    return true;
}

static bool coroutine_fn read_regions(Opening *o, GError **err)
{
    block_auto_buffer uint8_t *t = block_buffer_new(o->n->file, VHDX_REGIONS_SIZE);
    bool found = false;

    if (!t) {
        return error_set_errno(err, ENOMEM, "Could not read the VHDX region table");
    }
    for (int copy = 0; copy < 2 && !found; copy++) {
        found = block_pread(o->n->file, copy ? VHDX_REGIONS_2 : VHDX_REGIONS_1, t,
                            VHDX_REGIONS_SIZE) == 0 &&
                regions_valid(t);
    }
    if (!found) {
        return error_set(err, "No valid VHDX region table found");
    }
    if (!add_place(o, 0, VHDX_HEADER_SECTION, err) ||
        !add_place(o, o->s->log_offset, o->s->log_length, err)) {
        return false;
    }
    for (uint32_t i = 0; i < ldle32(t + REG_COUNT); i++) {
        if (!take_region(o, t + REG_ENTRIES + i * (size_t)REG_ENTRY_SIZE, err)) {
            return false;
        }
    }
    if (!o->table_length || !o->metadata_length) {
        return error_set(err, "The VHDX image has no %s region",
                         o->table_length ? "metadata" : "block allocation table");
    }
    return true;
}

/* --- metadata: 2.6 --- */

typedef struct {
    const uint8_t *guid;
    uint32_t length;
    uint8_t *value;
    bool found;
} Item;

static bool coroutine_fn read_item(Opening *o, const uint8_t *e, Item *item, GError **err)
{
    uint32_t offset = ldle32(e + META_ENTRY_OFFSET), length = ldle32(e + META_ENTRY_LENGTH);
    int ret;

    if (offset < META_TABLE_SIZE || offset > o->metadata_length - item->length ||
        length < item->length || item->found) {
        return error_set(err,
                         "The VHDX metadata item at %#" PRIx32 " (%" PRIu32 " bytes) is not valid",
                         offset, length);
    }
    ret = block_pread(o->n->file, o->metadata + offset, item->value, item->length);
    item->found = ret == 0;
    return ret < 0 ? error_set_errno(err, -ret, "Could not read the VHDX metadata") : true;
}

static bool coroutine_fn read_items(Opening *o, Item *items, unsigned n, GError **err)
{
    block_auto_buffer uint8_t *t = block_buffer_new(o->n->file, META_TABLE_SIZE);
    int ret = t ? block_pread(o->n->file, o->metadata, t, META_TABLE_SIZE) : -ENOMEM;

    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the VHDX metadata");
    }
    if (memcmp(t, "metadata", 8) || ldle16(t + META_COUNT) > META_MAX_ENTRIES) {
        return error_set(err, "The VHDX metadata table is not valid");
    }
    for (unsigned i = 0; i < ldle16(t + META_COUNT); i++) {
        const uint8_t *e = t + META_ENTRIES + i * (size_t)META_ENTRY_SIZE;
        Item *item = NULL;

        for (unsigned k = 0; k < n; k++) {
            item = memcmp(e, items[k].guid, VHDX_GUID) ? item : &items[k];
        }
        if (item && !read_item(o, e, item, err)) {
            return false;
        }
        if (!item && (ldle32(e + META_ENTRY_FLAGS) & META_REQUIRED) &&
            memcmp(e, vhdx_guid_parent, VHDX_GUID)) {
            return error_set(err, "The VHDX image has metadata of an unknown kind that must be "
                                  "known");
        }
    }
    return true;
}

static bool coroutine_fn read_metadata(Opening *o, GError **err)
{
    VhdxState *s = o->s;
    uint8_t parameters[8], size[8], logical[4], physical[4];
    uint8_t id[VHDX_GUID];
    Item items[] = {{vhdx_guid_parameters, sizeof parameters, parameters, false},
                    {vhdx_guid_size, sizeof size, size, false},
                    {vhdx_guid_logical, sizeof logical, logical, false},
                    {vhdx_guid_physical, sizeof physical, physical, false},
                    {vhdx_guid_disk_id, sizeof id, id, false}};
    uint32_t sector;

    if (!read_items(o, items, ARRAY_SIZE(items), err)) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
        if (!items[i].found) {
            return error_set(err, "The VHDX image lacks metadata that each has");
        }
    }
    if (ldle32(parameters + 4) & PARAM_HAS_PARENT) {
        return error_set(err,
                         "'%s' is a differencing VHDX image, which is not supported; its "
                         "parent has what is not in it: merge the two with the tool that made "
                         "them",
                         o->n->file->filename);
    }
    s->block_size = ldle32(parameters);
    s->size = ldle64(size);
    sector = ldle32(logical);
    if (!is_power_of_2(s->block_size) || s->block_size < MiB || s->block_size > 256 * MiB) {
        return error_set(err, "Invalid VHDX block size %" PRIu32, s->block_size);
    }
    if (sector != 512 && sector != 4096) {
        return error_set(err, "Invalid VHDX logical sector size %" PRIu32, sector);
    }
    if (!IS_ALIGNED(s->size, sector) || s->size > VHDX_MAX_SIZE) {
        return error_set(err, "Invalid VHDX disk size %" PRIu64, s->size);
    }
    s->chunk = (uint64_t)(1u << 23) * sector / s->block_size;
    return true;
}

/* --- the table: 2.5 --- */

static bool coroutine_fn read_table(Opening *o, GError **err)
{
    VhdxState *s = o->s;
    block_auto_buffer uint8_t *buf = block_buffer_new(o->n->file, READ_STEP);
    uint64_t blocks = DIV_ROUND_UP(s->size, s->block_size), bytes;

    s->entries = blocks ? vhdx_index(s, blocks - 1) + 1 : 0;
    bytes = ROUND_UP(s->entries * 8, VHDX_SECTOR);
    if (bytes > o->table_length) {
        return error_set(err, "The VHDX block allocation table is too small for the disk");
    }
    if (s->table_offset + bytes > (uint64_t)o->file_length) {
        return error_set(err, "The VHDX block allocation table reaches past the end of the file");
    }
    s->table_room = bytes / 8;
    /* Entries of blocks that are not there are zero, mostly: they cost nothing. */
    s->table = sparse_try_new(MAX(bytes, 1));
    s->dirty = g_try_malloc0(MAX(bytes / VHDX_SECTOR, 1));
    if (!s->table || !s->dirty || !buf) {
        return error_set_errno(err, ENOMEM, "Could not read the VHDX block allocation table");
    }
    for (uint64_t done = 0, len; done < bytes; done += len) {
        int ret;

        len = MIN(bytes - done, READ_STEP);
        ret = block_pread(o->n->file, s->table_offset + done, buf, len);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not read the VHDX block allocation table");
        }
        for (uint64_t i = 0; i < len / 8 && !buffer_is_zero(buf, len); i++) {
            uint64_t entry = ldle64(buf + 8 * i);

            if (entry) {
                s->table[done / 8 + i] = entry;
            }
        }
    }
    return true;
}

/* How many bytes of the file the block needs at least: the disk's last one may be cut short. */
static uint64_t block_needs(const VhdxState *s, uint64_t block)
{
    return MIN(s->block_size, s->size - block * s->block_size);
}

typedef void (*BadEntry)(void *data, const char *text);

static void bad_entry(BadEntry report, void *data, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
static void bad_entry(BadEntry report, void *data, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    report(data, text);
}

/* Whether the entry's block is within the file, and not in another structure's place. */
static bool entry_fits(const VhdxState *s, int64_t file_length, uint64_t index, uint64_t block,
                       BadEntry report, void *data)
{
    uint64_t entry = s->table[index], start = BAT_OFFSET(entry), end;

    if (start > INT64_MAX - s->block_size) {
        bad_entry(report, data, "VHDX BAT entry %" PRIu64 " offset overflow.", index);
        return false;
    }
    end = start + s->block_size - 1;
    if (start >= (uint64_t)file_length) {
        bad_entry(report, data,
                  "VHDX BAT entry %" PRIu64 " start offset %" PRIu64
                  " points after end of file (%" PRId64 "). Image has probably been truncated.",
                  index, start, file_length);
        return false;
    }
    if (start + block_needs(s, block) > (uint64_t)file_length) {
        bad_entry(report, data,
                  "VHDX BAT entry %" PRIu64 " end offset %" PRIu64
                  " points after end of file (%" PRId64 "). Image has probably been truncated.",
                  index, end, file_length);
        return false;
    }
    for (unsigned i = 0; i < s->places->len; i++) {
        const Place *p = &g_array_index(s->places, Place, i);

        if (start < p->end && p->start <= end) {
            bad_entry(report, data,
                      "VHDX region %" PRIu64 "-%" PRIu64 " overlaps with region %" PRIu64
                      "-%" PRIu64 ". BAT entry %" PRIu64,
                      start, end + 1, p->start, p->end, index);
            return false;
        }
    }
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Looks at all entries. Returns how many are wrong. */
static uint64_t look_at_table(VhdxState *s, int64_t file_length, BadEntry report, void *data)
{
    g_autoptr(GArray) starts = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    uint64_t blocks = DIV_ROUND_UP(s->size, s->block_size), wrong = 0;

    s->end = VHDX_HEADER_SECTION;
    for (unsigned i = 0; i < s->places->len; i++) {
        s->end = MAX(s->end, g_array_index(s->places, Place, i).end);
    }
    for (uint64_t block = 0; block < blocks; block++) {
        uint64_t index = vhdx_index(s, block), start = BAT_OFFSET(s->table[index]);

        if (BAT_STATE(s->table[index]) == BLOCK_PRESENT) {
            wrong += !entry_fits(s, file_length, index, block, report, data);
            g_array_append_val(starts, start);
        }
        /* Other states may keep a place as well: it is left alone. */
        if (start && start < INT64_MAX / 2) {
            s->end = MAX(s->end, start + s->block_size);
        }
    }
    g_array_sort(starts, compare_u64);
    s->overlap = false;
    for (unsigned i = 1; i < starts->len; i++) {
        uint64_t a = g_array_index(starts, uint64_t, i - 1), b = g_array_index(starts, uint64_t, i);

        if (b - a < s->block_size) {
            bad_entry(report, data, "VHDX blocks at %" PRIu64 " and %" PRIu64 " overlap.", a, b);
            s->overlap = true;
            wrong++;
        }
    }
    return wrong;
}

/* --- open and close --- */

static void forget_image(VhdxState *s)
{
    if (s->table) {
        sparse_free(s->table, MAX(s->table_room * 8, 1));
        s->table = NULL;
    }
    g_clear_pointer(&s->dirty, g_free);
    g_clear_pointer(&s->places, g_array_unref);
    s->dirty_first = s->dirty_end = 0;
    s->table_room = 0;
    s->loaded = s->overlap = s->log_used = s->marked = false;
    s->size = 0;
}

static void first_text(void *data, const char *text)
{
    GString *s = data;

    if (!s->len) {
        g_string_assign(s, text);
    }
}

/* All but the header, which comes first, and the log, which is empty or replayed. */
static bool coroutine_fn load_image(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);
    Opening o = {.n = n, .s = s, .file_length = block_exact_length(n->file)};
    g_autoptr(GString) text = g_string_new(NULL);
    uint64_t wrong;

    if (o.file_length < 0) {
        return error_set_errno(err, -o.file_length, "Could not get image size");
    }
    s->places = g_array_new(FALSE, FALSE, sizeof(Place));
    if (!read_regions(&o, err) || !read_metadata(&o, err) || !read_table(&o, err)) {
        return false;
    }
    wrong = look_at_table(s, o.file_length, first_text, text);
    /* Overlapping blocks can be read. */
    if (wrong && !n->checking && (!s->overlap || !n->read_only)) {
        return error_set(err, "%s", text->str);
    }
    s->loaded = true;
    return true;
}

static bool coroutine_fn begin_image(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);
    uint8_t signature[8];
    int ret = block_pread(n->file, 0, signature, sizeof signature);

    s->replayed = false;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the VHDX signature");
    }
    if (memcmp(signature, "vhdxfile", 8)) {
        return error_set(err, "Not a VHDX image: it does not begin with 'vhdxfile'");
    }
    if (!vhdx_read_header(n, err)) {
        return false;
    }
    if (vhdx_log_named(s)) {
        if (n->read_only) {
            /* The reading alone tells whether the log has entries. */
            return vhdx_log_empty(n, err) ? load_image(n, err) : false;
        }
        return true; /* vhdx_opened() replays the log, and loads the image */
    }
    return load_image(n, err);
}

bool coroutine_fn vhdx_open(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);

    if (!block_open_child(n, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &n->file, err)) {
        return false;
    }
    if (!begin_image(n, err)) {
        forget_image(s);
        return false;
    }
    co_mutex_init(&s->lock);
    return true;
}

bool coroutine_fn vhdx_opened(BlockNode *n, GError **err)
{
    VhdxState *s = block_node_state(n);

    if (!s->loaded && (!vhdx_replay(n, err) || !load_image(n, err))) {
        return false;
    }
    if (!n->read_only && !n->checking && s->overlap) {
        return error_set(err, "vhdx: Image is corrupt: two of its blocks are in one place; cannot "
                              "be opened read/write");
    }
    if (!n->read_only && s->log_length < VHDX_ALIGN) {
        return error_set(err, "vhdx: the image has no log; cannot be opened read/write");
    }
    return true;
}

/* A new block that could not be cleared may have left a part of one at the end. */
static int coroutine_fn round_file_up(BlockNode *n)
{
    int64_t length = block_exact_length(n->file);

    if (length < 0 || IS_ALIGNED(length, VHDX_ALIGN)) {
        return MIN(length, 0);
    }
    return block_truncate(n->file, ROUND_UP(length, VHDX_ALIGN), NULL);
}

/* Writes everything back, and leaves an empty log. */
static int coroutine_fn settle(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    int ret = 0;

    if (!s->loaded || n->read_only) {
        return 0;
    }
    co_mutex_lock(&s->lock);
    ret = vhdx_write_table(n);
    ret = ret < 0 || !s->marked ? ret : round_file_up(n);
    ret = ret < 0 ? ret : vhdx_end_log(n);
    co_mutex_unlock(&s->lock);
    return ret;
}

void coroutine_fn vhdx_close(BlockNode *n)
{
    VhdxState *s = block_node_state(n);
    int ret = n->inactive ? 0 : settle(n);

    if (ret < 0) {
        log_error("vhdx: '%s' could not be closed cleanly: %s", n->filename, g_strerror(-ret));
    }
    forget_image(s);
    co_mutex_destroy(&s->lock);
}

/* A reader would not replay the log. */
bool coroutine_fn vhdx_reopen_prepare(BlockNode *n, const BlockNodeOptions *opts, const void *props,
                                      bool *read_only, GError **err)
{
    VhdxState *s = block_node_state(n);
    int ret = *read_only ? settle(n) : 0;

    if (!*read_only && s->overlap) {
        return error_set(err, "vhdx: Image is corrupt; cannot be opened read/write");
    }
    return ret < 0 ? error_set_errno(err, -ret, "Could not write back '%s'", n->filename) : true;
}

int coroutine_fn vhdx_inactivate(BlockNode *n)
{
    int ret = settle(n);

    if (ret == 0) {
        forget_image(block_node_state(n));
    }
    return ret;
}

bool coroutine_fn vhdx_activate(BlockNode *n, GError **err)
{
    forget_image(block_node_state(n));
    return begin_image(n, err) && vhdx_opened(n, err);
}

/* --- check --- */

static void check_text(void *data, const char *text)
{
    if (!*(bool *)data) {
        log_error("%s", text);
    }
}

int coroutine_fn vhdx_check(BlockNode *n, BlockCheckResult *res, unsigned fix)
{
    VhdxState *s = block_node_state(n);
    int64_t file_length = block_exact_length(n->file);
    bool quiet = fix & BLOCK_CHECK_QUIET;
    uint64_t end = s->end;

    if (file_length < 0) {
        return file_length;
    }
    if (s->replayed) {
        res->corruptions_fixed++; /* the image was not as it should be: QEMU counts that so */
        s->replayed = false;
    }
    res->corruptions += look_at_table(s, file_length, check_text, &quiet);
    s->end = MAX(s->end, end);
    return 0;
}
