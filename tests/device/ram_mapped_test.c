/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that is mapped from a snapshot's image: it is the same, byte for byte, as memory that was
 * read, whatever becomes of image, snapshot and memory afterwards.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include "qvirtio.h"

enum {
    MIB = 1 << 20,
    BASE = 8 * MIB,
    SIZE = 4 * MIB, /* from BASE on */
    PAGE = 4096,
    HOLE = 2 * MIB,  /* behind BASE: a MiB without anything in it */
    LONE = 48 * MIB, /* every second page: too short to be mapped */
    LONE_PAGES = 32
};

static char *image_path(const char *name)
{
    return g_strdup_printf("%s/%s", qtest_tmp_dir(), name);
}

static void make_image(const char *options)
{
    qtest_img("create -q -f qcow2 %s %s/a.qcow2 8M", options, qtest_tmp_dir());
}

static QTest *start_with(const char *drive, const char *more)
{
    g_autofree char *args = g_strdup_printf("-machine pc -m 64 -nodefaults -serial null "
                                            "-drive file=%s/a.qcow2,if=none,id=a,node-name=na%s %s",
                                            qtest_tmp_dir(), drive, more);

    return qtest_start(args);
}

static QTest *start(const char *more)
{
    return start_with("", more);
}

static void hmp(QTest *q, const char *line)
{
    g_autofree char *said = qtest_hmp(q, "%s", line);

    qtest_check_str(said, "");
}

/* What memory holds: numbers that differ from word to word. */
static void make_content(uint32_t *words, uint32_t seed)
{
    for (uint32_t i = 0; i < SIZE / 4; i++) {
        words[i] = (i + 1) * 2654435761u ^ seed;
    }
    memset((uint8_t *)words + HOLE, 0, MIB);
}

static void put_content(QTest *q, const uint32_t *words, uint32_t seed)
{
    for (uint32_t at = 0; at < SIZE; at += MIB) {
        qtest_write(q, BASE + at, (const uint8_t *)words + at, MIB);
    }
    for (unsigned i = 0; i < LONE_PAGES; i++) {
        qtest_memset(q, LONE + 2 * i * PAGE, seed + i + 1, PAGE);
    }
}

static void check_content(QTest *q, const uint32_t *words, uint32_t seed)
{
    g_autofree uint8_t *found = g_malloc(MIB);

    for (uint32_t at = 0; at < SIZE; at += MIB) {
        qtest_read(q, BASE + at, found, MIB);
        qtest_check_mem(found, (const uint8_t *)words + at, MIB);
    }
    for (unsigned i = 0; i < 2 * LONE_PAGES; i++) {
        uint8_t want = i % 2 ? 0 : seed + i / 2 + 1;

        qtest_read(q, LONE + i * PAGE, found, PAGE);
        qtest_check_eq(found[0], want);
        qtest_check(memcmp(found, found + 1, PAGE - 1) == 0);
    }
}

/* Bytes of the image that the program maps. */
static uint64_t mapped(QTest *q)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", qtest_pid(q)), *text = NULL;
    g_auto(GStrv) lines = NULL;
    uint64_t bytes = 0;

    qtest_check(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        char *end;
        uint64_t from = g_ascii_strtoull(*line, &end, 16);

        if (strstr(*line, ".qcow2") || strstr(*line, "/vl.")) {
            bytes += g_ascii_strtoull(end + 1, NULL, 16) - from;
        }
    }
    return bytes;
}

static uint32_t *new_content(uint32_t seed)
{
    uint32_t *words = g_malloc(SIZE);

    make_content(words, seed);
    return words;
}

/* An image whose snapshot 'one' has this content; the machine that made it has another by then. */
static uint32_t *make_snapshot(const char *options, const char *more)
{
    g_autofree uint32_t *other = new_content(99);
    uint32_t *words = new_content(1);
    QTest *q;

    make_image(options);
    q = start(more);
    put_content(q, words, 1);
    hmp(q, "savevm one");
    put_content(q, other, 99);
    qtest_end(q);
    return words;
}

static void check_image(void)
{
    qtest_img("check -q %s/a.qcow2", qtest_tmp_dir());
}

