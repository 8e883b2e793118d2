/* SPDX-License-Identifier: GPL-2.0-or-later */
/* trace-event-get-state, trace-event-set-state, 'trace-event' and 'info trace-events'. */
#include "base/trace.h"

#include "base/error.h"
#include "base/json.h"
#include "commands.h"

static const char *const state_names[] = {"unavailable", "disabled", "enabled", NULL};

static const Property info_members[] = {MEMBER("name", PROP_STRING),
                                        MEMBER("state", PROP_ENUM, .names = state_names),
                                        MEMBER("vcpu", PROP_BOOL), PROP_END};
const PropertyShape trace_event_result = {.name = "TraceEventInfo", .members = info_members};

#define TRACE_EVENT_VCPU MAYBE("vcpu", PROP_INT64, .help = "for this CPU alone")

const Property trace_event_get_args[] = {
    MEMBER("name", PROP_STRING, .help = "which, or a pattern with '*'"), TRACE_EVENT_VCPU,
    PROP_END};
const Property trace_event_set_args[] = {
    MEMBER("name", PROP_STRING, .help = "which, or a pattern with '*'"),
    MEMBER("enable", PROP_BOOL, .help = "on or off"),
    MAYBE("ignore-unavailable", PROP_BOOL, .help = "none is: changes nothing"), TRACE_EVENT_VCPU,
    PROP_END};
const Property trace_event_hmp_args[] = {
    MEMBER("name", PROP_STRING, .help = "which, or a pattern with '*'"),
    MEMBER("option", PROP_BOOL, .help = "on or off"), TRACE_EVENT_VCPU, PROP_END};
const Property info_trace_events_args[] = {
    MAYBE("name", PROP_STRING, .help = "which, or a pattern with '*'; none: all"), TRACE_EVENT_VCPU,
    PROP_END};

/* The argument 'vcpu', or -1 in *vcpu. False: there is no such CPU. */
static bool trace_vcpu(Vm *vm, json_t *args, int *vcpu, GError **err)
{
    json_t *value = json_object_get(args, "vcpu");
    json_int_t index = value ? json_integer_value(value) : -1;

    *vcpu = -1;
    if (value && (index < 0 || index >= vm->vcpu_count || index >= TRACE_VCPU_MAX)) {
        return error_set(err, "invalid vCPU index %" JSON_INTEGER_FORMAT, index);
    }
    *vcpu = (int)index;
    return true;
}

static bool trace_unknown(const char *name, GError **err)
{
    const char *near = trace_nearest_name(name);

    return error_set(err, "unknown event \"%s\"%s%s%s", name, near ? "; did you mean \"" : "",
                     near ? near : "", near ? "\"?" : "");
}

/*
 * Calls 'fn' for each event that is meant. False and *err: a name that no event has, or the CPU of
 * one that is no CPU's. A pattern passes over such events, and may match none.
 */
static bool trace_foreach(const char *name, int vcpu,
                          void (*fn)(TracePoint p, int vcpu, void *data), void *data, GError **err)
{
    bool pattern = trace_is_pattern(name), found = false;

    for (unsigned i = 0; i < TRACE_POINT_COUNT; i++) {
        if (!trace_matches(i, name)) {
            continue;
        }
        found = true;
        if (vcpu < 0 || trace_is_of_vcpu(i)) {
            fn(i, vcpu, data);
        } else if (!pattern) {
            return error_set(err, "event \"%s\" is not vCPU-specific", name);
        }
    }
    return found || pattern || trace_unknown(name, err);
}

static void trace_add_state(TracePoint p, int vcpu, void *list)
{
    json_array_append_new(list, json_pack("{s:s,s:s,s:b}", "name", trace_name(p), "state",
                                          trace_get(p, vcpu) ? "enabled" : "disabled", "vcpu",
                                          trace_is_of_vcpu(p)));
}

static void trace_enable(TracePoint p, int vcpu, void *data)
{
    trace_set(p, *(bool *)data, vcpu);
}

static json_t *get_states(Vm *vm, const char *name, json_t *args, GError **err)
{
    json_t *list = json_array();
    int vcpu;

    if (!trace_vcpu(vm, args, &vcpu, err) ||
        !trace_foreach(name, vcpu, trace_add_state, list, err)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

MONITOR_HANDLER(cmd_trace_event_get_state)
{
    return get_states(vm, json_str(args, "name"), args, err);
}

MONITOR_HANDLER(cmd_info_trace_events)
{
    const char *name = json_str(args, "name");

    return get_states(vm, name ? name : "*", args, err);
}

MONITOR_PRINTER(print_trace_events)
{
    json_t *event;
    size_t i;

    json_array_foreach(result, i, event)
    {
        monitor_printf(mon, "%s : state %d\n", json_str(event, "name"),
                       g_str_equal(json_str(event, "state"), "enabled"));
    }
}

static json_t *set_states(Vm *vm, json_t *args, const char *key, GError **err)
{
    bool on = json_is_true(json_object_get(args, key));
    int vcpu;

    if (!trace_vcpu(vm, args, &vcpu, err) ||
        !trace_foreach(json_str(args, "name"), vcpu, trace_enable, &on, err)) {
        return NULL;
    }
    return json_object();
}

MONITOR_HANDLER(cmd_trace_event_set_state)
{
    return set_states(vm, args, "enable", err);
}

MONITOR_HANDLER(cmd_trace_event_hmp)
{
    return set_states(vm, args, "option", err);
}
