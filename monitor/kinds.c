/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kinds.h"

#include <string.h>

#include "base/object.h"
#include "net/net.h"
#include "vm/device.h"

static bool netdev_at(unsigned i, Kind *kind)
{
    const NetBackendClass *c = net_backend_classes()[i];

    if (c) {
        *kind = (Kind){c->name, c->props};
    }
    return c != NULL;
}

static bool object_at(unsigned i, Kind *kind)
{
    const ObjectClass *c = object_classes()[i];

    if (c) {
        *kind = (Kind){c->name, c->props};
    }
    return c != NULL;
}

static bool chardev_at(unsigned i, Kind *kind)
{
    const ChardevClass *c = chardev_classes()[i];

    if (c) {
        *kind = (Kind){c->name, c->props};
    }
    return c != NULL;
}

const Kinds netdev_kinds = {"Available netdev backend types", "", "type", netdev_at};
const Kinds object_kinds = {"List of user creatable objects", "  ", "qom-type", object_at};
const Kinds chardev_kinds = {"Available chardev backend types", "  ", "backend", chardev_at};

static bool is_help(const char *word)
{
    return !strcmp(word, "help") || !strcmp(word, "?");
}

/* True where help is asked for: of everything, or (*name, caller frees) of one. */
static bool asks_help(const char *text, const char *implied, char **name)
{
    g_auto(GStrv) words = g_strsplit(text ? text : "", ",", 0);
    size_t len = strlen(implied);
    const char *first = words[0] ? words[0] : "";

    *name = NULL;
    if (!strncmp(first, implied, len) && first[len] == '=') {
        first += len + 1;
    }
    if (is_help(first)) {
        return true;
    }
    for (unsigned i = 1; words[0] && words[i]; i++) {
        if (is_help(words[i])) {
            *name = g_strdup(first);
            return true;
        }
    }
    return false;
}

static void list_kinds(Monitor *mon, const Kinds *kinds)
{
    Kind kind;

    monitor_printf(mon, "%s:\n", kinds->title);
    for (unsigned i = 0; kinds->at(i, &kind); i++) {
        monitor_printf(mon, "%s%s\n", kinds->indent, kind.name);
    }
}

static bool find_kind(const Kinds *kinds, const char *name, Kind *kind)
{
    for (unsigned i = 0; kinds->at(i, kind); i++) {
        if (!strcmp(kind->name, name)) {
            return true;
        }
    }
    return false;
}

bool kinds_answer_help(Monitor *mon, const Kinds *kinds, const char *text)
{
    g_autofree char *name = NULL;
    g_autoptr(GString) out = g_string_new(NULL);
    Kind kind;

    if (!asks_help(text, kinds->implied, &name)) {
        return false;
    }
    if (!name || !find_kind(kinds, name, &kind)) {
        list_kinds(mon, kinds);
        return true;
    }
    g_string_printf(out, "%s options:\n", name);
    if (kind.props) {
        properties_help(kind.props, out);
    }
    monitor_puts(mon, out->str);
    return true;
}

bool devices_answer_help(Monitor *mon, const char *text)
{
    g_autofree char *name = NULL, *out = NULL;
    const DeviceClass *class;

    if (!asks_help(text, "driver", &name)) {
        return false;
    }
    class = name ? device_class_find(name) : NULL;
    if (name && !class) {
        monitor_printf(mon, "Device '%s' not found\n", name);
        return true;
    }
    out = class ? device_help_class(class) : device_help_list();
    monitor_puts(mon, out);
    return true;
}
