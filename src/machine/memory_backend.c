/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"
#include "machine/machine.h"
#include "memory_backend.h"

typedef struct {
    Object obj;
    uint64_t size;
    bool merge, dump, prealloc, share, share_set;
    uint32_t prealloc_threads;
    /* file */
    char *path;
    bool discard_data, readonly;
    uint64_t align, offset;
    /* memfd */
    bool hugetlb, seal;
    uint64_t hugetlb_size;
    int fd; /* -1: none, or the block owns it */
} MemoryBackend;

#define M(n, t, f, d, h) PROP(n, t, MemoryBackend, f, d, h)
#define COMMON_PROPS                                                                               \
    {.name = "size",                                                                               \
     .type = PROP_SIZE,                                                                            \
     .offset = offsetof(MemoryBackend, size),                                                      \
     .help = "of the memory",                                                                      \
     .flags = PROP_FLAG_REQUIRED},                                                                 \
        M("merge", PROP_BOOL, merge, "on", "the host may merge equal pages (KSM)"),                \
        M("dump", PROP_BOOL, dump, "on", "part of core dumps of this program"),                    \
        M("prealloc", PROP_BOOL, prealloc, "off", "take all pages from the host at once"),         \
    {                                                                                              \
        .name = "prealloc-threads", .type = PROP_UINT32,                                           \
        .offset = offsetof(MemoryBackend, prealloc_threads), .defval = "1", .help = "one thread",  \
        .flags = PROP_FLAG_FIXED                                                                   \
    }

static const Property ram_props[] = {
    COMMON_PROPS,
    M("share", PROP_BOOL, share, "off", "other processes may map it (none can, without a file)"),
    PROP_END,
};
static const Property file_props[] = {
    COMMON_PROPS,
    M("mem-path", PROP_STRING, path, NULL, "a file, or a folder (hugetlbfs) for a nameless one"),
    M("share", PROP_BOOL, share, "off", "what the guest writes goes to the file"),
    M("discard-data", PROP_BOOL, discard_data, "off",
      "with share=on: drop the file's content at the end"),
    M("align", PROP_SIZE, align, "0", "of the mapping in this program: a power of two"),
    M("offset", PROP_SIZE, offset, "0", "in the file"),
    {.name = "pmem",
     .type = PROP_BOOL,
     .offset = offsetof(MemoryBackend, readonly),
     .defval = "off",
     .help = "no persistent memory",
     .flags = PROP_FLAG_FIXED},
    PROP_END,
};
static const Property memfd_props[] = {
    COMMON_PROPS,
    M("share", PROP_BOOL, share, "on", "others who are given the descriptor see the same memory"),
    M("hugetlb", PROP_BOOL, hugetlb, "off", "huge pages of the host's pool"),
    M("hugetlbsize", PROP_SIZE, hugetlb_size, "0", "which (2M, 1G)"),
    M("seal", PROP_BOOL, seal, "on", "its size is fixed for good"),
    PROP_END,
};
#undef M

static void memory_backend_finalize(Object *obj)
{
    MemoryBackend *m = (MemoryBackend *)obj;

    if (m->fd >= 0) {
        close(m->fd);
    }
}

static bool ram_complete(Object *obj, GError **err)
{
    MemoryBackend *m = (MemoryBackend *)obj;

    m->fd = -1;
    return m->size || error_set(err, "memory-backend '%s': 'size' is 0", obj->id);
}

/* Opens mem-path: a file, which is created if need be, or an unlinked file in a folder. */
static int memory_backend_open_backing(MemoryBackend *m, GError **err)
{
    struct stat st;
    int fd;

    if (stat(m->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        g_autofree char *name = g_build_filename(m->path, "vmm-memory-XXXXXX", NULL);

        fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0) {
            error_set_errno(err, errno, "memory-backend-file '%s': cannot make a file in '%s'",
                            m->obj.id, m->path);
            return -1;
        }
        unlink(name);
        return fd;
    }
    return host_open(m->path, O_RDWR | O_CREAT, 0644, err);
}

static bool check_align(const MemoryBackend *m, GError **err)
{
    uint64_t page = getpagesize();

    return !m->align || (is_power_of_2(m->align) && m->align >= page) ||
           error_set(err,
                     "memory-backend-file '%s': 'align' is %" PRIu64
                     ", no power of two of at least a page (%" PRIu64 ")",
                     m->obj.id, m->align, page);
}