/* It is mapped, is the same, stays so after writes, is saved again, and another load is right. */
static void test_same(void)
{
    g_autofree uint32_t *one = make_snapshot("", ""), *two = new_content(2);
    QTest *q = start("-loadvm one");

    qtest_check_ge(mapped(q), SIZE - MIB - 256 * 1024);
    check_content(q, one, 1);
    for (uint32_t at = 0; at < SIZE; at += 5 * PAGE) {
        qtest_writel(q, BASE + at + 12, two[at / 4]);
        one[at / 4 + 3] = two[at / 4];
    }
    check_content(q, one, 1);
    hmp(q, "savevm two");
    put_content(q, two, 2);
    hmp(q, "loadvm two");
    qtest_check_ge(mapped(q), SIZE - MIB - 256 * 1024);
    check_content(q, one, 1);
    hmp(q, "loadvm one");
    make_content(one, 1);
    check_content(q, one, 1);
    qtest_end(q);
    check_image();
}

static void info_says(QTest *q, const char *what)
{
    g_autofree char *said = qtest_hmp(q, "info snapshots -v");

    if (!strstr(said, what)) {
        qtest_fail(__FILE__, __LINE__, "'info snapshots -v' said '%s', not '%s'", said, what);
    }
}

/* Pages that nobody has touched since the load are saved, and dumped. */
static void test_untouched(void)
{
    g_autofree uint32_t *one = make_snapshot("", "");
    g_autofree char *file = image_path("memory"), *dump = NULL;
    QTest *q = start("-loadvm one");
    gsize len;

    hmp(q, "savevm two");
    qtest_end(q);
    q = start("-loadvm two");
    info_says(q, "'one' on 'a': is mapped when it is loaded (");
    info_says(q, " MiB of memory are mapped from the image of disk 'a' (");
    json_decref(
        qtest_qmp(q, "pmemsave", "{s:i,s:i,s:s}", "val", BASE, "size", SIZE, "filename", file));
    qtest_check(g_file_get_contents(file, &dump, &len, NULL));
    qtest_check_eq(len, SIZE);
    qtest_check_mem(dump, one, SIZE);
    check_content(q, one, 1);
    qtest_end(q);
}

/* Whatever ends the snapshot: nothing is mapped then, and the image may be written all over. */
typedef enum { DELVM, DELETE_JOB, DELETE_INTERNAL, SAVE_AGAIN, DRIVE_DEL, EJECT } End;

static void end_snapshot(QTest *q, End how)
{
    json_t *answer = NULL;

    switch (how) {
    case DELVM:
        hmp(q, "delvm one");
        return;
    case DELETE_JOB:
        json_decref(qtest_qmp(q, "snapshot-delete", "{s:s,s:s,s:[s]}", "job-id", "j", "tag", "one",
                              "devices", "na"));
        do {
            json_decref(answer);
            answer = qtest_qmp(q, "query-jobs", NULL);
        } while (g_strcmp0(json_string_value(json_object_get(json_array_get(answer, 0), "status")),
                           "concluded"));
        qtest_check(!json_object_get(json_array_get(answer, 0), "error"));
        json_decref(answer);
        return;
    case DELETE_INTERNAL:
        json_decref(qtest_qmp(q, "blockdev-snapshot-delete-internal-sync", "{s:s,s:s}", "device",
                              "a", "name", "one"));
        return;
    case SAVE_AGAIN:
        hmp(q, "savevm one");
        return;
    case DRIVE_DEL:
        hmp(q, "drive_del a");
        return;
    case EJECT:
        hmp(q, "eject -f a");
        return;
    }
}

static void end_snapshot_and_check(End how, bool running)
{
    g_autofree uint32_t *one = make_snapshot("", ""), *two = new_content(2);
    g_autofree char *path = image_path("a.qcow2");
    QTest *q = start("-loadvm one");

    if (!running) {
        hmp(q, "stop");
    }
    /* Pages that were written are not the image's. */
    for (uint32_t at = 0; at < SIZE; at += 16 * PAGE) {
        qtest_writel(q, BASE + at, two[at / 4]);
        one[at / 4] = two[at / 4];
    }
    qtest_check_ge(mapped(q), SIZE - MIB - 256 * 1024);
    end_snapshot(q, how);
    qtest_check_eq(mapped(q), 0);
    if (how != DRIVE_DEL && how != EJECT) {
        g_autofree char *said = qtest_hmp(q, "qemu-io a \"write -P 90 0 8M\"");

        qtest_check(strstr(said, "wrote 8388608/8388608"));
    } else {
        /* Nobody has the image any more, and it may become another file's content. */
        qtest_img("create -q -f qcow2 %s 1M", path);
        qtest_check_eq(truncate(path, 0), 0);
    }
    check_content(q, one, 1);
    qtest_end(q);
    if (how != DRIVE_DEL && how != EJECT) {
        check_image();
    }
}

