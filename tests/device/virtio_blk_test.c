/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: configuration, every request, limits, layouts of buffers, nonsense. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include "qvirtio.h"

#define MACHINE  "-machine pc -m 64 -nodefaults "
#define DISK_MIB 8
#define SECTOR   512

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
#define F_SEG_MAX      (1ull << 2)
#define F_RO           (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH        (1ull << 9)
#define F_CONFIG_WCE   (1ull << 11)
#define F_MQ           (1ull << 12)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq vq;
    uint64_t header, status, data;
} Disk;

static char *make_disk(unsigned mib)
{
    char *path = g_strdup_printf("%s/disk.raw", qtest_tmp_dir());
    int fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    uint8_t block[4096];

    qtest_check(fd >= 0);
    for (unsigned i = 0; i < mib * 256; i++) {
        memset(block, i, sizeof block);
        qtest_check_eq(write(fd, block, sizeof block), sizeof block);
    }
    close(fd);
    return path;
}

static void disk_start(Disk *d, uint64_t features)
{
    qv_init(&d->v, features);
    qv_queue(&d->v, &d->vq, 0);
    qv_driver_ok(&d->v);
    d->header = qtest_alloc(d->q, 16, 0);
    d->status = qtest_alloc(d->q, 16, 0);
    d->data = qtest_alloc(d->q, 128 * 1024, 4096);
}

static void disk_open(Disk *d, const char *drive, const char *device, bool legacy,
                      uint64_t features)
{
    g_autofree char *path = make_disk(DISK_MIB);

    *d = (Disk){0};
    d->q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0%s "
                                "-device virtio-blk-pci,addr=5,drive=d0%s",
                        path, drive, device);
    qv_open(d->q, &d->v, 5, legacy);
    disk_start(d, features);
}

static void put_header(Disk *d, uint32_t type, uint64_t sector)
{
    qtest_writel(d->q, d->header, type);
    qtest_writel(d->q, d->header + 4, 0);
    qtest_writeq(d->q, d->header + 8, sector);
    qtest_writeb(d->q, d->status, 0xff);
}

/* One request with the data in one buffer; returns the status. */
static uint8_t request(Disk *d, uint32_t type, uint64_t sector, uint32_t len, bool to_guest)
{
    QPiece p[3] = {{d->header, 16, false}, {d->data, len, to_guest}, {d->status, 1, true}};

    put_header(d, type, sector);
    if (!len) {
        p[1] = p[2];
    }
    qv_do(&d->vq, p, len ? 3 : 2);
    return qtest_readb(d->q, d->status);
}

static uint8_t range_request(Disk *d, uint32_t type, uint64_t sector, uint32_t sectors,
                             uint32_t flags)
{
    qtest_writeq(d->q, d->data, sector);
    qtest_writel(d->q, d->data + 8, sectors);
    qtest_writel(d->q, d->data + 12, flags);
    return request(d, type, 0, 16, false);
}

static void check_byte(Disk *d, uint64_t sector, uint8_t byte)
{
    uint8_t buf[SECTOR];

    qtest_check_eq(request(d, T_IN, sector, SECTOR, true), S_OK);
    qtest_read(d->q, d->data, buf, sizeof buf);
    for (unsigned i = 0; i < SECTOR; i++) {
        qtest_check_eq(buf[i], byte);
    }
}

