/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' driver of the disks on the first IDE channel: PIO, multiple sectors, DMA by all kinds
 * of PRD tables, flushes; and it resets the channel, stops DMA, or takes the bus from the function
 * in the middle. An operation is one command.
 */
#include "guest.h"

enum {
    BASE = 0x1f0,
    CONTROL = 0x3f6,
    FEATURES = 1,
    COUNT = 2,
    LBA_LOW = 3,
    DEVICE = 6,
    STATUS = 7,
    ERR = 0x01,
    DRQ = 0x08,
    READY = 0x50,
    BSY = 0x80,
    NIEN = 0x02,
    SRST = 0x04,
    DEVICE_RESET = 0x08,
    DEVICE_1 = 0x10,
    LBA = 0xe0,
    BM = 0xc000,
    BM_STATUS = BM + 2,
    BM_TABLE = BM + 4,
    BM_ACTIVE = 0x01,
    BM_ERROR = 0x02,
    BM_INTERRUPT = 0x04,
    SECTORS_MAX = 24, /* of a command: more than the drive's buffer has */
    TABLE = IDE_MEMORY,
    DATA = IDE_MEMORY + 0x10000,
    NO_RAM = 0x40000000,
};

typedef enum { NOTHING, READ, WRITE, FLUSH, CACHE_ON, CACHE_OFF, MULTIPLE, UNKNOWN } IdeKind;
typedef enum { WHOLE, SHORT, PIECE_IS_NO_RAM, TABLE_IS_NO_RAM, BROKEN_COUNT } IdeBroken;

typedef struct {
    uint8_t code, weight;
    IdeKind kind;
    bool dma, ext;
    bool block; /* of SET MULTIPLE MODE; else of a sector */
} IdeCommand;

static const IdeCommand commands[] = {
    {0x20, 2, READ},
    {0x24, 2, READ, .ext = true},
    {0xc4, 4, READ, .block = true},
    {0xc8, 6, READ, .dma = true},
    {0x25, 3, READ, .dma = true, .ext = true},
    {0x30, 2, WRITE},
    {0x34, 2, WRITE, .ext = true},
    {0xc5, 4, WRITE, .block = true},
    {0xca, 6, WRITE, .dma = true},
    {0x35, 3, WRITE, .dma = true, .ext = true},
    {0x40, 1, NOTHING}, /* READ VERIFY SECTORS */
    {0xe7, 4, FLUSH},
    {0xea, 2, FLUSH, .ext = true},
    {0xef, 1, CACHE_ON},
    {0xef, 2, CACHE_OFF},
    {0xc6, 1, MULTIPLE},
    {0x90, 1, NOTHING},         /* EXECUTE DEVICE DIAGNOSTIC */
    {DEVICE_RESET, 1, UNKNOWN}, /* DEVICE RESET, of packet devices */
};

static const IdeCommand *ide_command(void)
{
    return &commands[guest.s.ide.command];
}

static unsigned ide_unit(const IdeGuest *g)
{
    return g->io.disk - DISK_IDE;
}

/* What is known of the disks. Under the lock. */

void guest_ide_start(void)
{
    IdeGuest *g = &guest.s.ide;

    g->io.writing = g->io.canary = false;
    for (unsigned i = 0; i < DISK_IDE_MAX; i++) {
        g->cache_off[i] = false;
        g->multiple[i] = 16;
    }
}

void guest_ide_forget(void)
{
    sectors_forget(&guest.s.ide.io);
    guest_ide_start();
}

/* The command has ended well. */
static void ide_note_success(IdeGuest *g)
{
    switch (ide_command()->kind) {
    case READ:
        for (unsigned i = 0; ide_command()->dma && i < g->io.count; i++) {
            sectors_read(&g->io, i, world.ram + DATA + i * DISK_SECTOR);
        }
        break;
    case WRITE:
        sectors_written(&g->io);
        if (g->cache_off[ide_unit(g)]) {
            sectors_check_flushed(&g->io, g->io.lba, g->io.count);
        }
        break;
    case FLUSH:
    case CACHE_OFF:
        sectors_check_flushed(&g->io, 0, DISK_SECTORS);
        break;
    default:
        break;
    }
}

