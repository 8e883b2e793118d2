/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -netdev socket, stream and dgram against peers that are sockets of the test. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/util.h"
#include "fixture.h"
#include "frames.h"

/* Frames. */

/* A stream of packets of these lengths; returns its length. */
static size_t put_packets(uint8_t *to, const size_t *lens, unsigned n)
{
    size_t at = 0;

    for (unsigned i = 0; i < n; i++) {
        stbe32(to + at, lens[i]);
        memset(to + at + FRAMES_HEADER, 'a' + i, lens[i]);
        at += FRAMES_HEADER + lens[i];
    }
    return at;
}

START_TEST(frames_cut_anywhere)
{
    static const size_t lens[] = {1, 60, 0, 3, NET_PACKET_MAX, 1514, NET_PACKET_MAX, 5};
    g_autofree uint8_t *stream = g_malloc(4 * NET_PACKET_MAX);
    size_t size = put_packets(stream, lens, G_N_ELEMENTS(lens));
    static const size_t cuts[] = {1, 3, 4, 7, 1000, 65000, 70000, SIZE_MAX};

    for (unsigned c = 0; c < G_N_ELEMENTS(cuts); c++) {
        FrameReader r;
        unsigned got = 0;

        frames_init(&r);
        for (size_t at = 0; at < size;) {
            uint8_t *packet;
            size_t room, len, n;
            uint8_t *to = frames_room(&r, &room);

            n = MIN(MIN(room, cuts[c]), size - at);
            ck_assert_uint_gt(n, 0);
            memcpy(to, stream + at, n);
            frames_filled(&r, n);
            at += n;
            while (frames_next(&r, &packet, &len) == FRAME_PACKET) {
                got += lens[got] == 0; /* empty ones are skipped */
                ck_assert_uint_eq(len, lens[got]);
                ck_assert_int_eq(packet[0], 'a' + got);
                ck_assert_int_eq(packet[len - 1], 'a' + got);
                got++;
            }
        }
        ck_assert_uint_eq(got, G_N_ELEMENTS(lens));
        frames_free(&r);
    }
}
END_TEST

START_TEST(frames_too_long)
{
    FrameReader r;
    uint8_t *packet, *to;
    size_t room, len;

    frames_init(&r);
    to = frames_room(&r, &room);
    stbe32(to, NET_PACKET_MAX + 1);
    frames_filled(&r, 3);
    ck_assert_int_eq(frames_next(&r, &packet, &len), FRAME_INCOMPLETE);
    frames_filled(&r, 1);
    ck_assert_int_eq(frames_next(&r, &packet, &len), FRAME_TOO_LONG);
    frames_free(&r);
}
END_TEST

/* Streams. */

typedef struct {
    Nic *nic;
    int fd; /* the peer's end */
} Wire;

static Wire wire_new(const char *format, int type)
{
    g_autofree char *text = NULL;
    GError *err = NULL;
    Wire w;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, type, 0, pair), 0);
    text = g_strdup_printf(format, pair[1]);
    netdev_text(text, &err);
    ck_no_error(err);
    w.fd = pair[0];
    w.nic = nic_new("nic0", "n0");
    run_for_ms(1);
    return w;
}

static void check_info(const char *expected)
{
    g_autofree char *text = net_info_text();

    ck_assert_msg(strstr(text, expected), "'%s' is not in:\n%s", expected, text);
}

static void peer_send(int fd, const void *data, size_t len)
{
    uint8_t header[FRAMES_HEADER];

    stbe32(header, len);
    ck_assert_int_eq(write(fd, header, sizeof header), sizeof header);
    ck_assert_int_eq(write(fd, data, len), len);
}

