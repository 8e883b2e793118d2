/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole machine from a stream (save_internal.h): everything is parsed into copies and checked,
 * then all of it is committed.
 */
#include <sys/mman.h>

#include "base/error.h"
#include "base/log.h"
#include "ram_mapped.h"
#include "save_internal.h"

#define DEVICE_STATE_MAX (64 * MiB)
#define PAGE             4096

typedef struct {
    const void *state;
    bool ok;
    GError *err;
} CpuCall;

typedef struct {
    Device *dev;
    unsigned section;
    const VmStatePart *part;
    Vcpu *cpu;
    void *state;
    void *before; /* parts and CPUs: what they were, until all of the new state is in */
    size_t size;
} Parsed;

typedef struct {
    const uint8_t *data;
    size_t len, pos;
    GArray *parsed;
} Loader;

static bool get_int(Loader *l, unsigned size, uint64_t *v, GError **err)
{
    uint8_t b[8] = {0};

    *v = 0;
    if (l->len - l->pos < size) {
        return error_set(err, "the saved machine state ends too early");
    }
    memcpy(b, l->data + l->pos, size);
    l->pos += size;
    *v = ldle64(b);
    return true;
}

static char *get_text(Loader *l, GError **err)
{
    uint64_t len;
    char *text;

    if (!get_int(l, 2, &len, err)) {
        return NULL;
    }
    if (l->len - l->pos < len) {
        error_set(err, "the saved machine state ends too early");
        return NULL;
    }
    text = g_strndup((const char *)l->data + l->pos, len);
    l->pos += len;
    return text;
}

static bool parse_record(Loader *l, const StateDesc *desc, const char *what, Parsed p, GError **err)
{
    p.state = g_malloc0(desc->size);
    p.size = desc->size;
    g_array_append_val(l->parsed, p);
    return state_read(l->data, l->len, &l->pos, desc, p.state, what, err);
}

static bool already_parsed(const Loader *l, const Device *dev, const VmStatePart *part,
                           const Vcpu *cpu)
{
    for (unsigned i = 0; i < l->parsed->len; i++) {
        const Parsed *p = &g_array_index(l->parsed, Parsed, i);

        if ((dev && p->dev == dev) || (part && p->part == part) || (cpu && p->cpu == cpu)) {
            return true;
        }
    }
    return false;
}

static bool parse_device(Vm *vm, Loader *l, GError **err)
{
    g_autofree char *path = get_text(l, err);
    g_autofree char *class = path ? get_text(l, err) : NULL;
    uint64_t n;
    Device *dev;

    if (!class || !get_int(l, 1, &n, err)) {
        return false;
    }
    dev = device_find(vm, path, NULL);
    if (!dev || !dev->realized || strcmp(dev->class->name, class)) {
        return error_set(err,
                         "the saved machine has a '%s' at %s, this one has %s there; start it with "
                         "the same devices",
                         class, path, dev ? dev->class->name : "nothing");
    }
    if (n != save_section_count(dev) || already_parsed(l, dev, NULL, NULL)) {
        return error_set(err, "saved state of %s is malformed", path);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!parse_record(l, dev->class->state[i].desc(), path, (Parsed){.dev = dev, .section = i},
                          err)) {
            return false;
        }
        if (dev->class->check_state &&
            !dev->class->check_state(
                dev, i, g_array_index(l->parsed, Parsed, l->parsed->len - 1).state, err)) {
            g_prefix_error(err, "saved state of %s: ", path);
            return false;
        }
    }
    return true;
}

static bool save_parse_part(Vm *vm, Loader *l, GError **err)
{
    g_autofree char *name = get_text(l, err);
    GArray *parts = run_control_state_parts(vm);
    uint64_t instance;

    if (!name || !get_int(l, 4, &instance, err)) {
        return false;
    }
    for (unsigned i = 0; i < parts->len; i++) {
        const VmStatePart *part = &g_array_index(parts, VmStatePart, i);

        if (strcmp(part->name, name) || part->instance != instance ||
            already_parsed(l, NULL, part, NULL)) {
            continue;
        }
        if (!parse_record(l, part->desc(), name, (Parsed){.part = part}, err)) {
            return false;
        }
        return !part->check ||
               part->check(vm, instance, g_array_index(l->parsed, Parsed, l->parsed->len - 1).state,
                           err);
    }
    return error_set(err, "the saved machine has a part '%s' that this one has not", name);
}

