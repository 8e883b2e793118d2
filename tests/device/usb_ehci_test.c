/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The EHCI controllers (EHCI 1.0), devices of high speed behind them, and companions. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "usb_client.h"

enum {
    MICROFRAME = 125000,
    USB_CMD = 0x20,
    USB_STS = 0x24,
    USB_INTR = 0x28,
    FRAME_INDEX = 0x2c,
    PERIODIC = 0x34,
    ASYNC = 0x38,
    CONFIG = 0x60,
    PORT = 0x64,

    RUN = 0x01,
    RESET = 0x02,
    PERIODIC_ON = 0x10,
    ASYNC_ON = 0x20,
    DOORBELL = 0x40,
    THRESHOLD_1 = 0x10000,

    INT = 0x01,
    ERR = 0x02,
    CHANGE = 0x04,
    ROLLOVER = 0x08,
    SYSTEM_ERROR = 0x10,
    ADVANCED = 0x20,
    HALTED = 0x1000,

    CONNECTED = 0x01,
    CONNECT_CHANGE = 0x02,
    ENABLED = 0x04,
    ENABLE_CHANGE = 0x08,
    IN_RESET = 0x100,
    OWNER = 0x2000,

    T_XACT = 0x08,
    T_BABBLE = 0x10,
    T_BUFFER = 0x20,
    T_HALTED = 0x40,
    T_ACTIVE = 0x80,
    T_ERRORS_3 = 0xc00,
    T_IOC = 0x8000,
    T_OUT = 0x000,
    T_IN = 0x100,
    T_SETUP = 0x200,
    QH_TYPE = 2,

    SECTOR = 512,
};
#define TOGGLE 0x80000000u
#define PCI    "-machine pc -m 64 -nodefaults "

typedef struct {
    QTest *q;
    QPci pci;
    QPciBar bar;
    uint64_t frames, head, queue, tds, data, setup;
    uint8_t address;
} Ehci;

static void ehci_start(Ehci *e)
{
    qpci_open(e->q, &e->pci, 4, 7);
    qpci_enable(&e->pci);
    e->bar = qpci_map_bar(&e->pci, 0);
    /* An empty head of the reclamation list, and a queue behind it. */
    qtest_memset(e->q, e->head, 0, 48);
    qtest_memset(e->q, e->queue, 0, 48);
    qtest_writel(e->q, e->head, e->queue | QH_TYPE);
    qtest_writel(e->q, e->head + 4, 0x8000);
    qtest_writel(e->q, e->head + 16, TERMINATE);
    qtest_writel(e->q, e->head + 20, TERMINATE);
    qtest_writel(e->q, e->head + 24, T_HALTED);
    qtest_writel(e->q, e->queue, e->head | QH_TYPE);
    qtest_writel(e->q, e->queue + 16, TERMINATE);
    qtest_writel(e->q, e->queue + 20, TERMINATE);
    for (unsigned i = 0; i < 1024; i++) {
        qtest_writel(e->q, e->frames + 4 * i, TERMINATE);
    }
    qpci_writel(e->bar, PERIODIC, e->frames);
    qpci_writel(e->bar, ASYNC, e->head);
    qpci_writel(e->bar, USB_INTR, 0x37);
    qpci_writel(e->bar, USB_CMD, THRESHOLD_1 | ASYNC_ON | RUN);
    qpci_writel(e->bar, CONFIG, 1);
    e->address = 0;
}

static Ehci ehci_open(const char *devices)
{
    Ehci e = {0};

    e.q = qtest_startf(PCI "-device ich9-usb-ehci1,id=e,addr=4.7,multifunction=on %s", devices);
    e.frames = qtest_alloc(e.q, 4096, 4096);
    e.head = qtest_alloc(e.q, 64, 64);
    e.queue = qtest_alloc(e.q, 64, 64);
    e.tds = qtest_alloc(e.q, 64 * 64, 64);
    e.data = qtest_alloc(e.q, 32 * 1024, 4096);
    e.setup = qtest_alloc(e.q, 64, 64);
    ehci_start(&e);
    return e;
}

static void put_td(Ehci *e, unsigned n, uint32_t next, uint32_t alternate, uint32_t token,
                   uint64_t buffer)
{
    uint64_t td = e->tds + 64 * n;

    qtest_writel(e->q, td, next);
    qtest_writel(e->q, td + 4, alternate);
    qtest_writel(e->q, td + 12, buffer);
    for (unsigned i = 1; i < 5; i++) {
        qtest_writel(e->q, td + 12 + 4 * i, (buffer & ~0xfffull) + 0x1000 * i);
    }
    qtest_writel(e->q, td + 8, token);
}

