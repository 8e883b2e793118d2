/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Vm, to which guest memory, devices and vCPUs belong, its run state, and requests to it. */
#ifndef VM_VM_H
#define VM_VM_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/coroutine.h"
#include "base/event_loop.h"
#include "vm/device.h"
#include "vm/events.h"
#include "vm/irq.h"
#include "vm/memory.h"

typedef struct Vcpu Vcpu;
typedef struct Accel Accel;

/* QMP's RunState. */
#define RUN_STATES(X)                                                                              \
    X(PRELAUNCH, "prelaunch")                                                                      \
    X(RUNNING, "running")                                                                          \
    X(PAUSED, "paused")                                                                            \
    X(SHUTDOWN, "shutdown")                                                                        \
    X(IO_ERROR, "io-error")                                                                        \
    X(INTERNAL_ERROR, "internal-error")                                                            \
    X(GUEST_PANICKED, "guest-panicked")                                                            \
    X(SUSPENDED, "suspended")                                                                      \
    X(WATCHDOG, "watchdog")                                                                        \
    X(SAVE_VM, "save-vm")                                                                          \
    X(RESTORE_VM, "restore-vm")                                                                    \
    X(INMIGRATE, "inmigrate")                                                                      \
    X(POSTMIGRATE, "postmigrate")                                                                  \
    X(FINISH_MIGRATE, "finish-migrate")                                                            \
    X(DEBUG, "debug")
typedef enum {
#define X(id, name) RUN_STATE_##id,
    RUN_STATES(X)
#undef X
        RUN_STATE_COUNT
} RunState;

/* QMP's ShutdownCause. */
#define SHUTDOWN_CAUSES(X)                                                                         \
    X(NONE, "none")                                                                                \
    X(HOST_ERROR, "host-error")                                                                    \
    X(HOST_QMP_QUIT, "host-qmp-quit")                                                              \
    X(HOST_QMP_SYSTEM_RESET, "host-qmp-system-reset")                                              \
    X(HOST_SIGNAL, "host-signal")                                                                  \
    X(HOST_UI, "host-ui")                                                                          \
    X(GUEST_SHUTDOWN, "guest-shutdown")                                                            \
    X(GUEST_RESET, "guest-reset")                                                                  \
    X(GUEST_PANIC, "guest-panic")                                                                  \
    X(SUBSYSTEM_RESET, "subsystem-reset")                                                          \
    X(SNAPSHOT_LOAD, "snapshot-load")
typedef enum {
#define X(id, name) SHUTDOWN_CAUSE_##id,
    SHUTDOWN_CAUSES(X)
#undef X
        SHUTDOWN_CAUSE_COUNT
} ShutdownCause;

typedef enum { REBOOT_ACTION_RESET, REBOOT_ACTION_SHUTDOWN } RebootAction;
typedef enum { SHUTDOWN_ACTION_POWEROFF, SHUTDOWN_ACTION_PAUSE } ShutdownAction;
typedef enum {
    PANIC_ACTION_SHUTDOWN,
    PANIC_ACTION_PAUSE,
    PANIC_ACTION_NONE,
    PANIC_ACTION_EXIT_FAILURE
} PanicAction;
/* QMP's WatchdogAction. */
#define WATCHDOG_ACTIONS(X)                                                                        \
    X(RESET, "reset")                                                                              \
    X(SHUTDOWN, "shutdown")                                                                        \
    X(POWEROFF, "poweroff")                                                                        \
    X(PAUSE, "pause")                                                                              \
    X(DEBUG, "debug")                                                                              \
    X(NONE, "none")                                                                                \
    X(INJECT_NMI, "inject-nmi")
typedef enum {
#define X(id, name) WATCHDOG_ACTION_##id,
    WATCHDOG_ACTIONS(X)
#undef X
        WATCHDOG_ACTION_COUNT
} WatchdogAction;
typedef enum { ERROR_ACTION_PAUSE, ERROR_ACTION_EXIT } ErrorAction;

/* -action. */
typedef struct {
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
    WatchdogAction watchdog;
    ErrorAction error;
} VmActions;

typedef struct {
    unsigned cpus, maxcpus, sockets, dies, cores, threads;
} SmpConfig;

/* The CPU family's functions (vm/vcpu.h). */
typedef struct ArchOps ArchOps;

