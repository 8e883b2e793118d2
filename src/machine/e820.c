/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "pc.h"

static void e820_add(GArray *map, uint64_t addr, uint64_t end, E820Type type)
{
    E820Entry e = {addr, end - addr, type};

    if (end > addr) {
        g_array_append_val(map, e);
    }
}

GArray *e820_for_firmware(const PcMachine *pc)
{
    GArray *map = g_array_new(FALSE, FALSE, sizeof(E820Entry));

    e820_add(map, PC_KVM_PAGES, PC_KVM_PAGES + PC_KVM_PAGES_SIZE, E820_RESERVED);
    e820_add(map, 0, pc->below_4g, E820_RAM);
    e820_add(map, 4 * GiB, 4 * GiB + pc->above_4g, E820_RAM);
    return map;
}

GArray *e820_for_kernel(const PcMachine *pc, uint64_t acpi_base)
{
    GArray *map = g_array_new(FALSE, FALSE, sizeof(E820Entry));

    e820_add(map, 0, 0x9fc00, E820_RAM);
    e820_add(map, 0x9fc00, 0xa0000, E820_RESERVED); /* extended BIOS data */
    e820_add(map, 0xf0000, 0x100000, E820_RESERVED);
    e820_add(map, 0x100000, MIN(acpi_base, pc->below_4g), E820_RAM);
    e820_add(map, acpi_base, pc->below_4g, E820_ACPI);
    e820_add(map, PC_KVM_PAGES, PC_KVM_PAGES + PC_KVM_PAGES_SIZE, E820_RESERVED);
    e820_add(map, 4 * GiB, 4 * GiB + pc->above_4g, E820_RAM);
    return map;
}
