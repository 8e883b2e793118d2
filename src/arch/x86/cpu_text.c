/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of -cpu, and '-cpu help'. */
#include <stdlib.h>
#include <string.h>
#include "base/error.h"
#include "x86_internal.h"

char *x86_cpu_parse(const char *text, json_t **features, GError **err)
{
    /* ",," is a comma inside a value */
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) part = g_string_new(NULL);
    json_t *object;

    for (const char *p = text;; p++) {
        if (*p && (*p != ',' || p[1] == ',')) {
            g_string_append_c(part, *p);
            p += *p == ',';
            continue;
        }
        g_ptr_array_add(parts, g_strdup(part->str));
        g_string_truncate(part, 0);
        if (!*p) {
            break;
        }
    }
    if (!*(char *)parts->pdata[0]) {
        error_set(err, "-cpu '%s': the name of a CPU model is missing", text);
        return NULL;
    }
    object = json_object();
    for (unsigned i = 1; i < parts->len; i++) {
        char *item = parts->pdata[i], *equals = strchr(item, '=');

        if (*item == '+' || *item == '-') {
            json_object_set_new(object, item + 1, json_string(*item == '+' ? "on" : "off"));
        } else if (equals) {
            *equals = '\0';
            json_object_set_new(object, item, json_string(equals + 1));
        } else if (*item) {
            json_object_set_new(object, item, json_string("on"));
        }
    }
    *features = object;
    return g_strdup(parts->pdata[0]);
}

static int cpu_text_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void cpu_text_add(GPtrArray *lines, const char *name, const char *text)
{
    g_ptr_array_add(lines, g_strdup_printf("x86 %-20s  %s", name, text));
}

/* The lines of a model in '-cpu help': its name, its alias, its version. */
static void cpu_text_add_model(GPtrArray *lines, const X86Model *m)
{
    g_autofree char *first = x86_model_first_version(m), *alias = NULL, *text = NULL;
    X86Model full = {0};
    uint32_t words[WORD_COUNT] = {0};

    x86_model_resolve(m, &full, words);
    text = g_strconcat(m->desc ? m->desc : full.model_id, m->note ? " [" : "",
                       m->note ? m->note : "", m->note ? "]" : "", NULL);
    if (first) {
        cpu_text_add(lines, m->name, "(alias configured by machine type)");
    } else if (m->alias) {
        alias = g_strdup_printf("(alias of %s)", m->name);
        cpu_text_add(lines, m->alias, alias);
    }
    cpu_text_add(lines, first ? first : m->name, text);
}

char *x86_cpu_help(void)
{
    GString *out = g_string_new("Available CPUs:\n");
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) flags = g_ptr_array_new_with_free_func(g_free);
    gsize column = 0;

    for (const X86Model *m = x86_models; m->name; m++) {
        cpu_text_add_model(lines, m);
    }
    /* 'base', 'host' and 'max', the last three, stay at the end. */
    qsort(lines->pdata, lines->len - 3, sizeof(char *), cpu_text_compare);
    for (unsigned i = 0; i < lines->len; i++) {
        g_string_append_printf(out, "%s\n", (char *)lines->pdata[i]);
    }
    for (int w = 0; w < WORD_COUNT; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            char *name = x86_feature_name(w, bit);

            if (name) {
                g_ptr_array_add(flags, name);
            }
        }
    }
    qsort(flags->pdata, flags->len, sizeof(char *), cpu_text_compare);
    g_string_append(out, "\nRecognized CPUID flags:\n");
    for (unsigned i = 0; i < flags->len; i++) {
        const char *name = flags->pdata[i];

        if (i && g_str_equal(name, flags->pdata[i - 1])) {
            continue;
        }
        if (column && column + strlen(name) + 1 > 75) {
            g_string_append_c(out, '\n');
            column = 0;
        }
        if (!column) {
            g_string_append_c(out, ' ');
        }
        g_string_append_printf(out, " %s", name);
        column += strlen(name) + 1;
    }
    g_string_append_c(out, '\n');
    return g_string_free(out, FALSE);
}
