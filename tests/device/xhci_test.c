/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The xHCI controller (Intel, xHCI 1.1): registers, rings, commands, ports, and drivers that are
 * hostile. */
#include "xhci_client.h"

static void test_registers(void)
{
    Xhci x = qxhci_open("");

    qtest_check_eq(x.pci.vendor, 0x1b36);
    qtest_check_eq(x.pci.device, 0x000d);
    qtest_check_eq(qpci_config_readl(&x.pci, 8) >> 8, 0x0c0330);
    qtest_check_eq(qpci_config_readb(&x.pci, 0x60), 0x30);
    qtest_check_eq(qxhci_read(&x, 0x00), 0x01000040);
    qtest_check_eq(qpci_readb(x.bar, 0), 0x40);
    qtest_check_eq(qpci_readw(x.bar, 2), 0x0100); /* parts of registers, up to their last byte */
    qtest_check_eq(qpci_readb(x.bar, 0x27), 0x20);
    qtest_check_eq(qpci_readb(x.bar, 0x3f), 0);
    qpci_writeb(x.bar, 0x79, 1);
    qtest_check_eq(qpci_readl(x.bar, 0x78), 64);
    qtest_check_eq(qxhci_read(&x, 0x04), 0x08001040);
    qtest_check_eq(qxhci_read(&x, 0x14), DOORBELL);
    qtest_check_eq(qxhci_read(&x, 0x18), MFINDEX);
    qtest_check_eq(qxhci_read(&x, 0x10) >> 16, 0x20 / 4);
    /* The supported protocols: ports 1 to 4 are USB 2, 5 to 8 USB 3. */
    qtest_check_eq(qxhci_read(&x, 0x20), 0x02000402);
    qtest_check_eq(qxhci_read(&x, 0x24), 0x20425355);
    qtest_check_eq(qxhci_read(&x, 0x28), 0x0401);
    qtest_check_eq(qxhci_read(&x, 0x30), 0x03000002);
    qtest_check_eq(qxhci_read(&x, 0x38), 0x0405);
    qtest_check_eq(qxhci_read(&x, PAGESIZE), 1);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)), PP | 5 << 5);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(8)), PP | 5 << 5);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(9)), 0);
    qtest_check_eq(qpci_readq(x.bar, DCBAAP), x.dcbaa);
    qtest_clock_step(x.q, 125000 * 8);
    qtest_check_eq(qxhci_read(&x, MFINDEX), 8);
    qxhci_write(&x, USBCMD, 0);
    qtest_check_eq(qxhci_read(&x, USBSTS) & HCH, HCH);
    qtest_clock_step(x.q, 125000 * 8);
    qtest_check_eq(qxhci_read(&x, MFINDEX), 8);
    qxhci_write(&x, USBCMD, HCRST);
    qtest_check_eq(qxhci_read(&x, USBCMD), 0);
    qtest_check_eq(qpci_readq(x.bar, DCBAAP), 0);
    qtest_check_eq(qxhci_read(&x, IMAN), 0);
    qtest_end(x.q);
}

static void check_fails(const char *args, const char *why)
{
    int status;
    g_autofree char *text = qtest_start_fails(args, &status);

    qtest_check_eq(status, QTEST_NOT_STARTED);
    qtest_check(strstr(text, why) != NULL);
}

static void test_models(void)
{
    Xhci x = qxhci_open_as("nec-usb-xhci,p2=2,p3=1,slots=8,intrs=4",
                           "-device usb-kbd,port=1 -device usb-mouse,port=2");

    qtest_check_eq(x.pci.vendor, 0x1033);
    qtest_check_eq(x.pci.device, 0x0194);
    qtest_check_eq(qxhci_read(&x, 0x04), 0x03000408);
    qtest_check_eq(qxhci_read(&x, 0x28), 0x0202); /* its USB 3 ports are first */
    qtest_check_eq(qxhci_read(&x, 0x38), 0x0101);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & CCS, 0);
    qxhci_port_event(&x, 2);
    qxhci_port_event(&x, 3);
    qtest_check(qpci_find_cap(&x.pci, 0x05, 0) != 0);
    qtest_check(qpci_find_cap(&x.pci, 0x11, 0) != 0);
    qtest_end(x.q);
    x = qxhci_open_as("nec-usb-xhci,msi=off,msix=off,p3=0", "");
    qtest_check_eq(qpci_find_cap(&x.pci, 0x05, 0) | qpci_find_cap(&x.pci, 0x11, 0), 0);
    qtest_check_eq(qxhci_read(&x, 0x20), 0x02000002);
    qtest_end(x.q);
    check_fails("-machine pc -nodefaults -device qemu-xhci,p2=16", "p2=16");
    check_fails("-machine pc -nodefaults -device nec-usb-xhci,slots=65", "slots=65");
    check_fails("-machine pc -nodefaults -device nec-usb-xhci,intrs=3", "intrs=3");
}

