/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pc.h"

#include "block/backend.h"
#include "base/util.h"
#include "devices/usb.h"

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

/* USB: the stick's node is there always, as -blockdev makes it; or a drive comes with the stick. */

static const char *usb_controller(void)
{
    static const char *const names[] = {[USB_IS_UHCI] = "piix3-usb-uhci",
                                        [USB_IS_UHCI_HUB] = "piix3-usb-uhci",
                                        [USB_IS_EHCI] = "usb-ehci",
                                        [USB_IS_XHCI] = "qemu-xhci"};

    return names[world.config.usb];
}

static json_t *usb_stick_config(const char *drive)
{
    const char *werror = world.config.nospace_in ? "enospc" : "report";

    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "driver", "usb-storage", "id", "stick", "drive",
                     drive, "port", usb_has_hub() ? "1.1" : "1", "werror",
                     world.config.stops ? "stop" : werror, "rerror",
                     world.config.stops ? "stop" : "report");
}

/* NULL: there is one of that name, or the node cannot be had. */
static BlockBackend *usb_drive_add(const char *id)
{
    json_t *j = json_pack("{s:s,s:s,s:s,s:{s:s,s:i}}", "if", "none", "id", id, "driver", "raw",
                          "file", "driver", "seeddisk", "index", DISK_STICK);
    BlockBackend *blk = block_backend_new_drive(j, NULL);

    json_decref(j);
    return blk;
}

static bool usb_plug(json_t *config, bool hotplug, GError **err)
{
    bool plugged = device_add(world.vm, config, hotplug, err) != NULL;

    world.plugged += plugged;
    json_decref(config);
    return plugged;
}

static json_t *usb_hub_config(void)
{
    return json_pack("{s:s,s:s,s:s}", "driver", "usb-hub", "id", "hub", "port", "1");
}

void usb_create_node(void)
{
    g_autoptr(GError) err = NULL;
    json_t *j = json_pack("{s:s,s:o,s:{s:s,s:i}}", "driver", "raw", "node-name",
                          json_sprintf("node%u", DISK_STICK), "file", "driver", "seeddisk", "index",
                          DISK_STICK);

    pc_must(block_node_add_monitor_owned(j, &err), err);
    json_decref(j);
}

void usb_create(Bus *pci)
{
    const char *addr = world.config.usb < USB_IS_EHCI ? "1.2" : "3.0";
    GError *err = NULL;

    if (!usb_present()) {
        return;
    }
    pc_must(device_new(world.vm, usb_controller(), pci, "usb", &err, "addr", addr, NULL) != NULL,
            err);
    if (usb_has_hub()) {
        pc_must(usb_plug(usb_hub_config(), false, &err), err);
    }
    if (world.config.seed % 8) {
        g_autofree char *node = g_strdup_printf("node%u", DISK_STICK);

        pc_must(usb_plug(usb_stick_config(node), false, &err), err);
    }
}

bool usb_present(void)
{
    return world.config.usb != USB_IS_NONE;
}

bool usb_has_hub(void)
{
    return world.config.usb == USB_IS_UHCI_HUB;
}

/*
 * drive_add and device_add, or device_add alone. A new stick's node knows nothing of what was
 * written through another.
 */
void coroutine_fn usb_run_stick_add(Rand *rand)
{
    g_autofree char *node = g_strdup_printf("node%u", DISK_STICK);

    disk_flushed(&disks[DISK_STICK]);
    if (rand_below(rand, 2)) {
        usb_plug(usb_stick_config(node), true, NULL);
    } else if (usb_drive_add("stick-drive") &&
               !usb_plug(usb_stick_config("stick-drive"), true, NULL)) {
        block_backend_delete(block_backend_find("stick-drive"));
    }
}

/* There is no such port; or no such drive. */
void coroutine_fn usb_run_stick_add_fails(Rand *rand)
{
    json_t *config = usb_stick_config(rand_below(rand, 2) ? "no such drive" : "failing-drive");
    bool drive = usb_drive_add("failing-drive");

    json_object_set_new(config, "id", json_string("failing"));
    json_object_set_new(config, "port", json_string("9"));
    g_assert(!usb_plug(config, true, NULL));
    if (drive) {
        block_backend_delete(block_backend_find("failing-drive"));
    }
}

/* device_del, or usb_del by the address that the guest has given it. */
void coroutine_fn usb_run_stick_del(Rand *rand)
{
    if (rand_below(rand, 2)) {
        device_del(world.vm, "stick", NULL);
    } else {
        usb_del(world.vm, "0.1", NULL);
    }
}

void coroutine_fn usb_run_hub_add(Rand *rand)
{
    usb_plug(usb_hub_config(), true, NULL);
}

/* With the stick behind it, it is refused. */
void coroutine_fn usb_run_hub_del(Rand *rand)
{
    if (rand_below(rand, 2)) {
        device_del(world.vm, "stick", NULL);
    }
    device_del(world.vm, "hub", NULL);
}
