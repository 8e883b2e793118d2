/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run state: pause, resume, sleep, reset, shutdown. */
#include "run_state.h"
#include "ram_mapped.h"

#include "base/error.h"
#include "base/log.h"
#include "base/trace.h"
#include "block/media.h"
#include "block/backend.h"
#include "block/graph.h"
#include "block/parking.h"
#include "chardev/chardev.h"
#include "net/net.h"
#include "vm/debug.h"
#include "vm/vcpu.h"

/*
 * The run states. A machine stands still for the gravest reason that was given: a lesser one never
 * covers it. 'cont' ends those that need no reset; a reset turns all into PRELAUNCH.
 */
static const struct {
    uint8_t gravity; /* 0: no reason to stand still */
    bool needs_reset;
} states[] = {
    [RUN_STATE_RUNNING] = {0},
    [RUN_STATE_SUSPENDED] = {0},
    [RUN_STATE_PRELAUNCH] = {1},
    [RUN_STATE_PAUSED] = {1},
    [RUN_STATE_DEBUG] = {1},
    [RUN_STATE_SAVE_VM] = {1},
    [RUN_STATE_RESTORE_VM] = {1},
    [RUN_STATE_INMIGRATE] = {1},
    [RUN_STATE_FINISH_MIGRATE] = {1},
    [RUN_STATE_POSTMIGRATE] = {1},
    [RUN_STATE_IO_ERROR] = {2},
    [RUN_STATE_WATCHDOG] = {3},
    [RUN_STATE_GUEST_PANICKED] = {4},
    [RUN_STATE_SHUTDOWN] = {5, .needs_reset = true},
    [RUN_STATE_INTERNAL_ERROR] = {6, .needs_reset = true},
};
G_STATIC_ASSERT(ARRAY_SIZE(states) == RUN_STATE_COUNT);

const char *const run_state_names[] = {
#define X(id, name) [RUN_STATE_##id] = name,
    RUN_STATES(X)
#undef X
        [RUN_STATE_COUNT] = NULL,
};
const char *const shutdown_cause_names[] = {
#define X(id, name) [SHUTDOWN_CAUSE_##id] = name,
    SHUTDOWN_CAUSES(X)
#undef X
        [SHUTDOWN_CAUSE_COUNT] = NULL,
};

bool run_state_graver(RunState reason, RunState than)
{
    return states[reason].gravity > states[than].gravity;
}

const char *run_state_name(RunState state)
{
    return run_state_names[state];
}

const char *shutdown_cause_name(ShutdownCause cause)
{
    return shutdown_cause_names[cause];
}

bool shutdown_cause_is_guest(ShutdownCause cause)
{
    return cause >= SHUTDOWN_CAUSE_GUEST_SHUTDOWN && cause <= SHUTDOWN_CAUSE_GUEST_PANIC;
}

RunState vm_run_state(const Vm *vm)
{
    return __atomic_load_n(&vm->state, __ATOMIC_RELAXED);
}

bool vm_running(const Vm *vm)
{
    return vm_run_state(vm) == RUN_STATE_RUNNING;
}

bool vm_asleep(const Vm *vm)
{
    return vm->run_control->asleep;
}

bool vm_exiting(const Vm *vm)
{
    return vm->run_control->exiting;
}

/* Quiet: nothing runs, nothing is in flight, nothing comes in. */

static void tell_device(Device *dev, void *data)
{
    if (dev->realized && dev->class->run_state) {
        device_lock(dev);
        dev->class->run_state(dev, *(bool *)data);
        device_unlock(dev);
    }
}

static void coroutine_fn drain_device(Device *dev, void *data)
{
    if (dev->realized && dev->class->drain) {
        dev->class->drain(dev);
    }
}

static void coroutine_fn run_state_quiesce(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    bool running = false;

    if (rc->quiesced) {
        return;
    }
    vcpus_pause(vm);
    vm_debug_disarm(vm);
    /* A CPU on its way out may wait for a device that leaves: the CPUs come first. */
    device_changes_begin(vm);
    virtual_clock_freeze();
    device_foreach(vm, tell_device, &running);
    net_mute_all(true);
    char_mute_all(true);
    /*
     * What the I/O threads were doing when they were muted may still submit; what completes may
     * still interrupt. Both are done with before anything is saved. So are requests that another
     * coroutine's drain holds (block_resize): they are in no saved state.
     */
    event_loops_settle();
    block_settle_all();
    device_foreach(vm, drain_device, NULL);
    event_loops_settle();
    device_changes_end(vm);
    rc->quiesced = true;
    trace(vm_state_notify, false, run_state_name(rc->reason));
}

