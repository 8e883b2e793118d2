/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests for changes of the run state, from any thread: bits, which a coroutine on the main loop
 * carries out, the gravest first. And those who make them of themselves: a guest that panics, a
 * disk that fails.
 */
#include "run_state.h"

#include <errno.h>
#include "base/log.h"
#include "base/trace.h"
#include "base/util.h"
#include "net/net.h"
#include "block/export.h"
#include "block/job.h"
#include "block/nbd_server.h"
#include "block/corruption.h"
#include "block/write_threshold.h"
#include "block/media.h"
#include "block/parking.h"
#include "ram_mapped.h"
#include "vm/events.h"
#include "vm/vcpu.h"

RunState run_requests_take_pause(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    RunState state = RUN_STATE_RUNNING;

    g_mutex_lock(&rc->lock);
    if (rc->requested & BIT(REQUEST_PAUSE)) {
        rc->requested &= ~BIT(REQUEST_PAUSE);
        state = rc->pause_state;
    }
    g_mutex_unlock(&rc->lock);
    return state;
}

void run_requests_forget_guest(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    g_mutex_lock(&rc->lock);
    rc->requested &= ~(BIT(REQUEST_SUSPEND) | BIT(REQUEST_WAKEUP) | BIT(REQUEST_NMI));
    g_mutex_unlock(&rc->lock);
}

static RunEnd take_end(struct RunControl *rc, RunEnd *end)
{
    g_mutex_lock(&rc->lock);
    RunEnd taken = *end;
    *end = (RunEnd){SHUTDOWN_CAUSE_NONE, VM_END_POWEROFF};
    g_mutex_unlock(&rc->lock);
    return taken;
}

static void coroutine_fn shut_down(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    run_state_power_off(vm, take_end(rc, &rc->shutdown));
}

static void coroutine_fn reset_requested(Vm *vm)
{
    struct RunControl *rc = vm->run_control;
    RunEnd end = take_end(rc, &rc->reset);

    /* Whoever asks; a subsystem's reset is no reboot. */
    if (vm_actions(vm).reboot == REBOOT_ACTION_SHUTDOWN &&
        end.cause != SHUTDOWN_CAUSE_SUBSYSTEM_RESET) {
        run_state_power_off(vm, end);
    } else {
        vm_reset(vm, end.cause);
    }
}

static void coroutine_fn press_power_button(Vm *vm)
{
    vm_event(vm, VM_EVENT_POWERDOWN, NULL);
    run_notify(vm, VM_NOTIFY_POWERDOWN);
}

static void run_requests_nmi(Vcpu *cpu, void *data)
{
    if (cpu->vm->arch->inject_nmi) {
        cpu->vm->arch->inject_nmi(cpu);
    }
}

static void coroutine_fn send_nmi(Vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vcpu_call(vm->vcpus[i], run_requests_nmi, NULL);
    }
}

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

static void coroutine_fn run_requests_carry_out(void *data)
{
    static void (*const carry_out[REQUEST_COUNT])(Vm * vm) = {
        [REQUEST_SHUTDOWN] = shut_down,
        [REQUEST_RESET] = reset_requested,
        [REQUEST_SUSPEND] = run_state_suspend,
        [REQUEST_WAKEUP] = run_state_wake_up,
        [REQUEST_PAUSE] = run_state_pause_requested,
        [REQUEST_POWERDOWN] = press_power_button,
        [REQUEST_NMI] = send_nmi,
    };
    Vm *vm = data;
    unsigned which;

    while ((which = next_request(vm->run_control)) < REQUEST_COUNT) {
        carry_out[which](vm);
    }
    vm->run_control->working = false;
    co_queue_wake_all(&vm->run_control->waiting);
}

static void run_requests_fired(void *data)
{
    Vm *vm = data;

    run_notify_events(vm);
    if (!vm->run_control->working) {
        vm->run_control->working = true;
        coroutine_start(run_requests_carry_out, vm);
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
    if (run_state_graver(state, rc->pause_state) || !(rc->requested & BIT(REQUEST_PAUSE))) {
        rc->pause_state = state;
    }
}

void vm_request_pause(Vm *vm, RunState state)
{
    trace(vm_pause_request, run_state_name(state));
    REQUEST(vm, PAUSE, note_pause(rc, state));
}

void vm_request_reset(Vm *vm, ShutdownCause cause)
{
    vm_request_reset_status(vm, cause, VM_END_POWEROFF);
}

void vm_request_reset_status(Vm *vm, ShutdownCause cause, int status)
{
    trace(system_reset_request, shutdown_cause_name(cause));
    REQUEST(vm, RESET, rc->reset = ((RunEnd){cause, status}));
}

/* The first counts; but one that would only pause the machine is no end. Under the lock. */
static void note_shutdown(Vm *vm, RunEnd end)
{
    struct RunControl *rc = vm->run_control;
    bool pending = rc->requested & BIT(REQUEST_SHUTDOWN),
         only_pause =
             vm_actions(vm).shutdown == SHUTDOWN_ACTION_PAUSE && run_end_may_pause(rc->shutdown);

    if (!pending || (only_pause && !run_end_may_pause(end))) {
        rc->shutdown = end;
    }
}

void vm_request_shutdown(Vm *vm, ShutdownCause cause)
{
    vm_request_shutdown_status(vm, cause, VM_END_POWEROFF);
}

void vm_request_shutdown_status(Vm *vm, ShutdownCause cause, int status)
{
    trace(qemu_system_shutdown_request, shutdown_cause_name(cause), status);
    REQUEST(vm, SHUTDOWN, note_shutdown(vm, (RunEnd){cause, status}));
}

void vm_request_powerdown(Vm *vm)
{
    trace(qemu_system_powerdown_request, run_state_name(vm_run_state(vm)));
    REQUEST(vm, POWERDOWN, (void)0);
}

void vm_request_suspend(Vm *vm)
{
    trace(system_suspend_request, run_state_name(vm_run_state(vm)));
    REQUEST(vm, SUSPEND, (void)0);
}

void vm_request_wakeup(Vm *vm, const char *why)
{
    trace(system_wakeup_request, why);
    REQUEST(vm, WAKEUP, (void)0);
    log_item(LOG_RESET, "wake-up: %s", why);
}

void vm_request_nmi(Vm *vm)
{
    REQUEST(vm, NMI, (void)0);
}

static bool run_requests_any(struct RunControl *rc)
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

    while (!rc->exiting && (rc->working || run_requests_any(rc))) {
        co_queue_wait(&rc->waiting, NULL);
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
                       "action", actions[action], "nospace", error == ENOSPC, "reason",
                       g_strerror(error)));
    if (action == BLOCK_ERROR_ACTION_STOP) {
        bool memory = error == EFAULT && (ram_any_mapped() || ram_is_lost());

        log_warn("the virtual machine is paused: disk '%s' could not %s: %s%s", device,
                 is_read ? "read" : "write", g_strerror(error),
                 error == ENOSPC ? "; make room and use 'cont'"
                 : memory        ? ": guest memory that is in the image of a snapshot yet cannot "
                                   "be read"
                                 : "");
        vm_disk_failed(vm);
    }
}

