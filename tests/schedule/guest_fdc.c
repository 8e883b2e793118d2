/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' driver of a floppy disk: reads and writes by the ISA DMA controller, while the disk is
 * taken out and put in; it resets the controller, and masks the DMA channel, in the middle. An
 * operation is a command.
 */
#include "guest.h"

enum {
    DOR = 0x3f2,
    MSR = 0x3f4,
    DSR = 0x3f4,
    FIFO = 0x3f5,
    CCR = 0x3f7,
    GATE = 0x08, /* DOR */
    ENABLED = 0x1c,
    DSR_RESET = 0x80,
    IDLE = 0x80, /* MSR */
    RESULTS = 0xd0,

    SENSE_INTERRUPT = 0x08,
    SPECIFY = 0x03,
    SEEK = 0x0f,
    READ_DATA = 0x46,
    WRITE_DATA = 0x45,

    DMA_CHANNEL = 2,
    DMA_ADDRESS = 0x04,
    DMA_COUNT = 0x05,
    DMA_MASK = 0x0a,
    DMA_MASKED = 4,
    DMA_MODE = 0x0b,
    DMA_CLEAR = 0x0c,
    DMA_PAGE = 0x81,
    TO_MEMORY = 0x44,
    FROM_MEMORY = 0x48,

    TRACK = 18, /* sectors */
    HEADS = 2,
    SECTORS_MAX = 6,
    DATA = FDC_MEMORY,
    DATA_BYTES = SECTORS_MAX * DISK_SECTOR,
    GUARD = 256, /* behind the data */
};

/* Where the first sector is. */
static unsigned fdc_cyl(const FdcGuest *g)
{
    return g->lba / (TRACK * HEADS);
}

static unsigned fdc_head(const FdcGuest *g)
{
    return g->lba / TRACK % HEADS;
}

static unsigned fdc_sector_number(const FdcGuest *g)
{
    return g->lba % TRACK + 1;
}

/* What is known of the disk. Under the lock. */

static DiskSector *fdc_sector(const FdcGuest *g, unsigned i)
{
    return &disks[DISK_FLOPPY].model[g->lba + i];
}

static uint32_t fdc_value(const FdcGuest *g, unsigned i)
{
    return g->value + i * 0x01000193;
}

static void fdc_forget_command(FdcGuest *g)
{
    for (unsigned i = 0; g->writing && i < g->count; i++) {
        disk_may_hold(fdc_sector(g, i), fdc_value(g, i));
    }
    g->writing = false;
}

void guest_fdc_forget(void)
{
    FdcGuest *g = &guest.s.fdc;

    fdc_forget_command(g);
    g->ready = g->canary = false;
}

static void fdc_check_sector(FdcGuest *g, unsigned i)
{
    const uint8_t *data = world.ram + DATA + i * DISK_SECTOR;
    uint32_t v = ldle32(data);

    for (unsigned at = 0; at < DISK_SECTOR; at += 4) {
        if (ldle32(data + at) != v) {
            guest_fail("the floppy, sector %u: read in halves: 0x%x, 0x%x", g->lba + i, v,
                       ldle32(data + at));
        }
    }
    if (!disk_fits(fdc_sector(g, i), v)) {
        guest_fail("the floppy, sector %u: read 0x%x, written 0x%x (%u possible)", g->lba + i, v,
                   fdc_sector(g, i)->values[0], fdc_sector(g, i)->count);
    }
    disk_holds(fdc_sector(g, i), v);
}

static void fdc_check_canary(unsigned from)
{
    for (unsigned i = from; i < DATA_BYTES + GUARD; i++) {
        if (world.ram[DATA + i] != CANARY) {
            guest_fail("floppy: byte %u of the guest's memory was written to after the end "
                       "(0x%02x)",
                       i, world.ram[DATA + i]);
        }
    }
}

/* The controller. */

static void fdc_put(const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        guest_out(FIFO, bytes[i], 1);
    }
}

static void fdc_get(uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        bytes[i] = guest_in(FIFO, 1);
    }
    if (guest_in(MSR, 1) != IDLE) {
        guest_fail("floppy: behind the result the status is 0x%02x", guest_in(MSR, 1));
    }
}

/* SENSE INTERRUPT STATUS. */
static uint8_t fdc_sense(void)
{
    uint8_t results[2];

    guest_out(FIFO, SENSE_INTERRUPT, 1);
    fdc_get(results, 2);
    return results[0];
}

/* Whatever was under way is over when the register has been written. */
static void fdc_reset(Cpu *c)
{
    FdcGuest *g = &guest.s.fdc;

    if (rand_one_in(&c->rand, 3)) {
        guest_out(DSR, DSR_RESET, 1);
    } else {
        guest_out(DOR, GATE, 1);
    }
    g_mutex_lock(&guest.lock);
    fdc_forget_command(g);
    g_mutex_unlock(&guest.lock);
    memset(world.ram + DATA, CANARY, DATA_BYTES + GUARD);
    g->canary = true;
    g->ready = false;
}

static void fdc_make_ready(FdcGuest *g)
{
    static const uint8_t specify[] = {SPECIFY, 0xdf, 0x02};

    guest_out(DOR, ENABLED, 1);
    if (guest_in(MSR, 1) != IDLE) {
        guest_fail("floppy: after a reset the status is 0x%02x", guest_in(MSR, 1));
    }
    for (unsigned i = 0; i < 4; i++) {
        uint8_t st0 = fdc_sense();

        if (st0 != (0xc0 | i)) {
            guest_fail("floppy: after a reset drive %u tells 0x%02x", i, st0);
        }
    }
    guest_out(CCR, 0, 1);
    fdc_put(specify, sizeof specify);
    g->ready = true;
}

