/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vCPU threads: running, stopping, and calls into them. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/reclaim.h"
#include "base/trace.h"
#include "memory_internal.h"
#include "vcpu_internal.h"
#include "vm/debug.h"
#include "vm/end.h"

/* Interrupts KVM_RUN and a sleep; its handler does nothing. */
#define SIG_KICK SIGUSR1

typedef struct {
    void (*fn)(Vcpu *cpu, void *data);
    void *data;
    Coroutine *co; /* the one that waits, or NULL: a thread that waits at cpu->cond */
    bool waits;    /* the caller owns this struct and waits for 'done' */
    bool done;     /* under cpu->lock */
} Call;

struct VcpuSet {
    int hold;          /* atomic: > 0: nobody enters KVM_RUN */
    GMutex hold_mutex; /* leaf */
    GCond hold_cond;
    /* The pause that waits for all to stop. */
    GMutex pause_mutex; /* leaf */
    unsigned running;   /* threads that have not stopped */
    Coroutine *pauser;
    /* Start-up. */
    GMutex start_mutex;
    GCond start_cond;
    unsigned started;
    GError *start_error;
};

static __thread Vcpu *current;

Vcpu *vcpu_current(void)
{
    return current;
}

static void on_kick(int sig)
{
}

static void install_kick_handler(void)
{
    struct sigaction sa = {.sa_handler = on_kick};

    sigemptyset(&sa.sa_mask);
    sigaction(SIG_KICK, &sa, NULL);
}

/*
 * In a vCPU thread every signal is blocked but the kick, so that the program's own (SIGTERM, ...)
 * reach the main thread.
 */
static void mask_signals(void)
{
    sigset_t set;

    sigfillset(&set);
    sigdelset(&set, SIG_KICK);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

void vcpu_kick(Vcpu *cpu)
{
    if (cpu->vm->accel->vcpu_kick) {
        cpu->vm->accel->vcpu_kick(cpu);
    }
    if (__atomic_load_n(&cpu->in_run, __ATOMIC_SEQ_CST)) {
        pthread_kill(cpu->thread, SIG_KICK);
    }
}

/* Holding out of KVM_RUN. */

static void enter_run(Vcpu *cpu)
{
    struct VcpuSet *set = cpu->vm->vcpu_set;

    for (;;) {
        __atomic_store_n(&cpu->in_run, 1, __ATOMIC_SEQ_CST);
        if (G_LIKELY(!__atomic_load_n(&set->hold, __ATOMIC_SEQ_CST))) {
            return;
        }
        g_mutex_lock(&set->hold_mutex);
        __atomic_store_n(&cpu->in_run, 0, __ATOMIC_SEQ_CST);
        g_cond_broadcast(&set->hold_cond);
        while (set->hold) {
            g_cond_wait(&set->hold_cond, &set->hold_mutex);
        }
        g_mutex_unlock(&set->hold_mutex);
    }
}

static void leave_run(Vcpu *cpu)
{
    struct VcpuSet *set = cpu->vm->vcpu_set;

    __atomic_store_n(&cpu->in_run, 0, __ATOMIC_SEQ_CST);
    if (G_UNLIKELY(__atomic_load_n(&set->hold, __ATOMIC_SEQ_CST))) {
        g_mutex_lock(&set->hold_mutex);
        g_cond_broadcast(&set->hold_cond);
        g_mutex_unlock(&set->hold_mutex);
    }
}

void vcpu_enter_guest(Vcpu *cpu)
{
    reclaim_offline();
    enter_run(cpu);
}

void vcpu_leave_guest(Vcpu *cpu)
{
    leave_run(cpu);
    reclaim_online();
}

void vcpus_hold(Vm *vm)
{
    struct VcpuSet *set = vm->vcpu_set;

    if (!set) {
        return;
    }
    g_mutex_lock(&set->hold_mutex);
    __atomic_add_fetch(&set->hold, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        Vcpu *cpu = vm->vcpus[i];

        /* A kick that comes just before KVM_RUN is kept by immediate_exit. */
        while (cpu != current && __atomic_load_n(&cpu->in_run, __ATOMIC_SEQ_CST)) {
            vcpu_kick(cpu);
            g_cond_wait_until(&set->hold_cond, &set->hold_mutex, g_get_monotonic_time() + 1000);
        }
    }
    g_mutex_unlock(&set->hold_mutex);
}

void vcpus_release(Vm *vm)
{
    struct VcpuSet *set = vm->vcpu_set;

    if (!set) {
        return;
    }
    g_mutex_lock(&set->hold_mutex);
    __atomic_sub_fetch(&set->hold, 1, __ATOMIC_SEQ_CST);
    g_cond_broadcast(&set->hold_cond);
    g_mutex_unlock(&set->hold_mutex);
}

/* Calls. */

/* Under the lock, so that the caller leaves only once nobody looks at its call any more. */
static void finish_call(Vcpu *cpu, Call *call)
{
    if (!call->waits) {
        g_free(call);
        return;
    }
    g_mutex_lock(&cpu->lock);
    call->done = true;
    if (call->co) {
        coroutine_wake(call->co);
    } else {
        g_cond_broadcast(&cpu->cond);
    }
    g_mutex_unlock(&cpu->lock);
}

static void post_call(Vcpu *cpu, Call *call)
{
    g_mutex_lock(&cpu->lock);
    g_queue_push_tail(&cpu->calls, call);
    g_cond_broadcast(&cpu->cond);
    g_mutex_unlock(&cpu->lock);
    vcpu_kick(cpu);
}

void vcpu_call_async(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *data), void *data)
{
    Call *call = g_new0(Call, 1);

    call->fn = fn;
    call->data = data;
    post_call(cpu, call);
}

