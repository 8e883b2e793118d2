/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ide-hd: its registers, every class of commands but DMA, and the command line. */
#include <fcntl.h>
#include <unistd.h>
#include "ide_client.h"

static void test_identify(void)
{
    Ide d = qide_open(",serial=of-the-drive", "");
    uint16_t w[256];

    qide_identify(&d, w);
    qide_check_string(w + 10, 10, "of-the-drive");
    qide_check_string(w + 23, 4, "2.5+");
    qide_check_string(w + 27, 20, "QEMU HARDDISK");
    qtest_check_eq(w[1], SECTORS / 16 / 63);
    qtest_check_eq(w[3], 16);
    qtest_check_eq(w[6], 63);
    qtest_check_eq(w[60] | w[61] << 16, SECTORS);
    qtest_check_eq(w[100] | w[101] << 16, SECTORS);
    qtest_check_eq(w[84] & 0x100, 0);
    qtest_check_eq(w[169], 1);
    qide_close(&d);
    d = qide_open("",
                  ",serial=s,model=A-model,ver=9.8,wwn=0x5000c50015ea71aa,cyls=5,heads=4,secs=8,"
                  "rotation_rate=7200,physical_block_size=4096,discard_granularity=0,"
                  "write-cache=off");
    qide_identify(&d, w);
    qide_check_string(w + 10, 10, "s");
    qide_check_string(w + 23, 4, "9.8");
    qide_check_string(w + 27, 20, "A-model");
    qtest_check_eq(w[1], 5);
    qtest_check_eq(w[3], 4);
    qtest_check_eq(w[6], 8);
    qtest_check(w[84] & w[87] & 0x100);
    qtest_check_eq(w[108], 0x5000);
    qtest_check_eq(w[111], 0x71aa);
    qtest_check_eq(w[217], 7200);
    qtest_check_eq(w[106], 0x6003);
    qtest_check_eq(w[169], 0);
    qtest_check_eq(w[85] & 0x20, 0);
    qide_close(&d);
}

static void test_pio(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[3 * SECTOR];

    /* Each block has its interrupt, and none follows the last one. */
    qtest_irq_count(d.q, IRQ);
    qide_command(&d, 0x20, LBA, 100, 3);
    for (unsigned i = 0; i < 3; i++) {
        qide_read_block(&d, buf, 1, i & 1);
        qide_check_sector(buf, 100 + i);
        if (i < 2) {
            qide_wait_ready(&d);
        }
        qtest_check_eq(qtest_irq_count(d.q, IRQ), i == 1 ? 1 : i ? 0 : 2);
    }
    qtest_check_eq(qide_wait_ready(&d), READY);
    qtest_check(!qtest_irq(d.q, IRQ));
    /* None comes before the first block that is written. */
    qide_command(&d, 0x30, LBA, 200, 2);
    for (unsigned i = 0; i < 2; i++) {
        qtest_check_eq(qtest_irq_count(d.q, IRQ), i);
        qide_fill_sector(buf, 1000 + i);
        qide_write_block(&d, buf, 1, i & 1);
        qide_wait_ready(&d);
    }
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 1);
    qtest_check_eq(qide_in(&d, STATUS), READY);
    qide_check_disk(&d, 199, 199);
    qide_check_disk(&d, 200, 1000);
    qide_check_disk(&d, 201, 1001);
    qide_check_disk(&d, 202, 202);
    /* 48 bits; the last sector. */
    qide_command_ext(&d, 0x24, SECTORS - 1, 1);
    qide_read_block(&d, buf, 1, true);
    qide_check_sector(buf, SECTORS - 1);
    qide_command_ext(&d, 0x34, SECTORS - 1, 1);
    qide_fill_sector(buf, 77);
    qide_write_block(&d, buf, 1, false);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_check_disk(&d, SECTORS - 1, 77);
    /* Data that nobody asks for. */
    qtest_outw(d.q, BASE, 1);
    qtest_check_eq(qtest_inw(d.q, BASE), 0);
    qide_close(&d);
}