static void test_commands(void)
{
    Xhci x = qxhci_open("");

    for (unsigned i = 0; i < 3 * RING; i++) { /* rounds of both rings */
        qtest_check_eq(qxhci_command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    }
    qtest_check_eq(qxhci_read(&x, CRCR), 8); /* runs */
    qtest_check_eq(qxhci_command(&x, FORCE_EVENT, 0, 0).code, TRB_ERROR);
    qtest_check_eq(qxhci_command(&x, 63, 0, 0).code, TRB_ERROR);
    for (unsigned type = DISABLE_SLOT; type <= RESET_DEVICE; type++) {
        qtest_check_eq(qxhci_command(&x, type, x.input, 1u << 24 | 1 << 16).code, SLOT_NOT_ENABLED);
        qtest_check_eq(qxhci_command(&x, type, x.input, 0u << 24 | 1 << 16).code, SLOT_NOT_ENABLED);
        qtest_check_eq(qxhci_command(&x, type, x.input, 255u << 24 | 1 << 16).code,
                       SLOT_NOT_ENABLED);
    }
    for (unsigned i = 1; i <= 64; i++) {
        qtest_check_eq(qxhci_command(&x, ENABLE_SLOT, 0, 0).slot, i);
    }
    qtest_check_eq(qxhci_command(&x, ENABLE_SLOT, 0, 0).code, NO_SLOTS);
    x.slot = 5;
    qtest_check_eq(qxhci_endpoint_command(&x, STOP_ENDPOINT, 0, 1), EP_NOT_ENABLED);
    qtest_check_eq(qxhci_endpoint_command(&x, STOP_ENDPOINT, 0, 0), TRB_ERROR);
    qtest_check_eq(qxhci_slot_command(&x, CONFIGURE, x.input, 0), CONTEXT_STATE);
    qtest_check_eq(qxhci_slot_command(&x, EVALUATE, x.input, 0), CONTEXT_STATE);
    qtest_check_eq(qxhci_slot_command(&x, RESET_DEVICE, 0, 0), CONTEXT_STATE);
    qtest_check_eq(qxhci_slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    qtest_check_eq(qxhci_command(&x, ENABLE_SLOT, 0, 0).slot, 5);
    /* The ring is stopped, and begins elsewhere. */
    qxhci_write(&x, CRCR, 2);
    qtest_check_eq(qxhci_take(&x).code, RING_STOPPED);
    qtest_check_eq(qxhci_read(&x, CRCR), 0);
    x.commands = qxhci_ring_new(&x);
    qpci_writeq(x.bar, CRCR, x.commands.base | 1);
    qtest_check_eq(qxhci_command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    qtest_end(x.q);
}

static void test_interrupts(void)
{
    Xhci x = qxhci_open("");
    uint64_t message = qtest_alloc(x.q, 4, 4);

    /* INTx, until the driver takes IP away. */
    qtest_check_eq(qxhci_command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    qxhci_settle(&x);
    qtest_check_eq(qxhci_read(&x, IMAN), 3);
    qtest_check_eq(qxhci_read(&x, USBSTS) & EINT, EINT);
    qtest_check_eq(qpci_config_readw(&x.pci, 6) & 8, 8);
    qxhci_write(&x, IMAN, 3);
    qxhci_write(&x, USBSTS, EINT);
    qtest_check_eq(qxhci_read(&x, IMAN), 2);
    qtest_check_eq(qpci_config_readw(&x.pci, 6) & 8, 0);
    /* MSI-X, whose message takes IP away; none while the handler is busy (EHB). */
    qtest_writel(x.q, message, 0);
    qpci_msix_enable(&x.pci);
    qpci_msix_set(&x.pci, 0, message, 0x55);
    qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    qxhci_write(&x, DOORBELL, 0);
    qtest_wait_until(qxhci_has_event(&x));
    qxhci_settle(&x);
    qtest_check(qpci_msix_take(&x.pci, message, 0x55));
    qtest_check_eq(qxhci_read(&x, IMAN), 2);
    qtest_check_eq(qxhci_read(&x, ERDP) & 8, 8);
    qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    qxhci_write(&x, DOORBELL, 0);
    qxhci_settle(&x);
    qtest_check(!qpci_msix_take(&x.pci, message, 0x55));
    qxhci_take(&x); /* there is another: an interrupt at once */
    qtest_check(qpci_msix_take(&x.pci, message, 0x55));
    qxhci_take(&x);
    qxhci_settle(&x);
    qtest_check(!qpci_msix_take(&x.pci, message, 0x55));
    /* None without INTE. */
    qxhci_write(&x, USBCMD, RS);
    qtest_check_eq(qxhci_command(&x, NO_OP_COMMAND, 0, 0).code, SUCCESS);
    qxhci_settle(&x);
    qtest_check(!qpci_msix_take(&x.pci, message, 0x55));
    qxhci_write(&x, USBCMD, RS | INTE);
    qtest_check(qpci_msix_take(&x.pci, message, 0x55));
    /* MFINDEX wraps each 2048 ms, and there is a timer for that only if the driver wants it. */
    qtest_clock_step(x.q, 2100 * (int64_t)FRAME_NS);
    qxhci_no_event(&x);
    qxhci_write(&x, USBCMD, RS | EWE);
    qtest_clock_step(x.q, 2048 * (int64_t)FRAME_NS);
    qtest_check_eq(qxhci_take(&x).type, WRAP_EVENT);
    qtest_end(x.q);
}

/* A ring that nobody drains: what has no room waits, and nothing is lost. */
static void test_event_ring_full(void)
{
    Xhci x = qxhci_open("");
    unsigned done = 0, full = 0;

    for (unsigned i = 0; i < RING - 2; i++) {
        qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    }
    qtest_writeq(x.q, x.erst + 8, 16);
    qxhci_write(&x, DOORBELL, 0);
    for (unsigned at = 0; at < 16; at++) {
        qxhci_settle(&x);
        if (qtest_readl(x.q, x.events + 16 * at + 12) & CYCLE) {
            done++;
        }
    }
    qtest_check_eq(done, 13);
    x.event = 12;
    qtest_check_eq(qxhci_look(&x).type, CONTROLLER_EVENT);
    qtest_check_eq(qxhci_look(&x).code, RING_FULL);
    qtest_check_eq(qxhci_read(&x, CRCR), 8);
    done = 12;
    x.event = 13;
    while (done < RING - 2) {
        qxhci_write(&x, ERDP, (x.events + 16 * x.event) | 8);
        qxhci_settle(&x);
        while (qxhci_has_event(&x)) {
            done += qxhci_look(&x).type == COMMAND_EVENT;
            x.event = (x.event + 1) % 16;
            x.event_cycle ^= x.event == 0;
        }
    }
    qtest_check_eq(done, RING - 2);
    /* A driver that takes one at a time is not told each time. */
    for (unsigned i = 0; i < 20; i++) {
        qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
    }
    qxhci_write(&x, ERDP, (x.events + 16 * x.event) | 8);
    qxhci_write(&x, DOORBELL, 0);
    for (done = 0; done < 20; done++) {
        qxhci_settle(&x);
        qtest_check(qxhci_has_event(&x));
        if (qxhci_look(&x).type == CONTROLLER_EVENT) {
            full++;
            done--;
        }
        x.event = (x.event + 1) % 16;
        x.event_cycle ^= x.event == 0;
        qxhci_write(&x, ERDP, (x.events + 16 * x.event) | 8);
    }
    qtest_check_le(full, 3);
    qtest_end(x.q);
}

static void test_control(void)
{
    Xhci x = qxhci_open("-device usb-kbd,serial=abc");
    uint8_t d[64];

    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)), CCS | PP | CSC | 7 << 5 | 3 << 10);
    qtest_check_eq(qxhci_read(&x, USBSTS) & PCD, PCD);
    qxhci_port_event(&x, 1);
    /* No device answers before its port was reset. */
    qxhci_enable_slot(&x);
    qtest_check_eq(qxhci_address_device(&x, 1, 0), TRANSACTION);
    qtest_check_eq(qxhci_address_device(&x, 0, 0), PARAMETER);
    qtest_check_eq(qxhci_address_device(&x, 9, 0), PARAMETER);
    qxhci_port_reset(&x, 1);
    qtest_check_eq(qxhci_address_device(&x, 1, BSR), SUCCESS);
    qtest_check_eq(qxhci_slot_state(&x), 1);
    qtest_check_eq(qxhci_control(&x, 0x80, 6, 0x0100, 0, 8), 8);
    qtest_check_eq(qxhci_address_device(&x, 1, BSR), CONTEXT_STATE);
    qtest_check_eq(qxhci_address_device(&x, 1, 0), SUCCESS);
    qtest_check_eq(qxhci_slot_state(&x), 2);
    qtest_check_eq(qxhci_control(&x, 0x80, 6, 0x0100, 0, 64), 18);
    qtest_read(x.q, x.data, d, 18);
    qtest_check_eq(d[0], 18);
    qtest_check_eq(d[7], 64);
    qtest_check_eq(qxhci_control(&x, 0x80, 6, 0x0303, 0x409, 8), 8);
    qtest_read(x.q, x.data, d, 8);
    qtest_check_mem(d,
                    "\x08\x03"
                    "a\0b\0c\0",
                    8);
    qtest_check_eq(qxhci_control(&x, 0x80, 6, 0x0309, 0x409, 64), -1); /* stalls */
    qtest_check_eq(qxhci_control(&x, 0x00, 9, 1, 0, 0), 0);
    qtest_check_eq(qxhci_control(&x, 0x80, 8, 0, 0, 1), 1);
    qtest_check_eq(qtest_readb(x.q, x.data), 1);
    qtest_writeb(x.q, x.data, 2);
    qtest_check_eq(qxhci_control(&x, 0x21, 9, 0x0200, 0, 1), 1);
    /* Packet size of endpoint 0. */
    qtest_memset(x.q, x.input, 0, 33 * 32);
    qtest_writel(x.q, x.input + 4, 2);
    qtest_writel(x.q, x.input + 64 + 4, 512 << 16);
    qtest_check_eq(qxhci_slot_command(&x, EVALUATE, x.input, 0), SUCCESS);
    qtest_check_eq(qtest_readl(x.q, x.output + 32 + 4) >> 16, 512);
    qtest_check_eq(qxhci_slot_command(&x, RESET_DEVICE, 0, 0), SUCCESS);
    qtest_check_eq(qxhci_slot_state(&x), 1);
    qtest_check_eq(qxhci_slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    qtest_check_eq(qxhci_slot_state(&x), 0);
    qtest_end(x.q);
}

static void test_plug(void)
{
    Xhci x = qxhci_open("");

    qxhci_no_event(&x);
    json_decref(qtest_qmp(x.q, "device_add", "{s:s, s:s, s:s}", "driver", "usb-tablet", "id", "t",
                          "port", "3"));
    qxhci_port_event(&x, 3);
    qxhci_enumerate(&x, 3, false);
    qxhci_put(&x, &x.rings[3], x.data, 8, NORMAL << 10 | IOC);
    qxhci_doorbell(&x, 3);
    qxhci_no_event(&x);
    json_decref(qtest_qmp(x.q, "device_del", "{s:s}", "id", "t"));
    /* The port says so, and who polls the device gets no answer. */
    for (unsigned i = 0; i < 2; i++) {
        Event e = qxhci_take(&x);

        qtest_check(e.type == PORT_EVENT ? e.parameter >> 24 == 3
                                         : e.type == TRANSFER_EVENT && e.code == TRANSACTION);
    }
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(3)), PP | CSC | 5 << 5);
    qtest_check_eq(qxhci_endpoint_state(&x, 3), 2);
    json_decref(qtest_qmp(x.q, "device_add", "{s:s, s:s, s:s}", "driver", "usb-tablet", "id", "t",
                          "port", "3"));
    qxhci_no_event(&x); /* CSC was not cleared: no second event */
    qxhci_write(&x, qxhci_portsc(3), PP | CSC);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(3)), PP | CCS | 7 << 5 | 3 << 10);
    qtest_check_eq(qxhci_slot_command(&x, DISABLE_SLOT, 0, 0), SUCCESS);
    qxhci_enumerate(&x, 3, false);
    qtest_end(x.q);
}

