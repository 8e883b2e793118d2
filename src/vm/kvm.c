/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The KVM accelerator (Documentation/virt/kvm/api.rst in the Linux sources). */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/host.h"
#include "base/log.h"
#include "base/trace.h"
#include "kvm_internal.h"
#include "ram_mapped.h"
#include "vm/debug.h"

#define KVM_DEVICE "/dev/kvm"

typedef struct {
    int kernel_irqchip;
} KvmOptions;

enum { IRQCHIP_ON, IRQCHIP_OFF, IRQCHIP_SPLIT };
static const char *const irqchip_names[] = {"on", "off", "split", NULL};

static const Property kvm_props[] = {
    PROP_E("kernel-irqchip", KvmOptions, kernel_irqchip, "on", irqchip_names,
           "interrupt controllers in the kernel: on, or split (the APICs alone)"),
    PROP_END,
};

/* Why KVM cannot be used, and what to do. */

static bool explain_missing(GError **err)
{
    g_autofree char *cpuinfo = host_read_file("/proc/cpuinfo", 64 * MiB, NULL, NULL);
    const char *module = cpuinfo && strstr(cpuinfo, " vmx")   ? "kvm_intel"
                         : cpuinfo && strstr(cpuinfo, " svm") ? "kvm_amd"
                                                              : NULL;

    if (module) {
        return error_set(err,
                         "Could not access KVM kernel module: there is no " KVM_DEVICE
                         ", though the CPU can virtualize: load the module with 'modprobe %s'",
                         module);
    }
    return error_set(err, "Could not access KVM kernel module: there is no " KVM_DEVICE
                          ", and the CPU shows no hardware virtualization (no vmx or svm in "
                          "/proc/cpuinfo): switch it "
                          "on in the firmware setup, or, where this is a virtual machine itself, "
                          "let its host pass it on");
}

static bool explain_permission(GError **err)
{
    struct stat st;
    struct group *group = stat(KVM_DEVICE, &st) ? NULL : getgrgid(st.st_gid);

    if (group && (st.st_mode & 060) == 060 && st.st_gid) {
        return error_set(
            err,
            "Could not access KVM kernel module: no permission to open " KVM_DEVICE
            "; it belongs to the group '%s': 'sudo usermod -aG %s $USER', then log in again",
            group->gr_name, group->gr_name);
    }
    return error_set(err, "Could not access KVM kernel module: no permission to open " KVM_DEVICE
                          "; it is open to root alone: 'sudo chgrp kvm " KVM_DEVICE
                          " && sudo chmod 660 " KVM_DEVICE "'");
}

static bool kvm_usable(GError **err)
{
    if (!access(KVM_DEVICE, R_OK | W_OK)) {
        return true;
    }
    if (errno == ENOENT) {
        return explain_missing(err);
    }
    if (errno == EACCES || errno == EPERM) {
        return explain_permission(err);
    }
    return error_set_errno(err, errno, "Could not access KVM kernel module: " KVM_DEVICE);
}

static bool explain_open(int errnum, GError **err)
{
    if (errnum == EACCES || errnum == EPERM) {
        return explain_permission(err);
    }
    if (errnum == ENOENT || errnum == ENODEV || errnum == ENXIO) {
        return explain_missing(err);
    }
    return error_set_errno(err, errnum,
                           "Could not access KVM kernel module: cannot open " KVM_DEVICE);
}

static bool explain_create(int errnum, GError **err)
{
    switch (errnum) {
    case EBUSY:
        return error_set(
            err, "KVM is in use: another hypervisor (VirtualBox, VMware, ...) holds the CPU's "
                 "virtualization; stop its machines and unload its modules");
    case EOPNOTSUPP:
    case ENODEV:
        return error_set_errno(
            err, errnum,
            "KVM cannot make a virtual machine: hardware virtualization is switched off (see the "
            "firmware setup) or absent");
    default:
        return error_set_errno(err, errnum, "KVM cannot make a virtual machine");
    }
}