START_TEST(stream_both_ways)
{
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    uint8_t got[64], frame[60];
    size_t len;

    check_info("n0: index=0,type=socket,socket: fd=");
    memset(frame, 'x', sizeof frame);
    nic_send(w.nic, frame, sizeof frame);
    ck_assert_int_eq(read(w.fd, got, sizeof got), 64);
    ck_assert_uint_eq(ldbe32(got), 60);
    ck_assert_mem_eq(got + 4, frame, 60);
    peer_send(w.fd, "hello, guest, how are you", 25);
    peer_send(w.fd, "", 0);
    peer_send(w.fd, "next", 4);
    run_until(w.nic->frames->len == 2);
    ck_assert_mem_eq(nic_frame(w.nic, 0, &len), "hello, guest, how are you", 25);
    ck_assert_uint_eq(len, 25);
    ck_assert_mem_eq(nic_frame(w.nic, 1, &len), "next", 4);
    close(w.fd);
}
END_TEST

/* Lengths that make no sense end the connection; nothing is delivered of what follows. */
START_TEST(stream_too_long)
{
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    static const uint8_t bad[12] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4, 'a', 'b', 'c', 'd'};
    uint8_t byte;

    peer_send(w.fd, "good", 4);
    ck_assert_int_eq(write(w.fd, bad, sizeof bad), sizeof bad);
    run_until(recv(w.fd, &byte, 1, MSG_DONTWAIT) == 0);
    ck_assert_uint_eq(w.nic->frames->len, 1);
    check_info("n0: index=0,type=socket,\n");
    nic_send(w.nic, bad, sizeof bad); /* dropped */
    close(w.fd);
}
END_TEST

START_TEST(stream_cut_by_its_end)
{
    Wire w = wire_new("stream,id=n0,addr.type=fd,addr.str=%d", SOCK_STREAM);

    check_info("n0: index=0,type=stream,unix:");
    w.nic->room = 0; /* the end is noticed although the NIC takes nothing */
    peer_send(w.fd, "one", 3);
    peer_send(w.fd, "two", 3);
    ck_assert_int_eq(write(w.fd, "\0\0\0\10half", 8), 8);
    run_for_ms(5);
    close(w.fd);
    for (unsigned i = 0; i < 50; i++) {
        run_for_ms(1);
    }
    check_info("n0: index=0,type=stream,\n");
    w.nic->room = 10;
    net_peer_ready(&w.nic->peer);
    run_until(w.nic->frames->len == 2);
    run_for_ms(5);
    ck_assert_uint_eq(w.nic->frames->len, 2);
}
END_TEST

static void read_all(int fd, void *to, size_t len)
{
    while (len) {
        ssize_t n = recv(fd, to, len, MSG_DONTWAIT);

        if (n < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            event_loop_iterate(loop, 1000000);
            continue;
        }
        ck_assert_int_gt(n, 0);
        to = (uint8_t *)to + n;
        len -= n;
    }
}

/* A packet of any size, whose bytes tell its number. Whether it was taken. */
static bool send_numbered(Nic *nic, unsigned i, uint8_t *frame, size_t len)
{
    struct iovec iov = {frame, len};

    memset(frame, i, len);
    stbe32(frame, i);
    return net_send(&nic->peer, &iov, 1) != 0;
}

/* A peer that does not read: the sender is told 'not now', and loses nothing. */
START_TEST(stream_peer_does_not_read)
{
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    g_autofree uint8_t *frame = g_malloc(60000), *got = g_malloc(60004);
    unsigned sent = 0, i;
    uint64_t turns;

    while (send_numbered(w.nic, sent, frame, 60000)) {
        sent++;
        ck_assert_uint_lt(sent, 1000);
    }
    turns = event_loop_turns(loop);
    run_for_ms(20);
    ck_assert_uint_lt(event_loop_turns(loop) - turns, 50); /* no spinning */
    ck_assert_int_eq(w.nic->ready, 0);
    ck_assert(!send_numbered(w.nic, sent, frame, 60000));
    for (i = 0; i < sent; i++) {
        read_all(w.fd, got, 60004);
        ck_assert_uint_eq(ldbe32(got), 60000);
        ck_assert_uint_eq(ldbe32(got + 4), i);
        ck_assert_int_eq(got[60003], i & 0xff);
    }
    run_until(w.nic->ready);
    ck_assert(send_numbered(w.nic, sent, frame, 60000));
    read_all(w.fd, got, 60004);
    ck_assert_uint_eq(ldbe32(got + 4), sent);
    close(w.fd);
}
END_TEST

