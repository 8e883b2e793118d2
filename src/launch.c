/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Builds the machine from the configuration tree and starts it. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/object.h"
#include "base/qemu_names.h"
#include "block/backend.h"
#include "chardev/chardev.h"
#include "devices/pci.h"
#include "launch.h"
#include "monitor/gdb.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "ui/vc.h"
#include "ui/curses.h"
#include "ui/vnc.h"
#include "vm/qtest.h"
#include "vm/snapshot.h"
#include "vm/vcpu.h"
#include "x86/x86.h"

static bool launch_object_is_late(json_t *item)
{
    const ObjectClass *class = object_class_of(item, NULL);

    return class && class->after_networks;
}

static bool launch_add_object(Vm *vm, json_t *item, GError **err)
{
    return launch_object_is_late(item) || object_create(item, err);
}

static bool launch_add_late_object(Vm *vm, json_t *item, GError **err)
{
    return !launch_object_is_late(item) || object_create(item, err);
}

/* There are no sound devices, so only the driver 'none' is accepted. */
static bool launch_add_audiodev(Vm *vm, json_t *item, GError **err)
{
    const char *driver = json_str(item, "driver");

    if (!g_strcmp0(driver, "none")) {
        return true;
    }
    return !driver ? error_set(err, "Invalid parameter type for 'driver', expected: string")
                   : !qemu_name_refused(QEMU_AUDIODEV, driver, err) &&
                         error_set(err, "Parameter 'driver' does not accept value '%s'", driver);
}

static bool launch_add_chardev(Vm *vm, json_t *item, GError **err)
{
    const char *id = json_str(item, "id");
    Chardev *chr = id && !id_check(id, err) ? NULL : chardev_add(item, err);

    if (chr) {
        launch_announce(chr);
    }
    return chr;
}

static bool launch_add_netdev(Vm *vm, json_t *item, GError **err)
{
    return netdev_add(item, err);
}

static bool add_net(Vm *vm, json_t *item, GError **err)
{
    return net_option_net(item, err);
}

static bool add_nic(Vm *vm, json_t *item, GError **err)
{
    return net_option_nic(item, err);
}

static bool launch_add_blockdev(Vm *vm, json_t *item, GError **err)
{
    return block_node_add_monitor_owned(item, err);
}

static bool launch_add_device(Vm *vm, json_t *item, GError **err)
{
    return device_add(vm, item, false, err) != NULL;
}

/* What options imply; it gets its place before the devices of -device. */
static bool launch_add_onboard(Vm *vm, json_t *config, GError **err)
{
    json_t *item;
    size_t i;

    json_array_foreach(json_object_get(config, "onboard"), i, item)
    {
        if (!device_add_onboard(vm, item, err)) {
            g_autofree char *text = launch_option_text("device", item);

            g_prefix_error(err, "-device %s: ", text);
            return false;
        }
    }
    return true;
}

static bool add_data_dir(Vm *vm, json_t *item, GError **err)
{
    host_add_data_dir(json_string_value(item));
    return true;
}

/* "driver=DRIVER,property=PROPERTY,value=VALUE", the form for properties with a dot in the name. */
static bool add_global_keys(const char *text, GError **err)
{
    static const char *const names[] = {"driver", "property", "value", NULL};
    json_t *keys = keyval_parse(text, NULL, NULL, false, err), *item;
    const char *driver = json_str(keys, "driver"), *property = json_str(keys, "property"),
               *value = json_str(keys, "value"), *key;
    bool ok = keys != NULL;

    json_object_foreach(keys, key, item)
    {
        ok =
            ok && (g_strv_contains(names, key) || error_unknown_name(err, "parameter", key, names));
    }
    if (ok && (!driver || !property || !value)) {
        ok = error_set(err, "expected DRIVER.PROPERTY=VALUE, or the keys 'driver', 'property' and "
                            "'value', all three");
    }
    if (ok) {
        device_add_global(driver, property, value);
    }
    json_decref(keys);
    return ok;
}