static uint64_t td_at(Ehci *e, unsigned n)
{
    return e->tds + 64 * n;
}

static uint32_t td_token(Ehci *e, unsigned n)
{
    return qtest_readl(e->q, td_at(e, n) + 8);
}

static unsigned td_left(Ehci *e, unsigned n)
{
    return td_token(e, n) >> 16 & 0x7fff;
}

/* Gives the queue to an endpoint, with TD 0 as the next one. */
static void aim(Ehci *e, unsigned endpoint, uint32_t flags)
{
    qtest_writel(e->q, e->queue + 4,
                 e->address | endpoint << 8 | 2 << 12 | flags | (endpoint ? 512u : 64u) << 16);
    qtest_writel(e->q, e->queue + 8, 1u << 30);
    qtest_writel(e->q, e->queue + 24, qtest_readl(e->q, e->queue + 24) & TOGGLE);
    qtest_writel(e->q, e->queue + 20, TERMINATE);
    qtest_writel(e->q, e->queue + 16, td_at(e, 0));
}

static bool step_ends(Ehci *e, unsigned n)
{
    qtest_clock_step(e->q, FRAME_NS);
    return !(td_token(e, n) & T_ACTIVE);
}

/* Until a TD has ended. */
static uint32_t finish(Ehci *e, unsigned n)
{
    for (unsigned ms = 0; ms < 20000 && !step_ends(e, n); ms++) {
    }
    qtest_check_eq(td_token(e, n) & T_ACTIVE, 0);
    return td_token(e, n);
}

static void port_reset(Ehci *e, unsigned n)
{
    qpci_writel(e->bar, PORT + 4 * n, IN_RESET | CONNECT_CHANGE);
    qpci_writel(e->bar, PORT + 4 * n, 0);
    e->address = 0;
}

/* Bytes of data, -1 for a stall. */
static int control(Ehci *e, uint8_t type, uint8_t request, uint16_t value, uint16_t index,
                   uint16_t length)
{
    uint8_t setup[8] = {type, request, value, value >> 8, index, index >> 8, length, length >> 8};
    bool in = type & 0x80;
    unsigned last = length ? 2 : 1;

    qtest_write(e->q, e->setup, setup, sizeof setup);
    put_td(e, 0, td_at(e, 1), TERMINATE, T_ACTIVE | T_ERRORS_3 | T_SETUP | 8 << 16, e->setup);
    if (length) {
        put_td(e, 1, td_at(e, 2), td_at(e, 2),
               TOGGLE | T_ACTIVE | T_ERRORS_3 | (in ? T_IN : T_OUT) | (uint32_t)length << 16,
               e->data);
    }
    put_td(e, last, TERMINATE, TERMINATE,
           TOGGLE | T_ACTIVE | T_ERRORS_3 | T_IOC | (in && length ? T_OUT : T_IN), 0);
    aim(e, 0, 1 << 14);
    qtest_clock_step(e->q, 20 * FRAME_NS);
    for (unsigned n = 0; n <= last; n++) {
        if (td_token(e, n) & T_HALTED) {
            return -1;
        }
        qtest_check_eq(td_token(e, n) & T_ACTIVE, 0);
    }
    return length ? length - td_left(e, 1) : 0;
}

static void enumerate(Ehci *e, unsigned port)
{
    port_reset(e, port);
    qtest_check_eq(qpci_readl(e->bar, PORT + 4 * port) & (CONNECTED | ENABLED | IN_RESET),
                   CONNECTED | ENABLED);
    qtest_check_eq(control(e, 0x00, 5, 9 + port, 0, 0), 0);
    e->address = 9 + port;
    qtest_check_eq(control(e, 0x00, 9, 1, 0, 0), 0);
}

