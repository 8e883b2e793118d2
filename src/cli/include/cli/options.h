/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one table of command-line options. argv becomes a configuration tree: under each option's
 * key lies a list of what was given (objects, strings), one merged object, or true. Help,
 * completion, 'did you mean' and QMP's query-command-line-options are derived from the table.
 * Main thread, at start.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/property.h"

typedef enum {
    OPTION_FLAG,    /* no argument; the key becomes true */
    OPTION_STRING,  /* one argument, verbatim: the last wins */
    OPTION_STRINGS, /* verbatim, in a list */
    OPTION_MERGE,   /* key=value,...: several merge into one object */
    OPTION_LIST,    /* key=value,... or JSON: a list of objects */
    OPTION_SET, /* a spelling of something else: 'sets' is parsed as argv words ("-nic" "none") */
} OptionKind;

typedef struct OptionDef {
    const char *name; /* without dashes */
    OptionKind kind;
    const char *key;        /* where it goes in the tree; NULL: the name */
    const char *implied;    /* key of the first bare word */
    const Property *params; /* the arguments, where they are the same for all; checked at parsing */
    const char *sets;       /* OPTION_SET: "-machine accel=kvm"; "%s" is the argument */
    const char *arg;        /* "file=FILE[,if=TYPE]...", for help; NULL: none */
    const char *help;
    const char *example;
    bool nest;                /* dots nest, JSON is accepted */
    const char *const *lists; /* keys that may repeat */
    const char *only;         /* the one argument that there is */
    const char *refused;      /* known from QEMU, not here: why, and what to do instead */
} OptionDef;

const OptionDef *cli_options(void); /* ends with a NULL name */
/* The option that fills this key of the tree with objects; NULL: none. */
const OptionDef *cli_option_for(const char *key);

/*
 * Parses the words after argv[0] into 'config' (an object). What asks for text only (-help,
 * -version, ...) ends up there as well: the caller looks for it first. Positional words go to
 * "image". false and *err: an unknown option, a missing or bad argument.
 */
bool cli_parse(int argc, char **argv, json_t *config, GError **err);
/* -readconfig: QEMU's INI form ([group "id"] / key = "value"). */
bool cli_read_config_file(const char *path, json_t *config, GError **err);
char *cli_help_text(const char *program);
json_t *cli_query_options(const char *option); /* query-command-line-options; NULL: all */

#endif
