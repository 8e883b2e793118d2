/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' program: a driver of virtio disks that keeps to the specification, and some things that
 * no driver does but any guest may. One step of an operation is one exit to the program, so a CPU
 * can be stopped, saved or reset between any two.
 *
 * Not instrumented by ThreadSanitizer: a guest and a device share memory as they like. What the
 * CPUs know in common is under 'guest.lock', which no CPU holds while it touches a register.
 */
#include "guest.h"
#include "wire.h"

#include "../../src/vm/vcpu_internal.h"

enum { WILD_STEPS = 400 };

Guest guest;

void guest_forget(int disk)
{
    g_mutex_lock(&guest.lock);
    for (int i = 0; i < DRIVER_MAX; i++) {
        if (disk < 0 || i == disk) {
            driver_forget(&guest.s.driver[i]);
        }
    }
    if (disk < 0) {
        guest.s.asleep = false;
        guest.s.interrupts = 0;
        for (unsigned i = 0; i < CPU_MAX; i++) {
            guest.s.cpu[i].op = NULL;
            guest.s.cpu[i].failed = false;
        }
        guest_ide_forget();
        guest_usb_forget();
        guest_fdc_forget();
    }
    g_mutex_unlock(&guest.lock);
}

void guest_fail(const char *fmt, ...)
{
    va_list ap;

    if (world.config.wild) {
        return;
    }
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    baton_fail("%s", text);
}

/* Accesses. */

void guest_out(uint16_t port, uint32_t v, unsigned len)
{
    uint64_t value = v;

    cpu_access(world.vm, IO_SPACE_PIO, port, &value, len, true);
}

uint32_t guest_in(uint16_t port, unsigned len)
{
    uint64_t value = 0;

    cpu_access(world.vm, IO_SPACE_PIO, port, &value, len, false);
    return value;
}

/* The CPU. */

void guest_wait(Cpu *c, unsigned us)
{
    c->halted_until = g_get_monotonic_time() + rand_below(&c->rand, us);
}

static bool may_begin(const Cpu *c)
{
    return c->left && !guest.s.asleep && !__atomic_load_n(&world.ending, __ATOMIC_RELAXED);
}

static bool unit_present(Unit unit)
{
    switch (unit) {
    case UNIT_IDE:
        return world.config.ide_disks;
    case UNIT_USB:
        return world.config.usb != USB_IS_NONE;
    case UNIT_FDC:
        return world.config.floppy;
    case UNIT_ANY:
        return world.config.wild;
    default:
        return true;
    }
}

static unsigned op_weight(const GuestOp *op)
{
    return world_mixes(op->name, op->fault) && unit_present(op->unit) ? op->weight : 0;
}

static bool unit_busy(const Cpu *c, Unit unit)
{
    for (unsigned i = 0; i < CPU_MAX; i++) {
        const Cpu *other = &guest.s.cpu[i];

        if (unit && other != c && other->op && other->op->unit == unit) {
            return true;
        }
    }
    return false;
}

/* Under the lock: the next operation, or none this time. */
static void choose_op(Cpu *c)
{
    unsigned total = 0, at;

    for (unsigned i = 0; guest_ops[i].name; i++) {
        total += op_weight(&guest_ops[i]);
    }
    if (!total) {
        c->left = 0; /* --only, and this seed has no such device */
        return;
    }
    at = rand_below(&c->rand, total);
    c->driver = &guest.s.driver[rand_below(&c->rand, world.config.disks)];
    if (world.config.nic && rand_one_in(&c->rand, 3)) {
        c->driver = &guest.s.driver[NIC];
    }
    for (unsigned i = 0; guest_ops[i].name; i++) {
        const GuestOp *op = &guest_ops[i];
        unsigned weight = op_weight(op);

        if (at >= weight) {
            at -= weight;
            continue;
        }
        c->left--;
        if (!(op->exact && c->driver->moving) && !unit_busy(c, op->unit) && op->begin(c)) {
            c->op = op;
            c->step = c->steps = 0;
            c->generation = c->driver->generation;
            if (op->unit) {
                baton_note("%s", op->name);
            } else {
                baton_note("disk %u: %s", c->driver->index, op->name);
            }
        }
        return;
    }
}

/*
 * An interrupt that is pending, or -1: a queue's message, or INTX_BASE plus a disk whose line is
 * high. A line without a driver, or with registers on the move, is masked.
 */