static void coroutine_fn run_state_unquiesce(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    bool running = true;

    if (!rc->quiesced) {
        return;
    }
    device_changes_begin(vm);
    rc->quiesced = false;
    trace(vm_state_notify, true, run_state_name(rc->reason));
    virtual_clock_thaw();
    char_mute_all(false);
    net_mute_all(false);
    device_foreach(vm, tell_device, &running);
    device_changes_end(vm);
}

/* The name of the state follows from what is wanted. */
static void run_state_name_it(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    RunState state = rc->reason;

    if (state == RUN_STATE_RUNNING && rc->asleep) {
        state = RUN_STATE_SUSPENDED;
    }
    if (state != vm_run_state(vm)) {
        trace(runstate_set, run_state_name(vm_run_state(vm)), run_state_name(state));
    }
    __atomic_store_n(&vm->state, state, __ATOMIC_RELAXED);
}

/* Makes the machine run, sleep or stand still, as reason and asleep want it. Under 'change'. */
static void coroutine_fn run_state_settle(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    if (rc->reason != RUN_STATE_RUNNING) {
        run_state_quiesce(vm);
        run_state_name_it(vm);
        return;
    }
    run_state_name_it(vm);
    rc->was_live = true;
    run_state_unquiesce(vm);
    if (rc->asleep) {
        vcpus_pause(vm);
        vm_debug_disarm(vm);
    } else {
        vm_debug_arm(vm);
        vcpus_resume(vm);
    }
}

/* Under 'change'. */
static void coroutine_fn run_state_halt(Vm *vm, RunState reason, bool event)
{
    struct RunControl *rc = vm->run_control;
    bool was_live = !rc->quiesced, was_running = vm_running(vm);

    if (run_state_graver(reason, rc->reason)) {
        rc->reason = reason;
    }
    run_state_settle(vm);
    if (!was_live) {
        return;
    }
    run_notify(vm, VM_NOTIFY_PAUSE);
    block_flush_all();
    if (event && was_running) {
        vm_event(vm, VM_EVENT_STOP, NULL);
    }
}

void coroutine_fn vm_pause(Vm *vm, RunState reason)
{
    co_mutex_lock(&vm->run_control->change);
    run_state_halt(vm, reason, true);
    co_mutex_unlock(&vm->run_control->change);
}

void coroutine_fn run_state_pause_requested(Vm *vm)
{
    RunState reason;

    co_mutex_lock(&vm->run_control->change);
    reason = run_requests_take_pause(vm);
    if (reason != RUN_STATE_RUNNING) {
        run_state_halt(vm, reason, true);
    }
    co_mutex_unlock(&vm->run_control->change);
}

/* Under 'change'. */
static void coroutine_fn run_state_go_on(Vm *vm)
{
    vm->run_control->reason = RUN_STATE_RUNNING;
    run_state_name_it(vm);
    vm_event(vm, VM_EVENT_RESUME, NULL);
    run_notify(vm, VM_NOTIFY_RUN);
    run_state_settle(vm);
}

static bool coroutine_fn resume_locked(Vm *vm, GError **err)
{
    struct RunControl *rc = vm->run_control;
    RunState pending = run_requests_take_pause(vm);

    /* What stopped a CPU a moment ago is not run over. */
    if (pending != RUN_STATE_RUNNING) {
        run_state_halt(vm, pending, true);
    }
    if (rc->exiting) {
        return error_set(err, "the virtual machine is being shut down");
    }
    if (states[rc->reason].needs_reset || ram_is_lost()) {
        return error_set(err, "Resetting the Virtual Machine is required");
    }
    if (rc->reason == RUN_STATE_RUNNING) {
        return true;
    }
    block_io_status_reset_all();
    ram_fault_retry();
    run_state_go_on(vm);
    return true;
}

bool coroutine_fn vm_resume(Vm *vm, GError **err)
{
    bool ok;

    co_mutex_lock(&vm->run_control->change);
    ok = resume_locked(vm, err);
    co_mutex_unlock(&vm->run_control->change);
    return ok;
}

/* Reset. */

static void run_state_reset_device(Device *dev, void *data)
{
    /* A bus resets what sits on it: start at the roots only. */
    if (dev->realized && !dev->bus && !dev->parent) {
        device_reset(dev, *(ResetKind *)data);
    }
}

static void reset_vcpu(Vcpu *cpu, void *data)
{
    trace(guest_cpu_reset, cpu->index, *(ResetKind *)data == RESET_COLD);
    if (cpu->vm->arch && cpu->vm->arch->vcpu_reset) {
        cpu->vm->arch->vcpu_reset(cpu);
    }
}

