/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Floppy drives: the bus, the device 'floppy', and the formats of media. */
#include "fdc.h"

#include <inttypes.h>

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "devices/storage.h"

STATE_DESC(floppy, FloppyState, FLOPPY_STATE, 1);

#define UNIT_AUTO UINT32_MAX

const char *const floppy_type_names[] = {"144", "288", "120", "none", "auto", NULL};

/*
 * Formats by the drive that they are made for: sectors of a track, cylinders, heads, rate. An image
 * says nothing of its format but its size: of those with that size the first one is meant. A
 * drive's first entry stands for images of any other size. (These are the sizes that QEMU 7.2
 * knows, in its order of preference.)
 */
static const FloppyFormat floppy_formats[] = {
    {FLOPPY_144, 18, 80, 2, FDC_RATE_500K}, {FLOPPY_144, 20, 80, 2, FDC_RATE_500K},
    {FLOPPY_144, 21, 80, 2, FDC_RATE_500K}, {FLOPPY_144, 21, 82, 2, FDC_RATE_500K},
    {FLOPPY_144, 21, 83, 2, FDC_RATE_500K}, {FLOPPY_144, 22, 80, 2, FDC_RATE_500K},
    {FLOPPY_144, 23, 80, 2, FDC_RATE_500K}, {FLOPPY_144, 24, 80, 2, FDC_RATE_500K},
    {FLOPPY_288, 36, 80, 2, FDC_RATE_1M},   {FLOPPY_288, 39, 80, 2, FDC_RATE_1M},
    {FLOPPY_288, 40, 80, 2, FDC_RATE_1M},   {FLOPPY_288, 44, 80, 2, FDC_RATE_1M},
    {FLOPPY_288, 48, 80, 2, FDC_RATE_1M},   {FLOPPY_144, 9, 80, 2, FDC_RATE_250K},
    {FLOPPY_144, 10, 80, 2, FDC_RATE_250K}, {FLOPPY_144, 10, 82, 2, FDC_RATE_250K},
    {FLOPPY_144, 10, 83, 2, FDC_RATE_250K}, {FLOPPY_144, 13, 80, 2, FDC_RATE_250K},
    {FLOPPY_144, 14, 80, 2, FDC_RATE_250K}, {FLOPPY_120, 15, 80, 2, FDC_RATE_500K},
    {FLOPPY_120, 18, 80, 2, FDC_RATE_500K}, {FLOPPY_120, 18, 82, 2, FDC_RATE_500K},
    {FLOPPY_120, 18, 83, 2, FDC_RATE_500K}, {FLOPPY_120, 20, 80, 2, FDC_RATE_500K},
    {FLOPPY_120, 9, 80, 2, FDC_RATE_250K},  {FLOPPY_120, 11, 80, 2, FDC_RATE_250K},
    {FLOPPY_120, 9, 40, 2, FDC_RATE_300K},  {FLOPPY_120, 9, 40, 1, FDC_RATE_300K},
    {FLOPPY_120, 10, 41, 2, FDC_RATE_300K}, {FLOPPY_120, 10, 42, 2, FDC_RATE_300K},
    {FLOPPY_120, 8, 40, 2, FDC_RATE_250K},  {FLOPPY_120, 8, 40, 1, FDC_RATE_250K},
    {FLOPPY_144, 9, 80, 1, FDC_RATE_250K},
};

static FloppyDrive *floppy_drive(Device *dev)
{
    return container_of(dev, FloppyDrive, dev);
}

static FdcBus *fdc_bus(Bus *bus)
{
    return container_of(bus, FdcBus, bus);
}

bool floppy_flag(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_SEQ_CST);
}

void floppy_set_flag(bool *flag, bool on)
{
    __atomic_store_n(flag, on, __ATOMIC_SEQ_CST);
}

/* Formats. */

static bool floppy_3_5_inch(unsigned type)
{
    return type == FLOPPY_144 || type == FLOPPY_288;
}

/*
 * How well a drive takes a format with the medium's size: as its own, or as one for another drive
 * of the same width. 0: not at all.
 */
static unsigned floppy_fit(unsigned drive, unsigned format)
{
    return drive == format || drive == FLOPPY_AUTO             ? 2
           : floppy_3_5_inch(drive) && floppy_3_5_inch(format) ? 1
                                                               : 0;
}

