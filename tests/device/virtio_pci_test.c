/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI transport: identity, capabilities, both interfaces, interrupts, resets, nonsense. */
#include <unistd.h>
#include "qvirtio.h"

#define MACHINE "-machine pc -m 64 -nodefaults "
#define RNG     "-device virtio-rng-pci,addr=5"

static void check_random(QTest *q, QVirtq *vq, unsigned len)
{
    uint64_t buf = qtest_alloc(q, len, 0);
    g_autofree uint8_t *got = g_malloc(len), *zero = g_malloc0(len);

    qtest_memset(q, buf, 0, len);
    qtest_check_eq(qv_do(vq, &(QPiece){buf, len, true}, 1), len);
    qtest_read(q, buf, got, len);
    qtest_check(memcmp(got, zero, len));
}

static void test_identity(void)
{
    static const struct {
        const char *name;
        uint16_t transitional, modern, class;
    } devices[] = {
        {"virtio-net", 0x1000, 0x1041, 0x0200},
        {"virtio-balloon", 0x1002, 0x1045, 0x00ff},
        {"virtio-serial", 0x1003, 0x1043, 0x0780},
        {"virtio-rng", 0x1005, 0x1044, 0x00ff},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
        QTest *q =
            qtest_startf(MACHINE "-device %s-pci,addr=4 -device %s,addr=5 "
                                 "-device %s-pci-transitional,addr=6",
                         devices[i].name,
                         i == 1 ? "virtio-rng-pci-non-transitional" /* only one balloon */
                                : g_strdup_printf("%s-pci-non-transitional", devices[i].name),
                         i == 1 ? "virtio-rng" : devices[i].name);
        QPci d;

        qpci_open(q, &d, 4, 0);
        qtest_check_eq(d.device, devices[i].transitional);
        qtest_check_eq(qpci_config_readb(&d, 8), 0);
        qtest_check_eq(qpci_config_readw(&d, 0xa), devices[i].class);
        qtest_check_eq(qpci_config_readw(&d, 0x2c), 0x1af4);
        qtest_check_eq(qpci_config_readw(&d, 0x2e), devices[i].modern - 0x1040);
        qpci_open(q, &d, 5, 0);
        qtest_check_eq(d.device, i == 1 ? 0x1044 : devices[i].modern);
        qtest_check_eq(qpci_config_readb(&d, 8), 1);
        qtest_check_eq(qpci_config_readl(&d, 0x10), 0); /* no I/O BAR */
        qpci_open(q, &d, 6, 0);
        qtest_check_eq(d.device, i == 1 ? 0x1005 : devices[i].transitional);
        qtest_end(q);
    }
}

static void test_interfaces(void)
{
    QTest *q = qtest_start(MACHINE "-device virtio-rng-pci,addr=4,disable-modern=on "
                                   "-device virtio-rng-pci,addr=5,disable-legacy=on");
    QVirtio v;
    QPci d;
    int status;

    qpci_open(q, &d, 4, 0);
    qtest_check_eq(d.device, 0x1005);
    qtest_check_eq(qpci_find_cap(&d, 9, 0), 0);
    qv_open(q, &v, 5, false);
    qtest_check_eq(v.pci.device, 0x1044);
    qtest_check(qv_device_features(&v) & QV_F_VERSION_1);
    qtest_end(q);
    g_autofree char *text = qtest_start_fails(
        MACHINE "-device virtio-rng-pci,disable-modern=on,disable-legacy=on", &status);
    qtest_check(strstr(text, "neither modern nor legacy mode is enabled"));
}

static void run_rng(const char *args, bool legacy, uint64_t features)
{
    QTest *q = qtest_startf(MACHINE "%s", args);
    QVirtio v;
    QVirtq vq;

    qv_open(q, &v, 5, legacy);
    for (unsigned round = 0; round < 2; round++) {
        qv_init(&v, features);
        qtest_check_eq(v.features & features, features);
        qv_queue(&v, &vq, 0);
        qtest_check_eq(qv_queue_size(&v, 1), 0);
        qv_driver_ok(&v);
        for (unsigned i = 0; i < 20; i++) {
            check_random(q, &vq, 16 + i);
        }
    }
    qtest_end(q);
}

static void test_modern(void)
{
    run_rng(RNG, false, 0);
    run_rng(RNG ",ioeventfd=off", false, 0);
    run_rng(RNG ",page-per-vq=on", false, QV_F_EVENT_IDX);
    run_rng(RNG ",packed=on", false, QV_F_PACKED);
    run_rng(RNG ",packed=on", false, QV_F_PACKED | QV_F_EVENT_IDX);
}

static void test_legacy(void)
{
    run_rng(RNG, true, 0);
    run_rng(RNG ",ioeventfd=off", true, QV_F_EVENT_IDX);
}

