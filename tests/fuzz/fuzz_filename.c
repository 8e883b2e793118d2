/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of images, as users and images give them: paths, "PROTOCOL:...", "json:{...}". What comes
 * of a name is options of a node or an error, and the same for a backing file beside any image.
 * Nothing is opened.
 */
#include <stdint.h>
#include <string.h>
#include "base/error.h"
#include "base/json.h"
#include "block/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_config(const char *name, const char *driver)
{
    g_autoptr(GError) err = NULL;
    json_auto_t *tree = block_image_config(name, driver, &err);

    g_assert(!tree == !!err);
    g_assert(!tree || json_is_object(tree));
    g_assert(!tree || !driver || g_str_equal(json_str(tree, "driver"), driver));
}

/* What the name means does not depend on whether it has been looked for in the image's folder. */
static void check_backing(const char *image, const char *backing)
{
    g_autofree char *path = block_resolve_backing(image, backing);
    g_autofree char *again = block_resolve_backing(NULL, path);

    g_assert(g_str_has_suffix(path, backing));
    g_assert(g_str_equal(path, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *name = g_strndup((const char *)data, size);

    check_config(name, NULL);
    check_config(name, "raw");
    check_config(name, "qcow2");
    check_config(name, "host_device");
    check_backing("images/disk.qcow2", name);
    check_backing("/disk.qcow2", name);
    check_backing(name, "base.img");
    return 0;
}