static void fdc_start_dma(const FdcGuest *g)
{
    unsigned count = g->count * DISK_SECTOR - 1;

    guest_out(DMA_MASK, DMA_MASKED | DMA_CHANNEL, 1);
    guest_out(DMA_MODE, (g->writing ? FROM_MEMORY : TO_MEMORY) | DMA_CHANNEL, 1);
    guest_out(DMA_CLEAR, 0, 1);
    guest_out(DMA_ADDRESS, DATA & 0xff, 1);
    guest_out(DMA_ADDRESS, DATA >> 8 & 0xff, 1);
    guest_out(DMA_PAGE, DATA >> 16, 1);
    guest_out(DMA_COUNT, count & 0xff, 1);
    guest_out(DMA_COUNT, count >> 8, 1);
    guest_out(DMA_MASK, DMA_CHANNEL, 1);
}

static void fdc_seek(const FdcGuest *g)
{
    const uint8_t seek[] = {SEEK, fdc_head(g) << 2, fdc_cyl(g)};

    fdc_put(seek, sizeof seek);
    fdc_sense();
}

static void fdc_send(FdcGuest *g)
{
    const uint8_t command[] = {g->write ? WRITE_DATA : READ_DATA,
                               fdc_head(g) << 2,
                               fdc_cyl(g),
                               fdc_head(g),
                               fdc_sector_number(g),
                               2,
                               TRACK,
                               0x1b,
                               0xff};

    if (g->canary) {
        fdc_check_canary(0);
    }
    g->canary = false;
    memset(world.ram + DATA, CANARY, DATA_BYTES + GUARD);
    for (unsigned i = 0; g->write && i < g->count * DISK_SECTOR; i += 4) {
        stle32(world.ram + DATA + i, fdc_value(g, i / DISK_SECTOR));
    }
    g->writing = g->write;
    g->changes = __atomic_load_n(&world.floppy_changes, __ATOMIC_SEQ_CST);
    fdc_start_dma(g);
    fdc_put(command, sizeof command);
}

/* In the middle of a command. True: it is over. */
static bool fdc_interfere(Cpu *c)
{
    switch (rand_below(&c->rand, 3)) {
    case 0:
        guest_out(DMA_MASK, DMA_MASKED | DMA_CHANNEL, 1);
        guest_in(MSR, 1);
        guest_out(DMA_MASK, DMA_CHANNEL, 1);
        return false;
    case 1: /* no data is gone, and none asked for */
        guest_out(DOR, ENABLED & ~GATE, 1);
        guest_in(MSR, 1);
        guest_out(DOR, ENABLED, 1);
        return false;
    default:
        fdc_reset(c);
        return true;
    }
}

/* The disk is another, is not there, or was not when the command began. */
static bool fdc_may_fail(const FdcGuest *g)
{
    return world.config.error_in || g->changes % 2 ||
           g->changes != __atomic_load_n(&world.floppy_changes, __ATOMIC_SEQ_CST);
}

static void fdc_finish(FdcGuest *g)
{
    uint8_t r[7];
    bool failed;

    fdc_get(r, sizeof r);
    failed = r[0] & 0xc0;
    baton_note("the floppy: command 0x%02x: %02x %02x %02x", g->write ? WRITE_DATA : READ_DATA,
               r[0], r[1], r[2]);
    if (failed && !fdc_may_fail(g)) {
        guest_fail("floppy: a command has failed, with %02x %02x %02x", r[0], r[1], r[2]);
    }
    fdc_check_canary(g->count * DISK_SECTOR);
    g_mutex_lock(&guest.lock);
    if (failed) {
        fdc_forget_command(g);
    }
    for (unsigned i = 0; !failed && i < g->count; i++) {
        if (g->write) {
            disk_holds(fdc_sector(g, i), fdc_value(g, i));
        } else {
            fdc_check_sector(g, i);
        }
    }
    g->writing = false;
    g_mutex_unlock(&guest.lock);
}

bool guest_fdc_begin(Cpu *c)
{
    FdcGuest *g = &guest.s.fdc;

    /* On one track. */
    g->lba = rand_below(&c->rand, DISK_SECTORS);
    g->count = 1 + rand_below(&c->rand, SECTORS_MAX);
    g->count = MIN(g->count, TRACK - g->lba % TRACK);
    g->count = MIN(g->count, DISK_SECTORS - g->lba);
    g->write = rand_below(&c->rand, 2);
    g->value = (uint32_t)rand_next(&c->rand);
    return true;
}

bool guest_fdc_step(Cpu *c, unsigned n)
{
    FdcGuest *g = &guest.s.fdc;
    uint8_t status;

    switch (n) {
    case 0:
        if (!g->ready) {
            guest_out(DOR, GATE, 1);
            fdc_make_ready(g);
        }
        return false;
    case 1:
        fdc_seek(g);
        return false;
    case 2:
        fdc_send(g);
        return false;
    default:
        c->step = 3;
        if (rand_one_in(&c->rand, 30) && fdc_interfere(c)) {
            return true;
        }
        status = guest_in(MSR, 1);
        if (status != RESULTS) {
            guest_wait(c, 100);
            return false;
        }
        fdc_finish(g);
        return true;
    }
}
