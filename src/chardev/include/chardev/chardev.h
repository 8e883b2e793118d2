/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: where a serial port, a monitor or a console reads and writes. A Chardev is a
 * backend (stdio, pty, socket, file, pipe, null, ringbuf, mux); a CharFrontend is whoever uses it
 * (a UART, a monitor, a virtio port), one a backend (a mux has several).
 *
 * Threads: main loop only; char_write(), char_write_all() and char_accept_input() also from any
 * thread that owns the frontend's device: off the main loop they write what goes out at once, and
 * queue the rest. Frontend callbacks come on the main loop, never from within a call of the
 * frontend's own.
 *
 * A backend that stays blocked (a client that does not read, a full pipe) for CHAR_STALL_NS loses
 * what guests write until it moves again, so a serial port never stalls its guest for ever. What
 * monitors write (char_write_all(), always_on) is kept, and so is what a 'patient' frontend does.
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
    CHAR_EVENT_OPENED, /* also after connecting, where somebody is there already */
    CHAR_EVENT_CLOSED,
    CHAR_EVENT_BREAK,
    CHAR_EVENT_MUX_IN,  /* has the focus of its mux again */
    CHAR_EVENT_MUX_OUT, /* lost it; who never had it hears this before OPENED */
    CHAR_EVENT_RESUMED  /* the program was suspended: its screen is to be drawn again */
} CharEvent;

typedef struct {
    size_t (*can_read)(void *data); /* bytes it takes now */
    void (*read)(void *data, const uint8_t *buf, size_t len);
    void (*event)(void *data, CharEvent event);
    void (*writable)(void *data); /* after a short char_write() */
} CharFrontendOps;

struct CharFrontend {
    Chardev *chr; /* NULL: not connected; writes are eaten */
    const CharFrontendOps *ops;
    void *data;
    unsigned mux_tag;
    /*
     * A monitor, set before connecting: it takes input while the VM is paused, waits for as long as
     * its client does not read, does not take a mux's focus by coming, and hears OPENED when it
     * first has it (later: MUX_OUT, MUX_IN).
     */
    bool always_on;
    bool patient; /* waits for as long as nobody reads; set before connecting */
    bool muted;   /* the VM is paused: input waits (devices; not monitors) */
    /* Private to chardev.c. */
    bool guest_open;   /* query-chardev's frontend-open */
    bool blocked;      /* had a short char_write(); writable() is owed */
    bool greet;        /* OPENED is owed */
    GByteArray *typed; /* at a mux: what came while this one had the focus but no room */
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
    bool write_anywhere;                /* that on any thread, not only on the main loop */
    void (*accept_input)(Chardev *chr); /* the frontend takes input again */
    void (*set_echo)(Chardev *chr, bool echo);
    void (*send_break)(Chardev *chr);
    int (*get_msgfds)(Chardev *chr, int *fds, int max); /* SCM_RIGHTS received; caller closes */
} ChardevClass;

struct Chardev {
    const ChardevClass *class;
    char *label;            /* id */
    char *filename;         /* as query-chardev prints: "pty:/dev/pts/0", "unix:PATH,server=on" */
    CharFrontend *frontend; /* who gets input: the only one, or a mux's focused one */
    bool be_open;           /* somebody is at the other end */
    char *logfile;
    int log_fd;

    /* Private to chardev.c. */
    EventLoop *loop;       /* the main loop */
    GPtrArray *frontends;  /* of CharFrontend, borrowed */
    BottomHalf service;    /* what other threads, or callers from within, asked for */
    GMutex lock;           /* leaf (a mux's: but for its base's): out, blocked, log, direct */
    struct CharIo *direct; /* where other threads may write what goes out at once, or NULL */
    GByteArray *out;       /* written but not yet taken by the backend, from out_start on */
    size_t out_start;
    Timer *stall;   /* armed while the backend is blocked */
    bool stalled;   /* it stayed blocked: guests' output is dropped until it moves */
    int starved;    /* atomic: a frontend had no room; tell the backend when it has */
    unsigned users; /* what is stacked upon it: a mux */
    uint64_t dropped;
};

