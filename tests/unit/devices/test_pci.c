/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI layer: a function with every kind of BAR, MSI and MSI-X, and a log of its messages. */
#include <linux/pci_regs.h>
#include <pthread.h>
#include <unistd.h>

#include "../vm/fixture.h"

#include "base/keyval.h"
#include "base/reclaim.h"
#include "devices/i440fx.h"

#define VECTORS 70

typedef struct {
    PciDevice pci;
    IoRegion bar0, bar1, bar2;
    uint8_t mem[0x1000];
    unsigned defer_runs, config_writes;
    bool plain; /* property: neither MSI nor MSI-X */
} Func;

static const StateSection func_state[] = {PCI_STATE(Func, pci), {0}};

static uint64_t func_read(IoRegion *r, uint64_t offset, unsigned size)
{
    Func *f = container_of(r->owner, Func, pci.dev);
    uint8_t bytes[8] = {0};

    memcpy(bytes, f->mem + offset % sizeof f->mem, MIN(size, sizeof f->mem - offset));
    return ldle64(bytes);
}

static IoResult func_write(IoRegion *r, uint64_t offset, uint64_t value, unsigned size)
{
    Func *f = container_of(r->owner, Func, pci.dev);
    uint8_t bytes[8];

    stle64(bytes, value);
    memcpy(f->mem + offset, bytes, MIN(size, sizeof f->mem - offset));
    return IO_OK;
}

static const IoRegionOps func_ops = {.read = func_read, .write = func_write, .valid_max = 4};

static void coroutine_fn func_deferred(Device *dev)
{
    Func *f = container_of(dev, Func, pci.dev);

    coroutine_sleep(CLOCK_REALTIME_NS, NS_PER_MS);
    device_lock(dev);
    f->defer_runs++;
    device_unlock(dev);
}

static void func_config_written(PciDevice *pci, unsigned offset, unsigned len)
{
    Func *f = container_of(pci, Func, pci);

    f->config_writes++;
    if (offset == 0xf0) {
        device_defer(&pci->dev, func_deferred);
    }
}

static bool func_realize(Device *dev, GError **err)
{
    Func *f = container_of(dev, Func, pci.dev);

    io_region_init(&f->bar0, dev, &func_ops, "bar0", 0x1000);
    io_region_init(&f->bar1, dev, &func_ops, "bar1", 0x10);
    io_region_init(&f->bar2, dev, &func_ops, "bar2", 0x4000);
    pci_register_bar(&f->pci, 0, PCI_BAR_MEM32, &f->bar0);
    pci_register_bar(&f->pci, 1, PCI_BAR_IO, &f->bar1);
    pci_register_bar(&f->pci, 2, PCI_BAR_MEM64_PREFETCH, &f->bar2);
    f->pci.wmask[0xf0] = 0xff;
    if (f->plain) {
        return true;
    }
    pci_msi_init(&f->pci, 4, true, true);
    return pci_msix_init(&f->pci, VECTORS, 2, &f->bar2, 0x2000, 0x3000, err);
}

static void func_unrealize(Device *dev)
{
    pci_msix_exit(container_of(dev, PciDevice, dev));
}

static const Property func_props[] = {
    PROP("plain", PROP_BOOL, Func, plain, "off", "no messages"),
    PROP_END,
};
static const PciDeviceInfo func_info = {
    .vendor_id = 0x1234,
    .device_id = 0x5678,
    .revision = 9,
    .class_id = PCI_CLASS_STORAGE_SCSI,
    .interrupt_pin = 1,
    .config_written = func_config_written,
};
static const DeviceClass func_class = {
    .name = "func",
    .bus = "PCI",
    .desc = "test function",
    .size = sizeof(Func),
    .props = func_props,
    .bus_props = pci_device_props,
    .bus_data = &func_info,
    .state = func_state,
    .realize = func_realize,
    .unrealize = func_unrealize,
    .reset = pci_device_only_reset,
    .check_state = pci_device_check_state,
    .post_load = pci_device_post_load,
    .hotpluggable = true,
};

