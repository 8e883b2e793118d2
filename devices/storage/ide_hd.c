/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The IDE bus and its disk, ide-hd. */
#include "ide.h"

#include "base/error.h"
#include "base/util.h"
#include "devices/storage.h"

#define UNIT_AUTO        UINT32_MAX
#define GRANULARITY_AUTO UINT32_MAX

typedef struct {
    Device dev;
    AtaDrive ata;
    /* Properties. */
    char *drive, *serial, *model, *version;
    uint64_t wwn, logical_block_size, physical_block_size, min_io_size, opt_io_size,
        discard_granularity;
    uint32_t unit, cyls, heads, secs, lcyls, lheads, lsecs;
    uint16_t rotation_rate;
    bool share_rw;
    int write_cache, rerror, werror, account_invalid, account_failed, backend_defaults, translation;
    int32_t bootindex;
} IdeHd;

static IdeHd *ide_hd(Device *dev)
{
    return container_of(dev, IdeHd, dev);
}

/* The bus. */

static IdeBus *ide_bus(Bus *bus)
{
    return container_of(bus, IdeBus, bus);
}

static bool ide_attach(Bus *bus, Device *dev, GError **err)
{
    IdeBus *ide = ide_bus(bus);
    IdeHd *hd = ide_hd(dev);

    if (hd->unit == UNIT_AUTO) {
        hd->unit = ide->taken[0] ? 1 : 0;
    }
    if (hd->unit >= IDE_UNITS) {
        return error_set(err, "Can't create IDE unit %u, bus supports only %u units", hd->unit,
                         IDE_UNITS);
    }
    if (ide->taken[hd->unit]) {
        return error_set(err, "IDE unit %u is in use", hd->unit);
    }
    ide->taken[hd->unit] = dev;
    return true;
}

static void ide_release(Bus *bus, Device *dev)
{
    ide_bus(bus)->taken[ide_hd(dev)->unit] = NULL;
}

static void ide_show(Bus *bus, Device *dev, AtaDrive *drive)
{
    device_lock(dev);
    ide_bus(bus)->drives[ide_hd(dev)->unit] = drive;
    device_unlock(dev);
}

static void ide_publish(Bus *bus, Device *dev)
{
    ide_show(bus, dev, &ide_hd(dev)->ata);
}

static void ide_detach(Bus *bus, Device *dev)
{
    ide_show(bus, dev, NULL);
}

static void ide_print(Bus *bus, Device *dev, GString *out, int indent)
{
}

static char *ide_fw_path(Bus *bus, Device *dev)
{
    return g_strdup_printf("drive@%x/disk@%x", ide_bus(bus)->number, ide_hd(dev)->unit);
}

const BusClass ide_bus_class = {
    .type = "IDE",
    .max_children = IDE_UNITS,
    .attach = ide_attach,
    .publish = ide_publish,
    .detach = ide_detach,
    .release = ide_release,
    .print = ide_print,
    .fw_path = ide_fw_path,
};

void ide_bus_init(IdeBus *ide, Vm *vm, Device *controller, unsigned number,
                  const AtaTransport *transport)
{
    g_autofree char *name = g_strdup_printf("ide.%u", number);

    ide->number = number;
    ide->transport = transport;
    bus_init(&ide->bus, &ide_bus_class, vm, controller, name);
}

/* The disk's life. */

static bool ide_hd_check_sizes(IdeHd *hd, GError **err)
{
    hd->logical_block_size = hd->logical_block_size ? hd->logical_block_size : ATA_SECTOR;
    hd->physical_block_size = hd->physical_block_size ? hd->physical_block_size : ATA_SECTOR;
    if (hd->logical_block_size != ATA_SECTOR) {
        return error_set(err, "logical_block_size must be 512 for IDE");
    }
    if (!is_power_of_2(hd->physical_block_size) || hd->physical_block_size < ATA_SECTOR ||
        hd->physical_block_size > 2 * MiB) {
        return error_set(err, "physical_block_size must be a power of two between 512 B and 2 MiB");
    }
    if (hd->discard_granularity != GRANULARITY_AUTO && hd->discard_granularity % ATA_SECTOR) {
        return error_set(err, "discard_granularity must be a multiple of logical_block_size");
    }
    return true;
}

/* cyls, heads and secs are given together or not at all. The BIOS's lcyls etc. are not checked. */
static bool ide_hd_check_geometry(const IdeHd *hd, GError **err)
{
    const struct {
        const char *name;
        uint32_t value, max;
    } parts[] = {{"cyls", hd->cyls, 65535}, {"heads", hd->heads, 16}, {"secs", hd->secs, 255}};

    for (unsigned i = 0; (hd->cyls || hd->heads || hd->secs) && i < ARRAY_SIZE(parts); i++) {
        if (parts[i].value < 1 || parts[i].value > parts[i].max) {
            return error_set(err, "%s must be between 1 and %u", parts[i].name, parts[i].max);
        }
    }
    return true;
}

