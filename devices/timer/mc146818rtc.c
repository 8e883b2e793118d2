/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The real-time clock with the PC's CMOS memory. (Motorola MC146818A, "Real-Time Clock Plus RAM",
 * 1984; register names as there. Century bytes: IBM PC/AT and PS/2.)
 *
 * The time of day is a host clock plus an offset. Updates, alarms and periodic ticks are not run
 * one by one: a read of register C, or the timer, works out which of them happened since the last
 * check. The timer is armed only for interrupts that are enabled and not pending, so a guest that
 * uses none causes no wake-ups.
 */
#include <time.h>
#include "base/error.h"
#include "base/log.h"
#include "devices/isa.h"

/* Registers (MC146818A, figure 10 and table 4). */
enum {
    RTC_SECONDS = 0x00,
    RTC_SECONDS_ALARM = 0x01,
    RTC_MINUTES = 0x02,
    RTC_MINUTES_ALARM = 0x03,
    RTC_HOURS = 0x04,
    RTC_HOURS_ALARM = 0x05,
    RTC_DAY_OF_WEEK = 0x06,
    RTC_DAY_OF_MONTH = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_REG_A = 0x0a,
    RTC_REG_B = 0x0b,
    RTC_REG_C = 0x0c,
    RTC_REG_D = 0x0d,
    RTC_CENTURY = 0x32,     /* PC/AT */
    RTC_PS2_CENTURY = 0x37, /* PS/2: the same byte */
};
enum {
    REG_A_UIP = 0x80,
    REG_A_DV = 0x70, /* divider: values 0 to 2 count, 6 and 7 hold it in reset */
    REG_A_DV_32KHZ = 0x20,
    REG_A_DV_RESET = 0x60,
    REG_A_RS = 0x0f,
    REG_B_SET = 0x80,
    REG_B_PIE = 0x40,
    REG_B_AIE = 0x20,
    REG_B_UIE = 0x10,
    REG_B_SQWE = 0x08,
    REG_B_DM = 0x04, /* binary, not BCD */
    REG_B_24H = 0x02,
    REG_C_IRQF = 0x80,
    REG_C_PF = 0x40,
    REG_C_AF = 0x20,
    REG_C_UF = 0x10,
    REG_C_FLAGS = REG_C_PF | REG_C_AF | REG_C_UF,
    REG_D_VRT = 0x80, /* the battery is good */
    HOURS_PM = 0x80,
    ALARM_ANY = 0xc0, /* alarm bytes 0xc0 to 0xff match every value */
};
#define RTC_CYCLES      32768  /* cycles of the time base in a second */
#define UIP_HOLD_NS     244140 /* UIP rises 8 cycles before an update */
#define SECONDS_PER_DAY 86400
/* lost_tick_policy=slew: the number of lost ticks that are delivered without a pause between. */
#define SLEW_BURST 20
/* The limit of lost_ticks: a minute at 8192 Hz. A guest further behind has to set its clock. */
#define SLEW_MAX (60 * 8192)

typedef enum { RTC_CLOCK_HOST, RTC_CLOCK_RT, RTC_CLOCK_VM } RtcClock;
typedef enum { RTC_BASE_UTC, RTC_BASE_LOCALTIME, RTC_BASE_DATE } RtcBase;
typedef enum { LOST_TICK_DISCARD, LOST_TICK_SLEW } LostTickPolicy;

/*
 * The "line" is the RTC's own time in ns: the host clock plus 'phase'. Seconds of the guest's
 * calendar begin with seconds of the line.
 *   calendar        the guest's calendar in seconds since 1970, minus the line's seconds
 *   start_calendar  calendar as -rtc set it
 *   checked         the line's time up to which register C's flags are worked out
 *   saved_line      the line's time at saving: a host's monotonic clock means nothing elsewhere
 *   lost_ticks      periodic ticks that the guest missed and is still to get
 *   burst           lost ticks delivered in a row
 *   tick_origin     a cycle of the line's time base at which a periodic tick came; all others are
 *                   whole periods away
 */
