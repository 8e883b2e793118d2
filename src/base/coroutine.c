/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Coroutines on stacks of their own. A finished one goes back to its thread's pool with its stack,
 * still standing in coroutine_entry(), and is started again from there: a start is then one switch.
 */
#include "base/coroutine.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/sched.h"
#include "base/util.h"

#if !defined(__x86_64__) || defined(COROUTINE_UCONTEXT)
#define USE_UCONTEXT 1
#include <ucontext.h>
#else
#define USE_UCONTEXT 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if defined(WITH_ASAN) || defined(WITH_TSAN)
#define STACK_SIZE (2048 * KiB) /* their frames are several times as large */
#else
#define STACK_SIZE (512 * KiB)
#endif

#define SHADOW_STACK_SIZE (STACK_SIZE / 2) /* no frame is smaller than 16 bytes */

enum { POOL_MAX = 64 };

/* Whether a wake-up that nobody waits for ends the program. */
#if defined(WITH_ASAN) || defined(WITH_TSAN)
enum { CHECK_WAKES = 1 };
#else
enum { CHECK_WAKES = 0 };
#endif

/* Where a flow of control stands while another runs; the thread's own stack has one too. */
typedef struct {
#if USE_UCONTEXT
    ucontext_t uc;
#else
    void *sp;
    void *shadow_top; /* of a coroutine's own shadow stack; NULL: none */
#endif
#ifdef WITH_ASAN
    void *fake_stack;
    const void *bottom;
    size_t size;
#endif
#ifdef WITH_TSAN
    void *fiber;
#endif
} Context;

/*
 * RUNNING: on a stack, or below one that it started. WOKEN: the same, and a wake has come that its
 * next yield must not lose. YIELDED, then SCHEDULED: out, and on its way back in. ENDED: in the
 * pool.
 */
enum { CO_RUNNING, CO_WOKEN, CO_YIELDED, CO_SCHEDULED, CO_ENDED };

struct Coroutine {
    Context context;
    Context *caller;  /* whom a yield returns to */
    Coroutine *outer; /* who was running when this was entered, or NULL */
    CoroutineFn fn;
    void *data;
    EventLoop *loop;
    BottomHalf bh;
    int state; /* atomic */
    bool finished;
    void *stack; /* with the guard page at its low end */
    Coroutine *next_free;
};

static __thread Coroutine *current;
static __thread Context thread_context;
static __thread struct {
    Coroutine *free;
    unsigned count;
    bool used; /* since when the thread's end frees it */
} pool;

/* Switching. */

#if USE_UCONTEXT

static void raw_switch(Context *from, Context *to)
{
    swapcontext(&from->uc, &to->uc);
}

#else

/*
 * The System V ABI's callee-saved registers are all that a call must keep. It ends in a jump: the
 * processor would predict that a 'ret' goes to the caller on the old stack, and be wrong each time.
 *
 * A thread that has a shadow stack (CET) changes that as well. incsspq drops this call's return
 * address, which no 'ret' will take. What is left is kept as the shadow stack's pointer, above the
 * registers; 0 stands for none (rdsspq is a no-op there). rstorssp takes the token that lies below
 * the new pointer, and saveprevssp leaves one below the old.
 */
void coroutine_switch_stack(void **save_sp, void *load_sp);
__asm__(".text\n"
        ".p2align 4\n"
        ".type coroutine_switch_stack, @function\n"
        ".hidden coroutine_switch_stack\n"
        ".globl coroutine_switch_stack\n"
        "coroutine_switch_stack:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset %rbp, 0\n"
        "    pushq %rbx\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset %rbx, 0\n"
        "    pushq %r12\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset %r12, 0\n"
        "    pushq %r13\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset %r13, 0\n"
        "    pushq %r14\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset %r14, 0\n"
        "    pushq %r15\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset %r15, 0\n"
        "    xorl %eax, %eax\n"
        "    rdsspq %rax\n"
        "    testq %rax, %rax\n"
        "    jz 1f\n"
        "    movl $1, %ecx\n"
        "    incsspq %rcx\n"
        "    rdsspq %rax\n"
        "1:\n"
        "    pushq %rax\n    .cfi_adjust_cfa_offset 8\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %rax\n    .cfi_adjust_cfa_offset -8\n"
        "    testq %rax, %rax\n"
        "    jz 2f\n"
        "    rstorssp -8(%rax)\n"
        "    saveprevssp\n"
        "2:\n"
        "    popq %r15\n    .cfi_adjust_cfa_offset -8\n    .cfi_restore %r15\n"
        "    popq %r14\n    .cfi_adjust_cfa_offset -8\n    .cfi_restore %r14\n"
        "    popq %r13\n    .cfi_adjust_cfa_offset -8\n    .cfi_restore %r13\n"
        "    popq %r12\n    .cfi_adjust_cfa_offset -8\n    .cfi_restore %r12\n"
        "    popq %rbx\n    .cfi_adjust_cfa_offset -8\n    .cfi_restore %rbx\n"
        "    popq %rbp\n    .cfi_adjust_cfa_offset -8\n    .cfi_restore %rbp\n"
        "    popq %rcx\n    .cfi_adjust_cfa_offset -8\n    .cfi_register %rip, %rcx\n"
        "    notrack jmp *%rcx\n"
        "    .cfi_endproc\n"
        ".size coroutine_switch_stack, . - coroutine_switch_stack\n");

