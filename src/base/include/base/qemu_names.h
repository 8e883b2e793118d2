/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names of QEMU 7.2 that this program does not have yet. They are refused as what they are, not
 * as typing errors. Any thread.
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
    QEMU_IMG_COMMAND,      /* sub-commands of qemu-img */
    QEMU_NAME_KINDS
} QemuNameKind;

char **qemu_names(QemuNameKind kind); /* the caller's */
bool qemu_name_known(QemuNameKind kind, const char *name);
/* true and *err, "'NAME' is not in this program yet", where 'name' is such a name. */
bool qemu_name_refused(QemuNameKind kind, const char *name, GError **err);

#endif
