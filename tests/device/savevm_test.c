/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots of the machine: savevm, loadvm, delvm, -loadvm, and the jobs. Memory, devices, the
 * virtual clock and the disks come back together, or nothing changes.
 */
#include <fcntl.h>
#include <unistd.h>
#include "qtest_client.h"

enum { RAM = 0x200000, PAGES = 64, PAGE = 4096, SCRATCH = 0x3ff }; /* COM1's scratch register */

static char *tmp_file(const char *name)
{
    return g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
}

static void make_disks(void)
{
    for (const char *name = "ab"; *name; name++) {
        qtest_img("create -q -f qcow2 %s/%c.qcow2 1M", qtest_tmp_dir(), *name);
    }
}

/* A board with the disks 'a' and 'b', or with 'a' alone. */
static QTest *start(const char *disks, const char *more)
{
    GString *args = g_string_new("-machine pc -m 64 -nodefaults -serial null ");
    QTest *q;

    for (const char *d = disks; *d; d++) {
        g_string_append_printf(args, "-drive file=%s/%c.qcow2,if=none,id=%c,node-name=n%c ",
                               qtest_tmp_dir(), *d, *d, *d);
    }
    g_string_append(args, more);
    q = qtest_start(args->str);
    g_string_free(args, TRUE);
    return q;
}

/* Everything that a snapshot has to bring back is 'byte'. */
static void fill(QTest *q, const char *disks, uint8_t byte)
{
    for (unsigned i = 0; i < PAGES; i += 3) {
        qtest_memset(q, RAM + i * PAGE, byte, PAGE);
    }
    qtest_outb(q, SCRATCH, byte);
    for (const char *d = disks; *d; d++) {
        g_autofree char *said = qtest_hmp(q, "qemu-io %c \"write -P %u 4k 128k\"", *d, byte);

        qtest_check(strstr(said, "wrote 131072/131072"));
    }
}

static void check_disks(QTest *q, const char *disks, uint8_t byte)
{
    for (const char *d = disks; *d; d++) {
        g_autofree char *said = qtest_hmp(q, "qemu-io %c \"read -P %u 4k 128k\"", *d, byte);

        qtest_check(strstr(said, "read 131072/131072") && !strstr(said, "failed"));
    }
}

static void check_filled(QTest *q, const char *disks, uint8_t byte)
{
    uint8_t page[PAGE];

    for (unsigned i = 0; i < PAGES; i++) {
        uint8_t want = i % 3 ? 0 : byte;

        qtest_read(q, RAM + i * PAGE, page, sizeof page);
        qtest_check_eq(page[0], want);
        qtest_check(memcmp(page, page + 1, PAGE - 1) == 0);
    }
    qtest_check_eq(qtest_inb(q, SCRATCH), byte);
    check_disks(q, disks, byte);
}

/* An HMP command that says nothing. */
static void hmp(QTest *q, const char *line)
{
    g_autofree char *said = qtest_hmp(q, "%s", line);

    qtest_check_str(said, "");
}

static void hmp_fails(QTest *q, const char *line, const char *why)
{
    g_autofree char *said = qtest_hmp(q, "%s", line);

    if (!g_str_has_prefix(said, "Error: ") || !strstr(said, why)) {
        qtest_fail(__FILE__, __LINE__, "'%s' said '%s', not '%s'", line, said, why);
    }
}

/* How many snapshots of the name the image has, as another program counts them. */
static unsigned count_snapshots(char disk, const char *name)
{
    g_autofree char *line = g_strdup_printf("%s snapshot -U -l %s/%c.qcow2",
                                            g_getenv("VMM_IMG_BINARY"), qtest_tmp_dir(), disk);
    g_autofree char *text = NULL, *word = g_strdup_printf(" %s ", name);
    unsigned count = 0;

    qtest_check(g_spawn_command_line_sync(line, &text, NULL, NULL, NULL));
    for (char *at = text; (at = strstr(at, word)); at++) {
        count++;
    }
    return count;
}

