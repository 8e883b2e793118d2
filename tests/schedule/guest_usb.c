/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' driver of a USB stick: it makes it usable, and gives it bulk-only commands, while the
 * stick is pulled and plugged in; it resets port and controller, and stops the controller, in the
 * middle. An operation is a command, or what has to come before one.
 */
#include "guest_usb.h"

enum { CSW_SIGNATURE = 0x53425355 }; /* dCSWSignature: "USBS" */
enum { CBW_LENGTH = 31, CSW_LENGTH = 13, SENSE_LENGTH = 18, SETUPS_MAX = 16 };

typedef enum {
    USB_OFF,
    USB_STOPPING,
    USB_PORT,
    USB_NEW,
    USB_IDLE,
    USB_AT_CBW,
    USB_AT_DATA,
    USB_AT_CSW
} UsbStage;

/* Commands of SCSI. */
typedef enum {
    STICK_READ,
    STICK_WRITE,
    STICK_FLUSH,
    STICK_TEST,
    STICK_SENSE,
    STICK_COUNT
} StickKind;

static const struct {
    uint8_t code, weight;
} stick_commands[STICK_COUNT] = {
    [STICK_READ] = {0x28, 6}, [STICK_WRITE] = {0x2a, 6}, [STICK_FLUSH] = {0x35, 2},
    [STICK_TEST] = {0x00, 1}, [STICK_SENSE] = {0x03, 0}, /* after a failure */
};

static const UsbController *usb_hc(void)
{
    switch (world.config.usb) {
    case USB_IS_EHCI:
        return &guest_ehci;
    case USB_IS_XHCI:
        return &guest_xhci;
    default:
        return &guest_uhci;
    }
}

/* Accesses. */

void usb_guest_word(uint32_t addr, uint32_t v)
{
    stle32(world.ram + addr, v);
}

uint32_t usb_guest_read_word(uint32_t addr)
{
    return ldle32(world.ram + addr);
}

void usb_guest_write(unsigned reg, uint32_t v)
{
    cpu_access(world.vm, IO_SPACE_MEM, USB_BAR + reg, &v, 4, true);
}

uint32_t usb_guest_read(unsigned reg)
{
    uint32_t v = 0;

    cpu_access(world.vm, IO_SPACE_MEM, USB_BAR + reg, &v, 4, false);
    return v;
}

enum { COMMAND_ON = 0x403, COMMAND_MASTER = 4 }; /* no INTx: virtio disks share the pins */

void usb_guest_map(uint8_t slot, uint8_t function)
{
    const uint32_t config = PCI_DEVFN(slot, function) << 8;

    pci_config_write(world.pci, config | PCI_BASE_ADDRESS_0, USB_BAR, 4);
    pci_config_write(world.pci, config | PCI_COMMAND, COMMAND_ON | COMMAND_MASTER, 2);
}

void usb_guest_bus_master(const UsbController *hc, bool on)
{
    pci_config_write(world.pci, PCI_DEVFN(hc->slot, hc->function) << 8 | PCI_COMMAND,
                     COMMAND_ON | (on ? COMMAND_MASTER : 0), 2);
}

const UsbRequest *usb_guest_request(unsigned n)
{
    enum {
        SET_FEATURE = 3,
        SET_ADDRESS = 5,
        SET_CONFIGURATION = 9,
        PORT_RESET = 4,
        PORT_POWER = 8
    };
    static const UsbRequest requests[] = {
        {0, {0x00, SET_ADDRESS, USB_HUB}},
        {USB_HUB, {0x00, SET_CONFIGURATION, 1}},
        {USB_HUB, {0x23, SET_FEATURE, PORT_POWER, 0, 1}},
        {USB_HUB, {0x23, SET_FEATURE, PORT_RESET, 0, 1}},
        {0, {0x00, SET_ADDRESS, USB_STICK}},
        {USB_STICK, {0x00, SET_CONFIGURATION, 1}},
    };

    n += world.config.usb == USB_IS_UHCI_HUB ? 0 : 4;
    return n < G_N_ELEMENTS(requests) ? &requests[n] : NULL;
}

void guest_usb_forget(void)
{
    UsbGuest *g = &guest.s.usb;

    sectors_forget(&g->io);
    g->stage = USB_OFF;
    g->io.canary = false;
}

