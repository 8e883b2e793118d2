/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng, virtio-balloon and virtio-serial. */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "qvirtio.h"

#define MACHINE "-machine pc -m 64 -nodefaults "

/* Entropy. */

static void test_rng_limit(void)
{
    QTest *q = qtest_start(MACHINE "-object rng-random,id=r0,filename=/dev/zero "
                                   "-device virtio-rng-pci,rng=r0,max-bytes=8,period=1000,addr=5");
    QVirtio v;
    QVirtq vq;
    uint32_t id, len;
    uint64_t buf;

    qv_open(q, &v, 5, false);
    qv_init(&v, 0);
    qv_queue(&v, &vq, 0);
    qv_driver_ok(&v);
    buf = qtest_alloc(q, 64, 0);
    qtest_memset(q, buf, 0xff, 64);
    qtest_check_eq(qv_do(&vq, &(QPiece){buf, 16, true}, 1), 8);
    qtest_check_eq(qtest_readq(q, buf), 0);
    qtest_check_eq(qtest_readb(q, buf + 8), 0xff);
    qv_add(&vq, &(QPiece){buf, 16, true}, 1);
    qv_kick(&vq);
    g_usleep(20000);
    qtest_check(!qv_get(&vq, &id, &len));
    qtest_clock_step(q, 1001000000);
    qtest_wait_until(qv_get(&vq, &id, &len));
    qtest_check_eq(len, 8);
    qtest_end(q);
}

static void test_rng_refused(void)
{
    static const char *const args[] = {
        "-device virtio-rng-pci,rng=nobody",
        "-device virtio-rng-pci,period=0",
        "-device virtio-rng-pci,max-bytes=9223372036854775808",
        "-object rng-random,id=r0,filename=/nowhere -device virtio-rng-pci,rng=r0",
        "-object iothread,id=r0 -device virtio-rng-pci,rng=r0",
        "-object rng-builtin,id=r0 -device virtio-rng-pci,rng=r0 -device virtio-rng-pci,rng=r0",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(args); i++) {
        g_autofree char *all = g_strconcat(MACHINE, args[i], NULL);
        int status;

        g_free(qtest_start_fails(all, &status));
        qtest_check_eq(status, QTEST_NOT_STARTED);
    }
}

/* The balloon. */

static void test_balloon(void)
{
    enum { PFNS = 16384 };
    QTest *q = qtest_start(MACHINE "-device virtio-balloon-pci,addr=5,free-page-reporting=on");
    QVirtio v;
    QVirtq inflate, deflate, reporting;
    uint64_t pages = qtest_alloc(q, 16 * 4096, 4096), list = qtest_alloc(q, 64, 0), many;

    qv_open(q, &v, 5, false);
    qv_init(&v, 1ull << 1 | 1ull << 5);
    qtest_check_eq(v.features & (1ull << 5), 1ull << 5);
    qv_queue(&v, &inflate, 0);
    qv_queue(&v, &deflate, 1);
    qv_queue(&v, &reporting, 3);
    qv_driver_ok(&v);
    qtest_check_eq(qv_config32(&v, 0), 0);
    qtest_memset(q, pages, 0x5a, 16 * 4096);
    for (unsigned i = 0; i < 4; i++) {
        qtest_writel(q, list + 4 * i, (pages >> 12) + 2 * i); /* every second page */
    }
    qtest_writel(q, list + 16, 0xffffffff); /* and a page that does not exist */
    qv_do(&inflate, &(QPiece){list, 20, false}, 1);
    for (unsigned i = 0; i < 8; i++) {
        qtest_check_eq(qtest_readb(q, pages + 4096 * i + 5), i & 1 ? 0x5a : 0);
    }
    qv_do(&deflate, &(QPiece){list, 16, false}, 1);
    /* Pages beyond the limit of one buffer keep their memory. */
    many = qtest_alloc(q, 4 * (PFNS + 1), 0);
    for (unsigned i = 0; i < PFNS; i++) {
        qtest_writel(q, many + 4 * i, (pages >> 12) + 9);
    }
    qtest_writel(q, many + 4 * PFNS, (pages >> 12) + 11);
    qv_do(&inflate, &(QPiece){many, 4 * (PFNS + 1), false}, 1);
    qtest_check_eq(qtest_readb(q, pages + 4096 * 9), 0);
    qtest_check_eq(qtest_readb(q, pages + 4096 * 11), 0x5a);
    qv_config_write32(&v, 4, 4);
    json_t *event = qtest_wait_event(q, "BALLOON_CHANGE");
    qtest_check_eq(json_integer_value(json_object_get(json_object_get(event, "data"), "actual")),
                   64 * 1024 * 1024 - 4 * 4096);
    json_decref(event);
    qv_do(&reporting, &(QPiece){pages + 4096, 2 * 4096, true}, 1);
    qtest_check_eq(qtest_readb(q, pages + 4096), 0);
    qtest_check_eq(qtest_readb(q, pages + 3 * 4096), 0x5a);
    qtest_end(q);
}

