/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "crypt_io.h"

#include <errno.h>
#include <string.h>

#include "base/iov.h"
#include "base/util.h"

enum { CRYPT_CHUNK = 1 << 20 }; /* most that is encrypted into one buffer */

/* A place in a vector. */
typedef struct {
    const struct iovec *iov;
    size_t skip; /* bytes of the first entry that lie behind */
} IovCursor;

/* To the entry that the next byte is in. There is one. */
static void cursor_settle(IovCursor *at)
{
    while (at->skip >= at->iov->iov_len) {
        at->skip -= at->iov->iov_len;
        at->iov++;
    }
}

/* Whole sectors that lie in one piece from here on; 0: the first is in several pieces. */
static size_t cursor_run(IovCursor *at, uint64_t bytes)
{
    cursor_settle(at);
    return MIN(ROUND_DOWN(at->iov->iov_len - at->skip, CIPHER_SECTOR), bytes);
}

static uint8_t *cursor_bytes(const IovCursor *at)
{
    return (uint8_t *)at->iov->iov_base + at->skip;
}

/* Copies one sector that is in several pieces, out of the vector or into it. */
static void cursor_copy_sector(IovCursor *at, uint8_t *sector, bool into)
{
    for (size_t done = 0; done < CIPHER_SECTOR;) {
        size_t n;

        cursor_settle(at);
        n = MIN(at->iov->iov_len - at->skip, CIPHER_SECTOR - done);
        if (into) {
            memcpy(cursor_bytes(at), sector + done, n);
        } else {
            memcpy(sector + done, cursor_bytes(at), n);
        }
        done += n;
        at->skip += n;
    }
}

int coroutine_fn crypt_preadv(const DiskCipher *c, uint64_t sector, BlockNode *file,
                              uint64_t offset, uint64_t bytes, const struct iovec *iov,
                              unsigned niov)
{
    IovCursor at = {iov, 0};
    uint8_t pieces[CIPHER_SECTOR];
    int ret = block_preadv(file, offset, bytes, iov, niov);

    while (ret == 0 && bytes) {
        size_t n = cursor_run(&at, bytes);

        if (n) {
            disk_cipher_decrypt(c, sector, cursor_bytes(&at), cursor_bytes(&at), n);
            at.skip += n;
        } else {
            IovCursor start = at;

            n = CIPHER_SECTOR;
            cursor_copy_sector(&start, pieces, false);
            disk_cipher_decrypt(c, sector, pieces, pieces, n);
            cursor_copy_sector(&at, pieces, true);
        }
        bytes -= n;
        sector += n / CIPHER_SECTOR;
    }
    return ret;
}

static void encrypt_chunk(const DiskCipher *c, uint64_t sector, uint8_t *out, size_t bytes,
                          IovCursor *at)
{
    while (bytes) {
        size_t n = cursor_run(at, bytes);

        if (n) {
            disk_cipher_encrypt(c, sector, out, cursor_bytes(at), n);
            at->skip += n;
        } else {
            n = CIPHER_SECTOR;
            cursor_copy_sector(at, out, false);
            disk_cipher_encrypt(c, sector, out, out, n);
        }
        sector += n / CIPHER_SECTOR;
        out += n;
        bytes -= n;
    }
}

int coroutine_fn crypt_pwritev(const DiskCipher *c, uint64_t sector, BlockNode *file,
                               uint64_t offset, uint64_t bytes, const struct iovec *iov,
                               unsigned niov, unsigned flags)
{
    block_auto_buffer uint8_t *buf = block_buffer_new(file, MIN(bytes, CRYPT_CHUNK));
    IovCursor at = {iov, 0};
    int ret = buf ? 0 : -ENOMEM;

    while (ret == 0 && bytes) {
        size_t n = MIN(bytes, CRYPT_CHUNK);

        encrypt_chunk(c, sector, buf, n, &at);
        ret = block_pwrite(file, offset, buf, n, flags);
        sector += n / CIPHER_SECTOR;
        offset += n;
        bytes -= n;
    }
    return ret;
}