/* Whatever is under way is given up, or there was nothing. */
static void usb_give_up(Cpu *c, const char *why)
{
    UsbGuest *g = &guest.s.usb;

    baton_note("USB, stage %u.%u: %s", g->stage, g->substep, why);
    g_mutex_lock(&guest.lock);
    sectors_forget(&g->io);
    g_mutex_unlock(&guest.lock);
    usb_hc()->stop(rand_below(&c->rand, 2));
    g->stage = USB_STOPPING;
}

/* Commands. */

static uint32_t usb_data_length(const UsbGuest *g)
{
    switch (g->kind) {
    case STICK_READ:
    case STICK_WRITE:
        return g->io.count * DISK_SECTOR;
    case STICK_SENSE:
        return SENSE_LENGTH;
    default:
        return 0;
    }
}

static StickKind usb_choose(Rand *rand)
{
    unsigned total = 0, at;

    for (unsigned i = 0; i < STICK_COUNT; i++) {
        total += stick_commands[i].weight;
    }
    at = rand_below(rand, total);
    for (unsigned i = 0;; i++) {
        if (at < stick_commands[i].weight) {
            return i;
        }
        at -= stick_commands[i].weight;
    }
}

static void usb_fill_cbw(UsbGuest *g)
{
    uint8_t *cbw = world.ram + USB_CBW;

    guest_fill(cbw, 0, CBW_LENGTH);
    guest_copy(cbw, "USBC", 4);
    stle32(cbw + 4, ++g->tag);
    stle32(cbw + 8, usb_data_length(g));
    cbw[12] = g->kind == STICK_WRITE ? 0 : 0x80;
    cbw[14] = 10;
    cbw[15] = stick_commands[g->kind].code;
    if (g->kind == STICK_SENSE) {
        cbw[19] = SENSE_LENGTH;
    } else if (g->kind != STICK_TEST) {
        cbw[20] = g->kind == STICK_FLUSH ? 0 : g->io.lba;
        cbw[23] = g->kind == STICK_FLUSH ? 0 : g->io.count;
    }
}

static void usb_begin_command(Cpu *c, StickKind kind)
{
    UsbGuest *g = &guest.s.usb;

    g->kind = kind;
    g->io.count = 1 + rand_below(&c->rand, USB_SECTORS_MAX);
    g->io.lba = rand_below(&c->rand, DISK_SECTORS - g->io.count + 1);
    g->io.value = (uint32_t)rand_next(&c->rand);
    sectors_prepare(&g->io, kind == STICK_WRITE);
    guest_fill(world.ram + USB_CSW, 0, CSW_LENGTH);
    usb_fill_cbw(g);
    g->stage = USB_AT_CBW;
    usb_hc()->bulk(c, false, USB_CBW, CBW_LENGTH);
}

/* The command has passed. Under the lock. */
static void usb_note_success(UsbGuest *g)
{
    if (g->kind == STICK_FLUSH) {
        sectors_check_flushed(&g->io, 0, DISK_SECTORS);
    }
    for (unsigned i = 0; g->kind == STICK_READ && i < g->io.count; i++) {
        sectors_read(&g->io, i, world.ram + USB_DATA + i * DISK_SECTOR);
    }
    sectors_written(&g->io);
}

/* The sense data of a command that has failed: it may. */
static void usb_check_sense(void)
{
    const uint8_t *sense = world.ram + USB_DATA;
    uint8_t key = sense[2] & 0x0f;
    bool errors = world.config.error_in && !world.config.stops;

    if (key != 0x6 && !(errors && (key == 0x3 || key == 0x4))) {
        guest_fail("the stick has failed, with sense %x/%02x/%02x", key, sense[12], sense[13]);
    }
}

