/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots are made, applied and deleted, and lose their zero flags for version 2.
 *
 * Each of these prepares new tables in free clusters, and raises refcounts. Then one write
 * within the header's first sector switches from the old state to the new one. Refcounts go down,
 * and old tables are freed, once that is stable. So the tables in effect are whole at every moment,
 * and no cluster that they name is counted as free.
 *
 * COPIED flags and refcounts cannot change in one moment. The dirty bit is set meanwhile: who opens
 * the image after a cut of power counts anew, and sets the flags right (prepare_for_writing()).
 * Version 2 has no dirty bit: there a check may complain of flags, which do no harm. They are
 * cleared before a snapshot is in the table, and set when no snapshot shares the cluster any more.
 */
#include <errno.h>
#include "base/log.h"
#include "snapshot_change.h"

bool coroutine_fn qcow2_change_begin(Qcow2SnapshotChange *c, BlockNode *n, GError **err)
{
    Qcow2State *s = block_node_state(n);
    int ret;

    *c = (Qcow2SnapshotChange){.n = n, .s = s};
    if (qcow2_has_data_file(s)) {
        return error_set(err, "Images with an external data file have no snapshots");
    }
    if (n->checking || !s->ready) {
        return error_set(err, "The image is not open for writing");
    }
    ret = __atomic_load_n(&s->corrupt, __ATOMIC_RELAXED) ? -EIO : qcow2_settle(n);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write back '%s'", n->filename);
    }
    co_mutex_lock(&s->lock);
    if (qcow2_recount_begin(&c->recount, n, err)) {
        return true;
    }
    co_mutex_unlock(&s->lock);
    return false;
}

void coroutine_fn qcow2_change_end(Qcow2SnapshotChange *c)
{
    qcow2_recount_end(&c->recount);
    g_clear_pointer(&c->l1, g_free);
    g_clear_pointer(&c->hidden, g_free);
    g_clear_pointer(&c->made, g_array_unref);
    if (c->next.list) {
        qcow2_snapshots_clear(&c->next);
    }
    co_mutex_unlock(&c->s->lock);
    qcow2_settle(c->n);
}

void qcow2_change_unfinished(Qcow2SnapshotChange *c, int ret)
{
    if (ret < 0) {
        c->s->keep_dirty = c->s->dirty_marked;
        log_error("qcow2: refcounts of '%s' could not all be written (%s): %s",
                  c->n->filename ? c->n->filename : "", g_strerror(-ret),
                  c->s->keep_dirty ? "the image is repaired when it is opened next"
                                   : "a check with repair gets the space back");
    }
}

/* Puts a table into new clusters, padded with zeroes. 0 bytes: nowhere. */
static int coroutine_fn change_write_table(Qcow2SnapshotChange *c, const uint8_t *bytes,
                                           uint64_t len, uint64_t *host, uint64_t *clusters)
{
    Qcow2State *s = c->s;
    g_autofree uint8_t *padded = NULL;
    int ret;

    *host = *clusters = 0;
    if (!len) {
        return 0;
    }
    padded = g_try_malloc0(ROUND_UP(len, s->cluster_size));
    if (!padded) {
        return -ENOMEM;
    }
    memcpy(padded, bytes, len);
    *clusters = DIV_ROUND_UP(len, s->cluster_size);
    ret = qcow2_alloc_clusters(c->n, clusters, true, host);
    if (ret < 0) {
        *clusters = 0;
        return ret;
    }
    return block_pwrite(c->n->file, *host, padded, *clusters * s->cluster_size, 0);
}

int coroutine_fn qcow2_change_write_l1(Qcow2SnapshotChange *c)
{
    g_autofree uint8_t *be = g_try_malloc(MAX(c->l1_size * 8ull, 1));

    if (!be) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < c->l1_size; i++) {
        stbe64(be + 8ull * i, c->l1[i]);
    }
    return change_write_table(c, be, c->l1_size * 8ull, &c->l1_host, &c->l1_clusters);
}

/* Writes refcounts, L2 and L1 tables, and makes all that is written stable. */
static int coroutine_fn change_stable(Qcow2SnapshotChange *c)
{
    int ret = qcow2_writeback(c->n, true);

    return ret < 0 ? ret : block_flush(c->n->file);
}

