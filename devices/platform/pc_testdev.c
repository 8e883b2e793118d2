/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pc-testdev: for bare-metal test programs such as kvm-unit-tests. It has ports that store values,
 * ports that set interrupt lines, memory whose accesses trap, and a port that drops KVM's mapping
 * of a guest page.
 */
#include <sys/mman.h>

#include "devices/isa.h"

#define TESTDEV_MEM_SIZE 0x10000

#define PC_TESTDEV_STATE(X)                                                                        \
    X(A, uint8_t, latch, 4)                                                                        \
    X(F, uint32_t, levels) /* of the 24 lines */                                                   \
    X(A, uint8_t, mem, TESTDEV_MEM_SIZE)
STATE_STRUCT(PcTestdevState, PC_TESTDEV_STATE);
STATE_DESC(pc_testdev, PcTestdevState, PC_TESTDEV_STATE, 1);

typedef struct {
    Device dev;
    PcTestdevState s;
    IoRegion latch_io, flush_io, byte_io, irq_io, mem_io;
    IrqLine lines[IRQ_GSI_COUNT];
} PcTestdev;

enum {
    LATCH_PORT = 0xe0,
    FLUSH_PORT = 0xe4,
    BYTE_PORT = 0xe8, /* the same latch, whose accesses are split into bytes */
    IRQ_PORT = 0x2000,
};
#define TESTDEV_MEM_ADDR 0xff000000
#define TEST_PAGE_SIZE   4096

static PcTestdev *pc_testdev_to_testdev(IoRegion *region)
{
    return container_of(region->owner, PcTestdev, dev);
}

static uint64_t latch_read(IoRegion *region, uint64_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    memcpy(bytes, pc_testdev_to_testdev(region)->s.latch + offset, size);
    return ldle64(bytes);
}

static IoResult latch_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    stle64(bytes, value);
    memcpy(pc_testdev_to_testdev(region)->s.latch + offset, bytes, size);
    return IO_OK;
}

static const IoRegionOps latch_ops = {
    .read = latch_read,
    .write = latch_write,
    .valid_min = 1,
    .valid_max = 4,
};
static const IoRegionOps byte_ops = {
    .read = latch_read,
    .write = latch_write,
    .valid_min = 1,
    .valid_max = 4,
    .impl_min = 1,
    .impl_max = 1,
};

/*
 * Makes KVM drop its mapping of a guest page, so that the guest's next access faults it in again:
 * the kernel tells KVM of each mprotect(). PROT_EXEC is added and removed, because that never
 * denies access to another thread. A host that forbids executable data needs PROT_NONE instead.
 */
static void forget_page(Vm *vm, uint64_t gpa)
{
    uint64_t len = TEST_PAGE_SIZE;
    uint8_t *host = dma_map(vm, ROUND_DOWN(gpa, TEST_PAGE_SIZE), &len, false);

    if (!host) {
        return;
    }
    if (len == TEST_PAGE_SIZE && IS_ALIGNED((uintptr_t)host, TEST_PAGE_SIZE)) {
        if (mprotect(host, len, PROT_READ | PROT_WRITE | PROT_EXEC)) {
            mprotect(host, len, PROT_NONE);
        }
        mprotect(host, len, PROT_READ | PROT_WRITE);
    }
    dma_unmap(vm, host, len, false);
}

static uint64_t flush_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return 0;
}

static IoResult flush_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    forget_page(region->owner->vm, value);
    return IO_OK;
}

static const IoRegionOps flush_ops = {
    .read = flush_read,
    .write = flush_write,
    .valid_min = 4,
    .valid_max = 4,
};

static void pc_testdev_set_levels(PcTestdev *d)
{
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        irq_set(d->dev.vm, &d->lines[i], d->s.levels >> i & 1);
    }
}

static uint64_t irq_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return pc_testdev_to_testdev(region)->s.levels >> offset & 1;
}

