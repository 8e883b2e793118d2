/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one array of device classes. */
#include "devices/devices.h"

extern const DeviceClass
    /* pci, platform, timer */
    /* char, input, misc */
    /* virtio */
    device_class_end_;

const DeviceClass *const all_device_classes[] = {
    /* pci, platform, timer */
    /* char, input, misc */
    /* virtio */
    NULL,
};