/* True: the operation is over. */
static bool usb_end_command(Cpu *c)
{
    UsbGuest *g = &guest.s.usb;
    const uint8_t *csw = world.ram + USB_CSW;
    bool failed = csw[12];

    /* memcmp() would be reported as a race: a sanitizer sees the calls of uninstrumented code. */
    if (ldle32(csw) != CSW_SIGNATURE || ldle32(csw + 4) != g->tag || csw[12] > 1) {
        guest_fail("the stick has ended a command with 0x%08x, tag 0x%x of 0x%x, status %u",
                   ldle32(csw), ldle32(csw + 4), g->tag, csw[12]);
    }
    sectors_check_canary(&g->io, usb_data_length(g));
    baton_note("the stick: command 0x%02x: %u", stick_commands[g->kind].code, csw[12]);
    g->stage = USB_IDLE;
    if (g->kind == STICK_SENSE) {
        usb_check_sense();
        return true;
    }
    g_mutex_lock(&guest.lock);
    if (failed) {
        sectors_forget(&g->io);
    } else {
        usb_note_success(g);
    }
    g_mutex_unlock(&guest.lock);
    if (failed) {
        usb_begin_command(c, STICK_SENSE);
    }
    return !failed;
}

/* A transfer has ended well: the next one. True: the operation is over. */
static bool usb_go_on(Cpu *c)
{
    const UsbController *hc = usb_hc();
    UsbGuest *g = &guest.s.usb;

    switch (g->stage) {
    case USB_NEW:
        if (!hc->setup(++g->substep)) {
            g->stage = USB_IDLE;
        }
        return false;
    case USB_AT_CBW:
        if (usb_data_length(g)) {
            g->stage = USB_AT_DATA;
            hc->bulk(c, g->kind != STICK_WRITE, USB_DATA, usb_data_length(g));
            return false;
        }
        G_GNUC_FALLTHROUGH;
    case USB_AT_DATA:
        g->stage = USB_AT_CSW;
        hc->bulk(c, true, USB_CSW, CSW_LENGTH);
        return false;
    default:
        return usb_end_command(c);
    }
}

/* In the middle of a transfer. True: it has been given up. */
static bool usb_interfere(Cpu *c)
{
    const UsbController *hc = usb_hc();

    switch (rand_below(&c->rand, 4)) {
    case 0:
        usb_guest_bus_master(hc, false);
        guest_wait(c, 1500);
        usb_guest_bus_master(hc, true);
        return false;
    case 1:
        hc->reset_port(0);
        return false;
    default:
        usb_give_up(c, "a reset, in the middle");
        return true;
    }
}

static bool usb_transfer_step(Cpu *c)
{
    const UsbController *hc = usb_hc();

    if (rand_one_in(&c->rand, 40) && usb_interfere(c)) {
        return false;
    }
    switch (hc->poll()) {
    case USB_DONE:
        return usb_go_on(c);
    case USB_FAILED:
        usb_give_up(c, "a transfer has failed");
        return true;
    default:
        if (hc->changed()) {
            usb_give_up(c, "the device has changed");
            return true;
        }
        guest_wait(c, 1500);
        return false;
    }
}

static bool usb_port_step(Cpu *c)
{
    const UsbController *hc = usb_hc();
    UsbGuest *g = &guest.s.usb;

    switch (hc->reset_port(g->substep++)) {
    case USB_PENDING:
        guest_wait(c, 500);
        return false;
    case USB_DONE:
        g->stage = USB_NEW;
        g->substep = 0;
        hc->setup(0);
        return false;
    default:
        usb_give_up(c, "there is no device");
        return true; /* there is no stick */
    }
}

bool guest_usb_is_idle(void)
{
    return guest.s.usb.stage == USB_IDLE;
}

bool guest_usb_begin(Cpu *c)
{
    Sectors *io = &guest.s.usb.io;

    io->disk = DISK_STICK;
    io->memory = USB_DATA;
    io->bytes = USB_DATA_BYTES;
    return true;
}

bool guest_usb_step(Cpu *c, unsigned n)
{
    const UsbController *hc = usb_hc();
    UsbGuest *g = &guest.s.usb;

    switch (g->stage) {
    case USB_OFF:
        usb_guest_map(hc->slot, hc->function);
        hc->stop(true);
        g->stage = USB_STOPPING;
        return false;
    case USB_STOPPING:
        if (!hc->stopped()) {
            guest_wait(c, 200);
            return false;
        }
        if (!g->slot) {
            sectors_set_canary(&g->io);
        }
        hc->start();
        g->stage = USB_PORT;
        g->substep = 0;
        return false;
    case USB_PORT:
        return usb_port_step(c);
    case USB_IDLE:
        usb_begin_command(c, usb_choose(&c->rand));
        return false;
    default:
        return usb_transfer_step(c);
    }
}
