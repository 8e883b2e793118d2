/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocols 'file' (a regular file), 'host_device' (a block device) and 'host_cdrom': opening,
 * locks, reopening, reads, writes and flushes. What changes the file's space is in file_space.c,
 * what a CD drive has beyond that in host_cdrom.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "../open.h"
#include "drivers.h"
#include "file.h"

static const char *const file_aio_names[] = {"threads", "native", "io_uring", NULL};

static const Property file_props[] = {
    {.name = "filename",
     .type = PROP_STRING,
     .offset = offsetof(FileState, filename),
     .flags = PROP_FLAG_REQUIRED,
     .help = "path of the file"},
    {.name = "aio",
     .type = PROP_ENUM,
     .offset = offsetof(FileState, aio),
     .names = file_aio_names,
     .help = "host I/O engine: threads, native (needs cache.direct=on) or io_uring",
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(FileState, has_aio)},
    PROP("locking", PROP_ON_OFF_AUTO, FileState, locking, "auto",
         "lock the image against other processes"),
    PROP("aio-max-batch", PROP_UINT32, FileState, aio_max_batch, "0",
         "aio=native: most requests that go to the kernel together (0: as many as there are)"),
    {.name = "drop-cache",
     .type = PROP_BOOL,
     .offset = offsetof(FileState, drop_cache),
     .defval = "on",
     .help = "forget the page cache where another process had the image",
     .flags = PROP_FLAG_RUNTIME},
    PROP_END,
};

static const BlockRefusedOption file_refused[] = {
    {"pr-manager", "persistent reservations are SCSI commands that a guest gives to a passed "
                   "through LUN, which this program cannot do; leave the option out"},
    {"x-check-cache-dropped", "it is for QEMU's own tests; leave the option out"},
    {NULL},
};

static bool file_choose_engine(BlockNode *node, FileState *s, GError **err)
{
    EventLoop *loop = event_loop_current();

    switch (s->has_aio ? s->aio : BLOCK_AIO_DEFAULT) {
    case BLOCK_AIO_THREADS:
        s->engine = &engine_threads;
        return true;
    case BLOCK_AIO_NATIVE:
        if (!node->opts.cache.direct) {
            return error_set(err, "aio=native was specified, but it requires cache.direct=on, "
                                  "which was not specified.");
        }
        s->engine = &engine_aio;
        break;
    case BLOCK_AIO_IO_URING:
        s->engine = &engine_uring;
        break;
    default:
        /* A loop makes its ring at the first request, which keeps that cost out of start-up. */
        s->engine = &engine_uring;
        return true;
    }
    if (loop && !s->engine->usable(loop, err)) {
        block_error_prefix(err, "Unable to use aio=%s", s->engine->name);
        return false;
    }
    return true;
}

static bool reads_with(int fd, char *buf, size_t offset_in_buf, size_t len)
{
    ssize_t ret;

    do {
        ret = pread(fd, buf + offset_in_buf, len, 0);
    } while (ret < 0 && errno == EINTR);
    /* EINVAL is about alignment; other errors are about the medium. */
    return ret >= 0 || errno != EINVAL;
}

/* Direct I/O: device and file system decide the alignment. It is found by trying reads. */
static bool probe_alignment(const FileState *s, int fd, bool direct, uint32_t *request,
                            uint32_t *memory, GError **err)
{
    const size_t max = 65536;
    void *buf;
    size_t len, mem;

    *request = 1;
    *memory = 1;
    if (!direct) {
        return true;
    }
    if (posix_memalign(&buf, max, 2 * max)) {
        return error_set_errno(err, ENOMEM, "Could not find working O_DIRECT alignment");
    }
    for (len = 512; len <= max && !reads_with(fd, buf, 0, len); len *= 2) {
    }
    for (mem = 512; mem <= max && !reads_with(fd, buf, mem, MIN(len, max)); mem *= 2) {
    }
    free(buf);
    if (len > max || mem > max) {
        error_set(err, "Could not find working O_DIRECT alignment");
        return false;
    }
    if (s->is_device) {
        int sector = 0;
        if (ioctl(fd, BLKSSZGET, &sector) == 0 && is_power_of_2(sector) && sector > len) {
            len = sector;
        }
    }
    *request = len;
    *memory = mem;
    return true;
}

