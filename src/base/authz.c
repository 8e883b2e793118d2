/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/authz.h"

#include <string.h>
#include "base/error.h"
#include "base/host.h"
#include "base/json.h"
#include "base/shape.h"
#include "base/util.h"

enum { AUTHZ_FILE_MAX = 1 << 20 };

/* QAPI's QAuthZListPolicy and QAuthZListFormat. */
static const char *const policy_names[] = {"deny", "allow", NULL};
static const char *const format_names[] = {"exact", "glob", NULL};

static const Property rule_members[] = {
    MEMBER("match", PROP_STRING),
    MEMBER("policy", PROP_ENUM, .names = policy_names),
    MAYBE("format", PROP_ENUM, .names = format_names),
    PROP_END,
};
static const PropertyShape rule_shape = {.name = "QAuthZListRule", .members = rule_members};

typedef struct {
    Object obj;
    char *identity; /* simple */
    int policy;     /* list: index into policy_names */
    json_t *rules;  /* list; NULL: none */
    char *filename; /* listfile */
    bool refresh;
    json_t *loaded; /* listfile: its content, which was understood */
} Authz;

static const Property simple_props[] = {
    {.name = "identity",
     .type = PROP_STRING,
     .offset = offsetof(Authz, identity),
     .flags = PROP_FLAG_REQUIRED,
     .help = "who may come in: the distinguished name of a client's certificate"},
    PROP_END,
};

#define LIST_PROPS                                                                                 \
    PROP_E("policy", Authz, policy, "deny", policy_names, "what holds where no rule matches"),     \
    {                                                                                              \
        .name = "rules", .type = PROP_TREE, .offset = offsetof(Authz, rules),                      \
        .flags = PROP_FLAG_LIST, .shape = &rule_shape,                                             \
        .help = "rules.N.match, .policy (allow, deny) and .format (exact, glob): the first that "  \
                "matches decides"                                                                  \
    }

static const Property list_props[] = {LIST_PROPS, PROP_END};
static const PropertyShape list_shape = {.name = "AuthZListProperties", .members = list_props};

static const Property listfile_props[] = {
    {.name = "filename",
     .type = PROP_STRING,
     .offset = offsetof(Authz, filename),
     .flags = PROP_FLAG_REQUIRED,
     .help = "a file with the policy and the rules of an authz-list, as JSON"},
    PROP("refresh", PROP_BOOL, Authz, refresh, "on", "look at the file each time"),
    PROP_END,
};

static Authz *authz_of(Object *obj)
{
    return container_of(obj, Authz, obj);
}

/* What decides of one list. */
static bool list_allows(json_t *rules, const char *policy, const char *identity)
{
    json_t *rule;
    size_t i;

    json_array_foreach(rules, i, rule)
    {
        const char *match = json_str(rule, "match");
        bool matches = g_strcmp0(json_str(rule, "format"), "glob") == 0
                           ? g_pattern_match_simple(match, identity)
                           : strcmp(match, identity) == 0;

        if (matches) {
            policy = json_str(rule, "policy");
            break;
        }
    }
    return g_strcmp0(policy, "allow") == 0;
}

static bool list_check(json_t *list, GError **err)
{
    return shape_check(&list_shape, list, NULL, err);
}

static bool list_complete(Object *obj, GError **err)
{
    const Authz *a = authz_of(obj);
    json_auto_t *list = json_object();

    if (a->rules) {
        json_object_set(list, "rules", a->rules);
    }
    return list_check(list, err);
}

/* The file's content, or NULL: it is none that could be obeyed. */
static json_t *listfile_load(const Authz *a, GError **err)
{
    g_autofree char *text = host_read_file(a->filename, AUTHZ_FILE_MAX, NULL, err);
    json_auto_t *list = text ? json_parse(text, err) : NULL;

    if (list && list_check(list, err)) {
        return g_steal_pointer(&list);
    }
    if (text) {
        g_prefix_error(err, "'%s' is no list of who may come in: ", a->filename);
    }
    return NULL;
}

static bool listfile_complete(Object *obj, GError **err)
{
    Authz *a = authz_of(obj);

    a->loaded = listfile_load(a, err);
    return a->loaded;
}

static void listfile_wipe(Object *obj)
{
    json_decref(g_steal_pointer(&authz_of(obj)->loaded));
}

/* Read anew each time: whoever took somebody off the list wants that to hold from then on. */
static bool listfile_allows(const Authz *a, const char *identity, GError **err)
{
    json_auto_t *list = a->refresh ? listfile_load(a, err) : json_incref(a->loaded);

    return list &&
           (list_allows(json_object_get(list, "rules"), json_str(list, "policy"), identity) ||
            error_set(err, "'%s' denies it", a->filename));
}

bool authz_allows(const char *id, const char *identity, GError **err)
{
    Object *obj = object_find(id, NULL, NULL);
    const Authz *a = obj ? authz_of(obj) : NULL;

    if (!obj) {
        return error_set(err, "there is no object '%s' that would say who may come in", id);
    }
    if (obj->class == &authz_simple_class) {
        return strcmp(a->identity, identity) == 0 || error_set(err, "'%s' denies it", id);
    }
    if (obj->class == &authz_list_class) {
        return list_allows(a->rules, policy_names[a->policy], identity) ||
               error_set(err, "'%s' denies it", id);
    }
    if (obj->class == &authz_listfile_class) {
        return listfile_allows(a, identity, err);
    }
    return error_set(err, "object '%s' is of type '%s', and does not say who may come in", id,
                     obj->class->name);
}

const ObjectClass authz_simple_class = {
    .name = "authz-simple",
    .help = "one who may come in",
    .parent = "authz",
    .size = sizeof(Authz),
    .props = simple_props,
};

const ObjectClass authz_list_class = {
    .name = "authz-list",
    .help = "rules that say who may come in",
    .parent = "authz",
    .size = sizeof(Authz),
    .props = list_props,
    .complete = list_complete,
};

const ObjectClass authz_listfile_class = {
    .name = "authz-listfile",
    .help = "the same, from a file",
    .parent = "authz",
    .size = sizeof(Authz),
    .props = listfile_props,
    .complete = listfile_complete,
    .wipe = listfile_wipe,
};
