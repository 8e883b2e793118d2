/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A viewer that shows text modes in a terminal. What a terminal sends are characters, not keys: the
 * layout of -k says which keys make them. Alt-1 to Alt-9 choose the screen.
 */
#define NCURSES_WIDECHAR 1
#include "ui/curses.h"

#include <curses.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <term.h>
#include <unistd.h>
#undef tab /* of term.h, and many more */
#undef lines
#undef columns

#include "base/error.h"
#include "base/library.h"
#include "base/util.h"
#include "chardev/chardev.h"
#include "ui/input.h"
#include "ui/keymap.h"
#include "ui/keys.h"
#include "ui/screen.h"

#define CURSES_FUNCTIONS(F)                                                                        \
    F(newterm)                                                                                     \
    F(delscreen)                                                                                   \
    F(endwin)                                                                                      \
    F(doupdate)                                                                                    \
    F(raw)                                                                                         \
    F(noecho)                                                                                      \
    F(nonl)                                                                                        \
    F(keypad)                                                                                      \
    F(nodelay)                                                                                     \
    F(set_escdelay)                                                                                \
    F(start_color)                                                                                 \
    F(init_pair)                                                                                   \
    F(curs_set)                                                                                    \
    F(beep)                                                                                        \
    F(resizeterm)                                                                                  \
    F(tigetstr)                                                                                    \
    F(wget_wch)                                                                                    \
    F(werase)                                                                                      \
    F(wmove)                                                                                       \
    F(wnoutrefresh)                                                                                \
    F(setcchar)                                                                                    \
    F(wadd_wch)                                                                                    \
    F(waddnstr)

typedef struct {
    CURSES_FUNCTIONS(LIBRARY_POINTER)
    WINDOW **stdscr_pointer;
} CursesLib;
static CursesLib lib;
static const char *const curses_names[] = {CURSES_FUNCTIONS(LIBRARY_NAME) "stdscr", NULL};
static Library curses_library = {"libncursesw.so.6", "libncursesw6", curses_names, &lib};

/* There is one terminal, and a signal handler that speaks of it. */
static struct {
    Vm *vm;
    SCREEN *terminal; /* NULL: there is none */
    WINDOW *window;
    ScreenViewer viewer;
    bool viewing;
    FdHandler *keys, *resumed, *resized;
    int resized_fd;
} cu = {.resized_fd = -1};

enum { PAIR_FIRST = 1 };

/* The picture. */

static short curses_pair(unsigned fg, unsigned bg)
{
    return PAIR_FIRST + (fg & 7) * 8 + (bg & 7);
}

/* The VGA counts blue, green, red; a terminal red, green, blue. */
static unsigned curses_colour(unsigned c)
{
    return cu.viewer.screen->dev ? (c & 0x0a) | (c & 1) << 2 | (c >> 2 & 1) : c;
}

static void curses_cell(const ScreenText *t, const ScreenCell *cell)
{
    wchar_t text[2] = {screen_text_char(t, cell->glyph), 0};
    unsigned fg = curses_colour(cell->fg), bg = curses_colour(cell->bg);
    attr_t attr =
        (fg & 8 ? A_BOLD : 0) | (cell->blink ? A_BLINK : 0) | (cell->underline ? A_UNDERLINE : 0);
    cchar_t out;

    if (text[0] < ' ') {
        text[0] = ' ';
    }
    if (lib.setcchar(&out, text, attr, curses_pair(fg, bg), NULL) == OK) {
        lib.wadd_wch(cu.window, &out);
    }
}

static int curses_height(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row ? size.ws_row : 24;
}

