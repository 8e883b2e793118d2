/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block_map.h"

#include <errno.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"

typedef struct {
    uint64_t number;
    uint8_t *data;
    unsigned dirty_from, dirty_to; /* entries; the same: none */
    GList link;                    /* in BlockMap.order */
} BlockMapPage;

static void page_free(void *p)
{
    BlockMapPage *page = p;

    g_free(page->data);
    g_free(page);
}

void block_map_init(BlockMap *m)
{
    co_mutex_init(&m->lock);
    block_pendings_init(&m->pending);
    g_mutex_init(&m->map_lock);
    m->pages = g_hash_table_new_full(hash_u64, g_int64_equal, NULL, page_free);
    g_queue_init(&m->order);
    m->dirty = 0;
    m->barrier = m->failed = false;
}

void block_map_destroy(BlockMap *m)
{
    if (!m->pages) {
        return;
    }
    g_clear_pointer(&m->pages, g_hash_table_unref);
    block_pendings_destroy(&m->pending);
    co_mutex_destroy(&m->lock);
    g_mutex_clear(&m->map_lock);
}

/* --- pages --- */

static size_t page_bytes(const BlockMap *m)
{
    return (size_t)m->page_entries * m->entry_size;
}

static uint64_t entry_get(const BlockMap *m, const BlockMapPage *page, unsigned i)
{
    const uint8_t *at = page->data + (size_t)i * m->entry_size;

    if (m->entry_size == 4) {
        return m->big_endian ? ldbe32(at) : ldle32(at);
    }
    return m->big_endian ? ldbe64(at) : ldle64(at);
}

/* Under lock. */
static void entry_set(BlockMap *m, BlockMapPage *page, unsigned i, uint64_t entry)
{
    uint8_t *at = page->data + (size_t)i * m->entry_size;

    g_mutex_lock(&m->map_lock);
    if (m->entry_size == 4) {
        m->big_endian ? stbe32(at, entry) : stle32(at, entry);
    } else {
        m->big_endian ? stbe64(at, entry) : stle64(at, entry);
    }
    g_mutex_unlock(&m->map_lock);
    if (page->dirty_from == page->dirty_to) {
        page->dirty_from = i;
        page->dirty_to = i + 1;
        m->dirty++;
    } else {
        page->dirty_from = MIN(page->dirty_from, i);
        page->dirty_to = MAX(page->dirty_to, i + 1);
    }
}

/* Under lock. Writes the sectors of a page that have changed; disks do not tear these. */
static int coroutine_fn page_write(BlockMap *m, BlockMapPage *page)
{
    uint64_t copy = m->ops->copy_at ? m->ops->copy_at(m, page->number) : 0;
    uint64_t at = m->ops->page_at(m, page->number);
    size_t from = ROUND_DOWN((size_t)page->dirty_from * m->entry_size, BLOCK_SECTOR_SIZE);
    size_t to =
        MIN(ROUND_UP((size_t)page->dirty_to * m->entry_size, BLOCK_SECTOR_SIZE), page_bytes(m));
    int ret = 0;

    if (copy) {
        ret = block_pwrite(*m->file, copy + from, page->data + from, to - from, 0);
    }
    return ret < 0 ? ret : block_pwrite(*m->file, at + from, page->data + from, to - from, 0);
}

/* Under lock. Writes all entries that have changed. */
static int coroutine_fn map_writeback(BlockMap *m)
{
    int ret = 0;

    if (!m->dirty) {
        return 0;
    }
    if (m->ops->before_entries) {
        ret = m->ops->before_entries(m);
    }
    if (ret == 0 && m->barrier) {
        ret = block_flush(*m->file);
        m->barrier = ret < 0;
    }
    for (GList *l = m->order.head; l && ret == 0 && m->dirty; l = l->next) {
        BlockMapPage *page = l->data;

        if (page->dirty_from != page->dirty_to) {
            ret = page_write(m, page);
            if (ret == 0) {
                page->dirty_from = page->dirty_to = 0;
                m->dirty--;
            }
        }
    }
    return ret;
}

