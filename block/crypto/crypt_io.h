/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to what a node keeps encrypted. Private to block/. */
#ifndef BLOCK_CRYPT_IO_H
#define BLOCK_CRYPT_IO_H

#include "block/node.h"
#include "cipher.h"

/*
 * Whole sectors of 'file' from 'offset' on, of which the first has this number for the cipher. What
 * is read is decrypted where it lies; what is written is encrypted into a buffer. 0 or -errno.
 */
int coroutine_fn crypt_preadv(const DiskCipher *c, uint64_t sector, BlockNode *file,
                              uint64_t offset, uint64_t bytes, const struct iovec *iov,
                              unsigned niov);
int coroutine_fn crypt_pwritev(const DiskCipher *c, uint64_t sector, BlockNode *file,
                               uint64_t offset, uint64_t bytes, const struct iovec *iov,
                               unsigned niov, unsigned flags);

#endif