static bool ide_hd_attach_drive(IdeHd *hd, GError **err)
{
    AtaDrive *d = &hd->ata;

    if (!hd->drive) {
        return error_set(err, "No drive specified");
    }
    d->blk = block_backend_attach(hd->drive, hd->dev.path, hd->share_rw ? BLOCK_DEVICE_SHARE_RW : 0,
                                  &ata_block_ops, d, err);
    if (!d->blk) {
        return false;
    }
    if (!block_backend_node(d->blk)) {
        error_set(err, "Device needs media, but drive is empty");
        goto fail;
    }
    if (block_backend_read_only(d->blk)) {
        error_set(err, "Block node is read-only, and an IDE disk cannot be: use a virtio-blk-pci "
                       "device, or snapshot=on");
        goto fail;
    }
    if (hd->rerror != BLOCK_ON_ERROR_AUTO || hd->werror != BLOCK_ON_ERROR_AUTO) {
        block_backend_set_error_policy(d->blk, hd->rerror, hd->werror);
    }
    if (hd->write_cache != ON_OFF_AUTO_AUTO) {
        block_backend_set_write_cache(d->blk, hd->write_cache == ON_OFF_AUTO_ON);
    }
    d->original_write_cache = block_backend_write_cache(d->blk);
    if (!hd->serial && block_backend_drive_info(d->blk)->serial) {
        hd->serial = g_strdup(block_backend_drive_info(d->blk)->serial);
    }
    return true;
fail:
    block_backend_detach(g_steal_pointer(&d->blk), false);
    return false;
}

/* The defaults, where the user gave nothing. The geometry is the largest that ATA disks report. */
static void ide_hd_fill_in(IdeHd *hd)
{
    if (!hd->serial) {
        hd->serial =
            g_strdup_printf("QM%05u", ide_bus(hd->dev.bus)->number * IDE_UNITS + hd->unit + 1);
    }
    hd->version = hd->version ? hd->version : g_strdup("2.5+");
    if (!hd->cyls) {
        hd->cyls = CLAMP(ata_sectors(&hd->ata) / (16 * 63), 2, 16383);
        hd->heads = 16;
        hd->secs = 63;
    }
    if (hd->translation == ATA_TRANSLATION_AUTO) {
        hd->translation = hd->cyls <= 1024 ? ATA_TRANSLATION_NONE : ATA_TRANSLATION_LBA;
    }
}

static void ide_hd_run(Device *dev)
{
    ata_run(&ide_hd(dev)->ata);
}

static bool ide_hd_realize(Device *dev, GError **err)
{
    IdeHd *hd = ide_hd(dev);

    if (!ide_hd_check_sizes(hd, err) || !ide_hd_check_geometry(hd, err) ||
        !ide_hd_attach_drive(hd, err)) {
        return false;
    }
    ide_hd_fill_in(hd);
    hd->ata.identity = (AtaIdentity){
        .serial = hd->serial,
        .model = hd->model ? hd->model : "QEMU HARDDISK",
        .version = hd->version,
        .wwn = hd->wwn,
        .cyls = hd->cyls,
        .heads = hd->heads,
        .secs = hd->secs,
        .logical_block_size = hd->logical_block_size,
        .physical_block_size = hd->physical_block_size,
        .rotation_rate = hd->rotation_rate,
        .trim = hd->discard_granularity,
    };
    ata_init(&hd->ata, dev, ide_hd_run, hd->unit, ide_bus(dev->bus)->transport);
    return true;
}

static void ide_hd_unrealize(Device *dev)
{
    IdeHd *hd = ide_hd(dev);

    block_backend_detach(g_steal_pointer(&hd->ata.blk), true);
    ata_destroy(&hd->ata);
}

static void ide_hd_reset(Device *dev, ResetKind kind)
{
    ata_power_on(&ide_hd(dev)->ata);
}

static void ide_hd_pre_save(Device *dev)
{
    ata_pre_save(&ide_hd(dev)->ata);
}

static bool ide_hd_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    return ata_check_state(state, err);
}

static void ide_hd_post_load(Device *dev)
{
    ata_post_load(&ide_hd(dev)->ata);
}

static void ide_hd_run_state(Device *dev, bool running)
{
    ata_run_state(&ide_hd(dev)->ata, running);
}

static void coroutine_fn ide_hd_drain(Device *dev)
{
    ata_wait(&ide_hd(dev)->ata);
}

