/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a snapshot's memory is mapped, and what is read: snapshot_ram.h. */
#include "snapshot_ram.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "ram_mapped.h"

/* A range that is shorter costs more to map than to read. */
uint64_t snapshot_map_least = 64 * KiB;

typedef struct {
    RamBlock *block;
    uint64_t offset, bytes, pos;
    uint64_t file_offset;
    bool in_file; /* whole pages, of the block and of the file */
} Part;

typedef struct {
    GArray *parts;
    const BlockVmstateExtent *extents, *end;
    uint64_t page, file_end;
} Plan;

static void plan_add(Plan *p, Part part)
{
    Part *last = p->parts->len ? &g_array_index(p->parts, Part, p->parts->len - 1) : NULL;

    if (!part.bytes) {
        return;
    }
    if (last && !last->in_file && !part.in_file && last->block == part.block &&
        last->offset + last->bytes == part.offset && last->pos + last->bytes == part.pos) {
        last->bytes += part.bytes;
    } else {
        g_array_append_val(p->parts, part);
    }
}

/* The first 'bytes' of the part are added as they are; the part begins behind them. */
static void plan_split(Plan *p, Part *part, uint64_t bytes, bool in_file)
{
    Part first = *part;

    first.bytes = MIN(bytes, part->bytes);
    first.in_file = in_file;
    plan_add(p, first);
    part->offset += first.bytes;
    part->pos += first.bytes;
    part->file_offset += first.bytes;
    part->bytes -= first.bytes;
}

/* A part that lies in the file in one piece. */
static void plan_in_file(Plan *p, Part part)
{
    uint64_t end = MIN(part.file_offset + part.bytes, p->file_end);
    uint64_t whole;

    if ((part.offset ^ part.file_offset) & (p->page - 1)) {
        plan_split(p, &part, part.bytes, false);
        return;
    }
    plan_split(p, &part, ROUND_UP(part.offset, p->page) - part.offset, false);
    whole = end > part.file_offset ? ROUND_DOWN(end - part.file_offset, p->page) : 0;
    plan_split(p, &part, whole, true);
    plan_split(p, &part, part.bytes, false);
}

/* The first extent that ends behind 'pos'; p->end: there is none. */
static const BlockVmstateExtent *plan_extent(const Plan *p, uint64_t pos)
{
    const BlockVmstateExtent *low = p->extents, *high = p->end;

    while (low < high) {
        const BlockVmstateExtent *mid = low + (high - low) / 2;

        if (mid->pos + mid->bytes <= pos) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void plan_piece(Plan *p, Part part)
{
    const BlockVmstateExtent *e = plan_extent(p, part.pos);

    while (part.bytes && e < p->end) {
        Part in_file;

        if (part.pos < e->pos) {
            plan_split(p, &part, e->pos - part.pos, false);
            continue;
        }
        in_file = part;
        in_file.bytes = MIN(part.bytes, e->pos + e->bytes - part.pos);
        in_file.file_offset = e->offset + (part.pos - e->pos);
        plan_in_file(p, in_file);
        part.offset += in_file.bytes;
        part.pos += in_file.bytes;
        part.bytes -= in_file.bytes;
        e++;
    }
    plan_split(p, &part, part.bytes, false);
}

/* The least length of a range that is mapped, so that there are not too many. */
static uint64_t plan_least(const Plan *p)
{
    unsigned max = ram_mappings_max(), count;
    uint64_t least = snapshot_map_least;

    for (;; least *= 2) {
        count = 0;
        for (unsigned i = 0; i < p->parts->len; i++) {
            const Part *part = &g_array_index(p->parts, Part, i);

            count += part->in_file && part->bytes >= least;
        }
        if (count <= max) {
            return least;
        }
    }
}

/* Of blocks of which more is mapped than read. */
static void plan_set_aside(const Plan *p, uint64_t least)
{
    for (unsigned i = 0; i < p->parts->len;) {
        RamBlock *b = g_array_index(p->parts, Part, i).block;
        uint64_t map = 0, read = 0;

        for (; i < p->parts->len; i++) {
            const Part *part = &g_array_index(p->parts, Part, i);

            if (part->block != b) {
                break;
            }
            *(part->in_file && part->bytes >= least ? &map : &read) += part->bytes;
        }
        if (map > read) {
            ram_set_aside(b);
        }
    }
}

static bool coroutine_fn plan_carry_out(const Plan *p, VmStream *in, int fd, GError **err)
{
    uint64_t least = plan_least(p);
    bool ok = true;

    plan_set_aside(p, least);
    for (unsigned i = 0; ok && i < p->parts->len; i++) {
        const Part *part = &g_array_index(p->parts, Part, i);

        if (!part->in_file || part->bytes < least ||
            !ram_map_file(part->block, part->offset, part->bytes, fd, part->file_offset)) {
            ok = in->seek(in, part->pos, err) &&
                 in->read_pages(in, part->block->host + part->offset, part->bytes, err);
        }
    }
    return ok;
}

/* Where the contents of memory are in the VM state. */
static void contents_range(const VmRamPiece *pieces, unsigned count, uint64_t *start, uint64_t *end)
{
    *start = UINT64_MAX;
    *end = 0;
    for (unsigned i = 0; i < count; i++) {
        *start = MIN(*start, pieces[i].pos);
        *end = MAX(*end, pieces[i].pos + pieces[i].bytes);
    }
}

static bool coroutine_fn load_mapped(Vm *vm, SnapshotStream *s, int fd, const VmRamPiece *pieces,
                                     unsigned count, GError **err)
{
    g_autoptr(GArray) extents = g_array_new(FALSE, FALSE, sizeof(BlockVmstateExtent));
    g_autoptr(GArray) parts = g_array_new(FALSE, FALSE, sizeof(Part));
    Plan p = {.parts = parts, .page = getpagesize()};
    uint64_t start, end;
    struct stat st;

    contents_range(pieces, count, &start, &end);
    /* What goes wrong here is met again, and told, when it is read. */
    if (fd >= 0 && end > start && fstat(fd, &st) == 0 &&
        block_vmstate_extents(s->node, s->id, start, end - start, extents) == 0 && extents->len) {
        p.file_end = ROUND_UP(st.st_size, p.page);
        p.extents = (const BlockVmstateExtent *)extents->data;
        p.end = p.extents + extents->len;
    }
    for (unsigned i = 0; i < count; i++) {
        Part part = {.block = pieces[i].block,
                     .offset = pieces[i].offset,
                     .bytes = pieces[i].bytes,
                     .pos = pieces[i].pos};

        if (ram_may_be_mapped(vm, part.block)) {
            plan_piece(&p, part);
        } else {
            plan_add(&p, part);
        }
    }
    return plan_carry_out(&p, &s->stream, fd, err);
}

bool coroutine_fn snapshot_load_ram(VmStream *stream, Vm *vm, const VmRamPiece *pieces,
                                    unsigned count, GError **err)
{
    SnapshotStream *s = (SnapshotStream *)stream;
    g_autoptr(GError) why = NULL;
    auto_fd fd = ram_image_begin(vm, s->node, s->id, s->disk, &why);
    bool ok;

    if (fd < 0) {
        log_item(LOG_BLOCK, "memory of snapshot %s is read, not mapped: %s", s->id, why->message);
    }
    ok = load_mapped(vm, s, fd, pieces, count, err);
    ram_free_set_aside();
    ram_image_settle(vm);
    return ok;
}
