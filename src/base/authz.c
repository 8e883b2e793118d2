/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/authz.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
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
    json_t *loaded;  /* listfile: its content, which was understood */
    uint64_t number; /* listfile: of all that were made, as an id may come again */
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
     .help = "a file (of at most 1 MiB) with the policy and the rules of an authz-list, as JSON"},
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

/* Whatever another program has put in the file's place must not keep the reader waiting. */
static int listfile_open(const char *filename, GError **err)
{
    return host_open(filename, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
}

/* The text, or NULL. By its offset: a descriptor from a set was perhaps read before. */
static char *listfile_read(int fd, const char *filename, GError **err)
{
    g_autofree char *text = NULL;
    size_t len = 0, size;
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "Could not read '%s'", filename);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(err, "Could not read '%s': a list of who may come in is a regular file",
                  filename);
        return NULL;
    }
    if (st.st_size > AUTHZ_FILE_MAX) {
        error_set(
            err,
            "Could not read '%s': a list of who may come in has at most %d bytes, not %" PRIi64,
            filename, AUTHZ_FILE_MAX, (int64_t)st.st_size);
        return NULL;
    }
    /* What grows meanwhile is half a file, and no JSON. */
    size = st.st_size;
    text = g_malloc(size + 1);
    while (len < size && (n = pread(fd, text + len, size - len, len)) != 0) {
        if (n < 0 && errno != EINTR) {
            error_set_errno(err, errno, "Could not read '%s'", filename);
            return NULL;
        }
        len += MAX(n, 0);
    }
    text[len] = 0;
    return g_steal_pointer(&text);
}

/* The file's content, or NULL: it is none that could be obeyed. Closes the descriptor. */
static json_t *listfile_load(int fd, const char *filename, GError **err)
{
    g_autofree char *text = fd < 0 ? NULL : listfile_read(fd, filename, err);
    json_auto_t *list = text ? json_parse(text, err) : NULL;

    fd_close(&fd);
    if (list && list_check(list, err)) {
        return g_steal_pointer(&list);
    }
    if (text) {
        g_prefix_error(err, "'%s' is no list of who may come in: ", filename);
    }
    return NULL;
}

static bool listfile_complete(Object *obj, GError **err)
{
    static uint64_t made;
    Authz *a = authz_of(obj);

    a->number = ++made;
    a->loaded = listfile_load(listfile_open(a->filename, err), a->filename, err);
    return a->loaded;
}

static void listfile_wipe(Object *obj)
{
    json_decref(g_steal_pointer(&authz_of(obj)->loaded));
}

static bool listfile_decides(json_t *list, const char *filename, const char *identity, GError **err)
{
    return list_allows(json_object_get(list, "rules"), json_str(list, "policy"), identity) ||
           error_set(err, "'%s' denies it", filename);
}

typedef struct {
    const char *filename;
    json_t *list;
    GError **err;
} LoadJob;

static int load_job(void *data)
{
    LoadJob *j = data;

    j->list = listfile_load(listfile_open(j->filename, j->err), j->filename, j->err);
    return 0;
}

/* Read anew each time: whoever took somebody off the list wants that to hold from then on. */
static bool coroutine_fn listfile_allows(Object *obj, const char *identity, GError **err)
{
    const Authz *a = authz_of(obj);
    g_autofree char *id = g_strdup(obj->id), *filename = g_strdup(a->filename);
    uint64_t number = a->number;
    LoadJob job = {.filename = filename, .err = err};
    json_auto_t *list = NULL;

    if (!a->refresh) {
        return listfile_decides(a->loaded, filename, identity, err);
    }
    co_pool_run(load_job, &job);
    list = job.list;
    if (!list) {
        return false;
    }
    obj = object_find(id, &authz_listfile_class, NULL);
    if (!obj || authz_of(obj)->number != number) {
        return error_set(err, "object '%s' was taken away while '%s' was read", id, filename);
    }
    return listfile_decides(list, filename, identity, err);
}

static bool coroutine_fn simple_allows(Object *obj, const char *identity, GError **err)
{
    return strcmp(authz_of(obj)->identity, identity) == 0 ||
           error_set(err, "'%s' denies it", obj->id);
}

static bool coroutine_fn rules_allow(Object *obj, const char *identity, GError **err)
{
    const Authz *a = authz_of(obj);

    return list_allows(a->rules, policy_names[a->policy], identity) ||
           error_set(err, "'%s' denies it", obj->id);
}

bool coroutine_fn authz_allows(const char *id, const char *identity, GError **err)
{
    Object *obj = object_find(id, NULL, NULL);

    if (!obj) {
        return error_set(err, "there is no object '%s' that would say who may come in", id);
    }
    if (!obj->class->allows) {
        return error_set(err, "object '%s' is of type '%s', and does not say who may come in", id,
                         obj->class->name);
    }
    return obj->class->allows(obj, identity, err);
}

const ObjectClass authz_simple_class = {
    .name = "authz-simple",
    .help = "one who may come in",
    .parent = "authz",
    .size = sizeof(Authz),
    .props = simple_props,
    .allows = simple_allows,
};

const ObjectClass authz_list_class = {
    .name = "authz-list",
    .help = "rules that say who may come in",
    .parent = "authz",
    .size = sizeof(Authz),
    .props = list_props,
    .complete = list_complete,
    .allows = rules_allow,
};

const ObjectClass authz_listfile_class = {
    .name = "authz-listfile",
    .help = "the same, from a file",
    .parent = "authz",
    .size = sizeof(Authz),
    .props = listfile_props,
    .complete = listfile_complete,
    .wipe = listfile_wipe,
    .allows = listfile_allows,
};
