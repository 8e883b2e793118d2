/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * usb-storage behind UHCI: the Bulk-Only Transport (USB Mass Storage Class, Revision 1.0) and the
 * life of its requests.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "usb_client.h"

enum {
    SECTOR = 512,
    SECTORS = 4096,
    PACKET = 64,
    MANY_MS = 20000,

    PASSED = 0,
    FAILED = 1,
    PHASE_ERROR = 2,
    STALL = -1,
    NOT_YET = -2,

    CLEAR_FEATURE = 1,
    BOT_RESET = 0xff,
};

static char *disk_path;

/* Byte i of sector n is n + i. */
static void make_disk(void)
{
    uint8_t sector[SECTOR];
    int fd;

    disk_path = g_strdup_printf("%s/stick.raw", qtest_tmp_dir());
    fd = open(disk_path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    qtest_check(fd >= 0);
    for (unsigned n = 0; n < SECTORS; n++) {
        for (unsigned i = 0; i < SECTOR; i++) {
            sector[i] = n + i;
        }
        qtest_check_eq(write(fd, sector, SECTOR), SECTOR);
    }
    close(fd);
}

static void check_file(unsigned sector, uint8_t first, uint8_t last)
{
    uint8_t got[SECTOR];
    int fd = open(disk_path, O_RDONLY);

    qtest_check_eq(pread(fd, got, SECTOR, (off_t)sector * SECTOR), SECTOR);
    close(fd);
    qtest_check_eq(got[0], first);
    qtest_check_eq(got[SECTOR - 1], last);
}

static bool is_in_file(unsigned sector, uint8_t first)
{
    uint8_t got = 0;
    int fd = open(disk_path, O_RDONLY);

    qtest_check_eq(pread(fd, &got, 1, (off_t)sector * SECTOR), 1);
    close(fd);
    return got == first;
}

static Uhci stick_open(const char *drive, const char *device)
{
    g_autofree char *args = NULL;
    Uhci u;

    make_disk();
    args = g_strdup_printf("-drive file=%s,format=raw,if=none,id=d%s "
                           "-device usb-storage,id=s,drive=d%s",
                           disk_path, drive, device);
    u = quhci_open(args);
    quhci_enumerate(&u, 0);
    return u;
}

static void stick_close(Uhci *u)
{
    qtest_end(u->q);
    g_clear_pointer(&disk_path, g_free);
}

/* Bulk transfers. */

static void bulk_begin(Uhci *u, bool in, unsigned length, uint64_t buffer)
{
    unsigned n = 0, at = 0;

    do {
        unsigned bytes = MIN(PACKET, length - at);

        quhci_put_td(u, n, (u->tds + 16 * (n + 1)) | DEPTH, ACTIVE | ERRORS_3 | (in ? SPD : 0),
                     in ? PID_IN : PID_OUT, in ? 1 : 2, bytes, buffer + at);
        at += bytes;
        n++;
    } while (at < length);
    quhci_put_td(u, n, TERMINATE, 0, PID_IN, 0, 0, 0); /* ends it */
    qtest_writel(u->q, u->queue + 4, u->tds);
}

/* Bytes, STALL or NOT_YET. */
static int bulk_result(Uhci *u, unsigned length)
{
    int actual = 0;
    unsigned n = 0, at = 0;

    do {
        unsigned bytes = MIN(PACKET, length - at);
        uint32_t ctrl = quhci_td_ctrl(u, n);

        if (ctrl & ACTIVE) {
            return NOT_YET;
        }
        if (ctrl & STALLED) {
            return STALL;
        }
        actual += quhci_td_actual(u, n);
        if (quhci_td_actual(u, n) < bytes) {
            return actual;
        }
        at += bytes;
        n++;
    } while (at < length);
    return actual;
}

static int bulk_finish(Uhci *u, unsigned length)
{
    int result = NOT_YET;

    for (unsigned ms = 0; result == NOT_YET && ms < MANY_MS; ms++) {
        qtest_clock_step(u->q, FRAME_NS);
        result = bulk_result(u, length);
    }
    return result;
}

static int bulk(Uhci *u, bool in, unsigned length, uint64_t buffer)
{
    bulk_begin(u, in, length, buffer);
    return bulk_finish(u, length);
}

/* Commands. */

static uint32_t next_tag = 0x1000;

static int send_cbw(Uhci *u, bool in, uint32_t length, const char *cdb, unsigned cdb_length)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C'};

    memcpy(cbw + 4, &next_tag, 4);
    memcpy(cbw + 8, &length, 4);
    cbw[12] = in ? 0x80 : 0;
    cbw[14] = cdb_length;
    memcpy(cbw + 15, cdb, cdb_length);
    qtest_write(u->q, u->setup, cbw, sizeof cbw);
    return bulk(u, false, sizeof cbw, u->setup);
}

