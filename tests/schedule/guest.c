/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUs' program: a driver of virtio disks that keeps to the specification, and some things that
 * no driver does but any guest may. One step of an operation is one exit to the program, so a CPU
 * can be stopped, saved or reset between any two.
 *
 * Not instrumented by ThreadSanitizer: a guest and a device share memory as they like. What the
 * CPUs know in common is under 'guest.lock', which no CPU holds while it touches a register.
 */
#include "world.h"

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include "../../src/vm/vcpu_internal.h"
#include "../unit/virtio/ring_driver.h"
#include "devices/isa.h"
#include "devices/pci.h"

enum {
    SLOTS = 12, /* requests of a disk */
    BLOCKS_MAX = 4,
    CANARY = 0x5a,
    MSI_BASE = 0x40, /* data of a queue's message: disk * QUEUE_MAX + queue above this */
    MSI_CONFIG = 0x30,
    /* Registers that some systems' headers lack (virtio 1.2, 4.1.4.3). */
    COMMON_Q_RESET = 58,
    MODERN_DEVICE = 0x2000, /* where this program's devices have what their capabilities say */
    MODERN_NOTIFY = 0x3000,
    MSIX_BAR = 1,
    MODERN_BAR = 4,
};

typedef struct {
    bool busy, write;
    unsigned queue, sector, count;
    uint32_t value;
} Request;

typedef struct {
    RingDriver ring;
    uint16_t kicked;              /* split, event indices: the index at the last look */
    int slot[VIRTQUEUE_SIZE_MAX]; /* by head or id; -1: none */
    bool off;                     /* being reset */
} Queue;

typedef enum { DOWN, STARTING, UP, STOPPING } DriverState;

typedef struct {
    unsigned index;
    DriverState state;
    unsigned generation; /* of the state: an operation of an older one is void */
    bool claimed;        /* by an operation of several register accesses */
    bool moving, moved;  /* its registers; they are at the other place */
    Queue queue[QUEUE_MAX];
    Request request[SLOTS];
} Driver;

typedef struct Cpu Cpu;
typedef struct {
    const char *name;
    unsigned weight;
    bool exact;        /* its accesses must arrive: not while the registers move */
    const char *fault; /* that it brings out, see explore.c */
    /* Under the lock: whether it may begin on c->driver; claims what it needs. */
    bool (*begin)(Cpu *c);
    /* Step n; true: it is over. Not under the lock. */
    bool (*step)(Cpu *c, unsigned n);
} GuestOp;

struct Cpu {
    Rand rand;
    const GuestOp *op;
    unsigned step, left;
    Driver *driver;
    unsigned generation, queue;
    gint64 halted_until; /* us: it has nothing to do before */
    bool failed;
};

static struct {
    GMutex lock;
    GCond cond;
    bool kicked[CPU_MAX];
    /* Saved and loaded. */
    struct {
        uint64_t interrupts; /* a bit for each queue of each disk */
        bool asleep;         /* a CPU has asked for S3 */
        Cpu cpu[CPU_MAX];
        Driver driver[DISK_MAX];
    } s;
} guest;

/* Where things are. */

static uint64_t disk_ram(const Driver *d)
{
    return 0x100000 + d->index * 0x100000ull;
}

static uint64_t ring_ram(const Driver *d, unsigned queue)
{
    return disk_ram(d) + queue * 0x10000;
}

static uint8_t *buffer(const Driver *d, unsigned slot)
{
    return world.ram + disk_ram(d) + 0x80000 + slot * 0x1000;
}

static uint64_t buffer_addr(const Driver *d, unsigned slot)
{
    return disk_ram(d) + 0x80000 + slot * 0x1000;
}

enum { AT_DATA = 0x100, AT_STATUS = 0xf00 };

static uint64_t modern_bar(const Driver *d)
{
    return 0xe0000000 + d->index * 0x100000ull + (d->moved ? 0x10000 : 0);
}

static uint64_t msix_bar(const Driver *d)
{
    return 0xe0080000 + d->index * 0x100000ull;
}

/* Accesses. */

static uint32_t mmio_read(const Driver *d, unsigned offset, unsigned len)
{
    uint32_t v = 0;

    cpu_access(world.vm, IO_SPACE_MEM, modern_bar(d) + offset, &v, len, false);
    return v;
}

