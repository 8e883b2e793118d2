/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ide-cd: discs that come and go, the tray and its lock, by the guest and by monitors. */
#include "cd_client.h"

#define FIRST  5
#define SECOND 9

static void qmp(Ide *d, const char *command)
{
    json_decref(qtest_qmp(d->q, command, "{s:s}", "id", "drive"));
}

static void check_text(char *got, const char *want)
{
    qtest_check_str(got, want);
    g_free(got);
}

static void refused_by(Ide *d, const char *command, const char *want)
{
    check_text(qtest_qmp_fails(d->q, NULL, command, "{s:s}", "id", "drive"), want);
}

static void tray_moved(Ide *d, bool open)
{
    json_t *event = qtest_wait_event(d->q, "DEVICE_TRAY_MOVED");
    json_t *data = json_object_get(event, "data");

    qtest_check_str(json_string_value(json_object_get(data, "id")), "drive");
    qtest_check_str(json_string_value(json_object_get(data, "device")), "cd0");
    qtest_check_eq(json_is_true(json_object_get(data, "tray-open")), open);
    json_decref(event);
}

/* GET EVENT STATUS NOTIFICATION: event << 8 | status. */
static unsigned media_event(Ide *d)
{
    uint8_t buf[8];

    qtest_check_eq(qcd_command(d, (Packet){0x4a, 1, [4] = 0x10, [8] = 8}, buf, 8), 8);
    qtest_check_mem(buf, "\0\6\4\x10", 4);
    return buf[4] << 8 | buf[5];
}

static void check_block(Ide *d, const char *want)
{
    g_autofree char *text = qtest_hmp(d->q, "info block");

    qtest_check(strstr(text, want));
}

static Ide open_first(void)
{
    g_autofree char *path = qcd_make_disc("first.iso", FIRST, 100);

    return qcd_open(path, "", ",id=drive");
}

/* What the guest does with the tray and the lock. */
static void test_guest(void)
{
    Ide d = open_first();

    qtest_check_eq(media_event(&d), 2);
    /* No event is asked for; not polled. */
    uint8_t buf[8];
    qtest_check_eq(qcd_command(&d, (Packet){0x4a, 1, [4] = 0x02, [8] = 8}, buf, 8), 4);
    qtest_check_mem(buf, "\0\2\x80\x10", 4);
    qcd_refused(&d, (Packet){0x4a, 0, [4] = 0x10, [8] = 8}, BAD_FIELD);
    /* The lock. */
    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    check_block(&d, "Removable device: locked, tray closed");
    qcd_refused(&d, (Packet){0x1b, [4] = 2}, LOCKED);
    qtest_check_eq(qcd_command(&d, (Packet){0x5a, 0, 0x2a, [8] = 8}, buf, 8), 8);
    qtest_check_eq(buf[2], 0x01);
    qcd_command(&d, (Packet){0x1e}, NULL, 0);
    check_block(&d, "Removable device: not locked, tray closed");
    /* Eject, and load. */
    qcd_command(&d, (Packet){0x1b, [4] = 2}, NULL, 0);
    tray_moved(&d, true);
    check_block(&d, "Removable device: not locked, tray open");
    qcd_refused(&d, (Packet){0}, TRAY_OPEN);
    qcd_refused(&d, (Packet){0x25}, TRAY_OPEN);
    qtest_check_eq(qcd_command(&d, (Packet){0x5a, 0, 0x2a, [8] = 8}, buf, 8), 8);
    qtest_check_eq(buf[2], 0x71);
    qtest_check_eq(qcd_command(&d, (Packet){0xbd, [9] = 8}, buf, 8), 8);
    qtest_check_eq(buf[1], 0x10);
    qtest_check_eq(media_event(&d), 0x0301);
    qtest_check_eq(media_event(&d), 0x0001);
    qcd_command(&d, (Packet){0x1b, [4] = 2}, NULL, 0);
    qtest_check(!qtest_has_event(d.q, "DEVICE_TRAY_MOVED"));
    qcd_command(&d, (Packet){0x1b, [4] = 3}, NULL, 0);
    tray_moved(&d, false);
    qtest_check_eq(media_event(&d), 0x0202);
    /* The guest has loaded it: no attention tells of it. */
    qcd_command(&d, (Packet){0}, NULL, 0);
    qcd_check_disc(&d, FIRST, 7);
    /* Start and stop, and power conditions, move nothing. */
    qcd_command(&d, (Packet){0x1b, [4] = 0}, NULL, 0);
    qcd_command(&d, (Packet){0x1b, [4] = 1}, NULL, 0);
    qcd_command(&d, (Packet){0x1b, [4] = 0x32}, NULL, 0);
    qcd_check_disc(&d, FIRST, 8);
    /* A reset lets go of the medium. */
    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    qtest_system_reset(d.q);
    check_block(&d, "Removable device: not locked, tray closed");
    qide_close(&d);
}

