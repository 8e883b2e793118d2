/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmm-nbd -c and -d: a disk of the kernel's (/dev/nbd0) whose server is this process; linux/nbd.h.
 * Main thread, but for the thread that a connected device takes.
 */
#ifndef BLOCK_TOOLS_NBD_DEVICE_H
#define BLOCK_TOOLS_NBD_DEVICE_H

#include <glib.h>
#include "base/coroutine.h"

typedef struct NbdDevice NbdDevice;

/*
 * Opens the device, and connects it with the export of this name: nbd_server_add_client() gets the
 * other end of a socket. 'gone' is called once the kernel has let go of a device that was
 * connected. NULL: an error. The caller calls nbd_device_detach().
 */
NbdDevice *coroutine_fn nbd_device_attach(const char *path, const char *export_name,
                                          void (*gone)(void *data), void *data, GError **err);
/* Disconnects, unless that has happened; waits; frees. */
void coroutine_fn nbd_device_detach(NbdDevice *d);
/* Disconnects a device, whoever serves it. */
bool nbd_device_disconnect(const char *path, GError **err);

#endif
