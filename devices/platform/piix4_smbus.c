/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SMBus host controller registers. (Intel 82371AB (PIIX4) data sheet, 290562, section 7.3.) */
#include "piix4_smbus.h"

STATE_DESC_PUBLIC(piix4_smbus, Piix4SmbusState, PIIX4_SMBUS_STATE, 1);

enum {
    SMBHSTSTS = 0x00,
    SMBHSTCNT = 0x02,
    SMBBLKDAT = 0x07,

    SMBHSTSTS_CLEARABLE = 0x1e, /* interrupt, device error, bus collision, failed */
    SMBHSTSTS_DEV_ERR = 0x04,
    SMBHSTSTS_FAILED = 0x10,
    SMBHSTCNT_KILL = 0x02,
    SMBHSTCNT_START = 0x40,
};

static uint64_t smb_read(IoRegion *region, uint64_t offset, unsigned size)
{
    Piix4Smbus *smb = container_of(region, Piix4Smbus, io);

    if (offset == SMBHSTCNT) {
        /* A read of SMBHSTCNT rewinds the block buffer (7.3.3). */
        smb->s.block_index = 0;
    }
    if (offset == SMBBLKDAT) {
        return smb->s.block[smb->s.block_index++ % sizeof smb->s.block];
    }
    return smb->s.regs[offset];
}

static IoResult smb_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Smbus *smb = container_of(region, Piix4Smbus, io);

    switch (offset) {
    case SMBHSTSTS:
        smb->s.regs[SMBHSTSTS] &= ~(value & SMBHSTSTS_CLEARABLE);
        break;
    case SMBHSTCNT:
        smb->s.regs[SMBHSTCNT] = value & ~SMBHSTCNT_START;
        if (value & SMBHSTCNT_KILL) {
            smb->s.regs[SMBHSTSTS] |= SMBHSTSTS_FAILED;
        } else if (value & SMBHSTCNT_START) {
            smb->s.regs[SMBHSTSTS] |= SMBHSTSTS_DEV_ERR; /* no device acknowledged the address */
        }
        break;
    case SMBBLKDAT:
        smb->s.block[smb->s.block_index++ % sizeof smb->s.block] = value;
        break;
    default:
        smb->s.regs[offset] = value;
        break;
    }
    return IO_OK;
}

static const IoRegionOps smb_ops = {
    .read = smb_read,
    .write = smb_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};

void piix4_smbus_init(Piix4Smbus *smb, Device *owner)
{
    io_region_init(&smb->io, owner, &smb_ops, "pm-smbus", 16);
}

void piix4_smbus_reset(Piix4Smbus *smb)
{
    smb->s = (Piix4SmbusState){0};
}

void piix4_smbus_map(Piix4Smbus *smb, Vm *vm, uint16_t base)
{
    if (!base) {
        io_region_unmap(vm, &smb->io);
    } else if (!smb->io.mapped || smb->io.addr != base) {
        io_region_map(vm, &smb->io, IO_SPACE_PIO, base, 0);
    }
}
