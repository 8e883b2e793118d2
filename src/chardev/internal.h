/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the backends share among themselves. Main loop only, but for terminal_restore(). */
#ifndef CHARDEV_INTERNAL_H
#define CHARDEV_INTERNAL_H

#include "chardev/chardev.h"
#include <sys/types.h>

extern const ChardevClass chardev_null, chardev_stdio, chardev_pty, chardev_socket, chardev_file,
    chardev_pipe, chardev_serial, chardev_ringbuf, chardev_memory, chardev_udp, chardev_vc,
    chardev_tty, chardev_mux;

/* Core: makes and registers a device of a class whose options struct is filled; NULL and *err. */
Chardev *chardev_new(const ChardevClass *class, const char *id, void *options, const char *logfile,
                     bool logappend, GError **err);
void chardev_set_filename(Chardev *chr, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Frees it whoever uses it; chardev_remove() asks first. */
void chardev_destroy(Chardev *chr);

/*
 * Bytes from and to host file descriptors: polling that follows what the frontend can take and
 * what the kernel takes, and costs no wake-up otherwise.
 */
typedef struct CharIo CharIo;
struct CharIo {
    Chardev *chr;
    int in_fd, out_fd; /* -1: none; may be equal */
    FdHandler *in, *out;
    /* NULL: read(2) and write(2). Like those, they set errno. */
    ssize_t (*read)(CharIo *io, uint8_t *buf, size_t len);
    ssize_t (*write)(CharIo *io, const uint8_t *buf, size_t len);
    /* End of file or a broken connection, from a fresh callback. NULL: just stop reading. */
    void (*closed)(CharIo *io);
    bool starved, blocked, at_eof, broken;
    bool watch_hang_up; /* also while there is no room for input (sockets) */
    int hup_fd;
    FdHandler *hup;
    bool poll_first;    /* out_fd blocks: ask poll(2) before each write */
    BottomHalf hang_up; /* a write found the connection broken */
};
void char_io_start(CharIo *io, Chardev *chr, int in_fd, int out_fd);
/* Leaves the descriptors to the caller. */
void char_io_stop(CharIo *io);
/* For ChardevClass.write and .accept_input. */
ssize_t char_io_write(CharIo *io, const uint8_t *buf, size_t len);
/* Any thread, chardev's lock held: what goes out at once; 0 for whatever reason it does not. */
size_t char_io_write_now(CharIo *io, const uint8_t *buf, size_t len);
void char_io_accept_input(CharIo *io);

/* The terminal on stdin. */
bool terminal_acquire(bool keep_signals); /* false: stdin is no terminal; nothing to do */
void terminal_set_echo(bool echo);
void terminal_restore(void); /* async-signal-safe; terminal_resume() undoes it */
void terminal_resume(void);
/* An eventfd that says: the program was suspended, and goes on; -1: no terminal. */
int terminal_resumed_fd(void);
void terminal_release(void);
/* Makes an fd that is a terminal pass bytes through unchanged. */
void terminal_make_raw(int fd);

/* Telnet (RFC 854): enough to look like a server to a client, and to understand its answers. */
typedef struct {
    enum { TELNET_DATA, TELNET_IAC, TELNET_OPTION, TELNET_SUB, TELNET_SUB_IAC } state;
    bool owe_iac; /* the second half of an escaped 0xff has not gone out */
    bool after_cr, binary;
    uint8_t command;
} Telnet;
/* What a server says first. */
const uint8_t *telnet_greeting(bool tn3270, size_t *len);
/* Takes the commands out of buf in place and gives what remains; *brk: a BREAK was among them. */
size_t telnet_filter(Telnet *t, uint8_t *buf, size_t len, bool *brk);

Chardev *mux_new(const char *id, Chardev *base, GError **err);

#endif
