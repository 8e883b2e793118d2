/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of a LUKS image's keys, interrupted. The power is cut after any event: the file has all
 * that was flushed, and any part of the rest, torn at sectors. A key that was there, or was added,
 * opens the image at any time until it is erased; the one that was erased opens it no more. Writes
 * that fail do not take the last key either. Among the slots is the one that lies across two
 * sectors.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/object.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/image.h"
#include "memdisk.h"

enum { DISK = 4096, SUBSETS = 6 };

static void cut_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN;
static void cut_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("Bail out! ");
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    exit(1);
}

static BlockNode *open_luks(const char *disk, const char *secret)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *extra = g_strdup_printf("{\"key-secret\":\"%s\"}", secret);

    return imgtest_open("luks", disk, extra, &err);
}

static int coroutine_fn put_data(void *data)
{
    uint8_t buf[DISK];

    memset(buf, 0x5a, sizeof buf);
    return block_pwrite(data, 0, buf, sizeof buf, 0);
}

static int coroutine_fn has_data(void *data)
{
    uint8_t buf[DISK], want[DISK];
    int ret = block_pread(data, 0, buf, sizeof buf);

    memset(want, 0x5a, sizeof want);
    return ret == 0 && !memcmp(buf, want, sizeof want);
}

/* Whether the image in a disk opens with a secret, and has its data. */
static bool opens(const char *disk, const char *secret)
{
    BlockNode *n = open_luks(disk, secret);
    bool good = n && block_run(has_data, n);

    if (n) {
        block_node_unref(n);
    }
    return good;
}

static bool amend(BlockNode *n, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static bool amend(BlockNode *n, const char *fmt, ...)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = NULL;
    json_auto_t *tree = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    tree = json_loads(text, 0, NULL);
    return block_image_amend(n, tree, false, &err);
}

static int coroutine_fn copy_image(void *data)
{
    BlockNode *n = data;
    MemDisk *from = memdisk_find("made");
    int ret = block_truncate(n, from->length, NULL);

    ret = ret < 0 ? ret : block_pwrite(n, 0, from->data, from->length, 0);
    return ret < 0 ? ret : block_flush(n);
}

/* A disk "disk" with a new image in it, which opens with 's', and a log that begins with it. */
static MemDisk *new_image(void)
{
    MemDisk *made = imgtest_create("made", "luks",
                                   "size=4k,key-secret=s,iter-time=0,cipher-alg=aes-128,"
                                   "cipher-mode=cbc"),
            *disk = memdisk_new("disk");
    BlockNode *n = open_luks("made", "s");

    if (!n || block_run(put_data, n) < 0) {
        cut_fail("no image");
    }
    block_node_unref(n);
    disk->logging = true;
    n = imgtest_open("raw", "disk", NULL, NULL);
    if (!n || block_run(copy_image, n) < 0) {
        cut_fail("no copy");
    }
    block_node_unref(n);
    memdisk_free(made);
    return disk;
}

/* A key slot, and the secret that opens it while it is active. */
typedef struct {
    unsigned slot;
    const char *secret;
} Key;

static bool is_active(const GByteArray *image, unsigned slot)
{
    enum { TABLE = 208, ENTRY = 48, ACTIVE = 0x00ac71f3 };

    return ldbe32(image->data + TABLE + slot * ENTRY) == ACTIVE;
}

/*
 * For each cut in events [from, to]: 'good' opens the image. Where the header says that 'other' has
 * a key as well, that is whole.
 */
static unsigned check_cuts(MemDisk *disk, unsigned from, unsigned to, Key good, Key other,
                           GRand *rand)
{
    unsigned tried = 0;

    for (unsigned cut = from; cut <= to; cut++) {
        for (unsigned i = 0; i < SUBSETS; i++, tried++) {
            GByteArray *image = memdisk_after_cut(disk->log, cut, rand);
            MemDisk *after = memdisk_new("after");

            memdisk_set(after, image->data, image->len);
            if (!is_active(image, good.slot) || !opens("after", good.secret)) {
                cut_fail("cut at %u of %u: '%s' does not open the image", cut, to, good.secret);
            }
            if (is_active(image, other.slot) && !opens("after", other.secret)) {
                cut_fail("cut at %u of %u: slot %u is active without a key", cut, to, other.slot);
            }
            memdisk_free(after);
            g_byte_array_unref(image);
        }
    }
    return tried;
}

/* From one key to the other: the new one comes into its slot, then the old one goes. */
static unsigned change_key(MemDisk *disk, Key old, Key new, GRand *rand)
{
    BlockNode *n = open_luks("disk", old.secret);
    unsigned start = disk->log->len, added, erased, tried;

    if (!n ||
        !amend(n, "{\"state\":\"active\",\"new-secret\":\"%s\",\"keyslot\":%u,\"iter-time\":0}",
               new.secret, new.slot)) {
        cut_fail("slot %u: '%s' was not added", new.slot, new.secret);
    }
    added = disk->log->len;
    if (!amend(n, "{\"state\":\"inactive\",\"old-secret\":\"%s\"}", old.secret)) {
        cut_fail("'%s' was not erased", old.secret);
    }
    erased = disk->log->len;
    block_node_unref(n);
    if (opens("disk", old.secret)) {
        cut_fail("'%s' opens the image still", old.secret);
    }
    tried = check_cuts(disk, start, added, old, new, rand);
    return tried + check_cuts(disk, added, erased, new, old, rand);
}

/* The k-th write or flush fails, once or from then on; afterwards one of the two opens the image.
 */
static unsigned fail_writes(unsigned slot)
{
    for (unsigned k = 1;; k++) {
        MemDisk *disk = new_image();
        BlockNode *n = open_luks("disk", "s");
        bool added, erased = false;

        disk->fail_in = k;
        disk->fail_for_good = k % 2;
        added = amend(
            n, "{\"state\":\"active\",\"new-secret\":\"n\",\"keyslot\":%u,\"iter-time\":0}", slot);
        if (added) {
            erased = amend(n, "{\"state\":\"inactive\",\"old-secret\":\"s\"}");
        }
        disk->fail_in = 0;
        disk->fail_for_good = false;
        block_node_unref(n);
        if ((added && !opens("disk", "n")) || (!added && !opens("disk", "s"))) {
            cut_fail("slot %u, write %u failed: no key opens the image", slot, k);
        }
        memdisk_free(disk);
        if (erased) {
            return k - 1;
        }
    }
}

int main(void)
{
    static const char *const secrets[] = {"secret,id=s,data=abc", "secret,id=n,data=new"};
    static const unsigned slots[] = {1, 6, 7};
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    imgtest_init();
    imgtest_quiet();
    object_set_classes(object_base_classes);
    for (unsigned i = 0; i < ARRAY_SIZE(secrets); i++) {
        char *help = NULL;

        object_option(secrets[i], &help, NULL);
    }
    printf("1..%zu\n", 2 * ARRAY_SIZE(slots));
    for (unsigned i = 0; i < ARRAY_SIZE(slots); i++) {
        MemDisk *disk = new_image();
        Key first = {0, "s"}, second = {slots[i], "n"};
        unsigned tried = change_key(disk, first, second, rand);

        tried += change_key(disk, second, first, rand);
        printf("ok - keys of slot %u: %u images after a cut\n", slots[i], tried);
        memdisk_free(disk);
        printf("ok - slot %u: each of %u writes has failed\n", slots[i], fail_writes(slots[i]));
    }
    reclaim_poll();
    object_delete_all();
    return 0;
}
