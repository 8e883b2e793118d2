// SPDX-License-Identifier: GPL-2.0-or-later
// Random 4 KiB reads past the page cache, by several threads: the guest's side of bench/blk.
//
//   randread DEVICE THREADS SECONDS
//
// Prints the number of reads and the nanoseconds that they took.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *device;
static volatile int stop;

static void *reader(void *argument)
{
    uint64_t random = (uintptr_t)argument * 0x9e3779b97f4a7c15ULL + 1, count = 0;
    int fd = open(device, O_RDONLY | O_DIRECT);
    off_t size = lseek(fd, 0, SEEK_END);
    void *buffer;

    if (fd < 0 || size < 4096 || posix_memalign(&buffer, 4096, 4096)) {
        perror(device);
        exit(1);
    }
    while (!stop) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if (pread(fd, buffer, 4096, (off_t)(random % (size / 4096)) * 4096) != 4096) {
            perror(device);
            exit(1);
        }
        count++;
    }
    return (void *)(uintptr_t)count;
}

int main(int argc, char **argv)
{
    pthread_t threads[64];
    struct timespec from, to;
    uint64_t total = 0;
    int n;

    if (argc != 4 || (n = atoi(argv[2])) < 1 || n > 64) {
        return 2;
    }
    device = argv[1];
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < n; i++) {
        pthread_create(&threads[i], NULL, reader, (void *)(uintptr_t)(i + 1));
    }
    sleep(atoi(argv[3]));
    stop = 1;
    for (int i = 0; i < n; i++) {
        void *count;
        pthread_join(threads[i], &count);
        total += (uintptr_t)count;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("randread: %llu reads %lld ns\n", (unsigned long long)total,
           (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
    return 0;
}