static int curses_width(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* Where the terminal has fewer lines, those down to the cursor's are shown. */
static void curses_draw_text(const ScreenText *t)
{
    int height = curses_height(), width = curses_width();
    int top = MAX(0, MIN(t->cursor_y, (int)t->rows - 1) - height + 1);

    for (int y = 0; y < height && top + y < (int)t->rows; y++) {
        lib.wmove(cu.window, y, 0);
        for (int x = 0; x < width && x < (int)t->cols; x++) {
            curses_cell(t, &t->cells[(top + y) * t->cols + x]);
        }
    }
    if (t->cursor_y >= 0 && t->cursor_x < width) {
        lib.wmove(cu.window, t->cursor_y - top, t->cursor_x);
        lib.curs_set(1);
    } else {
        lib.curs_set(0);
    }
}

static void curses_draw(void)
{
    ScreenText text = {0};
    g_autoptr(GError) err = NULL;
    bool ok = cu.viewing && screen_read_text(cu.viewer.screen, &text, &err);

    lib.werase(cu.window);
    if (ok) {
        curses_draw_text(&text);
        screen_text_clear(&text);
    } else {
        lib.wmove(cu.window, 0, 0);
        lib.waddnstr(cu.window, err ? err->message : "there is no screen", curses_width());
        lib.curs_set(0);
    }
    lib.wnoutrefresh(cu.window);
    lib.doupdate();
}

static void curses_changed(ScreenViewer *v)
{
    unsigned x, y, w, h;

    screen_viewer_resized(v);
    while (screen_viewer_take(v, &x, &y, &w, &h)) {
    }
    curses_draw();
}

static void curses_leave_screen(void)
{
    if (cu.viewing) {
        screen_viewer_remove(&cu.viewer);
        cu.viewing = false;
    }
}

static void curses_show_screen(Screen *screen)
{
    curses_leave_screen();
    if (screen) {
        screen_viewer_add(&cu.viewer, screen);
        cu.viewing = true;
        screen_viewer_wake(&cu.viewer, true);
    }
    curses_draw();
}

static void curses_gone(ScreenViewer *v)
{
    /* The screen is still in the list. */
    curses_leave_screen();
    curses_draw();
}

/* Keys. */

/* By ncurses, by QEMU's names, and by X's keysyms, which screens of the program take. */
static const struct {
    int code;
    const char *name;
    uint32_t keysym;
} curses_keys[] = {
    {KEY_UP, "up", 0xff52},
    {KEY_DOWN, "down", 0xff54},
    {KEY_LEFT, "left", 0xff51},
    {KEY_RIGHT, "right", 0xff53},
    {KEY_HOME, "home", 0xff50},
    {KEY_END, "end", 0xff57},
    {KEY_PPAGE, "pgup", 0xff55},
    {KEY_NPAGE, "pgdn", 0xff56},
    {KEY_IC, "insert", 0xff63},
    {KEY_DC, "delete", 0xffff},
    {KEY_BACKSPACE, "backspace", 0xff08},
    {KEY_ENTER, "kp_enter", 0xff8d},
    {KEY_F(1), "f1", 0xffbe},
    {KEY_F(2), "f2", 0xffbf},
    {KEY_F(3), "f3", 0xffc0},
    {KEY_F(4), "f4", 0xffc1},
    {KEY_F(5), "f5", 0xffc2},
    {KEY_F(6), "f6", 0xffc3},
    {KEY_F(7), "f7", 0xffc4},
    {KEY_F(8), "f8", 0xffc5},
    {KEY_F(9), "f9", 0xffc6},
    {KEY_F(10), "f10", 0xffc7},
    {KEY_F(11), "f11", 0xffc8},
    {KEY_F(12), "f12", 0xffc9},
};
/* Control characters that have keys of their own. */
static const struct {
    wint_t ch;
    const char *name;
    uint32_t keysym;
} curses_controls[] = {
    {'\t', "tab", 0xff09}, {'\r', "ret", 0xff0d},    {'\n', "ret", 0xff0d},
    {27, "esc", 0xff1b},   {8, "backspace", 0xff08}, {127, "backspace", 0xff08},
};

typedef struct {
    bool alt, ctrl, shift;
    uint16_t code;   /* Linux's; 0: the layout has no such key */
    uint32_t keysym; /* 0: none */
} CursesKey;

static void curses_named(CursesKey *key, const char *name, uint32_t keysym)
{
    key->code = ui_key_find(name)->code;
    key->keysym = keysym;
}

static void curses_decode_function(CursesKey *key, wint_t c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(curses_keys); i++) {
        if (curses_keys[i].code == (int)c) {
            curses_named(key, curses_keys[i].name, curses_keys[i].keysym);
        }
    }
    if (c == KEY_BTAB) {
        curses_named(key, "tab", 0xff09);
        key->shift = true;
    }
}

static void curses_decode_char(CursesKey *key, wint_t c)
{
    for (unsigned i = 0; i < ARRAY_SIZE(curses_controls); i++) {
        if (curses_controls[i].ch == c) {
            curses_named(key, curses_controls[i].name, curses_controls[i].keysym);
            return;
        }
    }
    if (c < ' ') {
        key->ctrl = true;
        c = c ? g_ascii_tolower(c + 0x40) : ' ';
    }
    key->keysym = c < 0x100 ? c : 0x01000000 | c;
    key->code = ui_keymap_find(key->keysym, &key->shift);
}

static void curses_press(const CursesKey *key)
{
    uint16_t codes[4];
    unsigned n = 0;

    if (cu.viewing && cu.viewer.screen->ops->key) {
        if (key->keysym) {
            cu.viewer.screen->ops->key(cu.viewer.screen, key->keysym, key->ctrl);
        }
        return;
    }
    if (key->ctrl) {
        codes[n++] = ui_key_find("ctrl")->code;
    }
    if (key->alt) {
        codes[n++] = ui_key_find("alt")->code;
    }
    if (key->shift) {
        codes[n++] = ui_key_find("shift")->code;
    }
    codes[n++] = key->code;
    /* A terminal does not say how long a key is held. Text that is pasted comes all at once. */
    if (!key->code || !input_send_keys(cu.vm, codes, n, 2 * NS_PER_MS)) {
        lib.beep();
    }
}

