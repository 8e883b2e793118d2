/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv into the configuration tree. */
#include "cli/options.h"

#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "base/qemu_names.h"

static const OptionDef *cli_find(const char *word)
{
    if (*word != '-') {
        return NULL;
    }
    word += word[1] == '-' ? 2 : 1;
    for (const OptionDef *o = cli_options(); o->name; o++) {
        if (!strcmp(o->name, word)) {
            return o;
        }
    }
    return NULL;
}

const OptionDef *cli_option_for(const char *key)
{
    for (const OptionDef *o = cli_options(); o->name; o++) {
        if (!strcmp(o->key ? o->key : o->name, key) && !o->refused &&
            (o->kind == OPTION_LIST || o->kind == OPTION_MERGE)) {
            return o;
        }
    }
    return NULL;
}

static bool cli_unknown(const char *word, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near, *name = word + strspn(word, "-");

    if (qemu_name_known(QEMU_OPTION, name)) {
        return error_set(err, "'%s' is not in this program yet", word);
    }
    for (const OptionDef *o = cli_options(); o->name; o++) {
        if (!o->refused) {
            g_ptr_array_add(names, (gpointer)o->name);
        }
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    return error_set(err, "%s: invalid option%s%s%s", word,
                     near ? "; did you mean '-" : " (-help lists them)", near ? near : "",
                     near ? "'?" : "");
}

/* Checks a value's type here, so that the error names the option; the value is read later. */
static bool parse_check_value(const Property *p, json_t *value, GError **err)
{
    struct {
        uint64_t value[2];
        bool given;
    } scratch = {0};
    Property here = *p;

    here.offset = 0;
    here.set_offset = offsetof(typeof(scratch), given);
    return p->type == PROP_STRING || property_set(&here, &scratch, value, "", err);
}

/* Checks keys and values against the option's params. */
static bool check_params(const OptionDef *o, json_t *object, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *key;
    json_t *value;

    for (const Property *p = o->params; p && p->name; p++) {
        g_ptr_array_add(names, (gpointer)p->name);
    }
    g_ptr_array_add(names, NULL);
    json_object_foreach(object, key, value)
    {
        const Property *p = o->params ? property_find(o->params, key) : NULL;

        if (p && !parse_check_value(p, value, err)) {
            return false;
        }
        if (o->params && !p && !g_str_equal(key, "help")) {
            const char *near = nearest_name(key, (const char *const *)names->pdata);

            return error_set(err, "Invalid parameter '%s'%s%s%s", key,
                             near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
    }
    for (const Property *p = o->params; p && p->name && !json_object_get(object, "help"); p++) {
        if ((p->flags & PROP_FLAG_REQUIRED) && !json_object_get(object, p->name)) {
            return error_set(err, "Parameter '%s' is missing", p->name);
        }
    }
    return true;
}

static void cli_append(json_t *config, const char *key, json_t *value)
{
    json_t *list = json_object_get(config, key);

    if (!list) {
        list = json_array();
        json_object_set_new(config, key, list);
    }
    json_array_append_new(list, value);
}

static bool parse_words(const char *words, const char *arg, json_t *config, GError **err)
{
    g_auto(GStrv) argv = g_strsplit(words, " ", 2);
    g_auto(GStrv) parts = g_strsplit(arg && strchr(argv[1], '=') ? arg : "", ",", -1);
    g_autofree char *value = g_strjoinv(",,", parts), *filled = NULL;
    char *list[] = {argv[0], argv[1]};

    if (g_str_equal(argv[1], "%s")) {
        list[1] = (char *)arg;
    } else if (g_str_has_suffix(argv[1], "=%s")) { /* a value: its commas end nothing */
        list[1] = filled = g_strdup_printf("%.*s%s", (int)strlen(argv[1]) - 2, argv[1], value);
    }
    return cli_parse(2, list, config, err);
}

/*
 * Properties of -machine that stand for other options: for the whole argument ('whole'), or, as in
 * "smp.cpus=2", for its keys.
 */
static const struct {
    const char *property, *option;
    bool whole;
} machine_parts[] = {
    {"smp", "-smp"},
    {"memory", "-m"},
    {"boot", "-boot"},
    {"firmware", "-bios", .whole = true},
    {"kernel", "-kernel", .whole = true},
    {"initrd", "-initrd", .whole = true},
    {"append", "-append", .whole = true},
};

/* "cpus", if 'key' is "smp.cpus" and 'property' is "smp"; else NULL. */
static const char *key_below(const char *key, const char *property)
{
    size_t n = strlen(property);

    return !strncmp(key, property, n) && key[n] == '.' ? key + n + 1 : NULL;
}

/* "cpus=2", with the commas of the value doubled. */
static char *pair_text(const char *key, const char *value)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);
    g_autofree char *escaped = g_strjoinv(",,", parts);

    return g_strdup_printf("%s=%s", key, escaped);
}

static bool parse_part(unsigned i, const char *key, json_t *value, json_t *config, GError **err)
{
    const char *below = key_below(key, machine_parts[i].property);
    g_autofree char *plain =
        json_is_string(value) ? g_strdup(json_string_value(value)) : json_text(value);
    g_autofree char *text = below ? pair_text(below, plain) : g_strdup(plain);
    char *words[] = {(char *)machine_parts[i].option, text};

    return cli_parse(2, words, config, err);
}

/* Refuses "smp=2": such a property has keys only. */
static bool check_part_type(const char *key, json_t *value, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(machine_parts); i++) {
        if (!machine_parts[i].whole && !json_is_object(value) &&
            !strcmp(key, machine_parts[i].property)) {
            return error_set(err, "Invalid parameter type for '%s', expected: object: %s.KEY=VALUE",
                             key, key);
        }
    }
    return true;
}

