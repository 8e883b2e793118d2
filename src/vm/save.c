/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole machine as a stream.
 *
 *   "VMMSTATE", version u32, length of the device state u64, device state, memory
 *   device state: machine record, then entries: kind u8 (1 device, 2 part, 0 end), name (u16
 *     length, bytes), class or instance, count of records u8, the records (see state.c)
 *   memory: for each block: name (u16 length, bytes), size u64, then runs: offset u64, bytes u64,
 *     data; bytes 0 ends the block; an empty name ends the memory
 *
 * What is not in it: pages that hold zeroes only.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/iov.h"
#include "device_internal.h"
#include "memory_internal.h"
#include "run_state.h"
#include "vm/vcpu.h"

static const char magic[8] = "VMMSTATE";
#define STREAM_VERSION   1
#define DEVICE_STATE_MAX (64 * MiB)
#define RUN_MAX          (1 * MiB)
#define PAGE             4096

enum { ENTRY_END, ENTRY_DEVICE, ENTRY_PART, ENTRY_CPU };

/* What must be the same at both ends, and the clock. */
#define MACHINE_STATE(X)                                                                           \
    X(F, uint64_t, ram_size)                                                                       \
    X(F, uint32_t, cpus)                                                                           \
    X(F, int64_t, virtual_clock)
STATE_STRUCT(MachineState, MACHINE_STATE);
STATE_DESC(machine, MachineState, MACHINE_STATE, 1);

/* Saving. */

static void put_int(GByteArray *out, uint64_t v, unsigned size)
{
    uint8_t b[8];

    stle64(b, v);
    g_byte_array_append(out, b, size);
}

static void put_text(GByteArray *out, const char *text)
{
    put_int(out, strlen(text), 2);
    g_byte_array_append(out, (const uint8_t *)text, strlen(text));
}

static unsigned section_count(const Device *dev)
{
    unsigned n = 0;

    while (dev->class->state[n].desc) {
        n++;
    }
    return n;
}

static void save_device(Device *dev, void *data)
{
    GByteArray *out = data;
    unsigned n = section_count(dev);

    if (!dev->realized || !n) {
        return;
    }
    if (dev->class->pre_save) {
        device_lock(dev);
        dev->class->pre_save(dev);
        device_unlock(dev);
    }
    put_int(out, ENTRY_DEVICE, 1);
    put_text(out, dev->path);
    put_text(out, dev->class->name);
    put_int(out, n, 1);
    for (unsigned i = 0; i < n; i++) {
        state_write(out, dev->class->state[i].desc(), (char *)dev + dev->class->state[i].offset);
    }
}

static bool save_part(Vm *vm, const VmStatePart *part, GByteArray *out, GError **err)
{
    const StateDesc *desc = part->desc();
    g_autofree void *state = g_malloc0(desc->size);

    if (!part->get(vm, part->instance, state, err)) {
        return false;
    }
    put_int(out, ENTRY_PART, 1);
    put_text(out, part->name);
    put_int(out, part->instance, 4);
    state_write(out, desc, state);
    return true;
}

typedef struct {
    void *state;
    bool ok;
    GError *err;
} CpuCall;

static void cpu_get(Vcpu *cpu, void *data)
{
    CpuCall *c = data;

    c->ok = cpu->vm->arch->state_get(cpu, c->state, &c->err);
}

static void cpu_set(Vcpu *cpu, void *data)
{
    CpuCall *c = data;

    c->ok = cpu->vm->arch->state_set(cpu, c->state, &c->err);
}

static bool save_cpu(Vcpu *cpu, GByteArray *out, GError **err)
{
    const StateDesc *desc = cpu->vm->arch->state_desc();
    g_autofree void *state = g_malloc0(desc->size);
    CpuCall call = {.state = state};

    vcpu_call(cpu, cpu_get, &call);
    if (!call.ok) {
        g_propagate_prefixed_error(err, call.err, "cannot read the state of CPU %u: ", cpu->index);
        return false;
    }
    put_int(out, ENTRY_CPU, 1);
    put_text(out, "cpu");
    put_int(out, cpu->index, 4);
    state_write(out, desc, state);
    return true;
}

