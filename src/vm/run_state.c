/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run state: pause, resume, reset, shutdown, and requests for them from any thread. */
#include "run_state.h"

#include "base/error.h"
#include "base/log.h"
#include "block/backend.h"
#include "chardev/chardev.h"
#include "net/net.h"
#include "vm/vcpu.h"

typedef struct {
    VmNotifyFn fn;
    void *data;
} Notifier;

typedef struct {
    const VmEvent *event;
    json_t *data;
} PendingEvent;

struct RunControl {
    GMutex lock; /* leaf: requests and events */
    BottomHalf bh;
    bool working;    /* the coroutine that carries requests out is under way */
    CoQueue waiting; /* of who asked */
    CoMutex state;   /* one change of the run state at a time */
    /* Requests. */
    bool want_powerdown, want_suspend, want_wakeup, want_pause, want_nmi;
    ShutdownCause want_reset, want_shutdown;
    RunState pause_state;
    char *wakeup_reason;
    bool quiesced;
    bool exiting;
    GArray *notifiers[VM_NOTIFY_COUNT];
    GQueue events;
    VmEventFn listener;
    void *listener_data;
    GArray *parts;
};

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

static void set_state(Vm *vm, RunState state)
{
    __atomic_store_n(&vm->state, state, __ATOMIC_RELAXED);
}

bool vm_running(const Vm *vm)
{
    return vm_run_state(vm) == RUN_STATE_RUNNING;
}

/* Notifiers. */

void vm_notifier_add(Vm *vm, VmNotify what, VmNotifyFn fn, void *data)
{
    Notifier n = {.fn = fn, .data = data};

    g_array_append_val(vm->run_control->notifiers[what], n);
}

void vm_notifier_remove(Vm *vm, VmNotify what, VmNotifyFn fn, void *data)
{
    GArray *list = vm->run_control->notifiers[what];

    for (unsigned i = 0; i < list->len; i++) {
        Notifier *n = &g_array_index(list, Notifier, i);

        if (n->fn == fn && n->data == data) {
            g_array_remove_index(list, i);
            return;
        }
    }
}

static void run_state_notify(Vm *vm, VmNotify what)
{
    GArray *list = vm->run_control->notifiers[what];

    for (unsigned i = 0; i < list->len; i++) {
        Notifier n = g_array_index(list, Notifier, i);

        n.fn(n.data);
    }
}

/* Events. */

static void deliver_events(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    PendingEvent *e;

    for (;;) {
        g_mutex_lock(&rc->lock);
        e = g_queue_pop_head(&rc->events);
        g_mutex_unlock(&rc->lock);
        if (!e) {
            return;
        }
        if (rc->listener) {
            rc->listener(e->event, e->data, rc->listener_data);
        }
        json_decref(e->data);
        g_free(e);
    }
}

/* A mistake of whoever sends the event, who is still on the stack here. */
static void check_event(VmEventId id, json_t *data)
{
#ifdef VMM_CHECK_REPLIES
    g_autoptr(GError) err = NULL;

    if (!vm_event_check(id, data, &err)) {
        g_error("event %s is not as the table of events says: %s", vm_event_info(id)->name,
                err->message);
    }
#endif
}

void vm_event(Vm *vm, VmEventId id, json_t *data)
{
    struct RunControl *rc = vm->run_control;
    PendingEvent *e = g_new(PendingEvent, 1);

    check_event(id, data);
    e->event = vm_event_info(id);
    e->data = data;
    g_mutex_lock(&rc->lock);
    g_queue_push_tail(&rc->events, e);
    g_mutex_unlock(&rc->lock);
    if (event_loop_in_thread(vm->loop)) {
        deliver_events(vm);
    } else {
        bh_schedule(&rc->bh);
    }
}

