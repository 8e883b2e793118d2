/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event loop: descriptors, deferred calls and flush hooks. */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "loop_helpers.h"

/* Descriptors. */

typedef struct {
    EventLoop *loop;
    FdHandler *h, *other;
    int fd, reads, writes;
    bool drain;
} Watch;

static void on_read(void *data)
{
    Watch *w = data;
    char c;

    w->reads++;
    if (w->drain) {
        ck_assert_int_ge(read(w->fd, &c, 1), 0);
    }
}

static void on_write(void *data)
{
    ((Watch *)data)->writes++;
}

START_TEST(fd_readable)
{
    EventLoop *loop = new_loop();
    Watch w = {.drain = true};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    w.fd = fds[0];
    w.h = event_loop_add_fd(loop, fds[0], on_read, NULL, &w);
    ck_assert(!event_loop_iterate(loop, 0));
    ck_assert_int_eq(write(fds[1], "abc", 3), 3);
    ck_assert(event_loop_iterate(loop, -1));
    ck_assert_int_eq(w.reads, 1);
    /* Level-triggered. */
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 2);
    fd_handler_set(w.h, false, false);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    fd_handler_set(w.h, true, true);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 3);
    /* A hang-up calls read(), but not when muted. */
    close(fds[1]);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 4);
    fd_handler_set(w.h, false, false);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    fd_handler_remove(w.h);
    close(fds[0]);
    fd_handler_remove(NULL);
    ck_assert(!event_loop_iterate(loop, 0));
    event_loop_free(loop);
}
END_TEST

START_TEST(fd_writable)
{
    EventLoop *loop = new_loop();
    Watch w = {0};
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    w.fd = fds[0];
    w.h = event_loop_add_fd(loop, fds[0], on_read, on_write, &w);
    event_loop_iterate(loop, -1);
    ck_assert(w.writes == 1 && w.reads == 0);
    fd_handler_set(w.h, true, false);
    ck_assert(!event_loop_iterate(loop, 0));
    ck_assert_int_eq(write(fds[1], "a", 1), 1);
    fd_handler_set(w.h, true, true);
    event_loop_iterate(loop, -1);
    ck_assert(w.writes == 2 && w.reads == 1);
    event_loop_free(loop);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(fd_regular_file)
{
    EventLoop *loop = new_loop();
    Watch w = {.fd = open("/dev/null", O_RDWR)}, v = {.fd = open("/dev/null", O_RDWR)};

    w.h = event_loop_add_fd(loop, w.fd, on_read, NULL, &w);
    v.h = event_loop_add_fd(loop, v.fd, NULL, on_write, &v);
    event_loop_iterate(loop, -1);
    event_loop_iterate(loop, -1);
    ck_assert(w.reads >= 1 && v.writes >= 1);
    int reads = w.reads;
    fd_handler_set(w.h, false, false);
    fd_handler_remove(v.h);
    ck_assert(!event_loop_iterate(loop, NS_PER_MS));
    fd_handler_set(w.h, true, false);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, reads + 1);
    event_loop_free(loop);
    close(w.fd);
    close(v.fd);
}
END_TEST

/* Whichever of two ready handlers runs first removes both. */
static void remove_both(void *data)
{
    Watch *w = data;

    w->reads++;
    fd_handler_remove(w->h);
    fd_handler_remove(w->other);
    close(w->fd);
}

START_TEST(fd_removed_in_callback)
{
    EventLoop *loop = new_loop();
    Watch w = {0};
    int a[2], b[2];

    ck_assert(pipe(a) == 0 && pipe(b) == 0);
    w.fd = a[0];
    w.h = event_loop_add_fd(loop, a[0], remove_both, NULL, &w);
    w.other = event_loop_add_fd(loop, b[0], remove_both, NULL, &w);
    ck_assert(write(a[1], "a", 1) == 1 && write(b[1], "b", 1) == 1);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 1);
    ck_assert(!event_loop_iterate(loop, 0));
    event_loop_free(loop);
}
END_TEST

