/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitors' commands for keys and pointers. */
#include "monitor_client.h"
#include "ps2_client.h"

#define MS (1000 * 1000)

static QTest *start(void)
{
    QTest *q = ps2_start("");

    ps2_mode(q, PS2_KBD_INT | PS2_AUX_INT | PS2_XLATE);
    ps2_mouse(q, 0xf4);
    ps2_expect(q, "mfa");
    return q;
}

static void test_sendkey(void)
{
    QTest *q = start();

    monitor_check_hmp(q, "sendkey ctrl-alt-f1 100", "");
    ps2_arrived(q);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x1d);
    qtest_clock_step(q, 99 * MS);
    ps2_arrived(q);
    qtest_check(!(qtest_inb(q, PS2_STATUS) & PS2_OBF));
    qtest_clock_step(q, 1 * MS);
    ps2_arrived(q);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x38);
    for (unsigned i = 0; i < 5; i++) {
        static const uint8_t codes[] = {0x3b, 0xbb, 0xb8, 0x9d, 0x9d};

        qtest_clock_step(q, 100 * MS);
        ps2_arrived(q);
        qtest_check_eq(qtest_inb(q, PS2_DATA), codes[i]);
    }
    /* The next keys wait for those before. */
    monitor_check_hmp(q, "sendkey a", "");
    monitor_check_hmp(q, "sendkey 0xc8", "");
    monitor_check_hmp(q, "sendkey <", "");
    for (unsigned i = 0; i < 6; i++) {
        static const char *const codes[] = {"1e", "9e", "e0 48", "e0 c8", "56", "d6"};

        ps2_expect(q, codes[i]);
        qtest_clock_step(q, 7 * MS);
        ps2_arrived(q);
    }
    qtest_end(q);
}

static void test_sendkey_errors(void)
{
    QTest *q = start();
    g_autofree char *many = NULL;

    monitor_check_hmp(q, "sendkey spce", "Error: invalid parameter: spce; did you mean 'spc'?\r\n");
    monitor_check_hmp(q, "sendkey ctrl-alt-", "Error: invalid parameter: \r\n");
    monitor_check_hmp(q, "sendkey ctrl-0xfff",
                      "Error: no key has the number 0xfff; numbers are scan codes of set 1, plus "
                      "0x80 where there is a prefix of 0xe0\r\n");
    monitor_check_hmp(q, "sendkey a -1",
                      "Error: Parameter 'hold-time' expects milliseconds, from 0 to 3600000\r\n");
    ps2_arrived(q);
    ps2_expect(q, ""); /* nothing is half done */
    for (unsigned i = 0; i < 512; i++) {
        monitor_check_hmp(q, "sendkey a", "");
    }
    many = qtest_hmp(q, "sendkey a-b-c");
    qtest_check_str(many, "Error: too many keys are waiting to be sent already\r\n");
    qtest_end(q);
}

static void test_send_key(void)
{
    QTest *q = start();

    monitor_check_result(q,
                         "{'execute': 'send-key', 'arguments': {'keys': [{'type': 'qcode', 'data': "
                         "'shift'}, {'type': 'number', 'data': 30}]}}",
                         "{}");
    ps2_arrived(q);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const codes[] = {"2a", "1e", "9e", "aa"};

        ps2_expect(q, codes[i]);
        qtest_clock_step(q, 8 * MS);
        ps2_arrived(q);
    }
    monitor_check_error(q,
                        "{'execute': 'send-key', 'arguments': {'keys': [{'type': 'number', 'data': "
                        "256}]}}",
                        "GenericError",
                        "no key has the number 0x100; numbers are scan codes of set 1, plus 0x80 "
                        "where there is a prefix of 0xe0");
    qtest_end(q);
}

#define EVENTS(list) "{'execute': 'input-send-event', 'arguments': {'events': [" list "]}}"