static void test_chs(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[SECTOR];
    uint16_t w[256];

    qide_command(&d, 0x20, CHS | 3, 5 | 2 << 8, 1);
    qide_read_block(&d, buf, 1, true);
    qide_check_sector(buf, (2 * 16 + 3) * 63 + 4);
    qide_command(&d, 0x91, CHS | 7, 0, 10);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_command(&d, 0x20, CHS | 7, 10 | 4 << 8, 1);
    qide_read_block(&d, buf, 1, true);
    qide_check_sector(buf, (4 * 8 + 7) * 10 + 9);
    qide_identify(&d, w);
    qtest_check_eq(w[54], SECTORS / 80);
    qtest_check_eq(w[55], 8);
    qtest_check_eq(w[56], 10);
    /* Sector 0, sector 11, head 8, a cylinder too many; a seek to each. */
    static const struct {
        uint8_t head;
        uint32_t sector;
    } wrong[] = {{0, 0}, {0, 11}, {8, 1}, {0, 1 | (SECTORS / 80) << 8}};
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        qide_command(&d, i & 1 ? 0x70 : 0x20, CHS | wrong[i].head, wrong[i].sector, 1);
        qtest_check_eq(qide_wait_ready(&d), READY | ERR);
        qtest_check_eq(qide_in(&d, ERROR), IDNF);
    }
    qide_command(&d, 0x70, CHS | 7, 10, 0);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_command(&d, 0x91, CHS | 7, 0, 0);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qide_close(&d);
}

static void test_multiple(void)
{
    Ide d = qide_open("", "");
    uint8_t buf[8 * SECTOR];

    qide_check_command(&d, 0xc6, 0, 3, ABRT);
    qide_check_command(&d, 0xc6, 0, 32, ABRT);
    qide_check_command(&d, 0xc6, 0, 8, 0);
    qtest_irq_count(d.q, IRQ);
    qide_command(&d, 0xc4, LBA, 50, 11);
    qide_read_block(&d, buf, 8, true);
    qide_check_sector(buf + 7 * SECTOR, 57);
    qide_read_block(&d, buf, 3, true);
    qide_check_sector(buf + 2 * SECTOR, 60);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 2);
    for (unsigned i = 0; i < 8; i++) {
        qide_fill_sector(buf + i * SECTOR, 500 + i);
    }
    qide_command_ext(&d, 0x39, 60, 9);
    qide_write_block(&d, buf, 8, true);
    qide_write_block(&d, buf, 1, true);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_check_disk(&d, 67, 507);
    qide_check_disk(&d, 68, 500);
    qide_check_disk(&d, 69, 69);
    qide_check_command(&d, 0xc6, 0, 0, 0);
    qide_check_command(&d, 0xc4, 0, 1, ABRT);
    qide_check_command(&d, 0x39, 0, 1, ABRT);
    qide_close(&d);
}

/* Commands without data, and what they answer. */
static void test_commands(void)
{
    Ide d = qide_open("", "");
    static const uint8_t absent[] = {0x00, 0x08, 0x22, 0x32, 0xa0, 0xa1, 0xe4, 0xe8, 0xf1,
                                     0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf9, 0x37, 0xb1, 0xff};
    uint16_t w[256];

    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        qide_check_command(&d, absent[i], 0, 1, ABRT);
    }
    qide_check_command(&d, 0x10, 0, 0, 0);
    qide_check_command(&d, 0x1f, 0, 0, 0);
    qide_check_command(&d, 0xe7, 0, 0, 0);
    qide_check_command(&d, 0xea, 0, 0, 0);
    qide_check_command(&d, 0x40, 0, 0, 0); /* VERIFY, 256 sectors */
    qide_check_command(&d, 0x40, 0, 1, 0);
    qide_command_ext(&d, 0x42, SECTORS - 1, 2);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    qtest_check_eq(qide_in(&d, ERROR), IDNF);
    qide_check_command(&d, 0xf8, 0, 0, 0);
    qtest_check_eq(qide_in(&d, LBA_LOW) | qide_in(&d, LBA_MID) << 8 | qide_in(&d, LBA_HIGH) << 16,
                   SECTORS - 1);
    qide_check_command(&d, 0x27, 0, 0, 0);
    qtest_outb(d.q, CONTROL, 0x80);
    qtest_check_eq(qide_in(&d, LBA_LOW), 0);
    qtest_outb(d.q, CONTROL, 0);
    qtest_check_eq(qide_in(&d, LBA_LOW), 0xff);
    /* SET FEATURES. */
    qide_check_command(&d, 0xef, 0x82, 0, 0);
    qide_identify(&d, w);
    qtest_check_eq(w[85] & 0x20, 0);
    qide_check_command(&d, 0xef, 0x02, 0, 0);
    qide_identify(&d, w);
    qtest_check_eq(w[85] & 0x20, 0x20);
    qide_check_command(&d, 0xef, 0x03, 0x22, 0);
    qide_identify(&d, w);
    qtest_check_eq(w[63], 0x0407);
    qtest_check_eq(w[88], 0x003f);
    qide_check_command(&d, 0xef, 0x03, 0x44, 0);
    qide_check_command(&d, 0xef, 0x03, 0x46, ABRT);
    qide_check_command(&d, 0xef, 0x03, 0x0d, ABRT);
    qide_check_command(&d, 0xef, 0x03, 0x10, ABRT);
    qide_identify(&d, w);
    qtest_check_eq(w[63], 0x0007);
    qtest_check_eq(w[88], 0x103f);
    qide_check_command(&d, 0xef, 0xaa, 0, 0);
    qide_check_command(&d, 0xef, 0x42, 0, ABRT);
    qide_close(&d);
}

