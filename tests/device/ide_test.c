/* SPDX-License-Identifier: GPL-2.0-or-later */
/* piix3-ide and ide-hd: every class of commands, PIO, DMA, interrupts, resets, errors, state. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include "qtest_client.h"

#define MACHINE    "-machine pc -m 64 -nodefaults "
#define SECTOR     512u
#define DISK_MIB   8u
#define SECTORS    (DISK_MIB * 2048u)
#define BASE       0x1f0
#define CONTROL    0x3f6
#define IRQ        14
#define NOT_ENOUGH 64u /* KiB that a file may have under small_files() */

enum { ERROR = 1, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, STATUS };
enum { ERR = 0x01, DRQ = 0x08, DSC = 0x10, DRDY = 0x40, BSY = 0x80, READY = DRDY | DSC };
enum { ABRT = 0x04, IDNF = 0x10, UNC = 0x40 };
enum { LBA = 0xe0, CHS = 0xa0, SLAVE = 0x10 };
enum { BM_COMMAND, BM_STATUS = 2, BM_TABLE = 4 };
enum { ACTIVE = 1, BM_ERROR = 2, INTERRUPT = 4, START = 1, TO_MEMORY = 8 };
#define EOT 0x80000000u

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bm;
    uint64_t table, data;
    char *path;
} Ide;

/* Byte i of sector n is n + i * 7. */
static void fill_sector(uint8_t *buf, uint32_t n)
{
    for (unsigned i = 0; i < SECTOR; i++) {
        buf[i] = n + i * 7;
    }
}

static char *make_disk(void)
{
    char *path = g_strdup_printf("%s/disk.raw", qtest_tmp_dir());
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    uint8_t buf[SECTOR];

    qtest_check(fd >= 0);
    for (unsigned i = 0; i < SECTORS; i++) {
        fill_sector(buf, i);
        qtest_check_eq(write(fd, buf, sizeof buf), sizeof buf);
    }
    close(fd);
    return path;
}

static void ide_attach(Ide *d)
{
    qpci_open(d->q, &d->pci, 1, 1);
    qpci_enable(&d->pci);
    d->bm = qpci_map_bar(&d->pci, 4);
    d->table = qtest_alloc(d->q, 65536, 65536);
    d->data = qtest_alloc(d->q, 1024 * 1024, 4096);
}

static Ide ide_open(const char *drive, const char *device)
{
    Ide d = {.path = make_disk()};

    d.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0%s "
                               "-device ide-hd,drive=d0,bus=ide.0%s",
                       d.path, drive, device);
    ide_attach(&d);
    qtest_irq_intercept_in(d.q, "ioapic");
    return d;
}

static void ide_close(Ide *d)
{
    qtest_end(d->q);
    g_free(d->path);
}

/* Registers. */

static void out(Ide *d, unsigned reg, uint8_t value)
{
    qtest_outb(d->q, BASE + reg, value);
}

static uint8_t in(Ide *d, unsigned reg)
{
    return qtest_inb(d->q, BASE + reg);
}

static uint8_t wait_ready(Ide *d)
{
    qtest_wait_until(!(qtest_inb(d->q, CONTROL) & BSY));
    return qtest_inb(d->q, CONTROL);
}

/* A command with a 28-bit address, or CHS: 'lba' is sector | cylinder << 8. */
static void command(Ide *d, uint8_t code, uint8_t device, uint32_t lba, uint8_t count)
{
    out(d, DEVICE, device | (device & 0x40 ? lba >> 24 & 15 : 0));
    out(d, COUNT, count);
    out(d, LBA_LOW, lba);
    out(d, LBA_MID, lba >> 8);
    out(d, LBA_HIGH, lba >> 16);
    out(d, STATUS, code);
}

static void command_ext(Ide *d, uint8_t code, uint64_t lba, uint16_t count)
{
    out(d, DEVICE, LBA);
    out(d, COUNT, count >> 8);
    out(d, COUNT, count);
    out(d, LBA_LOW, lba >> 24);
    out(d, LBA_LOW, lba);
    out(d, LBA_MID, lba >> 32);
    out(d, LBA_MID, lba >> 8);
    out(d, LBA_HIGH, lba >> 40);
    out(d, LBA_HIGH, lba >> 16);
    out(d, STATUS, code);
}

/* A command without data ends with this error, and one interrupt. 0: well. */
static void check_command(Ide *d, uint8_t code, uint8_t features, uint8_t count, uint8_t error)
{
    qtest_irq_count(d->q, IRQ);
    out(d, ERROR, features);
    command(d, code, LBA, 0, count);
    qtest_check_eq(wait_ready(d), READY | (error ? ERR : 0));
    qtest_check_eq(in(d, ERROR), error);
    qtest_check_eq(qtest_irq_count(d->q, IRQ), 1);
    qtest_check(qtest_irq(d->q, IRQ));
    in(d, STATUS);
    qtest_check(!qtest_irq(d->q, IRQ));
}

/* Data by PIO. */

static void check_sector(const uint8_t *buf, uint32_t n)
{
    uint8_t want[SECTOR];

    fill_sector(want, n);
    qtest_check_mem(buf, want, SECTOR);
}

