/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses to the chipset from several threads, with resets, moves of BARs and of PAM segments,
 * hot-plug and the power button meanwhile. ThreadSanitizer and AddressSanitizer report faults.
 */
#include <pthread.h>

#include "../vm/fixture.h"

#include "base/keyval.h"
#include "base/reclaim.h"
#include "devices/devices.h"
#include "devices/i440fx.h"

#define THREADS 4
#define ROUNDS  6000
#define CHANGES 150

static Device *host, *ioapic;
static RamBlock *ram;
static int running, changes;

static uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void port(uint16_t at, uint32_t value, unsigned len, bool write)
{
    cpu_access(vm, IO_SPACE_PIO, at, &value, len, write);
}

/* Any access that neither ends nor resets the machine. */
static void poke(uint32_t *seed)
{
    static const uint16_t ports[] = {0x20,  0x21,   0xa0,   0xa1,   0x40,   0x41,   0x42,
                                     0x43,  0x61,   0xb2,   0x4d0,  0x4d1,  0x600,  0x602,
                                     0x608, 0xae00, 0xae04, 0xae08, 0xae10, 0xafe0, 0xafe2};
    uint32_t r = next(seed), value = next(seed);
    uint64_t addr;

    switch (r % 5) {
    case 0:
        port(ports[(r >> 8) % G_N_ELEMENTS(ports)], value, 1u << (r >> 4 & 1) * 2, r & 0x80);
        break;
    case 1: /* a configuration access, then an access where a BAR may be mapped now */
        pci_config_write(pci_root(vm), (r >> 8 & 7) << 11 | 0x10 | (r >> 16 & 0x0c),
                         0xe0000000 + (value & 0x3000), 4);
        break;
    case 2:
        pci_config_write(pci_root(vm), (r >> 8 & 7) << 11 | 0x04, value & 7, 2);
        break;
    case 3:
        pci_config_write(pci_root(vm), 0x58 + (r >> 8 & 7), value, 1);
        addr = 0xc0000 + (value & 0x3fff8);
        cpu_access(vm, IO_SPACE_MEM, addr, &value, 4, r & 0x80);
        break;
    default:
        addr = r & 0x40 ? 0xfec00000 + (r >> 8 & 0x10) : 0xe0000000 + (r >> 8 & 0x3fff);
        cpu_access(vm, IO_SPACE_MEM, addr, &value, 4, r & 0x80);
        break;
    }
}

static void *cpu_thread(void *data)
{
    uint32_t seed = 99 + GPOINTER_TO_UINT(data);

    reclaim_thread_register();
    for (int i = 0; i < ROUNDS || __atomic_load_n(&changes, __ATOMIC_RELAXED) < CHANGES; i++) {
        poke(&seed);
        reclaim_offline();
        reclaim_online();
    }
    reclaim_thread_unregister();
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static Device *make(const char *name, const char *bus, const char *addr)
{
    Bus *b = bus ? bus_find(vm, bus, NULL, NULL) : NULL;

    return device_new(vm, name, b, NULL, NULL, addr ? "addr" : NULL, addr, NULL);
}

static void setup(void)
{
    Device *north;

    fixture_setup();
    device_set_classes(all_device_classes);
    ram = ram_block_new(vm, "pc.ram", 2 * MiB, NULL);
    host = make("i440FX-pcihost", NULL, NULL);
    north = make("i440FX", "pci.0", "0");
    i440fx_set_memory(north, ram, NULL, 0, 0);
    make("PIIX3", "pci.0", "1.0");
    make("PIIX4_PM", "pci.0", "1.3");
    ioapic = make("ioapic", NULL, NULL);
    ioapic_connect(ioapic, make("isa-i8259", "isa.0", NULL));
    make("isa-pit", "isa.0", NULL);
    device_reset(host, RESET_COLD);
    device_reset(ioapic, RESET_COLD);
    port(0x602, 0xffff, 2, true);
}

/* The main loop's part: changes to the machine. */
static void change(unsigned i)
{
    json_t *j = keyval_parse("pci-testdev,id=hot", "driver", NULL, false, NULL);
    Device *dev = device_add(vm, j, true, NULL);

    json_decref(j);
    event_loop_iterate(loop, 0);
    if (i % 4 == 0) {
        vm_request_powerdown(vm);
    }
    if (i % 8 == 0) {
        device_reset(host, RESET_WARM);
        device_reset(ioapic, RESET_WARM);
        i440fx_init_as_firmware(vm);
    }
    /* A guest thread may have ejected the device already; its removal is then under way. */
    if (dev && i % 2) {
        device_del(vm, "hot", NULL);
    }
    event_loop_iterate(loop, 0);
}

START_TEST(stress)
{
    pthread_t threads[THREADS];

    running = THREADS;
    changes = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, cpu_thread, GUINT_TO_POINTER(i));
    }
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST)) {
        change(changes);
        __atomic_add_fetch(&changes, 1, __ATOMIC_RELAXED);
    }
    reclaim_offline();
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    reclaim_online();
    for (unsigned i = 0; i < 8; i++) {
        event_loop_iterate(loop, 0);
    }
    ck_assert_uint_eq(pci_config_read(pci_root(vm), 0, 4), 0x12378086);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("chipset_stress");

    tcase_add_checked_fixture(tcase, setup, fixture_teardown);
    tcase_set_timeout(tcase, 200);
    tcase_add_test(tcase, stress);
    return unit_run_case("devices_chipset_stress", tcase);
}
