/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run state: pause, resume, reset, shutdown, and requests for them from any thread. */
#include "run_state.h"

#include "base/error.h"
#include "base/log.h"
#include "block/media.h"
#include "block/parking.h"
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

/* What is asked for, the gravest first: one is carried out at a time, in this order. */
#define REQUESTS(X)                                                                                \
    X(SHUTDOWN, shut_down)                                                                         \
    X(RESET, reset_requested)                                                                      \
    X(SUSPEND, run_state_suspend)                                                                  \
    X(WAKEUP, wake_up)                                                                             \
    X(PAUSE, pause_requested)                                                                      \
    X(POWERDOWN, press_power_button)                                                               \
    X(NMI, send_nmi)
enum {
#define X(id, fn) REQUEST_##id,
    REQUESTS(X)
#undef X
        REQUEST_COUNT
};

/*
 * The owner of the run state. What is wanted is 'reason' and 'asleep', what is the case is
 * 'quiesced' and the vCPUs' own state; run_state_settle() makes the second follow from the first.
 * 'change' is held over every change, and whatever was true before the wait for it is looked at
 * again.
 */
struct RunControl {
    CoMutex change;
    RunState reason; /* why the machine stands still; RUNNING: nothing is in the way */
    bool asleep;     /* S3: the CPUs stand, clocks and devices go on. Outlives a pause. */
    bool quiesced;   /* nothing runs, nothing is in flight, nothing comes in */
    bool exiting;
    bool was_live; /* it has run since the process began */
    /* Requests from any thread. */
    GMutex lock; /* leaf: from here on, but for what the main loop alone touches */
    BottomHalf bh;
    bool working;       /* the coroutine that carries requests out is under way (main loop) */
    CoQueue waiting;    /* who asked, for the end of that (main loop) */
    unsigned requested; /* bits: 1 << REQUEST_* */
    ShutdownCause reset_cause, shutdown_cause;
    RunState pause_state; /* the gravest that was asked for */
    GQueue events;
    /* Main loop. */
    GArray *notifiers[VM_NOTIFY_COUNT];
    VmEventFn listener;
    void *listener_data;
    GArray *parts;
};