static void test_config(void)
{
    Disk d;

    disk_open(&d, ",cache=writeback",
              ",serial=abc,logical_block_size=512,physical_block_size=4096,queue-size=128,"
              "num-queues=1",
              false, ~0ull & ~QV_F_PACKED & ~QV_F_EVENT_IDX);
    qtest_check_eq(qv_config64(&d.v, 0), DISK_MIB * 2048);
    qtest_check_eq(qv_config32(&d.v, 12), 126);
    qtest_check_eq(qv_config32(&d.v, 20), 512);
    qtest_check_eq(qv_config8(&d.v, 24), 3);
    qtest_check_eq(qv_config8(&d.v, 32), 1);
    qtest_check_eq(qv_config16(&d.v, 34), 1);
    qtest_check_eq(qv_config32(&d.v, 40), 1);
    qtest_check_ne(qv_config32(&d.v, 36), 0);
    qtest_check(d.v.features & F_DISCARD && d.v.features & F_WRITE_ZEROES);
    qtest_check(!(d.v.features & (F_RO | F_MQ)));
    /* The driver may write 'writeback'. */
    qv_config_write8(&d.v, 32, 0);
    qtest_check_eq(qv_config8(&d.v, 32), 0);
    qv_config_write8(&d.v, 32, 1);
    qtest_check_eq(qv_config8(&d.v, 32), 1);
    /* The other fields are read-only. */
    qv_config_write32(&d.v, 0, 1);
    qtest_check_eq(qv_config64(&d.v, 0), DISK_MIB * 2048);
    qtest_end(d.q);
}

static void check_requests(Disk *d)
{
    uint8_t id[20];

    check_byte(d, 0, 0);
    check_byte(d, 8, 1);
    check_byte(d, 2047, 255);
    qtest_memset(d->q, d->data, 0xa5, 8192);
    qtest_check_eq(request(d, T_OUT, 16, 8192, false), S_OK);
    check_byte(d, 15, 1);
    check_byte(d, 16, 0xa5);
    check_byte(d, 31, 0xa5);
    check_byte(d, 32, 4);
    qtest_check_eq(request(d, T_FLUSH, 0, 0, false), S_OK);
    qtest_check_eq(request(d, T_GET_ID, 0, 20, true), S_OK);
    qtest_read(d->q, d->data, id, 20);
    qtest_check_mem(id, "serial-no\0\0\0\0\0\0\0\0\0\0\0", 20);
    qtest_check_eq(request(d, 99, 0, 0, false), S_UNSUPP);
}

static void test_requests(void)
{
    Disk d;

    disk_open(&d, "", ",serial=serial-no", false, F_FLUSH);
    check_requests(&d);
    qtest_end(d.q);
    disk_open(&d, "", ",serial=serial-no", true, F_FLUSH);
    check_requests(&d);
    qtest_end(d.q);
    disk_open(&d, "", ",serial=serial-no,packed=on", false, F_FLUSH | QV_F_PACKED);
    check_requests(&d);
    qtest_end(d.q);
    disk_open(&d, ",serial=serial-no", ",ioeventfd=off", false, F_FLUSH | QV_F_EVENT_IDX);
    check_requests(&d);
    qtest_end(d.q);
}

static void test_iothread(void)
{
    Disk d;

    disk_open(&d, " -object iothread,id=io0", ",iothread=io0,num-queues=2,serial=serial-no", false,
              F_FLUSH | F_MQ);
    for (unsigned i = 0; i < 3; i++) {
        QVirtq second, first = d.vq;

        qv_init(&d.v, F_FLUSH | F_MQ);
        qtest_check(d.v.features & F_MQ);
        qv_queue(&d.v, &d.vq, 0);
        qv_queue(&d.v, &second, 1);
        qv_driver_ok(&d.v);
        check_byte(&d, 8, 1);
        first = d.vq;
        d.vq = second;
        check_byte(&d, 2047, 255);
        d.vq = first;
        check_byte(&d, 8, 1);
    }
    qtest_end(d.q);
}

