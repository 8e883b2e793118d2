/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An encrypted qcow2 image from an attacker (crypt_images.h): opened with and without a key, read,
 * written to, checked, repaired, resized; its snapshots and keys changed. What is written is read
 * again, but where the image is found to be corrupt.
 */
#include "block/snapshot.h"
#include "crypt_images.h"

enum { KINDS = 3, CHUNK = 64 * 1024 };

static GByteArray *good[KINDS];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static BlockNode *open_qcow2(const char *secret, unsigned how)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *extra = g_strdup_printf(
        "{\"backing\":null,\"discard\":\"unmap\",\"encrypt\":{\"key-secret\":\"%s\"}}", secret);
    BlockNode *n = imgtest_open_as("qcow2", "disk", extra, how, &err);

    g_assert(n || err);
    return n;
}

static int coroutine_fn fill(void *data)
{
    BlockNode *n = data;
    BlockSnapshot sn = block_snapshot_now("one");
    g_autofree uint8_t *buf = g_malloc(CHUNK);

    memset(buf, 0x5a, CHUNK);
    g_assert(block_pwrite(n, 0, buf, CHUNK, 0) == 0 && block_snapshot_create(n, &sn, NULL));
    return block_pwrite(n, CHUNK / 2, buf, 700, 0);
}

static void make_good_images(void)
{
    static const char *const options[KINDS] = {
        "size=300k,cluster_size=4k,encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=0,"
        "encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc",
        "size=200k,cluster_size=1k,encrypt.format=aes,encrypt.key-secret=s",
        "size=300k,cluster_size=16k,extended_l2=on,encrypt.format=luks,encrypt.key-secret=s,"
        "encrypt.iter-time=0",
    };

    for (unsigned i = 0; i < KINDS; i++) {
        MemDisk *m = imgtest_create("disk", "qcow2", options[i]);
        BlockNode *n = open_qcow2("s", 0);

        g_assert(n && block_run(fill, n) == 0);
        block_node_unref(n);
        good[i] = crypt_take_image(m);
    }
}

static int coroutine_fn use_disk(void *data)
{
    BlockNode *n = data;
    BlockSnapshot sn = block_snapshot_now("ours");
    BlockCheckResult res = {0};
    int64_t len = MIN(block_length(n), CHUNK);
    g_autofree uint8_t *buf = g_malloc(CHUNK), *back = g_malloc(CHUNK);
    struct iovec iov = {buf, CHUNK};

    block_pread(n, 0, buf, len);
    n->driver->check(n, &res, BLOCK_CHECK_QUIET);
    memset(buf, 0x77, CHUNK);
    if (block_pwrite(n, 0, buf, len, 0) == 0 && block_pread(n, 0, back, len) == 0) {
        g_assert(res.corruptions || res.check_errors || !memcmp(buf, back, len));
    }
    block_pwrite(n, len / 3, buf, len / 5, BLOCK_REQ_FUA);
    block_pwrite_zeroes(n, len / 4 + 3, len / 3, BLOCK_REQ_MAY_UNMAP);
    block_pdiscard(n, 0, len / 2);
    block_vmstate_pwritev(n, 1000, CHUNK, &iov, 1);
    iov.iov_base = back;
    block_vmstate_preadv(n, 77, CHUNK, &iov, 1);
    block_snapshot_create(n, &sn, NULL);
    block_pwrite(n, 0, buf, len, 0);
    block_snapshot_apply(n, "one", NULL);
    block_snapshot_delete(n, NULL, "ours", NULL);
    if (block_length(n) < (int64_t)GiB) {
        block_truncate(n, ROUND_UP(block_length(n) + MiB, 512), NULL);
    }
    return block_flush(n);
}

static int coroutine_fn repair(void *data)
{
    BlockNode *n = data;
    BlockCheckResult res = {0};

    return n->driver->check(n, &res,
                            BLOCK_CHECK_QUIET | BLOCK_CHECK_FIX_LEAKS | BLOCK_CHECK_FIX_ERRORS);
}

static void use_keys(void)
{
    BlockNode *n = open_qcow2("s", 0);
    bool added;

    if (!n) {
        return;
    }
    added = crypt_amend(
        n, "{\"encrypt.state\":\"active\",\"encrypt.new-secret\":\"n\",\"encrypt.iter-time\":0}");
    block_node_unref(n);
    n = added ? open_qcow2("n", BLOCK_IMAGE_CHECK) : NULL;
    g_assert(!added || n);
    if (n) {
        crypt_amend(n, "{\"encrypt.state\":\"inactive\",\"encrypt.old-secret\":\"s\"}");
        block_node_unref(n);
    }
}

/* Else the target would try nothing. */
static void check_good_images(void)
{
    for (uint8_t i = 0; i < KINDS; i++) {
        MemDisk *disk = memdisk_new("disk");
        BlockNode *n;

        crypt_set_image(disk, good, KINDS, &i, 1);
        n = open_qcow2("s", 0);
        g_assert(n);
        block_node_unref(n);
        memdisk_free(disk);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned ways[] = {BLOCK_IMAGE_NO_IO, BLOCK_IMAGE_CHECK, 0};
    MemDisk *disk;

    if (!good[0]) {
        imgtest_init();
        crypt_make_secrets();
        make_good_images();
        log_set_file("/dev/null", NULL);
        luks_iterations_max = CRYPT_ITERATIONS_MAX;
        check_good_images();
    }
    disk = memdisk_new("disk");
    disk->max_length = CRYPT_MAX_FILE;
    for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
        BlockNode *n;

        crypt_set_image(disk, good, KINDS, data, size);
        n = open_qcow2("s", ways[i]);
        if (n) {
            json_auto_t *info = block_image_info(n, false);

            g_free(block_image_info_text(info));
            block_run(ways[i] == BLOCK_IMAGE_CHECK ? repair : use_disk, n);
            block_node_unref(n);
        }
    }
    crypt_set_image(disk, good, KINDS, data, size);
    use_keys();
    reclaim_poll();
    memdisk_free(disk);
    return 0;
}
