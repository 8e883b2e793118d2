/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of an ATA disk. It has neither the security nor the host-protected-area feature set,
 * so their commands are aborted, as all are that are not in the table.
 */
#include "ata_internal.h"
#include "base/trace.h"
#include "base/util.h"

enum { FEATURE_TRIM = 1 };

/* Addresses (6.2.3). */

static uint64_t ata_capacity_chs(const AtaState *s)
{
    return (uint64_t)s->cyls * s->heads * s->secs;
}

/* False: the address names no sector. */
static bool ata_address_chs(const AtaState *s, uint64_t *lba)
{
    uint32_t cyl = s->lba_high[0] << 8 | s->lba_mid[0], head = s->device & 0x0f,
             sector = s->lba_low[0];

    if (!sector || sector > s->secs || head >= s->heads) {
        return false;
    }
    *lba = ((uint64_t)cyl * s->heads + head) * s->secs + sector - 1;
    return *lba < ata_capacity_chs(s);
}

static bool ata_address(const AtaState *s, bool ext, uint64_t *lba)
{
    uint64_t low = s->lba_low[0] | s->lba_mid[0] << 8 | s->lba_high[0] << 16;

    if (ext) {
        *lba = low | (uint64_t)(s->lba_low[1] | s->lba_mid[1] << 8 | s->lba_high[1] << 16) << 24;
        return true;
    }
    if (s->device & ATA_DEVICE_LBA) {
        *lba = low | (uint64_t)(s->device & 0x0f) << 24;
        return true;
    }
    return ata_address_chs(s, lba);
}

static void ata_put_low(AtaState *s, uint64_t value)
{
    s->lba_low[0] = value;
    s->lba_mid[0] = value >> 8;
    s->lba_high[0] = value >> 16;
}

void ata_set_address(AtaDrive *d, uint64_t lba)
{
    AtaState *s = &d->s;
    const AtaCommand *c = ata_find_command(s->command);

    if (c && c->ext) {
        ata_put_low(s, lba);
        s->lba_low[1] = lba >> 24;
        s->lba_mid[1] = lba >> 32;
        s->lba_high[1] = lba >> 40;
    } else if (s->device & ATA_DEVICE_LBA) {
        ata_put_low(s, lba);
        s->device = (s->device & 0xf0) | (lba >> 24 & 0x0f);
    } else {
        uint64_t track = lba / s->secs;

        ata_put_low(s, (track / s->heads) << 8 | (lba % s->secs + 1));
        s->device = (s->device & 0xf0) | track % s->heads;
    }
}

/* The sectors that the registers name become those of the command. False: the command has ended. */
static bool ata_take_range(AtaDrive *d, const AtaCommand *c)
{
    AtaState *s = &d->s;
    uint64_t total = ata_sectors(d), lba;
    uint32_t n = c->ext ? s->count[1] << 8 | s->count[0] : s->count[0];

    n = n ? n : c->ext ? 0x10000 : 0x100;
    if (!ata_address(s, c->ext, &lba) || lba >= total || n > total - lba) {
        ata_refuse(d, ATA_ERROR_IDNF);
        return false;
    }
    s->lba = lba;
    s->left = n;
    return true;
}

uint32_t ata_block_sectors(const AtaDrive *d)
{
    const AtaCommand *c = ata_find_command(d->s.command);
    uint32_t n = c && c->block ? c->block : d->s.multiple;

    return n ? n : 1;
}

/* Commands that move sectors. */

static void ata_read_sectors(AtaDrive *d, const AtaCommand *c)
{
    if (!c->block && !d->s.multiple) {
        ata_abort(d); /* 6.33: READ MULTIPLE is off */
    } else if (ata_take_range(d, c)) {
        ata_begin_disk(d);
    }
}

static void ata_write_sectors(AtaDrive *d, const AtaCommand *c)
{
    if (!c->block && !d->s.multiple) {
        ata_abort(d);
    } else if (ata_take_range(d, c)) {
        ata_begin_pio_out(d);
    }
}

static void ata_transfer_dma(AtaDrive *d, const AtaCommand *c)
{
    if (ata_take_range(d, c)) {
        ata_begin_dma(d);
    }
}

static void ata_data_set_management(AtaDrive *d, const AtaCommand *c)
{
    AtaState *s = &d->s;

    s->left = s->count[1] << 8 | s->count[0];
    if (!d->identity.trim || s->features[0] != FEATURE_TRIM || !s->left) {
        ata_abort(d);
        return;
    }
    ata_begin_dma(d);
}

static void ata_seek(AtaDrive *d, const AtaCommand *c)
{
    uint8_t count = d->s.count[0];
    bool found;

    d->s.count[0] = 1;
    found = ata_take_range(d, c);
    d->s.count[0] = count;
    if (found) {
        d->s.left = 0;
        ata_end(d);
    }
}

/* Commands about the drive. */

static void ata_nothing(AtaDrive *d, const AtaCommand *c)
{
    ata_end(d);
}

static void ata_identify_device(AtaDrive *d, const AtaCommand *c)
{
    ata_identify(d, d->s.buffer);
    ata_begin_pio_in(d, ATA_SECTOR);
}