static void test_registers(void)
{
    Ehci e = ehci_open("");
    uint32_t before;

    qtest_check_eq(qpci_config_readl(&e.pci, 0), 0x293a8086);
    qtest_check_eq(qpci_config_readl(&e.pci, 8) >> 8, 0x0c0320);
    qtest_check_eq(qpci_config_readb(&e.pci, 0x60), 0x20);
    qtest_check_eq(qpci_config_readl(&e.pci, 0x68), 1);
    qpci_config_writeb(&e.pci, 0x6b, 1);
    qtest_check_eq(qpci_config_readl(&e.pci, 0x68), 0x01000001);
    qtest_check_eq(qpci_readb(e.bar, 0), 0x20);
    qtest_check_eq(qpci_readw(e.bar, 2), 0x100);
    qtest_check_eq(qpci_readl(e.bar, 4), 6);
    qtest_check_eq(qpci_readl(e.bar, 8), 0x6880);
    qtest_check_eq(qpci_readl(e.bar, PORT), 0x1000);
    qpci_writel(e.bar, PORT, OWNER | ENABLED); /* no companion, no device */
    qtest_check_eq(qpci_readl(e.bar, PORT), 0x1000);
    before = qpci_readl(e.bar, FRAME_INDEX);
    qtest_clock_step(e.q, 10 * MICROFRAME);
    qtest_check_eq(qpci_readl(e.bar, FRAME_INDEX), before + 10);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & 0xd000, 0x8000);
    qtest_clock_step(e.q, 1024 * (int64_t)FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & ROLLOVER, ROLLOVER);
    qpci_writel(e.bar, USB_STS, ROLLOVER);
    qpci_writel(e.bar, USB_INTR, ROLLOVER);
    qtest_check_eq(qpci_config_readw(&e.pci, 6) & 8, 0);
    qtest_clock_step(e.q, 1024 * (int64_t)FRAME_NS);
    qtest_check_eq(qpci_config_readw(&e.pci, 6) & 8, 8); /* interrupt status */
    qpci_writel(e.bar, USB_STS, ROLLOVER);
    qtest_check_eq(qpci_config_readw(&e.pci, 6) & 8, 0);
    qpci_writel(e.bar, USB_CMD, 0x80000);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & 0xf000, HALTED);
    qpci_writel(e.bar, FRAME_INDEX, 0x4321);
    qtest_clock_step(e.q, 10 * MICROFRAME);
    qtest_check_eq(qpci_readl(e.bar, FRAME_INDEX), 0x0321);
    qpci_writel(e.bar, USB_CMD, RESET);
    qtest_check_eq(qpci_readl(e.bar, USB_CMD), 0x80000);
    qtest_check_eq(qpci_readl(e.bar, CONFIG), 0);
    qtest_check_eq(qpci_readl(e.bar, PERIODIC), 0);
    qtest_end(e.q);
}

static void test_control(void)
{
    Ehci e = ehci_open("-device usb-kbd,serial=abc");
    uint8_t d[64];

    qtest_check_eq(qpci_readl(e.bar, PORT) & 3, CONNECTED | CONNECT_CHANGE);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & CHANGE, CHANGE);
    enumerate(&e, 0);
    qtest_check_eq(control(&e, 0x80, 6, 0x0100, 0, 64), 18);
    qtest_read(e.q, e.data, d, 18);
    qtest_check_eq(d[7], 64);
    qtest_check_eq(control(&e, 0x80, 6, 0x0200, 0, 255), 34);
    qtest_check_eq(control(&e, 0x80, 6, 0x0600, 0, 255), 10);
    qtest_check_eq(control(&e, 0x80, 6, 0x0309, 0x409, 255), -1);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & ERR, ERR);
    qtest_check_eq(control(&e, 0x80, 6, 0x0303, 0x409, 255), 8);
    /* More than a device stores (CVE-2020-14364), and what runs past the last page. */
    qtest_write(e.q, e.setup, "\x21\x09\x00\x02\x00\x00\xff\xff", 8);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_SETUP | 8 << 16, e.setup);
    aim(&e, 0, 1 << 14);
    qtest_check_eq(finish(&e, 0) & T_HALTED, T_HALTED);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_OUT | 0x7fff << 16, e.data);
    aim(&e, 0, 1 << 14);
    qtest_check_eq(finish(&e, 0) & (T_HALTED | T_BUFFER), T_HALTED | T_BUFFER);
    /* Longer than was set up, in both directions. */
    qtest_write(e.q, e.setup, "\x80\x06\x00\x01\x00\x00\x08\x00", 8);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_SETUP | 8 << 16, e.setup);
    aim(&e, 0, 1 << 14);
    finish(&e, 0);
    qtest_memset(e.q, e.data, 0xee, 4096);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_IN | 4096 << 16, e.data);
    aim(&e, 0, 1 << 14);
    qtest_check_eq(finish(&e, 0) >> 16 & 0x7fff, 4096 - 8);
    qtest_check_eq(qtest_readw(e.q, e.data + 7), 0xee40);
    qtest_write(e.q, e.setup, "\x21\x09\x00\x02\x00\x00\x01\x00", 8);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_SETUP | 8 << 16, e.setup);
    aim(&e, 0, 1 << 14);
    finish(&e, 0);
    for (unsigned i = 0; i < 2; i++) {
        put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_OUT | 8192 << 16, e.data);
        aim(&e, 0, 1 << 14);
        qtest_check_eq(finish(&e, 0) & T_HALTED, i ? T_HALTED : 0);
    }
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | 0x300 | 8 << 16, e.data);
    aim(&e, 0, 1 << 14); /* no such PID */
    qtest_check_eq(finish(&e, 0) & T_HALTED, T_HALTED);
    /* Nobody answers: three errors, or for ever. */
    e.address = 77;
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_IN | 8 << 16, e.data);
    aim(&e, 0, 1 << 14);
    qtest_check_eq(finish(&e, 0) & (T_HALTED | T_XACT | T_ERRORS_3), T_HALTED | T_XACT);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_IN | 8 << 16, e.data);
    aim(&e, 0, 1 << 14);
    qtest_clock_step(e.q, 100 * FRAME_NS);
    qtest_check_eq(td_token(&e, 0) & (T_HALTED | T_XACT | T_ACTIVE), T_ACTIVE | T_XACT);
    qtest_end(e.q);
}