/*
 * The run states. A machine stands still for the gravest reason that was given: a lesser one never
 * covers it. 'cont' ends those that need no reset; a reset turns those that do into PAUSED.
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
    } else {
        vcpus_resume(vm);
    }
}

/* Under 'change'. */
static void coroutine_fn run_state_halt(Vm *vm, RunState reason, bool event)
{
    struct RunControl *rc = vm->run_control;
    bool was_live = !rc->quiesced, was_running = vm_running(vm);

    if (states[reason].gravity > states[rc->reason].gravity) {
        rc->reason = reason;
    }
    run_state_settle(vm);
    if (!was_live) {
        return;
    }
    run_state_notify(vm, VM_NOTIFY_PAUSE);
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

/* A pause that was asked for and not carried out yet; RUNNING: none. */
static RunState take_pause(struct RunControl *rc)
{
    RunState state = RUN_STATE_RUNNING;

    g_mutex_lock(&rc->lock);
    if (rc->requested & BIT(REQUEST_PAUSE)) {
        rc->requested &= ~BIT(REQUEST_PAUSE);
        state = rc->pause_state;
    }
    g_mutex_unlock(&rc->lock);
    return state;
}

static void coroutine_fn pause_requested(Vm *vm)
{
    RunState reason;

    co_mutex_lock(&vm->run_control->change);
    reason = take_pause(vm->run_control);
    if (reason != RUN_STATE_RUNNING) {
        run_state_halt(vm, reason, true);
    }
    co_mutex_unlock(&vm->run_control->change);
}

static bool coroutine_fn resume_locked(Vm *vm, GError **err)
{
    struct RunControl *rc = vm->run_control;
    RunState pending = take_pause(rc);

    /* What stopped a CPU a moment ago is not run over. */
    if (pending != RUN_STATE_RUNNING) {
        run_state_halt(vm, pending, true);
    }
    if (rc->exiting) {
        return error_set(err, "the virtual machine is being shut down");
    }
    if (states[rc->reason].needs_reset) {
        return error_set(err, "Resetting the Virtual Machine is required");
    }
    if (rc->reason == RUN_STATE_RUNNING) {
        return true;
    }
    block_io_status_reset_all();
    rc->reason = RUN_STATE_RUNNING;
    run_state_name_it(vm);
    vm_event(vm, VM_EVENT_RESUME, NULL);
    run_state_settle(vm);
    run_state_notify(vm, VM_NOTIFY_RUN);
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

/* What the guest asked for before a reset is forgotten by it. */
static void forget_sleep(struct RunControl *rc)
{
    rc->asleep = false;
    g_mutex_lock(&rc->lock);
    rc->requested &= ~(BIT(REQUEST_SUSPEND) | BIT(REQUEST_WAKEUP) | BIT(REQUEST_NMI));
    g_mutex_unlock(&rc->lock);
}

void coroutine_fn vm_reset(Vm *vm, ShutdownCause cause)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    run_state_quiesce(vm);
    forget_sleep(rc);
    reset_everything(vm, cause == SHUTDOWN_CAUSE_NONE ? RESET_COLD : RESET_WARM);
    log_item(LOG_RESET, "reset: %s", shutdown_cause_name(cause));
    if (cause != SHUTDOWN_CAUSE_NONE) {
        vm_event(vm, VM_EVENT_RESET,
                 json_pack("{s:b,s:s}", "guest", shutdown_cause_is_guest(cause), "reason",
                           shutdown_cause_name(cause)));
    }
    if (states[rc->reason].needs_reset || rc->reason == RUN_STATE_GUEST_PANICKED) {
        rc->reason = RUN_STATE_PAUSED;
    }
    run_state_settle(vm);
    co_mutex_unlock(&rc->change);
}

/* Shutdown. */

static ShutdownCause take_cause(struct RunControl *rc, ShutdownCause *cause)
{
    g_mutex_lock(&rc->lock);
    ShutdownCause taken = *cause;
    *cause = SHUTDOWN_CAUSE_NONE;
    g_mutex_unlock(&rc->lock);
    return taken;
}

static void coroutine_fn power_off(Vm *vm, ShutdownCause cause)
{
    struct RunControl *rc = vm->run_control;
    bool guest = shutdown_cause_is_guest(cause),
         is_reset = cause == SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET;

    vm_event(vm, VM_EVENT_SHUTDOWN,
             json_pack("{s:b,s:s}", "guest", guest, "reason", shutdown_cause_name(cause)));
    /* What asks for the end of the program gets it. */
    if ((guest || is_reset) && vm->shutdown_action == SHUTDOWN_ACTION_PAUSE) {
        vm_pause(vm, RUN_STATE_SHUTDOWN);
        return;
    }
    rc->exiting = true;
    co_queue_wake_all(&rc->waiting);
    co_mutex_lock(&rc->change);
    run_state_halt(vm, RUN_STATE_SHUTDOWN, false);
    co_mutex_unlock(&rc->change);
    device_changes_close(vm);
    run_state_notify(vm, VM_NOTIFY_SHUTDOWN);
    block_flush_all();
    event_loop_quit(vm->loop);
}

static void coroutine_fn shut_down(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    power_off(vm, take_cause(rc, &rc->shutdown_cause));
}

static void coroutine_fn reset_requested(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    ShutdownCause cause = take_cause(rc, &rc->reset_cause);

    /* Whoever asks; a subsystem's reset is no reboot. */
    if (vm->reboot_action == REBOOT_ACTION_SHUTDOWN && cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET) {
        power_off(vm, cause);
    } else {
        vm_reset(vm, cause);
    }
}

/*
 * S3: the CPUs stop; clocks and devices live on, so that an alarm can wake the guest. In a machine
 * that stands still by now, the guest sleeps from the next 'cont' on.
 */
static void coroutine_fn run_state_suspend(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    if (!rc->asleep && !rc->exiting) {
        rc->asleep = true;
        if (!rc->quiesced) {
            run_state_settle(vm);
        }
        run_state_notify(vm, VM_NOTIFY_SUSPEND);
        vm_event(vm, VM_EVENT_SUSPEND, NULL);
    }
    co_mutex_unlock(&rc->change);
}

/* A guest that is awake has no use for it. */
static void coroutine_fn wake_up(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    if (rc->asleep && !rc->exiting) {
        run_state_quiesce(vm);
        reset_everything(vm, RESET_WARM);
        run_state_notify(vm, VM_NOTIFY_WAKEUP);
        rc->asleep = false;
        run_state_name_it(vm);
        vm_event(vm, VM_EVENT_WAKEUP, NULL);
        run_state_settle(vm);
    }
    co_mutex_unlock(&rc->change);
}

static void coroutine_fn press_power_button(Vm *vm)
{
    vm_event(vm, VM_EVENT_POWERDOWN, NULL);
    run_state_notify(vm, VM_NOTIFY_POWERDOWN);
}

static void run_state_nmi(Vcpu *cpu, void *data)
{
    if (cpu->vm->arch->inject_nmi) {
        cpu->vm->arch->inject_nmi(cpu);
    }
}

static void coroutine_fn send_nmi(Vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vcpu_call(vm->vcpus[i], run_state_nmi, NULL);
    }
}

