/* SPDX-License-Identifier: GPL-2.0-or-later */
/* isa-fdc: registers, resets, commands without data, formats, and the command line. */
#include "fdc_client.h"

static void test_registers(void)
{
    Floppy f = qfdc_open("", "");
    QTest *q = f.q;

    qtest_check_eq(qtest_inb(q, MSR), IDLE);
    qtest_check_eq(qtest_inb(q, DOR), GATE | NRESET | MOTOR_A);
    qtest_check_eq(qtest_inb(q, SRB), 0xc1);
    qtest_outb(q, DOR, GATE | NRESET | MOTOR_B | 1);
    qtest_check_eq(qtest_inb(q, SRB), 0xe2);
    qtest_outb(q, TDR, 0xff);
    qtest_check_eq(qtest_inb(q, TDR), 3);
    qtest_outb(q, SRB, 0);
    qtest_check_eq(qtest_inb(q, SRB), 0xe2);
    qtest_check_eq(qtest_inb(q, 0x3f0), 0xff);
    qtest_check_eq(qtest_inb(q, 0x3f6), 0); /* IDE's */
    /* A command in parts. */
    qfdc_out(&f, 0x0f);
    qtest_check_eq(qtest_inb(q, MSR), RQM | BUSY);
    qtest_check_eq(qtest_inb(q, FIFO), 0);
    qfdc_out(&f, 0);
    qfdc_out(&f, 9);
    qtest_check_eq(qtest_inb(q, MSR), IDLE);
    qtest_system_reset(q);
    qtest_check_eq(qtest_inb(q, DOR), GATE | NRESET);
    qtest_check_eq(qtest_inb(q, TDR), 0);
    qtest_check_eq(qtest_inb(q, MSR), IDLE);
    qfdc_close(&f);
}

static void check_sense_of_reset(Floppy *f)
{
    qtest_check(qtest_irq(f->q, IRQ));
    for (unsigned i = 0; i < 4; i++) {
        qfdc_sense(f, 0xc0 + i, 0);
        qtest_check(!qtest_irq(f->q, IRQ));
    }
    qtest_check_eq(qfdc_ask(f, 0x08), INVALID);
}

static void test_reset(void)
{
    Floppy f = qfdc_open("", "");
    QTest *q = f.q;

    qtest_check_eq(qfdc_ask(&f, 0x08), INVALID);
    /* In the middle of a command, and of a result. */
    qfdc_out(&f, READ);
    qtest_outb(q, DOR, GATE);
    qtest_check_eq(qtest_inb(q, MSR), 0);
    qtest_outb(q, FIFO, 0x10);
    qtest_check_eq(qtest_inb(q, FIFO), 0);
    qtest_check(!qtest_irq(q, IRQ));
    qtest_outb(q, DOR, GATE | NRESET);
    check_sense_of_reset(&f);
    qfdc_command(&f, 1, 0x0e);
    qtest_check_eq(qtest_inb(q, MSR), RESULTS);
    qtest_outb(q, DSR, 0x80 | RATE_500K);
    check_sense_of_reset(&f);
    /* Its interrupt is not for those who have none. */
    qtest_outb(q, DOR, 0);
    qtest_outb(q, DOR, NRESET);
    qtest_check(!qtest_irq(q, IRQ));
    qtest_outb(q, DOR, GATE | NRESET);
    check_sense_of_reset(&f);
    /* A seek comes before the three drives that nobody asked about. */
    qtest_outb(q, DSR, 0x80);
    qfdc_sense(&f, 0xc0, 0);
    qfdc_command(&f, 3, 0x0f, 0, 3);
    qfdc_sense(&f, SEEK_OVER, 3);
    qtest_check_eq(qfdc_ask(&f, 0x08), INVALID);
    /* That polling is off does not outlive the reset, LOCK or no: Linux counts on that. */
    qfdc_command(&f, 4, 0x13, 0, 0x10, 0);
    qtest_check_eq(qfdc_ask(&f, 0x94), 0x10);
    qtest_outb(q, DSR, 0x80);
    check_sense_of_reset(&f);
    qfdc_close(&f);
}

static void dumpreg(Floppy *f, uint8_t *r)
{
    qfdc_command(f, 1, 0x0e);
    qfdc_results(f, 10, r);
}

