/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fixture.h"

#include "base/error.h"
#include "base/reclaim.h"

EventLoop *loop;
Vm *vm;
GArray *slots;
unsigned slot_changes;
int64_t logged_page = -1;
bool gsi_level[IRQ_GSI_COUNT];

static bool note_slot(Vm *v, uint64_t gpa, RamBlock *block, uint64_t offset, uint64_t size,
                      bool readonly, bool add, bool log)
{
    Slot s = {.gpa = gpa,
              .size = size,
              .offset = offset,
              .block = block,
              .readonly = readonly,
              .log = log};

    slot_changes++;
    for (unsigned i = 0; i < slots->len; i++) {
        if (g_array_index(slots, Slot, i).gpa == gpa) {
            g_array_remove_index(slots, i);
            break;
        }
    }
    if (add) {
        g_array_append_val(slots, s);
    }
    return true;
}

static void note_gsi(Vm *v, unsigned gsi, bool level)
{
    gsi_level[gsi] = level;
}

static void note_msi(Vm *v, uint64_t addr, uint32_t data)
{
}

static void note_dirty_fetch(Vm *v, RamBlock *block)
{
    if (logged_page >= 0) {
        memory_mark_dirty(v, block, logged_page * DIRTY_PAGE, 1);
        logged_page = -1;
    }
}

static const Accel note_accel = {
    .name = "note",
    .memory_slot = note_slot,
    .set_gsi = note_gsi,
    .send_msi = note_msi,
    .dirty_fetch = note_dirty_fetch,
};

/* The device. */

STATE_DESC(probe, ProbeState, PROBE_STATE, 1);

static void work_later(Device *dev)
{
    Probe *p = (Probe *)dev;

    /* Off the lock, and across a yield. */
    coroutine_sleep(CLOCK_REALTIME_NS, 2 * NS_PER_MS);
    device_lock(dev);
    p->deferred++;
    device_unlock(dev);
}

static uint64_t probe_read(IoRegion *r, uint64_t offset, unsigned size)
{
    Probe *p = (Probe *)r->owner;
    uint64_t v = 0;

    ck_assert(device_lock_held(&p->dev));
    ck_assert_int_eq(__atomic_fetch_add(&p->inside, 1, __ATOMIC_SEQ_CST), 0);
    p->last_size = size;
    memcpy(&v, p->s.regs + offset, MIN(size, 16 - offset));
    __atomic_fetch_sub(&p->inside, 1, __ATOMIC_SEQ_CST);
    return v;
}

static IoResult probe_write(IoRegion *r, uint64_t offset, uint64_t value, unsigned size)
{
    Probe *p = (Probe *)r->owner;

    ck_assert(device_lock_held(&p->dev));
    ck_assert_int_eq(__atomic_fetch_add(&p->inside, 1, __ATOMIC_SEQ_CST), 0);
    p->last_size = size;
    p->s.writes++;
    memcpy(p->s.regs + offset, &value, MIN(size, 16 - offset));
    __atomic_fetch_sub(&p->inside, 1, __ATOMIC_SEQ_CST);
    if (offset == 15) {
        device_defer(&p->dev, work_later);
        return IO_DEFER;
    }
    return IO_OK;
}

static const IoRegionOps probe_ops = {.read = probe_read, .write = probe_write, .impl_max = 4};

static void probe_tick(Device *dev)
{
    ((Probe *)dev)->timer_runs++;
}

static bool probe_realize(Device *dev, GError **err)
{
    Probe *p = (Probe *)dev;

    if (p->fail) {
        return error_set(err, "probe was told to fail");
    }
    io_region_init(&p->region, dev, &probe_ops, "probe", 16);
    p->timer = device_timer_new(dev, CLOCK_REALTIME_NS, probe_tick);
    irq_connect(dev, &p->irq, irq_gsi(dev->vm, 5));
    return true;
}

static void probe_unrealize(Device *dev)
{
    Probe *p = (Probe *)dev;

    io_region_unmap(dev->vm, &p->region);
    irq_connect(dev, &p->irq, NULL);
}

static void probe_reset(Device *dev, ResetKind kind)
{
    Probe *p = (Probe *)dev;

    p->resets++;
    memset(&p->s, 0, sizeof p->s);
    irq_lower(dev->vm, &p->irq);
}

static const Property probe_props[] = {
    PROP("fail", PROP_BOOL, Probe, fail, "off", "refuse to realize"),
    PROP("level", PROP_UINT32, Probe, level, "7", "a number"),
    PROP_END,
};
static const StateSection probe_sections[] = {{probe_state_desc, offsetof(Probe, s)}, {0}};

const DeviceClass probe_class = {
    .name = "probe",
    .bus = "System",
    .desc = "test device",
    .size = sizeof(Probe),
    .props = probe_props,
    .state = probe_sections,
    .realize = probe_realize,
    .unrealize = probe_unrealize,
    .reset = probe_reset,
    .hotpluggable = true,
};
static const DeviceClass *const classes[] = {&probe_class, NULL};

Probe *probe_new(const char *id)
{
    GError *err = NULL;
    Device *dev = device_create(vm, &probe_class, NULL, id, NULL, &err);

    ck_assert_msg(dev != NULL, "%s", err ? err->message : "");
    ck_assert(device_realize(dev, &err));
    return (Probe *)dev;
}

void fixture_setup(void)
{
    GError *err = NULL;

    slots = g_array_new(FALSE, FALSE, sizeof(Slot));
    slot_changes = 0;
    memset(gsi_level, 0, sizeof gsi_level);
    loop = event_loop_new("test", &err);
    ck_assert(loop != NULL);
    event_loop_bind(loop);
    reclaim_thread_register();
    reclaim_set_loop(loop);
    device_set_classes(classes);
    vm = vm_new(loop);
    vm->accel = &note_accel;
}

void fixture_teardown(void)
{
    vm_free(vm);
    reclaim_set_loop(NULL);
    reclaim_poll();
    event_loop_free(loop);
    g_array_unref(slots);
}

void run_until_flag(bool *flag)
{
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        event_loop_iterate(loop, 10 * NS_PER_MS);
        ck_assert_msg(g_get_monotonic_time() < end, "waited too long");
    }
}

typedef struct {
    CoroutineFn fn;
    void *data;
    bool done;
} Run;

static void coroutine_fn run_one(void *data)
{
    Run *r = data;

    r->fn(r->data);
    r->done = true;
}

void run_in_coroutine(CoroutineFn fn, void *data)
{
    Run r = {.fn = fn, .data = data};

    coroutine_start(run_one, &r);
    run_until_flag(&r.done);
}
