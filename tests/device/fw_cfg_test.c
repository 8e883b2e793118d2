/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fw_cfg: keys, the directory, the data port, and DMA with good and bad descriptors. */
#include <endian.h>
#include <linux/qemu_fw_cfg.h>

#include "qtest_client.h"

#define SELECTOR 0x510
#define DATA     0x511
#define DMA      0x514

static const char args[] = "-machine pc -m 64 -smp 1 -nodefaults "
                           "-uuid 00112233-4455-6677-8899-aabbccddeeff "
                           "-fw_cfg name=opt/vmm/b,string=second "
                           "-fw_cfg name=opt/vmm/a,string=first";

static void test_numbered(void)
{
    static const uint8_t uuid[] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    QTest *q = qtest_start(args);
    uint8_t buf[16];
    qtest_fw_cfg_read(q, FW_CFG_SIGNATURE, buf, 8);
    qtest_check_mem(buf, "QEMU\0\0\0\0", 8); /* zeroes behind the end */
    qtest_check_eq(qtest_fw_cfg_read32(q, FW_CFG_ID), FW_CFG_VERSION | FW_CFG_VERSION_DMA);
    qtest_fw_cfg_read(q, FW_CFG_UUID, buf, 16);
    qtest_check_mem(buf, uuid, 16);
    qtest_check_eq(qtest_fw_cfg_read64(q, FW_CFG_RAM_SIZE), 64 << 20);
    qtest_check_eq(qtest_fw_cfg_read16(q, FW_CFG_NB_CPUS), 1);
    qtest_check_eq(qtest_fw_cfg_read32(q, FW_CFG_KERNEL_DATA), 0);
    /* Keys without an item. */
    qtest_check_eq(qtest_fw_cfg_read32(q, 0x1f), 0);
    qtest_check_eq(qtest_fw_cfg_read32(q, 0x3fff), 0);
    qtest_check_eq(qtest_fw_cfg_read32(q, 0xffff), 0);
    /* The write channel's bit selects the same item. */
    qtest_check_eq(qtest_fw_cfg_read16(q, FW_CFG_NB_CPUS | FW_CFG_WRITE_CHANNEL), 1);
    qtest_end(q);
}

static void check_uuid(const char *options, uint8_t first)
{
    QTest *q = qtest_start(options);
    uint8_t uuid[16];

    qtest_fw_cfg_read(q, FW_CFG_UUID, uuid, sizeof uuid);
    qtest_check_eq(uuid[0], first);
    qtest_end(q);
}

/* -smbios type=1,uuid= sets the machine's UUID, too. The last of it and -uuid counts. */
static void test_smbios_uuid(void)
{
#define UUID   "-uuid 11112233-4455-6677-8899-aabbccddeeff "
#define SMBIOS "-smbios type=1,uuid=22112233-4455-6677-8899-aabbccddeeff "
    check_uuid("-nodefaults " SMBIOS, 0x22);
    check_uuid("-nodefaults " UUID SMBIOS, 0x22);
    check_uuid("-nodefaults " SMBIOS UUID, 0x11);
#undef SMBIOS
#undef UUID
}

/* Repeated values are all kept. */
static void test_oem_strings(void)
{
    QTest *q = qtest_start("-nodefaults -smbios type=11,value=first,value=second");
    uint8_t tables[4096] = {0};
    uint32_t size;
    uint16_t key = qtest_fw_cfg_find(q, "etc/smbios/smbios-tables", &size);

    qtest_check_le(size, sizeof tables);
    qtest_fw_cfg_read(q, key, tables, size);
    qtest_check(memmem(tables, size, "first\0second", 13) != NULL);
    qtest_end(q);
}

/* -smbios type=41 describes a device's PCI address. */
static void test_onboard_device(void)
{
    QTest *q = qtest_start("-nodefaults -device virtio-rng-pci,id=r0,addr=7 "
                           "-smbios type=41,designation=D,kind=other,pcidev=r0");
    uint8_t tables[4096] = {0};
    uint32_t size;
    uint16_t key = qtest_fw_cfg_find(q, "etc/smbios/smbios-tables", &size);

    qtest_check_le(size, sizeof tables);
    qtest_fw_cfg_read(q, key, tables, size);
    qtest_check(memmem(tables, size, "\x29\x0b\x00\x29\x01\x81\x01\0\0\0\x38", 11) != NULL);
    qtest_end(q);
}

