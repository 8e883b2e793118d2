/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pvpanic: the guest's reports, and the effect of -action panic=. */
#include <signal.h>
#include "qtest_client.h"

#define PORT     0x505
#define PANICKED 4 /* vm/end.h */

static void check_panic(const char *more, const char *action, int status)
{
    QTest *q = qtest_startf("-machine pc -m 64 -nodefaults -device pvpanic %s", more);
    qtest_check(!qtest_has_event(q, "GUEST_PANICKED"));
    qtest_check_eq(qtest_inb(q, PORT), 0x03);
    qtest_send(q, "outb 0x%x 0x1", PORT);
    json_t *event = qtest_wait_event(q, "GUEST_PANICKED");
    json_t *data = json_object_get(event, "data");
    qtest_check_str(json_string_value(json_object_get(data, "action")), action);
    json_decref(event);
    if (status >= 0) {
        event = qtest_wait_event(q, "SHUTDOWN");
        data = json_object_get(event, "data");
        qtest_check(json_is_true(json_object_get(data, "guest")));
        qtest_check_str(json_string_value(json_object_get(data, "reason")), "guest-panic");
        json_decref(event);
        qtest_check_eq(qtest_wait_exit(q), status);
        return;
    }
    json_decref(qtest_wait_event(q, "STOP"));
    json_t *state = qtest_qmp(q, "query-status", NULL);
    qtest_check_str(json_string_value(json_object_get(state, "status")), "guest-panicked");
    json_decref(state);
    /* Whoever ends it now, it has not ended well. */
    kill(qtest_pid(q), SIGTERM);
    qtest_check_eq(qtest_wait_exit(q), PANICKED);
}

/* The machine goes on; what set-action says is what counts from then on. */
static void test_none(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -device pvpanic -action panic=none");
    json_t *event;

    for (unsigned i = 0; i < 2; i++) {
        qtest_outb(q, PORT, 0x1);
        event = qtest_wait_event(q, "GUEST_PANICKED");
        qtest_check_str(
            json_string_value(json_object_get(json_object_get(event, "data"), "action")), "run");
        json_decref(event);
        event = qtest_qmp(q, "query-status", NULL);
        qtest_check_str(json_string_value(json_object_get(event, "status")), "running");
        json_decref(event);
        json_decref(qtest_qmp(q, "set-action", "{s:s}", "reboot", "shutdown"));
    }
    json_decref(qtest_qmp(q, "set-action", "{s:s}", "panic", "exit-failure"));
    qtest_send(q, "outb 0x%x 0x1", PORT);
    qtest_check_eq(qtest_wait_exit(q), PANICKED);
}

static void test_poweroff(void)
{
    check_panic("", "poweroff", PANICKED);
    check_panic("-action panic=shutdown", "poweroff", PANICKED);
    check_panic("-action panic=exit-failure", "poweroff", PANICKED);
}

static void test_pause(void)
{
    check_panic("-no-shutdown", "pause", -1);
    check_panic("-action panic=pause", "pause", -1);
}

static void test_crash_loaded(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -device pvpanic");
    qtest_outb(q, PORT, 0x02);
    json_t *event = qtest_wait_event(q, "GUEST_CRASHLOADED");
    json_t *data = json_object_get(event, "data");
    qtest_check_str(json_string_value(json_object_get(data, "action")), "run");
    json_decref(event);
    qtest_outb(q, PORT, 0xfc); /* unknown events */
    qtest_check(!qtest_has_event(q, "GUEST_PANICKED"));
    qtest_end(q);
}

static void test_properties(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -device pvpanic,ioport=0x600,events=1");
    qtest_check_eq(qtest_inb(q, 0x600), 1);
    qtest_check_eq(qtest_inb(q, PORT), 0xff);
    uint32_t size;
    uint16_t key = qtest_fw_cfg_find(q, "etc/pvpanic-port", &size);
    qtest_check_ne(key, 0);
    qtest_check_eq(size, 2);
    qtest_check_eq(qtest_fw_cfg_read16(q, key), 0x600);
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"poweroff", test_poweroff},         {"pause", test_pause},           {"none", test_none},
    {"crash-loaded", test_crash_loaded}, {"properties", test_properties}, {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