/* The device has 'n' sectors for us: words, or doublewords. */
static void read_block(Ide *d, uint8_t *buf, unsigned n, bool wide)
{
    qtest_check_eq(wait_ready(d), READY | DRQ);
    in(d, STATUS);
    for (unsigned i = 0; i < n * SECTOR; i += wide ? 4 : 2) {
        uint32_t v = wide ? qtest_inl(d->q, BASE) : qtest_inw(d->q, BASE);

        memcpy(buf + i, &v, wide ? 4 : 2);
    }
}

static void write_block(Ide *d, const uint8_t *buf, unsigned n, bool wide)
{
    qtest_check_eq(wait_ready(d), READY | DRQ);
    in(d, STATUS);
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

static void check_disk(Ide *d, uint32_t lba, uint32_t content)
{
    uint8_t buf[SECTOR];

    command(d, 0x20, LBA, lba, 1);
    read_block(d, buf, 1, true);
    check_sector(buf, content);
    qtest_check_eq(wait_ready(d), READY);
}

static void identify(Ide *d, uint16_t *words)
{
    command(d, 0xec, LBA, 0, 0);
    read_block(d, (uint8_t *)words, 1, false);
    qtest_check_eq(wait_ready(d), READY);
}

static void check_string(const uint16_t *words, unsigned n, const char *want)
{
    g_autofree char *text = g_new0(char, 2 * n + 1);

    for (unsigned i = 0; i < n; i++) {
        text[2 * i] = words[i] >> 8;
        text[2 * i + 1] = words[i];
    }
    qtest_check_str(g_strchomp(text), want);
}

static void test_identify(void)
{
    Ide d = ide_open(",serial=of-the-drive", "");
    uint16_t w[256];

    identify(&d, w);
    check_string(w + 10, 10, "of-the-drive");
    check_string(w + 23, 4, "2.5+");
    check_string(w + 27, 20, "QEMU HARDDISK");
    qtest_check_eq(w[1], SECTORS / 16 / 63);
    qtest_check_eq(w[3], 16);
    qtest_check_eq(w[6], 63);
    qtest_check_eq(w[60] | w[61] << 16, SECTORS);
    qtest_check_eq(w[100] | w[101] << 16, SECTORS);
    qtest_check_eq(w[84] & 0x100, 0);
    qtest_check_eq(w[169], 1);
    ide_close(&d);
    d = ide_open("", ",serial=s,model=A-model,ver=9.8,wwn=0x5000c50015ea71aa,cyls=5,heads=4,secs=8,"
                     "rotation_rate=7200,physical_block_size=4096,discard_granularity=0,"
                     "write-cache=off");
    identify(&d, w);
    check_string(w + 10, 10, "s");
    check_string(w + 23, 4, "9.8");
    check_string(w + 27, 20, "A-model");
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
    ide_close(&d);
}

static void test_pio(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[3 * SECTOR];

    /* Each block has its interrupt, and none follows the last one. */
    qtest_irq_count(d.q, IRQ);
    command(&d, 0x20, LBA, 100, 3);
    for (unsigned i = 0; i < 3; i++) {
        read_block(&d, buf, 1, i & 1);
        check_sector(buf, 100 + i);
        if (i < 2) {
            wait_ready(&d);
        }
        qtest_check_eq(qtest_irq_count(d.q, IRQ), i == 1 ? 1 : i ? 0 : 2);
    }
    qtest_check_eq(wait_ready(&d), READY);
    qtest_check(!qtest_irq(d.q, IRQ));
    /* None comes before the first block that is written. */
    command(&d, 0x30, LBA, 200, 2);
    for (unsigned i = 0; i < 2; i++) {
        qtest_check_eq(qtest_irq_count(d.q, IRQ), i);
        fill_sector(buf, 1000 + i);
        write_block(&d, buf, 1, i & 1);
        wait_ready(&d);
    }
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 1);
    qtest_check_eq(in(&d, STATUS), READY);
    check_disk(&d, 199, 199);
    check_disk(&d, 200, 1000);
    check_disk(&d, 201, 1001);
    check_disk(&d, 202, 202);
    /* 48 bits; the last sector. */
    command_ext(&d, 0x24, SECTORS - 1, 1);
    read_block(&d, buf, 1, true);
    check_sector(buf, SECTORS - 1);
    command_ext(&d, 0x34, SECTORS - 1, 1);
    fill_sector(buf, 77);
    write_block(&d, buf, 1, false);
    qtest_check_eq(wait_ready(&d), READY);
    check_disk(&d, SECTORS - 1, 77);
    /* Data that nobody asks for. */
    qtest_outw(d.q, BASE, 1);
    qtest_check_eq(qtest_inw(d.q, BASE), 0);
    ide_close(&d);
}