static void add_another(void *data)
{
    Watch *w = data;
    char c;

    w->reads++;
    ck_assert_int_eq(read(w->fd, &c, 1), 1);
    /* A handler that is removed before epoll was told of it. */
    fd_handler_remove(event_loop_add_fd(w->loop, w->fd, on_read, NULL, w));
    fd_handler_set(w->h, false, false);
    fd_handler_set(w->h, true, false);
}

START_TEST(fd_changed_in_callback)
{
    EventLoop *loop = new_loop();
    Watch w = {.loop = loop};
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    w.fd = fds[0];
    w.h = event_loop_add_fd(loop, fds[0], add_another, NULL, &w);
    ck_assert_int_eq(write(fds[1], "ab", 2), 2);
    event_loop_iterate(loop, -1);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(w.reads, 2);
    event_loop_free(loop);
}
END_TEST

/* Deferred calls. */

typedef struct {
    BottomHalf bh;
    GString *log;
    int runs, again;
} Half;

static void on_half(void *data)
{
    Half *h = data;

    h->runs++;
    if (h->again-- > 0) {
        bh_schedule(&h->bh);
    }
}

START_TEST(bottom_halves)
{
    EventLoop *loop = new_loop();
    Half a = {0}, b = {0}, c = {0};

    bh_init(&a.bh, loop, on_half, &a);
    bh_init(&b.bh, loop, on_half, &b);
    bh_init(&c.bh, loop, on_half, &c);
    bh_schedule(&a.bh);
    bh_schedule(&a.bh);
    bh_schedule(&b.bh);
    bh_schedule(&c.bh);
    bh_cancel(&c.bh);
    ck_assert(event_loop_iterate(loop, -1));
    ck_assert(a.runs == 1 && b.runs == 1 && c.runs == 0);
    ck_assert(!event_loop_iterate(loop, 0));
    bh_cancel(&c.bh);
    bh_schedule(&c.bh);
    a.again = 100;
    bh_schedule(&a.bh);
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(c.runs, 1);
    for (int i = 0; i < 100; i++) {
        event_loop_iterate(loop, 0);
    }
    ck_assert_int_eq(a.runs, 102);
    /* Cancels the last call of the queue; more can still be added. */
    bh_schedule(&a.bh);
    bh_schedule(&b.bh);
    bh_cancel(&b.bh);
    bh_schedule(&c.bh);
    event_loop_iterate(loop, -1);
    ck_assert(a.runs == 103 && b.runs == 1 && c.runs == 2);
    event_loop_free(loop);
}
END_TEST

typedef struct {
    EventLoop *loop;
    int *next, number;
} Numbered;

static void check_number(void *data)
{
    Numbered *n = data;

    ck_assert_int_eq((*n->next)++, n->number);
}

START_TEST(calls_in_order)
{
    EventLoop *loop = new_loop();
    Numbered numbers[100];
    int next = 0;

    for (int i = 0; i < 100; i++) {
        numbers[i] = (Numbered){.next = &next, .number = i};
        event_loop_call(loop, check_number, &numbers[i]);
    }
    event_loop_iterate(loop, -1);
    ck_assert_int_eq(next, 100);
    /* Calls that have not run are freed with the loop. */
    event_loop_call(loop, check_number, &numbers[0]);
    event_loop_free(loop);
    ck_assert_int_eq(next, 100);
}
END_TEST

static void count_up(void *data)
{
    ++*(int *)data;
}

enum { CALLERS = 4, CALLS = 20000 };

typedef struct {
    EventLoop *loop;
    int *count;
    BottomHalf *bh;
} Caller;

static void *call_a_lot(void *data)
{
    Caller *c = data;

    for (int i = 0; i < CALLS; i++) {
        event_loop_call(c->loop, count_up, c->count);
        bh_schedule(c->bh);
        if (i % 1000 == 0) {
            event_loop_call_wait(c->loop, count_up, c->count);
            g_usleep(100);
        }
    }
    return NULL;
}

