/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: where a serial port, a monitor or a console reads and writes. A Chardev is a
 * backend (stdio, pty, socket, file, pipe, null, ringbuf, mux). A CharFrontend is its user (a UART,
 * a monitor, a virtio port). A mux has several frontends, any other backend one.
 *
 * Threads: main loop only. char_write(), char_write_all() and char_accept_input() may also be
 * called by any thread that owns the frontend's device; the main loop writes what they could not
 * write at once. Frontend callbacks run on the main loop, never from within a call by that
 * frontend.
 *
 * A backend may stay blocked: a client does not read, a pipe is full. After CHAR_STALL_NS the
 * output of guests is dropped until the backend takes bytes again, so that a serial port does not
 * stall its guest for ever. The output of monitors (always_on) and of 'patient' frontends is kept.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/event_loop.h"
#include "base/property.h"

#define CHAR_STALL_NS (5 * 1000000000ll)

typedef struct Chardev Chardev;
typedef struct CharFrontend CharFrontend;
typedef enum {
    CHAR_EVENT_OPENED, /* the other end is open; also after connecting, where it is open already */
    CHAR_EVENT_CLOSED,
    CHAR_EVENT_BREAK,
    CHAR_EVENT_MUX_IN,  /* the frontend has the focus of its mux again */
    CHAR_EVENT_MUX_OUT, /* it lost the focus; without focus from the start, this precedes OPENED */
    CHAR_EVENT_RESUMED  /* after SIGTSTP and SIGCONT: the terminal's screen must be drawn again */
} CharEvent;

typedef struct {
    size_t (*can_read)(void *data); /* how many bytes read() can take now */
    void (*read)(void *data, const uint8_t *buf, size_t len);
    void (*event)(void *data, CharEvent event);
    void (*writable)(void *data); /* after a short char_write() */
    /*
     * Calls swap(arg) while no other thread uses the frontend, so that it gets another backend:
     * chardev_change(). NULL: it keeps its backend.
     */
    void (*exchange)(void *data, void (*swap)(void *arg), void *arg);
} CharFrontendOps;

struct CharFrontend {
    Chardev *chr; /* NULL: not connected; output is dropped */
    const CharFrontendOps *ops;
    void *data;
    unsigned mux_tag;
    struct CharConsole *console; /* of a guest's console, else NULL: chardev/console.h */
    /*
     * A monitor; set before connecting. It gets input while the VM is paused. Its output is never
     * dropped because the backend is blocked. Connecting to a mux does not give it the focus, and
     * it gets OPENED when it first has the focus.
     */
    bool always_on;
    bool patient; /* output is not dropped when the backend is blocked; set before connecting */
    bool muted;   /* the VM is paused: gets no input */
    /* Private to chardev.c. */
    bool guest_open;   /* query-chardev's frontend-open */
    bool blocked;      /* had a short char_write(): writable() must be called */
    bool greet;        /* OPENED must be sent */
    GByteArray *typed; /* of a mux: input for this frontend that it had no room for */
};

typedef struct ChardevClass {
    const char *name; /* "socket" */
    const char *help;
    size_t size; /* of the struct that embeds Chardev first */
    size_t options_size;
    const Property *props;
    bool (*open)(Chardev *chr, void *options, GError **err);
    void (*close)(Chardev *chr);
    /* Bytes taken (may be short, 0 when full), or -errno. Never blocks. */
    ssize_t (*write)(Chardev *chr, const uint8_t *buf, size_t len);
    bool write_anywhere;                /* write() may be called on any thread */
    void (*accept_input)(Chardev *chr); /* the frontend takes input again */
    void (*set_echo)(Chardev *chr, bool echo);
    void (*send_break)(Chardev *chr);
    int (*get_msgfds)(Chardev *chr, int *fds, int max); /* SCM_RIGHTS received; caller closes */
} ChardevClass;

struct Chardev {
    const ChardevClass *class;
    char *label;            /* id */
    char *filename;         /* as query-chardev prints: "pty:/dev/pts/0", "unix:PATH,server=on" */
    CharFrontend *frontend; /* gets the input: the only one, or the one with a mux's focus */
    bool be_open;           /* the other end is open: a client is connected */
    char *logfile;
    int log_fd;

    /* Private to chardev.c. */
    EventLoop *loop;      /* the main loop */
    GPtrArray *frontends; /* of CharFrontend, borrowed */
    BottomHalf service; /* work that other threads, or calls by frontends, leave to the main loop */
    GMutex lock;        /* guards out, frontends' blocked, log_fd, direct; a leaf (see mux.c) */
    struct CharIo *direct; /* to which other threads may write at once, or NULL */
    GByteArray *out;       /* output that the backend has not taken yet, from out_start on */
    size_t out_start;
    Timer *stall;     /* armed while the backend is blocked */
    bool stalled;     /* it stayed blocked: guests' output is dropped until it takes bytes again */
    int starved;      /* atomic: the frontend had no room; accept_input() when it has */
    unsigned users;   /* muxes on top of this device: 0 or 1 */
    uint64_t dropped; /* bytes */

    /* Private to opening.c. */
    struct Coroutine *opener; /* the command that waits in open(); or NULL */
    const char *cancelled;    /* why open() has to give up; or NULL */
    struct OpeningJob *job;   /* what open() waits for on a pool thread; or NULL */
};

const ChardevClass *const *chardev_classes(void); /* one array: src/chardev/classes.c */
/*
 * -chardev: {"backend": "socket", "id": ..., ...}. 'mux' on any of them puts a mux above. The
 * id may be any text, as in QMP's chardev-add; the command line and HMP ask id_check() before.
 */
