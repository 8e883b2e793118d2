/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio over PCI (4.1): a PCI function with a virtio device behind it. A device's source file ends
 * in VIRTIO_PCI_CLASSES(), which defines its three PCI classes: NAME-pci (transitional by default),
 * NAME-pci-transitional and NAME-pci-non-transitional.
 */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include "devices/pci.h"
#include "devices/virtio.h"

#define VIRTIO_PCI_VECTORS_AUTO UINT32_MAX

#define VIRTIO_PCI_STATE(X)                                                                        \
    X(F, uint32_t, device_feature_select)                                                          \
    X(F, uint32_t, driver_feature_select)                                                          \
    X(F, uint16_t, queue_select)
STATE_STRUCT(VirtioPciState, VIRTIO_PCI_STATE);
const StateDesc *virtio_pci_state_desc(void);

typedef enum { VIRTIO_PCI_GENERIC, VIRTIO_PCI_TRANSITIONAL, VIRTIO_PCI_MODERN } VirtioPciKind;

typedef struct {
    PciDeviceInfo pci;
    uint16_t virtio_id;       /* 5 */
    uint16_t transitional_id; /* 4.1.2.1 */
    VirtioPciKind kind;
} VirtioPciInfo;

typedef struct VirtioPci {
    PciDevice pci;
    VirtioPciState s;
    Bus bus;
    VirtioDevice *vdev;
    IoRegion legacy, modern;
    bool has_legacy, has_modern;
    unsigned notify_stride; /* bytes between two queues' notification addresses */
    uint8_t cfg_cap;        /* offset of VIRTIO_PCI_CAP_PCI_CFG */
    DeviceBh *intx_bh;
    IoEventFd *eventfds[VIRTIO_QUEUE_MAX];
    /* Arguments of the deferred functions. */
    uint8_t deferred_status;
    unsigned deferred_queue;
    /* Properties. */
    int disable_legacy;
    bool disable_modern, ioeventfd, page_per_vq, modern_pio_notify, ats, aer, migrate_extra;
    uint32_t vectors;
} VirtioPci;

/* Properties of every class. NAME-pci also has VIRTIO_PCI_KIND_PROPS. */
#define VIRTIO_PCI_PROPS                                                                           \
    PROP("ioeventfd", PROP_BOOL, VirtioPci, ioeventfd, "on", "kicks bypass the program"),          \
        PROP("page-per-vq", PROP_BOOL, VirtioPci, page_per_vq, "off",                              \
             "a page of notification addresses for each queue"),                                   \
        {.name = "modern-pio-notify",                                                              \
         .type = PROP_BOOL,                                                                        \
         .offset = offsetof(VirtioPci, modern_pio_notify),                                         \
         .defval = "off",                                                                          \
         .help = "kicks by port",                                                                  \
         .flags = PROP_FLAG_FIXED},                                                                \
        {.name = "ats",                                                                            \
         .type = PROP_BOOL,                                                                        \
         .offset = offsetof(VirtioPci, ats),                                                       \
         .defval = "off",                                                                          \
         .help = "address translation services",                                                   \
         .flags = PROP_FLAG_FIXED},                                                                \
    {                                                                                              \
        .name = "aer", .type = PROP_BOOL, .offset = offsetof(VirtioPci, aer), .defval = "off",     \
        .help = "advanced error reporting", .flags = PROP_FLAG_FIXED                               \
    }
#define VIRTIO_PCI_KIND_PROPS                                                                      \
    {.name = "disable-legacy",                                                                     \
     .type = PROP_ON_OFF_AUTO,                                                                     \
     .offset = offsetof(VirtioPci, disable_legacy),                                                \
     .defval = "auto",                                                                             \
     .help = "leave out the interface of before virtio 1.0"},                                      \
        PROP("disable-modern", PROP_BOOL, VirtioPci, disable_modern, "off",                        \
             "leave out the interface of virtio 1.0")
#define VIRTIO_PCI_VECTORS_PROP(def)                                                               \
    PROP("vectors", PROP_UINT32, VirtioPci, vectors, def, "MSI-X vectors")

extern const StateSection virtio_pci_state[];
bool virtio_pci_realize(Device *dev, GError **err);
void virtio_pci_unrealize(Device *dev);
void virtio_pci_reset(Device *dev, ResetKind kind);
void virtio_pci_post_load(Device *dev);
void virtio_pci_config_written(PciDevice *pci, unsigned offset, unsigned len);
void virtio_pci_config_reading(PciDevice *pci, unsigned offset, unsigned len);

