/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gdb stub's view of the machine: registers and memory of one CPU. */
#include "gdb.h"

#define PAGE 4096u

Vcpu *gdb_cpu(Gdb *g, unsigned index)
{
    return g->vm->vcpus[MIN(index, g->vm->vcpu_count - 1)];
}

/* Layouts. */

static void layout_here(Vcpu *cpu, void *data)
{
    const DebugLayout **l = data;

    *l = cpu->vm->arch->debug->layout_now(cpu);
}

const DebugLayout *coroutine_fn gdb_layout_now(Gdb *g, Vcpu *cpu)
{
    const DebugLayout *l = NULL;

    vcpu_call(cpu, layout_here, &l);
    return l;
}

void coroutine_fn gdb_take_layout(Gdb *g)
{
    g->layout = g->arch ? g->arch : gdb_layout_now(g, gdb_cpu(g, 0));
    g->hinted = 0;
    g->count = g->vm->arch->debug->layout_count(g->vm, g->layout);
    g->bytes = 0;
    for (unsigned i = 0; i < g->count; i++) {
        g->bytes += g->layout->registers[i].bytes;
    }
}

/* Registers. */

typedef struct {
    const DebugLayout *layout;
    uint8_t *get;
    const uint8_t *set;
    bool ok;
    GError *err;
} RegisterWork;

static void registers_here(Vcpu *cpu, void *data)
{
    RegisterWork *w = data;
    const struct ArchDebug *arch = cpu->vm->arch->debug;

    w->ok = w->set ? arch->set(cpu, w->layout, w->set, &w->err) : arch->get(cpu, w->layout, w->get);
}

bool coroutine_fn gdb_registers_get(Gdb *g, uint8_t *values)
{
    RegisterWork w = {.layout = g->layout, .get = values};

    vcpu_call(gdb_cpu(g, g->cpu), registers_here, &w);
    return w.ok;
}

bool coroutine_fn gdb_registers_set(Gdb *g, const uint8_t *values, GError **err)
{
    RegisterWork w = {.layout = g->layout, .set = values};

    vcpu_call(gdb_cpu(g, g->cpu), registers_here, &w);
    if (!w.ok) {
        g_propagate_error(err, w.err);
    }
    return w.ok;
}

static void activity_here(Vcpu *cpu, void *data)
{
    const char **text = data;

    *text = cpu->vm->arch->debug->activity(cpu);
}

const char *coroutine_fn gdb_activity(Vcpu *cpu)
{
    const char *text = "";

    vcpu_call(cpu, activity_here, &text);
    return text;
}

/* Memory. */

typedef struct {
    uint64_t addr;
    uint8_t *buf;
    size_t len, done;
    bool write, physical;
} MemoryWork;

static void memory_here(Vcpu *cpu, void *data)
{
    MemoryWork *w = data;

    while (w->done < w->len) {
        uint64_t addr = w->addr + w->done, gpa = addr;
        size_t n = MIN(w->len - w->done, PAGE - (addr & (PAGE - 1)));

        if (!w->physical && !cpu->vm->arch->translate(cpu, addr, &gpa)) {
            return;
        }
        if (!debug_access(cpu->vm, gpa, w->buf + w->done, n, w->write)) {
            return;
        }
        w->done += n;
    }
}

size_t coroutine_fn gdb_memory(Gdb *g, uint64_t addr, uint8_t *buf, size_t len, bool write)
{
    MemoryWork w = {.addr = addr, .buf = buf, .len = len, .write = write, .physical = g->physical};

    vcpu_call(gdb_cpu(g, g->cpu), memory_here, &w);
    return w.done;
}
