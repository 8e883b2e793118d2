/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cd_client.h"

#include <fcntl.h>
#include <unistd.h>

void qcd_fill_sector(uint8_t *buf, unsigned seed, uint32_t n)
{
    for (unsigned i = 0; i < CD_SECTOR; i++) {
        buf[i] = n * seed + i * 3 + (i >> 8);
    }
}

char *qcd_make_disc(const char *name, unsigned seed, uint32_t sectors)
{
    char *path = g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    uint8_t buf[CD_SECTOR];

    qtest_check(fd >= 0);
    for (uint32_t i = 0; i < sectors; i++) {
        qcd_fill_sector(buf, seed, i);
        qtest_check_eq(write(fd, buf, sizeof buf), sizeof buf);
    }
    close(fd);
    return path;
}

void qcd_check_sector(const uint8_t *buf, unsigned seed, uint32_t n)
{
    uint8_t want[CD_SECTOR];

    qcd_fill_sector(want, seed, n);
    qtest_check_mem(buf, want, CD_SECTOR);
}

Ide qcd_open(const char *path, const char *drive, const char *device)
{
    g_autofree char *file = path ? g_strdup_printf(",file=%s,format=raw", path) : g_strdup("");
    Ide d = {0};

    d.q = qtest_startf(MACHINE "-drive if=none,media=cdrom,id=cd0%s%s "
                               "-device ide-cd,drive=cd0,bus=ide.0%s",
                       file, drive, device);
    qide_attach(&d);
    qtest_irq_intercept_in(d.q, "ioapic");
    qcd_packet(&d, (Packet){0}, 0xfffe);
    qtest_check_eq(qide_wait_ready(&d), CHECK);
    qtest_check_eq(qcd_sense(&d), POWER_ON);
    return d;
}

void qcd_packet(Ide *d, const uint8_t *packet, uint16_t limit)
{
    qide_out(d, DEVICE, 0xa0);
    qide_out(d, ERROR, limit ? 0 : 1);
    qide_out(d, LBA_MID, limit);
    qide_out(d, LBA_HIGH, limit >> 8);
    qide_out(d, STATUS, 0xa0);
    qtest_check_eq(qide_wait_ready(d), READY | DRQ);
    qtest_check_eq(qide_in(d, COUNT), REASON_PACKET);
    for (unsigned i = 0; i < 12; i += 2) {
        qtest_outw(d->q, BASE, packet[i] | packet[i + 1] << 8);
    }
}

size_t qcd_read_data(Ide *d, uint8_t *buf, size_t max, uint16_t limit)
{
    size_t n = 0;

    while (qide_wait_ready(d) == (READY | DRQ)) {
        unsigned len = qide_in(d, LBA_MID) | qide_in(d, LBA_HIGH) << 8;

        qtest_check_eq(qide_in(d, COUNT), REASON_IN);
        qtest_check(qtest_irq(d->q, IRQ));
        qide_in(d, STATUS);
        qtest_check(!qtest_irq(d->q, IRQ));
        qtest_check(len && len <= limit && n + len <= max);
        for (unsigned i = 0; i < len; i += 2) {
            uint16_t word = qtest_inw(d->q, BASE);

            memcpy(buf + n + i, &word, MIN(2, len - i));
        }
        n += len;
    }
    return n;
}

size_t qcd_command(Ide *d, const uint8_t *packet, uint8_t *buf, size_t max)
{
    size_t n;

    qcd_packet(d, packet, 0xfffe);
    n = qcd_read_data(d, buf, max, 0xfffe);
    qtest_check_eq(qide_wait_ready(d), READY);
    qtest_check_eq(qide_in(d, COUNT), REASON_END);
    qtest_check(qtest_irq(d->q, IRQ));
    qide_in(d, STATUS);
    return n;
}

uint32_t qcd_sense(Ide *d)
{
    uint8_t sense[18];

    qide_in(d, STATUS);
    qtest_check_eq(qcd_command(d, (Packet){0x03, 0, 0, 0, 18}, sense, 18), 18);
    qtest_check_eq(sense[0] & 0x7f, 0x70);
    return sense[2] << 16 | sense[12] << 8 | sense[13];
}

void qcd_refused(Ide *d, const uint8_t *packet, uint32_t sense)
{
    qcd_packet(d, packet, 0xfffe);
    qtest_check_eq(qide_wait_ready(d), CHECK);
    qtest_check_eq(qide_in(d, ERROR), sense >> 16 << 4);
    qtest_check_eq(qide_in(d, COUNT), REASON_END);
    qtest_check_eq(qcd_sense(d), sense);
    qtest_check_eq(qcd_sense(d), 0);
}

void qcd_read_10(uint8_t *packet, uint32_t lba, uint16_t sectors)
{
    const Packet read = {0x28, 0, lba >> 24, lba >> 16, lba >> 8, lba, 0, sectors >> 8, sectors};

    memcpy(packet, read, sizeof read);
}

void qcd_check_disc(Ide *d, unsigned seed, uint32_t lba)
{
    uint8_t buf[CD_SECTOR];
    Packet read;

    qcd_read_10(read, lba, 1);
    qtest_check_eq(qcd_command(d, read, buf, sizeof buf), CD_SECTOR);
    qcd_check_sector(buf, seed, lba);
}