/* Under lock. Makes room in memory for one more page. */
static int coroutine_fn pages_make_room(BlockMap *m)
{
    int ret = 0;

    if (g_hash_table_size(m->pages) < m->most_pages) {
        return 0;
    }
    if (m->dirty >= m->most_pages / 2) {
        ret = map_writeback(m);
    }
    for (GList *l = m->order.head; l && ret == 0; l = l->next) {
        BlockMapPage *page = l->data;

        if (page->dirty_from == page->dirty_to) {
            g_mutex_lock(&m->map_lock);
            g_queue_unlink(&m->order, l);
            g_hash_table_remove(m->pages, &page->number);
            g_mutex_unlock(&m->map_lock);
            break;
        }
    }
    return ret;
}

static void page_used(BlockMap *m, BlockMapPage *page)
{
    g_queue_unlink(&m->order, &page->link);
    g_queue_push_tail_link(&m->order, &page->link);
}

/* Under lock. *out is NULL where the page is not in the file. It is good until the next one. */
static int coroutine_fn page_get(BlockMap *m, uint64_t number, BlockMapPage **out)
{
    uint64_t at = m->ops->page_at(m, number);
    BlockMapPage *page = g_hash_table_lookup(m->pages, &number);
    int64_t length;
    int ret;

    *out = page;
    if (page) {
        g_mutex_lock(&m->map_lock);
        page_used(m, page);
        g_mutex_unlock(&m->map_lock);
        return 0;
    }
    if (!at) {
        return 0;
    }
    length = block_length(*m->file);
    if (length < 0 || at > (uint64_t)length || page_bytes(m) > length - at) {
        return length < 0 ? length : -EIO; /* what the file has lost is not zeroes */
    }
    ret = pages_make_room(m);
    if (ret < 0) {
        return ret;
    }
    page = g_new0(BlockMapPage, 1);
    page->number = number;
    page->link.data = page;
    page->data = g_try_malloc(page_bytes(m));
    ret = page->data ? block_pread(*m->file, at, page->data, page_bytes(m)) : -ENOMEM;
    if (ret < 0) {
        page_free(page);
        return ret;
    }
    g_mutex_lock(&m->map_lock);
    g_hash_table_insert(m->pages, &page->number, page);
    g_queue_push_tail_link(&m->order, &page->link);
    g_mutex_unlock(&m->map_lock);
    *out = page;
    return 0;
}

/* --- lookups --- */

static uint64_t block_of(const BlockMap *m, uint64_t offset)
{
    return offset / m->block_size;
}

static void run_find(const BlockMap *m, const BlockMapPage *page, uint64_t offset, uint64_t bytes,
                     BlockMapRun *run)
{
    unsigned i = block_of(m, offset) % m->page_entries;
    uint64_t inside = offset % m->block_size, first = 0;

    run->entry = page ? entry_get(m, page, i) : 0;
    run->host = 0;
    run->kind = page ? m->ops->decode(m, run->entry, &run->host) : BLOCK_MAP_ABSENT;
    run->bytes = m->block_size - inside;
    first = run->host;
    while (run->bytes < bytes && ++i < m->page_entries && run->kind < BLOCK_MAP_COMPRESSED) {
        uint64_t host = 0;

        if (page && (m->ops->decode(m, entry_get(m, page, i), &host) != run->kind ||
                     (run->kind == BLOCK_MAP_DATA && host != first + inside + run->bytes))) {
            break;
        }
        run->bytes += m->block_size;
    }
    run->bytes = MIN(run->bytes, bytes);
    if (run->kind == BLOCK_MAP_DATA) {
        run->host += inside;
    }
}

