/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's points and steps: which there are, and what is in force while the CPUs run. What
 * stops the machine is debug_stop.c.
 */
#include "debug_internal.h"

#include "base/error.h"
#include "base/log.h"
#include "memory_internal.h"

/* More than a person sets; each costs time whenever the machine goes on. */
#define POINTS_MAX 512

static struct VmDebug *debug_state(Vm *vm)
{
    struct VmDebug *d = vm->debug;

    if (!d) {
        d = g_new0(struct VmDebug, 1);
        g_mutex_init(&d->lock);
        d->points = g_array_new(FALSE, TRUE, sizeof(DebugPoint));
        d->planted = g_array_new(FALSE, TRUE, sizeof(DebugPlanted));
        for (unsigned i = 0; i < vm->vcpu_count; i++) {
            vm->vcpus[i]->debug = g_new0(struct VcpuDebug, 1);
        }
        __atomic_store_n(&vm->debug, d, __ATOMIC_RELEASE);
    }
    return d;
}

void vm_debug_free(Vm *vm)
{
    struct VmDebug *d = g_steal_pointer(&vm->debug);

    if (d) {
        g_array_unref(d->points);
        g_array_unref(d->planted);
        g_mutex_clear(&d->lock);
        g_free(d);
    }
}

/* What the host delivers. */

static int debug_probe(void *data)
{
    Vm *vm = data;

    return (int)vm->arch->debug->probe(vm);
}

unsigned coroutine_fn vm_debug_can(Vm *vm)
{
    struct VmDebug *d = debug_state(vm);

    if (!vm->vcpu_count || !vm->arch || !vm->arch->debug) {
        return 0;
    }
    if (!d->probed) {
        d->can = co_pool_run(debug_probe, vm);
        d->probed = true;
    }
    return d->can;
}

/* Points. */

static DebugPoint *find_point(struct VmDebug *d, DebugKind kind, uint64_t addr, uint64_t len)
{
    for (unsigned i = 0; i < d->points->len; i++) {
        DebugPoint *p = &g_array_index(d->points, DebugPoint, i);

        if (p->kind == kind && p->addr == addr &&
            (p->len == len || kind == DEBUG_BREAK || kind == DEBUG_BREAK_HW)) {
            return p;
        }
    }
    return NULL;
}

/* A register watches 1, 2, 4 or 8 bytes at a multiple of as many. */
static uint8_t register_len(uint64_t addr, uint64_t len)
{
    uint8_t n = 8;

    while (n > 1 && (n > len || addr % n)) {
        n /= 2;
    }
    return n;
}

/* Adds the registers that the point takes; how many, or more than there is room for. */
static unsigned point_registers(const DebugPoint *p, DebugRegisterUse *out, unsigned room)
{
    uint64_t addr = p->addr, left = p->len;
    unsigned n = 0;

    if (p->kind == DEBUG_BREAK || p->kind == DEBUG_BREAK_HW) {
        left = 1;
    }
    while (left && n < room) {
        uint8_t len = register_len(addr, left);

        if (out) {
            out[n] = (DebugRegisterUse){.kind = p->kind, .addr = addr, .len = len};
        }
        n++;
        addr += len;
        left -= len;
    }
    return left ? room + 1 : n;
}

static unsigned registers_used(struct VmDebug *d)
{
    unsigned n = 0;

    for (unsigned i = 0; i < d->points->len; i++) {
        const DebugPoint *p = &g_array_index(d->points, DebugPoint, i);

        if (p->in_register || p->passed) {
            n += point_registers(p, NULL, DEBUG_REGISTERS_MAX);
        }
    }
    return n;
}

typedef struct {
    uint64_t addr, gpa;
    bool flat, mapped;
} Place;

static void find_place(Vcpu *cpu, void *data)
{
    Place *p = data;

    cpu->vm->arch->debug->pc(cpu, &p->flat);
    p->mapped = cpu->vm->arch->translate(cpu, p->addr, &p->gpa);
}

/*
 * Whether an instruction can stand there. Not in ROM: firmware copies itself to RAM, where nothing
 * would take the instruction out again.
 */
static bool can_plant(Vm *vm, const Place *p)
{
    const FlatRange *r =
        p->mapped ? flat_view_find(memory_view(vm, IO_SPACE_MEM), p->gpa, NULL) : NULL;

    return p->flat && r && r->host && !r->readonly;
}

