/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver: opens descriptor and extents, passes requests on to the extents they fall into. */
#include "vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/error.h"
#include "base/iov.h"
#include "base/util.h"
#include "block/image.h"

static const Property vmdk_props[] = {
    {.name = "file",
     .type = PROP_TREE,
     .offset = offsetof(VmdkState, file_config),
     .flags = PROP_FLAG_REQUIRED,
     .shape = &block_ref_shape,
     .help = "what holds the image, or its descriptor"},
    {.name = "backing",
     .type = PROP_TREE,
     .offset = offsetof(VmdkState, backing_config),
     .shape = &block_ref_or_null_shape,
     .help = "backing file (default: the one the image names; null or empty: none)"},
    {.name = "extents",
     .type = PROP_TREE,
     .offset = offsetof(VmdkState, extents_config),
     .flags = PROP_FLAG_NOT_JSON,
     .help = "extents.N: what holds an extent; then files that the descriptor names are not "
             "opened (an empty string: no extents at all)"},
    PROP_END,
};

/* --- opening --- */

/* Reads the descriptor, as text; the caller frees it. NULL: an error. */
static char *coroutine_fn vmdk_read_descriptor(BlockNode *node, GError **err)
{
    VmdkState *s = block_node_state(node);
    char *text = g_try_malloc0(s->descriptor_bytes + 1);
    int ret =
        text ? block_pread(node->file, s->descriptor_offset, text, s->descriptor_bytes) : -ENOMEM;

    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read the descriptor of '%s'", node->file->filename);
        g_clear_pointer(&text, g_free);
    }
    return text;
}

/* Adds an extent behind those that are there. */
static VmdkExtent *vmdk_add_extent(VmdkState *s, const char *type)
{
    VmdkExtent *e = g_new0(VmdkExtent, 1);

    e->s = s;
    e->type = g_strdup(type);
    e->start = s->length;
    g_ptr_array_add(s->extents, e);
    return e;
}

/* The extent's length is known. */
static bool vmdk_end_extent(BlockNode *node, VmdkExtent *e, GError **err)
{
    VmdkState *s = block_node_state(node);

    if (e->length > BLOCK_MAX_LENGTH - s->length) {
        return error_set(err, "Image is too big");
    }
    if (e->map.ops) {
        e->map.start = e->start;
        block_map_init(&e->map);
    }
    s->length += e->length;
    if (e->read_only && !node->read_only) {
        if (!node->opts.auto_read_only) {
            return error_set(err, "%s", e->read_only);
        }
        node->read_only = true;
    }
    return true;
}

/* The options for an extent's file: the user's, or the file that the descriptor names. */
static json_t *vmdk_extent_tree(BlockNode *node, unsigned i, const char *name, GError **err)
{
    VmdkState *s = block_node_state(node);
    json_t *given = s->extents_config, *one = NULL;
    g_autofree char *key = g_strdup_printf("%u", i), *path = NULL, *url = NULL;
    json_auto_t *whole = NULL;

    one = json_is_array(given) ? json_array_get(given, i) : json_object_get(given, key);
    if (one) {
        return json_incref(one);
    }
    if (given) {
        error_set(err, "The image names the file '%s', and 'extents' does not give another for it",
                  name);
        return NULL;
    }
    if (!block_named_file_allowed(node, "extent", name, "'extents' can name it", err)) {
        return NULL;
    }
    if (!g_path_is_absolute(name) && !g_str_equal(node->file->driver->name, "file")) {
        error_set(err, "Cannot use relative extent paths with VMDK descriptor file '%s'",
                  node->file->filename);
        return NULL;
    }
    /* The name is a path, whatever it looks like: no protocol, no options. */
    if (!g_path_is_absolute(name) && strchr(node->file->filename, '/')) {
        g_autofree char *dir = g_path_get_dirname(node->file->filename);
        path = g_build_filename(dir, name, NULL);
    } else {
        path = g_strdup(name);
    }
    url = g_strconcat("file:", path, NULL);
    whole = block_filename_to_config(url, err);
    return whole ? json_incref(json_object_get(whole, "file")) : NULL;
}

