/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -expect: what the guest writes to its consoles, or shows on a text screen, ends the run or is
 * told to a descriptor.
 *
 * Consoles are listened to where they write, on whatever thread: so what came before the end of a
 * run is seen before that end. Each has its own scan of each expression. The screen is looked at by
 * a timer, and once more when the run ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "app.h"
#include "base/error.h"
#include "base/log.h"
#include "base/pattern.h"
#include "chardev/console.h"
#include "ui/screen.h"
#include "vm/end.h"

#define LOOK_NS     (50 * NS_PER_MS)
#define READY_TEXT  "ready\n"
#define EXPECTS_MAX 64

typedef struct {
    char *text;
    Pattern *pattern;
    bool ends, screen;
    int status;   /* with 'ends' */
    int ready_fd; /* -1: none */
    int found;    /* atomic */
    PatternScan *on_screen;
} Expect;

struct Expects {
    Vm *vm;
    GPtrArray *list;     /* of Expect */
    GPtrArray *consoles; /* of ExpectConsole */
    Timer *look;         /* NULL: no expression is about the screen */
    char *shown;         /* the screen's text when it was looked at last */
};

typedef struct {
    Expects *all;
    PatternScan *scans[EXPECTS_MAX]; /* NULL: is about the screen */
} ExpectConsole;

/* What a match does. Any thread. */

static void tell_ready(const Expect *e)
{
    struct pollfd p = {.fd = e->ready_fd, .events = POLLOUT};

    /* A guest's CPU does not wait for who reads this. */
    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) ||
        write(e->ready_fd, READY_TEXT, strlen(READY_TEXT)) < 0) {
        log_warn("-expect %s: it has come, but descriptor %d cannot be told: %s", e->text,
                 e->ready_fd, p.revents & POLLOUT ? g_strerror(errno) : "nobody reads it");
    }
}

static void expect_found(Expects *all, Expect *e)
{
    if (__atomic_exchange_n(&e->found, 1, __ATOMIC_ACQ_REL)) {
        return;
    }
    if (e->ready_fd >= 0) {
        tell_ready(e);
    }
    if (e->ends) {
        if (e->status) {
            log_error("-expect %s: it has come, and ends the run", e->text);
        }
        vm_request_shutdown_status(all->vm, SHUTDOWN_CAUSE_HOST_SIGNAL, e->status);
    }
}

/* Consoles. */

static void *console_begin(void *data)
{
    ExpectConsole *c = g_new0(ExpectConsole, 1);

    c->all = data;
    for (unsigned i = 0; i < c->all->list->len; i++) {
        const Expect *e = c->all->list->pdata[i];

        c->scans[i] = e->screen ? NULL : pattern_scan_new(e->pattern);
    }
    g_ptr_array_add(c->all->consoles, c);
    return c;
}

static void console_output(void *state, const uint8_t *buf, size_t len)
{
    ExpectConsole *c = state;

    for (unsigned i = 0; i < c->all->list->len; i++) {
        Expect *e = c->all->list->pdata[i];

        if (c->scans[i] && !__atomic_load_n(&e->found, __ATOMIC_ACQUIRE) &&
            pattern_scan(c->scans[i], buf, len)) {
            expect_found(c->all, e);
        }
    }
}

static void console_end(void *state)
{
    ExpectConsole *c = state;

    g_ptr_array_remove(c->all->consoles, c);
    for (unsigned i = 0; i < EXPECTS_MAX; i++) {
        pattern_scan_free(c->scans[i]);
    }
    g_free(c);
}

static const CharConsoleListener console_listener = {
    .begin = console_begin, .output = console_output, .end = console_end};

/* The screen. */

char *app_screen_text(Vm *vm)
{
    Screen *s = screen_get(vm, 0);
    ScreenText text;
    char *utf8;

    /* Without a display adapter it may be one of the program's own. */
    if (!s || !s->dev || !screen_read_text(s, &text, NULL)) {
        return NULL;
    }
    utf8 = screen_text_utf8(&text);
    screen_text_clear(&text);
    return utf8;
}

static void look_at_screen(Expects *all)
{
    char *text = app_screen_text(all->vm);

    if (!text || !g_strcmp0(text, all->shown)) {
        g_free(text);
        return;
    }
    g_free(all->shown);
    all->shown = text;
    for (unsigned i = 0; i < all->list->len; i++) {
        Expect *e = all->list->pdata[i];

        if (e->screen && !e->found) {
            pattern_scan_restart(e->on_screen);
            pattern_scan(e->on_screen, (const uint8_t *)text, strlen(text));
            if (pattern_scan_end(e->on_screen)) {
                expect_found(all, e);
            }
        }
    }
}

static void look_again(void *data)
{
    Expects *all = data;

    look_at_screen(all);
    timer_arm(all->look, clock_ns(CLOCK_REALTIME_NS) + LOOK_NS);
}

/*
 * The run is over, and the machine stands still: texts are at their end, where '$' holds. A run
 * that has gone well otherwise has not where what should come has not come.
 */
