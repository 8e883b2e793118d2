/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protocol 'vvfat', "fat:": a folder of the host's as a disk with a FAT file system. */
#include <errno.h>
#include <string.h>
#include "../../core.h"
#include "../drivers.h"
#include "base/error.h"
#include "base/iov.h"
#include "base/json.h"
#include "base/log.h"
#include "base/util.h"
#include "vvfat.h"

#define DEFAULT_LABEL "QEMU VVFAT"

enum { BOUNCE_MAX = 1024 * 1024 };

typedef struct {
    char *dir, *label;
    int64_t fat_type;
    bool floppy, rw;
    CoMutex lock; /* for the disk */
    FatDisk disk;
} VvfatState;

static const Property vvfat_props[] = {
    {.name = "dir",
     .type = PROP_STRING,
     .offset = offsetof(VvfatState, dir),
     .flags = PROP_FLAG_REQUIRED,
     .help = "the folder"},
    PROP("fat-type", PROP_INT64, VvfatState, fat_type, "0",
         "12, 16 or 32 (default: 16, of a floppy 12)"),
    PROP("floppy", PROP_BOOL, VvfatState, floppy, "off", "a floppy disk, without partitions"),
    PROP("label", PROP_STRING, VvfatState, label, NULL,
         "the volume's label, of at most 11 bytes (default: " DEFAULT_LABEL ")"),
    PROP("rw", PROP_BOOL, VvfatState, rw, "off", "the guest's changes go to the folder"),
    PROP_END,
};

/* "fat:[12:|16:|32:][floppy:][rw:]DIR", in any order. */
static json_t *vvfat_parse_filename(const char *filename, GError **err)
{
    const char *rest = strchr(filename, ':') + 1, *colon;
    json_t *node = json_pack("{s:s}", "driver", "vvfat");

    for (; (colon = strchr(rest, ':')); rest = colon + 1) {
        g_autofree char *word = g_strndup(rest, colon - rest);

        if (g_str_equal(word, "12") || g_str_equal(word, "16") || g_str_equal(word, "32")) {
            json_object_set_new(node, "fat-type", json_integer(atoi(word)));
        } else if (g_str_equal(word, "floppy") || g_str_equal(word, "rw")) {
            json_object_set_new(node, word, json_true());
        } else {
            break; /* of the folder's name */
        }
    }
    if (!*rest) {
        json_decref(node);
        error_set(err, "'%s' names no folder: fat:[12:|16:|32:][floppy:][rw:]DIR does", filename);
        return NULL;
    }
    json_object_set_new(node, "dir", json_string_nocheck(rest));
    return node;
}

/* A name that opens the same again. */
static char *vvfat_name(const VvfatState *s)
{
    json_auto_t *o = NULL;
    g_autofree char *type = s->fat_type ? g_strdup_printf("%d:", (int)s->fat_type) : g_strdup("");
    g_autofree char *text = NULL;

    if (!s->label) {
        return g_strdup_printf("fat:%s%s%s%s", type, s->floppy ? "floppy:" : "", s->rw ? "rw:" : "",
                               s->dir);
    }
    o = json_pack("{s:s,s:I,s:b,s:s,s:b}", "driver", "vvfat", "fat-type", (json_int_t)s->fat_type,
                  "floppy", s->floppy, "label", s->label, "rw", s->rw);
    json_object_set_new(o, "dir", json_string_nocheck(s->dir));
    text = json_dump_text(o, 0);
    return g_strconcat("json:", text, NULL);
}

typedef struct {
    FatDisk *disk;
    GError **err;
    bool ok;
} OpenJob;

static int open_job(void *data)
{
    OpenJob *j = data;

    j->ok = fat_disk_init(j->disk, j->err);
    return 0;
}

