/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include "base/error.h"
#include "nbd.h"

#define DEFAULT_PORT    "10809"
#define EXPORT_NAME_KEY "exportname="

static json_t *text(const char *s)
{
    return json_string_nocheck(s);
}

static json_t *unix_server(const char *path)
{
    return json_pack("{s:s,s:o}", "type", "unix", "path", text(path));
}

static json_t *inet_server(const char *host, const char *port)
{
    return json_pack("{s:s,s:o,s:o}", "type", "inet", "host", text(host), "port", text(port));
}

/* Takes 'server' over. */
static json_t *config(json_t *server, const char *export_name)
{
    json_t *file = json_pack("{s:s,s:o}", "driver", "nbd", "server", server);

    if (export_name && *export_name) {
        json_object_set_new(file, "export", text(export_name));
    }
    return file;
}

/* The decoded value of "socket=", which is all that a query may have. NULL: it is not that. */
static char *query_socket(const char *query)
{
    g_auto(GStrv) items = g_strsplit(query ? query : "", "&", -1);

    if (g_strv_length(items) != 1 || !g_str_has_prefix(items[0], "socket=")) {
        return NULL;
    }
    return g_uri_unescape_string(items[0] + strlen("socket="), NULL);
}

static json_t *uri_config(const char *uri, GError **err)
{
    g_autoptr(GUri) u =
        g_uri_parse(uri, G_URI_FLAGS_HAS_PASSWORD | G_URI_FLAGS_ENCODED_QUERY, NULL);
    const char *scheme = u ? g_uri_get_scheme(u) : "", *path = u ? g_uri_get_path(u) : "";
    bool is_unix = g_str_equal(scheme, "nbd+unix");
    g_autofree char *socket = NULL, *port = NULL;

    path += *path == '/';
    if (g_str_has_prefix(scheme, "nbds")) {
        error_set(err,
                  "'%s': a name cannot say which credentials to use: "
                  "driver=nbd,tls-creds=ID,server.type=... does",
                  uri);
        return NULL;
    }
    if (is_unix) {
        socket = query_socket(g_uri_get_query(u));
        if (!socket || (g_uri_get_host(u) && *g_uri_get_host(u)) || g_uri_get_port(u) > 0) {
            error_set(err,
                      "'%s' is no valid URI of an NBD server: nbd+unix:///[EXPORT]?socket=PATH "
                      "is one",
                      uri);
            return NULL;
        }
        return config(unix_server(socket), path);
    }
    if (!u || (!g_str_equal(scheme, "nbd") && !g_str_equal(scheme, "nbd+tcp")) ||
        !g_uri_get_host(u) || !*g_uri_get_host(u) || g_uri_get_query(u)) {
        error_set(err, "'%s' is no valid URI of an NBD server: nbd://HOST[:PORT]/[EXPORT] is one",
                  uri);
        return NULL;
    }
    port =
        g_uri_get_port(u) > 0 ? g_strdup_printf("%d", g_uri_get_port(u)) : g_strdup(DEFAULT_PORT);
    return config(inet_server(g_uri_get_host(u), port), path);
}

json_t *nbd_filename_config(const char *filename, GError **err)
{
    const char *rest = filename + strlen("nbd:");
    g_autofree char *place = NULL;
    const char *name, *colon;
    bool brackets;

    if (strstr(filename, "://")) {
        return uri_config(filename, err);
    }
    if (!g_str_has_prefix(filename, "nbd:")) {
        error_set(err, "File name string for new protocols must start with 'nbd:'");
        return NULL;
    }
    name = strstr(rest, ":" EXPORT_NAME_KEY);
    place = name ? g_strndup(rest, name - rest) : g_strdup(rest);
    name = name ? name + strlen(":" EXPORT_NAME_KEY) : NULL;
    if (g_str_has_prefix(place, "unix:")) {
        return config(unix_server(place + strlen("unix:")), name);
    }
    colon = strrchr(place, ':');
    if (!colon || !colon[1]) {
        error_set(err, "'%s' names no NBD server: nbd:HOST:PORT or nbd:unix:PATH does", filename);
        return NULL;
    }
    place[colon - place] = '\0';
    brackets = *place == '[' && colon > place && colon[-1] == ']';
    if (brackets) {
        place[colon - place - 1] = '\0';
    }
    return config(inet_server(place + brackets, colon + 1), name);
}