/* Does not wait. False: the page is not in memory. */
static bool map_peek(BlockMap *m, uint64_t offset, uint64_t bytes, BlockMapRun *run)
{
    uint64_t number = block_of(m, offset) / m->page_entries;
    BlockMapPage *page;
    bool found;

    g_mutex_lock(&m->map_lock);
    page = g_hash_table_lookup(m->pages, &number);
    found = page || !m->ops->page_at(m, number);
    if (found) {
        run_find(m, page, offset, bytes, run);
    }
    g_mutex_unlock(&m->map_lock);
    return found;
}

static int coroutine_fn map_load(BlockMap *m, uint64_t offset, uint64_t bytes, BlockMapRun *run)
{
    BlockMapPage *page;
    int ret;

    if (map_peek(m, offset, bytes, run)) {
        return 0;
    }
    co_mutex_lock(&m->lock);
    ret = page_get(m, block_of(m, offset) / m->page_entries, &page);
    if (ret == 0) {
        run_find(m, page, offset, bytes, run);
    }
    co_mutex_unlock(&m->lock);
    return ret;
}

/* --- reading --- */

static int coroutine_fn read_compressed(BlockMap *m, const BlockMapRun *run, uint64_t offset,
                                        const struct iovec *iov, unsigned niov)
{
    block_auto_buffer uint8_t *buf = block_buffer_new(*m->file, m->block_size);
    int ret = buf ? m->ops->read_compressed(m, run->host, run->entry, buf) : -ENOMEM;

    if (ret == 0) {
        iov_from_buf(iov, niov, 0, buf + offset % m->block_size, run->bytes);
    }
    return ret;
}

static int coroutine_fn read_run(BlockMap *m, const BlockMapRun *run, uint64_t offset,
                                 const struct iovec *iov, unsigned niov)
{
    switch (run->kind) {
    case BLOCK_MAP_ABSENT:
        if (m->node->backing) {
            return block_preadv_backing(m->node->backing, m->start + offset, run->bytes, iov, niov);
        }
        iov_memset(iov, niov, 0, 0, run->bytes);
        return 0;
    case BLOCK_MAP_ZERO:
        iov_memset(iov, niov, 0, 0, run->bytes);
        return 0;
    case BLOCK_MAP_DATA:
        return m->ops->read_data ? m->ops->read_data(m, run->host, offset, run->bytes, iov, niov)
                                 : block_preadv(*m->file, run->host, run->bytes, iov, niov);
    case BLOCK_MAP_COMPRESSED:
        return read_compressed(m, run, offset, iov, niov);
    case BLOCK_MAP_BAD:
        break;
    }
    return -EIO;
}

int coroutine_fn block_map_preadv(BlockMap *m, uint64_t offset, uint64_t bytes,
                                  const struct iovec *iov, unsigned niov)
{
    g_autofree struct iovec *part = NULL;
    uint64_t done = 0;

    while (done < bytes) {
        const struct iovec *piece = iov;
        unsigned pieces = niov;
        BlockMapRun run;
        int ret = map_load(m, offset + done, bytes - done, &run);

        if (ret < 0) {
            return ret;
        }
        if (run.bytes < bytes) {
            part = part ? part : g_new(struct iovec, niov);
            pieces = iov_slice(part, niov, iov, niov, done, run.bytes);
            piece = part;
        }
        ret = read_run(m, &run, offset + done, piece, pieces);
        if (ret < 0) {
            return ret;
        }
        done += run.bytes;
    }
    return 0;
}

/* What the blocks show around a write, for copying: absent ones, or zeroes. */
static int coroutine_fn read_around(BlockMap *m, BlockMapKind kind, uint64_t offset, uint8_t *buf,
                                    uint64_t bytes)
{
    uint64_t inside = offset < m->length ? MIN(bytes, m->length - offset) : 0;
    struct iovec iov = {buf, inside};

    memset(buf + inside, 0, bytes - inside);
    if (kind == BLOCK_MAP_ABSENT && m->node->backing && inside) {
        return block_preadv_backing(m->node->backing, m->start + offset, inside, &iov, 1);
    }
    memset(buf, 0, inside);
    return 0;
}

