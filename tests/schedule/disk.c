/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../../block/core.h"
#include "../../block/engine.h"
#include "base/error.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/util.h"

typedef struct Work {
    EngineOpKind kind;
    Disk *disk;
    uint64_t offset, bytes;
    const struct iovec *iov; /* NULL: zeroes */
    unsigned niov;
    const Disk *from; /* NULL, or a write of what is there */
    uint64_t from_offset;
    int ret;
    EngineOp *op;  /* whose it is, or */
    Coroutine *co; /* who waits for it */
    bool done;
    BottomHalf bh;
} Work;

typedef struct {
    int64_t index;
} SeedDisk;

Disk disks[DISK_SEEDED];

static struct {
    GMutex lock;
    GCond cond;
    GPtrArray *works; /* that nobody has taken */
    unsigned pending; /* atomic */
    bool quit;
    unsigned error_in, nospace_in, stick_pace;
    Rand rand;
    pthread_t thread;
} server;

/* The model. */

void disk_holds(DiskSector *s, uint32_t value)
{
    s->values[0] = value;
    s->count = 1;
}

void disk_may_hold(DiskSector *s, uint32_t value)
{
    if (s->count < DISK_VALUES) {
        s->values[s->count] = value;
    }
    s->count = MIN(s->count + 1, DISK_VALUES + 1);
}

bool disk_fits(const DiskSector *s, uint32_t value)
{
    for (unsigned i = 0; i < s->count && s->count <= DISK_VALUES; i++) {
        if (s->values[i] == value) {
            return true;
        }
    }
    return s->count > DISK_VALUES;
}

/* A disk's own cache. */

static void disk_mark(Disk *disk, uint64_t offset, uint64_t bytes)
{
    for (uint64_t i = offset / DISK_SECTOR; i * DISK_SECTOR < offset + bytes; i++) {
        if (i < DISK_SECTORS) {
            __atomic_store_n(&disk->unflushed[i], true, __ATOMIC_RELAXED);
        }
    }
}

void disk_flushed(Disk *disk)
{
    for (unsigned i = 0; i < DISK_SECTORS; i++) {
        __atomic_store_n(&disk->unflushed[i], false, __ATOMIC_RELAXED);
    }
}

int disk_unflushed(unsigned disk, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        if (__atomic_load_n(&disks[disk].unflushed[i], __ATOMIC_RELAXED)) {
            return i;
        }
    }
    return -1;
}

/* The server. */

static bool is_image(const Disk *disk)
{
    return disk - disks >= DISK_CHAIN;
}

static uint64_t disk_room(const Disk *disk)
{
    return is_image(disk) ? DISK_CHAIN_ROOM : DISK_SECTOR * (DISK_SECTORS + DISK_MORE);
}

/* The host does not copy everything, and may find that out when it has copied a part. */
static int copy_refused(Work *w)
{
    if (w->from_offset + w->bytes <= __atomic_load_n(&w->from->length, __ATOMIC_SEQ_CST) &&
        !rand_one_in(&server.rand, 5)) {
        return 0;
    }
    w->bytes = rand_below(&server.rand, w->bytes / DISK_SECTOR + 1) * DISK_SECTOR;
    return -EXDEV;
}

static int work_error(Work *w)
{
    if (w->kind == ENGINE_WRITE && __atomic_load_n(&w->disk->broken, __ATOMIC_SEQ_CST)) {
        return -EIO;
    }
    if (w->kind == ENGINE_WRITE && server.nospace_in &&
        rand_one_in(&server.rand, server.nospace_in)) {
        return -ENOSPC;
    }
    if (server.error_in && rand_one_in(&server.rand, server.error_in)) {
        return -EIO;
    }
    return w->from ? copy_refused(w) : 0;
}

/* What the host's kernel does with the guest's memory is no race of this program's. */
static void copy(void *to, const void *from, size_t bytes)
{
    if (guest_owns(to) || guest_owns(from)) {
        guest_copy(to, from, bytes);
    } else {
        memcpy(to, from, bytes);
    }
}

static void copy_pieces(const Work *w, uint8_t *at)
{
    uint64_t left = w->bytes;

    for (unsigned i = 0; left; i++) {
        size_t bytes = MIN(w->iov[i].iov_len, left);

        g_assert(i < w->niov);
        if (w->kind == ENGINE_READ) {
            copy(w->iov[i].iov_base, at, bytes);
        } else {
            copy(at, w->iov[i].iov_base, bytes);
        }
        at += bytes;
        left -= bytes;
    }
}

