/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a CPU does: a driver's work, and some things that no driver does but any guest may. */
#include "guest.h"

#include <linux/virtio_console.h>
#include "devices/isa.h"

/* Another CPU is in the middle of something that must arrive, and arrive where it was meant to. */
static bool others_are_at(const Cpu *c)
{
    for (unsigned i = 0; i < CPU_MAX; i++) {
        const Cpu *other = &guest.s.cpu[i];

        if (other != c && other->op && other->op->exact && other->driver == c->driver) {
            return true;
        }
    }
    return false;
}

static bool start_begin(Cpu *c)
{
    Driver *d = c->driver;

    if (d->state != DOWN || d->claimed || others_are_at(c)) {
        return false;
    }
    d->state = STARTING;
    d->claimed = true;
    d->generation++;
    return true;
}

/* Gives up: no such device, or not as it should be. */
static bool start_fails(Cpu *c)
{
    g_mutex_lock(&guest.lock);
    if (c->driver->generation == c->generation) {
        driver_forget(c->driver);
    }
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool start_done(Cpu *c)
{
    Driver *d = c->driver;
    bool kick = false;

    driver_write(d, VIRTIO_PCI_COMMON_STATUS, 0xf, 1);
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        d->state = UP;
        d->claimed = false;
        kick = is_nic(d) && driver_nic_fill(d);
    }
    g_mutex_unlock(&guest.lock);
    if (kick) {
        driver_write(d, MODERN_NOTIFY, 0, 2);
    }
    return true;
}

static bool start_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;
    unsigned queue = (n - 6) / 3;

    switch (n) {
    case 0:
        if (driver_config_read(d, PCI_VENDOR_ID, 2) != 0x1af4) {
            return start_fails(c);
        }
        driver_write_bars(d);
        return false;
    case 1:
        driver_write(d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
        return false;
    case 2:
        driver_write(d, VIRTIO_PCI_COMMON_STATUS, 3, 1);
        return false;
    case 3:
        driver_write_features(d);
        return false;
    case 4:
        driver_write(d, VIRTIO_PCI_COMMON_STATUS, 0xb, 1);
        return driver_read(d, VIRTIO_PCI_COMMON_STATUS, 1) != 0xb && start_fails(c);
    case 5:
        if (!world.config.intx || is_nic(d)) {
            driver_write_msix(d);
        }
        return false;
    default:
        if (queue == driver_queues(d)) {
            return start_done(c);
        }
        if (n % 3 == 0) {
            g_mutex_lock(&guest.lock);
            driver_ring_prepare(d, queue);
            g_mutex_unlock(&guest.lock);
        }
        driver_write_queue(d, queue, n % 3);
        return false;
    }
}

/* Other operations. */

static bool is_up(Cpu *c)
{
    return c->driver->state == UP;
}

static bool always(Cpu *c)
{
    return true;
}

static bool awake(Cpu *c)
{
    return !guest.s.asleep;
}

static bool claim_up(Cpu *c)
{
    if (!is_up(c) || c->driver->claimed) {
        return false;
    }
    c->driver->claimed = true;
    return true;
}

static bool io_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;
    bool kick;
    unsigned slot;

    if (n) {
        baton_note("disk %u, queue %u: kick", d->index, c->queue);
        driver_write(d, MODERN_NOTIFY + 4 * c->queue, c->queue, 2);
        return true;
    }
    g_mutex_lock(&guest.lock);
    if (d->state == UP && is_nic(d)) {
        c->queue = 1;
        kick = driver_nic_send(c, d);
        g_mutex_unlock(&guest.lock);
        return !kick;
    }
    if (d->state != UP || !driver_request_choose(c, d, &slot)) {
        g_mutex_unlock(&guest.lock);
        return true;
    }
    c->queue = d->request[slot].queue;
    driver_request_fill(d, slot);
    driver_request_expose(d, slot);
    sched_pass("the guest has added a chain");
    kick = driver_wants_kick(&d->queue[c->queue]);
    g_mutex_unlock(&guest.lock);
    return !kick;
}

static bool poll_step(Cpu *c, unsigned n)
{
    driver_reap(c->driver, rand_below(&c->rand, driver_queues(c->driver)));
    return true;
}