static void coroutine_fn reset_everything(Vm *vm, ResetKind kind)
{
    device_foreach(vm, run_state_reset_device, &kind);
    run_notify(vm, VM_NOTIFY_RESET);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vcpu_call(vm->vcpus[i], reset_vcpu, &kind);
    }
}

/* Another machine was loaded: what needed a reset, or went wrong inside of the guest, is over. */
static void run_state_made_anew(struct RunControl *rc)
{
    if (states[rc->reason].needs_reset || rc->reason == RUN_STATE_GUEST_PANICKED) {
        rc->reason = RUN_STATE_PAUSED;
    }
}

static void coroutine_fn reset_locked(Vm *vm, ShutdownCause cause)
{
    struct RunControl *rc = vm->run_control;

    run_state_quiesce(vm);
    rc->asleep = false;
    run_requests_forget_guest(vm);
    trace(vm_reset, shutdown_cause_name(cause));
    ram_fault_reset(vm);
    reset_everything(vm, cause == SHUTDOWN_CAUSE_NONE ? RESET_COLD : RESET_WARM);
    log_item(LOG_RESET, "reset: %s", shutdown_cause_name(cause));
    if (cause != SHUTDOWN_CAUSE_NONE) {
        vm_event(vm, VM_EVENT_RESET,
                 json_pack("{s:b,s:s}", "guest", shutdown_cause_is_guest(cause), "reason",
                           shutdown_cause_name(cause)));
    }
    /* A machine that stands still is as it was before its start, as with QEMU. */
    if (rc->reason != RUN_STATE_RUNNING && rc->reason != RUN_STATE_INMIGRATE &&
        rc->reason != RUN_STATE_FINISH_MIGRATE) {
        rc->reason = RUN_STATE_PRELAUNCH;
    }
    run_state_settle(vm);
}

void coroutine_fn vm_reset(Vm *vm, ShutdownCause cause)
{
    co_mutex_lock(&vm->run_control->change);
    reset_locked(vm, cause);
    co_mutex_unlock(&vm->run_control->change);
}

void coroutine_fn vm_power_on(Vm *vm, bool run)
{
    co_mutex_lock(&vm->run_control->change);
    reset_locked(vm, SHUTDOWN_CAUSE_NONE);
    if (run) {
        resume_locked(vm, NULL);
    }
    co_mutex_unlock(&vm->run_control->change);
}

/* Shutdown. */

bool run_end_may_pause(RunEnd end)
{
    bool is_reset = end.cause == SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET;

    return (shutdown_cause_is_guest(end.cause) || is_reset) && !vm_end_is_guests(end.status);
}

/* A machine that stood still because something was wrong has not ended well, whoever ends it. */
static int exit_status(Vm *vm, RunEnd end)
{
    if (end.status != VM_END_POWEROFF) {
        return end.status;
    }
    switch (vm->run_control->reason) {
    case RUN_STATE_INTERNAL_ERROR:
        return vm->failure ? vm->failure : VM_END_HOST_ERROR;
    case RUN_STATE_IO_ERROR:
        return VM_END_HOST_ERROR;
    case RUN_STATE_GUEST_PANICKED:
        return VM_END_PANIC;
    case RUN_STATE_WATCHDOG:
        return VM_END_WATCHDOG;
    default:
        return VM_END_POWEROFF;
    }
}

void coroutine_fn run_state_power_off(Vm *vm, RunEnd end)
{
    struct RunControl *rc = vm->run_control;
    bool guest = shutdown_cause_is_guest(end.cause);
    const char *text = vm_end_is_bad(end.status) ? vm_end_text(end.status) : NULL;
    Timer *patience;

    vm_event(vm, VM_EVENT_SHUTDOWN,
             json_pack("{s:b,s:s}", "guest", guest, "reason", shutdown_cause_name(end.cause)));
    /* What asks for the end of the program gets it. */
    if (run_end_may_pause(end) && vm_actions(vm).shutdown == SHUTDOWN_ACTION_PAUSE) {
        vm_pause(vm, RUN_STATE_SHUTDOWN);
        return;
    }
    rc->exiting = true;
    vm->exit_status = exit_status(vm, end);
    if (text && (guest || end.cause == SHUTDOWN_CAUSE_HOST_ERROR)) {
        log_error("%s", text);
    }
    /* A server that does not answer must not keep the program from its end. */
    patience = block_end_timer_new();
    co_queue_wake_all(&rc->waiting);
    co_mutex_lock(&rc->change);
    run_state_halt(vm, RUN_STATE_SHUTDOWN, false);
    co_mutex_unlock(&rc->change);
    device_changes_close(vm);
    run_notify(vm, VM_NOTIFY_SHUTDOWN);
    block_flush_all();
    block_changes_close();
    timer_free(patience);
    event_loop_quit(vm->loop);
}

