/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine, its end, and what must hold then. */
#include "world.h"
#include "wire.h"

#include "cd.h"
#include "chain.h"
#include "pc.h"

#include <string.h>
#include "../../block/core.h"
#include "../../block/drivers/drivers.h"
#include "../../src/vm/snapshot_ram.h"
#include "base/keyval.h"
#include "base/reclaim.h"
#include "base/util.h"
#include "block/backend.h"
#include "chardev/chardev.h"
#include "devices/devices.h"
#include "devices/isa.h"
#include "devices/pci.h"
#include "net/net.h"
#include "vm/events.h"
#include "vm/iothread.h"

enum { DRAIN_LOOKS = 400 };

World world;

static RamBlock *ram;
static IoRegion low;
static Rand operators[MONITOR_MAX];

static bool is_in(const char *list, const char *name)
{
    g_autofree char *key = g_strdup_printf(",%s,", name);

    return list && strstr(list, key);
}

bool world_shows(const char *fault)
{
    return (world.config.all && !is_in(world.config.skip, fault)) ||
           is_in(world.config.only, fault);
}

bool world_mixes(const char *name, const char *fault)
{
    if (world.config.only || is_in(world.config.skip, name)) {
        return is_in(world.config.only, name);
    }
    return !fault || world_shows(fault);
}

void world_configure(WorldConfig *c, uint64_t seed)
{
    Rand r;

    rand_seed(&r, seed ^ 0x776f726c64);
    c->seed = seed;
    c->cpus = 1 + rand_below(&r, CPU_MAX);
    c->monitors = 1 + rand_below(&r, MONITOR_MAX);
    c->iothreads = rand_below(&r, IOTHREAD_MAX + 1);
    c->disks = 1 + rand_below(&r, DISK_MAX);
    c->queues = 1 + rand_below(&r, QUEUE_MAX);
    c->queue_size = 4u << rand_below(&r, 3);
    for (unsigned i = 1; i < c->disks; i++) {
        c->absent |= rand_one_in(&r, 4) ? 1u << i : 0;
    }
    c->packed = rand_one_in(&r, 4);
    c->event_idx = !rand_one_in(&r, 3);
    c->ioeventfd = !rand_one_in(&r, 4);
    c->guest_quota = 60 + rand_below(&r, 120);
    c->monitor_quota = 6 + rand_below(&r, 14);
    c->error_in = rand_one_in(&r, 4) ? 20 : 0;
    c->nospace_in = rand_one_in(&r, 3) ? 20 : 0;
    c->saves = rand_one_in(&r, 3);
    c->intx = rand_one_in(&r, 4);
    c->stops = rand_one_in(&r, 2);
    c->nic = !rand_one_in(&r, 3);
    c->ide_disks = rand_below(&r, DISK_IDE_MAX + 1);
    c->usb = rand_one_in(&r, 3) ? USB_IS_NONE : USB_IS_UHCI + rand_below(&r, USB_IS_XHCI);
    c->floppy = rand_one_in(&r, 3);
    c->wild |= rand_one_in(&r, 6);
    c->chain = rand_one_in(&r, 2);
    c->pace = c->usb ? 16u << rand_below(&r, 3) : 1;
    c->points |= rand_one_in(&r, 6);
}

/* The accelerator. */

static bool cpu_create(Vcpu *cpu, GError **err)
{
    return true;
}

static VcpuExit cpu_run(Vcpu *cpu, bool complete)
{
    return complete ? VCPU_EXIT_INTERRUPTED : guest_step(cpu);
}

static void set_gsi(Vm *vm, unsigned gsi, bool level)
{
    guest_look();
}

static void send_msi(Vm *vm, uint64_t addr, uint32_t data)
{
    guest_interrupt(addr, data);
}

static bool memory_slot(Vm *vm, uint64_t gpa, RamBlock *block, uint64_t offset, uint64_t size,
                        bool readonly, bool add, bool log)
{
    return true;
}

/* The guest's CPUs write to memory as they like, of which there is no log here. */
static void dirty_fetch(Vm *vm, RamBlock *block)
{
    memory_mark_dirty(vm, block, 0, block->size);
}

static const Accel explorer_accel = {
    .name = "explorer",
    .has_vcpus = true,
    .vcpu_create = cpu_create,
    .vcpu_run = cpu_run,
    .vcpu_kick = guest_kick,
    .set_gsi = set_gsi,
    .send_msi = send_msi,
    .memory_slot = memory_slot,
    .dirty_fetch = dirty_fetch,
};