static void work_do(Work *w)
{
    uint8_t *at = w->disk->data + w->offset;

    g_assert(w->offset + w->bytes <= disk_room(w->disk));
    if (w->kind == ENGINE_WRITE && is_image(w->disk)) {
        /* A format's file grows as it is written to. */
        if (w->offset + w->bytes > w->disk->length) {
            __atomic_store_n(&w->disk->length, w->offset + w->bytes, __ATOMIC_SEQ_CST);
        }
    } else if (w->kind == ENGINE_WRITE) {
        disk_mark(w->disk, w->offset, w->bytes);
    } else if (w->kind == ENGINE_FLUSH && !is_image(w->disk)) {
        disk_flushed(w->disk);
    }
    if (w->from) {
        memcpy(at, w->from->data + w->from_offset, w->bytes);
    } else if (w->iov) {
        copy_pieces(w, at);
    } else if (w->kind == ENGINE_WRITE) {
        memset(at, 0, w->bytes);
    }
}

static void work_finished(void *data)
{
    Work *w = data;

    if (w->op) {
        EngineOp *op = w->op;
        int ret = w->ret;

        if (w->kind == ENGINE_WRITE) {
            block_node_wrote(op->node);
        }
        g_free(w);
        op->done(op, ret);
    } else {
        w->done = true;
        coroutine_wake(w->co);
    }
}

static void *server_main(void *data)
{
    g_mutex_lock(&server.lock);
    for (;;) {
        while (!server.works->len && !server.quit) {
            g_cond_wait(&server.cond, &server.lock);
        }
        if (!server.works->len) {
            break;
        }
        Work *w =
            g_ptr_array_remove_index(server.works, rand_below(&server.rand, server.works->len));
        w->ret = work_error(w);
        unsigned us =
            rand_below(&server.rand, w->disk == &disks[DISK_STICK] ? 50 * server.stick_pace : 50);
        g_mutex_unlock(&server.lock);
        g_usleep(us);
        if (w->ret == 0 || w->ret == -EXDEV) {
            work_do(w);
        }
        __atomic_sub_fetch(&server.pending, 1, __ATOMIC_SEQ_CST);
        bh_schedule(&w->bh);
        g_mutex_lock(&server.lock);
    }
    g_mutex_unlock(&server.lock);
    return NULL;
}

static void work_submit(Work *w)
{
    bh_init(&w->bh, event_loop_current(), work_finished, w);
    g_mutex_lock(&server.lock);
    g_ptr_array_add(server.works, w);
    __atomic_add_fetch(&server.pending, 1, __ATOMIC_SEQ_CST);
    g_cond_signal(&server.cond);
    g_mutex_unlock(&server.lock);
}

/* An image is a file of the kernel's, without a name, so that memory can be mapped from it. */
static void disk_make(Disk *disk)
{
    uint64_t room = disk_room(disk);

    if (!is_image(disk)) {
        disk->data = sparse_new(room);
        return;
    }
    disk->fd = memfd_create("image", MFD_CLOEXEC);
    if (disk->fd < 0 || ftruncate(disk->fd, room) < 0) {
        g_error("no room for a disk: %s", g_strerror(errno));
    }
    disk->data = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, disk->fd, 0);
    g_assert(disk->data != MAP_FAILED);
}

static void disk_free(Disk *disk)
{
    if (is_image(disk)) {
        munmap(disk->data, disk_room(disk));
        fd_close(&disk->fd);
    } else {
        sparse_free(disk->data, disk_room(disk));
    }
}

void disks_start(Rand *rand, unsigned error_in, unsigned nospace_in, unsigned stick_pace)
{
    for (unsigned i = 0; i < DISK_SEEDED; i++) {
        disk_make(&disks[i]);
        disks[i].length = is_image(&disks[i]) ? 0 : DISK_SECTOR * DISK_SECTORS;
        for (unsigned s = 0; s < DISK_SECTORS; s++) {
            disk_holds(&disks[i].model[s], 0);
        }
    }
    rand_seed(&server.rand, rand_next(rand));
    server.error_in = error_in;
    server.nospace_in = nospace_in;
    server.stick_pace = stick_pace;
    server.works = g_ptr_array_new();
    int ret = pthread_create(&server.thread, NULL, server_main, NULL);
    g_assert(ret == 0);
    pthread_setname_np(server.thread, "disks");
}

void disks_heal(void)
{
    g_mutex_lock(&server.lock);
    server.error_in = server.nospace_in = 0;
    g_mutex_unlock(&server.lock);
}

void disks_stop(void)
{
    g_mutex_lock(&server.lock);
    server.quit = true;
    g_cond_signal(&server.cond);
    g_mutex_unlock(&server.lock);
    pthread_join(server.thread, NULL);
    g_ptr_array_unref(server.works);
    for (unsigned i = 0; i < DISK_SEEDED; i++) {
        disk_free(&disks[i]);
    }
}