/* Requests. */

/* The gravest that is asked for, or REQUEST_COUNT. A pause is taken by whoever carries it out. */
static unsigned next_request(struct RunControl *rc)
{
    unsigned which = REQUEST_COUNT;

    g_mutex_lock(&rc->lock);
    if (rc->requested && !rc->exiting) {
        which = g_bit_nth_lsf(rc->requested, -1);
        if (which != REQUEST_PAUSE) {
            rc->requested &= ~BIT(which);
        }
    }
    g_mutex_unlock(&rc->lock);
    return which;
}

static void coroutine_fn run_state_carry_out(void *data)
{
    static void (*const carry_out[])(Vm * vm) = {
#define X(id, fn) [REQUEST_##id] = fn,
        REQUESTS(X)
#undef X
    };
    Vm *vm = data;
    unsigned which;

    while ((which = next_request(vm->run_control)) < REQUEST_COUNT) {
        carry_out[which](vm);
    }
    vm->run_control->working = false;
    co_queue_wake_all(&vm->run_control->waiting);
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

/* 'statement' notes what else belongs to the request. */
#define REQUEST(vm, which, statement)                                                              \
    do {                                                                                           \
        struct RunControl *rc = (vm)->run_control;                                                 \
        g_mutex_lock(&rc->lock);                                                                   \
        statement;                                                                                 \
        rc->requested |= BIT(REQUEST_##which);                                                     \
        g_mutex_unlock(&rc->lock);                                                                 \
        bh_schedule(&rc->bh);                                                                      \
    } while (0)

static void note_pause(struct RunControl *rc, RunState state)
{
    bool graver = states[state].gravity > states[rc->pause_state].gravity;

    if (graver || !(rc->requested & BIT(REQUEST_PAUSE))) {
        rc->pause_state = state;
    }
}

void vm_request_pause(Vm *vm, RunState state)
{
    REQUEST(vm, PAUSE, note_pause(rc, state));
}

void vm_request_reset(Vm *vm, ShutdownCause cause)
{
    REQUEST(vm, RESET, rc->reset_cause = cause);
}

void vm_request_shutdown(Vm *vm, ShutdownCause cause)
{
    REQUEST(vm, SHUTDOWN, rc->shutdown_cause = cause);
}

void vm_request_shutdown_status(Vm *vm, ShutdownCause cause, int status)
{
    REQUEST(vm, SHUTDOWN, (vm->exit_status = status, rc->shutdown_cause = cause));
}

void vm_request_powerdown(Vm *vm)
{
    REQUEST(vm, POWERDOWN, (void)0);
}

void vm_request_suspend(Vm *vm)
{
    REQUEST(vm, SUSPEND, (void)0);
}

void vm_request_wakeup(Vm *vm, const char *why)
{
    REQUEST(vm, WAKEUP, (void)0);
    log_item(LOG_RESET, "wake-up: %s", why);
}

void vm_request_nmi(Vm *vm)
{
    REQUEST(vm, NMI, (void)0);
}

static bool run_state_has_requests(struct RunControl *rc)
{
    bool any;

    g_mutex_lock(&rc->lock);
    any = rc->requested != 0;
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

/* The tray of a removable drive was moved, by guest or host: any thread. */
static void tray_moved(BlockBackend *blk, bool open, void *data)
{
    vm_event(data, VM_EVENT_DEVICE_TRAY_MOVED,
             json_pack("{s:s,s:s,s:b}", "device", block_backend_name(blk), "id",
                       block_backend_device(blk), "tray-open", open));
}

void vm_register_state(Vm *vm, const VmStatePart *part)
{
    g_array_append_val(vm->run_control->parts, *part);
}

void run_control_set_asleep(Vm *vm, bool asleep)
{
    g_assert(vm->run_control->quiesced);
    vm->run_control->asleep = asleep;
}

bool run_control_was_live(Vm *vm)
{
    return vm->run_control->was_live;
}

void run_control_spoiled(Vm *vm)
{
    g_assert(vm->run_control->quiesced);
    vm->run_control->reason = RUN_STATE_INTERNAL_ERROR;
    run_state_name_it(vm);
}

bool coroutine_fn vm_hold_paused(Vm *vm, GError **err)
{
    struct RunControl *rc = vm->run_control;

    co_mutex_lock(&rc->change);
    if (rc->quiesced) {
        device_changes_begin(vm);
        return true;
    }
    co_mutex_unlock(&rc->change);
    return error_set(err, "the virtual machine is running; 'stop' it first");
}

void coroutine_fn vm_release_paused(Vm *vm)
{
    device_changes_end(vm);
    co_mutex_unlock(&vm->run_control->change);
}

GArray *run_control_state_parts(Vm *vm)
{
    return vm->run_control->parts;
}

void run_control_init(Vm *vm)
{
    struct RunControl *rc = g_new0(struct RunControl, 1);

    g_mutex_init(&rc->lock);
    co_mutex_init(&rc->change);
    co_queue_init(&rc->waiting);
    g_queue_init(&rc->events);
    bh_init(&rc->bh, vm->loop, run_state_bh_fired, vm);
    for (int i = 0; i < VM_NOTIFY_COUNT; i++) {
        rc->notifiers[i] = g_array_new(FALSE, FALSE, sizeof(Notifier));
    }
    rc->parts = g_array_new(FALSE, FALSE, sizeof(VmStatePart));
    rc->quiesced = true;
    rc->reason = RUN_STATE_PRELAUNCH;
    vm->run_control = rc;
    run_state_name_it(vm);
    virtual_clock_freeze();
    net_mute_all(true);
    char_mute_all(true);
    block_backend_set_stop_hook(block_stopped, vm);
    block_backend_set_tray_hook(tray_moved, vm);
}

void run_control_free(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    deliver_events(vm);
    bh_cancel(&rc->bh);
    block_backend_set_stop_hook(NULL, NULL);
    block_backend_set_tray_hook(NULL, NULL);
    for (int i = 0; i < VM_NOTIFY_COUNT; i++) {
        g_array_unref(rc->notifiers[i]);
    }
    g_array_unref(rc->parts);
    co_mutex_destroy(&rc->change);
    co_queue_destroy(&rc->waiting);
    g_mutex_clear(&rc->lock);
    g_clear_pointer(&vm->run_control, g_free);
}
