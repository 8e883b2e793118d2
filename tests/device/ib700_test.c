/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ib700 watchdog, and each value of -action watchdog=. */
#include <signal.h>
#include "qtest_client.h"

#define STOP   0x441
#define START  0x443
#define SECOND 1000000000ll
#define FIRED  8 /* vm/end.h */

static QTest *ib700_start(const char *more)
{
    return qtest_startf("-machine pc -m 64 -nodefaults -device ib700 %s", more);
}

static void check_action(QTest *q, const char *action)
{
    json_t *event = qtest_wait_event(q, "WATCHDOG");

    qtest_check_str(json_string_value(json_object_get(json_object_get(event, "data"), "action")),
                    action);
    json_decref(event);
}

/* The shortest time that is not none; the answer may not come where the run ends. */
static void fire(QTest *q)
{
    qtest_outb(q, START, 0x0e);
    qtest_send(q, "clock_step %lld", 2 * SECOND);
}

static void test_time(void)
{
    QTest *q = ib700_start("-action watchdog=none");

    for (unsigned value = 0; value < 16; value++) {
        qtest_outb(q, START, 0xf0 | value); /* four bits count */
        if (value < 15) {
            qtest_clock_step(q, (30 - 2 * (int64_t)value) * SECOND - 1);
            qtest_check(!qtest_has_event(q, "WATCHDOG"));
        }
        qtest_clock_step(q, 1);
        check_action(q, "none");
        qtest_clock_step(q, 60 * SECOND); /* it fires once */
        qtest_check(!qtest_has_event(q, "WATCHDOG"));
    }
    qtest_end(q);
}

static void test_fed_and_stopped(void)
{
    QTest *q = ib700_start("-action watchdog=none");

    for (unsigned i = 0; i < 5; i++) {
        qtest_outb(q, START, 0x0d);
        qtest_clock_step(q, 3 * SECOND);
    }
    qtest_outb(q, STOP, 0);
    qtest_clock_step(q, 60 * SECOND);
    qtest_check(!qtest_has_event(q, "WATCHDOG"));
    qtest_outb(q, START, 0x0d);
    qtest_system_reset(q);
    qtest_clock_step(q, 60 * SECOND);
    qtest_check(!qtest_has_event(q, "WATCHDOG"));
    qtest_check_eq(qtest_inb(q, START), 0xff);
    qtest_end(q);
}

static void test_reset(void)
{
    QTest *q = ib700_start("");

    fire(q);
    check_action(q, "reset");
    json_decref(qtest_wait_event(q, "RESET"));
    kill(qtest_pid(q), SIGTERM);
    qtest_check_eq(qtest_wait_exit(q), 0);
    q = ib700_start("-no-reboot");
    fire(q);
    qtest_check_eq(qtest_wait_exit(q), FIRED);
}

static void test_end(void)
{
    QTest *q = ib700_start("-watchdog-action poweroff");

    fire(q);
    qtest_check_eq(qtest_wait_exit(q), FIRED);
}

static void check_goes_on(const char *action, const char *event, const char *state, int status)
{
    QTest *q = ib700_start("");
    json_t *reply;

    json_decref(qtest_qmp(q, "watchdog-set-action", "{s:s}", "action", action));
    fire(q);
    check_action(q, action);
    if (event) {
        json_decref(qtest_wait_event(q, event));
    }
    reply = qtest_qmp(q, "query-status", NULL);
    qtest_check_str(json_string_value(json_object_get(reply, "status")), state);
    json_decref(reply);
    kill(qtest_pid(q), SIGTERM);
    qtest_check_eq(qtest_wait_exit(q), status);
}

static void test_goes_on(void)
{
    check_goes_on("shutdown", "POWERDOWN", "running", 0);
    check_goes_on("pause", "STOP", "watchdog", FIRED);
    check_goes_on("debug", NULL, "running", 0);
    check_goes_on("inject-nmi", NULL, "running", 0);
}

static void test_set_action(void)
{
    QTest *q = ib700_start("");
    g_autofree char *text = NULL;

    qtest_check_str(text = qtest_hmp(q, "watchdog_action none"), "");
    fire(q);
    check_action(q, "none");
    g_free(text);
    text = qtest_hmp(q, "watchdog_action sleep");
    qtest_check(strstr(text, "sleep"));
    kill(qtest_pid(q), SIGTERM);
    qtest_check_eq(qtest_wait_exit(q), 0);
}

/* A watchdog that runs is saved, and fires when it would have. */
static void test_saved(void)
{
    g_autofree char *disk = g_strdup_printf("%s/disk.qcow2", qtest_tmp_dir());
    g_autofree char *line =
        g_strdup_printf("%s create -q -f qcow2 %s 1M", g_getenv("VMM_IMG_BINARY"), disk);
    g_autofree char *drive = g_strdup_printf("-action watchdog=none -drive if=none,file=%s", disk);
    QTest *q;
    g_autofree char *said = NULL;

    qtest_check_eq(system(line), 0);
    q = ib700_start(drive);
    qtest_outb(q, START, 0x0a); /* 10 s */
    qtest_clock_step(q, 4 * SECOND);
    qtest_check_str(said = qtest_hmp(q, "savevm s"), "");
    qtest_outb(q, STOP, 0);
    g_free(said);
    qtest_check_str(said = qtest_hmp(q, "loadvm s"), "");
    qtest_clock_step(q, 6 * SECOND - 1);
    qtest_check(!qtest_has_event(q, "WATCHDOG"));
    qtest_clock_step(q, 1);
    check_action(q, "none");
    qtest_end(q);
}

static const QTestCase cases[] = {
    {"time", test_time},       {"fed-and-stopped", test_fed_and_stopped},
    {"reset", test_reset},     {"end", test_end},
    {"goes-on", test_goes_on}, {"set-action", test_set_action},
    {"saved", test_saved},     {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