void vm_set_event_listener(Vm *vm, VmEventFn fn, void *user)
{
    vm->run_control->listener = fn;
    vm->run_control->listener_data = user;
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

static void coroutine_fn run_state_quiesce(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    bool running = false;

    if (rc->quiesced) {
        return;
    }
    vcpus_pause(vm);
    virtual_clock_freeze();
    device_foreach(vm, tell_device, &running);
    net_mute_all(true);
    char_mute_all(true);
    block_drain_all_begin();
    block_drain_all_end();
    rc->quiesced = true;
}

static void run_state_unquiesce(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    bool running = true;

    if (!rc->quiesced) {
        return;
    }
    rc->quiesced = false;
    virtual_clock_thaw();
    char_mute_all(false);
    net_mute_all(false);
    device_foreach(vm, tell_device, &running);
    vcpus_resume(vm);
}

static void coroutine_fn pause_locked(Vm *vm, RunState state, bool event)
{
    bool was_running = vm_running(vm);

    if (was_running || vm_run_state(vm) == RUN_STATE_SUSPENDED) {
        run_state_quiesce(vm);
        set_state(vm, state);
        run_state_notify(vm, VM_NOTIFY_PAUSE);
        block_flush_all();
        if (event && was_running) {
            vm_event(vm, VM_EVENT_STOP, NULL);
        }
    } else {
        set_state(vm, state);
    }
}

void coroutine_fn vm_pause(Vm *vm, RunState state)
{
    co_mutex_lock(&vm->run_control->state);
    pause_locked(vm, state, true);
    co_mutex_unlock(&vm->run_control->state);
}

bool coroutine_fn vm_resume(Vm *vm, GError **err)
{
    struct RunControl *rc = vm->run_control;
    RunState state = vm_run_state(vm);

    if (state == RUN_STATE_RUNNING || state == RUN_STATE_SUSPENDED) {
        return true;
    }
    if (state == RUN_STATE_SHUTDOWN || state == RUN_STATE_INTERNAL_ERROR) {
        return error_set(err, "Resetting the Virtual Machine is required");
    }
    if (rc->exiting) {
        return error_set(err, "the virtual machine is being shut down");
    }
    co_mutex_lock(&rc->state);
    set_state(vm, RUN_STATE_RUNNING);
    vm_event(vm, VM_EVENT_RESUME, NULL);
    run_state_unquiesce(vm);
    run_state_notify(vm, VM_NOTIFY_RUN);
    co_mutex_unlock(&rc->state);
    return true;
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
    if (cpu->vm->arch && cpu->vm->arch->vcpu_reset) {
        cpu->vm->arch->vcpu_reset(cpu);
    }
}

static void coroutine_fn reset_everything(Vm *vm, ResetKind kind)
{
    device_foreach(vm, run_state_reset_device, &kind);
    run_state_notify(vm, VM_NOTIFY_RESET);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vcpu_call(vm->vcpus[i], reset_vcpu, NULL);
    }
}

void coroutine_fn vm_reset(Vm *vm, ShutdownCause cause)
{
    RunState state;
    bool resume;

    co_mutex_lock(&vm->run_control->state);
    state = vm_run_state(vm);
    resume = state == RUN_STATE_RUNNING || state == RUN_STATE_SUSPENDED;
    run_state_quiesce(vm);
    reset_everything(vm, cause == SHUTDOWN_CAUSE_NONE ? RESET_COLD : RESET_WARM);
    log_item(LOG_RESET, "reset: %s", shutdown_cause_name(cause));
    if (cause != SHUTDOWN_CAUSE_NONE) {
        vm_event(vm, VM_EVENT_RESET,
                 json_pack("{s:b,s:s}", "guest", shutdown_cause_is_guest(cause), "reason",
                           shutdown_cause_name(cause)));
    }
    if (state == RUN_STATE_SHUTDOWN || state == RUN_STATE_INTERNAL_ERROR ||
        state == RUN_STATE_GUEST_PANICKED) {
        set_state(vm, RUN_STATE_PAUSED);
    }
    if (resume) {
        set_state(vm, RUN_STATE_RUNNING);
        run_state_unquiesce(vm);
    }
    co_mutex_unlock(&vm->run_control->state);
}

/* Shutdown. */

static void coroutine_fn shut_down(Vm *vm, ShutdownCause cause)
{
    bool guest = shutdown_cause_is_guest(cause),
         is_reset = cause == SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET;

    vm_event(vm, VM_EVENT_SHUTDOWN,
             json_pack("{s:b,s:s}", "guest", guest, "reason", shutdown_cause_name(cause)));
    /* What asks for the end of the program gets it. */
    if ((guest || is_reset) && vm->shutdown_action == SHUTDOWN_ACTION_PAUSE) {
        vm_pause(vm, RUN_STATE_SHUTDOWN);
        return;
    }
    vm->run_control->exiting = true;
    co_queue_wake_all(&vm->run_control->waiting);
    co_mutex_lock(&vm->run_control->state);
    pause_locked(vm, RUN_STATE_SHUTDOWN, false);
    co_mutex_unlock(&vm->run_control->state);
    run_state_notify(vm, VM_NOTIFY_SHUTDOWN);
    block_flush_all();
    event_loop_quit(vm->loop);
}

/* S3: the CPUs stop; clocks and devices live on, so that an alarm can wake the guest. */
static void coroutine_fn run_state_suspend(Vm *vm)
{
    if (!vm_running(vm)) {
        return;
    }
    co_mutex_lock(&vm->run_control->state);
    vcpus_pause(vm);
    set_state(vm, RUN_STATE_SUSPENDED);
    run_state_notify(vm, VM_NOTIFY_SUSPEND);
    vm_event(vm, VM_EVENT_SUSPEND, NULL);
    co_mutex_unlock(&vm->run_control->state);
}