int64_t file_host_length(FileState *s)
{
    struct stat st;

    if (s->is_cdrom) {
        return __atomic_load_n(&s->length,
                               __ATOMIC_SEQ_CST); /* as host_cdrom_look() has found it */
    }
    if (s->is_device) {
        uint64_t bytes;
        if (ioctl(s->fd, BLKGETSIZE64, &bytes) == 0) {
            return bytes;
        }
    } else if (fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode)) {
        return st.st_size;
    }
    off_t end = lseek(s->fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

static bool file_locks(FileState *s)
{
    return s->locking != ON_OFF_AUTO_OFF && !s->is_device && !s->no_locks;
}

static bool file_perms_prepare(BlockNode *node, unsigned needs, unsigned unshared, GError **err)
{
    FileState *s = block_node_state(node);

    s->next = (FileLocks){needs, unshared};
    return !file_locks(s) || file_lock(s->fd, s->filename, s->locks, s->next, err);
}

/*
 * Gives up the locks that are no longer wanted. What was read of the file without a lock is looked
 * at again: another process may have changed it before this one had the lock.
 */
static void file_perms_commit(BlockNode *node)
{
    FileState *s = block_node_state(node);
    bool alone = s->next.unshared & BLOCK_PERM_WRITE;

    if (file_locks(s)) {
        file_unlock(s->fd, s->locks, s->next);
        alone = __atomic_exchange_n(&s->alone, alone, __ATOMIC_SEQ_CST) != alone && alone;
        if (alone) {
            int64_t length = file_host_length(s);

            __atomic_add_fetch(&s->punch_gen, 1, __ATOMIC_SEQ_CST);
            if (length >= 0) {
                __atomic_store_n(&s->length, length, __ATOMIC_SEQ_CST);
            }
        }
    }
    s->locks = s->next;
}

static void file_perms_abort(BlockNode *node)
{
    FileState *s = block_node_state(node);

    if (file_locks(s)) {
        file_unlock(s->fd, s->next, s->locks);
    }
}

/* Linux opens a block device that is read-only for writing, and refuses each write. */
static bool file_device_writable(const FileState *s, int fd, GError **err)
{
    int read_only = 0;

    if (!s->is_device || ioctl(fd, BLKROGET, &read_only) < 0 || !read_only) {
        return true;
    }
    error_set(err, "Could not open '%s': the device is read-only: use read-only=on", s->filename);
    if (err && *err) {
        (*err)->code = EACCES;
    }
    return false;
}

static int file_open_fd(const FileState *s, bool direct, bool read_only, GError **err)
{
    int flags =
        (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | (s->is_cdrom ? O_NONBLOCK : 0);
    g_autoptr(GError) local = NULL;
    int fd = host_open(s->filename, flags, 0, &local);

    if (fd < 0) {
        if (local->code == EINVAL && direct) {
            error_set(err, "Could not open '%s': filesystem does not support O_DIRECT",
                      s->filename);
            if (err && *err) {
                (*err)->code = EINVAL;
            }
        } else if (local->code == EMFILE) {
            struct rlimit limit = {0};

            getrlimit(RLIMIT_NOFILE, &limit);
            error_set(err,
                      "Could not open '%s': Too many open files (this process may have %ju: raise "
                      "its hard limit, 'ulimit -Hn')",
                      s->filename, (uintmax_t)limit.rlim_cur);
        } else {
            g_propagate_error(err, g_steal_pointer(&local));
        }
    } else if (!read_only && !file_device_writable(s, fd, err)) {
        fd_close(&fd);
    }
    return fd;
}

/* *read_only in: what is asked for. It becomes true where auto-read-only has to give way. */
static int file_open_auto(const FileState *s, const BlockNodeOptions *opts, bool *read_only,
                          GError **err)
{
    g_autoptr(GError) local = NULL;
    int fd = file_open_fd(s, opts->cache.direct, *read_only, &local);

    if (fd < 0 && !*read_only && opts->auto_read_only &&
        (local->code == EACCES || local->code == EROFS || local->code == EPERM)) {
        g_clear_error(&local);
        *read_only = true;
        fd = file_open_fd(s, opts->cache.direct, true, &local);
    }
    if (fd < 0) {
        g_propagate_error(err, g_steal_pointer(&local));
    }
    return fd;
}

static bool file_open_common(BlockNode *node, bool is_device, GError **err)
{
    FileState *s = block_node_state(node);
    struct stat st;

    s->next_fd = -1;
    g_mutex_init(&s->extent_lock);
    s->is_device = is_device;
    s->fd = file_open_auto(s, &node->opts, &node->read_only, err);
    if (s->fd < 0) {
        goto fail;
    }
    if (fstat(s->fd, &st) < 0) {
        error_set_errno(err, errno, "Could not stat file");
        goto fail;
    }
    if (is_device ? !S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode) : !S_ISREG(st.st_mode)) {
        if (is_device) {
            error_set(err, "'%s' is not a block device", s->filename);
        } else if (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) {
            error_set(err, "'%s' is a device: use driver 'host_device'", s->filename);
        } else {
            error_set(err,
                      "A regular file was expected by the 'file' driver, but something else was "
                      "given ('%s')",
                      s->filename);
        }
        goto fail;
    }
    if (!s->is_device && s->locking != ON_OFF_AUTO_OFF && !file_locks_supported(s->fd)) {
        s->no_locks = true;
        if (s->locking == ON_OFF_AUTO_ON) {
            log_warn("File lock requested but OFD locking syscall is unavailable, "
                     "falling back to no locking");
        }
    }
    if (!probe_alignment(s, s->fd, node->opts.cache.direct, &node->request_alignment,
                         &node->memory_alignment, err) ||
        !file_choose_engine(node, s, err)) {
        goto fail;
    }
    if (s->is_cdrom) {
        host_cdrom_look(s);
    }
    s->length = file_host_length(s);
    if (s->length < 0) {
        error_set_errno(err, -s->length, "Could not get the size of '%s'", s->filename);
        goto fail;
    }
    g_free(node->filename);
    node->filename = g_strdup(s->filename);
    return true;
fail:
    fd_close(&s->fd);
    g_mutex_clear(&s->extent_lock);
    return false;
}

static bool file_node_open(BlockNode *node, GError **err)
{
    return file_open_common(node, false, err);
}

static bool host_device_open(BlockNode *node, GError **err)
{
    return file_open_common(node, true, err);
}

static bool host_cdrom_open(BlockNode *node, GError **err)
{
    FileState *s = block_node_state(node);

    if (access(s->filename, R_OK) == 0 && !host_cdrom_is_one(s->filename)) {
        return error_set(err, "'%s' is no CD-ROM drive: use driver 'host_device'", s->filename);
    }
    s->is_cdrom = true;
    return file_open_common(node, true, err);
}

static bool file_reopen_prepare(BlockNode *node, const BlockNodeOptions *opts, const void *props,
                                bool *read_only, GError **err)
{
    FileState *s = block_node_state(node);
    struct stat now, next;

    if (opts->cache.direct == node->opts.cache.direct && *read_only == node->read_only) {
        return true;
    }
    if (s->has_aio && s->aio == BLOCK_AIO_NATIVE && !opts->cache.direct) {
        return error_set(err, "aio=native was specified, but it requires cache.direct=on, which "
                              "was not specified.");
    }
    s->next_fd = file_open_auto(s, opts, read_only, err);
    if (s->next_fd < 0) {
        return false;
    }
    if (fstat(s->fd, &now) < 0 || fstat(s->next_fd, &next) < 0 || now.st_dev != next.st_dev ||
        now.st_ino != next.st_ino) {
        error_set(err, "'%s' is no longer the file that was opened", s->filename);
    } else if (probe_alignment(s, s->next_fd, opts->cache.direct, &s->next_request, &s->next_memory,
                               err)) {
        return true;
    }
    fd_close(&s->next_fd);
    return false;
}

/*
 * The locks move to the new descriptor untested: those of the old one, which are the same, would be
 * conflicts, and hold until it is closed.
 */
static void file_reopen_commit(BlockNode *node, const void *props)
{
    FileState *s = block_node_state(node);

    s->drop_cache = ((const FileState *)props)->drop_cache;
    if (s->next_fd < 0) {
        return;
    }
    if (file_locks(s)) {
        file_lock_again(s->next_fd, s->filename, s->locks);
    }
    close(s->fd);
    s->fd = s->next_fd;
    s->next_fd = -1;
    node->request_alignment = s->next_request;
    node->memory_alignment = s->next_memory;
}

static void file_reopen_abort(BlockNode *node)
{
    FileState *s = block_node_state(node);

    fd_close(&s->next_fd);
}

/* Another process may have written to the file. */
static bool coroutine_fn file_activate(BlockNode *node, GError **err)
{
    FileState *s = block_node_state(node);
    int64_t length = file_host_length(s);

    if (length < 0) {
        return error_set_errno(err, -length, "Could not get the size of '%s'", s->filename);
    }
    __atomic_store_n(&s->length, length, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&s->punch_gen, 1, __ATOMIC_SEQ_CST);
    /* On a file system of several hosts, this one's cache may have what was there before. */
    if (s->drop_cache && !node->opts.cache.direct) {
        int error = posix_fadvise(s->fd, 0, 0, POSIX_FADV_DONTNEED);

        if (error) {
            return error_set_errno(err, error, "Could not drop the page cache of '%s'",
                                   s->filename);
        }
    }
    return true;
}

static void file_node_close(BlockNode *node)
{
    FileState *s = block_node_state(node);

    fd_close(&s->fd);
    g_mutex_clear(&s->extent_lock);
}

void file_grow_length(FileState *s, int64_t end)
{
    int64_t old = __atomic_load_n(&s->length, __ATOMIC_RELAXED);

    while (end > old && !__atomic_compare_exchange_n(&s->length, &old, end, false, __ATOMIC_SEQ_CST,
                                                     __ATOMIC_RELAXED)) {
    }
}

/* Between the engine and the caller: notes what the operation has changed. */
static int file_op_result(BlockNode *node, const EngineOp *op, int ret)
{
    FileState *s = block_node_state(node);
    struct stat st;

    if (op->kind == ENGINE_WRITE) {
        /* Even a failed write may have changed something. */
        block_node_wrote(node);
        if (ret == 0) {
            file_grow_length(s, op->offset + op->bytes);
        } else if (fstat(s->fd, &st) == 0) {
            /*
             * A part may have been written past the old end. qcow2 takes bytes past the end for
             * zeroes (zero_past_eof), so the length has to include that part.
             */
            file_grow_length(s, st.st_size);
        }
    } else if (op->kind == ENGINE_FLUSH && ret < 0 && !node->opts.cache.direct) {
        /*
         * Linux drops dirty pages whose writeback failed, and reports that once: a later fsync()
         * succeeds although the data is lost. So all later flushes fail here.
         */
        __atomic_store_n(&s->flush_error, -ret, __ATOMIC_SEQ_CST);
    }
    return ret;
}

static const char *file_op_name(const EngineOp *op)
{
    return op->kind == ENGINE_READ ? "read" : op->kind == ENGINE_WRITE ? "write" : "flush";
}

static void file_retire(EngineOp *op, int ret)
{
    trace(engine_complete, op->node->opts.node_name, file_op_name(op), op->offset, op->bytes, ret);
    op->done(op, file_op_result(op->node, op, ret));
}

/*
 * io_uring copies what is in the page cache on the submitting thread, and has one worker for all
 * buffered writes to a file. So where nobody asked for it, what is long is the pool's: a guest's
 * loop goes on meanwhile, and copies of a disk read and write at the same time.
 */
static bool file_pool_does_better(const BlockNode *node, const FileState *s, const EngineOp *op)
{
    enum { LONG = 512 * 1024 };

    return op->bytes >= LONG && !node->opts.cache.direct &&
           !(s->has_aio && s->aio == BLOCK_AIO_IO_URING);
}

static void file_engine_submit(BlockNode *node, EngineOp *op)
{
    FileState *s = block_node_state(node);
    EventLoop *loop = event_loop_current();
    const Engine *engine = s->engine;

    op->fd = s->fd;
    op->node = node;
    op->align = node->request_alignment;
    op->max_batch = s->aio_max_batch;
    op->retire = file_retire;
    if (G_UNLIKELY(engine != &engine_threads) &&
        (file_pool_does_better(node, s, op) || G_UNLIKELY(!engine->usable(loop, NULL)))) {
        engine = &engine_threads;
    }
    trace(engine_submit, node->opts.node_name, engine->name, file_op_name(op), op->offset,
          op->bytes);
    engine->submit(loop, op);
}

typedef struct {
    EngineOp op;
    Coroutine *co;
    int ret;
    bool done;
} CoEngineOp;

static void co_op_done(EngineOp *op, int ret)
{
    CoEngineOp *co_op = (CoEngineOp *)op;

    co_op->ret = ret;
    co_op->done = true;
    coroutine_wake(co_op->co);
}

static int coroutine_fn file_co_op(BlockNode *node, EngineOpKind kind, uint64_t offset,
                                   uint64_t bytes, const struct iovec *iov, unsigned niov)
{
    FileState *s = block_node_state(node);
    CoEngineOp c = {
        .op = {.kind = kind,
               .fd = s->fd,
               .offset = offset,
               .bytes = bytes,
               .iov = iov,
               .niov = niov,
               .align = node->request_alignment,
               .max_batch = s->aio_max_batch,
               .node = node,
               .done = co_op_done},
    };

    if (engine_sync_active()) {
        return file_op_result(node, &c.op, engine_run_sync(&c.op));
    }
    c.co = coroutine_self();
    file_engine_submit(node, &c.op);
    while (!c.done) {
        coroutine_yield();
    }
    return c.ret;
}

/* Splits what one system call does not take: ENGINE_MAX_IOV entries, ENGINE_MAX_BYTES. */
static int coroutine_fn file_co_rw(BlockNode *node, EngineOpKind kind, uint64_t offset,
                                   uint64_t bytes, const struct iovec *iov, unsigned niov)
{
    g_autofree struct iovec *part = NULL;
    uint64_t done = 0;

    if (niov <= ENGINE_MAX_IOV && bytes <= ENGINE_MAX_BYTES) {
        return file_co_op(node, kind, offset, bytes, iov, niov);
    }
    part = g_new(struct iovec, ENGINE_MAX_IOV);
    while (done < bytes) {
        uint64_t len = MIN(bytes - done, ENGINE_MAX_BYTES);
        unsigned n;
        int ret;

        while (!(n = iov_slice(part, ENGINE_MAX_IOV, iov, niov, done, len))) {
            len = ROUND_UP(len / 2, MAX(node->request_alignment, 512));
        }
        ret = file_co_op(node, kind, offset + done, len, part, n);
        if (ret < 0) {
            return ret;
        }
        done += len;
    }
    return 0;
}

static int coroutine_fn file_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    return file_co_rw(node, ENGINE_READ, offset, bytes, iov, niov);
}

