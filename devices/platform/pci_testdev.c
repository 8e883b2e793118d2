/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pci-testdev: lets a guest measure the cost of a write to memory or to a port, handled by the VMM
 * or by an ioeventfd. The guest selects a test by writing its index to the first byte of a BAR. The
 * BAR then begins with a description of the test, with the offset and data of the write to be
 * timed. (QEMU, docs/specs/pci-testdev.txt.)
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "devices/pci.h"

#define PCI_TESTDEV_STATE(X)                                                                       \
    X(F, int32_t, current) /* index of the test: BAR_MEM's first; -1: none */                      \
    X(F, uint32_t, count)  /* matching writes since the test was selected */
STATE_STRUCT(PciTestdevState, PCI_TESTDEV_STATE);
STATE_DESC(pci_testdev, PciTestdevState, PCI_TESTDEV_STATE, 1);

enum {
    BAR_MEM,
    BAR_IO,
    BAR_COUNT,
    BAR_EXTRA = 2,

    TESTS_PER_BAR = 3,
    TEST_COUNT = BAR_COUNT * TESTS_PER_BAR,

    MEM_SIZE = 0x1000,
    IO_SIZE = 0x100,

    /* The description. */
    HEADER_TEST = 0,
    HEADER_WIDTH = 1,
    HEADER_OFFSET = 4,
    HEADER_DATA = 8,
    HEADER_COUNT = 12,
    HEADER_NAME = 16,
    HEADER_SIZE = 64,

    ACCESS_WIDTH = 1,
    DATA_MATCH = 0xfa,
    DATA_NO_MATCH = 0xce, /* for a wildcard, whose ioeventfd takes any data */
};
typedef enum { NO_EVENTFD, WILDCARD_EVENTFD, DATAMATCH_EVENTFD } TestKind;

typedef struct {
    PciDevice pci;
    PciTestdevState s;
    IoRegion bar[BAR_COUNT], extra;
    uint64_t membar;
    int fd;
    IoEventFd *eventfd; /* of the current test, or NULL */
} PciTestdev;

static PciTestdev *pci_testdev_to_testdev(Device *dev)
{
    return container_of(dev, PciTestdev, pci.dev);
}

static TestKind pci_testdev_kind_of(int test)
{
    return test % TESTS_PER_BAR;
}

static uint32_t offset_of(int test)
{
    return (test < TESTS_PER_BAR ? MEM_SIZE : IO_SIZE) / 2 + test * ACCESS_WIDTH;
}

static uint8_t data_of(int test)
{
    return pci_testdev_kind_of(test) == WILDCARD_EVENTFD ? DATA_NO_MATCH : DATA_MATCH;
}

/* Adds the writes that the ioeventfd has counted. */
static void pci_testdev_collect(PciTestdev *d)
{
    eventfd_t n;

    if (!eventfd_read(d->fd, &n)) {
        d->s.count += n;
    }
}

static void stop_test(PciTestdev *d)
{
    if (d->eventfd) {
        io_eventfd_remove(d->pci.dev.vm, d->eventfd);
        d->eventfd = NULL;
        pci_testdev_collect(d);
    }
}

/* Registers the current test's ioeventfd, if it has one. */
static void arm_test(PciTestdev *d)
{
    int test = d->s.current;
    bool mem = test < TESTS_PER_BAR, match;

    if (test < 0 || pci_testdev_kind_of(test) == NO_EVENTFD) {
        return;
    }
    match = pci_testdev_kind_of(test) == DATAMATCH_EVENTFD;
    /* Length 0 matches any length. For memory KVM has a fast path for that. */
    d->eventfd =
        io_eventfd_add(d->pci.dev.vm, &d->bar[mem ? BAR_MEM : BAR_IO], offset_of(test),
                       mem && !match ? 0 : ACCESS_WIDTH, match, match ? data_of(test) : 0, d->fd);
}

static void choose_test(PciTestdev *d, unsigned bar, uint64_t index)
{
    stop_test(d);
    d->s.current = index < TESTS_PER_BAR ? (int)(bar * TESTS_PER_BAR + index) : -1;
    d->s.count = 0;
    arm_test(d);
}

static void pci_testdev_describe(PciTestdev *d, uint8_t header[HEADER_SIZE])
{
    static const char *const kinds[] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};
    int test = d->s.current;

    memset(header, 0, HEADER_SIZE);
    if (test < 0) {
        return; /* a width of 0 tells the guest that the index was too large */
    }
    pci_testdev_collect(d);
    header[HEADER_TEST] = test;
    header[HEADER_WIDTH] = ACCESS_WIDTH;
    stle32(header + HEADER_OFFSET, offset_of(test));
    stle32(header + HEADER_DATA, data_of(test));
    stle32(header + HEADER_COUNT, d->s.count);
    g_snprintf((char *)header + HEADER_NAME, HEADER_SIZE - HEADER_NAME, "%s-%s",
               test < TESTS_PER_BAR ? "mmio" : "portio", kinds[pci_testdev_kind_of(test)]);
}

