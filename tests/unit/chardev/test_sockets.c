/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Socket, telnet and UDP devices, on UNIX sockets and loopback. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/coroutine.h"
#include "fixture.h"
#include "internal.h"

static int tcp_client(int port)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* "disconnected:tcp:127.0.0.1:PORT,server=on" */
static int port_of(Chardev *chr)
{
    return atoi(strrchr(chr->filename, ':') + 1);
}

START_TEST(unix_server)
{
    g_autofree char *path = tmp_path("s"),
                    *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    g_autofree char *name = g_strdup_printf("unix:%s,server=on", path);
    g_autofree char *away = g_strdup_printf("disconnected:%s", name);
    Chardev *chr = add_short("serial0", text);
    static Front f = {0};

    front_connect(&f, chr);
    ck_assert_str_eq(chr->filename, away);
    front_write(&f, "nobody hears this");
    for (int i = 0; i < 3; i++) {
        int fd = connect_unix(path), second;

        g_string_truncate(f.events, 0);
        g_string_truncate(f.in, 0);
        run_until(f.events->len);
        ck_assert_str_eq(f.events->str, "O");
        ck_assert(char_frontend_connected(&f.fe));
        ck_assert_str_eq(chr->filename, name);
        front_write(&f, "login: ");
        g_autofree char *got = read_bytes(fd, 7);
        ck_assert_str_eq(got, "login: ");
        ck_assert_int_eq(write(fd, "root\n", 5), 5);
        run_until(f.in->len == 5);
        ck_assert_str_eq(f.in->str, "root\n");
        /* The next one waits. */
        second = connect_unix(path);
        run_for_ms(10);
        ck_assert_str_eq(f.events->str, "O");
        close(fd);
        run_until(f.events->len == 3);
        ck_assert_str_eq(f.events->str, "OCO");
        close(second);
        run_until(f.events->len == 4);
        ck_assert_str_eq(chr->filename, away);
    }
    char_frontend_disconnect(&f.fe);
    ck_assert(chardev_remove("serial0", NULL));
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(input_waits_for_room)
{
    g_autofree char *path = tmp_path("s"),
                    *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    static Front f = {.room = 1};

    front_connect(&f, add_short("serial0", text));
    f.room = 0;
    int fd = connect_unix(path);
    ck_assert_int_eq(write(fd, "abcdef", 6), 6);
    run_for_ms(20);
    ck_assert_uint_eq(f.in->len, 0);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 50000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 1);
    f.room = 2;
    char_accept_input(&f.fe);
    run_until(f.in->len == 6);
    close(fd);
}
END_TEST

/* A client that closes before its input was read makes room for the next client. */
START_TEST(leaving_is_noticed_without_reading)
{
    g_autofree char *path = tmp_path("s"),
                    *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    static Front f = {.room = 1};

    front_connect(&f, add_short("agent", text));
    f.room = 0;
    for (int i = 1; i <= 3; i++) {
        int fd = connect_unix(path);

        ck_assert_int_eq(write(fd, "ping", 4), 4);
        run_until(f.events->len == 2 * i - 1);
        run_for_ms(20);
        close(fd);
        run_until(f.events->len == 2 * i);
    }
    ck_assert_str_eq(f.events->str, "OCOCOC");
    /* A client that stays is not disconnected, and does not make the loop spin. */
    int fd = connect_unix(path);
    ck_assert_int_eq(write(fd, "ping", 4), 4);
    run_for_ms(20);
    uint64_t turns = event_loop_turns(loop);
    event_loop_iterate(loop, 50000000);
    ck_assert_uint_le(event_loop_turns(loop) - turns, 1);
    f.room = 10;
    char_accept_input(&f.fe);
    run_until(f.in->len == 4);
    close(fd);
}
END_TEST

/* Without free descriptors the loop does not spin; the client is accepted when there are some. */
START_TEST(no_descriptors_for_a_client)
{
    g_autofree char *path = tmp_path("s"),
                    *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    static Front f = {0};
    struct rlimit old, none;

    front_connect(&f, add_short("serial0", text));
    int fd = connect_unix(path);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){0, old.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    uint64_t turns = event_loop_turns(loop);
    run_for_ms(200);
    turns = event_loop_turns(loop) - turns;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_uint_lt(turns, 100);
    ck_assert_uint_eq(f.events->len, 0);
    run_until(f.events->len);
    ck_assert_str_eq(f.events->str, "O");
    front_write(&f, "login: ");
    g_autofree char *got = read_bytes(fd, 7);
    ck_assert_str_eq(got, "login: ");
    char_frontend_disconnect(&f.fe);
    close(fd);
}
END_TEST

