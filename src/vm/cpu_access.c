/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU accesses to memory and ports: finds the region, locks its device, calls its handler. */
#include "base/error.h"
#include "base/log.h"
#include "base/trace.h"
#include "device_internal.h"
#include "guest_copy.h"
#include "memory_internal.h"
#include "vm/debug.h"
#include "vm/vcpu.h"

typedef enum { ACCESS_DONE, ACCESS_RETRY, ACCESS_WAIT } AccessResult;

/*
 * A guest relies on aligned accesses to RAM being atomic, and on x86's order: loads acquire and
 * stores release, so a CPU that reads a new ring index also reads the ring entries before it.
 */
static void ram_copy(void *dst, const void *src, unsigned len)
{
    if (len == 8 && IS_ALIGNED((uintptr_t)dst | (uintptr_t)src, 8)) {
        __atomic_store_n((uint64_t *)dst, __atomic_load_n((const uint64_t *)src, __ATOMIC_ACQUIRE),
                         __ATOMIC_RELEASE);
    } else if (len == 4 && IS_ALIGNED((uintptr_t)dst | (uintptr_t)src, 4)) {
        __atomic_store_n((uint32_t *)dst, __atomic_load_n((const uint32_t *)src, __ATOMIC_ACQUIRE),
                         __ATOMIC_RELEASE);
    } else if (len == 2 && IS_ALIGNED((uintptr_t)dst | (uintptr_t)src, 2)) {
        __atomic_store_n((uint16_t *)dst, __atomic_load_n((const uint16_t *)src, __ATOMIC_ACQUIRE),
                         __ATOMIC_RELEASE);
    } else {
        guest_copy(dst, src, len);
    }
}

/* The largest access that the bus lets through at this offset, of at most len bytes. */
static unsigned access_size(const IoRegion *r, IoSpace space, uint64_t offset, uint64_t len)
{
    unsigned max = r->ops->valid_max ? r->ops->valid_max : space == IO_SPACE_PIO ? 4 : 8;

    if (!r->ops->unaligned && offset) {
        uint64_t align = offset & -offset;

        max = MIN(max, align);
    }
    len = MIN(len, max);
    while (len & (len - 1)) {
        len &= len - 1;
    }
    return len;
}

static unsigned handler_size(const IoRegion *r, unsigned size)
{
    unsigned max = r->ops->impl_max ? r->ops->impl_max : 8, min = MAX(r->ops->impl_min, 1);

    return MAX(MIN(size, max), min);
}

static uint64_t call_read(IoRegion *r, uint64_t offset, unsigned size)
{
    unsigned step = handler_size(r, size);
    uint64_t v = 0;

    if (!r->ops->read) {
        return UINT64_MAX;
    }
    for (unsigned i = 0; i < size; i += step) {
        uint64_t part = r->ops->read(r, offset + i, step);

        v |= (step < 8 ? part & (BIT64(step * 8) - 1) : part) << (i * 8);
    }
    return v;
}

static IoResult call_write(IoRegion *r, uint64_t offset, uint64_t value, unsigned size)
{
    unsigned step = handler_size(r, size);
    IoResult result = IO_OK;

    if (!r->ops->write) {
        return IO_OK;
    }
    for (unsigned i = 0; i < size; i += step) {
        uint64_t part = value >> (i * 8);

        if (r->ops->write(r, offset + i, step < 8 ? part & (BIT64(step * 8) - 1) : part, step) ==
            IO_DEFER) {
            result = IO_DEFER;
        }
    }
    return result;
}

static IoResult call_handler(Vm *vm, IoRegion *r, uint64_t offset, uint8_t *data, unsigned size,
                             bool write)
{
    uint8_t bytes[8] = {0};

    if (size < r->ops->valid_min) {
        if (!write) {
            memset(data, 0xff, size);
        }
        return IO_OK;
    }
    if (!write) {
        stle64(bytes, call_read(r, offset, size));
        memcpy(data, bytes, size);
        return IO_OK;
    }
    memcpy(bytes, data, size);
    if (ioeventfd_signal(vm, r, offset, ldle64(bytes), size)) {
        return IO_OK;
    }
    return call_write(r, offset, ldle64(bytes), size);
}

/*
 * One access of at most 8 bytes to an I/O region. For ACCESS_RETRY (the access was not done) and
 * ACCESS_WAIT (it was) the caller must wait for deferred work on *lock, a reference that it owns.
 */
static AccessResult io_access(Vm *vm, IoRegion *r, uint64_t offset, uint8_t *data, unsigned size,
                              bool write, DeviceLock **lock)
{
    Device *dev = r->owner;
    IoResult result = IO_OK;

    if (r->ops->lockless) {
        call_handler(vm, r, offset, data, size, write);
        return ACCESS_DONE;
    }
    device_lock(dev);
    if (device_deferred(dev)) {
        *lock = device_lock_ref(dev->lock);
        device_unlock(dev);
        return ACCESS_RETRY;
    }
    /* Since the look-up, another CPU may have unmapped the region or unplugged the device. */
    if (G_LIKELY(__atomic_load_n(&dev->live, __ATOMIC_RELAXED) &&
                 __atomic_load_n(&r->mapped, __ATOMIC_RELAXED))) {
        result = call_handler(vm, r, offset, data, size, write);
    } else if (!write) {
        memset(data, 0xff, size);
    }
    if (result == IO_DEFER) {
        *lock = device_lock_ref(dev->lock);
    }
    device_unlock(dev);
    return result == IO_DEFER ? ACCESS_WAIT : ACCESS_DONE;
}