static void raw_switch(Context *from, Context *to)
{
    coroutine_switch_stack(&from->sp, to->sp);
}

/*
 * A shadow stack for the calls on one stack, mapped with a token at its top. Gives the pointer
 * above the token, or NULL where this thread has no shadow stack.
 */
static void *shadow_stack_new(void)
{
    enum { MAP_SHADOW_STACK = 453, SET_TOKEN = 1 };
    uint64_t pointer = 0;
    long low;

    __asm__ volatile("rdsspq %0" : "+r"(pointer));
    if (!pointer) {
        return NULL;
    }
    low = syscall(MAP_SHADOW_STACK, 0, SHADOW_STACK_SIZE, SET_TOKEN);
    if (low == -1) {
        g_error("no memory for a coroutine's shadow stack");
    }
    return (char *)low + SHADOW_STACK_SIZE;
}

#endif

static void switch_context(Context *from, Context *to)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->bottom, to->size);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
    raw_switch(from, to);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

/* Back to whoever entered 'co', from inside it. */
static void coroutine_leave(Coroutine *co)
{
    Context *caller = co->caller;

    sched_pass("a coroutine stops");
    current = co->outer;
    co->outer = NULL;
    co->caller = NULL;
    switch_context(&co->context, caller);
}

static void coroutine_entry(void)
{
    Coroutine *co = current;

#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, &co->caller->bottom, &co->caller->size);
#endif
    for (;;) {
        co->fn(co->data);
        int state = __atomic_exchange_n(&co->state, CO_ENDED, __ATOMIC_ACQ_REL);
        /* A wake-up that nobody waited for would have been taken for another one. */
        g_assert(!CHECK_WAKES || state == CO_RUNNING);
        co->finished = true;
        coroutine_leave(co);
    }
}

/* Stacks. */

static void context_init(Context *context, char *low, size_t size)
{
#ifdef WITH_ASAN
    context->bottom = low;
    context->size = size;
#endif
#ifdef WITH_TSAN
    context->fiber = __tsan_create_fiber(0);
#endif
#if USE_UCONTEXT
    getcontext(&context->uc);
    context->uc.uc_stack.ss_sp = low;
    context->uc.uc_stack.ss_size = size;
    context->uc.uc_link = NULL;
    makecontext(&context->uc, coroutine_entry, 0);
#else
    /*
     * As coroutine_switch_stack() leaves a stack: the shadow stack's pointer, six registers, all
     * zero so that a debugger's walk ends here, and where to go on. The word above is the return
     * address that coroutine_entry() never uses; it keeps the alignment that the ABI promises a
     * function.
     */
    void **sp = (void **)(low + size);
    *--sp = NULL;
    *--sp = (void *)coroutine_entry;
    for (int i = 0; i < 6; i++) {
        *--sp = NULL;
    }
    *--sp = context->shadow_top = shadow_stack_new();
    context->sp = sp;
#endif
}

