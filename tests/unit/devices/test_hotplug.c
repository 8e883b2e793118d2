/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot-plug of PCI devices: registers, ACPI events, QMP events. */
#include <linux/pci_regs.h>
#include <unistd.h>

#include "../vm/fixture.h"

#include "base/coroutine.h"
#include "base/error.h"
#include "base/keyval.h"
#include "devices/devices.h"
#include "devices/i440fx.h"
#include "devices/isa.h"

enum {
    UP = PIIX4_PCI_HOTPLUG_BASE,
    DOWN = PIIX4_PCI_HOTPLUG_BASE + 4,
    EJECT = PIIX4_PCI_HOTPLUG_BASE + 8,
    REMOVABLE = PIIX4_PCI_HOTPLUG_BASE + 12,
    GPE_STS = PIIX4_GPE_BASE,
    GPE_EN = PIIX4_GPE_BASE + 2,
    SCI = 9,
};

static Device *host;
static unsigned deleted;

static uint32_t inl(uint16_t port)
{
    uint32_t v = 0;

    cpu_access(vm, IO_SPACE_PIO, port, &v, 4, false);
    return v;
}

static void out(uint16_t port, uint32_t v, unsigned len)
{
    cpu_access(vm, IO_SPACE_PIO, port, &v, len, true);
}

static Device *add(const char *text, bool hot, GError **err)
{
    json_t *j = keyval_parse(text, "driver", NULL, false, NULL);
    Device *dev = device_add(vm, j, hot, err);

    json_decref(j);
    return dev;
}

static void heard(const VmEvent *event, json_t *data, void *user)
{
    if (!strcmp(event->name, "DEVICE_DELETED")) {
        deleted++;
    }
}

static void turn(void)
{
    for (unsigned i = 0; i < 8; i++) {
        event_loop_iterate(loop, 0);
    }
}

static void board(const char *pm_prop, const char *value)
{
    Bus *pci;

    host = device_new(vm, "i440FX-pcihost", NULL, "i440fx", NULL, NULL);
    pci = &pci_root(vm)->bus;
    ck_assert(device_new(vm, "PIIX3", pci, NULL, NULL, "addr", "1.0", NULL));
    ck_assert(device_new(vm, "PIIX4_PM", pci, NULL, NULL, "addr", "1.3", pm_prop, value, NULL));
    ck_assert(add("pci-testdev,id=cold,addr=4", false, NULL));
    device_reset(host, RESET_COLD);
    out(PIIX4_SMI_CMD, PIIX4_ACPI_ENABLE, 1);
    out(GPE_EN, 2, 1);
}

static void setup(void)
{
    fixture_setup();
    device_set_classes(all_device_classes);
    vm_set_event_listener(vm, heard, NULL);
    deleted = 0;
}

static bool del(const char *id, GError **err)
{
    return device_del(vm, id, err);
}

START_TEST(plug_and_unplug)
{
    GError *err = NULL;

    board("s4_val", "2");
    ck_assert_uint_eq(inl(UP), 0);
    ck_assert_uint_eq(inl(REMOVABLE), 0xfffffffd);
    ck_assert(add("pci-testdev,id=hot,addr=6", true, NULL));
    ck_assert(gsi_level[SCI]);
    out(GPE_STS, 2, 1);
    ck_assert(!gsi_level[SCI]);
    ck_assert_uint_eq(inl(UP), BIT(6));
    ck_assert_uint_eq(inl(UP), 0);
    ck_assert(!add("pci-testdev,addr=6.1", true, &err));
    ck_error(err, "single function");
    ck_assert(del("hot", NULL));
    ck_assert(gsi_level[SCI]);
    ck_assert_uint_eq(inl(DOWN), BIT(6));
    ck_assert(!del("hot", &err));
    ck_error(err, "already in the process of unplug");
    turn();
    ck_assert_uint_eq(deleted, 0);
    out(EJECT, BIT(6), 4);
    out(EJECT, BIT(6), 4);
    turn();
    ck_assert_uint_eq(deleted, 1);
    ck_assert(!pci_find_device(pci_root(vm), PCI_DEVFN(6, 0)));
    ck_assert_uint_eq(inl(DOWN), 0);
    /* The slot and the id can be used again. */
    ck_assert(add("pci-testdev,id=hot,addr=6", true, NULL));
    ck_assert_uint_eq(inl(UP), BIT(6));
    /* A guest may eject a device without a request. */
    out(EJECT, BIT(6), 4);
    turn();
    ck_assert_uint_eq(deleted, 2);
}
END_TEST