static IoResult irq_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *d = pc_testdev_to_testdev(region);

    d->s.levels = value ? d->s.levels | BIT(offset) : d->s.levels & ~BIT(offset);
    irq_set(d->dev.vm, &d->lines[offset], value != 0);
    return IO_OK;
}

static const IoRegionOps irq_ops = {
    .read = irq_read,
    .write = irq_write,
    .valid_min = 1,
    .valid_max = 1,
};

static uint64_t mem_read(IoRegion *region, uint64_t offset, unsigned size)
{
    uint8_t bytes[8] = {0};

    memcpy(bytes, pc_testdev_to_testdev(region)->s.mem + offset, size);
    return ldle64(bytes);
}

static IoResult mem_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    stle64(bytes, value);
    memcpy(pc_testdev_to_testdev(region)->s.mem + offset, bytes, size);
    return IO_OK;
}

static const IoRegionOps mem_ops = {
    .read = mem_read,
    .write = mem_write,
    .valid_min = 1,
    .valid_max = 8,
    .unaligned = true,
};

static bool pc_testdev_realize(Device *dev, GError **err)
{
    PcTestdev *d = container_of(dev, PcTestdev, dev);

    io_region_init(&d->latch_io, dev, &latch_ops, "pc-testdev-ioport", 4);
    io_region_init(&d->flush_io, dev, &flush_ops, "pc-testdev-flush-page", 4);
    io_region_init(&d->byte_io, dev, &byte_ops, "pc-testdev-ioport-byte", 4);
    io_region_init(&d->irq_io, dev, &irq_ops, "pc-testdev-irq-line", IRQ_GSI_COUNT);
    io_region_init(&d->mem_io, dev, &mem_ops, "pc-testdev-iomem", TESTDEV_MEM_SIZE);
    isa_map_ports(dev, &d->latch_io, LATCH_PORT);
    isa_map_ports(dev, &d->flush_io, FLUSH_PORT);
    isa_map_ports(dev, &d->byte_io, BYTE_PORT);
    isa_map_ports(dev, &d->irq_io, IRQ_PORT);
    io_region_map(dev->vm, &d->mem_io, IO_SPACE_MEM, TESTDEV_MEM_ADDR, 0);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        irq_connect(dev, &d->lines[i], irq_gsi(dev->vm, i));
    }
    return true;
}

static void pc_testdev_unrealize(Device *dev)
{
    PcTestdev *d = container_of(dev, PcTestdev, dev);

    io_region_unmap(dev->vm, &d->latch_io);
    io_region_unmap(dev->vm, &d->flush_io);
    io_region_unmap(dev->vm, &d->byte_io);
    io_region_unmap(dev->vm, &d->irq_io);
    io_region_unmap(dev->vm, &d->mem_io);
    for (unsigned i = 0; i < IRQ_GSI_COUNT; i++) {
        irq_lower(dev->vm, &d->lines[i]);
        irq_connect(dev, &d->lines[i], NULL);
    }
}

/* Only a cold reset clears the memory. */
static void pc_testdev_reset(Device *dev, ResetKind kind)
{
    PcTestdev *d = container_of(dev, PcTestdev, dev);

    memset(d->s.latch, 0, sizeof d->s.latch);
    d->s.levels = 0;
    if (kind == RESET_COLD) {
        memset(d->s.mem, 0, sizeof d->s.mem);
    }
    pc_testdev_set_levels(d);
}

static void pc_testdev_post_load(Device *dev)
{
    pc_testdev_set_levels(container_of(dev, PcTestdev, dev));
}

static const StateSection testdev_sections[] = {
    {pc_testdev_state_desc, offsetof(PcTestdev, s)},
    {0},
};

const DeviceClass pc_testdev_class = {
    .name = "pc-testdev",
    .bus = "ISA",
    .desc = "ports, lines and memory for bare-metal test programs",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(PcTestdev),
    .state = testdev_sections,
    .realize = pc_testdev_realize,
    .unrealize = pc_testdev_unrealize,
    .reset = pc_testdev_reset,
    .post_load = pc_testdev_post_load,
    .object_parent = "isa-device",
};
