/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What fuzz targets of image formats share. The input is an image file from an attacker: it is
 * probed, opened, described, read from end to end as 'convert' does, checked, repaired, written to.
 * Every request may fail; none may crash, hang, take memory without bounds, or open another file.
 *
 *     #include "fuzz_image.h"
 *     static const FuzzImage image = {.format = "vdi"};
 *     FUZZ_IMAGE(image)
 */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "../../block/core.h"
#include "../img/memdisk.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"

typedef struct {
    const char *format;
    /*
     * More options to open with, JSON: "backing":null where the format has it, so that no file is
     * opened whose name the attacker chose. NULL: none.
     */
    const char *open;
    /* A memory disk of this name is there as well. NULL: none. */
    const char *second;
    /* Where in the input its content begins; NULL: it is empty. */
    size_t (*second_from)(const uint8_t *data, size_t size);
    /* Makes checksums right, so that more than these is tested. NULL: there are none. */
    void (*fix)(uint8_t *image, size_t size);
} FuzzImage;

#define FUZZ_IMAGE(image)                                                                          \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);                                  \
    int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)                                   \
    {                                                                                              \
        return fuzz_image(&image, data, size);                                                     \
    }

enum { FUZZ_MAX_IMAGE = 4 * 1024 * 1024, FUZZ_CHUNK = 96 * 1024, FUZZ_EXTENTS = 300 };

static inline BlockNode *fuzz_image_open(const FuzzImage *f, bool read_only, unsigned how)
{
    g_autoptr(GError) err = NULL;
    json_auto_t *extra = f->open ? json_loads(f->open, 0, NULL) : json_object();
    g_autofree char *text = NULL;
    BlockNode *n;

    g_assert(extra);
    json_object_set_new(extra, "read-only", json_boolean(read_only));
    json_object_set_new(extra, "discard", json_string("unmap"));
    text = json_dumps(extra, 0);
    n = imgtest_open_as(f->format, "disk", text, how, &err);
    g_assert(n || err);
    return n;
}

/* Reads what is not zero, as 'convert' does; of a large disk a part. */
static inline int coroutine_fn fuzz_image_read(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    int64_t len = block_length(n);
    uint64_t ends[] = {0, 65536 - 512, len / 2, len > FUZZ_CHUNK ? len - FUZZ_CHUNK : 0};
    g_autofree uint8_t *buf = g_malloc(FUZZ_CHUNK);
    uint64_t at = 0, bytes, map;
    BlockNode *file;

    for (unsigned i = 0; i < FUZZ_EXTENTS && at < (uint64_t)len; i++, at += bytes) {
        int ret = block_status(n, at, len - at, &bytes, &map, &file);

        if (ret < 0) {
            bytes = MIN(65536, len - at);
        }
        g_assert(bytes && bytes <= len - at);
        if (ret < 0 || (ret & BLOCK_STATUS_DATA)) {
            block_pread(n, at, buf, MIN(bytes, FUZZ_CHUNK));
        }
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        block_pread(n, ends[i], buf, FUZZ_CHUNK);
        block_status(n, ends[i], FUZZ_CHUNK, &bytes, &map, &file);
    }
    return n->driver->check ? n->driver->check(n, &res, BLOCK_CHECK_QUIET) : 0;
}

/* An image that a repair leaves without corruptions has none in the next check either. */
static inline int coroutine_fn fuzz_image_repair(void *data)
{
    BlockNode *n = data;
    BlockCheckResult first = {0}, second = {0};
    unsigned fix = BLOCK_CHECK_QUIET | BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS;

    if (n->driver->check && n->driver->check(n, &first, fix) == 0 && !first.corruptions &&
        !first.check_errors) {
        g_assert(n->driver->check(n, &second, BLOCK_CHECK_QUIET) == 0);
        g_assert(!second.corruptions && !second.check_errors);
    }
    return 0;
}

