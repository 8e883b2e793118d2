/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's consoles: what it writes to serial ports, virtio consoles and the debug port,
 * wherever the character device sends that, or nowhere. The last of each is kept; and one listener
 * sees all of it.
 *
 * Threads: the main loop, but where said otherwise.
 */
#ifndef CHARDEV_CONSOLE_H
#define CHARDEV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct CharConsole CharConsole;
typedef struct CharFrontend CharFrontend;

/*
 * For devices, which call this when they are realized and put the console into their frontend: what
 * char_write() takes from then on is the console's output. 'name' is copied. The frontend outlives
 * the console.
 */
CharConsole *char_console_new(const CharFrontend *fe, const char *name);
/* NULL is ignored. Not while another thread may still write. */
void char_console_free(CharConsole *c);
/* For chardev.c. Any thread, but one at a time for each console. */
void char_console_put(CharConsole *c, const uint8_t *buf, size_t len);

/*
 * The listener: 'begin' gives what it keeps for a console that is new; 'output' is called on the
 * thread that writes, with nothing left out and in order; 'end' is the last call. Set before there
 * are consoles; NULL takes it away, when there are none any more.
 */
typedef struct {
    void *(*begin)(void *data);
    void (*output)(void *state, const uint8_t *buf, size_t len);
    void (*end)(void *state);
} CharConsoleListener;
void char_consoles_listen(const CharConsoleListener *listener, void *data);

/*
 * Calls fn for each console that has said anything, with the last of it as text: UTF-8 without
 * control characters other than newline, at most 'lines' lines. Those whose output goes to the file
 * or terminal that stderr is are left out: it is there already.
 */
typedef void (*CharConsoleFn)(const char *name, const char *text, void *data);
void char_consoles_tail(unsigned lines, CharConsoleFn fn, void *data);
/*
 * Text for a terminal, of bytes from a guest: what is no UTF-8 becomes U+FFFD, control characters
 * and the control sequences of terminals are left out. Caller frees.
 */
char *char_console_clean(const uint8_t *buf, size_t len);

#endif
