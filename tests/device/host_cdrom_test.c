/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CD-ROM drive of the host's (driver host_cdrom), which fake_cdrom.c plays. */
#include "cd_client.h"

#define FIRST  5
#define SECOND 9

/* 'sectors' of a disc, and what the drive's state is. Returns the drive's path. */
static char *make_drive(unsigned seed, uint32_t sectors, const char *state)
{
    char *path = qcd_make_disc("drive.cdrom", seed, sectors);
    g_autofree char *name = g_strconcat(path, ".state", NULL);
    g_autofree char *log = g_strconcat(path, ".log", NULL);

    qtest_check(g_file_set_contents(name, state, -1, NULL));
    qtest_check(g_file_set_contents(log, "", 0, NULL));
    return path;
}

static void set_state(const char *path, const char *state, bool changed)
{
    g_autofree char *name = g_strconcat(path, ".state", NULL);
    g_autofree char *flag = g_strconcat(path, ".changed", NULL);

    if (changed) {
        qtest_check(g_file_set_contents(flag, "", 0, NULL));
    }
    qtest_check(g_file_set_contents(name, state, -1, NULL));
}

static bool log_is(const char *path, const char *want)
{
    g_autofree char *name = g_strconcat(path, ".log", NULL);
    g_autofree char *text = NULL;

    qtest_check(g_file_get_contents(name, &text, NULL, NULL));
    return !strcmp(text, want);
}

/* TEST UNIT READY: the sense data, 0 for none. */
static uint32_t ready(Ide *d)
{
    qcd_packet(d, (Packet){0}, 0xfffe);
    return qide_wait_ready(d) == CHECK ? qcd_sense(d) : 0;
}

static unsigned media_event(Ide *d)
{
    uint8_t buf[8];

    qtest_check_eq(qcd_command(d, (Packet){0x4a, 1, [4] = 0x10, [8] = 8}, buf, 8), 8);
    return buf[4];
}

static uint32_t last_sector(Ide *d)
{
    uint8_t buf[8];

    qtest_check_eq(qcd_command(d, (Packet){0x25}, buf, 8), 8);
    return buf[2] << 8 | buf[3];
}

/* The guest's lock and tray are the host's. */
static void test_follows(void)
{
    g_autofree char *path = make_drive(FIRST, 100, "disc");
    Ide d = qcd_open(path, "", ",id=drive");
    json_t *nodes = qtest_qmp(d.q, "query-named-block-nodes", NULL), *node;
    bool found = false;
    size_t i;

    json_array_foreach(nodes, i, node)
    {
        found |= !strcmp(json_string_value(json_object_get(node, "drv")), "host_cdrom");
    }
    json_decref(nodes);
    qtest_check(found);
    qtest_check_eq(last_sector(&d), 99);
    qcd_check_disc(&d, FIRST, 7);
    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    qtest_wait_until(log_is(path, "lock\n"));
    qcd_refused(&d, (Packet){0x1b, [4] = 2}, LOCKED);
    qcd_command(&d, (Packet){0x1e}, NULL, 0);
    qtest_wait_until(log_is(path, "lock\nunlock\n"));
    qcd_command(&d, (Packet){0x1b, [4] = 2}, NULL, 0);
    qtest_wait_until(log_is(path, "lock\nunlock\neject\n"));
    qtest_check_eq(ready(&d), TRAY_OPEN);
    /* Another disc is put in, and the guest closes the tray. */
    g_free(qcd_make_disc("drive.cdrom", SECOND, 300));
    qcd_command(&d, (Packet){0x1b, [4] = 3}, NULL, 0);
    qtest_wait_until(log_is(path, "lock\nunlock\neject\nclose\n"));
    /* No attention tells of it, but an event. */
    uint32_t sense;
    qtest_wait_until((sense = ready(&d)) == 0 || sense == NEW_MEDIUM);
    qtest_check_eq(sense, 0);
    qtest_check_eq(media_event(&d), 2);
    qtest_check_eq(last_sector(&d), 299);
    qcd_check_disc(&d, SECOND, 250);
    /* A reset lets go of the door. */
    qcd_command(&d, (Packet){0x1e, [4] = 1}, NULL, 0);
    qtest_wait_until(log_is(path, "lock\nunlock\neject\nclose\nlock\n"));
    qtest_system_reset(d.q);
    qtest_wait_until(log_is(path, "lock\nunlock\neject\nclose\nlock\nunlock\n"));
    qide_close(&d);
}

