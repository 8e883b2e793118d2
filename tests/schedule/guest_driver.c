/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver of a virtio disk that keeps to the specification. */
#include "guest.h"

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

uint64_t driver_modern_bar(const Driver *d)
{
    return 0xe0000000 + d->index * 0x100000ull + (d->moved ? 0x10000 : 0);
}

static uint64_t msix_bar(const Driver *d)
{
    return 0xe0080000 + d->index * 0x100000ull;
}

unsigned driver_queues(const Driver *d)
{
    return is_nic(d) ? 2 : world.config.queues;
}

/* Accesses. */

uint32_t driver_read(const Driver *d, unsigned offset, unsigned len)
{
    uint32_t v = 0;

    cpu_access(world.vm, IO_SPACE_MEM, driver_modern_bar(d) + offset, &v, len, false);
    return v;
}

void driver_write(const Driver *d, unsigned offset, uint32_t v, unsigned len)
{
    cpu_access(world.vm, IO_SPACE_MEM, driver_modern_bar(d) + offset, &v, len, true);
}

static uint32_t config_addr(const Driver *d, unsigned offset)
{
    return PCI_DEVFN(SLOT_FIRST + d->index, 0) << 8 | offset;
}

uint32_t driver_config_read(const Driver *d, unsigned offset, unsigned len)
{
    return pci_config_read(world.pci, config_addr(d, offset), len);
}

void driver_config_write(const Driver *d, unsigned offset, uint32_t v, unsigned len)
{
    pci_config_write(world.pci, config_addr(d, offset), v, len);
}

/* Requests. Under the lock. */

void driver_slot_free(Driver *d, unsigned slot)
{
    d->request[slot].busy = false;
    guest_fill(buffer(d, slot) + AT_DATA, CANARY, AT_STATUS + 1 - AT_DATA);
}

void driver_slot_check(const Driver *d, unsigned slot)
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

    if (is_nic(d)) {
        driver_slot_free(d, slot);
        return;
    }
    for (unsigned i = 0; i < r->count; i++) {
        DiskSector *s = sector_of(d, r, i);

        if (r->write) {
            s->writing = false;
            disk_may_hold(s, r->value);
        } else {
            s->reading--;
        }
    }
    driver_slot_free(d, slot);
}

void driver_queue_forget(Driver *d, unsigned queue)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (d->request[i].busy && d->request[i].queue == queue) {
            request_forget(d, i);
        }
    }
}

void driver_forget(Driver *d)
{
    for (unsigned q = 0; q < QUEUE_MAX; q++) {
        driver_queue_forget(d, q);
        d->queue[q].off = false;
    }
    baton_note("disk %u: all is forgotten", d->index);
    d->state = DOWN;
    d->generation++;
    d->claimed = d->moving = false;
}

/* False: no room, or somebody writes there. */
bool driver_request_choose(Cpu *c, Driver *d, unsigned *slot)
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
    driver_slot_check(d, *slot);
    d->request[*slot] = r;
    return true;
}

void driver_request_fill(Driver *d, unsigned slot)
{
    const Request *r = &d->request[slot];
    struct virtio_blk_outhdr header = {
        .type = htole32(r->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN),
        .sector = htole64(r->sector),
    };
    uint8_t *p = buffer(d, slot);

    guest_copy(p, &header, sizeof header);
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

void driver_expose(Driver *d, unsigned slot, const RingPiece *pieces, unsigned n)
{
    Queue *q = &d->queue[d->request[slot].queue];
    int head = ring_add(&q->ring, pieces, n, 0);

    g_assert(head >= 0);
    q->slot[head] = slot;
    baton_note("disk %u, queue %u: request %u as %d", d->index, d->request[slot].queue, slot, head);
}

void driver_request_expose(Driver *d, unsigned slot)
{
    const Request *r = &d->request[slot];
    uint64_t at = buffer_addr(d, slot);
    RingPiece pieces[] = {{at, sizeof(struct virtio_blk_outhdr), false},
                          {at + AT_DATA, r->count * DISK_SECTOR, !r->write},
                          {at + AT_STATUS, 1, true}};

    driver_expose(d, slot, pieces, 3);
}

/* Whether the device wants to hear of what was added (2.7.10, 2.8.10). */
bool driver_wants_kick(Queue *q)
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
    bool failed = status == VIRTIO_BLK_S_IOERR && world.config.error_in && !world.config.stops;

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
    driver_slot_free(d, slot);
}