static void test_directory(void)
{
    QTest *q = qtest_start(args);
    uint32_t count;
    qtest_fw_cfg_read(q, FW_CFG_FILE_DIR, &count, sizeof count);
    count = be32toh(count);
    qtest_check_ge(count, 2);
    qtest_check_le(count, 100);
    char last[FW_CFG_MAX_FILE_PATH] = "";
    for (unsigned i = 0; i < count; i++) {
        struct fw_cfg_file f;
        for (size_t k = 0; k < sizeof f; k++) {
            ((uint8_t *)&f)[k] = qtest_inb(q, DATA);
        }
        qtest_check_eq(be16toh(f.select), FW_CFG_FILE_FIRST + i);
        qtest_check_eq(f.reserved, 0);
        qtest_check_eq(f.name[sizeof f.name - 1], 0);
        qtest_check(strcmp(last, f.name) < 0);
        memcpy(last, f.name, sizeof last);
    }
    uint32_t size;
    char text[8] = "";
    uint16_t a = qtest_fw_cfg_find(q, "opt/vmm/a", &size);
    qtest_check_ne(a, 0);
    qtest_check_eq(size, 5);
    qtest_fw_cfg_read(q, a, text, 6);
    qtest_check_str(text, "first");
    qtest_check_eq(qtest_fw_cfg_find(q, "opt/vmm/b", &size), a + 1);
    qtest_check_eq(size, 6);
    qtest_end(q);
}

static void test_ports(void)
{
    QTest *q = qtest_start(args);
    qtest_outw(q, SELECTOR, FW_CFG_SIGNATURE);
    qtest_check_eq(qtest_inb(q, DATA), 'Q');
    qtest_outb(q, DATA, 0x55); /* the data port is read-only */
    qtest_check_eq(qtest_inb(q, DATA), 'E');
    qtest_outb(q, SELECTOR, 0x01); /* an access of 8 bits does not select */
    qtest_check_eq(qtest_inb(q, DATA), 'M');
    qtest_outw(q, SELECTOR, FW_CFG_SIGNATURE); /* selecting again starts at offset 0 */
    qtest_check_eq(qtest_inb(q, DATA), 'Q');
    /* The DMA register reads as its signature. */
    qtest_check_eq(be32toh(qtest_inl(q, DMA)), 0x51454d55);
    qtest_check_eq(be32toh(qtest_inl(q, DMA + 4)), 0x20434647);
    qtest_end(q);
}

/* Runs a descriptor and returns its control word afterwards. */
static uint32_t dma(QTest *q, uint32_t control, uint64_t addr, uint32_t len)
{
    struct fw_cfg_dma_access access = {
        .control = htobe32(control),
        .length = htobe32(len),
        .address = htobe64(addr),
    };
    uint64_t desc = 0x100000;
    qtest_write(q, desc, &access, sizeof access);
    qtest_outl(q, DMA, htobe32(desc >> 32));
    qtest_outl(q, DMA + 4, htobe32((uint32_t)desc));
    qtest_read(q, desc, &access, sizeof access);
    return be32toh(access.control);
}

static uint32_t select_and(uint16_t key, uint32_t control)
{
    return (uint32_t)key << 16 | FW_CFG_DMA_CTL_SELECT | control;
}

static void test_dma_read(void)
{
    QTest *q = qtest_start(args);
    uint64_t to = 0x200000;
    uint8_t buf[16];
    qtest_memset(q, to, 0xcc, 16);
    qtest_check_eq(dma(q, select_and(FW_CFG_SIGNATURE, FW_CFG_DMA_CTL_READ), to, 4), 0);
    qtest_read(q, to, buf, 6);
    qtest_check_mem(buf, "QEMU\xcc\xcc", 6);
    /* In two pieces, with a gap. */
    qtest_check_eq(dma(q, select_and(FW_CFG_UUID, FW_CFG_DMA_CTL_READ), to, 2), 0);
    qtest_check_eq(dma(q, FW_CFG_DMA_CTL_SKIP, 0, 10), 0);
    qtest_check_eq(dma(q, FW_CFG_DMA_CTL_READ, to + 2, 4), 0);
    qtest_read(q, to, buf, 6);
    qtest_check_mem(buf, "\x00\x11\xcc\xdd\xee\xff", 6);
    /* Zeroes behind the end. */
    qtest_memset(q, to, 0xcc, 16);
    qtest_check_eq(dma(q, select_and(FW_CFG_SIGNATURE, FW_CFG_DMA_CTL_READ), to, 8), 0);
    qtest_read(q, to, buf, 10);
    qtest_check_mem(buf, "QEMU\0\0\0\0\xcc\xcc", 10);
    qtest_check_eq(dma(q, FW_CFG_DMA_CTL_SKIP, 0, 0xffffffff), 0);
    qtest_check_eq(dma(q, FW_CFG_DMA_CTL_READ, to, 4), 0);
    qtest_check_eq(qtest_readl(q, to), 0);
    /* An item that does not exist. */
    qtest_check_eq(dma(q, select_and(0xffff, FW_CFG_DMA_CTL_READ), to + 8, 4), 0);
    qtest_check_eq(qtest_readl(q, to + 8), 0);
    /* A descriptor without a command; a select alone. */
    qtest_check_eq(dma(q, 0, 0, 0), 0);
    qtest_check_eq(dma(q, select_and(FW_CFG_SIGNATURE, 0), 0, 0), 0);
    qtest_check_eq(qtest_inb(q, DATA), 'Q');
    qtest_end(q);
}

