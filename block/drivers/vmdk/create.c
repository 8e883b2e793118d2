/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images: the descriptor, headers and empty tables of sparse extents, the files of others. */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>
#include "base/error.h"
#include "base/util.h"
#include "block/image.h"
#include "vmdk.h"

const Property vmdk_create_props[] = {
    PROP("size", PROP_SIZE, VmdkCreate, size, "0", "Virtual disk size"),
    PROP("adapter_type", PROP_STRING, VmdkCreate, adapter_type, "ide",
         "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"),
    PROP("backing_file", PROP_STRING, VmdkCreate, backing_file, NULL, "File name of a base image"),
    PROP("backing_fmt", PROP_STRING, VmdkCreate, backing_fmt, NULL, "Must be 'vmdk' if present"),
    PROP("compat6", PROP_BOOL, VmdkCreate, compat6, "off", "VMDK version 6 image"),
    PROP("hwversion", PROP_STRING, VmdkCreate, hwversion, "undefined", "VMDK hardware version"),
    PROP("subformat", PROP_STRING, VmdkCreate, subformat, "monolithicSparse",
         "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | "
         "twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized}"),
    PROP("toolsversion", PROP_STRING, VmdkCreate, toolsversion, "2147483647",
         "VMware guest tools version"),
    PROP("zeroed_grain", PROP_BOOL, VmdkCreate, zeroed_grain, "off",
         "Enable efficient zero writes using the zeroed-grain GTE feature"),
    PROP_END,
};

typedef struct {
    const char *name;
    bool flat, split, compressed;
} Subformat;

static const Subformat subformats[] = {
    {"monolithicSparse", false, false, false},    {"monolithicFlat", true, false, false},
    {"twoGbMaxExtentSparse", false, true, false}, {"twoGbMaxExtentFlat", true, true, false},
    {"streamOptimized", false, false, true},
};

static const Subformat *find_subformat(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(subformats); i++) {
        if (g_str_equal(subformats[i].name, name)) {
            return &subformats[i];
        }
    }
    return NULL;
}

/* Where all is in a sparse extent; in sectors. */
typedef struct {
    uint64_t capacity, tables, directory_sectors, rgd, gd, overhead;
} Layout;

enum { TABLE_SECTORS = VMDK_TABLE_ENTRIES * 4 / BLOCK_SECTOR_SIZE };

static Layout lay_out(uint64_t bytes)
{
    Layout l = {.capacity = bytes / BLOCK_SECTOR_SIZE};
    uint64_t after;

    l.tables = DIV_ROUND_UP(DIV_ROUND_UP(l.capacity, VMDK_GRAIN_SECTORS), VMDK_TABLE_ENTRIES);
    l.directory_sectors = DIV_ROUND_UP(l.tables * 4, BLOCK_SECTOR_SIZE);
    l.rgd = (VMDK_DESCRIPTOR_OFFSET + VMDK_DESCRIPTOR_BYTES) / BLOCK_SECTOR_SIZE;
    l.gd = l.rgd + l.directory_sectors + l.tables * TABLE_SECTORS;
    after = l.gd + l.directory_sectors + l.tables * TABLE_SECTORS;
    l.overhead = ROUND_UP(after, VMDK_GRAIN_SECTORS);
    return l;
}

void vmdk_create_use(void *options, BlockNode *const *nodes, unsigned count)
{
    VmdkCreate *c = options;

    c->by_nodes = true;
    c->nodes = nodes;
    c->node_count = count;
}

/* How many files there are beside the descriptor's. */
static uint64_t extent_files(const VmdkCreate *c, const Subformat *f)
{
    return f->split ? MAX(DIV_ROUND_UP(c->size, VMDK_SPLIT_BYTES), 1) : f->flat ? 1 : 0;
}

