/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file of dump-guest-memory: ELF (System V ABI, chapters 4 and 5), and how it is written, which
 * is the same for dump_kdump.c.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/util.h"
#include "dump_internal.h"

#define PAGE  4096u
#define BLOCK (64u << 10) /* zeroes of this length are left out */
#define PIECE (1u << 20)  /* bytes of memory that one job of the pool writes */

void dump_begin(Dump *d, int fd)
{
    d->status = DUMP_ACTIVE;
    d->completed = d->total = d->written = 0;
    d->next_touched = d->cpus = 0;
    d->too_many = false;
    d->ranges = g_array_new(FALSE, FALSE, sizeof(DumpRange));
    d->mappings = g_array_new(FALSE, FALSE, sizeof(DumpMapping));
    d->touched = g_array_new(FALSE, FALSE, sizeof(DumpTouched));
    d->status_notes = g_byte_array_new();
    d->own_notes = g_byte_array_new();
    d->fd = fd;
}

void dump_end(Dump *d)
{
    if (d->fd >= 0) {
        close(d->fd);
        d->fd = -1;
    }
    g_clear_pointer(&d->ranges, g_array_unref);
    g_clear_pointer(&d->mappings, g_array_unref);
    g_clear_pointer(&d->touched, g_array_unref);
    g_clear_pointer(&d->kdump, kdump_free);
    g_clear_pointer(&d->status_notes, g_byte_array_unref);
    g_clear_pointer(&d->own_notes, g_byte_array_unref);
    g_clear_pointer(&d->head, g_byte_array_unref);
    g_clear_pointer(&d->path, g_free);
}

/* Name and contents are padded to multiples of four bytes. */
void dump_append_note(GByteArray *out, const char *name, uint32_t type, const GByteArray *desc)
{
    static const uint8_t zeroes[4];
    uint32_t name_len = strlen(name) + 1;
    Elf64_Nhdr head = {GUINT32_TO_LE(name_len), GUINT32_TO_LE(desc->len), GUINT32_TO_LE(type)};

    g_byte_array_append(out, (const uint8_t *)&head, sizeof head);
    g_byte_array_append(out, (const uint8_t *)name, name_len);
    g_byte_array_append(out, zeroes, -name_len & 3);
    g_byte_array_append(out, desc->data, desc->len);
    g_byte_array_append(out, zeroes, -desc->len & 3);
}

/* Segments. */

typedef struct {
    uint64_t va, pa, len, at;
} Segment;