void vcpu_call(Vcpu *cpu, void (*fn)(Vcpu *cpu, void *data), void *data)
{
    Call call = {.fn = fn, .data = data, .waits = true, .co = coroutine_self()};

    if (cpu == current || !cpu->created) {
        fn(cpu, data);
        return;
    }
    post_call(cpu, &call);
    g_mutex_lock(&cpu->lock);
    while (!call.done) {
        if (call.co) {
            g_mutex_unlock(&cpu->lock);
            coroutine_yield();
            g_mutex_lock(&cpu->lock);
        } else {
            /* Before the loops run, or on a thread without a loop (architecture.md, Threads). */
            g_cond_wait(&cpu->cond, &cpu->lock);
        }
    }
    if (call.co) {
        coroutine_wait_over();
    }
    g_mutex_unlock(&cpu->lock);
}

/* The thread. */

static void count_stopped(Vcpu *cpu, bool stopped)
{
    struct VcpuSet *set = cpu->vm->vcpu_set;

    if (cpu->stopped == stopped) {
        return;
    }
    cpu->stopped = stopped;
    trace(vcpu_stopped, cpu->index, stopped);
    g_mutex_lock(&set->pause_mutex);
    set->running += stopped ? -1 : 1;
    if (!set->running && set->pauser) {
        coroutine_wake(set->pauser);
    }
    g_mutex_unlock(&set->pause_mutex);
}

/* The vCPU cannot go on by itself: until a reset or a 'cont' it stands. */
static void stand_still(Vcpu *cpu)
{
    g_mutex_lock(&cpu->lock);
    cpu->stop_wanted = true;
    g_mutex_unlock(&cpu->lock);
}

/*
 * Finishes the last exit's input or output, so that the registers are consistent. That may bring
 * further exits (a string instruction): until KVM says that it was interrupted. A debugger's step
 * over such an instruction ends here.
 */
static void complete_exit(Vcpu *cpu)
{
    while (cpu->exit_pending) {
        cpu->exit_pending = false;
        if (cpu->vm->accel->vcpu_run(cpu, true) == VCPU_EXIT_DEBUG) {
            stand_still(cpu);
            vm_request_pause(cpu->vm, RUN_STATE_DEBUG);
        }
    }
}

/* Everything that is to be done outside of the guest; false: the thread is to end. */
static bool vcpu_serve(Vcpu *cpu)
{
    for (;;) {
        Call *call;

        g_mutex_lock(&cpu->lock);
        call = g_queue_pop_head(&cpu->calls);
        if (!call && !cpu->stop_wanted && !cpu->quit) {
            count_stopped(cpu, false);
            g_mutex_unlock(&cpu->lock);
            return true;
        }
        g_mutex_unlock(&cpu->lock);
        complete_exit(cpu);
        if (call) {
            call->fn(cpu, call->data);
            finish_call(cpu, call);
            continue;
        }
        g_mutex_lock(&cpu->lock);
        if (cpu->quit) {
            count_stopped(cpu, true);
            g_mutex_unlock(&cpu->lock);
            return false;
        }
        reclaim_offline();
        while (cpu->stop_wanted && !cpu->quit && g_queue_is_empty(&cpu->calls)) {
            count_stopped(cpu, true);
            g_cond_wait(&cpu->cond, &cpu->lock);
        }
        g_mutex_unlock(&cpu->lock);
        reclaim_online();
    }
}