/* Moves properties of machine_parts[] out of -machine's object, and parses them as options. */
static bool take_machine_parts(json_t *object, json_t *config, GError **err)
{
    const char *key;
    json_t *value;
    void *next;

    json_object_foreach_safe(object, next, key, value)
    {
        if (!check_part_type(key, value, err)) {
            return false;
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(machine_parts); i++) {
            bool is_part = machine_parts[i].whole || json_is_object(value)
                               ? !strcmp(key, machine_parts[i].property)
                               : key_below(key, machine_parts[i].property) != NULL;

            if (!is_part) {
                continue;
            }
            if (!parse_part(i, key, value, config, err)) {
                return false;
            }
            json_object_del(object, key);
            break;
        }
    }
    return true;
}

static bool cli_take(const OptionDef *o, const char *arg, json_t *config, GError **err)
{
    const char *key = o->key ? o->key : o->name;
    json_t *object, *merged;

    switch (o->kind) {
    case OPTION_FLAG:
        json_object_set_new(config, key, json_true());
        return true;
    case OPTION_STRING:
        json_object_set_new(config, key, json_string(arg));
        return true;
    case OPTION_STRINGS:
        cli_append(config, key, json_string(arg));
        return true;
    case OPTION_SET:
        return parse_words(o->sets, arg, config, err);
    case OPTION_MERGE:
    case OPTION_LIST:
        object = keyval_parse(arg, o->implied, o->lists, o->nest, err);
        if (!object) {
            return false;
        }
        if (!check_params(o, object, err) ||
            (!strcmp(key, "machine") && !take_machine_parts(object, config, err))) {
            json_decref(object);
            return false;
        }
        if (o->kind == OPTION_LIST) {
            cli_append(config, key, object);
            return true;
        }
        merged = json_object_get(config, key);
        if (merged) {
            json_object_update(merged, object);
            json_decref(object);
        } else {
            json_object_set_new(config, key, object);
        }
        return true;
    }
    g_assert_not_reached();
}

bool cli_parse(int argc, char **argv, json_t *config, GError **err)
{
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *arg = NULL;
        const OptionDef *o;

        if (*word != '-' || !word[1]) {
            cli_append(config, "image", json_string(word));
            continue;
        }
        o = cli_find(word);
        if (!o) {
            return cli_unknown(word, err);
        }
        if (o->refused) {
            return error_set(err, "%s: %s", word, o->refused);
        }
        if (o->arg) {
            arg = argv[++i];
            if (i >= argc) {
                return error_set(err, "%s: requires an argument: %s", word, o->arg);
            }
        }
        if (o->only && strcmp(arg, o->only)) {
            return error_set(err, "%s %s: only '%s' is supported: %s", word, arg, o->only, o->help);
        }
        if (!cli_take(o, arg, config, err)) {
            g_prefix_error(err, "%s%s%s: ", word, arg ? " " : "", arg ? arg : "");
            return false;
        }
    }
    return true;
}