static bool parse_cpu(Vm *vm, Loader *l, GError **err)
{
    g_autofree char *name = get_text(l, err);
    uint64_t index;

    if (!name || !get_int(l, 4, &index, err)) {
        return false;
    }
    if (index >= vm->vcpu_count || already_parsed(l, NULL, NULL, vm->vcpus[index])) {
        return error_set(err,
                         "the saved machine has a CPU %" G_GUINT64_FORMAT
                         " that this one has not; see -smp",
                         index);
    }
    return parse_record(l, vm->arch->state_desc(), "cpu", (Parsed){.cpu = vm->vcpus[index]}, err);
}

static bool parse_all(Vm *vm, Loader *l, MachineState *m, GError **err)
{
    if (!state_read(l->data, l->len, &l->pos, machine_state_desc(), m, "the machine", err)) {
        return false;
    }
    if (m->ram_size != vm->ram_size || m->cpus != vm->vcpu_count) {
        return error_set(err,
                         "the saved machine has %" G_GUINT64_FORMAT
                         " MiB and %u CPUs, this one has %" G_GUINT64_FORMAT
                         " MiB and %u CPUs; start it with the same -m and -smp",
                         (uint64_t)(m->ram_size / MiB), m->cpus, (uint64_t)(vm->ram_size / MiB),
                         vm->vcpu_count);
    }
    for (;;) {
        uint64_t kind;

        if (!get_int(l, 1, &kind, err)) {
            return false;
        }
        switch (kind) {
        case ENTRY_END:
            return true;
        case ENTRY_DEVICE:
            if (!parse_device(vm, l, err)) {
                return false;
            }
            break;
        case ENTRY_PART:
            if (!save_parse_part(vm, l, err)) {
                return false;
            }
            break;
        case ENTRY_CPU:
            if (!parse_cpu(vm, l, err)) {
                return false;
            }
            break;
        default:
            return error_set(err, "the saved machine state is malformed (entry of kind %u)",
                             (unsigned)kind);
        }
    }
}

typedef struct {
    Loader *loader;
    GError **err;
    bool ok;
} DeviceCheck;

static void check_present(Device *dev, void *data)
{
    DeviceCheck *c = data;

    if (c->ok && dev->realized && save_section_count(dev) &&
        !already_parsed(c->loader, dev, NULL, NULL)) {
        c->ok = error_set(
            c->err,
            "the saved machine has no '%s' at %s, this one has; start it with the same devices",
            dev->class->name, dev->path);
    }
}

/*
 * Commit. CPUs and parts come first, for KVM may refuse what they are told, then what the stream
 * loads beside the machine: where one refuses, all of them are given back what they had. Nothing
 * after them can fail, but reading the contents of memory.
 */

static void load_cpu_set(Vcpu *cpu, void *data)
{
    CpuCall *c = data;

    c->ok = cpu->vm->arch->state_set(cpu, c->state, &c->err);
}

static bool load_set(Vm *vm, const Parsed *p, const void *state, GError **err)
{
    CpuCall call = {.state = state};

    if (p->part) {
        return p->part->set(vm, p->part->instance, state, err);
    }
    vcpu_call(p->cpu, load_cpu_set, &call);
    if (!call.ok) {
        g_propagate_prefixed_error(err, call.err,
                                   "cannot set the state of CPU %u: ", p->cpu->index);
    }
    return call.ok;
}

static bool load_remember(Vm *vm, Parsed *p, GError **err)
{
    p->before = g_malloc0(p->size);
    return p->part ? p->part->get(vm, p->part->instance, p->before, err)
                   : save_get_cpu(p->cpu, p->before, err);
}

/* 'in' may be NULL. */
static bool commit_cpus_and_parts(Vm *vm, Loader *l, int64_t virtual_clock, VmStream *in,
                                  GError **err)
{
    int64_t clock_before = clock_ns(CLOCK_VIRTUAL_NS);
    unsigned done = 0;
    bool ok = true;

    virtual_clock_set(virtual_clock);
    for (; ok && done < l->parsed->len; done++) {
        Parsed *p = &g_array_index(l->parsed, Parsed, done);

        ok = p->dev || (load_remember(vm, p, err) && load_set(vm, p, p->state, err));
    }
    if (ok && (!in || !in->commit || in->commit(in, err))) {
        return true;
    }
    virtual_clock_set(clock_before);
    while (done--) {
        Parsed *p = &g_array_index(l->parsed, Parsed, done);

        if (p->before && !load_set(vm, p, p->before, NULL)) {
            log_warn("the state that %s had cannot be set again, the machine has to be reset",
                     p->part ? p->part->name : "a CPU");
            run_control_spoiled(vm);
        }
    }
    return false;
}