/* Zeroes behind an item's end, more than one turn of the main loop writes. */
static void test_dma_long(void)
{
    enum { LENGTH = (5 << 20) + 4 };
    const uint64_t to = 16 << 20;
    QTest *q = qtest_start(args);
    g_autofree uint8_t *got = g_malloc(LENGTH + 1), *want = g_malloc0(LENGTH + 1);
    qtest_memset(q, to, 0xff, LENGTH + 1);
    qtest_check_eq(dma(q, select_and(FW_CFG_SIGNATURE, FW_CFG_DMA_CTL_READ), to, LENGTH), 0);
    qtest_read(q, to, got, LENGTH + 1);
    memcpy(want, "QEMU", 4);
    want[LENGTH] = 0xff;
    qtest_check_mem(got, want, LENGTH + 1);
    qtest_end(q);
}

static void test_dma_errors(void)
{
    QTest *q = qtest_start(args);
    uint32_t read_id = select_and(FW_CFG_ID, FW_CFG_DMA_CTL_READ);
    /* To an address without RAM; across the end of RAM. */
    qtest_check_eq(dma(q, read_id, 0xd0000000, 4), FW_CFG_DMA_CTL_ERROR);
    qtest_check_eq(dma(q, read_id, (64 << 20) - 2, 4), FW_CFG_DMA_CTL_ERROR);
    qtest_check_eq(dma(q, read_id, UINT64_MAX - 1, 4), FW_CFG_DMA_CTL_ERROR);
    qtest_check_eq(dma(q, read_id, 0x200000, 0xffffffff), FW_CFG_DMA_CTL_ERROR);
    /* A write to a read-only item. */
    qtest_check_eq(dma(q, select_and(FW_CFG_SIGNATURE, FW_CFG_DMA_CTL_WRITE), 0x200000, 4),
                   FW_CFG_DMA_CTL_ERROR);
    qtest_check_eq(dma(q, select_and(0xffff, FW_CFG_DMA_CTL_WRITE), 0x200000, 4),
                   FW_CFG_DMA_CTL_ERROR);
    uint8_t buf[4];
    qtest_fw_cfg_read(q, FW_CFG_SIGNATURE, buf, 4);
    qtest_check_mem(buf, "QEMU", 4);
    /* A descriptor outside of RAM. */
    qtest_outl(q, DMA, 0xffffffff);
    qtest_outl(q, DMA + 4, 0xffffffff);
    qtest_check_eq(dma(q, read_id, 0x200000, 4), 0);
    qtest_end(q);
}

static void test_reset(void)
{
    QTest *q = qtest_start(args);
    qtest_outw(q, SELECTOR, FW_CFG_UUID);
    qtest_inb(q, DATA);
    qtest_system_reset(q);
    qtest_check_eq(qtest_inb(q, DATA), 'Q'); /* the signature is selected */
    qtest_check_ne(qtest_fw_cfg_find(q, "opt/vmm/a", NULL), 0);
    qtest_end(q);
}

static uint8_t cmos(QTest *q, uint8_t index)
{
    qtest_outb(q, 0x70, index);
    return qtest_inb(q, 0x71);
}

