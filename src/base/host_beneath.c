/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/host_beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/util.h"

/* For kernels before 5.6 and sandboxes that do not know openat2(): a component at a time. */
static int open_stepwise(int dir, const char *path, int flags, mode_t mode)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    unsigned n = g_strv_length(parts);
    auto_fd at = openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

    for (unsigned i = 0; i < n && at >= 0; i++) {
        bool last = i + 1 == n;
        int next;

        if (g_str_equal(parts[i], "..")) {
            errno = EXDEV;
            return -1;
        }
        next = openat(at, parts[i], (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC,
                      mode);
        if (next < 0) {
            return -1;
        }
        fd_close(&at);
        at = next;
    }
    return at < 0 ? -1 : fcntl(at, F_DUPFD_CLOEXEC, 0);
}

int host_open_beneath(int dir, const char *path, int flags, mode_t mode, bool links)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (links ? 0 : RESOLVE_NO_SYMLINKS),
    };
    int fd, tries = 0;

    path = *path ? path : ".";
    do {
        /* EAGAIN: something was renamed, so that it is not certain where the path leads. */
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    } while (fd < 0 && (errno == EINTR || errno == EAGAIN) && tries++ < 100);
    return fd >= 0 || (errno != ENOSYS && errno != EPERM) ? fd
                                                          : open_stepwise(dir, path, flags, mode);
}