static void test_chs(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[SECTOR];
    uint16_t w[256];

    command(&d, 0x20, CHS | 3, 5 | 2 << 8, 1);
    read_block(&d, buf, 1, true);
    check_sector(buf, (2 * 16 + 3) * 63 + 4);
    command(&d, 0x91, CHS | 7, 0, 10);
    qtest_check_eq(wait_ready(&d), READY);
    command(&d, 0x20, CHS | 7, 10 | 4 << 8, 1);
    read_block(&d, buf, 1, true);
    check_sector(buf, (4 * 8 + 7) * 10 + 9);
    identify(&d, w);
    qtest_check_eq(w[54], SECTORS / 80);
    qtest_check_eq(w[55], 8);
    qtest_check_eq(w[56], 10);
    /* Sector 0, sector 11, head 8, a cylinder too many; a seek to each. */
    static const struct {
        uint8_t head;
        uint32_t sector;
    } wrong[] = {{0, 0}, {0, 11}, {8, 1}, {0, 1 | (SECTORS / 80) << 8}};
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        command(&d, i & 1 ? 0x70 : 0x20, CHS | wrong[i].head, wrong[i].sector, 1);
        qtest_check_eq(wait_ready(&d), READY | ERR);
        qtest_check_eq(in(&d, ERROR), IDNF);
    }
    command(&d, 0x70, CHS | 7, 10, 0);
    qtest_check_eq(wait_ready(&d), READY);
    command(&d, 0x91, CHS | 7, 0, 0);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    ide_close(&d);
}

static void test_multiple(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[8 * SECTOR];

    check_command(&d, 0xc6, 0, 3, ABRT);
    check_command(&d, 0xc6, 0, 32, ABRT);
    check_command(&d, 0xc6, 0, 8, 0);
    qtest_irq_count(d.q, IRQ);
    command(&d, 0xc4, LBA, 50, 11);
    read_block(&d, buf, 8, true);
    check_sector(buf + 7 * SECTOR, 57);
    read_block(&d, buf, 3, true);
    check_sector(buf + 2 * SECTOR, 60);
    qtest_check_eq(wait_ready(&d), READY);
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 2);
    for (unsigned i = 0; i < 8; i++) {
        fill_sector(buf + i * SECTOR, 500 + i);
    }
    command_ext(&d, 0x39, 60, 9);
    write_block(&d, buf, 8, true);
    write_block(&d, buf, 1, true);
    qtest_check_eq(wait_ready(&d), READY);
    check_disk(&d, 67, 507);
    check_disk(&d, 68, 500);
    check_disk(&d, 69, 69);
    check_command(&d, 0xc6, 0, 0, 0);
    check_command(&d, 0xc4, 0, 1, ABRT);
    check_command(&d, 0x39, 0, 1, ABRT);
    ide_close(&d);
}

/* Commands without data, and what they answer. */
static void test_commands(void)
{
    Ide d = ide_open("", "");
    static const uint8_t absent[] = {0x00, 0x08, 0x22, 0x32, 0xa0, 0xa1, 0xe4, 0xe8, 0xf1,
                                     0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf9, 0x37, 0xb1, 0xff};
    uint16_t w[256];

    for (unsigned i = 0; i < G_N_ELEMENTS(absent); i++) {
        check_command(&d, absent[i], 0, 1, ABRT);
    }
    check_command(&d, 0x10, 0, 0, 0);
    check_command(&d, 0x1f, 0, 0, 0);
    check_command(&d, 0xe7, 0, 0, 0);
    check_command(&d, 0xea, 0, 0, 0);
    check_command(&d, 0x40, 0, 0, 0); /* VERIFY, 256 sectors */
    check_command(&d, 0x40, 0, 1, 0);
    command_ext(&d, 0x42, SECTORS - 1, 2);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    qtest_check_eq(in(&d, ERROR), IDNF);
    check_command(&d, 0xf8, 0, 0, 0);
    qtest_check_eq(in(&d, LBA_LOW) | in(&d, LBA_MID) << 8 | in(&d, LBA_HIGH) << 16, SECTORS - 1);
    check_command(&d, 0x27, 0, 0, 0);
    qtest_outb(d.q, CONTROL, 0x80);
    qtest_check_eq(in(&d, LBA_LOW), 0);
    qtest_outb(d.q, CONTROL, 0);
    qtest_check_eq(in(&d, LBA_LOW), 0xff);
    /* SET FEATURES. */
    check_command(&d, 0xef, 0x82, 0, 0);
    identify(&d, w);
    qtest_check_eq(w[85] & 0x20, 0);
    check_command(&d, 0xef, 0x02, 0, 0);
    identify(&d, w);
    qtest_check_eq(w[85] & 0x20, 0x20);
    check_command(&d, 0xef, 0x03, 0x22, 0);
    identify(&d, w);
    qtest_check_eq(w[63], 0x0407);
    qtest_check_eq(w[88], 0x003f);
    check_command(&d, 0xef, 0x03, 0x44, 0);
    check_command(&d, 0xef, 0x03, 0x46, ABRT);
    check_command(&d, 0xef, 0x03, 0x0d, ABRT);
    check_command(&d, 0xef, 0x03, 0x10, ABRT);
    identify(&d, w);
    qtest_check_eq(w[63], 0x0007);
    qtest_check_eq(w[88], 0x103f);
    check_command(&d, 0xef, 0xaa, 0, 0);
    check_command(&d, 0xef, 0x42, 0, ABRT);
    ide_close(&d);
}

