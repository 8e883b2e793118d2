/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backends with a path: files, FIFOs, host serial lines. Also null and vc, which have none. */
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <sys/ioctl.h>
#include "base/error.h"
#include "base/host.h"
#include "base/util.h"

typedef struct {
    Chardev chr;
    CharIo io;
    int in_fd, out_fd;
} CharFile;

typedef struct {
    char *path, *in;
    bool append;
} FileOptions;

static const Property file_props[] = {
    PROP("path", PROP_STRING, FileOptions, path, NULL, "file that output goes to"),
    PROP("in", PROP_STRING, FileOptions, in, NULL, "file that input is read from"),
    {.name = "input-path",
     .type = PROP_STRING,
     .offset = offsetof(FileOptions, in),
     .flags = PROP_FLAG_HIDDEN},
    PROP("append", PROP_BOOL, FileOptions, append, "off", "keep what the file holds"),
    PROP_END,
};

static const Property path_props[] = {
    PROP("path", PROP_STRING, FileOptions, path, NULL, "path on the host"),
    PROP_END,
};

static void file_close(Chardev *chr)
{
    CharFile *s = container_of(chr, CharFile, chr);

    char_io_stop(&s->io);
    if (s->out_fd != s->in_fd) {
        fd_close(&s->out_fd);
    }
    fd_close(&s->in_fd);
}

static ssize_t file_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return char_io_write(&container_of(chr, CharFile, chr)->io, buf, len);
}

static void file_accept_input(Chardev *chr)
{
    char_io_accept_input(&container_of(chr, CharFile, chr)->io);
}

static void file_start(CharFile *s, int in_fd, int out_fd)
{
    s->in_fd = in_fd;
    s->out_fd = out_fd;
    char_io_start(&s->io, &s->chr, in_fd, out_fd);
    s->chr.be_open = true;
}

static bool file_open(Chardev *chr, void *options, GError **err)
{
    FileOptions *o = options;
    auto_fd in = -1;
    int out;
    struct stat st;

    if (!o->path) {
        return error_set(err, "chardev: file: no filename given");
    }
    if (o->in) {
        in = host_open(o->in, O_RDONLY | O_NONBLOCK, 0, err);
        if (in < 0) {
            return false;
        }
    }
    out = host_open(o->path, O_WRONLY | O_CREAT | (o->append ? O_APPEND : O_TRUNC), 0666, err);
    if (out < 0) {
        return false;
    }
    if (fstat(out, &st) == 0 && !S_ISREG(st.st_mode)) {
        fd_set_nonblock(out, true);
    }
    file_start(container_of(chr, CharFile, chr), in, out);
    in = -1;
    return true;
}

/* Opens PATH.in and PATH.out where both exist, else PATH for both directions. */
static bool pipe_open(Chardev *chr, void *options, GError **err)
{
    FileOptions *o = options;
    g_autofree char *in_path = NULL, *out_path = NULL;
    int in, out;

    if (!o->path) {
        return error_set(err, "chardev: pipe: no device path given");
    }
    in_path = g_strconcat(o->path, ".in", NULL);
    out_path = g_strconcat(o->path, ".out", NULL);
    /* O_RDWR: open() does not wait for the other side, whose leaving is no end of file. */
    in = host_open(in_path, O_RDWR | O_NONBLOCK, 0, NULL);
    out = host_open(out_path, O_RDWR | O_NONBLOCK, 0, NULL);
    if (in < 0 || out < 0) {
        fd_close(&in);
        fd_close(&out);
        in = out = host_open(o->path, O_RDWR | O_NONBLOCK, 0, err);
        if (in < 0) {
            g_prefix_error(err, "neither the FIFOs '%s' and '%s', nor one for both directions: ",
                           in_path, out_path);
            return false;
        }
    }
    file_start(container_of(chr, CharFile, chr), in, out);
    return true;
}

static bool serial_open(Chardev *chr, void *options, GError **err)
{
    FileOptions *o = options;
    int fd;

    if (!o->path) {
        return error_set(err, "chardev: serial/tty: no device path given");
    }
    fd = host_open(o->path, O_RDWR | O_NONBLOCK | O_NOCTTY, 0, err);
    if (fd < 0) {
        return false;
    }
    terminal_make_raw(fd);
    file_start(container_of(chr, CharFile, chr), fd, fd);
    return true;
}

static void serial_send_break(Chardev *chr)
{
    ioctl(container_of(chr, CharFile, chr)->out_fd, TCSBRK, 0);
}

const ChardevClass chardev_file = {
    .name = "file",
    .help = "a file that output is written to",
    .size = sizeof(CharFile),
    .options_size = sizeof(FileOptions),
    .props = file_props,
    .open = file_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
};

const ChardevClass chardev_pipe = {
    .name = "pipe",
    .help = "two FIFOs, PATH.in and PATH.out, or one for both directions",
    .size = sizeof(CharFile),
    .options_size = sizeof(FileOptions),
    .props = path_props,
    .open = pipe_open,
    .close = file_close,
    .write = file_write,
    .accept_input = file_accept_input,
};

#define SERIAL_CLASS(text)                                                                         \
    {                                                                                              \
        .name = (text), .help = "a serial line of the host", .size = sizeof(CharFile),             \
        .options_size = sizeof(FileOptions), .props = path_props, .open = serial_open,             \
        .close = file_close, .write = file_write, .accept_input = file_accept_input,               \
        .send_break = serial_send_break,                                                           \
    }
const ChardevClass chardev_serial = SERIAL_CLASS("serial");
const ChardevClass chardev_tty = SERIAL_CLASS("tty");

static bool char_null_open(Chardev *chr, void *options, GError **err)
{
    return true;
}

const ChardevClass chardev_null = {
    .name = "null",
    .help = "nothing: output is dropped, input never comes",
    .size = sizeof(Chardev),
    .open = char_null_open,
};