/* 'sectors' may be 0: an image without content. 'fallback': the type that FLOPPY_AUTO is then. */
static const FloppyFormat *floppy_find_format(unsigned type, unsigned fallback, uint64_t sectors)
{
    const FloppyFormat *best = NULL, *any = NULL;
    unsigned best_fit = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(floppy_formats); i++) {
        const FloppyFormat *f = &floppy_formats[i];
        unsigned fit = floppy_fit(type, f->type);

        if ((uint64_t)f->secs * f->cyls * f->heads == sectors && fit > best_fit) {
            best = f;
            best_fit = fit;
        }
        if (!any && f->type == (type == FLOPPY_AUTO ? fallback : type)) {
            any = f;
        }
    }
    return best ? best : any;
}

void floppy_look_at_medium(FloppyDrive *d)
{
    int64_t length = d->conf.blk ? block_backend_length(d->conf.blk) : -1;
    uint64_t sectors = length < 0 ? 0 : DIV_ROUND_UP((uint64_t)length, FDC_SECTOR);
    const FloppyFormat *f =
        length < 0 ? NULL : floppy_find_format(d->type, fdc_bus(d->dev.bus)->fallback, sectors);
    uint64_t takes = f ? (uint64_t)f->secs * f->cyls * f->heads : 0;

    d->format = f;
    if (f && sectors && takes != sectors) {
        log_warn("the floppy disk in drive %c: has %" PRIu64 " sectors, which is no format of this "
                 "drive: the guest sees one of %" PRIu64 " (an image of a hard disk is for -hda)",
                 'A' + d->unit, sectors, takes);
    }
}

/* The drive's type for good: what the user said, else by the medium, else a type that takes any. */
static void floppy_choose_type(FloppyDrive *d)
{
    const FdcBus *bus = fdc_bus(d->dev.bus);

    if (d->type == FLOPPY_AUTO) {
        d->type = bus->default_type[d->unit];
    }
    floppy_look_at_medium(d);
    if (d->type == FLOPPY_AUTO) {
        d->type = d->format ? d->format->type : bus->fallback;
    }
}

/* The bus. */

static bool fdc_bus_attach(Bus *bus, Device *dev, GError **err)
{
    FdcBus *fdc = fdc_bus(bus);
    FloppyDrive *d = floppy_drive(dev);

    if (d->unit == UNIT_AUTO) {
        for (d->unit = 0; d->unit < FDC_DRIVES && fdc->taken[d->unit];) {
            d->unit++;
        }
    }
    if (d->unit >= FDC_DRIVES) {
        return error_set(err, "Can't create floppy unit %u, bus supports only %u units", d->unit,
                         FDC_DRIVES);
    }
    if (fdc->taken[d->unit]) {
        return error_set(err, "Floppy unit %u is in use", d->unit);
    }
    fdc->taken[d->unit] = dev;
    return true;
}

static void fdc_bus_release(Bus *bus, Device *dev)
{
    fdc_bus(bus)->taken[floppy_drive(dev)->unit] = NULL;
}

static void fdc_bus_show(Bus *bus, Device *dev, FloppyDrive *drive)
{
    device_lock(dev);
    fdc_bus(bus)->drives[floppy_drive(dev)->unit] = drive;
    device_unlock(dev);
}

static void fdc_bus_publish(Bus *bus, Device *dev)
{
    fdc_bus_show(bus, dev, floppy_drive(dev));
}

static void fdc_bus_detach(Bus *bus, Device *dev)
{
    fdc_bus_show(bus, dev, NULL);
}

static void fdc_bus_print(Bus *bus, Device *dev, GString *out, int indent)
{
}

static char *fdc_bus_fw_path(Bus *bus, Device *dev)
{
    return g_strdup_printf("floppy@%x", floppy_drive(dev)->unit);
}

static const BusClass fdc_bus_class = {
    .type = "floppy-bus",
    .max_children = FDC_DRIVES,
    .attach = fdc_bus_attach,
    .publish = fdc_bus_publish,
    .detach = fdc_bus_detach,
    .release = fdc_bus_release,
    .print = fdc_bus_print,
    .fw_path = fdc_bus_fw_path,
};