void coroutine_fn qcow2_change_undo(Qcow2SnapshotChange *c, uint64_t table_host,
                                    uint64_t table_clusters)
{
    Qcow2State *s = c->s;
    uint32_t first = s->l1_size;
    int ret;

    if (__atomic_load_n(&s->corrupt, __ATOMIC_RELAXED)) {
        return; /* nothing is written any more; what was allocated leaks */
    }
    if (c->hidden) {
        first = qcow2_l1_entries(s, s->size);
        for (uint32_t i = first; i < s->l1_size; i++) {
            qcow2_l1_set(s, i, c->hidden[i - first]);
        }
    }
    ret = qcow2_recount_undo(&c->recount);
    if (table_clusters) {
        qcow2_free_now(c->n, table_host, table_clusters);
    }
    if (c->l1_clusters) {
        qcow2_free_now(c->n, c->l1_host, c->l1_clusters);
    }
    for (unsigned i = 0; c->made && i < c->made->len; i++) {
        qcow2_free_now(c->n, g_array_index(c->made, uint64_t, i), 1);
    }
    ret = ret < 0 ? ret : qcow2_set_copied_flags(c->n);
    qcow2_change_unfinished(c, ret);
}

bool coroutine_fn qcow2_change_read_l1(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn,
                                       GError **err)
{
    uint64_t bytes = sn->l1_size * 8ull;
    int ret;

    if (bytes > MAX_L1_BYTES || !qcow2_table_ok(c->s, sn->l1_offset, bytes)) {
        return error_set(err, "The L1 table of snapshot '%s' is not in the image; check it first",
                         sn->id);
    }
    c->l1_size = sn->l1_size;
    c->l1 = g_try_malloc(MAX(bytes, 1));
    ret = c->l1 ? block_pread(c->n->file, sn->l1_offset, c->l1, bytes) : -ENOMEM;
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the L1 table of snapshot '%s'", sn->id);
    }
    for (uint32_t i = 0; i < c->l1_size; i++) {
        c->l1[i] = ldbe64(&c->l1[i]);
    }
    return true;
}

bool coroutine_fn qcow2_change_count(Qcow2SnapshotChange *c, const uint64_t *l1, uint64_t entries,
                                     int by, const char *snapshot, GError **err)
{
    g_autofree char *whose =
        snapshot ? g_strdup_printf("snapshot '%s'", snapshot) : g_strdup("the disk");

    return qcow2_recount_tree(&c->recount, l1, entries, by, whose, err);
}

GByteArray *coroutine_fn qcow2_change_read_table(Qcow2SnapshotChange *c, GError **err)
{
    const Qcow2Snapshots *t = &c->s->snapshots;
    GByteArray *table = g_byte_array_sized_new(t->bytes + KiB);
    int ret;

    g_byte_array_set_size(table, t->bytes);
    ret = block_pread(c->n->file, t->offset, table->data, t->bytes);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read the snapshot table");
        g_byte_array_unref(table);
        return NULL;
    }
    return table;
}

void qcow2_change_parse_table(Qcow2SnapshotChange *c, const GByteArray *table, uint32_t count)
{
    qcow2_snapshots_init(&c->next);
    c->next.count = count;
    qcow2_parse_snapshots(c->s, &c->next, table->data);
}

bool coroutine_fn qcow2_change_switch_table(Qcow2SnapshotChange *c, const GByteArray *table,
                                            GError **err)
{
    uint64_t host, clusters;
    uint8_t header[12];
    bool kept = true;
    int ret = change_write_table(c, table->data, table->len, &host, &clusters);

    ret = ret < 0 ? ret : change_stable(c);
    if (ret == 0) {
        stbe32(header, c->next.count);
        stbe64(header + 4, host);
        ret = qcow2_switch_header(c->n, HDR_NB_SNAPSHOTS, header, sizeof header, &kept);
    }
    if (ret < 0) {
        qcow2_change_undo(c, host, clusters);
        return error_set_errno(err, -ret, "Could not write the snapshot table");
    }
    c->next.offset = host;
    return true;
}

