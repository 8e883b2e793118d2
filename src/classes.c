/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of -object classes, which several folders implement, beside those of base/. */
#include "app.h"
#include "base/object.h"
#include "block/throttle.h"
#include "devices/devices.h"
#include "vm/iothread.h"

extern const ObjectClass rng_random_class, rng_builtin_class;
extern const ObjectClass filter_dump_class;
extern const ObjectClass memory_backend_ram_class, memory_backend_file_class,
    memory_backend_memfd_class;

static const ObjectClass *const object_class_list[] = {
    &filter_dump_class,         &iothread_class,
    &memory_backend_file_class, &memory_backend_memfd_class,
    &memory_backend_ram_class,  &rng_builtin_class,
    &rng_random_class,          NULL,
};

void app_set_classes(void)
{
    device_set_classes(all_device_classes);
    object_set_classes(object_base_classes);
    object_add_classes(object_class_list);
    object_add_classes(block_object_classes);
}
