/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one array of device classes. */
#include "devices/devices.h"

extern const DeviceClass
    /* pci, platform, timer */
    i440fx_pcihost_class,
    i440fx_class, piix3_class, piix4_pm_class, i8257_class, i8259_class, ioapic_class,
    isa_pit_class, pc_testdev_class, pci_testdev_class, mc146818rtc_class, port92_class, hpet_class,
    /* KVM's, from arch/x86 */
    kvm_i8259_class, kvm_ioapic_class, kvm_pit_class, kvm_clock_class,
    /* char, input, misc */
    isa_serial_class, isa_debugcon_class, i8042_class, fw_cfg_io_class, isa_debug_exit_class,
    pvpanic_class, port80_class, vmport_class, ib700_class,
    /* storage */
    piix_ide_class, ide_hd_class, ide_cd_class, isa_fdc_class, floppy_class,
    /* display */
    vga_pci_class,
    /* virtio */
    virtio_blk_pci_class, virtio_blk_pci_transitional_class, virtio_blk_pci_non_transitional_class,
    virtio_net_pci_class, virtio_net_pci_transitional_class, virtio_net_pci_non_transitional_class,
    virtio_balloon_pci_class, virtio_balloon_pci_transitional_class,
    virtio_balloon_pci_non_transitional_class, virtio_serial_pci_class,
    virtio_serial_pci_transitional_class, virtio_serial_pci_non_transitional_class,
    virtconsole_class, virtserialport_class, virtio_rng_pci_class,
    virtio_rng_pci_transitional_class, virtio_rng_pci_non_transitional_class,
    /* net, usb */
    e1000_class, e1000_82544gc_class, e1000_82545em_class, rtl8139_class, piix3_usb_uhci_class,
    piix4_usb_uhci_class, ich9_usb_ehci1_class, ich9_usb_uhci1_class, ich9_usb_uhci2_class,
    ich9_usb_uhci3_class, usb_ehci_class, qemu_xhci_class, nec_usb_xhci_class, usb_hub_class,
    usb_kbd_class, usb_mouse_class, usb_storage_class, usb_tablet_class, device_class_end_;

const DeviceClass *const all_device_classes[] = {
    /* pci, platform, timer */
    &i440fx_pcihost_class,
    &i440fx_class,
    &piix3_class,
    &piix4_pm_class,
    &i8257_class,
    &i8259_class,
    &ioapic_class,
    &isa_pit_class,
    &pc_testdev_class,
    &pci_testdev_class,
    &mc146818rtc_class,
    &port92_class,
    &hpet_class,
    /* KVM's, from arch/x86 */
    &kvm_i8259_class,
    &kvm_ioapic_class,
    &kvm_pit_class,
    &kvm_clock_class,
    /* char, input, misc */
    &isa_serial_class,
    &isa_debugcon_class,
    &i8042_class,
    &fw_cfg_io_class,
    &isa_debug_exit_class,
    &pvpanic_class,
    &port80_class,
    &vmport_class,
    &ib700_class,
    /* storage */
    &piix_ide_class,
    &ide_hd_class,
    &ide_cd_class,
    &isa_fdc_class,
    &floppy_class,
    /* display */
    &vga_pci_class,
    /* virtio */
    &virtio_blk_pci_class,
    &virtio_blk_pci_transitional_class,
    &virtio_blk_pci_non_transitional_class,
    &virtio_net_pci_class,
    &virtio_net_pci_transitional_class,
    &virtio_net_pci_non_transitional_class,
    &virtio_balloon_pci_class,
    &virtio_balloon_pci_transitional_class,
    &virtio_balloon_pci_non_transitional_class,
    &virtio_serial_pci_class,
    &virtio_serial_pci_transitional_class,
    &virtio_serial_pci_non_transitional_class,
    &virtconsole_class,
    &virtserialport_class,
    &virtio_rng_pci_class,
    &virtio_rng_pci_transitional_class,
    &virtio_rng_pci_non_transitional_class,
    /* net */
    &e1000_class,
    &e1000_82544gc_class,
    &e1000_82545em_class,
    &rtl8139_class,
    /* usb */
    &ich9_usb_ehci1_class,
    &ich9_usb_uhci1_class,
    &ich9_usb_uhci2_class,
    &ich9_usb_uhci3_class,
    &piix3_usb_uhci_class,
    &piix4_usb_uhci_class,
    &qemu_xhci_class,
    &nec_usb_xhci_class,
    &usb_ehci_class,
    &usb_hub_class,
    &usb_kbd_class,
    &usb_mouse_class,
    &usb_storage_class,
    &usb_tablet_class,
    NULL,
};
