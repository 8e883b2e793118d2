/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/qemu_names.h"

#include <string.h>
#include "base/error.h"

/*
 * One list for each kind, in alphabetical order. A name is removed from its list when the program
 * supports it; a test fails where a supported name is listed. "*END" is any name that ends in END.
 */
static const char *const lists[] = {
    [QEMU_OPTION] =
        "async-teardown audio audio-help compat dfilter dump-vmstate enable-sync-profile fsdev "
        "full-screen iscsi mtdblock no-fd-bootchk only-migratable plugin portrait preconfig "
        "rotate sd seed singlestep tpmdev virtfs win2k-hack xen-attach xen-domid "
        "xen-domid-restrict",
    [QEMU_COMMAND] = "calc_dirty_rate "
                     "cancel_vcpu_dirty_limit client_migrate_info "
                     "dumpdtb exit_preconfig "
                     "migrate migrate_cancel migrate_continue "
                     "migrate_incoming migrate_pause migrate_recover "
                     "migrate_set_parameter migrate_start_postcopy "
                     "pcie_aer_inject_error "
                     "replay_break replay_delete_break replay_seek "
                     "set_vcpu_dirty_limit singlestep "
                     "stopcapture sync-profile "
                     "wavcapture x_colo_lost_heartbeat",
    [QEMU_INFO] = "dirty_rate "
                  "migrate migrate_parameters "
                  "rocker rocker-of-dpa-flows "
                  "rocker-of-dpa-groups rocker-ports sev sgx spice sync-profile "
                  "usbhost vcpu_dirty_limit",
    [QEMU_QMP] =
        "calc-dirty-rate cancel-vcpu-dirty-limit "
        "client_migrate_info display-reload display-update "
        "dumpdtb "
        "migrate migrate-continue migrate-incoming migrate-pause migrate-recover "
        "migrate-set-parameters migrate-start-postcopy migrate_cancel "
        "query-colo-status query-cpu-model-expansion "
        "query-dirty-rate query-display-options "
        "query-migrate query-migrate-parameters query-rocker "
        "query-rocker-of-dpa-flows query-rocker-of-dpa-groups query-rocker-ports "
        "query-sev query-sev-attestation-report query-sev-capabilities query-sev-launch-measure "
        "query-sgx query-sgx-capabilities query-spice "
        "query-vcpu-dirty-limit "
        "query-xen-replication-status query-yank replay-break "
        "replay-delete-break replay-seek set-numa-node "
        "set-vcpu-dirty-limit sev-inject-launch-secret "
        "x-blockdev-set-iothread x-colo-lost-heartbeat "
        "x-exit-preconfig "
        "xen-colo-do-checkpoint xen-load-devices-state "
        "xen-save-devices-state xen-set-global-dirty-log xen-set-replication yank",
    [QEMU_DEVICE] =
        "*-x86_64-cpu AC97 AMDVI-PCI ES1370 ac97 acpi-erst adlib ahci am53c974 amd-iommu "
        "ati-vga bochs-display ccid-card-emulated ccid-card-passthru cirrus-vga cs4231a "
        "ctucan_pci cxl-downstream cxl-rp cxl-type3 cxl-upstream dc390 "
        "e1000e edu es1370 guest-loader gus hda-duplex "
        "hda-micro hda-output hv-syndbg hyperv-testdev i2c-ddc i6300esb i82550 i82551 i82557a "
        "i82557b i82557c i82558a i82558b i82559a i82559b i82559c i82559er i82562 i82801 "
        "i82801b11-bridge ich9-ahci ich9-intel-hda ich9-usb-ehci2 "
        "ich9-usb-uhci4 ich9-usb-uhci5 "
        "ich9-usb-uhci6 intel-hda intel-iommu ioh3420 ipmi-bmc-extern ipmi-bmc-sim "
        "ipoctal232 isa-applesmc isa-cirrus-vga isa-ide isa-ipmi-bt isa-ipmi-kcs "
        "isa-parallel isa-vga ivshmem-doorbell ivshmem-plain kvaser_pci loader lsi lsi53c810 "
        "lsi53c895a megasas megasas-gen2 mioe3680_pci mptsas1068 ne2k_isa ne2k_pci "
        "nvdimm nvme nvme-ns nvme-subsys pc-dimm pci-bridge pci-bridge-seat pci-ipmi-bt "
        "pci-ipmi-kcs pci-ohci pci-serial pci-serial-2x pci-serial-4x pcie-pci-bridge "
        "pcie-root-port pcm3680_pci pcnet piix4-ide "
        "pvpanic-pci pvrdma pvscsi pxb pxb-cxl pxb-pcie qxl qxl-vga ramfb rocker "
        "sb16 scsi-block scsi-cd scsi-generic scsi-hd sd-card sdhci-pci secondary-vga sga "
        "smbus-ipmi tpci200 tpm-crb tpm-tis tulip u2f-passthru usb-audio usb-bot usb-braille "
        "usb-ccid usb-host usb-mtp usb-net usb-redir "
        "usb-serial usb-uas usb-wacom-tablet vfio-pci "
        "vfio-pci-igd-lpc-bridge vfio-pci-nohotplug vhost-scsi vhost-scsi-pci "
        "vhost-scsi-pci-non-transitional vhost-scsi-pci-transitional vhost-user-blk "
        "vhost-user-blk-pci vhost-user-blk-pci-non-transitional vhost-user-blk-pci-transitional "
        "vhost-user-fs-device vhost-user-fs-pci vhost-user-gpio-device vhost-user-gpio-pci "
        "vhost-user-gpu vhost-user-gpu-pci vhost-user-i2c-device vhost-user-i2c-pci "
        "vhost-user-input vhost-user-input-pci vhost-user-rng vhost-user-rng-pci vhost-user-scsi "
        "vhost-user-scsi-pci vhost-user-scsi-pci-non-transitional "
        "vhost-user-scsi-pci-transitional vhost-user-vga vhost-user-vsock-device "
        "vhost-user-vsock-pci vhost-user-vsock-pci-non-transitional vhost-vsock-device "
        "vhost-vsock-pci vhost-vsock-pci-non-transitional virtio-9p virtio-9p-device "
        "virtio-9p-pci virtio-9p-pci-non-transitional virtio-9p-pci-transitional "
        "virtio-crypto-device virtio-crypto-pci virtio-gpu virtio-gpu-device virtio-gpu-gl "
        "virtio-gpu-gl-pci virtio-gpu-pci virtio-input-host virtio-input-host-device "
        "virtio-input-host-pci virtio-iommu virtio-iommu-device virtio-iommu-pci virtio-keyboard "
        "virtio-keyboard-device virtio-keyboard-pci virtio-mem virtio-mem-pci virtio-mouse "
        "virtio-mouse-device virtio-mouse-pci virtio-pmem virtio-pmem-pci virtio-scsi "
        "virtio-scsi-device virtio-scsi-pci virtio-scsi-pci-non-transitional "
        "virtio-scsi-pci-transitional virtio-tablet virtio-tablet-device virtio-tablet-pci "
        "virtio-vga virtio-vga-gl vmbus-bridge vmcoreinfo vmgenid vmmouse vmware-svga vmxnet3 "
        "x-pci-proxy-dev x3130-upstream xio3130-downstream",
    [QEMU_OBJECT] =
        "authz-list-file authz-pam can-bus "
        "can-host-socketcan colo-compare cryptodev-backend cryptodev-backend-builtin "
        "cryptodev-backend-lkcf cryptodev-vhost-user dbus-vmstate filter-buffer "
        "filter-mirror filter-redirector filter-replay filter-rewriter input-barrier input-linux "
        "main-loop memory-backend-epc pef-guest pr-manager-helper qtest rng-egd s390-pv-guest "
        "secret_keyring sev-guest thread-context tls-cipher-suites "
        "x-remote-object x-vfio-user-server",
    [QEMU_BLOCK] = "blkreplay bochs cloop ftp ftps gluster iscsi iser "
                   "nfs nvme quorum rbd replication ssh",
    [QEMU_DRIVE_IF] = "mtd pflash scsi sd xen",
    [QEMU_NETDEV] = "l2tpv3 netmap vde vhost-user vhost-vdpa",
    [QEMU_CHARDEV] =
        "braille console dbus msmouse mux parallel parport qemu-vdagent spiceport spicevmc "
        "testdev wctablet",
    [QEMU_MACHINE] =
        "isapc microvm pc-i440fx-1.4 pc-i440fx-1.5 pc-i440fx-1.6 pc-i440fx-1.7 pc-i440fx-2.0 "
        "pc-i440fx-2.1 pc-i440fx-2.10 pc-i440fx-2.11 pc-i440fx-2.12 pc-i440fx-2.2 pc-i440fx-2.3 "
        "pc-i440fx-2.4 pc-i440fx-2.5 pc-i440fx-2.6 pc-i440fx-2.7 pc-i440fx-2.8 pc-i440fx-2.9 "
        "pc-i440fx-3.0 pc-i440fx-3.1 pc-i440fx-4.0 pc-i440fx-4.1 pc-i440fx-4.2 pc-i440fx-5.0 "
        "pc-i440fx-5.1 pc-i440fx-5.2 pc-i440fx-6.0 pc-i440fx-6.1 pc-i440fx-6.2 pc-i440fx-7.0 "
        "pc-i440fx-7.1 pc-q35-2.10 pc-q35-2.11 pc-q35-2.12 pc-q35-2.4 pc-q35-2.5 pc-q35-2.6 "
        "pc-q35-2.7 pc-q35-2.8 pc-q35-2.9 pc-q35-3.0 pc-q35-3.1 pc-q35-4.0 pc-q35-4.0.1 "
        "pc-q35-4.1 pc-q35-4.2 pc-q35-5.0 pc-q35-5.1 pc-q35-5.2 pc-q35-6.0 pc-q35-6.1 pc-q35-6.2 "
        "pc-q35-7.0 pc-q35-7.1 pc-q35-7.2 q35 x-remote",
    [QEMU_MACHINE_PROPERTY] =
        "bus-lock-ratelimit confidential-guest-support default-bus-bypass-iommu dt-compatible dtb "
        "dumpdtb max-fw-size memory-encryption pcspk-audiodev pflash0 pflash1 phandle-start "
        "sgx-epc smbios-entry-point-type suppress-vmdesc x-oem-id x-oem-table-id",
    [QEMU_ACCEL] = "hax hvf nvmm tcg whpx xen",
    [QEMU_AUDIODEV] = "alsa coreaudio dbus dsound jack oss pa sdl spice wav",
    [QEMU_LOG_ITEM] = "tid",
};

char **qemu_names(QemuNameKind kind)
{
    return g_strsplit(lists[kind], " ", -1);
}

bool qemu_name_known(QemuNameKind kind, const char *name)
{
    g_auto(GStrv) names = qemu_names(kind);

    for (char **n = names; *n; n++) {
        if (**n == '*' ? g_str_has_suffix(name, *n + 1) : !strcmp(*n, name)) {
            return true;
        }
    }
    return false;
}

bool qemu_name_refused(QemuNameKind kind, const char *name, GError **err)
{
    return qemu_name_known(kind, name) && !error_set(err, "'%s' is not in this program yet", name);
}