/* How often something is due in a second. The PIT and the RTC have their shares. */
static void test_no_wakeups(void)
{
    Xhci x = qxhci_open("-device usb-tablet");
    int64_t now, end;
    unsigned n = 0;

    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    qxhci_poll(&x, 8);
    now = qtest_clock_step(x.q, 0);
    end = now + 1000 * (int64_t)FRAME_NS;
    for (; now < end; n++) {
        now = qtest_clock_step_next(x.q);
    }
    qtest_check_lt(n, 40);
    qtest_end(x.q);
}

static void test_port(void)
{
    Xhci x = qxhci_open("-device usb-kbd");

    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    /* Suspend and resume. */
    qxhci_write(&x, qxhci_portsc(1), PP | LWS | 3 << 5);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & 0x1e0, 3 << 5);
    qxhci_write(&x, qxhci_portsc(1), PP | LWS | 15 << 5);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & 0x1e0, 15 << 5);
    qxhci_write(&x, qxhci_portsc(1), PP | LWS | 0 << 5);
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & (0x1e0 | PLC), PLC);
    qxhci_port_event(&x, 1);
    qxhci_write(&x, qxhci_portsc(1), PP | PLC);
    /* A suspended keyboard wakes the guest, which has allowed that. */
    qtest_check_eq(qxhci_control(&x, 0x00, 3, 1, 0, 0), 0);
    qxhci_poll(&x, 8);
    qxhci_write(&x, qxhci_portsc(1), PP | LWS | 3 << 5);
    qxhci_hmp(&x, "sendkey a 1");
    for (unsigned i = 0; i < 2; i++) {
        Event e = qxhci_take(&x);

        qtest_check(e.type == PORT_EVENT || e.type == TRANSFER_EVENT);
    }
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & (0x1e0 | PLC), 15 << 5 | PLC);
    qxhci_write(&x, qxhci_portsc(1), PP | PED); /* disabled */
    qtest_check_eq(qxhci_read(&x, qxhci_portsc(1)) & (CCS | PED | 0x1e0), CCS | 7 << 5);
    /* A reset while it is halted; its event comes when it runs. */
    qxhci_write(&x, USBCMD, 0);
    qxhci_write(&x, qxhci_portsc(1), PP | PR);
    qtest_wait_until(qxhci_read(&x, qxhci_portsc(1)) & PRC);
    qxhci_write(&x, USBCMD, RS);
    qxhci_port_event(&x, 1);
    qxhci_write(&x, qxhci_portsc(2), PP | PR); /* nobody is there */
    qxhci_no_event(&x);
    qtest_end(x.q);
}

