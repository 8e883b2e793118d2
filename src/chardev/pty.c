/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pseudo-terminal: a program that opens its other end is connected.
 *
 * The master reports POLLHUP, without end, when no program has the other end open, but no event
 * when one opens it again. So inotify watches the other end's device node, and an unused pty costs
 * no wake-ups. Where inotify is refused, a timer looks once a second.
 */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>
#include "base/error.h"
#include "base/util.h"

typedef struct {
    Chardev chr;
    CharIo io;
    int master, inotify;
    FdHandler *watch;
    Timer *look; /* NULL with inotify */
} CharPty;

static bool somebody_there(CharPty *s)
{
    struct pollfd p = {.fd = s->master, .events = POLLIN};

    return poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

static void pty_hung_up(CharIo *io);

static void pty_connect(CharPty *s)
{
    s->io = (CharIo){.closed = pty_hung_up};
    char_io_start(&s->io, &s->chr, s->master, s->master);
    chardev_event(&s->chr, CHAR_EVENT_OPENED);
}

static void pty_disconnect(CharPty *s)
{
    char_io_stop(&s->io);
    s->io.chr = NULL;
    chardev_event(&s->chr, CHAR_EVENT_CLOSED);
    /* Drops the queued output, and lets blocked frontends go on. */
    chardev_writable(&s->chr);
}

/* Connects or disconnects, by the present state of the other end. */
static void pty_check(CharPty *s)
{
    bool there = somebody_there(s);

    if (there && !s->chr.be_open) {
        pty_connect(s);
    } else if (!there && s->chr.be_open && (s->io.starved || s->io.at_eof)) {
        /* Otherwise there may be input left, and read() finds its end. */
        pty_disconnect(s);
    }
}

static void pty_hung_up(CharIo *io)
{
    CharPty *s = container_of(io, CharPty, io);

    pty_disconnect(s);
    /* Another program may have opened the other end meanwhile. */
    pty_check(s);
}

static void pty_notified(void *data)
{
    CharPty *s = data;
    char buf[4096] __attribute__((aligned(8)));

    while (read(s->inotify, buf, sizeof buf) > 0) {
    }
    pty_check(s);
}

static void pty_look(void *data)
{
    CharPty *s = data;

    pty_check(s);
    timer_arm(s->look, clock_ns(CLOCK_REALTIME_NS) + NS_PER_SEC);
}

static bool pty_open(Chardev *chr, void *options, GError **err)
{
    CharPty *s = container_of(chr, CharPty, chr);
    char path[64];
    auto_fd other = -1;

    s->inotify = -1;
    s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (s->master < 0 || grantpt(s->master) < 0 || unlockpt(s->master) < 0 ||
        ptsname_r(s->master, path, sizeof path) != 0) {
        error_set_errno(err, errno, "Failed to create PTY");
        fd_close(&s->master);
        return false;
    }
    /*
     * Makes the terminal raw. After the other end was opened and closed once, the master also
     * reports POLLHUP until a program opens it.
     */
    other = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (other >= 0) {
        terminal_make_raw(other);
        fd_close(&other);
    }
    s->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (s->inotify >= 0 && inotify_add_watch(s->inotify, path, IN_OPEN | IN_CLOSE) >= 0) {
        s->watch = event_loop_add_fd(chr->loop, s->inotify, pty_notified, NULL, s);
    } else {
        s->look = timer_new(chr->loop, CLOCK_REALTIME_NS, pty_look, s);
        timer_arm(s->look, clock_ns(CLOCK_REALTIME_NS) + NS_PER_SEC);
    }
    chardev_set_filename(chr, "pty:%s", path);
    return true;
}

static void pty_close(Chardev *chr)
{
    CharPty *s = container_of(chr, CharPty, chr);

    char_io_stop(&s->io);
    fd_handler_remove(s->watch);
    timer_free(s->look);
    fd_close(&s->inotify);
    fd_close(&s->master);
}

static ssize_t pty_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharPty *s = container_of(chr, CharPty, chr);

    return chr->be_open ? char_io_write(&s->io, buf, len) : (ssize_t)len;
}

static void pty_accept_input(Chardev *chr)
{
    char_io_accept_input(&container_of(chr, CharPty, chr)->io);
}

const ChardevClass chardev_pty = {
    .name = "pty",
    .help = "a new pseudo-terminal",
    .size = sizeof(CharPty),
    .open = pty_open,
    .close = pty_close,
    .write = pty_write,
    .accept_input = pty_accept_input,
};
