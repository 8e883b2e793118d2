/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the schedule explorer (tests/schedule) takes part. In ordinary builds there is nothing here
 * but sched_point() and sched_pass(), which are nothing.
 *
 * With -DVMM_SCHEDULE this header comes before all else in every file (cc -include), and puts a
 * hook in front of what threads meet by. It is a compile-time affair: no object is shared with the
 * program that users run.
 *
 *     what                            hook
 *     GMutex, GRecMutex               before lock, after unlock; who must wait gives the baton away
 *     GCond                           a list of waiters; a signal wakes one that the seed chooses;
 *                                     rarely one is woken for nothing, as POSIX allows
 *     pthread_create, g_thread_new    a new thread waits until it is given the baton
 *     pthread_join, yield, usleep     the baton is given away until it is over
 *     epoll_wait                      one look; a loop with nothing ready gives the baton away, and
 *                                     is ready when one of its descriptors is, or in time
 *     clocks                          virtual: they move a little at each look, and jump to the
 *                                     next deadline where no thread can run
 *     __atomic operations             before each: between two, any other thread may run
 *     coroutine switches              sched_pass() in base/coroutine.c
 *     sched_point("name")             where two plain instructions must not be parted, but could
 *                                     be: a thread may be held up there for long
 *
 * One thread has the baton. The others sleep in a futex of their own that ThreadSanitizer does not
 * see (tests/schedule/baton.c is not instrumented), so it still finds what only the baton orders.
 * A hook passes the baton on, by the seed; blocking is a state of the model, never of the kernel:
 * where no thread can go on and no deadline is left, that is a deadlock, and every thread's place
 * is known. A thread that the baton does not know (no seed was set: --threads) goes straight
 * through to the real function.
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

/* The thread that calls is at 'place' ("file.c:12", or a name). */
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
/* The same where the thread is not held up on purpose. */
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

/* A macro's own name inside it is the compiler's builtin again. */
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