static void load_post_load(Device *dev, void *data)
{
    if (dev->realized && dev->class->post_load) {
        device_lock(dev);
        dev->class->post_load(dev);
        device_unlock(dev);
    }
}

static void commit_devices(Vm *vm, Loader *l, const MachineState *m)
{
    for (unsigned i = 0; i < l->parsed->len; i++) {
        Parsed *p = &g_array_index(l->parsed, Parsed, i);

        if (p->dev) {
            memcpy((char *)p->dev + p->dev->class->state[p->section].offset, p->state, p->size);
        }
    }
    run_control_loaded(vm, m->asleep);
    device_foreach(vm, load_post_load, NULL);
}

static bool parse_devices(Vm *vm, Loader *l, MachineState *m, GError **err)
{
    DeviceCheck present = {.loader = l, .err = err, .ok = true};

    if (!parse_all(vm, l, m, err)) {
        return false;
    }
    device_foreach(vm, check_present, &present);
    return present.ok;
}

static void loader_init(Loader *l, const uint8_t *data, size_t len)
{
    *l = (Loader){.data = data, .len = len, .parsed = g_array_new(FALSE, FALSE, sizeof(Parsed))};
}

static void loader_clear(Loader *l)
{
    for (unsigned i = 0; i < l->parsed->len; i++) {
        g_free(g_array_index(l->parsed, Parsed, i).state);
        g_free(g_array_index(l->parsed, Parsed, i).before);
    }
    g_array_unref(l->parsed);
}

bool vm_load_devices(Vm *vm, const uint8_t *data, size_t len, GError **err)
{
    MachineState m = {0};
    Loader l;
    bool ok;

    loader_init(&l, data, len);
    ok =
        parse_devices(vm, &l, &m, err) && commit_cpus_and_parts(vm, &l, m.virtual_clock, NULL, err);
    if (ok) {
        commit_devices(vm, &l, &m);
    }
    loader_clear(&l);
    return ok;
}

/* Memory. The index is held against this machine's blocks before any of them is touched. */

typedef struct {
    GPtrArray *blocks; /* RamBlock, in the order of the contents */
    GArray *pieces;    /* VmRamPiece, in this order */
    uint64_t bytes;    /* of contents */
    bool placed;       /* each block's contents have a place of their own; else 'pos' of a piece
                          counts from the first, before place_contents() */
    uint64_t end;      /* of them, then */
} MemoryIndex;

static bool parse_runs(Loader *l, RamBlock *b, uint64_t position, MemoryIndex *index, GError **err)
{
    uint64_t end = 0;

    for (;;) {
        VmRamPiece run = {.block = b, .pos = index->bytes};

        if (!get_int(l, 8, &run.offset, err) || !get_int(l, 8, &run.bytes, err)) {
            return false;
        }
        if (!run.bytes) {
            index->end = MAX(index->end, position + end);
            return true;
        }
        if (run.offset < end || run.offset > b->size || run.bytes > b->size - run.offset) {
            return error_set(err, "the saved memory '%s' has a piece outside of itself", b->name);
        }
        if (index->placed) {
            run.pos = position + run.offset;
        }
        end = run.offset + run.bytes;
        index->bytes += run.bytes;
        g_array_append_val(index->pieces, run);
    }
}

static bool parse_block(Vm *vm, Loader *l, const char *name, MemoryIndex *index, GError **err)
{
    RamBlock *b = ram_block_find(vm, name);
    uint64_t size, position = 0;

    if (!get_int(l, 8, &size, err) || (index->placed && !get_int(l, 8, &position, err))) {
        return false;
    }
    if (!b || b->size != size || !b->migratable) {
        return error_set(err,
                         "the saved machine has %" G_GUINT64_FORMAT
                         " bytes of memory '%s', this one has %" G_GUINT64_FORMAT,
                         size, name, b ? (uint64_t)b->size : 0);
    }
    if (g_ptr_array_find(index->blocks, b, NULL)) {
        return error_set(err, "the saved memory '%s' is there twice", name);
    }
    if (!IS_ALIGNED(position, PAGE) || position > INT64_MAX - size) {
        return error_set(err, "the saved memory '%s' is said to be at an impossible place", name);
    }
    g_ptr_array_add(index->blocks, b);
    return parse_runs(l, b, position, index, err);
}