/* ... and goes away: a sender that waits is told to go on. */
START_TEST(stream_lost_while_waiting)
{
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    g_autofree uint8_t *frame = g_malloc(60000);
    unsigned sent = 0;

    while (send_numbered(w.nic, sent, frame, 60000)) {
        sent++;
    }
    close(w.fd);
    run_until(w.nic->ready);
    ck_assert(send_numbered(w.nic, sent, frame, 60000)); /* dropped */
    check_info("n0: index=0,type=socket,\n");
}
END_TEST

/* A NIC that is full: what the peer sends waits in the socket, and none of it is lost. */
START_TEST(stream_nic_is_full)
{
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    unsigned sent = 0, full = 0;
    uint64_t turns;
    size_t len;

    fcntl(w.fd, F_SETFL, O_NONBLOCK);
    w.nic->room = 3;
    while (full < 20) {
        uint8_t packet[1504];

        stbe32(packet, 1500);
        memset(packet + 4, sent, 1500);
        stbe32(packet + 4, sent);
        if (send(w.fd, packet, sizeof packet, MSG_DONTWAIT) == sizeof packet) {
            sent++;
        } else {
            full++;
        }
        event_loop_iterate(loop, 0);
    }
    turns = event_loop_turns(loop);
    run_for_ms(20);
    ck_assert_uint_lt(event_loop_turns(loop) - turns, 50);
    ck_assert_uint_eq(w.nic->frames->len, 3);
    ck_assert_uint_gt(sent, 90); /* the reader's buffer, and the socket's */
    w.nic->room = UINT32_MAX;
    net_peer_ready(&w.nic->peer);
    run_until(w.nic->frames->len == sent);
    for (unsigned i = 0; i < sent; i++) {
        ck_assert_uint_eq(ldbe32(nic_frame(w.nic, i, &len)), i);
        ck_assert_uint_eq(len, 1500);
    }
    close(w.fd);
}
END_TEST

/* Deleted in the middle of a packet in each direction, and while connecting. */
START_TEST(stream_deleted)
{
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    g_autofree uint8_t *frame = g_malloc(60000);
    GError *err = NULL;

    while (send_numbered(w.nic, 0, frame, 60000)) {
    }
    ck_assert_int_eq(write(w.fd, "\0\0\0\10half", 8), 8);
    run_for_ms(1);
    ck_assert(netdev_del("n0", &err));
    ck_assert_int_eq(w.nic->ready, 1);
    run_for_ms(1);
    close(w.fd);
    ck_assert(netdev_text("socket,id=n1,connect=127.0.0.1:9", &err));
    ck_assert(netdev_text("stream,id=n2,addr.type=inet,addr.host=127.0.0.1,addr.port=9", &err));
    ck_assert(netdev_del("n1", &err));
    ck_assert(netdev_del("n2", &err));
    run_for_ms(5);
}
END_TEST

/* Servers and clients. */

static unsigned connects, disconnects;

static void count_events(const char *id, json_t *address, void *data)
{
    ck_assert_str_eq(data, "me");
    connects += address != NULL;
    disconnects += address == NULL;
}

START_TEST(stream_server_takes_one_after_another)
{
    g_autofree char *dir = g_dir_make_tmp("vmm-net-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *server =
        g_strdup_printf("stream,id=n0,server=on,addr.type=unix,addr.path=%s", path);
    GError *err = NULL;
    Nic *nic, *other;
    char frame[60] = "a packet";

    connects = disconnects = 0;
    net_set_stream_hook(count_events, (void *)"me");
    netdev_text(server, &err);
    ck_no_error(err);
    nic = nic_new("nic0", "n0");
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *text =
            g_strdup_printf("stream,id=c%u,addr.type=unix,addr.path=%s", i, path);
        g_autofree char *id = g_strdup_printf("c%u", i);

        netdev_text(text, &err);
        ck_no_error(err);
        other = nic_new(NULL, id);
        run_until(connects == 2 * i + 2);
        nic_send(other, frame, sizeof frame);
        run_until(nic->frames->len == i + 1);
        nic_send(nic, frame, sizeof frame);
        run_until(other->frames->len == 1);
        nic_free(other);
        ck_assert(netdev_del(id, &err));
        run_until(disconnects == i + 1);
    }
    ck_assert(netdev_del("n0", &err));
    ck_assert_int_eq(access(path, F_OK), -1);
    net_set_stream_hook(NULL, NULL);
    rmdir(dir);
}
END_TEST

