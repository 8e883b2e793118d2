/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of VNC, in a build without libvncserver. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "ui/vnc.h"

bool vnc_server_start(Vm *vm, json_t *config, GError **err)
{
    const char *display = json_str(config, "vnc");

    if (display && !strcmp(display, "none")) {
        return true;
    }
    return error_set(err, "-vnc: this program was built without libvncserver and libxkbcommon: use "
                          "-display none, or build it with libvncserver-dev and libxkbcommon-dev");
}

bool vnc_server_start_default(Vm *vm, char **said, GError **err)
{
    *said = g_strdup("there is no VNC server in this build; use -nographic for a console here");
    return true;
}

void vnc_cleanup(Vm *vm)
{
}

json_t *vnc_query(Vm *vm)
{
    return json_pack("{s:b,s:[]}", "enabled", false, "clients");
}

json_t *vnc_query_servers(Vm *vm)
{
    return json_array();
}

char *vnc_info_text(Vm *vm)
{
    return g_strdup("None\n");
}

bool vnc_add_client(Vm *vm, int fd, bool trusted, GError **err)
{
    close(fd);
    return error_set(err, "there is no VNC server: this program was built without libvncserver");
}

bool vnc_set_password(Vm *vm, const char *display, const char *password, GError **err)
{
    return error_set(err, "there is no VNC server: this program was built without libvncserver");
}

bool vnc_expire_password(Vm *vm, const char *display, const char *when, GError **err)
{
    return error_set(err, "there is no VNC server: this program was built without libvncserver");
}

bool vnc_has_password(Vm *vm)
{
    return false;
}
