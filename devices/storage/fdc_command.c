/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of the floppy controller. (Intel 82077AA data sheet, 290166, 5 and 6; scans: 8272A data
 * sheet; the last ones are of the 82078, as software that asks for the part finds one with them.)
 */
#include "fdc.h"

enum {
    VERSION_82077AA = 0x90,
    PART_ID = 0x41, /* as QEMU's */
    SPEC_DONE = 0x80,
    SPEC_NONE = SPEC_DONE | 0x40, /* ... and no result is wanted */
    VERIFY_COUNT = 0x80,          /* in the second byte: the last one is a number of sectors */
    HEAD_SELECT = 0x04,
    CODE = 0x1f,
};

/* Data. */

static void fdc_cmd_data(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;

    s->st0 = s->command[1] & 7;
    s->st1 = s->st2 = 0;
    s->cyl = s->command[2];
    s->head = s->command[3];
    s->sector = c->track ? 1 : s->command[4];
    s->size_code = s->command[5];
    s->eot = s->command[6];
    s->left = 0;
    if (c->kind == FDC_KIND_VERIFY && s->command[1] & VERIFY_COUNT) {
        s->left = s->command[8] ? s->command[8] : 256;
    }
    fdc_begin(f, c);
}

static void fdc_cmd_format(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;

    s->st0 = s->command[1] & 7;
    s->st1 = s->st2 = 0;
    s->cyl = s->track[s->command[1] & 3];
    s->head = !!(s->command[1] & HEAD_SELECT);
    s->sector = 1;
    s->size_code = s->command[2];
    s->left = s->eot = s->command[3]; /* DUMPREG tells this one, too (table 5-1) */
    if (!s->left) {
        fdc_end(f, 0, 0, 0);
    } else {
        fdc_begin(f, c);
    }
}

/* The ID that passes the head next. */
static void fdc_cmd_read_id(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;
    unsigned unit = s->command[1] & 3;
    FloppyDrive *d = fdc_drive(f, unit);

    s->st0 = s->command[1] & 7;
    s->st1 = s->st2 = 0;
    s->cyl = s->track[unit];
    s->head = !!(s->command[1] & HEAD_SELECT);
    s->size_code = FDC_SIZE_CODE;
    if (!fdc_readable(f, d) || s->head >= d->format->heads || s->cyl >= d->format->cyls) {
        fdc_end(f, FDC_ST0_ABNORMAL, FDC_ST1_NO_ADDRESS, 0);
        return;
    }
    d->s.turned = d->s.turned % d->format->secs + 1;
    s->sector = d->s.turned;
    fdc_end(f, 0, 0, 0);
}

/* Seeks. They end at once, with an interrupt that SENSE INTERRUPT STATUS asks about. */

static void fdc_seek_done(Fdc *f, uint8_t st0)
{
    FdcState *s = &f->s;
    unsigned unit = s->command[1] & 3;

    fdc_forget_reset(f);
    s->sense |= BIT(unit);
    s->sense_st0[unit] = st0 | FDC_ST0_SEEK_END | unit; /* never a head (5.2.3) */
    fdc_no_result(f);
    fdc_set_interrupt(f, true);
}

static void fdc_cmd_seek(Fdc *f, const FdcCommand *c)
{
    fdc_move_heads(f, f->s.command[1] & 3, f->s.command[2]);
    fdc_seek_done(f, 0);
}

static void fdc_cmd_relative_seek(Fdc *f, const FdcCommand *c)
{
    unsigned unit = f->s.command[1] & 3;
    int by = f->s.command[0] & 0x40 ? f->s.command[2] : -f->s.command[2];

    fdc_move_heads(f, unit, CLAMP(f->s.track[unit] + by, 0, UINT8_MAX));
    fdc_seek_done(f, 0);
}