static bool ide_may_fail(const IdeGuest *g)
{
    return ide_command()->kind == UNKNOWN || g->broken ||
           (world.config.error_in && !world.config.stops) ||
           __atomic_load_n(&world.ide_lost[ide_unit(g)], __ATOMIC_SEQ_CST);
}

/* A command begins. */

static unsigned ide_choose(Rand *rand)
{
    unsigned total = 0, at;

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        total += commands[i].weight;
    }
    at = rand_below(rand, total);
    for (unsigned i = 0;; i++) {
        if (at < commands[i].weight) {
            return i;
        }
        at -= commands[i].weight;
    }
}

bool guest_ide_begin(Cpu *c)
{
    IdeGuest *g = &guest.s.ide;

    g->command = ide_choose(&c->rand);
    g->io.disk = DISK_IDE + rand_below(&c->rand, world.config.ide_disks);
    g->io.memory = DATA;
    g->io.bytes = SECTORS_MAX * DISK_SECTOR;
    g->io.count = ide_command()->kind == MULTIPLE ? 1u << rand_below(&c->rand, 5)
                                                  : 1 + rand_below(&c->rand, SECTORS_MAX);
    g->io.lba = rand_below(&c->rand, DISK_SECTORS - g->io.count + 1);
    g->io.value = (uint32_t)rand_next(&c->rand);
    g->nien = rand_one_in(&c->rand, 8);
    g->broken = WHOLE;
    if (ide_command()->dma && rand_one_in(&c->rand, 6)) {
        g->broken = rand_below(&c->rand, BROKEN_COUNT);
    }
    g->done = 0;
    return true;
}

/* The data in pieces of even lengths, one behind the other. */
static void ide_write_table(Cpu *c, const IdeGuest *g)
{
    unsigned bytes = g->io.count * DISK_SECTOR, n = 0, at = 0, wrong;

    if (g->broken == SHORT) {
        bytes -= 2 + 2 * rand_below(&c->rand, bytes / 2 - 1);
    }
    wrong = g->broken == PIECE_IS_NO_RAM ? rand_below(&c->rand, bytes) : bytes;
    for (; at < bytes; n++) {
        unsigned most = rand_one_in(&c->rand, 2) ? bytes : 2 + 2 * rand_below(&c->rand, 600);
        unsigned len = MIN(most, bytes - at);
        bool here = wrong >= at && wrong < at + len;
        uint8_t *entry = world.ram + TABLE + 8 * n;

        stle32(entry, here ? NO_RAM : DATA + at);
        stle32(entry + 4, len | (at + len == bytes ? 0x80000000u : 0));
        at += len;
    }
}

static void ide_start_dma(Cpu *c, bool to_memory)
{
    const uint32_t function = PCI_DEVFN(1, 1) << 8;

    ide_write_table(c, &guest.s.ide);
    pci_config_write(world.pci, function | (PCI_BASE_ADDRESS_0 + 16), BM | 1, 4);
    pci_config_write(world.pci, function | PCI_COMMAND, 5, 2);
    guest_out(BM, to_memory ? 8 : 0, 1);
    guest_out(BM_STATUS, BM_ERROR | BM_INTERRUPT, 1);
    guest_out(BM_TABLE, guest.s.ide.broken == TABLE_IS_NO_RAM ? NO_RAM : TABLE, 4);
}

/* What the driver knows of the drive from the moment on in which it asks. */
static void ide_note_command(IdeGuest *g)
{
    switch (ide_command()->kind) {
    case CACHE_OFF:
    case CACHE_ON:
        g->cache_off[ide_unit(g)] = ide_command()->kind == CACHE_OFF;
        break;
    case MULTIPLE:
        g->multiple[ide_unit(g)] = g->io.count;
        break;
    default:
        break;
    }
}

