/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the devices of the i440FX chipset. */
#ifndef DEVICES_PLATFORM_CHIPSET_H
#define DEVICES_PLATFORM_CHIPSET_H

#include <linux/pci_regs.h>

#include "devices/i440fx.h"
#include "devices/isa.h"

/* Registers of the 82441FX (data sheet, 3.2) that are used by name. */
enum {
    I440FX_DRAMC = 0x57,
    I440FX_PAM0 = 0x59, /* .. 0x5f */
    I440FX_SMRAM = 0x72,
};
/* Of the PIIX3 (82371SB data sheet, 2.2). */
enum {
    PIIX_PIRQRC = 0x60, /* .. 0x63 */
    /* Of function 1 (2.3): timings of a channel, two bytes each. They are stored only. */
    PIIX_IDETIM = 0x40, /* .. 0x43, and 0x44 for drives 1 */
    PIIX_IDETIM_DECODE = 0x8000,
};
/* Of the PIIX4's function 3 (82371AB data sheet, 7). */
enum {
    PIIX4_PMBA = 0x40,
    PIIX4_PMREGMISC = 0x80,
    PIIX4_SMBBA = 0x90,
    PIIX4_SMBHSTCFG = 0xd2,
};

/*
 * Sets the owner of port 0xcf9, the reset control register. The port lies inside the configuration
 * address register, which takes only accesses of 32 bits: the host bridge forwards byte accesses to
 * the owner. read and write are called without a lock.
 */
void i440fx_set_reset_control(Device *host, Device *owner, uint8_t (*read)(Device *owner),
                              void (*write)(Device *owner, uint8_t value));

/* The 16 inputs of the user-space PIC pair. */
IrqPin *i8259_inputs(Device *pic);

#endif