static bool check_register(Vm *vm, const DebugPoint *p, unsigned can, GError **err)
{
    unsigned most = vm->arch->debug->registers, used = registers_used(vm->debug);
    bool execution = p->kind == DEBUG_BREAK || p->kind == DEBUG_BREAK_HW;

    if (p->kind == DEBUG_WATCH_READ) {
        return error_set(err, "no debug register watches reads alone: watch accesses (awatch)");
    }
    if (!(can & (execution ? DEBUG_CAN_BREAK_HW : DEBUG_CAN_WATCH))) {
        return error_set(err, "this host's KVM does not deliver %s; see docs/gdb.md for what works",
                         execution ? "breakpoints in debug registers" : "watchpoints");
    }
    if (used + point_registers(p, NULL, DEBUG_REGISTERS_MAX) > most) {
        return error_set(err,
                         p->kind == DEBUG_BREAK
                             ? "the breakpoint needs a debug register (docs/gdb.md says when), and "
                               "%u of %u are in use"
                             : "it needs more debug registers than are free: %u of %u are in use",
                         used, most);
    }
    return true;
}

bool coroutine_fn vm_debug_insert(Vm *vm, Vcpu *cpu, DebugKind kind, uint64_t addr, uint64_t len,
                                  GError **err)
{
    struct VmDebug *d = debug_state(vm);
    unsigned can = vm_debug_can(vm);
    DebugPoint p = {.kind = kind, .addr = addr, .len = MAX(len, 1), .in_register = true};
    Place place = {.addr = addr};

    if (kind == DEBUG_BREAK && (can & DEBUG_CAN_BREAK)) {
        vcpu_call(cpu, find_place, &place);
        p.in_register = !can_plant(vm, &place);
        p.gpa = place.gpa;
    }
    if (find_point(d, kind, addr, p.len)) {
        return true;
    }
    if (d->points->len >= POINTS_MAX) {
        return error_set(err, "there are %u breakpoints already", POINTS_MAX);
    }
    if (p.in_register && !check_register(vm, &p, can, err)) {
        return false;
    }
    g_array_append_val(d->points, p);
    return true;
}

void vm_debug_remove(Vm *vm, DebugKind kind, uint64_t addr, uint64_t len)
{
    struct VmDebug *d = debug_state(vm);
    DebugPoint *p = find_point(d, kind, addr, MAX(len, 1));

    if (p) {
        g_array_remove_index(d->points, p - (DebugPoint *)d->points->data);
    }
}

/* Whether there is anything that a running machine would have to be stopped for. */
static bool debug_in_use(Vm *vm)
{
    struct VmDebug *d = vm->debug;
    bool used = d->points->len || d->planted->len;

    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        used |= vm->vcpus[i]->debug->move != DEBUG_RUN || vm->vcpus[i]->debug->applied;
    }
    return used;
}

void coroutine_fn vm_debug_clear(Vm *vm)
{
    if (!vm->debug || !debug_in_use(vm) || !vm_hold(vm, RUN_STATE_DEBUG, NULL)) {
        return;
    }
    g_array_set_size(vm->debug->points, 0);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i]->debug->move = DEBUG_RUN;
        vm->vcpus[i]->debug->stop.kind = DEBUG_STOP_NONE;
    }
    vm_release(vm);
}

void vm_debug_move(Vcpu *cpu, DebugMove move)
{
    debug_state(cpu->vm);
    cpu->debug->move = move;
}

bool vm_debug_holds(const Vcpu *cpu)
{
    return cpu->debug && cpu->debug->move == DEBUG_HOLD;
}

/* Going on. */

typedef struct {
    uint64_t pc;
    DebugSetup *setup;
    GError *err;
} CpuWork;

static void read_pc(Vcpu *cpu, void *data)
{
    CpuWork *w = data;
    bool flat;

    w->pc = cpu->vm->arch->debug->pc(cpu, &flat);
}

static void apply_setup(Vcpu *cpu, void *data)
{
    CpuWork *w = data;

    cpu->vm->arch->debug->apply(cpu, w->setup, &w->err);
}

/* The breakpoint at this address that stops CPUs, of either kind. */
static DebugPoint *break_at(struct VmDebug *d, uint64_t addr)
{
    DebugPoint *p = find_point(d, DEBUG_BREAK, addr, 1);

    return p ? p : find_point(d, DEBUG_BREAK_HW, addr, 1);
}

/*
 * Whether the CPU goes on from a breakpoint that the debugger was told of. A breakpoint instruction
 * that stands there gives way to a debug register, where one is free: another CPU's registers stay
 * in force while this one passes.
 */
static bool coroutine_fn pass_breakpoint(Vm *vm, Vcpu *cpu)
{
    struct VcpuDebug *c = cpu->debug;
    bool told =
        c->told && (c->stop.kind == DEBUG_STOP_BREAK || c->stop.kind == DEBUG_STOP_BREAK_HW);
    uint64_t addr = told ? c->stop.addr : c->pass_addr;
    CpuWork w = {0};
    DebugPoint *p;

    if (!(told || c->passing) || !(vm->debug->can & DEBUG_CAN_STEP)) {
        return false;
    }
    vcpu_call(cpu, read_pc, &w);
    p = w.pc == addr ? break_at(vm->debug, addr) : NULL;
    if (p && !p->in_register && registers_used(vm->debug) < vm->arch->debug->registers &&
        (vm->debug->can & DEBUG_CAN_BREAK_HW)) {
        p->passed = true;
    }
    c->pass_addr = addr;
    return p && (p->in_register || p->passed);
}

