/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens and closes an image: tables in memory, backing and data file, preparation for writing. */
#include <errno.h>
#include "base/log.h"
#include "qcow2.h"

/* Checks offset and size of the refcount table. With node->checking an image may lack it. */
static bool check_reftable(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t bytes = (uint64_t)o->reftable_clusters * s->cluster_size;
    const char *fault = NULL;

    if (!bytes) {
        fault = "Image does not contain a reference count table";
    } else if (bytes > MAX_REFTABLE_BYTES) {
        fault = "Reference count table too large";
    } else if (!qcow2_table_ok(s, s->reftable_offset, bytes)) {
        fault = "Reference count table offset invalid";
    } else if (o->node->checking && s->reftable_offset >= (uint64_t)o->file_length) {
        fault = "Reference count table is outside of the image file";
    }
    if (fault && !o->node->checking) {
        return error_set(err, "%s", fault);
    }
    if (fault) {
        s->reftable_lost = true;
        s->reftable_offset = 0;
        o->reftable_clusters = 0;
    }
    return true;
}

static bool check_tables(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t per_table, needed;

    s->l2_entry_size = s->extl2 ? 16 : 8;
    s->l2_bits = s->cluster_bits - (s->extl2 ? 4 : 3);
    s->subclusters = s->extl2 ? EXTL2_SUBCLUSTERS : 1;
    s->subcluster_size = s->cluster_size / s->subclusters;
    s->refblock_bits = s->cluster_bits + 3 - s->refcount_order;
    if (s->size > INT64_MAX - s->cluster_size) {
        return error_set(err, "Image is too big");
    }
    if (!check_reftable(o, err)) {
        return false;
    }
    if ((uint64_t)s->l1_size * 8 > MAX_L1_BYTES) {
        return error_set(err, "Active L1 table too large");
    }
    if (!qcow2_table_ok(s, s->l1_offset, s->l1_size * 8ull)) {
        return error_set(err, "Active L1 table offset invalid");
    }
    per_table = BIT64(s->cluster_bits + s->l2_bits);
    needed = DIV_ROUND_UP(s->size, per_table);
    if (needed > MAX_L1_BYTES / 8) {
        return error_set(err, "Image is too big");
    }
    if (s->l1_size < needed) {
        return error_set(err, "L1 table is too small");
    }
    return true;
}

static bool coroutine_fn read_table(Qcow2Opening *o, uint64_t offset, uint64_t entries,
                                    uint64_t **out, const char *what, GError **err)
{
    uint8_t *buf;
    int ret;

    *out = NULL;
    if (!entries) {
        *out = g_new0(uint64_t, 1);
        return true;
    }
    /* No write leaves a header that points past the end of the file. */
    if (offset >= o->file_length) {
        return error_set(err,
                         "Could not read %s: it lies at %#" PRIx64 ", behind the end of the "
                         "image file (truncated?)",
                         what, offset);
    }
    buf = g_try_malloc(entries * 8);
    if (!buf) {
        return error_set_errno(err, ENOMEM, "Could not read %s", what);
    }
    ret = block_pread(o->node->file, offset, buf, entries * 8);
    if (ret < 0) {
        g_free(buf);
        return error_set_errno(err, -ret, "Could not read %s", what);
    }
    *out = (uint64_t *)buf;
    for (uint64_t i = 0; i < entries; i++) {
        (*out)[i] = ldbe64(buf + 8 * i);
    }
    return true;
}

static void note_table(Qcow2State *s, uint64_t host, unsigned kind)
{
    if (host && (!qcow2_metadata_add(s, host, kind) ||
                 qcow2_table_overlaps_fixed(s, host, s->cluster_size))) {
        s->tables_overlap = true;
    }
}

void qcow2_note_tables(Qcow2State *s)
{
    g_mutex_lock(&s->map_lock);
    g_hash_table_remove_all(s->metadata);
    g_mutex_unlock(&s->map_lock);
    s->tables_overlap = false;
    for (uint32_t i = 0; i < s->l1_size; i++) {
        note_table(s, s->l1[i] & ENTRY_OFFSET_MASK, QCOW2_GUARD_ACTIVE_L2);
    }
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        note_table(s, s->reftable[i] & REFTABLE_OFFSET_MASK, QCOW2_GUARD_REFCOUNT_BLOCK);
    }
    qcow2_bitmaps_note_dir(s);
}

void qcow2_set_reftable(Qcow2State *s, uint64_t *table, uint64_t entries)
{
    sparse_free(s->reftable, s->reftable_size * 8);
    s->reftable = table;
    s->reftable_size = entries;
}

