/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The space of a host file or device: holes, zeroes, extents, length. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"
#include "drivers.h"
#include "file.h"

/* Called when a change that may have made a hole is done, before its request completes. */
static void file_punched(BlockNode *node)
{
    FileState *s = block_node_state(node);

    __atomic_add_fetch(&s->punch_gen, 1, __ATOMIC_SEQ_CST);
    block_node_wrote(node);
}

/* Calls that may block for long, on a worker. */
typedef struct {
    FileState *s;
    uint64_t offset, bytes;
    unsigned flags;
    int result;
} FileWork;

static int file_run(int (*fn)(void *data), FileWork *work)
{
    return engine_sync_active() ? fn(work) : co_pool_run(fn, work);
}

static int do_fallocate(int fd, int mode, uint64_t offset, uint64_t bytes)
{
    int ret;

    do {
        ret = fallocate(fd, mode, offset, bytes);
    } while (ret < 0 && errno == EINTR);
    if (ret == 0) {
        return 0;
    }
    return errno == EOPNOTSUPP || errno == ENOSYS || errno == ENOTTY || errno == EINVAL ? -ENOTSUP
                                                                                        : -errno;
}

static int punch_hole(FileState *s, uint64_t offset, uint64_t bytes)
{
    int ret;

    if (__atomic_load_n(&s->no_punch, __ATOMIC_RELAXED)) {
        return -ENOTSUP;
    }
    if (s->is_device) {
        uint64_t range[2] = {offset, bytes};
        ret = ioctl(s->fd, BLKDISCARD, range) < 0 ? -errno : 0;
        if (ret == -ENOTTY || ret == -EOPNOTSUPP) {
            ret = -ENOTSUP;
        }
    } else {
        ret = do_fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
    }
    if (ret == -ENOTSUP) {
        __atomic_store_n(&s->no_punch, true, __ATOMIC_RELAXED);
    }
    return ret;
}

static int zeroes_worker(void *data)
{
    FileWork *w = data;
    FileState *s = w->s;
    int64_t length = __atomic_load_n(&s->length, __ATOMIC_SEQ_CST);
    int ret;

    if (s->is_device) {
        uint64_t range[2] = {w->offset, w->bytes};
        if (__atomic_load_n(&s->no_zero_range, __ATOMIC_RELAXED)) {
            return -ENOTSUP;
        }
        ret = ioctl(s->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
        if (ret == -ENOTTY || ret == -EOPNOTSUPP) {
            __atomic_store_n(&s->no_zero_range, true, __ATOMIC_RELAXED);
            ret = -ENOTSUP;
        }
        return ret;
    }
    /* A hole reads as zeroes. Punching one past the end would not make the file longer. */
    if ((w->flags & BLOCK_REQ_MAY_UNMAP) && w->offset + w->bytes <= length) {
        ret = punch_hole(s, w->offset, w->bytes);
        if (ret != -ENOTSUP) {
            return ret;
        }
    }
    if (!__atomic_load_n(&s->no_zero_range, __ATOMIC_RELAXED)) {
        ret = do_fallocate(s->fd, FALLOC_FL_ZERO_RANGE, w->offset, w->bytes);
        if (ret != -ENOTSUP) {
            return ret;
        }
        __atomic_store_n(&s->no_zero_range, true, __ATOMIC_RELAXED);
    }
    if (w->offset >= length) {
        return do_fallocate(s->fd, 0, w->offset, w->bytes);
    }
    return -ENOTSUP;
}

int coroutine_fn file_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    unsigned flags)
{
    FileState *s = block_node_state(node);
    FileWork w = {.s = s, .offset = offset, .bytes = bytes, .flags = flags};
    int ret = file_run(zeroes_worker, &w);

    if (ret == 0) {
        file_grow_length(s, offset + bytes);
    }
    file_punched(node);
    return ret;
}

static int discard_worker(void *data)
{
    FileWork *w = data;

    return punch_hole(w->s, w->offset, w->bytes);
}

int coroutine_fn file_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    FileState *s = block_node_state(node);
    FileWork w = {.s = s, .offset = offset, .bytes = bytes};
    int ret = file_run(discard_worker, &w);

    file_punched(node);
    return ret;
}

/* --- copies --- */