#define RTC_STATE(X)                                                                               \
    X(A, uint8_t, cmos, 128)                                                                       \
    X(F, uint8_t, index)                                                                           \
    X(F, int64_t, phase)                                                                           \
    X(F, int64_t, calendar)                                                                        \
    X(F, int64_t, start_calendar)                                                                  \
    X(F, int64_t, checked)                                                                         \
    X(F, int64_t, saved_line)                                                                      \
    X(F, uint32_t, lost_ticks)                                                                     \
    X(F, uint32_t, burst)                                                                          \
    X(FS, int64_t, tick_origin, 2, 0)
STATE_STRUCT(RtcState, RTC_STATE);
STATE_DESC(rtc, RtcState, RTC_STATE, 2);

typedef struct {
    Device dev;
    RtcState s;
    IoRegion io;
    IrqLine irq;
    DeviceTimer *timer;
    bool muted; /* the VM is stopped: only a clock that stops with it may interrupt */
    /* Properties. */
    int32_t base_year;
    uint16_t iobase;
    uint8_t isairq;
    int lost_tick_policy, clock, base;
    int64_t date;
} Rtc;

static const char *const lost_tick_names[] = {"discard", "slew", NULL};
static const char *const clock_names[] = {"host", "rt", "vm", NULL};
static const char *const base_names[] = {"utc", "localtime", "date", NULL};

static const Property rtc_props[] = {
    PROP("base_year", PROP_INT32, Rtc, base_year, "1980", "year that register 9 counts from"),
    PROP("iobase", PROP_UINT16, Rtc, iobase, "0x70", "first port"),
    {.name = "irq",
     .type = PROP_UINT8,
     .offset = offsetof(Rtc, isairq),
     .defval = "8",
     .max = 15,
     .help = "interrupt"},
    PROP_E("lost_tick_policy", Rtc, lost_tick_policy, "discard", lost_tick_names,
           "periodic ticks that the guest missed: discard, or slew (make up for them)"),
    /* What -rtc says, given by the board. */
    {.name = "x-clock",
     .type = PROP_ENUM,
     .offset = offsetof(Rtc, clock),
     .defval = "host",
     .names = clock_names,
     .flags = PROP_FLAG_HIDDEN},
    {.name = "x-base",
     .type = PROP_ENUM,
     .offset = offsetof(Rtc, base),
     .defval = "utc",
     .names = base_names,
     .flags = PROP_FLAG_HIDDEN},
    {.name = "x-date",
     .type = PROP_INT64,
     .offset = offsetof(Rtc, date),
     .defval = "0",
     .flags = PROP_FLAG_HIDDEN},
    PROP_END,
};

static ClockType clock_type(const Rtc *rtc)
{
    static const ClockType types[] = {CLOCK_HOST_NS, CLOCK_REALTIME_NS, CLOCK_VIRTUAL_NS};
    return types[rtc->clock];
}