/* An interrupt endpoint in the periodic schedule, behind descriptors that are passed by. */
static void test_interrupt(void)
{
    Ehci e = ehci_open("-device usb-kbd");
    uint64_t itd = qtest_alloc(e.q, 64, 64), sitd = qtest_alloc(e.q, 64, 64);
    uint8_t r[8];
    g_autofree char *answer = NULL;

    enumerate(&e, 0);
    qtest_memset(e.q, itd, 0xff, 64);
    qtest_writel(e.q, itd, sitd | 4);
    qtest_memset(e.q, sitd, 0xff, 64);
    qtest_writel(e.q, sitd, e.queue | QH_TYPE);
    qtest_writel(e.q, e.head, e.head | QH_TYPE);
    qtest_writel(e.q, e.queue, TERMINATE);
    for (unsigned i = 0; i < 1024; i += 8) {
        qtest_writel(e.q, e.frames + 4 * i, itd);
    }
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_IN | T_IOC | 8 << 16, e.data);
    aim(&e, 1, 0);
    qtest_writel(e.q, e.queue + 8, 1u << 30 | 1);
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | PERIODIC_ON | ASYNC_ON | RUN);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & 0xc000, 0xc000);
    qtest_clock_step(e.q, 50 * FRAME_NS);
    qtest_check_eq(td_token(&e, 0) & T_ACTIVE, T_ACTIVE);
    answer = qtest_hmp(e.q, "sendkey a 1");
    qpci_writel(e.bar, USB_STS, INT);
    finish(&e, 0);
    qtest_check_eq(td_left(&e, 0), 0);
    qtest_read(e.q, e.data, r, 8);
    qtest_check_mem(r, "\0\0\x04\0\0\0\0\0", 8);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & INT, INT);
    qtest_check_eq(qtest_readl(e.q, e.queue + 24) & TOGGLE, TOGGLE);
    qtest_end(e.q);
}

/* Mass storage. */

static char *make_disk(void)
{
    g_autofree uint8_t *bytes = g_malloc(1024 * SECTOR);
    char *path = g_strdup_printf("%s/stick.raw", qtest_tmp_dir());

    for (unsigned i = 0; i < 1024 * SECTOR; i++) {
        bytes[i] = i / SECTOR + i;
    }
    qtest_check(g_file_set_contents(path, (char *)bytes, 1024 * SECTOR, NULL));
    return path;
}

static void send_cbw(Ehci *e, bool in, uint32_t length, const char *cdb)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C', 1, 2, 3, 4};

    memcpy(cbw + 8, &length, 4);
    cbw[12] = in ? 0x80 : 0;
    cbw[14] = 10;
    memcpy(cbw + 15, cdb, 10);
    qtest_write(e->q, e->setup, cbw, sizeof cbw);
    put_td(e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_OUT | 31 << 16, e->setup);
    aim(e, 2, 0);
    qtest_check_eq(finish(e, 0) & T_HALTED, 0);
}