/* 'blockdev-create' makes no files: each extent's has to be given. */
static bool check_nodes(const VmdkCreate *c, const Subformat *f, GError **err)
{
    uint64_t files = extent_files(c, f);

    if (c->by_nodes && c->node_count < files) {
        return error_set(err, "Extent [%u] not specified", c->node_count);
    }
    if (c->node_count > files) {
        return error_set(err, "List of extents contains unused extents");
    }
    for (unsigned i = 0; i < c->node_count; i++) {
        bool is_path;
        const char *name = block_node_file_name(c->nodes[i], &is_path);

        if (!name || !is_path || strpbrk(name, "\"\r\n")) {
            return error_set(err, "Extent [%u] is no file whose name a descriptor could have", i);
        }
    }
    return true;
}

bool vmdk_create_check(void *options, uint64_t *length, GError **err)
{
    static const char *const adapters[] = {"ide", "lsilogic", "buslogic", "legacyESX"};
    VmdkCreate *c = options;
    const Subformat *f = find_subformat(c->subformat);
    bool known = false;
    Layout l;

    for (unsigned i = 0; i < ARRAY_SIZE(adapters); i++) {
        known = known || g_str_equal(c->adapter_type, adapters[i]);
    }
    if (!known || !f) {
        return error_set(err, "invalid parameter value: %s", f ? c->adapter_type : c->subformat);
    }
    if (c->compat6 && !g_str_equal(c->hwversion, "undefined")) {
        return error_set(err, "compat6 cannot be enabled with hwversion set");
    }
    if (c->backing_fmt && !g_str_equal(c->backing_fmt, "vmdk")) {
        return error_set(err, "backing_file must be a vmdk image");
    }
    if (f->flat && c->backing_file) {
        return error_set(err, "Flat image can't have backing file");
    }
    if (f->flat && c->zeroed_grain) {
        return error_set(err, "Flat image can't enable zeroed grain");
    }
    if (strpbrk(c->toolsversion, "\"\r\n") || strpbrk(c->hwversion, "\"\r\n") ||
        (c->backing_file && strpbrk(c->backing_file, "\"\r\n"))) {
        return error_set(err, "A VMDK descriptor cannot hold quotation marks or ends of lines");
    }
    if (c->size > BLOCK_MAX_LENGTH) {
        return error_set(err, "The image size is too large for file format 'vmdk'");
    }
    c->size = ROUND_UP(c->size, BLOCK_SECTOR_SIZE);
    if (f->split && DIV_ROUND_UP(c->size, VMDK_SPLIT_BYTES) > VMDK_MAX_EXTENTS) {
        return error_set(err, "The disk would have more than %d extents", VMDK_MAX_EXTENTS);
    }
    if (!check_nodes(c, f, err)) {
        return false;
    }
    l = lay_out(f->split ? MIN(c->size, VMDK_SPLIT_BYTES) : c->size);
    if (!f->flat && l.overhead + l.capacity > UINT32_MAX) {
        /* Grains are named by sectors, of 32 bits. */
        return error_set(err, "A sparse VMDK extent cannot be that large; use "
                              "subformat=twoGbMaxExtentSparse or a flat one");
    }
    *length = f->flat || f->split ? 0 : l.overhead * BLOCK_SECTOR_SIZE;
    return true;
}

/* --- sparse extents --- */