static void mmio_write(const Driver *d, unsigned offset, uint32_t v, unsigned len)
{
    cpu_access(world.vm, IO_SPACE_MEM, modern_bar(d) + offset, &v, len, true);
}

static void port_write(uint16_t port, uint32_t v, unsigned len)
{
    cpu_access(world.vm, IO_SPACE_PIO, port, &v, len, true);
}

static uint32_t config_addr(const Driver *d, unsigned offset)
{
    return PCI_DEVFN(SLOT_FIRST + d->index, 0) << 8 | offset;
}

static uint32_t config_read(const Driver *d, unsigned offset, unsigned len)
{
    return pci_config_read(world.pci, config_addr(d, offset), len);
}

static void config_write(const Driver *d, unsigned offset, uint32_t v, unsigned len)
{
    pci_config_write(world.pci, config_addr(d, offset), v, len);
}

/* Requests. Under the lock. */

static void slot_free(Driver *d, unsigned slot)
{
    d->request[slot].busy = false;
    memset(buffer(d, slot) + AT_DATA, CANARY, AT_STATUS + 1 - AT_DATA);
}

static void slot_check_untouched(const Driver *d, unsigned slot)
{
    const uint8_t *p = buffer(d, slot);

    for (unsigned i = AT_DATA; i <= AT_STATUS; i++) {
        if (p[i] != CANARY) {
            baton_fail("disk %u: memory of request %u was written to after the request was over "
                       "(0x%02x at %u)",
                       d->index, slot, p[i], i);
        }
    }
}

static DiskSector *sector_of(const Driver *d, const Request *r, unsigned i)
{
    return &disks[d->index].model[r->sector + i];
}

/* Taken back by a reset or an unplug: a write may have happened, or not. */
static void request_forget(Driver *d, unsigned slot)
{
    Request *r = &d->request[slot];

    for (unsigned i = 0; i < r->count; i++) {
        DiskSector *s = sector_of(d, r, i);

        if (r->write) {
            s->writing = false;
            disk_may_hold(s, r->value);
        } else {
            s->reading--;
        }
    }
    slot_free(d, slot);
}

static void queue_forget(Driver *d, unsigned queue)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (d->request[i].busy && d->request[i].queue == queue) {
            request_forget(d, i);
        }
    }
}

static void driver_forget(Driver *d)
{
    for (unsigned q = 0; q < QUEUE_MAX; q++) {
        queue_forget(d, q);
        d->queue[q].off = false;
    }
    baton_note("disk %u: all is forgotten", d->index);
    d->state = DOWN;
    d->generation++;
    d->claimed = d->moving = false;
}

void guest_forget(int disk)
{
    g_mutex_lock(&guest.lock);
    for (int i = 0; i < DISK_MAX; i++) {
        if (disk < 0 || i == disk) {
            driver_forget(&guest.s.driver[i]);
        }
    }
    if (disk < 0) {
        guest.s.asleep = false;
        guest.s.interrupts = 0;
        for (unsigned i = 0; i < CPU_MAX; i++) {
            guest.s.cpu[i].op = NULL;
            guest.s.cpu[i].failed = false;
        }
    }
    g_mutex_unlock(&guest.lock);
}

/* False: no room, or somebody writes there. */
static bool request_choose(Cpu *c, Driver *d, unsigned *slot)
{
    Request r = {.busy = true,
                 .write = rand_below(&c->rand, 2),
                 .queue = rand_below(&c->rand, world.config.queues),
                 .count = 1 + rand_below(&c->rand, BLOCKS_MAX)};

    for (*slot = 0; *slot < SLOTS && d->request[*slot].busy; ++*slot) {
    }
    r.sector = rand_below(&c->rand, DISK_SECTORS - r.count + 1);
    r.value = (uint32_t)rand_next(&c->rand);
    if (*slot == SLOTS || d->queue[r.queue].off || d->queue[r.queue].ring.free < 3) {
        return false;
    }
    for (unsigned i = 0; i < r.count; i++) {
        const DiskSector *s = sector_of(d, &r, i);

        if (s->writing || (r.write && s->reading)) {
            return false;
        }
    }
    slot_check_untouched(d, *slot);
    d->request[*slot] = r;
    return true;
}

