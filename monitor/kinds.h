/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Help as an argument of HMP commands: "netdev_add help". */
#ifndef MONITOR_KINDS_HELP_H
#define MONITOR_KINDS_HELP_H

#include "internal.h"
#include "monitor/kinds.h"

/*
 * Answers an argument that asks for help (or '?'): "help" prints the list of kinds, "NAME,help" the
 * properties of one. False: 'text', the argument of the command or NULL, asks for none.
 */
bool kinds_answer_help(Monitor *mon, const Kinds *kinds, const char *text);
/* The same for device_add. */
bool devices_answer_help(Monitor *mon, const char *text);

#endif