static void test_power(void)
{
    Ide d = ide_open("", "");

    check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(in(&d, COUNT), 0xff);
    check_command(&d, 0xe0, 0, 0, 0);
    check_command(&d, 0x98, 0, 7, 0);
    qtest_check_eq(in(&d, COUNT), 0);
    check_disk(&d, 3, 3);
    check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(in(&d, COUNT), 0xff);
    check_command(&d, 0xe2, 0, 0, 0);
    check_command(&d, 0xe1, 0, 0, 0);
    check_command(&d, 0xe5, 0, 0, 0);
    qtest_check_eq(in(&d, COUNT), 0xff);
    /* Only a reset ends its sleep. */
    check_command(&d, 0xe6, 0, 0, 0);
    command(&d, 0xec, LBA, 0, 0);
    qtest_check_eq(wait_ready(&d), READY);
    qtest_outb(d.q, CONTROL, 4);
    qtest_outb(d.q, CONTROL, 0);
    check_disk(&d, 3, 3);
    ide_close(&d);
}

static void smart(Ide *d, uint8_t feature)
{
    out(d, ERROR, feature);
    command(d, 0xb0, LBA, 0xc24f00, 1);
}

static void test_smart(void)
{
    Ide d = ide_open("", "");
    uint8_t data[2][SECTOR], sum[2] = {0};

    for (unsigned k = 0; k < 2; k++) {
        smart(&d, 0xd0 + k);
        read_block(&d, data[k], 1, true);
        for (unsigned i = 0; i < SECTOR; i++) {
            sum[k] += data[k][i];
        }
        qtest_check_eq(sum[k], 0);
        qtest_check_eq(data[k][2], 1);
    }
    qtest_check_ne(data[0][5], 0);
    smart(&d, 0xda);
    qtest_check_eq(wait_ready(&d), READY);
    qtest_check_eq(in(&d, LBA_MID) | in(&d, LBA_HIGH) << 8, 0xc24f);
    smart(&d, 0xd5);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    smart(&d, 0xd9);
    qtest_check_eq(wait_ready(&d), READY);
    smart(&d, 0xda);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    smart(&d, 0xd8);
    qtest_check_eq(wait_ready(&d), READY);
    smart(&d, 0xda);
    qtest_check_eq(wait_ready(&d), READY);
    check_command(&d, 0xb0, 0xda, 0, ABRT); /* not its signature */
    ide_close(&d);
}

/* Which drives there are, how they are selected, and what a reset leaves. */
static void test_drives(void)
{
    g_autofree char *other = g_strdup_printf("%s/other.raw", qtest_tmp_dir());
    Ide d = {.path = make_disk()};
    uint16_t w[256];

    qtest_check(g_file_set_contents(other, (char[SECTOR]){1}, SECTOR, NULL));
    d.q =
        qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0 "
                             "-drive file=%s,format=raw,if=none,id=d1 "
                             "-device ide-hd,drive=d0,bus=ide.0 -device ide-hd,drive=d1,bus=ide.0",
                     d.path, other);
    ide_attach(&d);
    qtest_irq_intercept_in(d.q, "ioapic");
    command(&d, 0xec, LBA | SLAVE, 0, 0);
    read_block(&d, (uint8_t *)w, 1, true);
    qtest_check_eq(w[60], 1);
    check_string(w + 10, 10, "QM00002");
    /* Only the selected drive interrupts. */
    command(&d, 0xe7, LBA | SLAVE, 0, 0);
    wait_ready(&d);
    qtest_check(qtest_irq(d.q, IRQ));
    out(&d, DEVICE, LBA);
    qtest_check(!qtest_irq(d.q, IRQ));
    out(&d, DEVICE, LBA | SLAVE);
    qtest_check(qtest_irq(d.q, IRQ));
    qtest_outb(d.q, CONTROL, 2);
    qtest_check(!qtest_irq(d.q, IRQ));
    qtest_outb(d.q, CONTROL, 0);
    qtest_check(qtest_irq(d.q, IRQ));
    in(&d, STATUS);
    /* A reset, and a diagnosis: both drives show their signatures, and drive 0 is selected. */
    for (unsigned i = 0; i < 2; i++) {
        command(&d, 0xff, LBA | SLAVE, 0x123456, 9);
        wait_ready(&d);
        if (i == 0) {
            qtest_outb(d.q, CONTROL, 4);
            qtest_check_eq(in(&d, STATUS), BSY);
            qtest_outb(d.q, CONTROL, 0);
        } else {
            out(&d, STATUS, 0x90);
        }
        qtest_check_eq(in(&d, DEVICE), 0xa0);
        for (unsigned unit = 0; unit < 2; unit++) {
            out(&d, DEVICE, CHS | (unit ? SLAVE : 0));
            qtest_check_eq(in(&d, STATUS), READY);
            qtest_check_eq(in(&d, ERROR), 1);
            qtest_check_eq(in(&d, COUNT), 1);
            qtest_check_eq(in(&d, LBA_LOW), 1);
            qtest_check_eq(in(&d, LBA_MID), 0);
            qtest_check_eq(in(&d, LBA_HIGH), 0);
        }
    }
    /* The other channel is empty. */
    for (unsigned reg = 1; reg < 8; reg++) {
        qtest_check_eq(qtest_inb(d.q, 0x170 + reg), 0);
    }
    qtest_outb(d.q, 0x177, 0xec);
    qtest_check_eq(qtest_inb(d.q, 0x376), 0);
    ide_close(&d);
    d = ide_open("", "");
    out(&d, DEVICE, LBA | SLAVE);
    qtest_check_eq(in(&d, STATUS), 0);
    out(&d, STATUS, 0xec);
    qtest_check_eq(qtest_inb(d.q, CONTROL), 0);
    out(&d, DEVICE, LBA);
    qtest_check_eq(in(&d, STATUS), READY);
    ide_close(&d);
}