START_TEST(tcp_client_and_names)
{
    GError *err = NULL;
    Chardev *server = add_text("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off", &err);
    ck_no_error(err);
    int port = port_of(server);
    g_autofree char *text = g_strdup_printf("tcp:127.0.0.1:%d", port);
    static Front a = {0}, b = {0};

    front_connect(&a, server);
    front_connect(&b, add_short("c", text));
    run_until(g_str_equal(a.events->str, "O") && g_str_equal(b.events->str, "O"));
    front_write(&a, "ping");
    run_until(b.in->len == 4);
    front_write(&b, "pong");
    run_until(a.in->len == 4);
    ck_assert(g_str_has_prefix(server->filename, "tcp:127.0.0.1:"));
    ck_assert_ptr_nonnull(strstr(server->filename, ",server=on <-> 127.0.0.1:"));
    char_frontend_disconnect(&b.fe);
    ck_assert(chardev_remove("c", &err));
    run_until(g_str_equal(a.events->str, "OC"));

    g_autofree char *taken =
        g_strdup_printf("socket,id=t,host=127.0.0.1,port=%d,server=on,wait=off", port);
    ck_assert_ptr_null(add_text(taken, &err));
    ck_error(err, "Address already in use");
    /* to= finds a free port of the range. */
    g_autofree char *range = g_strdup_printf(
        "socket,id=t,host=127.0.0.1,port=%d,to=%d,server=on,wait=off", port, MIN(port + 50, 65535));
    ck_assert_ptr_nonnull(add_text(range, &err));
}
END_TEST

START_TEST(refused_connection)
{
    GError *err = NULL;
    Chardev *server = add_text("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off", &err);
    g_autofree char *text = g_strdup_printf("socket,id=c,host=127.0.0.1,port=%d", port_of(server));

    ck_assert(chardev_remove("s", &err));
    ck_assert_ptr_null(add_text(text, &err));
    ck_error(err, "Connection refused");
}
END_TEST

START_TEST(reconnecting_client)
{
    GError *err = NULL;
    g_autofree char *path = tmp_path("s");
    g_autofree char *client = g_strdup_printf("socket,id=c,path=%s,reconnect=1", path);
    g_autofree char *server = g_strdup_printf("socket,id=s,path=%s,server=on,wait=off", path);
    static Front f = {0};

    front_connect(&f, add_text(client, &err));
    ck_no_error(err);
    run_for_ms(100);
    ck_assert_str_eq(f.events->str, "");
    front_write(&f, "lost");
    for (int i = 0; i < 2; i++) {
        g_string_truncate(f.events, 0);
        ck_assert_ptr_nonnull(add_text(server, &err));
        run_until(g_str_equal(f.events->str, "O"));
        run_for_ms(20);
        ck_assert(chardev_remove("s", &err));
        run_until(g_str_equal(f.events->str, "OC"));
    }
}
END_TEST

static void *late_client(void *data)
{
    g_usleep(100000);
    return GINT_TO_POINTER(connect_unix(data));
}

START_TEST(start_up_waits)
{
    GError *err = NULL;
    g_autofree char *path = tmp_path("s"), *text = g_strdup_printf("unix:%s,server=on", path);
    GThread *thread = g_thread_new("client", late_client, path);
    Chardev *chr = chardev_from_short("serial0", text, &err);

    ck_no_error(err);
    ck_assert(chr->be_open);
    close(GPOINTER_TO_INT(g_thread_join(thread)));
}
END_TEST

/* A client that connects when the process has no descriptors left. */
static void *unwelcome_client(void *data)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct rlimit none;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, data, sizeof sun.sun_path);
    g_usleep(100000);
    getrlimit(RLIMIT_NOFILE, &none);
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    connect(fd, (struct sockaddr *)&sun, sizeof sun);
    return GINT_TO_POINTER(fd);
}

START_TEST(start_up_waits_in_vain)
{
    GError *err = NULL;
    g_autofree char *path = tmp_path("s"), *text = g_strdup_printf("unix:%s,server=on", path);
    struct rlimit old;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    GThread *thread = g_thread_new("client", unwelcome_client, path);
    ck_assert_ptr_null(chardev_from_short("serial0", text, &err));
    ck_error(err, "cannot accept a client on disconnected:unix:");
    close(GPOINTER_TO_INT(g_thread_join(thread)));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
}
END_TEST