/* CPUs without registers; what the guest knows is guest.c's to save. */
#define NO_CPU_STATE(X) X(F, uint32_t, nothing)
STATE_STRUCT(NoCpuState, NO_CPU_STATE);
STATE_DESC(no_cpu, NoCpuState, NO_CPU_STATE, 1);

static bool cpu_init(Vcpu *cpu, GError **err)
{
    return true;
}

static void cpu_reset(Vcpu *cpu)
{
}

static bool cpu_get_state(Vcpu *cpu, void *state, GError **err)
{
    return true;
}

static bool cpu_set_state(Vcpu *cpu, const void *state, GError **err)
{
    return true;
}

static const ArchOps explorer_arch = {
    .name = "explorer",
    .vcpu_init = cpu_init,
    .vcpu_reset = cpu_reset,
    .state_desc = no_cpu_state_desc,
    .state_get = cpu_get_state,
    .state_set = cpu_set_state,
};

void world_must(bool ok, GError **err)
{
    if (!ok) {
        baton_fail("cannot set the scene: %s", err && *err ? (*err)->message : "");
    }
}

/* The machine. */

/* 20 us of the virtual clock, for some. */
static unsigned poll_max_ns(void)
{
    return world.config.seed % 2 ? 20000 : 0;
}

static void iothreads_create(void)
{
    static const ObjectClass *const classes[] = {&iothread_class, NULL};

    object_set_classes(classes);
    for (unsigned i = 0; i < world.config.iothreads; i++) {
        g_autoptr(GError) err = NULL;
        json_t *j = json_pack("{s:s,s:o,s:i}", "qom-type", "iothread", "id",
                              json_sprintf("io%u", i), "poll-max-ns", poll_max_ns());
        world_must(object_create(j, &err) != NULL, &err);
        json_decref(j);
    }
}

static void nodes_create(void)
{
    block_drivers_add(&seeddisk_driver);
    block_drivers_add(&cd_disc_driver);
    cd_create_discs();
    for (unsigned i = 0; i < world.config.disks; i++) {
        g_autoptr(GError) err = NULL;

        if (i == 0 && chain_present()) {
            chain_create();
            continue;
        }
        json_t *j = json_pack("{s:s,s:o,s:{s:s,s:i}}", "driver", "raw", "node-name",
                              json_sprintf("node%u", i), "file", "driver", "seeddisk", "index", i);
        world_must(block_node_add_monitor_owned(j, &err), &err);
        json_decref(j);
    }
    ide_create_drives();
    usb_create_node();
    floppy_create_node();
}

json_t *world_disk_config(unsigned disk, const char *node)
{
    const WorldConfig *c = &world.config;
    const char *werror = c->nospace_in ? "enospc" : "report";
    json_t *j =
        json_pack("{s:s,s:o,s:s,s:o,s:i,s:i,s:b,s:b,s:s,s:s,s:s}", "driver", "virtio-blk-pci", "id",
                  json_sprintf("disk%u", disk), "drive", node, "addr",
                  json_sprintf("%x", SLOT_FIRST + disk), "num-queues", c->queues, "queue-size", 16,
                  "packed", c->packed, "ioeventfd", c->ioeventfd, "disable-legacy", "on", "werror",
                  c->stops ? "stop" : werror, "rerror", c->stops ? "stop" : "report");

    if (c->intx) {
        json_object_set_new(j, "vectors", json_integer(0));
    }
    if (c->iothreads && disk != 3) {
        json_object_set_new(j, "iothread", json_sprintf("io%u", disk % c->iothreads));
    }
    return j;
}

json_t *world_nic_config(void)
{
    json_t *j = json_pack("{s:s,s:s,s:o,s:i,s:i,s:b,s:b,s:s}", "driver", "virtio-net-pci", "id",
                          "nic", "addr", json_sprintf("%x", SLOT_NIC), "rx_queue_size", 256,
                          "tx_queue_size", 256, "packed", world.config.packed, "ioeventfd",
                          world.config.ioeventfd, "disable-legacy", "on");

    if (wire_present()) {
        json_object_set_new(j, "netdev", json_string("wire"));
    }
    return j;
}

static void heard(const VmEvent *event, json_t *data, void *user)
{
    const char *id = json_string_value(json_object_get(data, "device"));

    baton_note("event %s %s", event->name, id ? id : "");
    chain_heard(event->name);
    if (!strcmp(event->name, "DEVICE_DELETED") && id && g_str_has_prefix(id, "disk")) {
        unsigned disk = id[4] - '0';

        world.present[disk] = false;
        world.plugged++;
        guest_forget(disk);
    } else if (!strcmp(event->name, "DEVICE_DELETED")) {
        if (!g_strcmp0(id, "nic")) {
            world.nic_present = false;
            guest_forget(DISK_MAX);
        }
        world.plugged++;
    }
}