/* DMA. */

static void prd(Ide *d, unsigned n, uint32_t addr, uint32_t bytes)
{
    qtest_writel(d->q, d->table + 8 * n, addr);
    qtest_writel(d->q, d->table + 8 * n + 4, bytes);
}

static uint8_t bm_status(Ide *d)
{
    return qpci_readb(d->bm, BM_STATUS);
}

static void dma_start(Ide *d, uint8_t direction)
{
    qpci_writeb(d->bm, BM_STATUS, BM_ERROR | INTERRUPT);
    qpci_writel(d->bm, BM_TABLE, d->table);
    qpci_writeb(d->bm, BM_COMMAND, direction);
    qpci_writeb(d->bm, BM_COMMAND, direction | START);
}

static void dma_stop(Ide *d)
{
    qpci_writeb(d->bm, BM_COMMAND, 0);
    in(d, STATUS);
}

/* Runs to its interrupt; the bus master's status. */
static uint8_t dma_wait(Ide *d)
{
    qtest_wait_until(bm_status(d) & INTERRUPT);
    qtest_check_eq(qtest_inb(d->q, CONTROL), READY);
    return bm_status(d);
}

static void test_dma(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[300 * SECTOR];

    /* One piece; its length is that of the transfer. */
    prd(&d, 0, d.data, 2 * SECTOR | EOT);
    command(&d, 0xc8, LBA, 40, 2);
    qtest_irq_count(d.q, IRQ);
    dma_start(&d, TO_MEMORY);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    qtest_check_eq(qtest_irq_count(d.q, IRQ), 1);
    dma_stop(&d);
    qtest_read(d.q, d.data, buf, 2 * SECTOR);
    check_sector(buf, 40);
    check_sector(buf + SECTOR, 41);
    /* Odd pieces, out of order; started before the command. */
    prd(&d, 0, d.data + 4096, 2);
    prd(&d, 1, d.data + 100, 700);
    prd(&d, 2, d.data + 2048, (SECTOR * 2 - 702) | EOT);
    dma_start(&d, TO_MEMORY);
    command_ext(&d, 0x25, 60, 2);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    dma_stop(&d);
    qtest_read(d.q, d.data + 4096, buf, 2);
    qtest_read(d.q, d.data + 100, buf + 2, 700);
    qtest_read(d.q, d.data + 2048, buf + 702, 2 * SECTOR - 702);
    check_sector(buf, 60);
    check_sector(buf + SECTOR, 61);
    /* 0 is 64 KiB. 300 sectors out, and in again. */
    for (unsigned i = 0; i < 300; i++) {
        fill_sector(buf + i * SECTOR, 5000 + i);
    }
    qtest_write(d.q, d.data, buf, sizeof buf);
    for (unsigned i = 0; i < 3; i++) {
        prd(&d, i, d.data + i * 65536, i < 2 ? 0 : (300 * SECTOR - 2 * 65536) | EOT);
    }
    command_ext(&d, 0x35, 1000, 300);
    dma_start(&d, 0);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    dma_stop(&d);
    check_disk(&d, 999, 999);
    check_disk(&d, 1000, 5000);
    check_disk(&d, 1299, 5299);
    check_disk(&d, 1300, 1300);
    ide_close(&d);
}

/* The smallest pieces there are: a command needs many turns, and ends. */
static void test_dma_tiny(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[8 * SECTOR];

    for (unsigned i = 0; i < 8 * SECTOR / 2; i++) {
        prd(&d, i, d.data + 2 * i, 2 | (i == 8 * SECTOR / 2 - 1 ? EOT : 0));
    }
    command(&d, 0xc8, LBA, 7, 8);
    dma_start(&d, TO_MEMORY);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    dma_stop(&d);
    qtest_read(d.q, d.data, buf, sizeof buf);
    for (unsigned i = 0; i < 8; i++) {
        check_sector(buf + i * SECTOR, 7 + i);
    }
    ide_close(&d);
}

static void check_usable(Ide *d)
{
    qtest_outb(d->q, CONTROL, 4);
    qtest_outb(d->q, CONTROL, 0);
    check_disk(d, 9, 9);
}