Chardev *chardev_add(json_t *config, GError **err);
/* The line that tells the user where a new pty is; NULL for other backends. Caller frees. */
char *chardev_announcement(const Chardev *chr);
/*
 * Makes a device with the id 'label' from a short form of -serial, -monitor or -qmp: "stdio",
 * "mon:stdio", "pty", "null", "vc", "file:P", "pipe:P", "unix:P,server=on,wait=off",
 * "tcp:H:P,server=on", "telnet:...", "udp:...", "/dev/...". "chardev:ID" gives the device that is
 * there. NULL and *err.
 */
Chardev *chardev_from_short(const char *label, const char *text, GError **err);
/*
 * Puts the device that 'config' describes in the place of the one that has its id, whose user goes
 * on with it. The old one stays where that fails: the new one cannot be opened beside it, or the
 * user is a monitor, gdb or a mux. May wait in a coroutine, as chardev_add(). NULL and *err.
 */
Chardev *chardev_change(json_t *config, GError **err);
/*
 * A device that is still being opened, in a command of another monitor, is not opened then. Where
 * that is to be the new backend of a device in use, this one goes on with its old one.
 */
bool chardev_remove(const char *id, GError **err);
/* The program ends: commands that wait for a device to be opened fail, and later ones do not wait.
 */
void chardev_cancel_openings(void);
Chardev *chardev_find(const char *id);
void chardev_foreach(void (*fn)(Chardev *chr, void *data), void *data);
void chardev_close_all(void); /* flushes queued output (for a second at most), restores terminals */

/* Frontends. */
bool char_frontend_connect(CharFrontend *fe, Chardev *chr, const CharFrontendOps *ops, void *data,
                           GError **err);
void char_frontend_disconnect(CharFrontend *fe);
bool char_frontend_connected(const CharFrontend *fe); /* has a backend whose other end is open */
/* Bytes taken: all where not connected; less than len where the queue is full (writable() comes).
 */
size_t char_write(CharFrontend *fe, const uint8_t *buf, size_t len);
/* Takes all bytes. Those that do not go out now are queued: above 1 MiB the oldest are dropped. */
void char_write_all(CharFrontend *fe, const uint8_t *buf, size_t len);
/* To be called when can_read() would return more than before. */
void char_accept_input(CharFrontend *fe);
void char_set_echo(CharFrontend *fe, bool echo);
/* The guest sends a break on its line: a serial line of the host does the same. */
void char_send_break(CharFrontend *fe);
/* The guest side opened or closed (virtio ports). */
void char_set_open(CharFrontend *fe, bool open);
/* Gives the focus of a mux to this frontend; no effect where the backend is no mux. */
void char_take_focus(CharFrontend *fe);
/* The descriptors that came with the last message (SCM_RIGHTS): how many; caller closes. */
int char_get_msgfds(CharFrontend *fe, int *fds, int max);
/* The VM pauses or goes on: frontends other than monitors get no input meanwhile. */
void char_mute_all(bool muted);
json_t *chardev_query(void);
char *chardev_info_text(void);

/*
 * For backends. A write() that takes less than all must be followed by chardev_writable(), from a
 * callback of the loop. write() does not call chardev_event() or chardev_deliver().
 */
/* How many bytes chardev_deliver() may pass to the frontend now. */
size_t chardev_can_read(Chardev *chr);
void chardev_deliver(Chardev *chr, const uint8_t *buf, size_t len);
void chardev_event(Chardev *chr, CharEvent event);
void chardev_writable(Chardev *chr);
/* 'ringbuf-read' (caller frees) and 'ringbuf-write'; NULL and false where chr is no ring buffer. */
char *chardev_ringbuf_read(Chardev *chr, size_t max, size_t *len);
bool chardev_ringbuf_write(Chardev *chr, const void *buf, size_t len);
/* What the program does at a mux's Ctrl-A X and Ctrl-A S; either may be NULL. */
typedef struct {
    void (*quit)(void *data);
    void (*commit)(void *data);
    void *data;
} CharMuxHooks;
void chardev_set_mux_hooks(const CharMuxHooks *hooks);
/*
 * Who shows the text consoles of 'vc'. open() gives the console; what is typed there comes by
 * chardev_vc_type(). The ops are set before any 'vc' is made, and outlive all.
 */
typedef struct {
    void *(*open)(void *data, Chardev *chr, unsigned cols, unsigned rows);
    void (*write)(void *console, const uint8_t *buf, size_t len);
    void (*close)(void *console);
} CharVcOps;
void chardev_set_vc_ops(const CharVcOps *ops, void *data);
void chardev_vc_type(Chardev *chr, const void *text, size_t len);
void chardev_set_escape_char(int c); /* -echr */
void chardev_forbid_stdio(void);     /* -daemonize */

/*
 * The terminal on stdin and stdout for a user that is no character device ('what' names it in
 * errors). Its settings are put back by give_back(), at exit, by fatal signals, and while the
 * program is suspended. keep(): those that are in effect now are the user's; 'farewell' is what the
 * terminal is sent before they are put back. Main loop.
 */
bool chardev_terminal_take(const char *what, GError **err);
void chardev_terminal_keep(const char *farewell);
void chardev_terminal_give_back(void);
void chardev_terminal_restore(void);   /* async-signal-safe: the program ends at once */
int chardev_terminal_resumed_fd(void); /* an eventfd: the program goes on after a suspension */

#endif