extern const DeviceClass i440fx_pcihost_class, piix3_class;
static const DeviceClass *const classes[] = {&i440fx_pcihost_class, &piix3_class, &func_class,
                                             NULL};

/* The messages that were sent. */
typedef struct {
    uint64_t addr;
    uint32_t data;
} Message;
static GArray *messages;
static unsigned counted;
static const Accel *quiet;
static Accel accel;

static void take_msi(Vm *v, uint64_t addr, uint32_t data)
{
    Message m = {.addr = addr, .data = data};

    g_array_append_val(messages, m);
}

static void count_msi(Vm *v, uint64_t addr, uint32_t data)
{
    __atomic_fetch_add(&counted, 1, __ATOMIC_SEQ_CST);
}

static void expect_message(uint64_t addr, uint32_t data)
{
    ck_assert_uint_ge(messages->len, 1);
    ck_assert_uint_eq(g_array_index(messages, Message, 0).addr, addr);
    ck_assert_uint_eq(g_array_index(messages, Message, 0).data, data);
    g_array_remove_index(messages, 0);
}

static PciBus *bus;

static void setup(void)
{
    GError *err = NULL;

    fixture_setup();
    device_set_classes(classes);
    messages = g_array_new(FALSE, FALSE, sizeof(Message));
    counted = 0;
    quiet = vm->accel;
    accel = *quiet;
    accel.send_msi = take_msi;
    vm->accel = &accel;
    ck_assert(device_new(vm, "i440FX-pcihost", NULL, "i440fx", &err, NULL) != NULL);
    bus = pci_root(vm);
    ck_assert(bus != NULL);
}

static void teardown(void)
{
    fixture_teardown();
    g_array_unref(messages);
}

static Func *add(const char *text, bool hot, GError **err)
{
    json_t *j = keyval_parse(text, "driver", NULL, false, NULL);
    Device *dev = device_add(vm, j, hot, err);

    json_decref(j);
    if (dev && !hot) {
        device_reset(dev, RESET_COLD);
    }
    return dev ? container_of(dev, Func, pci.dev) : NULL;
}

static void refuse(const char *text, bool hot, const char *part)
{
    GError *err = NULL;

    ck_assert(!add(text, hot, &err));
    ck_error(err, part);
}

static uint32_t rd(Func *f, unsigned reg, unsigned len)
{
    return pci_config_read(bus, f->pci.devfn << 8 | reg, len);
}

static void wr(Func *f, unsigned reg, uint32_t value, unsigned len)
{
    pci_config_write(bus, f->pci.devfn << 8 | reg, value, len);
}

static uint32_t mem32(uint64_t addr)
{
    uint32_t v = 0;

    cpu_access(vm, IO_SPACE_MEM, addr, &v, 4, false);
    return v;
}

static void set_mem32(uint64_t addr, uint32_t v)
{
    cpu_access(vm, IO_SPACE_MEM, addr, &v, 4, true);
}

START_TEST(addresses)
{
    Func *a = add("func,id=a", false, NULL), *b = add("func,addr=4,multifunction=on", false, NULL),
         *c = add("func,addr=4.3", false, NULL), *d = add("func", false, NULL);

    ck_assert_uint_eq(a->pci.devfn, 0);
    ck_assert_uint_eq(b->pci.devfn, PCI_DEVFN(4, 0));
    ck_assert_uint_eq(c->pci.devfn, PCI_DEVFN(4, 3));
    ck_assert_uint_eq(d->pci.devfn, PCI_DEVFN(1, 0));
    ck_assert_uint_eq(rd(b, PCI_HEADER_TYPE, 1), 0x80);
    ck_assert_uint_eq(rd(a, PCI_HEADER_TYPE, 1), 0);
    refuse("func,addr=0", false, "slot 0 function 0 not available for func, in use by func,id=a");
    refuse("func,addr=0.1", false, "single function device");
    refuse("func,addr=4.5", true, "cannot be exposed to guest");
    add("func,addr=6.2", false, NULL);
    refuse("func,addr=6", false, "6.0 indicates single function, but 6.2 is already populated");
    refuse("func,addr=32", false, "addr");
    for (unsigned i = 0; i < 28; i++) {
        ck_assert(add("func", false, NULL) != NULL);
    }
    refuse("func", false, "no slot/function available");
    /* Refused devices leave nothing behind. */
    device_destroy(&c->pci.dev);
    ck_assert(!pci_find_device(bus, PCI_DEVFN(4, 3)));
    ck_assert(add("func,addr=4.3", false, NULL) != NULL);
}
END_TEST

