/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libedit on a character device. It is written to block in read(2) on a terminal; here it runs in
 * the monitor's coroutine, which sleeps until a key comes, and writes to a FILE that ends up in the
 * character device. Modes and sizes it asks of a terminal: it gets a private one that nobody uses,
 * because the real one is in raw mode already and belongs to the character device (or is at the far
 * end of a connection).
 */
#include "hmp_edit.h"

#ifdef HAVE_LIBEDIT

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/library.h"
#include "base/log.h"
#include "base/util.h"

#define HISTORY_SIZE 100

#define EDIT_FUNCTIONS(F)                                                                          \
    F(el_init_fd)                                                                                  \
    F(el_end)                                                                                      \
    F(el_set)                                                                                      \
    F(el_get)                                                                                      \
    F(el_gets)                                                                                     \
    F(el_line)                                                                                     \
    F(el_insertstr)                                                                                \
    F(el_resize)                                                                                   \
    F(history_init)                                                                                \
    F(history_end)                                                                                 \
    F(history)

typedef struct {
    EDIT_FUNCTIONS(LIBRARY_POINTER)
} EditLib;

struct HmpEdit {
    Monitor *mon;
    const EditLib *lib;
    EditLine *el;
    History *history;
    HistEvent event;
    FILE *in, *out, *errors;
    int master, slave;
    bool is_stdio; /* the window's size can be asked */
};

static const EditLib *hmp_edit_load(void)
{
    static const char *const names[] = {EDIT_FUNCTIONS(LIBRARY_NAME) NULL};
    static EditLib functions;
    static Library library = {"libedit.so.2", "libedit2", names, &functions};

    return library_load(&library, NULL) ? &functions : NULL;
}

/* What it writes: monitor_puts() sends the carriage returns that a terminal driver would add. */
static ssize_t hmp_edit_write_out(void *cookie, const char *buf, size_t len)
{
    HmpEdit *e = cookie;
    g_autofree char *text = g_strndup(buf, len);

    monitor_puts(e->mon, text);
    monitor_flush(e->mon);
    return len;
}

/* Complaints about an unknown TERM, say: nobody's business; it goes on as if it were dumb. */
static ssize_t write_nowhere(void *cookie, const char *buf, size_t len)
{
    return len;
}

static HmpEdit *edit_of(EditLine *el, const EditLib *lib)
{
    void *data = NULL;

    lib->el_get(el, EL_CLIENTDATA, &data);
    return data;
}

static int coroutine_fn read_key(EditLine *el, wchar_t *c)
{
    HmpEdit *e = edit_of(el, hmp_edit_load());
    int key;

    /* HMP is ASCII; the rest of UTF-8 would need a locale, which this program does not set. */
    do {
        key = hmp_getc(e->mon);
    } while (key >= 0x80);
    if (key < 0) {
        return 0;
    }
    *c = key;
    return 1;
}

static char *hmp_edit_prompt(EditLine *el)
{
    static char text[] = HMP_PROMPT;

    return text;
}

static void list_words(HmpEdit *e, GPtrArray *words)
{
    unsigned width = 0, columns;

    for (unsigned i = 0; i < words->len; i++) {
        width = MAX(width, strlen(words->pdata[i]) + 2);
    }
    columns = MAX(80 / width, 1);
    for (unsigned i = 0; i < words->len; i++) {
        monitor_printf(e->mon, "%s%-*s", i % columns ? "" : "\n", width,
                       (const char *)words->pdata[i]);
    }
    monitor_puts(e->mon, "\n");
    monitor_flush(e->mon);
}

static size_t common_prefix(GPtrArray *words)
{
    const char *first = words->pdata[0];
    size_t len = strlen(first);

    for (unsigned i = 1; i < words->len; i++) {
        const char *word = words->pdata[i];
        size_t n = 0;

        while (n < len && first[n] == word[n]) {
            n++;
        }
        len = n;
    }
    return len;
}

/* A single way to go on is taken; of several the part that they share; else they are listed. */
static unsigned char hmp_edit_complete(EditLine *el, int key)
{
    HmpEdit *e = edit_of(el, hmp_edit_load());
    const LineInfo *line = e->lib->el_line(el);
    g_autofree char *text = g_strndup(line->buffer, line->cursor - line->buffer);
    g_autoptr(GPtrArray) words = NULL;
    g_autofree char *more = NULL;
    size_t start, have, len;

    words = hmp_complete(e->mon, text, &start);
    if (!words->len) {
        return CC_REFRESH_BEEP;
    }
    have = strlen(text) - start;
    len = common_prefix(words);
    more = g_strndup((const char *)words->pdata[0] + have, len - have);
    if (words->len == 1 && !g_str_has_suffix(more, "=")) {
        char *whole = g_strconcat(more, " ", NULL);

        g_free(more);
        more = whole;
    }
    if (*more) {
        return e->lib->el_insertstr(el, more) < 0 ? CC_ERROR : CC_REFRESH;
    }
    list_words(e, words);
    return CC_REDISPLAY;
}

/* What a character device leads to; behind a mux lies its base. */
static bool is_terminal(Chardev *chr, bool *is_stdio)
{
    g_autofree char *base = NULL;

    *is_stdio = false;
    if (!strcmp(chr->class->name, "mux")) {
        base = g_strdup_printf("%s-base", chr->label);
        chr = chardev_find(base);
    }
    if (!chr) {
        return false;
    }
    if (!strcmp(chr->class->name, "stdio")) {
        *is_stdio = true;
        return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    }
    return !strcmp(chr->class->name, "pty") || !strcmp(chr->class->name, "serial") ||
           (!strcmp(chr->class->name, "socket") && chr->filename &&
            strstr(chr->filename, "telnet:"));
}

