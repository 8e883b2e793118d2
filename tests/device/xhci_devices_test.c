/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices behind xHCI: keyboard, storage, hub; and the state of their transfers. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "xhci_client.h"

static void test_keyboard(void)
{
    Xhci x = qxhci_open("-device usb-kbd");
    uint8_t r[8];
    uint64_t trb;
    Event e;

    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    qtest_check_eq(qxhci_control(&x, 0x21, 10, 0, 0, 0), 0); /* SET_IDLE 0 */
    qxhci_put(&x, &x.rings[3], x.data, 8, NORMAL << 10 | IOC);
    qxhci_put(&x, &x.rings[3], x.data + 8, 8, NORMAL << 10 | IOC);
    qxhci_doorbell(&x, 3);
    qxhci_no_event(&x); /* there is nothing to tell: it waits */
    qxhci_hmp(&x, "sendkey a 1");
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, SUCCESS);
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, SUCCESS);
    qtest_read(x.q, x.data, r, 8);
    qtest_check_mem(r, "\0\0\x04\0\0\0\0\0", 8);
    qtest_read(x.q, x.data + 8, r, 8);
    qtest_check_mem(r, "\0\0\0\0\0\0\0\0", 8);
    /* A short packet, then one that is stopped and goes on. */
    trb = qxhci_poll(&x, 16);
    qxhci_hmp(&x, "sendkey b 1");
    e = qxhci_transfer_event(&x, 3);
    qtest_check_eq(e.code, SHORT);
    qtest_check_eq(e.parameter, trb);
    qtest_check_eq(e.length, 8);
    trb = qxhci_put(&x, &x.rings[3], x.data, 8, NORMAL << 10 | IOC);
    qxhci_doorbell(&x, 3);
    qtest_check_eq(qxhci_transfer_event(&x, 3).parameter, trb);
    trb = qxhci_poll(&x, 8);
    qxhci_put(&x, &x.commands, 0, 0, STOP_ENDPOINT << 10 | x.slot << 24 | 3 << 16);
    qxhci_write(&x, DOORBELL, 0);
    e = qxhci_transfer_event(&x, 3);
    qtest_check_eq(e.code, STOPPED);
    qtest_check_eq(e.parameter, trb);
    qtest_check_eq(e.length, 8);
    qtest_check_eq(qxhci_take(&x).code, SUCCESS);
    qtest_check_eq(qxhci_endpoint_state(&x, 3), 3);
    qtest_check_eq(qtest_readq(x.q, x.output + 3 * 32 + 8), trb | 1);
    qtest_check_eq(qxhci_endpoint_command(&x, STOP_ENDPOINT, 0, 3), CONTEXT_STATE);
    qtest_check_eq(qxhci_endpoint_command(&x, RESET_ENDPOINT, 0, 3), CONTEXT_STATE);
    qxhci_hmp(&x, "sendkey c 1");
    qxhci_no_event(&x);
    qxhci_doorbell(&x, 3);
    qtest_check_eq(qxhci_transfer_event(&x, 3).parameter, trb);
    qtest_check_eq(qxhci_endpoint_command(&x, SET_DEQUEUE, x.rings[3].base | 1, 3), CONTEXT_STATE);
    qtest_end(x.q);
}

/* Mass storage. */

static const char *disk_path(void)
{
    static char path[256];

    g_snprintf(path, sizeof path, "%s/disk", qtest_tmp_dir());
    return path;
}

static const char *disk_image(void)
{
    const char *path = disk_path();
    FILE *f = fopen(path, "w");

    for (unsigned i = 0; i < 1024; i++) {
        for (unsigned k = 0; k < 512; k++) {
            fputc((i * 7 + k) & 0xff, f);
        }
    }
    fclose(f);
    return path;
}