/* The table of a small image has a cluster and few entries, in each image of a chain. */
static bool coroutine_fn read_reftable(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;
    uint64_t entries = o->reftable_clusters * (s->cluster_size / 8);
    g_autofree uint64_t *full = NULL;
    uint64_t *table;

    block_debug_event(o->node->file, BLOCK_DEBUG_REFTABLE_LOAD);
    if (!read_table(o, s->reftable_offset, entries, &full, "refcount table", err)) {
        return false;
    }
    if (!entries) {
        return true;
    }
    table = sparse_try_new(entries * 8);
    if (!table) {
        return error_set_errno(err, ENOMEM, "Could not read refcount table");
    }
    for (uint64_t i = 0; i < entries; i++) {
        if (full[i]) {
            table[i] = full[i];
        }
    }
    qcow2_set_reftable(s, table, entries);
    return true;
}

static bool coroutine_fn read_tables(Qcow2Opening *o, GError **err)
{
    Qcow2State *s = o->s;

    if (!read_reftable(o, err) ||
        !read_table(o, s->l1_offset, s->l1_size, &s->l1, "L1 table", err) ||
        !qcow2_read_snapshots(o, err)) {
        return false;
    }
    qcow2_note_tables(s);
    return true;
}

static bool open_data_file(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    json_auto_t *tree = NULL;

    s->data = node->file;
    if (!qcow2_has_data_file(s)) {
        if (s->data_config) {
            return error_set(err, "'data-file' can only be set for images with an external data "
                                  "file");
        }
        return true;
    }
    if (s->data_config) {
        tree = json_incref(s->data_config);
    } else {
        if (!s->data_name) {
            return error_set(err, "'data-file' is required for this image");
        }
        if (!block_named_file_allowed(node, "data file", s->data_name, "'data-file' can name it",
                                      err)) {
            return false;
        }
        if (node->no_io) {
            return true; /* the file may be missing; qcow2_read_data() reads nothing */
        }
        /* As with QEMU, a relative name starts at the folder of the process. */
        json_auto_t *whole = block_filename_to_config(s->data_name, err);
        if (!whole) {
            return false;
        }
        tree = json_incref(json_object_get(whole, "file"));
    }
    if (!block_open_child(node, "data-file", BLOCK_ROLE_DATA, tree, &s->data, err)) {
        s->data = node->file;
        block_error_prefix(err, "Could not open the external data file");
        return false;
    }
    return true;
}

void qcow2_child_changed(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);

    s->zero_past_eof = block_zero_past_end(node->file);
    if (!block_node_edge(node, "data-file")) {
        s->data = node->file;
    }
}

static void init_state(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);

    co_mutex_init(&s->flush_lock);
    co_mutex_init(&s->lock);
    block_pendings_init(&s->pending);
    co_queue_init(&s->compress_turns);
    g_mutex_init(&s->map_lock);
    s->metadata = g_hash_table_new_full(hash_u64, g_int64_equal, g_free, NULL);
    s->frees_pending = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    s->frees_stable = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    s->frees_waiting = g_array_new(FALSE, FALSE, sizeof(Qcow2Free));
    qcow2_snapshots_init(&s->snapshots);
    s->free_hint = 1;
    qcow2_child_changed(node);
}

static void free_state(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);

    if (!s->metadata) {
        return;
    }
    qcow2_caches_close(s);
    g_hash_table_unref(s->metadata);
    qcow2_snapshots_clear(&s->snapshots);
    qcow2_bitmaps_clear(s);
    g_array_unref(s->frees_pending);
    g_array_unref(s->frees_stable);
    g_array_unref(s->frees_waiting);
    block_pendings_destroy(&s->pending);
    co_queue_destroy(&s->compress_turns);
    co_mutex_destroy(&s->lock);
    co_mutex_destroy(&s->flush_lock);
    g_mutex_clear(&s->map_lock);
    g_clear_pointer(&s->l1, g_free);
    g_clear_pointer(&s->l1_batch.bytes, g_free);
    qcow2_set_reftable(s, NULL, 0);
    g_clear_pointer(&s->data_name, g_free);
    g_clear_pointer(&s->snapshots_lost, g_free);
    s->metadata = NULL;
}

/* Whether an L2 table of a snapshot is in the place of a table that is not an L2 table. */
static bool snapshot_l2_overlaps(Qcow2State *s)
{
    for (uint64_t i = 0; i < s->reftable_size; i++) {
        uint64_t block = s->reftable[i] & REFTABLE_OFFSET_MASK;

        if (block && qcow2_overlaps_snapshot_l2(s, block, s->cluster_size)) {
            return true;
        }
    }
    return qcow2_overlaps_snapshot_l2(s, 0, s->cluster_size) ||
           (s->l1_size && qcow2_overlaps_snapshot_l2(s, s->l1_offset, s->l1_size * 8ull)) ||
           qcow2_overlaps_snapshot_l2(s, s->reftable_offset, s->reftable_size * 8) ||
           (s->snapshots.count &&
            qcow2_overlaps_snapshot_l2(s, s->snapshots.offset, s->snapshots.bytes));
}