static void test_features(void)
{
    QTest *q = qtest_start(MACHINE RNG ",event_idx=off,indirect_desc=off");
    QVirtio v;

    qv_open(q, &v, 5, false);
    qtest_check_eq(qv_device_features(&v) & (QV_F_EVENT_IDX | QV_F_INDIRECT | QV_F_PACKED), 0);
    /* Legacy feature bits are not offered by the modern interface. */
    qtest_check_eq(qv_device_features(&v) & (1u << 24 | 1u << 27), 0);
    qv_set_status(&v, 0);
    qv_set_status(&v, QV_ACKNOWLEDGE | QV_DRIVER);
    /* Feature words beyond the second are empty. */
    qpci_writel(v.bar, v.common, 2);
    qtest_check_eq(qpci_readl(v.bar, v.common + 4), 0);
    qtest_end(q);
}

static void test_msix(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    uint64_t msg, buf;
    QVirtio v;
    QVirtq vq;

    qv_open(q, &v, 5, false);
    qpci_msix_enable(&v.pci);
    qtest_check_eq(v.pci.msix_count, 2);
    qv_init(&v, 0);
    qv_queue_vector(&v, 0, 1);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    msg = qtest_alloc(q, 4, 4);
    buf = qtest_alloc(q, 64, 0);
    qtest_writel(q, msg, 0);
    qpci_msix_set(&v.pci, 1, msg, 0x1234);
    qv_do(&vq, &(QPiece){buf, 8, true}, 1);
    qtest_wait_until(qpci_msix_take(&v.pci, msg, 0x1234));
    /* A masked message waits. */
    qpci_msix_mask(&v.pci, 1, true);
    qv_do(&vq, &(QPiece){buf, 8, true}, 1);
    qtest_wait_until(qpci_msix_pending(&v.pci, 1));
    qtest_check_eq(qtest_readl(q, msg), 0);
    qpci_msix_mask(&v.pci, 1, false);
    qtest_wait_until(qpci_msix_take(&v.pci, msg, 0x1234));
    /* The driver suppresses interrupts. */
    qtest_writew(q, vq.driver, 1);
    qv_do(&vq, &(QPiece){buf, 8, true}, 1);
    qtest_check_eq(qtest_readl(q, msg), 0);
    /* A vector that does not exist. */
    qpci_writew(v.bar, v.common + 26, 5);
    qtest_check_eq(qpci_readw(v.bar, v.common + 26), 0xffff);
    qtest_end(q);
}

static void test_intx(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    QVirtio v;
    QVirtq vq;
    uint64_t buf;

    qv_open(q, &v, 5, true);
    qtest_check_eq(qpci_config_readb(&v.pci, 0x3d), 1);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    buf = qtest_alloc(q, 64, 0);
    qtest_check_eq(qv_isr(&v), 0);
    qv_do(&vq, &(QPiece){buf, 8, true}, 1);
    /* The status bit shows the line. */
    qtest_wait_until(qpci_config_readw(&v.pci, 6) & 8);
    qtest_check_eq(qv_isr(&v), 1);
    qtest_check_eq(qv_isr(&v), 0);
    qtest_check_eq(qpci_config_readw(&v.pci, 6) & 8, 0);
    qtest_end(q);
}

/* The same accesses through VIRTIO_PCI_CAP_PCI_CFG (4.1.4.9). */
static void test_window(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    uint8_t cap = 0;
    QVirtio v;

    qv_open(q, &v, 5, false);
    do {
        cap = qpci_find_cap(&v.pci, 9, cap);
        qtest_check_ne(cap, 0);
    } while (qpci_config_readb(&v.pci, cap + 3) != 5);
    qpci_config_writeb(&v.pci, cap + 4, 4);
    qpci_config_writel(&v.pci, cap + 8, v.common + 20);
    qpci_config_writel(&v.pci, cap + 12, 1);
    qpci_config_writeb(&v.pci, cap + 16, QV_ACKNOWLEDGE);
    qtest_check_eq(qv_status(&v), QV_ACKNOWLEDGE);
    qtest_check_eq(qpci_config_readb(&v.pci, cap + 16), QV_ACKNOWLEDGE);
    qpci_config_writeb(&v.pci, cap + 16, 0); /* a reset: deferred work */
    qtest_check_eq(qv_status(&v), 0);
    qpci_config_writel(&v.pci, cap + 8, v.common + 18);
    qpci_config_writel(&v.pci, cap + 12, 2);
    qtest_check_eq(qpci_config_readw(&v.pci, cap + 16), 1); /* num_queues */
    /* Invalid lengths, offsets and BARs. */
    qpci_config_writel(&v.pci, cap + 12, 3);
    qpci_config_readl(&v.pci, cap + 16);
    qpci_config_writel(&v.pci, cap + 12, 4);
    qpci_config_writel(&v.pci, cap + 8, 0xfffffffc);
    qpci_config_writel(&v.pci, cap + 16, 0xffffffff);
    qpci_config_writeb(&v.pci, cap + 4, 2);
    qpci_config_readl(&v.pci, cap + 16);
    qtest_check_eq(qv_status(&v), 0);
    qtest_end(q);
}

