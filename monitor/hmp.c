/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: lines of words, by the command table. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/qemu_names.h"
#include "base/trace.h"
#include "base/util.h"
#include "base/version.h"
#include "commands.h"
#include "hmp_edit.h"

#define HISTORY_MAX 64

enum { CTRL_C = 0x03 };
#define PROGRESS_NS NS_PER_SEC /* before it is told first, and between */

/* The longest command name that the line begins with; *rest is what follows it. */
const MonitorCommand *monitor_find_hmp(const char *line, const char **rest)
{
    const MonitorCommand *best = NULL;
    size_t best_len = 0;

    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        const char *names[] = {c->hmp, c->hmp_alias};

        for (unsigned i = 0; i < 2; i++) {
            size_t len = names[i] ? strlen(names[i]) : 0;

            /* "x/4i" and "p/x": a format may follow the name at once. */
            if (len > best_len && !strncmp(line, names[i], len) && strchr(" \t/", line[len])) {
                best = c;
                best_len = len;
            }
        }
    }
    if (best) {
        *rest = line + best_len + strspn(line + best_len, " \t");
    }
    return best;
}

/* The next word; in "quotes" it may have spaces and \ escapes. NULL: none, or *err is set. */
static char *next_word(const char **text, GError **err)
{
    g_autoptr(GString) word = g_string_new(NULL);
    const char *p = *text + strspn(*text, " \t");
    bool quoted = *p == '"';

    if (!*p) {
        return NULL;
    }
    for (p += quoted; *p && (quoted ? *p != '"' : !strchr(" \t", *p)); p++) {
        if (quoted && *p == '\\' && p[1]) {
            p++;
            g_string_append_c(word, *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p);
        } else {
            g_string_append_c(word, *p);
        }
    }
    if (quoted && *p++ != '"') {
        error_set(err, "unterminated string literal");
        return NULL;
    }
    *text = p;
    return g_string_free(g_steal_pointer(&word), FALSE);
}

/* One-letter arguments are written as "-v", and where they have a value "-f png"; words as "-live".
 */
static bool is_flag(const Property *p)
{
    if (p->flags & PROP_FLAG_WORD) {
        return true;
    }
    return (p->type == PROP_BOOL || p->type == PROP_ENUM || p->type == PROP_STRING) && p->name[0] &&
           !p->name[1];
}

static const Property *find_flag(const MonitorCommand *cmd, const char *word)
{
    for (const Property *p = cmd->args; word[0] == '-' && p && p->name; p++) {
        if (is_flag(p) && g_str_equal(p->name, word + 1)) {
            return p;
        }
    }
    return NULL;
}

static bool has_flags(const MonitorCommand *cmd)
{
    for (const Property *p = cmd->args; p && p->name; p++) {
        if (is_flag(p)) {
            return true;
        }
    }
    return false;
}

/* The command's name in error messages: "stop|s", "mtree". */
static char *title_of(const MonitorCommand *cmd)
{
    const char *last = strrchr(cmd->hmp, ' ');

    return cmd->hmp_alias ? g_strdup_printf("%s|%s", cmd->hmp, cmd->hmp_alias)
                          : g_strdup(last ? last + 1 : cmd->hmp);
}

/*
 * Reads flags such as "-v", which may stand before any of the other arguments. Where 'here' is
 * false, a word that begins like one may be such an argument.
 */
static bool parse_flags(const MonitorCommand *cmd, bool here, const char **rest, json_t *args,
                        GError **err)
{
    *rest += strspn(*rest, " \t");
    while (has_flags(cmd) && **rest == '-') {
        const char *next = *rest;
        g_autofree char *word = next_word(&next, NULL), *title = title_of(cmd);
        const Property *p = find_flag(cmd, word);

        if (!p) {
            return !here || error_set(err, "%s: unsupported option %s", title, word);
        }
        *rest = next + strspn(next, " \t");
        if (p->type != PROP_BOOL) {
            g_autofree char *value = next_word(rest, NULL);

            if (!value || json_object_set_new(args, p->name, json_string(value))) {
                return error_set(err, "%s: option -%s needs a value", title, p->name);
            }
        } else {
            json_object_set_new(args, p->name, json_true());
        }
        *rest += strspn(*rest, " \t");
    }
    return true;
}