START_TEST(inherited_descriptors)
{
    GError *err = NULL;
    g_autofree char *path = tmp_path("s");
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int l = socket(AF_UNIX, SOCK_STREAM, 0), pair[2];

    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    ck_assert_int_eq(bind(l, (struct sockaddr *)&sun, sizeof sun), 0);
    ck_assert_int_eq(listen(l, 1), 0);
    g_autofree char *wrong = g_strdup_printf("socket,id=a,fd=%d", l);
    ck_assert_ptr_null(add_text(wrong, &err));
    ck_error(err, "listening socket");
    g_autofree char *right = g_strdup_printf("socket,id=a,fd=%d,server=on,wait=off", l);
    Chardev *chr = add_text(right, &err);
    ck_no_error(err);
    ck_assert_ptr_nonnull(strstr(chr->filename, path));
    int fd = connect_unix(path);
    run_until(chr->be_open);
    close(fd);

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    g_autofree char *connected = g_strdup_printf("socket,id=b,fd=%d", pair[0]);
    static Front f = {0};
    front_connect(&f, add_text(connected, &err));
    run_until(f.events->len);
    front_write(&f, "hi");
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    g_autofree char *got = read_bytes(pair[1], 2);
    ck_assert_str_eq(got, "hi");
    close(pair[1]);
    run_until(g_str_equal(f.events->str, "OC"));
    front_write(&f, "gone");
}
END_TEST

START_TEST(abstract_names)
{
    GError *err = NULL;
    g_autofree char *server = g_strdup_printf(
        "socket,id=s,path=vmm-test-%d,abstract=on,server=on,wait=off", (int)getpid());
    g_autofree char *client =
        g_strdup_printf("socket,id=c,path=vmm-test-%d,abstract=on", (int)getpid());
    Chardev *s = add_text(server, &err);
    ck_no_error(err);
    ck_assert_ptr_nonnull(add_text(client, &err));
    ck_no_error(err);
    run_until(s->be_open);
}
END_TEST

START_TEST(telnet)
{
    static const uint8_t greeting[] = {255, 251, 1, 255, 251, 3, 255, 251, 0, 255, 253, 0};
    static const uint8_t typed[] = {'a', 255, 253, 1,   255, 255, 255,  250, 24,
                                    'x', 255, 240, 'b', 255, 243, '\r', 0,   'c'};
    g_autofree char *text = g_strdup("telnet:127.0.0.1:0,server=on,wait=off");
    Chardev *chr = add_short("serial0", text);
    static Front f = {0};

    front_connect(&f, chr);
    ck_assert(g_str_has_prefix(chr->filename, "disconnected:telnet:127.0.0.1:"));
    int fd = tcp_client(port_of(chr));
    g_autofree char *hello = read_bytes(fd, sizeof greeting);
    ck_assert_mem_eq(hello, greeting, sizeof greeting);
    /* The input may be cut anywhere: byte by byte gives the same. */
    for (unsigned i = 0; i < sizeof typed; i++) {
        ck_assert_int_eq(write(fd, typed + i, 1), 1);
        run_for_ms(3);
    }
    run_until(f.in->len == 5);
    ck_assert_mem_eq(f.in->str, "a\377b\rc", 5);
    ck_assert_str_eq(f.events->str, "OB");
    front_write(&f, "x\377\377y");
    g_autofree char *got = read_bytes(fd, 6);
    ck_assert_mem_eq(got, "x\377\377\377\377y", 6);
    close(fd);
}
END_TEST

START_TEST(descriptors_beside_bytes)
{
    g_autofree char *path = tmp_path("s"),
                    *text = g_strdup_printf("unix:%s,server=on,wait=off", path);
    static Front f = {0};
    int fds[4], pipes[2];
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    char brace = '{';
    struct iovec iov = {&brace, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    front_connect(&f, add_short("qmp", text));
    int fd = connect_unix(path);
    ck_assert_int_eq(pipe(pipes), 0);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(c), pipes, 2 * sizeof(int));
    ck_assert_int_eq(sendmsg(fd, &msg, 0), 1);
    close(pipes[0]);
    close(pipes[1]);
    run_until(f.in->len == 1);
    ck_assert_int_eq(char_get_msgfds(&f.fe, fds, 4), 2);
    ck_assert_int_eq(write(fds[1], "!", 1), 1);
    char byte;
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(char_get_msgfds(&f.fe, fds, 4), 0);
    close(fds[0]);
    close(fds[1]);
    close(fd);
}
END_TEST

START_TEST(udp)
{
    GError *err = NULL;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    static Front f = {0};
    char buf[16];

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    getsockname(fd, (struct sockaddr *)&sin, &len);
    g_autofree char *text = g_strdup_printf("udp:127.0.0.1:%d@127.0.0.1:0", ntohs(sin.sin_port));
    front_connect(&f, chardev_from_short("u", text, &err));
    ck_no_error(err);
    front_write(&f, "datagram");
    len = sizeof sin;
    ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&sin, &len);
    ck_assert_int_eq(n, 8);
    ck_assert_int_eq(sendto(fd, "answer", 6, 0, (struct sockaddr *)&sin, len), 6);
    run_until(f.in->len == 6);
    close(fd);
}
END_TEST

typedef struct {
    Front f;
    int stop; /* atomic */
} Talker;

