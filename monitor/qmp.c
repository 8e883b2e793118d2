/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: JSON messages (QEMU's docs/interop/qmp-spec.txt). */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "base/qemu_names.h"
#include "base/trace.h"
#include "base/version.h"
#include "internal.h"

enum { DEPTH_MAX = 1024 }; /* as QEMU's */

void qmp_send(Monitor *mon, json_t *message)
{
    g_autofree char *text =
        json_dump_text(message, mon->mode == MONITOR_QMP_PRETTY ? JSON_INDENT(4) : 0);

    g_string_append(mon->out, text);
    g_string_append(mon->out, "\r\n");
    monitor_flush(mon);
    json_decref(message);
}

static const char *error_class(const GError *err)
{
    switch (err->code) {
    case VMM_ERROR_DEVICE_NOT_FOUND:
        return "DeviceNotFound";
    case VMM_ERROR_DEVICE_NOT_ACTIVE:
        return "DeviceNotActive";
    case VMM_ERROR_COMMAND_NOT_FOUND:
        return "CommandNotFound";
    case VMM_ERROR_KVM_MISSING_CAP:
        return "KVMMissingCap";
    default:
        return "GenericError";
    }
}

/* Frees err. Its first line is the error; advice for a person may follow. */
static void reply_error(Monitor *mon, json_t *id, GError *err)
{
    json_t *desc = json_stringn_nocheck(err->message, strcspn(err->message, "\n"));
    json_t *reply = json_pack("{s:{s:s,s:o}}", "error", "class", error_class(err), "desc", desc);

    if (id) {
        json_object_set(reply, "id", id);
    }
    g_error_free(err);
    qmp_send(mon, reply);
}

static void qmp_start_stream(Monitor *mon)
{
    if (!mon->stream) {
        mon->stream = json_stream_new(DEPTH_MAX, JSON_ALLOW_NUL);
    }
}

void qmp_opened(Monitor *mon)
{
    mon->negotiated = mon->oob = false;
    qmp_start_stream(mon);
    qmp_send(mon,
             json_pack("{s:{s:{s:{s:i,s:i,s:i},s:s},s:[s]}}", "QMP", "version", "qemu", "micro",
                       QEMU_VERSION_MICRO, "minor", QEMU_VERSION_MINOR, "major", QEMU_VERSION_MAJOR,
                       "package", "vmm " VMM_VERSION, "capabilities", "oob"));
}

void qmp_closed(Monitor *mon)
{
    mon->negotiated = mon->oob = false;
    g_clear_pointer(&mon->stream, json_stream_free);
}

const MonitorCommand *monitor_find_qmp(const char *name)
{
    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->name && !strcmp(c->name, name)) {
            return c;
        }
    }
    return NULL;
}

/* Whether a string in 'value' has a NUL character, which would end it in C. */
static bool has_nul(json_t *value)
{
    const char *key;
    json_t *item;
    size_t i;

    json_object_foreach(value, key, item)
    {
        if (has_nul(item)) {
            return true;
        }
    }
    json_array_foreach(value, i, item)
    {
        if (has_nul(item)) {
            return true;
        }
    }
    return json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value);
}

/* Checks the members of a request and finds its command. False and *err: it is none. */
static bool check_request(const Monitor *mon, json_t *request, const char **name, bool *oob,
                          GError **err)
{
    const char *key;
    json_t *value, *command = NULL;

    if (!json_is_object(request)) {
        return error_set(err, "QMP input must be a JSON object");
    }
    json_object_foreach(request, key, value)
    {
        if (strcmp(key, "id") && has_nul(value)) {
            return error_set(err, "QMP input member '%s' must not contain a NUL character", key);
        }
        if (!strcmp(key, "execute") || (mon->oob && !strcmp(key, "exec-oob"))) {
            if (!json_is_string(value)) {
                return error_set(err, "QMP input member '%s' must be a string", key);
            }
            if (command) {
                return error_set(err, "QMP input member '%s' clashes with '%s'", "exec-oob",
                                 "execute");
            }
            command = value;
            *oob = !strcmp(key, "exec-oob");
        } else if (!strcmp(key, "arguments")) {
            if (!json_is_object(value)) {
                return error_set(err, "QMP input member 'arguments' must be an object");
            }
        } else if (strcmp(key, "id")) {
            return error_set(err, "QMP input member '%s' is unexpected", key);
        }
    }
    if (!command) {
        return error_set(err, "QMP input lacks member 'execute'");
    }
    *name = json_string_value(command);
    return true;
}