static void check_images(void)
{
    qtest_img("check -q %s/a.qcow2", qtest_tmp_dir());
    qtest_img("check -q %s/b.qcow2", qtest_tmp_dir());
}

/* All of it comes back, also from a snapshot that another one came after. */
static void test_comes_back(void)
{
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    qtest_clock_step(q, 5000000);
    hmp(q, "savevm one");
    fill(q, "ab", 2);
    qtest_clock_step(q, 5000000);
    hmp(q, "savevm two");
    fill(q, "ab", 3);
    hmp(q, "loadvm one");
    check_filled(q, "ab", 1);
    qtest_check_eq(qtest_clock_step(q, 0), 5000000);
    hmp(q, "loadvm two");
    check_filled(q, "ab", 2);
    qtest_check_eq(qtest_clock_step(q, 0), 10000000);
    fill(q, "ab", 4);
    hmp(q, "loadvm two");
    check_filled(q, "ab", 2);
    hmp(q, "delvm two");
    hmp_fails(q, "loadvm two", "Snapshot 'two' does not exist in one or more devices");
    check_filled(q, "ab", 2);
    qtest_end(q);
    check_images();
    qtest_check_eq(count_snapshots('a', "one") + count_snapshots('b', "one"), 2);
    qtest_check_eq(count_snapshots('a', "two") + count_snapshots('b', "two"), 0);
}

/* Another process goes on from it. */
static void test_at_start(void)
{
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    hmp(q, "savevm one");
    fill(q, "ab", 2);
    qtest_end(q);
    q = start("ab", "-loadvm one");
    check_filled(q, "ab", 1);
    qtest_end(q);
    check_images();
}

/* Clones: several programs go on from one image, which none of them changes. */
static void test_clones(void)
{
    QTest *q, *clones[3];

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    hmp(q, "savevm one");
    fill(q, "ab", 2);
    /* The disks get longer: a clone's are as long as they were. */
    json_decref(qtest_qmp(q, "block_resize", "{s:s,s:i}", "device", "a", "size", 3 << 20));
    qtest_end(q);
    for (unsigned i = 0; i < G_N_ELEMENTS(clones); i++) {
        clones[i] = start("ab", "-snapshot -loadvm one");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(clones); i++) {
        g_autofree char *said = NULL;

        check_filled(clones[i], "ab", 1);
        said = qtest_hmp(clones[i], "qemu-io a \"length\"");
        qtest_check(g_str_has_prefix(said, "1 MiB"));
        fill(clones[i], "ab", 5 + i);
    }
    hmp(clones[0], "savevm two");
    fill(clones[0], "ab", 9);
    hmp(clones[0], "loadvm two");
    check_filled(clones[0], "ab", 5);
    for (unsigned i = 0; i < G_N_ELEMENTS(clones); i++) {
        check_filled(clones[i], "ab", 5 + i);
        qtest_end(clones[i]);
    }
    q = start("ab", "");
    check_disks(q, "ab", 2);
    qtest_end(q);
    check_images();
}

static void test_names(void)
{
    g_autofree char *list = NULL;
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    hmp(q, "savevm x");
    fill(q, "ab", 2);
    hmp(q, "savevm x");
    qtest_check_eq(count_snapshots('a', "x") + count_snapshots('b', "x"), 2);
    fill(q, "ab", 3);
    hmp(q, "loadvm x");
    check_filled(q, "ab", 2);
    hmp(q, "savevm");
    list = qtest_hmp(q, "info snapshots");
    qtest_check(strstr(list, " vm-20"));
    hmp(q, "delvm never-there");
    qtest_end(q);
    check_images();
}