static void test_discard(void)
{
    Disk d;

    disk_open(&d, ",discard=unmap", "", false, F_DISCARD | F_WRITE_ZEROES);
    qtest_check_eq(range_request(&d, T_WRITE_ZEROES, 8, 8, 0), S_OK);
    check_byte(&d, 7, 0);
    check_byte(&d, 8, 0);
    check_byte(&d, 15, 0);
    check_byte(&d, 16, 2);
    qtest_check_eq(range_request(&d, T_WRITE_ZEROES, 16, 8, 1), S_OK);
    check_byte(&d, 16, 0);
    qtest_check_eq(range_request(&d, T_DISCARD, 24, 8, 0), S_OK);
    check_byte(&d, 32, 4);
    /* Flags and limits. */
    qtest_check_eq(range_request(&d, T_DISCARD, 24, 8, 1), S_UNSUPP);
    qtest_check_eq(range_request(&d, T_WRITE_ZEROES, 24, 8, 2), S_UNSUPP);
    qtest_check_eq(range_request(&d, T_WRITE_ZEROES, 24, qv_config32(&d.v, 48) + 1, 0), S_IOERR);
    qtest_check_eq(range_request(&d, T_WRITE_ZEROES, DISK_MIB * 2048 - 1, 2, 0), S_IOERR);
    qtest_check_eq(range_request(&d, T_DISCARD, ~0ull, 2, 0), S_IOERR);
    qtest_check_eq(request(&d, T_DISCARD, 0, 15, false), S_IOERR);
    qtest_check_eq(request(&d, T_DISCARD, 0, 32, false), S_UNSUPP);
    check_byte(&d, 32, 4);
    qtest_end(d.q);
}

static void test_limits(void)
{
    static const struct {
        uint64_t sector;
        uint32_t len;
    } bad[] = {
        {DISK_MIB * 2048, SECTOR}, {DISK_MIB * 2048 - 1, 2 * SECTOR},
        {~0ull, SECTOR},           {~0ull >> 9, SECTOR},
        {0, SECTOR - 1},           {1ull << 55, SECTOR},
    };
    Disk d;

    disk_open(&d, "", "", false, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        qtest_check_eq(request(&d, T_IN, bad[i].sector, bad[i].len, true), S_IOERR);
        qtest_check_eq(request(&d, T_OUT, bad[i].sector, bad[i].len, false), S_IOERR);
    }
    check_byte(&d, 2047, 255);
    qtest_end(d.q);
    disk_open(&d, "", ",logical_block_size=4096,physical_block_size=4096", false, 0);
    qtest_check_eq(request(&d, T_IN, 1, 4096, true), S_IOERR);
    qtest_check_eq(request(&d, T_IN, 8, 512, true), S_IOERR);
    qtest_check_eq(request(&d, T_IN, 8, 4096, true), S_OK);
    qtest_end(d.q);
}

static void test_read_only(void)
{
    Disk d;

    disk_open(&d, ",readonly=on", "", false, F_RO);
    qtest_check(d.v.features & F_RO);
    check_byte(&d, 8, 1);
    qtest_check_eq(request(&d, T_OUT, 8, SECTOR, false), S_IOERR);
    check_byte(&d, 8, 1);
    qtest_end(d.q);
}

/* Header, data and status byte in any pieces (2.7.4). */
static void test_layouts(void)
{
    Disk d;

    disk_open(&d, "", "", false, 0);
    for (unsigned i = 0; i < 3; i++) {
        /* A write: the header in two, or together with data. */
        QPiece w[2][4] = {{{d.header, 5, false},
                           {d.header + 5, 11, false},
                           {d.data, 1024, false},
                           {d.status, 1, true}},
                          {{d.header, 16 + 512, false}, {d.data, 512, false}, {d.status, 1, true}}};
        /* A read: the status byte behind the data. */
        QPiece r[] = {{d.header, 16, false}, {d.data, 100, true}, {d.data + 100, 413, true}};

        d.header = qtest_alloc(d.q, 16 + 512, 0);
        w[1][0].addr = w[0][0].addr = r[0].addr = d.header;
        w[0][1].addr = d.header + 5;
        qtest_memset(d.q, d.header + 16, 0x70 + i, 512);
        qtest_memset(d.q, d.data, 0x70 + i, 1024);
        put_header(&d, T_OUT, 64);
        qv_do(&d.vq, w[i & 1], i & 1 ? 3 : 4);
        qtest_check_eq(qtest_readb(d.q, d.status), S_OK);
        check_byte(&d, 64, 0x70 + i);
        check_byte(&d, 65, 0x70 + i);
        put_header(&d, T_IN, 64);
        qtest_writeb(d.q, d.data + 512, 0xff);
        qtest_check_eq(qv_do(&d.vq, r, 3), 513);
        qtest_check_eq(qtest_readb(d.q, d.data + 512), S_OK);
        qtest_check_eq(qtest_readb(d.q, d.data + 511), 0x70 + i);
    }
    qtest_end(d.q);
}

