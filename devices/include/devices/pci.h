/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI: the bus, configuration space, BARs, INTx, MSI and MSI-X. (PCI Local Bus 3.0, PCI-to-PCI
 * Bridge 1.2.)
 *
 * A PCI device embeds PciDevice first. Its class: bus = "PCI", bus_props = pci_device_props,
 * bus_data = a PciDeviceInfo, state = its own sections plus PCI_STATE(Type, member). The bus fills
 * in configuration space before class->realize, shows the function to the guest after it, and takes
 * function, BARs and interrupts away before unrealize.
 * The class's reset, check_state and post_load call pci_device_reset(), pci_device_check_state()
 * and pci_device_post_load(). A class that adds nothing of its own names pci_device_only_reset()
 * and the other two directly.
 *
 * A configuration access finds its device without a lock, then takes the device's lock.
 */
#ifndef DEVICES_PCI_H
#define DEVICES_PCI_H

#include "vm/device.h"
#include "vm/irq.h"
#include "vm/memory.h"
#include "vm/vm.h"

typedef struct PciDevice PciDevice;
typedef struct PciBus PciBus;

#define PCI_DEVFN(slot, fn) (((slot) << 3) | (fn))
#define PCI_SLOT(devfn)     (((devfn) >> 3) & 0x1f)
#define PCI_FUNC(devfn)     ((devfn)&7)
#define PCI_CONFIG_SIZE     256
#define PCIE_CONFIG_SIZE    4096
#define PCI_BAR_COUNT       6
#define PCI_ROM_BAR         6
#define PCI_MSIX_MAX        256 /* vectors we offer at most; the specification's limit is 2048 */

typedef struct {
    uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
    uint8_t revision, prog_if;
    uint16_t class_id;     /* class and subclass, as PCI_CLASS_* */
    uint8_t interrupt_pin; /* 1 = INTA, 0: none */
    bool multifunction;    /* header type bit 7 is set even without multifunction=on */
    bool is_bridge;        /* type 1 header */
    const char *romfile;   /* boot ROM when the user names none; may be missing. NULL: none */
    /*
     * Called after a write was stored and BARs, command register, MSI and MSI-X were updated. May
     * be NULL. May call device_defer(). Device lock held.
     */
    void (*config_written)(PciDevice *pci, unsigned offset, unsigned len);
    /* Called before a read, to bring s.config up to date. May be NULL. Device lock held. */
    void (*config_reading)(PciDevice *pci, unsigned offset, unsigned len);
} PciDeviceInfo;

typedef enum {
    PCI_BAR_IO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM64,
    PCI_BAR_MEM32_PREFETCH,
    PCI_BAR_MEM64_PREFETCH
} PciBarType;

#define PCI_MSIX_ENTRY_STATE(X)                                                                    \
    X(F, uint64_t, addr)                                                                           \
    X(F, uint32_t, data)                                                                           \
    X(F, uint32_t, control)
STATE_STRUCT(PciMsixEntry, PCI_MSIX_ENTRY_STATE);

#define PCI_DEVICE_STATE(X)                                                                        \
    X(A, uint8_t, config, PCI_CONFIG_SIZE)                                                         \
    X(F, bool, intx_level)                                                                         \
    X(SA, PciMsixEntry, msix_table, pci_msix_entry, PCI_MSIX_MAX)                                  \
    X(A, uint64_t, msix_pending, (PCI_MSIX_MAX / 64))                                              \
    X(F, uint32_t, msi_pending)
STATE_STRUCT(PciDeviceState, PCI_DEVICE_STATE);
const StateDesc *pci_device_state_desc(void);