/* --- writing --- */

/* A write to blocks that have no place yet: they get one run of them. */
typedef struct {
    uint64_t offset, bytes; /* the guest's */
    uint64_t first, count;  /* blocks */
    uint64_t host;          /* of the first block */
    uint64_t *entries;
    BlockMapKind kind; /* what they were */
    bool zero;         /* their place reads as zeroes, and what surrounds the data is zeroes */
} BlockMapAlloc;

/* Under lock. Loads the page for a change, and makes it where it is missing. */
static int coroutine_fn page_for_write(BlockMap *m, uint64_t number, BlockMapPage **out)
{
    int ret = page_get(m, number, out);

    if (ret == 0 && !*out) {
        ret = m->ops->make_page ? m->ops->make_page(m, number) : -EIO;
        ret = ret < 0 ? ret : page_get(m, number, out);
    }
    return ret == 0 && !*out ? -EIO : ret;
}

static void alloc_release(BlockMap *m, const BlockMapAlloc *a)
{
    for (uint64_t i = 0; i < a->count; i++) {
        m->ops->release(m, a->host + i * m->block_size);
    }
}

/* Under lock. Takes room for the blocks of a run, as long as that is in one piece. */
static int coroutine_fn alloc_plan(BlockMap *m, const BlockMapRun *run, BlockMapAlloc *a)
{
    uint64_t inside = a->offset % m->block_size;
    uint64_t want = DIV_ROUND_UP(inside + a->bytes, m->block_size);
    int64_t end = block_exact_length(*m->file);

    if (end < 0) {
        return end;
    }
    a->entries = g_new(uint64_t, want);
    a->kind = run->kind;
    a->first = block_of(m, a->offset);
    while (a->count < want) {
        uint64_t host;
        int ret = m->ops->allocate(m, a->first + a->count, &host, &a->entries[a->count]);

        if (ret < 0 && !a->count) {
            return ret;
        }
        if (ret < 0) {
            break;
        }
        if (a->count && host != a->host + a->count * m->block_size) {
            m->ops->release(m, host);
            break;
        }
        a->host = a->count ? a->host : host;
        a->count++;
    }
    a->bytes = MIN(a->bytes, a->count * m->block_size - inside);
    a->zero = block_zero_past_end(*m->file) && !m->failed && a->host >= (uint64_t)end &&
              (run->kind == BLOCK_MAP_ZERO || !m->node->backing);
    return 0;
}

/* The guest's data, with what surrounds it in its blocks, in one request. */
static int coroutine_fn alloc_write(BlockMap *m, const BlockMapAlloc *a, const struct iovec *iov,
                                    unsigned niov)
{
    uint64_t start = a->first * m->block_size, end = start + a->count * m->block_size;
    uint64_t head = a->offset - start, tail = end - (a->offset + a->bytes);
    block_auto_buffer uint8_t *head_buf = NULL, *tail_buf = NULL;
    g_autofree struct iovec *all = NULL;
    unsigned count = 0;
    int ret;

    if (a->zero || (!head && !tail)) {
        return block_pwritev(*m->file, a->host + head, a->bytes, iov, niov, 0);
    }
    all = g_new(struct iovec, niov + 2);
    if (head) {
        head_buf = block_buffer_new(*m->file, head);
        ret = head_buf ? read_around(m, a->kind, start, head_buf, head) : -ENOMEM;
        if (ret < 0) {
            return ret;
        }
        all[count++] = (struct iovec){head_buf, head};
    }
    memcpy(all + count, iov, niov * sizeof *iov);
    count += niov;
    if (tail) {
        tail_buf = block_buffer_new(*m->file, tail);
        ret = tail_buf ? read_around(m, a->kind, a->offset + a->bytes, tail_buf, tail) : -ENOMEM;
        if (ret < 0) {
            return ret;
        }
        all[count++] = (struct iovec){tail_buf, tail};
    }
    return block_pwritev(*m->file, a->host, end - start, all, count, 0);
}