static Xhci storage_open(const char *options)
{
    g_autofree char *args = g_strdup_printf("-drive if=none,id=d,file=%s,format=raw%s -device "
                                            "usb-storage,id=s,drive=d",
                                            disk_image(), options);
    Xhci x = qxhci_open(args);

    qxhci_port_event(&x, 5); /* a USB 3 port, which needs no reset */
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(5)), CCS | PED | PP | CSC | 4 << 10);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & CCS, 0);
    qxhci_enumerate(&x, 5, true);
    return x;
}

/* READ(10) or WRITE(10), with data in TRBs of those lengths, which are one TD. */
static void storage_command(Xhci *x, bool write, uint32_t block, unsigned blocks, uint32_t expected,
                            const uint32_t *lengths)
{
    uint8_t cbw[31] = {'U', 'S', 'B', 'C', 1, 2, 3, 4};
    uint64_t at = x->data;

    for (unsigned i = 0; i < 4; i++) {
        cbw[8 + i] = expected >> 8 * i;
        cbw[17 + i] = block >> 8 * (3 - i);
    }
    cbw[12] = write ? 0 : 0x80;
    cbw[14] = 10;
    cbw[15] = write ? 0x2a : 0x28;
    cbw[22] = blocks >> 8;
    cbw[23] = blocks;
    qtest_write(x->q, x->data + 0x38000, cbw, sizeof cbw);
    qtest_check_eq(qxhci_transfer(x, 4, x->data + 0x38000, 31).code, SUCCESS);
    for (; *lengths; at += *lengths++) {
        qxhci_put(x, &x->rings[write ? 4 : 3], at, *lengths,
                  NORMAL << 10 | (lengths[1] ? CHAIN : IOC) | ISP);
    }
    qxhci_doorbell(x, write ? 4 : 3);
}

static unsigned storage_status(Xhci *x)
{
    qtest_check_eq(qxhci_transfer(x, 3, x->data + 0x39000, 13).code, SUCCESS);
    qtest_check_eq(qtest_readl(x->q, x->data + 0x39000), 0x53425355);
    return qtest_readb(x->q, x->data + 0x3900c);
}