static void make_header(const VmdkCreate *c, const Layout *l, bool compressed, uint8_t *h)
{
    static const uint8_t check_bytes[] = {'\n', ' ', '\r', '\n'};
    uint32_t flags = SPARSE_FLAG_NL | SPARSE_FLAG_RGD;

    flags |= compressed ? SPARSE_FLAG_COMPRESSED | SPARSE_FLAG_MARKERS : 0;
    flags |= c->zeroed_grain ? SPARSE_FLAG_ZERO_GRAIN : 0;
    memcpy(h, "KDMV", 4);
    stle32(h + SPARSE_VERSION, compressed ? 3 : c->zeroed_grain ? 2 : 1);
    stle32(h + SPARSE_FLAGS, flags);
    stle64(h + SPARSE_CAPACITY, l->capacity);
    stle64(h + SPARSE_GRAIN, VMDK_GRAIN_SECTORS);
    stle64(h + SPARSE_DESC_OFFSET, VMDK_DESCRIPTOR_OFFSET / BLOCK_SECTOR_SIZE);
    stle64(h + SPARSE_DESC_SIZE, VMDK_DESCRIPTOR_BYTES / BLOCK_SECTOR_SIZE);
    stle32(h + SPARSE_GTES, VMDK_TABLE_ENTRIES);
    stle64(h + SPARSE_RGD_OFFSET, l->rgd);
    stle64(h + SPARSE_GD_OFFSET, l->gd);
    stle64(h + SPARSE_OVERHEAD, l->overhead);
    memcpy(h + SPARSE_CHECK_BYTES, check_bytes, sizeof check_bytes);
    stle16(h + SPARSE_COMPRESSION, compressed ? 1 : 0);
}

/* A directory, whose tables follow it. */
static int coroutine_fn write_directory(BlockNode *file, const Layout *l, uint64_t at)
{
    g_autofree uint8_t *buf = g_try_malloc0(MAX(l->directory_sectors * BLOCK_SECTOR_SIZE, 1));

    if (!buf) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < l->tables; i++) {
        stle32(buf + i * 4, at + l->directory_sectors + i * TABLE_SECTORS);
    }
    return l->tables ? block_pwrite(file, at * BLOCK_SECTOR_SIZE, buf,
                                    l->directory_sectors * BLOCK_SECTOR_SIZE, 0)
                     : 0;
}

/* The header comes last: until then the file is no image. */
static int coroutine_fn write_sparse(BlockNode *file, const VmdkCreate *c, uint64_t bytes,
                                     bool compressed, const char *descriptor, bool zero,
                                     GError **err)
{
    Layout l = lay_out(bytes);
    uint8_t header[SPARSE_HEADER_BYTES] = {0};
    g_autofree uint8_t *text = g_malloc0(VMDK_DESCRIPTOR_BYTES);
    int ret = block_truncate(file, l.overhead * BLOCK_SECTOR_SIZE, err);

    if (ret < 0) {
        return ret;
    }
    make_header(c, &l, compressed, header);
    if (descriptor) {
        memcpy(text, descriptor, strlen(descriptor));
    }
    if (!zero) {
        ret = block_pwrite_zeroes(file, 0, l.overhead * BLOCK_SECTOR_SIZE, 0);
    }
    ret = ret < 0 ? ret : write_directory(file, &l, l.rgd);
    ret = ret < 0 ? ret : write_directory(file, &l, l.gd);
    ret =
        ret < 0 ? ret : block_pwrite(file, VMDK_DESCRIPTOR_OFFSET, text, VMDK_DESCRIPTOR_BYTES, 0);
    ret = ret < 0 ? ret : block_pwrite(file, 0, header, sizeof header, 0);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not write the new image");
    }
    return ret;
}

/* --- files of extents --- */

typedef struct {
    const VmdkCreate *c;
    const Subformat *f;
    BlockNode *file;
    bool zero; /* bytes of 'file' that are not written read as zeroes */
    uint32_t parent_cid;
    GString *extents; /* the descriptor's lines */
    GPtrArray *made;  /* paths of files that were not there before */
} Creation;

/* "DIR/x.vmdk": "x-flat.vmdk", "x-s001.vmdk" and the like. The caller frees it. */
static char *extent_name(const Creation *n, unsigned i)
{
    g_autofree char *base = g_path_get_basename(n->file->filename);
    char *dot = strrchr(base, '.');
    g_autofree char *tail = g_strdup(dot ? dot : "");

    if (dot) {
        *dot = 0;
    }
    return n->f->split ? g_strdup_printf("%s-%c%03u%s", base, n->f->flat ? 'f' : 's', i + 1, tail)
                       : g_strdup_printf("%s-flat%s", base, tail);
}

