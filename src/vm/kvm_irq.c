/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's interrupts: lines, messages, routes
 * (Documentation/virt/kvm/api.rst, 4.25, 4.52, 4.71, 4.75). */
#include <errno.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/trace.h"
#include "kvm_internal.h"

void kvm_routes_init(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);
    int max = kvm_check_extension(vm, KVM_CAP_IRQ_ROUTING);

    g_mutex_init(&kvm->route_lock);
    kvm->routes = g_array_new(FALSE, TRUE, sizeof(struct kvm_irq_routing_entry));
    kvm->gsi_max = MAX(max, IRQ_GSI_COUNT);
    kvm->gsi_used = g_malloc0(DIV_ROUND_UP(kvm->gsi_max, 8));
}

void kvm_routes_free(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);

    g_array_unref(kvm->routes);
    g_free(kvm->gsi_used);
    g_mutex_clear(&kvm->route_lock);
}

void kvm_set_gsi(Vm *vm, unsigned gsi, bool level)
{
    struct kvm_irq_level irq = {.irq = gsi, .level = level};

    if (kvm_vm_ioctl(vm, KVM_IRQ_LINE, &irq) < 0) {
        log_item(LOG_KVM, "KVM_IRQ_LINE %u failed", gsi);
    }
}

void kvm_send_msi(Vm *vm, uint64_t addr, uint32_t data)
{
    struct kvm_msi msi = {.address_lo = addr, .address_hi = addr >> 32, .data = data};

    /* A guest can program any message; one that addresses no CPU is the guest's fault. */
    if (kvm_vm_ioctl(vm, KVM_SIGNAL_MSI, &msi) < 0) {
        log_guest_error("message 0x%x to 0x%" G_GINT64_MODIFIER "x reaches no CPU", data, addr);
    }
}

static void set_routing(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);
    size_t bytes = kvm->routes->len * sizeof(struct kvm_irq_routing_entry);
    g_autofree struct kvm_irq_routing *table = g_malloc0(sizeof *table + bytes);
    int rc;

    table->nr = kvm->routes->len;
    if (bytes) {
        memcpy(table->entries, kvm->routes->data, bytes);
    }
    rc = kvm_vm_ioctl(vm, KVM_SET_GSI_ROUTING, table);
    if (rc < 0) {
        log_item(LOG_KVM, "KVM_SET_GSI_ROUTING of %u entries: %s", table->nr, g_strerror(-rc));
    }
}

void kvm_commit_routes(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);

    g_mutex_lock(&kvm->route_lock);
    set_routing(vm);
    g_mutex_unlock(&kvm->route_lock);
}

void kvm_route_irqchip(Vm *vm, unsigned gsi, unsigned irqchip, unsigned pin)
{
    KvmState *kvm = kvm_state(vm);
    struct kvm_irq_routing_entry e = {
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = irqchip, .pin = pin}};

    g_mutex_lock(&kvm->route_lock);
    g_array_append_val(kvm->routes, e);
    g_mutex_unlock(&kvm->route_lock);
}

static struct kvm_irq_routing_entry *find_msi(KvmState *kvm, unsigned gsi)
{
    for (unsigned i = 0; i < kvm->routes->len; i++) {
        struct kvm_irq_routing_entry *e =
            &g_array_index(kvm->routes, struct kvm_irq_routing_entry, i);

        if (e->gsi == gsi && e->type == KVM_IRQ_ROUTING_MSI) {
            return e;
        }
    }
    return NULL;
}

static void put_msi(KvmState *kvm, unsigned gsi, uint64_t addr, uint32_t data)
{
    struct kvm_irq_routing_entry *e = find_msi(kvm, gsi),
                                 fresh = {.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};

    if (!e) {
        g_array_append_val(kvm->routes, fresh);
        e = &g_array_index(kvm->routes, struct kvm_irq_routing_entry, kvm->routes->len - 1);
    }
    e->u.msi.address_lo = addr;
    e->u.msi.address_hi = addr >> 32;
    e->u.msi.data = data;
}