void fdc_bus_init(FdcBus *fdc, Vm *vm, Device *controller)
{
    bus_init(&fdc->bus, &fdc_bus_class, vm, controller, NULL);
}

/* The drive's life. */

static bool floppy_realize(Device *dev, GError **err)
{
    FloppyDrive *d = floppy_drive(dev);
    DiskConf *conf = &d->conf;

    if (!disk_check(conf, 0, 0, 0, err)) {
        return false;
    }
    if (conf->logical_block_size != FDC_SECTOR || conf->physical_block_size != FDC_SECTOR) {
        return error_set(err, "Physical and logical block size must be 512 for floppy");
    }
    conf->rerror = conf->werror = BLOCK_ON_ERROR_AUTO;
    if (!disk_attach(conf, dev, 0, &fdc_block_ops, d, err)) {
        return false;
    }
    wait_list_init(&d->idle);
    floppy_choose_type(d);
    return true;
}

static void floppy_unrealize(Device *dev)
{
    FloppyDrive *d = floppy_drive(dev);

    disk_detach(&d->conf, true);
    d->format = NULL;
    wait_list_destroy(&d->idle);
}

static void floppy_reset(Device *dev, ResetKind kind)
{
    FloppyDrive *d = floppy_drive(dev);

    block_backend_take_back(d->conf.blk, 0);
    floppy_set_flag(&d->parked, false);
    d->s = (FloppyState){.changed = kind == RESET_COLD || d->s.changed};
}

static void floppy_pre_save(Device *dev)
{
    FloppyDrive *d = floppy_drive(dev);

    d->s.parked_words = block_backend_save_parked(d->conf.blk, d->s.parked, FDC_PARKED_WORDS);
}

/* Words that are malformed park nothing; the controller then makes the request again by itself. */
static void floppy_post_load(Device *dev)
{
    FloppyDrive *d = floppy_drive(dev);
    bool parked = block_backend_load_parked(d->conf.blk, d->s.parked, d->s.parked_words, 1);

    floppy_set_flag(&d->parked, parked && d->s.parked_words);
}

void coroutine_fn floppy_wait(FloppyDrive *d)
{
    wait_list_until(&d->idle, !floppy_flag(&d->in_flight));
}

static void coroutine_fn floppy_drain(Device *dev)
{
    floppy_wait(floppy_drive(dev));
}

#define F(n, t, f, d, h) PROP(n, t, FloppyDrive, f, d, h)
static const Property floppy_props[] = {
    DISK_BASIC_PROPS(FloppyDrive, conf),
    F("unit", PROP_UINT32, unit, "4294967295", "0 (A:) or 1 (B:); 4294967295: a free one"),
    PROP_E("drive-type", FloppyDrive, type, "auto", floppy_type_names,
           "1.44 MB, 2.88 MB or 1.2 MB; auto: by the medium"),
    PROP_END,
};

static const StateSection floppy_sections[] = {
    {floppy_state_desc, offsetof(FloppyDrive, s)},
    {0},
};

const DeviceClass floppy_class = {
    .name = "floppy",
    .bus = "floppy-bus",
    .desc = "virtual floppy drive",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(FloppyDrive),
    .props = floppy_props,
    .state = floppy_sections,
    .realize = floppy_realize,
    .unrealize = floppy_unrealize,
    .reset = floppy_reset,
    .pre_save = floppy_pre_save,
    .post_load = floppy_post_load,
    .drain = floppy_drain,
    .object_parent = "device",
};

/* CMOS's codes: 2 for 1.2 MB, 4 for 1.44 MB, 5 for 2.88 MB. */
bool floppy_cmos_type(const Device *dev, unsigned *unit, uint8_t *type)
{
    static const uint8_t codes[] = {[FLOPPY_144] = 4, [FLOPPY_288] = 5, [FLOPPY_120] = 2};
    const FloppyDrive *d = container_of(dev, FloppyDrive, dev);

    if (dev->class != &floppy_class) {
        return false;
    }
    *unit = d->unit;
    *type = (unsigned)d->type < ARRAY_SIZE(codes) ? codes[d->type] : 0;
    return true;
}