static void coroutine_fn wake_up(Vm *vm)
{
    if (vm_run_state(vm) != RUN_STATE_SUSPENDED) {
        return;
    }
    co_mutex_lock(&vm->run_control->state);
    run_state_quiesce(vm);
    reset_everything(vm, RESET_WARM);
    run_state_notify(vm, VM_NOTIFY_WAKEUP);
    set_state(vm, RUN_STATE_RUNNING);
    vm_event(vm, VM_EVENT_WAKEUP, NULL);
    run_state_unquiesce(vm);
    co_mutex_unlock(&vm->run_control->state);
}

/* Requests. */

typedef struct {
    bool powerdown, suspend, wakeup, pause, nmi;
    ShutdownCause reset, shutdown;
    RunState pause_state;
} Requests;

static Requests take_requests(struct RunControl *rc)
{
    Requests r;

    g_mutex_lock(&rc->lock);
    r = (Requests){
        .powerdown = rc->want_powerdown,
        .suspend = rc->want_suspend,
        .wakeup = rc->want_wakeup,
        .pause = rc->want_pause,
        .nmi = rc->want_nmi,
        .reset = rc->want_reset,
        .shutdown = rc->want_shutdown,
        .pause_state = rc->pause_state,
    };
    rc->want_powerdown = rc->want_suspend = rc->want_wakeup = rc->want_pause = rc->want_nmi = false;
    rc->want_reset = rc->want_shutdown = SHUTDOWN_CAUSE_NONE;
    g_mutex_unlock(&rc->lock);
    return r;
}

static void run_state_nmi(Vcpu *cpu, void *data)
{
    if (cpu->vm->arch->inject_nmi) {
        cpu->vm->arch->inject_nmi(cpu);
    }
}

static void coroutine_fn run_state_carry_out(void *data)
{
    Vm *vm = data;
    struct RunControl *rc = vm->run_control;

    for (;;) {
        Requests r = take_requests(rc);

        if (r.shutdown) {
            shut_down(vm, r.shutdown);
        } else if (r.reset) {
            /* Whoever asks; a subsystem's reset is no reboot. */
            if (vm->reboot_action == REBOOT_ACTION_SHUTDOWN &&
                r.reset != SHUTDOWN_CAUSE_SUBSYSTEM_RESET) {
                shut_down(vm, r.reset);
            } else {
                vm_reset(vm, r.reset);
            }
        } else if (r.wakeup) {
            wake_up(vm);
        } else if (r.suspend) {
            run_state_suspend(vm);
        } else if (r.pause) {
            vm_pause(vm, r.pause_state);
        } else if (r.powerdown) {
            vm_event(vm, VM_EVENT_POWERDOWN, NULL);
            run_state_notify(vm, VM_NOTIFY_POWERDOWN);
        } else if (r.nmi) {
            for (unsigned i = 0; i < vm->vcpu_count; i++) {
                vcpu_call(vm->vcpus[i], run_state_nmi, NULL);
            }
        } else {
            break;
        }
        /* One at a time, the gravest first; the others stay for the next turn. */
        g_mutex_lock(&rc->lock);
        if (!r.shutdown) {
            rc->want_powerdown |= r.powerdown && (r.reset || r.wakeup || r.suspend || r.pause);
            rc->want_pause |= r.pause && (r.reset || r.wakeup || r.suspend);
            rc->want_nmi |= r.nmi && (r.reset || r.wakeup || r.suspend || r.pause || r.powerdown);
        }
        g_mutex_unlock(&rc->lock);
    }
    rc->working = false;
    co_queue_wake_all(&rc->waiting);
}

static void run_state_bh_fired(void *data)
{
    Vm *vm = data;

    deliver_events(vm);
    if (!vm->run_control->working) {
        vm->run_control->working = true;
        coroutine_start(run_state_carry_out, vm);
    }
}

#define REQUEST(vm, statement)                                                                     \
    do {                                                                                           \
        struct RunControl *rc = (vm)->run_control;                                                 \
        g_mutex_lock(&rc->lock);                                                                   \
        statement;                                                                                 \
        g_mutex_unlock(&rc->lock);                                                                 \
        bh_schedule(&rc->bh);                                                                      \
    } while (0)

void vm_request_pause(Vm *vm, RunState state)
{
    REQUEST(vm, (rc->want_pause = true, rc->pause_state = state));
}

void vm_request_reset(Vm *vm, ShutdownCause cause)
{
    REQUEST(vm, rc->want_reset = cause);
}