static uint64_t testdev_read(IoRegion *region, uint64_t offset, unsigned size)
{
    uint8_t image[HEADER_SIZE + 8] = {0};

    if (offset >= HEADER_SIZE) {
        return 0;
    }
    pci_testdev_describe(pci_testdev_to_testdev(region->owner), image);
    return ldle64(image + offset);
}

static IoResult testdev_write(IoRegion *region, uint64_t offset, uint64_t value, unsigned size)
{
    PciTestdev *d = pci_testdev_to_testdev(region->owner);
    int test = d->s.current;

    if (offset == HEADER_TEST) {
        choose_test(d, region->index, value);
    } else if (test >= 0 && offset == offset_of(test) &&
               (pci_testdev_kind_of(test) == WILDCARD_EVENTFD || value == data_of(test))) {
        d->s.count++;
    }
    return IO_OK;
}

static const IoRegionOps testdev_ops = {
    .read = testdev_read,
    .write = testdev_write,
    .valid_min = 1,
    .valid_max = 4,
};

/* membar: an empty BAR of any size. */
static uint64_t extra_read(IoRegion *region, uint64_t offset, unsigned size)
{
    return UINT64_MAX;
}

static const IoRegionOps extra_ops = {.read = extra_read};

static bool pci_testdev_realize(Device *dev, GError **err)
{
    PciTestdev *d = pci_testdev_to_testdev(dev);

    if (d->membar && (!is_power_of_2(d->membar) || d->membar < 16 || d->membar > BIT64(46))) {
        return error_set(err,
                         "pci-testdev: membar is a power of two from 16 bytes to 64 TiB, not "
                         "%" G_GUINT64_FORMAT,
                         d->membar);
    }
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0) {
        return error_set_errno(err, errno, "pci-testdev: cannot make an eventfd");
    }
    d->s.current = -1;
    io_region_init(&d->bar[BAR_MEM], dev, &testdev_ops, "pci-testdev-mmio", MEM_SIZE);
    io_region_init(&d->bar[BAR_IO], dev, &testdev_ops, "pci-testdev-portio", IO_SIZE);
    d->bar[BAR_MEM].index = BAR_MEM;
    d->bar[BAR_IO].index = BAR_IO;
    pci_register_bar(&d->pci, BAR_MEM, PCI_BAR_MEM32, &d->bar[BAR_MEM]);
    pci_register_bar(&d->pci, BAR_IO, PCI_BAR_IO, &d->bar[BAR_IO]);
    if (d->membar) {
        io_region_init(&d->extra, dev, &extra_ops, "pci-testdev-membar", d->membar);
        pci_register_bar(&d->pci, BAR_EXTRA, PCI_BAR_MEM64_PREFETCH, &d->extra);
    }
    return true;
}

static void pci_testdev_unrealize(Device *dev)
{
    PciTestdev *d = pci_testdev_to_testdev(dev);

    stop_test(d);
    fd_close(&d->fd);
}

static void pci_testdev_reset(Device *dev, ResetKind kind)
{
    PciTestdev *d = pci_testdev_to_testdev(dev);

    stop_test(d);
    d->s.current = -1;
    d->s.count = 0;
    pci_device_reset(&d->pci);
}

static void testdev_pre_save(Device *dev)
{
    pci_testdev_collect(pci_testdev_to_testdev(dev));
}

static bool testdev_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    const PciTestdevState *s = state;

    if (dev->class->state[section].desc == pci_testdev_state_desc &&
        (s->current < -1 || s->current >= TEST_COUNT)) {
        return error_set(err, "device 'pci-testdev': test %d does not exist", s->current);
    }
    return pci_device_check_state(dev, section, state, err);
}

static void pci_testdev_post_load(Device *dev)
{
    PciTestdev *d = pci_testdev_to_testdev(dev);
    uint32_t count = d->s.count;

    stop_test(d);
    d->s.count = count;
    arm_test(d);
    pci_device_post_load(dev);
}

static const Property testdev_props[] = {
    PROP("membar", PROP_SIZE, PciTestdev, membar, "0", "size of a third, empty BAR; 0: none"),
    PROP_END,
};

static const StateSection testdev_sections[] = {
    PCI_STATE(PciTestdev, pci),
    {pci_testdev_state_desc, offsetof(PciTestdev, s)},
    {0},
};

static const PciDeviceInfo testdev_info = {
    .vendor_id = PCI_VENDOR_ID_REDHAT,
    .device_id = 0x0005,
    .class_id = PCI_CLASS_OTHERS,
};

const DeviceClass pci_testdev_class = {
    .name = "pci-testdev",
    .bus = "PCI",
    .desc = "PCI Test Device",
    .category = DEVICE_CATEGORY_MISC,
    .size = sizeof(PciTestdev),
    .props = testdev_props,
    .bus_props = pci_device_props,
    .bus_data = &testdev_info,
    .state = testdev_sections,
    .realize = pci_testdev_realize,
    .unrealize = pci_testdev_unrealize,
    .reset = pci_testdev_reset,
    .pre_save = testdev_pre_save,
    .check_state = testdev_check_state,
    .post_load = pci_testdev_post_load,
    .hotpluggable = true,
    .object_parent = "pci-device",
};
