/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Walks the array of device classes. Each class has the mandatory members; a device of it can be
 * created and destroyed without a trace; its saved state is restored (save, scramble, load, save).
 */
#include <unistd.h>

#include "../vm/fixture.h"

#include "block/backend.h"
#include "chardev/chardev.h"
#include "base/keyval.h"
#include "base/reclaim.h"
#include "devices/devices.h"
#include "devices/i440fx.h"

/* Properties that a class requires. */
static const struct {
    const char *class, *props;
} needed[] = {
    {"ide-hd", "drive=d0"},
    {"isa-debugcon", "chardev=c0"},
    {"mc146818rtc", "x-clock=vm"},
    {"usb-storage", "drive=d0"},
    {"virtio-blk-pci", "drive=d0"},
    {"virtio-blk-pci-transitional", "drive=d0"},
    {"virtio-blk-pci-non-transitional", "drive=d0"},
};

static char *disk;

/* Parts of the kernel's irqchip: their state is in KVM, and the guest tests cover it. */
static bool needs_kvm(const DeviceClass *class)
{
    return g_str_has_prefix(class->name, "kvm");
}

static bool is_proxied(const DeviceClass *class)
{
    return !class->bus || !strcmp(class->bus, "virtio-bus");
}

static const char *props_of(const DeviceClass *class)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!strcmp(needed[i].class, class->name)) {
            return needed[i].props;
        }
    }
    return "";
}

static Device *make(const char *name, const char *bus_name, const char *props)
{
    const DeviceClass *class = device_class_find(name);
    g_autofree char *text = g_strdup_printf("x=y%s%s", *props ? "," : "", props);
    json_t *j = keyval_parse(text, NULL, NULL, false, NULL);
    GError *err = NULL;
    Bus *bus = NULL;
    Device *dev;

    ck_assert_msg(class != NULL, "%s", name);
    json_object_del(j, "x");
    if (strcmp(class->bus, "System")) {
        bus = bus_find(vm, bus_name, class->bus, &err);
        ck_assert_msg(bus != NULL, "%s: %s", name, err ? err->message : "");
    }
    dev = device_create(vm, class, bus, NULL, j, &err);
    ck_assert_msg(dev != NULL, "%s: %s", name, err ? err->message : "");
    ck_assert_msg(device_realize(dev, &err), "%s: %s", name, err ? err->message : "");
    json_decref(j);
    return dev;
}

static RamBlock *ram;

static void board(void)
{
    Device *north;
    RamBlock *bios;

    ram = ram_block_new(vm, "pc.ram", 2 * MiB, NULL);
    bios = ram_block_new(vm, "pc.bios", 256 * KiB, NULL);
    bios->migratable = false;
    make("i440FX-pcihost", NULL, "");
    north = make("i440FX", NULL, "addr=0");
    i440fx_set_memory(north, ram, bios, 0, 256 * KiB);
    make("PIIX3", NULL, "addr=1.0");
    make("piix3-ide", NULL, "addr=1.1");
    make("piix3-usb-uhci", NULL, "addr=1.2");
    make("PIIX4_PM", NULL, "addr=1.3");
    make("i8257", "isa.0", "");
    make("isa-fdc", "isa.0", "");
    ioapic_connect(make("ioapic", NULL, ""), make("isa-i8259", NULL, ""));
}

static void setup(void)
{
    GError *err = NULL;
    json_t *j;
    int fd;

    fixture_setup();
    virtual_clock_make_manual(); /* else the time would differ between two saves */
    device_set_classes(all_device_classes);
    fd = g_file_open_tmp("vmm-disk-XXXXXX", &disk, NULL);
    ck_assert(fd >= 0 && !ftruncate(fd, 1 * MiB));
    close(fd);
    j = json_pack("{s:s, s:s, s:s, s:s}", "id", "d0", "if", "none", "format", "raw", "file", disk);
    ck_assert_msg(block_backend_new_drive(j, &err) != NULL, "%s", err ? err->message : "");
    json_decref(j);
    j = json_pack("{s:s, s:s}", "id", "c0", "backend", "null");
    ck_assert_msg(chardev_add(j, &err) != NULL, "%s", err ? err->message : "");
    json_decref(j);
    board();
}

static void teardown(void)
{
    vm_free(vm);
    block_backend_free_all();
    chardev_close_all();
    reclaim_set_loop(NULL);
    reclaim_poll();
    event_loop_free(loop);
    g_array_unref(slots);
    unlink(disk);
    g_free(disk);
}

static Device *found;

static void find_class(Device *dev, void *data)
{
    if (dev->class == data) {
        found = dev;
    }
}

/* The board's device of the class, or a new one. NULL: the class cannot be tested here. */
static Device *have(const DeviceClass *class)
{
    found = NULL;
    device_foreach(vm, find_class, (void *)class);
    if (found || needs_kvm(class) || is_proxied(class)) {
        return found;
    }
    if (!strcmp(class->bus, "virtio-serial-bus")) {
        make("virtio-serial-pci", NULL, "");
    }
    return make(class->name, NULL, props_of(class));
}

static void check_table(const DeviceClass *class, const Property *table)
{
    for (const Property *p = table; p && p->name; p++) {
        ck_assert_msg(p->flags & PROP_FLAG_HIDDEN || (p->help && *p->help), "%s.%s has no help",
                      class->name, p->name);
        ck_assert_msg(p->offset < class->size, "%s.%s lies outside", class->name, p->name);
        for (const Property *q = table; q < p; q++) {
            ck_assert_msg(strcmp(p->name, q->name), "%s.%s twice", class->name, p->name);
        }
    }
}