/* The tray of a removable drive was moved, by guest or host: any thread. */
static void tray_moved(BlockBackend *blk, bool open, void *data)
{
    vm_event(data, VM_EVENT_DEVICE_TRAY_MOVED,
             json_pack("{s:s,s:s,s:b}", "device", block_backend_name(blk), "id",
                       block_backend_device(blk), "tray-open", open));
}

/* A -netdev stream is connected, or (address NULL) has lost its connection. */
static void net_stream_changed(const char *id, json_t *address, void *data)
{
    if (address) {
        vm_event(data, VM_EVENT_NETDEV_STREAM_CONNECTED,
                 json_pack("{s:s,s:O}", "netdev-id", id, "addr", address));
    } else {
        vm_event(data, VM_EVENT_NETDEV_STREAM_DISCONNECTED, json_pack("{s:s}", "netdev-id", id));
    }
}

static void job_told(const char *event, json_t *data, void *vm)
{
    VmEventId id = vm_event_find(event);

    g_assert(id < VM_EVENT_COUNT);
    vm_event(vm, id, json_incref(data));
}

static void export_deleted(const char *id, void *vm)
{
    vm_event(vm, VM_EVENT_BLOCK_EXPORT_DELETED, json_pack("{s:s}", "id", id));
}

static void coroutine_fn exports_end(void *data)
{
    nbd_server_stop();
    block_export_del_all(NULL);
}

/* A write has gone beyond a node's threshold: any thread. */
static void threshold_exceeded(const char *node, uint64_t exceeded, uint64_t threshold, void *vm)
{
    vm_event(vm, VM_EVENT_BLOCK_WRITE_THRESHOLD,
             json_pack("{s:s,s:I,s:I}", "node-name", node, "amount-exceeded", (json_int_t)exceeded,
                       "write-threshold", (json_int_t)threshold));
}

static void image_corrupted(const char *device, const char *node, const char *text, bool fatal,
                            void *vm)
{
    vm_event(vm, VM_EVENT_BLOCK_IMAGE_CORRUPTED,
             json_pack("{s:s,s:s,s:s,s:b}", "device", device, "node-name", node, "msg", text,
                       "fatal", fatal));
}

static void coroutine_fn jobs_end(void *data)
{
    job_cancel_all_wait();
}

void run_requests_init(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    g_mutex_init(&rc->lock);
    co_queue_init(&rc->waiting);
    bh_init(&rc->bh, vm->loop, run_requests_fired, vm);
    block_backend_set_stop_hook(block_stopped, vm);
    block_backend_set_tray_hook(tray_moved, vm);
    net_set_stream_hook(net_stream_changed, vm);
    job_set_event_handler(job_told, vm);
    block_export_set_deleted_hook(export_deleted, vm);
    vm_notifier_add(vm, VM_NOTIFY_SHUTDOWN, exports_end, NULL);
    block_set_threshold_handler(threshold_exceeded, vm);
    block_set_corruption_handler(vm->loop, image_corrupted, vm);
    vm_notifier_add(vm, VM_NOTIFY_SHUTDOWN, jobs_end, NULL);
}

void run_requests_free(Vm *vm)
{
    struct RunControl *rc = vm->run_control;

    bh_cancel(&rc->bh);
    block_backend_set_stop_hook(NULL, NULL);
    block_backend_set_tray_hook(NULL, NULL);
    net_set_stream_hook(NULL, NULL);
    job_set_event_handler(NULL, NULL);
    block_export_set_deleted_hook(NULL, NULL);
    block_set_threshold_handler(NULL, NULL);
    block_set_corruption_handler(NULL, NULL, NULL);
    co_queue_destroy(&rc->waiting);
    g_mutex_clear(&rc->lock);
}
