/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What modules hang on an event loop: hooks of each turn, and data that is freed with the loop. */
#include "loop_private.h"

/* Flush hooks. */

void event_loop_add_flush(EventLoop *loop, EventFn fn, void *data)
{
    loop_assert_home(loop);
    if (!loop->flushes) {
        loop->flushes = g_array_new(false, false, sizeof(LoopHook));
    }
    g_array_append_val(loop->flushes, ((LoopHook){fn, data}));
}

void event_loop_remove_flush(EventLoop *loop, EventFn fn, void *data)
{
    loop_assert_home(loop);
    for (guint i = 0; loop->flushes && i < loop->flushes->len; i++) {
        LoopHook *hook = &g_array_index(loop->flushes, LoopHook, i);
        if (hook->fn == fn && hook->data == data) {
            g_array_remove_index(loop->flushes, i);
            loop->next_flush -= i < loop->next_flush;
            return;
        }
    }
}

void hooks_run_flushes(EventLoop *loop)
{
    loop->next_flush = 0;
    while (loop->flushes && loop->next_flush < loop->flushes->len) {
        LoopHook hook = g_array_index(loop->flushes, LoopHook, loop->next_flush++);
        hook.fn(hook.data);
    }
}

/* What modules keep for the loop. */

void event_loop_attach(EventLoop *loop, EventFn free_fn, void *data)
{
    loop_assert_home(loop);
    if (!loop->attached) {
        loop->attached = g_array_new(false, false, sizeof(LoopHook));
    }
    g_array_append_val(loop->attached, ((LoopHook){free_fn, data}));
}

void *event_loop_attached(EventLoop *loop, EventFn free_fn)
{
    loop_assert_home(loop);
    for (guint i = 0; loop->attached && i < loop->attached->len; i++) {
        LoopHook *hook = &g_array_index(loop->attached, LoopHook, i);
        if (hook->fn == free_fn) {
            return hook->data;
        }
    }
    return NULL;
}

void hooks_free(EventLoop *loop)
{
    for (guint i = 0; loop->attached && i < loop->attached->len; i++) {
        LoopHook *hook = &g_array_index(loop->attached, LoopHook, i);
        hook->fn(hook->data);
    }
    g_clear_pointer(&loop->attached, g_array_unref);
    g_clear_pointer(&loop->flushes, g_array_unref);
}