START_TEST(header)
{
    Func *f = add("func,addr=3", false, NULL);

    ck_assert_uint_eq(rd(f, 0, 4), 0x56781234);
    ck_assert_uint_eq(rd(f, PCI_DEVICE_ID, 2), 0x5678);
    ck_assert_uint_eq(rd(f, 1, 1), 0x12);
    ck_assert_uint_eq(rd(f, PCI_CLASS_REVISION, 4), 0x01000009);
    ck_assert_uint_eq(rd(f, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
    ck_assert_uint_eq(rd(f, PCI_INTERRUPT_PIN, 1), 1);
    wr(f, 0, 0, 4);
    ck_assert_uint_eq(rd(f, 0, 4), 0x56781234);
    wr(f, PCI_COMMAND, 0xffff, 2);
    ck_assert_uint_eq(rd(f, PCI_COMMAND, 2), 0x0507);
    ck_assert(pci_can_dma(&f->pci));
    wr(f, PCI_INTERRUPT_LINE, 0xffff, 2);
    ck_assert_uint_eq(rd(f, PCI_INTERRUPT_LINE, 2), 0x01ff);
    /* Writing ones clears the status register's error bits, and nothing else does. */
    f->pci.s.config[PCI_STATUS + 1] |= 0xf0;
    wr(f, PCI_STATUS, 0x1000, 2);
    ck_assert_uint_eq(rd(f, PCI_STATUS, 2) & 0xf900, 0xe000);
    ck_assert_uint_eq(pci_config_read(bus, PCI_DEVFN(9, 0) << 8, 4), 0xffffffff);
    ck_assert_uint_eq(pci_config_read(bus, PCI_DEVFN(9, 0) << 8, 1), 0xff);
    ck_assert_uint_eq(pci_config_read(bus, 1 << 16 | f->pci.devfn << 8, 2), 0xffff);
    device_reset(&f->pci.dev, RESET_WARM);
    ck_assert_uint_eq(rd(f, PCI_COMMAND, 4), (uint32_t)PCI_STATUS_CAP_LIST << 16);
    ck_assert_uint_eq(rd(f, PCI_INTERRUPT_LINE, 2), 0x0100);
    ck_assert(!pci_can_dma(&f->pci));
}
END_TEST

START_TEST(bars)
{
    Func *f = add("func", false, NULL);
    uint8_t b = 0x5a;

    wr(f, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_0, 4), 0xfffff000);
    wr(f, PCI_BASE_ADDRESS_1, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_1, 4), 0xfffffff1);
    wr(f, PCI_BASE_ADDRESS_2, 0xffffffff, 4);
    wr(f, PCI_BASE_ADDRESS_3, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_2, 4), 0xffffc00c);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_3, 4), 0xffffffff);
    wr(f, PCI_BASE_ADDRESS_4, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_4, 4), 0);
    /* A BAR is not decoded while it is sized, although decoding is on. */
    wr(f, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 2);
    ck_assert(!f->bar0.mapped && !f->bar1.mapped && !f->bar2.mapped);
    wr(f, PCI_BASE_ADDRESS_0, 0xe0000abc, 4);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_0, 4), 0xe0000000);
    ck_assert_uint_eq(f->bar0.addr, 0xe0000000);
    set_mem32(0xe0000010, 0x12345678);
    ck_assert_uint_eq(mem32(0xe0000010), 0x12345678);
    wr(f, PCI_BASE_ADDRESS_0, 0xe0100000, 4);
    ck_assert_uint_eq(mem32(0xe0000010), 0xffffffff);
    ck_assert_uint_eq(mem32(0xe0100010), 0x12345678);
    /* A write of one byte moves the BAR, too. */
    wr(f, PCI_BASE_ADDRESS_0 + 2, 0x20, 1);
    ck_assert_uint_eq(mem32(0xe0200010), 0x12345678);
    wr(f, PCI_BASE_ADDRESS_1, 0xc000, 4);
    cpu_access(vm, IO_SPACE_PIO, 0xc00f, &b, 1, true);
    ck_assert_uint_eq(f->mem[0xf], 0x5a);
    wr(f, PCI_BASE_ADDRESS_2, 0, 4);
    wr(f, PCI_BASE_ADDRESS_3, 0x12, 4);
    ck_assert(f->bar2.mapped);
    ck_assert_uint_eq(f->bar2.addr, 0x1200000000ull);
    wr(f, PCI_COMMAND, PCI_COMMAND_IO, 2);
    ck_assert(!f->bar0.mapped && f->bar1.mapped && !f->bar2.mapped);
    ck_assert_uint_eq(mem32(0xe0200010), 0xffffffff);
    wr(f, PCI_BASE_ADDRESS_1, 0xfff0, 4); /* ends at the last port: nowhere */
    ck_assert(!f->bar1.mapped);
    wr(f, PCI_BASE_ADDRESS_1, 0x1000c000, 4);
    ck_assert(!f->bar1.mapped);
    device_reset(&f->pci.dev, RESET_WARM);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_2, 4), 0xc);
    ck_assert_uint_eq(rd(f, PCI_BASE_ADDRESS_3, 4), 0);
}
END_TEST