static void plan_setup(Vm *vm, Vcpu *cpu, DebugSetup *setup)
{
    struct VmDebug *d = vm->debug;

    *setup = (DebugSetup){0};
    setup->step = cpu->debug->move == DEBUG_STEP || cpu->debug->move == DEBUG_STEP_QUIET;
    setup->quiet = cpu->debug->move == DEBUG_STEP_QUIET;
    for (unsigned i = 0; i < d->points->len; i++) {
        const DebugPoint *p = &g_array_index(d->points, DebugPoint, i);

        if (p->in_register || p->passed) {
            unsigned room = DEBUG_REGISTERS_MAX - setup->count;

            setup->count += MIN(point_registers(p, setup->registers + setup->count, room), room);
        } else {
            setup->software = true;
        }
    }
}

/* The same without breakpoints at the CPU's place, for one step. */
static void plan_pass(const DebugSetup *setup, uint64_t addr, DebugSetup *pass)
{
    *pass = (DebugSetup){.step = true, .quiet = true, .software = setup->software};
    for (unsigned i = 0; i < setup->count; i++) {
        const DebugRegisterUse *use = &setup->registers[i];

        if (use->addr != addr || (use->kind != DEBUG_BREAK && use->kind != DEBUG_BREAK_HW)) {
            pass->registers[pass->count++] = *use;
        }
    }
}

/* Two linear addresses may be one in memory. */
static bool plant_is_there(struct VmDebug *d, uint64_t gpa)
{
    for (unsigned i = 0; i < d->planted->len; i++) {
        if (g_array_index(d->planted, DebugPlanted, i).gpa == gpa) {
            return true;
        }
    }
    return false;
}

static void debug_plant(Vm *vm)
{
    struct VmDebug *d = vm->debug;

    for (unsigned i = 0; i < d->points->len; i++) {
        const DebugPoint *p = &g_array_index(d->points, DebugPoint, i);
        DebugPlanted planted = {.addr = p->addr, .gpa = p->gpa};

        /* Memory that has gone since (a BAR was moved) has no instruction to stop at. */
        if (p->in_register || p->passed || plant_is_there(d, p->gpa) ||
            !debug_access(vm, p->gpa, &planted.original, 1, false)) {
            continue;
        }
        debug_access(vm, p->gpa, (void *)vm->arch->debug->instruction, 1, true);
        g_mutex_lock(&d->lock);
        g_array_append_val(d->planted, planted);
        g_mutex_unlock(&d->lock);
    }
}

static void coroutine_fn arm_cpu(Vm *vm, Vcpu *cpu)
{
    struct VcpuDebug *c = cpu->debug;
    CpuWork w = {.setup = c->passing ? &c->pass : &c->setup};
    bool was_applied = c->applied;

    plan_setup(vm, cpu, &c->setup);
    plan_pass(&c->setup, c->pass_addr, &c->pass);
    c->applied = c->setup.step || c->setup.software || c->setup.count;
    c->stop.kind = DEBUG_STOP_NONE;
    if (c->applied || was_applied) {
        vcpu_call(cpu, apply_setup, &w);
    }
    if (w.err) {
        log_error("gdb: CPU %u: %s", cpu->index, w.err->message);
        g_error_free(w.err);
    }
}

void coroutine_fn vm_debug_arm(Vm *vm)
{
    struct VmDebug *d = vm->debug;

    if (!d || d->armed) {
        return;
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i]->debug->passing = pass_breakpoint(vm, vm->vcpus[i]);
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        arm_cpu(vm, vm->vcpus[i]);
    }
    debug_plant(vm);
    d->armed = true;
}

void vm_debug_disarm(Vm *vm)
{
    struct VmDebug *d = vm->debug;
    g_autoptr(GArray) planted = NULL;

    if (!d || !d->armed) {
        return;
    }
    g_mutex_lock(&d->lock);
    planted = g_steal_pointer(&d->planted);
    d->planted = g_array_new(FALSE, TRUE, sizeof(DebugPlanted));
    g_mutex_unlock(&d->lock);
    /* What the guest has written over an instruction of ours stays. */
    for (unsigned i = planted->len; i-- > 0;) {
        DebugPlanted *p = &g_array_index(planted, DebugPlanted, i);
        uint8_t now;

        if (debug_access(vm, p->gpa, &now, 1, false) && now == *vm->arch->debug->instruction) {
            debug_access(vm, p->gpa, &p->original, 1, true);
        }
    }
    for (unsigned i = 0; i < d->points->len; i++) {
        g_array_index(d->points, DebugPoint, i).passed = false;
    }
    d->armed = false;
}