/* Clamps a time from loaded state, which may be any number, so that sums do not overflow. */
static int64_t rtc_sane(int64_t t)
{
    return CLAMP(t, INT64_MIN / 4, INT64_MAX / 4);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t line_ns(const Rtc *rtc)
{
    return clock_ns(clock_type(rtc)) + rtc_sane(rtc->s.phase);
}

/* The calendar's second in which the line's second 'sec' lies. */
static int64_t calendar_of(const RtcState *s, int64_t sec)
{
    return sec + rtc_sane(s->calendar);
}

/* Register B's SET stops updates of the time registers; a divider in reset stops the time. */
static bool rtc_running(const RtcState *s)
{
    return !(s->cmos[RTC_REG_B] & REG_B_SET) && (s->cmos[RTC_REG_A] & REG_A_DV) <= REG_A_DV_32KHZ;
}

/* Register formats: DM chooses binary or BCD, 24/12 the hours. */

static uint8_t to_reg(const RtcState *s, unsigned v)
{
    return (s->cmos[RTC_REG_B] & REG_B_DM) ? v : (v / 10 % 10) << 4 | v % 10;
}

/* -1: v is not valid BCD. */
static int from_reg(const RtcState *s, uint8_t v)
{
    if (s->cmos[RTC_REG_B] & REG_B_DM) {
        return v;
    }
    return (v >> 4) > 9 || (v & 15) > 9 ? -1 : (v >> 4) * 10 + (v & 15);
}

static uint8_t hours_to_reg(const RtcState *s, unsigned h)
{
    if (s->cmos[RTC_REG_B] & REG_B_24H) {
        return to_reg(s, h);
    }
    return to_reg(s, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}

static int hours_from_reg(const RtcState *s, uint8_t v)
{
    if (s->cmos[RTC_REG_B] & REG_B_24H) {
        return from_reg(s, v);
    }
    int h = from_reg(s, v & 0x7f);
    return h < 0 ? h : h % 12 + ((v & 0x80) ? 12 : 0);
}

/* The date of a day number (days since 1970-01-01), proleptic Gregorian. */
static void date_of_day(int64_t days, int *year, int *month, int *mday)
{
    time_t t = days * SECONDS_PER_DAY;
    struct tm tm;
    if (!gmtime_r(&t, &tm)) {
        memset(&tm, 0, sizeof tm);
        tm.tm_mday = 1;
    }
    *year = tm.tm_year + 1900;
    *month = tm.tm_mon + 1;
    *mday = tm.tm_mday;
}

/* With base_year 2000, the PC's, the century byte counts from year 0. */
static int year_base(const Rtc *rtc)
{
    return rtc->base_year == 2000 ? 0 : rtc->base_year;
}

static void time_to_registers(Rtc *rtc, int64_t seconds)
{
    RtcState *s = &rtc->s;
    int64_t days = floor_div(seconds, SECONDS_PER_DAY);
    unsigned sod = seconds - days * SECONDS_PER_DAY;
    int year, month, mday;
    date_of_day(days, &year, &month, &mday);
    s->cmos[RTC_SECONDS] = to_reg(s, sod % 60);
    s->cmos[RTC_MINUTES] = to_reg(s, sod / 60 % 60);
    s->cmos[RTC_HOURS] = hours_to_reg(s, sod / 3600);
    s->cmos[RTC_DAY_OF_WEEK] = to_reg(s, (days % 7 + 7 + 4) % 7 + 1); /* 1970-01-01: a Thursday */
    s->cmos[RTC_DAY_OF_MONTH] = to_reg(s, mday);
    s->cmos[RTC_MONTH] = to_reg(s, month);
    unsigned y = MAX(year - year_base(rtc), 0);
    s->cmos[RTC_YEAR] = to_reg(s, y % 100);
    s->cmos[RTC_CENTURY] = to_reg(s, y / 100 % 100);
}

/* Invalid registers give an arbitrary time: the data sheet leaves that case undefined. */
static int64_t time_from_registers(const Rtc *rtc)
{
    const RtcState *s = &rtc->s;
    GDate date;
    int year = MAX(from_reg(s, s->cmos[RTC_YEAR]), 0) + year_base(rtc) +
               MAX(from_reg(s, s->cmos[RTC_CENTURY]), 0) * 100;
    int month = CLAMP(from_reg(s, s->cmos[RTC_MONTH]), 1, 12);
    int mday = CLAMP(from_reg(s, s->cmos[RTC_DAY_OF_MONTH]), 1, 31);
    g_date_clear(&date, 1);
    g_date_set_dmy(&date, 1, month, CLAMP(year, 1, G_MAXUINT16));
    /* GDate counts from 0001-01-01, which is 1. */
    int64_t days = (int64_t)g_date_get_julian(&date) - 719163 + (mday - 1);
    return days * SECONDS_PER_DAY + MAX(hours_from_reg(s, s->cmos[RTC_HOURS]), 0) * 3600 +
           MAX(from_reg(s, s->cmos[RTC_MINUTES]), 0) * 60 +
           MAX(from_reg(s, s->cmos[RTC_SECONDS]), 0);
}

/* Events. */

/* The periodic interrupt's period by RS of register A, in cycles of the time base; 0: off.
 * (MC146818A table 5) */
static unsigned periodic_cycles(const RtcState *s)
{
    unsigned rs = s->cmos[RTC_REG_A] & REG_A_RS;
    if (!rs || (s->cmos[RTC_REG_A] & REG_A_DV) > REG_A_DV_32KHZ) {
        return 0;
    }
    return 1u << ((rs <= 2 ? rs + 7 : rs) - 1); /* 1 and 2 repeat 8 and 9 at 32768 Hz */
}

/* The cycle of the time base that contains time t of the line. */
static int64_t cycle_at(int64_t t)
{
    int64_t sec = floor_div(t, NS_PER_SEC);
    return sec * RTC_CYCLES + (t - sec * NS_PER_SEC) * RTC_CYCLES / NS_PER_SEC;
}

/* The line's time at which a cycle begins, rounded up. */
static int64_t time_of_cycle(int64_t cycle)
{
    int64_t sec = floor_div(cycle, RTC_CYCLES);
    return sec * NS_PER_SEC + DIV_ROUND_UP((cycle - sec * RTC_CYCLES) * NS_PER_SEC, RTC_CYCLES);
}

/* tick_origin within bounds: loaded state may hold any number. */
static int64_t rtc_tick_origin(const RtcState *s)
{
    return CLAMP(s->tick_origin, INT64_MIN >> 16, INT64_MAX >> 16);
}

/* The number of the last tick up to time t. The tick at tick_origin has number 0. */
static int64_t ticks_at(const RtcState *s, int64_t t, unsigned cycles)
{
    return floor_div(cycle_at(t) - rtc_tick_origin(s), cycles);
}

static int64_t time_of_tick(const RtcState *s, int64_t n, unsigned cycles)
{
    return time_of_cycle(rtc_tick_origin(s) + n * cycles);
}

static bool alarm_field_matches(int field, bool any, unsigned v)
{
    return any || field == (int)v;
}

/* The first second of the line after second 'after' in which the alarm matches; INT64_MAX: none. */
static int64_t next_alarm(const RtcState *s, int64_t after)
{
    uint8_t rs = s->cmos[RTC_SECONDS_ALARM], rm = s->cmos[RTC_MINUTES_ALARM],
            rh = s->cmos[RTC_HOURS_ALARM];
    bool any_s = rs >= ALARM_ANY, any_m = rm >= ALARM_ANY, any_h = rh >= ALARM_ANY;
    int sec = from_reg(s, rs), min = from_reg(s, rm), hour = hours_from_reg(s, rh);
    int64_t first = calendar_of(s, after + 1);
    unsigned start = first - floor_div(first, SECONDS_PER_DAY) * SECONDS_PER_DAY;
    unsigned t = start, end = t + SECONDS_PER_DAY;
    while (t < end) {
        if (!alarm_field_matches(hour, any_h, t / 3600 % 24)) {
            t = (t / 3600 + 1) * 3600;
        } else if (!alarm_field_matches(min, any_m, t / 60 % 60)) {
            t = (t / 60 + 1) * 60;
        } else if (!alarm_field_matches(sec, any_s, t % 60)) {
            t++;
        } else {
            return after + 1 + (t - start);
        }
    }
    return INT64_MAX;
}

static void rtc_update_irq(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    /* Register B's enable bits have the positions of register C's flags. */
    bool on = s->cmos[RTC_REG_B] & s->cmos[RTC_REG_C] & REG_C_FLAGS;
    s->cmos[RTC_REG_C] = (s->cmos[RTC_REG_C] & ~REG_C_IRQF) | (on ? REG_C_IRQF : 0);
    irq_set(rtc->dev.vm, &rtc->irq, on);
}

static bool rtc_slewing(const Rtc *rtc)
{
    return rtc->lost_tick_policy == LOST_TICK_SLEW && (rtc->s.cmos[RTC_REG_B] & REG_B_PIE);
}

static void rtc_tick(Rtc *rtc, int64_t ticks)
{
    RtcState *s = &rtc->s;
    if (rtc_slewing(rtc)) {
        int64_t lost = ticks - !(s->cmos[RTC_REG_C] & REG_C_PF);
        s->lost_ticks = MIN(s->lost_ticks + lost, SLEW_MAX);
        s->burst = 0;
    }
    s->cmos[RTC_REG_C] |= REG_C_PF;
}

/* Sets register C's flags for all that happened since the last call. */
static void check_events(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    int64_t now = line_ns(rtc), from = rtc_sane(s->checked);
    s->checked = now;
    if (now <= from) {
        return; /* the host's clock was set back */
    }
    unsigned cycles = periodic_cycles(s);
    int64_t ticks = cycles ? ticks_at(s, now, cycles) - ticks_at(s, from, cycles) : 0;
    if (ticks > 0) {
        rtc_tick(rtc, ticks);
    }
    int64_t sec = floor_div(from, NS_PER_SEC), sec_now = floor_div(now, NS_PER_SEC);
    if (rtc_running(s) && sec_now > sec) {
        s->cmos[RTC_REG_C] |= REG_C_UF;
        if (!(s->cmos[RTC_REG_C] & REG_C_AF)) {
            if (next_alarm(s, sec) <= sec_now) {
                s->cmos[RTC_REG_C] |= REG_C_AF;
            }
        }
    }
}

/* Arms the timer for the next event that is enabled and not pending. */
static void rtc_schedule(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    uint8_t wanted = s->cmos[RTC_REG_B] & ~s->cmos[RTC_REG_C] & REG_C_FLAGS;
    int64_t next = INT64_MAX, checked = rtc_sane(s->checked), sec = floor_div(checked, NS_PER_SEC);
    unsigned cycles = periodic_cycles(s);
    if (rtc->muted && rtc->clock != RTC_CLOCK_VM) {
        wanted = 0; /* a host clock goes on while the VM is stopped: rtc_run_state() catches up */
    }
    if ((wanted & REG_C_PF) && cycles) {
        next = MIN(next, time_of_tick(s, ticks_at(s, checked, cycles) + 1, cycles));
    }
    if ((wanted & REG_C_UF) && rtc_running(s)) {
        next = MIN(next, (sec + 1) * NS_PER_SEC);
    }
    if ((wanted & REG_C_AF) && rtc_running(s)) {
        int64_t alarm = next_alarm(s, sec);
        next = alarm == INT64_MAX ? next : MIN(next, alarm * NS_PER_SEC);
    }
    if (next == INT64_MAX) {
        device_timer_cancel(rtc->timer);
    } else {
        device_timer_arm(rtc->timer, MAX(next - rtc_sane(s->phase), 0));
    }
}

static void rtc_refresh(Rtc *rtc)
{
    rtc_update_irq(rtc);
    rtc_schedule(rtc);
}

static void rtc_timer(Device *dev)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    bool alarm = rtc->s.cmos[RTC_REG_C] & REG_C_AF;
    check_events(rtc);
    rtc_refresh(rtc);
    if (!alarm && (rtc->s.cmos[RTC_REG_C] & rtc->s.cmos[RTC_REG_B] & REG_C_AF)) {
        vm_request_wakeup(dev->vm, "rtc"); /* from S3; no effect on a running guest */
    }
}

/* Registers. */

/* Stores the current time in the time registers, unless stopped: then the guest sets them. */
static void latch_time(Rtc *rtc)
{
    if (rtc_running(&rtc->s)) {
        time_to_registers(rtc, calendar_of(&rtc->s, floor_div(line_ns(rtc), NS_PER_SEC)));
    }
}

/* Takes the time from the registers. The phase within a second stays, as the divider chain does. */
static void set_time(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    int64_t calendar = time_from_registers(rtc) - floor_div(line_ns(rtc), NS_PER_SEC);
    if (calendar == s->calendar) {
        return;
    }
    s->calendar = calendar;
    /* RTC_CHANGE reports the seconds that the guest's clock is ahead of what -rtc base= set. */
    int64_t ahead = calendar - rtc_sane(s->start_calendar);
    vm_event(rtc->dev.vm, VM_EVENT_RTC_CHANGE,
             json_pack("{s:I, s:s}", "offset", (json_int_t)ahead, "qom-path", rtc->dev.path));
}

/*
 * After a change of the rate, the next tick is due one new period after the last tick. If that time
 * is past, a tick comes now and periods count from now. With lost_tick_policy=slew they count from
 * the last tick that was due, so that no time is lost.
 */
static void rtc_rate_changed(Rtc *rtc, unsigned old_cycles)
{
    RtcState *s = &rtc->s;
    unsigned cycles = periodic_cycles(s);
    int64_t now = rtc_sane(s->checked), ticks;
    if (!cycles || cycles == old_cycles) {
        return;
    }
    s->tick_origin =
        old_cycles ? rtc_tick_origin(s) + ticks_at(s, now, old_cycles) * old_cycles : cycle_at(now);
    ticks = ticks_at(s, now, cycles);
    if (ticks > 0) {
        rtc_tick(rtc, ticks);
        s->tick_origin = rtc_slewing(rtc) ? s->tick_origin + ticks * cycles : cycle_at(now);
    }
}

static void rtc_write_a(Rtc *rtc, uint8_t v)
{
    RtcState *s = &rtc->s;
    uint8_t old = s->cmos[RTC_REG_A];
    unsigned old_cycles = periodic_cycles(s);
    bool was_held = (old & REG_A_DV_RESET) == REG_A_DV_RESET;
    bool held = (v & REG_A_DV_RESET) == REG_A_DV_RESET;
    check_events(rtc);
    latch_time(rtc);
    s->cmos[RTC_REG_A] = v & ~REG_A_UIP;
    if ((old ^ v) & REG_A_RS) {
        s->lost_ticks = 0;
    }
    if (was_held && !held) {
        /* MC146818A, "Divider Control": the first update comes half a second later. */
        int64_t now = line_ns(rtc), sec = floor_div(now, NS_PER_SEC);
        s->phase = rtc_sane(s->phase) + NS_PER_SEC / 2 - (now - sec * NS_PER_SEC);
        s->checked = line_ns(rtc);
        if (rtc_running(s)) {
            set_time(rtc);
        }
    }
    rtc_rate_changed(rtc, old_cycles);
    rtc_refresh(rtc);
}

static void rtc_write_b(Rtc *rtc, uint8_t v)
{
    RtcState *s = &rtc->s;
    check_events(rtc);
    if (v & REG_B_SET) {
        latch_time(rtc);
        v &= ~REG_B_UIE; /* MC146818A, register B: SET clears UIE */
    }
    bool was_running = rtc_running(s);
    uint8_t format = (s->cmos[RTC_REG_B] ^ v) & (REG_B_DM | REG_B_24H);
    bool pie_off = s->cmos[RTC_REG_B] & ~v & REG_B_PIE;
    s->cmos[RTC_REG_B] = v;
    if (!was_running && rtc_running(s)) {
        set_time(rtc);
    } else if (format) {
        latch_time(rtc);
    }
    if (pie_off) {
        s->lost_ticks = 0;
    }
    rtc_refresh(rtc);
}

static uint8_t rtc_read_c(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    check_events(rtc);
    rtc_update_irq(rtc);
    uint8_t v = s->cmos[RTC_REG_C];
    s->cmos[RTC_REG_C] = 0;
    rtc_update_irq(rtc);
    if ((v & REG_C_PF) && rtc_slewing(rtc) && s->lost_ticks && s->burst < SLEW_BURST) {
        /* Reading C took one tick; a lost tick follows at once. */
        s->lost_ticks--;
        s->burst++;
        s->cmos[RTC_REG_C] = REG_C_PF;
        rtc_update_irq(rtc);
    }
    rtc_schedule(rtc);
    return v;
}

static unsigned cmos_index(const RtcState *s)
{
    unsigned index = s->index & 0x7f;
    return index == RTC_PS2_CENTURY ? RTC_CENTURY : index;
}

static void rtc_write_data(Rtc *rtc, uint8_t v)
{
    RtcState *s = &rtc->s;
    unsigned index = cmos_index(s);
    switch (index) {
    case RTC_SECONDS_ALARM:
    case RTC_MINUTES_ALARM:
    case RTC_HOURS_ALARM:
        check_events(rtc);
        s->cmos[index] = v;
        rtc_refresh(rtc);
        break;
    case RTC_SECONDS:
    case RTC_MINUTES:
    case RTC_HOURS:
    case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH:
    case RTC_MONTH:
    case RTC_YEAR:
    case RTC_CENTURY:
        check_events(rtc);
        latch_time(rtc);
        s->cmos[index] = v;
        if (rtc_running(s)) {
            set_time(rtc);
            rtc_refresh(rtc);
        }
        break;
    case RTC_REG_A:
        rtc_write_a(rtc, v);
        break;
    case RTC_REG_B:
        rtc_write_b(rtc, v);
        break;
    case RTC_REG_C:
    case RTC_REG_D:
        break; /* read-only */
    default:
        s->cmos[index] = v;
        break;
    }
}

static uint8_t rtc_read_a(const Rtc *rtc)
{
    int64_t now = line_ns(rtc);
    int64_t left = (floor_div(now, NS_PER_SEC) + 1) * NS_PER_SEC - now;
    bool uip = rtc_running(&rtc->s) && left <= UIP_HOLD_NS;
    return rtc->s.cmos[RTC_REG_A] | (uip ? REG_A_UIP : 0);
}

static uint8_t rtc_read_data(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    unsigned index = cmos_index(s);
    switch (index) {
    case RTC_SECONDS:
    case RTC_MINUTES:
    case RTC_HOURS:
    case RTC_DAY_OF_WEEK:
    case RTC_DAY_OF_MONTH:
    case RTC_MONTH:
    case RTC_YEAR:
    case RTC_CENTURY:
        latch_time(rtc);
        return s->cmos[index];
    case RTC_REG_A:
        return rtc_read_a(rtc);
    case RTC_REG_C:
        return rtc_read_c(rtc);
    default:
        return s->cmos[index];
    }
}

static uint64_t rtc_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Rtc *rtc = container_of(region, Rtc, io);
    return (offset & 1) ? rtc_read_data(rtc) : 0xff; /* the index cannot be read back */
}