void vm_request_shutdown(Vm *vm, ShutdownCause cause)
{
    REQUEST(vm, rc->want_shutdown = cause);
}

void vm_request_shutdown_status(Vm *vm, ShutdownCause cause, int status)
{
    REQUEST(vm, (vm->exit_status = status, rc->want_shutdown = cause));
}

void vm_request_powerdown(Vm *vm)
{
    REQUEST(vm, rc->want_powerdown = true);
}

void vm_request_suspend(Vm *vm)
{
    REQUEST(vm, rc->want_suspend = true);
}

void vm_request_wakeup(Vm *vm, const char *why)
{
    REQUEST(vm, rc->want_wakeup = true);
    log_item(LOG_RESET, "wake-up: %s", why);
}

void vm_request_nmi(Vm *vm)
{
    REQUEST(vm, rc->want_nmi = true);
}

static bool run_state_has_requests(struct RunControl *rc)
{
    bool any;

    g_mutex_lock(&rc->lock);
    any = rc->want_powerdown || rc->want_suspend || rc->want_wakeup || rc->want_pause ||
          rc->want_nmi || rc->want_reset || rc->want_shutdown;
    g_mutex_unlock(&rc->lock);
    return any;
}

void coroutine_fn vm_wait_for_requests(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    while (!rc->exiting && (rc->working || run_state_has_requests(rc))) {
        co_queue_wait(&rc->waiting, NULL);
    }
}

void vm_guest_panicked(Vm *vm, const char *info)
{
    bool pause =
        vm->panic_action == PANIC_ACTION_PAUSE ||
        (vm->panic_action == PANIC_ACTION_SHUTDOWN && vm->shutdown_action == SHUTDOWN_ACTION_PAUSE);
    bool none = vm->panic_action == PANIC_ACTION_NONE;

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
        if (vm->panic_action == PANIC_ACTION_EXIT_FAILURE) {
            vm_request_shutdown_status(vm, SHUTDOWN_CAUSE_GUEST_PANIC, 1);
        } else {
            vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_PANIC);
        }
    }
}

/* A disk that stops the machine (werror=stop): any thread. */
static void block_stopped(BlockBackend *blk, bool is_read, int error, BlockErrorAction action,
                          void *data)
{
    static const char *const actions[] = {"report", "ignore", "stop"};
    Vm *vm = data;
    BlockNode *node = block_backend_node(blk);
    const char *device = block_backend_name(blk);

    vm_event(vm, VM_EVENT_BLOCK_IO_ERROR,
             json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "device", device, "node-name",
                       node ? node->opts.node_name : "", "operation", is_read ? "read" : "write",
                       "action", actions[action], "nospace", error == 28, "reason",
                       g_strerror(error)));
    if (action == BLOCK_ERROR_ACTION_STOP) {
        log_warn("the virtual machine is paused: disk '%s' could not %s: %s%s", device,
                 is_read ? "read" : "write", g_strerror(error),
                 error == 28 ? "; make room and use 'cont'" : "");
        vm_request_pause(vm, RUN_STATE_IO_ERROR);
    }
}

void vm_register_state(Vm *vm, const VmStatePart *part)
{
    g_array_append_val(vm->run_control->parts, *part);
}

GArray *run_control_state_parts(Vm *vm)
{
    return vm->run_control->parts;
}

void run_control_init(Vm *vm)
{
    struct RunControl *rc = g_new0(struct RunControl, 1);

    g_mutex_init(&rc->lock);
    co_mutex_init(&rc->state);
    co_queue_init(&rc->waiting);
    g_queue_init(&rc->events);
    bh_init(&rc->bh, vm->loop, run_state_bh_fired, vm);
    for (int i = 0; i < VM_NOTIFY_COUNT; i++) {
        rc->notifiers[i] = g_array_new(FALSE, FALSE, sizeof(Notifier));
    }
    rc->parts = g_array_new(FALSE, FALSE, sizeof(VmStatePart));
    rc->quiesced = true;
    vm->run_control = rc;
    vm->state = RUN_STATE_PRELAUNCH;
    virtual_clock_freeze();
    net_mute_all(true);
    char_mute_all(true);
    block_backend_set_stop_hook(block_stopped, vm);
}

void run_control_free(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    deliver_events(vm);
    bh_cancel(&rc->bh);
    block_backend_set_stop_hook(NULL, NULL);
    for (int i = 0; i < VM_NOTIFY_COUNT; i++) {
        g_array_unref(rc->notifiers[i]);
    }
    g_array_unref(rc->parts);
    co_mutex_destroy(&rc->state);
    co_queue_destroy(&rc->waiting);
    g_mutex_clear(&rc->lock);
    g_free(rc->wakeup_reason);
    g_clear_pointer(&vm->run_control, g_free);
}