bool vm_save_devices(Vm *vm, GByteArray *out, GError **err)
{
    MachineState m = {.ram_size = vm->ram_size,
                      .cpus = vm->vcpu_count,
                      .virtual_clock = clock_ns(CLOCK_VIRTUAL_NS)};
    GArray *parts = run_control_state_parts(vm);

    state_write(out, machine_state_desc(), &m);
    device_foreach(vm, save_device, out);
    for (unsigned i = 0; i < parts->len; i++) {
        if (!save_part(vm, &g_array_index(parts, VmStatePart, i), out, err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        if (!save_cpu(vm->vcpus[i], out, err)) {
            return false;
        }
    }
    put_int(out, ENTRY_END, 1);
    return true;
}

static bool write_int(VmStream *out, uint64_t v, unsigned size, GError **err)
{
    uint8_t b[16] = {0};

    stle64(b, v);
    return out->write(out, b, size, err);
}

static bool write_text(VmStream *out, const char *text, GError **err)
{
    return write_int(out, strlen(text), 2, err) && out->write(out, text, strlen(text), err);
}

static bool save_block(const RamBlock *b, VmStream *out, GError **err)
{
    uint64_t start = 0;

    if (!write_text(out, b->name, err) || !write_int(out, b->size, 8, err)) {
        return false;
    }
    while (start < b->size) {
        uint64_t end;

        if (buffer_is_zero(b->host + start, PAGE)) {
            start += PAGE;
            continue;
        }
        end = start + PAGE;
        while (end < b->size && end - start < RUN_MAX && !buffer_is_zero(b->host + end, PAGE)) {
            end += PAGE;
        }
        if (!write_int(out, start, 8, err) || !write_int(out, end - start, 8, err) ||
            !out->write(out, b->host + start, end - start, err)) {
            return false;
        }
        start = end;
    }
    /* An empty run: offset and length. */
    return write_int(out, 0, 16, err);
}

bool vm_save(Vm *vm, VmStream *out, GError **err)
{
    g_autoptr(GByteArray) devices = g_byte_array_new();

    g_assert(vcpus_stopped(vm));
    if (!vm_save_devices(vm, devices, err) || !out->write(out, magic, sizeof magic, err) ||
        !write_int(out, STREAM_VERSION, 4, err) || !write_int(out, devices->len, 8, err) ||
        !out->write(out, devices->data, devices->len, err)) {
        return false;
    }
    for (const RamBlock *b = vm->memory->blocks; b; b = b->next) {
        if (b->migratable && !save_block(b, out, err)) {
            return false;
        }
    }
    return write_text(out, "", err);
}

/* Loading: everything is parsed into copies first. */

typedef struct {
    Device *dev;
    unsigned section;
    const VmStatePart *part;
    Vcpu *cpu;
    void *state;
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
    if (n != section_count(dev) || already_parsed(l, dev, NULL, NULL)) {
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

    if (c->ok && dev->realized && section_count(dev) &&
        !already_parsed(c->loader, dev, NULL, NULL)) {
        c->ok = error_set(
            c->err,
            "the saved machine has no '%s' at %s, this one has; start it with the same devices",
            dev->class->name, dev->path);
    }
}

static void save_post_load(Device *dev, void *data)
{
    DeviceCheck *c = data;

    if (c->ok && dev->realized && dev->class->post_load) {
        device_lock(dev);
        c->ok = dev->class->post_load(dev, c->err);
        device_unlock(dev);
    }
}

static bool commit_all(Vm *vm, Loader *l, const MachineState *m, GError **err)
{
    virtual_clock_set(m->virtual_clock);
    for (unsigned i = 0; i < l->parsed->len; i++) {
        Parsed *p = &g_array_index(l->parsed, Parsed, i);

        if (p->dev) {
            memcpy((char *)p->dev + p->dev->class->state[p->section].offset, p->state, p->size);
        } else if (p->part) {
            if (!p->part->set(vm, p->part->instance, p->state, err)) {
                return false;
            }
        } else {
            CpuCall call = {.state = p->state};

            vcpu_call(p->cpu, cpu_set, &call);
            if (!call.ok) {
                g_propagate_prefixed_error(err, call.err,
                                           "cannot set the state of CPU %u: ", p->cpu->index);
                return false;
            }
        }
    }
    return true;
}

static bool finish_load(Vm *vm, GError **err)
{
    DeviceCheck c = {.err = err, .ok = true};

    device_foreach(vm, save_post_load, &c);
    return c.ok;
}

static bool load_devices(Vm *vm, const uint8_t *data, size_t len, GError **err)
{
    Loader l = {.data = data, .len = len, .parsed = g_array_new(FALSE, FALSE, sizeof(Parsed))};
    MachineState m = {0};
    DeviceCheck present = {.loader = &l, .err = err, .ok = true};
    bool ok = parse_all(vm, &l, &m, err);

    if (ok) {
        device_foreach(vm, check_present, &present);
        ok = present.ok && commit_all(vm, &l, &m, err);
    }
    for (unsigned i = 0; i < l.parsed->len; i++) {
        g_free(g_array_index(l.parsed, Parsed, i).state);
    }
    g_array_unref(l.parsed);
    return ok;
}

bool vm_load_devices(Vm *vm, const uint8_t *data, size_t len, GError **err)
{
    return load_devices(vm, data, len, err) && finish_load(vm, err);
}

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

static bool load_block(Vm *vm, const char *name, VmStream *in, GError **err)
{
    RamBlock *b = ram_block_find(vm, name);
    uint64_t size, offset, len;

    if (!read_int(in, 8, &size, err)) {
        return false;
    }
    if (!b || b->size != size) {
        return error_set(err,
                         "the saved machine has %" G_GUINT64_FORMAT
                         " bytes of memory '%s', this one has %" G_GUINT64_FORMAT,
                         size, name, b ? b->size : 0);
    }
    /* What the stream leaves out is zero. */
    if (b->fd >= 0 || madvise(b->host, b->size, MADV_DONTNEED)) {
        memset(b->host, 0, b->size);
    }
    for (;;) {
        if (!read_int(in, 8, &offset, err) || !read_int(in, 8, &len, err)) {
            return false;
        }
        if (!len) {
            break;
        }
        if (offset > size || len > size - offset) {
            return error_set(err, "the saved memory '%s' has a piece outside of itself", name);
        }
        if (!in->read(in, b->host + offset, len, err)) {
            return false;
        }
    }
    memory_mark_dirty(vm, b, 0, b->size);
    return true;
}

static bool load_memory(Vm *vm, VmStream *in, GError **err)
{
    for (;;) {
        char name[65536];
        uint64_t len;

        if (!read_int(in, 2, &len, err) || !in->read(in, name, len, err)) {
            return false;
        }
        name[len] = '\0';
        if (!len) {
            return true;
        }
        if (!load_block(vm, name, in, err)) {
            return false;
        }
    }
}

bool vm_load(Vm *vm, VmStream *in, GError **err)
{
    char head[sizeof magic];
    uint64_t version, len;
    g_autofree uint8_t *devices = NULL;

    if (!in->read(in, head, sizeof head, err) || !read_int(in, 4, &version, err) ||
        !read_int(in, 8, &len, err)) {
        return false;
    }
    if (memcmp(head, magic, sizeof magic)) {
        return error_set(err, "this is not a saved machine state");
    }
    if (version != STREAM_VERSION || len > DEVICE_STATE_MAX) {
        return error_set(err,
                         "the saved machine state is of version %u, this program reads version %d",
                         (unsigned)version, STREAM_VERSION);
    }
    devices = g_try_malloc(MAX(len, 1));
    if (!devices) {
        return error_set(err, "not enough memory to read the saved machine state");
    }
    return in->read(in, devices, len, err) && load_devices(vm, devices, len, err) &&
           load_memory(vm, in, err) && finish_load(vm, err);
}

/* Streams over files. */

static bool fd_write(VmStream *s, const void *buf, size_t len, GError **err)
{
    const char *p = buf;

    while (len) {
        ssize_t n = write(((VmFdStream *)s)->fd, p, len);

        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "cannot write the machine state");
        }
        if (n > 0) {
            p += n;
            len -= n;
        }
    }
    return true;
}

static bool fd_read(VmStream *s, void *buf, size_t len, GError **err)
{
    char *p = buf;

    while (len) {
        ssize_t n = read(((VmFdStream *)s)->fd, p, len);

        if (n == 0) {
            return error_set(err, "the saved machine state ends too early");
        }
        if (n < 0 && errno != EINTR) {
            return error_set_errno(err, errno, "cannot read the machine state");
        }
        if (n > 0) {
            p += n;
            len -= n;
        }
    }
    return true;
}

void vm_fd_stream_init(VmFdStream *s, int fd)
{
    *s = (VmFdStream){.stream = {.write = fd_write, .read = fd_read}, .fd = fd};
}