static void ata_diagnostic(AtaDrive *d, const AtaCommand *c)
{
    ata_set_signature(&d->ata);
    ata_set_intrq(d, true);
}

static void ata_initialize_parameters(AtaDrive *d, const AtaCommand *c)
{
    AtaState *s = &d->s;
    uint32_t heads = (s->device & 0x0f) + 1u, secs = s->count[0];

    if (!secs) {
        ata_abort(d);
        return;
    }
    s->heads = heads;
    s->secs = secs;
    s->cyls = MIN(ata_sectors(d) / (heads * secs), 65535);
    ata_end(d);
}

static void ata_set_multiple(AtaDrive *d, const AtaCommand *c)
{
    uint8_t n = d->s.count[0];

    if (n > ATA_MULTIPLE_MAX || (n && !is_power_of_2(n))) {
        ata_abort(d);
        return;
    }
    d->s.multiple = n;
    ata_end(d);
}

static void ata_set_write_cache(AtaDrive *d, bool on)
{
    d->s.write_cache = on;
    block_backend_set_write_cache(d->blk, on);
}

static void ata_set_features(AtaDrive *d, const AtaCommand *c)
{
    enum {
        WRITE_CACHE_ON = 0x02,
        TRANSFER_MODE = 0x03,
        READ_AHEAD_OFF = 0x55,
        KEEP_SETTINGS = 0x66,
        WRITE_CACHE_OFF = 0x82,
        READ_AHEAD_ON = 0xaa,
        REVERT_SETTINGS = 0xcc,
    };

    switch (d->s.features[0]) {
    case WRITE_CACHE_ON:
        ata_set_write_cache(d, true);
        ata_end(d);
        break;
    case WRITE_CACHE_OFF:
        ata_set_write_cache(d, false);
        ata_begin_disk(d); /* what is in the cache is written */
        break;
    case TRANSFER_MODE:
        if (ata_choose_mode(&d->s.transfer_mode, d->s.count[0])) {
            ata_end(d);
        } else {
            ata_abort(d);
        }
        break;
    case READ_AHEAD_OFF: /* the host's, which the guest cannot see */
    case READ_AHEAD_ON:
    case KEEP_SETTINGS: /* they are kept in any case */
    case REVERT_SETTINGS:
        ata_end(d);
        break;
    default:
        ata_abort(d);
        break;
    }
}

static void ata_flush(AtaDrive *d, const AtaCommand *c)
{
    ata_begin_disk(d);
}

void ata_flushed(AtaDrive *d)
{
    const AtaCommand *c = ata_find_command(d->s.command);

    if (c->detail) {
        d->s.power = c->detail;
    }
}

static void ata_idle(AtaDrive *d, const AtaCommand *c)
{
    d->s.power = ATA_POWER_ACTIVE;
    ata_end(d);
}

static void ata_check_power(AtaDrive *d, const AtaCommand *c)
{
    d->s.count[0] = d->s.power == ATA_POWER_STANDBY ? 0x00 : 0xff;
    ata_end(d);
}

static void ata_read_native_max(AtaDrive *d, const AtaCommand *c)
{
    uint64_t total = ata_sectors(d), last = total ? total - 1 : 0;

    ata_set_address(d, c->ext ? last : MIN(last, BIT(28) - 1));
    ata_end(d);
}

static void ata_smart(AtaDrive *d, const AtaCommand *c)
{
    enum {
        READ_DATA = 0xd0,
        READ_THRESHOLDS = 0xd1,
        ATTRIBUTE_AUTOSAVE = 0xd2,
        ENABLE = 0xd8,
        DISABLE = 0xd9,
        RETURN_STATUS = 0xda,
    };
    AtaState *s = &d->s;

    if (s->lba_mid[0] != 0x4f || s->lba_high[0] != 0xc2 ||
        (!s->smart && s->features[0] != ENABLE)) {
        ata_abort(d);
        return;
    }
    switch (s->features[0]) {
    case READ_DATA:
        ata_smart_data(d, s->buffer);
        ata_begin_pio_in(d, ATA_SECTOR);
        break;
    case READ_THRESHOLDS:
        ata_smart_thresholds(s->buffer);
        ata_begin_pio_in(d, ATA_SECTOR);
        break;
    case ENABLE:
    case DISABLE:
        s->smart = s->features[0] == ENABLE;
        ata_end(d);
        break;
    case ATTRIBUTE_AUTOSAVE: /* the attributes are constant */
    case RETURN_STATUS:      /* the registers keep 4Fh and C2h: no threshold is exceeded */
        ata_end(d);
        break;
    default:
        ata_abort(d);
        break;
    }
}

#define ONE(code) .first = (code), .last = (code)
#define STANDBY   ATA_POWER_STANDBY
#define SLEEP     ATA_POWER_SLEEP