/* A board whose disk 'broken' fails once, at the event. */
static QTest *start_broken(char broken, const char *event)
{
    g_autofree char *args = g_strdup_printf(
        "-drive file.driver=blkdebug,file.image.driver=file,file.image.filename=%s/%c.qcow2,"
        "format=qcow2,if=none,id=%c,node-name=n%c,file.inject-error.0.event=%s,"
        "file.inject-error.0.errno=28,file.inject-error.0.once=on",
        qtest_tmp_dir(), broken, broken, broken, event);

    return start(broken == 'a' ? "b" : "a", args);
}

/* An image of blockdev-add that no device uses is a disk of the machine, for all commands alike. */
static void test_nodes_alone(void)
{
    QTest *q;

    make_disks();
    q = start("a", "");
    json_decref(qtest_qmp(q, "blockdev-add", "{s:s,s:s,s:{s:s,s:o}}", "driver", "qcow2",
                          "node-name", "nb", "file", "driver", "file", "filename",
                          json_sprintf("%s/b.qcow2", qtest_tmp_dir())));
    hmp(q, "savevm one");
    qtest_check_eq(count_snapshots('a', "one"), 1);
    qtest_check_eq(count_snapshots('b', "one"), 1);
    hmp(q, "loadvm one");
    hmp(q, "delvm one");
    qtest_check_eq(count_snapshots('a', "one") + count_snapshots('b', "one"), 0);
    json_decref(qtest_qmp(q, "blockdev-add", "{s:s,s:s,s:b}", "driver", "null-co", "node-name", "n",
                          "read-zeroes", 1));
    hmp_fails(q, "savevm one", "Device 'n' is writable but does not support snapshots");
    json_decref(qtest_qmp(q, "blockdev-del", "{s:s}", "node-name", "n"));
    hmp(q, "savevm one");
    qtest_end(q);
    check_images();
}

/* Of the places where a disk fails, as each takes the start of four programs. */
static unsigned one_in(void)
{
    return qtest_sanitized() ? 3 : 1;
}

/* A save that fails leaves nothing of it: the machine goes on, and older snapshots are there. */
static void test_failing_saves(void)
{
    static const char *const events[] = {
        "pwritev",
        "vmstate_save",
        "l1_grow_alloc_table",
        "l1_grow_write_table",
        "l2_alloc_write",
        "refblock_alloc_write",
        "refblock_update_part",
        "cluster_alloc",
        "l1_update",
        "l2_update",
        "flush_to_disk",
        "flush_to_os",
        "cluster_free",
        "reftable_grow",
        "l1_grow_activate_table",
        "write_aio",
    };
    unsigned failed = 0;
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    hmp(q, "savevm old");
    qtest_end(q);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(events); i += one_in()) {
        g_autofree char *said = NULL;

        q = start_broken("ab"[i % 2], events[i / 2]);
        fill(q, "", 2);
        said = qtest_hmp(q, "savevm new");
        if (*said) {
            failed++;
            check_filled(q, "", 2);
            qtest_check(g_str_has_prefix(said, "Error: "));
            hmp(q, "loadvm old");
            check_filled(q, "", 1);
        } else {
            hmp(q, "delvm new");
        }
        qtest_end(q);
        qtest_check_eq(count_snapshots('a', "new") + count_snapshots('b', "new"), 0);
        qtest_check_eq(count_snapshots('a', "old") + count_snapshots('b', "old"), 2);
        check_images();
        q = start("ab", "");
        check_disks(q, "ab", 1);
        qtest_end(q);
    }
    qtest_check_ge(failed, 6 / one_in());
}

/* Memory of many pieces: each page of its own content, and pages without any. */
enum { BULK = 0x400000, BULK_SIZE = 0x2000000, BULK_STEP = 20 * 1024 };

static uint32_t bulk_word(uint32_t at, uint32_t seed)
{
    return at % 7 ? at * 2654435761u + seed : 0;
}

