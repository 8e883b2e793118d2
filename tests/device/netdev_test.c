/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two machines on one network: -netdev socket, stream and dgram, over loopback only. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include "qvirtio.h"

#define MACHINE "-machine pc -m 64 -nodefaults "

enum { HEADER = 12, FRAME = 2048, BUFFERS = 16, RING = 256 };

typedef struct {
    QTest *q;
    QVirtio v;
    QVirtq rx, tx;
    uint64_t out, in[RING]; /* in: by the number of the chain */
} Guest;

/* Gives the device a buffer to receive into. */
static void guest_give(Guest *g, uint64_t buffer)
{
    int id = qv_add(&g->rx, &(QPiece){buffer, FRAME, true}, 1);

    qtest_check_lt(id, RING);
    g->in[id] = buffer;
    qv_kick(&g->rx);
}

static void guest_start(Guest *g)
{
    qv_init(&g->v, 0);
    qv_queue(&g->v, &g->rx, 0);
    qv_queue(&g->v, &g->tx, 1);
    qv_driver_ok(&g->v);
    g->out = qtest_alloc(g->q, FRAME, 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        guest_give(g, qtest_alloc(g->q, FRAME, 0));
    }
}

static void guest_open(Guest *g, const char *netdev, const char *more)
{
    *g = (Guest){0};
    g->q = qtest_startf(MACHINE "-netdev %s,id=n0 -device virtio-net-pci,netdev=n0,id=nic0,addr=5 "
                                "%s",
                        netdev, more);
    qv_open(g->q, &g->v, 5, false);
    guest_start(g);
}

static void guest_send(Guest *g, const char *text)
{
    char frame[64] = "";

    g_strlcpy(frame, text, sizeof frame);
    qtest_memset(g->q, g->out, 0, HEADER);
    qtest_write(g->q, g->out + HEADER, frame, sizeof frame);
    qv_do(&g->tx, &(QPiece){g->out, HEADER + sizeof frame, false}, 1);
}

/* The next packet is this one. */
static void guest_expect(Guest *g, const char *text)
{
    char frame[64];
    uint32_t id, len;

    qtest_wait_until(qv_get(&g->rx, &id, &len));
    qtest_check_eq(len, HEADER + 64);
    qtest_read(g->q, g->in[id] + HEADER, frame, sizeof frame);
    qtest_check_str(frame, text);
    guest_give(g, g->in[id]);
}

static unsigned free_port(int type)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, type, 0);

    qtest_check(bind(fd, (struct sockaddr *)&in, sizeof in) == 0);
    getsockname(fd, (struct sockaddr *)&in, &len);
    close(fd);
    return ntohs(in.sin_port);
}

static bool has_info(Guest *g, const char *text)
{
    g_autofree char *info = qtest_hmp(g->q, "info network");

    return strstr(info, text);
}

static void both_ways(Guest *a, Guest *b)
{
    for (unsigned i = 0; i < 40; i++) {
        g_autofree char *there = g_strdup_printf("%u of a", i);
        g_autofree char *back = g_strdup_printf("%u of b", i);

        guest_send(a, there);
        guest_expect(b, there);
        guest_send(b, back);
        guest_expect(a, back);
    }
}

/* 'up': what 'info network' of both says when they are connected. */
static void try_pair(const char *first, const char *second, const char *up_first,
                     const char *up_second)
{
    Guest a, b;

    guest_open(&a, first, "");
    guest_open(&b, second, "");
    qtest_wait_until(has_info(&a, up_first));
    qtest_wait_until(has_info(&b, up_second));
    both_ways(&a, &b);
    qtest_end(b.q);
    qtest_end(a.q);
}

static void test_listen_connect(void)
{
    unsigned port = free_port(SOCK_STREAM);
    g_autofree char *first = g_strdup_printf("socket,listen=127.0.0.1:%u", port);
    g_autofree char *second = g_strdup_printf("socket,connect=localhost:%u", port);
    g_autofree char *up = g_strdup_printf("type=socket,socket: connect to 127.0.0.1:%u\r\n", port);

    try_pair(first, second, "type=socket,socket: connection from 127.0.0.1:", up);
}

static void test_stream_inet(void)
{
    unsigned port = free_port(SOCK_STREAM);
    g_autofree char *address =
        g_strdup_printf("addr.type=inet,addr.host=127.0.0.1,addr.port=%u", port);
    g_autofree char *first = g_strdup_printf("stream,server=on,%s", address);
    g_autofree char *second = g_strdup_printf("stream,%s,addr.keep-alive=on", address);
    g_autofree char *up = g_strdup_printf("type=stream,tcp:127.0.0.1:%u\r\n", port);

    try_pair(first, second, "type=stream,tcp:127.0.0.1:", up);
}

