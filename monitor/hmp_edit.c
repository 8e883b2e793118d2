/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The line editor of HMP, for all kinds of character devices: the other end is assumed to be a
 * VT100. Keys that are typed at the end of a line are echoed as they are, so that a client that is
 * no terminal reads what it sent, and nothing else.
 *
 * The width is known only of the program's own terminal, where long lines wrap. Elsewhere lines are
 * assumed to fit.
 */
#include "hmp_edit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"

enum {
    EDIT_LINE_MAX = 4096,
    EDIT_PARAMETERS_MAX = 16, /* digits in an escape sequence; more are dropped */
    EDIT_LIST_WIDTH = 80,
};

#define CONTROL(letter) ((letter) - '@')

typedef struct {
    Monitor *mon;
    GString *line;
    size_t at;         /* the cursor, in bytes */
    unsigned columns;  /* of the terminal; 0: not known */
    unsigned shown;    /* the cell that the cursor stands in, counted from the prompt's first */
    unsigned recalled; /* index in the history; its length: the line that is being typed */
    char *draft;       /* the line that is being typed, while one of the history is shown */
} HmpEdit;

/* Drawing. */

/* Whether a device is stdio, or a mux over it: a mux's base is called LABEL-base. */
static bool is_stdio(Chardev *chr)
{
    g_autofree char *base = chr ? g_strdup_printf("%s-base", chr->label) : NULL;

    if (chr && !strcmp(chr->class->name, "mux")) {
        chr = chardev_find(base);
    }
    return chr && !strcmp(chr->class->name, "stdio");
}