static bool check_api(KvmState *kvm, GError **err)
{
    static const struct {
        int cap;
        const char *what;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "user memory regions"},
        {KVM_CAP_IRQCHIP, "an interrupt controller in the kernel"},
        {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
        {KVM_CAP_SIGNAL_MSI, "message-signalled interrupts"},
        {KVM_CAP_IOEVENTFD, "ioeventfd"},
    };
    int version = ioctl(kvm->kvm_fd, KVM_GET_API_VERSION, 0);

    if (version != KVM_API_VERSION) {
        return error_set(
            err, "this kernel's KVM speaks API version %d, %d is needed: use a kernel since 2.6.22",
            version, KVM_API_VERSION);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
        if (ioctl(kvm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
            return error_set(err,
                             "this kernel's KVM is too old or too small: it has no %s (KVM "
                             "capability %d); use Linux 5.4 or later",
                             needed[i].what, needed[i].cap);
        }
    }
    return true;
}

/* Warns when a machine with CPUs first runs, not when a tool only probes this program. */
static void kvm_on_run(void *data)
{
    Vm *vm = data;
    KvmState *kvm = kvm_state(vm);

    if (vm->vcpu_count && !kvm->warned && vm->arch->host_virtualization &&
        !vm->arch->host_virtualization()) {
        kvm->warned = true;
        log_warn("this CPU has no vmx or svm: KVM emulates, slowly");
    }
}

static void kvm_destroy(Vm *vm)
{
    KvmState *kvm = kvm_state(vm);

    if (kvm->vm_fd >= 0) {
        close(kvm->vm_fd);
    }
    close(kvm->kvm_fd);
    kvm_routes_free(vm);
    vm_notifier_remove(vm, VM_NOTIFY_RUN, kvm_on_run, vm);
    g_array_unref(kvm->slots);
    g_free(kvm);
    vm->accel_state = NULL;
}

static bool kvm_open(Vm *vm, KvmOptions *opts, GError **err)
{
    KvmState *kvm = kvm_state(vm);
    int attempts = 0;

    if (!check_api(kvm, err)) {
        return false;
    }
    do {
        kvm->vm_fd = ioctl(kvm->kvm_fd, KVM_CREATE_VM, 0);
    } while (kvm->vm_fd < 0 && errno == EINTR && ++attempts < 100);
    if (kvm->vm_fd < 0) {
        return explain_create(errno, err);
    }
    kvm->vcpu_mmap_size = ioctl(kvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    kvm->ioeventfd_any_length = kvm_check_extension(vm, KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
    if (opts->kernel_irqchip == IRQCHIP_OFF) {
        return error_set(err, "kernel-irqchip=off is not supported: the APICs stay in the kernel "
                              "(a guest without them "
                              "would exit for every interrupt); use split, or on");
    }
    kvm->irqchip = opts->kernel_irqchip == IRQCHIP_SPLIT ? KVM_IRQCHIP_SPLIT : KVM_IRQCHIP_KERNEL;
    return true;
}

static bool kvm_init(Vm *vm, void *options, GError **err)
{
    GError *open_error = NULL;
    int fd = host_open(KVM_DEVICE, O_RDWR, 0, &open_error);
    KvmState *kvm;

    if (fd < 0) {
        int errnum = open_error->code;

        g_error_free(open_error);
        return explain_open(errnum, err);
    }
    kvm = g_new0(KvmState, 1);
    kvm->kvm_fd = fd;
    kvm->vm_fd = -1;
    kvm->slots = g_array_new(FALSE, TRUE, sizeof(KvmSlot));
    vm->accel_state = kvm;
    kvm_routes_init(vm);
    vm_notifier_add(vm, VM_NOTIFY_RUN, kvm_on_run, vm);
    if (!kvm_open(vm, options, err)) {
        kvm_destroy(vm);
        return false;
    }
    if (vm->arch && !vm->arch->vm_init(vm, err)) {
        kvm_destroy(vm);
        return false;
    }
    return true;
}

/* For arch/ and machine/ (vm/vcpu.h). */

bool kvm_enabled(const Vm *vm)
{
    return vm->accel == &kvm_accel;
}

KvmIrqchip kvm_irqchip_mode(const Vm *vm)
{
    return kvm_state(vm)->irqchip;
}

int kvm_system_fd(const Vm *vm)
{
    return kvm_state(vm)->kvm_fd;
}

int kvm_check_extension(const Vm *vm, int cap)
{
    KvmState *kvm = kvm_state(vm);
    int rc = ioctl(kvm->vm_fd >= 0 ? kvm->vm_fd : kvm->kvm_fd, KVM_CHECK_EXTENSION, cap);

    return MAX(rc, 0);
}

int kvm_vm_ioctl(const Vm *vm, unsigned long request, void *arg)
{
    int rc = ioctl(kvm_state(vm)->vm_fd, request, arg);

    return rc < 0 ? -errno : rc;
}

int kvm_vcpu_ioctl(const Vcpu *cpu, unsigned long request, void *arg)
{
    int rc = ioctl(cpu->fd, request, arg);

    return rc < 0 ? -errno : rc;
}

bool kvm_enable_cap(Vm *vm, int cap, uint64_t arg0)
{
    struct kvm_enable_cap arg = {.cap = cap, .args = {arg0}};

    return kvm_vm_ioctl(vm, KVM_ENABLE_CAP, &arg) >= 0;
}

/* Memory slots. */

static KvmSlot *slot_at(KvmState *kvm, uint64_t gpa, bool add)
{
    KvmSlot *unused = NULL, fresh = {0};

    for (unsigned i = 0; i < kvm->slots->len; i++) {
        KvmSlot *s = &g_array_index(kvm->slots, KvmSlot, i);

        if (s->used && s->gpa == gpa) {
            return s;
        }
        if (!s->used && !unused) {
            unused = s;
        }
    }
    if (!add || unused) {
        return add ? unused : NULL;
    }
    g_array_append_val(kvm->slots, fresh);
    return &g_array_index(kvm->slots, KvmSlot, kvm->slots->len - 1);
}

static void fold_dirty(Vm *vm, unsigned index, KvmSlot *s);

static bool kvm_memory_slot(Vm *vm, uint64_t gpa, RamBlock *block, uint64_t offset, uint64_t size,
                            bool readonly, bool add, bool log)
{
    KvmState *kvm = kvm_state(vm);
    /* Only whole pages can be slots; accesses to the rest exit to cpu_access(). */
    uint64_t start = ROUND_UP(gpa, 4096ull), end = ROUND_DOWN(gpa + size, 4096ull);
    struct kvm_userspace_memory_region region;
    KvmSlot *s;
    int rc;

    offset += start - gpa;
    if (start >= end || !IS_ALIGNED(offset, 4096)) {
        return true;
    }
    s = slot_at(kvm, start, add);
    if (!s) {
        return true;
    }
    if (!add && s->log) {
        fold_dirty(vm, s - (KvmSlot *)kvm->slots->data, s);
    }
    region = (struct kvm_userspace_memory_region){
        .slot = s - (KvmSlot *)kvm->slots->data,
        .flags = (readonly ? KVM_MEM_READONLY : 0) | (log ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = start,
        .memory_size = add ? end - start : 0,
        .userspace_addr = (uintptr_t)(block->host + offset),
    };
    rc = kvm_vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    trace(kvm_set_user_memory, region.slot, region.flags, start, region.memory_size, block->name,
          rc);
    if (rc < 0) {
        log_error("KVM refuses memory '%s' at 0x%" G_GINT64_MODIFIER
                  "x: %s; the guest will not find it there",
                  block->name, gpa, g_strerror(-rc));
        return false;
    }
    *s = (KvmSlot){.gpa = start,
                   .size = end - start,
                   .block = block,
                   .offset = offset,
                   .used = add,
                   .readonly = readonly,
                   .log = log && add};
    return true;
}

static void fold_dirty(Vm *vm, unsigned index, KvmSlot *s)
{
    uint64_t words = DIV_ROUND_UP(s->size / 4096, 64);
    g_autofree uint64_t *bitmap = g_new0(uint64_t, words);
    struct kvm_dirty_log arg = {.slot = index, .dirty_bitmap = bitmap};

    if (kvm_vm_ioctl(vm, KVM_GET_DIRTY_LOG, &arg) < 0) {
        memset(bitmap, 0xff, words * 8); /* without KVM's log every page may be dirty */
    }
    for (uint64_t i = 0; i < words; i++) {
        for (uint64_t left = bitmap[i]; left; left &= left - 1) {
            uint64_t page = i * 64 + __builtin_ctzll(left);

            if (page < s->size / 4096) {
                memory_mark_dirty(vm, s->block, s->offset + page * 4096, 4096);
            }
        }
    }
}

static void kvm_dirty_fetch(Vm *vm, RamBlock *block)
{
    KvmState *kvm = kvm_state(vm);

    for (unsigned i = 0; i < kvm->slots->len; i++) {
        KvmSlot *s = &g_array_index(kvm->slots, KvmSlot, i);

        if (s->used && s->log && s->block == block) {
            fold_dirty(vm, i, s);
        }
    }
}

static bool kvm_do_ioeventfd(Vm *vm, IoSpace space, uint64_t addr, unsigned size, bool match,
                             uint64_t value, int fd, bool add)
{
    struct kvm_ioeventfd arg = {
        .datamatch = value,
        .addr = addr,
        .len = size,
        .fd = fd,
        .flags = (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
                 (space == IO_SPACE_PIO ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };

    int rc;

    if (!size && !kvm_state(vm)->ioeventfd_any_length) {
        return false;
    }
    rc = kvm_vm_ioctl(vm, KVM_IOEVENTFD, &arg);
    if (space == IO_SPACE_PIO) {
        trace(kvm_set_ioeventfd_pio, addr, size, match, value, add, rc);
    } else {
        trace(kvm_set_ioeventfd_mmio, addr, size, match, value, add, rc);
    }
    return rc >= 0;
}

/* vCPUs. */

static bool kvm_vcpu_create(Vcpu *cpu, GError **err)
{
    KvmState *kvm = kvm_state(cpu->vm);

    cpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)cpu->arch_id);
    if (cpu->fd < 0) {
        return error_set_errno(err, errno, "KVM cannot make CPU %u (of %u)", cpu->index,
                               cpu->vm->smp.cpus);
    }
    cpu->run_size = kvm->vcpu_mmap_size;
    cpu->run = mmap(NULL, cpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (cpu->run == MAP_FAILED) {
        cpu->run = NULL;
        return error_set_errno(err, errno, "cannot map the shared page of CPU %u", cpu->index);
    }
    return true;
}

static void kvm_vcpu_destroy(Vcpu *cpu)
{
    if (cpu->run) {
        munmap(cpu->run, cpu->run_size);
    }
    fd_close(&cpu->fd);
    fd_close(&cpu->stats_fd);
}

static void kvm_vcpu_kick(Vcpu *cpu)
{
    if (cpu->run) {
        __atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    }
}

static void handle_pio(Vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        cpu_access(cpu->vm, IO_SPACE_PIO, run->io.port, data, run->io.size,
                   run->io.direction == KVM_EXIT_IO_OUT);
    }
}

static VcpuExit internal_error(Vcpu *cpu)
{
    struct kvm_run *run = cpu->run;
    g_autofree char *registers =
        cpu->vm->arch->registers_text ? cpu->vm->arch->registers_text(cpu) : NULL;
    g_autoptr(GString) data = g_string_new(NULL);

    for (unsigned i = 0; i < run->internal.ndata && i < ARRAY_SIZE(run->internal.data); i++) {
        g_string_append_printf(data, " 0x%" G_GINT64_MODIFIER "x", (uint64_t)run->internal.data[i]);
    }
    log_error(
        "KVM internal error. Suberror: %u%s%s; CPU %u stands, the virtual machine is paused\n%s",
        run->internal.suberror, data->len ? "; extra data:" : "", data->str, cpu->index,
        registers ? registers : "");
    return VCPU_EXIT_ERROR;
}

static VcpuExit failed_entry(Vcpu *cpu)
{
    g_autofree char *registers =
        cpu->vm->arch->registers_text ? cpu->vm->arch->registers_text(cpu) : NULL;

    log_error("KVM: entry failed, hardware error 0x%" G_GINT64_MODIFIER
              "x; CPU %u stands, the virtual machine is paused\n%s",
              (uint64_t)cpu->run->fail_entry.hardware_entry_failure_reason, cpu->index,
              registers ? registers : "");
    return VCPU_EXIT_ERROR;
}

static VcpuExit system_event(Vcpu *cpu)
{
    switch (cpu->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        vm_request_shutdown(cpu->vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
        return VCPU_EXIT_CONTINUE;
    case KVM_SYSTEM_EVENT_RESET:
        vm_request_reset(cpu->vm, SHUTDOWN_CAUSE_GUEST_RESET);
        return VCPU_EXIT_CONTINUE;
    case KVM_SYSTEM_EVENT_CRASH:
        vm_guest_panicked(cpu->vm, NULL);
        return VCPU_EXIT_CONTINUE;
    default:
        log_item(LOG_KVM, "unknown system event %u", cpu->run->system_event.type);
        return VCPU_EXIT_CONTINUE;
    }
}

static void ioapic_eoi(Vcpu *cpu)
{
    KvmState *kvm = kvm_state(cpu->vm);

    if (kvm->eoi_handler) {
        device_lock(kvm->eoi_owner);
        kvm->eoi_handler(kvm->eoi_owner, cpu->run->eoi.vector);
        device_unlock(kvm->eoi_owner);
    }
}

static VcpuExit handle_exit(Vcpu *cpu)
{
    struct kvm_run *run = cpu->run;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        handle_pio(cpu);
        cpu->exit_pending = true;
        return VCPU_EXIT_CONTINUE;
    case KVM_EXIT_MMIO:
        cpu_access(cpu->vm, IO_SPACE_MEM, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
                   run->mmio.is_write);
        cpu->exit_pending = true;
        return VCPU_EXIT_CONTINUE;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:
        return VCPU_EXIT_CONTINUE;
    case KVM_EXIT_IOAPIC_EOI:
        ioapic_eoi(cpu);
        return VCPU_EXIT_CONTINUE;
    case KVM_EXIT_SHUTDOWN:
        return VCPU_EXIT_SHUTDOWN;
    case KVM_EXIT_DEBUG:
        return vm_debug_exit(cpu);
    case KVM_EXIT_SYSTEM_EVENT:
        return system_event(cpu);
    case KVM_EXIT_FAIL_ENTRY:
        return failed_entry(cpu);
    case KVM_EXIT_INTERNAL_ERROR:
        return internal_error(cpu);
    default: {
        VcpuExit result =
            cpu->vm->arch->handle_exit ? cpu->vm->arch->handle_exit(cpu) : VCPU_EXIT_UNKNOWN;

        if (result == VCPU_EXIT_UNKNOWN) {
            log_error("KVM: unknown exit, reason %u; CPU %u stands, the virtual machine is paused",
                      run->exit_reason, cpu->index);
        }
        return result;
    }
    }
}

static VcpuExit run_failed(Vcpu *cpu, int errnum)
{
    if (errnum == EFAULT && ram_fault_of_cpu(cpu->vm)) {
        return VCPU_EXIT_IO_ERROR;
    }
    if (errnum == EFAULT || errnum == ENOMEM) {
        log_error("KVM_RUN of CPU %u: %s: the host could not supply guest memory; the virtual "
                  "machine is paused",
                  cpu->index, g_strerror(errnum));
        return VCPU_EXIT_HOST_ERROR;
    }
    log_error("KVM_RUN of CPU %u failed: %s; the virtual machine is paused", cpu->index,
              g_strerror(errnum));
    return VCPU_EXIT_ERROR;
}

/* For the trace point; NULL: another. */
static const char *exit_name(unsigned reason) __attribute__((cold));

static const char *exit_name(unsigned reason)
{
    static const char *const names[] = {
        [KVM_EXIT_UNKNOWN] = "unknown",
        [KVM_EXIT_EXCEPTION] = "exception",
        [KVM_EXIT_IO] = "io",
        [KVM_EXIT_HYPERCALL] = "hypercall",
        [KVM_EXIT_DEBUG] = "debug",
        [KVM_EXIT_HLT] = "hlt",
        [KVM_EXIT_MMIO] = "mmio",
        [KVM_EXIT_IRQ_WINDOW_OPEN] = "irq_window_open",
        [KVM_EXIT_SHUTDOWN] = "shutdown",
        [KVM_EXIT_FAIL_ENTRY] = "fail_entry",
        [KVM_EXIT_INTR] = "intr",
        [KVM_EXIT_SET_TPR] = "set_tpr",
        [KVM_EXIT_TPR_ACCESS] = "tpr_access",
        [KVM_EXIT_NMI] = "nmi",
        [KVM_EXIT_INTERNAL_ERROR] = "internal_error",
        [KVM_EXIT_SYSTEM_EVENT] = "system_event",
        [KVM_EXIT_IOAPIC_EOI] = "ioapic_eoi",
    };

    return reason < ARRAY_SIZE(names) ? names[reason] : NULL;
}

static VcpuExit kvm_vcpu_run(Vcpu *cpu, bool complete)
{
    struct kvm_run *run = cpu->run;
    const ArchOps *arch = cpu->vm->arch;
    int rc, errnum;

    if (complete) {
        __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    } else if (arch->pre_run) {
        arch->pre_run(cpu);
    }
    cpu->exit_pending = false;
    vcpu_enter_guest(cpu);
    rc = ioctl(cpu->fd, KVM_RUN, 0);
    errnum = errno;
    vcpu_leave_guest(cpu);
    cpu->exits++;
    trace(kvm_run_exit, cpu->index, rc < 0 ? KVM_EXIT_INTR : run->exit_reason,
          exit_name(rc < 0 ? KVM_EXIT_INTR : run->exit_reason));
    if (rc < 0) {
        if (errnum == EINTR || errnum == EAGAIN) {
            /*
             * A kick that this reset loses does no harm: its sender posted its request first, and
             * this thread looks for requests before it enters the guest again.
             */
            __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
            return VCPU_EXIT_INTERRUPTED;
        }
        return run_failed(cpu, errnum);
    }
    return handle_exit(cpu);
}

const Accel kvm_accel = {
    .name = "kvm",
    .help = "hardware virtualization by Linux' KVM",
    .props = kvm_props,
    .options_size = sizeof(KvmOptions),
    .usable = kvm_usable,
    .init = kvm_init,
    .destroy = kvm_destroy,
    .vcpu_create = kvm_vcpu_create,
    .vcpu_destroy = kvm_vcpu_destroy,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_kick = kvm_vcpu_kick,
    .set_gsi = kvm_set_gsi,
    .send_msi = kvm_send_msi,
    .msi_route_add = kvm_msi_route_add,
    .msi_route_update = kvm_msi_route_update,
    .msi_route_del = kvm_msi_route_del,
    .memory_slot = kvm_memory_slot,
    .ioeventfd = kvm_do_ioeventfd,
    .dirty_fetch = kvm_dirty_fetch,
    .has_vcpus = true,
};
