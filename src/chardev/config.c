/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From option text and JSON to a character device. */
#include "internal.h"
#include <string.h>
#include "base/error.h"
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "base/util.h"

/* Options of every class. */
typedef struct {
    bool mux, logappend;
    char *logfile;
} CommonOptions;

static const Property common_props[] = {
    PROP("mux", PROP_BOOL, CommonOptions, mux, "off", "several users; Ctrl-A switches"),
    PROP("logfile", PROP_STRING, CommonOptions, logfile, NULL, "file that output is copied to"),
    PROP("logappend", PROP_BOOL, CommonOptions, logappend, "off", "keep what the log file holds"),
    PROP_END,
};

static const ChardevClass *chardev_config_find_class(const char *name)
{
    for (const ChardevClass *const *c = chardev_classes(); *c; c++) {
        if (g_str_equal((*c)->name, name)) {
            return *c;
        }
    }
    return NULL;
}

static bool class_error(const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *near;

    if (qemu_name_refused(QEMU_CHARDEV, name, err)) {
        return false;
    }
    for (const ChardevClass *const *c = chardev_classes(); *c; c++) {
        g_ptr_array_add(names, (void *)(*c)->name);
    }
    g_ptr_array_add(names, NULL);
    near = nearest_name(name, (const char *const *)names->pdata);
    return near ? error_set(err, "'%s' is not a valid char driver name; did you mean '%s'?", name,
                            near)
                : error_set(err, "'%s' is not a valid char driver name", name);
}

/* Old spellings: "nowait" for wait=off, "delay" for the opposite of nodelay. */
static void translate_old(json_t *config)
{
    static const struct {
        const char *old, *new, *value;
    } table[] = {
        {"nowait", "wait", "off"},     {"noserver", "server", "off"}, {"notelnet", "telnet", "off"},
        {"nosignal", "signal", "off"}, {"nomux", "mux", "off"},
    };
    json_t *delay = json_object_get(config, "delay");

    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (json_object_get(config, table[i].old)) {
            json_object_del(config, table[i].old);
            json_object_set_new(config, table[i].new, json_string(table[i].value));
        }
    }
    if (delay) {
        const char *text = json_string_value(delay);
        bool on = text ? !g_str_equal(text, "off") : json_is_true(delay);

        json_object_set_new(config, "nodelay", json_boolean(!on));
        json_object_del(config, "delay");
    }
}

static bool common_key(const char *key)
{
    return property_find(common_props, key) || g_str_equal(key, "id") ||
           g_str_equal(key, "backend");
}

static Chardev *add_with_class(const ChardevClass *class, const char *id, json_t *config,
                               const CommonOptions *common, GError **err)
{
    static const Property no_props[] = {PROP_END};
    const Property *props = class->props ? class->props : no_props;
    g_autofree void *options = g_malloc0(class->options_size + 1);
    g_autofree char *base_id = common->mux ? g_strdup_printf("%s-base", id) : g_strdup(id);
    g_autofree char *what = g_strdup_printf("chardev '%s'", class->name);
    json_t *own = json_object(), *value;
    const char *key;
    Chardev *chr = NULL;

    json_object_foreach(config, key, value)
    {
        if (!common_key(key)) {
            json_object_set(own, key, value);
        }
    }
    properties_init(props, options);
    if (properties_apply(props, options, own, NULL, what, err)) {
        chr = chardev_new(class, base_id, options, common->logfile, common->logappend, err);
    }
    properties_clear(props, options);
    json_decref(own);
    if (chr && common->mux) {
        Chardev *mux = mux_new(id, chr, err);

        if (!mux) {
            chardev_destroy(chr);
        }
        return mux;
    }
    return chr;
}

/* Makes QMP's nested addresses (chardev-add) the flat options of the command line. */
static void chardev_config_flatten_address(json_t *flat, json_t *addr)
{
    json_t *data = json_object_get(addr, "data");
    const char *type = json_str(addr, "type"), *key;
    json_t *value;

    if (!json_is_object(data)) {
        data = addr;
    }
    json_object_foreach(data, key, value)
    {
        if (g_str_equal(key, "str") && type && g_str_equal(type, "fd")) {
            json_object_set(flat, "fd", value);
        } else if (data != addr || !g_str_equal(key, "type")) {
            json_object_set(flat, key, value);
        }
    }
}

