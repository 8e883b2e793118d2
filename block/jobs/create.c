/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs 'create' and 'amend'. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "../create_options.h"
#include "base/error.h"
#include "base/host.h"
#include "base/json.h"
#include "base/util.h"
#include "block/create_job.h"
#include "block/transaction.h"
#include "create_gate.h"

/* How much of a file is filled between two looks at whether the job is cancelled. */
enum { CREATE_FILL_BYTES = 64 * MiB };

typedef struct {
    Job job;
    const BlockDriver *drv;
    json_t *options; /* QMP's */
    BlockNode *node; /* amend's; its edge has the reference */
    bool force;
} ImageJob;

static const JobOptions image_job_options = {.auto_finalize = true};

/* --- a file --- */

static uint64_t file_option(const ImageJob *c, const char *name)
{
    return json_integer_value(json_object_get(c->options, name));
}

/* Of an empty file. File systems without such an attribute refuse it, which does no harm. */
static void file_set_attributes(const ImageJob *c, const char *path)
{
    auto_fd fd = host_open(path, O_RDONLY, 0, NULL);
    uint64_t hint = file_option(c, "extent-size-hint");
    struct fsxattr x;
    int flags;

    if (fd < 0) {
        return;
    }
    if (json_is_true(json_object_get(c->options, "nocow")) &&
        ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    if (hint && ioctl(fd, FS_IOC_FSGETXATTR, &x) == 0) {
        x.fsx_xflags |= FS_XFLAG_EXTSIZE;
        x.fsx_extsize = hint;
        ioctl(fd, FS_IOC_FSSETXATTR, &x);
    }
}

static int coroutine_fn file_fill(ImageJob *c, BlockNode *n, uint64_t size)
{
    int ret = 0;

    for (uint64_t at = 0; at < size && ret == 0; at += CREATE_FILL_BYTES) {
        ret = job_is_cancelled(&c->job)
                  ? -ECANCELED
                  : block_fill_zeroes(n, at, MIN(size - at, CREATE_FILL_BYTES));
    }
    return ret;
}

/* 'mode' of block_preallocation_names. */
static bool coroutine_fn file_write(ImageJob *c, BlockNode *n, const char *mode, GError **err)
{
    uint64_t size = file_option(c, "size");
    int ret = 0;

    if (block_truncate(n, size, err) < 0) {
        return false;
    }
    if (g_str_equal(mode, "full")) {
        ret = file_fill(c, n, size);
    } else if (g_str_equal(mode, "falloc") && size) {
        ret = block_pwrite_zeroes(n, 0, size, 0);
    }
    ret = ret < 0 ? ret : block_flush(n);
    return ret < 0 ? error_set_errno(err, -ret, "Could not write '%s'", n->filename) : true;
}

static bool coroutine_fn create_file(ImageJob *c, GError **err)
{
    const char *path = json_str(c->options, "filename"), *mode;
    bool zero, made, ok;
    BlockNode *n;

    mode = json_str(c->options, "preallocation");
    mode = mode ? mode : "off";
    if (g_str_equal(mode, "metadata")) {
        return error_set(err, "Unsupported preallocation mode: %s", mode);
    }
    if (file_option(c, "extent-size-hint") > UINT32_MAX) {
        return error_set(err, "Extent size hint is too large");
    }
    n = block_image_make_file(path, &zero, &made, err);
    if (!n) {
        return false;
    }
    file_set_attributes(c, path);
    ok = file_write(c, n, mode, err);
    if (!ok && made) {
        unlink(path);
    }
    block_node_unref(n);
    return ok;
}

/* --- an image --- */

/* The node that a BlockdevRef names, or describes. The caller's reference. */
static BlockNode *coroutine_fn open_ref(json_t *ref, GError **err)
{
    const char *name = json_string_value(ref);
    json_auto_t *tree = NULL;
    BlockNode *n;

    if (name) {
        n = block_lookup_node(name, name, err);
        return n ? block_node_ref(n) : NULL;
    }
    tree = json_deep_copy(ref);
    return block_node_open_unheld(tree, 0, err);
}

/* The files of an image that is made, each behind a gate. The first is 'file'. */
typedef struct {
    GPtrArray *files; /* BlockNode, with a reference */
    GPtrArray *gates;
} ImageFiles;

static bool coroutine_fn image_files_add(ImageJob *c, ImageFiles *f, json_t *ref, GError **err)
{
    BlockNode *n = open_ref(ref, err), *gate;

    if (!n) {
        return false;
    }
    if (g_ptr_array_find(f->files, n, NULL)) {
        error_set(err, "Node '%s' cannot be two files of one image", n->opts.node_name);
        block_node_unref(n);
        return false;
    }
    g_ptr_array_add(f->files, n);
    gate = create_gate_open(&c->job, n, err);
    if (gate) {
        g_ptr_array_add(f->gates, gate);
    }
    return gate;
}

static bool coroutine_fn image_files_open(ImageJob *c, ImageFiles *f, GError **err)
{
    json_t *more = c->drv->create_nodes ? json_object_get(c->options, c->drv->create_nodes) : NULL;
    bool ok = image_files_add(c, f, json_object_get(c->options, "file"), err);

    if (!json_is_array(more)) {
        return ok && (!more || image_files_add(c, f, more, err));
    }
    for (size_t i = 0; ok && i < json_array_size(more); i++) {
        ok = image_files_add(c, f, json_array_get(more, i), err);
    }
    return ok;
}

static void coroutine_fn image_files_close(ImageFiles *f)
{
    for (unsigned i = f->gates->len; i-- > 0;) {
        create_gate_close(f->gates->pdata[i]);
    }
    for (unsigned i = f->files->len; i-- > 0;) {
        block_node_unref(f->files->pdata[i]);
    }
    g_ptr_array_unref(f->gates);
    g_ptr_array_unref(f->files);
}

static bool coroutine_fn image_files_flush(const ImageFiles *f, GError **err)
{
    int ret = 0;

    /* The file that names the others comes last. */
    for (unsigned i = f->gates->len; i-- > 0 && ret == 0;) {
        ret = block_flush(f->gates->pdata[i]);
    }
    return ret < 0 ? error_set_errno(err, -ret, "Could not write the new image") : true;
}

/* What is refused is refused before anything of the file is lost. */
static bool coroutine_fn image_write(ImageJob *c, const ImageFiles *f, void *options, GError **err)
{
    BlockNode *gate = f->gates->pdata[0];
    uint64_t length = 0;
    bool zero = false, ok;

    if (c->drv->create_use) {
        c->drv->create_use(options, (BlockNode *const *)f->gates->pdata + 1, f->gates->len - 1);
    }
    if (c->drv->create_check && !c->drv->create_check(options, &length, err)) {
        return false;
    }
    block_node_enter(gate);
    ok = block_image_make_empty(gate, length, &zero, err);
    block_node_leave(gate);
    return ok && c->drv->create(gate, options, &zero, err) && image_files_flush(f, err);
}

static bool coroutine_fn image_make(ImageJob *c, const ImageFiles *f, GError **err)
{
    const BlockDriver *drv = c->drv;
    json_auto_t *tree = block_create_tree(drv, c->options, err);
    g_autofree char *what = g_strdup_printf("format '%s'", drv->name);
    g_autofree void *options = g_malloc0(drv->create_size);
    bool ok;

    if (!tree) {
        return false;
    }
    properties_init(drv->create_props, options);
    ok = properties_apply(drv->create_props, options, tree, NULL, what, err) &&
         image_write(c, f, options, err);
    properties_clear(drv->create_props, options);
    return ok;
}

static bool coroutine_fn create_image(ImageJob *c, GError **err)
{
    ImageFiles f = {.files = g_ptr_array_new(), .gates = g_ptr_array_new()};
    bool ok = image_files_open(c, &f, err) && image_make(c, &f, err);

    image_files_close(&f);
    return ok;
}

static bool coroutine_fn create_run(Job *job, GError **err)
{
    ImageJob *c = (ImageJob *)job;
    bool ok;

    job_progress(job, 0, 1);
    ok = c->drv->is_protocol ? create_file(c, err) : create_image(c, err);
    job_progress(job, 1, 1);
    if (!ok && job_is_cancelled(job)) {
        g_clear_error(err); /* which request failed then is of no interest */
    }
    return ok;
}

static bool amend_possible(const ImageJob *c, GError **err)
{
    BlockDriverInfo info = {0};

    if (c->node->read_only) {
        return error_set(err, "Block node is read-only");
    }
    if (c->node->inactive) {
        return error_set(err, "The image is inactive: another process may write to it");
    }
    if (!json_object_get(c->options, "encrypt")) {
        return true;
    }
    return (c->drv->info && c->drv->info(c->node, &info) && info.encrypted) ||
           error_set(err, "image is not encrypted, can't amend");
}

static bool coroutine_fn amend_run(Job *job, GError **err)
{
    ImageJob *c = (ImageJob *)job;
    json_auto_t *tree = NULL;
    bool ok;

    job_progress(job, 0, 1);
    tree = amend_possible(c, err) ? block_amend_tree(c->drv, c->options, err) : NULL;
    ok = tree && block_image_amend(c->node, tree, c->force, err);
    job_progress(job, 1, 1);
    return ok;
}

static void image_job_free(Job *job)
{
    json_decref(((ImageJob *)job)->options);
}

static const JobClass create_class = {
    .type = JOB_TYPE_CREATE,
    .size = sizeof(ImageJob),
    .run = create_run,
    .free = image_job_free,
};
static const JobClass amend_class = {
    .type = JOB_TYPE_AMEND,
    .size = sizeof(ImageJob),
    .run = amend_run,
    .free = image_job_free,
};

static ImageJob *image_job_new(const JobClass *class, const char *id, const BlockDriver *drv,
                               json_t *options, GError **err)
{
    JobOptions o = image_job_options;
    ImageJob *c;

    o.id = id;
    c = (ImageJob *)job_new(class, &o, err);
    if (c) {
        c->drv = drv;
        c->options = json_deep_copy(options);
    }
    return c;
}

bool block_create_start(const char *id, json_t *options, GError **err)
{
    const BlockDriver *drv = block_driver_find(json_str(options, "driver"));
    ImageJob *c;

    if (!block_create_has(drv->name)) {
        return error_set(err, "Driver does not support blockdev-create");
    }
    c = image_job_new(&create_class, id, drv, options, err);
    if (!c) {
        return false;
    }
    job_start(&c->job);
    return true;
}

bool block_amend_start(const char *id, const char *node_name, json_t *options, bool force,
                       GError **err)
{
    const BlockDriver *drv = block_driver_find(json_str(options, "driver"));
    BlockNode *n = block_lookup_node(NULL, node_name, err);
    ImageJob *c;

    if (!n) {
        return false;
    }
    if (n->driver != drv) {
        return error_set(err, "x-blockdev-amend doesn't support changing the block driver");
    }
    if (!block_amend_has(drv->name)) {
        return error_set(err, "Driver does not support x-blockdev-amend");
    }
    c = image_job_new(&amend_class, id, drv, options, err);
    if (!c) {
        return false;
    }
    c->node = n;
    c->force = force;
    if (!job_add_node(&c->job, "main node", n, (BlockPerms){0, BLOCK_PERM_ALL}, err)) {
        job_discard(&c->job);
        return false;
    }
    job_start(&c->job);
    return true;
}
