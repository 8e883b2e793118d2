/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * zlib's compression for image formats, on a worker thread where the caller can wait. Coroutines.
 * -ENOTSUP: there is no zlib on this host, and a message says so.
 */
#ifndef BLOCK_DRIVERS_INFLATE_H
#define BLOCK_DRIVERS_INFLATE_H

#include "base/coroutine.h"
#include <stddef.h>
#include <stdint.h>

/* zlib's 'windowBits': negative for a raw stream. */
enum { INFLATE_RAW = -12, INFLATE_RAW_FULL = -15, INFLATE_ZLIB = 15 };

/*
 * Unpacks a stream; what follows its end is ignored. Returns the bytes that it held, as far as they
 * go into 'out', or -EIO where the stream is damaged or does not end within 'in'.
 */
int64_t coroutine_fn block_inflate(int window, const void *in, size_t in_len, void *out,
                                   size_t out_len);
/* Returns the packed length. -ENOSPC: 'out' is too small. */
int64_t coroutine_fn block_deflate(int window, const void *in, size_t in_len, void *out,
                                   size_t out_len);

#endif