static inline int coroutine_fn fuzz_image_write(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};
    BlockDriverInfo info = {0};
    int64_t len = block_length(n);
    g_autofree uint8_t *buf = g_malloc(2 * MiB);

    memset(buf, 0x77, 2 * MiB);
    block_pwrite(n, 0, buf, MIN(len, FUZZ_CHUNK), 0);
    block_pwrite(n, len / 2, buf, MIN(len - len / 2, 700), 0);
    block_pdiscard(n, 0, MIN(len, MiB));
    block_pwrite_zeroes(n, len / 3, MIN(len - len / 3, 200000), BLOCK_REQ_MAY_UNMAP);
    block_flush(n);
    block_pwrite(n, len / 3, buf, MIN(len - len / 3, 3000), BLOCK_REQ_FUA);
    if (n->driver->pwrite_compressed && n->driver->info && n->driver->info(n, &info)) {
        json_decref(info.format_specific);
        if (info.cluster_size && info.cluster_size <= 2 * MiB && len >= info.cluster_size) {
            block_pwrite_compressed(n, ROUND_DOWN(len / 2, info.cluster_size), buf,
                                    info.cluster_size);
        }
    }
    if (n->driver->truncate && len < 1024 * (int64_t)GiB) {
        block_truncate(n, ROUND_UP(len + MiB, 512), NULL);
        block_truncate(n, ROUND_DOWN(len / 2, 512), NULL);
    }
    if (n->driver->check) {
        n->driver->check(n, &res, BLOCK_CHECK_QUIET);
    }
    block_pwrite(n, 0, buf, MIN(block_length(n), FUZZ_CHUNK), 0);
    block_flush(n);
    return fuzz_image_read(n);
}

static inline void fuzz_image_try(const FuzzImage *f, bool read_only, unsigned how,
                                  int coroutine_fn (*fn)(void *data))
{
    BlockNode *n = fuzz_image_open(f, read_only, how);

    if (!n) {
        return;
    }
    if (read_only) {
        json_auto_t *info = block_image_info(n, true);

        g_free(block_image_info_text(info));
    }
    block_run(fn, n);
    block_node_unref(n);
}

static inline void fuzz_image_set(const FuzzImage *f, MemDisk *disk, MemDisk *second,
                                  const uint8_t *data, size_t size)
{
    if (f->second_from) {
        size_t from = MIN(f->second_from(data, size), size);

        memdisk_set(second, data + from, size - from);
        size = from;
    }
    memdisk_set(disk, data, size);
    if (f->fix && size) {
        f->fix(disk->data, size);
    }
}

static inline int fuzz_image(const FuzzImage *f, const uint8_t *data, size_t size)
{
    static EventLoop *loop;
    MemDisk *disk, *second;

    if (!loop) {
        loop = imgtest_init();
        log_set_file("/dev/null", NULL);
    }
    if (size > FUZZ_MAX_IMAGE) {
        return 0;
    }
    block_probe(data, MIN(size, 2048));
    block_probe_foreign(data, MIN(size, 2048), data + size - MIN(size, 512), MIN(size, 512));
    disk = memdisk_new("disk");
    second = f->second ? memdisk_new(f->second) : NULL;
    /* Writes past this length fail with ENOSPC, before the fuzzer runs out of memory. */
    disk->max_length = 16 * MiB;
    if (second) {
        second->max_length = 16 * MiB;
    }
    fuzz_image_set(f, disk, second, data, size);
    fuzz_image_try(f, true, 0, fuzz_image_read);
    fuzz_image_try(f, false, BLOCK_IMAGE_CHECK, fuzz_image_repair);
    fuzz_image_set(f, disk, second, data, size);
    fuzz_image_try(f, false, 0, fuzz_image_write);
    fuzz_image_try(f, true, 0, fuzz_image_read);
    reclaim_poll();
    memdisk_free(disk);
    memdisk_free(second);
    return 0;
}

#endif