static void ide_send(Cpu *c)
{
    IdeGuest *g = &guest.s.ide;
    const IdeCommand *command = ide_command();
    bool write = command->kind == WRITE;

    sectors_prepare(&g->io, write);
    guest_out(CONTROL, g->nien ? NIEN : 0, 1);
    if (command->dma) {
        ide_start_dma(c, !write);
    } else {
        guest_out(BM_STATUS, BM_ERROR | BM_INTERRUPT, 1);
    }
    guest_out(BASE + FEATURES, command->kind == CACHE_ON ? 0x02 : 0x82, 1);
    for (unsigned i = 0; i < (command->ext ? 4 : 0); i++) {
        guest_out(BASE + COUNT + i, 0, 1);
    }
    guest_out(BASE + COUNT, g->io.count, 1);
    guest_out(BASE + LBA_LOW, g->io.lba, 1);
    guest_out(BASE + LBA_LOW + 1, 0, 2);
    ide_note_command(g);
    guest_out(BASE + STATUS, command->code, 1);
    if (command->dma && rand_one_in(&c->rand, 4)) {
        guest_in(CONTROL, 1);
    }
    if (command->dma) {
        guest_out(BM, write ? 0x01 : 0x09, 1);
    }
}

/* A command goes on. */

static void ide_move_block(IdeGuest *g)
{
    unsigned block = ide_command()->block ? g->multiple[ide_unit(g)] : 1;

    guest_in(BASE + STATUS, 1);
    for (unsigned n = MIN(block, g->io.count - g->done); n; n--, g->done++) {
        uint8_t data[DISK_SECTOR];

        for (unsigned i = 0; i < DISK_SECTOR; i += 4) {
            if (ide_command()->kind == WRITE) {
                guest_out(BASE, sectors_value(&g->io, g->done), 4);
            } else {
                stle32(data + i, guest_in(BASE, 4));
            }
        }
        if (ide_command()->kind == READ) {
            sectors_read(&g->io, g->done, data);
        }
    }
}

static void ide_check_reset(void)
{
    uint8_t status = guest_in(CONTROL, 1);

    if (status != READY) {
        guest_fail("IDE: after a software reset the status is 0x%02x", status);
    }
}

/* Whatever was under way is over when the register has been written. */
static void ide_soft_reset(IdeGuest *g)
{
    guest_out(CONTROL, SRST, 1);
    g_mutex_lock(&guest.lock);
    sectors_forget(&g->io);
    g_mutex_unlock(&guest.lock);
    sectors_set_canary(&g->io);
    guest_out(BM, 0, 1);
    guest_out(CONTROL, 0, 1);
    ide_check_reset();
}

/* In the middle of a command. True: it is over. */
static bool ide_interfere(Cpu *c)
{
    const uint32_t command = PCI_DEVFN(1, 1) << 8 | PCI_COMMAND;
    IdeGuest *g = &guest.s.ide;

    switch (rand_below(&c->rand, 6)) {
    case 0:
        ide_soft_reset(g);
        return true;
    case 1:
        if (!ide_command()->dma) {
            return false;
        }
        guest_out(BM, 0, 1);
        sectors_set_canary(&g->io);
        for (unsigned i = rand_below(&c->rand, 4); i; i--) {
            guest_in(BM_STATUS, 1);
        }
        sectors_check_canary(&g->io, 0);
        ide_soft_reset(g);
        return true;
    case 2:
        pci_config_write(world.pci, command, 1, 2);
        guest_in(BM_STATUS, 1);
        pci_config_write(world.pci, command, 5, 2);
        return false;
    case 3: /* the command in progress has the registers, if it has not ended */
        guest_out(BASE + DEVICE, LBA | (ide_unit(g) ? 0 : DEVICE_1), 1);
        guest_out(BASE + DEVICE, LBA | (ide_unit(g) ? DEVICE_1 : 0), 1);
        return false;
    case 4:
        if (!ide_command()->dma && guest_in(CONTROL, 1) & DRQ) {
            guest_out(BASE + STATUS, DEVICE_RESET, 1);
        }
        return false;
    default:
        guest_in(BASE + STATUS, 1);
        return false;
    }
}