/* Datagrams. */

START_TEST(dgram_pair)
{
    Wire w = wire_new("dgram,id=n0,local.type=fd,local.str=%d", SOCK_DGRAM);
    g_autofree uint8_t *big = g_malloc0(NET_PACKET_MAX + 1);
    uint8_t got[100], frame[60];
    size_t len;

    check_info(" unix\n");
    memset(frame, 'y', sizeof frame);
    nic_send(w.nic, frame, sizeof frame);
    ck_assert_int_eq(read(w.fd, got, sizeof got), 60);
    ck_assert_mem_eq(got, frame, 60);
    ck_assert_int_eq(write(w.fd, "one", 3), 3);
    ck_assert_int_eq(write(w.fd, "", 0), 0);                                    /* empty: ignored */
    ck_assert_int_eq(write(w.fd, big, NET_PACKET_MAX + 1), NET_PACKET_MAX + 1); /* too long */
    ck_assert_int_eq(write(w.fd, "two", 3), 3);
    run_until(w.nic->frames->len == 2);
    ck_assert_mem_eq(nic_frame(w.nic, 1, &len), "two", 3);
    close(w.fd);
}
END_TEST

/* The peer shuts its end down: each read would give 0, at once. */
START_TEST(dgram_ended)
{
    Wire w = wire_new("dgram,id=n0,local.type=fd,local.str=%d", SOCK_DGRAM);
    uint64_t turns;

    shutdown(w.fd, SHUT_WR);
    run_for_ms(5);
    turns = event_loop_turns(loop);
    run_for_ms(20);
    ck_assert_uint_lt(event_loop_turns(loop) - turns, 50);
    close(w.fd);
}
END_TEST

static int unix_dgram_at(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    strcpy(sun.sun_path, path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    return fd;
}

/* A UNIX socket whose reader is slow: 'not now' without spinning, and then all of it. */
START_TEST(dgram_peer_does_not_read)
{
    g_autofree char *dir = g_dir_make_tmp("vmm-net-XXXXXX", NULL);
    g_autofree char *ours = g_build_filename(dir, "a", NULL),
                    *theirs = g_build_filename(dir, "b", NULL);
    g_autofree char *text = g_strdup_printf(
        "dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", ours, theirs);
    GError *err = NULL;
    uint8_t frame[60], got[60];
    unsigned sent = 0;
    uint64_t turns;
    Nic *nic;
    int fd;

    netdev_text(text, &err);
    ck_no_error(err);
    nic = nic_new("nic0", "n0");
    nic_send(nic, frame, sizeof frame); /* nobody is there: dropped */
    fd = unix_dgram_at(theirs);
    while (send_numbered(nic, sent, frame, sizeof frame)) {
        sent++;
        ck_assert_uint_lt(sent, 100000);
    }
    turns = event_loop_turns(loop);
    run_for_ms(20);
    ck_assert_uint_lt(event_loop_turns(loop) - turns, 50);
    for (unsigned i = 0; i < sent; i++) {
        ck_assert_int_eq(read(fd, got, sizeof got), sizeof got);
        ck_assert_uint_eq(ldbe32(got), i);
    }
    run_until(nic->ready);
    ck_assert(send_numbered(nic, sent, frame, sizeof frame));
    ck_assert_int_eq(read(fd, got, sizeof got), sizeof got);
    /* It stops again, and its reader goes away. */
    while (send_numbered(nic, sent, frame, sizeof frame)) {
    }
    nic->ready = 0;
    close(fd);
    run_until(nic->ready);
    ck_assert(send_numbered(nic, sent, frame, sizeof frame));
    ck_assert(netdev_del("n0", &err));
    ck_assert_int_eq(access(ours, F_OK), -1);
    unlink(theirs);
    rmdir(dir);
}
END_TEST

/* A descriptor that is named twice would be watched twice, and closed twice. */
START_TEST(same_descriptor_twice)
{
    static const char *const again[] = {"socket,id=n1,fd=%d",
                                        "stream,id=n1,addr.type=fd,addr.str=%d"};
    Wire w = wire_new("socket,id=n0,fd=%d", SOCK_STREAM);
    GError *err = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(again); i++) {
        g_autofree char *info = net_info_text();
        g_autofree char *text =
            g_strdup_printf(again[i], atoi(strstr(info, "socket: fd=") + strlen("socket: fd=")));

        ck_assert(!netdev_text(text, &err));
        ck_error(err, "it is in use already");
        g_clear_error(&err);
    }
    close(w.fd);
}
END_TEST