static void test_delvm(void)
{
    end_snapshot_and_check(DELVM, true);
    end_snapshot_and_check(DELVM, false);
}

static void test_delete_job(void)
{
    end_snapshot_and_check(DELETE_JOB, true);
}

static void test_delete_internal(void)
{
    end_snapshot_and_check(DELETE_INTERNAL, true);
}

static void test_save_again(void)
{
    end_snapshot_and_check(SAVE_AGAIN, true);
}

static void test_drive_del(void)
{
    end_snapshot_and_check(DRIVE_DEL, true);
}

static void test_eject(void)
{
    end_snapshot_and_check(EJECT, false);
}

/* Another snapshot of the image may go; so may a node of blockdev-add, which is let go of first. */
static void test_others(void)
{
    g_autofree uint32_t *one = new_content(1);
    g_autofree char *args = NULL;
    json_t *nodes;
    QTest *q;

    make_image("");
    args = g_strdup_printf("-machine pc -m 64 -nodefaults -serial null -blockdev "
                           "driver=qcow2,node-name=na,file.driver=file,file.filename=%s/a.qcow2",
                           qtest_tmp_dir());
    q = qtest_start(args);
    put_content(q, one, 1);
    hmp(q, "savevm other");
    hmp(q, "savevm one");
    hmp(q, "loadvm one");
    qtest_check_ge(mapped(q), SIZE - MIB - 256 * 1024);
    hmp(q, "delvm other");
    qtest_check_ge(mapped(q), SIZE - MIB - 256 * 1024);
    json_decref(qtest_qmp(q, "blockdev-del", "{s:s}", "node-name", "na"));
    qtest_check_eq(mapped(q), 0);
    nodes = qtest_qmp(q, "query-named-block-nodes", NULL);
    qtest_check_eq(json_array_size(nodes), 0);
    json_decref(nodes);
    check_content(q, one, 1);
    qtest_end(q);
    check_image();
}

/* A disk that the guest lets go of: the image is closed by itself, once nothing is mapped. */
static void test_unplug(void)
{
    g_autofree uint32_t *one = new_content(1);
    json_t *nodes = NULL;
    QTest *q;

    make_image("");
    q = start("-device virtio-blk-pci,drive=a,id=d,addr=6");
    put_content(q, one, 1);
    hmp(q, "savevm one");
    hmp(q, "loadvm one");
    json_decref(qtest_qmp(q, "device_del", "{s:s}", "id", "d"));
    qtest_outl(q, 0xae08, 1 << 6); /* the guest ejects the slot */
    json_decref(qtest_wait_event(q, "DEVICE_DELETED"));
    for (unsigned i = 0; i < 3000 && (!nodes || json_array_size(nodes)); i++) {
        json_decref(nodes);
        nodes = qtest_qmp(q, "query-named-block-nodes", NULL);
    }
    qtest_check_eq(json_array_size(nodes), 0);
    json_decref(nodes);
    qtest_check_eq(mapped(q), 0);
    check_content(q, one, 1);
    qtest_end(q);
}

