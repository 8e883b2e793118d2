/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/iov.h"

#include <stdint.h>
#include <string.h>

size_t iov_size(const struct iovec *iov, unsigned n)
{
    size_t size = 0;

    for (unsigned i = 0; i < n; i++) {
        size += iov[i].iov_len;
    }
    return size;
}

typedef void (*IovPieceFn)(void *piece, size_t done, size_t len, void *data);

/* Calls 'visit' for each piece of [offset, offset + len); returns the sum of their lengths. */
static inline size_t iov_walk(const struct iovec *iov, unsigned n, size_t offset, size_t len,
                              IovPieceFn visit, void *data)
{
    size_t done = 0;

    for (unsigned i = 0; i < n && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t piece = iov[i].iov_len - offset;
        if (piece > len - done) {
            piece = len - done;
        }
        visit((char *)iov[i].iov_base + offset, done, piece, data);
        done += piece;
        offset = 0;
    }
    return done;
}

static void iov_copy_out(void *piece, size_t done, size_t len, void *buf)
{
    memcpy((char *)buf + done, piece, len);
}

static void iov_copy_in(void *piece, size_t done, size_t len, void *buf)
{
    memcpy(piece, (const char *)buf + done, len);
}

static void iov_fill(void *piece, size_t done, size_t len, void *c)
{
    memset(piece, *(int *)c, len);
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len)
{
    return iov_walk(iov, n, offset, len, iov_copy_out, buf);
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t len)
{
    return iov_walk(iov, n, offset, len, iov_copy_in, (void *)buf);
}

size_t iov_memset(const struct iovec *iov, unsigned n, size_t offset, int c, size_t len)
{
    return iov_walk(iov, n, offset, len, iov_fill, &c);
}

unsigned iov_slice(struct iovec *dst, unsigned max, const struct iovec *src, unsigned n,
                   size_t offset, size_t len)
{
    unsigned out = 0;

    for (unsigned i = 0; i < n && len > 0; i++) {
        if (offset >= src[i].iov_len) {
            offset -= src[i].iov_len;
            continue;
        }
        size_t piece = src[i].iov_len - offset;
        if (piece > len) {
            piece = len;
        }
        if (out == max) {
            return 0;
        }
        dst[out++] = (struct iovec){.iov_base = (char *)src[i].iov_base + offset, .iov_len = piece};
        len -= piece;
        offset = 0;
    }
    return len == 0 ? out : 0;
}

bool iov_is_zero(const struct iovec *iov, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!buffer_is_zero(iov[i].iov_base, iov[i].iov_len)) {
            return false;
        }
    }
    return true;
}

static inline uint64_t iov_load64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

bool buffer_is_zero(const void *buf, size_t len)
{
    const char *p = buf;

    if (len < 8) {
        for (size_t i = 0; i < len; i++) {
            if (p[i]) {
                return false;
            }
        }
        return true;
    }
    /* Most data is not zero at the front, in the middle or at the end: these are tested first. */
    if (iov_load64(p) | iov_load64(p + len / 2 - len / 2 % 8) | iov_load64(p + len - 8)) {
        return false;
    }
    size_t i = 0;
    for (; i + 64 <= len; i += 64) {
        uint64_t any = 0;
        for (int j = 0; j < 64; j += 8) {
            any |= iov_load64(p + i + j);
        }
        if (any) {
            return false;
        }
    }
    for (; i + 8 <= len; i += 8) {
        if (iov_load64(p + i)) {
            return false;
        }
    }
    return true; /* a partial last word was tested above */
}