static void test_power(void)
{
    Ide d = qide_open("", "");

    qide_check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(qide_in(&d, COUNT), 0xff);
    qide_check_command(&d, 0xe0, 0, 0, 0);
    qide_check_command(&d, 0x98, 0, 7, 0);
    qtest_check_eq(qide_in(&d, COUNT), 0);
    qide_check_disk(&d, 3, 3);
    qide_check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(qide_in(&d, COUNT), 0xff);
    qide_check_command(&d, 0xe2, 0, 0, 0);
    qide_check_command(&d, 0xe1, 0, 0, 0);
    qide_check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(qide_in(&d, COUNT), 0xff);
    /* Only a reset ends its sleep. */
    qide_check_command(&d, 0xe6, 0, 0, 0);
    qide_command(&d, 0xec, LBA, 0, 0);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qtest_outb(d.q, CONTROL, 4);
    qtest_outb(d.q, CONTROL, 0);
    qide_check_disk(&d, 3, 3);
    qide_close(&d);
}

static void smart(Ide *d, uint8_t feature)
{
    qide_out(d, ERROR, feature);
    qide_command(d, 0xb0, LBA, 0xc24f00, 1);
}

static void test_smart(void)
{
    Ide d = qide_open("", "");
    uint8_t data[2][SECTOR], sum[2] = {0};

    for (unsigned k = 0; k < 2; k++) {
        smart(&d, 0xd0 + k);
        qide_read_block(&d, data[k], 1, true);
        for (unsigned i = 0; i < SECTOR; i++) {
            sum[k] += data[k][i];
        }
        qtest_check_eq(sum[k], 0);
        qtest_check_eq(data[k][2], 1);
    }
    qtest_check_ne(data[0][5], 0);
    smart(&d, 0xda);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qtest_check_eq(qide_in(&d, LBA_MID) | qide_in(&d, LBA_HIGH) << 8, 0xc24f);
    smart(&d, 0xd5);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    smart(&d, 0xd9);
    qtest_check_eq(qide_wait_ready(&d), READY);
    smart(&d, 0xda);
    qtest_check_eq(qide_wait_ready(&d), READY | ERR);
    smart(&d, 0xd8);
    qtest_check_eq(qide_wait_ready(&d), READY);
    smart(&d, 0xda);
    qtest_check_eq(qide_wait_ready(&d), READY);
    qide_check_command(&d, 0xb0, 0xda, 0, ABRT); /* not its signature */
    qide_close(&d);
}

