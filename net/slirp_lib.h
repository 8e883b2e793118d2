/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libslirp, which is loaded when the first user network is made (base/library.h). Main loop only.
 */
#ifndef NET_SLIRP_LIB_H
#define NET_SLIRP_LIB_H

#include <glib.h>
#include <libslirp.h>
#include "base/library.h"

/* The functions that are used. */
#define SLIRP_FUNCTIONS(F)                                                                         \
    F(slirp_new)                                                                                   \
    F(slirp_cleanup)                                                                               \
    F(slirp_input)                                                                                 \
    F(slirp_pollfds_fill)                                                                          \
    F(slirp_pollfds_poll)                                                                          \
    F(slirp_handle_timer)                                                                          \
    F(slirp_add_hostfwd)                                                                           \
    F(slirp_remove_hostfwd)                                                                        \
    F(slirp_add_exec)                                                                              \
    F(slirp_add_guestfwd)                                                                          \
    F(slirp_socket_can_recv)                                                                       \
    F(slirp_socket_recv)                                                                           \
    F(slirp_connection_info)

typedef struct {
    SLIRP_FUNCTIONS(LIBRARY_POINTER)
} SlirpLib;

/* NULL and *err where libslirp is not installed. */
const SlirpLib *slirp_lib(GError **err);

#endif