static int get_csw(Ehci *e)
{
    uint8_t csw[13];

    put_td(e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_IN | 13 << 16, e->setup);
    aim(e, 1, 0);
    qtest_check_eq(finish(e, 0) & T_HALTED, 0);
    qtest_read(e->q, e->setup, csw, sizeof csw);
    qtest_check_mem(csw, "USBS\1\2\3\4\0\0\0\0", 12);
    return csw[12];
}

/* One command: CBW, data and CSW, data in one TD. Returns the CSW's status. */
static int command(Ehci *e, bool in, uint32_t length, const char *cdb, uint64_t buffer)
{
    send_cbw(e, in, length, cdb);
    if (length) {
        put_td(e, 0, TERMINATE, TERMINATE,
               T_ACTIVE | T_ERRORS_3 | T_IOC | (in ? T_IN : T_OUT) | length << 16, buffer);
        aim(e, in ? 1 : 2, 0);
        qtest_check_eq(finish(e, 0) & T_HALTED, 0);
        qtest_check_eq(td_left(e, 0), 0);
    }
    return get_csw(e);
}

static void test_storage(void)
{
    g_autofree char *path = make_disk(),
                    *args = g_strdup_printf("-drive file=%s,format=raw,if=none,id=d "
                                            "-device usb-storage,id=s,drive=d",
                                            path);
    g_autofree uint8_t *got = g_malloc(18 * 1024), *file = NULL;
    Ehci e = ehci_open(args);
    gsize length;

    enumerate(&e, 0);
    command(&e, false, 0, "\0\0\0\0\0\0\0\0\0", e.data); /* takes the unit attention */
    /* 18 KiB that begin in the middle of a page and end in the last of five. */
    qtest_check_eq(command(&e, true, 18 * 1024, "\x28\0\0\0\0\x10\0\0\x24\0", e.data + 0x700), 0);
    qtest_read(e.q, e.data + 0x700, got, 18 * 1024);
    for (unsigned i = 0; i < 18 * 1024; i++) {
        qtest_check_eq(got[i], (uint8_t)((i + 0x10 * SECTOR) / SECTOR + i));
    }
    qtest_check_eq(command(&e, false, 18 * 1024, "\x2a\0\0\0\0\x80\0\0\x24\0", e.data + 0x700), 0);
    qtest_check_eq(command(&e, false, 0, "\x35\0\0\0\0\0\0\0\0\0", e.data), 0);
    qtest_check(g_file_get_contents(path, (char **)&file, &length, NULL));
    qtest_check(!memcmp(file + 0x80 * SECTOR, got, 18 * 1024));
    qtest_check_eq(file[(0x80 + 0x24) * SECTOR], (uint8_t)(0x80 + 0x24));
    qtest_end(e.q);
}

/* A packet of 18 KiB that is parked, or taken back, and then saved. */
static void test_saved(void)
{
    enum { BYTES = 18 * 1024 };
    struct rlimit small = {64 * 1024, RLIM_INFINITY}, big = {RLIM_INFINITY, RLIM_INFINITY};
    g_autofree char *path = make_disk(), *state = g_strdup_printf("%s/state", qtest_tmp_dir()),
                    *args = g_strdup_printf("-drive file=%s,format=raw,if=none,id=d,werror=stop "
                                            "-device usb-storage,id=s,drive=d",
                                            path);
    g_autofree uint8_t *file = NULL;
    Ehci e;
    gsize length;

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    e = ehci_open(args);
    enumerate(&e, 0);
    command(&e, false, 0, "\0\0\0\0\0\0\0\0\0", e.data); /* takes the unit attention */
    qtest_memset(e.q, e.data + 0x700, 0xd7, BYTES);
    send_cbw(&e, false, BYTES, "\x2a\0\0\0\x01\0\0\0\x24\0");
    prlimit(qtest_pid(e.q), RLIMIT_FSIZE, &small, NULL);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_OUT | BYTES << 16,
           e.data + 0x700);
    aim(&e, 2, 0);
    qtest_clock_step(e.q, 20 * FRAME_NS);
    json_decref(qtest_wait_event(e.q, "STOP"));
    prlimit(qtest_pid(e.q), RLIMIT_FSIZE, &big, NULL);
    json_decref(qtest_qmp(e.q, "x-save-state", "{s:s}", "filename", state));
    qtest_system_reset(e.q);
    json_decref(qtest_qmp(e.q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(e.q, "cont", NULL));
    qtest_check_eq(finish(&e, 0) & T_HALTED, 0);
    qtest_check_eq(td_left(&e, 0), 0);
    qtest_check_eq(get_csw(&e), 0);
    qtest_check(g_file_get_contents(path, (char **)&file, &length, NULL));
    qtest_check_eq(file[0x100 * SECTOR], 0xd7);
    qtest_check_eq(file[0x100 * SECTOR + BYTES - 1], 0xd7);
    qtest_check_eq(file[0x100 * SECTOR + BYTES], (uint8_t)(0x100 + 0x24));
    /* The controller stops while the disk reads; the packet comes again after the load. */
    send_cbw(&e, true, BYTES, "\x28\0\0\0\x01\0\0\0\x24\0");
    qtest_memset(e.q, e.data, 0, 24 * 1024);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_IN | BYTES << 16, e.data);
    aim(&e, 1, 0);
    qtest_clock_step(e.q, FRAME_NS);
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1);
    json_decref(qtest_qmp(e.q, "stop", NULL));
    json_decref(qtest_qmp(e.q, "x-save-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(e.q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(e.q, "cont", NULL));
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | ASYNC_ON | RUN);
    qtest_check_eq(finish(&e, 0) & T_HALTED, 0);
    qtest_check_eq(qtest_readb(e.q, e.data), 0xd7);
    qtest_check_eq(qtest_readb(e.q, e.data + BYTES - 1), 0xd7);
    qtest_check_eq(get_csw(&e), 0);
    qtest_end(e.q);
}

