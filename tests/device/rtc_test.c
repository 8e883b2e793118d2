/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real-time clock: calendar, formats, alarms, periodic and update interrupts, CMOS. */
#include <time.h>

#include "qtest_client.h"

#define RTC_IRQ 8
#define SECOND  1000000000ll
#define MS      1000000ll

enum { SEC, SEC_ALARM, MIN_, MIN_ALARM, HOUR, HOUR_ALARM, WDAY, MDAY, MONTH, YEAR, A, B, C, D };
enum { CENTURY = 0x32, PS2_CENTURY = 0x37 };
enum { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, DM = 0x04, H24 = 0x02 };
enum { IRQF = 0x80, PF = 0x40, AF = 0x20, UF = 0x10 };

static uint8_t cmos(QTest *q, uint8_t index)
{
    qtest_outb(q, 0x70, index);
    return qtest_inb(q, 0x71);
}

static void set_cmos(QTest *q, uint8_t index, uint8_t value)
{
    qtest_outb(q, 0x70, index);
    qtest_outb(q, 0x71, value);
}

/* A clock that only the test moves, at a known date: 2024-02-28 23:59:50, a Wednesday. */
static QTest *start_fixed(const char *more)
{
    QTest *q = qtest_startf(
        "-machine pc -m 64 -nodefaults -rtc base=2024-02-28T23:59:50,clock=vm %s", more);
    qtest_irq_intercept_in(q, "ioapic");
    /* Stops the PIT, which would tick all through the days that the test steps over. */
    qtest_outb(q, 0x43, 0x30);
    return q;
}

static void check_time(QTest *q, const char *expected)
{
    g_autofree char *now = g_strdup_printf(
        "%02x%02x-%02x-%02x %02x:%02x:%02x %x", cmos(q, CENTURY), cmos(q, YEAR), cmos(q, MONTH),
        cmos(q, MDAY), cmos(q, HOUR), cmos(q, MIN_), cmos(q, SEC), cmos(q, WDAY));
    qtest_check_str(now, expected);
}

static void test_defaults(void)
{
    QTest *q = start_fixed("");
    qtest_check_eq(cmos(q, A), 0x26);
    qtest_check_eq(cmos(q, B), H24);
    qtest_check_eq(cmos(q, D), 0x80);
    qtest_check_eq(qtest_inb(q, 0x70), 0xff);
    check_time(q, "2024-02-28 23:59:50 4");
    qtest_end(q);
}

static void test_running(void)
{
    QTest *q = start_fixed("");
    qtest_clock_step(q, 9 * SECOND);
    check_time(q, "2024-02-28 23:59:59 4");
    qtest_clock_step(q, SECOND);
    check_time(q, "2024-02-29 00:00:00 5"); /* a leap year */
    qtest_clock_step(q, 86400 * SECOND);
    check_time(q, "2024-03-01 00:00:00 6");
    qtest_end(q);
}

static void test_century(void)
{
    QTest *q = qtest_start("-machine pc -m 64 -nodefaults -rtc base=1999-12-31T23:59:59,clock=vm");
    check_time(q, "1999-12-31 23:59:59 6");
    qtest_clock_step(q, SECOND);
    check_time(q, "2000-01-01 00:00:00 7");
    qtest_check_eq(cmos(q, PS2_CENTURY), 0x20);
    /* The guest sets the century, too. */
    set_cmos(q, CENTURY, 0x21);
    qtest_check_eq(cmos(q, PS2_CENTURY), 0x21);
    qtest_clock_step(q, SECOND);
    qtest_check_eq(cmos(q, CENTURY), 0x21);
    qtest_end(q);
}

static void test_formats(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, B, H24 | DM);
    qtest_check_eq(cmos(q, HOUR), 23);
    qtest_check_eq(cmos(q, MIN_), 59);
    qtest_check_eq(cmos(q, YEAR), 24);
    set_cmos(q, B, DM);
    qtest_check_eq(cmos(q, HOUR), 0x80 | 11);
    set_cmos(q, B, 0);
    qtest_check_eq(cmos(q, HOUR), 0x80 | 0x11);
    qtest_clock_step(q, 10 * SECOND);
    qtest_check_eq(cmos(q, HOUR), 0x12); /* midnight is 12 am */
    qtest_clock_step(q, 12 * 3600 * SECOND);
    qtest_check_eq(cmos(q, HOUR), 0x92); /* noon is 12 pm */
    qtest_end(q);
}

