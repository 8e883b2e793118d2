/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hooks of the schedule explorer (tests/schedule). In ordinary builds this header defines only
 * sched_point() and sched_pass(), which do nothing.
 *
 * With -DVMM_SCHEDULE this header is included before all else in every file (cc -include), and puts
 * a hook in front of every operation by which threads interact. Such objects are never linked into
 * the program that users run.
 *
 *     what                            hook
 *     GMutex, GRecMutex               before lock, after unlock; a thread that must wait gives the
 *                                     baton away
 *     GCond                           a list of waiters; a signal wakes one that the seed chooses;
 *                                     rarely a waiter wakes without a signal, as POSIX allows
 *     pthread_create, g_thread_new    a new thread waits until it is given the baton
 *     pthread_join, yield, usleep     the thread gives the baton away until the call is over
 *     epoll_wait                      looks once; a loop with nothing ready gives the baton away
 *                                     until a descriptor is ready or its timeout has passed
 *     clocks                          virtual: each reading moves them a little; where no thread
 *                                     can run, they jump to the next deadline
 *     __atomic operations             before each: another thread may run there
 *     coroutine switches              sched_pass() in base/coroutine.c
 *     sched_point("name")             between two plain instructions: a thread may be held up
 *                                     there for long
 *
 * Only the thread that has the baton runs. Each other thread sleeps in a futex of its own, which
 * ThreadSanitizer does not see (tests/schedule/baton.c is not instrumented): the sanitizer still
 * reports accesses that only the baton puts in order. The seed decides to whom a hook passes the
 * baton. No thread blocks in the kernel: blocking is a state of the model. Where no thread can run
 * and no deadline is left, that is a deadlock, and the place of every thread is known. For a thread
 * without a baton (no seed was set: --threads) the hooks only call the real functions.
 */
#ifndef BASE_SCHED_H
#define BASE_SCHED_H

#ifndef VMM_SCHEDULE

#define sched_point(name) ((void)0)
#define sched_pass(name)  ((void)0)

#else

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

typedef enum { SCHED_PLAIN, SCHED_ATOMIC, SCHED_NAMED } SchedKind;

/* The calling thread has reached 'place' ("file.c:12", or a name): it may lose the baton here. */
void sched_hook(SchedKind kind, const char *place);

void sched_mutex_lock(GMutex *mutex, const char *place);
void sched_mutex_unlock(GMutex *mutex, const char *place);
void sched_rec_mutex_lock(GRecMutex *mutex, const char *place);
void sched_rec_mutex_unlock(GRecMutex *mutex, const char *place);
void sched_cond_wait(GCond *cond, GMutex *mutex, const char *place);
gboolean sched_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end, const char *place);
void sched_cond_wake(GCond *cond, bool all, const char *place);
int sched_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                        void *data, const char *place);
int sched_thread_join(pthread_t thread, void **result, const char *place);
int sched_thread_name(pthread_t thread, const char *name);
int sched_thread_kill(pthread_t thread, int sig, const char *place);
GThread *sched_gthread_try_new(const char *name, GThreadFunc fn, gpointer data, GError **err);
void sched_yield_thread(const char *place);
void sched_usleep(gulong us, const char *place);
int sched_epoll_wait(int fd, struct epoll_event *events, int max, int64_t timeout_ns,
                     const char *place);
int sched_clock_gettime(clockid_t id, struct timespec *ts);
gint64 sched_monotonic_time(void);

#define SCHED_TEXT_(x) #x
#define SCHED_TEXT(x)  SCHED_TEXT_(x)
#define SCHED_HERE     __FILE__ ":" SCHED_TEXT(__LINE__)

#define sched_point(name) sched_hook(SCHED_NAMED, name)
/* Like sched_point(), but the thread is not held up for long. */
#define sched_pass(name)  sched_hook(SCHED_PLAIN, name)

#define g_mutex_lock(m)              sched_mutex_lock(m, SCHED_HERE)
#define g_mutex_unlock(m)            sched_mutex_unlock(m, SCHED_HERE)
#define g_rec_mutex_lock(m)          sched_rec_mutex_lock(m, SCHED_HERE)
#define g_rec_mutex_unlock(m)        sched_rec_mutex_unlock(m, SCHED_HERE)
#define g_cond_wait(c, m)            sched_cond_wait(c, m, SCHED_HERE)
#define g_cond_wait_until(c, m, end) sched_cond_wait_until(c, m, end, SCHED_HERE)
#define g_cond_signal(c)             sched_cond_wake(c, false, SCHED_HERE)
#define g_cond_broadcast(c)          sched_cond_wake(c, true, SCHED_HERE)
#define pthread_create(t, a, f, d)   sched_thread_create(t, a, f, d, SCHED_HERE)
#define pthread_join(t, r)           sched_thread_join(t, r, SCHED_HERE)
#define pthread_setname_np(t, n)     sched_thread_name(t, n)
#define pthread_kill(t, s)           sched_thread_kill(t, s, SCHED_HERE)
#define g_thread_try_new(n, f, d, e) sched_gthread_try_new(n, f, d, e)
#undef g_thread_yield
#define g_thread_yield()       sched_yield_thread(SCHED_HERE)
#define g_usleep(us)           sched_usleep(us, SCHED_HERE)
#define g_get_monotonic_time() sched_monotonic_time()
#define clock_gettime(id, ts)  sched_clock_gettime(id, ts)
#define epoll_wait(fd, ev, n, ms)                                                                  \
    sched_epoll_wait(fd, ev, n, (ms) < 0 ? -1 : (ms)*1000000ll, SCHED_HERE)
#define epoll_pwait2(fd, ev, n, ts, sigs)                                                          \
    ({                                                                                             \
        const struct timespec *ts_ = (ts);                                                         \
        sched_epoll_wait(fd, ev, n, ts_ ? ts_->tv_sec * 1000000000ll + ts_->tv_nsec : -1,          \
                         SCHED_HERE);                                                              \
    })

/* Inside a macro of the same name, the name is the compiler's builtin. */
#define SCHED_ATOMIC_(op)            (sched_hook(SCHED_ATOMIC, SCHED_HERE), op)
#define __atomic_load_n(p, o)        SCHED_ATOMIC_(__atomic_load_n(p, o))
#define __atomic_store_n(p, v, o)    SCHED_ATOMIC_(__atomic_store_n(p, v, o))
#define __atomic_exchange_n(p, v, o) SCHED_ATOMIC_(__atomic_exchange_n(p, v, o))
#define __atomic_fetch_add(p, v, o)  SCHED_ATOMIC_(__atomic_fetch_add(p, v, o))
#define __atomic_fetch_sub(p, v, o)  SCHED_ATOMIC_(__atomic_fetch_sub(p, v, o))
#define __atomic_fetch_or(p, v, o)   SCHED_ATOMIC_(__atomic_fetch_or(p, v, o))
#define __atomic_fetch_and(p, v, o)  SCHED_ATOMIC_(__atomic_fetch_and(p, v, o))
#define __atomic_add_fetch(p, v, o)  SCHED_ATOMIC_(__atomic_add_fetch(p, v, o))
#define __atomic_sub_fetch(p, v, o)  SCHED_ATOMIC_(__atomic_sub_fetch(p, v, o))
#define __atomic_compare_exchange_n(p, e, d, w, s, f)                                              \
    SCHED_ATOMIC_(__atomic_compare_exchange_n(p, e, d, w, s, f))

#endif
#endif
