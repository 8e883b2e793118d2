/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules of 'blkdebug' (drivers/blkdebug.h). Requests come from any loop. */
#include "blkdebug.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/host.h"
#include "base/keyval.h"
#include "base/util.h"

/* The longest configuration file. */
enum { CONFIG_MAX = 1024 * 1024 };

#define BLKDEBUG_NAME(id, text) text,
static const char *const event_names[] = {BLOCK_DEBUG_EVENTS(BLKDEBUG_NAME) NULL};
#undef BLKDEBUG_NAME
static const char *const io_names[] = {"read",         "write", "write-zeroes", "discard", "flush",
                                       "block-status", NULL};

#define RULE_EVENT                                                                                 \
    {                                                                                              \
        .name = "event", .type = PROP_ENUM, .offset = offsetof(BlkdebugRule, event),               \
        .names = event_names, .flags = PROP_FLAG_REQUIRED, .help = "at which event"                \
    }
#define RULE_STATE                                                                                 \
    PROP("state", PROP_INT32, BlkdebugRule, state, "0", "in which state (0: in each)")

static const Property inject_props[] = {
    RULE_EVENT,
    RULE_STATE,
    {.name = "iotype",
     .type = PROP_ENUM,
     .offset = offsetof(BlkdebugRule, iotype),
     .names = io_names,
     .flags = PROP_FLAG_HAS,
     .set_offset = offsetof(BlkdebugRule, has_iotype),
     .help = "which requests fail (default: all but block-status)"},
    PROP("errno", PROP_INT32, BlkdebugRule, error, "5", "the error"),
    PROP("sector", PROP_INT64, BlkdebugRule, sector, "-1",
         "only requests that hold this sector fail"),
    PROP("once", PROP_BOOL, BlkdebugRule, once, "off", "one request fails, and then no more"),
    PROP("immediately", PROP_BOOL, BlkdebugRule, immediately, "off",
         "the error comes before the request waits"),
    PROP_END,
};
const PropertyShape blkdebug_inject_shape = {.name = "BlkdebugInjectErrorOptions",
                                             .members = inject_props};

static const Property set_state_props[] = {
    RULE_EVENT,
    RULE_STATE,
    {.name = "new_state",
     .type = PROP_INT32,
     .offset = offsetof(BlkdebugRule, new_state),
     .flags = PROP_FLAG_REQUIRED,
     .help = "the state that follows"},
    PROP_END,
};
const PropertyShape blkdebug_set_state_shape = {.name = "BlkdebugSetStateOptions",
                                                .members = set_state_props};

static void rule_free(void *data)
{
    BlkdebugRule *rule = data;

    g_free(rule->tag);
    g_free(rule);
}

void blkdebug_rules_init(BlkdebugRules *r)
{
    g_mutex_init(&r->guard);
    wait_list_init(&r->suspended);
    r->rules = g_ptr_array_new_with_free_func(rule_free);
    r->state = 1;
}

void blkdebug_rules_destroy(BlkdebugRules *r)
{
    g_assert(!r->waiters); /* each is a request in flight */
    g_ptr_array_unref(r->rules);
    wait_list_destroy(&r->suspended);
    g_mutex_clear(&r->guard);
}

static bool rules_add_one(BlkdebugRules *r, BlkdebugAction action, json_t *tree, GError **err)
{
    const Property *props = action == BLKDEBUG_INJECT ? inject_props : set_state_props;
    BlkdebugRule *rule = g_new0(BlkdebugRule, 1);

    rule->action = action;
    properties_init(props, rule);
    if (!properties_apply(props, rule, tree, NULL,
                          action == BLKDEBUG_INJECT ? "inject-error" : "set-state", err)) {
        rule_free(rule);
        return false;
    }
    if (rule->error < 0 || rule->sector < -1 || rule->sector > INT64_MAX / BLOCK_SECTOR_SIZE) {
        rule_free(rule);
        return error_set(err, "inject-error: 'errno' and 'sector' must not be negative");
    }
    g_ptr_array_add(r->rules, rule);
    return true;
}

bool blkdebug_rules_add(BlkdebugRules *r, BlkdebugAction action, json_t *list, GError **err)
{
    json_t *tree;
    size_t i;

    if (list && !json_is_array(list)) {
        return error_set(err, "Parameter '%s' is a list of rules",
                         action == BLKDEBUG_INJECT ? "inject-error" : "set-state");
    }
    json_array_foreach(list, i, tree)
    {
        if (!rules_add_one(r, action, tree, err)) {
            return false;
        }
    }
    return true;
}

/* The configuration file. */