static void test_hostile(void)
{
    Disk d;

    disk_open(&d, "", "", false, 0);
    for (unsigned i = 0; i < 4; i++) {
        QPiece cases[4][2] = {{{d.header, 15, false}, {d.status, 1, true}}, /* short header */
                              {{d.header, 16, false}},                      /* no status */
                              {{d.status, 1, true}},                        /* no header */
                              {{d.header, 16, false}, {0xfffffffffff0, 1, true}}};

        put_header(&d, T_IN, 0);
        qv_add(&d.vq, cases[i], i == 1 || i == 2 ? 1 : 2);
        qv_kick(&d.vq);
        qtest_wait_until(qv_status(&d.v) & QV_NEEDS_RESET);
        disk_start(&d, 0);
        check_byte(&d, 8, 1);
    }
    qtest_end(d.q);
}

/* Many requests in the ring at once; a reset with requests in flight. */
static void test_burst(void)
{
    uint64_t headers, statuses;
    Disk d;

    disk_open(&d, "", "", false, 0);
    headers = qtest_alloc(d.q, 16 * 16, 0);
    statuses = qtest_alloc(d.q, 16, 0);
    for (unsigned round = 0; round < 4; round++) {
        uint32_t id, len;

        qtest_memset(d.q, statuses, 0xff, 16);
        for (unsigned i = 0; i < 16; i++) {
            QPiece p[] = {{headers + 16 * i, 16, false},
                          {d.data + 4096 * i, 4096, true},
                          {statuses + i, 1, true}};

            qtest_writel(d.q, headers + 16 * i, T_IN);
            qtest_writeq(d.q, headers + 16 * i + 8, 8 * i);
            qv_add(&d.vq, p, 3);
        }
        qv_kick(&d.vq);
        if (round == 3) {
            break;
        }
        for (unsigned i = 0; i < 16; i++) {
            qtest_wait_until(qv_get(&d.vq, &id, &len));
            qtest_check_eq(len, 4097);
        }
        for (unsigned i = 0; i < 16; i++) {
            qtest_check_eq(qtest_readb(d.q, statuses + i), S_OK);
            qtest_check_eq(qtest_readb(d.q, d.data + 4096 * i + 77), i);
        }
    }
    disk_start(&d, 0);
    check_byte(&d, 8, 1);
    qtest_system_reset(d.q);
    qtest_end(d.q);
}

static void test_stop_cont(void)
{
    Disk d;

    disk_open(&d, " -object iothread,id=io0", ",iothread=io0", false, 0);
    for (unsigned i = 0; i < 10; i++) {
        QPiece p[] = {{d.header, 16, false}, {d.data, 512, true}, {d.status, 1, true}};
        uint32_t id, len;

        put_header(&d, T_IN, 8);
        qv_add(&d.vq, p, 3);
        json_decref(qtest_qmp(d.q, "stop", NULL));
        qv_kick(&d.vq);
        json_decref(qtest_qmp(d.q, "cont", NULL));
        qtest_wait_until(qv_get(&d.vq, &id, &len));
        qtest_check_eq(qtest_readb(d.q, d.status), S_OK);
    }
    qtest_end(d.q);
}

static const char *run_state(QTest *q)
{
    static char name[32];
    json_t *state = qtest_qmp(q, "query-status", NULL);

    g_strlcpy(name, json_string_value(json_object_get(state, "status")), sizeof name);
    json_decref(state);
    return name;
}

/*
 * werror=stop: RLIMIT_FSIZE makes a write fail, the VM pauses, and the request is repeated when the
 * VM continues.
 */