static bool parse_number(Monitor *mon, const Property *p, const char **rest, json_t *args,
                         GError **err)
{
    uint64_t n;

    if (!**rest && !(p->flags & PROP_FLAG_REQUIRED)) {
        return true;
    }
    return monitor_evaluate(mon, rest, &n, err) &&
           !json_object_set_new(args, p->name, json_integer(n));
}

static bool parse_switch(const Property *p, const char **rest, json_t *args, GError **err)
{
    g_autofree char *word = next_word(rest, NULL);
    bool on;

    if (!word && !(p->flags & PROP_FLAG_REQUIRED)) {
        return true;
    }
    if (!word || !parse_bool(word, &on)) {
        return error_set(err, "Expected 'on' or 'off'");
    }
    return !json_object_set_new(args, p->name, json_boolean(on));
}

bool hmp_names_drive(const Property *p)
{
    return p->type == PROP_LINK && g_str_equal(p->names[0], "drive");
}

bool hmp_names_file(const Property *p)
{
    return (p->type == PROP_LINK && g_str_equal(p->names[0], "file")) ||
           (p->type == PROP_STRING && g_str_equal(p->name, "filename"));
}

/* What an argument that is missing would have been. */
static const char *hmp_expected(const Property *p)
{
    return hmp_names_drive(p)         ? "block device name"
           : p->type == PROP_LINK     ? "filename"
           : p->type == PROP_SIZE_MIB ? "size"
                                      : "string";
}

static bool parse_string(const MonitorCommand *cmd, const Property *p, const char **rest,
                         json_t *args, GError **err)
{
    GError *bad = NULL;
    g_autofree char *word = next_word(rest, &bad), *title = title_of(cmd);

    if (bad) {
        g_prefix_error(&bad, "%s: ", title);
        g_propagate_error(err, bad);
        return false;
    }
    if (word) {
        return !json_object_set_new(args, p->name, json_string(word)) ||
               error_set(err, "%s: '%s' is not UTF-8", title, word);
    }
    return !(p->flags & PROP_FLAG_REQUIRED) ||
           error_set(err, "%s: %s expected", title, hmp_expected(p));
}

/* A size, which the command gets as a number of bytes. */
static bool parse_bytes(const MonitorCommand *cmd, const Property *p, const char **rest,
                        json_t *args, GError **err)
{
    uint64_t bytes;
    const char *text;

    if (!parse_string(cmd, p, rest, args, err)) {
        return false;
    }
    text = json_str(args, p->name);
    if (!text) {
        return true;
    }
    if (!parse_size(text, MiB, &bytes) || bytes > INT64_MAX) {
        return error_set(err, "invalid size");
    }
    return !json_object_set_new(args, p->name, json_integer(bytes));
}

static bool parse_arg(Monitor *mon, const MonitorCommand *cmd, const Property *p, const char **rest,
                      json_t *args, GError **err)
{
    if (is_flag(p)) {
        return true; /* parse_flags() has read them */
    }
    switch (p->type) {
    case PROP_BOOL:
        return parse_switch(p, rest, args, err);
    case PROP_STRING:
    case PROP_ENUM:
    case PROP_LINK:
        return parse_string(cmd, p, rest, args, err);
    case PROP_SIZE_MIB:
        return parse_bytes(cmd, p, rest, args, err);
    default:
        return parse_number(mon, p, rest, args, err);
    }
}

static bool hmp_parse_args(Monitor *mon, const MonitorCommand *cmd, const char *rest, json_t *args,
                           GError **err)
{
    g_autofree char *title = title_of(cmd);

    if (cmd->flags & MONITOR_COMMAND_RAW_HMP) {
        return !*rest || !json_object_set_new(args, "text", json_string(rest)) ||
               error_set(err, "%s: '%s' is not UTF-8", title, rest);
    }
    for (const Property *p = cmd->args; p && p->name; p++) {
        if (!parse_flags(cmd, is_flag(p), &rest, args, err) ||
            !parse_arg(mon, cmd, p, &rest, args, err)) {
            return false;
        }
    }
    if (!parse_flags(cmd, false, &rest, args, err)) {
        return false;
    }
    if (rest[strspn(rest, " \t")]) {
        return error_set(err, "%s: extraneous characters at the end of line", title);
    }
    if (!monitor_check_args(cmd, args, err)) {
        g_prefix_error(err, "%s: ", title);
        return false;
    }
    return true;
}

