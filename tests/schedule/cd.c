/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cd.h"

#include "../../block/core.h"
#include "base/iov.h"
#include "base/util.h"
#include "block/media.h"

/* A disc of one byte. A request is done in two parts. */
typedef struct {
    int64_t fill;
} Disc;

static const Property disc_props[] = {
    PROP("fill", PROP_INT64, Disc, fill, "0", "the byte"),
    PROP_END,
};

static bool disc_open(BlockNode *n, GError **err)
{
    return true;
}

static int coroutine_fn disc_preadv(BlockNode *n, uint64_t offset, uint64_t bytes,
                                    const struct iovec *iov, unsigned niov)
{
    Disc *disc = block_node_state(n);

    iov_memset(iov, niov, 0, disc->fill, bytes / 2);
    coroutine_sleep(CLOCK_REALTIME_NS, bytes / 4);
    iov_memset(iov, niov, bytes / 2, disc->fill, bytes - bytes / 2);
    return 0;
}

static int coroutine_fn disc_flush(BlockNode *n)
{
    return 0;
}

static int64_t disc_length(BlockNode *n)
{
    return 200 * 2048;
}

const BlockDriver cd_disc_driver = {
    .name = "disc",
    .help = "a disc of one byte",
    .size = sizeof(Disc),
    .props = disc_props,
    .is_protocol = true,
    .open = disc_open,
    .preadv = disc_preadv,
    .flush = disc_flush,
    .length = disc_length,
};

void cd_create_discs(void)
{
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(GError) err = NULL;
        json_t *j =
            json_pack("{s:s,s:o,s:i,s:b}", "driver", "disc", "node-name", json_sprintf("disc%u", i),
                      "fill", i ? CD_SECOND : CD_FIRST, "read-only", true);

        world_must(block_node_add_monitor_owned(j, &err), &err);
        json_decref(j);
    }
}

void cd_create_drive(Bus *pci)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:s}", "driver", "ide-cd", "id", "cd", "bus", "ide.1",
                          "drive", "disc0");
    GError *err = NULL;

    world_must(device_new(world.vm, "piix3-ide", pci, NULL, &err, "addr", "1.1", NULL) != NULL,
               &err);
    world_must(device_add(world.vm, j, false, &err) != NULL, &err);
    json_decref(j);
}

/* What comes between two steps may make any of them fail. */
void coroutine_fn cd_run_change(Rand *rand)
{
    bool second = rand_below(rand, 2), force = rand_below(rand, 2);
    BlockBackend *blk = block_backend_of_device("cd", "cd");
    BlockNode *node = block_node_find(second ? "disc1" : "disc0");

    if (block_backend_open_tray(blk, "cd", force, NULL) == 0 &&
        block_backend_remove_medium(blk, "cd", NULL) == 0) {
        block_backend_insert_medium(blk, node, NULL);
        block_backend_close_tray(blk, "cd", NULL);
    }
}

void coroutine_fn cd_run_eject(Rand *rand)
{
    BlockBackend *blk = block_backend_of_device("cd", "cd");

    if (block_backend_open_tray(blk, "cd", true, NULL) == 0) {
        block_backend_remove_medium(blk, "cd", NULL);
    }
}