static void set_time(QTest *q, uint8_t h, uint8_t m, uint8_t s)
{
    set_cmos(q, B, cmos(q, B) | SET);
    set_cmos(q, HOUR, h);
    set_cmos(q, MIN_, m);
    set_cmos(q, SEC, s);
    set_cmos(q, B, cmos(q, B) & ~SET);
}

static void test_set(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, B, H24 | SET);
    qtest_clock_step(q, 5 * SECOND);
    check_time(q, "2024-02-28 23:59:50 4"); /* the clock is stopped */
    set_cmos(q, HOUR, 0x12);
    set_cmos(q, MIN_, 0x34);
    set_cmos(q, SEC, 0x56);
    set_cmos(q, MDAY, 0x01);
    set_cmos(q, MONTH, 0x12);
    set_cmos(q, YEAR, 0x30);
    qtest_clock_step(q, 5 * SECOND);
    set_cmos(q, B, H24);
    check_time(q, "2030-12-01 12:34:56 1");
    qtest_clock_step(q, 4 * SECOND);
    check_time(q, "2030-12-01 12:35:00 1");
    json_t *event = qtest_wait_event(q, "RTC_CHANGE");
    json_t *data = json_object_get(event, "data");
    struct tm from = {
        .tm_year = 124, .tm_mon = 1, .tm_mday = 29, .tm_hour = 0, .tm_min = 0, .tm_sec = 0};
    struct tm to = {
        .tm_year = 130, .tm_mon = 11, .tm_mday = 1, .tm_hour = 12, .tm_min = 34, .tm_sec = 56};
    qtest_check_eq(json_integer_value(json_object_get(data, "offset")),
                   timegm(&to) - timegm(&from));
    qtest_check(json_string_value(json_object_get(data, "qom-path")));
    json_decref(event);
    qtest_end(q);
}

/* Registers may be written while the clock runs, too. */
static void test_set_running(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, SEC, 0x10);
    check_time(q, "2024-02-28 23:59:10 4");
    qtest_clock_step(q, SECOND);
    check_time(q, "2024-02-28 23:59:11 4");
    qtest_end(q);
}

static void test_nonsense(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, B, SET | H24);
    for (uint8_t i = 0; i < 10; i++) {
        set_cmos(q, i, 0xff);
    }
    set_cmos(q, B, H24 | PIE | AIE | UIE);
    for (int i = 0; i < 10; i++) {
        qtest_clock_step(q, SECOND);
        cmos(q, C);
        cmos(q, YEAR);
    }
    set_cmos(q, B, H24 | DM);
    set_cmos(q, CENTURY, 0xff);
    set_cmos(q, YEAR, 0xff);
    set_cmos(q, MONTH, 0xff);
    cmos(q, YEAR);
    qtest_end(q);
}

static void test_uip(void)
{
    QTest *q = start_fixed("");
    qtest_check_eq(cmos(q, A) & 0x80, 0);
    qtest_clock_step(q, SECOND - MS);
    qtest_check_eq(cmos(q, A) & 0x80, 0);
    qtest_clock_step(q, MS - 244141);
    qtest_check_eq(cmos(q, A) & 0x80, 0);
    qtest_clock_step(q, 1); /* 8 cycles of the time base before the update: 244,140.6 ns */
    qtest_check_eq(cmos(q, A) & 0x80, 0x80);
    qtest_clock_step(q, 244139);
    qtest_check_eq(cmos(q, A) & 0x80, 0x80);
    qtest_check_eq(cmos(q, SEC), 0x50);
    qtest_clock_step(q, 1);
    qtest_check_eq(cmos(q, A) & 0x80, 0);
    qtest_check_eq(cmos(q, SEC), 0x51);
    set_cmos(q, A, 0xa6); /* UIP cannot be written */
    qtest_check_eq(cmos(q, A), 0x26);
    qtest_end(q);
}

static void test_update_interrupt(void)
{
    QTest *q = start_fixed("");
    cmos(q, C);
    set_cmos(q, B, H24 | UIE);
    qtest_check(!qtest_irq(q, RTC_IRQ));
    qtest_clock_step(q, SECOND);
    qtest_check(qtest_irq(q, RTC_IRQ));
    qtest_check_eq(cmos(q, C), IRQF | UF | PF); /* PF is set without PIE, too */
    qtest_check(!qtest_irq(q, RTC_IRQ));
    qtest_check_eq(cmos(q, C), 0);
    qtest_irq_count(q, RTC_IRQ);
    for (int i = 0; i < 5; i++) {
        qtest_clock_step(q, SECOND);
        qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
        cmos(q, C);
    }
    /* Without a read of C no further edges come. */
    qtest_clock_step(q, 5 * SECOND);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
    /* Flags are set without interrupts, too. */
    cmos(q, C);
    set_cmos(q, B, H24);
    qtest_clock_step(q, SECOND);
    qtest_check_eq(cmos(q, C) & (UF | IRQF), UF);
    /* A flag that is set already interrupts when its interrupt is enabled. */
    qtest_clock_step(q, SECOND);
    set_cmos(q, B, H24 | UIE);
    qtest_check(qtest_irq(q, RTC_IRQ));
    qtest_end(q);
}