/* Where there is no drive, no signal says that track 0 is reached. */
static void fdc_cmd_recalibrate(Fdc *f, const FdcCommand *c)
{
    unsigned unit = f->s.command[1] & 3;

    fdc_move_heads(f, unit, 0);
    fdc_seek_done(f, fdc_drive(f, unit) ? 0 : FDC_ST0_ABNORMAL | FDC_ST0_EQUIPMENT);
}

static void fdc_cmd_sense_interrupt(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;

    fdc_set_interrupt(f, false);
    if (!s->sense) {
        s->result[0] = FDC_ST0_INVALID;
        fdc_result(f, 1);
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (s->sense & BIT(i)) {
            s->sense &= ~BIT(i);
            s->result[0] = s->sense_st0[i];
            s->result[1] = s->track[i];
            break;
        }
    }
    fdc_result(f, 2);
}

/* The rest. */

static void fdc_cmd_sense_drive(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;
    unsigned unit = s->command[1] & 3;
    const FloppyDrive *d = fdc_drive(f, unit);

    s->result[0] = 0x28 | (s->command[1] & 7); /* ready, two sides: always so */
    if (d && d->format && block_backend_read_only(d->conf.blk)) {
        s->result[0] |= 0x40;
    }
    if (d && !s->track[unit]) {
        s->result[0] |= 0x10;
    }
    fdc_result(f, 1);
}

static void fdc_cmd_specify(Fdc *f, const FdcCommand *c)
{
    f->s.srt_hut = f->s.command[1];
    f->s.hlt_nd = f->s.command[2];
    fdc_no_result(f);
}

static void fdc_cmd_configure(Fdc *f, const FdcCommand *c)
{
    f->s.config = f->s.command[2] & 0x7f;
    f->s.pretrk = f->s.command[3];
    fdc_no_result(f);
}

/* The bits of drives change only where bit 7 says so (5.2.11). */
static void fdc_cmd_perpendicular(Fdc *f, const FdcCommand *c)
{
    uint8_t value = f->s.command[1];

    f->s.perpendicular = (value & 0x80 ? value & 0x3c : f->s.perpendicular & 0x3c) | (value & 0x03);
    fdc_no_result(f);
}

static void fdc_cmd_dumpreg(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;

    memcpy(s->result, s->track, 4);
    s->result[4] = s->srt_hut;
    s->result[5] = s->hlt_nd;
    s->result[6] = s->eot;
    s->result[7] = s->lock << 7 | s->perpendicular;
    s->result[8] = s->config;
    s->result[9] = s->pretrk;
    fdc_result(f, 10);
}

static void fdc_cmd_version(Fdc *f, const FdcCommand *c)
{
    f->s.result[0] = VERSION_82077AA;
    fdc_result(f, 1);
}

static void fdc_cmd_part_id(Fdc *f, const FdcCommand *c)
{
    f->s.result[0] = PART_ID;
    fdc_result(f, 1);
}

static void fdc_cmd_lock(Fdc *f, const FdcCommand *c)
{
    f->s.lock = f->s.command[0] & 0x80;
    f->s.result[0] = f->s.lock << 4;
    fdc_result(f, 1);
}

/* A list of bytes, one for a drive each, and a last one that says so. */
static void fdc_cmd_drive_specification(Fdc *f, const FdcCommand *c)
{
    FdcState *s = &f->s;

    for (unsigned i = 1; i < s->command_len; i++) {
        if (!(s->command[i] & SPEC_DONE)) {
            s->spec[s->command[i] >> 5 & 3] = s->command[i] & 0x1f;
        }
    }
    if ((s->command[s->command_len - 1] & SPEC_NONE) == SPEC_NONE) {
        fdc_no_result(f);
        return;
    }
    memcpy(s->result, s->spec, 4);
    fdc_result(f, 4);
}

static void fdc_cmd_option(Fdc *f, const FdcCommand *c)
{
    fdc_no_result(f);
}

static void fdc_cmd_powerdown(Fdc *f, const FdcCommand *c)
{
    f->s.result[0] = f->s.command[1];
    fdc_result(f, 1);
}

