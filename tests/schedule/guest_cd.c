/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' driver of the CD drive: it reads sectors by PIO and DMA, while the disc changes, and
 * resets the drive in the middle. The bytes of a command's data are all alike, as a disc's are.
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

static void cd_out(uint16_t port, uint32_t v, unsigned len)
{
    uint64_t value = v;

    cpu_access(world.vm, IO_SPACE_PIO, port, &value, len, true);
}

static uint32_t cd_in(uint16_t port, unsigned len)
{
    uint64_t value = 0;

    cpu_access(world.vm, IO_SPACE_PIO, port, &value, len, false);
    return value;
}

/* One CPU at a time uses the drive. Under the lock. */
bool guest_cd_begin(Cpu *c)
{
    for (unsigned i = 0; i < CPU_MAX; i++) {
        const Cpu *other = &guest.s.cpu[i];

        if (other != c && other->op && other->op->begin == guest_cd_begin) {
            return false;
        }
    }
    c->queue = 0; /* the byte that this command's data consists of */
    return true;
}

static void cd_check(Cpu *c, uint8_t byte)
{
    if (byte != CD_FIRST && byte != CD_SECOND) {
        baton_fail("a sector of the CD holds 0x%02x", byte);
    }
    if (c->queue == CD_ANY) {
        return; /* the state that was loaded knows of no disc */
    }
    if (c->queue && c->queue != byte) {
        baton_fail("sectors of two discs: 0x%02x after 0x%02x", byte, c->queue);
    }
    c->queue = byte;
}

static void cd_read_block(Cpu *c)
{
    unsigned len = cd_in(BASE + COUNT_LOW, 1) | cd_in(BASE + COUNT_HIGH, 1) << 8;

    cd_in(BASE + STATUS, 1);
    for (unsigned i = 0; i < len; i += 4) {
        uint32_t v = cd_in(BASE, 4);

        cd_check(c, v);
        if (v != (v & 0xff) * 0x01010101u) {
            baton_fail("a sector of the CD holds 0x%08x", v);
        }
    }
}

static void cd_packet(Cpu *c, bool dma, unsigned sectors)
{
    const uint32_t packet[3] = {0x28, rand_below(&c->rand, 100) << 8, sectors};
    const uint64_t piece = DATA | (uint64_t)(0x80000000 | sectors * SECTOR) << 32;

    if (dma) {
        memset(world.ram + DATA, 0, sectors * SECTOR);
        memcpy(world.ram + TABLE, &piece, sizeof piece);
        pci_config_write(world.pci, PCI_DEVFN(1, 1) << 8 | (PCI_BASE_ADDRESS_0 + 16), 0xc001, 4);
        pci_config_write(world.pci, PCI_DEVFN(1, 1) << 8 | PCI_COMMAND, 5, 2);
        cd_out(BM, 0, 1);
        cd_out(BM + 4, TABLE, 4);
    }
    cd_out(BASE + 1, dma, 1);
    cd_out(BASE + COUNT_LOW, SECTOR & 0xff, 1);
    cd_out(BASE + COUNT_HIGH, SECTOR >> 8, 1);
    cd_out(BASE + STATUS, 0xa0, 1);
    for (unsigned i = 0; i < 3; i++) {
        cd_out(BASE, i == 2 ? (packet[2] & 0xff) : packet[i], 4);
    }
    if (dma) {
        cd_out(BM, 0x09, 1);
    }
}

/* The command has ended. */
static void cd_finish(Cpu *c, bool dma, unsigned sectors, uint8_t status)
{
    if (dma) {
        cd_out(BM, 0, 1);
    }
    for (unsigned i = 0; dma && !(status & ERR) && i < sectors * SECTOR; i++) {
        cd_check(c, world.ram[DATA + i]);
    }
    cd_in(BASE + STATUS, 1);
}

static void cd_interrupt_command(Cpu *c)
{
    if (rand_one_in(&c->rand, 2)) {
        cd_out(BASE + STATUS, 0x08, 1);
    } else {
        cd_out(CONTROL, 4, 1);
        cd_out(CONTROL, 0, 1);
    }
}

static bool cd_step(Cpu *c, unsigned n, bool dma, unsigned sectors)
{
    uint8_t status = cd_in(CONTROL, 1);

    if (n == 0) {
        cd_out(BASE + DEVICE, 0xa0, 1);
        if (status & (BSY | DRQ)) {
            cd_out(BASE + STATUS, 0x08, 1); /* of an operation that was given up */
        }
        return false;
    }
    if (status & BSY) {
        c->halted_until = g_get_monotonic_time() + rand_below(&c->rand, 100);
        c->step = n; /* again */
        if (rand_one_in(&c->rand, 40)) {
            cd_interrupt_command(c);
        }
        return false;
    }
    if (n == 1) {
        cd_packet(c, dma, sectors);
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
        c->step = n;
        return false;
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
