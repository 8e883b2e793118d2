/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option ROMs: an image file in the expansion ROM BAR. (PCI Local Bus Specification 3.0, 6.2.5.2
 * and 6.3; PCI Firmware Specification 3.0, 5.1.)
 */
#include "pci_internal.h"

#include "base/error.h"
#include "base/host.h"
#include "base/log.h"

#define ROM_SIZE_AUTO UINT32_MAX
#define ROM_MAX_SIZE  (2 * MiB) /* firmware copies ROMs below 1 MiB: no real image is larger */

enum {
    ROM_SIGNATURE = 0x00,
    ROM_PCIR_POINTER = 0x18,
    PCIR_SIGNATURE = 0x00,
    PCIR_VENDOR_ID = 0x04,
    PCIR_DEVICE_ID = 0x06,
    PCIR_SIZE = 0x18,
};

/*
 * One image serves several devices, but names the vendor and device id of one. Firmware runs an
 * image only if these match the device, so they are replaced here. The bytes of an image must add
 * up to zero: byte 6 compensates.
 */
void pci_rom_adopt(PciDevice *pci)
{
    uint8_t *rom = pci->usual_rom ? pci->rom->host : NULL;
    static const uint8_t fields[] = {PCIR_VENDOR_ID, PCIR_DEVICE_ID};
    const uint8_t *ids[] = {pci->s.config + PCI_VENDOR_ID, pci->s.config + PCI_DEVICE_ID};
    unsigned pcir;
    uint8_t excess = 0;

    if (!rom || ldle16(rom + ROM_SIGNATURE) != 0xaa55) {
        return;
    }
    pcir = ldle16(rom + ROM_PCIR_POINTER);
    if (pcir + PCIR_SIZE > pci->rom->size || memcmp(rom + pcir + PCIR_SIGNATURE, "PCIR", 4)) {
        return;
    }
    for (unsigned f = 0; f < ARRAY_SIZE(fields); f++) {
        uint8_t *at = rom + pcir + fields[f];

        excess += ids[f][0] + ids[f][1] - at[0] - at[1];
        memcpy(at, ids[f], 2);
    }
    rom[6] -= excess; /* iPXE images reserve this byte for the checksum */
}

static bool rom_size(PciDevice *pci, const char *path, size_t len, uint64_t *size, GError **err)
{
    *size = MAX(BIT64(64 - __builtin_clzll(len - 1)), 4 * KiB);
    if (pci->romsize == ROM_SIZE_AUTO) {
        return true;
    }
    if (!is_power_of_2(pci->romsize) || pci->romsize > ROM_MAX_SIZE) {
        return error_set(err, "ROM size %u is not a power of two, or above %llu", pci->romsize,
                         ROM_MAX_SIZE);
    }
    if (pci->romsize < len) {
        return error_set(err, "romfile '%s' (%zu bytes) is too large for ROM size %u", path, len,
                         pci->romsize);
    }
    *size = MAX(pci->romsize, 4 * KiB);
    return true;
}

static bool load_rom(PciDevice *pci, const char *path, GError **err)
{
    g_autofree char *name = NULL;
    g_autofree uint8_t *image = NULL;
    uint64_t size;
    size_t len;

    image = host_read_file(path, ROM_MAX_SIZE, &len, err);
    if (!image) {
        return false;
    }
    if (len < 2) {
        return error_set(err, "romfile '%s' is empty", path);
    }
    if (!rom_size(pci, path, len, &size, err)) {
        return false;
    }
    name = g_strdup_printf("%s/%s.rom", pci->dev.path, pci->dev.class->name);
    pci->rom = ram_block_new(pci->dev.vm, name, size, err);
    if (!pci->rom) {
        return false;
    }
    pci->rom->migratable = false; /* the loading side reads its own file */
    pci->rom->kept = true;
    memset(pci->rom->host, 0xff, size);
    memcpy(pci->rom->host, image, len);
    io_region_init_ram(&pci->rom_region, &pci->dev, pci->rom, 0, size, true, "rom");
    pci_register_bar(pci, PCI_ROM_BAR, PCI_BAR_MEM32, &pci->rom_region);
    return true;
}

/*
 * The class's boot ROM. A missing or unusable one is no error: the device works without it, except
 * that firmware may be unable to boot from the device.
 */
static void load_usual_rom(PciDevice *pci, const char *name)
{
    g_autofree char *path = host_find_data_file(name, NULL, NULL);
    g_autoptr(GError) err = NULL;

    pci->usual_rom = path && load_rom(pci, path, &err);
    if (pci->usual_rom) {
        pci->romfile = g_strdup(name);
        pci->romsize = pci->rom->size;
        pci_rom_adopt(pci);
    } else if (!path && pci->dev.class->category == DEVICE_CATEGORY_DISPLAY) {
        log_warn("%s has no BIOS, so the screen stays dark: '%s' is not there (Debian's package "
                 "'seabios' has it)",
                 pci->dev.class->name, name);
    } else if (path) {
        log_warn("%s has no boot ROM: %s", pci->dev.class->name, err->message);
    }
}

bool pci_rom_setup(PciDevice *pci, GError **err)
{
    g_autofree char *path = NULL;

    if (!pci->rombar || (pci->romfile && !*pci->romfile)) {
        return true;
    }
    if (!pci->romfile) {
        if (pci_info(pci)->romfile) {
            load_usual_rom(pci, pci_info(pci)->romfile);
        }
        return true;
    }
    path = host_find_data_file(pci->romfile, NULL, err);
    return path && load_rom(pci, path, err);
}

bool pci_has_rom(const Device *dev)
{
    return dev->bus && dev->bus->class == &pci_bus_class &&
           container_of(dev, PciDevice, dev)->rom != NULL;
}

void pci_rom_teardown(PciDevice *pci)
{
    if (pci->usual_rom) {
        pci->usual_rom = false;
        g_clear_pointer(&pci->romfile, g_free);
        pci->romsize = ROM_SIZE_AUTO;
    }
    if (pci->rom) {
        io_region_unmap(pci->dev.vm, &pci->rom_region);
        ram_block_retire(pci->dev.vm, pci->rom);
        pci->rom = NULL;
    }
}