/* Tables that are wrong. */
static void test_dma_wrong(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[SECTOR];

    /* Too long: the bus master stays active. */
    prd(&d, 0, d.data, 0 | EOT);
    command(&d, 0xc8, LBA, 1, 1);
    dma_start(&d, TO_MEMORY);
    qtest_check_eq(dma_wait(&d), ACTIVE | INTERRUPT);
    dma_stop(&d);
    qtest_check_eq(bm_status(&d), INTERRUPT);
    /* Too short: the drive waits, and goes on with another table. */
    prd(&d, 0, d.data, (SECTOR + 100) | EOT);
    qtest_memset(d.q, d.data, 0, 4 * SECTOR);
    command(&d, 0xc8, LBA, 20, 3);
    dma_start(&d, TO_MEMORY);
    qtest_wait_until(!(bm_status(&d) & ACTIVE));
    qtest_check_eq(bm_status(&d), 0);
    qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
    qtest_read(d.q, d.data, buf, SECTOR);
    check_sector(buf, 20);
    qpci_writeb(d.bm, BM_COMMAND, 0);
    prd(&d, 0, d.data, 2 * SECTOR | EOT);
    dma_start(&d, TO_MEMORY);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    dma_stop(&d);
    qtest_read(d.q, d.data + SECTOR, buf, SECTOR);
    check_sector(buf, 22);
    /* A piece, and then a table, that are no RAM. */
    for (unsigned i = 0; i < 2; i++) {
        prd(&d, 0, i ? d.data : 0xe0000000, SECTOR | EOT);
        command(&d, i ? 0xca : 0xc8, LBA, 20, 1);
        qpci_writeb(d.bm, BM_STATUS, INTERRUPT);
        qpci_writel(d.bm, BM_TABLE, i ? 0xe0000000 : d.table);
        qpci_writeb(d.bm, BM_COMMAND, START);
        qtest_wait_until(!(bm_status(&d) & ACTIVE));
        qtest_check_eq(bm_status(&d), BM_ERROR);
        qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
        qpci_writeb(d.bm, BM_COMMAND, 0);
        qpci_writeb(d.bm, BM_STATUS, BM_ERROR);
        qtest_check_eq(bm_status(&d), 0);
        check_usable(&d);
    }
    /* Firmware is no target. */
    prd(&d, 0, 0xfffff000, SECTOR | EOT);
    command(&d, 0xc8, LBA, 20, 1);
    dma_start(&d, TO_MEMORY);
    qtest_wait_until(!(bm_status(&d) & ACTIVE));
    qtest_check_eq(bm_status(&d), BM_ERROR);
    qpci_writeb(d.bm, BM_COMMAND, 0);
    check_usable(&d);
    check_disk(&d, 20, 20);
    ide_close(&d);
}

/* DMA waits for its start, and for the function to be a bus master. */
static void test_dma_waits(void)
{
    Ide d = ide_open("", "");
    uint16_t on = qpci_config_readw(&d.pci, 4);
    uint8_t buf[SECTOR];

    qpci_config_writew(&d.pci, 4, on & ~4);
    prd(&d, 0, d.data, SECTOR | EOT);
    command(&d, 0xc8, LBA, 30, 1);
    dma_start(&d, TO_MEMORY);
    qtest_check_eq(qtest_inb(d.q, CONTROL), READY | DRQ);
    qtest_check_eq(bm_status(&d), ACTIVE);
    qpci_config_writew(&d.pci, 4, on);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    dma_stop(&d);
    qtest_read(d.q, d.data, buf, SECTOR);
    check_sector(buf, 30);
    /* The registers. */
    qpci_writeb(d.bm, BM_STATUS, 0x65);
    qtest_check_eq(bm_status(&d), 0x60);
    qpci_writel(d.bm, BM_TABLE, 0x12345677);
    qtest_check_eq(qpci_readl(d.bm, BM_TABLE), 0x12345674);
    qpci_writew(d.bm, 8 + BM_TABLE, 0xbeec);
    qtest_check_eq(qpci_readl(d.bm, 8 + BM_TABLE), 0xbeec);
    ide_close(&d);
}

static void trim(Ide *d, unsigned blocks)
{
    prd(d, 0, d->data, blocks * SECTOR | EOT);
    out(d, ERROR, 0);
    out(d, ERROR, 1);
    command_ext(d, 0x06, 0, blocks);
    dma_start(d, 0);
}

static void test_trim(void)
{
    Ide d = ide_open(",discard=unmap", "");
    uint8_t buf[SECTOR], zero[SECTOR] = {0};

    qtest_memset(d.q, d.data, 0, 40 * SECTOR);
    qtest_writeq(d.q, d.data + 8, 800 | 8ull << 48);
    qtest_writeq(d.q, d.data + 39 * SECTOR + 504, 1600 | 16ull << 48);
    trim(&d, 40);
    qtest_check_eq(dma_wait(&d), INTERRUPT);
    dma_stop(&d);
    for (unsigned i = 0; i < 2; i++) {
        command(&d, 0x20, LBA, i ? 1615 : 800, 1);
        read_block(&d, buf, 1, true);
        qtest_check_mem(buf, zero, SECTOR);
    }
    check_disk(&d, 799, 799);
    check_disk(&d, 808, 808);
    check_disk(&d, 1616, 1616);
    /* Past the end; not a TRIM; no list. */
    qtest_writeq(d.q, d.data + 8, (SECTORS - 1) | 2ull << 48);
    trim(&d, 1);
    qtest_wait_until(bm_status(&d) & INTERRUPT);
    qtest_check_eq(in(&d, STATUS), READY | ERR);
    qtest_check_eq(in(&d, ERROR), ABRT);
    dma_stop(&d);
    check_disk(&d, SECTORS - 1, SECTORS - 1);
    out(&d, ERROR, 0);
    command_ext(&d, 0x06, 0, 1);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    out(&d, ERROR, 1);
    command_ext(&d, 0x06, 0, 0);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    ide_close(&d);
}

