// SPDX-License-Identifier: GPL-2.0-or-later
// A client of QMP: what bench/monitor measures.
//
//   qmpload SOCKET trips N       the median time of N round trips of query-status
//   qmpload SOCKET sessions N    the time of a session that begins, asks once and is dropped
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

// One line at a time is asked for; an event may come before the answer.
static void read_answer(int fd)
{
    char buffer[65536];
    size_t used = 0;

    for (;;) {
        ssize_t n = read(fd, buffer + used, sizeof buffer - 1 - used);

        if (n <= 0) {
            fail("read");
        }
        used += n;
        buffer[used] = 0;
        if (buffer[used - 1] == '\n' &&
            (strstr(buffer, "\"return\"") || strstr(buffer, "\"QMP\""))) {
            return;
        }
    }
}

static void ask(int fd, const char *command)
{
    char line[100];
    int n = snprintf(line, sizeof line, "{\"execute\": \"%s\"}\n", command);

    if (write(fd, line, n) != n) {
        fail("write");
    }
    read_answer(fd);
}

static int begin(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    while (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN) {
            fail(path);
        }
        usleep(1000);
    }
    read_answer(fd);
    ask(fd, "qmp_capabilities");
    return fd;
}

static int compare(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    long count = argc == 4 ? atol(argv[3]) : 0;
    long long *times;
    int fd = -1;

    if (count < 1) {
        return 2;
    }
    times = calloc(count, sizeof *times);
    if (!strcmp(argv[2], "trips")) {
        fd = begin(argv[1]);
    }
    for (long i = 0; i < count; i++) {
        long long from = now();

        if (fd >= 0) {
            ask(fd, "query-status");
        } else {
            int one = begin(argv[1]);

            ask(one, "query-status");
            close(one);
        }
        times[i] = now() - from;
    }
    qsort(times, count, sizeof *times, compare);
    printf("%lld ns\n", times[count / 2]);
    return 0;
}
