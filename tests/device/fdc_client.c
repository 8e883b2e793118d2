/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fdc_client.h"

#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>

void qfdc_fill_sector(uint8_t *buf, uint32_t n)
{
    for (unsigned i = 0; i < SECTOR; i++) {
        buf[i] = n + i * 7;
    }
    buf[0] = n;
    buf[1] = n >> 8;
}

char *qfdc_make_image(const char *name, unsigned sectors)
{
    char *path = g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
    g_autofree uint8_t *image = g_malloc(sectors * SECTOR + 1);

    for (unsigned i = 0; i < sectors; i++) {
        qfdc_fill_sector(image + i * SECTOR, i);
    }
    qtest_check(g_file_set_contents(path, (char *)image, sectors * SECTOR, NULL));
    return path;
}

Floppy qfdc_open(const char *drive, const char *args)
{
    Floppy f = {.path = qfdc_make_image("a.img", SECTORS)};

    f.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=f%s "
                               "-device floppy,drive=f,unit=0 %s",
                       f.path, drive, args);
    qfdc_prepare(&f, RATE_500K, false);
    return f;
}

void qfdc_prepare(Floppy *f, uint8_t rate, bool pio)
{
    f->pio = pio;
    qtest_irq_intercept_in(f->q, "ioapic");
    qtest_outb(f->q, DOR, GATE);
    qtest_outb(f->q, DOR, GATE | NRESET | MOTOR_A);
    for (unsigned i = 0; i < 4; i++) {
        qfdc_sense(f, 0xc0 + i, 0);
    }
    qtest_outb(f->q, CCR, rate);
    qfdc_command(f, 3, 0x03, 0xdf, 0x02 | pio);
    qtest_irq_count(f->q, IRQ);
}

void qfdc_close(Floppy *f)
{
    qtest_end(f->q);
    g_free(f->path);
}

/* The FIFO. */

void qfdc_out(Floppy *f, uint8_t value)
{
    qtest_check_eq(qtest_inb(f->q, MSR) & (RQM | DIO), RQM);
    qtest_outb(f->q, FIFO, value);
}

uint8_t qfdc_in(Floppy *f)
{
    qtest_check_eq(qtest_inb(f->q, MSR), RESULTS);
    return qtest_inb(f->q, FIFO);
}

void qfdc_command(Floppy *f, unsigned n, ...)
{
    va_list bytes;

    qtest_check_eq(qtest_inb(f->q, MSR), IDLE);
    va_start(bytes, n);
    for (unsigned i = 0; i < n; i++) {
        qfdc_out(f, va_arg(bytes, int));
    }
    va_end(bytes);
}

void qfdc_results(Floppy *f, unsigned n, uint8_t *results)
{
    qtest_wait_until(qtest_inb(f->q, MSR) == RESULTS);
    for (unsigned i = 0; i < n; i++) {
        results[i] = qfdc_in(f);
    }
    qtest_check_eq(qtest_inb(f->q, MSR), IDLE);
}

uint8_t qfdc_ask_(Floppy *f, const uint8_t *bytes, unsigned n)
{
    uint8_t result;

    for (unsigned i = 0; i < n; i++) {
        qfdc_out(f, bytes[i]);
    }
    qfdc_results(f, 1, &result);
    return result;
}

void qfdc_sense(Floppy *f, uint8_t st0, uint8_t track)
{
    uint8_t results[2];

    qfdc_command(f, 1, 0x08);
    qfdc_results(f, 2, results);
    qtest_check_eq(results[0], st0);
    qtest_check_eq(results[1], track);
}

/* Data. */

void qfdc_dma(Floppy *f, uint8_t mode, uint32_t addr, uint32_t len)
{
    qtest_outb(f->q, 0x0a, 4 | 2);
    qtest_outb(f->q, 0x0b, mode | 2);
    qtest_outb(f->q, 0x0c, 0);
    qtest_outb(f->q, 0x04, addr);
    qtest_outb(f->q, 0x04, addr >> 8);
    qtest_outb(f->q, 0x81, addr >> 16);
    qtest_outb(f->q, 0x05, len - 1);
    qtest_outb(f->q, 0x05, (len - 1) >> 8);
    qtest_outb(f->q, 0x0a, 2);
}

void qfdc_begin(Floppy *f, uint8_t code, uint8_t select, Chs at, uint8_t eot, uint8_t last)
{
    qfdc_command(f, 9, code, select, at.cyl, at.head, at.sector, 2, eot, 0x1b, last);
}

void qfdc_end(Floppy *f, uint8_t st0, uint8_t st1, uint8_t st2, Chs at)
{
    uint8_t r[7];

    qtest_wait_until(qtest_inb(f->q, MSR) == RESULTS);
    qtest_check(qtest_irq(f->q, IRQ));
    qfdc_results(f, 7, r);
    qtest_check(!qtest_irq(f->q, IRQ));
    qtest_check_eq(r[0], st0);
    qtest_check_eq(r[1], st1);
    qtest_check_eq(r[2], st2);
    qtest_check_eq(r[3], at.cyl);
    qtest_check_eq(r[4], at.head);
    qtest_check_eq(r[5], at.sector);
    qtest_check_eq(r[6], 2);
}

void qfdc_read_sector(Floppy *f, uint8_t select, Chs at, uint8_t *buf)
{
    uint8_t r[7];

    qfdc_command(f, 3, 0x0f, select, at.cyl);
    qfdc_sense(f, SEEK_OVER | (select & 3), at.cyl);
    if (!f->pio) {
        qfdc_dma(f, TO_MEMORY, DATA, SECTOR);
    }
    qfdc_begin(f, READ, select, at, at.sector, 0xff);
    if (f->pio) {
        qtest_wait_until(qtest_inb(f->q, MSR) == (RQM | DIO | NON_DMA | BUSY));
        for (unsigned i = 0; i < SECTOR; i++) {
            buf[i] = qtest_inb(f->q, FIFO);
        }
    }
    qfdc_results(f, 7, r);
    qtest_check_eq(r[0] & 0xc0, 0);
    if (!f->pio) {
        qtest_read(f->q, DATA, buf, SECTOR);
    }
}

void qfdc_check_sector(Floppy *f, Chs at, uint32_t content)
{
    uint8_t buf[SECTOR], want[SECTOR];

    qfdc_read_sector(f, at.head << 2, at, buf);
    qfdc_fill_sector(want, content);
    qtest_check_mem(buf, want, SECTOR);
}
