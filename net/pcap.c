/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pcap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/iov.h"
#include "base/log.h"
#include "base/util.h"

#define MAGIC             0xa1b2c3d4 /* in the writer's byte order; times in microseconds */
#define LINKTYPE_ETHERNET 1
#define FLUSH_SIZE        (256 * 1024)
#define BUFFER_MAX        (4 * 1024 * 1024) /* for a pipe whose reader is slow */

typedef struct {
    uint32_t magic;
    uint16_t major, minor;
    int32_t zone;
    uint32_t accuracy, snaplen, linktype;
} PcapFileHeader;

typedef struct {
    uint32_t seconds, microseconds, caplen, len;
} PcapRecord;

struct Pcap {
    char *path, *what;
    uint32_t maxlen;
    int fd;
    bool is_file, failed, dropping;
    GByteArray *buffer;
    size_t last_at, last_end; /* of the last packet in the buffer */
    off_t good;               /* where whole packets end in the file */
    BottomHalf bh;
    FdHandler *writable; /* of a pipe */
};

static void pcap_fail(Pcap *p, int errnum)
{
    p->failed = true;
    g_byte_array_set_size(p->buffer, 0);
    p->last_end = 0;
    if (p->writable) {
        fd_handler_set(p->writable, false, false);
    }
    log_warn("%s: cannot write to %s: %s; packets are not recorded any more%s", p->what, p->path,
             g_strerror(errnum), p->is_file ? ", and the file ends with a whole one" : "");
}

/* How many of 'len' bytes of the buffer are whole packets. */
static size_t pcap_whole(const Pcap *p, size_t len)
{
    size_t at = 0;
    PcapRecord r;

    while (len - at >= sizeof r) {
        memcpy(&r, p->buffer->data + at, sizeof r);
        if (len - at - sizeof r < r.caplen) {
            break;
        }
        at += sizeof r + r.caplen;
    }
    return at;
}

static void pcap_flush_file(Pcap *p)
{
    size_t done = 0, len = p->buffer->len;
    int errnum = 0;

    while (done < len && !errnum) {
        ssize_t n = pwrite(p->fd, p->buffer->data + done, len - done, p->good + done);

        if (n > 0) {
            done += n;
        } else if (n == 0 || errno != EINTR) {
            errnum = n == 0 ? ENOSPC : errno;
        }
    }
    p->good += done == len ? len : pcap_whole(p, done);
    g_byte_array_set_size(p->buffer, 0);
    p->last_end = 0;
    if (errnum) {
        /* Where even this fails, readers warn of a packet that is cut short. */
        if (ftruncate(p->fd, p->good) < 0) {
            log_item(LOG_NET, "%s: ftruncate: %s", p->what, g_strerror(errno));
        }
        pcap_fail(p, errnum);
    }
}

static void pcap_flush_pipe(Pcap *p)
{
    while (p->buffer->len) {
        ssize_t n = write(p->fd, p->buffer->data, p->buffer->len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            pcap_fail(p, errno);
            return;
        }
        g_byte_array_remove_range(p->buffer, 0, n);
        p->last_end = 0;
    }
    fd_handler_set(p->writable, false, p->buffer->len > 0);
    p->dropping = p->dropping && p->buffer->len > BUFFER_MAX / 2;
}

static void pcap_flush(void *data)
{
    Pcap *p = data;

    if (p->failed || !p->buffer->len) {
        return;
    }
    if (p->is_file) {
        pcap_flush_file(p);
    } else {
        pcap_flush_pipe(p);
    }
}

/* False: a pipe's reader is slow, and the packet is left out. */
static bool pcap_has_room(Pcap *p)
{
    if (p->buffer->len >= FLUSH_SIZE && p->is_file) {
        pcap_flush(p);
    }
    if (p->buffer->len >= BUFFER_MAX && !p->dropping) {
        p->dropping = true;
        log_warn("%s: the reader of %s is too slow: packets are left out", p->what, p->path);
    }
    return !p->failed && !p->dropping;
}

void pcap_packet(Pcap *p, const struct iovec *iov, unsigned n, size_t skip)
{
    size_t size = iov_size(iov, n), len = size > skip ? size - skip : 0;
    int64_t now = clock_ns(CLOCK_HOST_NS);
    PcapRecord r = {.seconds = now / NS_PER_SEC,
                    .microseconds = now % NS_PER_SEC / 1000,
                    .caplen = MIN(len, p->maxlen),
                    .len = len};

    p->last_end = 0;
    if (!pcap_has_room(p)) {
        return;
    }
    p->last_at = p->buffer->len;
    g_byte_array_set_size(p->buffer, p->last_at + sizeof r + r.caplen);
    memcpy(p->buffer->data + p->last_at, &r, sizeof r);
    iov_to_buf(iov, n, skip, p->buffer->data + p->last_at + sizeof r, r.caplen);
    p->last_end = p->buffer->len;
    bh_schedule(&p->bh);
}

void pcap_unsent(Pcap *p)
{
    if (p->last_end && p->last_end == p->buffer->len) {
        g_byte_array_set_size(p->buffer, p->last_at);
    }
    p->last_end = 0;
}

bool pcap_failed(const Pcap *p)
{
    return p->failed;
}

void pcap_retry(Pcap *p)
{
    p->failed = p->dropping = false;
}

static bool pcap_write_header(Pcap *p, GError **err)
{
    PcapFileHeader h = {.magic = MAGIC,
                        .major = 2,
                        .minor = 4,
                        .snaplen = p->maxlen,
                        .linktype = LINKTYPE_ETHERNET};
    ssize_t n = write(p->fd, &h, sizeof h);

    if (n != sizeof h) {
        return error_set_errno(err, n < 0 ? errno : ENOSPC, "can't write to %s", p->path);
    }
    p->good = sizeof h;
    return true;
}

Pcap *pcap_open(const char *path, uint32_t maxlen, const char *what, GError **err)
{
    /* O_NONBLOCK: a pipe that nobody reads is an error, and a slow reader holds up nobody. */
    int fd = host_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0644, NULL);
    struct stat st;
    Pcap *p;

    if (fd < 0) {
        error_set_errno(err, errno, "can't open %s%s", path,
                        errno == ENXIO ? " (nobody reads this pipe yet: start the reader first)"
                                       : "");
        return NULL;
    }
    p = g_new0(Pcap, 1);
    p->path = g_strdup(path);
    p->what = g_strdup(what);
    p->maxlen = maxlen;
    p->fd = fd;
    p->is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    p->buffer = g_byte_array_new();
    bh_init(&p->bh, event_loop_current(), pcap_flush, p);
    if (!pcap_write_header(p, err)) {
        p->failed = true; /* nothing to flush */
        pcap_close(p);
        return NULL;
    }
    if (!p->is_file) {
        p->writable = event_loop_add_fd(event_loop_current(), fd, NULL, pcap_flush, p);
        fd_handler_set(p->writable, false, false);
    }
    return p;
}

void pcap_close(Pcap *p)
{
    if (!p) {
        return;
    }
    pcap_flush(p);
    bh_cancel(&p->bh);
    fd_handler_remove(p->writable);
    fd_close(&p->fd);
    g_byte_array_unref(p->buffer);
    g_free(p->path);
    g_free(p->what);
    g_free(p);
}
