/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Screens: what display devices show, and those who look (viewers, screenshots).
 *
 * A device embeds a Screen and draws into the screen's Surface when it is asked to, by draw(),
 * which happens only if somebody looks. It draws what has changed since the last time and marks it;
 * the mark goes into the dirty region of every viewer, so no viewer takes another's.
 *
 * A viewer that is awake is served by one timer of the screen: every SCREEN_PERIOD_NS draw() is
 * called, then changed() of each viewer whose region is not empty. A device that hears of each
 * write (text and planar modes) need not be polled: it says so by Screen.pushes, and calls
 * screen_touched() at the first write after a draw(). A screen that pushes and shows nothing new
 * causes no wake-ups.
 *
 * Threads: the main loop, but where said otherwise. draw() and text() run with the device's lock
 * held. Surface and regions are only looked at on the main loop; a viewer with a thread of its own
 * (VNC) copies the dirty tiles into a frame buffer of its own in changed().
 */
#ifndef UI_SCREEN_H
#define UI_SCREEN_H

#include "vm/vm.h"

#define SCREEN_PERIOD_NS (30 * 1000 * 1000)
#define SCREEN_TILE      16u   /* pixels: the unit of dirty regions */
#define SCREEN_MAX       16384 /* width and height; and a surface has at most 256 MiB */

typedef struct Screen Screen;
typedef struct ScreenViewer ScreenViewer;
typedef struct ScreenText ScreenText;

/* Pixels are 0x00RRGGBB in host order. */
typedef struct {
    uint32_t *pixels;
    unsigned width, height, stride; /* stride in pixels; rows follow each other */
} Surface;

typedef struct {
    /*
     * Draws what has changed, after screen_resize() where the size has. 'all': the whole, whatever
     * has changed. On the main loop, with the device's lock.
     */
    void (*draw)(Screen *s, bool all);
    /* Text modes: fills in what is on the screen. False and *err ("the screen is in mode ..."). */
    bool (*text)(Screen *s, ScreenText *out, GError **err);
    /* The first viewer woke, or the last went to sleep: logging of writes begins, ends. */
    void (*watched)(Screen *s, bool on);
    /*
     * A screen of the program's own takes keys itself: a character or function key as X's keysym
     * (X11/keysymdef.h), with Ctrl or without. NULL for screens of devices.
     */
    void (*key)(Screen *s, uint32_t keysym, bool ctrl);
} ScreenOps;

struct Screen {
    Device *dev; /* NULL: a screen of the program's own, as the monitor's; no lock is taken then */
    const ScreenOps *ops;
    const char *name; /* "VGA", "compat_monitor0" */
    Surface surface;  /* owned by the screen; 0x0 before the first screen_resize() */
    bool pushes;      /* set by the device, in draw() */
    bool is_monitor;  /* of the program's own screens: comes before others */
    /* Private to screen.c. */
    GList *viewers;
    int awake;    /* atomic: the number of viewers that are */
    bool drawing; /* inside draw() */
    bool redraw;  /* the next draw() is of all */
    unsigned served;
    int touched;     /* atomic */
    int64_t next_at; /* no drawing by the timer before */
    Vm *vm;
    Timer *timer;
    BottomHalf wake;
};

/*
 * For a device's realize and unrealize: after the fields above are filled in. Devices' screens come
 * before those of the program. Viewers of a screen that goes are told gone().
 */
void screen_add(Vm *vm, Screen *s);
void screen_remove(Screen *s);
/* In draw(): another size. The content is undefined and all of it dirty. False: too large. */
bool screen_resize(Screen *s, unsigned width, unsigned height);
/* In draw(): this part of the surface was drawn anew. */
void screen_mark(Screen *s, unsigned x, unsigned y, unsigned w, unsigned h);
/* A screen that pushes has something new. Any thread. Cheap when it was said already. */
void screen_touched(Screen *s);

struct ScreenViewer {
    /* Something is in the dirty region, or the surface has another size. May sleep or remove. */
    void (*changed)(ScreenViewer *v);
    void (*gone)(ScreenViewer *v); /* the device is unplugged */
    /* Private to screen.c. */
    Screen *screen;
    bool awake, resized;
    uint8_t *dirty; /* a byte for each tile, rows of tiles_x */
    unsigned tiles_x, tiles_y;
    unsigned first; /* no tile before this one is dirty */
    unsigned served;
};
/* A viewer begins asleep, with everything dirty. */
void screen_viewer_add(ScreenViewer *v, Screen *s);
void screen_viewer_remove(ScreenViewer *v);
void screen_viewer_wake(ScreenViewer *v, bool awake);
/*
 * Takes rectangles out of the viewer's dirty region, one a call, in pixels; false: the region is
 * empty. They lie inside the surface.
 * screen_viewer_resized() is true once after each change of size, and then all is dirty.
 */
bool screen_viewer_take(ScreenViewer *v, unsigned *x, unsigned *y, unsigned *w, unsigned *h);
bool screen_viewer_resized(ScreenViewer *v);

/*
 * Draws now, without a viewer: for a screenshot. The surface is good until the caller yields or
 * returns to the main loop.
 */
const Surface *screen_draw_now(Screen *s);
/* What is on a text screen; to be cleared by screen_text_clear(). False and *err: no text mode. */
bool screen_read_text(Screen *s, ScreenText *out, GError **err);

/* In the order of their index; NULL: there are not so many. */
Screen *screen_get(Vm *vm, unsigned index);
/* The position among the screens: 0 is the first, Ctrl-Alt-1. */
unsigned screen_index(const Screen *s);
/* By the device's id or path, as screendump's 'device'; NULL: the first. NULL and *err. */
Screen *screen_find(Vm *vm, const char *device, unsigned head, GError **err);

/* Text on a text-mode screen. */
typedef struct {
    uint16_t glyph; /* number of the character: 0 to 511 */
    uint8_t fg, bg; /* of the 16 colours of the palette, as the attribute says */
    bool blink, underline;
} ScreenCell;

struct ScreenText {
    unsigned cols, rows;
    ScreenCell *cells;      /* rows * cols */
    int cursor_x, cursor_y; /* -1: none is shown */
    unsigned glyph_height;
    uint8_t glyphs[512][32]; /* rows of 8 pixels, the leftmost in bit 7 */
    uint32_t palette[16];    /* 0x00RRGGBB */
    /* The ROM's fonts, of 256 characters in the order of code page 437; NULL: not known. */
    const uint8_t *rom_font[33]; /* by the height of a glyph; owned by the device */
};
void screen_text_clear(ScreenText *t);
/*
 * Looks for fonts in the image of a VGA BIOS: of 8, 14 and 16 rows, as rom_font has them. 'rom' is
 * borrowed.
 */
void screen_text_find_fonts(const uint8_t *rom, size_t len, const uint8_t *fonts[33]);
/*
 * A character as Unicode: by its glyph where that is one of the ROM's font, else by code page 437
 * where its number is below 256, else U+FFFD.
 */
gunichar screen_text_char(const ScreenText *t, unsigned glyph);
/* The number of a character in code page 437; -1: it has none. */
int screen_text_glyph(gunichar ch);
/* UTF-8, a line a row, without the blanks at the ends of lines; caller frees. */
char *screen_text_utf8(const ScreenText *t);

/*
 * Files of screenshots, to a descriptor that blocks. False and *err: nothing or a part was written.
 */
bool screenshot_write_ppm(const Surface *s, int fd, GError **err);
bool screenshot_write_png(const Surface *s, int fd, GError **err);

#endif
