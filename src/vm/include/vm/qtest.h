/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest server: a client pokes ports, memory, interrupts and the virtual clock over a chardev
 * by lines of text, as device tests do. It also works beside KVM, without the clock commands.
 * Main loop.
 */
#ifndef VM_QTEST_H
#define VM_QTEST_H

#include "vm/vm.h"

typedef struct QtestServer QtestServer;

/*
 * -qtest CHARDEV (the short forms of -serial) and -qtest-log FILE ("none": no log; NULL: stderr).
 * Serves from the next turn of the main loop on; call it when the board is there.
 */
QtestServer *qtest_server_new(Vm *vm, const char *chardev, const char *log, GError **err);
/* After the main loop has ended, before vm_free() and chardev_close_all(). NULL is ignored. */
void qtest_server_free(QtestServer *server);

#endif
