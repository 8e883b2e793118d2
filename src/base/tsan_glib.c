/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Built for ThreadSanitizer only. GLib's GMutex uses futexes directly, in a library that is not
 * instrumented, so the sanitizer does not see it. These functions override GLib's: they tell the
 * sanitizer, and call GLib's. (GRecMutex and GRWLock use pthread, which the sanitizer knows.)
 */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) real_;                                                            \
        __typeof__(&name) found_ = __atomic_load_n(&real_, __ATOMIC_RELAXED);                      \
        if (!found_) {                                                                             \
            found_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                   \
            __atomic_store_n(&real_, found_, __ATOMIC_RELAXED);                                    \
        }                                                                                          \
        found_;                                                                                    \
    })

void g_mutex_clear(GMutex *mutex)
{
    __tsan_mutex_destroy(mutex, 0);
    REAL(g_mutex_clear)(mutex);
}

void g_mutex_lock(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, 0);
    REAL(g_mutex_lock)(mutex);
    __tsan_mutex_post_lock(mutex, 0, 0);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, __tsan_mutex_try_lock);
    gboolean got = REAL(g_mutex_trylock)(mutex);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_try_lock | (got ? 0 : __tsan_mutex_try_lock_failed),
                           0);
    return got;
}

void g_mutex_unlock(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    REAL(g_mutex_unlock)(mutex);
    __tsan_mutex_post_unlock(mutex, 0);
}

/* Waiting for a condition unlocks the mutex, and locks it again. */

static void wait_begins(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, 0);
    __tsan_mutex_post_unlock(mutex, 0);
}

static void wait_ends(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, 0);
    __tsan_mutex_post_lock(mutex, 0, 0);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    wait_begins(mutex);
    REAL(g_cond_wait)(cond, mutex);
    wait_ends(mutex);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    wait_begins(mutex);
    gboolean in_time = REAL(g_cond_wait_until)(cond, mutex, end_time);
    wait_ends(mutex);
    return in_time;
}

/*
 * GLib makes the lock of its error domains when the first error is made. Where two threads make
 * their first ones at a time, ThreadSanitizer does not see what orders them: so one is made before
 * there are threads.
 */
__attribute__((constructor)) static void tsan_make_an_error(void)
{
    g_error_free(g_error_new_literal(g_quark_from_static_string("tsan"), 0, ""));
}
