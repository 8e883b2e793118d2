/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A LUKS image from an attacker (crypt_images.h). No request may crash, hang, or take memory
 * without bounds; a key that was added opens the image.
 */
#include "crypt_images.h"

enum { DISK = 64 * 1024, KINDS = 3 };

static GByteArray *good[KINDS];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_good_images(void)
{
    static const char *const options[KINDS] = {
        "size=64k,key-secret=s,iter-time=0,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv",
        "size=64k,key-secret=s,iter-time=0",
        "size=64k,key-secret=s,iter-time=0,cipher-alg=cast5-128,cipher-mode=cbc,hash-alg=sha1",
    };

    for (unsigned i = 0; i < KINDS; i++) {
        good[i] = crypt_take_image(imgtest_create("disk", "luks", options[i]));
    }
}

static BlockNode *open_luks(const char *secret, unsigned how)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *extra = g_strdup_printf("{\"key-secret\":\"%s\"}", secret);
    BlockNode *n = imgtest_open_as("luks", "disk", extra, how, &err);

    g_assert(n || err);
    return n;
}

static int coroutine_fn use_disk(void *data)
{
    BlockNode *n = data;
    int64_t len = MIN(block_length(n), DISK);
    g_autofree uint8_t *buf = g_malloc(DISK), *back = g_malloc(DISK);

    block_pread(n, 0, buf, len);
    memset(buf, 0x5a, DISK);
    if (block_pwrite(n, 0, buf, len, 0) == 0) {
        g_assert(block_pread(n, 0, back, len) == 0 && !memcmp(buf, back, len));
    }
    block_pwrite(n, len / 3, buf, len / 5, BLOCK_REQ_FUA);
    block_truncate(n, len + 4096, NULL);
    block_truncate(n, 512, NULL);
    return block_flush(n);
}

static void use_keys(void)
{
    BlockNode *n = open_luks("s", 0);
    bool added, erased;

    if (!n) {
        return;
    }
    added = crypt_amend(n, "{\"state\":\"active\",\"new-secret\":\"n\",\"iter-time\":0}");
    erased = crypt_amend(n, "{\"state\":\"inactive\",\"keyslot\":3}");
    block_node_unref(n);
    if (added && !erased) {
        n = open_luks("n", 0);
        g_assert(n);
        erased = crypt_amend(n, "{\"state\":\"inactive\",\"old-secret\":\"s\"}");
        block_node_unref(n);
        n = erased ? open_luks("s", 0) : NULL;
        g_assert(!n);
        n = open_luks("n", 0);
        g_assert(n);
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
        n = open_luks("s", 0);
        g_assert(n);
        block_node_unref(n);
        memdisk_free(disk);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MemDisk *disk;
    BlockNode *n;

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
    crypt_set_image(disk, good, KINDS, data, size);
    n = open_luks("s", BLOCK_IMAGE_NO_IO);
    if (n) {
        json_auto_t *info = block_image_info(n, false);

        g_free(block_image_info_text(info));
        block_run(use_disk, n); /* refused: there is no key */
        block_node_unref(n);
    }
    crypt_set_image(disk, good, KINDS, data, size);
    n = open_luks("s", 0);
    if (n) {
        block_run(use_disk, n);
        block_node_unref(n);
    }
    crypt_set_image(disk, good, KINDS, data, size);
    use_keys();
    reclaim_poll();
    memdisk_free(disk);
    return 0;
}