/* After a reset, and a diagnosis, both drives show their signatures, and drive 0 is selected. */
static void check_signatures(Ide *d)
{
    for (unsigned i = 0; i < 2; i++) {
        qide_command(d, 0xff, LBA | SLAVE, 0x123456, 9);
        qide_wait_ready(d);
        if (i == 0) {
            qtest_outb(d->q, CONTROL, 4);
            qtest_check_eq(qide_in(d, STATUS), BSY);
            qtest_outb(d->q, CONTROL, 0);
        } else {
            qide_out(d, STATUS, 0x90);
        }
        qtest_check_eq(qide_in(d, DEVICE), 0xa0);
        for (unsigned unit = 0; unit < 2; unit++) {
            qide_out(d, DEVICE, CHS | (unit ? SLAVE : 0));
            qtest_check_eq(qide_in(d, STATUS), READY);
            qtest_check_eq(qide_in(d, ERROR), 1);
            qtest_check_eq(qide_in(d, COUNT), 1);
            qtest_check_eq(qide_in(d, LBA_LOW), 1);
            qtest_check_eq(qide_in(d, LBA_MID), 0);
            qtest_check_eq(qide_in(d, LBA_HIGH), 0);
        }
    }
}

/* Which drives there are, how they are selected, and what a reset leaves. */
static void test_drives(void)
{
    g_autofree char *other = g_strdup_printf("%s/other.raw", qtest_tmp_dir());
    Ide d = {.path = qide_make_disk()};
    uint16_t w[256];

    qtest_check(g_file_set_contents(other, (char[SECTOR]){1}, SECTOR, NULL));
    d.q =
        qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0 "
                             "-drive file=%s,format=raw,if=none,id=d1 "
                             "-device ide-hd,drive=d0,bus=ide.0 -device ide-hd,drive=d1,bus=ide.0",
                     d.path, other);
    qide_attach(&d);
    qtest_irq_intercept_in(d.q, "ioapic");
    qide_command(&d, 0xec, LBA | SLAVE, 0, 0);
    qide_read_block(&d, (uint8_t *)w, 1, true);
    qtest_check_eq(w[60], 1);
    qide_check_string(w + 10, 10, "QM00002");
    /* Only the selected drive interrupts. */
    qide_command(&d, 0xe7, LBA | SLAVE, 0, 0);
    qide_wait_ready(&d);
    qtest_check(qtest_irq(d.q, IRQ));
    qide_out(&d, DEVICE, LBA);
    qtest_check(!qtest_irq(d.q, IRQ));
    qide_out(&d, DEVICE, LBA | SLAVE);
    qtest_check(qtest_irq(d.q, IRQ));
    qtest_outb(d.q, CONTROL, 2);
    qtest_check(!qtest_irq(d.q, IRQ));
    qtest_outb(d.q, CONTROL, 0);
    qtest_check(qtest_irq(d.q, IRQ));
    qide_in(&d, STATUS);
    check_signatures(&d);
    /* The other channel is empty. */
    for (unsigned reg = 1; reg < 8; reg++) {
        qtest_check_eq(qtest_inb(d.q, 0x170 + reg), 0);
    }
    qtest_outb(d.q, 0x177, 0xec);
    qtest_check_eq(qtest_inb(d.q, 0x376), 0);
    qide_close(&d);
    d = qide_open("", "");
    qide_out(&d, DEVICE, LBA | SLAVE);
    qtest_check_eq(qide_in(&d, STATUS), 0);
    qide_out(&d, STATUS, 0xec);
    qtest_check_eq(qtest_inb(d.q, CONTROL), 0);
    qide_out(&d, DEVICE, LBA);
    qtest_check_eq(qide_in(&d, STATUS), READY);
    qide_close(&d);
}

/* Addresses past the end. */
static void test_range(void)
{
    static const uint8_t codes[] = {0x20, 0x21, 0x30, 0x31, 0x40, 0x70, 0xc4, 0xc5, 0xc8, 0xca};
    static const uint8_t ext[] = {0x24, 0x25, 0x29, 0x34, 0x35, 0x39, 0x42};
    Ide d = qide_open("", "");

    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++) {
        qide_command(&d, codes[i], LBA, SECTORS, 1);
        qtest_check_eq(qide_wait_ready(&d), READY | ERR);
        qtest_check_eq(qide_in(&d, ERROR), IDNF);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(ext); i++) {
        qide_command_ext(&d, ext[i], i & 1 ? 0xffffffffffff : SECTORS - 1, 2);
        qtest_check_eq(qide_wait_ready(&d), READY | ERR);
        qtest_check_eq(qide_in(&d, ERROR), IDNF);
    }
    qide_check_usable(&d);
    qide_close(&d);
}