/* Another disc, step by step, and all at once. */
static void test_host(void)
{
    g_autofree char *second = qcd_make_disc("second.iso", SECOND, 300);
    Ide d = open_first();
    uint8_t buf[8];

    refused_by(&d, "blockdev-remove-medium", "Tray of device 'drive' is not open");
    qmp(&d, "blockdev-open-tray");
    tray_moved(&d, true);
    qmp(&d, "blockdev-open-tray");
    qcd_refused(&d, (Packet){0}, TRAY_OPEN);
    qmp(&d, "blockdev-remove-medium");
    check_block(&d, "cd0: [not inserted]");
    check_block(&d, "Removable device: not locked, tray open");
    json_decref(qtest_qmp(d.q, "blockdev-add", "{s:s, s:s, s:b, s:{s:s, s:s}}", "driver", "raw",
                          "node-name", "disc", "read-only", 1, "file", "driver", "file", "filename",
                          second));
    check_text(qtest_qmp_fails(d.q, NULL, "blockdev-insert-medium", "{s:s, s:s}", "id", "drive",
                               "node-name", "dis"),
               "Node 'dis' not found");
    json_decref(
        qtest_qmp(d.q, "blockdev-insert-medium", "{s:s, s:s}", "id", "drive", "node-name", "disc"));
    check_block(&d, "second.iso (raw, read-only)");
    qcd_refused(&d, (Packet){0x25}, TRAY_OPEN);
    qmp(&d, "blockdev-close-tray");
    tray_moved(&d, false);
    qtest_check_eq(media_event(&d), 0x0202);
    qcd_refused(&d, (Packet){0x25}, NEW_MEDIUM);
    qtest_check_eq(qcd_command(&d, (Packet){0x25}, buf, 8), 8);
    qtest_check_eq(buf[2] << 8 | buf[3], 299);
    qcd_check_disc(&d, SECOND, 200);
    /* All at once; with a mode, which a CD drive does not write in; by HMP. */
    g_autofree char *first = g_strdup_printf("%s/first.iso", qtest_tmp_dir());
    json_decref(qtest_qmp(d.q, "blockdev-change-medium", "{s:s, s:s, s:s, s:s}", "device", "cd0",
                          "filename", first, "format", "raw", "read-only-mode", "read-write"));
    tray_moved(&d, true);
    tray_moved(&d, false);
    qcd_refused(&d, (Packet){0}, NEW_MEDIUM);
    qcd_check_disc(&d, FIRST, 99);
    check_text(qtest_hmp(d.q, "change cd0 %s raw read-only", second), "");
    qcd_refused(&d, (Packet){0}, NEW_MEDIUM);
    qcd_check_disc(&d, SECOND, 99);
    check_block(&d, "second.iso (raw, read-only)");
    /* An image that is none changes nothing. */
    g_autofree char *wrong = qtest_hmp(d.q, "change cd0 /nonexistent/disc.iso");
    qtest_check(strstr(wrong, "/nonexistent/disc.iso"));
    qcd_check_disc(&d, SECOND, 98);
    check_text(qtest_hmp(d.q, "eject cd0"), "");
    check_block(&d, "cd0: [not inserted]");
    qcd_refused(&d, (Packet){0}, TRAY_OPEN);
    qmp(&d, "blockdev-close-tray");
    qcd_refused(&d, (Packet){0}, NO_MEDIUM);
    qtest_check_eq(media_event(&d), 0x0300);
    check_text(qtest_hmp(d.q, "change cd0 %s", first), "");
    qcd_refused(&d, (Packet){0}, NEW_MEDIUM);
    qcd_check_disc(&d, FIRST, 98);
    qide_close(&d);
}