static void remove_msi(KvmState *kvm, unsigned gsi)
{
    struct kvm_irq_routing_entry *e = find_msi(kvm, gsi);

    if (e) {
        g_array_remove_index_fast(kvm->routes,
                                  e - (struct kvm_irq_routing_entry *)kvm->routes->data);
    }
}

void kvm_set_ioapic_route(Vm *vm, unsigned gsi, uint64_t addr, uint32_t data, bool masked)
{
    KvmState *kvm = kvm_state(vm);

    g_mutex_lock(&kvm->route_lock);
    if (masked) {
        remove_msi(kvm, gsi);
    } else {
        put_msi(kvm, gsi, addr, data);
    }
    g_mutex_unlock(&kvm->route_lock);
}

static int irqfd(Vm *vm, int gsi, int fd, unsigned flags)
{
    struct kvm_irqfd arg = {.fd = fd, .gsi = gsi, .flags = flags};

    return kvm_vm_ioctl(vm, KVM_IRQFD, &arg);
}

int kvm_msi_route_add(Vm *vm, uint64_t addr, uint32_t data, int fd)
{
    KvmState *kvm = kvm_state(vm);
    unsigned gsi = IRQ_GSI_COUNT;
    int rc;

    g_mutex_lock(&kvm->route_lock);
    while (gsi < kvm->gsi_max && kvm->gsi_used[gsi / 8] & BIT(gsi % 8)) {
        gsi++;
    }
    if (gsi == kvm->gsi_max) {
        g_mutex_unlock(&kvm->route_lock);
        return -ENOSPC;
    }
    kvm->gsi_used[gsi / 8] |= BIT(gsi % 8);
    put_msi(kvm, gsi, addr, data);
    set_routing(vm);
    g_mutex_unlock(&kvm->route_lock);
    rc = irqfd(vm, gsi, fd, 0);
    if (rc < 0) {
        kvm_msi_route_del(vm, gsi, -1);
        return rc;
    }
    trace(kvm_irqchip_add_msi_route, gsi, addr, data);
    return gsi;
}

void kvm_msi_route_update(Vm *vm, int gsi, uint64_t addr, uint32_t data)
{
    KvmState *kvm = kvm_state(vm);

    trace(kvm_irqchip_update_msi_route, gsi, addr, data);
    g_mutex_lock(&kvm->route_lock);
    put_msi(kvm, gsi, addr, data);
    set_routing(vm);
    g_mutex_unlock(&kvm->route_lock);
}

void kvm_msi_route_del(Vm *vm, int gsi, int fd)
{
    KvmState *kvm = kvm_state(vm);

    trace(kvm_irqchip_release_virq, gsi);
    if (fd >= 0) {
        irqfd(vm, gsi, fd, KVM_IRQFD_FLAG_DEASSIGN);
    }
    g_mutex_lock(&kvm->route_lock);
    remove_msi(kvm, gsi);
    kvm->gsi_used[gsi / 8] &= ~BIT(gsi % 8);
    g_mutex_unlock(&kvm->route_lock);
}

void kvm_set_eoi_handler(Vm *vm, Device *owner, void (*fn)(Device *owner, uint8_t vector))
{
    KvmState *kvm = kvm_state(vm);

    kvm->eoi_owner = owner;
    kvm->eoi_handler = fn;
}

void kvm_set_extint(Vm *vm, Device *pic, bool (*pending)(Device *pic),
                    int (*acknowledge)(Device *pic))
{
    KvmState *kvm = kvm_state(vm);

    kvm->pic = pic;
    kvm->extint_pending = pending;
    kvm->extint_acknowledge = acknowledge;
}

bool kvm_extint_pending(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);

    return kvm->extint_pending && kvm->extint_pending(kvm->pic);
}

int kvm_extint_acknowledge(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);

    return kvm->extint_acknowledge(kvm->pic);
}

void kvm_extint_raised(Vm *vm)
{
    if (vm->vcpu_count && vm->vcpus[0] != vcpu_current()) {
        vcpu_kick(vm->vcpus[0]);
    }
}
