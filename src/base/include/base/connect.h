/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TCP connection that is being made, without making the loop wait: names are resolved on a pool
 * thread, and each address is tried until one answers. One loop's thread.
 */
#ifndef BASE_CONNECT_H
#define BASE_CONNECT_H

#include "base/host.h"

typedef struct HostConnect HostConnect;

/* fd: connected, non-blocking, the callee's. -1: 'err' says why not; it is the caller's. */
typedef void HostConnectFn(void *data, int fd, const GError *err);

/* Ends in one call of 'done' from a later turn of this loop; the HostConnect is gone by then. */
HostConnect *host_connect_start(const char *host, const char *port, HostConnectFn *done,
                                void *data);
/* The same, to addresses that were resolved before. Takes them over. */
HostConnect *host_connect_addresses(HostAddresses *addresses, HostConnectFn *done, void *data);
/* Without a call of 'done'. NULL is allowed. */
void host_connect_cancel(HostConnect *c);

#endif
