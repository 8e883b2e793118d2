// SPDX-License-Identifier: GPL-2.0-or-later
// Reads or writes past the page cache, so many requests at a time: the guest's side of bench/blk.
//
//   blkload DEVICE read|write random|FIRST SIZE DEPTH SECONDS
//
// Requests of SIZE bytes go to random places, or one after the other from byte FIRST on. Prints the
// number of requests, the nanoseconds that they took, and the interrupts of virtio devices
// meanwhile.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "interrupts.h"

enum { DEPTH_MAX = 256 };

static int fd, depth;
static size_t size;
static off_t device_size, next_offset = -1;
static uint64_t number = 0x9e3779b97f4a7c15U;

static off_t next_place(void)
{
    off_t place;

    if (next_offset < 0) {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        return (off_t)(number % ((uint64_t)device_size / size) * size);
    }
    place = next_offset;
    next_offset += (off_t)size;
    if (next_offset + (off_t)size > device_size) {
        fprintf(stderr, "blkload: the end of the device is reached\n");
        exit(1);
    }
    return place;
}

static long long now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Sets requests up anew and submits them in one call. */
static void submit(aio_context_t context, struct iocb **requests, int count)
{
    for (int i = 0; i < count; i++) {
        requests[i]->aio_offset = next_place();
    }
    while (count > 0) {
        long n = syscall(SYS_io_submit, context, (long)count, requests);
        if (n <= 0) {
            perror("io_submit");
            exit(1);
        }
        requests += n;
        count -= (int)n;
    }
}

static uint64_t run(int opcode, long long nanoseconds)
{
    static struct iocb requests[DEPTH_MAX];
    static struct io_event events[DEPTH_MAX];
    struct iocb *list[DEPTH_MAX];
    aio_context_t context = 0;
    long long end = now() + nanoseconds;
    uint64_t done = 0;
    int in_flight = depth;

    if (syscall(SYS_io_setup, depth, &context) < 0) {
        perror("io_setup");
        exit(1);
    }
    for (int i = 0; i < depth; i++) {
        void *buffer;
        if (posix_memalign(&buffer, 4096, size) != 0) {
            exit(1);
        }
        memset(buffer, 0x55 + i, size);
        requests[i] = (struct iocb){.aio_lio_opcode = (uint16_t)opcode,
                                    .aio_fildes = (uint32_t)fd,
                                    .aio_buf = (uintptr_t)buffer,
                                    .aio_nbytes = size};
        list[i] = &requests[i];
    }
    submit(context, list, depth);
    while (in_flight) {
        long n = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
        for (long i = 0; i < n; i++) {
            if (events[i].res != (int64_t)size) {
                fprintf(stderr, "blkload: a request ended with %lld\n", (long long)events[i].res);
                exit(1);
            }
            list[i] = (struct iocb *)(uintptr_t)events[i].obj;
        }
        if (n <= 0) {
            perror("io_getevents");
            exit(1);
        }
        done += (uint64_t)n;
        if (now() < end) {
            submit(context, list, (int)n);
        } else {
            in_flight -= (int)n;
        }
    }
    return done;
}

int main(int argc, char **argv)
{
    long long from;
    uint64_t done, interrupts;
    int writes;

    if (argc != 7) {
        return 2;
    }
    writes = strcmp(argv[2], "write") == 0;
    size = strtoul(argv[4], NULL, 0);
    depth = atoi(argv[5]);
    fd = open(argv[1], (writes ? O_RDWR : O_RDONLY) | O_DIRECT);
    device_size = lseek(fd, 0, SEEK_END);
    if (fd < 0 || !size || (size_t)device_size < size || depth < 1 || depth > DEPTH_MAX) {
        perror(argv[1]);
        return 1;
    }
    if (strcmp(argv[3], "random") != 0) {
        next_offset = strtoll(argv[3], NULL, 0);
    }
    interrupts = virtio_interrupts();
    from = now();
    done = run(writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, (long long)(atof(argv[6]) * 1e9));
    printf("load: %llu done %lld ns %llu interrupts\n", (unsigned long long)done, now() - from,
           (unsigned long long)(virtio_interrupts() - interrupts));
    return 0;
}
