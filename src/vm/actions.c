/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of the machine when something has gone wrong with it, as -action says: the guest
 * panics, a watchdog fires, KVM or the host fails. Any thread.
 */
#include "vm/end.h"

#include "base/log.h"
#include "run_state.h"
#include "vm/events.h"

const char *const reboot_action_names[] = {"reset", "shutdown", NULL};
const char *const shutdown_action_names[] = {"poweroff", "pause", NULL};
const char *const panic_action_names[] = {"shutdown", "pause", "none", "exit-failure", NULL};
const char *const failure_action_names[] = {"pause", "exit", NULL};
const char *const watchdog_action_names[] = {
#define X(id, name) [WATCHDOG_ACTION_##id] = name,
    WATCHDOG_ACTIONS(X)
#undef X
        [WATCHDOG_ACTION_COUNT] = NULL,
};

void vm_set_actions(Vm *vm, const VmActions *actions)
{
    __atomic_store_n(&vm->actions.reboot, actions->reboot, __ATOMIC_RELAXED);
    __atomic_store_n(&vm->actions.shutdown, actions->shutdown, __ATOMIC_RELAXED);
    __atomic_store_n(&vm->actions.panic, actions->panic, __ATOMIC_RELAXED);
    __atomic_store_n(&vm->actions.watchdog, actions->watchdog, __ATOMIC_RELAXED);
    __atomic_store_n(&vm->actions.error, actions->error, __ATOMIC_RELAXED);
}

VmActions vm_actions(Vm *vm)
{
    return (VmActions){
        .reboot = __atomic_load_n(&vm->actions.reboot, __ATOMIC_RELAXED),
        .shutdown = __atomic_load_n(&vm->actions.shutdown, __ATOMIC_RELAXED),
        .panic = __atomic_load_n(&vm->actions.panic, __ATOMIC_RELAXED),
        .watchdog = __atomic_load_n(&vm->actions.watchdog, __ATOMIC_RELAXED),
        .error = __atomic_load_n(&vm->actions.error, __ATOMIC_RELAXED),
    };
}

void vm_guest_panicked(Vm *vm, const char *info)
{
    VmActions actions = vm_actions(vm);
    bool pause = actions.panic == PANIC_ACTION_PAUSE || (actions.panic == PANIC_ACTION_SHUTDOWN &&
                                                         actions.shutdown == SHUTDOWN_ACTION_PAUSE);
    bool none = actions.panic == PANIC_ACTION_NONE;

    vm_event(vm, VM_EVENT_GUEST_PANICKED,
             json_pack("{s:s}", "action",
                       none    ? "run"
                       : pause ? "pause"
                               : "poweroff"));
    log_item(LOG_GUEST_ERRORS, "guest panicked%s%s", info ? ": " : "", info ? info : "");
    if (none) {
        return;
    }
    vm_request_pause(vm, RUN_STATE_GUEST_PANICKED);
    if (!pause) {
        vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_GUEST_PANIC, VM_END_PANIC);
    }
}

void vm_watchdog_fired(Vm *vm)
{
    WatchdogAction action = vm_actions(vm).watchdog;

    vm_event(vm, VM_EVENT_WATCHDOG, json_pack("{s:s}", "action", watchdog_action_names[action]));
    switch (action) {
    case WATCHDOG_ACTION_RESET:
        vm_request_reset_status(vm, SHUTDOWN_CAUSE_GUEST_RESET, VM_END_WATCHDOG);
        break;
    case WATCHDOG_ACTION_SHUTDOWN:
        vm_request_powerdown(vm);
        break;
    case WATCHDOG_ACTION_POWEROFF:
        vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_HOST_ERROR, VM_END_WATCHDOG);
        break;
    case WATCHDOG_ACTION_PAUSE:
        vm_request_pause(vm, RUN_STATE_WATCHDOG);
        break;
    case WATCHDOG_ACTION_DEBUG:
        log_info("the guest's watchdog fired");
        break;
    case WATCHDOG_ACTION_NONE:
        break;
    case WATCHDOG_ACTION_INJECT_NMI:
        vm_request_nmi(vm);
        break;
    case WATCHDOG_ACTION_COUNT:
        g_assert_not_reached();
    }
}

static void end_where_asked(Vm *vm, int end)
{
    if (vm_actions(vm).error == ERROR_ACTION_EXIT) {
        vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_HOST_ERROR, end);
    }
}

void vm_failed(Vm *vm, int end)
{
    __atomic_store_n(&vm->failure, end, __ATOMIC_RELAXED);
    vm_request_pause(vm, RUN_STATE_INTERNAL_ERROR);
    end_where_asked(vm, end);
}

void vm_disk_failed(Vm *vm)
{
    vm_request_pause(vm, RUN_STATE_IO_ERROR);
    end_where_asked(vm, VM_END_HOST_ERROR);
}

/* Exit statuses. */

const char *vm_end_text(int status)
{
    switch (status) {
#define X(id, status, help)                                                                        \
    case VM_END_##id:                                                                              \
        return (help);
        VM_ENDS(X)
#undef X
    default:
        return NULL;
    }
}

char *vm_end_help(void)
{
    GString *text = g_string_new(NULL);

#define X(id, status, help) g_string_append_printf(text, "%-4d %s\n", (status), (help));
    VM_ENDS(X)
#undef X
    g_string_append(text, "odd  (value << 1) | 1, of what the guest wrote to isa-debug-exit\n");
    return g_string_free(text, FALSE);
}

bool vm_end_is_guests(int status)
{
    return status & 1;
}

bool vm_end_is_bad(int status)
{
    return status && !vm_end_is_guests(status);
}
