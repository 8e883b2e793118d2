/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/keyval.h"

#include <string.h>
#include "base/error.h"

bool keyval_is_help(const char *word)
{
    return word && (!strcmp(word, "help") || !strcmp(word, "?"));
}

enum {
    KEY_MAX = 127,   /* bytes in one part of a key, as in QEMU */
    DEPTH_MAX = 32,  /* dots in a key: bounds recursion */
    INDEX_MAX = 9999 /* of a list that is written as 'a.0=,a.1=' */
};

/* Takes text up to a single comma, with ",," as ",". *text moves behind the comma. Caller frees. */
static char *take_value(const char **text)
{
    GString *value = g_string_new(NULL);
    const char *p = *text;

    for (; *p; p++) {
        if (*p == ',') {
            p++;
            if (*p != ',') {
                break;
            }
        }
        g_string_append_c(value, *p);
    }
    *text = p;
    return g_string_free(value, FALSE);
}

static bool valid_part(const char *part)
{
    size_t len = strlen(part);

    if (len == 0 || len > KEY_MAX) {
        return false;
    }
    for (; *part; part++) {
        if (!g_ascii_isalnum(*part) && *part != '-' && *part != '_' && *part != '.') {
            return false;
        }
    }
    return true;
}

static bool is_index(const char *part)
{
    size_t len = strlen(part);

    return len > 0 && len <= 4 && strspn(part, "0123456789") == len && (len == 1 || *part != '0');
}

static bool keyval_listed(const char *const *list, const char *key)
{
    return list && g_strv_contains(list, key);
}

static json_t *text_value(const char *value, GError **err)
{
    json_t *string = json_string(value);

    if (!string) {
        error_set(err, "the value '%s' is not valid UTF-8", value);
    }
    return string;
}

static bool keyval_put_text(json_t *object, const char *key, const char *value,
                            const char *const *lists, const char *whole_key, GError **err)
{
    json_t *old = json_object_get(object, key);
    json_t *string = text_value(value, err);

    if (!string) {
        return false;
    }
    if (json_is_object(old)) {
        json_decref(string);
        return error_set(err, "Parameters '%s.*' used inconsistently", whole_key);
    }
    if (!keyval_listed(lists, whole_key)) {
        json_object_set_new(object, key, string);
        return true;
    }
    if (!old) {
        old = json_array();
        json_object_set_new(object, key, old);
    }
    json_array_append_new(old, string);
    return true;
}

/* The object for the last part of a dotted key, made where missing; *leaf is that part. */
static json_t *object_for(json_t *tree, const char *key, char **leaf, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(key, ".", DEPTH_MAX + 1);
    guint n = g_strv_length(parts);
    size_t used = 0; /* bytes of the key up to and with the dot behind part i */

    if (n > DEPTH_MAX) {
        error_set(err, "Parameter '%s' is nested too deeply", key);
        return NULL;
    }
    for (guint i = 0; i < n; i++) {
        json_t *below = json_object_get(tree, parts[i]);

        used += strlen(parts[i]) + 1;
        if (!valid_part(parts[i])) {
            break;
        }
        if (i + 1 == n) {
            *leaf = g_steal_pointer(&parts[i]);
            return tree;
        }
        if (!below) {
            below = json_object();
            json_object_set_new(tree, parts[i], below);
        } else if (!json_is_object(below)) {
            error_set(err, "Parameters '%.*s*' used inconsistently", (int)used, key);
            return NULL;
        }
        tree = below;
    }
    error_set(err, "Invalid parameter '%s'", key);
    return NULL;
}

static bool put_nested(json_t *tree, const char *key, const char *value, const char *const *lists,
                       GError **err)
{
    g_autofree char *leaf = NULL;
    json_t *object = object_for(tree, key, &leaf, err);

    return object && keyval_put_text(object, leaf, value, lists, key, err);
}

bool keyval_put(json_t *tree, const char *key, json_t *value, GError **err)
{
    g_autofree char *leaf = NULL;
    json_t *object = object_for(tree, key, &leaf, err);
    json_t *old = object ? json_object_get(object, leaf) : NULL;

    if (!object) {
        return false;
    }
    if (json_is_object(old) && json_is_object(value)) {
        json_object_update_recursive(old, value);
        return true;
    }
    if (json_is_object(old) || (old && json_is_object(value))) {
        return error_set(err, "Parameters '%s.*' used inconsistently", key);
    }
    json_object_set(object, leaf, value);
    return true;
}