static json_t *chardev_config_flatten(const char *id, json_t *backend)
{
    json_t *flat = json_object(), *data = json_object_get(backend, "data"), *value;
    const char *type = json_str(backend, "type"), *key;

    json_object_set_new(flat, "id", json_string(id));
    json_object_set_new(flat, "backend", json_string(type ? type : ""));
    json_object_foreach(data, key, value)
    {
        if (g_str_equal(key, "addr") || g_str_equal(key, "remote")) {
            chardev_config_flatten_address(flat, value);
        } else if (g_str_equal(key, "local")) {
            json_t *local = json_object_get(value, "data");

            json_object_set(flat, "localaddr", json_object_get(local, "host"));
            json_object_set(flat, "localport", json_object_get(local, "port"));
        } else if (g_str_equal(key, "out") || g_str_equal(key, "device")) {
            json_object_set(flat, "path", value);
        } else {
            json_object_set(flat, key, value);
        }
    }
    /* QMP's defaults differ from the command line's: server=on and wait=off. */
    if (type && g_str_equal(type, "socket")) {
        if (!json_object_get(flat, "server")) {
            json_object_set_new(flat, "server", json_true());
        }
        if (json_is_true(json_object_get(flat, "server")) && !json_object_get(flat, "wait")) {
            json_object_set_new(flat, "wait", json_false());
        }
    }
    return flat;
}

Chardev *chardev_add(json_t *config, GError **err)
{
    json_t *backend = json_object_get(config, "backend"), *flat;
    const char *id = json_str(config, "id"), *name, *key;
    CommonOptions common = {0};
    const ChardevClass *class;
    json_t *value, *shared;
    Chardev *chr = NULL;

    if (!id || !*id) {
        error_set(err, "chardev: no id specified");
        return NULL;
    }
    flat = json_is_object(backend) ? chardev_config_flatten(id, backend) : json_copy(config);
    translate_old(flat);
    name = json_str(flat, "backend");
    class = name ? chardev_config_find_class(name) : NULL;
    if (!name) {
        error_set(err, "chardev: '%s' missing backend", id);
    } else if (!class) {
        class_error(name, err);
    } else {
        shared = json_object();
        json_object_foreach(flat, key, value)
        {
            if (property_find(common_props, key)) {
                json_object_set(shared, key, value);
            }
        }
        properties_init(common_props, &common);
        if (properties_apply(common_props, &common, shared, NULL, "chardev", err)) {
            chr = add_with_class(class, id, flat, &common, err);
        }
        properties_clear(common_props, &common);
        json_decref(shared);
    }
    json_decref(flat);
    return chr;
}

/* Short forms. */

static json_t *new_config(const char *backend, const char *key, const char *value)
{
    json_t *config = json_object();

    json_object_set_new(config, "backend", json_string(backend));
    if (key) {
        json_object_set_new(config, key, json_string(value));
    }
    return config;
}

/* Splits "HOST:PORT", "[HOST]:PORT" or ":PORT"; false where text has none of these forms. */
static bool split_host_port(const char *text, char **host, char **port)
{
    const char *colon = *text == '[' ? strstr(text, "]:") : strchr(text, ':');

    if (!colon) {
        return false;
    }
    if (*text == '[') {
        *host = g_strndup(text + 1, colon - text - 1);
        colon++;
    } else {
        *host = g_strndup(text, colon - text);
    }
    *port = g_strdup(colon + 1);
    return **port != 0 && !strpbrk(*port, ": ");
}