const Property *hmp_argument_after(const MonitorCommand *cmd, const char *words)
{
    unsigned before = 0;

    for (char *word; (word = next_word(&words, NULL)); g_free(word)) {
        const Property *flag = find_flag(cmd, word);

        if (flag && flag->type != PROP_BOOL) {
            g_free(next_word(&words, NULL));
        }
        before += !flag;
    }
    for (const Property *p = cmd->args; p && p->name; p++) {
        if (!is_flag(p) && before-- == 0) {
            return p;
        }
    }
    return NULL;
}

/* Programs, which use human-monitor-command, recognise a failure by this prefix. */
const char *hmp_error_prefix(Monitor *mon, bool bare)
{
    return bare && !mon->detached ? "" : "Error: ";
}

bool hmp_name_refused(const char *name, GError **err)
{
    bool info = g_str_has_prefix(name, "info ");

    return qemu_name_known(info ? QEMU_INFO : QEMU_COMMAND, name + (info ? 5 : 0)) &&
           !error_set(err, "'%s' is not in this program yet", name);
}

static void unknown_command(Monitor *mon, const char *line)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_auto(GStrv) words = g_strsplit_set(line, " \t/", 3);
    bool info = !strcmp(words[0], "info") && words[1];
    g_autofree char *name = info ? g_strdup_printf("info %s", words[1]) : g_strdup(words[0]);
    const char *near, *prefix = hmp_error_prefix(mon, true);
    g_autoptr(GError) err = NULL;

    if (hmp_name_refused(name, &err)) {
        monitor_printf(mon, "%s%s\n", prefix, err->message);
        return;
    }
    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->hmp && (!info || g_str_has_prefix(c->hmp, "info "))) {
            g_ptr_array_add(names, (gpointer)c->hmp);
        }
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    monitor_printf(mon, "%sunknown command: '%s'%s%s%s\n", prefix, name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* 'typed': the command's name as the user wrote it. */
static void print_error(Monitor *mon, const MonitorCommand *cmd, const char *typed, GError *err)
{
    if (mon->misread) {
        monitor_printf(mon, "%s%s\nTry \"help %s\" for more information\n",
                       hmp_error_prefix(mon, true), err->message, typed);
    } else {
        monitor_printf(mon, "%s%s\n",
                       hmp_error_prefix(mon, cmd->flags & MONITOR_COMMAND_BARE_ERROR),
                       err->message);
    }
}

void coroutine_fn hmp_run_line(Monitor *mon, const char *line)
{
    const char *rest;
    const MonitorCommand *cmd;
    GError *err = NULL;
    json_t *args, *result = NULL;

    line += strspn(line, " \t");
    if (!*line || *line == '#') {
        return;
    }
    cmd = monitor_find_hmp(line, &rest);
    if (!cmd || (cmd->run == cmd_info && *rest)) {
        unknown_command(mon, line);
        return;
    }
    args = json_object();
    mon->misread = !hmp_parse_args(mon, cmd, rest, args, &err);
    if (!mon->misread) {
        trace(handle_hmp_command, monitor_label(mon), cmd->hmp);
        result = cmd->run(mon, monitor_vm, args, &err);
    }
    if (err) {
        g_autofree char *typed = g_strchomp(g_strndup(line, rest - line));

        print_error(mon, cmd, typed, err);
        g_error_free(err);
    } else if (cmd->print && result) {
        cmd->print(mon, result);
    }
    json_decref(args);
    json_decref(result);
}

/* Jobs that a command waits for. */

static void show_progress(void *data)
{
    Monitor *mon = data;
    const Job *job = mon->job;

    if (job->total) {
        monitor_printf(mon, "Completed %d %%\r", (int)(100.0 * job->done / job->total));
        monitor_flush(mon);
        mon->progress_shown = true;
    }
    timer_arm(mon->progress, clock_ns(CLOCK_REALTIME_NS) + PROGRESS_NS);
}

void hmp_end_progress(Monitor *mon)
{
    if (mon->progress_shown) {
        monitor_puts(mon, "\n");
        mon->progress_shown = false;
    }
}

bool coroutine_fn hmp_wait_job(Monitor *mon, Job *job, GError **err)
{
    bool ok;

    job_ref(job);
    mon->job = job;
    if (!mon->detached) {
        mon->progress = timer_new(monitor_vm->loop, CLOCK_REALTIME_NS, show_progress, mon);
        timer_arm(mon->progress, clock_ns(CLOCK_REALTIME_NS) + PROGRESS_NS);
    }
    ok = job_run_wait(job, err);
    g_clear_pointer(&mon->progress, timer_free);
    mon->job = NULL;
    hmp_end_progress(mon);
    job_unref(job);
    return ok;
}

/* Reading. */

int coroutine_fn hmp_getc(Monitor *mon)
{
    uint8_t c;

    monitor_flush(mon);
    while (!mon->closing && !mon->restart && !mon->redraw && !mon->in->len) {
        mon->reader = coroutine_self();
        coroutine_yield();
        mon->reader = NULL;
    }
    if (mon->closing || mon->restart) {
        return -1;
    }
    if (mon->redraw) {
        mon->redraw = false;
        return HMP_KEY_REDRAW;
    }
    c = mon->in->data[0];
    g_byte_array_remove_index(mon->in, 0);
    if (!mon->in->len) {
        char_accept_input(&mon->fe);
    }
    return c;
}

/* Appends a line to the history. If it is there already, it moves to the end. */
static void hmp_remember(Monitor *mon, const char *line)
{
    guint old = 0;

    if (!*line) {
        return;
    }
    if (g_ptr_array_find_with_equal_func(mon->history, line, g_str_equal, &old) ||
        mon->history->len == HISTORY_MAX) {
        g_ptr_array_remove_index(mon->history, old);
    }
    g_ptr_array_add(mon->history, g_strdup(line));
}

static void show_banner(Monitor *mon)
{
    monitor_printf(mon, "%s monitor - type 'help' for more information\n",
                   log_program_is_qemu() ? "QEMU " QEMU_VERSION : "vmm " VMM_VERSION);
}

static void coroutine_fn run_session(void *data)
{
    Monitor *mon = data;

    while (!mon->closing && !mon->quitting) {
        g_autofree char *line = NULL;

        mon->restart = false;
        if (mon->fresh) {
            mon->fresh = false;
            show_banner(mon);
        }
        line = hmp_edit_line(mon);
        if (line) {
            hmp_remember(mon, g_strstrip(line));
            mon->busy = true;
            hmp_run_line(mon, line);
            mon->busy = false;
        }
        monitor_flush(mon);
    }
    mon->session = false;
}

static void restart_line(Monitor *mon)
{
    mon->restart = true;
    if (!mon->session) {
        mon->session = true;
        coroutine_start(run_session, mon);
    } else if (mon->reader) {
        coroutine_wake(mon->reader);
    }
}

void hmp_event(Monitor *mon, CharEvent event)
{
    switch (event) {
    case CHAR_EVENT_OPENED:
        g_byte_array_set_size(mon->in, 0);
        mon->hushed = false;
        mon->fresh = true;
        restart_line(mon);
        break;
    case CHAR_EVENT_MUX_IN:
        mon->hushed = false;
        restart_line(mon);
        break;
    case CHAR_EVENT_RESUMED:
        mon->redraw = true;
        if (mon->reader) {
            coroutine_wake(mon->reader);
        }
        break;
    case CHAR_EVENT_MUX_OUT:
        if (mon->session) {
            monitor_puts(mon, "\n");
            monitor_flush(mon);
        }
        mon->hushed = true;
        break;
    case CHAR_EVENT_CLOSED:
        /* Keys of the client that left are dropped; on_event() has dropped the output. */
        g_byte_array_set_size(mon->in, 0);
        break;
    default:
        break;
    }
}

/* Ctrl-C while a command waits for its job. What was typed before is dropped, as in a line. */
static bool hmp_interrupts(Monitor *mon, const uint8_t **buf, size_t *len)
{
    const uint8_t *last = mon->job ? memrchr(*buf, CTRL_C, *len) : NULL;

    if (last) {
        g_byte_array_set_size(mon->in, 0);
        *len -= last + 1 - *buf;
        *buf = last + 1;
    }
    return last;
}

void hmp_input(Monitor *mon, const uint8_t *buf, size_t len)
{
    if (hmp_interrupts(mon, &buf, &len)) {
        job_cancel(mon->job, true, NULL);
    }
    g_byte_array_append(mon->in, buf, len);
    if (mon->reader) {
        coroutine_wake(mon->reader);
    }
}