/* Addresses past the end. */
static void test_range(void)
{
    static const uint8_t codes[] = {0x20, 0x21, 0x30, 0x31, 0x40, 0x70, 0xc4, 0xc5, 0xc8, 0xca};
    static const uint8_t ext[] = {0x24, 0x25, 0x29, 0x34, 0x35, 0x39, 0x42};
    Ide d = ide_open("", "");

    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++) {
        command(&d, codes[i], LBA, SECTORS, 1);
        qtest_check_eq(wait_ready(&d), READY | ERR);
        qtest_check_eq(in(&d, ERROR), IDNF);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(ext); i++) {
        command_ext(&d, ext[i], i & 1 ? 0xffffffffffff : SECTORS - 1, 2);
        qtest_check_eq(wait_ready(&d), READY | ERR);
        qtest_check_eq(in(&d, ERROR), IDNF);
    }
    check_usable(&d);
    ide_close(&d);
}

/* Registers belong to a command in progress; a reset ends it. */
static void test_reset(void)
{
    Ide d = ide_open("", "");
    uint8_t buf[SECTOR];

    command(&d, 0x30, LBA, 70, 1);
    out(&d, LBA_LOW, 71);
    out(&d, STATUS, 0xec);
    fill_sector(buf, 4000);
    write_block(&d, buf, 1, true);
    qtest_check_eq(wait_ready(&d), READY);
    check_disk(&d, 70, 4000);
    for (unsigned i = 0; i < 20; i++) {
        command(&d, i & 1 ? 0x20 : 0x40, LBA, 70, 0);
        qtest_outb(d.q, CONTROL, 4);
        qtest_outb(d.q, CONTROL, 0);
        qtest_check_eq(in(&d, STATUS), READY);
        qtest_check(!qtest_irq(d.q, IRQ));
    }
    /* DMA that is stopped, or reset, while it runs. */
    for (unsigned i = 0; i < 10; i++) {
        prd(&d, 0, d.data, 0 | EOT);
        command(&d, 0xc8, LBA, 0, 128);
        dma_start(&d, TO_MEMORY);
        if (i & 1) {
            qtest_outb(d.q, CONTROL, 4);
        } else {
            qpci_writeb(d.bm, BM_COMMAND, 0);
        }
        if (!(i & 1)) {
            qtest_check_eq(bm_status(&d) & ACTIVE, 0);
        }
        qpci_writeb(d.bm, BM_COMMAND, 0);
        qtest_outb(d.q, CONTROL, 4);
        qtest_outb(d.q, CONTROL, 0);
        check_disk(&d, 9, 9);
    }
    command(&d, 0x20, LBA, 70, 0);
    qtest_system_reset(d.q);
    qtest_check_eq(in(&d, STATUS), READY);
    qtest_check_eq(in(&d, COUNT), 1);
    check_disk(&d, 9, 9);
    ide_close(&d);
}

/* Failed requests. */

static void small_files(Ide *d, bool on)
{
    struct rlimit small = {on ? NOT_ENOUGH * 1024 : RLIM_INFINITY, RLIM_INFINITY};

    prlimit(qtest_pid(d->q), RLIMIT_FSIZE, &small, NULL);
}

static void test_write_error(void)
{
    Ide d = {0};
    uint8_t buf[SECTOR];

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d = ide_open(",werror=report", "");
    small_files(&d, true);
    fill_sector(buf, 1);
    command_ext(&d, 0x34, 10000, 2);
    write_block(&d, buf, 1, true);
    qtest_check_eq(wait_ready(&d), READY | ERR);
    qtest_check_eq(in(&d, ERROR), ABRT);
    qtest_check_eq(in(&d, LBA_LOW) | in(&d, LBA_MID) << 8, 10000);
    prd(&d, 0, d.data, SECTOR | EOT);
    command(&d, 0xca, LBA, 10001, 1);
    dma_start(&d, 0);
    qtest_wait_until(bm_status(&d) & INTERRUPT);
    qtest_check_eq(in(&d, STATUS), READY | ERR);
    qtest_check_eq(bm_status(&d), ACTIVE | INTERRUPT);
    dma_stop(&d);
    check_disk(&d, 10001, 10001);
    ide_close(&d);
}

static void cont(Ide *d)
{
    json_decref(qtest_qmp(d->q, "cont", NULL));
}

static void wait_stop(Ide *d)
{
    json_decref(qtest_wait_event(d->q, "STOP"));
}