unsigned disks_pending(void)
{
    return __atomic_load_n(&server.pending, __ATOMIC_SEQ_CST);
}

/* The driver. */

static const Property seeddisk_props[] = {
    PROP("index", PROP_INT64, SeedDisk, index, "0", "which disk"),
    PROP_END,
};

static Disk *disk_of(BlockNode *node)
{
    return &disks[((SeedDisk *)block_node_state(node))->index];
}

static bool seeddisk_open(BlockNode *node, GError **err)
{
    node->filename = g_strdup("seeddisk");
    return true;
}

static void seeddisk_engine_submit(BlockNode *node, EngineOp *op)
{
    Work *w = g_new(Work, 1);

    op->node = node;
    *w = (Work){.kind = op->kind,
                .disk = disk_of(node),
                .offset = op->offset,
                .bytes = op->bytes,
                .iov = op->iov,
                .niov = op->niov,
                .op = op};
    work_submit(w);
}

static int coroutine_fn seeddisk_do(BlockNode *node, Work *w)
{
    w->disk = disk_of(node);
    w->co = coroutine_self();
    if (engine_sync_active()) {
        work_do(w);
    } else {
        work_submit(w);
        while (!w->done) {
            coroutine_yield();
        }
    }
    if (w->kind == ENGINE_WRITE) {
        block_node_wrote(node);
    }
    return w->ret;
}

static int coroutine_fn seeddisk_run(BlockNode *node, EngineOpKind kind, uint64_t offset,
                                     uint64_t bytes, const struct iovec *iov, unsigned niov)
{
    Work w = {.kind = kind, .offset = offset, .bytes = bytes, .iov = iov, .niov = niov};

    return seeddisk_do(node, &w);
}

static int coroutine_fn seeddisk_pcopy(BlockNode *node, uint64_t offset, const BlockHostRange *from,
                                       unsigned flags)
{
    Work w = {.kind = ENGINE_WRITE,
              .offset = offset,
              .bytes = from->bytes,
              .from = disk_of(from->file),
              .from_offset = from->offset};

    return seeddisk_do(node, &w);
}

static int coroutine_fn seeddisk_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                        const struct iovec *iov, unsigned niov)
{
    return seeddisk_run(node, ENGINE_READ, offset, bytes, iov, niov);
}

static int coroutine_fn seeddisk_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                         const struct iovec *iov, unsigned niov, unsigned flags)
{
    return seeddisk_run(node, ENGINE_WRITE, offset, bytes, iov, niov);
}

static int coroutine_fn seeddisk_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                               unsigned flags)
{
    return seeddisk_run(node, ENGINE_WRITE, offset, bytes, NULL, 0);
}

static int coroutine_fn seeddisk_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    return seeddisk_run(node, ENGINE_WRITE, offset, bytes, NULL, 0);
}

static int coroutine_fn seeddisk_flush(BlockNode *node)
{
    return seeddisk_run(node, ENGINE_FLUSH, 0, 0, NULL, 0);
}

static int64_t seeddisk_length(BlockNode *node)
{
    return __atomic_load_n(&disk_of(node)->length, __ATOMIC_SEQ_CST);
}

static int coroutine_fn seeddisk_truncate(BlockNode *node, uint64_t size, GError **err)
{
    int ret = seeddisk_run(node, ENGINE_READ, 0, 0, NULL, 0);

    if (ret == 0) {
        __atomic_store_n(&disk_of(node)->length, size, __ATOMIC_SEQ_CST);
    }
    return ret;
}

static int seeddisk_open_to_map(BlockNode *node, GError **err)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", disk_of(node)->fd);

    if (!is_image(disk_of(node))) {
        error_set(err, "it is no image");
        return -1;
    }
    return host_open(path, O_RDONLY, 0, err);
}

const BlockDriver seeddisk_driver = {
    .name = "seeddisk",
    .help = "a disk that answers when the seed says so",
    .size = sizeof(SeedDisk),
    .props = seeddisk_props,
    .is_protocol = true,
    .open = seeddisk_open,
    .preadv = seeddisk_preadv,
    .pwritev = seeddisk_pwritev,
    .pwrite_zeroes = seeddisk_pwrite_zeroes,
    .pdiscard = seeddisk_pdiscard,
    .pcopy = seeddisk_pcopy,
    .pcopy_source = true,
    .flush = seeddisk_flush,
    .length = seeddisk_length,
    .truncate = seeddisk_truncate,
    .engine_submit = seeddisk_engine_submit,
    .open_to_map = seeddisk_open_to_map,
};