/* 'path' is the tree's own dotted key, for errors. */
static bool make_lists(json_t *tree, const char *path, GError **err)
{
    const char *key;
    json_t *value;
    void *tmp;

    json_object_foreach_safe(tree, tmp, key, value)
    {
        if (!json_is_object(value)) {
            continue;
        }
        g_autofree char *below = g_strdup_printf("%s%s.", path, key);
        if (!make_lists(value, below, err)) {
            return false;
        }
        size_t indexes = 0;
        const char *name;
        json_t *element;
        json_object_foreach(value, name, element)
        {
            indexes += is_index(name);
        }
        if (indexes == 0) {
            continue;
        }
        if (indexes != json_object_size(value)) {
            return error_set(err, "Parameters '%s*' used inconsistently", below);
        }
        json_t *array = json_array();
        for (size_t i = 0; i < indexes; i++) {
            char index[8];
            g_snprintf(index, sizeof index, "%zu", MIN(i, INDEX_MAX));
            element = json_object_get(value, index);
            if (!element) {
                json_decref(array);
                return error_set(err, "Parameter '%s%zu' is missing", below, i);
            }
            json_array_append(array, element);
        }
        json_object_set_new(tree, key, array);
    }
    return true;
}

bool keyval_make_lists(json_t *tree, GError **err)
{
    return make_lists(tree, "", err);
}

json_t *keyval_nest(const json_t *flat, GError **err)
{
    json_auto_t *tree = json_object();
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)flat, key, value)
    {
        json_auto_t *nested = json_is_object(value) ? keyval_nest(value, err) : json_incref(value);

        if (!nested || !keyval_put(tree, key, nested, err)) {
            return NULL;
        }
    }
    return make_lists(tree, "", err) ? g_steal_pointer(&tree) : NULL;
}

static bool put_option(json_t *tree, const char *key, const char *value, const char *const *lists,
                       bool nest, GError **err)
{
    if (nest) {
        return put_nested(tree, key, value, lists, err);
    }
    if (!valid_part(key)) {
        return error_set(err, "Invalid parameter '%s'", key);
    }
    return keyval_put_text(tree, key, value, lists, key, err);
}

/* Takes one 'KEY=VALUE', bare word or implied key's value; *text moves behind the comma. */
static bool take_option(json_t *tree, const char **text, const char *implied,
                        const char *const *lists, bool nest, GError **err)
{
    size_t len = strcspn(*text, "=,");

    if ((*text)[len] == '=') {
        g_autofree char *key = g_strndup(*text, len);
        *text += len + 1;
        g_autofree char *value = take_value(text);
        return put_option(tree, key, value, lists, nest, err);
    }
    g_autofree char *word = take_value(text);
    if (keyval_is_help(word)) {
        return keyval_put_text(tree, "help", "on", NULL, "help", err);
    }
    if (implied) {
        return put_option(tree, implied, word, lists, nest, err);
    }
    bool off = g_str_has_prefix(word, "no") && word[2];
    return put_option(tree, word + (off ? 2 : 0), off ? "off" : "on", lists, nest, err);
}

json_t *keyval_parse(const char *text, const char *implied, const char *const *lists, bool nest,
                     GError **err)
{
    if (text[strspn(text, " \t\r\n")] == '{') {
        return json_parse(text, err);
    }
    json_t *tree = json_object();
    while (*text) {
        if (!take_option(tree, &text, implied, lists, nest, err)) {
            json_decref(tree);
            return NULL;
        }
        implied = NULL;
    }
    if (nest && !make_lists(tree, "", err)) {
        json_decref(tree);
        return NULL;
    }
    return tree;
}

bool id_check(const char *id, GError **err)
{
    bool good = g_ascii_isalpha(*id);

    for (const char *p = id; good && *p; p++) {
        good = g_ascii_isalnum(*p) || strchr("-._", *p);
    }
    if (!good) {
        error_set(err,
                  "Parameter 'id' expects an identifier: letters, digits, '-', '.', '_', starting "
                  "with a letter; not '%s'",
                  id);
    }
    return good;
}