static bool coroutine_fn fill_extent(const Creation *n, BlockNode *file, uint64_t bytes, bool zero,
                                     GError **err)
{
    int ret;

    if (!n->f->flat) {
        return write_sparse(file, n->c, bytes, false, NULL, zero, err) == 0;
    }
    if (block_truncate(file, bytes, err) < 0) {
        return false;
    }
    ret = zero || !bytes ? 0 : block_pwrite_zeroes(file, 0, bytes, 0);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write '%s'", file->filename) : true;
}

/* A file beside the descriptor's. *name: what the descriptor calls it. */
static BlockNode *coroutine_fn make_extent_file(Creation *n, unsigned i, char **name, bool *zero,
                                                GError **err)
{
    g_autofree char *dir = g_path_get_dirname(n->file->filename), *path = NULL;
    BlockNode *file;
    bool made;

    *name = extent_name(n, i);
    path = g_build_filename(dir, *name, NULL);
    file = block_image_make_file(path, zero, &made, err);
    if (file && made) {
        g_ptr_array_add(n->made, g_strdup(path));
    }
    return file;
}

/* A node's file. Its name starts at the descriptor's folder where both are in the same. */
static BlockNode *coroutine_fn take_extent_node(const Creation *n, unsigned i, char **name,
                                                bool *zero, GError **err)
{
    BlockNode *file = n->c->nodes[i];
    g_autofree char *from = g_canonicalize_filename(n->file->filename, NULL);
    g_autofree char *path = g_canonicalize_filename(file->filename, NULL);
    g_autofree char *dir = g_path_get_dirname(from), *its = g_path_get_dirname(path);

    if (n->f->flat) {
        *zero = true; /* as in QEMU, what is there stays: the disk is the file */
    } else if (!block_image_make_empty(file, 0, zero, err)) {
        return NULL;
    }
    *name = g_str_equal(dir, its) ? g_path_get_basename(path) : g_steal_pointer(&path);
    return block_node_ref(file);
}

static bool coroutine_fn make_extent(Creation *n, unsigned i, uint64_t bytes, GError **err)
{
    g_autofree char *name = NULL;
    bool zero, ok;
    BlockNode *file = n->c->by_nodes ? take_extent_node(n, i, &name, &zero, err)
                                     : make_extent_file(n, i, &name, &zero, err);

    if (!file) {
        return false;
    }
    ok = fill_extent(n, file, bytes, zero, err);
    block_node_unref(file);
    if (ok) {
        g_string_append_printf(n->extents, "RW %" PRIu64 " %s \"%s\"%s\n",
                               bytes / BLOCK_SECTOR_SIZE, n->f->flat ? "FLAT" : "SPARSE", name,
                               n->f->flat ? " 0" : "");
    }
    return ok;
}

static bool coroutine_fn make_extents(Creation *n, GError **err)
{
    uint64_t done = 0;
    unsigned i = 0;

    if (!n->c->by_nodes && !g_str_equal(n->file->driver->name, "file")) {
        return error_set(err,
                         "An image of the subformat '%s' consists of several files, and can "
                         "be made in a folder alone",
                         n->f->name);
    }
    do {
        uint64_t bytes = n->c->size - done;

        bytes = n->f->split ? MIN(bytes, VMDK_SPLIT_BYTES) : bytes;
        if (!make_extent(n, i++, bytes, err)) {
            return false;
        }
        done += bytes;
    } while (done < n->c->size);
    return true;
}

/* --- the descriptor --- */

