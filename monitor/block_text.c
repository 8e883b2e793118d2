/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block_text.h"

#include <glib.h>
#include <string.h>

#include "base/keyval.h"
#include "block/image.h"

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
        /* Before each but the first of all, as QEMU has it: even where one alone is shown. */
        g_string_append(out, i ? "\n" : "");
        put_node(out, node);
        if (verbose) {
            put_images(out, json_object_get(node, "image"));
        }
    }
    return g_string_free(out, FALSE);
}