static bool read_config_step(Cpu *c, unsigned n)
{
    driver_read(c->driver, MODERN_DEVICE + 4 * rand_below(&c->rand, 15), 4);
    return true;
}

static bool read_status_step(Cpu *c, unsigned n)
{
    driver_read(c->driver, VIRTIO_PCI_COMMON_STATUS, 1);
    return true;
}

static bool write_cache_step(Cpu *c, unsigned n)
{
    driver_write(c->driver, MODERN_DEVICE + offsetof(struct virtio_blk_config, wce),
                 rand_below(&c->rand, 2), 1);
    return true;
}

static bool kick_step(Cpu *c, unsigned n)
{
    unsigned queue = rand_below(&c->rand, driver_queues(c->driver));

    driver_write(c->driver, MODERN_NOTIFY + 4 * queue, queue, 2);
    return n == 3;
}

/* Status 0, in the middle of whatever the other CPUs do. */
static bool reset_begin(Cpu *c)
{
    Driver *d = c->driver;

    if (d->state != UP) {
        return false;
    }
    d->state = STOPPING;
    d->claimed = true;
    d->generation++;
    return true;
}

/* 0, or all ones of an empty slot: whatever the device had in flight is over. */
static void reset_device(const Driver *d)
{
    driver_write(d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
    driver_read(d, VIRTIO_PCI_COMMON_STATUS, 1);
}

static bool reset_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;

    reset_device(d);
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        driver_forget(d);
    }
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool queue_reset_begin(Cpu *c)
{
    if (!claim_up(c)) {
        return false;
    }
    c->queue = rand_below(&c->rand, driver_queues(c->driver));
    c->driver->queue[c->queue].off = true;
    return true;
}

static bool queue_reset_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;

    if (n == 0) {
        driver_write(d, VIRTIO_PCI_COMMON_Q_SELECT, c->queue, 2);
        driver_write(d, COMMON_Q_RESET, 1, 2);
        g_mutex_lock(&guest.lock);
        if (d->generation == c->generation) {
            driver_queue_forget(d, c->queue);
            driver_ring_prepare(d, c->queue);
        }
        g_mutex_unlock(&guest.lock);
        return false;
    }
    driver_write_queue(d, c->queue, n - 1);
    if (n < 3) {
        return false;
    }
    bool kick = false;
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        d->queue[c->queue].off = false;
        d->claimed = false;
        kick = is_nic(d) && driver_nic_fill(d);
    }
    g_mutex_unlock(&guest.lock);
    if (kick) {
        driver_write(d, MODERN_NOTIFY, 0, 2);
    }
    return true;
}

static bool move_bar_begin(Cpu *c)
{
    if (!is_up(c) || c->driver->moving || others_are_at(c)) {
        return false;
    }
    c->driver->moving = true;
    return true;
}

static bool move_bar_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;
    uint64_t to = driver_modern_bar(d) ^ 0x10000;

    driver_config_write(d, PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR, to, 4);
    g_mutex_lock(&guest.lock);
    d->moved = !d->moved;
    d->moving = false;
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool eject_step(Cpu *c, unsigned n)
{
    guest_out(PIIX4_PCI_HOTPLUG_BASE + 8, BIT(SLOT_FIRST + c->driver->index), 4);
    return true;
}

/* As an operating system does it: the driver goes first. */
static bool eject_politely_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;

    if (n == 1) {
        return eject_step(c, n);
    }
    reset_device(d);
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        driver_forget(d);
        d->state = STOPPING; /* until DEVICE_DELETED, or a reset */
        c->generation = d->generation;
    }
    g_mutex_unlock(&guest.lock);
    return c->generation != d->generation;
}

/* The console's emergency write (5.3.4), which needs no driver. */
static bool console_step(Cpu *c, unsigned n)
{
    const uint64_t bar = 0xe0000000 + SLOT_CONSOLE * 0x100000;
    const uint32_t config = PCI_DEVFN(SLOT_CONSOLE, 0) << 8;
    uint32_t v = 'x';

    if (n == 0) {
        pci_config_write(world.pci, config | (PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR), bar, 4);
        pci_config_write(world.pci, config | PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
                         2);
        return false;
    }
    cpu_access(world.vm, IO_SPACE_MEM,
               bar + MODERN_DEVICE + offsetof(struct virtio_console_config, emerg_wr), &v, 4, true);
    return n == 3;
}

