/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the drivers of IDE disks, the stick and the floppy know of sectors, and check. */
#include "guest.h"

enum { GUARD = 256 /* behind the data */ };

static const char *const disk_names[DISK_ALL] = {
    [DISK_IDE] = "IDE disk 0",
    [DISK_IDE + 1] = "IDE disk 1",
    [DISK_STICK] = "the stick",
    [DISK_FLOPPY] = "the floppy",
};

static DiskSector *sectors_model(const Sectors *s, unsigned i)
{
    return &disks[s->disk].model[s->lba + i];
}

uint32_t sectors_value(const Sectors *s, unsigned i)
{
    return s->value + i * 0x01000193;
}

void sectors_forget(Sectors *s)
{
    for (unsigned i = 0; s->writing && i < s->count; i++) {
        disk_may_hold(sectors_model(s, i), sectors_value(s, i));
    }
    s->writing = false;
}

void sectors_written(Sectors *s)
{
    for (unsigned i = 0; s->writing && i < s->count; i++) {
        disk_holds(sectors_model(s, i), sectors_value(s, i));
    }
    s->writing = false;
}

void sectors_read(const Sectors *s, unsigned i, const uint8_t *data)
{
    DiskSector *model = sectors_model(s, i);
    uint32_t v = ldle32(data);

    for (unsigned at = 0; at < DISK_SECTOR; at += 4) {
        if (ldle32(data + at) != v) {
            guest_fail("%s, sector %u: read in halves: 0x%x, 0x%x", disk_names[s->disk], s->lba + i,
                       v, ldle32(data + at));
        }
    }
    if (!disk_fits(model, v)) {
        guest_fail("%s, sector %u: read 0x%x, written 0x%x (%u possible)", disk_names[s->disk],
                   s->lba + i, v, model->values[0], model->count);
    }
    disk_holds(model, v);
}

void sectors_check_flushed(const Sectors *s, unsigned first, unsigned count)
{
    int lost = disk_unflushed(s->disk, first, count);

    if (lost >= 0) {
        guest_fail("%s, sector %d is in no more than the host's cache", disk_names[s->disk], lost);
    }
}

/* Memory. */

void sectors_set_canary(Sectors *s)
{
    guest_fill(world.ram + s->memory, CANARY, s->bytes + GUARD);
    s->canary = true;
}

void sectors_check_canary(const Sectors *s, unsigned from)
{
    for (unsigned i = from; i < s->bytes + GUARD; i++) {
        if (world.ram[s->memory + i] != CANARY) {
            guest_fail("%s: byte %u of the guest's memory was written to after the end (0x%02x)",
                       disk_names[s->disk], i, world.ram[s->memory + i]);
        }
    }
}

void sectors_prepare(Sectors *s, bool write)
{
    if (s->canary) {
        sectors_check_canary(s, 0);
    }
    sectors_set_canary(s);
    for (unsigned i = 0; write && i < s->count * DISK_SECTOR; i += 4) {
        stle32(world.ram + s->memory + i, sectors_value(s, i / DISK_SECTOR));
    }
    s->canary = false;
    s->writing = write;
}