/* The first range that ends behind 'pa'. */
static unsigned dump_find_range(const Dump *d, uint64_t pa)
{
    unsigned low = 0, high = d->ranges->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        const DumpRange *r = &g_array_index(d->ranges, DumpRange, middle);

        if (r->pa + r->len > pa) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* The parts of what is mapped that are dumped. */
static void dump_add_mapping(const Dump *d, const DumpMapping *m, GArray *out)
{
    for (unsigned i = dump_find_range(d, m->pa); i < d->ranges->len; i++) {
        const DumpRange *r = &g_array_index(d->ranges, DumpRange, i);
        uint64_t start = MAX(m->pa, r->pa), end = MIN(m->pa + m->len, r->pa + r->len);
        Segment s = {m->va + (start - m->pa), start, end - start, r->at + (start - r->pa)};

        if (start >= end) {
            break;
        }
        g_array_append_val(out, s);
    }
}

static int dump_compare_segments(gconstpointer a, gconstpointer b)
{
    const Segment *x = a, *y = b;

    return x->va != y->va   ? (x->va > y->va) - (x->va < y->va)
           : x->pa != y->pa ? (x->pa > y->pa) - (x->pa < y->pa)
                            : (x->len > y->len) - (x->len < y->len);
}

static int dump_compare_physical(gconstpointer a, gconstpointer b)
{
    const Segment *x = a, *y = b;

    return (x->pa > y->pa) - (x->pa < y->pa);
}

/* CPUs share most of what they map. */
static void dump_drop_doubles(GArray *segments)
{
    unsigned kept = 0;

    g_array_sort(segments, dump_compare_segments);
    for (unsigned i = 0; i < segments->len; i++) {
        const Segment *s = &g_array_index(segments, Segment, i);

        if (!kept || dump_compare_segments(s, &g_array_index(segments, Segment, kept - 1))) {
            g_array_index(segments, Segment, kept++) = *s;
        }
    }
    g_array_set_size(segments, kept);
}

/* Memory that is in no segment yet has one at its physical address. */
static void dump_add_rest(const Dump *d, GArray *segments)
{
    g_autoptr(GArray) mapped = g_array_copy(segments);
    unsigned next = 0;

    g_array_sort(mapped, dump_compare_physical);
    for (unsigned i = 0; i < d->ranges->len; i++) {
        const DumpRange *r = &g_array_index(d->ranges, DumpRange, i);
        uint64_t pos = r->pa, end = r->pa + r->len;

        while (pos < end) {
            const Segment *m = next < mapped->len ? &g_array_index(mapped, Segment, next) : NULL;
            uint64_t until = m && m->pa < end ? m->pa : end;

            if (pos < until) {
                Segment s = {pos, pos, until - pos, r->at + (pos - r->pa)};

                g_array_append_val(segments, s);
                pos = until;
            }
            if (m && m->pa < end) {
                pos = MAX(pos, m->pa + m->len);
                next++;
            }
        }
        /* Those of this range that others have covered. */
        while (next < mapped->len && g_array_index(mapped, Segment, next).pa < end) {
            next++;
        }
    }
}

static void dump_append_segment(GByteArray *out, uint32_t type, const Segment *s, uint64_t offset)
{
    Elf64_Phdr ph = {.p_type = GUINT32_TO_LE(type),
                     .p_offset = GUINT64_TO_LE(offset),
                     .p_vaddr = GUINT64_TO_LE(s->va),
                     .p_paddr = GUINT64_TO_LE(s->pa),
                     .p_filesz = GUINT64_TO_LE(s->len),
                     .p_memsz = GUINT64_TO_LE(s->len)};

    g_byte_array_append(out, (const uint8_t *)&ph, sizeof ph);
}

/* More segments than e_phnum can hold are counted by a section header. */
static void dump_append_header(GByteArray *out, uint16_t machine, unsigned segments)
{
    bool many = segments >= PN_XNUM;
    Elf64_Ehdr h = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = GUINT16_TO_LE(ET_CORE),
        .e_machine = GUINT16_TO_LE(machine),
        .e_version = GUINT32_TO_LE(EV_CURRENT),
        .e_phoff = GUINT64_TO_LE(sizeof h),
        .e_ehsize = GUINT16_TO_LE(sizeof h),
        .e_phentsize = GUINT16_TO_LE(sizeof(Elf64_Phdr)),
        .e_phnum = GUINT16_TO_LE(many ? PN_XNUM : segments)};

    if (many) {
        h.e_shoff = GUINT64_TO_LE(sizeof h + (uint64_t)segments * sizeof(Elf64_Phdr));
        h.e_shentsize = GUINT16_TO_LE(sizeof(Elf64_Shdr));
        h.e_shnum = GUINT16_TO_LE(1);
    }
    g_byte_array_append(out, (const uint8_t *)&h, sizeof h);
}

