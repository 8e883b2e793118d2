/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saves the whole machine to a file and loads it. Experimental (x-), for tests, until 'savevm' and
 * migration call vm_save() and vm_load() as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/util.h"
#include "commands.h"

static bool check_paused(Vm *vm, GError **err)
{
    if (vm_running(vm) || vm_run_state(vm) == RUN_STATE_SUSPENDED) {
        return error_set(err, "the virtual machine is running; 'stop' it first");
    }
    return true;
}

MONITOR_HANDLER(cmd_x_save_state)
{
    const char *path = json_str(args, "filename");
    VmFdStream stream;
    bool ok;
    auto_fd fd = -1;

    if (!check_paused(vm, err) ||
        (fd = host_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, err)) < 0) {
        return NULL;
    }
    vm_fd_stream_init(&stream, fd);
    ok = vm_save(vm, &stream.stream, err);
    if (ok && fsync(fd) < 0) {
        ok = error_set_errno(err, errno, "cannot write '%s'", path);
    }
    if (!ok) {
        unlink(path);
        return NULL;
    }
    return json_object();
}

MONITOR_HANDLER(cmd_x_load_state)
{
    VmFdStream stream;
    auto_fd fd = -1;

    if (!check_paused(vm, err) ||
        (fd = host_open(json_str(args, "filename"), O_RDONLY, 0, err)) < 0) {
        return NULL;
    }
    vm_fd_stream_init(&stream, fd);
    return vm_load(vm, &stream.stream, err) ? json_object() : NULL;
}
