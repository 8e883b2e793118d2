/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands on the machine as a whole: run state, negotiation, help. */
#include <string.h>

#include "base/error.h"
#include "base/keyval.h"
#include "base/version.h"
#include "commands.h"

/* Arguments. */

static const char *const capability_names[] = {"oob", NULL};
const Property enable_args[] = {{.name = "enable",
                                 .type = PROP_ENUM,
                                 .names = capability_names,
                                 .help = "capabilities",
                                 .flags = PROP_FLAG_LIST},
                                PROP_END};
const Property hmc_args[] = {
    {.name = "command-line",
     .type = PROP_STRING,
     .help = "an HMP line",
     .flags = PROP_FLAG_REQUIRED},
    {.name = "cpu-index", .type = PROP_UINT32, .help = "the CPU it looks at"},
    PROP_END,
};

MONITOR_HANDLER(cmd_stop)
{
    vm_pause(vm, RUN_STATE_PAUSED);
    return json_object();
}

MONITOR_HANDLER(cmd_cont)
{
    return vm_resume(vm, err) ? json_object() : NULL;
}

/* These commands wait for what they request: its events come before the reply, as with QEMU. */

MONITOR_HANDLER(cmd_system_reset)
{
    vm_request_reset(vm, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    vm_wait_for_requests(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_system_powerdown)
{
    vm_request_powerdown(vm);
    vm_wait_for_requests(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_system_wakeup)
{
    if (vm_run_state(vm) != RUN_STATE_SUSPENDED) {
        error_set(err, "Unable to wake up: guest is not in suspended state");
        return NULL;
    }
    vm_request_wakeup(vm, "monitor");
    vm_wait_for_requests(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_quit)
{
    mon->quitting = true;
    vm_request_shutdown(vm, SHUTDOWN_CAUSE_HOST_QMP_QUIT);
    vm_wait_for_requests(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_nmi)
{
    vm_request_nmi(vm);
    vm_wait_for_requests(vm);
    return json_object();
}

MONITOR_HANDLER(cmd_query_status)
{
    return json_pack("{s:s,s:b,s:b}", "status", run_state_name(vm_run_state(vm)), "singlestep", 0,
                     "running", vm_running(vm));
}

MONITOR_PRINTER(print_status)
{
    const char *status = json_str(result, "status");
    bool running = json_is_true(json_object_get(result, "running"));

    monitor_printf(mon, "VM status: %s", running ? "running" : "paused");
    if (!running && strcmp(status, "paused")) {
        monitor_printf(mon, " (%s)", status);
    }
    monitor_puts(mon, "\n");
}

MONITOR_HANDLER(cmd_query_version)
{
    return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "micro", QEMU_VERSION_MICRO, "minor",
                     QEMU_VERSION_MINOR, "major", QEMU_VERSION_MAJOR, "package",
                     "vmm " VMM_VERSION);
}

MONITOR_PRINTER(print_version)
{
    monitor_printf(mon, QEMU_VERSION "vmm " VMM_VERSION "\n");
}

MONITOR_HANDLER(cmd_qmp_capabilities)
{
    json_t *list = json_object_get(args, "enable"), *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);

        if (!name || strcmp(name, "oob")) {
            error_set(err, "Invalid parameter '%s'", name ? name : "enable");
            return NULL;
        }
        mon->oob = true;
    }
    mon->negotiated = true;
    return json_object();
}

MONITOR_HANDLER(cmd_query_commands)
{
    json_t *out = json_array();

    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->name) {
            json_array_append_new(out, json_pack("{s:s}", "name", c->name));
        }
    }
    return out;
}

MONITOR_HANDLER(cmd_human_monitor)
{
    json_t *cpu = json_object_get(args, "cpu-index");
    g_autofree char *text = NULL;
    Monitor *hmp;

    if (cpu && (json_integer_value(cpu) < 0 || json_integer_value(cpu) >= vm->vcpu_count)) {
        error_set(err, "Parameter 'cpu-index' expects a CPU number");
        return NULL;
    }
    hmp = monitor_new_detached();
    hmp->cpu = json_integer_value(cpu);
    hmp_run_line(hmp, json_str(args, "command-line"));
    /* The names of files in it are any bytes, and JSON is UTF-8. */
    text = g_utf8_make_valid(hmp->out->str, hmp->out->len);
    monitor_free(hmp);
    return json_string(text);
}

/* Help. */

static void vm_cmd_print_help(Monitor *mon, const MonitorCommand *c)
{
    monitor_printf(mon, "%s%s%s %s -- %s\n", c->hmp, c->hmp_alias ? "|" : "",
                   c->hmp_alias ? c->hmp_alias : "", c->hmp_args ? c->hmp_args : "", c->help);
}

static int vm_cmd_by_name(gconstpointer a, gconstpointer b)
{
    const MonitorCommand *const *x = a, *const *y = b;

    return strcmp((*x)->hmp, (*y)->hmp);
}

static void print_helps(Monitor *mon, bool info)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    for (const MonitorCommand *c = monitor_commands(); c->name || c->hmp; c++) {
        if (c->hmp && g_str_has_prefix(c->hmp, "info ") == info) {
            g_ptr_array_add(found, (gpointer)c);
        }
    }
    g_ptr_array_sort(found, vm_cmd_by_name);
    for (unsigned i = 0; i < found->len; i++) {
        vm_cmd_print_help(mon, found->pdata[i]);
    }
}

MONITOR_HANDLER(cmd_info)
{
    print_helps(mon, true);
    return json_object();
}

MONITOR_HANDLER(cmd_help)
{
    g_autofree char *name =
        g_strstrip(g_strdup(json_str(args, "text") ? json_str(args, "text") : ""));
    const char *arguments; /* of a line that the user wants to know about before it is run */
    const MonitorCommand *cmd;

    if (!*name || !strcmp(name, "info")) {
        print_helps(mon, *name);
        return json_object();
    }
    cmd = monitor_find_hmp(name, &arguments);
    if (cmd && (cmd->run != cmd_info || !*arguments)) {
        vm_cmd_print_help(mon, cmd);
        return json_object();
    }
    if (!hmp_name_refused(name, err)) {
        error_set(err, "unknown command: '%s'", name);
    }
    return NULL;
}