static void test_stream_unix(void)
{
    g_autofree char *path = g_strdup_printf("%s/socket", qtest_tmp_dir());
    g_autofree char *first = g_strdup_printf("stream,server=on,addr.type=unix,addr.path=%s", path);
    g_autofree char *second = g_strdup_printf("stream,addr.type=unix,addr.path=%s", path);
    g_autofree char *up = g_strdup_printf("type=stream,unix:%s\r\n", path);

    try_pair(first, second, up, up);
    qtest_check(access(path, F_OK) < 0); /* the server's path is gone with it */
}

static void test_stream_abstract(void)
{
    g_autofree char *address =
        g_strdup_printf("addr.type=unix,addr.abstract=on,addr.path=vmm-test-%d", (int)getpid());
    g_autofree char *first = g_strdup_printf("stream,server=on,%s", address);
    g_autofree char *second = g_strdup_printf("stream,%s", address);

    try_pair(first, second, "type=stream,unix:", "type=stream,unix:");
}

static void try_fds(const char *format, int type, const char *up)
{
    g_autofree char *first = NULL, *second = NULL;
    int pair[2];

    qtest_check(socketpair(AF_UNIX, type, 0, pair) == 0);
    first = g_strdup_printf(format, pair[0]);
    second = g_strdup_printf(format, pair[1]);
    try_pair(first, second, up, up);
}

static void test_fd(void)
{
    try_fds("socket,fd=%d", SOCK_STREAM, "type=socket,socket: fd=");
    try_fds("socket,fd=%d", SOCK_DGRAM, "type=socket,socket: fd=");
    try_fds("stream,addr.type=fd,addr.str=%d", SOCK_STREAM, "type=stream,unix:");
    try_fds("dgram,local.type=fd,local.str=%d", SOCK_DGRAM, "type=dgram,fd=");
}

static void test_udp(void)
{
    unsigned p = free_port(SOCK_DGRAM), r = free_port(SOCK_DGRAM);
    g_autofree char *a = g_strdup_printf("socket,udp=127.0.0.1:%u,localaddr=127.0.0.1:%u", p, r);
    g_autofree char *b = g_strdup_printf("socket,udp=127.0.0.1:%u,localaddr=127.0.0.1:%u", r, p);
    g_autofree char *c = g_strdup_printf("dgram,local.type=inet,local.host=127.0.0.1,local.port=%u,"
                                         "remote.type=inet,remote.host=127.0.0.1,remote.port=%u",
                                         p, r);
    g_autofree char *up_c = g_strdup_printf("type=dgram,udp=127.0.0.1:%u/127.0.0.1:%u\r\n", p, r);
    g_autofree char *up_a = g_strdup_printf("type=socket,socket: udp=127.0.0.1:%u\r\n", p);

    try_pair(a, b, up_a, "type=socket,socket: udp=");
    try_pair(a, c, up_a, up_c); /* the same on the wire */
}

static void test_dgram_unix(void)
{
    const char *dir = qtest_tmp_dir();
    g_autofree char *a = g_strdup_printf("dgram,local.type=unix,local.path=%s/a,remote.type=unix,"
                                         "remote.path=%s/b",
                                         dir, dir);
    g_autofree char *b = g_strdup_printf("dgram,local.type=unix,local.path=%s/b,remote.type=unix,"
                                         "remote.path=%s/a",
                                         dir, dir);

    try_pair(a, b, "type=dgram,udp=", "type=dgram,udp=");
}

/* A group of three, one of which names it as -netdev dgram does. Each hears itself as well. */
static void test_mcast(void)
{
    unsigned port = free_port(SOCK_DGRAM);
    g_autofree char *old = g_strdup_printf("socket,mcast=230.9.8.7:%u,localaddr=127.0.0.1", port);
    g_autofree char *new = g_strdup_printf(
        "dgram,remote.type=inet,remote.host=230.9.8.7,remote.port=%u,local.type=inet,"
        "local.host=127.0.0.1,local.port=0",
        port);
    g_autofree char *up = g_strdup_printf("type=dgram,mcast=230.9.8.7:%u\r\n", port);
    Guest g[3];

    guest_open(&g[0], old, "");
    guest_open(&g[1], old, "");
    guest_open(&g[2], new, "");
    qtest_check(has_info(&g[2], up));
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *text = g_strdup_printf("from %u", i);

        guest_send(&g[i], text);
        for (unsigned k = 0; k < 3; k++) {
            guest_expect(&g[k], text);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        qtest_end(g[i].q);
    }
}

static void check_event(Guest *g, const char *name, const char *type)
{
    json_t *event = qtest_wait_event(g->q, name), *data = json_object_get(event, "data");

    qtest_check_str(json_string_value(json_object_get(data, "netdev-id")), "n0");
    if (type) {
        qtest_check_str(json_string_value(json_object_get(json_object_get(data, "addr"), "type")),
                        type);
    }
    json_decref(event);
}

