/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that may be given several times: lists in the configuration tree. */
#include "launch.h"

#include "base/keyval.h"
#include "cli/options.h"

/* A value as text for errors; {"str": ...} is how QMP writes some strings. */
static char *launch_value_text(json_t *value)
{
    const char *text = json_is_object(value) ? json_str(value, "str") : json_string_value(value);

    return text ? g_strdup(text) : json_text(value);
}

static void launch_put_text(GString *out, const char *implied, const char *prefix, json_t *value)
{
    const char *key;
    json_t *item;

    json_object_foreach(value, key, item)
    {
        g_autofree char *name = g_strconcat(prefix, key, NULL);
        g_autofree char *text = NULL;
        json_t *element;
        size_t i;

        json_array_foreach(item, i, element)
        {
            g_autofree char *one = launch_value_text(element);

            g_string_append_printf(out, "%s%s=%s", out->len ? "," : "", name, one);
        }
        if (json_is_array(item)) {
            continue;
        }
        if (json_is_object(item)) {
            g_autofree char *below = g_strconcat(name, ".", NULL);

            launch_put_text(out, implied, below, item);
            continue;
        }
        text = launch_value_text(item);
        if (!out->len && implied && g_str_equal(implied, name)) {
            g_string_append(out, text);
        } else {
            g_string_append_printf(out, "%s%s=%s", out->len ? "," : "", name, text);
        }
    }
}

char *launch_option_text(const char *key, json_t *item)
{
    const OptionDef *option = cli_option_for(key);
    GString *out = g_string_new(NULL);

    if (!json_is_object(item)) {
        g_string_free(out, TRUE);
        return json_is_string(item) ? g_strdup(json_string_value(item)) : json_text(item);
    }
    launch_put_text(out, option ? option->implied : NULL, "", item);
    return g_string_free(out, FALSE);
}

bool launch_each(Vm *vm, json_t *config, const char *key, LaunchItemFn fn, GError **err)
{
    json_t *list = json_object_get(config, key), *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        if (!fn(vm, item, err)) {
            g_autofree char *text = launch_option_text(key, item);

            g_prefix_error(err, "-%s %s: ", key, text);
            return false;
        }
    }
    return true;
}