static void request_fill(Driver *d, unsigned slot)
{
    const Request *r = &d->request[slot];
    struct virtio_blk_outhdr header = {
        .type = htole32(r->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN),
        .sector = htole64(r->sector),
    };
    uint8_t *p = buffer(d, slot);

    memcpy(p, &header, sizeof header);
    p[AT_STATUS] = 0xff;
    for (unsigned i = 0; i < r->count; i++) {
        if (r->write) {
            sector_of(d, r, i)->writing = true;
        } else {
            sector_of(d, r, i)->reading++;
        }
    }
    for (unsigned i = 0; r->write && i < r->count * DISK_SECTOR; i += 4) {
        stle32(p + AT_DATA + i, r->value);
    }
}

static void request_expose(Driver *d, unsigned slot)
{
    const Request *r = &d->request[slot];
    Queue *q = &d->queue[r->queue];
    uint64_t at = buffer_addr(d, slot);
    RingPiece pieces[] = {{at, sizeof(struct virtio_blk_outhdr), false},
                          {at + AT_DATA, r->count * DISK_SECTOR, !r->write},
                          {at + AT_STATUS, 1, true}};
    int head = ring_add(&q->ring, pieces, 3, 0);

    g_assert(head >= 0);
    q->slot[head] = slot;
    baton_note("disk %u, queue %u: request %u as %d", d->index, r->queue, slot, head);
}

/* Whether the device wants to hear of what was added (2.7.10, 2.8.10). */
static bool queue_wants_kick(Queue *q)
{
    RingDriver *ring = &q->ring;
    uint16_t old = q->kicked, event;

    q->kicked = ring->avail;
    if (ring->packed) {
        return ldle16(ring_at(ring, ring->device + 2)) != VRING_PACKED_EVENT_FLAG_DISABLE;
    }
    if (!ring->event_idx) {
        return !(ldle16(ring_at(ring, ring->device)) & VRING_USED_F_NO_NOTIFY);
    }
    event = ldle16(ring_at(ring, ring->device + 4 + 8 * ring->size));
    return (uint16_t)(ring->avail - event - 1) < (uint16_t)(ring->avail - old);
}

static void check_read(Driver *d, unsigned slot)
{
    const Request *r = &d->request[slot];
    const uint8_t *p = buffer(d, slot) + AT_DATA;

    for (unsigned i = 0; i < r->count; i++) {
        DiskSector *s = sector_of(d, r, i);
        uint32_t v = ldle32(p + i * DISK_SECTOR);

        for (unsigned j = 0; j < DISK_SECTOR; j += 4) {
            if (ldle32(p + i * DISK_SECTOR + j) != v) {
                baton_fail("disk %u, sector %u: read in halves: 0x%x, 0x%x", d->index,
                           r->sector + i, v, ldle32(p + i * DISK_SECTOR + j));
            }
        }
        if (!disk_fits(s, v)) {
            baton_fail("disk %u, sector %u: read 0x%x, written 0x%x (%u possible)", d->index,
                       r->sector + i, v, s->values[0], s->count);
        }
        disk_holds(s, v);
    }
}

static void request_done(Driver *d, unsigned slot)
{
    Request *r = &d->request[slot];
    uint8_t status = buffer(d, slot)[AT_STATUS];
    bool failed = status == VIRTIO_BLK_S_IOERR && world.config.error_in;

    baton_note("disk %u, queue %u: request %u is done, %u", d->index, r->queue, slot, status);
    if (status != VIRTIO_BLK_S_OK && !failed) {
        baton_fail("disk %u: request %u has status %u", d->index, slot, status);
    }
    if (!r->write && !failed) {
        check_read(d, slot);
    }
    for (unsigned i = 0; i < r->count; i++) {
        DiskSector *s = sector_of(d, r, i);

        if (!r->write) {
            s->reading--;
            continue;
        }
        s->writing = false;
        if (failed) {
            disk_may_hold(s, r->value);
        } else {
            disk_holds(s, r->value);
        }
    }
    slot_free(d, slot);
}

