/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host files, sockets and libraries. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/library.h"
#include "base/util.h"
#include "unit.h"

static char *temp_dir(void)
{
    char *dir = g_dir_make_tmp("unit-host-XXXXXX", NULL);

    ck_assert_ptr_nonnull(dir);
    return dir;
}

START_TEST(files)
{
    g_autofree char *dir = temp_dir(), *path = g_build_filename(dir, "f", NULL);
    g_autofree char *big = g_strnfill(200000, 'x');
    GError *err = NULL;
    size_t len;

    ck_assert_int_eq(host_open(path, O_RDONLY, 0, &err), -1);
    ck_assert(g_error_matches(err, VMM_ERROR, ENOENT));
    ck_error(err, "No such file or directory");
    auto_fd fd = host_open(path, O_RDWR | O_CREAT, 0600, &err);
    ck_assert_int_ge(fd, 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    g_autofree char *nothing = host_read_file(path, 10, &len, &err);
    ck_assert(nothing && len == 0);
    ck_assert_int_eq(write(fd, big, 200000), 200000);
    g_autofree char *all = host_read_file(path, 200000, &len, &err);
    ck_assert(all && len == 200000 && memcmp(all, big, len) == 0);
    ck_assert_ptr_null(host_read_file(path, 199999, &len, &err));
    ck_error(err, "File too large");
    ck_assert_ptr_null(host_read_file(dir, 199999, &len, &err));
    ck_error(err, "Is a directory");
    /* A file without a size. */
    g_autofree char *proc = host_read_file("/proc/self/maps", MiB, &len, &err);
    ck_assert(proc && len > 100);
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(fd_sets)
{
    GError *err = NULL;
    int fds[2];
    char c;

    ck_assert_int_eq(pipe(fds), 0);
    int set = host_fdset_add(-1, fds[0], NULL, &err);
    ck_assert_int_eq(set, 0);
    ck_assert_int_eq(host_fdset_add(0, fds[1], "the other end", &err), 0);
    ck_assert_int_eq(host_fdset_add(7, dup(0), NULL, &err), 7);
    auto_fd w = host_open("/dev/fdset/0", O_WRONLY, 0, &err);
    auto_fd r = host_open("/dev/fdset/0", O_RDONLY, 0, &err);
    ck_assert(w >= 0 && r >= 0 && w != fds[1] && (fcntl(r, F_GETFD) & FD_CLOEXEC));
    ck_assert_int_eq(write(w, "a", 1), 1);
    ck_assert_int_eq(read(r, &c, 1), 1);
    ck_assert_int_eq(host_open("/dev/fdset/0", O_RDWR, 0, &err), -1);
    ck_error(err, "Permission denied");
    ck_assert_int_eq(host_open("/dev/fdset/9", O_RDWR, 0, &err), -1);
    ck_error(err, "No such file");
    static const char *const no_sets[] = {"/dev/fdset/", "/dev/fdset/x", "/dev/fdset/-1",
                                          "/dev/fdset/0 ", "/dev/fdset/99999999999999999999"};
    for (unsigned i = 0; i < G_N_ELEMENTS(no_sets); i++) {
        ck_assert_int_eq(host_open(no_sets[i], O_RDONLY, 0, &err), -1);
        ck_error(err, "Could not parse fdset");
    }
    ck_assert_int_eq(host_fdset_add(0, 12345, NULL, &err), -1);
    ck_error(err, "Bad file descriptor");
    ck_assert(!host_fdset_remove(0, 12345));
    ck_assert(host_fdset_remove(0, fds[1]) && fcntl(fds[1], F_GETFD) < 0);
    ck_assert(host_fdset_remove(0, -1) && fcntl(fds[0], F_GETFD) < 0);
    ck_assert(!host_fdset_remove(0, -1));
    host_fdset_close_all();
    ck_assert(!host_fdset_remove(7, -1));
}
END_TEST

static void *open_sets(void *data)
{
    const int *stop = data;

    while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
        int fd = host_open("/dev/fdset/3", O_RDONLY, 0, NULL);

        ck_assert(fd < 0 || close(fd) == 0);
    }
    return NULL;
}

/* A thread of the pool opens a path while a command changes the sets. */
START_TEST(shared_fd_sets)
{
    int stop = 0;
    GThread *thread = g_thread_new("open", open_sets, &stop);

    for (int i = 0; i < 200; i++) {
        for (int set = 0; set < 20; set++) {
            ck_assert_int_eq(host_fdset_add(set, dup(0), "remark", NULL), set);
        }
        ck_assert(host_fdset_remove(3, -1));
        host_fdset_close_all();
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    g_thread_join(thread);
}
END_TEST

START_TEST(unix_sockets)
{
    g_autofree char *dir = temp_dir(), *path = g_build_filename(dir, "s", NULL);
    g_autofree char *long_path = g_strnfill(200, 'x'), *other = g_build_filename(dir, "o", NULL);
    HostSocketPath bound;
    GError *err = NULL;

    ck_assert_int_eq(host_unix_connect(path, &err), -1);
    ck_error(err, "No such file or directory");
    auto_fd server = host_unix_listen(path, &err);
    ck_no_error(err);
    auto_fd client = host_unix_connect(path, &err);
    ck_assert_int_ge(client, 0);
    auto_fd accepted = accept(server, NULL, NULL);
    ck_assert_int_ge(accepted, 0);
    ck_assert(fcntl(client, F_GETFL) & O_NONBLOCK);
    ck_assert_int_eq(host_unix_listen(path, &err), -1);
    ck_error(err, "Address already in use");
    fd_close(&server);
    auto_fd again = host_unix_listen(path, &err);
    ck_assert_int_ge(again, 0);
    /* A path that was bound is removed, but not where something else has taken the place. */
    host_socket_path_set(&bound, path);
    host_socket_path_remove(&bound);
    ck_assert_int_lt(access(path, F_OK), 0);
    fd_close(&again);
    again = host_unix_listen(path, &err);
    host_socket_path_set(&bound, path);
    ck_assert_int_eq(rename(path, other), 0);
    ck_assert(g_file_set_contents(path, "x", 1, NULL));
    host_socket_path_remove(&bound);
    host_socket_path_remove(&bound); /* there is nothing to remove any more */
    unlink(other);
    /* A file that is no socket is not removed. */
    ck_assert_int_eq(host_unix_listen(path, &err), -1);
    ck_error(err, "Address already in use");
    ck_assert(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    ck_assert_int_eq(host_unix_listen(long_path, &err), -1);
    ck_error(err, "too long");
    unlink(path);
    rmdir(dir);
}
END_TEST

static int port_of(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;

    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    return ntohs(addr.ss_family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                           : ((struct sockaddr_in6 *)&addr)->sin6_port);
}

/* Begins to connect to an address that is one. */
static int tcp_connect(const char *host, const char *port, GError **err)
{
    HostAddresses *a = host_tcp_resolve(host, port, err);
    int fd = a ? host_tcp_connect_next(a, 0, err) : -1;

    host_addresses_free(a);
    return fd;
}

START_TEST(tcp_sockets)
{
    GError *err = NULL;

    auto_fd server = host_tcp_listen("127.0.0.1", "0", false, false, &err);
    ck_no_error(err);
    g_autofree char *port = g_strdup_printf("%d", port_of(server));
    auto_fd client = tcp_connect("127.0.0.1", port, &err);
    ck_no_error(err);
    struct pollfd pfd = {.fd = client, .events = POLLOUT};
    ck_assert_int_eq(poll(&pfd, 1, 5000), 1);
    auto_fd accepted = accept(server, NULL, NULL);
    ck_assert_int_ge(accepted, 0);
    ck_assert_int_eq(host_tcp_listen("127.0.0.1", port, true, false, &err), -1);
    ck_assert(g_error_matches(err, VMM_ERROR, EADDRINUSE));
    ck_error(err, "Failed to listen on 127.0.0.1:");
    auto_fd wildcard = host_tcp_listen("", "0", false, false, &err);
    ck_no_error(err);
    g_autofree char *any_port = g_strdup_printf("%d", port_of(wildcard));
    auto_fd by_v4 = tcp_connect("127.0.0.1", any_port, &err);
    ck_assert_int_ge(by_v4, 0);
    ck_assert_int_eq(host_tcp_listen("999.1.1.1", "http-no", true, false, &err), -1);
    ck_error(err, "address resolution failed for 999.1.1.1:http-no");
}
END_TEST

START_TEST(data_files)
{
    g_autofree char *dir = temp_dir(), *path = g_build_filename(dir, "rom.bin", NULL);
    GError *err = NULL;

    ck_assert_ptr_null(host_find_data_file("rom.bin", "seabios", &err));
    ck_error(err, "Debian's package 'seabios' has it");
    ck_assert(g_file_set_contents(path, "x", 1, NULL));
    host_add_data_dir(dir);
    g_autofree char *found = host_find_data_file("rom.bin", NULL, &err);
    ck_assert_str_eq(found, path);
    ck_assert_str_eq(host_data_dir(0), dir);
    g_autofree char *whole = host_find_data_file(path, NULL, &err);
    ck_assert_str_eq(whole, path);
    ck_assert_ptr_null(host_find_data_file("/none/such", NULL, &err));
    ck_error(err, "Could not find '/none/such' (no such file)");
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(libraries)
{
    static struct {
        double (*cos)(double);
        double (*sin)(double);
    } table;
    static const char *const names[] = {"cos", "sin", NULL};
    static const char *const missing[] = {"cos", "no_such_function", NULL};
    Library good = {"libm.so.6", "libc6", names, &table};
    Library poor = {"libm.so.6", "libc6", missing, &table};
    Library none = {"libnone.so.9", "libnone9", names, &table};
    GError *err = NULL;

    ck_assert(library_load(&good, &err) && library_load(&good, &err));
    ck_assert(table.cos(0) == 1 && table.sin(0) == 0);
    ck_assert(!library_load(&poor, &err));
    ck_error(err, "it has no 'no_such_function'");
    ck_assert(!library_load(&none, &err));
    ck_error(err, "Debian's package 'libnone9' has it");
}
END_TEST

START_TEST(nonblock)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert(fd_set_nonblock(fds[0], true) && (fcntl(fds[0], F_GETFL) & O_NONBLOCK));
    ck_assert(fd_set_nonblock(fds[0], false) && !(fcntl(fds[0], F_GETFL) & O_NONBLOCK));
    ck_assert(!fd_set_nonblock(-1, true));
}
END_TEST

/* As in a program that 'cmd' runs in a child with a limit of 512 bytes. */
START_TEST(file_size_limit)
{
    struct rlimit limit = {512, 512};
    g_autofree char *dir = temp_dir(), *path = g_build_filename(dir, "f", NULL);
    g_autofree char *command = g_strdup_printf("exec head -c 2000 /dev/zero > %s", path);
    char data[1000] = {0};
    int fd = host_open(path, O_RDWR | O_CREAT, 0600, NULL);

    host_survive_file_size_limit();
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(write(fd, data, sizeof data), 512);
    ck_assert_int_eq(write(fd, data, sizeof data), -1);
    ck_assert_int_eq(errno, EFBIG);
    close(fd);
    /* A program that is started from here has SIGXFSZ's default action. */
    int status = system(command);
    ck_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGXFSZ
                                  : WEXITSTATUS(status) == 128 + SIGXFSZ);
    unlink(path);
    rmdir(dir);
}
END_TEST

static rlim_t file_limit(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit.rlim_cur;
}

START_TEST(open_file_limit)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_max = MIN(limit.rlim_max, 1000);
    limit.rlim_cur = 200;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    host_raise_file_limit();
    ck_assert_uint_eq(file_limit(), limit.rlim_max);
    host_restore_file_limit(); /* a child calls this before exec() */
    ck_assert_uint_eq(file_limit(), 200);
}
END_TEST

static void *stack_size(void *data)
{
    pthread_attr_t attr;

    ck_assert_int_eq(pthread_getattr_np(pthread_self(), &attr), 0);
    ck_assert_int_eq(pthread_attr_getstacksize(&attr, data), 0);
    pthread_attr_destroy(&attr);
    return NULL;
}

/* No stack is large enough to hold an aligned huge page. */
START_TEST(thread_stacks)
{
    size_t size = 0;

    host_limit_thread_stacks();
    g_thread_join(g_thread_new("stack", stack_size, &size));
    ck_assert_uint_ge(size, 512 * KiB);
    ck_assert_uint_lt(size, 2 * MiB);
}
END_TEST

static size_t resident_pages(const char *memory, size_t size)
{
    unsigned char pages[64];
    size_t count = 0;

    ck_assert_int_eq(mincore((void *)memory, size, pages), 0);
    for (size_t i = 0; i < DIV_ROUND_UP(size, 4096); i++) {
        count += pages[i] & 1;
    }
    return count;
}

/* Whether malloc() stands in for mmap(), as it does where the address sanitizer watches. */
static bool is_mapped(const void *memory)
{
    return (uintptr_t)memory % 4096 == 0;
}

START_TEST(sparse)
{
    enum { SIZE = 64 * 4096 - 100 };
    char *memory = sparse_new(SIZE);

    memory[0] = memory[SIZE - 1] = 1;
    if (is_mapped(memory)) {
        ck_assert_uint_eq(resident_pages(memory, SIZE), 2);
    }
    for (size_t i = 1; i < SIZE - 1; i++) {
        ck_assert_int_eq(memory[i], 0);
    }
    memory[5 * 4096] = memory[SIZE - 1] = 0;
    sparse_trim(memory, SIZE);
    if (is_mapped(memory)) {
        ck_assert_uint_eq(resident_pages(memory, SIZE), 1);
    }
    ck_assert_int_eq(memory[0], 1);
    ck_assert_int_eq(memory[SIZE - 1], 0);
    sparse_free(memory, SIZE);
    sparse_free(NULL, SIZE);
}
END_TEST

/* No host is both loopback addresses: each is tried, and the last failure is the error. */
START_TEST(tcp_addresses)
{
    GError *err = NULL;
    auto_fd v4 = host_tcp_listen("127.0.0.1", "0", true, false, NULL);
    g_autofree char *port = g_strdup_printf("%d", port_of(v4));
    HostAddresses *a = host_tcp_resolve("", port, &err);
    unsigned connected = 0;
    int fd, errnum = 0;

    ck_no_error(err);
    while ((fd = host_tcp_connect_next(a, errnum, &err)) >= 0) {
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};

        ck_assert_int_eq(poll(&pfd, 1, 5000), 1);
        connected += host_tcp_connect_result(fd) == 0;
        close(fd);
        errnum = ETIMEDOUT; /* as if this one had not answered */
    }
    ck_assert_uint_eq(connected, 1);
    ck_assert(g_error_matches(err, VMM_ERROR, ETIMEDOUT) ||
              g_error_matches(err, VMM_ERROR, ECONNREFUSED));
    ck_error(err, "Failed to connect to ':");
    host_addresses_free(a);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        files,           fd_sets,       shared_fd_sets, unix_sockets, tcp_sockets,
        tcp_addresses,   data_files,    libraries,      nonblock,     file_size_limit,
        open_file_limit, thread_stacks, sparse,         NULL};

    unit_fork_always();
    return unit_run("host", tests);
}