/*
 * S3: the CPUs stop; clocks and devices live on, so that an alarm can wake the guest. In a machine
 * that stands still by now, the guest sleeps from the next 'cont' on.
 */
void coroutine_fn run_state_suspend(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    if (!rc->asleep && !rc->exiting) {
        rc->asleep = true;
        if (!rc->quiesced) {
            run_state_settle(vm);
        }
        run_notify(vm, VM_NOTIFY_SUSPEND);
        vm_event(vm, VM_EVENT_SUSPEND, NULL);
    }
    co_mutex_unlock(&rc->change);
}

/* A guest that is awake has no use for it. */
void coroutine_fn run_state_wake_up(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    if (rc->asleep && !rc->exiting) {
        run_state_quiesce(vm);
        reset_everything(vm, RESET_WARM);
        run_notify(vm, VM_NOTIFY_WAKEUP);
        rc->asleep = false;
        run_state_name_it(vm);
        vm_event(vm, VM_EVENT_WAKEUP, NULL);
        run_state_settle(vm);
    }
    co_mutex_unlock(&rc->change);
}

void vm_register_state(Vm *vm, const VmStatePart *part)
{
    g_array_append_val(vm->run_control->parts, *part);
}

void run_control_loaded(Vm *vm, bool asleep)
{
    struct RunControl *rc = vm->run_control;

    g_assert(rc->quiesced);
    rc->asleep = asleep;
    run_requests_forget_guest(vm);
    run_state_made_anew(rc);
    run_state_name_it(vm);
}

bool run_control_was_live(Vm *vm)
{
    return vm->run_control->was_live;
}

void run_control_spoiled(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    g_assert(rc->quiesced);
    rc->reason = RUN_STATE_INTERNAL_ERROR;
    rc->goes_on = false;
    run_state_name_it(vm);
}

void coroutine_fn run_control_still_begin(Vm *vm)
{
    co_mutex_lock(&vm->run_control->change);
    run_state_quiesce(vm);
    device_changes_begin(vm);
}

void coroutine_fn run_control_still_end(Vm *vm)
{
    device_changes_end(vm);
    run_state_settle(vm);
    co_mutex_unlock(&vm->run_control->change);
}

/* 'as' NULL: the machine has to stand still already. */
static bool coroutine_fn hold_begin(Vm *vm, const RunState *as, GError **err)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    if (rc->exiting) {
        error_set(err, "the virtual machine is being shut down");
    } else if (!as && !rc->quiesced) {
        error_set(err, "the virtual machine is running; 'stop' it first");
    } else {
        rc->goes_on = rc->reason == RUN_STATE_RUNNING;
        if (rc->goes_on) {
            run_state_halt(vm, *as, true);
        }
        device_changes_begin(vm);
        return true;
    }
    co_mutex_unlock(&rc->change);
    return false;
}

bool coroutine_fn vm_hold(Vm *vm, RunState as, GError **err)
{
    return hold_begin(vm, &as, err);
}

bool coroutine_fn vm_hold_paused(Vm *vm, GError **err)
{
    return hold_begin(vm, NULL, err);
}

void coroutine_fn vm_release(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    RunState pending;

    device_changes_end(vm);
    if (rc->goes_on) {
        rc->goes_on = false;
        pending = run_requests_take_pause(vm);
        if (pending == RUN_STATE_RUNNING && !rc->exiting) {
            run_state_go_on(vm);
        } else {
            /* What stopped a CPU or a disk meanwhile is not run over. */
            rc->reason = rc->exiting ? rc->reason : pending;
            run_state_name_it(vm);
            run_notify(vm, VM_NOTIFY_PAUSE);
        }
    }
    co_mutex_unlock(&rc->change);
}

GArray *run_control_state_parts(Vm *vm)
{
    return vm->run_control->parts;
}

void run_control_init(Vm *vm)
{
    struct RunControl *rc = g_new0(struct RunControl, 1);

    vm->run_control = rc;
    co_mutex_init(&rc->change);
    run_notify_init(rc);
    run_requests_init(vm);
    rc->parts = g_array_new(FALSE, FALSE, sizeof(VmStatePart));
    rc->quiesced = true;
    rc->reason = RUN_STATE_PRELAUNCH;
    run_state_name_it(vm);
    virtual_clock_freeze();
    net_mute_all(true);
    char_mute_all(true);
}

void run_control_free(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    run_notify_events(vm);
    run_requests_free(vm);
    run_notify_free(rc);
    g_array_unref(rc->parts);
    co_mutex_destroy(&rc->change);
    g_clear_pointer(&vm->run_control, g_free);
}
