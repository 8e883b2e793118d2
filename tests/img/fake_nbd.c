/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's client of NBD, for a program that is started with this as LD_PRELOAD. Any file is
 * such a device: FILE gets the first bytes of the disk once it is connected, FILE.log a line for
 * each thing that is set; a file FILE.refuse makes NBD_SET_SOCK fail. linux/nbd.h.
 */
#include <endian.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DISK_BYTES = 512 };

static int disk_socket = -1;

static void device_name(int fd, char path[4096])
{
    char link[64];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, 4000);
    path[n < 0 ? 0 : n] = 0;
}

static void note(int fd, const char *text, unsigned long value)
{
    char path[4200];
    FILE *log;

    device_name(fd, path);
    strcat(path, ".log");
    log = fopen(path, "a");
    if (log) {
        fprintf(log, "%s %lu\n", text, value);
        fclose(log);
    }
}

static void send_request(uint32_t type, uint32_t bytes)
{
    struct {
        uint32_t magic, type;
        uint64_t handle, from;
        uint32_t bytes;
    } __attribute__((packed)) r = {htobe32(0x25609513), htobe32(type), 7, 0, htobe32(bytes)};

    if (send(disk_socket, &r, sizeof r, MSG_NOSIGNAL) < 0) {
        perror("fake_nbd");
    }
}

/* Reads the disk's first bytes, and returns when the connection ends. */
static int do_it(int fd)
{
    uint8_t reply[16 + DISK_BYTES], byte;

    send_request(0, DISK_BYTES);
    if (recv(disk_socket, reply, sizeof reply, MSG_WAITALL) != (ssize_t)sizeof reply ||
        pwrite(fd, reply + 16, DISK_BYTES, 0) != DISK_BYTES) {
        errno = EIO;
        return -1;
    }
    note(fd, "read", DISK_BYTES);
    while (recv(disk_socket, &byte, 1, 0) > 0) {
    }
    return 0;
}

static int refused(int fd)
{
    char path[4200];

    device_name(fd, path);
    strcat(path, ".refuse");
    return access(path, F_OK) == 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    unsigned long arg;
    va_list ap;

    va_start(ap, request);
    arg = va_arg(ap, unsigned long);
    va_end(ap);
    if (request == BLKROSET) {
        note(fd, "read-only", *(const int *)arg);
        return 0;
    }
    if (request >> 8 != 0xab) {
        return syscall(SYS_ioctl, fd, request, arg);
    }
    switch (request & 0xff) {
    case 0:
        if (refused(fd)) {
            errno = EBUSY;
            return -1;
        }
        disk_socket = arg;
        note(fd, "socket", 0);
        return 0;
    case 1:
        note(fd, "block-size", arg);
        return 0;
    case 3:
        return do_it(fd);
    case 7:
        note(fd, "blocks", arg);
        return 0;
    case 8:
        note(fd, "disconnect", 0);
        if (disk_socket >= 0) {
            send_request(2, 0);
        }
        return 0;
    case 10:
        note(fd, "flags", arg);
        return 0;
    default:
        return 0;
    }
}
