/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saves the whole machine to a file and loads it, without its disks. Experimental (x-), for tests;
 * 'savevm' is in commands_snapshot.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/util.h"
#include "block/graph.h"
#include "commands.h"

/* Arguments. */

const Property filename_args[] = {MEMBER("filename", PROP_STRING, .help = "a file"), PROP_END};

/* Removes what was saved in part; not a device, or what the path now names instead of the file. */
static void state_discard(const char *path, int fd)
{
    struct stat opened, named;

    if (fstat(fd, &opened) == 0 && S_ISREG(opened.st_mode) && lstat(path, &named) == 0 &&
        named.st_dev == opened.st_dev && named.st_ino == opened.st_ino) {
        unlink(path);
    }
}

static bool state_save(Vm *vm, const char *path, GError **err)
{
    VmFdStream stream;
    bool ok;
    auto_fd fd = host_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, err);

    if (fd < 0) {
        return false;
    }
    vm_fd_stream_init(&stream, fd);
    ok = vm_save(vm, &stream.stream, err);
    if (ok && fsync(fd) < 0) {
        ok = error_set_errno(err, errno, "cannot write '%s'", path);
    }
    if (!ok) {
        state_discard(path, fd);
    }
    return ok;
}

static bool state_load(Vm *vm, const char *path, GError **err)
{
    VmFdStream stream;
    auto_fd fd = host_open(path, O_RDONLY, 0, err);

    if (fd < 0) {
        return false;
    }
    vm_fd_stream_init(&stream, fd);
    return vm_load(vm, &stream.stream, err);
}

static json_t *coroutine_fn while_paused(Vm *vm, json_t *args, GError **err,
                                         bool (*fn)(Vm *vm, const char *path, GError **err))
{
    bool ok;

    /* Early: before a file is made, and before the guest notices. */
    if (!block_may_migrate(err) || !vm_hold_paused(vm, err)) {
        return NULL;
    }
    ok = fn(vm, json_str(args, "filename"), err);
    vm_release(vm);
    return ok ? json_object() : NULL;
}

MONITOR_HANDLER(cmd_x_save_state)
{
    return while_paused(vm, args, err, state_save);
}

MONITOR_HANDLER(cmd_x_load_state)
{
    return while_paused(vm, args, err, state_load);
}