struct PciDevice {
    Device dev;
    PciDeviceState s;
    uint8_t wmask[PCI_CONFIG_SIZE]; /* bits the guest may write */
    uint8_t w1cmask[PCI_CONFIG_SIZE];
    uint8_t identity[64]; /* the header as realize left it; pci_device_check_state() compares */
    bool identity_known;
    uint8_t devfn;
    uint8_t cap_end; /* offset of the next capability to be added */
    struct {
        IoRegion *region; /* NULL: no such BAR */
        PciBarType type;
        uint64_t mapped_at; /* UINT64_MAX: not mapped */
    } bar[PCI_BAR_COUNT + 1];
    IrqLine intx;
    uint16_t msix_count;
    uint8_t msix_cap, msi_cap, pm_cap; /* offsets of the capabilities; 0: none */
    IoRegion msix_region;              /* table and PBA */
    uint8_t msix_bar;
    uint32_t msix_table_offset, msix_pba_offset; /* in the BAR */
    IoRegion *msix_container; /* the BAR's region where MSI-X shares the BAR; else NULL */
    /* Called when a vector's mask or message changed, to update irqfds. Device lock held. May be
     * NULL. */
    void (*msix_changed)(PciDevice *pci, unsigned vector);
    /* Atomic copies of fields of configuration space, for threads that hold no lock. */
    uint32_t msix_control; /* Message Control: PCI_MSIX_FLAGS_ENABLE, _MASKALL */
    uint32_t msi_enabled, msi_mask, msi_data;
    uint64_t msi_addr;
    uint32_t dma_enabled;
    /* Properties. */
    int32_t addr; /* PROP_PCI_ADDR; -1: first free */
    bool multifunction;
    char *romfile;
    uint32_t romsize, rombar, acpi_index;
    bool usual_rom; /* the ROM is PciDeviceInfo.romfile, not the user's */
    RamBlock *rom;
    IoRegion rom_region;
};

#define PCI_DEVICE(obj) (&(obj)->pci) /* structs that begin with 'PciDevice pci' */
#define PCI_STATE(type, member)                                                                    \
    {                                                                                              \
        pci_device_state_desc, offsetof(type, member.s)                                            \
    }
extern const Property
    pci_device_props[]; /* addr, multifunction, romfile, rombar: offsets into PciDevice */

static inline PciBus *pci_bus_of(const PciDevice *pci)
{
    return (PciBus *)pci->dev.bus;
}

/* The PCI part of a device's reset and of loading its state. Device lock held, or VM paused. */
void pci_device_reset(PciDevice *pci);
void pci_device_only_reset(Device *dev, ResetKind kind); /* as class->reset */
bool pci_device_check_state(Device *dev, unsigned section, const void *state, GError **err);
void pci_device_post_load(Device *dev);

/*
 * Priorities of BARs among the regions of an address space.
 * Memory: below RAM, ROM and the chipset's registers, which a BAR must not hide while the guest
 * sizes or misplaces it.
 * Ports: above ISA devices, because ISA is decoded subtractively: a port that a PCI device claims
 * never reaches the ISA bus.
 */
#define PCI_BAR_PRIORITY_MEM (-1)
#define PCI_BAR_PRIORITY_IO  1

/*
 * The next functions are for realize; they assert on misuse. 'region' stays the caller's. Its size
 * is a power of two: at least 16 bytes of memory, or 4 ports.
 */
void pci_register_bar(PciDevice *pci, unsigned n, PciBarType type, IoRegion *region);
/* Adds a read-only capability with its id and next pointer, and returns its offset. 'offset' 0: the
 * next free place. */
uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t offset, uint8_t size);
/*
 * Adds MSI-X with its table at table_offset and its PBA at pba_offset of BAR 'bar'. 'container' is
 * the BAR's region where it holds registers too: the table is mapped over it. 'container' NULL:
 * the BAR is made here and holds only table and PBA.
 */
bool pci_msix_init(PciDevice *pci, unsigned vectors, unsigned bar, IoRegion *container,
                   uint32_t table_offset, uint32_t pba_offset, GError **err);
void pci_msix_exit(PciDevice *pci);
void pci_msi_init(PciDevice *pci, unsigned vectors, bool addr64, bool mask);

/* Copies the vendor and device id of configuration space into the class's ROM. For devices whose
 * realize changes the ids. */
void pci_rom_adopt(PciDevice *pci);
/* Whether dev is a PCI function with an option ROM. dev may sit on any bus. */
bool pci_has_rom(const Device *dev);

/* At run time. pci_set_irq() (INTx): device lock held. MSI and MSI-X: any thread. */
void pci_set_irq(PciDevice *pci, bool level);
bool pci_msix_enabled(const PciDevice *pci);
bool pci_msix_masked(const PciDevice *pci, unsigned vector);
/* The message of a vector, for routes. Device lock held. */
void pci_msix_message(const PciDevice *pci, unsigned vector, uint64_t *addr, uint32_t *data);
/* Sends the vector's message, or sets its pending bit while it is masked. */
void pci_msix_notify(PciDevice *pci, unsigned vector);
bool pci_msi_enabled(const PciDevice *pci);
void pci_msi_notify(PciDevice *pci, unsigned vector);
/* Bus-master DMA is on (command register). */
bool pci_can_dma(const PciDevice *pci);

