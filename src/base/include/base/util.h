/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Macros and small functions that all modules use. */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <endian.h>
#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define ROUND_UP(n, d)                  (((n) + (d)-1) / (d) * (d))
#define ROUND_DOWN(n, d)                ((n) / (d) * (d))
#define IS_ALIGNED(n, d)                (((n) % (d)) == 0)
#define DIV_ROUND_UP(n, d)              (((n) + (d)-1) / (d))
#define BIT(n)                          (1u << (n))
#define BIT64(n)                        (1ull << (n))

#define KiB        1024ull
#define MiB        (1024ull * KiB)
#define GiB        (1024ull * MiB)
#define NS_PER_SEC 1000000000ll
#define NS_PER_MS  1000000ll
#define NS_PER_US  1000ll

static inline bool is_power_of_2(uint64_t n)
{
    return n && !(n & (n - 1));
}

/* Unaligned little-endian (le) and big-endian (be) loads and stores. */
#define DEFINE_UNALIGNED(bits)                                                                     \
    static inline uint##bits##_t ldle##bits(const void *p)                                         \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return le##bits##toh(v);                                                                   \
    }                                                                                              \
    static inline void stle##bits(void *p, uint##bits##_t v)                                       \
    {                                                                                              \
        v = htole##bits(v);                                                                        \
        memcpy(p, &v, sizeof v);                                                                   \
    }                                                                                              \
    static inline uint##bits##_t ldbe##bits(const void *p)                                         \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return be##bits##toh(v);                                                                   \
    }                                                                                              \
    static inline void stbe##bits(void *p, uint##bits##_t v)                                       \
    {                                                                                              \
        v = htobe##bits(v);                                                                        \
        memcpy(p, &v, sizeof v);                                                                   \
    }
DEFINE_UNALIGNED(16)
DEFINE_UNALIGNED(32)
DEFINE_UNALIGNED(64)
#undef DEFINE_UNALIGNED

/* Closes *fd where it is open and sets it to -1. For __attribute__((cleanup)) too. */
void fd_close(int *fd);
#define auto_fd __attribute__((cleanup(fd_close))) int

/*
 * Zeroed memory of whole pages, of which those that nobody touches cost nothing. For structures
 * with arrays that are seldom full: malloc() hands pages out that others have touched.
 */
void *sparse_new(size_t size);
void *sparse_try_new(size_t size); /* NULL: the host has no memory */
void sparse_free(void *memory, size_t size);
void sparse_trim(void *memory, size_t size); /* gives back pages that hold only zeroes */

/*
 * A hash function for GHashTables of uint64_t keys that an outsider chose (with g_int64_equal()).
 * It is seeded, so that nobody can choose keys that collide.
 */
unsigned hash_u64(const void *key);

/* "512 MiB": three significant digits, as qemu-img has them. The caller frees it. */
char *size_to_text(uint64_t bytes);

#endif
