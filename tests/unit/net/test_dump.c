/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -object filter-dump and -net dump: what is in the file, and what becomes of one that is full. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/keyval.h"
#include "base/object.h"
#include "base/util.h"
#include "fixture.h"

extern const ObjectClass filter_dump_class;

typedef struct {
    uint32_t seconds, microseconds, caplen, len;
    const uint8_t *data;
} Record;

static char *dir, *file;
static uint8_t *content;
static Record records[2000];
static int wire; /* the other end of netdev n0 */
static Nic *nic;

static void dump_setup(void)
{
    static const ObjectClass *const classes[] = {&filter_dump_class, NULL};

    fixture_setup();
    object_set_classes(classes);
    dir = g_dir_make_tmp("vmm-dump-XXXXXX", NULL);
    file = g_build_filename(dir, "f.pcap", NULL);
}

static void dump_teardown(void)
{
    object_delete_all();
    fixture_teardown();
    unlink(file);
    rmdir(dir);
    g_free(dir);
    g_free(file);
    g_clear_pointer(&content, g_free);
}

/* Reads the file; how many whole packets it holds. Nothing may be left over. */
static unsigned read_dump(void)
{
    unsigned n = 0;
    size_t size, at = 24;

    g_clear_pointer(&content, g_free);
    ck_assert(g_file_get_contents(file, (char **)&content, &size, NULL));
    ck_assert_uint_ge(size, 24);
    ck_assert_uint_eq(*(uint32_t *)content, 0xa1b2c3d4);
    ck_assert_uint_eq(*(uint16_t *)(content + 4), 2);
    ck_assert_uint_eq(*(uint16_t *)(content + 6), 4);
    ck_assert_uint_eq(*(uint32_t *)(content + 20), 1); /* Ethernet */
    while (at < size) {
        Record *r = &records[n++];

        ck_assert_uint_le(at + 16, size);
        memcpy(r, content + at, 16);
        r->data = content + at + 16;
        at += 16 + r->caplen;
        ck_assert_uint_le(at, size);
        ck_assert_uint_le(r->caplen, r->len);
        ck_assert_uint_lt(r->microseconds, 1000000);
    }
    return n;
}

static GError *filter_error(const char *id, const char *more)
{
    g_autofree char *text =
        g_strdup_printf("filter-dump,id=%s,file=%s%s%s", id, file, *more ? "," : "", more);
    json_t *config = keyval_parse(text, "qom-type", NULL, true, NULL);
    GError *err = NULL;

    ck_assert((object_create(config, &err) == NULL) == (err != NULL));
    json_decref(config);
    return err;
}

static void filter(const char *id, const char *more)
{
    GError *err = filter_error(id, more);

    ck_no_error(err);
}

static void set_status(const char *status)
{
    json_t *value = json_string(status);
    GError *err = NULL;

    ck_assert(object_set_property(object_find("f0", NULL, NULL), "status", value, &err));
    json_decref(value);
}

static void wire_start(void)
{
    g_autofree char *text = NULL;
    GError *err = NULL;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    text = g_strdup_printf("dgram,id=n0,local.type=fd,local.str=%d", pair[1]);
    netdev_text(text, &err);
    ck_no_error(err);
    wire = pair[0];
    nic = nic_new("nic0", "n0");
}

static void from_guest(char c, size_t len)
{
    g_autofree char *frame = g_malloc(len);
    char got[1];

    memset(frame, c, len);
    nic_send(nic, frame, len);
    ck_assert_int_eq(recv(wire, got, 1, MSG_TRUNC), len);
}

static void to_guest(char c, size_t len)
{
    g_autofree char *frame = g_malloc(len);
    unsigned had = nic->frames->len;

    memset(frame, c, len);
    ck_assert_int_eq(write(wire, frame, len), len);
    run_until(nic->frames->len == had + 1);
}

static void check_record(unsigned i, uint8_t c, size_t caplen, size_t len)
{
    ck_assert_uint_eq(records[i].caplen, caplen);
    ck_assert_uint_eq(records[i].len, len);
    ck_assert_int_eq(records[i].data[0], c);
    ck_assert_int_eq(records[i].data[caplen - 1], c);
}

