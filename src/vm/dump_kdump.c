/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kdump's compressed format by zlib, which crash and makedumpfile read, in its flattened form: a
 * stream of records that say where in the file they belong. So pages can be written to a pipe,
 * though their descriptors come before them in the file. (makedumpfile, IMPLEMENTATION: 'The
 * flattened format', 'The kdump-compressed format'.)
 *
 *     block 0     header
 *     block 1 on  sub-header, notes
 *     then        the bitmap of pages that exist, and the same one again: all of them are dumped
 *     then        a descriptor for each page of the bitmap
 *     then        the pages; those that hold zeroes share one
 */
#include <string.h>
#include <zlib.h>

#include "base/error.h"
#include "base/iov.h"
#include "base/library.h"
#include "base/util.h"
#include "dump_internal.h"

#define ZLIB_FUNCTIONS(F) F(compress2)

static struct {
    ZLIB_FUNCTIONS(LIBRARY_POINTER)
} zlib;
static const char *const zlib_names[] = {ZLIB_FUNCTIONS(LIBRARY_NAME) NULL};
static Library zlib_library = {"libz.so.1", "zlib1g", zlib_names, &zlib};

#define PAGE            4096u
#define FLAT_HEADER     4096u
#define HEADER_VERSION  6
#define COMPRESSED_ZLIB 1 /* status of the header, flags of a page's descriptor */
#define DUMP_LEVEL      1
#define BITMAP_PIECE    (256u << 10) /* bytes that one job makes */
#define PAGES_PIECE     512u         /* pages that one job compresses */

/* Of a 64-bit machine. */
typedef struct {
    char signature[8];
    uint32_t header_version;
    char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
    char pad[6];
    uint64_t seconds, microseconds;
    uint32_t status, block_size, sub_header_blocks, bitmap_blocks, max_mapnr, total_ram_blocks,
        device_blocks, written_blocks, current_cpu, nr_cpus;
} Header;
typedef struct {
    uint64_t phys_base;
    uint32_t dump_level, split;
    uint64_t start_pfn, end_pfn, vmcoreinfo_offset, vmcoreinfo_size, notes_offset, notes_size,
        eraseinfo_offset, eraseinfo_size, start_pfn_64, end_pfn_64, max_mapnr_64;
} SubHeader;
typedef struct {
    uint64_t offset;
    uint32_t size, flags;
    uint64_t page_flags;
} PageDesc;
G_STATIC_ASSERT(sizeof(Header) == 464 && sizeof(SubHeader) == 104 && sizeof(PageDesc) == 24);

typedef enum { KDUMP_HEAD, KDUMP_BITMAP, KDUMP_PAGES, KDUMP_END, KDUMP_OVER } KdumpPhase;

struct Kdump {
    Dump *dump;
    KdumpPhase phase;
    GByteArray *out; /* what is written next */
    size_t sent;     /* of it */
    uint64_t max_pfn, bitmap_len;
    uint64_t bitmap_at, descs_at, pages_at; /* in the file; they move */
    uint64_t bitmap_done;                   /* bytes of both bitmaps */
    uint64_t done;                          /* bytes of memory */
    unsigned range, touched;                /* the range of 'done', the touched part that follows */
    PageDesc zeroes;
};

bool kdump_available(GError **err)
{
    return library_load(&zlib_library, err);
}

Kdump *kdump_new(Dump *d)
{
    Kdump *k = g_new0(Kdump, 1);

    k->dump = d;
    k->out = g_byte_array_new();
    return k;
}

void kdump_free(Kdump *k)
{
    if (k) {
        g_byte_array_unref(k->out);
        g_free(k);
    }
}

/* Records. */

static void kdump_record(Kdump *k, uint64_t offset, uint64_t size)
{
    uint64_t head[2] = {GUINT64_TO_BE(offset), GUINT64_TO_BE(size)};

    g_byte_array_append(k->out, (const uint8_t *)head, sizeof head);
}

/* Nothing for nothing: an empty record ends the stream for makedumpfile. */
static void kdump_put(Kdump *k, uint64_t offset, const void *data, size_t size)
{
    if (size) {
        kdump_record(k, offset, size);
        g_byte_array_append(k->out, data, size);
    }
}

/* What comes first: these are small, but for the notes of many CPUs. */
static void kdump_make_head(Kdump *k)
{
    const struct {
        char signature[16];
        uint64_t type, version;
    } flat = {"makedumpfile", GUINT64_TO_BE(1), GUINT64_TO_BE(1)};
    const Dump *d = k->dump;
    const DumpRange *last = &g_array_index(d->ranges, DumpRange, d->ranges->len - 1);
    uint64_t notes = d->status_notes->len + d->own_notes->len, pages = d->total / PAGE;
    uint32_t sub_blocks = DIV_ROUND_UP(sizeof(SubHeader) + notes, PAGE);
    uint8_t block[PAGE] = {0};
    Header h = {.signature = {'K', 'D', 'U', 'M', 'P', ' ', ' ', ' '}, .machine = "x86_64"};
    SubHeader s = {0};

    k->max_pfn = (last->pa + last->len) / PAGE;
    k->bitmap_len = ROUND_UP(DIV_ROUND_UP(k->max_pfn, 8), PAGE);
    k->bitmap_at = (1 + sub_blocks) * (uint64_t)PAGE;
    k->descs_at = k->bitmap_at + 2 * k->bitmap_len;
    k->pages_at = k->descs_at + pages * sizeof(PageDesc);

    h.header_version = GUINT32_TO_LE(HEADER_VERSION);
    h.status = GUINT32_TO_LE(COMPRESSED_ZLIB);
    h.block_size = GUINT32_TO_LE(PAGE);
    h.sub_header_blocks = GUINT32_TO_LE(sub_blocks);
    h.bitmap_blocks = GUINT32_TO_LE(2 * k->bitmap_len / PAGE);
    h.max_mapnr = GUINT32_TO_LE(MIN(k->max_pfn, UINT32_MAX));
    h.nr_cpus = GUINT32_TO_LE(d->cpus);
    s.dump_level = GUINT32_TO_LE(DUMP_LEVEL);
    s.notes_offset = GUINT64_TO_LE(PAGE + sizeof s);
    s.notes_size = GUINT64_TO_LE(notes);
    s.max_mapnr_64 = GUINT64_TO_LE(k->max_pfn);

    memcpy(block, &flat, sizeof flat);
    g_byte_array_append(k->out, block, FLAT_HEADER);
    memset(block, 0, sizeof block);
    memcpy(block, &h, sizeof h);
    kdump_put(k, 0, block, sizeof block);
    kdump_put(k, PAGE, &s, sizeof s);
    kdump_put(k, PAGE + sizeof s, d->status_notes->data, d->status_notes->len);
    kdump_put(k, PAGE + sizeof s + d->status_notes->len, d->own_notes->data, d->own_notes->len);
}

/* The bitmaps. */

/* Sets the bits of the pages from 'first' on that exist. */
static void kdump_mark(const Dump *d, uint8_t *bits, uint64_t first, uint64_t count)
{
    for (unsigned i = 0; i < d->ranges->len; i++) {
        const DumpRange *r = &g_array_index(d->ranges, DumpRange, i);
        uint64_t start = MAX(r->pa / PAGE, first);
        uint64_t end = MIN((r->pa + r->len) / PAGE, first + count);

        for (uint64_t pfn = start; pfn < end; pfn++) {
            bits[(pfn - first) / 8] |= 1 << (pfn - first) % 8;
        }
    }
}

static void kdump_make_bitmap(Kdump *k)
{
    uint64_t in_one = k->bitmap_done % k->bitmap_len;
    uint64_t len = MIN(k->bitmap_len - in_one, BITMAP_PIECE);
    unsigned at;

    kdump_record(k, k->bitmap_at + k->bitmap_done, len);
    at = k->out->len;
    g_byte_array_set_size(k->out, at + len);
    memset(k->out->data + at, 0, len);
    kdump_mark(k->dump, k->out->data + at, in_one * 8, len * 8);
    k->bitmap_done += len;
}

/* The pages. */

static void kdump_make_zero_page(Kdump *k)
{
    static const uint8_t zeroes[PAGE];

    k->zeroes =
        (PageDesc){.offset = GUINT64_TO_LE(k->pages_at), .size = GUINT32_TO_LE((uint32_t)PAGE)};
    kdump_put(k, k->pages_at, zeroes, PAGE);
    k->pages_at += PAGE;
}

/* The next page, or NULL: zeroes. */
static const uint8_t *kdump_next_page(Kdump *k)
{
    const Dump *d = k->dump;
    const DumpRange *r = &g_array_index(d->ranges, DumpRange, k->range);
    uint64_t at = k->done;
    const uint8_t *host;

    if (at == r->at + r->len) {
        r = &g_array_index(d->ranges, DumpRange, ++k->range);
    }
    k->done += PAGE;
    if (!dump_is_touched(d, &k->touched, at)) {
        return NULL;
    }
    host = r->host + (at - r->at);
    return buffer_is_zero(host, PAGE) ? NULL : host;
}

static PageDesc kdump_add_page(Kdump *k, const uint8_t *host, GByteArray *data)
{
    uint8_t packed[PAGE + 64]; /* zlib makes a page at most 14 bytes longer */
    uLongf len = sizeof packed;
    bool smaller = zlib.compress2(packed, &len, host, PAGE, Z_BEST_SPEED) == Z_OK && len < PAGE;
    PageDesc desc = {.offset = GUINT64_TO_LE(k->pages_at + data->len)};

    len = smaller ? len : PAGE;
    desc.size = GUINT32_TO_LE((uint32_t)len);
    desc.flags = GUINT32_TO_LE(smaller ? COMPRESSED_ZLIB : 0);
    g_byte_array_append(data, smaller ? packed : host, len);
    return desc;
}

static void kdump_make_pages(Kdump *k)
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    g_autoptr(GByteArray) descs = g_byte_array_new();

    if (!k->zeroes.size) {
        kdump_make_zero_page(k);
    }
    for (unsigned n = 0; n < PAGES_PIECE && k->done < k->dump->total;) {
        const uint8_t *host = kdump_next_page(k);
        PageDesc desc = host ? kdump_add_page(k, host, data) : k->zeroes;

        g_byte_array_append(descs, (const uint8_t *)&desc, sizeof desc);
        /* Pages of zeroes cost little: a piece has 16 times as many. */
        n += host || !(k->done / PAGE % 16);
    }
    kdump_put(k, k->descs_at, descs->data, descs->len);
    k->descs_at += descs->len;
    kdump_put(k, k->pages_at, data->data, data->len);
    k->pages_at += data->len;
}

int kdump_make(void *data)
{
    Kdump *k = data;

    g_byte_array_set_size(k->out, 0);
    k->sent = 0;
    switch (k->phase) {
    case KDUMP_HEAD:
        kdump_make_head(k);
        k->phase++;
        break;
    case KDUMP_BITMAP:
        kdump_make_bitmap(k);
        k->phase += k->bitmap_done == 2 * k->bitmap_len;
        break;
    case KDUMP_PAGES:
        kdump_make_pages(k);
        k->phase += k->done == k->dump->total;
        break;
    case KDUMP_END:
        kdump_record(k, UINT64_MAX, UINT64_MAX);
        k->phase++;
        break;
    case KDUMP_OVER:
        break;
    }
    return 0;
}

const uint8_t *kdump_next(const Kdump *k, size_t *len)
{
    *len = k->out->len - k->sent;
    return *len ? k->out->data + k->sent : NULL;
}

void kdump_sent(Kdump *k, size_t len)
{
    k->sent += len;
}

bool kdump_over(const Kdump *k)
{
    return k->phase == KDUMP_OVER && k->sent == k->out->len;
}

uint64_t kdump_done(const Kdump *k)
{
    return k->done;
}