static void on_reset(void *data)
{
    guest_forget(-1);
    __atomic_store_n(&world.suspended, false, __ATOMIC_SEQ_CST);
}

static void on_suspend(void *data)
{
    __atomic_store_n(&world.suspended, true, __ATOMIC_SEQ_CST);
}

static void intx_changed(Device *owner, unsigned n, bool level)
{
    guest_set_intx(n, level);
}

/* A pin for each disk, where a board has PIRQs: PIIX3 gives slot n pin n - 1. */
static void intx_create(Device *host)
{
    static IrqPin pins[DISK_MAX];

    G_STATIC_ASSERT(SLOT_FIRST % DISK_MAX == 0);
    for (unsigned i = 0; i < DISK_MAX; i++) {
        irq_pin_init(&pins[i], host, intx_changed, (i + 1) % DISK_MAX);
    }
    pci_bus_set_irq_pins(world.pci, pins, DISK_MAX);
}

static void machine_create(EventLoop *loop)
{
    GError *err = NULL;
    Device *host, *bridge;
    Bus *pci;
    Vm *vm;

    device_set_classes(all_device_classes);
    world.vm = vm = vm_new(loop);
    vm->accel = &explorer_accel;
    vm->arch = &explorer_arch;
    vm->smp.cpus = vm->smp.maxcpus = vm->smp.sockets = world.config.cpus;
    snapshot_map_least = 4096;
    ram = ram_block_new(vm, "pc.ram", RAM_SIZE, NULL);
    io_region_init_ram(&low, NULL, ram, 0, RAM_SIZE, false, "low");
    io_region_map(vm, &low, IO_SPACE_MEM, 0, 0);
    world.ram = ram->host;
    host = device_new(vm, "i440FX-pcihost", NULL, "i440fx", NULL, NULL);
    pci = host->buses->pdata[0];
    world.pci = pci_root(vm);
    bridge = device_new(vm, "PIIX3", pci, NULL, &err, "addr", "1.0", NULL);
    world_must(bridge != NULL, &err);
    isa_create(bridge->buses->pdata[0]);
    cd_create_drive(pci);
    ide_create_disks();
    usb_create(pci);
    world_must(device_new(vm, "PIIX4_PM", pci, NULL, &err, "addr", "1.3", NULL) != NULL, &err);
    intx_create(host);
    for (unsigned i = 0; i < world.config.disks; i++) {
        g_autofree char *node = g_strdup_printf("node%u", i);
        if (world.config.absent >> i & 1) {
            continue;
        }
        json_t *j = world_disk_config(i, node);

        world_must(device_add(vm, j, false, &err) != NULL, &err);
        json_decref(j);
        world.present[i] = true;
    }
    if (world.config.nic) {
        json_t *j = world_nic_config();

        world_must(device_add(vm, j, false, &err) != NULL, &err);
        json_decref(j);
        world.nic_present = true;
    }
    vm_set_event_listener(vm, heard, NULL);
    vm_notifier_add(vm, VM_NOTIFY_RESET, on_reset, NULL);
    vm_notifier_add(vm, VM_NOTIFY_SUSPEND, on_suspend, NULL);
    guest_init();
    world_must(vcpus_create(vm, &err), &err);
}

/* The end. */