static bool file_complete(Object *obj, GError **err)
{
    MemoryBackend *m = (MemoryBackend *)obj;
    struct statfs fs;
    struct stat st;

    m->fd = -1;
    if (!m->path) {
        return error_set(err, "memory-backend-file '%s': 'mem-path' is missing", obj->id);
    }
    if (!ram_complete(obj, err) || !check_align(m, err)) {
        return false;
    }
    m->fd = memory_backend_open_backing(m, err);
    if (m->fd < 0) {
        return false;
    }
    if (fstatfs(m->fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && m->size % fs.f_bsize) {
        return error_set(err,
                         "memory-backend-file '%s': size %" PRIu64
                         " is no multiple of the host's huge page, %ld",
                         obj->id, m->size, (long)fs.f_bsize);
    }
    if (fstat(m->fd, &st) < 0 ||
        (S_ISREG(st.st_mode) && (uint64_t)st.st_size < m->offset + m->size &&
         ftruncate(m->fd, m->offset + m->size) < 0)) {
        return error_set_errno(err, errno,
                               "memory-backend-file '%s': '%s' cannot grow to %" PRIu64 " bytes",
                               obj->id, m->path, m->offset + m->size);
    }
    return true;
}

static bool memfd_complete(Object *obj, GError **err)
{
    MemoryBackend *m = (MemoryBackend *)obj;
    unsigned flags =
        MFD_CLOEXEC | (m->seal ? MFD_ALLOW_SEALING : 0) | (m->hugetlb ? MFD_HUGETLB : 0);

    m->fd = -1;
    if (!ram_complete(obj, err)) {
        return false;
    }
    if (m->hugetlb_size) {
        if (!m->hugetlb || !is_power_of_2(m->hugetlb_size)) {
            return error_set(err,
                             "memory-backend-memfd '%s': 'hugetlbsize' needs hugetlb=on and a "
                             "power of two",
                             obj->id);
        }
        flags |= (unsigned)__builtin_ctzll(m->hugetlb_size) << MFD_HUGE_SHIFT;
    }
    m->fd = memfd_create("memory-backend-memfd", flags);
    if (m->fd < 0 || ftruncate(m->fd, m->size) < 0) {
        return error_set_errno(err, errno,
                               "memory-backend-memfd '%s': cannot make %" PRIu64 " bytes", obj->id,
                               m->size);
    }
    if (m->seal) {
        fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    }
    return true;
}

const ObjectClass memory_backend_ram_class = {
    .name = "memory-backend-ram",
    .help = "anonymous memory",
    .size = sizeof(MemoryBackend),
    .parent = "memory-backend",
    .props = ram_props,
    .complete = ram_complete,
    .finalize = memory_backend_finalize,
};
const ObjectClass memory_backend_file_class = {
    .name = "memory-backend-file",
    .help = "memory in a file: huge pages, or shared with others",
    .size = sizeof(MemoryBackend),
    .parent = "memory-backend",
    .props = file_props,
    .complete = file_complete,
    .finalize = memory_backend_finalize,
};
const ObjectClass memory_backend_memfd_class = {
    .name = "memory-backend-memfd",
    .help = "memory in a nameless file, shared with others",
    .size = sizeof(MemoryBackend),
    .parent = "memory-backend",
    .props = memfd_props,
    .complete = memfd_complete,
    .finalize = memory_backend_finalize,
};

static MemoryBackend *memory_backend_find_backend(const char *id, GError **err)
{
    Object *obj = object_find(id, NULL, err);

    if (obj && obj->class != &memory_backend_ram_class &&
        obj->class != &memory_backend_file_class && obj->class != &memory_backend_memfd_class) {
        error_set(err, "object '%s' is a %s, not a memory backend", id, obj->class->name);
        return NULL;
    }
    return (MemoryBackend *)obj;
}

bool memory_backend_size(const char *id, uint64_t *size, GError **err)
{
    MemoryBackend *m = memory_backend_find_backend(id, err);

    if (!m) {
        g_prefix_error(err, "-machine memory-backend=%s: ", id);
        return false;
    }
    *size = m->size;
    return true;
}

RamBlock *memory_backend_use(Vm *vm, const char *id, uint64_t size, GError **err)
{
    MemoryBackend *m = memory_backend_find_backend(id, err);
    RamBlockOptions opts;
    Object *obj;
    RamBlock *block;

    if (!m) {
        return NULL;
    }
    obj = &m->obj;
    if (obj->users) {
        error_set(err, "memory backend '%s' is used already", id);
        return NULL;
    }
    if (size && size != m->size) {
        error_set(err,
                  "machine memory size does not match the size of the memory backend: %" PRIu64
                  " and %" PRIu64 " bytes (-m may be left out)",
                  size, m->size);
        return NULL;
    }
    opts = (RamBlockOptions){.fd = m->fd,
                             .share = m->share,
                             .prealloc = m->prealloc,
                             .merge = m->merge,
                             .dump = m->dump,
                             .discard = m->discard_data,
                             .offset = m->offset,
                             .align = m->align};
    block = ram_block_new_opts(vm, id, m->size, &opts, err);
    if (block) {
        m->fd = -1; /* the block owns it */
        obj->users++;
    }
    return block;
}

static void memory_backend_add_entry(Object *obj, void *data)
{
    const MemoryBackend *m = (const MemoryBackend *)obj;

    if (g_str_has_prefix(obj->class->name, "memory-backend-")) {
        json_array_append_new(data, json_pack("{s:s,s:I,s:b,s:b,s:b,s:b,s:[],s:s}", "id", obj->id,
                                              "size", (json_int_t)m->size, "merge", m->merge,
                                              "dump", m->dump, "prealloc", m->prealloc, "share",
                                              m->share, "host-nodes", "policy", "default"));
    }
}

json_t *memory_backends_query(void)
{
    json_t *out = json_array();

    object_foreach(memory_backend_add_entry, out);
    return out;
}