/* A server keeps its NIC through the end of a client, and takes the next. */
static void test_next_client(void)
{
    g_autofree char *path = g_strdup_printf("%s/socket", qtest_tmp_dir());
    g_autofree char *server = g_strdup_printf("stream,server=on,addr.type=unix,addr.path=%s", path);
    g_autofree char *client = g_strdup_printf("stream,addr.type=unix,addr.path=%s", path);
    Guest a, b;

    guest_open(&a, server, "");
    for (unsigned i = 0; i < 2; i++) {
        guest_open(&b, client, "");
        check_event(&a, "NETDEV_STREAM_CONNECTED", "unix");
        both_ways(&a, &b);
        qtest_end(b.q);
        check_event(&a, "NETDEV_STREAM_DISCONNECTED", NULL);
        guest_send(&a, "to nobody"); /* dropped */
    }
    qtest_end(a.q);
}

/* netdev_add and netdev_del in a running machine; the other end goes while packets wait. */
static void test_hotplug(void)
{
    unsigned port = free_port(SOCK_STREAM);
    g_autofree char *number = g_strdup_printf("%u", port);
    g_autofree char *server = g_strdup_printf("socket,listen=127.0.0.1:%u", port);
    g_autofree char *error = NULL;
    Guest a, b = {0};

    guest_open(&a, server, "");
    b.q = qtest_start(MACHINE);
    json_decref(qtest_qmp(b.q, "netdev_add", "{s:s,s:s,s:{s:s,s:s,s:s}}", "type", "stream", "id",
                          "n0", "addr", "type", "inet", "host", "localhost", "port", number));
    check_event(&b, "NETDEV_STREAM_CONNECTED", "inet");
    json_decref(qtest_qmp(b.q, "device_add", "{s:s,s:s,s:s,s:s}", "driver", "virtio-net-pci",
                          "netdev", "n0", "id", "nic0", "addr", "5"));
    qv_open(b.q, &b.v, 5, false);
    guest_start(&b);
    both_ways(&a, &b);
    json_decref(qtest_qmp(b.q, "netdev_del", "{s:s}", "id", "n0"));
    guest_send(&b, "to nobody");
    qtest_wait_until(has_info(&a, "type=socket,\r\n"));
    guest_send(&a, "to nobody");
    error = qtest_qmp_fails(b.q, NULL, "netdev_add", "{s:s,s:s,s:s}", "type", "socket", "id", "n1",
                            "connect", "name.invalid:1");
    qtest_check(strstr(error, "name.invalid") != NULL);
    g_free(error);
    error = qtest_qmp_fails(b.q, NULL, "netdev_add", "{s:s,s:s,s:{s:s,s:s}}", "type", "stream",
                            "id", "n1", "addr", "type", "inet", "host", "x");
    qtest_check_str(error, "Parameter 'addr.port' is missing");
    qtest_end(b.q);
    qtest_end(a.q);
}