static int guest_pending(void)
{
    if (guest.s.interrupts) {
        return __builtin_ctzll(guest.s.interrupts);
    }
    for (unsigned i = 0; i < DISK_MAX; i++) {
        const Driver *d = &guest.s.driver[i];

        if (guest.intx[i] && d->state == UP && !d->moving) {
            return INTX_BASE + i;
        }
    }
    return -1;
}

static void handle_interrupt(int found)
{
    Driver *d;

    if (found < INTX_BASE) {
        driver_reap(&guest.s.driver[found / QUEUE_MAX], found % QUEUE_MAX);
        return;
    }
    d = &guest.s.driver[found - INTX_BASE];
    driver_read(d, MODERN_ISR, 1);
    for (unsigned q = 0; q < world.config.queues; q++) {
        driver_reap(d, q);
    }
}

static bool cpu_waits(const Cpu *c)
{
    return !c->op || g_get_monotonic_time() < c->halted_until;
}

/* An interrupt; -1: something else is to be done; -2: the CPU was kicked. */
static int wait_in_guest(Cpu *c, unsigned index)
{
    int found = -1;

    g_mutex_lock(&guest.lock);
    while (!guest.kicked[index] && !guest.looks[index] && cpu_waits(c) &&
           (guest.s.asleep || guest_pending() < 0)) {
        if (!c->op && !may_begin(c)) {
            g_cond_wait(&guest.cond, &guest.lock);
        } else if (!g_cond_wait_until(&guest.cond, &guest.lock, c->halted_until)) {
            break;
        }
    }
    guest.looks[index] = false;
    if (guest.kicked[index]) {
        guest.kicked[index] = false;
        found = -2;
    } else if (!guest.s.asleep && guest_pending() >= 0 && (!c->op || rand_one_in(&c->rand, 2))) {
        found = guest_pending();
        if (found < INTX_BASE) {
            guest.s.interrupts &= ~BIT64(found);
        }
    } else if (!c->op && may_begin(c)) {
        choose_op(c);
    }
    g_mutex_unlock(&guest.lock);
    return found;
}

VcpuExit guest_step(Vcpu *cpu)
{
    Cpu *c = &guest.s.cpu[cpu->index];
    int found;

    if (__atomic_load_n(&world.suspended, __ATOMIC_SEQ_CST)) {
        baton_fail("CPU %u runs in S3: no wake-up, no reset", cpu->index);
    }
    if (c->failed) {
        baton_fail("CPU %u runs after an internal error: no reset", cpu->index);
    }
    vcpu_enter_guest(cpu);
    found = wait_in_guest(c, cpu->index);
    vcpu_leave_guest(cpu);
    if (found == -2) {
        return VCPU_EXIT_INTERRUPTED;
    }
    if (found >= 0) {
        handle_interrupt(found);
        return VCPU_EXIT_CONTINUE;
    }
    const GuestOp *op = c->op;
    bool is_void = op && !op->unit && c->generation != c->driver->generation;

    if (op && op->unit && world.config.wild && ++c->steps > WILD_STEPS) {
        is_void = true; /* what it waits for is not to be */
    }
    if (op && (is_void || op->step(c, c->step++))) {
        c->op = NULL;
    }
    return c->failed ? VCPU_EXIT_ERROR : VCPU_EXIT_CONTINUE;
}

void guest_kick(Vcpu *cpu)
{
    g_mutex_lock(&guest.lock);
    guest.kicked[cpu->index] = true;
    g_cond_broadcast(&guest.cond);
    g_mutex_unlock(&guest.lock);
}

void guest_interrupt(uint64_t addr, uint32_t data)
{
    unsigned n = data - MSI_BASE;

    if (addr != 0xfee00000 || n >= DRIVER_MAX * QUEUE_MAX) {
        return;
    }
    g_mutex_lock(&guest.lock);
    guest.s.interrupts |= BIT64(n);
    baton_note("disk %u, queue %u: interrupt", n / QUEUE_MAX, n % QUEUE_MAX);
    g_cond_broadcast(&guest.cond);
    g_mutex_unlock(&guest.lock);
}

void guest_set_intx(unsigned disk, bool level)
{
    g_mutex_lock(&guest.lock);
    guest.intx[disk] = level;
    baton_note("disk %u: the line is %s", disk, level ? "high" : "low");
    g_cond_broadcast(&guest.cond);
    g_mutex_unlock(&guest.lock);
}

