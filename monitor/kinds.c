/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kinds.h"

#include <string.h>

#include "base/keyval.h"
#include "base/object.h"
#include "net/net.h"
#include "vm/device.h"

static bool netdev_at(unsigned i, Kind *kind)
{
    const NetBackendClass *c = net_backend_classes()[i];

    if (c && !c->is_net_only) {
        *kind = (Kind){c->name, c->help, c->props};
        return true;
    }
    return false;
}

static bool object_at(unsigned i, Kind *kind)
{
    const ObjectClass *c = object_classes()[i];

    if (c) {
        *kind = (Kind){c->name, c->help, c->props};
    }
    return c != NULL;
}

static bool chardev_at(unsigned i, Kind *kind)
{
    const ChardevClass *c = chardev_classes()[i];

    if (c) {
        *kind = (Kind){c->name, c->help, c->props};
    }
    return c != NULL;
}

const Kinds netdev_kinds = {"Available netdev backend types:\n", "", "\n", "type", netdev_at};
const Kinds object_kinds = {"List of user creatable objects:\n", "  ", "\n", "qom-type", object_at};
const Kinds chardev_kinds = {"Available chardev backend types: \n", "  ", "\n", "backend",
                             chardev_at};

bool kinds_find(const Kinds *kinds, const char *name, Kind *kind)
{
    for (unsigned i = 0; kinds->at(i, kind); i++) {
        if (!strcmp(kind->name, name)) {
            return true;
        }
    }
    return false;
}

char *kinds_text(const Kinds *kinds)
{
    GString *out = g_string_new(kinds->heading);
    Kind kind;

    for (unsigned i = 0; kinds->at(i, &kind); i++) {
        g_string_append_printf(out, "%s%s%s", kinds->before, kind.name, kinds->behind);
    }
    if (!strchr(kinds->behind, '\n')) {
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}

char *kind_text(const Kind *kind)
{
    GString *out = g_string_new(NULL);

    g_string_printf(out, "%s options:\n", kind->name);
    if (kind->props) {
        properties_help(kind->props, out);
    }
    if (kind->help) {
        g_string_append_printf(out, "\n%s: %s\n", kind->name, kind->help);
    }
    return g_string_free(out, FALSE);
}

/* True where 'text' asks for help: on the kind *name (caller frees) or, if NULL, for the list. */
static bool kinds_asks_help(const char *text, const char *implied, char **name)
{
    g_auto(GStrv) words = g_strsplit(text ? text : "", ",", 0);
    size_t len = strlen(implied);
    const char *first = words[0] ? words[0] : "";

    *name = NULL;
    if (!strncmp(first, implied, len) && first[len] == '=') {
        first += len + 1;
    }
    if (keyval_is_help(first)) {
        return true;
    }
    for (unsigned i = 1; words[0] && words[i]; i++) {
        if (keyval_is_help(words[i])) {
            *name = g_strdup(first);
            return true;
        }
    }
    return false;
}

bool kinds_answer_help(Monitor *mon, const Kinds *kinds, const char *text)
{
    g_autofree char *name = NULL, *out = NULL;
    Kind kind;

    if (!kinds_asks_help(text, kinds->implied, &name)) {
        return false;
    }
    out = name && kinds_find(kinds, name, &kind) ? kind_text(&kind) : kinds_text(kinds);
    monitor_puts(mon, out);
    return true;
}

bool devices_answer_help(Monitor *mon, const char *text)
{
    g_autofree char *name = NULL, *out = NULL;
    const DeviceClass *class;

    if (!kinds_asks_help(text, "driver", &name)) {
        return false;
    }
    class = name ? device_class_find(name) : NULL;
    if (name && !class) {
        monitor_printf(mon, "%sDevice '%s' not found\n", hmp_error_prefix(mon, true), name);
        return true;
    }
    out = class ? device_help_class(class) : device_help_list();
    monitor_puts(mon, out);
    return true;
}
