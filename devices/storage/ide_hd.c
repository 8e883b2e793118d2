/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ide-hd: a disk on the IDE bus. */
#include "ata.h"

#include "base/error.h"
#include "base/util.h"
#include "devices/disk.h"
#include "devices/storage.h"
#include "ide.h"

typedef struct {
    IdeDevice ide;
    AtaDrive ata;
    DiskConf conf;
    /* Properties. */
    char *model, *version;
    uint64_t wwn;
    uint16_t rotation_rate;
    int translation;
} IdeHd;

static IdeHd *ide_hd(Device *dev)
{
    return container_of(dev, IdeHd, ide.dev);
}

/* The disk's life. */

/* Of the geometry that a disk may report. */
enum { CYLS_MAX = 65535, HEADS_MAX = 16, SECS_MAX = 255 };

static bool ide_hd_check(IdeHd *hd, GError **err)
{
    DiskConf *conf = &hd->conf;

    if (conf->min_io_size || conf->opt_io_size) {
        return error_set(err, "min_io_size and opt_io_size are not supported: an IDE disk cannot "
                              "tell them");
    }
    /* 0: no TRIM, which is no fault. */
    hd->ata.identity.trim = conf->discard_granularity;
    if (!conf->discard_granularity) {
        conf->discard_granularity = DISK_GRANULARITY_AUTO;
    }
    if (!disk_check(conf, CYLS_MAX, HEADS_MAX, SECS_MAX, err)) {
        return false;
    }
    return conf->logical_block_size == ATA_SECTOR ||
           error_set(err, "logical_block_size must be 512 for IDE");
}

static bool ide_hd_attach_drive(IdeHd *hd, GError **err)
{
    if (!disk_attach(&hd->conf, &hd->ide.dev, 0, &ata_block_ops, &hd->ata, err)) {
        return false;
    }
    if (block_backend_read_only(hd->conf.blk)) {
        disk_detach(&hd->conf, false);
        return error_set(err, "Block node is read-only, and an IDE disk cannot be: use a "
                              "virtio-blk-pci device, or snapshot=on");
    }
    hd->ata.blk = hd->conf.blk;
    hd->ata.original_write_cache = hd->conf.original_write_cache;
    return true;
}

/*
 * The geometry where the user gave none: that of the partitions, if an ATA disk may have it; else
 * the largest that ATA disks report. The BIOS is to come to what the partitions were made by.
 */
static int ide_hd_guess_geometry(IdeHd *hd)
{
    DiskConf *conf = &hd->conf;
    DiskGeometry g;
    bool found = disk_partition_geometry(conf->blk, &g);

    if (found && g.heads <= HEADS_MAX) {
        conf->cyls = g.cyls;
        conf->heads = g.heads;
        conf->secs = g.secs;
        return ATA_TRANSLATION_NONE;
    }
    conf->cyls = CLAMP(ata_sectors(&hd->ata) / (16 * 63), 2, 16383);
    conf->heads = 16;
    conf->secs = 63;
    if (found) { /* more heads than a disk has: the BIOS has translated */
        return conf->cyls * conf->heads <= 131072 ? ATA_TRANSLATION_LARGE : ATA_TRANSLATION_LBA;
    }
    return ATA_TRANSLATION_AUTO;
}

/* The defaults, where the user gave nothing. */
static void ide_hd_fill_in(IdeHd *hd)
{
    DiskConf *conf = &hd->conf;

    if (!conf->serial) {
        conf->serial = g_strdup_printf("QM%05u", ide_place(&hd->ide) + 1);
    }
    hd->version = hd->version ? hd->version : g_strdup("2.5+");
    if (!conf->cyls) {
        int translation = ide_hd_guess_geometry(hd);

        hd->translation = hd->translation == ATA_TRANSLATION_AUTO ? translation : hd->translation;
    }
    if (hd->translation == ATA_TRANSLATION_AUTO) {
        hd->translation = conf->cyls <= 1024 ? ATA_TRANSLATION_NONE : ATA_TRANSLATION_LBA;
    }
}

static void ide_hd_run(Device *dev)
{
    ata_run(&ide_hd(dev)->ata);
}

static bool ide_hd_realize(Device *dev, GError **err)
{
    IdeHd *hd = ide_hd(dev);
    const DiskConf *conf = &hd->conf;

    if (!ide_hd_check(hd, err) || !ide_hd_attach_drive(hd, err)) {
        return false;
    }
    ide_hd_fill_in(hd);
    hd->ata.identity = (AtaIdentity){
        .serial = conf->serial,
        .model = hd->model ? hd->model : "QEMU HARDDISK",
        .version = hd->version,
        .wwn = hd->wwn,
        .cyls = conf->cyls,
        .heads = conf->heads,
        .secs = conf->secs,
        .logical_block_size = conf->logical_block_size,
        .physical_block_size = conf->physical_block_size,
        .rotation_rate = hd->rotation_rate,
        .trim = hd->ata.identity.trim,
    };
    ata_init(&hd->ata, dev, ide_hd_run, hd->ide.unit, ide_transport_of(&hd->ide));
    hd->ide.ata = &hd->ata.ata;
    return true;
}

static void ide_hd_unrealize(Device *dev)
{
    IdeHd *hd = ide_hd(dev);

    disk_detach(&hd->conf, true);
    hd->ata.blk = NULL;
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

static const char *const translation_names[] = {"none", "lba", "large", "rechs", "auto", NULL};

#define H(n, t, f, d, h) PROP(n, t, IdeHd, f, d, h)
static const Property ide_hd_props[] = {
    DISK_PROPS(IdeHd, conf),
    DISK_GEOMETRY_PROPS(IdeHd, conf),
    IDE_DEVICE_PROPS(IdeHd, ide),
    H("model", PROP_STRING, model, NULL, "model, 40 characters"),
    H("ver", PROP_STRING, version, NULL, "firmware version, 8 characters"),
    H("wwn", PROP_UINT64, wwn, "0", "world wide name; 0: none"),
    H("rotation_rate", PROP_UINT16, rotation_rate, "0",
      "turns a minute; 0: not said, 1: a solid state disk"),
    PROP_E("bios-chs-trans", IdeHd, translation, "auto", translation_names,
           "how the BIOS translates the geometry"),
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
    const IdeHd *hd = container_of(dev, IdeHd, ide.dev);

    if (dev->class != &ide_hd_class) {
        return false;
    }
    *g = (IdeBiosGeometry){
        .disk = ide_place(&hd->ide),
        .cyls = hd->conf.cyls,
        .heads = hd->conf.heads,
        .secs = hd->conf.secs,
        .translation = hd->translation,
    };
    return true;
}