/* An empty drive is one to the guest; discs that come and go are told of. */
static void test_discs(void)
{
    g_autofree char *path = make_drive(FIRST, 100, "empty");
    Ide d = qcd_open(path, "", ",id=drive");

    qtest_check_eq(ready(&d), NO_MEDIUM);
    qcd_refused(&d, (Packet){0x25}, NO_MEDIUM);
    set_state(path, "disc", true);
    qtest_wait_until(ready(&d) == NEW_MEDIUM);
    qtest_check_eq(media_event(&d), 2);
    qtest_check_eq(last_sector(&d), 99);
    qcd_check_disc(&d, FIRST, 99);
    /* The button of the host's drive. */
    set_state(path, "open disc", false);
    qtest_wait_until(ready(&d) == NO_MEDIUM);
    qtest_check_eq(media_event(&d), 3);
    /* Another disc, so fast that nobody saw the drive without one. */
    set_state(path, "disc", true);
    qtest_wait_until(ready(&d) == NEW_MEDIUM);
    g_free(qcd_make_disc("drive.cdrom", SECOND, 50));
    set_state(path, "disc", true);
    qtest_wait_until(ready(&d) == NEW_MEDIUM);
    qtest_check_eq(last_sector(&d), 49);
    qcd_check_disc(&d, SECOND, 3);
    qtest_check(log_is(path, ""));
    qide_close(&d);
}

static void check_refused(const char *arguments, const char *want)
{
    g_autofree char *line = g_strdup_printf("-machine pc -nodefaults %s", arguments);
    int status;
    g_autofree char *text = qtest_start_fails(line, &status);

    qtest_check_eq(status, QTEST_NOT_STARTED);
    qtest_check(strstr(text, want));
}

/* 'change', by name and by driver, and what cannot be. */
static void test_change(void)
{
    g_autofree char *path = make_drive(FIRST, 100, "empty");
    g_autofree char *plain = qcd_make_disc("plain.iso", SECOND, 60);
    g_autofree char *line = NULL;
    Ide d = qcd_open(plain, "", "");
    char *said;

    said = qtest_hmp(d.q, "change cd0 %s host_device", path);
    qtest_check(strstr(said, "drive.cdrom': No medium found"));
    g_free(said);
    qcd_check_disc(&d, SECOND, 3);
    set_state(path, "disc", true);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const formats[] = {"", "host_device", "raw"};

        said = qtest_hmp(d.q, "change cd0 %s %s", path, formats[i]);
        qtest_check_str(said, "");
        g_free(said);
        qtest_check_eq(ready(&d), NEW_MEDIUM);
        qcd_check_disc(&d, FIRST, 42);
    }
    said = qtest_hmp(d.q, "eject cd0");
    qtest_check_str(said, "");
    g_free(said);
    qtest_check_eq(ready(&d), TRAY_OPEN);
    qide_close(&d);
    line = g_strdup_printf("-blockdev host_cdrom,node-name=n,read-only=on,filename=%s", plain);
    check_refused(line, "plain.iso' is no CD-ROM drive: use driver 'host_device'");
    check_refused("-blockdev host_cdrom,node-name=n,filename=/nowhere/x", "No such file");
}

/* Linux opens a block device that is read-only for writing. */
static void test_read_only(void)
{
    static const char want[] = "drive.cdrom': the device is read-only: use read-only=on";
    g_autofree char *path = make_drive(FIRST, 100, "disc");
    g_autofree char *hda = g_strdup_printf("-hda %s", path);
    g_autofree char *dev = g_strdup_printf("-blockdev host_device,node-name=n,filename=%s", path);

    check_refused(hda, want);
    check_refused(dev, want);
    qtest_end(qtest_startf(MACHINE "%s,auto-read-only=on", dev));
    qtest_end(qtest_startf(MACHINE "%s,read-only=on", dev));
}

static const QTestCase cases[] = {
    {"follows", test_follows},
    {"discs", test_discs},
    {"change", test_change},
    {"read-only", test_read_only},
    {0},
};

int main(int argc, char **argv)
{
    const char *options = g_getenv("ASAN_OPTIONS");
    g_autofree char *more =
        g_strdup_printf("%s%sverify_asan_link_order=0", options ? options : "", options ? ":" : "");

    g_setenv("ASAN_OPTIONS", more, true);
    g_setenv("LD_PRELOAD", g_getenv("FAKE_CDROM"), true);
    return qtest_run(argc, argv, cases);
}