/* A write of sectors 10000 and 10001 that fails: 500 and 501, by PIO or by DMA. */
static void failing_write(Ide *d, bool dma)
{
    uint8_t buf[2 * SECTOR];

    fill_sector(buf, 500);
    fill_sector(buf + SECTOR, 501);
    small_files(d, true);
    qtest_irq_count(d->q, IRQ);
    if (dma) {
        qtest_write(d->q, d->data, buf, sizeof buf);
        prd(d, 0, d->data, 600);
        prd(d, 1, d->data + 600, (2 * SECTOR - 600) | EOT);
        command_ext(d, 0x35, 10000, 2);
        dma_start(d, 0);
    } else {
        check_command(d, 0xc6, 0, 2, 0);
        command_ext(d, 0x39, 10000, 2);
        write_block(d, buf, 2, true);
    }
    wait_stop(d);
    qtest_check_eq(qtest_irq_count(d->q, IRQ), 0);
}

static void werror_stop(bool dma)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Ide d = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d = ide_open(",werror=stop", "");
    failing_write(&d, dma);
    /* It fails again. */
    cont(&d);
    wait_stop(&d);
    small_files(&d, false);
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    cont(&d);
    qtest_wait_until(qtest_irq(d.q, IRQ));
    qtest_check_eq(in(&d, STATUS), READY);
    dma_stop(&d);
    check_disk(&d, 10000, 500);
    check_disk(&d, 10001, 501);
    /* A reset forgets it. */
    failing_write(&d, dma);
    qtest_system_reset(d.q);
    small_files(&d, false);
    cont(&d);
    qtest_check_eq(wait_ready(&d), READY);
    /* What was saved is carried out by whoever loads it. */
    json_decref(qtest_qmp(d.q, "stop", NULL));
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    qtest_check_eq(qtest_inb(d.q, CONTROL), dma ? READY | DRQ : BSY);
    cont(&d);
    qtest_wait_until(qtest_irq(d.q, IRQ));
    qtest_check_eq(in(&d, STATUS), READY);
    dma_stop(&d);
    check_disk(&d, 10001, 501);
    ide_close(&d);
}

static void test_werror_pio(void)
{
    werror_stop(false);
}

static void test_werror_dma(void)
{
    werror_stop(true);
}

/* A software reset forgets a parked request too. */
static void test_werror_reset(void)
{
    Ide d = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d = ide_open(",werror=stop", "");
    failing_write(&d, true);
    qtest_outb(d.q, CONTROL, 4);
    qtest_outb(d.q, CONTROL, 0);
    small_files(&d, false);
    cont(&d);
    qtest_check_eq(wait_ready(&d), READY);
    qtest_check_eq(bm_status(&d) & INTERRUPT, 0);
    check_disk(&d, 10000, 10000);
    ide_close(&d);
}

/* State in the middle of a block, with registers of all kinds. */
static void test_state(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Ide d = ide_open("", "");
    uint8_t buf[SECTOR];

    check_command(&d, 0xef, 0x82, 0, 0);
    check_command(&d, 0xc6, 0, 4, 0);
    command(&d, 0xc4, LBA, 300, 6);
    read_block(&d, buf, 1, true);
    check_sector(buf, 300);
    json_decref(qtest_qmp(d.q, "stop", NULL));
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    qtest_system_reset(d.q);
    qtest_check_eq(in(&d, STATUS), READY);
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    cont(&d);
    for (unsigned i = 1; i < 6; i++) {
        read_block(&d, buf, 1, true);
        check_sector(buf, 300 + i);
    }
    qtest_check_eq(wait_ready(&d), READY);
    ide_close(&d);
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
    g_autofree char *path = make_disk();

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *args = g_strdup_printf(
            MACHINE "-drive file=%s,format=raw,if=none,id=d0%s -device ide-hd,drive=d0,%s", path,
            cases[i].drive, cases[i].device);
        int status;
        g_autofree char *text = qtest_start_fails(args, &status);

        qtest_check(strstr(text, cases[i].message));
        qtest_check_eq(status, 1);
    }
    static const struct {
        const char *format, *message;
    } lines[] = {
        {"-hda %s -hda %s", "drive with bus=0, unit=0 (index=0) exists"},
        {"-kernel %s -drive file=%s,index=4", "does not support if=ide,bus=2,unit=0"},
        {"-kernel %s -drive file=%s,media=cdrom", "there is no CD-ROM drive yet"},
        {"-hdb %s -cdrom %s", "there is no CD-ROM drive yet"},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *args = g_strdup_printf(MACHINE "%s", lines[i].format);
        g_auto(GStrv) halves = g_strsplit(args, "%s", 3);
        g_autofree char *line = g_strconcat(halves[0], path, halves[1], path, halves[2], NULL);
        int status;
        g_autofree char *text = qtest_start_fails(line, &status);

        qtest_check(strstr(text, lines[i].message));
        qtest_check_eq(status, 1);
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
    {"dma", test_dma},
    {"dma-tiny", test_dma_tiny},
    {"dma-wrong", test_dma_wrong},
    {"dma-waits", test_dma_waits},
    {"trim", test_trim},
    {"range", test_range},
    {"reset", test_reset},
    {"write-error", test_write_error},
    {"werror-pio", test_werror_pio},
    {"werror-dma", test_werror_dma},
    {"werror-reset", test_werror_reset},
    {"state", test_state},
    {"command-line", test_command_line},
    {"refused", test_refused},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