typedef struct {
    BlkdebugRules *rules;
    BlkdebugAction action;
    json_t *group; /* NULL: before the first */
} Reader;

static bool group_end(Reader *in, GError **err)
{
    bool ok = !in->group || rules_add_one(in->rules, in->action, in->group, err);

    json_decref(g_steal_pointer(&in->group));
    return ok;
}

static bool group_begin(Reader *in, const char *header, GError **err)
{
    g_autofree char *name = g_strndup(header + 1, strcspn(header + 1, "] \""));

    if (!group_end(in, err)) {
        return false;
    }
    if (g_str_equal(name, "inject-error")) {
        in->action = BLKDEBUG_INJECT;
    } else if (g_str_equal(name, "set-state")) {
        in->action = BLKDEBUG_SET_STATE;
    } else {
        return error_set(err, "There is no option group '%s'", name);
    }
    in->group = json_object();
    return true;
}

static bool read_line(Reader *in, char *line, GError **err)
{
    char *equal, *value;

    g_strstrip(line);
    if (!*line || *line == '#') {
        return true;
    }
    if (*line == '[') {
        return group_begin(in, line, err);
    }
    equal = strchr(line, '=');
    value = equal ? g_strchug(equal + 1) : NULL;
    if (!in->group || !value || *value != '"' || !strchr(value + 1, '"')) {
        return error_set(err, "parse error: '%s' is neither '[group]' nor 'key = \"value\"' in one",
                         line);
    }
    *equal = '\0';
    *strchr(value + 1, '"') = '\0';
    /* The keys of JSON are UTF-8. */
    return json_object_set_new(in->group, g_strchomp(line), json_string_nocheck(value + 1)) == 0 ||
           error_set(err, "parse error: the key of '= \"%s\"' is no UTF-8 text", value + 1);
}

bool blkdebug_rules_read(BlkdebugRules *r, const char *path, GError **err)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    Reader in = {.rules = r};
    size_t len;
    bool ok = true;

    text = host_read_file(path, CONFIG_MAX, &len, err);
    if (!text) {
        g_prefix_error(err, "Could not read blkdebug config file: ");
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; ok && lines[i]; i++) {
        ok = read_line(&in, lines[i], err);
        if (!ok) {
            g_prefix_error(err, "%s:%u: ", path, i + 1);
        }
    }
    ok = ok && group_end(&in, err);
    json_decref(in.group);
    return ok;
}

/* Requests. */

static bool rule_applies(const BlkdebugRules *r, const BlkdebugRule *rule, BlockDebugEvent event)
{
    return rule->event == (int)event && (!rule->state || rule->state == r->state);
}

/* The rules that the event makes active take the place of those that were. */
static void rules_activate(BlkdebugRules *r, BlockDebugEvent event)
{
    bool any = false;

    for (unsigned i = 0; i < r->rules->len; i++) {
        BlkdebugRule *rule = r->rules->pdata[i];
        any |= rule->action == BLKDEBUG_INJECT && rule_applies(r, rule, event);
    }
    for (unsigned i = 0; any && i < r->rules->len; i++) {
        BlkdebugRule *rule = r->rules->pdata[i];
        rule->active = rule->action == BLKDEBUG_INJECT && rule_applies(r, rule, event);
    }
}

/* The request waits, by the guard, which is held; the rule is used up. */
static void coroutine_fn rules_suspend(BlkdebugRules *r, char *tag)
{
    BlkdebugWaiter w = {.next = r->waiters, .co = coroutine_self(), .tag = tag};
    BlkdebugWaiter **at;

    r->waiters = &w;
    printf("blkdebug: Suspended request '%s'\n", tag);
    while (!w.resumed) {
        g_mutex_unlock(&r->guard);
        wait_list_wake_all(&r->suspended);
        coroutine_yield();
        g_mutex_lock(&r->guard);
    }
    coroutine_wait_over();
    printf("blkdebug: Resuming request '%s'\n", tag);
    for (at = &r->waiters; *at != &w; at = &(*at)->next) {
    }
    *at = w.next;
    g_free(tag);
}

/* Takes the breakpoint of an event out of the rules; NULL: there is none. */
static char *rules_take_break(BlkdebugRules *r, BlockDebugEvent event)
{
    for (unsigned i = 0; i < r->rules->len; i++) {
        BlkdebugRule *rule = r->rules->pdata[i];
        char *tag;

        if (rule->action == BLKDEBUG_SUSPEND && rule->event == (int)event) {
            tag = g_steal_pointer(&rule->tag);
            g_ptr_array_remove_index(r->rules, i);
            return tag;
        }
    }
    return NULL;
}