static char *make_descriptor(const Creation *n)
{
    const VmdkCreate *c = n->c;
    unsigned heads = g_str_equal(c->adapter_type, "ide") ? 16 : 255;
    GString *s = g_string_new("# Disk DescriptorFile\nversion=1\n");

    g_string_append_printf(s, "CID=%08x\nparentCID=%08" PRIx32 "\ncreateType=\"%s\"\n",
                           g_random_int_range(1, G_MAXINT32), n->parent_cid, n->f->name);
    if (c->backing_file) {
        g_string_append_printf(s, "parentFileNameHint=\"%s\"\n", c->backing_file);
    }
    g_string_append_printf(s, "\n# Extent description\n%s\n# The Disk Data Base\n#DDB\n\n",
                           n->extents->str);
    g_string_append_printf(s, "ddb.virtualHWVersion = \"%s\"\n",
                           !g_str_equal(c->hwversion, "undefined") ? c->hwversion
                           : c->compat6                            ? "6"
                                                                   : "4");
    g_string_append_printf(s,
                           "ddb.geometry.cylinders = \"%" PRIu64 "\"\nddb.geometry.heads = \"%u\"\n"
                           "ddb.geometry.sectors = \"63\"\n",
                           c->size / (63 * heads * BLOCK_SECTOR_SIZE), heads);
    g_string_append_printf(s, "ddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n",
                           c->adapter_type, c->toolsversion);
    return g_string_free(s, FALSE);
}

/* The CID of the backing file, by which the image knows later that it has not changed. */
static bool coroutine_fn read_parent(Creation *n, GError **err)
{
    g_autofree char *path = NULL;
    json_auto_t *tree = NULL;
    BlockNode *parent;
    VmdkState *s;

    n->parent_cid = VMDK_NO_PARENT;
    if (!n->c->backing_file) {
        return true;
    }
    path = block_resolve_backing(n->file->filename, n->c->backing_file);
    tree = block_filename_to_config(path, err);
    if (!tree) {
        return false;
    }
    json_object_set_new(tree, "driver", json_string("vmdk"));
    json_object_set_new(tree, "read-only", json_true());
    json_object_set_new(tree, "force-share", json_true());
    parent = block_image_open(tree, BLOCK_IMAGE_ALONE, err);
    if (!parent) {
        block_error_prefix(err, "Could not open backing file");
        return false;
    }
    s = block_node_state(parent);
    n->parent_cid = s->cid;
    block_node_unref(parent);
    return true;
}

static bool coroutine_fn write_image(Creation *n, GError **err)
{
    g_autofree char *text = NULL;
    int ret;

    if (n->f->flat || n->f->split) {
        if (!make_extents(n, err)) {
            return false;
        }
    } else {
        g_autofree char *base = g_path_get_basename(n->file->filename);
        g_string_append_printf(n->extents, "RW %" PRIu64 " SPARSE \"%s\"\n",
                               n->c->size / BLOCK_SECTOR_SIZE, base);
    }
    text = make_descriptor(n);
    if (n->f->flat || n->f->split) {
        ret = block_pwrite(n->file, 0, text, strlen(text), 0);
        return ret < 0 ? error_set_errno(err, -ret, "Could not write the descriptor") : true;
    }
    if (strlen(text) > VMDK_DESCRIPTOR_BYTES) {
        return error_set(err, "The descriptor of the image does not fit: the names are too long");
    }
    return write_sparse(n->file, n->c, n->c->size, n->f->compressed, text, n->zero, err) == 0;
}

bool coroutine_fn vmdk_create(BlockNode *file, void *options, bool *zero, GError **err)
{
    VmdkCreate *c = options;
    Creation n = {.c = c, .f = find_subformat(c->subformat), .file = file, .zero = *zero};
    bool ok;

    n.extents = g_string_new(NULL);
    n.made = g_ptr_array_new_with_free_func(g_free);
    ok = read_parent(&n, err) && write_image(&n, err);
    for (unsigned i = 0; i < n.made->len && !ok; i++) {
        unlink(n.made->pdata[i]);
    }
    *zero = !c->backing_file && !(c->by_nodes && n.f->flat);
    g_ptr_array_unref(n.made);
    g_string_free(n.extents, TRUE);
    return ok;
}
