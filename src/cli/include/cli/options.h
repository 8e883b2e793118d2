/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one table of command-line options. cli_parse() turns argv into a configuration tree: an
 * object that holds, under each option's key, true, a string, a merged object or a list. Help,
 * 'did you mean' and QMP's query-command-line-options are derived from the table. Main thread.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/property.h"

typedef enum {
    OPTION_FLAG,    /* no argument; the key becomes true */
    OPTION_STRING,  /* the key becomes the argument; the last one wins */
    OPTION_STRINGS, /* the argument is appended to a list of strings */
    OPTION_MERGE,   /* key=value,...: several merge into one object */
    OPTION_LIST,    /* key=value,... or JSON: appended to a list of objects */
    OPTION_SET,     /* stands for another option: the words of 'sets' are parsed instead */
} OptionKind;

typedef struct OptionDef {
    const char *name; /* without dashes */
    OptionKind kind;
    const char *key;        /* in the tree; NULL: the name */
    const char *implied;    /* the key that a first word without '=' is the value of */
    const Property *params; /* all keys of the argument, checked at parsing; NULL: any keys */
    const Property *known;  /* without params: keys to tell of, among others */
    /* OPTION_SET: "-machine accel=kvm"; the word "%s" is the argument, "KEY=%s" has it as a value
     */
    const char *sets;
    const char *arg; /* "file=FILE[,if=TYPE]...", for help; NULL: takes no argument */
    const char *help;
    const char *example;
    bool nest;                /* dots in keys make nested objects; JSON is accepted */
    const char *const *lists; /* keys that may repeat; their values become lists */
    const char *only;         /* the only argument that is accepted; NULL: any */
    const char *refused;      /* QEMU's option is not supported: why, and what to use instead */
} OptionDef;

const OptionDef *cli_options(void); /* ends with a NULL name */
/* The option of kind OPTION_LIST or OPTION_MERGE with this key; NULL: none. */
const OptionDef *cli_option_for(const char *key);

/*
 * Parses words into 'config', an object; the program's name is not among them. Words that are no
 * options go to the list "image". -help and its like are only stored; the caller acts on them.
 * false and *err: an unknown option, a missing or bad argument.
 */
bool cli_parse(int argc, char **argv, json_t *config, GError **err);
/* -readconfig: QEMU's INI form ([group "id"] / key = "value"). */
bool cli_read_config_file(const char *path, json_t *config, GError **err);
char *cli_help_text(const char *program);
json_t *cli_query_options(const char *option); /* query-command-line-options; NULL: all options */

#endif