void coroutine_fn blkdebug_rules_event(BlkdebugRules *r, BlockDebugEvent event)
{
    int32_t next;
    char *tag;

    g_mutex_lock(&r->guard);
    next = r->state;
    rules_activate(r, event);
    for (unsigned i = r->rules->len; i-- > 0;) { /* the oldest decides */
        const BlkdebugRule *rule = r->rules->pdata[i];
        if (rule->action == BLKDEBUG_SET_STATE && rule_applies(r, rule, event)) {
            next = rule->new_state;
        }
    }
    r->state = next;
    while ((tag = rules_take_break(r, event))) {
        rules_suspend(r, tag);
    }
    g_mutex_unlock(&r->guard);
}

static bool rule_hits(const BlkdebugRule *rule, uint64_t offset, uint64_t bytes, BlkdebugIo io)
{
    uint64_t at = (uint64_t)rule->sector * BLOCK_SECTOR_SIZE;

    if (!rule->active ||
        (rule->has_iotype ? rule->iotype != (int)io : io == BLKDEBUG_BLOCK_STATUS)) {
        return false;
    }
    return rule->sector < 0 || (at >= offset && at - offset < bytes);
}

int coroutine_fn blkdebug_rules_check(BlkdebugRules *r, uint64_t offset, uint64_t bytes,
                                      BlkdebugIo io)
{
    bool immediately = true;
    int error = 0;

    g_mutex_lock(&r->guard);
    for (unsigned i = 0; i < r->rules->len; i++) {
        BlkdebugRule *rule = r->rules->pdata[i];

        if (rule_hits(rule, offset, bytes, io)) {
            error = rule->error;
            immediately = rule->immediately;
            if (rule->once && error) {
                g_ptr_array_remove_index(r->rules, i);
            }
            break;
        }
    }
    g_mutex_unlock(&r->guard);
    if (!immediately && error) {
        coroutine_sleep(CLOCK_REALTIME_NS, 0); /* the loop turns once, as for a request */
    }
    return -error;
}

/* Breakpoints. */

int blkdebug_rules_break(BlkdebugRules *r, const char *event, const char *tag)
{
    for (int i = 0; event_names[i]; i++) {
        if (g_str_equal(event_names[i], event)) {
            BlkdebugRule *rule = g_new0(BlkdebugRule, 1);

            rule->action = BLKDEBUG_SUSPEND;
            rule->event = i;
            rule->tag = g_strdup(tag);
            g_mutex_lock(&r->guard);
            g_ptr_array_add(r->rules, rule);
            g_mutex_unlock(&r->guard);
            return 0;
        }
    }
    return -ENOENT;
}

/* Wakes those that have the tag: one, or all. By the guard, which is held. */
static bool rules_wake(BlkdebugRules *r, const char *tag, bool all)
{
    bool found = false;

    for (BlkdebugWaiter *w = r->waiters; w && (all || !found); w = w->next) {
        if (!w->resumed && g_str_equal(w->tag, tag)) {
            found = w->resumed = true;
            coroutine_wake(w->co);
        }
    }
    return found;
}

int blkdebug_rules_remove_break(BlkdebugRules *r, const char *tag)
{
    bool found = false;

    g_mutex_lock(&r->guard);
    for (unsigned i = r->rules->len; i-- > 0;) {
        const BlkdebugRule *rule = r->rules->pdata[i];
        if (rule->action == BLKDEBUG_SUSPEND && g_str_equal(rule->tag, tag)) {
            g_ptr_array_remove_index(r->rules, i);
            found = true;
        }
    }
    found |= rules_wake(r, tag, true);
    g_mutex_unlock(&r->guard);
    return found ? 0 : -ENOENT;
}

int blkdebug_rules_resume(BlkdebugRules *r, const char *tag)
{
    bool found;

    g_mutex_lock(&r->guard);
    found = rules_wake(r, tag, false);
    g_mutex_unlock(&r->guard);
    return found ? 0 : -ENOENT;
}

static bool rules_has_waiter(BlkdebugRules *r, const char *tag)
{
    bool found = false;

    g_mutex_lock(&r->guard);
    for (const BlkdebugWaiter *w = r->waiters; w; w = w->next) {
        found |= !w->resumed && g_str_equal(w->tag, tag);
    }
    g_mutex_unlock(&r->guard);
    return found;
}

int coroutine_fn blkdebug_rules_wait(BlkdebugRules *r, const char *tag)
{
    wait_list_until(&r->suspended, rules_has_waiter(r, tag));
    return 0;
}