/* A peer of the test's own that sends what it should not, while a guest is there. */
static void test_hostile_peer(void)
{
    static const uint8_t streams[][12] = {
        {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8},
        {0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0},
        {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    Guest b;

    for (unsigned i = 0; i < G_N_ELEMENTS(streams); i++) {
        g_autofree char *client = NULL;
        uint8_t byte;
        int pair[2];

        qtest_check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        client = g_strdup_printf("stream,addr.type=fd,addr.str=%d", pair[1]);
        guest_open(&b, client, "");
        close(pair[1]);
        qtest_check(write(pair[0], streams[i], 12) == 12);
        qtest_check(read(pair[0], &byte, 1) == 0);
        check_event(&b, "NETDEV_STREAM_DISCONNECTED", NULL);
        guest_send(&b, "to nobody");
        qtest_end(b.q);
        close(pair[0]);
    }
}

/* The lengths of the packets in a capture file, in their order: "64 64". */
static char *dump_lengths(const char *path)
{
    GString *out = g_string_new("");
    g_autofree uint8_t *data = NULL;
    size_t size, at = 24;

    qtest_check(g_file_get_contents(path, (char **)&data, &size, NULL));
    qtest_check_ge(size, 24);
    qtest_check_eq(*(uint32_t *)data, 0xa1b2c3d4);
    while (at < size) {
        qtest_check_le(at + 16, size);
        g_string_append_printf(out, "%s%u", out->len ? " " : "", *(uint32_t *)(data + at + 12));
        at += 16 + *(uint32_t *)(data + at + 8);
    }
    qtest_check_eq(at, size);
    return g_string_free(out, FALSE);
}

/* The same as tshark sees it; NULL where there is none. */
static char *tshark_lengths(const char *path)
{
    g_autofree char *program = g_find_program_in_path("tshark");
    const char *argv[] = {program, "-n", "-r", path, "-T", "fields", "-e", "frame.len", NULL};
    char *text = NULL;
    int status;

    if (!program) {
        return NULL;
    }
    qtest_check(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                             &text, NULL, &status, NULL));
    qtest_check_eq(status, 0);
    return g_strdelimit(g_strchomp(text), "\n", ' ');
}

static void check_dump(const char *path, const char *lengths)
{
    g_autofree char *ours = dump_lengths(path), *theirs = tshark_lengths(path);

    qtest_check_str(ours, lengths);
    if (theirs) {
        qtest_check_str(theirs, lengths);
    }
}

/* Filters that are there from the start, come, are switched off, and go. */
static void test_filter_dump(void)
{
    const char *dir = qtest_tmp_dir();
    g_autofree char *first = g_strdup_printf("%s/first", dir);
    g_autofree char *second = g_strdup_printf("%s/second", dir);
    g_autofree char *more = g_strdup_printf("-object filter-dump,id=f0,netdev=n0,file=%s", first);
    g_autofree char *expected = NULL, *error = NULL;
    int pair[2];
    Guest a, b;

    qtest_check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    g_autofree char *netdev_a = g_strdup_printf("socket,fd=%d", pair[0]);
    g_autofree char *netdev_b = g_strdup_printf("socket,fd=%d", pair[1]);
    guest_open(&a, netdev_a, more);
    guest_open(&b, netdev_b, "");
    guest_send(&a, "there");
    guest_expect(&b, "there");
    json_decref(qtest_qmp(a.q, "object-add", "{s:s,s:s,s:s,s:s,s:i,s:s}", "qom-type", "filter-dump",
                          "id", "f1", "netdev", "n0", "file", second, "maxlen", 20, "queue", "tx"));
    expected = g_strdup_printf(
        "filters:\r\n  - f0: type=filter-dump,file=%s,maxlen=65536,position=tail,status=on,"
        "insert=behind,netdev=n0,queue=all\r\n  - f1: type=filter-dump,",
        first);
    qtest_check(has_info(&a, expected));
    guest_send(&b, "back");
    guest_expect(&a, "back");
    json_decref(qtest_qmp(a.q, "qom-set", "{s:s,s:s,s:s}", "path", "/objects/f0", "property",
                          "status", "value", "off"));
    guest_send(&b, "not in f0");
    guest_expect(&a, "not in f0");
    json_decref(qtest_qmp(a.q, "object-del", "{s:s}", "id", "f1"));
    check_dump(first, "64 64");
    check_dump(second, "64 64");
    error = qtest_qmp_fails(a.q, NULL, "object-add", "{s:s,s:s,s:s,s:s}", "qom-type", "filter-dump",
                            "id", "f1", "netdev", "none", "file", second);
    qtest_check(strstr(error, "expects a network backend id") != NULL);
    json_decref(qtest_qmp(a.q, "netdev_del", "{s:s}", "id", "n0")); /* f0 goes, too */
    g_free(error);
    error = qtest_qmp_fails(a.q, NULL, "object-del", "{s:s}", "id", "f0");
    qtest_check(strstr(error, "f0") != NULL);
    qtest_end(b.q);
    qtest_end(a.q);
}

/* -net dump records what passes through a hub; a filter may sit on a port. */
static void test_net_dump(void)
{
    const char *dir = qtest_tmp_dir();
    g_autofree char *hub = g_strdup_printf("%s/hub", dir), *port = g_strdup_printf("%s/port", dir);
    Guest a = {0};

    a.q = qtest_startf(MACHINE "-net nic,model=virtio-net-pci,addr=5 -net dump,file=%s,len=1k "
                               "-object filter-dump,id=f0,netdev=hub0port0,file=%s",
                       hub, port);
    qv_open(a.q, &a.v, 5, false);
    guest_start(&a);
    guest_send(&a, "one");
    guest_send(&a, "two");
    qtest_end(a.q);
    check_dump(hub, "64 64");
    check_dump(port, "64 64");
}

static const QTestCase cases[] = {
    {"listen-connect", test_listen_connect},
    {"stream-inet", test_stream_inet},
    {"stream-unix", test_stream_unix},
    {"stream-abstract", test_stream_abstract},
    {"fd", test_fd},
    {"udp", test_udp},
    {"dgram-unix", test_dgram_unix},
    {"mcast", test_mcast},
    {"next-client", test_next_client},
    {"hotplug", test_hotplug},
    {"hostile-peer", test_hostile_peer},
    {"filter-dump", test_filter_dump},
    {"net-dump", test_net_dump},
    {0},
};

int main(int argc, char **argv)
{
    return qtest_run(argc, argv, cases);
}
