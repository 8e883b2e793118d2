/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes between a chardev and host file descriptors. */
#include "internal.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/util.h"

static void io_update(CharIo *io)
{
    bool want_read = !io->starved && !io->at_eof && io->in_fd >= 0;

    if (io->in) {
        fd_handler_set(io->in, want_read, io->in == io->out && io->blocked);
    }
    if (io->out && io->out != io->in) {
        fd_handler_set(io->out, false, io->blocked);
    }
    if (io->not_pollable && want_read) {
        bh_schedule(&io->pump);
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
    if (io->not_pollable) {
        bh_schedule(&io->pump);
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

static void io_pump(void *data)
{
    CharIo *io = data;

    if (io->broken) {
        io->broken = false;
        io_hang_up(io);
    } else if (io->not_pollable && !io->at_eof && !io->starved) {
        io_readable(io);
    }
}

/* Regular files and some devices (/dev/null) are always ready, and epoll refuses them. */
static bool can_poll(int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};
    auto_fd ep = epoll_create1(EPOLL_CLOEXEC);

    return ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == 0 || errno != EPERM;
}

void char_io_start(CharIo *io, Chardev *chr, int in_fd, int out_fd)
{
    io->chr = chr;
    io->in_fd = in_fd;
    io->out_fd = out_fd;
    io->starved = io->blocked = io->at_eof = io->broken = false;
    bh_init(&io->pump, chr->loop, io_pump, io);
    io->not_pollable = in_fd >= 0 && !can_poll(in_fd);
    if (in_fd >= 0 && !io->not_pollable) {
        io->in = event_loop_add_fd(chr->loop, in_fd, io_readable, io_writable, io);
    }
    if (out_fd >= 0) {
        if (out_fd == in_fd) {
            io->out = io->in;
        } else if (can_poll(out_fd)) {
            io->out = event_loop_add_fd(chr->loop, out_fd, NULL, io_writable, io);
        }
    }
    io_update(io);
}

void char_io_stop(CharIo *io)
{
    if (!io->chr) {
        return;
    }
    if (io->out != io->in) {
        fd_handler_remove(io->out);
    }
    fd_handler_remove(io->in);
    io->in = io->out = NULL;
    bh_cancel(&io->pump);
    io->in_fd = io->out_fd = -1;
    io->blocked = false;
}

ssize_t char_io_write(CharIo *io, const uint8_t *buf, size_t len)
{
    ssize_t n;

    if (io->out_fd < 0 || io->broken) {
        return len;
    }
    if (io->poll_first) {
        struct pollfd p = {.fd = io->out_fd, .events = POLLOUT};

        if (poll(&p, 1, 0) <= 0) {
            n = -1;
            errno = EAGAIN;
            goto out;
        }
        /* A pipe that is writable takes this much without blocking. */
        len = MIN(len, PIPE_BUF / 8);
    }
    do {
        n = io->write ? io->write(io, buf, len) : write(io->out_fd, buf, len);
    } while (n < 0 && errno == EINTR);
out:
    if (n >= 0) {
        return n;
    }
    if (errno == EAGAIN && io->out) {
        io->blocked = true;
        io_update(io);
        return 0;
    }
    /* Its frontend is on the stack: it hears of this from a fresh callback. */
    if (io->closed) {
        io->broken = true;
        bh_schedule(&io->pump);
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
