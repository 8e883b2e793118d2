/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole machine as a stream: writing it, and streams over files. The format: save_internal.h.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "base/iov.h"
#include "ram_mapped.h"
#include "save_internal.h"

#define PAGE 4096

STATE_DESC_PUBLIC(machine, MachineState, MACHINE_STATE, 2);

void save_put_int(GByteArray *out, uint64_t v, unsigned size)
{
    uint8_t b[8];

    stle64(b, v);
    g_byte_array_append(out, b, size);
}

void save_put_text(GByteArray *out, const char *text)
{
    save_put_int(out, strlen(text), 2);
    g_byte_array_append(out, (const uint8_t *)text, strlen(text));
}

unsigned save_section_count(const Device *dev)
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
    unsigned n = save_section_count(dev);

    if (!dev->realized || !n) {
        return;
    }
    if (dev->class->pre_save) {
        device_lock(dev);
        dev->class->pre_save(dev);
        device_unlock(dev);
    }
    save_put_int(out, ENTRY_DEVICE, 1);
    save_put_text(out, dev->path);
    save_put_text(out, dev->class->name);
    save_put_int(out, n, 1);
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
    save_put_int(out, ENTRY_PART, 1);
    save_put_text(out, part->name);
    save_put_int(out, part->instance, 4);
    state_write(out, desc, state);
    return true;
}

typedef struct {
    void *state;
    bool ok;
    GError *err;
} CpuCall;

static void save_cpu_get(Vcpu *cpu, void *data)
{
    CpuCall *c = data;

    c->ok = cpu->vm->arch->state_get(cpu, c->state, &c->err);
}

bool save_get_cpu(Vcpu *cpu, void *state, GError **err)
{
    CpuCall call = {.state = state};

    vcpu_call(cpu, save_cpu_get, &call);
    if (!call.ok) {
        g_propagate_prefixed_error(err, call.err, "cannot read the state of CPU %u: ", cpu->index);
    }
    return call.ok;
}

static bool save_cpu(Vcpu *cpu, GByteArray *out, GError **err)
{
    const StateDesc *desc = cpu->vm->arch->state_desc();
    g_autofree void *state = g_malloc0(desc->size);

    if (!save_get_cpu(cpu, state, err)) {
        return false;
    }
    save_put_int(out, ENTRY_CPU, 1);
    save_put_text(out, "cpu");
    save_put_int(out, cpu->index, 4);
    state_write(out, desc, state);
    return true;
}

bool vm_save_devices(Vm *vm, GByteArray *out, GError **err)
{
    MachineState m = {.ram_size = vm->ram_size,
                      .cpus = vm->vcpu_count,
                      .virtual_clock = clock_ns(CLOCK_VIRTUAL_NS),
                      .asleep = vm_asleep(vm)};
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
    save_put_int(out, ENTRY_END, 1);
    return true;
}

/* Memory: the index says which pages hold something, the contents follow in its order. */

typedef struct {
    const Vm *vm;
    const RamBlock *block;
    GByteArray *out;
} Index;

static void index_range(uint64_t start, uint64_t range_end, void *data)
{
    const Index *x = data;
    const uint8_t *host = x->block->host;

    while (start < range_end) {
        uint64_t end;

        if (buffer_is_zero(host + start, PAGE)) {
            start += PAGE;
            continue;
        }
        end = start + PAGE;
        while (end < range_end && !buffer_is_zero(host + end, PAGE)) {
            end += PAGE;
        }
        save_put_int(x->out, start, 8);
        save_put_int(x->out, end - start, 8);
        start = end;
    }
}

static int index_memory(void *data)
{
    Index *x = data;

    for (const RamBlock *b = x->vm->memory->blocks; b; b = b->next) {
        if (b->migratable) {
            x->block = b;
            save_put_text(x->out, b->name);
            save_put_int(x->out, b->size, 8);
            ram_block_foreach_touched(b, index_range, x);
            save_put_int(x->out, 0, 8);
            save_put_int(x->out, 0, 8);
        }
    }
    save_put_text(x->out, "");
    return 0;
}

static bool save_write_block(const RamBlock *b, const uint8_t **index, VmStream *out, GError **err)
{
    uint64_t offset, len;

    *index += 2 + strlen(b->name) + 8;
    for (;;) {
        offset = ldle64(*index);
        len = ldle64(*index + 8);
        *index += 16;
        if (!len) {
            return true;
        }
        if (!(out->write_pages ? out->write_pages : out->write)(out, b->host + offset, len, err)) {
            return false;
        }
    }
}

bool save_write_part(VmStream *out, const GByteArray *part, GError **err)
{
    uint8_t len[8];

    stle64(len, part->len);
    return out->write(out, len, sizeof len, err) && out->write(out, part->data, part->len, err);
}

/* The contents of pages are then at a place where a file can be mapped. */
static bool write_padding(VmStream *out, uint64_t written, GError **err)
{
    uint64_t padding = ROUND_UP(written, SAVE_ALIGN) - written;
    g_autofree void *zeroes = g_malloc0(SAVE_ALIGN);

    return !padding || out->write(out, zeroes, padding, err);
}

static bool write_contents(Vm *vm, const GByteArray *index, VmStream *out, GError **err)
{
    const uint8_t *pos = index->data;
    bool ok = true;

    for (const RamBlock *b = vm->memory->blocks; ok && b; b = b->next) {
        ok = !b->migratable || save_write_block(b, &pos, out, err);
    }
    return ok;
}

bool vm_save(Vm *vm, VmStream *out, GError **err)
{
    g_autoptr(GByteArray) head = g_byte_array_new(), devices = g_byte_array_new(),
                          index = g_byte_array_new();
    Index x = {.vm = vm, .out = index};
    bool ok;

    g_assert(vcpus_stopped(vm));
    g_byte_array_append(head, (const uint8_t *)SAVE_MAGIC, strlen(SAVE_MAGIC));
    save_put_int(head, SAVE_VERSION, 4);
    if (!vm_save_devices(vm, devices, err)) {
        return false;
    }
    /* Nobody changes memory; the main loop goes on meanwhile. */
    if (in_coroutine()) {
        co_pool_run(index_memory, &x);
    } else {
        index_memory(&x);
    }
    ok = out->write(out, head->data, head->len, err) && save_write_part(out, devices, err) &&
         save_write_part(out, index, err) &&
         write_padding(out, (uint64_t)head->len + 8 + devices->len + 8 + index->len, err) &&
         write_contents(vm, index, out, err);
    ok = (!out->settle || out->settle(out, ok ? err : NULL)) && ok;
    return ok && ram_not_lost(err);
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

static bool fd_seek(VmStream *s, uint64_t pos, GError **err)
{
    return lseek(((VmFdStream *)s)->fd, pos, SEEK_SET) >= 0 ||
           error_set_errno(err, errno, "cannot find the place of the machine state's next part");
}

/* What is left of a regular file; a pipe does not tell. */
static bool fd_left(VmStream *s, uint64_t *left)
{
    int fd = ((VmFdStream *)s)->fd;
    off_t at = lseek(fd, 0, SEEK_CUR);
    struct stat st;

    if (at < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return false;
    }
    *left = st.st_size > at ? st.st_size - at : 0;
    return true;
}

void vm_fd_stream_init(VmFdStream *s, int fd)
{
    *s = (VmFdStream){
        .stream = {.write = fd_write, .read = fd_read, .seek = fd_seek, .left = fd_left}, .fd = fd};
}