/* -boot order=, once=, menu=, strict=, reboot-timeout=. */
static void test_boot(void)
{
    QTest *q = qtest_start("-machine pc -nodefaults -boot order=dca,once=cd,menu=on,strict=on,"
                           "reboot-timeout=1234");
    uint32_t size;
    uint16_t key;
    uint8_t v[5];

    qtest_check_eq(cmos(q, 0x3d), 0x32);
    qtest_check_eq(cmos(q, 0x38), 0x00);
    qtest_fw_cfg_read(q, FW_CFG_BOOT_MENU, v, 2);
    qtest_check_eq(v[0], 1);
    key = qtest_fw_cfg_find(q, "etc/boot-fail-wait", &size);
    qtest_fw_cfg_read(q, key, v, 4);
    qtest_check_mem(v, "\xd2\x04\0\0", 4);
    key = qtest_fw_cfg_find(q, "bootorder", &size);
    qtest_check_eq(size, 5);
    qtest_fw_cfg_read(q, key, v, 5);
    qtest_check_mem(v, "HALT", 5);
    for (unsigned i = 0; i < 2; i++) { /* what was for once is over */
        qtest_system_reset(q);
        qtest_check_eq(cmos(q, 0x3d), 0x23);
        qtest_check_eq(cmos(q, 0x38), 0x10);
    }
    qtest_end(q);
    q = qtest_start("-machine pc,fd-bootchk=off -nodefaults");
    qtest_check_eq(cmos(q, 0x38), 0x31); /* disk, floppy, CD */
    qtest_check_eq(qtest_fw_cfg_find(q, "bootorder", NULL), 0);
    qtest_fw_cfg_read(q, FW_CFG_BOOT_MENU, v, 2);
    qtest_check_eq(v[0], 0);
    qtest_end(q);
}

/* -boot splash=: the file as it is, by the name that says what it is. */
static void test_splash(void)
{
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff, 0xe0, 1, 2, 3};
    uint8_t bmp[60] = {'B', 'M', [28] = 24, [59] = 77}, got[60];

    for (unsigned i = 0; i < 2; i++) {
        const void *data = i ? (const void *)bmp : jpeg;
        uint32_t len = i ? sizeof bmp : sizeof jpeg, size;
        g_autofree char *path = g_strdup_printf("%s/picture", qtest_tmp_dir());

        qtest_check(g_file_set_contents(path, data, len, NULL));
        QTest *q =
            qtest_startf("-machine pc -nodefaults -boot menu=on,splash=%s,splash-time=5000", path);
        uint16_t key = qtest_fw_cfg_find(q, i ? "bootsplash.bmp" : "bootsplash.jpg", &size);

        qtest_check_eq(size, len);
        qtest_fw_cfg_read(q, key, got, len);
        qtest_check_mem(got, data, len);
        qtest_check_eq(qtest_fw_cfg_find(q, i ? "bootsplash.jpg" : "bootsplash.bmp", NULL), 0);
        key = qtest_fw_cfg_find(q, "etc/boot-menu-wait", &size);
        qtest_fw_cfg_read(q, key, got, 2);
        qtest_check_mem(got, "\x88\x13", 2);
        qtest_end(q);
    }
}

static void check_error(const char *arg, const char *part)
{
    int status;
    g_autofree char *line = g_strdup_printf("-machine pc -nodefaults %s", arg);
    g_autofree char *text = qtest_start_fails(line, &status);
    qtest_check_eq(status, QTEST_NOT_STARTED);
    if (!strstr(text, part)) {
        qtest_fail(__FILE__, __LINE__, "'%s' said '%s', which does not hold '%s'", line, text,
                   part);
    }
}

static void test_errors(void)
{
    check_error("-fw_cfg name=opt/vmm/a,string=x -fw_cfg name=opt/vmm/a,string=y", "opt/vmm/a");
    check_error(
        "-fw_cfg name=opt/01234567890123456789012345678901234567890123456789012345,string=x", "55");
    check_error("-fw_cfg name=opt/vmm/a,file=/nonexistent/file", "/nonexistent/file");
}

static const QTestCase cases[] = {
    {"numbered", test_numbered},
    {"smbios-uuid", test_smbios_uuid},
    {"onboard-device", test_onboard_device},
    {"oem-strings", test_oem_strings},
    {"directory", test_directory},
    {"ports", test_ports},
    {"dma-read", test_dma_read},
    {"dma-long", test_dma_long},
    {"dma-errors", test_dma_errors},
    {"reset", test_reset},
    {"boot", test_boot},
    {"splash", test_splash},
    {"errors", test_errors},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