static bool console_eject_step(Cpu *c, unsigned n)
{
    guest_out(PIIX4_PCI_HOTPLUG_BASE + 8, BIT(SLOT_CONSOLE), 4);
    return true;
}

static bool suspend_step(Cpu *c, unsigned n)
{
    const uint32_t pm = PCI_DEVFN(1, 3) << 8;

    if (n == 0) {
        /* As firmware leaves it: where the registers are, and that they are. */
        pci_config_write(world.pci, pm + 0x40, PIIX4_PM_BASE | 1, 4);
        pci_config_write(world.pci, pm + 0x80, 1, 1);
        return false;
    }
    g_mutex_lock(&guest.lock);
    guest.s.asleep = true;
    g_mutex_unlock(&guest.lock);
    guest_out(PIIX4_PM_BASE + 4, BIT(13) | 1 << 10, 2);
    return true;
}

static bool halt_step(Cpu *c, unsigned n)
{
    guest_wait(c, 200 * world.config.pace);
    return true;
}

/* The CPU cannot go on. Until a reset it may not. */
static bool fail_step(Cpu *c, unsigned n)
{
    c->failed = true;
    return true;
}

static bool reboot_step(Cpu *c, unsigned n)
{
    guest_out(0xcf9, 6, 1);
    return true;
}

const GuestOp guest_ops[] = {
    {"start", 60, true, NULL, start_begin, start_step},
    {"io", 60, true, NULL, is_up, io_step},
    {"cd-pio", 6, false, NULL, guest_cd_begin, guest_cd_pio_step, UNIT_CD},
    {"cd-dma", 6, false, NULL, guest_cd_begin, guest_cd_dma_step, UNIT_CD},
    {"cd-tray", 3, false, NULL, guest_cd_begin, guest_cd_tray_step, UNIT_CD},
    {"ide", 30, false, NULL, guest_ide_begin, guest_ide_step, UNIT_IDE},
    {"ide-look", 6, false, NULL, always, guest_ide_look_step},
    {"floppy", 12, false, NULL, guest_fdc_begin, guest_fdc_step, UNIT_FDC},
    {"keyboard", 6, false, NULL, guest_kbc_begin, guest_kbc_step, UNIT_KBC},
    {"keyboard-reset", 1, false, NULL, awake, guest_kbc_reset_step},
    {"usb", 40, false, NULL, guest_usb_begin, guest_usb_step, UNIT_USB},
    {"usb-hid", 24, false, NULL, guest_uhci_hid_begin, guest_uhci_hid_step, UNIT_USB},
    {"poke", 60, false, NULL, always, guest_poke_step, UNIT_ANY},
    {"halt", 12, false, NULL, always, halt_step},
    {"poll", 6, false, NULL, is_up, poll_step},
    {"kick", 6, false, NULL, is_up, kick_step},
    {"read-config", 4, false, NULL, always, read_config_step},
    {"read-status", 4, false, NULL, always, read_status_step},
    {"write-cache", 3, false, NULL, is_up, write_cache_step},
    {"move-bar", 3, false, NULL, move_bar_begin, move_bar_step},
    {"device-reset", 5, true, NULL, reset_begin, reset_step},
    {"queue-reset", 5, true, NULL, queue_reset_begin, queue_reset_step},
    {"eject", 2, false, NULL, always, eject_step},
    {"eject-politely", 2, true, NULL, reset_begin, eject_politely_step},
    {"console-write", 3, false, NULL, always, console_step},
    {"console-eject", 1, false, NULL, always, console_eject_step},
    {"suspend", 1, false, NULL, awake, suspend_step},
    {"reboot", 1, false, NULL, awake, reboot_step},
    {"fail", 1, false, NULL, awake, fail_step},
    {NULL, 0, false, NULL, NULL, NULL},
};
