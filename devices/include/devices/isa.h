/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bus and what sits on it. All ISA devices share the chipset's lock (that of the bridge
 * which offers the bus).
 */
#ifndef DEVICES_ISA_H
#define DEVICES_ISA_H

#include "vm/device.h"
#include "vm/irq.h"
#include "vm/memory.h"
#include "vm/vm.h"

typedef struct {
    Bus bus;
    Device *dma[2]; /* the controllers of channels 0 to 3, and 4 to 7; NULL: there is none */
} IsaBus;
/* DeviceClass.bus_data of devices that firmware knows by a path: "fw_name@IOBASE". */
typedef struct {
    const char *fw_name;
    size_t iobase_offset; /* of a uint32_t, from the start of the device */
} IsaDeviceInfo;
extern const BusClass isa_bus_class;
void isa_bus_init(IsaBus *isa, Vm *vm, Device *bridge);
/* Connects line to IRQ 0..15 of the board. */
static inline void isa_connect_irq(Device *dev, IrqLine *line, unsigned irq)
{
    irq_connect(dev, line, irq_gsi(dev->vm, irq));
}
/* Called from realize. unrealize unmaps the ports by io_region_unmap(). */
void isa_map_ports(Device *dev, IoRegion *r, uint16_t port);

/* Functions of particular ISA devices, for boards and for other devices. */

/* RTC (devices/timer/mc146818rtc.c). */
void rtc_set_cmos(Device *rtc, unsigned index, uint8_t value);
/* Ticks that the guest has missed will not come (lost_tick_policy=slew). */
void rtc_forget_lost_ticks(Vm *vm);

/*
 * fw_cfg (devices/misc/fw_cfg.c). Data is copied unless stated otherwise. Main thread, before the
 * VM runs; the modify and remove functions also while it runs.
 */
Device *fw_cfg_find(Vm *vm);
void fw_cfg_add_bytes(Device *fw, uint16_t key, const void *data, size_t len);
void fw_cfg_add_u16(Device *fw, uint16_t key, uint16_t v);
void fw_cfg_add_u32(Device *fw, uint16_t key, uint32_t v);
void fw_cfg_add_u64(Device *fw, uint16_t key, uint64_t v);
bool fw_cfg_add_file(Device *fw, const char *name, const void *data, size_t len, GError **err);
/*
 * As fw_cfg_add_file(). 'selected' is called with the device lock held when the guest selects the
 * file. It may build contents on demand by fw_cfg_modify_file(), for this file or others.
 */
bool fw_cfg_add_file_callback(Device *fw, const char *name, void *data, size_t len,
                              void (*selected)(void *opaque), void *opaque, GError **err);
/*
 * A file that the guest may write by DMA. 'data' is borrowed and written in place; then 'written'
 * is called with the device lock held.
 */
bool fw_cfg_add_file_writable(Device *fw, const char *name, void *data, size_t len,
                              void (*written)(void *opaque, size_t offset, size_t len),
                              void *opaque, GError **err);
void fw_cfg_remove_file(Device *fw, const char *name);
/* Replaces or adds a file. The guest sees the change when it next selects the file. */
void fw_cfg_modify_file(Device *fw, const char *name, const void *data, size_t len);
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_ACPI_TABLES = 0x8000,
    FW_CFG_SMBIOS_ENTRIES = 0x8001,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_E820_TABLE = 0x8003,
    FW_CFG_HPET = 0x8004,
};

/* Power management (devices/platform/piix4_pm.c). The first port of the PM1 block; 0: disabled. */
uint16_t piix4_pm_base(Device *pm);
#define PIIX4_PM_BASE          0x600
#define PIIX4_SMB_BASE         0x700
#define PIIX4_GPE_BASE         0xafe0
#define PIIX4_SMI_CMD          0xb2
#define PIIX4_ACPI_ENABLE      0xf1
#define PIIX4_ACPI_DISABLE     0xf0
#define PIIX4_PCI_HOTPLUG_BASE 0xae00
#define PIIX4_CPU_HOTPLUG_BASE 0xaf00

/* Text of 'info pic' for the user-space interrupt controllers (devices/platform). g_free() it. */
char *i8259_info_text(Device *pic);
char *ioapic_info_text(Device *ioapic);

#endif