static void curses_typed(void *data)
{
    CursesKey key = {0};
    wint_t c;
    int got;

    while ((got = lib.wget_wch(cu.window, &c)) != ERR) {
        /* Alt comes as Escape and another character in one go. */
        if (got == OK && c == 27 && !key.alt && (got = lib.wget_wch(cu.window, &c)) != ERR) {
            key.alt = true;
        } else if (got == ERR) {
            got = OK;
            c = 27;
        }
        if (key.alt && got == OK && c >= '1' && c <= '9') {
            Screen *screen = screen_get(cu.vm, c - '1');

            if (screen) {
                curses_show_screen(screen);
            }
        } else {
            got == OK ? curses_decode_char(&key, c) : curses_decode_function(&key, c);
            curses_press(&key);
        }
        key = (CursesKey){0};
    }
}

/* The terminal. */

static void curses_on_resize(int sig)
{
    static const uint64_t one = 1;
    int saved = errno;

    if (write(cu.resized_fd, &one, sizeof one) < 0) {
        /* The counter is full, so the eventfd is readable anyway. */
    }
    errno = saved;
}

static void curses_resized(void *data)
{
    uint64_t count;

    if (read(cu.resized_fd, &count, sizeof count) > 0) {
        lib.resizeterm(curses_height(), curses_width());
        curses_draw();
    }
}

/* The program was suspended: the terminal shows something else. */
static void curses_resumed(void *data)
{
    uint64_t count;

    if (read(chardev_terminal_resumed_fd(), &count, sizeof count) > 0) {
        lib.endwin();
        curses_draw();
    }
}

/* What a terminal is sent where the program ends without endwin(): cursor, colours, its screen. */
static char *curses_farewell(void)
{
    static const char *const names[] = {"sgr0", "op", "cnorm", "rmkx", "rmcup"};
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        const char *s = lib.tigetstr(names[i]);

        if (s && s != (char *)-1) {
            g_string_append(out, s);
        }
    }
    return g_string_free(out, FALSE);
}

static void curses_set_up(void)
{
    struct sigaction sa = {.sa_handler = curses_on_resize, .sa_flags = SA_RESTART};
    g_autofree char *farewell = curses_farewell();

    cu.window = *lib.stdscr_pointer;
    lib.raw();
    lib.noecho();
    lib.nonl();
    lib.keypad(cu.window, TRUE);
    lib.nodelay(cu.window, TRUE);
    lib.set_escdelay(10); /* for which the main loop stands still after Escape */
    lib.start_color();
    for (unsigned i = 0; i < 64; i++) {
        lib.init_pair(PAIR_FIRST + i, i / 8, i % 8);
    }
    chardev_terminal_keep(farewell);
    cu.resized_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigaction(SIGWINCH, &sa, NULL);
    cu.resized = event_loop_add_fd(cu.vm->loop, cu.resized_fd, curses_resized, NULL, NULL);
    cu.keys = event_loop_add_fd(cu.vm->loop, STDIN_FILENO, curses_typed, NULL, NULL);
    cu.resumed =
        event_loop_add_fd(cu.vm->loop, chardev_terminal_resumed_fd(), curses_resumed, NULL, NULL);
}

bool curses_start(Vm *vm, GError **err)
{
    struct sigaction sa = {.sa_handler = SIG_IGN};
    const char *name = getenv("TERM");

    if (!screen_get(vm, 0)) {
        return error_set(err, "-display curses: there is no screen to show: use -vga std too");
    }
    if (!library_load(&curses_library, err)) {
        g_prefix_error(err, "-display curses: ");
        return false;
    }
    if (!chardev_terminal_take("-display curses", err)) {
        return false;
    }
    setlocale(LC_CTYPE, "");
    sigaction(SIGWINCH, &sa, NULL); /* ncurses takes signals that nobody has */
    cu.vm = vm;
    cu.terminal = lib.newterm(NULL, stdout, stdin);
    if (!cu.terminal) {
        chardev_terminal_give_back();
        return error_set(err, "-display curses: ncurses does not know the terminal '%s': set TERM",
                         name ? name : "");
    }
    cu.viewer = (ScreenViewer){.changed = curses_changed, .gone = curses_gone};
    curses_set_up();
    curses_show_screen(screen_get(vm, 0));
    return true;
}

void curses_cleanup(void)
{
    if (!cu.terminal) {
        return;
    }
    signal(SIGWINCH, SIG_DFL);
    curses_leave_screen();
    fd_handler_remove(cu.keys);
    fd_handler_remove(cu.resumed);
    fd_handler_remove(cu.resized);
    fd_close(&cu.resized_fd);
    lib.endwin();
    chardev_terminal_give_back();
    lib.delscreen(cu.terminal);
    cu.terminal = NULL;
}
