/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block_text.h"

#include <glib.h>
#include <string.h>

#include "base/keyval.h"
#include "block/image.h"

/* The empty line behind a device's part; the one before "Images:" is within it. */
static const char *end_of_part(const char *text)
{
    const char *end = strstr(text, "\n\n");

    while (end && g_str_has_prefix(end + 2, "Images:\n")) {
        end = strstr(end + 2, "\n\n");
    }
    return end ? end + 1 : text + strlen(text);
}

/* "d0 (#block100): FILE ..." or "d0: [not inserted]" */
static bool begins_with_name(const char *part, const char *name)
{
    size_t len = strlen(name);

    return len && !strncmp(part, name, len) &&
           (g_str_has_prefix(part + len, " (") || g_str_has_prefix(part + len, ": "));
}

char *block_text_of_device(const char *all, const char *device)
{
    while (*all) {
        const char *end = end_of_part(all);

        if (begins_with_name(all, device)) {
            return g_strndup(all, end - all);
        }
        all = end + (*end == '\n');
    }
    return g_strdup("");
}

static bool is_set(json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static void put_node(GString *out, json_t *node)
{
    json_t *cache = json_object_get(node, "cache");
    const char *backing = json_str(node, "backing_file");
    const char *detect = json_str(node, "detect_zeroes");

    g_string_append_printf(out, "%s: %s (%s%s)\n", json_str(node, "node-name"),
                           json_str(node, "file"), json_str(node, "drv"),
                           is_set(node, "ro") ? ", read-only" : "");
    g_string_append_printf(out, "    Cache mode:       %s%s%s\n",
                           is_set(cache, "writeback") ? "writeback" : "writethrough",
                           is_set(cache, "direct") ? ", direct" : "",
                           is_set(cache, "no-flush") ? ", ignore flushes" : "");
    if (backing) {
        g_string_append_printf(
            out, "    Backing file:     %s (chain depth: %" JSON_INTEGER_FORMAT ")\n", backing,
            json_integer_value(json_object_get(node, "backing_file_depth")));
    }
    if (detect && strcmp(detect, "off")) {
        g_string_append_printf(out, "    Detect zeroes:    %s\n", detect);
    }
}

static void put_images(GString *out, json_t *image)
{
    g_string_append(out, "\nImages:\n");
    for (; image; image = json_object_get(image, "backing-image")) {
        g_autofree char *text = block_image_info_text(image);

        g_string_append(out, text);
    }
}

char *block_text_of_nodes(json_t *nodes, const char *name, bool verbose)
{
    GString *out = g_string_new(NULL);
    json_t *node;
    size_t i;

    json_array_foreach(nodes, i, node)
    {
        if (name && g_strcmp0(name, json_str(node, "node-name"))) {
            continue;
        }
        g_string_append(out, out->len ? "\n" : "");
        put_node(out, node);
        if (verbose) {
            put_images(out, json_object_get(node, "image"));
        }
    }
    return g_string_free(out, FALSE);
}
