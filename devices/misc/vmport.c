/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMware's backdoor port, with the commands that guests of other hypervisors use: a 32-bit IN from
 * 0x5658 with a magic number in EAX and a command in CX. (VMware Knowledge Base 1009458,
 * "Mechanisms to determine if software is running in a VMware virtual machine".)
 *
 * Arguments and results are in registers that an I/O exit does not carry. The read handler runs on
 * the vCPU's own thread and gets them from KVM.
 */
#include <linux/kvm.h>
#include "devices/isa.h"
#include "vm/vcpu.h"

#define VMPORT_PORT  0x5658
#define VMPORT_MAGIC 0x564d5868 /* "VMXh" */

enum {
    VMPORT_CMD_GETVERSION = 0x0a,
    VMPORT_CMD_GETBIOSUUID = 0x13,
    VMPORT_CMD_GETRAMSIZE = 0x14,
};

typedef struct {
    Device dev;
    uint32_t vmx_version;
    uint8_t vmx_type;
    IoRegion io;
} VmPort;

static const Property vmport_props[] = {
    PROP("vmware-vmx-version", PROP_UINT32, VmPort, vmx_version, "6", "product version reported"),
    PROP("vmware-vmx-type", PROP_UINT8, VmPort, vmx_type, "2", "product type reported"),
    PROP_END,
};

static uint64_t vmport_read(IoRegion *region, uint64_t offset, unsigned size)
{
    VmPort *d = container_of(region, VmPort, io);
    Vm *vm = d->dev.vm;
    Vcpu *cpu = vcpu_current();
    struct kvm_regs regs;
    if (!cpu || !kvm_enabled(vm) || kvm_vcpu_ioctl(cpu, KVM_GET_REGS, &regs) < 0 ||
        (uint32_t)regs.rax != VMPORT_MAGIC) {
        return UINT32_MAX;
    }
    uint32_t eax;
    uint8_t uuid[16];
    switch ((uint16_t)regs.rcx) {
    case VMPORT_CMD_GETVERSION:
        regs.rbx = VMPORT_MAGIC;
        regs.rcx = d->vmx_type;
        eax = d->vmx_version;
        break;
    case VMPORT_CMD_GETBIOSUUID:
        memcpy(uuid, vm->uuid, sizeof uuid);
        eax = ldle32(uuid);
        regs.rbx = ldle32(uuid + 4);
        regs.rcx = ldle32(uuid + 8);
        regs.rdx = ldle32(uuid + 12);
        break;
    case VMPORT_CMD_GETRAMSIZE:
        regs.rbx = 0x1177;
        eax = vm->ram_size;
        break;
    default:
        return UINT32_MAX;
    }
    /* IN's result goes into RAX and into the exit: which one counts depends on the host's KVM. */
    regs.rax = eax;
    kvm_vcpu_ioctl(cpu, KVM_SET_REGS, &regs);
    return eax;
}

static IoResult vmport_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    return IO_OK;
}

static const IoRegionOps vmport_ops = {
    .read = vmport_read,
    .write = vmport_write,
    .valid_min = 4,
    .valid_max = 4,
    .unaligned = true,
};

static bool vmport_realize(Device *dev, GError **err)
{
    VmPort *d = container_of(dev, VmPort, dev);
    io_region_init(&d->io, dev, &vmport_ops, "vmport", 4);
    isa_map_ports(dev, &d->io, VMPORT_PORT);
    return true;
}

static void vmport_unrealize(Device *dev)
{
    io_region_unmap(dev->vm, &container_of(dev, VmPort, dev)->io);
}

const DeviceClass vmport_class = {
    .name = "vmport",
    .bus = "ISA",
    .desc = "VMware's backdoor port",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(VmPort),
    .props = vmport_props,
    .state = device_no_state,
    .realize = vmport_realize,
    .unrealize = vmport_unrealize,
    .reset = device_no_reset,
    .internal = true,
    .object_parent = "isa-device",
};