static const char *const on_error_names[] = {"report", "ignore", "stop", "enospc", "auto", NULL};
static const char *const translation_names[] = {"none", "lba", "large", "rechs", "auto", NULL};

#define H(n, t, f, d, h) PROP(n, t, IdeHd, f, d, h)
#define FIXED(n, t, f, d, h)                                                                       \
    {                                                                                              \
        .name = (n), .type = (t), .offset = offsetof(IdeHd, f), .defval = (d), .help = (h),        \
        .flags = PROP_FLAG_FIXED                                                                   \
    }
static const Property ide_hd_props[] = {
    PROP_L("drive", IdeHd, drive, "drive", "Node name or ID of a block device to use as a backend"),
    H("unit", PROP_UINT32, unit, "4294967295", "0 (master) or 1 (slave); 4294967295: a free one"),
    H("serial", PROP_STRING, serial, NULL, "serial number, 20 characters"),
    H("model", PROP_STRING, model, NULL, "model, 40 characters"),
    H("ver", PROP_STRING, version, NULL, "firmware version, 8 characters"),
    H("wwn", PROP_UINT64, wwn, "0", "world wide name; 0: none"),
    H("rotation_rate", PROP_UINT16, rotation_rate, "0",
      "turns a minute; 0: not said, 1: a solid state disk"),
    H("logical_block_size", PROP_SIZE, logical_block_size, "0", "512"),
    H("physical_block_size", PROP_SIZE, physical_block_size, "0",
      "A power of two between 512 B and 2 MiB"),
    H("discard_granularity", PROP_SIZE, discard_granularity, "4294967295",
      "0: no TRIM; 4294967295: a logical block"),
    H("write-cache", PROP_ON_OFF_AUTO, write_cache, "auto", "whether there is a write cache"),
    PROP_E("rerror", IdeHd, rerror, "auto", on_error_names, "what to do when a read fails"),
    PROP_E("werror", IdeHd, werror, "auto", on_error_names, "what to do when a write fails"),
    H("bootindex", PROP_INT32, bootindex, "-1", "place in the boot order"),
    H("cyls", PROP_UINT32, cyls, "0", "cylinders of the geometry"),
    H("heads", PROP_UINT32, heads, "0", "heads of the geometry"),
    H("secs", PROP_UINT32, secs, "0", "sectors of the geometry"),
    H("lcyls", PROP_UINT32, lcyls, "0", "cylinders of the geometry that the BIOS is told"),
    H("lheads", PROP_UINT32, lheads, "0", "heads of the geometry that the BIOS is told"),
    H("lsecs", PROP_UINT32, lsecs, "0", "sectors of the geometry that the BIOS is told"),
    PROP_E("bios-chs-trans", IdeHd, translation, "auto", translation_names,
           "how the BIOS translates the geometry"),
    H("share-rw", PROP_BOOL, share_rw, "off", "other disks and processes may write too"),
    FIXED("min_io_size", PROP_SIZE, min_io_size, "0", "smallest efficient request"),
    FIXED("opt_io_size", PROP_SIZE, opt_io_size, "0", "best size of a request"),
    FIXED("backend_defaults", PROP_ON_OFF_AUTO, backend_defaults, "auto",
          "block sizes of the host's disk"),
    FIXED("account-invalid", PROP_ON_OFF_AUTO, account_invalid, "auto", "count invalid requests"),
    FIXED("account-failed", PROP_ON_OFF_AUTO, account_failed, "auto", "count failed requests"),
    PROP_END,
};

static const StateSection ide_hd_state[] = {
    {ata_state_desc, offsetof(IdeHd, ata.s)},
    {0},
};

const DeviceClass ide_hd_class = {
    .name = "ide-hd",
    .bus = "IDE",
    .desc = "virtual IDE disk",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(IdeHd),
    .props = ide_hd_props,
    .state = ide_hd_state,
    .realize = ide_hd_realize,
    .unrealize = ide_hd_unrealize,
    .reset = ide_hd_reset,
    .pre_save = ide_hd_pre_save,
    .check_state = ide_hd_check_state,
    .post_load = ide_hd_post_load,
    .run_state = ide_hd_run_state,
    .drain = ide_hd_drain,
    .object_parent = "ide-device",
};

bool ide_hd_bios_geometry(const Device *dev, IdeBiosGeometry *g)
{
    const IdeHd *hd = container_of(dev, IdeHd, dev);

    if (dev->class != &ide_hd_class) {
        return false;
    }
    *g = (IdeBiosGeometry){
        .disk = container_of(dev->bus, IdeBus, bus)->number * IDE_UNITS + hd->unit,
        .cyls = hd->cyls,
        .heads = hd->heads,
        .secs = hd->secs,
        .translation = hd->translation,
    };
    return true;
}