void guest_look(void)
{
    g_mutex_lock(&guest.lock);
    for (unsigned i = 0; i < CPU_MAX; i++) {
        guest.looks[i] = true;
    }
    g_cond_broadcast(&guest.cond);
    g_mutex_unlock(&guest.lock);
}

/* The whole. */

void guest_init(void)
{
    for (unsigned i = 0; i < DRIVER_MAX; i++) {
        guest.s.driver[i].index = i;
        for (unsigned s = 0; s < SLOTS; s++) {
            driver_slot_free(&guest.s.driver[i], s);
        }
    }
    for (unsigned i = 0; i < CPU_MAX; i++) {
        rand_seed(&guest.s.cpu[i].rand, world.config.seed * CPU_MAX + i + 1000000007);
        guest.s.cpu[i].left = world.config.guest_quota;
    }
    guest_ide_start();
}

bool guest_idle(GString *why)
{
    g_mutex_lock(&guest.lock);
    for (unsigned i = 0; i < world.config.cpus; i++) {
        const Cpu *c = &guest.s.cpu[i];

        if (c->op) {
            g_string_append_printf(why, " CPU %u is at step %u of '%s'.", i, c->step, c->op->name);
        }
    }
    for (unsigned i = 0; i < DRIVER_MAX; i++) {
        const Driver *d = &guest.s.driver[i];

        for (unsigned s = 0; s < SLOTS; s++) {
            if (d->request[s].busy && is_nic(d) && d->request[s].queue == 0) {
                continue; /* a buffer to receive into */
            }
            if (d->request[s].busy) {
                g_string_append_printf(why, " Disk %u, queue %u: request %u.", i,
                                       d->request[s].queue, s);
            } else {
                driver_slot_check(d, s);
            }
        }
    }
    if (guest.s.asleep) {
        g_string_append(why, " The guest has asked for S3.");
    }
    g_mutex_unlock(&guest.lock);
    return !why->len;
}

typedef struct {
    __typeof__(guest.s) s;
    Disk disk[DISK_ALL];
} Saved;

void *guest_save(void)
{
    Saved *saved = g_new(Saved, 1);

    memcpy(&saved->s, &guest.s, sizeof saved->s);
    for (unsigned i = 0; i < DISK_ALL; i++) {
        saved->disk[i] = disks[i];
        saved->disk[i].data = g_memdup2(disks[i].data, DISK_SECTOR * DISK_SECTORS);
    }
    return saved;
}

void guest_load(const void *data)
{
    const Saved *saved = data;
    Rand rand[CPU_MAX];
    unsigned left[CPU_MAX];

    /* What is yet to be done, and how it is chosen, is no part of the machine. */
    for (unsigned i = 0; i < CPU_MAX; i++) {
        rand[i] = guest.s.cpu[i].rand;
        left[i] = guest.s.cpu[i].left;
    }
    memcpy(&guest.s, &saved->s, sizeof guest.s);
    for (unsigned i = 0; i < CPU_MAX; i++) {
        guest.s.cpu[i].rand = rand[i];
        guest.s.cpu[i].failed = false;
        guest.s.cpu[i].left = left[i];
        if (guest.s.cpu[i].op && guest.s.cpu[i].op->unit == UNIT_CD) {
            guest.s.cpu[i].queue = CD_ANY; /* the disc may be another now */
        }
    }
    wire_forget();
    guest.s.asleep = false;
    __atomic_store_n(&world.suspended, false, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < DISK_ALL; i++) {
        disk_flushed(&disks[i]);
        memcpy(disks[i].model, saved->disk[i].model, sizeof disks[i].model);
        memcpy(disks[i].data, saved->disk[i].data, DISK_SECTOR * DISK_SECTORS);
    }
}

void guest_back(const void *data)
{
    const Saved *saved = data;

    memcpy(&guest.s, &saved->s, sizeof guest.s);
    for (unsigned i = 0; i < DISK_ALL; i++) {
        memcpy(disks[i].model, saved->disk[i].model, sizeof disks[i].model);
        memcpy(disks[i].unflushed, saved->disk[i].unflushed, sizeof disks[i].unflushed);
        memcpy(disks[i].data, saved->disk[i].data, DISK_SECTOR * DISK_SECTORS);
    }
}
