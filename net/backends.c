/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one list of network backends. */
#include "internal.h"

const NetBackendClass *const *net_backend_classes(void)
{
    static const NetBackendClass *const classes[] = {
#ifdef HAVE_SLIRP
        &net_user,
#endif
        &net_tap,  &net_bridge, &net_hubport, &net_socket, &net_stream, &net_dgram, &net_dump, NULL,
    };
    return classes;
}