/* Steps over other devices' deadlines to the next periodic interrupt, and answers it. */
static int64_t next_tick(QTest *q)
{
    int64_t now;
    do {
        now = qtest_clock_step_next(q);
    } while (!qtest_irq(q, RTC_IRQ));
    qtest_check_eq(cmos(q, C) & (PF | IRQF), PF | IRQF);
    return now;
}

static void test_periodic(void)
{
    static const struct {
        uint8_t rs;
        int64_t ns;
    } rates[] = {{3, 122070}, {6, 976562}, {15, 500000000}, {1, 3906250}, {2, 7812500}};
    QTest *q = start_fixed("");
    for (unsigned i = 0; i < G_N_ELEMENTS(rates); i++) {
        set_cmos(q, B, H24);
        set_cmos(q, A, 0x20 | rates[i].rs);
        cmos(q, C);
        set_cmos(q, B, H24 | PIE);
        int64_t before = next_tick(q); /* the first may be short */
        for (int k = 0; k < 4; k++) {
            int64_t now = next_tick(q);
            qtest_check_le(llabs(now - before - rates[i].ns), 2);
            before = now;
        }
    }
    set_cmos(q, A, 0x20); /* rate 0: none */
    cmos(q, C);
    qtest_clock_step(q, SECOND);
    qtest_check_eq(cmos(q, C) & PF, 0);
    qtest_end(q);
}

static void check_tick(QTest *q, int64_t *last, int64_t ns)
{
    int64_t now = next_tick(q);
    qtest_check_le(llabs(now - *last - ns), 2);
    *last = now;
}

/* A new rate counts from the last tick, not from where the second began. */
static void test_rate_change(void)
{
    QTest *q = start_fixed("");
    int64_t last;
    set_cmos(q, A, 0x2d); /* 8 Hz */
    set_cmos(q, B, H24 | PIE);
    last = next_tick(q);
    for (int i = 0; i < 5; i++) {
        set_cmos(q, A, 0x2f); /* 2 Hz */
        check_tick(q, &last, 500 * MS);
        set_cmos(q, A, 0x2d);
        check_tick(q, &last, 125 * MS);
    }
    /* The rate is changed within a period. */
    qtest_clock_step(q, 100 * MS);
    set_cmos(q, A, 0x2e); /* 4 Hz */
    check_tick(q, &last, 250 * MS);
    check_tick(q, &last, 250 * MS);
    qtest_check_eq(cmos(q, C) & PF, 0);
    /* The new period is past already: a tick at once, and the next after a whole period. */
    last = qtest_clock_step(q, 200 * MS);
    qtest_check(!qtest_irq(q, RTC_IRQ));
    set_cmos(q, A, 0x2d);
    qtest_check(qtest_irq(q, RTC_IRQ));
    qtest_check_eq(cmos(q, C) & (PF | IRQF), PF | IRQF);
    qtest_check_le(llabs(next_tick(q) - last - 125 * MS), 31 * 1000); /* a cycle of 32768 Hz */
    /* From rate 0: a whole period. */
    set_cmos(q, A, 0x20);
    last = qtest_clock_step(q, 33 * MS);
    set_cmos(q, A, 0x2d);
    qtest_check_eq(cmos(q, C) & PF, 0);
    qtest_check_le(llabs(next_tick(q) - last - 125 * MS), 31 * 1000);
    qtest_end(q);
}

/* With slew, periods count from the last tick, and ticks that are past are delivered later. */
static void test_rate_change_slew(void)
{
    QTest *q = start_fixed("-global mc146818rtc.lost_tick_policy=slew");
    int64_t last;
    set_cmos(q, A, 0x2f); /* 2 Hz */
    set_cmos(q, B, H24 | PIE);
    last = next_tick(q);
    qtest_clock_step(q, 400 * MS);
    set_cmos(q, A, 0x2d); /* 8 Hz: three have passed */
    for (int i = 0; i < 3; i++) {
        qtest_check(qtest_irq(q, RTC_IRQ));
        qtest_check_eq(cmos(q, C) & PF, PF);
    }
    qtest_check(!qtest_irq(q, RTC_IRQ));
    check_tick(q, &last, 500 * MS);
    check_tick(q, &last, 125 * MS);
    qtest_end(q);
}

