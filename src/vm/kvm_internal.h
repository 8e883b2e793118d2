/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the files of the KVM accelerator. */
#ifndef VM_KVM_INTERNAL_H
#define VM_KVM_INTERNAL_H

#include <linux/kvm.h>

#include "vcpu_internal.h"

typedef struct {
    uint64_t gpa, size;
    RamBlock *block;
    uint64_t offset;
    bool used, readonly, log;
} KvmSlot;

typedef struct {
    int kvm_fd, vm_fd;
    int vcpu_mmap_size;
    KvmIrqchip irqchip;
    bool ioeventfd_any_length;
    bool warned;       /* that the host has no hardware virtualization */
    GArray *slots;     /* of KvmSlot; under the map lock */
    GMutex route_lock; /* leaf */
    GArray *routes;    /* of struct kvm_irq_routing_entry */
    uint8_t *gsi_used; /* bitmap of MSI GSIs */
    unsigned gsi_max;
    Device *eoi_owner;
    void (*eoi_handler)(Device *owner, uint8_t vector);
    Device *pic;
    bool (*extint_pending)(Device *pic);
    int (*extint_acknowledge)(Device *pic);
} KvmState;

static inline KvmState *kvm_state(const Vm *vm)
{
    return vm->accel_state;
}

void kvm_routes_init(Vm *vm);
void kvm_routes_free(Vm *vm);
void kvm_set_gsi(Vm *vm, unsigned gsi, bool level);
void kvm_send_msi(Vm *vm, uint64_t addr, uint32_t data);
int kvm_msi_route_add(Vm *vm, uint64_t addr, uint32_t data, int fd);
void kvm_msi_route_update(Vm *vm, int gsi, uint64_t addr, uint32_t data);
void kvm_msi_route_del(Vm *vm, int gsi, int fd);

#endif