/* A packet that is short is followed by the alternate TD; others are by the next one. */
static void test_short(void)
{
    g_autofree char *path = make_disk(),
                    *args = g_strdup_printf("-drive file=%s,format=raw,if=none,id=d "
                                            "-device usb-storage,id=s,drive=d",
                                            path);
    Ehci e = ehci_open(args);
    uint8_t cbw[31] = "USBC\1\2\3\4\0\x40\0\0\x80\0\6\x12\0\0\0\x24\0";

    enumerate(&e, 0);
    qtest_write(e.q, e.setup, cbw, sizeof cbw);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_OUT | 31 << 16, e.setup);
    aim(&e, 2, 0);
    finish(&e, 0);
    /* 36 of 0x4000 bytes; TD 1 and 2 are passed by; TD 3 has the status. */
    put_td(&e, 0, td_at(&e, 1), td_at(&e, 3), T_ACTIVE | T_ERRORS_3 | T_IN | 0x2000 << 16, e.data);
    put_td(&e, 1, td_at(&e, 2), td_at(&e, 3), T_ACTIVE | T_ERRORS_3 | T_IN | 0x1000 << 16, e.data);
    put_td(&e, 2, td_at(&e, 3), td_at(&e, 3), T_ACTIVE | T_ERRORS_3 | T_IN | 0x1000 << 16, e.data);
    put_td(&e, 3, TERMINATE, TERMINATE, T_ACTIVE | T_ERRORS_3 | T_IN | T_IOC | 13 << 16, e.setup);
    qpci_writel(e.bar, USB_STS, INT);
    aim(&e, 1, 0);
    finish(&e, 3);
    qtest_check_eq(td_left(&e, 0), 0x2000 - 36);
    qtest_check_eq(td_token(&e, 1) & T_ACTIVE, T_ACTIVE);
    qtest_check_eq(td_token(&e, 2) & T_ACTIVE, T_ACTIVE);
    qtest_check_eq(td_left(&e, 3), 0);
    qtest_check_eq(qtest_readb(e.q, e.data + 8), 'Q');
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & INT, INT);
    qtest_end(e.q);
}

static void test_doorbell_and_threshold(void)
{
    Ehci e = ehci_open("-device usb-kbd");

    enumerate(&e, 0);
    qtest_clock_step(e.q, 30 * FRAME_NS);
    qpci_writel(e.bar, USB_STS, 0x3f);
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | ASYNC_ON | DOORBELL | RUN);
    qtest_clock_step(e.q, FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & ADVANCED, ADVANCED);
    qtest_check_eq(qpci_readl(e.bar, USB_CMD) & DOORBELL, 0);
    qtest_check_eq(qpci_config_readw(&e.pci, 6) & 8, 8);
    qpci_writel(e.bar, USB_STS, 0x3f);
    /* Interrupts come no closer than 64 microframes. */
    qpci_writel(e.bar, USB_CMD, 0x400000 | ASYNC_ON | DOORBELL | RUN);
    qtest_clock_step(e.q, FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & ADVANCED, ADVANCED);
    qpci_writel(e.bar, USB_STS, 0x3f);
    qpci_writel(e.bar, USB_CMD, 0x400000 | ASYNC_ON | DOORBELL | RUN);
    qtest_clock_step(e.q, 6 * FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & ADVANCED, 0);
    qtest_clock_step(e.q, 3 * FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & ADVANCED, ADVANCED);
    qtest_end(e.q);
}