/* Ports. */

enum { READY = 0, ADD, REMOVE, PORT_READY, CONSOLE, RESIZE, OPEN, NAME };

typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq rx0, tx0, ctrl_rx, ctrl_tx, rx1, tx1;
    uint64_t ctrl_buf[16];
    unsigned seen;
} Serial;

static void serial_start(Serial *s)
{
    qv_init(&s->v, 1ull << 1);
    qtest_check(s->v.features & 1ull << 1);
    qtest_check_eq(qv_config32(&s->v, 4), 31);
    qv_queue(&s->v, &s->rx0, 0);
    qv_queue(&s->v, &s->tx0, 1);
    qv_queue(&s->v, &s->ctrl_rx, 2);
    qv_queue(&s->v, &s->ctrl_tx, 3);
    qv_queue(&s->v, &s->rx1, 4);
    qv_queue(&s->v, &s->tx1, 5);
    qv_driver_ok(&s->v);
    s->seen = 0;
    for (unsigned i = 0; i < 16; i++) {
        s->ctrl_buf[i] = qtest_alloc(s->q, 64, 0);
        qv_add(&s->ctrl_rx, &(QPiece){s->ctrl_buf[i], 64, true}, 1);
    }
    qv_kick(&s->ctrl_rx);
}

static void say(Serial *s, uint32_t port, uint16_t event, uint16_t value)
{
    uint64_t buf = qtest_alloc(s->q, 8, 0);

    qtest_writel(s->q, buf, port);
    qtest_writew(s->q, buf + 4, event);
    qtest_writew(s->q, buf + 6, value);
    qv_do(&s->ctrl_tx, &(QPiece){buf, 8, false}, 1);
}

