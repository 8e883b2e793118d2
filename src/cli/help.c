/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -help and query-command-line-options, derived from the table of options. */
#include <string.h>

#include "base/log.h"
#include "cli/options.h"
#include "vm/end.h"

/* Wraps at 79 columns, with the text from column 24 on. */
static void cli_help_describe(GString *out, const OptionDef *o)
{
    g_autofree char *head =
        g_strdup_printf("-%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    g_auto(GStrv) words = g_strsplit(o->help, " ", -1);
    unsigned column = 24;

    g_string_append_printf(out, strlen(head) < 23 ? "%-24s" : "%s\n%24s", head, "");
    for (char **w = words; *w; w++) {
        if (column > 24 && column + strlen(*w) > 79) {
            g_string_append_printf(out, "\n%24s", "");
            column = 24;
        }
        g_string_append_printf(out, "%s%s", column > 24 ? " " : "", *w);
        column += strlen(*w) + (column > 24);
    }
    g_string_append_c(out, '\n');
    if (o->example) {
        g_string_append_printf(out, "%24se.g. %s\n", "", o->example);
    }
}

char *cli_help_text(const char *program)
{
    g_autofree char *ends = vm_end_help();
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "usage: %s [options] [disk_image]\n\n", program);
    g_string_append(out, "A virtual machine on Linux KVM, with QEMU's command line and monitors.\n"
                         "'disk_image' is a hard disk image for the first disk\n\n");
    for (const OptionDef *o = cli_options(); o->name; o++) {
        if (!o->refused) {
            cli_help_describe(out, o);
        }
    }
    g_string_append(out, "\nIn -nographic mode:\n"
                         "ctrl-a h        help on the keys\n"
                         "ctrl-a x        exit\n"
                         "ctrl-a c        between console and monitor\n"
                         "ctrl-a ctrl-a   send ctrl-a\n");
    g_string_append_printf(out, "\nExit status:\n%s", ends);
    return g_string_free(out, FALSE);
}

static const char *qmp_type(const Property *p)
{
    switch (p->type) {
    case PROP_BOOL:
        return "boolean";
    case PROP_SIZE:
    case PROP_SIZE_MIB:
        return "size";
    case PROP_UINT32:
    case PROP_INT32:
        return "number";
    default:
        return "string";
    }
}

json_t *cli_query_options(const char *option)
{
    json_t *out = json_array();

    for (const OptionDef *o = cli_options(); o->name; o++) {
        json_t *params;

        if (o->refused || (o->kind != OPTION_LIST && o->kind != OPTION_MERGE) ||
            (o->key && !o->params) || (option && strcmp(option, o->key ? o->key : o->name))) {
            continue;
        }
        params = json_array();
        for (const Property *p = o->params ? o->params : o->known; p && p->name; p++) {
            json_array_append_new(params, json_pack("{s:s,s:s,s:s}", "name", p->name, "type",
                                                    qmp_type(p), "help", p->help));
        }
        json_array_append_new(
            out, json_pack("{s:s,s:o}", "option", o->key ? o->key : o->name, "parameters", params));
    }
    return out;
}