static const AtaCommand commands[] = {
    {ONE(0x06), ATA_KIND_TRIM, .ext = true, .dma = true, .block = 1,
     .run = ata_data_set_management},
    {.first = 0x10, .last = 0x1f, .run = ata_nothing}, /* RECALIBRATE, of older standards */
    {ONE(0x20), ATA_KIND_READ, .block = 1, .run = ata_read_sectors},
    {ONE(0x21), ATA_KIND_READ, .block = 1, .run = ata_read_sectors},
    {ONE(0x24), ATA_KIND_READ, .ext = true, .block = 1, .run = ata_read_sectors},
    {ONE(0x25), ATA_KIND_READ, .ext = true, .dma = true, .block = 1, .run = ata_transfer_dma},
    {ONE(0x27), .ext = true, .run = ata_read_native_max},
    {ONE(0x29), ATA_KIND_READ, .ext = true, .run = ata_read_sectors},
    {ONE(0x30), ATA_KIND_WRITE, .block = 1, .run = ata_write_sectors},
    {ONE(0x31), ATA_KIND_WRITE, .block = 1, .run = ata_write_sectors},
    {ONE(0x34), ATA_KIND_WRITE, .ext = true, .block = 1, .run = ata_write_sectors},
    {ONE(0x35), ATA_KIND_WRITE, .ext = true, .dma = true, .block = 1, .run = ata_transfer_dma},
    {ONE(0x39), ATA_KIND_WRITE, .ext = true, .run = ata_write_sectors},
    {ONE(0x40), ATA_KIND_VERIFY, .block = ATA_MULTIPLE_MAX, .run = ata_read_sectors},
    {ONE(0x41), ATA_KIND_VERIFY, .block = ATA_MULTIPLE_MAX, .run = ata_read_sectors},
    {ONE(0x42), ATA_KIND_VERIFY, .ext = true, .block = ATA_MULTIPLE_MAX, .run = ata_read_sectors},
    {ONE(0x70), .run = ata_seek},
    {ONE(ATA_COMMAND_DIAGNOSTIC), .run = ata_diagnostic},
    {ONE(0x91), .run = ata_initialize_parameters},
    {ONE(0x94), ATA_KIND_FLUSH, .detail = STANDBY, .run = ata_flush},
    {ONE(0x95), .run = ata_idle},
    {ONE(0x96), ATA_KIND_FLUSH, .detail = STANDBY, .run = ata_flush},
    {ONE(0x97), .run = ata_idle},
    {ONE(0x98), .run = ata_check_power},
    {ONE(0x99), ATA_KIND_FLUSH, .detail = SLEEP, .run = ata_flush},
    {ONE(0xb0), .run = ata_smart},
    {ONE(0xc4), ATA_KIND_READ, .run = ata_read_sectors},
    {ONE(0xc5), ATA_KIND_WRITE, .run = ata_write_sectors},
    {ONE(0xc6), .run = ata_set_multiple},
    {ONE(0xc8), ATA_KIND_READ, .dma = true, .block = 1, .run = ata_transfer_dma},
    {ONE(0xc9), ATA_KIND_READ, .dma = true, .block = 1, .run = ata_transfer_dma},
    {ONE(0xca), ATA_KIND_WRITE, .dma = true, .block = 1, .run = ata_transfer_dma},
    {ONE(0xcb), ATA_KIND_WRITE, .dma = true, .block = 1, .run = ata_transfer_dma},
    {ONE(0xe0), ATA_KIND_FLUSH, .detail = STANDBY, .run = ata_flush},
    {ONE(0xe1), .run = ata_idle},
    {ONE(0xe2), ATA_KIND_FLUSH, .detail = STANDBY, .run = ata_flush},
    {ONE(0xe3), .run = ata_idle},
    {ONE(0xe5), .run = ata_check_power},
    {ONE(0xe6), ATA_KIND_FLUSH, .detail = SLEEP, .run = ata_flush},
    {ONE(0xe7), ATA_KIND_FLUSH, .run = ata_flush},
    {ONE(0xea), ATA_KIND_FLUSH, .run = ata_flush},
    {ONE(0xec), .run = ata_identify_device},
    {ONE(0xef), ATA_KIND_FLUSH, .run = ata_set_features},
    {ONE(0xf8), .run = ata_read_native_max},
};

const AtaCommand *ata_find_command(uint8_t code)
{
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        if (code >= commands[i].first && code <= commands[i].last) {
            return &commands[i];
        }
    }
    return NULL;
}

void ata_command(AtaDevice *ata, uint8_t command)
{
    AtaDrive *d = ata_drive(ata);
    AtaState *s = &d->s;
    const AtaCommand *c = ata_find_command(command);

    if (ata_device_occupied(ata) || s->power == ATA_POWER_SLEEP) {
        return;
    }
    trace(ide_exec_cmd, device_label(ata->dev), command);
    ata_set_intrq(d, false);
    s->command = command;
    d->careful = false;
    s->error = 0;
    s->lba = 0;
    s->left = s->position = s->buffer_len = 0;
    if (!c) {
        ata_abort(d);
        return;
    }
    if (c->kind != ATA_KIND_NONE && !c->detail && command != 0xef) {
        s->power = ATA_POWER_ACTIVE; /* the medium is needed */
    }
    c->run(d, c);
}