START_TEST(both_directions)
{
    gint64 before = g_get_real_time(), after;

    wire_start();
    filter("f0", "netdev=n0");
    from_guest('a', 60);
    to_guest('b', 70);
    from_guest('c', 1514);
    run_for_ms(1); /* written at the end of the turn, not at the end of the program */
    after = g_get_real_time();
    ck_assert_uint_eq(read_dump(), 3);
    check_record(0, 'a', 60, 60);
    check_record(1, 'b', 70, 70);
    check_record(2, 'c', 1514, 1514);
    for (unsigned i = 0; i < 3; i++) {
        gint64 t = (gint64)records[i].seconds * G_USEC_PER_SEC + records[i].microseconds;

        ck_assert(t >= before && t <= after);
        before = t;
    }
}
END_TEST

START_TEST(options)
{
    wire_start();
    filter("f0", "netdev=n0,maxlen=100,queue=rx");
    from_guest('a', 60);
    to_guest('b', 60);
    from_guest('c', 101);
    set_status("off");
    from_guest('d', 60);
    set_status("on");
    from_guest('e', 60);
    ck_assert(object_delete("f0", NULL));
    ck_assert_uint_eq(read_dump(), 3);
    check_record(0, 'a', 60, 60);
    check_record(1, 'c', 100, 101);
    check_record(2, 'e', 60, 60);
    filter("f0", "netdev=n0,queue=tx,status=off");
    to_guest('a', 60);
    set_status("on");
    from_guest('b', 60);
    to_guest('c', 61);
    ck_assert(object_delete("f0", NULL));
    ck_assert_uint_eq(read_dump(), 1);
    check_record(0, 'c', 61, 61);
    from_guest('d', 60); /* no filter is left */
}
END_TEST

/* A packet that has to be sent twice is one packet. */
START_TEST(not_now)
{
    char frame[60], got[60];
    struct iovec iov = {frame, sizeof frame};
    unsigned sent = 0;

    wire_start();
    filter("f0", "netdev=n0");
    for (memset(frame, sent, sizeof frame); net_send(&nic->peer, &iov, 1);) {
        memset(frame, ++sent, sizeof frame);
    }
    for (unsigned i = 0; i < sent; i++) {
        ck_assert_int_eq(read(wire, got, sizeof got), sizeof got);
    }
    run_until(nic->ready);
    ck_assert_int_eq(net_send(&nic->peer, &iov, 1), 60);
    /* The NIC is full: the packets wait, and are seen once. */
    nic->room = 0;
    ck_assert_int_eq(write(wire, "x", 1), 1);
    ck_assert_int_eq(write(wire, "y", 1), 1);
    run_for_ms(5);
    nic->room = 10;
    net_peer_ready(&nic->peer);
    run_until(nic->frames->len == 2);
    run_for_ms(1);
    ck_assert_uint_eq(read_dump(), sent + 3);
    for (unsigned i = 0; i <= sent; i++) {
        check_record(i, i, 60, 60);
    }
    check_record(sent + 1, 'x', 1, 1);
    check_record(sent + 2, 'y', 1, 1);
}
END_TEST

/* As a full disk: the guest's packets go on, and the file ends with a whole one. */
START_TEST(file_is_full)
{
    struct rlimit old, small;
    unsigned n;
    json_t *status;

    signal(SIGXFSZ, SIG_IGN);
    wire_start();
    filter("f0", "netdev=n0");
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1000;
    for (unsigned i = 0; i < 20; i++) {
        from_guest('a' + i, 60);
    }
    setrlimit(RLIMIT_FSIZE, &small); /* for the file only: the test's checks write files, too */
    run_for_ms(1);
    setrlimit(RLIMIT_FSIZE, &old);
    from_guest('x', 60);
    run_for_ms(1);
    n = read_dump();
    ck_assert_uint_eq(n, (1000 - 24) / 76);
    check_record(n - 1, 'a' + n - 1, 60, 60);
    status = property_get(property_find(filter_dump_class.props, "status"),
                          object_find("f0", NULL, NULL));
    ck_assert_str_eq(json_string_value(status), "off");
    json_decref(status);
    from_guest('x', 60);
    set_status("on");
    from_guest('y', 60);
    run_for_ms(1);
    ck_assert_uint_eq(read_dump(), n + 1);
    check_record(n, 'y', 60, 60);
}
END_TEST

