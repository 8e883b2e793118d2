/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ide_client.h"

#include <fcntl.h>
#include <unistd.h>

void qide_fill_sector(uint8_t *buf, uint32_t n)
{
    for (unsigned i = 0; i < SECTOR; i++) {
        buf[i] = n + i * 7;
    }
}

char *qide_make_disk(void)
{
    char *path = g_strdup_printf("%s/disk.raw", qtest_tmp_dir());
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    uint8_t buf[SECTOR];

    qtest_check(fd >= 0);
    for (unsigned i = 0; i < SECTORS; i++) {
        qide_fill_sector(buf, i);
        qtest_check_eq(write(fd, buf, sizeof buf), sizeof buf);
    }
    close(fd);
    return path;
}

void qide_attach(Ide *d)
{
    qpci_open(d->q, &d->pci, 1, 1);
    qpci_enable(&d->pci);
    d->bm = qpci_map_bar(&d->pci, 4);
    d->table = qtest_alloc(d->q, 65536, 65536);
    d->data = qtest_alloc(d->q, 1024 * 1024, 4096);
}

Ide qide_open(const char *drive, const char *device)
{
    Ide d = {.path = qide_make_disk()};

    d.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0%s "
                               "-device ide-hd,drive=d0,bus=ide.0%s",
                       d.path, drive, device);
    qide_attach(&d);
    qtest_irq_intercept_in(d.q, "ioapic");
    return d;
}

void qide_close(Ide *d)
{
    qtest_end(d->q);
    g_free(d->path);
}

/* Registers. */

void qide_out(Ide *d, unsigned reg, uint8_t value)
{
    qtest_outb(d->q, BASE + reg, value);
}

uint8_t qide_in(Ide *d, unsigned reg)
{
    return qtest_inb(d->q, BASE + reg);
}

uint8_t qide_wait_ready(Ide *d)
{
    qtest_wait_until(!(qtest_inb(d->q, CONTROL) & BSY));
    return qtest_inb(d->q, CONTROL);
}

void qide_command(Ide *d, uint8_t code, uint8_t device, uint32_t lba, uint8_t count)
{
    qide_out(d, DEVICE, device | (device & 0x40 ? lba >> 24 & 15 : 0));
    qide_out(d, COUNT, count);
    qide_out(d, LBA_LOW, lba);
    qide_out(d, LBA_MID, lba >> 8);
    qide_out(d, LBA_HIGH, lba >> 16);
    qide_out(d, STATUS, code);
}

void qide_command_ext(Ide *d, uint8_t code, uint64_t lba, uint16_t count)
{
    qide_out(d, DEVICE, LBA);
    qide_out(d, COUNT, count >> 8);
    qide_out(d, COUNT, count);
    qide_out(d, LBA_LOW, lba >> 24);
    qide_out(d, LBA_LOW, lba);
    qide_out(d, LBA_MID, lba >> 32);
    qide_out(d, LBA_MID, lba >> 8);
    qide_out(d, LBA_HIGH, lba >> 40);
    qide_out(d, LBA_HIGH, lba >> 16);
    qide_out(d, STATUS, code);
}

void qide_check_command(Ide *d, uint8_t code, uint8_t features, uint8_t count, uint8_t error)
{
    qtest_irq_count(d->q, IRQ);
    qide_out(d, ERROR, features);
    qide_command(d, code, LBA, 0, count);
    qtest_check_eq(qide_wait_ready(d), READY | (error ? ERR : 0));
    qtest_check_eq(qide_in(d, ERROR), error);
    qtest_check_eq(qtest_irq_count(d->q, IRQ), 1);
    qtest_check(qtest_irq(d->q, IRQ));
    qide_in(d, STATUS);
    qtest_check(!qtest_irq(d->q, IRQ));
}

/* Data by PIO. */

void qide_check_sector(const uint8_t *buf, uint32_t n)
{
    uint8_t want[SECTOR];

    qide_fill_sector(want, n);
    qtest_check_mem(buf, want, SECTOR);
}

void qide_read_block(Ide *d, uint8_t *buf, unsigned n, bool wide)
{
    qtest_check_eq(qide_wait_ready(d), READY | DRQ);
    qide_in(d, STATUS);
    for (unsigned i = 0; i < n * SECTOR; i += wide ? 4 : 2) {
        uint32_t v = wide ? qtest_inl(d->q, BASE) : qtest_inw(d->q, BASE);

        memcpy(buf + i, &v, wide ? 4 : 2);
    }
}

void qide_write_block(Ide *d, const uint8_t *buf, unsigned n, bool wide)
{
    qtest_check_eq(qide_wait_ready(d), READY | DRQ);
    qide_in(d, STATUS);
    for (unsigned i = 0; i < n * SECTOR; i += wide ? 4 : 2) {
        uint32_t v = 0;

        memcpy(&v, buf + i, wide ? 4 : 2);
        if (wide) {
            qtest_outl(d->q, BASE, v);
        } else {
            qtest_outw(d->q, BASE, v);
        }
    }
}

void qide_check_disk(Ide *d, uint32_t lba, uint32_t content)
{
    uint8_t buf[SECTOR];

    qide_command(d, 0x20, LBA, lba, 1);
    qide_read_block(d, buf, 1, true);
    qide_check_sector(buf, content);
    qtest_check_eq(qide_wait_ready(d), READY);
}

void qide_identify(Ide *d, uint16_t *words)
{
    qide_command(d, 0xec, LBA, 0, 0);
    qide_read_block(d, (uint8_t *)words, 1, false);
    qtest_check_eq(qide_wait_ready(d), READY);
}

void qide_check_string(const uint16_t *words, unsigned n, const char *want)
{
    g_autofree char *text = g_new0(char, 2 * n + 1);

    for (unsigned i = 0; i < n; i++) {
        text[2 * i] = words[i] >> 8;
        text[2 * i + 1] = words[i];
    }
    qtest_check_str(g_strchomp(text), want);
}
/* DMA. */

void qide_prd(Ide *d, unsigned n, uint32_t addr, uint32_t bytes)
{
    qtest_writel(d->q, d->table + 8 * n, addr);
    qtest_writel(d->q, d->table + 8 * n + 4, bytes);
}

uint8_t qide_bm_status(Ide *d)
{
    return qpci_readb(d->bm, BM_STATUS);
}

void qide_dma_start(Ide *d, uint8_t direction)
{
    qpci_writeb(d->bm, BM_STATUS, BM_ERROR | INTERRUPT);
    qpci_writel(d->bm, BM_TABLE, d->table);
    qpci_writeb(d->bm, BM_COMMAND, direction);
    qpci_writeb(d->bm, BM_COMMAND, direction | START);
}

void qide_dma_stop(Ide *d)
{
    qpci_writeb(d->bm, BM_COMMAND, 0);
    qide_in(d, STATUS);
}

uint8_t qide_dma_wait(Ide *d)
{
    qtest_wait_until(qide_bm_status(d) & INTERRUPT);
    qtest_check_eq(qtest_inb(d->q, CONTROL), READY);
    return qide_bm_status(d);
}
void qide_check_usable(Ide *d)
{
    qtest_outb(d->q, CONTROL, 4);
    qtest_outb(d->q, CONTROL, 0);
    qide_check_disk(d, 9, 9);
}
