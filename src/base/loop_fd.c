/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File descriptors of an event loop. Changes are passed to epoll once a turn, just before
 * epoll_wait().
 */
#include <errno.h>
#include <sys/epoll.h>
#include "base/util.h"
#include "loop_private.h"

struct FdEntry {
    FdHandler handler;
    unsigned armed; /* the events that epoll watches; 0: the descriptor is not in epoll */
    bool changed, unpollable;
    FdEntry *next_changed, *next_dead;
    FdEntry *prev, *next;
};

bool loop_epoll_set(EventLoop *loop, int op, int fd, uint32_t events, void *tag)
{
    struct epoll_event event = {.events = events, .data.ptr = tag};

    return epoll_ctl(loop->epoll_fd, op, fd, &event) == 0;
}

static FdEntry *fd_entry_of(FdHandler *h)
{
    return container_of(h, FdEntry, handler);
}

static void fd_entry_changed(FdEntry *entry)
{
    EventLoop *loop = entry->handler.loop;

    if (!entry->changed && !entry->unpollable && entry->armed != entry->handler.events) {
        entry->changed = true;
        entry->next_changed = loop->changed;
        loop->changed = entry;
    }
}

FdHandler *event_loop_add_fd(EventLoop *loop, int fd, EventFn read, EventFn write, void *data)
{
    loop_assert_home(loop);
    g_assert(fd >= 0);
    FdEntry *entry = g_new0(FdEntry, 1);
    entry->handler = (FdHandler){
        .read = read,
        .write = write,
        .data = data,
        .fd = fd,
        .loop = loop,
        .events = (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0),
    };
    entry->next = loop->fds;
    if (entry->next) {
        entry->next->prev = entry;
    }
    loop->fds = entry;
    fd_entry_changed(entry);
    return &entry->handler;
}

void fd_handler_set(FdHandler *h, bool want_read, bool want_write)
{
    loop_assert_home(h->loop);
    g_assert(!h->dead);
    h->events = (want_read && h->read ? EPOLLIN : 0) | (want_write && h->write ? EPOLLOUT : 0);
    fd_entry_changed(fd_entry_of(h));
}

static void fd_unlink_changed(EventLoop *loop, FdEntry *entry)
{
    FdEntry **link = &loop->changed;

    while (*link != entry) {
        link = &(*link)->next_changed;
    }
    *link = entry->next_changed;
}

void fd_handler_remove(FdHandler *h)
{
    if (!h) {
        return;
    }
    EventLoop *loop = h->loop;
    FdEntry *entry = fd_entry_of(h);

    loop_assert_home(loop);
    g_assert(!h->dead);
    h->dead = true;
    if (entry->changed) {
        fd_unlink_changed(loop, entry);
    }
    /* At once: the caller may close the descriptor when this returns. */
    if (entry->armed) {
        loop_epoll_set(loop, EPOLL_CTL_DEL, h->fd, 0, NULL);
    }
    if (entry->unpollable) {
        g_ptr_array_remove(loop->unpollable, entry);
    }
    if (entry->prev) {
        entry->prev->next = entry->next;
    } else {
        loop->fds = entry->next;
    }
    if (entry->next) {
        entry->next->prev = entry->prev;
    }
    /* Freed at the end of the turn: events of this turn may still point to it. */
    entry->next_dead = loop->dead;
    loop->dead = entry;
}

/* A muted descriptor is removed from epoll, which would go on to report hang-ups. */
static void fd_tell_epoll(EventLoop *loop, FdEntry *entry)
{
    unsigned wanted = entry->handler.events;
    int op = !wanted ? EPOLL_CTL_DEL : entry->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (wanted == entry->armed) {
        return;
    }
    if (loop_epoll_set(loop, op, entry->handler.fd, wanted, entry)) {
        entry->armed = wanted;
        return;
    }
    if (op == EPOLL_CTL_ADD && errno == EPERM) {
        /* epoll refuses regular files and /dev/null. poll(2) says that they are always ready. */
        if (!loop->unpollable) {
            loop->unpollable = g_ptr_array_new();
        }
        entry->unpollable = true;
        g_ptr_array_add(loop->unpollable, entry);
        return;
    }
    g_error("event loop '%s': cannot watch file descriptor %d: %s", loop->name, entry->handler.fd,
            g_strerror(errno));
}

void fds_apply_changes(EventLoop *loop)
{
    while (loop->changed) {
        FdEntry *entry = loop->changed;
        loop->changed = entry->next_changed;
        entry->changed = false;
        fd_tell_epoll(loop, entry);
    }
}

bool loop_watch_ring(EventLoop *loop, int fd)
{
    return loop_epoll_set(loop, EPOLL_CTL_ADD, fd, EPOLLIN, NULL);
}

bool fd_entry_dispatch(FdEntry *entry, uint32_t events)
{
    FdHandler *h = &entry->handler;
    bool ran = false;

    if (!h->dead && (h->events & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        h->read(h->data);
        ran = true;
    }
    if (!h->dead && (h->events & EPOLLOUT) && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
        h->write(h->data);
        ran = true;
    }
    return ran;
}

bool fds_always_ready(EventLoop *loop)
{
    for (guint i = 0; loop->unpollable && i < loop->unpollable->len; i++) {
        FdEntry *entry = g_ptr_array_index(loop->unpollable, i);
        if (entry->handler.events) {
            return true;
        }
    }
    return false;
}

bool fds_dispatch_always_ready(EventLoop *loop)
{
    bool ran = false;

    if (!fds_always_ready(loop)) {
        return false;
    }
    /* Callbacks may change the array; entries live until the end of the turn. */
    g_autoptr(GPtrArray) now = g_ptr_array_copy(loop->unpollable, NULL, NULL);
    for (guint i = 0; i < now->len; i++) {
        ran |= fd_entry_dispatch(g_ptr_array_index(now, i), EPOLLIN | EPOLLOUT);
    }
    return ran;
}

void fds_free_dead(EventLoop *loop)
{
    while (loop->dead) {
        FdEntry *entry = loop->dead;
        loop->dead = entry->next_dead;
        g_free(entry);
    }
}

void fds_free(EventLoop *loop)
{
    while (loop->fds) {
        fd_handler_remove(&loop->fds->handler);
    }
    fds_free_dead(loop);
    if (loop->unpollable) {
        g_ptr_array_free(loop->unpollable, TRUE);
    }
}
