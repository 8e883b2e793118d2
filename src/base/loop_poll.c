/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Adaptive polling: an event loop that has slept for short times only looks for work for a while
 * before it sleeps again.
 */
#include "base/util.h"
#include "loop_private.h"

enum { POLL_NS_START = 4000 /* first busy-wait */ };

struct PollHandler {
    EventLoop *loop;
    bool (*poll)(void *data);
    void (*quiet)(void *data, bool on);
    void *data;
    PollHandler *next;
    bool is_quiet; /* the argument of the last quiet() */
    bool dead;     /* removed during a walk of 'polls', which frees it at its end */
};

void event_loop_set_poll(EventLoop *loop, int64_t max_ns)
{
    loop_assert_home(loop);
    loop->poll_max_ns = max_ns;
    loop->poll_ns = 0;
}

/* Calls quiet() where 'on' is not what the handler was told last. */
static void poll_handler_tell(PollHandler *p, bool on)
{
    if (!p->dead && p->quiet && p->is_quiet != on) {
        p->is_quiet = on;
        p->quiet(p->data, on);
    }
}

PollHandler *event_loop_add_poll(EventLoop *loop, bool (*poll)(void *data),
                                 void (*quiet)(void *data, bool on), void *data)
{
    loop_assert_home(loop);
    PollHandler *handler = g_new(PollHandler, 1);
    *handler = (PollHandler){
        .loop = loop, .poll = poll, .quiet = quiet, .data = data, .next = loop->polls};
    loop->polls = handler;
    poll_handler_tell(handler, loop->quiet);
    return handler;
}

/* Callbacks may remove any handler: a walk of 'polls' passes over the dead, and frees them last. */
static void polls_free_dead(EventLoop *loop)
{
    if (loop->poll_walks) {
        return;
    }
    for (PollHandler **link = &loop->polls; *link;) {
        PollHandler *p = *link;
        if (p->dead) {
            *link = p->next;
            g_free(p);
        } else {
            link = &p->next;
        }
    }
}

void poll_handler_remove(PollHandler *p)
{
    if (!p) {
        return;
    }
    EventLoop *loop = p->loop;

    loop_assert_home(loop);
    g_assert(!p->dead);
    p->dead = true;
    if (p->is_quiet) {
        loop->poll_walks++; /* quiet() may remove others */
        p->quiet(p->data, false);
        loop->poll_walks--;
    }
    polls_free_dead(loop);
}

bool polls_look(EventLoop *loop)
{
    bool found = false;

    loop->poll_walks++;
    for (PollHandler *p = loop->polls; p; p = p->next) {
        if (!p->dead) {
            found |= p->poll(p->data);
        }
    }
    loop->poll_walks--;
    polls_free_dead(loop);
    return found;
}

void polls_set_quiet(EventLoop *loop, bool on)
{
    if (loop->quiet == on) {
        return;
    }
    loop->quiet = on;
    loop->poll_walks++;
    for (PollHandler *p = loop->polls; p; p = p->next) {
        poll_handler_tell(p, on);
    }
    loop->poll_walks--;
    polls_free_dead(loop);
}

bool polls_busy_wait(EventLoop *loop, int64_t ns)
{
    int64_t end = clock_ns(CLOCK_REALTIME_NS) + ns;

    polls_set_quiet(loop, true);
    do {
        if (polls_look(loop) || calls_pending(loop) || uring_ready(loop)) {
            return true;
        }
    } while (clock_ns(CLOCK_REALTIME_NS) < end);
    return false;
}

void polls_adapt(EventLoop *loop, int64_t slept)
{
    if (slept > loop->poll_max_ns) {
        loop->poll_ns = 0;
    } else if (slept > loop->poll_ns) {
        loop->poll_ns = loop->poll_ns ? loop->poll_ns * 2 : POLL_NS_START;
        loop->poll_ns = MIN(loop->poll_ns, loop->poll_max_ns);
    }
}

void polls_free(EventLoop *loop)
{
    while (loop->polls) {
        poll_handler_remove(loop->polls);
    }
}
