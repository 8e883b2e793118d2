/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QEMU release that this program claims to be: clients ask for the version. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#include <glib.h>

#define QEMU_VERSION_MAJOR 7
#define QEMU_VERSION_MINOR 2
#define QEMU_VERSION_MICRO 22
#define QEMU_VERSION                                                                               \
    G_STRINGIFY(QEMU_VERSION_MAJOR)                                                                \
    "." G_STRINGIFY(QEMU_VERSION_MINOR) "." G_STRINGIFY(QEMU_VERSION_MICRO)

#endif
