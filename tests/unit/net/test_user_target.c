/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guestfwd=: TCP connections of the guest to commands, sockets and servers. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/host.h"
#include "user_guest.h"

START_TEST(tcp_to_a_command)
{
    Tcp t;
    uint8_t flags;

    start(",guestfwd=tcp:10.0.2.100:1234-cmd:echo hello from a command");
    tcp_connect(&t, 0x0a000264, 1234);
    run_until(tcp_take(&t, &flags) && t.in->len >= 21);
    ck_assert(g_str_has_prefix(t.in->str, "hello from a command\n"));
    g_string_free(t.in, TRUE);
}
END_TEST

/* Asked by the guest, the server that listens at 'l' answers. */
static void question_and_answer(int l)
{
    int fd = accept(l, NULL, NULL);
    char buf[16] = "";
    uint8_t flags;
    Tcp t;

    ck_assert_int_ge(fd, 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    tcp_connect(&t, 0x0a000264, 1234);
    tcp_send(&t, TH_ACK | TH_PUSH, "question", 8);
    run_until(read(fd, buf, 8) == 8);
    ck_assert_str_eq(buf, "question");
    ck_assert_int_eq(write(fd, "answer", 6), 6);
    run_until(tcp_take(&t, &flags) && t.in->len == 6);
    close(fd);
    close(l);
    g_string_free(t.in, TRUE);
}

static int listen_unix(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int l = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    ck_assert_int_eq(bind(l, (struct sockaddr *)&sun, sizeof sun) | listen(l, 4), 0);
    return l;
}

/* The connection to the server is made at start, as that to a TCP server. */
START_TEST(tcp_to_a_unix_socket)
{
    g_autofree char *dir = g_dir_make_tmp("net-user.XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-unix:%s", path);
    int l = listen_unix(path);

    start(text);
    question_and_answer(l);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(tcp_to_a_server)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int l = socket(AF_INET, SOCK_STREAM, 0);
    GError *err = NULL;

    ck_assert_int_eq(bind(l, (struct sockaddr *)&sin, sizeof sin) | listen(l, 1), 0);
    getsockname(l, (struct sockaddr *)&sin, &len);
    g_autofree char *text =
        g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-tcp:127.0.0.1:%d", ntohs(sin.sin_port));
    start(text);
    question_and_answer(l);
    /* A server that is not there is an error, where the host says so at once. */
    g_autofree char *gone = g_strdup_printf("user,id=n1%s", text);
    if (!netdev_text(gone, &err)) {
        ck_error(err, "Connection refused");
    }
}
END_TEST

/* Guest data whose bytes are told by their place in the stream. */
static void fill_segment(uint8_t *data, size_t len, size_t at)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = (at + i) * 7 + ((at + i) >> 8) * 13;
    }
}

enum { SEGMENT = 1400 };

/* A guest's stream to the target, which sends again what is not acknowledged. */
typedef struct {
    Tcp tcp;
    uint32_t first; /* sequence number of the first byte */
    size_t acked, received;
} Upload;

static void upload_see_acks(Upload *u)
{
    size_t len;
    const uint8_t *p;

    while ((p = find_ip(&u->tcp.from, 6, &len))) {
        struct tcphdr tcp;

        memcpy(&tcp, p, sizeof tcp);
        u->acked = MAX(u->acked, ntohl(tcp.ack_seq) - u->first);
    }
}

static void upload_segment(Upload *u)
{
    uint8_t data[SEGMENT];

    fill_segment(data, sizeof data, u->acked);
    u->tcp.seq = u->first + u->acked;
    tcp_send(&u->tcp, TH_ACK | TH_PUSH, data, sizeof data);
    event_loop_iterate(loop, 0);
    upload_see_acks(u);
}

static void upload_receive(Upload *u, int fd)
{
    uint8_t got[65536], expected[65536];
    ssize_t n;

    while ((n = recv(fd, got, sizeof got, MSG_DONTWAIT)) > 0) {
        fill_segment(expected, n, u->received);
        ck_assert_mem_eq(got, expected, n);
        u->received += n;
    }
}

