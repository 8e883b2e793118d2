/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CharIo: bytes between a Chardev and host file descriptors. */
#include "internal.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/util.h"

static void io_hang_up(CharIo *io);

/* POLLHUP: the client has closed both directions. Its unread input is dropped with it. */
static void io_other_side_left(void *data)
{
    CharIo *io = data;
    struct pollfd p = {.fd = io->in_fd};

    if (poll(&p, 1, 0) > 0) {
        io_hang_up(io);
    }
}

/*
 * Looks for hang-ups while the frontend has no room. in_fd is not polled then, so a client's
 * leaving would not be noticed, and the next client would wait. An epoll without events reports
 * hang-ups.
 */
static void io_watch_hang_up(CharIo *io, bool on)
{
    if (on && io->hup_fd < 0) {
        struct epoll_event ev = {0};

        io->hup_fd = epoll_create1(EPOLL_CLOEXEC);
        if (io->hup_fd >= 0 && epoll_ctl(io->hup_fd, EPOLL_CTL_ADD, io->in_fd, &ev) == 0) {
            io->hup = event_loop_add_fd(io->chr->loop, io->hup_fd, io_other_side_left, NULL, io);
        }
    }
    if (io->hup) {
        fd_handler_set(io->hup, on, false);
    }
}

static void io_update(CharIo *io)
{
    bool want_read = !io->starved && !io->at_eof && io->in_fd >= 0;

    if (io->in) {
        fd_handler_set(io->in, want_read, io->in == io->out && io->blocked);
    }
    if (io->out && io->out != io->in) {
        fd_handler_set(io->out, false, io->blocked);
    }
    if (io->watch_hang_up) {
        io_watch_hang_up(io, io->starved && !io->at_eof);
    }
}

static void io_hang_up(CharIo *io)
{
    io->at_eof = true;
    io_update(io);
    if (io->closed) {
        io->closed(io);
    }
}

static void io_readable(void *data)
{
    CharIo *io = data;
    uint8_t buf[4096];
    size_t room = chardev_can_read(io->chr);
    ssize_t n;

    if (!room) {
        io->starved = true;
        io_update(io);
        return;
    }
    n = io->read ? io->read(io, buf, MIN(room, sizeof buf))
                 : read(io->in_fd, buf, MIN(room, sizeof buf));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        io_hang_up(io);
        return;
    }
    chardev_deliver(io->chr, buf, n);
}

static void io_writable(void *data)
{
    CharIo *io = data;

    io->blocked = false;
    io_update(io);
    chardev_writable(io->chr);
}

static void io_broken(void *data)
{
    CharIo *io = data;

    if (io->broken) {
        io->broken = false;
        io_hang_up(io);
    }
}

static void set_direct(Chardev *chr, CharIo *io)
{
    g_mutex_lock(&chr->lock);
    chr->direct = io;
    g_mutex_unlock(&chr->lock);
}

void char_io_start(CharIo *io, Chardev *chr, int in_fd, int out_fd)
{
    io->chr = chr;
    io->in_fd = in_fd;
    io->out_fd = out_fd;
    io->starved = io->blocked = io->at_eof = io->broken = false;
    io->hup_fd = -1;
    bh_init(&io->hang_up, chr->loop, io_broken, io);
    if (in_fd >= 0) {
        io->in = event_loop_add_fd(chr->loop, in_fd, io_readable, io_writable, io);
    }
    if (out_fd >= 0) {
        io->out =
            out_fd == in_fd ? io->in : event_loop_add_fd(chr->loop, out_fd, NULL, io_writable, io);
    }
    io_update(io);
    set_direct(chr, io);
}

void char_io_stop(CharIo *io)
{
    if (!io->chr) {
        return;
    }
    set_direct(io->chr, NULL);
    if (io->out != io->in) {
        fd_handler_remove(io->out);
    }
    fd_handler_remove(io->in);
    fd_handler_remove(io->hup);
    fd_close(&io->hup_fd);
    io->in = io->out = io->hup = NULL;
    bh_cancel(&io->hang_up);
    io->in_fd = io->out_fd = -1;
    io->blocked = false;
}

/* Like write(2) on a non-blocking descriptor, whether out_fd is one or not. */
static ssize_t write_fd(CharIo *io, const uint8_t *buf, size_t len)
{
    ssize_t n;

    if (io->poll_first) {
        struct pollfd p = {.fd = io->out_fd, .events = POLLOUT};

        if (poll(&p, 1, 0) <= 0) {
            errno = EAGAIN;
            return -1;
        }
        /* A pipe that poll(2) reports writable takes this much without blocking. */
        len = MIN(len, PIPE_BUF / 8);
    }
    do {
        n = io->write ? io->write(io, buf, len) : write(io->out_fd, buf, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

size_t char_io_write_now(CharIo *io, const uint8_t *buf, size_t len)
{
    ssize_t n = io->out_fd < 0 ? 0 : write_fd(io, buf, len);

    return MAX(n, 0);
}

ssize_t char_io_write(CharIo *io, const uint8_t *buf, size_t len)
{
    ssize_t n;

    if (io->out_fd < 0 || io->broken) {
        return len;
    }
    n = write_fd(io, buf, len);
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN && io->out) {
        io->blocked = true;
        io_update(io);
        return 0;
    }
    /* closed() runs later: here the frontend's own call is still on the stack. */
    if (io->closed) {
        io->broken = true;
        bh_schedule(&io->hang_up);
    }
    return len;
}

void char_io_accept_input(CharIo *io)
{
    if (io->chr && io->starved) {
        io->starved = false;
        io_update(io);
    }
}