bool dump_make_head(Dump *d, uint16_t elf_machine, GError **err)
{
    g_autoptr(GArray) segments = g_array_new(FALSE, FALSE, sizeof(Segment));
    uint64_t notes = d->status_notes->len + d->own_notes->len, notes_at, size;
    unsigned count;

    for (unsigned i = 0; i < d->mappings->len; i++) {
        dump_add_mapping(d, &g_array_index(d->mappings, DumpMapping, i), segments);
    }
    dump_drop_doubles(segments);
    dump_add_rest(d, segments);
    count = segments->len + 1;
    notes_at = sizeof(Elf64_Ehdr) + (uint64_t)count * sizeof(Elf64_Phdr) +
               (count >= PN_XNUM ? sizeof(Elf64_Shdr) : 0);
    size = ROUND_UP(notes_at + notes, PAGE);
    if (size > UINT32_MAX / 2) {
        return error_set(err, "dump: %u segments are too many; without paging (-p) there are few",
                         count);
    }
    d->head = g_byte_array_sized_new(size);
    dump_append_header(d->head, elf_machine, count);
    dump_append_segment(d->head, PT_NOTE, &(Segment){.len = notes}, notes_at);
    for (unsigned i = 0; i < segments->len; i++) {
        const Segment *s = &g_array_index(segments, Segment, i);

        dump_append_segment(d->head, PT_LOAD, s, size + s->at);
    }
    if (count >= PN_XNUM) {
        Elf64_Shdr sh = {.sh_info = GUINT32_TO_LE(count)};

        g_byte_array_append(d->head, (const uint8_t *)&sh, sizeof sh);
    }
    g_byte_array_append(d->head, d->status_notes->data, d->status_notes->len);
    g_byte_array_append(d->head, d->own_notes->data, d->own_notes->len);
    count = d->head->len;
    g_byte_array_set_size(d->head, size);
    memset(d->head->data + count, 0, size - count);
    return true;
}

/* Writing. */

bool dump_open(Dump *d, const char *path, GError **err)
{
    struct stat st;

    if (path) {
        /* Not to wait for the reader of a FIFO. */
        d->fd = host_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0600, err);
        if (d->fd < 0) {
            return false;
        }
        d->path = g_strdup(path);
    }
    if (fstat(d->fd, &st) < 0) {
        return error_set_errno(err, errno, "dump: cannot use the descriptor");
    }
    d->holes = path && !d->kdump && S_ISREG(st.st_mode);
    /* Nobody waits for the reader of a pipe in write(), which could not be interrupted. */
    return S_ISREG(st.st_mode) || fd_set_nonblock(d->fd, true) ||
           error_set_errno(err, errno, "dump: cannot set O_NONBLOCK on the descriptor");
}

typedef struct {
    int fd;
    const uint8_t *buf; /* NULL: zeroes, which are left out */
    size_t len, done;
    bool holes;
} Piece;

/* The bytes at the beginning that are zeroes throughout, or that are none. */
static size_t dump_run(const uint8_t *buf, size_t len, bool *zeroes)
{
    size_t n = MIN(len, BLOCK);

    *zeroes = buffer_is_zero(buf, n);
    while (n < len && buffer_is_zero(buf + n, MIN(len - n, BLOCK)) == *zeroes) {
        n += MIN(len - n, BLOCK);
    }
    return n;
}

/* 0 or an errno; where the reader is slow, nothing may have been written. */
static int dump_write_run(Piece *p, const uint8_t *buf, size_t len)
{
    ssize_t n = write(p->fd, buf, len);

    if (n > 0) {
        p->done += n;
        return 0;
    }
    if (n < 0 && errno == EAGAIN) {
        struct pollfd fd = {.fd = p->fd, .events = POLLOUT};

        poll(&fd, 1, 100);
        return 0;
    }
    return n == 0 ? ENOSPC : errno == EINTR ? 0 : errno;
}

/* In the pool. The same. */
static int dump_write_piece(void *data)
{
    Piece *p = data;
    int errnum = 0;

    if (!p->holes) {
        return dump_write_run(p, p->buf, p->len);
    }
    if (!p->buf) {
        p->done = p->len;
        return lseek(p->fd, p->len, SEEK_CUR) < 0 ? errno : 0;
    }
    while (!errnum && p->done < p->len) {
        bool zeroes;
        size_t n = dump_run(p->buf + p->done, p->len - p->done, &zeroes);

        if (!zeroes) {
            errnum = dump_write_run(p, p->buf + p->done, n);
        } else if (lseek(p->fd, n, SEEK_CUR) < 0) {
            errnum = errno;
        } else {
            p->done += n;
        }
    }
    return errnum;
}