static void test_settings(void)
{
    Floppy f = qfdc_open("", "");
    uint8_t r[10];

    dumpreg(&f, r);
    qtest_check_eq(r[4], 0xdf);
    qtest_check_eq(r[5], 0x02);
    qtest_check_eq(r[8], 0x60);
    qfdc_command(&f, 3, 0x03, 0xaf, 0x1e);
    qfdc_command(&f, 4, 0x13, 0, 0x57, 0x12);
    qfdc_command(&f, 2, 0x12, 0x80 | 0x14 | 2);
    qfdc_command(&f, 2, 0x12, 0x28 | 1); /* drives stay without bit 7 */
    qtest_check_eq(qfdc_ask(&f, 0x94), 0x10);
    dumpreg(&f, r);
    qtest_check_eq(r[4], 0xaf);
    qtest_check_eq(r[5], 0x1e);
    qtest_check_eq(r[7], 0x80 | 0x14 | 1);
    qtest_check_eq(r[8], 0x57);
    qtest_check_eq(r[9], 0x12);
    /* What a reset leaves of that: with LOCK, and without. */
    qtest_outb(f.q, DSR, 0x80);
    dumpreg(&f, r);
    qtest_check_eq(r[7], 0x80 | 0x14);
    qtest_check_eq(r[8], 0x47);
    qtest_check_eq(r[9], 0x12);
    qtest_check_eq(qfdc_ask(&f, 0x14), 0);
    qtest_outb(f.q, DSR, 0x80);
    dumpreg(&f, r);
    qtest_check_eq(r[4], 0xaf);
    qtest_check_eq(r[7], 0x14);
    qtest_check_eq(r[8], 0x60);
    qtest_check_eq(r[9], 0);
    /* What it is. */
    qtest_check_eq(qfdc_ask(&f, 0x10), 0x90);
    qtest_check_eq(qfdc_ask(&f, 0x18), 0x41);
    qtest_check_eq(qfdc_ask(&f, 0x17, 5), 5);
    qfdc_command(&f, 2, 0x33, 0xff);
    qfdc_command(&f, 4, 0x8e, 0x12, 0x31, 0xc0);
    qfdc_command(&f, 2, 0x8e, 0x80);
    qfdc_results(&f, 4, r);
    qtest_check_eq(r[0], 0x12);
    qtest_check_eq(r[1], 0x11);
    qtest_check_eq(r[2], 0);
    qfdc_close(&f);
}

static void test_invalid(void)
{
    static const uint8_t codes[] = {0x00, 0x01, 0x0b, 0x15, 0x1a, 0x1b, 0x1c, 0x1e, 0x1f,
                                    0x20, 0x2e, 0x47, 0x4e, 0x50, 0x88, 0xcd, 0xff};
    Floppy f = qfdc_open("", "");

    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++) {
        qtest_check_eq(qfdc_ask(&f, codes[i]), INVALID);
        qtest_check(!qtest_irq(f.q, IRQ));
    }
    qfdc_close(&f);
}

static void test_seek(void)
{
    Floppy f = qfdc_open("", "");
    uint8_t r[10];

    qfdc_command(&f, 3, 0x0f, 4, 40);
    qtest_check(qtest_irq(f.q, IRQ));
    qfdc_sense(&f, SEEK_OVER, 40);
    qtest_check(!qtest_irq(f.q, IRQ));
    qfdc_command(&f, 3, 0xcf, 0, 5);
    qfdc_sense(&f, SEEK_OVER, 45);
    qfdc_command(&f, 3, 0x8f, 0, 7);
    qfdc_sense(&f, SEEK_OVER, 38);
    qfdc_command(&f, 3, 0x8f, 0, 100);
    qfdc_sense(&f, SEEK_OVER, 0);
    qfdc_command(&f, 3, 0xcf, 0, 200);
    qfdc_sense(&f, SEEK_OVER, 200);
    qfdc_command(&f, 3, 0xcf, 0, 200);
    qfdc_sense(&f, SEEK_OVER, 255);
    /* Two at a time: each has its interrupt. */
    qtest_irq_count(f.q, IRQ);
    qfdc_command(&f, 3, 0x0f, 1, 11);
    qfdc_command(&f, 3, 0x0f, 0, 10);
    qfdc_sense(&f, SEEK_OVER, 10);
    qtest_check(qtest_irq(f.q, IRQ));
    qfdc_sense(&f, SEEK_OVER | 1, 11);
    qtest_check(!qtest_irq(f.q, IRQ));
    qtest_check_eq(qtest_irq_count(f.q, IRQ), 2);
    qfdc_command(&f, 1, 0x0e);
    qfdc_results(&f, 10, r);
    qtest_check_eq(r[0], 10);
    qtest_check_eq(r[1], 11);
    /* RECALIBRATE finds track 0, where there is a drive. */
    qtest_check_eq(qfdc_ask(&f, 0x04, 4), 0x2c);
    qfdc_command(&f, 2, 0x07, 0);
    qfdc_sense(&f, SEEK_OVER, 0);
    qtest_check_eq(qfdc_ask(&f, 0x04, 0), 0x38);
    qfdc_command(&f, 2, 0x07, 1);
    qfdc_sense(&f, ABNORMAL | SEEK_OVER | EQUIPMENT | 1, 0);
    qtest_check_eq(qfdc_ask(&f, 0x04, 1), 0x29);
    qtest_check_eq(qfdc_ask(&f, 0x04, 7), 0x2f);
    qfdc_close(&f);
}