static void test_storage(void)
{
    Xhci x = storage_open("");
    uint8_t *block = g_malloc(131072);
    Event e;

    /* The power-on unit attention, if there is one, goes first. */
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qxhci_transfer_event(&x, 3);
    storage_status(&x);
    storage_command(&x, false, 8, 128, 65536, (const uint32_t[]){4096, 61440, 0});
    e = qxhci_transfer_event(&x, 3);
    qtest_check_eq(e.code, SUCCESS);
    qtest_check_eq(e.length, 0);
    qtest_check_eq(storage_status(&x), 0);
    qtest_read(x.q, x.data, block, 65536);
    for (unsigned i = 0; i < 65536; i++) {
        qtest_check_eq(block[i], ((8 + i / 512) * 7 + i % 512) & 0xff);
    }
    for (unsigned i = 0; i < 131072; i++) {
        block[i] = i * 13 + i / 512;
    }
    qtest_write(x.q, x.data, block, 131072);
    storage_command(&x, true, 100, 256, 131072, (const uint32_t[]){65536, 512, 65024, 0});
    qtest_check_eq(qxhci_transfer_event(&x, 4).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    qtest_memset(x.q, x.data, 0, 131072);
    storage_command(&x, false, 100, 256, 131072, (const uint32_t[]){65536, 65536, 0});
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    for (unsigned at = 0; at < 131072; at += 4096) {
        uint8_t now[4096];

        qtest_read(x.q, x.data + at, now, sizeof now);
        qtest_check_mem(now, block + at, sizeof now);
    }
    /* A TD that ends early: one event, and the TD behind it is the status. */
    storage_command(&x, false, 0, 1, 1536, (const uint32_t[]){1024, 512, 0});
    e = qxhci_transfer_event(&x, 3);
    qtest_check_eq(e.code, SHORT);
    qtest_check_eq(e.length, 512);
    qtest_check_eq(storage_status(&x), 0);
    qtest_check_eq(qtest_readl(x.q, x.data + 0x39008), 1024); /* residue */
    /* A command that is none halts the endpoint, until the driver has cleared that. */
    qtest_check_eq(qxhci_transfer(&x, 4, x.data, 30).code, STALL);
    qtest_check_eq(qxhci_endpoint_state(&x, 4), 2);
    qxhci_doorbell(&x, 4);
    qxhci_no_event(&x);
    qtest_check_eq(qxhci_endpoint_command(&x, RESET_ENDPOINT, 0, 4), SUCCESS);
    qtest_check_eq(qxhci_control(&x, 0x21, 0xff, 0, 0, 0), 0);
    qtest_check_eq(qxhci_control(&x, 0x02, 1, 0, 0x81, 0), 0);
    qtest_check_eq(qxhci_control(&x, 0x02, 1, 0, 0x02, 0), 0);
    qtest_check_eq(qxhci_endpoint_command(&x, SET_DEQUEUE,
                                          (x.rings[4].base + 16 * x.rings[4].at) | x.rings[4].cycle,
                                          4),
                   SUCCESS);
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    g_free(block);
    qtest_end(x.q);
}

/* Event data TRBs, no-ops, immediate data. */
static void test_other_trbs(void)
{
    Xhci x = storage_open("");
    Event e;
    uint64_t trb;

    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qxhci_transfer_event(&x, 3);
    storage_status(&x);
    storage_command(&x, false, 0, 2, 1024, (const uint32_t[]){0});
    qxhci_put(&x, &x.rings[3], x.data, 512, NORMAL << 10 | CHAIN);
    qxhci_put(&x, &x.rings[3], x.data + 512, 512, NORMAL << 10 | CHAIN);
    qxhci_put(&x, &x.rings[3], 0x123456789abcdef0, 0, EVENT_DATA << 10 | IOC);
    qxhci_doorbell(&x, 3);
    e = qxhci_transfer_event(&x, 3);
    qtest_check_eq(e.parameter, 0x123456789abcdef0);
    qtest_check_eq(e.control & 4, 4);
    qtest_check_eq(e.length, 1024);
    qtest_check_eq(e.code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    trb = qxhci_put(&x, &x.rings[3], 0, 0, NO_OP << 10 | IOC);
    qxhci_doorbell(&x, 3);
    qtest_check_eq(qxhci_transfer_event(&x, 3).parameter, trb);
    qxhci_put(&x, &x.rings[4], 0x0123456789abcdef, 8, NORMAL << 10 | IDT | IOC);
    qxhci_doorbell(&x, 4);
    qtest_check_eq(qxhci_transfer_event(&x, 4).code, STALL); /* no command, but it came there */
    qtest_check_eq(qxhci_endpoint_command(&x, RESET_ENDPOINT, 0, 4), SUCCESS);
    /* What does not belong into this ring: the endpoint is in error. */
    qxhci_put(&x, &x.rings[3], x.data, 512, ISOCH << 10 | IOC);
    qxhci_doorbell(&x, 3);
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, TRB_ERROR);
    qtest_check_eq(qxhci_endpoint_state(&x, 3), 4);
    qtest_end(x.q);
}

/* State. */

static void save_state(Xhci *x, const char *file)
{
    json_decref(qtest_qmp(x->q, "x-save-state", "{s:s}", "filename", file));
}

static void load_state(Xhci *x, const char *file)
{
    json_decref(qtest_qmp(x->q, "x-load-state", "{s:s}", "filename", file));
}

static void continue_vm(Xhci *x)
{
    json_decref(qtest_qmp(x->q, "cont", NULL));
}

/* A TRB that waits for a key is saved. Nothing moves while the machine has stopped. */
static void test_state(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    Xhci x = qxhci_open("-device usb-kbd"), saved;
    uint64_t trb;

    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    qtest_check_eq(qxhci_control(&x, 0x21, 10, 0, 0, 0), 0);
    trb = qxhci_poll(&x, 8);
    json_decref(qtest_qmp(x.q, "stop", NULL));
    save_state(&x, file);
    saved = x;
    qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    qxhci_write(&x, DOORBELL, 0);
    qxhci_no_event(&x); /* the machine has stopped */
    continue_vm(&x);
    qtest_check_eq(qxhci_take(&x).type, COMMAND_EVENT);
    qxhci_hmp(&x, "sendkey a 1");
    qtest_check_eq(qxhci_transfer_event(&x, 3).parameter, trb);
    qtest_check_eq(qxhci_slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    qtest_system_reset(x.q);
    json_decref(qtest_qmp(x.q, "stop", NULL));
    load_state(&x, file);
    load_state(&x, file); /* onto itself */
    x = saved;
    continue_vm(&x);
    qxhci_no_event(&x);
    qxhci_hmp(&x, "sendkey b 1");
    qtest_check_eq(qxhci_transfer_event(&x, 3).parameter, trb);
    qtest_check_eq(qtest_readb(x.q, x.data + 2), 5);
    qtest_check_eq(qxhci_control(&x, 0x80, 8, 0, 0, 1), 1);
    qtest_end(x.q);
}

static const struct rlimit small = {32 * 1024, RLIM_INFINITY}, big = {RLIM_INFINITY, RLIM_INFINITY};

static void limit(Xhci *x, const struct rlimit *to)
{
    prlimit(qtest_pid(x->q), RLIMIT_FSIZE, to, NULL);
}

/* Until a write of 64 blocks at 200 has stopped the machine. */
static void park_write(Xhci *x, const uint32_t *lengths)
{
    for (unsigned i = 0; i < 64; i++) {
        qtest_memset(x->q, x->data + 512 * i, i + 1, 512);
    }
    limit(x, &small);
    storage_command(x, true, 200, 64, 32768, lengths);
    json_decref(qtest_wait_event(x->q, "STOP"));
    qxhci_no_event(x);
}

static void check_written(const char *path)
{
    uint8_t b[512];
    int fd = open(path, O_RDONLY);

    for (unsigned i = 0; i < 64; i++) {
        qtest_check_eq(pread(fd, b, sizeof b, (200 + i) * 512), sizeof b);
        qtest_check_eq(b[0], i + 1);
        qtest_check_eq(b[511], i + 1);
    }
    close(fd);
}

/* A TRB that its device has not answered is carried out again after a load, and data go once. */
static void test_state_in_flight(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    Xhci x, saved;

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    x = storage_open(",werror=stop,cache=writethrough");
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qxhci_transfer_event(&x, 3);
    storage_status(&x);
    park_write(&x, (const uint32_t[]){16384, 16384, 0});
    limit(&x, &big);
    saved = x;
    save_state(&x, file);
    continue_vm(&x);
    qtest_check_eq(qxhci_transfer_event(&x, 4).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    check_written(disk_path());
    qtest_system_reset(x.q);
    json_decref(qtest_qmp(x.q, "stop", NULL));
    load_state(&x, file);
    x = saved;
    continue_vm(&x);
    qtest_check_eq(qxhci_transfer_event(&x, 4).code, SUCCESS);
    qtest_check_eq(storage_status(&x), 0);
    check_written(disk_path());
    /* Stopped by its driver, who tries again. */
    park_write(&x, (const uint32_t[]){16384, 16384, 0});
    limit(&x, &big);
    qxhci_put(&x, &x.commands, 0, 0, STOP_ENDPOINT << 10 | x.slot << 24 | 4 << 16);
    qxhci_write(&x, DOORBELL, 0);
    continue_vm(&x);
    for (unsigned i = 0; i < 2; i++) {
        Event e = qxhci_take(&x);

        if (e.type == COMMAND_EVENT) {
            break;
        }
        qtest_check_eq(e.type, TRANSFER_EVENT);
    }
    qxhci_doorbell(&x, 4);
    qtest_end(x.q);
}

static bool is_written(const char *path)
{
    uint8_t last = 0;
    int fd = open(path, O_RDONLY);
    ssize_t n = pread(fd, &last, 1, (200 + 63) * 512 + 511);

    close(fd);
    return n == 1 && last == 64;
}

/* A device has answered, and the event has no room: that answer is saved, and told after a load. */
static void test_state_answered(void)
{
    g_autofree char *file = g_strdup_printf("%s/state", qtest_tmp_dir());
    unsigned commands = 0, transfers = 0;
    Xhci x;

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    x = storage_open(",werror=stop,cache=writethrough");
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qxhci_transfer_event(&x, 3);
    storage_status(&x);
    park_write(&x, (const uint32_t[]){32768, 0});
    limit(&x, &big);
    for (unsigned i = 0; i < RING - 2; i++) { /* more than there is room for */
        qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    }
    qxhci_write(&x, DOORBELL, 0);
    continue_vm(&x);
    qtest_wait_until(is_written(disk_path()));
    json_decref(qtest_qmp(x.q, "stop", NULL));
    save_state(&x, file);
    qtest_system_reset(x.q);
    load_state(&x, file);
    continue_vm(&x);
    while (commands < RING - 2 || !transfers) {
        Event e = qxhci_take(&x);

        commands += e.type == COMMAND_EVENT;
        transfers += e.type == TRANSFER_EVENT && e.code == SUCCESS;
    }
    qtest_check_eq(transfers, 1);
    qtest_check_eq(storage_status(&x), 0);
    check_written(disk_path());
    qtest_end(x.q);
}

/* Its port was disabled by the driver: the packet that is in flight ends with the device. */
static void test_pulled_disabled(void)
{
    Xhci x;

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    x = storage_open(",werror=stop,cache=writethrough");
    storage_command(&x, false, 0, 1, 512, (const uint32_t[]){512, 0});
    qxhci_transfer_event(&x, 3);
    storage_status(&x);
    park_write(&x, (const uint32_t[]){16384, 16384, 0});
    limit(&x, &big);
    qxhci_write(&x, qxhci_portsc(5), PP | PED | CSC);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(5)) & PED, 0);
    json_decref(qtest_qmp(x.q, "device_del", "{s:s}", "id", "s"));
    json_decref(qtest_wait_event(x.q, "DEVICE_DELETED"));
    continue_vm(&x);
    for (unsigned i = 0; i < 2; i++) {
        Event e = qxhci_take(&x);

        qtest_check(e.type == PORT_EVENT || (e.type == TRANSFER_EVENT && e.code == TRANSACTION));
    }
    qxhci_write(&x, USBCMD, HCRST);
    qtest_end(x.q);
}

static void test_hub(void)
{
    Xhci x = qxhci_open("-device usb-hub,port=1 -device usb-mouse,port=1.2");
    Xhci hub;
    uint8_t r[4];

    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    qtest_check_eq(qxhci_control(&x, 0x23, 3, 8, 2, 0), 0); /* power and reset of port 2 */
    qtest_check_eq(qxhci_control(&x, 0x23, 3, 4, 2, 0), 0);
    qtest_check_eq(qxhci_control(&x, 0xa3, 0, 0, 2, 4), 4);
    qtest_check_eq(qtest_readl(x.q, x.data) & 3, 3);
    hub = x;
    x.output = qtest_alloc(x.q, 32 * 32, 4096);
    qxhci_enumerate(&x, 1, false); /* the device that has address 0 now */
    qtest_check_ne(x.slot, hub.slot);
    qtest_check_eq(qxhci_control(&x, 0x21, 10, 0, 0, 0), 0);
    qxhci_poll(&x, 4);
    qxhci_hmp(&x, "mouse_move 5 -3");
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, SUCCESS);
    qtest_read(x.q, x.data, r, 4);
    qtest_check_mem(r, "\0\x05\xfd\0", 4);
    qtest_end(x.q);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"keyboard", test_keyboard},
        {"storage", test_storage},
        {"other TRBs", test_other_trbs},
        {"state", test_state},
        {"state with transfers in flight", test_state_in_flight},
        {"state with an answer that was not told", test_state_answered},
        {"pulled from a port that is disabled", test_pulled_disabled},
        {"hub", test_hub},
        {0},
    };
    return qtest_run(argc, argv, cases);
}