/* A medium that the guest has locked: it is asked, or the user insists. */
static void test_locked(void)
{
    static const char locked[] = "Device 'drive' is locked and force was not specified, wait for "
                                 "tray to open and try again";
    g_autofree char *second = qcd_make_disc("second.iso", SECOND, 300);
    Ide d = open_first();

    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    qmp(&d, "blockdev-open-tray"); /* the guest is asked */
    qtest_check(!qtest_has_event(d.q, "DEVICE_TRAY_MOVED"));
    qtest_check_eq(media_event(&d), 0x0102);
    qtest_check_eq(media_event(&d), 0x0002);
    refused_by(&d, "eject", locked);
    check_text(qtest_qmp_fails(d.q, NULL, "blockdev-change-medium", "{s:s, s:s, s:s}", "id",
                               "drive", "filename", second, "format", "raw"),
               locked);
    g_autofree char *said = qtest_hmp(d.q, "eject cd0");
    qtest_check(strstr(said, "Device 'cd0' is locked"));
    qcd_check_disc(&d, FIRST, 5);
    /* The guest obeys. */
    qtest_check_eq(media_event(&d), 0x0102);
    qcd_command(&d, (Packet){0x1e}, NULL, 0);
    qcd_command(&d, (Packet){0x1b, [4] = 2}, NULL, 0);
    tray_moved(&d, true);
    qmp(&d, "blockdev-remove-medium");
    check_text(qtest_hmp(d.q, "change cd0 %s", second), "");
    qcd_refused(&d, (Packet){0}, NEW_MEDIUM);
    qcd_check_disc(&d, SECOND, 5);
    /* By force. */
    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    check_text(qtest_hmp(d.q, "eject -f cd0"), "");
    check_block(&d, "Removable device: not locked, tray open");
    qcd_refused(&d, (Packet){0}, TRAY_OPEN);
    qide_close(&d);
}

/* Commands that name no removable drive. */
static void test_names(void)
{
    Ide d = open_first();
    char *class;

    check_text(qtest_qmp_fails(d.q, NULL, "blockdev-open-tray", "{s:s, s:s}", "id", "drive",
                               "device", "cd0"),
               "Need exactly one of 'device' and 'id'");
    check_text(qtest_qmp_fails(d.q, &class, "eject", "{s:s}", "device", "drive"),
               "Device 'drive' not found");
    check_text(class, "DeviceNotFound");
    check_text(qtest_qmp_fails(d.q, &class, "eject", "{s:s}", "id", "none"),
               "Device 'none' not found");
    check_text(class, "DeviceNotFound");
    check_text(qtest_qmp_fails(d.q, NULL, "eject", "{s:s}", "id", "/machine/peripheral/none"),
               "Device '/machine/peripheral/none' not found");
    json_decref(qtest_qmp(d.q, "eject", "{s:s}", "id", "/machine/peripheral/drive"));
    qide_close(&d);
    g_autofree char *disk = qide_make_disk();
    d.q = qtest_startf(MACHINE "-hda %s -device virtio-rng-pci,id=r", disk);
    check_text(qtest_qmp_fails(d.q, NULL, "eject", "{s:s}", "device", "ide0-hd0"),
               "Device 'ide0-hd0' is not removable");
    check_text(qtest_qmp_fails(d.q, NULL, "blockdev-change-medium", "{s:s, s:s}", "device",
                               "ide0-hd0", "filename", disk),
               "Device 'ide0-hd0' is not removable");
    check_text(qtest_qmp_fails(d.q, NULL, "eject", "{s:s}", "id", "r"),
               "Device does not have a block device backend");
    qtest_end(d.q);
}