static int get_csw(Uhci *u, uint32_t residue)
{
    uint8_t csw[13];
    uint32_t tag = next_tag++;

    qtest_check_eq(bulk(u, true, sizeof csw, u->setup), sizeof csw);
    qtest_read(u->q, u->setup, csw, sizeof csw);
    qtest_check_mem(csw, "USBS", 4);
    qtest_check_mem(csw + 4, &tag, 4);
    qtest_check_mem(csw + 8, &residue, 4);
    return csw[12];
}

/* A command whose data move whole: the status. */
static int command(Uhci *u, bool in, unsigned length, const char *cdb, unsigned cdb_length)
{
    qtest_check_eq(send_cbw(u, in, length, cdb, cdb_length), 31);
    if (length) {
        qtest_check_eq(bulk(u, in, length, u->data), length);
    }
    return get_csw(u, 0);
}
#define COMMAND(u, in, length, cdb) command(u, in, length, cdb, sizeof(cdb) - 1)

static void check_sense(Uhci *u, uint8_t key, uint8_t code)
{
    uint8_t sense[18];

    qtest_check_eq(COMMAND(u, true, 18, "\x03\0\0\0\x12\0"), PASSED);
    qtest_read(u->q, u->data, sense, sizeof sense);
    qtest_check_eq(sense[2], key);
    qtest_check_eq(sense[12], code);
}

/* The unit attention of power on is told first. */
static void make_ready(Uhci *u)
{
    qtest_check_eq(COMMAND(u, false, 0, "\0\0\0\0\0\0"), FAILED);
    check_sense(u, 6, 0x29);
    qtest_check_eq(COMMAND(u, false, 0, "\0\0\0\0\0\0"), PASSED);
}

static void clear_halts(Uhci *u)
{
    qtest_check_eq(quhci_control(u, 0x02, CLEAR_FEATURE, 0, 0x81, 0), 0);
    qtest_check_eq(quhci_control(u, 0x02, CLEAR_FEATURE, 0, 0x02, 0), 0);
}

static void recover(Uhci *u)
{
    qtest_check_eq(quhci_control(u, 0x21, BOT_RESET, 0, 0, 0), 0);
    clear_halts(u);
}

static void check_usable(Uhci *u)
{
    uint8_t data[2 * SECTOR];

    qtest_check_eq(COMMAND(u, true, 2 * SECTOR, "\x28\0\0\0\0\x09\0\0\x02\0"), PASSED);
    qtest_read(u->q, u->data, data, sizeof data);
    qtest_check_eq(data[0], 9);
    qtest_check_eq(data[SECTOR], 10);
    qtest_check_eq(data[2 * SECTOR - 1], (10 + SECTOR - 1) & 0xff);
}