#define VIRTIO_PCI_INFO_(id_, trans_, class_, rom_, kind_)                                         \
    {                                                                                              \
        .pci = {.vendor_id = PCI_VENDOR_ID_REDHAT_QUMRANET,                                        \
                .device_id = (kind_) == VIRTIO_PCI_MODERN ? 0x1040 + (id_) : (trans_),             \
                .subsystem_vendor_id = PCI_SUBVENDOR_ID_REDHAT_QUMRANET,                           \
                .subsystem_id = (kind_) == VIRTIO_PCI_MODERN ? PCI_SUBDEVICE_ID_QEMU : (id_),      \
                .revision = (kind_) == VIRTIO_PCI_MODERN,                                          \
                .class_id = (class_),                                                              \
                .interrupt_pin = 1,                                                                \
                .romfile = (rom_),                                                                 \
                .config_written = virtio_pci_config_written,                                       \
                .config_reading = virtio_pci_config_reading},                                      \
        .virtio_id = (id_), .transitional_id = (trans_), .kind = (kind_)                           \
    }
#define VIRTIO_PCI_CLASS_(sym, name_, alias_, desc_, category_, child_, props_, info_)             \
    const DeviceClass sym = {                                                                      \
        .name = name_,                                                                             \
        .alias = alias_,                                                                           \
        .bus = "PCI",                                                                              \
        .desc = desc_,                                                                             \
        .category = category_,                                                                     \
        .size = sizeof(VirtioPci),                                                                 \
        .props = props_,                                                                           \
        .bus_props = pci_device_props,                                                             \
        .state = virtio_pci_state,                                                                 \
        .realize = virtio_pci_realize,                                                             \
        .unrealize = virtio_pci_unrealize,                                                         \
        .reset = virtio_pci_reset,                                                                 \
        .check_state = pci_device_check_state,                                                     \
        .post_load = virtio_pci_post_load,                                                         \
        .child = &(child_),                                                                        \
        .bus_data = &(info_),                                                                      \
        .hotpluggable = true,                                                                      \
        .object_parent = "virtio-pci",                                                             \
    }

/*
 * sym: virtio_blk gives virtio_blk_pci_class, ..._transitional_class, ..._non_transitional_class.
 * The variable arguments are further properties, such as VIRTIO_PCI_VECTORS_PROP(def): 'def' is the
 * number of vectors as text; "4294967295": one for each queue and one for the configuration.
 */
#define VIRTIO_PCI_CLASSES(sym, name, desc, category, child, id, trans, class, ...)                \
    VIRTIO_PCI_CLASSES_ROM(sym, name, desc, category, child, id, trans, class, NULL, __VA_ARGS__)
/* The same with a boot ROM. */
#define VIRTIO_PCI_CLASSES_ROM(sym, name, desc, category, child, id, trans, class, rom, ...)       \
    static const Property sym##_pci_props[] = {VIRTIO_PCI_KIND_PROPS, VIRTIO_PCI_PROPS,            \
                                               __VA_ARGS__ PROP_END};                              \
    static const Property sym##_pci_fixed_props[] = {VIRTIO_PCI_PROPS, __VA_ARGS__ PROP_END};      \
    static const VirtioPciInfo sym##_pci_info =                                                    \
        VIRTIO_PCI_INFO_(id, trans, class, rom, VIRTIO_PCI_GENERIC);                               \
    static const VirtioPciInfo sym##_pci_trans_info =                                              \
        VIRTIO_PCI_INFO_(id, trans, class, rom, VIRTIO_PCI_TRANSITIONAL);                          \
    static const VirtioPciInfo sym##_pci_modern_info =                                             \
        VIRTIO_PCI_INFO_(id, trans, class, rom, VIRTIO_PCI_MODERN);                                \
    VIRTIO_PCI_CLASS_(sym##_pci_class, name "-pci", name, desc, category, child, sym##_pci_props,  \
                      sym##_pci_info);                                                             \
    VIRTIO_PCI_CLASS_(sym##_pci_transitional_class, name "-pci-transitional", NULL, desc,          \
                      category, child, sym##_pci_fixed_props, sym##_pci_trans_info);               \
    VIRTIO_PCI_CLASS_(sym##_pci_non_transitional_class, name "-pci-non-transitional", NULL, desc,  \
                      category, child, sym##_pci_fixed_props, sym##_pci_modern_info)

#endif