static void fill_bulk(QTest *q, uint32_t seed)
{
    for (uint32_t at = 0; at < BULK_SIZE; at += 0x200000) {
        qtest_memset(q, BULK + at, 0, 0x200000);
    }
    for (uint32_t at = 0; at < BULK_SIZE; at += BULK_STEP) {
        qtest_writel(q, BULK + at, bulk_word(at, seed));
    }
    for (uint32_t at = BULK_SIZE / 2; at < BULK_SIZE; at += 0x200000) {
        qtest_memset(q, BULK + at, seed, 0x200000);
    }
}

static void check_bulk(QTest *q, uint32_t seed)
{
    for (uint32_t at = 0; at < BULK_SIZE / 2; at += BULK_STEP) {
        qtest_check_eq(qtest_readl(q, BULK + at), bulk_word(at, seed));
    }
    for (uint32_t at = BULK_SIZE / 2; at < BULK_SIZE; at += 0x10000) {
        qtest_check_eq(qtest_readl(q, BULK + at), seed * 0x01010101u);
    }
}

/* The disk 'a' fails once: at 'event', once 'counted' has come for the third time. */
static QTest *start_broken_late(const char *counted, const char *event)
{
    GString *args = g_string_new("-drive format=qcow2,if=none,id=a,node-name=na,");
    QTest *q;

    g_string_append_printf(args,
                           "file.driver=blkdebug,file.image.driver=file,"
                           "file.image.filename=%s/a.qcow2,",
                           qtest_tmp_dir());
    for (unsigned i = 1; i <= 3; i++) {
        g_string_append_printf(args,
                               "file.set-state.%u.event=%s,file.set-state.%u.state=%u,"
                               "file.set-state.%u.new_state=%u,",
                               i - 1, counted, i - 1, i, i - 1, i + 1);
    }
    g_string_append_printf(args,
                           "file.inject-error.0.event=%s,file.inject-error.0.state=4,"
                           "file.inject-error.0.once=on",
                           event);
    q = start("", args->str);
    g_string_free(args, TRUE);
    return q;
}

/* An error in a late piece, while others are under way. */
static void test_many_pieces(void)
{
    QTest *q;

    make_disks();
    q = start("a", "");
    fill_bulk(q, 1);
    hmp(q, "savevm one");
    fill_bulk(q, 2);
    hmp(q, "savevm two");
    hmp(q, "loadvm one");
    check_bulk(q, 1);
    hmp(q, "loadvm two");
    check_bulk(q, 2);
    qtest_end(q);
    for (unsigned i = 0; i < 2; i++) {
        q = start_broken_late(i ? "vmstate_load" : "vmstate_save", i ? "read_aio" : "write_aio");
        if (i) {
            g_autofree char *said = qtest_hmp(q, "loadvm one");
            g_autofree char *status = qtest_hmp(q, "info status");

            qtest_check(strstr(said, "Could not read the machine's state from 'a'"));
            qtest_check(strstr(status, "internal-error"));
            hmp(q, "loadvm two");
            check_bulk(q, 2);
        } else {
            fill_bulk(q, 3);
            hmp_fails(q, "savevm one", "Could not write the machine's state to 'a'");
            check_bulk(q, 3);
            hmp(q, "savevm three");
            hmp(q, "loadvm one");
            check_bulk(q, 1);
            hmp(q, "loadvm three");
            check_bulk(q, 3);
        }
        qtest_end(q);
        check_images();
    }
}

/* Memory that has a file, which others may share: what was not touched is not, afterwards. */
static void test_shared_memory(void)
{
    static const char *const backends[] = {"memory-backend-memfd,share=on",
                                           "memory-backend-memfd,share=off",
                                           "memory-backend-ram,share=on"};

    for (unsigned i = 0; i < G_N_ELEMENTS(backends); i++) {
        g_autofree char *args =
            g_strdup_printf("-object %s,id=m,size=64M -machine memory-backend=m", backends[i]);
        QTest *q;

        make_disks();
        q = start("a", args);
        fill(q, "a", 1);
        fill_bulk(q, 1);
        hmp(q, "savevm one");
        fill_bulk(q, 2);
        qtest_memset(q, 0x3000000, 7, 0x100000);
        hmp(q, "loadvm one");
        check_bulk(q, 1);
        check_filled(q, "a", 1);
        qtest_check_eq(qtest_readl(q, 0x3000000), 0);
        qtest_end(q);
    }
}

