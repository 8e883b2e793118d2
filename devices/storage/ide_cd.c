/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ide-cd: a CD/DVD drive on the IDE bus. */
#include <inttypes.h>
#include "atapi.h"
#include "base/error.h"
#include "base/util.h"
#include "cd_sector.h"
#include "devices/disk.h"
#include "ide.h"

typedef struct {
    IdeDevice ide;
    AtapiDrive atapi;
    DiskConf conf;
    /* Properties. */
    char *model, *version;
    uint64_t wwn;
} IdeCd;

static IdeCd *ide_cd(Device *dev)
{
    return container_of(dev, IdeCd, ide.dev);
}

/* The sizes that QEMU's drive has properties for are those of a CD's sectors, or not said. */
static bool ide_cd_check(const DiskConf *conf, GError **err)
{
    const struct {
        const char *name;
        uint64_t value, other;
    } sizes[] = {
        {"logical_block_size", conf->logical_block_size, DISK_SECTOR},
        {"physical_block_size", conf->physical_block_size, DISK_SECTOR},
        {"min_io_size", conf->min_io_size, 0},
        {"opt_io_size", conf->opt_io_size, 0},
        {"discard_granularity", conf->discard_granularity, DISK_GRANULARITY_AUTO},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        uint64_t v = sizes[i].value;

        if (v && v != sizes[i].other && (i > 1 || v != CD_DATA_SIZE)) {
            return error_set(err,
                             "%s=%" PRIu64 " is not possible: the sectors of a CD have %u bytes",
                             sizes[i].name, v, CD_DATA_SIZE);
        }
    }
    return true;
}

static void ide_cd_run(Device *dev)
{
    atapi_run(&ide_cd(dev)->atapi);
}

static bool ide_cd_realize(Device *dev, GError **err)
{
    IdeCd *cd = ide_cd(dev);
    DiskConf *conf = &cd->conf;
    AtapiDrive *atapi = &cd->atapi;

    if (!ide_cd_check(conf, err) ||
        !disk_attach(conf, dev, BLOCK_DEVICE_READ_ONLY, &scsi_cd_block_ops, &atapi->unit, err)) {
        return false;
    }
    if (!conf->serial) {
        conf->serial = g_strdup_printf("QM%05u", ide_place(&cd->ide) + 1);
    }
    cd->version = cd->version ? cd->version : g_strdup("2.5+");
    atapi->serial = conf->serial;
    atapi->model = cd->model ? cd->model : "QEMU DVD-ROM";
    atapi->version = cd->version;
    atapi->unit.original_write_cache = conf->original_write_cache;
    atapi->unit.identity = (ScsiIdentity){
        .vendor = "QEMU",
        .product = "QEMU DVD-ROM",
        .version = cd->version,
        .serial = conf->serial,
        .wwn = cd->wwn,
        .block_size = CD_DATA_SIZE,
        .physical_block_size = CD_DATA_SIZE,
        .atapi = true,
    };
    atapi_init(atapi, dev, ide_cd_run, cd->ide.unit, conf->blk, ide_transport_of(&cd->ide));
    cd->ide.ata = &atapi->ata;
    return true;
}

static void ide_cd_unrealize(Device *dev)
{
    IdeCd *cd = ide_cd(dev);

    disk_detach(&cd->conf, true);
    atapi_destroy(&cd->atapi);
}

static void ide_cd_reset(Device *dev, ResetKind kind)
{
    atapi_power_on(&ide_cd(dev)->atapi);
}

static void ide_cd_pre_save(Device *dev)
{
    scsi_pre_save(&ide_cd(dev)->atapi.unit);
}

enum { SECTION_ATAPI, SECTION_REQUEST, SECTION_UNIT };

static bool ide_cd_check_state(Device *dev, unsigned section, const void *state, GError **err)
{
    switch (section) {
    case SECTION_ATAPI:
        return atapi_check_state(state, err);
    case SECTION_REQUEST:
        return scsi_check_request(&ide_cd(dev)->atapi.unit, state, err);
    default:
        return scsi_check_state(state, err);
    }
}

static void ide_cd_post_load(Device *dev)
{
    atapi_post_load(&ide_cd(dev)->atapi);
}

static void ide_cd_run_state(Device *dev, bool running)
{
    atapi_run_state(&ide_cd(dev)->atapi, running);
}

static void coroutine_fn ide_cd_drain(Device *dev)
{
    scsi_wait(&ide_cd(dev)->atapi.unit);
}

#define C(n, t, f, d, h) PROP(n, t, IdeCd, f, d, h)
static const Property ide_cd_props[] = {
    DISK_PROPS(IdeCd, conf),
    IDE_DEVICE_PROPS(IdeCd, ide),
    C("model", PROP_STRING, model, NULL, "model, 40 characters"),
    C("ver", PROP_STRING, version, NULL, "firmware version, 8 characters"),
    C("wwn", PROP_UINT64, wwn, "0", "world wide name; 0: none"),
    PROP_END,
};

static const StateSection ide_cd_state[] = {
    [SECTION_ATAPI] = {atapi_state_desc, offsetof(IdeCd, atapi.s)},
    [SECTION_REQUEST] = {scsi_request_state_desc, offsetof(IdeCd, atapi.request.s)},
    [SECTION_UNIT] = {scsi_unit_state_desc, offsetof(IdeCd, atapi.unit.s)},
    {0},
};

const DeviceClass ide_cd_class = {
    .name = "ide-cd",
    .bus = "IDE",
    .desc = "virtual IDE CD-ROM",
    .category = DEVICE_CATEGORY_STORAGE,
    .size = sizeof(IdeCd),
    .props = ide_cd_props,
    .state = ide_cd_state,
    .realize = ide_cd_realize,
    .unrealize = ide_cd_unrealize,
    .reset = ide_cd_reset,
    .pre_save = ide_cd_pre_save,
    .check_state = ide_cd_check_state,
    .post_load = ide_cd_post_load,
    .run_state = ide_cd_run_state,
    .drain = ide_cd_drain,
    .object_parent = "ide-device",
};