static void vcpu_handle(Vcpu *cpu, VcpuExit result)
{
    switch (result) {
    case VCPU_EXIT_CONTINUE:
    case VCPU_EXIT_INTERRUPTED:
        break;
    case VCPU_EXIT_SHUTDOWN:
        stand_still(cpu);
        vm_request_reset_status(cpu->vm, SHUTDOWN_CAUSE_GUEST_RESET, VM_END_TRIPLE_FAULT);
        break;
    case VCPU_EXIT_DEBUG:
        stand_still(cpu);
        vm_request_pause(cpu->vm, RUN_STATE_DEBUG);
        break;
    case VCPU_EXIT_IO_ERROR:
        stand_still(cpu);
        break;
    case VCPU_EXIT_UNKNOWN:
    case VCPU_EXIT_ERROR:
    case VCPU_EXIT_HOST_ERROR:
        stand_still(cpu);
        vm_failed(cpu->vm, result == VCPU_EXIT_HOST_ERROR ? VM_END_HOST_ERROR : VM_END_KVM_ERROR);
        break;
    }
}

static bool start_thread(Vcpu *cpu)
{
    struct VcpuSet *set = cpu->vm->vcpu_set;
    GError *err = NULL;
    bool ok = cpu->vm->accel->vcpu_create(cpu, &err);

    if (ok && cpu->vm->arch) {
        ok = cpu->vm->arch->vcpu_init(cpu, &err);
        if (ok) {
            cpu->vm->arch->vcpu_reset(cpu);
        }
    }
    __atomic_store_n(&cpu->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
    g_mutex_lock(&set->start_mutex);
    set->started++;
    if (!ok && !set->start_error) {
        set->start_error = err;
    } else {
        g_clear_error(&err);
    }
    cpu->created = ok;
    g_cond_broadcast(&set->start_cond);
    g_mutex_unlock(&set->start_mutex);
    return ok;
}

static void *vcpu_main(void *data)
{
    Vcpu *cpu = data;
    char name[16];

    current = cpu;
    mask_signals();
    g_snprintf(name, sizeof name, "CPU %u/KVM", cpu->index);
    pthread_setname_np(pthread_self(), name);
    reclaim_thread_register();
    if (start_thread(cpu)) {
        while (vcpu_serve(cpu)) {
            vcpu_handle(cpu, cpu->vm->accel->vcpu_run(cpu, false));
        }
    }
    reclaim_thread_unregister();
    return NULL;
}

static Vcpu *vcpu_new(Vm *vm, unsigned index)
{
    Vcpu *cpu = g_new0(Vcpu, 1);

    cpu->vm = vm;
    cpu->index = index;
    cpu->arch_id = vm->arch && vm->arch->arch_id ? vm->arch->arch_id(vm, index) : index;
    cpu->fd = cpu->stats_fd = -1;
    cpu->stop_wanted = true;
    g_mutex_init(&cpu->lock);
    g_cond_init(&cpu->cond);
    g_queue_init(&cpu->calls);
    return cpu;
}

static void wait_started(Vm *vm, unsigned n)
{
    struct VcpuSet *set = vm->vcpu_set;

    g_mutex_lock(&set->start_mutex);
    while (set->started < n) {
        g_cond_wait(&set->start_cond, &set->start_mutex);
    }
    g_mutex_unlock(&set->start_mutex);
}

bool vcpus_create(Vm *vm, GError **err)
{
    struct VcpuSet *set;
    sigset_t all, before;

    if (!vm->accel->has_vcpus) {
        return true;
    }
    set = vm->vcpu_set = g_new0(struct VcpuSet, 1);
    g_mutex_init(&set->hold_mutex);
    g_mutex_init(&set->pause_mutex);
    g_mutex_init(&set->start_mutex);
    g_cond_init(&set->hold_cond);
    g_cond_init(&set->start_cond);
    install_kick_handler();
    vm->vcpus = g_new0(Vcpu *, vm->smp.maxcpus);
    set->running = vm->smp.cpus;
    /* Blocked from birth: a signal must not reach a thread before it has set its own mask. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (unsigned i = 0; i < vm->smp.cpus; i++) {
        Vcpu *cpu = vcpu_new(vm, i);
        int rc = pthread_create(&cpu->thread, NULL, vcpu_main, cpu);

        if (rc) {
            g_free(cpu);
            pthread_sigmask(SIG_SETMASK, &before, NULL);
            return error_set_errno(err, rc, "cannot start the thread of CPU %u", i);
        }
        vm->vcpus[vm->vcpu_count++] = cpu;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    wait_started(vm, vm->vcpu_count);
    if (set->start_error) {
        g_propagate_error(err, g_steal_pointer(&set->start_error));
        return false;
    }
    return true;
}

static void vcpu_free(Vcpu *cpu)
{
    Call *call;

    g_mutex_lock(&cpu->lock);
    cpu->quit = true;
    g_cond_broadcast(&cpu->cond);
    g_mutex_unlock(&cpu->lock);
    vcpu_kick(cpu);
    pthread_join(cpu->thread, NULL);
    if (cpu->vm->arch && cpu->vm->arch->vcpu_destroy) {
        cpu->vm->arch->vcpu_destroy(cpu);
    }
    if (cpu->vm->accel->vcpu_destroy) {
        cpu->vm->accel->vcpu_destroy(cpu);
    }
    while ((call = g_queue_pop_head(&cpu->calls))) {
        g_assert(!call->waits);
        g_free(call);
    }
    g_mutex_clear(&cpu->lock);
    g_cond_clear(&cpu->cond);
    g_free(cpu->debug);
    g_free(cpu);
}

void vcpus_destroy(Vm *vm)
{
    struct VcpuSet *set = vm->vcpu_set;

    memory_map_cpus_gone(vm);
    if (!set) {
        return;
    }
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        vcpu_free(vm->vcpus[i]);
    }
    g_clear_pointer(&vm->vcpus, g_free);
    vm->vcpu_count = 0;
    g_clear_error(&set->start_error);
    g_mutex_clear(&set->hold_mutex);
    g_mutex_clear(&set->pause_mutex);
    g_mutex_clear(&set->start_mutex);
    g_cond_clear(&set->hold_cond);
    g_cond_clear(&set->start_cond);
    g_clear_pointer(&vm->vcpu_set, g_free);
}

void coroutine_fn vcpus_pause(Vm *vm)
{
    struct VcpuSet *set = vm->vcpu_set;

    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        Vcpu *cpu = vm->vcpus[i];

        g_mutex_lock(&cpu->lock);
        cpu->stop_wanted = true;
        g_mutex_unlock(&cpu->lock);
        vcpu_kick(cpu);
    }
    if (!set) {
        return;
    }
    g_mutex_lock(&set->pause_mutex);
    g_assert(!set->pauser);
    set->pauser = coroutine_self();
    while (set->running > 0) {
        g_mutex_unlock(&set->pause_mutex);
        coroutine_yield();
        g_mutex_lock(&set->pause_mutex);
    }
    set->pauser = NULL;
    coroutine_wait_over();
    g_mutex_unlock(&set->pause_mutex);
}

void vcpus_resume(Vm *vm)
{
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        Vcpu *cpu = vm->vcpus[i];

        g_mutex_lock(&cpu->lock);
        if (cpu->stop_wanted && !vm_debug_holds(cpu)) {
            cpu->stop_wanted = false;
            /* Counted here, not by the thread: a pause that follows at once must wait for it. */
            count_stopped(cpu, false);
        }
        g_cond_broadcast(&cpu->cond);
        g_mutex_unlock(&cpu->lock);
    }
}

bool vcpus_stopped(Vm *vm)
{
    bool stopped;

    if (!vm->vcpu_set) {
        return true;
    }
    g_mutex_lock(&vm->vcpu_set->pause_mutex);
    stopped = !vm->vcpu_set->running;
    g_mutex_unlock(&vm->vcpu_set->pause_mutex);
    return stopped;
}