START_TEST(ram_is_above_bars)
{
    RamBlock *ram = ram_block_new(vm, "ram", 1 * MiB, NULL);
    IoRegion region;
    Func *f = add("func", false, NULL);

    io_region_init_ram(&region, NULL, ram, 0, 1 * MiB, false, "ram");
    io_region_map(vm, &region, IO_SPACE_MEM, 0x100000, 0);
    wr(f, PCI_BASE_ADDRESS_0, 0x100000, 4);
    wr(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    set_mem32(0x100000, 7);
    ck_assert_uint_eq(ldle32(ram->host), 7);
    io_region_unmap(vm, &region);
}
END_TEST

/* INTx through PIIX3 to the GSIs. */
START_TEST(intx)
{
    Device *piix3 = device_new(vm, "PIIX3", &bus->bus, NULL, NULL, "addr", "1.0", NULL);
    Func *f = add("func,addr=3", false, NULL), *g = add("func,addr=7", false, NULL);

    device_reset(piix3, RESET_COLD);
    /* Slot 3 INTA: PIRQC. Slot 7 too. */
    device_lock(&f->pci.dev);
    pci_set_irq(&f->pci, true);
    device_unlock(&f->pci.dev);
    ck_assert_uint_eq(rd(f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    for (unsigned i = 0; i < 16; i++) {
        ck_assert(!gsi_level[i]);
    }
    pci_config_write(bus, PCI_DEVFN(1, 0) << 8 | 0x62, 11, 1);
    ck_assert(gsi_level[11]);
    device_lock(&g->pci.dev);
    pci_set_irq(&g->pci, true);
    device_unlock(&g->pci.dev);
    device_lock(&f->pci.dev);
    pci_set_irq(&f->pci, false);
    device_unlock(&f->pci.dev);
    ck_assert(gsi_level[11]); /* the other device still raises it */
    pci_config_write(bus, PCI_DEVFN(1, 0) << 8 | 0x62, 10, 1);
    ck_assert(!gsi_level[11] && gsi_level[10]);
    wr(g, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
    ck_assert(!gsi_level[10]);
    ck_assert(rd(g, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    wr(g, PCI_COMMAND, 0, 2);
    ck_assert(gsi_level[10]);
    wr(g, g->pci.msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    ck_assert(!gsi_level[10]);
    wr(g, g->pci.msix_cap + PCI_MSIX_FLAGS, 0, 2);
    ck_assert(gsi_level[10]);
    wr(g, g->pci.msi_cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE, 2);
    ck_assert(!gsi_level[10]);
    wr(g, g->pci.msi_cap + PCI_MSI_FLAGS, 0, 2);
    pci_config_write(bus, PCI_DEVFN(1, 0) << 8 | 0x62, 0x80, 1);
    ck_assert(!gsi_level[10]);
    pci_config_write(bus, PCI_DEVFN(1, 0) << 8 | 0x62, 5, 1);
    ck_assert(gsi_level[5]);
    device_destroy(&g->pci.dev); /* unplugged with its line raised */
    ck_assert(!gsi_level[5]);
}
END_TEST

START_TEST(msi)
{
    Func *f = add("func", false, NULL);
    unsigned cap = f->pci.msi_cap;

    ck_assert_uint_eq(rd(f, cap + PCI_MSI_FLAGS, 2), 0x0184);
    pci_msi_notify(&f->pci, 0);
    ck_assert_uint_eq(messages->len, 0);
    wr(f, cap + PCI_MSI_ADDRESS_LO, 0xfee01003, 4);
    wr(f, cap + PCI_MSI_ADDRESS_HI, 0x1, 4);
    wr(f, cap + PCI_MSI_DATA_64, 0x4047, 2);
    wr(f, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 7 << 4,
       2); /* more vectors than the device has */
    pci_msi_notify(&f->pci, 2);
    expect_message(0x1fee01000ull, 0x4046);
    wr(f, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | 1 << 4, 2); /* two of four */
    pci_msi_notify(&f->pci, 3);
    expect_message(0x1fee01000ull, 0x4047);
    wr(f, cap + PCI_MSI_MASK_64, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, cap + PCI_MSI_MASK_64, 4), 0xf);
    pci_msi_notify(&f->pci, 1);
    pci_msi_notify(&f->pci, 1);
    ck_assert_uint_eq(messages->len, 0);
    wr(f, cap + PCI_MSI_MASK_64, 0xe, 4);
    ck_assert_uint_eq(messages->len, 0);
    ck_assert_uint_eq(rd(f, cap + PCI_MSI_PENDING_64, 4), 2);
    wr(f, cap + PCI_MSI_MASK_64, 0, 4);
    expect_message(0x1fee01000ull, 0x4047);
    ck_assert_uint_eq(rd(f, cap + PCI_MSI_PENDING_64, 4), 0);
    ck_assert_uint_eq(messages->len, 0);
    device_reset(&f->pci.dev, RESET_WARM);
    ck_assert_uint_eq(rd(f, cap + PCI_MSI_FLAGS, 2), 0x0184);
    ck_assert_uint_eq(rd(f, cap + PCI_MSI_ADDRESS_LO, 4), 0);
    ck_assert(!pci_msi_enabled(&f->pci));
}
END_TEST

static void open_table(Func *f)
{
    wr(f, PCI_BASE_ADDRESS_2, 0xe0010000, 4);
    wr(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

#define TABLE(v, field) (0xe0012000 + (v)*16 + (field))
#define PBA             0xe0013000

START_TEST(msix)
{
    Func *f = add("func", false, NULL);
    unsigned cap = f->pci.msix_cap;

    open_table(f);
    ck_assert_uint_eq(rd(f, cap + PCI_MSIX_FLAGS, 2), VECTORS - 1);
    ck_assert_uint_eq(rd(f, cap + PCI_MSIX_TABLE, 4), 0x2002);
    ck_assert_uint_eq(rd(f, cap + PCI_MSIX_PBA, 4), 0x3002);
    /* The table is mapped over the container's registers, and hides only its own range. */
    set_mem32(0xe0010004, 0xabcd);
    ck_assert_uint_eq(ldle32(f->mem + 4), 0xabcd);
    ck_assert_uint_eq(mem32(TABLE(0, 12)), 1); /* masked after reset */
    set_mem32(TABLE(3, 0), 0xfee00007);
    set_mem32(TABLE(3, 4), 2);
    set_mem32(TABLE(3, 8), 0x55);
    ck_assert_uint_eq(mem32(TABLE(3, 0)), 0xfee00004);
    ck_assert_uint_eq(mem32(TABLE(3, 4)), 2);
    ck_assert_uint_eq(mem32(TABLE(3, 8)), 0x55);
    pci_msix_notify(&f->pci, 3); /* not enabled: not sent, nor pending */
    ck_assert_uint_eq(mem32(PBA), 0);
    wr(f, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    pci_msix_notify(&f->pci, 3);
    pci_msix_notify(&f->pci, 65);
    ck_assert_uint_eq(messages->len, 0);
    ck_assert_uint_eq(mem32(PBA), 8);
    ck_assert_uint_eq(mem32(PBA + 8), 2);
    set_mem32(PBA, 0); /* read-only */
    ck_assert_uint_eq(mem32(PBA), 8);
    set_mem32(TABLE(3, 12), 0);
    expect_message(0x2fee00004ull, 0x55);
    ck_assert_uint_eq(mem32(PBA), 0);
    pci_msix_notify(&f->pci, 3);
    expect_message(0x2fee00004ull, 0x55);
    wr(f, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    pci_msix_notify(&f->pci, 3);
    ck_assert_uint_eq(messages->len, 0);
    wr(f, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    expect_message(0x2fee00004ull, 0x55);
    pci_msix_notify(&f->pci, VECTORS); /* no such vector */
    ck_assert_uint_eq(messages->len, 0);
    device_reset(&f->pci.dev, RESET_WARM);
    ck_assert_uint_eq(f->pci.s.msix_pending[1], 0);
    ck_assert(!pci_msix_enabled(&f->pci));
}
END_TEST

/* A sender races with a guest that masks and unmasks: each message is sent once. */
static Func *raced;
static int stop_sending;
static unsigned sent_when_free; /* atomic */

static void *sender(void *data)
{
    reclaim_thread_register();
    while (!__atomic_load_n(&stop_sending, __ATOMIC_ACQUIRE)) {
        unsigned before = __atomic_load_n(&counted, __ATOMIC_SEQ_CST);

        pci_msix_notify(&raced->pci, 5);
        __atomic_add_fetch(&sent_when_free, 1, __ATOMIC_SEQ_CST);
        /* The other thread unmasks the vector repeatedly, so the message arrives. */
        while (__atomic_load_n(&counted, __ATOMIC_SEQ_CST) == before &&
               !__atomic_load_n(&stop_sending, __ATOMIC_ACQUIRE)) {
            sched_yield();
        }
    }
    reclaim_thread_unregister();
    return NULL;
}

START_TEST(msix_race)
{
    pthread_t thread;

    raced = add("func", false, NULL);
    open_table(raced);
    accel.send_msi = count_msi;
    stop_sending = 0;
    sent_when_free = 0;
    wr(raced, raced->pci.msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    pthread_create(&thread, NULL, sender, NULL);
    while (!__atomic_load_n(&sent_when_free, __ATOMIC_SEQ_CST)) {
        g_thread_yield(); /* the race begins when both run */
    }
    for (unsigned i = 0; i < 20000; i++) {
        if (i % 3 == 2) {
            wr(raced, raced->pci.msix_cap + PCI_MSIX_FLAGS,
               PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
            wr(raced, raced->pci.msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
        }
        set_mem32(TABLE(5, 12), i & 1);
        set_mem32(TABLE(5, 8), i);
    }
    set_mem32(TABLE(5, 12), 0);
    __atomic_store_n(&stop_sending, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    ck_assert_uint_gt(sent_when_free, 0);
    ck_assert_uint_eq(counted, sent_when_free);
    ck_assert_uint_eq(raced->pci.s.msix_pending[0], 0);
}
END_TEST

/* Accesses from one thread while another plugs and unplugs. */
static int stop_config;

static void *config_reader(void *data)
{
    uint32_t v;

    reclaim_thread_register();
    while (!__atomic_load_n(&stop_config, __ATOMIC_ACQUIRE)) {
        v = pci_config_read(bus, PCI_DEVFN(5, 0) << 8, 4);
        ck_assert(v == 0xffffffff || v == 0x56781234);
        pci_config_write(bus, PCI_DEVFN(5, 0) << 8 | PCI_BASE_ADDRESS_0, 0xe0000000, 4);
        pci_config_write(bus, PCI_DEVFN(5, 0) << 8 | PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
        mem32(0xe0000000);
        reclaim_offline();
        reclaim_online();
    }
    reclaim_thread_unregister();
    return NULL;
}

START_TEST(hotplug_race)
{
    pthread_t thread;

    stop_config = 0;
    pthread_create(&thread, NULL, config_reader, NULL);
    for (unsigned i = 0; i < 300; i++) {
        Func *f = add("func,addr=5", true, NULL);

        sched_yield();
        device_destroy(&f->pci.dev);
        event_loop_iterate(loop, 0);
    }
    __atomic_store_n(&stop_config, 1, __ATOMIC_RELEASE);
    reclaim_offline();
    pthread_join(thread, NULL);
    reclaim_online();
}
END_TEST

/* A configuration write that is deferred to a loop. */
static bool config_thread_done;

static void *config_deferrer(void *data)
{
    Func *f = data;

    reclaim_thread_register();
    for (unsigned i = 0; i < 5; i++) {
        wr(f, 0xf0, i, 1);
        /* The writer had to wait. */
        ck_assert_uint_eq(__atomic_load_n(&f->defer_runs, __ATOMIC_RELAXED), i + 1);
    }
    reclaim_thread_unregister();
    __atomic_store_n(&config_thread_done, true, __ATOMIC_RELEASE);
    return NULL;
}

START_TEST(deferred_write)
{
    Func *f = add("func", false, NULL);
    pthread_t thread;

    config_thread_done = false;
    pthread_create(&thread, NULL, config_deferrer, f);
    run_until_flag(&config_thread_done);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(rd(f, 0xf0, 1), 4);
}
END_TEST

static uint8_t some_irq(PciDevice *pci, unsigned pin)
{
    return 10 + pin;
}

START_TEST(assign)
{
    Func *a = add("func,addr=2", false, NULL), *b = add("func,addr=3", false, NULL);
    g_autofree char *text = NULL;

    pci_assign_resources(bus, 0xc000, 0xe0000000, 0, some_irq);
    ck_assert_uint_eq(rd(a, PCI_COMMAND, 2),
                      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_SERR);
    ck_assert_uint_eq(rd(a, PCI_INTERRUPT_LINE, 1), 10);
    ck_assert_uint_eq(a->bar2.addr, 0xe0000000);
    ck_assert_uint_eq(b->bar2.addr, 0xe0004000);
    ck_assert_uint_eq(a->bar0.addr, 0xe0008000);
    ck_assert_uint_eq(b->bar0.addr, 0xe0009000);
    ck_assert_uint_eq(b->bar1.addr, 0xc010);
    pci_assign_resources(bus, 0xd000, 0xf0000000, 0x4000000000, NULL);
    ck_assert_uint_eq(b->bar2.addr, 0x4000004000);
    text = pci_info_text(vm);
    ck_assert(strstr(text,
                     "  Bus  0, device   3, function 0:\n"
                     "    SCSI controller: PCI device 1234:5678\n"
                     "      PCI subsystem 1af4:1100\n"
                     "      IRQ 10, pin A\n"
                     "      BAR0: 32 bit memory at 0xf0001000 [0xf0001fff].\n"
                     "      BAR1: I/O at 0xd010 [0xd01f].\n"
                     "      BAR2: 64 bit prefetchable memory at 0x4000004000 [0x4000007fff].\n"
                     "      id \"\"\n"));
}
END_TEST

START_TEST(rom)
{
    g_autofree char *dir = g_dir_make_tmp("vmm-rom-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "boot.rom", NULL);
    g_autofree char *args = g_strdup_printf("func,romfile=%s", path);
    g_autofree char *small = g_strdup_printf("func,romfile=%s,romsize=4096", path);
    g_autofree char *odd = g_strdup_printf("func,romfile=%s,romsize=5000", path);
    g_autofree char *off = g_strdup_printf("func,romfile=%s,rombar=0", path);
    uint8_t image[5000];
    Func *f;

    for (unsigned i = 0; i < sizeof image; i++) {
        image[i] = i * 7;
    }
    stle16(image, 0xaa55);
    ck_assert(g_file_set_contents(path, (char *)image, sizeof image, NULL));
    f = add(args, false, NULL);
    ck_assert(f != NULL);
    wr(f, PCI_ROM_ADDRESS, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, PCI_ROM_ADDRESS, 4), 0xffffe001);
    wr(f, PCI_ROM_ADDRESS, 0xe0100000, 4);
    wr(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    ck_assert_uint_eq(mem32(0xe0100000), 0xffffffff); /* its own enable bit is off */
    wr(f, PCI_ROM_ADDRESS, 0xe0100001, 4);
    ck_assert_uint_eq(mem32(0xe0100000) & 0xffff, 0xaa55);
    set_mem32(0xe0100000, 0);
    ck_assert_uint_eq(mem32(0xe0100000) & 0xffff, 0xaa55);
    refuse(small, false, "too large for ROM size 4096");
    refuse(odd, false, "not a power of two");
    refuse("func,romfile=/nonexistent.rom", false, "/nonexistent.rom");
    f = add(off, false, NULL);
    wr(f, PCI_ROM_ADDRESS, 0xffffffff, 4);
    ck_assert_uint_eq(rd(f, PCI_ROM_ADDRESS, 4), 0);
    unlink(path);
    rmdir(dir);
}
END_TEST

/* Save, change, load: registers, mappings, messages and lines are restored. */
START_TEST(state)
{
    Func *f = add("func,id=f", false, NULL);
    g_autoptr(GByteArray) saved = g_byte_array_new();
    GError *err = NULL;
    unsigned cap = f->pci.msix_cap;

    open_table(f);
    wr(f, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
    set_mem32(TABLE(5, 0), 0xfee00000);
    set_mem32(TABLE(5, 8), 0x31);
    pci_msix_notify(&f->pci, 5);
    ck_assert(vm_save_devices(vm, saved, NULL));
    device_reset(&f->pci.dev, RESET_COLD);
    ck_assert(!f->bar2.mapped);
    ck_assert_msg(vm_load_devices(vm, saved->data, saved->len, &err), "%s",
                  err ? err->message : "");
    ck_assert_uint_eq(f->bar2.addr, 0xe0010000);
    ck_assert(pci_msix_enabled(&f->pci));
    ck_assert_uint_eq(mem32(PBA), 32);
    ck_assert_uint_eq(messages->len, 0);
    set_mem32(TABLE(5, 12), 0);
    expect_message(0xfee00000, 0x31);
    /* Another device's state is refused, and changes nothing. */
    f->pci.identity[PCI_DEVICE_ID] ^= 1;
    ck_assert(!vm_load_devices(vm, saved->data, saved->len, &err));
    ck_error(err, "another device's state");
    ck_assert_uint_eq(mem32(PBA), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        addresses, header,    bars,         ram_is_above_bars, intx,   msi,
        msix,      msix_race, hotplug_race, deferred_write,    assign, rom,
        state,     NULL};
    TCase *tcase = tcase_create("pci");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    for (const TTest *const *t = tests; *t; t++) {
        tcase_add_test(tcase, *t);
    }
    return unit_run_case("devices_pci", tcase);
}