/* What the device has given back, with interrupts on again before the last look. */
static void queue_reap(Driver *d, unsigned queue)
{
    Queue *q = &d->queue[queue];
    unsigned found;

    do {
        uint32_t id, len;

        found = 0;
        g_mutex_lock(&guest.lock);
        while (d->state == UP && !q->off && ring_get(&q->ring, &id, &len)) {
            if (id >= VIRTQUEUE_SIZE_MAX || q->slot[id] < 0) {
                baton_fail("disk %u, queue %u: %u was given back, and nobody had asked", d->index,
                           queue, id);
            }
            request_done(d, q->slot[id]);
            q->slot[id] = -1;
            found++;
        }
        if (d->state == UP && !q->off) {
            ring_want_interrupt(&q->ring, true);
        }
        g_mutex_unlock(&guest.lock);
    } while (found);
}

/* Starting a driver (3.1.1). */

static void ring_prepare(Driver *d, unsigned queue)
{
    Queue *q = &d->queue[queue];
    RingDriver *r = &q->ring;
    uint64_t at = ring_ram(d, queue);

    memset(world.ram + at, 0, 0x10000);
    *r = (RingDriver){
        .ram = world.ram,
        .packed = world.config.packed,
        .event_idx = world.config.event_idx,
        .size = world.config.queue_size,
        .desc = at,
        .driver = at + 0x4000,
        .device = at + 0x8000,
        .avail_wrap = true,
        .used_wrap = true,
        .free = world.config.queue_size,
    };
    for (unsigned i = 0; i < r->size; i++) {
        r->unused[r->unused_count++] = r->size - 1 - i;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(q->slot); i++) {
        q->slot[i] = -1;
    }
    q->kicked = 0;
}