void qcow2_change_take_table(Qcow2SnapshotChange *c)
{
    Qcow2Snapshots old = c->s->snapshots;

    c->s->snapshots = c->next;
    c->next = (Qcow2Snapshots){0};
    qcow2_snapshots_clear(&old);
}

bool qcow2_change_free_table(Qcow2SnapshotChange *c, GError **err)
{
    const Qcow2Snapshots *t = &c->s->snapshots;

    return qcow2_recount_free(&c->recount, t->offset, t->count ? t->bytes : 0, "snapshot table",
                              err);
}

/* --- a new snapshot --- */

static uint64_t create_next_id(const Qcow2State *s)
{
    uint64_t max = 0;

    for (unsigned i = 0; i < s->snapshots.list->len; i++) {
        const char *id = g_array_index(s->snapshots.list, Qcow2Snapshot, i).id;

        max = MAX(max, g_ascii_strtoull(id, NULL, 10));
    }
    return max + 1;
}

/* Whether the image can be opened afterwards: see the limits in format.h. */
static bool create_has_room(const Qcow2State *s, const BlockSnapshot *sn)
{
    uint64_t l1_bytes = ROUND_UP(s->l1_size * 8ull, s->cluster_size);

    for (unsigned i = 0; i < s->snapshots.list->len; i++) {
        const Qcow2Snapshot *other = &g_array_index(s->snapshots.list, Qcow2Snapshot, i);

        l1_bytes += ROUND_UP(other->l1_size * 8ull, s->cluster_size);
    }
    return s->snapshots.count < MAX_SNAPSHOTS && l1_bytes <= MAX_SNAPSHOT_L1_BYTES &&
           s->snapshots.l2->len + s->l1_size <= MAX_SNAPSHOT_L2_TABLES &&
           s->snapshots.bytes + strlen(sn->name) + 128 <= MAX_SNAPSHOT_BYTES;
}

/* Appends the new entry, in the form in which QEMU writes it. */
static void create_append(Qcow2SnapshotChange *c, GByteArray *table, const BlockSnapshot *sn)
{
    enum { FIXED = 40, EXTRA = 24 };
    Qcow2State *s = c->s;
    g_autofree char *id = g_strdup_printf("%" PRIu64, create_next_id(s));
    size_t id_len = strlen(id), name_len = strlen(sn->name);
    uint64_t end = table->len, at = ROUND_UP(end, 8);
    uint8_t *h;

    g_byte_array_set_size(table, at + FIXED + EXTRA + id_len + name_len);
    h = table->data + at;
    memset(table->data + end, 0, at - end + FIXED + EXTRA);
    stbe64(h, c->l1_host);
    stbe32(h + 8, c->l1_size);
    stbe16(h + 12, id_len);
    stbe16(h + 14, name_len);
    stbe32(h + 16, sn->date_sec);
    stbe32(h + 20, sn->date_nsec);
    stbe64(h + 24, sn->vm_clock_ns);
    /* For readers that do not know the extra data. A state that is too long is none for them. */
    stbe32(h + 32, sn->vm_state_size <= UINT32_MAX ? sn->vm_state_size : 0);
    stbe32(h + 36, EXTRA);
    stbe64(h + 40, sn->vm_state_size);
    stbe64(h + 48, s->size);
    stbe64(h + 56, sn->icount);
    memcpy(h + 64, id, id_len);
    memcpy(h + 64 + id_len, sn->name, name_len);
}

/*
 * The disk's part of the tree gets a second user. The VM state's part has the new user alone: it is
 * taken out of the disk's L1 table.
 */
static bool coroutine_fn create_count(Qcow2SnapshotChange *c, bool vm_state, GError **err)
{
    Qcow2State *s = c->s;
    uint64_t disk = MIN(qcow2_l1_entries(s, s->size), s->l1_size);

    c->l1_size = vm_state ? s->l1_size : disk;
    c->l1 = g_try_new(uint64_t, MAX(c->l1_size, 1));
    if (!c->l1) {
        return error_set_errno(err, ENOMEM, "Could not copy the L1 table");
    }
    for (uint32_t i = 0; i < c->l1_size; i++) {
        c->l1[i] = s->l1[i] & ~ENTRY_COPIED;
    }
    return qcow2_change_count(c, s->l1, disk, 1, NULL, err) && qcow2_change_free_table(c, err) &&
           qcow2_recount_check(&c->recount, err);
}