/* The disks of a load that fails are what they were, all of them. */
static void test_failing_loads(void)
{
    static const char *const events[] = {"pwritev",  "flush_to_disk", "vmstate_load",
                                         "read_aio", "l1_update",     "refblock_update_part"};
    unsigned failed = 0;
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    hmp(q, "savevm old");
    fill(q, "ab", 2);
    qtest_end(q);
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(events); i += one_in()) {
        g_autofree char *said = NULL;

        q = start_broken("ab"[i % 2], events[i / 2]);
        fill(q, "", 2);
        said = qtest_hmp(q, "loadvm old");
        failed += *said != 0;
        check_filled(q, "", *said ? 2 : 1);
        qtest_end(q);
        check_images();
        q = start("ab", "");
        check_disks(q, "ab", *said ? 2 : 1);
        fill(q, "ab", 2);
        qtest_end(q);
    }
    qtest_check_ge(failed, 4 / one_in());
}

/* A disk that is busy is named, and the machine goes on. */
static void test_busy(void)
{
    g_autofree char *socket = tmp_file("nbd");
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    hmp(q, "savevm x");
    json_decref(qtest_qmp(q, "drive-backup", "{s:s,s:s,s:s,s:s,s:i}", "device", "b", "target",
                          tmp_file("t"), "sync", "full", "format", "raw", "speed", 1));
    hmp_fails(q, "savevm y", "Node 'nb' is busy: block device is in use by block job: backup");
    hmp_fails(q, "loadvm x", "Node 'nb' is busy: block device is in use by block job: backup");
    hmp_fails(q, "delvm x", "Node 'nb' is busy: block device is in use by block job: backup");
    json_decref(qtest_qmp(q, "block-job-cancel", "{s:s}", "device", "b"));
    json_decref(qtest_wait_event(q, "BLOCK_JOB_CANCELLED"));
    json_decref(qtest_qmp(q, "nbd-server-start", "{s:{s:s,s:{s:s}}}", "addr", "type", "unix",
                          "data", "path", socket));
    json_decref(qtest_qmp(q, "block-export-add", "{s:s,s:s,s:s}", "type", "nbd", "id", "e0",
                          "node-name", "nb"));
    hmp_fails(q, "savevm y", "it is exported as 'e0'");
    hmp_fails(q, "loadvm x", "it is exported as 'e0'");
    json_decref(qtest_qmp(q, "block-export-del", "{s:s}", "id", "e0"));
    json_decref(qtest_wait_event(q, "BLOCK_EXPORT_DELETED"));
    fill(q, "ab", 2);
    hmp(q, "loadvm x");
    check_filled(q, "ab", 1);
    qtest_end(q);
    check_images();
}

/* Bytes of the saved machine are changed in the image: refused, and the machine is what it was. */
static void test_hostile(void)
{
    g_autofree char *path = tmp_file("a.qcow2"), *content = NULL;
    unsigned refused = 0;
    gsize len, at;
    QTest *q;

    qtest_img("create -q -f qcow2 %s 1M", path);
    q = start("a", "");
    fill(q, "a", 1);
    hmp(q, "savevm x");
    qtest_end(q);
    qtest_check(g_file_get_contents(path, &content, &len, NULL));
    for (at = 0; memcmp(content + at, "VMMSTATE", 8); at += 512) {
        qtest_check(at + 512 < len);
    }
    for (unsigned i = 0; i < 40; i++) {
        /* The header, and every so often a byte of the devices' state. */
        gsize where = at + (i < 24 ? i : 24 + (i - 24) * 97);
        g_autofree char *said = NULL;

        content[where] ^= 0x5a;
        qtest_check(g_file_set_contents(path, content, len, NULL));
        content[where] ^= 0x5a;
        q = start("a", "");
        fill(q, "a", 7);
        said = qtest_hmp(q, "loadvm x");
        if (*said) {
            refused++;
            check_filled(q, "a", 7);
        }
        qtest_end(q);
    }
    qtest_check_ge(refused, 20);
}

