/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vectors of buffers. Lengths and offsets are in bytes. Any thread; nothing allocates. */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

size_t iov_size(const struct iovec *iov, unsigned n);
/*
 * Copy out of the vector, copy into it, fill it, from byte 'offset' on. They return the number of
 * bytes, which is less than 'len' where the vector ends before.
 */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t offset, const void *buf,
                    size_t len);
size_t iov_memset(const struct iovec *iov, unsigned n, size_t offset, int c, size_t len);
/*
 * Makes dst, which has room for max entries, the part [offset, offset + len) of src. Returns the
 * number of entries, or 0 where src ends before or dst is too small.
 */
unsigned iov_slice(struct iovec *dst, unsigned max, const struct iovec *src, unsigned n,
                   size_t offset, size_t len);
bool iov_is_zero(const struct iovec *iov, unsigned n);
bool buffer_is_zero(const void *buf, size_t len);

#endif