static bool parse_index(Vm *vm, Loader *l, MemoryIndex *index, GError **err)
{
    for (;;) {
        g_autofree char *name = get_text(l, err);

        if (!name) {
            return false;
        }
        if (!*name) {
            break;
        }
        if (!parse_block(vm, l, name, index, err)) {
            return false;
        }
    }
    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        if (b->migratable && !g_ptr_array_find(index->blocks, b, NULL)) {
            return error_set(err, "the saved machine has no memory '%s', this one has", b->name);
        }
    }
    return true;
}

/* Memory is given back where that zeroes it; a private mapping of a file would show the file. */
static void zero_memory(RamBlock *b, uint64_t start, uint64_t end)
{
    bool given_back = false;

    if (start < end && b->shared) {
        given_back = madvise(b->host + start, end - start, MADV_REMOVE) == 0;
    } else if (start < end && b->fd < 0) {
        given_back = madvise(b->host + start, end - start, MADV_DONTNEED) == 0;
    }
    if (start < end && !given_back) {
        memset(b->host + start, 0, end - start);
    }
}

static bool read_pages(VmStream *in, void *buf, uint64_t len, GError **err)
{
    return (in->read_pages ? in->read_pages : in->read)(in, buf, len, err);
}

/* What is in no piece. */
static void zero_the_rest(const MemoryIndex *index)
{
    unsigned next = 0;

    for (unsigned i = 0; i < index->blocks->len; i++) {
        RamBlock *b = index->blocks->pdata[i];
        uint64_t at = 0;

        for (; next < index->pieces->len; next++) {
            const VmRamPiece *p = &g_array_index(index->pieces, VmRamPiece, next);

            if (p->block != b) {
                break;
            }
            zero_memory(b, at, p->offset);
            at = p->offset + p->bytes;
        }
        zero_memory(b, at, b->size);
    }
}

static bool read_contents(const MemoryIndex *index, VmStream *in, GError **err)
{
    for (unsigned i = 0; i < index->pieces->len; i++) {
        const VmRamPiece *p = &g_array_index(index->pieces, VmRamPiece, i);

        if ((index->placed && !in->seek(in, p->pos, err)) ||
            !read_pages(in, p->block->host + p->offset, p->bytes, err)) {
            return false;
        }
    }
    return true;
}

static bool load_memory(Vm *vm, const MemoryIndex *index, VmStream *in, GError **err)
{
    bool ok = ram_image_forget(vm, err);

    if (ok) {
        zero_the_rest(index);
        ok = in->load_ram ? in->load_ram(in, vm, (const VmRamPiece *)index->pieces->data,
                                         index->pieces->len, err)
                          : read_contents(index, in, err);
    }
    for (unsigned i = 0; i < index->blocks->len; i++) {
        RamBlock *b = index->blocks->pdata[i];

        memory_mark_dirty(vm, b, 0, b->size);
    }
    return (!in->settle || in->settle(in, ok ? err : NULL)) && ok;
}

/* The stream. */

static bool read_int(VmStream *in, unsigned size, uint64_t *v, GError **err)
{
    uint8_t b[8] = {0};

    *v = 0;
    if (!in->read(in, b, size, err)) {
        return false;
    }
    *v = ldle64(b);
    return true;
}

static bool load_head(VmStream *in, uint64_t *version, GError **err)
{
    char magic[sizeof SAVE_MAGIC - 1];

    if (!in->read(in, magic, sizeof magic, err) || !read_int(in, 4, version, err)) {
        return false;
    }
    if (memcmp(magic, SAVE_MAGIC, sizeof magic)) {
        return error_set(err, "this is not a saved machine state");
    }
    if (*version < SAVE_OLDEST || *version > SAVE_LIVE) {
        return error_set(err,
                         "the saved machine state is of version %u, this program reads versions "
                         "%d to %d",
                         (unsigned)*version, SAVE_OLDEST, SAVE_LIVE);
    }
    return true;
}

static bool skip_padding(VmStream *in, uint64_t read, GError **err)
{
    uint64_t padding = ROUND_UP(read, SAVE_ALIGN) - read;
    g_autofree void *zeroes = g_malloc(SAVE_ALIGN);

    return !padding || in->read(in, zeroes, padding, err);
}

/* A length, and so many bytes. NULL on error; else the caller frees. */
static uint8_t *read_part(VmStream *in, const char *what, uint64_t max, size_t *len, GError **err)
{
    g_autofree uint8_t *data = NULL;
    uint64_t n;

    if (!read_int(in, 8, &n, err)) {
        return NULL;
    }
    data = n <= max ? g_try_malloc(MAX(n, 1)) : NULL;
    if (!data) {
        error_set(err, "the saved %s is said to have %" G_GUINT64_FORMAT " bytes, which is %s",
                  what, n, n <= max ? "more than there is memory for" : "too much");
        return NULL;
    }
    *len = n;
    return in->read(in, data, n, err) ? g_steal_pointer(&data) : NULL;
}