static void wait_job(QTest *q, const char *id, const char *error)
{
    json_t *jobs = NULL, *job = NULL;

    for (;;) {
        size_t i;

        jobs = qtest_qmp(q, "query-jobs", NULL);
        json_array_foreach(jobs, i, job)
        {
            if (!g_strcmp0(json_string_value(json_object_get(job, "id")), id)) {
                break;
            }
        }
        qtest_check(i < json_array_size(jobs));
        if (!g_strcmp0(json_string_value(json_object_get(job, "status")), "concluded")) {
            break;
        }
        json_decref(jobs);
    }
    qtest_check_str(json_string_value(json_object_get(job, "error")), error);
    json_decref(jobs);
    json_decref(qtest_qmp(q, "job-dismiss", "{s:s}", "id", id));
}

static void job(QTest *q, const char *command, const char *tag, const char *error)
{
    json_decref(qtest_qmp(q, command, "{s:s,s:s,s:s,s:[s,s]}", "job-id", "j", "tag", tag, "vmstate",
                          "nb", "devices", "na", "nb"));
    wait_job(q, "j", error);
}

static void test_jobs(void)
{
    QTest *q;

    make_disks();
    q = start("ab", "");
    fill(q, "ab", 1);
    job(q, "snapshot-save", "x", NULL);
    job(q, "snapshot-save", "x", "Snapshot 'x' already exists in one or more devices");
    fill(q, "ab", 2);
    job(q, "snapshot-load", "x", NULL);
    check_filled(q, "ab", 1);
    /* The state is in the second disk, where HMP finds it. */
    fill(q, "ab", 2);
    hmp(q, "loadvm x");
    check_filled(q, "ab", 1);
    job(q, "snapshot-load", "y",
        "Snapshot 'y' does not exist in one or more devices: 'na' has none of that name");
    json_decref(qtest_qmp(q, "snapshot-delete", "{s:s,s:s,s:[s,s]}", "job-id", "j", "tag", "x",
                          "devices", "na", "nb"));
    wait_job(q, "j", NULL);
    json_decref(qtest_qmp(q, "snapshot-save", "{s:s,s:s,s:s,s:[s]}", "job-id", "j", "tag", "z",
                          "vmstate", "nb", "devices", "na"));
    wait_job(q, "j", "vmstate block device 'nb' does not exist");
    json_decref(qtest_qmp(q, "snapshot-save", "{s:s,s:s,s:s,s:[s]}", "job-id", "j", "tag", "z",
                          "vmstate", "na", "devices", "nope"));
    wait_job(q, "j", "No block device node 'nope'");
    qtest_end(q);
    check_images();
    qtest_check_eq(count_snapshots('a', "x") + count_snapshots('b', "x"), 0);
}

static const QTestCase cases[] = {{"comes_back", test_comes_back},
                                  {"at_start", test_at_start},
                                  {"clones", test_clones},
                                  {"names", test_names},
                                  {"nodes_alone", test_nodes_alone},
                                  {"failing_saves", test_failing_saves},
                                  {"failing_loads", test_failing_loads},
                                  {"many_pieces", test_many_pieces},
                                  {"shared_memory", test_shared_memory},
                                  {"busy", test_busy},
                                  {"hostile", test_hostile},
                                  {"jobs", test_jobs},
                                  {0}};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