/* Pages that the guest gives away are zeroes, not the snapshot's. */
static void test_balloon(void)
{
    const char *device = "-device virtio-balloon-pci,addr=5,free-page-reporting=on";
    g_autofree uint32_t *one = make_snapshot("", device);
    g_autofree char *args = g_strdup_printf("%s -loadvm one", device);
    QTest *q = start(args);
    QVirtio v;
    QVirtq inflate, deflate, reporting;
    uint64_t list = qtest_alloc(q, 4096, 4096);

    qv_open(q, &v, 5, false);
    qv_init(&v, 1ull << 1 | 1ull << 5);
    qv_queue(&v, &inflate, 0);
    qv_queue(&v, &deflate, 1);
    qv_queue(&v, &reporting, 3);
    qv_driver_ok(&v);
    for (unsigned i = 0; i < 300; i++) { /* single pages, and a run */
        unsigned page = i < 100 ? 20 + 2 * i : 200 + i;

        qtest_writel(q, list + 4 * i, (BASE + page * PAGE) / PAGE);
        memset((uint8_t *)one + page * PAGE, 0, PAGE);
    }
    qv_do(&inflate, &(QPiece){list, 1200, false}, 1);
    qv_do(&reporting, &(QPiece){BASE + 3 * MIB, MIB, true}, 1);
    memset((uint8_t *)one + 3 * MIB, 0, MIB);
    check_content(q, one, 1);
    qtest_memset(q, BASE + 3 * MIB, 0x77, PAGE);
    memset((uint8_t *)one + 3 * MIB, 0x77, PAGE);
    hmp(q, "savevm two");
    hmp(q, "delvm one");
    qtest_check_eq(mapped(q), 0);
    check_content(q, one, 1);
    hmp(q, "loadvm two");
    check_content(q, one, 1);
    qtest_end(q);
}

/* What cannot be mapped is read, and the same. */
static void test_read(void)
{
    /* A screen's memory could be mapped where the guest's cannot. */
    static const char ours[] = "this machine's memory is shared, preallocated, locked, or from a "
                               "file",
                      screen[] = "-device VGA,romfile= -machine memory-backend=m -object";
    static const struct {
        const char *options, *drive, *memory, *why;
    } kinds[] = {
        {"", ",file.locking=off", NULL, "its file is not locked"},
        {"-o cluster_size=512", "", NULL, NULL},
        {"", "", "memfd,id=m,size=64M", ours},
        {"", "", "ram,id=m,size=64M,prealloc=on", ours},
        {"", "", "ram,id=m,size=64M,share=on", ours},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *machine =
            kinds[i].memory ? g_strdup_printf("%s memory-backend-%s", screen, kinds[i].memory)
                            : g_strdup("");
        g_autofree uint32_t *one = make_snapshot(kinds[i].options, machine);
        g_autofree char *args = g_strdup_printf("%s -loadvm one", machine);
        QTest *q = start_with(kinds[i].drive, args);

        if (kinds[i].why) {
            g_autofree char *said =
                g_strdup_printf("'one' on 'a': is read when it is loaded: %s", kinds[i].why);

            info_says(q, said);
            qtest_check_eq(mapped(q), 0);
        } else {
            /* The clusters of 512 bytes may well lie one behind the other. */
            info_says(q, mapped(q) ? "'one' on 'a': is mapped" : "'one' on 'a': is read");
        }
        check_content(q, one, 1);
        qtest_end(q);
    }
}

/* Private memory of the process, in KiB. */
static unsigned private_kib(QTest *q)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps_rollup", qtest_pid(q)), *text = NULL;
    static const char *const fields[] = {"Private_Dirty:", "Private_Clean:"};
    unsigned kib = 0;

    qtest_check(g_file_get_contents(path, &text, NULL, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        kib += g_ascii_strtoull(strstr(text, fields[i]) + strlen(fields[i]), NULL, 10);
    }
    return kib;
}

/* A sanitizer takes memory of its own. */
static unsigned private_most(void)
{
    return (qtest_sanitized() ? 160 : 20) * 1024;
}

/* Clones have in common what they have not written. */
static void test_clones(void)
{
    g_autofree uint32_t *one = make_snapshot("", ""), *two = new_content(2);
    QTest *clones[4];

    for (unsigned i = 0; i < G_N_ELEMENTS(clones); i++) {
        clones[i] = start("-snapshot -loadvm one");
        qtest_check_ge(mapped(clones[i]), SIZE - MIB - 256 * 1024);
        qtest_check_lt(private_kib(clones[i]), private_most());
    }
    put_content(clones[1], two, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(clones); i++) {
        check_content(clones[i], i == 1 ? two : one, i == 1 ? 2 : 1);
    }
    hmp(clones[1], "savevm two");
    put_content(clones[1], one, 1);
    hmp(clones[1], "loadvm two");
    check_content(clones[1], two, 2);
    hmp(clones[1], "delvm two");
    check_content(clones[1], two, 2);
    for (unsigned i = 0; i < G_N_ELEMENTS(clones); i++) {
        qtest_end(clones[i]);
    }
    check_image();
}

