/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files below a folder of the host's, whoever may change that folder meanwhile: no link and no ".."
 * leads out of it (openat2(2), RESOLVE_BENEATH). Any thread.
 */
#ifndef BASE_HOST_BENEATH_H
#define BASE_HOST_BENEATH_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * A descriptor, close-on-exec, or -1 and errno. 'path' is relative to the folder 'dir'; "" is that
 * folder. 'links': symbolic links are followed where they stay below it; else one on the way is
 * ELOOP. EXDEV: it would lead out.
 */
int host_open_beneath(int dir, const char *path, int flags, mode_t mode, bool links);

#endif