static void test_werror_stop(void)
{
    struct rlimit small = {64 * 1024, RLIM_INFINITY}, big = {RLIM_INFINITY, RLIM_INFINITY};
    uint32_t id, len;
    Disk d;

    g_autofree char *path = make_disk(1);
    signal(SIGXFSZ, SIG_IGN); /* inherited */
    qtest_check_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    d = (Disk){0};
    d.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0,werror=stop "
                               "-object iothread,id=io0 "
                               "-device virtio-blk-pci,addr=5,drive=d0,iothread=io0",
                       path);
    setrlimit(RLIMIT_FSIZE, &big);
    qv_open(d.q, &d.v, 5, false);
    disk_start(&d, 0);
    check_byte(&d, 8, 1);
    qtest_memset(d.q, d.data, 0xa5, 1024);
    for (unsigned round = 0; round < 2; round++) {
        QPiece p[] = {{d.header, 16, false}, {d.data, 1024, false}, {d.status, 1, true}};

        put_header(&d, T_OUT, 1024);
        qv_add(&d.vq, p, 3);
        qv_kick(&d.vq);
        json_decref(qtest_wait_event(d.q, "STOP"));
        qtest_check_str(run_state(d.q), "io-error");
        qtest_check(!qv_get(&d.vq, &id, &len));
        if (round == 0) {
            /* It fails again, and stops again. */
            json_decref(qtest_qmp(d.q, "cont", NULL));
            json_decref(qtest_wait_event(d.q, "STOP"));
            prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &big, NULL);
            json_decref(qtest_qmp(d.q, "cont", NULL));
            qtest_wait_until(qv_get(&d.vq, &id, &len));
            qtest_check_eq(qtest_readb(d.q, d.status), S_OK);
            check_byte(&d, 1025, 0xa5);
            prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &small, NULL);
            qtest_memset(d.q, d.data, 0xa5, 1024);
        }
    }
    /* A reset drops parked requests. */
    qtest_system_reset(d.q);
    prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &big, NULL);
    json_decref(qtest_qmp(d.q, "cont", NULL));
    qv_open(d.q, &d.v, 5, false);
    disk_start(&d, 0);
    check_byte(&d, 8, 1);
    qtest_end(d.q);
}

/* A driver that changes the descriptors of a parked request breaks its device, and nothing else. */
static void test_werror_rewritten(void)
{
    struct rlimit small = {64 * 1024, RLIM_INFINITY};
    Disk d;

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    disk_open(&d, ",werror=stop", "", false, 0);
    QPiece p[] = {{d.header, 16, false}, {d.data, 1024, false}, {d.status, 1, true}};
    prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &small, NULL);
    put_header(&d, T_OUT, 1024);
    qv_add(&d.vq, p, 3);
    qv_kick(&d.vq);
    json_decref(qtest_wait_event(d.q, "STOP"));
    qtest_writel(d.q, d.vq.desc + 8, 0); /* the header's length */
    json_decref(qtest_qmp(d.q, "cont", NULL));
    qtest_wait_until(qv_status(&d.v) & QV_NEEDS_RESET);
    qtest_check_str(run_state(d.q), "running");
    disk_start(&d, 0);
    check_byte(&d, 8, 1);
    qtest_end(d.q);
}

/* -action error=exit: a write that fails ends the run, and not well; nor does a pause for it. */
static void test_werror_ends(void)
{
    enum { HOST_ERROR = 14 }; /* vm/end.h */
    static const char *const actions[] = {"error=exit", "error=pause"};
    struct rlimit small = {64 * 1024, RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    for (unsigned i = 0; i < G_N_ELEMENTS(actions); i++) {
        g_autofree char *path = make_disk(1);
        Disk d = {0};

        d.q = qtest_startf(MACHINE "-action %s -drive file=%s,format=raw,if=none,id=d0,werror=stop "
                                   "-device virtio-blk-pci,addr=5,drive=d0",
                           actions[i], path);
        qv_open(d.q, &d.v, 5, false);
        disk_start(&d, 0);
        QPiece p[] = {{d.header, 16, false}, {d.data, 1024, false}, {d.status, 1, true}};
        put_header(&d, T_OUT, 1024);
        prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &small, NULL);
        qv_add(&d.vq, p, 3);
        qv_kick(&d.vq);
        if (i == 1) {
            json_decref(qtest_wait_event(d.q, "STOP"));
            kill(qtest_pid(d.q), SIGTERM);
        }
        qtest_check_eq(qtest_wait_exit(d.q), HOST_ERROR);
    }
}