/* A medium counts as changed until the heads move. */
static void test_disk_change(void)
{
    Floppy f = qfdc_open("", "-device floppy,unit=1");

    qtest_check_eq(qtest_inb(f.q, DIR_REG), 0x80);
    qfdc_command(&f, 2, 0x07, 0); /* no step, at track 0 */
    qfdc_sense(&f, SEEK_OVER, 0);
    qtest_check_eq(qtest_inb(f.q, DIR_REG), 0x80);
    qfdc_command(&f, 3, 0x0f, 0, 1);
    qfdc_sense(&f, SEEK_OVER, 1);
    qtest_check_eq(qtest_inb(f.q, DIR_REG), 0);
    /* Drive B: is empty; others are not there. */
    qtest_outb(f.q, DOR, GATE | NRESET | MOTOR_B | 1);
    qfdc_command(&f, 3, 0x0f, 1, 1);
    qfdc_sense(&f, SEEK_OVER | 1, 1);
    qtest_check_eq(qtest_inb(f.q, DIR_REG), 0x80);
    qtest_outb(f.q, DOR, GATE | NRESET | 2);
    qtest_check_eq(qtest_inb(f.q, DIR_REG), 0);
    /* A reset of the machine is no other medium. */
    qtest_system_reset(f.q);
    qtest_check_eq(qtest_inb(f.q, DIR_REG), 0);
    qfdc_close(&f);
}

static uint8_t cmos(QTest *q, uint8_t index)
{
    qtest_outb(q, 0x70, index);
    return qtest_inb(q, 0x71);
}

/* The last sector of each format, and what the BIOS is told of the drive. */
static void test_formats(void)
{
    static const struct {
        unsigned secs, cyls, heads;
        uint8_t rate, type;
    } formats[] = {
        {8, 40, 1, RATE_250K, 2},  {9, 40, 1, RATE_300K, 2},  {8, 40, 2, RATE_250K, 2},
        {9, 40, 2, RATE_300K, 2},  {10, 41, 2, RATE_300K, 2}, {9, 80, 2, RATE_250K, 4},
        {10, 80, 2, RATE_250K, 4}, {11, 80, 2, RATE_250K, 2}, {15, 80, 2, RATE_500K, 2},
        {18, 80, 2, RATE_500K, 4}, {21, 83, 2, RATE_500K, 4}, {24, 80, 2, RATE_500K, 4},
        {36, 80, 2, RATE_1M, 5},   {48, 80, 2, RATE_1M, 5},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        unsigned n = formats[i].secs * formats[i].cyls * formats[i].heads;
        Floppy f = {.path = qfdc_make_image("b.img", n)};
        Chs last = {formats[i].cyls - 1, formats[i].heads - 1, formats[i].secs};

        f.q = qtest_startf(MACHINE "-drive if=floppy,format=raw,file=%s", f.path);
        qtest_check_eq(cmos(f.q, 0x10), formats[i].type << 4);
        qtest_check_eq(cmos(f.q, 0x14), 0x07);
        qfdc_prepare(&f, formats[i].rate, false);
        qfdc_check_sector(&f, last, n - 1);
        qfdc_close(&f);
    }
}

