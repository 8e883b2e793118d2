/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Image locking, compatible with QEMU's. A process that uses a permission on an image holds a
 * shared OFD lock on byte 100 + the permission's bit; one that denies it to others holds a shared
 * lock on byte 200 + the bit. With its locks taken, each process tests whether another holds the
 * opposite byte. No lock is exclusive: taking one never fails for another's, whatever the order.
 */
#include <errno.h>
#include <fcntl.h>
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "file.h"

enum { LOCK_PERM_BASE = 100, LOCK_SHARED_BASE = 200, PERM_BITS = 4 };

static const char *const perm_names[PERM_BITS] = {"consistent read", "write", "write unchanged",
                                                  "resize"};

static int lock_call(int fd, int command, short type, off_t byte)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int ret;

    do {
        ret = fcntl(fd, command, &fl);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        return -errno;
    }
    return command == F_OFD_GETLK && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

static int lock_take(int fd, off_t byte)
{
    return lock_call(fd, F_OFD_SETLK, F_RDLCK, byte);
}

/* An exclusive lock conflicts with every shared lock of another open file. */
static int lock_test(int fd, off_t byte)
{
    return lock_call(fd, F_OFD_GETLK, F_WRLCK, byte);
}

bool file_locks_supported(int fd)
{
    return lock_test(fd, LOCK_PERM_BASE) != -EINVAL;
}

static bool file_lock_refuse(GError **err, int ret, const char *shared, const char *what,
                             const char *filename)
{
    if (ret == -EAGAIN || ret == -EACCES) {
        error_set(err, "Failed to get %s\"%s\" lock\nIs another process using the image [%s]?",
                  shared, what, filename);
    } else {
        error_set_errno(err, -ret, "Failed to lock '%s'", filename);
    }
    return false;
}

void file_unlock(int fd, FileLocks old, FileLocks new)
{
    for (int i = 0; i < PERM_BITS; i++) {
        if (old.perm & ~new.perm & BIT(i)) {
            lock_call(fd, F_OFD_SETLK, F_UNLCK, LOCK_PERM_BASE + i);
        }
        if (old.unshared & ~new.unshared & BIT(i)) {
            lock_call(fd, F_OFD_SETLK, F_UNLCK, LOCK_SHARED_BASE + i);
        }
    }
}

/* Calls 'call' for the bytes of these locks, or for those that they conflict with. */
static bool lock_each(int fd, const char *filename, FileLocks l, int (*call)(int, off_t),
                      bool opposite, GError **err)
{
    off_t perm = opposite ? LOCK_SHARED_BASE : LOCK_PERM_BASE;
    off_t shared = opposite ? LOCK_PERM_BASE : LOCK_SHARED_BASE;
    int ret;

    for (int i = 0; i < PERM_BITS; i++) {
        if ((l.perm & BIT(i)) && (ret = call(fd, perm + i)) < 0) {
            return file_lock_refuse(err, ret, "", perm_names[i], filename);
        }
        if ((l.unshared & BIT(i)) && (ret = call(fd, shared + i)) < 0) {
            return file_lock_refuse(err, ret, "shared ", perm_names[i], filename);
        }
    }
    return true;
}

void file_lock_again(int fd, const char *filename, FileLocks locks)
{
    g_autoptr(GError) err = NULL;

    if (!lock_each(fd, filename, locks, lock_take, false, &err)) {
        log_warn("%s", err->message);
    }
}

bool file_lock(int fd, const char *filename, FileLocks old, FileLocks new, GError **err)
{
    FileLocks more = {new.perm & ~old.perm, new.unshared & ~old.unshared};

    if (!lock_each(fd, filename, more, lock_take, false, err) ||
        !lock_each(fd, filename, more, lock_test, true, err)) {
        file_unlock(fd, new, old);
        return false;
    }
    return true;
}