/* A pipe: its reader must be there; where it is slow, whole packets are left out. */
START_TEST(pipe_reader)
{
    g_autofree uint8_t *got = g_malloc(16 << 20);
    size_t len = 0, at = 24;
    unsigned n = 0, last = 0;
    GError *err;
    ssize_t r;
    int fd;

    ck_assert_int_eq(mkfifo(file, 0600), 0);
    wire_start();
    err = filter_error("f0", "netdev=n0");
    ck_error(err, "start the reader first");
    g_clear_error(&err);
    fd = open(file, O_RDONLY | O_NONBLOCK);
    filter("f0", "netdev=n0");
    for (unsigned i = 0; i < 100; i++) {
        from_guest(i, 60000);
        run_for_ms(0);
    }
    while ((r = read(fd, got + len, 65536)) > 0 || n++ < 20) {
        len += MAX(r, 0);
        event_loop_iterate(loop, 0);
    }
    from_guest(100, 60000); /* there is room again */
    for (n = 0; n < 20; n++) {
        event_loop_iterate(loop, 1000000);
        r = read(fd, got + len, 65536);
        len += MAX(r, 0);
    }
    for (n = 0; at < len; n++) {
        uint32_t caplen = *(uint32_t *)(got + at + 8);

        ck_assert_uint_eq(caplen, 60000);
        last = got[at + 16];
        ck_assert_int_eq(got[at + 16 + caplen - 1], last);
        at += 16 + caplen;
    }
    ck_assert_uint_eq(at, len);
    ck_assert_uint_lt(n, 101);
    ck_assert_uint_gt(n, 50);
    ck_assert_uint_eq(last, 100);
    close(fd);
    from_guest('z', 60); /* the reader has gone */
    run_for_ms(2);
    from_guest('z', 60);
}
END_TEST

START_TEST(netdev_goes_first)
{
    g_autofree char *info = NULL, *expected = NULL;
    GError *err = NULL;

    wire_start();
    filter("f0", "netdev=n0");
    filter("f1", "netdev=n0,position=head");
    filter("f2", "netdev=n0,position=id=f1,insert=before");
    expected = g_strdup_printf(
        "filters:\n"
        "  - f2: type=filter-dump,file=%s,maxlen=65536,position=id=f1,status=on,insert=before,"
        "netdev=n0,queue=all\n  - f1: type=filter-dump,",
        file);
    info = net_info_text();
    ck_assert_msg(strstr(info, expected), "%s", info);
    ck_assert(netdev_del("n0", &err));
    ck_assert_ptr_null(object_find("f0", NULL, NULL));
    ck_assert_ptr_null(object_find("f2", NULL, NULL));
}
END_TEST

START_TEST(refused)
{
    static const char *const cases[][2] = {
        {"", "Parameter 'netdev' is missing"},
        {"netdev=nic0", "expects a network backend id"},
        {"netdev=zz", "expects a network backend id"},
        {"netdev=n0,maxlen=0", "maxlen"},
        {"netdev=n0,queue=rxx", "rxx"},
        {"netdev=n0,position=middle", "expects 'head', 'tail' or 'id=<id>'"},
        {"netdev=n0,position=id=q", "filter 'q' not found"},
    };
    GError *err;

    wire_start();
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        err = filter_error("f0", cases[i][0]);
        ck_error(err, cases[i][1]);
        g_clear_error(&err);
    }
    g_free(file);
    file = g_strdup("/nonexistent/f");
    err = filter_error("f0", "netdev=n0");
    ck_error(err, "can't open /nonexistent/f: No such file or directory");
    g_clear_error(&err);
    ck_assert_ptr_null(object_find("f0", NULL, NULL));
    from_guest('a', 60);
}
END_TEST

START_TEST(net_dump)
{
    g_autofree char *text = g_strdup_printf("dump,file=%s,len=100", file);
    json_t *config = config_text(text), *port = config_text("hubport,id=p1,hubid=0");
    GError *err = NULL;
    Nic *a, *b;

    ck_assert(!netdev_add(config, &err));
    ck_error(err, "it is for -net only");
    g_clear_error(&err);
    ck_assert(net_option_net(config, &err));
    ck_assert(netdev_add(port, &err));
    ck_assert(netdev_text("hubport,id=p2,hubid=0", &err));
    a = nic_new("a", "p1");
    b = nic_new("b", "p2");
    nic_send(a, "from a, with some more bytes", 28);
    nic_send(b, "from b", 6);
    run_until(a->frames->len && b->frames->len);
    run_for_ms(1);
    ck_assert_uint_eq(read_dump(), 2);
    ck_assert_mem_eq(records[0].data, "from a", 6);
    ck_assert_mem_eq(records[1].data, "from b", 6);
    json_decref(config);
    json_decref(port);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        both_directions,   options, not_now,  file_is_full, pipe_reader,
        netdev_goes_first, refused, net_dump, NULL,
    };

    signal(SIGPIPE, SIG_IGN); /* as the program does */
    return unit_run_with("net-dump", tests, dump_setup, dump_teardown);
}