static const char *state_of(QTest *q)
{
    static char state[32];
    json_t *status = qtest_qmp(q, "query-status", NULL);

    g_strlcpy(state, json_string_value(json_object_get(status, "status")), sizeof state);
    json_decref(status);
    return state;
}

static void hmp_fails(QTest *q, const char *line, const char *why)
{
    g_autofree char *said = qtest_hmp(q, "%s", line);

    if (!strstr(said, why)) {
        qtest_fail(__FILE__, __LINE__, "'%s' said '%s', not '%s'", line, said, why);
    }
}

/* The image loses its end, behind the program's back; a copy has it. */
static QTest *start_cut(const uint32_t *one, const char *copy, const char *more)
{
    g_autofree char *path = image_path("a.qcow2"), *content = NULL;
    g_autofree char *args = g_strdup_printf("%s -loadvm one", more);
    QTest *q = start(args);
    const char *at;
    gsize len;

    qtest_check_ge(mapped(q), SIZE - MIB - 256 * 1024);
    qtest_check(g_file_get_contents(path, &content, &len, NULL));
    qtest_check(g_file_set_contents(copy, content, len, NULL));
    at = memmem(content, len, one + 3 * MIB / 4, PAGE);
    qtest_check(at);
    qtest_check_eq(truncate(path, at - content), 0);
    return q;
}

static void make_whole(const char *copy)
{
    g_autofree char *path = image_path("a.qcow2"), *content = NULL;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    gsize len;

    qtest_check(g_file_get_contents(copy, &content, &len, NULL));
    qtest_check_eq(pwrite(fd, content, len, 0), len);
    close(fd);
}

/* A page that cannot be read stops the machine, which a load or a reset lets go on. */
static void test_truncated(void)
{
    g_autofree uint32_t *one = make_snapshot("", "");
    g_autofree char *copy = image_path("copy");
    json_t *event;
    QTest *q = start_cut(one, copy, "");

    qtest_check_str(state_of(q), "running");
    hmp_fails(q, "delvm one", "Memory that is still in the image of 'a' cannot be read");
    qtest_check_str(state_of(q), "running");
    qtest_check_eq(qtest_readl(q, BASE + 8), one[2]);
    /* The program itself meets it. */
    qtest_check_eq(qtest_readl(q, BASE + 3 * MIB + PAGE), 0);
    event = qtest_wait_event(q, "BLOCK_IO_ERROR");
    qtest_check_str(json_string_value(json_object_get(json_object_get(event, "data"), "device")),
                    "a");
    json_decref(event);
    json_decref(qtest_wait_event(q, "STOP"));
    qtest_check_str(state_of(q), "io-error");
    hmp_fails(q, "cont", "Resetting the Virtual Machine is required");
    hmp_fails(q, "savevm two", "a part of the guest's memory is lost");
    qtest_check_str(state_of(q), "io-error");
    make_whole(copy);
    hmp(q, "loadvm one");
    hmp(q, "cont");
    qtest_check_str(state_of(q), "running");
    check_content(q, one, 1);
    qtest_end(q);
    check_image();
}

/* A reset needs nothing of what was in memory. */
static void test_truncated_reset(void)
{
    g_autofree uint32_t *one = make_snapshot("", "");
    g_autofree char *copy = image_path("copy");
    QTest *q = start_cut(one, copy, "");

    /* With ThreadSanitizer the program does not outlive a write that raises SIGBUS; a read it does.
     */
    if (g_getenv("TSAN_OPTIONS")) {
        qtest_readl(q, BASE + 3 * MIB + PAGE);
    } else {
        qtest_writel(q, BASE + 3 * MIB + PAGE, 5);
    }
    json_decref(qtest_wait_event(q, "STOP"));
    qtest_check_str(state_of(q), "io-error");
    hmp(q, "system_reset");
    hmp(q, "cont");
    qtest_check_str(state_of(q), "running");
    qtest_check_eq(mapped(q), 0);
    qtest_memset(q, BASE, 7, SIZE);
    qtest_check_eq(qtest_readl(q, BASE + 3 * MIB + PAGE), 0x07070707);
    qtest_end(q);
}