/* The private terminal; false where the host has none left. */
static bool open_terminal(HmpEdit *e)
{
    char name[64];

    e->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (e->master < 0 || grantpt(e->master) < 0 || unlockpt(e->master) < 0 ||
        ptsname_r(e->master, name, sizeof name) != 0) {
        return false;
    }
    e->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return e->slave >= 0;
}

static void follow_size(HmpEdit *e)
{
    struct winsize now = {.ws_row = 24, .ws_col = 80}, was = {0};

    if (e->is_stdio && (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) < 0 || now.ws_col < 2)) {
        return;
    }
    ioctl(e->slave, TIOCGWINSZ, &was);
    if (was.ws_row != now.ws_row || was.ws_col != now.ws_col) {
        ioctl(e->slave, TIOCSWINSZ, &now);
        if (e->el) {
            e->lib->el_resize(e->el);
        }
    }
}

/* QEMU's keys are Emacs's; those that a terminal driver would take for itself edit, too. */
static void bind_keys(HmpEdit *e)
{
    static const char *const keys[][2] = {
        {"^I", "hmp-complete"},
        {"^D", "ed-delete-next-char"},
        {"^C", "em-kill-line"},
        {"^W", "ed-delete-prev-word"},
        {"^R", "em-inc-search-prev"},
        {"\\e[1~", "ed-move-to-beg"},
        {"\\e[3~", "ed-delete-next-char"},
        {"\\e[4~", "ed-move-to-end"},
        {"\\e[H", "ed-move-to-beg"},
        {"\\e[F", "ed-move-to-end"},
        {"\\eOH", "ed-move-to-beg"},
        {"\\eOF", "ed-move-to-end"},
        {"\\e[A", "ed-prev-history"},
        {"\\e[B", "ed-next-history"},
        {"\\e[C", "ed-next-char"},
        {"\\e[D", "ed-prev-char"},
        {"\\eOA", "ed-prev-history"},
        {"\\eOB", "ed-next-history"},
        {"\\eOC", "ed-next-char"},
        {"\\eOD", "ed-prev-char"},
    };

    e->lib->el_set(e->el, EL_EDITOR, "emacs");
    e->lib->el_set(e->el, EL_ADDFN, "hmp-complete", "Complete a command", hmp_edit_complete);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        e->lib->el_set(e->el, EL_BIND, keys[i][0], keys[i][1], NULL);
    }
}

HmpEdit *hmp_edit_new(Monitor *mon)
{
    const cookie_io_functions_t out = {.write = hmp_edit_write_out},
                                nowhere = {.write = write_nowhere};
    const char *term = g_getenv("TERM");
    bool is_stdio;
    HmpEdit *e;

    if (!mon->fe.chr || !is_terminal(mon->fe.chr, &is_stdio) ||
        (is_stdio && !g_strcmp0(term, "dumb")) || !hmp_edit_load()) {
        return NULL;
    }
    e = g_new0(HmpEdit, 1);
    e->mon = mon;
    e->lib = hmp_edit_load();
    e->slave = e->master = -1;
    e->is_stdio = is_stdio;
    if (!open_terminal(e)) {
        hmp_edit_free(e);
        return NULL;
    }
    follow_size(e);
    e->in = fdopen(dup(e->slave), "r");
    e->out = fopencookie(e, "w", out);
    e->errors = fopencookie(e, "w", nowhere);
    if (e->in && e->out && e->errors) {
        e->el = e->lib->el_init_fd("vmm", e->in, e->out, e->errors, e->slave, e->slave, e->slave);
    }
    e->history = e->el ? e->lib->history_init() : NULL;
    if (!e->history) {
        hmp_edit_free(e);
        return NULL;
    }
    e->lib->el_set(e->el, EL_CLIENTDATA, e);
    e->lib->el_set(e->el, EL_SIGNAL, 0);
    /* What is at the far end of a pty or a connection is not known: all of them know a VT100. */
    e->lib->el_set(e->el, EL_TERMINAL, is_stdio && term ? term : "vt100");
    e->lib->el_set(e->el, EL_PROMPT, hmp_edit_prompt);
    e->lib->el_set(e->el, EL_GETCFN, read_key);
    e->lib->history(e->history, &e->event, H_SETSIZE, HISTORY_SIZE);
    e->lib->history(e->history, &e->event, H_SETUNIQUE, 1);
    e->lib->el_set(e->el, EL_HIST, e->lib->history, e->history);
    bind_keys(e);
    return e;
}

void hmp_edit_free(HmpEdit *e)
{
    if (!e) {
        return;
    }
    if (e->history) {
        e->lib->history_end(e->history);
    }
    if (e->el) {
        e->lib->el_end(e->el);
    }
    g_clear_pointer(&e->in, fclose);
    g_clear_pointer(&e->out, fclose);
    g_clear_pointer(&e->errors, fclose);
    fd_close(&e->slave);
    fd_close(&e->master);
    g_free(e);
}

char *coroutine_fn hmp_edit_line(HmpEdit *e)
{
    int count = 0;
    const char *text;
    char *line;

    follow_size(e);
    text = e->lib->el_gets(e->el, &count);
    if (!text || count <= 0) {
        return NULL;
    }
    line = g_strndup(text, strcspn(text, "\r\n"));
    if (*g_strstrip(line)) {
        e->lib->history(e->history, &e->event, H_ENTER, line);
    }
    return line;
}

#else

HmpEdit *hmp_edit_new(Monitor *mon)
{
    return NULL;
}

void hmp_edit_free(HmpEdit *e)
{
}

char *coroutine_fn hmp_edit_line(HmpEdit *e)
{
    return NULL;
}

#endif