static void test_hostile(void)
{
    Ehci e = ehci_open("-device usb-tablet");

    enumerate(&e, 0);
    /* TDs and queues in circles. */
    put_td(&e, 0, td_at(&e, 0), td_at(&e, 0), T_ACTIVE | T_IN | 8 << 16, e.data);
    aim(&e, 1, 0);
    qtest_writel(e.q, e.head, e.head | QH_TYPE);
    qtest_clock_step(e.q, 50 * FRAME_NS);
    qtest_writel(e.q, e.head, e.queue | QH_TYPE);
    qtest_writel(e.q, e.queue, e.queue | QH_TYPE);
    for (unsigned i = 0; i < 1024; i++) {
        qtest_writel(e.q, e.frames + 4 * i, e.queue | QH_TYPE);
    }
    qtest_writel(e.q, e.queue + 8, 0xff);
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | PERIODIC_ON | ASYNC_ON | RUN);
    qtest_clock_step(e.q, 50 * FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & (SYSTEM_ERROR | HALTED), 0);
    /* Both resets in one access. */
    qpci_writeq(e.bar, PORT, IN_RESET | (uint64_t)IN_RESET << 32);
    qpci_writeq(e.bar, PORT, 0);
    qtest_check_eq(qpci_readl(e.bar, PORT) & (CONNECTED | ENABLED), CONNECTED | ENABLED);
    /* No memory there. */
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_IN | 8 << 16, 0xfee00000);
    aim(&e, 0, 0);
    qtest_clock_step(e.q, 50 * FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & (SYSTEM_ERROR | HALTED), SYSTEM_ERROR | HALTED);
    qpci_writel(e.bar, USB_STS, 0x3f);
    qpci_writel(e.bar, ASYNC, 0xfee00000);
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | ASYNC_ON | RUN);
    qtest_clock_step(e.q, 50 * FRAME_NS);
    qtest_check_eq(qpci_readl(e.bar, USB_STS) & (SYSTEM_ERROR | HALTED), SYSTEM_ERROR | HALTED);
    qtest_end(e.q);
}

/* 4.2: a device of full speed is the companion's; one of high speed until there is a driver. */
static void test_companion(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir()), *text = NULL;
    Ehci e = ehci_open("-device ich9-usb-uhci1,masterbus=e.0,firstport=0,addr=4.0,"
                       "multifunction=on -device usb-tablet,id=t -device usb-hub,port=2");
    QPci pci;
    uint16_t io;
    int status;

    qpci_open(e.q, &pci, 4, 0);
    qtest_check_eq(qpci_config_readl(&pci, 0), 0x29348086);
    qpci_enable(&pci);
    io = qpci_map_bar(&pci, 4).addr;
    qtest_check_eq(qpci_readl(e.bar, 4), 0x1206);
    /* CONFIGFLAG is set: all are here. */
    qtest_check_eq(qpci_readl(e.bar, PORT) & (CONNECTED | OWNER), CONNECTED);
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1) & CCS, 0);
    port_reset(&e, 1); /* the hub is not enabled */
    qtest_check_eq(qpci_readl(e.bar, PORT + 4) & (CONNECTED | ENABLED), CONNECTED);
    qpci_writel(e.bar, PORT + 4, OWNER);
    qtest_check_eq(qpci_readl(e.bar, PORT + 4) & (CONNECTED | OWNER), OWNER);
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1 + 2) & CCS, CCS);
    json_decref(qtest_qmp(e.q, "stop", NULL));
    json_decref(qtest_qmp(e.q, "x-save-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(e.q, "cont", NULL));
    qpci_writel(e.bar, CONFIG, 0);
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1) & (CCS | CSC), CCS | CSC);
    qtest_check_eq(qpci_readl(e.bar, PORT) & (CONNECTED | OWNER), OWNER);
    json_decref(qtest_qmp(e.q, "stop", NULL));
    json_decref(qtest_qmp(e.q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(e.q, "cont", NULL));
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1) & CCS, 0);
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1 + 2) & CCS, CCS);
    qtest_check_eq(qpci_readl(e.bar, PORT) & (CONNECTED | OWNER), CONNECTED);
    enumerate(&e, 0);
    qtest_check_eq(control(&e, 0x80, 6, 0x0100, 0, 64), 18);
    /* Pulled from the companion, a port is the master's again. */
    qpci_writel(e.bar, PORT, OWNER);
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1) & CCS, CCS);
    json_decref(qtest_qmp(e.q, "device_del", "{s:s}", "id", "t"));
    json_decref(qtest_wait_event(e.q, "DEVICE_DELETED"));
    qtest_check_eq(qtest_inw(e.q, io + PORTSC1) & CCS, 0);
    qtest_check_eq(qpci_readl(e.bar, PORT) & (CONNECTED | OWNER), 0);
    json_decref(qtest_qmp(e.q, "device_add", "{s:s, s:s}", "driver", "usb-tablet", "id", "t"));
    qtest_check_eq(qpci_readl(e.bar, PORT) & (CONNECTED | OWNER), CONNECTED);
    qtest_end(e.q);

    text = qtest_start_fails(PCI "-device usb-ehci,id=e -device usb-hub", &status);
    qtest_check(strstr(text, "needs companions"));
    g_free(text);
    text = qtest_start_fails(PCI "-device usb-ehci,id=e -device ich9-usb-uhci1,masterbus=e.0,"
                                 "firstport=5",
                             &status);
    qtest_check(strstr(text, "ports 0 to 5"));
    g_free(text);
    text = qtest_start_fails(PCI "-device usb-ehci,id=e -device ich9-usb-uhci1,masterbus=e.0 "
                                 "-device ich9-usb-uhci2,masterbus=e.0,firstport=1",
                             &status);
    qtest_check(strstr(text, "in use"));
    g_free(text);
    text = qtest_start_fails(PCI "-device piix3-usb-uhci,id=e -device ich9-usb-uhci1,"
                                 "masterbus=e.0",
                             &status);
    qtest_check(strstr(text, "is no EHCI controller"));
}