static int coroutine_fn file_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    return file_co_rw(node, ENGINE_WRITE, offset, bytes, iov, niov);
}

static int coroutine_fn file_flush(BlockNode *node)
{
    FileState *s = block_node_state(node);
    int failed = __atomic_load_n(&s->flush_error, __ATOMIC_SEQ_CST);

    return failed ? -EIO : file_co_op(node, ENGINE_FLUSH, 0, 0, NULL, 0);
}

static int64_t file_length(BlockNode *node)
{
    FileState *s = block_node_state(node);

    return __atomic_load_n(&s->length, __ATOMIC_SEQ_CST);
}

/* By the descriptor: the name may be another file's by now. */
static int64_t file_allocated(BlockNode *node)
{
    FileState *s = block_node_state(node);
    struct stat st;

    return fstat(s->fd, &st) == 0 ? (int64_t)st.st_blocks * 512 : -errno;
}

const BlockDriver block_driver_file = {
    .name = "file",
    .protocols = "file",
    .parse_filename = block_host_filename_config,
    .help = "a regular file",
    .size = sizeof(FileState),
    .props = file_props,
    .refused = file_refused,
    .is_protocol = true,
    .open = file_node_open,
    .reopen_prepare = file_reopen_prepare,
    .reopen_commit = file_reopen_commit,
    .reopen_abort = file_reopen_abort,
    .activate = file_activate,
    .perms_prepare = file_perms_prepare,
    .perms_commit = file_perms_commit,
    .perms_abort = file_perms_abort,
    .close = file_node_close,
    .preadv = file_preadv,
    .pwritev = file_pwritev,
    .pwrite_zeroes = file_pwrite_zeroes,
    .pdiscard = file_pdiscard,
    .pcopy = file_pcopy,
    .pcopy_source = true,
    .flush = file_flush,
    .block_status = file_block_status,
    .truncate = file_truncate,
    .preallocate = file_preallocate,
    .make_empty = file_make_empty,
    .length = file_length,
    .allocated = file_allocated,
    .engine_submit = file_engine_submit,
    .open_to_map = file_open_to_map,
};