static int coroutine_fn create_hide_vm_state(Qcow2SnapshotChange *c)
{
    Qcow2State *s = c->s;
    uint32_t first = MIN(qcow2_l1_entries(s, s->size), s->l1_size);

    if (c->l1_size == first) {
        return 0;
    }
    c->hidden = g_memdup2(s->l1 + first, (c->l1_size - first) * sizeof *s->l1);
    for (uint32_t i = first; i < c->l1_size; i++) {
        qcow2_l1_set(s, i, 0);
    }
    return qcow2_clear_copied_flags(c->n, c->l1 + first, c->l1_size - first);
}

static int coroutine_fn create_prepare(Qcow2SnapshotChange *c)
{
    int ret = qcow2_mark_repair(c->n);

    ret = ret < 0 ? ret : qcow2_change_write_l1(c);
    ret = ret < 0 ? ret : qcow2_recount_raise(&c->recount);
    ret = ret < 0 ? ret : create_hide_vm_state(c);
    return ret < 0 ? ret : qcow2_set_copied_flags(c->n);
}

static void coroutine_fn create_finish(Qcow2SnapshotChange *c)
{
    Qcow2State *s = c->s;
    uint32_t first = c->l1_size;

    g_array_append_vals(c->next.l2, s->snapshots.l2->data, s->snapshots.l2->len);
    qcow2_snapshots_add_l1(s, &c->next, c->l1, c->l1_size);
    qcow2_change_take_table(c);
    if (c->hidden) {
        first = qcow2_l1_entries(s, s->size);
    }
    for (uint32_t i = first; i < c->l1_size; i++) {
        if (c->l1[i] & ENTRY_OFFSET_MASK) {
            qcow2_metadata_remove(s, c->l1[i] & ENTRY_OFFSET_MASK, QCOW2_GUARD_ACTIVE_L2);
        }
    }
    qcow2_change_unfinished(c, qcow2_recount_lower(&c->recount));
}

static bool coroutine_fn create_locked(Qcow2SnapshotChange *c, const BlockSnapshot *sn,
                                       GError **err)
{
    g_autoptr(GByteArray) table = NULL;
    int ret;

    if (!create_has_room(c->s, sn)) {
        return error_set(err, "The image has %u snapshots, and cannot have more",
                         c->s->snapshots.count);
    }
    table = qcow2_change_read_table(c, err);
    if (!table || !create_count(c, sn->vm_state_size > 0, err)) {
        return false;
    }
    ret = create_prepare(c);
    if (ret < 0) {
        qcow2_change_undo(c, 0, 0);
        return error_set_errno(err, -ret, "Could not write the image's metadata");
    }
    create_append(c, table, sn);
    qcow2_change_parse_table(c, table, c->s->snapshots.count + 1);
    if (!qcow2_change_switch_table(c, table, err)) {
        return false;
    }
    create_finish(c);
    return true;
}

bool coroutine_fn qcow2_snapshot_create(BlockNode *n, const BlockSnapshot *sn, GError **err)
{
    Qcow2SnapshotChange c;
    bool ok;

    if (!qcow2_change_begin(&c, n, err)) {
        return false;
    }
    ok = create_locked(&c, sn, err);
    qcow2_change_end(&c);
    return ok;
}

/* --- a snapshot goes --- */

/* The table without the entry. Its L2 tables are known before the snapshot is out of the table. */
static bool coroutine_fn delete_from_table(Qcow2SnapshotChange *c, GByteArray *table,
                                           const Qcow2Snapshot *sn, GError **err)
{
    g_byte_array_remove_range(table, sn->at, MIN(ROUND_UP(sn->bytes, 8), table->len - sn->at));
    qcow2_change_parse_table(c, table, c->s->snapshots.count - 1);
    return qcow2_read_snapshot_l2(c->n, &c->next, err);
}

