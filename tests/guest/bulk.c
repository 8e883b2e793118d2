/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Much data over TCP, for guests: linked statically, and quick where every instruction is emulated.
 *
 *     bulk send ADDRESS PORT BYTES    connects and sends
 *     bulk take PORT                  says 'listens', receives from the first who connects
 *
 * Both then print the number of bytes and a checksum that depends on each byte's position.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORDS = 1 << 17 };
static uint64_t buffer[WORDS];

typedef struct {
    uint64_t bytes, hash;
} Sum;

/* Adds the buffer's first 'len' bytes. Only the last call may end within a word. */
static void sum_add(Sum *s, size_t len)
{
    memset((uint8_t *)buffer + len, 0, -len % sizeof buffer[0]);
    for (size_t i = 0; i < (len + 7) / 8; i++) {
        s->hash = (s->hash ^ buffer[i]) * 0x100000001b3;
        s->hash ^= s->hash >> 29;
    }
    s->bytes += len;
}

static int bulk_failed(const char *what)
{
    fprintf(stderr, "bulk: %s: %s\n", what, strerror(errno));
    return 1;
}

static int bulk_report(const Sum *s)
{
    printf("bulk %" PRIu64 " %016" PRIx64 "\n", s->bytes, s->hash);
    return 0;
}

static int bulk_send(const char *address, uint16_t port, uint64_t bytes)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t seed = bytes;
    Sum sum = {0};

    if (inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        return bulk_failed(address);
    }
    while (sum.bytes < bytes) {
        size_t len = sizeof buffer, done = 0;

        /* No two buffers are alike, so that lost or repeated data changes the checksum. */
        for (size_t i = 0; i < WORDS; i++) {
            seed = seed * 6364136223846793005 + 1442695040888963407;
            buffer[i] = seed;
        }
        len = bytes - sum.bytes < len ? bytes - sum.bytes : len;
        sum_add(&sum, len);
        while (done < len) {
            ssize_t n = send(fd, (uint8_t *)buffer + done, len - done, MSG_NOSIGNAL);

            if (n < 0) {
                return bulk_failed("send");
            }
            done += n;
        }
    }
    shutdown(fd, SHUT_WR);
    /* The other side closes when it has all of it. */
    if (recv(fd, buffer, 1, 0) != 0) {
        return bulk_failed("the other side did not close");
    }
    return bulk_report(&sum);
}

static int bulk_take(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd, one = 1;
    Sum sum = {0};
    ssize_t n;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1) < 0) {
        return bulk_failed("listen");
    }
    puts("bulk listens");
    fflush(stdout);
    fd = accept(listener, NULL, NULL);
    while ((n = recv(fd, buffer, sizeof buffer, MSG_WAITALL)) > 0) {
        sum_add(&sum, n);
    }
    if (n < 0) {
        return bulk_failed("receive");
    }
    close(fd);
    return bulk_report(&sum);
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "send")) {
        return bulk_send(argv[2], atoi(argv[3]), strtoull(argv[4], NULL, 0));
    }
    if (argc == 3 && !strcmp(argv[1], "take")) {
        return bulk_take(atoi(argv[2]));
    }
    fputs("usage: bulk send ADDRESS PORT BYTES\n       bulk take PORT\n", stderr);
    return 2;
}
