/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -readconfig: QEMU's format, 'key = "value"' lines under '[group]' or '[group "id"]'. A group is
 * parsed as the option of the same name.
 */
#include <string.h>

#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "cli/options.h"

typedef struct {
    const char *path;
    unsigned line;
    const OptionDef *option;
    GString *text; /* the group so far, as key=value,... */
    json_t *config;
} Reader;

/* QEMU's names of groups that are neither the option's name nor its key. */
static const struct {
    const char *group, *option;
} other_names[] = {{"smp-opts", "smp"}, {"boot-opts", "boot"}};

/* Options that can be groups: those with keys, and -global, which has keys in files. */
static bool has_group(const OptionDef *o)
{
    return !o->refused &&
           (o->kind == OPTION_LIST || o->kind == OPTION_MERGE || !strcmp(o->name, "global"));
}

static const OptionDef *find_group(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(other_names); i++) {
        if (!strcmp(other_names[i].group, name)) {
            name = other_names[i].option;
        }
    }
    for (const OptionDef *o = cli_options(); o->name; o++) {
        if (!strcmp(o->name, name) && has_group(o)) {
            return o;
        }
    }
    return cli_option_for(name);
}

static bool unknown_group(const Reader *r, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;

    for (const OptionDef *o = cli_options(); o->name; o++) {
        if (has_group(o)) {
            g_ptr_array_add(names, (gpointer)o->name);
            g_ptr_array_add(names, (gpointer)(o->key ? o->key : o->name));
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(other_names); i++) {
        g_ptr_array_add(names, (gpointer)other_names[i].group);
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    return error_set(err, "%s:%u: There is no option group '%s'%s%s%s", r->path, r->line, name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool end_group(Reader *r, GError **err)
{
    if (r->option && r->text->len) {
        char *words[2] = {g_strdup_printf("-%s", r->option->name), r->text->str};
        bool ok = cli_parse(2, words, r->config, err);

        g_free(words[0]);
        if (!ok) {
            g_prefix_error(err, "%s:%u: ", r->path, r->line);
            return false;
        }
    }
    r->option = NULL;
    g_string_truncate(r->text, 0);
    return true;
}

/* Appends key=value; keyval_parse() needs commas in the value doubled. */
static void add_pair(Reader *r, const char *key, const char *value)
{
    if (r->text->len) {
        g_string_append_c(r->text, ',');
    }
    g_string_append_printf(r->text, "%s=", key);
    for (; *value; value++) {
        g_string_append(r->text, *value == ',' ? ",," : (char[]){*value, 0});
    }
}

static bool read_header(Reader *r, char *line, GError **err)
{
    g_autofree char *name = NULL, *id = NULL;
    char *close = strrchr(line, ']'), *quote;

    if (!close || close[1]) {
        return error_set(err, "%s:%u: a group header is [NAME] or [NAME \"ID\"], not '%s'", r->path,
                         r->line, line);
    }
    *close = '\0';
    quote = strchr(line, '"');
    if (quote) {
        id = g_strdup(quote + 1);
        *quote = '\0';
        g_strdelimit(id, "\"", '\0');
    }
    name = g_strstrip(g_strdup(line + 1));
    r->option = find_group(name);
    if (!r->option) {
        return unknown_group(r, name, err);
    }
    if (id) {
        add_pair(r, "id", id);
    }
    return true;
}

static bool read_pair(Reader *r, char *line, GError **err)
{
    char *equals = strchr(line, '='), *value;
    size_t len;

    if (!equals || !r->option) {
        return error_set(err, "%s:%u: expected %s, found '%s'", r->path, r->line,
                         r->option ? "KEY = \"VALUE\"" : "a group header", line);
    }
    *equals = '\0';
    g_strstrip(line);
    value = g_strstrip(equals + 1);
    len = strlen(value);
    if (len < 2 || value[0] != '"' || value[len - 1] != '"') {
        return error_set(err, "%s:%u: the value of '%s' is to be in double quotes", r->path,
                         r->line, line);
    }
    value[len - 1] = '\0';
    add_pair(r, line, value + 1);
    return true;
}

bool cli_read_config_file(const char *path, json_t *config, GError **err)
{
    size_t len;
    g_autofree char *text = host_read_file(path, 1 << 20, &len, err);
    g_auto(GStrv) lines = NULL;
    Reader r = {.path = path, .config = config};
    bool ok = true;

    if (!text) {
        return false;
    }
    if (strlen(text) < len) {
        return error_set(err, "%s: this is no text file: it has a NUL byte at offset %zu", path,
                         strlen(text));
    }
    r.text = g_string_new(NULL);
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l && ok; l++) {
        char *line = g_strstrip(*l);

        r.line++;
        if (!*line || *line == '#') {
            continue;
        }
        ok = *line == '[' ? end_group(&r, err) && read_header(&r, line, err)
                          : read_pair(&r, line, err);
    }
    ok = ok && end_group(&r, err);
    g_string_free(r.text, TRUE);
    return ok;
}
