/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one array of device classes. A device lands by its file and one line in devices.c. */
#ifndef DEVICES_DEVICES_H
#define DEVICES_DEVICES_H

#include "base/object.h"
#include "vm/device.h"

extern const DeviceClass *const all_device_classes[]; /* NULL-terminated */

#endif
