/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the protocol 'host_cdrom' has beyond 'host_device': the drive's tray, door and disc (Linux,
 * include/uapi/linux/cdrom.h). A descriptor that was opened with O_NONBLOCK needs no disc, and
 * keeps an eye on none: the kernel looks at a new disc when somebody opens the drive without it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "base/coroutine.h"
#include "base/host.h"
#include "base/log.h"
#include "base/util.h"
#include "drivers.h"
#include "file.h"

static int host_cdrom_status(int fd)
{
    return ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT);
}

bool host_cdrom_is_one(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISBLK(st.st_mode)) {
        return false;
    }
    auto_fd fd = host_open(path, O_RDONLY | O_NONBLOCK, 0, NULL);
    return fd >= 0 && host_cdrom_status(fd) >= 0;
}

/* The length of the disc that lies in the drive. */
static int64_t host_cdrom_disc_length(const FileState *s)
{
    auto_fd fd = host_open(s->filename, O_RDONLY, 0, NULL);
    uint64_t bytes;

    return fd >= 0 && ioctl(fd, BLKGETSIZE64, &bytes) == 0 ? (int64_t)bytes : -1;
}

bool host_cdrom_look(FileState *s)
{
    int status = host_cdrom_status(s->fd);
    bool had = __atomic_load_n(&s->has_disc, __ATOMIC_SEQ_CST), has = status == CDS_DISC_OK;
    /* Told once of each disc to each who asks. */
    bool other = ioctl(s->fd, CDROM_MEDIA_CHANGED, CDSL_CURRENT) == 1;
    int64_t length = 0;

    if (has && had && !other) {
        return false;
    }
    length = has ? host_cdrom_disc_length(s) : 0;
    has = has && length >= 0;
    __atomic_store_n(&s->length, MAX(length, 0), __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&s->punch_gen, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&s->has_disc, has, __ATOMIC_SEQ_CST);
    return had || has;
}

bool host_cdrom_has_medium(BlockNode *node)
{
    const FileState *s = block_node_state(node);

    return __atomic_load_n(&s->has_disc, __ATOMIC_SEQ_CST);
}

typedef struct {
    FileState *s;
    BlockTrayMove move;
    bool lock;
} HostCdromWork;

static void host_cdrom_call(const FileState *s, unsigned long request, int argument,
                            const char *what)
{
    if (ioctl(s->fd, request, argument) < 0) {
        log_warn("cannot %s of '%s': %s", what, s->filename, g_strerror(errno));
    }
}

/* Moving a tray takes seconds. */
static int host_cdrom_worker(void *data)
{
    HostCdromWork *w = data;
    FileState *s = w->s;

    if (s->door_locked != w->lock) {
        host_cdrom_call(s, CDROM_LOCKDOOR, w->lock, w->lock ? "lock the door" : "unlock the door");
        s->door_locked = w->lock;
    }
    if (w->move != BLOCK_TRAY_STAYS) {
        bool opens = w->move == BLOCK_TRAY_OPENS;

        host_cdrom_call(s, opens ? CDROMEJECT : CDROMCLOSETRAY, 0,
                        opens ? "open the tray" : "close the tray");
    }
    return host_cdrom_look(s);
}

bool coroutine_fn host_cdrom_follow_tray(BlockNode *node, BlockTrayMove move, bool lock)
{
    HostCdromWork w = {block_node_state(node), move, lock};

    return co_pool_run(host_cdrom_worker, &w);
}