static void write_queue(Driver *d, unsigned queue, unsigned part)
{
    RingDriver *r = &d->queue[queue].ring;

    switch (part) {
    case 0:
        mmio_write(d, VIRTIO_PCI_COMMON_Q_SELECT, queue, 2);
        mmio_write(d, VIRTIO_PCI_COMMON_Q_SIZE, r->size, 2);
        mmio_write(d, VIRTIO_PCI_COMMON_Q_MSIX, queue + 1, 2);
        break;
    case 1:
        mmio_write(d, VIRTIO_PCI_COMMON_Q_DESCLO, r->desc, 4);
        mmio_write(d, VIRTIO_PCI_COMMON_Q_AVAILLO, r->driver, 4);
        mmio_write(d, VIRTIO_PCI_COMMON_Q_USEDLO, r->device, 4);
        break;
    default:
        mmio_write(d, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
        break;
    }
}

static void write_bars(Driver *d)
{
    config_write(d, PCI_COMMAND, 0, 2);
    config_write(d, PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR, modern_bar(d), 4);
    config_write(d, PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR + 4, 0, 4);
    config_write(d, PCI_BASE_ADDRESS_0 + 4 * MSIX_BAR, msix_bar(d), 4);
    config_write(d, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static void write_msix(Driver *d)
{
    uint8_t cap = config_read(d, PCI_CAPABILITY_LIST, 1);

    for (unsigned v = 0; v <= world.config.queues; v++) {
        uint32_t entry[] = {0xfee00000, 0,
                            v ? MSI_BASE + d->index * QUEUE_MAX + v - 1 : MSI_CONFIG + d->index, 0};

        for (unsigned i = 0; i < 4; i++) {
            cpu_access(world.vm, IO_SPACE_MEM, msix_bar(d) + v * PCI_MSIX_ENTRY_SIZE + i * 4,
                       &entry[i], 4, true);
        }
    }
    for (unsigned n = 0; n < 16 && cap && cap != 0xff; n++) {
        if (config_read(d, cap, 1) == PCI_CAP_ID_MSIX) {
            config_write(d, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
            return;
        }
        cap = config_read(d, cap + 1, 1);
    }
}

static void write_features(Driver *d)
{
    uint64_t f = BIT64(VIRTIO_F_VERSION_1) | BIT64(40 /* ring reset */) |
                 BIT64(VIRTIO_BLK_F_CONFIG_WCE) | BIT64(VIRTIO_BLK_F_FLUSH);

    f |= world.config.packed ? BIT64(VIRTIO_F_RING_PACKED) : 0;
    f |= world.config.event_idx ? BIT64(VIRTIO_RING_F_EVENT_IDX) : 0;
    for (unsigned half = 0; half < 2; half++) {
        uint32_t offered;

        mmio_write(d, VIRTIO_PCI_COMMON_DFSELECT, half, 4);
        offered = mmio_read(d, VIRTIO_PCI_COMMON_DF, 4);
        mmio_write(d, VIRTIO_PCI_COMMON_GFSELECT, half, 4);
        mmio_write(d, VIRTIO_PCI_COMMON_GF, f >> (32 * half) & offered, 4);
    }
}

/* Another CPU is in the middle of something that must arrive, and arrive where it was meant to. */
static bool others_are_at(const Cpu *c)
{
    for (unsigned i = 0; i < CPU_MAX; i++) {
        const Cpu *other = &guest.s.cpu[i];

        if (other != c && other->op && other->op->exact && other->driver == c->driver) {
            return true;
        }
    }
    return false;
}

static bool start_begin(Cpu *c)
{
    Driver *d = c->driver;

    if (d->state != DOWN || d->claimed || others_are_at(c)) {
        return false;
    }
    d->state = STARTING;
    d->claimed = true;
    d->generation++;
    return true;
}

/* Gives up: no such device, or not as it should be. */
static bool start_fails(Cpu *c)
{
    g_mutex_lock(&guest.lock);
    if (c->driver->generation == c->generation) {
        driver_forget(c->driver);
    }
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool start_done(Cpu *c)
{
    Driver *d = c->driver;

    mmio_write(d, VIRTIO_PCI_COMMON_STATUS, 0xf, 1);
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        d->state = UP;
        d->claimed = false;
    }
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool start_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;
    unsigned queue = (n - 6) / 3;

    switch (n) {
    case 0:
        if (config_read(d, PCI_VENDOR_ID, 2) != 0x1af4) {
            return start_fails(c);
        }
        write_bars(d);
        return false;
    case 1:
        mmio_write(d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
        return false;
    case 2:
        mmio_write(d, VIRTIO_PCI_COMMON_STATUS, 3, 1);
        return false;
    case 3:
        write_features(d);
        return false;
    case 4:
        mmio_write(d, VIRTIO_PCI_COMMON_STATUS, 0xb, 1);
        return mmio_read(d, VIRTIO_PCI_COMMON_STATUS, 1) != 0xb && start_fails(c);
    case 5:
        write_msix(d);
        return false;
    default:
        if (queue == world.config.queues) {
            return start_done(c);
        }
        if (n % 3 == 0) {
            g_mutex_lock(&guest.lock);
            ring_prepare(d, queue);
            g_mutex_unlock(&guest.lock);
        }
        write_queue(d, queue, n % 3);
        return false;
    }
}

/* Other operations. */

static bool is_up(Cpu *c)
{
    return c->driver->state == UP;
}

static bool always(Cpu *c)
{
    return true;
}

static bool claim_up(Cpu *c)
{
    if (!is_up(c) || c->driver->claimed) {
        return false;
    }
    c->driver->claimed = true;
    return true;
}

static bool io_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;
    bool kick;
    unsigned slot;

    if (n) {
        baton_note("disk %u, queue %u: kick", d->index, c->queue);
        mmio_write(d, MODERN_NOTIFY + 4 * c->queue, c->queue, 2);
        return true;
    }
    g_mutex_lock(&guest.lock);
    if (d->state != UP || !request_choose(c, d, &slot)) {
        g_mutex_unlock(&guest.lock);
        return true;
    }
    c->queue = d->request[slot].queue;
    request_fill(d, slot);
    request_expose(d, slot);
    sched_pass("the guest has added a chain");
    kick = queue_wants_kick(&d->queue[c->queue]);
    g_mutex_unlock(&guest.lock);
    return !kick;
}

static bool poll_step(Cpu *c, unsigned n)
{
    queue_reap(c->driver, rand_below(&c->rand, world.config.queues));
    return true;
}

static bool read_config_step(Cpu *c, unsigned n)
{
    mmio_read(c->driver, MODERN_DEVICE + 4 * rand_below(&c->rand, 15), 4);
    return true;
}

static bool read_status_step(Cpu *c, unsigned n)
{
    mmio_read(c->driver, VIRTIO_PCI_COMMON_STATUS, 1);
    return true;
}

static bool write_cache_step(Cpu *c, unsigned n)
{
    mmio_write(c->driver, MODERN_DEVICE + offsetof(struct virtio_blk_config, wce),
               rand_below(&c->rand, 2), 1);
    return true;
}

static bool kick_step(Cpu *c, unsigned n)
{
    unsigned queue = rand_below(&c->rand, world.config.queues);

    mmio_write(c->driver, MODERN_NOTIFY + 4 * queue, queue, 2);
    return n == 3;
}

/* Status 0, in the middle of whatever the other CPUs do. */
static bool reset_begin(Cpu *c)
{
    Driver *d = c->driver;

    if (d->state != UP) {
        return false;
    }
    d->state = STOPPING;
    d->claimed = true;
    d->generation++;
    return true;
}

/* 0, or all ones of an empty slot: whatever the device had in flight is over. */
static void reset_device(const Driver *d)
{
    mmio_write(d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
    mmio_read(d, VIRTIO_PCI_COMMON_STATUS, 1);
}

static bool reset_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;

    reset_device(d);
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        driver_forget(d);
    }
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool queue_reset_begin(Cpu *c)
{
    if (!claim_up(c)) {
        return false;
    }
    c->queue = rand_below(&c->rand, world.config.queues);
    c->driver->queue[c->queue].off = true;
    return true;
}

static bool queue_reset_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;

    if (n == 0) {
        mmio_write(d, VIRTIO_PCI_COMMON_Q_SELECT, c->queue, 2);
        mmio_write(d, COMMON_Q_RESET, 1, 2);
        g_mutex_lock(&guest.lock);
        if (d->generation == c->generation) {
            queue_forget(d, c->queue);
            ring_prepare(d, c->queue);
        }
        g_mutex_unlock(&guest.lock);
        return false;
    }
    write_queue(d, c->queue, n - 1);
    if (n < 3) {
        return false;
    }
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        d->queue[c->queue].off = false;
        d->claimed = false;
    }
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool move_bar_begin(Cpu *c)
{
    if (!is_up(c) || c->driver->moving || others_are_at(c)) {
        return false;
    }
    c->driver->moving = true;
    return true;
}

static bool move_bar_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;
    uint64_t to = modern_bar(d) ^ 0x10000;

    config_write(d, PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR, to, 4);
    g_mutex_lock(&guest.lock);
    d->moved = !d->moved;
    d->moving = false;
    g_mutex_unlock(&guest.lock);
    return true;
}

static bool eject_step(Cpu *c, unsigned n)
{
    port_write(PIIX4_PCI_HOTPLUG_BASE + 8, BIT(SLOT_FIRST + c->driver->index), 4);
    return true;
}

/* As an operating system does it: the driver goes first. */
static bool eject_politely_step(Cpu *c, unsigned n)
{
    Driver *d = c->driver;

    if (n == 1) {
        return eject_step(c, n);
    }
    reset_device(d);
    g_mutex_lock(&guest.lock);
    if (d->generation == c->generation) {
        driver_forget(d);
        d->state = STOPPING; /* until DEVICE_DELETED, or a reset */
        c->generation = d->generation;
    }
    g_mutex_unlock(&guest.lock);
    return c->generation != d->generation;
}

static bool awake(Cpu *c)
{
    return !guest.s.asleep;
}

static bool suspend_step(Cpu *c, unsigned n)
{
    const uint32_t pm = PCI_DEVFN(1, 3) << 8;

    if (n == 0) {
        /* As firmware leaves it: where the registers are, and that they are. */
        pci_config_write(world.pci, pm + 0x40, PIIX4_PM_BASE | 1, 4);
        pci_config_write(world.pci, pm + 0x80, 1, 1);
        return false;
    }
    g_mutex_lock(&guest.lock);
    guest.s.asleep = true;
    g_mutex_unlock(&guest.lock);
    port_write(PIIX4_PM_BASE + 4, BIT(13) | 1 << 10, 2);
    return true;
}

static bool halt_step(Cpu *c, unsigned n)
{
    c->halted_until = g_get_monotonic_time() + rand_below(&c->rand, 200);
    return true;
}

/* The CPU cannot go on. Until a reset it may not. */
static bool fail_step(Cpu *c, unsigned n)
{
    c->failed = true;
    return true;
}

static bool reboot_step(Cpu *c, unsigned n)
{
    port_write(0xcf9, 6, 1);
    return true;
}

static const GuestOp guest_ops[] = {
    {"start", 60, true, NULL, start_begin, start_step},
    {"io", 60, true, NULL, is_up, io_step},
    {"halt", 12, false, NULL, always, halt_step},
    {"poll", 6, false, NULL, is_up, poll_step},
    {"kick", 6, false, NULL, is_up, kick_step},
    {"read-config", 4, false, NULL, always, read_config_step},
    {"read-status", 4, false, NULL, always, read_status_step},
    {"write-cache", 3, false, NULL, is_up, write_cache_step},
    {"move-bar", 3, false, NULL, move_bar_begin, move_bar_step},
    {"device-reset", 5, true, NULL, reset_begin, reset_step},
    {"queue-reset", 5, true, NULL, queue_reset_begin, queue_reset_step},
    {"eject", 2, false, NULL, always, eject_step},
    {"eject-politely", 2, true, NULL, reset_begin, eject_politely_step},
    {"suspend", 1, false, NULL, awake, suspend_step},
    {"reboot", 1, false, NULL, awake, reboot_step},
    {"fail", 1, false, NULL, awake, fail_step},
};

/* The CPU. */

static bool may_begin(const Cpu *c)
{
    return c->left && !guest.s.asleep && !__atomic_load_n(&world.ending, __ATOMIC_RELAXED);
}

/* Under the lock: the next operation, or none this time. */
static void choose_op(Cpu *c)
{
    unsigned total = 0, at;

    for (unsigned i = 0; i < G_N_ELEMENTS(guest_ops); i++) {
        total += world_mixes(guest_ops[i].name, guest_ops[i].fault) ? guest_ops[i].weight : 0;
    }
    at = rand_below(&c->rand, total);
    c->driver = &guest.s.driver[rand_below(&c->rand, world.config.disks)];
    for (unsigned i = 0; i < G_N_ELEMENTS(guest_ops); i++) {
        const GuestOp *op = &guest_ops[i];
        unsigned weight = world_mixes(op->name, op->fault) ? op->weight : 0;

        if (at >= weight) {
            at -= weight;
            continue;
        }
        c->left--;
        if (!(op->exact && c->driver->moving) && op->begin(c)) {
            c->op = op;
            c->step = 0;
            c->generation = c->driver->generation;
            baton_note("disk %u: %s", c->driver->index, op->name);
        }
        return;
    }
}

/* A queue that has interrupted; -1: something else is to be done; -2: the CPU was kicked. */
static int wait_in_guest(Cpu *c, unsigned index)
{
    int found = -1;

    g_mutex_lock(&guest.lock);
    while (!guest.kicked[index] && !c->op && (guest.s.asleep || !guest.s.interrupts)) {
        if (!may_begin(c)) {
            g_cond_wait(&guest.cond, &guest.lock);
        } else if (!g_cond_wait_until(&guest.cond, &guest.lock, c->halted_until)) {
            break;
        }
    }
    if (guest.kicked[index]) {
        guest.kicked[index] = false;
        found = -2;
    } else if (!guest.s.asleep && guest.s.interrupts && (!c->op || rand_one_in(&c->rand, 2))) {
        found = __builtin_ctzll(guest.s.interrupts);
        guest.s.interrupts &= ~BIT64(found);
    } else if (!c->op && may_begin(c)) {
        choose_op(c);
    }
    g_mutex_unlock(&guest.lock);
    return found;
}

VcpuExit guest_step(Vcpu *cpu)
{
    Cpu *c = &guest.s.cpu[cpu->index];
    int found;

    if (__atomic_load_n(&world.suspended, __ATOMIC_SEQ_CST)) {
        baton_fail("CPU %u runs in S3: no wake-up, no reset", cpu->index);
    }
    if (c->failed) {
        baton_fail("CPU %u runs after an internal error: no reset", cpu->index);
    }
    vcpu_enter_guest(cpu);
    found = wait_in_guest(c, cpu->index);
    vcpu_leave_guest(cpu);
    if (found == -2) {
        return VCPU_EXIT_INTERRUPTED;
    }
    if (found >= 0) {
        queue_reap(&guest.s.driver[found / QUEUE_MAX], found % QUEUE_MAX);
        return VCPU_EXIT_CONTINUE;
    }
    const GuestOp *op = c->op;
    if (op && (c->generation != c->driver->generation || op->step(c, c->step++))) {
        c->op = NULL;
    }
    return c->failed ? VCPU_EXIT_ERROR : VCPU_EXIT_CONTINUE;
}

void guest_kick(Vcpu *cpu)
{
    g_mutex_lock(&guest.lock);
    guest.kicked[cpu->index] = true;
    g_cond_broadcast(&guest.cond);
    g_mutex_unlock(&guest.lock);
}

void guest_interrupt(uint64_t addr, uint32_t data)
{
    unsigned n = data - MSI_BASE;

    if (addr != 0xfee00000 || n >= DISK_MAX * QUEUE_MAX) {
        return;
    }
    g_mutex_lock(&guest.lock);
    guest.s.interrupts |= BIT64(n);
    baton_note("disk %u, queue %u: interrupt", n / QUEUE_MAX, n % QUEUE_MAX);
    g_cond_broadcast(&guest.cond);
    g_mutex_unlock(&guest.lock);
}

/* The whole. */

void guest_init(void)
{
    for (unsigned i = 0; i < DISK_MAX; i++) {
        guest.s.driver[i].index = i;
        for (unsigned s = 0; s < SLOTS; s++) {
            slot_free(&guest.s.driver[i], s);
        }
    }
    for (unsigned i = 0; i < CPU_MAX; i++) {
        rand_seed(&guest.s.cpu[i].rand, world.config.seed * CPU_MAX + i + 1000000007);
        guest.s.cpu[i].left = world.config.guest_quota;
    }
}

bool guest_idle(GString *why)
{
    g_mutex_lock(&guest.lock);
    for (unsigned i = 0; i < world.config.cpus; i++) {
        const Cpu *c = &guest.s.cpu[i];

        if (c->op) {
            g_string_append_printf(why, " CPU %u is at step %u of '%s'.", i, c->step, c->op->name);
        }
    }
    for (unsigned i = 0; i < DISK_MAX; i++) {
        const Driver *d = &guest.s.driver[i];

        for (unsigned s = 0; s < SLOTS; s++) {
            if (d->request[s].busy) {
                g_string_append_printf(why, " Disk %u, queue %u: request %u.", i,
                                       d->request[s].queue, s);
            } else {
                slot_check_untouched(d, s);
            }
        }
    }
    if (guest.s.asleep) {
        g_string_append(why, " The guest has asked for S3.");
    }
    g_mutex_unlock(&guest.lock);
    return !why->len;
}

typedef struct {
    __typeof__(guest.s) s;
    Disk disk[DISK_MAX];
} Saved;

void *guest_save(void)
{
    Saved *saved = g_new(Saved, 1);

    memcpy(&saved->s, &guest.s, sizeof saved->s);
    for (unsigned i = 0; i < DISK_MAX; i++) {
        saved->disk[i] = disks[i];
        saved->disk[i].data = g_memdup2(disks[i].data, DISK_SECTOR * DISK_SECTORS);
    }
    return saved;
}

void guest_load(const void *data)
{
    const Saved *saved = data;
    Rand rand[CPU_MAX];
    unsigned left[CPU_MAX];

    /* What is yet to be done, and how it is chosen, is no part of the machine. */
    for (unsigned i = 0; i < CPU_MAX; i++) {
        rand[i] = guest.s.cpu[i].rand;
        left[i] = guest.s.cpu[i].left;
    }
    memcpy(&guest.s, &saved->s, sizeof guest.s);
    for (unsigned i = 0; i < CPU_MAX; i++) {
        guest.s.cpu[i].rand = rand[i];
        guest.s.cpu[i].failed = false;
        guest.s.cpu[i].left = left[i];
    }
    guest.s.asleep = false;
    __atomic_store_n(&world.suspended, false, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < DISK_MAX; i++) {
        memcpy(disks[i].model, saved->disk[i].model, sizeof disks[i].model);
        memcpy(disks[i].data, saved->disk[i].data, DISK_SECTOR * DISK_SECTORS);
    }
}
