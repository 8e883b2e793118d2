// SPDX-License-Identifier: GPL-2.0-or-later
// Reads or writes at an NBD server, so many requests at a time: the client of bench/nbd.
//
//   nbdload SOCKET read|write SIZE DEPTH SECONDS
//
// Requests of SIZE bytes go to random places of the export "". Prints the number of requests and
// the nanoseconds that they took. It does as little as it can, so that the server is measured.
#define _GNU_SOURCE
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_MAX = 256, INPUT_SIZE = 1 << 20, OPTION_EXPORT_NAME = 1, NO_ZEROES = 3 };

struct request {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, from;
    uint32_t length;
} __attribute__((packed));

static int fd;
static uint64_t export_size, number = 0x9e3779b97f4a7c15U;
static size_t size;
static int writes;
static char *output, input[INPUT_SIZE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void send_all(const void *data, size_t length)
{
    while (length) {
        ssize_t n = write(fd, data, length);
        if (n <= 0) {
            die("nbdload: write");
        }
        data = (const char *)data + n;
        length -= (size_t)n;
    }
}

static void receive_all(void *data, size_t length)
{
    while (length) {
        ssize_t n = read(fd, data, length);
        if (n <= 0) {
            die("nbdload: read");
        }
        data = (char *)data + n;
        length -= (size_t)n;
    }
}

static void negotiate(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint32_t flags = htobe32(NO_ZEROES);
    char greeting[18], answer[10];
    struct {
        uint64_t magic;
        uint32_t option, length;
    } name = {htobe64(0x49484156454f5054U), htobe32(OPTION_EXPORT_NAME), 0};

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        die(path);
    }
    receive_all(greeting, sizeof greeting);
    send_all(&flags, sizeof flags);
    send_all(&name, sizeof name);
    receive_all(answer, sizeof answer);
    memcpy(&export_size, answer, sizeof export_size);
    export_size = be64toh(export_size);
}

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

// Sends so many requests in one call.
static void submit(int count)
{
    size_t step = sizeof(struct request) + (writes ? size : 0);

    for (int i = 0; i < count; i++) {
        struct request *r = (struct request *)(output + (size_t)i * step);
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        *r = (struct request){htobe32(0x25609513),
                              0,
                              htobe16((uint16_t)writes),
                              number,
                              htobe64(number % (export_size / size) * size),
                              htobe32((uint32_t)size)};
    }
    send_all(output, (size_t)count * step);
}

// Waits for replies, and takes all that have come.
static int receive(void)
{
    static size_t have;
    size_t reply = 16 + (writes ? 0 : size);
    ssize_t n = read(fd, input + have, sizeof input - have);
    int count = 0;

    if (n <= 0) {
        die("nbdload: read");
    }
    have += (size_t)n;
    for (; (size_t)(count + 1) * reply <= have; count++) {
        static const char good[8] = {0x67, 0x44, 0x66, (char)0x98};
        if (memcmp(input + (size_t)count * reply, good, sizeof good) != 0) {
            fprintf(stderr, "nbdload: a reply is no success\n");
            exit(1);
        }
    }
    have -= (size_t)count * reply;
    memmove(input, input + (size_t)count * reply, have);
    return count;
}

int main(int argc, char **argv)
{
    long long start, end, total = 0;
    int depth, free_slots;

    if (argc != 6) {
        fprintf(stderr, "usage: nbdload SOCKET read|write SIZE DEPTH SECONDS\n");
        return 1;
    }
    writes = strcmp(argv[2], "write") == 0;
    size = strtoul(argv[3], NULL, 10);
    depth = atoi(argv[4]);
    if (depth < 1 || depth > DEPTH_MAX || size < 1 || size > INPUT_SIZE / 2) {
        fprintf(stderr, "nbdload: SIZE or DEPTH is out of range\n");
        return 1;
    }
    output = calloc((size_t)depth, sizeof(struct request) + size);
    if (!output) {
        die("nbdload");
    }
    negotiate(argv[1]);
    free_slots = depth;
    start = now();
    end = start + atoll(argv[5]) * 1000000000LL;
    while (now() < end) {
        int count;
        submit(free_slots);
        count = receive();
        total += count;
        free_slots = count;
    }
    printf("%lld %lld\n", total, now() - start);
    return 0;
}