static Coroutine *coroutine_new(void)
{
    size_t guard = sysconf(_SC_PAGESIZE);
    Coroutine *co = g_new0(Coroutine, 1);
    char *stack = mmap(NULL, guard + STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (stack == MAP_FAILED || mprotect(stack, guard, PROT_NONE) < 0) {
        g_error("no memory for a coroutine's stack");
    }
#ifdef WITH_ASAN
    /* What only a sleeping coroutine knows of is no leak. */
    __lsan_register_root_region(stack + guard, STACK_SIZE);
#endif
    co->stack = stack;
    context_init(&co->context, stack + guard, STACK_SIZE);
    return co;
}

static void coroutine_free(Coroutine *co)
{
#ifdef WITH_TSAN
    __tsan_destroy_fiber(co->context.fiber);
#endif
#ifdef WITH_ASAN
    /* The address may come back as something else: forget what lay there. */
    ASAN_UNPOISON_MEMORY_REGION((char *)co->stack + sysconf(_SC_PAGESIZE), STACK_SIZE);
    __lsan_unregister_root_region((char *)co->stack + sysconf(_SC_PAGESIZE), STACK_SIZE);
#endif
#if !USE_UCONTEXT
    if (co->context.shadow_top) {
        munmap((char *)co->context.shadow_top - SHADOW_STACK_SIZE, SHADOW_STACK_SIZE);
    }
#endif
    munmap(co->stack, sysconf(_SC_PAGESIZE) + STACK_SIZE);
    g_free(co);
}

static void pool_drop(void *data)
{
    while (pool.free) {
        Coroutine *co = pool.free;
        pool.free = co->next_free;
        coroutine_free(co);
    }
    pool.count = 0;
}

static GPrivate pool_exit = G_PRIVATE_INIT(pool_drop);

static Coroutine *pool_get(void)
{
    Coroutine *co = pool.free;

    if (!co) {
        return coroutine_new();
    }
    pool.free = co->next_free;
    pool.count--;
    return co;
}

static void pool_put(Coroutine *co)
{
    if (pool.count == POOL_MAX) {
        coroutine_free(co);
        return;
    }
    if (!pool.used) {
        pool.used = true;
        g_private_set(&pool_exit, &pool);
    }
    pool.count++;
    co->next_free = pool.free;
    pool.free = co;
}

/* The interface. */

static void coroutine_enter(Coroutine *co)
{
    Context *from = current ? &current->context : &thread_context;

    sched_pass("a coroutine goes on");
#ifdef WITH_TSAN
    if (!current) {
        thread_context.fiber = __tsan_get_current_fiber();
    }
#endif
    co->outer = current;
    co->caller = from;
    current = co;
    switch_context(from, &co->context);
    if (co->finished) {
        pool_put(co);
    }
}

static void go_on(void *data)
{
    Coroutine *co = data;

    __atomic_store_n(&co->state, CO_RUNNING, __ATOMIC_RELAXED);
    coroutine_enter(co);
}

void coroutine_start(CoroutineFn fn, void *data)
{
    Coroutine *co = pool_get();

    co->fn = fn;
    co->data = data;
    co->finished = false;
    co->loop = event_loop_current();
    __atomic_store_n(&co->state, CO_RUNNING, __ATOMIC_RELAXED);
    bh_init(&co->bh, co->loop, go_on, co);
    coroutine_enter(co);
}

Coroutine *coroutine_self(void)
{
    return current;
}

EventLoop *coroutine_loop(Coroutine *co)
{
    return co->loop;
}

void coroutine_fn coroutine_yield(void)
{
    Coroutine *co = current;
    int state = CO_RUNNING;

    g_assert(co && co->loop);
    if (!__atomic_compare_exchange_n(&co->state, &state, CO_YIELDED, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        /* The wake was here first. It is delivered like any other: others get their turn. */
        __atomic_store_n(&co->state, CO_SCHEDULED, __ATOMIC_RELEASE);
        bh_schedule(&co->bh);
    }
    coroutine_leave(co);
}

void coroutine_fn coroutine_wait_over(void)
{
    int state = CO_WOKEN;

    __atomic_compare_exchange_n(&current->state, &state, CO_RUNNING, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
}

void coroutine_wake(Coroutine *co)
{
    int state = __atomic_load_n(&co->state, __ATOMIC_ACQUIRE), next;

    do {
        g_assert(!CHECK_WAKES || state != CO_ENDED);
        if (state == CO_WOKEN || state == CO_SCHEDULED || state == CO_ENDED) {
            return;
        }
        next = state == CO_YIELDED ? CO_SCHEDULED : CO_WOKEN;
    } while (!__atomic_compare_exchange_n(&co->state, &state, next, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
    /* It cannot run before its loop calls it back, so it still is what it was. */
    if (next == CO_SCHEDULED) {
        bh_schedule(&co->bh);
    }
}

typedef struct {
    Coroutine *co;
    bool over;
} Sleep;

static void sleep_over(void *data)
{
    Sleep *sleep = data;

    sleep->over = true;
    coroutine_wake(sleep->co);
}

void coroutine_fn coroutine_sleep(ClockType clock, int64_t ns)
{
    Sleep sleep = {.co = coroutine_self()};
    Timer *timer = timer_new(sleep.co->loop, clock, sleep_over, &sleep);

    timer_arm(timer, clock_ns(clock) + ns);
    while (!sleep.over) {
        coroutine_yield();
    }
    timer_free(timer);
}