static inline uint16_t pci_config16(const PciDevice *pci, unsigned off)
{
    return ldle16(pci->s.config + off);
}
static inline uint32_t pci_config32(const PciDevice *pci, unsigned off)
{
    return ldle32(pci->s.config + off);
}

/* The bus. Embedded in a host bridge. */
struct PciBus {
    Bus bus;
    PciDevice *devices[256]; /* by devfn; atomic: read without a lock (see base/reclaim.h) */
    uint8_t number;
    PciBus *parent;
    /* The index in irq_pins that a pin is wired to, modulo irq_pin_count. NULL: slot + pin. */
    unsigned (*map_irq)(PciDevice *pci, unsigned pin /* 0 = A */);
    IrqPin *irq_pins; /* the router's inputs (PIRQA..D); NULL until there is one */
    unsigned irq_pin_count;
    /*
     * ACPI hot-plug. The controller announces to the guest that a device was added or should be
     * removed. NULL: additions are not announced and removal requests are refused. Main loop.
     */
    Device *hotplug_controller;
    void (*hotplug)(Device *controller, PciDevice *pci);
    bool (*unplug_request)(Device *controller, PciDevice *pci, bool *gone, GError **err);
    void (*detached)(Device *controller, PciDevice *pci); /* after any removal */
};
extern const BusClass pci_bus_class;
void pci_bus_init(PciBus *bus, Vm *vm, Device *host, const char *name);
void pci_bus_destroy(PciBus *bus);
/* Connects the INTx pins of present and future devices to the IRQ router's inputs. */
void pci_bus_set_irq_pins(PciBus *bus, IrqPin *pins, unsigned count);
PciDevice *pci_find_device(PciBus *bus, unsigned devfn);
/*
 * Configuration accesses as the guest makes them: 1, 2 or 4 bytes inside a dword. Reads give all
 * ones where no device is. They take the device's lock and wait for deferred work, so the caller
 * holds no lock.
 */
uint32_t pci_config_read(PciBus *root, uint32_t addr /* bus<<16|devfn<<8|reg */, unsigned len);
void pci_config_write(PciBus *root, uint32_t addr, uint32_t value, unsigned len);
/* The root bus of the machine ("pci.0"), or NULL. */
PciBus *pci_root(Vm *vm);
/* Direct kernel boot: programs all BARs and interrupt lines as firmware would. mem64_base 0: 64-bit
 * BARs go to mem32_base. irq_of NULL: interrupt lines are left alone. */
void pci_assign_resources(PciBus *root, uint64_t io_base, uint64_t mem32_base, uint64_t mem64_base,
                          uint8_t (*irq_of)(PciDevice *pci, unsigned pin));
char *pci_info_text(Vm *vm); /* text of 'info pci'; g_free() it */

/* Class codes and registers: PCI Code and ID Assignment; names as in Linux' pci_regs.h come from
 * <linux/pci_regs.h>. */
#define PCI_CLASS_STORAGE_SCSI           0x0100
#define PCI_CLASS_STORAGE_IDE            0x0101
#define PCI_CLASS_NETWORK_ETHERNET       0x0200
#define PCI_CLASS_DISPLAY_VGA            0x0300
#define PCI_CLASS_BRIDGE_HOST            0x0600
#define PCI_CLASS_BRIDGE_ISA             0x0601
#define PCI_CLASS_BRIDGE_OTHER           0x0680
#define PCI_CLASS_COMMUNICATION_OTHER    0x0780
#define PCI_CLASS_SERIAL_USB             0x0c03
#define PCI_CLASS_OTHERS                 0x00ff
#define PCI_VENDOR_ID_INTEL              0x8086
#define PCI_VENDOR_ID_REDHAT             0x1b36
#define PCI_VENDOR_ID_REDHAT_QUMRANET    0x1af4
#define PCI_SUBVENDOR_ID_REDHAT_QUMRANET 0x1af4
#define PCI_SUBDEVICE_ID_QEMU            0x1100

#endif
