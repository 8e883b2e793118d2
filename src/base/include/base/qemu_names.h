/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names of QEMU 7.2 that this program does not support yet. They get an error of their own, not
 * "unknown" or "did you mean". Any thread.
 */
#ifndef BASE_QEMU_NAMES_H
#define BASE_QEMU_NAMES_H

#include <glib.h>
#include <stdbool.h>

typedef enum {
    QEMU_OPTION,           /* command-line options, without the dash */
    QEMU_COMMAND,          /* the monitor's commands */
    QEMU_INFO,             /* words behind the monitor's 'info' */
    QEMU_QMP,              /* commands of QMP */
    QEMU_DEVICE,           /* -device; CPUs are devices there */
    QEMU_OBJECT,           /* -object */
    QEMU_BLOCK,            /* formats and protocols of disks */
    QEMU_DRIVE_IF,         /* -drive if= */
    QEMU_NETDEV,           /* -netdev */
    QEMU_CHARDEV,          /* -chardev */
    QEMU_MACHINE,          /* -machine */
    QEMU_MACHINE_PROPERTY, /* properties of -machine pc */
    QEMU_ACCEL,            /* -accel */
    QEMU_AUDIODEV,         /* -audiodev */
    QEMU_LOG_ITEM,         /* items of -d */
    QEMU_NAME_KINDS
} QemuNameKind;

char **qemu_names(QemuNameKind kind); /* caller frees */
bool qemu_name_known(QemuNameKind kind, const char *name);
/* Where the name is known: true, and *err is "'NAME' is not in this program yet". */
bool qemu_name_refused(QemuNameKind kind, const char *name, GError **err);

#endif