static IoResult rtc_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Rtc *rtc = container_of(region, Rtc, io);
    if (offset & 1) {
        rtc_write_data(rtc, value);
    } else {
        rtc->s.index = value & 0x7f; /* bit 7, the NMI mask, has no effect */
    }
    return IO_OK;
}

static const IoRegionOps rtc_ops = {
    .read = rtc_read,
    .write = rtc_write,
    .impl_min = 1,
    .impl_max = 1,
};

/* For the board. */

void rtc_set_cmos(Device *dev, unsigned index, uint8_t value)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    g_assert(index < sizeof rtc->s.cmos);
    device_lock(dev);
    rtc->s.cmos[index] = value;
    device_unlock(dev);
}

static void rtc_forget_ticks(Device *dev, void *data)
{
    if (g_str_equal(dev->class->name, "mc146818rtc")) {
        Rtc *rtc = container_of(dev, Rtc, dev);

        device_lock(dev);
        check_events(rtc); /* what was missed up to now is forgotten, too */
        rtc->s.lost_ticks = rtc->s.burst = 0;
        rtc_refresh(rtc);
        device_unlock(dev);
    }
}

void rtc_forget_lost_ticks(Vm *vm)
{
    device_foreach(vm, rtc_forget_ticks, NULL);
}

/* Life. */

