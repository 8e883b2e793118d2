/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one list of character devices. */
#include "internal.h"

const ChardevClass *const *chardev_classes(void)
{
    static const ChardevClass *const classes[] = {
        &chardev_null,   &chardev_stdio,  &chardev_pty, &chardev_socket, &chardev_file,
        &chardev_pipe,   &chardev_serial, &chardev_tty, &chardev_udp,    &chardev_ringbuf,
        &chardev_memory, &chardev_vc,     NULL,
    };
    return classes;
}