static void test_commands(void)
{
    Uhci u = stick_open("", ",removable=on,serial=77");
    uint8_t d[64];

    qtest_check_eq(quhci_control(&u, 0xa1, 0xfe, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(u.q, u.data), 0);
    qtest_check_eq(COMMAND(&u, true, 36, "\x12\0\0\0\x24\0"), PASSED);
    qtest_read(u.q, u.data, d, 36);
    qtest_check_eq(d[1], 0x80);
    qtest_check_mem(d + 8, "QEMU    QEMU HARDDISK   ", 24);
    make_ready(&u);
    qtest_check_eq(COMMAND(&u, true, 8, "\x25\0\0\0\0\0\0\0\0\0"), PASSED);
    qtest_read(u.q, u.data, d, 8);
    qtest_check_mem(d, "\0\0\x0f\xff\0\0\x02\0", 8);
    qtest_check_eq(COMMAND(&u, true, 4, "\x1a\0\x3f\0\x04\0"), PASSED);
    check_usable(&u);
    /* Written, compared, filled, flushed. */
    qtest_memset(u.q, u.data, 0x5a, 2 * SECTOR);
    qtest_check_eq(COMMAND(&u, false, 2 * SECTOR, "\x2a\0\0\0\0\x20\0\0\x02\0"), PASSED);
    qtest_check_eq(COMMAND(&u, false, 2 * SECTOR, "\x2f\x02\0\0\0\x20\0\0\x02\0"), PASSED);
    qtest_writeb(u.q, u.data + SECTOR + 3, 0);
    qtest_check_eq(send_cbw(&u, false, 2 * SECTOR, "\x2f\x02\0\0\0\x20\0\0\x02\0", 10), 31);
    qtest_check_eq(bulk(&u, false, 2 * SECTOR, u.data), 2 * SECTOR);
    qtest_check_eq(get_csw(&u, SECTOR), FAILED); /* what was not equal does not count */
    check_sense(&u, 0x0e, 0x1d);
    qtest_memset(u.q, u.data, 0xc3, SECTOR);
    qtest_check_eq(COMMAND(&u, false, SECTOR, "\x41\0\0\0\0\x28\0\0\x04\0"), PASSED);
    qtest_check_eq(COMMAND(&u, false, 0, "\x35\0\0\0\0\0\0\0\0\0"), PASSED);
    check_file(0x20, 0x5a, 0x5a);
    check_file(0x22, 0x22, 0x21);
    check_file(0x2b, 0xc3, 0xc3);
    qtest_check_eq(COMMAND(&u, false, 0, "\xee\0\0\0\0\0"), FAILED);
    check_sense(&u, 5, 0x20);
    qtest_check_eq(COMMAND(&u, false, 0, "\x28\0\0\x10\0\0\0\0\0\0"), FAILED);
    check_sense(&u, 5, 0x21);
    stick_close(&u);
}

/* 6.7: host and device do not agree about the data. */
static void test_disagreements(void)
{
    Uhci u = stick_open("", "");

    make_ready(&u);
    /* The host wants more: a short packet, and the residue. */
    qtest_check_eq(send_cbw(&u, true, 1000, "\x28\0\0\0\0\x09\0\0\x01\0", 10), 31);
    qtest_check_eq(bulk(&u, true, 1000, u.data), SECTOR);
    qtest_check_eq(get_csw(&u, 1000 - SECTOR), PASSED);
    /* Less, and not a whole block. */
    qtest_check_eq(send_cbw(&u, true, 700, "\x28\0\0\0\0\x09\0\0\x03\0", 10), 31);
    qtest_check_eq(bulk(&u, true, 700, u.data), 700);
    qtest_check_eq(qtest_readb(u.q, u.data + SECTOR), 10);
    qtest_check_eq(get_csw(&u, 0), PHASE_ERROR);
    qtest_check_eq(send_cbw(&u, true, 700, "\x28\0\0\0\0\x09\0\0\x02\0", 10), 31);
    qtest_check_eq(bulk(&u, true, 700, u.data), 700);
    qtest_check_eq(get_csw(&u, 0), PHASE_ERROR);
    /* None, where there are some, and the other way round; both ways (cases 2 to 4, and 9). */
    qtest_check_eq(send_cbw(&u, false, 0, "\x2a\0\0\0\0\x2f\0\0\x01\0", 10), 31);
    qtest_check_eq(get_csw(&u, 0), PHASE_ERROR);
    check_file(0x2f, 0x2f, 0x2e);
    qtest_check_eq(send_cbw(&u, false, 64, "\0\0\0\0\0\0", 6), 31);
    qtest_check_eq(bulk(&u, false, 64, u.data), 64);
    qtest_check_eq(get_csw(&u, 64), PASSED);
    qtest_check_eq(send_cbw(&u, true, 0, "\x28\0\0\0\0\x09\0\0\x01\0", 10), 31);
    qtest_check_eq(get_csw(&u, 0), PHASE_ERROR);
    qtest_check_eq(send_cbw(&u, true, 64, "\0\0\0\0\0\0", 6), 31);
    qtest_check_eq(bulk(&u, true, 64, u.data), 0);
    qtest_check_eq(get_csw(&u, 64), PASSED);
    /* The wrong way. */
    qtest_check_eq(send_cbw(&u, false, SECTOR, "\x28\0\0\0\0\x09\0\0\x01\0", 10), 31);
    qtest_check_eq(bulk(&u, false, SECTOR, u.data), SECTOR);
    qtest_check_eq(get_csw(&u, SECTOR), PHASE_ERROR);
    qtest_memset(u.q, u.data, 0xee, SECTOR);
    qtest_check_eq(send_cbw(&u, true, SECTOR, "\x2a\0\0\0\0\x09\0\0\x01\0", 10), 31);
    qtest_check_eq(bulk(&u, true, SECTOR, u.data), 0);
    qtest_check_eq(get_csw(&u, SECTOR), PHASE_ERROR);
    /* A write of more than the command takes, of less, and one that the disk refuses. */
    qtest_check_eq(send_cbw(&u, false, 640, "\x2a\0\0\0\0\x30\0\0\x01\0", 10), 31);
    qtest_check_eq(bulk(&u, false, 640, u.data), 640);
    qtest_check_eq(get_csw(&u, 640 - SECTOR), PASSED);
    qtest_check_eq(send_cbw(&u, false, 700, "\x2a\0\0\0\0\x31\0\0\x02\0", 10), 31);
    qtest_check_eq(bulk(&u, false, 700, u.data), 700);
    qtest_check_eq(get_csw(&u, 700 - SECTOR), PHASE_ERROR);
    qtest_check_eq(send_cbw(&u, false, SECTOR, "\x2a\0\0\x10\0\0\0\0\x01\0", 10), 31);
    qtest_check_eq(bulk(&u, false, SECTOR, u.data), SECTOR);
    qtest_check_eq(get_csw(&u, SECTOR), FAILED);
    check_sense(&u, 5, 0x21);
    check_file(0x30, 0xee, 0xee);
    check_file(0x31, 0xee, 0xee);
    check_file(0x32, 0x32, 0x31);
    check_usable(&u);
    stick_close(&u);
}

static void bad_cbw(Uhci *u, const char *cbw, unsigned length)
{
    qtest_write(u->q, u->setup, cbw, 31);
    qtest_check_eq(bulk(u, false, length, u->setup), STALL);
    qtest_check_eq(quhci_control(u, 0x82, 0, 0, 0x81, 2), 2);
    qtest_check_eq(qtest_readb(u->q, u->data), 1);
    qtest_check_eq(bulk(u, true, 13, u->setup), STALL);
    qtest_check_eq(bulk(u, false, 31, u->setup), STALL);
    recover(u);
    check_usable(u);
}

static void test_bad_commands(void)
{
    Uhci u = stick_open("", "");

    make_ready(&u);
    bad_cbw(&u, "USBX\1\0\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 31);
    bad_cbw(&u, "USBC\1\0\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 30);
    bad_cbw(&u, "USBC\1\0\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32);
    bad_cbw(&u, "USBC\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 31);
    bad_cbw(&u, "USBC\1\0\0\0\0\0\0\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 31);
    /* What comes out of turn stalls, and a reset ends a command in its data. */
    qtest_check_eq(bulk(&u, true, 13, u.setup), STALL);
    qtest_check_eq(send_cbw(&u, true, 2 * SECTOR, "\x28\0\0\0\0\x09\0\0\x02\0", 10), 31);
    qtest_check_eq(bulk(&u, true, 64, u.data), 64);
    qtest_check_eq(bulk(&u, false, 31, u.setup), STALL);
    recover(&u);
    check_usable(&u);
    qtest_check_eq(send_cbw(&u, false, SECTOR, "\x2a\0\0\0\0\x30\0\0\x01\0", 10), 31);
    qtest_check_eq(bulk(&u, false, 448, u.data), 448);
    recover(&u);
    check_usable(&u);
    check_file(0x30, 0x30, 0x2f);
    /* Other requests and endpoints. */
    qtest_check_eq(quhci_control(&u, 0xa1, BOT_RESET, 0, 0, 0), STALL);
    qtest_check_eq(quhci_control(&u, 0xa1, 0xfe, 0, 1, 1), STALL);
    qtest_check_eq(quhci_control(&u, 0x02, 3, 0, 0x81, 0), 0);
    qtest_check_eq(bulk(&u, true, 13, u.setup), STALL);
    clear_halts(&u);
    check_usable(&u);
    stick_close(&u);
}

/* The stick is pulled while it reads: the transfer has no end, and another one can be plugged in.
 */
static void test_pulled(void)
{
    Uhci u = stick_open("", "");

    make_ready(&u);
    qtest_check_eq(send_cbw(&u, true, 4 * SECTOR, "\x28\0\0\0\0\x09\0\0\x04\0", 10), 31);
    bulk_begin(&u, true, 4 * SECTOR, u.data);
    qtest_clock_step(u.q, FRAME_NS);
    json_decref(qtest_qmp(u.q, "device_del", "{s:s}", "id", "s"));
    json_decref(qtest_wait_event(u.q, "DEVICE_DELETED"));
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1), 0x80 | CSC | PEC);
    qtest_clock_step(u.q, 50 * FRAME_NS);
    qtest_check_eq(bulk_result(&u, 4 * SECTOR), NOT_YET);
    stick_close(&u);
}

/* Parked writes. */

static struct rlimit small = {64 * 1024, RLIM_INFINITY}, big = {RLIM_INFINITY, RLIM_INFINITY};

static void limit(Uhci *u, const struct rlimit *to)
{
    prlimit(qtest_pid(u->q), RLIMIT_FSIZE, to, NULL);
}

static void continue_vm(Uhci *u)
{
    json_decref(qtest_qmp(u->q, "cont", NULL));
}

/* Until a write of two blocks at 0x100 has stopped the machine in its first block. */
static void park_write(Uhci *u)
{
    uint8_t data[2 * SECTOR];

    for (unsigned i = 0; i < sizeof data; i++) {
        data[i] = i * 3 + 1;
    }
    qtest_write(u->q, u->data, data, sizeof data);
    limit(u, &small);
    qtest_check_eq(send_cbw(u, false, 2 * SECTOR, "\x2a\0\0\0\x01\0\0\0\x02\0", 10), 31);
    bulk_begin(u, false, 2 * SECTOR, u->data);
    qtest_clock_step(u->q, 20 * FRAME_NS);
    json_decref(qtest_wait_event(u->q, "STOP"));
    qtest_check_eq(bulk_result(u, 2 * SECTOR), NOT_YET);
}

static void check_written(void)
{
    check_file(0x100, 1, ((SECTOR - 1) * 3 + 1) & 0xff);
    check_file(0x101, (SECTOR * 3 + 1) & 0xff, ((2 * SECTOR - 1) * 3 + 1) & 0xff);
}

static Uhci parking_open(void)
{
    Uhci u;

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    u = stick_open(",werror=stop,cache=writethrough", "");
    make_ready(&u);
    park_write(&u);
    return u;
}

static void test_parked(void)
{
    Uhci u = parking_open();

    continue_vm(&u); /* it fails again */
    json_decref(qtest_wait_event(u.q, "STOP"));
    limit(&u, &big);
    continue_vm(&u);
    qtest_check_eq(bulk_finish(&u, 2 * SECTOR), 2 * SECTOR);
    qtest_check_eq(get_csw(&u, 0), PASSED);
    check_written();
    park_write(&u);
    qtest_system_reset(u.q); /* forgets it */
    limit(&u, &big);
    continue_vm(&u);
    quhci_start(&u);
    quhci_enumerate(&u, 0);
    make_ready(&u);
    check_usable(&u);
    park_write(&u); /* and the stick is pulled */
    json_decref(qtest_qmp(u.q, "device_del", "{s:s}", "id", "s"));
    json_decref(qtest_wait_event(u.q, "DEVICE_DELETED"));
    limit(&u, &big);
    continue_vm(&u);
    qtest_check_eq(qtest_inw(u.q, u.io + PORTSC1), 0x80 | CSC | PEC);
    stick_close(&u);
}

static void test_parked_saved(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Uhci u = parking_open();

    limit(&u, &big);
    json_decref(qtest_qmp(u.q, "x-save-state", "{s:s}", "filename", state));
    qtest_system_reset(u.q);
    json_decref(qtest_qmp(u.q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(u.q, "x-save-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(u.q, "x-load-state", "{s:s}", "filename", state)); /* onto itself */
    continue_vm(&u);
    qtest_check_eq(bulk_finish(&u, 2 * SECTOR), 2 * SECTOR);
    qtest_check_eq(get_csw(&u, 0), PASSED);
    check_written();
    stick_close(&u);
}

/* The controller forgets the packet of a parked write, and sends it again: it is written once. */
static void test_packet_again(void)
{
    Uhci u = parking_open();

    qtest_outw(u.q, u.io + USBCMD, 2);
    qtest_outl(u.q, u.io + FRBASEADD, u.frames);
    qtest_outw(u.q, u.io + PORTSC1, PE | CSC);
    qtest_outw(u.q, u.io + USBCMD, 1);
    limit(&u, &big);
    continue_vm(&u);
    qtest_check_eq(bulk_finish(&u, 2 * SECTOR), 2 * SECTOR);
    qtest_check_eq(get_csw(&u, 0), PASSED);
    check_written();
    stick_close(&u);
}

static uint32_t active_tds(Uhci *u)
{
    uint32_t active = 0;

    for (unsigned n = 0; n < 2 * SECTOR / PACKET; n++) {
        active |= quhci_td_ctrl(u, n) & ACTIVE ? 1u << n : 0;
    }
    return active;
}

/* A controller that is halted writes no TD, though the disk goes on; then the packet is sent again.
 */
static void test_halted(void)
{
    Uhci u = parking_open();
    uint32_t active = active_tds(&u);

    qtest_check_ne(active, 0);
    qtest_outw(u.q, u.io + USBCMD, 0);
    limit(&u, &big);
    continue_vm(&u);
    qtest_wait_until(is_in_file(0x100, 1));
    qtest_clock_step(u.q, 20 * FRAME_NS);
    qtest_check_eq(active_tds(&u), active);
    qtest_outw(u.q, u.io + USBCMD, 1);
    qtest_check_eq(bulk_finish(&u, 2 * SECTOR), 2 * SECTOR);
    qtest_check_eq(get_csw(&u, 0), PASSED);
    check_written();
    stick_close(&u);
}

/* Sticks come and go by the monitor, and the drive goes with the stick. */
static void hmp(Uhci *u, const char *answer, const char *line)
{
    g_autofree char *text = qtest_hmp(u->q, "%s", line);

    qtest_check_str(text, answer);
}

static void hmp_says(Uhci *u, const char *part, const char *line)
{
    g_autofree char *text = qtest_hmp(u->q, "%s", line);

    qtest_check(strstr(text, part));
}

static void test_monitor(void)
{
    g_autofree char *drive = NULL, *add = NULL, *drives = NULL;
    g_autofree char *other = g_strdup_printf("%s/another.raw", qtest_tmp_dir());
    g_autofree char *another = g_strdup_printf("usb_add disk:format=raw:%s", other);
    Uhci u;

    make_disk();
    qtest_check(g_file_set_contents(other, "another", -1, NULL));
    u = quhci_open("-device usb-tablet");
    drive = g_strdup_printf("drive_add 0 if=none,id=x,format=raw,file=%s", disk_path);
    add = g_strdup_printf("usb_add disk:format=raw:%s", disk_path);
    for (unsigned i = 0; i < 2; i++) {
        hmp(&u, "OK\r\n", drive);
        hmp(&u, "", "device_add usb-storage,drive=x,id=s,port=2");
        quhci_enumerate(&u, 1);
        make_ready(&u);
        check_usable(&u);
        qtest_memset(u.q, u.data, 0x40 + i, SECTOR);
        qtest_check_eq(COMMAND(&u, false, SECTOR, "\x2a\0\0\0\0\x20\0\0\x01\0"), PASSED);
        qtest_check_eq(COMMAND(&u, false, 0, "\x35\0\0\0\0\0\0\0\0\0"), PASSED);
        /* It is pulled during a write; what was flushed is there. */
        qtest_memset(u.q, u.data, 0x99, 2 * SECTOR);
        qtest_check_eq(send_cbw(&u, false, 4 * SECTOR, "\x2a\0\0\0\0\x30\0\0\x04\0", 10), 31);
        bulk_begin(&u, false, 2 * SECTOR, u.data);
        qtest_clock_step(u.q, FRAME_NS);
        hmp(&u, "", "device_del s");
        json_decref(qtest_wait_event(u.q, "DEVICE_DELETED"));
        check_file(0x20, 0x40 + i, 0x40 + i);
        hmp(&u, "", "info block");
        qtest_writel(u.q, u.queue + 4, TERMINATE);
    }
    hmp(&u, "OK\r\n", drive);
    hmp(&u, "", "device_add usb-storage,drive=x,port=2");
    quhci_enumerate(&u, 1);
    make_ready(&u);
    hmp_says(&u, "Device 0.6, Port 2, Speed 12 Mb/s, Product QEMU USB MSD", "info usb");
    hmp_says(&u, "no such device", "usb_del 0.7");
    hmp_says(&u, "BUS.ADDR", "usb_del 0.6x");
    hmp(&u, "", "usb_del 0.6");
    json_decref(qtest_wait_event(u.q, "DEVICE_DELETED"));
    hmp(&u, "", "info block");
    hmp_says(&u, "mouse, keyboard and disk:FILE", "usb_add bt");
    hmp_says(&u, "No such file", "usb_add disk:/nowhere/x");
    /* The last port gets a hub, and so does that of each hub, as far as a chain may be. */
    hmp(&u, "", add);
    hmp_says(&u, "Port 2, Speed 12 Mb/s, Product QEMU USB Hub\r\n", "info usb");
    hmp_says(&u, "Port 2.1, Speed 12 Mb/s, Product QEMU USB MSD\r\n", "info usb");
    hmp_says(&u, "3 devices have this address", "usb_del 0.0"); /* none was seen yet */
    for (unsigned i = 0; i < 5 * 7; i++) {
        hmp(&u, "", "usb_add mouse");
    }
    hmp_says(&u, "Port 2.8.8.8.8.8, Speed 12 Mb/s, Product QEMU USB Mouse\r\n", "info usb");
    hmp_says(&u, "no free ports", "usb_add mouse");
    hmp_says(&u, "no free ports", another);
    /* The drive of the stick that has no port has gone. */
    drives = qtest_hmp(u.q, "info block");
    qtest_check(!strstr(drives, "another.raw"));
    stick_close(&u);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"commands", test_commands},
        {"host and device disagree", test_disagreements},
        {"bad commands, halts, resets", test_bad_commands},
        {"pulled while it reads", test_pulled},
        {"parked", test_parked},
        {"parked and saved", test_parked_saved},
        {"a packet that comes again", test_packet_again},
        {"halted while the disk writes", test_halted},
        {"monitor", test_monitor},
        {0},
    };
    return qtest_run(argc, argv, cases);
}