static void upload_start(Upload *u)
{
    *u = (Upload){.received = 0};
    tcp_connect(&u->tcp, 0x0a000264, 1234);
    u->first = u->tcp.seq;
}

/* A server that does not read makes the guest wait; then it gets every byte, in order. */
START_TEST(slow_server_gets_all_bytes)
{
    g_autofree char *dir = g_dir_make_tmp("net-user.XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-unix:%s", path);
    int l = listen_unix(path);
    Upload u;

    start(text);
    int fd = accept(l, NULL, NULL);
    upload_start(&u);
    for (int i = 0; i < 1000; i++) {
        upload_segment(&u);
    }
    /* 1000 segments are more than socket and buffer hold: some were refused. */
    size_t held = u.acked;
    ck_assert_uint_lt(held, 1000 * SEGMENT);
    ck_assert_uint_gt(held, 256 * 1024);
    run_until((upload_receive(&u, fd), u.received == held));
    for (int i = 0; i < 300; i++) {
        upload_segment(&u);
        upload_receive(&u, fd);
    }
    ck_assert_uint_gt(u.acked, held);
    run_until((upload_receive(&u, fd), u.received == u.acked));
    close(fd);
    close(l);
    unlink(path);
    rmdir(dir);
    g_string_free(u.tcp.in, TRUE);
}
END_TEST

/* Bytes that the guest sends while there is no server are kept for the next one. */
START_TEST(bytes_wait_for_the_server)
{
    g_autofree char *dir = g_dir_make_tmp("net-user.XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-unix:%s", path);
    int l = listen_unix(path);
    Upload u;

    start(text);
    close(accept(l, NULL, NULL));
    close(l);
    unlink(path);
    upload_start(&u); /* the turns of this show the target that its connection has ended */
    run_for_ms(5);
    for (int i = 0; i < 20; i++) {
        upload_segment(&u);
    }
    ck_assert_uint_eq(u.acked, 20 * SEGMENT);
    l = listen_unix(path);
    fcntl(l, F_SETFL, O_NONBLOCK);
    int fd;
    run_until((fd = accept(l, NULL, NULL)) >= 0);
    run_until((upload_receive(&u, fd), u.received == u.acked));
    close(fd);
    close(l);
    unlink(path);
    rmdir(dir);
    g_string_free(u.tcp.in, TRUE);
}
END_TEST

static bool was_logged(int log_fd, const char *text)
{
    char log[4096] = "";

    return pread(log_fd, log, sizeof log - 1, 0) > 0 && strstr(log, text);
}

/* Names are resolved on another thread: the option does not wait, and a bad one is a warning. */
START_TEST(names_are_resolved_later)
{
    /* Both families: "localhost" may be ::1. */
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    GError *err = NULL;
    int l = host_tcp_listen(NULL, "0", true, true, &err);
    int log_fd = memfd_create("log", MFD_CLOEXEC);

    ck_no_error(err);
    getsockname(l, (struct sockaddr *)&ss, &len);
    int port = ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                              : ((struct sockaddr_in *)&ss)->sin_port);
    g_autofree char *text = g_strdup_printf(",guestfwd=tcp:10.0.2.100:1234-tcp:localhost:%d,"
                                            "guestfwd=tcp:10.0.2.100:1235-tcp:localhost:no-such",
                                            port);
    int saved = dup(2);
    dup2(log_fd, 2);
    start(text);
    run_until(was_logged(log_fd, "address resolution failed for localhost:no-such"));
    dup2(saved, 2);
    close(saved);
    close(log_fd);
    fd_set_nonblock(l, false);
    question_and_answer(l);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        tcp_to_a_command,
        tcp_to_a_server,
        slow_server_gets_all_bytes,
        bytes_wait_for_the_server,
        names_are_resolved_later,
        tcp_to_a_unix_socket,
        NULL,
    };

    return run_suite("user-target", tests);
}