static unsigned edit_columns(Monitor *mon)
{
    struct winsize size;

    return is_stdio(mon->fe.chr) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* False for the second and later bytes of a character in UTF-8. */
static bool is_character_start(char c)
{
    return ((uint8_t)c & 0xc0) != 0x80;
}

/* The cell of the line's byte number 'bytes', counted from the prompt's first. */
static unsigned edit_position(const HmpEdit *e, size_t bytes)
{
    unsigned n = strlen(HMP_PROMPT);

    for (size_t i = 0; i < bytes; i++) {
        n += is_character_start(e->line->str[i]);
    }
    return n;
}

static unsigned edit_row(const HmpEdit *e, unsigned position)
{
    return e->columns ? position / e->columns : 0;
}

/* Prints text from the cursor on; the cursor is in cell 'end' afterwards. */
static void edit_print(HmpEdit *e, const char *text, unsigned end)
{
    monitor_puts(e->mon, text);
    if (e->columns && end % e->columns == 0) {
        monitor_puts(e->mon, "\n"); /* a terminal leaves a full row only with the next character */
    }
    e->shown = end;
}

static void edit_move_to(HmpEdit *e, unsigned cell)
{
    unsigned row = edit_row(e, cell), shown_row = edit_row(e, e->shown);

    if (row != shown_row) {
        monitor_printf(e->mon, "\x1b[%u%c\x1b[%uG",
                       row < shown_row ? shown_row - row : row - shown_row,
                       row < shown_row ? 'A' : 'B', cell % e->columns + 1);
    } else if (cell != e->shown) {
        monitor_printf(e->mon, "\x1b[%u%c", cell < e->shown ? e->shown - cell : cell - e->shown,
                       cell < e->shown ? 'D' : 'C');
    }
    e->shown = cell;
}

/* Redraws the line behind the prompt. The prompt is not repeated: programs read up to the next. */
static void edit_refresh(HmpEdit *e)
{
    edit_move_to(e, edit_position(e, 0));
    edit_print(e, e->line->str, edit_position(e, e->line->len));
    monitor_puts(e->mon, "\x1b[J");
    edit_move_to(e, edit_position(e, e->at));
}

/* Prints prompt and line on an empty row. */
static void edit_show(HmpEdit *e)
{
    monitor_puts(e->mon, HMP_PROMPT);
    e->shown = edit_position(e, 0);
    edit_refresh(e);
}

/* Changing the line. */

static void edit_insert(HmpEdit *e, const char *text)
{
    bool at_end = e->at == e->line->len;

    if (e->line->len + strlen(text) > EDIT_LINE_MAX) {
        return;
    }
    g_string_insert(e->line, e->at, text);
    e->at += strlen(text);
    if (at_end && g_str_is_ascii(text)) {
        edit_print(e, text, edit_position(e, e->at));
    } else {
        edit_refresh(e);
    }
}

static size_t edit_previous(const HmpEdit *e, size_t at)
{
    while (at && !is_character_start(e->line->str[--at])) {
    }
    return at;
}

static size_t edit_next(const HmpEdit *e, size_t at)
{
    while (at < e->line->len && !is_character_start(e->line->str[++at])) {
    }
    return at;
}

/* Removes the bytes from 'from' to 'to', and moves the cursor to 'from'. */
static void edit_erase(HmpEdit *e, size_t from, size_t to)
{
    bool last = e->at == e->line->len && to == e->at && from == edit_previous(e, to);
    bool in_row = !e->columns || edit_position(e, to) % e->columns;

    if (from == to) {
        return;
    }
    g_string_erase(e->line, from, to - from);
    e->at = from;
    if (last && in_row) {
        monitor_puts(e->mon, "\b \b");
        e->shown--;
    } else {
        edit_refresh(e);
    }
}

static void edit_go(HmpEdit *e, size_t to)
{
    if (to != e->at) {
        e->at = to;
        edit_move_to(e, edit_position(e, to));
    }
}

static void edit_replace(HmpEdit *e, const char *text)
{
    g_string_assign(e->line, text);
    e->at = e->line->len;
    edit_refresh(e);
}

/* The start of the word in front of the cursor. */
static size_t edit_word_start(const HmpEdit *e)
{
    size_t at = e->at;

    while (at && e->line->str[at - 1] == ' ') {
        at--;
    }
    while (at && e->line->str[at - 1] != ' ') {
        at--;
    }
    return at;
}

static void edit_recall(HmpEdit *e, int step)
{
    GPtrArray *history = e->mon->history;

    if (step < 0 ? !e->recalled : e->recalled >= history->len) {
        return;
    }
    if (e->recalled == history->len) {
        g_free(e->draft);
        e->draft = g_strdup(e->line->str);
    }
    e->recalled += step;
    edit_replace(e, e->recalled < history->len ? history->pdata[e->recalled] : e->draft);
}

/* Completion. */

static void list_words(HmpEdit *e, GPtrArray *words)
{
    unsigned width = 0, columns;

    for (unsigned i = 0; i < words->len; i++) {
        width = MAX(width, strlen(words->pdata[i]) + 2);
    }
    columns = MAX(EDIT_LIST_WIDTH / width, 1);
    for (unsigned i = 0; i < words->len; i++) {
        monitor_printf(e->mon, "%s%-*s", i % columns ? "" : "\n", width,
                       (const char *)words->pdata[i]);
    }
    monitor_puts(e->mon, "\n");
    edit_show(e);
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

/* Inserts the part that all completions share; if there is none, lists the completions. */
static void edit_complete(HmpEdit *e)
{
    g_autofree char *text = g_strndup(e->line->str, e->at);
    g_autoptr(GPtrArray) words = NULL;
    g_autoptr(GString) more = NULL;
    size_t start, have, len;

    words = hmp_complete(e->mon, text, &start);
    if (!words->len) {
        return;
    }
    have = strlen(text) - start;
    len = common_prefix(words);
    more = g_string_new_len((const char *)words->pdata[0] + have, len - have);
    if (words->len == 1 && !g_str_has_suffix(more->str, "=") && !g_str_has_suffix(more->str, "/")) {
        g_string_append_c(more, ' ');
    }
    if (more->len) {
        edit_insert(e, more->str);
    } else {
        list_words(e, words);
    }
}

/* Keys. */

/* Reads and executes the rest of "ESC [ 3 ~" and the like. False: hmp_getc() has returned -1. */
static bool coroutine_fn edit_escape(HmpEdit *e)
{
    char parameters[EDIT_PARAMETERS_MAX + 1] = "";
    size_t n = 0;
    int key;

    do {
        key = hmp_getc(e->mon);
    } while (key == CONTROL('['));
    if (key != '[' && key != 'O') {
        return key >= 0; /* Alt with a letter: none has a function */
    }
    while ((key = hmp_getc(e->mon)) >= ' ' && key < '@') {
        if (n < EDIT_PARAMETERS_MAX) {
            parameters[n++] = key;
        }
    }
    if (key == '~') {
        static const char keys[] = {[1] = 'H', [3] = '~', [4] = 'F', [7] = 'H', [8] = 'F'};
        unsigned long number = strtoul(parameters, NULL, 10);

        key = number < sizeof keys ? keys[number] : 0;
    }
    switch (key) {
    case 'A':
        edit_recall(e, -1);
        break;
    case 'B':
        edit_recall(e, 1);
        break;
    case 'C':
        edit_go(e, edit_next(e, e->at));
        break;
    case 'D':
        edit_go(e, edit_previous(e, e->at));
        break;
    case 'H':
        edit_go(e, 0);
        break;
    case 'F':
        edit_go(e, e->line->len);
        break;
    case '~':
        edit_erase(e, e->at, edit_next(e, e->at));
        break;
    default:
        break;
    }
    return key >= 0;
}

static void edit_control(HmpEdit *e, int key)
{
    switch (key) {
    case CONTROL('A'):
        edit_go(e, 0);
        break;
    case CONTROL('B'):
        edit_go(e, edit_previous(e, e->at));
        break;
    case CONTROL('C'):
    case CONTROL('U'):
        edit_replace(e, "");
        break;
    case CONTROL('D'):
        edit_erase(e, e->at, edit_next(e, e->at));
        break;
    case CONTROL('E'):
        edit_go(e, e->line->len);
        break;
    case CONTROL('F'):
        edit_go(e, edit_next(e, e->at));
        break;
    case CONTROL('H'):
    case 0x7f:
        edit_erase(e, edit_previous(e, e->at), e->at);
        break;
    case CONTROL('I'):
        edit_complete(e);
        break;
    case CONTROL('K'):
        edit_erase(e, e->at, e->line->len);
        break;
    case CONTROL('L'):
        monitor_puts(e->mon, "\x1b[2J\x1b[1;1H");
        edit_show(e);
        break;
    case CONTROL('N'):
        edit_recall(e, 1);
        break;
    case CONTROL('P'):
        edit_recall(e, -1);
        break;
    case CONTROL('W'):
        edit_erase(e, edit_word_start(e), e->at);
        break;
    default:
        break;
    }
}

static bool coroutine_fn edit_read(HmpEdit *e)
{
    int key;

    while ((key = hmp_getc(e->mon)) >= 0) {
        if (key == '\r' || key == '\n') {
            edit_go(e, e->line->len);
            monitor_puts(e->mon, "\n");
            return true;
        }
        if (key == HMP_KEY_REDRAW) {
            e->columns = edit_columns(e->mon);
            monitor_puts(e->mon, "\r");
            edit_show(e);
        } else if (key == CONTROL('[')) {
            if (!edit_escape(e)) {
                return false;
            }
        } else if (key < ' ' || key == 0x7f) {
            edit_control(e, key);
        } else {
            edit_insert(e, (char[]){key, '\0'});
        }
    }
    return false;
}

char *coroutine_fn hmp_edit_line(Monitor *mon)
{
    HmpEdit e = {.mon = mon,
                 .line = g_string_new(NULL),
                 .columns = edit_columns(mon),
                 .shown = strlen(HMP_PROMPT),
                 .recalled = mon->history->len};
    bool complete;

    monitor_puts(mon, HMP_PROMPT);
    complete = edit_read(&e);
    g_free(e.draft);
    return g_string_free(e.line, !complete);
}

char *coroutine_fn hmp_edit_password(Monitor *mon)
{
    enum { CTRL_C = 0x03, CTRL_D = 0x04, BACKSPACE = 0x08, CTRL_U = 0x15, DELETE = 0x7f };
    GString *line = g_string_new(NULL);
    int key;

    monitor_puts(mon, "Password: ");
    while ((key = hmp_getc(mon)) >= 0 && key != '\r' && key != '\n') {
        if (key == CTRL_C || key == CTRL_D) {
            key = -1;
            break;
        }
        if ((key == BACKSPACE || key == DELETE) && line->len) {
            g_string_truncate(line, line->len - 1);
            monitor_puts(mon, "\b \b");
        } else if (key == CTRL_U) {
            for (; line->len; g_string_truncate(line, line->len - 1)) {
                monitor_puts(mon, "\b \b");
            }
        } else if (key >= ' ' && key < DELETE && line->len < EDIT_LINE_MAX) {
            g_string_append_c(line, key);
            monitor_puts(mon, "*");
        }
    }
    monitor_puts(mon, "\n");
    return g_string_free(line, key < 0);
}
