/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VNC viewer between the main loop and its thread. */
#include <sys/socket.h>
#include <unistd.h>

#include "../vm/fixture.h"
#include "vnc_internal.h"

static void still_draw(Screen *s, bool all)
{
    s->pushes = true;
    ck_assert(screen_resize(s, 100, 50));
    if (all) {
        screen_mark(s, 0, 0, 100, 50);
    }
}

static const ScreenOps still_ops = {.draw = still_draw};

/* The first picture comes though the thread was at work when it was drawn, and no second follows.
 */
START_TEST(first_picture_is_late)
{
    static const char greeting[] = "RFB 003.008\n\1\1";
    Screen screen = {.ops = &still_ops, .name = "still"};
    VncServer server = {.vm = vm,
                        .id = (char *)"unit",
                        .max_viewers = 1,
                        .expires = INT64_MAX,
                        .listeners = g_ptr_array_new(),
                        .viewers = g_ptr_array_new()};
    uint64_t one = 1;
    VncViewer *v;
    int fds[2];

    g_mutex_init(&server.secret_lock);
    screen_add(vm, &screen);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ck_assert_int_eq(send(fds[1], greeting, strlen(greeting), 0), strlen(greeting));
    vnc_viewer_new(&server, fds[0], false, false);
    v = server.viewers->pdata[0];
    g_mutex_lock(&v->lock); /* as vnc_take_changes() does */
    while (!g_atomic_int_get(&v->late)) {
        event_loop_iterate(loop, -1);
    }
    g_mutex_unlock(&v->lock);
    ck_assert_int_eq(write(v->wake_fd, &one, sizeof one), sizeof one);
    while (!g_atomic_int_get(&v->drawn)) {
        event_loop_iterate(loop, -1);
    }
    vnc_viewer_disconnect(v);
    while (server.viewers->len) {
        event_loop_iterate(loop, -1);
    }
    close(fds[1]);
    screen_remove(&screen);
    g_mutex_clear(&server.secret_lock);
    g_ptr_array_free(server.listeners, TRUE);
    g_ptr_array_free(server.viewers, TRUE);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("vnc viewer");

    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_set_timeout(tc, 10);
    tcase_add_test(tc, first_picture_is_late);
    return unit_run_case("ui_vnc_viewer", tc);
}