START_TEST(says_what_it_must)
{
    const DeviceClass *class = all_device_classes[_i];

    ck_assert(class->name && class->bus && class->desc && *class->desc);
    ck_assert_msg(class->reset != NULL, "%s: reset", class->name);
    ck_assert_msg(class->state != NULL, "%s: state", class->name);
    ck_assert_msg(class->realize != NULL, "%s: realize", class->name);
    ck_assert_msg(class->object_parent != NULL, "%s: object_parent", class->name);
    ck_assert_msg(class->size >= sizeof(Device), "%s: size", class->name);
    ck_assert(device_class_find(class->name) == class);
    for (unsigned i = 0; i < (unsigned)_i; i++) {
        ck_assert_str_ne(class->name, all_device_classes[i]->name);
    }
    for (const StateSection *s = class->state; s->desc; s++) {
        ck_assert_msg(s->offset + s->desc()->size <= class->size, "%s: state %s lies outside",
                      class->name, s->desc()->name);
    }
    check_table(class, class->props);
    check_table(class, class->bus_props);
}
END_TEST

static void scramble(Device *dev, uint32_t *seed)
{
    for (const StateSection *s = dev->class->state; s->desc; s++) {
        state_scramble(s->desc(), (char *)dev + s->offset, seed);
    }
    if (dev->child) {
        scramble(dev->child, seed);
    }
}

static bool has_state(const Device *dev)
{
    return dev && (dev->class->state->desc || has_state(dev->child));
}

static void reset_one(Device *dev, void *data)
{
    if (!dev->parent) {
        device_reset(dev, RESET_COLD);
    }
}

static bool equal(const GByteArray *a, const GByteArray *b)
{
    return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

START_TEST(state_comes_back)
{
    Device *dev = have(all_device_classes[_i]);
    g_autoptr(GByteArray) first = g_byte_array_new();
    g_autoptr(GByteArray) changed = g_byte_array_new();
    g_autoptr(GByteArray) again = g_byte_array_new();
    GError *err = NULL;
    uint32_t seed = 12345 + _i;

    if (!dev) {
        return;
    }
    device_foreach(vm, reset_one, NULL);
    ck_assert(vm_save_devices(vm, first, NULL));
    for (unsigned i = 0; i < 64 && (!i || equal(first, changed)); i++) {
        scramble(dev, &seed); /* a single bool may come out as it was */
        g_byte_array_set_size(changed, 0);
        ck_assert(vm_save_devices(vm, changed, NULL));
    }
    ck_assert_msg(equal(first, changed) == !has_state(dev), "%s: a change is not seen in the save",
                  dev->class->name);
    ck_assert_msg(vm_load_devices(vm, first->data, first->len, &err), "%s: %s", dev->class->name,
                  err ? err->message : "");
    ck_assert(vm_save_devices(vm, again, NULL));
    ck_assert_msg(equal(first, again), "%s: saved state differs after load", dev->class->name);
}
END_TEST

/* Random content of valid form is loaded or refused, without a crash. */
START_TEST(any_state_is_survived)
{
    Device *dev = have(all_device_classes[_i]);
    g_autoptr(GByteArray) good = g_byte_array_new();
    GError *err = NULL;
    uint32_t seed = 777 + _i;

    if (!has_state(dev)) {
        return;
    }
    device_foreach(vm, reset_one, NULL);
    ck_assert(vm_save_devices(vm, good, NULL));
    for (unsigned round = 0; round < 8; round++) {
        g_autoptr(GByteArray) wild = g_byte_array_new();

        scramble(dev, &seed);
        ck_assert(vm_save_devices(vm, wild, NULL));
        ck_assert(vm_load_devices(vm, good->data, good->len, &err));
        if (!vm_load_devices(vm, wild->data, wild->len, &err)) {
            ck_assert(err && *err->message);
            g_clear_error(&err);
            continue;
        }
        for (uint64_t port = 0; port < 0x1000; port++) {
            uint8_t byte;

            cpu_access(vm, IO_SPACE_PIO, port, &byte, 1, false);
        }
        for (unsigned i = 0; i < 4; i++) {
            event_loop_iterate(loop, 0);
        }
        device_reset(dev, RESET_WARM);
    }
}
END_TEST

START_TEST(leaves_no_trace)
{
    const DeviceClass *class = all_device_classes[_i];
    g_autofree char *before = NULL, *after = NULL;
    Device *dev;

    found = NULL;
    device_foreach(vm, find_class, (void *)class);
    if (found || needs_kvm(class) || is_proxied(class)) {
        return; /* the board's devices are created and destroyed by every test */
    }
    if (!strcmp(class->bus, "virtio-serial-bus")) {
        make("virtio-serial-pci", NULL, "");
    }
    before = memory_tree_text(vm, false);
    dev = make(class->name, NULL, props_of(class));
    device_reset(dev, RESET_COLD);
    if (!strcmp(class->bus, "PCI")) {
        pci_assign_resources(pci_root(vm), 0xc000, 0xe0000000, 0, i440fx_pci_irq);
    }
    device_reset(dev, RESET_WARM);
    device_destroy(dev);
    event_loop_iterate(loop, 0);
    after = memory_tree_text(vm, false);
    if (!strcmp(class->bus, "PCI")) {
        return; /* assignment moves other devices' BARs, too; test_pci.c tests mappings */
    }
    ck_assert_str_eq(before, after);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("classes");
    int n = 0;

    while (all_device_classes[n]) {
        n++;
    }
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, says_what_it_must, 0, n);
    tcase_add_loop_test(tcase, state_comes_back, 0, n);
    tcase_add_loop_test(tcase, any_state_is_survived, 0, n);
    tcase_add_loop_test(tcase, leaves_no_trace, 0, n);
    return unit_run_case("devices_classes", tcase);
}
