/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM blocks: the host memory behind guest RAM and ROM. */
#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "ram_mapped.h"

/* Large blocks are aligned so that the host can back them with huge pages. */
#define HUGE_PAGE (2 * MiB)

static uint8_t *map_aligned(uint64_t size, int flags, const RamBlockOptions *opts)
{
    uint64_t align = MAX(size >= HUGE_PAGE ? HUGE_PAGE : (uint64_t)getpagesize(), opts->align);
    uint8_t *area, *host;

    /* Reserve more than needed, map at the aligned address inside, give back the rest. */
    area = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) {
        return MAP_FAILED;
    }
    host = (uint8_t *)ROUND_UP((uintptr_t)area, align);
    if (mmap(host, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, opts->fd, opts->offset) ==
        MAP_FAILED) {
        int saved = errno;

        munmap(area, size + align);
        errno = saved;
        return MAP_FAILED;
    }
    if (host > area) {
        munmap(area, host - area);
    }
    if (area + align > host) {
        munmap(host + size, area + align - host);
    }
    return host;
}

static void describe_failure(GError **err, const char *name, uint64_t size)
{
    int saved = errno;

    error_set_errno(err, saved,
                    "cannot set up guest memory '%s' of %" G_GUINT64_FORMAT
                    " MiB: the host does not have that much to give (see -m)",
                    name, (uint64_t)(size / MiB));
}

static void list_block(struct MemoryMap *map, RamBlock *block)
{
    g_rec_mutex_lock(&map->lock);
    block->next = map->blocks;
    map->blocks = block;
    g_rec_mutex_unlock(&map->lock);
}

/*
 * A retired block of this size gets the name; NULL: there is none. At no moment it is in neither
 * list, as requests in flight may point into it.
 */
static RamBlock *reuse_retired(struct MemoryMap *map, const char *name, uint64_t size)
{
    RamBlock **p = &map->retired, *block;

    g_rec_mutex_lock(&map->lock);
    while (*p && (*p)->size != size) {
        p = &(*p)->next;
    }
    block = *p;
    if (block) {
        *p = block->next;
        block->name = g_strdup(name);
        block->migratable = true;
        block->kept = false;
        list_block(map, block);
    }
    g_rec_mutex_unlock(&map->lock);
    return block;
}

/* False for a shared mapping of a file on a disk, to which the host can write pages back. */
static bool takes_host_memory(const RamBlockOptions *opts)
{
    struct statfs fs;

    return opts->fd < 0 || !opts->share ||
           (fstatfs(opts->fd, &fs) == 0 &&
            (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC));
}

/*
 * Preallocating more than the host has does not fail: the kernel kills programs, this one or
 * others. The limit is all memory and swap, not what is free now, since caches can be dropped.
 */
static bool host_has(const char *name, uint64_t size, GError **err)
{
    struct sysinfo info;
    uint64_t most;

    if (sysinfo(&info) < 0) {
        return true;
    }
    most = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
    return size <= most ||
           error_set(
               err,
               "cannot set up guest memory '%s': %" G_GUINT64_FORMAT
               " MiB are to be taken from the host at once (prealloc), which has %" G_GUINT64_FORMAT
               " MiB of memory and swap in all: give it less (see -m)",
               name, (uint64_t)(size / MiB), (uint64_t)(most / MiB));
}

void ram_advise(void *host, uint64_t len, bool merge, bool dump)
{
    /* Hints: a kernel that is built without one refuses it, which does no harm. */
    if (merge) {
        madvise(host, len, MADV_MERGEABLE);
    }
    if (!dump) {
        madvise(host, len, MADV_DONTDUMP);
    }
    madvise(host, len, MADV_DONTFORK);
}