/* How often something is due in a second, in a schedule that has been idle for one. */
static unsigned deadlines(Ehci *e)
{
    int64_t now = qtest_clock_step(e->q, 1000 * (int64_t)FRAME_NS);
    int64_t end = now + 1000 * (int64_t)FRAME_NS;
    unsigned n = 0;

    for (; now < end; n++) {
        now = qtest_clock_step_next(e->q);
    }
    return n;
}

/*
 * A keyboard with no key to report costs a look each 20 ms where the asynchronous schedule is on,
 * each 160 ms where only the periodic one is, and none where both are off. A key brings a look.
 */
static void test_no_wakeups(void)
{
    Ehci e = ehci_open("-device usb-kbd");
    g_autofree char *answer = NULL;
    unsigned async, periodic, none;

    enumerate(&e, 0);
    put_td(&e, 0, TERMINATE, TERMINATE, T_ACTIVE | T_IN | 8 << 16, e.data);
    aim(&e, 1, 0);
    async = deadlines(&e);
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | RUN);
    none = deadlines(&e);
    qtest_writel(e.q, e.queue, TERMINATE);
    qtest_writel(e.q, e.queue + 8, 1u << 30 | 1);
    for (unsigned i = 0; i < 1024; i++) {
        qtest_writel(e.q, e.frames + 4 * i, i % 128 ? TERMINATE : e.queue | QH_TYPE);
    }
    qpci_writel(e.bar, USB_CMD, THRESHOLD_1 | PERIODIC_ON | RUN);
    periodic = deadlines(&e);
    qtest_check_lt(none, 40); /* the PIT's and the RTC's */
    qtest_check_le(async, none + 52);
    qtest_check_le(periodic, none + 8);
    qtest_check_eq(td_token(&e, 0) & T_ACTIVE, T_ACTIVE);
    answer = qtest_hmp(e.q, "sendkey a 1");
    qtest_clock_step(e.q, 130 * FRAME_NS); /* the queue head is in each 128th frame */
    qtest_check_eq(td_token(&e, 0) & T_ACTIVE, 0);
    qtest_end(e.q);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"registers", test_registers},
        {"control transfers", test_control},
        {"interrupt transfers", test_interrupt},
        {"mass storage over five pages", test_storage},
        {"packets that are parked or taken back, and saved", test_saved},
        {"short packets", test_short},
        {"doorbell and interrupt threshold", test_doorbell_and_threshold},
        {"hostile schedules", test_hostile},
        {"companions", test_companion},
        {"no wake-ups without work", test_no_wakeups},
        {0},
    };
    return qtest_run(argc, argv, cases);
}