static bool add_global(Vm *vm, json_t *item, GError **err)
{
    const char *text = json_string_value(item), *dot = strchr(text, '.'),
               *equals = strchr(text, '=');
    g_autofree char *driver = NULL, *prop = NULL;

    if (!equals) {
        return error_set(err, "expected DRIVER.PROPERTY=VALUE, or driver=DRIVER,property=PROPERTY,"
                              "value=VALUE");
    }
    if (!dot || dot > equals || dot == text || equals == dot + 1) {
        return add_global_keys(text, err);
    }
    driver = g_strndup(text, dot - text);
    prop = g_strndup(dot + 1, equals - dot - 1);
    device_add_global(driver, prop, equals + 1);
    return true;
}

static bool add_fdset(Vm *vm, json_t *item, GError **err)
{
    uint64_t fd, set;
    const char *fd_text = json_str(item, "fd"), *set_text = json_str(item, "set");

    if (!fd_text || !parse_uint(fd_text, G_MAXINT, &fd)) {
        return error_set(err, "Parameter 'fd' expects the number of an open file descriptor");
    }
    if (!set_text || !parse_uint(set_text, G_MAXINT, &set)) {
        return error_set(err, "Parameter 'set' expects a number");
    }
    if (fd <= STDERR_FILENO) {
        return error_set(err, "fd cannot be a standard I/O stream");
    }
    return host_fdset_add(set, fd, json_str(item, "opaque"), err) >= 0;
}

/* -drive: disks, and the devices that 'if=' implies. */

enum { IDE_BUSES = 2, FLOPPY_DRIVES = 2 };

static json_t *virtio_drive_device(json_t *drive, const char *id)
{
    static const char *const inherited[] = {"serial", "werror", "rerror", "addr", NULL};
    json_t *device = json_pack("{s:s,s:s}", "driver", "virtio-blk-pci", "drive", id);

    for (const char *const *k = inherited; *k; k++) {
        json_t *value = json_object_get(drive, *k);

        if (value) {
            json_object_set(device, *k, value);
        }
    }
    return device;
}

/* Serial number and error policy are the backend's. */
static json_t *ide_drive_device(BlockBackend *blk)
{
    const BlockDriveInfo *info = block_backend_drive_info(blk);
    g_autofree char *bus = g_strdup_printf("ide.%d", info->bus);
    g_autofree char *unit = g_strdup_printf("%d", info->unit);

    return json_pack("{s:s,s:s,s:s,s:s}", "driver", info->is_cdrom ? "ide-cd" : "ide-hd", "drive",
                     block_backend_name(blk), "bus", bus, "unit", unit);
}

static json_t *floppy_drive_device(BlockBackend *blk)
{
    g_autofree char *unit = g_strdup_printf("%d", block_backend_drive_info(blk)->unit);

    return json_pack("{s:s,s:s,s:s,s:s}", "driver", "floppy", "drive", block_backend_name(blk),
                     "bus", "floppy-bus.0", "unit", unit);
}

static bool launch_no_place(const char *interface, const BlockDriveInfo *info, GError **err)
{
    return error_set(err, "machine type does not support if=%s,bus=%d,unit=%d", interface,
                     info->bus, info->unit);
}

