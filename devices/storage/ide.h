/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IDE bus: two drives on a channel, which find each other and their channel by it. */
#ifndef DEVICES_STORAGE_IDE_H
#define DEVICES_STORAGE_IDE_H

#include "ata_device.h"

#define IDE_UNITS     2
#define IDE_UNIT_AUTO UINT32_MAX

typedef struct {
    Bus bus;
    unsigned number; /* of the channel */
    const AtaTransport *transport;
    Device *taken[IDE_UNITS];     /* main loop: whose place it is */
    AtaDevice *drives[IDE_UNITS]; /* those that the guest finds. Under the controller's lock */
} IdeBus;

/* What devices on the bus begin with. Realize sets 'ata'. */
typedef struct {
    Device dev;
    AtaDevice *ata;
    uint32_t unit; /* property */
} IdeDevice;

/* Entry of the device's table of properties: 'f' is the IdeDevice in the device's struct 's'. */
#define IDE_DEVICE_PROPS(s, f)                                                                     \
    PROP("unit", PROP_UINT32, s, f.unit, "4294967295",                                             \
         "0 (master) or 1 (slave); 4294967295: a free one")

extern const BusClass ide_bus_class;
void ide_bus_init(IdeBus *ide, Vm *vm, Device *controller, unsigned number,
                  const AtaTransport *transport);
/* Of an attached device: channel * 2 + unit. */
unsigned ide_place(const IdeDevice *d);
const AtaTransport *ide_transport_of(const IdeDevice *d);

#endif