RamBlock *ram_block_new_opts(Vm *vm, const char *name, uint64_t size, const RamBlockOptions *opts,
                             GError **err)
{
    struct MemoryMap *map = vm->memory;
    uint64_t mapped = ROUND_UP(size, (uint64_t)getpagesize());
    /* No MAP_NORESERVE: the kernel's overcommit policy decides whether the size is acceptable. */
    int flags = (opts->share ? MAP_SHARED : MAP_PRIVATE) | (opts->fd < 0 ? MAP_ANONYMOUS : 0);
    uint8_t *host;
    RamBlock *block;

    if (!size || mapped < size || mapped > INT64_MAX || opts->align > INT64_MAX) {
        error_set(err, "guest memory '%s' cannot be %" G_GUINT64_FORMAT " bytes long", name, size);
        return NULL;
    }
    if (ram_block_find(vm, name)) {
        error_set(err, "guest memory '%s' exists already", name);
        return NULL;
    }
    if (opts->prealloc && takes_host_memory(opts) && !host_has(name, size, err)) {
        return NULL;
    }
    host = map_aligned(mapped, flags, opts);
    if (host == MAP_FAILED) {
        describe_failure(err, name, size);
        return NULL;
    }
    if (opts->prealloc && madvise(host, mapped, MADV_POPULATE_WRITE)) {
        describe_failure(err, name, size);
        munmap(host, mapped);
        return NULL;
    }
    if (opts->hugepages) {
        madvise(host, mapped, MADV_HUGEPAGE);
    }
    ram_advise(host, mapped, opts->merge, opts->dump);

    block = g_new0(RamBlock, 1);
    *block = (RamBlock){
        .name = g_strdup(name),
        .host = host,
        .size = mapped,
        .fd = opts->fd,
        .fd_offset = opts->offset,
        .shared = opts->share,
        .discard = opts->discard && opts->share,
        .migratable = true,
        .plain = opts->fd < 0 && !opts->share && !opts->prealloc && !opts->hugepages,
        .merge = opts->merge,
        .dump = opts->dump,
    };
    list_block(map, block);
    return block;
}

RamBlock *ram_block_new(Vm *vm, const char *name, uint64_t size, GError **err)
{
    RamBlockOptions opts = {.fd = -1, .dump = true};
    RamBlock *block = NULL;

    if (!ram_block_find(vm, name)) {
        block = reuse_retired(vm->memory, name, ROUND_UP(size, (uint64_t)getpagesize()));
    }
    return block ? block : ram_block_new_opts(vm, name, size, &opts, err);
}

static void block_free(RamBlock *block)
{
    if (block->discard && madvise(block->host, block->size, MADV_REMOVE)) {
        log_warn("the file of guest memory '%s' keeps its content (discard-data): %s", block->name,
                 g_strerror(errno));
    }
    munmap(block->host, block->size);
    ram_mapped_free(block);
    if (block->fd >= 0) {
        close(block->fd);
    }
    g_free(block->name);
    g_free(block);
}

static void free_list(RamBlock *block)
{
    while (block) {
        RamBlock *next = block->next;

        block_free(block);
        block = next;
    }
}

void ram_blocks_free(Vm *vm)
{
    ram_image_free(vm);
    free_list(g_steal_pointer(&vm->memory->blocks));
    free_list(g_steal_pointer(&vm->memory->retired));
}

void ram_block_retire(Vm *vm, RamBlock *block)
{
    struct MemoryMap *map = vm->memory;
    RamBlock **p = &map->blocks;

    g_assert(block->fd < 0 && !block->shared);
    g_rec_mutex_lock(&map->lock);
    dirty_readers_let_go(block);
    while (*p != block) {
        p = &(*p)->next;
    }
    *p = block->next;
    g_clear_pointer(&block->name, g_free);
    ram_discard_in(block, 0, block->size);
    block->next = map->retired;
    map->retired = block;
    g_rec_mutex_unlock(&map->lock);
}

RamBlock *ram_block_find(Vm *vm, const char *name)
{
    struct MemoryMap *map = vm->memory;
    RamBlock *b;

    g_rec_mutex_lock(&map->lock);
    b = map->blocks;
    while (b && strcmp(b->name, name)) {
        b = b->next;
    }
    g_rec_mutex_unlock(&map->lock);
    return b;
}

char *ram_blocks_text(Vm *vm)
{
    GString *out = g_string_new(NULL);

    g_string_printf(out, "%24s  %18s  %18s  %s\n", "Block Name", "Total", "HVA", "Kind");
    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        g_string_append_printf(out, "%24s  0x%016" PRIx64 "  0x%016" PRIx64 "  %s%s\n", b->name,
                               b->size, (uint64_t)(uintptr_t)b->host,
                               b->fd < 0 ? "anonymous" : "file", b->shared ? ", shared" : "");
    }
    return g_string_free(out, FALSE);
}