/* Of memory, from 'pos' on, up to the end of a range. */
static void dump_next_memory(Dump *d, const DumpRange *r, uint64_t pos, Piece *p)
{
    static const uint8_t zeroes[BLOCK];
    uint64_t end = r->at + r->len;
    bool touched = dump_is_touched(d, &d->next_touched, pos);

    if (d->next_touched < d->touched->len) {
        const DumpTouched *t = &g_array_index(d->touched, DumpTouched, d->next_touched);

        end = MIN(end, touched ? t->end : t->start);
    }
    p->buf = touched ? r->host + (pos - r->at) : p->holes ? NULL : zeroes;
    p->len = touched ? MIN(end - pos, PIECE) : p->holes ? end - pos : MIN(end - pos, BLOCK);
}

/* What is written next; 'p' is empty at the end. */
static void dump_next_piece(Dump *d, Piece *p)
{
    uint64_t pos = d->written;

    *p = (Piece){.fd = d->fd, .holes = d->holes};
    if (d->kdump) {
        p->buf = kdump_next(d->kdump, &p->len);
        return;
    }
    if (pos < d->head->len) {
        p->buf = d->head->data + pos;
        p->len = d->head->len - pos;
        return;
    }
    pos -= d->head->len;
    for (unsigned i = 0; i < d->ranges->len; i++) {
        const DumpRange *r = &g_array_index(d->ranges, DumpRange, i);

        if (pos < r->at + r->len) {
            dump_next_memory(d, r, pos, p);
            return;
        }
    }
}

/* How far the dump is, when so many bytes more are written. */
static void dump_count(Dump *d, size_t len)
{
    d->written += len;
    if (d->kdump) {
        kdump_sent(d->kdump, len);
        d->completed = kdump_done(d->kdump);
    } else {
        d->completed = d->written > d->head->len ? d->written - d->head->len : 0;
    }
}

DumpProgress coroutine_fn dump_write_some(Dump *d, GError **err)
{
    Piece p;
    int errnum;

    dump_next_piece(d, &p);
    if (!p.len && d->kdump && !kdump_over(d->kdump)) {
        co_pool_run(kdump_make, d->kdump);
        return DUMP_MORE;
    }
    if (!p.len) {
        return DUMP_DONE;
    }
    errnum = co_pool_run(dump_write_piece, &p);
    if (errnum) {
        error_set_errno(err, errnum, "dump: cannot write %s%s%s",
                        d->path ? "'" : "to the descriptor", d->path ? d->path : "",
                        d->path ? "'" : "");
        return DUMP_ERROR;
    }
    dump_count(d, p.done);
    return DUMP_MORE;
}

/* Only a file, and only if the name still leads to it: no device and no /dev/fdset. */
static void dump_remove(const Dump *d, const struct stat *mine)
{
    struct stat st;

    if (S_ISREG(mine->st_mode) && lstat(d->path, &st) == 0 && st.st_dev == mine->st_dev &&
        st.st_ino == mine->st_ino) {
        unlink(d->path);
    }
}

bool dump_close(Dump *d, bool ok, GError **err)
{
    struct stat st = {0};

    if (d->fd < 0) {
        return ok;
    }
    fstat(d->fd, &st);
    /* The file may end with a hole. */
    if (ok && d->holes && ftruncate(d->fd, d->written) < 0) {
        ok = error_set_errno(err, errno, "dump: cannot write '%s'", d->path);
    }
    if (close(d->fd) < 0 && ok) {
        ok = error_set_errno(err, errno, "dump: cannot write %s", d->path ? d->path : "it");
    }
    d->fd = -1;
    if (!ok && d->path) {
        dump_remove(d, &st);
    }
    return ok;
}
