/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vectors of buffers. Lengths in bytes. Any thread; no allocation unless said. */
#ifndef BASE_IOV_H
#define BASE_IOV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

size_t iov_size(const struct iovec *iov, unsigned n);
/* Copy out of / into the vector from byte 'offset' on; gives the bytes copied (may be short). */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t offset, const void *buf,
                    size_t len);
size_t iov_memset(const struct iovec *iov, unsigned n, size_t offset, int c, size_t len);
/*
 * The part [offset, offset+len) of src as a vector in dst (room for max entries); gives the
 * number of entries, or 0 where the part is not wholly inside or does not fit.
 */
unsigned iov_slice(struct iovec *dst, unsigned max, const struct iovec *src, unsigned n,
                   size_t offset, size_t len);
bool iov_is_zero(const struct iovec *iov, unsigned n);
bool buffer_is_zero(const void *buf, size_t len);

#endif
