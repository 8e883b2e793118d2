/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNC servers (-vnc, -display vnc=). Main loop.
 *
 * The sockets that listen are this program's. libvncserver speaks with the viewers; it is loaded
 * when the first one connects.
 */
#ifndef UI_VNC_H
#define UI_VNC_H

#include <jansson.h>
#include "vm/vm.h"

/* The keys of -vnc; "vnc" is the display. Each is described for help and introspection. */
extern const Property vnc_params[];

/*
 * Starts a server: 'config' as -vnc was parsed. With display "none" there is none. False and *err:
 * a bad value, or an address that is in use.
 */
bool vnc_server_start(Vm *vm, json_t *config, GError **err);
/*
 * The server of a machine that was given no display: the first free one of 127.0.0.1:0 to :99.
 * What it says to the user goes to 'said'; caller frees.
 */
bool vnc_server_start_default(Vm *vm, char **said, GError **err);
/* Disconnects all viewers and ends the servers. After the main loop was left. */
void vnc_cleanup(Vm *vm);

json_t *vnc_query(Vm *vm);         /* query-vnc: the first server */
json_t *vnc_query_servers(Vm *vm); /* query-vnc-servers */
char *vnc_info_text(Vm *vm);       /* 'info vnc'; caller frees */

/* A viewer of the first server, whose socket is connected already; takes fd, also where it is
 * refused. 'trusted': no password is asked for. */
bool vnc_add_client(Vm *vm, int fd, bool trusted, GError **err);

/* display NULL: the first server. Passwords are at most 8 characters (RFC 6143, 7.2.2). */
bool vnc_set_password(Vm *vm, const char *display, const char *password, GError **err);
/* QMP's expire_password: "now", "never", "+SECONDS", or seconds since 1970. */
bool vnc_expire_password(Vm *vm, const char *display, const char *when, GError **err);
/* Whether a server of this machine asks for a password. */
bool vnc_has_password(Vm *vm);

#endif