/* It needs the firmware, which only the start of the program reads, however large that is. */
static void test_truncated_firmware(void)
{
    enum { BIOS = 4 * MIB };
    g_autofree uint8_t *bios = g_malloc(BIOS), *found = g_malloc(BIOS);
    g_autofree char *path = image_path("bios"), *copy = image_path("copy");
    g_autofree char *args = g_strdup_printf("-bios %s", path);
    g_autofree uint32_t *one = NULL;
    QTest *q;

    for (unsigned i = 0; i < BIOS; i++) {
        bios[i] = i * 7 + (i >> 12) + 1;
    }
    qtest_check(g_file_set_contents(path, (char *)bios, BIOS, NULL));
    one = make_snapshot("", args);
    q = start_cut(one, copy, args);
    qtest_readl(q, BASE + 3 * MIB + PAGE);
    json_decref(qtest_wait_event(q, "STOP"));
    hmp(q, "system_reset");
    qtest_check_eq(qtest_readl(q, BASE + 8), 0);
    for (unsigned at = 0; at < BIOS; at += MIB) {
        qtest_read(q, (1ull << 32) - BIOS + at, found + at, MIB);
    }
    qtest_check_mem(found, bios, BIOS);
    hmp(q, "cont");
    qtest_end(q);
}

/* A disk that is to write such a page does it once it can be read; the guest hears of nothing. */
static void test_truncated_write(void)
{
    g_autofree char *disk = g_strdup_printf("-drive file=%s/b.qcow2,if=none,id=b "
                                            "-device virtio-blk-pci,drive=b,addr=6",
                                            qtest_tmp_dir());
    g_autofree char *copy = image_path("copy"), *said = NULL, *want = NULL;
    g_autofree uint32_t *one = NULL;
    uint8_t word[4];
    uint64_t header;
    QVirtio v;
    QVirtq vq;
    QTest *q;

    qtest_img("create -q -f qcow2 %s/b.qcow2 8M", qtest_tmp_dir());
    one = make_snapshot("", disk);
    q = start_cut(one, copy, disk);
    header = qtest_alloc(q, 32, 16);
    qv_open(q, &v, 6, false);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    qtest_memset(q, header, 0, 17);
    qtest_writel(q, header, 1); /* a write, to sector 0 */
    qtest_writeb(q, header + 16, 0xff);
    qv_add(
        &vq,
        (QPiece[]){{header, 16, false}, {BASE + 3 * MIB, 2 * PAGE, false}, {header + 16, 1, true}},
        3);
    qv_kick(&vq);
    json_decref(qtest_wait_event(q, "STOP"));
    qtest_check_str(state_of(q), "io-error");
    qtest_check_eq(qtest_readb(q, header + 16), 0xff);
    make_whole(copy);
    hmp(q, "cont");
    for (unsigned i = 0; i < 10000 && qtest_readb(q, header + 16) == 0xff; i++) {
    }
    qtest_check_eq(qtest_readb(q, header + 16), 0);
    qtest_check_str(state_of(q), "running");
    memcpy(word, one + (3 * MIB + PAGE) / 4, 4);
    said = qtest_hmp(q, "qemu-io b \"read -v 4096 16\"");
    want = g_strdup_printf("%02x %02x %02x %02x", word[0], word[1], word[2], word[3]);
    qtest_check(strstr(said, want));
    check_content(q, one, 1);
    qtest_end(q);
}

static const QTestCase cases[] = {{"same", test_same},
                                  {"untouched", test_untouched},
                                  {"delvm", test_delvm},
                                  {"delete_job", test_delete_job},
                                  {"delete_internal", test_delete_internal},
                                  {"save_again", test_save_again},
                                  {"drive_del", test_drive_del},
                                  {"eject", test_eject},
                                  {"others", test_others},
                                  {"unplug", test_unplug},
                                  {"balloon", test_balloon},
                                  {"read", test_read},
                                  {"clones", test_clones},
                                  {"truncated", test_truncated},
                                  {"truncated_reset", test_truncated_reset},
                                  {"truncated_firmware", test_truncated_firmware},
                                  {"truncated_write", test_truncated_write},
                                  {0}};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
