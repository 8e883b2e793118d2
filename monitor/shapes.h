/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arguments, for MonitorCommand.args_shape, that depend on a class or a type. */
#ifndef MONITOR_SHAPES_H
#define MONITOR_SHAPES_H

#include "base/shape.h"

extern const PropertyShape set_password_shape, expire_password_shape; /* QMP's arguments */
extern const char *const password_protocol_names[], *const password_action_names[];
extern const PropertyShape device_add_shape, netdev_add_shape, object_add_shape,
    chardev_backend_shape, key_shape, input_event_shape, socket_address_legacy_shape;

#endif