typedef struct {
    FileState *from, *to;
    uint64_t from_offset, offset, bytes;
    bool share, keep_space;
} FileCopy;

/* -EXDEV: reading and writing may do better. */
static int copy_error(int error)
{
    switch (error) {
    case EINVAL: /* not aligned; ranges of one file that overlap */
    case EXDEV:
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOTTY:
    case EBADF: /* opened with O_APPEND, or not a regular file */
    case ETXTBSY:
    case EPERM: /* an immutable or sealed file: the write tells */
        return -EXDEV;
    default:
        return -error;
    }
}

/*
 * Whether the target has space there that is its own, and not shared. A file system that cannot
 * tell says no. Space behind the end is what the file system has put by, and nobody asked for it.
 */
static bool has_own_space(const FileCopy *c)
{
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
    } u;
    const struct fiemap_extent *e = u.map.fm_extents;
    uint64_t at = c->offset, end = c->offset + c->bytes;
    struct stat st;

    if (fstat(c->to->fd, &st) < 0) {
        return false;
    }
    end = MIN(end, (uint64_t)st.st_size);
    while (at < end) {
        memset(&u, 0, sizeof u);
        u.map.fm_start = at;
        u.map.fm_length = end - at;
        u.map.fm_extent_count = 1;
        if (ioctl(c->to->fd, FS_IOC_FIEMAP, &u.map) < 0 || !u.map.fm_mapped_extents) {
            return false;
        }
        if (!(e->fe_flags & FIEMAP_EXTENT_SHARED)) {
            return true;
        }
        at = MAX(e->fe_logical + e->fe_length, at + 1);
    }
    return false;
}