/* Hostile drivers. */

static void restart(Xhci *x)
{
    qxhci_write(x, USBCMD, HCRST);
    qxhci_start(x);
}

static void check_host_error(Xhci *x)
{
    qtest_wait_until(qxhci_read(x, USBSTS) & HSE);
    qtest_check_eq(qxhci_read(x, USBSTS) & HCH, HCH);
    restart(x);
}

static void test_hostile_memory(void)
{
    Xhci x = qxhci_open("-device usb-kbd,port=1");
    static const uint64_t nowhere[] = {0xe0000000, 0xfee00000, 0xfffffffffffff000, 0x7000000000};

    qxhci_port_event(&x, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(nowhere); i++) {
        uint64_t addr = nowhere[i];

        /* The command ring, the event ring and its table, DCBAA and contexts. */
        restart(&x);
        qxhci_write(&x, USBCMD, 0);
        qpci_writeq(x.bar, CRCR, addr);
        qxhci_write(&x, USBCMD, RS);
        qxhci_write(&x, DOORBELL, 0);
        check_host_error(&x);
        qpci_writeq(x.bar, ERSTBA, addr);
        qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
        qxhci_write(&x, DOORBELL, 0);
        check_host_error(&x);
        qtest_writeq(x.q, x.erst, addr);
        qxhci_write(&x, USBCMD, 0);
        qxhci_write(&x, USBCMD, RS);
        qxhci_put(&x, &x.commands, 0, 0, NO_OP_COMMAND << 10);
        qxhci_write(&x, DOORBELL, 0);
        check_host_error(&x);
        qxhci_port_event(&x, 1);
        qxhci_port_reset(&x, 1);
        qxhci_enable_slot(&x);
        qpci_writeq(x.bar, DCBAAP, addr);
        qxhci_put(&x, &x.commands, x.input, 0, ADDRESS_DEVICE << 10 | x.slot << 24);
        qxhci_write(&x, DOORBELL, 0);
        check_host_error(&x);
        qxhci_port_event(&x, 1);
        qxhci_enable_slot(&x);
        qtest_writeq(x.q, x.dcbaa + 8 * x.slot, addr);
        qxhci_put(&x, &x.commands, x.input, 0, ADDRESS_DEVICE << 10 | x.slot << 24);
        qxhci_write(&x, DOORBELL, 0);
        check_host_error(&x);
        qxhci_port_event(&x, 1);
        qxhci_enable_slot(&x);
        qxhci_put(&x, &x.commands, addr, 0, ADDRESS_DEVICE << 10 | x.slot << 24);
        qxhci_write(&x, DOORBELL, 0);
        check_host_error(&x);
        qxhci_port_event(&x, 1);
        /* A transfer's buffer, and its ring. */
        qxhci_enumerate(&x, 1, false);
        qtest_check_eq(qxhci_transfer(&x, 3, addr, 8).code, TRANSACTION);
        qtest_check_eq(qxhci_endpoint_command(&x, RESET_ENDPOINT, 0, 3), SUCCESS);
        qtest_check_eq(qxhci_endpoint_command(&x, SET_DEQUEUE, addr | 1, 3), SUCCESS);
        qxhci_doorbell(&x, 3);
        check_host_error(&x);
        qxhci_port_event(&x, 1);
    }
    qtest_end(x.q);
}