static bool coroutine_fn delete_count(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn, GError **err)
{
    return qcow2_change_read_l1(c, sn, err) &&
           qcow2_change_count(c, c->l1, c->l1_size, -1, sn->id, err) &&
           qcow2_recount_free(&c->recount, sn->l1_offset, sn->l1_size * 8ull, "L1 table", err) &&
           qcow2_change_free_table(c, err) && qcow2_recount_check(&c->recount, err);
}

static bool coroutine_fn delete_locked(Qcow2SnapshotChange *c, unsigned index, GError **err)
{
    const Qcow2Snapshot *sn = &g_array_index(c->s->snapshots.list, Qcow2Snapshot, index);
    g_autoptr(GByteArray) table = qcow2_change_read_table(c, err);
    int ret;

    if (!table || !delete_count(c, sn, err) || !delete_from_table(c, table, sn, err)) {
        return false;
    }
    ret = qcow2_mark_repair(c->n);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write the image's metadata");
    }
    if (!qcow2_change_switch_table(c, table, err)) {
        return false;
    }
    qcow2_change_take_table(c);
    ret = qcow2_recount_lower(&c->recount);
    ret = ret < 0 ? ret : qcow2_set_copied_flags(c->n);
    qcow2_change_unfinished(c, ret);
    return true;
}

bool coroutine_fn qcow2_snapshot_delete(BlockNode *n, const char *id, const char *name,
                                        GError **err)
{
    Qcow2SnapshotChange c;
    int index;
    bool ok = false;

    if (!qcow2_change_begin(&c, n, err)) {
        return false;
    }
    index = qcow2_find_snapshot(c.s, id, name);
    if (index < 0) {
        error_set(err, "Can't find the snapshot");
    } else {
        ok = delete_locked(&c, index, err);
    }
    qcow2_change_end(&c);
    return ok;
}

/* --- a snapshot becomes the disk --- */

/* The disk's L1 table is to be the snapshot's, and long enough for the disk. */
static bool coroutine_fn apply_read(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn, uint64_t *size,
                                    GError **err)
{
    Qcow2State *s = c->s;
    uint64_t entries;
    uint64_t *l1;

    *size = sn->disk_size == UINT64_MAX ? s->size : sn->disk_size;
    if (!IS_ALIGNED(*size, BLOCK_SECTOR_SIZE) || *size > BLOCK_MAX_LENGTH ||
        qcow2_l1_entries(s, *size) > MAX_L1_BYTES / 8) {
        return error_set(err, "Snapshot '%s' has an impossible disk length, %" PRIu64, sn->id,
                         *size);
    }
    if (!qcow2_change_read_l1(c, sn, err)) {
        return false;
    }
    entries = MAX(c->l1_size, qcow2_l1_entries(s, *size));
    l1 = g_try_new0(uint64_t, MAX(entries, 1));
    if (!l1) {
        return error_set_errno(err, ENOMEM, "Could not copy the L1 table");
    }
    for (uint32_t i = 0; i < c->l1_size; i++) {
        l1[i] = c->l1[i] & ~ENTRY_COPIED;
    }
    g_free(c->l1);
    c->l1 = l1;
    c->l1_size = entries;
    return true;
}

static int coroutine_fn apply_prepare(Qcow2SnapshotChange *c)
{
    int ret = qcow2_mark_repair(c->n);

    if (ret == 0 && c->recount.copied) {
        ret = qcow2_clear_copied_flags(c->n, c->l1, c->l1_size);
    }
    ret = ret < 0 ? ret : qcow2_change_write_l1(c);
    ret = ret < 0 ? ret : qcow2_recount_raise(&c->recount);
    return ret < 0 ? ret : change_stable(c);
}

/* The length, the L1 table's length and its place are neighbours in the header. */
static int coroutine_fn apply_switch(Qcow2SnapshotChange *c, uint64_t size)
{
    uint8_t header[HDR_L1_TABLE_OFFSET + 8 - HDR_SIZE];
    bool kept;

    stbe64(header, size);
    stbe32(header + (HDR_CRYPT_METHOD - HDR_SIZE), c->s->crypt_method);
    stbe32(header + (HDR_L1_SIZE - HDR_SIZE), c->l1_size);
    stbe64(header + (HDR_L1_TABLE_OFFSET - HDR_SIZE), c->l1_host);
    return qcow2_switch_header(c->n, HDR_SIZE, header, sizeof header, &kept);
}