static bool set_label(VvfatState *s, GError **err)
{
    const char *label = s->label ? s->label : DEFAULT_LABEL;

    if (strlen(label) > FAT_LABEL_SIZE) {
        return error_set(err, "vvfat label cannot be longer than 11 bytes");
    }
    g_snprintf(s->disk.label, sizeof s->disk.label, "%-11s", label);
    return true;
}

static bool coroutine_fn vvfat_open(BlockNode *n, GError **err)
{
    VvfatState *s = block_node_state(n);
    OpenJob job = {.disk = &s->disk, .err = err};
    /* Whoever only looks, at what another process may have open, changes nothing. */
    bool looks = n->opts.force_share;

    if (!set_label(s, err) || !fat_geometry_init(&s->disk.geo, s->fat_type, s->floppy, err)) {
        return false;
    }
    if (s->rw && n->read_only && !looks) {
        return error_set(err, "Unable to set VVFAT to 'rw' when drive is read-only");
    }
    if (!s->rw && !n->read_only && !n->opts.auto_read_only) {
        return error_set(
            err, "Block node is read-only ('fat:rw:%s', or rw=on, lets the guest write)", s->dir);
    }
    n->read_only |= !s->rw;
    s->disk.rw = s->rw && !n->read_only;
    s->disk.quiet = looks;
    s->disk.dir = g_strdup(s->dir);
    s->disk.root_fd = s->disk.overlay_fd = -1;
    co_pool_run(open_job, &job);
    if (!job.ok) {
        fat_disk_destroy(&s->disk);
        return false;
    }
    co_mutex_init(&s->lock);
    n->request_alignment = FAT_SECTOR;
    n->filename = vvfat_name(s);
    return true;
}

static bool coroutine_fn vvfat_reopen_prepare(BlockNode *n, const BlockNodeOptions *opts,
                                              const void *props, bool *read_only, GError **err)
{
    VvfatState *s = block_node_state(n);

    if (s->disk.rw) {
        return true;
    }
    if (s->rw && !*read_only) {
        return error_set(err, "'%s' was opened read-only, and cannot become writable", n->filename);
    }
    return *read_only || block_node_reopen_only_read(n, opts, props, read_only, err);
}

/* Of another host's folder this one knows nothing, and of what the guest has not flushed nobody. */
static bool vvfat_may_migrate(BlockNode *n, GError **err)
{
    VvfatState *s = block_node_state(n);

    return !s->disk.rw ||
           error_set(err, "The vvfat (rw) format used by node '%s' does not support live migration",
                     n->opts.node_name);
}

typedef struct {
    FatDisk *disk;
    uint64_t offset, bytes;
    const struct iovec *iov; /* NULL: zeroes */
    unsigned niov;
    bool write;
} Job;

static int io_job(void *data)
{
    const Job *j = data;
    size_t size = MIN(j->bytes, BOUNCE_MAX);
    g_autofree uint8_t *buf = g_try_malloc(size);
    int ret = buf ? 0 : -ENOMEM;

    for (uint64_t done = 0, len; done < j->bytes && ret == 0; done += len) {
        uint64_t sector = (j->offset + done) / FAT_SECTOR;

        len = MIN(j->bytes - done, size);
        if (j->write) {
            iov_to_buf(j->iov, j->niov, done, buf, len);
            ret = fat_disk_write(j->disk, sector, len / FAT_SECTOR, buf);
        } else {
            ret = fat_disk_read(j->disk, sector, len / FAT_SECTOR, buf);
            iov_from_buf(j->iov, j->niov, done, buf, ret < 0 ? 0 : len);
        }
    }
    return ret;
}

static int zeroes_job(void *data)
{
    const Job *j = data;

    return fat_disk_write_zeroes(j->disk, j->offset / FAT_SECTOR, j->bytes / FAT_SECTOR);
}

static int flush_job(void *data)
{
    const Job *j = data;

    return fat_commit(j->disk);
}