/* A masked periodic interrupt arms no timer, so the clock has no deadline to step to. */
static void test_idle(void)
{
    QTest *q = start_fixed("");
    int64_t now = qtest_clock_step(q, SECOND);
    set_cmos(q, A, 0x23);
    for (int i = 0; i < 3; i++) {
        /* Other devices may have timers, but none at 8 kHz. */
        qtest_check_ge(qtest_clock_step_next(q) - now, 0);
    }
    set_cmos(q, B, H24 | PIE);
    now = qtest_clock_step_next(q);
    qtest_check(qtest_irq(q, RTC_IRQ));
    qtest_irq_count(q, RTC_IRQ);
    /* Nor does one that is pending. */
    qtest_check(qtest_clock_step_next(q) == now || qtest_clock_step_next(q) - now > MS);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 0);
    qtest_end(q);
}

static void test_alarm(void)
{
    QTest *q = start_fixed("");
    set_time(q, 0x10, 0x00, 0x00);
    set_cmos(q, SEC_ALARM, 0x05);
    set_cmos(q, MIN_ALARM, 0x01);
    set_cmos(q, HOUR_ALARM, 0x10);
    cmos(q, C);
    set_cmos(q, B, H24 | AIE);
    qtest_irq_count(q, RTC_IRQ);
    qtest_clock_step(q, 64 * SECOND);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 0);
    qtest_clock_step(q, SECOND);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
    qtest_check_eq(cmos(q, C) & (IRQF | AF), IRQF | AF);
    /* Every day. */
    qtest_clock_step(q, 86399 * SECOND);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 0);
    qtest_clock_step(q, SECOND);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
    qtest_end(q);
}

static void test_alarm_any(void)
{
    QTest *q = start_fixed("");
    set_time(q, 0x10, 0x00, 0x00);
    set_cmos(q, SEC_ALARM, 0x30);
    set_cmos(q, MIN_ALARM, 0xff);
    set_cmos(q, HOUR_ALARM, 0xc0);
    cmos(q, C);
    set_cmos(q, B, H24 | AIE);
    for (int i = 0; i < 3; i++) { /* once a minute */
        qtest_irq_count(q, RTC_IRQ);
        qtest_clock_step(q, 60 * SECOND);
        qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
        qtest_check_eq(cmos(q, C) & AF, AF);
    }
    set_cmos(q, SEC_ALARM, 0xff); /* once a second */
    for (int i = 0; i < 3; i++) {
        qtest_irq_count(q, RTC_IRQ);
        qtest_clock_step(q, SECOND);
        qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
        qtest_check_eq(cmos(q, C) & AF, AF);
    }
    qtest_end(q);
}

static void test_alarm_12h(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, B, SET);
    set_cmos(q, HOUR, 0x80 | 0x11);
    set_cmos(q, MIN_, 0x59);
    set_cmos(q, SEC, 0x59);
    set_cmos(q, B, 0);
    set_cmos(q, SEC_ALARM, 0x00);
    set_cmos(q, MIN_ALARM, 0x00);
    set_cmos(q, HOUR_ALARM, 0x12); /* midnight */
    cmos(q, C);
    set_cmos(q, B, AIE);
    qtest_irq_count(q, RTC_IRQ);
    qtest_clock_step(q, SECOND);
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1);
    qtest_end(q);
}

static void test_divider_reset(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, A, 0x76);
    qtest_clock_step(q, 5 * SECOND);
    check_time(q, "2024-02-28 23:59:50 4");
    set_cmos(q, A, 0x26);
    /* The first update comes half a second later. */
    qtest_clock_step(q, 499 * MS);
    qtest_check_eq(cmos(q, SEC), 0x50);
    qtest_clock_step(q, 2 * MS);
    qtest_check_eq(cmos(q, SEC), 0x51);
    qtest_end(q);
}

