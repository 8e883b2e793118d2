/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel takes a socket on which the handshake is over, and sends requests from within an ioctl
 * that lasts as long as the connection (NBD_DO_IT). So a thread makes the handshake, as the client
 * of the server that runs on the main loop, and then is in that ioctl.
 */
#include "nbd_device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../export/nbd_proto.h"
#include "base/error.h"
#include "base/event_loop.h"
#include "base/host.h"
#include "base/util.h"
#include "base/wait_list.h"
#include "block/nbd_server.h"

/* linux/nbd.h, which has other things by the names of the protocol's. */
#define NBD_SET_SOCK        _IO(0xab, 0)
#define NBD_SET_BLKSIZE     _IO(0xab, 1)
#define NBD_DO_IT           _IO(0xab, 3)
#define NBD_CLEAR_SOCK      _IO(0xab, 4)
#define NBD_CLEAR_QUE       _IO(0xab, 5)
#define NBD_SET_SIZE_BLOCKS _IO(0xab, 7)
#define NBD_DISCONNECT      _IO(0xab, 8)
#define NBD_SET_FLAGS       _IO(0xab, 10)

enum { DEVICE_SECTOR = 512 };

struct NbdDevice {
    int fd, sock;
    char *path, *export_name;
    EventLoop *loop;
    GThread *thread;
    GError *err; /* why the device could not be set up */
    enum { DEVICE_STARTING, DEVICE_CONNECTED, DEVICE_GONE } state;
    WaitList changed;
    void (*gone)(void *data);
    void *data;
};

/* On the main loop. */

static void device_connected(void *data)
{
    NbdDevice *d = data;

    d->state = DEVICE_CONNECTED;
    wait_list_wake_all(&d->changed);
}

static void device_gone(void *data)
{
    NbdDevice *d = data;
    bool connected = d->state == DEVICE_CONNECTED;

    d->state = DEVICE_GONE;
    wait_list_wake_all(&d->changed);
    if (connected) {
        d->gone(d->data);
    }
}

/* On the thread. */

static bool device_receive(NbdDevice *d, void *buf, size_t len, GError **err)
{
    ssize_t n;

    do {
        n = recv(d->sock, buf, len, MSG_WAITALL);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)len || error_set(err, "Failed to negotiate with the NBD server");
}

/* Fixed newstyle, the option NBD_OPT_EXPORT_NAME: the kernel knows no structured replies. */
static bool device_hello(NbdDevice *d, uint64_t *size, uint16_t *flags, GError **err)
{
    const size_t len = strlen(d->export_name);
    g_autofree uint8_t *ask = g_malloc0(4 + NBD_OPTION_SIZE + len);
    uint8_t greeting[NBD_GREETING_SIZE], answer[10];

    if (!device_receive(d, greeting, sizeof greeting, err)) {
        return false;
    }
    stbe32(ask, NBD_HAND_FIXED_NEWSTYLE | NBD_HAND_NO_ZEROES);
    stbe64(ask + 4, NBD_OPTION_MAGIC);
    stbe32(ask + 12, NBD_OPT_EXPORT_NAME);
    stbe32(ask + 16, len);
    memcpy(ask + 4 + NBD_OPTION_SIZE, d->export_name, len);
    if (send(d->sock, ask, 4 + NBD_OPTION_SIZE + len, MSG_NOSIGNAL) < 0 ||
        !device_receive(d, answer, sizeof answer, err)) {
        return false;
    }
    *size = ldbe64(answer);
    *flags = ldbe16(answer + 8);
    return true;
}

static bool device_ioctl(NbdDevice *d, unsigned long request, unsigned long arg, const char *what,
                         GError **err)
{
    return ioctl(d->fd, request, arg) == 0 ||
           error_set_errno(err, errno, "Failed to set %s of '%s'", what, d->path);
}

static bool device_set_up(NbdDevice *d, GError **err)
{
    uint64_t size;
    uint16_t flags;
    int read_only;

    if (!device_hello(d, &size, &flags, err)) {
        return false;
    }
    /* A server that is gone may have left its socket. */
    ioctl(d->fd, NBD_CLEAR_SOCK);
    read_only = (flags & NBD_FLAG_READ_ONLY) != 0;
    return device_ioctl(d, NBD_SET_SOCK, d->sock, "the socket", err) &&
           device_ioctl(d, NBD_SET_BLKSIZE, DEVICE_SECTOR, "the block size", err) &&
           device_ioctl(d, NBD_SET_SIZE_BLOCKS, size / DEVICE_SECTOR, "the size", err) &&
           device_ioctl(d, NBD_SET_FLAGS, flags, "the flags", err) &&
           device_ioctl(d, BLKROSET, (unsigned long)&read_only, "the read-only mode", err);
}

static void *device_thread(void *data)
{
    NbdDevice *d = data;

    if (device_set_up(d, &d->err)) {
        event_loop_call(d->loop, device_connected, d);
        ioctl(d->fd, NBD_DO_IT);
        ioctl(d->fd, NBD_CLEAR_QUE);
    }
    ioctl(d->fd, NBD_CLEAR_SOCK);
    /* The server hears that the client has gone. */
    shutdown(d->sock, SHUT_RDWR);
    event_loop_call(d->loop, device_gone, d);
    return NULL;
}

/* The main thread again. */

static int device_open(const char *path, GError **err)
{
    g_autoptr(GError) why = NULL;
    int fd = host_open(path, O_RDWR, 0, &why);

    if (fd < 0) {
        error_set(err, "Cannot open %s: %s%s", path, g_strerror(why->code),
                  why->code == ENOENT
                      ? "; the kernel's module nbd makes such devices (modprobe nbd)"
                      : "");
    }
    return fd;
}

NbdDevice *coroutine_fn nbd_device_attach(const char *path, const char *export_name,
                                          void (*gone)(void *data), void *data, GError **err)
{
    NbdDevice *d;
    int fd = device_open(path, err), pair[2];

    if (fd < 0) {
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        error_set_errno(err, errno, "Failed to create a socket");
        close(fd);
        return NULL;
    }
    d = g_new(NbdDevice, 1);
    *d = (NbdDevice){
        .fd = fd,
        .sock = pair[1],
        .path = g_strdup(path),
        .export_name = g_strdup(export_name),
        .loop = event_loop_current(),
        .gone = gone,
        .data = data,
    };
    wait_list_init(&d->changed);
    fd_set_nonblock(pair[0], true);
    nbd_server_add_client(pair[0]);
    d->thread = g_thread_new("nbd-device", device_thread, d);
    wait_list_until(&d->changed, d->state != DEVICE_STARTING);
    if (d->err) {
        g_propagate_error(err, g_steal_pointer(&d->err));
        nbd_device_detach(d);
        return NULL;
    }
    return d;
}

void coroutine_fn nbd_device_detach(NbdDevice *d)
{
    if (d->state == DEVICE_CONNECTED) {
        ioctl(d->fd, NBD_DISCONNECT);
    }
    wait_list_until(&d->changed, d->state == DEVICE_GONE);
    g_thread_join(d->thread);
    close(d->sock);
    close(d->fd);
    wait_list_destroy(&d->changed);
    g_free(d->path);
    g_free(d->export_name);
    g_free(d);
}

bool nbd_device_disconnect(const char *path, GError **err)
{
    int fd = device_open(path, err);

    if (fd < 0) {
        return false;
    }
    ioctl(fd, NBD_CLEAR_QUE);
    ioctl(fd, NBD_DISCONNECT);
    ioctl(fd, NBD_CLEAR_SOCK);
    close(fd);
    return true;
}