const BlockDriver block_driver_host_device = {
    .name = "host_device",
    .protocols = "host_device",
    .parse_filename = block_host_filename_config,
    .help = "a block device of the host",
    .size = sizeof(FileState),
    .props = file_props,
    .refused = file_refused,
    .is_protocol = true,
    .open = host_device_open,
    .reopen_prepare = file_reopen_prepare,
    .reopen_commit = file_reopen_commit,
    .reopen_abort = file_reopen_abort,
    .activate = file_activate,
    .close = file_node_close,
    .preadv = file_preadv,
    .pwritev = file_pwritev,
    .pwrite_zeroes = file_pwrite_zeroes,
    .pdiscard = file_pdiscard,
    .flush = file_flush,
    .block_status = file_block_status,
    .truncate = file_truncate,
    .make_empty = host_device_make_empty,
    .length = file_length,
    .engine_submit = file_engine_submit,
};

const BlockDriver block_driver_host_cdrom = {
    .name = "host_cdrom",
    .protocols = "host_cdrom",
    .parse_filename = block_host_filename_config,
    .help = "a CD-ROM drive of the host",
    .size = sizeof(FileState),
    .props = file_props,
    .refused = file_refused,
    .is_protocol = true,
    .open = host_cdrom_open,
    .reopen_prepare = file_reopen_prepare,
    .reopen_commit = file_reopen_commit,
    .reopen_abort = file_reopen_abort,
    .activate = file_activate,
    .close = file_node_close,
    .preadv = file_preadv,
    .pwritev = file_pwritev,
    .pwrite_zeroes = file_pwrite_zeroes,
    .pdiscard = file_pdiscard,
    .flush = file_flush,
    .block_status = file_block_status,
    .truncate = file_truncate,
    .make_empty = host_device_make_empty,
    .length = file_length,
    .has_medium = host_cdrom_has_medium,
    .follow_tray = host_cdrom_follow_tray,
    .engine_submit = file_engine_submit,
};
