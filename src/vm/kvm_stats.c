/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/kvm_stats.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "kvm_internal.h"

const char *const kvm_stat_type_names[] = {"cumulative",       "instant",        "peak",
                                           "linear-histogram", "log2-histogram", NULL};
const char *const kvm_stat_unit_names[] = {"bytes", "seconds", "cycles", "boolean", NULL};

/* Far more than any kernel has. */
#define STATS_MAX     4096
#define STAT_NAME_MAX 1024

bool kvm_stats_available(const Vm *vm)
{
    return kvm_enabled(vm) && kvm_check_extension(vm, KVM_CAP_BINARY_STATS_FD) > 0;
}

/* On the vCPU's thread: others would wait for the end of KVM_RUN. */
static void kvm_stats_open(Vcpu *cpu, void *data)
{
    (void)data;
    cpu->stats_fd = kvm_vcpu_ioctl(cpu, KVM_GET_STATS_FD, NULL);
}

static bool kvm_stats_read(int fd, void *buf, size_t len, uint64_t at, GError **err)
{
    ssize_t n = pread(fd, buf, len, at);

    if (n < 0) {
        return error_set_errno(err, errno, "cannot read KVM's statistics");
    }
    return (size_t)n == len || error_set(err, "cannot read KVM's statistics: they end too early");
}

static int kvm_stats_unit(uint32_t flags)
{
    switch (flags & KVM_STATS_UNIT_MASK) {
    case KVM_STATS_UNIT_BYTES:
        return KVM_STAT_BYTES;
    case KVM_STATS_UNIT_SECONDS:
        return KVM_STAT_SECONDS;
    case KVM_STATS_UNIT_CYCLES:
        return KVM_STAT_CYCLES;
    case KVM_STATS_UNIT_BOOLEAN:
        return KVM_STAT_BOOLEAN;
    default:
        return -1;
    }
}

/* One statistic. A type that this program does not know is left out. */
static bool kvm_stats_one(int fd, const struct kvm_stats_header *h,
                          const struct kvm_stats_desc *desc,
                          void (*fn)(const KvmStat *s, void *data), void *data, GError **err)
{
    g_autofree uint64_t *values = NULL;
    KvmStat s = {.name = desc->name,
                 .type = (desc->flags & KVM_STATS_TYPE_MASK) >> KVM_STATS_TYPE_SHIFT,
                 .unit = kvm_stats_unit(desc->flags),
                 .base = (desc->flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2 ? 2 : 10,
                 .exponent = desc->exponent,
                 .bucket_size = desc->bucket_size,
                 .count = desc->size};

    if (s.type > KVM_STAT_LOG2_HISTOGRAM || !s.count) {
        return true;
    }
    values = g_new(uint64_t, s.count);
    if (!kvm_stats_read(fd, values, s.count * sizeof *values,
                        (uint64_t)h->data_offset + desc->offset, err)) {
        return false;
    }
    s.values = values;
    fn(&s, data);
    return true;
}

static bool kvm_stats_all(int fd, void (*fn)(const KvmStat *s, void *data), void *data,
                          GError **err)
{
    struct kvm_stats_header h;
    g_autofree uint8_t *descs = NULL;
    size_t size;

    if (!kvm_stats_read(fd, &h, sizeof h, 0, err)) {
        return false;
    }
    if (h.num_desc > STATS_MAX || h.name_size > STAT_NAME_MAX || !h.name_size || h.name_size % 8) {
        return error_set(err, "cannot read KVM's statistics: their form is unknown");
    }
    size = sizeof(struct kvm_stats_desc) + h.name_size;
    descs = g_malloc(size * h.num_desc + 1);
    if (!kvm_stats_read(fd, descs, size * h.num_desc, h.desc_offset, err)) {
        return false;
    }
    for (unsigned i = 0; i < h.num_desc; i++) {
        struct kvm_stats_desc *desc = (struct kvm_stats_desc *)(descs + size * i);

        desc->name[h.name_size - 1] = '\0';
        if (!kvm_stats_one(fd, &h, desc, fn, data, err)) {
            return false;
        }
    }
    return true;
}

bool coroutine_fn kvm_stats_foreach(Vm *vm, Vcpu *cpu, void (*fn)(const KvmStat *s, void *data),
                                    void *data, GError **err)
{
    int fd;
    bool ok;

    if (cpu) {
        if (cpu->stats_fd < 0) {
            vcpu_call(cpu, kvm_stats_open, NULL);
        }
        fd = cpu->stats_fd;
    } else {
        fd = kvm_vm_ioctl(vm, KVM_GET_STATS_FD, NULL);
    }
    if (fd < 0) {
        return error_set_errno(err, -fd, "KVM does not give its statistics");
    }
    ok = kvm_stats_all(fd, fn, data, err);
    if (!cpu) {
        close(fd);
    }
    return ok;
}