/* 'r' is NULL where nothing is at the address. */
static void cpu_access_trace(TracePoint point, const IoRegion *r, uint64_t addr, uint64_t offset,
                             const uint8_t *data, unsigned size) __attribute__((cold, noinline));

static void cpu_access_trace(TracePoint point, const IoRegion *r, uint64_t addr, uint64_t offset,
                             const uint8_t *data, unsigned size)
{
    const char *name = r ? r->name : "unassigned", *device = r ? device_label(r->owner) : NULL;
    const Vcpu *current = vcpu_current();
    int cpu = current ? (int)current->index : -1;
    uint8_t bytes[8] = {0};
    uint64_t value;

    memcpy(bytes, data, MIN(size, sizeof bytes));
    value = ldle64(bytes);
    if (point == TRACE_cpu_in) {
        trace(cpu_in, cpu, addr, value, size, name, device, offset);
    } else if (point == TRACE_cpu_out) {
        trace(cpu_out, cpu, addr, value, size, name, device, offset);
    } else if (point == TRACE_memory_region_ops_read) {
        trace(memory_region_ops_read, cpu, addr, value, size, name, device, offset);
    } else {
        trace(memory_region_ops_write, cpu, addr, value, size, name, device, offset);
    }
}

static TracePoint trace_point_of(IoSpace space, bool write)
{
    if (space == IO_SPACE_PIO) {
        return write ? TRACE_cpu_out : TRACE_cpu_in;
    }
    return write ? TRACE_memory_region_ops_write : TRACE_memory_region_ops_read;
}

static void cpu_access_unassigned(IoSpace space, uint64_t addr, uint8_t *data, unsigned len,
                                  bool write)
{
    if (!write) {
        memset(data, 0xff, len);
    }
    log_item(LOG_UNIMP, "%s of %u bytes at unassigned %s 0x%" G_GINT64_MODIFIER "x",
             write ? "write" : "read", len, space == IO_SPACE_PIO ? "port" : "address", addr);
}

void cpu_access(Vm *vm, IoSpace space, uint64_t addr, void *buf, unsigned len, bool write)
{
    uint8_t *data = buf;

    if (space == IO_SPACE_PIO) {
        addr &= 0xffff;
    }
    while (len) {
        uint64_t gap = 0, avail;
        const FlatRange *range = flat_view_find(memory_view(vm, space), addr, &gap);
        DeviceLock *lock = NULL;
        AccessResult result = ACCESS_DONE;
        unsigned n;

        if (!range) {
            n = MIN(gap ? gap : 1, len);
            cpu_access_unassigned(space, addr, data, n, write);
            if (G_UNLIKELY(trace_enabled(trace_point_of(space, write)))) {
                cpu_access_trace(trace_point_of(space, write), NULL, addr, 0, data, n);
            }
        } else if (range->host && !(write && range->readonly && range->region->ops)) {
            avail = range->last - addr;
            n = avail >= len ? len : avail + 1;
            if (!write) {
                ram_copy(data, range->host + (addr - range->addr), n);
            } else if (!range->readonly) {
                uint8_t *host = range->host + (addr - range->addr);

                ram_copy(host, data, n);
                memory_mark_dirty(vm, range->region->ram, host - range->region->ram->host, n);
            }
        } else {
            uint64_t offset = range->offset + (addr - range->addr);

            avail = range->last - addr;
            n = access_size(range->region, space, offset, avail >= len ? len : avail + 1);
            result = io_access(vm, range->region, offset, data, n, write, &lock);
            if (G_UNLIKELY(trace_enabled(trace_point_of(space, write))) && result != ACCESS_RETRY) {
                cpu_access_trace(trace_point_of(space, write), range->region, addr, offset, data,
                                 n);
            }
        }
        if (lock) {
            /* The wait leaves the read section: 'range' is not valid after it. */
            device_lock_defer_wait(lock);
            device_lock_unref(lock);
        }
        if (result != ACCESS_RETRY) {
            data += n;
            addr += n;
            len -= n;
        }
    }
}

bool debug_access(Vm *vm, uint64_t gpa, void *buf, uint64_t len, bool write)
{
    uint8_t *data = buf;

    while (len) {
        const FlatRange *r = flat_view_find(memory_view(vm, IO_SPACE_MEM), gpa, NULL);
        uint64_t n;
        uint8_t *host;

        if (!r || !r->host) {
            return false;
        }
        n = r->last - gpa >= len ? len : r->last - gpa + 1;
        host = r->host + (gpa - r->addr);
        if (write) {
            guest_copy(host, data, n);
            vm_debug_written(vm, gpa, data, n);
            memory_mark_dirty(vm, r->region->ram, host - r->region->ram->host, n);
        } else {
            guest_copy(data, host, n);
            vm_debug_hide(vm, gpa, data, n);
        }
        gpa += n;
        data += n;
        len -= n;
    }
    return true;
}

void *debug_host_address(Vm *vm, uint64_t gpa, const char **block, GError **err)
{
    const FlatRange *r = flat_view_find(memory_view(vm, IO_SPACE_MEM), gpa, NULL);

    if (!r) {
        error_set(err, "No memory is mapped at address 0x%" G_GINT64_MODIFIER "x", gpa);
        return NULL;
    }
    if (!r->host) {
        error_set(err, "Memory at address 0x%" G_GINT64_MODIFIER "x is not RAM", gpa);
        return NULL;
    }
    *block = r->region->ram->name;
    return r->host + (gpa - r->addr);
}