static void expects_settle(void *data)
{
    Expects *all = data;
    int status = all->vm->exit_status;

    if (all->look) {
        look_at_screen(all);
    }
    for (unsigned i = 0; i < all->list->len; i++) {
        Expect *e = all->list->pdata[i];

        for (unsigned k = 0; k < all->consoles->len && !e->screen && !e->found; k++) {
            ExpectConsole *c = all->consoles->pdata[k];

            if (pattern_scan_end(c->scans[i])) {
                expect_found(all, e);
            }
        }
    }
    for (unsigned i = 0; i < all->list->len && all->vm->exit_status == VM_END_POWEROFF; i++) {
        const Expect *e = all->list->pdata[i];

        if (e->ends && e->found) {
            all->vm->exit_status = e->status;
            return;
        }
        status = e->ends && !e->status ? VM_END_EXPECT : status;
    }
    if (all->vm->exit_status == VM_END_POWEROFF && status != VM_END_POWEROFF) {
        log_error("the run has ended before what -expect waits for has come");
        all->vm->exit_status = status;
    }
}

/* Options. */

/*
 * Takes ",KEY=VALUE" off the end of the text, where KEY is a word. An expression may have commas,
 * so it is not for the reader of lists. NULL: there is none.
 */
static char *take_last_key(char *text, char **value)
{
    char *comma = strrchr(text, ','), *equals = comma ? strchr(comma, '=') : NULL;
    size_t len = equals ? equals - comma - 1 : 0;

    if (!len || strspn(comma + 1, "abcdefghijklmnopqrstuvwxyz") < len) {
        return NULL;
    }
    *comma = *equals = 0;
    *value = equals + 1;
    return comma + 1;
}

static bool read_keys(char *text, ExpectOptions *o, GError **err)
{
    json_auto_t *keys = json_object();
    const Property *p;
    char *key, *value;

    while ((key = take_last_key(text, &value))) {
        for (p = expect_params; p->name && strcmp(p->name, key); p++) {
        }
        if (!p->name) {
            return error_set(
                err,
                "there is no '%s=', only exit=, screen= and ready=; a comma that belongs "
                "to the expression is written [,] there",
                key);
        }
        if (json_object_get(keys, key)) {
            return error_set(err, "'%s=' is given twice", key);
        }
        json_object_set_new(keys, key, json_string(value));
    }
    if (!properties_apply(expect_params, o, keys, NULL, "", err)) {
        return false;
    }
    return !(o->exit & 1) || error_set(err,
                                       "exit=%u: odd statuses are those of isa-debug-exit; "
                                       "expected an even number up to 126",
                                       o->exit);
}

static bool take_ready_fd(const ExpectOptions *o, GError **err)
{
    int flags = fcntl(o->ready, F_GETFL);

    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
        return error_set(err, "ready=%d: that is no open descriptor that can be written to",
                         o->ready);
    }
    if (o->ready > STDERR_FILENO) {
        fcntl(o->ready, F_SETFD, FD_CLOEXEC);
    }
    return true;
}

static bool expect_init(Expect *e, const char *argument, GError **err)
{
    g_autofree char *text = g_strdup(argument);
    ExpectOptions o = {0};

    properties_init(expect_params, &o);
    if (!read_keys(text, &o, err) || (o.ready_set && !take_ready_fd(&o, err))) {
        return false;
    }
    e->text = g_strdup(text);
    e->screen = o.screen;
    e->ends = o.exit_set || !o.ready_set;
    e->status = o.exit;
    e->ready_fd = o.ready_set ? o.ready : -1;
    e->pattern = pattern_new(text, err);
    if (e->pattern && e->screen) {
        e->on_screen = pattern_scan_new(e->pattern);
    }
    return e->pattern;
}

static void expect_free(void *data)
{
    Expect *e = data;

    pattern_scan_free(e->on_screen);
    pattern_free(e->pattern);
    g_free(e->text);
    g_free(e);
}

Expects *expects_new(Vm *vm, json_t *config, GError **err)
{
    json_t *list = json_object_get(config, "expect"), *item;
    Expects *all = g_new0(Expects, 1);
    size_t i;

    all->vm = vm;
    all->list = g_ptr_array_new_with_free_func(expect_free);
    all->consoles = g_ptr_array_new();
    char_consoles_listen(&console_listener, all);
    if (json_array_size(list) > EXPECTS_MAX) {
        error_set(err, "-expect: there are %d at most", EXPECTS_MAX);
        expects_free(all);
        return NULL;
    }
    json_array_foreach(list, i, item)
    {
        Expect *e = g_new0(Expect, 1);

        g_ptr_array_add(all->list, e);
        if (!expect_init(e, json_string_value(item), err)) {
            g_prefix_error(err, "-expect %s: ", json_string_value(item));
            expects_free(all);
            return NULL;
        }
    }
    vm_notifier_add(vm, VM_NOTIFY_SHUTDOWN, expects_settle, all);
    return all;
}

bool expects_start(Expects *all, GError **err)
{
    Screen *s = screen_get(all->vm, 0);

    for (unsigned i = 0; i < all->list->len; i++) {
        const Expect *e = all->list->pdata[i];

        if (!e->screen) {
            continue;
        }
        if (!s || !s->dev) {
            return error_set(err, "-expect %s,screen=on: the machine has no screen: use -vga std",
                             e->text);
        }
        all->look =
            all->look ? all->look : timer_new(all->vm->loop, CLOCK_REALTIME_NS, look_again, all);
    }
    if (all->look) {
        timer_arm(all->look, clock_ns(CLOCK_REALTIME_NS) + LOOK_NS);
    }
    return true;
}

void expects_stop(Expects *all)
{
    if (all && all->look) {
        timer_cancel(all->look);
    }
}

void expects_free(Expects *all)
{
    if (!all) {
        return;
    }
    char_consoles_listen(NULL, NULL);
    timer_free(all->look);
    g_ptr_array_unref(all->consoles);
    g_ptr_array_unref(all->list);
    g_free(all->shown);
    g_free(all);
}