/* Under lock, after the data was written. A run lies in one page. */
static int coroutine_fn alloc_link(BlockMap *m, const BlockMapAlloc *a)
{
    BlockMapPage *page;
    int ret = page_for_write(m, a->first / m->page_entries, &page);

    for (uint64_t i = 0; i < a->count && ret == 0; i++) {
        entry_set(m, page, (a->first + i) % m->page_entries, a->entries[i]);
    }
    m->barrier |= !a->zero;
    return ret;
}

static int coroutine_fn write_part(BlockMap *m, uint64_t host, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov, uint64_t skip)
{
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    unsigned nparts = iov_slice(part, niov, iov, niov, skip, bytes);

    return block_pwritev(*m->file, host, bytes, part, nparts, 0);
}

/* Under lock, which is dropped while the data is written. */
static int coroutine_fn write_allocating(BlockMap *m, const BlockMapRun *run, BlockMapAlloc *a,
                                         const struct iovec *iov, unsigned niov, uint64_t skip)
{
    g_autofree struct iovec *part = g_new(struct iovec, niov);
    BlockPending pending;
    unsigned nparts;
    int ret = alloc_plan(m, run, a);

    if (ret < 0) {
        return ret;
    }
    nparts = iov_slice(part, niov, iov, niov, skip, a->bytes);
    block_pending_begin(&m->pending, &pending, a->first, a->count);
    co_mutex_unlock(&m->lock);
    ret = alloc_write(m, a, part, nparts);
    co_mutex_lock(&m->lock);
    ret = ret < 0 ? ret : alloc_link(m, a);
    if (ret < 0) {
        m->failed = true;
        alloc_release(m, a);
    }
    block_pending_end(&m->pending, &pending);
    return ret;
}

/* Under lock. What a change of [offset, +bytes) finds; no allocating write is on there. */
static int coroutine_fn run_for_write(BlockMap *m, uint64_t offset, uint64_t bytes,
                                      BlockMapRun *run)
{
    BlockMapPage *page;
    int ret;

    do {
        ret = page_for_write(m, block_of(m, offset) / m->page_entries, &page);
        if (ret < 0) {
            return ret;
        }
        run_find(m, page, offset, bytes, run);
    } while (run->kind != BLOCK_MAP_DATA &&
             block_pending_wait(&m->pending, &m->lock, block_of(m, offset),
                                block_of(m, offset + run->bytes - 1) - block_of(m, offset) + 1));
    return 0;
}

/* What the pages in memory alone did not allow. The data starts 'skip' bytes into iov. */
static int coroutine_fn write_locked(BlockMap *m, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, uint64_t skip,
                                     uint64_t *done)
{
    BlockMapAlloc a = {.offset = offset};
    BlockMapRun run;
    int ret;

    co_mutex_lock(&m->lock);
    ret = run_for_write(m, offset, bytes, &run);
    if (ret == 0 && run.kind <= BLOCK_MAP_ZERO) {
        a.bytes = run.bytes;
        ret = write_allocating(m, &run, &a, iov, niov, skip);
        *done = a.bytes;
    }
    co_mutex_unlock(&m->lock);
    g_free(a.entries);
    if (ret < 0 || run.kind <= BLOCK_MAP_ZERO) {
        return ret;
    }
    *done = run.bytes;
    return run.kind == BLOCK_MAP_DATA ? write_part(m, run.host, run.bytes, iov, niov, skip) : -EIO;
}

