/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options whose arguments are the same for all: one table each, which parsing, help, QMP's
 * query-command-line-options and whoever reads the values share, and the struct that it fills.
 */
#ifndef CLI_PARAMS_H
#define CLI_PARAMS_H

#include "base/property.h"

typedef struct {
    uint32_t cpus, maxcpus, sockets, dies, clusters, cores, threads; /* 0: not given */
} SmpOptions;
extern const Property smp_params[];

typedef struct {
    uint64_t size, maxmem;
    uint32_t slots;
} MemoryOptions;
extern const Property memory_params[];

typedef struct {
    char *order, *once, *splash;
    bool menu, menu_set, strict;
    uint32_t splash_time;
    bool splash_time_set;
    int32_t reboot_timeout;
    bool reboot_timeout_set;
} BootOptions;
extern const Property boot_params[];

typedef struct {
    char *base;
    int clock;    /* host, rt, vm */
    int driftfix; /* none, slew */
} RtcOptions;
extern const Property rtc_params[];

typedef struct {
    char *chardev, *id;
    int mode; /* readline, control */
    bool pretty;
} MonOptions;
extern const Property mon_params[];

typedef struct {
    int reboot;   /* reset, shutdown */
    int shutdown; /* poweroff, pause */
    int panic;    /* shutdown, pause, none, exit-failure */
    int watchdog; /* reset, shutdown, poweroff, pause, debug, none, inject-nmi */
    int error;    /* pause, exit */
    int sigterm;  /* quit, powerdown */
    uint32_t grace;
} ActionOptions;
extern const Property action_params[];

typedef struct {
    uint8_t exit;
    bool exit_set, screen, ready_set;
    int32_t ready; /* a descriptor */
} ExpectOptions;
extern const Property expect_params[];

#endif
