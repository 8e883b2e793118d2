/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who sits at a monitor: commands, chosen by the seed, as their handlers in monitor/ carry them
 * out. */
#include "cd.h"
#include "chain.h"
#include "pc.h"
#include "wire.h"

#include <string.h>
#include "base/util.h"
#include "net/net.h"
#include "../../block/core.h"

typedef struct {
    const char *name;
    unsigned weight;
    const char *fault; /* that it brings out, see explore.c */
    bool (*can)(void);
    void coroutine_fn (*run)(Rand *rand);
} Command;

static unsigned commands_given; /* by all monitors */

/* A machine that was saved. Main loop. */
static struct {
    GByteArray *stream;
    size_t pos;
    void *guest;
    unsigned plugged; /* the set of devices then */
    bool busy;        /* a monitor is at it */
    Rand rand;        /* how long the stream takes */
} saved;

static bool stands(RunState state)
{
    return state != RUN_STATE_RUNNING && state != RUN_STATE_SUSPENDED;
}

static bool always(void)
{
    return true;
}

static void coroutine_fn run_stop(Rand *rand)
{
    if (!stands(vm_run_state(world.vm))) {
        vm_pause(world.vm, RUN_STATE_PAUSED);
        if (!stands(vm_run_state(world.vm))) {
            baton_fail("after 'stop' the state is '%s'", run_state_name(vm_run_state(world.vm)));
        }
    }
}

static void coroutine_fn run_cont(Rand *rand)
{
    block_io_status_reset_all();
    if (vm_resume(world.vm, NULL) && stands(vm_run_state(world.vm))) {
        baton_fail("after 'cont' the state is '%s'", run_state_name(vm_run_state(world.vm)));
    }
}

static void coroutine_fn run_reset(Rand *rand)
{
    vm_request_reset(world.vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
}

static void coroutine_fn run_wakeup(Rand *rand)
{
    if (vm_run_state(world.vm) == RUN_STATE_SUSPENDED) {
        vm_request_wakeup(world.vm, "monitor");
    }
}

static void coroutine_fn run_powerdown(Rand *rand)
{
    vm_request_powerdown(world.vm);
}

static void coroutine_fn run_query(Rand *rand)
{
    json_decref(block_query());
    json_decref(block_query_stats());
    g_free(device_tree_text(world.vm));
}

static void coroutine_fn run_flush(Rand *rand)
{
    block_flush_all();
}

/* One of those behind virtio, IDE, USB and the floppy controller. */
static unsigned some_disk(Rand *rand)
{
    const WorldConfig *c = &world.config;
    unsigned disk = rand_below(rand, c->disks + c->ide_disks + usb_present() + floppy_present());

    if (disk < c->disks) {
        return disk;
    }
    disk -= c->disks;
    if (disk < c->ide_disks) {
        return DISK_IDE + disk;
    }
    return disk == c->ide_disks && usb_present() ? DISK_STICK : DISK_FLOPPY;
}

static char *disk_node(unsigned disk)
{
    return disk == 0 && chain_present() ? g_strdup(chain_top()) : g_strdup_printf("node%u", disk);
}

static void coroutine_fn run_block_resize(Rand *rand)
{
    g_autofree char *name = disk_node(some_disk(rand));
    BlockNode *node = block_node_find(name);

    if (!node) {
        return; /* by drive_del */
    }
    block_resize(node, DISK_SECTOR * (DISK_SECTORS + rand_below(rand, DISK_MORE + 1)), NULL);
}

static void coroutine_fn run_device_add(Rand *rand)
{
    unsigned disk = rand_below(rand, world.config.disks);
    g_autofree char *node = disk_node(disk);
    json_t *config = world_disk_config(disk, node);

    if (!(disk == 0 && chain_moves()) && device_add(world.vm, config, true, NULL)) {
        world.present[disk] = true;
        world.plugged++;
    }
    json_decref(config);
}

/* One that realize refuses, late: the slot is taken, and given back. */
static void coroutine_fn run_device_add_fails(Rand *rand)
{
    json_t *config = world_disk_config(rand_below(rand, world.config.disks), "no such node");

    g_assert(!device_add(world.vm, config, true, NULL));
    json_decref(config);
}

/* A console, whose ports come and go by themselves or with it. */
static void console_part_add(json_t *config)
{
    if (device_add(world.vm, config, true, NULL)) {
        world.plugged++;
    }
    json_decref(config);
}

static void coroutine_fn run_console_add(Rand *rand)
{
    console_part_add(json_pack("{s:s,s:s,s:o,s:s}", "driver", "virtio-serial-pci", "id", "console",
                               "addr", json_sprintf("%x", SLOT_CONSOLE), "disable-legacy", "on"));
}

static void coroutine_fn run_port_add(Rand *rand)
{
    console_part_add(json_pack("{s:s,s:s,s:s,s:s}", "driver", "virtconsole", "id", "port", "bus",
                               "console.0", "chardev", "null"));
}

static void coroutine_fn run_console_del(Rand *rand)
{
    device_del(world.vm, rand_below(rand, 2) ? "port" : "console", NULL);
}

static void coroutine_fn run_device_del(Rand *rand)
{
    unsigned disk = rand_below(rand, world.config.disks);
    g_autofree char *id = g_strdup_printf("disk%u", disk);

    device_del(world.vm, id, NULL);
}

/* The network card and its wire. */

static bool has_nic(void)
{
    return world.config.nic;
}

static void coroutine_fn run_nic_add(Rand *rand)
{
    json_t *config = world_nic_config();

    if (device_add(world.vm, config, true, NULL)) {
        world.nic_present = true;
        world.plugged++;
        wire_changed();
    }
    json_decref(config);
}

static void coroutine_fn run_nic_del(Rand *rand)
{
    device_del(world.vm, "nic", NULL);
}

static void coroutine_fn run_netdev_add(Rand *rand)
{
    if (!wire_present()) {
        wire_create();
    }
}

static void coroutine_fn run_netdev_del(Rand *rand)
{
    wire_changed();
    netdev_del("wire", NULL);
}

static void coroutine_fn run_set_link(Rand *rand)
{
    NetPeer *peer = net_find(rand_below(rand, 2) ? "wire" : "nic");

    if (peer) {
        wire_changed();
        net_set_link(peer, rand_below(rand, 2));
    }
}

/* Save and load. A stream takes its time: whatever may come and go meanwhile does. */

static void coroutine_fn stream_wait(void)
{
    coroutine_sleep(CLOCK_REALTIME_NS, rand_below(&saved.rand, 3) * 50000);
}

static bool coroutine_fn stream_write(VmStream *s, const void *buf, size_t len, GError **err)
{
    stream_wait();
    g_byte_array_append(saved.stream, buf, len);
    return true;
}

static bool coroutine_fn stream_read(VmStream *s, void *buf, size_t len, GError **err)
{
    stream_wait();
    if (len > saved.stream->len - saved.pos) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_IO, "the stream ends");
        return false;
    }
    memcpy(buf, saved.stream->data + saved.pos, len);
    saved.pos += len;
    return true;
}