static bool coroutine_fn repair_dirty(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    BlockCheckResult res = {0};
    int ret;

    /* A repair of COPIED flags writes to L2 tables that snapshots share, which nothing else may. */
    g_array_set_size(s->snapshots.l2, 0);
    ret = qcow2_check(node, &res, BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS);
    if (ret < 0 || res.check_errors || res.corruptions) {
        return error_set(err, "Could not repair dirty image");
    }
    return qcow2_read_snapshot_l2(node, &s->snapshots, err);
}

/* Puts an image in order before its first write: autoclear features, the dirty bit. */
static bool coroutine_fn prepare_for_writing(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    int ret;

    if (node->checking) {
        return true; /* qcow2_check() reports and repairs all of this */
    }
    if (!qcow2_read_snapshot_l2(node, &s->snapshots, err)) {
        return false;
    }
    if (s->tables_overlap || snapshot_l2_overlaps(s)) {
        /* A write to one of the two tables would change the other. */
        return error_set(err, "qcow2: Image is corrupt: two of its tables are in one place; cannot "
                              "be opened read/write");
    }
    ret = qcow2_clear_autoclear(node, AUTOCLEAR_BITMAPS |
                                          (qcow2_has_data_file(s) ? AUTOCLEAR_DATA_FILE_RAW : 0));
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not clear the autoclear features");
    }
    return !(s->incompat & INCOMPAT_DIRTY) || repair_dirty(node, err);
}

static bool qcow2_wants_lazy(const Qcow2State *s)
{
    return s->version >= 3 &&
           (s->options.has_lazy ? s->options.lazy : (s->compat & COMPAT_LAZY_REFCOUNTS) != 0);
}

static bool coroutine_fn open_image(Qcow2Opening *o, GError **err)
{
    BlockNode *node = o->node;
    Qcow2State *s = o->s;

    o->file_length = block_exact_length(node->file);
    if (o->file_length < 0) {
        return error_set_errno(err, -o->file_length, "Could not get image size");
    }
    if (!qcow2_read_header(o, err) || !check_tables(o, err)) {
        return false;
    }
    if (!qcow2_check_options(s, &s->options, err)) {
        return false;
    }
    s->lazy = qcow2_wants_lazy(s);
    qcow2_caches_open(node);
    return qcow2_open_crypto(node, err) && read_tables(o, err) &&
           (o->again || (open_data_file(node, err) &&
                         block_node_want_named_backing(node, s->backing_config, err)));
}

bool coroutine_fn qcow2_opened(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);

    if ((!node->read_only && !prepare_for_writing(node, err)) || !qcow2_bitmaps_load(node, err)) {
        return false;
    }
    s->ready = true;
    return true;
}

/* Reads all that is kept in memory of an image. */
static bool coroutine_fn load_image(BlockNode *node, bool again, GError **err)
{
    Qcow2State *s = block_node_state(node);
    Qcow2Opening o = {.node = node, .s = s, .again = again};
    bool ok;

    init_state(node);
    o.feature_names = g_string_new(NULL);
    ok = open_image(&o, err);
    g_string_free(o.feature_names, TRUE);
    if (!ok) {
        free_state(node);
        if (!again) {
            qcow2_close_crypto(block_node_state(node));
        }
    }
    return ok;
}

bool coroutine_fn qcow2_open(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);

    if (!qcow2_parse_guards(&s->options, &s->guards, err) ||
        !block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &node->file, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->filename);
    return load_image(node, false, err);
}

/*
 * A last compressed cluster may end within a sector. QEMU reads images in whole sectors. What was
 * made longer ahead of writes becomes as long as it is.
 */
static int coroutine_fn round_file_up(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);
    int64_t length = block_exact_length(node->file);
    bool room = __atomic_exchange_n(&s->room_made, false, __ATOMIC_RELAXED);

    int ret = length < 0 ? length : room ? block_truncate(node->file, length, NULL) : 0;

    if (ret < 0 || IS_ALIGNED(length, BLOCK_SECTOR_SIZE)) {
        return ret;
    }
    return block_truncate(node->file, ROUND_UP(length, BLOCK_SECTOR_SIZE), NULL);
}