/* "tcp:HOST:PORT,opt=..." with the address up to the first comma. */
static json_t *parse_tcp(const char *text, const char *protocol, GError **err)
{
    size_t n = strcspn(text, ",");
    g_autofree char *address = g_strndup(text, n), *host = NULL, *port = NULL;
    json_t *config, *rest;

    if (!split_host_port(address, &host, &port)) {
        error_set(err, "'%s' is not HOST:PORT", address);
        return NULL;
    }
    rest = text[n] ? keyval_parse(text + n + 1, NULL, NULL, false, err) : json_object();
    if (!rest) {
        return NULL;
    }
    config = new_config("socket", "host", host);
    json_object_set_new(config, "port", json_string(port));
    if (!g_str_equal(protocol, "tcp")) {
        json_object_set_new(config, protocol, json_string("on"));
    }
    json_object_update(config, rest);
    json_decref(rest);
    return config;
}

/* "udp:[HOST]:PORT[@[LOCALADDR]:LOCALPORT]" */
static json_t *parse_udp(const char *text, GError **err)
{
    g_auto(GStrv) half = g_strsplit(text, "@", 2);
    g_autofree char *host = NULL, *port = NULL, *local = NULL, *localport = NULL;
    json_t *config;

    if (!split_host_port(half[0], &host, &port) ||
        (half[1] && !split_host_port(half[1], &local, &localport))) {
        error_set(err, "'%s' is not [HOST]:PORT[@[LOCALADDR]:LOCALPORT]", text);
        return NULL;
    }
    config = new_config("udp", "port", port);
    json_object_set_new(config, "host", json_string(*host ? host : "localhost"));
    if (half[1]) {
        json_object_set_new(config, "localport", json_string(localport));
        if (*local) {
            json_object_set_new(config, "localaddr", json_string(local));
        }
    }
    return config;
}

static json_t *parse_unix(const char *text, GError **err)
{
    json_t *config = keyval_parse(text, "path", NULL, false, err);

    if (config) {
        json_object_set_new(config, "backend", json_string("socket"));
    }
    return config;
}

static json_t *parse_short(const char *text, GError **err)
{
    static const char *const bare[] = {"null", "pty", "stdio", "vc", "ringbuf", NULL};
    static const char *const protocols[] = {"tcp", "telnet", "tn3270", "websocket"};
    const char *rest;

    if (g_strv_contains(bare, text)) {
        return new_config(text, NULL, NULL);
    }
    if (g_str_has_prefix(text, "vc:")) {
        return new_config("vc", NULL, NULL);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(protocols); i++) {
        size_t n = strlen(protocols[i]);

        if (strncmp(text, protocols[i], n) == 0 && text[n] == ':') {
            return parse_tcp(text + n + 1, protocols[i], err);
        }
    }
    rest = strchr(text, ':');
    rest = rest ? rest + 1 : "";
    if (g_str_has_prefix(text, "file:")) {
        return new_config("file", "path", rest);
    }
    if (g_str_has_prefix(text, "pipe:")) {
        return new_config("pipe", "path", rest);
    }
    if (g_str_has_prefix(text, "unix:")) {
        return parse_unix(rest, err);
    }
    if (g_str_has_prefix(text, "udp:")) {
        return parse_udp(rest, err);
    }
    if (g_str_has_prefix(text, "/dev/")) {
        return new_config("serial", "path", text);
    }
    error_set(err, "'%s' is not a valid char driver", text);
    return NULL;
}

Chardev *chardev_from_short(const char *label, const char *text, GError **err)
{
    json_t *config;
    bool mux = false;
    Chardev *chr;

    if (g_str_has_prefix(text, "chardev:")) {
        chr = chardev_find(text + strlen("chardev:"));
        if (!chr) {
            error_set(err, "Chardev '%s' not found", text + strlen("chardev:"));
        }
        return chr;
    }
    if (g_str_has_prefix(text, "mon:")) {
        mux = true;
        text += strlen("mon:");
    }
    config = parse_short(text, err);
    if (!config) {
        return NULL;
    }
    json_object_set_new(config, "id", json_string(label));
    if (mux) {
        json_object_set_new(config, "mux", json_string("on"));
        /* "mon:stdio": Ctrl-C goes to the guest, Ctrl-A X quits. */
        if (g_str_equal(text, "stdio")) {
            json_object_set_new(config, "signal", json_string("off"));
        }
    }
    chr = chardev_add(config, err);
    json_decref(config);
    return chr;
}