static void test_input_send_event(void)
{
    QTest *q = start();

    /* One report: a click is not a part of it, as the button is up at its end. */
    monitor_check_result(
        q,
        EVENTS("{'type': 'rel', 'data': {'axis': 'x', 'value': 4}}, "
               "{'type': 'rel', 'data': {'axis': 'y', 'value': -2}}, "
               "{'type': 'btn', 'data': {'button': 'right', 'down': true}}, "
               "{'type': 'key', 'data': {'key': {'type': 'number', 'data': 200}, 'down': true}}"),
        "{}");
    ps2_arrived(q);
    ps2_expect(q, "e0 48 m0a m04 m02");
    monitor_check_error(q,
                        EVENTS("{'type': 'btn', 'data': {'button': 'right', 'down': false}}, "
                               "{'type': 'abs', 'data': {'axis': 'x', 'value': 4}}"),
                        "GenericError", "Input handler not found for event type abs");
    ps2_expect(q, ""); /* all, or nothing */
    monitor_check_error(q,
                        "{'execute': 'input-send-event', 'arguments': {'device': 'none', "
                        "'events': []}}",
                        "DeviceNotFound", "Device 'none' not found");
    qtest_end(q);
}

static void test_mouse(void)
{
    QTest *q = start();

    monitor_check_hmp(q, "info mice", "* Mouse #2: QEMU PS/2 Mouse\r\n");
    monitor_check_result(
        q, "{'execute': 'query-mice'}",
        "[{\"name\": \"QEMU PS/2 Mouse\", \"index\": 2, \"current\": true, \"absolute\": false}]");
    monitor_check_hmp(q, "mouse_move 5 -3", "");
    monitor_check_hmp(q, "mouse_button 5", "");
    monitor_check_hmp(q, "mouse_move 0x10 0 -1", "");
    monitor_check_hmp(q, "mouse_button 0", "");
    ps2_arrived(q);
    ps2_expect(q, "m08 m05 m03 m0b m00 m00 m08 m10 m00");
    monitor_check_hmp(q, "mouse_move 5 x", "Error: Parameter 'dy' expects a number, not 'x'\r\n");
    monitor_check_hmp(q, "mouse_set 2", "");
    monitor_check_hmp(q, "mouse_set 1",
                      "Error: Input device 'QEMU PS/2 Keyboard' is not a mouse\r\n");
    monitor_check_hmp(q, "mouse_set 9",
                      "Error: Mouse at index '9' not found; 'info mice' lists them\r\n");
    qtest_end(q);
}

/* A machine that stands still takes no keys; those that are held then are let go when it goes on.
 */
static void test_stopped(void)
{
    QTest *q = start();

    json_decref(qtest_qmp(q, "stop", NULL));
    ps2_key(q, "a", true);
    monitor_check_hmp(q, "sendkey b", "");
    json_decref(qtest_qmp(q, "cont", NULL));
    ps2_expect(q, "");
    monitor_check_hmp(q, "sendkey c", "");
    ps2_arrived(q);
    qtest_check_eq(qtest_inb(q, PS2_DATA), 0x2e);
    json_decref(qtest_qmp(q, "stop", NULL));
    json_decref(qtest_qmp(q, "cont", NULL));
    qtest_clock_step(q, 10 * MS);
    ps2_arrived(q);
    ps2_expect(q, "ae");
    qtest_end(q);
}

/* Puts the guest to sleep (S3), by the chipset's power management. */
static void suspend(QTest *q)
{
    QPci pm;

    qpci_open(q, &pm, 1, 3);
    qpci_config_writel(&pm, 0x40, 0x600);
    qpci_config_writeb(&pm, 0x80, 1);
    qtest_outb(q, 0xb2, 0xf1);
    qtest_outw(q, 0x604, 1 << 10 | 1 << 13 | 1);
    json_decref(qtest_wait_event(q, "SUSPEND"));
}

static void test_wake_up(void)
{
    QTest *q = start();

    suspend(q);
    ps2_move(q, 1, 1);
    qtest_check(!qtest_has_event(q, "WAKEUP"));
    ps2_button(q, "left", true);
    json_decref(qtest_wait_event(q, "WAKEUP"));
    suspend(q);
    ps2_key(q, "a", true);
    json_decref(qtest_wait_event(q, "WAKEUP"));
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"sendkey", test_sendkey},   {"sendkey-errors", test_sendkey_errors},
    {"send-key", test_send_key}, {"input-send-event", test_input_send_event},
    {"mouse", test_mouse},       {"stopped", test_stopped},
    {"wake-up", test_wake_up},   {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