static bool stream_left(VmStream *s, uint64_t *bytes)
{
    *bytes = saved.stream->len - saved.pos;
    return true;
}

static VmStream stream = {.write = stream_write, .read = stream_read, .left = stream_left};

static bool can_save(void)
{
    return !saved.busy && world.config.saves;
}

static void coroutine_fn run_save(Rand *rand)
{
    g_autoptr(GError) err = NULL;
    bool held;

    saved.busy = true;
    saved.rand = *rand;
    held = vm_hold(world.vm, RUN_STATE_SAVE_VM, NULL);
    if (held) {
        g_clear_pointer(&saved.guest, g_free);
        g_clear_pointer(&saved.stream, g_byte_array_unref);
        saved.stream = g_byte_array_new();
        if (!vm_save(world.vm, &stream, &err)) {
            baton_fail("cannot save: %s", err->message);
        }
        saved.guest = guest_save();
        saved.plugged = world.plugged;
    }
    saved.busy = false;
    if (held) {
        vm_release(world.vm);
    }
}

static bool same_devices(void)
{
    return saved.guest && saved.plugged == world.plugged;
}

static bool can_load(void)
{
    /* What was saved of the images is over: jobs, and the guest, have changed them since. */
    return can_save() && same_devices() && !chain_present();
}

static void coroutine_fn run_load(Rand *rand)
{
    g_autoptr(GError) err = NULL;
    bool held;

    saved.busy = true;
    saved.rand = *rand;
    held = vm_hold(world.vm, RUN_STATE_RESTORE_VM, NULL);
    /* What comes and goes while it waits for the stop makes it another machine. */
    if (held && same_devices()) {
        saved.pos = 0;
        guest_load(saved.guest);
        if (!vm_load(world.vm, &stream, &err)) {
            baton_fail("cannot load: %s", err->message);
        }
    }
    saved.busy = false;
    if (held) {
        vm_release(world.vm);
    }
}

/* A stream that ends too soon: the machine goes on as it was. */
static void coroutine_fn run_load_fails(Rand *rand)
{
    bool held;

    saved.busy = true;
    saved.rand = *rand;
    held = vm_hold(world.vm, RUN_STATE_RESTORE_VM, NULL);
    if (held && same_devices()) {
        guint len = saved.stream->len;

        saved.stream->len = rand_below(rand, len);
        saved.pos = 0;
        if (vm_load(world.vm, &stream, NULL)) {
            baton_fail("loaded from %u of %u bytes", saved.stream->len, len);
        }
        saved.stream->len = len;
    }
    saved.busy = false;
    if (held) {
        vm_release(world.vm);
    }
}

