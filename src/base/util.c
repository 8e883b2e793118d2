/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"

#include <glib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

#ifdef WITH_ASAN /* which watches what malloc() has given, and looks for leaks in it */
void *sparse_try_new(size_t size)
{
    return g_try_malloc0(size);
}

void sparse_free(void *memory, size_t size)
{
    g_free(memory);
}

void sparse_trim(void *memory, size_t size)
{
}
#else
void *sparse_try_new(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        return NULL;
    }
    /* Where huge pages are given to everybody, neighbours of this kind would get one together. */
    madvise(memory, size, MADV_NOHUGEPAGE);
    return memory;
}

void sparse_free(void *memory, size_t size)
{
    if (memory) {
        munmap(memory, size);
    }
}

void sparse_trim(void *memory, size_t size)
{
    size_t page = sysconf(_SC_PAGESIZE);

    for (size_t at = 0; at < size; at += page) {
        const char *p = (char *)memory + at;
        size_t len = MIN(page, size - at);

        if (!*p && !memcmp(p, p + 1, len - 1)) {
            madvise((char *)memory + at, page, MADV_DONTNEED);
        }
    }
}
#endif

void *sparse_new(size_t size)
{
    void *memory = sparse_try_new(size);

    if (!memory) {
        g_error("out of memory: %zu bytes", size);
    }
    return memory;
}

unsigned hash_u64(const void *key)
{
    static uint64_t seed; /* odd */
    static gsize made;
    uint64_t k;

    if (g_once_init_enter(&made)) {
        seed = (uint64_t)g_random_int() << 32 | g_random_int() | 1;
        g_once_init_leave(&made, 1);
    }
    memcpy(&k, key, sizeof k);
    return ((k ^ k >> 32) * seed) >> 32;
}

void fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

char *size_to_text(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = bytes;
    unsigned i = 0;

    while (value >= 999.5 && i + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        i++;
    }
    return g_strdup_printf("%.3g %s", value, units[i]);
}
