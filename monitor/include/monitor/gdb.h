/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gdb stub: gdb debugs the guest from outside, over a character device. Main loop. */
#ifndef MONITOR_GDB_H
#define MONITOR_GDB_H

#include "vm/vm.h"

/*
 * Serves 'device', as -gdb has it: "tcp:[HOST]:PORT", "unix:PATH", "stdio", "chardev:ID" or another
 * short form of a character device, with its options, and with arch=NAME. "none": the server that
 * there is ends, as it does where another begins. False and *err: none is there then.
 */
bool gdb_server_start(Vm *vm, const char *device, GError **err);
/* The program ends, with this status, of which a client is told. */
void gdb_server_cleanup(int status);

#endif
