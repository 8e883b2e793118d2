/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pc.h"

#include "block/backend.h"
#include "base/util.h"

static void pc_must(bool ok, GError *err)
{
    if (!ok) {
        baton_fail("cannot set the scene: %s", err ? err->message : "");
    }
}

/* IDE disks: as -drive if=none makes them, so that drive_del has something to take. */

void ide_create_drives(void)
{
    for (unsigned i = 0; i < world.config.ide_disks; i++) {
        g_autoptr(GError) err = NULL;
        json_t *j = json_pack("{s:s,s:o,s:s,s:o,s:{s:s,s:i}}", "if", "none", "id",
                              json_sprintf("drive%u", i), "driver", "raw", "node-name",
                              json_sprintf("node%u", DISK_IDE + i), "file", "driver", "seeddisk",
                              "index", DISK_IDE + i);

        pc_must(block_backend_new_drive(j, &err) != NULL, err);
        json_decref(j);
    }
}

void ide_create_disks(void)
{
    const char *werror = world.config.nospace_in ? "enospc" : "report";

    for (unsigned i = 0; i < world.config.ide_disks; i++) {
        g_autoptr(GError) err = NULL;
        json_t *j = json_pack(
            "{s:s,s:o,s:s,s:o,s:s,s:s}", "driver", "ide-hd", "id", json_sprintf("ide%u", i), "bus",
            "ide.0", "drive", json_sprintf("drive%u", i), "werror",
            world.config.stops ? "stop" : werror, "rerror", world.config.stops ? "stop" : "report");

        pc_must(device_add(world.vm, j, false, &err) != NULL, err);
        json_decref(j);
    }
}

bool ide_present(void)
{
    return world.config.ide_disks;
}

/* The guest keeps a disk that has nothing behind it. */
void coroutine_fn ide_run_drive_del(Rand *rand)
{
    unsigned disk = rand_below(rand, world.config.ide_disks);
    g_autofree char *id = g_strdup_printf("drive%u", disk);
    BlockBackend *blk = block_backend_find(id);

    if (blk) {
        __atomic_store_n(&world.ide_lost[disk], true, __ATOMIC_SEQ_CST);
        world.plugged++;
        block_backend_delete(blk);
    }
}