static int share_blocks(const FileCopy *c)
{
    struct file_clone_range range = {.src_fd = c->from->fd,
                                     .src_offset = c->from_offset,
                                     .src_length = c->bytes,
                                     .dest_offset = c->offset};
    int ret;

    if (c->keep_space && has_own_space(c)) {
        return -ENOTSUP;
    }
    do {
        ret = ioctl(c->to->fd, FICLONERANGE, &range);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? copy_error(errno) : 0;
}

static int copy_worker(void *data)
{
    const FileCopy *c = data;
    off_t in = c->from_offset, out = c->offset;

    if (c->share) {
        return share_blocks(c);
    }
    while ((uint64_t)out < c->offset + c->bytes) {
        ssize_t n =
            copy_file_range(c->from->fd, &in, c->to->fd, &out, c->offset + c->bytes - out, 0);

        if (n == 0) {
            return -ENOTSUP; /* the source is shorter than it was */
        }
        if (n < 0 && errno != EINTR) {
            return copy_error(errno);
        }
    }
    return 0;
}

int coroutine_fn file_pcopy(BlockNode *node, uint64_t offset, const BlockHostRange *from,
                            unsigned flags)
{
    FileState *s = block_node_state(node);
    FileCopy c = {.from = block_node_state(from->file),
                  .to = s,
                  .from_offset = from->offset,
                  .offset = offset,
                  .bytes = from->bytes,
                  .share = flags & BLOCK_COPY_SHARE,
                  .keep_space = flags & BLOCK_COPY_KEEP_SPACE};
    int ret = engine_sync_active() ? copy_worker(&c) : co_pool_run(copy_worker, &c);
    struct stat st;

    if (ret == 0) {
        file_grow_length(s, offset + from->bytes);
    } else if (fstat(s->fd, &st) == 0) {
        file_grow_length(s, st.st_size); /* a part may be there, as with a write that fails */
    }
    /* Holes of the source may have become holes here. */
    file_punched(node);
    return ret;
}

/* --- extents --- */

/*
 * The number that changes when a remembered extent may be wrong. Data may have become a hole
 * (punch_gen); reading a hole as data would be slow, not wrong. A hole may have become data by a
 * write: of this process (write_gen), or of another, which no number shows, so holes are remembered
 * only while s->alone. A change raises its number when it is done. Until then its request is in
 * flight, and the range's content is undefined.
 */
static uint64_t file_extent_gen(BlockNode *node, bool data)
{
    FileState *s = block_node_state(node);

    return data ? __atomic_load_n(&s->punch_gen, __ATOMIC_SEQ_CST)
                : __atomic_load_n(&node->write_gen, __ATOMIC_SEQ_CST);
}

static bool file_extent_known(BlockNode *node, uint64_t offset, FileExtent *e)
{
    FileState *s = block_node_state(node);

    g_mutex_lock(&s->extent_lock);
    *e = s->extent;
    g_mutex_unlock(&s->extent_lock);
    return offset >= e->start && offset < e->end &&
           (e->data || __atomic_load_n(&s->alone, __ATOMIC_SEQ_CST)) &&
           e->gen == file_extent_gen(node, e->data);
}

/* Asks for the extent from 'offset' on. False: the file system cannot tell. */
static bool file_extent_find(BlockNode *node, uint64_t offset, FileExtent *e)
{
    FileState *s = block_node_state(node);
    uint64_t data_gen = file_extent_gen(node, true), hole_gen = file_extent_gen(node, false);
    off_t end = lseek(s->fd, offset, SEEK_DATA);

    e->start = offset;
    e->data = end == (off_t)offset;
    if (e->data) {
        /* The slow question: the file system may walk over all of the data. */
        end = lseek(s->fd, offset, SEEK_HOLE);
    } else if (end < 0 && errno == ENXIO) {
        end = INT64_MAX; /* a hole up to the end of the file */
    }
    if (end <= (off_t)offset) {
        return false;
    }
    e->end = end;
    e->gen = e->data ? data_gen : hole_gen;
    g_mutex_lock(&s->extent_lock);
    s->extent = *e;
    g_mutex_unlock(&s->extent_lock);
    return true;
}

int coroutine_fn file_block_status(BlockNode *node, uint64_t offset, uint64_t bytes, uint64_t *pnum,
                                   uint64_t *map, BlockNode **file)
{
    FileState *s = block_node_state(node);
    FileExtent e = {.data = true, .end = offset + bytes};

    *map = offset;
    *file = node;
    if (!s->is_device && !file_extent_known(node, offset, &e) &&
        !file_extent_find(node, offset, &e)) {
        e = (FileExtent){.data = true, .end = offset + bytes};
    }
    *pnum = MIN(bytes, e.end - offset);
    return (e.data ? BLOCK_STATUS_DATA : BLOCK_STATUS_ZERO) | BLOCK_STATUS_ALLOCATED |
           BLOCK_STATUS_OFFSET_VALID;
}

static int truncate_worker(void *data)
{
    FileWork *w = data;
    int ret;

    do {
        ret = ftruncate(w->s->fd, w->bytes);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

int coroutine_fn file_truncate(BlockNode *node, uint64_t size, GError **err)
{
    FileState *s = block_node_state(node);
    FileWork w = {.s = s, .bytes = size};
    struct stat st;
    int ret;

    if (s->is_device) {
        int64_t now = file_host_length(s);
        if (now < 0) {
            error_set_errno(err, -now, "Could not get the size of '%s'", s->filename);
            return now;
        }
        /* The host may have resized the device: block_resize of any size reads its length again. */
        __atomic_store_n(&s->length, now, __ATOMIC_SEQ_CST);
        if (size <= now) {
            return 0;
        }
        error_set(err, "Cannot grow device files");
        return -EINVAL;
    }
    /* The host is asked: a cut that crossed file_make_room() may have taken the room back. */
    if ((int64_t)size > __atomic_load_n(&s->length, __ATOMIC_SEQ_CST) &&
        (int64_t)size <= __atomic_load_n(&s->room, __ATOMIC_SEQ_CST) && fstat(s->fd, &st) == 0 &&
        st.st_size >= (int64_t)size) {
        /* Nothing is cut: a write to what lies behind may be under way. */
        file_grow_length(s, size);
        file_punched(node);
        return 0;
    }
    ret = file_run(truncate_worker, &w);
    if (ret < 0) {
        error_set_errno(err, -ret, "Failed to resize the file '%s'", s->filename);
        return ret;
    }
    __atomic_store_n(&s->room, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->length, size, __ATOMIC_SEQ_CST);
    file_punched(node);
    return 0;
}

static int fallocate_worker(void *data)
{
    FileWork *w = data;

    return do_fallocate(w->s->fd, 0, w->offset, w->bytes);
}

int coroutine_fn file_preallocate(BlockNode *node, uint64_t offset, uint64_t bytes,
                                  BlockPreallocation mode)
{
    FileState *s = block_node_state(node);
    FileWork w = {.s = s, .offset = offset, .bytes = bytes};
    int ret = -ENOTSUP;

    if (mode == BLOCK_PREALLOC_METADATA) {
        return -ENOTSUP;
    }
    if (!bytes) {
        return 0;
    }
    if (mode == BLOCK_PREALLOC_FALLOC) {
        ret = file_run(fallocate_worker, &w);
        file_punched(node);
    }
    return ret == -ENOTSUP ? block_fill_zeroes(node, offset, bytes) : ret;
}

/*
 * Linux takes direct writes that make a file longer one at a time, and io_submit() waits for them.
 * fallocate() of the last block, unlike ftruncate(), never makes it shorter, whatever else is
 * written meanwhile.
 */
static void coroutine_fn file_make_room(BlockNode *node, uint64_t end)
{
    enum { STEP = 16 << 20, BLOCK = 4096 };
    FileState *s = block_node_state(node);
    int64_t to = ROUND_UP(end + 1, STEP);
    FileWork w = {.s = s, .offset = to - BLOCK, .bytes = BLOCK};
    int ret;

    if ((int64_t)end <= __atomic_load_n(&s->room, __ATOMIC_RELAXED) ||
        (int64_t)end <= __atomic_load_n(&s->length, __ATOMIC_RELAXED) ||
        __atomic_load_n(&s->no_room, __ATOMIC_RELAXED) ||
        __atomic_exchange_n(&s->making_room, true, __ATOMIC_SEQ_CST)) {
        return;
    }
    ret = file_run(fallocate_worker, &w);
    if (ret == 0) {
        __atomic_store_n(&s->room, to, __ATOMIC_SEQ_CST);
        block_node_wrote(node);
    } else if (ret == -ENOTSUP) {
        __atomic_store_n(&s->no_room, true, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&s->making_room, false, __ATOMIC_SEQ_CST);
}

bool coroutine_fn block_make_room(BlockNode *n, uint64_t end)
{
    if (n->driver != &block_driver_file || !n->opts.cache.direct) {
        return false;
    }
    block_node_enter(n);
    file_make_room(n, end);
    block_node_leave(n);
    return true;
}

/*
 * ext4 (mount option auto_da_alloc) writes out a file that was truncated to 0 at the next close()
 * of any descriptor. That close() is this one, while the file is empty: not the one after an image
 * was written, which would wait for all of it.
 */
static void empty_close(FileState *s)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", s->fd);
    int fd = host_open(path, O_RDONLY, 0, NULL);

    if (fd >= 0) {
        close(fd);
    }
}

/* Grows the file first: where it cannot become long enough, its content stays. */
static int empty_worker(void *data)
{
    FileWork *w = data;
    FileWork none = {.s = w->s};
    struct stat st;
    int ret;

    if (fstat(w->s->fd, &st) < 0) {
        return -errno;
    }
    ret = w->bytes > (uint64_t)st.st_size ? truncate_worker(w) : 0;
    ret = ret < 0 ? ret : truncate_worker(&none);
    if (ret == 0) {
        empty_close(w->s);
    }
    return ret;
}

int coroutine_fn file_make_empty(BlockNode *node, uint64_t length, bool *zero, GError **err)
{
    FileState *s = block_node_state(node);
    FileWork w = {.s = s, .bytes = length};
    int ret;

    *zero = true;
    ret = file_run(empty_worker, &w);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not resize file");
        return ret;
    }
    __atomic_store_n(&s->room, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->length, 0, __ATOMIC_SEQ_CST);
    file_punched(node);
    return 0;
}

/* A device keeps its old bytes, but the old format must not be probed: clears the first sector. */
int coroutine_fn host_device_make_empty(BlockNode *node, uint64_t length, bool *zero, GError **err)
{
    int64_t now = block_length(node);
    int ret;

    *zero = false;
    if (now < 0 || length > (uint64_t)now) {
        error_set(err, "Cannot grow device files");
        return -EINVAL;
    }
    ret = block_pwrite_zeroes(node, 0, MIN(now, 512), 0);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not clear the new image's first sector");
    }
    return ret;
}