/* Starts line and calendar as -rtc says. */
static void set_start_time(Rtc *rtc)
{
    RtcState *s = &rtc->s;
    int64_t host = clock_ns(CLOCK_HOST_NS), now = clock_ns(clock_type(rtc));
    time_t sec = host / NS_PER_SEC;
    struct tm tm;
    s->phase = (host - now) % NS_PER_SEC;
    switch ((RtcBase)rtc->base) {
    case RTC_BASE_DATE:
        sec = rtc->date;
        s->phase = -now % NS_PER_SEC; /* a second begins now */
        break;
    case RTC_BASE_LOCALTIME:
        sec += localtime_r(&sec, &tm) ? tm.tm_gmtoff : 0;
        break;
    default:
        break;
    }
    s->calendar = s->start_calendar = sec - floor_div(line_ns(rtc), NS_PER_SEC);
    s->checked = line_ns(rtc);
}

static bool rtc_realize(Device *dev, GError **err)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    RtcState *s = &rtc->s;
    if (rtc->iobase == UINT16_MAX) {
        return error_set(err, "mc146818rtc: iobase 0x%x leaves no room for two ports", rtc->iobase);
    }
    set_start_time(rtc);
    rtc->muted = !vm_running(dev->vm);
    /* Set once: the battery keeps these registers over resets. */
    s->cmos[RTC_REG_A] = REG_A_DV_32KHZ | 6; /* 1024 Hz */
    s->cmos[RTC_REG_B] = REG_B_24H;
    s->cmos[RTC_REG_D] = REG_D_VRT;
    latch_time(rtc);
    rtc->timer = device_timer_new(dev, clock_type(rtc), rtc_timer);
    isa_connect_irq(dev, &rtc->irq, rtc->isairq);
    io_region_init(&rtc->io, dev, &rtc_ops, "rtc", 2);
    isa_map_ports(dev, &rtc->io, rtc->iobase);
    return true;
}