/* The block graph. */

/* NULL: drive_del has taken it. */
static BlockNode *some_node(Rand *rand, char **filter)
{
    unsigned disk = some_disk(rand);
    g_autofree char *name = disk_node(disk);

    *filter = g_strdup_printf("filter%u", disk);
    return block_node_find(name);
}

/* Inside the section no disk may have a request in flight, whatever the guest does. */
static void coroutine_fn run_drain(Rand *rand)
{
    g_autofree char *filter = NULL;
    BlockNode *node = some_node(rand, &filter);
    BlockDrain *drain;

    if (!node) {
        return;
    }
    block_node_ref(node);
    drain = block_drain_begin(node);
    for (unsigned i = 0; i < 4; i++) {
        BlockBackend *blk = NULL;

        for (unsigned j = 0; j < node->core->parents->len; j++) {
            BlockEdge *e = node->core->parents->pdata[j];
            blk = e->parent_node ? blk : e->parent;
        }
        if (blk && blk->root == node && block_backend_in_flight(blk)) {
            baton_fail("%u requests in flight in a drained section", block_backend_in_flight(blk));
        }
        coroutine_sleep(CLOCK_REALTIME_NS, rand_below(rand, 100) * 1000);
    }
    block_drain_end(drain);
    block_node_unref(node);
}

static void coroutine_fn run_filter(Rand *rand)
{
    g_autofree char *name = NULL;
    BlockNode *node = some_node(rand, &name);
    BlockNode *filter = block_node_find(name);
    json_t *j;

    if (!node) {
        return;
    }
    if (filter) {
        if (block_remove_filter(filter, node, NULL)) {
            block_node_del_monitor_owned(name, NULL);
        }
        return;
    }
    block_node_ref(node);
    j = json_pack("{s:s,s:s,s:s}", "driver", "raw", "node-name", name, "file",
                  node->opts.node_name);
    if (block_node_add_monitor_owned(j, NULL)) {
        /* Another monitor may have taken it away while this one waits for the drain. */
        filter = block_node_ref(block_node_find(name));
        block_insert_above(filter, node, NULL);
        block_node_unref(filter);
    }
    block_node_unref(node);
    json_decref(j);
}

static void coroutine_fn run_reopen(Rand *rand)
{
    g_autofree char *filter = NULL;
    BlockNode *node = some_node(rand, &filter);
    json_t *configs;

    if (!node) {
        return;
    }
    configs = json_pack("[{s:s,s:s,s:s,s:s}]", "driver", node->driver->name, "node-name",
                        node->opts.node_name, "file", node->file->opts.node_name, "detect-zeroes",
                        rand_below(rand, 2) ? "on" : "off");

    block_reopen(configs, NULL); /* a flush may fail */
    json_decref(configs);
}

/* An image's metadata is read anew, which may fail where disks do. */
static void coroutine_fn activate_again(void)
{
    bool may_fail = chain_present() && world.config.error_in;

    for (unsigned try = 0; try < 200; try++) {
        g_autoptr(GError) err = NULL;

        if (block_activate_all(&err)) {
            return;
        }
        if (!may_fail || try == 199) {
            baton_fail("cannot activate: %s", err->message);
        }
    }
}

static void coroutine_fn run_inactivate(Rand *rand)
{
    bool held;

    saved.busy = true;
    held = vm_hold(world.vm, RUN_STATE_RESTORE_VM, NULL);
    if (held && block_inactivate_all(NULL)) {
        coroutine_sleep(CLOCK_REALTIME_NS, rand_below(rand, 100) * 1000);
        activate_again();
    }
    saved.busy = false;
    if (held) {
        vm_release(world.vm);
    }
}

/*
 * Nobody writes to a disk of a machine that stands, where no other monitor gives a command
 * meanwhile: then the image is empty.
 */
static void coroutine_fn run_commit_drive(Rand *rand)
{
    unsigned given = commands_given;
    bool stood = stands(vm_run_state(world.vm)), done = chain_commit_drive(rand);

    if (done && stood && stands(vm_run_state(world.vm)) && given == commands_given &&
        !chain_top_is_empty()) {
        baton_fail("after 'commit' the disk's image has data");
    }
}

