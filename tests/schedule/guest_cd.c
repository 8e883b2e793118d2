/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' driver of the CD drive: it reads sectors by PIO and DMA, while the disc changes, and
 * resets the drive in the middle; it locks the tray, and opens and closes it. The bytes of a
 * command's data are all alike, as a disc's are.
 */
#include "guest.h"

enum {
    BASE = 0x170,
    CONTROL = 0x376,
    COUNT_LOW = 4,
    COUNT_HIGH = 5,
    DEVICE = 6,
    STATUS = 7,
    ERR = 0x01,
    DRQ = 0x08,
    BSY = 0x80,
    BM = 0xc008, /* the bus master's registers of the second channel */
    BM_ACTIVE = 1,
    TABLE = CD_MEMORY, /* of the bus master; its data follows */
    DATA = CD_MEMORY + 4096,
    SECTOR = 2048,
    SECTORS_MAX = 30,
};

/* Under the lock. */
bool guest_cd_begin(Cpu *c)
{
    c->queue = 0; /* the byte that this command's data consists of */
    return true;
}

static void cd_check(Cpu *c, uint8_t byte)
{
    if (byte != CD_FIRST && byte != CD_SECOND) {
        guest_fail("a sector of the CD holds 0x%02x", byte);
    }
    if (c->queue == CD_ANY) {
        return; /* the state that was loaded knows of no disc */
    }
    if (c->queue && c->queue != byte) {
        guest_fail("sectors of two discs: 0x%02x after 0x%02x", byte, c->queue);
    }
    c->queue = byte;
}

static void cd_read_block(Cpu *c)
{
    unsigned len = guest_in(BASE + COUNT_LOW, 1) | guest_in(BASE + COUNT_HIGH, 1) << 8;

    guest_in(BASE + STATUS, 1);
    for (unsigned i = 0; i < len; i += 4) {
        uint32_t v = guest_in(BASE, 4);

        cd_check(c, v);
        if (v != (v & 0xff) * 0x01010101u) {
            guest_fail("a sector of the CD holds 0x%08x", v);
        }
    }
}

static void cd_send_packet(const uint32_t packet[3])
{
    guest_out(BASE + COUNT_LOW, SECTOR & 0xff, 1);
    guest_out(BASE + COUNT_HIGH, SECTOR >> 8, 1);
    guest_out(BASE + STATUS, 0xa0, 1);
    for (unsigned i = 0; i < 3; i++) {
        guest_out(BASE, packet[i], 4);
    }
}

static void cd_read_packet(Cpu *c, bool dma, unsigned sectors)
{
    const uint32_t packet[3] = {0x28, rand_below(&c->rand, 100) << 8, sectors & 0xff};
    const uint64_t piece = DATA | (uint64_t)(0x80000000 | sectors * SECTOR) << 32;

    if (dma) {
        guest_fill(world.ram + DATA, 0, sectors * SECTOR);
        guest_copy(world.ram + TABLE, &piece, sizeof piece);
        pci_config_write(world.pci, PCI_DEVFN(1, 1) << 8 | (PCI_BASE_ADDRESS_0 + 16), 0xc001, 4);
        pci_config_write(world.pci, PCI_DEVFN(1, 1) << 8 | PCI_COMMAND, 5, 2);
        guest_out(BM, 0, 1);
        guest_out(BM + 4, TABLE, 4);
    }
    guest_out(BASE + 1, dma, 1);
    cd_send_packet(packet);
    if (dma) {
        guest_out(BM, 0x09, 1);
    }
}

/* The command has ended. */
static void cd_finish(Cpu *c, bool dma, unsigned sectors, uint8_t status)
{
    if (dma) {
        guest_out(BM, 0, 1);
    }
    for (unsigned i = 0; dma && !(status & ERR) && i < sectors * SECTOR; i++) {
        cd_check(c, world.ram[DATA + i]);
    }
    guest_in(BASE + STATUS, 1);
}

static void cd_interrupt_command(Cpu *c)
{
    if (rand_one_in(&c->rand, 2)) {
        guest_out(BASE + STATUS, 0x08, 1);
    } else {
        guest_out(CONTROL, 4, 1);
        guest_out(CONTROL, 0, 1);
    }
}

static void cd_select(uint8_t status)
{
    guest_out(BASE + DEVICE, 0xa0, 1);
    if (status & (BSY | DRQ)) {
        guest_out(BASE + STATUS, 0x08, 1); /* of an operation that was given up */
    }
}

/* True: the operation is over. */
static bool cd_wait(Cpu *c, unsigned n)
{
    guest_wait(c, 100);
    c->step = n; /* again */
    if (rand_one_in(&c->rand, 40)) {
        cd_interrupt_command(c);
        return true;
    }
    return false;
}

static bool cd_step(Cpu *c, unsigned n, bool dma, unsigned sectors)
{
    uint8_t status = guest_in(CONTROL, 1);

    if (n == 0) {
        cd_select(status);
        return false;
    }
    if (status & BSY) {
        return cd_wait(c, n);
    }
    if (n == 1) {
        cd_read_packet(c, dma, sectors);
        return false;
    }
    if (rand_one_in(&c->rand, 60)) {
        cd_interrupt_command(c);
        return true;
    }
    if (status & DRQ && !dma) {
        cd_read_block(c);
        return false;
    }
    if (status & DRQ) {
        return cd_wait(c, n);
    }
    cd_finish(c, dma, sectors, status);
    return true;
}

bool guest_cd_pio_step(Cpu *c, unsigned n)
{
    return cd_step(c, n, false, 20);
}

bool guest_cd_dma_step(Cpu *c, unsigned n)
{
    return cd_step(c, n, true, SECTORS_MAX);
}

/* What a drive's tray has commands for. The drive may have no disc, or refuse. */
bool guest_cd_tray_step(Cpu *c, unsigned n)
{
    static const uint32_t packets[][3] = {
        {0x1e, 1, 0},               /* PREVENT ALLOW MEDIUM REMOVAL */
        {0x1e, 0, 0}, {0x1b, 2, 0}, /* START STOP UNIT: open the tray */
        {0x1b, 3, 0},               /* ... and close it */
        {0x00, 0, 0},               /* TEST UNIT READY, which takes a unit attention */
    };
    uint8_t status = guest_in(CONTROL, 1);

    if (n == 0) {
        cd_select(status);
        return false;
    }
    if (status & BSY) {
        return cd_wait(c, n);
    }
    if (n == 1) {
        guest_out(BASE + 1, 0, 1);
        cd_send_packet(packets[rand_below(&c->rand, G_N_ELEMENTS(packets))]);
        return false;
    }
    if (status & DRQ) {
        guest_fail("the CD drive has data for a command that has none: 0x%02x", status);
    }
    guest_in(BASE + STATUS, 1);
    return true;
}