static void test_ring_reset(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    QVirtio v;
    QVirtq vq;

    qv_open(q, &v, 5, false);
    qv_init(&v, QV_F_RESET);
    if (!(v.features & QV_F_RESET)) {
        qtest_skip("no VIRTIO_F_RING_RESET");
    }
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    check_random(q, &vq, 8);
    qpci_writew(v.bar, v.common + 58, 1);
    qtest_check_eq(qpci_readw(v.bar, v.common + 58), 0);
    qtest_check_eq(qpci_readw(v.bar, v.common + 28), 0);
    qv_queue(&v, &vq, 0);
    check_random(q, &vq, 8);
    qtest_end(q);
}

static void test_needs_reset(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    QVirtio v;
    QVirtq vq;

    qv_open(q, &v, 5, false);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    qtest_writew(q, vq.driver + 4, 999); /* a head outside the ring */
    qtest_writew(q, vq.driver + 2, 1);
    qv_kick(&vq);
    qtest_wait_until(qv_status(&v) & QV_NEEDS_RESET);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    check_random(q, &vq, 8);
    qtest_end(q);
}

static void test_system_reset(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    QVirtio v;
    QVirtq vq;

    qv_open(q, &v, 5, false);
    for (unsigned i = 0; i < 3; i++) {
        qv_init(&v, 0);
        qv_queue(&v, &vq, 0);
        qv_driver_ok(&v);
        check_random(q, &vq, 8);
        qtest_system_reset(q);
        qv_open(q, &v, 5, false);
        qtest_check_eq(qv_status(&v), 0);
    }
    qtest_end(q);
}

static void test_no_bus_master(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    QVirtio v;
    QVirtq vq;
    uint64_t buf;
    uint32_t id, len;

    qv_open(q, &v, 5, false);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    buf = qtest_alloc(q, 64, 0);
    qpci_config_writew(&v.pci, 4, 3);
    qv_add(&vq, &(QPiece){buf, 8, true}, 1);
    qv_kick(&vq);
    g_usleep(20000);
    qtest_check(!qv_get(&vq, &id, &len));
    qpci_config_writew(&v.pci, 4, 7);
    qv_kick(&vq);
    qtest_wait_until(qv_get(&vq, &id, &len));
    qtest_end(q);
}

/* Writes all values to all registers; after a reset the device still works. */
static void test_nonsense(void)
{
    QTest *q = qtest_start(MACHINE RNG);
    GRand *rand = g_rand_new_with_seed(1);
    QVirtio v;
    QVirtq vq;

    qv_open(q, &v, 5, false);
    for (unsigned i = 0; i < 3000; i++) {
        uint64_t at = (g_rand_int(rand) & 3) << 12 | (g_rand_int(rand) & 0x3f);
        uint64_t value = g_rand_boolean(rand) ? g_rand_int(rand) : g_rand_int(rand) & 0xf;

        switch (g_rand_int_range(rand, 0, 6)) {
        case 0:
            qpci_writeb(v.bar, at, value);
            break;
        case 1:
            qpci_writew(v.bar, at & ~1ull, value);
            break;
        case 2:
            qpci_writel(v.bar, at & ~3ull, value);
            break;
        case 3:
            qpci_writeq(v.bar, at & ~7ull, value << 32 | value);
            break;
        case 4:
            qpci_readq(v.bar, at & ~7ull);
            break;
        default:
            qpci_readb(v.bar, at);
            break;
        }
    }
    g_rand_free(rand);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    check_random(q, &vq, 8);
    qtest_end(q);
}

static void test_hot_plug(void)
{
    QTest *q = qtest_start(MACHINE);
    QVirtio v;
    QVirtq vq;

    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *said = qtest_hmp(q, "device_add virtio-rng-pci,id=r0,addr=5");

        qtest_check_str(said, "");
        qv_open(q, &v, 5, false);
        qv_init(&v, 0);
        qv_queue(&v, &vq, 0);
        qv_driver_ok(&v);
        check_random(q, &vq, 8);
        g_free(qtest_hmp(q, "device_del r0"));
        qtest_outl(q, 0xae08, 1u << 5);
        json_decref(qtest_wait_event(q, "DEVICE_DELETED"));
    }
    qtest_end(q);
}

/* Boot ROMs. */