static void coroutine_fn run_again(void)
{
    switch (vm_run_state(world.vm)) {
    case RUN_STATE_RUNNING:
        break;
    case RUN_STATE_SUSPENDED:
        vm_request_wakeup(world.vm, "the end");
        break;
    case RUN_STATE_INTERNAL_ERROR:
        vm_request_reset(world.vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
        break;
    default:
        block_io_status_reset_all();
        vm_resume(world.vm, NULL);
        break;
    }
}

/*
 * Nobody gives commands: after a while the clock goes just where the state says so. Threads that
 * run as they like may take longer on a busy host.
 */
static void coroutine_fn check_settled(void)
{
    for (unsigned i = 0; i < DRAIN_LOOKS; i++) {
        coroutine_sleep(CLOCK_REALTIME_NS, 20 * NS_PER_MS);
        RunState state = vm_run_state(world.vm);
        bool lives = state == RUN_STATE_RUNNING || state == RUN_STATE_SUSPENDED;

        if (lives != virtual_clock_frozen()) {
            return;
        }
        if (baton_active() || i == DRAIN_LOOKS - 1) {
            baton_fail("the state is '%s', and the clock %s", run_state_name(state),
                       lives ? "stands" : "goes");
        }
    }
}

/* With nothing new to do and no errors, all that was asked for is answered. */
static void coroutine_fn drain_guest(void)
{
    for (unsigned i = 0; i < DRAIN_LOOKS; i++) {
        g_autoptr(GString) why = g_string_new("");

        run_again();
        coroutine_sleep(CLOCK_REALTIME_NS, (baton_active() ? 1 : 25) * NS_PER_MS);
        if (vm_running(world.vm) && guest_idle(why)) {
            return;
        }
        if (chain_present() && chain_takes_no_writes()) {
            baton_note("the disk's image takes no writes");
            return;
        }
        if (i == DRAIN_LOOKS - 1) {
            baton_fail("no end: the state is '%s'%s.%s", run_state_name(vm_run_state(world.vm)),
                       virtual_clock_frozen() ? " and the clock stands" : "", why->str);
        }
    }
}

static void check_backend(BlockBackend *blk, void *data)
{
    if (blk->in_flight || blk->quiesce || blk->held || blk->drained.head || blk->released.head) {
        baton_fail("the backend of %s: %u in flight, %u drains%s", blk->device, blk->in_flight,
                   blk->quiesce, blk->held ? ", requests are held" : "");
    }
}

static void check_node(BlockNode *node, void *data)
{
    if (node->in_flight || node->quiesce) {
        baton_fail("node %s: %u in flight, %u drains", node->opts.node_name, node->in_flight,
                   node->quiesce);
    }
}

static void coroutine_fn check_disks(void)
{
    if (chain_present()) {
        chain_read(disks[0].data);
    }
    /* Of the others it cannot be said what was written to them. */
    for (unsigned i = 0; i < (world.config.wild ? DISK_IDE : DISK_ALL); i++) {
        for (unsigned s = 0; s < DISK_SECTORS; s++) {
            uint32_t v = ldle32(disks[i].data + s * DISK_SECTOR);

            if (!disk_fits(&disks[i].model[s], v)) {
                baton_fail("disk %u, sector %u holds 0x%x, not 0x%x", i, s, v,
                           disks[i].model[s].values[0]);
            }
        }
    }
}

static void coroutine_fn scenario(void *data)
{
    vm_reset(world.vm, SHUTDOWN_CAUSE_NONE);
    vm_resume(world.vm, NULL);
    world.monitors_left = world.config.monitors;
    for (unsigned i = 0; i < world.config.monitors; i++) {
        rand_seed(&operators[i], world.config.seed * MONITOR_MAX + i + 7777777);
        coroutine_start(operator_run, &operators[i]);
    }
    while (world.monitors_left) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    __atomic_store_n(&world.ending, true, __ATOMIC_RELAXED);
    disks_heal();
    wire_heal();
    chain_end_limits();
    check_settled();
    drain_guest();
    chain_end_jobs();
    chain_end_lives();
    if (vm_running(world.vm)) {
        wire_check(world.nic_present);
    }
    vm_pause(world.vm, RUN_STATE_PAUSED);
    if (disks_pending()) {
        baton_fail("paused, and %u requests are with the disks", disks_pending());
    }
    block_backend_foreach(check_backend, NULL);
    block_node_foreach(check_node, NULL);
    check_disks();
    event_loop_quit(world.vm->loop);
}

void world_run(void)
{
    EventLoop *loop = event_loop_new("main", NULL);
    Rand rand;

    event_loop_bind(loop);
    reclaim_thread_register();
    reclaim_set_loop(loop);
    rand_seed(&rand, world.config.seed ^ 0x6469736b);
    disks_start(&rand, world.config.error_in, world.config.nospace_in, world.config.pace);
    iothreads_create();
    nodes_create();
    if (world.config.nic) {
        wire_start(world.config.seed);
    }
    world_must(chardev_from_short("null", "null", NULL) != NULL, NULL);
    machine_create(loop);
    coroutine_start(scenario, NULL);
    event_loop_run(loop);
    vcpus_destroy(world.vm);
    io_region_unmap(world.vm, &low);
    vm_free(world.vm);
    net_cleanup();
    chardev_close_all();
    block_backend_free_all();
    block_node_close_all();
    object_delete_all();
    disks_stop();
    reclaim_set_loop(NULL);
    reclaim_poll();
    event_loop_free(loop);
}
