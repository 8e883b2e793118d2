// SPDX-License-Identifier: GPL-2.0-or-later
// Writes to a character device for a while: the guest's side of bench/serial.
//
//   conload DEVICE SIZE SECONDS
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "interrupts.h"

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
    long long from, end;
    uint64_t done = 0, interrupts;
    size_t size;
    char *buffer;
    int fd;

    if (argc != 4) {
        return 2;
    }
    size = strtoul(argv[2], NULL, 0);
    fd = open(argv[1], O_WRONLY | O_NOCTTY);
    buffer = malloc(size);
    if (fd < 0 || !buffer) {
        perror(argv[1]);
        return 1;
    }
    memset(buffer, 'x', size);
    interrupts = virtio_interrupts();
    from = now();
    end = from + (long long)(atof(argv[3]) * 1e9);
    while (now() < end) {
        ssize_t n = write(fd, buffer, size);
        if (n <= 0) {
            perror("write");
            return 1;
        }
        done += (uint64_t)n;
    }
    printf("load: %llu done %lld ns %llu interrupts\n", (unsigned long long)done, now() - from,
           (unsigned long long)(virtio_interrupts() - interrupts));
    return 0;
}