static void fdc_cmd_invalid(Fdc *f, const FdcCommand *c)
{
    f->s.result[0] = FDC_ST0_INVALID;
    fdc_result(f, 1);
}

enum { DRIVE_SPECIFICATION = 0x8e, DRIVE_SPECIFICATION_MAX = 5 };

/* The last one is every byte that is no other's. */
static const FdcCommand fdc_commands[] = {
    {0x06, CODE, 8, FDC_KIND_READ, .run = fdc_cmd_data},
    {0x0c, CODE, 8, FDC_KIND_READ, .deleted = true, .run = fdc_cmd_data},
    {0x02, 0xbf, 8, FDC_KIND_READ, .track = true, .run = fdc_cmd_data},
    {0x05, 0x3f, 8, FDC_KIND_WRITE, .run = fdc_cmd_data},
    {0x09, 0x3f, 8, FDC_KIND_WRITE, .deleted = true, .run = fdc_cmd_data},
    {0x16, CODE, 8, FDC_KIND_VERIFY, .run = fdc_cmd_data},
    {0x11, CODE, 8, FDC_KIND_SCAN, .run = fdc_cmd_data},
    {0x19, CODE, 8, FDC_KIND_SCAN, .run = fdc_cmd_data},
    {0x1d, CODE, 8, FDC_KIND_SCAN, .run = fdc_cmd_data},
    {0x0d, 0xbf, 5, FDC_KIND_FORMAT, .run = fdc_cmd_format},
    {0x0a, 0xbf, 1, FDC_KIND_NONE, .run = fdc_cmd_read_id},
    {0x07, 0xff, 1, FDC_KIND_NONE, .run = fdc_cmd_recalibrate},
    {0x0f, 0xff, 2, FDC_KIND_NONE, .run = fdc_cmd_seek},
    {0x8f, 0xbf, 2, FDC_KIND_NONE, .run = fdc_cmd_relative_seek},
    {0x08, 0xff, 0, FDC_KIND_NONE, .run = fdc_cmd_sense_interrupt},
    {0x04, 0xff, 1, FDC_KIND_NONE, .run = fdc_cmd_sense_drive},
    {0x03, 0xff, 2, FDC_KIND_NONE, .run = fdc_cmd_specify},
    {0x13, 0xff, 3, FDC_KIND_NONE, .run = fdc_cmd_configure},
    {0x12, 0xff, 1, FDC_KIND_NONE, .run = fdc_cmd_perpendicular},
    {0x0e, 0xff, 0, FDC_KIND_NONE, .run = fdc_cmd_dumpreg},
    {0x10, 0xff, 0, FDC_KIND_NONE, .run = fdc_cmd_version},
    {0x14, 0x7f, 0, FDC_KIND_NONE, .run = fdc_cmd_lock},
    {0x18, 0xff, 0, FDC_KIND_NONE, .run = fdc_cmd_part_id},
    {DRIVE_SPECIFICATION, 0xff, DRIVE_SPECIFICATION_MAX, FDC_KIND_NONE,
     .run = fdc_cmd_drive_specification},
    {0x33, 0xff, 1, FDC_KIND_NONE, .run = fdc_cmd_option},
    {0x17, 0xff, 1, FDC_KIND_NONE, .run = fdc_cmd_powerdown},
    {0x00, 0x00, 0, FDC_KIND_NONE, .run = fdc_cmd_invalid},
};

const FdcCommand *fdc_find_command(uint8_t code)
{
    const FdcCommand *c = fdc_commands;

    while ((code & c->mask) != c->code) {
        c++;
    }
    return c;
}

const FdcCommand *fdc_command(const Fdc *f)
{
    return fdc_find_command(f->s.command[0]);
}

bool fdc_command_complete(const Fdc *f)
{
    const FdcState *s = &f->s;

    return s->command_len > fdc_command(f)->params ||
           (s->command[0] == DRIVE_SPECIFICATION && s->command_len > 1 &&
            s->command[s->command_len - 1] & SPEC_DONE);
}