START_TEST(refused)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"socket,id=a", "exactly one of listen=, connect=, mcast=, udp= or fd= is required"},
        {"socket,id=a,listen=:1,fd=3", "exactly one of"},
        {"socket,id=a,listen=:1,localaddr=x", "localaddr= is only valid with mcast= or udp="},
        {"socket,id=a,udp=127.0.0.1:1", "localaddr= is mandatory with udp="},
        {"socket,id=a,connect=7", "doesn't contain ':' separating host from port"},
        {"socket,id=a,connect=:x", "port number 'x' is invalid"},
        {"socket,id=a,connect=:70000", "port number '70000' is invalid"},
        {"socket,id=a,mcast=127.0.0.1:1", "does not contain a multicast address"},
        {"socket,id=a,mcast=230.0.0.1:1,localaddr=x", "localaddr=x"},
        {"socket,id=a,fd=9999", "Bad file descriptor"},
        {"socket,id=a,fd=x", "Invalid file descriptor number 'x'"},
        {"socket,id=a,fd=0", "not a stream or datagram socket"},
        {"stream,id=a", "Parameter 'addr' is missing"},
        {"stream,id=a,addr.host=x", "Parameter 'addr.type' is missing"},
        {"stream,id=a,addr=x", "Invalid parameter type for 'addr', expected: object"},
        {"stream,id=a,addr.type=inet,addr.host=x", "Parameter 'port' is missing"},
        {"stream,id=a,addr.type=inet,addr.host=x,addr.port=1,addr.mptcp=on", "mptcp"},
        {"stream,id=a,addr.type=inet,addr.host=x,addr.port=1,reconnect=1", "reconnect"},
        {"stream,id=a,addr.type=vsock,addr.cid=1,addr.port=1", "'addr.type=vsock' is not"},
        {"stream,id=a,addr.type=bogus", "does not accept value 'bogus'"},
        {"stream,id=a,server=on,addr.type=unix,addr.path=/nonexistent/x", "/nonexistent/x"},
        {"dgram,id=a", "dgram requires local= parameter"},
        {"dgram,id=a,local.type=inet,local.host=,local.port=0", "requires remote parameter"},
        {"dgram,id=a,local.type=inet,local.host=,local.port=0,remote.type=unix,remote.path=x",
         "remote and local types must be the same"},
        {"dgram,id=a,local.type=fd,local.str=0,remote.type=unix,remote.path=x",
         "don't set remote with local.fd"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        GError *err = NULL;

        ck_assert_msg(!netdev_text(cases[i].text, &err), "%s", cases[i].text);
        ck_error(err, cases[i].message);
        g_clear_error(&err);
        ck_assert_ptr_null(net_find("a"));
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        frames_cut_anywhere,
        frames_too_long,
        stream_both_ways,
        stream_too_long,
        stream_cut_by_its_end,
        stream_peer_does_not_read,
        stream_lost_while_waiting,
        stream_nic_is_full,
        stream_deleted,
        stream_server_takes_one_after_another,
        dgram_pair,
        dgram_ended,
        dgram_peer_does_not_read,
        same_descriptor_twice,
        refused,
        NULL,
    };

    return run_suite("net-socket", tests);
}