static bool coroutine_fn vmdk_open_extent_file(BlockNode *node, VmdkExtent *e, unsigned i,
                                               const VmdkExtentLine *line, unsigned role,
                                               GError **err)
{
    g_autofree char *label = g_strdup_printf("extents.%u", i);
    json_auto_t *tree = vmdk_extent_tree(node, i, line->name, err);

    e->edge =
        tree ? block_open_child(node, g_intern_string(label), role, tree, &e->file, err) : NULL;
    if (!e->edge) {
        block_error_prefix(err, "Could not open the extent '%s'", line->name);
        return false;
    }
    if (!node->read_only && e->file->read_only) {
        e->read_only = "a file of one of its extents is read-only";
    }
    return true;
}

static bool coroutine_fn vmdk_open_line(BlockNode *node, unsigned i, const VmdkExtentLine *line,
                                        GError **err)
{
    VmdkState *s = block_node_state(node);
    bool flat = g_str_equal(line->type, "FLAT"), vmfs = g_str_equal(line->type, "VMFS");
    bool zero = g_str_equal(line->type, "ZERO"), se = g_str_equal(line->type, "SESPARSE");
    VmdkExtent *e = vmdk_add_extent(s, line->type);

    e->length = line->sectors * BLOCK_SECTOR_SIZE;
    e->flat = flat || vmfs;
    if (!e->flat && !zero && !se && !g_str_equal(line->type, "SPARSE") &&
        !g_str_equal(line->type, "VMFSSPARSE")) {
        return error_set(err, "Unsupported extent type '%s'", line->type);
    }
    if (g_str_equal(line->access, "NOACCESS")) {
        return error_set(err, "The extent '%s' is marked NOACCESS",
                         line->name ? line->name : line->type);
    }
    if (g_str_equal(line->access, "RDONLY")) {
        e->read_only = "one of its extents is marked RDONLY";
    }
    if (zero) {
        e->read_only = "one of its extents is of the type ZERO";
        return vmdk_end_extent(node, e, err);
    }
    if (!vmdk_open_extent_file(node, e, i, line,
                               e->flat ? BLOCK_ROLE_DATA : BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA,
                               err)) {
        return false;
    }
    e->flat_offset = line->offset * BLOCK_SECTOR_SIZE;
    if (!e->flat && !(se ? vmdk_open_sesparse(node, e, err) : vmdk_open_sparse(node, e, err))) {
        return false;
    }
    if (!e->flat && e->map.length < e->length) {
        return error_set(err, "The extent '%s' is shorter than the descriptor says", line->name);
    }
    return vmdk_end_extent(node, e, err);
}

static bool coroutine_fn vmdk_open_lines(BlockNode *node, const char *text, GError **err)
{
    VmdkState *s = block_node_state(node);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **l = lines; *l; l++) {
        VmdkExtentLine line;
        int kind = vmdk_extent_line(*l, &line);
        bool ok = true;

        /* A flat extent has an offset; those of VMFS may have one. */
        if (kind > 0 && line.has_offset != g_str_equal(line.type, "FLAT") &&
            !g_str_equal(line.type, "VMFS")) {
            kind = -1;
        }
        if (kind < 0) {
            g_strchomp(*l);
            ok = error_set(err, "Invalid extent line: %s", *l);
        } else if (kind && s->extents->len >= VMDK_MAX_EXTENTS) {
            ok = error_set(err, "More than %d extents", VMDK_MAX_EXTENTS);
        } else if (kind && line.sectors) {
            ok = vmdk_open_line(node, s->extents->len, &line, err);
        }
        vmdk_extent_line_clear(&line);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool coroutine_fn vmdk_open_descriptor(BlockNode *node, const char *text, GError **err)
{
    static const char *const types[] = {"monolithicFlat",       "vmfs",
                                        "vmfsSparse",           "seSparse",
                                        "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"};
    VmdkState *s = block_node_state(node);
    bool known = false;

    s->create_type = vmdk_descriptor_value(text, "createType");
    if (!s->create_type) {
        return error_set(err, "invalid VMDK image descriptor");
    }
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        known = known || g_str_equal(s->create_type, types[i]);
    }
    if (!known) {
        return error_set(err, "Unsupported image type '%s'", s->create_type);
    }
    if (!vmdk_open_lines(node, text, err)) {
        return false;
    }
    return s->length ? true : error_set(err, "The descriptor describes no extents");
}