/* What the device has given back, with interrupts on again before the last look. */
void driver_reap(Driver *d, unsigned queue)
{
    Queue *q = &d->queue[queue];
    bool kick = false;
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
            unsigned slot = q->slot[id];

            q->slot[id] = -1;
            found++;
            if (is_nic(d)) {
                kick |= driver_nic_done(d, slot, len);
            } else {
                request_done(d, slot);
            }
        }
        if (d->state == UP && !q->off) {
            ring_want_interrupt(&q->ring, true);
        }
        g_mutex_unlock(&guest.lock);
        if (kick) {
            kick = false;
            driver_write(d, MODERN_NOTIFY, 0, 2);
        }
    } while (found);
}

/* Starting a driver (3.1.1). */

void driver_ring_prepare(Driver *d, unsigned queue)
{
    Queue *q = &d->queue[queue];
    RingDriver *r = &q->ring;
    uint64_t at = ring_ram(d, queue);

    guest_fill(world.ram + at, 0, 0x10000);
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

void driver_write_queue(Driver *d, unsigned queue, unsigned part)
{
    RingDriver *r = &d->queue[queue].ring;

    switch (part) {
    case 0:
        driver_write(d, VIRTIO_PCI_COMMON_Q_SELECT, queue, 2);
        driver_write(d, VIRTIO_PCI_COMMON_Q_SIZE, r->size, 2);
        driver_write(d, VIRTIO_PCI_COMMON_Q_MSIX, queue + 1, 2);
        break;
    case 1:
        driver_write(d, VIRTIO_PCI_COMMON_Q_DESCLO, r->desc, 4);
        driver_write(d, VIRTIO_PCI_COMMON_Q_AVAILLO, r->driver, 4);
        driver_write(d, VIRTIO_PCI_COMMON_Q_USEDLO, r->device, 4);
        break;
    default:
        driver_write(d, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
        break;
    }
}

void driver_write_bars(Driver *d)
{
    driver_config_write(d, PCI_COMMAND, 0, 2);
    driver_config_write(d, PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR, driver_modern_bar(d), 4);
    driver_config_write(d, PCI_BASE_ADDRESS_0 + 4 * MODERN_BAR + 4, 0, 4);
    driver_config_write(d, PCI_BASE_ADDRESS_0 + 4 * MSIX_BAR, msix_bar(d), 4);
    driver_config_write(d, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

void driver_write_msix(Driver *d)
{
    uint8_t cap = driver_config_read(d, PCI_CAPABILITY_LIST, 1);

    for (unsigned v = 0; v <= driver_queues(d); v++) {
        uint32_t entry[] = {0xfee00000, 0,
                            v ? MSI_BASE + d->index * QUEUE_MAX + v - 1 : MSI_CONFIG + d->index, 0};

        for (unsigned i = 0; i < 4; i++) {
            cpu_access(world.vm, IO_SPACE_MEM, msix_bar(d) + v * PCI_MSIX_ENTRY_SIZE + i * 4,
                       &entry[i], 4, true);
        }
    }
    for (unsigned n = 0; n < 16 && cap && cap != 0xff; n++) {
        if (driver_config_read(d, cap, 1) == PCI_CAP_ID_MSIX) {
            driver_config_write(d, cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
            return;
        }
        cap = driver_config_read(d, cap + 1, 1);
    }
}

void driver_write_features(Driver *d)
{
    uint64_t f = BIT64(VIRTIO_F_VERSION_1) | BIT64(40 /* ring reset */);

    f |= is_nic(d) ? 0 : BIT64(VIRTIO_BLK_F_CONFIG_WCE) | BIT64(VIRTIO_BLK_F_FLUSH);
    f |= world.config.packed ? BIT64(VIRTIO_F_RING_PACKED) : 0;
    f |= world.config.event_idx ? BIT64(VIRTIO_RING_F_EVENT_IDX) : 0;
    for (unsigned half = 0; half < 2; half++) {
        uint32_t offered;

        driver_write(d, VIRTIO_PCI_COMMON_DFSELECT, half, 4);
        offered = driver_read(d, VIRTIO_PCI_COMMON_DF, 4);
        driver_write(d, VIRTIO_PCI_COMMON_GFSELECT, half, 4);
        driver_write(d, VIRTIO_PCI_COMMON_GF, f >> (32 * half) & offered, 4);
    }
}
