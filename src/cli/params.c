/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/params.h"
#include "vm/vm.h"

const Property smp_params[] = {
    PROP("cpus", PROP_UINT32, SmpOptions, cpus, NULL, "CPUs that are there at start"),
    PROP("maxcpus", PROP_UINT32, SmpOptions, maxcpus, NULL, "most CPUs there may be"),
    PROP("sockets", PROP_UINT32, SmpOptions, sockets, NULL, "sockets on the board"),
    PROP("dies", PROP_UINT32, SmpOptions, dies, NULL, "dies in a socket"),
    PROP("clusters", PROP_UINT32, SmpOptions, clusters, NULL, "clusters in a die; 1 only"),
    PROP("cores", PROP_UINT32, SmpOptions, cores, NULL, "cores in a die"),
    PROP("threads", PROP_UINT32, SmpOptions, threads, NULL, "threads in a core"),
    PROP_END,
};

const Property memory_params[] = {
    PROP("size", PROP_SIZE_MIB, MemoryOptions, size, NULL, "initial memory; a bare number is MiB"),
    PROP("slots", PROP_UINT32, MemoryOptions, slots, NULL,
         "slots for more memory; 0 only: there is no memory hot-plug yet"),
    PROP("maxmem", PROP_SIZE_MIB, MemoryOptions, maxmem, NULL,
         "most memory there may be; the same as size"),
    PROP_END,
};

#define PROP_SET(n, t, f, h)                                                                       \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(BootOptions, f), .flags = PROP_FLAG_HAS,      \
        .set_offset = offsetof(BootOptions, f##_set), .help = (h)                                  \
    }
const Property boot_params[] = {
    PROP("order", PROP_STRING, BootOptions, order, NULL,
         "drive letters in the order they are tried: c disk, d CD, n network"),
    PROP("once", PROP_STRING, BootOptions, once, NULL, "the same, for the first boot only"),
    PROP_SET("menu", PROP_BOOL, menu, "the firmware offers a menu"),
    PROP("splash", PROP_STRING, BootOptions, splash, NULL,
         "a picture for the menu: JPEG, or BMP with 24 bits a pixel"),
    PROP_SET("splash-time", PROP_UINT32, splash_time, "how long the menu waits, in ms"),
    PROP_SET("reboot-timeout", PROP_INT32, reboot_timeout,
             "ms until the firmware tries again when nothing boots; -1: never"),
    PROP("strict", PROP_BOOL, BootOptions, strict, NULL, "boot from devices with a bootindex only"),
    PROP_END,
};

static const char *const rtc_clocks[] = {"host", "rt", "vm", NULL};
static const char *const rtc_driftfixes[] = {"none", "slew", NULL};
const Property rtc_params[] = {
    PROP("base", PROP_STRING, RtcOptions, base, "utc",
         "utc, localtime, or a date: 2026-11-22T20:30:00"),
    PROP_E("clock", RtcOptions, clock, "host", rtc_clocks, "which clock the time follows"),
    PROP_E("driftfix", RtcOptions, driftfix, "none", rtc_driftfixes,
           "whether ticks that were missed are made up for"),
    PROP_END,
};

static const char *const mon_modes[] = {"readline", "control", NULL};
const Property mon_params[] = {
    {.name = "chardev",
     .type = PROP_STRING,
     .offset = offsetof(MonOptions, chardev),
     .help = "id of the character device",
     .flags = PROP_FLAG_REQUIRED},
    PROP_E("mode", MonOptions, mode, "readline", mon_modes, "HMP (readline) or QMP (control)"),
    PROP("pretty", PROP_BOOL, MonOptions, pretty, "off", "QMP's answers on several lines"),
    PROP("id", PROP_STRING, MonOptions, id, NULL, "its name"),
    PROP_END,
};

static const char *const sigterm_names[] = {"quit", "powerdown", NULL};
const Property action_params[] = {
    PROP_E("reboot", ActionOptions, reboot, "reset", reboot_action_names, "when the guest resets"),
    PROP_E("shutdown", ActionOptions, shutdown, "poweroff", shutdown_action_names,
           "when the guest powers off"),
    PROP_E("panic", ActionOptions, panic, "shutdown", panic_action_names, "when the guest panics"),
    PROP_E("watchdog", ActionOptions, watchdog, "reset", watchdog_action_names,
           "when a watchdog fires"),
    PROP_E("error", ActionOptions, error, "pause", failure_action_names,
           "when KVM or the host fails, or a disk with werror=stop"),
    PROP_E("sigterm", ActionOptions, sigterm, "quit", sigterm_names,
           "when SIGTERM comes: the end, or the power button (a second one is the end)"),
    PROP("grace", PROP_UINT32, ActionOptions, grace, "30",
         "seconds that the guest then has to power off"),
    PROP_END,
};

/* The expression comes before these, and is no key of its own: it may have commas. */
const Property expect_params[] = {
    {.name = "exit",
     .type = PROP_UINT8,
     .offset = offsetof(ExpectOptions, exit),
     .defval = "0",
     .max = 126,
     .help = "status with which the run ends",
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(ExpectOptions, exit_set)},
    PROP("screen", PROP_BOOL, ExpectOptions, screen, "off",
         "on the guest's text screen, not on its consoles"),
    {.name = "ready",
     .type = PROP_INT32,
     .offset = offsetof(ExpectOptions, ready),
     .help = "open descriptor to which a line 'ready' is written; without exit= the run goes on",
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(ExpectOptions, ready_set)},
    PROP_END,
};