static void *talk(void *data)
{
    Talker *t = data;
    uint8_t byte = 0;

    while (!g_atomic_int_get(&t->stop)) {
        if (char_write(&t->f.fe, &byte, 1)) {
            byte = (byte + 1) % 251;
        } else {
            g_usleep(100);
        }
    }
    return NULL;
}

/* A thread writes like a vCPU; each client gets all bytes, in order, from some byte on. */
static void clients_come_and_go(const char *options)
{
    static Talker t;
    GError *err = NULL;
    g_autofree char *path = tmp_path("s");
    g_autofree char *text =
        g_strdup_printf("socket,id=s,path=%s,server=on,wait=off%s", path, options);
    GThread *thread;

    t = (Talker){0};
    front_connect(&t.f, add_text(text, &err));
    ck_no_error(err);
    thread = g_thread_new("vcpu", talk, &t);
    for (int i = 0; i < 30; i++) {
        int fd = connect_unix(path), next = -1;
        unsigned got = 0;

        while (got < 3000) {
            uint8_t buf[500];
            ssize_t n = read(fd, buf, sizeof buf);

            for (ssize_t k = 0; k < n; k++, got++) {
                next = next < 0 ? buf[k] : next;
                ck_assert_uint_eq(buf[k], next);
                next = (next + 1) % 251;
            }
            event_loop_iterate(loop, 1000000);
        }
        close(fd);
        run_for_ms(i % 3);
    }
    g_atomic_int_set(&t.stop, 1);
    g_thread_join(thread);
}

START_TEST(a_cpu_writes_while_clients_come_and_go)
{
    clients_come_and_go("");
}
END_TEST

START_TEST(a_cpu_writes_through_a_mux)
{
    clients_come_and_go(",mux=on");
}
END_TEST

/* Host names. Any other name than slow.test is looked up as ever. */
static GThread *asked_by; /* who looked slow.test up; guarded by asked */
static GMutex asked;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

    if (node && g_str_equal(node, "slow.test")) {
        g_mutex_lock(&asked);
        asked_by = g_thread_self();
        g_mutex_unlock(&asked);
        return EAI_AGAIN;
    }
    *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
    return next(node, service, hints, list);
}

typedef struct {
    const char *text;
    GError *err;
    bool over;
} Command;

static void command_add(void *data)
{
    Command *c = data;

    ck_assert_ptr_null(add_text(c->text, &c->err));
    c->over = true;
}

static const char *const slow_names[] = {
    "socket,id=c,host=slow.test,port=0,server=on,wait=off",
    "socket,id=c,host=slow.test,port=1",
    "udp,id=c,host=slow.test,port=1",
    "udp,id=c,host=127.0.0.1,port=1,localaddr=slow.test",
};

START_TEST(a_command_looks_names_up_on_a_worker)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(slow_names); i++) {
        Command c = {.text = slow_names[i]};

        asked_by = NULL;
        coroutine_start(command_add, &c);
        run_until(c.over);
        ck_assert_ptr_nonnull(strstr(c.err->message, "slow.test"));
        ck_assert_ptr_nonnull(asked_by);
        ck_assert_ptr_ne(asked_by, g_thread_self());
        g_error_free(c.err);
    }
}
END_TEST

START_TEST(a_look_up_is_cancelled)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(slow_names); i++) {
        Command c = {.text = slow_names[i]};

        coroutine_start(command_add, &c);
        ck_assert(!c.over);
        ck_assert(chardev_remove("c", NULL));
        run_until(c.over);
        ck_assert_str_eq(c.err->message, "chardev 'c' was not opened: 'chardev-remove' came first");
        g_error_free(c.err);
        run_until(opening_jobs() == 0); /* the worker ends, and its job is freed */
    }
}
END_TEST

int main(void)
{
    static const TTest *tests[32];
    unsigned n = 0;

    unit_fork_always();
    tests[n++] = unix_server;
    tests[n++] = input_waits_for_room;
    tests[n++] = leaving_is_noticed_without_reading;
    tests[n++] = no_descriptors_for_a_client;
    tests[n++] = tcp_client_and_names;
    tests[n++] = refused_connection;
    tests[n++] = reconnecting_client;
    tests[n++] = start_up_waits;
    tests[n++] = start_up_waits_in_vain;
    tests[n++] = inherited_descriptors;
    tests[n++] = abstract_names;
    tests[n++] = telnet;
    tests[n++] = descriptors_beside_bytes;
    tests[n++] = udp;
    tests[n++] = a_cpu_writes_while_clients_come_and_go;
    tests[n++] = a_cpu_writes_through_a_mux;
    tests[n++] = a_command_looks_names_up_on_a_worker;
    tests[n++] = a_look_up_is_cancelled;
    return run_suite("sockets", tests);
}