/* Adds a request once more, whose table the ring's first entry has. */
static void add_table_again(QVirtq *vq)
{
    enum { INDIRECT = 4 };
    QTest *q = vq->v->q;
    QPiece whole = {qtest_readq(q, vq->desc), qtest_readl(q, vq->desc + 8), false};
    uint64_t flags =
        vq->desc + 16 * (vq->packed ? vq->avail : vq->next_id) + (vq->packed ? 14 : 12);

    qv_add(vq, &whole, 1);
    qtest_writew(q, flags, qtest_readw(q, flags) | INDIRECT);
}

/*
 * All that is parked is in the saved state, however large the requests are: none is answered by the
 * save, and all are repeated after the load.
 */
static void parked_saved(uint64_t features)
{
    enum { REQUESTS = 12, PIECES = 1000 };
    g_autofree char *path = make_disk(2), *state = g_strdup_printf("%s/state", qtest_tmp_dir());
    struct rlimit small = {64 * 1024, RLIM_INFINITY}, big = {RLIM_INFINITY, RLIM_INFINITY};
    g_autofree QPiece *p = g_new0(QPiece, PIECES + 2);
    uint32_t id, len;
    Disk d = {0};

    signal(SIGXFSZ, SIG_IGN); /* inherited */
    d.q = qtest_startf(MACHINE "-drive file=%s,format=raw,if=none,id=d0,werror=stop "
                               "-object iothread,id=io0 "
                               "-device virtio-blk-pci,addr=5,drive=d0,iothread=io0,packed=on",
                       path);
    qv_open(d.q, &d.v, 5, false);
    disk_start(&d, features | QV_F_INDIRECT);
    prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &small, NULL);
    put_header(&d, T_OUT, 1024);
    qtest_memset(d.q, d.data, 0xa5, SECTOR);
    p[0] = (QPiece){d.header, 16, false};
    for (unsigned i = 1; i <= PIECES; i++) {
        p[i] = (QPiece){d.data, SECTOR, false};
    }
    p[PIECES + 1] = (QPiece){d.status, 1, true};
    qv_add_indirect(&d.vq, p, PIECES + 2);
    for (unsigned i = 1; i < REQUESTS; i++) {
        add_table_again(&d.vq);
    }
    qv_kick(&d.vq);
    for (unsigned i = 0; i < REQUESTS; i++) {
        json_decref(qtest_wait_event(d.q, "BLOCK_IO_ERROR"));
    }
    json_decref(qtest_wait_event(d.q, "STOP"));
    prlimit(qtest_pid(d.q), RLIMIT_FSIZE, &big, NULL);
    json_decref(qtest_qmp(d.q, "x-save-state", "{s:s}", "filename", state));
    qtest_check(!qv_get(&d.vq, &id, &len));
    qtest_system_reset(d.q);
    json_decref(qtest_qmp(d.q, "x-load-state", "{s:s}", "filename", state));
    json_decref(qtest_qmp(d.q, "cont", NULL));
    for (unsigned i = 0; i < REQUESTS; i++) {
        qtest_wait_until(qv_get(&d.vq, &id, &len));
    }
    qtest_check_eq(qtest_readb(d.q, d.status), S_OK);
    check_byte(&d, 1024 + PIECES - 1, 0xa5);
    qtest_end(d.q);
}

static void test_werror_save(void)
{
    parked_saved(0);
}

static void test_werror_save_packed(void)
{
    parked_saved(QV_F_PACKED);
}