static bool may_run(Monitor *mon, const MonitorCommand *cmd, const char *name, bool oob,
                    GError **err)
{
    bool is_negotiation = !strcmp(name, "qmp_capabilities");

    if (!mon->negotiated && !is_negotiation) {
        return error_set_code(err, VMM_ERROR_COMMAND_NOT_FOUND,
                              "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (!cmd && qemu_name_known(QEMU_QMP, name)) {
        return error_set_code(err, VMM_ERROR_COMMAND_NOT_FOUND,
                              "The command %s has not been found: it is not in this program yet",
                              name);
    }
    if (!cmd || (mon->negotiated && is_negotiation)) {
        return error_set_code(err, VMM_ERROR_COMMAND_NOT_FOUND,
                              is_negotiation
                                  ? "Capabilities negotiation is already complete, command ignored"
                                  : "The command %s has not been found",
                              name);
    }
    if (oob && !(cmd->flags & MONITOR_COMMAND_OOB)) {
        return error_set(err, "The command %s does not support OOB", name);
    }
    return true;
}

static void coroutine_fn run_request(Monitor *mon, json_t *request)
{
    const char *name = NULL;
    bool oob = false;
    GError *err = NULL;
    json_t *args = NULL, *result = NULL, *reply,
           *id = json_is_object(request) ? json_object_get(request, "id") : NULL;
    const MonitorCommand *cmd;

    if (!check_request(mon, request, &name, &oob, &err)) {
        reply_error(mon, id, err);
        return;
    }
    cmd = monitor_find_qmp(name);
    args = json_object_get(request, "arguments");
    args = args ? json_incref(args) : json_object();
    if (may_run(mon, cmd, name, oob, &err) && monitor_check_args(cmd, args, &err)) {
        trace(handle_qmp_command, monitor_label(mon), name, oob);
        result = cmd->run(mon, monitor_vm, args, &err);
    }
    json_decref(args);
    if (err) {
        json_decref(result);
        reply_error(mon, id, err);
        return;
    }
    result = result ? result : json_object();
    monitor_check_result(cmd, result);
    reply = json_pack("{s:o}", "return", result);
    if (id) {
        json_object_set(reply, "id", id);
    }
    qmp_send(mon, reply);
}

static void coroutine_fn run_requests(void *data)
{
    Monitor *mon = data;
    json_t *request;

    while (!monitor_out_full(mon) && (request = g_queue_pop_head(&mon->requests))) {
        run_request(mon, request);
        json_decref(request);
    }
    mon->busy = false;
    char_accept_input(&mon->fe);
}

typedef struct {
    Monitor *mon;
    json_t *request;
} OobRun;

static void coroutine_fn run_oob(void *data)
{
    OobRun *run = data;

    run_request(run->mon, run->request);
    json_decref(run->request);
    g_free(run);
}

static void on_message(void *data, json_t *message, const char *error)
{
    Monitor *mon = data;

    if (!message) {
        GError *err = NULL;

        error_set(&err, "%s", error);
        reply_error(mon, NULL, err);
        return;
    }
    /* exec-oob overtakes queued requests, once the client has enabled the capability. */
    if (mon->oob && json_is_object(message) && json_object_get(message, "exec-oob")) {
        OobRun *run = g_new(OobRun, 1);

        *run = (OobRun){.mon = mon, .request = message};
        coroutine_start(run_oob, run);
        return;
    }
    g_queue_push_tail(&mon->requests, message);
    qmp_go_on(mon);
}

void qmp_go_on(Monitor *mon)
{
    if (!mon->busy && !mon->closing && mon->requests.length && !monitor_out_full(mon)) {
        mon->busy = true;
        coroutine_start(run_requests, mon);
    }
}

void qmp_input(Monitor *mon, const uint8_t *buf, size_t len)
{
    qmp_start_stream(mon);
    json_stream_feed(mon->stream, buf, len, on_message, mon);
}