/* Of a machine that was saved live: on to the state of its devices. */
static bool find_rest(VmStream *in, uint64_t *pos, GError **err)
{
    if (!in->seek) {
        return error_set(err, "a machine that was saved live cannot be loaded from here");
    }
    return read_int(in, 8, pos, err) && in->seek(in, *pos, err);
}

/* Every second page is a run of its own. */
static uint64_t index_max(Vm *vm)
{
    uint64_t max = 2;

    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        max += 2 + strlen(b->name) + 8 + 8 + b->size / (2 * PAGE) * 16 + 32;
    }
    return max;
}

/*
 * Whether all of the contents are there; where the stream cannot tell, a fresh machine may try.
 * 'read': so many bytes are in front of what is left.
 */
static bool check_contents(Vm *vm, VmStream *in, const MemoryIndex *index, uint64_t read,
                           GError **err)
{
    uint64_t left, want = index->bytes;

    if (!in->left || !in->left(in, &left)) {
        return !run_control_was_live(vm) ||
               error_set(err, "a machine that has run can be loaded from a file alone: how much a "
                              "pipe brings is not known before it has been taken");
    }
    if (index->placed) {
        left += read;
        want = index->end;
    }
    if (left < want) {
        return error_set(err,
                         "the saved machine state ends too early: it has %" G_GUINT64_FORMAT
                         " bytes of memory less than it says",
                         want - left);
    }
    return true;
}

typedef struct {
    Loader devices, index_loader;
    MachineState machine;
    MemoryIndex index;
} Load;

static void place_contents(MemoryIndex *index, uint64_t pos)
{
    for (unsigned i = 0; i < index->pieces->len; i++) {
        g_array_index(index->pieces, VmRamPiece, i).pos += pos;
    }
}

static bool read_and_check(Vm *vm, VmStream *in, Load *l, GError **err)
{
    uint64_t version, read = sizeof SAVE_MAGIC - 1 + 4;
    size_t len;
    uint8_t *data;

    if (!load_head(in, &version, err)) {
        return false;
    }
    l->index.placed = version == SAVE_LIVE;
    if ((l->index.placed && !find_rest(in, &read, err)) ||
        !(data = read_part(in, "state of devices", DEVICE_STATE_MAX, &len, err))) {
        return false;
    }
    l->devices.data = data;
    l->devices.len = len;
    read += 8 + len;
    if (!parse_devices(vm, &l->devices, &l->machine, err) ||
        !(data = read_part(in, "index of memory", index_max(vm), &len, err))) {
        return false;
    }
    l->index_loader.data = data;
    l->index_loader.len = len;
    read += 8 + len;
    if (!parse_index(vm, &l->index_loader, &l->index, err) ||
        (version == 3 && !skip_padding(in, read, err))) {
        return false;
    }
    if (!l->index.placed) {
        place_contents(&l->index, version < 3 ? read : ROUND_UP(read, SAVE_ALIGN));
    }
    return check_contents(vm, in, &l->index, read, err);
}

bool vm_load(Vm *vm, VmStream *in, GError **err)
{
    Load l = {.index.blocks = g_ptr_array_new(),
              .index.pieces = g_array_new(FALSE, FALSE, sizeof(VmRamPiece))};
    bool ok;

    g_assert(vcpus_stopped(vm));
    loader_init(&l.devices, NULL, 0);
    loader_init(&l.index_loader, NULL, 0);
    ok = read_and_check(vm, in, &l, err) &&
         commit_cpus_and_parts(vm, &l.devices, l.machine.virtual_clock, in, err);
    if (ok) {
        ok = load_memory(vm, &l.index, in, err);
        commit_devices(vm, &l.devices, &l.machine);
        if (!ok) {
            /* Neither the old machine nor the saved one: it must not run. */
            run_control_spoiled(vm);
            g_prefix_error(err, "the machine's memory is incomplete, it has to be reset: ");
        }
    }
    g_free((void *)l.devices.data);
    g_free((void *)l.index_loader.data);
    loader_clear(&l.devices);
    loader_clear(&l.index_loader);
    g_ptr_array_unref(l.index.blocks);
    g_array_unref(l.index.pieces);
    return ok;
}