/* device_del removes a virtio-serial port only once, also while its parent is being removed. */
START_TEST(asked_for_twice)
{
    GError *err = NULL;

    board("s4_val", "2");
    ck_assert(add("virtio-serial-pci,id=vs,addr=6", true, NULL));
    ck_assert(add("virtserialport,id=a,nr=1", true, NULL));
    ck_assert(add("virtserialport,id=b,nr=2", true, NULL));
    ck_assert(del("a", NULL));
    ck_assert(!del("a", &err));
    ck_error(err, "already in the process of unplug");
    turn();
    ck_assert_uint_eq(deleted, 1);
    out(EJECT, BIT(6), 4);
    ck_assert(del("b", NULL));
    turn();
    ck_assert_uint_eq(deleted, 2);
    ck_assert(!device_find(vm, "b", NULL));
    ck_assert(!device_find(vm, "vs", NULL));
}
END_TEST

/* A request may point into the ROM of a device that is removed. */
START_TEST(rom_of_the_departed)
{
    g_autofree char *dir = g_dir_make_tmp("vmm-rom-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "boot.rom", NULL);
    g_autofree char *args = g_strdup_printf("pci-testdev,id=hot,addr=6,romfile=%s", path);
    const uint32_t config = PCI_DEVFN(6, 0) << 8;
    uint64_t len = 4096;
    uint8_t *host;

    ck_assert(g_file_set_contents(path, "some code", -1, NULL));
    board("s4_val", "2");
    ck_assert(add(args, true, NULL));
    pci_config_write(pci_root(vm), config + PCI_ROM_ADDRESS, 0xd0000001, 4);
    pci_config_write(pci_root(vm), config + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    host = dma_map(vm, 0xd0000000, &len, false);
    ck_assert(host);
    ck_assert_uint_eq(host[0], 's');
    out(EJECT, BIT(6), 4);
    turn();
    ck_assert_uint_eq(deleted, 1);
    ck_assert_uint_eq(host[0], 0);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(the_board_stays)
{
    GError *err = NULL;

    board("s4_val", "2");
    out(EJECT, BIT(1), 4);
    out(EJECT, BIT(0), 4);
    out(EJECT, BIT(31), 4);
    turn();
    ck_assert_uint_eq(deleted, 0);
    ck_assert(pci_find_device(pci_root(vm), PCI_DEVFN(1, 0)));
    ck_assert(!add("pc-testdev,id=isa", true, &err));
    ck_error(err, "does not support hotplugging");
}
END_TEST

START_TEST(functions_go_together)
{
    board("s4_val", "2");
    ck_assert(add("pci-testdev,id=f1,addr=7.1", true, NULL));
    ck_assert_uint_eq(inl(UP), 0); /* not announced before function 0 is added */
    ck_assert(add("pci-testdev,id=f0,addr=7.0,multifunction=on", true, NULL));
    ck_assert_uint_eq(inl(UP), BIT(7));
    ck_assert(del("f1", NULL));
    out(EJECT, BIT(7), 4);
    turn();
    ck_assert_uint_eq(deleted, 2);
    ck_assert(!pci_find_device(pci_root(vm), PCI_DEVFN(7, 0)));
    ck_assert(!pci_find_device(pci_root(vm), PCI_DEVFN(7, 1)));
}
END_TEST

START_TEST(reset_lets_go)
{
    board("s4_val", "2");
    ck_assert(del("cold", NULL));
    device_reset(host, RESET_WARM);
    turn();
    ck_assert_uint_eq(deleted, 1);
    ck_assert_uint_eq(inl(DOWN), 0);
}
END_TEST

START_TEST(older_form)
{
    board("acpi-pci-hotplug-with-bridge-support", "off");
    ck_assert(add("pci-testdev,id=hot,addr=6", true, NULL));
    ck_assert_uint_eq(inl(UP), BIT(6));
    ck_assert_uint_eq(inl(UP), BIT(6)); /* stays */
    out(PIIX4_PCI_HOTPLUG_BASE + 0x10, 5, 4);
    ck_assert_uint_eq(inl(PIIX4_PCI_HOTPLUG_BASE + 0x10), 0);
}
END_TEST

START_TEST(switched_off)
{
    GError *err = NULL;

    board("acpi-root-pci-hotplug", "off");
    ck_assert_uint_eq(inl(REMOVABLE), 0);
    ck_assert(add("pci-testdev,id=hot,addr=6", true, NULL));
    ck_assert_uint_eq(inl(UP), 0);
    ck_assert(!del("hot", &err));
    ck_error(err, "does not support hotplugging");
}
END_TEST

/* Removal requests survive a save and a load. */
START_TEST(state)
{
    g_autoptr(GByteArray) saved = g_byte_array_new();

    board("s4_val", "2");
    ck_assert(del("cold", NULL));
    ck_assert(vm_save_devices(vm, saved, NULL));
    out(GPE_EN, 0, 1);
    ck_assert(!gsi_level[SCI]);
    ck_assert(vm_load_devices(vm, saved->data, saved->len, NULL));
    ck_assert(gsi_level[SCI]);
    ck_assert_uint_eq(inl(DOWN), BIT(4));
    out(EJECT, BIT(4), 4);
    turn();
    ck_assert_uint_eq(deleted, 1);
}
END_TEST

/* A function that notes, at each step of its life, whether a guest finds it in its slot. */
typedef struct {
    PciDevice pci;
    bool fails;
} Watcher;

enum { WATCHED = PCI_DEVFN(6, 0) };

static struct {
    bool in_realize, in_reset, in_unrealize, on_bus_in_drain;
    unsigned resets;
    bool may_end; /* what drain waits for */
} watched;

static bool guest_finds_it(void)
{
    return pci_config_read(pci_root(vm), WATCHED << 8, 2) != 0xffff;
}

static bool watcher_realize(Device *dev, GError **err)
{
    watched.in_realize = guest_finds_it();
    out(EJECT, BIT(6), 4);
    return !container_of(dev, Watcher, pci.dev)->fails || error_set(err, "as it was told");
}

static void watcher_reset(Device *dev, ResetKind kind)
{
    watched.resets++;
    watched.in_reset |= pci_find_device(pci_root(vm), WATCHED) != NULL;
    pci_device_only_reset(dev, kind);
}

static void coroutine_fn watcher_drain(Device *dev)
{
    while (!watched.may_end) {
        coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    }
    watched.on_bus_in_drain = g_ptr_array_find(dev->bus->children, dev, NULL);
}

static void watcher_unrealize(Device *dev)
{
    watched.in_unrealize = guest_finds_it();
}

static const StateSection watcher_state[] = {PCI_STATE(Watcher, pci), {0}};
static const Property watcher_props[] = {
    PROP("fails", PROP_BOOL, Watcher, fails, "off", "its realize fails"), PROP_END};
static const PciDeviceInfo watcher_info = {.vendor_id = 0x1234, .device_id = 1};
static const DeviceClass watcher_class = {
    .name = "watcher",
    .bus = "PCI",
    .desc = "a function that watches its life",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Watcher),
    .props = watcher_props,
    .bus_props = pci_device_props,
    .state = watcher_state,
    .realize = watcher_realize,
    .unrealize = watcher_unrealize,
    .reset = watcher_reset,
    .drain = watcher_drain,
    .bus_data = &watcher_info,
    .hotpluggable = true,
};

static void watcher_board(void)
{
    static const DeviceClass *classes[256];
    unsigned n = 0;

    classes[n++] = &watcher_class;
    for (const DeviceClass *const *c = all_device_classes; *c; c++) {
        g_assert(n < G_N_ELEMENTS(classes) - 1);
        classes[n++] = *c;
    }
    device_set_classes(classes);
    memset(&watched, 0, sizeof watched);
    board("s4_val", "2");
}

/* Before its realize is over a guest does not find the device, nor can it eject it. */
START_TEST(shown_when_whole)
{
    GError *err = NULL;

    watcher_board();
    ck_assert(!add("watcher,id=w,addr=6,fails=on", true, &err));
    ck_error(err, "as it was told");
    turn();
    ck_assert(!watched.in_realize && !guest_finds_it());
    ck_assert_uint_eq(deleted, 0);
    ck_assert(add("watcher,id=w,addr=6", true, NULL));
    ck_assert(!watched.in_realize && !watched.in_reset);
    ck_assert_uint_eq(watched.resets, 1);
    turn();
    ck_assert(guest_finds_it());
    ck_assert_uint_eq(deleted, 0);
}
END_TEST

static void coroutine_fn look(void *data)
{
    *(int *)data = guest_finds_it();
}

static void coroutine_fn add_again(void *data)
{
    *(int *)data = add("pci-testdev,id=w,addr=6", true, NULL) != NULL;
}

static void coroutine_fn hold(void *data)
{
    int *held = data;

    *held = vm_hold_paused(vm, NULL);
    vm_release(vm);
}

/*
 * A device that leaves: what it has under way is waited for first. Meanwhile accesses wait, resets
 * pass it by, and another device, a save or a load has to wait.
 */
START_TEST(gone_then_let_go)
{
    int found = -1, added = -1, held = -1;

    watcher_board();
    ck_assert(add("watcher,id=w,addr=6", true, NULL));
    watched.resets = 0;
    out(EJECT, BIT(6), 4);
    turn();
    coroutine_start(look, &found);
    coroutine_start(add_again, &added);
    coroutine_start(hold, &held);
    out(EJECT, BIT(6), 4);
    device_reset(host, RESET_WARM);
    turn();
    ck_assert_int_eq(found, -1);
    ck_assert_int_eq(added, -1);
    ck_assert_int_eq(held, -1);
    ck_assert_uint_eq(deleted, 0);
    watched.may_end = true;
    while (held == -1) {
        event_loop_iterate(loop, -1);
    }
    ck_assert_uint_eq(watched.resets, 0);
    ck_assert(!watched.on_bus_in_drain && !watched.in_unrealize);
    ck_assert_uint_eq(deleted, 1);
    ck_assert_int_eq(found, 0);
    ck_assert_int_eq(added, 1);
    ck_assert_int_eq(held, 1);
    ck_assert_uint_eq(inl(UP), BIT(6));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {plug_and_unplug,  asked_for_twice,       rom_of_the_departed,
                                  the_board_stays,  functions_go_together, reset_lets_go,
                                  older_form,       switched_off,          state,
                                  shown_when_whole, gone_then_let_go,      NULL};
    TCase *tcase = tcase_create("hotplug");

    tcase_add_checked_fixture(tcase, setup, fixture_teardown);
    tcase_set_timeout(tcase, 60);
    for (const TTest *const *t = tests; *t; t++) {
        tcase_add_test(tcase, *t);
    }
    return unit_run_case("devices_hotplug", tcase);
}
