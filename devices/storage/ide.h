/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IDE bus: two drives on a channel, which find each other and their channel by it. */
#ifndef DEVICES_STORAGE_IDE_H
#define DEVICES_STORAGE_IDE_H

#include "ata.h"

#define IDE_UNITS 2

typedef struct {
    Bus bus;
    unsigned number; /* of the channel */
    const AtaTransport *transport;
    Device *taken[IDE_UNITS];    /* main loop: whose place it is */
    AtaDrive *drives[IDE_UNITS]; /* those that the guest finds. Under the controller's lock */
} IdeBus;

extern const BusClass ide_bus_class;
void ide_bus_init(IdeBus *ide, Vm *vm, Device *controller, unsigned number,
                  const AtaTransport *transport);

#endif