/* No wake-up is lost, whatever the loop is doing when the call comes. */
START_TEST(calls_from_threads)
{
    EventLoop *loop = new_loop();
    GThread *home = start(loop), *threads[CALLERS];
    int count = 0;
    Half half = {0};
    Caller caller = {loop, &count, &half.bh};

    bh_init(&half.bh, loop, on_half, &half);
    for (int i = 0; i < CALLERS; i++) {
        threads[i] = g_thread_new("caller", call_a_lot, &caller);
    }
    for (int i = 0; i < CALLERS; i++) {
        g_thread_join(threads[i]);
    }
    event_loop_call_wait(loop, count_up, &count);
    ck_assert_int_eq(count, CALLERS * (CALLS + CALLS / 1000) + 1);
    ck_assert_int_ge(half.runs, 1);
    stop(loop, home);
}
END_TEST

static void call_inside(void *data)
{
    Caller *c = data;

    ck_assert(event_loop_in_thread(c->loop));
    event_loop_call_wait(c->loop, count_up, c->count); /* directly */
    ck_assert_int_eq(*c->count, 1);
    event_loop_quit(c->loop);
}

START_TEST(call_wait_at_home)
{
    EventLoop *loop = new_loop();
    int count = 0;
    Caller caller = {.loop = loop, .count = &count};

    ck_assert_str_eq(event_loop_name(loop), "test");
    ck_assert_ptr_null(event_loop_current());
    event_loop_call(loop, call_inside, &caller);
    event_loop_run(loop);
    ck_assert_ptr_eq(event_loop_current(), loop);
    ck_assert_int_eq(count, 1);
    event_loop_free(loop);
    ck_assert_ptr_null(event_loop_current());
}
END_TEST

START_TEST(quit_before_run)
{
    EventLoop *loop = new_loop();

    event_loop_quit(loop);
    event_loop_run(loop);
    event_loop_free(loop);
}
END_TEST

/* With nothing to do a loop takes no turns. */
START_TEST(idle)
{
    EventLoop *loop = new_loop();
    GThread *thread = start(loop);

    g_usleep(20000);
    uint64_t turns = event_loop_turns(loop);
    g_usleep(100000);
    ck_assert_uint_eq(event_loop_turns(loop), turns);
    stop(loop, thread);
}
END_TEST

/* Flush hooks. */

static void flushed(void *data)
{
    ++*(int *)data;
}

START_TEST(flush_hooks)
{
    EventLoop *loop = new_loop();
    int a = 0, b = 0;

    event_loop_add_flush(loop, flushed, &a);
    event_loop_add_flush(loop, flushed, &b);
    event_loop_iterate(loop, 0);
    event_loop_remove_flush(loop, flushed, &a);
    event_loop_iterate(loop, 0);
    ck_assert(a == 1 && b == 2);
    event_loop_free(loop);
}
END_TEST

static void flush_once(void *data)
{
    int *count = data;

    ++*count;
    event_loop_remove_flush(event_loop_current(), flush_once, data);
}

START_TEST(flush_removed_in_callback)
{
    EventLoop *loop = new_loop();
    int once = 0, always = 0;

    event_loop_add_flush(loop, flush_once, &once);
    event_loop_add_flush(loop, flushed, &always);
    event_loop_iterate(loop, 0);
    ck_assert(once == 1 && always == 1);
    event_loop_iterate(loop, 0);
    ck_assert(once == 1 && always == 2);
    event_loop_free(loop);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        fd_readable,
        fd_writable,
        fd_regular_file,
        fd_removed_in_callback,
        fd_changed_in_callback,
        bottom_halves,
        calls_in_order,
        calls_from_threads,
        call_wait_at_home,
        quit_before_run,
        idle,
        flush_hooks,
        flush_removed_in_callback,
        NULL,
    };

    return unit_run("loop", tests);
}
