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
};

/* Where the first sector is. */
static unsigned fdc_cyl(const FdcGuest *g)
{
    return g->io.lba / (TRACK * HEADS);
}

static unsigned fdc_head(const FdcGuest *g)
{
    return g->io.lba / TRACK % HEADS;
}

static unsigned fdc_sector_number(const FdcGuest *g)
{
    return g->io.lba % TRACK + 1;
}

void guest_fdc_forget(void)
{
    FdcGuest *g = &guest.s.fdc;

    sectors_forget(&g->io);
    g->ready = g->io.canary = false;
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
    sectors_forget(&g->io);
    g_mutex_unlock(&guest.lock);
    sectors_set_canary(&g->io);
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
    unsigned count = g->io.count * DISK_SECTOR - 1;

    guest_out(DMA_MASK, DMA_MASKED | DMA_CHANNEL, 1);
    guest_out(DMA_MODE, (g->write ? FROM_MEMORY : TO_MEMORY) | DMA_CHANNEL, 1);
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

    sectors_prepare(&g->io, g->write);
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
    sectors_check_canary(&g->io, g->io.count * DISK_SECTOR);
    g_mutex_lock(&guest.lock);
    if (failed) {
        sectors_forget(&g->io);
    }
    for (unsigned i = 0; !failed && !g->write && i < g->io.count; i++) {
        sectors_read(&g->io, i, world.ram + DATA + i * DISK_SECTOR);
    }
    sectors_written(&g->io);
    g_mutex_unlock(&guest.lock);
}

bool guest_fdc_begin(Cpu *c)
{
    FdcGuest *g = &guest.s.fdc;

    g->io.disk = DISK_FLOPPY;
    g->io.memory = DATA;
    g->io.bytes = SECTORS_MAX * DISK_SECTOR;
    /* On one track. */
    g->io.lba = rand_below(&c->rand, DISK_SECTORS);
    g->io.count = 1 + rand_below(&c->rand, SECTORS_MAX);
    g->io.count = MIN(g->io.count, TRACK - g->io.lba % TRACK);
    g->io.count = MIN(g->io.count, DISK_SECTORS - g->io.lba);
    g->write = rand_below(&c->rand, 2);
    g->io.value = (uint32_t)rand_next(&c->rand);
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
