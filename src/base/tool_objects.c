/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of those -object classes that tools have as well, and their option --object. */
#include <string.h>

#include "base/authz.h"
#include "base/keyval.h"
#include "base/object.h"
#include "base/qemu_names.h"
#include "base/secret.h"
#include "base/tls.h"

const ObjectClass *const object_base_classes[] = {
    &authz_simple_class,   &authz_list_class,    &authz_listfile_class, &secret_class,
    &tls_creds_anon_class, &tls_creds_psk_class, &tls_creds_x509_class, NULL,
};

static char *object_list_help(void)
{
    GString *out = g_string_new("List of user creatable objects:\n");

    for (const ObjectClass *const *c = object_classes(); *c; c++) {
        g_string_append_printf(out, "  %s\n", (*c)->name);
    }
    return g_string_free(out, FALSE);
}

static char *object_class_help(json_t *config, GError **err)
{
    const ObjectClass *class = object_class_of(config, err);
    GString *out;

    if (!class) {
        return NULL;
    }
    out = g_string_new(NULL);
    g_string_printf(out, "%s options:\n", class->name);
    if (class->props) {
        properties_help(class->props, out);
    }
    return g_string_free(out, FALSE);
}

bool object_option(const char *text, char **help, GError **err)
{
    json_auto_t *config = NULL;
    const char *type;

    *help = NULL;
    if (keyval_is_help(text)) {
        *help = object_list_help();
        return true;
    }
    config = *text == '{' ? json_parse(text, err) : keyval_parse(text, "qom-type", NULL, true, err);
    if (!config) {
        return false;
    }
    type = json_str(config, "qom-type");
    if (*text != '{' && json_object_get(config, "help")) {
        *help = type ? object_class_help(config, err) : object_list_help();
        return *help != NULL;
    }
    return object_create(config, err) != NULL;
}
