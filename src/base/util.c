/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"

#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}
