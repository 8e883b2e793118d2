/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "events.h"

#include <stddef.h>

#define MEMBER(n, t)                                                                               \
    {                                                                                              \
        .name = (n), .type = (t), .flags = PROP_FLAG_REQUIRED                                      \
    }
#define MAYBE(n, t)                                                                                \
    {                                                                                              \
        .name = (n), .type = (t)                                                                   \
    }

static const Property cause_data[] = {MEMBER("guest", PROP_BOOL), MEMBER("reason", PROP_STRING),
                                      PROP_END};
static const Property panic_data[] = {MEMBER("action", PROP_STRING), MAYBE("info", PROP_TREE),
                                      PROP_END};
static const Property action_data[] = {MEMBER("action", PROP_STRING), PROP_END};
static const Property device_data[] = {MAYBE("device", PROP_STRING), MEMBER("path", PROP_STRING),
                                       PROP_END};
static const Property balloon_data[] = {MEMBER("actual", PROP_UINT64), PROP_END};
static const Property rtc_data[] = {MEMBER("offset", PROP_INT64), MEMBER("qom-path", PROP_STRING),
                                    PROP_END};
static const Property port_data[] = {MEMBER("id", PROP_STRING), MEMBER("open", PROP_BOOL),
                                     PROP_END};
static const Property io_error_data[] = {
    MEMBER("device", PROP_STRING),
    MAYBE("node-name", PROP_STRING),
    MEMBER("operation", PROP_STRING),
    MEMBER("action", PROP_STRING),
    MEMBER("nospace", PROP_BOOL),
    MEMBER("reason", PROP_STRING),
    PROP_END,
};

static const MonitorEvent table[] = {
    {"BALLOON_CHANGE", balloon_data},
    {"BLOCK_IO_ERROR", io_error_data},
    {"DEVICE_DELETED", device_data},
    {"GUEST_CRASHLOADED", action_data},
    {"GUEST_PANICKED", panic_data},
    {"POWERDOWN", NULL},
    {"RESET", cause_data},
    {"RESUME", NULL},
    {"RTC_CHANGE", rtc_data},
    {"SHUTDOWN", cause_data},
    {"STOP", NULL},
    {"SUSPEND", NULL},
    {"SUSPEND_DISK", NULL},
    {"VSERPORT_CHANGE", port_data},
    {"WAKEUP", NULL},
    {0},
};

const MonitorEvent *monitor_events(void)
{
    return table;
}