/* cyls, heads, secs: in configuration space. lcyls, lheads, lsecs: in fw_cfg, for the BIOS. */
static void test_geometry(void)
{
    Disk d;
    uint32_t size;
    uint16_t key;
    char text[64];

    disk_open(&d, "", ",lcyls=1000,lheads=16,lsecs=63", false, 0);
    qtest_check_eq(qv_config16(&d.v, 16), DISK_MIB * 2048 / (16 * 63));
    qtest_check_eq(qv_config8(&d.v, 18), 16);
    qtest_check_eq(qv_config8(&d.v, 19), 63);
    key = qtest_fw_cfg_find(d.q, "bios-geometry", &size);
    qtest_check(key && size < sizeof text);
    qtest_fw_cfg_read(d.q, key, text, size);
    qtest_check_str(text, "/pci@i0cf8/scsi@5/disk@0,0 1000 16 63");
    qtest_check_eq(size, strlen(text) + 1);
    qtest_end(d.q);

    disk_open(&d, "", ",cyls=1024,heads=255,secs=17", false, 0);
    qtest_check_eq(qv_config16(&d.v, 16), 1024);
    qtest_check_eq(qv_config8(&d.v, 18), 255);
    qtest_check_eq(qv_config8(&d.v, 19), 17);
    qtest_check_eq(qtest_fw_cfg_find(d.q, "bios-geometry", &size), 0);
    qtest_end(d.q);
}

static json_t *stats_of(json_t *list, const char *key, const char *name)
{
    size_t i;
    json_t *entry;

    json_array_foreach(list, i, entry)
    {
        if (!g_strcmp0(json_string_value(json_object_get(entry, key)), name)) {
            return entry;
        }
    }
    qtest_fail(__FILE__, __LINE__, "no statistics of %s", name);
}

static json_int_t highest(json_t *entry)
{
    json_t *stats = json_object_get(entry, "stats");

    qtest_check(json_is_integer(json_object_get(stats, "wr_highest_offset")));
    return json_integer_value(json_object_get(stats, "wr_highest_offset"));
}

/* Each node's highest written offset. An overlay's file ends with its clusters. */
static void test_blockstats(void)
{
    Disk d;
    json_t *devices, *nodes, *top, *base, *parent;

    disk_open(&d, ",snapshot=on", "", false, 0);
    qtest_check_eq(request(&d, T_OUT, 8, 4096, false), S_OK);
    qtest_check_eq(request(&d, T_OUT, DISK_MIB * 2048 - 8, 4096, false), S_OK);
    qtest_check_eq(request(&d, T_IN, 0, 4096, true), S_OK);
    devices = qtest_qmp(d.q, "query-blockstats", NULL);
    nodes = qtest_qmp(d.q, "query-blockstats", "{s:b}", "query-nodes", 1);
    top = stats_of(devices, "device", "d0");
    parent = json_object_get(top, "parent");
    base = json_object_get(top, "backing");
    qtest_check_eq(highest(top), DISK_MIB << 20);
    qtest_check(highest(parent) > 0 && highest(parent) < DISK_MIB << 20);
    qtest_check_eq(highest(base), 0);
    qtest_check_eq(json_integer_value(json_object_get(json_object_get(top, "stats"), "wr_bytes")),
                   8192);
    /* The same nodes by name: those of the disk, the file below it, the base, its file. */
    qtest_check_eq(json_array_size(nodes), 4);
    top = stats_of(nodes, "node-name", json_string_value(json_object_get(top, "node-name")));
    qtest_check_eq(highest(top), DISK_MIB << 20);
    qtest_check(!json_object_get(top, "device") && !json_object_get(top, "qdev"));
    qtest_check(!json_object_get(top, "backing"));
    qtest_check_eq(highest(json_object_get(top, "parent")), highest(parent));
    parent = stats_of(nodes, "node-name", json_string_value(json_object_get(parent, "node-name")));
    qtest_check(!json_object_get(parent, "parent"));
    stats_of(nodes, "node-name", json_string_value(json_object_get(base, "node-name")));
    json_decref(devices);
    json_decref(nodes);
    g_autofree char *text = qtest_hmp(d.q, "info blockstats");
    qtest_check(g_str_has_prefix(text, "d0: rd_bytes=4096 wr_bytes=8192 "));
    qtest_end(d.q);
}