static void expect(Serial *s, uint32_t port, uint16_t event, uint16_t value, const char *text)
{
    uint64_t buf = s->ctrl_buf[s->seen++];
    char got[64] = {0};
    uint32_t id, len;

    qtest_wait_until(qv_get(&s->ctrl_rx, &id, &len));
    qtest_check_eq(qtest_readl(s->q, buf), port);
    qtest_check_eq(qtest_readw(s->q, buf + 4), event);
    qtest_check_eq(qtest_readw(s->q, buf + 6), value);
    qtest_check_eq(len, 8 + (text ? strlen(text) : 0));
    if (text) {
        qtest_read(s->q, buf + 8, got, len - 8);
        qtest_check_str(got, text);
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(a.sun_path, path, sizeof a.sun_path);
    qtest_check_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static bool file_is(const char *path, const char *text)
{
    g_autofree char *got = NULL;

    return g_file_get_contents(path, &got, NULL, NULL) && !strcmp(got, text);
}

/* The driver starts both ports: port 0 is a console, port 1 has a name. */
static void serial_handshake(Serial *s)
{
    serial_start(s);
    say(s, ~0u, READY, 1);
    expect(s, 0, ADD, 1, NULL);
    expect(s, 1, ADD, 1, NULL);
    say(s, 0, PORT_READY, 1);
    expect(s, 0, CONSOLE, 1, NULL);
    expect(s, 0, OPEN, 1, NULL);
    say(s, 1, PORT_READY, 1);
    expect(s, 1, NAME, 1, "org.test");
}

static void check_console_out(Serial *s, uint64_t buf, const char *out)
{
    qtest_write(s->q, buf, "hello", 5);
    qv_do(&s->tx0, &(QPiece){buf, 5, false}, 1);
    qv_config_write32(&s->v, 8, '!'); /* emergency write */
    qtest_wait_until(file_is(out, "hello!"));
}

static void check_port_opened(Serial *s)
{
    json_t *event, *data;

    expect(s, 1, OPEN, 1, NULL);
    say(s, 1, OPEN, 1);
    event = qtest_wait_event(s->q, "VSERPORT_CHANGE");
    data = json_object_get(event, "data");
    qtest_check_str(json_string_value(json_object_get(data, "id")), "port1");
    qtest_check(json_is_true(json_object_get(data, "open")));
    json_decref(event);
}

/* Data in both directions between port 1 and the socket fd. */
static void check_port_data(Serial *s, uint64_t buf, int fd)
{
    char got[16] = {0};
    uint32_t id, len;

    qv_add(&s->rx1, &(QPiece){buf, 3, true}, 1);
    qv_add(&s->rx1, &(QPiece){buf + 3, 32, true}, 1);
    qv_kick(&s->rx1);
    qtest_check_eq(write(fd, "abcdef", 6), 6);
    qtest_wait_until(qv_get(&s->rx1, &id, &len));
    qtest_check_eq(len, 3);
    qtest_wait_until(qv_get(&s->rx1, &id, &len));
    qtest_check_eq(len, 3);
    qtest_read(s->q, buf, got, 6);
    qtest_check_str(got, "abcdef");
    qtest_write(s->q, buf, "pong", 4);
    qv_do(&s->tx1, &(QPiece){buf, 4, false}, 1);
    qtest_check_eq(read(fd, got, 4), 4);
    qtest_check_mem(got, "pong", 4);
}

static void test_serial(void)
{
    g_autofree char *path = g_strdup_printf("%s/port", qtest_tmp_dir());
    g_autofree char *out = g_strdup_printf("%s/console", qtest_tmp_dir());
    Serial s = {0};
    json_t *event;
    uint64_t buf;
    int fd;

    s.q = qtest_startf(MACHINE
                       "-chardev file,id=c0,path=%s "
                       "-chardev socket,id=c1,path=%s,server=on,wait=off "
                       "-device virtio-serial-pci,id=vs,addr=5 -device virtconsole,chardev=c0 "
                       "-device virtserialport,chardev=c1,name=org.test,id=port1,bus=vs.0",
                       out, path);
    qv_open(s.q, &s.v, 5, false);
    serial_handshake(&s);
    buf = qtest_alloc(s.q, 64, 0);
    check_console_out(&s, buf, out);
    fd = connect_to(path);
    check_port_opened(&s);
    check_port_data(&s, buf, fd);
    close(fd);
    expect(&s, 1, OPEN, 0, NULL);
    /* Messages for ports that do not exist, and an event that does not. */
    say(&s, 30, OPEN, 1);
    say(&s, 77, NAME, 9);
    say(&s, 1, 99, 9);
    /* A reset closes the driver's side. */
    serial_start(&s);
    event = qtest_wait_event(s.q, "VSERPORT_CHANGE");
    qtest_check(json_is_false(json_object_get(json_object_get(event, "data"), "open")));
    json_decref(event);
    qtest_end(s.q);
}

/* A reader that pauses while the VM is stopped and continued gets all data in order. */
static void test_serial_pauses(void)
{
    enum { LEN = 2 * 1024 * 1024 };
    g_autofree char *path = g_strdup_printf("%s/port", qtest_tmp_dir());
    g_autofree uint8_t *sent = g_malloc(LEN), *got = g_malloc(LEN);
    Serial s = {0};
    uint32_t id, len;
    uint64_t buf;
    size_t n = 0;
    int fd;

    s.q = qtest_startf(MACHINE "-chardev socket,id=c1,path=%s,server=on,wait=off "
                               "-device virtio-serial-pci,id=vs,addr=5 "
                               "-device virtserialport,chardev=c1,bus=vs.0",
                       path);
    qv_open(s.q, &s.v, 5, false);
    serial_start(&s);
    say(&s, ~0u, READY, 1);
    expect(&s, 1, ADD, 1, NULL);
    fd = connect_to(path);
    say(&s, 1, PORT_READY, 1);
    say(&s, 1, OPEN, 1);
    for (unsigned i = 0; i < LEN; i++) {
        sent[i] = i * 7 + (i >> 11);
    }
    buf = qtest_alloc(s.q, LEN, 0);
    qtest_write(s.q, buf, sent, LEN);
    qv_add(&s.tx1, &(QPiece){buf, LEN, false}, 1);
    qv_kick(&s.tx1);
    /* The device waits for the reader, so it asks for no kicks. */
    qtest_wait_until(qtest_readw(s.q, s.tx1.device) & 1);
    for (unsigned i = 0; i < 4; i++) {
        json_decref(qtest_qmp(s.q, "stop", NULL));
        json_decref(qtest_qmp(s.q, "cont", NULL));
        qtest_check(!qv_get(&s.tx1, &id, &len));
        /* Reading a part makes room for more. */
        for (size_t end = n + 300 * 1000; n < end;) {
            ssize_t bytes = read(fd, got + n, end - n);

            qtest_check(bytes > 0);
            n += bytes;
        }
    }
    while (n < LEN) {
        ssize_t bytes = read(fd, got + n, LEN - n);

        qtest_check(bytes > 0);
        n += bytes;
    }
    qtest_check_mem(got, sent, LEN);
    qtest_wait_until(qv_get(&s.tx1, &id, &len));
    qtest_wait_until(!(qtest_readw(s.q, s.tx1.device) & 1));
    close(fd);
    qtest_end(s.q);
}

/* A port is unplugged while its reader pauses: all of the driver's buffers are given back. */
static void test_port_unplug(void)
{
    enum { LEN = 2 * 1024 * 1024 };
    g_autofree char *path = g_strdup_printf("%s/port", qtest_tmp_dir());
    Serial s = {0};
    uint32_t id, len;
    uint64_t buf;
    int fd;

    s.q = qtest_startf(MACHINE "-chardev socket,id=c1,path=%s,server=on,wait=off "
                               "-device virtio-serial-pci,id=vs,addr=5 "
                               "-device virtserialport,chardev=c1,bus=vs.0,id=p1",
                       path);
    qv_open(s.q, &s.v, 5, false);
    serial_start(&s);
    say(&s, ~0u, READY, 1);
    expect(&s, 1, ADD, 1, NULL);
    fd = connect_to(path);
    say(&s, 1, PORT_READY, 1);
    say(&s, 1, OPEN, 1);
    buf = qtest_alloc(s.q, LEN, 0);
    qv_add(&s.tx1, &(QPiece){buf, LEN, false}, 1);
    qv_add(&s.tx1, &(QPiece){buf, 100, false}, 1);
    qv_kick_if_wanted(&s.tx1);
    json_decref(qtest_qmp(s.q, "device_del", "{s:s}", "id", "p1"));
    for (unsigned i = 0; i < 2; i++) {
        qtest_wait_until(qv_get(&s.tx1, &id, &len));
    }
    qv_add(&s.tx1, &(QPiece){buf, 100, false}, 1);
    qv_kick_if_wanted(&s.tx1);
    qtest_wait_until(qv_get(&s.tx1, &id, &len));
    close(fd);
    qtest_end(s.q);
}

/* A port whose output nobody keeps. */
static void stream_start(Serial *s)
{
    s->q = qtest_start(MACHINE "-chardev file,id=c1,path=/dev/null "
                               "-device virtio-serial-pci,id=vs,addr=5 "
                               "-device virtserialport,chardev=c1,bus=vs.0,id=p1");
    qv_open(s->q, &s->v, 5, false);
    serial_start(s);
    say(s, ~0u, READY, 1);
    expect(s, 1, ADD, 1, NULL);
    say(s, 1, PORT_READY, 1);
    expect(s, 1, OPEN, 1, NULL);
    say(s, 1, OPEN, 1);
    qv_isr(&s->v);
}

/* Gives the port chains of one buffer each. */
static void stream_add(Serial *s, unsigned count)
{
    static const QPiece piece = {0x100000, 4096, false};

    while (count--) {
        qv_add(&s->tx1, &piece, 1);
    }
}

static void stream_wait(Serial *s, unsigned count)
{
    uint32_t id, len;

    while (count--) {
        qtest_wait_until(qv_get(&s->tx1, &id, &len));
    }
}

static bool stream_wants_kicks(Serial *s)
{
    return !(qtest_readw(s->q, s->tx1.device) & 1);
}

/* Chains one at a time: an interrupt follows each at once. */
static void stream_singly(Serial *s, unsigned count)
{
    while (count--) {
        stream_add(s, 1);
        qv_kick(&s->tx1);
        stream_wait(s, 1);
        qtest_wait_until(qv_isr(&s->v));
        qtest_wait_until(stream_wants_kicks(s));
    }
}

/* The kick after which the device looks for more chains by a timer. */
static void stream_trial(Serial *s)
{
    stream_add(s, 1);
    qv_kick(&s->tx1);
    stream_wait(s, 1);
    qtest_check_eq(qv_isr(&s->v), 0);
    qtest_check(!stream_wants_kicks(s));
}

enum { STREAM_NS = 50000, STREAM_TRIAL = 8 };

/* A driver that goes on adding chains is neither asked for kicks nor interrupted for each. */
static void test_port_stream(void)
{
    Serial s = {0};

    stream_start(&s);
    stream_singly(&s, STREAM_TRIAL - 1);
    stream_trial(&s);
    for (unsigned i = 0; i < 10; i++) {
        stream_add(&s, 2);
        qtest_clock_step(s.q, STREAM_NS);
        stream_wait(&s, 2);
        qtest_check_eq(qv_isr(&s.v), 0);
        qtest_check(!stream_wants_kicks(&s));
    }
    /* Half of a ring was given back: the driver may wait for room. */
    stream_add(&s, qv_queue_size(&s.v, 5) / 2);
    qtest_clock_step(s.q, STREAM_NS);
    stream_wait(&s, qv_queue_size(&s.v, 5) / 2);
    qtest_wait_until(qv_isr(&s.v));
    /* Turns without an interrupt are limited. */
    for (unsigned i = 0; i < 16; i++) {
        stream_add(&s, 1);
        qtest_clock_step(s.q, STREAM_NS);
        stream_wait(&s, 1);
    }
    qtest_wait_until(qv_isr(&s.v));
    /* The stream ends with an interrupt and kicks, and the next kick may begin another. */
    stream_add(&s, 1);
    qtest_clock_step(s.q, STREAM_NS);
    stream_wait(&s, 1);
    qtest_check_eq(qv_isr(&s.v), 0);
    qtest_clock_step(s.q, STREAM_NS);
    qtest_wait_until(qv_isr(&s.v));
    qtest_wait_until(stream_wants_kicks(&s));
    stream_trial(&s);
    /* What is owed comes when the VM stops. */
    json_decref(qtest_qmp(s.q, "stop", NULL));
    qtest_wait_until(qv_isr(&s.v));
    json_decref(qtest_qmp(s.q, "cont", NULL));
    stream_add(&s, 1);
    qtest_clock_step(s.q, STREAM_NS);
    stream_wait(&s, 1);
    /* Unplugged: chains that nobody has kicked for are given back, too. */
    stream_add(&s, 1);
    json_decref(qtest_qmp(s.q, "device_del", "{s:s}", "id", "p1"));
    stream_wait(&s, 1);
    qtest_wait_until(stream_wants_kicks(&s));
    qtest_end(s.q);
}

/* A driver that waits for each interrupt waits for a timer ever more rarely. */
static void test_port_no_stream(void)
{
    Serial s = {0};

    stream_start(&s);
    for (unsigned trial = STREAM_TRIAL; trial <= 4 * STREAM_TRIAL; trial *= 2) {
        stream_singly(&s, trial - 1);
        stream_trial(&s);
        qtest_clock_step(s.q, STREAM_NS);
        qtest_wait_until(qv_isr(&s.v));
        qtest_wait_until(stream_wants_kicks(&s));
    }
    qtest_end(s.q);
}

/* A console without a reader takes any amount of output, in several turns of the loop. */
static void test_console_huge(void)
{
    enum { LEN = 16 * 1024 * 1024, PIECES = 8 };
    g_autofree char *path = g_strdup_printf("%s/console", qtest_tmp_dir());
    QPiece pieces[PIECES];
    Serial s = {0};
    uint32_t id, len;
    uint64_t buf;
    int fd;

    s.q = qtest_startf(MACHINE "-chardev socket,id=c0,path=%s,server=on,wait=off "
                               "-device virtio-serial-pci,id=vs,addr=5 "
                               "-device virtconsole,chardev=c0",
                       path);
    qv_open(s.q, &s.v, 5, false);
    serial_start(&s);
    fd = connect_to(path);
    buf = qtest_alloc(s.q, LEN, 0);
    for (unsigned i = 0; i < PIECES; i++) {
        pieces[i] = (QPiece){buf, LEN, false};
    }
    qv_add(&s.tx0, pieces, PIECES);
    qv_kick(&s.tx0);
    json_decref(qtest_qmp(s.q, "query-status", NULL));
    qtest_check(!qv_get(&s.tx0, &id, &len)); /* not in one turn */
    qtest_wait_until(qv_get(&s.tx0, &id, &len));
    close(fd);
    qtest_end(s.q);
}

static void test_serial_refused(void)
{
    static const char *const args[] = {
        "-device virtserialport",
        "-device virtio-serial-pci,max_ports=32",
        "-device virtio-serial-pci -device virtserialport,nr=0",
        "-device virtio-serial-pci -device virtserialport,nr=31",
        "-device virtio-serial-pci -device virtserialport,nr=3 -device virtserialport,nr=3",
        "-device virtio-serial-pci -device virtserialport,name=a -device virtserialport,name=a",
        "-device virtio-serial-pci -device virtserialport,chardev=nobody",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(args); i++) {
        g_autofree char *all = g_strconcat(MACHINE, args[i], NULL);
        int status;

        g_free(qtest_start_fails(all, &status));
        qtest_check_eq(status, QTEST_NOT_STARTED);
    }
}

static const QTestCase cases[] = {
    {"rng-limit", test_rng_limit},
    {"rng-refused", test_rng_refused},
    {"balloon", test_balloon},
    {"serial", test_serial},
    {"serial-pauses", test_serial_pauses},
    {"port-unplug", test_port_unplug},
    {"port-stream", test_port_stream},
    {"port-no-stream", test_port_no_stream},
    {"console-huge", test_console_huge},
    {"serial-refused", test_serial_refused},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