int coroutine_fn block_map_pwritev(BlockMap *m, uint64_t offset, uint64_t bytes,
                                   const struct iovec *iov, unsigned niov)
{
    uint64_t done = 0, step = 0;

    while (done < bytes) {
        BlockMapRun run;
        int ret;

        if (map_peek(m, offset + done, bytes - done, &run) && run.kind == BLOCK_MAP_DATA) {
            ret = write_part(m, run.host, run.bytes, iov, niov, done);
            step = run.bytes;
        } else {
            ret = write_locked(m, offset + done, bytes - done, iov, niov, done, &step);
        }
        if (ret < 0) {
            return ret;
        }
        done += step;
    }
    return 0;
}

/* Makes absent blocks zero where the backing file shows through. */
static int coroutine_fn zero_entries(BlockMap *m, uint64_t offset, uint64_t bytes, uint64_t *done)
{
    uint64_t first = block_of(m, offset);
    BlockMapPage *page;
    BlockMapRun run;
    int ret;

    co_mutex_lock(&m->lock);
    ret = run_for_write(m, offset, bytes, &run);
    if (ret < 0 || run.kind != BLOCK_MAP_ABSENT) {
        *done = 0; /* the caller looks again */
        goto out;
    }
    *done = run.bytes;
    if (offset + run.bytes < m->length) {
        *done = ROUND_DOWN(run.bytes, m->block_size);
    }
    if (!m->zero_entry || offset % m->block_size || !*done) {
        ret = -ENOTSUP;
        goto out;
    }
    ret = page_get(m, first / m->page_entries, &page);
    for (uint64_t i = 0; ret == 0 && i < DIV_ROUND_UP(*done, m->block_size); i++) {
        entry_set(m, page, (first + i) % m->page_entries, m->zero_entry);
    }
out:
    co_mutex_unlock(&m->lock);
    return ret;
}

int coroutine_fn block_map_pwrite_zeroes(BlockMap *m, uint64_t offset, uint64_t bytes,
                                         unsigned flags)
{
    uint64_t done = 0;

    while (done < bytes) {
        uint64_t step;
        BlockMapRun run;
        int ret = map_load(m, offset + done, bytes - done, &run);

        if (ret < 0) {
            return ret;
        }
        step = run.bytes;
        if (run.kind == BLOCK_MAP_DATA) {
            ret = block_pwrite_zeroes(*m->file, run.host, run.bytes, flags);
        } else if (run.kind == BLOCK_MAP_ABSENT && block_node_may_show_backing(m->node)) {
            ret = zero_entries(m, offset + done, run.bytes, &step);
        } else if (run.kind > BLOCK_MAP_DATA) {
            ret = -ENOTSUP;
        }
        if (ret < 0) {
            return ret;
        }
        done += step;
    }
    return 0;
}