static void test_hostile_rings(void)
{
    Xhci x = qxhci_open("-device usb-kbd,port=1");
    Ring *r = &x.rings[3];

    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    /* Doorbells of what there is not. */
    for (unsigned slot = 0; slot < 256; slot += 5) {
        qxhci_write(&x, DOORBELL + 4 * slot, 9);
        qxhci_write(&x, DOORBELL + 4 * slot, 255);
        qxhci_write(&x, DOORBELL + 4 * slot, 0x10000 | 1);
    }
    qxhci_no_event(&x);
    /* Links in a circle. */
    qtest_writeq(x.q, r->base, r->base);
    qtest_writel(x.q, r->base + 12, LINK << 10 | CYCLE);
    qxhci_doorbell(&x, 3);
    qtest_check_eq(qxhci_transfer_event(&x, 3).code, TRB_ERROR);
    qtest_check_eq(qxhci_endpoint_state(&x, 3), 4);
    /* Transfers in a circle, without an end and without events: others go on. */
    qtest_check_eq(qxhci_endpoint_command(&x, SET_DEQUEUE, r->base | 1, 3), SUCCESS);
    for (unsigned i = 0; i < 8; i++) {
        qtest_writel(x.q, r->base + 16 * i + 12, (i == 7 ? LINK : NO_OP) << 10 | CYCLE);
    }
    qtest_writeq(x.q, r->base + 16 * 7, r->base);
    qxhci_doorbell(&x, 3);
    qtest_check_eq(qxhci_control(&x, 0x80, 8, 0, 0, 1), 1);
    qtest_check_eq(qxhci_endpoint_command(&x, STOP_ENDPOINT, 0, 3), SUCCESS);
    /* Packets that are too long, a setup stage that is none. */
    qtest_check_eq(qxhci_endpoint_command(&x, SET_DEQUEUE, r->base | 1, 3), SUCCESS);
    *r = (Ring){.base = r->base, .cycle = true};
    qtest_check_eq(qxhci_transfer(&x, 3, x.data, 0x1ffff).code, TRB_ERROR);
    qxhci_put(&x, &x.rings[1], 0, 4, SETUP << 10 | IDT | IOC);
    qxhci_doorbell(&x, 1);
    qtest_check_eq(qxhci_transfer_event(&x, 1).code, TRB_ERROR);
    /* More from the host than a device stores (CVE-2020-14364). */
    qtest_check_eq(
        qxhci_endpoint_command(&x, SET_DEQUEUE, x.rings[1].base + 16 * x.rings[1].at + 1, 1),
        SUCCESS);
    qtest_check_eq(qxhci_control(&x, 0x21, 9, 0x0200, 0, 0xffff), -1);
    /* Data stages that are longer than SETUP said, or have the other direction. */
    for (unsigned i = 0; i < 3; i++) {
        static const uint64_t setups[] = {0x0008000001000680, 0x0001000002000921,
                                          0x0008000001000680};
        static const unsigned types[] = {3, 2, 3};
        Event e;

        qtest_memset(x.q, x.data, 0xee, 4096);
        qxhci_put(&x, &x.rings[1], setups[i], 8, SETUP << 10 | IDT | types[i] << 16);
        qxhci_put(&x, &x.rings[1], x.data, 4096, DATA << 10 | CHAIN | (i ? 0 : DIR_IN));
        qxhci_put(&x, &x.rings[1], x.data, 4096, NORMAL << 10 | IOC | ISP);
        qxhci_put(&x, &x.rings[1], 0, 0, STATUS << 10 | IOC | (i == 1 ? DIR_IN : 0));
        qxhci_doorbell(&x, 1);
        do {
            e = qxhci_transfer_event(&x, 1);
        } while (e.code == SHORT);
        qtest_check_eq(qtest_readb(x.q, x.data + 8), 0xee);
        if (e.code != SUCCESS) {
            qtest_check_eq(e.code, STALL);
            qtest_check_eq(qxhci_endpoint_command(&x, RESET_ENDPOINT, 0, 1), SUCCESS);
            qtest_check_eq(
                qxhci_endpoint_command(
                    &x, SET_DEQUEUE, (x.rings[1].base + 16 * x.rings[1].at) | x.rings[1].cycle, 1),
                SUCCESS);
        }
        qtest_check_eq(qxhci_control(&x, 0x80, 8, 0, 0, 1), 1);
    }
    /* Command rings in a circle. */
    qxhci_put(&x, &x.commands, x.commands.base + 16 * x.commands.at, 0, LINK << 10);
    qxhci_write(&x, DOORBELL, 0);
    qxhci_no_event(&x);
    qtest_check_eq(qxhci_read(&x, CRCR), 0);
    /* Endpoints that are of another kind than their place. */
    restart(&x);
    qxhci_port_event(&x, 1);
    qxhci_enumerate(&x, 1, false);
    for (unsigned type = 0; type < 8; type++) {
        qtest_memset(x.q, x.input, 0, 33 * 32);
        qtest_writel(x.q, x.input + 4, 1 | 1 << 5);
        qxhci_put_endpoint(&x, 5, type, 8);
        qtest_check_eq(qxhci_slot_command(&x, CONFIGURE, x.input, 0),
                       type == 1 || type == 5   ? BANDWIDTH
                       : type == 6 || type == 7 ? SUCCESS
                                                : PARAMETER);
    }
    qtest_writel(x.q, x.input, 3); /* drops what cannot be dropped */
    qtest_check_eq(qxhci_slot_command(&x, CONFIGURE, x.input, 0), PARAMETER);
    qtest_end(x.q);
}

int main(int argc, char **argv)
{
    static const QTestCase cases[] = {
        {"registers", test_registers},
        {"models and properties", test_models},
        {"commands", test_commands},
        {"interrupts", test_interrupts},
        {"full event ring", test_event_ring_full},
        {"control transfers", test_control},
        {"plug and unplug", test_plug},
        {"no wake-ups", test_no_wakeups},
        {"port", test_port},
        {"structures in no memory", test_hostile_memory},
        {"hostile rings", test_hostile_rings},
        {0},
    };
    return qtest_run(argc, argv, cases);
}