static void test_refused(void)
{
    static const struct {
        const char *args, *text;
    } cases[] = {
        {"", "drive"},
        {",drive=nobody", "nobody"},
        {",drive=d0,num-queues=0", "num-queues"},
        {",drive=d0,queue-size=100", "queue-size"},
        {",drive=d0,logical_block_size=1000", "logical_block_size"},
        {",drive=d0,logical_block_size=4096,physical_block_size=512", "logical_block_size"},
        {",drive=d0,iothread=io9", "io9"},
        {",drive=d0,cyls=10", "heads must be between 1 and 255"},
        {",drive=d0,cyls=65536,heads=1,secs=1", "cyls must be between 1 and 65535"},
        {",drive=d0,cyls=1,heads=16,secs=256", "secs must be between 1 and 255"},
        {",drive=d0,lcyls=x", "lcyls"},
        {",drive=d0,backend_defaults=on", "backend_defaults"},
        {",drive=d0,bios-chs-trans=lba", "bios-chs-trans"},
    };
    g_autofree char *path = make_disk(1);

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        int status;
        g_autofree char *args = g_strdup_printf(
            MACHINE "-drive file=%s,format=raw,if=none,id=d0 -device virtio-blk-pci%s", path,
            cases[i].args);
        g_autofree char *text = qtest_start_fails(args, &status);

        qtest_check_eq(status, QTEST_NOT_STARTED);
        if (!strstr(text, cases[i].text)) {
            qtest_check_str(text, cases[i].text);
        }
    }
}

/* Requests of more bytes than the 32 bits of a used length. */
static void test_huge(void)
{
    enum { PIECES = 65, LEN = 64 << 20 };
    g_autofree char *path = make_disk(1);
    QPiece p[PIECES + 2];
    uint32_t id, len;
    Disk d = {0};

    qtest_check_eq(truncate(path, 5ll << 30), 0);
    d.q = qtest_startf(MACHINE "-m 128 -drive file=%s,format=raw,if=none,id=d0 "
                               "-device virtio-blk-pci,addr=5,drive=d0",
                       path);
    qv_open(d.q, &d.v, 5, false);
    disk_start(&d, QV_F_INDIRECT);
    for (unsigned write = 0; write < 2; write++) {
        p[0] = (QPiece){d.header, 16, false};
        for (unsigned i = 1; i <= PIECES; i++) {
            p[i] = (QPiece){LEN, LEN, !write};
        }
        p[PIECES + 1] = (QPiece){d.status, 1, true};
        put_header(&d, write ? T_OUT : T_IN, 0);
        qv_add_indirect(&d.vq, p, PIECES + 2);
        qv_kick(&d.vq);
        qtest_wait_until(qv_get(&d.vq, &id, &len));
        qtest_check_eq(len, 1);
        qtest_check_eq(qtest_readb(d.q, d.status), S_IOERR);
    }
    qtest_end(d.q);
}

static const QTestCase cases[] = {
    {"config", test_config},
    {"requests", test_requests},
    {"iothread", test_iothread},
    {"discard", test_discard},
    {"limits", test_limits},
    {"read-only", test_read_only},
    {"layouts", test_layouts},
    {"hostile", test_hostile},
    {"burst", test_burst},
    {"stop-cont", test_stop_cont},
    {"werror-stop", test_werror_stop},
    {"werror-ends", test_werror_ends},
    {"werror-rewritten", test_werror_rewritten},
    {"werror-save", test_werror_save},
    {"werror-save-packed", test_werror_save_packed},
    {"huge", test_huge},
    {"geometry", test_geometry},
    {"blockstats", test_blockstats},
    {"refused", test_refused},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
