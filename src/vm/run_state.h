/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The run state's owner, and what its three files share: the state itself (run_state.c), requests
 * for changes (run_requests.c), who is told of them (notify.c). Private to vm/.
 */
#ifndef VM_RUN_STATE_H
#define VM_RUN_STATE_H

#include "base/coroutine.h"
#include "vm/end.h"
#include "vm/vm.h"

/* Requests, the gravest first: one is carried out at a time, in this order. */
enum {
    REQUEST_SHUTDOWN,
    REQUEST_RESET,
    REQUEST_SUSPEND,
    REQUEST_WAKEUP,
    REQUEST_PAUSE,
    REQUEST_POWERDOWN,
    REQUEST_NMI,
    REQUEST_COUNT
};

/* Who asks for the end, and the program's status then. */
typedef struct {
    ShutdownCause cause;
    int status;
} RunEnd;

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
    bool goes_on;  /* vm_hold() has stopped it: vm_release() lets it go on */
    /* Requests from any thread. */
    GMutex lock; /* leaf: from here on, but for what the main loop alone touches */
    BottomHalf bh;
    bool working;       /* the coroutine that carries requests out is under way (main loop) */
    CoQueue waiting;    /* who asked, for the end of that (main loop) */
    unsigned requested; /* bits: 1 << REQUEST_* */
    RunEnd reset, shutdown;
    RunState pause_state; /* the gravest that was asked for */
    GQueue events;
    /* Main loop. */
    GArray *notifiers[VM_NOTIFY_COUNT];
    VmEventFn listener;
    void *listener_data;
    GArray *parts;
};

void run_control_init(Vm *vm);
void run_control_free(Vm *vm);
/* The parts of a saved state that are no device's. */
GArray *run_control_state_parts(Vm *vm); /* of VmStatePart */
/*
 * A load has made another machine of this one, which is in S3 or not. The former one's guest has
 * nothing to ask for any more, and what it would have had to be reset for is over. The caller holds
 * the machine.
 */
void run_control_loaded(Vm *vm, bool asleep);
/* Whether the machine has run, or lives already: what it would lose is not nothing. */
bool run_control_was_live(Vm *vm);
/*
 * The machine stands still for a moment, of which nobody is told; its state stays as it is named.
 * As between vm_hold() and vm_release(), nothing comes, goes or changes.
 */
void coroutine_fn run_control_still_begin(Vm *vm);
void coroutine_fn run_control_still_end(Vm *vm);
/* A load left it half done: until a reset it does not run. The caller holds it paused. */
void run_control_spoiled(Vm *vm);

/* run_state.c. Main loop. */
/* Whether a machine stands still for 'reason' rather than for 'than'. */
bool run_state_graver(RunState reason, RunState than);
void coroutine_fn run_state_suspend(Vm *vm);
void coroutine_fn run_state_wake_up(Vm *vm);
/* Whether -action shutdown=pause makes a pause of it. */
bool run_end_may_pause(RunEnd end);
void coroutine_fn run_state_power_off(Vm *vm, RunEnd end);
void coroutine_fn run_state_pause_requested(Vm *vm);

/* run_requests.c. */
void run_requests_init(Vm *vm);
void run_requests_free(Vm *vm);
/* A pause that was asked for and not carried out yet, which the caller does; RUNNING: none. */
RunState run_requests_take_pause(Vm *vm);
/* Forgets what the guest asked for before a reset: sleep, wake-up, NMI. */
void run_requests_forget_guest(Vm *vm);

/* notify.c. Main loop. */
void run_notify_init(struct RunControl *rc);
void run_notify_free(struct RunControl *rc);
void run_notify(Vm *vm, VmNotify what);
void run_notify_events(Vm *vm); /* hands the events of other threads to the listener */

#endif
