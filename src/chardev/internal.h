/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the backends. Main loop only, unless a function says otherwise. */
#ifndef CHARDEV_INTERNAL_H
#define CHARDEV_INTERNAL_H

#include "chardev/chardev.h"
#include <sys/types.h>

extern const ChardevClass chardev_null, chardev_stdio, chardev_pty, chardev_socket, chardev_file,
    chardev_pipe, chardev_serial, chardev_ringbuf, chardev_memory, chardev_udp, chardev_vc,
    chardev_tty, chardev_mux;

/* Makes and registers a device; 'options' is the class's filled options struct. NULL and *err. */
Chardev *chardev_new(const ChardevClass *class, const char *id, void *options, const char *logfile,
                     bool logappend, GError **err);
/* ChardevClass.open(), in the list of what can be cancelled. */
bool chardev_open(Chardev *chr, void *options, GError **err);
void chardev_set_filename(Chardev *chr, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* What chardev_change() adds to the id of the new device until that is open. */
#define CHARDEV_CHANGED ", changed"
/* Frees the device and disconnects its frontends; chardev_remove() refuses where there are any. */
void chardev_destroy(Chardev *chr);
/*
 * What 'from' has queued goes out where its backend takes it at once; the rest is the first output
 * of 'to', which nobody has written to. No other thread writes to 'from' meanwhile.
 */
void chardev_hand_over(Chardev *from, Chardev *to);

/*
 * For open() in a monitor's command (in_coroutine()): waits until done(chr), which is asked again
 * after each opening_wake(). False and *err where the opening is cancelled.
 */
bool opening_wait(Chardev *chr, bool (*done)(Chardev *chr), GError **err);
void opening_wake(Chardev *chr);
/*
 * What blocks in open(), such as the look-up of a host name, and gives a descriptor. A struct
 * embeds the job first, and owns what run() uses: a cancelled opening does not wait for it.
 */
typedef struct OpeningJob OpeningJob;
struct OpeningJob {
    int (*run)(OpeningJob *job, GError **err); /* a descriptor; -1 and *err. Any thread */
    void (*free)(OpeningJob *job);
    /* Private to opening.c. */
    Chardev *chr; /* NULL: nobody waits */
    int fd;
    GError *err;
};
/* In a command, runs the job on a pool thread and waits; else runs it at once. Frees the job. */
int opening_work(Chardev *chr, OpeningJob *job, GError **err);
/* How many jobs the pool still has, those of cancelled openings among them. */
unsigned opening_jobs(void);
/* Cancels the openings of 'id'; false where there is none. */
bool opening_remove(const char *id);
void opening_reset(void); /* undoes chardev_cancel_openings() */

/*
 * CharIo moves bytes between a Chardev and host file descriptors. It polls for input only while the
 * frontend has room, and for output only while output is blocked.
 */
typedef struct CharIo CharIo;
struct CharIo {
    Chardev *chr;
    int in_fd, out_fd; /* -1: none; may be equal */
    FdHandler *in, *out;
    /* NULL: read(2) and write(2). Like those, they set errno. */
    ssize_t (*read)(CharIo *io, uint8_t *buf, size_t len);
    ssize_t (*write)(CharIo *io, const uint8_t *buf, size_t len);
    /* Called by the loop at end of file or when the connection is broken. May be NULL. */
    void (*closed)(CharIo *io);
    bool starved; /* the frontend has no room: in_fd is not polled */
    bool blocked; /* the kernel has no room: out_fd is polled */
    bool at_eof;
    bool broken;        /* hang_up is scheduled */
    bool watch_hang_up; /* look for hang-ups while starved (sockets) */
    int hup_fd;         /* an epoll of in_fd, or -1 */
    FdHandler *hup;
    bool poll_first;    /* out_fd is a blocking one: poll(2) before each write */
    BottomHalf hang_up; /* calls closed() after a failed write */
};
void char_io_start(CharIo *io, Chardev *chr, int in_fd, int out_fd);
/* The caller still owns the descriptors, and closes them. */
void char_io_stop(CharIo *io);
/* For ChardevClass.write and .accept_input. */
ssize_t char_io_write(CharIo *io, const uint8_t *buf, size_t len);
/* The bytes that the kernel takes now, 0 on any error. Any thread, with the Chardev's lock held. */
size_t char_io_write_now(CharIo *io, const uint8_t *buf, size_t len);
void char_io_accept_input(CharIo *io);

/* The device below a mux. */
const Chardev *mux_base(const Chardev *mux);

/* The terminal on stdin. */
bool terminal_acquire(bool keep_signals); /* false: stdin is no terminal */
void terminal_set_echo(bool echo);
void terminal_restore(void); /* async-signal-safe; terminal_resume() undoes it */
void terminal_resume(void);
/* An eventfd that is readable after the program was suspended and goes on; -1: no terminal. */
int terminal_resumed_fd(void);
/*
 * What has been set by somebody else since is what is wanted from now on. 'farewell' is written to
 * the terminal on stdout whenever its settings are put back; messages on stderr come after that.
 */
void terminal_keep(const char *farewell);
void terminal_release(void);
/* Makes an fd that is a terminal pass bytes through unchanged. */
void terminal_make_raw(int fd);

/* Telnet (RFC 854): a server's greeting, and the parser for what a client sends. */
typedef struct {
    enum { TELNET_DATA, TELNET_IAC, TELNET_OPTION, TELNET_SUB, TELNET_SUB_IAC } state;
    bool owe_iac; /* output: the second byte of an escaped 0xff has not been sent yet */
    bool after_cr, binary;
    uint8_t command;
} Telnet;
/* The negotiation that a server sends first. */
const uint8_t *telnet_greeting(bool tn3270, size_t *len);
/* Removes commands from buf and returns the bytes left; sets *brk where BREAK was among them. */
size_t telnet_filter(Telnet *t, uint8_t *buf, size_t len, bool *brk);

/* A mux on top of 'base', which has no other frontend; NULL and *err. */
Chardev *mux_new(const char *id, Chardev *base, GError **err);

#endif
