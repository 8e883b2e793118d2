/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: lines of words, by the command table. */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "internal.h"

#define PROMPT    "(qemu) "
#define LINE_MAX_ 4096

static void show_prompt(Monitor *mon)
{
    monitor_puts(mon, PROMPT);
    monitor_flush(mon);
}

void hmp_opened(Monitor *mon)
{
    bool qemu = strstr(log_program_name(), "qemu") || !strcmp(log_program_name(), "kvm");

    monitor_printf(mon, "%s monitor - type 'help' for more information\n",
                   qemu ? "QEMU 7.2.22" : "vmm " VMM_VERSION);
    show_prompt(mon);
}

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

/* The next word, with "quotes" and \ in them; NULL at the end. */
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

/* A one-letter boolean argument is written as "-v". */
static const Property *find_flag(const MonitorCommand *cmd, const char *word)
{
    if (word[0] == '-' && word[1] && !word[2]) {
        for (const Property *p = cmd->args; p && p->name; p++) {
            if (p->type == PROP_BOOL && p->name[0] == word[1] && !p->name[1]) {
                return p;
            }
        }
    }
    return NULL;
}

static json_t *typed(const Property *p, const char *word)
{
    bool flag;
    uint64_t n;

    switch (p->type) {
    case PROP_BOOL:
        return parse_bool(word, &flag) ? json_boolean(flag) : json_string(word);
    case PROP_STRING:
    case PROP_ENUM:
        return json_string(word);
    default:
        return parse_uint(word, UINT64_MAX, &n) ? json_integer(n) : json_string(word);
    }
}

static bool is_flag(const Property *p)
{
    return p->type == PROP_BOOL && p->name[0] && !p->name[1];
}

static json_t *parse_args(const MonitorCommand *cmd, const char *rest, GError **err)
{
    json_t *args = json_object();
    const Property *next = cmd->args;
    GError *bad = NULL;
    char *word;

    if (cmd->flags & MONITOR_COMMAND_RAW_HMP) {
        if (*rest) {
            json_object_set_new(args, "text", json_string(rest));
        }
        return args;
    }
    while ((word = next_word(&rest, &bad))) {
        const Property *p = find_flag(cmd, word);

        if (p) {
            json_object_set_new(args, p->name, json_true());
            g_free(word);
            continue;
        }
        while (next && next->name && is_flag(next)) {
            next++;
        }
        if (!next || !next->name) {
            error_set(&bad, "extraneous characters at the end of line: '%s'; it is '%s %s'", word,
                      cmd->hmp, cmd->hmp_args ? cmd->hmp_args : "");
            g_free(word);
            break;
        }
        json_object_set_new(args, next->name, typed(next, word));
        next++;
        g_free(word);
    }
    if (bad) {
        g_propagate_error(err, bad);
        json_decref(args);
        return NULL;
    }
    return args;
}

static void unknown_command(Monitor *mon, const char *line)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_auto(GStrv) words = g_strsplit_set(line, " \t/", 3);
    bool info = !strcmp(words[0], "info") && words[1];
    g_autofree char *name = info ? g_strdup_printf("info %s", words[1]) : g_strdup(words[0]);
    const char *near;

    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->hmp && (!info || g_str_has_prefix(c->hmp, "info "))) {
            g_ptr_array_add(names, (gpointer)c->hmp);
        }
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    monitor_printf(mon, "unknown command: '%s'%s%s%s\n", name, near ? "; did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
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
    if (!cmd) {
        unknown_command(mon, line);
        return;
    }
    args = parse_args(cmd, rest, &err);
    if (args && ((cmd->flags & MONITOR_COMMAND_RAW_HMP) || monitor_check_args(cmd, args, &err))) {
        result = cmd->run(mon, monitor_vm, args, &err);
    }
    if (err) {
        monitor_printf(mon, "Error: %s\n", err->message);
        g_error_free(err);
    } else if (cmd->print && result) {
        cmd->print(mon, result);
    }
    json_decref(args);
    json_decref(result);
}

typedef struct {
    Monitor *mon;
    char *line;
} LineRun;

static void coroutine_fn run_line(void *data)
{
    LineRun *run = data;
    Monitor *mon = run->mon;

    hmp_run_line(mon, run->line);
    g_free(run->line);
    g_free(run);
    mon->busy = false;
    show_prompt(mon);
    char_accept_input(&mon->fe);
}

void hmp_input(Monitor *mon, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != '\n' && buf[i] != '\r') {
            if (mon->in->len < LINE_MAX_) {
                g_byte_array_append(mon->in, &buf[i], 1);
            }
            continue;
        }
        LineRun *run = g_new(LineRun, 1);

        *run = (LineRun){.mon = mon, .line = g_strndup((char *)mon->in->data, mon->in->len)};
        g_byte_array_set_size(mon->in, 0);
        mon->busy = true;
        coroutine_start(run_line, run);
    }
}