static bool unsupported_interface(const char *name, const char *const *names, GError **err)
{
    const char *near = nearest_name(name, names);

    if (!qemu_name_known(QEMU_DRIVE_IF, name)) {
        return error_set(err, "unsupported bus type '%s'%s%s%s", name,
                         near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return error_set(err, "'if=%s' is not in this program yet: use %s", name,
                     !strcmp(name, "pflash") ? "-bios for firmware"
                                             : "if=virtio, or if=none and a -device");
}

/* Disks and floppy drives that are the board's go to 'onboard', those of -device to 'devices'. */
static bool add_drive(json_t *drive, json_t *onboard, json_t *devices, GError **err)
{
    static const char *const interfaces[] = {"ide", "virtio", "floppy", "none", NULL};
    const char *interface = json_str(drive, "if");
    const BlockDriveInfo *info;
    BlockBackend *blk;

    if (interface && !g_strv_contains(interfaces, interface)) {
        return unsupported_interface(interface, interfaces, err);
    }
    blk = block_backend_new_drive(drive, err);
    if (!blk) {
        return false;
    }
    info = block_backend_drive_info(blk);
    if (info->if_type == BLOCK_IF_VIRTIO) {
        json_array_append_new(devices, virtio_drive_device(drive, block_backend_name(blk)));
    } else if (info->if_type == BLOCK_IF_IDE) {
        if (info->bus >= IDE_BUSES) {
            return launch_no_place("ide", info, err);
        }
        json_array_append_new(onboard, ide_drive_device(blk));
    } else if (info->if_type == BLOCK_IF_FLOPPY) {
        if (info->bus || info->unit >= FLOPPY_DRIVES) {
            return launch_no_place("floppy", info, err);
        }
        json_array_append_new(onboard, floppy_drive_device(blk));
    }
    return true;
}

static bool launch_has_device(json_t *config, const char *const *classes)
{
    json_t *device;
    size_t i;

    json_array_foreach(json_object_get(config, "device"), i, device)
    {
        const DeviceClass *class = device_class_find(json_str(device, "driver"));

        if (class && g_strv_contains(classes, class->name)) {
            return true;
        }
    }
    return false;
}

/* As QEMU's machine: a place to put a CD in, and one for a floppy disk. */
static bool add_default_drives(Vm *vm, json_t *config, json_t *onboard, json_t *devices,
                               GError **err)
{
    static const char *const ide[] = {"ide-cd", "ide-hd", NULL}, *const floppy[] = {"floppy", NULL};
    json_auto_t *cd = json_pack("{s:s,s:s,s:s}", "if", "ide", "index", "2", "media", "cdrom");
    json_auto_t *fd = json_pack("{s:s,s:s}", "if", "floppy", "index", "0");

    if (!vm->machine_class->default_drives || json_object_get(config, "nodefaults")) {
        return true;
    }
    return (launch_has_device(config, ide) || block_backend_find_place(BLOCK_IF_IDE, 1, 0) ||
            add_drive(cd, onboard, devices, err)) &&
           (launch_has_device(config, floppy) || block_backend_find_place(BLOCK_IF_FLOPPY, 0, 0) ||
            add_drive(fd, onboard, devices, err));
}

/* 'option' and 'text': what the user typed, for errors. */
static bool launch_add_drive(json_t *config, const char *option, const char *text, json_t *drive,
                             json_t *onboard, json_t *devices, GError **err)
{
    if (json_object_get(config, "snapshot") && !json_object_get(drive, "snapshot")) {
        json_object_set_new(drive, "snapshot", json_string("on"));
    }
    if (!add_drive(drive, onboard, devices, err)) {
        g_prefix_error(err, "%s%s%s: ", option, *option ? " " : "", text);
        return false;
    }
    return true;
}

/*
 * -hda to -hdd, -cdrom, and words that are no options: drives of IDE; -fda and -fdb. They come
 * before those of -drive, which take the places that are left.
 */
static bool add_image_drives(json_t *config, json_t *onboard, json_t *devices, GError **err)
{
    static const struct {
        const char *key, *option, *interface, *media, *index;
    } places[] = {{"image", "", "ide", "disk", "0"},      {"hda", "-hda", "ide", "disk", "0"},
                  {"hdb", "-hdb", "ide", "disk", "1"},    {"hdc", "-hdc", "ide", "disk", "2"},
                  {"hdd", "-hdd", "ide", "disk", "3"},    {"cdrom", "-cdrom", "ide", "cdrom", "2"},
                  {"fda", "-fda", "floppy", "disk", "0"}, {"fdb", "-fdb", "floppy", "disk", "1"}};
    json_t *image;
    size_t n;

    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        json_array_foreach(json_object_get(config, places[i].key), n, image)
        {
            json_auto_t *drive =
                json_pack("{s:O,s:s,s:s,s:s}", "file", image, "if", places[i].interface, "index",
                          places[i].index, "media", places[i].media);

            if (!launch_add_drive(config, places[i].option, json_string_value(image), drive,
                                  onboard, devices, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool add_drives(Vm *vm, json_t *config, json_t *devices, GError **err)
{
    json_auto_t *onboard = json_array();
    json_t *drive;
    size_t i;

    if (!add_image_drives(config, onboard, devices, err)) {
        return false;
    }
    json_array_foreach(json_object_get(config, "drive"), i, drive)
    {
        g_autofree char *text = launch_option_text("drive", drive);

        if (!launch_add_drive(config, "-drive", text, drive, onboard, devices, err)) {
            return false;
        }
    }
    json_array_foreach(json_object_get(config, "usb_drive"), i, drive)
    {
        if (!launch_add_drive(config, "-usbdevice", json_str(drive, "usbdevice"),
                              json_object_get(drive, "drive"), onboard, devices, err)) {
            return false;
        }
    }
    if (!add_default_drives(vm, config, onboard, devices, err)) {
        return false;
    }
    json_array_extend(onboard, json_object_get(config, "onboard"));
    json_object_set(config, "onboard", onboard);
    return true;
}

/* Networks: -netdev, -net, -nic, and the default network card. */

static bool add_network(Vm *vm, json_t *config, GError **err)
{
    bool asked = json_object_get(config, "netdev") || json_object_get(config, "net") ||
                 json_object_get(config, "nic");

    if (!launch_each(vm, config, "netdev", launch_add_netdev, err) ||
        !launch_each(vm, config, "net", add_net, err) ||
        !launch_each(vm, config, "nic", add_nic, err)) {
        return false;
    }
    return (asked || json_object_get(config, "nodefaults") || !vm->machine_class->default_nic ||
            net_add_default(err)) &&
           launch_each(vm, config, "object", launch_add_late_object, err);
}

/* Words of -vga; those without a class are QEMU's. */
static const struct {
    const char *name, *class;
} vga_words[] = {{"std", "VGA"}, {"cirrus"}, {"cg3"},   {"qxl"}, {"tcx"},
                 {"virtio"},     {"vmware"}, {"xenfb"}, {NULL}};

static bool add_vga(Vm *vm, json_t *config, GError **err)
{
    static const char *const words[] = {"none", "std", NULL}, *const adapters[] = {"VGA", NULL};
    const char *word = json_str(config, "vga");
    PciBus *bus = pci_root(vm);

    if (!word && !json_object_get(config, "nodefaults") && !launch_has_device(config, adapters)) {
        word = vm->machine_class->default_vga;
    }
    if (!word || !strcmp(word, "none")) {
        return true;
    }
    for (unsigned i = 0; vga_words[i].name; i++) {
        if (strcmp(word, vga_words[i].name)) {
            continue;
        }
        if (!vga_words[i].class) {
            return error_set(err, "-vga %s is not in this program: use -vga std", word);
        }
        return bus ? device_new(vm, vga_words[i].class, &bus->bus, NULL, err, NULL) != NULL
                   : error_set(err, "-vga %s: machine '%s' has no place for a display adapter",
                               word, vm->machine_class->name);
    }
    return error_unknown_name(err, "display adapter of -vga", word, words);
}

static bool add_nics(Vm *vm, GError **err)
{
    GPtrArray *requests = net_nic_requests();

    for (unsigned i = 0; i < requests->len; i++) {
        NetNicRequest *r = requests->pdata[i];
        const char *model = r->model ? r->model : vm->machine_class->default_nic;
        const DeviceClass *class;
        json_t *device;
        bool ok;

        if (!model) {
            return error_set(err, "machine '%s' has no place for a network card",
                             vm->machine_class->name);
        }
        model = !strcmp(model, "virtio") ? "virtio-net-pci" : model;
        class = device_class_find(model);
        if (!class && qemu_name_known(QEMU_DEVICE, model)) {
            return error_set(err,
                             "network card '%s' is not in this program yet (-nic model=help lists "
                             "those that are)",
                             model);
        }
        if (!class || class->category != DEVICE_CATEGORY_NETWORK) {
            return error_set(err, "Unsupported NIC model: %s (-nic model=help lists them)", model);
        }
        device = json_pack("{s:s}", "driver", model);
        if (r->netdev) {
            json_object_set_new(device, "netdev", json_string(r->netdev));
        }
        if (r->macaddr) {
            json_object_set_new(device, "mac", json_string(r->macaddr));
        }
        if (r->addr) {
            json_object_set_new(device, "addr", json_string(r->addr));
        }
        if (r->id) {
            json_object_set_new(device, "id", json_string(r->id));
        }
        if (r->vectors >= 0) {
            json_object_set_new(device, "vectors", json_integer(r->vectors));
        }
        ok = device_add_onboard(vm, device, err);
        json_decref(device);
        if (!ok) {
            g_prefix_error(err, "network card '%s': ", model);
            return false;
        }
        r->used = true;
    }
    return true;
}

/* The accelerator: -accel, or accel= of -machine; kvm by default. */

static bool choose_accel(Vm *vm, json_t *config, GError **err)
{
    json_t *list = json_incref(json_object_get(config, "accel")),
           *machine = json_object_get(config, "machine");
    const char *name = json_str(machine, "accel"), *irqchip = json_str(machine, "kernel-irqchip");
    json_t *first;
    bool ok;

    /* QEMU refuses -accel with accel= always; here they may name the same accelerator. */
    if (json_array_size(list) == 1 && name &&
        !g_strcmp0(json_str(json_array_get(list, 0), "accel"), name)) {
        name = NULL;
    }
    irqchip = irqchip ? irqchip : json_str(machine, "kernel_irqchip");
    if (list && name) {
        json_decref(list);
        return error_set(err, "The -accel and \"-machine accel=\" options are incompatible");
    }
    if (!list) {
        list = json_pack("[{s:s}]", "accel", name ? name : "kvm");
    }
    first = json_array_get(list, 0);
    name = json_str(first, "accel");
    if (irqchip && (!name || g_str_has_prefix(name, "kvm"))) { /* without a name it is kvm */
        json_object_set_new(first, "kernel-irqchip", json_string(irqchip));
    }
    ok = accel_configure(vm, list, err);
    json_decref(list);
    return ok;
}

static bool choose_machine(Vm *vm, json_t *config, GError **err)
{
    const char *type = json_str(json_object_get(config, "machine"), "type");
    const MachineClass *class = type ? machine_find(type) : NULL;
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const MachineClass *const *m = machine_classes(); *m; m++) {
        if (!type && (*m)->is_default) {
            class = *m;
        }
        g_ptr_array_add(names, (gpointer)(*m)->name);
        if ((*m)->alias) {
            g_ptr_array_add(names, (gpointer)(*m)->alias);
        }
    }
    g_ptr_array_add(names, NULL);
    if (!class) {
        const char *near = nearest_name(type, (const char *const *)names->pdata);

        if (qemu_name_refused(QEMU_MACHINE, type, err)) {
            g_prefix_error(err, "-machine %s: ", type);
            return false;
        }
        return error_set(
            err,
            "unsupported machine type '%s'%s%s%s; use -machine help to list supported machines",
            type, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    machine_init(vm, class);
    return true;
}

static bool read_identity(Vm *vm, json_t *config, GError **err)
{
    static const Property uuid_prop = {.name = "uuid", .type = PROP_UUID};
    json_t *uuid = json_object_get(config, "uuid"), *name = json_object_get(config, "name");
    const char *process = json_str(name, "process");

    if (process) {
        prctl(PR_SET_NAME, process, 0, 0, 0); /* the kernel keeps 15 bytes */
    }
    vm->name = g_strdup(json_str(name, "guest"));
    vm->arch = &x86_arch;
    vm->uuid_set = uuid != NULL;
    return !uuid || property_set(&uuid_prop, vm->uuid, uuid, "-uuid", err);
}

static bool check_sandbox(json_t *config, GError **err)
{
    const char *text = json_str(config, "sandbox"), *enable;
    json_auto_t *sandbox = text ? keyval_parse(text, "enable", NULL, false, err) : NULL;
    bool on = true;

    if (!sandbox) {
        return !text;
    }
    enable = json_str(sandbox, "enable");
    if (!enable || !parse_bool(enable, &on) || on) {
        return error_set(err, "'-sandbox %s' is not in this program yet: only 'off' is", text);
    }
    return true;
}

static bool lock_memory(Vm *vm, json_t *config, GError **err)
{
    const char *text = json_str(json_object_get(config, "overcommit"), "mem-lock");
    const char *pm = json_str(json_object_get(config, "overcommit"), "cpu-pm");
    bool lock = false, cpu_pm = false;

    if ((text && !parse_bool(text, &lock)) || (pm && !parse_bool(pm, &cpu_pm))) {
        return error_set(err, "-overcommit: 'mem-lock' and 'cpu-pm' expect 'on' or 'off'");
    }
    if (cpu_pm) {
        return error_set(
            err,
            "-overcommit cpu-pm=on is not supported: the guest does not put host CPUs to sleep");
    }
    if (lock && mlockall(MCL_CURRENT | MCL_FUTURE)) {
        return error_set_errno(err, errno,
                               "-overcommit mem-lock=on: cannot lock memory (see 'ulimit -l')");
    }
    if (lock) {
        ram_is_locked(vm);
    }
    return true;
}

static bool open_backends(Vm *vm, json_t *config, GError **err)
{
    const char *escape = json_str(config, "echr");
    uint64_t code;

    if (escape) {
        if (!parse_uint(escape, 255, &code)) {
            return error_set(err, "-echr %s: expected the number of a character, from 0 to 255",
                             escape);
        }
        chardev_set_escape_char(code);
    }
    return launch_each(vm, config, "L", add_data_dir, err) &&
           launch_each(vm, config, "add-fd", add_fdset, err) &&
           launch_each(vm, config, "global", add_global, err) &&
           launch_each(vm, config, "audiodev", launch_add_audiodev, err) &&
           launch_each(vm, config, "object", launch_add_object, err) &&
           launch_each(vm, config, "chardev", launch_add_chardev, err);
}

static bool build_machine(Vm *vm, json_t *config, MachineConfig *mc, GError **err)
{
    const MachineClass *class = vm->machine_class;
    json_t *devices = json_object_get(config, "device");
    bool ok, cpus;

    if (!devices) {
        devices = json_array();
        json_object_set_new(config, "device", devices);
    }
    if (json_object_get(config, "no-named-files")) {
        block_forbid_named_files();
    }
    ok = launch_add_serials(config, mc, err) &&
         launch_each(vm, config, "blockdev", launch_add_blockdev, err) &&
         add_drives(vm, config, devices, err) && add_network(vm, config, err) &&
         lock_memory(vm, config, err) && check_sandbox(config, err);
    if (!ok) {
        return false;
    }
    vm->ram_size = mc->ram_size;
    /* Machine 'none' has a CPU only with -cpu; tools that probe KVM need none. */
    cpus = class->default_cpu || json_object_get(config, "cpu");
    if (cpus) {
        if (!x86_cpu_configure(vm, mc->cpu_model, mc->cpu_features, err)) {
            return false;
        }
        x86_cpu_objects_create(vm);
    }
    /*
     * Making KVM's interrupt controllers begins a grace period, and KVM takes the first memory slot
     * when that is over. The board and the vCPUs are made meanwhile. In one transaction, slots are
     * set once for the whole board.
     */
    memory_transaction_begin(vm);
    ok = class->create(vm, vm->machine, mc, err) && (!cpus || vcpus_create(vm, err));
    memory_transaction_commit(vm);
    return ok && memory_accepted(vm, err) && add_vga(vm, config, err) && add_nics(vm, err) &&
           launch_add_onboard(vm, config, err) && launch_add_debugcon(vm, config, err) &&
           launch_each(vm, config, "device", launch_add_device, err) &&
           class->finish(vm, vm->machine, mc, err);
}

static QtestServer *qtest_server;
static Expects *expects;

static void mux_quit(void *data)
{
    vm_request_shutdown(data, SHUTDOWN_CAUSE_HOST_UI);
}

typedef struct {
    Vm *vm;
    bool start;
    const char *snapshot; /* that the machine goes on from; NULL: none */
    bool done;
    GError *err;
} Start;

static void coroutine_fn power_on(void *data)
{
    Start *s = data;

    vm_power_on(s->vm, s->start && !s->snapshot);
    if (s->snapshot) {
        VmSnapshotRequest r = {.name = s->snapshot, .at_start = true};

        if (vm_snapshot_load(s->vm, &r, &s->err) && s->start) {
            vm_resume(s->vm, NULL);
        }
        s->done = true;
        return; /* power_on_from() frees */
    }
    g_free(s);
}

/* Nobody sees the machine before it is the one that was saved. */
static bool power_on_from(Vm *vm, const char *snapshot, bool start, GError **err)
{
    Start s = {.vm = vm, .start = start, .snapshot = snapshot};

    coroutine_start(power_on, &s);
    while (!s.done) {
        event_loop_iterate(vm->loop, -1);
    }
    if (s.err) {
        g_propagate_prefixed_error(err, s.err, "-loadvm %s: ", snapshot);
    }
    return !s.err;
}

bool app_launch(Vm *vm, json_t *config, GError **err)
{
    const char *qtest = json_str(config, "qtest"), *gdb = json_str(config, "gdb"), *snapshot;
    CharMuxHooks hooks = {.quit = mux_quit, .data = vm};
    MachineConfig mc = {0};
    Start *start;
    bool ok;

    chardev_set_mux_hooks(&hooks);
    vc_install(vm);
    if (!read_identity(vm, config, err) || !app_read_actions(vm, config, err) ||
        !choose_machine(vm, config, err) ||
        !app_read_smp(config, vm->machine_class->max_cpus, &vm->smp, err) ||
        !(expects = expects_new(vm, config, err)) || !open_backends(vm, config, err)) {
        return false;
    }
    ok = app_read_machine(vm, config, vm->machine_class, &mc, err) &&
         choose_accel(vm, config, err) && build_machine(vm, config, &mc, err);
    app_free_machine(&mc);
    if (!ok || !app_start_display(vm, config, err) || !launch_add_monitors(vm, config, err) ||
        (gdb && !gdb_server_start(vm, gdb, err)) || !app_start_curses(vm, config, err) ||
        !expects_start(expects, err)) {
        return false;
    }
    device_check_globals(NULL);
    net_check_peers();
    snapshot = json_str(config, "loadvm");
    if (snapshot) {
        if (!power_on_from(vm, snapshot, !json_object_get(config, "paused"), err)) {
            return false;
        }
    } else {
        start = g_new0(Start, 1);
        start->vm = vm;
        start->start = !json_object_get(config, "paused");
        coroutine_start(power_on, start);
    }
    /* Under -accel qtest power_on() has ended here, since there are no CPUs to wait for. */
    return !qtest ||
           (qtest_server = qtest_server_new(vm, qtest, json_str(config, "qtest-log"), err));
}

void app_unlaunch(Vm *vm)
{
    expects_stop(expects);
    gdb_server_cleanup(vm->exit_status);
    monitor_cleanup();
    host_fdset_close_all();
    g_clear_pointer(&qtest_server, qtest_server_free);
    curses_cleanup();
    vnc_cleanup(vm);
    vcpus_destroy(vm);
    machine_free(vm);
    vm_free(vm);
    g_clear_pointer(&expects, expects_free);
    net_cleanup();
    block_backend_free_all();
    block_node_close_all();
    chardev_close_all();
    object_delete_all();
}