int coroutine_fn qcow2_settle(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);
    int ret = 0;

    if (!s->ready || node->read_only || __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return 0;
    }
    /* Each flush moves the frees on by one list: after three nothing waits, or leaks. */
    for (int pass = 0; pass < 3 && ret == 0; pass++) {
        ret = qcow2_flush(node);
    }
    co_mutex_lock(&s->lock);
    ret = ret < 0 ? ret : qcow2_writeback(node, true);
    ret = ret < 0 ? ret : round_file_up(node);
    ret = ret < 0 ? ret : block_flush(node->file);
    if (ret == 0 && s->dirty_marked && !s->keep_dirty) {
        ret = qcow2_write_incompat(node, s->incompat & ~INCOMPAT_DIRTY);
        ret = ret < 0 ? ret : block_flush(node->file);
        s->dirty_marked = ret < 0;
    }
    co_mutex_unlock(&s->lock);
    return ret;
}

/* The core has flushed the node. */
void coroutine_fn qcow2_close(BlockNode *node)
{
    int ret = node->inactive ? 0 : qcow2_bitmaps_store(node);

    if (ret < 0) {
        log_error("qcow2: the bitmaps of '%s' could not be stored: %s", node->filename,
                  g_strerror(-ret));
    }
    ret = node->inactive ? 0 : qcow2_settle(node);
    if (ret < 0) {
        log_error("qcow2: '%s' could not be closed cleanly: %s", node->filename, g_strerror(-ret));
    }
    free_state(node);
    qcow2_close_crypto(block_node_state(node));
}

bool coroutine_fn qcow2_reopen_prepare(BlockNode *node, const BlockNodeOptions *opts,
                                       const void *props, bool *read_only, GError **err)
{
    Qcow2State *s = block_node_state(node);
    const Qcow2State *new = props;
    int ret;

    if (!qcow2_check_options(s, &new->options, err)) {
        return false;
    }
    if (node->read_only && !*read_only && s->incompat & INCOMPAT_CORRUPT) {
        return error_set(err, "qcow2: Image is corrupt; cannot be opened read/write");
    }
    if (s->loaded && !*read_only) {
        return error_set(err, "A snapshot of '%s' is loaded, to be read alone", node->filename);
    }
    /* Afterwards the caches have nothing that must be written, and the dirty bit is not set. */
    ret = *read_only ? qcow2_bitmaps_store(node) : 0;
    ret = ret < 0 ? ret : qcow2_settle(node);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write back '%s'", node->filename) : true;
}

void qcow2_reopen_commit(BlockNode *node, const void *props)
{
    Qcow2State *s = block_node_state(node);
    const Qcow2State *new = props;
    bool same_caches = qcow2_same_caches(&s->options, &new->options);
    json_t *old = s->options.overlap;

    s->options = new->options;
    json_incref(s->options.overlap);
    json_decref(old);
    qcow2_parse_guards(&s->options, &s->guards, NULL); /* qcow2_check_options() has been here */
    s->lazy = qcow2_wants_lazy(s);
    qcow2_bitmaps_set_read_only(node);
    if (!same_caches) {
        qcow2_caches_close(s);
        qcow2_caches_open(node);
    }
}

int coroutine_fn qcow2_inactivate(BlockNode *node)
{
    Qcow2State *s = block_node_state(node);
    int ret = s->metadata ? qcow2_bitmaps_store(node) : 0;

    ret = ret == 0 && s->metadata ? qcow2_settle(node) : ret;
    if (ret == 0) {
        qcow2_bitmaps_drop(node);
        free_state(node);
    }
    return ret;
}

/* Drops what was read of the image, but not the options nor the place of the data file. */
static void forget_image(Qcow2State *s)
{
    Qcow2State fresh = {
        .file_config = s->file_config,
        .backing_config = s->backing_config,
        .data_config = s->data_config,
        .encrypt_config = s->encrypt_config,
        .crypto = s->crypto,
        .options = s->options,
        .guards = s->guards,
        .data = s->data,
    };

    *s = fresh;
}

/* The other process may have changed anything in the image, but not which images belong to it. */
bool coroutine_fn qcow2_activate(BlockNode *node, GError **err)
{
    Qcow2State *s = block_node_state(node);
    g_autofree char *backing = g_strdup(node->backing_name);
    bool data_file = qcow2_has_data_file(s);

    free_state(
        node); /* where inactivate() has failed, the state is of an image that was another's */
    forget_image(s);
    if (!load_image(node, true, err)) {
        return false;
    }
    if (g_strcmp0(backing, node->backing_name) != 0 || data_file != qcow2_has_data_file(s)) {
        free_state(node);
        return error_set(err, "the image has got another backing file or data file meanwhile");
    }
    return qcow2_opened(node, err);
}