struct Vm {
    EventLoop *loop; /* the main loop */
    const Accel *accel;
    void *accel_state;
    const ArchOps *arch;
    void *arch_state; /* private to the CPU family */
    char *name;       /* -name */
    uint8_t uuid[16];
    bool uuid_set;
    const struct MachineClass *machine_class; /* opaque below machine/ */
    void *machine;                            /* the board's own struct */
    struct MemoryMap *memory;                 /* memory_internal.h */
    struct IrqRouting *irq;                   /* private to irq.c */
    struct DeviceTree *devices;               /* device_internal.h */
    uint64_t ram_size;
    SmpConfig smp;
    Vcpu **vcpus;
    unsigned vcpu_count;
    struct VcpuSet *vcpu_set;       /* private to vcpu.c */
    RunState state;                 /* written by the main loop, read atomically elsewhere */
    VmActions actions;              /* vm_actions(), vm_set_actions() */
    int failure;                    /* atomic: a VmEnd, why it is in internal-error */
    struct RunControl *run_control; /* run_state.h, private to vm/ */
    struct VmDebug *debug;          /* private to debug.c; NULL: there never was a debugger */
    struct Dump *dump;              /* private to dump.c; NULL: there was none yet */
    struct Ui *ui;                  /* screens and input, made when first used: src/ui */
    void (*ui_free)(struct Ui *ui); /* set with 'ui' */
    int exit_status;                /* vm/end.h */
};

Vm *vm_new(EventLoop *loop);
void vm_free(Vm *vm);

/*
 * Run state. Its owner is run_state.c, which has the table of states, reasons and what ends them.
 * Main loop.
 */
const char *run_state_name(RunState state);
RunState vm_run_state(const Vm *vm);
bool vm_running(const Vm *vm);
/* Whether the guest is in S3, be it under a pause. */
bool vm_asleep(const Vm *vm);
/* Whether the program is about to end: the machine stands, and never goes on. */
bool vm_exiting(const Vm *vm);
/*
 * Pauses: vCPUs out, clock frozen, inputs muted, nothing in flight on any loop. Afterwards all
 * state can be read and written. Emits STOP. In a paused VM the graver of the two reasons stays.
 */
void coroutine_fn vm_pause(Vm *vm, RunState reason);
/*
 * 'cont': ends every reason but those that need a reset, and then the drives' I/O errors too; false
 * and *err otherwise. A guest that was in S3 when it was paused is so again. Emits RESUME.
 */
bool coroutine_fn vm_resume(Vm *vm, GError **err);

/* A reset of everything, now. cause NONE: power-on, no event. */
void coroutine_fn vm_reset(Vm *vm, ShutdownCause cause);
/* The first reset, and the start: in one step, so that a 'stop' that comes meanwhile is the later.
 */
void coroutine_fn vm_power_on(Vm *vm, bool run);

/* Requests from any thread; the main loop carries them out. */
void vm_request_pause(Vm *vm, RunState state);
void vm_request_reset(Vm *vm, ShutdownCause cause);
/* 'status' is the program's (vm/end.h) where the reset ends it, as -action reboot=shutdown has it.
 */
void vm_request_reset_status(Vm *vm, ShutdownCause cause, int status);
/*
 * The end, with status VM_END_POWEROFF or the one given; of several the first counts. A guest's is
 * a pause under -action shutdown=pause, but for isa-debug-exit's.
 */
void vm_request_shutdown(Vm *vm, ShutdownCause cause);
void vm_request_shutdown_status(Vm *vm, ShutdownCause cause, int status);
void vm_request_powerdown(Vm *vm); /* presses the power button */
void vm_request_suspend(Vm *vm);   /* S3 */
void vm_request_wakeup(Vm *vm, const char *why);
void vm_request_nmi(Vm *vm);
/* What went wrong, any thread. -action says what comes of it (actions.c). */
VmActions vm_actions(Vm *vm);
void vm_set_actions(Vm *vm, const VmActions *actions);
/* In the order of their enums; they end with NULL. */
extern const char *const reboot_action_names[],
    *const shutdown_action_names[], *const panic_action_names[], *const watchdog_action_names[],
                                                                     *const failure_action_names[];
void vm_guest_panicked(Vm *vm, const char *info);
void vm_watchdog_fired(Vm *vm);
/* The guest cannot go on: internal-error. 'end' is VM_END_KVM_ERROR or VM_END_HOST_ERROR. */
void vm_failed(Vm *vm, int end);
/* A disk's error stops the machine (werror=stop): io-error. */
void vm_disk_failed(Vm *vm);
/* Main loop: until requests are carried out and their events told; of the end, until it is told. */
void coroutine_fn vm_wait_for_requests(Vm *vm);
const char *shutdown_cause_name(ShutdownCause cause);
extern const char *const run_state_names[], *const shutdown_cause_names[]; /* end with NULL */
bool shutdown_cause_is_guest(ShutdownCause cause);

/*
 * Notifiers, main loop, in a coroutine. The order is that of registration. SHUTDOWN comes when the
 * program ends, and may wait: the machine stands still, the block graph can still be changed, and
 * disks are flushed afterwards. What works in the background (a job) comes to its end there.
 * RUN comes before the first CPU runs, so that what is said then stands before what the guest says.
 */
