/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protocol 'file': pages of it that others map. */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"
#include "file.h"

enum { GFS2_MAGIC = 0x01161970 }; /* linux/magic.h has it not */

/* Of these a page may become another, or unreadable, by what other hosts or programs do. */
static bool is_remote(int fd)
{
    static const uint32_t remote[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,  SMB2_SUPER_MAGIC,
                                      CIFS_SUPER_MAGIC, CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,
                                      AFS_FS_MAGIC,     CODA_SUPER_MAGIC, V9FS_MAGIC,
                                      FUSE_SUPER_MAGIC, GFS2_MAGIC,       OCFS2_SUPER_MAGIC};
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0) {
        return true;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(remote); i++) {
        if ((uint32_t)fs.f_type == remote[i]) {
            return true;
        }
    }
    return false;
}

/*
 * A mapping keeps its descriptor's open file, and so its locks, after close(): hence another open
 * file, without locks. Its path is the descriptor's, for the name may be another file's by now.
 */
int file_open_to_map(BlockNode *node, GError **err)
{
    FileState *s = block_node_state(node);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", s->fd);

    if (node->opts.cache.direct) {
        error_set(err, "its file is read past the page cache (cache.direct=on)");
    } else if (!__atomic_load_n(&s->alone, __ATOMIC_SEQ_CST)) {
        error_set(err, "its file is not locked against other writers");
    } else if (is_remote(s->fd)) {
        error_set(err, "its file is not on a local file system");
    } else {
        return host_open(path, O_RDONLY, 0, err);
    }
    return -1;
}