const ChardevClass *const *chardev_classes(void); /* one array: src/chardev/classes.c */
/* -chardev: {"backend": "socket", "id": ..., ...}. 'mux' on any of them puts a mux above. */
Chardev *chardev_add(json_t *config, GError **err);
/* What its user has to be told to find the other end, a line; NULL: nothing. Caller frees. */
char *chardev_announcement(const Chardev *chr);
/*
 * The short forms of -serial, -monitor, -qmp: "stdio", "mon:stdio", "pty", "null", "vc" (a null
 * here), "file:P", "pipe:P", "unix:P,server=on,wait=off", "tcp:H:P,server=on", "telnet:...",
 * "chardev:ID", "/dev/...".
 */
Chardev *chardev_from_short(const char *label, const char *text, GError **err);
bool chardev_remove(const char *id, GError **err);
Chardev *chardev_find(const char *id);
void chardev_foreach(void (*fn)(Chardev *chr, void *data), void *data);
void chardev_close_all(void); /* flushes what is queued (bounded time), restores terminals */
/* -nographic / signals: puts the terminal back as it was found. Async-signal-safe. */
void chardev_restore_terminal(void);
/* Does stdio's Ctrl-C kill the program (-chardev stdio,signal=on) or go to the guest? Set there. */

/* Frontends. */
bool char_frontend_connect(CharFrontend *fe, Chardev *chr, const CharFrontendOps *ops, void *data,
                           GError **err);
void char_frontend_disconnect(CharFrontend *fe);
bool char_frontend_connected(const CharFrontend *fe); /* has a backend with somebody there */
/* Bytes taken; short where the other side is full (writable() comes). 'eaten' where unconnected. */
size_t char_write(CharFrontend *fe, const uint8_t *buf, size_t len);
/* Takes everything: what does not go out now is queued (up to 1 MiB, then the oldest is dropped).
 */
void char_write_all(CharFrontend *fe, const uint8_t *buf, size_t len);
/* The frontend's can_read grew. */
void char_accept_input(CharFrontend *fe);
void char_set_echo(CharFrontend *fe, bool echo);
/* The guest holds its line in the break condition: a host's serial line does so, too. */
void char_send_break(CharFrontend *fe);
/* The guest side opened or closed (virtio ports). */
void char_set_open(CharFrontend *fe, bool open);
/* Mux: gives the focus to this frontend (the monitor, at Ctrl-A C). */
void char_take_focus(CharFrontend *fe);
int char_get_msgfds(CharFrontend *fe, int *fds, int max);
void char_mute_all(bool muted);
json_t *chardev_query(void);
char *chardev_info_text(void);

/*
 * For backends. A class's write() may be short only where the backend calls chardev_writable()
 * later, from a fresh callback; it never calls chardev_event() or chardev_deliver() itself.
 */
/* What was read from the host goes up, as far as can_read allows. */
size_t chardev_can_read(Chardev *chr);
void chardev_deliver(Chardev *chr, const uint8_t *buf, size_t len);
void chardev_event(Chardev *chr, CharEvent event);
void chardev_writable(Chardev *chr);
/* 'ringbuf-read', 'ringbuf-write' (false: it is no ring buffer) and mux internals. */
char *chardev_ringbuf_read(Chardev *chr, size_t max, size_t *len); /* NULL: no ring buffer */
bool chardev_ringbuf_write(Chardev *chr, const void *buf, size_t len);
/* Mux escapes: Ctrl-A X asks to quit, Ctrl-A S commits: the program installs what they do. */
typedef struct {
    void (*quit)(void *data);
    void (*commit)(void *data);
    void *data;
} CharMuxHooks;
void chardev_set_mux_hooks(const CharMuxHooks *hooks);
void chardev_set_escape_char(int c); /* -echr */
void chardev_forbid_stdio(void);     /* a daemon has none */

#endif