static void check_types(const char *args, uint8_t types, uint8_t equipment)
{
    g_autofree char *image = qfdc_make_image("a.img", SECTORS);
    QTest *q;

    q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=f %s", image, args);
    qtest_check_eq(cmos(q, 0x10), types);
    qtest_check_eq(cmos(q, 0x14), equipment);
    qtest_end(q);
}

static void test_types(void)
{
    check_types("", 0, 0x06);
    check_types("-device floppy", 0x50, 0x07);
    check_types("-device floppy,unit=1,drive=f", 0x04, 0x07);
    check_types("-device floppy,drive-type=120 -device floppy,drive=f", 0x24, 0x47);
    check_types("-device floppy,drive=f,drive-type=288", 0x50, 0x07);
    check_types("-device floppy,drive=f -global isa-fdc.fdtypeA=120", 0x20, 0x07);
    check_types("-device floppy -global isa-fdc.fallback=144", 0x40, 0x07);
    check_types("-device floppy,drive-type=none", 0, 0x06);
}

static void check_refused(const char *args, const char *want)
{
    g_autofree char *image = qfdc_make_image("a.img", SECTORS);
    g_autofree char *line = NULL, *text = NULL;
    g_auto(GStrv) parts = g_strsplit(args, "IMAGE", -1);
    g_autofree char *with_image = g_strjoinv(image, parts);
    int status;

    line = g_strconcat(MACHINE, with_image, NULL);
    text = qtest_start_fails(line, &status);
    qtest_check_eq(status, QTEST_NOT_STARTED);
    if (!strstr(text, want)) {
        qtest_fail(__FILE__, __LINE__, "'%s' is not in '%s'", want, text);
    }
}

static void test_command_line(void)
{
    g_autofree char *text = NULL, *path = qfdc_make_image("c.img", SECTORS);
    QTest *q;

    check_refused("-device floppy,unit=2", "Can't create floppy unit 2, bus supports only 2 units");
    check_refused("-device floppy -device floppy -device floppy",
                  "no 'floppy-bus' bus with a free place");
    check_refused("-device floppy,unit=0 -device floppy,unit=0", "Floppy unit 0 is in use");
    check_refused("-device floppy,drive-type=foo",
                  "Parameter 'drive-type' does not accept value 'foo'");
    check_refused("-drive if=floppy,index=2,format=raw,file=IMAGE",
                  "machine type does not support if=floppy,bus=0,unit=2");
    check_refused("-drive if=floppy,bus=1,format=raw,file=IMAGE",
                  "machine type does not support if=floppy,bus=1,unit=0");
    check_refused("-fda IMAGE -drive if=floppy,index=0,format=raw,file=IMAGE",
                  "drive with bus=0, unit=0 (index=0) exists");
    check_refused("-device floppy,physical_block_size=1024",
                  "Physical and logical block size must be 512 for floppy");
    check_refused("-device isa-fdc,iobase=0x370", "ISA DMA channel 2 is in use by 'isa-fdc'");
    check_refused("-device isa-fdc,iobase=0x370,dma=4", "there is no ISA DMA channel 4");
    check_refused("-global isa-fdc.fallback=auto", "fallback");
    check_refused("-device floppy,serial=x", "serial");
    q = qtest_startf(MACHINE "-fda %s -global isa-fdc.bootindexA=3 "
                             "-device isa-fdc,iobase=0x370,irq=5,dma=1,bootindexA=-1,"
                             "bootindexB=2",
                     path);
    text = qtest_hmp(q, "info block");
    qtest_check(g_str_has_prefix(text, "floppy0 ("));
    qtest_check(strstr(text, "Removable device: not locked, tray closed"));
    {
        uint32_t size;
        uint16_t key = qtest_fw_cfg_find(q, "bootorder", &size);
        char order[200] = "";

        qtest_check(size < sizeof order);
        qtest_fw_cfg_read(q, key, order, size);
        qtest_check_str(order, "/pci@i0cf8/isa@1/fdc@0370/floppy@1\n"
                               "/pci@i0cf8/isa@1/fdc@03f0/floppy@0");
    }
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"registers", test_registers},
    {"reset", test_reset},
    {"settings", test_settings},
    {"invalid", test_invalid},
    {"seek", test_seek},
    {"disk-change", test_disk_change},
    {"formats", test_formats},
    {"types", test_types},
    {"command-line", test_command_line},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
