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
#include "base/util.h"
#include "file.h"

enum { LOCK_PERM_BASE = 100, LOCK_SHARED_BASE = 200, PERM_BITS = 4 };

static const char *const perm_names[PERM_BITS] = {"consistent read", "write", "write unchanged",
                                                  "resize"};

static int lock_byte(int fd, off_t byte, bool test)
{
    struct flock fl = {
        /* An exclusive lock conflicts with every shared lock of another open file. */
        .l_type = test ? F_WRLCK : F_RDLCK,
        .l_whence = SEEK_SET,
        .l_start = byte,
        .l_len = 1,
    };
    int ret;

    do {
        ret = fcntl(fd, test ? F_OFD_GETLK : F_OFD_SETLK, &fl);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        return -errno;
    }
    return test && fl.l_type != F_UNLCK ? -EAGAIN : 0;
}

bool file_locks_supported(int fd)
{
    return lock_byte(fd, LOCK_PERM_BASE, true) != -EINVAL;
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

bool file_lock(int fd, const char *filename, unsigned perm, unsigned unshared, GError **err)
{
    int ret;

    for (int i = 0; i < PERM_BITS; i++) {
        if ((perm & BIT(i)) && (ret = lock_byte(fd, LOCK_PERM_BASE + i, false)) < 0) {
            return file_lock_refuse(err, ret, "", perm_names[i], filename);
        }
        if ((unshared & BIT(i)) && (ret = lock_byte(fd, LOCK_SHARED_BASE + i, false)) < 0) {
            return file_lock_refuse(err, ret, "shared ", perm_names[i], filename);
        }
    }
    for (int i = 0; i < PERM_BITS; i++) {
        if ((perm & BIT(i)) && (ret = lock_byte(fd, LOCK_SHARED_BASE + i, true)) < 0) {
            return file_lock_refuse(err, ret, "", perm_names[i], filename);
        }
        if ((unshared & BIT(i)) && (ret = lock_byte(fd, LOCK_PERM_BASE + i, true)) < 0) {
            return file_lock_refuse(err, ret, "shared ", perm_names[i], filename);
        }
    }
    return true;
}
