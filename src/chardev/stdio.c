/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program's own standard input and output.
 *
 * Other processes (the shell) share their open files, so O_NONBLOCK is never set on them. Terminals
 * and pipes are opened again, which gives a private open file. Sockets get MSG_DONTWAIT with each
 * call. For all others, poll(2) is called before each write.
 */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"

typedef struct {
    Chardev chr;
    CharIo io;
    int in_fd, out_fd;  /* private ones, else -1 */
    FdHandler *resumed; /* NULL: no terminal */
} CharStdio;

typedef struct {
    bool signal;
} StdioOptions;

static const Property stdio_props[] = {
    PROP("signal", PROP_BOOL, StdioOptions, signal, "on",
         "Ctrl-C and Ctrl-Z act on the program rather than go to the guest"),
    PROP_END,
};

static bool stdio_in_use, stdio_forbidden;
static const char *stdio_taken; /* by whom, that is no character device */

static ssize_t write_socket(CharIo *io, const uint8_t *buf, size_t len)
{
    return send(io->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Opens the same terminal or pipe again; -1 where fd is neither or that fails. */
static int char_stdio_reopen(int fd, int flags)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    struct stat st;

    if (fstat(fd, &st) < 0 || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))) {
        return -1;
    }
    return host_open(path, flags | O_NONBLOCK | O_NOCTTY, 0, NULL);
}

static void stdio_resumed(void *data)
{
    CharStdio *s = data;
    uint64_t count;

    if (read(terminal_resumed_fd(), &count, sizeof count) > 0) {
        chardev_event(&s->chr, CHAR_EVENT_RESUMED);
    }
}

void chardev_forbid_stdio(void)
{
    stdio_forbidden = true;
}

static bool stdio_open(Chardev *chr, void *options, GError **err)
{
    CharStdio *s = container_of(chr, CharStdio, chr);
    StdioOptions *o = options;
    bool have_in = fcntl(STDIN_FILENO, F_GETFD) >= 0;
    bool have_out = fcntl(STDOUT_FILENO, F_GETFD) >= 0;
    struct stat st;

    if (stdio_forbidden) {
        return error_set(err, "cannot use stdio with -daemonize");
    }
    if (stdio_taken) {
        return error_set(err, "cannot use stdio: the terminal is %s's", stdio_taken);
    }
    if (stdio_in_use) {
        return error_set(err, "cannot use stdio by multiple character devices");
    }
    terminal_acquire(o->signal);
    s->in_fd = have_in && isatty(STDIN_FILENO) ? char_stdio_reopen(STDIN_FILENO, O_RDONLY) : -1;
    s->out_fd = have_out ? char_stdio_reopen(STDOUT_FILENO, O_WRONLY) : -1;
    if (have_out && s->out_fd < 0 && fstat(STDOUT_FILENO, &st) == 0) {
        if (S_ISSOCK(st.st_mode)) {
            s->io.write = write_socket;
        } else if (!S_ISREG(st.st_mode)) {
            s->io.poll_first = true;
        }
    }
    /* Without closed(): end of file on stdin does not end the output. */
    char_io_start(&s->io, chr,
                  s->in_fd >= 0 ? s->in_fd
                  : have_in     ? STDIN_FILENO
                                : -1,
                  s->out_fd >= 0 ? s->out_fd
                  : have_out     ? STDOUT_FILENO
                                 : -1);
    if (terminal_resumed_fd() >= 0) {
        s->resumed = event_loop_add_fd(chr->loop, terminal_resumed_fd(), stdio_resumed, NULL, s);
    }
    stdio_in_use = true;
    chr->be_open = true;
    return true;
}

static void stdio_close(Chardev *chr)
{
    CharStdio *s = container_of(chr, CharStdio, chr);

    char_io_stop(&s->io);
    fd_handler_remove(s->resumed);
    fd_close(&s->in_fd);
    fd_close(&s->out_fd);
    terminal_release();
    stdio_in_use = false;
}

static ssize_t stdio_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return char_io_write(&container_of(chr, CharStdio, chr)->io, buf, len);
}

static void stdio_accept_input(Chardev *chr)
{
    char_io_accept_input(&container_of(chr, CharStdio, chr)->io);
}

static void stdio_set_echo(Chardev *chr, bool echo)
{
    terminal_set_echo(echo);
}

bool chardev_terminal_take(const char *what, GError **err)
{
    if (stdio_forbidden) {
        return error_set(err, "%s cannot be used with -daemonize", what);
    }
    if (stdio_in_use) {
        return error_set(err,
                         "%s: a character device uses the terminal: give it another place "
                         "than stdio",
                         what);
    }
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !terminal_acquire(false)) {
        return error_set(err, "%s: standard input and output are no terminal", what);
    }
    stdio_in_use = true;
    stdio_taken = what;
    return true;
}

void chardev_terminal_keep(const char *farewell)
{
    terminal_keep(farewell);
}

void chardev_terminal_give_back(void)
{
    terminal_release();
    stdio_in_use = false;
    stdio_taken = NULL;
}

void chardev_terminal_restore(void)
{
    terminal_restore();
}

int chardev_terminal_resumed_fd(void)
{
    return terminal_resumed_fd();
}

const ChardevClass chardev_stdio = {
    .name = "stdio",
    .help = "standard input and output of the program",
    .size = sizeof(CharStdio),
    .options_size = sizeof(StdioOptions),
    .props = stdio_props,
    .open = stdio_open,
    .close = stdio_close,
    .write = stdio_write,
    .accept_input = stdio_accept_input,
    .set_echo = stdio_set_echo,
};