/* DRQ and DMA: true if the controller will never go on. */
static bool ide_is_stuck(const IdeGuest *g)
{
    if (guest_in(BM_STATUS, 1) & BM_ACTIVE || !(guest_in(CONTROL, 1) & DRQ)) {
        return false;
    }
    if (!g->broken) {
        guest_fail("IDE disk %u waits for a DMA controller that has ended", ide_unit(g));
    }
    return true;
}

static void ide_check_interrupt(IdeGuest *g)
{
    const IdeCommand *command = ide_command();
    uint8_t bm = guest_in(BM_STATUS, 1);

    /* No interrupt follows the last block that is read. */
    if (!g->nien && !(bm & BM_INTERRUPT) && (command->dma || command->kind != READ)) {
        guest_fail("IDE disk %u: command 0x%02x has ended, without an interrupt", ide_unit(g),
                   command->code);
    }
    if (command->dma && !g->broken && bm & BM_ERROR) {
        guest_fail("IDE disk %u: an error of the bus master, 0x%02x", ide_unit(g), bm);
    }
}

static bool ide_finish(IdeGuest *g, uint8_t status)
{
    ide_check_interrupt(g);
    if (ide_command()->dma) {
        guest_out(BM, 0, 1);
    }
    guest_in(BASE + STATUS, 1);
    sectors_check_canary(&g->io, g->io.count * DISK_SECTOR);
    if (status & ERR && !ide_may_fail(g)) {
        guest_fail("IDE disk %u: command 0x%02x has failed, with 0x%02x", ide_unit(g),
                   ide_command()->code, guest_in(BASE + FEATURES, 1));
    }
    g_mutex_lock(&guest.lock);
    if (status & ERR) {
        sectors_forget(&g->io);
    } else {
        ide_note_success(g);
    }
    g_mutex_unlock(&guest.lock);
    baton_note("IDE disk %u: command 0x%02x: 0x%02x", ide_unit(g), ide_command()->code, status);
    return true;
}

bool guest_ide_step(Cpu *c, unsigned n)
{
    IdeGuest *g = &guest.s.ide;
    uint8_t status;

    if (n == 0) {
        guest_out(BASE + DEVICE, LBA | (ide_unit(g) ? DEVICE_1 : 0), 1);
        if (guest_in(CONTROL, 1) & (BSY | DRQ)) {
            guest_fail("IDE: without a command the status is 0x%02x", guest_in(CONTROL, 1));
        }
        return false;
    }
    if (n == 1) {
        ide_send(c);
        return false;
    }
    c->step = 2;
    if (rand_one_in(&c->rand, 40) && ide_interfere(c)) {
        return true;
    }
    status = guest_in(CONTROL, 1);
    if (status & BSY || (status & DRQ && ide_command()->dma)) {
        if (!(status & BSY) && ide_is_stuck(g)) {
            ide_soft_reset(g);
            return true;
        }
        guest_wait(c, 100);
        return false;
    }
    if (status & DRQ) {
        ide_move_block(g);
        return false;
    }
    return ide_finish(g, status);
}

/* Another CPU looks, which changes nothing. */
bool guest_ide_look_step(Cpu *c, unsigned n)
{
    static const struct {
        uint16_t port;
        uint8_t len;
    } registers[] = {{CONTROL, 1}, {BASE + COUNT, 1}, {BASE + DEVICE, 1}, {BM, 4}, {0x376, 1}};
    unsigned i = rand_below(&c->rand, G_N_ELEMENTS(registers));

    guest_in(registers[i].port, registers[i].len);
    return n == 2;
}
