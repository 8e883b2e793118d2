/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Help in commands, where QEMU has it: "netdev_add help". */
#ifndef MONITOR_KINDS_HELP_H
#define MONITOR_KINDS_HELP_H

#include "internal.h"
#include "monitor/kinds.h"

/*
 * "help" lists the kinds, "NAME,help" the properties of one ('?' is as good): true where that was
 * asked for and is printed. 'text' is what follows the command; NULL asks for nothing.
 */
bool kinds_answer_help(Monitor *mon, const Kinds *kinds, const char *text);
/* The same of device_add. */
bool devices_answer_help(Monitor *mon, const char *text);

#endif