/* One extent in node->file, which may have the descriptor in it. */
static bool coroutine_fn vmdk_open_monolithic(BlockNode *node, const uint8_t *h, GError **err)
{
    VmdkState *s = block_node_state(node);
    bool hosted = !memcmp(h, "KDMV", 4);
    uint64_t at = ldle64(h + SPARSE_DESC_OFFSET), size = ldle64(h + SPARSE_DESC_SIZE);
    int64_t length = block_exact_length(node->file);
    VmdkExtent *e;

    if (hosted && at && size && length > 0 && at < (uint64_t)length / BLOCK_SECTOR_SIZE) {
        s->descriptor_offset = at * BLOCK_SECTOR_SIZE;
        s->descriptor_bytes =
            MIN(MIN(size, VMDK_MAX_DESCRIPTOR / BLOCK_SECTOR_SIZE) * BLOCK_SECTOR_SIZE,
                length - s->descriptor_offset);
    }
    if (hosted && !ldle64(h + SPARSE_CAPACITY) && s->descriptor_bytes) {
        g_autofree char *text = vmdk_read_descriptor(node, err);
        return text && vmdk_open_descriptor(node, text, err);
    }
    e = vmdk_add_extent(s, "");
    e->file = node->file;
    e->in_file = true;
    if (!vmdk_open_sparse(node, e, err)) {
        return false;
    }
    e->length = e->map.length;
    s->create_type = g_strdup(e->compressed ? "streamOptimized" : "monolithicSparse");
    return vmdk_end_extent(node, e, err);
}

static bool coroutine_fn vmdk_load_image(BlockNode *node, GError **err)
{
    VmdkState *s = block_node_state(node);
    int64_t length = block_exact_length(node->file);
    g_autofree char *text = NULL, *hint = NULL;
    uint8_t h[SPARSE_HEADER_BYTES] = {0};
    bool ok;
    int ret;

    if (length >= 0 && length < 4) {
        return error_set(err, "File is too small, not a valid image");
    }
    ret = length < 0 ? length : block_pread(node->file, 0, h, MIN(length, (int64_t)sizeof h));
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read '%s'", node->file->filename);
    }
    if (memcmp(h, "KDMV", 4) && memcmp(h, "COWD", 4)) {
        s->descriptor_bytes = MIN(length, VMDK_MAX_DESCRIPTOR - 1);
        text = vmdk_read_descriptor(node, err);
        ok = text && vmdk_open_descriptor(node, text, err);
    } else {
        ok = vmdk_open_monolithic(node, h, err);
        text = ok ? vmdk_read_descriptor(node, err) : NULL;
    }
    if (!ok || !text) {
        return false;
    }
    s->cid = vmdk_descriptor_cid(text, "CID", 0);
    s->parent_cid = vmdk_descriptor_cid(text, "parentCID", 0);
    hint = vmdk_descriptor_value(text, "parentFileNameHint");
    g_free(node->backing_name);
    g_free(node->backing_format);
    node->backing_name = hint && *hint ? g_steal_pointer(&hint) : NULL;
    node->backing_format = node->backing_name ? g_strdup("vmdk") : NULL;
    return true;
}

static void coroutine_fn vmdk_forget(VmdkState *s)
{
    if (!s->extents) {
        return;
    }
    for (unsigned i = 0; i < s->extents->len; i++) {
        block_edge_detach(((VmdkExtent *)s->extents->pdata[i])->edge); /* its slot goes, too */
    }
    g_clear_pointer(&s->extents, g_ptr_array_unref);
    g_clear_pointer(&s->create_type, g_free);
    co_mutex_destroy(&s->cid_lock);
}