static uint8_t cmos(QTest *q, uint8_t index)
{
    qtest_outb(q, 0x70, index);
    return qtest_inb(q, 0x71);
}

static uint32_t sectors_of(QTest *q, uint16_t base, uint8_t device)
{
    uint16_t w[256];

    qtest_outb(q, base + DEVICE, device);
    qtest_outb(q, base + STATUS, 0xec);
    qtest_wait_until(qtest_inb(q, base + STATUS) & (DRQ | ERR));
    for (unsigned i = 0; i < 256; i++) {
        w[i] = qtest_inw(q, base);
    }
    return w[60] | w[61] << 16;
}

/* -hda, -drive without an interface, and a word: who gets which place. What firmware is told. */
static void test_command_line(void)
{
    enum { FILES = 4 };
    static const uint8_t geometry[] = {0xff, 0x3f, 16, 0xff, 0xff, 0xc8, 0xff, 0x3f, 63};
    static const uint32_t sizes[FILES] = {40, 16 * 63 * 5, 60, 2048 * 16 * 63};
    char *path[FILES];
    char order[256] = {0};
    uint32_t len;
    uint16_t key;

    for (unsigned i = 0; i < FILES; i++) {
        path[i] = g_strdup_printf("%s/%u.raw", qtest_tmp_dir(), i);
        int fd = open(path[i], O_CREAT | O_RDWR, 0600);

        qtest_check(fd >= 0 && !ftruncate(fd, (off_t)sizes[i] * SECTOR));
        close(fd);
    }
    QTest *q = qtest_startf(MACHINE "-drive file=%s,format=raw -hdc %s %s "
                                    "-drive file=%s,format=raw,if=none,id=d "
                                    "-device ide-hd,drive=d,bus=ide.1,bootindex=3,bios-chs-trans="
                                    "large",
                            path[1], path[2], path[0], path[3]);
    qtest_check_eq(sectors_of(q, 0x1f0, CHS), sizes[0]);
    qtest_check_eq(sectors_of(q, 0x1f0, CHS | SLAVE), sizes[1]);
    qtest_check_eq(sectors_of(q, 0x170, CHS), sizes[2]);
    qtest_check_eq(sectors_of(q, 0x170, CHS | SLAVE), sizes[3]);
    key = qtest_fw_cfg_find(q, "bootorder", &len);
    qtest_check(key && len < sizeof order);
    qtest_fw_cfg_read(q, key, order, len);
    qtest_check_str(order, "/pci@i0cf8/ide@1,1/drive@1/disk@1");
    qtest_check_eq(cmos(q, 0x12), 0xff);
    qtest_check_eq(cmos(q, 0x19), 47);
    qtest_check_eq(cmos(q, 0x1a), 47);
    qtest_check_eq(cmos(q, 0x24), 5);
    qtest_check_eq(cmos(q, 0x39), 2 << 6);
    g_autofree char *text = qtest_hmp(q, "info block");
    qtest_check(strstr(text, "ide0-hd0") && strstr(text, "ide0-hd1") && strstr(text, "ide1-hd0"));
    qtest_end(q);
    /* A large disk has the largest geometry, and LBA translation. */
    qtest_check_eq(truncate(path[0], 20ll << 30), 0);
    q = qtest_startf(MACHINE "-hda %s", path[0]);
    for (unsigned i = 0; i < sizeof geometry; i++) {
        qtest_check_eq(cmos(q, 0x1b + i), geometry[i]);
    }
    qtest_check_eq(cmos(q, 0x12), 0xf0);
    qtest_check_eq(cmos(q, 0x39), 1);
    qtest_end(q);
    for (unsigned i = 0; i < FILES; i++) {
        g_free(path[i]);
    }
}

/* A disk with one partition, which ends at this head and sector. */
static char *make_partitioned(uint8_t head, uint8_t sector, uint64_t sectors)
{
    char *path = g_strdup_printf("%s/partitioned.raw", qtest_tmp_dir());
    uint8_t mbr[SECTOR] = {[446 + 16 + 5] = head, sector | 0xc0, 0xff,
                           [446 + 16 + 12] = 1,   [510] = 0x55,  0xaa};

    qtest_check(g_file_set_contents(path, (char *)mbr, SECTOR, NULL));
    qtest_check_eq(truncate(path, sectors * SECTOR), 0);
    return path;
}

