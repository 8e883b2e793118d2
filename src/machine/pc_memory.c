/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pc's memory map: RAM below and above 4 GiB, and the firmware's ROM below 4 GiB. What is at
 * 640 KiB to 1 MiB is decided by the host bridge (PAM).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "devices/i440fx.h"
#include "memory_backend.h"
#include "pc.h"
#include "x86/x86.h"

#define BIOS_NAME    "bios-256k.bin"
#define BIOS_PACKAGE "seabios"
#define BIOS_MAX     (16 * MiB)

/*
 * Up to 3.5 GiB, all RAM lies below the PCI hole. More RAM is split at 3 GiB, so that the upper
 * part is aligned to 1 GiB in guest and host, and the host can use its largest pages.
 */
static void split_ram(Vm *vm, PcMachine *pc)
{
    uint64_t limit = pc->max_ram_below_4g ? pc->max_ram_below_4g : 0xe0000000;

    if (vm->ram_size <= limit && vm->ram_size < 0xe0000000) {
        pc->below_4g = vm->ram_size;
        pc->above_4g = 0;
        return;
    }
    if (!pc->max_ram_below_4g) {
        limit = 0xc0000000;
    }
    pc->below_4g = MIN(limit, 0xe0000000);
    pc->above_4g = vm->ram_size - pc->below_4g;
}

uint64_t pc_pci_hole(const PcMachine *pc)
{
    if (pc->below_4g <= 0x80000000) {
        return 0x80000000;
    }
    return pc->below_4g <= 0xc0000000 ? 0xc0000000 : 0xe0000000;
}

bool pc_pci_hole64(Vm *vm, const PcMachine *pc, uint64_t *base, uint64_t *end)
{
    uint64_t top = BIT64(x86_phys_bits(vm));

    *base = ROUND_UP(4 * GiB + pc->above_4g, GiB);
    *end = MIN(top, *base + 32 * GiB);
    return *base < *end;
}

static RamBlock *create_ram(Vm *vm, PcMachine *pc, GError **err)
{
    const char *id = pc->config->memory_backend;
    RamBlockOptions opts = {.fd = -1,
                            .prealloc = pc->config->mem_prealloc,
                            .merge = pc->mem_merge,
                            .dump = pc->dump_guest_core};

    if (id) {
        return memory_backend_use(vm, id, vm->ram_size, err);
    }
    return ram_block_new_opts(vm, "pc.ram", vm->ram_size, &opts, err);
}

bool pc_create_memory(Vm *vm, PcMachine *pc, GError **err)
{
    if (vm->ram_size < MiB) {
        return error_set(err, "the pc board needs at least 1 MiB of memory (-m)");
    }
    if (!IS_ALIGNED(vm->ram_size, 4096)) {
        return error_set(err, "memory comes in pages of 4 KiB (-m)");
    }
    if (pc->max_ram_below_4g > 4 * GiB) {
        return error_set(err,
                         "Machine option 'max-ram-below-4g=%" PRIu64
                         "' expects size less than or equal to 4G",
                         pc->max_ram_below_4g);
    }
    if (!IS_ALIGNED(pc->max_ram_below_4g, 4096)) {
        return error_set(err,
                         "Machine option 'max-ram-below-4g=%" PRIu64
                         "' expects a multiple of 4096: memory comes in pages of 4 KiB",
                         pc->max_ram_below_4g);
    }
    if (pc->max_ram_below_4g && pc->max_ram_below_4g < MiB) {
        return error_set(err,
                         "Machine option 'max-ram-below-4g=%" PRIu64
                         "' expects at least 1M: the pc board has RAM in all of the first 1 MiB",
                         pc->max_ram_below_4g);
    }
    split_ram(vm, pc);
    pc->ram = create_ram(vm, pc, err);
    if (!pc->ram) {
        return false;
    }
    io_region_init_ram(&pc->ram_low, NULL, pc->ram, 0, 0xa0000, false, "ram-below-640k");
    io_region_map(vm, &pc->ram_low, IO_SPACE_MEM, 0, 0);
    if (pc->below_4g > MiB) {
        io_region_init_ram(&pc->ram_high, NULL, pc->ram, MiB, pc->below_4g - MiB, false,
                           "ram-below-4g");
        io_region_map(vm, &pc->ram_high, IO_SPACE_MEM, MiB, 0);
    }
    if (pc->above_4g) {
        io_region_init_ram(&pc->ram_above_4g, NULL, pc->ram, pc->below_4g, pc->above_4g, false,
                           "ram-above-4g");
        io_region_map(vm, &pc->ram_above_4g, IO_SPACE_MEM, 4 * GiB, 0);
    }
    return true;
}

/* Reads the firmware file into a ROM that ends at 4 GiB. */
static bool read_firmware(Vm *vm, PcMachine *pc, const char *path, GError **err)
{
    g_autoptr(GError) why = NULL;
    size_t len = 0;
    g_autofree uint8_t *data = host_read_file(path, BIOS_MAX, &len, &why);

    if (!data) {
        return error_set(err, "could not load PC BIOS '%s': %s", path, why->message);
    }
    if (!len || len % (64 * KiB)) {
        return error_set(err,
                         "could not load PC BIOS '%s': it has %zu bytes, firmware comes in "
                         "multiples of 64 KiB",
                         path, len);
    }
    pc->bios = ram_block_new(vm, "pc.bios", len, err);
    if (!pc->bios) {
        return false;
    }
    pc->bios->kept = true;
    memcpy(pc->bios->host, data, len);
    io_region_init_ram(&pc->bios_region, NULL, pc->bios, 0, len, true, "pc.bios");
    io_region_map(vm, &pc->bios_region, IO_SPACE_MEM, PC_BIOS_TOP - len, 1);
    return true;
}

bool pc_load_firmware(Vm *vm, PcMachine *pc, GError **err)
{
    const char *name = pc->config->bios;
    bool wanted = !pc->config->kernel && vm->accel && vm->accel->has_vcpus;

    if (name && pc->config->kernel) {
        return error_set(err, "-bios and -kernel exclude each other: a kernel is started directly, "
                              "without firmware");
    }
    if (wanted || name) {
        g_autofree char *found = NULL;

        if (!name) {
            found = host_find_data_file(BIOS_NAME, BIOS_PACKAGE, err);
            if (!found) {
                g_prefix_error(err, "could not load PC BIOS: ");
                return false;
            }
        } else if (strchr(name, '/') || access(name, R_OK) == 0) {
            found = g_strdup(name);
        } else {
            found = host_find_data_file(name, NULL, err);
            if (!found) {
                g_prefix_error(err, "could not load PC BIOS '%s': ", name);
                return false;
            }
        }
        if (!read_firmware(vm, pc, found, err)) {
            return false;
        }
        pc->bios_name = g_strdup(name ? name : BIOS_NAME);
    }
    i440fx_set_memory(pc->north, pc->ram, pc->bios, 0,
                      pc->bios ? MIN(pc->bios->size, 256 * KiB) : 0);
    return true;
}
