/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pages of guest memory somebody has touched: others hold zeroes, and are not read to find
 * that, for the host would make them then. Of private anonymous memory /proc/self/pagemap says it
 * (Linux, Documentation/admin-guide/mm/pagemap.rst), of a shared file its holes. A page that is
 * mapped from a snapshot's image holds something, whoever has touched it.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/host.h"
#include "ram_mapped.h"

/* Of an entry: the page is in memory, in swap, or of a file. */
#define PAGEMAP_THERE (BIT64(63) | BIT64(62) | BIT64(61))

enum { ENTRIES = 4096 };

typedef struct {
    void (*fn)(uint64_t start, uint64_t end, void *data);
    void *data;
    uint64_t page, start, end; /* the range that is being found */
    const RamBlock *block;
} Walk;

static void walk_give(Walk *w)
{
    if (w->start < w->end) {
        w->fn(w->start, w->end, w->data);
    }
}

static void walk_page(Walk *w, uint64_t at)
{
    if (at != w->end) {
        walk_give(w);
        w->start = at;
    }
    w->end = at + w->page;
}

/* False: from 'at' on it is not known. */
static bool walk_entries(Walk *w, int fd, const uint8_t *host, uint64_t at, uint64_t pages)
{
    uint64_t entries[ENTRIES];
    size_t bytes = pages * sizeof entries[0];
    off_t offset = ((uintptr_t)host + at) / w->page * sizeof entries[0];

    if (pread(fd, entries, bytes, offset) != (ssize_t)bytes) {
        return false;
    }
    for (uint64_t i = 0; i < pages; i++) {
        if (entries[i] & PAGEMAP_THERE || ram_page_is_mapped(w->block, at + i * w->page)) {
            walk_page(w, at + i * w->page);
        }
    }
    return true;
}

/* A file of which others may have pages: what it has no data for. False: from *at on not known. */
static bool walk_file(const RamBlock *b, Walk *w, uint64_t *at)
{
    while (*at < b->size) {
        off_t data = lseek(b->fd, b->fd_offset + *at, SEEK_DATA), hole;

        if (data < 0 && errno == ENXIO) {
            break; /* none behind that */
        }
        hole = data < 0 ? -1 : lseek(b->fd, data, SEEK_HOLE);
        if (hole < 0) {
            return false;
        }
        data -= b->fd_offset;
        hole -= b->fd_offset;
        if ((uint64_t)data >= b->size) {
            break;
        }
        w->fn(ROUND_DOWN((uint64_t)data, w->page), MIN(ROUND_UP((uint64_t)hole, w->page), b->size),
              w->data);
        *at = hole;
    }
    *at = b->size;
    return true;
}

static void walk_anonymous(const RamBlock *b, Walk *w, uint64_t *at)
{
    auto_fd fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && *at < b->size) {
        uint64_t pages = MIN((b->size - *at) / w->page, ENTRIES);

        if (!walk_entries(w, fd, b->host, *at, pages)) {
            break;
        }
        *at += pages * w->page;
    }
    walk_give(w);
}

void ram_block_foreach_touched(const RamBlock *b,
                               void (*fn)(uint64_t start, uint64_t end, void *data), void *data)
{
    Walk w = {fn, data, getpagesize(), 0, 0, b};
    uint64_t at = 0;

    if (b->fd < 0 && !b->shared) {
        walk_anonymous(b, &w, &at);
    } else if (b->fd >= 0 && b->shared) {
        walk_file(b, &w, &at);
    }
    if (at < b->size) {
        fn(at, b->size, data);
    }
}