static void rtc_unrealize(Device *dev)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    io_region_unmap(dev->vm, &rtc->io);
    irq_connect(dev, &rtc->irq, NULL);
    device_timer_free(rtc->timer);
    rtc->timer = NULL;
}

/* MC146818A, "RESET": the calendar, RAM and register A stay. */
static void rtc_reset(Device *dev, ResetKind kind)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    RtcState *s = &rtc->s;
    check_events(rtc);
    s->cmos[RTC_REG_B] &= ~(REG_B_PIE | REG_B_AIE | REG_B_UIE | REG_B_SQWE);
    s->cmos[RTC_REG_C] = 0;
    s->lost_ticks = s->burst = 0;
    rtc_refresh(rtc);
}

static void rtc_pre_save(Device *dev)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    rtc->s.saved_line = line_ns(rtc);
}

static void rtc_post_load(Device *dev)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    if (rtc->clock == RTC_CLOCK_RT) {
        /* The saving host's monotonic clock had another origin. */
        rtc->s.phase = rtc_sane(rtc->s.phase) + rtc_sane(rtc->s.saved_line) - line_ns(rtc);
    }
    rtc_refresh(rtc);
}

static void rtc_run_state(Device *dev, bool runs)
{
    Rtc *rtc = container_of(dev, Rtc, dev);
    rtc->muted = !runs;
    if (runs) {
        /* Ticks that came while the VM was stopped are not lost ticks. */
        uint32_t lost = rtc->s.lost_ticks;
        check_events(rtc);
        rtc->s.lost_ticks = lost;
    }
    rtc_refresh(rtc);
}

static const StateSection rtc_state[] = {
    {rtc_state_desc, offsetof(Rtc, s)},
    {0},
};

const DeviceClass mc146818rtc_class = {
    .name = "mc146818rtc",
    .bus = "ISA",
    .desc = "real-time clock and CMOS memory",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(Rtc),
    .props = rtc_props,
    .state = rtc_state,
    .realize = rtc_realize,
    .unrealize = rtc_unrealize,
    .reset = rtc_reset,
    .pre_save = rtc_pre_save,
    .post_load = rtc_post_load,
    .run_state = rtc_run_state,
    .internal = true,
    .object_parent = "isa-device",
};