static void test_slew(void)
{
    QTest *q = start_fixed("-global mc146818rtc.lost_tick_policy=slew");
    set_cmos(q, A, 0x26); /* 1024 Hz */
    cmos(q, C);
    set_cmos(q, B, H24 | PIE);
    /* The guest misses ten ticks: it gets all ten, one after each read of C. */
    qtest_irq_count(q, RTC_IRQ);
    qtest_clock_step(q, 10 * SECOND / 1024 + 1000);
    unsigned ticks = qtest_irq_count(q, RTC_IRQ);
    for (int i = 0; i < 30; i++) {
        cmos(q, C);
        ticks += qtest_irq_count(q, RTC_IRQ);
    }
    qtest_check_eq(ticks, 10);
    qtest_end(q);
    q = start_fixed("");
    set_cmos(q, A, 0x26);
    cmos(q, C);
    set_cmos(q, B, H24 | PIE);
    qtest_irq_count(q, RTC_IRQ);
    qtest_clock_step(q, 10 * SECOND / 1024 + 1000);
    for (int i = 0; i < 30; i++) {
        cmos(q, C);
    }
    qtest_check_eq(qtest_irq_count(q, RTC_IRQ), 1); /* discard: one */
    qtest_end(q);
}

static void test_cmos_memory(void)
{
    QTest *q = start_fixed("");
    uint8_t old = cmos(q, 0x40);
    for (unsigned i = 0x40; i < 0x80; i++) {
        set_cmos(q, i, i ^ 0x5a);
    }
    for (unsigned i = 0x40; i < 0x80; i++) {
        qtest_check_eq(cmos(q, i), i ^ 0x5a);
        qtest_check_eq(cmos(q, 0x80 | i), i ^ 0x5a); /* bit 7 is the NMI mask */
    }
    set_cmos(q, 0x40, old);
    set_cmos(q, D, 0x12);
    qtest_check_eq(cmos(q, D), 0x80);
    qtest_end(q);
}

static void test_reset(void)
{
    QTest *q = start_fixed("");
    set_cmos(q, 0x7e, 0x99);
    set_cmos(q, A, 0x2a);
    set_cmos(q, B, H24 | DM | PIE | AIE | UIE);
    qtest_clock_step(q, 2 * SECOND);
    qtest_check(qtest_irq(q, RTC_IRQ));
    qtest_system_reset(q);
    qtest_check(!qtest_irq(q, RTC_IRQ));
    qtest_check_eq(cmos(q, A) & 0x7f, 0x2a);
    qtest_check_eq(cmos(q, B) & (PIE | AIE), 0);
    qtest_check_eq(cmos(q, B) & (H24 | DM), H24 | DM);
    qtest_check_eq(cmos(q, 0x7e), 0x99);
    qtest_check_eq(cmos(q, SEC), 52);
    qtest_end(q);
}

/* The host's clock, the default: within two seconds of the test's. */
static void check_host_time(const char *rtc, bool local)
{
    QTest *q = qtest_startf("-machine pc -m 64 -nodefaults %s", rtc);
    time_t before = time(NULL);
    set_cmos(q, B, H24 | DM);
    struct tm tm = {0};
    do {
        tm.tm_sec = cmos(q, SEC);
        tm.tm_min = cmos(q, MIN_);
        tm.tm_hour = cmos(q, HOUR);
        tm.tm_mday = cmos(q, MDAY);
        tm.tm_mon = cmos(q, MONTH) - 1;
        tm.tm_year = cmos(q, YEAR) + cmos(q, CENTURY) * 100 - 1900;
    } while (tm.tm_sec != cmos(q, SEC));
    tm.tm_isdst = -1;
    time_t guest = local ? mktime(&tm) : timegm(&tm);
    qtest_check_ge(guest, before - 1);
    qtest_check_le(guest, time(NULL) + 1);
    qtest_end(q);
}

static void test_base(void)
{
    check_host_time("", false);
    check_host_time("-rtc base=utc", false);
    check_host_time("-rtc base=utc,clock=rt", false);
    g_setenv("TZ", "EST5EDT", true);
    tzset();
    check_host_time("-rtc base=localtime", true);
}

static const QTestCase cases[] = {
    {"defaults", test_defaults},
    {"running", test_running},
    {"century", test_century},
    {"formats", test_formats},
    {"set", test_set},
    {"set-running", test_set_running},
    {"nonsense", test_nonsense},
    {"uip", test_uip},
    {"update-interrupt", test_update_interrupt},
    {"periodic", test_periodic},
    {"rate-change", test_rate_change},
    {"rate-change-slew", test_rate_change_slew},
    {"idle", test_idle},
    {"alarm", test_alarm},
    {"alarm-any", test_alarm_any},
    {"alarm-12h", test_alarm_12h},
    {"divider-reset", test_divider_reset},
    {"slew", test_slew},
    {"cmos-memory", test_cmos_memory},
    {"reset", test_reset},
    {"base", test_base},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