int coroutine_fn block_map_pdiscard(BlockMap *m, uint64_t offset, uint64_t bytes)
{
    for (uint64_t done = 0, step; done < bytes; done += step) {
        BlockMapRun run;
        int ret = map_load(m, offset + done, bytes - done, &run);

        step = run.bytes;
        if (ret == 0 && run.kind == BLOCK_MAP_DATA) {
            ret = block_pdiscard(*m->file, run.host, run.bytes);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

int coroutine_fn block_map_flush(BlockMap *m)
{
    int ret;

    if (!m->pages) {
        return 0; /* destroyed: all was written before */
    }
    co_mutex_lock(&m->lock);
    ret = map_writeback(m);
    co_mutex_unlock(&m->lock);
    return ret < 0 ? ret : block_flush(*m->file);
}

/* --- status --- */

int coroutine_fn block_map_status(BlockMap *m, uint64_t offset, uint64_t bytes, uint64_t *pnum,
                                  uint64_t *map, BlockNode **file)
{
    BlockMapRun run;
    int ret = map_load(m, offset, bytes, &run);

    if (ret < 0) {
        return ret;
    }
    *pnum = run.bytes;
    switch (run.kind) {
    case BLOCK_MAP_ABSENT:
        return m->node->backing ? 0
               : m->has_backing ? BLOCK_STATUS_ZERO
                                : BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    case BLOCK_MAP_ZERO:
        return BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    case BLOCK_MAP_DATA:
        if (m->ops->read_data) {
            return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED;
        }
        *map = run.host;
        *file = *m->file;
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID;
    case BLOCK_MAP_COMPRESSED:
        return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_COMPRESSED;
    case BLOCK_MAP_BAD:
        break;
    }
    return -EIO;
}

bool block_map_cached(BlockMap *m, uint64_t offset, uint64_t bytes, BlockMapping *map)
{
    BlockMapRun run;

    if (m->ops->read_data || !map_peek(m, offset, bytes, &run) || run.kind != BLOCK_MAP_DATA ||
        run.bytes < bytes) {
        return false;
    }
    *map = (BlockMapping){.file = *m->file, .offset = run.host, .bytes = run.bytes};
    return true;
}

/* --- for drivers --- */

int coroutine_fn block_map_entry(BlockMap *m, uint64_t block, uint64_t *entry)
{
    BlockMapPage *page;
    int ret = page_get(m, block / m->page_entries, &page);

    *entry = ret == 0 && page ? entry_get(m, page, block % m->page_entries) : 0;
    return ret;
}

int coroutine_fn block_map_each(BlockMap *m,
                                int coroutine_fn (*fn)(BlockMap *m, uint64_t block, uint64_t entry,
                                                       void *data),
                                void *data)
{
    uint64_t blocks = DIV_ROUND_UP(m->length, m->block_size);
    g_autofree uint8_t *copy = g_try_malloc(page_bytes(m));
    int ret = copy ? 0 : -ENOMEM;

    for (uint64_t first = 0; first < blocks && ret == 0; first += m->page_entries) {
        BlockMapPage *page, was = {.data = copy};

        co_mutex_lock(&m->lock);
        ret = page_get(m, first / m->page_entries, &page);
        if (ret == 0 && page) {
            memcpy(copy, page->data, page_bytes(m));
        }
        co_mutex_unlock(&m->lock);
        for (uint64_t i = 0; ret == 0 && page && i < MIN(m->page_entries, blocks - first); i++) {
            ret = fn(m, first + i, entry_get(m, &was, i), data);
        }
    }
    return ret;
}

int coroutine_fn block_map_put(BlockMap *m, uint64_t block,
                               int coroutine_fn (*write)(BlockMap *m, uint64_t *entry, void *data),
                               void *data)
{
    BlockMapPage *page;
    uint64_t entry;
    BlockMapRun run;
    int ret;

    co_mutex_lock(&m->lock);
    ret = run_for_write(m, block * m->block_size, m->block_size, &run);
    if (ret == 0 && run.kind > BLOCK_MAP_ZERO) {
        ret = -EEXIST;
    }
    ret = ret < 0 ? ret : write(m, &entry, data);
    ret = ret < 0 ? ret : page_for_write(m, block / m->page_entries, &page);
    if (ret == 0) {
        entry_set(m, page, block % m->page_entries, entry);
        m->barrier = true;
    }
    co_mutex_unlock(&m->lock);
    return ret;
}

static bool refuse_writing(BlockNode *node, bool automatic, bool *read_only, GError **err)
{
    if (!*read_only && !automatic) {
        return error_set(err,
                         "Images of the format '%s' can only be read here: use read-only=on, or "
                         "convert the image to another format",
                         node->driver->name);
    }
    *read_only = true;
    return true;
}

bool block_map_refuse_writing(BlockNode *node, GError **err)
{
    return refuse_writing(node, node->opts.auto_read_only, &node->read_only, err);
}

bool coroutine_fn block_map_reopen_read_only(BlockNode *node, const BlockNodeOptions *opts,
                                             const void *props, bool *read_only, GError **err)
{
    return refuse_writing(node, opts->auto_read_only, read_only, err);
}