/* A disc that changes while it is read is not mixed with the next. */
static void test_change_while_reading(void)
{
    g_autofree char *second = qcd_make_disc("second.iso", SECOND, 300);
    Ide d = open_first();
    uint8_t buf[CD_SECTOR];
    Packet read;

    for (unsigned i = 0; i < 3; i++) {
        qcd_read_10(read, 10, 60); /* more than the drive reads at once */
        qcd_packet(&d, read, CD_SECTOR);
        qtest_check_eq(qide_wait_ready(&d), READY | DRQ);
        if (i == 0) {
            check_text(qtest_hmp(d.q, "change cd0 %s", second), "");
        } else if (i == 1) {
            check_text(qtest_hmp(d.q, "eject cd0"), "");
        } else {
            check_text(qtest_hmp(d.q, "drive_del cd0"), "");
        }
        for (unsigned k = 0; qide_wait_ready(&d) == (READY | DRQ); k++) {
            qide_in(&d, STATUS);
            for (unsigned at = 0; at < CD_SECTOR; at += 4) {
                *(uint32_t *)(buf + at) = qtest_inl(d.q, BASE);
            }
            qtest_check_lt(k, 16);
            qcd_check_sector(buf, i ? SECOND : FIRST, 10 + k);
        }
        qtest_check_eq(qide_wait_ready(&d), CHECK);
        qtest_check_eq(qcd_sense(&d), i == 0 ? NEW_MEDIUM : i == 1 ? TRAY_OPEN : NO_MEDIUM);
        if (i == 1) {
            check_text(qtest_hmp(d.q, "change cd0 %s", second), "");
            qcd_refused(&d, (Packet){0}, NEW_MEDIUM);
        }
    }
    qide_close(&d);
}

/* Tray, lock, and attentions in the saved state. */
static void test_state(void)
{
    g_autofree char *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    Ide d = open_first();

    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    json_decref(qtest_qmp(d.q, "stop", NULL));
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    qtest_system_reset(d.q);
    check_block(&d, "Removable device: not locked");
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(d.q, "cont", NULL));
    check_block(&d, "Removable device: locked, tray closed");
    qcd_command(&d, (Packet){0}, NULL, 0);
    qcd_command(&d, (Packet){0x1e}, NULL, 0);
    qcd_command(&d, (Packet){0x1b, [4] = 2}, NULL, 0);
    tray_moved(&d, true);
    json_decref(qtest_qmp(d.q, "stop", NULL));
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    qmp(&d, "blockdev-close-tray");
    tray_moved(&d, false);
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    tray_moved(&d, true);
    json_decref(qtest_qmp(d.q, "cont", NULL));
    qcd_refused(&d, (Packet){0}, TRAY_OPEN);
    qtest_check_eq(media_event(&d), 0x0301);
    qide_close(&d);
}

/* An empty drive, and one that no -drive names. */
static void test_empty(void)
{
    g_autofree char *first = qcd_make_disc("first.iso", FIRST, 100);
    Ide d = qcd_open(NULL, "", ",id=drive");

    qcd_refused(&d, (Packet){0}, NO_MEDIUM);
    qcd_refused(&d, (Packet){0x28, [8] = 1}, NO_MEDIUM);
    qcd_refused(&d, (Packet){0x43, [8] = 12}, NO_MEDIUM);
    qtest_check_eq(media_event(&d), 0);
    /* That the guest has loaded nothing does not make the host's disc its own. */
    qcd_command(&d, (Packet){0x1b, [4] = 2}, NULL, 0);
    qcd_command(&d, (Packet){0x1b, [4] = 3}, NULL, 0);
    qcd_refused(&d, (Packet){0}, NO_MEDIUM);
    json_decref(qtest_qmp(d.q, "blockdev-change-medium", "{s:s, s:s, s:s}", "id", "drive",
                          "filename", first, "format", "raw"));
    check_block(&d, "first.iso (raw, read-only)");
    qcd_refused(&d, (Packet){0}, NEW_MEDIUM);
    qcd_check_disc(&d, FIRST, 50);
    qide_close(&d);
    d.q = qtest_startf(MACHINE "-device ide-cd,bus=ide.0,id=drive");
    json_decref(qtest_qmp(d.q, "blockdev-change-medium", "{s:s, s:s, s:s}", "id", "drive",
                          "filename", first, "format", "raw"));
    check_block(&d, "Attached to:      drive");
    /* A format that is a protocol is all that the image is. */
    check_text(qtest_hmp(d.q, "change drive %s file", first), "");
    check_block(&d, "first.iso (file, read-only)");
    check_text(qtest_hmp(d.q, "eject drive"), "");
    check_block(&d, "drive: [not inserted]");
    qtest_end(d.q);
}

static const QTestCase cases[] = {
    {"guest", test_guest},   {"host", test_host},
    {"locked", test_locked}, {"names", test_names},
    {"state", test_state},   {"change-while-reading", test_change_while_reading},
    {"empty", test_empty},   {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
