/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pc.h"

#include <linux/input-event-codes.h>

#include "../../block/core.h"
#include "block/backend.h"
#include "base/util.h"
#include "block/media.h"
#include "devices/usb.h"
#include "ui/input.h"

static void pc_create_node(unsigned disk)
{
    g_autoptr(GError) err = NULL;
    json_t *j =
        json_pack("{s:s,s:o,s:{s:s,s:i}}", "driver", "raw", "node-name",
                  json_sprintf("node%u", disk), "file", "driver", "seeddisk", "index", disk);

    world_must(block_node_add_monitor_owned(j, &err), &err);
    json_decref(j);
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

        world_must(block_backend_new_drive(j, &err) != NULL, &err);
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

        world_must(device_add(world.vm, j, false, &err) != NULL, &err);
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

static json_t *usb_hid_config(unsigned kind)
{
    static const char *const drivers[] = {"usb-kbd", "usb-tablet", "usb-mouse"};

    return json_pack("{s:s,s:s,s:s}", "driver", drivers[kind], "id", "hid", "port", "2");
}

void usb_create_node(void)
{
    pc_create_node(DISK_STICK);
}

void usb_create(Bus *pci)
{
    const char *addr = world.config.usb < USB_IS_EHCI ? "1.2" : "3.0";
    GError *err = NULL;

    if (!usb_present()) {
        return;
    }
    world_must(device_new(world.vm, usb_controller(), pci, "usb", &err, "addr", addr, NULL) != NULL,
               &err);
    if (usb_has_hub()) {
        world_must(usb_plug(usb_hub_config(), false, &err), &err);
    }
    if (world.config.usb < USB_IS_EHCI && world.config.seed % 2) {
        world_must(usb_plug(usb_hid_config(world.config.seed % 3), false, &err), &err);
    }
    if (world.config.seed % 8) {
        g_autofree char *node = g_strdup_printf("node%u", DISK_STICK);

        world_must(usb_plug(usb_stick_config(node), false, &err), &err);
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

/* With the stick behind it. */
void coroutine_fn usb_run_hub_del(Rand *rand)
{
    device_del(world.vm, "hub", NULL);
}

/* The ISA bus, and a floppy drive, whose disk is the same always, or not there. */

void floppy_create_node(void)
{
    pc_create_node(DISK_FLOPPY);
}

void isa_create(Bus *isa)
{
    g_autoptr(GError) err = NULL;
    json_t *j;

    world_must(device_new(world.vm, "i8257", isa, NULL, &err, NULL) != NULL, &err);
    world_must(device_new(world.vm, "isa-fdc", isa, NULL, &err, NULL) != NULL, &err);
    world_must(device_new(world.vm, "i8042", isa, NULL, &err, NULL) != NULL, &err);
    if (!floppy_present()) {
        return;
    }
    j = json_pack("{s:s,s:s,s:s,s:o}", "driver", "floppy", "id", "floppy", "drive-type", "144",
                  "drive", json_sprintf("node%u", DISK_FLOPPY));
    world_must(device_add(world.vm, j, false, &err) != NULL, &err);
    json_decref(j);
}

bool floppy_present(void)
{
    return world.config.floppy;
}

/* 'floppy_changes' is odd before the disk goes, and even when it is back. One monitor at a time. */
static bool floppy_changing;

void coroutine_fn floppy_run_eject(Rand *rand)
{
    BlockBackend *blk = block_backend_of_device("floppy", "floppy");

    if (blk->root && !floppy_changing) {
        floppy_changing = true;
        __atomic_fetch_add(&world.floppy_changes, 1, __ATOMIC_SEQ_CST);
        block_backend_remove_medium(blk, "floppy", NULL);
        floppy_changing = false;
    }
}

void coroutine_fn floppy_run_insert(Rand *rand)
{
    g_autofree char *name = g_strdup_printf("node%u", DISK_FLOPPY);
    BlockBackend *blk = block_backend_of_device("floppy", "floppy");

    if (!blk->root && !floppy_changing) {
        floppy_changing = true;
        if (block_backend_insert_medium(blk, block_node_find(name), NULL) == 0) {
            __atomic_fetch_add(&world.floppy_changes, 1, __ATOMIC_SEQ_CST);
        }
        floppy_changing = false;
    }
}

/* Keys and pointers: who gets them changes with what is plugged. */

void coroutine_fn hid_run_add(Rand *rand)
{
    usb_plug(usb_hid_config(rand_below(rand, 3)), true, NULL);
}

void coroutine_fn hid_run_del(Rand *rand)
{
    device_del(world.vm, "hid", NULL);
}

void coroutine_fn input_run_sendkey(Rand *rand)
{
    uint16_t codes[3];
    unsigned n = 1 + rand_below(rand, ARRAY_SIZE(codes));

    for (unsigned i = 0; i < n; i++) {
        codes[i] = KEY_ESC + rand_below(rand, KEY_DOWN - KEY_ESC);
    }
    input_send_keys(world.vm, codes, n, rand_below(rand, 2000) * 1000);
}

/* input-send-event, mouse_move and mouse_button. */
void coroutine_fn input_run_events(Rand *rand)
{
    for (unsigned i = 1 + rand_below(rand, 8); i; i--) {
        switch (rand_below(rand, 4)) {
        case 0:
            input_send(world.vm, INPUT_KEY, KEY_A + rand_below(rand, 4), rand_below(rand, 2));
            break;
        case 1:
            input_send(world.vm, INPUT_BUTTON, BTN_LEFT + rand_below(rand, 3), rand_below(rand, 2));
            break;
        case 2:
            input_send(world.vm, INPUT_REL, REL_X + rand_below(rand, 2), rand_below(rand, 600));
            break;
        default:
            input_send(world.vm, INPUT_ABS, ABS_X + rand_below(rand, 2),
                       rand_below(rand, INPUT_ABS_MAX + 1));
            break;
        }
        if (rand_below(rand, 2)) {
            input_sync(world.vm);
        }
    }
    input_sync(world.vm);
}

void coroutine_fn input_run_mouse_set(Rand *rand)
{
    json_decref(input_query_mice(world.vm));
    input_mouse_set(world.vm, rand_below(rand, 3), NULL);
}