static bool coroutine_fn vmdk_load(BlockNode *node, GError **err)
{
    VmdkState *s = block_node_state(node);

    s->extents = g_ptr_array_new_with_free_func(vmdk_extent_free);
    co_mutex_init(&s->cid_lock);
    s->length = s->descriptor_offset = s->descriptor_bytes = 0;
    s->cid_changed = 0;
    if (!vmdk_load_image(node, err)) {
        vmdk_forget(s);
        return false;
    }
    return true;
}

static bool coroutine_fn vmdk_open(BlockNode *node, GError **err)
{
    VmdkState *s = block_node_state(node);

    if (!block_open_child(node, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA, s->file_config,
                          &node->file, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->filename);
    if (!vmdk_load(node, err)) {
        return false;
    }
    if (!block_node_want_named_backing(node, s->backing_config, err)) {
        vmdk_forget(s); /* the core does not close what was not opened */
        return false;
    }
    return true;
}

static void vmdk_child_changed(BlockNode *node)
{
    VmdkState *s = block_node_state(node);

    for (unsigned i = 0; s->extents && i < s->extents->len; i++) {
        VmdkExtent *e = s->extents->pdata[i];

        e->file = e->in_file ? node->file : e->file;
    }
}

/* An image over one that has changed since would show a mixture of both. */
static bool coroutine_fn vmdk_opened(BlockNode *node, GError **err)
{
    VmdkState *s = block_node_state(node), *below;

    if (!node->backing || s->parent_cid == VMDK_NO_PARENT) {
        return true;
    }
    if (node->backing->driver != node->driver) {
        /* The user has put something else there (a filter), and knows what. */
        return s->backing_config
                   ? true
                   : error_set(err, "The backing file of a VMDK image has to be one as well");
    }
    below = block_node_state(node->backing);
    if (below->cid != s->parent_cid) {
        return error_set(err,
                         "The backing file '%s' has changed since the image was made over it: its "
                         "CID is %08" PRIx32 ", not %08" PRIx32,
                         node->backing->filename, below->cid, s->parent_cid);
    }
    return true;
}

static void coroutine_fn vmdk_close(BlockNode *node)
{
    vmdk_forget(block_node_state(node));
}

/* --- requests --- */

static VmdkExtent *vmdk_extent(const VmdkState *s, uint64_t offset)
{
    unsigned low = 0, high = s->extents->len;

    while (high - low > 1) {
        unsigned middle = (low + high) / 2;

        if (((VmdkExtent *)s->extents->pdata[middle])->start <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return s->extents->pdata[low];
}

/* One request to one extent; 'offset' is in the extent. */
typedef struct {
    uint64_t offset, bytes;
    const struct iovec *iov;
    unsigned niov, flags;
} VmdkPart;
typedef int coroutine_fn (*VmdkPartFn)(VmdkExtent *e, const VmdkPart *part);

static int coroutine_fn vmdk_each_part(BlockNode *node, const VmdkPart *whole, VmdkPartFn fn)
{
    VmdkState *s = block_node_state(node);
    g_autofree struct iovec *piece = NULL;
    uint64_t done = 0;
    int ret = 0;

    while (done < whole->bytes && ret == 0) {
        VmdkExtent *e = vmdk_extent(s, whole->offset + done);
        VmdkPart part = *whole;

        part.offset = whole->offset + done - e->start;
        part.bytes = MIN(whole->bytes - done, e->length - part.offset);
        if (whole->iov && part.bytes < whole->bytes) {
            piece = piece ? piece : g_new(struct iovec, whole->niov);
            part.niov = iov_slice(piece, whole->niov, whole->iov, whole->niov, done, part.bytes);
            part.iov = piece;
        }
        ret = fn(e, &part);
        done += part.bytes;
    }
    return ret;
}

static int coroutine_fn extent_read(VmdkExtent *e, const VmdkPart *p)
{
    if (!e->file) {
        iov_memset(p->iov, p->niov, 0, 0, p->bytes);
        return 0;
    }
    return e->flat ? block_preadv(e->file, e->flat_offset + p->offset, p->bytes, p->iov, p->niov)
                   : block_map_preadv(&e->map, p->offset, p->bytes, p->iov, p->niov);
}

/* Whole grains that are not there yet: others cannot be written. */
static int coroutine_fn extent_write_packed(VmdkExtent *e, const VmdkPart *p)
{
    size_t grain = e->map.block_size;
    g_autofree uint8_t *buf = g_try_malloc(grain);
    int ret = buf ? 0 : -ENOMEM;

    if (p->offset % grain || (p->bytes % grain && p->offset + p->bytes != e->length)) {
        return -EINVAL;
    }
    for (uint64_t done = 0; done < p->bytes && ret == 0; done += grain) {
        size_t len = MIN(grain, p->bytes - done);

        iov_to_buf(p->iov, p->niov, done, buf, len);
        ret = vmdk_write_compressed(e, p->offset + done, buf, len);
    }
    return ret;
}

static int coroutine_fn extent_write(VmdkExtent *e, const VmdkPart *p)
{
    return e->flat ? block_pwritev(e->file, e->flat_offset + p->offset, p->bytes, p->iov, p->niov,
                                   p->flags)
           : e->compressed ? extent_write_packed(e, p)
                           : block_map_pwritev(&e->map, p->offset, p->bytes, p->iov, p->niov);
}

static int coroutine_fn extent_zero(VmdkExtent *e, const VmdkPart *p)
{
    return e->flat ? block_pwrite_zeroes(e->file, e->flat_offset + p->offset, p->bytes, p->flags)
                   : block_map_pwrite_zeroes(&e->map, p->offset, p->bytes, p->flags);
}

static int coroutine_fn extent_discard(VmdkExtent *e, const VmdkPart *p)
{
    return e->flat ? block_pdiscard(e->file, e->flat_offset + p->offset, p->bytes)
                   : block_map_pdiscard(&e->map, p->offset, p->bytes);
}

static int coroutine_fn vmdk_preadv(BlockNode *node, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    return vmdk_each_part(node, &(VmdkPart){offset, bytes, iov, niov, 0}, extent_read);
}

static int coroutine_fn vmdk_change(BlockNode *node, const VmdkPart *part, VmdkPartFn fn)
{
    int ret = vmdk_change_cid(node);

    return ret < 0 ? ret : vmdk_each_part(node, part, fn);
}

static int coroutine_fn vmdk_pwritev(BlockNode *node, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov, unsigned flags)
{
    return vmdk_change(node, &(VmdkPart){offset, bytes, iov, niov, flags}, extent_write);
}

static int coroutine_fn vmdk_pwrite_zeroes(BlockNode *node, uint64_t offset, uint64_t bytes,
                                           unsigned flags)
{
    return vmdk_change(node, &(VmdkPart){offset, bytes, NULL, 0, flags}, extent_zero);
}

static int coroutine_fn vmdk_pdiscard(BlockNode *node, uint64_t offset, uint64_t bytes)
{
    return vmdk_change(node, &(VmdkPart){offset, bytes, NULL, 0, 0}, extent_discard);
}

static int coroutine_fn vmdk_pwrite_compressed(BlockNode *node, uint64_t offset, const void *buf,
                                               size_t bytes)
{
    VmdkState *s = block_node_state(node);
    VmdkExtent *e = s->extents->len == 1 ? s->extents->pdata[0] : NULL;
    int ret;

    if (!e || !e->compressed) {
        return -ENOTSUP;
    }
    ret = vmdk_change_cid(node);
    return ret < 0 ? ret : vmdk_write_compressed(e, offset, buf, bytes);
}

static int coroutine_fn vmdk_flush(BlockNode *node)
{
    VmdkState *s = block_node_state(node);
    int ret = 0;

    for (unsigned i = 0; i < s->extents->len; i++) {
        VmdkExtent *e = s->extents->pdata[i];
        int one = !e->file ? 0 : e->flat ? block_flush(e->file) : block_map_flush(&e->map);

        ret = ret < 0 ? ret : one;
    }
    return ret;
}

static int coroutine_fn vmdk_block_status(BlockNode *node, uint64_t offset, uint64_t bytes,
                                          uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    VmdkState *s = block_node_state(node);
    VmdkExtent *e = vmdk_extent(s, offset);

    offset -= e->start;
    bytes = MIN(bytes, e->length - offset);
    if (!e->file) {
        *pnum = bytes;
        return BLOCK_STATUS_ZERO | BLOCK_STATUS_ALLOCATED;
    }
    if (!e->flat) {
        return block_map_status(&e->map, offset, bytes, pnum, map, file);
    }
    *map = e->flat_offset + offset;
    *file = e->file;
    *pnum = bytes;
    /* All of it is there; the file knows what was never written. */
    return BLOCK_STATUS_DATA | BLOCK_STATUS_ALLOCATED | BLOCK_STATUS_OFFSET_VALID |
           BLOCK_STATUS_RECURSE;
}

static bool vmdk_map_cached(BlockNode *node, uint64_t offset, uint64_t bytes, bool write,
                            BlockMapping *map)
{
    VmdkState *s = block_node_state(node);
    VmdkExtent *e = vmdk_extent(s, offset);

    offset -= e->start;
    if (!e->file || bytes > e->length - offset ||
        (write && !__atomic_load_n(&s->cid_changed, __ATOMIC_ACQUIRE))) {
        return false;
    }
    if (!e->flat) {
        return block_map_cached(&e->map, offset, bytes, map);
    }
    *map = (BlockMapping){e->file, e->flat_offset + offset, bytes, NULL};
    return true;
}

static int64_t vmdk_length(BlockNode *node)
{
    return ((VmdkState *)block_node_state(node))->length;
}

/* --- other functions --- */

static int coroutine_fn vmdk_inactivate(BlockNode *node)
{
    VmdkState *s = block_node_state(node);
    int ret = s->extents && !node->read_only ? vmdk_flush(node) : 0;

    for (unsigned i = 0; ret == 0 && s->extents && i < s->extents->len; i++) {
        VmdkExtent *e = s->extents->pdata[i];

        if (e->map.ops) {
            block_map_destroy(&e->map);
            e->next = 0;
        }
    }
    return ret;
}

/*
 * The other process has not made another image of it: the files are the same, and so are the
 * directories, but for tables that it has added.
 */
static bool coroutine_fn vmdk_activate(BlockNode *node, GError **err)
{
    VmdkState *s = block_node_state(node);
    g_autofree char *text = vmdk_read_descriptor(node, err);

    if (!text) {
        return false;
    }
    s->cid = vmdk_descriptor_cid(text, "CID", 0);
    __atomic_store_n(&s->cid_changed, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < s->extents->len; i++) {
        VmdkExtent *e = s->extents->pdata[i];

        if (e->map.ops) {
            block_map_destroy(&e->map);
            block_map_init(&e->map);
            e->next = 0;
            if (!e->sesparse && !vmdk_read_directories(e, !node->read_only, err)) {
                return false;
            }
        }
    }
    return true;
}

/* A read-only image has not read its second directories. */
static bool coroutine_fn vmdk_reopen_prepare(BlockNode *node, const BlockNodeOptions *opts,
                                             const void *props, bool *read_only, GError **err)
{
    VmdkState *s = block_node_state(node);

    for (unsigned i = 0; i < s->extents->len && !*read_only; i++) {
        VmdkExtent *e = s->extents->pdata[i];

        if (e->read_only) {
            return error_set(err, "%s", e->read_only);
        }
        if (e->map.ops && !vmdk_read_directories(e, true, err)) {
            return false;
        }
    }
    return true;
}

static bool vmdk_info(BlockNode *node, BlockDriverInfo *info)
{
    VmdkState *s = block_node_state(node);
    const VmdkExtent *first = s->extents->pdata[0];
    json_t *list = json_array();
    bool alike = true;

    *info = (BlockDriverInfo){.cluster_size = first->map.block_size};
    for (unsigned i = 0; i < s->extents->len; i++) {
        VmdkExtent *e = s->extents->pdata[i];
        json_t *o = json_object();

        if (e->compressed) {
            json_object_set_new(o, "compressed", json_true());
            info->needs_compressed = true;
        }
        json_object_set_new(o, "virtual-size", json_integer(e->length));
        json_object_set_new(o, "filename", json_string_nocheck(e->file ? e->file->filename : ""));
        if (e->map.ops) {
            json_object_set_new(o, "cluster-size", json_integer(e->map.block_size));
        }
        if (e->map.block_size != first->map.block_size || e->compressed != first->compressed) {
            alike = false;
        }
        json_object_set_new(o, "format", json_string_nocheck(e->type));
        json_array_append_new(list, o);
    }
    if (!alike) {
        info->cluster_size = 0;
        info->needs_compressed = false;
    }
    info->format_specific = json_pack("{s:s,s:{s:I,s:I,s:s,s:o}}", "type", "vmdk", "data", "cid",
                                      (json_int_t)s->cid, "parent-cid", (json_int_t)s->parent_cid,
                                      "create-type", s->create_type, "extents", list);
    return true;
}

typedef struct {
    VmdkExtent *e;
    BlockCheckResult *res;
    int64_t file_length;
    bool quiet;
} VmdkCheck;

static int coroutine_fn vmdk_check_grain(BlockMap *m, uint64_t block, uint64_t entry, void *data)
{
    VmdkCheck *c = data;
    uint64_t host = 0, sector = (c->e->start + block * m->block_size) / BLOCK_SECTOR_SIZE;
    BlockMapKind kind = m->ops->decode(m, entry, &host);

    if (kind == BLOCK_MAP_BAD || ((kind == BLOCK_MAP_DATA || kind == BLOCK_MAP_COMPRESSED) &&
                                  host >= (uint64_t)c->file_length)) {
        c->res->corruptions++;
        if (!c->quiet) {
            fprintf(stderr,
                    kind == BLOCK_MAP_BAD
                        ? "ERROR: could not get cluster_offset for sector %" PRIu64 "\n"
                        : "ERROR: cluster offset after file size for sector %" PRIu64 "\n",
                    sector);
        }
    }
    return 0;
}

static int coroutine_fn vmdk_check(BlockNode *node, BlockCheckResult *res, unsigned fix)
{
    VmdkState *s = block_node_state(node);
    int ret = 0;

    if (fix & (BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS)) {
        return -ENOTSUP;
    }
    for (unsigned i = 0; i < s->extents->len && ret == 0; i++) {
        VmdkCheck c = {.e = s->extents->pdata[i], .res = res, .quiet = fix & BLOCK_CHECK_QUIET};

        if (!c.e->map.ops) {
            continue;
        }
        c.file_length = block_length(c.e->file);
        ret = c.file_length < 0 ? c.file_length : block_map_each(&c.e->map, vmdk_check_grain, &c);
        if (ret == -EIO) { /* a table past the end of the file */
            res->check_errors++;
            ret = 0;
        }
    }
    return ret;
}

extern const BlockDriver block_driver_vmdk;
const BlockDriver block_driver_vmdk = {
    .name = "vmdk",
    .help = "VMware's image format",
    .size = sizeof(VmdkState),
    .props = vmdk_props,
    .probe = vmdk_probe,
    .open = vmdk_open,
    .child_changed = vmdk_child_changed,
    .opened = vmdk_opened,
    .close = vmdk_close,
    .reopen_prepare = vmdk_reopen_prepare,
    .inactivate = vmdk_inactivate,
    .activate = vmdk_activate,
    .preadv = vmdk_preadv,
    .pwritev = vmdk_pwritev,
    .pwrite_zeroes = vmdk_pwrite_zeroes,
    .pdiscard = vmdk_pdiscard,
    .pwrite_compressed = vmdk_pwrite_compressed,
    .flush = vmdk_flush,
    .block_status = vmdk_block_status,
    .length = vmdk_length,
    .map_cached = vmdk_map_cached,
    .info = vmdk_info,
    .create_props = vmdk_create_props,
    .create_size = sizeof(VmdkCreate),
    .create_check = vmdk_create_check,
    .create_nodes = "extents",
    .create_use = vmdk_create_use,
    .create = vmdk_create,
    .check = vmdk_check,
};