static const Command commands[] = {
    {"drain", 3, NULL, always, run_drain},
    {"filter", 3, NULL, always, run_filter},
    {"reopen", 3, NULL, always, run_reopen},
    {"inactivate", 2, NULL, can_save, run_inactivate},
    {"stream", 5, NULL, chain_present, chain_run_stream},
    {"commit", 5, NULL, chain_present, chain_run_commit},
    {"commit_drive", 10, NULL, chain_present, run_commit_drive},
    {"hold", 2, NULL, chain_present, chain_run_hold},
    {"mirror", 4, NULL, chain_present, chain_run_mirror},
    {"job_complete", 3, NULL, chain_present, chain_run_job_complete},
    {"backup", 4, NULL, chain_present, chain_run_backup},
    {"snapshot", 2, NULL, chain_present, chain_run_snapshot},
    {"savevm", 4, NULL, chain_present, chain_run_savevm},
    {"savevm_live", 4, NULL, chain_present, chain_run_savevm_live},
    {"loadvm", 8, NULL, chain_present, chain_run_loadvm},
    {"delvm", 1, NULL, chain_present, chain_run_delvm},
    {"limits", 3, NULL, always, chain_run_limits},
    {"job_cancel", 2, NULL, chain_present, chain_run_job_cancel},
    {"job_pause", 3, NULL, chain_present, chain_run_job_pause},
    {"job_resume", 5, NULL, chain_present, chain_run_job_resume},
    {"job_speed", 2, NULL, chain_present, chain_run_job_speed},

    {"stop", 6, NULL, always, run_stop},
    {"cont", 12, NULL, always, run_cont},
    {"system_reset", 2, NULL, always, run_reset},
    {"system_wakeup", 6, NULL, always, run_wakeup},
    {"system_powerdown", 1, NULL, always, run_powerdown},
    {"query", 2, NULL, always, run_query},
    {"flush", 2, NULL, always, run_flush},
    {"block_resize", 3, NULL, always, run_block_resize},
    {"cd_change", 6, NULL, always, cd_run_change},
    {"cd_eject", 2, NULL, always, cd_run_eject},
    {"drive_del", 1, NULL, ide_present, ide_run_drive_del},
    {"floppy_eject", 3, NULL, floppy_present, floppy_run_eject},
    {"floppy_insert", 5, NULL, floppy_present, floppy_run_insert},
    {"sendkey", 4, NULL, always, input_run_sendkey},
    {"input-send-event", 4, NULL, always, input_run_events},
    {"mouse_set", 1, NULL, always, input_run_mouse_set},
    {"hid_add", 3, NULL, usb_present, hid_run_add},
    {"hid_del", 2, NULL, usb_present, hid_run_del},
    {"stick_add", 8, NULL, usb_present, usb_run_stick_add},
    {"stick_add-fails", 1, NULL, usb_present, usb_run_stick_add_fails},
    {"stick_del", 5, NULL, usb_present, usb_run_stick_del},
    {"hub_add", 3, NULL, usb_has_hub, usb_run_hub_add},
    {"hub_del", 2, NULL, usb_has_hub, usb_run_hub_del},
    {"device_add", 6, NULL, always, run_device_add},
    {"device_add-fails", 2, NULL, always, run_device_add_fails},
    {"device_del", 3, NULL, always, run_device_del},
    {"console_add", 2, NULL, always, run_console_add},
    {"port_add", 3, NULL, always, run_port_add},
    {"console_del", 3, NULL, always, run_console_del},
    {"nic_add", 3, NULL, has_nic, run_nic_add},
    {"nic_del", 1, NULL, has_nic, run_nic_del},
    {"netdev_add", 4, NULL, has_nic, run_netdev_add},
    {"netdev_del", 1, NULL, has_nic, run_netdev_del},
    {"set_link", 3, NULL, has_nic, run_set_link},
    {"save", 4, NULL, can_save, run_save},
    {"load", 4, NULL, can_load, run_load},
    {"load-fails", 2, NULL, can_load, run_load_fails},
};

/* What this machine has no device for, or what cannot be now, takes no turn. */
static unsigned command_weight(const Command *c)
{
    return world_mixes(c->name, c->fault) && c->can() ? c->weight : 0;
}

static const Command *choose_command(Rand *rand)
{
    unsigned total = 0, at;

    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        total += command_weight(&commands[i]);
    }
    at = rand_below(rand, total ? total : 1);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        unsigned weight = command_weight(&commands[i]);

        if (at < weight) {
            return &commands[i];
        }
        at -= weight;
    }
    return NULL;
}

void coroutine_fn operator_run(void *data)
{
    Rand *rand = data;

    for (unsigned n = 0; n < world.config.monitor_quota; n++) {
        coroutine_sleep(CLOCK_REALTIME_NS, rand_below(rand, 400 * world.config.pace) * 1000);
        const Command *c = choose_command(rand);
        if (c) {
            sched_point("a monitor gives a command");
            commands_given++;
            baton_note("%s", c->name);
            c->run(rand);
            baton_note("%s is done: %s", c->name, run_state_name(vm_run_state(world.vm)));
        }
    }
    world.monitors_left--;
}