/* The geometry follows the partitions, and so does what the BIOS makes of it. */
static void test_geometry(void)
{
    static const struct {
        uint8_t head, sector;
        uint64_t sectors;
        const char *options;
        uint16_t cyls, heads, secs, translation;
    } cases[] = {
        {14, 17, 15 * 17 * 900, "", 900, 15, 17, 0},
        {7, 32, 8 * 32 * 5000, "", 5000, 8, 32, 0},
        {254, 63, 16 * 63 * 4000, "", 4000, 16, 63, 2},
        {254, 63, 16 * 63 * 9000, "", 9000, 16, 63, 1},
        {254, 63, 16 * 63 * 4000, ",bios-chs-trans=rechs", 4000, 16, 63, 3},
        {14, 17, 15 * 17 * 900, ",cyls=10,heads=4,secs=8", 10, 4, 8, 0},
        {14, 0, 16 * 63 * 500, "", 500, 16, 63, 0},
        {0, 17, 16 * 63 * 2000, "", 2000, 16, 63, 1},
        {1, 1, 16 * 63 * 2000, "", 2000, 16, 63, 1}, /* too many cylinders */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = make_partitioned(cases[i].head, cases[i].sector, cases[i].sectors);
        Ide d = {.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0 "
                                           "-device ide-hd,drive=d0,bus=ide.0%s",
                                   path, cases[i].options)};
        uint16_t w[256];

        qide_identify(&d, w);
        qtest_check_eq(w[1], cases[i].cyls);
        qtest_check_eq(w[3], cases[i].heads);
        qtest_check_eq(w[6], cases[i].secs);
        qtest_check_eq(cmos(d.q, 0x39), cases[i].translation);
        qtest_end(d.q);
    }
}

/* What the command line may not ask for. */
static void test_refused(void)
{
    static const struct {
        const char *drive, *device, *message;
    } cases[] = {
        {"", "unit=2", "Can't create IDE unit 2, bus supports only 2 units"},
        {"", "logical_block_size=4096", "logical_block_size must be 512 for IDE"},
        {"", "cyls=1", "heads must be between 1 and 16"},
        {"", "cyls=1,heads=17,secs=1", "heads must be between 1 and 16"},
        {",readonly=on", "unit=0", "Block node is read-only"},
    };
    g_autofree char *path = qide_make_disk();

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *args = g_strdup_printf(
            MACHINE "-drive file=%s,format=raw,if=none,id=d0%s -device ide-hd,drive=d0,%s", path,
            cases[i].drive, cases[i].device);
        int status;
        g_autofree char *text = qtest_start_fails(args, &status);

        qtest_check(strstr(text, cases[i].message));
        qtest_check_eq(status, QTEST_NOT_STARTED);
    }
    static const struct {
        const char *format, *message;
    } lines[] = {
        {"-hda %s -hda %s", "drive with bus=0, unit=0 (index=0) exists"},
        {"-kernel %s -drive file=%s,index=4", "does not support if=ide,bus=2,unit=0"},
        {"-hdc %s -cdrom %s", "drive with bus=1, unit=0 (index=2) exists"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *args = g_strdup_printf(MACHINE "%s", lines[i].format);
        g_auto(GStrv) halves = g_strsplit(args, "%s", 3);
        g_autofree char *line = g_strconcat(halves[0], path, halves[1], path, halves[2], NULL);
        int status;
        g_autofree char *text = qtest_start_fails(line, &status);

        qtest_check(strstr(text, lines[i].message));
        qtest_check_eq(status, QTEST_NOT_STARTED);
    }
}

static const QTestCase cases[] = {
    {"identify", test_identify},
    {"pio", test_pio},
    {"chs", test_chs},
    {"multiple", test_multiple},
    {"commands", test_commands},
    {"power", test_power},
    {"smart", test_smart},
    {"drives", test_drives},
    {"range", test_range},
    {"command-line", test_command_line},
    {"refused", test_refused},
    {"geometry", test_geometry},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