/* A folder for -L with an image for 1af4:1041, whose bytes add up to zero. */
static char *make_rom_dir(void)
{
    g_autofree char *path = g_strdup_printf("%s/efi-virtio.rom", qtest_tmp_dir());
    uint8_t rom[5000] = {0x55, 0xaa, 1};
    uint8_t sum = 0;

    rom[0x18] = 0x40;
    memcpy(rom + 0x40, "PCIR\xf4\x1a\x41\x10", 8);
    for (unsigned i = 0; i < sizeof rom; i++) {
        sum += rom[i];
    }
    rom[6] = -sum;
    qtest_check(g_file_set_contents(path, (char *)rom, sizeof rom, NULL));
    return g_strdup(qtest_tmp_dir());
}

/* Maps the ROM, and returns the vendor and device id in the image; 0: no image. */
static uint32_t rom_identity(QTest *q, unsigned slot)
{
    enum { ADDR = 0xe0000000, SIZE = 8192 };
    uint8_t rom[SIZE], sum = 0;
    QPci d;

    qpci_open(q, &d, slot, 0);
    qpci_config_writel(&d, 0x30, 0xfffff800);
    if (!qpci_config_readl(&d, 0x30)) {
        return 0;
    }
    qtest_check_eq(qpci_config_readl(&d, 0x30), (uint32_t)-SIZE);
    qpci_config_writel(&d, 0x30, ADDR | 1);
    qpci_enable(&d);
    qtest_read(q, ADDR, rom, SIZE);
    qpci_config_writel(&d, 0x30, 0);
    qtest_check_eq(rom[0] | rom[1] << 8, 0xaa55);
    for (unsigned i = 0; i < 5000; i++) {
        sum += rom[i];
    }
    qtest_check_eq(sum, 0);
    return rom[0x46] << 24 | rom[0x47] << 16 | rom[0x44] << 8 | rom[0x45];
}

static void test_boot_rom(void)
{
    g_autofree char *dir = make_rom_dir();
    QTest *q = qtest_startf(MACHINE "-L %s -device virtio-net-pci,addr=4,id=a "
                                    "-device virtio-net-pci-transitional,addr=5 "
                                    "-device virtio-net-pci-non-transitional,addr=6 "
                                    "-device virtio-net,addr=7,romfile=%s/efi-virtio.rom "
                                    "-device virtio-net-pci,addr=8,romfile= "
                                    "-device virtio-net-pci,addr=9,rombar=0 "
                                    "-device virtio-rng-pci,addr=a",
                            dir, dir);
    static const uint32_t expected[] = {0x0010f41a, 0x0010f41a, 0x4110f41a,
                                        0x4110f41a, /* an image given by romfile= is not changed */
                                        0,          0,          0};
    json_t *value;

    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        qtest_check_eq(rom_identity(q, 4 + i), expected[i]);
    }
    value = qtest_qmp(q, "qom-get", "{s:s, s:s}", "path", "/machine/peripheral/a", "property",
                      "romfile");
    qtest_check_str(json_string_value(value), "efi-virtio.rom");
    json_decref(value);
    qtest_end(q);
}

static void test_network_boot_order(void)
{
    static const struct {
        const char *args, *warning;
    } cases[] = {
        {"-boot n", "-boot order=n: there is no network card with a boot ROM"},
        {"-boot order=c,once=dn -device virtio-net-pci,romfile=", "-boot once=dn: there is no"},
        {"-boot n -device virtio-net-pci", NULL},
        {"-boot c", NULL},
    };
    g_autofree char *dir = make_rom_dir();
    g_autofree char *path = g_strdup_printf("%s/stderr", dir);
    int old = dup(2);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = NULL;

        qtest_check(freopen(path, "w", stderr) != NULL);
        qtest_end(qtest_startf(MACHINE "-L %s %s", dir, cases[i].args));
        dup2(old, 2);
        qtest_check(g_file_get_contents(path, &text, NULL, NULL));
        if (cases[i].warning) {
            qtest_check(strstr(text, cases[i].warning) != NULL);
        } else {
            qtest_check(strstr(text, "-boot") == NULL);
        }
    }
}

static const QTestCase cases[] = {
    {"identity", test_identity},
    {"interfaces", test_interfaces},
    {"modern", test_modern},
    {"legacy", test_legacy},
    {"features", test_features},
    {"msix", test_msix},
    {"intx", test_intx},
    {"window", test_window},
    {"ring-reset", test_ring_reset},
    {"needs-reset", test_needs_reset},
    {"system-reset", test_system_reset},
    {"no-bus-master", test_no_bus_master},
    {"nonsense", test_nonsense},
    {"hot-plug", test_hot_plug},
    {"boot-rom", test_boot_rom},
    {"network-boot-order", test_network_boot_order},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
