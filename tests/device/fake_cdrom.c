/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CD-ROM drive of the host's, for programs that are started with this as LD_PRELOAD. A file whose
 * name ends in ".cdrom" is one: the file is the disc, FILE.state says whether it lies in the drive
 * ("disc", "empty", and either after "open "), FILE.changed is there once after a change, and
 * FILE.log gets a line for each thing that the drive is told to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUFFIX ".cdrom"

static bool is_drive(const char *path)
{
    size_t n = strlen(path);

    return n > strlen(SUFFIX) && !strcmp(path + n - strlen(SUFFIX), SUFFIX);
}

static bool drive_of(int fd, char path[4096])
{
    char link[64];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, 4095);
    path[n < 0 ? 0 : n] = 0;
    return is_drive(path);
}

static int real_open(const char *path, int flags, mode_t mode)
{
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int side_file(const char *path, const char *suffix, int flags)
{
    char name[4200];

    snprintf(name, sizeof name, "%s%s", path, suffix);
    return real_open(name, flags | O_CLOEXEC, 0600);
}

static void get_state(const char *path, char state[32])
{
    int fd = side_file(path, ".state", O_RDONLY);
    ssize_t n = read(fd, state, 31);

    state[n < 0 ? 0 : n] = 0;
    close(fd);
}

static void set_state(const char *path, const char *state)
{
    int fd = side_file(path, ".state", O_WRONLY | O_TRUNC);

    (void)!write(fd, state, strlen(state));
    close(fd);
}

static void note(const char *path, const char *what)
{
    int fd = side_file(path, ".log", O_WRONLY | O_CREAT | O_APPEND);

    (void)!write(fd, what, strlen(what));
    close(fd);
}

/* By symbol, since stat() and its like have two names where files may be long. */
#define ALIAS(name) __asm__(name) __attribute__((visibility("default"), used))
int fake_stat(const char *path, struct stat *st) ALIAS("stat");
int fake_stat64(const char *path, struct stat *st) ALIAS("stat64");
int fake_fstat(int fd, struct stat *st) ALIAS("fstat");
int fake_fstat64(int fd, struct stat *st) ALIAS("fstat64");
int fake_open(const char *path, int flags, ...) ALIAS("open");
int fake_open64(const char *path, int flags, ...) ALIAS("open64");
int fake_ioctl(int fd, unsigned long request, ...) ALIAS("ioctl");

static void show_device(struct stat *st)
{
    st->st_mode = (st->st_mode & ~S_IFMT) | S_IFBLK;
    st->st_rdev = 11 << 8;
}

int fake_stat(const char *path, struct stat *st)
{
    int ret = syscall(SYS_newfstatat, AT_FDCWD, path, st, 0);

    if (ret == 0 && is_drive(path)) {
        show_device(st);
    }
    return ret;
}

int fake_stat64(const char *path, struct stat *st)
{
    return fake_stat(path, st);
}

int fake_fstat(int fd, struct stat *st)
{
    int ret = syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH);
    char path[4096];

    if (ret == 0 && S_ISREG(st->st_mode) && drive_of(fd, path)) {
        show_device(st);
    }
    return ret;
}

int fake_fstat64(int fd, struct stat *st)
{
    return fake_fstat(fd, st);
}

static int open_drive(const char *path, int flags, mode_t mode)
{
    char state[32];

    if (is_drive(path) && !(flags & O_NONBLOCK)) {
        get_state(path, state);
        if (strcmp(state, "disc")) {
            errno = ENOMEDIUM;
            return -1;
        }
    }
    return real_open(path, flags, mode);
}

int fake_open(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = va_arg(ap, int);
    va_end(ap);
    return open_drive(path, flags, mode);
}

int fake_open64(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = va_arg(ap, int);
    va_end(ap);
    return open_drive(path, flags, mode);
}

static int drive_status(const char *state)
{
    return !strncmp(state, "open", 4) ? CDS_TRAY_OPEN
           : !strcmp(state, "disc")   ? CDS_DISC_OK
                                      : CDS_NO_DISC;
}

static int drive_changed(const char *path)
{
    char name[4200];

    snprintf(name, sizeof name, "%s.changed", path);
    return unlink(name) == 0;
}

static int drive_ioctl(int fd, const char *path, unsigned long request, void *arg)
{
    char state[32], next[64];
    struct stat st;

    get_state(path, state);
    switch (request) {
    case CDROM_DRIVE_STATUS:
        return drive_status(state);
    case CDROM_MEDIA_CHANGED:
        return drive_changed(path);
    case CDROM_LOCKDOOR:
        note(path, arg ? "lock\n" : "unlock\n");
        return 0;
    case CDROMEJECT:
        note(path, "eject\n");
        snprintf(next, sizeof next, "open %s", state);
        set_state(path, strncmp(state, "open", 4) ? next : state);
        return 0;
    case CDROMCLOSETRAY:
        note(path, "close\n");
        set_state(path, strncmp(state, "open ", 5) ? state : state + 5);
        return 0;
    case BLKROGET:
        *(int *)arg = 1;
        return 0;
    case BLKSSZGET:
        *(int *)arg = 2048;
        return 0;
    case BLKGETSIZE64:
        syscall(SYS_newfstatat, fd, "", &st, AT_EMPTY_PATH);
        *(uint64_t *)arg = drive_status(state) == CDS_DISC_OK ? st.st_size : 0;
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}

int fake_ioctl(int fd, unsigned long request, ...)
{
    char path[4096];
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    /* Those of tapes, terminals and KVM are many: only a drive's are looked at. */
    if ((request >> 8 & 0xff) == 0x53 || (request >> 8 & 0xff) == 0x12) {
        if (drive_of(fd, path)) {
            return drive_ioctl(fd, path, request, arg);
        }
    }
    return syscall(SYS_ioctl, fd, request, arg);
}