typedef enum {
    VM_NOTIFY_POWERDOWN,
    VM_NOTIFY_SUSPEND,
    VM_NOTIFY_WAKEUP,
    VM_NOTIFY_RESET,
    VM_NOTIFY_SHUTDOWN,
    VM_NOTIFY_RUN,
    VM_NOTIFY_PAUSE,
    VM_NOTIFY_COUNT
} VmNotify;
typedef void (*VmNotifyFn)(void *data);
void vm_notifier_add(Vm *vm, VmNotify what, VmNotifyFn fn, void *data);
void vm_notifier_remove(Vm *vm, VmNotify what, VmNotifyFn fn, void *data);

/*
 * The machine stands still between a hold and vm_release(): nothing changes the run state, and no
 * device comes or goes. What others ask for meanwhile ('stop', 'cont', a reset, the pause for an
 * I/O error) comes after the release. Nothing of the guest's is in flight. One coroutine does all.
 *
 * vm_hold() stops a machine that runs, whose state is 'as' meanwhile (SAVE_VM, RESTORE_VM), and
 * which goes on at the release; it emits STOP, and RESUME. vm_hold_paused() wants one that stands
 * still already. False and *err: it runs, or the program ends.
 */
bool coroutine_fn vm_hold(Vm *vm, RunState as, GError **err);
bool coroutine_fn vm_hold_paused(Vm *vm, GError **err);
void coroutine_fn vm_release(Vm *vm);

/*
 * The whole machine as a stream: a header, every device's state, an index of memory, its contents.
 * vm_save() and vm_load() are called on the main loop, in a coroutine between a hold and
 * vm_release(), or before the machine starts. The functions of the stream may yield.
 *
 * A load checks device state and index before it changes anything, and that the contents are all
 * there where the stream can tell how much it has left. Where it cannot, only a machine that never
 * ran is loaded. Contents that cannot be read then leave it in 'internal-error', to be reset, or to
 * be loaded again. A load that succeeds ends every reason that only a reset would have ended.
 */
typedef struct VmStream VmStream;
/* Pages of a block, and where their bytes are in the stream, from its beginning. */
typedef struct {
    RamBlock *block;
    uint64_t offset, bytes, pos;
} VmRamPiece;
struct VmStream {
    bool (*write)(VmStream *s, const void *buf, size_t len, GError **err);
    bool (*read)(VmStream *s, void *buf, size_t len, GError **err); /* all of it, or an error */
    /*
     * NULL, or the same for runs of guest memory: the bytes may be taken or come until settle() has
     * returned. That is called at the end of what belongs together, where something failed before,
     * too; false, and an error (err may be NULL): some of it was not moved.
     */
    bool (*write_pages)(VmStream *s, const void *buf, size_t len, GError **err);
    bool (*read_pages)(VmStream *s, void *buf, size_t len, GError **err);
    bool (*settle)(VmStream *s, GError **err);
    /*
     * NULL, or: the next byte that is read or written is the stream's byte number 'pos'. What was
     * saved while the guest ran (save_internal.h) can be read from such a stream alone.
     */
    bool (*seek)(VmStream *s, uint64_t pos, GError **err);
    /*
     * NULL, or loads all of guest memory that is not zeroes, instead of read_pages(): pages may be
     * mapped, and read when they are touched. The pieces ascend in each block; all else in the
     * blocks is zeroes already. settle() follows.
     */
    bool (*load_ram)(VmStream *s, Vm *vm, const VmRamPiece *pieces, unsigned count, GError **err);
    /* What is left to be read. NULL, or false: that is not known. */
    bool (*left)(VmStream *s, uint64_t *bytes);
    /*
     * NULL, or what is loaded beside the machine (its disks go to their snapshot): called once all
     * is checked, after the last step that the machine may refuse. False, and an error: neither
     * has changed.
     */
    bool (*commit)(VmStream *s, GError **err);
};
bool vm_save(Vm *vm, VmStream *out, GError **err);
bool vm_load(Vm *vm, VmStream *in, GError **err);
/* Device state alone, without memory (tests, and what vm_save() writes between the two). */
bool vm_save_devices(Vm *vm, GByteArray *out, GError **err);
bool vm_load_devices(Vm *vm, const uint8_t *data, size_t len, GError **err);
/* A stream over an open file; reads and writes block. */
typedef struct {
    VmStream stream;
    int fd;
} VmFdStream;
void vm_fd_stream_init(VmFdStream *s, int fd);
/* State that belongs to no device (vCPUs), as its owner registers it. */
typedef struct {
    const char *name; /* "cpu" */
    unsigned instance;
    StateDescFn desc;
    bool (*get)(Vm *vm, unsigned instance, void *state, GError **err);
    bool (*set)(Vm *vm, unsigned instance, const void *state, GError **err);
    bool (*check)(Vm *vm, unsigned instance, const void *state, GError **err); /* may be NULL */
} VmStatePart;
void vm_register_state(Vm *vm, const VmStatePart *part); /* copied */

#endif