static int coroutine_fn run(BlockNode *n, int (*fn)(void *), Job *j)
{
    VvfatState *s = block_node_state(n);
    uint64_t size = (uint64_t)s->disk.geo.total * FAT_SECTOR;
    int ret;

    if (j->offset > size || j->bytes > size - j->offset || (j->write && !s->disk.rw)) {
        return j->write && !s->disk.rw ? -EPERM : -EIO;
    }
    j->disk = &s->disk;
    co_mutex_lock(&s->lock);
    ret = co_pool_run(fn, j);
    co_mutex_unlock(&s->lock);
    if (j->write) {
        block_node_wrote(n);
    }
    return ret;
}

static int coroutine_fn vvfat_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                     const struct iovec *iov, unsigned niov)
{
    Job j = {.offset = offset, .bytes = bytes, .iov = iov, .niov = niov};

    return run(n, io_job, &j);
}

static int coroutine_fn vvfat_pwritev(BlockNode *n, uint64_t offset, uint64_t bytes,
                                      const struct iovec *iov, unsigned niov, unsigned flags)
{
    Job j = {.offset = offset, .bytes = bytes, .iov = iov, .niov = niov, .write = true};

    return run(n, io_job, &j);
}

static int coroutine_fn vvfat_pwrite_zeroes(BlockNode *n, uint64_t offset, uint64_t bytes,
                                            unsigned flags)
{
    Job j = {.offset = offset, .bytes = bytes, .write = true};

    return run(n, zeroes_job, &j);
}

static int coroutine_fn vvfat_flush(BlockNode *n)
{
    VvfatState *s = block_node_state(n);
    Job j = {NULL};

    return s->disk.rw ? run(n, flush_job, &j) : 0;
}

static int coroutine_fn vvfat_block_status(BlockNode *n, uint64_t offset, uint64_t bytes,
                                           uint64_t *pnum, uint64_t *map, BlockNode **file)
{
    VvfatState *s = block_node_state(n);
    uint64_t first = offset / FAT_SECTOR;
    uint32_t count = DIV_ROUND_UP(offset + bytes, FAT_SECTOR) - first;
    bool data;

    co_mutex_lock(&s->lock);
    data = fat_disk_has_data(&s->disk, first, &count);
    co_mutex_unlock(&s->lock);
    *pnum = MIN(bytes, (first + count) * FAT_SECTOR - offset);
    return BLOCK_STATUS_ALLOCATED | (data ? BLOCK_STATUS_DATA : BLOCK_STATUS_ZERO);
}

/* With cache.no-flush nobody has flushed. */
static void vvfat_close(BlockNode *n)
{
    VvfatState *s = block_node_state(n);
    Job j = {.disk = &s->disk};
    int ret;

    s->disk.closing = true;
    ret = s->disk.rw ? co_pool_run(flush_job, &j) : 0;
    if (ret < 0) {
        log_error("Could not write all of the guest's changes to '%s': %s", s->dir,
                  g_strerror(-ret));
    }
    fat_commit_end(&s->disk);
    fat_disk_destroy(&s->disk);
    co_mutex_destroy(&s->lock);
}

static int64_t vvfat_length(BlockNode *n)
{
    VvfatState *s = block_node_state(n);

    return (int64_t)s->disk.geo.total * FAT_SECTOR;
}

const BlockDriver block_driver_vvfat = {
    .name = "vvfat",
    .protocols = "fat",
    .parse_filename = vvfat_parse_filename,
    .help = "a folder of the host's as a disk with a FAT file system",
    .size = sizeof(VvfatState),
    .props = vvfat_props,
    .is_protocol = true,
    .open = vvfat_open,
    .close = vvfat_close,
    .reopen_prepare = vvfat_reopen_prepare,
    .may_migrate = vvfat_may_migrate,
    .preadv = vvfat_preadv,
    .pwritev = vvfat_pwritev,
    .pwrite_zeroes = vvfat_pwrite_zeroes,
    .flush = vvfat_flush,
    .block_status = vvfat_block_status,
    .length = vvfat_length,
};