/* Exchanges the L1 tables. No cached L2 entry belongs to the disk any more. */
static void apply_take(Qcow2SnapshotChange *c, uint64_t size)
{
    Qcow2State *s = c->s;
    uint64_t *old = s->l1;

    for (uint32_t i = 0; i < s->l1_size; i++) {
        uint64_t table = old[i] & ENTRY_OFFSET_MASK;

        if (table) {
            qcow2_cache_forget(&s->l2_cache, table, s->cluster_size);
            qcow2_metadata_remove(s, table, QCOW2_GUARD_ACTIVE_L2);
        }
    }
    for (uint32_t i = 0; i < c->l1_size; i++) {
        if (c->l1[i] & ENTRY_OFFSET_MASK) {
            qcow2_metadata_add(s, c->l1[i] & ENTRY_OFFSET_MASK, QCOW2_GUARD_ACTIVE_L2);
        }
    }
    g_mutex_lock(&s->map_lock);
    s->l1 = c->l1;
    s->l1_size = c->l1_size;
    s->l1_offset = c->l1_host;
    g_mutex_unlock(&s->map_lock);
    c->l1 = old;
    __atomic_store_n(&s->size, size, __ATOMIC_SEQ_CST);
}

/* What the change means for each refcount. */
static bool coroutine_fn apply_count(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn, GError **err)
{
    Qcow2State *s = c->s;

    return qcow2_change_count(c, c->l1, c->l1_size, 1, sn->id, err) &&
           qcow2_change_count(c, s->l1, s->l1_size, -1, NULL, err) &&
           qcow2_recount_free(&c->recount, s->l1_offset, s->l1_size * 8ull, "L1 table", err) &&
           qcow2_recount_check(&c->recount, err);
}

static bool coroutine_fn apply_locked(Qcow2SnapshotChange *c, const Qcow2Snapshot *sn, GError **err)
{
    uint64_t size;
    int ret;

    if (!apply_read(c, sn, &size, err)) {
        return false;
    }
    if (size != c->s->size && c->s->version < 3) {
        return error_set(err, "The disk had another length, and a version 2 image with snapshots "
                              "cannot be resized");
    }
    if (!apply_count(c, sn, err)) {
        return false;
    }
    ret = apply_prepare(c);
    ret = ret < 0 ? ret : apply_switch(c, size);
    if (ret < 0) {
        qcow2_change_undo(c, 0, 0);
        return error_set_errno(err, -ret, "Could not write the image's metadata");
    }
    apply_take(c, size);
    qcow2_change_unfinished(c, qcow2_recount_lower(&c->recount));
    return true;
}

bool coroutine_fn qcow2_snapshot_apply(BlockNode *n, const char *id_or_name, GError **err)
{
    Qcow2SnapshotChange c;
    int index;
    bool ok = false;

    if (!qcow2_change_begin(&c, n, err)) {
        return false;
    }
    index = qcow2_find_snapshot(c.s, id_or_name, NULL);
    index = index >= 0 ? index : qcow2_find_snapshot(c.s, NULL, id_or_name);
    if (index < 0) {
        error_set_errno(err, ENOENT, "Failed to load snapshot");
    } else {
        ok = apply_locked(&c, &g_array_index(c.s->snapshots.list, Qcow2Snapshot, index), err);
    }
    qcow2_change_end(&c);
    return ok;
}

/* --- a snapshot is looked at --- */

bool coroutine_fn qcow2_snapshot_load(BlockNode *n, const char *id, const char *name, GError **err)
{
    Qcow2State *s = block_node_state(n);
    Qcow2SnapshotChange c = {.n = n, .s = s};
    int index = qcow2_find_snapshot(s, id, name);
    uint64_t size;
    bool ok;

    if (index < 0) {
        return error_set(err, "Can't find snapshot");
    }
    co_mutex_lock(&s->lock);
    ok = apply_read(&c, &g_array_index(s->snapshots.list, Qcow2Snapshot, index), &size, err);
    if (ok) {
        s->loaded = true;
        apply_take(&c, size);
    }
    g_free(c.l1);
    co_mutex_unlock(&s->lock);
    return ok;
}
