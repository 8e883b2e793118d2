/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PIIX4's SMBus host controller, with no device on its bus: every transfer ends in a device
 * error. It is part of the power management device, whose lock guards it.
 */
#ifndef DEVICES_PLATFORM_PIIX4_SMBUS_H
#define DEVICES_PLATFORM_PIIX4_SMBUS_H

#include "vm/memory.h"

#define PIIX4_SMBUS_STATE(X)                                                                       \
    X(A, uint8_t, regs, 16)                                                                        \
    X(F, uint8_t, block_index)                                                                     \
    X(A, uint8_t, block, 32)
STATE_STRUCT(Piix4SmbusState, PIIX4_SMBUS_STATE);
const StateDesc *piix4_smbus_state_desc(void);

typedef struct {
    Piix4SmbusState s;
    IoRegion io;
} Piix4Smbus;

void piix4_smbus_init(Piix4Smbus *smb, Device *owner);
void piix4_smbus_reset(Piix4Smbus *smb);
/* Maps the registers at port 'base', or unmaps them where base is 0. */
void piix4_smbus_map(Piix4Smbus *smb, Vm *vm, uint16_t base);

#endif
